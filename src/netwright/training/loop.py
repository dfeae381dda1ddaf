"""The loop: batch, forward, loss, backward, step, in one place, in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from netwright.data.loading import Batches
from netwright.training.again import Again
from netwright.training.evaluating import call
from netwright.training.precision import Precision
from netwright.training.state import State


class Observer(Protocol):
    """What happens around the loop: recording, checkpoints, progress, stopping. It changes no number in it."""

    def after_step(self, state: State, loss: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None: ...

    def after_epoch(self, state: State) -> bool:
        """Validate, record, keep; True: stop here."""


@dataclasses.dataclass
class Job:
    """The seeded, placed pieces of a training."""

    network: nn.Module
    objective: Any
    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]  # step → factor of every group's own rate
    batches: Batches
    precision: Precision
    epochs: int
    accumulate: int = 1
    clip: float = 0.0
    before_epoch: Callable[[State], None] = lambda state: None  # also where a training goes on in mid-epoch
    replica: nn.Module | None = None  # what is called in the network's place where several processes train it

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.batches) // self.accumulate)


def train(job: Job, state: State, observer: Observer) -> None:
    """Train ``job.network`` from ``state`` to the end of its epochs, or until the observer says stop."""
    network, objective, optimizer, precision = job.replica or job.network, job.objective, job.optimizer, job.precision
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
    count, again = len(job.batches), Again(network, objective, optimizer)
    network.train()
    while state.epoch < job.epochs and not state.stopped:
        job.before_epoch(state)
        for batch in job.batches.epoch(state.epoch, state.batch):
            state.batch += 1
            again.hear(batch)
            with precision.cast():
                outputs = call(network, batch)
                loss = objective.loss(outputs, batch.targets)
            if job.accumulate > 1:
                loss = loss / min(job.accumulate, count - (state.batch - 1) // job.accumulate * job.accumulate)
            precision.backward(loss)
            if state.batch % job.accumulate and state.batch < count:
                state.pending = state.pending + loss.detach()
                continue
            factor = job.rate(state.step)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            whole = loss.detach() + state.pending
            precision.step(optimizer, parameters, job.clip, again.closure(whole))
            optimizer.zero_grad()
            state.step += 1
            observer.after_step(state, whole, outputs, batch.targets)
            state.pending = 0.0
        state.epoch, state.batch = state.epoch + 1, 0
        state.stopped = observer.after_epoch(state)
