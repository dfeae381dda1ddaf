"""What paired differences tell: an interval, whether zero is in it, what so many seeds can find. No torch.

The interval is Student's t over the differences of pairs. With 5 to 10 of them the bootstrap does not keep its
promise: intervals of 95 % covered 84 to 90 % as percentiles and as BCa, while the studentised bootstrap covers but is
many times as wide where a resample has hardly a spread (``benchmarks/README.md`` has the simulation).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

LEVEL = 0.95  # of all intervals of one comparison together
POWER = 0.8  # with which a difference is to be found where seeds are counted (Cohen 1988)
MOST_SEEDS = 100_000


@dataclasses.dataclass(frozen=True)
class Paired:
    """``mean`` of ``count`` differences with its interval; ``p``: of a difference at least as large, were there none.

    ``deviation`` is that of one difference. ``settled``: zero is outside of the interval.
    """

    count: int
    mean: float
    deviation: float
    low: float
    high: float
    p: float
    settled: bool


def sign_test(ahead: int, behind: int) -> float:
    """The chance of a split at least as uneven were both alike: two-sided and exact (of two classifiers on the same
    examples, those that only one has right: McNemar 1947)."""
    return min(1.0, 2 * float(special.bdtr(min(ahead, behind), ahead + behind, 0.5))) if ahead + behind else 1.0


def paired(differences: Sequence[float], level: float = LEVEL, comparisons: int = 1) -> Paired:
    """The mean of at least one difference, with an interval that holds for all ``comparisons`` at once (Bonferroni).

    One pair alone has no interval. Where every seed gave the very same difference there is no spread to judge by: the
    sign test decides, so that five or fewer equal differences settle nothing.
    """
    values = np.asarray(differences, np.float64)
    count, mean = len(values), float(values.mean())
    allowed = (1 - level) / comparisons
    if count < 2:
        return Paired(count, mean, math.nan, -math.inf, math.inf, 1.0, False)
    spread = float(values.std(ddof=1))
    if spread <= 1e-12 * max(1.0, abs(mean)):
        p = 1.0 if abs(mean) <= 1e-12 else min(1.0, comparisons * 2.0 ** (1 - count))
        settled = p < 1 - level
        low, high = (mean, mean) if settled or mean == 0 else (min(mean, 0.0), max(mean, 0.0))
        return Paired(count, mean, 0.0, low, high, p, settled)
    error = spread / math.sqrt(count)
    half = float(special.stdtrit(count - 1, 1 - allowed / 2)) * error
    p = min(1.0, comparisons * 2 * float(special.stdtr(count - 1, -abs(mean) / error)))
    return Paired(count, mean, spread, mean - half, mean + half, p, abs(mean) > half)


def power(seeds: int, difference: float, deviation: float, level: float = LEVEL, comparisons: int = 1) -> float:
    """The probability that ``paired`` settles a true ``difference`` with the right sign (noncentral t)."""
    if seeds < 2 or deviation <= 0:
        return 0.0 if seeds < 2 or not difference else 1.0
    bound = float(special.stdtrit(seeds - 1, 1 - (1 - level) / comparisons / 2))
    return 1 - float(special.nctdtr(seeds - 1, abs(difference) / deviation * math.sqrt(seeds), bound))


def seeds_needed(
    difference: float, deviation: float, level: float = LEVEL, comparisons: int = 1, wanted: float = POWER
) -> int | None:
    """The fewest seeds that find a true ``difference`` with probability ``wanted``; None: more than ``MOST_SEEDS``."""
    if deviation <= 0:
        return 2
    low, high = 1, 2
    while power(high, difference, deviation, level, comparisons) < wanted:
        low, high = high, 2 * high
        if high > 2 * MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(middle, difference, deviation, level, comparisons) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def smallest_found(
    seeds: int, deviation: float, level: float = LEVEL, comparisons: int = 1, wanted: float = POWER
) -> float:
    """The difference that ``seeds`` find with probability ``wanted``; infinite for one seed."""
    if seeds < 2:
        return math.inf
    if deviation <= 0:
        return 0.0
    low, high = 0.0, deviation
    while power(seeds, high, deviation, level, comparisons) < wanted:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        found = power(seeds, middle, deviation, level, comparisons) >= wanted
        low, high = (low, middle) if found else (middle, high)
    return high
