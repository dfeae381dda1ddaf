"""Ensembles of runs: what they say is the mean of what their members say, and they are runs as any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import netwright
from netwright import ensembling, exporting, workbench
from netwright.cli.main import main
from netwright.data.opening import open_source
from netwright.errors import DataError, NetwrightError, RunError, UsageError
from netwright.export.targets import TARGETS, missing
from netwright.nn.ensembling import Ensemble
from netwright.preprocess import apply
from netwright.recipe import Recipe, override
from netwright.records import NetworkFile
from netwright.workbench import Run

KEYS: dict[str, Any] = {
    "data.limit": 150, "network.name": "mlp", "network.width": 8, "network.dropout": 0.0, "train.epochs": 1,
    "train.layout": "contiguous", "train.threads": 1, "objective.label_smoothing": 0.0, "watch.enabled": False,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "one": {}, "two": {"seed": 1}, "wide": {"seed": 2, "network.width": 12},
    "fewer": {"seed": 3, "data.limit": 120}, "split": {"seed": 4, "data.split_seed": 5},
    "hinge": {"objective.loss": "hinge"},
    "large": {"data.size": 16}, "value": {"data.task": "regression"},
    "value of fewer": {"data.task": "regression", "data.limit": 120, "seed": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


class Trained(dict[str, Run]):
    """The runs of ``CASES``, each trained when it is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> Run:
        recipe = override(Recipe(), KEYS | CASES[name] | {"name": name})
        self[name] = workbench.train(recipe, folder=self.folder)
        return self[name]


@pytest.fixture(scope="module")
def members(folder: Path) -> dict[str, Run]:
    return Trained(folder)


def test_it_says_the_mean_of_what_the_members_say(members: dict[str, Run], folder: Path) -> None:
    """Computed again by hand: each member on its own input, by its own preprocessing. One was trained on fewer
    examples, so its mean and deviation are others; one is wider."""
    chosen, shares = [members[name] for name in ("one", "wide", "fewer")], np.array([2.0, 1.0, 1.0]) / 4
    assert members["one"].inputs != members["fewer"].inputs
    run = netwright.ensemble(chosen, weights=[2, 1, 1], folder=folder)
    part = open_source(run.recipe.data).parts["test"]
    raw, labels = part.inputs[0][part.rows], part.part_targets()
    said = []
    for member in chosen:
        inputs = torch.from_numpy(apply(member.inputs.inputs[0], raw))
        with torch.inference_mode():
            said.append(torch.softmax(member.network(inputs).double(), 1).numpy())
    mean = np.tensordot(shares, np.array(said), 1)
    assert run.metrics["test"]["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
    assert run.metrics["test"]["loss"] == pytest.approx(-np.log(mean[np.arange(len(labels)), labels]).mean(), rel=1e-5)
    told = netwright.predict(run, raw[:5])
    for row, prediction in zip(mean, told, strict=False):
        by_class = [prediction.probabilities[name] for name in run.inputs.classes]  # type: ignore[index]
        np.testing.assert_allclose(by_class, row, atol=1e-5)
    found = ensembling.account(run)
    test = next(part for part in found.parts if part.part == "test")
    decided = np.array(said).argmax(2)
    differ = np.mean([(decided[a] != decided[b]).mean() for a in range(3) for b in range(a)])
    assert test.disagreement == pytest.approx(differ)
    votes = np.array([[shares[decided[:, n] == k].sum() for k in range(10)] for n in range(len(labels))])
    assert test.vote == pytest.approx((votes.argmax(1) == labels).mean())
    alone = [member.metrics["test"]["accuracy"] for member in found.members]
    assert alone == [pytest.approx(member.metrics["test"]["accuracy"]) for member in chosen]
    assert test.mean["accuracy"] == pytest.approx(shares @ alone)


def test_it_is_a_run_that_loads_without_its_members(members: dict[str, Run], folder: Path) -> None:
    run = netwright.ensemble([members["one"], members["two"]], folder=folder)
    kept = Run(run.directory)
    assert isinstance(kept.network, Ensemble)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(kept.network(x), run.network(x))
    record = kept.files.read_record("network.json", NetworkFile)
    assert [member.kind for member in record.members] == ["zoo", "zoo"]
    assert not [path for path in run.directory.rglob("*") if path.suffix in (".pt", ".pkl", ".pickle")]
    assert run.files.summary().state == "finished"
    page = (run.directory / "report.html").read_text()
    assert all(text in page for text in ("mean of members", members["two"].directory.name, "differ on"))
    assert kept.recipe.network.name == "ensemble"
    with pytest.raises(NetwrightError, match="made of trained runs"):
        workbench.train(kept.recipe, folder=folder)


@pytest.mark.parametrize("target", ["onnx", "ncnn", "torchscript"])
def test_it_is_exported_and_checked(target: str, members: dict[str, Run], folder: Path) -> None:
    if missing(TARGETS[target]):
        pytest.skip(f"{missing(TARGETS[target])} is not installed")
    run = netwright.ensemble([members["one"], members["fewer"]], folder=folder)
    result = exporting.export(run, target, examples=20)
    assert result.agrees
    assert result.labels_equal == 1.0


def test_values_differ_as_krogh_and_vedelsby_say(members: dict[str, Run], folder: Path) -> None:
    """Their equation 6 holds to rounding; the members' targets were normalised otherwise."""
    pair = [members["value"], members["value of fewer"]]
    assert pair[0].inputs.target_mean != pair[1].inputs.target_mean
    run = netwright.ensemble(pair, weights=[3, 1], folder=folder)
    for part in ensembling.account(run).parts:
        assert part.error is not None
        assert part.ambiguity
        assert part.error == pytest.approx(part.members_error - part.ambiguity, rel=1e-5)
        assert part.error == pytest.approx(run.metrics[part.part]["rmse"] ** 2, rel=1e-4)
        alone = [member.metrics[part.part]["rmse"] ** 2 for member in ensembling.account(run).members]
        assert part.members_error == pytest.approx(0.75 * alone[0] + 0.25 * alone[1], rel=1e-4)


def test_it_teaches_and_is_compressed(members: dict[str, Run], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from netwright import workshop

    monkeypatch.setattr(workshop, "TIMED_SECONDS", 0.02)
    run = netwright.ensemble([members["one"], members["two"]], folder=folder, name="pair")
    small = netwright.compress(members["one"], f"distil={run.directory.name} heal=1", folder=folder)
    assert [step.step for step in small.steps] == [f"distil={run.directory.name}", "heal=1"]
    cut = netwright.compress(run, "prune=channels:share=0.4", folder=folder)
    assert cut.steps[0].macs[1] < cut.steps[0].macs[0]
    assert isinstance(Run(cut.run.directory).network, Ensemble)


@pytest.mark.parametrize(
    ("names", "options", "kind", "said"),
    [
        (["one"], {}, UsageError, "one member"),
        ([], {}, UsageError, "one member"),
        (["one", "one"], {}, UsageError, "same weights"),
        (["one", "value"], {}, UsageError, "regression"),
        (["one", "hinge"], {}, UsageError, "kind of loss"),
        (["one", "large"], {}, UsageError, "size 16×16 instead of 8×8"),
        (["one", "two"], {"weights": [1]}, UsageError, "2 numbers"),
        (["one", "two"], {"weights": [1, -1]}, UsageError, "above 0"),
        (["one", "two"], {"changes": {"train.lr": 0.1}}, UsageError, "--members"),
        (["one", "two"], {"members": 3}, UsageError, "2 subjects"),
        (["one", "two"], {"snapshots": 2}, UsageError, "2 runs"),
        (["one"], {"snapshots": True}, UsageError, r"without any.*train\.snapshots=5"),
    ],
)
def test_what_is_no_ensemble_is_said(
    names: list[str], options: Any, kind: Any, said: str, members: dict[str, Run], folder: Path
) -> None:
    chosen = [members[name] for name in names]
    before = sorted(folder.iterdir())
    with pytest.raises(kind, match=said):
        netwright.ensemble(chosen, folder=folder, **options)
    assert sorted(folder.iterdir()) == before


def test_what_a_member_has_learned_does_not_judge(members: dict[str, Run], folder: Path) -> None:
    """The counts by hand: rows of one split's held-out parts in the other's training part."""
    pair = [members["one"], members["split"]]
    examples, other = (open_source(run.recipe.data) for run in pair)
    both = {
        part: len(set(examples.parts[part].rows) & set(other.parts["train"].rows))  # type: ignore[arg-type]
        for part in ("validation", "test")
    }
    assert all(both.values())
    with pytest.raises(DataError, match=f"{both['validation']} of the"):
        netwright.ensemble(pair, folder=folder)
    run = netwright.ensemble(pair, leaky=True, folder=folder)
    assert {part.part: part.leaked for part in ensembling.account(run).parts} == {
        part: {members["split"].directory.name: count} for part, count in both.items()
    }
    assert "not held out" in (run.directory / "report.html").read_text()


def test_members_of_one_name_are_told_apart(members: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / members["one"].directory.name
    shutil.copytree(members["split"].directory, twin)
    found = ensembling.account(netwright.ensemble([members["one"], twin], leaky=True, folder=folder))
    assert [each.name for each in found.members] == [str(members["one"].directory), str(twin)]
    assert all(list(part.leaked) == [str(twin)] for part in found.parts)


def test_unfinished_and_damaged_members_are_named(members: dict[str, Run], folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken-0001"
    shutil.copytree(members["two"].directory, broken)
    current = json.loads((broken / "current.json").read_text())
    (broken / "current.json").write_text(json.dumps(current | {"finished": False}))
    with pytest.raises(RunError, match="not finished"):
        netwright.ensemble([members["one"], broken], folder=folder)
    (broken / "current.json").write_text(json.dumps(current))
    weights = broken / "checkpoints" / current["best"] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(RunError, match="damaged"):
        netwright.ensemble([members["one"], broken], folder=folder)


def test_the_verb_prints_a_table_or_one_document(
    members: dict[str, Run], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [members[name].directory.name for name in ("one", "two")]
    assert main(["ensemble", *names, "--out", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in document["ensemble"]["members"]] == names
    assert main(["ensemble", *names, "--weights", "2,1", "--out", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "66.7 %" in shown
    assert "mean of members" in shown
    for words in (["--weights", "a,b"], ["--snapshots", "x"], ["--set", "train.lr=1"]):
        assert main(["ensemble", *names, *words, "--out", str(folder)]) == 2
    assert main(["ensemble", "--out", str(folder)]) == 2
