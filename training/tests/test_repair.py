"""The repair model's pure parts: pairs, the cut-down tokenizer, rounding to 4 bits, and the figures."""
import collections
import itertools
import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from evaluate_repair import accepted, degenerate, interval, kind_of, prompt_of
from generators import Chooser, Turn
from repair_model import Writer, rounded4, small_weights
from repair_pairs import TEMPLATES, Pair, glued, known_number, lost_names, opinion_repeated, repeated_plainly, reworded, word_f1, words
from repair_tokenizer import END, MARKS, byte_alphabet, frequencies, pruned
from train_repair import edit_weights, encoded

TURN = Turn(("Did you watch Star Wars?",), "Yes, I did. I watched Star Wars in May and I've liked it. My brother George hates it because it is long.")
TEXTS = ["the cat sat on the mat and the dog sat on the cat", "a small dog ran to the cat", "12 cats and 7 dogs", TURN.response] * 5


@pytest.fixture(scope="module")
def written():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=420, special_tokens=["<|endoftext|>", END], initial_alphabet=byte_alphabet()[:250]))
    return json.loads(tokenizer.to_str())


def test_a_cut_down_tokenizer_keeps_the_tokens_of_texts_without_dropped_ones(written):
    old = Tokenizer.from_str(json.dumps(written))
    out, rows = pruned(written, frequencies(old, ["the cat sat on the mat"]), 300)
    new, vocabulary = Tokenizer.from_str(json.dumps(out)), out["model"]["vocab"]
    assert len(vocabulary) + len(MARKS) == 300 and len(rows) == len(vocabulary) and sorted(vocabulary.values()) == list(range(len(rows)))
    assert new.encode("the cat sat").tokens == old.encode("the cat sat").tokens
    for token, i in vocabulary.items():
        if token in written["model"]["vocab"]:
            assert rows[i] == [written["model"]["vocab"][token]]
    assert all(a in vocabulary and b in vocabulary and a + b in vocabulary for a, b in out["model"]["merges"])


@pytest.mark.parametrize("text", ["zebra", "naïve 日本 😀", "tab\tand\x07bell", " two  spaces ", "[CONTEXT"])
def test_any_text_encodes(written, text):
    out, _ = pruned(written, collections.Counter(), 290)
    tokenizer = Tokenizer.from_str(json.dumps(out))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_marks_are_one_token_and_take_the_space_before_them(written):
    out, _ = pruned(written, collections.Counter(), 290)
    tokenizer = Tokenizer.from_str(json.dumps(out))
    prompt = Pair("quality", "[agent_1]: a", "", "b", "c", "").prompt()
    found = tokenizer.encode(prompt)
    assert [t.strip() for t in found.tokens if t.strip() in MARKS] == ["[CONTEXT]", "[agent_1]:", "[EVIDENCE]", "[RESPONSE]", "[REPAIR]"]
    assert max(found.ids) < 290 and all(found.tokens[i - 1] != "Ġ" for i, t in enumerate(found.tokens) if t.strip() in MARKS)


@pytest.mark.parametrize("function", [reworded, repeated_plainly, lost_names, glued])
def test_generators_change_the_text_and_repeat_themselves(function):
    made = [function(Chooser(seed), TURN) for seed in range(30)]
    assert sum(bool(text) and text != TURN.response for text in made) > 15
    assert made == [function(Chooser(seed), TURN) for seed in range(30)]


def test_an_opinion_said_twice_gets_shorter():
    for seed in range(50):
        (question,), text, target = opinion_repeated(Chooser(seed), TURN)
        assert len(words(target)) < len(words(text)) and set(target.split()) <= set(text.split()) and question


def test_a_number_is_known_only_from_what_is_given():
    assert known_number("It has 12 rooms.", "It has 14 rooms.", "The house has 14 rooms.")
    assert not known_number("It has 12 rooms.", "It has 14 rooms.", "The house is large.")


def test_templates_use_each_placeholder_once():
    for task, template in TEMPLATES.items():
        assert template.count("{context}") == template.count("{evidence}") == 1
        assert template.count("{response}") == (task != "answer")


def test_edits_weigh_more_than_copies():
    assert edit_weights([1, 2, 3], [1, 2, 3], 2.0) == [1, 1, 1, 1]
    assert edit_weights([1, 2, 3], [1, 9, 3], 2.0) == [1, 2, 2, 1]
    assert edit_weights([1, 2, 3, 4], [1, 2], 2.0) == [1, 1, 2]


def test_the_target_follows_the_prompt(written):
    tokenizer = Tokenizer.from_str(json.dumps(pruned(written, collections.Counter(), 290)[0]))
    ids, start, weights = encoded(tokenizer, Pair("manner", "a", "", "the cat", "the dog", "x"), 2.0)
    assert tokenizer.decode(ids[start:-1]) == " the dog" and ids[-1] == 0 and len(weights) == len(ids) - start


def test_four_bits_have_sixteen_values_and_stay_as_they_are():
    weight = torch.randn(6, 128, generator=torch.Generator().manual_seed(0))
    once = rounded4(weight, 64)
    assert all(len(g.unique()) <= 16 for g in once.view(-1, 64))
    step = weight.view(6, -1, 64).abs().amax(-1) / 7.5
    assert ((weight - once).view(6, -1, 64).abs().amax(-1) <= 0.501 * step).all()


def test_the_writer_equals_transformers():
    transformers = pytest.importorskip("transformers")
    config = dict(hidden_size=24, intermediate_size=40, num_attention_heads=6, num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=100000.0, vocab_size=50, num_hidden_layers=3)
    torch.manual_seed(0)
    peer = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config, tie_word_embeddings=True)).eval()
    for p in peer.parameters():
        torch.nn.init.normal_(p, 0.3, 0.2)
    kept = [0, 2]
    peer.model.layers = torch.nn.ModuleList(peer.model.layers[i] for i in kept)
    weights = {k.replace("layers.1.", "layers.2."): v for k, v in peer.state_dict().items()}
    model = Writer({**config, "num_hidden_layers": 2})
    model.load_state_dict(small_weights(weights, kept, [[i] for i in range(50)]))
    ids = torch.randint(0, 50, (2, 9))
    with torch.no_grad():
        assert torch.allclose(model.hidden(ids) @ model.embed_tokens.weight.T, peer(ids).logits, atol=1e-4)


def test_word_f1():
    assert word_f1("The cat sat.", "the cat sat") == 1 and word_f1("a", "b") == 0 and word_f1("", "") == 1
    assert word_f1("the cat", "the cat sat down") == pytest.approx(2 * 2 / 6)


def test_figures():
    assert degenerate("", "x") and degenerate("so so so so so", "x") and degenerate("a b c a b c a b c", "x") and not degenerate("I liked it.", "I liked it.")
    assert kind_of({"violations": ["quantity"], "response": "It varies.", "target": "It was long and sad."}) == "quantity_under"
    fine = {m: False for m in ("quantity", "quality", "relation", "manner")}
    low, high = {m: 0.1 for m in fine}, {m: 0.9 for m in fine}
    assert accepted((high, {**fine, "manner": True}), (low, fine)) and not accepted((low, fine), (high, fine))
    assert not accepted((high, fine), (low, {**fine, "quality": True}))
    assert interval([1, 0, 1, 0], "abcd")[0] == 0.5


def test_a_long_context_is_cut_from_the_left(written):
    tokenizer = Tokenizer.from_str(json.dumps(pruned(written, collections.Counter(), 290)[0]))
    context = "[agent_1]: " + "the cat sat on the mat " * 9 + "[agent_2]: the dog"
    prompt = prompt_of(tokenizer, "manner", context, "", "a small dog", 90)
    assert len(tokenizer.encode(prompt).ids) <= 90 and "[agent_2]: the dog" in prompt and prompt.endswith("[RESPONSE] a small dog [REPAIR]")
