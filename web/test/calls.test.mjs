// Calls that run together, are given up, come too late, or come after the end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { suite } from "./support/suite.mjs";

const shared = await suite();
const page = await shared.page();
await page.evaluate(async () => {
  const grice = await import("/grice/index.js");
  globalThis.create = (options = {}) => grice.createDetector({ model: "/models/tiny-bert.tar", ...options });
  globalThis.turn = (response) => ({ context: "How was the film?", response });
  /// What a promise comes to, as data.
  globalThis.outcome = (promise) =>
    promise.then(
      (value) => ({ value }),
      (error) => ({ name: error.name, code: error.code, message: error.message, index: error.index, isOurs: error instanceof grice.GriceError }),
    );
});

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "on the page's thread";
  const inPage = (test) => page.evaluate(test, worker);

  test(`concurrent calls each get their own answer, identical ones share a run: ${where}`, async () => {
    const { answers, alone } = await inPage(async (worker) => {
      const detector = await create({ worker, cache: false });
      const texts = Array.from({ length: 40 }, (_, index) => `It was film number ${index % 20}.`);
      const answers = await Promise.all(texts.map((text) => detector.detect(turn(text))));
      const alone = [];
      for (const text of texts.slice(0, 20)) alone.push(await detector.detect(turn(text)));
      await detector.dispose();
      return { answers, alone };
    });
    for (const [index, answer] of answers.entries()) {
      const expected = alone[index % 20];
      for (const [maxim, probability] of Object.entries(expected.probabilities)) {
        assert.ok(Math.abs(answer.probabilities[maxim] - probability) < 1e-5, `${index}: ${maxim}`);
      }
    }
    assert.equal(new Set(alone.map(({ probabilities }) => JSON.stringify(probabilities))).size, 20);
  });

  test(`logits are kept, and thresholds apply to them: ${where}`, async () => {
    const [first, again, strict, bypassed, other] = await inPage(async (worker) => {
      const detector = await create({ worker });
      const ask = (options) => detector.detect(turn("Fine."), options);
      const answers = [await ask(), await ask(), await ask({ thresholds: { manner: 0, quality: 1 } }), await ask({ cache: false })];
      await detector.dispose();
      const uncached = await create({ worker, cache: false, thresholds: { relation: 0 } });
      await uncached.detect(turn("Fine."));
      answers.push(await uncached.detect(turn("Fine.")));
      await uncached.dispose();
      return answers;
    });
    assert.deepEqual([first, again, strict, bypassed, other].map(({ cached }) => cached), [false, true, true, false, false]);
    assert.deepEqual(again.probabilities, first.probabilities);
    assert.equal(strict.violations.manner, true);
    assert.equal(strict.violations.quality, false);
    assert.equal(other.violations.relation, true);
    assert.deepEqual(Object.keys(first.timings), ["tokenizeMs", "queueMs", "inferMs"]);
    assert.ok(first.timings.inferMs > 0 && again.timings.inferMs === 0);
  });

  test(`a call that is given up rejects with the signal's reason: ${where}`, async () => {
    const { outcomes, rest, queued } = await inPage(async (worker) => {
      const detector = await create({ worker, batching: { rowsMax: 1, queueMax: 2 } });
      const controller = new AbortController();
      const { signal } = controller;
      const before = outcome(detector.detect(turn("Gone before."), { signal: AbortSignal.abort(new Error("before")) }));
      const during = outcome(detector.detectBatch([turn("One."), turn("Two.")], { signal }));
      controller.abort(new Error("during"));
      const outcomes = [await before, await during];
      // Those given up have left the queue, which has room for two.
      const rest = await Promise.all([turn("Three."), turn("Four.")].map((each) => outcome(detector.detect(each))));
      // A signal aborted after the answer changes nothing.
      const late = new AbortController();
      const queued = await detector.detect(turn("Five."), { signal: late.signal });
      late.abort();
      await detector.dispose();
      return { outcomes, rest, queued };
    });
    assert.deepEqual(outcomes.map(({ message }) => message), ["before", "during"]);
    assert.ok(rest.every(({ value }) => value?.probabilities), JSON.stringify(rest));
    assert.ok(queued.probabilities);
  });

  test(`disposing ends what waits, and whatever comes later: ${where}`, async () => {
    const outcomes = await inPage(async (worker) => {
      const detector = await create({ worker });
      const waiting = outcome(detector.detect(turn("Too late.")));
      await detector.dispose();
      await detector.dispose();
      return [await waiting, await outcome(detector.detect(turn("Later still.")))];
    });
    for (const { isOurs, code } of outcomes) assert.deepEqual({ isOurs, code }, { isOurs: true, code: "disposed" });
  });

  test(`what cannot be judged is an error with a code, and the detector goes on: ${where}`, async () => {
    const outcomes = await inPage(async (worker) => {
      const detector = await create({ worker, batching: { queueMax: 3, rowsMax: 1 } });
      const circle = {};
      circle.circle = circle;
      const outcomes = {
        empty: await outcome(detector.detect(turn(" "))),
        undefined: await outcome(detector.detect(undefined)),
        number: await outcome(detector.detect({ response: 7 })),
        circle: await outcome(detector.detect(circle)),
        third: await outcome(detector.detectBatch([turn("a"), turn("b"), turn("")])),
        threshold: await outcome(detector.detect(turn("a"), { thresholds: { manner: 2 } })),
        unknown: await outcome(detector.detect(turn("a"), { thresholds: { maner: 0.5 } })),
        timeout: await outcome(detector.detect(turn("Late."), { timeoutMs: -1 })),
        nothing: await outcome(detector.detectBatch([])),
        overloaded: await outcome(detector.detectBatch(["a", "b", "c", "d"].map((text) => turn(`Many: ${text}`)))),
        after: await outcome(detector.detect(turn("Still here."))),
      };
      const free = await create({ worker });
      const settled = await free.detectSettled([turn("Yes."), turn("\u200b"), turn("No.")]);
      outcomes.settled = settled.map((one) => one.status === "fulfilled" ? "verdict" : [one.reason.code, one.reason.index]);
      const all = (value) => ({ quantity: value, quality: value, relation: value, manner: value });
      const cooperative = async (value) => (await free.detect(turn("Yes."), { thresholds: all(value) })).cooperative;
      outcomes.ends = [await cooperative(0), await cooperative(1)];
      outcomes.unknown_share = [(await free.detect(turn("ᚠᚢᚦ ᚨᚱᚲ"))).unknown_share, (await free.detect(turn("Yes."))).unknown_share];
      await free.dispose();
      await detector.dispose();
      return outcomes;
    });
    assert.deepEqual(outcomes.settled, ["verdict", ["bad_input", 1], "verdict"]);
    assert.deepEqual(outcomes.ends, [false, true]);
    assert.deepEqual(outcomes.unknown_share.map((share) => share ?? 0), [1, 0]);
    const check = (name, code, words, index) => {
      const { isOurs, ...found } = outcomes[name];
      assert.equal(isOurs, true, `${name}: ${JSON.stringify(found)}`);
      assert.equal(found.code, code, `${name}: ${found.message}`);
      assert.match(found.message, words, name);
      assert.equal(found.index, index, name);
    };
    check("empty", "bad_input", /`response` is empty/);
    check("undefined", "bad_input", /not a turn/);
    check("number", "bad_input", /invalid type/);
    check("circle", "bad_input", /circular/);
    check("third", "bad_input", /`response` is empty/, 2);
    check("threshold", "bad_input", /threshold of `manner`/);
    check("unknown", "bad_input", /unknown field `maner`/);
    check("timeout", "timeout", /deadline/);
    check("overloaded", "overloaded", /queue is full/, 3);
    assert.deepEqual(outcomes.nothing, { value: [] });
    assert.ok(outcomes.after.value.probabilities);
  });

  test(`options that make no sense are errors: ${where}`, async () => {
    const outcomes = await inPage(async (worker) => ({
      gpu: await outcome(create({ worker, device: "gpu" })),
      device: await outcome(create({ worker, device: "abacus" })),
      precision: await outcome(create({ worker, precision: "fp64" })),
      missing: await outcome(create({ worker, precision: "int8" })),
      threshold: await outcome(create({ worker, thresholds: { quality: -1 } })),
      integrity: await outcome(create({ worker, integrity: "md5" })),
      model: await outcome(create({ worker, model: "http://" })),
      bytes: await outcome(create({ worker, model: new Uint8Array(2000) })),
    }));
    const codes = Object.fromEntries(Object.entries(outcomes).map(([name, { code }]) => [name, code]));
    assert.deepEqual(codes, {
      gpu: "unsupported",
      device: "bad_input",
      precision: "bad_input",
      missing: "bad_model",
      threshold: "bad_input",
      integrity: "bad_input",
      model: "bad_input",
      bytes: "bad_model",
    });
    assert.match(outcomes.missing.message, /has no int8 model; it has: fp32/);
  });
}

test("a worker that fails rejects what waits with `crashed`", async () => {
  const outcomes = await page.evaluate(async () => {
    let worker;
    const makeWorker = () => (worker = new Worker("/crashing-worker.js", { type: "module" }));
    const detector = await create({ worker: makeWorker });
    worker.postMessage({ type: "fail" });
    const waiting = await outcome(detector.detect(turn("Is anybody there?")));
    return [waiting, await outcome(detector.detect(turn("Anybody?")))];
  });
  for (const { code, message } of outcomes) {
    assert.equal(code, "crashed");
    assert.match(message, /on purpose/);
  }
  page.problems = [];
});

test("a worker script that is not there is an error that says so", async () => {
  const { code, message } = await page.evaluate(() => outcome(create({ worker: () => new Worker("/nowhere.js", { type: "module" }) })));
  assert.equal(code, "download");
  assert.match(message, /worker\.js/);
});
