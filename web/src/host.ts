// Drives one detector on this thread: a worker's, or the page's own.

import { BundleSource } from "./bundle.js";
import { asGriceError, GriceError } from "./errors.js";
import type { Module } from "./module.js";
import type { DetectorInfo, LoadPlan, Progress } from "./options.js";
import type { Start, WasmDetector } from "./runtime.js";
import { onAbort } from "./signals.js";
import { type FetchModule, fetchModule } from "./start.js";
import type { Detection, ModelInfo } from "./wire.js";

/** A detector on any thread. Turns and options are JSON: they were checked for that, and text crosses to a worker cheaply. */
export interface Backend {
  /** The loaded model; changes when a GPU is lost. */
  readonly info: DetectorInfo;
  /** One promise for all turns: they enter the queue together. `signal` removes those that do not run yet. */
  detect(turns: string[], ask: string, signal: AbortSignal | undefined): Promise<Detection[]>;
  dispose(): void;
}

type Step =
  | { step: "answer"; request: number; detection?: Detection; error?: unknown }
  | { step: "run"; rows: number; tokens: number }
  | { step: "wait"; untilMs: number }
  | { step: "idle" };

interface Waiting {
  resolve(detection: Detection): void;
  reject(error: unknown): void;
}

/** The host's part of `info`. */
type Surroundings = Pick<DetectorInfo, "artifact" | "worker" | "modelCache" | "fallbackReason">;

/** Loads a model on this thread. */
export async function openHost(
  start: Start,
  plan: LoadPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: Progress) => void,
  getModule: FetchModule = fetchModule,
): Promise<Host> {
  // A failure ends the other downloads.
  const stop = new AbortController();
  const forget = onAbort(signal, (reason) => stop.abort(reason));
  try {
    const source = new BundleSource(plan, stop.signal, onProgress);
    // Both wait for the network at the same time.
    const [runtime, fetched] = await Promise.all([
      start(plan.device, (url) => getModule(url, stop.signal), onProgress),
      source.fetch(),
    ]);
    const { opened, modelCache } = await source.open(fetched, async (bytes, isKept) => {
      onProgress({ phase: "start", loaded: bytes.length, total: bytes.length, cached: isKept });
      return await runtime.load(bytes, plan.settings);
    });
    const { artifact, fallbackReason, module } = runtime;
    return new Host(opened, module, { artifact, worker: false, modelCache, ...(fallbackReason === undefined ? {} : { fallbackReason }) });
  } catch (error) {
    stop.abort();
    throw error;
  } finally {
    forget();
  }
}

export class Host implements Backend {
  info: DetectorInfo;
  /** Called when `info` changes because a GPU was lost. */
  onInfo: (() => void) | undefined;
  readonly #surroundings: Surroundings;
  readonly #detector: WasmDetector;
  readonly #module: Module;
  readonly #forgetModule: () => void;
  readonly #waiting = new Map<number, Waiting>();
  readonly #tick = new MessageChannel();
  #isPumping = false;
  #alarm: ReturnType<typeof setTimeout> | undefined;
  #end: GriceError | undefined;

  constructor(detector: WasmDetector, module: Module, surroundings: Surroundings) {
    this.#detector = detector;
    this.#module = module;
    this.#surroundings = surroundings;
    this.info = { ...module.call(() => detector.info as ModelInfo), ...surroundings };
    // When it ends, all waiting calls end. Weak, so that an unused detector can be collected.
    const weak = new WeakRef(this);
    this.#forgetModule = module.onEnd((end) => {
      const host = weak.deref();
      if (host) host.#stop(end);
    });
    this.#tick.port1.onmessage = () => this.#pump();
    this.#keepsAlive(false);
  }

  detect(turns: string[], ask: string, signal: AbortSignal | undefined): Promise<Detection[]> {
    const requests: number[] = [];
    const leave = () => requests.forEach((request) => this.#forget(request));
    const answers = turns.map((turn, index) => this.#push(turn, ask, requests, turns.length > 1 ? index : undefined));
    signal?.addEventListener("abort", leave, { once: true });
    this.#wake();
    const all = Promise.all(answers);
    // One failure rejects the call, so the others need not run.
    return all.catch((error: unknown) => { leave(); throw error; }).finally(() => signal?.removeEventListener("abort", leave));
  }

  dispose(): void {
    this.#stop(new GriceError("disposed", "the detector was disposed of"));
    this.#tick.port1.close();
    this.#forgetModule();
    if (!this.#module.end) this.#module.call(() => this.#detector.free());
  }

  async #push(turn: string, ask: string, requests: number[], index: number | undefined): Promise<Detection> {
    if (this.#end) throw this.#end;
    try {
      const pushed = this.#module.call(() => this.#detector.push(turn, ask, now) as { request: number } | { detection: Detection });
      if ("detection" in pushed) return pushed.detection;
      requests.push(pushed.request);
      return await new Promise((resolve, reject) => this.#waiting.set(pushed.request, { resolve, reject }));
    } catch (error) {
      if (error instanceof DOMException) throw error;
      const { code, message } = asGriceError(error);
      throw new GriceError(code, message, { cause: error, ...(index === undefined ? {} : { index }) });
    }
  }

  #forget(request: number): void {
    const waiting = this.#waiting.get(request);
    if (this.#end || !waiting) return;
    this.#waiting.delete(request);
    waiting.reject(new DOMException("the turn was cancelled", "AbortError"));
    try {
      this.#module.call(() => this.#detector.cancel(request));
    } catch (error) {
      return this.#stop(asGriceError(error));
    }
    this.#wake();
  }

  /** Runs one step, then returns to the event loop, so that new and cancelled turns are known before the next batch. */
  #pump(): void {
    this.#isPumping = false;
    this.#keepsAlive(false);
    if (this.#end) return;
    try {
      for (;;) {
        const step = this.#module.call(() => this.#detector.poll(now()) as Step);
        if (step.step === "answer") {
          this.#answer(step);
        } else if (step.step === "run") {
          return this.#run();
        } else {
          clearTimeout(this.#alarm);
          if (step.step === "wait") this.#alarm = setTimeout(() => this.#wake(), Math.max(0, step.untilMs - now()));
          return;
        }
      }
    } catch (error) {
      this.#stop(asGriceError(error));
    }
  }

  #run(): void {
    const running = this.#module.call(() => this.#detector.run());
    if (!running) return this.#complete();
    this.#module
      .finish(running)
      .then(() => this.#complete())
      .catch((error: unknown) => this.#stop(asGriceError(error)));
  }

  #complete(): void {
    if (this.#end) return;
    this.#module.call(() => this.#detector.complete(now()));
    this.#wake();
    if (this.info.device === "cpu") return;
    const info = this.#module.call(() => this.#detector.info as ModelInfo);
    if (info.device === "gpu") return;
    this.info = { ...info, ...this.#surroundings };
    this.onInfo?.();
  }

  #answer({ request, detection, error }: Step & { step: "answer" }): void {
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    if (detection) waiting?.resolve(detection);
    else waiting?.reject(asGriceError(error));
  }

  #wake(): void {
    if (this.#isPumping || this.#end) return;
    this.#isPumping = true;
    this.#keepsAlive(true);
    this.#tick.port2.postMessage(undefined);
  }

  /** In Node an open port keeps the process alive; an idle detector must not do that. */
  #keepsAlive(does: boolean): void {
    const port = this.#tick.port1 as MessagePort & { ref?(): void; unref?(): void };
    if (does) port.ref?.();
    else port.unref?.();
  }

  #stop(end: GriceError): void {
    if (this.#end) return;
    this.#end = end;
    clearTimeout(this.#alarm);
    for (const waiting of this.#waiting.values()) waiting.reject(end);
    this.#waiting.clear();
  }
}

function now(): number {
  return performance.now();
}
