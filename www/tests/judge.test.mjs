// The judge against a detector that answers when the test says so.

import assert from "node:assert/strict";
import { test } from "node:test";
import { importSource } from "./sources.mjs";

const { Judge } = await importSource("judge");
const { Chat } = await importSource("chat");

const probabilities = { quantity: 0, quality: 0, relation: 0, manner: 0 };
/** Longer than the pause after which typing counts as done. */
const LONG_MS = 200;

function setUp(messages = []) {
  const chat = new Chat();
  chat.reset(messages, { speaker: "ben", text: "", evidence: "" });
  const calls = [];
  const detector = {
    detect: (turn, { signal }) => new Promise((answer, refuse) => {
      calls.push({ turn, signal, answer: () => answer({ probabilities, violations: probabilities, truncated: false, cached: false }), refuse });
    }),
  };
  const heard = [];
  const judge = new Judge(chat, {
    judged: (subject, judgement) => heard.push([subject, judgement?.turn.response]),
    busy: (isBusy) => heard.push(isBusy ? "busy" : "idle"),
    failed: (error) => heard.push(["failed", error.message]),
  });
  judge.use(detector);
  const type = (text) => ((chat.draft.text = text), judge.type("draft"));
  return { chat, judge, calls, heard, type };
}

const pass = (ms = LONG_MS) => new Promise((resolve) => setTimeout(resolve, ms));

test("a pause ends typing: one question for many keys", async () => {
  const { calls, heard, type } = setUp();
  for (const text of ["H", "He", "Hel", "Hello"]) type(text);
  await pass();
  assert.deepEqual(calls.map(({ turn }) => turn.response), ["Hello"]);
  calls[0].answer();
  await pass(0);
  assert.deepEqual(heard.slice(-3), ["busy", ["draft", "Hello"], "idle"]);
});

test("an answer that comes after further typing is withdrawn, even if it comes last", async () => {
  const { calls, heard, type } = setUp();
  type("first");
  await pass();
  type("second");
  assert.ok(calls[0].signal.aborted, "the first question is cancelled");
  await pass();
  calls[1].answer();
  await pass(0);
  // A detector that does not heed the signal.
  calls[0].answer();
  await pass(0);
  assert.deepEqual(heard.filter((event) => Array.isArray(event)), [["draft", "second"]]);
});

test("an emptied field loses its verdict and asks nothing", async () => {
  const { calls, heard, type } = setUp();
  type("word");
  await pass();
  calls[0].answer();
  await pass(0);
  type("   ");
  await pass();
  assert.equal(calls.length, 1);
  assert.deepEqual(heard.at(-1), ["draft", undefined]);
});

test("messages are judged in between, each after what was said before it, and anew when that changes", async () => {
  const { chat, calls, judge, heard } = setUp([{ speaker: "ada", text: "Hungry?" }, { speaker: "ben", text: "Very." }]);
  const [first, second] = chat.messages;
  const done = judge.refresh();
  calls[0].answer();
  await pass(0);
  assert.deepEqual(calls[1].turn, { context: [{ speaker: "agent_1", text: "Hungry?" }], response: "Very." });
  calls[1].answer();
  await done;
  assert.deepEqual(heard, [[first.id, "Hungry?"], [second.id, "Very."]]);
  assert.ok(judge.look(second.id));
  first.text = "Tired?";
  assert.equal(judge.look(second.id), undefined, "a verdict in another chat is no verdict");
  void judge.refresh();
  await pass(0);
  assert.equal(calls[2].turn.response, "Tired?");
});

test("what is typed goes first: the others wait for it", async () => {
  const { calls, judge, type } = setUp([{ speaker: "ada", text: "Hungry?" }]);
  type("Very.");
  void judge.refresh();
  await pass();
  assert.deepEqual(calls.map(({ turn }) => turn.response), ["Very."]);
  calls[0].answer();
  await pass(0);
  assert.deepEqual(calls.map(({ turn }) => turn.response), ["Very.", "Hungry?"]);
});

test("a sent draft keeps its verdict", async () => {
  const { chat, calls, judge, type } = setUp();
  type("Hello there");
  await pass();
  calls[0].answer();
  await pass(0);
  const message = chat.send();
  judge.move("draft", message.id);
  assert.equal(judge.look(message.id)?.turn.response, "Hello there");
  await judge.refresh();
  assert.equal(calls.length, 1);
});

test("a failure is told, a cancelled one is not", async () => {
  const { calls, heard, judge, type } = setUp();
  type("one");
  await pass();
  type("two");
  calls[0].refuse(new Error("aborted"));
  await pass();
  calls[1].refuse(new Error("too long"));
  await pass(0);
  assert.deepEqual(heard.filter((event) => event[0] === "failed"), [["failed", "too long"]]);
  type("three");
  await pass();
  judge.stop();
  calls[2].refuse(new Error("gone"));
  await pass(0);
  assert.equal(heard.filter((event) => event[0] === "failed").length, 1);
});

test("evidence is part of the question, and only where there is some", async () => {
  const { chat, calls, type } = setUp();
  chat.draft.evidence = "  ";
  type("one");
  await pass();
  chat.draft.evidence = "It opened in 1937.";
  type("one");
  await pass();
  assert.deepEqual(calls.map(({ turn }) => turn), [
    { context: [], response: "one" },
    { context: [], response: "one", evidence: "It opened in 1937." },
  ]);
});

test("an edit is judged as it is typed, and the message as it stands keeps its own verdict", async () => {
  const { chat, calls, heard, judge } = setUp([{ speaker: "ada", text: "Hungry?" }, { speaker: "ben", text: "Very." }]);
  const [first, second] = chat.messages;
  const done = judge.refresh();
  calls[0].answer();
  await pass(0);
  calls[1].answer();
  await done;
  chat.edit = { id: first.id, text: "Tired?" };
  judge.type("edit");
  await pass();
  assert.deepEqual(calls[2].turn, { context: [], response: "Tired?" });
  calls[2].answer();
  await pass(0);
  assert.deepEqual(heard.filter(Array.isArray).at(-1), ["edit", "Tired?"]);
  assert.equal(judge.look(first.id)?.turn.response, "Hungry?");
  assert.equal(calls.length, 3, "nothing is judged anew before the edit is saved");
  assert.equal(chat.save(), first.id);
  judge.move("edit", first.id);
  assert.equal(judge.look(first.id)?.turn.response, "Tired?");
  void judge.refresh();
  await pass(0);
  assert.deepEqual(calls[3].turn, { context: [{ speaker: "agent_1", text: "Tired?" }], response: "Very." });
  assert.equal(judge.look(second.id), undefined);
});

test("a broken maxim is explained after a pause, once, and typing ends that", async () => {
  const chat = new Chat();
  chat.reset([], { speaker: "ben", text: "Yes.", evidence: "" });
  const calls = [];
  const detector = {
    detect: async () => ({ probabilities, violations: { ...probabilities, manner: true }, truncated: false, cached: false }),
    explain: (turn, { signal }) => new Promise((answer) => calls.push({ turn, signal, answer: () => answer({ explanation: turn.response }) })),
  };
  const explained = [];
  const judge = new Judge(chat, { judged: (subject) => void judge.explain(subject), explained: (subject) => explained.push(subject), busy: () => {}, failed: (error) => assert.fail(error) });
  judge.use(detector);
  const type = (text) => ((chat.draft.text = text), judge.type("draft"));
  type("first");
  await pass(250);
  void judge.explain("draft");
  assert.equal(calls.length, 0, "the pause is not over");
  await pass(400);
  assert.deepEqual(calls.map(({ turn }) => turn.response), ["first"]);
  type("second");
  assert.ok(calls[0].signal.aborted, "the first explanation is cancelled");
  // A detector that does not heed the signal.
  calls[0].answer();
  await pass(700);
  calls[1].answer();
  await pass(0);
  assert.deepEqual([explained, judge.look("draft").explanation], [["draft"], "second"]);
  await judge.explain("draft");
  assert.equal(calls.length, 2, "what is known is not asked again");
});
