// What the page makes of the model's answer.

import assert from "node:assert/strict";
import { test } from "node:test";
import { importSource } from "./sources.mjs";

const { rule } = await importSource("ruling");

test("relation does not apply to what opens a chat, and to everything else it does", () => {
  const check = (context, violated, { isCooperative, inapplicable }) => {
    const violations = { quantity: false, quality: false, relation: false, manner: false, ...violated };
    const ruling = rule({ context, response: "Hello" }, { probabilities: {}, violations, truncated: false, cached: true });
    assert.equal(ruling.isCooperative, isCooperative);
    assert.equal(ruling.inapplicable, inapplicable);
    assert.equal(ruling.violations.relation, Boolean(violated.relation) && inapplicable === null);
    assert.equal(ruling.isCached, true);
  };
  const said = [{ speaker: "agent_1", text: "Hi" }];
  check([], { relation: true }, { isCooperative: true, inapplicable: "relation" });
  check([], { relation: true, manner: true }, { isCooperative: false, inapplicable: "relation" });
  check([], {}, { isCooperative: true, inapplicable: "relation" });
  check(said, { relation: true }, { isCooperative: false, inapplicable: null });
  check(said, {}, { isCooperative: true, inapplicable: null });
});

test("a message that the tokenizer mostly does not know is said to be unread", () => {
  const detection = { probabilities: {}, violations: {}, truncated: false, cached: false };
  const isUnread = (share) => rule({ context: [], response: "Привет" }, { ...detection, ...share }).isUnread;
  assert.deepEqual([{}, { unknown_share: 0.5 }, { unknown_share: 0.6 }].map(isUnread), [false, false, true]);
});
