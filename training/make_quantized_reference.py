"""What ONNX Runtime makes of the files that `grice quantize` writes: `crates/testkit/fixtures/quantized/*.json`.

    cargo build --release && python training/make_quantized_reference.py [GRICE]

The Rust tests write the same files again and compare the engine's logits with these. The files themselves are not kept: those without
calibration are told by their digest.
"""
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import make_fixtures

ROOT = Path(__file__).resolve().parent.parent
GRICE = ROOT / "target/release/grice"
SOURCES = ("tiny-bert", "tiny-deberta")
MODES = {"dynamic": "int8", "static": "int8", "fp16": "fp16"}
OUT = make_fixtures.OUT / "quantized"


def main(grice=GRICE):
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        for name, mode, path in quantize_all(grice, Path(work)):
            target = OUT / f"{name}-{mode}.json"
            make_fixtures.write_answers(target, path, references(name))
            if mode != "static":
                answers = json.loads(target.read_text(encoding="ascii"))
                target.write_text(json.dumps({"sha256": digest(path), **answers}) + "\n", encoding="ascii")
            print(target)


def quantize_all(grice, work):
    """Name, mode and ONNX file of each source quantized in each way by the binary, static by the ranges of the reference rows."""
    for name in SOURCES:
        rows = work / f"{name}.jsonl"
        sequences = [feed["input_ids"][0].tolist() for case in references(name) for feed in make_fixtures.rows_alone(case)]
        rows.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in sequences), encoding="ascii")
        for mode, precision in MODES.items():
            out = work / f"{name}-{mode}"
            # Random weights: the gate has nothing to protect here, and is told so by a floor of 0.
            subprocess.run([str(grice), "quantize", "--model", str(make_fixtures.OUT / name), "--mode", mode, "--calibration", str(rows),
                            "--method", "minmax", "--floor", "0", "--output", str(out)], check=True, stdout=subprocess.DEVNULL)
            yield name, mode, out / f"onnx/model_{precision}.onnx"


def references(name):
    return json.loads((make_fixtures.OUT / name / "reference.json").read_text(encoding="ascii"))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
