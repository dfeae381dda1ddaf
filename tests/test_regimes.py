"""``curves --over batch-size``: what the clock counts, the rates, reuse, what is not reached and what is left out."""

from __future__ import annotations

import json
import math
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import netwright
from netwright import regimes, sizing
from netwright.cli.main import main
from netwright.errors import StoppedError, UsageError
from netwright.recipe import Recipe, override
from netwright.scaling.records import BatchRegimes, BatchTrial
from netwright.training.state import State

SMALL: dict[str, Any] = {
    "data.source": "digits", "data.limit": 200, "network.name": "mlp", "network.width": 16, "train.threads": 1,
    "name": "digits", "train.batch_size": 16,
}  # fmt: skip
DIGITS = override(Recipe(), SMALL)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BatchRegimes]:
    folder = tmp_path_factory.mktemp("regimes")
    options: dict[str, Any] = {"over": "batch-size", "sizes": (1, 8, 64, 200), "seeds": 1, "reach": 0.4}
    return folder, netwright.curves(DIGITS, folder=folder, within=20.0, **options)


def test_every_size_reaches_the_target_or_says_why_not(drawn: tuple[Path, BatchRegimes]) -> None:
    _, found = drawn
    alone, *others = found.points
    assert "batch norm" in alone.left_out
    assert alone.seconds is None
    for point in others:
        (trial,) = point.trials
        assert point.seconds == trial.seconds
        assert trial.curve[-1][-1] <= 0.4  # the last look is the one that reached it
        assert all(error > 0.4 for *_, error in trial.curve[:-1])
        assert trial.examples is not None
        assert trial.steps is not None
        # Shuffled epochs of 200: whole batches but the epoch's last one.
        assert (trial.steps - 1) * point.batch_size < trial.examples + point.batch_size * (trial.steps // 4 + 1)
        assert point.memory_bytes is not None
    memory = [point.memory_bytes or 0 for point in others]
    assert memory == sorted(memory)
    assert others[-1].examples is not None
    assert others[-1].examples % 200 == 0  # a step of all is an epoch
    assert BatchRegimes.from_dict(found.to_dict()).conclusions == found.conclusions
    page = Path(found.page).read_text()
    for word in ("Seconds to", "Steps and examples", "Memory, MB", "Gradient noise"):
        assert word in page


def test_rates_follow_the_batch_by_the_rule(drawn: tuple[Path, BatchRegimes], tmp_path: Path) -> None:
    _, found = drawn
    rates = {point.batch_size: point.lr for point in found.points if point.lr is not None}
    assert rates[64] / rates[8] == pytest.approx(math.sqrt(8))  # AdamW
    field = regimes._Field(override(DIGITS, {"train.optimizer": "sgd"}), tmp_path, False, str, 1.0, "auto")
    assert field._rate(field.recipe, 64, *[None] * 3) / field._rate(field.recipe, 16, *[None] * 3) == 4
    assert "in proportion to the batch size" in field.rule


def test_finished_trainings_are_used_again(
    drawn: tuple[Path, BatchRegimes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, found = drawn
    monkeypatch.setattr(regimes._Field, "_train", lambda *a: pytest.fail("trained again"))
    flags = ["--limit", "200", "--network", "mlp", "--set", "network.width=16", "--threads", "1", "--batch-size", "16",
             "--over", "batch-size", "--sizes", "1,8,64,200", "--seeds", "1", "--reach", "0.4"]  # fmt: skip
    assert main(["curves", "digits", *flags, "--out", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reused"] == 3  # batches of one were never trained
    assert [point["seconds"] for point in told["points"]] == [point.seconds for point in found.points]


def test_what_is_not_reached_in_time_is_shown_and_a_stop_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = regimes._Field._train, []

    def train(self: Any, recipe: Recipe, size: int, *more: Any) -> BatchTrial:
        if len(trained) == 1 and stopping:
            raise KeyboardInterrupt
        trained.append(size)
        return real(self, recipe, size, *more)

    monkeypatch.setattr(regimes._Field, "_train", train)
    options: dict[str, Any] = {"over": "batch-size", "sizes": (16, 64), "seeds": 1, "reach": 0.001, "within": 1.0}
    stopping = True
    with pytest.raises(StoppedError, match="1 of 2"):
        netwright.curves(DIGITS, folder=tmp_path, **options)
    stopping = False
    found = netwright.curves(DIGITS, folder=tmp_path, **options)
    assert trained == [16, 64]
    assert all(point.seconds is None for point in found.points)
    assert all(1.0 <= trial.trained < 20 for point in found.points for trial in point.trials)
    assert "No batch size reached" in found.conclusions[0]
    for path in (tmp_path / "curves").glob("*.json"):
        path.write_text(path.read_text()[:40])  # damaged: trained again
    netwright.curves(DIGITS, folder=tmp_path, **options)
    assert trained == [16, 64, 16, 64]
    wider = options | {"sizes": (16, 64, 128), "seconds": 1e-3}
    found = netwright.curves(DIGITS, folder=tmp_path, **wider)  # what is kept costs no time; the new one would
    assert trained == [16, 64, 16, 64]
    assert [point.batch_size for point in found.points] == [16, 64]
    late = "1 of 3 trainings would have ended after --time, all of those with batch size 128 among them."
    assert found.notes[-1] == late


def test_a_size_that_memory_does_not_allow_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "step_memory", lambda network, material, size: 1000 * size)
    monkeypatch.setattr(sizing, "free_bytes", lambda place: 100_000)
    field = regimes._Field(DIGITS, tmp_path, False, str, 1.0, "auto")
    assert not field.too_large(50)
    assert field.too_large(51)
    field.speed = 100.0  # examples a second
    assert regimes._Field.too_large(field, 49) is False
    field.within = 0.3
    assert field.too_large(48)
    assert "a step takes about" in field.why[48]


def test_the_clock_counts_training_and_not_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(regimes.time, "perf_counter", lambda: now[0])

    def look() -> float:
        now[0] += 100.0
        return 1.0 / len(clock.curve) if clock.curve else 1.0

    clock = regimes._Clock(look, 0.3, 1e9)
    now[0] = 50.0
    clock.begin(State())

    def step() -> None:
        now[0] += 1.0
        clock.after_step(State(), torch.tensor(1.0), torch.zeros(1), torch.zeros(32))

    with pytest.raises(regimes._Done):
        deque((step() for _ in range(10_000)), maxlen=0)
    seconds, steps, examples, error = clock.curve[-1]
    assert error <= 0.3
    assert seconds == steps == examples / 32
    assert all(b[2] >= a[2] * 1.1 for a, b in zip(clock.curve[1:], clock.curve[2:]))


def test_a_loss_that_is_no_number_ends_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = regimes._Clock(lambda: 0.0, 0.5, 1e9)
    with pytest.raises(regimes._Done):
        clock.after_step(State(), torch.tensor(math.nan), torch.zeros(1), torch.zeros(500))
    assert "diverged" in clock.failed


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_a_lower_target_is_never_reached_sooner(errors: list[float], one: float, other: float) -> None:
    curve = tuple((float(place + 1), 2 * place, 3 * place, error) for place, error in enumerate(errors))
    easy, hard = (regimes.reached(BatchTrial(seed=0, curve=curve), t).seconds for t in sorted((one, other))[::-1])
    assert hard is None or (easy is not None and easy <= hard)
    assert (hard is None) == (min(errors) > min(one, other))


def test_sizes_go_from_one_to_all() -> None:
    assert regimes._sizes((), 1294) == [1, 4, 16, 64, 256, 1294]
    assert regimes._sizes((), 1) == [1]
    with pytest.raises(UsageError, match="100"):
        regimes._sizes((101,), 100)
