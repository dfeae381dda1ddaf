"""Suspicions are tried on copies: one thing changed, the same seeds and steps, within a stated time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from netwright.diagnosis.experimenting import OVER, REPLAY, skill
from netwright.diagnosis.judging import Diagnosis, judge
from netwright.diagnosis.standing import worth_a_finding
from netwright.errors import NetwrightError
from netwright.observations import Experiment, Observations, Outcome
from netwright.observations.experiments import Replay
from netwright.repair import changes
from netwright.repair.reference import reference
from netwright.repair.replaying import Copy, steps_of
from netwright.repair.replica import Replica

# The experiments of one training take at most so many seconds of computing, and at most this share of what the training
# itself takes in a plain loop, but not less than the floor: a training of a second that goes wrong is worth thirty of
# explanation. A healthy training needs two experiments of all.
SECONDS, SHARE, FLOOR_SECONDS = 30.0, 0.5, 30.0
WALL = 8.0  # seconds of the clock for one of computing, where the machine is busy with other things
SEEDS = 3
RISES = 2.0  # times the first rate
CHEAP = 0.05  # of the time that is left: an experiment that takes less is made with several seeds
# Of all the time: as much the unchanged training gets; where it is not through by then, every copy is cut to its steps.
# A single experiment (smaller batches, more epochs) gets LONGEST times as much.
SLICE, LONGEST = 0.075, 3.0
BEYOND = 3.0  # standard errors. Twenty experiments at 3σ are wrong once in 37 runs, were their noise normal
# A repair asks further: the same seeds with and without it, and a one-sided paired t test at 5 %. A gain that is there
# with every seed is real though it is small. It is asked after each pair, so that more than 5 % of remedies without
# effect pass; what is kept by chance has to pass a seed that decided nothing.
PATIENT_SEEDS = 5
LIMITS = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132}  # Student's t at 5 % by the number of pairs
ONE_SEED_NOISE = 0.03  # deviation of the score between seeds, where only one was tried


class Laboratory:
    """The experiments of one training: unchanged copies are trained once, and the seconds are counted.

    ``patient``: small gains are asked with more seeds, and believed by a paired test at 5 % (repairs).
    """

    def __init__(self, replica: Replica, *, patient: bool = False) -> None:
        self.replica = replica
        self.patient = patient
        self.spent = 0.0
        self.steps = 0  # of the unchanged training in the experiments; fewer than planned where it takes too long
        self._longest = math.inf  # seconds of one experiment
        self._baselines: dict[tuple[int, int], Replay] = {}
        self._each: dict[tuple[int, int], torch.Tensor | None] = {}  # what each held-out example adds to their scores

    def follow(self, rates: Sequence[tuple[int, float]]) -> None:
        """The copies take the rates (step, rate) of the training, where these rise to more than `RISES` times what it
        began with: a warm-up or a cycle, of which a copy at the first rate would say nothing. Before the first copy."""
        own = changes.rate_of(self.replica)
        if not own or len(rates) < 2 or self._baselines or self.replica.rate is not None:
            return
        if max(rate for _, rate in rates) <= RISES * min(own, rates[0][1]):
            return
        steps = [step / steps_of(self.replica) for step, _ in rates]
        factors = [rate / own for _, rate in rates]
        self.replica = dataclasses.replace(self.replica, rate=lambda share: float(np.interp(share, steps, factors)))

    def allowed(self, seconds: float) -> float:
        """Of ``seconds``, what this training is worth."""
        known = self._baselines.get((0, self.steps))
        if known is None or not known.steps:
            return seconds
        own = known.seconds * steps_of(self.replica) / known.steps
        return min(seconds, max(FLOOR_SECONDS, SHARE * own))

    def left(self, seconds: float) -> float:
        return self.allowed(seconds) - self.spent

    @property
    def step_seconds(self) -> float:
        """Of the unchanged training; 0 as long as no copy of it was trained."""
        known = self._baselines.get((0, self.steps))
        return known.seconds / known.steps if known is not None and known.steps else 0.0

    def baseline(self, seed: int, seconds: float, epochs: float = 1.0) -> Replay:
        """The unchanged training with this seed; the first one decides how many steps all others make."""
        if not self.steps:
            copied = Copy(self.replica, 0)
            self._longest = LONGEST * SLICE * seconds
            copied.advance(deadline=time.thread_time() + SLICE * seconds)
            self.steps = max(1, copied.steps if not copied.broken else copied.planned)
            self._keep(0, self.steps, copied)
        steps = max(1, round(self.steps * epochs))
        if (seed, steps) not in self._baselines:
            copied = Copy(self.replica, seed, steps)
            copied.advance()
            self._keep(seed, steps, copied)
        return self._baselines[seed, steps]

    def _keep(self, seed: int, steps: int, copied: Copy) -> None:
        self._baselines[seed, steps] = copied.replay()
        self._each[seed, steps] = copied.each

    def run(self, experiment: Experiment, seconds: float = SECONDS) -> Outcome:
        """Run one experiment within ``seconds`` of computing; what hinders it is in ``failed``."""
        began = time.thread_time()
        try:
            outcome = self._run(experiment, seconds)
        except changes.RefusedError as refused:
            outcome = Outcome(experiment=experiment, failed=str(refused))
        except (NetwrightError, RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
            # Whatever a user's network or loss raises on a changed training.
            outcome = Outcome(
                experiment=experiment, failed=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            )
        took = time.thread_time() - began
        self.spent += took
        return Outcome(**{name: getattr(outcome, name) for name in outcome.__struct_fields__} | {"seconds": took})

    def _run(self, experiment: Experiment, seconds: float) -> Outcome:
        began = time.thread_time()
        baseline = self.baseline(0, seconds, experiment.epochs)
        if not experiment.changes:
            own = skill(baseline.score, baseline.chance)
            return Outcome(
                experiment=experiment, baseline=baseline, changed=baseline, gain=0.0, noise=0.0, better=False,
                skills=(own, own), reference=reference(self.replica),
            )  # fmt: skip
        altered = changes.apply(self.replica, *experiment.changes)
        # The same share of the planned training on both sides; smaller batches make more steps of it, more epochs too.
        share = self.steps / steps_of(self.replica) * experiment.epochs
        steps = max(1, round(steps_of(altered) * share))
        pairs: list[Pair] = []
        for seed in range(PATIENT_SEEDS if self.patient else SEEDS):
            before = self.baseline(seed, seconds, experiment.epochs)
            copied = Copy(altered, seed, steps)
            copied.advance(deadline=time.thread_time() + min(seconds, self._longest))
            after = copied.replay()
            pair = Pair(
                before, after, _apart(self._each[seed, max(1, round(self.steps * experiment.epochs))], copied.each)
            )
            if copied.steps < steps and not copied.broken and _gain(pair)[0] <= 0:
                if not pairs:
                    return Outcome(
                        experiment=experiment, failed=f"at step {copied.steps} of {steps} the seconds {OVER}"
                    )
                break
            pairs.append(pair)
            took = time.thread_time() - began
            gain, noise = _noise(pairs)
            if gain <= 0 or gain > 2 * BEYOND * noise:  # another seed would tell nothing
                break
            undecided = noise < gain < BEYOND * noise and took * (len(pairs) + 1) / len(pairs) < self._longest
            if self.patient:
                undecided = not consistent(pairs) and (time.thread_time() - began) * 2 < seconds
            else:
                undecided = undecided and worth_a_finding(*_skills(pairs))  # else no rule would speak of it
            if took / len(pairs) > CHEAP * seconds and not undecided:
                break
        return _outcome(experiment, pairs, sure=self.patient and consistent(pairs))


class Pair(NamedTuple):
    """Without and with the change, from the same seed; ``apart``: standard error of the gain over the examples."""

    before: Replay
    after: Replay
    apart: float | None = None


def _apart(before: torch.Tensor | None, after: torch.Tensor | None) -> float | None:
    """Both were scored on the same examples: the error of the difference, not of each (McNemar 1947 for shares).

    One example more that differs by one is added, as Laplace does: equal answers on a few examples are no certainty.
    """
    if before is None or after is None or before.shape != after.shape or not len(before):
        return None
    difference = after.double() - before.double()
    if not bool(torch.isfinite(difference).all()):
        return None
    spread = float((difference - difference.mean()).square().sum()) + 1.0
    return math.sqrt(spread) / (len(difference) + 1)


def _gain(pair: Pair) -> tuple[float, float]:
    """Score after − before, and the standard error from the examples scored; below a constant counts as that."""
    before, after, apart = pair
    floor = max(0.0, before.chance or 0.0)
    values = [floor if replay.score is None else max(floor, replay.score) for replay in (before, after)]
    known = [replay.score is not None and replay.score >= floor for replay in (before, after)]
    if apart is not None and all(known):
        return values[1] - values[0], apart
    errors = [replay.uncertainty if sure else 0.0 for replay, sure in zip((before, after), known)]
    if before.measure == "accuracy" and before.scored_on == "validation":
        constant = math.sqrt(floor * (1 - floor) / (before.scored + 2))
        errors = [error or constant for error in errors]
    return values[1] - values[0], math.hypot(*errors)


def _noise(pairs: list[Pair]) -> tuple[float, float]:
    """Mean gain over the pairs of one seed, and its standard error: spread between the seeds and examples scored."""
    gains = [_gain(pair) for pair in pairs]
    mean = sum(gain for gain, _ in gains) / len(gains)
    examples = max(error for _, error in gains)  # the same examples for all seeds: more seeds do not lower it
    if len(gains) == 1:
        return mean, math.hypot(examples, ONE_SEED_NOISE)
    spread = math.sqrt(sum((gain - mean) ** 2 for gain, _ in gains) / (len(gains) - 1))
    return mean, math.hypot(examples, max(spread, ONE_SEED_NOISE / 3) / math.sqrt(len(gains)))


def consistent(pairs: list[Pair]) -> bool:
    """A gain with the same seeds that a one-sided paired test believes at 5 %: beyond the spread between the seeds and
    the error over the examples scored, both of differences."""
    gains = [_gain(pair) for pair in pairs]
    count = len(gains)
    if count not in LIMITS:
        return False
    mean = sum(gain for gain, _ in gains) / count
    spread = math.sqrt(sum((gain - mean) ** 2 for gain, _ in gains) / (count - 1))
    # Each seed's difference over the examples has an error of its own; what all seeds share of it is their least.
    return mean > LIMITS[count] * spread / math.sqrt(count) and mean > Z_LEVEL * min(error for _, error in gains)


Z_LEVEL = 1.645  # standard errors: one-sided 5 % of a normal distribution


def _outcome(experiment: Experiment, pairs: list[Pair], *, sure: bool = False) -> Outcome:
    gain, noise = _noise(pairs)
    before, after, _ = pairs[0]
    return Outcome(
        experiment=experiment, baseline=before, changed=after, gain=gain, noise=noise,
        better=sure or gain > BEYOND * noise, seeds=len(pairs), skills=_skills(pairs),
    )  # fmt: skip


def _skills(pairs: list[Pair]) -> tuple[float, float]:
    """Without and with the change, means over the seeds."""
    without = sum(skill(pair.before.score, pair.before.chance) for pair in pairs) / len(pairs)
    changed = sum(skill(pair.after.score, pair.after.chance) for pair in pairs) / len(pairs)
    return without, changed


def run(experiment: Experiment, replica: Replica, observations: Observations, seconds: float) -> Outcome:
    """Run one experiment on copies of the training, without a laboratory that remembers the unchanged ones."""
    return Laboratory(replica).run(experiment, seconds)


def judge_and_confirm(
    observations: Observations,
    replica: Replica | Laboratory | None,
    *,
    ignore: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> Diagnosis:
    """Ask the rules; run what they want to know, the most telling first; ask again, until nothing is wanted or the time
    is over. What was not run says so. ``seconds`` are for all experiments of a laboratory together."""
    laboratory = Laboratory(replica) if isinstance(replica, Replica) else replica
    clock = time.monotonic() + WALL * seconds
    while True:
        diagnosis = judge(observations, ignore)
        if not diagnosis.wanted:
            return diagnosis
        experiment = diagnosis.wanted[0]
        if laboratory is None:
            reason = observations.unseen.get("experiments", "there was no training to try it on")
            outcome = Outcome(experiment=experiment, failed=reason)
        elif laboratory.left(seconds) <= 0 or time.monotonic() > clock:
            outcome = Outcome(experiment=experiment, failed=f"the {laboratory.allowed(seconds):.0f} s {OVER}")
        else:
            outcome = laboratory.run(experiment, laboratory.left(seconds))
        observations.outcomes[experiment.name] = outcome


def confirmed_share(diagnosis: Diagnosis) -> float | None:
    """The share of findings at warning or above that an experiment confirmed; None where there are none."""
    loud = [finding for finding in diagnosis.findings if finding.severity != "note"]
    return sum(bool(finding.confirmed_by) for finding in loud) / len(loud) if loud else None


__all__ = ["REPLAY", "Laboratory", "confirmed_share", "judge_and_confirm", "run"]
