"""What needs no network: a linear model, nearest neighbours and boosted trees on the same split, in bounded time.

Whether deep learning pays is decided by what it has to beat.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.data.auditing import class_labels, label_meaning
from netwright.observations.data import Baseline

Array = npt.NDArray[Any]

TRAINED, TESTED = 5000, 2000  # rows at most
TRIED = 400  # rows with which the time for more is estimated
PROJECTED = 512  # random directions that stand for more features (Johnson & Lindenstrauss 1984)
SPLIT_ON, ROUNDS, MOST_ROUNDS = 128, 5, 60  # features of the boosted trees; their rounds, added a few at a time
SECONDS = 6.0  # a learner, about


def baselines(
    inputs: Array,
    targets: Array,
    validation: tuple[Array, Array] | None = None,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
) -> tuple[Baseline, ...]:
    """The scores (accuracy or R²) of what always says the same, and of the learners, on held-out rows.

    Without ``validation`` a third of the rows is held out. Rows with values that are not finite are left out. () where
    there is more than one answer an example, or too little to hold any out. Rows are limited so that a learner takes
    about ``seconds``.
    """
    meaning = label_meaning(targets)
    classes = meaning.task == "classification"
    labels = _answers(targets, meaning.form, classes)
    if labels is None or len(labels) < 10 or inputs.dtype.kind not in "biuf":
        return ()
    x, y = _clean(inputs, labels)
    make = np.random.default_rng(seed)
    if validation is None:
        order = make.permutation(len(y))
        cut = 2 * len(y) // 3
        x_test, y_test, x, y = x[order[cut:]], y[order[cut:]], x[order[:cut]], y[order[:cut]]
    else:
        asked = _answers(validation[1], meaning.form, classes)
        if asked is None:
            return ()
        x_test, y_test = _clean(validation[0], asked)
    rows, tests = make.permutation(len(y))[:TRAINED], make.permutation(len(y_test))[:TESTED]
    x, y, x_test, y_test = x[rows], y[rows], x_test[tests], y_test[tests]
    if len(y) < 5 or len(y_test) < 2 or len(np.unique(y)) < 2:
        return ()
    x, x_test = _scaled(x, x_test)
    few, few_test = _projected(x, x_test, make)
    measure = "accuracy" if classes else "R²"

    def told(name: str, score: float, count: int, began: float) -> Baseline:
        took = time.perf_counter() - began
        return Baseline(
            learner=name, score=score, measure=measure, trained=count, tested=len(y_test), seconds=took
        )  # fmt: skip

    found = [told("always the same", _constant(y, y_test, classes), len(y), time.perf_counter())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of limits on iterations, which are the point
        for name, learner in _learners(classes):
            began = time.perf_counter()
            count = _affordable(learner, few, y, seconds)
            found.append(told(name, float(learner.fit(few[:count], y[:count]).score(few_test, y_test)), count, began))
        began = time.perf_counter()
        found.append(told("boosted trees", _boosted(x, y, x_test, y_test, classes, seconds), len(y), began))
    return tuple(found)


def _learners(classes: bool) -> list[tuple[str, Any]]:
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    if classes:
        return [
            ("logistic regression", LogisticRegression(max_iter=100)),
            ("nearest neighbours", KNeighborsClassifier(5)),
        ]
    return [
        ("linear regression", RidgeCV(np.logspace(-4, 4, 9))),
        ("nearest neighbours", KNeighborsRegressor(5)),
    ]


def _affordable(learner: Any, x: Array, y: Array, seconds: float) -> int:
    """Rows that the learner gets through in the time, as far as a few rows tell (it is at most linear in them)."""
    from sklearn.base import clone

    if len(y) <= 2 * TRIED or len(np.unique(y[:TRIED])) < 2:
        return len(y)
    began = time.perf_counter()
    clone(learner).fit(x[:TRIED], y[:TRIED])
    took = time.perf_counter() - began
    return int(min(len(y), max(TRIED, TRIED * seconds / max(took, 1e-6))))


def _boosted(x: Array, y: Array, x_test: Array, y_test: Array, classes: bool, seconds: float) -> float:
    """Gradient boosting over the features that vary most, as many rounds as the time allows."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    learner = kind(
        max_iter=ROUNDS, max_leaf_nodes=15, max_bins=64, early_stopping=False, random_state=0, warm_start=True
    )
    chosen = np.argsort(-(np.abs(x) > 0.5).mean(0), kind="stable")[:SPLIT_ON]  # of standardised ones: not rare events
    x, x_test = x[:, chosen], x_test[:, chosen]
    began = time.perf_counter()
    while True:
        learner.fit(x, y)
        if learner.max_iter >= MOST_ROUNDS or time.perf_counter() - began > seconds / 2:
            return float(learner.score(x_test, y_test))
        learner.max_iter += ROUNDS


def _answers(targets: Array, form: str, classes: bool) -> Array | None:
    if classes:
        return class_labels(targets, form)  # type: ignore[arg-type]
    return targets.reshape(-1).astype(np.float64) if targets.size == len(targets) else None


def _clean(x: Array, y: Array) -> tuple[Array, Array]:
    flat = x.reshape(len(x), -1)
    kept: Array = np.ones(len(y), bool)
    if flat.dtype.kind == "f":
        kept &= np.isfinite(flat).all(1)
    if y.dtype.kind == "f":
        kept &= np.isfinite(y)
    return flat[kept], y[kept]


def _scaled(x: Array, x_test: Array) -> tuple[Array, Array]:
    x, x_test = x.astype(np.float32), x_test.astype(np.float32)
    deviation = x.std(0)
    varying = deviation > 1e-9
    mean = x[:, varying].mean(0)
    return (x[:, varying] - mean) / deviation[varying], (x_test[:, varying] - mean) / deviation[varying]


def _projected(x: Array, x_test: Array, make: np.random.Generator) -> tuple[Array, Array]:
    if x.shape[1] <= PROJECTED:
        return x, x_test
    directions = (make.standard_normal((x.shape[1], PROJECTED)) / np.sqrt(PROJECTED)).astype(np.float32)
    return x @ directions, x_test @ directions


def _constant(y: Array, y_test: Array, classes: bool) -> float:
    if classes:
        values, counts = np.unique(y, return_counts=True)
        return float((y_test == values[counts.argmax()]).mean())
    return float(1 - ((y_test - y.mean()) ** 2).mean() / max(float(y_test.var()), 1e-30))
