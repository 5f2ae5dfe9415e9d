// Descriptions of a response that was not the requested file.

/** The source of bytes. */
export interface Answer {
  /** The requested URL. */
  url: string;
  /** The URL that answered, if it is different. */
  redirectedTo?: string;
  status: number;
  type: string | undefined;
}

/** The number of first bytes to show. */
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

/** Whether bytes begin like a modern `.tar`. */
export function isTar(bytes: Uint8Array): boolean {
  return startsWith(bytes.subarray(257), [0x75, 0x73, 0x74, 0x61, 0x72]);
}

/** Whether bytes begin like a WebAssembly module. */
export function isWasm(bytes: Uint8Array): boolean {
  return startsWith(bytes, [0, 0x61, 0x73, 0x6d]);
}

/** Status, type and first bytes of a response of `length` bytes, and a guess of what they are. */
export function tellAnswer(answer: Answer | undefined, head: Uint8Array, length = head.length): string {
  const from = answer?.redirectedTo === undefined ? "" : ` from ${answer.redirectedTo}, where it was redirected to`;
  const said = answer ? `status ${answer.status}, ${answer.type ?? "no content type"}, ` : "";
  const guess = guessOf(head);
  return `the response${from}: ${said}${shown(head, length)}${guess ? `; ${guess}` : ""}`;
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
  if (text.startsWith("<")) return "this is a web page: check that the file is at this URL, that the host does not answer unknown paths with a page, and that it does not ask to sign in";
  if (text.startsWith("version https://git-lfs")) return "this is a Git LFS pointer: serve the actual file";
  if (startsWith(bytes, [0x1f, 0x8b])) return "this is gzip: serve the file uncompressed, or compressed once with `Content-Encoding: gzip`";
  if (startsWith(bytes, [0x50, 0x4b, 3, 4])) return "this is a .zip";
  return undefined;
}

function startsWith(bytes: Uint8Array, head: number[]): boolean {
  return head.every((byte, index) => bytes[index] === byte);
}
