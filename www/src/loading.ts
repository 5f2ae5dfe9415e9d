// How far loading is, of all that is loaded: the model and the engine come side by side.

import type { Progress } from "grice/webgpu";

export interface Loaded {
  phase: "fetch" | "start";
  loaded: number;
  total: number;
  /** The model comes from this browser's own cache. */
  isKept: boolean;
}

/** Adds up what the package tells of each part. */
export class Loading {
  #loaded = { runtime: 0, model: 0 };
  #total: { runtime: number; model: number };
  #isKept = false;

  /** The bytes that the build knows, for servers that do not tell. */
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
