"""The beginning of a report: its interval of a share."""

import math

import pytest

from netwright.records import RunSummary
from netwright.reporting import heading, sentences


def test_wilsons_interval_agrees_with_known_values() -> None:
    assert heading.wilson(0, 0) == (0.0, 1.0)
    assert heading.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-3)  # Newcombe (1998), table I
    assert heading.wilson(10, 10)[1] == 1.0


def test_a_language_model_is_told_in_nats_bits_and_perplexity() -> None:
    """ln 2 nats are one bit and a choice of two; ln 10 a choice of ten."""
    said = sentences.surprise("validation", math.log(2), "character")
    assert said == "0.693 nats a character (1.000 bits, perplexity 2.00) on the held-out text"
    assert "perplexity 10.0)" in sentences.surprise("train", math.log(10), "word")
    run = RunSummary(
        name="book-0001", directory="", state="finished", network="lstm", source="book.txt", epochs=2,
        metrics={"validation": {"loss": 1.543, "accuracy": 0.55}},
    )  # fmt: skip
    headline = sentences.headline(run, unit="character")
    assert "1.543 nats a character" in headline
    assert "right" not in headline
    assert "55.0 % of the held-out examples are right" in sentences.headline(run)  # every other classification
