import type { Answer } from "./answer.js";
import type { ModelInfo, PerMaxim, Precision } from "./wire.js";

/** Where a bundle's `.tar` comes from. It is never fetched from anywhere that is not named here. */
export type ModelSource = string | URL | Response | ReadableStream<Uint8Array> | ArrayBuffer | Uint8Array;

export type Device = "auto" | "cpu" | "gpu";

/** How far loading is. */
export interface Progress {
  /** `"runtime"`: the WebAssembly module; `"model"`: the bundle; `"start"`: making the model ready to run. */
  phase: "runtime" | "model" | "start";
  /** Bytes so far, as they are after decompression. */
  loaded: number;
  /** Bytes in all, if the server tells; it does not for what it compresses. */
  total: number | undefined;
  /** Whether they come from the model cache. */
  cached: boolean;
}

/** When turns run together. */
export interface Batching {
  /** Turns in a batch; 16. */
  rowsMax?: number;
  /** Tokens in a batch; 2048. */
  tokensMax?: number;
  /** Milliseconds for which a turn may be held back so that others join it; 0. */
  waitMs?: number;
  /** Turns that may wait; 1024. More are turned away with `overloaded`. */
  queueMax?: number;
}

export interface DetectorOptions {
  /** The bundle: a URL, a response or stream of it, or its bytes. In Node a path as well. */
  model: ModelSource;
  /** What to run on; `"auto"`. `"gpu"` fails where `"auto"` would fall back. */
  device?: Device;
  /** Run in a worker of its own, `true`, or on this thread, `false`; or a function that makes the worker, for pages that serve
   * `worker.js` themselves. */
  worker?: boolean | (() => Worker);
  /** Gives loading up. */
  signal?: AbortSignal;
  /** Hears how far loading is. */
  onProgress?: (progress: Progress) => void;
  /** When turns run together. */
  batching?: Batching;
  /** Keeps logits of turns judged before: bytes of them, or `false`; 4 MiB. */
  cache?: boolean | { bytesMax: number };
  /** Keeps the bundle in the browser's Cache API, under its URL; `"cache-api"`. Only URLs are kept. */
  modelCache?: "cache-api" | "none";
  /** SHA-256 of the bundle: 64 hexadecimal digits, or `sha256-` and base64. Anything else is refused, from the network or the cache. */
  integrity?: string;
  /** Which of the bundle's precisions; the most exact one. */
  precision?: Precision;
  /** Thresholds in place of the bundle's: numbers from 0 to 1, both included. */
  thresholds?: Partial<PerMaxim<number>>;
}

export interface DetectOptions {
  /** Gives the turn up: it leaves the queue, unless it runs already. */
  signal?: AbortSignal;
  /** Thresholds in place of the detector's: numbers from 0 to 1, both included. */
  thresholds?: Partial<PerMaxim<number>>;
  /** Milliseconds after which an answer is of no use. */
  timeoutMs?: number;
  /** `false`: neither answered from the cache, nor kept, nor shared. */
  cache?: boolean;
}

/** What a detector is and runs on. */
export interface DetectorInfo extends ModelInfo {
  /** The WebAssembly module that was loaded. None has more than one thread. */
  artifact: Artifact;
  /** Whether it runs in a worker. */
  worker: boolean;
  /** What became of the model cache. */
  modelCache: ModelCacheOutcome;
}

export type Artifact = "simd128" | "relaxed-simd" | "webgpu";

/** `hit`: the bundle came from it; `stored`: it was put into it; `quota`: no room for it; `unavailable`: no Cache API here (it needs HTTPS or localhost, and a page that may store); `off`: not asked for, or no URL of the web. */
export type ModelCacheOutcome = "hit" | "stored" | "quota" | "unavailable" | "off";

/** What loading needs, in a form that can cross to a worker. */
export interface LoadPlan {
  model: { url: string } | { bytes: Uint8Array; answer: Answer | undefined };
  device: Device;
  useModelCache: boolean;
  integrity: string | undefined;
  /** JSON for `Detector.load`. */
  settings: string;
}
