// The page's end of a detector that runs in a worker.

import { errorOf, GriceError } from "./errors.js";
import type { Backend } from "./host.js";
import type { FromWorker, ToWorker } from "./messages.js";
import type { DetectorInfo, LoadPlan, Progress } from "./options.js";
import type { Detection } from "./wire.js";

interface Waiting {
  resolve(detections: Detection[]): void;
  reject(error: unknown): void;
}

/** Loads a model in a worker, which ends if that fails. */
export async function openRemote(
  makeWorker: () => Worker,
  plan: LoadPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: Progress) => void,
): Promise<Remote> {
  const worker = makeWorker();
  try {
    const info = await new Promise<DetectorInfo>((resolve, reject) => {
      // The worker ends with it, and whatever it was fetching.
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      let hasSpoken = false;
      worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
        hasSpoken = true;
        if (data.type === "progress") onProgress(data.progress);
        else if (data.type === "ready") resolve(data.info);
        else if (data.type === "failed") reject(errorOf(data.fault));
      };
      worker.onerror = (event) => reject(hasSpoken ? crashError(event) : startError(event));
      // Bytes are moved, not copied: the caller's view of them was copied before.
      const moved = "bytes" in plan.model ? [plan.model.bytes.buffer as ArrayBuffer] : [];
      worker.postMessage({ type: "load", plan } satisfies ToWorker, moved);
    });
    return new Remote(worker, info);
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

export class Remote implements Backend {
  info: DetectorInfo;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #ids = 0;
  #end: GriceError | undefined;

  constructor(worker: Worker, info: DetectorInfo) {
    this.#worker = worker;
    this.info = info;
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#hear(data);
    worker.onerror = (event) => this.#stop(crashError(event));
  }

  detect(turns: string[], ask: string, signal: AbortSignal | undefined): Promise<Detection[]> {
    if (this.#end) return Promise.reject(this.#end);
    const id = this.#ids++;
    const cancel = () => {
      const waiting = this.#waiting.get(id);
      if (!waiting) return;
      this.#waiting.delete(id);
      this.#say({ type: "cancel", id });
      waiting.reject(signal?.reason);
    };
    signal?.addEventListener("abort", cancel, { once: true });
    const answer = new Promise<Detection[]>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#say({ type: "detect", id, turns, ask });
    return answer.finally(() => signal?.removeEventListener("abort", cancel));
  }

  dispose(): void {
    this.#stop(new GriceError("disposed", "the detector was disposed of"));
  }

  #hear(message: FromWorker): void {
    if (message.type === "info") this.info = message.info;
    if (message.type !== "detections" && message.type !== "error") return;
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === "detections") return waiting?.resolve(message.detections);
    const error = errorOf(message.fault);
    waiting?.reject(error);
    if (error.code === "crashed") this.#stop(error);
  }

  #say(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #stop(end: GriceError): void {
    if (this.#end) return;
    this.#end = end;
    this.#worker.terminate();
    for (const waiting of this.#waiting.values()) waiting.reject(end);
    this.#waiting.clear();
  }
}

function crashError(event: ErrorEvent): GriceError {
  return new GriceError("crashed", `the worker failed: ${event.message}; make a new detector`);
}

/** Before a worker has said anything: its script or one of those that it imports could not be had. */
function startError(event: ErrorEvent): GriceError {
  const said = event.message ? `: ${event.message}` : "";
  return new GriceError("download", `the worker did not start${said}; is worker.js, and what lies beside it, served from this origin?`);
}
