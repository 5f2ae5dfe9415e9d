/**
 * Says which Gricean maxims a dialogue turn violates, in Node: on the thread that asks, with models from files too.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Detector, open } from "./detector.js";
import { GriceError } from "./errors.js";
import { openHost } from "./host.js";
import type { DetectorOptions, ModelSource } from "./options.js";

export { Detector } from "./detector.js";
export { type ErrorCode, GriceError } from "./errors.js";
export { clearModelCache } from "./model-cache.js";
export type { Artifact, Batching, DetectOptions, DetectorInfo, DetectorOptions, Device, ModelCacheOutcome, ModelSource, Progress } from "./options.js";
export { type Support, supports } from "./supports.js";
export type { Context, Detection, ModelInfo, PerMaxim, Precision, Timings, Turn, Utterance, Verdict } from "./wire.js";

/**
 * Loads a model. `worker` has no say here, and there is no model cache.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createDetector(options: DetectorOptions): Promise<Detector> {
  const model = await readFileOf(options.model, options.signal);
  return await open({ ...options, model, modelCache: "none" }, (plan, signal, onProgress) =>
    openHost(plan, signal, onProgress, async (url) => new Uint8Array(await readFile(url))),
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
