// A text on its way: its pieces as they come, and its end.

import { errorOf, GriceError } from "./errors.js";
import { onAbort } from "./signals.js";
import type { Maxim, News, Piece } from "./writer-options.js";

/** Starts a job. `tell` gets its news, `fail` the error that ends it. Returns what cancels it. */
export type Begin = (tell: (news: News) => void, fail: (error: unknown) => void) => () => void;

/**
 * A text that is written. `for await` gives its pieces as they come, `result` what came of it. Leaving the loop early ends the text: `result`
 * then rejects with an `AbortError`.
 */
export class Course<T> implements AsyncIterable<Piece> {
  /** The end of it. Rejects with a `GriceError`, or with the reason of the signal; pieces end with the same error. */
  readonly result: Promise<T>;
  readonly #pieces: Piece[] = [];
  /** Callers that wait for a piece or the end. */
  #waiting: (() => void)[] = [];
  #isOver = false;
  #stop: (reason: unknown) => void = () => {};

  /** @internal */
  constructor(begin: Begin, read: (news: News) => T | undefined, signal: AbortSignal | undefined) {
    this.result = new Promise<T>((resolve, reject) => {
      let forget = () => {};
      const end = (settle: () => void) => {
        if (this.#isOver) return;
        this.#isOver = true;
        forget();
        settle();
        this.#wake();
      };
      const fail = (error: unknown) => end(() => reject(error));
      let cancel = () => {};
      this.#stop = (reason) => {
        if (this.#isOver) return;
        fail(reason);
        cancel();
      };
      forget = onAbort(signal, (reason) => this.#stop(reason));
      if (this.#isOver) return;
      cancel = begin((news) => {
        if (this.#isOver) return;
        if ("failed" in news) return fail(errorOf(news.failed));
        const found = read(news);
        if (found !== undefined) end(() => resolve(found));
        else this.#take(news);
      }, fail);
    });
    // Whoever reads pieces only hears the error there.
    this.result.catch(() => {});
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, undefined> {
    let place = 0;
    try {
      for (;;) {
        const piece = this.#pieces[place];
        if (piece) {
          place += 1;
          yield piece;
        } else if (this.#isOver) {
          await this.result;
          return;
        } else {
          await new Promise<void>((resolve) => this.#waiting.push(resolve));
        }
      }
    } finally {
      // Left early; after the end this does nothing.
      this.#stop(new DOMException("the text was left before its end", "AbortError"));
    }
  }

  #draft = -1;
  #maxim: Maxim | undefined;

  #take(news: News): void {
    if ("draft" in news) {
      this.#draft += 1;
      this.#maxim = news.draft.maxim;
    } else if ("piece" in news) {
      this.#pieces.push({ text: news.piece, draft: Math.max(this.#draft, 0), maxim: this.#maxim });
      this.#wake();
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** A job that fails before it begins. */
export function refused(error: unknown): Begin {
  return (_tell, fail) => {
    fail(error instanceof GriceError ? error : new GriceError("bad_input", String(error)));
    return () => {};
  };
}
