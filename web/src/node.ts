/**
 * Says which Gricean maxims a dialogue turn violates, in Node: on the thread that asks, with models from files too.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Detector, open } from "./detector.js";
import { GriceError } from "./errors.js";
import { openHost } from "./host.js";
import type { DetectorOptions, ModelSource } from "./options.js";
import { startCpu } from "./runtime.js";

export * from "./exports.js";

/**
 * Loads a model. `worker` has no say here, and there is no model cache.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createDetector(options: DetectorOptions): Promise<Detector> {
  const model = await readFileOf(options.model, options.signal);
  return await open({ ...options, model, modelCache: "none" }, (plan, signal, onProgress) =>
    openHost(startCpu, plan, signal, onProgress, async (url) => new Uint8Array(await readFile(url))),
  );
}

/** The bytes of a path or `file:` URL; anything else is left as it is. */
async function readFileOf(model: ModelSource, signal: AbortSignal | undefined): Promise<ModelSource> {
  if (typeof model !== "string" && !(model instanceof URL)) return model;
  const isWeb = /^(https?|data|blob):/i.test(String(model));
  if (isWeb) return model;
  const file = /^file:/i.test(String(model)) ? fileURLToPath(model) : String(model);
  try {
    return await readFile(file, signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw new GriceError("download", `${file}: ${(error as Error).message}`, { cause: error });
  }
}
