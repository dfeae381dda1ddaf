"""Small trainings of these tests' own, watched in a plain loop: planted faults and their healthy twins."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from netwright.diagnosis import judging
from netwright.diagnosis.experimenting import REPLAY
from netwright.diagnosis.judging import Diagnosis
from netwright.observations import Observations, Outcome
from netwright.observations.experiments import Replay
from netwright.repair import confirm
from netwright.watching import Watch

ROWS, HELD_OUT, FEATURES, CLASSES = 320, 160, 6, 3


def spirals(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes by the length of standard normal vectors, (N, 6): no linear function tells them apart."""
    make = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS + HELD_OUT, FEATURES, generator=make)
    length = x[:, :3].norm(dim=1)
    limits = length.quantile(torch.tensor([1 / 3, 2 / 3]))
    return x, torch.bucketize(length, limits)


def mlp(
    width: int = 24, depth: int = 2, activation: Callable[[], nn.Module] = nn.ReLU, seed: int = 0, end: int = CLASSES
) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else FEATURES, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, end))


@dataclasses.dataclass
class Training:
    """A plain loop with one thing that may be wrong in it."""

    network: nn.Module
    rate: float = 0.01
    batch: int = 32
    epochs: int = 12
    loss: Callable[[Any, Any], torch.Tensor] = dataclasses.field(default_factory=nn.CrossEntropyLoss)
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None
    data: tuple[torch.Tensor, torch.Tensor] = dataclasses.field(default_factory=spirals)
    clears: bool = True
    sign: float = 1.0
    gathers: int = 1  # backward passes to a step
    evaluates: bool = True  # calls eval() before validation
    confirm: float = 4.0
    families: tuple[str, ...] = ()  # of rules that are asked, as others have experiments of their own; () for all

    def run(self) -> Watch:
        network = self.network
        x, y = self.data
        train, held_out = (x[:ROWS], y[:ROWS]), (x[ROWS:], y[ROWS:])
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = self.optimizer(network) if self.optimizer else torch.optim.Adam(trained, self.rate)
        watch = Watch(
            network, optimizer, loss=self.loss, train_data=train, val_data=held_out, batch_size=self.batch,
            epochs=self.epochs, confirm=self.confirm,
        )  # fmt: skip
        order = torch.Generator().manual_seed(0)
        for _ in range(self.epochs):
            network.train()
            for number, rows in enumerate(torch.randperm(ROWS, generator=order).split(self.batch)):
                loss = self.loss(network(train[0][rows]), train[1][rows])
                if self.clears and number % self.gathers == 0:
                    optimizer.zero_grad()
                (self.sign * loss / self.gathers).backward()
                if number % self.gathers == self.gathers - 1:
                    optimizer.step()
                    watch.step(loss.detach())
            network.train(not self.evaluates)
            with torch.no_grad():
                watch.epoch(*(accuracy(network(part[0]), part[1]) for part in (train, held_out)))
        return watch

    def diagnosis(self) -> Diagnosis:
        torch.manual_seed(1)
        watch = self.run()
        with only(self.families), pytest.MonkeyPatch.context() as patch:
            patch.setattr(confirm, "WALL", 1e6)  # a busy machine decides nothing
            return watch.diagnosis()


@contextlib.contextmanager
def only(families: tuple[str, ...]) -> Iterator[None]:
    """The rules of these modules inside, all of them afterwards."""
    judging.load_rules()
    kept = dict(judging.RULES)
    try:
        for rule in kept:
            if families and rule.__module__.rpartition(".")[2] not in families:
                del judging.RULES[rule]
        yield
    finally:
        judging.RULES.clear()
        judging.RULES.update(kept)


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(1) == targets).float().mean()) if torch.isfinite(outputs).all() else float("nan")


def told(diagnosis: Diagnosis, *, notes: bool = False) -> dict[str, Any]:
    """Findings by code; at warning or above, unless notes are wished."""
    return {one.code: one for one in diagnosis.findings if notes or one.severity != "note"}


def standing(observations: Observations, skill: float, possible: float) -> Observations:
    """As if the unchanged training had come to ``skill``, and another learner to ``possible``."""
    replay = Replay(steps=100, losses=(), score=skill, chance=0.0, planned=100)
    observations.outcomes["replay"] = Outcome(experiment=REPLAY, baseline=replay, reference=possible)
    usual = Outcome(experiment=REPLAY, failed="not asked here")
    observations.outcomes["usual-settings"] = usual
    return observations


class Functional(nn.Module):
    """Two layers with a ReLU that no module is: between them, or nowhere."""

    def __init__(self, *, bends: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(FEATURES, 32), nn.Linear(32, CLASSES)
        self.bends = bends

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        result: torch.Tensor = self.second(functional.relu(hidden) if self.bends else hidden)
        return result
