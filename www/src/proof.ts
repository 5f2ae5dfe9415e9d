// "Nothing leaves this page": the requests since the model was loaded, and whether the page needs a network.

import { find, make, write } from "./dom.js";

/** A message of sw.ts about a worker's request. */
export interface Sighting {
  kind: "worker-request";
  url: string;
}

const LISTED = 20;

export class Proof {
  #count: number | null = null;
  #urls: string[] = [];

  constructor() {
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => this.#see(entry.name, entry.startTime))).observe({
      type: "resource",
    });
    // The page's record lacks the requests of workers; the service worker sees them.
    navigator.serviceWorker?.addEventListener("message", (event: MessageEvent<Sighting>) => {
      if (event.data?.kind === "worker-request") this.#see(event.data.url, performance.now());
    });
    for (const name of ["online", "offline"]) addEventListener(name, () => this.#showNetwork());
    this.#showNetwork();
  }

  #since = 0;

  /** The model is loaded: from now on there should be no requests. */
  start(): void {
    this.#count = 0;
    this.#urls = [];
    this.#since = performance.now();
    this.#show();
  }

  /** Loading a model makes requests. */
  pause(): void {
    this.#count = null;
    this.#show();
  }

  #see(url: string, at: number): void {
    if (this.#count === null || at < this.#since) return;
    this.#count += 1;
    this.#urls = [...this.#urls, url].slice(-LISTED);
    this.#show();
  }

  #show(): void {
    write(find("requests"), this.#count === null ? "–" : String(this.#count));
    write(find("requests-note"), `${this.#count === 1 ? "request" : "requests"} since the model was loaded`);
    find("requests-list").hidden = this.#urls.length === 0;
    find("requests-items").replaceChildren(...this.#urls.map((url) => make("li", {}, url)));
  }

  #showNetwork(): void {
    document.documentElement.dataset["network"] = navigator.onLine ? "online" : "offline";
    const worker = navigator.serviceWorker?.controller;
    const kept = worker ? "Kept in this browser: it works offline, reload included." : "It works offline once loaded.";
    write(find("offline"), navigator.onLine ? kept : "You are offline, and everything still works.");
    const seen = worker ? "its workers’ included" : "this page’s own";
    write(find("counted"), `Counted from the browser’s record of requests, ${seen}.`);
  }

  /** The service worker has started or ended. */
  refresh(): void {
    this.#showNetwork();
  }
}

/**
 * Installs the service worker, so that it handles and caches all later requests; resolves after it has fetched its files.
 * Without one (plain HTTP, a private window) the page works only online.
 */
export async function keepOffline(): Promise<void> {
  const container = navigator.serviceWorker;
  if (!container) return;
  try {
    const { installing } = await container.register("./sw.js");
    if (container.controller) return;
    await new Promise<void>((resolve, reject) => {
      container.addEventListener("controllerchange", () => resolve(), { once: true });
      installing?.addEventListener("statechange", () => {
        if (installing.state === "redundant") reject(new Error("a file of the page could not be cached"));
      });
    });
  } catch (error) {
    console.warn("No service worker, so the page needs a network to open again:", error);
  }
}
