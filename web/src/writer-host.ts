// Drives one workshop on this thread: a worker's, or the page's own.

import { BundleSource } from "./bundle.js";
import { asGriceError, GriceError } from "./errors.js";
import type { Module } from "./module.js";
import { onAbort } from "./signals.js";
import { type FetchModule, fetchModule } from "./start.js";
import type { WorkshopInfo } from "./wire.js";
import type { News, WriterInfo, WriterPlan, WriterProgress } from "./writer-options.js";
import { loadInto, startWriter, type WasmWorkshop } from "./writer-runtime.js";

/** Models that write, on any thread. */
export interface WriterBackend {
  /** The loaded models. */
  readonly info: WriterInfo;
  /** Starts a job, given in JSON. `tell` gets its news, `fail` the error that ends it. Returns what cancels it. */
  ask(ask: string, tell: (news: News) => void, fail: (error: unknown) => void): () => void;
  dispose(): void;
}

interface Job {
  tell(news: News): void;
  fail(error: unknown): void;
}

type OnProgress = (progress: WriterProgress) => void;

/** Loads the models on this thread. */
export async function openWriterHost(
  plan: WriterPlan,
  signal: AbortSignal | undefined,
  onProgress: OnProgress,
  getModule: FetchModule = fetchModule,
): Promise<WriterHost> {
  // A failure ends the other downloads.
  const stop = new AbortController();
  const forget = onAbort(signal, (reason) => stop.abort(reason));
  try {
    const model = new BundleSource(plan.model, stop.signal, onProgress);
    const ofDetector: OnProgress = (progress) => onProgress({ ...progress, phase: "detector" });
    const detector = plan.detector && new BundleSource(plan.detector, stop.signal, ofDetector);
    // All wait for the network at the same time.
    const [runtime, judges, writes] = await Promise.all([startWriter((url) => getModule(url, stop.signal), onProgress), detector?.fetch(), model.fetch()]);
    const { artifact, module } = runtime;
    const workshop = runtime.make(plan.settings);
    try {
      const open = async <S extends BundleSource>(source: S, fetched: Awaited<ReturnType<S["fetch"]>>, isDetector: boolean) =>
        await source.open(fetched, async (bytes, isKept) => {
          onProgress({ phase: "start", loaded: bytes.length, total: bytes.length, cached: isKept });
          loadInto(module, workshop, bytes, isDetector);
        });
      const detectorCache = detector && judges ? (await open(detector, judges, true)).modelCache : undefined;
      const { modelCache } = await open(model, writes, false);
      return new WriterHost(workshop, module, { artifact, worker: false, modelCache, ...(detectorCache === undefined ? {} : { detectorCache }) });
    } catch (error) {
      if (!module.end) workshop.free();
      throw error;
    }
  } catch (error) {
    stop.abort();
    throw error;
  } finally {
    forget();
  }
}

export class WriterHost implements WriterBackend {
  readonly #surroundings: Pick<WriterInfo, "artifact" | "worker" | "modelCache" | "detectorCache">;
  readonly #workshop: WasmWorkshop;
  readonly #module: Module;
  readonly #forgetModule: () => void;
  readonly #jobs = new Map<number, Job>();
  readonly #tick = new MessageChannel();
  #isPumping = false;
  #end: GriceError | undefined;
  #info: WriterInfo;

  constructor(workshop: WasmWorkshop, module: Module, surroundings: Pick<WriterInfo, "artifact" | "worker" | "modelCache" | "detectorCache">) {
    this.#workshop = workshop;
    this.#module = module;
    this.#surroundings = surroundings;
    this.#info = this.#describe();
    // When it ends, all jobs end. Weak, so that an unused workshop can be collected.
    const weak = new WeakRef(this);
    this.#forgetModule = module.onEnd((end) => {
      const host = weak.deref();
      if (host) host.#stop(end);
    });
    this.#tick.port1.onmessage = () => this.#pump();
    this.#keepsAlive(false);
  }

  get info(): WriterInfo {
    if (!this.#end) this.#info = this.#describe();
    return this.#info;
  }

  ask(ask: string, tell: (news: News) => void, fail: (error: unknown) => void): () => void {
    try {
      if (this.#end) throw this.#end;
      const job = this.#module.call(() => this.#workshop.push(ask, now));
      this.#jobs.set(job, { tell, fail });
      this.#wake();
      return () => this.#cancel(job);
    } catch (error) {
      fail(asGriceError(error));
      return () => {};
    }
  }

  dispose(): void {
    this.#stop(new GriceError("disposed", "it was disposed of"));
    this.#tick.port1.close();
    this.#forgetModule();
    if (!this.#module.end) this.#module.call(() => this.#workshop.free());
  }

  #describe(): WriterInfo {
    return { ...this.#module.call(() => this.#workshop.info as WorkshopInfo), ...this.#surroundings };
  }

  #cancel(job: number): void {
    if (this.#end || !this.#jobs.delete(job)) return;
    try {
      this.#module.call(() => this.#workshop.cancel(job));
    } catch (error) {
      this.#stop(asGriceError(error));
    }
  }

  /** Runs one step, then returns to the event loop, so that new and cancelled jobs are known before the next. */
  #pump(): void {
    this.#isPumping = false;
    this.#keepsAlive(false);
    if (this.#end) return;
    try {
      const news = this.#module.call(() => this.#workshop.step(now) as { job: number; news: News }[] | undefined);
      if (!news) return;
      for (const told of news) this.#tell(told.job, told.news);
      this.#wake();
    } catch (error) {
      this.#stop(asGriceError(error));
    }
  }

  #tell(id: number, news: News): void {
    const job = this.#jobs.get(id);
    if ("repaired" in news || "text" in news || "failed" in news) this.#jobs.delete(id);
    job?.tell(news);
  }

  #wake(): void {
    if (this.#isPumping || this.#end) return;
    this.#isPumping = true;
    this.#keepsAlive(true);
    this.#tick.port2.postMessage(undefined);
  }

  /** In Node an open port keeps the process alive; an idle model must not do that. */
  #keepsAlive(does: boolean): void {
    const port = this.#tick.port1 as MessagePort & { ref?(): void; unref?(): void };
    if (does) port.ref?.();
    else port.unref?.();
  }

  #stop(end: GriceError): void {
    if (this.#end) return;
    this.#end = end;
    for (const job of this.#jobs.values()) job.fail(end);
    this.#jobs.clear();
  }
}

function now(): number {
  return performance.now();
}
