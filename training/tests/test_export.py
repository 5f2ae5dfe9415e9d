"""The exporter, run as a user runs it, on tiny random checkpoints of both kinds."""
import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import (AutoConfig, BertConfig, BertForSequenceClassification, BertModel, DebertaV2Config,
                          DebertaV2ForSequenceClassification, DebertaV2Model, DistilBertConfig, ElectraConfig,
                          AutoModelForSequenceClassification, RobertaConfig)

import bundle
import bundle_tokenizer
import export_gricebench as exporter
import make_fixtures

# Sums in another order, nothing else; see exporter.TOLERANCE.
TOLERANCE = 1e-4
LENGTHS = [1, 2, 7, 47, 48, 49, 130, 257, 300, 511, 512]


def logits_of(folder, ids, mask):
    session = onnxruntime.InferenceSession(str(folder / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
    logits, probs = session.run(["logits", "probs"], {"input_ids": ids, "attention_mask": mask})
    assert {value.name: value.type for value in session.get_inputs()} == dict.fromkeys(
        ("input_ids", "attention_mask"), "tensor(int64)")
    assert np.allclose(probs, 1 / (1 + np.exp(-logits)), atol=1e-6)
    return logits


def batches(rows, lengths=LENGTHS):
    random = np.random.default_rng(5)
    for position, length in enumerate(lengths):
        batch = 1 + position % 4
        ids = random.integers(1, rows, (batch, length))
        mask = np.ones_like(ids)
        for row in range(batch - 1):
            mask[row, random.integers(1, length + 1) :] = 0
        yield ids * mask, mask


def check_parity(folder, model, rows):
    for ids, mask in batches(rows):
        with torch.no_grad():
            expected = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        found = logits_of(folder, ids, mask)
        assert found.shape == expected.shape == (len(ids), 4)
        assert np.abs(found - expected).max() <= TOLERANCE, ids.shape


def gricebench_model(state, folder, places):
    """The model of a GriceBench checkpoint, put together without the exporter."""
    encoder = DebertaV2Model(AutoConfig.from_pretrained(folder)).eval()
    encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")})

    def model(ids, mask):
        first = encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        columns = []
        for place in places:
            hidden = first
            for layer in (0, 3, 6):
                hidden = hidden @ state[f"{place}.{layer}.weight"].T + state[f"{place}.{layer}.bias"]
                hidden = torch.nn.functional.gelu(hidden) if layer < 6 else hidden
            columns.append(hidden)
        return torch.cat(columns, dim=1)

    return model


def rewrite(folder, change):
    """Changes the state dict of a checkpoint folder."""
    path = folder / "pytorch_model.pt"
    torch.save(change(torch.load(path, weights_only=True)), path)


def refused(result, out, *words):
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    assert not out.exists() and not [path for path in out.parent.iterdir() if path.name.startswith(".")]


@pytest.fixture
def gricebench(tmp_path):
    folder = tmp_path / "checkpoint"
    state = make_fixtures.make_deberta_checkpoint(folder)
    return folder, state


@pytest.fixture
def huggingface(tmp_path):
    folder = tmp_path / "checkpoint"
    return folder, make_fixtures.make_bert_checkpoint(folder)


def test_a_gricebench_checkpoint(gricebench, tmp_path, run_exporter):
    folder, state = gricebench
    out = tmp_path / "out"
    result = run_exporter(folder, out, "--name", "detector", "--version", "2.1", "--evidence-ignored", "FS1, Personal Knowledge",
                          "--reference", out / "onnx/reference.npz")
    assert result.returncode == 0, result.stderr
    assert "differ by" in result.stdout
    check_parity(out, gricebench_model(state, folder, [f"heads.{number}" for number in range(4)]), 416)
    manifest = bundle.read_bundle(out)
    assert (manifest["name"], manifest["version"], manifest["family"]) == ("detector", "2.1", "deberta-v2")
    assert manifest["temperatures"] == {"quantity": 0.9, "quality": 0.55, "relation": 0.75, "manner": 0.45}
    assert manifest["template"] == "Context: {context}\nEvidence: {evidence}\nResponse: {response}"
    assert manifest["evidence_ignored"] == ["FS1", "Personal Knowledge"] and manifest["max_tokens"] == 512
    assert json.loads((out / "config.json").read_text())["position_buckets"] == 32
    reference = np.load(out / "onnx/reference.npz")
    found = logits_of(out, reference["input_ids"], reference["attention_mask"])
    assert np.abs(found - reference["logits"]).max() <= TOLERANCE
    onnx_text = (out / "onnx/model.onnx").read_bytes()
    assert b".py" not in onnx_text and str(tmp_path).encode() not in onnx_text


def test_named_heads_nested_state_and_wrappers(tmp_path, run_exporter):
    folder, out = tmp_path / "checkpoint", tmp_path / "out"
    state = make_fixtures.make_deberta_checkpoint(folder, heads="dict")
    rewrite(folder, lambda state: {"epoch": 3, "model_state_dict": {f"module.{key}": state[key] for key in reversed(state)}})
    result = run_exporter(folder, out, "--labels", "manner,relation,quality,quantity")
    assert result.returncode == 0, result.stderr
    labels = ["manner", "relation", "quality", "quantity"]
    assert bundle.read_bundle(out)["labels"] == labels
    check_parity(out, gricebench_model(state, folder, [f"heads.{label}" for label in labels]), 416)


def test_an_encoder_elsewhere_and_one_linear_layer(gricebench, tmp_path, run_exporter):
    folder, state = gricebench
    out, encoder = tmp_path / "out", tmp_path / "encoder"
    encoder.mkdir()
    for name in ("config.json", "spm.model"):
        shutil.move(folder / name, encoder / name)
    weight, bias = torch.randn(4, 32), torch.randn(4)
    rewrite(folder, lambda state: {
        **{key.replace("encoder.", "deberta.", 1): value for key, value in state.items() if key.startswith("encoder.")},
        "classifier.weight": weight, "classifier.bias": bias, "loss.pos_weight": torch.ones(4)})
    refused(run_exporter(folder, out, "--encoder", encoder), out, "unexpected", "loss.pos_weight", "--ignore")
    (folder / "temperatures.json").write_text(json.dumps({"temperatures": [1, 2, 3, 4], "ece": 0.1}))
    result = run_exporter(folder, out, "--encoder", encoder, "--ignore", "loss.*", "--max-tokens", "256")
    assert result.returncode == 0, result.stderr
    manifest = bundle.read_bundle(out)
    assert manifest["max_tokens"] == 256
    assert manifest["temperatures"] == {"quantity": 1.0, "quality": 2.0, "relation": 3.0, "manner": 4.0}
    inner = DebertaV2Model(AutoConfig.from_pretrained(encoder)).eval()
    inner.load_state_dict({key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")})
    check_parity(out, lambda ids, mask: inner(ids, mask).last_hidden_state[:, 0] @ weight.T + bias, 416)


def test_without_a_configuration_it_is_deberta_v3_base(gricebench, tmp_path, run_exporter):
    folder, _ = gricebench
    (folder / "config.json").unlink()
    out = tmp_path / "out"
    refused(run_exporter(folder, out), out, "DeBERTa-v3-base is assumed", "encoder.layer.2", "--encoder")
    config = exporter.deberta_v3_base()
    assert (config.hidden_size, config.num_hidden_layers, config.position_buckets, config.vocab_size) == (768, 12, 256, 128100)


@pytest.mark.parametrize("missing", ["encoder.encoder.layer.1.output.dense.bias", "heads.2.3.weight", "heads.2.3.bias"])
def test_a_missing_tensor_is_named(gricebench, tmp_path, run_exporter, missing):
    folder, _ = gricebench
    rewrite(folder, lambda state: {key: value for key, value in state.items() if key != missing})
    refused(run_exporter(folder, tmp_path / "out"), tmp_path / "out", missing.removesuffix(".weight").removesuffix(".bias"))


HEADS_REFUSED = {
    "none": (lambda state: {key: value for key, value in state.items() if not key.startswith("heads")}, "cannot find four heads"),
    "three": (lambda state: {key: value for key, value in state.items() if not key.startswith("heads.3")}, "cannot find four heads"),
    "two layers": (lambda state: {key: value for key, value in state.items() if ".3." not in key or "encoder" in key}, "heads.0.0"),
    "layer norm": (lambda state: {**state, "heads.0.1.weight": torch.ones(16)}, "heads.0.1.weight"),
    "other shape": (lambda state: {**state, "heads.0.0.weight": torch.ones(16, 31)}, "heads.0.0 [16, 31]"),
    "encoder's shape": (lambda state: {**state, "encoder.encoder.LayerNorm.bias": torch.ones(31)}, "[31] instead of [32]"),
    "no encoder": (lambda state: {"weight": torch.ones(3)}, "embeddings.word_embeddings.weight"),
    "no state": (lambda state: {"epoch": 1, "weights": state}, "is no state dict"),
}


@pytest.mark.parametrize("name", HEADS_REFUSED)
def test_what_is_no_detector_is_refused(gricebench, tmp_path, name):
    folder, _ = gricebench
    change, message = HEADS_REFUSED[name]
    rewrite(folder, change)
    with pytest.raises(exporter.ExportError) as error:
        exporter.export(folder, tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_pickle_that_runs_code_is_refused(gricebench, tmp_path, run_exporter):
    folder, state = gricebench
    torch.save({**state, "hook": exporter.Checkpoint}, folder / "pytorch_model.pt")
    refused(run_exporter(folder, tmp_path / "out"), tmp_path / "out", "cannot be read as weights alone")


def test_the_older_template_is_told_from_the_tokenizer(gricebench, tmp_path, run_exporter):
    folder, state = gricebench
    tokenizer = bundle_tokenizer.find_tokenizer([folder])
    tokenizer.add_special_tokens([AddedToken(marker, normalized=False) for marker in bundle_tokenizer.OLDER_MARKERS])
    tokenizer.save(str(folder / "tokenizer.json"))
    out = tmp_path / "out"
    result = run_exporter(folder, out)
    assert result.returncode == 0, result.stderr
    template = bundle.read_bundle(out)["template"]
    assert template == "[CONTEXT] {context} [EVIDENCE] {evidence} [RESPONSE] {response}"
    written = Tokenizer.from_file(str(out / "tokenizer.json"))
    written.encode_special_tokens = True
    ids = written.encode(template.replace("{context}", "the song").replace("{evidence}", "").replace("{response}", "a match")).ids
    assert [written.id_to_token(id) for id in ids if id >= 401] == list(bundle_tokenizer.OLDER_MARKERS)


def test_added_tokens_beside_a_sentencepiece_model(gricebench):
    folder, _ = gricebench
    markers = {marker: 401 + number for number, marker in enumerate(bundle_tokenizer.OLDER_MARKERS)}
    (folder / "added_tokens.json").write_text(json.dumps({**markers, "[MASK]": 400}))
    tokenizer = bundle_tokenizer.find_tokenizer([folder])
    assert {marker: tokenizer.token_to_id(marker) for marker in markers} == markers
    assert bundle_tokenizer.default_template(tokenizer) == bundle_tokenizer.OLDER_TEMPLATE
    (folder / "added_tokens.json").write_text(json.dumps({"[CONTEXT]": 999}))
    with pytest.raises(bundle_tokenizer.TokenizerError, match="999"):
        bundle_tokenizer.find_tokenizer([folder])


def test_sentencepiece_and_the_tokenizer_made_from_it_agree(gricebench):
    import sentencepiece

    folder, _ = gricebench
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    tokenizer = bundle_tokenizer.find_tokenizer([folder])
    for text in make_fixtures.sentences(40) + ["", "  a  b ", "na\u00efve \ufb01lm \uff28i", "line\nline\ttab", "\u4f60\u597d \U0001f600"]:
        assert tokenizer.encode(text).ids[1:-1] == processor.encode(text), text


def test_special_tokens_in_a_text_are_text(gricebench):
    folder, _ = gricebench
    tokenizer = bundle_tokenizer.find_tokenizer([folder])
    tokenizer.encode_special_tokens = True
    assert 1 in tokenizer.encode("a [CLS] b").ids[1:], "a Unigram vocabulary holds the special tokens as pieces"
    written = bundle_tokenizer.bundle_tokenizer(tokenizer, bundle_tokenizer.TEMPLATE, 416)
    written = Tokenizer.from_str(json.dumps(written))
    for recognised in (False, True):
        written.encode_special_tokens = not recognised
        ids = written.encode("x[CLS][SEP] [MASK] \uff3bSEP\uff3d y", add_special_tokens=False).ids
        assert bool({1, 2, 400} & set(ids)) == recognised


def test_a_huggingface_folder_with_permuted_labels(huggingface, tmp_path, run_exporter):
    folder, model = huggingface
    out = tmp_path / "out"
    result = run_exporter(folder, out)
    assert result.returncode == 0, result.stderr
    assert "warning: no temperatures.json" in result.stderr
    manifest = bundle.read_bundle(out)
    assert tuple(manifest["labels"]) == make_fixtures.PERMUTED and manifest["family"] == "bert"
    assert manifest["temperatures"] == dict.fromkeys(bundle.MAXIMS, 1.0)
    check_parity(out, lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits, 300)


def test_a_huggingface_deberta_with_labels_by_option(tmp_path, run_exporter):
    folder, out = tmp_path / "checkpoint", tmp_path / "out"
    make_fixtures.make_deberta_checkpoint(folder)
    (folder / "pytorch_model.pt").unlink()
    config = DebertaV2Config(**{**json.loads((folder / "config.json").read_text()), "num_labels": 4})
    model = make_fixtures.enliven(DebertaV2ForSequenceClassification(config))
    model.save_pretrained(folder)
    refused(run_exporter(folder, out), out, "LABEL_0", "--labels")
    result = run_exporter(folder, out, "--labels", "quality,manner,quantity,relation", "--template", r"{context}\n{response}")
    assert result.returncode == 0, result.stderr
    manifest = bundle.read_bundle(out)
    assert manifest["labels"] == ["quality", "manner", "quantity", "relation"] and manifest["template"] == "{context}\n{response}"
    check_parity(out, lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits, 416)


@pytest.mark.parametrize("config, max_tokens", [
    (RobertaConfig(vocab_size=520, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                   max_position_embeddings=130, type_vocab_size=1), 128),
    (ElectraConfig(vocab_size=520, hidden_size=32, embedding_size=16, num_hidden_layers=2, num_attention_heads=4,
                   intermediate_size=64), 512),
    (DistilBertConfig(vocab_size=520, dim=32, n_layers=2, n_heads=4, hidden_dim=64), 512),
], ids=lambda value: getattr(value, "model_type", None))
def test_other_encoders_with_absolute_positions(tmp_path, config, max_tokens):
    folder, out = tmp_path / "checkpoint", tmp_path / "out"
    config.id2label = dict(enumerate(bundle.MAXIMS))
    config.label2id = {label: column for column, label in config.id2label.items()}
    model = make_fixtures.enliven(AutoModelForSequenceClassification.from_config(config))
    model.save_pretrained(folder)
    make_fixtures.train_word_pieces().save(str(folder / "tokenizer.json"))
    assert exporter.export(folder, out) <= TOLERANCE
    manifest = bundle.read_bundle(out)
    assert (manifest["family"], manifest["max_tokens"]) == ("bert", max_tokens)
    with pytest.raises(exporter.ExportError, match="positions"):
        exporter.export(folder, tmp_path / "longer", max_tokens=max_tokens + 1)


def test_a_state_dict_of_a_deberta_classifier(tmp_path):
    folder, out = tmp_path / "checkpoint", tmp_path / "out"
    make_fixtures.make_deberta_checkpoint(folder)
    model = make_fixtures.enliven(DebertaV2ForSequenceClassification(DebertaV2Config(**{
        **json.loads((folder / "config.json").read_text()), "num_labels": 4})))
    torch.save({"state_dict": model.state_dict()}, folder / "pytorch_model.pt")
    exporter.export(folder, out)
    check_parity(out, lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits, 416)


def test_a_pooler_of_bert(tmp_path, capsys):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    tokenizer = make_fixtures.train_word_pieces()
    tokenizer.save(str(folder / "tokenizer.json"))
    encoder = make_fixtures.enliven(BertModel(BertConfig(vocab_size=520, hidden_size=32, num_hidden_layers=1,
                                                         num_attention_heads=4, intermediate_size=64)))
    (folder / "config.json").write_text(encoder.config.to_json_string())
    heads = torch.nn.ModuleDict({maxim: torch.nn.Linear(32, 1) for maxim in bundle.MAXIMS})
    state = {f"bert.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({**state, **{f"{name}_head.fc.{part}": value for name, head in heads.items()
                            for part, value in head.state_dict().items()}}, folder / "pytorch_model.pt")
    exporter.export(folder, tmp_path / "out")
    assert "bert.pooler is left out" in capsys.readouterr().err

    def model(ids, mask):
        first = encoder(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        return torch.cat([heads[maxim](first) for maxim in bundle.MAXIMS], dim=1)

    check_parity(tmp_path / "out", model, 520)
    torch.save({**state, "classifier.weight": torch.ones(4, 32), "classifier.bias": torch.ones(4)}, folder / "pytorch_model.pt")
    with pytest.raises(exporter.ExportError, match="bert.pooler.*cannot be told"):
        exporter.export(folder, tmp_path / "pooled")


def test_huggingface_folders_that_do_not_fit(huggingface, tmp_path, run_exporter):
    folder, model = huggingface
    out = tmp_path / "out"
    config = json.loads((folder / "config.json").read_text())

    def written(**changes):
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return run_exporter(folder, out)

    three = {"0": "quantity", "1": "quality", "2": "relation"}
    refused(written(id2label=three, label2id={label: int(column) for column, label in three.items()}), out, "has 3 labels")
    refused(written(problem_type="single_label_classification"), out, "softmax")
    refused(written(intermediate_size=128), out, "intermediate.dense.weight [64, 32] instead of [128, 32]")
    refused(written(num_hidden_layers=3), out, "missing", "layer.2")
    refused(written(num_hidden_layers=1), out, "unexpected", "layer.1")
    refused(written(vocab_size=20), out, "word_embeddings.weight")


def test_a_tokenizer_that_does_not_fit_is_refused(huggingface, tmp_path, run_exporter):
    folder, _ = huggingface
    out = tmp_path / "out"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([f"extra{number}" for number in range(500)])
    tokenizer.save(str(folder / "tokenizer.json"))
    refused(run_exporter(folder, out), out, "the tokenizer has ids up to")
    (folder / "tokenizer.json").unlink()
    refused(run_exporter(folder, out), out, "no tokenizer.json, spm.model or vocab.txt")


def test_an_existing_bundle_is_replaced_only_by_force(huggingface, tmp_path):
    folder, _ = huggingface
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(exporter.ExportError, match="--force"):
        exporter.export(folder, out)
    exporter.export(folder, out, overwrite=True)
    assert bundle.read_bundle(out)["name"] == "checkpoint" and not (out / "mine.txt").exists()


def test_a_graph_that_differs_is_not_written(huggingface, tmp_path, monkeypatch):
    folder, _ = huggingface
    load = exporter.load_checkpoint

    def load_wrongly(*arguments):
        checkpoint = load(*arguments)
        other = BertForSequenceClassification(checkpoint.config)
        checkpoint.graph_model = exporter.Graph(exporter.Classifier(other), True).eval()
        return checkpoint

    monkeypatch.setattr(exporter, "load_checkpoint", load_wrongly)
    with pytest.raises(exporter.ExportError, match="differ by"):
        exporter.export(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


@pytest.mark.parametrize("content, expected", [
    ({"quantity": 1, "quality": 2, "relation": 3, "manner": 4}, [1, 2, 3, 4]),
    ({"Manner": 4, "Quality": 2, "Quantity": 1, "Relation": 3}, [1, 2, 3, 4]),
    ({"calibration": {"temperatures": {"quantity": 1, "quality": 2, "relation": 3, "manner": 4}}}, [1, 2, 3, 4]),
    ({"quantity": {"temperature": 1}, "quality": {"T": 2}, "relation": [3], "manner": 4}, [1, 2, 3, 4]),
    ([1, 2, 3, 4], [1, 2, 3, 4]),
    ([1, 2, 3], None),
    ({"quantity": 1, "quality": 2, "relation": 3}, None),
    ({"quantity": "hot", "quality": 2, "relation": 3, "manner": 4}, None),
])
def test_shapes_of_temperatures(tmp_path, content, expected):
    path = tmp_path / "temperatures.json"
    path.write_text(json.dumps(content))
    if expected is None:
        with pytest.raises(exporter.ExportError, match="temperatures.json"):
            exporter.read_temperatures(path)
    else:
        assert list(exporter.read_temperatures(path).values()) == expected
