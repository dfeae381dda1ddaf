"""Verdicts: what is planted wins, what changes nothing does not, and the time is kept."""

import math

import pytest
import torch
from torch import nn

from netwright.diagnosis.experimenting import REPLAY, change, experiment, loop_gap, proof
from netwright.observations import Experiment, Observations, Outcome, Plan
from netwright.observations.experiments import Replay
from netwright.records import EpochRow, Measurement
from netwright.repair.confirm import BEYOND, RISES, Laboratory, judge_and_confirm
from netwright.repair.replaying import Copy
from small_trainings import mlp, spirals, training, waves

cross_entropy = nn.CrossEntropyLoss()
SLOW = experiment(change("learning-rate", 300.0))


def laboratory(rate: float = 1e-3, epochs: int = 15, **options) -> Laboratory:
    made = lambda parameters: torch.optim.SGD(parameters, rate)  # noqa: E731
    return Laboratory(training(lambda: mlp(2, 3), spirals(), cross_entropy, made, epochs=epochs, **options))


def test_a_planted_fault_wins_and_its_proof_has_the_numbers() -> None:
    outcome = laboratory().run(SLOW, 20.0)
    assert outcome.better
    assert outcome.gain > BEYOND * outcome.noise > 0
    assert outcome.skills[1] > outcome.skills[0] + 0.3
    assert f"{outcome.baseline.score:.3f} → {outcome.changed.score:.3f}" in proof(outcome)


@pytest.mark.parametrize("peak", [1.5, 60.0])
def test_copies_follow_a_rate_that_rises(peak: float) -> None:
    """A warm-up from next to nothing: a copy at the first rate learns nothing, and the training does."""
    followed, plain = laboratory(), laboratory()
    followed.follow([(0, 1e-3), (20, 1e-3 * peak), (400, 1e-3 * peak)])
    there, alone = (one.baseline(0, 30.0) for one in (followed, plain))
    if peak > RISES:
        assert there.last_loss < 0.9 * alone.last_loss
        half = Copy(followed.replica, 0, there.steps // 2)  # a copy that is cut goes the same way as far as it gets
        half.advance()
        assert half.replay().losses[0] == pytest.approx(there.losses[0], rel=0.2)
    else:
        assert there.losses == alone.losses


def test_the_opposite_change_is_worse_and_not_better() -> None:
    good = laboratory(rate=0.3)
    outcome = good.run(experiment(change("learning-rate", 1 / 300)), 20.0)
    assert outcome.better is False
    assert outcome.gain < -BEYOND * outcome.noise


def test_changes_without_effect_are_hardly_ever_better() -> None:
    """The order of rows says nothing: 24 trainings on shuffled data, another weight initialisation each."""
    wins = 0
    for seed in range(24):
        labs = laboratory(rate=0.1, epochs=4, seed=seed)
        outcome = labs.run(experiment(change("initialization", "default")), 20.0)
        wins += bool(outcome.better)
    assert wins <= 1


def test_several_seeds_are_made_where_one_leaves_it_open_and_it_is_cheap() -> None:
    outcome = laboratory(rate=0.1, epochs=3).run(experiment(change("learning-rate", 1.2)), 60.0)
    assert outcome.seeds == 3
    assert outcome.noise > 0


def test_the_unchanged_training_is_made_once_a_seed() -> None:
    labs = laboratory(rate=0.1, epochs=3)
    labs.run(REPLAY, 20.0)
    first = labs.run(experiment(change("learning-rate", 2.0)), 20.0)
    second = labs.run(experiment(change("learning-rate", 3.0)), 20.0)
    assert first.baseline is second.baseline


def test_a_training_that_takes_too_long_is_cut_alike_on_both_sides() -> None:
    labs = laboratory(epochs=1_000_000)
    outcome = labs.run(SLOW, 2.0)
    assert outcome.baseline.steps == outcome.changed.steps < outcome.baseline.planned
    assert outcome.seconds < 30.0  # uncut it takes days; a busy machine may pause for seconds
    assert labs.spent == outcome.seconds


def test_smaller_batches_make_the_same_epochs() -> None:
    labs = laboratory(rate=0.1, epochs=2)
    outcome = labs.run(experiment(change("batch-size", 0.25)), 20.0)
    assert outcome.changed.steps == 2 * math.ceil(400 / 8)


def test_a_copy_that_breaks_down_has_no_score_and_its_opponent_all_its_steps() -> None:
    labs = Laboratory(training(lambda: mlp(5, 1), waves(), nn.MSELoss(), lambda p: torch.optim.SGD(p, 1e5), epochs=10))
    outcome = labs.run(experiment(change("learning-rate", 1e-6)), 20.0)
    assert outcome.baseline.score is None
    assert outcome.changed.steps == outcome.changed.planned
    assert outcome.better


def test_what_cannot_be_tried_says_why() -> None:
    labs = laboratory(epochs=1)
    assert "no dropout" in labs.run(experiment(change("dropout", 0.0)), 20.0).failed

    def broken(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this loss\nis broken")

    failing = Laboratory(training(lambda: mlp(2, 3), spirals(), broken, lambda p: torch.optim.SGD(p, 0.1), epochs=1))
    assert failing.run(REPLAY, 20.0).failed == "RuntimeError: this loss"


def test_without_a_training_the_rules_are_told_so() -> None:
    observations = Observations()
    judge_and_confirm(observations, None)
    assert all(outcome.failed for outcome in observations.outcomes.values())


# -------------------------------------------------------------------------------- the user's loop beside the plain one


def observed(values: list[float], first: float, last: float) -> Observations:
    replay = Replay(steps=len(values), losses=(), score=0.9, chance=0.1, first_loss=first, last_loss=last)
    observations = Observations(plan=Plan(batch_size=32, epochs=1, examples=32 * len(values)))
    observations.series.add(Measurement(probe="loss", step=len(values), unit="loss", values=tuple(values)))
    observations.outcomes["replay"] = Outcome(experiment=REPLAY, baseline=replay, changed=replay)
    observations.epochs.append(EpochRow(epoch=1, step=len(values), split="validation", metrics={"score": 0.3}))
    return observations


def falling(first: float, last: float, count: int = 50) -> list[float]:
    return [first + (last - first) * step / (count - 1) for step in range(count)]


def test_a_loop_that_keeps_up_a_loop_that_climbs_and_one_that_adds_to_its_loss_are_told_apart() -> None:
    healthy = loop_gap(observed(falling(2.3, 0.3), 2.35, 0.25))
    climbs = loop_gap(observed(falling(2.3, 9.0), 2.35, 0.25))
    breaks = loop_gap(observed([2.3] * 40 + [math.nan] * 10, 2.35, 0.25))
    adds = loop_gap(observed(falling(30.0, 2.0), 2.35, 0.25))
    assert (healthy.loses_progress, healthy.adds_to_loss) == (False, False)
    assert climbs.loses_progress
    assert climbs.progress < 0
    assert breaks.loses_progress
    assert adds.adds_to_loss
    assert adds.scores == (0.3, 0.9)


def test_a_replay_that_was_cut_says_nothing_of_the_loop() -> None:
    observations = observed(falling(2.3, 2.2), 2.35, 0.25)
    observations.outcomes["replay"] = Outcome(
        experiment=REPLAY, baseline=Replay(steps=5, losses=(), score=0.1, first_loss=2.3, last_loss=2.0)
    )
    assert loop_gap(observations) is None


def test_the_same_question_has_the_same_name() -> None:
    one = experiment(change("learning-rate", 0.1), change("norm", "batch"))
    other = experiment(change("norm", "batch"), change("learning-rate", 0.1), worth=3.0)
    assert one.name == other.name
    assert experiment() is REPLAY
    assert isinstance(one, Experiment)
