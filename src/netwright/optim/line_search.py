"""A step length along a direction that satisfies the strong Wolfe conditions.

Nocedal and Wright 2006, "Numerical optimization", algorithms 3.5 and 3.6, with cubic interpolation (3.59).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

ZOOMS, EXPANSIONS = 25, 25


class Point(NamedTuple):
    """A step length, the loss there, and its slope along the direction."""

    step: float
    loss: float
    slope: float


def strong_wolfe(
    at: Callable[[float], tuple[float, float]], loss: float, slope: float, first: float, c1: float, c2: float
) -> Point:
    """The point found from ``at`` (step → loss and slope); ``loss`` and ``slope`` are those of step 0.

    φ(t) ≤ φ(0) + c₁ t φ′(0) and |φ′(t)| ≤ c₂ |φ′(0)|. Where float arithmetic allows no such point, the lowest one that
    was seen; step 0 if nothing was lower. A loss that is not finite counts as too far.
    """
    start = Point(0.0, loss, slope)
    best = before = start
    step = first
    for number in range(EXPANSIONS):
        here = Point(step, *at(step))
        if not math.isfinite(here.loss):
            step = (before.step + step) / 2
            continue
        best = min(best, here, key=lambda point: point.loss)
        if here.loss > loss + c1 * step * slope or (number and here.loss >= before.loss):
            return _zoom(at, start, before, here, best, c1, c2)
        if abs(here.slope) <= -c2 * slope:
            return here
        if here.slope >= 0:
            return _zoom(at, start, here, before, best, c1, c2)
        before, step = here, 2.5 * step
    return best


def _zoom(
    at: Callable[[float], tuple[float, float]], start: Point, low: Point, high: Point, best: Point, c1: float, c2: float
) -> Point:
    """Narrow down between ``low``, the lower of the two, and ``high``."""
    for _ in range(ZOOMS):
        width = abs(high.step - low.step)
        if width <= 1e-12 * max(1.0, abs(low.step)):
            break
        step = _cubic(low, high)
        edge = 0.1 * width
        left, right = min(low.step, high.step), max(low.step, high.step)
        if not left + edge <= step <= right - edge:  # too near an end, or not a number: halve
            step = (left + right) / 2
        here = Point(step, *at(step))
        if not math.isfinite(here.loss):
            high = here
            continue
        best = min(best, here, key=lambda point: point.loss)
        if here.loss > start.loss + c1 * step * start.slope or here.loss >= low.loss:
            high = here
        else:
            if abs(here.slope) <= -c2 * start.slope:
                return here
            if here.slope * (high.step - low.step) >= 0:
                high = low
            low = here
    return best


def _cubic(a: Point, b: Point) -> float:
    """Where the cubic through both points and slopes is smallest; NaN where it has no minimum."""
    if not (math.isfinite(a.loss) and math.isfinite(b.loss)) or a.step == b.step:
        return math.nan
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    inside = d1 * d1 - a.slope * b.slope
    if inside < 0:
        return math.nan
    d2 = math.copysign(math.sqrt(inside), b.step - a.step)
    bottom = b.slope - a.slope + 2 * d2
    return b.step - (b.step - a.step) * (b.slope + d2 - d1) / bottom if bottom else math.nan
