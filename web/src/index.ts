/**
 * Detects which Gricean maxims a dialogue turn violates, in the browser.
 *
 * @module
 */

import type { Detector } from "./detector.js";
import { openEntry } from "./entry.js";
import type { DetectorOptions } from "./options.js";

export * from "./exports.js";

/**
 * Loads a model.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createDetector(options: DetectorOptions): Promise<Detector> {
  return await openEntry(options, {
    startWorker: () => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "grice" }),
    importHere: async () => {
      const [{ openHost }, { startCpu }] = await Promise.all([import("./host.js"), import("./runtime.js")]);
      return [openHost, startCpu];
    },
  });
}
