"""Whether a training is long enough, and how far it came. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from netwright.diagnosis.experimenting import (
    answer,
    change,
    experiment,
    is_whole,
    loop_gap,
    loss_fell,
    measures_alike,
    own_scores,
    proof,
    replayed,
    stays_at_chance,
)  # fmt: skip
from netwright.diagnosis.registry import rule
from netwright.diagnosis.rules.rates import code_of, tried_rates
from netwright.diagnosis.standing import LEAST_GAIN, as_good, explaining, reached, standing, substantial
from netwright.observations import Experiment, Observations, Outcome
from netwright.observations.experiments import Replay
from netwright.records import Evidence, Finding, Remedy

# How much longer is tried: four times, and more where the whole training has few steps. Below a thousand even
# small networks have hardly moved (Adam at 0.001 moves a weight by 0.1 in a hundred steps), and it costs little.
FACTORS = ((100, 64), (1000, 16))
# Errors of healthy trainings go on falling as a power of the steps, t^-0.5 at the steepest (Hestness et al. 2017 find
# exponents of 0.07 to 0.5): four times the steps leave half of it. Only what wins more was broken off.
# What is left may be the least that is possible; a quarter of the error always may.
STEEPEST, LEFT = 0.5, 0.25
# Of its whole fall, what the loss still falls in the last quarter of the steps: a power law t^-1 falls 0.06 at 100
# pieces, a straight line 0.25. Below it four times the steps win little.
STILL_FALLING = 0.02
NOTHING = 0.05  # skill: five points of a hundred between a constant and perfection
SMALL_FALL = 0.2  # of its first value: a loss that fell less in all has hardly begun


def longer(steps: int) -> Experiment:
    factor = next((factor for limit, factor in FACTORS if steps < limit), 4)
    return experiment(change("epochs", float(factor)), worth=30.0, question=f"{factor} times the epochs")


@rule("too-few-epochs")
def too_few(observations: Observations) -> Iterator[Finding | Experiment]:
    """More epochs win, and more than they do for every training, where no other single repair does as much.

    A copy that had to be cut for time tells nothing of it: longer ones win over it in any case.
    """
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    replay = replayed(observations)
    if at is None or not at.suspicious or replay is None or not is_whole(replay) or not _still_falls(replay):
        return
    rates = tried_rates(observations, at)
    if isinstance(rates, Experiment):
        yield rates
        return
    rate = max(rates, key=reached, default=None)
    if substantial(rate) and rate is not None and float(rate.experiment.changes[0].value) < 1:
        return  # it does not lack steps
    asked = longer(replay.planned)
    outcome = answer(observations, asked)
    if outcome is None:
        yield asked
        return
    factor = int(asked.changes[0].value)
    if not substantial(outcome) or not broken_off(outcome, factor):
        return
    nearer = explaining(observations, outcome) + [other for other in _others(observations) if as_good(outcome, other)]
    better_rate = rate is not None and substantial(rate) and float(rate.experiment.changes[0].value) > 1
    because = code_of(nearer)
    plan = observations.plan
    epochs = plan.epochs if plan is not None else None
    yield Finding(
        code="too-few-epochs",
        severity="note" if because else "warning",
        where="plan",
        evidence=(
            Evidence(what="epochs", value=epochs),
            Evidence(what="steps", value=replay.planned),
            Evidence(what="share of the loss' fall in the last quarter", value=_late_fall(replay)),
        ),
        expected=f"up to {factor * epochs} epochs" if epochs else "longer",
        cause="the training ends while the loss still falls",
        remedies=(
            Remedy(
                code="epochs",
                text=f"up to {factor} times the epochs",
                change={"train.epochs": factor * epochs} if epochs else {},
            ),
        ),
        confidence=0.5 if because else 0.7 if better_rate else 0.85,
        confirmed_by=proof(outcome),
        because_of=because or ("learning-rate-too-low" if better_rate else ""),
    )


def broken_off(outcome: Outcome, factor: float) -> bool:
    """Whether so many times the steps won more than a power law gives, or all that was learned at all."""
    assert outcome.skills is not None
    before, after = outcome.skills
    return before < NOTHING or 1 - after <= max(LEFT, factor**-STEEPEST) * (1 - before)


OTHERS = ("width", "depth", "batch-size", "dropout", "weight-decay")


def _others(observations: Observations) -> list[Outcome]:
    """Single changes that repair something else than the length."""
    outcomes = observations.outcomes.values()
    return [o for o in outcomes if len(o.experiment.changes) == 1 and o.experiment.changes[0].kind in OTHERS]


def _late_fall(replay: Replay) -> float | None:
    losses = [value for value in replay.losses if value is not None]
    if len(losses) < 4 or len(losses) < len(replay.losses):
        return None
    quarter = max(1, len(losses) // 8)
    late = sum(losses[-2 * quarter : -quarter]) / quarter - sum(losses[-quarter:]) / quarter
    whole = (replay.first_loss if replay.first_loss is not None else losses[0]) - sum(losses[-quarter:]) / quarter
    return 2 * late / whole if whole > 0 else 0.0


def _still_falls(replay: Replay) -> bool:
    late = _late_fall(replay)
    first, last = replay.first_loss, replay.last_loss
    begun = first is None or last is None or first - last > SMALL_FALL * abs(first)
    return late is not None and (late > STILL_FALLING or not begun)


# ------------------------------------------------------------------------------------------------- symptoms


@rule("not-learning")
def not_learning(observations: Observations) -> Iterator[Finding | Experiment]:
    """At the end neither training nor held-out part is better than a constant.

    What a constant scores is known where the user's metric is the copies' own. Of another metric only the loss tells:
    it did not fall at all, and a copy learns nothing either, or learns what the user's loop does not. Where a constant
    is (nearly) perfect, there is nothing to learn.
    """
    scores = own_scores(observations) or own_scores(observations, "train")
    train = own_scores(observations, "train")
    replay = replayed(observations)
    if not scores or replay is None or replay.chance is None or replay.chance > 1 - LEAST_GAIN:
        return
    gap = loop_gap(observations)
    in_loop = bool(gap and gap.loses_progress)
    margin = NOTHING * (1 - replay.chance)
    above = any(part and _above(part[-1], replay.chance, margin) for part in (scores, train))
    if loss_fell(observations) is False:  # whatever the metric is
        copied = any(_above(score, replay.chance, margin) for score in (replay.score, replay.train_score))
        if (copied and not in_loop) or (above and measures_alike(observations)):
            return
    elif above or not (measures_alike(observations) or stays_at_chance(observations)):
        return
    yield Finding(
        code="not-learning",
        severity="warning",
        where="training",
        evidence=(
            Evidence(what="score at the end", value=scores[-1], expected=f"above {replay.chance:.3f}, a constant's"),
            Evidence(what="score of the same training in a plain loop", value=replay.score),
        ),
        expected="better than a constant answer",
        cause="the plain loop learns: the fault is in the loop" if in_loop else "",
        confidence=0.9,
    )


def _above(score: float | None, chance: float, margin: float) -> bool:
    return score is not None and score > chance + margin


@rule("slow-convergence", "plateau")
def slow(observations: Observations) -> Iterator[Finding | Experiment]:
    """The loss hardly fell in all (plateau: not at all), in a run that another experiment improves substantially."""
    replay = replayed(observations)
    if replay is None or replay.first_loss is None or replay.last_loss is None:
        return
    winners = [outcome for outcome in observations.outcomes.values() if substantial(outcome)]
    fall = (replay.first_loss - replay.last_loss) / abs(replay.first_loss) if replay.first_loss else 1.0
    late = _late_fall(replay)
    if not winners or fall > SMALL_FALL or late is None:
        return
    moving = late > STILL_FALLING and fall > 0
    yield Finding(
        code="slow-convergence" if moving else "plateau",
        severity="note",
        where="loss",
        evidence=(Evidence(what="fall of the loss over the whole run", value=fall, expected=f"above {SMALL_FALL:g}"),),
        cause="the loss falls, but not far in the planned steps" if moving else "the loss stays where it began",
        confidence=0.8,
        confirmed_by=proof(max(winners, key=reached)),
    )


__all__ = ["NOTHING", "broken_off", "longer"]
