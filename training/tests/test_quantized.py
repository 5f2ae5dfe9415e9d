"""ONNX Runtime runs what `grice quantize` writes, in the way that the committed references say, and with its fused kernels.

Needs the binary: `cargo build --release`, or GRICE_BINARY naming one.
"""
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import make_fixtures
import make_quantized_reference as quantized

BINARY = Path(os.environ.get("GRICE_BINARY", quantized.GRICE))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    assert BINARY.exists(), f"{BINARY} is not there; run `cargo build --release` first, or set GRICE_BINARY"
    work = tmp_path_factory.mktemp("quantized")
    return {(name, mode): path for name, mode, path in quantized.quantize_all(BINARY, work)}


CASES = [(name, mode) for name in quantized.SOURCES for mode in quantized.MODES]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_standard_onnx_with_the_recorded_logits(files, case):
    path = files[case]
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert len(path.read_bytes()) < 0.85 * (make_fixtures.OUT / case[0] / "onnx/model.onnx").stat().st_size
    recorded = json.loads((quantized.OUT / f"{'-'.join(case)}.json").read_text(encoding="ascii"))
    assert recorded.get("sha256") in (None, quantized.digest(path)), "the file changed: run make_quantized_reference.py"
    session = make_fixtures.plain_session(path)
    for reference, expected in zip(quantized.references(case[0]), recorded["logits_onnxruntime"], strict=True):
        for feed, row in zip(make_fixtures.rows_alone(reference), expected, strict=True):
            # The same file on the same library; another processor may round another value across a step of int8.
            assert np.abs(session.run(["logits"], feed)[0][0] - row).max() <= (1e-4 if case[1] == "fp16" else 0.1)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_optimized_it_says_the_same(files, case, tmp_path):
    """Every quantized product runs in a fused kernel, and products of constants are folded away."""
    path = files[case]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    optimized = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    operators = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    assert optimized["MatMulInteger"] == 0
    if case[1] == "dynamic":
        assert optimized["DynamicQuantizeMatMul"] + optimized["MatMulIntegerToFloat"] == operators["MatMulInteger"] > 0
    if case[1] == "static":
        assert optimized["MatMulIntegerToFloat"] >= 12
    plain = make_fixtures.plain_session(path)
    for reference in quantized.references(case[0]):
        for feed in make_fixtures.rows_alone(reference):
            difference = np.abs(session.run(["logits"], feed)[0] - plain.run(["logits"], feed)[0]).max()
            # Sums in another order for fp16; for int8 also a value that falls on the other side of a step.
            assert difference <= (1e-4 if case[1] == "fp16" else 0.1)


@pytest.mark.parametrize("name", quantized.SOURCES)
@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_the_files_by_onnx_runtime_itself(name, mode):
    folder = make_fixtures.OUT / "onnxruntime-int8"
    session = make_fixtures.plain_session(folder / f"{name}-{mode}.onnx")
    recorded = json.loads((folder / f"{name}-{mode}.json").read_text(encoding="ascii"))["logits_onnxruntime"]
    for reference, expected in zip(quantized.references(name), recorded, strict=True):
        for feed, row in zip(make_fixtures.rows_alone(reference), expected, strict=True):
            assert np.abs(session.run(["logits"], feed)[0][0] - row).max() <= 0.1
