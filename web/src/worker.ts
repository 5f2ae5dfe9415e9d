// The worker's end: messages in, messages out, one detector between.

import { faultOf } from "./errors.js";
import { type Host, openHost } from "./host.js";
import type { FromWorker, ToWorker } from "./messages.js";

const page = globalThis as unknown as {
  postMessage(message: FromWorker): void;
  addEventListener(type: "message", listener: (event: MessageEvent<ToWorker>) => void): void;
};

const loading = new AbortController();
const asking = new Map<number, AbortController>();
let host: Host | undefined;

page.addEventListener("message", ({ data }) => {
  switch (data.type) {
    case "load":
      return void load(data);
    case "abort":
      return loading.abort();
    case "detect":
      return void detect(data);
    case "cancel":
      return asking.get(data.id)?.abort();
  }
});

async function load({ plan }: ToWorker & { type: "load" }): Promise<void> {
  try {
    host = await openHost(plan, loading.signal, (progress) => page.postMessage({ type: "progress", progress }));
    page.postMessage({ type: "ready", info: { ...host.info, worker: true } });
  } catch (error) {
    page.postMessage({ type: "failed", fault: faultOf(error) });
  }
}

async function detect({ id, turns, ask }: ToWorker & { type: "detect" }): Promise<void> {
  const controller = new AbortController();
  asking.set(id, controller);
  try {
    // The page speaks of detecting only once it has heard `ready`.
    const detections = await (host as Host).detect(turns, ask, controller.signal);
    page.postMessage({ type: "detections", id, detections });
  } catch (error) {
    page.postMessage({ type: "error", id, fault: faultOf(error) });
  } finally {
    asking.delete(id);
  }
}
