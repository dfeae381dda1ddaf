"""Pascal VOC's average precision of boxes, at eleven recalls (2007) or over the whole curve (2010 on). No torch.

Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 2010, section 4.2, and a retrospective, IJCV 2015:
detections of a class are taken by falling score over all images. Each is held against the truth of its image that it
overlaps most; from the threshold on it is a hit the first time and a miss thereafter; below it is a miss. What meets a
*difficult* truth counts for nothing, and such truths are not asked for.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from netwright.boxes.formats import Floats, Ints
from netwright.boxes.gathering import Detections, Truth
from netwright.boxes.overlap import edges, overlaps

# With its rounding, as published figures have it: the level 0.6 is 0.6000000000000001, which a recall of 9/15 misses.
ELEVEN: Floats = np.linspace(0.0, 1.0, 11)


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """One class: precision and recall after each detection, by falling score. ``wanted``: truths that are asked for."""

    precision: Floats
    recall: Floats
    wanted: int

    def average(self, eleven: bool = False) -> float:
        """Average precision; NaN for a class that nothing asks for.

        ``eleven``: the mean over recalls 0, 0.1 … 1 of the highest precision from there on (VOC 2007). Else the area
        below the curve, made falling from the right (VOC 2010).
        """
        if not self.wanted:
            return float("nan")
        falling = np.maximum.accumulate(np.append(self.precision, 0.0)[::-1])[::-1]
        if eleven:
            return float(falling[np.searchsorted(self.recall, ELEVEN, side="left")].mean())
        return float((np.diff(self.recall, prepend=0.0) * falling[:-1]).sum())


def evaluate(
    truth: Truth, detections: Detections, *, threshold: float = 0.5, inclusive: bool = True
) -> list[Curve]:  # fmt: skip
    """A curve for each class of the truth.

    ``inclusive``: corners are the first and last pixel of an object, as in VOC's files and its program, so a width is
    right − left + 1; else they are edges. A crowd counts as difficult. Cost: one overlap for each detection with each
    truth of its image and class.
    """
    best, overlap = _best(truth, detections, inclusive)
    left_out = truth.difficult | truth.crowd
    curves = []
    for k in range(len(truth.labels)):
        mine = np.flatnonzero(detections.label == k)
        mine = mine[np.argsort(-detections.scores[mine], kind="stable")]
        meets = overlap[mine] >= threshold
        target = np.where(meets, best[mine], -1)
        counts = ~(meets & left_out[target]) if len(left_out) else np.ones(len(mine), np.bool_)
        hit = np.zeros(len(mine), np.bool_)
        hit[np.unique(target, return_index=True)[1]] = True  # the first to meet it
        hit &= meets & counts
        wanted = int((~left_out[truth.label == k]).sum())
        hits, misses = hit[counts].cumsum(), (~hit[counts]).cumsum()
        curves.append(Curve(hits / (hits + misses), hits / max(1, wanted), wanted))
    return curves


def _best(truth: Truth, detections: Detections, inclusive: bool) -> tuple[Ints, Floats]:
    """The truth that each detection overlaps most, the first of equal ones, and how far; none: -1 and -1."""
    images = max(1, len(truth.images))
    order = np.lexsort((truth.image, truth.label))
    group = (truth.label * images + truth.image)[order]
    asked = detections.label * images + detections.image
    first = np.searchsorted(group, asked, side="left")
    count = np.searchsorted(group, asked, side="right") - first
    best, overlap = np.full(len(asked), -1, np.int64), np.full(len(asked), -1.0)
    some = np.flatnonzero(count)
    if not len(some):
        return best, overlap
    starts = np.append(0, np.cumsum(count[some]))[:-1]
    one = np.repeat(some, count[some])
    other = order[np.arange(len(one)) - np.repeat(starts - first[some], count[some])]
    pixel = np.array([0, 0, 1, 1]) * inclusive
    found, true = (edges(side.corners + pixel) for side in (detections, truth))
    shared = overlaps(found.of(one), true.of(other))
    overlap[some] = np.maximum.reduceat(shared, starts)
    winners = np.flatnonzero(shared == np.repeat(overlap[some], count[some]))
    best[one[winners[::-1]]] = other[winners[::-1]]  # the first is written last
    return best, overlap
