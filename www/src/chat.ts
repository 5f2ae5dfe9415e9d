// The conversation as data: messages, the one being written, and the turn that each makes for the model.

export type Speaker = "ada" | "ben";
export const SPEAKERS: Record<Speaker, { name: string; modelName: string }> = {
  // The model met speakers under these names.
  ada: { name: "Ada", modelName: "agent_1" },
  ben: { name: "Ben", modelName: "agent_2" },
};

export interface Message {
  id: number;
  speaker: Speaker;
  text: string;
  evidence: string;
}

/** What is judged: a message by its number, or the one that is being written. */
export type Subject = number | "draft";

export interface Turn {
  context: { speaker: string; text: string }[];
  response: string;
  evidence?: string;
}

export class Chat {
  messages: Message[] = [];
  draft: Omit<Message, "id"> = { speaker: "ben", text: "", evidence: "" };
  #next = 1;

  /** Starts over. */
  reset(messages: { speaker: Speaker; text: string }[], draft: Omit<Message, "id">): void {
    this.messages = messages.map((message) => ({ evidence: "", ...message, id: this.#next++ }));
    this.draft = { ...draft };
  }

  /** The draft becomes a message, and the other one speaks. */
  send(): Message {
    const message = { ...this.draft, text: this.draft.text.trim(), id: this.#next++ };
    this.messages.push(message);
    this.draft = { speaker: message.speaker === "ada" ? "ben" : "ada", text: "", evidence: "" };
    return message;
  }

  remove(id: number): void {
    this.messages = this.messages.filter((message) => message.id !== id);
  }

  find(subject: Subject): Omit<Message, "id"> | undefined {
    return subject === "draft" ? this.draft : this.messages.find((message) => message.id === subject);
  }

  /** The turn of a subject, in the chat as it stands; none while there is no text to judge. */
  turn(subject: Subject, text = this.find(subject)?.text): Turn | undefined {
    const message = this.find(subject);
    const response = text?.trim();
    if (!message || !response) return undefined;
    const before = subject === "draft" ? this.messages : this.messages.slice(0, this.#place(subject));
    const context = before.map((said) => ({ speaker: SPEAKERS[said.speaker].modelName, text: said.text }));
    const evidence = message.evidence.trim();
    return evidence ? { context, response, evidence } : { context, response };
  }

  #place(id: number): number {
    return this.messages.findIndex((message) => message.id === id);
  }
}
