// What crosses to WebAssembly and back. Written from the Rust types: `GRICE_BLESS=1 cargo test -p grice-wasm --test types`.

/**
 * A value for each maxim; serialises as an object with the four names.
 */
export type PerMaxim<T> = {
/**
 * Value for `Maxim::Quantity`.
 */
quantity: T,
/**
 * Value for `Maxim::Quality`.
 */
quality: T,
/**
 * Value for `Maxim::Relation`.
 */
relation: T,
/**
 * Value for `Maxim::Manner`.
 */
manner: T, };

/**
 * The precision of a bundle's weights.
 */
export type Precision = "fp32" | "fp16" | "int8";

/**
 * One earlier turn.
 */
export type Utterance = string | {
/**
 * Who said it.
 */
speaker: string,
/**
 * What was said.
 */
text: string, };

/**
 * What was said before the response.
 */
export type Context = string | Array<Utterance>;

/**
 * A response, what was said before it, and what it may rest on.
 */
export type Turn = {
/**
 * What was said before, oldest first.
 */
context?: Context | null,
/**
 * Knowledge that the response may draw on.
 */
evidence?: string | null,
/**
 * The text to judge.
 */
response: string, };

/**
 * What was found in one response.
 */
export type Verdict = {
/**
 * Probability that each maxim is violated, between 0 and 1.
 */
probabilities: PerMaxim<number>,
/**
 * Whether each probability is above its threshold.
 */
violations: PerMaxim<boolean>,
/**
 * Whether no maxim is violated.
 */
cooperative: boolean,
/**
 * Whether the turn was longer than the model reads, so that part of it was left out.
 */
truncated: boolean,
/**
 * The share of the response, 0 to 1, that the model's tokenizer does not know: of its characters, spaces apart, those that
 * reached the model as unknown tokens only. Left out if it is 0. Above one half, the verdict says little.
 */
unknown_share?: number, };

/**
 * Where the time between a turn's arrival and its answer went.
 */
export type Timings = {
/**
 * Milliseconds for turning text into tokens.
 */
tokenizeMs: number,
/**
 * Milliseconds of waiting for a run to begin.
 */
queueMs: number,
/**
 * Milliseconds that the run of its batch took, or what it saw of a shared one.
 */
inferMs: number, };

/**
 * What was found in one response, and how long that took.
 */
export type Detection = {
/**
 * Whether the logits were known from an earlier turn.
 */
cached: boolean,
/**
 * How long it took.
 */
timings: Timings,
/**
 * Probability that each maxim is violated, between 0 and 1.
 */
probabilities: PerMaxim<number>,
/**
 * Whether each probability is above its threshold.
 */
violations: PerMaxim<boolean>,
/**
 * Whether no maxim is violated.
 */
cooperative: boolean,
/**
 * Whether the turn was longer than the model reads, so that part of it was left out.
 */
truncated: boolean,
/**
 * The share of the response, 0 to 1, that the model's tokenizer does not know: of its characters, spaces apart, those that
 * reached the model as unknown tokens only. Left out if it is 0. Above one half, the verdict says little.
 */
unknown_share?: number, };

/**
 * What was loaded, and what it runs on.
 */
export type ModelInfo = {
/**
 * The bundle's name.
 */
name: string,
/**
 * The bundle's version.
 */
version: string,
/**
 * What runs.
 */
device: "cpu" | "gpu",
/**
 * The precision of the weights.
 */
precision: Precision,
/**
 * What computes: the instruction set, or "tract" for a graph that did not fuse.
 */
kernels: string,
/**
 * Threads that the engine uses.
 */
threads: number,
/**
 * Tokens that the model reads; longer turns are truncated.
 */
maxTokens: number,
/**
 * The thresholds in force.
 */
thresholds: PerMaxim<number>,
/**
 * Why it runs on the CPU where a GPU would have been welcome.
 */
fallbackReason?: string, };
