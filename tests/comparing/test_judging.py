"""What is called better, and what is not: planted results of trainings that never took place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netwright.comparing.arms import IDLE, Arm, Trained, arms, carry_out, digest
from netwright.comparing.judging import judge, lower_is_better
from netwright.errors import UsageError
from netwright.recipe import Recipe, override
from netwright.recipe.comparing import flat
from netwright.records import Comparison

BASE = Recipe()
A, B, C = (Arm(name, override(BASE, {"train.lr": rate})) for name, rate in (("a", 0.1), ("b", 0.2), ("c", 0.3)))
SEEDS = range(8)


WAVES = {"a": [0] * 8, "b": [1, -1] * 4, "c": [1, 1, -1, -1] * 2}  # noise whose mean is exactly nothing


def results(gains: dict[str, float], metric: str = "accuracy", noise: float = 0.005) -> dict[Any, Trained]:
    """Every seed has its own level, which pairing takes out, and every training a little of its own."""
    levels = 0.9 + 0.05 * np.random.default_rng(0).normal(size=len(SEEDS))
    return {
        (name, number): Trained(
            {"test": {metric: float(levels[number] + gain + noise * WAVES[name][number]), "other_loss": 1.0}}, 2.0
        )
        for name, gain in gains.items()
        for number in SEEDS
    }


def decided(found: Comparison) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row.first, row.second): (row.verdict, row.better) for row in found.differences if row.decisive}


def test_a_gain_within_the_spread_of_seeds_is_found_because_seeds_are_paired() -> None:
    """The seeds' levels spread by five points; the gain is of two, and the noise within a pair of half a point."""
    known = results({"a": 0.0, "b": 0.02})
    assert decided(judge([A, B], SEEDS, known)) == {("a", "b"): ("better", "b")}
    crossed = {key: known[key[0], (key[1] + (key[0] == "b")) % 8] for key in known}  # pairs torn apart
    assert decided(judge([A, B], SEEDS, crossed)) == {("a", "b"): ("unclear", "")}


@pytest.mark.parametrize(("metric", "winner"), [("accuracy", "b"), ("loss", "a"), ("rmse", "a"), ("r2", "b")])
def test_the_direction_is_the_metrics(metric: str, winner: str) -> None:
    known = results({"a": 0.0, "b": 0.02}, metric)
    assert lower_is_better(metric) == (winner == "a")
    assert decided(judge([A, B], SEEDS, known, metric=metric)) == {("a", "b"): ("better", winner)}


def test_nothing_inside_the_noise_is_better_and_the_seeds_that_it_needs_are_named() -> None:
    found = judge([A, B], SEEDS, results({"a": 0.0, "b": 0.001}))
    (row,) = [row for row in found.differences if row.decisive]
    assert (row.verdict, row.better) == ("unclear", "")
    assert row.needed is None or row.needed > 8
    assert row.low is not None
    assert row.low < 0 < (row.high or 0)


def test_pairs_are_all_or_those_with_the_first_and_pay_for_being_many() -> None:
    known = results({"a": 0.0, "b": 0.01, "c": 0.02})
    every, first = judge([A, B, C], SEEDS, known), judge([A, B, C], SEEDS, known, baseline=True)
    assert list(decided(every)) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert list(decided(first)) == [("a", "b"), ("a", "c")]
    widths = [row.high - row.low for found in (every, first, judge([A, B], SEEDS, known))
              for row in found.differences if row.decisive and row.second == "b" and row.high and row.low]  # fmt: skip
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[1] > widths[2]


def test_what_would_matter_makes_small_and_equal() -> None:
    known = results({"a": 0.0, "b": 0.01}, noise=0.002)
    assert decided(judge([A, B], SEEDS, known))["a", "b"] == ("better", "b")
    assert decided(judge([A, B], SEEDS, known, smallest=0.03))["a", "b"] == ("small", "b")
    same = results({"a": 0.0, "b": 0.0}, noise=0.002)
    assert decided(judge([A, B], SEEDS, same, smallest=0.03))["a", "b"][0] == "equal"
    assert decided(judge([A, B], SEEDS, same, smallest=0.0001))["a", "b"][0] == "unclear"


def test_a_recipe_whose_trainings_fail_is_never_better() -> None:
    known = results({"a": 0.0, "b": 0.03})
    for seed in (2, 5):
        known["b", seed] = Trained({}, 0.0, failed="a loss of nan")
    found = judge([A, B], SEEDS, known)
    (row,) = [row for row in found.differences if row.decisive]
    assert (row.verdict, row.better, row.pairs) == ("failed", "", 6)
    assert found.arms[1].failed == {2: "a loss of nan", 5: "a loss of nan"}
    worse = results({"a": 0.03, "b": 0.0}) | {("b", 2): Trained({}, 0.0, failed="a loss of nan")}
    assert decided(judge([A, B], SEEDS, worse))["a", "b"] == ("better", "a")


def test_two_seeds_are_too_few_whatever_they_say() -> None:
    known = results({"a": 0.0, "b": 0.5}, noise=1e-6)
    assert decided(judge([A, B], range(2), known)) == {("a", "b"): ("too few", "")}


def test_the_test_part_decides_where_there_is_one_and_another_metric_where_it_is_asked_for() -> None:
    known = results({"a": 0.0, "b": 0.02})
    for key, one in known.items():
        flipped = {"accuracy": 1 - one.metrics["test"]["accuracy"]}
        known[key] = Trained({**one.metrics, "validation": flipped}, 1.0)
    assert judge([A, B], SEEDS, known).metric == "test.accuracy"
    found = judge([A, B], SEEDS, known, metric="validation.accuracy")
    assert decided(found) == {("a", "b"): ("better", "a")}
    with pytest.raises(UsageError, match=r"test\.accuracy"):
        judge([A, B], SEEDS, known, metric="recall")


def test_a_digest_is_of_everything_that_decides_a_training_and_of_nothing_else() -> None:
    """Every key of the schema: changed, it gives another digest, unless it decides nothing."""
    own = digest(BASE)
    others = {"str": "x", "int": 7, "float": 0.25, "bool": True}
    for key, value in flat(BASE).items():
        for other in (
            others.get(type(value).__name__, 3),
            "none",
            "last",
            0.5,
            5,
            "sgd",
            "horizontal",
            {},
            "regression",
        ):
            try:
                changed = override(BASE, {key: other})
            except Exception:
                continue
            if flat(changed)[key] != value:
                same = key in IDLE or key.startswith("watch.")
                assert (digest(changed) == own) is same, key
                break


def test_equal_recipes_are_refused_and_equal_names_told_apart() -> None:
    with pytest.raises(UsageError, match="same recipe"):
        arms([("a", BASE), ("b", override(BASE, {"seed": 5, "name": "other"}))])
    found = arms([("r", A.recipe), ("r", B.recipe), ("r", C.recipe)])
    assert [arm.name for arm in found] == ["r", "r (2)", "r (3)"]


def test_trainings_go_seed_by_seed_so_that_a_stop_leaves_pairs() -> None:
    done = [(arm.name, seed) for arm, seed, _ in carry_out([A, B, C], range(4), False, lambda *_: Trained({}, 0.0))]
    for seed in range(4):
        assert {name for name, each in done[3 * seed : 3 * seed + 3] if each == seed} == {"a", "b", "c"}
    assert [name for name, _ in done[::3]] == ["a", "b", "c", "a"]  # the one that begins turns


def test_splits_follow_the_seed_where_they_are_asked_to() -> None:
    assert A.seeded(3, False).data.split_seed == BASE.data.split_seed
    assert A.seeded(3, True).data.split_seed == B.seeded(3, True).data.split_seed == 3
    assert A.seeded(3, False).seed == 3


def test_only_trainings_that_were_timed_alike_tell_seconds() -> None:
    """A run that was trained for itself (reused, without a note of its memory) was watched, and took longer for it;
    one of an earlier comparison was timed as the new ones are. Failed ones tell nothing."""
    known = results({"a": 0.0, "b": 0.0})
    value = {"test": {"accuracy": 0.9}}
    own = [
        Trained(value, 90.0, reused=True), Trained(value, 70.0, reused=True), Trained(value, 80.0, reused=True),
        Trained({}, 0.1, failed="diverged"), Trained(value, 3.0, memory_bytes=30, reused=True),
        Trained(value, 5.0, memory_bytes=50), Trained(value, 4.0), Trained({}, 0.2, failed="diverged", reused=True),
    ]  # fmt: skip
    known |= {("b", seed): one for seed, one in enumerate(own)}
    first, second = judge([A, B], SEEDS, known).arms
    assert first.seconds == 2.0
    assert (second.seconds, second.memory_bytes) == (4.0, 40)
    assert (second.reused, len(second.failed)) == (5, 2)
    known |= {("b", seed): Trained(value, 90.0, reused=True) for seed in SEEDS}
    assert judge([A, B], SEEDS, known).arms[1].seconds is None  # rather than a number of another kind
