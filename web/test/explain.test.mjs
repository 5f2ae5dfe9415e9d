// Explanations, in Node: what single requests say, and the words of the native build.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { createDetector } from "grice";
import { dist, packBundles, root } from "./support/fixtures.mjs";

const { words, without } = await import(pathToFileURL(path.join(dist, "words.js")).href);
const { explain } = await import(pathToFileURL(path.join(dist, "explain.js")).href);
const MAXIMS = ["quantity", "quality", "relation", "manner"];

let bundles;
let detector;
before(async () => {
  bundles = packBundles();
  detector = await createDetector({ model: bundles.bytes("embedded") });
});
after(async () => {
  await detector.dispose();
  bundles.remove();
});

test("words are those of the native build", () => {
  const cases = JSON.parse(readFileSync(path.join(root, "crates/testkit/fixtures/words.json"), "utf8"));
  assert.ok(cases.length >= 12);
  for (const { text, words: expected, without: left } of cases) {
    const found = words(text);
    const characters = (at) => Array.from(text.slice(0, at)).length;
    assert.deepEqual(found.map(({ start, end }) => [characters(start), characters(end)]), expected, text);
    assert.deepEqual(found.map((word) => without(text, word)), left, text);
  }
});

const TURNS = [
  { context: "What did you think of the film?", response: "Yes." },
  { context: [{ speaker: "agent_1", text: "Where did you go 🙂 last summer?" }, "And with whom?"], response: "The 1937 bridge 🙂 is red. I like cheese and so on." },
  { context: "When did it open?", evidence: "The bridge opened to traffic on 27 May 1937.", response: "It opened in 1950, when my aunt won the lottery." },
];

test("each number is the difference of two single requests, to the bit", async () => {
  let checked = 0;
  for (const turn of TURNS) {
    const { explanation, ...detection } = await detector.explain(turn);
    const plain = await detector.detect(turn, { cache: false });
    assert.deepEqual(detection.probabilities, plain.probabilities);
    assert.equal(explanation.tried, explanation.of);
    for (const maxim of MAXIMS) {
      const moved = explanation.words[maxim];
      assert.ok(moved.length <= 10 && (moved.length === 0 || plain.violations[maxim]));
      for (const [index, word] of moved.entries()) {
        const changed = structuredClone(turn);
        const cut = (text) => {
          assert.equal(text.slice(word.start, word.end), word.word);
          return without(text, word);
        };
        if (word.utterance === undefined) changed[word.field] = cut(changed[word.field]);
        else if (typeof changed.context[word.utterance] === "string") changed.context[word.utterance] = cut(changed.context[word.utterance]);
        else changed.context[word.utterance].text = cut(changed.context[word.utterance].text);
        const single = await detector.detect(changed, { cache: false });
        assert.equal(word.change, single.probabilities[maxim] - plain.probabilities[maxim]);
        assert.ok(index === 0 || Math.abs(moved[index - 1].change) >= Math.abs(word.change));
        checked += 1;
      }
    }
  }
  assert.ok(checked >= 10, String(checked));
});

test("a long turn stays within its runs, and the word that matters is found", async () => {
  const probabilities = { quantity: 0, quality: 0, relation: 0, manner: 0.75 };
  const detection = { probabilities, violations: { quantity: false, quality: false, relation: false, manner: true } };
  for (const [length, runsMax] of [[97, 96], [1000, 96], [5000, 96], [40, 16], [3, 2], [10, 1]]) {
    const texts = Array.from({ length }, (_, at) => (at === Math.floor((length * 2) / 3) ? "odd" : "plain"));
    let runs = 0;
    const judge = async (turns) => {
      runs += turns.length;
      return turns.map(({ response }) => (response === "" ? undefined : { ...probabilities, manner: response.includes("odd") ? 0.75 : 0.25 }));
    };
    const found = await explain({ response: texts.join(" ") }, detection, 8192, runsMax, judge);
    assert.ok(runs <= runsMax, `${runs} of ${runsMax} runs for ${length} words`);
    assert.equal(found.of, length);
    if (runsMax >= 16) assert.deepEqual([found.words.manner[0].word, found.words.manner[0].change], ["odd", -0.5]);
  }
});

test("the only word of a response has no number, and wrong options are errors", async () => {
  const { explanation } = await detector.explain({ response: "Yes" }, { thresholds: { quantity: 0, quality: 0, relation: 0, manner: 0 } });
  assert.deepEqual([explanation.tried, explanation.words.quantity], [1, []]);
  for (const runsMax of [0, 1.5, "many"]) await assert.rejects(detector.explain(TURNS[0], { runsMax }), { code: "bad_input" });
  await assert.rejects(detector.explain({ response: "" }), { code: "bad_input" });
  await assert.rejects(detector.explain(TURNS[0], { signal: AbortSignal.abort() }), { name: "AbortError" });
});
