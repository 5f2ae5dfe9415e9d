/**
 * Repairs responses, answers and continues prompts, in the browser. A module of its own, because it is larger than the detector's.
 *
 * @module
 */

import { imported } from "./detector.js";
import { openWriterRemote } from "./writer-remote.js";
import type { GeneratorOptions, RepairerOptions } from "./writer-options.js";
import { type Generator, openGenerator, openPipeline, openRepairer, type OpenWriter, type Pipeline, type Repairer } from "./writers.js";

export * from "./writer-exports.js";

/**
 * Loads a model that repairs responses, and a detector.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createRepairer(options: RepairerOptions): Promise<Repairer> {
  return await openRepairer(options, openBackend);
}

/**
 * Loads a model that answers and repairs its answers, and a detector.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createPipeline(options: RepairerOptions): Promise<Pipeline> {
  return await openPipeline(options, openBackend);
}

/**
 * Loads a model that continues prompts.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createGenerator(options: GeneratorOptions): Promise<Generator> {
  return await openGenerator(options, openBackend);
}

/** A worker's script is written out, because bundlers recognise it in this form. */
const openBackend: OpenWriter = async (worker, plan, signal, onProgress) => {
  const own = () => new Worker(new URL("./worker-writer.js", import.meta.url), { type: "module", name: "grice-writer" });
  if (worker !== false) return await openWriterRemote(worker === true ? own : worker, plan, signal, onProgress);
  const { openWriterHost } = await imported(import("./writer-host.js"));
  return await openWriterHost(plan, signal, onProgress);
};
