"""Confident learning: which labels contradict what was predicted for their examples out of sample. Pure NumPy.

After Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels. Probabilities must
come from networks that did not learn the example; they need not be calibrated, because each class has a threshold of
its own: what is said of it on average where it was given (their equation 2).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from netwright.data.examples import Array, Rows

RESAMPLES, FEWEST, WORK = 200, 50, 4e8  # of the bootstrap; at least; and at most so many numbers are looked at for it
COVER = (2.5, 97.5)  # percentiles of the interval

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Confident:
    """``thresholds`` (C,); ``joint`` (C, C): examples given i that are confidently j (equation 1); ``suggested`` (N,):
    that j, or -1 where no class passes its threshold; ``score`` (N,) from 0 to 1: by how much another class leads,
    (1 + largest other probability - given one's) / 2; ``noise``: the share of wrong labels with its interval."""

    thresholds: Floats
    joint: Rows
    suggested: Rows
    score: Floats
    noise: tuple[float, float, float]

    def suspects(self, labels: Rows) -> Rows:
        """Positions off the joint's diagonal, the highest score first."""
        wrong = np.flatnonzero((self.suggested >= 0) & (self.suggested != labels))
        return wrong[np.argsort(-self.score[wrong], kind="stable")].astype(np.int64)


def learn(labels: Rows, probabilities: Array) -> Confident:
    """``labels`` (N,) as given, ``probabilities`` (N, C) out of sample. Costs a few passes over N · C numbers, and for
    the interval up to 200 more."""
    p = np.nan_to_num(np.asarray(probabilities, np.float64))
    own = p[np.arange(len(labels)), labels]
    sizes = np.bincount(labels, minlength=p.shape[1])
    thresholds = _thresholds(labels, own, np.ones(len(labels)), sizes)
    suggested = _confident(p, thresholds)
    others = p.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return Confident(
        thresholds, _joint(labels, suggested, p.shape[1]), suggested, (1 + others.max(1) - own) / 2,
        _noise(labels, p, own, suggested),
    )  # fmt: skip


def _thresholds(labels: Rows, own: Floats, weights: Floats, sizes: Array) -> Floats:
    """The mean probability of each class where it was given; a class that was given nowhere is never reached."""
    sums = np.bincount(labels, weights=weights * own, minlength=len(sizes))
    counted = np.asarray(sizes, np.float64)
    return np.where(counted > 0, sums / np.maximum(counted, 1e-12), np.inf)


def _confident(p: Floats, thresholds: Floats) -> Rows:
    """Of the classes that pass their threshold the most probable one; -1: none does."""
    passing = np.where(p >= thresholds, p, -1.0)
    best = passing.argmax(1)
    return np.where(passing[np.arange(len(p)), best] >= 0, best, -1).astype(np.int64)


def _joint(labels: Rows, suggested: Rows, classes: int, weights: Floats | None = None) -> npt.NDArray[np.int64]:
    known = suggested >= 0
    cells = labels[known] * classes + suggested[known]
    counts = np.bincount(cells, None if weights is None else weights[known], classes * classes)
    return counts.reshape(classes, classes)


def noise_rate(joint: Array, sizes: Array) -> float:
    """The share of wrong labels: rows of the joint made to sum to the number of examples given so (equation 3). A class
    none of whose examples is counted is taken to be right."""
    joint = np.asarray(joint, np.float64)
    rows = joint.sum(1)
    right = np.where(rows > 0, joint.diagonal() / np.where(rows > 0, rows, 1), 1.0)
    counted = np.asarray(sizes, np.float64)
    return float(np.sum(counted * (1 - right)) / max(counted.sum(), 1e-12))


def _noise(labels: Rows, p: Floats, own: Floats, suggested: Rows) -> tuple[float, float, float]:
    """The share of wrong labels with a 95 % bootstrap interval over the examples, thresholds and all.

    It tells how much other examples of the same kind would change, not what the networks themselves get wrong: a
    confident mistake of theirs counts as a wrong label."""
    classes, draw = p.shape[1], np.random.default_rng(0)
    sizes = np.bincount(labels, minlength=classes)
    found = []
    for _ in range(int(np.clip(WORK / max(p.size, 1), FEWEST, RESAMPLES))):
        weights = np.bincount(draw.integers(0, len(labels), len(labels)), minlength=len(labels)).astype(np.float64)
        drawn = np.bincount(labels, weights, classes)
        again = _confident(p, _thresholds(labels, own, weights, drawn))
        found.append(noise_rate(_joint(labels, again, classes, weights), drawn))
    low, high = np.percentile(found, COVER)
    none = 1 - (1 - COVER[1] / 100) ** (1 / max(1, int(np.sum(suggested >= 0))))  # where of so many none was wrong
    return noise_rate(_joint(labels, suggested, classes), sizes), float(low), max(float(high), float(none))


def folds(labels: Rows, count: int, seed: int) -> Rows:
    """The fold (N,) of each example, every class spread over them as evenly as its size allows."""
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    arranged = order[np.argsort(labels[order], kind="stable")]
    found = np.empty(len(labels), np.int64)
    found[arranged] = np.arange(len(labels)) % count
    return found
