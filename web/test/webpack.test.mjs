// The package in a webpack project, as it comes: no loader, no plugin, no setting.

import assert from "node:assert/strict";
import { copyFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import webpack from "webpack";
import { launch } from "./support/browser.mjs";
import { packBundles } from "./support/fixtures.mjs";
import { makeProject } from "./support/sample.mjs";
import { serve } from "./support/server.mjs";

let project, browser, bundles;
before(async () => {
  project = makeProject("webpack");
  bundles = packBundles();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  bundles?.remove();
  project?.remove();
});

for (const mode of ["production", "development"]) {
  test(`built by webpack for ${mode}`, async () => {
    const built = path.join(project.folder, mode);
    const stats = await build({ mode, context: project.folder, entry: "./main.js", output: { path: built } });
    assert.deepEqual(stats.warnings, []);
    const modules = readdirSync(built).filter((file) => file.endsWith(".wasm"));
    assert.equal(modules.length, 4, `one file for each artifact, not ${modules}`);
    copyFileSync(path.join(project.folder, "index.html"), path.join(built, "index.html"));
    copyFileSync(path.join(bundles.folder, "tiny-bert.tar"), path.join(built, "model.tar"));
    const server = await serve({ folders: { "/": built } });
    try {
      const page = await browser.open(server.url);
      await page.waitForFunction(() => globalThis.judge);
      for (const worker of ["package", "none", "own"]) {
        const { info, probabilities } = await page.evaluate((worker) => globalThis.judge(worker), worker);
        assert.deepEqual([info.name, info.worker], ["tiny-bert", worker !== "none"], worker);
        assert.ok(Object.values(probabilities).every((probability) => probability > 0 && probability < 1));
      }
      assert.deepEqual(page.problems, []);
      if (process.env.GRICE_SCREENSHOTS) await page.screenshot({ path: path.join(process.env.GRICE_SCREENSHOTS, `webpack-${mode}.png`) });
      await page.close();
    } finally {
      await server.close();
    }
  });
}

async function build(config) {
  const compiler = webpack(config);
  try {
    const stats = await new Promise((resolve, reject) => compiler.run((error, stats) => (error ? reject(error) : resolve(stats))));
    const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
    assert.deepEqual(errors, []);
    return { warnings: warnings.map(({ message }) => message).filter((message) => !/size limit|performance/.test(message)) };
  } finally {
    await new Promise((resolve) => compiler.close(resolve));
  }
}
