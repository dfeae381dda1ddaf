"""Confident learning: the counts beside a slow reading of the paper, the estimate, the folds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from netwright.data import confident


def by_the_paper(labels: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equations 1 and 2 of Northcutt et al. 2021, example by example."""
    classes = p.shape[1]
    thresholds = [
        np.mean([row[j] for row, label in zip(p, labels, strict=True) if label == j]) if (labels == j).any() else np.inf
        for j in range(classes)
    ]
    joint = np.zeros((classes, classes), int)
    suggested = np.full(len(labels), -1)
    for n, row in enumerate(p):
        passing = [j for j in range(classes) if row[j] >= thresholds[j]]
        if passing:
            suggested[n] = max(passing, key=lambda j: (row[j], -j))
            joint[labels[n], suggested[n]] += 1
    return joint, suggested


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), count=st.integers(2, 40))
def test_the_confident_joint_is_the_papers(seed: int, classes: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    labels, p = draw.integers(0, classes, count), draw.dirichlet(np.full(classes, 0.5), count)
    found = confident.learn(labels, p)
    joint, suggested = by_the_paper(labels, p)
    assert (found.joint == joint).all()
    assert (found.suggested == suggested).all()
    listed = found.suspects(labels)
    assert set(listed.tolist()) == {n for n in range(count) if suggested[n] not in (-1, labels[n])}
    assert (np.diff(found.score[listed]) <= 0).all()
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert found.noise[1] <= found.noise[2]


def noisy(share: float, seed: int = 0, count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three overlapping Gaussian classes, labels of which ``share`` is wrong, and the true posterior, unlearned."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 3, count)
    x = draw.normal(size=(count, 2)) + 4.0 * np.array([[0, 0], [1, 0], [0, 1]])[true]
    distance = ((x[:, None] - 4.0 * np.array([[0, 0], [1, 0], [0, 1]])) ** 2).sum(2)
    p = np.exp(-distance / 2)
    wrong = draw.random(count) < share
    return np.where(wrong, (true + draw.integers(1, 3, count)) % 3, true), wrong, p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_planted_noise_is_found_and_estimated(share: float) -> None:
    """The posterior knows no label, so what contradicts it is planted but for the classes' own overlap (about 2 %)."""
    labels, wrong, p = noisy(share)
    found = confident.learn(labels, p)
    assert abs(found.noise[0] - wrong.mean()) < 0.025
    assert found.noise[1] <= found.noise[0] <= found.noise[2]
    assert roc_auc_score(wrong, found.score) > 0.97
    listed = found.suspects(labels)
    assert wrong[listed].sum() / wrong.sum() > 0.85
    flipped = confident.learn(labels, p[:, [1, 2, 0]])  # a planted fault: probabilities of other classes
    assert flipped.noise[0] > 0.7


def test_where_nothing_contradicts_the_interval_is_no_point() -> None:
    labels = np.repeat([0, 1], 50)
    p = np.eye(2)[labels] * 0.8 + 0.1
    found = confident.learn(labels, p)
    assert len(found.suspects(labels)) == 0
    assert found.noise[0] == found.noise[1] == 0
    assert 0.03 < found.noise[2] < 0.04  # 1 - 0.025^(1/100): none of a hundred


def test_half_sure_networks_are_no_fault_of_the_labels() -> None:
    """Thresholds are each class's own: scaling one class's probabilities down changes nothing about what is listed."""
    labels, wrong, p = noisy(0.05)
    shy = p * np.array([1.0, 1.0, 0.3])
    shy /= shy.sum(1, keepdims=True)
    plain, less = (set(confident.learn(labels, q).suspects(labels).tolist()) for q in (p, shy))
    assert len(plain & less) > 0.9 * len(plain)
    naive = set(np.flatnonzero(shy.argmax(1) != labels).tolist())
    assert len(less - set(np.flatnonzero(wrong))) <= len(naive - set(np.flatnonzero(wrong)))


@given(seed=st.integers(0, 100), count=st.integers(2, 9), labels=st.lists(st.integers(0, 4), min_size=10, max_size=80))
def test_folds_spread_every_class(seed: int, count: int, labels: list[int]) -> None:
    y = np.asarray(labels)
    found = confident.folds(y, count, seed)
    assert (found == confident.folds(y, count, seed)).all()
    for label in np.unique(y):
        sizes = np.bincount(found[y == label], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    sizes = np.bincount(found, minlength=count)
    assert sizes.max() - sizes.min() <= 1
