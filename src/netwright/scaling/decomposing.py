"""Predictions of several trainings on the same held-out examples → bias and variance.

Labels are taken as they are: noise in them counts as bias, because one label an example cannot tell the two apart.
Every decomposition adds up to the mean error exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.scaling.records import Decomposition

Array = npt.NDArray[Any]


def of_classes(decisions: Array, labels: Array, classes: int, probabilities: Array | None = None) -> Decomposition:
    """From class indices ``decisions`` (trainings, N), ``labels`` (N,), and ``probabilities`` (trainings, N, classes).

    Domingos 2000, A Unified Bias-Variance Decomposition, theorem 2: at an example whose main prediction (the most
    frequent one; the lowest class of a tie) is right, deviating from it costs; where it is wrong, deviating pays as far
    as it meets the label. Kohavi and Wolpert 1996, Bias Plus Variance Decomposition for Zero-One Loss Functions, with
    the correction of their section 4.2 for few trainings.
    """
    trainings, count = decisions.shape
    votes = np.zeros((count, classes))
    for row in decisions:
        votes[np.arange(count), row] += 1
    shares = votes / trainings
    main = votes.argmax(1)
    hit = shares[np.arange(count), labels]
    biased = main != labels
    deviating = 1 - shares[np.arange(count), main]
    truth = np.zeros_like(shares)
    truth[np.arange(count), labels] = 1
    spare = (shares * (1 - shares)).sum(1) / max(1, trainings - 1)
    kohavi_bias, kohavi_variance = 0.5 * (np.square(truth - shares).sum(1) - spare), 0.5 * trainings * spare
    squared = (None, None) if probabilities is None else _squared(probabilities, truth)
    return Decomposition(
        trainings=trainings, error=float(1 - hit.mean()), bias=float(biased.mean()),
        variance=float(np.where(biased, 0, deviating).mean()), helpful=float(np.where(biased, hit, 0).mean()),
        squared_bias=squared[0], squared_variance=squared[1], kohavi_bias=float(kohavi_bias.mean()),
        kohavi_variance=float(kohavi_variance.mean()),
    )  # fmt: skip


def of_values(predictions: Array, targets: Array, scale: float) -> Decomposition:
    """From ``predictions`` (trainings, N, K) and ``targets`` (N, K), as shares of ``scale``, the targets' variance."""
    share = 1 / (targets.shape[1] * scale)
    bias, variance = (share * part for part in _squared(predictions, targets))
    return Decomposition(
        trainings=len(predictions), error=float(share * np.square(predictions - targets).sum(-1).mean()), bias=bias,
        variance=variance, squared_bias=bias, squared_variance=variance,
    )  # fmt: skip


def _squared(predictions: Array, truth: Array) -> tuple[float, float]:
    """Squared bias and variance, summed over the last axis, means over the examples; both unbiased: the mean of a few
    trainings has a variance of its own, which would count as bias."""
    trainings, middle = len(predictions), predictions.mean(0)
    spare = float(np.square(predictions - middle).sum(-1).mean()) / max(1, trainings - 1)
    return float(np.square(middle - truth).sum(-1).mean()) - spare, spare * trainings
