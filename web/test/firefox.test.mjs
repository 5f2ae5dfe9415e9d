// The same package in Firefox, where there is one.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";
import { checkVerdicts, dist, packBundles, turns } from "./support/fixtures.mjs";
import { serve } from "./support/server.mjs";

const folders = (process.env.PATH ?? "").split(path.delimiter);
const found = ["firefox-esr", "firefox"].flatMap((name) => folders.map((folder) => path.join(folder, name))).find((file) => existsSync(file));
const firefox = process.env.FIREFOX ?? found;
const skip = firefox ? false : "skipped: no firefox-esr or firefox on PATH; FIREFOX names another";

test("Firefox gives the native verdicts, in a worker and on the page's thread", { skip }, async () => {
  const bundles = packBundles();
  const pages = fileURLToPath(new URL("pages", import.meta.url));
  const server = await serve({ folders: { "/": pages, "/grice/": dist, "/models/": bundles.folder } });
  const browser = await puppeteer.launch({ browser: "firefox", executablePath: firefox, headless: true, protocolTimeout: 300_000 });
  try {
    const page = await browser.newPage();
    await page.goto(server.url);
    for (const bundle of ["tiny-bert", "embedded"]) {
      for (const worker of [true, false]) {
        const { detections, info } = await page.evaluate(judgeAll, { model: `/models/${bundle}.tar`, worker, turns });
        checkVerdicts(bundle, Object.fromEntries(Object.keys(turns).map((name, index) => [name, detections[index]])));
        assert.equal(info.artifact, info.kernels);
        assert.equal(info.worker, worker);
        assert.equal(info.modelCache, worker ? "stored" : "hit");
      }
    }
  } finally {
    await browser.close();
    await server.close();
    bundles.remove();
  }
});

async function judgeAll({ model, worker, turns }) {
  const { createDetector } = await import("/grice/index.js");
  const detector = await createDetector({ model, worker });
  const detections = await detector.detectBatch(Object.values(turns));
  const { info } = detector;
  await detector.dispose();
  return { detections, info };
}
