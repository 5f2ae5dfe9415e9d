"""Scores without a model: words the evidence lacks, and length relative to what was asked."""
import measures


def test_absent_words():
    assert measures.absent_share("It came out in 1977.", "It came out in 1977, they say.") == 0
    assert measures.absent_share("Cats sleep.", "It came out in 1977.") == 1
    assert measures.absent_share("...", "anything") == 0
    assert measures.unsupported("Cats sleep.", "It came out in 1977.") > 0.9 > 0.2 > measures.unsupported("It came out.", "It came out in 1977.")


def test_length_is_judged_by_what_was_asked():
    asked = "word " * 20
    right, long, short = "word " * 30, "word " * 200, "ok"
    assert measures.excess(right, asked) == 0
    assert measures.wrong_length(right, asked) < 0.1 < measures.wrong_length(short, asked) < 0.5 < 0.8 < measures.wrong_length(long, asked)
    assert measures.wrong_length(long, "word " * 300) < 0.5
    assert measures.wrong_length(short, asked, least=0.9) > 0.5
