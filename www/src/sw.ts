// The service worker: caches the page's files, so that it opens offline, and reports the requests of workers to the pages.
//
// Files with a digest in their names never change, so the cache answers for them. For the page itself the network comes first,
// so that a new version shows at the next visit. The `grice` package caches and checks the model.

declare const self: ServiceWorkerGlobalScope;
/** Inserted by the build: the files that the page needs, and a digest of them. */
declare const SHELL: string[];
declare const BUILD: string;
declare const POLICY: string;

const PREFIX = "grice-page-";
const CACHE = PREFIX + BUILD;
const NETWORK_PATIENCE_MS = 3000;

self.addEventListener("install", (event) => {
  // `reload`, because an HTTP cache may have an older version.
  const shell = SHELL.map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(keepAll(shell));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOldCaches().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  event.waitUntil(reportWorkerRequest(event.clientId, request.url));
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  const scope = self.registration.scope;
  if (!url.href.startsWith(scope) || url.href.startsWith(`${scope}models/`)) return;
  if (request.mode === "navigate") event.respondWith(openPage(request));
  else event.respondWith(answerFromCache(event));
});

/** Caches all files or none: if one is missing, there is no service worker. */
async function keepAll(shell: Request[]): Promise<void> {
  const responses = await Promise.all(shell.map(fetchItself));
  const cache = await caches.open(CACHE);
  await Promise.all(responses.map((response, index) => cache.put(shell[index] as Request, response)));
}

async function fetchItself(request: Request): Promise<Response> {
  const response = await fetch(request);
  const isOther = isPage(response) && request.url !== self.registration.scope;
  if (response.ok && !isOther) return response;
  throw new TypeError(`${request.url}: ${response.status}, ${response.headers.get("Content-Type")}`);
}

/** Networks that ask to sign in, and hosts without the file, answer with a web page, which must not replace another file. */
function isPage(response: Response): boolean {
  return response.headers.get("Content-Type")?.startsWith("text/html") ?? false;
}

async function openPage(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), NETWORK_PATIENCE_MS);
  try {
    const response = await fetch(request, { signal: patience.signal });
    if (response.ok && isPage(response)) await cache.put("./", response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match("./");
    if (kept) return kept;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function answerFromCache(event: FetchEvent): Promise<Response> {
  const { request } = event;
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreVary: true });
  if (kept) return withPolicy(kept);
  const response = await fetch(request);
  // If the quota is used up, the page needs a network next time, but it works now.
  if (response.ok && !isPage(response)) event.waitUntil(cache.put(request, response.clone()).catch(() => undefined));
  return withPolicy(response);
}

/** A worker uses the policy of its script's response, not the page's. This adds it, even if the host sets no headers. */
function withPolicy(response: Response): Response {
  const { status, statusText, body } = response;
  const isScript = response.headers.get("Content-Type")?.includes("javascript");
  if (!isScript || response.headers.has("Content-Security-Policy")) return response;
  const headers = new Headers(response.headers);
  headers.set("Content-Security-Policy", POLICY);
  return new Response(body, { status, statusText, headers });
}

async function reportWorkerRequest(clientId: string, url: string): Promise<void> {
  const client = await self.clients.get(clientId);
  if (client?.type !== "worker") return;
  const pages = await self.clients.matchAll({ type: "window" });
  for (const page of pages) page.postMessage({ kind: "worker-request", url });
}

async function dropOldCaches(): Promise<void> {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
}

export {};
