// The four maxims: their names, and the page's sentences for probabilities.

export const MAXIMS = ["quantity", "quality", "relation", "manner"] as const;
export type Maxim = (typeof MAXIMS)[number];
export type PerMaxim<T> = Record<Maxim, T>;

/** The model's certainty, relative to its threshold. */
export type Level = "clear" | "unlikely" | "just-under" | "just-over" | "likely" | "strong";

/** The inputs of the wording besides the probability. */
export interface Occasion {
  response: string;
  hasEvidence: boolean;
}

export const PRIMER: PerMaxim<{ title: string; text: string }> = {
  quantity: { title: "Quantity", text: "Say as much as is asked for, and no more." },
  quality: { title: "Quality", text: "Say what is true, and what you have grounds for." },
  relation: { title: "Relation", text: "Say what matters here." },
  manner: { title: "Manner", text: "Be clear, brief and in order." },
};

/** A fifth of the way from the threshold to either end counts as borderline, four fifths as settled. */
export function gradeProbability(probability: number, threshold: number): Level {
  const over = probability > threshold;
  const room = over ? 1 - threshold : threshold;
  const distance = Math.abs(probability - threshold) / room;
  if (distance < 0.2) return over ? "just-over" : "just-under";
  if (distance < 0.8) return over ? "likely" : "unlikely";
  return over ? "strong" : "clear";
}

/** One plain sentence. The model does not say whether quantity is too low or too high, so this uses the length of the response. */
export function giveReason(maxim: Maxim, level: Level, occasion: Occasion): string {
  if (level === "clear") return FINE[maxim].is;
  if (level === "unlikely") return FINE[maxim].isProbably;
  const fault = nameFault(maxim, occasion);
  switch (level) {
    case "strong":
      return `${capitalise(fault.is)}.`;
    case "likely":
      return `Probably ${fault.is}.`;
    case "just-over":
      return `Borderline: may ${fault.may}.`;
    case "just-under":
      return `Borderline, but passes: could ${fault.may}.`;
  }
}

/** The verdict in a few words. */
export function sumUp(violations: PerMaxim<boolean>): string {
  const broken = MAXIMS.filter((maxim) => violations[maxim]);
  if (broken.length === 0) return "Cooperative";
  const last = broken.at(-1);
  return `Breaks ${broken.length === 1 ? last : `${broken.slice(0, -1).join(", ")} and ${last}`}`;
}

/** A readable probability: never 0 % or 100 %, because a model is never certain. */
export function showPercent(probability: number): string {
  if (probability < 0.01) return "<1 %";
  if (probability > 0.99) return ">99 %";
  return `${Math.round(probability * 100)} %`;
}

const FINE: PerMaxim<{ is: string; isProbably: string }> = {
  quantity: { is: "Says about as much as is called for.", isProbably: "Probably says as much as is called for." },
  quality: { is: "Nothing in it looks made up.", isProbably: "Probably nothing in it is made up." },
  relation: { is: "Stays with what was said before.", isProbably: "Probably stays with what was said before." },
  manner: { is: "Clear and in order.", isProbably: "Probably clear enough." },
};

const FEW_WORDS = 8;
const MANY_WORDS = 25;

function nameFault(maxim: Maxim, { response, hasEvidence }: Occasion): { is: string; may: string } {
  switch (maxim) {
    case "quantity": {
      const words = response.split(/\s+/u).filter(Boolean).length;
      if (words <= FEW_WORDS) return { is: "says less than was asked for", may: "say less than was asked for" };
      if (words >= MANY_WORDS) return { is: "says more than was asked for", may: "say more than was asked for" };
      return { is: "says more or less than was asked for", may: "say more or less than was asked for" };
    }
    case "quality":
      return hasEvidence
        ? { is: "at odds with the evidence, or goes beyond it", may: "be at odds with the evidence" }
        : { is: "claims something that nothing here supports", may: "claim something that nothing here supports" };
    case "relation":
      return { is: "strays from what was said before", may: "stray from what was said before" };
    case "manner":
      return { is: "hard to follow: vague, tangled or out of order", may: "be hard to follow" };
  }
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
