// Importing does nothing, wherever it happens: on a server that renders a page, in a runtime that has less than a browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { dist } from "./support/fixtures.mjs";

const ENTRIES = ["index.js", "webgpu.js", "thread.js", "node.js", "worker.js", "worker-webgpu.js", "writer.js", "writer-node.js", "worker-writer.js"];

/** What a script prints, run by a Node of its own. */
function run(script) {
  return execFileSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8" }).trim();
}

const url = (entry) => JSON.stringify(pathToFileURL(path.join(dist, entry)).href);

for (const entry of ENTRIES) {
  test(`${entry} is imported where nothing is`, () => {
    // Read by nobody while importing: what is read is told.
    const script = `
      const names = ["WebAssembly", "Worker", "MessageChannel", "ReadableStream", "TransformStream", "caches", "crypto", "performance", "document", "window", "self", "location", "navigator", "fetch", "Response", "Request", "addEventListener", "postMessage", "localStorage", "indexedDB", "DOMException", "AbortSignal", "AbortController"];
      const read = [];
      for (const name of names) {
        Object.defineProperty(globalThis, name, { configurable: true, get() { if (/dist/.test(new Error().stack)) read.push(name); return undefined; } });
      }
      await import(${url(entry)});
      console.log(JSON.stringify(read));
    `;
    const read = JSON.parse(run(script));
    assert.deepEqual(read.filter((name) => name !== "addEventListener"), []);
    // A worker's own script listens, and nothing else does.
    assert.equal(read.includes("addEventListener"), entry.startsWith("worker"));
  });
}

for (const entry of ["index.js", "webgpu.js", "thread.js"]) {
  test(`${entry} in Node says what it lacks`, () => {
    const script = `
      const { createDetector, GriceError, clearModelCache, supports } = await import(${url(entry)});
      await clearModelCache();
      const { simd } = await supports();
      const found = await createDetector({ model: "http://127.0.0.1:1/model.tar", ...(${url(entry)}.endsWith("thread.js") ? { worker: true } : {}) }).catch((error) => [error instanceof GriceError, error.code]);
      console.log(JSON.stringify({ simd, found }));
    `;
    assert.deepEqual(JSON.parse(run(script)), { simd: true, found: [true, "unsupported"] });
  });
}

test("node.js without its modules beside it, as a bundler may leave it, says what to do", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "grice-bundled-"));
  try {
    cpSync(dist, folder, { recursive: true, filter: (file) => !file.endsWith(".wasm") });
    writeFileSync(path.join(folder, "package.json"), '{"type":"module"}');
    const entry = JSON.stringify(pathToFileURL(path.join(folder, "node.js")).href);
    const script = `
      const { createDetector, GriceError } = await import(${entry});
      const found = await createDetector({ model: new Uint8Array(10) }).catch((error) => [error instanceof GriceError, error.code, error.message]);
      console.log(JSON.stringify(found));
    `;
    const [isOurs, code, message] = JSON.parse(run(script));
    assert.deepEqual([isOurs, code], [true, "download"]);
    assert.match(message, /grice_bg\.wasm: ENOENT.*serverExternalPackages/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
