"""``netwright tune``: wrong usage stops before anything is trained; a study from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import warm
from netwright import runs, studying
from netwright.cli.main import main
from netwright.recipe import Recipe, override

SMALL = "digits --network mlp --epochs 1 --limit 120 --set watch.enabled=false".split()  # noqa: SIM905


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digits", "--space", "train.lr=1..0.1"], "empty"),
        (["digits", "--space", "train.rate=1..2"], "unknown key"),
        (["digits", "--space", "train.lr=0.1"], "a space of one recipe"),
        (["digits", "--sampler", "staaged"], "staged"),
        (["digits", "--trials", "0"], "at least 1"),
        (["digits", "--time", "soon"], "30m"),
        (["digits", "--workers", "0"], "at least 1"),
        (["digits", "--validation", "0"], "no validation part"),
        (["digits", "--study", "a/b"], "without /"),
        (["--resume", "nothing"], "no such study"),
        (["--show", "last"], "no study"),
        (["digits", "--resume", "last"], "together with digits"),
        (["--resume", "a", "--show", "b"], "together with --show"),
        (["digits", "--storage", "postgresql://nobody:word@127.0.0.1:1/x"], "127.0.0.1"),
        (["digits", "--storage", "nonsense"], "--storage"),
    ],
)
def test_wrong_usage_says_what_is_wrong(words: list[str], said: str, tmp_path: Path) -> None:
    done = warm.python(["-m", "netwright", "tune", *words], tmp_path, timeout=120)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "word" not in done.stderr or "password" in done.stderr
    assert not done.stdout


def test_a_study_from_end_to_end(tmp_path: Path) -> None:
    space = ["--space", "train.lr=1e-3..0.1@log", "network.width=8,16", "--set", "network.depth=1"]
    command = [
        "-m",
        "netwright",
        "tune",
        *SMALL,
        *space,
        "--trials",
        "4",
        "--seeds",
        "2",
        "--best",
        "1",
        "--study",
        "s",
        "--json",
    ]
    done = warm.python(command, tmp_path, timeout=250)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["trials"]) == 4
    assert {each["state"] for each in told["trials"]} == {"finished"}
    assert told["metric"] == "accuracy"
    assert len(told["verdict"]["contestants"]) in (1, 2)
    folder = tmp_path / "runs" / "studies" / "s"
    kept = sorted(path.name for path in folder.iterdir())
    best = f"trial-{max(told['trials'], key=lambda each: each['value'])['number']:04d}"
    assert [name for name in kept if name.startswith("trial-")] == [best]
    assert not [name for name in kept if name.startswith(".working")]
    assert (folder / best / "recipe.yaml").exists()
    assert "<svg" in (folder / "report.html").read_text()
    again = warm.python(["-m", "netwright", "tune", "--show", "s"], tmp_path, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "4 trials: 4 finished" in again.stdout
    winner = warm.python(
        ["-m", "netwright", "train", str(folder / "winner.yaml"), "--print-recipe"], tmp_path, timeout=120
    )
    assert winner.returncode == 0, winner.stderr
    other = warm.python([*command[:-1], "--set", "train.clip=1"], tmp_path, timeout=120)
    assert other.returncode == 2
    assert "train.clip" in other.stderr


def test_sick_and_diverging_trials_are_stopped_with_the_reason(tmp_path: Path) -> None:
    """Rates beyond all measure, on a network that has no norm to bear them."""
    words = "digits --network lenet5 --epochs 2 --limit 200 --optimizer sgd --set train.average=0".split()  # noqa: SIM905
    space = ["--space", "train.lr=1e4..1e8@log"]
    command = ["-m", "netwright", "tune", *words, *space, "--trials", "2", "--seeds", "0", "--json"]
    done = warm.python(command, tmp_path, timeout=250)
    assert done.returncode == 0, done.stderr
    reasons = [each["reason"] for each in json.loads(done.stdout)["trials"] if each["change"]["train.lr"] >= 1e4]
    assert reasons
    assert all("diverged" in reason or "doctor" in reason for reason in reasons), reasons
    assert not list((tmp_path / "runs" / "studies").glob("*/trial-*"))


def test_ctrl_c_is_one_document_with_a_command_that_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studying, "tune", stopped)
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "digits", "--study", "my study", "--out", "my runs", "--json"]) == 130
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["try"] == "netwright tune --resume 'my study' --out 'my runs'"


@pytest.mark.parametrize("words", [["--resume", "last", "--sampler", "tpe"], ["--show", "last", "--trials", "9"]])
def test_what_a_study_settles_is_not_asked_again(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", *words]) == 2
    assert f"together with {words[2]}" in capsys.readouterr().err


def test_a_run_is_tuned_as_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = override(Recipe(), {"data.source": "digits", "train.epochs": 3, "network.name": "mlp"})
    run = runs.RunDirectory(runs.create(tmp_path / "runs", "mine"))
    run.write_recipe(override(asked, {"train.lr": 0.123}), asked)  # what was chosen, and what was asked for
    given: list[Recipe] = []

    def tune(recipe: Recipe, **more: object) -> None:
        given.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr(studying, "tune", tune)
    monkeypatch.chdir(tmp_path)
    for subject in ("mine-0001", "runs/mine-0001", str(run.path), "last"):
        assert main(["tune", subject, "--epochs", "5", "--set", "train.momentum=0.5"]) == 130
    assert given == [override(asked, {"train.epochs": 5, "train.momentum": 0.5})] * 4
    assert main(["tune", "mine-0001", "--set", "train.epochs=many"]) == 2
    assert len(given) == 4


@pytest.mark.parametrize("verb", [["tune"], ["curves"], ["ensemble", "--members", "2"]])
def test_what_is_called_as_a_run_and_is_none_is_said_with_one_that_is_there(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.RunDirectory(runs.create(tmp_path / "runs", "mine")).write_recipe(Recipe(), Recipe())
    monkeypatch.chdir(tmp_path)
    assert main([*verb, "mine-0002"]) in (1, 2)
    assert "mine-0001" in capsys.readouterr().err


def test_a_damaged_study_is_said_with_those_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("broken", "other"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "study.sqlite").write_text("no database")
    assert main(["tune", "--show", "broken", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "beside it are other" in said
    assert main(["tune", "--show", "brooken", "--out", str(tmp_path)]) == 2
    assert "one of broken, other, or last" in capsys.readouterr().err
