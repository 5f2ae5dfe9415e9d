// Downloads over connections that break off, stall, lie or refuse.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mock, test } from "node:test";
import { download, readAll } from "../dist/download.js";
import { GriceError } from "../dist/errors.js";
import { sendPartly, serve } from "./support/server.mjs";

const BYTES = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7) % 251));
const ETAG = '"1"';

/** Answers the nth request for /file by the nth of `answers`; what came of the download, the progress heard, the requests seen. */
async function fetchWith(answers, { signal, tries } = {}) {
  let asked = 0;
  const routes = { "/file": (request, response) => answers[Math.min(asked++, answers.length - 1)](request, response) };
  const server = await serve({ routes });
  const progress = [];
  try {
    const found = await download(`${server.url}/file`, signal?.(server), (loaded, total) => progress.push([loaded, total]), tries);
    return { bytes: Buffer.from(found.bytes), progress, requests: server.requests };
  } catch (error) {
    return { error, progress, requests: server.requests };
  } finally {
    await server.close();
  }
}

const whole = (request, response) => {
  response.writeHead(200, { "Content-Length": BYTES.length, ETag: ETAG });
  response.end(BYTES);
};
const half = (headers = { ETag: ETAG }) => (request, response) => sendPartly(response, BYTES, { sent: 50_000, headers });
const status = (code) => (request, response) => response.writeHead(code).end("no");

/** The rest that a `Range` asks for, if the version is the one told. */
const rest = (request, response) => {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1]);
  if (!(start > 0) || request.headers["if-range"] !== ETAG) return whole(request, response);
  response.writeHead(206, {
    "Content-Length": BYTES.length - start,
    "Content-Range": `bytes ${start}-${BYTES.length - 1}/${BYTES.length}`,
    ETag: ETAG,
  });
  response.end(BYTES.subarray(start));
};

test("progress is exact to the byte, and ends with all of them", async () => {
  const { bytes, progress } = await fetchWith([whole]);
  assert.ok(bytes.equals(BYTES));
  assert.deepEqual(progress[0], [0, BYTES.length]);
  assert.deepEqual(progress.at(-1), [BYTES.length, BYTES.length]);
  assert.ok(progress.every(([loaded], index) => index === 0 || loaded > progress[index - 1][0]));
});

test("without a length the total is unknown", async () => {
  const { bytes, progress } = await fetchWith([(request, response) => (response.write(BYTES), response.end())]);
  assert.ok(bytes.equals(BYTES));
  assert.deepEqual(progress.at(-1), [BYTES.length, undefined]);
});

test("one that breaks off is taken up where it broke", async () => {
  const { bytes, requests, progress } = await fetchWith([half(), rest]);
  assert.ok(bytes.equals(BYTES));
  assert.equal(requests.length, 2);
  assert.deepEqual([requests[1].range, requests[1].ifRange], ["bytes=50000-", ETAG]);
  assert.ok(progress.every(([loaded], index) => index === 0 || loaded > progress[index - 1][0]), "it never goes back");
});

test("one that breaks off often is taken up often", async () => {
  const quarter = (request, response) => {
    const start = Number(/\d+/.exec(request.headers.range ?? "0")[0]);
    const headers = { ETag: ETAG, ...(start ? { "Content-Range": `bytes ${start}-${BYTES.length - 1}/${BYTES.length}` } : {}) };
    sendPartly(response, BYTES.subarray(start), { status: start ? 206 : 200, headers, sent: 25_000, length: BYTES.length - start });
  };
  const { bytes, requests } = await fetchWith([quarter, quarter, quarter, rest]);
  assert.ok(bytes.equals(BYTES));
  assert.deepEqual(requests.map(({ range }) => range), [undefined, "bytes=25000-", "bytes=50000-", "bytes=75000-"]);
});

test("a server without ranges, or without a name for the version, sends it anew", async () => {
  const ignoring = await fetchWith([half(), whole]);
  assert.ok(ignoring.bytes.equals(BYTES));
  assert.ok(ignoring.progress.some(([loaded], index) => index > 0 && loaded === 0), "it starts over");
  const nameless = await fetchWith([half({}), rest]);
  assert.ok(nameless.bytes.equals(BYTES));
  assert.equal(nameless.requests[1].range, undefined);
  const weak = await fetchWith([half({ ETag: 'W/"1"' }), rest]);
  assert.ok(weak.bytes.equals(BYTES));
  assert.equal(weak.requests[1].range, undefined);
});

test("a file that changed meanwhile is fetched whole, never glued together", async () => {
  const other = Buffer.alloc(80_000, 9);
  const changed = (request, response) => response.writeHead(200, { "Content-Length": other.length, ETag: '"2"' }).end(other);
  const { bytes } = await fetchWith([half(), changed]);
  assert.ok(bytes.equals(other));
  const shorter = await fetchWith([half(), status(416), changed]);
  assert.ok(shorter.bytes.equals(other));
  assert.deepEqual(shorter.requests.map(({ range }) => range), [undefined, "bytes=50000-", undefined]);
  const wrongPart = (request, response) => response.writeHead(206, { "Content-Range": "bytes 10-20/100000" }).end(BYTES.subarray(10, 21));
  const mixedUp = await fetchWith([half(), wrongPart, whole]);
  assert.ok(mixedUp.bytes.equals(BYTES));
});

test("a server that is busy is asked again, one that has no such file is not", async () => {
  const busy = await fetchWith([status(503), status(429), whole]);
  assert.ok(busy.bytes.equals(BYTES));
  const missing = await fetchWith([status(404), whole]);
  assert.ok(missing.error instanceof GriceError);
  assert.equal(missing.error.code, "download");
  assert.match(missing.error.message, /\/file: 404 Not Found/);
  assert.equal(missing.requests.length, 1);
});

test("one that always breaks off fails in the end, and says how far it came", async () => {
  const { error, requests } = await fetchWith([half()], { tries: 3 });
  assert.equal(error.code, "download");
  assert.match(error.message, /broke off after 50000 of 100000 bytes, 3 tries/);
  assert.equal(requests.length, 3);
  const { error: refused } = await fetchWith([status(500)], { tries: 2 });
  assert.match(refused.message, /500 Internal Server Error/);
});

test("a connection without a byte for half a minute is dead", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const asked = [];
    const silent = (request, response) => {
      asked.push(response);
      // Once it is known here, the clock may run.
      setImmediate(() => mock.timers.tick(30_001));
    };
    // The pauses between tries are over at once.
    const found = fetchWith([silent, silent], { tries: 1 });
    const { error } = await found;
    assert.equal(error.code, "download");
    assert.match(error.message, /no data arrived for 30 s/);
    assert.equal(asked.length, 1);
  } finally {
    mock.timers.reset();
  }
});

test("one that is given up rejects with the reason, and the connection ends", async () => {
  const reason = new Error("enough");
  const controller = new AbortController();
  let ended;
  const slow = (request, response) => {
    ended = new Promise((resolve) => response.on("close", resolve));
    response.writeHead(200, { "Content-Length": BYTES.length });
    response.write(BYTES.subarray(0, 1000), () => controller.abort(reason));
  };
  const { error, requests } = await fetchWith([slow], { signal: () => controller.signal });
  assert.equal(error, reason);
  assert.equal(requests.length, 1);
  await ended;
  const pausing = new AbortController();
  const busy = (request, response) => (status(503)(request, response), setTimeout(() => pausing.abort(reason), 20));
  assert.equal((await fetchWith([busy], { signal: () => pausing.signal })).error, reason);
});

test("what is compressed on its way is whole, its total unknown, and never taken up in the middle", async () => {
  const { gzipSync } = await import("node:zlib");
  const packed = gzipSync(BYTES);
  const headers = { "Content-Encoding": "gzip", "Content-Length": packed.length, ETag: ETAG };
  const broken = (request, response) => sendPartly(response, packed, { headers, sent: packed.length >> 1 });
  const { bytes, progress, requests } = await fetchWith([broken, (request, response) => response.writeHead(200, headers).end(packed)]);
  assert.equal(createHash("sha256").update(bytes).digest("hex"), createHash("sha256").update(BYTES).digest("hex"));
  assert.deepEqual(progress.at(-1), [BYTES.length, undefined]);
  assert.equal(requests[1].range, undefined);
});

test("a response of the caller's is read once", async () => {
  const heard = [];
  const found = await readAll(new Response(BYTES), undefined, (loaded) => heard.push(loaded));
  assert.ok(Buffer.from(found).equals(BYTES));
  assert.equal(heard.at(-1), BYTES.length);
  await assert.rejects(readAll(new Response("no", { status: 403 }), undefined, () => {}), { code: "download", message: /403/ });
  const failing = new ReadableStream({ pull: (controller) => controller.error(new Error("torn")) });
  await assert.rejects(readAll(new Response(failing), undefined, () => {}), { code: "download", message: /broke off.*torn/ });
});
