// `createDetector` of the entries that may use a worker. What differs between them stays in their files, in the form that bundlers recognise.

import { type Detector, imported, open } from "./detector.js";
import type { openHost } from "./host.js";
import type { DetectorOptions } from "./options.js";
import { openRemote } from "./remote.js";

/** Where an entry's parts come from. */
export interface Parts {
  /** Its worker. */
  startWorker: () => Worker;
  /** For pages that use no worker: `openHost`, and what starts the module. */
  importHere: () => Promise<[typeof openHost, Parameters<typeof openHost>[0]]>;
}

/**
 * Loads a model, in a worker unless the options say otherwise.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function openEntry(options: DetectorOptions, { startWorker, importHere }: Parts): Promise<Detector> {
  return await open(options, async (worker, plan, signal, onProgress) => {
    if (worker !== false) return await openRemote(worker === true ? startWorker : worker, plan, signal, onProgress);
    const [openHost, start] = await imported(importHere());
    return await openHost(start, plan, signal, onProgress);
  });
}
