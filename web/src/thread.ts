/**
 * Detects which Gricean maxims a dialogue turn violates, on the calling thread, without dynamic imports: for service workers,
 * which have neither `Worker` nor `import()`, and for a page's own workers.
 *
 * @module
 */

import { type Detector, open } from "./detector.js";
import { GriceError } from "./errors.js";
import { openHost } from "./host.js";
import type { DetectorOptions } from "./options.js";
import { startCpu } from "./runtime.js";

export * from "./exports.js";

/**
 * Loads a model. There is no worker, as with `worker: false`, and no GPU.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createDetector(options: DetectorOptions): Promise<Detector> {
  return await open({ ...options, worker: options?.worker ?? false }, async (worker, plan, signal, onProgress) => {
    if (worker !== false) throw new GriceError("unsupported", "the entry `grice/thread` creates no worker; `grice` does");
    return await openHost(startCpu, plan, signal, onProgress);
  });
}
