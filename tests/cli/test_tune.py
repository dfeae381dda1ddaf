"""``netwright tune``: wrong usage stops before anything is trained; a study from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import warm
from netwright import studying
from netwright.cli.main import main

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
