// The same package in Node: on the thread that asks, with models from files.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";
import { createDetector, GriceError, supports } from "grice";
import { checkVerdicts, dist, packBundles, turns } from "./support/fixtures.mjs";

let bundles;
before(() => (bundles = packBundles()));
after(() => bundles.remove());

test("a model is a path, a file: URL, or bytes", async () => {
  const file = path.join(bundles.folder, "tiny-bert.tar");
  for (const model of [file, pathToFileURL(file), pathToFileURL(file).href, bundles.bytes("tiny-bert")]) {
    const detector = await createDetector({ model });
    const found = await detector.detectBatch(Object.values(turns));
    checkVerdicts("tiny-bert", Object.fromEntries(Object.keys(turns).map((name, index) => [name, found[index]])));
    assert.equal(detector.info.worker, false);
    assert.equal(detector.info.threads, 1);
    assert.equal(detector.info.modelCache, "off");
    await detector.dispose();
  }
});

test("a file that is not there is an error that names it", async () => {
  await assert.rejects(createDetector({ model: "/nowhere/model.tar" }), (error) => {
    assert.ok(error instanceof GriceError);
    assert.equal(error.code, "download");
    assert.match(error.message, /\/nowhere\/model\.tar.*ENOENT/);
    return true;
  });
});

test("what is no bundle is an error that says what one is", async () => {
  await assert.rejects(createDetector({ model: new TextEncoder().encode("no bundle") }), { code: "bad_model" });
  await assert.rejects(createDetector({ model: 7 }), { code: "bad_input" });
});

test("Node has SIMD and says what else it has", async () => {
  const found = await supports();
  assert.equal(found.simd, true);
  assert.deepEqual(Object.keys(found), ["simd", "relaxedSimd", "webgpu", "sharedMemory"]);
});

test("the package's own scripts stay within what wasm-pack.toml leaves them", () => {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11 };
  const scripts = readdirSync(dist).filter((file) => file.endsWith(".js"));
  const bytes = scripts.reduce((sum, file) => sum + brotliCompressSync(readFileSync(path.join(dist, file)), { params }).length, 0);
  assert.ok(scripts.length > 10 && bytes > 5000 && bytes <= 50_000, `${scripts.length} scripts, ${bytes} bytes`);
});
