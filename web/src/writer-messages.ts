// The messages between a page and the worker of its models that write.

import type { Fault } from "./errors.js";
import type { News, WriterInfo, WriterPlan, WriterProgress } from "./writer-options.js";

export type ToWriter =
  | { type: "load"; plan: WriterPlan }
  | { type: "ask"; id: number; ask: string }
  /** Cancels an `ask`; no news follow. */
  | { type: "cancel"; id: number };

export type FromWriter =
  | { type: "progress"; progress: WriterProgress }
  | { type: "ready"; info: WriterInfo }
  | { type: "failed"; fault: Fault }
  | { type: "news"; id: number; news: News }
  /** With what the models have at that moment. */
  | { type: "info"; info: WriterInfo }
  | { type: "error"; id: number; fault: Fault };
