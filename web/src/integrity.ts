import { GriceError } from "./errors.js";

/** The SHA-256 of some bytes in hexadecimal digits; `undefined` if the page is not a secure context and has no digests. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  if (!subtle) return undefined;
  return [...new Uint8Array(await subtle.digest("SHA-256", bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Converts a caller's digest, 64 hexadecimal digits or `sha256-` and base64, to hexadecimal digits. */
export function parseIntegrity(integrity: unknown): string {
  if (typeof integrity !== "string") throw new GriceError("bad_input", "`integrity` must be text");
  const hex = integrity.replace(/^sha256:/, "").toLowerCase();
  if (/^[0-9a-f]{64}$/.test(hex)) return hex;
  const base64 = /^sha256-([A-Za-z0-9+/]{43}=)$/.exec(integrity)?.[1];
  if (base64) return [...atob(base64)].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  throw new GriceError("bad_input", "`integrity` must be 64 hexadecimal digits of SHA-256, or `sha256-` and base64");
}

/** @throws GriceError `integrity`; `unsupported` without digests. */
export async function checkIntegrity(what: string, bytes: Uint8Array<ArrayBuffer>, expected: string): Promise<void> {
  const found = await sha256(bytes);
  if (found === undefined) {
    throw new GriceError("unsupported", "`integrity` can be checked only on HTTPS or localhost: there is no crypto.subtle here");
  }
  if (found !== expected) throw new GriceError("integrity", `${what}: its SHA-256 is ${found}, not ${expected}`);
}
