import { createDetector } from "./grice/index.js";

globalThis.refused = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  globalThis.refused.push(`${violatedDirective}: ${blockedURI}`);
});

globalThis.judge = async (worker) => {
  const detector = await createDetector({ model: "model.tar", worker });
  const { cooperative, probabilities } = await detector.detect({ context: "How are you?", response: "Fine, and you?" });
  const { info } = detector;
  await detector.dispose();
  document.querySelector("output").textContent = JSON.stringify({ cooperative, ...info });
  return { probabilities, info };
};
