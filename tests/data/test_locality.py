"""Where neighbours belong together and where not; what learners without a network score."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from netwright.data.baselines import baselines
from netwright.data.locality import locality


def textures(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose class is the direction of their stripes, at any place: local structure and nothing else."""
    make = np.random.default_rng(seed)
    y = make.integers(0, 2, 900)
    phase, grid = make.random((900, 1, 1)) * 6.3, np.arange(12)
    lines = np.where(y[:, None, None] == 1, grid[None, :, None], grid[None, None, :])
    x = np.sin(1.6 * lines + phase) + 2.0 * make.standard_normal((900, 12, 12))
    return x[:, None].astype(np.float32), y


def test_stripes_are_local_and_permuted_stripes_are_not() -> None:
    x, y = textures()
    found = locality(x, y)
    assert found is not None
    assert found.best
    assert found.drop > 5 * found.noise
    mixed = x.reshape(900, -1)[:, np.random.default_rng(1).permutation(144)].reshape(x.shape)
    nothing = locality(mixed, y)
    assert nothing is not None
    assert nothing.drop < 3 * nothing.noise


@pytest.mark.parametrize("seed", range(3))
def test_a_tables_columns_have_no_order(seed: int) -> None:
    x, y = make_classification(1200, 30, n_informative=8, random_state=seed)
    found = locality(x, y)
    assert found is not None
    assert found.drop < 3 * found.noise


def test_real_digits_are_local() -> None:
    digits = load_digits()
    found = locality(digits.images[:, None].astype(np.float32), digits.target)
    assert found is not None
    assert found.drop > 2 * found.noise


def test_sequences_and_values() -> None:
    make = np.random.default_rng(0)
    x = make.standard_normal((1300, 60, 1))
    y = (x[:, 1:, 0] * x[:, :-1, 0]).mean(1)  # how like its neighbour each step is
    found = locality(x, y)
    assert found is not None
    assert found.measure == "R²"
    assert found.best


def test_too_little_for_an_answer() -> None:
    x, y = textures()
    assert locality(x[:50], y[:50]) is None
    assert locality(x[:, :, :3, :3], y) is None
    assert locality(x, np.zeros(900, int)) is None
    assert locality(x, np.random.default_rng(0).random((900, 3))) is None


def test_baselines_are_scikit_learns_on_the_same_rows() -> None:
    x, y = make_classification(900, 12, n_informative=6, random_state=0)
    found = {one.learner: one for one in baselines(x[:600], y[:600], (x[600:], y[600:]), seconds=30)}
    assert found["always the same"].score == pytest.approx((y[600:] == np.bincount(y[:600]).argmax()).mean())
    assert (found["logistic regression"].trained, found["logistic regression"].tested) == (600, 300)
    theirs = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=0)
    own = theirs.fit(x[:600], y[:600]).score(x[600:], y[600:])
    assert found["boosted trees"].score == pytest.approx(own, abs=0.03)


def test_baselines_of_numbers_and_of_nothing() -> None:
    x = np.random.default_rng(0).standard_normal((600, 5))
    found = {one.learner: one for one in baselines(x, x @ [1.0, 2, 0, 0, -1])}
    assert found["linear regression"].measure == "R²"
    assert found["linear regression"].score > 0.99
    assert abs(found["always the same"].score) < 0.05
    assert baselines(x, np.zeros(600, int)) == ()
    assert baselines(x, x[:, :2]) == ()
    x[0, 0] = np.nan
    assert len(baselines(x, (x[:, 1] > 0).astype(int))) == 4
