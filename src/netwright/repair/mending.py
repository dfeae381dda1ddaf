"""A training repaired: remedies one at a time, from the root cause, each proved against the unrepaired one.

A remedy is kept only if it wins on the same seeds and epochs, beyond the noise or by a paired test at 5 %, else it is
rolled back. What is wrong in
two places at once shows no gain by either repair alone; then a group of usual settings is tried as one, and everything
that it does not need is taken out of it again, one at a time.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterable

import torch
from torch import nn

from netwright.observations import Experiment, Outcome
from netwright.observations.experiments import Change, RepairStep
from netwright.records import Finding, Record
from netwright.repair import changes, wording
from netwright.repair.confirm import Laboratory
from netwright.repair.replaying import Copy, steps_of
from netwright.repair.replica import Replica
from netwright.repair.scoring import Score, kind_of

SECONDS = 60.0
PROOF = 0.5  # of all seconds, at most, are kept for the proof
GROUP_ORDER = 2  # passes over the remedies: what was kept may make another one win

Remedy = tuple[Change, ...]


def _one(kind: str, value: object = None) -> Remedy:
    return (Change(kind=kind, value=value),)


# Finding → the remedies to try, in order.
FOR_CODE: dict[str, tuple[Remedy, ...]] = {
    "bad-values": (_one("drop-bad-rows"),),
    "input-not-normalized": (_one("standardize-inputs"),),
    "target-not-normalized": (_one("standardize-targets"),),
    "split-mismatch": (_one("same-preprocessing"),),
    "class-imbalance": (_one("balance-classes"),),
    "duplicates": (_one("drop-duplicates"),),
    "wrong-hidden-activation": (_one("activation", "relu"), _one("activation", "tanh")),
    "saturated-units": (_one("standardize-inputs"), _one("initialization", "auto"), _one("activation", "relu")),
    "missing-nonlinearity": (_one("nonlinearity", "relu"),),
    "bad-initialization": (_one("initialization", "auto"), _one("initialization", "default")),
    "symmetric-weights": (_one("initialization", "auto"),),
    "frozen-parameters": (_one("train-all"),),
    "missing-from-optimizer": (_one("train-all"),),
    "no-gradient": (_one("train-all"), _one("initialization", "auto")),
    "dead-units": (_one("initialization", "auto"), _one("activation", "leaky-relu"), _one("learning-rate", 0.1)),
    "vanishing-gradient": (_one("activation", "relu"), _one("norm", "batch"), _one("depth", 3), _one("residual")),
    "exploding-gradient": (_one("initialization", "auto"), _one("clip", 1.0), _one("norm", "batch")),
    "too-deep": (_one("depth", 3), _one("residual"), _one("norm", "batch")),
    "too-small": (_one("width", 4.0),),
    "underfitting": (_one("width", 4.0),),
    "learning-rate-too-high": (_one("learning-rate", 0.1), _one("learning-rate", 0.01)),
    "learning-rate-too-low": (_one("learning-rate", 10.0), _one("learning-rate", 100.0)),
    "batch-too-large": (_one("batch-size", 0.125),),
    "batch-too-small": (_one("batch-size", {"to": 32}),),
    "norm-batch-too-small": (_one("batch-size", {"to": 32}), _one("group-norm")),
    "wrong-optimizer-for-batch": (_one("optimizer", "adam"),),
    "weight-decay-too-high": (_one("weight-decay", 0.0),),
    "over-regularized": (_one("dropout", 0.0), _one("dropout", 0.2)),
    "too-few-epochs": (_one("epochs", 4.0), _one("epochs", 16.0)),
}
OUTPUT_CODES = ("wrong-output-activation", "loss-mismatch", "output-size-mismatch", "shape-broadcast")


def output_remedies(replica: Replica) -> tuple[Remedy, ...]:
    """Pairs of output and loss that belong together for these targets (Bishop 2006, 4.3.6)."""
    targets = replica.train[1]
    with torch.no_grad():
        outputs = Copy(replica, 0, 1).network.eval()(replica.train[0][:4])
    kind = kind_of(outputs, targets[:1000], replica.task) if len(outputs) == 4 else "values"
    own = kind_of(targets, targets, replica.task)
    units = outputs.shape[-1]
    if kind == "classes" or own == "one-hot":
        return (_one("loss", "cross-entropy"),)
    if own in ("binary", "multi-label"):
        wanted = targets[0].numel()
        if units > 1 and wanted == 1:
            return (_one("loss", "cross-entropy"),)
        return (_one("loss", "binary-cross-entropy"), _one("output", "sigmoid"))
    wanted = targets[0].numel()
    fitting: Remedy = _one("output-units", wanted) if units != wanted else ()
    plain: Remedy = (*fitting, *_one("loss", "squared"))
    linear = (Change(kind="output", value="identity"), *fitting, Change(kind="standardize-targets"))
    return (_one("output", "identity"), linear, plain, (*plain, *_one("standardize-targets")), _one("loss-mean"))


def everything(replica: Replica) -> tuple[Remedy, ...]:
    """All remedies, structural ones first: what is tried without a finding, and what random search draws from."""
    found: list[Remedy] = [
        _one("drop-bad-rows"), _one("standardize-inputs"), _one("standardize-targets"), *output_remedies(replica),
        _one("train-all"), _one("initialization", "auto"), _one("nonlinearity", "relu"), _one("activation", "relu"),
        _one("activation", "tanh"), _one("weight-decay", 0.0), _one("dropout", 0.0), _one("optimizer", "adam"),
        _one("learning-rate", 0.1), _one("learning-rate", 10.0), _one("learning-rate", 0.01),
        _one("learning-rate", 100.0), _one("batch-size", 0.125), _one("batch-size", {"to": 32}), _one("depth", 3),
        _one("norm", "batch"), _one("group-norm"), _one("width", 4.0), _one("clip", 1.0), _one("epochs", 4.0),
        _one("epochs", 16.0), _one("balance-classes"), _one("same-preprocessing"),
    ]  # fmt: skip
    return tuple(_distinct(found))


def _distinct(remedies: Iterable[Remedy]) -> list[Remedy]:
    seen: list[Remedy] = []
    for remedy in remedies:
        if remedy and remedy not in seen:
            seen.append(remedy)
    return seen


class Ledger(Record, frozen=True, kw_only=True):
    """Every remedy that was tried, in order; ``changes`` are those kept. ``before`` and ``after``: scores of the
    unrepaired and the repaired training with a seed that decided nothing."""

    steps: tuple[RepairStep, ...] = ()
    changes: tuple[Change, ...] = ()
    words: tuple[str, ...] = ()
    recipe: dict[str, object] = {}
    before: float | None = None
    after: float | None = None
    measure: str = "accuracy"
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Mended:
    """The repaired training, its network trained with it, and the ledger."""

    replica: Replica
    network: nn.Module
    ledger: Ledger
    validation: Score | None = None

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """The network's outputs for raw inputs, in the targets' own unit."""
        return predict(self.replica, self.network, inputs)


def predict(replica: Replica, network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Outputs of a copy of ``replica`` for inputs as they were before its changes, in the targets' own unit."""
    for mean, deviation in replica.input_scales:
        inputs = (inputs.to(mean.dtype) - mean) / deviation
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with torch.no_grad():
        outputs: torch.Tensor = torch.cat([network(part) for part in inputs.split(512)])
    for module, mode in modes:
        module.training = mode
    for mean, deviation in reversed(replica.target_scales):
        outputs = outputs * deviation + mean
    return outputs


def mend(
    replica: Replica,
    findings: Iterable[Finding] = (),
    *,
    seconds: float = SECONDS,
    allowed: Iterable[str] | None = None,
) -> Mended:
    """Repair a training within ``seconds`` of computing, the proof included. ``findings``: in the order of a diagnosis,
    roots first; notes do not count, and where nothing is found nothing is tried.

    ``allowed``: kinds of change that may be kept (all). The last word has a seed that decided nothing: where the
    repaired training is not better with it, the training stays as it was. Its two trainings are whole: seconds are
    kept for them, and half of all at most.
    """
    began = time.thread_time()
    kinds = None if allowed is None else set(allowed)
    work = _Work(replica, began, seconds, kinds)
    found = [finding for finding in findings if finding.severity != "note"]
    if not found:
        return _finished(replica, work, began)
    asked = [
        (finding.code, finding.cause, remedy)
        for finding in found
        for remedy in (output_remedies(replica) if finding.code in OUTPUT_CODES else FOR_CODE.get(finding.code, ()))
    ]
    done = set()
    for code, cause, remedy in asked:
        if repr(remedy) not in done:
            done.add(repr(remedy))
            work.try_one(remedy, code, cause)
    for _ in range(GROUP_ORDER):
        if work.over() or work.satisfied():
            break
        kept_before = len(work.kept)
        for remedy in everything(work.current):
            if work.satisfied() or work.over():
                break
            work.try_one(remedy)
        if len(work.kept) == kept_before:
            work.try_group()
            break
    return _finished(replica, work, began)


def search(replica: Replica, *, seconds: float = SECONDS, seed: int = 0) -> Mended:
    """The yardstick: random subsets of the same remedies within the same seconds; the best score is kept."""
    began = time.thread_time()
    draw = random.Random(seed)
    remedies = everything(replica)
    work = _Work(replica, began, seconds, None)
    laboratory = work.laboratory = Laboratory(replica)
    best: tuple[float, Remedy] = (0.0, ())
    steps: list[RepairStep] = []
    while (left := work.left) > 0:
        drawn = draw.sample(remedies, draw.randint(1, 4))
        together: Remedy = tuple(part for remedy in drawn for part in remedy)
        outcome = laboratory.run(Experiment(name="random", changes=together), left)
        gain = outcome.gain if outcome.gain is not None else 0.0
        if gain > best[0]:
            best = gain, together
            work.current = changes.apply(replica, *together)
        steps.append(_step(together, outcome, gain >= best[0] > 0))
    work.steps, work.kept = steps, list(best[1])
    return _finished(replica, work, began)


class _Work:
    """The training as repaired so far."""

    def __init__(self, replica: Replica, began: float, seconds: float, allowed: set[str] | None) -> None:
        self.original = self.current = replica
        self.until, self.seconds, self.allowed = began + seconds, seconds, allowed
        self.laboratory = Laboratory(replica, patient=True)
        self.kept: list[Change] = []
        self.steps: list[RepairStep] = []
        self._step_seconds = 0.0  # of the unrepaired training

    @property
    def left(self) -> float:
        """Seconds for remedies: without those of the proof, which trains both whole."""
        self._step_seconds = self._step_seconds or self.laboratory.step_seconds
        proof = (steps_of(self.original) + steps_of(self.current)) * self._step_seconds
        return self.until - min(proof, PROOF * self.seconds) - time.thread_time()

    def over(self) -> bool:
        return self.left <= 0

    def satisfied(self) -> bool:
        """Nothing that could be called a fault is left: at most one point of a hundred to gain."""
        replay = self.laboratory.baseline(0, max(1.0, self.left))
        return replay.score is not None and replay.score >= 0.99

    def try_one(self, remedy: Remedy, code: str = "", why: str = "") -> bool:
        left = self.left
        if left <= 0 or (self.allowed is not None and any(part.kind not in self.allowed for part in remedy)):
            return False
        outcome = self.laboratory.run(Experiment(name=_words(remedy), changes=remedy), left)
        won = bool(outcome.better)
        self.steps.append(_step(remedy, outcome, won, code, why))
        if won:
            self.current = changes.apply(self.current, *remedy)
            self.kept += remedy
            self.laboratory = Laboratory(self.current, patient=True)
        return won

    def try_group(self) -> None:
        """All usual settings at once; what it can do without is taken out again."""
        group = [remedy for remedy in _group(self.original) if self._fits(remedy)]
        together: Remedy = tuple(part for remedy in group for part in remedy)
        left = self.left
        if left <= 0 or not together:
            return
        laboratory = Laboratory(self.original)
        outcome = laboratory.run(Experiment(name="together", changes=together), left)
        now = self.laboratory.baseline(0, left)
        floor = max(0.0, now.chance or 0.0)
        ahead = max(floor, (outcome.changed.score if outcome.changed else None) or floor) - max(
            floor, now.score or floor
        )
        won = bool(outcome.better) and ahead > 3 * (outcome.noise or 0.0)
        self.steps.append(_step(together, outcome, won, why="no single remedy was enough"))
        if not won:
            return
        for remedy in list(group):
            without = [other for other in group if other is not remedy]
            kept: Remedy = tuple(part for other in without for part in other)
            if not kept or self.over():
                break
            tried = laboratory.run(Experiment(name="without", changes=kept), max(0.0, self.left))
            needless = tried.gain is not None and outcome.gain is not None and tried.gain >= outcome.gain - 0.01
            self.steps.append(_step(kept, tried, needless, why=f"is this needed: {_words(remedy)}?"))
            if needless:
                group = without
        self.kept = [part for remedy in group for part in remedy]
        self.current = changes.apply(self.original, *self.kept)
        self.laboratory = Laboratory(self.current, patient=True)

    def _fits(self, remedy: Remedy) -> bool:
        if self.allowed is not None and any(part.kind not in self.allowed for part in remedy):
            return False
        try:
            changes.apply(self.original, *remedy)
        except changes.RefusedError:
            return False
        return True


def _group(replica: Replica) -> list[Remedy]:
    outputs = output_remedies(replica)[:1]
    settings = [_one("drop-bad-rows"), _one("standardize-inputs"), _one("standardize-targets"), *outputs]
    settings += [_one("nonlinearity", "relu"), _one("activation", "relu"), _one("initialization", "auto")]
    settings += [_one("train-all"), _one("weight-decay", 0.0), _one("dropout", 0.0)]
    return [*settings, _one("optimizer", {"kind": "adam", "lr": 0.003})]


def _finished(replica: Replica, work: _Work, began: float) -> Mended:
    last_seed = 1000
    plain = Copy(replica, last_seed)
    plain.advance()
    before = plain.replay()
    chosen, network, after, kept = replica, plain.network, before, []
    if work.kept:
        repaired = Copy(work.current, last_seed)
        repaired.advance()
        replay = repaired.replay()
        if replay.score is not None and (before.score is None or replay.score > before.score):
            chosen, network, after, kept = work.current, repaired.network, replay, work.kept
    together = wording.together(kept)
    ledger = Ledger(
        steps=tuple(work.steps), changes=tuple(together), words=tuple(wording.in_words(part) for part in together),
        recipe={key: value for part in together for key, value in wording.recipe_change(part).items()},
        before=before.score, after=after.score, measure=after.measure, seconds=time.thread_time() - began,
    )  # fmt: skip
    return Mended(chosen, network, ledger)


def _step(remedy: Remedy, outcome: Outcome, kept: bool, code: str = "", why: str = "") -> RepairStep:
    return RepairStep(
        changes=remedy, words=_words(remedy), code=code, why=why, kept=kept,
        before=outcome.baseline.score if outcome.baseline else None,
        after=outcome.changed.score if outcome.changed else None,
        gain=outcome.gain, noise=outcome.noise, seconds=outcome.seconds, failed=outcome.failed,
    )  # fmt: skip


def _words(remedy: Remedy) -> str:
    return "; ".join(wording.in_words(part) for part in remedy)
