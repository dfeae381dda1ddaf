"""The course of a training: steps are counted, losses kept, and single steps looked at as the budget says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from netwright.observations import Observations
from netwright.records import Measurement
from netwright.watching.budget import Budget
from netwright.watching.hooks import Sampler

LOSSES_HELD = 512  # losses that wait as tensors before they are read in one piece
VALIDATIONS = 3  # epochs' ends that are looked at
LOSSES_LATE = 64  # of them that go on waiting: a device may still compute them


class Course:
    """Counts the steps of one training, told by ``step`` or else by the optimiser that steps first.

    A step that is not looked at costs a counter and the place of its loss in a list. ``failed`` gets an error of the
    watch's own, once.
    """

    def __init__(
        self,
        network: Any,
        optimizers: Sequence[Any],
        observations: Observations,
        failed: Callable[[Exception], None],
        *,
        loss: Any = None,
        share: float = 0.03,
        expected: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self.steps = 0
        self.observations = observations
        self._told = False
        self._losses: list[torch.Tensor] = []
        self._last_loss = 0  # the step of the last of them
        self.sampler = Sampler(network, optimizers, observations, failed, loss=loss, stepped=self._counted)
        self.sampler.expected = dict(expected or {})
        self._budget = Budget(share, time.perf_counter(), planned_steps(observations), epoch_ends(observations))
        self._begin()

    def step(self, loss: Any = None) -> None:
        """The optimiser has stepped."""
        if self._told or not self.steps:
            self._told = True
            self.sampler.stepped = None
            self.steps += 1
            if self.steps >= self._budget.wake or self.sampler.sample is not None:
                self._boundary()
        else:  # the optimiser's hook has counted this one already
            self._told = True
            self.sampler.stepped = None
        if isinstance(loss, torch.Tensor):
            self.sampler.losses_are_told = True
            if self._losses and self._last_loss != self.steps - 1:
                self._read_losses()
            self._losses.append(loss.detach() if loss.requires_grad else loss)
            self._last_loss = self.steps
            if len(self._losses) > LOSSES_HELD:
                self._read_losses(LOSSES_LATE)

    def _counted(self) -> None:
        """The optimiser's own hook: nobody told of this step."""
        self.steps += 1
        if self.steps >= self._budget.wake or self.sampler.sample is not None:
            self._boundary()

    def _boundary(self) -> None:
        now = time.perf_counter()
        if self.sampler.armed:
            own = self.sampler.finish()
            self.sampler.read(all_of_them=False)
            seconds = self._budget.step_seconds
            told = Measurement(probe="step-seconds", step=self.steps, unit="seconds", values=(seconds,))
            self.observations.series.add(told)
            self._budget.end(now, self.steps, own, time.perf_counter() - now)
        else:
            self._budget.passed(now, self.steps)
        self._begin()

    def _begin(self) -> None:
        if self._budget.next <= self.steps:
            self._budget.begin(time.perf_counter(), self.steps)
            self.sampler.arm(self.steps + 1)

    def read(self) -> None:
        """Everything that is known by now goes into the observations; waits for the devices."""
        self._read_losses()
        self.sampler.read()

    def start_at(self, step: int) -> None:
        """The training goes on from this step, which others have seen."""
        if self.sampler.armed:
            self.sampler.disarm()
        self.steps = step
        self._budget.skip_to(step)
        self._begin()

    def pause(self) -> None:
        """Nothing is looked at until the next step has ended."""
        if self.sampler.armed:
            self.sampler.disarm()
            self._budget.skip_to(self.steps + 1)

    def close(self) -> None:
        self.sampler.close()
        self._budget.skip_to(float("inf"))

    def _read_losses(self, late: int = 0) -> None:
        ready = self._losses[: len(self._losses) - late]
        if not ready:
            return
        self._losses = self._losses[len(ready) :]
        try:
            stacked = torch.stack(ready)
        except RuntimeError:  # of different shapes or devices
            stacked = torch.empty(0)
        if stacked.dim() != 1 or len(stacked) != len(ready):
            stacked = torch.stack([loss.float().reshape(-1).mean().to(ready[0].device) for loss in ready])
        values = tuple(stacked.tolist())
        step = self._last_loss - len(self._losses)
        self.observations.series.add(Measurement(probe="loss", step=step, unit="loss", values=values))


def epoch_ends(observations: Observations) -> tuple[int, ...]:
    """Steps after which the first epochs end, but the last of all: there networks are validated."""
    steps, plan = planned_steps(observations), observations.plan
    if steps is None or plan is None or not plan.epochs:
        return ()
    return tuple(steps // plan.epochs * number for number in range(1, min(plan.epochs, VALIDATIONS + 1)))


def planned_steps(observations: Observations) -> int | None:
    """Steps of the whole training, where batch size, examples and epochs are known."""
    plan = observations.plan
    if plan is None or not plan.batch_size or not plan.epochs or not plan.examples:
        return None
    return plan.epochs * -(-plan.examples // plan.batch_size)
