"""A run under watch: the same bits, what is seen in its database, findings once, and no harm from the doctor."""

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from netwright import workbench
from netwright.cli.main import main
from netwright.diagnosis import judging, registry
from netwright.nn import weights
from netwright.observations import Observations, keeping
from netwright.recipe import Recipe, override
from netwright.records import EpochRow, Evidence, Finding
from netwright.reporting.progress import Progress
from netwright.training.recording import DivergedError, Interrupted

SMALL = {
    "data.limit": 300, "network.name": "mlp", "network.width": 16, "network.dropout": 0.1, "train.epochs": 3,
    "train.batch_size": 32, "watch.confirm": 0,
}  # fmt: skip
Rule = Callable[[Observations], Iterator[Finding]]


def train(folder: Path, changes: dict[str, Any] | None = None, **options: Any) -> workbench.Run:
    return workbench.train(override(Recipe(), SMALL | (changes or {})), folder=folder, **options)


def last(run: workbench.Run) -> dict[str, torch.Tensor]:
    return weights.read(run.files.checkpoint("last") / "weights.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """These rules and no others."""

    def install(*rules: tuple[tuple[str, ...], Rule]) -> None:
        judging.load_rules()  # before, because a module registers its rules once
        own = {rule: codes for codes, rule in rules}
        monkeypatch.setattr("netwright.diagnosis.judging.RULES", own)
        monkeypatch.setattr(registry, "RULES", own)

    return install


def always(observations: Observations) -> Iterator[Finding]:
    yield Finding(code="leak", severity="warning", where="validation", remedies=())


def on_steps(observations: Observations) -> Iterator[Finding]:
    """From the tenth step on: something that only a measurement shows."""
    norms = observations.series.get("weight-norm")
    if len(norms.steps) >= 10:
        evidence = Evidence(what="norm", value=norms.last, step=norms.steps[-1])
        yield Finding(code="plateau", severity="error", where="weights", evidence=(evidence,), because_of="leak")


# ------------------------------------------------------------------------------------------------ no harm


@pytest.mark.parametrize(
    "changes",
    [
        {"augment.noise": 0.1, "train.optimizer": "adam"},
        {"network.name": "small_resnet", "network.width": 4, "train.accumulate": 2, "train.clip": 0.5, "seed": 1},
        {"train.schedule": "plateau", "train.patience": 2, "train.average": 0.8, "train.optimizer": "momentum"},
    ],
)  # fmt: skip
def test_a_watched_training_ends_at_the_same_bits(tmp_path: Path, changes: dict[str, Any]) -> None:
    watched, blind = train(tmp_path, changes), train(tmp_path, changes | {"watch.enabled": False})
    assert same(last(watched), last(blind))
    assert watched.metrics == blind.metrics
    assert watched.files.reader().series("loss") == blind.files.reader().series("loss")
    assert watched.diagnosis is not None
    assert (blind.diagnosis, blind.findings) == (None, [])


def test_a_rule_that_fails_is_one_warning_and_the_training_goes_on(tmp_path: Path, only: Callable[..., None]) -> None:
    def broken(observations: Observations) -> Iterator[Finding]:
        raise ZeroDivisionError("of a rule")
        yield

    only((("leak",), broken), (("plateau", "dead-units"), lambda observations: iter(())))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train(tmp_path)
    told = [str(each.message) for each in caught if "netwright" in str(each.message)]
    assert len(told) == 1
    assert "ZeroDivisionError: of a rule" in told[0]
    assert run.files.current()["finished"]
    assert run.diagnosis is not None
    assert run.diagnosis.checked == ("plateau", "dead-units"), "the others are asked all the same"
    assert any("ZeroDivisionError" in why for why in run.diagnosis.unseen.values())


def test_a_watch_that_cannot_begin_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> None:
        raise RuntimeError("no watch today")

    monkeypatch.setattr("netwright.overseeing.watch", fails)
    with pytest.warns(UserWarning, match="not watched: RuntimeError: no watch today"):
        run = train(tmp_path)
    assert run.diagnosis is None


# ------------------------------------------------------------------------------------------------ what is kept and told


def test_what_is_seen_lies_in_the_database_and_findings_are_told_once(
    tmp_path: Path, only: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    only((("leak",), always), (("plateau", "dead-units"), on_steps))
    run = train(tmp_path, shown=Progress())
    err = capsys.readouterr().err
    assert err.count("warning: leak") == 1
    assert err.count("error: plateau") == 1
    assert err.index("warning: leak") < err.index("epoch 1/3"), "what is known before the first step is told before it"
    assert [finding.code for finding in run.files.reader().findings()] == ["leak", "plateau"]
    assert [finding.code for finding in run.findings] == ["leak", "plateau"]
    assert run.diagnosis is not None
    assert run.diagnosis.checked == ("dead-units",)
    assert run.to_dict()["findings"][1]["because_of"] == "leak"
    seen = keeping.read(run.files)
    assert seen.finished
    assert seen.network is not None
    assert seen.network.parameters > 0
    assert seen.plan is not None
    assert (seen.plan.examples, seen.plan.batch_size, seen.plan.epochs) == (300, 32, 3)
    assert list(seen.series.get("weight-norm").steps[:10]) == list(range(1, 11))
    assert [(row.epoch, row.split) for row in seen.epochs] == [
        (e, s) for e in (1, 2, 3) for s in ("train", "validation")
    ]
    assert list(seen.series.get("loss").steps) == list(range(1, 31))
    replay = seen.outcomes["replay"].baseline
    assert replay is not None
    assert replay.score == pytest.approx(run.metrics["validation"]["accuracy"])


def test_an_interrupted_run_goes_on_under_watch(tmp_path: Path, only: Callable[..., None]) -> None:
    """The same bits, the same steps seen at the start, no row beyond the step it went on from, no finding twice."""
    only((("leak",), always), (("plateau",), on_steps))

    class Stop:
        """A sink that asks to stop in the second epoch."""

        def epoch(self, row: EpochRow) -> None:
            if row.epoch == 2 and row.split == "train":
                os.kill(os.getpid(), signal.SIGINT)

        def series(self, name: str, first_step: int, values: Any) -> None: ...
        def flush(self) -> None: ...
        def close(self) -> None: ...

    whole = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", sinks=[Stop()])
    (directory,) = (tmp_path / "cut").iterdir()
    run = workbench.Run(directory).files
    half = keeping.read(run)
    assert half.series.get("weight-norm").steps
    assert max(half.series.get("weight-norm").steps) <= 20 == run.current()["step"]
    resumed = workbench.resume(directory)
    assert same(last(whole), last(resumed))
    seen = keeping.read(resumed.files)
    steps = seen.series.get("weight-norm").steps
    assert list(steps) == sorted(set(steps))
    assert steps[: len(half.series.get("weight-norm").steps)] == half.series.get("weight-norm").steps
    assert max(steps) > 20
    assert [row.epoch for row in seen.epochs if row.split == "train"] == [1, 2, 3]
    assert [finding.code for finding in resumed.files.reader().findings()] == ["leak", "plateau"]


def test_a_training_that_diverges_is_still_judged(tmp_path: Path, only: Callable[..., None]) -> None:
    only((("leak",), always))
    with pytest.raises(DivergedError):
        train(tmp_path, {"train.optimizer": "sgd", "train.lr": 1e30, "train.schedule": "constant"})
    (directory,) = tmp_path.iterdir()
    judged = workbench.Run(directory).diagnosis
    assert judged is not None
    assert [finding.code for finding in judged.findings] == ["leak"]
    assert keeping.read(workbench.Run(directory).files).series.get("loss").values


def test_a_regression_is_watched_on_the_targets_that_it_learns(tmp_path: Path) -> None:
    """Prices in millions are normalised before the network sees them: no finding about their scale."""
    rows = [f"{age},{age % 7},{1e6 + 3e5 * age + 1e4 * (age % 7)}" for age in range(200)]
    (tmp_path / "table.csv").write_text("age,rooms,price\n" + "\n".join(rows) + "\n")
    source = {"data.source": str(tmp_path / "table.csv"), "data.limit": 0, "network.dropout": 0.0}
    run = train(tmp_path / "runs", source)
    seen = keeping.read(run.files)
    assert seen.data is not None
    assert seen.data.targets is not None
    assert seen.data.targets.deviation == pytest.approx(1.0, abs=0.05)
    assert seen.preflight is not None
    assert seen.preflight.loss == pytest.approx(1.0, abs=0.6), "of a network that knows nothing, the variance"
    assert "target-not-normalized" not in {finding.code for finding in run.findings}


# ------------------------------------------------------------------------------------------------ the command line


def test_a_gate_on_findings(tmp_path: Path, only: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    only((("leak",), always))
    words = ["train", "digits", "--quiet", "--out", str(tmp_path)]
    words += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    assert main([*words, "--fail-on", "error"]) == 0
    assert main([*words, "--fail-on", "warning"]) == 3
    assert capfd.readouterr().err == "", "quiet: findings lie in the run"
    silenced = [*words, "--set", "ignore.leak=it is a demonstration", "--fail-on", "note"]
    assert main(silenced) == 0
    assert main([*words, "--set", "watch.enabled=false", "--fail-on", "note"]) == 2
