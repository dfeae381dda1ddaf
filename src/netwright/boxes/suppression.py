"""Non-maximum suppression: of boxes that overlap, the best is kept. No torch."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from netwright.boxes.formats import Floats, Format, Ints, as_boxes, as_labels, as_scores, corners
from netwright.boxes.overlap import Edges, edges, matrix, overlaps
from netwright.errors import UsageError, unknown_name

BLOCK = 256  # boxes that are decided together

Decay = Literal["gaussian", "linear"]


def nms(
    boxes: Any, scores: Any, threshold: float = 0.5, *, labels: Any = None, format: Format = "xyxy",
    top: int | None = None,
) -> Ints:  # fmt: skip
    """Greedy non-maximum suppression: the indices of the boxes that are kept, the best first.

    Boxes (N, 4) are taken by falling score, equal ones in their order; a box goes if its IoU with one that was kept is
    above ``threshold``. With ``labels`` (N,) boxes of different classes leave each other alone. ``top``: at most so
    many. Cost: an IoU for each kept box with each that is left when its turn comes, in blocks.
    """
    given = corners(as_boxes(boxes, format), format)
    values = as_scores(scores, len(given))
    _unit("threshold", threshold)
    if top is not None and top < 0:
        raise UsageError("top", str(top), "a count of boxes, or None for all")
    order = np.argsort(-values, kind="stable")
    columns = edges(given[order])
    if labels is None:
        kept = _greedy(columns, np.arange(len(order)), threshold, top)
    else:
        classes = as_labels(labels, len(order))[order]
        kept = np.sort(np.concatenate([_greedy(columns, group, threshold, top) for group in _groups(classes)]))
    return order[kept if top is None else kept[:top]]


def soft_nms(
    boxes: Any, scores: Any, *, decay: Decay = "gaussian", sigma: float = 0.5, threshold: float = 0.5,
    least: float = 0.001, labels: Any = None, format: Format = "xyxy",
) -> tuple[Ints, Floats]:  # fmt: skip
    """Soft non-maximum suppression: indices of boxes, the best first, and their lowered scores.

    The box with the highest score is taken; the score of every other one is multiplied by exp(−IoU²/``sigma``), or
    with ``decay="linear"`` by 1 − IoU where IoU is above ``threshold``; and so on, until no score reaches ``least``.
    Bodla et al., Soft-NMS, ICCV 2017, equations 2 and 3. Scores must not be negative. Cost: O(kept · N).
    """
    given = corners(as_boxes(boxes, format), format)
    left = as_scores(scores, len(given))
    if decay not in ("gaussian", "linear"):
        raise unknown_name("decay", str(decay), ("gaussian", "linear"))
    if not sigma > 0:
        raise UsageError("sigma", str(sigma), "a number above 0", "0.5")
    if not least > 0:
        raise UsageError("least", str(least), "a score above 0", "0.001")
    _unit("threshold", threshold)
    if (left < 0).any():
        raise UsageError("scores", f"{left.min()}", "scores from 0 up", "probabilities instead of logits")
    classes = None if labels is None else as_labels(labels, len(left))
    columns = edges(given)
    chosen: list[int] = []
    final: list[float] = []
    while left.size and left.max() >= least:
        best = int(left.argmax())
        chosen.append(best)
        final.append(float(left[best]))
        shared = overlaps(columns.of(best), columns)
        if classes is not None:
            shared[classes != classes[best]] = 0
        left *= (
            np.exp(-np.square(shared) / sigma) if decay == "gaussian" else 1 - np.where(shared > threshold, shared, 0)
        )
        left[best] = -1
    return np.array(chosen, np.int64), np.array(final)


def _greedy(columns: Edges, remaining: Ints, threshold: float, top: int | None) -> Ints:
    """Of the sorted boxes at ``remaining`` those that stay.

    A block of the best is decided by its own overlaps, each row as one whole number of bits; what it keeps then clears
    all boxes behind it at once.
    """
    kept: list[Ints] = [np.zeros(0, np.int64)]
    count = 0
    while remaining.size and (top is None or count < top):
        head, remaining = remaining[:BLOCK], remaining[BLOCK:]
        among = columns.of(head)
        rows = np.packbits(matrix(overlaps, among, among) > threshold, axis=1, bitorder="little")
        gone, stays = 0, []
        for number, row in enumerate(rows):
            if not gone >> number & 1:
                stays.append(number)
                gone |= int.from_bytes(row.tobytes(), "little")
        kept.append(head[stays])
        count += len(stays)
        if remaining.size:
            cleared = (matrix(overlaps, among.of(stays), columns.of(remaining)) > threshold).any(0)
            remaining = remaining[~cleared]
    return np.concatenate(kept)


def _groups(classes: Ints) -> list[Ints]:
    """Positions of each class, in order."""
    order = np.argsort(classes, kind="stable")
    cuts = np.flatnonzero(np.diff(classes[order])) + 1
    return list(np.split(order, cuts))


def _unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(name, str(value), "an IoU from 0 to 1", "0.5")
