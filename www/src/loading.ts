// The total progress of loading: the model and the engine load at the same time.

import type { Progress } from "grice/webgpu";

export interface Loaded {
  phase: "fetch" | "start";
  loaded: number;
  total: number;
  /** The model is from this browser's cache. */
  isKept: boolean;
}

/** Adds up the package's progress of each part. */
export class Loading {
  #loaded = { runtime: 0, model: 0 };
  #total: { runtime: number; model: number };
  #isKept = false;

  /** The sizes from the build, for servers that do not send them. */
  constructor(expected: { runtime: number; model: number }) {
    this.#total = { ...expected };
  }

  add({ phase, loaded, total, cached }: Progress): Loaded {
    if (phase === "model") this.#isKept = cached;
    if (phase !== "start") {
      this.#loaded[phase] = loaded;
      this.#total[phase] = total ?? Math.max(this.#total[phase], loaded);
    }
    return {
      phase: phase === "start" ? "start" : "fetch",
      loaded: this.#loaded.runtime + this.#loaded.model,
      total: this.#total.runtime + this.#total.model,
      isKept: this.#isKept,
    };
  }
}
