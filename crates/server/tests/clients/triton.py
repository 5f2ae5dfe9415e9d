"""Drives a grice server with the public Triton HTTP client, unmodified.

    python triton.py HOST:PORT EXPECTED.json [MODEL]

EXPECTED.json holds turns with the token ids and probabilities that `grice detect` gives. Exits 1 at the first difference.
"""
import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

checks = 0


def check(what, condition):
    global checks
    if not condition:
        sys.exit(f"failed: {what}")
    checks += 1


def texts(name, values, binary):
    tensor = triton.InferInput(name, [len(values), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[value.encode()] for value in values], dtype=np.object_), binary_data=binary)
    return tensor


def numbers(name, rows, binary):
    array = np.array(rows, dtype=np.int64)
    tensor = triton.InferInput(name, list(array.shape), "INT64")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def main(url, path, model="tiny-bert"):
    expected = json.load(open(path, encoding="utf-8"))
    turns = [row["turn"] for row in expected]
    probabilities = np.array([row["probabilities"] for row in expected], dtype=np.float32)
    client = triton.InferenceServerClient(url)

    check("live", client.is_server_live())
    check("ready", client.is_server_ready() and client.is_model_ready(model))
    check("index", model in [entry["name"] for entry in client.get_model_repository_index()])
    metadata = client.get_model_metadata(model)
    check("metadata", [output["name"] for output in metadata["outputs"]] == ["logits", "probabilities"])
    check("version", client.is_model_ready(model, metadata["versions"][0]))
    check("config", client.get_model_config(model)["max_batch_size"] > 0)

    # One at a time: to the last bit what the command line gives.
    for row, turn in enumerate(turns):
        inputs = [texts(name, [turn.get(name) or ""], True) for name in ("context", "evidence", "response")]
        found = client.infer(model, inputs).as_numpy("probabilities")
        if found.tolist() != probabilities[row : row + 1].tolist():
            sys.exit(f"failed: turn {row}: {found} is not {probabilities[row]}")
    check("texts one at a time, binary", True)

    # Together, in the four ways that tensors travel. Sums in another order may differ in their last bits.
    for binary_in in (True, False):
        for binary_out in (True, False):
            inputs = [texts(name, [turn.get(name) or "" for turn in turns], binary_in) for name in ("context", "evidence", "response")]
            asked = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "logits")]
            answer = client.infer(model, inputs, outputs=asked, request_id="seven")
            found = answer.as_numpy("probabilities")
            same = np.allclose(found, probabilities, rtol=0, atol=1e-6) and answer.get_response()["id"] == "seven"
            if not (same and answer.as_numpy("logits").shape == found.shape):
                sys.exit(f"failed: binary in {binary_in}, out {binary_out}: {found}")
    check("texts together", True)

    length = max(len(row["ids"]) for row in expected)
    ids = [row["ids"] + [0] * (length - len(row["ids"])) for row in expected]
    mask = [[1] * len(row["ids"]) + [0] * (length - len(row["ids"])) for row in expected]
    for binary in (True, False):
        found = client.infer(model, [numbers("input_ids", ids, binary), numbers("attention_mask", mask, binary)])
        if not np.allclose(found.as_numpy("probabilities"), probabilities, rtol=0, atol=1e-6):
            sys.exit(f"failed: tokens, binary {binary}")
    check("tokens", True)

    for what, call in [
        ("an unknown model", lambda: client.infer("other", [texts("response", ["a"], True)])),
        ("an empty response", lambda: client.infer(model, [texts("response", [""], True)])),
        ("an unknown input", lambda: client.infer(model, [texts("answer", ["a"], True)])),
    ]:
        try:
            call()
            sys.exit(f"failed: {what} is taken")
        except InferenceServerException as error:
            check(what, error.message())
    print(f"{checks} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
