// The package in a Vite project, served by its development server and built.

import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { build, createServer, preview } from "vite";
import { launch } from "./support/browser.mjs";
import { packBundles } from "./support/fixtures.mjs";
import { makeProject } from "./support/sample.mjs";

let project, browser, config;
before(async () => {
  project = makeProject("sample");
  mkdirSync(path.join(project.folder, "public"));
  const bundles = packBundles();
  copyFileSync(path.join(bundles.folder, "tiny-bert.tar"), path.join(project.folder, "public/model.tar"));
  bundles.remove();
  config = { root: project.folder, configFile: false, logLevel: "warn" };
  browser = await launch();
});
after(async () => {
  await browser?.close();
  project?.remove();
});

test("in Vite's development server", async () => {
  const server = await createServer({ ...config, server: { host: "127.0.0.1", port: 0 } });
  try {
    await server.listen();
    await judgeBothWays(server.resolvedUrls.local[0]);
  } finally {
    await server.close();
  }
});

test("built by Vite", async () => {
  await build({ ...config, build: { outDir: "built" } });
  const assets = readdirSync(path.join(project.folder, "built/assets"));
  const modules = assets.filter((file) => file.endsWith(".wasm"));
  assert.equal(modules.length, 4, `one file for each artifact, not ${modules}`);
  const server = await preview({ ...config, build: { outDir: "built" }, preview: { host: "127.0.0.1", port: 0 } });
  try {
    await judgeBothWays(server.resolvedUrls.local[0]);
  } finally {
    await server.close();
  }
});

async function judgeBothWays(url) {
  const page = await browser.open(url);
  await page.waitForFunction(() => globalThis.judge);
  for (const worker of [true, false]) {
    const { info, probabilities } = await page.evaluate((worker) => globalThis.judge(worker), worker);
    assert.equal(info.name, "tiny-bert");
    assert.equal(info.worker, worker);
    assert.ok(Object.values(probabilities).every((probability) => probability > 0 && probability < 1));
  }
  assert.deepEqual(page.problems, []);
  await page.close();
}
