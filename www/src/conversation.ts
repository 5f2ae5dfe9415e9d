// The conversation card: messages with their verdicts, editing, and the field for the next message.

import { type Chat, type Message, SPEAKERS, type Speaker, type Subject } from "./chat.js";
import { find, make, makeIcon, write } from "./dom.js";
import type { Judgement } from "./judge.js";
import { MAXIMS, PRIMER, sumUp } from "./maxims.js";

export interface Actions {
  /** The text of the draft or of the edited message has changed. */
  typed(subject: "draft" | "edit"): void;
  sent(): void;
  /** An edit has ended: saved or cancelled. */
  edited(id: number, isSaved: boolean): void;
  removed(): void;
  selected(subject: Subject): void;
}

export class Conversation {
  readonly #chat: Chat;
  readonly #actions: Actions;
  readonly #look: (subject: Subject) => Judgement | undefined;
  #selected: Subject = "draft";

  constructor(chat: Chat, look: (subject: Subject) => Judgement | undefined, actions: Actions) {
    this.#chat = chat;
    this.#look = look;
    this.#actions = actions;
    this.#wireComposer();
  }

  /** Renders the whole card. */
  draw(): void {
    const { draft, messages } = this.#chat;
    find("messages").replaceChildren(...messages.map((message) => this.#makeMessage(message)));
    find<HTMLTextAreaElement>("draft").value = draft.text;
    find<HTMLTextAreaElement>("evidence").value = draft.evidence;
    this.#showEvidence(draft.evidence !== "");
    for (const input of document.querySelectorAll<HTMLInputElement>("#speaker input")) input.checked = input.value === draft.speaker;
    fit(find<HTMLTextAreaElement>("draft"));
    fit(find<HTMLTextAreaElement>("evidence"));
  }

  /** Renders only the mark of one message. */
  mark(subject: Subject): void {
    if (typeof subject !== "number") return;
    const mark = document.querySelector<HTMLElement>(`#messages [data-id="${subject}"] .mark-button`);
    if (mark) this.#fillMark(mark, subject);
  }

  select(subject: Subject): void {
    this.#selected = subject;
    for (const item of document.querySelectorAll<HTMLElement>("#messages > li")) {
      const isSelected = item.dataset["id"] === String(subject === "edit" ? this.#chat.edit?.id : subject);
      item.toggleAttribute("data-selected", isSelected);
      item.querySelector(".mark-button")?.setAttribute("aria-pressed", String(isSelected));
    }
  }

  #wireComposer(): void {
    const draft = find<HTMLTextAreaElement>("draft");
    const evidence = find<HTMLTextAreaElement>("evidence");
    draft.addEventListener("input", () => {
      this.#chat.draft.text = draft.value;
      fit(draft);
      this.#actions.typed("draft");
    });
    evidence.addEventListener("input", () => {
      this.#chat.draft.evidence = evidence.value;
      fit(evidence);
      this.#actions.typed("draft");
    });
    draft.addEventListener("focus", () => this.#actions.selected("draft"));
    draft.addEventListener("keydown", (event) => this.#onKey(event));
    find("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    find("evidence-toggle").addEventListener("click", () => this.#toggleEvidence());
    find("speaker").append(...(Object.keys(SPEAKERS) as Speaker[]).map((speaker) => this.#makeSpeakerChoice(speaker)));
  }

  #onKey(event: KeyboardEvent): void {
    // While an input method composes a character, Enter belongs to it.
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    }
    const last = this.#chat.messages.at(-1);
    if (event.key === "ArrowUp" && this.#chat.draft.text === "" && last) {
      event.preventDefault();
      this.#edit(last.id);
    }
  }

  #send(): void {
    if (this.#chat.draft.text.trim() === "") {
      find("draft").focus();
      return;
    }
    this.#actions.sent();
    find("draft").focus();
    find("messages").lastElementChild?.scrollIntoView({ block: "nearest" });
  }

  #makeSpeakerChoice(speaker: Speaker): HTMLElement {
    const input = make("input", { type: "radio", name: "speaker", value: speaker });
    input.addEventListener("change", () => {
      this.#chat.draft.speaker = speaker;
      this.#actions.typed("draft");
    });
    return make("label", {}, input, make("span", {}, SPEAKERS[speaker].name));
  }

  #toggleEvidence(): void {
    const isOpen = find("evidence-field").hidden === true;
    this.#showEvidence(isOpen);
    if (isOpen) {
      find("evidence").focus();
    } else {
      this.#chat.draft.evidence = "";
      find<HTMLTextAreaElement>("evidence").value = "";
      this.#actions.typed("draft");
    }
  }

  #showEvidence(isOpen: boolean): void {
    find("evidence-field").hidden = !isOpen;
    find("evidence-toggle").setAttribute("aria-expanded", String(isOpen));
    write(find("evidence-toggle"), isOpen ? "Remove evidence" : "Add evidence");
  }

  #makeMessage(message: Message): HTMLElement {
    const isEditing = this.#chat.edit?.id === message.id;
    const { name } = SPEAKERS[message.speaker];
    const item = make("li", { className: `message ${message.speaker}` }, make("p", { className: "who" }, name));
    item.dataset["id"] = String(message.id);
    item.append(isEditing ? this.#makeEditor(message) : make("p", { className: "bubble", dir: "auto" }, message.text));
    if (message.evidence && !isEditing) item.append(make("p", { className: "backing" }, make("b", {}, "Evidence "), message.evidence));
    if (!isEditing) item.append(this.#makeFoot(message));
    item.toggleAttribute("data-selected", this.#selected === message.id);
    return item;
  }

  #makeFoot(message: Message): HTMLElement {
    const mark = make("button", { type: "button", className: "mark-button", "aria-pressed": String(this.#selected === message.id) });
    mark.addEventListener("click", () => this.#actions.selected(this.#selected === message.id ? "draft" : message.id));
    this.#fillMark(mark, message.id);
    const hear = shorten(message.text);
    const edit = make("button", { type: "button", className: "ghost small edit", "aria-label": `Edit “${hear}”` }, "Edit");
    const remove = make("button", { type: "button", className: "ghost small remove", "aria-label": `Delete “${hear}”` }, "Delete");
    edit.addEventListener("click", () => this.#edit(message.id));
    remove.addEventListener("click", () => this.#remove(message.id));
    // The mark is on the bubble's side.
    const parts = message.speaker === "ada" ? [mark, edit, remove] : [edit, remove, mark];
    return make("div", { className: "foot" }, ...parts);
  }

  #fillMark(mark: HTMLElement, id: number): void {
    const ruling = this.#look(id)?.ruling;
    if (!ruling) {
      mark.dataset["ruling"] = "none";
      mark.replaceChildren(makeIcon("waiting"), make("span", { className: "unseen" }, "Not judged yet"));
      return;
    }
    mark.dataset["ruling"] = ruling.isCooperative ? "good" : "broken";
    const broken = MAXIMS.filter((maxim) => ruling.violations[maxim]);
    const parts = broken.map((maxim) => {
      const part = make("span", { className: "broken" }, makeIcon(maxim), PRIMER[maxim].title);
      part.dataset["maxim"] = maxim;
      return part;
    });
    const said = make("span", { className: "unseen" }, `${sumUp(ruling.violations)}. Show the verdict`);
    const seen = make("span", { className: "seen", "aria-hidden": "true" }, ...(broken.length > 0 ? parts : [makeIcon("good"), "Cooperative"]));
    mark.replaceChildren(seen, said);
  }

  #makeEditor(message: Message): HTMLElement {
    const text = make("textarea", { className: "bubble", rows: 1, value: message.text, maxLength: 4000, "aria-label": `Message by ${SPEAKERS[message.speaker].name}` });
    const save = make("button", { type: "submit", className: "solid small" }, "Save");
    const cancel = make("button", { type: "button", className: "ghost small" }, "Cancel");
    const form = make("form", { className: "editor", "aria-label": "Edit a message" }, text, make("div", { className: "foot" }, save, cancel));
    text.addEventListener("input", () => {
      fit(text);
      this.#chat.edit = { id: message.id, text: text.value };
      this.#actions.typed("edit");
    });
    text.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") this.#endEdit(message.id, false);
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    cancel.addEventListener("click", () => this.#endEdit(message.id, false));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#endEdit(message.id, true);
    });
    queueMicrotask(() => {
      fit(text);
      text.focus();
    });
    return form;
  }

  #edit(id: number): void {
    this.#chat.edit = { id, text: this.#chat.find(id)?.text ?? "" };
    this.draw();
    this.#actions.typed("edit");
  }

  #endEdit(id: number, isSaved: boolean): void {
    this.#actions.edited(id, isSaved);
    document.querySelector<HTMLElement>(`#messages [data-id="${id}"] .edit`)?.focus();
  }

  #remove(id: number): void {
    const place = this.#chat.messages.findIndex((message) => message.id === id);
    this.#chat.remove(id);
    this.#actions.removed();
    // Focus the message that took the place, or the field.
    const next = document.querySelectorAll<HTMLElement>("#messages .remove")[place];
    (next ?? find("draft")).focus();
  }
}

/** Sets the height of the text. The content policy allows CSSOM, but not style attributes in markup. */
function fit(area: HTMLTextAreaElement): void {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}
