// Sample dialogues. Each shows one property of the default model; `tests/samples.test.mjs` checks them.

import type { Message, Speaker } from "./chat.js";
import type { Maxim } from "./maxims.js";

export interface Sample {
  id: string;
  title: string;
  /** The maxim that the draft violates; `null` for a cooperative draft. */
  breaks: Maxim | null;
  chat: { speaker: Speaker; text: string }[];
  draft: Omit<Message, "id">;
}

export const SAMPLES: Sample[] = [
  {
    id: "cooperative",
    title: "A good answer",
    breaks: null,
    chat: [{ speaker: "ada", text: "Are you coming to the lake on Saturday?" }],
    draft: {
      speaker: "ben",
      text: "I’d love to, but I work until two. Could you pick me up after that?",
      evidence: "",
    },
  },
  {
    id: "quantity",
    title: "Says too little",
    breaks: "quantity",
    chat: [
      { speaker: "ada", text: "You saw the new Nolan film last night, didn’t you?" },
      { speaker: "ben", text: "I did!" },
      { speaker: "ada", text: "What did you think of the film?" },
    ],
    draft: { speaker: "ben", text: "It was fine.", evidence: "" },
  },
  {
    id: "quality",
    title: "Gets it wrong",
    breaks: "quality",
    chat: [{ speaker: "ada", text: "When did the bridge open?" }],
    draft: {
      speaker: "ben",
      text: "It opened in 1962.",
      evidence: "The bridge opened to traffic on May 27, 1937.",
    },
  },
  {
    id: "relation",
    title: "Off the subject",
    breaks: "relation",
    chat: [{ speaker: "ada", text: "How was the job interview?" }],
    draft: { speaker: "ben", text: "My cat sleeps on the radiator all winter.", evidence: "" },
  },
  {
    id: "manner",
    title: "Hard to follow",
    breaks: "manner",
    chat: [{ speaker: "ada", text: "What happened between Tom and his landlord?" }],
    draft: {
      speaker: "ben",
      text: "He told him that he owed him for it, and then he said that it was his and not his.",
      evidence: "",
    },
  },
];
