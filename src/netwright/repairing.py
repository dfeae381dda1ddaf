"""``netwright.repair``: what is wrong with a training, what was changed, the proof, the repaired network or run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netwright import building, preparing, runs, sourcing, starting, workbench
from netwright.data.examples import Examples
from netwright.data.opening import open_source
from netwright.diagnosis.judging import Diagnosis
from netwright.errors import DataError, UsageError
from netwright.observations import Observations
from netwright.recipe import Recipe, defaults
from netwright.recipe.comparing import flat
from netwright.recipe.reading import override
from netwright.records import plural
from netwright.repair import mending, wording
from netwright.repair import replica as replicas
from netwright.repair.changes import USUAL_RATES
from netwright.repair.confirm import Laboratory, judge_and_confirm
from netwright.repair.remodelling import LOSSES
from netwright.repair.replica import Replica
from netwright.repair.scoring import kind_of
from netwright.training import randomness
from netwright.training.freezing import Freezing
from netwright.watching import preflight
from netwright.watching.undisturbed import undisturbed

SECONDS = 60.0  # of computing in all: diagnosis, remedies and their proof
DIAGNOSIS = 0.5  # of it, at most
EXAMPLES = 60_000  # of a recipe's training part, at most, in memory for the copies
# Kinds of change that a recipe can say; the others are for networks and scripts of one's own.
IN_RECIPES = (
    "learning-rate", "optimizer", "batch-size", "epochs", "weight-decay", "dropout", "clip", "warm-up", "loss",
    "balance-classes", "width", "depth", "standardize-inputs", "activation", "norm", "group-norm", "initialization",
)  # fmt: skip
# Those that a network which begins with weights of its own cannot take: they would draw or shape weights anew.
ANEW = ("initialization", "width", "depth", "norm", "group-norm")


@dataclasses.dataclass(frozen=True)
class Repaired:
    """``diagnosis`` of the training as it was, the ``ledger`` of what was tried, and the repaired ``network``, trained;
    ``run``: of the repaired recipe, where one was repaired."""

    diagnosis: Diagnosis
    ledger: mending.Ledger
    network: nn.Module
    replica: Replica
    run: workbench.Run | None = None

    def predict(self, inputs: Any) -> torch.Tensor:
        """Outputs for inputs as they were handed to ``repair``, in the targets' own unit."""
        return mending.predict(self.replica, self.network, torch.as_tensor(inputs))

    def to_dict(self) -> dict[str, Any]:
        return {
            "findings": [finding.to_dict() for finding in self.diagnosis.findings],
            "ledger": self.ledger.to_dict(),
            "run": str(self.run.directory) if self.run else None,
        }

    def __str__(self) -> str:
        return "\n".join(lines(self.diagnosis, self.ledger))


def repair(
    network: nn.Module,
    train_data: Any,
    validation: Any = None,
    *,
    loss: str | Callable[[Any, Any], torch.Tensor] = "auto",
    optimizer: str | torch.optim.Optimizer = "adam",
    lr: float | None = None,
    batch_size: int = 32,
    epochs: int = 10,
    seconds: float = SECONDS,
) -> Repaired:
    """Say what is wrong with a training, repair it and prove it, within ``seconds`` of computing. ``network`` stays.

    ``train_data``, ``validation``: (inputs, targets), arrays or tensors. ``loss``: cross-entropy, squared, … (auto: by
    the targets), or the callable (outputs, targets) → scalar. ``optimizer``: a name, or the object over the network's
    parameters, as your own loop has it. Raises ``UsageError`` for what cannot be copied.
    """
    if isinstance(optimizer, str):
        if optimizer not in USUAL_RATES:
            raise UsageError("repair: optimizer", repr(optimizer), f"one of {', '.join(USUAL_RATES)}, or the object")
        optimizer = _optimizer(optimizer, network, USUAL_RATES[optimizer] if lr is None else lr)
    elif lr is not None:
        raise UsageError("repair: lr", "a rate beside an optimiser that has its own", "one of them")
    if isinstance(loss, str):
        loss = _loss(loss, train_data)
    replica = replicas.of(network, optimizer, loss, train_data, validation, batch_size, epochs)
    with undisturbed():
        began = time.thread_time()
        diagnosis = diagnose(replica, optimizer, network, DIAGNOSIS * seconds)
        left = seconds - (time.thread_time() - began)
        mended = mending.mend(replica, diagnosis.findings, seconds=left)
    return Repaired(diagnosis, mended.ledger, mended.network, mended.replica)


def _optimizer(name: str, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    match name:
        case "sgd" | "momentum" | "nesterov":
            momentum = 0.0 if name == "sgd" else 0.9
            return torch.optim.SGD(parameters, lr=rate, momentum=momentum, nesterov=name == "nesterov")
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=rate)
        case "adagrad":
            return torch.optim.Adagrad(parameters, lr=rate)
        case "adadelta":
            return torch.optim.Adadelta(parameters, lr=rate)
    return (torch.optim.AdamW if name == "adamw" else torch.optim.Adam)(parameters, lr=rate)


def _loss(name: str, train_data: Any) -> Callable[[Any, Any], torch.Tensor]:
    if name == "auto":
        targets = torch.as_tensor(train_data[1])
        kind = kind_of(targets, targets)
        by_index = not targets.is_floating_point() and targets.ndim == 1 and int(targets.max()) > 1
        if by_index or kind == "one-hot":
            name = "cross-entropy"
        else:
            name = "binary-cross-entropy" if kind in ("binary", "multi-label") else "squared"
    if name not in LOSSES:
        raise UsageError("repair: loss", repr(name), f"auto, one of {', '.join(LOSSES)}, or a callable")
    return LOSSES[name]


def diagnose(replica: Replica, optimizer: torch.optim.Optimizer, network: nn.Module, seconds: float) -> Diagnosis:
    """What the facts and experiments on copies say of a training that was not begun."""
    observations = Observations()
    preflight.examine(
        observations, network, optimizer, loss=replica.loss, train_data=replica.train, val_data=replica.validation,
        batch_size=replica.batch_size, epochs=replica.epochs,
    )  # fmt: skip
    return judge_and_confirm(observations, Laboratory(replica), seconds=seconds)


def repair_run(
    run: workbench.Run, *, folder: Path | str = runs.DEFAULT_FOLDER, seconds: float = SECONDS
) -> Repaired | None:
    """Repair a run by what was found in it, and train the repaired recipe into a new one; None where nothing was found.

    A run that was not watched to its end is diagnosed anew, as `repair_recipe` does it.
    """
    diagnosis = run.diagnosis if run.files.current().get("finished") else None
    if diagnosis is not None and not any(finding.severity != "note" for finding in diagnosis.findings):
        return None
    return repair_recipe(
        run.files.requested(), folder=folder, seconds=seconds, trust=run.trust, diagnosis=diagnosis, settled=run.recipe
    )


def repair_recipe(
    recipe: Recipe,
    *,
    folder: Path | str = runs.DEFAULT_FOLDER,
    seconds: float = SECONDS,
    trust: bool = False,
    diagnosis: Diagnosis | None = None,
    settled: Recipe | None = None,
) -> Repaired:
    """Diagnose and repair what a recipe says, then train the repaired recipe into a new run; none where nothing won.

    Only changes that a recipe can say are made; others are told in words by the findings. Copies train without
    augmentation and at a constant rate. Data that come in batches of one's own, or several inputs, are refused.
    A recipe that begins with weights keeps them: every copy begins with them, and no remedy that draws or shapes
    weights anew is tried. ``diagnosis``: what is known already; ``settled``: the resolved recipe, where it was trained
    before.
    """
    begun = starting.open_start(recipe, folder)
    asked = recipe if begun is None else begun.recipe(recipe)
    material = open_source(asked.data, begun.inputs.text if begun is not None and begun.inputs is not None else None)
    if not isinstance(material, Examples) or len(material.preprocess) > 1:
        raise DataError("repair", "batches of one's own or several inputs", "examples with one input")
    with randomness.kept():
        known = sourcing.facts(material, None)
        resolved = settled or defaults.resolve(asked, known)
        resolved = override(resolved, sourcing.decided(resolved, material))
        randomness.seed(resolved.seed)
        inputs = sourcing.input_file(material, known.outputs)
        record = preparing.network_record(resolved, material, None)
        record = record if begun is None else begun.record(record)
        network = preparing.built(record, trust)
        record = building.refitted(resolved, record, network)
        building.initialized(resolved, network, material)
        if begun is not None:
            begun.begin(network, record, inputs.classes, inputs.targets)
        Freezing(network, resolved.train)(0)
        objective = building.objective(resolved, inputs, material, None)
        place = torch.device("cpu")
        train = _gathered(resolved, material, "train", place)
        held_out = _gathered(resolved, material, "validation", place) if "validation" in material.parts else None
        rate = resolved.train.lr if isinstance(resolved.train.lr, float | int) else 0.001
        settled = override(resolved, {"train.lr": rate})
        optimizer = building.optimizer(settled, network)
        replica = replicas.of(
            network, optimizer, objective.loss, train, held_out, int(settled.train.batch_size),
            int(settled.train.epochs), task="regression" if known.task == "regression" else "unknown",
        )  # fmt: skip
        began = time.thread_time()
        if diagnosis is None:
            diagnosis = diagnose(replica, optimizer, network, DIAGNOSIS * seconds)
        left = seconds - (time.thread_time() - began)
        allowed = IN_RECIPES if begun is None else tuple(kind for kind in IN_RECIPES if kind not in ANEW)
        mended = mending.mend(replica, diagnosis.findings, seconds=left, allowed=allowed)
    changed = dict(flat(settled))
    keys: dict[str, Any] = {}
    for part in mended.ledger.changes:
        keys |= wording.recipe_change(part, changed | keys)
    ledger = _with(mended.ledger, keys)
    if not keys:
        return Repaired(diagnosis, ledger, mended.network, mended.replica)
    run = workbench.train(override(recipe, keys), folder=folder, trust=trust)
    return Repaired(diagnosis, ledger, run.network, mended.replica, run)


def _with(ledger: mending.Ledger, keys: dict[str, Any]) -> mending.Ledger:
    values = {name: getattr(ledger, name) for name in ledger.__struct_fields__}
    return mending.Ledger(**(values | {"recipe": keys}))


def _gathered(recipe: Recipe, material: Examples, part: str, place: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A part as two tensors, preprocessed and not augmented."""
    inputs, targets, count = [], [], 0
    for batch in building.batches(recipe, material, part, place).epoch(0):
        inputs.append(batch.inputs[0])
        targets.append(batch.targets)
        count += len(batch.targets)
        if count >= EXAMPLES:
            break
    return torch.cat(inputs), torch.cat(targets)


def lines(diagnosis: Diagnosis, ledger: mending.Ledger) -> list[str]:
    """The repair in words: what is wrong, what was changed, the proof, what it cost."""
    told = [finding for finding in diagnosis.findings if finding.severity != "note"]
    if not told:
        return ["nothing wrong was found, and nothing was changed"]
    said = [f"{finding.code}: {finding.cause}" for finding in told]
    said += [f"  changed: {words}" for words in ledger.words] or [
        "  nothing was changed: no remedy won beyond the noise"
    ]
    before, after = (("not finite" if value is None else f"{value:.3f}") for value in (ledger.before, ledger.after))
    said.append(f"  {ledger.measure}: {before} → {after}, with a seed that decided nothing")
    kept = sum(step.kept for step in ledger.steps)
    tried = plural(len(ledger.steps), "remedy", "remedies")
    said.append(f"  {tried} tried, {kept} kept, {ledger.seconds:.1f} s of computing")
    return said
