"""Results of the same seeds → which differences are more than noise. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from netwright.comparing.arms import Arm, Trained, changes_of
from netwright.comparing.intervals import LEVEL, paired, seeds_needed, smallest_found
from netwright.errors import UsageError
from netwright.records import ArmResult, Comparison, PairedDifference

FEWEST = 3  # pairs, below which nothing is judged: an interval of two is 13 times as wide as their spread
PARTS = ("test", "validation")
ORDER = ("accuracy", "subset_accuracy", "rmse", "mae", "loss")  # which metric decides where none is named
Verdict = Literal["better", "small", "equal", "unclear", "failed", "too few"]
Results = Mapping[tuple[str, int], Trained]  # (arm, seed) → what came out


def lower_is_better(metric: str) -> bool:
    return metric in ("mae", "rmse", "mse") or metric.endswith("loss")


def judge(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    results: Results,
    *,
    metric: str = "",
    baseline: bool = False,
    smallest: float = 0.0,
    splits: bool = False,
) -> Comparison:
    """Every pair of arms on the deciding metric, all intervals together holding with 95 %; the other metrics beside.

    ``metric``: ``accuracy`` or ``validation.accuracy``; else the most telling one of the test part, or of validation
    where there is no test. (Which epoch is kept is chosen on validation, which flatters recipes whose score jumps.)
    ``baseline``: each is compared with the first alone, which needs fewer seeds. ``smallest``: the difference that
    would matter, in the metric's own unit; differences that are surely smaller are said to be none that matters.
    A seed on which one of the two has failed is left out of the pair, and an arm that failed is never called better.
    """
    decides = deciding(arms, seeds, results, metric)
    pairs = [(one, other) for one, other in combinations(arms, 2) if not baseline or one is arms[0]]
    known = _metrics(results, decides)
    rows = [
        _difference(one, other, seeds, results, name, decides, len(pairs), smallest)
        for name in known
        for one, other in pairs
    ]
    return Comparison(
        metric=".".join(decides), seeds=tuple(seeds), splits=splits, level=LEVEL, comparisons=len(pairs),
        arms=tuple(_arm(arm, arms[0], seeds, results) for arm in arms), differences=tuple(rows), smallest=smallest,
    )  # fmt: skip


def _metrics(results: Results, decides: tuple[str, str]) -> list[tuple[str, str]]:
    """(part, metric), the deciding one first."""
    found = {(part, name): None for part in PARTS for one in results.values() for name in one.metrics.get(part, {})}
    return [decides, *(pair for pair in found if pair != decides)]


def deciding(arms: Sequence[Arm], seeds: Sequence[int], results: Results, metric: str) -> tuple[str, str]:
    """Part and name of the metric that decides: of those that every arm has."""
    each = [
        {(part, name) for _, one in _of(arm, seeds, results) for part in PARTS for name in one.metrics.get(part, {})}
        for arm in arms
    ]
    lived = [names for names in each if names]
    shared = set.intersection(*lived) if lived else set()
    part, _, name = metric.rpartition(".")
    asked = [(p, name) for p in ((part,) if part else PARTS)] if metric else []
    for p in PARTS:
        asked += [] if metric else [(p, n) for n in ORDER]
    for pair in asked:
        if pair in shared:
            return pair
    failed = next((one.failed for one in results.values() if one.failed), "")
    texts = sorted(".".join(pair) for pair in shared)
    raise UsageError(
        "compare", f"no metric {metric!r} that all have" if metric else failed or "runs without held-out examples",
        ", ".join(texts) if texts else "recipes whose trainings end with a metric on held-out examples",
        "data.validation=0.2" if not texts and not failed else "",
    )  # fmt: skip


def _of(arm: Arm, seeds: Sequence[int], results: Results) -> list[tuple[int, Trained]]:
    return [(seed, results[arm.name, seed]) for seed in seeds if (arm.name, seed) in results]


def _values(arm: Arm, seeds: Sequence[int], results: Results, part: str, metric: str) -> dict[int, float]:
    found = {seed: one.metrics.get(part, {}).get(metric) for seed, one in _of(arm, seeds, results)}
    return {seed: value for seed, value in found.items() if value is not None and math.isfinite(value)}


def _difference(
    one: Arm, other: Arm, seeds: Sequence[int], results: Results, name: tuple[str, str], decides: tuple[str, str],
    comparisons: int, smallest: float,
) -> PairedDifference:  # fmt: skip
    part, metric = name
    first, second = (_values(arm, seeds, results, part, metric) for arm in (one, other))
    both = [seed for seed in seeds if seed in first and seed in second]
    decisive = name == decides
    count = comparisons if decisive else 1
    if not both:
        return PairedDifference(
            first=one.name, second=other.name, part=part, metric=metric, decisive=decisive, pairs=0, verdict="failed"
        )
    found = paired([second[seed] - first[seed] for seed in both], comparisons=count)
    lost = {arm.name: len(seeds) - len(values) for arm, values in ((one, first), (other, second))}
    better = ""
    verdict: Verdict = "unclear"
    if len(both) < FEWEST:
        verdict = "too few"
    elif found.settled:
        winner = other if (found.mean > 0) != lower_is_better(metric) else one
        loser = one if winner is other else other
        if lost[winner.name] > lost[loser.name]:
            verdict = "failed"
        else:
            better, verdict = winner.name, "better"
    if decisive and smallest and verdict in ("better", "unclear") and -smallest < found.low and found.high < smallest:
        verdict = "small" if verdict == "better" else "equal"
    aim = smallest or abs(found.mean)
    return PairedDifference(
        first=one.name, second=other.name, part=part, metric=metric, decisive=decisive, pairs=len(both),
        mean=found.mean, deviation=found.deviation, low=found.low, high=found.high, p=found.p, better=better,
        verdict=verdict,
        needed=seeds_needed(aim, found.deviation, comparisons=count) if aim and len(both) > 1 else None,
        detectable=smallest_found(len(both), found.deviation, comparisons=count) if len(both) > 1 else None,
    )  # fmt: skip


def _arm(arm: Arm, first: Arm, seeds: Sequence[int], results: Results) -> ArmResult:
    known = dict(_of(arm, seeds, results))
    lived = [one for one in known.values() if not one.failed]
    values: dict[str, dict[str, dict[int, float]]] = {}
    for seed, one in known.items():
        for part, metrics in one.metrics.items():
            for name, value in metrics.items():
                values.setdefault(part, {}).setdefault(name, {})[seed] = value
    memory = [one.memory_bytes for one in lived if one.memory_bytes]
    # A run that was trained for itself may have been watched, which takes time: its seconds tell nothing here.
    timed = [one.seconds for one in lived if one.memory_bytes or not one.reused]
    return ArmResult(
        name=arm.name, changes=changes_of(arm, first), runs=tuple(one.run for one in known.values()), values=values,
        failed={seed: one.failed for seed, one in known.items() if one.failed},
        seconds=statistics.median(timed) if timed else None,
        memory_bytes=int(statistics.median(memory)) if memory else None,
        reused=sum(one.reused for one in known.values()),
    )  # fmt: skip
