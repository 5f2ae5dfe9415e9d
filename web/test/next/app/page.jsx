// Rendered on the server, which imports the package as well.
import { supports } from "grice";
import { Judge } from "./judge.jsx";

export default async function Page() {
  const { simd } = await supports();
  return (
    <main>
      <p id="server">SIMD on the server: {String(simd)}</p>
      <Judge />
    </main>
  );
}
