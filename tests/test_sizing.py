"""The recommended batch size: from the noise, within its bounds, corrected by what the short trainings showed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netwright import sizing
from netwright.errors import RecipeError
from netwright.recipe import Recipe, override
from netwright.sizing import NoiseLook, SizeTrial, adapted

SMALL: dict[str, Any] = {
    "data.source": "digits", "data.limit": 320, "network.name": "mlp", "network.width": 16, "train.epochs": 2,
    "train.batch_size": 16, "train.optimizer": "sgd", "train.lr": 0.05, "watch.enabled": False, "train.threads": 1,
}  # fmt: skip


@given(
    scales=st.lists(st.floats(0.1, 1e6), min_size=1, max_size=3), count=st.integers(4, 10**6),
    limit=st.integers(0, 14).map(lambda power: 2**power),
)  # fmt: skip
def test_a_power_of_two_near_the_noise_within_memory_and_steps(scales: list[float], count: int, limit: int) -> None:
    wanted, reason = sizing._wanted([NoiseLook(epochs=1, batch=scale) for scale in scales], count, limit)
    assert wanted >= 1
    assert math.log2(wanted) == int(math.log2(wanted))
    assert wanted <= limit
    assert wanted == 1 or wanted == 2 or wanted * sizing.STEPS <= count
    if len(reason) == 1:  # no bound was met: within a factor of √2 of the geometric mean
        middle = math.exp(sum(math.log(max(scale, 1)) for scale in scales) / len(scales))
        assert 1 / math.sqrt(2) - 1e-9 <= wanted / middle <= math.sqrt(2) + 1e-9


def test_rates_follow_the_size_as_the_optimiser_asks() -> None:
    assert adapted(0.1, "sgd", 4) == pytest.approx(0.4)
    assert adapted(0.1, "momentum", 0.5) == pytest.approx(0.05)
    assert adapted(0.01, "adamw", 4) == pytest.approx(0.02)


def trial(size: int, loss: float | None, above: float | None = None, error: float | None = None) -> SizeTrial:
    return SizeTrial(batch_size=size, lr=0.1, loss=loss, above=above, error=error)


def test_the_check_overrules_only_what_is_surely_worse() -> None:
    half, middle, double = trial(16, 0.50, -0.10, 0.02), trial(32, 0.60), trial(64, 0.61, 0.01, 0.02)
    assert sizing._judge([half, middle, double], 32)[0] == 16
    noisy = SizeTrial.from_dict(half.to_dict() | {"error": 0.09})
    assert sizing._judge([noisy, middle, double], 32)[0] == 32
    assert sizing._judge([trial(16, 0.7, 0.1, 0.01), middle, trial(64, 0.5, -0.1, 0.01)], 32)[0] == 64
    assert sizing._judge([trial(16, 0.7), trial(32, None), trial(64, 0.9)], 32)[0] == 16
    chosen, told = sizing._judge([trial(16, None), trial(32, None), trial(64, None)], 32)
    assert chosen == 32
    assert "learning rate" in told


def test_a_recommendation_end_to_end() -> None:
    said: list[str] = []
    before = torch.get_rng_state()
    found = sizing.recommend(override(Recipe(), SMALL), said=said.append)
    assert torch.equal(before, torch.get_rng_state())
    assert [look.epochs for look in found.noise] == [1, 2]
    sizes = [each.batch_size for each in found.trials]
    assert found.batch_size in sizes
    assert all(2 * one == other for one, other in itertools.pairwise(sizes))
    for each in found.trials:  # plain gradient descent: the rate grows as the size
        assert each.lr == pytest.approx(0.05 * each.batch_size / 16)
        assert each.loss is not None
    middle = [each for each in found.trials if each.above is None]
    assert len(middle) == 1
    other = next(each for each in found.trials if each.above is not None)
    assert other.loss - (middle[0].loss or 0) == pytest.approx(other.above, abs=1e-5)
    memory = [each.memory_bytes or 0 for each in found.trials]
    assert memory == sorted(memory)
    assert len(set(memory)) == len(memory)
    assert len(said) == 2 + len(sizes)


def test_half_of_the_free_memory_is_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A step of 1000 + 10 b bytes: with 3000 free, 1500 may be used, so that b = 32 fits and 64 does not."""
    (tmp_path / "run").mkdir()
    shop = object.__new__(sizing._Shop)
    shop.folder, shop.trust, shop.recipe = tmp_path, False, override(Recipe(), {"train.device": "cpu"})
    monkeypatch.setattr(sizing, "free_bytes", lambda place: 3000)
    monkeypatch.setattr(shop, "memory", lambda run, size: 1000 + 10 * size)
    assert shop.limit(10_000) == 32
    assert shop.limit(20) == 16


def test_a_rate_that_is_still_to_be_measured_is_refused() -> None:
    with pytest.raises(RecipeError, match="range-test"):
        sizing.recommend(override(Recipe(), SMALL | {"train.lr": "range-test"}))
