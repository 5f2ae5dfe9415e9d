// Models that repair and write, in a browser: what they write, how it is given up, and what goes wrong.

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkRepairs, repairs } from "./support/fixtures.mjs";
import { suite } from "./support/suite.mjs";

const shared = await suite();
const page = await shared.page();
await page.evaluate(async () => {
  const grice = await import("/grice/writer.js");
  const files = { model: "/models/repair-mini.tar", detector: "/models/embedded.tar" };
  globalThis.grice = grice;
  globalThis.createRepairer = (options = {}) => grice.createRepairer({ ...files, ...options });
  globalThis.createPipeline = (options = {}) => grice.createPipeline({ ...files, ...options });
  globalThis.tiny = (options = {}) => grice.createGenerator({ model: "/models/tiny-llama.tar", ...options });
  globalThis.wordy = { context: "What did you think of the film?", response: "I liked it. I liked it a lot. In other words, the film was liked by me a lot." };
  /// What a promise comes to, as data.
  globalThis.outcome = (promise) =>
    promise.then(
      (value) => ({ value }),
      (error) => ({ name: error.name, code: error.code, message: error.message, isOurs: error instanceof grice.GriceError }),
    );
  /// Waits until the models have given back all memory for texts.
  globalThis.settle = async (model) => {
    for (let tries = 0; model.info.reservedTokens !== 0 && tries < 200; tries += 1) await new Promise((resolve) => setTimeout(resolve, 10));
    return model.info.reservedTokens;
  };
  /// All pieces of a text by draft, and its end.
  globalThis.follow = async (course) => {
    const drafts = [];
    for await (const { draft, text } of course) {
      while (drafts.length <= draft) drafts.push("");
      drafts[draft] += text;
    }
    return { drafts, ...(await course.result) };
  };
});

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "on the page's thread";
  const inPage = (test, argument) => page.evaluate(test, { worker, ...argument });

  test(`repairs, answers and texts are those of the native build: ${where}`, async () => {
    const { ends, info } = await inPage(async ({ worker, asks }) => {
      const pipeline = await createPipeline({ worker });
      const generator = await grice.createGenerator({ model: "/models/repair-mini.tar", worker });
      const camel = (options) => Object.fromEntries(Object.entries(options).map(([name, value]) => [name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), value]));
      const begin = ({ repair, answer, text }) => {
        if (repair) return pipeline.repair(repair.turn, repair);
        if (answer) return pipeline.answer({ context: answer.context, evidence: answer.evidence }, answer);
        return generator.generate(text.prompt, camel(text.options));
      };
      const ends = {};
      for (const [name, ask] of Object.entries(asks)) {
        const { drafts, ...end } = await follow(begin(ask));
        // A draft that holds nothing gives no piece.
        ends[name] = { [ask.text ? "text" : "repaired"]: end, drafts };
      }
      const { info } = pipeline;
      await Promise.all([pipeline.dispose(), generator.dispose()]);
      return { ends, info };
    }, { asks: repairs.asks });
    checkRepairs(ends);
    assert.equal(info.worker, worker);
    assert.equal(info.artifact, info.kernels);
    assert.equal(info.precision, "int4");
    assert.equal(info.detector.name, "detector-mini");
    assert.deepEqual(info.recipes, ["quantity", "quality", "manner", "answer"]);
    assert.ok(info.memoryTokens > 4000, info.memoryTokens);
  });

  test(`several at once are each as alone: ${where}`, async () => {
    const [together, alone] = await inPage(async ({ worker }) => {
      const repairer = await createRepairer({ worker });
      const turns = Array.from({ length: 12 }, (_, index) => ({ ...wordy, context: `What did you think of film number ${index}?` }));
      const start = (turn) => follow(repairer.repair(turn, { violations: ["quantity"], rounds: 1 }));
      const together = await Promise.all(turns.map(start));
      const alone = [];
      for (const turn of turns) alone.push(await start(turn));
      await repairer.dispose();
      return [together, alone].map((all) => all.map(({ drafts, repaired, isFallback }) => ({ drafts, repaired, isFallback })));
    });
    assert.deepEqual(together, alone);
    assert.ok(alone.every(({ drafts }) => drafts[0].length > 5));
  });

  test(`a text that is given up is stopped, its memory is free, and the next is as usual: ${where}`, async () => {
    const found = await inPage(async ({ worker }) => {
      const repairer = await createRepairer({ worker });
      const usual = (await repairer.repair(wordy).result).repaired;
      const found = {};
      const check = async (name, course, pieces) => {
        const told = await outcome(course.result);
        found[name] = { ...told, value: undefined, pieces, reserved: await settle(repairer), next: (await repairer.repair(wordy).result).repaired === usual };
      };
      const before = new AbortController();
      before.abort(new DOMException("no more", "AbortError"));
      await check("before", repairer.repair(wordy, { signal: before.signal }), 0);

      const soon = new AbortController();
      const begun = repairer.repair(wordy, { signal: soon.signal });
      soon.abort();
      await check("at once", begun, 0);

      for (const at of [1, 2]) {
        const controller = new AbortController();
        const course = repairer.repair(wordy, { signal: controller.signal });
        let pieces = 0;
        const heard = await outcome((async () => {
          for await (const _ of course) if (++pieces === at) controller.abort(new TypeError("changed my mind"));
        })());
        await check(`at piece ${at}`, course, pieces);
        found[`at piece ${at}`].heard = heard.name;
      }

      const left = repairer.repair(wordy);
      for await (const _ of left) break;
      await check("break", left, 1);

      const thrown = repairer.repair(wordy);
      await outcome((async () => { for await (const _ of thrown) throw new Error("the page's own"); })());
      await check("throw", thrown, 1);

      const late = new AbortController();
      const whole = repairer.repair(wordy, { signal: late.signal });
      await whole.result;
      late.abort();
      await check("after the end", whole, 0);
      await repairer.dispose();
      return found;
    });
    const names = Object.fromEntries(Object.entries(found).map(([name, { name: error }]) => [name, error]));
    const given = { before: "AbortError", "at once": "AbortError", "at piece 1": "TypeError", "at piece 2": "TypeError", break: "AbortError", throw: "AbortError" };
    assert.deepEqual(names, { ...given, "after the end": undefined });
    for (const [name, { pieces, heard, reserved, next }] of Object.entries(found)) {
      assert.equal(reserved, 0, name);
      assert.equal(next, true, name);
      if (name.startsWith("at piece")) assert.deepEqual([pieces, heard], [Number(name.at(-1)), "TypeError"]);
    }
  });

  test(`what is asked wrongly is an error with a code: ${where}`, async () => {
    const found = await inPage(async ({ worker }) => {
      const pipeline = await createPipeline({ worker });
      const generator = await tiny({ worker });
      const asked = {
        empty: pipeline.repair({ response: " " }),
        nothing: pipeline.repair(undefined),
        number: pipeline.repair({ response: 7 }),
        rounds: pipeline.repair(wordy, { rounds: 21 }),
        negative: pipeline.repair(wordy, { seed: -1 }),
        maxim: pipeline.repair(wordy, { violations: ["humour"] }),
        circle: (() => { const turn = { response: "a" }; turn.context = turn; return pipeline.repair(turn); })(),
        question: pipeline.answer({ context: "" }),
        extra: pipeline.answer({ context: "a", answer: "b" }),
        long: pipeline.repair({ response: "word ".repeat(2000) }, { violations: ["quantity"] }),
        prompt: generator.generate(undefined),
        "no prompt": generator.generate(""),
        option: generator.generate("w20", { maxTokens: 3 }),
        range: generator.generate("w20", { topP: 2 }),
        large: generator.generate("w20", { maxNewTokens: 1_000_000 }),
        options: generator.generate("w20", 7),
        signal: generator.generate("w20", { signal: 7 }),
      };
      const told = {};
      for (const [name, course] of Object.entries(asked)) told[name] = await outcome(course.result);
      const still = await outcome(generator.generate("w20", { maxNewTokens: 2 }).result);
      await Promise.all([pipeline.dispose(), generator.dispose()]);
      const disposed = [await outcome(pipeline.repair(wordy).result), await outcome(generator.generate("w20").result)];
      return { told, still, disposed };
    });
    // A response that does not fit is not repaired, which is no error.
    const { long, ...errors } = found.told;
    assert.equal(long.value.isFallback, true);
    assert.match(long.value.trace.find(({ reason }) => reason).reason, /tokens, and the model reads at most 256/);
    for (const [name, { code, isOurs, message }] of Object.entries(errors)) assert.deepEqual([code, isOurs], ["bad_input", true], `${name}: ${message}`);
    assert.match(errors.option.message, /unknown option `maxTokens`; known are maxNewTokens/);
    assert.match(errors.range.message, /`top_p` is 2/);
    assert.match(errors.maxim.message, /unknown maxim `humour`/);
    assert.equal(found.still.value.generatedTokens, 2);
    assert.deepEqual(found.disposed.map(({ code }) => code), ["disposed", "disposed"]);
  });

  test(`dispose ends what is written: ${where}`, async () => {
    const codes = await inPage(async ({ worker }) => {
      const repairer = await createRepairer({ worker });
      const courses = [repairer.repair(wordy), repairer.repair(wordy)];
      for await (const _ of courses[0]) {
        await repairer.dispose();
        break;
      }
      await repairer.dispose();
      return (await Promise.all(courses.map(({ result }) => outcome(result)))).map(({ code, name }) => code ?? name);
    });
    assert.deepEqual(codes, ["disposed", "disposed"]);
  });
}

test("the other module, without relaxed SIMD, writes the same", async () => {
  const ends = await page.evaluate(async ({ asks }) => {
    const { default: init, Workshop } = await import("/grice/writer-simd128/grice.js");
    await init({ module_or_path: new URL("/grice/writer-simd128/grice_bg.wasm", location.href) });
    const bytes = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer());
    const workshop = new Workshop("{}");
    workshop.load(await bytes("/models/embedded.tar"), true);
    workshop.load(await bytes("/models/repair-mini.tar"), false);
    if (workshop.info.kernels !== "simd128") throw new Error(workshop.info.kernels);
    const ends = {};
    const clock = () => performance.now();
    for (const [name, ask] of Object.entries(asks)) {
      const drafts = [];
      workshop.push(JSON.stringify(ask), clock);
      for (let told; !ends[name] && (told = workshop.step(clock)); ) {
        for (const { news } of told) {
          if (news.draft) drafts.push("");
          else if (news.piece !== undefined) drafts.length ? (drafts[drafts.length - 1] += news.piece) : drafts.push(news.piece);
          else if (!news.step) ends[name] = { ...news, drafts };
        }
      }
    }
    workshop.free();
    return ends;
  }, { asks: repairs.asks });
  checkRepairs(ends);
});

test("the page's own thread is free while a worker writes, and pieces come one by one", async () => {
  const { longest, times, ms } = await page.evaluate(async () => {
    const repairer = await createRepairer();
    await repairer.repair(wordy).result;
    const tasks = [];
    const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)));
    observer.observe({ type: "longtask" });
    const start = performance.now();
    const times = [];
    for await (const _ of repairer.repair(wordy)) times.push(performance.now() - start);
    const ms = performance.now() - start;
    await new Promise((resolve) => setTimeout(resolve, 100));
    observer.disconnect();
    await repairer.dispose();
    return { longest: Math.max(0, ...tasks), times, ms };
  });
  console.log(`first piece ${times[0].toFixed(0)} ms, all ${ms.toFixed(0)} ms, ${times.length} pieces, longest task ${longest} ms`);
  assert.equal(longest, 0, "no task of the page is longer than 50 ms");
  assert.ok(times.length >= 3 && times[0] < ms);
});

test("of two models on the page's thread one may end while the other writes, and be opened again", async () => {
  const [usual, during, after] = await page.evaluate(async () => {
    const [kept, gone] = [await createRepairer({ worker: false }), await createRepairer({ worker: false })];
    const usual = (await gone.repair(wordy).result).repaired;
    const course = kept.repair(wordy);
    for await (const _ of course) {
      await gone.dispose();
      break;
    }
    const during = (await kept.repair(wordy).result).repaired;
    await kept.dispose();
    const again = await createRepairer({ worker: false });
    const after = (await again.repair(wordy).result).repaired;
    await again.dispose();
    return [usual, during, after];
  });
  assert.deepEqual([during, after], [usual, usual]);
});

test("a hundred repairs, some given up, need no more memory than ten", async () => {
  const [early, late] = await page.evaluate(async () => {
    const { default: init } = await import("/grice/writer-relaxed-simd/grice.js").catch(() => import("/grice/writer-simd128/grice.js"));
    const repairer = await createRepairer({ worker: false });
    const { memory } = await init();
    const run = async (index) => {
      const course = repairer.repair({ ...wordy, context: `Film ${index}?` }, { violations: ["quantity"], rounds: 1 });
      if (index % 3 === 0) for await (const _ of course) break;
      else await course.result;
    };
    for (let index = 0; index < 10; index += 1) await run(index);
    const early = memory.buffer.byteLength;
    for (let index = 10; index < 100; index += 1) await run(index);
    const late = memory.buffer.byteLength;
    await repairer.dispose();
    return [early, late];
  });
  console.log(`WebAssembly memory: ${(early / 2 ** 20).toFixed(0)} MiB`);
  assert.equal(late, early);
});

test("models open from the cache when the server is gone, and a digest is checked", async () => {
  const { digest, first, again, wrong } = await page.evaluate(async () => {
    await grice.clearModelCache();
    const bytes = await (await fetch("/models/repair-mini.tar")).arrayBuffer();
    const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const phases = new Set();
    const load = async (options) => {
      const repairer = await createRepairer({ integrity: digest, onProgress: ({ phase }) => phases.add(phase), ...options });
      const { repaired } = await repairer.repair(wordy).result;
      const { modelCache, detectorCache } = repairer.info;
      await repairer.dispose();
      return { repaired, modelCache, detectorCache };
    };
    const first = { ...(await load()), phases: [...phases].sort() };
    const again = await load();
    const wrong = await outcome(createRepairer({ integrity: digest.replace(/^./, (digit) => (digit === "0" ? "1" : "0")) }));
    return { digest, first, again, wrong };
  });
  assert.match(digest, /^[0-9a-f]{64}$/);
  assert.deepEqual([first.modelCache, first.detectorCache], ["stored", "stored"]);
  assert.deepEqual(first.phases, ["detector", "model", "runtime", "start"]);
  assert.deepEqual([again.modelCache, again.detectorCache], ["hit", "hit"]);
  assert.equal(again.repaired, first.repaired);
  assert.deepEqual([wrong.code, wrong.isOurs], ["integrity", true]);
  const downloads = shared.server.requests.filter(({ path }) => path === "/models/embedded.tar").length;
  const offline = await page.evaluate(async () => {
    const repairer = await createRepairer();
    const { repaired } = await repairer.repair(wordy).result;
    await repairer.dispose();
    return repaired;
  });
  assert.equal(offline, first.repaired);
  assert.equal(shared.server.requests.filter(({ path }) => path === "/models/embedded.tar").length, downloads, "nothing was fetched again");
});

test("files that are no such models are errors that say what to do", async () => {
  const found = await page.evaluate(async () => {
    const load = {
      "no recipes": createRepairer({ model: "/models/tiny-llama.tar" }),
      "no answers": grice.createPipeline({ model: "/models/tiny-llama.tar", detector: "/models/embedded.tar" }),
      "a detector": createRepairer({ model: "/models/embedded.tar" }),
      "a writer": createRepairer({ detector: "/models/tiny-llama.tar" }),
      "an ONNX file": createRepairer({ detector: "/models/tiny-bert.tar" }),
      nothing: createRepairer({ model: "/models/none.tar" }),
      page: createRepairer({ model: "/index.html" }),
      "no detector": createRepairer({ detector: undefined }),
      bytes: createRepairer({ model: new Uint8Array(100) }),
      memory: createRepairer({ memoryMax: "much" }),
      threshold: createRepairer({ thresholds: { manner: 2 } }),
      worker: createRepairer({ worker: 7 }),
      "little memory": createRepairer({ memoryMax: 1 }).then(async (repairer) => {
        const end = await repairer.repair(wordy).result;
        await repairer.dispose();
        return end.trace.find(({ reason }) => reason).reason;
      }),
    };
    const told = {};
    for (const [name, model] of Object.entries(load)) told[name] = await outcome(model);
    return told;
  });
  const { "little memory": little, ...errors } = found;
  const codes = Object.fromEntries(Object.entries(errors).map(([name, { code }]) => [name, code]));
  assert.deepEqual(codes, {
    "no recipes": "bad_model",
    "no answers": "bad_model",
    "a detector": "bad_model",
    "a writer": "bad_model",
    "an ONNX file": "bad_model",
    nothing: "download",
    page: "bad_model",
    "no detector": "bad_input",
    bytes: "bad_model",
    memory: "bad_input",
    threshold: "bad_input",
    worker: "bad_input",
  });
  assert.match(errors["no recipes"].message, /no recipe for repairs/);
  assert.match(errors["an ONNX file"].message, /grice compile --device cpu/);
  assert.match(errors["a detector"].message, /embedded\.tar/);
  assert.match(errors["no detector"].message, /`detector` must be a URL/);
  assert.match(little.value, /pages of memory, and there are 0/);
});

test("models with an encoder write too, greedily, drawn, searched and stopped", async () => {
  const found = await page.evaluate(async () => {
    const texts = {};
    for (const name of ["tiny-t5", "tiny-llama"]) {
      const generator = await tiny({ model: `/models/${name}.tar` });
      const write = (options) => follow(generator.generate("w20 w21 w22", { maxNewTokens: 8, ...options }));
      const greedy = await write();
      const [again, drawn, redrawn, beams] = [await write({ draft: 4 }), await write({ temperature: 1.5, seed: 3 }), await write({ temperature: 1.5, seed: 3 }), await write({ beams: 3 })];
      const word = greedy.text.trim().split(" ")[1];
      const stopped = await write({ stop: word });
      texts[name] = { greedy, again, drawn, redrawn, beams, stopped, word };
      await generator.dispose();
    }
    return texts;
  });
  for (const [name, { greedy, again, drawn, redrawn, beams, stopped, word }] of Object.entries(found)) {
    assert.ok(greedy.text.length > 3, name);
    assert.deepEqual(again.text, greedy.text, name);
    assert.deepEqual(redrawn, drawn, name);
    for (const each of [greedy, drawn, beams, stopped]) assert.equal(each.drafts.join(""), each.text, name);
    assert.equal(stopped.text, greedy.text.slice(0, greedy.text.indexOf(word)), name);
    assert.equal(stopped.finishReason, "stop");
    assert.equal(greedy.promptTokens >= 3 && greedy.generatedTokens <= 8, true);
  }
});
