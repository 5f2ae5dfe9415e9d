// Hosts that answer something else in place of a bundle: it is said what came, and nothing of it is kept.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import path from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { root } from "./support/fixtures.mjs";
import { sendPartly } from "./support/server.mjs";
import { suite } from "./support/suite.mjs";

const shared = await suite();
const { bundles, server } = shared;
const bytes = bundles.bytes("tiny-bert");
const page404 = "<!doctype html>\n<html><title>Sign in – Réseau</title>";

/** Loads a model in a page; what became of it, what is kept then, and what was asked of the server. */
async function load(page, options) {
  server.requests.length = 0;
  const found = await page.evaluate(async (options) => {
    const { createDetector, GriceError } = await import("/grice/index.js");
    const kept = async () => (await (await caches.open("grice-models-1")).match(options.model)) !== undefined;
    try {
      const detector = await createDetector(options);
      const { probabilities } = await detector.detect({ response: "Well." });
      await detector.dispose();
      return { probabilities, outcome: detector.info.modelCache, kept: await kept() };
    } catch (error) {
      return { isOurs: error instanceof GriceError, code: error.code, message: error.message, kept: await kept() };
    }
  }, options);
  return { ...found, asked: server.requests.filter(({ path }) => path === options.model).length };
}

const send = (body, headers = {}, status = 200) => (request, response) => response.writeHead(status, headers).end(body);
const good = send(bytes, { "Content-Type": "application/x-tar" });

/** An archive of other files. */
const archive = execFileSync("tar", ["--create", "--directory", path.join(root, "crates/testkit/fixtures/tiny-bert"), "config.json", "tokenizer.json"]);

/** What a host may answer for a model: name, answer, code, words of the message. */
const answers = [
  ["a page", send(page404, { "Content-Type": "text/html; charset=utf-8" }), /not a readable \.tar.*status 200, text\/html; charset=utf-8, \d+ bytes that begin with "<!doctype html> <html><title>Sign in – Réseau.*this is a web page/],
  ["a page without a type", send(page404), /status 200, no content type.*this is a web page/],
  ["a page that says it is a .tar", send(page404, { "Content-Type": "application/x-tar" }), /status 200, application\/x-tar.*this is a web page/],
  ["a page longer than a block of a .tar", send(page404.repeat(100), { "Content-Type": "text/html" }), /this is a web page/],
  ["words of an API", send('{"error":"no such file"}', { "Content-Type": "application/json" }), /application\/json, 24 bytes that begin with "\{\\"error\\":/],
  ["nothing", send(""), /an empty body/],
  ["no content", send(undefined, {}, 204), /status 204.*an empty body/],
  ["zeros", send(Buffer.alloc(4096)), /4096 bytes that begin with 00 00/],
  ["a pointer of Git LFS", send("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), /Git LFS pointer/],
  ["gzip", send(gzipSync(bytes), { "Content-Type": "application/gzip" }), /begin with 1f 8b.*this is gzip/],
  ["gzip in gzip", send(gzipSync(gzipSync(bytes)), { "Content-Type": "application/x-tar", "Content-Encoding": "gzip" }), /begin with 1f 8b.*compressed once/],
  ["the beginning of the bundle", send(bytes.subarray(0, bytes.length >> 1), { "Content-Type": "application/x-tar" }), /unreadable|not a readable|more than the archive holds/],
  ["a bundle without its manifest", send(archive, { "Content-Type": "application/x-tar" }), /grice\.json/],
];

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "on the page's thread";

  test(`what is no bundle is said, not kept, and the bundle is taken as soon as it is there: ${where}`, async () => {
    const page = await shared.page();
    for (const [index, [name, answer, words]] of answers.entries()) {
      const model = `/answers/${index}-${worker}.tar`;
      server.routes[model] = answer;
      const bad = await load(page, { model, worker });
      const said = `${name}: ${JSON.stringify(bad)}`;
      assert.equal(bad.isOurs, true, said);
      assert.equal(bad.code, "bad_model", said);
      assert.ok(bad.message.startsWith(`${server.url}${model}: `), said);
      assert.match(bad.message, words, said);
      assert.equal(bad.kept, false, said);
      assert.equal(bad.asked, 2, `${name}: asked once more`);
      server.routes[model] = good;
      const well = await load(page, { model, worker });
      assert.equal(well.outcome, "stored", `${name}: ${JSON.stringify(well)}`);
    }
    await page.close();
  });

  test(`an answer that was redirected to a page: ${where}`, async () => {
    const page = await shared.page();
    server.routes["/redirected.tar"] = send("", { Location: "/login" }, 302);
    server.routes["/login"] = send(page404, { "Content-Type": "text/html" });
    const bad = await load(page, { model: "/redirected.tar", worker });
    assert.equal(bad.code, "bad_model");
    assert.match(bad.message, /the response from http:\S+\/login, where it was redirected to: status 200, text\/html/);
    assert.equal(bad.kept, false);
    await page.close();
  });

  test(`any type is right for the right bytes: ${where}`, async () => {
    const page = await shared.page();
    for (const type of ["text/html", "text/plain", undefined, "application/json"]) {
      const model = `/typed/${worker}.tar`;
      server.routes[model] = send(bytes, type ? { "Content-Type": type } : {});
      assert.equal((await load(page, { model, worker })).outcome, "stored", type);
      await page.evaluate(async () => (await import("/grice/index.js")).clearModelCache());
    }
    await page.close();
  });

  test(`a page that the browser's own cache holds is asked for again: ${where}`, async () => {
    const page = await shared.page();
    const model = `/cached-${worker}.tar`;
    server.routes[model] = send(page404, { "Content-Type": "text/html", "Cache-Control": "max-age=86400" });
    await page.evaluate(async (model) => (await fetch(model)).text(), model);
    server.routes[model] = good;
    const well = await load(page, { model, worker });
    assert.equal(well.outcome, "stored", JSON.stringify(well));
    assert.equal(well.asked, 1);
    await page.close();
  });

  test(`with the bundle's digest too, and the message shows what came: ${where}`, async () => {
    const page = await shared.page();
    const model = `/digest-${worker}.tar`;
    const integrity = createHash("sha256").update(bytes).digest("hex");
    server.routes[model] = send(page404, { "Content-Type": "text/html" });
    const bad = await load(page, { model, worker, integrity });
    assert.equal(bad.code, "integrity");
    assert.match(bad.message, /its SHA-256 is [0-9a-f]{64}, not .*status 200, text\/html.*this is a web page/);
    assert.equal(bad.kept, false);
    await page.close();
  });

  test(`what an earlier release kept and does not open is dropped, and fetched once more: ${where}`, async () => {
    const page = await shared.page();
    const model = `/kept-${worker}.tar`;
    server.routes[model] = good;
    const keep = async () =>
      await page.evaluate(
        async ({ model, text }) => {
          const body = new TextEncoder().encode(text);
          const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", body))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
          const cache = await caches.open("grice-models-1");
          await cache.put(model, new Response(body, { headers: { "X-Grice-Sha256": digest } }));
        },
        { model, text: page404 },
      );
    await keep();
    const well = await load(page, { model, worker });
    assert.equal(well.outcome, "stored", JSON.stringify(well));
    assert.equal(well.asked, 1);
    assert.equal((await load(page, { model, worker })).outcome, "hit");
    // The server has none either.
    await keep();
    server.routes[model] = send("gone", {}, 404);
    const gone = await load(page, { model, worker });
    assert.equal(gone.code, "download");
    assert.match(gone.message, /404.*the cached bundle did not open and was deleted \(.*not a readable \.tar/);
    assert.equal(gone.kept, false);
    await page.close();
  });

  test(`pieces of a page are not put together with pieces of the bundle: ${where}`, async () => {
    const page = await shared.page();
    const model = `/pieces-${worker}.tar`;
    const junk = Buffer.from(page404.repeat(4000));
    let ranges = [];
    // A page that breaks off, with a version; then a server that sends the rest of the bundle, whatever the version asked for.
    server.routes[model] = (request, response) => {
      ranges.push(request.headers.range);
      if (ranges.length === 1) return sendPartly(response, junk, { headers: { ETag: '"a"', "Cache-Control": "no-store" }, sent: 20_000, length: bytes.length });
      const start = Number(/\d+/.exec(request.headers.range ?? "0")[0]);
      if (!start) return good(request, response);
      const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
      response.writeHead(206, { "Content-Type": "application/x-tar", "Content-Range": range, "Content-Length": bytes.length - start, "Cache-Control": "no-store" });
      response.end(bytes.subarray(start));
    };
    const well = await load(page, { model, worker });
    assert.equal(well.outcome, "stored", JSON.stringify(well));
    // Broken off, taken up, did not open, whole.
    assert.deepEqual(ranges, [undefined, "bytes=20000-", undefined]);
    // One that tells another version is not taken up at all.
    ranges = [];
    await page.evaluate(async () => (await import("/grice/index.js")).clearModelCache());
    const rest = server.routes[model];
    server.routes[model] = (request, response) => {
      if (request.headers.range) response.setHeader("ETag", '"b"');
      return rest(request, response);
    };
    assert.equal((await load(page, { model, worker })).outcome, "stored");
    assert.deepEqual(ranges, [undefined, "bytes=20000-", undefined]);
    await page.close();
  });

  test(`a bundle that cannot do what is asked of it is fetched once more, and can be had otherwise: ${where}`, async () => {
    const page = await shared.page();
    const model = `/precision-${worker}.tar`;
    server.routes[model] = send(bytes, { "Content-Type": "application/x-tar", ETag: '"1"' });
    const missing = await load(page, { model, worker, precision: "int8" });
    assert.equal(missing.code, "bad_model");
    assert.match(missing.message, /has no int8 model; it has: fp32/);
    assert.equal((await load(page, { model, worker })).outcome, "stored");
    await page.close();
  });
}
