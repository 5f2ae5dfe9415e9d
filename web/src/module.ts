// A WebAssembly module on this thread, shared by all detectors here, and its tasks.

import { type GriceError, moduleError } from "./errors.js";

/** Work in WebAssembly that runs while the event loop runs. */
export interface WasmTask {
  poll(wake: () => void): unknown;
  free(): void;
}

/** A module that ended must not be called again, because its state may be inconsistent. */
export class Module {
  #end: GriceError | undefined;
  readonly #listeners = new Set<(end: GriceError) => void>();

  /** Why it ended, if it did. */
  get end(): GriceError | undefined {
    return this.#end;
  }

  /** Calls into the module. An error without a code ends it, for all detectors that use it. */
  call<T>(work: () => T): T {
    if (this.#end) throw this.#end;
    try {
      return work();
    } catch (error) {
      throw this.hear(error);
    }
  }

  /** Converts an error of the module to one of this package. */
  hear(error: unknown): GriceError {
    const known = moduleError(error);
    if (known.code === "crashed" && !this.#end) {
      this.#end = known;
      for (const listener of [...this.#listeners]) listener(known);
    }
    return known;
  }

  /** Calls back when the module ends; returns a function that stops waiting. */
  onEnd(listener: (end: GriceError) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The result of a task. */
  finish(task: WasmTask): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        polls.delete(poll);
        forget();
        settle();
      };
      const forget = this.onEnd((problem) => end(() => reject(problem)));
      const poll = () => {
        try {
          const outcome = this.call(() => task.poll(wake));
          if (outcome === undefined) return;
          task.free();
          end(() => resolve(outcome));
        } catch (error) {
          end(() => reject(error));
        }
      };
      polls.add(poll);
      poll();
    });
  }
}

const polls = new Set<() => void>();
let isWoken = false;

/** Polls all tasks (seldom more than one), but never inside WebAssembly, which calls this. */
function wake(): void {
  if (isWoken) return;
  isWoken = true;
  queueMicrotask(() => {
    isWoken = false;
    for (const poll of [...polls]) poll();
  });
}
