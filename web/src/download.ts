// Downloads over a network that may be slow, break off, or report a wrong length.

import { type Answer, answerOf } from "./answer.js";
import { asGriceError, GriceError, messageOf } from "./errors.js";
import { onAbort, reasonOf, throwIfAborted } from "./signals.js";

/** How often a broken download is resumed before it fails. */
const TRIES_MAX = 5;
/** Wait before the next try: this, twice this, and so on. */
const PAUSE_MS = 250;
/** After this time without a byte, the connection counts as dead. */
const STALL_MS = 30_000;

export interface Download {
  bytes: Uint8Array<ArrayBuffer>;
  /** The description of the last response. */
  answer: Answer;
  /** Whether the bytes are from several responses. */
  isResumed: boolean;
}

export type OnBytes = (loaded: number, total: number | undefined) => void;

/**
 * Fetches a whole file. A broken download is resumed at the same position (with `Range`, if the server names the version by a
 * strong `ETag` or `Last-Modified`, and sends the file uncompressed), otherwise from the start.
 *
 * @throws GriceError `download`, with the server's response and the progress; the signal's reason if it is aborted.
 */
export async function download(
  url: string,
  signal: AbortSignal | undefined,
  onBytes: OnBytes,
  tries = TRIES_MAX,
  cache: RequestCache = "default",
): Promise<Download> {
  const file = new Partial(onBytes);
  let problem: unknown;
  for (let attempt = 0; attempt < tries; attempt++) {
    if (attempt > 0) await pause(PAUSE_MS * 2 ** (attempt - 1), signal);
    let answer: Answer;
    try {
      answer = await fetchRest(url, file, signal, cache);
    } catch (error) {
      throwIfAborted(signal);
      if (error instanceof Refused) throw new GriceError("download", error.message, { cause: error });
      problem = error;
      continue;
    }
    return { bytes: file.join(), answer, isResumed: file.isResumed };
  }
  const said = messageOf(problem);
  const far = file.total === undefined ? `${file.loaded} bytes` : `${file.loaded} of ${file.total} bytes`;
  throw new GriceError("download", `${url}: broke off after ${far}, ${tries} tries: ${said}`, { cause: problem });
}

/** Reads a response that the caller fetched; if it breaks off, it cannot be resumed. */
export async function readAll(response: Response, signal: AbortSignal | undefined, onBytes: OnBytes): Promise<Uint8Array<ArrayBuffer>> {
  const name = response.url || "the response";
  if (response.type === "opaque" || response.type === "opaqueredirect") {
    const remedy = "fetch it with `mode: \"cors\"`, from a server that allows this origin, and follow redirects";
    throw new GriceError("download", `${name}: the response is ${response.type}, so scripts may not read it; ${remedy}`);
  }
  if (!response.ok) throw new GriceError("download", `${name}: ${response.status} ${response.statusText}`.trim());
  if (response.bodyUsed || response.body?.locked) throw new GriceError("bad_input", `${name}: its body has already been read; pass a clone or its bytes`);
  const file = new Partial(onBytes);
  file.begin(response);
  try {
    await readBody(response.body, file, signal);
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof GriceError) throw error;
    throw new GriceError("download", `the response broke off after ${file.loaded} bytes: ${messageOf(error)}`, { cause: error });
  }
  return file.join();
}

/** An error that a retry would not change. */
class Refused extends Error {}

/** The received part of a file. */
class Partial {
  loaded = 0;
  total: number | undefined;
  /** The version of the received bytes, if the rest can be requested. */
  version: string | undefined;
  isResumed = false;
  readonly #onBytes: OnBytes;
  #type: string | null = null;
  #chunks: Uint8Array[] = [];

  constructor(onBytes: OnBytes) {
    this.#onBytes = onBytes;
  }

  /** Drops the received bytes, for a response with the whole file. */
  begin(response: Response): void {
    const { headers } = response;
    const isEncoded = (headers.get("Content-Encoding") ?? "identity") !== "identity";
    const length = headers.get("Content-Length");
    this.#chunks = [];
    this.#type = headers.get("Content-Type");
    this.loaded = 0;
    this.isResumed = false;
    this.total = isEncoded || length === null ? undefined : Number(length);
    this.version = isEncoded ? undefined : versionOf(headers);
    this.#onBytes(0, this.total);
  }

  /** Whether a response is the rest of the same file. */
  isContinuedBy({ status, headers }: Response): boolean {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("Content-Range") ?? "");
    if (status !== 206 || Number(range?.[1]) !== this.loaded || this.version === undefined) return false;
    const total = Number(range?.[2]);
    if (this.total !== undefined && !Number.isNaN(total) && total !== this.total) return false;
    // Other origins may hide these headers; the visible ones must be equal.
    const isSame = (told: string | null | undefined, known: string | null | undefined) => told == null || known == null || told === known;
    return isSame(versionOf(headers), this.version) && isSame(headers.get("Content-Type"), this.#type);
  }

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.loaded += chunk.length;
    this.#onBytes(this.loaded, this.total);
  }

  join(): Uint8Array<ArrayBuffer> {
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = new Uint8Array(this.loaded);
    } catch (error) {
      throw asGriceError(error);
    }
    let at = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    this.#chunks = [];
    return bytes;
  }
}

/** The version of a file: a strong `ETag`, otherwise its modification time. */
function versionOf(headers: Headers): string | undefined {
  const etag = headers.get("ETag");
  return etag?.startsWith('"') ? etag : (headers.get("Last-Modified") ?? undefined);
}

async function fetchRest(url: string, file: Partial, signal: AbortSignal | undefined, cache: RequestCache): Promise<Answer> {
  const headers = new Headers();
  const resumes = file.loaded > 0 && file.version !== undefined;
  if (resumes) {
    headers.set("Range", `bytes=${file.loaded}-`);
    headers.set("If-Range", file.version as string);
  }
  const stop = new AbortController();
  const forget = onAbort(signal, (reason) => stop.abort(reason));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const isAlive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => stop.abort(new Error(`no data arrived for ${STALL_MS / 1000} s`)), STALL_MS);
  };
  try {
    isAlive();
    const response = await fetch(url, { headers, signal: stop.signal, cache });
    // The file became shorter than the received part: start again next time.
    if (response.status === 416) file.version = undefined;
    checkStatus(url, response);
    file.isResumed = resumes && file.isContinuedBy(response);
    if (!file.isResumed) file.begin(response);
    if (response.status === 206 && !file.isResumed) {
      file.version = undefined;
      throw new Error("the server sent another part of the file than the requested one");
    }
    await readBody(response.body, file, stop.signal, isAlive);
    return answerOf(url, response);
  } finally {
    clearTimeout(timer);
    forget();
  }
}

function checkStatus(url: string, response: Response): void {
  const { ok, status, statusText } = response;
  if (ok) return;
  const said = `${url}: ${status} ${statusText}`.trim();
  // A busy or broken server may recover; a missing file will not appear.
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
  const cancel = () => void reader.cancel(signal && reasonOf(signal)).catch(() => {});
  signal?.addEventListener("abort", cancel);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      throwIfAborted(signal);
      if (done) break;
      if (!ArrayBuffer.isView(value)) throw new GriceError("bad_input", `the stream gives ${typeof value}s, not bytes`);
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
    const timer = setTimeout(() => {
      forget();
      resolve();
    }, ms);
    const forget = onAbort(signal, (reason) => {
      clearTimeout(timer);
      reject(reason);
    });
  });
}
