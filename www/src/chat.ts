// The conversation as data: messages, the draft, and the model's turn for each.

export type Speaker = "ada" | "ben";
export const SPEAKERS: Record<Speaker, { name: string; modelName: string }> = {
  // The names of speakers in the training data.
  ada: { name: "Ada", modelName: "agent_1" },
  ben: { name: "Ben", modelName: "agent_2" },
};

export interface Message {
  id: number;
  speaker: Speaker;
  text: string;
  evidence: string;
}

/** The subject of a verdict: a message by its number, the draft, or an edit. */
export type Subject = number | "draft" | "edit";

export interface Turn {
  context: { speaker: string; text: string }[];
  response: string;
  evidence?: string;
}

export class Chat {
  messages: Message[] = [];
  draft: Omit<Message, "id"> = { speaker: "ben", text: "", evidence: "" };
  /** The message that is being edited, and its current text. */
  edit: { id: number; text: string } | null = null;
  #next = 1;

  /** Starts over. */
  reset(messages: { speaker: Speaker; text: string }[], draft: Omit<Message, "id">): void {
    this.messages = messages.map((message) => ({ evidence: "", ...message, id: this.#next++ }));
    this.draft = { ...draft };
    this.edit = null;
  }

  /** The draft becomes a message, and the other speaker is next. */
  send(): Message {
    const message = { ...this.draft, text: this.draft.text.trim(), id: this.#next++ };
    this.messages.push(message);
    this.draft = { speaker: message.speaker === "ada" ? "ben" : "ada", text: "", evidence: "" };
    return message;
  }

  /** The edit replaces the message, unless it is empty; returns the number. */
  save(): number | undefined {
    const { edit } = this;
    const message = this.messages.find(({ id }) => id === edit?.id);
    if (edit && message && edit.text.trim() !== "") message.text = edit.text.trim();
    this.edit = null;
    return message?.id;
  }

  remove(id: number): void {
    this.messages = this.messages.filter((message) => message.id !== id);
    if (this.edit?.id === id) this.edit = null;
  }

  find(subject: Subject): Omit<Message, "id"> | undefined {
    if (subject === "draft") return this.draft;
    const id = subject === "edit" ? this.edit?.id : subject;
    const message = this.messages.find((message) => message.id === id);
    return message && subject === "edit" ? { ...message, text: this.edit?.text ?? "" } : message;
  }

  /** The number of a subject's message in the chat, from 1; the draft comes after all others. */
  place(subject: Subject): number {
    if (subject === "draft") return this.messages.length + 1;
    const id = subject === "edit" ? this.edit?.id : subject;
    return 1 + this.messages.findIndex((message) => message.id === id);
  }

  /** The turn of a subject in the current chat; `undefined` without text. */
  turn(subject: Subject): Turn | undefined {
    const message = this.find(subject);
    const response = message?.text.trim();
    if (!message || !response) return undefined;
    const before = this.messages.slice(0, this.place(subject) - 1);
    const context = before.map((said) => ({ speaker: SPEAKERS[said.speaker].modelName, text: said.text }));
    const evidence = message.evidence.trim();
    return evidence ? { context, response, evidence } : { context, response };
  }
}
