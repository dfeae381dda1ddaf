"""Labels flipped in training alone are seen by their neighbours; what both parts share is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data.auditing import audit
from netwright.data.contradicting import agreement
from netwright.diagnosing import rejudge
from netwright.observations import Observations

Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def parts(seed: int, rows: int = 900, classes: int = 3, flipped: float = 0.0, both: bool = False) -> Parts:
    """Sectors of a disc; ``flipped``: the share of labels drawn anew among the others."""
    make = np.random.default_rng(seed)
    x = make.standard_normal((rows, 2))
    y = np.floor((np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) + 0.5) * classes).astype(int) % classes
    wrong = make.random(rows) < flipped
    if not both:
        wrong[rows // 2 :] = False
    y[wrong] = (y[wrong] + make.integers(1, classes, wrong.sum())) % classes
    return x[: rows // 2], y[: rows // 2], x[rows // 2 :], y[rows // 2 :]


def told(given_parts: Parts) -> bool:
    return "label-noise" in {f.code for f in rejudge(Observations(data=audit(*given_parts))).findings}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9999), rows=st.integers(300, 1600), classes=st.integers(2, 5), noise=st.floats(0.0, 0.35)
)  # fmt: skip
def test_labels_that_are_as_true_in_both_parts_are_no_finding(seed: int, rows: int, classes: int, noise: float) -> None:
    assert not told(parts(seed, rows, classes, noise, both=True))


@pytest.mark.parametrize("seed", range(4))
def test_flipped_labels_of_training_are_told_and_about_how_many(seed: int) -> None:
    """A vote that is right agrees with a share 1 − ρ of training labels, and with all true ones."""
    planted = parts(seed, 2000, 3, 0.3)
    found = agreement(*planted)
    assert found is not None
    assert 1 - found.training / found.validation == pytest.approx(0.3, abs=0.08)
    assert told(planted)


def test_scale_frequencies_and_copies_make_no_difference() -> None:
    x, y, x_held, y_held = parts(0, 2400)
    rare = (y_held != 2) | (np.arange(len(y_held)) % 6 == 0)
    assert not told((x * (1, 1000), y, x_held[rare] * (1, 1000), y_held[rare]))
    doubled = parts(1, 1200, flipped=0.4)
    copies = agreement(np.tile(doubled[0], (2, 1)), np.tile(doubled[1], 2), *doubled[2:])
    assert copies is not None
    assert copies.training < copies.validation - 0.15  # a copy has no vote on its own label
    x, y, _, _ = parts(2, 1200, flipped=0.4)
    assert not told((x, y, x.copy(), y.copy()))  # nor has it on that of a validation row that is in both parts


def test_too_few_to_say() -> None:
    assert agreement(*parts(0, 60)) is None
    x, y, x_held, y_held = parts(0)
    assert agreement(x, np.zeros_like(y), x_held, y_held) is None
    assert agreement(x[:, :1], y, x_held, y_held) is None
