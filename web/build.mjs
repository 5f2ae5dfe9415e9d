// Builds dist/: the compiled TypeScript, and the WebAssembly modules that `cargo xtask wasm` put into target/web.

import { spawnSync } from "node:child_process";
import { cp, mkdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(here, "dist");
const built = path.join(here, "../target/web");
const ARTIFACTS = ["lean-simd128", "lean-relaxed-simd", "simd128", "relaxed-simd", "writer-simd128", "writer-relaxed-simd", "webgpu"];
const FILES = ["grice.js", "grice.d.ts", "grice_bg.wasm"];

for (const artifact of ARTIFACTS) {
  for (const file of FILES) {
    const found = await stat(path.join(built, artifact, file)).catch(() => undefined);
    if (!found) fail(`target/web/${artifact}/${file} is not there: run \`cargo xtask wasm\` first`);
  }
}
await rm(dist, { recursive: true, force: true });
const tsc = path.join(here, "node_modules/.bin/tsc");
const { status, error } = spawnSync(tsc, ["--project", here], { stdio: "inherit", shell: process.platform === "win32" });
if (status !== 0) fail(error ? `${tsc}: ${error.message}; run \`npm ci\` first` : "tsc failed");
for (const artifact of ARTIFACTS) {
  await mkdir(path.join(dist, artifact), { recursive: true });
  for (const file of FILES) await cp(path.join(built, artifact, file), path.join(dist, artifact, file));
}

function fail(problem) {
  console.error(problem);
  process.exit(1);
}
