import type { Answer } from "./answer.js";
import type { ModelInfo, PerMaxim, Precision } from "./wire.js";

/** The source of a bundle's `.tar`. It is never fetched from another place. */
export type ModelSource = string | URL | Response | ReadableStream<Uint8Array> | ArrayBuffer | Uint8Array;

export type Device = "auto" | "cpu" | "gpu";

/** The progress of loading. */
export interface Progress {
  /** `"runtime"`: the WebAssembly module; `"model"`: the bundle; `"start"`: making the model ready to run. */
  phase: "runtime" | "model" | "start";
  /** Bytes so far, after decompression. */
  loaded: number;
  /** Total bytes, if the server sends the number; it does not for compressed files. */
  total: number | undefined;
  /** Whether they are from the model cache. */
  cached: boolean;
}

/** How turns are batched. */
export interface Batching {
  /** Turns in a batch; 16. */
  rowsMax?: number;
  /** Tokens in a batch; 2048. */
  tokensMax?: number;
  /** Milliseconds by which a turn may be delayed so that others can join; 0. */
  waitMs?: number;
  /** Turns that may wait; 1024. More are rejected with `overloaded`. */
  queueMax?: number;
}

export interface DetectorOptions {
  /** The bundle: a URL, a response or stream of it, or its bytes. In Node also a path. */
  model: ModelSource;
  /** The device; `"auto"`. `"gpu"` fails if `"auto"` would fall back. */
  device?: Device;
  /** Run in a separate worker, `true`, or on this thread, `false`; or a function that creates the worker, for pages that serve
   * `worker.js` themselves. */
  worker?: boolean | (() => Worker);
  /** Aborts loading. */
  signal?: AbortSignal;
  /** Receives the progress of loading. */
  onProgress?: (progress: Progress) => void;
  /** How turns are batched. */
  batching?: Batching;
  /** Size of the cache of logits in bytes, or `false`; 4 MiB. */
  cache?: boolean | { bytesMax: number };
  /** Stores the bundle in the browser's Cache API, under its URL; `"cache-api"`. Only URLs are cached. */
  modelCache?: "cache-api" | "none";
  /** SHA-256 of the bundle: 64 hexadecimal digits, or `sha256-` and base64. Other bundles are refused, from the network and the cache. */
  integrity?: string;
  /** One of the bundle's precisions; the most exact one. */
  precision?: Precision;
  /** Thresholds that replace the bundle's: numbers from 0 to 1, both included. */
  thresholds?: Partial<PerMaxim<number>>;
}

export interface DetectOptions {
  /** Cancels the turn: it leaves the queue, unless it already runs. */
  signal?: AbortSignal;
  /** Thresholds that replace the detector's: numbers from 0 to 1, both included. */
  thresholds?: Partial<PerMaxim<number>>;
  /** Milliseconds after which the answer is useless. */
  timeoutMs?: number;
  /** `false`: do not use the cache and do not share a run. */
  cache?: boolean;
}

export interface ExplainOptions extends DetectOptions {
  /** How many further turns an explanation judges at most; 96. Of a turn with more words, pieces are left out first, then the words of the pieces that
   * matter most. */
  runsMax?: number;
}

/** Information about a detector and its device. */
export interface DetectorInfo extends ModelInfo {
  /** The loaded WebAssembly module. All have one thread. */
  artifact: Artifact;
  /** Whether it runs in a worker. */
  worker: boolean;
  /** The outcome of the model cache. */
  modelCache: ModelCacheOutcome;
}

export type Artifact = "simd128" | "relaxed-simd" | "webgpu";

/** `hit`: the bundle came from the cache; `stored`: it was stored; `quota`: there was no space; `unavailable`: no Cache API (it needs HTTPS or localhost, and a page that may store); `off`: turned off, or not a web URL. */
export type ModelCacheOutcome = "hit" | "stored" | "quota" | "unavailable" | "off";

/** The inputs of loading, in a form that can cross to a worker. */
export interface LoadPlan {
  model: { url: string } | { bytes: Uint8Array; answer: Answer | undefined };
  device: Device;
  useModelCache: boolean;
  integrity: string | undefined;
  /** JSON for `Detector.load`. */
  settings: string;
}
