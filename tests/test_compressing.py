"""A run made smaller: what comes out is an ordinary run, the ledger says what was measured, the source stays."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
import os
import shlex
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import netwright
from netwright import compressing, files, runs, workbench, workshop
from netwright.cli.main import main
from netwright.compression import budgets, masks, passes
from netwright.compression.passes import Changed
from netwright.data.loading import Batch
from netwright.errors import DataError, RunError, StoppedError, UsageError
from netwright.objectives.choosing import objective as objective_for
from netwright.recipe import Recipe, override
from netwright.recipe.schema import Objective
from netwright.records import Latency
from netwright.reporting import ledger
from netwright.training.evaluating import by_example, evaluate
from netwright.training.healing import Healing
from netwright.training.precision import Precision
from netwright.workbench import Run

KEYS: dict[str, Any] = {
    "data.source": "digits", "data.limit": 400, "network.name": "lenet_300_100", "network.width": 0.16,
    "train.epochs": 6, "train.layout": "contiguous", "train.threads": 1, "watch.enabled": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return workbench.train(override(Recipe(), KEYS), folder=tmp_path_factory.mktemp("runs"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "TIMED_SECONDS", 0.05)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("run.sqlite-")  # what a reader of the database leaves
    }


def test_a_compressed_run_is_a_run(run: Run, tmp_path: Path) -> None:
    before = contents(run.directory)
    done = compressing.compress(run, "prune=channels:macs=0.5 heal=3", folder=tmp_path)
    assert contents(run.directory) == before
    prune, heal = done.steps
    assert prune.macs[1] <= 0.5 * prune.macs[0]
    assert prune.macs[0] == sum(p.numel() for p in run.network.parameters() if p.dim() > 1)  # an mlp multiplies once
    assert (heal.parameters, heal.macs[0]) == ((prune.parameters[1],) * 2, prune.macs[1])
    assert "smaller" in prune.gains
    assert heal.metrics[1]["accuracy"] > prune.metrics[1]["accuracy"]
    kept = json.loads((done.run.directory / "environment.json").read_text())
    assert kept["parent"]["run"] == run.directory.name

    again = netwright.load(done.run.directory)  # from the disk alone
    assert again.recipe.network.name == "lenet_300_100"
    assert again.metrics["validation"]["accuracy"] == heal.metrics[1]["accuracy"]
    size = (done.run.directory / "checkpoints").rglob("weights.safetensors").__next__().stat().st_size
    assert size == heal.file_bytes[1]
    pictures = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert again.network(pictures).shape == (3, 10)
    summary = runs.RunDirectory(again.directory).summary()
    assert (summary.state, summary.parent, summary.chain) == (
        "finished", run.directory.name, "prune=channels:macs=0.5 heal=3"
    )  # fmt: skip
    assert summary.weights_bytes == size
    assert run.files.summary().parent == ""
    reader = again.files.reader()
    assert ledger.steps_of(reader.detail("compression")) == done.steps
    reader.close()
    page = (done.run.directory / "report.html").read_text()
    assert "What every pass cost and brought" in page
    assert run.directory.name in page

    further = compressing.compress(again, "prune=weights:share=0.8 heal=1", folder=tmp_path)
    assert further.run.directory.name == f"{done.run.directory.name[:-4]}0002"
    assert len(further.run.files.read_json("network.json")["surgeries"]) > len(
        again.files.read_json("network.json")["surgeries"]
    )
    assert further.steps[-1].nonzero[1] < 0.3 * further.steps[-1].parameters[1]
    assert further.steps[-1].macs[1] == heal.macs[1]
    weight = masks.weight_of(next(iter(masks.maskable(netwright.load(further.run.directory).network)[0].values())))
    assert float((weight == 0).float().mean()) > 0.5


def test_the_first_weights_are_drawn_again(tmp_path: Path) -> None:
    """Trained so slowly that nothing moved, the kept weights are the initial ones."""
    still = {"train.optimizer": "sgd", "train.lr": 1e-12, "train.weight_decay": 0.0, "train.average": 0.0}
    slow = workbench.train(override(Recipe(), KEYS | still | {"train.epochs": 1, "seed": 7}), folder=tmp_path)
    with workshop.opened(slow, None, None, print) as shop:
        assert shop.context.initial is not None
        first = shop.context.initial()
    assert all(torch.allclose(first[name], tensor, atol=1e-7) for name, tensor in slow.network.state_dict().items())


def test_a_hook_is_told_the_sum_of_the_rates_that_are_to_come(run: Run) -> None:
    """Before the first of them; whatever the schedule: here one with a rise and a fall."""
    with workshop.opened(run, None, None, print) as shop:
        places: list[Any] = []
        shop.context.heal(copy.deepcopy(run.network), 2, hook=places.append)
    assert [place.step for place in places] == list(range(1, places[0].steps + 1))
    assert len({place.rate for place in places}) > 2
    assert [place.total for place in places] == pytest.approx([sum(place.rate for place in places)] * len(places))


def slower(shop: workshop.Workshop, networks: dict[str, Any]) -> dict[str, Latency]:
    """Planted: whatever comes after takes twice as long."""
    return {
        name: Latency(
            runtime="torch", processor="", threads=1, batch=1, median_ms=2.0 if name == "after" else 1.0, low_ms=1.0,
            high_ms=1.0, turns=(2.0 if name == "after" else 1.0,) * 9,
        )
        for name in networks
    }  # fmt: skip


def test_what_is_not_faster_is_taken_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop.Workshop, "latencies", slower)
    limit = 0.9 * workshop.file_bytes(run.network)
    done = compressing.compress(run, "prune=channels:macs=0.5", keep_if_faster=True, max_size=limit, folder=tmp_path)
    assert done.missed  # what was taken back saves nothing
    (step,) = done.steps
    assert step.undone
    assert "taken back" in step.note
    assert not done.new  # nothing is left that the source is not
    assert done.run.directory == run.directory
    assert done.to_dict()["run"] is None
    assert not list(tmp_path.iterdir())
    assert ledger.rows(done.steps)[1][-1] == "undone"
    healed = compressing.compress(run, "prune=channels:macs=0.5 heal=1", keep_if_faster=True, folder=tmp_path)
    assert healed.new  # what was trained on is another network, though the cut was taken back
    assert not healed.run.files.read_json("network.json")["surgeries"]


@pytest.mark.parametrize(
    ("chain", "named"),
    [
        ("heal=1 lowrank=svd:layers=fc9", "fc9.*fc1"), ("heal=1 prune=channels:macs=0.5,keep=fx1", "fx1.*fc1"),
        ("heal=1 distil=nobody-0001:epochs=1", "nobody-0001"), ("heal=1 pack", "no layer of 1 or 2 bits"),
        ("quantize=binary:ends=true heal=1 pack prune=channels:macs=0.5", r"fc1.*\(packed\).*before the pass"),
        ("prune=weights:share=0.5 heal=1 slim", r"fc1.*\(masked\)"),
        ("quantize=int8:epochs=1 lowrank=svd", r"\(rounded to 8 bits\)"),
        ("quantize=ternary:ends=true,epochs=1 prune=channels:macs=0.5", r"\(few bits\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_trained(
    chain: str, named: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: Any) -> None:
        raise AssertionError("hours were spent")

    monkeypatch.setattr(Healing, "__call__", trained)
    with pytest.raises(UsageError, match=named):
        compressing.compress(run, chain, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_rehearsal_changes_nothing_of_what_comes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same chain with and without it: the same bits."""
    chain = "heal=1 prune=channels:macs=0.5,criterion=random heal=1"
    with_it = compressing.compress(run, chain, folder=tmp_path).run.network.state_dict()
    monkeypatch.setattr(compressing, "_rehearse", lambda *_: None)
    without = compressing.compress(run, chain, folder=tmp_path).run.network.state_dict()
    assert all(torch.equal(with_it[name], tensor) for name, tensor in without.items())


def test_ctrl_c_keeps_the_passes_that_are_done(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is kept is what the chain without the rest comes to; and one document says how to go on."""
    before, heal = contents(run.directory), Healing.__call__

    def stopped(self: Any, network: nn.Module, epochs: int, *more: Any) -> None:
        if epochs == 7:
            raise KeyboardInterrupt
        heal(self, network, epochs, *more)

    monkeypatch.setattr(Healing, "__call__", stopped)
    command = ["compress", str(run.directory), "prune=channels:macs=0.5", "heal=1", "heal=7", "quantize=fp16"]
    assert main([*command, "--out", str(tmp_path), "--json"]) == 130
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    hint = error["try"]
    assert error["got"].endswith("what heal=7 had done by then is not")  # the epochs of a pass are no state to keep
    (kept,) = runs.list_directories(tmp_path)
    assert hint == f"netwright compress {kept} heal=7 quantize=fp16 --out {tmp_path}"
    whole = compressing.compress(run, "prune=channels:macs=0.5 heal=1", folder=tmp_path).run.network.state_dict()
    found = netwright.load(kept).network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    with pytest.raises(StoppedError, match="nothing was written"):
        compressing.compress(run, "heal=7", folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert contents(run.directory) == before


@pytest.mark.parametrize("where", ["_rehearse", "_searched"])
def test_ctrl_c_before_the_first_pass_says_what_there_is_and_how_to_go_on(
    where: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compressing, where, stopped)
    words = ["--max-size", "40KB", "--max-drop", "1.5", "--keep-if-faster", "--threads", "2", "--out", str(tmp_path)]
    command = ["compress", str(run.directory), *(["heal=1", "heal=2"] if where == "_rehearse" else []), *words]
    assert main([*command, "--json"]) == 130
    error = json.loads(capsys.readouterr().out)["error"]
    assert "nothing was written" in error["got"]
    assert error["try"] == shlex.join(["netwright", *command])
    assert not list(tmp_path.iterdir())


def test_a_run_is_found_by_its_name_wherever_the_new_one_goes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to(run.directory.parent)  # the usual folder
    done = compressing.compress(run.directory.name, "prune=weights:share=0.5", folder=tmp_path / "new")
    assert done.run.directory.parent == tmp_path / "new"
    with pytest.raises(UsageError, match="no run there"):
        compressing.compress("nobody-0001", "heal=1", folder=tmp_path / "new")


@pytest.mark.parametrize("name", [name for name in passes.PASSES if name not in ("pack", "lowrank", "rewrite")])
def test_no_pass_takes_epochs_without_end(name: str) -> None:
    text = {"prune": "prune=weights:share=0.5,gradual=N", "heal": "heal=N", "distil": "distil=a:epochs=N",
            "quantize": "quantize=binary:epochs=N"}.get(name, f"{name}=1e-4:epochs=N")  # fmt: skip
    assert passes.parse(text.replace("N", str(passes.MOST_EPOCHS)))
    for wrong in (str(passes.MOST_EPOCHS + 1), "9" * 30, "-1", "1.5"):
        with pytest.raises(UsageError, match=r"a whole number, at least [01] and at most 10000") as caught:
            passes.parse(text.replace("N", wrong))
        assert "`" not in str(caught.value)  # the validator's language


def test_a_pass_that_makes_it_larger_and_slower_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop.Workshop, "latencies", slower)
    layer = next(name for name, module in run.network.named_modules() if isinstance(module, nn.Linear))
    (step,) = compressing.compress(run, f"lowrank=svd:rank=999,layers={layer}", folder=tmp_path).steps
    assert "more parameters, more MACs, slower than before" in step.note
    assert "wins nothing" in step.note


def test_a_pass_that_brings_nothing_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop.Workshop, "latencies", slower)
    done = compressing.compress(run, "prune=weights:share=0.001", folder=tmp_path)
    assert "wins nothing" in done.steps[0].note
    assert done.steps[0].won is False
    assert not done.missed


def test_budgets_are_searched_for_and_met_or_named(run: Run, tmp_path: Path) -> None:
    size = workshop.file_bytes(run.network)
    done = compressing.compress(run, max_size=0.6 * size, max_drop=50, heal=1, folder=tmp_path)
    assert done.met
    assert done.steps[-1].file_bytes[1] <= 0.6 * size
    fitting, others = ([p for p in done.tried if p.fits is fits] for fits in (True, False))
    assert max(p.macs for p in fitting) < min(p.macs for p in others)  # the largest that fits was found
    assert done.steps[-1].file_bytes[1] == max(p.file_bytes for p in fitting)
    kept = compressing.compress(run, max_size=2 * size, folder=tmp_path / "none")
    assert kept.met  # as it is: nothing is cut for nothing
    assert not kept.new
    assert not kept.steps
    missed = compressing.compress(run, max_size="300B", heal=1, folder=tmp_path)
    assert not missed.met
    assert "300" in missed.missed[0]
    assert missed.run.directory.is_dir()  # the best that was reached


def test_healing_that_only_harms_leaves_the_network_as_it_came(run: Run, tmp_path: Path) -> None:
    """Planted: a rate at which everything is forgotten. And by keep=last what was trained is what stays."""
    with workshop.opened(run, None, None, print) as shop:
        healing = shop.context.training
        assert isinstance(healing, Healing)
        before = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
        for keep, same in (("best", True), ("last", False)):
            wild = {"train.lr": 5.0, "train.optimizer": "sgd", "train.clip": 1.0, "train.keep": keep}
            network = copy.deepcopy(run.network)
            dataclasses.replace(healing, recipe=override(shop.recipe, wild))(network, 1)
            after = network.state_dict()
            assert all(torch.equal(before[name], tensor) for name, tensor in after.items()) is same


def test_what_cannot_be_compressed_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="heel"):
        compressing.compress(run, "heel=2", folder=tmp_path)
    with pytest.raises(UsageError, match="empty chain"):
        compressing.compress(run, folder=tmp_path)
    unfinished = runs.create(tmp_path, "unfinished")
    for name in ("recipe.yaml", "request.yaml", "network.json", "preprocess.json", "environment.json"):
        (unfinished / name).write_bytes((run.directory / name).read_bytes())
    with pytest.raises(RunError, match="untrained"):
        compressing.compress(unfinished, "heal=1", folder=tmp_path)
    about = json.loads((unfinished / "environment.json").read_text())
    about["data"]["sha256"] = "0" * 64
    (unfinished / "environment.json").write_text(json.dumps(about))
    (unfinished / "current.json").write_bytes((run.directory / "current.json").read_bytes())
    with pytest.raises(DataError, match="other data"):
        compressing.compress(unfinished, "heal=1", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["unfinished-0001"]


def test_the_command_line(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document on stdout; 0 where it is done, 2 for what means nothing, 3 for a budget that is not met."""
    begin = ["compress", str(run.directory), "--out", str(tmp_path), "--json"]
    assert main([*begin, "prune=weights:share=0.5", "--max-size", "1B"]) == 3
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["steps"][0]["nonzero"][1] < document["steps"][0]["nonzero"][0]
    assert document["missed"]
    assert "best that was reached" in said.err
    assert main([*begin, "prune=wieghts:share=0.5"]) == 2
    assert "prune=weights" in json.loads(capsys.readouterr().out)["error"]["try"]
    assert main([*begin, "--sensitivity"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["layer"] for row in rows} == {"fc1", "fc2"}
    (made,) = runs.list_directories(tmp_path)
    assert main(["runs", "--out", str(tmp_path)]) == 0
    assert "compressed" in capsys.readouterr().out.splitlines()[0]
    assert main(["compare", str(run.directory), str(made)]) == 0
    told = capsys.readouterr().out
    assert f"{made.name} was compressed from {run.directory.name}: prune=weights:share=0.5" in told
    assert any(line.startswith("weights ") for line in told.splitlines())  # the sizes of both files
    assert main(["train", "--resume", str(made), "--quiet"]) == 0
    assert f"netwright compress {made} heal=" in capsys.readouterr().err


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_better_and_worse_are_what_chance_would_hardly_do(pairs: list[tuple[bool, bool]]) -> None:
    """Of n examples that only one network has right, a fair coin would fall so unevenly (McNemar 1947, exactly)."""
    before, after = (figures([pair[side] for pair in pairs]) for side in (0, 1))
    gained, lost = sum(pair == (False, True) for pair in pairs), sum(pair == (True, False) for pair in pairs)
    n, less = gained + lost, min(gained, lost)
    chance = min(Fraction(1), 2 * sum(Fraction(math.comb(n, k), 2**n) for k in range(less + 1)))
    row = compressing._row(passes.parse("heal=1")[0], Changed((), ""), (before, after), (None, None), 1.0)
    assert row.chance == pytest.approx(float(chance))
    sure = chance < Fraction(1, 20)
    assert ("better" in row.gains) is (sure and gained > lost)
    assert ("worse than before" in row.note) is (sure and gained < lost)
    assert ("not told apart" in row.note) is (not sure and gained != lost)


def figures(each: list[Any]) -> workshop.Figures:
    values = torch.tensor(each)
    metrics = {"accuracy" if values.dtype == torch.bool else "loss": float(values.double().mean())}
    return workshop.Figures(1, 1, 1, 1, 1, metrics, values)


def test_one_picture_of_144_is_neither_better_nor_worse() -> None:
    before = [False] * 5 + [True] * 139
    assert compressing.chance_of(figures(before), figures([*before[1:], True])) == 1.0


def test_losses_are_told_apart_by_their_paired_differences() -> None:
    draws = torch.Generator().manual_seed(0)
    old, noise = torch.rand(200, generator=draws) + 1, torch.randn(200, generator=draws)
    for shift in (0.0, -0.02, 0.3):
        new = old + shift + 0.1 * noise
        told = compressing.chance_of(figures(old.tolist()), figures(new.tolist()))
        assert told == pytest.approx(float(stats.ttest_rel(new.double(), old.double()).pvalue), rel=1e-4)


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
def test_what_is_told_of_each_example_adds_up_to_the_metrics(task: str) -> None:
    draws = torch.Generator().manual_seed(1)
    outputs = torch.randn(50, 3, generator=draws)
    targets = {
        "classification": outputs.argmax(1).where(torch.rand(50, generator=draws) < 0.7, torch.tensor(0)),
        "multi-label": (torch.rand(50, 3, generator=draws) < 0.5).float(),
        "regression": torch.randn(50, 3, generator=draws),
    }[task]  # fmt: skip
    objective = objective_for(Objective(), task, 3)
    batches = [Batch((part,), true) for part, true in zip(outputs.split(20), targets.split(20), strict=True)]
    given = SimpleNamespace(epoch=lambda number: iter(batches))
    metrics, each = by_example(nn.Identity(), objective, given, Precision("fp32", torch.device("cpu")))
    assert metrics == evaluate(nn.Identity(), objective, given, Precision("fp32", torch.device("cpu")))
    assert len(each) == 50
    assert float(each.float().mean()) == pytest.approx(metrics["accuracy" if task == "classification" else "loss"])


@pytest.mark.parametrize(("times", "fewest", "most"), [(1.0, 0.0, 0.05), (0.97, 0.0, 0.05), (0.8, 0.95, 1.0)])
def test_faster_is_more_than_noise(times: float, fewest: float, most: float) -> None:
    """Planted: a busy machine, where one call in five takes twice as long; how often 50 rounds of a network that takes
    so many times as long are called faster. Equal networks differ by 3 %: their weights lie at other places."""
    draws = np.random.default_rng(0)

    def measured(median: float) -> Latency:
        busy = np.exp(np.abs(draws.normal(0, 0.1, 50))) * np.where(draws.random(50) < 0.2, 2.0, 1.0)
        return Latency(
            runtime="torch", processor="", threads=1, batch=1, median_ms=0.0, low_ms=0.0, high_ms=0.0,
            turns=tuple((median * busy).tolist()),
        )  # fmt: skip

    called = np.mean([compressing.clearly_faster(measured(1.0), measured(times)) for _ in range(400)])
    assert not compressing.clearly_faster(measured(1.0), None)
    assert fewest <= called <= most


DAMAGES: dict[str, Any] = {
    "a width of text": {"arguments": {"width": "wide"}},
    "no such argument": {"arguments": {"colour": 3}}, "no such network": {"name": "lenet_300_101"},
    "other outputs": {"outputs": 7}, "outputs below 0": {"outputs": -1}, "no surgeries": {"surgeries": []},
    "a kind that there is not": {"kind": "odd"},
    "a module that there is not": {"surgeries": [{"operation": "mask", "module": "fc9"}]},
    "a surgery that there is not": {"surgeries": [{"operation": "remove", "module": "fc1"}]},
    "a surgery of other shapes": {"surgeries": [{"operation": "resize", "module": "fc1", "shapes": {"weight": [1]}}]},
    "not JSON": None,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_network_file_is_named_with_one_exit_code(damage: str, small: Run, tmp_path: Path) -> None:
    """Whatever is wrong in it, whichever stage reads it: never a key of the recipe, and never the weights."""
    shutil.copytree(small.directory, tmp_path / "run")
    path = tmp_path / "run" / "network.json"
    changes = DAMAGES[damage]
    about = json.loads(path.read_text())
    if changes is not None and "arguments" in changes:
        changes = {"arguments": about["arguments"] | changes["arguments"]}
    path.write_text("{half" if changes is None else json.dumps(about | changes))
    for read in (lambda: netwright.load(path.parent).network, lambda: compressing.compress(path.parent, "heal=1")):
        with pytest.raises(RunError) as caught:
            read()
        assert caught.value.where == str(path)
        assert caught.value.exit_code == 1
        assert "network.width" not in caught.value.suggestion


@pytest.fixture(scope="module")
def small(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return compressing.compress(run, "prune=channels:macs=0.5", folder=tmp_path_factory.mktemp("small")).run


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_killed_at_any_file_operation_it_is_whole_or_not_there(run: Run, tmp_path: Path) -> None:
    """A child is killed at its n-th operation; what can be seen afterwards is nothing, or a run that loads."""
    before, seen = contents(run.directory), set()
    for number in (1, 4, 9, 14, 19, 22, 24, 26, 200):
        folder = tmp_path / str(number)
        pid = os.fork()
        if pid == 0:
            _killed(run, folder, number)
        os.waitpid(pid, 0)
        found = runs.list_directories(folder)
        seen.add(len(found))
        for path in found:
            assert netwright.load(path).metrics["validation"]
            assert runs.RunDirectory(path).summary().state == "finished"
    assert seen == {0, 1}
    assert contents(run.directory) == before


def _killed(run: Run, folder: Path, number: int) -> None:
    done = 0

    def counting(operate: Any) -> Any:
        def instead(*arguments: Any) -> Any:
            nonlocal done
            done += 1
            if done == number:
                os._exit(9)
            return operate(*arguments)

        return instead

    try:
        for name in ("write_bytes", "sync_file", "sync_folder", "rename"):
            setattr(files, name, counting(getattr(files, name)))
        compressing.compress(run, "prune=weights:share=0.5", folder=folder)
    finally:
        os._exit(0)


# --------------------------------------------------------------------------------------------------------------
# Budgets


@pytest.mark.parametrize(
    ("size", "latency", "expected"),
    [
        ("500KB", None, (500_000, None, "")), ("1.5 MiB", None, (1_572_864, None, "")), (1234, None, (1234, None, "")),
        (None, "12ms@onnxruntime", (None, 12.0, "onnxruntime")), (None, "250us", (None, 0.25, "")),
        (None, "1s@ncnn", (None, 1000.0, "ncnn")),
    ],
)  # fmt: skip
def test_budgets_are_read(size: Any, latency: Any, expected: tuple[Any, ...]) -> None:
    found = budgets.budgets_of(size, latency, None)
    assert (found.size, found.latency_ms, found.runtime) == expected


@pytest.mark.parametrize(
    ("size", "latency", "drop"),
    [("5 apples", None, None), ("0KB", None, None), (None, "fast", None), (None, "0ms", None), (None, "1.2.3ms", None),
     (None, None, -1.0), ("-3KB", None, None)],
)  # fmt: skip
def test_budgets_that_mean_nothing_are_refused(size: Any, latency: Any, drop: Any) -> None:
    with pytest.raises(UsageError, match="--max-"):
        budgets.budgets_of(size, latency, drop)


@given(st.floats(0.03, 0.99), st.floats(0.0, 0.9))
def test_halving_finds_the_edge(edge: float, impossible: float) -> None:
    """Above the edge nothing fits, below ``impossible`` nothing can be made."""
    width = (1 - budgets.SMALLEST) / 2**budgets.HALVINGS
    found = budgets.largest(lambda share: None if share < impossible else share <= edge)
    if edge - max(impossible, budgets.SMALLEST) > width:
        assert found is not None
        assert edge - width <= found <= edge
    mirrored = budgets.smallest(lambda share: share >= edge)
    assert mirrored is None or edge <= mirrored <= edge + width
