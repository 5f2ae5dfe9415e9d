// A service worker has neither `Worker` nor `import()`: the model runs on its own thread, from an entry that imports nothing later.
import { createDetector as createElsewhere } from "./grice/index.js";
import { createDetector } from "./grice/thread.js";

globalThis.judge = async () => {
  const detector = await createDetector({ model: "model.tar" });
  const { probabilities } = await detector.detect({ context: "How are you?", response: "Fine, and you?" });
  const { info } = detector;
  await detector.dispose();
  return { probabilities, info };
};

globalThis.tryElsewhere = (worker) =>
  createElsewhere({ model: "model.tar", worker }).then(String, ({ name, code, message }) => ({ name, code, message }));
