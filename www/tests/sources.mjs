// The page's modules that need no browser, for tests of their own.

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

/** Imports `src/NAME.ts`. */
export async function importSource(name) {
  const outfile = join(await mkdtemp(join(tmpdir(), "grice-www-")), `${name}.mjs`);
  const source = fileURLToPath(new URL(`../src/${name}.ts`, import.meta.url));
  await build({ entryPoints: [source], outfile, bundle: true, format: "esm", logLevel: "warning" });
  return await import(pathToFileURL(outfile).href);
}
