"""The learning-rate range test: train a copy while the rate grows, and see where the loss falls fastest.

Smith 2015 ("Cyclical Learning Rates for Training Neural Networks", section 3.3), with rates that grow by a constant
factor a step. The network that is handed in is only read.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netwright.errors import RecipeError
from netwright.records import Record

DIVERGED = 4.0  # times the smallest smoothed loss so far: the test ends (the rule of fastai's finder)
SMOOTHING = 0.03  # of all steps: the deviation of the Gaussian that smooths the losses over the logarithm of the rate
LEAST_FALL = 0.01  # of the loss at the start; less than that is noise
BELOW_LOWEST = 3.0  # the suggestion is at least this far below the rate of the smallest loss


class RangeTest(Record, frozen=True, kw_only=True):
    """``losses`` (raw) and ``smoothed`` at ``rates``; ``steepest``: the rate where they fall fastest, ``lowest``: where
    they are smallest; ``diverged``: whether the test ended there, before the last rate."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float
    steepest: float
    lowest: float
    diverged: bool


def range_test(
    network: nn.Module,
    loss_fn: Callable[[Any, Tensor], Tensor],
    batches: Iterable[Any],
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
) -> RangeTest:
    """Train a copy of ``network`` for ``steps`` steps while the rate grows from ``low`` to ``high``.

    ``batches``: objects with ``inputs`` (a tuple), ``targets`` and perhaps ``names``, or pairs (inputs, targets); when
    they run out, the same come again. ``make_optimizer``: of the copy; groups keep the ratio of their rates. Costs
    ``steps`` training steps and the memory of a second network and of the batches. Afterwards the network (weights,
    buffers, modes, gradients) and the random generators are bit for bit what they were, also after an error.

    The suggestion lies, on the logarithmic scale, halfway between the rate where the smoothed loss falls fastest and
    the one where it is smallest, but at most at a third of the latter. (The two points are those of fastai's finder;
    each alone was off: for SGD, momentum and AdamW on three networks for ``digits`` the first was 3 to 10 times below
    the best of a grid of rates for one-cycle, the second up to 3 times above. This rule was within 4 times of it.)
    Raises ``RecipeError`` where the loss never falls.
    """
    if not 0 < low < high or steps < 2:
        raise RecipeError(
            "range test", f"rates {low:g}…{high:g} in {steps} steps", "0 < low < high and at least two steps"
        )
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    with _random_state_kept():
        probe = copy.deepcopy(network).train()
        optimizer = make_optimizer(probe)
        largest = max(group["lr"] for group in optimizer.param_groups)
        shares = [group["lr"] / largest for group in optimizer.param_groups]
        losses: list[float] = []
        best = running = math.inf
        for rate, batch in zip(rates, _around(batches)):
            for group, share in zip(optimizer.param_groups, shares):
                group["lr"] = rate * share
            optimizer.zero_grad()
            outputs, targets = _forward(probe, batch)
            loss = loss_fn(outputs, targets)
            value = float(loss.detach())
            running = value if not losses else 0.7 * running + 0.3 * value
            if not math.isfinite(value) or (len(losses) > 1 and running > DIVERGED * best):
                break
            losses.append(value)
            best = min(best, running)
            loss.backward()
            optimizer.step()
    return _judged(rates, losses)


def _judged(rates: list[float], losses: list[float]) -> RangeTest:
    seen = len(losses)
    # How high it rose when it diverged says nothing, and would only cover the fall before it.
    smoothed = smooth([min(loss, losses[0]) for loss in losses], SMOOTHING * len(rates))
    lowest = int(np.argmin(smoothed)) if seen else 0
    if seen < 3 or smoothed[0] - smoothed[lowest] < LEAST_FALL * abs(smoothed[0]):
        start = losses[0] if seen else math.nan
        raise RecipeError(
            "train.lr", f"a range test in which the loss never fell ({seen} steps, from {start:.4g})",
            "a loss that falls at some rate", "--set train.lr=0.001, and netwright check",
        )  # fmt: skip
    slopes = np.gradient(np.asarray(smoothed), np.log(rates[:seen]))[: lowest + 1]
    steepest = rates[int(np.argmin(slopes))]
    return RangeTest(
        rates=tuple(rates[:seen]),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        suggestion=min(math.sqrt(steepest * rates[lowest]), rates[lowest] / BELOW_LOWEST),
        steepest=steepest,
        lowest=rates[lowest],
        diverged=seen < len(rates),
    )


def smooth(values: list[float], deviation: float) -> list[float]:
    """A Gaussian average over neighbours, of ``deviation`` steps: it has no lag, as a running average has."""
    position = np.arange(len(values), dtype=np.float64)
    kernel = np.exp(-0.5 * np.square((position[:, None] - position[None, :]) / max(deviation, 1e-9)))
    return [float(value) for value in kernel @ np.asarray(values, np.float64) / kernel.sum(1)]


def _around(batches: Iterable[Any]) -> Iterator[Any]:
    seen = []
    for batch in batches:
        seen.append(batch)
        yield batch
    if not seen:
        raise RecipeError("train.lr", "no batch for the range test", "at least one", "--set train.lr=0.001")
    while True:
        yield from seen


def _forward(network: nn.Module, batch: Any) -> tuple[Any, Tensor]:
    if isinstance(batch, tuple | list):
        *inputs, targets = batch
        return network(*inputs), targets
    names = getattr(batch, "names", ())
    outputs = network(**dict(zip(names, batch.inputs, strict=True))) if names else network(*batch.inputs)
    return outputs, batch.targets


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """The global generators of Python, NumPy and PyTorch (and its GPUs) are afterwards what they were."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the user's
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 - the user's
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
