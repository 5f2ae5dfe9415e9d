"""Makes the tiny models that the Rust tests compare against.

    python training/make_fixtures.py [OUT_DIR]

Writes `tiny-deberta` and `tiny-bert`, bundles with random weights that went through `export_gricebench.py`, each with
`reference.json` (token ids, mask and the logits of PyTorch and ONNX Runtime) and `texts.json` (texts and their ids);
`tiny-sdpa` and `tiny-int8`, other graphs of the same BERT with only `reference.json`; `onnxruntime-int8`, both encoders as ONNX
Runtime's own quantizer leaves them, with its logits; and `broken`, ONNX files to refuse, or that fail
on long texts. Seeded: the same versions of the libraries make the same files. No trained weights and no
text from elsewhere go in.
"""
import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import sentencepiece
import torch
import torch.nn as nn
import transformers
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, DebertaV2Config, DebertaV2Model

import bundle
import export_gricebench as exporter
from bundle_tokenizer import surround
from export_mini import quantize

OUT = Path(__file__).resolve().parent.parent / "crates" / "testkit" / "fixtures"
BYTES_MAX = 700_000
INT8_BYTES_MAX = 300_000
# (batch, length): each length once, batches of one to five.
SHAPES = [(1, 1), (3, 2), (4, 7), (5, 33), (1, 33), (2, 64), (3, 130), (2, 300), (2, 500)]
DECIMALS = 6
# Labels in an order of their own, so that a reader who assumes the usual one is found out.
PERMUTED = ("manner", "quantity", "relation", "quality")


def main(out=OUT):
    out = Path(out)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        make_deberta_checkpoint(work / "tiny-deberta")
        make_bert_checkpoint(work / "tiny-bert")
        for name in ("tiny-deberta", "tiny-bert"):
            print(name)
            exporter.export(work / name, out / name, evidence_ignored=["FS1", "FS2", "FS3", "AS1", "Personal Knowledge"],
                            overwrite=True)
            write_references(work / name, out / name)
        write_variants(work / "tiny-bert", out)
    write_onnxruntime_int8(out)
    write_broken(out / "broken")


# The checkpoints


def make_deberta_checkpoint(folder, seed=1, heads="list", **changes):
    """A GriceBench-style checkpoint with a tiny DeBERTa-v3, random weights and `spm.model`. Returns its state dict."""
    folder.mkdir(parents=True)
    train_sentencepiece(folder, 400)
    torch.manual_seed(seed)
    config = DebertaV2Config(**{
        **dict(vocab_size=416, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
               type_vocab_size=0, relative_attention=True, position_buckets=32, max_relative_positions=-1,
               norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
               layer_norm_eps=1e-7, max_position_embeddings=512, pad_token_id=0), **changes})
    encoder = enliven(DebertaV2Model(config))
    state = {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
    for number, maxim in enumerate(bundle.MAXIMS):
        head = nn.Sequential(nn.Linear(32, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8), nn.GELU(), nn.Dropout(0.1),
                             nn.Linear(8, 1))
        place = f"heads.{number}" if heads == "list" else f"heads.{maxim}"
        state.update({f"{place}.{key}": tensor for key, tensor in enliven(head).state_dict().items()})
    torch.save(state, folder / "pytorch_model.pt")
    (folder / "config.json").write_text(config.to_json_string(use_diff=False))
    temperatures = dict(zip(bundle.MAXIMS, (0.90, 0.55, 0.75, 0.45)))
    (folder / "temperatures.json").write_text(json.dumps(temperatures))
    return state


def make_bert_checkpoint(folder, seed=2, labels=PERMUTED, **changes):
    """A Hugging Face folder with a tiny BERT sequence classifier, random weights and a WordPiece tokenizer."""
    folder.mkdir(parents=True)
    tokenizer = train_word_pieces()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    config = BertConfig(**{
        **dict(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
               intermediate_size=64, max_position_embeddings=512, id2label=dict(enumerate(labels)),
               label2id={label: column for column, label in enumerate(labels)}, problem_type="multi_label_classification"),
        **changes})
    model = enliven(BertForSequenceClassification(config))
    model.save_pretrained(folder)
    return model


def enliven(module, spread=0.35):
    """Random weights large enough that inputs differ in their logits: a fresh model's hardly do."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "LayerNorm.weight" in name:
                weight.uniform_(0.7, 1.3)
            elif weight.dim() == 1:
                weight.normal_(0, 0.1)
            else:
                weight.normal_(0, 1.0 if "embeddings" in name else spread)
    return module.eval()


# The tokenizers


COMMON_WORDS = """about after again against almost alone along already also although always among another answer around because become
before began behind being believe better between beyond bring brought build business called cannot carry caught certain change
children close common company could country course create decide deliver demand different difficult during early either enough
entire especially evening everything evidence example expect explain family famous feeling figure finally follow foreign forward
friend further general given government ground happen having herself himself history however hundred imagine important include
increase indeed information instead interest journey kitchen knowledge language large later leave letter light likely listen little
living machine making manner market matter maybe member method million minute moment money morning mother mountain music nation
nature necessary never nothing number object often opinion order other outside paper particular people perhaps person picture place
planet point policy position possible power present president problem produce program provide public quality quantity question
quickly rather reach really reason receive recent relation remain remember report require response result return river school
science second several should simple single sister social someone something sometimes station still straight strange street strong
student study subject succeed sudden suppose surface system teacher theory there therefore thing think thought through together
toward travel trouble understand until usually value various village voice walking watch water weather welcome whether which while
whole window winner without wonder working world would writing wrong yellow yesterday young""".split()


def sentences(count=1500):
    """Made-up dialogue, the same every time."""
    random = np.random.default_rng(7)
    who = "I we they you she he nobody everyone Anna Bo someone the·neighbour a·friend my·sister the·coach".split()
    does = "watched liked bought read missed remembers forgot recommends heard·about plays visited cooked lost".split()
    what = ("the·film that·book a·guitar the·match some·coffee two·tickets an·old·song the·series a·recipe their·dog "
            "the·museum that·documentary 42·records the·1998·final a·naïve·café·story über·jokes señor·García").split()
    when = "yesterday last·week in·2014 on·Monday too·often again at·school every·day before·lunch since·March".split()
    ends = [".", ".", ".", "!", "?", "...", ", right?", "; anyway.", " (really).", ": yes."]
    heads = ["", "", "", "Context: ", "Evidence: ", "Response: ", "[agent_1]: ", "[agent_2]: ", "Well, ", "According to \"FS2\", "]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"()[]-_/%&#@+=*"
    foreign = "éèüöñçß привет как дела 你好世界 こんにちは"
    lines = [" ".join(letters), " ".join(foreign.replace(" ", ""))] * 6
    for _ in range(count):
        words = [part[random.integers(len(part))] for part in (who, does, what, when)]
        words += random.choice(COMMON_WORDS, 3).tolist()
        line = heads[random.integers(len(heads))] + " ".join(words).replace("·", " ")
        lines.append(line + ends[random.integers(len(ends))])
    return lines


def train_sentencepiece(folder, pieces):
    """`spm.model` of the kind that DeBERTa v3 has: Unigram, its four special pieces first, NMT-NFKC normalization."""
    (folder / "text.txt").write_text("\n".join(sentences()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "spm"), vocab_size=pieces, model_type="unigram",
        character_coverage=1.0, pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
        unk_piece="[UNK]", num_threads=1, minloglevel=2)
    for leftover in ("text.txt", "spm.vocab"):
        (folder / leftover).unlink()


def train_word_pieces(pieces=500):
    """A WordPiece tokenizer of the kind that BERT has: every character, common endings and the most frequent words.

    The vocabulary is counted here, because the library's trainer breaks ties at random.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = Counter()
    for line in sentences():
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(line)))
    characters = sorted(set("".join(words)))
    learnt = characters + [f"##{character}" for character in characters if character.isalnum()]
    learnt += ["##s", "##ed", "##er", "##ing", "##ion", "##ment", "##ness", "##able", "un", "re", "dis", "over"]
    learnt += sorted(words, key=lambda word: (-words[word], word))
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = {piece: id for id, piece in enumerate(list(dict.fromkeys(specials + learnt))[:pieces])}
    tokenizer.model = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    surround(tokenizer, "[CLS]", "[SEP]", ids)
    return tokenizer


# What the Rust is compared with


def write_references(checkpoint, folder):
    """`reference.json` and `texts.json`, in the bundle's folder but no part of the bundle."""
    write_json(folder / "reference.json", reference_cases(checkpoint, folder))
    write_json(folder / "texts.json", text_cases(folder))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"  {size} bytes")
    if size > BYTES_MAX:
        sys.exit(f"{folder}: {size} bytes, more than {BYTES_MAX}")


def reference_cases(checkpoint, folder):
    """Rows of ids padded to the longest, with PyTorch's and ONNX Runtime's logits, for each of `SHAPES`."""
    loaded = exporter.load_checkpoint(checkpoint)
    session = exporter.onnx_session(folder / "onnx/model.onnx")
    random = np.random.default_rng(11)
    cases = []
    for batch, length in SHAPES:
        ids = random.integers(5, loaded.config.vocab_size, (batch, length))
        mask = np.ones_like(ids)
        for row in range(1, batch):  # the first row is full, the others end anywhere
            mask[row, random.integers(1, length + 1) :] = 0
        ids[mask == 0] = loaded.config.pad_token_id
        with torch.no_grad():
            expected = loaded.model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        found = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        cases.append({"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "logits_pytorch": rounded(expected),
                      "logits_onnxruntime": rounded(found)})
    logits = np.concatenate([case["logits_pytorch"] for case in cases])
    spread = logits.max(0) - logits.min(0)
    print(f"  spread of the logits by column: {', '.join(f'{value:.2f}' for value in spread)}")
    if spread.min() < 0.5:
        sys.exit(f"{folder}: the logits hardly differ between inputs, so parity would show nothing")
    return cases


def write_variants(checkpoint, out):
    """The tiny BERT as transformers exports it by default, with scaled dot-product attention, and with int8 weights.

    The int8 file is compared with ONNX Runtime alone, without its extended fusions: they quantize activations too.
    """
    variants = {"tiny-sdpa": out / "tiny-sdpa/model.onnx", "tiny-int8": out / "tiny-int8/model.onnx"}
    for path in variants.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    model = BertForSequenceClassification.from_pretrained(checkpoint, attn_implementation="sdpa", local_files_only=True).eval()

    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    ids = torch.arange(3 * 48).reshape(3, 48)
    axes = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")} | {"logits": {0: "batch"}}
    with torch.no_grad():
        torch.onnx.export(Graph().eval(), (ids, torch.ones_like(ids)), str(variants["tiny-sdpa"]), opset_version=17, dynamo=False,
                          input_names=["input_ids", "attention_mask"], output_names=["logits"], dynamic_axes=axes)
    quantize(variants["tiny-sdpa"], variants["tiny-int8"])
    cases = json.loads((out / "tiny-bert/reference.json").read_text(encoding="ascii"))
    for name, path in variants.items():
        graph = onnx.load(str(path))
        for node in graph.graph.node:
            node.doc_string = ""  # where in which Python file the node came from
        onnx.save(graph, str(path))
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found = []
        for case in cases:
            feeds = {name: np.array(case[name], dtype=np.int64) for name in ("input_ids", "attention_mask")}
            found.append({**case, "logits_onnxruntime": rounded(session.run(["logits"], feeds)[0])})
            if name == "tiny-int8":
                del found[-1]["logits_pytorch"]
        write_json(path.parent / "reference.json", found)


def write_onnxruntime_int8(out):
    """`onnxruntime-int8`: the encoders quantized by ONNX Runtime, dynamic and static (QDQ), and its logits for their files.

    Per channel, signed weights, as for text models in its documentation; the static ones have their ranges from the reference
    cases. Names that only help people are dropped, for size. Logits are those without optimizations: what the operators say.
    """
    folder = out / "onnxruntime-int8"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("tiny-bert", "tiny-deberta"):
        source = str(out / name / "onnx/model.onnx")
        cases = json.loads((out / name / "reference.json").read_text(encoding="ascii"))
        feeds = [{key: np.array(case[key], dtype=np.int64) for key in ("input_ids", "attention_mask")} for case in cases]
        paths = {mode: folder / f"{name}-{mode}.onnx" for mode in ("dynamic", "static")}
        quantize_dynamic(source, str(paths["dynamic"]), per_channel=True, weight_type=QuantType.QInt8)
        quantize_static(source, str(paths["static"]), Feeds(feeds), quant_format=QuantFormat.QDQ, per_channel=True,
                        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8, op_types_to_quantize=["MatMul", "Gemm"])
        for mode, path in paths.items():
            graph = onnx.load(str(path))
            shrink(graph.graph)
            onnx.checker.check_model(graph)
            onnx.save(graph, str(path))
            if path.stat().st_size > INT8_BYTES_MAX:
                sys.exit(f"{path}: {path.stat().st_size} bytes, more than {INT8_BYTES_MAX}")
            write_answers(folder / f"{name}-{mode}.json", path, cases)


def write_answers(target, path, cases):
    """ONNX Runtime's logits of every row by itself: next to others it would share the range of a dynamic activation."""
    session = plain_session(path)
    logits = [rounded(session.run(["logits"], feed)[0][0] for feed in rows_alone(case)) for case in cases]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in logits)
    target.write_text(f'{{"logits_onnxruntime":[\n{lines}\n]}}\n', encoding="ascii")


def rows_alone(case):
    """Feeds of one row each, without padding."""
    for ids, mask in zip(case["input_ids"], case["attention_mask"]):
        length = sum(mask)
        yield {"input_ids": np.array([ids[:length]], dtype=np.int64), "attention_mask": np.ones((1, length), dtype=np.int64)}


class Feeds(CalibrationDataReader):
    """Hands out feeds one by one."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def plain_session(path):
    """ONNX Runtime without optimizations and on one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def shrink(graph):
    """Short names for values, none for nodes."""
    names = {value.name: value.name for value in [*graph.input, *graph.output]}
    del graph.value_info[:]
    for node in graph.node:
        node.name = node.doc_string = ""
        for places in (node.input, node.output):
            for place, value in enumerate(places):
                places[place] = value and names.setdefault(value, f"v{len(names)}")
    for tensor in graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"v{len(names)}")


def text_cases(folder):
    """Texts and their ids by the tokenizers library, special tokens in the text being text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    template = json.loads((folder / "grice.json").read_text(encoding="utf-8"))["template"]
    return [{"name": name, "text": text, "ids": tokenizer.encode(text).ids} for name, text in texts(template)]


def texts(template):
    def turn(context, evidence, response):
        return template.replace("{context}", context).replace("{evidence}", evidence).replace("{response}", response)

    return [
        ("empty", ""),
        ("one space", " "),
        ("spaces only", "     "),
        ("one letter", "a"),
        ("turn", turn("[agent_1]: Did you like the film?", "The film came out in 1998.", "I watched the film yesterday.")),
        ("turn without evidence", turn("[agent_1]: hello [agent_2]: hi there", "", "We bought two tickets.")),
        ("turn of empty fields", turn("", "", "")),
        ("turn over lines", turn("[agent_1]: one\n[agent_2]: two", "a\tb\tc", "first\r\nsecond\n\n\nthird")),
        ("spaces before and after", "   the old song   "),
        ("spaces between", "the   old \t  song"),
        ("accents composed", "na\u00efve caf\u00e9 \u00fcber se\u00f1or Garc\u00eda"),
        ("accents combining", "nai\u0308ve cafe\u0301 u\u0308ber sen\u0303or Garci\u0301a"),
        ("marks piled up", "z\u0351\u036b\u0343\u036a\u0302a\u030a\u0326\u0323l\u0334g\u0338o"),
        ("emoji", "great film \U0001f600\U0001f44d\U0001f3fd \U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f"),
        ("flags", "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea final"),
        ("chinese", "\u4f60\u597d\u4e16\u754c\uff0c\u4eca\u5929\u597d\u5417\uff1f"),
        ("japanese", "\u3053\u3093\u306b\u3061\u306f\u3001\u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85"),
        ("korean", "\uc548\ub155\ud558\uc138\uc694 \u1112\u1161\u11ab"),
        ("cyrillic", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430?"),
        ("arabic and hebrew", "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd"),
        ("devanagari", "\u0928\u092e\u0938\u094d\u0924\u0947"),
        ("case folding", "STRASSE Stra\u00dfe \u0130stanbul \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u01c5"),
        ("full width", "\uff28\uff45\uff4c\uff4c\uff4f\u3000\uff17\uff14"),
        ("ligatures and fractions", "\ufb01lm \u00bd \u2460 \u212b \u210c x\u00b2 \u2026 \u2122"),
        ("nul", "before\u0000after \u0000 end"),
        ("control characters", "a\u0001b\u0007c\u001bd\u007fe\u0085f\u009fg"),
        ("zero width", "so\u200bme\u200ccof\u200dfee\ufeff \u2060 soft\u00adhyphen"),
        ("odd spaces", "no\u00a0break en\u2002quad thin\u2009space line\u2028para\u2029end"),
        ("bidi controls", "left \u202eright\u202c \u2067isolate\u2069"),
        ("not characters", "\ufffd \ufffe \uffff \U0010ffff \ue000"),
        ("very long word", "supercalifragilistic" * 20),
        ("long word of 101", "a" * 101),
        ("long run of marks", "!" * 60 + "?" * 60),
        ("special tokens", "[CLS] [SEP] [MASK] [PAD] [UNK]"),
        ("special tokens joined", "x[CLS][SEP]y[MASK]z"),
        ("special tokens nested", "[[CLS]CLS] [C[SEP]LS] [cls] [ CLS]"),
        ("special tokens full width", "\uff3bCLS\uff3d \uff3b\uff33\uff25\uff30\uff3d"),
        ("special tokens of others", "<s> </s> <pad> <unk> <mask> <|endoftext|>"),
        ("template in a field", turn("Response: {response}", "{context}", "Context: \nEvidence: \nResponse: ")),
        ("metaspace in the text", "the\u2581old\u2581song \u2581\u2581"),
        ("word piece marks", "##ing play##ed # ##"),
        ("punctuation", "\"Well,\" (she) said; 'no' - it's 50% off: #1 @home & co. a_b/c\\d e=f*g+h~i^j`k|l"),
        ("quotes and dashes", "\u201cWell\u201d \u2018no\u2019 \u00abok\u00bb \u2014 \u2013 \u2012 \u2022"),
        ("numbers", "3.14159 1,000,000 -42 1e-7 0x1F 12:30 2014-03-01"),
        ("address", "see https://example.org/a?b=c&d=%20#e or mail me@example.org"),
        ("json", "{\"a\": [1, 2, {\"b\": null}]}"),
    ]


# Files to refuse


def write_broken(folder):
    """ONNX files that are sound in themselves and no detectors, or not for every text."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)

    def constant(name, *shape):
        return numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    def tensor(name, kind, *shape):
        return helper.make_tensor_value_info(name, kind, shape)

    def write(name, nodes, inputs, outputs, constants, domains=()):
        graph = helper.make_graph(nodes, name, inputs, outputs, constants)
        opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="grice")
        onnx.checker.check_model(model)
        onnx.save(model, str(folder / f"{name}.onnx"))

    texts_in = [tensor(name, TensorProto.INT64, "batch", "sequence") for name in ("input_ids", "attention_mask")]
    first = numpy_helper.from_array(np.array(0, dtype=np.int64), "first")
    # Mean over the tokens that the mask keeps, but for the division: embed, mask, sum.
    summed = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["kept_wide"]),
        helper.make_node("Mul", ["embedded", "kept_wide"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "middle"], ["pooled"], keepdims=0),
    ]
    axes = [numpy_helper.from_array(np.array([axis], dtype=np.int64), name) for name, axis in (("last", 2), ("middle", 1))]

    write("other_task",
          [helper.make_node("Conv", ["pixels", "kernel"], ["features"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
           helper.make_node("Relu", ["features"], ["active"]),
           helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
           helper.make_node("Flatten", ["pooled"], ["scores"])],
          [tensor("pixels", TensorProto.FLOAT, "batch", 3, 16, 16)], [tensor("scores", TensorProto.FLOAT, "batch", 5)],
          [constant("kernel", 5, 3, 3, 3)])
    write("unsupported_op",
          [*summed, helper.make_node("Frobnicate", ["pooled", "first"], ["odd"], domain="org.example.unknown"),
           helper.make_node("MatMul", ["odd", "columns"], ["logits"])],
          texts_in, [tensor("logits", TensorProto.FLOAT, "batch", 4)],
          [constant("words", 600, 8), constant("columns", 8, 4), first, *axes], ["org.example.unknown"])
    write("wrong_labels", [*summed, helper.make_node("MatMul", ["pooled", "columns"], ["logits"])], texts_in,
          [tensor("logits", TensorProto.FLOAT, "batch", 3)], [constant("words", 600, 8), constant("columns", 8, 3), *axes])
    write("vocab_too_small", [*summed, helper.make_node("MatMul", ["pooled", "columns"], ["logits"])], texts_in,
          [tensor("logits", TensorProto.FLOAT, "batch", 4)], [constant("words", 16, 8), constant("columns", 8, 4), *axes])
    # Not refused: its table of places ends where no manifest says so, and a longer sequence fails inside an operator. Places are counted
    # from the end; a table of positions that are counted from the start is found at load.
    placed = [
        helper.make_node("CumSum", ["attention_mask", "second"], ["counted"], reverse=1),
        helper.make_node("Gather", ["places", "counted"], ["placed"]),
        helper.make_node("Gather", ["words", "input_ids"], ["named"]),
        helper.make_node("Add", ["named", "placed"], ["embedded"]),
    ]
    second = numpy_helper.from_array(np.array(1, dtype=np.int64), "second")
    write("few_positions", [*placed, *summed[1:], helper.make_node("MatMul", ["pooled", "columns"], ["logits"])], texts_in,
          [tensor("logits", TensorProto.FLOAT, "batch", 4)],
          [constant("words", 600, 8), constant("places", 33, 8), constant("columns", 8, 4), second, *axes])


def rounded(values):
    return [[round(float(value), DECIMALS) for value in row] for row in values]


def write_json(path, value):
    """One case a line: a change shows in a diff as the case that changed."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in value)
    path.write_text(f"[\n{lines}\n]\n", encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
