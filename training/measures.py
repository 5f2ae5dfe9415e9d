"""Scores of a response that need no model, and the soft labels that they give."""
import math

STRIPPED = ".,!?;:\"'()"


def words(text):
    return [w for w in (part.strip(STRIPPED).lower() for part in text.split()) if w]


def absent_share(response, evidence):
    """The share of the response's words that the evidence lacks; 0 for a response without words."""
    known, said = set(words(evidence)), words(response)
    return sum(w not in known for w in said) / max(1, len(said))


def unsupported(response, evidence):
    """How likely raters of BEGIN, the audit and Q² find a response unsupported, by absent words alone (a logistic fit to their training rows)."""
    return sigmoid(5 * absent_share(response, evidence) - 1.9)


def excess(response, context):
    """The logarithm of the response's length over what was asked for: 20 words, and half a word for each of the context."""
    return math.log(max(1, len(response.split())) / (20 + 0.5 * len(context.split())))


def wrong_length(response, context, least=0.45):
    """How likely a response says too much or too little, by its length alone; at most `least` for the shortest, as a short reply in a chat is never clearly too short."""
    off = excess(response, context)
    return max(0.03, sigmoid(3 * (off - 0.9)), least * sigmoid(1.6 * (-off - 2.2)))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))
