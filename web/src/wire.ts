// Types that cross to WebAssembly and back, generated from the Rust types: `GRICE_BLESS=1 cargo test -p grice-wasm --test types`.

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
 * The speaker's name.
 */
speaker: string,
/**
 * The text.
 */
text: string, };

/**
 * The conversation before the response.
 */
export type Context = string | Array<Utterance>;

/**
 * A response to judge, with its context and optional evidence.
 */
export type Turn = {
/**
 * The conversation before the response, oldest first.
 */
context?: Context | null,
/**
 * Facts that the response may use.
 */
evidence?: string | null,
/**
 * The text to judge.
 */
response: string, };

/**
 * The verdict on one response.
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
 * Whether the turn was longer than the model's limit, so that part of it was cut.
 */
truncated: boolean,
/**
 * The share of the response, 0 to 1, that the model's tokenizer does not know: the share of its characters (without spaces) that
 * reached the model only as unknown tokens. Left out if it is 0. Above one half, the verdict means little.
 */
unknown_share?: number, };

/**
 * The parts of the time between a turn's arrival and its answer.
 */
export type Timings = {
/**
 * Milliseconds for turning text into tokens.
 */
tokenizeMs: number,
/**
 * Milliseconds of waiting for the run.
 */
queueMs: number,
/**
 * Milliseconds of the run of its batch; for a shared run, the part after it joined.
 */
inferMs: number, };

/**
 * The verdict on one response, with times.
 */
export type Detection = {
/**
 * Whether the logits came from the cache.
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
 * Whether the turn was longer than the model's limit, so that part of it was cut.
 */
truncated: boolean,
/**
 * The share of the response, 0 to 1, that the model's tokenizer does not know: the share of its characters (without spaces) that
 * reached the model only as unknown tokens. Left out if it is 0. Above one half, the verdict means little.
 */
unknown_share?: number, };

/**
 * The loaded model, and the device it runs on.
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
 * The device.
 */
device: "cpu" | "gpu",
/**
 * The precision of the weights.
 */
precision: Precision,
/**
 * The kernels: the instruction set, or "tract" for a graph that did not fuse.
 */
kernels: string,
/**
 * Threads that the engine uses.
 */
threads: number,
/**
 * Maximum number of tokens; longer turns are truncated.
 */
maxTokens: number,
/**
 * The thresholds in use.
 */
thresholds: PerMaxim<number>,
/**
 * Why it runs on the CPU although a GPU was allowed.
 */
fallbackReason?: string, };
