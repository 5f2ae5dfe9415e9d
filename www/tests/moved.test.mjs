// Which words are shown, and where.

import assert from "node:assert/strict";
import { test } from "node:test";
import { importSource } from "./sources.mjs";

const { markMoved, nameMoved } = await importSource("moved");

const turn = { context: [], response: "It opened in 1962 🙂 there.", evidence: "It opened in 1937." };
const word = (field, start, end, change) => ({ field, start, end, word: turn[field].slice(start, end), change });
const quality = [word("response", 13, 17, -0.5), word("evidence", 13, 17, 0.06), word("response", 3, 9, -0.02), word("response", 21, 26, 0.01)];
const explanation = { words: { quantity: [], quality, relation: [], manner: [] }, tried: 9, of: 9 };

test("words that matter are named with what would be without them", () => {
  assert.equal(nameMoved(explanation, "quality", 0.9), "Without “1962”: 40 %. Without “1937”: 96 %. Without “opened”: 88 %.");
  assert.equal(nameMoved(explanation, "manner", 0.9), "");
});

test("texts keep every character, and only words that matter are marked", () => {
  const texts = markMoved(explanation, "quality", turn);
  assert.deepEqual(texts.map(({ title }) => title), ["Message", "Evidence"]);
  assert.deepEqual(texts.map(({ parts }) => parts.map(({ text }) => text).join("")), [turn.response, turn.evidence]);
  assert.deepEqual(texts[0].parts.filter(({ mark }) => mark), [{ text: "opened", mark: "for" }, { text: "1962", mark: "for" }]);
  assert.deepEqual(texts[1].parts, [{ text: "It opened in ", mark: null }, { text: "1937", mark: "against" }, { text: ".", mark: null }]);
});

test("texts without such a word are not shown", () => {
  assert.deepEqual(markMoved(explanation, "manner", turn), []);
});
