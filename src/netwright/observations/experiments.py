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
    """How a copy trained: ``losses`` are means over equal pieces of its steps, ``score`` (accuracy or R², higher is
    better) is on the part ``scored_on``; None where it was not finite.

    ``planned``: the steps of the whole training, of which ``steps`` were made. ``chance``: the score of the best
    constant on the same examples. ``uncertainty``: one standard error of the score over ``scored`` examples.
    ``first_loss``: of the first batch, before any step; ``last_loss``: mean over the last tenth of the steps.
    """

    steps: int
    losses: tuple[float | None, ...]
    score: float | None
    train_score: float | None = None
    scored_on: str = "validation"
    seconds: float = 0.0
    planned: int = 0
    chance: float | None = None
    uncertainty: float = 0.0
    scored: int = 0
    measure: str = "accuracy"  # or R²
    first_loss: float | None = None
    last_loss: float | None = None


class Outcome(Record, frozen=True, kw_only=True):
    """What an experiment showed, beside the unchanged training on the same seeds and steps.

    ``gain``: score with the change − without, mean over the seeds, a score below that of a constant counting as that
    (a copy that broke down counts so too); ``noise`` is the gain's standard error; ``better``: the gain is beyond the
    noise. ``failed``: why it could not be tried.
    """

    experiment: Experiment
    baseline: Replay | None = None
    changed: Replay | None = None
    gain: float | None = None
    noise: float | None = None
    better: bool | None = None
    seconds: float = 0.0
    failed: str = ""
    seeds: int = 1
    reference: float | None = None  # of the replay only: the score of a quick learner that needs no settings
    skills: tuple[float, float] | None = None  # without and with: (score − chance) / (1 − chance), 0 where below


class RepairStep(Record, frozen=True, kw_only=True):
    """One line of a repair's ledger: what was changed and why, what it did on the same seeds and epochs, what it cost.

    ``code``: of the finding that asked for it, "" for a remedy tried without one. ``before`` and ``after``: scores,
    None where not finite; ``noise``: one standard error of ``gain``. ``kept``: it won beyond the noise. ``words``: the
    change in a user's own script; ``recipe``: as keys of a recipe, where they can say it.
    """

    changes: tuple[Change, ...]
    words: str
    code: str = ""
    why: str = ""
    before: float | None = None
    after: float | None = None
    gain: float | None = None
    noise: float | None = None
    kept: bool = False
    seconds: float = 0.0
    failed: str = ""
    recipe: dict[str, Any] = {}
