// Models and modules from files, for Node.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { GriceError, messageOf } from "./errors.js";
import type { ModelSource } from "./options.js";
import { throwIfAborted } from "./signals.js";

/** The WebAssembly module, from the folder of this script. */
export async function readModule(url: URL): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(url));
  } catch (error) {
    const remedy = "a bundler for servers must leave the package out (in Next.js: `serverExternalPackages: [\"grice\"]`)";
    throw new GriceError("download", `${url}: ${messageOf(error)}; ${remedy}`, { cause: error });
  }
}

/** The bytes of a path or `file:` URL; other values as in browsers. */
export async function readSource(model: ModelSource, signal: AbortSignal | undefined): Promise<ModelSource> {
  if (typeof model !== "string" && !(model instanceof URL)) return model;
  const isWeb = /^(https?|data|blob):/i.test(String(model));
  if (isWeb) return model;
  const file = /^file:/i.test(String(model)) ? fileURLToPath(model) : String(model);
  try {
    return await readFile(file, signal ? { signal } : {});
  } catch (error) {
    throwIfAborted(signal);
    throw new GriceError("download", `${file}: ${messageOf(error)}`, { cause: error });
  }
}
