"""The committed fixtures: whole, small, and still what their own references say."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from tokenizers import Tokenizer

import bundle
import make_fixtures

BUNDLES = ("tiny-deberta", "tiny-bert")


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_and_its_references(name):
    folder = make_fixtures.OUT / name
    manifest = bundle.read_bundle(folder)
    assert manifest["name"] == name and "reference.json" not in manifest["digests"]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= make_fixtures.BYTES_MAX
    session = onnxruntime.InferenceSession(str(folder / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
    cases = json.loads((folder / "reference.json").read_text())
    assert {len(case["input_ids"][0]) for case in cases} == {1, 2, 7, 33, 64, 130, 300, 500}
    for case in cases:
        feeds = {key: np.array(case[key]) for key in ("input_ids", "attention_mask")}
        logits = session.run(["logits"], feeds)[0]
        # Another processor's sums, and six decimals in the file.
        assert np.abs(logits - case["logits_onnxruntime"]).max() <= 1e-4
        assert np.abs(logits - case["logits_pytorch"]).max() <= 1e-4


@pytest.mark.parametrize("name", BUNDLES)
def test_the_texts(name):
    folder = make_fixtures.OUT / name
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    specials = {token: tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]", "[MASK]", "[PAD]")}
    cases = json.loads((folder / "texts.json").read_text())
    assert len(cases) >= 25
    for case in cases:
        assert tokenizer.encode(case["text"]).ids == case["ids"], case["name"]
        assert case["ids"][0] == specials["[CLS]"] and case["ids"][-1] == specials["[SEP]"]
        assert not set(specials.values()) & set(case["ids"][1:-1]), case["name"]


def test_the_broken_ones_are_sound_onnx():
    paths = sorted((make_fixtures.OUT / "broken").glob("*.onnx"))
    assert [path.stem for path in paths] == ["other_task", "unsupported_op", "vocab_too_small", "wrong_labels"]
    for path in paths:
        onnx.checker.check_model(str(path))
    with pytest.raises(Exception, match="Frobnicate"):
        onnxruntime.InferenceSession(str(make_fixtures.OUT / "broken/unsupported_op.onnx"))
    for stem, columns in (("wrong_labels", 3), ("vocab_too_small", 4)):
        session = onnxruntime.InferenceSession(str(make_fixtures.OUT / f"broken/{stem}.onnx"))
        ids = np.full((2, 5), 7)
        assert session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0].shape == (2, columns)
