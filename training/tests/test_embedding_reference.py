"""The committed vectors of texts are still what sentence-transformers computes."""
import json

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")

import make_embedding_fixtures as fixtures


@pytest.mark.parametrize("name", fixtures.MODELS)
def test_vectors(name):
    folder = fixtures.OUT / name
    committed, found = json.loads((folder / "reference.json").read_text()), fixtures.reference(folder)
    assert committed["tokens_max"] == found["tokens_max"]
    assert len(committed["cases"]) == len(fixtures.TEXTS)
    for old, new in zip(committed["cases"], found["cases"]):
        assert old["ids"] == new["ids"], old["text"]
        # Another processor's sums, and six decimals in the file.
        assert np.abs(np.array(old["vector"]) - np.array(new["vector"])).max() <= 2e-5, old["text"]
