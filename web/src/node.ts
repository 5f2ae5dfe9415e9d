/**
 * Detects which Gricean maxims a dialogue turn violates, in Node: on the calling thread, also with models from files.
 *
 * @module
 */

import { type Detector, open } from "./detector.js";
import { openHost } from "./host.js";
import { readModule, readSource } from "./node-files.js";
import type { DetectorOptions } from "./options.js";
import { startCpu } from "./runtime.js";

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
