"""Makes tiny models in the forms that people's files have, for the Rust tests.

    python training/make_file_fixtures.py [OUT_DIR]

One encoder with random weights, exported, converted, quantized and stored in many ways, each with ONNX Runtime's logits for the same
sequences in `logits.json`: half precision by three converters, weights in files beside the graph, graphs without dynamic axes,
opsets 11 to 23, the newer exporter with and without functions, inputs of other types, weights in uint8, positions that begin at 2.
Seeded: the same versions of the libraries make the same files. No trained weights go in.

Needs what `make_fixtures.py` needs, onnxscript and onnxconverter-common.
"""
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn as nn
import transformers
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from make_fixtures import enliven

OUT = Path(__file__).resolve().parent.parent / "crates" / "testkit" / "fixtures" / "files"
BYTES_MAX = 1_000_000
VOCABULARY, POSITIONS = 80, 64
LENGTHS = [1, 3, 7, 12, 16, 5]
# For graphs that take no others.
FIXED_BATCH, FIXED_LENGTH = 2, 16


class Graph(nn.Module):
    """A classifier as a function of tensors alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class GraphOfThree(Graph):
    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits


class GraphOfPositions(Graph):
    def forward(self, input_ids, attention_mask, position_ids):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids).logits


def main(out=OUT):
    out = Path(out)
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    encoder, roberta = make_bert(), make_roberta()
    made = {"base": export(out / "base.onnx", encoder)}
    base = out / "base.onnx"
    made |= write_half(out, base, encoder)
    made |= write_external(out, base)
    made |= write_fixed(out, encoder)
    made |= write_opsets(out, encoder)
    made |= write_inputs(out, encoder)
    made |= write_uint8(out, base)
    made |= {"roberta": export(out / "roberta.onnx", roberta)}
    for name in made:
        strip(out / made[name])
    write_logits(out, made)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{size} bytes")
    if size > BYTES_MAX:
        sys.exit(f"{out}: {size} bytes, more than {BYTES_MAX}")


def shape(**changes):
    return {**dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
                   max_position_embeddings=POSITIONS, num_labels=4, attn_implementation="eager"), **changes}


def make_bert(**changes):
    torch.manual_seed(5)
    return enliven(BertForSequenceClassification(BertConfig(**shape(**changes))))


def make_roberta():
    torch.manual_seed(6)
    return enliven(RobertaForSequenceClassification(RobertaConfig(**shape(pad_token_id=1, type_vocab_size=1))))


def export(path, model, graph=Graph, third=None, opset=17, axes=("batch", "sequence"), half=False, dynamo=False, **options):
    """One ONNX file; `axes` names the dynamic axes, with `None` for one of a fixed size. Returns its name."""
    model = (model.half() if half else model.float()).eval()
    ids = torch.arange(FIXED_BATCH * FIXED_LENGTH).reshape(FIXED_BATCH, FIXED_LENGTH) % (VOCABULARY - 5) + 5
    names = ["input_ids", "attention_mask"] + ([third] if third else [])
    tensors = [ids, torch.ones_like(ids)] + ([torch.zeros_like(ids)] if third else [])
    dynamic = {place: name for place, name in enumerate(axes) if name}
    with torch.no_grad():
        if dynamo:
            shapes = {name: {place: torch.export.Dim.DYNAMIC for place in dynamic} for name in names}
            torch.onnx.export(graph(model), tuple(tensors), str(path), opset_version=opset, dynamo=True, input_names=names,
                              dynamic_shapes=shapes, **options)
        else:
            torch.onnx.export(graph(model), tuple(tensors), str(path), opset_version=opset, dynamo=False, input_names=names,
                              output_names=["logits"], dynamic_axes={name: dynamic for name in names} | {"logits": {0: "batch"}} if dynamic else None)
    model.float()
    return path.name


def write_half(out, base, encoder):
    """Half precision by ONNX Runtime's converter, onnxconverter-common's, and PyTorch."""
    from onnxconverter_common import float16 as common

    def converted(name, convert, **options):
        onnx.save(convert(onnx.load(str(base)), **options), str(out / f"{name}.onnx"))
        return {name: f"{name}.onnx"}

    blocked = ["LayerNormalization", "Softmax", "Gather"]
    made = converted("fp16-ort", convert_float_to_float16)
    made |= converted("fp16-ort-keep", convert_float_to_float16, keep_io_types=True)
    made |= converted("fp16-ort-blocked", convert_float_to_float16, keep_io_types=True, op_block_list=blocked)
    made |= converted("fp16-common", common.convert_float_to_float16, keep_io_types=True)
    made |= converted("fp16-common-blocked", common.convert_float_to_float16, op_block_list=blocked)
    made |= {"fp16-torch": export(out / "fp16-torch.onnx", encoder, half=True)}
    return made


def write_external(out, base):
    """The weights in one file beside the graph, and in one file each."""
    for name, together in (("external", True), ("external-many", False)):
        folder = out / name
        folder.mkdir()
        onnx.save(onnx.load(str(base)), str(folder / "model.onnx"), save_as_external_data=True, all_tensors_to_one_file=together,
                  location="model.onnx_data" if together else None, size_threshold=256, convert_attribute=False)
    return {name: f"{name}/model.onnx" for name in ("external", "external-many")}


def write_fixed(out, encoder):
    return {name: export(out / f"{name}.onnx", encoder, axes=axes)
            for name, axes in (("fixed", (None, None)), ("fixed-batch", (None, "sequence")), ("fixed-sequence", ("batch", None)))}


def write_opsets(out, encoder):
    scaled = make_bert(attn_implementation="sdpa")
    made = {f"opset{opset}": export(out / f"opset{opset}.onnx", encoder, opset=opset) for opset in (11, 12, 13, 20)}
    for opset in (18, 20, 23):
        made |= {f"dynamo{opset}": export(out / f"dynamo{opset}.onnx", scaled, opset=opset, dynamo=True, external_data=False)}
    return made | write_functions(out)


def write_functions(out):
    """The same graph with functions of its own for its sums and norms, one that calls another and one with an attribute."""
    model = onnx.load(str(out / "base.onnx"))
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    norm = helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["y"], axis=-1)
    norm.attribute.append(onnx.AttributeProto(name="epsilon", ref_attr_name="eps", type=onnx.AttributeProto.FLOAT))
    model.functions.extend([
        helper.make_function("local", "Join", ["a", "b"], ["c"], [helper.make_node("Add", ["a", "b"], ["c"])], sets),
        helper.make_function("local", "Sum", ["a", "b"], ["c"], [helper.make_node("Join", ["a", "b"], ["c"], domain="local")], sets),
        helper.make_function("local", "Norm", ["x", "gamma", "beta"], ["y"], [norm], sets, ["eps"])])
    model.opset_import.append(helper.make_opsetid("local", 1))
    for node in model.graph.node:
        if node.op_type == "Add":
            node.op_type, node.domain = "Sum", "local"
        elif node.op_type == "LayerNormalization":
            epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
            del node.attribute[:]
            node.op_type, node.domain = "Norm", "local"
            node.attribute.append(helper.make_attribute("eps", epsilon))
    onnx.checker.check_model(model)
    onnx.save(model, str(out / "functions.onnx"))
    return {"functions": "functions.onnx"}


def write_inputs(out, encoder):
    """Three inputs, positions as an input, and ids and masks of other types."""
    made = {"three-inputs": export(out / "three-inputs.onnx", encoder, GraphOfThree, "token_type_ids"),
            "positions": export(out / "positions.onnx", encoder, GraphOfPositions, "position_ids")}
    kinds = {"int32": TensorProto.INT32, "float": TensorProto.FLOAT, "bool": TensorProto.BOOL, "uint8": TensorProto.UINT8}
    for name, kind in kinds.items():
        model = onnx.load(str(out / "three-inputs.onnx"))
        for value in model.graph.input:
            ids = value.name != "attention_mask"
            declared = (TensorProto.INT32 if name == "int32" else TensorProto.INT64) if ids else kind
            if declared == TensorProto.INT64:
                continue
            value.type.tensor_type.elem_type = declared
            for node in model.graph.node:
                for slot, read in enumerate(node.input):
                    if read == value.name:
                        node.input[slot] = f"{value.name}.int64"
            model.graph.node.insert(0, helper.make_node("Cast", [value.name], [f"{value.name}.int64"], to=TensorProto.INT64))
        onnx.checker.check_model(model)
        onnx.save(model, str(out / f"mask-{name}.onnx"))
        made |= {f"mask-{name}": f"mask-{name}.onnx"}
    return made


def write_uint8(out, base):
    """ONNX Runtime's dynamic quantization with the weights that it takes by default elsewhere: uint8 with zero points."""
    made = {}
    for name, options in (("uint8", dict(weight_type=QuantType.QUInt8)), ("uint8-channel", dict(weight_type=QuantType.QUInt8, per_channel=True)),
                          ("int8-asymmetric", dict(weight_type=QuantType.QInt8, extra_options={"WeightSymmetric": False}))):
        quantize_dynamic(str(base), str(out / f"{name}.onnx"), **options)
        made |= {name: f"{name}.onnx"}
    return made


def strip(path):
    """Takes out what takes room and says nothing: long names, and where in which Python file a node came from."""
    model = onnx.load(str(path), load_external_data=False)
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        del graph.value_info[:]
        shorten(graph)
    for node in [node for graph in graphs for node in graph.node]:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer, *model.functions]:
        value.doc_string = ""
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:]
    onnx.save(model, str(path))


def shorten(graph):
    """Numbers in place of the names inside a graph or function."""
    outside = graph.input if isinstance(graph, onnx.FunctionProto) else [value.name for value in [*graph.input, *graph.output]]
    kept = {*outside, *(graph.output if isinstance(graph, onnx.FunctionProto) else []), ""}
    names = {}
    short = lambda name: name if name in kept else names.setdefault(name, f"v{len(names)}")
    for tensor in getattr(graph, "initializer", []):
        tensor.name = short(tensor.name)
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}{number}"
        for list_ in (node.input, node.output):
            list_[:] = [short(name) for name in list_]


def write_logits(out, made):
    """ONNX Runtime's logits of every file for the same sequences, one sequence at a time but where the graph wants more."""
    random = np.random.default_rng(12)
    sequences = [random.integers(5, VOCABULARY, length).tolist() for length in LENGTHS]
    answers = {}
    for name, file in made.items():
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session = onnxruntime.InferenceSession(str(out / file), options, providers=["CPUExecutionProvider"])
        answers[name] = {"file": file, "logits": [answer(session, ids) for ids in sequences]}
    lines = ",\n".join(f'"{name}":{json.dumps(answer, separators=(",", ":"))}' for name, answer in answers.items())
    (out / "logits.json").write_text('{"sequences":' + json.dumps(sequences, separators=(",", ":")) + ',\n"models":{\n' + lines + "\n}}\n", encoding="ascii")


NUMPY = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": bool, "tensor(uint8)": np.uint8}


def answer(session, ids):
    sizes = session.get_inputs()[0].shape
    batch = sizes[0] if isinstance(sizes[0], int) else 1
    length = sizes[1] if isinstance(sizes[1], int) else len(ids)
    rows = np.zeros((batch, length), dtype=np.int64)
    mask = np.zeros_like(rows)
    rows[:, : len(ids)], mask[:, : len(ids)] = ids, 1
    values = {"input_ids": rows, "attention_mask": mask, "token_type_ids": np.zeros_like(rows),
              "position_ids": np.broadcast_to(np.arange(length), rows.shape)}
    feeds = {value.name: values[value.name].astype(NUMPY[value.type]) for value in session.get_inputs()}
    return [round(float(logit), 6) for logit in session.run(None, feeds)[0][0]]


if __name__ == "__main__":
    main(*sys.argv[1:])
