"""Whether what a fact suggests hinders this training, by its standing and the experiment that mends it. No torch."""

from __future__ import annotations

import math

from netwright.diagnosis.experimenting import answer, loss_fell, replayed
from netwright.diagnosis.standing import reached, standing, substantial
from netwright.observations import Experiment, Observations, Outcome

# A cause is named where mending it alone brings at least half of what any single repair is known to bring: a change
# that helps a little beside another that repairs is not the cause.
SHARE_OF_REPAIR = 0.5
NOTHING = 0.05  # skill below which nothing was learned


def broke_down(observations: Observations) -> bool:
    """A loss that was not finite."""
    return any(value is None or not math.isfinite(value) for value in observations.series.get("loss").values)


def suffers(observations: Observations) -> Experiment | bool | None:
    """Whether the training does clearly worse than it could; None where that cannot be said."""
    if broke_down(observations):
        return True
    at = standing(observations)
    if isinstance(at, Experiment):
        return at
    stands_still = loss_fell(observations) is False
    if at is not None:  # where nothing better is known either, one that learned nothing at all suffers still
        return at.suspicious or (at.skill < NOTHING and stands_still)
    return True if stands_still else None


def helps(observations: Observations, outcome: Outcome | None) -> bool | None:
    """Whether the experiment repairs the training (or half of it); None where it was not made."""
    if outcome is None or outcome.failed or outcome.skills is None:
        return None
    if not substantial(outcome):
        return False
    before, after = outcome.skills
    best = max([after, *(reached(other) for other in observations.outcomes.values())])
    return after - before >= SHARE_OF_REPAIR * (best - before)


def first_help(observations: Observations, *asked: Experiment) -> Experiment | Outcome | None:
    """The first of the experiments that helps, the next one to be made as long as none does, or None."""
    for one in asked:
        outcome = answer(observations, one)
        if outcome is None:
            return one
        if helps(observations, outcome):
            return outcome
    return None


def all_failed(observations: Observations, *asked: Experiment) -> bool:
    """None of them could be made."""
    outcomes = [answer(observations, one) for one in asked]
    return all(outcome is not None and outcome.failed for outcome in outcomes)


def learned(observations: Observations) -> float | None:
    """The skill of the unchanged training in a plain loop (0 a constant, 1 perfect); None where it was not made."""
    at = standing(observations)
    if at is None or isinstance(at, Experiment):
        return None
    return at.skill if replayed(observations) is not None else None
