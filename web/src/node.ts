/**
 * Detects which Gricean maxims a dialogue turn violates, in Node: on the calling thread, also with models from files.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Detector, open } from "./detector.js";
import { GriceError, messageOf } from "./errors.js";
import { openHost } from "./host.js";
import type { DetectorOptions, ModelSource } from "./options.js";
import { startCpu } from "./runtime.js";
import { throwIfAborted } from "./signals.js";

export * from "./exports.js";

/**
 * Loads a model. `worker` is ignored, and there is no model cache.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createDetector(options: DetectorOptions): Promise<Detector> {
  return await open({ ...options, modelCache: "none" }, async (_worker, plan, signal, onProgress) => {
    return await openHost(startCpu, plan, signal, onProgress, readModule);
  }, readSource);
}

/** The WebAssembly module, from the folder of this script. */
async function readModule(url: URL): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(url));
  } catch (error) {
    const remedy = "a bundler for servers must leave the package out (in Next.js: `serverExternalPackages: [\"grice\"]`)";
    throw new GriceError("download", `${url}: ${messageOf(error)}; ${remedy}`, { cause: error });
  }
}

/** The bytes of a path or `file:` URL; other values as in browsers. */
async function readSource(model: ModelSource, signal: AbortSignal | undefined): Promise<ModelSource> {
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
