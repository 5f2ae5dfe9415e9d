// The service worker: keeps what the page is made of, so that it opens offline, and tells the pages what workers ask for.
//
// Files whose names hold a digest never change: the cache answers for them. For the page itself the network is asked first,
// so that a new version shows at the next visit. The model is not kept here: the `grice` package keeps it, and checks it.

declare const self: ServiceWorkerGlobalScope;
/** Put in by the build: what the page needs to open, and a digest over it. */
declare const SHELL: string[];
declare const BUILD: string;
declare const POLICY: string;

const PREFIX = "grice-page-";
const CACHE = PREFIX + BUILD;
const NETWORK_PATIENCE_MS = 3000;

self.addEventListener("install", (event) => {
  // `reload`: what an HTTP cache holds may be of an older version.
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

/** Keeps all files or none: without one of them there is no service worker. */
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

/** Networks that ask to sign in, and hosts that have no such file, answer with a page: it stands for none of the other files. */
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
  // Quota may be spent; then the page needs a network next time, which is no reason to fail now.
  if (response.ok && !isPage(response)) event.waitUntil(cache.put(request, response.clone()).catch(() => undefined));
  return withPolicy(response);
}

/** A worker obeys the policy that its script came with, not the page's: here it gets one even from a host that sets no headers. */
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
