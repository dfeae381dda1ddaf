"""The named changes of a training: each makes another replica out of one, or refuses with the reason.

They serve experiments (is this the cause?) and repairs (then change it). What they do to networks is in
`repair.remodelling`; `repair.wording` says them in words and as keys of a recipe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from netwright.observations.experiments import Change
from netwright.repair import remodelling
from netwright.repair.remodelling import RefusedError
from netwright.repair.replica import Replica
from netwright.repair.scoring import kind_of

__all__ = ["KINDS", "RefusedError", "apply", "rate_of"]

# Rates that are the libraries' defaults or the usual first choice: Adam's and RMSprop's 0.001 (Kingma and Ba 2015,
# Keras), Adadelta's 1 (Zeiler 2012), Adagrad's 0.01; SGD's 0.05, and 0.01 under momentum .9 (a tenth: the momentum
# multiplies the step by 10; Bengio 2012 gives 0.01 as the default of standardised inputs).
USUAL_RATES = {
    "sgd": 0.05, "momentum": 0.01, "nesterov": 0.01, "adam": 0.001, "adamw": 0.001, "rmsprop": 0.001,
    "adagrad": 0.01, "adadelta": 1.0,
}  # fmt: skip
CLIP, WARM_UP = 1.0, 0.1
USUAL_STEPS, USUAL_BATCH = 8, (8, 16)  # steps an epoch at least; batches of fewer than 8 become 16
ONE_UNIT_SPREAD = 0.9  # ranges of features within 10 % of the widest are of one unit (pixels)


def apply(replica: Replica, *changes: Change) -> Replica:
    """The replica with all changes, in order. Raises `RefusedError` where one does not fit or is not known."""
    for change in changes:
        if change.kind not in KINDS:
            raise RefusedError(f"there is no change {change.kind!r}")
        with torch.no_grad():
            replica = KINDS[change.kind](replica, change)
    return replica


def rate_of(replica: Replica) -> float | None:
    """The largest learning rate of its optimiser's groups."""
    rates = [group.get("lr") for group in replica.optimizer(replica.network).param_groups]
    known = [float(rate) for rate in rates if rate is not None]
    return max(known) if known else None


# ------------------------------------------------------------------------------------------ how it steps


def _scaled(now: float, value: Any) -> float:
    """A factor, or ``{"to": value}``."""
    return float(value["to"]) if isinstance(value, dict) else now * float(value)


def _with_groups(replica: Replica, alter: Callable[[dict[str, Any]], None]) -> Replica:
    """The same optimiser with every group altered."""
    build = replica.optimizer

    def altered(network: nn.Module) -> torch.optim.Optimizer:
        optimizer = build(network)
        for group in optimizer.param_groups:
            alter(group)
        return optimizer

    return dataclasses.replace(replica, optimizer=altered)


def learning_rate(replica: Replica, change: Change) -> Replica:
    """Every group's rate times a factor; ``{"to": rate}`` gives the largest that value and scales the others along."""
    now = rate_of(replica)
    if not now:
        raise RefusedError("the optimiser has no learning rate")
    factor = _scaled(now, change.value) / now

    def alter(group: dict[str, Any]) -> None:
        group["lr"] = group["lr"] * factor

    return _with_groups(replica, alter)


def optimizer(replica: Replica, change: Change) -> Replica:
    """Another optimiser over the same groups: a name, or ``{"kind": name, "lr": rate}``; no weight decay is added."""
    value = change.value if isinstance(change.value, dict) else {"kind": change.value}
    kind = value["kind"]
    if kind not in USUAL_RATES:
        raise RefusedError(f"there is no optimiser {kind!r} among {', '.join(USUAL_RATES)}")
    rate = float(value.get("lr", USUAL_RATES[kind]))
    build = replica.optimizer

    def other(network: nn.Module) -> torch.optim.Optimizer:
        old = build(network).param_groups
        groups = [{"params": group["params"], "weight_decay": group.get("weight_decay", 0.0)} for group in old]
        match kind:
            case "sgd" | "momentum" | "nesterov":
                momentum = 0.0 if kind == "sgd" else float(value.get("momentum", 0.9))
                return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=kind == "nesterov")
            case "adam" | "adamw":
                return (torch.optim.Adam if kind == "adam" else torch.optim.AdamW)(groups, lr=rate)
            case "rmsprop":
                return torch.optim.RMSprop(groups, lr=rate)
            case "adagrad":
                return torch.optim.Adagrad(groups, lr=rate)
            case _:
                return torch.optim.Adadelta(groups, lr=rate)

    return dataclasses.replace(replica, optimizer=other)


def weight_decay(replica: Replica, change: Change) -> Replica:
    """Every group's weight decay becomes the value (default 0)."""
    decays = any(group.get("weight_decay") for group in replica.optimizer(replica.network).param_groups)
    if not decays and not change.value:
        raise RefusedError("the optimiser has no weight decay")

    def alter(group: dict[str, Any]) -> None:
        group["weight_decay"] = float(change.value or 0.0)

    return _with_groups(replica, alter)


def batch_size(replica: Replica, change: Change) -> Replica:
    """Examples a step, by a factor or ``{"to": number}``; at most all, at least 1 (2 under batch norm).

    The epochs stay, so that more smaller steps are made.
    """
    count = len(replica.train[0])
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in replica.network.modules())
    size = min(count, max(2 if normed else 1, round(_scaled(replica.batch_size, change.value))))
    if size == replica.batch_size:
        raise RefusedError(f"batches are already of {size}")
    return dataclasses.replace(replica, batch_size=size)


def epochs(replica: Replica, change: Change) -> Replica:
    """More or fewer epochs, by a factor or ``{"to": number}``."""
    return dataclasses.replace(replica, epochs=max(1, math.ceil(_scaled(replica.epochs, change.value))))


def shuffle(replica: Replica, change: Change) -> Replica:
    """Draw the examples in another order every epoch (False: as they lie)."""
    return dataclasses.replace(replica, shuffle=change.value is not False)


def clear_gradients(replica: Replica, change: Change) -> Replica:
    """Clear the gradients before every step (False: let them add up)."""
    return dataclasses.replace(replica, clears_gradients=change.value is not False)


def clip(replica: Replica, change: Change) -> Replica:
    """Gradients of a norm above the value (default 1) are shortened to it (Pascanu et al. 2013)."""
    return dataclasses.replace(replica, clip=float(change.value or CLIP))


def warm_up(replica: Replica, change: Change) -> Replica:
    """The rate rises linearly over this share of the steps (default a tenth; Goyal et al. 2017)."""
    return dataclasses.replace(replica, warmup=float(change.value or WARM_UP))


# ---------------------------------------------------------------------------------------------- the data


def standardize_inputs(replica: Replica, change: Change) -> Replica:
    """(x − mean) / deviation of the training part, for every feature (every channel of pictures, every feature of
    sequences; one for all where all features are of one unit); validation likewise."""
    inputs = replica.train[0]
    _needs_floats(inputs, replica)
    mean, deviation = statistics(inputs.float())

    def scaled(values: torch.Tensor) -> torch.Tensor:
        return ((values.float() - mean) / deviation).to(values.dtype if values.is_floating_point() else mean.dtype)

    held_out = replica.validation and (scaled(replica.validation[0]), replica.validation[1])
    return dataclasses.replace(
        replica, train=(scaled(inputs), replica.train[1]), validation=held_out,
        input_scales=(*replica.input_scales, (mean, deviation)),
    )  # fmt: skip


def same_preprocessing(replica: Replica, change: Change) -> Replica:
    """Training and validation inputs standardised, each by its own statistics: the same if both are drawn alike."""
    if replica.validation is None:
        raise RefusedError("nothing is held out")
    _needs_floats(replica.train[0], replica)

    def own(values: torch.Tensor) -> torch.Tensor:
        mean, deviation = statistics(values.float())
        return (values.float() - mean) / deviation

    train, held_out = replica.train, replica.validation
    return dataclasses.replace(replica, train=(own(train[0]), train[1]), validation=(own(held_out[0]), held_out[1]))


def statistics(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of (N, …), in a shape that broadcasts against it; finite values only, no deviation of 0."""
    channels_first = inputs.ndim >= 4
    axis = 1 if channels_first else inputs.ndim - 1
    others = tuple(number for number in range(inputs.ndim) if number != axis) if inputs.ndim > 1 else (0,)
    finite = torch.where(torch.isfinite(inputs), inputs, torch.nan)
    lowest = torch.where(finite.isnan(), torch.inf, finite).amin(others, keepdim=True)
    highest = torch.where(finite.isnan(), -torch.inf, finite).amax(others, keepdim=True)
    ranges = (highest - lowest).clamp_min(0)
    ranges = torch.where(torch.isfinite(ranges), ranges, torch.zeros_like(ranges))
    varying = ranges[ranges > 0]
    if len(varying) > 1 and float((varying > ONE_UNIT_SPREAD * varying.max()).float().mean()) > 0.5:
        others = tuple(range(inputs.ndim))
    mean = finite.nanmean(others, keepdim=True)
    deviation = (finite - mean).square().nanmean(others, keepdim=True).sqrt()
    mean = torch.where(mean.isnan(), torch.zeros_like(mean), mean)
    usable = torch.isfinite(deviation) & (deviation > 1e-7 * (1 + mean.abs()))
    return mean, torch.where(usable, deviation, torch.ones_like(deviation))


def standardize_targets(replica: Replica, change: Change) -> Replica:
    """Targets that are numbers: (y − mean) / deviation of the training part, validation likewise. R² is the same in
    either unit, so scores stay comparable."""
    targets = replica.train[1]
    if not targets.is_floating_point() or kind_of(targets, targets, replica.task) != "values":
        raise RefusedError("the targets are no numbers to regress")
    finite = torch.where(torch.isfinite(targets), targets, torch.nan)
    mean = finite.nanmean(0, keepdim=True)
    deviation = (finite - mean).square().nanmean(0, keepdim=True).sqrt()
    deviation = torch.where(deviation > 1e-12 * (1 + mean.abs()), deviation, torch.ones_like(deviation))
    held_out = replica.validation and (replica.validation[0], (replica.validation[1] - mean) / deviation)
    return dataclasses.replace(
        replica, train=(replica.train[0], (targets - mean) / deviation), validation=held_out,
        target_scales=(*replica.target_scales, (mean, deviation)),
    )  # fmt: skip


def drop_bad_rows(replica: Replica, change: Change) -> Replica:
    """Leave out examples with a value that is not finite."""
    inputs, targets = replica.train
    good = torch.isfinite(inputs).reshape(len(inputs), -1).all(1) & torch.isfinite(targets).reshape(
        len(targets), -1
    ).all(1)
    if good.all() or not good.any():
        raise RefusedError("no row has a value that is not finite" if good.all() else "no row is finite")
    held_out = replica.validation
    if held_out is not None:
        fine = torch.isfinite(held_out[0]).reshape(len(held_out[0]), -1).all(1)
        held_out = (held_out[0][fine], held_out[1][fine]) if fine.any() else held_out
    return dataclasses.replace(replica, train=(inputs[good], targets[good]), validation=held_out)


def drop_duplicates(replica: Replica, change: Change) -> Replica:
    """Keep the first of examples with equal inputs and targets."""
    inputs, targets = replica.train
    rows = torch.cat([inputs.reshape(len(inputs), -1).double(), targets.reshape(len(targets), -1).double()], 1)
    _, group = torch.unique(rows, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(rows), device=group.device)
    first = first.scatter_reduce(0, group, torch.arange(len(rows), device=group.device), "amin").sort().values
    if len(first) == len(rows):
        raise RefusedError("no two examples are equal")
    size = min(replica.batch_size, len(first))
    return dataclasses.replace(replica, train=(inputs[first], targets[first]), batch_size=size)


def balance_classes(replica: Replica, change: Change) -> Replica:
    """Draw every class as often: examples with replacement, in proportion to 1 / examples of their class."""
    targets = replica.train[1]
    wide = targets.ndim > 1 and targets.shape[-1] > 1
    classes = targets.argmax(-1) if wide else targets.reshape(len(targets), -1)[:, 0]
    if (targets.numel() != len(targets) and not wide) or classes.ndim > 1 or bool((classes != classes.round()).any()):
        raise RefusedError("the examples have no single class each")
    _, which, counts = torch.unique(classes, return_inverse=True, return_counts=True)
    if len(counts) < 2 or len(counts) > len(classes) // 2:
        raise RefusedError("the examples have no classes of several examples")
    return dataclasses.replace(replica, example_weights=1.0 / counts[which].cpu().double())


def _needs_floats(inputs: torch.Tensor, replica: Replica) -> None:
    first = next((module for module in replica.network.modules() if not any(True for _ in module.children())), None)
    if isinstance(first, nn.Embedding) or not (inputs.is_floating_point() or inputs.dtype == torch.uint8):
        raise RefusedError("the inputs are no measured values")


def usual_settings(replica: Replica, change: Change) -> Replica:
    """All that one would set without a thought, as far as it fits: bad rows left out, inputs and targets standardised,
    He's or Xavier's weights, everything trained, no decay, no dropout, Adam at 0.003, at least 8 steps an epoch,
    batches of 8 and more.

    One training of it tells whether any of these settings is worth a question (Dorfman 1943: test the group first).
    ``{"without": kind}`` leaves one of them out: what is lost without it is needed.
    """
    count = len(replica.train[0])
    left_out = change.value["without"] if isinstance(change.value, dict) else ""
    group = [
        Change(kind="drop-bad-rows"), Change(kind="standardize-inputs"), Change(kind="standardize-targets"),
        Change(kind="initialization", value="auto"), Change(kind="train-all"), Change(kind="weight-decay", value=0.0),
        Change(kind="dropout", value=0.0), Change(kind="optimizer", value={"kind": "adam", "lr": 0.003}),
    ]  # fmt: skip
    if replica.batch_size < USUAL_BATCH[0] and count >= USUAL_STEPS * USUAL_BATCH[1]:
        group.append(Change(kind="batch-size", value={"to": USUAL_BATCH[1]}))
    if replica.batch_size * USUAL_STEPS > count:
        group.append(Change(kind="batch-size", value={"to": max(4, count // USUAL_STEPS)}))
    for part in group:
        if part.kind != left_out:
            with contextlib.suppress(RefusedError):
                replica = apply(replica, part)
    return replica


KINDS: dict[str, Callable[[Replica, Change], Replica]] = {
    "usual-settings": usual_settings,
    "learning-rate": learning_rate,
    "optimizer": optimizer,
    "weight-decay": weight_decay,
    "batch-size": batch_size,
    "epochs": epochs,
    "shuffle": shuffle,
    "clear-gradients": clear_gradients,
    "clip": clip,
    "warm-up": warm_up,
    "standardize-inputs": standardize_inputs,
    "standardize-targets": standardize_targets,
    "same-preprocessing": same_preprocessing,
    "drop-bad-rows": drop_bad_rows,
    "drop-duplicates": drop_duplicates,
    "balance-classes": balance_classes,
} | remodelling.KINDS
