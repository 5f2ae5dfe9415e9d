"""Turn a `reference.npz` into the `reference.json` that the parity test of full-size models reads.

    python training/reference_json.py FOLDER [FOLDER ...]

Each folder's `reference.npz` holds `input_ids` and `attention_mask` (int64 `[rows, length]`) and PyTorch's `logits`
(float32 `[rows, 4]`); `reference.json` is written beside it. Then `GRICE_FULL_SIZE=PARENT cargo test --release -p grice-cpu --test full_size`.
"""

import json
import sys
from pathlib import Path

import numpy as np

if len(sys.argv) < 2:
    sys.exit(__doc__)
for folder in map(Path, sys.argv[1:]):
    with np.load(folder / "reference.npz") as arrays:
        case = {name: arrays[name].tolist() for name in ("input_ids", "attention_mask")}
        case["logits_pytorch"] = arrays["logits"].tolist()
    (folder / "reference.json").write_text(json.dumps([case]))
