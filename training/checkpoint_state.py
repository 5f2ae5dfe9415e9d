"""Reads the weights of a checkpoint: safetensors, or a pickle that may hold nothing but tensors."""
import json
from pathlib import Path

import torch

# What training scripts wrap a state dict in.
STATE_NAMES = ("model_state_dict", "state_dict", "model")
# What compiled and parallel models put before the names of their tensors.
WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")


class ExportError(ValueError):
    """A checkpoint that cannot be exported; the message says what is wrong and, where possible, which option helps."""


def read_state(path):
    """The state dict in a file, without the prefixes that wrappers of the model leave in names.

    Pickles are read as weights alone, so no code in them runs. Raises ``ExportError``.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each have their own
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise ExportError(f"{path}: cannot be read as weights alone: {text}") from error
    while isinstance(state, dict) and not all(isinstance(value, torch.Tensor) for value in state.values()):
        inside = next((state[name] for name in STATE_NAMES if isinstance(state.get(name), dict)), None)
        if inside is None:
            raise ExportError(f"{path}: is no state dict and has none under {', '.join(STATE_NAMES)}; it holds {listed(state)}")
        state = inside
    if not isinstance(state, dict) or not state:
        raise ExportError(f"{path}: holds no tensors")
    for wrapper in WRAPPERS:
        state = without_prefix(state, wrapper)
    return state


def without_prefix(state, prefix):
    """The tensors without a prefix, if all names have it."""
    if all(key.startswith(prefix) for key in state):
        return {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def read_json(path, default):
    """What a JSON file holds; ``default`` if there is no such file. Raises ``ExportError``."""
    path = Path(path)
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path}: not JSON: {error}") from error


def listed(names, most=12):
    """Names in a message, not too many of them."""
    names = [str(name) for name in names]
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
