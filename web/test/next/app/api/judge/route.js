// Judges on the server, where a model is a file.
import path from "node:path";
import { createDetector } from "grice";

export const dynamic = "force-dynamic";

export async function GET() {
  try {
    const detector = await createDetector({ model: path.join(process.cwd(), "public/model.tar") });
    const { probabilities } = await detector.detect({ context: "How are you?", response: "Fine, and you?" });
    await detector.dispose();
    return Response.json({ name: detector.info.name, probabilities });
  } catch ({ name, code, message }) {
    return Response.json({ problem: `${name} ${code}: ${message}` });
  }
}
