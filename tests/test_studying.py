"""``tune`` around the study: Ctrl-C at every trial, a full disk, what is kept, what is heard of a training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netwright import studying
from netwright.cli.main import main
from netwright.errors import RunError
from netwright.recipe import Recipe
from netwright.tuning.studies import Fatal, Outcome, Settings

COMMAND = [
    "tune", "digits", "--network", "mlp", "--epochs", "4", "--trials", "5", "--seeds", "2", "--best", "1",
    "--study", "s", "--space", "train.lr=1e-3..1@log",
]  # fmt: skip


class Fake:
    """Stands in for ``Trainer``: the score is the learning rate; ``broken`` says which call ends how."""

    calls = 0
    broken: dict[int, BaseException] = {}

    def __init__(self, settings: Settings, folder: Path, trust: bool, material: Any = None) -> None:
        self.folder = folder

    def __call__(self, recipe: Recipe, number: int, told: Any) -> Outcome:
        Fake.calls += 1
        if Fake.calls in Fake.broken:
            raise Fake.broken[Fake.calls]
        score = 0.01 if recipe.train.lr == "auto" else float(recipe.train.lr)
        name = f"trial-{number:04d}" if number >= 0 else ""
        for epoch in range(1, 5):
            told(epoch, score)
        if name:
            (self.folder / name).mkdir()
        return Outcome(score=score, metrics={"accuracy": score}, run=name)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Fake]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studying, "Trainer", Fake)
    Fake.calls, Fake.broken = 0, {}
    return Fake


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("when", [1, 2, 5, 6, 8])
def test_ctrl_c_in_every_stage_loses_nothing(when: int, fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    """Trials 1 to 5 are the search, the calls after them the seeds."""
    fake.broken = {when: KeyboardInterrupt()}
    assert main(COMMAND) == 130
    assert "netwright tune --resume s" in capsys.readouterr().err
    before = fake.calls - 1
    fake.broken = {}
    assert main(["tune", "--resume", "s", "--json"]) == 0
    found = told(capsys)
    assert len(found["trials"]) == 5
    assert fake.calls - 1 == 5 + 2 * len(found["verdict"]["contestants"])  # nothing twice, and nothing missing
    assert before == when - 1


def test_a_full_disk_stops_and_the_same_command_goes_on(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    fake.broken = {3: Fatal(RunError("the study's folder", "a full disk", "room for a run"))}
    assert main(COMMAND) == 1
    assert "a full disk" in capsys.readouterr().err
    fake.broken = {}
    assert main([*COMMAND, "--json"]) == 0
    assert len(told(capsys)["trials"]) == 5


def test_the_runs_of_the_best_alone_are_kept(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--full", "--json"]) == 0
    found = told(capsys)
    best = max(found["trials"], key=lambda each: each["value"])
    assert [path.name for path in Path("runs/studies/s").glob("trial-*")] == [f"trial-{best['number']:04d}"]
    assert main(["tune", "--show", "last", "--json"]) == 0
    assert told(capsys)["best"] == best["number"]


def test_the_winner_is_a_recipe_with_its_difference(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    from netwright.recipe import load

    assert main([*COMMAND, "--json"]) == 0
    found = told(capsys)
    winner = load(found["winner"])
    assert winner.train.lr == found["verdict"]["contestants"][0]["change"].get("train.lr", "auto")
    assert set(found["change"]) <= {"train.lr"}
    assert winner.network.name == "mlp"


def test_without_optuna_the_command_that_installs_it_is_said(tmp_path: Path) -> None:
    code = "import sys; sys.modules['optuna'] = None; from netwright.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "tune", "digits"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 4, done.stderr
    assert 'pip install "netwright[tune]"' in done.stderr
