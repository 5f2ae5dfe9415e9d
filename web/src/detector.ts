// What a page holds in its hands, whichever thread the model runs on.

import { readAll } from "./download.js";
import { GriceError } from "./errors.js";
import type { Backend } from "./host.js";
import { parseIntegrity } from "./integrity.js";
import type { DetectOptions, DetectorInfo, DetectorOptions, LoadPlan, ModelSource, Progress } from "./options.js";
import type { Detection, Turn } from "./wire.js";

/** Makes a backend of a plan; where it runs is the entry point's business. */
export type Open = (plan: LoadPlan, signal: AbortSignal | undefined, onProgress: (progress: Progress) => void) => Promise<Backend>;

/** A loaded model. Concurrent calls run together; identical ones run once. */
export class Detector {
  readonly #backend: Backend;
  #isDisposed = false;

  /** @internal */
  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** What was loaded and what it runs on. */
  get info(): DetectorInfo {
    return this.#backend.info;
  }

  /**
   * The verdict on one turn.
   *
   * @throws GriceError; the signal's reason if it is aborted.
   */
  async detect(turn: Turn, options: DetectOptions = {}): Promise<Detection> {
    const [detection] = await this.detectBatch([turn], options);
    if (!detection) throw new GriceError("bug", "no answer for a turn");
    return detection;
  }

  /**
   * The verdicts on several turns, in their order. One that cannot be judged rejects them all, with its `index`; to have each fail for
   * itself, call `detect` for each: they run together all the same.
   *
   * @throws GriceError; the signal's reason if it is aborted.
   */
  async detectBatch(turns: readonly Turn[], options: DetectOptions = {}): Promise<Detection[]> {
    const { signal, thresholds, timeoutMs, cache } = options;
    signal?.throwIfAborted();
    if (this.#isDisposed) throw new GriceError("disposed", "the detector was disposed of");
    const texts = turns.map((turn, index) => stringify(turn, turns.length > 1 ? index : undefined));
    if (texts.length === 0) return [];
    const ask = JSON.stringify({ thresholds: thresholds ?? {}, timeoutMs, bypassCache: cache === false });
    return await abortable(this.#backend.detect(texts, ask, signal), signal);
  }

  /** Ends the worker and frees the model. Calls that wait reject with `disposed`; a second call does nothing. */
  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#backend.dispose();
  }

  /**
   * What came of several turns, in their order, each for itself: one that cannot be judged costs no other. They run together, as those
   * of `detectBatch` do. A reason is what `detect` throws, with the `index` of its turn.
   */
  async detectSettled(turns: readonly Turn[], options: DetectOptions = {}): Promise<PromiseSettledResult<Detection>[]> {
    const withIndex = (error: unknown, index: number): unknown =>
      error instanceof GriceError ? new GriceError(error.code, error.message, { cause: error.cause, index }) : error;
    const judge = (turn: Turn, index: number) => this.detect(turn, options).catch((error: unknown) => { throw withIndex(error, index); });
    return await Promise.allSettled(turns.map(judge));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/** Reads the options, gets hold of the model's bytes where that is this thread's business, and opens. */
export async function open(options: DetectorOptions, backend: Open): Promise<Detector> {
  const { signal } = options;
  signal?.throwIfAborted();
  // A listener that throws is the page's fault, and must not be what loading fails of.
  const onProgress = (progress: Progress) => {
    try {
      options.onProgress?.(progress);
    } catch (error) {
      queueMicrotask(() => { throw error; });
    }
  };
  const plan: LoadPlan = {
    model: await readModel(options.model, signal, onProgress),
    device: options.device ?? "auto",
    useModelCache: (options.modelCache ?? "cache-api") === "cache-api",
    integrity: options.integrity === undefined ? undefined : parseIntegrity(options.integrity),
    settings: JSON.stringify(settings(options)),
  };
  if (!["auto", "cpu", "gpu"].includes(plan.device)) throw new GriceError("bad_input", `\`device\` cannot be ${JSON.stringify(options.device)}`);
  const opened = backend(plan, signal, onProgress);
  const loaded = await abortable(opened, signal).catch((error: unknown) => {
    // One that opens all the same is of no use to anyone.
    opened.then((late) => late.dispose()).catch(() => {});
    throw error;
  });
  return new Detector(loaded);
}

function settings({ batching = {}, cache = true, precision, thresholds }: DetectorOptions): Record<string, unknown> {
  return {
    precision,
    thresholds: thresholds ?? {},
    batchRowsMax: batching.rowsMax,
    batchTokensMax: batching.tokensMax,
    waitMs: batching.waitMs ?? 0,
    queueMax: batching.queueMax,
    cacheBytesMax: typeof cache === "object" ? cache.bytesMax : cache ? undefined : 0,
  };
}

async function readModel(model: ModelSource, signal: AbortSignal | undefined, onProgress: (progress: Progress) => void): Promise<LoadPlan["model"]> {
  if (typeof model === "string" || model instanceof URL) {
    const base = (globalThis as { document?: { baseURI: string } }).document?.baseURI ?? globalThis.location?.href;
    try {
      return { url: new URL(model, base).href };
    } catch {
      throw new GriceError("bad_input", `\`model\` is no URL: ${model}`);
    }
  }
  // Copied: what is given to a worker is gone here.
  if (model instanceof ArrayBuffer) return { bytes: new Uint8Array(model.slice(0)) };
  if (model instanceof Uint8Array) return { bytes: model.slice() };
  if (model instanceof Response || model instanceof ReadableStream) {
    const response = model instanceof Response ? model : new Response(model);
    const report = (loaded: number, total: number | undefined) => onProgress({ phase: "model", loaded, total, cached: false });
    return { bytes: await readAll(response, signal, report) };
  }
  throw new GriceError("bad_input", "`model` must be a URL, a Response, a ReadableStream, an ArrayBuffer or a Uint8Array of a bundle's .tar");
}

function stringify(turn: Turn, index: number | undefined): string {
  let json: string | undefined;
  let problem = "it is not an object that JSON can hold";
  try {
    json = JSON.stringify(turn);
  } catch (error) {
    problem = (error as Error).message;
  }
  if (json === undefined) throw new GriceError("bad_input", `not a turn: ${problem}`, index === undefined ? {} : { index });
  return json;
}

/** Rejects at once when the signal is aborted, whatever still goes on behind. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
