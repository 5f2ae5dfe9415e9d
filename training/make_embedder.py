"""Makes `models/embed-mini`: all-MiniLM-L6-v2 in 8 bits with a smaller vocabulary, as a folder of sentence-transformers.

    python training/make_embedder.py --data DIR --out models/embed-mini --reference crates/testkit/fixtures/embed-mini-reference.json

Nothing is trained. `DIR/topical_chat.jsonl` (training/README.md) says which tokens of the vocabulary are used most; dialogues that
`measure_retrieval.py` asks about are left out. Dense layers get 8 bits with a scale for each output, and the table of words 8 bits with a scale for
each word, in the format of `compressed-tensors`. Positions beyond the longest text are cut off.
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model import base_folder, kept_tokens, set_vocabulary
from replies import dialogues, is_held_out

# For `crates/core/tests/retrieval.rs`.
TEXTS = [
    "What did you think of the film?",
    "I liked the music most.",
    "Did you know that the university of Iowa's locker room for visiting football teams is painted pink?",
    "The library closes at six on Saturdays.",
    "Albert Einstein wrote a letter to a philosopher in 1954, and it was sold at an auction.",
    "A snowboarder's wristwatch, photosynthesis and quadratic equations: odd words for any tokenizer.",
]
VOCABULARY = 20_480
LONGEST = 256
STEPS = 127


def rounded(weight):
    """Bytes and their scales, one for each row: `weight` is nearly `bytes · scales`."""
    scales = weight.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / STEPS
    return (weight / scales).round().clamp(-STEPS, STEPS).to(torch.int8), scales


def quantized(state, rows):
    """The tensors of the new file."""
    out = {}
    for name, tensor in state.items():
        if name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        if name == "embeddings.word_embeddings.weight":
            tensor = tensor[rows]
        if name == "embeddings.position_embeddings.weight":
            out[name] = tensor[:LONGEST].half().contiguous()
        elif tensor.dim() == 2 and "token_type" not in name:
            out[name], out[f"{name}_scale"] = rounded(tensor.float())
        else:
            out[name] = tensor.float().contiguous()
    return out


def integers(strategy, dynamic):
    return {"num_bits": 8, "type": "int", "symmetric": True, "strategy": strategy, "dynamic": dynamic, "group_size": None}


def configuration():
    config = json.loads((base_folder() / "config.json").read_text())
    config.pop("_name_or_path", None)
    config |= {"vocab_size": VOCABULARY, "max_position_embeddings": LONGEST, "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["embeddings.position_embeddings", "embeddings.token_type_embeddings"],
        "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": integers("channel", False), "input_activations": integers("token", True),
                        "output_activations": None},
            "group_1": {"targets": ["Embedding"], "weights": integers("channel", False), "input_activations": None,
                        "output_activations": None},
        },
    }}
    return config


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def reference():
    """The vectors of the original model by sentence-transformers, in single precision."""
    import sentence_transformers
    model = sentence_transformers.SentenceTransformer(str(base_folder()), device="cpu", model_kwargs={"dtype": torch.float32},
                                                      local_files_only=True)
    vectors = model.encode(TEXTS, batch_size=1, convert_to_tensor=True).tolist()
    cases = [{"text": text, "vector": [round(number, 5) for number in vector]} for text, vector in zip(TEXTS, vectors)]
    return {"sentence_transformers": sentence_transformers.__version__, "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--reference", type=Path, help="write the vectors of the original here")
    args = parser.parse_args()
    if args.reference:
        args.reference.write_text(json.dumps(reference(), ensure_ascii=False) + "\n", encoding="utf-8")
    texts = [turn for dialogue in dialogues(args.data) if not is_held_out(dialogue["id"]) for turn in dialogue["turns"]]
    tokenizer = json.loads((base_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    tokens = kept_tokens(tokenizer, texts, VOCABULARY, share=0.95, least=1)
    if len(tokens) != VOCABULARY:
        raise ValueError(f"{len(tokens)} tokens are kept, and {VOCABULARY} should be")
    rows = [vocabulary[token] for token in tokens]
    set_vocabulary(tokenizer, tokens)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(quantized(load_file(base_folder() / "model.safetensors"), rows), args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    write_json(args.out / "config.json", configuration())
    for name in ["modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"]:
        (args.out / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(base_folder() / name, args.out / name)
    write_json(args.out / "sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False})
    write_json(args.out / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": LONGEST})
    print(args.out, sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file()), "bytes")


if __name__ == "__main__":
    main()
