// Loads a bundle's bytes from the caller, the model cache or the network. A bundle is cached only after it opened.

import { type Answer, isTar, tellAnswer } from "./answer.js";
import { download } from "./download.js";
import { asGriceError, GriceError } from "./errors.js";
import { checkIntegrity } from "./integrity.js";
import { type ModelCache, openModelCache } from "./model-cache.js";
import type { LoadPlan, ModelCacheOutcome, Progress } from "./options.js";
import { throwIfAborted } from "./signals.js";

interface Fetched {
  bytes: Uint8Array<ArrayBuffer>;
  /** The server's response; `undefined` for bytes from the caller or the cache. */
  answer: Answer | undefined;
  /** Whether they are from the model cache. */
  isKept: boolean;
  /** Whether they were assembled from several responses. */
  isResumed: boolean;
}

/** Makes a model from a bundle's bytes. */
export type Load<T> = (bytes: Uint8Array<ArrayBuffer>, isKept: boolean) => Promise<T>;

export class BundleSource {
  readonly #plan: LoadPlan;
  readonly #signal: AbortSignal | undefined;
  readonly #onProgress: (progress: Progress) => void;
  #cache: ModelCache | undefined;

  constructor(plan: LoadPlan, signal: AbortSignal | undefined, onProgress: (progress: Progress) => void) {
    this.#plan = plan;
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  /** The bytes, unopened. */
  async fetch(): Promise<Fetched> {
    const { model, integrity } = this.#plan;
    if ("bytes" in model) {
      return { bytes: model.bytes as Uint8Array<ArrayBuffer>, answer: model.answer, isKept: false, isResumed: false };
    }
    this.#cache = this.#usesCache(model.url) ? await openModelCache() : undefined;
    const kept = await this.#cache?.find(model.url, integrity);
    if (!kept) return await this.#download(model.url, "default");
    this.#onProgress({ phase: "model", loaded: kept.length, total: kept.length, cached: true });
    return { bytes: kept, answer: undefined, isKept: true, isResumed: false };
  }

  /**
   * Opens a bundle, and caches it after it opened. If it does not open, it is fetched once more from the server, because our cache,
   * the browser's cache or the network may have returned something else.
   */
  async open<T>(first: Fetched, load: Load<T>): Promise<{ opened: T; modelCache: ModelCacheOutcome }> {
    try {
      return await this.#tryOut(first, load);
    } catch (error) {
      const { model } = this.#plan;
      const problem = asGriceError(error);
      // A module that ended cannot try again, and a later attempt must not get the same bytes.
      if (first.isKept && (problem.code === "bad_model" || problem.code === "crashed") && "url" in model) await this.#cache?.drop(model.url);
      if (problem.code !== "bad_model" && problem.code !== "integrity") throw problem;
      if (!("url" in model)) throw this.#tell(problem, first);
      const again = await this.#fetchAgain(model.url, first, problem);
      try {
        return await this.#tryOut(again, load);
      } catch (error) {
        throw this.#tell(asGriceError(error), again);
      }
    }
  }

  async #tryOut<T>(fetched: Fetched, load: Load<T>): Promise<{ opened: T; modelCache: ModelCacheOutcome }> {
    const { model, integrity } = this.#plan;
    if (integrity && !fetched.isKept) await checkIntegrity("url" in model ? model.url : "the bundle", fetched.bytes, integrity);
    try {
      const opened = await load(fetched.bytes, fetched.isKept);
      return { opened, modelCache: fetched.isKept ? "hit" : await this.#keep(fetched) };
    } catch (error) {
      // The bundle is not at fault: another device may run it.
      if (asGriceError(error).code === "unsupported" && !fetched.isKept) await this.#keep(fetched);
      throw error;
    }
  }

  async #keep({ bytes }: Fetched): Promise<ModelCacheOutcome> {
    const { model } = this.#plan;
    if (!("url" in model) || !this.#usesCache(model.url)) return "off";
    return this.#cache ? await this.#cache.store(model.url, bytes) : "unavailable";
  }

  /** @throws GriceError `problem`, if there are no other bytes. */
  async #fetchAgain(url: string, first: Fetched, problem: GriceError): Promise<Fetched> {
    // For one complete archive from a server, let the server check whether it is still current. Do not trust anything else.
    const isWhole = !first.isKept && !first.isResumed && isTar(first.bytes);
    let again: Fetched;
    try {
      again = await this.#download(url, isWhole ? "no-cache" : "reload");
    } catch (error) {
      throwIfAborted(this.#signal);
      if (!first.isKept) throw this.#tell(problem, first);
      const dropped = `the cached bundle did not open and was deleted (${problem.message})`;
      throw new GriceError("download", `${asGriceError(error).message}; ${dropped}`, { cause: error });
    }
    if (isSame(first.bytes, again.bytes)) throw this.#tell(problem, again);
    return again;
  }

  async #download(url: string, cache: RequestCache): Promise<Fetched> {
    const report = (loaded: number, total: number | undefined) => this.#onProgress({ phase: "model", loaded, total, cached: false });
    const { bytes, answer, isResumed } = await download(url, this.#signal, report, undefined, cache);
    return { bytes, answer, isKept: false, isResumed };
  }

  /** Adds the URL, and a description of a response that is not a bundle. */
  #tell(problem: GriceError, { bytes, answer }: Fetched): GriceError {
    const { model } = this.#plan;
    if (problem.code !== "bad_model" && problem.code !== "integrity") return problem;
    const name = "url" in model ? model.url : answer?.url;
    const message = name && !problem.message.startsWith(name) ? `${name}: ${problem.message}` : problem.message;
    const came = isTar(bytes) ? "" : `; ${tellAnswer(answer, bytes)}`;
    return new GriceError(problem.code, message + came, { cause: problem });
  }

  /** Only HTTP URLs are cached: others need no cache, and the Cache API does not accept them. */
  #usesCache(url: string): boolean {
    return this.#plan.useModelCache && /^https?:/.test(url);
  }
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
