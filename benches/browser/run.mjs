// Measures grice's browser artifacts against onnxruntime-web: one browser, one worker, one thread, short alternating blocks.
//
//   node run.mjs --model model_int8.onnx [--peer-model FILE] [--artifacts simd128,relaxed-simd] [--shapes 1x32,1x128,8x128]
//                [--seconds 20] [--labels 4] [--out results.json] [--artifact-folder FOLDER] [--chromium FILE] [--limit RATIO]
//
// `cargo xtask wasm` builds the artifacts. Exit code 1: a run failed, the two disagree, or a ratio is above `--limit`.

import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants } from "node:zlib";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";
import { compare, shown } from "./statistics.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    "peer-model": { type: "string" },
    artifacts: { type: "string", default: "simd128,relaxed-simd" },
    "artifact-folder": { type: "string", default: path.join(here, "../../target/web") },
    shapes: { type: "string", default: "1x32,1x128,8x128" },
    seconds: { type: "string", default: "20" },
    labels: { type: "string", default: "4" },
    out: { type: "string" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
    limit: { type: "string" },
  },
});
if (!options.model) {
  console.error("which model? --model FILE.onnx, an int8 detector");
  process.exit(2);
}

// Quiet, and nothing of it on the network.
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--js-flags=--expose-gc",
];

const peerFolder = path.join(here, "node_modules/onnxruntime-web/dist");
const artifacts = options.artifacts.split(",");
const folders = Object.fromEntries(artifacts.map((name) => [`/grice/${name}/`, path.join(options["artifact-folder"], name)]));
const server = await serve({
  folders: { "/peer/": peerFolder, "/": path.join(here, "page"), ...folders },
  files: { "/model.onnx": options.model, "/peer-model.onnx": options["peer-model"] ?? options.model },
});
const profile = await mkdtemp(path.join(tmpdir(), "grice-bench-"));
let failed = false;
try {
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: options.chromium,
    headless: true,
    args: FLAGS,
  });
  const page = await browser.newPage();
  page.on("console", (message) => console.error(`[page] ${message.text()}`));
  page.on("pageerror", (error) => console.error(`[page] ${error}`));
  await page.goto(server.url);
  const plan = {
    artifacts,
    labels: Number(options.labels),
    seconds: Number(options.seconds),
    shapes: options.shapes.split(",").map((shape) => shape.split("x").map(Number)),
  };
  const measured = await page.evaluate((plan) => globalThis.measure(plan), plan);
  const results = {
    browser: browser.browser()?.version() ?? (await page.evaluate(() => navigator.userAgent)),
    peer: `onnxruntime-web ${await peerVersion()}`,
    bytes: await weighAll(),
    load_ms: measured.load_ms,
    shapes: measured.shapes.map((shape) => compare(shape, artifacts)),
  };
  await browser.close();
  report(results);
  if (options.out) await writeFile(options.out, `${JSON.stringify(results, null, 2)}\n`);
} finally {
  await server.close();
  await rm(profile, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);

function report(results) {
  console.log(`${results.browser}; ${results.peer}, wasm, 1 thread`);
  for (const [name, { raw, brotli }] of Object.entries(results.bytes)) {
    console.log(`${name.padEnd(14)} ${raw} bytes, brotli ${brotli}; loads in ${shown(results.load_ms[name])} ms`);
  }
  for (const { shape, contenders } of results.shapes) {
    for (const [name, { median_ms, minimum_ms, ratio, largest_difference }] of Object.entries(contenders)) {
      const times = `median ${shown(median_ms)} ms, fastest ${shown(minimum_ms)} ms`;
      const against = ratio && `, ratio ${shown(ratio.median)} [${shown(ratio.lower)}, ${shown(ratio.upper)}]`;
      console.log(`${shape.padEnd(7)} ${name.padEnd(14)} ${times}${against ?? ""}`);
      // Both round rows to 8 bits, with one scale per token here and one per tensor there.
      if (largest_difference > 0.1) fail(`${shape} ${name}: logits differ by ${largest_difference}`);
      if (ratio && options.limit && ratio.median > Number(options.limit)) {
        fail(`${shape} ${name}: ratio ${shown(ratio.median)} is above ${options.limit}`);
      }
    }
  }
}

function fail(what) {
  failed = true;
  console.error(what);
}

async function peerVersion() {
  return JSON.parse(await readFile(path.join(peerFolder, "../package.json"), "utf8")).version;
}

/// The files that a page fetches before the model: JavaScript and WebAssembly.
async function weighAll() {
  const sizes = { "onnxruntime-web": await weigh(peerFolder, ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) };
  for (const name of artifacts) {
    const folder = path.join(options["artifact-folder"], name);
    sizes[name] = await weigh(folder, (await readdir(folder)).filter((file) => /\.(js|wasm)$/.test(file)));
  }
  return sizes;
}

async function weigh(folder, files) {
  const sizes = { raw: 0, brotli: 0 };
  for (const file of files) {
    const bytes = await readFile(path.join(folder, file));
    const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
    sizes.raw += bytes.length;
    sizes.brotli += brotliCompressSync(bytes, { params }).length;
  }
  return sizes;
}
