"""A LoRA adapter in PEFT's format (`adapter_config.json`, `adapter_model.safetensors` or `.bin`), and its merge into a model's weights.

The weight of a layer `[outputs, inputs]` becomes `W + scale · B · A`, with A `[r, inputs]`, B `[outputs, r]` and the scale `alpha / r`, or
`alpha / √r` for rsLoRA (Hu et al., 2021; Kalajdzievski, 2023). GPT-2's layers hold their weights as `[inputs, outputs]`, so the product is
transposed there. Whether a layer does follows from the model, as in PEFT, and not from `fan_in_fan_out`.
"""
import re
from dataclasses import dataclass
from pathlib import Path

from checkpoint_state import ExportError, listed, read_json, read_state

CONFIG = "adapter_config.json"
STATE_FILES = ("adapter_model.safetensors", "adapter_model.bin")
# Fields that say how training went, where the base is, or what is checked by the tensors themselves.
HARMLESS = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_bias",
    "lora_dropout", "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
    "revision", "runtime_config", "target_modules", "task_type", "use_rslora",
}
# The other ways to begin change the base's weights, which the adapter's files do not hold, or the layer itself.
BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass
class Adapter:
    """An adapter: pairs A and B by module, and tensors that replace the base's."""

    path: Path
    config: dict
    pairs: dict
    biases: dict
    replaced: dict

    def scale(self, module, rank):
        """What `B · A` of a module is multiplied by. Raises `ExportError`."""
        configured = self._of_module("rank_pattern", "r", module)
        if configured != rank:
            raise ExportError(f"{self.path}: `{module}.lora_A.weight` has rank {rank}, {CONFIG} says {configured}")
        alpha = self._of_module("alpha_pattern", "lora_alpha", module)
        return alpha / rank**0.5 if self.config.get("use_rslora") else alpha / rank

    def _of_module(self, patterns, field, module):
        for pattern, value in (self.config.get(patterns) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return self._number(patterns, value)
        return self._number(field, self.config.get(field))

    def _number(self, field, value):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ExportError(f"{self.path.parent / CONFIG}: field `{field}` must be a number above 0, found {value!r}")
        return value


def read_adapter(folder):
    """Reads the adapter of a folder. Raises `ExportError` for what changes the weights in another way than LoRA does."""
    folder = Path(folder)
    config = read_json(folder / CONFIG, None)
    if not isinstance(config, dict):
        raise ExportError(f"{folder / CONFIG}: must hold an object")
    _check_config(folder / CONFIG, config)
    path = next((folder / name for name in STATE_FILES if (folder / name).is_file()), None)
    if path is None:
        raise ExportError(f"{folder}: has {CONFIG}, but none of {', '.join(STATE_FILES)}")
    adapter = Adapter(path, config, {}, {}, {})
    for name, tensor in read_state(path).items():
        _sort_in(adapter, name, tensor)
    halves = [f"{module}.lora_{'B' if 'A' in pair else 'A'}.weight" for module, pair in adapter.pairs.items() if len(pair) < 2]
    if halves:
        raise ExportError(f"{path}: missing: {listed(halves)}")
    return adapter


def _check_config(path, config):
    if config.get("peft_type") != "LORA":
        raise ExportError(f"{path}: field `peft_type`: {config.get('peft_type')!r} is not supported, only LORA is")
    begun = config.get("init_lora_weights")
    if begun not in BEGINNINGS:
        raise ExportError(f"{path}: field `init_lora_weights`: {begun!r} is not supported, since it changes the base or the layers; "
                          "merge the adapter with PEFT")
    other = [f"`{name}`" for name, value in config.items() if value and name not in HARMLESS]
    if other:
        raise ExportError(f"{path}: not supported: {listed(other)}; merge the adapter with PEFT, or take the field out if it "
                          "does not change weights")


def _sort_in(adapter, name, tensor):
    """Puts a tensor where it belongs by its name, without what PEFT adds to names."""
    plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
    if ".original_module." in plain:
        return
    plain = re.sub(r"\.modules_to_save(\.default)?\.", ".", plain)
    module, found, rest = plain.partition(".lora_")
    if not found:
        adapter.replaced[plain] = tensor
        return
    kind = rest.replace(".default", "")
    if kind in ("A.weight", "B.weight") and tensor.dim() == 2:
        adapter.pairs.setdefault(module, {})[kind[0]] = tensor.float()
    elif kind == "B.bias" and tensor.dim() == 1:
        adapter.biases[module] = tensor.float()
    else:
        raise ExportError(f"{adapter.path}: the tensor `{name}` {list(tensor.shape)} is not supported; supported are `lora_A.weight` "
                          "and `lora_B.weight` of dense layers")


def merge(adapter, state, is_transposed):
    """The weights of a base with the adapter merged, in fp32. `is_transposed` tells of a module whether it holds `[inputs, outputs]`.

    `state` holds the base's tensors by name. Raises `ExportError` for a module that the base does not have, and for shapes that do not fit.
    """
    merged = {**state, **adapter.replaced}
    for module, pair in adapter.pairs.items():
        name = f"{module}.weight"
        if name not in merged:
            raise ExportError(f"{adapter.path}: `{module}.lora_A.weight` is of a layer that the base does not have")
        weight = merged[name].float()
        change = pair["B"] @ pair["A"] if pair["A"].shape[0] == pair["B"].shape[1] else None
        change = change.T if change is not None and is_transposed(module) else change
        if change is None or change.shape != weight.shape:
            shapes = f"A {list(pair['A'].shape)} and B {list(pair['B'].shape)}"
            raise ExportError(f"{adapter.path}: {shapes} of `{module}` do not fit the base's `{name}` {list(weight.shape)}")
        merged[name] = weight + adapter.scale(module, pair["A"].shape[0]) * change
    for module, bias in adapter.biases.items():
        _add_bias(adapter, merged, module, bias)
    return merged


def _add_bias(adapter, merged, module, bias):
    own = merged.get(f"{module}.bias")
    if own is None or own.shape != bias.shape or module not in adapter.pairs:
        raise ExportError(f"{adapter.path}: `{module}.lora_B.bias` {list(bias.shape)} does not fit the base's bias")
    merged[f"{module}.bias"] = own.float() + adapter.scale(module, adapter.pairs[module]["A"].shape[0]) * bias
