"""The exporter on repair models and generators: tiny random checkpoints, compared with what transformers and LoRA's formula say."""
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration
from transformers.pytorch_utils import Conv1D

import export_writer as exporter
import make_generator_fixtures as fixtures
from checkpoint_state import ExportError

# fp32, in another order of sums.
TOLERANCE = 1e-4
RANK = 4
# `attn.c_proj` is square, so that a transposed product would fit too.
TARGETS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def alive(model, seed):
    torch.manual_seed(seed)
    return fixtures.enliven(model).eval()


def t5(seed=1, **changes):
    return alive(fixtures.t5(**changes), seed)


def gpt2(seed=2):
    return alive(GPT2LMHeadModel(GPT2Config(vocab_size=fixtures.VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4,
                                            bos_token_id=fixtures.END, eos_token_id=fixtures.END)), seed)


def save(model, folder, tokenizer=True):
    model.save_pretrained(folder)
    if tokenizer:
        fixtures.write_tokenizer(folder, model)
    return folder


def logits_of(model, length=20):
    ids = fixtures.ids(length, 5)
    more = {"decoder_input_ids": fixtures.ids(11, 6)} if model.config.is_encoder_decoder else {}
    return model(input_ids=ids, **more).logits


def difference(folder, expected):
    """How far the export is from logits; it must open without a remark, from safetensors."""
    library = T5ForConditionalGeneration if json.loads((folder / "config.json").read_text())["model_type"] == "t5" else GPT2LMHeadModel
    model, report = library.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not any(report.values()), report
    assert sorted(path.name for path in folder.iterdir() if path.name != "tokenizer_config.json") == \
        ["config.json", "generation_config.json", "grice.json", "model.safetensors", "tokenizer.json"]
    manifest = json.loads((folder / "grice.json").read_text())
    assert manifest["format"] == 2 and manifest["name"] == folder.name
    is_repair = library is T5ForConditionalGeneration
    assert manifest["task"] == ("repair" if is_repair else "generate")
    assert list(manifest["recipes"]) == (["quantity", "quality", "manner"] if is_repair else ["answer"])
    return float((logits_of(model.eval()) - expected).abs().max())


def make_adapter(model, folder, config=None, targets=TARGETS, seed=7, extra=None):
    """An adapter in PEFT's format: its tensors by name, and the logits of the base with it, computed beside its layers."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 8, "fan_in_fan_out": True, "bias": "none",
              "base_model_name_or_path": "gpt2-medium", "target_modules": list(targets), "use_rslora": False, "use_dora": False,
              "init_lora_weights": True, "peft_version": "0.18.0", **(config or {})}
    state, hooks = {}, []
    for name, module in model.named_modules():
        if not name.endswith(tuple(targets)):
            continue
        inputs, outputs = module.weight.shape if isinstance(module, Conv1D) else tuple(module.weight.shape)[::-1]
        a, b = torch.randn(RANK, inputs, generator=generator) * 0.2, torch.randn(outputs, RANK, generator=generator) * 0.2
        state[f"base_model.model.{name}.lora_A.weight"], state[f"base_model.model.{name}.lora_B.weight"] = a, b
        alpha = next((value for key, value in config.get("alpha_pattern", {}).items() if name.endswith(key)), config["lora_alpha"])
        scale = alpha / (RANK**0.5 if config["use_rslora"] else RANK)
        hooks.append(module.register_forward_hook(
            lambda _, given, made, a=a, b=b, scale=scale: made + scale * (given[0] @ a.T @ b.T)))
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({**state, **(extra or {})}, str(folder / "adapter_model.safetensors"))
    expected = logits_of(model)
    for hook in hooks:
        hook.remove()
    return expected


@pytest.fixture
def base(tmp_path):
    model = gpt2()
    return model, save(model, tmp_path / "base")


@pytest.mark.parametrize("changes", [{}, {"feed_forward_proj": "gated-gelu"}])
def test_a_repair_model(tmp_path, run_exporter, changes):
    model = t5(**changes)
    folder, out = save(model, tmp_path / "checkpoint"), tmp_path / "out"
    result = run_exporter(folder, out)
    assert result.returncode == 0, result.stderr
    assert difference(out, logits_of(model)) == 0
    assert list(load_file(out / "model.safetensors")).count("lm_head.weight") == 0
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation["decoder_start_token_id"] == 0 and generation["eos_token_id"] == fixtures.END


@pytest.mark.parametrize("wrap", [
    lambda state: {"model_state_dict": state, "epoch": 3},
    lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    lambda state: {"model": {f"_orig_mod.model.{name}": tensor for name, tensor in state.items()}},
    lambda state: state,
])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "best_model.pt"])
def test_state_dicts_are_unwrapped(tmp_path, run_exporter, wrap, name):
    model = t5()
    folder, out = save(model, tmp_path / "checkpoint"), tmp_path / "out"
    (folder / "model.safetensors").unlink()
    torch.save(wrap(model.state_dict()), folder / name)
    torch.save({"lr": 1.0}, folder / "optimizer.pt")
    result = run_exporter(folder, out)
    assert result.returncode == 0, result.stderr
    assert difference(out, logits_of(model)) == 0


def test_a_file_alone_takes_the_base_s_configuration(tmp_path, run_exporter):
    model, out = gpt2(), tmp_path / "out"
    base = save(gpt2(seed=9), tmp_path / "base")
    plain = {name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    torch.save({**plain, "h.0.attn.bias": torch.ones(1, 1, 64, 64)}, tmp_path / "generator.pt")
    result = run_exporter(tmp_path / "generator.pt", out, "--base", base)
    assert result.returncode == 0, result.stderr
    assert difference(out, logits_of(model)) == 0


def test_shards_and_types(tmp_path):
    model = gpt2()
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder, max_shard_size="20KB")
    fixtures.write_tokenizer(folder, model)
    assert (folder / "model.safetensors.index.json").is_file()
    for dtype, tolerance in (("float32", 0), ("float16", 2e-2), ("bfloat16", 2e-1)):
        exporter.export_writer(folder, tmp_path / dtype, "generator", dtype=dtype)
        assert {tensor.dtype for tensor in load_file(tmp_path / dtype / "model.safetensors").values()} == {exporter.DTYPES[dtype]}
        assert difference(tmp_path / dtype, logits_of(model)) <= tolerance


@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"alpha_pattern": {"attn.c_proj": 3, "h.1.mlp.c_fc": 20}},
                                    {"fan_in_fan_out": False}])
def test_an_adapter_is_merged(base, tmp_path, run_exporter, config):
    model, folder = base
    expected, out = make_adapter(model, tmp_path / "adapter", config), tmp_path / "out"
    result = run_exporter(tmp_path / "adapter", out, "--base", folder)
    assert result.returncode == 0, result.stderr
    assert difference(out, expected) <= TOLERANCE
    assert float((expected - logits_of(model)).abs().max()) > 0.1


def test_the_base_that_an_adapter_names_and_a_pickle(base, tmp_path):
    model, folder = base
    expected = make_adapter(model, tmp_path / "adapter", {"base_model_name_or_path": "../base"})
    state = load_file(tmp_path / "adapter/adapter_model.safetensors")
    (tmp_path / "adapter/adapter_model.safetensors").unlink()
    torch.save({name.replace(".weight", ".default.weight"): tensor for name, tensor in state.items()},
               tmp_path / "adapter/adapter_model.bin")
    exporter.export_writer(tmp_path / "adapter", tmp_path / "out", "generator")
    assert difference(tmp_path / "out", expected) <= TOLERANCE


def test_modules_that_were_saved_whole_and_a_larger_vocabulary(base, tmp_path):
    model, folder = base
    larger = gpt2()
    larger.resize_token_embeddings(fixtures.VOCABULARY + 3)
    words = torch.randn_like(larger.transformer.wte.weight)
    larger.transformer.wte.weight.data = words
    larger.lm_head.weight = larger.transformer.wte.weight
    norm = torch.rand(32) + 0.5
    larger.transformer.ln_f.weight.data = norm
    extra = {"base_model.model.transformer.wte.weight": words.clone(), "base_model.model.lm_head.weight": words.clone(),
             "base_model.model.transformer.ln_f.modules_to_save.default.weight": norm,
             "base_model.model.transformer.ln_f.original_module.weight": torch.ones(32)}
    expected = make_adapter(larger, tmp_path / "adapter", {"modules_to_save": ["ln_f"]}, extra=extra)
    exporter.export_writer(tmp_path / "adapter", tmp_path / "out", "generator", base=folder)
    assert difference(tmp_path / "out", expected) <= TOLERANCE
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["vocab_size"] == fixtures.VOCABULARY + 3 and config["tie_word_embeddings"]


def test_a_head_of_its_own(base, tmp_path):
    model, folder = base
    expected = make_adapter(model, tmp_path / "adapter", targets=("attn.c_attn", "lm_head"))
    exporter.export_writer(tmp_path / "adapter", tmp_path / "out", "generator", base=folder)
    assert difference(tmp_path / "out", expected) <= TOLERANCE
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False


def test_an_adapter_as_peft_writes_it(base, tmp_path):
    peft = pytest.importorskip("peft")
    model, folder = base
    with torch.enable_grad():
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=12, target_modules=["c_attn", "attn.c_proj", "c_fc"],
                                 modules_to_save=["ln_f"], use_rslora=True, lora_bias=True, fan_in_fan_out=True)
        adapted = peft.get_peft_model(GPT2LMHeadModel.from_pretrained(folder), config)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data + torch.randn_like(parameter) * 0.2
    adapted.eval().save_pretrained(tmp_path / "adapter")
    exporter.export_writer(tmp_path / "adapter", tmp_path / "out", "generator", base=folder)
    expected = logits_of(adapted)
    assert difference(tmp_path / "out", expected) <= TOLERANCE
    assert float((expected - logits_of(model)).abs().max()) > 0.1


def test_a_tokenizer_from_its_slow_files(tmp_path):
    model, folder = gpt2(), tmp_path / "checkpoint"
    save(model, folder, tokenizer=False)
    pieces = ["<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġt", "he", "Ġthe"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nĠ t\nh e\nĠt he\n")
    exporter.export_writer(folder, tmp_path / "out", "generator")
    written = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    assert written.encode("a the").tokens == ["a", "Ġthe"]
    assert written.decode(written.encode("the the").ids) == "the the"


def test_a_tokenizer_from_sentencepiece(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    model, folder = t5(), tmp_path / "checkpoint"
    save(model, folder, tokenizer=False)
    text = tmp_path / "text.txt"
    text.write_text("the film was good and the talk was long\nwe saw it again and it was fine\n" * 20)
    sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(folder / "spiece"), vocab_size=25, model_type="unigram",
                                             pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2)
    (folder / "tokenizer_config.json").write_text(json.dumps({"extra_ids": 3, "model_max_length": 512}))
    exporter.export_writer(folder, tmp_path / "out", "repair")
    written = Tokenizer.from_file(str(tmp_path / "out/tokenizer.json"))
    plain = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
    for line in ("the film was good", "it was it", "a talk again"):
        assert written.encode(line).ids == [*plain.encode(line), 1]


def changed(change):
    """A change of an adapter's tensors."""

    def apply(folder):
        path = folder / "adapter_model.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, str(path))

    return apply


def configured(**fields):
    def apply(folder):
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return apply


LAYER = "base_model.model.transformer.h.0.attn.c_proj"
REFUSED = {
    "dora": (configured(use_dora=True), ["adapter_config.json", "`use_dora`"]),
    "a later field": (configured(spectral_gate=3), ["`spectral_gate`"]),
    "another method": (configured(peft_type="IA3"), ["`peft_type`", "IA3"]),
    "a changed base": (configured(init_lora_weights="pissa_niter_4"), ["`init_lora_weights`", "pissa_niter_4"]),
    "another rank": (configured(r=8), ["transformer.h.0.attn.c_attn.lora_A.weight", "rank 4", "says 8"]),
    "no alpha": (configured(lora_alpha=None), ["`lora_alpha`"]),
    "half a pair": (changed(lambda state: state.pop(f"{LAYER}.lora_B.weight")), ["missing", "h.0.attn.c_proj.lora_B.weight"]),
    "another shape": (changed(lambda state: state.update({f"{LAYER}.lora_B.weight": torch.ones(31, RANK)})),
                      ["transformer.h.0.attn.c_proj", "[31, 4]", "[32, 32]"]),
    "no such layer": (changed(lambda state: state.update({"base_model.model.transformer.h.9.mlp.c_fc.lora_A.weight": torch.ones(4, 32),
                                                          "base_model.model.transformer.h.9.mlp.c_fc.lora_B.weight": torch.ones(128, 4)})),
                      ["transformer.h.9.mlp.c_fc", "does not have"]),
    "an embedding": (changed(lambda state: state.update({"base_model.model.transformer.wpe.lora_embedding_A": torch.ones(4, 64)})),
                     ["lora_embedding_A", "[4, 64]"]),
    "not finite": (changed(lambda state: state[f"{LAYER}.lora_A.weight"].fill_(float("inf"))),
                   ["transformer.h.0.attn.c_proj.weight", "infinite or NaN"]),
    "too large": (changed(lambda state: state[f"{LAYER}.lora_A.weight"].fill_(1e6)), ["too large for float16"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_adapter_that_is_not_plain_lora_is_refused(base, tmp_path, name):
    model, folder = base
    make_adapter(model, tmp_path / "adapter")
    change, words = REFUSED[name]
    change(tmp_path / "adapter")
    with pytest.raises(ExportError) as error:
        exporter.export_writer(tmp_path / "adapter", tmp_path / "out", "generator", base=folder, dtype="float16")
    assert all(word in str(error.value) for word in words), error.value
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_an_adapter_without_its_base(base, tmp_path, run_exporter):
    make_adapter(base[0], tmp_path / "adapter")
    result = run_exporter(tmp_path / "adapter", tmp_path / "out")
    assert result.returncode == 1 and "`gpt2-medium`" in result.stderr and "--base" in result.stderr, result.stderr


def drop(name):
    return lambda state: state.pop(name)


STATES_REFUSED = {
    "missing": (drop("decoder.block.1.layer.0.SelfAttention.k.weight"), ["missing: decoder.block.1.layer.0.SelfAttention.k.weight"]),
    "unexpected": (lambda state: state.update(classifier=torch.ones(2)), ["unexpected: classifier [2]"]),
    "shape": (lambda state: state.update({"encoder.final_layer_norm.weight": torch.ones(31)}),
              ["encoder.final_layer_norm.weight [31] instead of [32]"]),
    "NaN": (lambda state: state["encoder.final_layer_norm.weight"].fill_(float("nan")), ["encoder.final_layer_norm.weight", "NaN"]),
    "head": (lambda state: state.update({"lm_head.weight": torch.ones(96, 32)}), ["lm_head.weight", "shared.weight"]),
    "table": (lambda state: state.update({"decoder.embed_tokens.weight": torch.ones(96, 32)}), ["decoder.embed_tokens.weight", "differs"]),
    "no table": (lambda state: [state.pop(name) for name in list(state) if "embed" in name or "shared" in name], ["shared.weight"]),
    "whole numbers": (lambda state: state.update({"encoder.final_layer_norm.weight": torch.ones(32, dtype=torch.int64)}), ["torch.int64"]),
    "too few rows": (lambda state: [state.update({name: tensor[:90].clone()}) for name, tensor in list(state.items())
                                    if tensor.shape[:1] == (96,)], ["tokenizer", "`w95` (95)", "90 rows"]),
}


@pytest.mark.parametrize("name", STATES_REFUSED)
def test_states_that_do_not_fit_are_refused(tmp_path, name):
    model = t5()
    folder = save(model, tmp_path / "checkpoint")
    (folder / "model.safetensors").unlink()
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    change, words = STATES_REFUSED[name]
    change(state)
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ExportError) as error:
        exporter.export_writer(folder, tmp_path / "out", "repair")
    assert all(word in str(error.value) for word in words), error.value
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


class Malicious:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_that_runs_code_is_refused(tmp_path, run_exporter):
    folder = save(t5(), tmp_path / "checkpoint")
    (folder / "model.safetensors").unlink()
    torch.save({"shared.weight": torch.ones(2, 2), "hook": Malicious()}, folder / "pytorch_model.bin")
    result = run_exporter(folder, tmp_path / "out")
    assert result.returncode == 1 and "cannot be read as weights alone" in result.stderr, result.stderr
    assert "this must never run" not in result.stdout


def test_what_the_command_refuses(tmp_path, run_exporter):
    folder, out = save(t5(), tmp_path / "checkpoint"), tmp_path / "out"
    for options, words in ((["--kind", "generator"], ["`model_type` 't5'", "repair"]), (["--opset", "18"], ["--opset", "no effect"]),
                           (["--kind", "detector", "--dtype", "float16"], ["--dtype", "no effect"])):
        result = run_exporter(folder, out, *options)
        assert result.returncode == 1 and not out.exists(), result.stderr
        assert all(word in result.stderr for word in words), result.stderr
    shutil.copyfile(folder / "model.safetensors", folder / "other.safetensors")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    result = run_exporter(folder, out)
    assert result.returncode == 1 and "several files" in result.stderr, result.stderr
    (folder / "one.safetensors").unlink()
    (folder / "tokenizer.json").unlink()
    result = run_exporter(folder, out)
    assert result.returncode == 1 and "--tokenizer" in result.stderr, result.stderr
