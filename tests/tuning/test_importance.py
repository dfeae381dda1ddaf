"""Importance: the key that was planted comes first, nothing is said of few trials, scales are seen as they are."""

from __future__ import annotations

import random

from netwright.recipe import override
from netwright.records import Trial
from netwright.tuning import repeating
from netwright.tuning.importance import importance
from netwright.tuning.spaces import Space, parse
from tuning_fakes import RECIPE, SPACE, WEIGHTS, quality

SPACE_ = parse(SPACE, RECIPE)


def trials(count: int, space: Space = SPACE_, seed: int = 0, stopped: bool = False) -> list[Trial]:
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        change = {each.key: each.value(draw.random()) for each in space}
        score = quality(override(RECIPE, change), space)
        ended = stopped and number % 3 > 0
        rows.append(
            Trial(
                number=number, change=change, state="stopped" if ended else "finished", value=score,
                curve=(score,) if ended else (score,) * 3,
            )
        )  # fmt: skip
    return rows


def test_the_planted_order_is_found_with_a_spread_and_a_count() -> None:
    found = importance(trials(60), SPACE_, samples=6)
    assert found.trials == 60
    assert found.keys[0].key == max(WEIGHTS, key=WEIGHTS.__getitem__)
    assert found.told_apart
    for each in found.keys:
        for spread in (each.fanova, each.pedanova):
            assert spread is not None
            assert 0 <= spread[1] <= spread[0] <= spread[2] <= 1
    shares = [each.fanova[0] for each in found.keys if each.fanova]
    assert shares == sorted(shares, reverse=True)


def test_few_trials_say_nothing() -> None:
    found = importance(trials(15), SPACE_)
    assert not found.keys
    assert "too few trials to say: 15" in found.note


def test_a_key_without_effect_is_not_called_important() -> None:
    """Scores by chance: no key stands out, and the page must not say that one does."""
    draw = random.Random(1)
    noise = [
        Trial(number=each.number, change=each.change, state="finished", value=draw.random()) for each in trials(40)
    ]
    assert not importance(noise, SPACE_, samples=6).told_apart


def test_stopped_trials_are_compared_where_all_were() -> None:
    found = importance(trials(45, stopped=True), SPACE_, samples=2)
    assert found.trials == 45
    assert "epoch 1" in found.note


def test_paired_differences_by_hand() -> None:
    """Student's interval of (0.1, 0.2, 0.3): mean 0.2, deviation 0.1, t = 4.3027 with two degrees of freedom."""
    better, worse = {1: 0.9, 2: 0.9, 3: 0.9}, {1: 0.8, 2: 0.7, 3: 0.6}
    mean, low, high = repeating.difference(better, worse) or (0, 0, 0)
    half = 4.302652729911275 * 0.1 / 3**0.5
    assert abs(mean - 0.2) < 1e-12
    assert abs(low - (0.2 - half)) < 1e-9
    assert abs(high - (0.2 + half)) < 1e-9
    assert repeating.difference({1: 1.0}, {1: 0.5}) is None


def test_the_verdict_calls_nothing_better_inside_the_noise() -> None:
    scores = {-1: {1: 0.80, 2: 0.90, 3: 0.85}, 4: {1: 0.90, 2: 0.80, 3: 0.86}, 7: {1: 0.5, 2: 0.6, 3: 0.55}}
    verdict = repeating.judge(scores, {-1: {}, 4: {"a": 1}, 7: {"a": 2}}, {}, 3)
    assert [each.number for each in verdict.contestants] == [4, -1, 7]
    assert not verdict.clear
    assert verdict.better_than_default is False
    sure = {-1: {1: 0.80, 2: 0.81, 3: 0.82}, 4: {1: 0.90, 2: 0.91, 3: 0.92}}
    assert repeating.judge(sure, {-1: {}, 4: {}}, {}, 3).better_than_default is True
    failed = repeating.judge(sure, {-1: {}, 4: {}}, {4: 1}, 3)
    assert failed.contestants[0].number == -1
