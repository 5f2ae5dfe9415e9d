// Models that write, for pages, independent of their thread.

import { Course, refused } from "./course.js";
import { abortable, oneOf, progressOf, readModel, record, type ReadSource, signalOf, toJson } from "./detector.js";
import { asGriceError, GriceError, settled } from "./errors.js";
import { parseIntegrity } from "./integrity.js";
import type { LoadPlan, ModelSource } from "./options.js";
import { throwIfAborted } from "./signals.js";
import type { Repair, Text, Turn } from "./wire.js";
import type { WriterBackend } from "./writer-host.js";
import type {
  AnswerOptions,
  GeneratorOptions,
  News,
  Question,
  RepairerOptions,
  RepairOptions,
  TextOptions,
  WriterInfo,
  WriterPlan,
  WriterProgress,
} from "./writer-options.js";

/** Makes a backend from a plan; the entry point and `worker` decide where it runs. */
export type OpenWriter = (
  worker: boolean | (() => Worker),
  plan: WriterPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: WriterProgress) => void,
) => Promise<WriterBackend>;

/** What all models that write have. */
class Writer {
  /** @internal */
  protected readonly backend: WriterBackend;
  #isDisposed = false;

  /** @internal */
  constructor(backend: WriterBackend) {
    this.backend = backend;
  }

  /** The loaded models. */
  get info(): WriterInfo {
    return this.backend.info;
  }

  /** Ends the worker and frees the models. What is being written rejects with `disposed`; a second call does nothing. */
  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    await settled(undefined, async () => this.backend.dispose());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** @internal Starts a job that `make` describes. */
  protected begin<T>(options: { signal?: AbortSignal } | undefined, make: () => object, read: (news: News) => T | undefined): Course<T> {
    try {
      const signal = signalOf(record("the options", options ?? {}).signal);
      if (this.#isDisposed) throw new GriceError("disposed", "the model was disposed of");
      const ask = toJson("what is asked", make());
      return new Course((tell, fail) => this.backend.ask(ask, tell, fail), read, signal);
    } catch (error) {
      return new Course(refused(asGriceError(error)), read, undefined);
    }
  }
}

/** Rewrites responses that violate a maxim. Several are written at once. */
export class Repairer extends Writer {
  /**
   * Repairs a response. A text replaces it only if the detector's highest probability falls and nothing new is violated; otherwise the
   * response stays, with `isFallback`. Failures reject `result`.
   */
  repair(turn: Turn, options: RepairOptions = {}): Course<Repair> {
    return this.begin(options, () => ({ repair: { turn, violations: options.violations, ...drawing(options) } }), repaired);
  }
}

/** Also writes answers. */
export class Pipeline extends Repairer {
  /** Writes a response to a context, and repairs it. The pieces of the first draft are the answer's. */
  answer(question: Question, options: AnswerOptions = {}): Course<Repair> {
    return this.begin(options, () => ({ answer: { ...record("the question", question), ...drawing(options) } }), repaired);
  }
}

/** Continues prompts; a model with an encoder reads them instead. Several texts are written at once. */
export class Generator extends Writer {
  /** Writes a text. Failures reject `result`. */
  generate(prompt: string, options: TextOptions = {}): Course<Text> {
    const make = () => {
      if (typeof prompt !== "string") throw new GriceError("bad_input", "`prompt` must be a text");
      return { text: { prompt, options: choiceOf(options), draw: Math.floor(Math.random() * 2 ** 32) } };
    };
    return this.begin(options, make, (news) => ("text" in news ? news.text : undefined));
  }
}

/** Loads a model that repairs. */
export async function openRepairer(options: RepairerOptions, backend: OpenWriter, readSource?: ReadSource): Promise<Repairer> {
  return await open(options, true, backend, readSource, (loaded) => {
    check(loaded, loaded.info.recipes.some((recipe) => recipe !== "answer"), "repairs");
    return new Repairer(loaded);
  });
}

/** Loads a model that answers and repairs. */
export async function openPipeline(options: RepairerOptions, backend: OpenWriter, readSource?: ReadSource): Promise<Pipeline> {
  return await open(options, true, backend, readSource, (loaded) => {
    check(loaded, loaded.info.recipes.includes("answer"), "answers");
    return new Pipeline(loaded);
  });
}

/** Loads a model that continues prompts. */
export async function openGenerator(options: GeneratorOptions, backend: OpenWriter, readSource?: ReadSource): Promise<Generator> {
  return await open(options, false, backend, readSource, (loaded) => new Generator(loaded));
}

function repaired(news: News): Repair | undefined {
  return "repaired" in news ? news.repaired : undefined;
}

function drawing({ rounds, seed }: AnswerOptions): object {
  return { rounds, ...(seed === undefined ? {} : { seed }) };
}

/** @throws GriceError `bad_model` for a model without such recipes. */
function check(loaded: WriterBackend, can: boolean, what: string): void {
  if (can) return;
  loaded.dispose();
  throw new GriceError("bad_model", `grice.json of \`model\` has no recipe for ${what}; docs/bundle.md says how to write one`);
}

const CHOICES: Record<Exclude<keyof TextOptions, "signal">, string> = {
  maxNewTokens: "max_new_tokens",
  minNewTokens: "min_new_tokens",
  temperature: "temperature",
  topK: "top_k",
  topP: "top_p",
  seed: "seed",
  beams: "beams",
  lengthPenalty: "length_penalty",
  repetitionPenalty: "repetition_penalty",
  noRepeatNgram: "no_repeat_ngram",
  stop: "stop",
  draft: "draft",
};

/** @throws GriceError `bad_input` for an option that is unknown. */
function choiceOf(options: TextOptions): Record<string, unknown> {
  const choice: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    if (name === "signal" || value === undefined) continue;
    const field = CHOICES[name as keyof typeof CHOICES];
    if (!Object.hasOwn(CHOICES, name)) throw new GriceError("bad_input", `unknown option \`${name}\`; known are ${Object.keys(CHOICES).join(", ")}`);
    choice[field] = name === "stop" && typeof value === "string" ? [value] : value;
  }
  return choice;
}

/** Reads the options, loads bytes if that happens on this thread, and opens the models. */
async function open<T extends Writer>(
  options: GeneratorOptions | RepairerOptions,
  needsDetector: boolean,
  backend: OpenWriter,
  readSource: ReadSource | undefined,
  make: (loaded: WriterBackend) => T,
): Promise<T> {
  return await settled(options?.signal, async () => {
    const given = record("the options", options) as RepairerOptions;
    const signal = signalOf(given.signal);
    throwIfAborted(signal);
    const onProgress = progressOf<WriterProgress>(given);
    const worker = given.worker ?? true;
    if (typeof worker !== "boolean" && typeof worker !== "function") throw new GriceError("bad_input", "`worker` must be true, false or a function");
    const settings = toJson("the options", { thresholds: (needsDetector && given.thresholds) || {}, memoryMax: given.memoryMax });
    const useModelCache = oneOf("modelCache", given.modelCache ?? "cache-api", ["cache-api", "none"]) === "cache-api";
    const planOf = async (name: "model" | "detector", source: ModelSource, integrity: string | undefined): Promise<LoadPlan> => ({
      device: "cpu",
      useModelCache,
      integrity: integrity === undefined ? undefined : parseIntegrity(integrity),
      settings: "",
      model: await readModel((await readSource?.(source, signal)) ?? source, signal, (progress) => onProgress({ ...progress, phase: name }), name),
    });
    const plan: WriterPlan = {
      settings,
      model: await planOf("model", given.model, given.integrity),
      detector: needsDetector ? await planOf("detector", given.detector, given.detectorIntegrity) : undefined,
    };
    const opened = backend(worker, plan, signal, onProgress);
    const loaded = await abortable(opened, signal).catch((error: unknown) => {
      // If it still opens, it is not used.
      opened.then((late) => late.dispose()).catch(() => {});
      throw error;
    });
    return make(loaded);
  });
}
