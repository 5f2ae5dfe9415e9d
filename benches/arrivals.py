#!/usr/bin/env python3
"""Continuous batching: texts that join and leave a batch at any time, against one batch whose texts begin and end together.

    python benches/arrivals.py MODEL [--precision int8] [--texts 64] [--at-once 16] [--threads 2] [--rounds 5]

Texts of random lengths, of which so many are written at once: as soon as one ends, the next one joins. Beside it one batch of as many texts that all
have the mean length, and batches of the same random lengths that begin and end together. The three take turns; the figures are new tokens
per second, medians of the rounds, and the ratio is the median of the rounds' ratios to the one batch.
"""
import argparse
import json
import random
import statistics
import subprocess

from generation import binary, machine

PROMPT, SHORTEST, LONGEST = 64, 16, 112


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a Hugging Face folder or a GGUF file")
    parser.add_argument("--precision", default="int8", help="`stored` is the file's own")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--binary", help="the bench `generation`, if it is built already")
    args = parser.parse_args()
    command = [args.binary or binary(), args.model, args.precision, str(args.threads)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()

    def seconds(lengths, at_once):
        request = {"rows": len(lengths), "prompt": PROMPT, "new": LONGEST, "lengths": lengths, "at_once": at_once}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())["ms"] / 1e3

    draw = random.Random(1)
    lengths = [draw.randint(SHORTEST, LONGEST) for _ in range(args.texts)]
    mean = round(statistics.mean(lengths))
    waves = [lengths[start:start + args.at_once] for start in range(0, len(lengths), args.at_once)]
    kinds = {
        "one batch of equal texts": lambda: args.at_once * mean / seconds([mean] * args.at_once, args.at_once),
        "joining and leaving": lambda: sum(lengths) / seconds(lengths, args.at_once),
        "batches that end together": lambda: sum(lengths) / sum(seconds(wave, args.at_once) for wave in waves),
    }
    kinds["one batch of equal texts"]()
    rounds = [{name: speed() for name, speed in kinds.items()} for _ in range(args.rounds)]
    process.kill()
    print(f"{machine()}; {args.texts} texts of {SHORTEST} to {LONGEST} new tokens, {args.at_once} at once, {args.threads} threads\n")
    print("| | new tokens/s | ratio |\n| --- | --: | --: |")
    for name in kinds:
        ratio = statistics.median(speeds[name] / speeds["one batch of equal texts"] for speeds in rounds)
        print(f"| {name} | {statistics.median(speeds[name] for speeds in rounds):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
