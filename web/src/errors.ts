/** What a program can branch on. */
export type ErrorCode =
  /** The turn, or an option, makes no sense; change it. */
  | "bad_input"
  /** The bundle cannot be used; the message names the file or node at fault. */
  | "bad_model"
  /** More turns wait than `queueMax` allows; try again later. */
  | "overloaded"
  /** `timeoutMs` passed before there was a verdict. */
  | "timeout"
  /** A file could not be fetched, after every retry. */
  | "download"
  /** The bundle's bytes are not those that `integrity` names. */
  | "integrity"
  /** This browser lacks something that was asked for. */
  | "unsupported"
  /** The detector was disposed of. */
  | "disposed"
  /** The worker or the WebAssembly module ended; make a new detector. */
  | "crashed"
  /** A fault in grice itself. */
  | "bug";

/** Every failure of this package, but for an abort: that rejects with the signal's own reason. */
export class GriceError extends Error {
  override readonly name = "GriceError";
  readonly code: ErrorCode;
  /** In `detectBatch` and `detectSettled`: which of the items it is about, from 0. */
  readonly index: number | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; index?: number } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.index = options.index;
  }
}

/** What crosses from a worker instead of an error. */
export interface Fault {
  code: ErrorCode;
  message: string;
  index?: number;
}

/** An error as data. What carries no code of ours is a crash: nothing else leaves WebAssembly but a trap. */
export function faultOf(error: unknown): Fault {
  const code = (error as { code?: unknown } | null)?.code;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof WebAssembly.RuntimeError) {
    return { code: "crashed", message: `the WebAssembly module ended: ${message}; make a new detector` };
  }
  const index = error instanceof GriceError ? error.index : undefined;
  return { code: isCode(code) ? code : "bug", message, ...(index === undefined ? {} : { index }) };
}

export function errorOf(fault: Fault): GriceError {
  return new GriceError(fault.code, fault.message, fault.index === undefined ? {} : { index: fault.index });
}

/** An error of ours, whatever it was. */
export function asGriceError(error: unknown): GriceError {
  return error instanceof GriceError ? error : new GriceError(faultOf(error).code, faultOf(error).message, { cause: error });
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
