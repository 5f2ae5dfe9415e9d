// The verdicts of the native build, in a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkVerdicts, turns } from "./support/fixtures.mjs";
import { suite } from "./support/suite.mjs";

const shared = await suite();

for (const worker of [true, false]) {
  for (const bundle of ["tiny-bert", "tiny-deberta", "embedded"]) {
    test(`${bundle} ${worker ? "in a worker" : "on the page's thread"}`, async () => {
      const page = await shared.page();
      const { detections, info } = await page.evaluate(judgeAll, { model: `/models/${bundle}.tar`, worker, turns });
      checkVerdicts(bundle, detections);
      assert.equal(info.device, "cpu");
      assert.equal(info.worker, worker);
      assert.equal(info.artifact, info.kernels);
      assert.equal(info.precision, bundle === "embedded" ? "int8" : "fp32");
      assert.deepEqual(page.problems, []);
      await page.close();
    });
  }
}

async function judgeAll({ model, worker, turns }) {
  const { createDetector } = await import("/grice/index.js");
  const detector = await createDetector({ model, worker });
  const names = Object.keys(turns);
  const found = await detector.detectBatch(Object.values(turns));
  const { info } = detector;
  await detector.dispose();
  return { info, detections: Object.fromEntries(names.map((name, index) => [name, found[index]])) };
}
