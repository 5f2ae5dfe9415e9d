"""Writes the detector as ONNX, quantizes its weights to int8, and packs the bundle.

    python training/export_mini.py --data DIR --out DIR     with the `--out` of train.py
"""
import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

import bundle
import calibrate
import data
import judgements
import model as models
import stability
from evaluate import failures, predict, report, run_batched, truth
from generators import MAXIMS

# Rows of one question and answer in the table of what people judged.
MOST_JUDGED = 80
NAME, VERSION = "detector-mini", "2.0.0"


def export_fp32(net, path):
    """The fp32 graph: opset 17, both axes dynamic, one output `logits`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = torch.randint(5, 1000, (3, 24))
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    net.eval()
    with torch.no_grad():
        torch.onnx.export(models.Exported(net), (ids, mask), str(path), opset_version=17, dynamo=False, input_names=["input_ids", "attention_mask"],
                          output_names=["logits"], dynamic_axes={"input_ids": {0: "batch", 1: "sequence"},
                                                                 "attention_mask": {0: "batch", 1: "sequence"}, "logits": {0: "batch"}})
    simplify(path)
    graph = onnx.load(str(path))
    found = {node.op_type for node in graph.graph.node} & {"If", "Loop", "Scan"}
    if found:
        raise RuntimeError(f"the graph has control flow: {found}")
    return path


def simplify(path):
    """Gives every Reshape a constant shape, with 0 for the dimensions that stay, and drops what that leaves unused."""
    graph = onnx.load(str(path))
    made = {out: node for node in graph.graph.node for out in node.output}
    shapes = []
    for node in graph.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in made or made[node.input[1]].op_type != "Concat":
            continue
        shape = []
        for name in made[node.input[1]].input:
            source = made.get(name)
            shape.append(int(numpy_helper.to_array(source.attribute[0].t).reshape(-1)[0]) if source is not None and source.op_type == "Constant" else 0)
        if shape[:2] != [0, 0] and shape[0] != 0 or 0 in shape[2:]:
            raise RuntimeError(f"unexpected reshape {shape}")
        node.input[1] = f"{node.name}_shape"
        shapes.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), node.input[1]))
    graph.graph.initializer.extend(shapes)
    while True:
        used = {name for node in graph.graph.node for name in node.input} | {out.name for out in graph.graph.output}
        dead = [node for node in graph.graph.node if not used & set(node.output)]
        if not dead:
            break
        for node in dead:
            graph.graph.node.remove(node)
    del graph.graph.value_info[:]
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_onnx(path, tokenizer, examples):
    """Logits of examples by ONNX Runtime, `[n, 4]`."""
    loaded = session(path)
    return run_batched(tokenizer, examples, lambda ids, mask: loaded.run(
        ["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0])


def verify_shapes(net, path):
    """The largest difference from PyTorch over several shapes, padding included."""
    loaded, worst = session(path), 0.0
    generator = torch.Generator().manual_seed(1)
    for rows, width in ((1, 3), (1, 57), (2, 8), (4, 33), (3, 128), (2, 256)):
        ids = torch.randint(5, 1000, (rows, width), generator=generator)
        mask = torch.ones_like(ids)
        if rows > 1:
            mask[1, width // 2:] = 0
        with torch.no_grad():
            expected = net(ids, mask).numpy()
        found = loaded.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def _scales(weights, axis):
    """Per-channel scales of least squared error among clipped ranges, and the int8 weights."""
    other = tuple(a for a in range(weights.ndim) if a != axis)
    peak = np.maximum(np.abs(weights).max(axis=other, keepdims=True), 1e-12)
    best_error, best_scale = None, None
    for share in (1.0, 0.97, 0.94, 0.91, 0.88, 0.84, 0.8):
        scale = (peak * share / 127).astype(np.float32)
        rounded = np.clip(np.rint(weights / scale), -127, 127)
        error = ((rounded * scale - weights) ** 2).sum(axis=other, keepdims=True)
        if best_error is None:
            best_error, best_scale = error, scale
        else:
            better = error < best_error
            best_error, best_scale = np.where(better, error, best_error), np.where(better, scale, best_scale)
    quantized = np.clip(np.rint(weights / best_scale), -127, 127).astype(np.int8)
    return best_scale.astype(np.float32), quantized


def quantize(source, path):
    """Weight-only int8: linear weights behind `DequantizeLinear`, embedding rows gathered as int8 and scaled by row."""
    graph = onnx.load(str(source))
    weights = {w.name: w for w in graph.graph.initializer}
    uses = {}
    for node in graph.graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    nodes, dropped, added, done = [], set(), [], set()
    for node in graph.graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights:
            name = node.input[1]
            values = numpy_helper.to_array(weights[name])
            if values.ndim == 2 and values.size >= 90:
                transposed = any(a.name == "transB" and a.i for a in node.attribute)
                axis = 0 if transposed else 1
                if name not in done:
                    scale, int8 = _scales(values, axis)
                    added += [numpy_helper.from_array(int8, name + "_int8"), numpy_helper.from_array(scale.reshape(-1), name + "_scale")]
                    nodes.append(helper.make_node("DequantizeLinear", [name + "_int8", name + "_scale"], [name + "_dequantized"],
                                                  name=name + "_dequantize", axis=axis))
                    dropped.add(name)
                    done.add(name)
                node.input[1] = name + "_dequantized"
        if node.op_type == "Gather" and node.input[0] in weights:
            name = node.input[0]
            values = numpy_helper.to_array(weights[name])
            if values.dtype == np.float32 and values.ndim == 2 and values.shape[0] > 1000:
                scale, int8 = _scales(values, 0)
                added += [numpy_helper.from_array(int8, name + "_int8"), numpy_helper.from_array(scale, name + "_scale")]
                ids, out = node.input[1], node.output[0]
                nodes += [
                    helper.make_node("Gather", [name + "_int8", ids], [out + "_int8"], name=name + "_rows", axis=0),
                    helper.make_node("Cast", [out + "_int8"], [out + "_float"], name=name + "_cast", to=TensorProto.FLOAT),
                    helper.make_node("Gather", [name + "_scale", ids], [out + "_scale"], name=name + "_row_scales", axis=0),
                    helper.make_node("Mul", [out + "_float", out + "_scale"], [out], name=name + "_scaled"),
                ]
                dropped.add(name)
                continue
        nodes.append(node)
    kept = [w for w in graph.graph.initializer if w.name not in dropped] + added
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(kept)
    del graph.graph.value_info[:]
    onnx.checker.check_model(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, str(path))
    return path


def calibration(logits_of, corpus, judged, per):
    """Logits and labels to calibrate on, and for each maxim the logits of what people found fine, one array a question."""
    source = corpus.topical["calibration"]
    held = data.fixed_set(source, 5, per, "train", "mimic") + data.fixed_set(source, 6, per // 3, "train", "natural")
    # One cooperative turn in seven, as in GriceBench: the best threshold depends on it.
    held += data.fixed_set(source, 7, per, "train", "mimic", types=("none",))
    # The real rows count twice: the generated ones only fill up what they lack.
    held += [corpus.example(row) for row in corpus.labelled["choose"]] * 2
    fine = None
    if judged:
        # Sets that were not trained on: there the model is no surer than on a stranger's dialogues.
        rows = judgements.sample([r for r in judged["choose"] if r["set"] not in judgements.TRAINABLE and not r["violated"]], per * 3)
        turns, index = judgements.unique(rows)
        logits = logits_of(turns)[index]
        fine = [[logits[[j for j, r in enumerate(rows) if (r["maxim"], judgements.name_of(r)) == (m, name)], i] for name in judgements.WEIGHED[m]
                 if any(judgements.name_of(r) == name and r["maxim"] == m for r in rows)] for i, m in enumerate(MAXIMS)]
    return logits_of(held), truth(held), fine


def run_grice(program, folder, examples):
    """Logits of examples by grice itself, `[n, 4]`, the temperatures left in; it rounds activations too, which ONNX Runtime does not."""
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "turns.jsonl", Path(scratch) / "verdicts.jsonl"
        source.write_text("".join(json.dumps({"context": e.context, "evidence": e.evidence, "response": e.response}) + "\n" for e in examples), encoding="utf-8")
        subprocess.run([program, "detect", "--quiet", "--input", str(source), "--output", str(target), "--model", str(folder)], check=True)
        verdicts = [row["probabilities"] for row in data.read_jsonl(target)]
    shares = np.array([[v[m] for m in MAXIMS] for v in verdicts]).clip(1e-9, 1 - 1e-9)
    return np.log(shares / (1 - shares))


def judge(fp32, int8, tokenizer, judged, most, before=None, compared=None):
    """How well it agrees with people, on rows that no training and no choice has seen.

    `int8` gives the logits of examples; `before` is an earlier bundle's folder or its result as JSON. fp32 is compared on a
    smaller sample of `compared` rows a question and answer, as it takes longest.
    """
    rows = judgements.sample(judged["final"], most)
    turns, index = judgements.unique(rows)
    result = judgements.agreement(rows, int8(turns)[index], intervals=True)
    few = judgements.sample(judged["final"], min(most, compared or most))
    some, at = judgements.unique(few)
    result["fp32"] = {"rows": len(few), "means": judgements.agreement(few, run_onnx(fp32, tokenizer, some)[at])["means"],
                      "int8_means": judgements.agreement(few, int8(some)[at])["means"]}
    result["simple"] = judgements.simple_scores(rows)
    result["rows"] = len(rows)
    if before and str(before).endswith(".json"):
        result["before"] = json.loads(Path(before).read_text())
    elif before:
        older = run_onnx(Path(before) / "onnx" / "model_int8.onnx", Tokenizer.from_file(str(Path(before) / "tokenizer.json")), turns)[index]
        result["before"] = judgements.agreement(rows, older)
    return result


def finish(out, folder, fast=False, checkpoint="checkpoint.pt", before=None, grice=None, compared=None):
    """From a checkpoint to the bundle: calibrate, export, quantize, measure, pack. Returns the bundle's folder."""
    out = Path(out)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    rows = json.loads((out / "rows.json").read_text())
    net = models.fresh_detector(rows, attention="eager")
    net.load_state_dict(torch.load(out / checkpoint)["average"])
    net.eval()
    corpus = data.Corpus(folder)
    file = Path(folder) / judgements.FILE
    judged = judgements.load(file) if file.exists() else None
    logits_of = lambda examples: predict(net, tokenizer, examples, half=True)
    if grice:
        # What grice computes is what the thresholds are for.
        first = quantize(export_fp32(net, out / "fp32" / "model.onnx"), out / "int8" / "model.onnx")
        folder = pack(out, net, first, {"sets": {}, "temperatures": dict.fromkeys(MAXIMS, 1.0)})
        logits_of = lambda examples: run_grice(grice, folder, examples)
    biases, temperatures = calibrate.fit(*calibration(logits_of, corpus, judged, 12 if fast else 45))
    calibrate.fold(net, biases)
    fp32 = export_fp32(net, out / "fp32" / "model.onnx")
    worst = verify_shapes(net, fp32)
    if worst > 1e-4:
        raise RuntimeError(f"ONNX differs from PyTorch by {worst}")
    int8 = quantize(fp32, out / "int8" / "model.onnx")
    quality = {"biases_folded": {m: round(float(b), 3) for m, b in zip(MAXIMS, biases)}, "onnx_vs_torch": worst,
               "temperatures": {m: round(float(t), 4) for m, t in zip(MAXIMS, temperatures)}, "vocabulary": len(rows),
               "positions": models.MAX_TOKENS, "sets": {}}
    for name, examples in evaluation_sets(corpus, Path(__file__).parent, fast).items():
        entry = measure(fp32, int8, tokenizer, examples, temperatures)
        quality["sets"][name] = entry
        print(time.strftime("%H:%M:%S"), name, len(examples), {k: entry[k] for k in ("macro_f1", "fp32_macro_f1", "int8_same_decisions")}, flush=True)
    quality["stability"] = stability.measure(lambda examples: run_onnx(int8, tokenizer, examples), stability.cooperative(corpus, Path(__file__).parent))
    if judged:
        by_grice = lambda turns: run_grice(grice, pack(out, net, int8, quality), turns)
        quality["people"] = judge(fp32, by_grice if grice else lambda turns: run_onnx(int8, tokenizer, turns), tokenizer, judged, 30 if fast else MOST_JUDGED, before, compared)
        print(time.strftime("%H:%M:%S"), "people:", judgements.line(quality["people"]), flush=True)
    (out / "metrics.json").write_text(json.dumps(quality, indent=1))
    return pack(out, net, int8, quality)


def measure(fp32, int8, tokenizer, examples, temperatures):
    """All figures of one labelled set."""
    full, small = run_onnx(fp32, tokenizer, examples), run_onnx(int8, tokenizer, examples)
    entry = report(small, examples, temperatures)
    entry["fp32_macro_f1"] = report(full, examples, temperatures, rounds=0)["macro_f1"]
    entry["int8_same_decisions"] = round(float(((full > 0) == (small > 0)).mean()), 5)
    entry["failures"] = failures(small, examples)
    return entry


def pack(out, net, int8, quality):
    """The bundle, with the figures that fit into its `quality`."""
    headline = {name: {"rows": entry["rows"], "macro_f1": entry["macro_f1"], "macro_f1_95": entry.get("macro_f1_95"),
                       "f1": {m: entry["maxims"][m]["f1"] for m in entry["maxims"]}, "fp32_macro_f1": entry["fp32_macro_f1"],
                       "int8_same_decisions": entry["int8_same_decisions"]} for name, entry in quality["sets"].items()}
    if "people" in quality:
        headline["people"] = {"rows": quality["people"]["rows"], "mean_auc": quality["people"]["means"]}
    config = net.encoder.config.to_dict()
    config = {k: v for k, v in config.items() if not k.startswith("_") and v is not None}
    return bundle.write_bundle(
        out / "bundle", name=NAME, version=VERSION, family="bert", template=data.TEMPLATE, labels=MAXIMS,
        temperatures=quality["temperatures"], thresholds=None, max_tokens=models.MAX_TOKENS,
        models={"int8": int8}, config=config, tokenizer_json=out / "tokenizer.json", quality=headline,
        evidence_ignored=data.EVIDENCE_IGNORED, overwrite=True)


def evaluation_sets(corpus, folder, fast=False):
    """The labelled sets of the protocol; none of their dialogues or held-out phrases are trained on."""
    test = corpus.topical["test"]
    per = 8 if fast else 30
    sets = {"gricebench_held_out": [corpus.example(row) for row in corpus.labelled["final"]]}
    sets["generated_held_out"] = (data.fixed_set(test, 11, per, "train", "mimic") + data.fixed_set(test, 14, per * 3, "train", "mimic", types=("none",)))
    sets["unseen_phrasings"] = data.fixed_set(test, 12, per, "unseen", "natural")
    for name in ("handwritten", "handwritten_second"):
        if (folder / f"{name}.jsonl").exists():
            sets[name] = [data.Example(r["context"], r["evidence"] or "", r["response"], [r["labels"][m] for m in MAXIMS], r["violation_type"])
                          for r in data.read_jsonl(folder / f"{name}.jsonl")]
    return sets


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--fast", action="store_true", help="smaller evaluation sets")
    parser.add_argument("--before", help="the bundle of an earlier version, or the `people` of its metrics as JSON, to set beside it in the table of what people judged")
    parser.add_argument("--grice", help="the program: then it, rather than ONNX Runtime, judges the rows that people judged")
    parser.add_argument("--compared", type=int, help="rows a question and answer on which fp32 is compared, instead of all")
    arguments = parser.parse_args()
    print(finish(arguments.out, arguments.data, arguments.fast, before=arguments.before, grice=arguments.grice, compared=arguments.compared))
