"""Makes the tiny models that tests of text generation compare against.

    python training/make_generator_fixtures.py [OUT_DIR]

Each is a Hugging Face folder with random weights and `reference.json`: the logits that transformers computes for every position of some
prompts, and what `generate` makes of them (greedy and beam search). `t5` is GriceBench's repair model in small, `t5-gated` has gates and a
vocabulary of its own as T5 v1.1 does, `gpt2` is its generator, `llama` has grouped heads and LLaMA 3's rotary scaling, `qwen2` has biases and a
window, and comes in two shards of bfloat16. Seeded: the same versions of the libraries make the same files.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models as vocabularies, pre_tokenizers, processors
from transformers import (GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          T5Config, T5ForConditionalGeneration)

OUT = Path(__file__).resolve().parent.parent / "crates" / "testkit" / "fixtures" / "generators"
DECIMALS = 5
VOCABULARY = 96
END = 1
# Lengths of prompts and sources: on both sides of a page of 32 tokens.
PROMPTS = [1, 5, 31, 33, 70]
NEW_TOKENS = 40
PREFIXES = 3
# Distances from T5's last bucket to the last prompt: some see all buckets.
LONG = 150


def t5(**changes):
    settings = dict(vocab_size=VOCABULARY, d_model=32, d_kv=12, d_ff=40, num_layers=3, num_decoder_layers=2, num_heads=4,
                    relative_attention_num_buckets=8, relative_attention_max_distance=20, dropout_rate=0.0,
                    decoder_start_token_id=0, pad_token_id=0, eos_token_id=END)
    return T5ForConditionalGeneration(T5Config(**{**settings, **changes}))


def models():
    yield "t5", t5(), "float32", None
    # The start token is another than padding.
    yield "t5-gated", t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=3), "float16", None
    yield "gpt2", GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=160, n_embd=32, n_layer=3, n_head=4,
                                             bos_token_id=END, eos_token_id=END, scale_attn_by_inverse_layer_idx=True)), "float32", None
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    yield "llama", LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=36, intermediate_size=64, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=256, rope_theta=1000.0, rope_scaling=scaling,
        tie_word_embeddings=True, eos_token_id=END, bos_token_id=2)), "float32", None
    yield "qwen2", Qwen2ForCausalLM(Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, max_position_embeddings=256, use_sliding_window=True, sliding_window=24, max_window_layers=0,
        tie_word_embeddings=False, eos_token_id=[END, 5], bos_token_id=2, attn_implementation="eager")), "bfloat16", "20KB"


def enliven(model):
    """Random weights that make logits differ: initial ones are so small that all tokens are alike."""
    for name, parameter in model.named_parameters():
        scale = {1: 0.2}.get(parameter.dim(), 2.0 / parameter.shape[-1] ** 0.5)
        offset = 1.0 if "norm" in name or ".ln_" in name else 0.0
        is_weight = parameter.dim() > 1 or name.endswith("weight")
        parameter.data = torch.randn_like(parameter) * scale + (offset if is_weight and parameter.dim() == 1 else 0.0)
        if "embed" in name or "wte" in name or "shared" in name or "wpe" in name:
            parameter.data = torch.randn_like(parameter)
        if ".q." in name:
            # T5 does not scale its scores: its weights do.
            parameter.data *= model.config.d_kv ** -0.5
        if "relative_attention_bias" in name:
            parameter.data = torch.randn_like(parameter)
    return model


def untie(model):
    """Gives a T5 a vocabulary of its own, as v1.1 has."""
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY, model.config.d_model) * 0.3)


def write_tokenizer(folder, model):
    """One word a token: `w6`, `w7` and so on. A T5 reads an end after its source, as its own tokenizer has it."""
    names = ["<pad>", "</s>", "<s>", "<start>", "<unk>", "<end>"]
    vocabulary = {name: number for number, name in enumerate(names + [f"w{number}" for number in range(len(names), VOCABULARY)])}
    tokenizer = Tokenizer(vocabularies.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.add_special_tokens(names)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if model.config.is_encoder_decoder:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    tokenizer.save(str(folder / "tokenizer.json"))


def ids(length, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(6, VOCABULARY, (1, length), generator=generator)


def rounded(tensor):
    return [round(number, DECIMALS) for number in tensor.flatten().tolist()]


def reference(model):
    is_t5 = model.config.is_encoder_decoder
    start = getattr(model.config, "decoder_start_token_id", None)
    cases, searches = [], []
    for number, length in enumerate(PROMPTS + ([] if is_t5 else [LONG])):
        if is_t5:
            source, prompt = ids(length, number), torch.cat([torch.tensor([[start]]), ids(LONG if length == 33 else 20, 50 + number)], 1)
            logits = model(input_ids=source, decoder_input_ids=prompt).logits[0]
        else:
            source, prompt = None, ids(length, number)
            logits = model(input_ids=prompt).logits[0]
        # A few positions say enough; the last always.
        at = sorted({0, prompt.shape[1] // 2, prompt.shape[1] - 1})
        cases.append({"source": source[0].tolist() if is_t5 else None, "prompt": prompt[0].tolist(), "positions": at,
                      "logits": rounded(logits[at])})
        for options in ({}, {"num_beams": 4, "repetition_penalty": 1.5, "no_repeat_ngram_size": 3, "min_length": 8, "early_stopping": False,
                             "length_penalty": 1.0}):
            options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, **options}
            if length == LONG:
                options["max_new_tokens"] = 8
            given = source if is_t5 else prompt
            made = model.generate(given, attention_mask=torch.ones_like(given), **options)[0].tolist()
            searches.append({"source": source[0].tolist() if is_t5 else None,
                             "prompt": [start] if is_t5 else prompt[0].tolist(), "options": options,
                             "tokens": made[1 if is_t5 else length:]})
    return {"transformers": transformers.__version__, "cases": cases, "searches": searches}


def main(out=OUT):
    transformers.utils.logging.set_verbosity_error()
    torch.set_grad_enabled(False)
    out = Path(out)
    shutil.rmtree(out, ignore_errors=True)
    for seed, (name, model, dtype, shard) in enumerate(models()):
        torch.manual_seed(seed)
        enliven(model).eval()
        if name == "t5-gated":
            untie(model)
        model = model.to(getattr(torch, dtype))
        folder = out / name
        model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        write_tokenizer(folder, model)
        (folder / "README.md").unlink(missing_ok=True)
        # Of what was saved, since the conversion above rounds tables of angles too.
        found = reference(type(model).from_pretrained(folder).float().eval())
        (folder / "reference.json").write_text(json.dumps(found) + "\n")
        print(name, sum(file.stat().st_size for file in folder.iterdir()))


if __name__ == "__main__":
    main(*sys.argv[1:])
