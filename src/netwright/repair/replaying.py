"""The plain loop of the experiments: forward, backward, step on a copy, and what the copy is worth afterwards."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from netwright.observations.experiments import Replay
from netwright.repair.replica import Replica
from netwright.repair.scoring import Score, score
from netwright.training import randomness

SCORED = 2000  # examples a score is taken over; the standard error of a share is then 1.1 % at most
SCORING_BATCH = 128  # 512 take 20 MB more of a small residual network on 32×32 pixels, more than the training itself
LOSSES_KEPT = 64  # means over equal pieces of the steps
LOOK_EVERY = 16  # steps between two looks at the clock and at the loss


def _resting(network: nn.Module) -> list[nn.Module]:
    """Frozen on purpose: parts in evaluation mode, none of whose parameters learns, of a network in training mode."""
    if not network.training:
        return []
    return [
        module for module in network.modules()
        if not module.training and not any(parameter.requires_grad for parameter in module.parameters())
    ]  # fmt: skip


class Copy:
    """One copy in training: advanced in slices, scored at any time. The global generators are left as they were.

    ``seed`` decides the order of the examples, dropout and whatever else is random; the weights are the replica's.
    ``steps``: how many it would make in all (default: the planned epochs).
    """

    def __init__(self, replica: Replica, seed: int = 0, steps: int | None = None) -> None:
        self.replica = replica
        self.inputs, self.targets = replica.train
        self.planned = steps_of(replica) if steps is None else steps
        self.steps = 0
        self.seconds = 0.0
        self.broken = False  # the loss is not a number any more
        self.each: torch.Tensor | None = None  # what each held-out example added to the score of the last replay
        self._losses: list[torch.Tensor] = []
        self._order = torch.Generator().manual_seed(seed)
        with randomness.kept():
            randomness.seed(seed)
            self.network = copy.deepcopy(replica.network)
            if replica.initializes is not None:
                replica.initializes(self.network)
            self._random = randomness.capture()
        self._resting = _resting(self.network)
        self.optimizer = replica.optimizer(self.network)
        self._rates = [group.get("lr") for group in self.optimizer.param_groups]
        self._batches = self._endless()

    def advance(self, steps: int | None = None, deadline: float = math.inf) -> int:
        """Make at most ``steps`` (default: all that are left) until ``deadline``; how many it made.

        The deadline is of `time.thread_time`: what other programs take of the machine changes no conclusion.
        A loss that is not a number ends it for good.
        """
        began, before = time.thread_time(), self.steps
        left = self.planned - self.steps if steps is None else min(steps, self.planned - self.steps)
        with randomness.kept(), torch.enable_grad():
            randomness.restore(self._random)
            self.network.train()
            for module in self._resting:
                module.eval()
            for number in range(left):
                if number % LOOK_EVERY == 0 and (time.thread_time() >= deadline or self._is_broken()):
                    break
                self._losses.append(self._step(*next(self._batches)))
                self.steps += 1
            self._random = randomness.capture()
        self._is_broken()
        self.seconds += time.thread_time() - began
        return self.steps - before

    def _step(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        replica = self.replica
        if replica.warmup or replica.rate is not None:
            self._set_rates()

        def closure() -> torch.Tensor:
            if replica.clears_gradients:
                self.optimizer.zero_grad()
            value = replica.loss(self.network(inputs), targets)
            value = value if value.ndim == 0 else value.mean()
            if value.requires_grad:  # nothing that can be learned reaches the loss: a copy that stays as it is
                value.backward()
            if replica.clip:
                nn.utils.clip_grad_norm_(self.network.parameters(), replica.clip)
            return value

        if isinstance(self.optimizer, torch.optim.LBFGS):
            return torch.as_tensor(self.optimizer.step(closure)).detach()
        loss = closure()
        self.optimizer.step()
        return loss.detach()

    def _set_rates(self) -> None:
        share = min(1.0, (self.steps + 1) / max(1.0, self.replica.warmup * self.planned))
        if self.replica.rate is not None:
            share *= self.replica.rate(min(1.0, self.steps / steps_of(self.replica)))  # a copy that is cut goes as far
        for group, rate in zip(self.optimizer.param_groups, self._rates):
            if rate is not None:
                group["lr"] = rate * share

    def _endless(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        count, size = len(self.inputs), self.replica.batch_size
        weights, device = self.replica.example_weights, self.inputs.device
        # Batch norm has no statistics of a single example: such a rest is left out, as `drop_last` does.
        alone = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.network.modules())
        while True:
            if not self.replica.shuffle:
                order = None
            elif weights is not None:
                order = torch.multinomial(weights, count, replacement=True, generator=self._order).to(device)
            else:
                order = torch.randperm(count, generator=self._order).to(device)
            for start in range(0, count, size):
                if start and alone and count - start == 1:
                    continue
                rows: Any = slice(start, start + size) if order is None else order[start : start + size]
                yield self.inputs[rows], self.targets[rows]

    def _is_broken(self) -> bool:
        """NaN does not heal; an infinite loss may."""
        if self._losses and not self.broken:
            self.broken = bool(torch.isnan(self._losses[-1]))
        return self.broken

    def score(self, split: str = "validation") -> Score | None:
        """In evaluation mode, over at most `SCORED` examples drawn evenly; None where nothing is held out."""
        data = self.replica.validation if split == "validation" else self.replica.train
        return None if data is None else scored(self.network, self.replica, data)

    def replay(self, *, train_score: bool = True) -> Replay:
        """What came of it so far."""
        began = time.thread_time()
        losses = torch.stack(self._losses).float() if self._losses else torch.zeros(0)
        validation = self.score()
        train = self.score("train") if train_score or validation is None else None
        own = validation or train
        assert own is not None
        value = None if self.broken else own.value
        self.each = own.each if validation else None
        self.seconds += time.thread_time() - began
        return Replay(
            steps=self.steps, planned=self.planned, losses=_pieces(losses), score=value,
            train_score=None if train is None or self.broken else train.value,
            scored_on="validation" if validation else "train", seconds=self.seconds, chance=own.chance,
            uncertainty=own.uncertainty if validation else 0.0,  # all that it learned from is no sample
            scored=own.examples, measure=own.measure,
            first_loss=_number(losses[:1]), last_loss=_number(losses[-max(1, len(losses) // 10) :]),
        )  # fmt: skip


def steps_of(replica: Replica) -> int:
    """The steps of the planned epochs."""
    return max(1, replica.epochs * math.ceil(len(replica.train[0]) / replica.batch_size))


def replay(replica: Replica, seed: int = 0, *, steps: int | None = None, deadline: float = math.inf) -> Replay:
    """Train a copy, as long as planned or until the deadline; the replay says how far it came."""
    copied = Copy(replica, seed, steps)
    copied.advance(deadline=deadline)
    return copied.replay()


def scored(network: nn.Module, replica: Replica, data: tuple[torch.Tensor, torch.Tensor]) -> Score:
    """The score of a network on at most `SCORED` examples of ``data``, in evaluation mode; of targets that a change
    has scaled, in their own unit."""
    inputs, targets = data
    if len(inputs) > SCORED:
        rows = torch.linspace(0, len(inputs) - 1, SCORED).long().to(inputs.device)
        inputs, targets = inputs[rows], targets[rows]
    with evaluating(network), torch.no_grad(), randomness.kept():
        outputs = torch.cat([network(part) for part in inputs.split(SCORING_BATCH)])
        for mean, deviation in reversed(replica.target_scales):
            outputs, targets = outputs * deviation + mean, targets * deviation + mean
    return score(outputs, targets, replica.loss, replica.task)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _pieces(losses: torch.Tensor) -> tuple[float | None, ...]:
    if not len(losses):
        return ()
    return tuple(_number(piece) for piece in losses.tensor_split(min(LOSSES_KEPT, len(losses))))


def _number(values: torch.Tensor) -> float | None:
    value = float(values.double().mean()) if len(values) else math.nan
    return value if math.isfinite(value) else None
