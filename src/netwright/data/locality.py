"""Do neighbouring features belong together? A learner of neighbourhoods on inputs as they are, and with their positions
permuted, the same way in every example: where its score does not drop, a convolution has nothing to use.

The learner is one layer of filters that are patches of the training examples, their responses averaged over regions,
and a linear model on top: what Coates, Lee and Ng (2011) found to go most of the way of a learned convolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.data.auditing import class_labels, label_meaning
from netwright.observations.data import Locality

Array = npt.NDArray[Any]

TRAINED, TESTED = 300, 1000  # rows at most; from many examples what is local is learned without being told
LEAST = 100
PERMUTATIONS = 8  # the order of a table's columns is one more of them: its score is compared with how theirs vary
FILTERS, WINDOW = 64, 3  # patches, and positions of one along an axis
REGIONS = 2  # along an axis, over which responses are averaged
SIDE, LENGTH = 32, 1024  # positions along an axis of pictures and of sequences; more are averaged in blocks
LEAST_POSITIONS = 2 * WINDOW
RIDGES = (1e-3, 1e-2, 1e-1)
CHUNK = 1 << 24  # numbers of windows at once


def locality(inputs: Array, targets: Array, *, seed: int = 0) -> Locality | None:
    """Scores on held-out rows as they are and permuted, and their paired difference with its standard error, of the
    rows and between permutations.

    Pictures (C, H, W) are permuted over (H, W), sequences (T, F) over T, rows (D,) over D. None where there are too few
    positions or rows, or more than one answer an example. Takes seconds: 1,300 examples, nine times.
    """
    meaning = label_meaning(targets)
    classes = meaning.task == "classification"
    answers = class_labels(targets, meaning.form) if classes else targets.reshape(-1)
    if answers is None or len(answers) != len(inputs) or len(inputs) < LEAST or inputs.dtype.kind not in "biuf":
        return None
    make = np.random.default_rng(seed)
    rows = make.permutation(len(inputs))[: TRAINED + TESTED]
    x = _grid(inputs[rows].astype(np.float32))
    if x is None or max(x.shape[2:]) < LEAST_POSITIONS:
        return None
    y = answers[rows]
    good = np.isfinite(x).reshape(len(x), -1).all(1)
    x, y = x[good], y[good]
    cut = min(TRAINED, 2 * len(y) // 3)
    if len(y) < LEAST or len(np.unique(y[:cut])) < 2:
        return None
    x = (x - x[:cut].mean()) / max(float(x[:cut].std()), 1e-12)
    as_it_is = _right(x, y, cut, classes, make)
    permuted = np.stack([_right(_permuted(x, make), y, cut, classes, make) for _ in range(PERMUTATIONS)])
    difference = as_it_is - permuted.mean(0)
    between = float(permuted.mean(1).std(ddof=1)) * np.sqrt(1 + 1 / PERMUTATIONS)
    within = float(difference.std() / np.sqrt(len(difference)))
    return Locality(
        learner=f"{FILTERS} patches of {'×'.join(str(min(WINDOW, side)) for side in x.shape[2:] if side > 1)}",
        score=float(as_it_is.mean()), permuted=float(permuted.mean()), drop=float(difference.mean()),
        noise=float(np.hypot(between, within)), best=bool(as_it_is.mean() > permuted.mean(1).max()),
        measure="accuracy" if classes else "R²",
    )  # fmt: skip


def _grid(x: Array) -> Array | None:
    """(N, C, H, W); sequences and rows have one row of positions."""
    if x.ndim == 2:
        return _blocks(x[:, None, None, :], 1, LENGTH)
    if x.ndim == 3:
        return _blocks(x.transpose(0, 2, 1)[:, :, None, :], 1, LENGTH)
    return _blocks(x, SIDE, SIDE) if x.ndim == 4 else None


def _blocks(x: Array, height: int, width: int) -> Array:
    """Means over equal blocks, so that no axis has more positions than these."""
    down, across = -(-x.shape[2] // height), -(-x.shape[3] // width)
    if down == across == 1:
        return x
    x = x[:, :, : x.shape[2] // down * down, : x.shape[3] // across * across]
    shape = (len(x), x.shape[1], x.shape[2] // down, down, x.shape[3] // across, across)
    blocks: Array = x.reshape(shape).mean((3, 5))
    return blocks


def _permuted(x: Array, make: np.random.Generator) -> Array:
    flat = x.reshape(*x.shape[:2], -1)
    shuffled: Array = flat[:, :, make.permutation(flat.shape[2])].reshape(x.shape)
    return shuffled


def _right(x: Array, y: Array, cut: int, classes: bool, make: np.random.Generator) -> Array:
    """For every held-out row 1 where the learner is right and 0 where not; of values 1 − squared error / variance."""
    features = _features(x, cut, make)
    mean, deviation = features[:cut].mean(0), features[:cut].std(0) + 1e-6
    features = (features - mean) / deviation
    values = np.unique(y[:cut])
    wanted = (y[:, None] == values).astype(np.float64) if classes else y[:, None].astype(np.float64)
    inner = 3 * cut // 4  # the ridge is chosen within the training rows
    errors = []
    for ridge in RIDGES:
        predicted = _linear(features[:inner], wanted[:inner], features[inner:cut], ridge)
        errors.append(float(((predicted - wanted[inner:cut]) ** 2).mean()))
    predicted = _linear(features[:cut], wanted[:cut], features[cut:], RIDGES[int(np.argmin(errors))])
    if classes:
        right: Array = (values[predicted.argmax(1)] == y[cut:]).astype(np.float64)
        return right
    share: Array = 1 - (predicted[:, 0] - y[cut:]) ** 2 / max(float(y[cut:].var()), 1e-30)
    return share


def _linear(x: Array, wanted: Array, asked: Array, ridge: float) -> Array:
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += ridge * len(x)
    centre = wanted.mean(0)
    predicted: Array = asked @ np.linalg.solve(gram, x.T @ (wanted - centre)) + centre
    return predicted


def _features(x: Array, cut: int, make: np.random.Generator) -> Array:
    """Rectified responses of the filters, both signs, averaged over regions."""
    high, wide = (min(WINDOW, side) for side in x.shape[2:])
    filters = _patches(x[:cut], high, wide, make)
    size = x.shape[1] * high * wide
    positions = (x.shape[2] - high + 1) * (x.shape[3] - wide + 1)
    step = max(1, CHUNK // (positions * (size + FILTERS)))
    parts = []
    for start in range(0, len(x), step):
        windows = np.lib.stride_tricks.sliding_window_view(x[start : start + step], (high, wide), (2, 3))
        windows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, *windows.shape[2:4], size)
        parts.append(_pooled(windows @ filters.T))
    return np.concatenate(parts)


def _patches(x: Array, high: int, wide: int, make: np.random.Generator) -> Array:
    """Patches of training examples drawn at random, without their mean and of length 1."""
    rows = make.integers(0, len(x), 8 * FILTERS)
    tops = make.integers(0, x.shape[2] - high + 1, len(rows))
    lefts = make.integers(0, x.shape[3] - wide + 1, len(rows))
    found = np.stack([x[r, :, t : t + high, k : k + wide].ravel() for r, t, k in zip(rows, tops, lefts)])
    found = found - found.mean(1, keepdims=True)
    length = np.linalg.norm(found, axis=1)
    chosen = np.argsort(length <= 1e-3 * max(float(length.max()), 1e-12), kind="stable")[:FILTERS]
    filters: Array = found[chosen] / (length[chosen, None] + 1e-6)
    return filters


def _pooled(responses: Array) -> Array:
    """(N, H, W, K) → (N, regions · 2K)."""
    rows = np.array_split(np.arange(responses.shape[1]), min(REGIONS, responses.shape[1]))
    columns = np.array_split(np.arange(responses.shape[2]), min(REGIONS, responses.shape[2]))
    means = [
        np.maximum(sign * responses[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1], 0).mean((1, 2))
        for r in rows
        for c in columns
        for sign in (1, -1)
    ]
    return np.concatenate(means, 1)
