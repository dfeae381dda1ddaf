"""Counterfactuals: a few steps on a copy with one thing changed, and what came of it. No torch.

A rule that suspects a cause asks for an `Experiment`; `repair.confirm` runs it on a copy of the training and returns an
`Outcome`; the rule, asked again, names the cause, drops it, or says that it could not be tried.
"""

from __future__ import annotations

from typing import Any

from netwright.records import Record


class Change(Record, frozen=True, kw_only=True):
    """One named change of a training, of the kinds that `repair.changes` knows: ``learning-rate`` with a factor, …"""

    kind: str
    value: Any = None
    layer: str = ""


class Experiment(Record, frozen=True, kw_only=True):
    """A question to a copy of the training. ``changes`` empty: the training itself, replayed in a plain loop.

    ``worth``: which of several is run first when time is short. ``epochs``: of the planned ones, as a factor.
    """

    name: str
    changes: tuple[Change, ...] = ()
    question: str = ""
    worth: float = 1.0
    epochs: float = 1.0


class Replay(Record, frozen=True, kw_only=True):
    """How a copy trained: ``losses`` thinned out evenly, ``score`` (accuracy or R², higher is better) on the part
    ``scored_on``; None where it was not finite."""

    steps: int
    losses: tuple[float | None, ...]
    score: float | None
    train_score: float | None = None
    scored_on: str = "validation"
    seconds: float = 0.0


class Outcome(Record, frozen=True, kw_only=True):
    """What an experiment showed, beside the unchanged training on the same seeds and steps.

    ``gain``: score with the change − without, mean over the seeds, ``noise`` its spread (one standard deviation);
    ``better``: the gain is beyond the noise. ``failed``: why it could not be tried.
    """

    experiment: Experiment
    baseline: Replay | None = None
    changed: Replay | None = None
    gain: float | None = None
    noise: float | None = None
    better: bool | None = None
    seconds: float = 0.0
    failed: str = ""
