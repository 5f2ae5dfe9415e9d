// The words that moved a verdict most, found by leaving them out, as `crates/core/src/task/explain.rs` does it.

import { without, words, type Place } from "./words.js";
import type { Detection, PerMaxim, Turn } from "./wire.js";

const MAXIMS = ["quantity", "quality", "relation", "manner"] as const;
type Maxim = (typeof MAXIMS)[number];

/** How many further turns an explanation judges at most, unless `runsMax` says otherwise. */
export const EXPLAIN_RUNS = 96;
const MOST_WORDS = 10;

/** A word, and what it did to one maxim. */
export interface MovingWord {
  /** The field that it stands in. */
  field: "response" | "evidence" | "context";
  /** In a context that is a list: which of its texts, from 0. */
  utterance?: number;
  /** Where it begins in its text, in UTF-16 units, as in `slice`. */
  start: number;
  /** Where it ends; excluded. */
  end: number;
  /** The word. */
  word: string;
  /** The change of the maxim's probability when the word is left out: negative for a word that speaks for a violation. */
  change: number;
}

/** What moved a verdict. */
export interface Explanation {
  /** For each violated maxim the words that moved its probability most, the largest change first; at most 10, none without a change. */
  words: PerMaxim<MovingWord[]>;
  /** Number of words that were left out alone. */
  tried: number;
  /** Number of words that the model can have read. If it is above `tried`, the others were left out only in pieces, or not at all. */
  of: number;
}

/** A verdict with its explanation. */
export type ExplainedDetection = Detection & { explanation: Explanation };

type Word = Pick<MovingWord, "field" | "utterance"> & Place;

/** The probabilities of several turns; `undefined` for one that cannot be judged. */
export type JudgeAll = (turns: Turn[]) => Promise<(PerMaxim<number> | undefined)[]>;

/** Explains a verdict on a turn by a model that reads so many tokens, with so many further turns. */
export async function explain(turn: Turn, { probabilities, violations }: Detection, maxTokens: number, runsMax: number, judge: JudgeAll): Promise<Explanation> {
  const violated = MAXIMS.filter((maxim) => violations[maxim]);
  const all = violated.length > 0 ? place(turn, maxTokens) : [];
  const found: { word: Word; without: PerMaxim<number> }[] = [];
  let tried = 0;
  let runsLeft = runsMax;
  let open = all;
  for (;;) {
    const size = pieceSize(open.length, runsLeft);
    if (size === 0) break;
    const asked: Word[][] = [];
    for (let at = 0; at < open.length; at += size) asked.push(open.slice(at, at + size));
    runsLeft -= asked.length;
    const judged = await judge(asked.map((part) => leaveOut(turn, part)));
    const pieces: { part: Word[]; change: number }[] = [];
    asked.forEach((part, index) => {
      const without = judged[index];
      if (part.length > 1) {
        // What cannot be judged may hold anything.
        const change = without ? Math.max(...violated.map((maxim) => Math.abs(without[maxim] - probabilities[maxim]))) : Infinity;
        pieces.push({ part, change });
        return;
      }
      tried += 1;
      if (without) found.push(...part.map((word) => ({ word, without })));
    });
    open = pickWords(pieces, runsLeft);
  }
  const most = (maxim: Maxim): MovingWord[] => {
    if (!violated.includes(maxim)) return [];
    const changes = found.map(({ word, without }) => ({ ...word, word: textOf(turn, word).slice(word.start, word.end), change: without[maxim] - probabilities[maxim] }));
    return changes.filter(({ change }) => change !== 0).sort((a, b) => Math.abs(b.change) - Math.abs(a.change)).slice(0, MOST_WORDS);
  };
  const moved = { quantity: most("quantity"), quality: most("quality"), relation: most("relation"), manner: most("manner") };
  return { words: moved, tried, of: all.length };
}

/** Words to leave out together: one, or of too many words so many that half of the runs are enough; 0 to stop. */
function pieceSize(words: number, runsLeft: number): number {
  if (words === 0) return 0;
  if (words <= runsLeft) return 1;
  return runsLeft < 4 ? 0 : Math.ceil(words / Math.floor(runsLeft / 2));
}

/** The words of the pieces that moved the verdict most. */
function pickWords(pieces: { part: Word[]; change: number }[], runsLeft: number): Word[] {
  const open: Word[] = [];
  // Infinity minus itself is no number.
  for (const { part } of pieces.sort((a, b) => (a.change === b.change ? 0 : b.change - a.change))) {
    if (open.length > 0 && open.length + part.length > runsLeft) break;
    open.push(...part);
  }
  return open;
}

/** The words that a model of so many tokens can have read: the first ones of response and evidence, the last ones of the context. */
function place(turn: Turn, maxTokens: number): Word[] {
  const of = (field: Word["field"], text: string, utterance?: number): Word[] =>
    words(text).map((at) => ({ field, ...(utterance === undefined ? {} : { utterance }), ...at }));
  const { context } = turn;
  const before = Array.isArray(context) ? context.flatMap((said, at) => of("context", spoken(said), at)) : of("context", context ?? "");
  const first = [...of("response", turn.response).slice(0, maxTokens), ...of("evidence", turn.evidence ?? "").slice(0, maxTokens)];
  return [...first, ...before.slice(Math.max(0, before.length - maxTokens))];
}

function spoken(utterance: string | { text: string }): string {
  return typeof utterance === "string" ? utterance : utterance.text;
}

function textOf({ response, evidence, context }: Turn, { field, utterance }: Word): string {
  if (field === "response") return response;
  if (field === "evidence") return evidence ?? "";
  return Array.isArray(context) ? spoken(context[utterance ?? 0] ?? "") : (context ?? "");
}

/** The turn without some words, which come in order. */
function leaveOut(turn: Turn, part: Word[]): Turn {
  let left: Turn = { ...turn };
  // From the last one, so that the places of the others stay.
  for (const word of [...part].reverse()) {
    const text = without(textOf(left, word), word);
    if (word.field !== "context") {
      left = { ...left, [word.field]: text };
    } else if (Array.isArray(left.context)) {
      left = { ...left, context: left.context.map((said, at) => (at !== word.utterance ? said : typeof said === "string" ? text : { ...said, text })) };
    } else {
      left = { ...left, context: text };
    }
  }
  return left;
}
