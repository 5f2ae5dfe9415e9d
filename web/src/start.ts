// Fetches a WebAssembly module and starts it on this thread.

import { type Answer, answerOf, isWasm, tellAnswer } from "./answer.js";
import { asGriceError, GriceError, messageOf } from "./errors.js";
import { Module } from "./module.js";
import type { Progress } from "./options.js";
import { throwIfAborted } from "./signals.js";
import { hasSimd } from "./supports.js";

/** The bytes of a module, or a response with them. */
export type FetchModule = (url: URL, signal?: AbortSignal) => Promise<Response | Uint8Array>;

export type OnProgress = (progress: Progress) => void;

/** A module's own function that starts it. */
export type Init = (options: { module_or_path: Response | Uint8Array }) => Promise<unknown>;

/** The modules that were started on this thread. */
const modules = new Map<Init, Module>();

/**
 * Starts a module.
 *
 * @throws GriceError `unsupported` in a browser without SIMD or if a policy forbids WebAssembly, `download` if the module cannot be
 * loaded, `crashed` if it ended on this thread before or there is not enough memory.
 */
export async function startModule(init: Init, url: URL, fetchModule: FetchModule, onProgress: OnProgress): Promise<Module> {
  if (!hasSimd()) {
    const what = typeof WebAssembly === "object" ? "WebAssembly SIMD" : "WebAssembly";
    throw new GriceError("unsupported", `this browser has no ${what} (Chrome 96, Firefox 89, Safari 16.4 have)`);
  }
  const known = modules.get(init);
  if (known?.end) {
    const remedy = "reload the page, or run detectors in a worker";
    throw new GriceError("crashed", `the WebAssembly module ended on this thread before (${known.end.message}); ${remedy}`, { cause: known.end });
  }
  const arrival = new Arrival(url, await fetchModule(url), onProgress);
  try {
    await init({ module_or_path: arrival.module });
  } catch (error) {
    throw arrival.explain(error);
  }
  const module = modules.get(init) ?? new Module();
  modules.set(init, module);
  return module;
}

/** A module that is being loaded, and its progress. */
class Arrival {
  readonly module: Response | Uint8Array;
  readonly #url: URL;
  #answer: Answer | undefined;
  #head = new Uint8Array();
  #loaded = 0;
  #isWhole = false;

  constructor(url: URL, module: Response | Uint8Array, onProgress: OnProgress) {
    this.#url = url;
    if (!(module instanceof Uint8Array)) this.#answer = answerOf(url.href, module);
    this.module = this.#watch(module, onProgress);
  }

  /** Why it did not start, as an error of this package. */
  explain(error: unknown): GriceError {
    if (error instanceof GriceError) return error;
    const known = asGriceError(error);
    if (known.code === "crashed") return known;
    const said = `${this.#url}: the WebAssembly module did not start: ${known.message}`;
    if (isForbidden(known.message)) {
      const remedy = "the page's Content-Security-Policy, and the worker's, must allow `script-src 'wasm-unsafe-eval'`";
      return new GriceError("unsupported", `${said}; ${remedy}`, { cause: error });
    }
    const remedy = !this.#isWhole
      ? `it broke off after ${this.#loaded} bytes`
      : isWasm(this.#head)
        ? "the file is damaged, or from another build than the script next to it: serve all of dist/ from one version"
        : tellAnswer(this.#answer, this.#head, this.#loaded);
    return new GriceError("download", `${said}; ${remedy}`, { cause: error });
  }

  /** The same, and reports the number of bytes. */
  #watch(module: Response | Uint8Array, onProgress: OnProgress): Response | Uint8Array {
    if (module instanceof Uint8Array) {
      this.#head = module.slice(0, HEAD_BYTES);
      this.#loaded = module.length;
      this.#isWhole = true;
      return module;
    }
    if (!module.body) {
      this.#isWhole = true;
      return module;
    }
    const isEncoded = (module.headers.get("Content-Encoding") ?? "identity") !== "identity";
    const length = module.headers.get("Content-Length");
    const total = isEncoded || length === null ? undefined : Number(length);
    const count = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        if (this.#loaded === 0) this.#head = chunk.slice(0, HEAD_BYTES);
        this.#loaded += chunk.length;
        onProgress({ phase: "runtime", loaded: this.#loaded, total, cached: false });
        controller.enqueue(chunk);
      },
      flush: () => void (this.#isWhole = true),
    });
    // With this type the browser compiles while downloading; servers that send another type are accepted.
    return new Response(module.body.pipeThrough(count), { headers: { "Content-Type": "application/wasm" } });
  }
}

const HEAD_BYTES = 512;

/** The messages of Chrome, Firefox and Safari if a policy forbids WebAssembly. */
function isForbidden(message: string): boolean {
  return /unsafe-eval|content[ -]security[ -]policy|\bCSP\b/i.test(message);
}

/** @throws GriceError `download`; the signal's reason if it is aborted. */
export async function fetchModule(url: URL, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, signal ? { signal } : {});
  } catch (error) {
    throwIfAborted(signal);
    throw new GriceError("download", `${url}: ${messageOf(error)}`, { cause: error });
  }
  if (!response.ok) throw new GriceError("download", `${url}: ${response.status} ${response.statusText}`.trim());
  return response;
}
