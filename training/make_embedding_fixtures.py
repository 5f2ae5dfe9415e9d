"""Makes the tiny models that tests of text embedding compare against.

    python training/make_embedding_fixtures.py [OUT_DIR]

Each is a sentence-transformers folder with random weights, and `reference.json`: token ids and vectors of some texts by that library, from the
folder as it stands there. `bert` is all-MiniLM-L6-v2 in small, in the files' older form, with the old names of norms and with a `tokenizer.json`
that cuts texts earlier than they are cut; `mpnet` is all-mpnet-base-v2; `roberta` takes the first token, was saved with a head, and has no limit
but its tokenizer's; `distilbert` is stored in float16. Seeded: the same versions of the libraries make the same files.
"""
import json
import shutil
import sys
import tempfile
from pathlib import Path

import sentence_transformers
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models as vocabularies, normalizers, pre_tokenizers, processors
from transformers import (BertConfig, BertModel, DistilBertConfig, DistilBertModel, MPNetConfig, MPNetModel,
                          PreTrainedTokenizerFast, RobertaConfig, RobertaModel)

OUT = Path(__file__).resolve().parent.parent / "crates" / "testkit" / "fixtures" / "embedders"
DECIMALS = 6
SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
WORDS = "the a film was good and talk long we saw it again how you like music who won match is not no yes ##s ##ed ##ing".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SENTENCE = "How did you like the film we talked of? It was long, and the music was not good; who won the match is a thing I saw. "
TEXTS = ["a", "yes", "The film was good.", "How was the music?", "  We saw it   again,\nand again! ", "ÄÖ naïve 42 🙂", "no " * 11,
         SENTENCE, SENTENCE.lower()[:60], SENTENCE * 2, "talking " * 300]


def bert():
    config = BertConfig(vocab_size=98, max_position_embeddings=40, hidden_act="gelu", type_vocab_size=2, **SIZES)
    return BertModel(config, add_pooling_layer=True), word_pieces("[CLS]", "[SEP]", "[PAD]", "[UNK]"), 24


def mpnet():
    config = MPNetConfig(vocab_size=98, max_position_embeddings=66, pad_token_id=1,
                         layer_norm_eps=1e-5, **SIZES)
    return MPNetModel(config, add_pooling_layer=False), word_pieces("<s>", "</s>", "<pad>", "<unk>"), 48


def roberta():
    tokenizer = byte_pairs()
    config = RobertaConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=52, pad_token_id=1, type_vocab_size=1,
                           layer_norm_eps=1e-5, hidden_act="gelu", **SIZES)
    return RobertaModel(config, add_pooling_layer=False), tokenizer, None


def distilbert():
    config = DistilBertConfig(vocab_size=98, max_position_embeddings=64, dim=24, n_layers=2, n_heads=3, hidden_dim=40, activation="relu")
    return DistilBertModel(config).half(), word_pieces("[CLS]", "[SEP]", "[PAD]", "[UNK]"), 64


MODELS = {"bert": (bert, "mean", True), "mpnet": (mpnet, "mean", True), "roberta": (roberta, "cls", False),
          "distilbert": (distilbert, "mean", False)}


def word_pieces(first, last, padding, unknown):
    """Padding has the id 1, as MPNet wants it."""
    pieces = [first, padding, last, unknown, *".,?!;", *LETTERS, *(f"##{letter}" for letter in LETTERS), *(word for word in WORDS if len(word) > 1)]
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(vocabularies.WordPiece(ids, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([first, padding, last, unknown])
    tokenizer.post_processor = processors.BertProcessing((last, ids[last]), (first, ids[first]))
    return tokenizer


def byte_pairs():
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "t"), ("a", "s"), ("Ġ", "w"), ("Ġw", "as"), ("o", "o")]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(vocabularies.BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def enliven(model):
    """Random weights that make texts differ, with norms around 1."""
    for name, parameter in model.named_parameters():
        is_norm = parameter.dim() == 1 and name.endswith("weight")
        scale = {1: 0.2}.get(parameter.dim(), 1.0 if "embeddings" in name else 1.5 / parameter.shape[-1] ** 0.5)
        parameter.data = (torch.randn(parameter.shape) * scale + (1.0 if is_norm else 0.0)).to(parameter.dtype)
    return model.eval()


def write(folder, model, tokenizer, tokens_max, pooling, normalised):
    """A folder as the library saves it."""
    special = [tokenizer.id_to_token(number) for number in range(4)]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, cls_token=special[0], pad_token=special[1], sep_token=special[2],
                                   unk_token=special[3], model_max_length=tokens_max or model.config.max_position_embeddings - 2)
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        fast.save_pretrained(plain)
        encoder = Transformer(plain, model_kwargs={"dtype": model.dtype})
    modules = [encoder, Pooling(model.config.hidden_size, pooling_mode=pooling)] + ([Normalize()] if normalised else [])
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)


def age(folder, tokens_max):
    """The files in the form that published models have."""
    module = "sentence_transformers.models."
    listed = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(folder / "modules.json", [{"idx": number, "name": str(number), "path": path, "type": module + kind}
                                         for number, (path, kind) in enumerate(listed)])
    write_json(folder / "1_Pooling/config.json", {
        "word_embedding_dimension": 24, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": tokens_max, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0"}})
    state = load_file(folder / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, name in old.items():
        state = {key.replace(new, name): tensor for key, tensor in state.items()}
    state["embeddings.position_ids"] = torch.arange(40)[None]
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    written = json.loads((folder / "tokenizer.json").read_text())
    written["truncation"] = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
    write_json(folder / "tokenizer.json", written)


def add_head(folder):
    """The tensors of a model that was saved for another task."""
    state = {f"roberta.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    state |= {"lm_head.bias": torch.zeros(5), "lm_head.dense.weight": torch.ones(3, 3)}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def reference(folder):
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, local_files_only=True)
    vectors = model.encode(TEXTS, batch_size=1, convert_to_tensor=True)
    cases = []
    for text, vector in zip(TEXTS, vectors):
        ids = model.preprocess([text])["input_ids"][0].tolist()
        cases.append({"text": text, "ids": ids, "vector": [round(number, DECIMALS) for number in vector.tolist()]})
    return {"sentence_transformers": sentence_transformers.__version__, "transformers": transformers.__version__,
            "tokens_max": model.max_seq_length, "cases": cases}


def main(out=OUT):
    transformers.utils.logging.set_verbosity_error()
    torch.set_grad_enabled(False)
    out = Path(out)
    shutil.rmtree(out, ignore_errors=True)
    for seed, (name, (make, pooling, normalised)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model, tokenizer, tokens_max = make()
        folder = out / name
        write(folder, enliven(model), tokenizer, tokens_max, pooling, normalised)
        if name == "bert":
            age(folder, tokens_max)
        if name == "roberta":
            add_head(folder)
        (folder / "README.md").unlink(missing_ok=True)
        write_json(folder / "reference.json", reference(folder))
        print(name, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))


if __name__ == "__main__":
    main(*sys.argv[1:])
