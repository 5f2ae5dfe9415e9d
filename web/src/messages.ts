// The messages between a page and its worker.

import type { Fault } from "./errors.js";
import type { DetectorInfo, LoadPlan, Progress } from "./options.js";
import type { Detection } from "./wire.js";

export type ToWorker =
  | { type: "load"; plan: LoadPlan }
  | { type: "detect"; id: number; turns: string[]; ask: string }
  /** Cancels a `detect`; no answer follows. */
  | { type: "cancel"; id: number };

export type FromWorker =
  | { type: "progress"; progress: Progress }
  | { type: "ready"; info: DetectorInfo }
  | { type: "failed"; fault: Fault }
  /** The GPU was lost, and the processor replaces it. */
  | { type: "info"; info: DetectorInfo }
  | { type: "detections"; id: number; detections: Detection[] }
  | { type: "error"; id: number; fault: Fault };
