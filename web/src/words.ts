// The words of a text, by the same rule as `crates/core/src/text/words.rs`; `crates/testkit/fixtures/words.json` holds both to it.

const UNSPACED = "\\u{3040}-\\u{30FF}\\u{3400}-\\u{4DBF}\\u{4E00}-\\u{9FFF}\\u{F900}-\\u{FAFF}\\u{20000}-\\u{3FFFF}";
const LETTERS = `(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}_])+`;
const WORD = new RegExp(`\\p{Nd}+(?:[.,:]\\p{Nd}+)+|[${UNSPACED}]\\p{M}*|${LETTERS}(?:['’.·]${LETTERS})*`, "gu");
const SPACE_AT_END = /\p{White_Space}+$/u;
const SPACE_AT_START = /^\p{White_Space}+/u;
/** Nothing, a space, or a mark that stands without a space before it. */
const APART = /^(?:$|\p{White_Space}|[.,;:!?)\]}”’])/u;

/** Where a word stands, in UTF-16 units as in `slice`. */
export interface Place {
  start: number;
  end: number;
}

/** Where the words of a text stand, in order. */
export function words(text: string): Place[] {
  return Array.from(text.matchAll(WORD), ({ index, 0: word }) => ({ start: index, end: index + word.length }));
}

/** A text without a word, and without the space that only parted it from another. */
export function without(text: string, { start, end }: Place): string {
  const before = text.slice(0, start);
  const after = text.slice(end);
  const kept = before.replace(SPACE_AT_END, "");
  if (kept === "") return before + after.replace(SPACE_AT_START, "");
  return (APART.test(after) ? kept : before) + after;
}
