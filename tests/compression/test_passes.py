"""The language of a chain: what it means, and what it says of words that it does not know."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import compression_law as law
from netwright.compression import heal, passes
from netwright.compression.passes import Context
from netwright.errors import DataError, UsageError


def test_a_chain_is_its_steps() -> None:
    steps = passes.parse("heal=3  heal")
    assert [step.options for step in steps] == [heal.Options(epochs=3), heal.Options()]
    assert passes.written(steps) == "heal=3 heal"
    assert passes.parse("heal:epochs=2")[0].options.epochs == 2


@pytest.mark.parametrize(
    ("chain", "where", "hint"),
    [
        ("heel=3", "compress", "heal"),
        ("heal=three", "compress: heal: epochs", ""),
        ("heal=0", "compress: heal: epochs", ""),
        ("heal=1:epoch=3", "compress: heal", "epochs=VALUE"),
        ("heal=1:epochs=3", "compress: heal", ""),
        ("heal=", "compress: heal=", "heal alone"),
        ("", "compress", "prune=channels:macs=0.5 heal=1"),
    ],
)
def test_a_wrong_word_is_named_with_the_nearest(chain: str, where: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        passes.parse(chain)
    error = caught.value
    assert error.where == where
    assert hint in (error.suggestion, error.expected.rpartition(", or ")[2]) or not hint


@given(st.text(string.ascii_letters + string.digits + "=:,.+-_ ", max_size=30))
def test_any_text_is_a_chain_or_a_usage_error(text: str) -> None:
    try:
        steps = passes.parse(text)
    except UsageError:
        return
    assert passes.parse(passes.written(steps)) == steps


def test_nothing_is_invented_where_there_are_no_data() -> None:
    bare = Context(example=(4,))
    with pytest.raises(DataError, match="calibration"):
        bare.calibration()
    with pytest.raises(DataError):
        bare.score(nn.Identity())
    with pytest.raises(UsageError, match="heal"):
        bare.heal(nn.Identity(), 1)


def test_healing_keeps_the_law_and_learns() -> None:
    given_context = law.context((12,))
    build = lambda: nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))  # noqa: E731
    network, _ = law.holds(build, "heal=20", given_context)
    assert given_context.score(network)["accuracy"] > 0.9
