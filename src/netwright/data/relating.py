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
# Rows by which labels may have been moved, and how sure a relation with moved ones has to be: twice what says that one
# is there at all, and three times that of the labels as they lie.
MOVES = (-3, -2, -1, 1, 2, 3)
MOVED_CLEAR, MOVED_TIMES = 10.0, 3.0
FOLLOWED = 512  # features of which is looked whether rows resemble the row before


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
    rows = make.permutation(len(labels))
    if task == "classification":
        rows = make.permutation(rows[_balanced(labels[rows])])  # the kept ones of a frequent class came first
    rows = rows[: TRAINED + TESTED]
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
    moved: tuple[float, float, int] = (0.0, 0.0, 0)
    if z <= CLEAR and kept.all() and not _follow_each_other(inputs):
        moved = max(_moved(train, test, labels, rows, half, classes))
    return Relation(
        learner=name, score=score, chance=chance, z=z, trained=half, tested=len(asked),
        learners=tuple(item[-1] for item in found),
        moved=moved[2] if moved[0] > MOVED_CLEAR and moved[0] > MOVED_TIMES * z else 0, moved_score=moved[1],
    )  # fmt: skip


def _balanced(labels: Array) -> npt.NDArray[np.bool_]:
    """(N,): of classes more than twice as frequent as half of all classes, as many as those have. Where nearly all are
    of one class, always naming it is best, and no prediction tells whether the inputs say anything."""
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    most = np.sort(counts)[(len(counts) - 1) // 2]
    if counts.max() <= 2 * most:
        return np.ones(len(labels), bool)
    place = np.empty(len(labels), int)
    for number in range(len(counts)):
        own = np.flatnonzero(which == number)
        place[own] = np.arange(len(own))
    kept: npt.NDArray[np.bool_] = place < most
    return kept


def _follow_each_other(inputs: Array) -> bool:
    """Whether rows look like the row before: windows that overlap, days. Their neighbours' targets say something of
    them in any case."""
    some = inputs[:TRAINED].reshape(min(len(inputs), TRAINED), -1)
    some = some[:, :: max(1, some.shape[1] // FOLLOWED)].astype(np.float64)
    if inputs.ndim > 1 and inputs.shape[1] > 2 and np.allclose(inputs[1:9, :-1], inputs[: min(8, len(inputs) - 1), 1:]):
        return True
    some = (some - some.mean(0)) / np.maximum(some.std(0), 1e-12)
    alike = (some[1:] * some[:-1]).mean(1)
    return bool(alike.mean() > CLEAR * alike.std() / np.sqrt(len(alike)))


def _moved(
    train: Array, test: Array, labels: Array, rows: Array, half: int, classes: bool
) -> Iterator[tuple[float, float, int]]:
    """(z, score, rows) of a linear model that is taught the labels of rows before and after, as a line that is missing
    in one of two files moves them."""
    for number in MOVES:
        y = np.roll(labels, number)[rows]
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            continue
        z, score, _ = _against_permuted(_linear(train, y[:half], test, classes), y[half:], classes)
        yield z, score, number
    yield 0.0, 0.0, 0


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
