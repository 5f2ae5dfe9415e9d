"""Examples that answer one question: what is not known stays masked, and changed turns differ from those they start from."""
import json
import math

import numpy as np
import pytest
import torch

import data
import dialogues
import judgements
from generators import Chooser, Turn, garble, persona, quantity
from mixture import SHARES, Mixture
from model import rounded
from train import batches, loss_of, teacher_loss

TURNS = ["Did you watch the Star Wars movies in 1977 with your brother?", "I saw them 3 times and I love the old ones. My brother hates the new ones.",
         "Wow, that is a good way to use a weekend. Did you know George Lucas made many changes in 1997?", "I think the changes were not needed. The old ones are better than the new ones."]
TURN = Turn(tuple(TURNS[:3]), TURNS[3])


class Pool:
    def elsewhere(self, rng, turn):
        return "The museum on the corner shows paintings of famous sailors and their wooden ships."


@pytest.mark.parametrize("function", sorted(set(garble.FUNCTIONS), key=lambda f: f.__name__))
def test_garbled_text_differs(function):
    turn = Turn(TURN.context, TURN.response, pool=Pool())
    made = [function(Chooser(seed), turn) for seed in range(40)]
    assert any(made)
    assert sum(text == turn.response for text in made) <= 6
    assert made == [function(Chooser(seed), turn) for seed in range(40)]


def test_the_earlier_statement_stands_in_the_context():
    for seed in range(60):
        context, fits, denied = persona.said_again(Chooser(seed), TURN)
        assert fits != denied and len(context) >= 2
        made = persona.own_words_denied(Chooser(seed), TURN)
        if made:
            assert made[0] == TURN.context and made[1] != made[2]


def test_repeats_come_from_the_context():
    said = " ".join(TURN.context).lower()
    made = [m for m in (quantity.said_before(Chooser(seed), TURN) for seed in range(40)) if m]
    assert made
    assert all(any(part.strip(" .!?").lower() in said for part in m.replace("?", ".").split(".") if len(part.split()) >= 4) for m in made)


@pytest.fixture
def corpus(tmp_path):
    dialogues_ = [{"dialogue_id": f"d{i}", "split": "valid", "turns": [{"agent": f"agent_{j % 2 + 1}", "message": f"{text} It was number {i}.", "knowledge_source": []}
                                                                    for j, text in enumerate(TURNS)]} for i in range(60)]
    labelled = [{"context": f"[agent_1]: {TURNS[0]} {i}", "evidence": "FS1", "response": TURNS[1], "labels": dict.fromkeys(data.MAXIMS, 0), "violation_type": "none",
                 "dialogue_id": f"g{i}", "original_response": f"{TURNS[1]} {i}"} for i in range(20)]
    rows = {"topical_chat": dialogues_, "gricebench_labelled": labelled, "gricebench_repair_pairs": [], "gricebench_preference_pairs": []}
    judged = [{"set": "begin_v1", "question": question, "maxim": maxim, "violated": bool(i % 2), "context": f"[agent_1]: {TURNS[0]}", "evidence": f"Star Wars came out in 1977, fact {i}.",
               "response": f"It came out in 1977, fact {i}.", "group": f"group{i // 2}"} for i in range(80) for question, maxim in (("attribution", "quality"), ("on_topic", "relation"))]
    judged += [{**row, "set": "grade", "question": "coherence", "maxim": "relation"} for row in judged[:40]]
    rows["judgements"] = judged
    for name, lines in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines), encoding="utf-8")
    return data.Corpus(tmp_path), judgements.load(tmp_path / judgements.FILE)


def test_sets_without_a_licence_are_never_trained_on(corpus):
    _, parts = corpus
    assert parts["train"] and not [r for r in parts["train"] if r["set"] == "grade"]
    groups = {name: {r["set"] + r["group"] for r in rows} for name, rows in parts.items()}
    assert not groups["train"] & groups["final"] and not groups["choose"] & groups["final"] and not groups["train"] & groups["choose"]


def test_unasked_maxims_stay_unknown(corpus):
    made, parts = corpus
    units = iter(Mixture(made, parts["train"], seed=1, shares={**SHARES, "stream": 0}))
    drawn = [next(units) for _ in range(300)]
    people = [e for unit in drawn for e in unit if e.made_by == "people"]
    assert people and all(e.labels[0] is None and e.labels[3] is None for e in people)
    assert any(e.labels[1] is not None and e.labels[2] is not None for e in people)  # one turn, two questions
    assert not any(e.labels[1] for e in people if not e.evidence)  # without the evidence nobody knows
    for fine, wrong in (unit for unit in drawn if len(unit) == 2):
        changed = [i for i in range(4) if wrong.labels[i] is not None]
        assert any(wrong.labels[i] == 1 and fine.labels[i] == 0 for i in changed)
        assert len(changed) == 1 or wrong.made_by == "people"


def test_loss_ignores_what_is_unknown():
    nan = float("nan")
    logits = torch.tensor([[0.0, 3.0, -2.0, 1.0], [0.5, 9.0, 9.0, 9.0]], requires_grad=True)
    labels = torch.tensor([[0.0, nan, 0.25, nan], [1.0, nan, nan, nan]])
    loss_of(logits, labels, torch.tensor([0]), 0.0, 0.5).backward()
    gradient = logits.grad.numpy()
    assert (gradient[np.isnan(labels.numpy())] == 0).all() and (gradient[~np.isnan(labels.numpy())] != 0).all()
    assert gradient[0, 0] > 0 > gradient[1, 0]


def test_soft_labels():
    rows = [{"kind": "true", "likeness": 0.8, "logprobs": [-1.0, -3.0, -5.0]}, {"kind": "elsewhere", "likeness": 0.0, "logprobs": [-4.0, -3.5, -9.0]},
            {"kind": "garbled", "likeness": 0.3, "logprobs": [-6.0, -6.0, -14.0]}, {"kind": "true", "likeness": 0.5}, {"kind": "garbled", "likeness": 0.5}]
    relation, manner = dialogues.soft_labels(rows)
    assert relation[0] < 0.3 < 0.7 < relation[1] and math.isnan(relation[2]) and math.isnan(relation[4])
    assert manner[0] < manner[2] and math.isnan(manner[3]) and manner[4] > 0.5


def test_pairs_stay_together(corpus):
    made, parts = corpus

    class Whole:
        def encode_batch(self, texts):
            class Encoding:
                def __init__(self, text):
                    self.ids = list(range(5, 5 + len(text.split())))
            return [Encoding(text) for text in texts]

    for (ids, mask, labels, pairs, scores), _ in zip(batches(Mixture(made, parts["train"], seed=1, shares={"contradiction": 1}), Whole(), 0, 8, 140), range(5)):
        assert len(ids) <= 16 and scores.isnan().all() and len(pairs) and (labels[pairs, 1] == 0).all() and (labels[pairs + 1, 1] == 1).all()


def test_lengths_are_judged_by_what_was_asked(corpus):
    made, parts = corpus
    mixture = Mixture(made, parts["train"], seed=1, shares={"length": 1})
    drawn = [e for _ in range(400) for unit in [mixture.draw_length()] if unit for e in unit]
    assert drawn and all(e.labels[0] is not None and e.labels[1:] == [None] * 3 for e in drawn)
    words = lambda text: len(text.split())
    excess = [words(e.response) / (20 + 0.5 * words(e.context)) for e in drawn]
    long = [e.labels[0] for e, x in zip(drawn, excess) if x > 3.5]
    right = [e.labels[0] for e, x in zip(drawn, excess) if 0.5 < x < 1.5]
    assert all(v < 0.35 for v in right) and all(v > 0.7 for v in long)


def test_the_order_of_scored_pairs_counts():
    nan = float("nan")
    labels = torch.tensor([[nan, nan, 0.1, nan], [nan, nan, 0.9, nan], [0.0, 1.0, 0.0, 0.0]])
    scores = torch.tensor([[1.0, nan, nan, nan], [-1.0, nan, nan, nan], [nan] * 4])
    logits = torch.zeros(3, 4, requires_grad=True)
    teacher_loss(logits, labels, torch.zeros(3, 4), scores, 3).backward()
    assert logits.grad[0, 2] > 0 > logits.grad[1, 2] and (logits.grad[:, 3] == 0).all() and (logits.grad[2] == 0).all()
    assert teacher_loss(logits, labels, torch.zeros(3, 4), torch.full((3, 4), nan), 3) == 0


def test_rounding_is_that_of_the_kernels():
    x = torch.tensor([[0.1, -2.54, 1.0], [0.0, 0.0, 0.0]], requires_grad=True)
    seen = rounded(x)
    assert torch.allclose(seen, torch.round(x / 0.02) * 0.02, atol=1e-6)
    seen.sum().backward()
    assert (x.grad == 1).all()
