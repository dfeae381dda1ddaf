"""The small verbs: runs, report, compare, init, list, env."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from netwright.cli import listing
from netwright.nn.zoo import NETWORKS
from netwright.recipe import Recipe, keys, load, override, schema
from netwright.recipe.writing import dump

Says = Callable[..., Any]


@pytest.fixture
def folder(runs_folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder of runs, to delete in."""
    return Path(shutil.copytree(runs_folder, tmp_path / "runs"))


# ------------------------------------------------------------------------------------------------ runs


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_listing_imports_nothing_heavy(runs_folder: Path, form: list[str]) -> None:
    """It is asked for often, and NumPy alone takes longer than the rest."""
    code = (
        "import sys; from netwright.cli.main import main\n"
        f"main(['runs', '--out', {str(runs_folder)!r}, *{form!r}])\n"
        "sys.exit([name for name in ('torch', 'numpy', 'sklearn', 'PIL', 'jinja2') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "digits-0002" in done.stdout


def test_runs_are_listed(says: Says, runs_folder: Path) -> None:
    said = says("runs", "--out", runs_folder)
    assert said.code == 0
    for word in ("digits-0001", "digits-0002", "finished", "mlp", "accuracy"):
        assert word in said.out
    found = says("runs", "--out", runs_folder, "--json").document["runs"]
    assert [run["name"] for run in found] == ["digits-0001", "digits-0002"]
    assert found[0]["metrics"]["test"]["accuracy"] > 0


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["--state", "finished"], ["digits-0001", "digits-0002"]),
        (["--state", "running"], []),
        (["--source", "DIG"], ["digits-0001", "digits-0002"]),
        (["--source", "mnist"], []),
        (["--network", "mlp"], ["digits-0001", "digits-0002"]),
        (["--network", "resnet"], []),
    ],
)
def test_runs_are_filtered(says: Says, runs_folder: Path, filters: list[str], names: list[str]) -> None:
    found = says("runs", "--out", runs_folder, "--json", *filters).document["runs"]
    assert [run["name"] for run in found] == names
    assert says("runs", "--out", runs_folder, *filters).code == 0


@pytest.mark.parametrize("order", ["accuracy", "loss", "started", "epochs", "time", "size"])
def test_runs_are_put_in_order(says: Says, runs_folder: Path, order: str) -> None:
    found = says("runs", "--out", runs_folder, "--json", "--sort", order).document["runs"]
    values = {
        "accuracy": [run["metrics"]["test"]["accuracy"] for run in found],
        "loss": [-run["metrics"]["test"]["loss"] for run in found],
        "started": [run["started"] for run in found],
        "epochs": [run["epochs"] for run in found],
        "time": [run["seconds"] for run in found],
        "size": [run["bytes"] for run in found],
    }[order]
    assert values == sorted(values)


def test_no_runs(says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "netwright train digits" in says("runs").out
    assert says("runs", "--json").document == {"runs": []}


def test_runs_are_deleted(says: Says, folder: Path) -> None:
    said = says("runs", "--out", folder, "--delete", "digits-0001", folder / "digits-0002", "--yes", "--json")
    assert said.code == 0
    assert said.document == {"deleted": [str(folder / "digits-0001"), str(folder / "digits-0002")]}
    assert list(folder.iterdir()) == []


def test_a_damaged_run_can_be_deleted(says: Says, folder: Path) -> None:
    (folder / "digits-0001" / "recipe.yaml").unlink()
    assert says("runs", "--out", folder, "--delete", "digits-0001", "--yes").code == 0
    assert not (folder / "digits-0001").exists()


def test_deleting_asks(says: Says, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert says("runs", "--out", folder, "--delete", "digits-0001").code == 2, "nobody can answer"
    for answer, left in (("n\n", 2), ("\n", 2), ("y\n", 1)):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin.readline", lambda answer=answer: answer, raising=False)
        said = says("runs", "--out", folder, "--delete", "digits-0001")
        assert said.code == (0 if left == 1 else 1)
        assert "Delete this run?" in said.err
        assert len(list(folder.iterdir())) == left


def test_nothing_that_may_not_be_a_run_is_deleted(says: Says, folder: Path, tmp_path: Path) -> None:
    """Not even a folder of the user's with a recipe in it, a link, or a run that something was put into."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "recipe.yaml").write_text("seed: 1\n")
    (mine / "thesis.tex").write_text("years of work")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "recipe.yaml").write_text("seed: 1\n")
    (folder / "digits-0001" / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(folder / "digits-0002")
    for subject in (mine, bare, "digits-0001", tmp_path / "link", "..", "absent"):
        said = says("runs", "--out", folder, "--delete", "digits-0002", subject, "--yes")
        assert said.code in (1, 2), subject
    assert (mine / "thesis.tex").exists()
    assert (bare / "recipe.yaml").exists()
    assert len(list(folder.iterdir())) == 2


def test_a_run_that_is_written_is_not_deleted(says: Says, folder: Path) -> None:
    from netwright.runs import RunDirectory

    run = RunDirectory(folder / "digits-0001").lock()
    try:
        said = says("runs", "--out", folder, "--delete", "digits-0002", "digits-0001", "--yes")
    finally:
        run.unlock()
    assert said.code == 1
    assert "another process" in said.err
    assert len(list(folder.iterdir())) == 2


# ------------------------------------------------------------------------------------------------ report


def test_report_prints_the_path(says: Says, runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    said = says("report", "digits-0001", "--out", runs_folder, "--open")
    path = Path(said.out.strip())
    assert path == runs_folder / "digits-0001" / "report.html"
    assert path.is_file()
    assert opened == [path.resolve().as_uri()]
    document = says("report", "--out", runs_folder, "--json").document
    assert document == {"report": str(runs_folder / "digits-0002" / "report.html")}


# ------------------------------------------------------------------------------------------------ compare


def test_comparing_runs(says: Says, runs_folder: Path) -> None:
    said = says("compare", "digits-0001", "digits-0002", "--out", runs_folder)
    assert said.code == 0
    assert "train.lr" in said.out
    assert "train.epochs" not in said.out
    assert "test accuracy" in said.out
    document = says("compare", "digits-0001", "last", "--out", runs_folder, "--json").document
    assert set(document["difference"]) == {"train.lr"}
    assert document["difference"]["train.lr"][1] == 0.02
    assert document["runs"]["second"]["run"] == "digits-0002"
    assert "accuracy" in document["runs"]["first"]["metrics"]["test"]


def test_comparing_a_damaged_run_says_why(says: Says, folder: Path) -> None:
    (folder / "digits-0001" / "run.sqlite").write_bytes(b"garbage" * 500)
    said = says("compare", "digits-0001", "digits-0002", "--out", folder)
    assert said.code == 0
    assert "digits-0001 is damaged: " in said.err
    assert "damaged database" in said.err


def test_comparing_recipes(says: Says, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(dump(Recipe()))
    (tmp_path / "other.yaml").write_text(dump(override(Recipe(), {"train.lr": 0.1, "name": "other"})))
    document = says("compare", tmp_path / "one.yaml", tmp_path / "other.yaml", "--json").document
    assert document["difference"] == {"name": ["", "other"], "train.lr": ["auto", 0.1]}
    assert document["runs"] == {}
    assert "equal" in says("compare", tmp_path / "one.yaml", tmp_path / "one.yaml").out


def test_a_run_beside_a_recipe_is_compared_as_it_was_asked_for(says: Says, runs_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text(dump(Recipe()))
    document = says("compare", tmp_path / "default.yaml", "digits-0001", "--out", runs_folder, "--json").document
    assert set(document["difference"]) == {
        "data.limit",
        "network.name",
        "network.width",
        "train.epochs",
        "train.threads",
        "watch.confirm",
    }


# ------------------------------------------------------------------------------------------------ init, list, env


def test_init_writes_the_default_recipe(says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert says("init").code == 0
    assert load("recipe.yaml") == Recipe()
    Path("recipe.yaml").write_text("seed: 1\n")
    refused = says("init")
    assert refused.code == 2
    assert "--force" in refused.err
    assert load("recipe.yaml").seed == 1
    assert says("init", "--force").code == 0
    assert load("recipe.yaml") == Recipe()
    assert says("init", "deep/down/mine.yml", "--json").document == {"recipe": "deep/down/mine.yml"}
    assert load("deep/down/mine.yml") == Recipe()


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("networks", (*NETWORKS, "file.py:Name", "package.module:Name")),
        ("sources", schema.FORMATS),
        ("losses", schema.LOSSES),
        ("optimizers", schema.OPTIMIZERS),
        ("schedules", schema.SCHEDULES),
    ],
)
def test_lists_are_complete(says: Says, what: str, names: tuple[str, ...]) -> None:
    rows = says("list", what, "--json").document[what]
    assert [row["name"] for row in rows] == list(names)
    assert all(row["meaning"] for row in rows)
    said = says("list", what)
    assert all(name in said.out for name in names)


def test_the_list_of_keys(says: Says) -> None:
    rows = says("list", "keys", "--json").document["keys"]
    assert [row["key"] for row in rows] == list(keys())
    said = says("list", "keys")
    assert "train.step_epochs" in said.out
    assert "a whole number >= 1" in said.out


def test_env(says: Says) -> None:
    document = says("env", "--json").document
    assert document["devices"]["cpu"]["usable"] is True
    assert "torch" in document["versions"]
    assert set(document["extras"]) >= {"onnx", "tensorboard"}
    said = says("env")
    assert "torch" in said.out
    assert "onnx" in said.out


def test_list_alone_lists_what_can_be_listed(says: Says) -> None:
    """Each thing that it names is taken, and nothing else is."""
    named = [row["name"] for row in says("list", "--json").document["what"]]
    assert set(named) == set(get_args(listing.What))
    for name in named:
        assert says("list", name, "--json").document[name]
