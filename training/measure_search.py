"""Times the search in a corpus of random vectors, without the embedding.

    python training/measure_search.py --grice target/release/grice --model models/embed-mini --like models/replies-mini --rows 100000

One question is asked many times: it is embedded once for each batch, and searched for each time. The time of one question, with the start of the program, is
taken off. Medians of several runs. Beside the time that passes it prints the time that the cores worked: on a busy machine only that means much.
"""
import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def write_corpus(folder, rows, like):
    manifest = json.loads((like / "grice.json").read_text())
    folder.mkdir()
    (folder / "texts.jsonl").write_text("".join(f'{{"text":"text {row}"}}\n' for row in range(rows)))
    vectors = np.random.default_rng(0).integers(-127, 128, (rows, manifest["dims"]), dtype=np.int8)
    save_file({"vectors": vectors, "scales": np.full(rows, 0.0007, np.float32)}, folder / "vectors.safetensors")
    digest = lambda name: "sha256:" + hashlib.sha256((folder / name).read_bytes()).hexdigest()
    digests = {name: digest(name) for name in ("texts.jsonl", "vectors.safetensors")}
    (folder / "grice.json").write_text(json.dumps(manifest | {"rows": rows, "digests": digests}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grice", required=True)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--like", required=True, type=Path, help="a corpus of this model")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "asked.jsonl").write_text('{"text": "How was the film?"}\n' * args.questions)
        (scratch / "none.jsonl").write_text('{"text": "How was the film?"}\n')
        write_corpus(scratch / "large", args.rows, args.like)

        def seconds(corpus, asked):
            used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            start = np.array([time.monotonic(), used()])
            subprocess.run([args.grice, "--quiet", "--threads", str(args.threads), "search", scratch / corpus, "--model", args.model,
                            "--input", scratch / asked, "--output", "/dev/null"], check=True)
            return np.array([time.monotonic(), used()]) - start

        # The same corpus is opened both times, so that its reading is taken off too.
        times = [(seconds("large", "asked.jsonl") - seconds("large", "none.jsonl")) / (args.questions - 1) for _ in range(args.runs)]
    for what, column in zip(("elapsed", "of all cores"), np.array(times).T * 1000):
        print(f"{args.rows} vectors, {args.threads} threads: {statistics.median(column):.2f} ms a question {what} (from {min(column):.2f})")


if __name__ == "__main__":
    main()
