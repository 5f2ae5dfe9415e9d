// When things go wrong: each state says what happened, with the code, and what can be done.

import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { buildPage } from "../build.mjs";
import { BUILT, PATIENCE_MS, eventually, judge, openPage, startBrowser, untilReady } from "./browser.mjs";

let browser;
before(async () => (browser = await startBrowser()));
after(async () => await browser?.close());

const untilTrouble = (page) => page.waitForSelector("#verdict[data-state=trouble]");

test("a model that cannot be fetched is said so, and can be tried again", async (t) => {
  let isBroken = true;
  const intercept = (request, response) => {
    if (!isBroken || !request.url.includes("/models/")) return false;
    response.writeHead(404).end();
    return true;
  };
  const { page } = await openPage(t, browser, { intercept, isReady: false });
  await untilTrouble(page);
  assert.equal(await page.getAttribute("#trouble", "role"), "alert");
  assert.match(await page.textContent("#trouble-title"), /could not be loaded/);
  assert.match(await page.textContent("#trouble-text"), /404/);
  assert.equal(await page.textContent("#trouble-code"), "Code: download");
  isBroken = false;
  await page.click("#retry");
  await untilReady(page);
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
});

test("a model with a wrong byte is refused", async (t) => {
  let isBroken = true;
  const intercept = (request, response) => {
    if (!isBroken || !request.url.includes("/models/")) return false;
    readFile(join(BUILT, request.url)).then((bytes) => {
      bytes[bytes.length >> 1] ^= 1;
      response.writeHead(200, { "Content-Type": "application/x-tar", "Content-Length": bytes.length }).end(bytes);
    });
    return true;
  };
  const { page } = await openPage(t, browser, { intercept, isReady: false });
  await untilTrouble(page);
  assert.equal(await page.textContent("#trouble-code"), "Code: integrity");
  isBroken = false;
  await page.click("#retry");
  await untilReady(page);
});

test("progress counts the bytes that came", async (t) => {
  let missing_bytes = 0;
  const intercept = (request, response) => {
    if (!request.url.includes("/models/")) return false;
    readFile(join(BUILT, request.url)).then((bytes) => {
      response.writeHead(200, { "Content-Type": "application/x-tar", "Content-Length": bytes.length });
      const half = bytes.length >> 1;
      response.write(bytes.subarray(0, half));
      // The rest never comes.
      missing_bytes = bytes.length - half;
    });
    return true;
  };
  const { page } = await openPage(t, browser, { intercept, isReady: false });
  const progress = () => page.evaluate(() => ({ value: document.getElementById("progress").value, max: document.getElementById("progress").max }));
  await eventually("the whole engine and half of the model are there", async () => {
    const { value, max } = await progress();
    return missing_bytes > 0 && max - value === missing_bytes;
  });
  const { value, max } = await progress();
  const shown = `${(value / 1e6).toFixed(1)} of ${(max / 1e6).toFixed(1)} MB`;
  assert.ok((await page.textContent("#loading-bytes")).startsWith(shown), shown);
});

test("a browser without the instructions is told so in words", async (t) => {
  const before = (page) => page.addInitScript(() => (WebAssembly.validate = () => false));
  const { page } = await openPage(t, browser, { before, isReady: false });
  await untilTrouble(page);
  assert.match(await page.textContent("#trouble"), /cannot run the model.*SIMD.*Safari 16\.4/s);
  assert.equal(await page.isVisible("#retry"), false);
});

test("without a service worker it works all the same, online", async (t) => {
  const before = (page) => page.addInitScript(() => Object.defineProperty(Navigator.prototype, "serviceWorker", { get: () => undefined }));
  const { page } = await openPage(t, browser, { before });
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
});

test("without one file of the page there is no service worker, and the page counts and judges all the same", async (t) => {
  const intercept = (request, response) => {
    if (!request.url.endsWith("manifest.webmanifest")) return false;
    response.writeHead(404).end();
    return true;
  };
  const { page } = await openPage(t, browser, { intercept });
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
  await eventually("the count begins", async () => (await page.textContent("#requests")) === "0");
  assert.match(await page.textContent("#offline"), /works offline once loaded/);
});

test("a page in place of one of the page's files is not kept in its stead", async (t) => {
  const intercept = (request, response) => {
    if (!request.url.endsWith("manifest.webmanifest")) return false;
    response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>Sign in</title>");
    return true;
  };
  const { page } = await openPage(t, browser, { intercept });
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
  await eventually("the page knows that it is not kept", async () => (await page.textContent("#requests")) === "0");
  const kept = await page.evaluate(async () => (await caches.match("./manifest.webmanifest"))?.headers.get("Content-Type"));
  assert.equal(kept, undefined);
  assert.match(await page.textContent("#offline"), /works offline once loaded/);
});

test("the longest message that the field takes is judged, and a chat too long for the model says so", async (t) => {
  const { page } = await openPage(t, browser);
  assert.equal(await page.getAttribute("#draft", "maxlength"), "4000");
  await judge(page, "And then it rained. ".repeat(200));
  assert.match(await page.textContent("#fine-print"), /longer than the model reads/);
  await judge(page, "Yes.");
  assert.match(await page.textContent("#fine-print"), /guess, by wording and fit/);
});

test("a worker that ends is said so, and is started again", async (t) => {
  const { page } = await openPage(t, browser);
  await page.workers()[0].evaluate(() => void setTimeout(() => { throw new Error("pulled out"); }));
  await eventually("the worker is gone", () => page.workers().length === 0);
  await page.fill("#draft", "Is anybody there?");
  await untilTrouble(page);
  assert.match(await page.textContent("#trouble-text"), /pulled out/);
  assert.equal(await page.textContent("#trouble-code"), "Code: crashed");
  await page.click("#retry");
  await untilReady(page);
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
});

test("the switches offer what is there", async (t) => {
  const { page } = await openPage(t, browser);
  const offered = () => page.evaluate(() => Object.fromEntries(["device", "precision"].map((group) => [group, [...document.querySelectorAll(`#${group} input`)].filter(({ disabled }) => !disabled).map(({ value }) => value)])));
  assert.deepEqual(await offered(), { device: ["auto", "cpu"], precision: ["int8"] });
  assert.match(await page.textContent("#engine-note"), /detector-mini on the CPU, int8.*Not on the GPU: /);
  const [worker] = page.workers();
  await page.locator("#device input[value=cpu]").check();
  await eventually("another worker is there", () => page.workers().length === 1 && page.workers()[0] !== worker);
  await untilReady(page);
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
});

test("a GPU that is a program is told so, and taken by who insists", async (t) => {
  const own = await startBrowser(["--enable-unsafe-webgpu"]);
  t.after(() => own.close());
  const { page } = await openPage(t, own);
  const note = () => page.textContent("#engine-note");
  assert.match(await note(), /on the CPU, int8.*Not on the GPU: .*software adapter/);
  const onCpu = await judge(page, "Yes.");
  await page.locator("#device input[value=gpu]").check();
  // A program compiles dozens of shaders as slowly as it runs them.
  await eventually("the GPU runs", async () => /detector-mini on the GPU/.test(await note()), 3 * PATIENCE_MS);
  await untilReady(page);
  assert.deepEqual((await judge(page, "Yes.")).percents, onCpu.percents);
});

test("a bundle of two precisions can be switched, each fetched only when it is chosen", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "grice-www-"));
  t.after(() => rm(folder, { recursive: true }));
  const fixtures = fileURLToPath(new URL("../../crates/testkit/fixtures", import.meta.url));
  const model = join(folder, "tiny");
  await mkdir(join(model, "onnx"), { recursive: true });
  for (const name of ["config.json", "tokenizer.json"]) await cp(join(fixtures, "tiny-bert", name), join(model, name));
  await cp(join(fixtures, "tiny-bert/onnx/model.onnx"), join(model, "onnx/model.onnx"));
  await cp(join(fixtures, "onnxruntime-int8/tiny-bert-dynamic.onnx"), join(model, "onnx/model_int8.onnx"));
  const manifest = JSON.parse(await readFile(join(fixtures, "tiny-bert/grice.json"), "utf8"));
  await writeFile(join(model, "grice.json"), JSON.stringify({ ...manifest, models: { int8: "onnx/model_int8.onnx", fp32: "onnx/model.onnx" } }));
  const out = join(folder, "page");
  await buildPage({ packageFolder: fileURLToPath(new URL("../../web", import.meta.url)), models: [model], out, compresses: false });
  const { page, requests } = await openPage(t, browser, { folder: out });
  const fetched = () => requests.filter((url) => url.includes("/models/")).map((url) => url.match(/tiny-bert-(\w+?)-/)[1]);
  assert.deepEqual(fetched(), ["int8"]);
  assert.match(await page.textContent("#engine-note"), /tiny-bert on the CPU, int8/);
  await page.locator("#precision input[value=fp32]").check();
  await eventually("fp32 runs", async () => /tiny-bert on the CPU, fp32/.test(await page.textContent("#engine-note")));
  assert.deepEqual(fetched(), ["int8", "fp32"]);
});
