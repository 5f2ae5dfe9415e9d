// The words that moved a verdict: which to show, in words, and as parts of the text they stand in.

import type { Explanation, MovingWord } from "grice/webgpu";
import type { Turn } from "./chat.js";
import { type Maxim, showPercent } from "./maxims.js";

/** Smaller changes of a probability are left out. */
const SHOWN_FROM = 0.02;
const MOST_NAMED = 3;

/** A part of a text; words that speak for the violation are underlined, words that speak against it dotted. */
export interface Part {
  text: string;
  mark: "for" | "against" | null;
}

/** A text with marks, and its name. */
export interface MarkedText {
  title: "Message" | "Evidence";
  parts: Part[];
}

/** The words of one maxim that are shown. */
function shownWords(explanation: Explanation, maxim: Maxim): MovingWord[] {
  return explanation.words[maxim].filter(({ change }) => Math.abs(change) >= SHOWN_FROM);
}

/** What the probability would be without the words that move it most; empty if no word does. */
export function nameMoved(explanation: Explanation, maxim: Maxim, probability: number): string {
  const named = shownWords(explanation, maxim).slice(0, MOST_NAMED);
  return named.map(({ word, change }) => `Without “${word}”: ${showPercent(probability + change)}.`).join(" ");
}

/** The message and the evidence, with the words that are shown; only texts that have some. */
export function markMoved(explanation: Explanation, maxim: Maxim, { response, evidence }: Turn): MarkedText[] {
  const words = shownWords(explanation, maxim);
  const texts = [["Message", "response", response], ["Evidence", "evidence", evidence ?? ""]] as const;
  return texts.flatMap(([title, field, text]) => {
    const inside = words.filter((word) => word.field === field).sort((a, b) => a.start - b.start);
    return inside.length > 0 ? [{ title, parts: split(text, inside) }] : [];
  });
}

function split(text: string, words: MovingWord[]): Part[] {
  const parts: Part[] = [];
  let done = 0;
  for (const { start, end, change } of words) {
    if (start > done) parts.push({ text: text.slice(done, start), mark: null });
    parts.push({ text: text.slice(start, end), mark: change < 0 ? "for" : "against" });
    done = end;
  }
  if (done < text.length) parts.push({ text: text.slice(done), mark: null });
  return parts;
}
