"""The power law: planted parameters come back, intervals cover what they promise, and it keeps silent where it must."""

from __future__ import annotations

import numpy as np
import pytest

from netwright.scaling import fitting

SIZES = (50, 100, 200, 400, 800, 1600)


def planted(exponent: float, floor: float, noise: float, seed: int, seeds: int = 3) -> dict[int, list[float]]:
    generator = np.random.default_rng(seed)
    scale = 0.3 * SIZES[0] ** exponent
    return {
        size: ((floor + scale * size**-exponent) * np.exp(noise * generator.standard_normal(seeds))).tolist()
        for size in SIZES
    }


@pytest.mark.parametrize(("exponent", "floor"), [(0.3, 0.0), (0.5, 0.0), (0.7, 0.02), (1.0, 0.05)])
def test_planted_parameters_come_back(exponent: float, floor: float) -> None:
    found = fitting.fit(planted(exponent, floor, 0.002, 0))
    assert not found.said
    assert found.exponent is not None
    assert found.exponent[0] == pytest.approx(exponent, abs=0.06)
    assert found.floor is not None
    assert found.floor[0] == pytest.approx(floor, abs=0.012)
    assert found.twice is not None
    assert found.twice[0] == pytest.approx(floor + 0.3 * (2 * SIZES[-1] / SIZES[0]) ** -exponent, rel=0.02)


@pytest.mark.parametrize(("exponent", "floor", "noise"), [(0.35, 0.0, 0.1), (0.6, 0.02, 0.1), (0.5, 0.03, 0.05)])
def test_intervals_of_what_twice_and_ten_times_the_data_bring_cover_the_truth(
    exponent: float, floor: float, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 60 planted curves: 95 % nominal, 87 to 96 % were seen of 100, so 80 % is missed only by something worse."""
    monkeypatch.setattr(fitting, "DRAWS", 3000)
    hits, told_of = np.zeros(2), 0
    for seed in range(60):
        found = fitting.fit(planted(exponent, floor, noise, seed))
        if found.twice is None or found.tenfold is None:
            continue
        told_of += 1
        for place, (factor, told) in enumerate(((2, found.twice), (10, found.tenfold))):
            truth = floor + 0.3 * (factor * SIZES[-1] / SIZES[0]) ** -exponent
            hits[place] += told[1] <= truth <= told[2]
    assert told_of >= 55
    assert hits.min() >= 0.8 * told_of


def test_more_noise_makes_wider_intervals() -> None:
    widths = []
    for noise in (0.01, 0.1):
        ratio = fitting.fit(planted(0.5, 0.01, noise, 1)).ratio
        assert ratio is not None
        widths.append(ratio[2] - ratio[1])
    assert widths[1] > 2 * widths[0]


def test_the_curve_ends_at_ten_times_and_agrees_with_the_numbers() -> None:
    found = fitting.fit(planted(0.5, 0.01, 0.05, 2))
    assert found.tenfold is not None
    size, *three = found.curve[-1]
    assert size == pytest.approx(10 * SIZES[-1])
    assert three == pytest.approx(found.tenfold, rel=1e-6)


def test_too_few_points_say_nothing() -> None:
    whole = planted(0.5, 0.0, 0.01, 0)
    assert "too few points" in fitting.fit({size: whole[size] for size in SIZES[:3]}).said
    assert "too few points" in fitting.fit(dict.fromkeys((50, 60, 70, 80), whole[50])).said  # hardly any range
    assert "too few points" in fitting.fit({}).said


def test_sizes_at_which_nothing_was_learned_do_not_count() -> None:
    flat = {10: [0.9, 0.88, 0.9], 20: [0.87, 0.9, 0.85]}
    curve = planted(0.5, 0.0, 0.01, 0)
    with_them, without = (fitting.fit(errors, saturated=0.9) for errors in ({**flat, **curve}, curve))
    assert with_them.sizes == without.sizes == SIZES
    assert with_them.twice == without.twice


def test_errors_that_rise_again_are_no_power_law() -> None:
    generator = np.random.default_rng(0)
    rising = dict(zip(SIZES, (0.3, 0.1, 0.05, 0.05, 0.12, 0.3)))
    found = fitting.fit({n: e * np.exp(0.02 * generator.standard_normal(3)) for n, e in rising.items()})
    assert "no power law" in found.said
    assert found.twice is None


def test_no_wrong_answer_is_not_an_error_of_zero() -> None:
    """Two wrong answers of 200 are expected at the last size; none has a logarithm, and pulls the law down a little."""
    errors = {50: [0.32], 100: [0.16], 200: [0.08], 400: [0.04], 800: [0.02], 1600: [0.0]}
    found = fitting.fit(errors, tested=200)
    assert found.last is not None
    assert 0.001 < found.last[0] < 0.01
