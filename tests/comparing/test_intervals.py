"""Paired intervals: against SciPy's, as laws, and by simulation of what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from netwright.comparing.intervals import paired, power, seeds_needed, smallest_found

numbers = st.lists(st.floats(-100, 100).map(lambda value: round(value, 6)), min_size=3, max_size=12)
# Test accuracies of 32 seeds of one recipe, counted in examples of 359 (benchmarks/results/comparing_seeds.csv).
RIGHT = [352, 353, 350, 354, 351, 352, 349, 354, 351, 353, 352, 350, 353, 355, 351, 352, 348, 353, 352, 351, 354, 352]


@given(values=numbers)
def test_one_comparison_is_the_paired_t_test(values: list[float]) -> None:
    assume(np.std(values) > 1e-3)
    found = paired(values)
    known = stats.ttest_1samp(values, 0.0)
    low, high = known.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)
    assert found.p == pytest.approx(known.pvalue, rel=1e-6, abs=1e-12)
    assert found.settled == (known.pvalue < 0.05)


@given(values=numbers, scale=st.floats(0.01, 100), comparisons=st.integers(1, 10))
def test_no_unit_and_no_order_changes_what_is_settled(values: list[float], scale: float, comparisons: int) -> None:
    assume(np.std(values) > 1e-3)
    one = paired(values, comparisons=comparisons)
    other = paired([-scale * value for value in reversed(values)], comparisons=comparisons)
    assert (other.low, other.high) == pytest.approx((-scale * one.high, -scale * one.low), rel=1e-6, abs=1e-6)
    assert one.settled == (not one.low <= 0 <= one.high)
    assert one.p == pytest.approx(other.p, rel=1e-6)
    single = paired(values)
    assert one.high - one.low >= single.high - single.low - 1e-9  # more comparisons never narrow one


@pytest.mark.parametrize(("count", "settled"), [(2, False), (5, False), (6, True), (8, True)])
def test_equal_differences_are_judged_by_their_signs(count: int, settled: bool) -> None:
    """There is no spread to judge by: 2 · 2⁻ⁿ is the chance of as many equal signs."""
    found = paired([0.25] * count)
    assert found.settled is settled
    assert found.p == pytest.approx(2.0 ** (1 - count))
    assert (found.low > 0) is settled
    assert not paired([0.0] * count).settled
    assert paired([0.0] * count).p == 1


def test_one_pair_tells_nothing() -> None:
    found = paired([0.5])
    assert not found.settled
    assert math.isinf(found.high)
    assert power(1, 1.0, 1.0) == 0
    assert math.isinf(smallest_found(1, 1.0))


@pytest.mark.parametrize("count", [5, 8, 10])
def test_equal_recipes_are_told_apart_once_in_twenty(count: int) -> None:
    """Two draws from real seeds of one recipe; the bound is five standard errors of the simulation above 5 %."""
    generator, tries = np.random.default_rng(count), 4000
    draws = generator.choice(np.array(RIGHT) / 359, (tries, 2, count))
    wrong = np.mean([paired(second - first).settled for first, second in draws])
    assert wrong < 0.05 + 5 * math.sqrt(0.05 * 0.95 / tries)
    assert wrong > 0.01  # and it is no promise kept by never saying anything


def test_all_intervals_of_three_equal_recipes_hold_together() -> None:
    generator, tries = np.random.default_rng(0), 3000
    pairs = ((0, 1), (0, 2), (1, 2))
    draws = generator.choice(np.array(RIGHT) / 359, (tries, 3, 8))
    wrong = np.mean([any(paired(d[j] - d[i], comparisons=3).settled for i, j in pairs) for d in draws])
    alone = np.mean([any(paired(d[j] - d[i]).settled for i, j in pairs) for d in draws])
    assert wrong < 0.05 + 5 * math.sqrt(0.05 * 0.95 / tries)
    assert alone > wrong + 0.03  # what three uncorrected ones would do


@pytest.mark.parametrize(("seeds", "gain"), [(5, 0.01), (8, 0.01), (8, 0.006), (16, 0.006)])
def test_a_true_gain_is_found_with_the_power_that_was_promised(seeds: int, gain: float) -> None:
    values, tries = np.array(RIGHT) / 359, 4000
    promised = power(seeds, gain, math.sqrt(2) * float(values.std()))
    draws = np.random.default_rng(seeds).choice(values, (tries, 2, seeds))
    found = [paired(second + gain - first) for first, second in draws]
    assert np.mean([each.settled and each.mean > 0 for each in found]) == pytest.approx(promised, abs=0.04)


@given(
    difference=st.floats(0.001, 10), deviation=st.floats(0.001, 10), comparisons=st.integers(1, 6),
    wanted=st.floats(0.5, 0.95),
)  # fmt: skip
def test_no_fewer_seeds_and_no_smaller_difference(
    difference: float, deviation: float, comparisons: int, wanted: float
) -> None:
    assume(0.01 < difference / deviation < 100)
    needed = seeds_needed(difference, deviation, comparisons=comparisons, wanted=wanted)
    if needed is None:
        return
    assert power(needed, difference, deviation, comparisons=comparisons) >= wanted
    assert needed == 2 or power(needed - 1, difference, deviation, comparisons=comparisons) < wanted
    assert smallest_found(needed, deviation, comparisons=comparisons, wanted=wanted) <= difference * (1 + 1e-6)


def test_the_usual_example_of_a_textbook() -> None:
    """Cohen 1988, d = 0.5, one-sample t, 5 % two-sided, power 0.8: 34 pairs; d = 0.8: 15."""
    assert seeds_needed(0.5, 1.0) == 34
    assert seeds_needed(0.8, 1.0) == 15
    assert seeds_needed(1e-9, 1.0) is None
