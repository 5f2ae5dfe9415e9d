// The WebAssembly modules that need no GPU: which of them this browser can run, fetched and started.

import { GriceError } from "./errors.js";
import type { Artifact, Device, Progress } from "./options.js";
import { hasRelaxedSimd, hasSimd } from "./supports.js";
import startRelaxed, * as relaxed from "./relaxed-simd/grice.js";
import startSimd, * as simd from "./simd128/grice.js";

/** A detector in WebAssembly; all modules have the same. */
export type WasmDetector = ReturnType<typeof simd.Detector.load>;

export interface Runtime {
  artifact: Artifact;
  /** Loads a bundle's bytes with settings in JSON. */
  load(bytes: Uint8Array, settings: string): WasmDetector | Promise<WasmDetector>;
  /** Why it is a module without a GPU engine, where one would have been welcome. */
  fallbackReason: string | undefined;
}

/** The bytes of a module or a response with them. */
export type FetchModule = (url: URL) => Promise<Response | Uint8Array>;

export type OnProgress = (progress: Progress) => void;

/** Starts the module for a device. */
export type Start = (device: Device, fetchModule: FetchModule, onProgress: OnProgress) => Promise<Runtime>;

/** A module's own function that starts it. */
type Init = (options: { module_or_path: Response | Uint8Array }) => Promise<unknown>;

/** @throws GriceError `unsupported` for a GPU. */
export const startCpu: Start = async (device, fetchModule, onProgress) => {
  const reason = "the entry `grice` has no GPU engine; `grice/webgpu` has";
  if (device === "gpu") throw new GriceError("unsupported", reason);
  return await startProcessor(device === "auto" ? reason : undefined, fetchModule, onProgress);
};

/** The faster module that this browser can run. URLs are written out, since bundlers find files by this very form. */
export async function startProcessor(reason: string | undefined, fetchModule: FetchModule, onProgress: OnProgress): Promise<Runtime> {
  if (hasRelaxedSimd()) {
    await startModule(startRelaxed, new URL("./relaxed-simd/grice_bg.wasm", import.meta.url), fetchModule, onProgress);
    return { artifact: "relaxed-simd", load: relaxed.Detector.load, fallbackReason: reason };
  }
  await startModule(startSimd, new URL("./simd128/grice_bg.wasm", import.meta.url), fetchModule, onProgress);
  return { artifact: "simd128", load: simd.Detector.load, fallbackReason: reason };
}

/** @throws GriceError `unsupported` in a browser without SIMD, `download` if the module cannot be had. */
export async function startModule(init: Init, url: URL, fetchModule: FetchModule, onProgress: OnProgress): Promise<void> {
  if (!hasSimd()) throw new GriceError("unsupported", "this browser has no WebAssembly SIMD (Chrome 91, Firefox 89, Safari 16.4 have)");
  try {
    await init({ module_or_path: watched(await fetchModule(url), onProgress) });
  } catch (error) {
    if (error instanceof GriceError || (error as Error).name === "AbortError") throw error;
    throw new GriceError("download", `${url}: the WebAssembly module did not start: ${(error as Error).message}`, { cause: error });
  }
}

/** The same, telling how many bytes went through. */
function watched(module: Response | Uint8Array, onProgress: OnProgress): Response | Uint8Array {
  if (!(module instanceof Response) || !module.body) return module;
  const isEncoded = (module.headers.get("Content-Encoding") ?? "identity") !== "identity";
  const length = module.headers.get("Content-Length");
  const total = isEncoded || length === null ? undefined : Number(length);
  let loaded = 0;
  const count = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      loaded += chunk.length;
      onProgress({ phase: "runtime", loaded, total, cached: false });
      controller.enqueue(chunk);
    },
  });
  // The type is what lets it be compiled while it comes; servers that do not know it are forgiven.
  return new Response(module.body.pipeThrough(count), { headers: { "Content-Type": "application/wasm" } });
}
