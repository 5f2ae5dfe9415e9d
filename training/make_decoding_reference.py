"""What transformers generates with toy language models: `crates/core/tests/decoding/reference.json`.

    python training/make_decoding_reference.py

A toy's logits are a hash of its last tokens, so the Rust test computes the same ones without a file. Beams and greedy search are
compared by tokens and scores, sampling by the probabilities that are left at each step.
"""
import itertools
import json
import random
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput, Seq2SeqLMOutput

OUT = Path(__file__).resolve().parent.parent / "crates/core/tests/decoding/reference.json"
VOCABULARY = 48
PAD = 1
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
STEPS_SAMPLED = 5


def mix(z):
    """SplitMix64's mixer, of a whole number or of an array of them."""
    if isinstance(z, int):
        return int(mix(np.array([z & MASK], np.uint64))[0])
    z = z + np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def toy_logits(toy, source, tokens):
    """Float32 `[vocabulary]`, each from -8 to 8 but for the bias; all steps are exact."""
    state = mix(toy["seed"])
    for token in [*source, *tokens[-toy["order"]:], *[len(tokens)] * toy["counts"]]:
        state = mix(state ^ (token + 1))
    values = mix(np.uint64(state) + np.arange(VOCABULARY, dtype=np.uint64) * np.uint64(GOLDEN))
    logits = (values >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-20) - np.float32(8)
    logits[toy["stop_tokens"]] += np.float32(toy["stop_bias"])
    logits[PAD] -= np.float32(64)
    return logits


class ToyConfig(PretrainedConfig):
    model_type = "toy"


class Encoder(torch.nn.Module):
    """Hands the source's ids on to the decoder."""
    main_input_name = "input_ids"

    def forward(self, input_ids, **_):
        return BaseModelOutput(last_hidden_state=input_ids.double().unsqueeze(-1))


class Toy(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig
    main_input_name = "input_ids"

    def __init__(self, toy, is_encoder_decoder):
        super().__init__(ToyConfig(vocab_size=VOCABULARY, is_encoder_decoder=is_encoder_decoder))
        self.toy, self.encoder = toy, Encoder()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def get_encoder(self, *_, **__):
        return self.encoder

    def prepare_inputs_for_generation(self, input_ids, encoder_outputs=None, attention_mask=None, **_):
        return {"input_ids": input_ids, "encoder_outputs": encoder_outputs}

    def forward(self, input_ids=None, encoder_outputs=None, decoder_input_ids=None, **_):
        sources = [[]] * len(input_ids) if encoder_outputs is None else encoder_outputs.last_hidden_state.squeeze(-1).long().tolist()
        rows = [toy_logits(self.toy, source, tokens) for source, tokens in zip(sources, input_ids.tolist())]
        logits = torch.from_numpy(np.stack(rows)).unsqueeze(1)
        return CausalLMOutput(logits=logits) if encoder_outputs is None else Seq2SeqLMOutput(logits=logits)


def resolve(options, start):
    """grice's options as those of transformers, every one that matters written out."""
    search = options["search"]
    kind, details = (search, {}) if isinstance(search, str) else next(iter(search.items()))
    early = {"at_width": True, "heuristic": False, "never": "never"}
    settings = {
        "max_new_tokens": options["max_new_tokens"], "min_length": options.get("min_length", 0),
        "min_new_tokens": options.get("min_new_tokens"), "repetition_penalty": options.get("repetition_penalty", 1.0),
        "no_repeat_ngram_size": options.get("no_repeat_ngram", 0), "eos_token_id": options["stop_tokens"] or None,
        "suppress_tokens": options.get("banned"), "num_return_sequences": options.get("returns", 1), "pad_token_id": PAD,
        "bos_token_id": None, "decoder_start_token_id": start, "use_cache": False,
        "do_sample": kind == "sample", "num_beams": details.get("width", 1),
    }
    if kind == "beam":
        settings |= {"length_penalty": details["length_penalty"], "early_stopping": early[details["early"]]}
    if kind == "sample":
        settings |= {name: details[name] for name in ("temperature", "top_k", "top_p")}
    return settings


def generate(case):
    """Runs a case; its settings as resolved, and what came out."""
    source, prompt = case["source"], case["prompt"]
    model = Toy(case["toy"], bool(source))
    asked = GenerationConfig(**resolve(case["options"], prompt[0] if source else None))
    resolved = model._prepare_generation_config(asked)
    resolved = (resolved[0] if isinstance(resolved, tuple) else resolved).to_dict()
    torch.manual_seed(case["toy"]["seed"])
    inputs = {"input_ids": torch.tensor([source or prompt])}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if source and len(prompt) > 1:
        inputs["decoder_input_ids"] = torch.tensor([prompt])
    output = model.generate(**inputs, generation_config=asked, return_dict_in_generate=True, output_scores=True)
    return resolved, [row[len(prompt):] for row in output.sequences.tolist()], output


def trimmed(tokens):
    """A row without its padding, which the toys never choose."""
    return list(itertools.takewhile(lambda token: token != PAD, tokens))


def toy(rng, stops, bias, counts):
    """A toy that counts never says the same things in another order, which would tie two beams."""
    return {"seed": rng.randrange(1 << 53), "order": rng.choice([1, 2]), "counts": counts, "stop_tokens": stops, "stop_bias": bias}


def random_case(rng, is_encoder_decoder, search):
    """Options of every kind, switched on now and then."""
    stops = rng.sample(range(3, VOCABULARY), rng.choice([1, 1, 1, 2, 3, 10]))
    stops = stops[:5] if isinstance(search, dict) and search.get("beam", {}).get("width", 1) > 3 else stops
    longest = rng.choice([4, 12, 24])
    prompt = [rng.randrange(2, VOCABULARY) for _ in range(rng.choice([1, 3, 9]))]
    source = [rng.randrange(2, VOCABULARY) for _ in range(6)] if is_encoder_decoder else []
    if is_encoder_decoder and rng.random() < 0.8:
        prompt = [rng.choice([PAD, 2])]
    options = {"search": search, "max_new_tokens": longest, "stop_tokens": stops}
    if rng.random() < 0.4:
        options["min_length"] = len(prompt) + rng.randrange(longest)
    elif rng.random() < 0.3:
        options["min_new_tokens"] = rng.randrange(1, longest)
    if rng.random() < 0.5:
        options["repetition_penalty"] = rng.choice([0.8, 1.3, 1.5])
    if rng.random() < 0.5:
        options["no_repeat_ngram"] = rng.choice([1, 2, 3])
    if rng.random() < 0.3:
        options["banned"] = rng.sample(range(3, VOCABULARY), 4)
    width = search.get("beam", {}).get("width", 1) if isinstance(search, dict) else 1
    if width > 1:
        options["returns"] = rng.choice([1, 2, width])
    bias = rng.choice([0.0, 4.0, 6.0])
    return {"source": source, "prompt": prompt, "toy": toy(rng, stops, bias, width > 1), "options": options}


def beams(rng):
    """Every width, stopping rule and sign of the length penalty."""
    kinds = list(itertools.product(["at_width", "heuristic", "never"], [-1.0, 0.0, 1.0, 2.0]))
    for index in range(44):
        early, penalty = kinds[index % len(kinds)]
        yield {"beam": {"width": rng.choice([2, 3, 4, 5, 8]), "length_penalty": penalty, "early": early}}
    yield {"beam": {"width": 1, "length_penalty": 1.0, "early": "at_width"}}


def repair(rng, is_encoder_decoder):
    """The settings of a repair: four beams, no trigram twice."""
    case = random_case(rng, is_encoder_decoder, {"beam": {"width": 4, "length_penalty": 1.0, "early": "at_width"}})
    case["options"] = {"search": case["options"]["search"], "max_new_tokens": 40, "min_length": 8, "repetition_penalty": 1.5,
                       "no_repeat_ngram": 3, "stop_tokens": case["toy"]["stop_tokens"]}
    return case


def samplings(rng):
    for temperature, top_k, top_p in [(1.0, 0, 0.9), (0.85, 0, 0.92), (0.7, 5, 1.0), (1.3, 12, 0.8), (2.0, 3, 0.99), (1.0, 1, 1.0),
                                      (1.5, 0, 0.0), (0.5, 40, 0.95), (1.0, 48, 0.6), (3.0, 0, 1.0)]:
        yield {"sample": {"temperature": temperature, "top_k": top_k, "top_p": top_p}}


def found_case(case):
    resolved, rows, output = generate(case)
    scores = getattr(output, "sequences_scores", None)
    scores = [None] * len(rows) if scores is None else [round(score, 6) for score in scores.tolist()]
    return resolved, {**case, "found": [{"tokens": trimmed(row), "score": score} for row, score in zip(rows, scores)]}


def sampled_case(case):
    case["options"]["max_new_tokens"] = STEPS_SAMPLED
    case["options"].pop("min_new_tokens", None)
    case["options"]["min_length"] = 3
    resolved, rows, output = generate(case)
    steps = []
    for scores in output.scores:
        probabilities = torch.softmax(scores[0].double(), -1).tolist()
        steps.append({token: round(p, 5) for token, p in enumerate(probabilities) if p > 0})
    return resolved, {**case, "drawn": trimmed(rows[0]), "steps": [[list(step), list(step.values())] for step in steps]}


def differences(resolved, common):
    return {name: value for name, value in resolved.items() if common.get(name) != value}


def main():
    transformers.utils.logging.set_verbosity_error()
    rng, found, sampled = random.Random(20), [], []
    for is_encoder_decoder in (False, True):
        cases = [random_case(rng, is_encoder_decoder, search) for search in ["greedy"] * 10 + list(beams(rng))]
        found += [found_case(case) for case in cases + [repair(rng, is_encoder_decoder) for _ in range(5)]]
        sampled += [sampled_case(random_case(rng, is_encoder_decoder, search)) for search in samplings(rng)]
    common = found[0][0]
    text = {name: [json.dumps({**case, "resolved": differences(resolved, common)}, separators=(",", ":")) for resolved, case in cases]
            for name, cases in (("found", found), ("sampled", sampled))}
    head = {"transformers": transformers.__version__, "torch": torch.__version__, "vocabulary": VOCABULARY, "pad": PAD, "resolved": common}
    OUT.parent.mkdir(exist_ok=True)
    lists = ",\n".join(f'"{name}":[\n' + ",\n".join(cases) + "\n]" for name, cases in text.items())
    OUT.write_text(json.dumps(head, separators=(",", ":"))[:-1] + ",\n" + lists + "}\n", encoding="ascii")
    print(OUT, OUT.stat().st_size)


if __name__ == "__main__":
    main()
