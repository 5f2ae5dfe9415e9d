import type { DetectorInfo, LoadPlan, ModelCacheOutcome, ModelSource, Progress } from "./options.js";
import type { DraftNews, PerMaxim, Repair, Text, TraceStep, WorkshopInfo } from "./wire.js";
import type { Fault } from "./errors.js";

/** The name of a maxim. */
export type Maxim = keyof PerMaxim<unknown>;

/** The progress of loading. */
export interface WriterProgress extends Omit<Progress, "phase"> {
  /** `"runtime"`: the WebAssembly module; `"detector"` and `"model"`: the bundles; `"start"`: making a model ready to run. */
  phase: Progress["phase"] | "detector";
}

/** Options of all models that write. */
export interface GeneratorOptions {
  /** The model that writes: a URL, a response or stream of its `.tar`, or its bytes. In Node also a path. */
  model: ModelSource;
  /** SHA-256 of that `.tar`: 64 hexadecimal digits, or `sha256-` and base64. Other files are refused, from the network and the cache. */
  integrity?: string;
  /** Run in a separate worker, `true`, or on this thread, `false`; or a function that creates the worker, for pages that serve
   * `worker-writer.js` themselves. */
  worker?: boolean | (() => Worker);
  /** Aborts loading. */
  signal?: AbortSignal;
  /** Receives the progress of loading. */
  onProgress?: (progress: WriterProgress) => void;
  /** Stores the files in the browser's Cache API, under their URLs; `"cache-api"`. Only URLs are cached. */
  modelCache?: "cache-api" | "none";
  /** Bytes for the keys and values of all texts that are written at once; 64 MiB. Texts that do not fit beside others wait. */
  memoryMax?: number;
}

/** Options of models that repair. */
export interface RepairerOptions extends GeneratorOptions {
  /** The detector's bundle, with a compiled program; in the forms of `model`. */
  detector: ModelSource;
  /** SHA-256 of the detector's `.tar`. */
  detectorIntegrity?: string;
  /** Thresholds that replace those of the detector's bundle: numbers from 0 to 1, both included. */
  thresholds?: Partial<PerMaxim<number>>;
}

/** Options of a repair or an answer. */
export interface AnswerOptions {
  /** Ends it: its memory is free after the step that runs. */
  signal?: AbortSignal;
  /** Repairs that are tried at most; 3. */
  rounds?: number;
  /** What draws depend on: the same seed gives the same texts; 0. */
  seed?: number;
}

/** Options of a repair. */
export interface RepairOptions extends AnswerOptions {
  /** What the response violates. Without it, the detector says. */
  violations?: readonly Maxim[] | Partial<PerMaxim<boolean>>;
}

/** Options of a text. Those that are left out are as the model's makers say. */
export interface TextOptions {
  /** Ends it: its memory is free after the step that runs. */
  signal?: AbortSignal;
  /** The most new tokens; 80 if the model's files do not say. */
  maxNewTokens?: number;
  /** The fewest. */
  minNewTokens?: number;
  /** Divides logits before a token is drawn. It, `topK`, `topP` or a seed turn drawing on. */
  temperature?: number;
  /** How many of the likeliest tokens one is drawn from. */
  topK?: number;
  /** The probability of the likeliest tokens that one is drawn from. */
  topP?: number;
  /** The same seed draws the same text. */
  seed?: number;
  /** Several texts are searched at once, and the best is kept; pieces then come at the end. */
  beams?: number;
  /** For beams. */
  lengthPenalty?: number;
  /** Makes tokens that are there already less likely. */
  repetitionPenalty?: number;
  /** No sequence of so many tokens appears twice. */
  noRepeatNgram?: number;
  /** The text ends before one of these. */
  stop?: string | readonly string[];
  /** Guesses so many tokens from the prompt; faster for texts that copy, and never changes the text. */
  draft?: number;
}

/** A context to answer. */
export type Question = Omit<import("./wire.js").Turn, "response">;

/** Part of a text, as it is written. */
export interface Piece {
  /** What follows the earlier pieces of its draft. No piece is taken back. */
  text: string;
  /** Which draft it belongs to, from 0. A later draft replaces the earlier ones: they were refused, or another maxim is repaired. */
  draft: number;
  /** What the draft repairs; `undefined` for answers and texts. */
  maxim: Maxim | undefined;
}

/** Information about the loaded models. */
export interface WriterInfo extends WorkshopInfo {
  /** The loaded WebAssembly module; it has one thread. */
  artifact: "simd128" | "relaxed-simd";
  /** Whether it runs in a worker. */
  worker: boolean;
  /** What the model cache did with the model that writes. */
  modelCache: ModelCacheOutcome;
  /** What it did with the detector, if there is one. */
  detectorCache?: DetectorInfo["modelCache"];
}

/** The inputs of loading, in a form that can cross to a worker. */
export interface WriterPlan {
  model: LoadPlan;
  detector: LoadPlan | undefined;
  /** JSON for `Workshop`. */
  settings: string;
}

/** News of a job. */
export type News =
  | { draft: DraftNews }
  | { piece: string }
  | { step: TraceStep }
  | { repaired: Repair }
  | { text: Text }
  | { failed: Fault };
