"""Slow and plain: overlaps and the two evaluations as loops over single boxes, written from their definitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box, crowd: bool = False) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (size(a) if crowd else size(a) + size(b) - shared)


def size(a: Box) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def generalized(a: Box, b: Box) -> float:
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    value = overlap(a, b)
    shared = value * (size(a) + size(b)) / (1 + value)
    return value - (around - (size(a) + size(b) - shared)) / around if around else value


def distance(a: Box, b: Box) -> float:
    across = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    apart = ((a[0] + a[2]) / 2 - (b[0] + b[2]) / 2) ** 2 + ((a[1] + a[3]) / 2 - (b[1] + b[3]) / 2) ** 2
    return overlap(a, b) - (apart / across if across else 0.0)


def complete(a: Box, b: Box) -> float:
    sides = [(box[2] - box[0], box[3] - box[1]) for box in (a, b)]
    angles = [math.atan2(*side) if any(side) else math.pi / 4 for side in sides]  # a point as a square
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return distance(a, b) - (v * v / (1 - overlap(a, b) + v) if v else 0.0)


def suppressed(boxes: list[Box], scores: list[float], threshold: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if all(overlap(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


# ------------------------------------------------------------------------------------------------ evaluation


def coco_average(
    truth: list[dict[str, Any]], found: list[dict[str, Any]], label: int, threshold: float,
    areas: tuple[float, float] = (0, 1e10), most: int = 100,
) -> tuple[float, float]:  # fmt: skip
    """Average precision and recall of a class: one image after the other, then the curve."""
    outcomes: list[tuple[float, bool]] = []  # score, hit; those that count
    wanted = 0
    for true, guesses in zip(truth, found, strict=True):
        mine = [i for i in range(len(true["labels"])) if true["labels"][i] == label]
        ignored = {
            i: true["crowd"][i] or not areas[0] <= size(true["boxes"][i]) <= areas[1] for i in mine
        }  # fmt: skip
        wanted += sum(not flag for flag in ignored.values())
        free = set(mine)
        guess = [i for i in range(len(guesses["labels"])) if guesses["labels"][i] == label]
        for i in sorted(guess, key=lambda i: -guesses["scores"][i])[:most]:
            box = guesses["boxes"][i]
            fits = [
                (not ignored[j], overlap(box, true["boxes"][j], true["crowd"][j]), j)
                for j in free
                if overlap(box, true["boxes"][j], true["crowd"][j]) >= min(threshold, 1 - 1e-10)
            ]
            if fits:
                counts, _, j = max(fits)
                if not true["crowd"][j]:
                    free.remove(j)
                if counts:
                    outcomes.append((guesses["scores"][i], True))
            elif areas[0] <= size(box) <= areas[1]:
                outcomes.append((guesses["scores"][i], False))
    if not wanted:
        return math.nan, math.nan
    outcomes.sort(key=lambda item: -item[0])
    hits, points = 0, []
    for count, (_, hit) in enumerate(outcomes, 1):
        hits += hit
        points.append((hits / wanted, hits / count))
    levels = [max([p for r, p in points if r >= 0.01 * k], default=0.0) for k in range(101)]
    return sum(levels) / 101, hits / wanted


def voc_average(
    truth: list[dict[str, Any]], found: list[dict[str, Any]], label: int, threshold: float, eleven: bool
) -> float:
    """Average precision of a class as Everingham et al. define it, corners as edges."""
    all_guesses = [
        (guesses["scores"][i], image, guesses["boxes"][i])
        for image, guesses in enumerate(found)
        for i in range(len(guesses["labels"]))
        if guesses["labels"][i] == label
    ]
    wanted = sum(
        name == label and not hard for true in truth for name, hard in zip(true["labels"], true["difficult"])
    )  # fmt: skip
    if not wanted:
        return math.nan
    met: set[tuple[int, int]] = set()
    hits, count, points = 0, 0, [(0.0, 0.0)]
    for _, image, box in sorted(all_guesses, key=lambda item: -item[0]):
        true = truth[image]
        rivals = [
            (overlap(box, true["boxes"][j]), -j) for j in range(len(true["labels"])) if true["labels"][j] == label
        ]  # fmt: skip
        best, minus = max(rivals, default=(0.0, 0))
        if best >= threshold and true["difficult"][-minus]:
            continue
        count += 1
        if best >= threshold and (image, -minus) not in met:
            met.add((image, -minus))
            hits += 1
        points.append((hits / wanted, hits / count))
    if eleven:
        return sum(max([p for r, p in points if r >= 0.1 * k], default=0.0) for k in range(11)) / 11
    steps = sorted({r for r, _ in points})
    return sum(
        (r - before) * max(p for reached, p in points if reached >= r)
        for before, r in itertools.pairwise(steps)
    )  # fmt: skip
