// The WebAssembly modules: which of them this browser can run, fetched and started.

import { GriceError } from "./errors.js";
import type { Artifact, Progress } from "./options.js";
import { hasRelaxedSimd, hasSimd } from "./supports.js";
import startRelaxed, * as relaxed from "./relaxed-simd/grice.js";
import startSimd, * as simd from "./simd128/grice.js";

/** What both modules give. */
export type Wasm = Pick<typeof simd, "Detector">;

export interface Runtime {
  artifact: Artifact;
  wasm: Wasm;
}

/** The bytes of a module or a response with them. */
export type FetchModule = (url: URL) => Promise<Response | Uint8Array>;

/** Written out one by one, since bundlers find files by this very form. */
const MODULES: Record<Artifact, { start: typeof startSimd; wasm: Wasm; url: () => URL }> = {
  simd128: { start: startSimd, wasm: simd, url: () => new URL("./simd128/grice_bg.wasm", import.meta.url) },
  "relaxed-simd": { start: startRelaxed, wasm: relaxed, url: () => new URL("./relaxed-simd/grice_bg.wasm", import.meta.url) },
};

/** @throws GriceError `unsupported` in a browser without SIMD, `download` if the module cannot be had. */
export async function startRuntime(fetchModule: FetchModule, onProgress: (progress: Progress) => void): Promise<Runtime> {
  if (!hasSimd()) throw new GriceError("unsupported", "this browser has no WebAssembly SIMD (Chrome 91, Firefox 89, Safari 16.4 have)");
  const artifact: Artifact = hasRelaxedSimd() ? "relaxed-simd" : "simd128";
  const { start, wasm, url } = MODULES[artifact];
  try {
    await start({ module_or_path: await watched(await fetchModule(url()), onProgress) });
  } catch (error) {
    if (error instanceof GriceError) throw error;
    throw new GriceError("download", `${url()}: the WebAssembly module did not start: ${(error as Error).message}`, { cause: error });
  }
  return { artifact, wasm };
}

/** The same, telling how many bytes went through. */
async function watched(module: Response | Uint8Array, onProgress: (progress: Progress) => void): Promise<Response | Uint8Array> {
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
