// The page's side of models that write in a worker.

import { errorOf, GriceError } from "./errors.js";
import { crashError, garbled, startWorker } from "./remote.js";
import type { WriterBackend } from "./writer-host.js";
import type { FromWriter, ToWriter } from "./writer-messages.js";
import type { News, WriterInfo, WriterPlan, WriterProgress } from "./writer-options.js";

interface Waiting {
  tell(news: News): void;
  fail(error: unknown): void;
}

/** Loads the models in a worker; ends the worker if that fails. */
export async function openWriterRemote(
  makeWorker: () => Worker,
  plan: WriterPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: WriterProgress) => void,
): Promise<WriterRemote> {
  const plans = plan.detector ? [plan.model, plan.detector] : [plan.model];
  const load: ToWriter = { type: "load", plan };
  const [worker, info] = await startWorker<WriterInfo, WriterProgress>(makeWorker, load, plans, signal, onProgress);
  return new WriterRemote(worker, info);
}

export class WriterRemote implements WriterBackend {
  info: WriterInfo;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #ids = 0;
  #end: GriceError | undefined;

  constructor(worker: Worker, info: WriterInfo) {
    this.#worker = worker;
    this.info = info;
    worker.onmessage = ({ data }: MessageEvent<FromWriter>) => this.#hear(data);
    worker.onerror = (event) => this.#stop(crashError(event));
    worker.addEventListener?.("messageerror", () => this.#stop(garbled()));
  }

  ask(ask: string, tell: (news: News) => void, fail: (error: unknown) => void): () => void {
    if (this.#end) {
      fail(this.#end);
      return () => {};
    }
    const id = this.#ids++;
    this.#waiting.set(id, { tell, fail });
    this.#say({ type: "ask", id, ask });
    return () => {
      if (this.#waiting.delete(id)) this.#say({ type: "cancel", id });
    };
  }

  dispose(): void {
    this.#stop(new GriceError("disposed", "it was disposed of"));
  }

  #hear(message: FromWriter): void {
    if (message.type === "info") this.info = message.info;
    if (message.type === "failed") this.#stop(errorOf(message.fault));
    if (message.type === "news") this.#tell(message.id, message.news);
    if (message.type !== "error") return;
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    const error = errorOf(message.fault);
    waiting?.fail(error);
    if (error.code === "crashed") this.#stop(error);
  }

  #tell(id: number, news: News): void {
    const waiting = this.#waiting.get(id);
    if ("repaired" in news || "text" in news || "failed" in news) this.#waiting.delete(id);
    waiting?.tell(news);
  }

  #say(message: ToWriter): void {
    this.#worker.postMessage(message);
  }

  #stop(end: GriceError): void {
    if (this.#end) return;
    this.#end = end;
    this.#worker.terminate();
    for (const waiting of this.#waiting.values()) waiting.fail(end);
    this.#waiting.clear();
  }
}
