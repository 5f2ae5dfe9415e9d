// What the page says of a probability.

import assert from "node:assert/strict";
import { test } from "node:test";
import { importSource } from "./sources.mjs";

const { giveReason, gradeProbability, showPercent, sumUp } = await importSource("maxims");

test("levels follow the distance from the threshold, wherever that lies", () => {
  const check = (probability, threshold, level) => assert.equal(gradeProbability(probability, threshold), level, `${probability} at ${threshold}`);
  check(0, 0.5, "clear");
  check(0.1, 0.5, "clear");
  check(0.3, 0.5, "unlikely");
  check(0.45, 0.5, "just-under");
  check(0.5, 0.5, "just-under");
  check(0.5001, 0.5, "just-over");
  check(0.59, 0.5, "just-over");
  check(0.75, 0.5, "likely");
  check(0.95, 0.5, "strong");
  check(1, 0.5, "strong");
  // A strict model: half is well below.
  check(0.5, 0.9, "unlikely");
  check(0.95, 0.9, "likely");
  check(0.905, 0.9, "just-over");
  check(0.89, 0.9, "just-under");
});

test("a reason says how sure the model is, and which way by what there is to see", () => {
  const short = { response: "Yes.", hasEvidence: false };
  const long = { response: "word ".repeat(40), hasEvidence: false };
  const middling = { response: "word ".repeat(15), hasEvidence: true };
  const check = (maxim, level, occasion, pattern) => assert.match(giveReason(maxim, level, occasion), pattern);
  check("quantity", "strong", short, /^Says less than was asked for\.$/);
  check("quantity", "strong", long, /^Says more than was asked for\.$/);
  check("quantity", "likely", middling, /^Probably says more or less than/);
  check("quantity", "just-over", short, /^Borderline: may say less/);
  check("quantity", "just-under", short, /^Borderline, but passes/);
  check("quantity", "unlikely", short, /^Probably says as much as/);
  check("quantity", "clear", short, /as much as is called for/);
  check("quality", "strong", short, /nothing here supports/);
  check("quality", "strong", middling, /evidence/);
  check("relation", "likely", short, /^Probably strays/);
  check("manner", "strong", short, /^Hard to follow/);
});

test("every level of every maxim is a sentence, and no two of a maxim are alike", () => {
  const levels = ["clear", "unlikely", "just-under", "just-over", "likely", "strong"];
  for (const maxim of ["quantity", "quality", "relation", "manner"]) {
    const reasons = levels.map((level) => giveReason(maxim, level, { response: "So so.", hasEvidence: false }));
    assert.equal(new Set(reasons).size, levels.length, reasons.join("\n"));
    for (const reason of reasons) assert.match(reason, /^[A-Z].*\.$/);
  }
});

test("a verdict is summed up in a few words", () => {
  const check = (broken, text) => {
    const violations = Object.fromEntries(["quantity", "quality", "relation", "manner"].map((maxim) => [maxim, broken.includes(maxim)]));
    assert.equal(sumUp(violations), text);
  };
  check([], "Cooperative");
  check(["manner"], "Breaks manner");
  check(["quantity", "manner"], "Breaks quantity and manner");
  check(["quantity", "quality", "relation", "manner"], "Breaks quantity, quality, relation and manner");
});

test("no probability is shown as certain", () => {
  const check = (probability, text) => assert.equal(showPercent(probability), text);
  check(0, "<1 %");
  check(0.0099, "<1 %");
  check(0.01, "1 %");
  check(0.504, "50 %");
  check(0.99, "99 %");
  check(1, ">99 %");
});
