/** The features of this browser, or of Node. */
export interface Support {
  /** Fixed-width SIMD, which is required. */
  simd: boolean;
  /** Relaxed SIMD: int8 products at least twice as fast. */
  relaxedSimd: boolean;
  /** A WebGPU adapter. */
  webgpu: boolean;
  /** Shared memory, which threads would need: the page is cross-origin isolated. No artifact uses it yet. */
  sharedMemory: boolean;
}

// Modules of one function, (result v128): `i32.const 0; i8x16.splat` and, for relaxed SIMD, three of these with
// `i32x4.relaxed_dot_i8x16_i7x16_add_s` after it.
const HEAD = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0];
const SPLAT = [0x41, 0, 0xfd, 0x0f];
const RELAXED_DOT = [0xfd, 0x93, 0x02];

export function hasSimd(): boolean {
  return validates(SPLAT);
}

export function hasRelaxedSimd(): boolean {
  return validates([...SPLAT, ...SPLAT, ...SPLAT, ...RELAXED_DOT]);
}

/** Checks the features; loads nothing. */
export async function supports(): Promise<Support> {
  return {
    simd: hasSimd(),
    relaxedSimd: hasRelaxedSimd(),
    webgpu: (await findGpu()) !== undefined,
    sharedMemory: (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true,
  };
}

/** Also `false` without WebAssembly, as in lockdown modes. */
function validates(instructions: number[]): boolean {
  return typeof WebAssembly === "object" && WebAssembly.validate(probe(instructions));
}

function probe(instructions: number[]): Uint8Array<ArrayBuffer> {
  const body = [0, ...instructions, 0x0b];
  return new Uint8Array([...HEAD, 0x0a, body.length + 2, 1, body.length, ...body]);
}

/** The used part of WebGPU; its types are not in every TypeScript version's DOM. */
interface Gpu {
  requestAdapter(options?: { powerPreference: string }): Promise<{ info?: { isFallbackAdapter?: boolean }; isFallbackAdapter?: boolean } | null>;
}

/** The GPU, if there is one. */
export async function findGpu(): Promise<{ isSoftware: boolean } | undefined> {
  const gpu = (globalThis.navigator as { gpu?: Gpu } | undefined)?.gpu;
  try {
    const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
    return adapter ? { isSoftware: adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false } : undefined;
  } catch {
    return undefined;
  }
}
