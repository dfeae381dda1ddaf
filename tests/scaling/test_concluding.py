"""What is concluded of planted curves: each shortage of data, size and batch is named, and only where it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from netwright.scaling import fitting
from netwright.scaling.concluding import conclude, conclude_batches, spread
from netwright.scaling.records import (
    BatchPoint,
    BatchRegimes,
    BatchTrial,
    CurvePoint,
    Curves,
    Decomposition,
    LearnerCurve,
)

SIZES = (100, 200, 400, 800, 1600)


def point(size: int, errors: Any, train: float = 0.0, seconds: float = 1.0, **more: Any) -> CurvePoint:
    return CurvePoint(size=size, held_out=spread(list(errors)), train=spread([train] * 3), seconds=seconds, **more)


def curves(points: list[CurvePoint], rivals: tuple[LearnerCurve, ...] = (), over: str = "data") -> Curves:
    law = fitting.fit({p.size: p.held_out.values for p in points}, saturated=0.9) if over == "data" else None
    network = LearnerCurve(name="net", kind="network", points=tuple(points))
    return Curves(
        over=over, key="data.limit", measure="error", part="test", tested=1000, examples=1600, seeds=(0, 1, 2),
        learners=(network, *rivals), law=law,
    )  # fmt: skip


def around(value: float, spread_: float = 0.02) -> list[float]:
    return [value * (1 - spread_), value, value * (1 + spread_)]


def text(found: Curves) -> str:
    return " ".join(conclude(found))


def test_a_falling_curve_says_that_more_data_will_help_and_by_how_much() -> None:
    told = text(curves([point(n, around(2 * n**-0.6)) for n in SIZES]))
    assert "More data will help" in told
    assert "3,200" in told
    assert "1.6 % [" in told  # 2·3200^-0.6 = 1.58 %


def test_a_flat_curve_says_that_it_will_not() -> None:
    told = text(curves([point(n, around(0.05 + 3.0 * n**-1.2, 0.002)) for n in SIZES]))
    assert "hardly help" in told


def test_a_network_that_does_not_fit_is_told() -> None:
    assert "does not fit" in text(curves([point(n, around(0.2), train=0.15) for n in SIZES]))
    assert "does not fit" not in text(curves([point(n, around(2 * n**-0.6), train=0.001) for n in SIZES]))


@pytest.mark.parametrize(
    ("theirs", "words"), [(0.02, "is better than the network"), (0.0402, "about the same"), (0.1, "beats what needs")]
)
def test_the_best_classical_method_is_judged_by_pairs(theirs: float, words: str) -> None:
    points = [point(n, around(0.04 * (1600 / n) ** 0.5), seconds=30.0) for n in SIZES]
    ones = tuple(point(n, [theirs * f * (1600 / n) ** 0.5 for f in (1.01, 0.99, 1.0)]) for n in SIZES)
    poor = tuple(point(n, around(0.5)) for n in SIZES)
    rivals = tuple(LearnerCurve(name=name, kind="classical", points=each) for name, each in (("A", poor), ("B", ones)))
    told = conclude(curves(points, rivals))[-1]
    assert words in told
    assert "B" in told
    assert "1/30 of the time" in told


def test_a_width_that_is_too_small_and_one_that_is_enough() -> None:
    parts = Decomposition(trainings=3, error=0.05, bias=0.01, variance=0.04)
    points = [
        point(8, around(0.3), train=0.28), point(16, around(0.1), train=0.05), point(32, [0.051, 0.0505, 0.05]),
        point(64, [0.0502, 0.051, 0.0499], decomposition=parts),
    ]  # fmt: skip
    told = text(curves(points, over="width"))
    assert "Width 8 is too small" in told
    assert "width 32" in told
    assert "not told apart" in told
    assert "more data or regularisation" in told
    rising = text(curves(points[:3], over="width"))
    assert "larger ones may be better" in rising


def test_the_interval_is_students() -> None:
    values = np.random.default_rng(0).standard_normal(7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    found = spread(values.tolist())
    assert (found.low, found.high) == pytest.approx((low, high))
    assert spread([1.0, 2.0]).low is None


# ------------------------------------------------------------------------------------------------ batch sizes


def regimes(noise: float, step_seconds: Any, **more: Any) -> BatchRegimes:
    """The law of McCandlish et al.: steps = 100·(1 + noise/B), and a step's time."""
    points = []
    for size in (1, 4, 16, 64, 256, 1024, 4096):
        steps = 100 * (1 + noise / size)
        seconds = steps * step_seconds(size)
        trial = BatchTrial(seed=0, seconds=seconds, steps=round(steps), examples=round(steps * size))
        points.append(BatchPoint(
            batch_size=size, lr=0.1, seconds=seconds, steps=steps, examples=steps * size, trials=(trial,), noise=noise
        ))  # fmt: skip
    return BatchRegimes(
        measure="error", part="validation", tested=1000, examples=4096, target=0.05, how="", within=1e9, rule="",
        seeds=(0,), points=tuple(points), noise=noise, **more,
    )  # fmt: skip


@pytest.mark.parametrize("noise", [20.0, 100.0, 400.0])
def test_larger_batches_stop_paying_near_the_planted_noise_scale(noise: float) -> None:
    found = regimes(noise, lambda size: 0.001)
    line = next(line for line in conclude_batches(found) if "saves steps" in line)
    knee = int(line.split("about ")[1].split()[0])
    assert noise / 4 <= knee <= noise * 4
    assert f"{noise:,.0f} examples" in line


def test_the_soonest_is_named_and_what_did_not_get_there() -> None:
    found = regimes(100.0, lambda size: 0.001 + 0.0001 * size)
    best = min(found.points, key=lambda p: p.seconds or 0)
    assert conclude_batches(found)[0].startswith(f"Batch size {best.batch_size} ")
    import msgspec

    lost = [msgspec.structs.replace(p, seconds=None) if p.batch_size == 1 else p for p in found.points]
    lost[-1] = msgspec.structs.replace(lost[-1], seconds=None, left_out="a step needs 90 GB")
    told = " ".join(conclude_batches(msgspec.structs.replace(found, points=tuple(lost))))
    assert "Not reached" in told
    assert "90 GB" in told
    nothing = msgspec.structs.replace(found, points=tuple(msgspec.structs.replace(p, seconds=None) for p in lost))
    assert "No batch size reached" in conclude_batches(nothing)[0]
