"""Bias and variance against their definitions, example by example, and as laws over random predictions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.scaling import decomposing


def drawn(seed: int, trainings: int, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    decisions = np.where(
        generator.random((trainings, count)) < 0.6, labels, generator.integers(0, classes, (trainings, count))
    )
    return decisions, labels


def by_hand(decisions: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Domingos' bias, unbiased and biased net variance by his theorem 2, with plain loops."""
    bias = variance = helpful = 0.0
    for column, label in zip(decisions.T.tolist(), labels.tolist()):
        counts = Counter(column)
        main = min(counts, key=lambda value: (-counts[value], value))
        off = [value for value in column if value != main]
        share = len(off) / len(column)
        if main == label:
            variance += share
        else:
            bias += 1
            # c2 = -P(y = t | y ≠ main): of the deviating predictions those that meet the label
            helpful += share * (off.count(label) / len(off) if off else 0.0)
    return bias / len(labels), variance / len(labels), helpful / len(labels)


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 40), st.integers(2, 6))
@settings(max_examples=80, deadline=None)
def test_decompositions_of_classes_add_up_and_follow_their_definitions(
    seed: int, trainings: int, count: int, classes: int
) -> None:
    decisions, labels = drawn(seed, trainings, count, classes)
    found = decomposing.of_classes(decisions, labels, classes)
    assert (found.bias, found.variance, found.helpful) == pytest.approx(by_hand(decisions, labels))
    assert found.error == pytest.approx((decisions != labels).mean())
    assert found.bias + found.variance - found.helpful == pytest.approx(found.error)
    assert found.kohavi_bias is not None
    assert found.kohavi_variance is not None
    assert found.kohavi_bias + found.kohavi_variance == pytest.approx(found.error)


@given(st.integers(0, 2**32), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_squared_decompositions_add_up(seed: int, trainings: int) -> None:
    generator = np.random.default_rng(seed)
    targets = generator.standard_normal((30, 2))
    predictions = targets + generator.standard_normal((trainings, 30, 2))
    found = decomposing.of_values(predictions, targets, 4.0)
    assert found.error == pytest.approx(np.square(predictions - targets).mean() / 4)
    assert found.bias + found.variance == pytest.approx(found.error)
    probabilities = generator.dirichlet(np.ones(3), (trainings, 30))
    labels = generator.integers(0, 3, 30)
    brier = decomposing.of_classes(probabilities.argmax(2), labels, 3, probabilities)
    assert brier.squared_bias is not None
    assert brier.squared_variance is not None
    loss = np.square(probabilities - np.eye(3)[labels]).sum(2).mean()
    assert brier.squared_bias + brier.squared_variance == pytest.approx(loss)


def test_a_planted_bias_and_variance_are_found_without_the_bias_of_few_trainings() -> None:
    """Three trainings only: the plain estimate of the squared bias would be 0.25 + 1/3."""
    generator = np.random.default_rng(0)
    targets = generator.standard_normal((20_000, 1))
    predictions = targets + 0.5 + generator.standard_normal((3, 20_000, 1))
    found = decomposing.of_values(predictions, targets, 1.0)
    assert found.bias == pytest.approx(0.25, abs=0.02)
    assert found.variance == pytest.approx(1.0, abs=0.03)


def test_kohavi_and_wolpert_are_unbiased_for_few_trainings() -> None:
    """Each prediction is right with 0.7: squared bias ½(0.3² + 0.3²), variance ½(1 - 0.7² - 0.3²); two trainings."""
    generator = np.random.default_rng(1)
    labels = np.zeros(40_000, np.int64)
    decisions = (generator.random((2, 40_000)) > 0.7).astype(np.int64)
    found = decomposing.of_classes(decisions, labels, 2)
    assert found.kohavi_bias == pytest.approx(0.09, abs=0.005)
    assert found.kohavi_variance == pytest.approx(0.21, abs=0.005)
