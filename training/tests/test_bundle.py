"""The bundle writer: what it writes, what it refuses, and that packing is deterministic."""
import json
import tarfile

import pytest

import bundle

TEMPERATURES = dict(zip(bundle.MAXIMS, (0.9, 0.55, 0.75, 0.45)))


@pytest.fixture
def fields(tmp_path):
    model = tmp_path / "trained.onnx"
    model.write_bytes(b"not looked into")
    tokenizer = {"version": "1.0", "truncation": {"max_length": 128}, "padding": {"length": 9}, "model": {"type": "WordPiece"}}
    return dict(name="tiny", version="1.0.0", family="bert", template="{context} {response}", labels=list(bundle.MAXIMS),
                temperatures=dict(TEMPERATURES), thresholds=None, max_tokens=128, models={"fp32": model},
                config={"model_type": "bert", "max_position_embeddings": 512}, tokenizer_json=tokenizer)


def test_what_is_written_reads_back(tmp_path, fields):
    fields["models"]["int8"] = fields["models"]["fp32"]
    out = bundle.write_bundle(tmp_path / "out", **fields, quality={"f1": 0.9}, evidence_ignored=("FS1",))
    manifest = bundle.read_bundle(out)
    assert manifest["models"] == {"fp32": "onnx/model.onnx", "int8": "onnx/model_int8.onnx"}
    assert manifest["digests"].keys() == {"config.json", "tokenizer.json", "onnx/model.onnx", "onnx/model_int8.onnx"}
    assert manifest["thresholds"] == dict.fromkeys(bundle.MAXIMS, 0.5)
    assert manifest["turn_template"] == "[{speaker}]: {text}"
    assert manifest["evidence_ignored"] == ["FS1"] and manifest["quality"] == {"f1": 0.9}
    tokenizer = json.loads((out / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None and tokenizer["padding"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "trained.onnx"], "nothing is left of the work"


def test_thresholds_and_paths_are_taken(tmp_path, fields):
    thresholds = dict(zip(bundle.MAXIMS, (0.4, 0.5, 0.6, 0.7)))
    for field in ("config", "tokenizer_json"):
        path = tmp_path / f"{field}.json"
        path.write_text(json.dumps(fields[field]))
        fields[field] = path
    out = bundle.write_bundle(tmp_path / "out", **{**fields, "thresholds": thresholds})
    assert bundle.read_bundle(out)["thresholds"] == thresholds


REFUSED = [
    ("name", " ", "name: "),
    ("name", "a\nb", "name: "),
    ("version", "", "version: "),
    ("version", 1, "version: "),
    ("family", "gpt2", "family: "),
    ("template", "{context}", r"template: \{response\} is missing"),
    ("template", "{context}{context}{response}", r"template: \{context\} stands in it more than once"),
    ("template", None, "template: must be text"),
    ("turn_template", "{speaker}", r"turn_template: \{text\} is missing"),
    ("labels", ["quantity", "quality", "relation"], "labels: "),
    ("labels", ["quantity", "quality", "relation", "relation"], "labels: "),
    ("labels", ["quantity", "quality", "relation", "Manner"], "labels: "),
    ("temperatures", {"quantity": 1.0}, "temperatures: must give a number for each"),
    ("temperatures", {**TEMPERATURES, "manner": 0.0}, "temperatures: manner must be a number above 0"),
    ("temperatures", {**TEMPERATURES, "manner": 1e-60}, "temperatures: manner"),
    ("temperatures", {**TEMPERATURES, "manner": 10**400}, "temperatures: manner"),
    ("temperatures", {**TEMPERATURES, "manner": float("nan")}, "temperatures: manner"),
    ("temperatures", {**TEMPERATURES, "manner": True}, "temperatures: manner"),
    ("temperatures", {**TEMPERATURES, "clarity": 1.0}, "temperatures: must give"),
    ("thresholds", {**TEMPERATURES, "quality": 1.5}, "thresholds: quality must be a number from 0 to 1"),
    ("thresholds", {**TEMPERATURES, "quality": -0.001}, "thresholds: quality"),
    ("max_tokens", 8, "max_tokens: "),
    ("max_tokens", 128.0, "max_tokens: "),
    ("max_tokens", 10_000, "max_tokens: "),
    ("max_tokens", 513, "max_tokens: 513 tokens need as many positions"),
    ("models", {}, "models: names no ONNX file"),
    ("models", {"fp64": "x"}, "models: 'fp64' is not a precision"),
    ("models", {"fp32": "nowhere.onnx"}, "models: fp32: nowhere.onnx is not a file"),
    ("config", "nowhere.json", "config: nowhere.json cannot be read"),
    ("tokenizer_json", {"pieces": 3}, "tokenizer_json: it has no `model`"),
    ("evidence_ignored", ["FS1", ""], "evidence_ignored: "),
    ("quality", {"f1": float("inf")}, "quality: "),
    ("quality", [1], "quality: "),
]


@pytest.mark.parametrize("field, value, message", REFUSED)
def test_a_bad_field_is_named_and_nothing_written(tmp_path, fields, field, value, message):
    with pytest.raises(bundle.BundleError, match=message):
        bundle.write_bundle(tmp_path / "out", **{**fields, field: value})
    assert [path.name for path in tmp_path.iterdir()] == ["trained.onnx"]


def test_an_existing_folder_is_kept_unless_asked_for(tmp_path, fields):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(bundle.BundleError, match="exists already"):
        bundle.write_bundle(out, **fields)
    assert (out / "mine.txt").read_text() == "keep"
    bundle.write_bundle(out, **fields, overwrite=True)
    assert not (out / "mine.txt").exists() and bundle.read_bundle(out)["name"] == "tiny"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "trained.onnx"]


def test_packing_is_deterministic_and_holds_the_bundle_only(tmp_path, fields):
    tars = []
    for name in ("one", "two"):
        out = bundle.write_bundle(tmp_path / name, **fields)
        (out / "notes.txt").write_text(name)
        tars.append(bundle.pack(out, tmp_path / f"{name}.tar"))
    assert tars[0].read_bytes() == tars[1].read_bytes()
    with tarfile.open(tars[0]) as archive:
        assert archive.getnames() == ["grice.json", "config.json", "onnx/model.onnx", "tokenizer.json"]
        assert all(entry.mtime == 0 and entry.uid == 0 and entry.mode == 0o644 for entry in archive.getmembers())
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert bundle.read_bundle(tmp_path / "unpacked")["name"] == "tiny"


def test_a_changed_or_missing_file_is_found(tmp_path, fields):
    out = bundle.write_bundle(tmp_path / "out", **fields)
    (out / "onnx/model.onnx").write_bytes(b"something else")
    with pytest.raises(bundle.BundleError, match="digests: onnx/model.onnx"):
        bundle.pack(out, tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()
    (out / "tokenizer.json").unlink()
    with pytest.raises(bundle.BundleError, match="tokenizer.json: the bundle does not hold it"):
        bundle.read_bundle(out)


MANIFESTS = [
    ({"format": 2}, "format: must be 1"),
    ({"task": "repair"}, "task: "),
    ({"models": {"fp32": "../elsewhere.onnx"}}, "not a path inside the bundle"),
    ({"models": {"fp32": "/etc/passwd"}}, "not a path inside the bundle"),
    ({"models": {"fp32": ""}}, "not a path inside the bundle"),
    ({"digests": {"onnx/model.onnx": "md5:0"}}, "digests: onnx/model.onnx must be sha256:"),
    ({"digests": {"a:b": "x"}}, "not a path inside the bundle"),
]


@pytest.mark.parametrize("change, message", MANIFESTS)
def test_a_bad_manifest_is_refused(tmp_path, fields, change, message):
    out = bundle.write_bundle(tmp_path / "out", **fields)
    manifest = json.loads((out / "grice.json").read_text())
    (out / "grice.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(bundle.BundleError, match=message):
        bundle.read_bundle(out)


def test_the_command_line(tmp_path, fields, capsys):
    out = bundle.write_bundle(tmp_path / "out", **fields)
    bundle.main(["check", str(out)])
    bundle.main(["pack", str(out), str(tmp_path / "out.tar")])
    assert "sound" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="grice.json: .* cannot be read"):
        bundle.main(["check", str(tmp_path)])
