import { createDetector } from "/grice/index.js";

globalThis.refused = [];
document.addEventListener("securitypolicyviolation", (event) => {
  globalThis.refused.push(`${event.violatedDirective}: ${event.blockedURI}`);
});

globalThis.judge = async (worker) => {
  const detector = await createDetector({ model: "/models/tiny-bert.tar", worker });
  const { probabilities } = await detector.detect({ context: "How are you?", response: "Fine, and you?" });
  await detector.dispose();
  return probabilities;
};
