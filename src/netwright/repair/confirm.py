"""Suspicions are tried on a copy: one thing changed, the same seeds and steps, within a stated time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from netwright.diagnosis.judging import Diagnosis, judge
from netwright.observations import Experiment, Observations, Outcome
from netwright.repair.replica import Replica


def judge_and_confirm(
    observations: Observations,
    replica: Replica | None,
    *,
    ignore: Mapping[str, str] | None = None,
    seconds: float = 30.0,
) -> Diagnosis:
    """Ask the rules; run what they want to know, the most telling first; ask again, until nothing is wanted or the time
    is over. What was not run says so."""
    stop_at = time.monotonic() + seconds
    while True:
        diagnosis = judge(observations, ignore)
        if not diagnosis.wanted:
            return diagnosis
        experiment = diagnosis.wanted[0]
        left = stop_at - time.monotonic()
        if replica is None:
            outcome = Outcome(experiment=experiment, failed="there was no training to try it on")
        elif left <= 0:
            outcome = Outcome(experiment=experiment, failed=f"the {seconds:.0f} s for experiments were over")
        else:
            outcome = run(experiment, replica, observations, left)
        observations.outcomes[experiment.name] = outcome


def run(experiment: Experiment, replica: Replica, observations: Observations, seconds: float) -> Outcome:
    """Run one experiment on copies of the training."""
    return Outcome(experiment=experiment, failed="experiments are not there yet")
