"""Training labels that are less true than validation labels, as the same neighbours see both. NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.observations.data import Agreement

Array = npt.NDArray[Any]

NEIGHBOURS = 15  # a vote that is right with labels of which two in five are flipped, four times in five
ROWS, HELD_OUT = 3000, 1000
FEWEST = 20  # rows of a class, in either part
MOST_CLASSES = 32
PROJECTED = 128  # random directions that stand for more features (Johnson & Lindenstrauss 1984)


def agreement(
    inputs: Array, labels: Array, held_out: Array, held_out_labels: Array, *, seed: int = 0
) -> Agreement | None:
    """How often training rows' nearest neighbours name the label of other training rows, and of validation rows.

    Both votes are of training labels; a fresh part of the same kind agrees with them as often as training rows do
    (each left out of its own vote). Where labels of a share ρ of the training rows are wrong and those of validation
    are true, the vote stays mostly right and agrees less with the rows that it comes from. Means over the classes, of
    those with ``FEWEST`` rows in both parts, because a vote's accuracy changes with their frequencies. None where it
    cannot be said. Costs the distances of at most 3,000 by 2,000 rows.
    """
    x, x_held = (part.reshape(len(part), -1) for part in (inputs, held_out))
    kinds = np.unique(labels)
    if x.shape[1] != x_held.shape[1] or not 2 <= len(kinds) <= MOST_CLASSES:
        return None
    if any(part.dtype.kind not in "biuf" for part in (x, x_held, labels, held_out_labels)):
        return None
    make = np.random.default_rng(seed)
    rows = make.permutation(len(x))[:ROWS]
    other = make.permutation(len(x_held))[:HELD_OUT]
    train, asked = x[rows].astype(np.float64), x_held[other].astype(np.float64)
    known, wanted = labels[rows], held_out_labels[other]
    kept, kept_held = np.isfinite(train).all(1), np.isfinite(asked).all(1)
    train, known, asked, wanted = train[kept], known[kept], asked[kept_held], wanted[kept_held]
    some = [k for k in kinds if min((known[:HELD_OUT] == k).sum(), (wanted == k).sum()) >= FEWEST]
    if len(some) < 2:
        return None
    deviation = train.std(0)
    varying = deviation > 1e-12
    mean, scale = train[:, varying].mean(0), deviation[varying]
    train, asked = (train[:, varying] - mean) / scale, (asked[:, varying] - mean) / scale
    if train.shape[1] > PROJECTED:
        directions = make.standard_normal((train.shape[1], PROJECTED)) / np.sqrt(PROJECTED)
        train, asked = train @ directions, asked @ directions
    votes = [
        (_vote(train, known, train[:HELD_OUT]), known[:HELD_OUT]),
        (_vote(train, known, asked), wanted),
    ]
    shares, variance = [], 0.0
    for said, true in votes:
        right = [float((said[true == kind] == kind).mean()) for kind in some]
        counts = [int((true == kind).sum()) for kind in some]
        shares.append(float(np.mean(right)))
        variance += sum(max(r * (1 - r), 1 / n) / n for r, n in zip(right, counts, strict=True)) / len(some) ** 2
    return Agreement(training=shares[0], validation=shares[1], noise=float(np.sqrt(variance)), classes=len(some))


def _vote(train: Array, known: Array, asked: Array) -> Array:
    """The most frequent label among the nearest rows. Neither a row itself nor a copy of it votes: it would agree with
    itself in one part, and not in the other."""
    length = (asked**2).sum(1)[:, None]
    distance = (train**2).sum(1) + length - 2 * asked @ train.T
    distance[distance < 1e-9 * np.maximum(length, 1.0)] = np.inf
    near = np.argpartition(distance, min(NEIGHBOURS, len(train) - 1), axis=1)[:, :NEIGHBOURS]
    values, indices = np.unique(known, return_inverse=True)
    votes = np.stack([(indices[near] == number).sum(1) for number in range(len(values))], 1)
    chosen: Array = values[votes.argmax(1)]
    return chosen
