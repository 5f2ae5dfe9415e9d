// The worker of the entry `grice/writer`: messages in, messages out, one workshop between.

import { faultOf } from "./errors.js";
import { openWriterHost, type WriterHost } from "./writer-host.js";
import type { FromWriter, ToWriter } from "./writer-messages.js";
import type { WriterPlan } from "./writer-options.js";

const page = globalThis as unknown as {
  postMessage(message: FromWriter): void;
  /** Missing if a server imports this file. */
  addEventListener?(type: "message" | "messageerror", listener: (event: MessageEvent<ToWriter>) => void): void;
};

/** What cancels each job. */
const jobs = new Map<number, () => void>();
let host: WriterHost | undefined;

page.addEventListener?.("message", ({ data }) => {
  switch (data.type) {
    case "load":
      return void load(data.plan);
    case "ask":
      return ask(data.id, data.ask);
    case "cancel":
      jobs.get(data.id)?.();
      jobs.delete(data.id);
      return tellInfo();
  }
});
page.addEventListener?.("messageerror", () => {
  page.postMessage({ type: "failed", fault: { code: "crashed", message: "a message to the worker could not be read; make a new one" } });
});

async function load(plan: WriterPlan): Promise<void> {
  try {
    host = await openWriterHost(plan, undefined, (progress) => page.postMessage({ type: "progress", progress }));
    page.postMessage({ type: "ready", info: { ...host.info, worker: true } });
  } catch (error) {
    page.postMessage({ type: "failed", fault: faultOf(error) });
  }
}

function ask(id: number, asked: string): void {
  // The page asks only after `ready`.
  const cancel = (host as WriterHost).ask(
    asked,
    (news) => {
      page.postMessage({ type: "news", id, news });
      if (!("repaired" in news || "text" in news || "failed" in news)) return;
      jobs.delete(id);
      tellInfo();
    },
    (error) => {
      jobs.delete(id);
      page.postMessage({ type: "error", id, fault: faultOf(error) });
    },
  );
  jobs.set(id, cancel);
}

function tellInfo(): void {
  if (host) page.postMessage({ type: "info", info: { ...host.info, worker: true } });
}
