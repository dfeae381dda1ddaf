"""COCO's evaluation of boxes: average precision and recall over overlaps, areas and numbers of detections. No torch.

Lin et al., Microsoft COCO, ECCV 2014, and the evaluation of cocodataset.org as the authors' program computes it:

- Of each image and class the 100 detections with the highest scores count. In that order each takes the free truth
  that it overlaps most, from the threshold on; of equal ones the last.
- A truth is *ignored* if it is a crowd or its area lies outside the range (both ends belong to it). It is taken only
  where no other fits, a crowd by any number of detections; with a crowd the overlap is |D ∩ G| / |D|. What takes an
  ignored truth, or takes none and lies outside the range itself, is neither hit nor miss.
- Precision is made falling from the right and read at 101 recalls; average precision is their mean over thresholds
  and classes. Recall is what is reached at the end. Classes without truth in a range do not count.

Every image and class is one group; detections of equal rank in all groups are matched together, for all thresholds and
ranges at once.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from netwright.boxes.formats import Flags, Floats, Ints
from netwright.boxes.gathering import Detections, Truth

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
AREAS = {"all": (0.0, 1e5**2), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e5**2)}
MOST = (1, 10, 100)  # detections an image and class
NEARLY_ONE = 1 - 1e-10  # a threshold of 1 would ask for equal rounding
CELLS = 1 << 18  # of a block of groups: ranges x thresholds x truths


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """Everything that the figures are made of; NaN where a class has no truth in a range.

    ``precision`` (thresholds, recalls, classes, ranges) for 100 detections; ``recall`` (thresholds, classes, ranges,
    numbers of detections).
    """

    precision: Floats
    recall: Floats

    def figures(self) -> dict[str, float]:
        """The twelve figures under COCO's names, NaN where nothing can be said."""
        at, half, three_quarters = slice(None), slice(0, 1), slice(5, 6)
        precision = {
            "AP": (at, 0), "AP50": (half, 0), "AP75": (three_quarters, 0), "APsmall": (at, 1), "APmedium": (at, 2),
            "APlarge": (at, 3),
        }  # fmt: skip
        recall = {
            "AR1": (0, 0),
            "AR10": (0, 1),
            "AR100": (0, 2),
            "ARsmall": (1, 2),
            "ARmedium": (2, 2),
            "ARlarge": (3, 2),
        }
        return {
            **{name: _mean(self.precision[part, :, :, area]) for name, (part, area) in precision.items()},
            **{name: _mean(self.recall[:, :, area, most]) for name, (area, most) in recall.items()},
        }

    def by_class(self) -> Floats:
        """(classes,) average precision of each."""
        return np.array([_mean(self.precision[:, :, k, 0]) for k in range(self.precision.shape[2])])


def evaluate(truth: Truth, detections: Detections) -> Curves:
    """Match, count, draw the curves. Cost: about ``MOST[-1]`` rounds over all groups, whatever their number."""
    images, classes = max(1, len(truth.images)), len(truth.labels)
    order = np.lexsort((-detections.scores, detections.image, detections.label))
    group = detections.label[order] * images + detections.image[order]
    rank = _ranks(group)
    order, group, rank = (part[rank < MOST[-1]] for part in (order, group, rank))
    ranges = np.array(list(AREAS.values()))
    area = detections.areas[order, None]
    outside = (area < ranges[:, 0]) | (area > ranges[:, 1])
    matched, ignored = _match(truth, detections, order, group, rank, ranges)
    ignored |= ~matched & outside[:, :, None]
    hit, miss = matched & ~ignored, ~matched & ~ignored

    size = truth.sizes[:, None]
    counts = ~(truth.crowd[:, None] | (size < ranges[:, 0]) | (size > ranges[:, 1]))
    precision = np.full((len(THRESHOLDS), len(RECALLS), classes, len(AREAS)), np.nan)
    recall = np.full((len(THRESHOLDS), classes, len(AREAS), len(MOST)), np.nan)
    label, scores = detections.label[order], detections.scores[order]
    starts = np.searchsorted(label, np.arange(classes + 1))
    for k in range(classes):
        wanted = counts[truth.label == k].sum(0)
        part = slice(starts[k], starts[k + 1])
        for m, most in enumerate(MOST):
            reached = hit[part][rank[part] < most].sum(0)
            recall[:, k, :, m] = (reached / np.where(wanted, wanted, np.nan)[:, None]).T
        best = np.argsort(-scores[part], kind="stable")
        _draw(precision[:, :, k], hit[part][best], miss[part][best], wanted)
    return Curves(precision, recall)


def _match(
    truth: Truth, detections: Detections, order: Ints, group: Ints, rank: Ints, ranges: Floats
) -> tuple[Flags, Flags]:
    """Which of the sorted detections take a truth, and an ignored one: (D, ranges, thresholds) each."""
    matched = np.zeros((len(order), len(ranges), len(THRESHOLDS)), np.bool_)
    ignored = matched.copy()
    true_order = np.lexsort((truth.image, truth.label))
    true_group = truth.label[true_order] * max(1, len(truth.images)) + truth.image[true_order]
    starts = np.flatnonzero(rank == 0)  # of the groups that have detections
    lengths = np.diff(np.append(starts, len(group)))
    first = np.searchsorted(true_group, group[starts], side="left")
    count = np.searchsorted(true_group, group[starts], side="right") - first
    width = 1 << np.ceil(np.log2(np.maximum(count, 1))).astype(np.int64)  # groups of like size are matched together
    for columns in np.unique(width[count > 0]):
        chosen = np.flatnonzero((width == columns) & (count > 0))
        chosen = chosen[np.argsort(-lengths[chosen], kind="stable")]
        step = max(1, CELLS // (len(ranges) * len(THRESHOLDS) * int(columns)))
        for begin in range(0, len(chosen), step):
            here = chosen[begin : begin + step]
            offset = np.arange(columns)
            there = offset < count[here, None]
            which = true_order[np.where(there, first[here, None] + offset, 0)]
            _match_groups(
                truth, detections, order, starts[here], lengths[here], which, there, ranges, matched, ignored
            )  # fmt: skip
    return matched, ignored


def _match_groups(
    truth: Truth, detections: Detections, order: Ints, starts: Ints, lengths: Ints, which: Ints, there: Flags,
    ranges: Floats, matched: Flags, ignored: Flags,
) -> None:  # fmt: skip
    """Match P groups of up to G truths, ``which`` (P, G), rank by rank; the longest group comes first."""
    crowd, size = truth.crowd[which], truth.sizes[which][:, None]
    corners, areas = truth.corners[which], truth.areas[which]
    ignore = crowd[:, None] | (size < ranges[:, :1]) | (size > ranges[:, 1:])  # (P, A, G)
    free = np.repeat(np.repeat(there[:, None, None], len(ranges), 1), len(THRESHOLDS), 2)  # (P, A, T, G)
    thresholds = np.minimum(THRESHOLDS, NEARLY_ONE)[:, None]
    columns = which.shape[1]
    for rank in range(int(lengths[0])):
        p = int(np.searchsorted(-lengths, -rank, side="left"))  # groups that have so many
        place = starts[:p] + rank
        found = order[place]
        overlap = _overlap(detections.corners[found], detections.areas[found], corners[:p], areas[:p], crowd[:p])
        # Preference as one whole number: overlap, of equal ones the later; the ignored after all that count.
        preference = np.empty_like(which[:p])
        np.put_along_axis(preference, np.argsort(overlap, axis=1, kind="stable"), np.arange(columns)[None], axis=1)
        preferred = preference[:, None] + columns * ~ignore[:p]
        fits = free[:p] & (overlap[:, None] >= thresholds)[:, None]
        value = np.where(fits, preferred[:, :, None], -1)
        best = value.argmax(-1)[..., None]
        top = np.take_along_axis(value, best, -1)
        matched[place] = (top >= 0)[..., 0]
        ignored[place] = ((top >= 0) & (top < columns))[..., 0]
        taken = np.broadcast_to(crowd[:p, None, None], free[:p].shape)
        still = (top < 0) | np.take_along_axis(taken, best, -1)
        np.put_along_axis(free[:p], best, still & np.take_along_axis(free[:p], best, -1), -1)


def _overlap(corners: Floats, area: Floats, true: Floats, true_area: Floats, crowd: Flags) -> Floats:
    """(P, G) overlaps of one detection a group, (P, 4), with its truths, (P, G, 4)."""
    low = np.maximum(corners[:, None, :2], true[..., :2])
    size = np.maximum(np.minimum(corners[:, None, 2:], true[..., 2:]) - low, 0)
    shared = size[..., 0] * size[..., 1]
    whole = np.where(crowd, area[:, None], area[:, None] + true_area - shared)
    return np.where(shared > 0, shared / np.where(shared > 0, whole, 1), 0)


def _draw(precision: Floats, hit: Flags, miss: Flags, wanted: Ints) -> None:
    """Fill ``precision`` (T, R, A) of a class from its sorted detections, (D, A, T), and its truths, (A,)."""
    hits, misses = hit.cumsum(0, dtype=np.float64), miss.cumsum(0, dtype=np.float64)
    level = hits / (misses + hits + np.spacing(1))
    falling = np.maximum.accumulate(level[::-1], axis=0)[::-1]
    for a in np.flatnonzero(wanted):
        reached = hits[:, a] / wanted[a]
        for t in range(len(THRESHOLDS)):
            at = np.searchsorted(reached[:, t], RECALLS, side="left")
            short = at >= len(reached)
            line = falling[np.where(short, 0, at), a, t] if len(reached) else np.zeros(len(RECALLS))
            precision[t, :, a] = np.where(short, 0, line)


def _ranks(group: Ints) -> Ints:
    """Position of each entry in its run of equal ones."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan
