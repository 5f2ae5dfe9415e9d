"""Models in fewer bits, proven in both directions between grice and transformers with `compressed-tensors`.

    python training/make_compressed_fixtures.py [OUT_DIR]           # writes the fixtures that grice's tests read
    python training/make_compressed_fixtures.py --check GRICE       # reads what this `grice` binary writes

The first makes tiny LLaMA models with random weights, quantized and written by `compressed-tensors` itself: `int8` (W8A8) and `int4`
(`pack-quantized`, bfloat16 scales), each with `reference.json`: logits that transformers computes, with the weights alone in fewer bits and, for
`int8`, with activations rounded too.

The second runs `grice quantize` on the models of `make_generator_fixtures.py`. Each folder must hold exactly the weights that PyTorch makes of
the source, transformers must load these, and its loss on a text must be the one that grice reports. GPT-2 in integers is the exception that
docs/quantization.md tells of.

Needs compressed-tensors and psutil beside what `make_generator_fixtures.py` needs.
"""
import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus, apply_quantization_config
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file
from transformers import AutoConfig, CompressedTensorsConfig, LlamaConfig, LlamaForCausalLM

from make_generator_fixtures import enliven, rounded

FIXTURES = Path(__file__).resolve().parent.parent / "crates" / "testkit" / "fixtures"
VOCABULARY, GROUP = 48, 32
INTEGERS = ("int8", "int4")
WAYS = ("with its weights in single precision", "as it is")
# Conv1D is not what the format is for: it has no scales there, and grice's field for packed ones is refused. T5's class looks for weights that
# packed layers do not have.
REFUSED = {("gp", "int8", WAYS[1]), ("gp", "int4", WAYS[0]), ("gp", "int4", WAYS[1]), ("t5", "int4", WAYS[1])}
PROMPTS = [1, 7, 40]
CLASSES = {"t5": transformers.T5ForConditionalGeneration, "gpt2": transformers.GPT2LMHeadModel, "llama": LlamaForCausalLM,
           "qwen2": transformers.Qwen2ForCausalLM}


def arguments(**settings):
    return QuantizationArgs(type="int", symmetric=True, **settings)


def schemes():
    yield "int8", torch.float32, arguments(num_bits=8, strategy="channel"), arguments(num_bits=8, strategy="token", dynamic=True)
    yield "int4", torch.bfloat16, arguments(num_bits=4, strategy="group", group_size=GROUP), None


def quantize(model, weights, activations):
    scheme = QuantizationScheme(targets=["Linear"], weights=weights, input_activations=activations)
    apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"]), show_progress=False)
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is None:
            continue
        values = module.weight.data
        if weights.group_size:
            values = values.unflatten(1, (-1, weights.group_size))
        least, most = values.amin(-1), values.amax(-1)
        scales, zeros = calculate_qparams(least, most, weights)
        shape = module.weight_scale.shape
        module.weight_scale.data.copy_(scales.reshape(shape))
        module.weight_zero_point.data.copy_(zeros.reshape(shape))
        module.quantization_status = QuantizationStatus.FROZEN


def make(out):
    shutil.rmtree(out, ignore_errors=True)
    for seed, (name, dtype, weights, activations) in enumerate(schemes()):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, tie_word_embeddings=False, eos_token_id=1, bos_token_id=2))
        model = enliven(model).eval().to(dtype)
        quantize(model, weights, activations)
        compressor = ModelCompressor.from_pretrained_model(model)
        compressor.compress_model(model)
        folder = out / name
        model.save_pretrained(folder)
        compressor.update_config(folder)
        (folder / "README.md").unlink(missing_ok=True)
        (folder / "model.safetensors").chmod(0o644)
        (folder / "reference.json").write_text(json.dumps(reference(folder, activations)) + "\n")
        print(name, sum(file.stat().st_size for file in folder.iterdir()))


def dense(folder):
    """The model with its integers in single precision: transformers would round their products to the type of the scales."""
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    stored, model = tensors(folder), LlamaForCausalLM(config).float().eval()
    for name, tensor in model.state_dict().items():
        tensor.copy_(whole(stored, name))
    return model


def reference(folder, activations):
    generator, model = torch.Generator().manual_seed(9), dense(folder)
    for (name, one), other in zip(model.state_dict().items(), load(folder, dequantize=True).state_dict().values()):
        assert torch.allclose(one, other, rtol=0.0 if activations else 2 ** -8, atol=0.0), name
    cases = []
    for length in PROMPTS:
        ids = torch.randint(0, VOCABULARY, (1, length), generator=generator)
        case = {"prompt": ids[0].tolist(), "logits": rounded(model(input_ids=ids).logits[0, -1])}
        if activations:
            case["logits_rounded"] = rounded(load(folder)(input_ids=ids).logits[0, -1])
        cases.append(case)
    return {"transformers": transformers.__version__, "cases": cases}


def load(folder, dequantize=False):
    kind = CLASSES[AutoConfig.from_pretrained(folder).model_type]
    config = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    return kind.from_pretrained(folder, dtype=torch.float32, **config).eval()


def tensors(folder):
    return {name: tensor for file in Path(folder).glob("*.safetensors") for name, tensor in load_file(file).items()}


def whole(stored, name):
    """A weight in single precision, of grice's integers."""
    if f"{name}_scale" not in stored:
        return stored[name].float()
    scale = stored[f"{name}_scale"].float()
    if name in stored:
        return stored[name].float() * scale
    outputs, inputs = stored[f"{name}_shape"].tolist()
    words = stored[f"{name}_packed"].long() & 0xFFFFFFFF
    numbers = torch.stack([(words >> (4 * place)) & 15 for place in range(8)], -1).flatten(1)[:, :inputs] - 8
    return (numbers.float().unflatten(1, (scale.shape[1], -1)) * scale[..., None]).flatten(1)


def expected(source, name, form, transposed):
    """What PyTorch makes of the source's weights."""
    weight = source[name].float()
    if form in ("fp16", "bf16"):
        return weight.to(torch.float16 if form == "fp16" else torch.bfloat16).float()
    if form == "int8":
        axis = 0 if transposed else 1
        scale = weight.abs().amax(axis, keepdim=True) / 127
        # Halves go away from zero.
        quotient = weight / scale
        return torch.trunc(quotient + torch.copysign(torch.full_like(quotient, 0.5), quotient)) * scale
    weight = (weight.T if transposed else weight).contiguous().unflatten(1, (-1, GROUP))
    scale, _ = calculate_qparams(weight.amin(-1), weight.amax(-1), arguments(num_bits=4, strategy="group", group_size=GROUP))
    return (torch.round((weight / scale[..., None]).clamp(-8, 7)) * scale[..., None]).flatten(1)


def check(grice, name, form, work):
    source, out, rows = FIXTURES / "generators" / name, work / f"{name}-{form}", work / "rows.jsonl"
    ids = torch.arange(6, 90, 3)
    words = [f"w{token}" for token in ids.tolist()]
    rows.write_text(json.dumps({"prompt": " ".join(words[:8]), "text": " " + " ".join(words[8:])}) + "\n")
    told = subprocess.run([grice, "--model", source, "quantize", "--to", form, "--judge", rows, "--force", "--json", "-o", out],
                          check=True, capture_output=True, text=True).stdout
    score = json.loads(told)["quality"]["score"]
    before, stored, transposed = tensors(source), tensors(out), name == "gpt2"
    for tensor in before:
        is_rounded = f"{tensor}_scale" in stored
        made = whole(stored, tensor)
        wanted = expected(before, tensor, form, transposed) if is_rounded or form in ("fp16", "bf16") else before[tensor].float()
        assert torch.equal(made, wanted), f"{name} {form}: {tensor} differs by {(made - wanted).abs().max()}"
    losses = {}
    compare(losses, "before", loss(load(source), ids), score["perplexity_before"], 1e-5)
    for way in WAYS:
        try:
            model = load(out, dequantize=form in INTEGERS and way == WAYS[0])
            if way == WAYS[0]:
                compare_weights(model, stored)
            # grice rounds activations to 8 bits in both integer forms.
            compare(losses, way, loss(model, ids), score["perplexity_after"], 0.1 if form in INTEGERS else 1e-5)
        except (RuntimeError, AttributeError, ValueError) as error:
            assert (name[:2], form, way) in REFUSED, f"{name} {form}: {error}"
            losses[way] = "refused"
    print(f"{name} {form}: weights equal; loss {math.log(score['perplexity_after']):.5f}, in transformers {losses}")


def compare(losses, way, wanted, perplexity, allowed):
    found, losses[way] = math.log(perplexity), round(wanted, 5)
    assert abs(found - wanted) < allowed, f"loss {found}, but {wanted} in transformers ({way})"


def compare_weights(model, stored):
    for weight, tensor in model.state_dict().items():
        if weight in stored or f"{weight}_packed" in stored:
            assert torch.equal(tensor, whole(stored, weight)), f"transformers reads {weight} otherwise"


def loss(model, ids):
    """The mean negative log-probability of the text after eight tokens; a T5 reads those and writes the rest and an end."""
    if model.config.is_encoder_decoder:
        end = torch.tensor([1])
        labels = torch.cat([ids[8:], end])
        return model(input_ids=torch.cat([ids[:8], end])[None], labels=labels[None]).loss.item()
    logits = model(input_ids=ids[None]).logits[0, 7:-1]
    return torch.nn.functional.cross_entropy(logits, ids[8:]).item()


def main(*arguments):
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_grad_enabled(False)
    if arguments[:1] != ("--check",):
        return make(Path(arguments[0]) if arguments else FIXTURES / "compressed")
    with tempfile.TemporaryDirectory() as work:
        for name in ("t5", "t5-gated", "gpt2", "llama", "qwen2"):
            for form in ("int8", "int4", "fp16", "bf16"):
                check(arguments[1], name, form, Path(work))


if __name__ == "__main__":
    main(*sys.argv[1:])
