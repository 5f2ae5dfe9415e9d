// What a page and its worker say to each other.

import type { Fault } from "./errors.js";
import type { DetectorInfo, LoadPlan, Progress } from "./options.js";
import type { Detection } from "./wire.js";

export type ToWorker =
  | { type: "load"; plan: LoadPlan }
  | { type: "detect"; id: number; turns: string[]; ask: string }
  /** Gives a `detect` up; no answer follows. */
  | { type: "cancel"; id: number };

export type FromWorker =
  | { type: "progress"; progress: Progress }
  | { type: "ready"; info: DetectorInfo }
  | { type: "failed"; fault: Fault }
  /** The GPU went away, and the processor stands in. */
  | { type: "info"; info: DetectorInfo }
  | { type: "detections"; id: number; detections: Detection[] }
  | { type: "error"; id: number; fault: Fault };
