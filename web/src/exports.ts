// The exports of every entry besides its own `createDetector`.

export { Detector } from "./detector.js";
export { type ErrorCode, GriceError } from "./errors.js";
export type { ExplainedDetection, Explanation, MovingWord } from "./explain.js";
export { clearModelCache } from "./model-cache.js";
export type { Artifact, Batching, DetectOptions, DetectorInfo, DetectorOptions, Device, ExplainOptions, ModelCacheOutcome, ModelSource, Progress } from "./options.js";
export { type Support, supports } from "./supports.js";
export type { Context, Detection, ModelInfo, PerMaxim, Precision, Timings, Turn, Utterance, Verdict } from "./wire.js";
