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

/**
 * Kinds of steps.
 */
export type StepKind = "generate" | "detect" | "repair" | "retrieve";

/**
 * One step of a pipeline.
 */
export type TraceStep = {
/**
 * What was done.
 */
step: StepKind,
/**
 * What was to be repaired.
 */
maxim?: keyof PerMaxim<unknown>,
/**
 * What was judged, written or found.
 */
text: string,
/**
 * The probability that each maxim is violated, of a step that judges.
 */
probabilities?: PerMaxim<number>,
/**
 * Whether the text was used, of a step that changes the response.
 */
taken?: boolean,
/**
 * Why it was not used.
 */
reason?: string,
/**
 * Milliseconds that it took; the time of its batch if other turns ran with it.
 */
ms: number, };

/**
 * A text that begins.
 */
export type DraftNews = {
/**
 * What it repairs; left out for an answer.
 */
maxim?: keyof PerMaxim<unknown>,
/**
 * Which try it is, from 0.
 */
attempt: number, };

/**
 * What came of a repair or an answer.
 */
export type Repair = {
/**
 * The response after all repairs; as it came if none was good enough.
 */
repaired: string,
/**
 * The answer as the model wrote it, if it began with one.
 */
generated?: string,
/**
 * Whether a maxim is violated and no repair was good enough, so that the response stayed as it was.
 */
isFallback: boolean,
/**
 * The verdict on the response as it came, or as it was written.
 */
before: Verdict,
/**
 * The verdict on the response after all repairs.
 */
after: Verdict,
/**
 * How many repairs were tried.
 */
rounds: number,
/**
 * All steps, in order.
 */
trace: Array<TraceStep>, };

/**
 * A text that was written.
 */
export type Text = {
/**
 * The text, without the prompt.
 */
text: string,
/**
 * `stop`: a stop token or stop text; `length`: the most new tokens.
 */
finishReason: "stop" | "length",
/**
 * Tokens of the prompt.
 */
promptTokens: number,
/**
 * Tokens of the text.
 */
generatedTokens: number, };

/**
 * The detector of a workshop.
 */
export type DetectorBrief = {
/**
 * Name of the bundle.
 */
name: string,
/**
 * Version of the bundle.
 */
version: string,
/**
 * The thresholds in use.
 */
thresholds: PerMaxim<number>, };

/**
 * The models of a workshop.
 */
export type WorkshopInfo = {
/**
 * Name of the bundle; empty without a `grice.json`.
 */
name: string,
/**
 * Version of the bundle.
 */
version: string,
/**
 * `model_type` of its configuration.
 */
family: string,
/**
 * What it can write: repairs of maxims, and `answer`.
 */
recipes: Array<string>,
/**
 * The precision of the weights: `fp32`, `fp16`, `int8` or `int4`.
 */
precision: Precision | "int4",
/**
 * The kernels: an instruction set.
 */
kernels: string,
/**
 * Tokens of all texts, prompts included, for which there is memory at once.
 */
memoryTokens: number,
/**
 * Those that running texts may come to need.
 */
reservedTokens: number,
/**
 * The detector, if there is one.
 */
detector?: DetectorBrief, };
