"""Writes a bundle: a folder with a detector's ONNX files, configuration, tokenizer and ``grice.json``.

    python training/bundle.py check DIR            reads a bundle back and checks every field and digest
    python training/bundle.py pack DIR OUT.tar     the same, then one file of it: same bytes in, same bytes out

The format is described in ``docs/bundle.md``. Only the standard library is needed.
"""
import argparse
import hashlib
import json
import math
import os
import shutil
import struct
import sys
import tarfile
import tempfile
from pathlib import Path

FORMAT = 1
MAXIMS = ("quantity", "quality", "relation", "manner")
FAMILIES = ("bert", "deberta-v2")
PRECISION_PATHS = {"fp32": "onnx/model.onnx", "fp16": "onnx/model_fp16.onnx", "int8": "onnx/model_int8.onnx"}
DEFAULT_TURN_TEMPLATE = "[{speaker}]: {text}"
# The range that the runtime accepts: room for a template and a few words, up to far beyond any encoder here.
MAX_TOKENS_RANGE = (16, 8192)


class BundleError(ValueError):
    """A field or file that cannot go into a bundle; the message names it."""


def write_bundle(out, *, name, version, family, template, labels, temperatures, thresholds, max_tokens, models, config,
                 tokenizer_json, quality=None, evidence_ignored=(), turn_template=None, overwrite=False):
    """Writes a bundle folder, all of it or nothing, and returns its path.

    ``models`` maps a precision (``fp32``, ``fp16``, ``int8``) to the ONNX file to copy. ``config`` and ``tokenizer_json``
    are each a path or the parsed object. ``temperatures`` and ``thresholds`` map each maxim to a number; ``None`` stands
    for the format's default (1.0 and 0.5). Truncation and padding set in the tokenizer are taken out, since the runtime
    does both itself.

    Raises ``BundleError`` for anything that the runtime would refuse, and where ``out`` exists, unless ``overwrite``.
    """
    out = Path(out)
    config = _read_object("config", config)
    tokenizer = _read_object("tokenizer_json", tokenizer_json)
    if not isinstance(tokenizer.get("model"), dict):
        raise BundleError("tokenizer_json: it has no `model`, so it is not a file of the tokenizers library")
    tokenizer = {**tokenizer, "truncation": None, "padding": None}
    sources = _check_sources(models)
    manifest = {
        "format": FORMAT,
        "name": name,
        "version": version,
        "task": "detect",
        "family": family,
        "template": template,
        "turn_template": DEFAULT_TURN_TEMPLATE if turn_template is None else turn_template,
        "evidence_ignored": list(evidence_ignored),
        "labels": list(labels),
        "temperatures": dict.fromkeys(MAXIMS, 1.0) if temperatures is None else dict(temperatures),
        "thresholds": dict.fromkeys(MAXIMS, 0.5) if thresholds is None else dict(thresholds),
        "max_tokens": max_tokens,
        "models": {precision: PRECISION_PATHS[precision] for precision in sources},
        "digests": {},
        "quality": {} if quality is None else quality,
    }
    check_manifest(manifest)
    _check_positions(manifest, config)
    if _occupied(out) and not overwrite:
        raise BundleError(f"{out}: it exists already; choose another folder or ask for it to be replaced")

    out.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        (staged / "onnx").mkdir()
        _write_json(staged / "config.json", config)
        _write_json(staged / "tokenizer.json", tokenizer, indent=None)
        for precision, source in sources.items():
            shutil.copyfile(source, staged / PRECISION_PATHS[precision])
        files = ["config.json", "tokenizer.json", *manifest["models"].values()]
        manifest["digests"] = {path: digest(staged / path) for path in files}
        _write_json(staged / "grice.json", manifest)
        staged.chmod(0o755)
        replace_folder(staged, out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return out


def read_bundle(folder):
    """Reads ``grice.json`` of a bundle folder and checks its fields, files and digests. Raises ``BundleError``."""
    folder = Path(folder)
    manifest = _read_object("grice.json", folder / "grice.json")
    check_manifest(manifest)
    for path in ("config.json", "tokenizer.json", *manifest["models"].values()):
        if not (folder / path).is_file():
            raise BundleError(f"{path}: the bundle does not hold it")
    for path, expected in manifest["digests"].items():
        found = digest(folder / path)
        if found != expected:
            raise BundleError(f"digests: {path} is {found}, the manifest says {expected}")
    _check_positions(manifest, _read_object("config.json", folder / "config.json"))
    return manifest


def pack(folder, tar):
    """Checks a bundle folder and writes it as one ``.tar``; equal bundles give equal bytes. Returns the tar's path.

    The archive (POSIX ustar, uncompressed) holds ``grice.json`` first, then the other files by name; no folders, owners
    or times. Files in the folder that are no part of the bundle stay out.
    """
    folder, tar = Path(folder), Path(tar)
    manifest = read_bundle(folder)
    paths = ["grice.json", *sorted({"config.json", "tokenizer.json", *manifest["models"].values(), *manifest["digests"]})]
    tar.parent.mkdir(parents=True, exist_ok=True)
    handle, staged = tempfile.mkstemp(prefix=f".{tar.name}.", dir=tar.parent)
    try:
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in paths:
                entry = tarfile.TarInfo(path)
                entry.size = (folder / path).stat().st_size
                entry.mode = 0o644
                with open(folder / path, "rb") as content:
                    archive.addfile(entry, content)
        os.chmod(staged, 0o644)
        os.replace(staged, tar)
    finally:
        Path(staged).unlink(missing_ok=True)
    return tar


def digest(path):
    """``sha256:<hex>`` of a file. Raises ``BundleError`` where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def check_manifest(manifest):
    """Checks every field of a parsed ``grice.json``. Raises ``BundleError`` naming the first that does not hold."""
    required = {"format", "name", "version", "task", "family", "template", "labels", "temperatures", "max_tokens", "models"}
    missing = sorted(required - manifest.keys())
    if missing:
        raise BundleError(f"grice.json: lacks {', '.join(missing)}")
    if manifest["format"] != FORMAT or isinstance(manifest["format"], bool):
        raise BundleError(f"format: must be {FORMAT}, found {manifest['format']!r}")
    for field in ("name", "version"):
        text = manifest[field]
        if not isinstance(text, str) or not text.strip() or not text.isprintable():
            raise BundleError(f"{field}: must be printable text that is not empty, found {text!r}")
    if manifest["task"] != "detect":
        raise BundleError(f"task: must be 'detect', found {manifest['task']!r}")
    if manifest["family"] not in FAMILIES:
        raise BundleError(f"family: must be one of {', '.join(FAMILIES)}, found {manifest['family']!r}")
    _check_template("template", manifest["template"], ("{context}", "{evidence}", "{response}"), "{response}")
    _check_template("turn_template", manifest.get("turn_template", DEFAULT_TURN_TEMPLATE), ("{speaker}", "{text}"), "{text}")
    ignored = manifest.get("evidence_ignored", [])
    if not isinstance(ignored, list) or not all(isinstance(item, str) and item.strip() for item in ignored):
        raise BundleError(f"evidence_ignored: must be a list of texts that are not empty, found {ignored!r}")
    labels = manifest["labels"]
    if not isinstance(labels, list) or sorted(map(str, labels)) != sorted(MAXIMS):
        raise BundleError(f"labels: must be {', '.join(MAXIMS)}, each once in the order of the columns, found {labels!r}")
    _check_numbers("temperatures", manifest["temperatures"], "a number above 0", lambda t: t > 0)
    _check_numbers("thresholds", manifest.get("thresholds", dict.fromkeys(MAXIMS, 0.5)), "a number from 0 to 1",
                   lambda t: 0 <= t <= 1)
    least, most = MAX_TOKENS_RANGE
    if not _is_integer(manifest["max_tokens"]) or not least <= manifest["max_tokens"] <= most:
        raise BundleError(f"max_tokens: must be an integer from {least} to {most}, found {manifest['max_tokens']!r}")
    _check_models(manifest["models"])
    _check_digests(manifest.get("digests", {}))
    _check_quality(manifest.get("quality", {}))


def _check_template(field, template, known, needed):
    if not isinstance(template, str):
        raise BundleError(f"{field}: must be text, found {template!r}")
    for placeholder in known:
        if template.count(placeholder) > 1:
            raise BundleError(f"{field}: {placeholder} stands in it more than once")
    if needed not in template:
        raise BundleError(f"{field}: {needed} is missing from it")


def _check_numbers(field, values, expected, accept):
    if not isinstance(values, dict) or sorted(map(str, values)) != sorted(MAXIMS):
        found = sorted(map(str, values)) if isinstance(values, dict) else values
        raise BundleError(f"{field}: must give a number for each of {', '.join(MAXIMS)}, found {found!r}")
    for maxim, number in values.items():
        real = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not real or not math.isfinite(_narrow(number)) or not accept(number) or not accept(_narrow(number)):
            raise BundleError(f"{field}: {maxim} must be {expected}, found {number!r}")


def _check_models(models):
    if not isinstance(models, dict) or not models:
        raise BundleError("models: names no ONNX file")
    for precision, path in models.items():
        if precision not in PRECISION_PATHS:
            raise BundleError(f"models: {precision!r} is not a precision; choose from {', '.join(PRECISION_PATHS)}")
        _check_path("models", path)


def _check_digests(digests):
    if not isinstance(digests, dict):
        raise BundleError(f"digests: must be an object, found {digests!r}")
    for path, text in digests.items():
        _check_path("digests", path)
        hexadecimal = text.removeprefix("sha256:") if isinstance(text, str) else ""
        if text != f"sha256:{hexadecimal}" or len(hexadecimal) != 64 or set(hexadecimal) - set("0123456789abcdef"):
            raise BundleError(f"digests: {path} must be sha256: and 64 hexadecimal digits, found {text!r}")


def _check_quality(quality):
    try:
        if not isinstance(quality, dict):
            raise TypeError("it is not an object")
        json.dumps(quality, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f"quality: cannot be written as JSON: {error}") from error


def _check_path(field, path):
    parts = path.split("/") if isinstance(path, str) else [""]
    if any(part in ("", ".", "..") for part in parts) or set(path) & set("\\:\0"):
        raise BundleError(f"{field}: {path!r} is not a path inside the bundle")


def _check_positions(manifest, config):
    rows = config.get("max_position_embeddings")
    if manifest["family"] == "bert" and _is_integer(rows) and manifest["max_tokens"] > rows:
        raise BundleError(f"max_tokens: {manifest['max_tokens']} tokens need as many positions, the encoder has {rows}")


def _check_sources(models):
    if not isinstance(models, dict):
        raise BundleError(f"models: must map a precision to an ONNX file, found {models!r}")
    unknown = [precision for precision in models if precision not in PRECISION_PATHS]
    if unknown:
        raise BundleError(f"models: {unknown[0]!r} is not a precision; choose from {', '.join(PRECISION_PATHS)}")
    sources = {precision: Path(models[precision]) for precision in PRECISION_PATHS if precision in models}
    for precision, source in sources.items():
        if not source.is_file() or source.stat().st_size == 0:
            raise BundleError(f"models: {precision}: {source} is not a file, or it is empty")
    return sources


def _is_integer(number):
    return isinstance(number, int) and not isinstance(number, bool)


def _narrow(number):
    """The number as the runtime holds it, an f32; infinity where it does not fit."""
    try:
        return struct.unpack("<f", struct.pack("<f", float(number)))[0]
    except OverflowError:
        return math.inf


def _read_object(field, source):
    if isinstance(source, dict):
        return source
    try:
        value = json.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{field}: {source} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{field}: {source} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{field}: {source} must hold a JSON object")
    return value


def _write_json(path, value, indent=2):
    separators = None if indent else (",", ":")
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _occupied(out):
    return out.exists() and not (out.is_dir() and not any(out.iterdir()))


def replace_folder(staged, out):
    """Moves a finished folder to its place, where there may be an older one."""
    if not out.exists():
        staged.rename(out)
        return
    # Two renames, so that a reader meets the old bundle, none, or the new one, and never a mixture.
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        out.rename(aside / "old")
        try:
            staged.rename(out)
        except OSError:
            (aside / "old").rename(out)
            raise
    finally:
        if aside.exists():
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Check a bundle folder, or pack it into one file.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check fields, files and digests")
    check.add_argument("folder", type=Path)
    packing = commands.add_parser("pack", help="check it, then write it as one .tar")
    packing.add_argument("folder", type=Path)
    packing.add_argument("tar", type=Path)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "check":
            manifest = read_bundle(chosen.folder)
            print(f"{chosen.folder}: {manifest['name']} {manifest['version']}, {', '.join(manifest['models'])}: sound")
        else:
            print(f"{pack(chosen.folder, chosen.tar)}: {digest(chosen.tar)}")
    except BundleError as error:
        sys.exit(f"bundle: {error}")


if __name__ == "__main__":
    main()
