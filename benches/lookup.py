#!/usr/bin/env python3
"""Prompt lookup on repairs, against plain greedy decoding of the same prompts, in turns.

    pip install tokenizers
    python benches/lookup.py PROMPTS.jsonl [--model models/repair-mini] [--drafts 4,6,8] [--threads 2] [--rounds 5]

Each row of the file has a `prompt` that the model reads as it is. One text at a time. The texts must be the same tokens; the ratio is the median
of the rounds' ratios of speeds, in new tokens per second: of whole texts, and after the first token, without the prompt's time. `copied` is the share of the new tokens that stand in
the prompt one after another, in pairs.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from generation import ROOT, binary, machine


def copied(prompt, text):
    pairs = set(zip(prompt, prompt[1:]))
    return sum(pair in pairs for pair in zip(text, text[1:])), max(len(text) - 1, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models/repair-mini")
    parser.add_argument("--drafts", type=lambda text: [int(part) for part in text.split(",")], default=[4, 6, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--binary", help="the bench `generation`, if it is built already")
    args = parser.parse_args()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    stop = json.loads((args.model / "generation_config.json").read_text())["eos_token_id"]
    prompts = [tokenizer.encode(json.loads(line)["prompt"]).ids for line in args.prompts.read_text().splitlines()]
    command = [args.binary or binary(), str(args.model), "stored", str(args.threads)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()

    def write(prompt, draft, new=96):
        process.stdin.write(json.dumps({"ids": [prompt], "stop": stop, "new": new, "draft": draft}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        return answer["texts"][0], answer["ms"]

    def all_of(draft):
        answers = [write(prompt, draft) for prompt in prompts]
        return [text for text, _ in answers], sum(ms for _, ms in answers)

    plain = all_of(0)[0]
    shares = [copied(prompt, text) for prompt, text in zip(prompts, plain)]
    print(f"{machine()}; {len(prompts)} prompts of {statistics.median(map(len, prompts)):.0f} tokens, {sum(map(len, plain))} new tokens, "
          f"copied {sum(hits for hits, _ in shares) / max(sum(all_ for _, all_ in shares), 1):.2f}\n")
    made = sum(map(len, plain))
    rounds = {draft: [] for draft in args.drafts}
    for _ in range(args.rounds):
        for draft, ratios in rounds.items():
            first = sum(write(prompt, 0, 1)[1] for prompt in prompts)
            before = all_of(0)[1]
            texts, after = all_of(draft)
            if texts != plain:
                sys.exit(f"the texts with a draft of {draft} are other ones")
            speed = (made - len(prompts)) / (after - first) * 1e3
            ratios.append((speed, before / after, (before - first) / (after - first)))
    print("| draft | tokens/s after the first | ratio of speeds, whole texts | after the first token |\n| --: | --: | --: | --: |")
    for draft, ratios in rounds.items():
        speed, whole, later = (statistics.median(column) for column in zip(*ratios))
        print(f"| {draft} | {speed:.0f} | {whole:.2f} | **{later:.2f}** |")
    process.kill()


if __name__ == "__main__":
    main()
