import { throwIfAborted } from "./signals.js";

/** The kind of an error, for programs. */
export type ErrorCode =
  /** The turn or an option is invalid; change it. */
  | "bad_input"
  /** The bundle cannot be used; the message names the file or node at fault. */
  | "bad_model"
  /** More turns wait than `queueMax` allows; try again later. */
  | "overloaded"
  /** `timeoutMs` passed before there was a verdict. */
  | "timeout"
  /** A file could not be fetched, after every retry. */
  | "download"
  /** The bundle's bytes do not match `integrity`. */
  | "integrity"
  /** This browser lacks a required feature. */
  | "unsupported"
  /** The detector was disposed of. */
  | "disposed"
  /** The worker or the WebAssembly module ended, or memory ran out; make a new detector. */
  | "crashed"
  /** A bug in grice. */
  | "bug";

/** Every failure of this package, except an abort, which rejects with the signal's own reason. */
export class GriceError extends Error {
  override readonly name = "GriceError";
  readonly code: ErrorCode;
  /** In `detectBatch` and `detectSettled`: the index of the item, from 0. */
  readonly index: number | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; index?: number } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.index = options.index;
  }
}

/** An error as it crosses from a worker. */
export interface Fault {
  code: ErrorCode;
  message: string;
  index?: number;
}

/** An error as data. */
export function faultOf(error: unknown): Fault {
  const { code, message, index } = asGriceError(error);
  return { code, message, ...(index === undefined ? {} : { index }) };
}

export function errorOf(fault: Fault): GriceError {
  return new GriceError(fault.code, fault.message, fault.index === undefined ? {} : { index: fault.index });
}

/** Converts any error to one of this package. */
export function asGriceError(error: unknown): GriceError {
  if (error instanceof GriceError) return error;
  const code = (error as { code?: unknown } | null | undefined)?.code;
  const message = messageOf(error);
  if (isCode(code)) return new GriceError(code, message, { cause: error });
  if (isTrap(error)) return crashOf(error);
  if (isOutOfMemory(error)) return new GriceError("crashed", `memory ran out: ${message}`, { cause: error });
  return new GriceError("bug", message, { cause: error });
}

/** Converts an error from WebAssembly: without a code it is a trap or another exception, and the module must not be called again. */
export function moduleError(error: unknown): GriceError {
  const known = asGriceError(error);
  return known.code === "bug" && !isCode((error as { code?: unknown } | null | undefined)?.code) ? crashOf(error) : known;
}

/** The message of any thrown value. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String((error as { message?: unknown } | null | undefined)?.message ?? error);
  } catch {
    return "an error without a message";
  }
}

/** Runs a task of the page: it throws the reason of its own signal, or an error of this package. */
export async function settled<T>(signal: AbortSignal | undefined, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    throwIfAborted(signal);
    throw asGriceError(error);
  }
}

function crashOf(error: unknown): GriceError {
  const remedy = "make a new detector (on the page's own thread, reload the page first)";
  return new GriceError("crashed", `the WebAssembly module ended: ${messageOf(error)}; ${remedy}`, { cause: error });
}

function isTrap(error: unknown): boolean {
  return typeof WebAssembly === "object" && error instanceof WebAssembly.RuntimeError;
}

/** Browsers have no special error for it; these are the messages of Chrome, Firefox and Safari. */
function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError && /alloc|memory|array (buffer )?(length|size)|typed array length/i.test(error.message);
}

const CODES: readonly string[] = [
  "bad_input",
  "bad_model",
  "overloaded",
  "timeout",
  "download",
  "integrity",
  "unsupported",
  "disposed",
  "crashed",
  "bug",
] satisfies ErrorCode[];

function isCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && CODES.includes(code);
}
