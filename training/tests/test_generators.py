"""The generators keep their promises: seeded, labelled, and never the same text as the turn they start from."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from generators import MIMIC, NATURAL, TYPES, Chooser, Turn, labels_of, quality, violate  # noqa: E402
from generators.everyday import everyday_turns  # noqa: E402

TURN = Turn(
    ("Did you watch the Star Wars movies in 1977?", "I did, with my brother in Boston. We saw them 3 times."),
    "Wow, that is a good way to use a weekend. Did you know George Lucas made many changes in 1997? I like the old ones. They are new to me.",
    "George Lucas was born in Modesto in 1944 and made 6 films.",
)


@pytest.mark.parametrize("kind", TYPES)
def test_every_function_changes_the_turn(kind):
    for table in (MIMIC, NATURAL):
        for function in table[kind]:
            made = [function(Chooser(seed), TURN) for seed in range(40)]
            texts = {m[1] if isinstance(m, tuple) else m for m in made if m}
            if function.__name__ in ("other_dialogue", "other_fact", "everything_at_once"):
                assert not texts  # they need a pool of dialogues
            else:
                assert texts and TURN.response not in texts


def test_same_seed_same_text():
    draw = lambda: [violate(Chooser(seed), TURN, kind) for seed in range(20) for kind in TYPES]
    assert draw() == draw()


def test_labels():
    assert labels_of("quality_unsupported") == [0, 1, 0, 0]
    assert labels_of("", ("quantity_over", "manner_runon")) == [1, 0, 0, 1]


def test_held_out_phrases_are_disjoint():
    bank = [str(i) for i in range(20)]
    seen = {Chooser(seed, "train").bank(bank) for seed in range(400)}
    unseen = {Chooser(seed, "unseen").bank(bank) for seed in range(400)}
    assert seen | unseen == set(bank) and not seen & unseen
    assert not {t.response for t in everyday_turns("train")} & {t.response for t in everyday_turns("unseen")}


def test_altered_number_changes_one_number():
    for seed in range(50):
        changed = quality.changed_number(Chooser(seed), "He won 24 awards in 1,110 days.")
        assert changed != "He won 24 awards in 1,110 days."
        assert ("24" in changed) != ("1,110" in changed)
