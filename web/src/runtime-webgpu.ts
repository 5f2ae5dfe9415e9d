// The module with the GPU engine if there is a GPU, otherwise the modules without it.

import { GriceError } from "./errors.js";
import { type Start, startProcessor, type WasmDetector } from "./runtime.js";
import { startModule } from "./start.js";
import { findGpu } from "./supports.js";
import startGpu, * as gpu from "./webgpu/grice.js";

export const startWebGpu: Start = async (device, fetchModule, onProgress) => {
  const found = device === "cpu" ? undefined : await findGpu();
  if (device === "gpu" && !found) throw new GriceError("unsupported", "this browser has no WebGPU adapter");
  // A software adapter is slower than the processor's own kernels; `"gpu"` uses it anyway.
  const reason = !found ? "this browser has no WebGPU adapter" : found.isSoftware && device === "auto" ? "the only WebGPU adapter is a software adapter" : undefined;
  if (device === "cpu" || reason) return await startProcessor(device === "cpu" ? undefined : reason, fetchModule, onProgress);
  const module = await startModule(startGpu, new URL("./webgpu/grice_bg.wasm", import.meta.url), fetchModule, onProgress);
  const load = async (bytes: Uint8Array, settings: string) =>
    (await module.finish(module.call(() => gpu.Detector.open(bytes, settings, device)))) as WasmDetector;
  return { artifact: "webgpu", module, load, fallbackReason: undefined };
};
