"""What rules share about experiments: names (each is run once) and how their outcomes are read. No torch."""

from __future__ import annotations

import math
from typing import Any

from netwright.observations import Experiment, Observations, Outcome
from netwright.observations.experiments import Change, Replay
from netwright.records import Record

REPLAY = Experiment(
    name="replay", question="how far does the unchanged training come in a plain loop?", worth=100.0
)  # its outcome's `changed` is its `baseline`


OVER = "were over"  # how `Outcome.failed` ends where the time did not suffice


def experiment(*changes: Change, epochs: float = 1.0, worth: float = 1.0, question: str = "") -> Experiment:
    """An experiment whose name follows from its changes: rules that ask the same share the answer."""
    if not changes:
        return REPLAY
    name = " + ".join(sorted(_named(change) for change in changes)) + (f" for {epochs:g} epochs" if epochs != 1 else "")
    return Experiment(name=name, changes=changes, question=question, worth=worth, epochs=epochs)


def _named(change: Change) -> str:
    value = change.value
    text = "" if value is None else f"={value:g}" if isinstance(value, float | int) else f"={value}"
    return change.kind + text + (f"@{change.layer}" if change.layer else "")


def change(kind: str, value: Any = None, layer: str = "") -> Change:
    return Change(kind=kind, value=value, layer=layer)


def answer(observations: Observations, asked: Experiment) -> Outcome | None:
    """The outcome, None as long as it was not run."""
    return observations.outcomes.get(asked.name)


def replayed(observations: Observations) -> Replay | None:
    """The unchanged training in a plain loop, None where it was not (or could not be) run."""
    outcome = observations.outcomes.get(REPLAY.name)
    return outcome.baseline if outcome is not None and not outcome.failed else None


def skill(score: float | None, chance: float | None) -> float:
    """(score − chance) / (1 − chance): 0 for a constant and for what is worse or not finite, 1 for perfect."""
    if score is None or not math.isfinite(score):
        return 0.0
    floor = chance if chance is not None and chance < 1 else 0.0
    return max(0.0, (score - floor) / (1 - floor))


def proof(outcome: Outcome) -> str:
    """The sentence for ``confirmed_by``: both scores, steps and seeds; why not, where it failed; "" where the change
    was not better, as that confirms nothing."""
    if outcome.failed:
        return f"not tried: {outcome.failed}"
    before, after = outcome.baseline, outcome.changed
    if before is None or after is None or not outcome.better:
        return ""
    said = outcome.experiment.question or outcome.experiment.name
    steps = (
        f"{after.steps:,} steps" if after.steps == before.steps else f"{after.steps:,} steps against {before.steps:,}"
    )
    seeds = f", {outcome.seeds} seeds" if outcome.seeds > 1 else ""
    noise = f" ± {outcome.noise:.3f}" if outcome.noise is not None else ""
    return (
        f"{said}: {before.measure} on {after.scored_on} {_score(before)} → {_score(after)} "
        f"(gain {outcome.gain or 0.0:+.3f}{noise}; {steps}{seeds})"
    )


def _score(replay: Replay) -> str:
    return "not finite" if replay.score is None else f"{replay.score:.3f}"


# -------------------------------------------------------------------------- the user's loop beside the plain one

WHOLE = 0.9  # of the planned steps: a copy that made fewer was cut, and says little of how the training ends
SAME_MEASURE = 0.1  # at most this far apart are two scores of one training, drawn in another order, beside the noise
FALLEN = 0.02  # of its first value: what a whole training takes off its loss where nothing at all is learned


def is_whole(replay: Replay | None) -> bool:
    """Whether the copy made the planned steps, and was not cut for time."""
    return replay is not None and replay.steps >= WHOLE * replay.planned


def own_scores(observations: Observations, split: str = "validation") -> list[float | None]:
    """The user's metric of every epoch, None where it was not finite."""
    values = [row.metrics.get("score") for row in observations.epochs if row.split == split]
    return [value if value is not None and math.isfinite(value) else None for value in values]


def measures_alike(observations: Observations) -> bool:
    """Whether the user's metric was recognised as the copies' own measure (accuracy, R²) by what it said: of the epoch
    that ended nearest to the copy's last step, both say the same. Else nothing is known of what a constant scores."""
    replay = replayed(observations)
    rows = [row for row in observations.epochs if row.split == (replay.scored_on if replay else "")]
    if replay is None or not rows:
        return False
    nearest = min(rows, key=lambda row: abs(row.step - replay.steps))
    own = nearest.metrics.get("score")
    if own is None or not math.isfinite(own) or replay.score is None:
        return replay.score is None and (own is None or not math.isfinite(own))
    floor = replay.chance or 0.0  # below a constant R² may be anything
    if own < floor and replay.score < floor and replay.measure != "accuracy":
        return True
    return abs(own - replay.score) <= max(SAME_MEASURE * (1 - floor), 4 * replay.uncertainty)


def stays_at_chance(observations: Observations) -> bool:
    """Whether the user's scores of all epochs, in training and held out, are the accuracy of a constant (or an R² of
    0): a metric that never leaves it is that of an answer that never changes."""
    replay = replayed(observations)
    known = [score for split in ("validation", "train") for score in own_scores(observations, split)]
    if replay is None or replay.chance is None or not known:
        return False
    near = max(FALLEN, 3 * replay.uncertainty)
    return all(score is None or abs(score - replay.chance) <= near for score in known)


def constant_loss(observations: Observations) -> float | None:
    """The loss of the best constant answer on the training part: the entropy of the classes' shares in nats, or the
    variance of the targets. None where the loss was not recognised as one of which that is known."""
    loss, data, flight = observations.loss, observations.data, observations.preflight
    if loss is None or data is None or flight is None or loss.reduction != "mean":
        return None
    columns = flight.output_shape[1] if len(flight.output_shape) > 1 else 1
    counts = [count for count in data.class_counts if count]
    if data.task == "classification" and counts and len(flight.output_shape) <= 2:
        entropy = -sum(count / sum(counts) * math.log(count / sum(counts)) for count in counts)
        several = loss.form in ("softmax", "log-likelihood", "cross-entropy") and columns >= len(counts)
        two = loss.form in ("sigmoid", "binary-cross-entropy") and columns == 1 and len(counts) == 2
        return entropy if several or two else None
    targets = data.targets
    if data.task == "regression" and loss.form == "squared" and targets is not None and math.prod(targets.shape) == 1:
        return targets.deviation**2 if targets.deviation else None
    return None


def loss_fell(observations: Observations) -> bool | None:
    """Whether the user's own loss went down, and below that of the best constant where this is known; None where too
    little was seen of it."""
    values = observations.series.get("loss").values
    if any(value is None or not math.isfinite(value) for value in values):
        return False
    if len(values) < 20:
        return None
    tenth = max(2, len(values) // 10)
    first, last = _mean(values[:tenth]), _mean(values[-tenth:])
    assert first is not None
    assert last is not None
    constant = constant_loss(observations)
    return last < first - FALLEN * abs(first) and (constant is None or last < (1 - FALLEN) * constant)


# The share of the plain loop's progress in loss that the user's own loop makes; another order of the examples does not
# halve it.
PROGRESS_LOST = 0.5
# A first loss so much above that of the same untrained network and loss: something is added to it (a penalty).
ADDED = 1.5
SHARED = 0.25  # of the user's steps: a copy that made fewer is not compared
FIRST_EXAMPLES = 8  # a first batch of fewer says too little of the loss


class LoopGap(Record, frozen=True, kw_only=True):
    """The user's own curve beside the unchanged training in a plain loop (gradients cleared, examples shuffled,
    descent, evaluation mode, nothing added to the loss).

    ``progress``: how much of the plain loop's fall in loss the user's made (1: as much; 0 or less: none).
    ``added``: what the user's loss at the first step has beyond the plain one, as a factor. ``scores``: (user's,
    plain) on the held-out part at the end, where both are known; the user's metric may be another one.
    ``loses_progress``: the fault is in the loop. ``adds_to_loss``: a term is added. None: cannot be said.
    """

    progress: float | None = None
    added: float | None = None
    scores: tuple[float, float] | None = None
    loses_progress: bool | None = None
    adds_to_loss: bool | None = None


def loop_gap(observations: Observations) -> LoopGap | None:
    """Over the steps that both made; None where there is no replay, or one that was cut early, or no losses."""
    replay = replayed(observations)
    series = observations.series.get("loss")
    if replay is None or len(series.values) < 2 or replay.steps < SHARED * len(series.values):
        return None
    values = series.values[: replay.steps]
    own_first, own_last = values[0], _mean(values[-max(1, len(values) // 10) :])
    first, last = replay.first_loss, replay.last_loss
    progress = added = None
    if first is not None and last is not None and first - last > 0.05 * abs(first):
        finite_end = own_last is not None and math.isfinite(own_last)
        progress = (first - own_last) / (first - last) if own_last is not None and finite_end else 0.0
    batch = observations.plan.batch_size if observations.plan else None
    if first and own_first is not None and math.isfinite(own_first) and first > 0 and (batch or 0) >= FIRST_EXAMPLES:
        added = own_first / first
    scores = None
    held_out = [row for row in observations.epochs if row.split == "validation"]
    if held_out and replay.scored_on == "validation" and replay.score is not None:
        own = min(held_out, key=lambda row: abs(row.step - replay.steps)).metrics.get("score")
        scores = (own if own is not None and math.isfinite(own) else -math.inf, replay.score)
    adds = None if added is None else added > ADDED
    return LoopGap(
        progress=progress, added=added, scores=scores, adds_to_loss=adds,
        loses_progress=None if progress is None or adds else progress < PROGRESS_LOST,
    )  # fmt: skip


def _mean(values: list[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(finite) / len(finite) if len(finite) == len(values) and finite else None
