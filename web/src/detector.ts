// The detector for pages, independent of the model's thread.

import { type Answer, answerOf } from "./answer.js";
import { readAll } from "./download.js";
import { GriceError, messageOf, settled } from "./errors.js";
import { EXPLAIN_RUNS, type ExplainedDetection, explain } from "./explain.js";
import type { Backend } from "./host.js";
import { parseIntegrity } from "./integrity.js";
import type { DetectOptions, DetectorInfo, DetectorOptions, ExplainOptions, LoadPlan, ModelSource, Progress } from "./options.js";
import { onAbort, throwIfAborted } from "./signals.js";
import type { Detection, PerMaxim, Turn } from "./wire.js";

/** Makes a backend from a plan; the entry point and `worker` decide where it runs. */
export type Open = (
  worker: boolean | (() => Worker),
  plan: LoadPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: Progress) => void,
) => Promise<Backend>;

/** Resolves the `model` option; entries accept different forms. */
export type ReadSource = (model: ModelSource, signal: AbortSignal | undefined) => Promise<ModelSource>;

/** A loaded model. Concurrent calls run as one batch; identical turns run once. */
export class Detector {
  readonly #backend: Backend;
  #isDisposed = false;

  /** @internal */
  constructor(backend: Backend) {
    this.#backend = backend;
  }

  /** The loaded model and its device. */
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
   * The verdicts on several turns, in order. A turn that cannot be judged rejects the call, with its `index`. To get single errors,
   * use `detectSettled`.
   *
   * @throws GriceError; the signal's reason if it is aborted.
   */
  async detectBatch(turns: readonly Turn[], options: DetectOptions = {}): Promise<Detection[]> {
    const given = record("the options", options);
    const signal = signalOf(given.signal);
    return await settled(signal, async () => {
      throwIfAborted(signal);
      if (this.#isDisposed) throw new GriceError("disposed", "the detector was disposed of");
      if (!Array.isArray(turns)) throw new GriceError("bad_input", "`detectBatch` takes a list of turns");
      // `from`, because `map` skips holes.
      const texts = Array.from(turns as readonly Turn[], (turn, index) => stringify(turn, turns.length > 1 ? index : undefined));
      if (texts.length === 0) return [];
      const { thresholds, timeoutMs, cache } = given;
      const ask = toJson("the options", { thresholds: thresholds ?? {}, timeoutMs: timeoutMs === Infinity ? undefined : timeoutMs, bypassCache: cache === false });
      return await abortable(this.#backend.detect(texts, ask, signal), signal);
    });
  }

  /** Ends the worker and frees the model. Waiting calls reject with `disposed`; a second call does nothing. */
  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    await settled(undefined, async () => this.#backend.dispose());
  }

  /**
   * The results of several turns, in order. A turn that cannot be judged does not affect the others. They run as one batch, like those
   * of `detectBatch`. A reason is the error that `detect` would throw, with the `index` of its turn.
   */
  async detectSettled(turns: readonly Turn[], options: DetectOptions = {}): Promise<PromiseSettledResult<Detection>[]> {
    const withIndex = (error: unknown, index: number): unknown =>
      error instanceof GriceError ? new GriceError(error.code, error.message, { cause: error.cause, index }) : error;
    const judge = (turn: Turn, index: number) => this.detect(turn, options).catch((error: unknown) => { throw withIndex(error, index); });
    return await Promise.allSettled(turns.map(judge));
  }

  /**
   * The verdict on one turn, with the words that moved each violated maxim most. They are found by judging the turn again without each word;
   * `timeoutMs` applies to each round of that, of which a turn has one, and a long one a few.
   *
   * @throws GriceError; the signal's reason if it is aborted.
   */
  async explain(turn: Turn, options: ExplainOptions = {}): Promise<ExplainedDetection> {
    const { runsMax = EXPLAIN_RUNS, ...rest } = record("the options", options);
    if (!Number.isInteger(runsMax) || runsMax < 1) throw new GriceError("bad_input", `\`runsMax\` cannot be ${shown(runsMax)}; it is a whole number from 1`);
    const detection = await this.detect(turn, rest);
    const judge = async (turns: Turn[]) => (await this.detectSettled(turns, rest)).map(probabilitiesOf);
    return { ...detection, explanation: await explain(turn, detection, this.info.maxTokens, runsMax, judge) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/** Reads the options, loads the model's bytes if that happens on this thread, and opens the model. */
export async function open(options: DetectorOptions, backend: Open, readSource?: ReadSource): Promise<Detector> {
  return await settled(options?.signal, async () => {
    const given = record("the options", options);
    const signal = signalOf(given.signal);
    throwIfAborted(signal);
    const onProgress = progressOf(given);
    const worker = given.worker ?? true;
    if (typeof worker !== "boolean" && typeof worker !== "function") throw new GriceError("bad_input", "`worker` must be true, false or a function");
    const settings = toJson("the options", settingsOf(given));
    const plan: LoadPlan = {
      device: oneOf("device", given.device ?? "auto", ["auto", "cpu", "gpu"]),
      useModelCache: oneOf("modelCache", given.modelCache ?? "cache-api", ["cache-api", "none"]) === "cache-api",
      integrity: given.integrity === undefined ? undefined : parseIntegrity(given.integrity),
      settings,
      model: await readModel((await readSource?.(given.model, signal)) ?? given.model, signal, onProgress),
    };
    const opened = backend(worker, plan, signal, onProgress);
    const loaded = await abortable(opened, signal).catch((error: unknown) => {
      // If it still opens, it is not used.
      opened.then((late) => late.dispose()).catch(() => {});
      throw error;
    });
    return new Detector(loaded);
  });
}

/** The result of an `import()`. Failures become errors of this package. */
export async function imported<T>(scripts: Promise<T>): Promise<T> {
  try {
    return await scripts;
  } catch (error) {
    const said = messageOf(error);
    if (/disallowed|not allowed|ServiceWorker/i.test(said)) {
      throw new GriceError("unsupported", `\`import()\` does not work here (${said}): use the entry \`grice/thread\`, which needs no imports`, { cause: error });
    }
    throw new GriceError("download", `a script of the package could not be loaded: ${said}; is all of dist/ served?`, { cause: error });
  }
}

/** A turn that cannot be judged without its words has no probabilities. */
function probabilitiesOf(result: PromiseSettledResult<Detection>): PerMaxim<number> | undefined {
  if (result.status === "fulfilled") return result.value.probabilities;
  if (result.reason instanceof GriceError && result.reason.code === "bad_input") return undefined;
  throw result.reason;
}

/** A listener that throws is the page's fault, and must not make loading fail. */
export function progressOf<P>({ onProgress }: { onProgress?: (progress: P) => void }): (progress: P) => void {
  if (onProgress === undefined || onProgress === null) return () => {};
  if (typeof onProgress !== "function") throw new GriceError("bad_input", "`onProgress` must be a function");
  return (progress) => {
    try {
      onProgress(progress);
    } catch (error) {
      queueMicrotask(() => { throw error; });
    }
  };
}

function settingsOf({ batching, cache = true, precision, thresholds }: DetectorOptions): Record<string, unknown> {
  const { rowsMax, tokensMax, waitMs = 0, queueMax } = record("`batching`", batching ?? {});
  if (typeof cache !== "boolean" && (typeof cache !== "object" || cache === null)) throw new GriceError("bad_input", "`cache` must be true, false or `{ bytesMax }`");
  return {
    precision,
    thresholds: thresholds ?? {},
    batchRowsMax: rowsMax,
    batchTokensMax: tokensMax,
    waitMs,
    queueMax,
    cacheBytesMax: typeof cache === "object" ? cache.bytesMax : cache ? undefined : 0,
  };
}

export function oneOf<T extends string>(name: string, value: T, values: readonly T[]): T {
  if (values.includes(value)) return value;
  throw new GriceError("bad_input", `\`${name}\` cannot be ${shown(value)}; it is one of ${values.join(", ")}`);
}

export function record<T extends object>(what: string, value: T): T {
  if (typeof value === "object" && value !== null) return value;
  throw new GriceError("bad_input", `${what} must be an object, not ${shown(value)}`);
}

export function signalOf(signal: AbortSignal | null | undefined): AbortSignal | undefined {
  if (signal === undefined || signal === null) return undefined;
  if (typeof signal.addEventListener === "function" && typeof signal.aborted === "boolean") return signal;
  throw new GriceError("bad_input", "`signal` must be an AbortSignal");
}

export async function readModel(model: ModelSource, signal: AbortSignal | undefined, onProgress: (progress: Progress) => void, name = "model"): Promise<LoadPlan["model"]> {
  if (typeof model === "string" || isA(model, "URL")) {
    const base = (globalThis as { document?: { baseURI: string } }).document?.baseURI ?? globalThis.location?.href;
    try {
      return { url: new URL(String(model), base).href };
    } catch {
      throw new GriceError("bad_input", `\`${name}\` is no URL: ${String(model)}`);
    }
  }
  try {
    // Copied, because bytes are moved to a worker.
    if (isA(model, "ArrayBuffer")) return { bytes: new Uint8Array((model as ArrayBuffer).slice(0)), answer: undefined };
    if (isA(model, "Uint8Array")) return { bytes: new Uint8Array(model as Uint8Array), answer: undefined };
  } catch (error) {
    throw new GriceError("bad_input", `the bytes of \`${name}\` cannot be read: ${messageOf(error)}`, { cause: error });
  }
  if (isA(model, "Response") || isA(model, "ReadableStream")) {
    const response = responseOf(model as Response | ReadableStream<Uint8Array>);
    const report = (loaded: number, total: number | undefined) => onProgress({ phase: "model", loaded, total, cached: false });
    const bytes = await readAll(response, signal, report);
    const answer: Answer | undefined = isA(model, "Response") ? answerOf(response.url || "the response", response) : undefined;
    return { bytes, answer };
  }
  throw new GriceError("bad_input", `\`${name}\` must be a URL, a Response, a ReadableStream, an ArrayBuffer or a Uint8Array of a bundle's .tar`);
}

function responseOf(model: Response | ReadableStream<Uint8Array>): Response {
  if (isA(model, "Response")) return model as Response;
  try {
    return new Response(model as ReadableStream<Uint8Array>);
  } catch (error) {
    throw new GriceError("bad_input", `the stream given as \`model\` cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Whether a value is of a browser type, also if it comes from another window. */
function isA(value: unknown, kind: string): boolean {
  const named = (globalThis as Record<string, unknown>)[kind];
  if (typeof named === "function" && value instanceof (named as new () => unknown)) return true;
  return Object.prototype.toString.call(value) === `[object ${kind}]`;
}

function shown(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return typeof value;
  }
}

/** JSON in which unsupported values (NaN, a function) stay and are refused; plain JSON would drop them. */
export function toJson(what: string, value: unknown): string {
  let json: string | undefined;
  let problem = "it is not an object that JSON can represent";
  try {
    json = JSON.stringify(value, (_key, each: unknown) => (isUnspeakable(each) ? String(each) : each));
  } catch (error) {
    problem = messageOf(error);
  }
  if (json === undefined || typeof value !== "object") throw new GriceError("bad_input", `${what}: ${problem}`);
  return json;
}

function isUnspeakable(value: unknown): boolean {
  return (typeof value === "number" && !Number.isFinite(value)) || typeof value === "function" || typeof value === "symbol";
}

function stringify(turn: Turn, index: number | undefined): string {
  try {
    return toJson("not a turn", turn);
  } catch (error) {
    throw new GriceError("bad_input", messageOf(error), index === undefined ? {} : { index });
  }
}

/** Rejects at once when the signal is aborted, even if the work continues. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, reject);
    promise.then(resolve, reject).finally(forget);
  });
}
