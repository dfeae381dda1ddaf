"""``netwright train``: subjects, precedence, JSON, stopping and resuming."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import warm
from netwright.recipe import Recipe, load, override
from netwright.recipe.reading import from_dict, parse_yaml
from netwright.runs import RunDirectory

Says = Callable[..., Any]


# ------------------------------------------------------------------------------------------------ which recipe


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that would be trained."""
    found: list[Recipe] = []

    def remember(recipe: Recipe, folder: Path, trust: bool, how: dict[str, Any]) -> Any:
        found.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr("netwright.cli.train._trained", remember)
    return found


def test_defaults_file_set_and_flags_in_this_order(asked: list[Recipe], says: Says, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {epochs: 2, lr: 0.2, batch_size: 20}\nseed: 2\n")
    said = says("train", recipe, "--set", "train.lr=0.3", "--set", "train.batch_size=30", "--batch-size", "40")
    assert said.code == 130
    assert asked == [
        override(Recipe(), {"train.epochs": 2, "train.lr": 0.3, "train.batch_size": 40, "seed": 2}),
    ]
    assert "train.batch_size: the flag's 40 rules over --set train.batch_size=30" in said.err


def test_every_flag_sets_its_key(asked: list[Recipe], says: Says) -> None:
    from netwright.cli.options import FLAGS

    values = {
        "task": "classification", "target": "price", "validation": "0.2", "test": "other.csv", "limit": "10",
        "channels": "rgb+hsv", "size": "32x48", "network": "lenet5", "loss": "focal", "epochs": "3", "batch_size": "7",
        "optimizer": "sgd", "lr": "1e-3", "schedule": "cosine", "patience": "4", "precision": "bf16", "device": "cpu",
        "threads": "1", "seed": "5", "name": "007",
    }  # fmt: skip
    assert set(values) == set(FLAGS)
    words = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value)]
    says("train", "some/folder", *words)
    numbers = {
        "validation": 0.2,
        "limit": 10,
        "epochs": 3,
        "batch_size": 7,
        "lr": 1e-3,
        "patience": 4,
        "threads": 1,
        "seed": 5,
    }
    expected = {FLAGS[name]: numbers.get(name, value) for name, value in values.items()}
    assert asked == [override(Recipe(), expected | {"data.source": "some/folder"})]


def test_without_a_subject_it_is_the_default_recipe(asked: list[Recipe], says: Says) -> None:
    says("train")
    says("train", "--seed", "3")
    assert asked == [Recipe(), override(Recipe(), {"seed": 3})]


def test_a_run_is_no_data(says: Says, runs_folder: Path) -> None:
    said = says("train", runs_folder / "digits-0001")
    assert said.code == 2
    assert f"--resume {runs_folder / 'digits-0001'}" in said.err


def test_print_recipe_decides_everything_and_trains_nothing(says: Says, tmp_path: Path) -> None:
    said = says("train", "digits", "--print-recipe", "--epochs", "7")
    assert said.code == 0
    recipe = from_dict(parse_yaml(said.out, ""))
    assert recipe.train.epochs == 7
    assert recipe.train.lr != "auto"
    assert recipe.network.name != "auto"
    as_json = says("train", "digits", "--print-recipe", "--epochs", "7", "--json")
    assert from_dict(as_json.document) == recipe
    assert not (tmp_path / "runs").exists()
    unknown = says("train", "digits", "--print-recipe", "--network", "small_resnte")
    assert unknown.code == 2
    assert "small_resnet" in unknown.err


# ------------------------------------------------------------------------------------------------ at the end


def test_the_document_at_the_end(says: Says, tmp_path: Path) -> None:
    words = ("--network", "mlp", "--epochs", "1", "--limit", "100", "--set", "network.width=8", "--name", "mine")
    said = says("train", "digits", *words, "--set", "watch.confirm=0", "--out", tmp_path, "--json")
    assert said.code == 0
    document = said.document
    assert document["run"] == str(tmp_path / "mine-0001")
    assert set(document["metrics"]) == {"validation", "test"}
    assert {"loss", "accuracy"} <= set(document["metrics"]["test"])
    assert document["seconds"] > 0
    assert isinstance(document["findings"], list)
    assert "epoch 1/1" in said.err
    assert (tmp_path / "mine-0001" / "report.html").is_file()
    kept = load(tmp_path / "mine-0001" / "recipe.yaml")
    assert kept.network.name == "mlp"
    assert kept.network.width == 8


def test_the_summary_at_the_end(says: Says, runs_folder: Path) -> None:
    """A finished run is said to be finished, and summed up again; nothing is trained."""
    before = (runs_folder / "digits-0001" / "run.sqlite").stat().st_mtime_ns
    said = says("train", "--resume", "digits-0001", "--out", runs_folder)
    assert said.code == 0
    assert "is finished" in said.err
    for word in ("accuracy", "report.html", "kept: the weights after epoch 1 of 1", "netwright predict"):
        assert word in said.out
    assert (runs_folder / "digits-0001" / "run.sqlite").stat().st_mtime_ns == before
    assert says("train", "--resume", "last", "--out", runs_folder, "--quiet").out.strip() == str(
        runs_folder / "digits-0002"
    )
    document = says("train", "--resume", "last", "--out", runs_folder, "--json").document
    assert document["run"] == str(runs_folder / "digits-0002")


def test_tensorboard(says: Says, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    words = ("--network", "mlp", "--epochs", "1", "--limit", "100", "--set", "watch.enabled=false", "--quiet")
    assert says("train", "digits", *words, "--out", tmp_path / "runs", "--tensorboard", tmp_path / "events").code == 0
    assert any(path.stat().st_size for path in (tmp_path / "events").rglob("*tfevents*"))


def test_a_missing_extra_says_how_to_install_it(says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said = says("train", "digits", "--out", tmp_path / "runs", "--tensorboard", tmp_path / "events", "--json")
    assert said.code == 4
    assert said.document["error"]["try"] == 'pip install "netwright[tensorboard]"'
    assert not (tmp_path / "runs").exists()


def test_what_was_read_otherwise_than_it_stands_is_said(says: Says, tmp_path: Path) -> None:
    rows = [f"{number},{'yes' if number % 3 else 'no'}" for number in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "test.csv").write_text("|a comment\n" + ".\n".join(rows[:9]) + ".\n")
    words = ("--network", "mlp", "--epochs", "1", "--threads", "1", "--set", "network.width=8", "--quiet")
    said = says("train", tmp_path / "train.csv", "--test", tmp_path / "test.csv", *words, "--out", tmp_path / "runs")
    assert said.code == 0
    assert "note: " in said.err
    assert "is taken for" in said.err
    kept = json.loads((tmp_path / "runs" / "train-0001" / "environment.json").read_text())
    assert "is taken for" in kept["skipped"][0]


@pytest.mark.parametrize(
    ("more", "where"),
    [("network.arguments.vocabulary=10", "network.arguments.vocabulary"), ("network.arguments.read=unroll", "read")],
)
def test_hints_for_networks_of_sequences_lead_out(says: Says, tmp_path: Path, more: str, where: str) -> None:
    """A table that a recurrent network cannot read: what the first message offers does not send back to it."""
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i},{'yes' if i % 3 else 'no'}\n" for i in range(40)))
    words = ["train", tmp_path / "t.csv", "--network", "gru", "--epochs", "1", "--out", tmp_path / "runs"]
    first, second = says(*words), says(*words, "--set", more)
    assert (first.code, second.code) == (2, 2)
    assert more.partition("=")[0] in first.err
    assert where in second.err
    assert "--network mlp" in second.err
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_network_of_ones_own_that_does_not_run_names_its_line(says: Says, tmp_path: Path) -> None:
    code = "from torch import nn\nclass Wrong(nn.Module):\n  def __init__(self):\n    super().__init__()\n"
    code += "    self.last = nn.Linear(63, 10)\n  def forward(self, x):\n    return self.last(x.flatten(1))\n"
    (tmp_path / "wrong.py").write_text(code)
    said = says("train", "digits", "--network", f"{tmp_path / 'wrong.py'}:Wrong", "--limit", "50", "--epochs", "1")
    assert said.code == 2
    assert "wrong.py:7: return self.last(x.flatten(1))" in said.err
    assert "63" in said.err
    assert "Traceback" not in said.err


def test_a_pattern_of_targets_may_begin_with_a_star(says: Says, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b_out,c_out\n" + "".join(f"{i},{2 * i}.5,{3 * i}.5\n" for i in range(40)))
    said = says("train", tmp_path / "t.csv", "--target", "*_out", "--print-recipe")
    assert said.code == 0
    assert "*_out" in said.out


# ------------------------------------------------------------------------------------------------ stopping


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_stopping_saves_and_says_how_to_go_on(number: signal.Signals, says: Says, tmp_path: Path) -> None:
    words = ["--network", "mlp", "--epochs", "4000", "--limit", "100", "--set", "network.width=8", "--threads", "1"]
    command = ["-m", "netwright", "train", "digits", *words, "--out", str(tmp_path), "--json"]
    running = warm.Running(command, tmp_path)
    running.wait_for("\nepoch    5/", 120)
    os.kill(running.pid, number)
    done = running.finish(120)
    assert done.returncode == 130
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert f"netwright train --resume digits-0001 --out {tmp_path}" in done.stderr
    run = RunDirectory(tmp_path / "digits-0001")
    epoch = run.current()["epoch"]
    assert 4 <= epoch < 4000
    assert json.loads(says("runs", "--out", tmp_path, "--json").out)["runs"][0]["state"] == "interrupted"
