"""Learners that need no network, each of which chooses what it has to by the validation part.

Pictures: histograms of gradients and Gabor energies under a linear machine (support vectors for classes, ridge for
values), and nearest neighbours of the pixels. All else: a linear model, nearest neighbours, boosted trees.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from netwright.classical import gabor, hog

Array = npt.NDArray[Any]
Task = Literal["classification", "regression"]

COSTS = (0.1, 1.0, 10.0)  # of a linear machine's errors, for rows of length about one
ENOUGH = 0.01  # tolerance of the linear machines (LIBLINEAR's own default for this solver is 0.1)
NEIGHBOURS = (1, 3, 5, 9, 17)
RIDGES = np.logspace(-4, 4, 9)
CHOSEN_ON = 4000  # training rows at most where a choice is made
ROUNDS = 60  # of boosting
NEAR = 1 << 22  # distances at a time
MOST_SPLIT_ON = 512  # features, above which boosted trees take too long
LEAST_SIDE = 8  # pixels, below which pictures are numbers


@dataclasses.dataclass(frozen=True)
class Learnt:
    """``predict``: rows of features → class indices (N,) or values (N, K). ``choice`` in words."""

    predict: Callable[[Array], Array]
    choice: str = ""


@dataclasses.dataclass(frozen=True)
class Learner:
    """``features``: inputs (N, ...) → rows (N, F), computed once; ``learn``: (x, y, x and y to choose by, task)."""

    name: str
    features: Callable[[Array], Array]
    learn: Callable[[Array, Array, Array, Array, Task], Learnt]


def learners(shape: Sequence[int], picture: bool) -> list[Learner]:
    """What suits inputs of ``shape``, the features' own included."""
    if picture and len(shape) == 3 and min(shape[1:]) >= LEAST_SIDE:
        return [
            Learner("HOG + linear SVM", hog.features, linear),
            Learner("Gabor + linear SVM", gabor.features, linear),
            Learner("nearest neighbours", flat, neighbours),
        ]
    plain = [Learner("linear model", flat, linear), Learner("nearest neighbours", flat, neighbours)]
    return [*plain, Learner("boosted trees", flat, trees)] if math.prod(shape) <= MOST_SPLIT_ON else plain


def flat(inputs: Array) -> Array:
    return np.ascontiguousarray(inputs.reshape(len(inputs), -1), np.float32)


def linear(x: Array, y: Array, x_held: Array, y_held: Array, task: Task) -> Learnt:
    """A linear support vector machine (one against the rest, squared hinge; Fan et al. 2008, LIBLINEAR), or ridge
    regression. Features are standardised; the cost is the one with the fewest errors on the held-out rows."""
    from sklearn.linear_model import RidgeCV
    from sklearn.svm import LinearSVC

    mean, deviation = x.mean(0), x.std(0)
    scale = 1 / (np.where(deviation > 1e-6, deviation, np.inf) * np.sqrt(x.shape[1]))  # rows of length about one

    def scaled(rows: Array) -> Array:
        found: Array = (rows - mean) * scale
        return found

    if task == "regression":
        ridge = RidgeCV(RIDGES).fit(scaled(x), y)
        return Learnt(lambda rows: _columns(ridge.predict(scaled(rows))), f"ridge {float(ridge.alpha_):g}")

    def machine(cost: float, count: int) -> Any:
        found = LinearSVC(C=cost, dual="auto", tol=ENOUGH, max_iter=300, random_state=0)
        return found.fit(scaled(x[:count]), y[:count])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of limits on iterations, which are the point
        if len(np.unique(y)) < 2:
            return Learnt(lambda rows: np.full(len(rows), y[0]), "one class only")
        few = min(len(y), CHOSEN_ON)
        cost = 1.0
        if len(y_held) and len(np.unique(y[:few])) > 1:
            made = {each: machine(each, few) for each in COSTS}
            cost = min(COSTS, key=lambda each: (float((made[each].predict(scaled(x_held)) != y_held).mean()), each))
            found = made[cost] if few == len(y) else machine(cost, len(y))
        else:
            found = machine(cost, len(y))
    return Learnt(lambda rows: np.asarray(found.predict(scaled(rows))), f"cost {cost:g}")


def neighbours(x: Array, y: Array, x_held: Array, y_held: Array, task: Task) -> Learnt:
    """The most frequent class (the nearest one's where several are) or the mean of the k nearest rows, by Euclid's
    distance; k is the one with the least error on the held-out rows. Cost of a prediction: a product with all rows."""
    most = [k for k in NEIGHBOURS if k <= len(y)] or [1]
    squares = np.square(x).sum(1)

    def nearest(rows: Array) -> Array:
        """Indices (N, k) of the nearest rows, the nearest one first."""
        step, found = max(1, NEAR // len(x)), []
        for start in range(0, len(rows), step):
            apart = squares - 2 * (rows[start : start + step] @ x.T)
            near = np.argpartition(apart, most[-1] - 1, axis=1)[:, : most[-1]]
            order = np.argsort(np.take_along_axis(apart, near, 1), axis=1, kind="stable")
            found.append(np.take_along_axis(near, order, 1))
        return np.concatenate(found) if found else np.zeros((0, most[-1]), np.int64)

    def told(near: Array, k: int) -> Array:
        votes: Array = y[near[:, :k]]
        if task == "classification":
            counts = (votes[:, :, None] == votes[:, None, :]).sum(2)
            votes = votes[np.arange(len(votes)), counts.argmax(1)]
        return votes if task == "classification" else np.asarray(votes.mean(1))

    near = nearest(x_held)
    chosen = 1 if not len(y_held) else min(most, key=lambda k: _wrong(told(near, k), y_held, task))
    return Learnt(lambda rows: told(nearest(rows), chosen), f"k = {chosen}")


def trees(x: Array, y: Array, x_held: Array, y_held: Array, task: Task) -> Learnt:
    """Gradient boosting of small trees over binned features, one machine a value."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    options: dict[str, Any] = {"max_iter": ROUNDS, "max_leaf_nodes": 15, "early_stopping": False, "random_state": 0}
    if task == "classification":
        if len(np.unique(y)) < 2:
            return Learnt(lambda rows: np.full(len(rows), y[0]), "one class only")
        machine = HistGradientBoostingClassifier(**options).fit(x, y)
        return Learnt(lambda rows: np.asarray(machine.predict(rows)), f"{ROUNDS} rounds")
    each = [HistGradientBoostingRegressor(**options).fit(x, column) for column in y.T]
    return Learnt(lambda rows: np.stack([one.predict(rows) for one in each], 1), f"{ROUNDS} rounds")


def _columns(values: Array) -> Array:
    return values if values.ndim == 2 else values[:, None]


def _wrong(told: Array, truth: Array, task: Task) -> float:
    return float((told != truth).mean() if task == "classification" else np.square(told - truth).mean())
