"""Makes the tiny GGUF files that tests compare against.

    pip install torch transformers gguf sentencepiece
    python training/make_gguf_fixtures.py [OUT_DIR]

`models/` holds a folder for each model: the safetensors files as transformers writes them, the same model as GGUF in several types of tensors, and
`reference.json` with the logits that transformers computes of the numbers in each GGUF file. Where transformers reads GGUF files of that kind, they
are its own readings (`gguf_file=`); where it does not, the numbers are put into the model by the names that it gives them.
`tokenizers/` holds a GGUF file for each way to split texts, and the `tokenizer.json` that it must agree with. `blocks.json` holds random blocks of all
types and their numbers by the `gguf` package. Seeded: the same versions of the libraries make the same files.
"""
import base64
import json
import shutil
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
import torch
import transformers
from gguf import GGMLQuantizationType as Kind, GGUFWriter
from tokenizers import Regex, Tokenizer, decoders, models as vocabularies, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          T5Config, T5ForConditionalGeneration)

sys.path.insert(0, str(Path(__file__).resolve().parent))
from make_generator_fixtures import enliven, rounded, untie, write_tokenizer  # noqa: E402

OUT = Path(__file__).resolve().parent.parent / "crates" / "testkit" / "fixtures" / "gguf"
VOCABULARY = 96
LENGTHS = [1, 7, 40]
BLOCKS = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
LLAMA = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=8, max_position_embeddings=128, tie_word_embeddings=True, eos_token_id=1, bos_token_id=2)
T5 = dict(vocab_size=VOCABULARY, d_model=32, d_kv=16, d_ff=32, num_layers=2, num_decoder_layers=1, num_heads=2, relative_attention_num_buckets=8,
          dropout_rate=0.0, decoder_start_token_id=3, pad_token_id=0, eos_token_id=1)
SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def models():
    """Name, model, the types it is stored in, and whether transformers reads such files."""
    yield "llama", LlamaForCausalLM(LlamaConfig(**LLAMA, rope_theta=1000.0)), ["F32", "F16", "Q8_0", "Q4_0", "Q4_1"], True
    # Transformers does not read the tensor that scales frequencies.
    scaled = {**LLAMA, "num_hidden_layers": 1, "tie_word_embeddings": False}
    yield "llama3", LlamaForCausalLM(LlamaConfig(**scaled, rope_theta=500_000.0, rope_scaling=SCALING)), ["F16"], False
    linear = {**LLAMA, "num_hidden_layers": 1, "attention_bias": True}
    yield "llama-linear", LlamaForCausalLM(LlamaConfig(**linear, rope_theta=1000.0, rope_scaling={"rope_type": "linear", "factor": 4.0})), ["F16"], False
    qwen = {name: value for name, value in LLAMA.items() if name != "head_dim"}
    yield "qwen2", Qwen2ForCausalLM(Qwen2Config(**{**qwen, "num_hidden_layers": 1, "tie_word_embeddings": False}, rope_theta=1000.0)), ["F16"], True
    yield "gpt2", GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1)), ["F16", "Q4_0"], True
    yield "t5", T5ForConditionalGeneration(T5Config(**T5)), ["F16", "Q4_0"], False
    yield "t5-gated", T5ForConditionalGeneration(T5Config(**{**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False})), ["F16"], False


def permuted(rows, heads):
    """Rows of queries or keys as llama.cpp turns them: those that turn together are neighbours."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def apart(rows, heads):
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def turned(name, config):
    """How many heads the rows of a tensor have that llama.cpp orders in another way."""
    if config.model_type != "llama":
        return None
    if ".q_proj." in name:
        return config.num_attention_heads
    return config.num_key_value_heads if ".k_proj." in name else None


def tensors_of(model):
    """Name in GGUF, name in transformers, numbers as llama.cpp's converter orders them."""
    config = model.config
    arch = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "gpt2": gguf.MODEL_ARCH.GPT2, "t5": gguf.MODEL_ARCH.T5}[config.model_type]
    names = gguf.get_tensor_name_map(arch, 8)
    shared = set()
    for name, tensor in model.state_dict().items():
        if name.endswith((".attn.bias", ".attn.masked_bias")) or tensor.data_ptr() in shared:
            continue
        shared.add(tensor.data_ptr())
        numbers = tensor.float().numpy()
        if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            numbers = numbers.T
        if heads := turned(name, config):
            numbers = permuted(numbers, heads)
        base, end = name.rsplit(".", 1)
        yield f"{names.get_name(base)}.{end}", name, np.ascontiguousarray(numbers)


def stored(name, numbers, kind):
    """As llama.cpp would store a tensor of a file of that type: lists stay as they are."""
    kind = Kind.F32 if numbers.ndim == 1 or "rel_b" in name or "position_embd" in name else Kind[kind]
    return gguf.quantize(numbers, kind), kind


def write_fields(writer, config):
    if config.model_type == "t5":
        writer.add_context_length(512)
        writer.add_embedding_length(config.d_model)
        writer.add_feed_forward_length(config.d_ff)
        writer.add_block_count(config.num_layers)
        writer.add_decoder_block_count(config.num_decoder_layers)
        writer.add_head_count(config.num_heads)
        writer.add_key_length(config.d_kv)
        writer.add_value_length(config.d_kv)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        writer.add_relative_attn_buckets_count(config.relative_attention_num_buckets)
        writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
        writer.add_decoder_start_token_id(config.decoder_start_token_id)
        return
    if config.model_type == "gpt2":
        writer.add_context_length(config.n_positions)
        writer.add_embedding_length(config.n_embd)
        writer.add_feed_forward_length(4 * config.n_embd)
        writer.add_block_count(config.n_layer)
        writer.add_head_count(config.n_head)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if config.model_type == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def divisors(config):
    """What LLaMA 3 divides frequencies by, as llama.cpp's converter computes it."""
    rope = config.rope_parameters
    for pair in range(config.head_dim // 2):
        turns = rope["original_max_position_embeddings"] * rope["rope_theta"] ** (-2 * pair / config.head_dim) / (2 * np.pi)
        if turns > rope["high_freq_factor"]:
            yield 1.0
        elif turns < rope["low_freq_factor"]:
            yield rope["factor"]
        else:
            share = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            yield 1 / ((1 - share) / rope["factor"] + share)


def write_gguf(path, model, kind, tokenizer=None, **split):
    """Writes a file, and returns the numbers in it by transformers' names."""
    writer = GGUFWriter(None, model.config.model_type, **split)
    write_fields(writer, model.config)
    if tokenizer:
        tokenizer(writer)
    else:
        writer.add_eos_token_id(1)
        writer.add_pad_token_id(0)
        # Where no field says how many tokens there are, transformers counts them.
        writer.add_token_list([f"w{number}" for number in range(VOCABULARY)])
    if (getattr(model.config, "rope_parameters", None) or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", np.array(list(divisors(model.config)), dtype=np.float32))
    state = {}
    for name, theirs, numbers in tensors_of(model):
        data, its_kind = stored(name, numbers, kind)
        writer.add_tensor(name, data, raw_dtype=its_kind)
        numbers = gguf.dequantize(data, its_kind).reshape(numbers.shape)
        if heads := turned(theirs, model.config):
            numbers = apart(numbers, heads)
        if theirs.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            numbers = numbers.T
        state[theirs] = torch.from_numpy(np.ascontiguousarray(numbers))
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


def ids(length, seed):
    return torch.randint(6, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(seed))


def cases(model):
    for number, length in enumerate(LENGTHS):
        prompt, source = ids(length, number), None
        if model.config.is_encoder_decoder:
            source, prompt = prompt, torch.cat([torch.tensor([[3]]), ids(5, 90 + number)], 1)
            logits = model(input_ids=source, decoder_input_ids=prompt).logits[0, -1]
        else:
            logits = model(input_ids=prompt).logits[0, -1]
        yield {"source": None if source is None else source[0].tolist(), "prompt": prompt[0].tolist(), "logits": rounded(logits)}


def with_numbers(model, state):
    """The model with other numbers; what it shares is in the file once."""
    twin = type(model)(model.config).eval()
    shared = {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"}
    if model.config.tie_word_embeddings:
        shared["lm_head.weight"] = next(name for name in state if name in ("shared.weight", "model.embed_tokens.weight", "transformer.wte.weight"))
    whole = {name: state[name if name in state else shared[name]].clone() for name in twin.state_dict()}
    twin.load_state_dict(whole)
    return twin


def write_models(out):
    for seed, (name, model, kinds, is_read) in enumerate(models()):
        torch.manual_seed(seed)
        enliven(model).eval()
        if name == "t5-gated":
            untie(model)
        folder = out / name
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        write_tokenizer(folder, model)
        if name != "llama":
            # One model in both forms is enough.
            (folder / "model.safetensors").rename(folder / "unused")
        reference = {"transformers": transformers.__version__}
        for kind in kinds:
            file = f"{kind.lower()}.gguf"
            state = write_gguf(folder / file, model, kind)
            twin = with_numbers(model, state)
            found = list(cases(twin))
            if is_read:
                # It reads no length of GPT-2's table of positions.
                given = {"config": model.config} if name == "gpt2" else {}
                theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, **given).eval()
                for ours, case in zip(found, cases(theirs)):
                    assert np.allclose(ours["logits"], case["logits"], atol=1e-4), (name, kind)
                found = list(cases(theirs))
            reference[file] = found
        for file in ("unused", "generation_config.json", *(("config.json",) if name != "llama" else ())):
            (folder / file).unlink(missing_ok=True)
        (folder / "reference.json").write_text(json.dumps(reference) + "\n")
        print(name, sum(file.stat().st_size for file in folder.iterdir()))


def write_split(out):
    """One model in three parts."""
    torch.manual_seed(40)
    model = enliven(LlamaForCausalLM(LlamaConfig(**{**LLAMA, "num_hidden_layers": 1}, rope_theta=1000.0))).eval()
    folder = out / "split"
    folder.mkdir()
    write_gguf(folder / "tiny.gguf", model, "Q8_0", split_max_tensors=4)
    whole = out / "whole"
    whole.mkdir()
    write_gguf(whole / "tiny.gguf", model, "Q8_0")
    for place in (folder, whole):
        write_tokenizer(place, model)


def write_blocks(path):
    random = np.random.default_rng(7)
    found = {}
    for name in BLOCKS:
        kind = Kind[name]
        numbers, size = gguf.GGML_QUANT_SIZES[kind]
        count = 1 if numbers == 256 else 2 if numbers > 1 else 16
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        # Factors of a usual size; all other bytes are random.
        halves = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
        for at in halves.get(name, [0]):
            factors = (random.standard_normal(count) * 0.1).astype(np.float32)
            half = factors.astype(np.float16) if name != "BF16" else (factors.view(np.uint32) >> 16).astype(np.uint16)
            blocks[:, at:at + 2] = half.view(np.uint8).reshape(count, 2)
        decoded = gguf.dequantize(blocks.reshape(1, -1), kind).astype(np.float32).flatten()
        found[name] = {"bytes": blocks.flatten().tolist(), "bits": decoded.view(np.uint32).tolist()}
    path.write_text(json.dumps(found) + "\n")


CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPLITS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
CORPUS = ["What did you think of the film? I liked it a lot, and I'd see it again.", "It's 2024, 12 of 365 days; the 1,000th visitor won 25 %.",
          "We'll meet at 10:30 -- don't be late!!! They've said \"no\".", "Two  spaces,   three; a tab\tand\n\nnew lines\n  with indents.",
          "He said: 'I'm sure you're right', and she'd agreed.", "Ein schöner Tag, naïve café, Ω and 東京 and 🎬🎬."] * 3


def byte_pairs(pre):
    """A tokenizer whose pairs were learnt without any splits, so that other splits give other ids."""
    tokenizer = Tokenizer(vocabularies.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=CONTROLS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS + [line.lower() for line in CORPUS], trainer)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre not in SPLITS)
    parts = {"gpt-2": [], "smollm": [pre_tokenizers.Digits(individual_digits=True)]}.get(pre)
    parts = [pre_tokenizers.Split(Regex(SPLITS[pre]), "isolated", invert=False)] if parts is None else parts
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts + [level]) if parts else level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.model.ignore_merges = pre == "llama-bpe"
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    if pre == "llama-bpe":
        tokenizer.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", pair="<|im_start|> $A <|im_start|> $B", special_tokens=[("<|im_start|>", 1)])
    return tokenizer


def write_pairs(pre):
    def write(writer):
        saved = json.loads(byte_pairs(pre).to_str())
        tokens = sorted(saved["model"]["vocab"], key=saved["model"]["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        # As the converter does: rows of the table beyond the vocabulary have names, too.
        writer.add_token_list(tokens + [f"[PAD{number}]" for number in range(len(tokens), 448)])
        writer.add_token_types([3] * len(CONTROLS) + [1] * (len(tokens) - len(CONTROLS)) + [5] * (448 - len(tokens)))
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in saved["model"]["merges"]])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
    return write


def sentence_pieces(kind, folder):
    """A sentencepiece model of pairs (as LLaMA's) or unigrams (as T5's)."""
    (folder / "corpus.txt").write_text("\n".join(CORPUS))
    # Fewer replacements than sentencepiece has of its own, which take 240 KB: a letter and its accent, a fraction, a wide letter.
    (folder / "rules.tsv").write_text("65 301\tE9\nBD\t31 2044 32\nFF21\t41\nA0\t20\n9\t20\nA\t20\nD\t20\n")
    pairs = kind == "llama"
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / kind), vocab_size=440 if pairs else 160, model_type="bpe" if pairs else "unigram",
        byte_fallback=pairs, **({"normalization_rule_name": "identity"} if pairs else {"normalization_rule_tsv": str(folder / "rules.tsv")}), remove_extra_whitespaces=not pairs, add_dummy_prefix=True,
        pad_id=-1 if pairs else 0, eos_id=2 if pairs else 1, unk_id=0 if pairs else 2, bos_id=1 if pairs else -1, character_coverage=1.0,
        split_digits=pairs, hard_vocab_limit=False, num_threads=1, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{kind}.model"))
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto.FromString((folder / f"{kind}.model").read_bytes())
    return processor, proto


def write_pieces(kind, processor, proto):
    def write(writer):
        writer.add_tokenizer_model(kind)
        writer.add_tokenizer_pre("default")
        types = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6}
        rest = range(len(proto.pieces), 448)
        writer.add_token_list([piece.piece for piece in proto.pieces] + [f"[PAD{number}]" for number in rest])
        writer.add_token_scores([piece.score for piece in proto.pieces] + [-10000.0] * len(rest))
        writer.add_token_types([types[piece.type] for piece in proto.pieces] + [5] * len(rest))
        writer.add_unk_token_id(processor.unk_id())
        writer.add_eos_token_id(processor.eos_id())
        if kind == "llama":
            writer.add_bos_token_id(processor.bos_id())
        else:
            writer.add_add_space_prefix(True)
            writer.add_remove_extra_whitespaces(True)
            writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    return write


def their_tokenizer(kind, folder, proto):
    """The `tokenizer.json` of such models, spelled as those of LLaMA 2 and T5."""
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    special = [{"id": at, "content": piece.piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for at, piece in enumerate(proto.pieces) if piece.type in (2, 3)]
    if kind == "llama":
        from transformers.tokenization_utils_base import generate_merges
        merges = generate_merges({piece: at for at, (piece, _) in enumerate(pieces)}, dict(pieces))
        model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                 "vocab": {piece: at for at, (piece, _) in enumerate(pieces)}, "merges": [list(merge) for merge in merges]}
        saved = {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
                 "pre_tokenizer": None,
                 "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                                                              {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
                 "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                                    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}, "model": model}
    else:
        space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        saved = {"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()},
                 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]}, "decoder": space,
                 "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                                    "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
                 "model": {"type": "Unigram", "unk_id": 2, "vocab": [list(piece) for piece in pieces], "byte_fallback": False}}
    return Tokenizer.from_str(json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, **saved}))


def texts(count):
    """Texts of words, digits, spaces and rare characters."""
    random = np.random.default_rng(11)
    parts = ["film", "The ", "I'll", "'S", " 12", "345", "6", "  ", "   ", "\n", "\n\n", "\t", "don't", " we", "re", "!", "!!", "...", " --", "é", "ß", "東京", "🎬",
             "e\u0301", " ", "a", "b ", "LIKED", " liked", "-", "\r\n", ":", ";", "\"", "Ω", "½", "Ⅷ", "\u00a0", "x1y2", "_", "$5", " and"]
    for _ in range(count):
        yield "".join(parts[at] for at in random.integers(0, len(parts), random.integers(1, 14)))


def write_tokenizers(out):
    # As few rows as there are ids; everything else as small as it can be.
    config = {**LLAMA, "vocab_size": 448, "num_hidden_layers": 1, "intermediate_size": 32, "num_key_value_heads": 1}
    for pre in ["gpt-2", "smollm", "llama-bpe", "qwen2", "llama", "t5"]:
        torch.manual_seed(60)
        model = enliven(LlamaForCausalLM(LlamaConfig(**config))).eval()
        folder = out / pre
        folder.mkdir(parents=True)
        if pre in ("llama", "t5"):
            with tempfile.TemporaryDirectory() as place:
                processor, proto = sentence_pieces(pre, Path(place))
            theirs, write = their_tokenizer(pre, folder, proto), write_pieces(pre, processor, proto)
            for text in texts(1000):
                expected = processor.encode(text)
                expected = [processor.bos_id()] + expected if pre == "llama" else expected + [processor.eos_id()]
                assert theirs.encode(text).ids == expected, (pre, text, theirs.encode(text).tokens, processor.encode(text, out_type=str))
        else:
            theirs, write = byte_pairs(pre), write_pairs(pre)
        write_gguf(folder / "model.gguf", model, "Q4_0", write)
        # Beside the file it would be used, so it has another name.
        theirs.save(str(folder / "theirs.json"), pretty=False)
        print(pre, len(json.loads(theirs.to_str())["model"]["vocab"]), (folder / "model.gguf").stat().st_size)
    (out / "texts.json").write_text(json.dumps(list(texts(1000)), ensure_ascii=False) + "\n")


def main(out=OUT):
    transformers.utils.logging.set_verbosity_error()
    torch.set_grad_enabled(False)
    out = Path(out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_models(out / "models")
    write_split(out)
    write_tokenizers(out / "tokenizers")
    write_blocks(out / "blocks.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
