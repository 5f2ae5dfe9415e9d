// The verdict card: loading, an error, or the verdict on one message, maxim by maxim.

import type { Detector } from "grice/webgpu";
import { find, make, makeIcon, write } from "./dom.js";
import type { Judgement } from "./judge.js";
import type { Loaded } from "./loading.js";
import { type MarkedText, markMoved, nameMoved } from "./moved.js";
import { MAXIMS, type Maxim, type Occasion, type PerMaxim, PRIMER, giveReason, gradeProbability, showPercent, sumUp } from "./maxims.js";
import type { Ruling } from "./ruling.js";

/** The pause before a verdict is read out, so that it is not read after every key. */
const SPOKEN_AFTER_MS = 900;

export interface Trouble {
  title: string;
  text: string;
  code: string;
  canRetry: boolean;
}

export class VerdictCard {
  #rows = {} as PerMaxim<{ row: HTMLElement; percent: HTMLElement; bar: HTMLElement; reason: HTMLElement; moved: HTMLElement }>;
  #thresholds: PerMaxim<number> = { quantity: 0.5, quality: 0.5, relation: 0.5, manner: 0.5 };
  #speaking: ReturnType<typeof setTimeout> | undefined;

  constructor(retry: () => void) {
    find("maxims").append(...MAXIMS.map((maxim) => this.#makeRow(maxim)));
    find("retry").addEventListener("click", retry);
  }

  showStarting(): void {
    this.#setState("loading");
    find<HTMLProgressElement>("progress").removeAttribute("value");
    write(find("loading-what"), "Loading the model");
    write(find("loading-bytes"), "Starting …");
  }

  showLoading({ phase, loaded, total, isKept }: Loaded): void {
    this.#setState("loading");
    const progress = find<HTMLProgressElement>("progress");
    if (phase === "fetch") {
      progress.max = total;
      progress.value = Math.min(loaded, total);
      const where = isKept ? "kept in this browser since the last visit" : "fetched once, then kept in this browser";
      write(find("loading-bytes"), `${megabytes(Math.min(loaded, total))} of ${megabytes(total)} MB, ${where}`);
    } else {
      progress.removeAttribute("value");
      write(find("loading-bytes"), "Unpacking the model …");
    }
    write(find("loading-what"), phase === "fetch" ? "Loading the model" : "Preparing the model");
  }

  showTrouble(trouble: Trouble): void {
    write(find("trouble-title"), trouble.title);
    write(find("trouble-text"), trouble.text);
    write(find("trouble-code"), trouble.code ? `Code: ${trouble.code}` : "");
    find("retry").hidden = !trouble.canRetry;
    this.#setState("trouble");
  }

  showReady(info: Detector["info"]): void {
    this.#thresholds = info.thresholds;
    for (const maxim of MAXIMS) this.#rows[maxim].bar.style.setProperty("--threshold", String(this.#thresholds[maxim]));
    this.#setState("ready");
    this.#say("The model is ready.");
  }

  /** Verdicts come again. */
  recover(): void {
    if (find("verdict").dataset["state"] === "trouble") this.#setState("ready");
  }

  /** Sets the message that the verdict is about. */
  showAbout(text: string): void {
    write(find("about"), text);
  }

  showBusy(isBusy: boolean): void {
    find("verdict").toggleAttribute("data-busy", isBusy);
  }

  /** `isDraft`: also shows the summary next to the field, for when the card is not visible. */
  show(judgement: Judgement | undefined, isDraft: boolean): void {
    const headline = find("headline");
    if (!judgement || !isDraft) this.#giveGist("", "none");
    if (!judgement) {
      headline.dataset["ruling"] = "none";
      write(find("headline-text"), "Write a message");
      find("headline-icon").setAttribute("href", "#i-waiting");
      for (const maxim of MAXIMS) this.#clearRow(maxim);
      return;
    }
    const { ruling, turn } = judgement;
    const kind = ruling.isCooperative ? "good" : "broken";
    headline.dataset["ruling"] = kind;
    if (isDraft) this.#giveGist(sumUp(ruling.violations), kind);
    find("headline-icon").setAttribute("href", `#i-${kind}`);
    write(find("headline-text"), sumUp(ruling.violations));
    const occasion = { response: turn.response, hasEvidence: turn.evidence !== undefined };
    const reasons = MAXIMS.map((maxim) => this.#fillRow(maxim, ruling, occasion));
    for (const maxim of MAXIMS) this.#showMoved(maxim, judgement);
    write(find("fine-print"), ruling.isUnread ? UNREAD : ruling.isTruncated ? TRUNCATED : FINE_PRINT);
    const broken = reasons.filter((_, index) => ruling.violations[MAXIMS[index] as Maxim]);
    this.#say([sumUp(ruling.violations), ...broken].join(". "));
  }

  #giveGist(text: string, kind: "good" | "broken" | "none"): void {
    if (find("verdict").dataset["state"] !== "ready") return;
    find("gist").dataset["ruling"] = kind;
    write(find("gist"), text);
  }

  #setState(state: "loading" | "trouble" | "ready"): void {
    find("verdict").dataset["state"] = state;
    find("loading").hidden = state !== "loading";
    find("trouble").hidden = state !== "trouble";
    // While the model loads, the maxims show their descriptions.
    find("ruling").hidden = state === "trouble";
    find("headline").hidden = state !== "ready";
    if (state === "ready") return;
    for (const maxim of MAXIMS) this.#clearRow(maxim);
    find("gist").dataset["ruling"] = "none";
    write(find("gist"), state === "loading" ? "The model is loading" : "Not judged: see below");
  }

  #makeRow(maxim: Maxim): HTMLElement {
    const percent = make("span", { className: "percent" }, "–");
    const bar = make("span", { className: "probability", "aria-hidden": "true" });
    const reason = make("p", { className: "reason" });
    const moved = make("div", { className: "moved", hidden: true });
    const name = make("span", { className: "name" }, makeIcon(maxim), PRIMER[maxim].title);
    const row = make("li", { className: "maxim" }, make("p", { className: "line" }, name, percent), bar, reason, moved);
    row.dataset["maxim"] = maxim;
    this.#rows[maxim] = { row, percent, bar, reason, moved };
    return row;
  }

  #fillRow(maxim: Maxim, ruling: Ruling, occasion: Occasion): string {
    if (ruling.inapplicable === maxim) {
      this.#clearRow(maxim);
      write(this.#rows[maxim].reason, "Nothing came before it.");
      return "";
    }
    const { row, percent, bar, reason } = this.#rows[maxim];
    const probability = ruling.probabilities[maxim];
    const level = gradeProbability(probability, this.#thresholds[maxim]);
    const text = giveReason(maxim, level, occasion);
    row.dataset["level"] = level;
    row.dataset["violated"] = String(ruling.violations[maxim]);
    write(percent, showPercent(probability));
    bar.style.setProperty("--probability", String(probability));
    write(reason, text);
    return text;
  }

  /** The words that moved a violated maxim, named, and underlined in their texts. */
  #showMoved(maxim: Maxim, { ruling, turn, explanation }: Judgement): void {
    const { moved } = this.#rows[maxim];
    const named = explanation && ruling.violations[maxim] ? nameMoved(explanation, maxim, ruling.probabilities[maxim]) : "";
    moved.hidden = named === "";
    const texts = explanation && named ? markMoved(explanation, maxim, turn) : [];
    moved.replaceChildren(...texts.map(makeMarked), make("p", { className: "without" }, named));
  }

  #clearRow(maxim: Maxim): void {
    const { row, percent, bar, reason, moved } = this.#rows[maxim];
    moved.hidden = true;
    delete row.dataset["level"];
    row.dataset["violated"] = "false";
    write(percent, "–");
    bar.style.setProperty("--probability", "0");
    write(reason, PRIMER[maxim].text);
  }

  #say(text: string): void {
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => write(find("spoken"), text), SPOKEN_AFTER_MS);
  }
}

function makeMarked({ title, parts }: MarkedText): HTMLElement {
  const shown = parts.map(({ text, mark }) => (mark ? make("mark", { className: mark }, text) : text));
  return make("p", { className: "marked", dir: "auto" }, make("b", {}, `${title}: `), ...shown);
}

const FINE_PRINT = "The model’s guess, by wording and fit. It knows no facts beyond the chat and the evidence.";
const TRUNCATED = "The chat is longer than the model reads: its oldest part was cut. This is a guess.";
const UNREAD = "The model cannot read most of this message: it only knows English. The verdict means little.";

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
