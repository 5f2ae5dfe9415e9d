"""A byte-level BPE tokenizer cut down to the tokens that a task uses."""
import collections
import copy

MARKS = ["[CONTEXT]", "[EVIDENCE]", "[RESPONSE]", "[REPAIR]", "[agent_1]:", "[agent_2]:"]
END = "<|im_end|>"


def byte_alphabet():
    """The 256 characters that stand for bytes in byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def parts_of(merges):
    """Each token's parts by the first merge that makes it."""
    parts = {}
    for a, b in merges:
        parts.setdefault(a + b, (a, b))
    return parts


def with_parts(token, parts):
    """A token and everything that merges go through to make it."""
    found, todo = set(), [token]
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo.extend(parts.get(at, ()))
    return found


def pruned(written, counts, size):
    """The JSON of a BPE tokenizer with `size` tokens, and for each the old ids whose rows it starts from the mean of.

    Kept: the end token, all 256 bytes (also those that the old one lacks, so that any text encodes), what `counts` (tokens to frequencies) has most of, then the tokens of the earliest
    merges, each with the parts it is merged from. A text without dropped tokens keeps its tokens.
    """
    merges = [tuple(m) if isinstance(m, (list, tuple)) else tuple(m.split(" ")) for m in written["model"]["merges"]]
    vocabulary = written["model"]["vocab"]
    parts = parts_of(merges)
    room = size - 1 - len(MARKS)
    keep = set(byte_alphabet())
    known = [vocabulary[c] for c in byte_alphabet() if c in vocabulary]
    made = [a + b for a, b in merges]
    for token in [t for t, _ in counts.most_common()] + made:
        more = with_parts(token, parts) - keep if token in vocabulary and token != END else set()
        if len(keep) + len(more) <= room:
            keep |= more
        if len(keep) == room:
            break
    tokens = [END] + sorted(keep, key=lambda t: (vocabulary.get(t, -1), t))
    new = {token: i for i, token in enumerate(tokens)}
    out = copy.deepcopy(written)
    out["model"]["vocab"] = new
    out["model"]["merges"] = [[a, b] for a, b in merges if a in new and b in new and a + b in new]
    mark = lambda text, i, special, left: {"id": i, "content": text, "single_word": False, "lstrip": left, "rstrip": False, "normalized": False, "special": special}
    out["added_tokens"] = [mark(END, 0, True, False)] + [mark(text, len(tokens) + i, False, True) for i, text in enumerate(MARKS)]
    out["truncation"] = out["padding"] = out["post_processor"] = out["normalizer"] = None
    return out, [[vocabulary[t]] if t in vocabulary else known for t in tokens]


def frequencies(tokenizer, texts):
    """How often the tokens of a `tokenizers.Tokenizer` occur."""
    counts = collections.Counter()
    for start in range(0, len(texts), 2000):
        for encoding in tokenizer.encode_batch(texts[start: start + 2000], add_special_tokens=False):
            counts.update(encoding.tokens)
    return counts
