"""Turns GriceBench's repair model and generator into plain Hugging Face folders, which `grice generate` opens.

`export_gricebench.py` calls it; what follows is said of its arguments. The checkpoint is a folder with, or a file of

- a T5 (repair) or GPT-2 (generator) in safetensors or as a state dict (`.bin`, `.pt`), perhaps in shards, or
- a LoRA adapter for one of them in PEFT's format, which is merged into its base (`--base`).

A state dict without a configuration is taken for GriceBench's: a T5-base or a GPT-2-medium. The folder that is written has
`config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json`, and GriceBench's recipes in `grice.json`.
"""
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration
from transformers.pytorch_utils import Conv1D

import lora
from bundle import replace_folder
from checkpoint_state import ExportError, listed, read_json, read_state, without_prefix

KINDS = ("repair", "generator")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
WHOLE = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pt")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# How GriceBench repairs and generates. The minimum length of a T5 counts its start token, so 8 tokens are 7 new ones.
_EDIT = {"beams": 4, "min_new_tokens": 7, "max_new_tokens": 128, "repetition_penalty": 1.5, "no_repeat_ngram": 3, "source_tokens": 256, "retries": 2}
_REWORD = {**{name: value for name, value in _EDIT.items() if name != "beams"}, "temperature": 0.85, "top_p": 0.92}
RECIPES = {
    "repair": {"task": "repair", "recipes": {
        maxim: {"template": f"fix {maxim}: [CONTEXT] {{context}} [RESPONSE] {{response}}", **how}
        for maxim, how in (("quantity", _EDIT), ("quality", _EDIT), ("manner", _REWORD))}},
    "generator": {"task": "generate", "recipes": {
        "answer": {"template": "Context: {context}\nResponse:", "temperature": 0.85, "top_p": 0.92, "repetition_penalty": 1.3,
                   "max_new_tokens": 80, "source_tokens": 512, "retries": 2}}},
}
# What trainers save beside the weights.
NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler", "trainer_state")
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Family:
    """What the exporter must know of an architecture."""

    kind: str
    model: type
    config: type
    # Of GriceBench's model, for state dicts without a configuration.
    assumed: dict
    assumed_name: str
    words: str
    # Other names of the table of words.
    copies: tuple
    # Tensors of old files that are no weights, or that no layer uses.
    buffers: tuple


FAMILIES = {
    "t5": Family("repair", T5ForConditionalGeneration, T5Config,
                 dict(model_type="t5", architectures=["T5ForConditionalGeneration"], vocab_size=32128, d_model=768, d_kv=64,
                      d_ff=3072, num_layers=12, num_decoder_layers=12, num_heads=12, decoder_start_token_id=0, pad_token_id=0,
                      eos_token_id=1, feed_forward_proj="relu", relative_attention_num_buckets=32,
                      relative_attention_max_distance=128, layer_norm_epsilon=1e-6, tie_word_embeddings=True),
                 "T5-base", "shared.weight", ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
                 ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)),
    "gpt2": Family("generator", GPT2LMHeadModel, GPT2Config,
                   dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], vocab_size=50257, n_positions=1024, n_embd=1024,
                        n_layer=24, n_head=16, activation_function="gelu_new", layer_norm_epsilon=1e-5, bos_token_id=50256,
                        eos_token_id=50256, tie_word_embeddings=True),
                   "GPT-2-medium", "transformer.wte.weight", (), (".attn.bias", ".attn.masked_bias")),
}


@dataclass
class Weights:
    """Tensors by name, and the file that they are from."""

    path: Path
    config: dict
    family: Family
    state: dict


def kind_of(place):
    """`repair` or `generator`, told from the files; `None` for what is neither. Raises `ExportError`."""
    place = Path(place)
    if not place.is_dir():
        return _kind_of_state(place) if place.is_file() else None
    if (place / lora.CONFIG).is_file():
        task = read_json(place / lora.CONFIG, {}).get("task_type")
        return "repair" if task == "SEQ_2_SEQ_LM" else "generator"
    config = read_json(place / "config.json", {})
    if "model_type" in config:
        return FAMILIES[config["model_type"]].kind if config["model_type"] in FAMILIES else None
    files = _weight_files(place)
    return _kind_of_state(files[0]) if len(files) == 1 else None


def _kind_of_state(path):
    try:
        names = _plain_names(read_state(path))
    except ExportError:
        return None  # the detector's reader says what is wrong
    return next((family.kind for family in FAMILIES.values() if family.words in names), None)


def export_writer(place, out, kind, *, base=None, tokenizer=None, dtype="float32", overwrite=False):
    """Exports and checks a repair model or generator; nothing is left at `out` unless all went well.

    `base` is the folder of an adapter's base, or of a state dict's configuration and tokenizer. Raises `ExportError`.
    """
    place, out = Path(place), Path(out)
    if not overwrite and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} exists already; choose another folder, or pass --force to replace it")
    folder = place if place.is_dir() else place.parent
    adapter = lora.read_adapter(place) if place.is_dir() and (place / lora.CONFIG).is_file() else None
    base = Path(base) if base is not None else _named_base(adapter)
    weights = _load(place if adapter is None else base, kind, base)
    if adapter is not None:
        weights = _merged(weights, adapter)
    _check(weights)
    state = {name: _stored(weights.path, name, tensor, DTYPES[dtype]) for name, tensor in weights.state.items()}
    places = [Path(tokenizer)] if tokenizer is not None else [folder] + ([base] if base is not None else [])
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write_tokenizer(staged, places, weights)
        _write_json(staged / "config.json", {**weights.config, "torch_dtype": dtype})
        _write_json(staged / "generation_config.json", _generation_config([folder] + ([base] if base is not None else []), weights))
        _write_json(staged / "grice.json", {"format": 2, "name": out.name, "version": "", **RECIPES[weights.family.kind]})
        save_file(state, str(staged / "model.safetensors"), metadata={"format": "pt"})
        _try(staged, weights)
        staged.chmod(0o755)
        replace_folder(staged, out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return sum(tensor.numel() for tensor in state.values())


def _named_base(adapter):
    """The folder that an adapter names as its base."""
    if adapter is None:
        return None
    named = adapter.config.get("base_model_name_or_path")
    for place in (Path(str(named)), adapter.path.parent / str(named)):
        if named and place.is_dir():
            return place
    raise ExportError(f"{adapter.path.parent / lora.CONFIG}: its base is `{named}`, which is no folder here; pass --base FOLDER")


def _load(place, kind, base):
    """The weights of a folder or file under the names that transformers gives them, and their configuration."""
    folder = place if place.is_dir() else place.parent
    configs = [found for found in (folder, base) if found is not None and (found / "config.json").is_file()]
    config = read_json(configs[0] / "config.json", {}) if configs else None
    if config is not None and config.get("model_type") not in FAMILIES:
        raise ExportError(f"{configs[0] / 'config.json'}: `model_type` is {config.get('model_type')!r}; known are {', '.join(FAMILIES)}")
    family = next(family for name, family in FAMILIES.items() if (config or {}).get("model_type") == name or
                  (config is None and family.kind == kind))
    if family.kind != kind:
        raise ExportError(f"{configs[0] / 'config.json'}: `model_type` {config['model_type']!r} is that of a {family.kind}, not of a {kind}")
    if config is None:
        print(f"note: no config.json in {folder}; {family.assumed_name} is assumed (see --base)", file=sys.stderr)
        config = dict(family.assumed)
    path, state = _read_weights(place)
    return _fit_vocabulary(Weights(path, config, family, _plain_names(state)))


def _weight_files(folder):
    """The files with weights in a folder: those of the usual names, else any that can be nothing else."""
    usual = [folder / name for name in WHOLE if (folder / name).is_file()]
    others = [path for path in sorted(folder.iterdir()) if path.suffix in (".bin", ".pt", ".pth", ".safetensors")
              and not path.name.startswith(NOT_WEIGHTS)]
    return usual[:1] or others


def _read_weights(place):
    if place.is_file():
        return place, read_state(place)
    index = next((place / name for name in INDEXES if (place / name).is_file()), None)
    if index is not None and not any((place / name).is_file() for name in WHOLE):
        return index, _read_shards(index)
    files = _weight_files(place)
    if len(files) != 1:
        found = f"several files that may hold its weights ({listed(file.name for file in files)}); pass one of them" if files \
            else f"none of {', '.join(WHOLE + INDEXES)}"
        raise ExportError(f"{place}: holds {found}")
    return files[0], read_state(files[0])


def _read_shards(index):
    places = read_json(index, {}).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ExportError(f"{index}: field `weight_map` must hold an object")
    outside = [f"`{name}`" for name in places.values() if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise ExportError(f"{index}: must name files beside it, not {listed(outside)}")
    shards = {name: read_state(index.parent / name) for name in sorted(set(places.values()))}
    missing = [f"{name} in {file}" for name, file in places.items() if name not in shards[file]]
    if missing:
        raise ExportError(f"{index}: missing: {listed(missing)}")
    return {name: shards[file][name] for name, file in places.items()}


def _plain_names(state):
    """Names as transformers has them: without `model.` before all, and with `transformer.` before GPT-2's."""
    state = without_prefix(without_prefix(state, "model."), "base_model.model.")
    if "wte.weight" in state:
        return {name if name == HEAD else f"transformer.{name}": tensor for name, tensor in state.items()}
    return state


def _fit_vocabulary(weights):
    """Takes the number of tokens from the table of words, which may have been resized in training."""
    family, state = weights.family, dict(weights.state)
    for name in family.copies:
        if family.words not in state and name in state:
            state[family.words] = state[name]
    words = state.get(family.words)
    if words is None or words.dim() != 2:
        raise ExportError(f"{weights.path}: needs a table of words `{family.words}`; its tensors are {listed(state)}")
    for name in family.copies:
        if name in state and not torch.equal(state.pop(name), words):
            raise ExportError(f"{weights.path}: the tensor `{name}` differs from `{family.words}`, which it shares")
    config = dict(weights.config)
    if config.get("vocab_size") != len(words):
        print(f"note: the checkpoint embeds {len(words)} tokens, config.json says {config.get('vocab_size')}; the checkpoint's "
              "number is used", file=sys.stderr)
        config["vocab_size"] = len(words)
    return replace(weights, state=state, config=config)


def _merged(weights, adapter):
    """The weights with the adapter merged. A head that then differs from the table of words gets a tensor of its own."""
    model = _skeleton(weights)
    modules = dict(model.named_modules())
    state, family = dict(weights.state), weights.family
    if any(HEAD == name for name in adapter.replaced) or "lm_head" in adapter.pairs:
        state.setdefault(HEAD, state[family.words])
    if family.words.removesuffix(".weight") in adapter.pairs:
        raise ExportError(f"{adapter.path}: changes the table of words, which is not supported; merge it with PEFT")
    merged = lora.merge(adapter, state, lambda module: isinstance(modules.get(module), Conv1D))
    weights = _fit_vocabulary(replace(weights, path=adapter.path, state=merged))
    own = weights.state.get(HEAD)
    if own is not None and weights.config.get("tie_word_embeddings", True) and not torch.equal(own, weights.state[family.words]):
        if family.kind == "repair":
            raise ExportError(f"{adapter.path}: gives `{HEAD}` weights that differ from `{family.words}`, which a T5 of this kind shares")
        print(f"note: the adapter gives `{HEAD}` weights of its own; config.json says so", file=sys.stderr)
        weights.config["tie_word_embeddings"] = False
    return weights


def _skeleton(weights):
    """The model that the configuration describes, without memory for its weights."""
    try:
        with torch.device("meta"):
            return weights.family.model(weights.family.config.from_dict(dict(weights.config)))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ExportError(f"config.json: does not describe a model: {error}") from error


def _check(weights):
    """Whether the tensors are the model's, all of them and no others. A head that repeats the table of words is left out."""
    family, state, path = weights.family, weights.state, weights.path
    expected = {name: tensor for name, tensor in _skeleton(weights).state_dict().items()
                if name not in family.copies and not name.endswith(family.buffers)}
    for name in [name for name in state if name.endswith(family.buffers)]:
        del state[name]
    tied = weights.config.get("tie_word_embeddings", True)
    if tied and HEAD in state and torch.equal(state[HEAD], state[family.words]):
        del state[HEAD]
    elif tied and HEAD in state and weights.config.get("scale_decoder_outputs", True):
        raise ExportError(f"{path}: the tensor `{HEAD}` differs from `{family.words}`, and config.json says that they are one")
    missing = [name for name in expected if name not in state and not (tied and name == HEAD)]
    unexpected = [f"{name} {list(tensor.shape)}" for name, tensor in state.items() if name not in expected]
    shapes = [f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}" for name, tensor in expected.items()
              if name in state and state[name].shape != tensor.shape]
    problems = [f"{word}: {listed(names)}" for word, names in
                (("missing", missing), ("unexpected", unexpected), ("shapes that do not fit config.json", shapes)) if names]
    if problems:
        raise ExportError(f"{path}: the tensors do not fit the model; {'; '.join(problems)} (its configuration can come from --base)")


def _stored(path, name, tensor, dtype):
    """A tensor as it is written. Raises `ExportError` if a number is not finite, or too large for the type."""
    if not tensor.is_floating_point():
        raise ExportError(f"{path}: the tensor `{name}` has the type {tensor.dtype}; weights are floating point numbers")
    if not torch.isfinite(tensor).all():
        raise ExportError(f"{path}: the tensor `{name}` {list(tensor.shape)} holds a number that is infinite or NaN")
    stored = tensor.to(dtype).contiguous().clone()
    if not torch.isfinite(stored).all():
        raise ExportError(f"{path}: the tensor `{name}` {list(tensor.shape)} holds a number too large for {str(dtype)[6:]}; "
                          "choose another --dtype")
    return stored


def _write_tokenizer(staged, places, weights):
    """`tokenizer.json` of the first folder that has a tokenizer, made from its slow files if need be."""
    for place in places:
        if (place / "tokenizer.json").is_file():
            shutil.copyfile(place / "tokenizer.json", staged / "tokenizer.json")
        elif (place / "spiece.model").is_file() or ((place / "vocab.json").is_file() and (place / "merges.txt").is_file()):
            _convert_tokenizer(staged, place, weights.family)
        else:
            continue
        if (place / "tokenizer_config.json").is_file():
            shutil.copyfile(place / "tokenizer_config.json", staged / "tokenizer_config.json")
        return _check_tokenizer(staged / "tokenizer.json", place, weights.config["vocab_size"])
    names = " and ".join(str(place) for place in places)
    raise ExportError(f"{names}: no tokenizer.json, spiece.model, or vocab.json and merges.txt; pass --tokenizer FOLDER")


def _convert_tokenizer(staged, place, family):
    import transformers

    library = transformers.T5TokenizerFast if family.kind == "repair" else transformers.GPT2TokenizerFast
    try:
        library.from_pretrained(place, local_files_only=True).backend_tokenizer.save(str(staged / "tokenizer.json"))
    except Exception as error:  # each library behind it has its own
        raise ExportError(f"{place}: its tokenizer cannot be read: {str(error).splitlines()[0]}") from error


def _check_tokenizer(path, place, rows):
    try:
        vocabulary = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises a bare Exception
        raise ExportError(f"{place}: its tokenizer cannot be read: {error}") from error
    beyond = [f"`{token}` ({number})" for token, number in vocabulary.items() if number >= rows]
    if beyond:
        raise ExportError(f"{place}: its tokenizer has tokens that the model's {rows} rows do not embed: {listed(beyond)}; "
                          "pass the right one by --tokenizer FOLDER")


def _generation_config(places, weights):
    """The first folder's `generation_config.json`; without one, what config.json says of tokens."""
    for place in places:
        found = read_json(place / "generation_config.json", None)
        if isinstance(found, dict):
            return found
    fields = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    return {field: weights.config[field] for field in fields if weights.config.get(field) is not None}


def _try(folder, weights):
    """Opens the export as a user does, and runs it on a few tokens. Raises `ExportError`."""
    model, report = weights.family.model.from_pretrained(folder, local_files_only=True, output_loading_info=True, dtype=torch.float32)
    problems = [f"{key}: {listed(names)}" for key, names in report.items() if names]
    if problems:
        raise ExportError(f"{weights.path}: the export does not open: {'; '.join(problems)}")
    ids = torch.arange(8)[None] % weights.config["vocab_size"]
    more = {"decoder_input_ids": ids} if weights.family.kind == "repair" else {}
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, **more).logits
    if not torch.isfinite(logits).all():
        raise ExportError(f"{weights.path}: the export computes logits that are infinite or NaN")


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
