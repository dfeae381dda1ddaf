"""Repairing runs and recipes: by what was found in them, into a new run, and nothing where nothing is wrong or wins."""

from pathlib import Path
from typing import Any

import pytest
import torch

from netwright import repairing, runs, workbench
from netwright.diagnosis.judging import Diagnosis
from netwright.observations.experiments import Change
from netwright.recipe import Recipe, override
from netwright.repair import wording

SMALL = override(
    Recipe(),
    {
        "data.limit": 600, "network.name": "mlp", "network.width": 16, "train.epochs": 3, "train.batch_size": 32,
        "train.schedule": "constant", "train.threads": 1, "watch.confirm": 6,
    },
)  # fmt: skip
SLOW = {"train.optimizer": "sgd", "train.lr": 1e-4}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> workbench.Run:
    return workbench.train(override(SMALL, SLOW), folder=tmp_path_factory.mktemp("runs"))


def test_a_run_is_repaired_by_what_was_found_in_it(slow: workbench.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> Diagnosis:
        raise AssertionError("what the run knows is not asked again")

    monkeypatch.setattr(repairing, "diagnose", again)
    assert any(finding.code == "learning-rate-too-low" for finding in slow.findings)
    before = {path: path.read_bytes() for path in slow.directory.rglob("*") if path.suffix in (".safetensors", ".yaml")}
    repaired = repairing.repair_run(slow, folder=slow.directory.parent, seconds=6)
    assert repaired is not None
    assert repaired.run is not None
    assert repaired.run.recipe.train.lr > slow.recipe.train.lr  # type: ignore[operator]
    assert repaired.run.metrics["validation"]["accuracy"] > slow.metrics["validation"]["accuracy"] + 0.3
    assert {path: path.read_bytes() for path in before} == before
    assert repaired.ledger.steps[0].code == "learning-rate-too-low"


def test_where_nothing_was_found_nothing_is_done(tmp_path: Path) -> None:
    run = workbench.train(override(SMALL, {"train.epochs": 8, "data.limit": 0}), folder=tmp_path)
    assert not any(finding.severity != "note" for finding in run.findings)
    assert repairing.repair_run(run, folder=tmp_path, seconds=6) is None
    assert [summary.name for summary in runs.summaries(tmp_path)] == [run.directory.name]


def test_where_no_remedy_wins_nothing_is_trained(slow: workbench.Run, tmp_path: Path) -> None:
    repaired = repairing.repair_recipe(slow.recipe, folder=tmp_path, seconds=6, diagnosis=Diagnosis())
    assert repaired.run is None
    assert not repaired.ledger.recipe
    assert not list(tmp_path.iterdir())
    assert "nothing was changed" in str(repaired)


def test_factors_of_one_thing_are_one_change() -> None:
    steps = [
        Change(kind="learning-rate", value=10), Change(kind="norm", value="batch"),
        Change(kind="learning-rate", value=100), Change(kind="learning-rate", value={"to": 0.5}),
    ]  # fmt: skip
    assert wording.together(steps) == [Change(kind="learning-rate", value=1000), steps[1], steps[3]]


@pytest.mark.parametrize(
    "change",
    [
        Change(kind="activation", value="relu"), Change(kind="norm", value="batch"), Change(kind="group-norm"),
        Change(kind="initialization", value="auto"), Change(kind="initialization", value="default"),
        Change(kind="standardize-inputs"), Change(kind="clip", value=1.0), Change(kind="dropout", value=0.0),
    ],
    ids=lambda change: f"{change.kind} {change.value}",
)  # fmt: skip
def test_what_a_recipe_can_say_is_a_recipe_that_trains(change: Change, tmp_path: Path) -> None:
    assert change.kind in repairing.IN_RECIPES
    keys = wording.recipe_change(change)
    run = workbench.train(override(SMALL, {**keys, "train.epochs": 1, "watch.enabled": False}), folder=tmp_path)
    assert run.metrics["validation"]


def test_a_run_that_began_with_weights_keeps_them_on_both_sides(
    slow: workbench.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies that remedies are tried on begin with the weights that the training began with, frozen blocks too;
    what would draw or shape weights anew is not tried; and the repaired run begins with them again."""
    source = workbench.train(override(SMALL, {"train.epochs": 1, "watch.enabled": False}), folder=tmp_path)
    begun = override(SMALL, {**SLOW, "network.weights": str(source.directory), "train.freeze": 1})
    seen = []
    real = repairing.mending.mend

    def watched(replica: Any, *arguments: Any, allowed: tuple[str, ...], **options: Any) -> Any:
        seen.append((replica, allowed))
        return real(replica, *arguments, allowed=allowed, **options)

    monkeypatch.setattr(repairing.mending, "mend", watched)
    repaired = repairing.repair_recipe(begun, folder=tmp_path, seconds=4, diagnosis=slow.diagnosis)
    (replica, allowed), *others = seen
    assert not others
    start = source.network.state_dict()
    copied = replica.network.state_dict()
    assert copied.keys() == start.keys()
    assert all(torch.equal(copied[name], start[name]) for name in start)
    assert [parameter.requires_grad for parameter in replica.network.parameters()][:2] == [False, False]
    assert not set(allowed) & {"initialization", "width", "depth", "norm"}
    assert "learning-rate" in allowed
    assert repaired.run is not None  # the rate of 1e-4 was the fault
    assert repaired.run.recipe.network.weights == str(source.directory)
    first = next(iter(start))
    assert torch.equal(repaired.run.network.state_dict()[first], start[first])  # frozen, and the source's
