// The wait of a returning visitor: from `createDetector`, with the model in the cache, to the first verdict.
//
//   npm run build && node bench/warm-start.mjs [--rounds 10]
//
// Every round is a new page in a browser that has loaded the model once, so the WebAssembly module comes from the HTTP cache, compiled or
// not as the browser likes.

import { parseArgs } from "node:util";
import { launch } from "../test/support/browser.mjs";
import { dist, packBundles } from "../test/support/fixtures.mjs";
import { serve } from "../test/support/server.mjs";
import { fileURLToPath } from "node:url";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "10" } } });
const bundles = packBundles();
const pages = fileURLToPath(new URL("../test/pages", import.meta.url));
const server = await serve({
  folders: { "/": pages, "/grice/": dist, "/models/": bundles.folder },
  headers: { "Cache-Control": "max-age=3600" },
});
const browser = await launch();
try {
  const times = [];
  for (let round = -1; round < Number(values.rounds); round++) {
    const page = await browser.open(server.url);
    const { total, loaded, cached, artifact } = await page.evaluate(async () => {
      const start = performance.now();
      const { createDetector } = await import("/grice/index.js");
      const detector = await createDetector({ model: "/models/embedded.tar" });
      const loaded = performance.now() - start;
      await detector.detect({ context: "What did you think of the film?", response: "Yes." });
      const total = performance.now() - start;
      const { modelCache, artifact } = detector.info;
      await detector.dispose();
      return { total, loaded, cached: modelCache, artifact };
    });
    console.log(`${round < 0 ? "cold" : "warm"} ${artifact}, model ${cached}: loaded ${loaded.toFixed(0)} ms, first verdict ${total.toFixed(0)} ms`);
    if (round >= 0) times.push(total);
    await page.close();
  }
  times.sort((a, b) => a - b);
  console.log(`warm start to first verdict: median ${times[times.length >> 1].toFixed(0)} ms, fastest ${times[0].toFixed(0)} ms`);
} finally {
  await browser.close();
  await server.close();
  bundles.remove();
}
