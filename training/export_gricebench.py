"""Turns GriceBench's models into what grice runs: a trained detector into a bundle, the repair model and the generator into Hugging Face folders.

    python training/export_gricebench.py CHECKPOINT_DIR OUT_DIR [--encoder DIR] [--template TEXT] [--labels A,B,C,D]
    python training/export_gricebench.py CHECKPOINT OUT_DIR [--kind repair|generator] [--base DIR] [--dtype TYPE]

Which of the three it is follows from the files; `--kind` says it otherwise. For repair and generator see `export_writer.py`.

Two kinds of detector's checkpoint folder are read, both without a network:

- GriceBench's: `pytorch_model.pt`, a state dict of an encoder and four heads (three linear layers with GELU between, or one)
  on token 0, with `temperatures.json`, tokenizer files and perhaps `config.json`. Without a configuration the encoder is
  taken to be DeBERTa-v3-base.
- Hugging Face's for sequence classification: `config.json` and `model.safetensors` or `pytorch_model.bin`, four labels.

The graph has inputs `input_ids` and `attention_mask` (int64 `[batch, sequence]`) and outputs `logits` and `probs`
(float32 `[batch, 4]`; `probs` is the sigmoid of the logits, before any temperature). Before anything is written it is run with
ONNX Runtime against PyTorch on several shapes. Every weight of the model must come from the checkpoint, and every tensor of the
checkpoint must have a place in the model. Exit status: 0 written, 1 refused, 2 wrong usage.
"""
import argparse
import fnmatch
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import torch.nn as nn
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, DebertaV2Config

from bundle import MAXIMS, BundleError, write_bundle
from bundle_tokenizer import TokenizerError, bundle_tokenizer, default_template, find_tokenizer
from checkpoint_state import ExportError, listed, read_json, read_state
from export_writer import DTYPES, KINDS, export_writer, kind_of

# fp32 sums in another order differ by about 1e-6 of a logit; a graph that computes something else differs by far more.
TOLERANCE = 1e-4
TRACED_LENGTH = 48
# One ONNX file is one protobuf message, which ends at 2 GiB.
WEIGHT_BYTES_MAX = (1 << 31) - (16 << 20)
# Absolute positions, one row each: what the runtime calls the family "bert".
FAMILIES = {"deberta-v2": "deberta-v2", "bert": "bert", "distilbert": "bert", "electra": "bert", "roberta": "bert",
            "xlm-roberta": "bert", "camembert": "bert"}
# These count positions from the padding id + 1.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert")
# Counters that older versions of transformers saved; they hold 0, 1, 2, …
COUNTERS = ("embeddings.position_ids", "embeddings.token_type_ids")
STATE_FILES = ("pytorch_model.pt", "model.safetensors", "pytorch_model.bin")
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"


@dataclass
class Checkpoint:
    """A loaded detector: `model(input_ids, attention_mask)` gives logits `[batch, 4]`, columns in the order of `labels`."""

    model: nn.Module
    graph_model: nn.Module
    config: transformers.PretrainedConfig
    labels: tuple


class HeadedEncoder(nn.Module):
    """An encoder and four heads on token 0: the logits `[batch, 4]`."""

    def __init__(self, encoder, heads):
        super().__init__()
        self.encoder = encoder
        self.heads = heads

    def forward(self, input_ids, attention_mask):
        first = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0, :]
        if isinstance(self.heads, nn.ModuleList):
            return torch.cat([head(first) for head in self.heads], dim=1)
        return self.heads(first)


class Classifier(nn.Module):
    """A Hugging Face sequence classifier: the logits `[batch, 4]`."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids, attention_mask):
        return self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits


class Graph(nn.Module):
    """What is traced: logits and their sigmoid.

    For encoders other than DeBERTa the padding mask is turned into the additive one `[batch, 1, 1, sequence]` here, since
    the library's own way of doing so leaves dozens of shape operations in the graph.
    """

    def __init__(self, model, additive_mask):
        super().__init__()
        self.model = model
        self.additive_mask = additive_mask

    def forward(self, input_ids, attention_mask):
        if self.additive_mask:
            hidden = 1.0 - attention_mask.to(torch.float32)
            attention_mask = (hidden * torch.finfo(torch.float32).min)[:, None, None, :]
        logits = self.model(input_ids, attention_mask)
        return logits, torch.sigmoid(logits)


def load_checkpoint(folder, encoder=None, labels=None, ignore=()):
    """Loads a checkpoint folder of either kind, in fp32, for inference.

    `encoder` is a folder whose `config.json` describes the encoder, `labels` the maxims in the order of the columns, and
    `ignore` patterns (`loss.*`) of tensors that play no part in inference. Raises `ExportError`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExportError(f"{folder} is not a folder")
    architectures = read_json(folder / "config.json", {}).get("architectures") or []
    is_classifier = any(name.endswith("ForSequenceClassification") for name in architectures)
    if is_classifier and not (folder / STATE_FILES[0]).is_file():
        checkpoint = _load_classifier(folder, labels)
    else:
        checkpoint = _load_headed(folder, encoder, labels, ignore)
    checkpoint.model.eval()
    checkpoint.graph_model.eval()
    return checkpoint


def export_onnx(checkpoint, path, opset):
    """Writes the graph as one ONNX file, both axes dynamic, and checks it. Raises `ExportError`."""
    import onnx

    weights = sum(weight.numel() * 4 for weight in checkpoint.model.parameters())
    if weights > WEIGHT_BYTES_MAX:
        raise ExportError(f"its weights take {weights} bytes, more than one ONNX file can hold ({WEIGHT_BYTES_MAX})")
    rows, length = checkpoint.config.vocab_size, min(TRACED_LENGTH, _positions(checkpoint.config))
    ids = torch.arange(3 * length).reshape(3, length) % rows
    mask = torch.ones_like(ids)
    mask[1, length - 1 :] = 0
    mask[2, length // 4 :] = 0
    axes = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
    axes.update({name: {0: "batch"} for name in ("logits", "probs")})
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns of every Python number it sees; what they could break is tested on other shapes afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(checkpoint.graph_model, (ids, mask), str(path), opset_version=opset, dynamo=False,
                          input_names=["input_ids", "attention_mask"], output_names=["logits", "probs"], dynamic_axes=axes)
    graph = onnx.load(str(path))
    for node in graph.graph.node:
        node.doc_string = ""  # where in which Python file the node came from
    onnx.save(graph, str(path))
    onnx.checker.check_model(str(path))


def verify(checkpoint, path, tokens_max):
    """The largest difference of any logit or probability between ONNX Runtime and PyTorch, over several shapes.

    Raises `ExportError` where an output is not finite or has another shape. PyTorch runs the model as it was loaded, with
    the plain padding mask, so that a mistake in `Graph` shows too.
    """
    session = onnx_session(path)
    random = np.random.default_rng(0)
    lengths = sorted({length for length in (1, 2, 7, TRACED_LENGTH + 1, 130, 300, tokens_max) if length <= tokens_max})
    worst = 0.0
    for position, length in enumerate(lengths):
        batch = 1 + position % 3
        ids = random.integers(0, checkpoint.config.vocab_size, (batch, length))
        if checkpoint.config.model_type in OFFSET_POSITIONS:  # a padding id amid the text would shift the positions
            ids[ids == checkpoint.config.pad_token_id] += 1
        mask = np.ones_like(ids)
        for row in range(1, batch):
            mask[row, max(1, length - row * length // 3) :] = 0
        ids[mask == 0] = checkpoint.config.pad_token_id or 0
        with torch.no_grad():
            expected = checkpoint.model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        logits, probs = session.run(["logits", "probs"], {"input_ids": ids, "attention_mask": mask})
        if logits.shape != (batch, 4) or expected.shape != (batch, 4) or not np.isfinite(logits).all():
            raise ExportError(f"for {batch} texts of {length} tokens it gives logits of {logits.shape}, or not finite ones")
        difference = np.abs(logits - expected).max()
        worst = max(worst, float(difference), float(np.abs(probs - 1 / (1 + np.exp(-expected))).max()))
        print(f"  {batch} x {length:3}: logits differ by {difference:.1e} at most")
    return worst


def onnx_session(path):
    """An ONNX Runtime session on the CPU that keeps to one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def read_temperatures(path, labels=MAXIMS):
    """`temperatures.json` → maxim → number: an object by maxim, a list in the order of `labels`, or either one level down.

    1.0 each, with a warning, where there is no such file. Raises `ExportError` for any other content.
    """
    if not path.is_file():
        print(f"warning: no {path.name}; every temperature is 1.0, so probabilities are as sharp as training left them",
              file=sys.stderr)
        return dict.fromkeys(MAXIMS, 1.0)
    found = _temperatures_in(read_json(path, {}), labels)
    if found is None:
        raise ExportError(f"{path}: gives no number for each of {', '.join(MAXIMS)}")
    return found


def export(folder, out, *, encoder=None, template=None, labels=None, max_tokens=None, opset=17, name=None, version="1.0.0",
           evidence_ignored=(), ignore=(), reference=None, overwrite=False):
    """Exports, verifies and writes the bundle; nothing is left at `out` unless all went well. Returns the difference found.

    `reference` is a file to write inputs and PyTorch's logits to, see `write_reference`. Raises `ExportError`, `TokenizerError` or `BundleError`.
    """
    folder, out = Path(folder), Path(out)
    if not overwrite and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} exists already; choose another folder, or pass --force to replace it")
    checkpoint = load_checkpoint(folder, encoder, labels, ignore)
    config = checkpoint.config
    if config.model_type not in FAMILIES:
        raise ExportError(f"the encoder is of type `{config.model_type}`; known are {', '.join(FAMILIES)}")
    if max_tokens is None:
        max_tokens = min(512, _positions(config))
    elif max_tokens > _positions(config) and FAMILIES[config.model_type] == "bert":
        raise ExportError(f"--max-tokens {max_tokens}: the encoder has only {_positions(config)} positions")
    tokenizer = find_tokenizer([folder] + ([Path(encoder)] if encoder else []))
    template = default_template(tokenizer) if template is None else template
    tokenizer_json = bundle_tokenizer(tokenizer, template, config.vocab_size)
    temperatures = read_temperatures(folder / "temperatures.json", checkpoint.labels)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staged:
        graph = Path(staged) / "model.onnx"
        export_onnx(checkpoint, graph, opset)
        worst = verify(checkpoint, graph, max_tokens)
        if not worst <= TOLERANCE:
            raise ExportError(f"ONNX Runtime and PyTorch differ by {worst:.1e}, more than {TOLERANCE:.0e}; nothing is written")
        write_bundle(out, name=name or folder.resolve().name, version=version, family=FAMILIES[config.model_type],
                     template=template, labels=checkpoint.labels, temperatures=temperatures, thresholds=None,
                     max_tokens=max_tokens, models={"fp32": graph}, config=_written_config(config),
                     tokenizer_json=tokenizer_json, evidence_ignored=evidence_ignored, overwrite=overwrite)
    if reference is not None:
        write_reference(checkpoint, Path(reference), max_tokens)
    return worst


def write_reference(checkpoint, path, tokens_max):
    """Writes an `.npz` of `input_ids`, `attention_mask` (int64 `[3, length]`, padded unevenly) and PyTorch's `logits` `[3, 4]`."""
    length = min(TRACED_LENGTH, tokens_max)
    ids = np.random.default_rng(1).integers(5, checkpoint.config.vocab_size, (3, length))
    mask = np.ones_like(ids)
    mask[1, length * 5 // 6 :] = 0
    mask[2, length // 7 :] = 0
    ids[mask == 0] = checkpoint.config.pad_token_id or 0
    with torch.no_grad():
        logits = checkpoint.model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, input_ids=ids, attention_mask=mask, logits=logits)


def _load_classifier(folder, labels):
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.num_labels != 4:
        raise ExportError(f"{folder / 'config.json'}: has {config.num_labels} labels; a detector has four, one for each maxim")
    if config.problem_type == "single_label_classification":
        raise ExportError(f"{folder / 'config.json'}: was trained to choose one label (softmax); a detector answers for each "
                          "maxim alone (problem_type multi_label_classification)")
    if labels is None:
        names = [str(config.id2label[column]) for column in range(4)]
        labels = tuple(_maxim_in(name) for name in names)
        if sorted(map(str, labels)) != sorted(MAXIMS):
            raise ExportError(f"{folder / 'config.json'}: cannot tell the maxims from the labels {', '.join(names)}; "
                              "say them in the order of the columns with --labels")
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, local_files_only=True, dtype=torch.float32, attn_implementation="eager",
            weights_only=True, ignore_mismatched_sizes=True, output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ExportError(f"{folder}: {error}") from error
    unexpected = [key for key in report["unexpected_keys"] if not key.endswith(COUNTERS)]
    _check_keys(folder, report["missing_keys"], unexpected, "")
    if report["mismatched_keys"]:
        raise ExportError(f"{folder}: shapes that do not fit config.json: {listed(map(_mismatch, report['mismatched_keys']))}")
    classifier = Classifier(model)
    return Checkpoint(classifier, Graph(classifier, config.model_type != "deberta-v2"), model.config, tuple(labels))


def _mismatch(entry):
    key, found, expected = entry
    return f"{key} {list(found)} instead of {list(expected)}"


def _load_headed(folder, encoder, labels, ignore):
    path = next((folder / name for name in STATE_FILES if (folder / name).is_file()), None)
    if path is None:
        raise ExportError(f"{folder}: holds none of {', '.join(STATE_FILES)}")
    state = _float_state(path)
    state = {key: tensor for key, tensor in state.items() if not any(fnmatch.fnmatch(key, one) for one in ignore)}
    embeddings = [key for key in state if key.endswith(WORD_EMBEDDINGS)]
    if len(embeddings) != 1:
        raise ExportError(f"{path}: needs one tensor named …{WORD_EMBEDDINGS} to tell the encoder by, has {len(embeddings)}; "
                          f"its tensors are {listed(state)}")
    prefix = embeddings[0].removesuffix(WORD_EMBEDDINGS)
    inner = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    outer = {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}
    if not prefix:  # the encoder's tensors stand beside the heads'
        own = ("embeddings.", "encoder.", "pooler.")
        outer = {key: tensor for key, tensor in inner.items() if not key.startswith(own)}
        inner = {key: tensor for key, tensor in inner.items() if key.startswith(own)}

    config = _encoder_config(folder, encoder)
    rows = inner[WORD_EMBEDDINGS].shape[0]
    if config.vocab_size != rows:
        print(f"note: the checkpoint embeds {rows} tokens, the configuration says {config.vocab_size}; the checkpoint's number "
              "is used", file=sys.stderr)
        config.vocab_size = rows
    module = _build_encoder(path, config, inner, prefix)
    heads, labels = _build_heads(path, outer, config, labels)
    if any(key.startswith("pooler.") for key in inner):
        if isinstance(heads, nn.Linear):
            raise ExportError(f"{path}: has {prefix}pooler, and whether its one linear layer reads the pooled or the plain "
                              "token 0 cannot be told; save the model with save_pretrained, or pass --ignore '*pooler*' if it is plain")
        print(f"note: {prefix}pooler is left out; the heads read the plain token 0", file=sys.stderr)
    model = HeadedEncoder(module, heads)
    return Checkpoint(model, Graph(model, config.model_type != "deberta-v2"), config, labels)


def _float_state(path):
    """The state dict in a file, tensors in fp32."""
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in read_state(path).items()}


def _encoder_config(folder, encoder):
    if encoder is not None and not (Path(encoder) / "config.json").is_file():
        raise ExportError(f"--encoder {encoder}: holds no config.json")
    for place in ([Path(encoder)] if encoder is not None else []) + [folder]:
        if "model_type" in read_json(place / "config.json", {}):
            return AutoConfig.from_pretrained(place, local_files_only=True)
    print("note: no encoder configuration in the folder; DeBERTa-v3-base is assumed (see --encoder)", file=sys.stderr)
    return deberta_v3_base()


def deberta_v3_base():
    """The configuration of DeBERTa-v3-base (He, Gao and Chen, 2021)."""
    return DebertaV2Config(
        vocab_size=128100, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        type_vocab_size=0, relative_attention=True, position_buckets=256, max_relative_positions=-1,
        norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        layer_norm_eps=1e-7, max_position_embeddings=512, pad_token_id=0)


def _build_encoder(path, config, state, prefix):
    config._attn_implementation = "eager"
    module = AutoModel.from_config(config, attn_implementation="eager").float()
    expected = module.state_dict()
    # Token 0 is read before any pooling, so a pooler counts neither as missing nor as unexpected.
    state = {key: tensor for key, tensor in state.items() if not key.startswith("pooler.") and not key.endswith(COUNTERS)}
    needed = [key for key in expected if not key.startswith("pooler.") and not key.endswith(COUNTERS)]
    missing = [prefix + key for key in needed if key not in state]
    unexpected = [prefix + key for key in state if key not in expected]
    _check_keys(path, missing, unexpected, " (with another encoder than DeBERTa-v3-base, say --encoder DIR)")
    shapes = [f"{prefix}{key} {list(state[key].shape)} instead of {list(expected[key].shape)}" for key in needed
              if state[key].shape != expected[key].shape]
    if shapes:
        raise ExportError(f"{path}: shapes that do not fit the encoder's configuration (see --encoder): {listed(shapes)}")
    module.load_state_dict(state, strict=False)
    if getattr(module, "pooler", None) is not None:
        module.pooler = None
    return module


def _build_heads(path, state, config, labels):
    """The heads in the remaining tensors, and the maxim of each column.

    Heads named after maxims go by their names; numbered ones are quantity, quality, relation, manner unless `labels` say
    otherwise.
    """
    hidden = config.hidden_size
    keys = listed(f"{key} {list(tensor.shape)}" for key, tensor in state.items())
    layers = {key.removesuffix(".weight"): tensor for key, tensor in state.items()
              if key.endswith(".weight") and tensor.dim() == 2}
    stray = [key for key in state if key.rpartition(".")[0] not in layers or key.rpartition(".")[2] not in ("weight", "bias")]
    if stray:
        _check_keys(path, [], stray, " (tensors that only training needs can be left out with --ignore PATTERN)")
    if len(layers) == 1 and next(iter(layers.values())).shape == (4, hidden):
        return _linear(path, state, next(iter(layers))), tuple(labels or MAXIMS)
    if set(layers) == {"pooler.dense", "classifier"} and getattr(config, "pooler_hidden_act", None) == "gelu":
        # DeBERTa's own sequence classifier, of which only the state dict was saved.
        pooled, columns = _linear(path, state, "pooler.dense"), _linear(path, state, "classifier")
        return nn.Sequential(pooled, nn.GELU(), columns), tuple(labels or MAXIMS)
    groups = {}
    for layer in sorted(layers, key=_natural):
        groups.setdefault(_head_of(layer), []).append(layer)
    if len(groups) != 4 or None in groups:
        raise ExportError(f"{path}: cannot find four heads, or one linear [4, {hidden}], among its other tensors: {keys}")
    named = set(groups) == set(MAXIMS)
    if not named and set(groups) & set(MAXIMS):
        raise ExportError(f"{path}: its heads are named after some maxims only: {keys}")
    order = tuple(labels or MAXIMS)
    columns = order if named else sorted(groups, key=_natural)
    return nn.ModuleList(_head(path, state, groups[column], hidden) for column in columns), order


def _head_of(layer):
    """Which head a linear layer belongs to: the maxim in its name, else its path up to the first number; `None` without."""
    maxim = _maxim_in(layer)
    if maxim:
        return maxim
    number = re.search(r"\d+", layer)
    return layer[: number.end()] if number else None


def _head(path, state, layers, hidden):
    """One head: linear layers in the order of their names, GELU between; `hidden` in, 1 out."""
    shapes = [tuple(state[f"{layer}.weight"].shape) for layer in layers]
    inputs = [hidden] + [outputs for outputs, _ in shapes]
    chained = all(shape[1] == width for shape, width in zip(shapes, inputs)) and inputs[-1] == 1
    if len(layers) not in (1, 3) or not chained:
        listed = ", ".join(f"{layer} {list(shape)}" for layer, shape in zip(layers, shapes))
        raise ExportError(f"{path}: a head is one linear layer or three from {hidden} to 1 with GELU between, this one is "
                          f"{listed}")
    modules = []
    for layer in layers:
        modules += [nn.GELU(), _linear(path, state, layer)]
    return nn.Sequential(*modules[1:])


def _linear(path, state, layer):
    weight, bias = state[f"{layer}.weight"], state.get(f"{layer}.bias")
    if bias is None or bias.shape != (weight.shape[0],):
        raise ExportError(f"{path}: missing: {layer}.bias [{weight.shape[0]}]")
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": bias})
    return linear


def _check_keys(path, missing, unexpected, hint):
    if missing or unexpected:
        problems = [f"{word}: {listed(keys)}" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
        raise ExportError(f"{path}: the tensors do not fit the model; {'; '.join(problems)}{hint}")


def _maxim_in(text):
    """The one maxim that a name contains (`quality`, `Quality_head`, `heads.quality.0`), or `None`."""
    found = {maxim for maxim in MAXIMS if re.search(rf"(?<![a-z]){maxim}(?![a-z])", text.lower())}
    return found.pop() if len(found) == 1 else None


def _natural(text):
    """Sorts `head10` after `head9`."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", text) if part]


def _temperatures_in(value, labels):
    if isinstance(value, list) and len(value) == 4:
        value = dict(zip(labels, value))
    if not isinstance(value, dict):
        return None
    if "temperatures" in value:
        return _temperatures_in(value["temperatures"], labels)
    named = {_maxim_in(str(key)): number for key, number in value.items()}
    if set(named) == set(MAXIMS):
        numbers = {maxim: _temperature_of(named[maxim]) for maxim in MAXIMS}
        return None if None in numbers.values() else numbers
    inside = [found for found in (_temperatures_in(item, labels) for item in value.values()) if found is not None]
    return inside[0] if len(inside) == 1 else None


def _temperature_of(value):
    if isinstance(value, dict):
        value = value.get("temperature", value.get("T"))
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _positions(config):
    offset = config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0
    return config.max_position_embeddings - offset


def _written_config(config):
    written = json.loads(config.to_json_string(use_diff=False))
    for key in ("_name_or_path", "_attn_implementation_autoset"):
        written.pop(key, None)
    return written


def _parse_labels(text):
    labels = tuple(label.strip().lower() for label in text.split(","))
    if sorted(labels) != sorted(MAXIMS):
        raise argparse.ArgumentTypeError(f"must be {', '.join(MAXIMS)}, each once, in the order of the columns")
    return labels


def _parse_text(text):
    return text.replace("\\n", "\n")


def main(arguments=None):
    chosen = _parser().parse_args(arguments)
    logging.disable(logging.WARNING)  # transformers reports loading in tables of its own; what matters is checked here
    transformers.utils.logging.disable_progress_bar()
    try:
        kind = chosen.kind or kind_of(chosen.checkpoint) or "detector"
        _check_options(chosen, kind)
        print((_export_detector if kind == "detector" else _export_writer)(chosen, kind))
    except (ExportError, TokenizerError, BundleError) as error:
        sys.exit(f"export_gricebench: {error}")


def _parser():
    parser = argparse.ArgumentParser(description="Turn GriceBench's models into what grice runs.")
    parser.add_argument("checkpoint", type=Path, help="folder of a GriceBench or Hugging Face checkpoint; for repair and generator also a file")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--kind", choices=("detector", *KINDS), help="which model it is; told from its files if left out")
    parser.add_argument("--force", action="store_true", help="replace OUT where it exists")
    detector = parser.add_argument_group("detector")
    detector.add_argument("--encoder", type=Path, help="folder with the encoder's config.json, and tokenizer if need be")
    detector.add_argument("--template", type=_parse_text,
                          help=r"text of a turn, \n for a line break; told from the tokenizer if left out")
    detector.add_argument("--labels", type=_parse_labels, help="the maxims in the order of the columns, separated by commas")
    detector.add_argument("--max-tokens", type=int, help="longest sequence; 512 or what the encoder has positions for")
    detector.add_argument("--opset", type=int, default=17, help="ONNX operator set (default 17)")
    detector.add_argument("--name", help="name of the bundle (default: the checkpoint folder's)")
    detector.add_argument("--version", default="1.0.0", help="version of the bundle (default 1.0.0)")
    detector.add_argument("--evidence-ignored", default="", help="codes that count as no evidence, separated by commas")
    detector.add_argument("--ignore", action="append", default=[], metavar="PATTERN",
                          help="leave out tensors of this name, `loss.*`")
    detector.add_argument("--reference", type=Path, metavar="FILE.npz",
                          help="also write inputs and PyTorch's logits, to test an engine against; OUT/onnx/reference.npz, say")
    writer = parser.add_argument_group("repair and generator")
    writer.add_argument("--base", type=Path, help="folder of a LoRA adapter's base, or of a state dict's config.json and tokenizer")
    writer.add_argument("--tokenizer", type=Path, help="folder of the tokenizer (default: the checkpoint's, else the base's)")
    writer.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="type of the weights (default float32)")
    parser.set_defaults(groups={"detector": detector, "writer": writer})
    return parser


def _check_options(chosen, kind):
    """Options of the other kind of model would have no effect."""
    group = chosen.groups["writer" if kind == "detector" else "detector"]
    given = [action.option_strings[0] for action in group._group_actions if getattr(chosen, action.dest) != action.default]
    if given:
        raise ExportError(f"{', '.join(given)}: has no effect on a {kind}; if it is none, say --kind")


def _export_detector(chosen, _):
    ignored = [code.strip() for code in chosen.evidence_ignored.split(",") if code.strip()]
    worst = export(chosen.checkpoint, chosen.out, encoder=chosen.encoder, template=chosen.template, labels=chosen.labels,
                   max_tokens=chosen.max_tokens, opset=chosen.opset, name=chosen.name, version=chosen.version,
                   evidence_ignored=ignored, ignore=chosen.ignore, reference=chosen.reference, overwrite=chosen.force)
    return f"{chosen.out}: written; ONNX Runtime and PyTorch differ by {worst:.1e} at most"


def _export_writer(chosen, kind):
    weights = export_writer(chosen.checkpoint, chosen.out, kind, base=chosen.base, tokenizer=chosen.tokenizer, dtype=chosen.dtype,
                            overwrite=chosen.force)
    return f"{chosen.out}: written; a {kind} of {weights / 1e6:.1f} million weights"


if __name__ == "__main__":
    main()
