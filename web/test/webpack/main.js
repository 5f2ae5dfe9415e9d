import { createDetector } from "grice";

const workers = {
  package: true,
  none: false,
  // A worker's script of the page's own.
  own: () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" }),
};

globalThis.judge = async (worker) => {
  const detector = await createDetector({ model: "/model.tar", worker: workers[worker], modelCache: "none" });
  const { cooperative, probabilities } = await detector.detect({ context: "How are you?", response: "Fine, and you?" });
  const { info } = detector;
  await detector.dispose();
  document.querySelector("output").textContent = JSON.stringify({ cooperative, ...info });
  return { probabilities, info };
};
