"""Some more epochs by a run's own recipe, for a network that was changed: the same loop, data, loss and optimiser.

The schedule runs once over the epochs of the healing. Nothing is written down.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from netwright import building
from netwright.data.loading import Batch, Batches
from netwright.optim import schedules
from netwright.recipe import override
from netwright.recipe.schema import Recipe
from netwright.training import loop as loops
from netwright.training.averaging import Average
from netwright.training.evaluating import evaluate
from netwright.training.precision import Precision
from netwright.training.recording import DivergedError
from netwright.training.state import State


class At(NamedTuple):
    """A place in a healing, after an optimiser's step: ``step`` of ``steps``, from 1; ``rate`` it was made with;
    ``total`` of the rates of all steps."""

    step: int
    steps: int
    rate: float
    total: float


Hook = Callable[[Any], None]
Distil = Callable[[nn.Module, Any, Any, torch.Tensor], torch.Tensor]


@dataclasses.dataclass
class Healing:
    """Trains a network in place.

    ``score``: metrics of the validation part → higher is better. Where the recipe keeps the best epoch, so does a
    healing, and the network as it came where none is better; with a ``hook``, which may change the network as it goes,
    the last is kept, and no average is taken.
    """

    recipe: Recipe
    objective: Any
    batches: Batches
    validation: Batches | None
    precision: Precision
    score: Callable[[dict[str, float]], float]
    said: Callable[[str], None] = lambda text: None

    def __call__(self, network: nn.Module, epochs: int, distil: Distil | None = None, hook: Hook | None = None) -> None:
        recipe = override(self.recipe, {"train.epochs": epochs})
        last = recipe.train.layout == "channels_last"
        if last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer, plateau = building.optimizer(recipe, network), schedules.Plateau(recipe.train)
        noted = _Noted(self.batches)
        objective = self.objective if distil is None else _Distilled(self.objective, distil, network, noted)
        job = loops.Job(
            network=network, objective=objective, optimizer=optimizer, rate=lambda step: 1.0, batches=noted,
            precision=self.precision, epochs=epochs, accumulate=recipe.train.accumulate, clip=recipe.train.clip,
        )  # fmt: skip
        by_step = building.rate(recipe, epochs, job.steps_per_epoch)
        plateaus = recipe.train.schedule == "plateau"
        job.rate = (lambda step: by_step(step) * plateau.factor) if plateaus else by_step
        average = Average(network, float(recipe.train.average)) if recipe.train.average and hook is None else None
        steps = range(job.steps_per_epoch * epochs if hook is not None else 0)
        total = optimizer.param_groups[0]["lr"] * math.fsum(map(by_step, steps))
        keeper = _Keeper(self, job, plateau, average, hook, total)
        keeper.begin()
        loops.train(job, State(), keeper)
        if keeper.best is not None:
            network.load_state_dict(keeper.best)
            if keeper.best_is_the_start:
                self.said("no epoch was better than the network as it came, which is kept")
        for parameter in network.parameters():
            parameter.grad = None
        if last:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        network.eval()


class _Keeper:
    """The loop's observer: hands steps to the hook, keeps the best epoch, stops at what is not finite."""

    def __init__(
        self, healing: Healing, job: loops.Job, plateau: schedules.Plateau, average: Average | None, hook: Hook | None,
        total: float,
    ) -> None:  # fmt: skip
        self._healing, self._job, self._plateau, self._average, self._hook = healing, job, plateau, average, hook
        self._total = total
        self._losses: list[torch.Tensor] = []
        self._best_score = -math.inf
        self.best: dict[str, torch.Tensor] | None = None
        self.best_is_the_start = False

    def begin(self) -> None:
        """The network as it comes is the first that may be the best. Costs a validation."""
        validation = self._healing.validation
        if self._hook is None and validation is not None and self._healing.recipe.train.keep != "last":
            network = self._job.network
            found = self._healing.score(evaluate(network, self._healing.objective, validation, self._job.precision))
            if math.isfinite(found):
                self._keep(network, found)
                self.best_is_the_start = True

    def _keep(self, network: nn.Module, score: float) -> None:
        self._best_score, self.best_is_the_start = score, False
        self.best = copy.deepcopy({name: tensor.detach() for name, tensor in network.state_dict().items()})

    def after_step(self, state: State, loss: torch.Tensor, outputs: Any, targets: torch.Tensor) -> None:
        self._losses.append(loss)
        if self._average is not None:
            self._average.after_step(state.step)
        if self._hook is not None:
            steps = self._job.steps_per_epoch * self._job.epochs
            self._hook(At(state.step, steps, float(self._job.optimizer.param_groups[0]["lr"]), self._total))

    def after_epoch(self, state: State) -> bool:
        mean = float(torch.stack(self._losses).float().mean()) if self._losses else 0.0
        self._losses = []
        if not math.isfinite(mean):
            raise DivergedError(
                f"healing, epoch {state.epoch}", f"a loss of {mean}", "finite numbers; nothing was written",
                "a smaller train.lr in the run's recipe, or less at once",
            )  # fmt: skip
        validation, recipe = self._healing.validation, self._healing.recipe
        judged = self._job.network if self._average is None else self._average.network
        if validation is None:
            self.best = None if self._average is None else dict(judged.state_dict())
            return False
        metrics = evaluate(judged, self._healing.objective, validation, self._job.precision)
        found = self._healing.score(metrics)
        self._plateau.after_epoch(found)
        shown = ", ".join(f"{name} {metrics[name]:.4f}" for name in ("loss", "accuracy", "mae") if name in metrics)
        self._healing.said(f"epoch {state.epoch}/{self._job.epochs}: training loss {mean:.4f}; validation {shown}")
        better = recipe.train.keep == "last" or found > self._best_score
        if (self._hook is None and better) or (self._average is not None and recipe.train.keep == "last"):
            self._keep(judged, found)
        return False


class _Noted:
    """Batches that remember which one is being learned from."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self.exact = batches, batches.exact
        self.now: Batch | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in self._batches.epoch(epoch, start):
            self.now = batch
            yield batch


class _Distilled:
    """An objective whose loss a teacher has a word in."""

    def __init__(self, objective: Any, distil: Distil, network: nn.Module, noted: _Noted) -> None:
        self._objective, self._distil, self._network, self._noted = objective, distil, network, noted

    def loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self._distil(self._network, self._noted.now, outputs, self._objective.loss(outputs, targets))
