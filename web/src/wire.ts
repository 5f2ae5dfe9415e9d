// What crosses to WebAssembly and back.

/** A value for each maxim. */
export interface PerMaxim<T> {
  /** Say as much as is needed, and no more. */
  quantity: T;
  /** Say what is true and supported. */
  quality: T;
  /** Keep to the subject. */
  relation: T;
  /** Be clear, brief and orderly. */
  manner: T;
}

/** One earlier turn: its text, or who said what. */
export type Utterance = string | { speaker: string; text: string };

/** A response, what was said before it, and what it may rest on. */
export interface Turn {
  /** What was said before, oldest first. */
  context?: string | Utterance[] | null;
  /** Knowledge that the response may draw on. */
  evidence?: string | null;
  /** The text to judge. */
  response: string;
}

/** Where the time between a turn's arrival at the engine and its answer went. */
export interface Timings {
  /** Milliseconds for turning text into tokens. */
  tokenizeMs: number;
  /** Milliseconds of waiting for a run to begin. */
  queueMs: number;
  /** Milliseconds that the run of its batch took, or what it saw of a shared one. */
  inferMs: number;
}

/** What was found in one response, and how long that took. */
export interface Detection {
  /** Probability that each maxim is violated, between 0 and 1. */
  probabilities: PerMaxim<number>;
  /** Whether each probability is above its threshold. */
  violations: PerMaxim<boolean>;
  /** Whether no maxim is violated. */
  cooperative: boolean;
  /** Whether the turn was longer than the model reads, so that part of it was left out. */
  truncated: boolean;
  /** Whether the logits were known from an earlier turn. */
  cached: boolean;
  /** How long it took. */
  timings: Timings;
}
