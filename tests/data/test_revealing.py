"""A column that tells the target in training alone, and silence where both parts are drawn alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data.auditing import audit
from netwright.data.revealing import _separations, revealing


def parts(seed: int, rows: int = 600, classes: int = 3) -> list[np.ndarray]:
    make = np.random.default_rng(seed)
    x = make.standard_normal((rows, 5))
    y = np.digitize(x[:, 0] + make.standard_normal(rows), (-0.7, 0.7)[: classes - 1])
    return [x[: rows // 2], y[: rows // 2], x[rows // 2 :], y[rows // 2 :]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(60, 500), noise=st.floats(0.0, 1.0), whole=st.booleans())
def test_a_column_that_holds_in_both_parts_is_never_told(seed: int, rows: int, noise: float, whole: bool) -> None:
    """However good it is, and however the validation part was scaled."""
    x, y, x_held, y_held = parts(seed, rows)
    make = np.random.default_rng(seed + 1)
    for inputs, labels, scale in ((x, y, 1.0), (x_held, y_held, 40.0)):
        inputs[:, 2] = scale * (labels + noise * make.standard_normal(len(labels)) + 3)
        inputs[:, 3] = labels if whole else np.round(inputs[:, 3])
    assert revealing(x, y, x_held, y_held, classes=True) is None
    assert revealing(x, x[:, 1] * 2, x_held, x_held[:, 1], classes=False) is None


@pytest.mark.parametrize("kind", ["nothing", "constant"])
def test_a_column_filled_after_the_event_is_found(kind: str) -> None:
    x, y, x_held, y_held = parts(0, classes=2)
    make = np.random.default_rng(1)
    x[:, 4] = np.where(y == 1, make.exponential(5, len(y)), 0.0)
    x_held[:, 4] = 0.0 if kind == "constant" else make.standard_normal(len(y_held))
    found = audit(x, y, x_held, y_held).revealing
    assert found is not None
    assert (found.feature, found.columns) == (4, 1)
    assert found.training == 1.0
    assert found.validation < 0.3


def test_values_are_told_by_their_correlation() -> None:
    x, _, x_held, _ = parts(3)
    make = np.random.default_rng(5)
    target = make.standard_normal(len(x))
    x[:, 1] = -3 * target + 0.01 * make.standard_normal(len(x))
    found = revealing(x, target, x_held, make.standard_normal(len(x_held)), classes=False)
    assert found is not None
    assert found.feature == 1
    assert found.training == pytest.approx(abs(np.corrcoef(x[:, 1], target)[0, 1]))


def test_separation_is_the_best_threshold_tried_one_by_one() -> None:
    make = np.random.default_rng(2)
    rows, positive = make.integers(0, 6, (80, 4)).astype(float), make.random(80) < 0.4
    best = [
        max(abs((c[positive] <= t).mean() - (c[~positive] <= t).mean()) for t in np.unique(c)) for c in rows.T
    ]  # fmt: skip
    assert _separations(rows, positive) == pytest.approx(best)


def test_few_rows_of_a_class_say_nothing() -> None:
    x, y, x_held, y_held = parts(0, classes=2)
    y[:] = 0
    y[:19] = 1
    x[:, 4], x_held[:, 4] = y, 0.0
    assert revealing(x, y, x_held, y_held, classes=True) is None
