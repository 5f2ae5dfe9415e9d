// The worker's end: messages in, messages out, one detector between.

import { faultOf } from "./errors.js";
import { type Host, openHost } from "./host.js";
import type { FromWorker, ToWorker } from "./messages.js";
import type { Start } from "./runtime.js";

const page = globalThis as unknown as {
  postMessage(message: FromWorker): void;
  /** Missing if a server imports this file. */
  addEventListener?(type: "message" | "messageerror", listener: (event: MessageEvent<ToWorker>) => void): void;
};

const asking = new Map<number, AbortController>();
let host: Host | undefined;

/** Listens to the page, with the modules of `start`. */
export function listen(start: Start): void {
  page.addEventListener?.("message", ({ data }) => hear(data, start));
  page.addEventListener?.("messageerror", () => {
    page.postMessage({ type: "failed", fault: { code: "crashed", message: "a message to the worker could not be read; make a new detector" } });
  });
}

function hear(data: ToWorker, start: Start): void {
  switch (data.type) {
    case "load":
      return void load(data, start);
    case "detect":
      return void detect(data);
    case "cancel":
      return asking.get(data.id)?.abort();
  }
}

async function load({ plan }: ToWorker & { type: "load" }, start: Start): Promise<void> {
  try {
    host = await openHost(start, plan, undefined, (progress) => page.postMessage({ type: "progress", progress }));
    const opened = host;
    opened.onInfo = () => page.postMessage({ type: "info", info: { ...opened.info, worker: true } });
    page.postMessage({ type: "ready", info: { ...host.info, worker: true } });
  } catch (error) {
    page.postMessage({ type: "failed", fault: faultOf(error) });
  }
}

async function detect({ id, turns, ask }: ToWorker & { type: "detect" }): Promise<void> {
  const controller = new AbortController();
  asking.set(id, controller);
  try {
    // The page sends `detect` only after `ready`.
    const detections = await (host as Host).detect(turns, ask, controller.signal);
    page.postMessage({ type: "detections", id, detections });
  } catch (error) {
    page.postMessage({ type: "error", id, fault: faultOf(error) });
  } finally {
    asking.delete(id);
  }
}
