"""A run under watch: facts before the first step, measurements into its database, findings as they arise.

The loop in ``training`` knows nothing of it: `Overseer` stands around the loop's observer, and is one of its sinks.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import torch

from netwright import building
from netwright.building import Loss, Material
from netwright.data.examples import Examples
from netwright.data.releasing import give_back
from netwright.diagnosis.experimenting import REPLAY, skill
from netwright.diagnosis.judging import Diagnosis
from netwright.diagnosis.standing import FINE
from netwright.errors import RunError
from netwright.observations import Observations, Outcome, Plan, keeping
from netwright.observations.experiments import Replay
from netwright.preprocess import InputFile
from netwright.recipe.schema import Recipe
from netwright.records import EpochRow, Finding
from netwright.repair.reference import reference
from netwright.rows import Log
from netwright.runs import RunDirectory
from netwright.sourcing import Sources
from netwright.training.loop import Job, Observer
from netwright.training.state import State
from netwright.watching import Watch
from netwright.watching.undisturbed import undisturbed

# The watch gets so much of the training part as the network sees it, evenly drawn: enough to judge scales and labels by
# and to try suspicions on, and a small share of what a training takes in memory.
MOST_BYTES, FEWEST = {"train": 8_000_000, "validation": 4_000_000}, 512
GLANCE_SECONDS, GLANCE_SHARE = 2.0, 0.005  # between two judgements: the least, and the share of the time for judging
# For experiments: so many times what the training took, because whole copies tell most, and the least, however short
# it was.
COPIES, LEAST_SECONDS = 4.0, 2.0
EARLIEST = 20  # steps before the first judgement while it trains: they are all looked at


class Teller(Protocol):
    """Where findings are shown as they arise."""

    def findings(self, found: Sequence[Finding]) -> None: ...
    def remark(self, text: str) -> None: ...


class Overseer:
    """The loop's observer around another one: what it sees goes on to the watch and into the run's database.

    Its own failures are one warning, and the training goes on.
    """

    def __init__(
        self, watch: Watch, inner: Observer, log: Log, teller: Teller | None = None, known: Observations | None = None
    ) -> None:
        """``known``: what was seen before the step from which the training goes on."""
        self.watch = watch
        self._inner, self._log, self._teller = inner, log, teller
        self._keeper = keeping.Keeper(log, known)
        self._told: set[tuple[str, str, str]] = set()
        self._scores: dict[str, float | None] = {}
        self._step = 0
        self._glance_at = time.monotonic() + GLANCE_SECONDS

    # ---- called by the loop

    def after_step(self, state: State, loss: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.watch.step(loss)
        self._step = state.step
        self._inner.after_step(state, loss, outputs, targets)

    def after_epoch(self, state: State) -> bool:
        self._scores = {}
        stop = self._inner.after_epoch(state)
        self.watch.epoch(train=self._scores.get("train"), val=self._scores.get("validation"))
        if not stop and time.monotonic() >= self._glance_at:
            self.glance()
        return stop

    # ---- a sink of the recorder

    def series(self, name: str, first_step: int, values: Sequence[float]) -> None:
        """About once a second: what the probes saw since is written too, and judged now and then."""
        if name != "loss":
            return
        with self.watch.harmless("recording"):
            self._keeper.series(self.watch.observations)
        if self._step >= EARLIEST and time.monotonic() >= self._glance_at:
            self.glance()

    def epoch(self, row: EpochRow) -> None:
        self._scores[row.split] = keeping.score(row.metrics)

    def flush(self) -> None:
        with self.watch.harmless("recording"):
            self._keeper.series(self.watch.observations)
        self._log.flush()

    def close(self) -> None: ...

    # ---- judging

    def remember(self, findings: Sequence[Finding]) -> None:
        """They were told before."""
        self._told |= {_place(finding) for finding in findings}

    def begin(self, seconds: float) -> None:
        """Write the facts down and tell what they say; ``seconds`` is what they took."""
        with self.watch.harmless("recording"):
            self._keeper.facts(self.watch.observations)
            self._log.detail("watched", 0, {"preflight_seconds": seconds})
        self.glance()

    def glance(self) -> None:
        """Judge by what is seen so far, and tell what is new."""
        began = time.monotonic()
        with self.watch.harmless("findings"):
            self._write(self.watch.glance())
        now = time.monotonic()
        self._glance_at = now + max(GLANCE_SECONDS, (now - began) / GLANCE_SHARE)

    def look_no_longer(self) -> None:
        """The training is over, or stopped: hooks go, and what was seen is written."""
        self.watch.close()
        self.flush()

    def conclude(self, seconds: float, replay: Replay | None = None) -> None:
        """Judge for good: suspicions are tried on copies. ``seconds``: that the training took, by which a short one is
        not held up for long.

        ``replay``: the training itself, where it was finished."""
        began = time.monotonic()
        give_back()
        self.watch.confirm = min(self.watch.confirm, max(LEAST_SECONDS, COPIES * seconds))
        with self.watch.harmless("findings"):
            observations = self.watch.observations
            observations.finished = True
            if replay is not None:
                observations.outcomes[REPLAY.name] = _as_outcome(replay, self.watch)
            if self._teller is not None and self.watch.laboratory is not None and self.watch.glance().wanted:
                self._teller.remark("looking for causes on copies of the training …")
            self._write(self.watch.diagnosis())
            self._keeper.facts(observations)
            self._log.detail("concluded", self._step, {"seconds": time.monotonic() - began})
        self.flush()

    def _write(self, diagnosis: Diagnosis) -> None:
        fresh = [finding for finding in diagnosis.findings if _place(finding) not in self._told]
        self.remember(fresh)
        for finding in (*fresh, *(each for each in diagnosis.silenced if _place(each) not in self._told)):
            self._log.finding(self._step, finding)
        self.remember(diagnosis.silenced)
        self._log.detail(keeping.DIAGNOSIS, self._step, diagnosis.to_dict())
        if fresh and self._teller is not None:
            self._teller.findings(fresh)


def _place(finding: Finding) -> tuple[str, str, str]:
    return finding.code, finding.layer, finding.where


# ---------------------------------------------------------------------------------------------- what the watch is told


def watch(
    recipe: Recipe, job: Job, sources: Sources, inputs: InputFile, material: Material, loss: Loss | None
) -> tuple[Watch, float]:
    """A watch over this training before its first step, and the seconds that looking at it took; the global
    generators are left as they were."""
    began = time.perf_counter()
    train, validation = (_sample(recipe, sources, part, inputs, job) for part in ("train", "validation"))
    batch = int(recipe.train.batch_size) * recipe.train.accumulate
    told = _plain_loss(recipe, job, inputs, material, loss)
    made = Watch(
        job.network, job.optimizer, loss=told, train_data=train, val_data=validation, batch_size=batch,
        epochs=job.epochs, ignore=_silenced(recipe, inputs), budget=recipe.watch.budget, confirm=recipe.watch.confirm,
        tell=False,
    )  # fmt: skip
    if inputs.target_mean and made.observations.data is not None:  # the watch sees them normalised
        offset = max(abs(mean) / std for mean, std in zip(inputs.target_mean, inputs.target_std, strict=True))
        made.observations.data = msgspec.structs.replace(made.observations.data, target_offset=offset)
    examples = sources.examples
    if examples is not None:
        count = len(examples.parts["train"])
        made.observations.plan = Plan(batch_size=batch, epochs=job.epochs, examples=count)
        if train is not None and len(train[0]) < count:
            made.observations.unseen["examples"] = (
                f"{len(train[0]):,} of the {count:,} training examples were looked at"
            )
    _follow(made, job)
    give_back()
    return made, time.perf_counter() - began


def _silenced(recipe: Recipe, inputs: InputFile) -> dict[str, str]:
    """What the recipe silences, layers that it freezes on purpose (with learned weights they are no fault), and the
    order of time, in which series lie (they are drawn in another one), ids, which have no scale, and examples that are
    drawn twice."""
    meant = {"frozen-parameters": "train.freeze"} if recipe.train.freeze and recipe.network.weights else {}
    meant |= {"labels-not-shuffled": "windows of a series"} if inputs.window is not None else {}
    meant |= {"input-not-normalized": "ids of a text"} if inputs.text is not None else {}
    meant |= {"duplicates": "data.bootstrap_seed"} if recipe.data.bootstrap_seed else {}
    return meant | recipe.ignore


def _sample(
    recipe: Recipe, sources: Sources, part: str, inputs: InputFile, job: Job
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Inputs as the network sees them without augmentation, and the targets that the loss is of."""
    examples = sources.examples
    if examples is None or len(examples.preprocess) != 1 or part not in examples.parts or not len(examples.parts[part]):
        return None
    whole = examples.parts[part]
    place = next((parameter.device for parameter in job.network.parameters()), torch.device("cpu"))
    one = next(iter(building.batches(recipe, _only(examples, part, np.arange(1)), part, place).epoch(0)))
    most = max(FEWEST, MOST_BYTES[part] // max(1, one.inputs[0].numel() * one.inputs[0].element_size()))
    rows = np.unique(np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(np.int64))
    seen = one.inputs[0].new_empty((len(rows), *one.inputs[0].shape[1:]))
    labels: list[torch.Tensor] = []
    for batch in building.batches(recipe, _only(examples, part, rows), part, place).epoch(0):
        first = sum(len(part) for part in labels)
        seen[first : first + len(batch)] = batch.inputs[0]
        labels.append(batch.targets)
    targets = torch.cat(labels)
    if inputs.task == "regression" and inputs.target_mean:
        mean, deviation = (targets.new_tensor(values) for values in (inputs.target_mean, inputs.target_std))
        targets = (targets - mean) / deviation
    return seen, targets


def _only(examples: Examples, part: str, rows: Any) -> Examples:
    return dataclasses.replace(examples, parts={part: examples.parts[part].take(rows)})


def _plain_loss(recipe: Recipe, job: Job, inputs: InputFile, material: Material, loss: Loss | None) -> Loss:
    """The loss of the targets as the watch has them: those of a regression are normalised already."""
    if inputs.task != "regression" or not inputs.target_mean or loss is not None:
        return loss or job.objective.loss
    normalised = msgspec.structs.replace(inputs, target_mean=(), target_std=())
    plain: Loss = building.objective(recipe, normalised, material).loss
    return plain


def _follow(watch: Watch, job: Job) -> None:
    """Copies take the schedule and the clipping of the loop."""
    laboratory = watch.laboratory
    if laboratory is not None:
        steps = max(1, job.epochs * job.steps_per_epoch)
        laboratory.replica = dataclasses.replace(
            laboratory.replica, clip=job.clip, rate=lambda share: job.rate(round(share * steps))
        )


def go_on(watch: Watch, run: RunDirectory, step: int) -> Observations | None:
    """Where a training goes on from ``step``, the watch takes over what was seen before; None: nothing was."""
    try:
        seen = keeping.read(run)
    except RunError as error:
        warnings.warn(f"what was seen before step {step} cannot be read: {error}", stacklevel=2)
        return None
    watch.go_on(seen, step)
    return seen


def as_replay(
    observations: Observations, metrics: dict[str, dict[str, float]], targets: Any, task: str
) -> Replay | None:
    """The training itself as the unchanged one among the experiments, scored on its validation part.

    ``targets``: of that part, for what the best constant would score. None where nothing was held out.
    """
    score = keeping.score(metrics.get("validation", {}))
    losses = observations.series.get("loss")
    if score is None or targets is None or not len(targets) or not losses.values:
        return None
    chance, measure = 0.0, "R²"
    if task == "classification":
        labels = targets if targets.ndim == 1 else targets.argmax(1)
        chance, measure = float(np.bincount(labels.astype(np.int64)).max() / len(labels)), "accuracy"
    elif task != "regression":
        return None
    trained = [row.metrics.get("score") for row in observations.epochs if row.split == "train"]
    last = losses.finite[-max(1, len(losses.values) // 10) :]
    return Replay(
        steps=len(losses.values), planned=len(losses.values), losses=_pieces(losses.values), score=score, chance=chance,
        train_score=trained[-1] if trained else None,
        scored=len(targets), uncertainty=(max(0.0, score * (1 - score)) / len(targets)) ** 0.5, measure=measure,
        first_loss=losses.values[0], last_loss=sum(last) / len(last) if last else None,
    )  # fmt: skip


def _pieces(values: Sequence[float | None], count: int = 64) -> tuple[float | None, ...]:
    """Means over equal pieces of the steps."""
    pieces = np.array_split(np.array(values, np.float64), min(count, len(values)))
    means = [float(piece.mean()) for piece in pieces]
    return tuple(mean if np.isfinite(mean) else None for mean in means)


def _as_outcome(replay: Replay, watch: Watch) -> Outcome:
    """As the laboratory tells it. What a learner without settings reaches is asked only where that could be more."""
    own = skill(replay.score, replay.chance)
    better: float | None = None
    if own < FINE and watch.laboratory is not None:
        with watch.harmless("reference"), undisturbed():
            better = reference(watch.laboratory.replica)
    return Outcome(
        experiment=REPLAY, baseline=replay, changed=replay, gain=0.0, noise=0.0, better=False, skills=(own, own),
        reference=better,
    )  # fmt: skip
