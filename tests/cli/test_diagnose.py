"""netwright diagnose: a finished run judged again from its records."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netwright
from netwright.diagnosis import judging, registry
from netwright.errors import RunError
from netwright.observations import Observations, OptimizerFacts, Plan, keeping
from netwright.observations.experiments import Change, Experiment, Outcome
from netwright.recipe import Recipe, override
from netwright.records import EpochRow, Finding, Measurement
from netwright.runs import RunDirectory, create

Says = Callable[..., Any]
LIMIT = 1.0


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rules alone: one on a measurement, and one that wants an experiment."""
    judging.load_rules()  # before, because a module registers its rules once
    monkeypatch.setattr(registry, "RULES", own := {})
    monkeypatch.setattr("netwright.diagnosis.judging.RULES", own)

    @registry.rule("exploding-gradient", "vanishing-gradient")
    def on_gradients(observations: Observations) -> Iterator[Finding]:
        for layer in observations.series.layers("gradient-norm"):
            worst = max(observations.series.get("gradient-norm", layer).finite, default=0.0)
            if worst > LIMIT:
                yield Finding(
                    code="exploding-gradient", severity="error", where=layer, because_of="learning-rate-too-high"
                )

    @registry.rule("learning-rate-too-high")
    def on_rates(observations: Observations) -> Iterator[Finding | Experiment]:
        wanted = Experiment(name="rate ÷ 10", changes=(Change(kind="learning-rate", value=0.1),))
        outcome = observations.outcomes.get(wanted.name)
        if outcome is None:
            yield wanted
        elif outcome.failed or outcome.better:
            known = outcome.failed or f"{outcome.gain:+.2f} with a tenth of it"
            severity: Any = "note" if outcome.failed else "warning"
            yield Finding(code="learning-rate-too-high", severity=severity, where="train.lr", confirmed_by=known)


def watched(
    folder: Path, *, norm: float = 5.0, better: bool | None = True, ignore: dict[str, str] | None = None
) -> Path:
    """A run of three epochs with the observations that a watched training leaves."""
    run = RunDirectory(create(folder, "watched"))
    recipe = override(Recipe(), {f"ignore.{code}": reason for code, reason in (ignore or {}).items()})
    run.write_recipe(recipe, recipe)
    observations = Observations(
        optimizer=OptimizerFacts(kind="SGD", groups=({"lr": 0.5},)), plan=Plan(batch_size=8, epochs=3), finished=True
    )
    wanted = Experiment(name="rate ÷ 10", changes=(Change(kind="learning-rate", value=0.1),))
    if better is not None:
        observations.outcomes[wanted.name] = Outcome(experiment=wanted, gain=0.4, noise=0.01, better=better)
    log = run.open_log()
    keeper = keeping.Keeper(log)
    log.series("loss", 1, [2.0, 1.5, 1.0])
    for step in (1, 3):
        for layer, value in (("fc1", norm), ("fc2", 0.5)):
            observations.series.add(
                Measurement(probe="gradient-norm", step=step, unit="1", values=(value,), layer=layer)
            )
        keeper.series(observations)
    log.epoch(EpochRow(epoch=1, step=3, split="validation", metrics={"loss": 1.0, "accuracy": 0.75}))
    keeper.facts(observations)
    log.close()
    return run.path


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = keeping.read(RunDirectory(watched(tmp_path)))
    assert kept.plan == Plan(batch_size=8, epochs=3)
    assert kept.optimizer is not None
    assert kept.optimizer.groups == ({"lr": 0.5},)
    assert kept.finished
    assert kept.outcomes["rate ÷ 10"].gain == 0.4
    norms, losses = kept.series.get("gradient-norm", "fc1"), kept.series.get("loss")
    assert (list(norms.steps), norms.values, norms.unit) == ([1, 3], [5.0, 5.0], "1")
    assert (list(losses.steps), losses.values, losses.unit) == ([1, 2, 3], [2.0, 1.5, 1.0], "loss")
    assert [(row.split, row.metrics) for row in kept.epochs] == [("validation", {"score": 0.75})]


def test_a_training_that_goes_on_keeps_what_is_new(tmp_path: Path) -> None:
    run = RunDirectory(watched(tmp_path))
    log = run.open_log()
    log.rewind(1)
    known = keeping.read(run)
    assert list(known.series.get("gradient-norm", "fc2").steps) == [1]
    assert known.plan is not None, "facts are of the start"
    keeper = keeping.Keeper(log, known)
    known.series.add(Measurement(probe="gradient-norm", step=2, unit="1", values=(0.25,), layer="fc2"))
    keeper.series(known)
    log.close()
    assert [row.step for row in run.reader().measurements() if row.layer == "fc2"] == [1, 2]


@pytest.mark.usefixtures("rules")
def test_a_run_is_judged_again_from_its_records(tmp_path: Path, says: Says) -> None:
    path = watched(tmp_path)
    said = says("diagnose", path)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith("1 error and 1 warning. The learning rate is too high")
    assert lines[1] == "warning: learning-rate-too-high  train.lr"
    assert lines[2] == "  confirmed: +0.40 with a tenth of it"
    assert lines[3] == "    error: exploding-gradient  fc1  (because of learning-rate-too-high)"
    assert "checked and not found: vanishing-gradient" in said.out
    document = says("diagnose", path, "--json").document
    assert [each["code"] for each in document["findings"]] == ["learning-rate-too-high", "exploding-gradient"]
    assert document["healthy"] is False
    assert netwright.diagnose(path).to_dict() == {key: value for key, value in document.items() if key != "run"}


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    ("norm", "better", "codes"),
    [(5.0, True, (3, 3, 3)), (0.5, True, (3, 3, 0)), (0.5, None, (3, 0, 0)), (0.5, False, (0, 0, 0))],
)
def test_a_gate_is_missed_from_its_severity_on(
    norm: float, better: bool | None, codes: tuple[int, ...], tmp_path: Path, says: Says
) -> None:
    path = watched(tmp_path, norm=norm, better=better)
    levels = ("note", "warning", "error")
    assert tuple(says("diagnose", path, "--fail-on", level).code for level in levels) == codes


@pytest.mark.usefixtures("rules")
def test_an_experiment_that_was_not_made_says_so(tmp_path: Path) -> None:
    (root,) = netwright.diagnose(watched(tmp_path, norm=0.0, better=None)).findings
    assert (root.severity, "could not be tried" in root.confirmed_by) == ("note", True)


@pytest.mark.usefixtures("rules")
def test_a_silenced_finding_is_shown_and_does_not_count(tmp_path: Path, says: Says) -> None:
    path = watched(tmp_path, better=False, ignore={"exploding-gradient": "clipped later"})
    said = says("diagnose", path, "--fail-on", "note")
    assert said.code == 0
    assert said.out.startswith("Healthy")
    assert "silenced: exploding-gradient  fc1 (clipped later)" in said.out


def test_a_run_that_was_not_watched_says_so(tmp_path: Path, says: Says) -> None:
    run = RunDirectory(create(tmp_path, "blind"))
    run.write_recipe(Recipe(), Recipe())
    run.open_log().close()
    with pytest.raises(RunError, match="not watched"):
        netwright.diagnose(run.path)
    said = says("diagnose", run.path)
    assert (said.code, said.out) == (1, "")
    assert "watch.enabled=true" in said.err


def test_damaged_observations_are_named(tmp_path: Path) -> None:
    path = watched(tmp_path)
    log = RunDirectory(path).open_log()
    log.detail(keeping.FACTS, 0, {"network": {"layers": 3}})
    log.close()
    with pytest.raises(RunError, match="damaged"):
        netwright.diagnose(path)


def test_judging_imports_no_torch(tmp_path: Path) -> None:
    code = f"import sys, netwright; netwright.diagnose({str(watched(tmp_path))!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
