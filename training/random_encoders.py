"""Random small encoders beside ONNX Runtime: every spelling of a step, every mask, window and position that exporters write, with and
without quantizers, over all lengths.

    python training/random_encoders.py try PROGRAM [--count 2000] [--seed 1]   # PROGRAM: target/release/examples/encoders
    python training/random_encoders.py sample                                  # crates/testkit/fixtures/encoders.bin

`try` writes packs of encoders, has PROGRAM (`cargo build --release -p grice-cpu --example encoders`) compare each with what ONNX
Runtime answered, and prints those that differ. `sample` writes the small pack that the Rust tests read.

A pack is deflated: a line of JSON, then for each encoder its ONNX file and the float32 logits of its runs. Each sequence is answered
alone, so that no answer depends on padding.
An encoder with quantizers has a second answer, `unrounded`: by the same weights in single precision, with no activation rounded. What
runs int8 layers rounds activations in a way of its own, and lies around that one.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import zlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from make_operators import Graph, distances, positions

FILE = pathlib.Path(__file__).parent.parent / "crates/testkit/fixtures/encoders.bin"
INT64, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL
LOWEST = float(np.finfo(np.float32).min)
LABELS, WORDS = 4, 40


PLAIN = {
    "activation": ["Erf Div", "Erf Mul", "Gelu", "GeluTanh", "Relu", "Tanh"], "bias": ["none"], "cap": [0], "cut off": [0.0],
    "dense": ["after", "bias first"], "hidden masked": [False], "layout": ["straight", "transposed"], "norm": ["op", "Pow", "Mul"],
    "order": ["after"], "pool": ["first", "slice"], "positions": ["slice", "range", "ids", "offset"],
    "scale": ["Div", "Mul", "query", "both"], "window": ["none"],
}


class Encoder(Graph):
    """One encoder; `pick` notes every choice."""

    def __init__(self, seed, small=False):
        super().__init__(17, seed)
        self.choices, self.small = {}, small
        self.plain = seed % 2 == 0
        self.opset = self.pick("opset", [11, 13, 14, 17, 17, 18, 20])
        self.width = self.pick("width", [16, 16 if small else 32])
        self.heads_count = self.pick("heads", [2, 4])
        self.longest = self.pick("longest", [40, 40, 40, 72] if small else [40, 72, 72, 136])
        self.takes_types = False

    def pick(self, name, options):
        # Every other encoder is mostly of what fuses, with an odd choice here and there.
        if self.plain and self.random.random() < 0.95:
            options = [option for option in options if option in PLAIN.get(name, options)]
        self.choices[name] = options[self.random.integers(len(options))]
        return self.choices[name]

    def matrix(self, rows, columns, spread=1.0):
        return self.constant(self.random.normal(0, spread / rows ** 0.5, (rows, columns)))

    def vector(self, count, middle=0.0, spread=0.1):
        return self.constant(self.random.normal(middle, spread, count))

    def dense(self, x, rows, columns, spread=1.0):
        kind = self.choices["dense"]
        if kind == "Gemm":
            flat = self.op("Reshape", x, self.ints([-1, rows]))
            weights = self.constant(self.random.normal(0, spread / rows ** 0.5, (columns, rows)))
            made = self.op("Gemm", flat, weights, self.vector(columns), transB=1)
            return self.op("Reshape", made, self.sizes(self.size(0), self.size(1), columns))
        made = self.op("MatMul", x, self.matrix(rows, columns, spread))
        if kind == "bias first":
            return self.op("Add", self.vector(columns), made)
        return self.op("Add", made, self.vector(columns))

    def norm(self, x):
        kind, width = self.choices["norm"], self.width
        if kind == "op" and self.opset >= 17:
            return self.op("LayerNormalization", x, self.vector(width, 1.0), self.vector(width), axis=-1, epsilon=1e-5)
        if kind == "root mean square":
            mean = self.reduce("ReduceMean", self.op("Pow", x, self.constant(2.0)), [-1])
            return self.op("Mul", self.vector(width, 1.0), self.op("Div", x, self.op("Sqrt", self.op("Add", mean, self.constant(1e-6)))))
        centred = self.op("Sub", x, self.reduce("ReduceMean", x, [-1]))
        square = self.op("Mul", centred, centred) if kind == "Mul" else self.op("Pow", centred, self.constant(2.0))
        root = self.op("Sqrt", self.op("Add", self.reduce("ReduceMean", square, [-1]), self.constant(1e-12)))
        scaled = self.op("Mul", centred, self.op("Reciprocal", root)) if kind == "Reciprocal" else self.op("Div", centred, root)
        return self.op("Add", self.op("Mul", scaled, self.vector(width, 1.0)), self.vector(width))

    def embedding(self):
        width = self.width
        x = self.op("Gather", self.constant(self.random.normal(0, 1, (WORDS, width))), self.ids)
        types = self.pick("types", ["none", "input", "constant", "zeros"])
        table = self.constant(self.random.normal(0, 0.5, (2, width)))
        if types == "input":
            self.takes_types = True
            x = self.op("Add", x, self.op("Gather", table, "token_type_ids"))
        elif types == "constant":
            x = self.op("Add", x, self.vector(width, spread=0.5))
        elif types == "zeros":
            zeros = self.op("ConstantOfShape", self.op("Shape", self.ids), value=numpy_helper.from_array(np.array([0], np.int64)))
            x = self.op("Add", x, self.op("Gather", table, zeros))
        places = self.places()
        if places:
            x = self.op("Add", x, places) if self.random.random() < 0.7 else self.op("Add", places, x)
        x = self.norm(x)
        if self.pick("hidden masked", [False, False, False, True]):
            x = self.op("Mul", x, self.unsqueeze(self.op("Cast", self.mask, to=FLOAT), [2]))
        return x

    def places(self):
        kind = self.pick("positions", ["slice", "slice", "range", "range", "ids", "offset", "clamped", "none", "modulo", "from mask",
                                       "late"])
        offset = 2 if kind in ("offset", "from mask") else 0
        table = self.constant(self.random.normal(0, 0.5, (self.longest + offset, self.width)))
        if kind == "none":
            return None
        if kind == "slice":
            whole = self.constant(numpy_helper.to_array(self.constants.pop())[None])
            return self.op("Slice", whole, self.ints([0]), self.sizes(self.size(1)), self.ints([1]))
        if kind == "ids":
            ids = self.ints(np.arange(self.longest)[None])
            return self.op("Gather", table, self.op("Slice", ids, self.ints([0]), self.sizes(self.size(1)), self.ints([1])))
        if kind == "from mask":
            seen = self.op("Mul", self.op("CumSum", self.mask, self.ints(1)), self.mask)
            return self.op("Gather", table, self.op("Add", seen, self.ints(1)))
        places = self.unsqueeze(positions(self), [0])
        if kind == "offset":
            places = self.op("Add", places, self.ints(2))
        elif kind == "clamped":
            limit = self.ints(self.pick("clamp", [6, 20, 34]))
            far = self.op("Greater", places, limit)
            places = self.op("Where", far, limit, places)
        elif kind == "modulo":
            places = self.op("Mod", places, self.ints(self.pick("modulo", [8, 30])))
        elif kind == "late":
            # One row for all, but for what lies beyond.
            places = self.op("Cast", self.op("Greater", places, self.ints(self.pick("late", [5, 31]))), to=INT64)
        return self.op("Gather", table, places)

    def bias(self):
        """What is added to scores for their distance: [heads, sequence, sequence] or nothing."""
        kind = self.pick("bias", ["none"] * 6 + ["table", "slopes", "far"])
        if kind == "none":
            return None
        apart = distances(self)
        if kind == "table":
            reach = self.pick("reach", [4, 30])
            near = self.op("Max", self.op("Min", self.op("Cast", apart, to=FLOAT), self.constant(float(reach))), self.constant(-float(reach)))
            near = self.op("Cast", self.op("Add", near, self.constant(float(reach))), to=INT64)
            rows = self.op("Gather", self.constant(self.random.normal(0, 1, (2 * reach + 1, self.heads_count))), near)
            return self.op("Transpose", rows, perm=[2, 0, 1])
        far = self.op("Abs", self.op("Cast", apart, to=FLOAT))
        if kind == "far":
            far = self.op("Relu", self.op("Sub", far, self.constant(self.pick("begins", [6.0, 30.0]))))
        return self.op("Mul", self.unsqueeze(far, [0]), self.constant(-(2.0 ** -np.arange(1, self.heads_count + 1)).reshape(-1, 1, 1)))

    def seen(self):
        """A bool for what a token sees: [sequence, sequence] or nothing."""
        kind = self.pick("window", ["none"] * 7 + ["band", "band", "causal", "first", "block"])
        if kind == "none":
            return None
        apart = distances(self)
        if kind == "band":
            width = self.ints(self.pick("band", [1, 5, 8, 31, 64]))
            return self.op("Less", self.op("Abs", apart), width)
        if kind == "causal":
            return self.op("Less", apart, self.ints(1)) if self.random.random() < 0.5 else self.op(
                "Less", self.op("Neg", apart), self.ints(1))
        if kind == "first":
            near = self.op("Less", self.unsqueeze(positions(self), [0]), self.ints(self.pick("first", [6, 34])))
            return self.op("And", near, self.op("Less", self.op("Abs", apart), self.ints(9999)))
        size = self.ints(self.pick("block", [6, 32]))
        rows, columns = (self.op("Div", self.unsqueeze(positions(self), [axis]), size) for axis in (1, 0))
        return self.op("Equal", rows, columns)

    def masked(self, scores):
        kind = self.choices["mask"]
        # ORs and ANDs come before the number that hides.
        wide = self.unsqueeze(self.unsqueeze(self.mask, [1]), [2])
        near = self.seen_once
        if kind in ("add -10000", "add lowest", "add -inf"):
            number = {"add -10000": -1e4, "add lowest": LOWEST, "add -inf": float("-inf")}[kind]
            if kind == "add -inf":
                hidden = self.op("Where", self.op("Cast", wide, to=BOOL), self.constant(0.0), self.constant(number))
            else:
                hidden = self.op("Mul", self.op("Sub", self.constant(1.0), self.op("Cast", wide, to=FLOAT)), self.constant(number))
            scores = self.op("Add", scores, hidden)
            if near:
                scores = self.op("Where", near, scores, self.constant(-1e9))
            return scores
        if kind == "none":
            return self.op("Where", near, scores, self.constant(-1e9)) if near else scores
        seen = self.op("Cast", wide, to=BOOL) if kind != "equal" else self.op("Not", self.op("Equal", wide, self.ints(0)))
        if near:
            seen = self.op("And", seen, near)
        if kind == "bool square":
            square = self.op("Expand", seen, self.sizes(self.size(0), 1, self.size(1), self.size(1)))
            seen = square
        if kind == "equal":
            return self.op("Where", self.op("Not", seen), self.constant(LOWEST), scores)
        return self.op("Where", seen, scores, self.constant(-1e9 if kind == "where -1e9" else LOWEST))

    def attention(self, x):
        width, heads = self.width, self.heads_count
        size = width // heads
        kind = self.choices["layout"]
        if kind == "one product":
            parts = self.dense(x, width, 3 * width, 1.5)
            inner = {"axis": -1} if self.opset < 18 else {"axis": -1, "num_outputs": 3}
            q, k, v = self.op("Split", parts, outputs=3, **inner)
        else:
            q, k, v = (self.dense(x, width, width, spread) for spread in (1.5, 1.5, 1.0))
        scale = self.choices["scale"]
        if scale == "query":
            q = self.op("Mul", q, self.constant(size ** -0.5))

        def split(part, perm=(0, 2, 1, 3)):
            shape = self.ints([0, 0, heads, size]) if self.choices["shapes"] == "zeros" else self.sizes(
                self.size(0), self.size(1), heads, size)
            return self.op("Transpose", self.op("Reshape", part, shape), perm=list(perm))

        if kind == "three axes":
            flat = lambda part: self.op("Reshape", part, self.sizes(-1, self.size(1), size))
            q, k, v = flat(split(q)), flat(split(k)), flat(split(v))
            k = self.op("Transpose", k, perm=[0, 2, 1])
        else:
            q, v = split(q), split(v)
            k = split(k, (0, 2, 3, 1)) if kind == "straight" else self.op("Transpose", split(k), perm=[0, 1, 3, 2])
        if scale == "both":
            q, k = (self.op("Mul", part, self.constant(size ** -0.25)) for part in (q, k))
        scores = self.op("MatMul", q, k)
        if scale in ("Div", "Mul"):
            scores = self.op(scale, scores, self.constant(size ** (0.5 if scale == "Div" else -0.5)))
        if scale == "length":
            longer = self.op("Log", self.op("Add", self.op("Cast", self.size(1), to=FLOAT), self.constant(1.0)))
            scores = self.op("Mul", scores, self.op("Mul", longer, self.constant(0.3)))
        if self.choices["cap"]:
            cap = self.constant(float(self.choices["cap"]))
            scores = self.op("Mul", self.op("Tanh", self.op("Div", scores, cap)), cap)
        if kind == "three axes":
            scores = self.op("Reshape", scores, self.sizes(-1, heads, self.size(1), self.size(1)))
        if self.bias_once:
            scores = self.op("Add", scores, self.unsqueeze(self.bias_once, [0]))
        shares = self.op("Softmax", self.masked(scores), axis=3 if self.opset < 13 else -1)
        if self.choices["mask"] == "add -inf" and self.random.random() < 0.5:
            shares = self.op("Where", self.op("IsNaN", shares), self.constant(0.0), shares)
        if kind == "three axes":
            shares = self.op("Reshape", shares, self.sizes(-1, self.size(1), self.size(1)))
        context = self.op("MatMul", shares, v)
        if kind == "three axes":
            context = self.op("Reshape", context, self.sizes(-1, heads, self.size(1), size))
        context = self.op("Transpose", context, perm=[0, 2, 1, 3])
        context = self.op("Reshape", context, self.ints([0, 0, width]))
        return self.dense(context, width, width)

    def activation(self, x):
        kind = self.choices["activation"]
        if kind == "Gelu" and self.opset >= 20:
            return self.op("Gelu", x)
        if kind == "GeluTanh":
            cube = self.op("Mul", self.op("Pow", x, self.constant(3.0)), self.constant(0.044715))
            inner = self.op("Tanh", self.op("Mul", self.op("Add", x, cube), self.constant((2 / np.pi) ** 0.5)))
            return self.op("Mul", self.op("Mul", x, self.constant(0.5)), self.op("Add", inner, self.constant(1.0)))
        if kind in ("Relu", "Tanh"):
            return self.op(kind, x)
        if kind == "Silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        if kind == "QuickGelu":
            return self.op("Mul", x, self.op("Sigmoid", self.op("Mul", x, self.constant(1.702))))
        if kind == "clipped":
            return self.op("Min", self.op("Relu", x), self.constant(self.pick("clip", [1.0, 20.0])))
        part = self.op("Erf", self.op("Div", x, self.constant(2 ** 0.5)) if kind == "Erf Div" else self.op("Mul", x, self.constant(2 ** -0.5)))
        if kind == "Erf Div":
            return self.op("Mul", self.op("Mul", x, self.op("Add", part, self.constant(1.0))), self.constant(0.5))
        return self.op("Mul", self.op("Mul", x, self.constant(0.5)), self.op("Add", part, self.constant(1.0)))

    def layer(self, x):
        width = self.width
        inner = 2 * width
        feed = lambda h: self.dense(self.activation(self.dense(h, width, inner)), inner, width)
        if self.choices["order"] == "before":
            x = self.op("Add", x, self.attention(self.norm(x)))
            return self.op("Add", x, feed(self.norm(x)))
        add = lambda part, rest: self.op("Add", part, rest) if self.random.random() < 0.7 else self.op("Add", rest, part)
        x = self.norm(add(self.attention(x), x))
        if self.choices["cut off"]:
            x = self.op("Clip", x, self.constant(-self.choices["cut off"]), self.constant(self.choices["cut off"]))
        return self.norm(add(feed(x), x))

    def pool(self, x):
        kind = self.pick("pool", ["first"] * 5 + ["slice", "slice", "mean", "masked mean", "largest", "last"])
        if kind == "first":
            return self.op("Gather", x, self.ints(0), axis=1)
        if kind == "slice":
            first = self.op("Slice", x, self.ints([0]), self.ints([1]), self.ints([1]))
            return self.op("Reshape", first, self.ints([-1, self.width]))
        if kind == "last":
            return self.op("Gather", x, self.ints(-1), axis=1)
        if kind == "mean":
            return self.reduce("ReduceMean", x, [1], 0)
        wide = self.unsqueeze(self.op("Cast", self.mask, to=FLOAT), [2])
        if kind == "largest":
            off = self.op("Mul", self.op("Sub", self.constant(1.0), wide), self.constant(-1e4))
            return self.reduce("ReduceMax", self.op("Add", x, off), [1], 0)
        return self.op("Div", self.reduce("ReduceSum", self.op("Mul", x, wide), [1], 0), self.reduce("ReduceSum", wide, [1], 0))

    def build(self):
        self.pick("dense", ["after", "after", "after", "bias first", "Gemm"])
        self.pick("norm", ["op", "op", "Pow", "Mul", "Reciprocal", "root mean square"])
        self.pick("mask", ["add -10000", "add lowest", "add -inf", "where", "where -1e9", "equal", "bool square", "none"])
        self.pick("layout", ["straight", "transposed", "transposed", "three axes", "one product"])
        self.pick("scale", ["Div", "Div", "Mul", "query", "both", "none", "length"])
        self.pick("shapes", ["zeros", "sizes"])
        self.pick("cap", [0] * 9 + [5, 50])
        self.pick("activation", ["Erf Div", "Erf Mul", "Gelu", "GeluTanh", "Relu", "Tanh", "Silu", "QuickGelu", "clipped"])
        self.pick("order", ["after"] * 5 + ["before"])
        self.pick("cut off", [0.0] * 8 + [1.5, 60.0])
        x = self.embedding()
        self.seen_once, self.bias_once = self.seen(), self.bias()
        for _ in range(self.pick("layers", [1, 1 if self.small else 2])):
            x = self.layer(x)
        x = self.pool(x)
        if self.pick("head", ["tanh", "plain"]) == "tanh":
            x = self.op("Tanh", self.op("Add", self.op("MatMul", x, self.matrix(self.width, self.width)), self.vector(self.width)))
        logits = self.op("Add", self.op("MatMul", x, self.matrix(self.width, LABELS)), self.vector(LABELS))
        self.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        names = ["input_ids", "attention_mask"] + (["token_type_ids"] if self.takes_types else [])
        inputs = [helper.make_tensor_value_info(name, INT64, ["batch", "sequence"]) for name in names]
        output = helper.make_tensor_value_info("logits", FLOAT, ["batch", LABELS])
        proto = helper.make_graph(self.nodes, "encoder", inputs, [output], self.constants)
        model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model)
        return model


class Rows(CalibrationDataReader):
    def __init__(self, encoder, random):
        lengths = (3, 9, 20, encoder.longest)
        self.rows = iter([feed(encoder, random.integers(0, WORDS, (1, length))) for length in lengths])

    def get_next(self):
        return next(self.rows, None)


def feed(encoder, ids, mask=None):
    ids = np.asarray(ids, np.int64)
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids) if mask is None else mask}
    if encoder.takes_types:
        values["token_type_ids"] = np.zeros_like(ids)
    return values


def quantize(encoder, model, folder):
    """The model as ONNX Runtime's quantizer leaves it; the model itself where no quantizer is drawn."""
    kind = encoder.pick("quantizers", ["none"] * 5 + ["dynamic", "dynamic", "static", "static", "static all"])
    if kind == "none" or encoder.opset < 13:
        encoder.choices["quantizers"] = "none"
        return model
    source, target = folder / "source.onnx", folder / "target.onnx"
    onnx.save(model, source)
    per_channel = bool(encoder.pick("per channel", [0, 1]))
    weights = encoder.pick("weights", [QuantType.QInt8, QuantType.QUInt8])
    encoder.choices["weights"] = weights.name
    if kind == "dynamic":
        only = encoder.pick("only", [None, ["MatMul"], ["MatMul", "Gemm", "Gather"]])
        quantize_dynamic(source, target, op_types_to_quantize=only, per_channel=per_channel, weight_type=weights)
    else:
        activations = encoder.pick("activations", [QuantType.QUInt8, QuantType.QInt8])
        # ONNX Runtime's quantizer does not write the other pair.
        weights = QuantType.QInt8 if activations == QuantType.QInt8 else weights
        encoder.choices["weights"] = weights.name
        encoder.choices["activations"] = activations.name
        only = None if kind == "static all" else ["MatMul", "Gemm", "Gather"][: encoder.pick("only", [2, 3])]
        quantize_static(source, target, Rows(encoder, encoder.random), quant_format=QuantFormat.QDQ, op_types_to_quantize=only,
                        per_channel=per_channel, activation_type=activations, weight_type=weights)
    quantized = onnx.load(target)
    onnx.checker.check_model(quantized)
    return quantized


def unrounded(model, quantized):
    """The model with the weights of the quantized one, in single precision."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        name = tensor.name
        stored, scale = held.get(f"{name}_quantized"), held.get(f"{name}_scale")
        if stored is None or scale is None:
            continue
        zero = held.get(f"{name}_zero_point", np.zeros_like(scale, stored.dtype))
        if scale.size > 1:
            axes = [axis for axis, size in enumerate(stored.shape) if size == scale.size]
            # Of a square matrix the quantizer says which axis.
            axis = next((a.i for node in quantized.graph.node if f"{name}_quantized" in node.input for a in node.attribute
                         if a.name == "axis"), axes[-1])
            shape = [scale.size if place == axis % stored.ndim else 1 for place in range(stored.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        values = (stored.astype(np.float32) - zero.astype(np.float32)) * scale
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return changed


def session(model):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answers(encoder, model, rows):
    runner = session(model)
    names = {value.name for value in runner.get_inputs()}
    run = lambda values: runner.run(["logits"], {name: value for name, value in values.items() if name in names})[0]
    return np.concatenate([run(feed(encoder, [row])) for row in rows])


def make(seed, folder, small):
    encoder = Encoder(seed, small)
    model = encoder.build()
    quantized = quantize(encoder, model, folder)
    # Some of like length, which engines pad to run them together.
    lengths = [length for length in (1, 2, 3, 7, 20, 33, 65, 130) if length < encoder.longest - 2]
    lengths += [encoder.longest - 2, encoder.longest]
    rows = [encoder.random.integers(0, WORDS, length).astype(np.int64) for length in lengths]
    expected = answers(encoder, quantized, rows)
    entry = {"name": f"{seed}", "choices": {name: value for name, value in encoder.choices.items()}, "longest": encoder.longest,
             "rows": [row.tolist() for row in rows], "quantizers": encoder.choices["quantizers"], "unrounded": False}
    blobs = [expected]
    if quantized is not model:
        entry["unrounded"] = True
        blobs.append(answers(encoder, unrounded(model, quantized), rows))
    if not all(np.isfinite(blob).all() for blob in blobs):
        raise ValueError("its logits are not finite")
    encoded = quantized.SerializeToString()
    entry["onnx"] = len(encoded)
    return entry, [encoded] + [blob.astype("<f4").tobytes() for blob in blobs]


def pack(path, seeds, small=False):
    entries, blobs, left_out = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            try:
                entry, parts = make(seed, pathlib.Path(folder), small)
            except Exception as error:
                left_out.append(f"{seed}: {str(error).strip().splitlines()[0][:160]}")
                continue
            entries.append(entry)
            blobs.extend(parts)
    text = json.dumps({"encoders": entries}, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(zlib.compress(text + b"".join(blobs), 9))
    return entries, left_out


def try_all(program, count, seed):
    fused = graphs = refused = unmade = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "pack.bin"
        done, differing = 0, []
        while done < count:
            seeds = range(seed + done, seed + min(count, done + 100))
            entries, left_out = pack(path, seeds)
            lines = subprocess.run([program, path], capture_output=True, text=True, check=True).stdout.splitlines()
            results = [json.loads(line) for line in lines]
            assert len(results) == len(entries)
            for entry, result in zip(entries, results):
                fused += result["fused"] is True
                graphs += result["fused"] is False
                refused += result["fused"] is None
                if result["fused"] is None or result["differs"]:
                    kind = "refused" if result["fused"] is None else "DIFFERS"
                    if result["differs"]:
                        differing.append(entry["name"])
                    print(f"{kind} {entry['name']}: {result['text'][:300]} {json.dumps(entry['choices'])}", flush=True)
            unmade += len(left_out)
            for line in left_out:
                print("not made:", line, flush=True)
            done += len(seeds)
            print(f"{done}: {fused} fused, {graphs} as graphs, {refused} refused, {unmade} not made, {len(differing)} differ", flush=True)
    return not differing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    trial = actions.add_parser("try")
    trial.add_argument("program")
    trial.add_argument("--count", type=int, default=2000)
    trial.add_argument("--seed", type=int, default=1)
    actions.add_parser("sample")
    arguments = parser.parse_args()
    if arguments.action == "sample":
        entries, left_out = pack(FILE, range(1, 33), small=True)
        print(f"{len(entries)} encoders, {FILE.stat().st_size} bytes", *left_out, sep="\n")
    elif not try_all(arguments.program, arguments.count, arguments.seed):
        raise SystemExit("some differ")


if __name__ == "__main__":
    main()
