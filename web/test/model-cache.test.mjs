// Where the model's bytes come from, and what becomes of them.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { sendPartly } from "./support/server.mjs";
import { suite } from "./support/suite.mjs";

// A name that is neither localhost nor HTTPS: no secure context, so no Cache API and no digests.
const shared = await suite({ flags: ["--host-resolver-rules=MAP insecure.test 127.0.0.1"] });
const { bundles, server } = shared;
const bytes = bundles.bytes("tiny-bert");
const hex = createHash("sha256").update(bytes).digest("hex");
const base64 = `sha256-${createHash("sha256").update(bytes).digest("base64")}`;

/** Loads a model in a page and asks it something; or the error. */
async function load(page, options) {
  return await page.evaluate(async (options) => {
    const { createDetector } = await import("/grice/index.js");
    const progress = [];
    const model = options.stream ? (await fetch(options.model)).body : options.response ? fetch(options.model) : options.model;
    try {
      const detector = await createDetector({ ...options, model: await model, onProgress: (each) => progress.push(each) });
      const { probabilities } = await detector.detect({ response: "Well." });
      const { info } = detector;
      await detector.dispose();
      return { probabilities, info, progress };
    } catch (error) {
      return { code: error.code, message: error.message, progress };
    }
  }, options);
}

const asked = (path) => server.requests.filter((request) => request.path === path).length;

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "on the page's thread";
  const model = `/models/tiny-bert.tar?${worker}`;

  test(`a model is kept, found again, and replaced when it is damaged: ${where}`, async () => {
    const page = await shared.page();
    const first = await load(page, { model, worker });
    assert.equal(first.info.modelCache, "stored");
    const before = asked("/models/tiny-bert.tar");
    const second = await load(page, { model, worker });
    assert.equal(second.info.modelCache, "hit");
    assert.equal(asked("/models/tiny-bert.tar"), before, "nothing was fetched");
    assert.deepEqual(second.probabilities, first.probabilities);
    assert.deepEqual(
      second.progress.filter(({ phase }) => phase === "model"),
      [{ phase: "model", loaded: bytes.length, total: bytes.length, cached: true }],
    );
    for (const damage of ["flip", "cut", "undigested"]) {
      await page.evaluate(damageEntry, { model, damage });
      const third = await load(page, { model, worker });
      assert.equal(third.info.modelCache, "stored", damage);
      assert.deepEqual(third.probabilities, first.probabilities);
    }
    assert.equal((await load(page, { model, worker })).info.modelCache, "hit");
    await page.evaluate(async () => (await import("/grice/index.js")).clearModelCache());
    assert.equal((await load(page, { model, worker })).info.modelCache, "stored");
    assert.equal((await load(page, { model, worker, modelCache: "none" })).info.modelCache, "off");
    await page.close();
  });

  test(`integrity is held to, from the network and from the cache: ${where}`, async () => {
    const page = await shared.page();
    const model = `/models/tiny-bert.tar?integrity-${worker}`;
    const wrong = await load(page, { model, worker, integrity: "0".repeat(64) });
    assert.equal(wrong.code, "integrity");
    assert.match(wrong.message, new RegExp(`its SHA-256 is ${hex}, not 0{64}`));
    for (const [integrity, outcome] of [[hex, "stored"], [hex.toUpperCase(), "hit"], [`sha256:${hex}`, "hit"], [base64, "hit"]]) {
      assert.equal((await load(page, { model, worker, integrity })).info?.modelCache, outcome, integrity);
    }
    // What is kept is whole, but another version than the one that is asked for now.
    const other = createHash("sha256").update(bundles.bytes("tiny-deberta")).digest("hex");
    server.routes["/versions.tar"] = (request, response) => response.end(bundles.bytes("tiny-bert"));
    assert.equal((await load(page, { model: "/versions.tar", worker })).info.name, "tiny-bert");
    server.routes["/versions.tar"] = (request, response) => response.end(bundles.bytes("tiny-deberta"));
    assert.equal((await load(page, { model: "/versions.tar", worker })).info.name, "tiny-bert", "its URL names the version");
    assert.equal((await load(page, { model: "/versions.tar", worker, integrity: other })).info.name, "tiny-deberta");
    await page.evaluate(async () => (await import("/grice/index.js")).clearModelCache());
    await page.close();
  });

  test(`without room for the model it runs all the same, and says so: ${where}`, async () => {
    const page = await shared.page();
    const session = await page.context().newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.url, quotaSize: 100_000 });
    const { info, probabilities } = await load(page, { model: `${model}-quota`, worker });
    assert.equal(info.modelCache, "quota");
    assert.ok(probabilities.manner > 0);
    // Room for one: the other makes it.
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.url, quotaSize: 900_000 });
    assert.equal((await load(page, { model: `${model}-one`, worker })).info.modelCache, "stored");
    assert.equal((await load(page, { model: `${model}-two`, worker })).info.modelCache, "stored");
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.url });
    await page.close();
  });

  test(`a page without a Cache API loads, and says so: ${where}`, async () => {
    const page = await shared.browser.open(server.url.replace("127.0.0.1", "insecure.test"));
    assert.equal(await page.evaluate(() => globalThis.isSecureContext), false);
    assert.equal((await load(page, { model, worker })).info.modelCache, "unavailable");
    const { code } = await load(page, { model, worker, integrity: hex });
    assert.equal(code, "unsupported", "a digest that cannot be checked is not taken to be right");
    await page.close();
  });

  test(`a stream, a response and bytes are models too: ${where}`, async () => {
    const page = await shared.page();
    for (const form of [{ stream: true }, { response: true }]) {
      const { info, progress } = await load(page, { model, worker, integrity: hex, ...form });
      assert.equal(info?.modelCache, "off");
      assert.equal(progress.filter(({ phase }) => phase === "model").at(-1).loaded, bytes.length);
    }
    const kept = await page.evaluate(async ({ model, worker }) => {
      const { createDetector } = await import("/grice/index.js");
      const bytes = await (await fetch(model)).arrayBuffer();
      await (await createDetector({ model: bytes, worker })).dispose();
      await (await createDetector({ model: new Uint8Array(bytes), worker })).dispose();
      return bytes.byteLength;
    }, { model, worker });
    assert.equal(kept, bytes.length, "the caller's bytes are still the caller's");
    await page.close();
  });

  test(`a download that breaks off is taken up in the browser too: ${where}`, async () => {
    const page = await shared.page();
    let times = 0;
    server.routes["/torn.tar"] = (request, response) => {
      const start = Number(/\d+/.exec(request.headers.range ?? "0")[0]);
      const rest = bytes.subarray(start);
      const range = start ? { "Content-Range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {};
      const headers = { ETag: '"a"', "Cache-Control": "no-store", ...range };
      const status = start ? 206 : 200;
      if (times++ < 2) return sendPartly(response, rest, { status, headers, sent: 100_000 });
      response.writeHead(status, { "Content-Length": rest.length, ...headers }).end(rest);
    };
    const { info, progress, message } = await load(page, { model: "/torn.tar", worker, integrity: hex, modelCache: "none" });
    assert.equal(info?.name, "tiny-bert", message);
    const ranges = server.requests.filter(({ path }) => path === "/torn.tar").map(({ range }) => range);
    const starts = ranges.slice(-3).map((range) => Number(/\d+/.exec(range ?? "0")[0]));
    // What was sent just before the break may be lost on its way, and is asked for again.
    assert.deepEqual(starts, starts.toSorted((a, b) => a - b));
    assert.equal(starts[0], 0);
    assert.ok(starts[1] <= 100_000 && 0 < starts[2] && starts[2] <= 200_000, starts.join());
    const loaded = progress.filter(({ phase }) => phase === "model").map(({ loaded }) => loaded);
    assert.deepEqual(loaded, loaded.toSorted((a, b) => a - b), "it never goes back");
    assert.equal(loaded.at(-1), bytes.length);
    await page.close();
  });

  test(`what cannot be had is an error that names it: ${where}`, async () => {
    const page = await shared.page();
    const missing = await load(page, { model: "/nowhere.tar", worker });
    assert.equal(missing.code, "download");
    assert.match(missing.message, /\/nowhere\.tar: 404/);
    const page404 = await load(page, { model: "/index.html", worker, modelCache: "none" });
    assert.equal(page404.code, "bad_model");
    assert.match(page404.message, /not a readable \.tar/);
    await page.close();
  });

  test(`loading that is given up rejects with the reason, and the download ends: ${where}`, async () => {
    const page = await shared.page();
    let closed;
    const ended = new Promise((resolve) => (closed = resolve));
    server.routes["/slow.tar"] = (request, response) => {
      response.on("close", closed);
      response.writeHead(200, { "Content-Length": bytes.length });
      response.write(bytes.subarray(0, 1000));
    };
    const message = await page.evaluate(async (worker) => {
      const { createDetector } = await import("/grice/index.js");
      const controller = new AbortController();
      const onProgress = ({ phase, loaded }) => phase === "model" && loaded > 0 && controller.abort(new Error("no patience"));
      const before = await createDetector({ model: "/slow.tar", worker, signal: AbortSignal.abort(new Error("no wish")) }).catch((error) => error.message);
      const during = await createDetector({ model: "/slow.tar", worker, onProgress, signal: controller.signal }).catch((error) => error.message);
      return [before, during];
    }, worker);
    assert.deepEqual(message, ["no wish", "no patience"]);
    await ended;
    await page.close();
  });
}

test("supports() says what the browser has", async () => {
  const page = await shared.page();
  const found = await page.evaluate(async () => (await import("/grice/index.js")).supports());
  assert.deepEqual({ ...found, webgpu: undefined }, { simd: true, relaxedSimd: true, webgpu: undefined, sharedMemory: false });
  assert.equal(typeof found.webgpu, "boolean");
  await page.close();
});

async function damageEntry({ model, damage }) {
  const [name] = await caches.keys();
  const cache = await caches.open(name);
  const entry = await cache.match(model);
  const headers = new Headers(entry.headers);
  let body = new Uint8Array(await entry.arrayBuffer());
  if (damage === "flip") body[body.length >> 1] ^= 1;
  if (damage === "cut") body = body.slice(0, -1024);
  if (damage === "undigested") headers.delete("X-Grice-Sha256");
  await cache.put(model, new Response(body, { headers }));
}
