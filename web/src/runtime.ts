// The WebAssembly modules without a GPU engine: selects one that this browser can run, fetches and starts it.

import { GriceError } from "./errors.js";
import type { Module } from "./module.js";
import type { Artifact, Device } from "./options.js";
import { type FetchModule, type Init, type OnProgress, startModule } from "./start.js";
import { hasRelaxedSimd } from "./supports.js";
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

/** Starts the module for a device. */
export type Start = (device: Device, fetchModule: FetchModule, onProgress: OnProgress) => Promise<Runtime>;

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
