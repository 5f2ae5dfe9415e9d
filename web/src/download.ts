// Bytes over a network that may be slow, break off, or lie about its length.

import { GriceError } from "./errors.js";

/** How often a download that broke off is taken up again before it fails. */
const TRIES_MAX = 5;
/** Waits between tries: this, twice this, and so on. */
const PAUSE_MS = 250;
/** With no byte for so long, the connection is taken to be dead. */
const STALL_MS = 30_000;

export interface Download {
  bytes: Uint8Array<ArrayBuffer>;
  headers: Headers;
}

export type OnBytes = (loaded: number, total: number | undefined) => void;

/**
 * Fetches a file whole. One that breaks off is taken up where it broke (`Range`, if the server names a version of the file by a
 * strong `ETag` or `Last-Modified`, and sends it uncompressed), else from the start.
 *
 * @throws GriceError `download`, saying what the server said and how far it came; the signal's reason if it is aborted.
 */
export async function download(url: string, signal: AbortSignal | undefined, onBytes: OnBytes, tries = TRIES_MAX): Promise<Download> {
  const file = new Partial(onBytes);
  let problem: unknown;
  for (let attempt = 0; attempt < tries; attempt++) {
    if (attempt > 0) await pause(PAUSE_MS * 2 ** (attempt - 1), signal);
    try {
      const headers = await fetchRest(url, file, signal);
      return { bytes: file.join(), headers };
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof Refused) throw new GriceError("download", error.message, { cause: error });
      problem = error;
    }
  }
  const said = problem instanceof Error ? problem.message : String(problem);
  const far = file.total === undefined ? `${file.loaded} bytes` : `${file.loaded} of ${file.total} bytes`;
  throw new GriceError("download", `${url}: broke off after ${far}, ${tries} tries: ${said}`, { cause: problem });
}

/** Reads a response that somebody else fetched; one that breaks off cannot be taken up again. */
export async function readAll(response: Response, signal: AbortSignal | undefined, onBytes: OnBytes): Promise<Uint8Array<ArrayBuffer>> {
  if (!response.ok) throw new GriceError("download", `${response.url || "the response"}: ${response.status} ${response.statusText}`);
  const file = new Partial(onBytes);
  file.begin(response);
  try {
    await readBody(response.body, file, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw new GriceError("download", `the response broke off after ${file.loaded} bytes: ${(error as Error).message}`, { cause: error });
  }
  return file.join();
}

/** An answer that no retry will change. */
class Refused extends Error {}

/** What has come of a file so far. */
class Partial {
  loaded = 0;
  total: number | undefined;
  /** Names the version of the file that the bytes are of, if a rest of it can be asked for. */
  version: string | undefined;
  readonly #onBytes: OnBytes;
  #chunks: Uint8Array[] = [];

  constructor(onBytes: OnBytes) {
    this.#onBytes = onBytes;
  }

  /** Forgets what came, for a response that has the whole file. */
  begin(response: Response): void {
    const { headers } = response;
    const isEncoded = (headers.get("Content-Encoding") ?? "identity") !== "identity";
    const length = headers.get("Content-Length");
    const etag = headers.get("ETag");
    this.#chunks = [];
    this.loaded = 0;
    this.total = isEncoded || length === null ? undefined : Number(length);
    const version = etag?.startsWith('"') ? etag : (headers.get("Last-Modified") ?? undefined);
    this.version = isEncoded ? undefined : version;
    this.#onBytes(0, this.total);
  }

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.loaded += chunk.length;
    this.#onBytes(this.loaded, this.total);
  }

  join(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.loaded);
    let at = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    this.#chunks = [];
    return bytes;
  }
}

async function fetchRest(url: string, file: Partial, signal: AbortSignal | undefined): Promise<Headers> {
  const headers = new Headers();
  const resumes = file.loaded > 0 && file.version !== undefined;
  if (resumes) {
    headers.set("Range", `bytes=${file.loaded}-`);
    headers.set("If-Range", file.version as string);
  }
  const stall = new AbortController();
  const any = signal ? AbortSignal.any([signal, stall.signal]) : stall.signal;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const isAlive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => stall.abort(new Error(`no byte came for ${STALL_MS / 1000} s`)), STALL_MS);
  };
  try {
    isAlive();
    const response = await fetch(url, { headers, signal: any });
    // The file became shorter than what came of it: from the start, the next time.
    if (response.status === 416) file.version = undefined;
    checkStatus(url, response);
    const isRest = response.status === 206 && response.headers.get("Content-Range")?.startsWith(`bytes ${file.loaded}-`);
    if (!isRest) file.begin(response);
    if (response.status === 206 && !isRest) throw new Error("the server sent another part of the file than was asked for");
    await readBody(response.body, file, any, isAlive);
    return response.headers;
  } finally {
    clearTimeout(timer);
  }
}

function checkStatus(url: string, response: Response): void {
  const { ok, status, statusText } = response;
  if (ok) return;
  const said = `${url}: ${status} ${statusText}`.trim();
  // A server that is busy or broken may be well again; one that has no such file will not.
  if (status >= 500 || status === 408 || status === 416 || status === 425 || status === 429) throw new Error(said);
  throw new Refused(said);
}

async function readBody(
  body: ReadableStream<Uint8Array> | null,
  file: Partial,
  signal: AbortSignal | undefined,
  onChunk?: () => void,
): Promise<void> {
  const reader = body?.getReader();
  if (!reader) return;
  const cancel = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", cancel);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal?.throwIfAborted();
      if (done) break;
      onChunk?.();
      file.push(value);
    }
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
  if (file.total !== undefined && file.loaded < file.total) throw new Error("the connection closed early");
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
