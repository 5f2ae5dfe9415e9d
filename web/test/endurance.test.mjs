// A thousand detections: memory stays where it was, and the page never stands still.

import assert from "node:assert/strict";
import { test } from "node:test";
import { suite } from "./support/suite.mjs";

// Isolated from other origins, which measuring memory needs; and measured at once rather than when the browser likes to collect.
const shared = await suite({
  flags: ["--enable-blink-features=ForceEagerMeasureMemory"],
  headers: { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" },
});

/** What may be left behind by 1,000 detections: less than 1 KiB each would be found. */
const GROWTH_BYTES_MAX = 1_000_000;

for (const worker of [true, false]) {
  test(`1,000 detections leave nothing behind ${worker ? "in a worker" : "on the page's thread"}`, async () => {
    const page = await shared.page();
    const { before, after, count } = await page.evaluate(async (inWorker) => {
      const { started } = await import("/weighing.js");
      const { createDetector } = await import("/grice/index.js");
      let thread;
      const worker = inWorker && (() => (thread = new Worker("/weighing-worker.js", { type: "module" })));
      // A small cache is full early.
      const detector = await createDetector({ model: "/models/tiny-bert.tar", worker, cache: { bytesMax: 20_000 } });
      let count = 0;
      const judge = async (rounds) => {
        for (let round = 0; round < rounds; round++) {
          const texts = Array.from({ length: 10 }, () => `Number ${count++}: ${"and so on ".repeat(count % 30)}`);
          await Promise.all(texts.map((response) => detector.detect({ context: "What then?", response })));
        }
      };
      const moduleBytes = async () => {
        if (!thread) return started.memory.buffer.byteLength;
        return await new Promise((resolve) => {
          const hear = ({ data }) => {
            if (data.type !== "weight") return;
            thread.removeEventListener("message", hear);
            resolve(data.bytes);
          };
          thread.addEventListener("message", hear);
          thread.postMessage({ type: "weigh" });
        });
      };
      const weigh = async () => ({ module: await moduleBytes(), script: (await performance.measureUserAgentSpecificMemory()).bytes });
      await judge(50);
      const before = await weigh();
      await judge(100);
      const after = await weigh();
      await detector.dispose();
      return { before, after, count };
    }, worker);
    const said = JSON.stringify({ before, after });
    assert.equal(count, 1500);
    // With the model in it, or something else was measured.
    assert.ok(before.module > 2_000_000 && before.script > 100_000, said);
    assert.equal(after.module, before.module, said);
    assert.ok(after.script - before.script < GROWTH_BYTES_MAX, said);
    await page.close();
  });
}

test("detectors that were disposed of leave no worker and no memory behind", async () => {
  const page = await shared.page();
  const sizes = await page.evaluate(async () => {
    const { started } = await import("/weighing.js");
    const { createDetector } = await import("/grice/index.js");
    const once = async (worker) => {
      const detector = await createDetector({ model: "/models/tiny-bert.tar", worker });
      await detector.detect({ response: "Well." });
      await detector.dispose();
    };
    const sizes = [];
    for (let round = 0; round < 30; round++) {
      await once(true);
      // All detectors of a page's thread share one module, whose memory never shrinks.
      await once(false);
      sizes.push(started.memory.buffer.byteLength);
    }
    return sizes;
  });
  assert.equal(sizes.at(-1), sizes[2], sizes.join());
  assert.equal(page.workers().length, 0);
  await page.close();
});

test("the page has no task of 50 ms while a worker loads and detects", async () => {
  const page = await shared.page();
  const attempt = () =>
    page.evaluate(async () => {
      const { createDetector } = await import("/grice/index.js");
      const tasks = [];
      const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)));
      observer.observe({ type: "longtask" });
      const detector = await createDetector({ model: "/models/embedded.tar" });
      const turns = Array.from({ length: 24 }, (_, index) => ({ context: "How was it? ".repeat(30), response: `Number ${index} was fine.` }));
      const started = performance.now();
      await detector.detectBatch(turns);
      const took = performance.now() - started;
      await new Promise((resolve) => setTimeout(resolve, 100));
      observer.disconnect();
      await detector.dispose();
      return { tasks, took };
    });
  // Durations are those of a clock on the wall: a machine that is busy elsewhere may stop the page for longer than the page does. It
  // can only add long tasks, so one attempt without any shows that the package has none.
  const attempts = [];
  while (attempts.length < 5 && attempts.at(-1)?.tasks.length !== 0) attempts.push(await attempt());
  assert.deepEqual(attempts.at(-1).tasks, [], JSON.stringify(attempts));
  assert.ok(attempts.at(-1).took > 50, `judging took ${attempts.at(-1).took} ms: no time in which a task could have been long`);
  await page.close();
});

test("on the page's thread the same work is a long task, or the test above would see nothing", async () => {
  const page = await shared.page();
  const tasks = await page.evaluate(async () => {
    const { createDetector } = await import("/grice/index.js");
    const tasks = [];
    const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)));
    observer.observe({ type: "longtask" });
    const detector = await createDetector({ model: "/models/embedded.tar", worker: false });
    await detector.detectBatch(Array.from({ length: 16 }, (_, index) => ({ context: "How was it? ".repeat(30), response: `${index}.` })));
    await new Promise((resolve) => setTimeout(resolve, 100));
    observer.disconnect();
    await detector.dispose();
    return tasks;
  });
  assert.ok(tasks.length > 0);
  await page.close();
});
