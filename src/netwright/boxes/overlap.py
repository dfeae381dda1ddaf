"""How far two boxes overlap: intersection over union, and its generalisations for boxes that do not touch. No torch.

All take (N, 4) and (M, 4) boxes and give (N, M), or with ``paired=True`` (N, 4) twice and (N,). All are of ``float64``.
An *empty* box (width, height or their product 0) has IoU 0 with every box, itself too; where the smallest box around
both is empty as well, the penalty of the generalised forms is 0. Inverted boxes are an error (``boxes.formats``).
Cost: about ten operations on N·M numbers, done in blocks that stay in the processor's cache; memory is the answer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from netwright.boxes.formats import Floats, Format, as_boxes, corners
from netwright.errors import DataError
from netwright.records import plural

BLOCK = 1 << 14  # pairs a block: its few temporaries fit a second-level cache
NARROW = 64  # pairs a row
TINY = float(np.finfo(np.float64).tiny)


class Edges(NamedTuple):
    """Boxes by columns; an empty box's area is ``TINY``, so that no union is 0."""

    left: Floats
    top: Floats
    right: Floats
    bottom: Floats
    area: Floats

    def of(self, index: Any) -> Edges:
        return Edges(*(column[index] for column in self))


def iou(first: Any, second: Any, *, format: Format = "xyxy", paired: bool = False) -> Floats:
    """Intersection over union, |A ∩ B| / |A ∪ B|, from 0 to 1 (Jaccard 1901).

    Boxes that only touch share no area: 0. A box in another: the quotient of areas. 1 for equal boxes alone.
    """
    return _each(_iou, first, second, format, paired)


def giou(first: Any, second: Any, *, format: Format = "xyxy", paired: bool = False) -> Floats:
    """Generalised IoU, IoU − |C ∖ (A ∪ B)| / |C| with C the smallest box around both, from −1 to 1.

    Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, algorithm 2.
    """
    return _each(_giou, first, second, format, paired)


def diou(first: Any, second: Any, *, format: Format = "xyxy", paired: bool = False) -> Floats:
    """Distance IoU, IoU − ρ²(centre A, centre B) / c² with c the diagonal of the smallest box around both; −1 to 1.

    Zheng et al., Distance-IoU Loss, AAAI 2020, equation 6 (there the loss, 1 − DIoU).
    """
    return _each(_diou, first, second, format, paired)


def ciou(first: Any, second: Any, *, format: Format = "xyxy", paired: bool = False) -> Floats:
    """Complete IoU, DIoU − α v: v = 4/π² (arctan w_B/h_B − arctan w_A/h_A)², α = v / ((1 − IoU) + v).

    Zheng et al., Distance-IoU Loss, AAAI 2020, equations 8 to 11. At most DIoU, above −2.
    """
    return _each(_ciou, first, second, format, paired)


# ------------------------------------------------------------------------------------------------ kernels


def edges(boxes: Floats, area: Floats | None = None) -> Edges:
    """Columns of checked ``xyxy`` boxes. ``area`` where it is not to be that of the corners, which keeps IoU ≤ 1."""
    left, top, right, bottom = np.ascontiguousarray(boxes.T)
    size = (right - left) * (bottom - top) if area is None else area
    return Edges(left, top, right, bottom, np.where(size > 0, size, TINY))


def matrix(kernel: Callable[[Edges, Edges], Floats], one: Edges, other: Edges) -> Floats:
    """``kernel`` of every pair, (N, M), a block of rows at a time."""
    count, width = len(one.left), len(other.left)
    if width < min(NARROW, count):  # short rows cost more than a transposition; every kernel is symmetric to the bit
        return np.ascontiguousarray(matrix(kernel, other, one).T)
    made = np.empty((count, width))
    rows = max(1, BLOCK // max(1, width))
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        made[part] = kernel(one.of((part, None)), other)
    return made


def overlaps(a: Edges, b: Edges) -> Floats:
    """IoU of what the shapes broadcast to."""
    return _iou(a, b)


def _each(
    kernel: Callable[[Edges, Edges], Floats], first: Any, second: Any, format: Format, paired: bool
) -> Floats:  # fmt: skip
    one, other = (
        edges(corners(as_boxes(boxes, format, name), format)) for boxes, name in ((first, "first"), (second, "second"))
    )
    if not paired:
        return matrix(kernel, one, other)
    if len(one.left) != len(other.left):
        raise DataError(
            "second", f"{plural(len(other.left), 'box', 'boxes')} beside {len(one.left)}", "pairs",
            "paired=False for every pair",
        )  # fmt: skip
    blocks = (slice(start, start + BLOCK) for start in range(0, len(one.left), BLOCK))
    parts = [kernel(one.of(part), other.of(part)) for part in blocks]
    return np.concatenate(parts) if parts else np.zeros(0)


def _shared(a: Edges, b: Edges) -> Floats:
    """|A ∩ B|"""
    width = np.minimum(a.right, b.right)
    width -= np.maximum(a.left, b.left)
    height = np.minimum(a.bottom, b.bottom)
    height -= np.maximum(a.top, b.top)
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    return width


def _iou(a: Edges, b: Edges) -> Floats:
    shared = _shared(a, b)
    union = a.area + b.area
    union -= shared
    shared /= union
    return shared


def _giou(a: Edges, b: Edges) -> Floats:
    shared = _shared(a, b)
    union = a.area + b.area
    union -= shared
    shared /= union
    around = np.maximum(a.right, b.right) - np.minimum(a.left, b.left)
    around *= np.maximum(a.bottom, b.bottom) - np.minimum(a.top, b.top)
    union = np.maximum(around - union, 0, out=union)  # rounding may take a union for larger than what is around it
    around[around == 0] = 1
    shared -= np.divide(union, around, out=around)
    return shared


def _diou(a: Edges, b: Edges) -> Floats:
    made = _iou(a, b)
    made -= _distance(a, b)
    return made


def _distance(a: Edges, b: Edges) -> Floats:
    """ρ² / c²; 0 where both boxes are one point."""
    apart = np.square((a.left - b.left) + (a.right - b.right))
    apart += np.square((a.top - b.top) + (a.bottom - b.bottom))
    across = np.square(np.maximum(a.right, b.right) - np.minimum(a.left, b.left))
    across += np.square(np.maximum(a.bottom, b.bottom) - np.minimum(a.top, b.top))
    across *= 4  # twice the distance of centres is above it
    across[across == 0] = 1
    apart /= across
    return apart


def _ciou(a: Edges, b: Edges) -> Floats:
    made = _iou(a, b)
    v = np.square(_angle(b) - _angle(a))
    v *= 4 / np.pi**2
    below = 1 - made + v
    below[below == 0] = 1  # equal boxes: v is 0 too
    made -= _distance(a, b)
    made -= np.square(v, out=v) / below
    return made


def _angle(box: Edges) -> Floats:
    """arctan of width / height; of a point that of a square, which keeps both axes alike."""
    width, height = box.right - box.left, box.bottom - box.top
    point = (width == 0) & (height == 0)
    angle: Floats = np.arctan2(width + point, height + point)
    return angle
