// The page's side of a detector that runs in a worker.

import { errorOf, type Fault, GriceError, messageOf } from "./errors.js";
import type { Backend } from "./host.js";
import type { FromWorker, ToWorker } from "./messages.js";
import type { DetectorInfo, LoadPlan, Progress } from "./options.js";
import { onAbort, reasonOf } from "./signals.js";
import type { Detection } from "./wire.js";

interface Waiting {
  resolve(detections: Detection[]): void;
  reject(error: unknown): void;
}

/** Loads a model in a worker; ends the worker if that fails. */
export async function openRemote(
  makeWorker: () => Worker,
  plan: LoadPlan,
  signal: AbortSignal | undefined,
  onProgress: (progress: Progress) => void,
): Promise<Remote> {
  const load: ToWorker = { type: "load", plan };
  const [worker, info] = await startWorker<DetectorInfo, Progress>(makeWorker, load, [plan], signal, onProgress);
  return new Remote(worker, info);
}

/** What a worker says until it is ready. */
type Loading<Info, P> = { type: "progress"; progress: P } | { type: "ready"; info: Info } | { type: "failed"; fault: Fault } | { type: "other" };

/** Starts a worker and sends it the message that loads these models; ends it if that fails. */
export async function startWorker<Info, P>(
  makeWorker: () => Worker,
  load: unknown,
  plans: LoadPlan[],
  signal: AbortSignal | undefined,
  onProgress: (progress: P) => void,
): Promise<[Worker, Info]> {
  const policy = watchPolicy();
  let worker: Worker | undefined;
  let forget = () => {};
  try {
    const started = makeChecked(makeWorker);
    worker = started;
    const info = await new Promise<Info>((resolve, reject) => {
      // This ends the worker and its downloads.
      forget = onAbort(signal, reject);
      let hasSpoken = false;
      started.onmessage = ({ data }: MessageEvent<Loading<Info, P>>) => {
        hasSpoken = true;
        if (data.type === "progress") onProgress(data.progress);
        else if (data.type === "ready") resolve(data.info);
        else if (data.type === "failed") reject(errorOf(data.fault));
      };
      started.onerror = (event) => reject(hasSpoken ? crashError(event) : startError(event, policy.refused));
      // Chrome has the event, but no `onmessageerror`.
      started.addEventListener?.("messageerror", () => reject(garbled()));
      // Bytes are moved, not copied; the caller's bytes were copied before.
      const moved = plans.flatMap(({ model }) => ("bytes" in model ? [model.bytes.buffer as ArrayBuffer] : []));
      started.postMessage(load, moved);
    });
    return [started, info];
  } catch (error) {
    worker?.terminate();
    throw error;
  } finally {
    forget();
    policy.forget();
  }
}

/** @throws GriceError `unsupported` without workers, or if this script is not allowed; `bad_input` if the function returns no worker. */
function makeChecked(makeWorker: () => Worker): Worker {
  let worker: Worker | undefined;
  try {
    worker = makeWorker();
  } catch (error) {
    const said = messageOf(error);
    if (typeof Worker === "undefined") {
      const remedy = "`worker: false` runs the model on this thread, and so does the entry `grice/thread`, for service workers";
      throw new GriceError("unsupported", `there is no \`Worker\` here (${said}): ${remedy}`, { cause: error });
    }
    // Another origin's script, a page without an origin, a policy of trusted types.
    if ((error as { name?: unknown } | null)?.name === "SecurityError" || /trusted ?script/i.test(said)) {
      const remedy = "its script must come from the page's own origin: serve dist/ there, or pass `worker` a function that creates the worker, or `worker: false`";
      throw new GriceError("unsupported", `the browser refuses to start the worker: ${said}; ${remedy}`, { cause: error });
    }
    throw new GriceError("bad_input", `the worker could not be created: ${said}`, { cause: error });
  }
  if (typeof worker?.postMessage === "function" && typeof worker.terminate === "function") return worker;
  throw new GriceError("bad_input", "the function in `worker` returned no `Worker`");
}

/** Watches for violations of the page's policy, because a refused worker only reports that it failed. */
function watchPolicy(): { refused: string | undefined; forget(): void } {
  const page = globalThis as { document?: Document };
  const watch = {
    refused: undefined as string | undefined,
    forget: () => page.document?.removeEventListener("securitypolicyviolation", hear),
  };
  const hear = ({ effectiveDirective, disposition }: SecurityPolicyViolationEvent) => {
    if (disposition === "enforce" && /^(worker|child|script)-src/.test(effectiveDirective)) watch.refused = effectiveDirective;
  };
  page.document?.addEventListener("securitypolicyviolation", hear);
  return watch;
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
    worker.addEventListener?.("messageerror", () => this.#stop(garbled()));
  }

  detect(turns: string[], ask: string, signal: AbortSignal | undefined): Promise<Detection[]> {
    if (this.#end) return Promise.reject(this.#end);
    const id = this.#ids++;
    const cancel = () => {
      const waiting = this.#waiting.get(id);
      if (!waiting) return;
      this.#waiting.delete(id);
      this.#say({ type: "cancel", id });
      waiting.reject(signal && reasonOf(signal));
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
    if (message.type === "failed") this.#stop(errorOf(message.fault));
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

export function crashError(event: ErrorEvent): GriceError {
  return new GriceError("crashed", `the worker failed: ${event.message ?? "no cause given"}; make a new detector`);
}

export function garbled(): GriceError {
  return new GriceError("crashed", "a message from the worker could not be read; make a new detector");
}

/** The error before a worker's first message: its script or an imported one could not be loaded, or a policy forbids it. */
function startError(event: ErrorEvent, refused: string | undefined): GriceError {
  const said = event.message ? `: ${event.message}` : "";
  if (refused !== undefined) {
    const remedy = `the page's Content-Security-Policy must allow the worker's script in \`${refused}\`; or use \`worker: false\``;
    return new GriceError("unsupported", `the worker was not allowed to start${said}; ${remedy}`);
  }
  return new GriceError("download", `the worker did not start${said}; are worker.js and the files next to it served from this origin, as JavaScript?`);
}
