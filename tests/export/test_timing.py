"""Timing: what a candidate gets is what it took, whoever else is on the machine. No test asserts a time."""

import os
import statistics
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netwright.export import timing

MILLISECONDS = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60)


class Clock:
    """Stands in for the system's: each call advances it by what it is told to cost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.now)
        monkeypatch.setattr(time, "perf_counter", lambda: self.now / 1e9)

    def work(self, milliseconds: float) -> None:
        self.now += int(milliseconds * 1e6)


def test_turns_rotate_and_warming_up_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = Clock(monkeypatch), []

    def call(name: str, cost: float) -> timing.Call:
        def run() -> None:
            first = sum(each == name for each in order) < 2
            order.append(name)
            clock.work(100 * cost if first else cost)  # the first two calls of each are cold

        return run

    seen = timing.times({"a": call("a", 1.0), "b": call("b", 3.0), "c": call("c", 5.0)}, rounds=6, warm_up=2)
    assert seen == {"a": [1.0] * 6, "b": [3.0] * 6, "c": [5.0] * 6}
    turns = [tuple(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)  # each once a round
    assert len({turn[0] for turn in turns}) == 3  # and each begins some of them


def test_a_slow_spell_of_the_machine_does_not_change_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: from the middle on all takes ten times as long. One after the other would say 20, not 2."""
    clock, done = Clock(monkeypatch), [0]

    def call(cost: float) -> timing.Call:
        def run() -> None:
            done[0] += 1
            clock.work(cost * (10 if done[0] > 40 else 1))

        return run

    seen = timing.times({"slow": call(2.0), "fast": call(1.0)}, rounds=40, warm_up=0, seconds=1e9)
    assert timing.ratio(seen["slow"], seen["fast"])[0] == pytest.approx(2.0)
    separately = statistics.median([20.0] * 40) / statistics.median([1.0] * 40)
    assert separately == 20.0  # what measuring one after the other would have said


def test_the_time_that_it_may_take_ends_it_but_not_before_there_is_a_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    seen = timing.times({"a": lambda: clock.work(400.0)}, rounds=50, warm_up=5, seconds=4.0)
    assert timing.FEWEST_ROUNDS <= len(seen["a"]) < 12
    seen = timing.times({"a": lambda: clock.work(40_000.0)}, rounds=50, warm_up=5, seconds=4.0)
    assert len(seen["a"]) == timing.FEWEST_ROUNDS


@given(MILLISECONDS, st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert timing.quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9)


@given(MILLISECONDS)
def test_a_latency_is_ordered_and_within_what_was_seen(values: list[float]) -> None:
    record = timing.latency(values, runtime="onnxruntime", processor="some", threads=1, batch=8)
    assert min(values) <= record.low_ms <= record.median_ms <= record.high_ms <= max(values)
    assert (record.runtime, record.threads, record.batch) == ("onnxruntime", 1, 8)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot pin threads")
def test_pinning_holds_meanwhile_and_ends_also_after_an_error() -> None:
    before = os.sched_getaffinity(0)
    with timing.pinned(1):
        assert len(os.sched_getaffinity(0)) == 1
    with pytest.raises(RuntimeError, match="planted"), timing.pinned(1):
        raise RuntimeError("planted")
    assert os.sched_getaffinity(0) == before
