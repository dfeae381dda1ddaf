"""Whether labels have to do with inputs: labels that were moved by rows, and classes of unequal size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data.relating import relation
from netwright.diagnosis.rules import data
from netwright.observations import DataAudit, Observations
from netwright.records import Finding

CENTRES = np.random.default_rng(7).standard_normal((4, 8))


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes around centres, in random order."""
    make = np.random.default_rng(seed)
    labels = make.integers(0, 4, count)
    return CENTRES[labels] + 0.7 * make.standard_normal((count, 8)), labels


@settings(max_examples=12, deadline=None)
@given(st.integers(-3, 3), st.integers(0, 100), st.booleans())
def test_labels_moved_by_some_rows_are_found_and_moved_back(rows: int, seed: int, numbers: bool) -> None:
    inputs, labels = drawn(900, seed)
    targets = inputs[:, :1] + 0.1 * labels[:, None] if numbers else labels
    task, form = ("regression", "values") if numbers else ("classification", "index")
    found = relation(inputs, np.roll(targets, rows, 0), task, form)
    assert found is not None
    assert found.moved == -rows
    told = [one for one in data.noise(Observations(data=DataAudit(relation=found))) if isinstance(one, Finding)]
    assert [one.code for one in told] == (["label-noise"] if rows else [])
    if rows:
        assert ("behind" in told[0].cause) is (rows > 0)


def test_targets_of_windows_that_overlap_are_not_called_moved() -> None:
    """The next value of white noise has nothing to do with the window before it; the last value is in the window."""
    series = np.random.default_rng(0).standard_normal(1200)
    windows = np.lib.stride_tricks.sliding_window_view(series, 9)
    found = relation(windows[:, :8], windows[:, 8:], "regression", "values")
    assert found is not None
    assert (found.moved, found.z < 5) == (0, True)


@pytest.mark.parametrize("count", [900, 12_000])
def test_a_rare_class_is_compared_with_as_many_of_the_others(count: int) -> None:
    """Three in a hundred: no learner does better than never to name them, although the inputs say all there is."""
    make = np.random.default_rng(1)
    labels = (make.random(count) < 0.03).astype(int)
    inputs = make.standard_normal((count, 6))
    inputs[:, 0] += 1.5 * labels
    found = relation(inputs, labels, "classification", "index")
    told = [one for one in data.noise(Observations(data=DataAudit(relation=found))) if isinstance(one, Finding)]
    assert not told
    if count > 1000:
        assert found is not None
        assert found.z > 5
        assert found.chance == pytest.approx(0.5, abs=0.05)
