// The exports of every entry with models that write, besides its own functions.

export { Course } from "./course.js";
export { type ErrorCode, GriceError } from "./errors.js";
export { clearModelCache } from "./model-cache.js";
export type { ModelCacheOutcome, ModelSource } from "./options.js";
export { type Support, supports } from "./supports.js";
export type { Context, DetectorBrief, PerMaxim, Precision, Repair, StepKind, Text, TraceStep, Turn, Utterance, Verdict, WorkshopInfo } from "./wire.js";
export type {
  AnswerOptions,
  GeneratorOptions,
  Maxim,
  Piece,
  Question,
  RepairerOptions,
  RepairOptions,
  TextOptions,
  WriterInfo,
  WriterProgress,
} from "./writer-options.js";
export { Generator, Pipeline, Repairer } from "./writers.js";
