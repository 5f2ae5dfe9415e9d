// The WebAssembly modules with models that write: selects one that this browser can run, fetches and starts it.

import { GriceError, messageOf } from "./errors.js";
import type { Module } from "./module.js";
import { type FetchModule, type Init, startModule } from "./start.js";
import { hasRelaxedSimd } from "./supports.js";
import type { WriterInfo, WriterProgress } from "./writer-options.js";
import * as relaxed from "./writer-relaxed-simd/grice.js";
import * as simd from "./writer-simd128/grice.js";

/** A workshop in WebAssembly; the same interface in both modules. */
export type WasmWorkshop = InstanceType<typeof simd.Workshop>;

export interface WriterRuntime {
  artifact: WriterInfo["artifact"];
  module: Module;
  /** A workshop without models. */
  make(settings: string): WasmWorkshop;
}

interface Glue {
  default: Init;
  Workshop: new (settings: string) => WasmWorkshop;
}

/** URLs are written out, because bundlers recognise files in this form. */
export async function startWriter(fetchModule: FetchModule, onProgress: (progress: WriterProgress) => void): Promise<WriterRuntime> {
  const start = async (artifact: WriterInfo["artifact"], glue: Glue, url: URL): Promise<WriterRuntime> => {
    const module = await startModule(glue.default, url, fetchModule, onProgress);
    return { artifact, module, make: (settings) => module.call(() => new glue.Workshop(settings)) };
  };
  if (hasRelaxedSimd()) return await start("relaxed-simd", relaxed, new URL("./writer-relaxed-simd/grice_bg.wasm", import.meta.url));
  return await start("simd128", simd, new URL("./writer-simd128/grice_bg.wasm", import.meta.url));
}

/** Loads a bundle into a workshop. These modules read no ONNX, and there is no other to fall back on. */
export function loadInto(module: Module, workshop: WasmWorkshop, bytes: Uint8Array, isDetector: boolean): void {
  module.call(() => {
    try {
      workshop.load(bytes, isDetector);
    } catch (error) {
      if ((error as { code?: unknown } | null | undefined)?.code !== "needs_onnx") throw error;
      throw new GriceError("bad_model", messageOf(error), { cause: error });
    }
  });
}
