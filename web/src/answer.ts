// What a server, or a cache, gave in place of what was asked for, in words.

/** Where bytes came from. */
export interface Answer {
  /** The URL that was asked. */
  url: string;
  /** The URL that answered, where it is another. */
  redirectedTo?: string;
  status: number;
  type: string | undefined;
}

/** How many of the first bytes are shown. */
const SHOWN_MAX = 64;

export function answerOf(url: string, response: Response): Answer {
  const isRedirected = response.redirected && response.url !== "" && response.url !== url;
  return {
    url,
    ...(isRedirected ? { redirectedTo: response.url } : {}),
    status: response.status,
    type: response.headers.get("Content-Type") ?? undefined,
  };
}

/** Whether bytes begin as a `.tar` of this century does. */
export function isTar(bytes: Uint8Array): boolean {
  return startsWith(bytes.subarray(257), [0x75, 0x73, 0x74, 0x61, 0x72]);
}

/** Whether bytes begin as a WebAssembly module does. */
export function isWasm(bytes: Uint8Array): boolean {
  return startsWith(bytes, [0, 0x61, 0x73, 0x6d]);
}

/** Status, type and first bytes of an answer, of which `length` bytes came, and what they look like. */
export function tellAnswer(answer: Answer | undefined, head: Uint8Array, length = head.length): string {
  const from = answer?.redirectedTo === undefined ? "" : ` from ${answer.redirectedTo}, where it was redirected to`;
  const said = answer ? `status ${answer.status}, ${answer.type ?? "no content type"}, ` : "";
  const guess = guessOf(head);
  return `what came${from}: ${said}${shown(head, length)}${guess ? `; ${guess}` : ""}`;
}

function shown(head: Uint8Array, length: number): string {
  if (length === 0) return "an empty body";
  const few = head.subarray(0, SHOWN_MAX);
  // The last character may have been cut.
  const text = new TextDecoder().decode(few).replace(/\uFFFD$/, "").replace(/\s+/g, " ").trim();
  const isText = !/[\0-\x1f\x7f\uFFFD]/.test(text);
  const hex = [...few.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `${length} bytes that begin with ${isText ? JSON.stringify(text) : hex}`;
}

function guessOf(bytes: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(bytes.subarray(0, SHOWN_MAX)).trimStart().toLowerCase();
  if (text.startsWith("<")) return "that is a page: is the file at this URL, does the host answer unknown paths with a page, or does it ask to sign in?";
  if (text.startsWith("version https://git-lfs")) return "that is a pointer of Git LFS: serve the file that it stands for";
  if (startsWith(bytes, [0x1f, 0x8b])) return "that is gzip: serve the file uncompressed, or compressed once with `Content-Encoding: gzip`";
  if (startsWith(bytes, [0x50, 0x4b, 3, 4])) return "that is a .zip";
  return undefined;
}

function startsWith(bytes: Uint8Array, head: number[]): boolean {
  return head.every((byte, index) => bytes[index] === byte);
}
