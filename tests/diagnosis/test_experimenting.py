"""What a curve and a user's own metric tell: constants, metrics of another kind, copies that were cut."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from netwright.diagnosis import experimenting, judging
from netwright.diagnosis.experimenting import REPLAY, change, experiment
from netwright.diagnosis.rules import length, rates
from netwright.observations import LossFacts, Observations, OptimizerFacts, Outcome, Plan, Preflight
from netwright.observations.data import ArrayFacts, DataAudit
from netwright.observations.experiments import Replay
from netwright.records import EpochRow, Finding, Measurement


def seen(
    *,
    score: float,
    chance: float,
    scores: list[float],
    train: list[float] | None = None,
    losses: list[float] | None = None,
    steps: int = 100,
    planned: int = 100,
    measure: str = "accuracy",
    **facts,
) -> Observations:
    """A user's scores by epoch and losses by step, beside a copy with its own score."""
    replay = Replay(
        steps=steps, planned=planned, losses=(1.0,), score=score, train_score=score, chance=chance, uncertainty=0.01,
        measure=measure, first_loss=2.0, last_loss=facts.pop("last_loss", 1.0),
    )  # fmt: skip
    observations = Observations(**facts)
    observations.outcomes[REPLAY.name] = Outcome(experiment=REPLAY, baseline=replay, changed=replay, skills=(0.5, 0.5))
    for split, values in (("validation", scores), ("train", train if train is not None else scores)):
        for epoch, value in enumerate(values, 1):
            at = planned * epoch // len(values)
            row = EpochRow(epoch=epoch, step=at, split=split, metrics={"score": value})  # type: ignore[arg-type]
            observations.epochs.append(row)
    if losses:
        observations.series.add(Measurement(probe="loss", step=len(losses), unit="loss", values=tuple(losses)))
    return observations


FALLING = [2.0 - 1.5 * step / 100 for step in range(100)]
FLAT = [2.0] * 100


# ------------------------------------------------------------------------------------------------ constants


def facts_of(form: str, counts: tuple[int, ...], columns: int) -> Observations:
    return Observations(
        loss=LossFacts(name="anything", form=form, reduction="mean"),  # type: ignore[arg-type]
        data=DataAudit(task="classification", class_counts=counts),
        preflight=Preflight(output_shape=(8, columns), target_shape=(8,)),
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_the_entropy_of_the_classes_is_the_least_that_a_constant_costs(counts: list[int]) -> None:
    """No constant scores cost less, and the logarithms of the shares cost just that."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    told = experimenting.constant_loss(facts_of("softmax", tuple(counts), len(counts)))
    shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    best = functional.cross_entropy(shares.log().expand(len(targets), -1), targets)
    assert told == pytest.approx(float(best), rel=1e-9)
    other = torch.randn(len(counts), dtype=torch.float64, generator=torch.Generator().manual_seed(len(targets)))
    assert float(functional.cross_entropy(other.expand(len(targets), -1), targets)) >= told - 1e-12


def test_a_constant_is_known_only_for_losses_that_were_recognised() -> None:
    assert experimenting.constant_loss(facts_of("sigmoid", (30, 10), 1)) == pytest.approx(0.5623, abs=1e-4)
    assert experimenting.constant_loss(facts_of("unknown", (30, 10), 2)) is None
    assert experimenting.constant_loss(facts_of("softmax", (30, 10, 5), 2)) is None  # fewer units than classes
    targets = ArrayFacts(examples=9, sampled=9, shape=(1,), dtype="float32", mean=7.0, deviation=3.0)
    values = Observations(
        loss=LossFacts(name="anything", form="squared", reduction="mean"),
        data=DataAudit(task="regression", targets=targets),
        preflight=Preflight(output_shape=(8, 1), target_shape=(8, 1)),
    )
    assert experimenting.constant_loss(values) == 9.0


def test_a_loss_that_ends_where_a_constants_is_has_taught_nothing() -> None:
    """It falls from what a network says at random to what the classes' shares alone give, and no further."""
    known = facts_of("softmax", (30, 10), 2)
    constant = experimenting.constant_loss(known)
    assert constant is not None
    for end, taught in ((constant, False), (0.7 * constant, True)):
        known.series = type(known.series)()
        values = tuple(end + (1.0 - end) * 0.9**step for step in range(100))
        known.series.add(Measurement(probe="loss", step=100, unit="loss", values=values))
        assert experimenting.loss_fell(known) is taught


# ------------------------------------------------------------------------------------------------ metrics


def not_learning(observations: Observations) -> bool:
    return any(isinstance(told, Finding) for told in length.not_learning(observations))


def test_nothing_to_learn_is_no_training_that_does_not_learn() -> None:
    assert not not_learning(seen(score=1.0, chance=1.0, scores=[1.0, 1.0], losses=FALLING))
    assert not not_learning(seen(score=0.97, chance=0.96, scores=[0.97, 0.97], losses=FLAT))


@pytest.mark.parametrize("metric", ["balanced accuracy", "minus the error"])
def test_another_metric_below_the_constants_accuracy_is_no_alarm(metric: str) -> None:
    """Of rare classes that are learned, balanced accuracy is below the share of the largest class; errors are too."""
    scores = [0.5, 0.62, 0.7] if metric == "balanced accuracy" else [-3.0, -0.8, -0.5]
    healthy = seen(score=0.9, chance=0.8, scores=scores, losses=FALLING)
    assert not experimenting.measures_alike(healthy)
    assert not not_learning(healthy)
    # where the loss does not fall at all, and a copy comes to nothing either, any metric may be
    assert not_learning(seen(score=0.8, chance=0.8, scores=[0.5, 0.5, 0.5], losses=FLAT))


def test_a_metric_that_is_the_copys_is_known_by_what_it_says() -> None:
    same = seen(score=0.42, chance=0.4, scores=[0.4, 0.43, 0.41], losses=FALLING)
    assert experimenting.measures_alike(same)
    assert not_learning(same)
    stays = seen(score=0.9, chance=0.4, scores=[0.4, 0.4, 0.41], losses=FALLING)  # the copy learns, the loop does not
    assert not experimenting.measures_alike(stays)
    assert not_learning(stays)


# ------------------------------------------------------------------------------------------------ copies that were cut


def test_a_copy_that_was_cut_is_compared_over_the_steps_that_both_made() -> None:
    """The user's loss is twice the plain one from the first step on: something is added to it."""
    plan = Plan(batch_size=32, epochs=2, examples=1600)
    doubled = [4.0 - 2.0 * step / 100 for step in range(100)]
    whole = experimenting.loop_gap(seen(score=0.9, chance=0.1, scores=[0.2, 0.3], losses=doubled, plan=plan))
    cut = experimenting.loop_gap(seen(score=0.9, chance=0.1, scores=[0.2, 0.3], losses=doubled, steps=50, plan=plan))
    early = experimenting.loop_gap(seen(score=0.9, chance=0.1, scores=[0.2, 0.3], losses=doubled, steps=10, plan=plan))
    assert whole is not None
    assert whole.adds_to_loss
    assert cut is not None
    assert cut.adds_to_loss
    assert cut.scores == (0.2, 0.9)  # the epoch that ended when the copy did
    assert early is None


def test_a_training_that_does_well_is_not_suspicious_because_its_copy_was_cut() -> None:
    from netwright.diagnosis.standing import USUAL, Standing, standing

    def at(scores: list[float]) -> Standing:
        observations = seen(score=0.3, chance=0.1, scores=scores, steps=30, losses=FALLING)
        usual = Replay(steps=30, losses=(), score=0.8, chance=0.1)
        observations.outcomes[USUAL.name] = Outcome(experiment=USUAL, changed=usual, better=True, skills=(0.22, 0.78))
        found = standing(observations)
        assert isinstance(found, Standing)
        return found

    assert not at([0.28, 0.6, 0.9]).suspicious  # the user's own metric says what the copy says, then goes on
    assert at([0.28, 0.3, 0.33]).suspicious
    assert at([0.7, 0.8, 0.9]).suspicious  # another metric: nothing is known of it


# ------------------------------------------------------------------------------------------------ divergence


def outcome(kind: str, value: object, question: str, *, last: float | None, better: bool = False) -> Outcome:
    before = Replay(steps=90, losses=(), score=0.5, chance=0.5, first_loss=0.7, last_loss=6.0)
    after = Replay(steps=90, losses=(), score=0.5, chance=0.5, first_loss=0.7, last_loss=last)
    return Outcome(
        experiment=experiment(change(kind, value), question=question), baseline=before, changed=after, gain=0.0,
        noise=0.03, better=better, skills=(0.0, 0.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at_lower", "with_weights", "expected"),
    [(0.6, 5.0, {"learning-rate-too-high": "warning"}), (0.6, 0.6, {"learning-rate-too-high": "note"}), (5.0, 5.0, {})],
)
def test_a_loss_that_rises_unless_the_rate_is_lower(at_lower: float, with_weights: float, expected: dict) -> None:
    """Nothing is learned at either rate, so that no score tells: the loss does. Weights that calm it are the root."""
    observations = seen(
        score=0.5, chance=0.5, scores=[0.5], losses=[0.7, *[6.0] * 99], last_loss=6.0,
        optimizer=OptimizerFacts(kind="SGD", groups=({"lr": 1.0},)), plan=Plan(batch_size=8, epochs=1, examples=800),
    )  # fmt: skip
    failed = Outcome(experiment=REPLAY, failed="not asked here")
    observations.outcomes |= {"usual-settings": failed}
    for asked in rates.LOWER:
        factor = asked.changes[0].value
        observations.outcomes[asked.name] = outcome("learning-rate", factor, "a lower rate", last=at_lower)
    observations.outcomes["initialization=auto"] = outcome("initialization", "auto", "new weights", last=with_weights)
    told = {one.code: one for one in rates.rates(observations) if isinstance(one, Finding)}
    assert {code: one.severity for code, one in told.items()} == expected
    if expected == {"learning-rate-too-high": "note"}:
        assert told["learning-rate-too-high"].because_of == "bad-initialization"


# ------------------------------------------------------------------------------------------------ words


def test_only_what_was_better_confirms() -> None:
    lost, won = (outcome("learning-rate", 0.1, "a lower rate", last=0.6, better=better) for better in (False, True))
    assert experimenting.proof(lost) == ""
    assert experimenting.proof(won).startswith("a lower rate: accuracy on validation 0.500 → 0.500")
    assert experimenting.proof(Outcome(experiment=REPLAY, failed="why")) == "not tried: why"


def test_what_a_run_comes_to_follows_from_the_surest_cause() -> None:
    cause = Finding(code="learning-rate-too-low", severity="warning", where="optimiser", confidence=0.9)
    unsure = Finding(code="too-small", severity="warning", where="network", confidence=0.5)
    symptom = Finding(code="not-learning", severity="warning", where="training", confidence=0.9)
    rooted = judging._rooted(symptom, [unsure, symptom, cause])
    assert rooted.because_of == "learning-rate-too-low"
    assert judging._rooted(symptom, [symptom]).because_of == ""
    assert math.isclose(rooted.confidence, symptom.confidence)
