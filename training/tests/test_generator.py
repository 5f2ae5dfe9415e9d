"""The generator's pure parts: which rows may teach it, how its answers are cut and batched, DPO's loss, and the judges' bounds."""
import math
import random

import numpy as np
import pytest
import torch

from data import normal
from evaluate_generator import bounds, cooperative, passes
from generator_pairs import Preference, ending, leaks, tagged
from train_generator import Trainer, grouped, pairs_loss, places_of, preference_loss, rate_at, sums
from train_repair import Clock

CONFIG = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 3, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": 20}


def start():
    from repair_model import Writer
    torch.manual_seed(0)
    return {"config": CONFIG, "masters": {k: v.detach().clone() for k, v in Writer(CONFIG).state_dict().items()}}


def test_a_context_is_cut_at_turns_and_keeps_the_last_one():
    context = tagged(["one two three", "four five six", "seven eight"])
    assert ending(context) == context
    assert ending(context, 50) == "[agent_2]: four five six [agent_1]: seven eight"
    assert ending(context, 30) == "[agent_1]: seven eight"
    assert ending(context, 5) == "eight"


def test_a_row_that_repeats_a_held_out_utterance_may_not_teach():
    held = {normal("I saw that film in Boston last year.")}
    assert leaks(held, "Hello", "I saw that film in Boston last year!")
    assert not leaks(held, "Hello", "I saw that film in Boston.")


def test_a_preference_has_the_prompt_of_an_answer():
    prompt = Preference("[agent_1]: Hi", "", "Hello there", "No").prompt()
    assert prompt.startswith("answer: [CONTEXT] [agent_1]: Hi") and prompt.endswith("[RESPONSE]")


def test_batches_hold_every_row_once_and_keep_their_size():
    rows = [list(range(n)) for n in range(1, 60)]
    groups = grouped(rows, 120, len, random.Random(1))
    assert sorted(len(r) for g in groups for r in g) == list(range(1, 60))
    assert all(len(g) * max(map(len, g)) <= 120 for g in groups)


def test_log_probabilities_are_summed_by_row_over_the_answer_only():
    rows = [([1, 2, 3, 4], 2), ([5, 6, 7], 1)]
    at = places_of(rows)
    assert at.tolist() == [[0, 1], [0, 2], [1, 0], [1, 1]]
    assert sums(torch.tensor([1.0, 2.0, 3.0, 4.0]), at, 2).tolist() == [-3.0, -7.0]


def test_preference_loss_is_that_of_the_paper():
    chosen, rejected, before_chosen, before_rejected = (torch.tensor(v) for v in ([-3.0, -8.0], [-5.0, -4.0], [-4.0, -7.0], [-4.5, -6.0]))
    loss, right = preference_loss(chosen, rejected, before_chosen, before_rejected, 0.1)
    margins = [(-3 + 4) - (-5 + 4.5), (-8 + 7) - (-4 + 6)]
    assert float(loss) == pytest.approx(sum(math.log(1 + math.exp(-0.1 * m)) for m in margins) / 2, abs=1e-6)
    assert float(right) == 0.5


def test_only_upper_layers_learn_and_preferences_begin_at_log_two():
    import argparse
    import copy
    first = start()
    trainer = Trainer(first, 1)
    assert {k.split(".")[1] for k in trainer.leaves if k.startswith("layers")} == {"2"} and "norm.weight" in trainer.leaves and "embed_tokens.weight" not in trainer.leaves
    lower = trainer.model.layers[0].mlp["up_proj"].weight.clone()
    reference = copy.deepcopy(trainer.model).requires_grad_(False)
    args = argparse.Namespace(beta=0.1, keep=0.0)
    rows = [(([1, 2, 3, 4, 0], 2), ([1, 2, 9, 10, 11, 0], 2))]
    loss, _, count = pairs_loss(trainer, reference, rows, args)
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-3) and count == 12
    optimizer = torch.optim.AdamW(list(trainer.masters.values()), lr=1e-2)
    for _ in range(8):
        loss, right, _ = pairs_loss(trainer, reference, rows, args)
        trainer.step(optimizer, loss, 1e-2)
    assert float(loss.detach()) < 0.65 and float(right) == 1.0 and torch.equal(lower, trainer.model.layers[0].mlp["up_proj"].weight)


def test_the_rate_rises_and_falls():
    assert rate_at(1.0, 0) < 0.05 and rate_at(1.0, 0.05) > 0.9 and rate_at(1.0, 1.0) == pytest.approx(0.05)


def test_a_clock_does_not_count_pauses():
    times = iter([0.0, 10.0, 1000.0, 1010.0])
    clock = Clock(5.0, 60.0, lambda: next(times))
    assert [clock.tick(), clock.tick(), clock.tick()] == [15.0, 75.0, 85.0]


def test_bounds_let_the_wanted_share_through():
    scores = np.random.default_rng(0).normal(size=(2000, 2))
    found = passes(scores, bounds(scores, 0.9))
    assert found.mean() == pytest.approx(0.9, abs=0.005) and not passes([[-9.0, 9.0]], bounds(scores))[0]


def test_a_reply_is_cooperative_if_no_maxim_is_violated():
    fine = {"quantity": 0.1, "quality": 0.5, "relation": 0.2, "manner": 0.0}
    assert cooperative(fine) and not cooperative({**fine, "relation": 0.6})
