import { createDetector } from "grice";

globalThis.judge = async (worker) => {
  const detector = await createDetector({ model: "/model.tar", worker, modelCache: "none" });
  const { cooperative, probabilities } = await detector.detect({ context: "How are you?", response: "Fine, and you?" });
  const { info } = detector;
  await detector.dispose();
  return { cooperative, probabilities, info };
};
