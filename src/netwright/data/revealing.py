"""A column that tells the target alone among training rows and says nothing among validation rows: filled after the
event, or from the target (Kaufman, Rosset, Perlich and Stitelman 2012, Leakage in Data Mining). NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.observations.data import Revealing

Array = npt.NDArray[Any]

ROWS, VALUES = 4000, 8_000_000  # of a part that are compared; numbers × classes, half a second
MOST_CLASSES = 32
FEWEST = 20  # rows of a class: of pure chance, one column of 10⁶ separates so many from as many others by TELLS
FEWEST_HELD_OUT = 10
TELLS, SILENT = 0.95, 0.5  # Youden's J, or |correlation|: as good as all of it, and at most half


def revealing(
    inputs: Array, targets: Array, held_out: Array, held_out_targets: Array, *, classes: bool
) -> Revealing | None:
    """The column of inputs (N, F) that tells the most in training and little in validation, as `Revealing`; None where
    none does, or it cannot be said. ``targets`` (N,): class numbers, or values.

    How much a column tells: of classes the largest J = true − false positive rate of "this class or not" over all
    thresholds (Youden 1950), of values the size of the correlation. Neither depends on scale or offset, so a part that
    was scaled otherwise is no such column. Costs a sort of each column.
    """
    if inputs.ndim != 2 or held_out.ndim != 2 or inputs.shape[1] != held_out.shape[1]:
        return None
    if any(part.dtype.kind not in "biuf" for part in (inputs, targets, held_out, held_out_targets)):
        return None
    kinds = np.unique(targets) if classes else np.zeros(1)
    if classes and not 2 <= len(kinds) <= MOST_CLASSES:
        return None
    size = min(ROWS, VALUES // max(1, inputs.shape[1] * len(kinds)))
    (x, y), (x_held, y_held) = _some(inputs, targets, size), _some(held_out, held_out_targets, size)
    if min(len(x), len(x_held)) < FEWEST:
        return None
    if not classes:
        own, there = _correlations(x, y), _correlations(x_held, y_held)
        return _worst(own, there, np.full(len(own), 1 / np.sqrt(len(x_held))))
    found = []
    for kind in kinds:
        counts = [int((labels == kind).sum()) for labels in (y, y_held)]
        rest = [len(y) - counts[0], len(y_held) - counts[1]]
        if min(counts[0], rest[0]) < FEWEST or min(counts[1], rest[1]) < FEWEST_HELD_OUT:
            continue
        noise = 0.5 * np.sqrt(1 / counts[1] + 1 / rest[1])  # of a difference of two shares, at most
        own, there = _separations(x, y == kind), _separations(x_held, y_held == kind)
        found.append(_worst(own, there, np.full(len(own), noise)))
    return max((one for one in found if one is not None), key=lambda one: one.training - one.validation, default=None)


def _some(rows: Array, targets: Array, size: int) -> tuple[Array, Array]:
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(size, len(rows))).astype(np.int64))
    x, y = rows[chosen].astype(np.float64), targets[chosen].astype(np.float64)
    kept = np.isfinite(x).all(1) & np.isfinite(y)
    return x[kept], y[kept]


def _worst(own: Array, there: Array, noise: Array) -> Revealing | None:
    telling = (own >= TELLS) & (there <= SILENT) & (there + 3 * noise < own)
    if not telling.any():
        return None
    column = int(np.where(telling, own - there, -1.0).argmax())
    return Revealing(
        feature=column, training=float(own[column]), validation=float(there[column]), columns=int(telling.sum())
    )


def _separations(rows: Array, positive: Array) -> Array:
    """Largest distance, over thresholds, of the distribution functions of positive and other rows, (F,)."""
    order = np.argsort(rows, axis=0, kind="stable")
    values, ordered = np.take_along_axis(rows, order, 0), positive[order]
    distance = np.abs(np.cumsum(ordered, 0) / positive.sum() - np.cumsum(~ordered, 0) / (~positive).sum())
    last = np.concatenate([values[1:] != values[:-1], np.ones((1, values.shape[1]), bool)])  # equal ones go together
    found: Array = np.where(last, distance, 0.0).max(0)
    return found


def _correlations(rows: Array, values: Array) -> Array:
    centred, wanted = rows - rows.mean(0), values - values.mean()
    size = np.sqrt((centred**2).sum(0) * (wanted**2).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.nan_to_num(np.abs(wanted @ centred) / size, nan=0.0, posinf=0.0)
    return found
