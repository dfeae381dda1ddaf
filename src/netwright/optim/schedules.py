"""Learning-rate schedules as pure functions of the step: factors of every group's own rate.

A step is one change of the weights, counted from 0. Being functions, schedules have no state to save; only plateau,
which listens to the validation score, has.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

from netwright.recipe.schema import Train

START = 1 / 25  # of one-cycle, where its rise begins (Smith and Topin 2018; the default of fastai and PyTorch)
LONGEST_RISE = 0.5  # of all steps; a warm-up longer than that would leave no time to learn at the full rate
AUTO_RISE = 0.3  # of all steps, for one-cycle


def factor(options: Train, total_steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """The schedule of ``options`` over ``total_steps``: step → factor in 0…1 (a ``gamma`` above 1 may exceed it).

    After a linear warm-up of ``warmup`` epochs, counting from its end: ``constant``; ``step``, times γ every
    ``step_epochs`` epochs; ``exponential``, times γ an epoch, smoothly; ``cosine``, to 0 at the end (Loshchilov and
    Hutter 2017, one period); ``one-cycle``, whose warm-up starts at 1/25 instead of almost 0, then as cosine;
    ``plateau``, constant here (see ``Plateau``). A warm-up is cut to half of all steps. From ``total_steps`` on a
    schedule stays at its end. With ``snapshots`` the cosine begins again so often, at the ends of epochs; the warm-up
    is of the first cycle, and at most half of it.
    """
    total, epoch = max(total_steps, 1), max(steps_per_epoch, 1)
    cycle = options.schedule == "one-cycle"
    if options.warmup == "auto":
        warm = round(AUTO_RISE * total) if cycle else 0
    else:
        warm = min(round(options.warmup * epoch), int(LONGEST_RISE * total))
    after = _after_warmup(options, total - warm, epoch)
    if options.snapshots:
        ends = cycle_ends(-(-total // epoch), options.snapshots)
        warm = min(warm, int(LONGEST_RISE * epoch * ends[0]))
        after = _restarting(ends, warm, epoch, total)
    low = START if cycle else 1 / (warm + 1)  # the first step of a warm-up from 0 that does something

    def at(step: int) -> float:
        if step < warm:
            return low + (1 - low) * step / warm
        return after(min(step, total) - warm)

    return at


def _after_warmup(options: Train, steps: int, epoch: int) -> Callable[[int], float]:
    gamma, period = options.gamma, options.step_epochs * epoch
    match options.schedule:
        case "step":
            return lambda step: float(gamma ** (step // period))
        case "exponential":
            return lambda step: float(gamma ** (step / epoch))
        case "cosine" | "one-cycle":
            return lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
        case _:
            return lambda step: 1.0


def cycle_ends(epochs: int, count: int) -> list[int]:
    """The epochs after which a cycle ends, ``count`` of them as equal as can be; fewer where there are fewer epochs."""
    count = min(count, epochs)
    return [epochs * number // count for number in range(1, count + 1)]


def _restarting(ends: list[int], warm: int, epoch: int, total: int) -> Callable[[int], float]:
    """Cosine to 0 in every cycle (Huang et al. 2017, equation 2); steps are counted from the end of the warm-up."""
    borders = [warm, *(end * epoch for end in ends)]

    def after(step: int) -> float:
        place = min(step + warm, total)
        cycle = min(bisect.bisect_right(borders, place), len(ends)) - 1
        first, last = borders[cycle], borders[cycle + 1]
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (place - first) / max(1, last - first))))

    return after


class Plateau:
    """Times ``gamma`` after every ``step_epochs`` epochs in a row that brought no better score (higher is better).

    A score that is not a number is no progress.
    """

    def __init__(self, options: Train) -> None:
        self._gamma, self._patience = options.gamma, options.step_epochs
        self.factor = 1.0
        self._best = -math.inf
        self._waited = 0

    def after_epoch(self, score: float) -> float:
        """Hear the epoch's score; the factor from now on."""
        if score > self._best:
            self._best, self._waited = float(score), 0
        else:
            self._waited += 1
            if self._waited >= self._patience:
                self.factor, self._waited = self.factor * self._gamma, 0
        return self.factor

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self.factor, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.factor, self._best, self._waited = float(state["factor"]), float(state["best"]), int(state["waited"])
