"""Finds a checkpoint's tokenizer and makes the ``tokenizer.json`` of a bundle from it.

The runtime encodes with ``encode_special_tokens`` on: a special token spelled out in a dialogue is ordinary text. Two kinds of
tokenizer need a change for that, and get it here: markers that belong to the template must still be found, and pieces of a
Unigram vocabulary that spell a special token must not be.
"""
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

TEMPLATE = "Context: {context}\nEvidence: {evidence}\nResponse: {response}"
OLDER_TEMPLATE = "[CONTEXT] {context} [EVIDENCE] {evidence} [RESPONSE] {response}"
OLDER_MARKERS = ("[CONTEXT]", "[EVIDENCE]", "[RESPONSE]")


class TokenizerError(ValueError):
    """A tokenizer that is missing, unreadable or does not fit; the message names the file or token."""


def find_tokenizer(folders):
    """The tokenizer of the first folder that has ``tokenizer.json``, ``spm.model`` or ``vocab.txt``, as a ``Tokenizer``.

    Raises ``TokenizerError`` naming the folders when there is none.
    """
    for folder in map(Path, folders):
        if (folder / "tokenizer.json").is_file():
            try:
                return Tokenizer.from_file(str(folder / "tokenizer.json"))
            except Exception as error:  # the library raises a bare Exception
                raise TokenizerError(f"{folder / 'tokenizer.json'}: {error}") from error
        if (folder / "spm.model").is_file():
            return _from_sentencepiece(folder)
        if (folder / "vocab.txt").is_file():
            return _from_word_pieces(folder)
    names = " and ".join(str(folder) for folder in folders)
    raise TokenizerError(f"no tokenizer.json, spm.model or vocab.txt in {names}")


def default_template(tokenizer):
    """The older template where the tokenizer holds the older checkpoints' markers as added tokens, else the newer one."""
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return OLDER_TEMPLATE if added.issuperset(OLDER_MARKERS) else TEMPLATE


def bundle_tokenizer(tokenizer, template, embedding_rows):
    """``tokenizer.json`` (parsed) as the runtime needs it for this template; encodes everything else as before.

    Raises ``TokenizerError`` where an id has no row among ``embedding_rows``, no special tokens surround the text, or a
    special token spelled out as text would still come out as the special token.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if highest >= embedding_rows:
        raise TokenizerError(f"the tokenizer has ids up to {highest}, the encoder embeds only {embedding_rows}")
    written = json.loads(tokenizer.to_str())
    for token in written["added_tokens"]:
        # A marker in the template is to be found in every text, special or not.
        token["special"] = token["special"] and token["content"] not in template
    written["truncation"] = written["padding"] = None
    leaking = _leaking_specials(written)
    if leaking:
        written["normalizer"] = _spelled_out(written["normalizer"], leaking)
    # The unknown token may come out of any text; what it stands for is not known either way.
    leaking = [token for token in _leaking_specials(written) if token != _unknown_token(written["model"])]
    if leaking:
        raise TokenizerError(f"{', '.join(leaking)} in a text would be read as the special token itself")
    if not Tokenizer.from_str(json.dumps(written)).encode("").ids:
        raise TokenizerError("it adds no special tokens around a text, so there is no first token to read")
    return written


def _leaking_specials(written):
    """Special tokens that plain text can still reach with ``encode_special_tokens`` on."""
    tokenizer = Tokenizer.from_str(json.dumps(written))
    tokenizer.encode_special_tokens = True
    return [token["content"] for token in written["added_tokens"] if token["special"]
            and token["id"] in tokenizer.encode(f"a {token['content']} b", add_special_tokens=False).ids]


def _unknown_token(model):
    if model.get("unk_id") is not None:
        return model["vocab"][model["unk_id"]][0]
    return model.get("unk_token")


def _spelled_out(normalizer, specials):
    """The normalizer, then a space after the first character of each special token: ``[CLS]`` becomes ``[ CLS]``.

    It comes last, because a normalizer can make the token in the first place (full-width brackets, say). Where special tokens
    are recognised they are cut out before normalization, so nothing changes there.
    """
    steps = [] if normalizer is None else [normalizer]
    steps += [{"type": "Replace", "pattern": {"String": token}, "content": f"{token[0]} {token[1:]}"} for token in specials]
    return {"type": "Sequence", "normalizers": steps}


def _from_sentencepiece(folder):
    """The Unigram tokenizer that DeBERTa v2 and v3 are trained with, from SentencePiece's own file.

    Pieces, scores and the normalizer's character map are the file's. ``[MASK]`` and what ``added_tokens.json`` lists follow
    the pieces.
    """
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString((folder / "spm.model").read_bytes())
    except Exception as error:  # protobuf's own exception type differs between its back ends
        raise TokenizerError(f"{folder / 'spm.model'}: not a SentencePiece model: {error}") from error
    if proto.trainer_spec.model_type != 1:
        raise TokenizerError(f"{folder / 'spm.model'}: not a Unigram model, which is what DeBERTa v2 and v3 use")
    options = _read_options(folder)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    ids = {piece: id for id, (piece, _) in enumerate(pieces)}
    missing = [token for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]") if token not in ids]
    if missing:
        raise TokenizerError(f"{folder / 'spm.model'}: lacks {', '.join(missing)}")

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=ids["[UNK]"], byte_fallback=proto.trainer_spec.byte_fallback))
    steps = [normalizers.Lowercase()] if options.get("do_lower_case") else []
    steps.append(normalizers.Strip())
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(" {2,}"), " ")])
    spaces = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    punctuation = [pre_tokenizers.Punctuation(behavior="isolated")] if options.get("split_by_punct") else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*punctuation, spaces])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    surround(tokenizer, "[CLS]", "[SEP]", ids)
    _add_specials(tokenizer, folder, ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    return tokenizer


def _from_word_pieces(folder):
    """BERT's tokenizer from its ``vocab.txt``, one piece a line."""
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    ids = {piece: id for id, piece in enumerate(pieces)}
    missing = [token for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]") if token not in ids]
    if missing:
        raise TokenizerError(f"{folder / 'vocab.txt'}: lacks {', '.join(missing)}")
    options = _read_options(folder)
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=options.get("do_lower_case", True))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    surround(tokenizer, "[CLS]", "[SEP]", ids)
    _add_specials(tokenizer, folder, ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(["[MASK]"] if "[MASK]" in ids else [])])
    return tokenizer


def surround(tokenizer, first, last, ids):
    """Puts a special token before and after every text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0", pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
        special_tokens=[(first, ids[first]), (last, ids[last])])


def _add_specials(tokenizer, folder, specials):
    """Adds the special tokens, then those of ``added_tokens.json`` in the order of their ids, which must come out the same."""
    listed = _read_object(folder / "added_tokens.json")
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    for content, id in sorted(listed.items(), key=lambda pair: pair[1]):
        tokenizer.add_special_tokens([AddedToken(content, normalized=False, special=True)])
        if tokenizer.token_to_id(content) != id:
            raise TokenizerError(f"{folder / 'added_tokens.json'}: gives {content} the id {id}, but "
                                 f"{tokenizer.token_to_id(content)} is the next free one")


def _read_options(folder):
    return _read_object(folder / "tokenizer_config.json")


def _read_object(path):
    """The object in a JSON file, empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: must hold an object")
    return value
