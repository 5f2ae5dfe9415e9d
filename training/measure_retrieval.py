"""Compares grice's retrieval with sentence-transformers in single precision, on replies of Topical-Chat.

    python training/measure_retrieval.py --data DIR --grice target/release/grice --model models/embed-mini

A query is a turn of a held-out dialogue (`replies.is_held_out`), and what is looked for is the turn after it. The corpus has all replies of 6 to
40 words of all dialogues, each once. Prints the mean reciprocal rank (among the first 100) and recall at 1 and 5 of sentence-transformers with the
original model, and of grice with `--model`; and, of grice's five nearest texts, how many are among the five nearest by the same model's vectors in
single precision.
"""
import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from model import base_folder
from replies import WORDS, dialogues, is_held_out, key

TOP = 100


def pairs(folder):
    """All replies, and for each question the number of its reply."""
    texts, numbers, questions = [], {}, []
    for dialogue in dialogues(folder):
        for before, text in zip(dialogue["turns"], dialogue["turns"][1:]):
            if len(text.split()) not in WORDS or not before:
                continue
            number = numbers.setdefault(key(text), len(texts))
            if number == len(texts):
                texts.append(text)
            if is_held_out(dialogue["id"]) and len(before.split()) in WORDS and key(before) != key(text):
                questions.append((before, number))
    return texts, questions


def figures(ranks):
    """Of ranks from 0, `None` where the reply is not among the first."""
    reciprocal = [0.0 if rank is None else 1 / (rank + 1) for rank in ranks]
    within = lambda count: np.mean([rank is not None and rank < count for rank in ranks])
    error = np.std(reciprocal) / len(reciprocal) ** 0.5
    return f"MRR {np.mean(reciprocal):.4f} ± {error:.4f}, recall@1 {within(1):.4f}, recall@5 {within(5):.4f}"


def ranks_of(found, wanted):
    return [next((rank for rank, number in enumerate(row) if number == want), None) for row, want in zip(found, wanted)]


def nearest(queries, vectors, count):
    """The rows with the largest inner products, equal ones in order."""
    out = []
    for start in range(0, len(queries), 200):
        scores = queries[start: start + 200] @ vectors.T
        out.extend(np.argsort(-scores, axis=1, kind="stable")[:, :count])
    return out


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def by_grice(args, texts, questions, scratch):
    """What `grice search` finds, and the vectors of `grice embed`."""
    rows, asked, corpus, near = (scratch / name for name in ("texts.jsonl", "questions.jsonl", "corpus", "near.jsonl"))
    write_rows(rows, ({"text": text} for text in texts))
    write_rows(asked, ({"text": text} for text, _ in questions))
    run = lambda *command: subprocess.run([args.grice, "--quiet", *command], check=True)
    run("index", rows, "--model", args.model, "--output", corpus)
    start = time.monotonic()
    run("search", corpus, "--model", args.model, "--input", asked, "--output", near, "--top", str(TOP))
    print(f"grice search: {len(questions) / (time.monotonic() - start):.0f} questions/s, embedding and start included")
    found = [[hit["index"] for hit in row["nearest"]] for row in read_rows(near)]
    vectors = []
    for name, source in (("a", rows), ("b", asked)):
        run("embed", "--model", args.model, "--input", source, "--output", scratch / name)
        vectors.append(np.array([row["embedding"] for row in read_rows(scratch / name)], dtype=np.float32))
    return found, vectors


def by_sentence_transformers(texts, questions):
    import torch
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(str(base_folder()), device="cpu", model_kwargs={"dtype": torch.float32}, local_files_only=True)
    return [model.encode(batch, batch_size=64, convert_to_numpy=True) for batch in (texts, [text for text, _ in questions])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--grice", required=True)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--texts", type=int, default=20_000, help="at most so many replies, those that are looked for first")
    parser.add_argument("--questions", type=int, default=2_000, help="at most so many questions, evenly over the dialogues")
    parser.add_argument("--no-original", action="store_true", help="leave sentence-transformers out, which takes most of the time")
    args = parser.parse_args()
    texts, questions = pairs(args.data)
    questions = questions[:: max(1, -(-len(questions) // args.questions))]
    wanted = {number for _, number in questions}
    order = sorted(wanted) + [number for number in range(len(texts)) if number not in wanted]
    places = {number: place for place, number in enumerate(order[: args.texts])}
    texts = [texts[number] for number in order[: args.texts]]
    questions = [(text, places[number]) for text, number in questions]
    wanted = [number for _, number in questions]
    print(f"{len(texts)} replies, {len(questions)} questions")
    with tempfile.TemporaryDirectory() as scratch:
        found, (vectors, queries) = by_grice(args, texts, questions, Path(scratch))
    single = nearest(queries, vectors, TOP)
    shared = np.mean([len(set(row[:5]) & set(exact[:5])) / 5 for row, exact in zip(found, single)])
    print(f"grice, vectors in 8 bits:         {figures(ranks_of(found, wanted))}")
    print(f"grice, vectors in single:         {figures(ranks_of(single, wanted))}")
    print(f"recall@5 of 8 bits against single: {shared:.4f}")
    if args.no_original:
        return
    their_vectors, their_queries = by_sentence_transformers(texts, questions)
    theirs = nearest(their_queries, their_vectors, TOP)
    print(f"sentence-transformers, the original: {figures(ranks_of(theirs, wanted))}")
    same = np.mean([len(set(row[:5]) & set(exact[:5])) / 5 for row, exact in zip(found, theirs)])
    print(f"recall@5 of grice against sentence-transformers: {same:.4f}")


if __name__ == "__main__":
    main()
