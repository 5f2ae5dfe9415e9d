// Builds the page as a static folder that works at any path: `node build.mjs --package ../web --model ../models/detector-mini --out ../target/www`.
//
// Files with a digest in their names never change and may be cached forever: script, styles, package and models. Only
// index.html and sw.js keep their names.

import { createHash } from "node:crypto";
import { cp, mkdir, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import { build as bundle } from "esbuild";
import { pack } from "tar-stream";

/** The page's content policy: only its own files, and WebAssembly. It is also in the page, for hosts that set no headers. */
export const POLICY =
  "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'; form-action 'none'";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const SOURCES = join(HERE, "src");
/** The package's entry that uses a GPU if there is one. */
const ENTRY = "webgpu.js";
/** Files of a bundle besides its networks. */
const BUNDLE_FILES = ["grice.json", "config.json", "tokenizer.json"];

/**
 * Builds the page into `out`, which is emptied first.
 * @param {{ packageFolder: string, models: string[], out: string, compresses?: boolean }} plan
 */
export async function buildPage({ packageFolder, models, out, compresses = true }) {
  await rm(out, { recursive: true, force: true });
  await mkdir(join(out, "models"), { recursive: true });
  const runtime = await copyPackage(packageFolder, out);
  const files = [];
  for (const folder of models) files.push(...(await packModels(folder, join(out, "models"))));
  const assets = await bundleAssets(out, runtime, files);
  for (const name of ["icon.svg", "manifest.webmanifest"]) await cp(join(SOURCES, name), join(out, name));
  await writePage(out, assets);
  await writeServiceWorker(out, ["./", "./icon.svg", "./manifest.webmanifest", ...Object.values(assets), ...runtime.scripts]);
  if (compresses) await compressFiles(out);
  return { models: files };
}

/** Copies the package's files to a folder named by their digest; they refer to each other by relative names. */
async function copyPackage(packageFolder, out) {
  const dist = join(packageFolder, "dist");
  const names = (await list(dist)).filter((name) => /\.(js|wasm)$/u.test(name) && basename(name) !== "node.js");
  if (!names.includes(ENTRY)) throw new Error(`${dist} has no ${ENTRY}: build the package \`grice\` first`);
  const whole = createHash("sha256");
  for (const name of names) whole.update(name).update(await readFile(join(dist, name)));
  const folder = `grice-${whole.digest("hex").slice(0, 12)}`;
  for (const name of names) await cp(join(dist, name), join(out, folder, name));
  const scripts = names.filter((name) => name.endsWith(".js")).map((name) => `./${folder}/${name}`);
  const modules = names.filter((name) => name.endsWith(".wasm"));
  const sizes = await Promise.all(modules.map(async (name) => [dirname(name), (await stat(join(dist, name))).size]));
  return { folder, scripts, module_bytes: Object.fromEntries(sizes) };
}

/** One archive per precision of a bundle, so that no unused weights are fetched. */
async function packModels(folder, out) {
  const manifest = JSON.parse(await readFile(join(folder, "grice.json"), "utf8"));
  const packed = [];
  for (const [precision, path] of Object.entries(manifest.models)) {
    const digests = Object.fromEntries(Object.entries(manifest.digests ?? {}).filter(([name]) => name === path || !Object.values(manifest.models).includes(name)));
    const own = JSON.stringify({ ...manifest, models: { [precision]: path }, digests }, null, 2);
    const entries = [["grice.json", Buffer.from(own)]];
    // A compiled program opens faster than the ONNX file, and needs no importer.
    const compiled = path.replace(/\.onnx$/u, ".grice");
    const model = (await stat(join(folder, compiled)).catch(() => undefined)) ? compiled : path;
    for (const name of [...BUNDLE_FILES.slice(1), model]) entries.push([name, await readFile(join(folder, name))]);
    const bytes = await archive(entries);
    const digest = createHash("sha256").update(bytes).digest();
    const name = `${manifest.name}-${precision}-${digest.toString("hex").slice(0, 12)}.tar`;
    await writeFile(join(out, name), bytes);
    packed.push({ precision, url: `./models/${name}`, bytes: bytes.length, integrity: `sha256-${digest.toString("base64")}`, compiled: model === compiled });
  }
  return packed;
}

/** Reproducible: no owner, no date. */
async function archive(entries) {
  const tar = pack();
  for (const [name, bytes] of entries) tar.entry({ name, mtime: new Date(0), mode: 0o644 }, bytes);
  tar.finalize();
  const parts = [];
  for await (const part of tar) parts.push(part);
  return Buffer.concat(parts);
}

/** Writes script and styles under names with a digest; returns the names. */
async function bundleAssets(out, runtime, models) {
  const { metafile } = await bundle({
    entryPoints: ["app.ts", "theme.ts", "styles.css"].map((name) => join(SOURCES, name)),
    outdir: join(out, "assets"),
    entryNames: "[name]-[hash]",
    bundle: true,
    format: "esm",
    target: ["es2022", "chrome96", "firefox114", "safari16.4"],
    minify: true,
    metafile: true,
    define: { MODELS: JSON.stringify(models), MODULE_BYTES: JSON.stringify(runtime.module_bytes) },
    plugins: [byName("grice/webgpu", `../${runtime.folder}/${ENTRY}`)],
    logLevel: "warning",
  });
  const named = Object.entries(metafile.outputs).map(([path, { entryPoint }]) => [basename(entryPoint), `./assets/${basename(path)}`]);
  return Object.fromEntries(named);
}

/** Leaves a package out of the bundle; it is loaded from its own folder. */
function byName(name, path) {
  return { name, setup: (build) => build.onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path, external: true })) };
}

async function writePage(out, assets) {
  const values = { POLICY };
  for (const [key, name] of Object.entries({ APP: "app.ts", THEME: "theme.ts", STYLES: "styles.css" })) {
    values[key] = assets[name];
    const digest = createHash("sha384").update(await readFile(join(out, assets[name]))).digest("base64");
    values[`${key}_DIGEST`] = `sha384-${digest}`;
  }
  const page = await readFile(join(SOURCES, "index.html"), "utf8");
  const filled = page.replace(/%([A-Z_]+)%/gu, (_, key) => {
    if (!(key in values)) throw new Error(`index.html asks for %${key}%, which the build does not know`);
    return values[key];
  });
  await writeFile(join(out, "index.html"), filled);
}

async function writeServiceWorker(out, shell) {
  const page = await readFile(join(out, "index.html"));
  const digest = createHash("sha256").update(page).update(shell.join("\n")).digest("hex").slice(0, 12);
  await bundle({
    entryPoints: [join(SOURCES, "sw.ts")],
    outfile: join(out, "sw.js"),
    bundle: true,
    format: "iife",
    target: "es2022",
    minify: true,
    define: { SHELL: JSON.stringify(shell), BUILD: JSON.stringify(digest), POLICY: JSON.stringify(POLICY) },
    logLevel: "warning",
  });
}

/** Writes a Brotli version of each file that becomes smaller. Models do not: weights are close to noise, and progress counts plain bytes. */
async function compressFiles(out) {
  const names = (await list(out)).filter((name) => /\.(js|css|html|svg|wasm|webmanifest)$/u.test(name));
  for (const name of names) {
    const bytes = await readFile(join(out, name));
    // The highest quality takes half a minute more per module and saves only 5 %.
    const quality = bytes.length > 1 << 20 ? 9 : 11;
    const params = { [constants.BROTLI_PARAM_QUALITY]: quality, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
    const small = await promisify(brotliCompress)(bytes, { params });
    if (small.length < bytes.length) await writeFile(join(out, `${name}.br`), small);
  }
}

/** The files below a folder, by relative name, sorted. */
async function list(folder) {
  const names = await readdir(folder, { recursive: true });
  const files = [];
  for (const name of names.sort()) if ((await stat(join(folder, name))).isFile()) files.push(name.replaceAll("\\", "/"));
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      package: { type: "string", default: join(HERE, "../web") },
      model: { type: "string", multiple: true, default: [join(HERE, "../models/detector-mini")] },
      out: { type: "string", default: join(HERE, "../target/www") },
    },
  });
  const out = resolve(values.out);
  const { models } = await buildPage({ packageFolder: resolve(values.package), models: values.model.map((folder) => resolve(folder)), out });
  const sizes = models.map(({ precision, bytes }) => `${precision} ${(bytes / 1e6).toFixed(1)} MB`);
  console.log(`${out}: model ${sizes.join(", ")}`);
}
