"""Whether labels have to do with inputs at all: simple learners against the same predictions with permuted labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.observations.data import Relation

Array = npt.NDArray[Any]

TRAINED = 2000  # rows that the learners see
TESTED = 1000
LEAST = 60  # rows without which nothing can be said
PIECE = 1 << 18  # numbers that are in double precision at once
PROJECTED = 128  # random directions that stand for more features (Johnson & Lindenstrauss 1984)
NEIGHBOURS = 5
RIDGE = 1e-2  # of the mean power of the features
CLEAR = 5.0  # standard deviations beyond permuted labels at which no other learner needs to be asked
TREES = 50


def relation(inputs: Array, targets: Array, task: str, form: str, *, seed: int = 0) -> Relation | None:
    """The best of nearest neighbours, a linear model and, where those see nothing, a forest; None where there is too
    little to tell, or more than one answer an example.

    Under the null hypothesis (labels permuted) the score of fixed predictions has a known mean and deviation, so ``z``
    needs no further training.
    """
    labels = _labels(targets, task, form)
    if labels is None or len(inputs) != len(labels) or len(labels) < LEAST or inputs.dtype.kind not in "biuf":
        return None
    make = np.random.default_rng(seed)
    rows = make.permutation(len(labels))[: TRAINED + TESTED]
    half = min(TRAINED, 2 * len(rows) // 3)
    x = inputs[rows].reshape(len(rows), -1)
    y = labels[rows]
    kept: Array = np.asarray(np.isfinite(x).all(1))
    if y.dtype.kind == "f":
        kept &= np.isfinite(y)
    if not kept.all():
        x, y, half = x[kept], y[kept], int(kept[:half].sum())
    if not half or len(y) < LEAST or len(np.unique(y)) < 2:
        return None
    mean = x[:half].mean(0, dtype=np.float64)
    deviation = np.sqrt(sum(((piece - mean) ** 2).sum(0) for piece in _pieces(x[:half])) / half)
    varying = deviation > 1e-12
    if not varying.any():
        return None
    directions = np.diag(1 / deviation[varying])
    if len(directions) > PROJECTED:
        directions = make.standard_normal((len(directions), PROJECTED)) / np.sqrt(PROJECTED) / deviation[varying, None]
    x = np.concatenate([(piece[:, varying] - mean[varying]) @ directions for piece in _pieces(x)])
    train, test, known, asked = x[:half], x[half:], y[:half], y[half:]
    classes = task == "classification"
    found: list[tuple[float, float, float, str]] = []
    for name, learner in (("nearest neighbours", _neighbours), ("a linear model", _linear), ("a forest", _forest)):
        predicted = learner(train, known, test, classes)
        found.append((*_against_permuted(predicted, asked, classes), name))
        if found[-1][0] > CLEAR:
            break
    z, score, chance, name = max(found)
    return Relation(
        learner=name, score=score, chance=chance, z=z, trained=half, tested=len(asked),
        learners=tuple(item[-1] for item in found),
    )  # fmt: skip


def _pieces(rows: Array) -> Iterator[Array]:
    """In double precision one after the other: the whole would be eight times a picture's memory."""
    step = max(1, PIECE // max(1, rows[:1].size))
    for start in range(0, len(rows), step):
        yield rows[start : start + step].astype(np.float64)


def _labels(targets: Array, task: str, form: str) -> Array | None:
    if task == "classification":
        from netwright.data.auditing import class_labels

        return class_labels(targets, form)  # type: ignore[arg-type]
    if task == "regression" and targets.size == len(targets):
        return targets.reshape(-1).astype(np.float64)
    return None


def _against_permuted(predicted: Array, asked: Array, classes: bool) -> tuple[float, float, float]:
    """(z, score, chance)."""
    count = len(asked)
    if classes:
        score = float((predicted == asked).mean())
        values = np.unique(asked)
        chance = float(sum((predicted == value).mean() * (asked == value).mean() for value in values))
        noise = np.sqrt(max(chance * (1 - chance), 1 / count) / count)
        return (score - chance) / float(noise), score, chance
    if predicted.std() < 1e-12 or asked.std() < 1e-12:
        return 0.0, 0.0, 0.0
    score = float(np.corrcoef(_ranks(predicted), _ranks(asked))[0, 1])
    return score * float(np.sqrt(count - 1)), score, 0.0


def _ranks(values: Array) -> Array:
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _neighbours(train: Array, known: Array, test: Array, classes: bool) -> Array:
    length = (train**2).sum(1)
    near = np.concatenate([  # in pieces: all distances at once are 16 MB, and two more of them on the way
        np.argpartition(length - 2 * asked @ train.T, min(NEIGHBOURS, len(train) - 1), axis=1)[:, :NEIGHBOURS]
        for asked in np.array_split(test, 1 + len(test) * len(train) // PIECE)
    ])  # fmt: skip
    if not classes:
        mean: Array = known[near].mean(1)
        return mean
    values, indices = np.unique(known, return_inverse=True)
    votes = np.stack([(indices[near] == number).sum(1) for number in range(len(values))], 1)
    chosen: Array = values[votes.argmax(1)]
    return chosen


def _linear(train: Array, known: Array, test: Array, classes: bool) -> Array:
    values = np.unique(known)
    wanted = (known[:, None] == values).astype(np.float64) if classes else known[:, None]
    design = np.c_[train, np.ones(len(train))]
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    out = np.c_[test, np.ones(len(test))] @ np.linalg.solve(gram, design.T @ (wanted - wanted.mean(0))) + wanted.mean(0)
    chosen: Array = values[out.argmax(1)] if classes else out[:, 0]
    return chosen


def _forest(train: Array, known: Array, test: Array, classes: bool) -> Array:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesClassifier if classes else ExtraTreesRegressor
    predicted: Array = kind(TREES, random_state=0, min_samples_leaf=2).fit(train, known).predict(test)
    return predicted
