// Drives one detector on the thread it is on: a worker's, or the page's own.

import { asGriceError, GriceError } from "./errors.js";
import { download } from "./download.js";
import { checkIntegrity } from "./integrity.js";
import { openModelCache } from "./model-cache.js";
import type { DetectorInfo, LoadPlan, ModelCacheOutcome, Progress } from "./options.js";
import type { FetchModule, Start, WasmDetector } from "./runtime.js";
import type { Detection, ModelInfo } from "./wire.js";

/** A detector, wherever it runs. Turns and options are JSON: they were checked for that, and text crosses to a worker cheaply. */
export interface Backend {
  /** What was loaded; changes when a GPU goes away. */
  readonly info: DetectorInfo;
  /** One promise for all turns: they enter the queue together. `signal` takes those out that do not run yet. */
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

/** What a host says of itself beside what WebAssembly knows. */
type Surroundings = Pick<DetectorInfo, "artifact" | "worker" | "modelCache" | "fallbackReason">;

/** Loads a model on this thread. */
export async function openHost(
  start: Start,
  plan: LoadPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: Progress) => void,
  fetchModule: FetchModule = (url) => fetchRuntime(url, signal),
): Promise<Host> {
  // The one waits for the network while the other does.
  const [{ artifact, load, fallbackReason }, { bytes, modelCache }] = await Promise.all([
    start(plan.device, fetchModule, onProgress),
    loadModel(plan, signal, onProgress),
  ]);
  signal?.throwIfAborted();
  onProgress({ phase: "start", loaded: bytes.length, total: bytes.length, cached: modelCache === "hit" });
  const detector = await load(bytes, plan.settings);
  return new Host(detector, { artifact, worker: false, modelCache, ...(fallbackReason === undefined ? {} : { fallbackReason }) });
}

export class Host implements Backend {
  info: DetectorInfo;
  /** Hears when `info` changed, because a GPU went away. */
  onInfo: (() => void) | undefined;
  readonly #surroundings: Surroundings;
  readonly #detector: WasmDetector;
  readonly #waiting = new Map<number, Waiting>();
  readonly #tick = new MessageChannel();
  #isPumping = false;
  #alarm: ReturnType<typeof setTimeout> | undefined;
  #end: GriceError | undefined;

  constructor(detector: WasmDetector, surroundings: Surroundings) {
    this.#detector = detector;
    this.#surroundings = surroundings;
    this.info = { ...(detector.info as ModelInfo), ...surroundings };
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
    // One that fails fails them all, so the others need not run.
    return all.catch((error: unknown) => { leave(); throw error; }).finally(() => signal?.removeEventListener("abort", leave));
  }

  dispose(): void {
    this.#stop(new GriceError("disposed", "the detector was disposed of"));
    this.#tick.port1.close();
    this.#detector.free();
  }

  async #push(turn: string, ask: string, requests: number[], index: number | undefined): Promise<Detection> {
    if (this.#end) throw this.#end;
    try {
      const pushed = this.#detector.push(turn, ask, now) as { request: number } | { detection: Detection };
      if ("detection" in pushed) return pushed.detection;
      requests.push(pushed.request);
      return await new Promise((resolve, reject) => this.#waiting.set(pushed.request, { resolve, reject }));
    } catch (error) {
      if (error instanceof DOMException) throw error;
      const { code, message } = this.#hear(error);
      throw new GriceError(code, message, { cause: error, ...(index === undefined ? {} : { index }) });
    }
  }

  #forget(request: number): void {
    const waiting = this.#waiting.get(request);
    if (this.#end || !waiting) return;
    this.#waiting.delete(request);
    this.#detector.cancel(request);
    waiting.reject(new DOMException("the turn was given up", "AbortError"));
    this.#wake();
  }

  /** One step, then the event loop has its turn: what was pushed or cancelled meanwhile is known before the next batch. */
  #pump(): void {
    this.#isPumping = false;
    this.#keepsAlive(false);
    if (this.#end) return;
    try {
      for (;;) {
        const step = this.#detector.poll(now()) as Step;
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
      this.#stop(this.#hear(error));
    }
  }

  #run(): void {
    const running = this.#detector.run();
    if (!running) return this.#complete();
    running.then(
      () => this.#complete(),
      (error: unknown) => this.#stop(asGriceError(error)),
    );
  }

  #complete(): void {
    if (this.#end) return;
    this.#detector.complete(now());
    this.#wake();
    if (this.info.device === "cpu") return;
    const info = this.#detector.info as ModelInfo;
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

  /** In Node an open port keeps the process from ending; an idle detector is no reason for that. */
  #keepsAlive(does: boolean): void {
    const port = this.#tick.port1 as MessagePort & { ref?(): void; unref?(): void };
    if (does) port.ref?.();
    else port.unref?.();
  }

  /** A trap ends the module, and with it everyone who waits. */
  #hear(error: unknown): GriceError {
    const known = asGriceError(error);
    if (known.code === "crashed") this.#stop(known);
    return known;
  }

  #stop(end: GriceError): void {
    if (this.#end) return;
    this.#end = end;
    clearTimeout(this.#alarm);
    for (const waiting of this.#waiting.values()) waiting.reject(end);
    this.#waiting.clear();
  }
}

async function loadModel(
  plan: LoadPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: Progress) => void,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; modelCache: ModelCacheOutcome }> {
  if ("bytes" in plan.model) {
    const bytes = plan.model.bytes as Uint8Array<ArrayBuffer>;
    if (plan.integrity) await checkIntegrity("the bundle", bytes, plan.integrity);
    return { bytes, modelCache: "off" };
  }
  const { url } = plan.model;
  const cache = plan.useModelCache ? await openModelCache() : undefined;
  const kept = await cache?.find(url, plan.integrity);
  if (kept) {
    onProgress({ phase: "model", loaded: kept.length, total: kept.length, cached: true });
    return { bytes: kept, modelCache: "hit" };
  }
  const report = (loaded: number, total: number | undefined) => onProgress({ phase: "model", loaded, total, cached: false });
  const { bytes } = await download(url, signal, report);
  if (plan.integrity) await checkIntegrity(url, bytes, plan.integrity);
  const modelCache = cache ? await cache.store(url, bytes) : plan.useModelCache ? "unavailable" : "off";
  return { bytes, modelCache };
}

async function fetchRuntime(url: URL, signal: AbortSignal | undefined): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw new GriceError("download", `${url}: ${(error as Error).message}`, { cause: error });
  }
  if (!response.ok) throw new GriceError("download", `${url}: ${response.status} ${response.statusText}`.trim());
  return response;
}

function now(): number {
  return performance.now();
}
