"""Drives a grice server with the public Triton clients, unmodified, by HTTP and by gRPC.

    python triton.py HOST:PORT EXPECTED.json [MODEL [KEY]]

EXPECTED.json holds turns with the token ids and probabilities that `grice detect` gives. Exits 1 at the first difference.
"""
import json
import queue
import sys
import time

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

LABELS = ["manner", "quantity", "relation", "quality"]
checks = 0


def check(what, condition):
    global checks
    if not condition:
        sys.exit(f"failed: {what}")
    checks += 1


class Http:
    """The client, and what differs between the two."""

    name = "http"
    triton = tritonclient.http
    packings = [{"request_compression_algorithm": one, "response_compression_algorithm": one} for one in ("gzip", "deflate")]
    travels = [{"binary_data": True}, {"binary_data": False}]

    def __init__(self, url, headers):
        self.client = self.triton.InferenceServerClient(url)
        self.headers = headers

    def text_of(self, value):
        return value

    def index(self):
        return [entry["name"] for entry in self.client.get_model_repository_index(headers=self.headers)]

    def output_names(self, metadata):
        return [output["name"] for output in metadata["outputs"]]

    def version(self, metadata):
        return metadata["versions"][0]

    def max_batch(self, model):
        return self.client.get_model_config(model, headers=self.headers)["max_batch_size"]

    def extensions(self):
        return self.client.get_server_metadata(headers=self.headers)["extensions"]

    def statistics(self, *of):
        return self.client.get_inference_statistics(*of, headers=self.headers)["model_stats"]

    def id_of(self, answer):
        return answer.get_response()["id"]


class Grpc(Http):
    name = "grpc"
    triton = tritonclient.grpc
    packings = [{"compression_algorithm": one} for one in ("gzip", "deflate")]
    travels = [{}]

    def index(self):
        return [entry.name for entry in self.client.get_model_repository_index(headers=self.headers).models]

    def output_names(self, metadata):
        return [output.name for output in metadata.outputs]

    def version(self, metadata):
        return metadata.versions[0]

    def max_batch(self, model):
        return self.client.get_model_config(model, headers=self.headers).config.max_batch_size

    def extensions(self):
        return list(self.client.get_server_metadata(headers=self.headers).extensions)

    def statistics(self, *of):
        found = self.client.get_inference_statistics(*of, headers=self.headers, as_json=True)
        return found["model_stats"]

    def id_of(self, answer):
        return answer.get_response().id


def texts(side, name, values, travel):
    tensor = side.triton.InferInput(name, [len(values), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[value.encode()] for value in values], dtype=np.object_), **travel)
    return tensor


def numbers(side, name, rows, travel):
    array = np.array(rows, dtype=np.int64)
    tensor = side.triton.InferInput(name, list(array.shape), "INT64")
    tensor.set_data_from_numpy(array, **travel)
    return tensor


def fields(side, turns, travel):
    return [texts(side, name, [turn.get(name) or "" for turn in turns], travel) for name in ("context", "evidence", "response")]


def close(found, expected):
    return np.allclose(found, expected, rtol=0, atol=1e-6)


def check_questions(side, model):
    """Everything but inference."""
    client, headers = side.client, side.headers
    check("live", client.is_server_live())
    check("ready", client.is_server_ready() and client.is_model_ready(model, headers=headers))
    check("an unknown model is not ready", not client.is_model_ready("other", headers=headers))
    check("index", model in side.index())
    metadata = client.get_model_metadata(model, headers=headers)
    check("metadata", side.output_names(metadata) == ["logits", "probabilities", "unknown_share"])
    check("version", client.is_model_ready(model, side.version(metadata), headers=headers))
    check("config", side.max_batch(model) > 0)
    check("extensions", {"statistics", "classification"} <= set(side.extensions()))


def check_numbers(side, model, expected):
    """The numbers of the command line, in every way that tensors travel."""
    turns = [row["turn"] for row in expected]
    probabilities = np.array([row["probabilities"] for row in expected], dtype=np.float32)
    # A copy: the HTTP client adds to what it is given.
    infer = lambda *given, **more: side.client.infer(*given, headers=dict(side.headers), **more)

    # One at a time: to the last bit.
    for row, turn in enumerate(turns):
        found = infer(model, fields(side, [turn], side.travels[0])).as_numpy("probabilities")
        if found.tolist() != probabilities[row : row + 1].tolist():
            sys.exit(f"failed: turn {row}: {found} is not {probabilities[row]}")
    check("texts one at a time", True)

    # Together. Sums in another order may differ in their last bits.
    for travel in side.travels:
        for back in side.travels:
            asked = [side.triton.InferRequestedOutput(name, **back) for name in ("probabilities", "logits")]
            answer = infer(model, fields(side, turns, travel), outputs=asked, request_id="seven")
            found = answer.as_numpy("probabilities")
            if not (close(found, probabilities) and side.id_of(answer) == "seven" and answer.as_numpy("logits").shape == found.shape):
                sys.exit(f"failed: {side.name} {travel} {back}: {found}")
    check("texts together", True)

    length = max(len(row["ids"]) for row in expected)
    ids = [row["ids"] + [0] * (length - len(row["ids"])) for row in expected]
    mask = [[1] * len(row["ids"]) + [0] * (length - len(row["ids"])) for row in expected]
    for travel in side.travels:
        found = infer(model, [numbers(side, "input_ids", ids, travel), numbers(side, "attention_mask", mask, travel)])
        if not close(found.as_numpy("probabilities"), probabilities):
            sys.exit(f"failed: tokens {travel}")
    check("tokens", True)

    # Many rows, so that answers are packed as well.
    for packing in side.packings:
        for travel in side.travels:
            found = infer(model, fields(side, turns * 40, travel), **packing).as_numpy("probabilities")
            if not close(found, np.tile(probabilities, (40, 1))):
                sys.exit(f"failed: {packing} {travel}")
    check("packed", True)

    for travel in side.travels:
        asked = [side.triton.InferRequestedOutput("probabilities", class_count=2, **travel)]
        found = infer(model, fields(side, turns, side.travels[0]), outputs=asked).as_numpy("probabilities")
        for row, classes in enumerate(found):
            places = np.argsort(-probabilities[row], kind="stable")[:2]
            for place, text in zip(places, classes):
                value, index, label = (text.decode() if isinstance(text, bytes) else text).split(":")
                same = (int(index), label) == (place, LABELS[place]) and abs(float(value) - probabilities[row][place]) < 1e-6
                if not same:
                    sys.exit(f"failed: classes of turn {row}: {found[row]}")
        if found.shape != (len(turns), 2):
            sys.exit(f"failed: classes have the shape {found.shape}")
    check("class_count", True)


def check_refusals(side, model):
    text = lambda name, value: [texts(side, name, [value], side.travels[0])]
    # A copy: the HTTP client adds to what it is given.
    infer = lambda *given, **more: side.client.infer(*given, headers=dict(side.headers), **more)
    shared = side.triton.InferInput("response", [1, 1], "BYTES")
    shared.set_shared_memory("a region", 16)
    for what, words, call in [
        ("an unknown model", "`other`", lambda: infer("other", text("response", "a"))),
        ("an empty response", "`response` is empty", lambda: infer(model, text("response", ""))),
        ("an unknown input", "`answer`", lambda: infer(model, text("answer", "a"))),
        ("an unknown output", "`labels`", lambda: infer(model, text("response", "a"), outputs=[side.triton.InferRequestedOutput("labels")])),
        ("a sequence", "`sequence_", lambda: infer(model, text("response", "a"), sequence_id=7, sequence_start=True)),
        ("a priority", "`priority`", lambda: infer(model, text("response", "a"), priority=1)),
        ("shared memory", "shared_memory", lambda: infer(model, [shared])),
        ("no key", "API key", lambda: side.client.infer(model, text("response", "a"))),
    ]:
        try:
            call()
            sys.exit(f"failed: {side.name}: {what} is taken")
        except InferenceServerException as error:
            if words not in (error.message() or ""):
                sys.exit(f"failed: {side.name}: {what}: {error}")
    check("refusals", True)


def check_statistics(side, model, expected):
    """Two requests with three new turns, one with known ones."""
    count = lambda found, name: int(found["inference_stats"][name].get("count", 0))
    before = side.statistics(model)[0]
    new = [{"response": f"{row['turn']['response']} By {side.name} at {time.time()}."} for row in expected]
    infer = lambda turns: side.client.infer(model, fields(side, turns, side.travels[0]), headers=dict(side.headers))
    infer(new[:1])
    infer(new[1:])
    infer(new)
    after = side.statistics(model, before["version"])[0]
    grown = lambda name: int(after[name]) - int(before[name])
    grown_in = lambda name: count(after, name) - count(before, name)
    if (grown("inference_count"), grown_in("success"), grown_in("cache_hit"), grown_in("compute_infer")) != (len(new), 3, 1, 2):
        sys.exit(f"failed: {side.name}: {before} → {after}")
    batches = sum(int(batch["compute_infer"]["count"]) for batch in after["batch_stats"])
    check("statistics", batches == int(after["execution_count"]) and grown("execution_count") >= 2)
    check("statistics of all", [found["name"] for found in side.statistics()] == [model])


def check_stream(side, model, expected):
    answers = queue.Queue()
    side.client.start_stream(callback=lambda result, error: answers.put((result, error)), headers=side.headers)
    for place, row in enumerate(expected):
        side.client.async_stream_infer(model, fields(side, [row["turn"]], {}), request_id=str(place), enable_empty_final_response=True)
    side.client.async_stream_infer("other", fields(side, [expected[0]["turn"]], {}), request_id="wrong")
    for place, row in enumerate(expected):
        result, error = answers.get(timeout=30)
        check(f"stream {place}", error is None and close(result.as_numpy("probabilities")[0], row["probabilities"]))
    result, error = answers.get(timeout=30)
    check("what is wrong on a stream is named", result is None and "`other`" in error.message())
    side.client.stop_stream()


def main(url, path, model="tiny-bert", key="the-only-key"):
    expected = json.load(open(path, encoding="utf-8"))
    for side in (Http(url, {"Authorization": f"Bearer {key}"}), Grpc(url, {"authorization": f"Bearer {key}"})):
        check_questions(side, model)
        check_numbers(side, model, expected)
        check_refusals(side, model)
        check_statistics(side, model, expected)
        if isinstance(side, Grpc):
            check_stream(side, model, expected)
    try:
        grpc = Grpc(url, {})
        grpc.client.get_model_metadata(model)
        sys.exit("failed: gRPC without a key")
    except InferenceServerException as error:
        check("a call without a key", error.status() == "StatusCode.UNAUTHENTICATED")
    print(f"{checks} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
