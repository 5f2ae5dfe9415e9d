// A WebAssembly module on this thread, which all detectors here share, and what goes on in it.

import { type GriceError, moduleError } from "./errors.js";

/** Work in WebAssembly that goes on while the event loop runs. */
export interface WasmTask {
  poll(wake: () => void): unknown;
  free(): void;
}

/** A module that ended is not to be called again: what it holds may be half done. */
export class Module {
  #end: GriceError | undefined;
  readonly #listeners = new Set<(end: GriceError) => void>();

  /** Why it ended, if it did. */
  get end(): GriceError | undefined {
    return this.#end;
  }

  /** Calls into the module. What it throws without a code is its end, for everyone who has a part in it. */
  call<T>(work: () => T): T {
    if (this.#end) throw this.#end;
    try {
      return work();
    } catch (error) {
      throw this.hear(error);
    }
  }

  /** An error that came out of the module, as one of ours. */
  hear(error: unknown): GriceError {
    const known = moduleError(error);
    if (known.code === "crashed" && !this.#end) {
      this.#end = known;
      for (const listener of [...this.#listeners]) listener(known);
    }
    return known;
  }

  /** Calls back when the module ends; gives what ends the waiting. */
  onEnd(listener: (end: GriceError) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** What comes of a task. */
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

/** Polls all tasks, of which there is seldom more than one, but never inside WebAssembly, which calls this. */
function wake(): void {
  if (isWoken) return;
  isWoken = true;
  queueMicrotask(() => {
    isWoken = false;
    for (const poll of [...polls]) poll();
  });
}
