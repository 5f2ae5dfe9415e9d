// Decides when turns are judged: typed text first, after a pause, skipping older versions; other messages in between.

import type { Detector, Explanation } from "grice/webgpu";
import type { Chat, Subject, Turn } from "./chat.js";
import { type Ruling, rule } from "./ruling.js";

/** Long enough to judge once per word, short enough to feel immediate. */
const PAUSE_MS = 120;
/** Runs of an explanation: fewer than the package's own number, because it follows the typing. */
const EXPLAIN_RUNS = 48;
/** After a verdict, so that an explanation does not begin between two words. */
const EXPLAIN_PAUSE_MS = 300;

export interface Judgement {
  /** The judged turn, to check whether the verdict is still valid. */
  turn: Turn;
  ruling: Ruling;
  /** Time from the call to its answer, by the page's clock. */
  wait_ms: number;
  /** What moved the verdict, once that is known. */
  explanation?: Explanation;
}

export interface Listener {
  /** The judgement of a subject changed or was removed. */
  judged(subject: Subject, judgement: Judgement | undefined): void;
  /** The explanation of a subject's judgement is there. */
  explained(subject: Subject): void;
  /** Whether typed text waits for its verdict has changed. */
  busy(isBusy: boolean): void;
  failed(error: unknown): void;
}

export class Judge {
  readonly #chat: Chat;
  readonly #listener: Listener;
  readonly #judgements = new Map<Subject, Judgement>();
  #detector: Detector | null = null;
  /** Ends with the detector. */
  #session = new AbortController();
  /** The running judgement of typed text. */
  #live: { timer: ReturnType<typeof setTimeout>; abort: AbortController } | null = null;
  #isRefreshing = false;
  /** The running explanation. */
  #explaining: { judgement: Judgement; abort: AbortController } | null = null;

  constructor(chat: Chat, listener: Listener) {
    this.#chat = chat;
    this.#listener = listener;
  }

  /** Sets the detector. */
  use(detector: Detector): void {
    this.stop();
    this.#detector = detector;
    this.#session = new AbortController();
    this.#judgements.clear();
  }

  /** Removes the detector and all waiting judgements. */
  stop(): void {
    this.#session.abort();
    this.#dropLive();
    this.#dropExplaining();
    this.#detector = null;
  }

  /** The judgement of a subject, if it is for the current text. */
  look(subject: Subject): Judgement | undefined {
    const judgement = this.#judgements.get(subject);
    const turn = this.#chat.turn(subject);
    return judgement && turn && sameTurn(judgement.turn, turn) ? judgement : undefined;
  }

  /** The last judgement of a subject, also for an older text: it stays visible until the new one arrives. */
  lookBack(subject: Subject): Judgement | undefined {
    return this.#judgements.get(subject);
  }

  /** Moves a judgement: a sent draft and a saved edit keep their verdicts. */
  move(from: Subject, to: Subject): void {
    const judgement = this.#judgements.get(from);
    this.#judgements.delete(from);
    if (judgement) this.#judgements.set(to, judgement);
  }

  forget(subject: Subject): void {
    this.#judgements.delete(subject);
  }

  /** Judges typed text after a pause, and replaces a waiting older version. */
  type(subject: Subject): void {
    this.#dropLive();
    this.#dropExplaining();
    if (!this.#detector) return;
    const turn = this.#chat.turn(subject);
    if (!turn) {
      this.#judgements.delete(subject);
      this.#listener.judged(subject, undefined);
      return;
    }
    const known = this.look(subject);
    if (known) {
      this.#listener.judged(subject, known);
      return;
    }
    const abort = new AbortController();
    const timer = setTimeout(() => void this.#judgeLive(subject, turn, abort), PAUSE_MS);
    this.#live = { timer, abort };
    this.#listener.busy(true);
  }

  /** Finds what moved the verdict on a subject, if that breaks a maxim. Typing ends it. */
  async explain(subject: Subject): Promise<void> {
    const judgement = this.look(subject);
    if (!this.#detector || !judgement || judgement.ruling.isCooperative || judgement.explanation || this.#explaining?.judgement === judgement) return;
    this.#dropExplaining();
    const abort = new AbortController();
    this.#explaining = { judgement, abort };
    try {
      await new Promise((resolve) => setTimeout(resolve, EXPLAIN_PAUSE_MS));
      if (abort.signal.aborted || !this.#detector) return;
      const { explanation } = await this.#detector.explain(judgement.turn, { signal: abort.signal, runsMax: EXPLAIN_RUNS });
      if (abort.signal.aborted) return;
      judgement.explanation = explanation;
      this.#listener.explained(subject);
    } catch (error) {
      // The verdict stays as it is: a detector that fails says so at the next one.
      if (!abort.signal.aborted) console.error(error);
    } finally {
      if (this.#explaining?.abort === abort) this.#explaining = null;
    }
  }

  /** Judges every message whose verdict is missing or outdated. */
  async refresh(): Promise<void> {
    if (this.#isRefreshing) return;
    this.#isRefreshing = true;
    try {
      for (let stale = this.#findStale(); stale && !this.#live; stale = this.#findStale()) {
        const turn = this.#chat.turn(stale);
        if (turn) await this.#judge(stale, turn, this.#session.signal);
      }
    } catch (error) {
      if (!this.#session.signal.aborted) this.#listener.failed(error);
    } finally {
      this.#isRefreshing = false;
    }
  }

  async #judgeLive(subject: Subject, turn: Turn, abort: AbortController): Promise<void> {
    try {
      await this.#judge(subject, turn, abort.signal);
    } catch (error) {
      if (!abort.signal.aborted) this.#listener.failed(error);
    }
    if (abort.signal.aborted) return;
    this.#live = null;
    this.#listener.busy(false);
    void this.refresh();
  }

  async #judge(subject: Subject, turn: Turn, signal: AbortSignal): Promise<void> {
    if (!this.#detector) return;
    const started = performance.now();
    const detection = await this.#detector.detect(turn, { signal });
    // Ignore an answer that arrives after its call was cancelled.
    if (signal.aborted) return;
    const judgement = { turn, ruling: rule(turn, detection), wait_ms: performance.now() - started };
    this.#judgements.set(subject, judgement);
    this.#listener.judged(subject, judgement);
  }

  #findStale(): number | undefined {
    if (!this.#detector) return undefined;
    return this.#chat.messages.find(({ id }) => !this.look(id))?.id;
  }

  #dropExplaining(): void {
    this.#explaining?.abort.abort();
    this.#explaining = null;
  }

  #dropLive(): void {
    if (!this.#live) return;
    clearTimeout(this.#live.timer);
    this.#live.abort.abort();
    this.#live = null;
    this.#listener.busy(false);
  }
}

function sameTurn(a: Turn, b: Turn): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
