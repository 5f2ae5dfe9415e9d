// Every failure is a GriceError with a code: each is provoked in a page of its own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { serve } from "./support/server.mjs";
import { dist } from "./support/fixtures.mjs";
import { suite } from "./support/suite.mjs";

const shared = await suite({ flags: ["--host-resolver-rules=MAP other.test 127.0.0.1", "--enable-unsafe-webgpu"] });
const { server, bundles } = shared;
/** The same files with `headers`, from another origin. */
const others = [];
async function serveWith(headers, routes = {}) {
  const other = await serve({ folders: { "/grice/": dist, "/models/": bundles.folder }, routes, headers });
  others.push(other);
  return other;
}
test.after(() => Promise.all(others.map((other) => other.close())));

const html = (body) => (request, response) => response.writeHead(200, { "Content-Type": "text/html" }).end(body);
const WASM = "/grice/lean-relaxed-simd/grice_bg.wasm";
/** What bundles without a compiled program need as well. */
const WITH_ONNX = "/grice/relaxed-simd/grice_bg.wasm";

/** What became of a script in a page: what it threw, as data. `script` gets `create`, `turn` and `grice`, and `given`. */
async function provoke(page, script, given, entry = "/grice/index.js") {
  return await page.evaluate(
    async ([script, given, entry]) => {
      const grice = await import(entry);
      const create = (options) => grice.createDetector({ model: "/models/tiny-bert.tar", ...options });
      const turn = { context: "How was the film?", response: "It was a film." };
      const late = new Promise((resolve) => setTimeout(() => resolve("it never settled"), 280_000));
      try {
        const work = (0, eval)(`(${script})`)({ create, turn, grice, given });
        return { value: String(await Promise.race([work, late])) };
      } catch (error) {
        return { isOurs: error instanceof grice.GriceError, name: error?.name, code: error?.code, message: String(error?.message ?? error) };
      }
    },
    [String(script), given, entry],
  );
}

function check(found, code, words) {
  const said = JSON.stringify(found);
  assert.equal(found.isOurs, true, said);
  assert.equal(found.name, "GriceError", said);
  assert.equal(found.code, code, said);
  assert.match(found.message, words, said);
}

/** Name, code, what the message says, and what provokes it in a page of the package's origin; `worker` says where. */
const table = [
  // What the page asks for.
  ["no options", "bad_input", /options must be an object/, ({ grice }) => grice.createDetector()],
  ["options that are null", "bad_input", /options must be an object, not null/, ({ grice }) => grice.createDetector(null)],
  ["no model", "bad_input", /`model` must be/, ({ grice }) => grice.createDetector({})],
  ["a signal that is none", "bad_input", /`signal`/, ({ create, given }) => create({ worker: given, signal: {} })],
  ["a worker that is none", "bad_input", /`worker` must be/, ({ create }) => create({ worker: "yes" })],
  ["a function that makes no worker", "bad_input", /returned no `Worker`/, ({ create }) => create({ worker: () => ({}) })],
  ["a function that fails", "bad_input", /could not be created: oh/, ({ create }) => create({ worker: () => { throw new Error("oh"); } })],
  ["a function that throws null", "bad_input", /could not be created/, ({ create }) => create({ worker: () => { throw null; } })],
  ["a model cache that is none", "bad_input", /`modelCache`/, ({ create, given }) => create({ worker: given, modelCache: "disk" })],
  ["a cache that is none", "bad_input", /`cache`/, ({ create, given }) => create({ worker: given, cache: 5 })],
  ["batching that is none", "bad_input", /`batching`/, ({ create, given }) => create({ worker: given, batching: 5 })],
  ["an integrity that is none", "bad_input", /`integrity`/, ({ create, given }) => create({ worker: given, integrity: 7 })],
  ["a listener that is none", "bad_input", /`onProgress`/, ({ create, given }) => create({ worker: given, onProgress: 7 })],
  ["a threshold that JSON has no form for", "bad_input", /BigInt/, ({ create, given }) => create({ worker: given, thresholds: { manner: 1n } })],
  ["a threshold that is not a number", "bad_input", /NaN/, ({ create, given }) => create({ worker: given, thresholds: { manner: NaN } })],
  ["a queue without end", "bad_input", /Infinity/, ({ create, given }) => create({ worker: given, batching: { queueMax: Infinity } })],
  ["a device that is a cycle", "bad_input", /`device`/, ({ create, given }) => { const device = {}; device.self = device; return create({ worker: given, device }); }],
  // Bytes that the page gives.
  ["bytes that are gone", "bad_input", /bytes of `model` cannot be read/, ({ create, given }) => { const model = new ArrayBuffer(8); structuredClone(model, { transfer: [model] }); return create({ worker: given, model }); }],
  ["a stream that somebody reads", "bad_input", /stream .* cannot be read/, ({ create, given }) => { const model = new ReadableStream(); model.getReader(); return create({ worker: given, model }); }],
  ["a stream of text", "bad_input", /gives strings, not bytes/, ({ create, given }) => create({ worker: given, model: new ReadableStream({ start: (controller) => (controller.enqueue("text"), controller.close()) }) })],
  ["a response that was read", "bad_input", /already been read/, async ({ create, given }) => { const model = await fetch("/models/tiny-bert.tar"); await model.arrayBuffer(); return create({ worker: given, model }); }],
  ["a response of 404", "download", /nowhere\.tar: 404/, async ({ create, given }) => create({ worker: given, model: await fetch("/nowhere.tar") })],
  ["an opaque response", "download", /opaque/, async ({ create, given }) => create({ worker: given, model: await fetch("/models/tiny-bert.tar".replace(/^/, location.origin.replace("127.0.0.1", "other.test")), { mode: "no-cors" }) })],
  ["an error response", "download", /the response: 0/, ({ create, given }) => create({ worker: given, model: Response.error() })],
  ["a response with a page", "bad_model", /index\.html: .*not a readable \.tar.*status 200, text\/html.*<!doctype html>/, async ({ create, given }) => create({ worker: given, model: await fetch("/index.html") })],
  ["a URL without CORS", "download", /other\.test.*Failed to fetch/, ({ create, given }) => create({ worker: given, model: location.origin.replace("127.0.0.1", "other.test") + "/models/tiny-bert.tar" })],
  // Calls.
  ["call options that are null", "bad_input", /options must be an object/, async ({ create, given, turn }) => (await create({ worker: given })).detect(turn, null)],
  ["turns that are no list", "bad_input", /takes a list/, async ({ create, given }) => (await create({ worker: given })).detectBatch("turns")],
  ["a list with a hole", "bad_input", /not a turn/, async ({ create, given, turn }) => (await create({ worker: given })).detectBatch([turn, , turn])],
  ["a turn whose getter throws null", "bad_input", /not a turn/, async ({ create, given }) => (await create({ worker: given })).detect({ get response() { throw null; } })],
  ["a turn with a function", "bad_input", /not a turn/, async ({ create, given }) => (await create({ worker: given })).detect({ context: () => 1, response: 5 })],
  ["a call's threshold that is not a number", "bad_input", /NaN/, async ({ create, given, turn }) => (await create({ worker: given })).detect(turn, { thresholds: { manner: NaN } })],
  ["a call's signal that is none", "bad_input", /`signal`/, async ({ create, given, turn }) => (await create({ worker: given })).detect(turn, { signal: 7 })],
  ["a call after the end", "disposed", /disposed/, async ({ create, given, turn }) => { const detector = await create({ worker: given }); await detector.dispose(); return detector.detect(turn); }],
];

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "on the page's thread";
  test(`what makes no sense, what is no model and what comes too late: ${where}`, async () => {
    const page = await shared.page();
    for (const [name, code, words, script] of table) {
      const found = await provoke(page, script, worker);
      assert.equal(found.code, code, `${name}: ${JSON.stringify(found)}`);
      check(found, code, words);
    }
    await page.close();
  });

  test(`a browser without WebAssembly or its SIMD: ${where}`, async () => {
    for (const [script, words] of [["no-wasm.js", /has no WebAssembly \(/], ["no-simd.js", /has no WebAssembly SIMD \(/]]) {
      const code = script === "no-wasm.js" ? "delete globalThis.WebAssembly;" : "WebAssembly.validate = () => false;";
      server.routes[`/${script}`] = (request, response) => response.writeHead(200, { "Content-Type": "text/javascript" }).end(code);
      server.routes[`/worker-${script}`] = (request, response) =>
        response.writeHead(200, { "Content-Type": "text/javascript" }).end(`import "/${script}"; import "/grice/worker.js";`);
      const page = await shared.page();
      await page.evaluate((script) => import(`/${script}`), script);
      const made = ({ create, given: [worker, script] }) => create({ worker: worker && (() => new Worker(`/worker-${script}`, { type: "module" })) });
      check(await provoke(page, made, [worker, script]), "unsupported", words);
      if (!worker) assert.equal(await page.evaluate(async () => (await (await import("/grice/index.js")).supports()).simd), false);
      await page.close();
    }
  });

  test(`a module that cannot be had, or is none: ${where}`, async (t) => {
    t.after(() => delete server.routes[WASM]);
    const wasm = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const typed = (type, bytes) => (request, response) => response.writeHead(200, { "Content-Type": type }).end(bytes);
    const answers = {
      "that is not there": [(request, response) => response.writeHead(404).end(), /grice_bg\.wasm: 404/],
      "this is a web page": [html("<!doctype html><title>Sign in</title>"), /status 200, text\/html, 37 bytes that begin with "<!doctype html><title>Sign in.*this is a web page/],
      "that is empty": [typed("application/wasm", ""), /an empty body/],
      "from another build": [typed("application/wasm", wasm), /from another build/],
      "that is damaged": [typed("application/wasm", Buffer.concat([wasm, Buffer.alloc(100, 7)])), /damaged/],
      "that breaks off": [(request, response) => (response.writeHead(200, { "Content-Type": "application/wasm", "Content-Length": 9000 }), response.write(wasm, () => setTimeout(() => response.destroy(), 50))), /broke off after 8 bytes/],
    };
    for (const [name, [route, words]] of Object.entries(answers)) {
      server.routes[WASM] = route;
      const page = await shared.page();
      const found = await provoke(page, ({ create, given }) => create({ worker: given }), worker);
      assert.equal(found.code, "download", `${name}: ${JSON.stringify(found)}`);
      check(found, "download", words);
      await page.close();
    }
    delete server.routes[WASM];
    server.routes[WITH_ONNX] = (request, response) => response.writeHead(404).end();
    t.after(() => delete server.routes[WITH_ONNX]);
    const page = await shared.page();
    check(await provoke(page, ({ create, given }) => create({ worker: given }), worker), "download", /\/relaxed-simd\/grice_bg\.wasm: 404/);
    await page.close();
  });

  test(`a policy that forbids WebAssembly: ${where}`, async () => {
    const strict = await serveWith({ "Content-Security-Policy": "script-src 'self'" }, {});
    strict.routes["/"] = (request, response) => response.writeHead(200, { "Content-Type": "text/html", "Content-Security-Policy": "script-src 'self'" }).end("<!doctype html>");
    const page = await shared.browser.open(strict.url);
    // As a module of the page: what the debugger evaluates may use `eval`, which `provoke` needs, whatever the policy says.
    const found = await page.evaluate(async (worker) => {
      const { createDetector, GriceError } = await import("/grice/index.js");
      return await createDetector({ model: "/models/tiny-bert.tar", worker }).then(String, (error) => ({ isOurs: error instanceof GriceError, name: error.name, code: error.code, message: error.message }));
    }, worker);
    check(found, "unsupported", /wasm-unsafe-eval/);
    await page.close();
  });

  test(`memory that runs out: ${where}`, async () => {
    server.routes["/narrow.js"] = (request, response) =>
      response.writeHead(200, { "Content-Type": "text/javascript" }).end(`
        for (const name of ["instantiate", "instantiateStreaming"])
          WebAssembly[name] = async () => { throw new RangeError("WebAssembly.instantiate(): Out of memory: Cannot allocate Wasm memory for new instance"); };
      `);
    server.routes["/narrow-worker.js"] = (request, response) =>
      response.writeHead(200, { "Content-Type": "text/javascript" }).end(`import "/narrow.js"; import "/grice/worker.js";`);
    const page = await shared.page();
    const made = async ({ create, given }) => {
      await import("/narrow.js");
      return await create({ worker: given && (() => new Worker("/narrow-worker.js", { type: "module" })) });
    };
    check(await provoke(page, made, worker), "crashed", /memory ran out/);
    const large = async ({ create, given }) => {
      const whole = Uint8Array;
      globalThis.Uint8Array = class extends whole {
        constructor(...parts) {
          if (parts[0] === 4321) throw new RangeError("Array buffer allocation failed");
          super(...parts);
        }
      };
      const model = new ReadableStream({ start: (controller) => (controller.enqueue(new whole(4321)), controller.close()) });
      return await create({ worker: given, model }).finally(() => (globalThis.Uint8Array = whole));
    };
    check(await provoke(page, large, worker), "crashed", /memory ran out: Array buffer allocation failed/);
    await page.close();
  });

  for (const [when, exported] of [
    ["while it loads", "detector_load"],
    ["when a turn is taken", "detector_push"],
    ["when it looks for what to do", "detector_poll"],
    ["while a batch runs", "detector_run"],
    ["after a batch", "detector_complete"],
  ]) {
    test(`a module that traps ${when}: ${where}`, async () => {
      const page = await shared.page();
      const script = async ({ create, turn, given: [inWorker, exported] }) => {
        const { traps } = await import("/trapping.js");
        let thread;
        const worker = inWorker && (() => {
          thread = new Worker("/trapping-worker.js", { type: "module" });
          if (exported === "detector_load") thread.postMessage({ type: "trap", name: exported });
          return thread;
        });
        if (exported === "detector_load" && !inWorker) traps.add(exported);
        const detector = await create({ worker });
        const other = inWorker ? undefined : await create({ worker });
        if (inWorker) thread.postMessage({ type: "trap", name: exported });
        else traps.add(exported);
        // All who wait hear of it, and all who come later.
        const all = [detector.detect(turn), detector.detect({ response: "Another." }), ...(other ? [other.detect({ response: "A third." })] : [])];
        const outcomes = await Promise.allSettled(all);
        const late = await Promise.allSettled([detector, ...(other ? [other] : [])].map((each) => each.detect(turn)));
        for (const { status, reason } of [...outcomes, ...late]) {
          if (status !== "rejected" || reason.code !== "crashed") throw new Error(`${status}: ${reason}`);
        }
        await detector.dispose();
        throw outcomes[0].reason;
      };
      check(await provoke(page, script, [worker, exported]), "crashed", /WebAssembly module ended: unreachable/);
      const again = await provoke(page, async ({ create, turn, given }) => (await (await create({ worker: given })).detect(turn)).cooperative, worker);
      // A worker can be made anew, the page's own module cannot.
      if (worker) assert.match(again.value, /true|false/);
      else check(again, "crashed", /ended on this thread before.*reload the page/);
      await page.close();
    });
  }
}

for (const [when, exported, nth] of [["while it opens on a GPU", "task_poll", 0], ["while a batch runs on a GPU", "task_poll", 1]]) {
  test(`a module on the page's thread that traps ${when}`, async () => {
    const page = await shared.page();
    const script = async ({ create, turn, given: [exported, nth] }) => {
      const { traps } = await import("/trapping.js");
      if (nth === 0) traps.add(exported);
      const detector = await create({ worker: false, device: "gpu" });
      traps.add(exported);
      return await detector.detect(turn);
    };
    check(await provoke(page, script, [exported, nth], "/grice/webgpu.js"), "crashed", /WebAssembly module ended: unreachable/);
    await page.close();
  });
}

test("a page without `Worker` is told what to do, and can do it", async () => {
  const page = await shared.page();
  await page.evaluate(() => delete globalThis.Worker);
  check(await provoke(page, ({ create }) => create()), "unsupported", /no `Worker` here.*`worker: false`.*grice\/thread/);
  assert.match((await provoke(page, async ({ create }) => (await create({ worker: false })).info.worker)).value, /false/);
  const thread = await provoke(page, async ({ create, turn }) => (await (await create()).detect(turn)).cooperative, undefined, "/grice/thread.js");
  assert.match(thread.value, /true|false/);
  check(await provoke(page, ({ create }) => create({ worker: true }), undefined, "/grice/thread.js"), "unsupported", /`grice` does/);
  await page.close();
});

test("a worker's script from another origin", async () => {
  const other = await serveWith({ "Access-Control-Allow-Origin": "*" });
  const page = await shared.page();
  check(await provoke(page, ({ create, given }) => create({ worker: () => new Worker(`${given}/grice/worker.js`, { type: "module" }) }), other.url), "unsupported", /own origin/);
  // The whole package from there.
  check(await provoke(page, ({ create }) => create(), undefined, `${other.url}/grice/index.js`), "unsupported", /own origin/);
  const here = await provoke(page, async ({ create, turn }) => (await (await create({ worker: false })).detect(turn)).cooperative, undefined, `${other.url}/grice/index.js`);
  assert.match(here.value, /true|false/);
  await page.close();
});

test("a worker's script that is not there, is a page, or breaks", async () => {
  server.routes["/page-worker.js"] = html("<!doctype html>");
  server.routes["/broken-worker.js"] = (request, response) => response.writeHead(200, { "Content-Type": "text/javascript" }).end('import "/nowhere.js";');
  const page = await shared.page();
  for (const path of ["/nowhere.js", "/page-worker.js", "/broken-worker.js"]) {
    const found = await provoke(page, ({ create, given }) => create({ worker: () => new Worker(given, { type: "module" }) }), path);
    check(found, "download", /the worker did not start.*worker\.js/);
  }
  await page.close();
});

test("a policy that forbids workers", async () => {
  server.routes["/no-workers.html"] = (request, response) => response.writeHead(200, { "Content-Type": "text/html", "Content-Security-Policy": "worker-src 'none'" }).end("<!doctype html>");
  const page = await shared.page("/no-workers.html");
  check(await provoke(page, ({ create }) => create()), "unsupported", /worker-src/);
  await page.close();
});

test("scripts of the package that are not there", async (t) => {
  server.routes["/grice/host.js"] = (request, response) => response.writeHead(404).end();
  t.after(() => delete server.routes["/grice/host.js"]);
  const page = await shared.page();
  check(await provoke(page, ({ create }) => create({ worker: false })), "download", /script of the package could not be loaded/);
  check(await provoke(page, ({ create }) => create({ worker: true })), "download", /the worker did not start/);
  await page.close();
});

test("messages between page and worker that cannot be read", async () => {
  const page = await shared.page();
  const loading = ({ create }) => create({ worker: () => { const worker = new Worker("/grice/worker.js", { type: "module" }); queueMicrotask(() => worker.dispatchEvent(new MessageEvent("messageerror"))); return worker; } });
  check(await provoke(page, loading), "crashed", /could not be read/);
  const judging = async ({ create, turn }) => {
    let worker;
    const detector = await create({ worker: () => (worker = new Worker("/grice/worker.js", { type: "module" })) });
    const waiting = detector.detect(turn);
    worker.dispatchEvent(new MessageEvent("messageerror"));
    return await waiting;
  };
  check(await provoke(page, judging), "crashed", /could not be read/);
  // The other way: memory that the page may not share.
  server.routes["/deaf-worker.js"] = (request, response) =>
    response.writeHead(200, { "Content-Type": "text/javascript" }).end('import "/grice/worker.js"; addEventListener("message", () => dispatchEvent(new MessageEvent("messageerror")));');
  check(await provoke(page, ({ create }) => create({ worker: () => new Worker("/deaf-worker.js", { type: "module" }) })), "crashed", /to the worker could not be read/);
  await page.close();
});

test("a page without an origin: storage and workers are denied", async () => {
  const open = await serveWith({ "Access-Control-Allow-Origin": "*" });
  const page = await shared.page();
  const frames = page.waitForEvent("frameattached");
  await page.evaluate((url) => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<!doctype html><base href="${url}/">`;
    document.body.append(frame);
  }, open.url);
  const frame = await frames;
  await frame.waitForLoadState();
  const entry = `${open.url}/grice/index.js`;
  const model = `${open.url}/models/tiny-bert.tar`;
  assert.equal(await frame.evaluate(() => { try { return String(caches); } catch (error) { return error.name; } }), "SecurityError");
  check(await provoke(frame, ({ create, given }) => create({ model: given }), model, entry), "unsupported", /own origin/);
  check(await provoke(frame, ({ grice }) => grice.clearModelCache(), model, entry), "unsupported", /model cache cannot be reached/);
  const here = await provoke(frame, async ({ create, given }) => (await create({ worker: false, model: given })).info.modelCache, model, entry);
  assert.equal(here.value, "unavailable", JSON.stringify(here));
  await page.close();
});
