"""Writes crates/testkit/fixtures/operators.bin: small graphs of the operators that exporters of encoders emit, and what ONNX Runtime
makes of them.

    python training/make_operators.py

Each graph reads `input_ids` and `attention_mask`, as a detector does, and makes `y`; where that is a vector of four for each
token, `logits` is a sum over the tokens of it. ONNX Runtime runs the graphs as they are written, without its optimizer.
The file: a line of JSON (names, sizes, shapes), then for each case the ONNX file and the float32 values of its runs; all of it
deflated.
"""

import json
import pathlib
import zlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

FILE = pathlib.Path(__file__).parent.parent / "crates/testkit/fixtures/operators.bin"
WORDS, WIDTH = 12, 4
# Sequences of several lengths beside each other, one alone, one token.
SHAPES = [(2, 5), (1, 7), (3, 1)]
INT64, FLOAT, BOOL = TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL


class Graph:
    """Nodes and constants in the order they are asked for."""

    def __init__(self, opset, seed):
        self.nodes, self.constants, self.opset = [], [], opset
        self.random = np.random.default_rng(seed)
        self.ids, self.mask = "input_ids", "attention_mask"

    def name(self, stem):
        return f"{stem}{len(self.nodes) + len(self.constants)}"

    def constant(self, values, kind=np.float32):
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def ints(self, values):
        return self.constant(values, np.int64)

    def values(self, *shape, low=-2.0, high=2.0):
        return self.constant(self.random.uniform(low, high, shape))

    def op(self, kind, *inputs, outputs=1, **attributes):
        made = [self.name(kind.lower() + ".") + (f".{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=f"n/{made[0]}", **attributes))
        return made[0] if outputs == 1 else made

    def floats(self, width=WIDTH, low=-2.0, high=2.0):
        """[batch, sequence, width]"""
        return self.op("Gather", self.values(WORDS, width, low=low, high=high), self.ids)

    def heads(self):
        """[batch, 2, sequence, 3]"""
        split = self.op("Reshape", self.floats(6), self.ints([0, 0, 2, 3]))
        return self.op("Transpose", split, perm=[0, 2, 1, 3])

    def bools(self):
        return self.op("Greater", self.floats(), self.constant(0.0))

    def whole(self, low=-3, high=4):
        """Integers, [batch, sequence, width], some of them below zero."""
        table = self.ints(self.random.integers(low, high, (WORDS, WIDTH)))
        return self.op("Gather", table, self.ids)

    def size(self, axis, of=None):
        return self.op("Gather", self.op("Shape", of or self.ids), self.ints(axis))

    def sizes(self, *parts):
        """A shape of numbers and names of scalars."""
        vectors = [self.ints([p]) if isinstance(p, int) else self.unsqueeze(p, [0]) for p in parts]
        return self.op("Concat", *vectors, axis=0)

    def unsqueeze(self, value, axes):
        if self.opset < 13:
            return self.op("Unsqueeze", value, axes=axes)
        return self.op("Unsqueeze", value, self.ints(axes))

    def reduce(self, kind, value, axes, keepdims=1):
        as_input = self.opset >= (13 if kind == "ReduceSum" else 18)
        if as_input:
            return self.op(kind, value, self.ints(axes), keepdims=keepdims)
        return self.op(kind, value, axes=axes, keepdims=keepdims)

    def quantizers(self, value, kind, scale=0.023, zero=None):
        """QuantizeLinear and DequantizeLinear; `zero` None leaves the zero point out."""
        rest = [self.constant(scale)] + ([] if zero is None else [self.constant(zero, kind)])
        return self.op("DequantizeLinear", self.op("QuantizeLinear", value, *rest), *rest)


CASES = {}


def case(name, opset=17):
    def keep(build):
        assert name not in CASES, name
        CASES[name] = (opset, build)
        return build

    return keep


def each(names, make, opset=17):
    for name in names:
        case(name, opset)(lambda g, name=name: make(g, name.split(" ")[0]))


def products():
    case("MatMul 3-D by 2-D")(lambda g: g.op("MatMul", g.floats(6), g.values(6, 4)))
    case("MatMul 4-D")(lambda g: g.op("MatMul", g.heads(), g.op("Transpose", g.heads(), perm=[0, 1, 3, 2])))
    case("MatMul 3-D by 3-D")(lambda g: g.op("MatMul", g.floats(), g.op("Transpose", g.floats(), perm=[0, 2, 1])))
    case("MatMul 2-D by 4-D")(lambda g: g.op("MatMul", g.values(2, 3), g.op("Transpose", g.heads(), perm=[0, 1, 3, 2])))
    case("MatMul by a vector")(lambda g: g.op("MatMul", g.floats(), g.values(4)))
    case("MatMul of a vector")(lambda g: g.op("MatMul", g.values(3), g.op("Transpose", g.heads(), perm=[0, 1, 3, 2])))
    case("MatMul broadcast")(lambda g: g.op("MatMul", g.floats(), g.values(3, 1, 4, 2)))

    def gemm(g, alpha=1.0, beta=1.0, a=0, b=0, c=(5,)):
        rows = g.op("Reshape", g.floats(), g.ints([-1, 4]))
        if a:
            rows = g.op("Transpose", rows, perm=[1, 0])
        inputs = [rows, g.values(*((5, 4) if b else (4, 5)))] + ([] if c is None else [g.values(*c)])
        return g.op("Gemm", *inputs, alpha=alpha, beta=beta, transA=a, transB=b)

    for a in (0, 1):
        for b in (0, 1):
            case(f"Gemm transA {a} transB {b}")(lambda g, a=a, b=b: gemm(g, 0.7, 1.3, a, b))
    case("Gemm without bias")(lambda g: gemm(g, 1.7, c=None))
    case("Gemm beta 0")(lambda g: gemm(g, beta=0.0))
    case("Gemm plain opset 9", 9)(lambda g: gemm(g, b=1))
    case("Gemm bias of one row")(lambda g: gemm(g, beta=-0.5, c=(1, 5)))
    case("Gemm bias a number")(lambda g: gemm(g, beta=2.0, c=(1,)))
    case("Gemm bias without axes")(lambda g: gemm(g, beta=2.0, c=()))
    case("Gemm of two activations")(lambda g: g.op(
        "Gemm", g.op("Reshape", g.floats(), g.ints([-1, 4])), g.op("Reshape", g.floats(), g.ints([-1, 4])), transB=1))
    einsum = lambda g, equation, *inputs: g.op("Einsum", *inputs, equation=equation)
    case("Einsum bhid,bhjd->bhij")(lambda g: einsum(g, "bhid,bhjd->bhij", g.heads(), g.heads()))
    case("Einsum bld,lrd->blr")(lambda g: einsum(g, "bld,rd->blr", g.floats(), g.values(3, 4)))
    case("Einsum bij->bji")(lambda g: einsum(g, "bij->bji", g.floats()))
    case("Einsum implicit")(lambda g: einsum(g, "bij,jk", g.floats(), g.values(4, 4)))
    case("Einsum ellipsis")(lambda g: einsum(g, "...ij,...kj->...ik", g.heads(), g.heads()))
    case("Einsum sum")(lambda g: einsum(g, "bij->bi", g.floats()))


def pointwise():
    two = ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"]
    for kind in two:
        low = 0.3 if kind in ("Pow", "Div") else -2.0
        case(f"{kind} alike")(lambda g, k=kind, low=low: g.op(k, g.floats(low=low), g.floats(low=low)))
        case(f"{kind} by a vector")(lambda g, k=kind, low=low: g.op(k, g.floats(low=low), g.values(4, low=low)))
        case(f"{kind} by a number")(lambda g, k=kind, low=low: g.op(k, g.floats(low=low), g.constant(1.7)))
        case(f"{kind} of a number")(lambda g, k=kind, low=low: g.op(k, g.constant(1.7), g.floats(low=low)))
        case(f"{kind} by one of each token")(lambda g, k=kind, low=low: g.op(k, g.floats(low=low), g.floats(1, low=low)))
        case(f"{kind} of other ranks")(lambda g, k=kind, low=low: g.op(
            k, g.values(3, 1, 1, 4, low=low), g.floats(low=low)))
    case("Pow 2")(lambda g: g.op("Pow", g.floats(), g.constant(2.0)))
    case("Pow 3")(lambda g: g.op("Pow", g.floats(), g.constant(3.0)))
    case("Pow 0.5")(lambda g: g.op("Pow", g.floats(low=0.1), g.constant(0.5)))
    case("Pow -1")(lambda g: g.op("Pow", g.floats(low=0.1), g.constant(-1.0)))
    case("Pow by an integer")(lambda g: g.op("Pow", g.floats(), g.ints(3)))
    case("Pow of integers")(lambda g: g.op("Pow", g.whole(), g.ints(3)))
    case("Min of three")(lambda g: g.op("Min", g.floats(), g.floats(), g.values(4)))
    case("Max of three")(lambda g: g.op("Max", g.floats(), g.floats(), g.values(4)))
    case("Sum of three")(lambda g: g.op("Sum", g.floats(), g.floats(), g.values(4)))
    case("Mean of three")(lambda g: g.op("Mean", g.floats(), g.floats(), g.values(4)))
    one = ["Erf", "Tanh", "Sigmoid", "Relu", "LeakyRelu", "Exp", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Sin", "Cos",
           "Softplus", "Softsign", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Identity", "ThresholdedRelu", "Mish"]
    for kind in one:
        opset = 18 if kind == "Mish" else 17
        case(kind, opset)(lambda g, k=kind: g.op(k, g.floats(low=-6.0, high=6.0)))
    for kind in ("Sqrt", "Log", "Reciprocal"):
        case(kind)(lambda g, k=kind: g.op(k, g.floats(low=0.2, high=5.0)))
    case("Round ties")(lambda g: g.op("Round", g.op("Mul", g.op("Cast", g.whole(-5, 6), to=FLOAT), g.constant(0.5))))
    case("Sign of zero")(lambda g: g.op("Sign", g.op("Cast", g.whole(), to=FLOAT)))
    case("LeakyRelu 0.2")(lambda g: g.op("LeakyRelu", g.floats(), alpha=0.2))
    case("Elu 0.3")(lambda g: g.op("Elu", g.floats(), alpha=0.3))
    case("HardSigmoid 0.3")(lambda g: g.op("HardSigmoid", g.floats(), alpha=0.3, beta=0.4))
    case("PRelu")(lambda g: g.op("PRelu", g.floats(), g.values(4)))
    case("Clip")(lambda g: g.op("Clip", g.floats(), g.constant(-0.5), g.constant(1.0)))
    case("Clip below")(lambda g: g.op("Clip", g.floats(), g.constant(-0.5)))
    case("Clip above")(lambda g: g.op("Clip", g.floats(), "", g.constant(0.5)))
    case("Clip by attribute", 9)(lambda g: g.op("Clip", g.floats(), min=-0.5, max=1.0))
    case("Clip of integers")(lambda g: g.op("Clip", g.whole(), g.ints(-1), g.ints(2)))
    case("Gelu", 20)(lambda g: g.op("Gelu", g.floats(low=-5.0, high=5.0)))
    case("Gelu tanh", 20)(lambda g: g.op("Gelu", g.floats(low=-5.0, high=5.0), approximate="tanh"))

    def gelu(g, x, root=True):
        part = g.op("Erf", g.op("Div", x, g.constant(2 ** 0.5)) if root else g.op("Mul", x, g.constant(2 ** -0.5)))
        return g.op("Mul", g.op("Mul", x, g.op("Add", part, g.constant(1.0))), g.constant(0.5))

    def gelu_tanh(g, x):
        cube = g.op("Mul", g.op("Pow", x, g.constant(3.0)), g.constant(0.044715))
        inner = g.op("Tanh", g.op("Mul", g.op("Add", x, cube), g.constant((2 / np.pi) ** 0.5)))
        return g.op("Mul", g.op("Mul", x, g.constant(0.5)), g.op("Add", inner, g.constant(1.0)))

    case("Gelu spelled by Erf and Div")(lambda g: gelu(g, g.floats(low=-5.0, high=5.0)))
    case("Gelu spelled by Erf and Mul")(lambda g: gelu(g, g.floats(low=-5.0, high=5.0), False))
    case("Gelu spelled by Tanh")(lambda g: gelu_tanh(g, g.floats(low=-5.0, high=5.0)))
    case("Silu spelled")(lambda g: (lambda x: g.op("Mul", x, g.op("Sigmoid", x)))(g.floats()))
    case("Gelu spelled by Sigmoid")(lambda g: (lambda x: g.op(
        "Mul", x, g.op("Sigmoid", g.op("Mul", x, g.constant(1.702)))))(g.floats()))
    case("Sqrt of a square")(lambda g: g.op("Sqrt", g.op("Mul", *[g.floats()] * 2)))
    case("Softcap")(lambda g: g.op("Mul", g.op("Tanh", g.op("Div", g.floats(low=-9.0, high=9.0), g.constant(3.0))), g.constant(3.0)))


def integers():
    for kind in ("Add", "Sub", "Mul", "Min", "Max"):
        case(f"{kind} of integers")(lambda g, k=kind: g.op(k, g.whole(), g.whole()))
    case("Div of integers")(lambda g: g.op("Div", g.whole(-9, 9), g.whole(1, 4)))
    case("Div of integers by a number")(lambda g: g.op("Div", g.whole(-9, 9), g.ints(2)))
    case("Div of integers by a number below zero")(lambda g: g.op("Div", g.whole(-9, 9), g.ints(-2)))
    case("Mod of integers")(lambda g: g.op("Mod", g.whole(-9, 9), g.whole(1, 4)))
    case("Mod by a number")(lambda g: g.op("Mod", g.whole(-9, 9), g.ints(4)))
    case("Mod by a number below zero")(lambda g: g.op("Mod", g.whole(-9, 9), g.ints(-4)))
    case("Mod fmod of floats")(lambda g: g.op("Mod", g.floats(low=-9.0, high=9.0), g.constant(2.5), fmod=1))
    case("Mod fmod of integers")(lambda g: g.op("Mod", g.whole(-9, 9), g.ints(4), fmod=1))
    case("Mod of positions")(lambda g: g.op("Mod", positions(g), g.ints(3)))
    case("Div of positions")(lambda g: g.op("Div", g.op("Sub", positions(g), g.ints(3)), g.ints(2)))
    case("Mod of distances")(lambda g: g.op("Mod", distances(g), g.ints(3)))
    case("Div of distances")(lambda g: g.op("Div", distances(g), g.ints(2)))
    for kind in ("Abs", "Neg", "Sign"):
        case(f"{kind} of integers")(lambda g, k=kind: g.op(k, g.whole()))
        case(f"{kind} of distances")(lambda g, k=kind: g.op(k, distances(g)))
    case("Clip of distances")(lambda g: g.op("Clip", distances(g), g.ints(-2), g.ints(2)))
    case("Min of positions")(lambda g: g.op("Min", positions(g), g.ints(3)))
    case("Max of distances")(lambda g: g.op("Max", distances(g), g.ints(-1)))
    case("Where of distances")(lambda g: g.op(
        "Where", g.op("Less", distances(g), g.ints(0)), g.op("Neg", distances(g)), distances(g)))
    case("Log of distances")(lambda g: g.op("Log", g.op(
        "Add", g.op("Cast", g.op("Abs", distances(g)), to=FLOAT), g.constant(1.0))))
    case("Cast of bucketed distances")(lambda g: g.op("Cast", g.op("Ceil", g.op(
        "Mul", g.op("Cast", distances(g), to=FLOAT), g.constant(0.7))), to=INT64))


def positions(g):
    """[sequence]"""
    return g.op("Range", g.ints(0), g.size(1), g.ints(1))


def distances(g):
    """[sequence, sequence], both signs"""
    return g.op("Sub", g.unsqueeze(positions(g), [1]), g.unsqueeze(positions(g), [0]))


def along_axes():
    for kind in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in (11, 13):
            for axis in (None, -1, 1, 2, 0):
                attributes = {} if axis is None else {"axis": axis}
                case(f"{kind} axis {axis} opset {opset}", opset)(
                    lambda g, k=kind, a=attributes: g.op(k, g.floats(), **a))
        case(f"{kind} of scores", 17)(lambda g, k=kind: g.op(k, g.heads(), axis=-1))
        case(f"{kind} of scores axis 2 opset 11", 11)(lambda g, k=kind: g.op(k, g.heads(), axis=2))
    for far in (-1e4, float(np.finfo(np.float32).min), float("-inf")):
        def masked(g, far=far):
            hidden = g.op("Equal", g.op("Mod", positions(g), g.ints(3)), g.ints(1))
            return g.op("Softmax", g.op("Where", hidden, g.constant(far), g.op(
                "Transpose", g.floats(), perm=[0, 2, 1])), axis=-1)
        case(f"Softmax masked by {far:.0e}")(masked)
    case("Softmax of large scores")(lambda g: g.op("Softmax", g.floats(low=-200.0, high=200.0), axis=-1))
    for kind in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp", "LogSum"):
        low = 0.2 if kind == "LogSum" else -2.0
        for opset in (13, 18):
            for axes in ([-1], [1], [1, 2], [0]):
                for keep in (0, 1):
                    if len(axes) + keep > 2 and kind not in ("Mean", "Sum"):
                        continue
                    case(f"Reduce{kind} axes {axes} keepdims {keep} opset {opset}", opset)(
                        lambda g, k=kind, a=axes, p=keep, low=low: g.reduce(f"Reduce{k}", g.floats(low=low), a, p))
        case(f"Reduce{kind} of all")(lambda g, k=kind, low=low: g.op(f"Reduce{k}", g.floats(low=low), keepdims=1))
    case("ReduceMean no axes means none", 18)(lambda g: g.op(
        "ReduceMean", g.floats(), g.ints([]), noop_with_empty_axes=1))
    case("ReduceSum of integers")(lambda g: g.reduce("ReduceSum", g.whole(), [1], 0))
    case("ReduceMax of integers")(lambda g: g.reduce("ReduceMax", g.whole(), [1], 0))
    case("ReduceSum of a mask")(lambda g: g.op("Unsqueeze", g.reduce("ReduceSum", g.mask, [1], 1), g.ints([2])))
    case("ArgMax")(lambda g: g.op("ArgMax", g.floats(), axis=1, keepdims=0))
    case("ArgMax last of equals")(lambda g: g.op("ArgMax", g.whole(0, 2), axis=-1, select_last_index=1))
    case("ArgMin")(lambda g: g.op("ArgMin", g.floats(), axis=-1))
    for exclusive in (0, 1):
        for reverse in (0, 1):
            case(f"CumSum exclusive {exclusive} reverse {reverse}")(lambda g, e=exclusive, r=reverse: g.op(
                "CumSum", g.floats(), g.ints(1), exclusive=e, reverse=r))
    case("CumSum of integers")(lambda g: g.op("CumSum", g.op("Cast", g.op("Greater", g.ids, g.ints(4)), to=INT64), g.ints(1)))
    case("CumSum axis -1")(lambda g: g.op("CumSum", g.floats(), g.ints(-1)))
    case("TopK values")(lambda g: g.op("TopK", g.floats(), g.ints([2]), outputs=2, axis=-1)[0])


def norms():
    def spelled(g, x, power="Pow", epsilon=1e-5, root="Div", mean_of="ReduceMean"):
        centred = g.op("Sub", x, g.reduce(mean_of, x, [-1]))
        square = g.op("Pow", centred, g.constant(2.0)) if power == "Pow" else g.op("Mul", centred, centred)
        deviation = g.op("Sqrt", g.op("Add", g.reduce(mean_of, square, [-1]), g.constant(epsilon)))
        scaled = g.op("Div", centred, deviation) if root == "Div" else g.op("Mul", centred, g.op("Reciprocal", deviation))
        return g.op("Add", g.op("Mul", scaled, g.values(4)), g.values(4))

    case("LayerNormalization")(lambda g: g.op("LayerNormalization", g.floats(), g.values(4), g.values(4), epsilon=1e-3))
    case("LayerNormalization without shift")(lambda g: g.op("LayerNormalization", g.floats(), g.values(4)))
    case("LayerNormalization axis 2")(lambda g: g.op("LayerNormalization", g.floats(), g.values(4), g.values(4), axis=2))
    case("LayerNormalization two axes")(lambda g: g.op(
        "LayerNormalization", g.heads_of_width() if hasattr(g, "heads_of_width") else g.op(
            "Reshape", g.floats(6), g.ints([0, 0, 2, 3])), g.values(2, 3), g.values(2, 3), axis=-2))
    case("LayerNormalization of far values")(lambda g: g.op(
        "LayerNormalization", g.op("Add", g.floats(), g.constant(100.0)), g.values(4), g.values(4)))
    case("norm spelled by Pow")(lambda g: spelled(g, g.floats()))
    case("norm spelled by Mul")(lambda g: spelled(g, g.floats(), "Mul"))
    case("norm spelled with axes as input", 18)(lambda g: spelled(g, g.floats()))
    case("norm spelled by Reciprocal")(lambda g: spelled(g, g.floats(), root="Reciprocal"))
    case("norm spelled by Pow opset 11", 11)(lambda g: spelled(g, g.floats()))

    def rms(g, x, divide=True):
        root = g.op("Sqrt", g.op("Add", g.reduce("ReduceMean", g.op("Pow", x, g.constant(2.0)), [-1]), g.constant(1e-6)))
        scaled = g.op("Div", x, root) if divide else g.op("Mul", x, g.op("Reciprocal", root))
        return g.op("Mul", g.values(4), scaled)

    case("root mean square norm by Div")(lambda g: rms(g, g.floats()))
    case("root mean square norm by Reciprocal")(lambda g: rms(g, g.floats(), False))
    case("root mean square norm over tokens")(lambda g: (lambda x: g.op("Div", x, g.op("Sqrt", g.op("Add", g.reduce(
        "ReduceMean", g.op("Mul", x, x), [1]), g.constant(1e-6)))))(g.floats()))
    case("RMSNormalization", 23)(lambda g: g.op("RMSNormalization", g.floats(), g.values(4)))
    case("BatchNormalization")(lambda g: g.op(
        "Transpose", g.op("BatchNormalization", g.op("Transpose", g.floats(), perm=[0, 2, 1]), g.values(4), g.values(4),
                          g.values(4), g.values(4, low=0.5)), perm=[0, 2, 1]))
    case("LpNormalization")(lambda g: g.op("LpNormalization", g.floats(), axis=-1, p=2))
    case("l2 norm spelled")(lambda g: (lambda x: g.op("Div", x, g.op("Clip", g.reduce("ReduceL2", x, [-1]), g.constant(1e-9))))(
        g.floats()))


def places():
    case("Gather axis 1")(lambda g: g.op("Gather", g.floats(), g.ints(0), axis=1))
    case("Gather axis -1")(lambda g: g.op("Gather", g.floats(), g.ints([3, 0, 1]), axis=-1))
    case("Gather from the end")(lambda g: g.op("Gather", g.floats(), g.ints(-1), axis=1))
    case("Gather 2-D places")(lambda g: g.op("Gather", g.floats(), g.ints([[0, -2], [1, 3]]), axis=2))
    case("Gather rows below zero")(lambda g: g.op("Gather", g.values(WORDS, 4), g.op("Neg", g.ids)))
    case("GatherElements")(lambda g: g.op("GatherElements", g.floats(), g.op("Add", g.whole(-2, 2), g.ints(2)), axis=-1))
    case("GatherElements below zero")(lambda g: g.op("GatherElements", g.floats(), g.whole(-4, 4), axis=2))
    case("GatherElements by distances")(lambda g: g.op("GatherElements", g.op(
        "Expand", g.values(1, 1, 16), g.sizes(g.size(0), g.size(1), 16)), g.op("Expand", g.op(
            "Add", distances(g), g.ints(8)), g.sizes(g.size(0), g.size(1), g.size(1))), axis=2))
    case("GatherND")(lambda g: g.op("GatherND", g.floats(), g.ints([[0, 0], [0, -1]])))
    case("ScatterND")(lambda g: g.op("ScatterND", g.floats(), g.ints([[0, 0]]), g.values(1, 4)))
    case("ScatterElements")(lambda g: g.op("ScatterElements", g.floats(), g.op("Add", g.whole(-2, -1), g.ints(3)), g.floats(), axis=2))
    for name, starts, ends, axes, steps in [
        ("first token", [0], [1], [1], None), ("all but the first", [1], [2 ** 63 - 1], [2], None),
        ("from the end", [-2], [2 ** 31 - 1], [2], None), ("every second", [0], [9], [2], [2]),
        ("backwards", [-1], [-(2 ** 63)], [2], [-1]), ("two axes", [0, 1], [1, 3], [1, 2], None), ("axis -1", [0], [2], [-1], None),
        ("up to the last", [0], [-1], [2], None), ("tokens backwards", [-1], [-(2 ** 63)], [1], [-1]),
        ("beyond the end", [0], [3], [1], None), ("every second token", [0], [2 ** 63 - 1], [1], [2]),
    ]:
        case(f"Slice {name}")(lambda g, s=starts, e=ends, a=axes, t=steps: g.op(
            "Slice", g.floats(), g.ints(s), g.ints(e), g.ints(a), *([] if t is None else [g.ints(t)])))
    case("Slice by attribute", 9)(lambda g: g.op("Slice", g.floats(), starts=[1], ends=[3], axes=[2]))
    case("Slice of a table by length")(lambda g: g.op("Add", g.floats(), g.op(
        "Slice", g.values(1, 9, 4), g.ints([0]), g.sizes(g.size(1)), g.ints([1]))))
    case("Slice of a table from 2")(lambda g: g.op("Add", g.floats(), g.op(
        "Slice", g.values(1, 12, 4), g.ints([2]), g.op("Add", g.sizes(g.size(1)), g.ints([2])), g.ints([1]))))
    case("Slice square")(lambda g: g.op("Slice", g.op("Slice", g.values(9, 9), g.ints([0]), g.sizes(g.size(1)), g.ints([0])),
                                        g.ints([0]), g.sizes(g.size(1)), g.ints([1])))
    case("Concat")(lambda g: g.op("Concat", g.floats(3), g.floats(1), axis=-1))
    case("Concat tokens")(lambda g: g.op("Concat", g.floats(), g.floats(), axis=1))
    case("Concat with a constant")(lambda g: g.op("Concat", g.op("Expand", g.values(1, 1, 4), g.sizes(g.size(0), 1, 4)), g.floats(),
                                                  axis=1))
    case("Concat of one and its negative")(lambda g: (lambda x: g.op("Concat", g.op("Neg", g.op(
        "Slice", x, g.ints([2]), g.ints([4]), g.ints([2]))), g.op("Slice", x, g.ints([0]), g.ints([2]), g.ints([2])), axis=2))(g.floats()))
    case("Split evenly")(lambda g: g.op("Concat", *reversed(g.op("Split", g.floats(), outputs=2, axis=-1)), axis=-1))
    case("Split by input")(lambda g: g.op("Concat", *reversed(g.op("Split", g.floats(), g.ints([1, 3]), outputs=2, axis=2)), axis=-1))
    case("Split by attribute", 11)(lambda g: g.op("Concat", *reversed(g.op(
        "Split", g.floats(), outputs=2, axis=2, split=[3, 1])), axis=-1))
    case("Split by num_outputs", 18)(lambda g: g.op("Concat", *reversed(g.op(
        "Split", g.floats(5), outputs=2, axis=2, num_outputs=2)), axis=-1))
    case("Split in three")(lambda g: (lambda q, k, v: g.op("Add", g.op("Mul", q, k), v))(
        *g.op("Split", g.floats(12), outputs=3, axis=-1)))
    case("Transpose")(lambda g: g.op("Transpose", g.floats(), perm=[0, 2, 1]))
    case("Transpose without order")(lambda g: g.op("Transpose", g.floats()))
    case("Reshape to heads")(lambda g: g.heads())
    case("Reshape with -1")(lambda g: g.op("Reshape", g.floats(), g.ints([0, -1, 2])))
    case("Reshape by sizes")(lambda g: g.op("Reshape", g.floats(), g.sizes(g.size(0), g.size(1), 2, 2)))
    case("Reshape -1 first")(lambda g: g.op("Reshape", g.floats(), g.sizes(-1, g.size(1), 2, 2)))
    case("Reshape there and back")(lambda g: g.op("Reshape", g.op("Transpose", g.heads(), perm=[0, 2, 1, 3]), g.sizes(
        g.size(0), g.size(1), 6)))
    case("Reshape heads into the batch")(lambda g: (lambda x: g.op("Reshape", g.op("MatMul", x, g.op(
        "Transpose", x, perm=[0, 2, 1])), g.sizes(-1, 2, g.size(1), g.size(1))))(
            g.op("Reshape", g.heads(), g.sizes(-1, g.size(1), 3))))
    case("Flatten")(lambda g: g.op("Flatten", g.floats(), axis=2))
    case("Expand")(lambda g: g.op("Expand", g.floats(1), g.ints([1, 1, 4])))
    case("Expand to more axes")(lambda g: g.op("Expand", g.unsqueeze(g.floats(), [1]), g.ints([1, 3, 1, 1])))
    case("Expand by sizes")(lambda g: g.op("Expand", g.values(4), g.sizes(g.size(0), g.size(1), 4)))
    case("Unsqueeze and Squeeze")(lambda g: g.op("Squeeze", g.unsqueeze(g.floats(), [0, 2]), g.ints([0, 2])))
    case("Unsqueeze from the end")(lambda g: g.unsqueeze(g.floats(), [-1]))
    case("Unsqueeze by attribute", 11)(lambda g: g.op("Squeeze", g.unsqueeze(g.floats(), [1, 3]), axes=[1, 3]))
    case("Squeeze of all ones")(lambda g: g.op("Squeeze", g.op("Gather", g.floats(), g.ints([0]), axis=1), g.ints([1])))
    case("Tile")(lambda g: g.op("Tile", g.floats(), g.ints([1, 2, 1])))
    case("Tile by sizes")(lambda g: g.op("Tile", g.values(1, 1, 4), g.sizes(g.size(0), g.size(1), 1)))
    for upper in (0, 1):
        for k in (None, 0, 1, -1):
            case(f"Trilu upper {upper} k {k}")(lambda g, u=upper, k=k: g.op(
                "Trilu", g.op("MatMul", g.floats(), g.op("Transpose", g.floats(), perm=[0, 2, 1])),
                *([] if k is None else [g.ints(k)]), upper=u))
    case("Pad")(lambda g: g.op("Pad", g.floats(), g.ints([0, 1, 0, 0, 0, 1]), g.constant(0.5)))
    case("Shape")(lambda g: g.op("Shape", g.floats()))
    case("Shape of some axes")(lambda g: g.op("Shape", g.floats(), start=1, end=-1))
    case("Size")(lambda g: g.op("Size", g.floats()))
    case("ConstantOfShape")(lambda g: g.op("ConstantOfShape", g.sizes(g.size(0), g.size(1), 4), value=numpy_helper.from_array(
        np.array([1.5], np.float32))))
    case("ConstantOfShape of integers")(lambda g: g.op("ConstantOfShape", g.sizes(g.size(0), g.size(1)), value=numpy_helper.from_array(
        np.array([3], np.int64))))
    case("Range from 2 by 2")(lambda g: g.op("Range", g.ints(2), g.op("Add", g.size(1), g.ints(5)), g.ints(2)))
    case("Range of floats")(lambda g: g.op("Range", g.constant(0.0), g.op("Cast", g.size(1), to=FLOAT), g.constant(1.0)))
    case("OneHot")(lambda g: g.op("OneHot", g.ids, g.ints(5), g.constant([0.5, 2.0])))
    case("QuantizeLinear to int8 by attribute", 21)(lambda g: (lambda s: g.op("DequantizeLinear", g.op(
        "QuantizeLinear", g.floats(), s, output_dtype=TensorProto.INT8), s))(g.constant(0.02)))
    case("EyeLike")(lambda g: g.op("EyeLike", g.op("Gather", g.op(
        "MatMul", g.floats(), g.op("Transpose", g.floats(), perm=[0, 2, 1])), g.ints(0))))
    case("NonZero")(lambda g: g.op("NonZero", g.mask))
    case("DepthToSpace")(lambda g: g.op("DepthToSpace", g.op("Unsqueeze", g.op("Transpose", g.floats(), perm=[0, 2, 1]), g.ints([3])),
                                        blocksize=2))


def choices():
    for kind in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
        case(kind)(lambda g, k=kind: g.op(k, g.op("Round", g.floats()), g.op("Round", g.floats())))
        case(f"{kind} of integers")(lambda g, k=kind: g.op(k, g.whole(), g.whole()))
        case(f"{kind} of ids")(lambda g, k=kind: g.op(k, g.ids, g.ints(4)))
        case(f"{kind} of positions")(lambda g, k=kind: g.op(k, g.unsqueeze(positions(g), [1]), g.unsqueeze(positions(g), [0])))
        case(f"{kind} of sizes")(lambda g, k=kind: g.op("Where", g.op(k, g.size(1), g.ints(5)), g.floats(), g.floats()))
    case("Equal of bools")(lambda g: g.op("Equal", g.bools(), g.bools()))
    for kind in ("And", "Or", "Xor"):
        case(kind)(lambda g, k=kind: g.op(k, g.bools(), g.bools()))
    case("Not")(lambda g: g.op("Not", g.bools()))
    case("Where")(lambda g: g.op("Where", g.bools(), g.floats(), g.floats()))
    case("Where broadcast")(lambda g: g.op("Where", g.op("Unsqueeze", g.op("Cast", g.mask, to=BOOL), g.ints([2])), g.floats(), g.values(4)))
    case("Where of a number")(lambda g: g.op("Where", g.bools(), g.constant(-7.0), g.floats()))
    case("Where of integers")(lambda g: g.op("Where", g.bools(), g.whole(), g.ints(-5)))
    case("IsNaN")(lambda g: g.op("IsNaN", g.op("Log", g.floats())))
    case("IsInf")(lambda g: g.op("IsInf", g.op("Div", g.constant(1.0), g.op("Relu", g.floats()))))
    kinds = {"int32": TensorProto.INT32, "int64": INT64, "float16": TensorProto.FLOAT16, "double": TensorProto.DOUBLE, "bool": BOOL,
             "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}
    for name, kind in kinds.items():
        low = 0.1 if name == "uint8" else -5.0
        case(f"Cast float to {name}")(lambda g, k=kind, low=low: g.op("Cast", g.floats(low=low, high=5.0), to=k))
        case(f"Cast integer to {name}")(lambda g, k=kind, low=low: g.op("Cast", g.whole(0 if low > 0 else -3, 4), to=k))
    case("Cast bool to float")(lambda g: g.op("Cast", g.bools(), to=FLOAT))
    case("Cast mask to bool and back")(lambda g: g.op("Cast", g.op("Cast", g.mask, to=BOOL), to=FLOAT))
    case("CastLike")(lambda g: g.op("CastLike", g.whole(), g.floats()))


def attention():
    def scores(g, scale="Div"):
        q, k, v = g.heads(), g.heads(), g.heads()
        k = g.op("Transpose", k, perm=[0, 1, 3, 2])
        if scale == "both":
            q, k = (g.op("Mul", part, g.constant(3 ** -0.25)) for part in (q, k))
            return g.op("MatMul", q, k), v
        root = g.constant(3 ** (0.5 if scale == "Div" else -0.5))
        return g.op(scale, g.op("MatMul", q, k), root), v

    def finish(g, s, v):
        context = g.op("Transpose", g.op("MatMul", g.op("Softmax", s, axis=-1), v), perm=[0, 2, 1, 3])
        return g.op("Reshape", context, g.ints([0, 0, 6]))

    def wide(g):
        return g.unsqueeze(g.mask, [1, 2])

    def additive(g, far, scale="Div"):
        s, v = scores(g, scale)
        off = g.op("Sub", g.constant(1.0), g.op("Cast", wide(g), to=FLOAT))
        return finish(g, g.op("Add", s, g.op("Mul", off, g.constant(far))), v)

    lowest = float(np.finfo(np.float32).min)
    for scale in ("Div", "Mul", "both"):
        case(f"attention scale {scale}")(lambda g, s=scale: additive(g, -1e4, s))
    case("attention mask finfo.min")(lambda g: additive(g, lowest))

    def chosen(g, far):
        s, v = scores(g)
        return finish(g, g.op("Where", g.op("Equal", wide(g), g.ints(0)), g.constant(far), s), v)

    case("attention mask by Where")(lambda g: chosen(g, lowest))
    case("attention mask by Where -inf")(lambda g: chosen(g, float("-inf")))

    def window(g, width):
        s, v = scores(g)
        near = g.op("LessOrEqual", g.op("Abs", distances(g)), g.ints(width))
        seen = g.op("And", near, g.op("Cast", wide(g), to=BOOL))
        return finish(g, g.op("Where", seen, s, g.constant(lowest)), v)

    case("attention local window")(lambda g: window(g, 2))

    def rotary(g):
        x = g.heads_even()
        half = lambda lo, hi: g.op("Slice", x, g.ints([lo]), g.ints([hi]), g.ints([3]))
        turned = g.op("Concat", g.op("Neg", half(2, 4)), half(0, 2), axis=-1)
        angles = g.op("Mul", g.unsqueeze(g.op("Cast", positions(g), to=FLOAT), [1]), g.constant([[1.0, 0.1, 1.0, 0.1]]))
        return g.op("Add", g.op("Mul", x, g.op("Cos", angles)), g.op("Mul", turned, g.op("Sin", angles)))

    case("rotary positions")(rotary)
    case("positions from the mask")(lambda g: g.op("Add", g.floats(), g.op("Gather", g.values(12, 4), g.op(
        "Mul", g.op("CumSum", g.mask, g.ints(1)), g.mask))))
    case("positions clamped")(lambda g: g.op("Add", g.floats(), g.op("Gather", g.values(4, 4), g.op("Min", positions(g), g.ints(3)))))
    case("relative bias")(lambda g: (lambda s, v: finish(g, g.op("Add", s, g.op("Transpose", g.op(
        "Gather", g.values(9, 2), g.op("Add", g.op("Clip", distances(g), g.ints(-4), g.ints(4)), g.ints(4))), perm=[2, 0, 1])), v))(
            *scores(g)))
    case("mean of tokens that are not masked")(lambda g: (lambda m: g.op("Div", g.reduce("ReduceSum", g.op("Mul", g.floats(), m), [1], 0),
         g.op("Clip", g.reduce("ReduceSum", m, [1], 0), g.constant(1e-9))))(
             g.op("Cast", g.unsqueeze(g.mask, [2]), to=FLOAT)))


def heads_even(g):
    return g.op("Transpose", g.op("Reshape", g.floats(8), g.ints([0, 0, 2, 4])), perm=[0, 2, 1, 3])


Graph.heads_even = heads_even

# Between two pairs of quantizers: what tract takes for a table of 256 entries, and what is one.
WITHIN = {
    "Softmax": lambda g, x: g.op("Softmax", x, axis=-1), "Softmax axis 1": lambda g, x: g.op("Softmax", x, axis=1),
    "LogSoftmax": lambda g, x: g.op("LogSoftmax", x, axis=-1), "Sigmoid": lambda g, x: g.op("Sigmoid", x),
    "Tanh": lambda g, x: g.op("Tanh", x), "Erf": lambda g, x: g.op("Erf", x), "Relu": lambda g, x: g.op("Relu", x),
    "LeakyRelu": lambda g, x: g.op("LeakyRelu", x), "Exp": lambda g, x: g.op("Exp", x), "Neg": lambda g, x: g.op("Neg", x),
    "Sqrt of Abs": lambda g, x: g.op("Sqrt", g.op("Abs", x)), "Clip": lambda g, x: g.op("Clip", x, g.constant(-0.5), g.constant(0.7)),
    "LayerNormalization": lambda g, x: g.op("LayerNormalization", x, g.values(4), g.values(4)),
    "ReduceMean": lambda g, x: g.op("ReduceMean", x, axes=[-1], keepdims=1),
    "ReduceMean of tokens": lambda g, x: g.op("ReduceMean", x, axes=[1], keepdims=1),
    "ReduceMax": lambda g, x: g.op("ReduceMax", x, axes=[1], keepdims=1), "CumSum": lambda g, x: g.op("CumSum", x, g.ints(1)),
    "Transpose": lambda g, x: g.op("Transpose", x, perm=[0, 2, 1]), "Reshape": lambda g, x: g.op("Reshape", x, g.ints([0, 0, 2, 2])),
    "Slice": lambda g, x: g.op("Slice", x, g.ints([1]), g.ints([3]), g.ints([2])), "Identity": lambda g, x: g.op("Identity", x),
    "backwards": lambda g, x: g.op("Slice", x, g.ints([-1]), g.ints([-9]), g.ints([2]), g.ints([-1])),
    "Gather": lambda g, x: g.op("Gather", x, g.ints(0), axis=1), "Trilu": lambda g, x: g.op("Trilu", x),
    "Concat": lambda g, x: g.op("Concat", x, g.op("Neg", x), axis=2), "Add a number": lambda g, x: g.op("Add", x, g.constant(0.3)),
    "Add a vector": lambda g, x: g.op("Add", x, g.values(4)), "Mul by a vector": lambda g, x: g.op("Mul", x, g.values(4)),
    "Mul by a number": lambda g, x: g.op("Mul", x, g.constant(-1.3)), "Add itself": lambda g, x: g.op("Add", x, g.op("Tanh", x)),
    "Pow": lambda g, x: g.op("Pow", x, g.constant(2.0)), "Max": lambda g, x: g.op("Max", x, g.values(4)),
    "Div of a number": lambda g, x: g.op("Div", g.constant(1.0), g.op("Add", x, g.constant(4.0))),
    "Hardmax": lambda g, x: g.op("Hardmax", x, axis=-1), "Where": lambda g, x: g.op("Where", g.op("Greater", x, g.constant(0.2)), x, g.values(4)),
    "Cast there and back": lambda g, x: g.op("Cast", g.op("Cast", x, to=TensorProto.INT32), to=FLOAT),
    "MatMul": lambda g, x: g.op("MatMul", x, g.values(4, 4)),
    "MatMul with itself": lambda g, x: g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1])),
    "Expand": lambda g, x: g.op("Expand", x, g.sizes(g.size(0), g.size(1), 4)), "Gelu spelled": lambda g, x: g.op(
        "Mul", g.op("Mul", x, g.op("Add", g.op("Erf", g.op("Mul", x, g.constant(2 ** -0.5))), g.constant(1.0))), g.constant(0.5)),
    "LpNormalization": lambda g, x: g.op("LpNormalization", x, axis=-1), "Mod": lambda g, x: g.op("Mod", x, g.constant(0.5), fmod=1),
    "Unsqueeze": lambda g, x: g.op("Unsqueeze", x, g.ints([1])), "Tile": lambda g, x: g.op("Tile", x, g.ints([1, 1, 2])),
    "Split": lambda g, x: g.op("Split", x, outputs=2, axis=-1)[1], "Round": lambda g, x: g.op("Round", x),
}


def quantizers():
    forms = {"uint8": (np.uint8, 121, np.uint8, 117), "int8": (np.int8, None, np.int8, 0), "int8 off centre": (np.int8, -9, np.int8, 5)}
    for name, inner in WITHIN.items():
        for form, (kind, zero, kind_after, zero_after) in forms.items():
            # QuantizeLinear makes uint8 where it has no zero point.
            zero = 0 if zero is None else zero
            case(f"quantizers {form} around {name}")(lambda g, i=inner, k=kind, z=zero, ka=kind_after, za=zero_after: g.quantizers(
                i(g, g.quantizers(g.floats(), k, 0.0173, z)), ka, 0.0251, za))
    for name in ("Tanh", "Softmax", "Identity"):
        case(f"quantizers uint8 then int8 around {name}")(lambda g, i=WITHIN[name]: g.quantizers(
            i(g, g.quantizers(g.floats(), np.uint8, 0.0173, 121)), np.int8, 0.0251, 3))
        case(f"quantizers int8 then uint8 around {name}")(lambda g, i=WITHIN[name]: g.quantizers(
            i(g, g.quantizers(g.floats(), np.int8, 0.0173, -4)), np.uint8, 0.0251, 130))
    case("quantizers without zero point")(lambda g: g.quantizers(g.floats(), np.uint8, 0.02))
    per_axis = lambda g, x, axis, count, kind=np.int8: (lambda s, z: g.op(
        "DequantizeLinear", g.op("QuantizeLinear", x, s, z, axis=axis), s, z, axis=axis))(
            g.constant(g.random.uniform(0.01, 0.05, count)), g.constant(g.random.integers(0, 9, count), kind))
    case("quantizers of each channel")(lambda g: per_axis(g, g.floats(), 2, 4))
    case("quantizers of each channel, axis -1")(lambda g: per_axis(g, g.floats(), -1, 4))
    case("quantizers of each channel, uint8")(lambda g: per_axis(g, g.floats(), 2, 4, np.uint8))
    case("quantizers of each channel around Tanh")(lambda g: per_axis(g, g.op("Tanh", per_axis(g, g.floats(), 2, 4)), 2, 4))
    for far in (-1e4, float(np.finfo(np.float32).min), float("-inf"), 1e10, float("inf")):
        for kind, zero in ((np.int8, -9), (np.int8, 9), (np.uint8, 117), (np.int8, 0)):
            case(f"QuantizeLinear of {far:.0e} {kind.__name__} {zero}")(lambda g, f=far, k=kind, z=zero: g.quantizers(
                g.op("Where", g.bools(), g.floats(), g.constant(f)), k, 0.02, z))
    case("QuantizeLinear ties")(lambda g: g.quantizers(g.op("Mul", g.op("Cast", g.whole(-9, 9), to=FLOAT), g.constant(0.05)), np.int8, 0.1, 1))
    case("quantizers of integers")(lambda g: g.op("DequantizeLinear", g.op("Cast", g.whole(), to=TensorProto.INT32), g.constant(0.25)))

    def weights(g, kind=np.int8, channels=True, zero=False, axis=1, rows=4):
        count = (rows, 4)[axis] if channels else ()
        s = g.constant(g.random.uniform(0.005, 0.02, count))
        low, high = (-127, 128) if kind == np.int8 else (0, 256)
        z = g.constant(g.random.integers(-5, 6, count) if kind == np.int8 else g.random.integers(110, 140, count), kind)
        rest = [s] + ([z] if zero else [])
        return g.op("DequantizeLinear", g.constant(g.random.integers(low, high, (rows, 4)), kind), *rest, axis=axis)

    for form, options in {"of each channel": {}, "of each row": {"axis": 0}, "off centre": {"zero": True}, "uint8": {
            "kind": np.uint8, "zero": True}, "of the whole": {"channels": False}, "uint8 of the whole": {
                "kind": np.uint8, "zero": True, "channels": False}, "uint8 without zero point": {"kind": np.uint8}}.items():
        case(f"MatMul by quantized weights {form}")(lambda g, o=options: g.op("MatMul", g.floats(), weights(g, **o)))
        case(f"MatMul by quantized weights {form} after quantizers")(lambda g, o=options: g.quantizers(g.op("Add", g.op(
            "MatMul", g.quantizers(g.floats(), np.uint8, 0.0173, 121), weights(g, **o)), g.values(4)), np.uint8, 0.1, 120))
        case(f"MatMul by quantized weights {form} transposed")(lambda g, o=options: g.op(
            "MatMul", g.floats(), g.op("Transpose", weights(g, **o), perm=[1, 0])))
    case("Gemm by quantized weights and bias")(lambda g: g.op(
        "Gemm", g.quantizers(g.op("Gather", g.floats(), g.ints(0), axis=1), np.int8, 0.0173, 3), weights(g), g.op(
            "DequantizeLinear", g.constant([100, -500, 300, 7], np.int32), g.constant([0.001, 0.002, 0.001, 0.003]), axis=0), transB=1))
    case("Gather of a quantized table")(lambda g: g.op("DequantizeLinear", g.op("Gather", g.constant(
        g.random.integers(-127, 128, (WORDS, 4)), np.int8), g.ids), g.constant(0.01), g.constant(3, np.int8)))
    case("Gather of a dequantized table")(lambda g: g.op("Gather", weights(g, axis=0, rows=WORDS), g.ids))

    def dynamic(g, kind=np.int8, channels=True, zero=True, bias=False):
        x = g.floats()
        quantized, scale, point = g.op("DynamicQuantizeLinear", x, outputs=3)
        low, high = (-127, 128) if kind == np.int8 else (0, 256)
        count = 4 if channels else ()
        z = g.constant(g.random.integers(-3, 4, count) if kind == np.int8 else g.random.integers(120, 136, count), kind)
        inputs = [quantized, g.constant(g.random.integers(low, high, (4, 4)), kind), point] + ([z] if zero else [])
        product = g.op("Cast", g.op("MatMulInteger", *inputs), to=FLOAT)
        scaled = g.op("Mul", product, g.op("Mul", scale, g.constant(g.random.uniform(0.005, 0.02, count))))
        return g.op("Add", scaled, g.values(4)) if bias else scaled

    for form, options in {"of each channel": {}, "of the whole": {"channels": False}, "without zero point": {"zero": False}, "uint8": {
            "kind": np.uint8}, "uint8 of the whole": {"kind": np.uint8, "channels": False}, "with bias": {"bias": True}}.items():
        case(f"MatMulInteger {form}")(lambda g, o=options: dynamic(g, **o))
    case("DynamicQuantizeLinear")(lambda g: g.op("DequantizeLinear", *g.op("DynamicQuantizeLinear", g.floats(), outputs=3)))
    case("DynamicQuantizeLinear above zero")(lambda g: g.op("Cast", g.op("DynamicQuantizeLinear", g.floats(low=1.0), outputs=3)[0], to=FLOAT))
    case("DynamicQuantizeLinear of zeros")(lambda g: g.op("Cast", g.op("DynamicQuantizeLinear", g.op(
        "Mul", g.floats(), g.constant(0.0)), outputs=3)[0], to=FLOAT))
    for x, y in ((np.uint8, np.int8), (np.int8, np.int8), (np.uint8, np.uint8)):
        def two(g, x=x, y=y):
            zx, zy = g.constant(7, x), g.constant(11, y)
            a = g.op("QuantizeLinear", g.floats(), g.constant(0.02), zx)
            b = g.op("QuantizeLinear", g.op("Transpose", g.floats(), perm=[0, 2, 1]), g.constant(0.03), zy)
            return g.op("MatMulInteger", a, b, zx, zy)
        case(f"MatMulInteger of two activations {x.__name__} {y.__name__}")(two)

    def linear_product(g):
        s, z = g.constant(0.02), g.constant(120, np.uint8)
        a = g.op("QuantizeLinear", g.floats(), s, z)
        w = g.constant(g.random.integers(-127, 128, (4, 4)), np.int8)
        return g.op("DequantizeLinear", g.op("QLinearMatMul", a, s, z, w, g.constant(0.01), g.constant(2, np.int8), g.constant(0.05),
                                             g.constant(110, np.uint8)), g.constant(0.05), g.constant(110, np.uint8))
    case("QLinearMatMul")(linear_product)
    case("halves")(lambda g: g.op("Cast", g.op("MatMul", g.op("Cast", g.floats(), to=TensorProto.FLOAT16), g.constant(
        g.random.uniform(-2, 2, (4, 4)), np.float16)), to=FLOAT))
    case("halves through Softmax")(lambda g: g.op("Cast", g.op("Softmax", g.op(
        "Cast", g.floats(), to=TensorProto.FLOAT16), axis=-1), to=FLOAT))
    case("halves through LayerNormalization")(lambda g: g.op("Cast", g.op(
        "LayerNormalization", g.op("Cast", g.floats(), to=TensorProto.FLOAT16), g.constant([1.0, 0.5, 2.0, 1.0], np.float16),
        g.constant([0.0, 0.5, 0.1, 1.0], np.float16)), to=FLOAT))


def build(name, number):
    opset, make = CASES[name]
    graph = Graph(opset, number)
    made = make(graph)
    made = graph.op("Cast", made, to=FLOAT)
    graph.nodes.append(helper.make_node("Identity", [made], ["y"], name="n/y"))
    return graph


def model_of(graph, logits):
    whole = lambda name: helper.make_tensor_value_info(name, INT64, ["batch", "sequence"])
    nodes, constants = list(graph.nodes), list(graph.constants)
    if logits == "sum":
        constants += [numpy_helper.from_array(np.linspace(0.5, 1.5, WORDS, dtype=np.float32)[:, None], "shares"),
                      numpy_helper.from_array(np.array([1], np.int64), "tokens")]
        nodes += [helper.make_node("Gather", ["shares", "input_ids"], ["share"]), helper.make_node("Mul", ["y", "share"], ["shared"])]
        last = {"inputs": ["shared", "tokens"]} if graph.opset >= 13 else {"inputs": ["shared"], "axes": [1]}
        nodes.append(helper.make_node("ReduceSum", outputs=["logits"], keepdims=0, **last))
    else:
        nodes.append(helper.make_node("Identity", ["y"], ["logits"]))
    outputs = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("logits", "y")]
    proto = helper.make_graph(nodes, "operators", [whole("input_ids"), whole("attention_mask")], outputs, constants)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=8 if graph.opset < 21 else 10)


def feeds_of(shape, seed):
    random = np.random.default_rng(seed)
    ids = random.integers(0, WORDS, shape).astype(np.int64)
    mask = np.ones(shape, np.int64)
    if shape[1] > 3:
        mask[-1, shape[1] - 2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def run(model, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return [session.run(["y", "logits"], {name: feed[name] for name in names}) for feed in feeds]


def main():
    for part in (products, pointwise, integers, along_axes, norms, places, choices, attention, quantizers):
        part()
    feeds = [feeds_of(shape, seed) for seed, shape in enumerate(SHAPES)]
    runs = [{"shape": shape, "ids": feed["input_ids"].ravel().tolist(), "mask": feed["attention_mask"].ravel().tolist()}
            for shape, feed in zip(SHAPES, feeds)]
    index, blobs, unknown = [], [], []
    for number, name in enumerate(CASES):
        graph = build(name, number)
        try:
            answers = run(model_of(graph, "same"), feeds)
            whole = all(y.shape == (*shape, WIDTH) for (y, _), shape in zip(answers, SHAPES))
            model = model_of(graph, "sum" if whole else "same")
            answers = run(model, feeds)
        except Exception as error:
            unknown.append(f"{name}: {str(error)[:150]}")
            continue
        onnx_bytes = model.SerializeToString()
        index.append({"name": name, "onnx": len(onnx_bytes), "y": [list(y.shape) for y, _ in answers],
                      "logits": [list(logits.shape) for _, logits in answers] if whole else []})
        blobs.append(onnx_bytes)
        for y, logits in answers:
            blobs.append(np.asarray(y, "<f4").tobytes())
            if whole:
                blobs.append(np.asarray(logits, "<f4").tobytes())
    text = json.dumps({"runs": runs, "cases": index}, separators=(",", ":")).encode() + b"\n"
    packed = zlib.compress(text + b"".join(blobs), 9)
    FILE.write_bytes(packed)
    print(f"{len(index)} cases, {len(packed)} bytes")
    for line in unknown:
        print("left out, ONNX Runtime has no kernel:", line)


if __name__ == "__main__":
    main()
