// The package in a browser extension (Manifest V3): in a page of it, and in its service worker.

import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "./support/browser.mjs";
import { dist, packBundles } from "./support/fixtures.mjs";

let folder, browser, background;
before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "grice-extension-"));
  cpSync(fileURLToPath(new URL("extension", import.meta.url)), folder, { recursive: true });
  cpSync(dist, path.join(folder, "grice"), { recursive: true });
  const bundles = packBundles();
  copyFileSync(path.join(bundles.folder, "tiny-bert.tar"), path.join(folder, "model.tar"));
  bundles.remove();
  browser = await launch({ extension: folder });
  background = browser.context.serviceWorkers()[0] ?? (await browser.context.waitForEvent("serviceworker"));
});
after(async () => {
  await browser?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

test("in a page of the extension", async () => {
  const page = await browser.open(new URL("page.html", background.url()).href);
  await page.waitForFunction(() => globalThis.judge);
  for (const worker of [true, false]) {
    const { info, probabilities } = await page.evaluate((worker) => globalThis.judge(worker), worker);
    // The extension's own files need no keeping, and the Cache API takes none of them.
    assert.deepEqual([info.name, info.worker, info.modelCache], ["tiny-bert", worker, "off"]);
    assert.ok(Object.values(probabilities).every((probability) => probability > 0 && probability < 1));
  }
  assert.deepEqual(await page.evaluate(() => globalThis.refused), []);
  assert.deepEqual(page.problems, []);
  if (process.env.GRICE_SCREENSHOTS) await page.screenshot({ path: path.join(process.env.GRICE_SCREENSHOTS, "extension.png") });
  await page.close();
});

test("in the extension's service worker, by the entry `grice/thread`", async () => {
  const { info, probabilities } = await background.evaluate(() => globalThis.judge());
  assert.deepEqual([info.name, info.worker, info.modelCache], ["tiny-bert", false, "off"]);
  assert.ok(Object.values(probabilities).every((probability) => probability > 0 && probability < 1));
});

test("there the entry `grice` says what to do instead", async () => {
  for (const worker of [true, false]) {
    const { name, code, message } = await background.evaluate((worker) => globalThis.tryElsewhere(worker), worker);
    assert.deepEqual([name, code], ["GriceError", "unsupported"], message);
    assert.match(message, /grice\/thread/);
  }
});
