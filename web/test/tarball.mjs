// A release's npm tarball and model, as a user gets them: installed into an empty folder, they run README.md's examples. Not part of
// `npm test`; GRICE_TARBALL and GRICE_MODEL_TAR name the files.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { launch } from "./support/browser.mjs";
import { root } from "./support/fixtures.mjs";
import { serve } from "./support/server.mjs";

const [tarball, model] = ["GRICE_TARBALL", "GRICE_MODEL_TAR"].map((name) => {
  assert.ok(existsSync(process.env[name] ?? ""), `${name} names no file`);
  return path.resolve(process.env[name]);
});

const folder = mkdtempSync(path.join(tmpdir(), "grice-tarball-"));
writeFileSync(path.join(folder, "package.json"), '{ "private": true, "type": "module" }');
// Without the network: the package has no dependencies.
execFileSync("npm", ["install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", tarball], { cwd: folder, stdio: "inherit" });
copyFileSync(model, path.join(folder, "model.tar"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The first block of a language in a file. */
function block(file, language) {
  return new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "ms").exec(readFileSync(path.join(root, file), "utf8"))[1];
}

test("its version is that of the tarball's name", () => {
  const { version } = JSON.parse(readFileSync(path.join(folder, "node_modules/grice/package.json"), "utf8"));
  assert.equal(path.basename(tarball), `grice-${version}.tgz`);
});

test("in Node", () => {
  const code = block("web/README.md", "js").replace('"/model.tar"', '"model.tar"');
  writeFileSync(path.join(folder, "judge.js"), `${code}\nconsole.log(JSON.stringify(violations));`);
  const said = execFileSync(process.execPath, ["judge.js"], { cwd: folder, encoding: "utf8" });
  assert.equal(JSON.parse(said).quantity, true);
});

test("on a page", async () => {
  writeFileSync(path.join(folder, "index.html"), block("README.md", "html"));
  const server = await serve({ folders: { "/": folder, "/grice/": path.join(folder, "node_modules/grice/dist") } });
  const browser = await launch();
  try {
    const page = await browser.open(server.url);
    await page.waitForFunction(() => document.getElementById("verdict").textContent !== "…");
    assert.equal(JSON.parse(await page.textContent("#verdict")).quantity, true);
  } finally {
    await browser.close();
    await server.close();
  }
});
