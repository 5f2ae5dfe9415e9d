"""The installed transformers generates what the committed reference says, which the Rust tests read."""
import json

import pytest

import make_decoding_reference as decoding

REFERENCE = json.loads(decoding.OUT.read_text(encoding="ascii"))


@pytest.mark.parametrize("case", REFERENCE["found"][::10])
def test_searches_are_those_of_the_reference(case):
    resolved, again = decoding.found_case({name: case[name] for name in ("source", "prompt", "toy", "options")})
    assert [row["tokens"] for row in again["found"]] == [row["tokens"] for row in case["found"]]
    for row, expected in zip(again["found"], case["found"]):
        assert row["score"] == pytest.approx(expected["score"], abs=1e-5)
    assert {**REFERENCE["resolved"], **case["resolved"]}.items() <= {**resolved, "transformers_version": REFERENCE["transformers"]}.items()


@pytest.mark.parametrize("case", REFERENCE["sampled"][::4])
def test_draws_are_those_of_the_reference(case):
    _, again = decoding.sampled_case({name: case[name] for name in ("source", "prompt", "toy", "options")})
    assert again["drawn"] == case["drawn"]
    assert again["steps"] == case["steps"]
