/**
 * Detects which Gricean maxims a dialogue turn violates, in the browser.
 *
 * @module
 */

import { type Detector, imported, open, type OpenHere } from "./detector.js";
import type { Backend } from "./host.js";
import type { DetectorOptions } from "./options.js";
import { openRemote } from "./remote.js";

export * from "./exports.js";

/**
 * Loads a model.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createDetector(options: DetectorOptions): Promise<Detector> {
  return await open(options, async (worker, plan, signal, onProgress) => {
    if (worker === false) return await openHere(plan, signal, onProgress);
    return await openRemote(worker === true ? startWorker : worker, plan, signal, onProgress);
  });
}

/** Fetched only by pages that use no worker. */
async function openHere(...[plan, signal, onProgress]: Parameters<OpenHere>): Promise<Backend> {
  const [{ openHost }, { startCpu }] = await imported(Promise.all([import("./host.js"), import("./runtime.js")]));
  return await openHost(startCpu, plan, signal, onProgress);
}

/** In the form that bundlers recognise. */
function startWorker(): Worker {
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "grice" });
}
