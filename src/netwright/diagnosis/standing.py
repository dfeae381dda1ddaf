"""Is there anything to explain? Whether a training does clearly worse than it could. No torch.

Asked before any other experiment: the unchanged training in a plain loop beside a learner that needs no settings and
beside the same network with usual settings. Where neither is clearly better the training is as good as settings make
it, and no rule about settings asks further.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from netwright.diagnosis.experimenting import (
    REPLAY,
    answer,
    change,
    experiment,
    is_whole,
    measures_alike,
    own_scores,
    skill,
)  # fmt: skip
from netwright.observations import Experiment, Observations, Outcome

# A fault is worth a third of the error and five points of a hundred between a constant and perfection. Less is tuning:
# a healthy training that another rate would improve by less is no finding.
ERROR_LEFT, LEAST_GAIN = 2 / 3, 0.05
# Where noise in the labels leaves most of the error in any case, a third of it cannot be won: there it is a fault to
# reach half of what is possible or less, and ten points less.
HALF, LARGE_GAIN = 0.5, 0.1
FITS = 0.9  # skill on its own training examples that a network reaches where nothing is held out
FINE = 0.95  # skill from which no one asks
USUAL = experiment(change("usual-settings"), worth=90.0, question="the same network with usual settings")


class Standing(NamedTuple):
    """``skill``: of the unchanged training in a plain loop, 0 (a constant) to 1; of the user's own where the copy had
    to be cut and the user's metric is the same. ``aim``: the best that is known to be possible. ``suspicious``: the aim
    is substantially higher."""

    skill: float
    aim: float
    suspicious: bool


def standing(observations: Observations) -> Standing | Experiment | None:
    """None where the training could not be replayed; an experiment where it has to be run first."""
    outcome = answer(observations, REPLAY)
    if outcome is None:
        return REPLAY
    replay = outcome.baseline
    if outcome.failed or replay is None:
        return None
    own = skill(replay.score, replay.chance)
    if not is_whole(replay) and measures_alike(observations):
        own = max([own, *(skill(score, replay.chance) for score in own_scores(observations, replay.scored_on)[-1:])])
    aim = skill(outcome.reference, replay.chance) if outcome.reference is not None else own
    if replay.scored_on == "train":
        aim = max(aim, 1.0 if own < FITS else own)
    if own >= FINE:
        return Standing(own, max(own, aim), False)
    usual = answer(observations, USUAL)
    if usual is None:
        return USUAL
    if usual.skills is not None and usual.better:
        aim = max(aim, usual.skills[1])
    for other in observations.outcomes.values():
        if other.better and other.skills is not None:
            aim = max(aim, other.skills[1])
    return Standing(own, aim, worth_a_finding(own, aim))


def possible(observations: Observations, at: Standing) -> float:
    """The best skill that was seen in the same epochs; where usual settings do not repair it, of another learner too.
    The aim may be more: perfection, where nothing is held out, or what more epochs bring."""
    outcome = answer(observations, REPLAY)
    replay = outcome.baseline if outcome is not None else None
    same = [o for o in observations.outcomes.values() if all(c.kind != "epochs" for c in o.experiment.changes)]
    known = [at.skill, *(reached(other) for other in same)]
    repaired = substantial(answer(observations, USUAL))
    if outcome is not None and replay is not None and outcome.reference is not None and not repaired:
        known.append(skill(outcome.reference, replay.chance))
    return min(at.aim, max(known))


def worth_a_finding(before: float, after: float) -> bool:
    """Whether a gain in skill is a fault repaired (and not tuning)."""
    if after - before >= LARGE_GAIN and before <= HALF * after:
        return True
    return after - before >= LEAST_GAIN and 1 - after <= ERROR_LEFT * (1 - before)


def substantial(outcome: Outcome | None) -> bool:
    """Beyond the noise, and worth a finding."""
    return bool(outcome and outcome.better and outcome.skills is not None and worth_a_finding(*outcome.skills))


def reached(outcome: Outcome | None) -> float:
    """The skill with the change, 0 where it was not tried or not better."""
    return outcome.skills[1] if outcome is not None and outcome.skills is not None and outcome.better else 0.0


def as_good(outcome: Outcome | None, other: Outcome | None) -> bool:
    """Whether ``other`` repairs as much as ``outcome``, within the noise (at least two points)."""
    if not substantial(other) or outcome is None:
        return False
    noise = max(0.02, outcome.noise or 0.0, (other.noise or 0.0) if other else 0.0)
    return reached(other) >= reached(outcome) - noise


ROOTS = (
    "standardize-inputs", "standardize-targets", "same-preprocessing", "drop-bad-rows", "initialization", "output",
    "output-units", "loss", "activation", "nonlinearity", "train-all", "group-norm",
)  # fmt: skip
# A change of these repairs a cause; a rate, a batch, more epochs or another optimiser often make up for it.


def roots(observations: Observations, than: Outcome | None) -> list[Outcome]:
    """Experiments with one structural change that repair as much as ``than`` does."""
    found = [
        outcome
        for outcome in observations.outcomes.values()
        if outcome.experiment.changes and all(part.kind in ROOTS for part in outcome.experiment.changes)
        and as_good(than, outcome)
    ]  # fmt: skip
    return sorted(found, key=lambda outcome: -reached(outcome))


NEEDED = 0.5  # of what usual settings win, what is lost without one that is needed


def needed_beside_usual(observations: Observations, without: Experiment) -> Experiment | bool:
    """Whether usual settings repair and ``without`` one of them half of that is lost: the group is tested first, then
    its members (Dorfman 1943). The experiment as long as it was not made."""
    usual = answer(observations, USUAL)
    if usual is None or usual.skills is None or not substantial(usual):
        return False
    outcome = answer(observations, without)
    if outcome is None:
        return without
    if outcome.skills is None:
        return False
    return usual.skills[1] - outcome.skills[1] >= NEEDED * (usual.skills[1] - usual.skills[0])


def beside(both: Outcome | None, alone: Outcome | None, question: str) -> Outcome | None:
    """What a change adds where the same is mended on both sides."""
    if both is None or alone is None or both.skills is None or alone.skills is None:
        return None
    gain = (both.gain or 0.0) - (alone.gain or 0.0)
    noise = math.hypot(both.noise or 0.0, alone.noise or 0.0)
    asked = experiment(*both.experiment.changes, question=question)
    return Outcome(
        experiment=asked, baseline=alone.changed, changed=both.changed, gain=gain, noise=noise, better=gain > 3 * noise,
        seconds=both.seconds, seeds=both.seeds, skills=(alone.skills[1], both.skills[1]),
    )  # fmt: skip


EXPLAINS = 0.7  # share of a gain: a single cause that brings as much of it is what the gain is about


def explaining(observations: Observations, outcome: Outcome) -> list[Outcome]:
    """Experiments with one structural change that bring most of what ``outcome`` brings: another size or length makes
    up for their causes, and is none itself."""
    if outcome.skills is None:
        return []
    before, after = outcome.skills
    found = [
        other for other in observations.outcomes.values()
        if len(other.experiment.changes) == 1 and other.experiment.changes[0].kind in ROOTS and substantial(other)
        and reached(other) - before >= EXPLAINS * (after - before)
    ]  # fmt: skip
    return sorted(found, key=lambda other: -reached(other))


def ask(observations: Observations, *experiments: Experiment) -> Iterator[Experiment]:
    """Those that were not run, the first only: what it tells may make the others idle."""
    for one in experiments:
        if answer(observations, one) is None:
            yield one
            return
