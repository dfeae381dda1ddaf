"""Non-maximum suppression: against the definition, and its laws."""

from __future__ import annotations

import math
from typing import Any

import boxes_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright import boxes
from netwright.errors import DataError, UsageError

box = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 6), st.integers(0, 6)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
many = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(box, min_size=n, max_size=n), st.permutations(range(n)), st.permutations(range(n)),
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
    )
)  # fmt: skip
threshold = st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0])


@given(many, threshold)
@settings(max_examples=150, deadline=None)
def test_greedy(rows: Any, limit: float) -> None:
    given, ranks, shuffle, labels = (np.array(part) for part in rows)
    scores = ranks / 50  # distinct
    kept = boxes.nms(given, scores, limit)
    assert kept.tolist() == oracle.suppressed([tuple(row) for row in given.tolist()], scores.tolist(), limit)
    assert (np.diff(scores[kept]) < 0).all()
    # what is kept stays, and its boxes leave each other alone
    assert np.array_equal(boxes.nms(given[kept], scores[kept], limit), np.arange(len(kept)))
    among = boxes.iou(given[kept], given[kept])
    np.fill_diagonal(among, 0)
    assert (among <= limit).all()
    # the order of the boxes does not matter
    assert np.array_equal(shuffle[boxes.nms(given[shuffle], scores[shuffle], limit)], kept)
    assert np.array_equal(boxes.nms(given, scores, limit, top=2), kept[:2])
    # classes one by one
    alone = [np.flatnonzero(labels == k) for k in range(3)]
    expected = np.concatenate([group[boxes.nms(given[group], scores[group], limit)] for group in alone])
    by_class = boxes.nms(given, scores, limit, labels=labels)
    assert sorted(by_class) == sorted(expected)
    assert (np.diff(scores[by_class]) < 0).all()


def test_greedy_over_several_blocks() -> None:
    generator = np.random.default_rng(1)
    given = generator.random((900, 4)) * [8, 8, 1, 1]
    given[:, 2:] += given[:, :2]
    scores = generator.random(900)
    expected = oracle.suppressed([tuple(row) for row in given.tolist()], scores.tolist(), 0.3)
    assert 300 < len(expected) < 800  # more than a block stays, and some go
    assert boxes.nms(given, scores, 0.3).tolist() == expected


def test_equal_scores_keep_their_order() -> None:
    assert boxes.nms([(0, 0, 2, 2)] * 3, [0.5, 0.5, 0.5]).tolist() == [0]


def test_none() -> None:
    assert boxes.nms([], []).tolist() == []
    assert boxes.nms([], [], labels=[]).tolist() == []
    assert boxes.soft_nms([], [])[0].tolist() == []


def test_soft_by_hand() -> None:
    """Two boxes that share a third: the second is lowered, never gone."""
    given, scores = [(0, 0, 2, 2), (1, 0, 3, 2), (9, 9, 10, 10)], [0.9, 0.8, 0.85]
    kept, lowered = boxes.soft_nms(given, scores, sigma=0.5)
    assert kept.tolist() == [0, 2, 1]
    assert lowered == pytest.approx([0.9, 0.85, 0.8 * math.exp(-((1 / 3) ** 2) / 0.5)])
    kept, lowered = boxes.soft_nms(given, scores, decay="linear", threshold=0.3)
    assert lowered == pytest.approx([0.9, 0.85, 0.8 * 2 / 3])
    assert boxes.soft_nms(given, scores, decay="linear", threshold=0.4)[1] == pytest.approx([0.9, 0.85, 0.8])
    assert boxes.soft_nms(given, scores, sigma=0.5, labels=[0, 1, 0])[1] == pytest.approx([0.9, 0.85, 0.8])


@given(many, st.sampled_from(["gaussian", "linear"]))
@settings(max_examples=50, deadline=None)
def test_soft_laws(rows: Any, decay: Any) -> None:
    """Scores only fall, the best keeps its own, and each is the product over those that were taken before it."""
    given, ranks, _, _ = (np.array(part) for part in rows)
    scores = (ranks + 1) / 50
    kept, lowered = boxes.soft_nms(given, scores, decay=decay, threshold=0.3, least=1e-9)
    assert lowered[0] == scores.max()
    assert (lowered <= scores[kept]).all()
    assert (np.diff(lowered) <= 0).all()
    overlap = boxes.iou(given[kept], given[kept])
    factor = np.exp(-(overlap**2) / 0.5) if decay == "gaussian" else 1 - np.where(overlap > 0.3, overlap, 0)
    expected = scores[kept] * [factor[:number, number].prod() for number in range(len(kept))]
    assert lowered == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: boxes.nms([(0, 0, 1, 1)], [0.5], 1.5), "threshold"),
        (lambda: boxes.nms([(0, 0, 1, 1)], [0.5], top=-1), "top"),
        (lambda: boxes.soft_nms([(0, 0, 1, 1)], [0.5], sigma=0), "sigma"),
        (lambda: boxes.soft_nms([(0, 0, 1, 1)], [0.5], least=0), "least"),
        (lambda: boxes.soft_nms([(0, 0, 1, 1)], [-0.5]), "scores"),
        (lambda: boxes.soft_nms([(0, 0, 1, 1)], [0.5], decay="gausian"), "decay"),
    ],
)
def test_wrong_arguments(call: Any, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.where == what


def test_wrong_scores() -> None:
    with pytest.raises(DataError, match="one a box"):
        boxes.nms([(0, 0, 1, 1)], [0.5, 0.6])
    with pytest.raises(DataError, match=r"scores\[0\]: got nan"):
        boxes.nms([(0, 0, 1, 1)], [math.nan])
    with pytest.raises(DataError, match="whole numbers"):
        boxes.nms([(0, 0, 1, 1)], [0.5], labels=[0.5])
