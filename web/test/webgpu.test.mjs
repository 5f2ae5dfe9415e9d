// The entry with the GPU engine, on the GPU that the browser has: here, mostly, a program that plays one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkVerdicts, turns } from "./support/fixtures.mjs";
import { suite } from "./support/suite.mjs";

const shared = await suite({ flags: ["--enable-unsafe-webgpu"] });

/** Loads a model and judges every turn. */
async function judgeAll(page, options) {
  return await page.evaluate(
    async ({ turns, ...options }) => {
      const { createDetector } = await import("/grice/webgpu.js");
      const detector = await createDetector(options);
      const found = await detector.detectBatch(Object.values(turns));
      const { info } = detector;
      await detector.dispose();
      return { info, detections: Object.fromEntries(Object.keys(turns).map((name, index) => [name, found[index]])) };
    },
    { turns, ...options },
  );
}

test("the browser has an adapter, or the tests below would test nothing", async () => {
  const page = await shared.page();
  assert.equal(await page.evaluate(async () => (await (await import("/grice/webgpu.js")).supports()).webgpu), true);
  await page.close();
});

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "on the page's thread";
  // A program that plays a GPU takes a minute for each where the machine is busy, so each model has one of the two places.
  for (const bundle of worker ? ["tiny-deberta"] : ["tiny-bert"]) {
    test(`${bundle} on the GPU gives the native verdicts: ${where}`, async () => {
      const page = await shared.page();
      const { info, detections } = await judgeAll(page, { model: `/models/${bundle}.tar`, worker, device: "gpu" });
      assert.deepEqual([info.device, info.artifact, info.fallbackReason], ["gpu", "webgpu", undefined]);
      assert.equal(info.kernels, "wgpu webgpu");
      checkVerdicts(bundle, detections);
      assert.deepEqual(page.problems, []);
      await page.close();
    });
  }

  test(`a GPU that goes away is replaced by the processor, which says why: ${where}`, async () => {
    const page = await shared.page();
    const { before, between, after } = await page.evaluate(async (inWorker) => {
      const { lost } = await import("/losing.js");
      const { createDetector } = await import("/grice/webgpu.js");
      let thread;
      const worker = inWorker && (() => (thread = new Worker("/losing-worker.js", { type: "module" })));
      const detector = await createDetector({ model: "/models/tiny-bert.tar", worker, device: "gpu", cache: false });
      const turn = { context: "How was the film?", response: "It was a film." };
      const before = { info: detector.info, found: await detector.detect(turn) };
      thread ? thread.postMessage({ type: "lose" }) : lost.lose();
      const between = await detector.detect(turn);
      const after = { info: detector.info, found: await detector.detect(turn) };
      await detector.dispose();
      return { before, between, after };
    }, worker);
    assert.equal(before.info.device, "gpu");
    assert.deepEqual([after.info.device, after.info.worker], ["cpu", worker]);
    assert.match(after.info.fallbackReason, /the GPU was lost/);
    for (const found of [between, after.found]) {
      for (const [maxim, probability] of Object.entries(before.found.probabilities)) {
        assert.ok(Math.abs(found.probabilities[maxim] - probability) < 1e-4, maxim);
      }
    }
    await page.close();
  });
}

test("`auto` takes no program that plays a GPU, and `cpu` asks for none", async () => {
  const page = await shared.page();
  const options = { model: "/models/tiny-bert.tar" };
  const auto = await judgeAll(page, { ...options, device: "auto" });
  checkVerdicts("tiny-bert", auto.detections);
  const isSoftware = await page.evaluate(async () => (await navigator.gpu.requestAdapter()).info.isFallbackAdapter);
  if (isSoftware) {
    assert.equal(auto.info.device, "cpu");
    assert.match(auto.info.fallbackReason, /a software adapter/);
  } else {
    assert.equal(auto.info.device, "gpu");
  }
  const cpu = await judgeAll(page, { ...options, device: "cpu" });
  assert.deepEqual([cpu.info.device, cpu.info.artifact, cpu.info.fallbackReason], ["cpu", "relaxed-simd", undefined]);
  await page.close();
});

test("without an adapter `auto` says why it is the processor, and `gpu` is refused", async () => {
  const page = await shared.page();
  const { info, code } = await page.evaluate(async () => {
    Object.defineProperty(navigator, "gpu", { value: undefined });
    const { createDetector } = await import("/grice/webgpu.js");
    const options = { model: "/models/tiny-bert.tar", worker: false };
    const detector = await createDetector(options);
    const { info } = detector;
    await detector.dispose();
    return { info, code: await createDetector({ ...options, device: "gpu" }).catch((error) => error.code) };
  });
  assert.deepEqual([info.device, info.artifact, info.fallbackReason], ["cpu", "relaxed-simd", "this browser has no WebGPU adapter"]);
  assert.equal(code, "unsupported");
  await page.close();
});
