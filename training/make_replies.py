"""Makes `models/replies-mini`: replies of Topical-Chat that stand by themselves, as a corpus for `grice search`.

    python training/make_replies.py --data DIR --grice target/release/grice --model models/embed-mini --out models/replies-mini

`DIR/topical_chat.jsonl` is described in training/README.md, the choice of replies in `replies.py`. The built-in detector judges each with the
turn before it, and those that it finds uncooperative are left out.
"""
import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from replies import replies

HERE = Path(__file__).parent


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--grice", required=True)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        turns, verdicts, kept = (Path(scratch) / name for name in ("turns.jsonl", "verdicts.jsonl", "kept.jsonl"))
        write_rows(turns, replies(args.data))
        subprocess.run([args.grice, "detect", "--input", turns, "--output", verdicts], check=True)
        judged = read_rows(verdicts)
        texts = [{"text": row["response"]} for row in judged if row["cooperative"]]
        print(f"{len(texts)} of {len(judged)} replies are cooperative")
        write_rows(kept, texts)
        index = Path(scratch) / args.out.name
        subprocess.run([args.grice, "index", kept, "--model", args.model, "--output", index, "--licence", "CDLA-Sharing-1.0"], check=True)
        args.out.mkdir(parents=True, exist_ok=True)
        for name in ("grice.json", "texts.jsonl", "vectors.safetensors"):
            shutil.copyfile(index / name, args.out / name)
    shutil.copyfile(HERE / "cdla_sharing_1.0.txt", args.out / "LICENSE")


if __name__ == "__main__":
    main()
