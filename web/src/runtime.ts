// The WebAssembly modules without a GPU engine: selects one that this browser can run, fetches and starts it.

import { type Answer, answerOf, isWasm, tellAnswer } from "./answer.js";
import { asGriceError, GriceError, messageOf } from "./errors.js";
import { Module } from "./module.js";
import type { Artifact, Device, Progress } from "./options.js";
import { throwIfAborted } from "./signals.js";
import { hasRelaxedSimd, hasSimd } from "./supports.js";
import * as leanRelaxed from "./lean-relaxed-simd/grice.js";
import * as lean from "./lean-simd128/grice.js";
import * as relaxed from "./relaxed-simd/grice.js";
import * as simd from "./simd128/grice.js";

/** A detector in WebAssembly; the same interface in all modules. */
export type WasmDetector = ReturnType<typeof lean.Detector.load>;

export interface Runtime {
  artifact: Artifact;
  /** The detector's module; another one after `load` if the bundle needs a module that reads ONNX. */
  module: Module;
  /** Loads a bundle from bytes, with settings in JSON. */
  load(bytes: Uint8Array, settings: string): Promise<WasmDetector>;
  /** Why the module has no GPU engine although a GPU was allowed. */
  fallbackReason: string | undefined;
}

/** The bytes of a module, or a response with them. */
export type FetchModule = (url: URL, signal?: AbortSignal) => Promise<Response | Uint8Array>;

export type OnProgress = (progress: Progress) => void;

/** Starts the module for a device. */
export type Start = (device: Device, fetchModule: FetchModule, onProgress: OnProgress) => Promise<Runtime>;

/** A module's own function that starts it. */
type Init = (options: { module_or_path: Response | Uint8Array }) => Promise<unknown>;

/** The modules that were started on this thread. */
const modules = new Map<Init, Module>();

/** @throws GriceError `unsupported` for a GPU. */
export const startCpu: Start = async (device, fetchModule, onProgress) => {
  const reason = "the entry `grice` has no GPU engine; `grice/webgpu` has";
  if (device === "gpu") throw new GriceError("unsupported", reason);
  return await startProcessor(device === "auto" ? reason : undefined, fetchModule, onProgress);
};

/** A module's own functions. */
interface Glue {
  default: Init;
  Detector: { load(bytes: Uint8Array, settings: string): WasmDetector };
}

/**
 * The fastest module that this browser can run: the lean one, which opens compiled programs, or the one that reads ONNX if
 * the bundle has no compiled program. URLs are written out, because bundlers recognise files in this form.
 */
export async function startProcessor(reason: string | undefined, fetchModule: FetchModule, onProgress: OnProgress): Promise<Runtime> {
  const start = (glue: Glue, url: URL) => startModule(glue.default, url, fetchModule, onProgress);
  if (hasRelaxedSimd()) {
    const module = await start(leanRelaxed, new URL("./lean-relaxed-simd/grice_bg.wasm", import.meta.url));
    const full = () => start(relaxed, new URL("./relaxed-simd/grice_bg.wasm", import.meta.url));
    return runtimeOf("relaxed-simd", reason, module, leanRelaxed, full, relaxed);
  }
  const module = await start(lean, new URL("./lean-simd128/grice_bg.wasm", import.meta.url));
  const full = () => start(simd, new URL("./simd128/grice_bg.wasm", import.meta.url));
  return runtimeOf("simd128", reason, module, lean, full, simd);
}

function runtimeOf(
  artifact: Artifact,
  fallbackReason: string | undefined,
  module: Module,
  { Detector }: Glue,
  startFull: () => Promise<Module>,
  full: Glue,
): Runtime {
  const runtime: Runtime = { artifact, module, fallbackReason, load };
  return runtime;

  async function load(bytes: Uint8Array, settings: string): Promise<WasmDetector> {
    const opened = module.call(() => unlessOnnx(() => Detector.load(bytes, settings)));
    if (opened) return opened;
    runtime.module = await startFull();
    return runtime.module.call(() => full.Detector.load(bytes, settings));
  }
}

/** Opens a bundle in a lean module; `undefined` if the bundle has no compiled program, which is not an error. */
function unlessOnnx<T>(open: () => T): T | undefined {
  try {
    return open();
  } catch (error) {
    if ((error as { code?: unknown } | null | undefined)?.code === "needs_onnx") return undefined;
    throw error;
  }
}

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
