"""Makes the models that benches/peers.py measures: the two detectors' shapes, with random weights, because speed does not depend on them.

    pip install torch transformers onnx onnxruntime
    python benches/make_models.py OUT_FOLDER [detector mini]

Each model gets a folder with `model.onnx` (fp32) and two int8 files by ONNX Runtime's own dynamic quantization, one scale a channel:
`model_int8.onnx` with weights of 7 bits (its `reduce_range`) and `model_int8_full_range.onnx` with weights of 8 bits. Which of the two
ONNX Runtime runs faster depends on the processor. Files that are there already are kept. `detector` takes 1.3 GB of disk and 5 GB of memory.
"""
import argparse
import sys
from pathlib import Path

import torch
from torch import nn

OPSET = 17
TRACED = (2, 24)
INT8_FILES = {"model_int8.onnx": True, "model_int8_full_range.onnx": False}


def build_detector():
    """GriceBench's encoder: DeBERTa-v3-base."""
    from transformers import DebertaV2Config, DebertaV2Model

    attention = dict(relative_attention=True, position_buckets=256, max_relative_positions=-1, share_att_key=True,
                     pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", position_biased_input=False)
    config = DebertaV2Config(vocab_size=128100, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                             max_position_embeddings=512, type_vocab_size=0, layer_norm_eps=1e-7, **attention)
    return DebertaV2Model(config)


def build_mini():
    """MiniLM-L6, with BERT's whole vocabulary."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=30522, hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12)
    return BertModel(config, add_pooling_layer=False)


ENCODERS = {"detector": build_detector, "mini": build_mini}


class FourHeads(nn.Module):
    """Logits and probabilities `[batch, 4]`, from the encoder's first token."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        width = encoder.config.hidden_size
        sizes = [width, width // 2, width // 4, 1]
        self.heads = nn.ModuleList(head_of(sizes) for _ in range(4))

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = torch.cat([head(hidden[:, 0]) for head in self.heads], dim=-1)
        return logits, logits.sigmoid()


def head_of(sizes):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def export_fp32(name, path):
    torch.manual_seed(0)
    model = FourHeads(ENCODERS[name]()).eval()
    ids = torch.randint(1, model.encoder.config.vocab_size, TRACED)
    both, rows = {0: "batch", 1: "sequence"}, {0: "batch"}
    axes = {"input_ids": both, "attention_mask": both, "logits": rows, "probs": rows}
    # First under another name, so that an interrupted export does not look finished.
    unfinished = path.with_suffix(".part")
    with torch.no_grad():
        torch.onnx.export(model, (ids, torch.ones_like(ids)), str(unfinished), opset_version=OPSET, dynamo=False,
                          input_names=list(axes)[:2], output_names=list(axes)[2:], dynamic_axes=axes)
    unfinished.rename(path)


def quantize(source, path, reduce_range):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    unfinished = path.with_suffix(".part")
    quantize_dynamic(str(source), str(unfinished), weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduce_range)
    unfinished.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENCODERS)} (default: all)")
    args = parser.parse_args()
    unknown = set(args.names) - set(ENCODERS)
    if unknown:
        parser.error(f"no model is called {', '.join(sorted(unknown))}; there are {', '.join(ENCODERS)}")
    for name in args.names or ENCODERS:
        folder = args.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        fp32 = folder / "model.onnx"
        if not fp32.exists():
            export_fp32(name, fp32)
        for file, reduce_range in INT8_FILES.items():
            if not (folder / file).exists():
                quantize(fp32, folder / file, reduce_range)
        print(folder, file=sys.stderr)


if __name__ == "__main__":
    main()
