// What README.md says to paste works when pasted.

import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import react from "@vitejs/plugin-react";
import { build, preview } from "vite";
import { launch } from "./support/browser.mjs";
import { dist, packBundles, root } from "./support/fixtures.mjs";
import { makeProject } from "./support/sample.mjs";
import { serve } from "./support/server.mjs";

const browser = await launch();
const bundles = packBundles();
const model = path.join(bundles.folder, "embedded.tar");
after(async () => {
  await browser.close();
  bundles.remove();
});

/** The first block of a language in a file, or another one. */
function block(file, language, place = 0) {
  const text = readFileSync(path.join(root, file), "utf8");
  const found = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))][place]?.[1];
  assert.ok(found, `${file} has no block of ${language}`);
  return found;
}

test("the plain page", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "grice-page-"));
  const page = block("README.md", "html");
  assert.ok(page.split("\n").length <= 12, "it is short");
  writeFileSync(path.join(folder, "index.html"), page);
  cpSync(dist, path.join(folder, "grice"), { recursive: true });
  copyFileSync(model, path.join(folder, "model.tar"));
  const server = await serve({ folders: { "/": folder } });
  try {
    const opened = await browser.open(server.url);
    await opened.waitForFunction(() => document.getElementById("verdict").textContent !== "…");
    const { quantity } = JSON.parse(await opened.textContent("#verdict"));
    assert.equal(quantity, true);
    await opened.close();
  } finally {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the component, in Vite with React", async () => {
  const project = makeProject(undefined, ["react", "react-dom", "scheduler"]);
  const script = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><div id="root"></div><script type="module" src="/main.jsx"></script>';
  writeFileSync(path.join(project.folder, "index.html"), script);
  writeFileSync(path.join(project.folder, "main.jsx"), block("README.md", "jsx"));
  mkdirSync(path.join(project.folder, "public"));
  copyFileSync(model, path.join(project.folder, "public/model.tar"));
  const config = { root: project.folder, configFile: false, logLevel: "warn", plugins: [react()], build: { outDir: "built" } };
  try {
    await build(config);
    const server = await preview({ ...config, preview: { host: "127.0.0.1", port: 0 } });
    try {
      const page = await browser.open(server.resolvedUrls.local[0]);
      await page.waitForFunction(() => document.querySelector("output")?.textContent.startsWith("{"));
      assert.equal(JSON.parse(await page.textContent("output")).quantity, true);
      assert.deepEqual(page.problems, []);
      await page.close();
    } finally {
      await server.close();
    }
  } finally {
    project.remove();
  }
});

test("the package's own page, in Node", async () => {
  const { createDetector } = await import("grice");
  const code = block("web/README.md", "js").replace(/^import .*\n/, "").replace('"/model.tar"', "model");
  const AsyncFunction = (async () => {}).constructor;
  const violations = await new AsyncFunction("createDetector", "model", `${code}\nreturn violations;`)(createDetector, model);
  assert.equal(violations.quantity, true);
});

test("the package's own page, with a model that repairs, in Node", async () => {
  const { createRepairer } = await import("grice/writer");
  const repair = path.join(bundles.folder, "repair-mini.tar");
  const code = block("web/README.md", "js", 1).replace(/^import .*\n/, "").replace('"/model.tar"', "model").replace('"/repair.tar"', "repair_");
  const AsyncFunction = (async () => {}).constructor;
  const written = [];
  const quiet = { log: (text) => written.push(text) };
  const run = new AsyncFunction("createRepairer", "model", "repair_", "console", `${code}\nreturn { repaired, isFallback };`);
  const { repaired, isFallback } = await run(createRepairer, model, repair, quiet);
  assert.equal(isFallback, false);
  assert.equal(written.join("").trim(), repaired);
});
