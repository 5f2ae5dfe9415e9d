"""Makes the tiny encoders of other families, and of other tools, that the Rust tests compare against.

    python training/make_export_fixtures.py [OUT_DIR]
    python training/make_export_fixtures.py --architectures [OUT_DIR]

Writes `exports` below `crates/testkit/fixtures`: for each encoder an ONNX file and a JSON file of the same name, with token ids,
masks and the logits of ONNX Runtime, without optimizations. Random weights, seeded; no text from elsewhere goes in.

- families: RoBERTa, XLM-RoBERTa, DistilBERT and ELECTRA, exported by PyTorch's tracer;
- architectures (`--architectures` makes these alone): ALBERT, ModernBERT and MPNet, up to 300 tokens, exported by the tracer with plain
  and with scaled dot-product attention (`*-sdpa`), and by the newer exporter (`*-dynamo`), and
  ModernBERT with SiLU for opset 14; PyTorch's logits are there too;
- `*-optimized`: the same graphs through ONNX Runtime's transformer optimizer (what `optimum-cli export --optimize` calls), or as a
  session saves them, with operators of the domain `com.microsoft`;
- `*-quantized`: such graphs quantized afterwards, in 8 or 4 bits.
"""
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.fusion_options import AttentionMaskFormat

from make_fixtures import enliven, plain_session, rounded, shrink

OUT = Path(__file__).resolve().parent.parent / "crates" / "testkit" / "fixtures" / "exports"
WORDS, COLUMNS, HEADS, POSITIONS = 140, 16, 2, 130
BYTES_MAX = 120_000
LENGTHS = ((1, 1), (2, 2), (2, 7), (3, 33), (2, 90), (1, 128))
# Beyond ModernBERT's windows and the last of MPNet's buckets.
LONG_LENGTHS = ((1, 1), (2, 2), (2, 7), (2, 33), (2, 130), (1, 300))
ARCHITECTURES = ("albert", "modernbert", "mpnet")
SHAPE = dict(vocab_size=WORDS, num_labels=4)


def encoder(name, attention="eager", **changes):
    """A sequence classifier of a family with four labels and random weights."""
    bert = dict(hidden_size=COLUMNS, num_hidden_layers=2, num_attention_heads=HEADS, intermediate_size=32,
                max_position_embeddings=POSITIONS, **SHAPE)
    configs = {
        "bert": lambda: transformers.BertConfig(**bert | changes),
        "roberta": lambda: transformers.RobertaConfig(**bert | dict(type_vocab_size=1, pad_token_id=1) | changes),
        "xlm-roberta": lambda: transformers.XLMRobertaConfig(**bert | dict(type_vocab_size=1, pad_token_id=1) | changes),
        "electra": lambda: transformers.ElectraConfig(**bert | dict(embedding_size=8) | changes),
        "distilbert": lambda: transformers.DistilBertConfig(
            dim=COLUMNS, n_layers=2, n_heads=HEADS, hidden_dim=32, max_position_embeddings=POSITIONS, **SHAPE | changes),
        # Three layers of the same weights.
        "albert": lambda: transformers.AlbertConfig(**bert | dict(
            embedding_size=8, num_hidden_layers=3, max_position_embeddings=310, classifier_dropout_prob=0.0) | changes),
        # Layers 0 and 3 see everything, the others 12 tokens to either side.
        "modernbert": lambda: transformers.ModernBertConfig(**bert | dict(
            num_hidden_layers=4, num_attention_heads=HEADS, global_attn_every_n_layers=3, local_attention=24, max_position_embeddings=320,
            pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2, reference_compile=False) | changes),
        "mpnet": lambda: transformers.MPNetConfig(**bert | dict(max_position_embeddings=310, pad_token_id=1) | changes),
    }
    torch.manual_seed(11)
    config = configs[name]()
    config._attn_implementation = attention
    model = transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    return enliven(model, spread=0.45)


class Logits(torch.nn.Module):
    """The logits alone, from ids, mask and, if asked for, token types."""

    def __init__(self, model, types=False):
        super().__init__()
        self.model, self.types = model, types

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        types = {"token_type_ids": token_type_ids} if self.types else {}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits


def export_dynamo(model, path, opset=18):
    """By the exporter that became PyTorch's default."""
    ids = torch.randint(5, WORDS, (2, 11))
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", max=300)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(Logits(model).eval(), (ids, torch.ones_like(ids)), dynamo=True, opset_version=opset, verbose=False,
                                    input_names=["input_ids", "attention_mask"], output_names=["logits"],
                                    dynamic_shapes=[{0: batch, 1: sequence}] * 2)
    onnx.save(program.model_proto, str(path))
    return path


def export(model, path, opset=17, types=False):
    ids = torch.randint(5, WORDS, (2, 11))
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if types else [])
    feeds = (ids, torch.ones_like(ids)) + ((torch.zeros_like(ids),) if types else ())
    axes = {name: {0: "batch", 1: "sequence"} for name in names} | {"logits": {0: "batch"}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Logits(model, types).eval(), feeds, str(path), opset_version=opset, dynamo=False, input_names=names,
                          output_names=["logits"], dynamic_axes=axes)
    return path


def optimized(source, target, kind="bert", **options):
    """Through the transformer optimizer, as optimum calls it."""
    options = {**dict(num_heads=HEADS, hidden_size=COLUMNS, opt_level=0), **options}
    fusion = options.pop("fusion", {})
    settings = optimizer.FusionOptions(kind)
    for name, value in fusion.items():
        setattr(settings, name, value)
    made = optimizer.optimize_model(str(source), model_type=kind, optimization_options=settings, use_gpu=False, **options)
    made.save_model_to_file(str(target))
    return target


def halved(source, target, **options):
    """Optimized and then in half precision, inputs and outputs or not."""
    settings = optimizer.FusionOptions("bert")
    made = optimizer.optimize_model(str(source), model_type="bert", num_heads=HEADS, hidden_size=COLUMNS, opt_level=0,
                                    optimization_options=settings, use_gpu=False)
    made.convert_float_to_float16(**options)
    made.save_model_to_file(str(target))
    return target


def saved_by_session(source, target):
    """As a session with extended optimizations saves it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return target


def four_bits(source, target, **options):
    quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), bits=4, block_size=16, **options)
    quantizer.process()
    onnx.save(quantizer.model.model, str(target))
    return target


def bnb4(source, target, kind):
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
    quantizer = MatMulBnb4Quantizer(onnx.load(str(source)), kind, 16)
    quantizer.process()
    onnx.save(quantizer.model.model, str(target))
    return target


def operators(path):
    return sorted({f"{node.domain}.{node.op_type}".lstrip(".") for node in onnx.load(str(path)).graph.node if node.domain})


def write(out, name, path, tolerance, cases, model=None):
    """The file under its name, made small, and the answers beside it: ONNX Runtime's, and those of `model` by PyTorch."""
    torch_model, model = model, onnx.load(str(path))
    shrink(model.graph)
    # Stack traces, by the newer exporter.
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        del holder.metadata_props[:]
    target = out / f"{name}.onnx"
    onnx.save(model, str(target))
    if target.stat().st_size > BYTES_MAX:
        sys.exit(f"{target}: {target.stat().st_size} bytes, more than {BYTES_MAX}")
    session = plain_session(target)
    takes = [value.name for value in session.get_inputs()]
    answers = []
    for ids, mask in cases:
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        logits = session.run(["logits"], {key: feeds[key] for key in takes})[0]
        answer = {"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "logits_onnxruntime": rounded(logits)}
        if torch_model is not None:
            with torch.no_grad():
                answer["logits_pytorch"] = rounded(Logits(torch_model)(torch.from_numpy(ids), torch.from_numpy(mask)).numpy())
        answers.append(answer)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in answers)
    target.with_suffix(".json").write_text(f'{{"tolerance":{tolerance},"cases":[\n{lines}\n]}}\n', encoding="ascii")
    print(f"{name:28s} {target.stat().st_size:7d} bytes  {' '.join(operators(target))}")


def cases(lengths=LENGTHS):
    random = np.random.default_rng(5)
    for rows, length in lengths:
        ids = random.integers(5, WORDS, (rows, length))
        mask = np.ones_like(ids)
        if rows > 1 and length > 2:
            mask[-1, length * 2 // 3:] = 0
        yield ids, mask


def padded_inside(rows):
    """RoBERTa counts positions from the ids: its padding id 1 as padding, and here and there inside a sequence."""
    return [(np.where((mask == 1) & (np.arange(ids.shape[1]) % 6 != 4), ids, 1), mask) for ids, mask in rows]


def liven_up(model):
    """Norms and biases of scores that tell, whatever they are called; the same for each way to export."""
    torch.manual_seed(12)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.uniform_(0.7, 1.3)
            elif name.endswith("relative_attention_bias"):
                module.weight.normal_(0, 1.0)
    return model


def write_architectures(out):
    """ALBERT, ModernBERT and MPNet, by each exporter."""
    rows = list(cases(LONG_LENGTHS))
    with tempfile.TemporaryDirectory() as work:
        for name in ARCHITECTURES:
            answered = padded_inside(rows) if name == "mpnet" else rows
            path = Path(work) / f"{name}.onnx"
            plain = liven_up(encoder(name))
            write(out, name, export(plain, path), 1e-4, answered, plain)
            fast = plain
            # MPNet has no other attention than the plain one.
            if name != "mpnet":
                fast = liven_up(encoder(name, "sdpa"))
                write(out, f"{name}-sdpa", export(fast, path), 1e-4, answered, fast)
            write(out, f"{name}-dynamo", export_dynamo(fast, path), 1e-4, answered, fast)
            if name == "modernbert":
                # Before there was an operator for layer norms, and with SiLU gates.
                gated = liven_up(encoder(name, hidden_activation="silu"))
                write(out, f"{name}-14", export(gated, path, opset=14), 1e-4, answered, gated)


def main(*arguments):
    alone = "--architectures" in arguments
    out = Path(next((argument for argument in arguments if argument != "--architectures"), OUT))
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("*.onnx"), *out.glob("*.json")]:
        if not alone or old.stem.split("-")[0] in ARCHITECTURES:
            old.unlink()
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.INFO)
    write_architectures(out)
    if alone:
        return
    rows = list(cases())
    padded = padded_inside(rows)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        plain = {name: export(encoder(name), work / f"{name}.onnx") for name in ("bert", "roberta", "xlm-roberta", "electra", "distilbert")}
        plain["roberta-11"] = export(encoder("roberta"), work / "roberta-11.onnx", opset=11)
        plain["electra-wide"] = export(encoder("electra", embedding_size=COLUMNS), work / "electra-wide.onnx", opset=14)
        for name, path in plain.items():
            if name != "bert":
                write(out, name, path, 1e-4, padded if "roberta" in name else rows)
        typed = export(encoder("bert"), work / "bert-types.onnx", types=True)
        write(out, "bert-optimized", optimized(typed, work / "a.onnx"), 1e-4, rows)
        raw = dict(attention_mask_format=AttentionMaskFormat.AttentionMask, enable_embed_layer_norm=False)
        write(out, "bert-optimized-raw", optimized(typed, work / "b.onnx", fusion=raw), 1e-4, rows)
        write(out, "bert-optimized-tanh", optimized(typed, work / "c.onnx", fusion=dict(enable_gelu_approximation=True)), 2e-3, rows)
        write(out, "bert-optimized-heads", optimized(plain["bert"], work / "d.onnx", fusion=dict(use_multi_head_attention=True)), 1e-4, rows)
        write(out, "bert-saved", saved_by_session(typed, work / "e.onnx"), 1e-4, rows)
        write(out, "roberta-optimized", optimized(plain["roberta"], work / "f.onnx"), 1e-4, padded)
        write(out, "distilbert-optimized", optimized(plain["distilbert"], work / "g.onnx", kind="bert"), 1e-4, rows)
        quantize_dynamic(str(work / "a.onnx"), str(work / "h.onnx"), per_channel=True, weight_type=QuantType.QInt8,
                         extra_options={"DefaultTensorType": TensorProto.FLOAT})
        write(out, "bert-optimized-int8", work / "h.onnx", 0.2, rows)
        quantize_dynamic(str(plain["bert"]), str(work / "i.onnx"), per_channel=True, weight_type=QuantType.QInt8)
        write(out, "bert-int8-saved", saved_by_session(work / "i.onnx", work / "j.onnx"), 0.2, rows)
        write(out, "bert-q4", four_bits(plain["bert"], work / "k.onnx", is_symmetric=True), 1e-4, rows)
        write(out, "bert-q4-zero-points", four_bits(plain["bert"], work / "l.onnx", is_symmetric=False), 1e-4, rows)
        write(out, "bert-optimized-fp16", halved(typed, work / "m.onnx", keep_io_types=True), 2e-2, rows)
        write(out, "bert-optimized-fp16-io", halved(typed, work / "n.onnx", keep_io_types=False), 2e-2, rows)
        half = work / "o.onnx"
        onnx.save(convert_float_to_float16(onnx.load(str(plain["bert"])), keep_io_types=True), str(half))
        write(out, "bert-q4f16", four_bits(half, work / "p.onnx", is_symmetric=True), 2e-2, rows)
        gathered = four_bits(plain["bert"], work / "q.onnx", op_types_to_quantize=("MatMul", "Gather"), quant_axes=(("MatMul", 0), ("Gather", 1)))
        write(out, "bert-q4-tables", gathered, 1e-4, rows)
        for number, kind in enumerate(("fp4", "nf4")):
            write(out, f"bert-{kind}", bnb4(plain["bert"], work / f"{kind}.onnx", number), 1e-4, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
