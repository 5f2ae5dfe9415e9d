/**
 * Repairs responses, answers and continues prompts, in Node: on the calling thread, also with models from files.
 *
 * @module
 */

import { readModule, readSource } from "./node-files.js";
import { openWriterHost } from "./writer-host.js";
import type { GeneratorOptions, RepairerOptions } from "./writer-options.js";
import { type Generator, openGenerator, openPipeline, openRepairer, type OpenWriter, type Pipeline, type Repairer } from "./writers.js";

export * from "./writer-exports.js";

/**
 * Loads a model that repairs responses, and a detector. `worker` is ignored, and there is no model cache.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createRepairer(options: RepairerOptions): Promise<Repairer> {
  return await openRepairer({ ...options, modelCache: "none" }, openBackend, readSource);
}

/**
 * Loads a model that answers and repairs its answers, and a detector.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createPipeline(options: RepairerOptions): Promise<Pipeline> {
  return await openPipeline({ ...options, modelCache: "none" }, openBackend, readSource);
}

/**
 * Loads a model that continues prompts.
 *
 * @throws GriceError; the signal's reason if it is aborted.
 */
export async function createGenerator(options: GeneratorOptions): Promise<Generator> {
  return await openGenerator({ ...options, modelCache: "none" }, openBackend, readSource);
}

const openBackend: OpenWriter = async (_worker, plan, signal, onProgress) => await openWriterHost(plan, signal, onProgress, readModule);
