// Bundles in the browser's Cache API, each with its digest: damaged entries are not returned.

import { GriceError, messageOf } from "./errors.js";
import { sha256 } from "./integrity.js";
import type { ModelCacheOutcome } from "./options.js";

const NAME = "grice-models-1";
const DIGEST = "X-Grice-Sha256";

/** The cache, or `undefined` if there is none: pages without a secure context or an origin, blocked cookies, Node. */
export async function openModelCache(): Promise<ModelCache | undefined> {
  try {
    return globalThis.caches && globalThis.crypto?.subtle ? new ModelCache(await caches.open(NAME)) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Deletes every cached bundle.
 *
 * @throws GriceError `unsupported` if the browser denies this page its storage.
 */
export async function clearModelCache(): Promise<void> {
  try {
    await globalThis.caches?.delete(NAME);
  } catch (error) {
    throw new GriceError("unsupported", `the model cache cannot be reached from this page: ${messageOf(error)}`, { cause: error });
  }
}

export class ModelCache {
  readonly #cache: Cache;

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  /**
   * The bytes of a URL, if they are complete and have the SHA-256 `expected`, if given. A damaged entry, or another
   * version, is deleted.
   */
  async find(url: string, expected: string | undefined): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const entry = await this.#cache.match(url, { ignoreVary: true });
      if (!entry) return undefined;
      const bytes = new Uint8Array(await entry.arrayBuffer());
      const digest = await sha256(bytes);
      const isWhole = digest === entry.headers.get(DIGEST);
      if (isWhole && (expected === undefined || digest === expected)) return bytes;
      await this.#cache.delete(url);
    } catch {
      // Treat a cache that cannot be read as empty.
    }
    return undefined;
  }

  /** Deletes one bundle. */
  async drop(url: string): Promise<void> {
    await this.#cache.delete(url).catch(() => false);
  }

  /** Stores a bundle. If there is no space, deletes the other bundles, which can be fetched again. */
  async store(url: string, bytes: Uint8Array<ArrayBuffer>): Promise<ModelCacheOutcome> {
    try {
      const headers = { "Content-Type": "application/x-tar", [DIGEST]: (await sha256(bytes)) ?? "" };
      const put = () => this.#cache.put(url, new Response(bytes, { headers }));
      try {
        await put();
      } catch (error) {
        if (!isFull(error)) throw error;
        for (const other of await this.#cache.keys()) await this.#cache.delete(other);
        await put();
      }
      return "stored";
    } catch (error) {
      return isFull(error) ? "quota" : "unavailable";
    }
  }
}

/** Whether there is no space; deleting bundles does not help with other errors. */
function isFull(error: unknown): boolean {
  return (error as { name?: unknown } | null)?.name === "QuotaExceededError";
}
