"""How long calls take, measured so that they can be compared: warmed up, in turns, with the spread. No torch.

Another program on the machine, a warm processor or a lower clock falls on all candidates alike when each round calls
every one of them once, in an order that rotates; so a ratio is taken round by round, and a median forgives the rounds
in which somebody else ran.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from netwright.records import Latency

Call = Callable[[], Any]

ROUNDS, WARM_UP, SECONDS = 50, 5, 10.0
FEWEST_ROUNDS = 5  # below this a quantile means nothing, whatever the time
LOW, HIGH = 0.1, 0.9  # the quantiles that stand for the spread


def times(
    calls: Mapping[str, Call], *, rounds: int = ROUNDS, warm_up: int = WARM_UP, seconds: float = SECONDS
) -> dict[str, list[float]]:
    """Milliseconds of each call in each round, in the order of the rounds.

    Every round calls each candidate once, and begins with another one. ``warm_up`` rounds are not counted.
    Ends after ``rounds``, or after ``seconds`` with ``FEWEST_ROUNDS`` at least.
    """
    names = list(calls)
    seen: dict[str, list[float]] = {name: [] for name in names}
    started = time.perf_counter()
    for number in range(-warm_up, max(rounds, 1)):
        late = time.perf_counter() - started > seconds
        if late and number < -1:
            continue  # one round to warm up is enough of what takes seconds
        if late and number >= FEWEST_ROUNDS:
            break
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            call = calls[name]
            before = time.perf_counter_ns()
            call()
            taken = time.perf_counter_ns() - before
            if number >= 0:
                seen[name].append(taken / 1e6)
    return seen


def latency(milliseconds: Sequence[float], *, runtime: str, processor: str, threads: int, batch: int) -> Latency:
    """The record of one candidate: median, and the quantiles 0.1 and 0.9 as the spread."""
    return Latency(
        runtime=runtime, processor=processor, threads=threads, batch=batch,
        median_ms=statistics.median(milliseconds), low_ms=quantile(milliseconds, LOW),
        high_ms=quantile(milliseconds, HIGH),
    )  # fmt: skip


def ratio(slower: Sequence[float], faster: Sequence[float]) -> tuple[float, float, float]:
    """How many times as long ``slower`` took, round by round: median, and its quantiles 0.1 and 0.9."""
    each = [first / second for first, second in zip(slower, faster, strict=True)]
    return statistics.median(each), quantile(each, LOW), quantile(each, HIGH)


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile by linear interpolation between neighbours (Hyndman and Fan 1996, type 7)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep the calling thread, and threads that it starts meanwhile, on ``threads`` processors; the old set comes back.

    The last ones of those it may use: the first also serves the machine. A no-op where the system has no such call.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
