/**
 * Says which Gricean maxims a dialogue turn violates, in the browser.
 *
 * @module
 */

import { Detector, open } from "./detector.js";
import type { DetectorOptions } from "./options.js";
import { openRemote } from "./remote.js";

export { Detector } from "./detector.js";
export { type ErrorCode, GriceError } from "./errors.js";
export { clearModelCache } from "./model-cache.js";
export type { Artifact, Batching, DetectOptions, DetectorInfo, DetectorOptions, Device, ModelCacheOutcome, ModelSource, Progress } from "./options.js";
export { type Support, supports } from "./supports.js";
export type { Context, Detection, ModelInfo, PerMaxim, Precision, Timings, Turn, Utterance, Verdict } from "./wire.js";

/**
 * Loads a model.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createDetector(options: DetectorOptions): Promise<Detector> {
  const { worker = true } = options;
  return await open(options, async (plan, signal, onProgress) => {
    if (worker === false) return await (await import("./host.js")).openHost(plan, signal, onProgress);
    return await openRemote(typeof worker === "function" ? worker : startWorker, plan, signal, onProgress);
  });
}

/** In the very form that bundlers look for. */
function startWorker(): Worker {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "grice" });
}
