"""``compare --seeds`` end to end: reuse, going on after a stop, what is not reused, the page, wrong usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import netwright
from netwright import replicating, runs, workbench
from netwright.cli.main import main
from netwright.comparing.arms import Trained
from netwright.errors import StoppedError, UsageError
from netwright.recipe import Recipe, override
from netwright.recipe.writing import dump
from netwright.records import Comparison
from netwright.training.recording import DivergedError, Interrupted, Recorder

SMALL: dict[str, Any] = {
    "data.source": "digits", "data.limit": 160, "network.name": "mlp", "network.width": 8, "train.epochs": 2,
    "train.layout": "contiguous", "train.threads": 1,
}  # fmt: skip
FIRST = override(Recipe(), SMALL)
SECOND = override(FIRST, {"train.lr": 0.002})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """(seed, rate) of every training that takes place."""
    done: list[tuple[int, float]] = []
    real = workbench.train

    def train(recipe: Recipe, **options: Any) -> Any:
        done.append((recipe.seed, recipe.train.lr))  # type: ignore[arg-type]
        return real(recipe, **options)

    monkeypatch.setattr(workbench, "train", train)
    return done


def compared(folder: Path, *subjects: Any, **options: Any) -> Comparison:
    found = netwright.compare(*(subjects or (FIRST, SECOND)), folder=folder, **{"seeds": 2, **options})
    assert isinstance(found, Comparison)
    return found


def test_finished_trainings_are_used_again_and_only_those(tmp_path: Path, counted: list[Any]) -> None:
    alone = workbench.train(override(FIRST, {"seed": 1, "watch.enabled": False, "name": "before"}), folder=tmp_path)
    found = compared(tmp_path)
    assert [arm.reused for arm in found.arms] == [1, 0]  # that one, from the folder above
    assert counted == [(1, "auto"), (0, "auto"), (0, 0.002), (1, 0.002)]
    assert found.arms[0].values["test"] == {
        name: {0: found.arms[0].values["test"][name][0], 1: value} for name, value in alone.metrics["test"].items()
    }
    again = compared(tmp_path, seeds=3)
    assert counted[4:] == [(2, "auto"), (2, 0.002)]  # more seeds add only what is new
    assert [arm.reused for arm in again.arms] == [2, 2]
    compared(tmp_path, changes={"train.epochs": 1})
    assert len(counted) == 6 + 4  # another recipe
    page = Path(again.page).read_text()
    assert page.count('class="band arm') == 6  # two recipes in each of three charts
    for piece in ("recipe 1", "recipe 2", "interval", "one standard deviation"):
        assert piece in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_a_training_on_other_data_is_not_used_again(tmp_path: Path, counted: list[Any]) -> None:
    rows = [f"{n},{n * 7 % 11},{'a' if n % 2 else 'b'}" for n in range(60)]
    table = tmp_path / "table.csv"
    recipes = [override(FIRST, {"data.source": str(table), "data.limit": 0, "train.lr": rate}) for rate in (0.01, 0.02)]
    table.write_text("x,y,class\n" + "\n".join(rows))
    compared(tmp_path, *recipes)
    table.write_text("x,y,class\n" + "\n".join(row.replace("7", "8") for row in rows))
    compared(tmp_path, *recipes)
    assert len(counted) == 8


def test_a_network_whose_source_changed_is_trained_again(tmp_path: Path, counted: list[Any]) -> None:
    source = tmp_path / "own.py"
    text = "from torch import nn\n\n\ndef Own():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    source.write_text(text)
    changes = {"network.name": f"{source}:Own", "network.width": "auto"}
    recipes = [override(one, changes) for one in (FIRST, SECOND)]
    compared(tmp_path, *recipes, trust=True)
    compared(tmp_path, *recipes, trust=True)
    assert len(counted) == 4
    source.write_text(text.replace("nn.Linear(64, 10)", "nn.Linear(64, 12), nn.Linear(12, 10)"))
    compared(tmp_path, *recipes, trust=True)
    assert len(counted) == 8


def test_after_a_stop_the_same_call_goes_on_with_the_training_that_was_under_way(
    tmp_path: Path, counted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compared(tmp_path / "whole")
    counted.clear()
    real = Recorder.after_epoch

    def stopping(self: Any, state: Any) -> bool:
        if len(counted) == 3 and state.epoch == 1:
            self._stop_asked = True
        return real(self, state)

    monkeypatch.setattr(Recorder, "after_epoch", stopping)
    with pytest.raises(StoppedError, match="2 of 4") as stop:
        compared(tmp_path)
    assert stop.value.exit_code == 130
    monkeypatch.setattr(Recorder, "after_epoch", real)
    found = compared(tmp_path)
    assert len(counted) == 4  # the third was resumed, not begun again
    for one, other in zip(found.arms, whole.arms, strict=True):
        assert one.values == other.values  # to the same bits


def test_a_training_that_diverges_is_told_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tried = workbench.train, []

    def train(recipe: Recipe, **options: Any) -> Any:
        if recipe.train.lr == 0.002 and recipe.seed == 1:
            tried.append(recipe)
            path = runs.create(options["folder"], "broken")
            runs.RunDirectory(path).write_recipe(recipe, recipe)
            for name in ("environment.json", "network.json"):
                (path / name).write_text((healthy / name).read_text())
            raise DivergedError("step 3", "a loss of nan", "finite numbers")
        return real(recipe, **options)

    healthy = workbench.train(FIRST, folder=tmp_path / "other").directory
    monkeypatch.setattr(workbench, "train", train)
    for _ in range(2):
        found = compared(tmp_path)
        assert "nan" in found.arms[1].failed[1]
        assert [row.pairs for row in found.differences if row.decisive] == [1]
        assert not any(row.better for row in found.differences)
    assert len(tried) == 1


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name, recipe in (("one.yaml", FIRST), ("two.yaml", SECOND), ("three.yaml", override(FIRST, {"seed": 9}))):
        Path(name).write_text(dump(recipe))
    trained: list[float] = []

    def quick(self: Any, arm: Any, recipe: Recipe) -> Trained:
        trained.append(1.0)
        value = 0.9 + 0.01 * recipe.seed + (0.02 + 0.001 * (recipe.seed % 2)) * (arm.name == "two")
        return Trained({"test": {"accuracy": value, "loss": 0.5}}, 1.5, memory_bytes=1000)

    monkeypatch.setattr(replicating.Shop, "trained", quick)
    assert main(["compare", "one.yaml", "two.yaml", "--seeds", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (row,) = (row for row in told["differences"] if row["decisive"])
    assert (row["verdict"], row["better"]) == ("better", "two")
    assert row["low"] < 0.0205 < row["high"]
    assert main(["compare", "one.yaml", "train.lr=0.002 train.momentum=0.5", "--seeds", "3"]) == 0
    out = capsys.readouterr().out
    assert "no difference shown" in out
    assert main(["compare", "one.yaml", "two.yaml", "three.yaml"]) == 0  # without seeds: what differs
    assert "train.lr" in capsys.readouterr().out
    assert main(["compare", "one.yaml", "two.yaml", "--seeds", "3", "--metric", "loss"]) == 0
    said = capsys.readouterr().err
    assert "one: loss 0.5000 (test)" in said  # the progress speaks of what decides
    assert "accuracy" not in said
    count = len(trained)
    for wrong, word in (
        (["one.yaml", "two.yaml", "--splits"], "--seeds"), (["one.yaml", "two.yaml", "--seeds", "1"], "2"),
        (["one.yaml", "three.yaml", "--seeds", "3"], "same recipe"),
        (["train.lr=1", "one.yaml", "--seeds", "3"], "first"),
        (["one.yaml", "none.yaml", "--seeds", "3"], "none.yaml"),
        (["one.yaml", "train.rate=1", "--seeds", "3"], "train."),
        (["one.yaml", "two.yaml", "--seeds", "3", "--smallest", "-1"], "-1"),
    ):  # fmt: skip
        assert main(["compare", *wrong]) == 2, wrong
        assert word in capsys.readouterr().err
    assert len(trained) == count  # each was noticed before anything was trained
    assert main(["compare", "one.yaml", "two.yaml", "--seeds", "3", "--metric", "recall"]) == 2
    assert "test.accuracy" in capsys.readouterr().err
    assert len(trained) == count + 1  # which metrics there are is known after one


def test_the_recipes_alone_still_give_their_difference() -> None:
    assert netwright.compare(FIRST, SECOND) == {"train.lr": ("auto", 0.002)}
    with pytest.raises(UsageError):
        netwright.compare("one.yaml", "two.yaml")  # type: ignore[call-overload]


def test_an_interrupt_outside_of_a_step_is_a_stop_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (KeyboardInterrupt, Interrupted):

        def stop(*_: Any, kind: type[BaseException] = kind, **__: Any) -> Any:
            raise kind

        monkeypatch.setattr(workbench, "train", stop)
        with pytest.raises(StoppedError, match="0 of 4"):
            compared(tmp_path)


def test_another_question_has_another_page_and_the_same_one_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(self: Any, arm: Any, recipe: Recipe) -> Trained:
        return Trained({"test": {"accuracy": 0.9 + 0.001 * recipe.seed + 0.01 * (recipe.train.lr == 0.002)}}, 1.0)

    monkeypatch.setattr(replicating.Shop, "trained", quick)
    questions: list[dict[str, Any]] = [
        {}, {"seeds": 3}, {"changes": {"train.epochs": 1}}, {"changes": {"data.limit": 80}}, {"smallest": 0.01},
        {"baseline": True}, {"splits": True}, {"metric": "test.accuracy"},
    ]  # fmt: skip
    pages = [compared(tmp_path, **asked).page for asked in questions]
    assert len(set(pages)) == len(pages) == len(list(tmp_path.glob("compared/*.html")))
    assert [compared(tmp_path, **asked).page for asked in questions] == pages
    other = [override(recipe, {"seed": 7}) for recipe in (FIRST, SECOND)]  # a recipe's own seed is not asked about
    assert compared(tmp_path, *other).page == pages[0]


@pytest.mark.parametrize("about", [{"compressed": "prune=weights:share=0.5"}, {"members": [{"run": "one-0001"}]}])
def test_what_no_recipe_trains_is_neither_used_again_nor_asked_for(
    about: dict[str, Any], tmp_path: Path, counted: list[Any]
) -> None:
    """A compressed run keeps the recipe of what it was made of: its figures are not those of a training by it."""
    recipe = override(FIRST, {"watch.enabled": False, "name": "made"})
    run = workbench.train(recipe, folder=tmp_path)
    counted.clear()
    compared(tmp_path)
    assert (0, "auto") not in counted  # it is as any other until then
    run.files.write_json("environment.json", run.files.environment() | about | {"parent": {"run": "one-0001"}})
    counted.clear()
    found = compared(tmp_path, changes={"train.checkpoint_seconds": 7.0})
    assert (0, "auto") in counted
    assert str(run.directory) not in found.arms[0].runs
    with pytest.raises(UsageError, match=r"trained again.*one-0001"):
        compared(tmp_path, run, SECOND)
