"""Generators of violations: one module per maxim, each function named and filed under its violation type."""
from . import cooperative, manner, quality, quantity, relation
from .common import Chooser, Turn

MAXIMS = ("quantity", "quality", "relation", "manner")
MIMIC = {**quantity.MIMIC, **quality.MIMIC, **relation.MIMIC, **manner.MIMIC}
NATURAL = {**quantity.NATURAL, **quality.NATURAL, **relation.NATURAL, **manner.NATURAL}
TYPES = tuple(MIMIC)
# Pairs that come together in GriceBench first; the order is the order of application.
MULTI = [
    ("quality_unsupported", "quantity_over"), ("quality_unsupported", "quantity_over"), ("quantity_over", "manner_ambiguous"),
    ("quantity_over", "manner_ambiguous"), ("quantity_over", "manner_runon"), ("quantity_over", "manner_shuffled"),
    ("quantity_over", "manner_jargon"), ("quality_unsupported", "manner_ambiguous"), ("quality_contradiction", "manner_runon"),
    ("quality_unsupported", "manner_jargon"), ("relation_off_topic", "quantity_over"), ("relation_off_topic", "quality_unsupported"),
    ("relation_off_topic", "manner_ambiguous"), ("quality_contradiction", "quantity_over"), ("relation_drift", "quality_unsupported"),
]


def labels_of(violation_type, parts=()):
    """The four labels of a violation type; for two at once give the parts."""
    kinds = parts or (violation_type,)
    return [int(any(kind.startswith(maxim) for kind in kinds)) for maxim in MAXIMS]


def violate(rng, turn, violation_type, style=None):
    """A turn with this violation: `(context, response, evidence, function name, right response)`, or None where it does not fit.

    `style` is "mimic", "natural" or None for a draw between them.
    """
    share = 0.75 if violation_type == "manner_shuffled" else 0.62
    table = MIMIC if (style or ("mimic" if rng.chance(share) else "natural")) == "mimic" else NATURAL
    function = rng.choice(table[violation_type])
    made = function(rng, turn)
    if isinstance(made, tuple):
        context, response, evidence, right = (*made, "", "")[:4]
        return context, response, evidence, function.__name__, right
    if not made or made.strip() == turn.response.strip():
        return None
    return turn.context, made, turn.evidence, function.__name__, turn.response
