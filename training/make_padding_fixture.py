"""Writes crates/testkit/fixtures/shown-padding: a tiny graph whose answers depend on padding, and what ONNX Runtime answers.

    python training/make_padding_fixture.py

Its mask lowers a token's score by 2 only, as a mask does that a quantizer has cut off, so padding keeps a share of the answer.
ONNX Runtime runs the graph as it is written, without its optimizer.
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

FOLDER = pathlib.Path(__file__).parent.parent / "crates/testkit/fixtures/shown-padding"
# As many words as the tokenizer of `tiny-bert` knows, which the tests put beside it.
WORDS, LABELS = 462, 4

random = np.random.default_rng(5)
values = {
    "words": random.normal(size=(WORDS, LABELS)).astype(np.float32),
    "scores": random.normal(size=(WORDS, 1)).astype(np.float32),
    "one": np.float32([1]),
    "far": np.float32([-2]),
    "last": np.int64([-1]),
    "sequence": np.int64([1]),
}
nodes = [
    helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
    helper.make_node("Gather", ["scores", "input_ids"], ["scored"]),
    helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
    helper.make_node("Sub", ["one", "kept"], ["hidden"]),
    helper.make_node("Mul", ["hidden", "far"], ["lowered"]),
    helper.make_node("Unsqueeze", ["lowered", "last"], ["column"]),
    helper.make_node("Add", ["scored", "column"], ["sums"]),
    helper.make_node("Softmax", ["sums"], ["shares"], axis=1),
    helper.make_node("Mul", ["embedded", "shares"], ["weighed"]),
    helper.make_node("ReduceSum", ["weighed", "sequence"], ["logits"], keepdims=0),
]
tensor = helper.make_tensor_value_info
graph = helper.make_graph(
    nodes,
    "shown-padding",
    [tensor(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")],
    [tensor("logits", TensorProto.FLOAT, ["batch", LABELS])],
    [numpy_helper.from_array(value, name) for name, value in values.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

cases = []
for kept in ([1], [5, 2], [9, 9, 4], [3]):
    for padding in (0, 3):
        length = max(kept) + padding
        ids = random.integers(1, WORDS, (len(kept), length))
        mask = (np.arange(length) < np.array(kept)[:, None]).astype(np.int64)
        [logits] = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
        logits = [[round(float(value), 6) for value in row] for row in logits]
        cases.append({"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "logits_onnxruntime": logits})
FOLDER.mkdir(exist_ok=True)
onnx.save(model, FOLDER / "model.onnx")
lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
(FOLDER / "reference.json").write_text(f"[\n{lines}\n]\n")
