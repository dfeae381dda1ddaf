"""Everything that can be known before the first step: data, network, loss, optimiser, one batch on a copy."""

from __future__ import annotations

import contextlib
import copy
import math
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netwright.data import auditing
from netwright.observations import LossFacts, Observations, Plan, Preflight
from netwright.probes import mixing
from netwright.watching import given, initially, losses, networks, outputs
from netwright.watching.calls import unwrapped
from netwright.watching.given import Given

BATCH = 32  # examples of the one batch where no batch size was told
MOST_IN_BATCH = 256
TARGETS = 100_000  # of which the share beyond the output's bounds is taken
MIXING = 16  # examples that are tried beside other ones
TOLERANCE = 1e-4  # of the range between the bounds


def examine(
    observations: Observations,
    model: Any,
    optimizer: Any,
    *,
    loss: Any = None,
    train_data: Any = None,
    val_data: Any = None,
    batch_size: int | None = None,
    epochs: int | None = None,
) -> dict[str, Tensor]:
    """Fill in the facts; seconds at most, and model, optimiser and data are left as found.

    What a part of it cannot see is in ``observations.unseen``; the other parts go on. Returns a part of the loss'
    gradient before the first step by parameter, empty where it could not be taken.
    """
    gradient: dict[str, Tensor] = {}
    train = _opened(observations, "data", train_data)
    validation = _opened(observations, "validation data", val_data)
    observations.plan = Plan(batch_size=batch_size, epochs=epochs, examples=None if train is None else train.examples)
    if train is not None:
        with _seen(observations, "data"):
            held_out = (None, None) if validation is None else validation.arrays()
            observations.data = auditing.audit(*train.arrays(), *held_out)
    if observations.network is None:
        optimizers = [one for one in (optimizer if isinstance(optimizer, list | tuple) else [optimizer]) if one]
        with _seen(observations, "network"):
            networks.examine(observations, model, optimizers, (train.inputs, train.targets) if train else None)
    if callable(loss):
        with _seen(observations, "loss"):
            observations.loss = _loss_facts(observations, loss, train, batch_size)
    if isinstance(model, nn.Module) and train is not None:
        with _seen(observations, "preflight"):
            observations.preflight = fly(model, train, loss, observations.loss, batch_size)
        with _seen(observations, "initial"):
            gradient = initially.fill(observations, model, loss if callable(loss) else None, train)
    return gradient


def fly(
    model: nn.Module, train: Given, loss: Any = None, facts: LossFacts | None = None, batch_size: int | None = None
) -> Preflight:
    """One batch through a copy, in training mode; examples are drawn evenly from all."""
    started = time.perf_counter()
    network = copy.deepcopy(unwrapped(model)).train()
    inputs, targets = train.batch(min(batch_size or BATCH, MOST_IN_BATCH), network)
    about: dict[str, Any] = {"target_shape": tuple(targets.shape)}
    with torch.no_grad(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            made = network(inputs)
        except Exception as error:  # whatever a user's network raises
            return Preflight(**about, failure=_told(error), seconds=time.perf_counter() - started)
        if isinstance(made, Tensor):
            about |= _of_output(network, inputs, made, train)
        if callable(loss):
            about |= _of_loss(copy.deepcopy(loss) if isinstance(loss, nn.Module) else loss, made, targets, facts)
        with contextlib.suppress(Exception):  # whatever a user's network raises on a batch that it was not made for
            about["mixing"] = mixing.measure(network, inputs[:MIXING])
    texts = dict.fromkeys(str(warning.message).strip() for warning in warned)
    return Preflight(**about, warnings=tuple(texts), seconds=time.perf_counter() - started)


def _of_output(network: nn.Module, inputs: Tensor, made: Tensor, train: Given) -> dict[str, Any]:
    about: dict[str, Any] = {"output_shape": tuple(made.shape)}
    finite = made[torch.isfinite(made)].float()
    if finite.numel():
        about |= {"output_minimum": float(finite.min()), "output_maximum": float(finite.max())}
    about["rows"] = outputs.row_kind(made.float())
    found = outputs.tail(network, inputs)
    lowest = highest = None
    if found is not None:
        lowest, highest = found.lowest, found.highest
        about |= {"activation": found.activation, "lowest": lowest, "highest": highest, "constant": found.constant}
    return about | _of_targets(train.arrays()[1], lowest, highest)


def _of_targets(targets: np.ndarray, lowest: float | None, highest: float | None) -> dict[str, float]:
    """Targets beyond the bounds of the output, and rows of them that sum to one."""
    if targets.dtype.kind not in "biuf":
        return {}
    some = targets[:: max(1, targets.size // TARGETS)].astype(np.float64)
    finite = some[np.isfinite(some)]
    outside = 0.0
    if finite.size:
        low, high = -math.inf if lowest is None else lowest, math.inf if highest is None else highest
        slack = TOLERANCE * (high - low if math.isfinite(high - low) else max(1.0, float(np.abs(finite).max())))
        outside = float(((finite < low - slack) | (finite > high + slack)).mean())
    rows = 0.0
    if some.ndim == 2 and some.shape[1] > 1:
        rows = float((np.isclose(some.sum(1), 1, atol=1e-3) & (some >= 0).all(1)).mean())
    return {"outside": outside, "rows_of_one": rows}


def _of_loss(loss: Any, made: Any, targets: Tensor, facts: LossFacts | None) -> dict[str, Any]:
    try:
        value = torch.as_tensor(loss(made, targets))
    except Exception as error:  # whatever a user's loss raises
        return {"failure": _told(error)}
    about: dict[str, Any] = {"loss": _number(value)}
    if isinstance(made, Tensor) and facts is not None:
        elementwise = facts.form in ("sigmoid", "binary-cross-entropy") or facts.expects == "values"
        about["broadcast"] = bool(elementwise and not facts.by_index and made.shape != targets.shape)
        ignorant = losses.uninformed(facts, targets, made)
        if ignorant is not None:
            with contextlib.suppress(Exception):
                about["expected_loss"] = _number(torch.as_tensor(loss(ignorant, targets)))
    return about


def _loss_facts(observations: Observations, loss: Any, train: Given | None, batch_size: int | None) -> LossFacts:
    shape: tuple[int, ...] = ()
    if observations.network is not None and observations.network.executed:
        shape = (batch_size or BATCH, *observations.network.output_shape)
    targets = None
    if train is not None:
        some = train.targets[:64]
        targets = some if isinstance(some, Tensor) else torch.as_tensor(np.ascontiguousarray(some))
        targets = targets.float() if targets.dtype == torch.float64 and not isinstance(some, Tensor) else targets
    task = "unknown" if observations.data is None else observations.data.task
    return losses.describe(loss, targets, shape, task)


def _number(value: Tensor) -> float | None:
    number = float(value.detach().double().mean())
    return number if math.isfinite(number) else None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _opened(observations: Observations, what: str, data: Any) -> Given | None:
    if data is None:
        observations.unseen[what] = "none was given"
        return None
    opened: Given | None = None
    with _seen(observations, what):
        opened = given.open_data(data)
    return opened  # noqa: RET504 - the block may end early


@contextlib.contextmanager
def _seen(observations: Observations, what: str) -> Iterator[None]:
    """What cannot be looked at is named with the reason; the rest goes on."""
    try:
        yield
    except Exception as error:
        observations.unseen[what] = str(error) if isinstance(error, given.UnseenError) else _told(error)
