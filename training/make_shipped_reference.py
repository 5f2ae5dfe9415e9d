"""What ONNX Runtime and the Python tokenizer make of the shipped model: the reference that the Rust is held to.

    python training/make_shipped_reference.py [BUNDLE_DIR] [OUT.json]

Takes the turns of `crates/testkit/fixtures/verdicts.json` that fit the model whole and writes, for each, the token ids and the logits
`[4]`. ONNX Runtime runs without its extended fusions, which would quantize activations as well as weights.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "crates/testkit/fixtures"


def render(manifest, turn):
    """The text that the manifest's template makes of a turn."""
    context = turn.get("context") or ""
    if isinstance(context, list):
        context = " ".join(utterances(manifest, context))
    evidence = turn.get("evidence") or ""
    # Longest first: "Personal Knowledge" before "Personal".
    items = "|".join(re.escape(item) for item in sorted(manifest["evidence_ignored"], key=len, reverse=True))
    if items and re.fullmatch(rf"[\s,;]*(?:(?:{items})(?:[\s,;]+|$))*", evidence):
        evidence = ""
    fields = {"{context}": context, "{evidence}": evidence, "{response}": turn["response"].strip()}
    return re.sub(r"\{(?:context|evidence|response)\}", lambda match: fields[match[0]], manifest["template"])


def utterances(manifest, context):
    for place, utterance in enumerate(context):
        if isinstance(utterance, str):
            # The response is agent_2's, so the turn right before it is agent_1's.
            utterance = {"speaker": "agent_1" if (len(context) - place) % 2 else "agent_2", "text": utterance}
        fields = {"{speaker}": utterance["speaker"], "{text}": utterance["text"]}
        yield re.sub(r"\{(?:speaker|text)\}", lambda match: fields[match[0]], manifest["turn_template"])


def main(bundle=ROOT / "models/detector-mini", out=FIXTURES / "detector-mini-reference.json"):
    bundle = Path(bundle)
    manifest = json.loads((bundle / "grice.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    file = next(iter(manifest["models"].values()))
    session = onnxruntime.InferenceSession(str(bundle / file), options, providers=["CPUExecutionProvider"])
    cases = []
    for name, turn in json.loads((FIXTURES / "verdicts.json").read_text(encoding="utf-8"))["turns"].items():
        ids = tokenizer.encode(render(manifest, turn)).ids
        if len(ids) > manifest["max_tokens"]:
            continue
        feeds = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        logits = session.run(["logits"], feeds)[0][0]
        cases.append({"name": name, "turn": turn, "ids": ids, "logits": [round(float(logit), 6) for logit in logits]})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    Path(out).write_text(f"[\n{lines}\n]\n", encoding="ascii")
    print(f"{len(cases)} turns")


if __name__ == "__main__":
    main(*sys.argv[1:])
