"""Rates, batches, length, capacity and penalties: planted faults are named, their healthy twins are not.

Trainings are made here and run whole; the rules see facts and the outcomes of experiments, as under a watch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

from netwright.diagnosis import judging
from netwright.diagnosis.experimenting import REPLAY
from netwright.diagnosis.rules import batches, capacity, length, rates
from netwright.observations import Observations, OptimizerFacts, Plan
from netwright.observations.experiments import Outcome, Replay
from netwright.records import EpochRow
from netwright.repair import confirm
from netwright.repair.confirm import judge_and_confirm
from netwright.repair.replica import Replica
from small_trainings import facts_of, mlp, spirals, training, waves

OWN = ("rates", "batches", "length", "capacity", "regularization")
SECONDS = 6.0  # of computing for the experiments of one training; a copy of these takes a tenth of one
CAUSES = {
    "learning-rate-too-high", "learning-rate-too-low", "batch-too-large", "batch-too-small", "too-few-epochs",
    "wrong-optimizer-for-batch", "weight-decay-too-high", "over-regularized", "too-small", "too-deep",
}  # fmt: skip


@pytest.fixture(autouse=True)
def only_rules_about_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules of other families have tests of their own, and ask for experiments that take time."""
    modules = [importlib.import_module(f"netwright.diagnosis.rules.{name}") for name in OWN]
    mine = {rule: codes for rule, codes in judging.RULES.items() if rule.__module__ in {m.__name__ for m in modules}}
    monkeypatch.setattr(judging, "RULES", mine)
    monkeypatch.setattr(judging, "load_rules", lambda: None)
    monkeypatch.setattr(confirm, "WALL", 1e6)  # a busy machine decides nothing


def told(replica: Replica, **options) -> tuple[set[str], Observations]:
    observations = facts_of(replica)
    diagnosis = judge_and_confirm(observations, replica, seconds=SECONDS, **options)
    return {finding.code for finding in diagnosis.findings if finding.severity != "note"}, observations


def sgd(rate: float, **options) -> Callable:
    return lambda parameters: torch.optim.SGD(parameters, rate, **options)


def adam(rate: float, **options) -> Callable:
    return lambda parameters: torch.optim.Adam(parameters, rate, **options)


def classes(optimizer: Callable, make: Callable = lambda: mlp(2, 3), **options) -> Replica:
    return training(make, spirals(), nn.CrossEntropyLoss(), optimizer, **({"epochs": 30} | options))


def values(optimizer: Callable, make: Callable = lambda: mlp(5, 1), **options) -> Replica:
    return training(make, waves(), nn.MSELoss(), optimizer, **({"epochs": 30} | options))


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)
    )


def dropped(share: float) -> nn.Module:
    first = nn.Linear(2, 32), nn.ReLU(), nn.Dropout(share)
    return nn.Sequential(*first, nn.Linear(32, 32), nn.ReLU(), nn.Dropout(share), nn.Linear(32, 3))


HEALTHY = {
    "momentum": lambda: classes(sgd(0.05, momentum=0.9)),
    "adam, batches of 8": lambda: classes(adam(0.005), batch_size=8, epochs=15),
    "norms": lambda: classes(sgd(0.1, momentum=0.9), normed),
    "a little decay": lambda: values(adam(0.01, weight_decay=1e-4)),
    "a little dropout": lambda: classes(adam(0.01), lambda: dropped(0.1)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_said_of_healthy_trainings(name: str) -> None:
    found, _ = told(HEALTHY[name]())
    assert not found & CAUSES


FAULTY = {
    "sgd slow": ("learning-rate-too-low", lambda: classes(sgd(1e-3))),
    "regression diverges": ("learning-rate-too-high", lambda: values(sgd(2.0))),
    "decay": ("weight-decay-too-high", lambda: values(adam(0.01, weight_decay=0.3))),
    "dropout": ("over-regularized", lambda: classes(adam(0.01), lambda: dropped(0.9))),
    "few epochs": ("too-few-epochs", lambda: classes(adam(0.003), epochs=1)),
    "narrow": ("too-small", lambda: classes(adam(0.02), lambda: mlp(2, 3, width=2), epochs=40)),
    "deep": ("too-deep", lambda: classes(adam(0.01), lambda: mlp(2, 3, width=8, hidden=14, act=nn.Sigmoid), epochs=20)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY)
def test_a_planted_fault_is_named_and_confirmed(name: str) -> None:
    code, make = FAULTY[name]
    observations = facts_of(replica := make())
    diagnosis = judge_and_confirm(observations, replica, seconds=15.0 if name == "deep" else SECONDS)
    found = {finding.code: finding for finding in diagnosis.findings if finding.severity != "note"}
    accepted = {code, "learning-rate-too-low"} if code == "too-few-epochs" else {code}
    assert accepted & set(found), {name: (o.skills, o.failed) for name, o in observations.outcomes.items()}
    assert all("→" in found[one].confirmed_by for one in accepted & set(found))


@pytest.mark.parametrize(
    ("skills", "severity"), [((0.72, 0.88), "warning"), ((0.93, 0.97), "note"), ((0.5, 0.4), "note")]
)
@pytest.mark.parametrize("kind", ["Rprop", "LBFGS"])
def test_whole_batch_optimisers_are_warned_of_only_where_adam_wins(kind: str, skills: tuple, severity: str) -> None:
    asked = batches.ADAM
    observations = Observations(
        optimizer=OptimizerFacts(kind=kind, groups=({"lr": 0.01},)), plan=Plan(batch_size=16, epochs=8, examples=4000)
    )
    better = skills[1] > skills[0]
    observations.outcomes[asked.name] = Outcome(experiment=asked, skills=skills, better=better, gain=0.1, noise=0.01)
    found = {finding.code: finding.severity for finding in judging.judge(observations).findings}
    assert found == {"wrong-optimizer-for-batch": severity}
    whole = Observations(optimizer=observations.optimizer, plan=Plan(batch_size=4000, epochs=8, examples=4000))
    whole.outcomes.update(observations.outcomes)
    assert not judging.judge(whole).findings


@pytest.mark.parametrize(
    ("own", "adams", "severity"), [(13.0, 1.8, "warning"), (2.0, 1.8, "note"), (13.0, 13.0, "note")]
)
def test_signs_of_noise_that_raise_the_loss_are_told_for_it(own: float, adams: float, severity: str) -> None:
    def replay(last: float) -> Replay:
        return Replay(steps=300, planned=300, losses=(), score=0.3, chance=0.1, first_loss=2.3, last_loss=last)

    observations = Observations(
        optimizer=OptimizerFacts(kind="Rprop"), plan=Plan(batch_size=16, epochs=8, examples=4000)
    )
    observations.outcomes[batches.ADAM.name] = Outcome(
        experiment=batches.ADAM, skills=(0.2, 0.22), better=False, gain=0.02, noise=0.02, baseline=replay(own),
        changed=replay(adams),
    )  # fmt: skip
    found = [one for one in judging.judge(observations).findings if one.code == "wrong-optimizer-for-batch"]
    assert [one.severity for one in found] == [severity]
    assert ("instead of 13" in found[0].confirmed_by) is (severity == "warning")


def test_a_penalty_is_not_blamed_for_an_output_that_does_not_fit_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """No dropout wins by far as it is; beside the mended output it wins nothing."""
    from netwright.diagnosis.experimenting import change, experiment
    from netwright.diagnosis.rules import regularization

    mend = change("output", "identity")
    ill = Outcome(experiment=REPLAY, baseline=Replay(steps=9, losses=(), score=0.3, chance=0.1), reference=0.9)

    def told_with(both: float, mends: tuple) -> list[str]:
        monkeypatch.setattr(regularization, "mended", lambda observations: mends)
        seen = facts_of(classes(adam(0.01), lambda: dropped(0.5)))
        seen.outcomes |= {"replay": ill, "usual-settings": Outcome(experiment=REPLAY, failed="not asked")}
        for changes, skill in (((), 0.2), ((mend,), 0.8)):
            asked = regularization.NO_DROPOUT
            after = 0.8 if not changes else both
            name = experiment(*changes, *asked.changes).name
            won = {"experiment": asked, "noise": 0.01, "better": True}
            seen.outcomes[name] = Outcome(skills=(0.2, after), gain=after - 0.2, **won)
            if changes:
                alone = experiment(*changes).name
                seen.outcomes[alone] = Outcome(skills=(0.2, skill), gain=skill - 0.2, **won)
        return [one.code for one in regularization.over_regularized(seen) if hasattr(one, "code")]

    assert told_with(0.8, ()) == ["over-regularized"]
    assert told_with(0.8, (mend,)) == []
    assert told_with(0.97, (mend,)) == ["over-regularized"]


def test_inputs_of_a_wrong_scale_are_the_root_and_a_rate_says_so() -> None:
    """Inputs a hundred times too large make every rate too high: standardising repairs as much as a lower rate."""
    train, held_out = waves()
    data = (100 * train[0], train[1]), (100 * held_out[0], held_out[1])
    replica = training(lambda: mlp(5, 1), data, nn.MSELoss(), sgd(0.05), epochs=30)
    observations = facts_of(replica)
    diagnosis = judge_and_confirm(observations, replica, seconds=SECONDS)
    told_rates = [finding for finding in diagnosis.findings if finding.code.startswith("learning-rate")]
    assert all(finding.because_of == "input-not-normalized" for finding in told_rates)
    assert observations.outcomes["standardize-inputs"].better


def test_wild_weights_are_the_root_and_the_rate_is_a_note() -> None:
    def make() -> nn.Module:
        network = mlp(2, 3)
        for module in network:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 20)
        return network

    found, _ = told(classes(sgd(0.3), make))
    assert "learning-rate-too-high" not in found
    assert "learning-rate-too-low" not in found


@pytest.mark.parametrize(("together", "told"), [(0.95, {"learning-rate-too-low", "too-small"}), (0.3, set())])
def test_a_rate_and_a_width_that_hide_each_other_are_both_named(together: float, told: set) -> None:
    """Neither alone comes far; both together do. Where they do not either, neither is named."""
    seen = facts_of(classes(sgd(1e-3), lambda: mlp(2, 3, width=3)))
    own = Replay(steps=400, planned=400, losses=(1.1,) * 8, score=0.3, chance=0.33, train_score=0.3, first_loss=1.1,
                 last_loss=1.1)  # fmt: skip
    flat = own.__class__(**{name: getattr(own, name) for name in own.__struct_fields__})

    def outcome(after: float, asked: object = REPLAY) -> Outcome:
        return Outcome(experiment=asked, baseline=own, changed=flat, skills=(0.0, after), gain=after, noise=0.02,
                       better=after > 0.06)  # type: ignore[arg-type]  # fmt: skip

    seen.outcomes["replay"] = Outcome(experiment=REPLAY, baseline=own, changed=own, reference=1.0, skills=(0.0, 0.0))
    fine = rates.HIGHER[-1]
    for asked in (*rates.HIGHER[:-1], *rates.LOWER, capacity.WIDER):
        seen.outcomes[asked.name] = outcome(0.0, asked)
    seen.outcomes[fine.name] = outcome(0.25, fine)
    seen.outcomes[rates.beside_width(outcome(0.25, fine)).name] = outcome(together)
    for name in ("usual-settings", "initialization=auto", length.longer(400).name, batches.ADAM.name):
        seen.outcomes[name] = outcome(0.0)
    found = {one.code: one for one in judging.judge(seen).findings if one.severity != "note"}
    assert set(found) & {"learning-rate-too-low", "too-small"} == told
    if told:
        assert "→" in found["too-small"].confirmed_by


def test_a_copy_that_had_to_be_cut_says_nothing_of_the_length() -> None:
    """Four times as many steps win over every beginning of a training, and over this one by far."""
    for steps, expected in ((400, {"too-few-epochs"}), (40, set())):
        losses = tuple(1.0 - 0.01 * piece for piece in range(64))
        replay = Replay(
            steps=steps,
            planned=400,
            losses=losses,
            score=0.4,
            chance=0.1,
            first_loss=1.0,
            last_loss=0.4,
            train_score=0.4,
        )
        observations = Observations(plan=Plan(batch_size=10, epochs=4, examples=1000))
        observations.outcomes["replay"] = Outcome(experiment=REPLAY, baseline=replay, changed=replay, reference=0.9)
        for kind in ("usual-settings", *(one.name for one in (*rates.HIGHER, *rates.LOWER, capacity.WIDER))):
            observations.outcomes[kind] = Outcome(experiment=REPLAY, failed="not asked here")
        asked = length.longer(400)
        observations.outcomes[asked.name] = Outcome(
            experiment=asked, better=True, skills=(0.33, 0.95), gain=0.5, noise=0.02, baseline=replay, changed=replay
        )
        found = {one.code for one in judging.judge(observations).findings if one.severity != "note"}
        assert found & {"too-few-epochs"} == expected


@pytest.mark.parametrize(
    ("factor", "before", "after", "told"),
    [(4, 0.6, 0.79, False), (4, 0.6, 0.81, True), (16, 0.2, 0.79, False), (16, 0.2, 0.81, True), (64, 0.0, 0.3, True)],
)
def test_what_a_power_law_gives_is_no_broken_off_training(factor: int, before: float, after: float, told: bool) -> None:
    """Errors that fall as t^-1/2 are halved by four times the steps, and quartered by sixteen times."""
    outcome = Outcome(experiment=length.longer(400), skills=(before, after))
    assert length.broken_off(outcome, factor) == told


# ---------------------------------------------------------------------------------------------- symptoms


def curve(scores: list[float], train: list[float], uncertainty: float = 0.02) -> Observations:
    replay = Replay(
        steps=9, losses=(1.0, 0.5), score=0.9, chance=0.1, uncertainty=uncertainty, first_loss=2.3, last_loss=0.1
    )
    observations = Observations()
    observations.outcomes["replay"] = Outcome(experiment=REPLAY, baseline=replay, changed=replay, skills=(0.99, 0.99))
    for epoch, pair in enumerate(zip(scores, train), 1):
        for split, value in zip(("validation", "train"), pair):
            observations.epochs.append(EpochRow(epoch=epoch, step=epoch, split=split, metrics={"score": value}))
    return observations


def symptoms(observations: Observations) -> set[str]:
    return {finding.code for finding in judging.judge(observations).findings}


def test_not_learning_is_neither_part_above_a_constant() -> None:
    assert "not-learning" in symptoms(curve([0.1, 0.12, 0.09], [0.1, 0.1, 0.11]))
    assert "not-learning" not in symptoms(curve([0.1, 0.12, 0.09], [0.3, 0.6, 0.9]))
    assert "not-learning" not in symptoms(curve([0.1, 0.5, 0.8], [0.1, 0.1, 0.11]))


def test_overfitting_falls_back_beyond_the_noise_while_training_goes_on() -> None:
    up = [0.5 + 0.05 * epoch for epoch in range(10)]
    back = [0.5, 0.6, 0.7, 0.8, 0.8, 0.78, 0.72, 0.66, 0.6, 0.58]
    assert "overfitting" in symptoms(curve(back, up))
    assert "overfitting" not in symptoms(curve(back, up, uncertainty=0.08))
    assert "overfitting" not in symptoms(curve(up, up))
    assert "overfitting" not in symptoms(curve(back, back))
