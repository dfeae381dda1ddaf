"""One trial of a study: a full disk is no fault of it, and what is heard of its training."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from netwright import trialling, workbench
from netwright.errors import RunError
from netwright.recipe import Recipe
from netwright.records import EpochRow, Finding
from netwright.training.recording import DivergedError
from netwright.tuning.studies import Fatal, Settings, Stop


def test_what_the_machine_does_is_no_fault_of_a_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trainer = trialling.Trainer(Settings(recipe={}, space=()), tmp_path, False, material=object())

    def ends(error: BaseException) -> Any:
        def train(*arguments: Any, **named: Any) -> Any:
            raise error

        monkeypatch.setattr(workbench, "train", train)
        return trainer(Recipe(), 0, lambda epoch, score: None)

    with pytest.raises(Fatal):
        ends(OSError(errno.ENOSPC, "no space left"))
    with pytest.raises(Fatal):
        ends(RunError("x", "a full disk"))
    with pytest.raises(Stop, match="diverged"):
        ends(DivergedError("step 3", "a loss of nan"))
    with pytest.raises(ValueError, match="no"):
        ends(ValueError("no"))
    assert not list(tmp_path.iterdir())


def test_errors_of_the_doctor_stop_a_trial_but_not_those_of_the_data() -> None:
    heard: list[int] = []
    eyes = trialling.Eyes(lambda epoch, score: heard.append(epoch))
    listener = trialling.Listener(eyes)
    row = EpochRow(epoch=1, step=10, split="validation", metrics={"accuracy": 0.5, "loss": 1.0})
    listener.findings([Finding(code="leak", severity="error", where="data")])
    listener.findings([Finding(code="dead-units", severity="warning", where="network")])
    eyes.epoch(row)
    eyes.series("loss", 0, [1.0])
    assert heard == [1]
    listener.findings([Finding(code="exploding-gradient", severity="error", where="network", layer="fc1")])
    with pytest.raises(Stop, match="exploding-gradient in fc1"):
        eyes.series("loss", 1, [1.0])
