"""One number for how well a copy does, whatever it learns: accuracy for classes, R² for numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch

MANY, ONE_UNIT = 16, 0.5  # columns; of the widest one's range: many of which most have as much are of one unit
Kind = Literal["classes", "one-hot", "binary", "multi-label", "values"]


class Score(NamedTuple):
    """``value``: higher is better, 1 is perfect, None where an output was not finite. ``chance``: of the best constant.
    ``uncertainty``: one standard error over the examples. ``each``: what every example adds to the mean, (N,)."""

    value: float | None
    chance: float
    uncertainty: float
    examples: int
    measure: str
    each: torch.Tensor | None = None


def score(
    outputs: torch.Tensor, targets: torch.Tensor, loss: Callable[[Any, Any], Any], task: str = "unknown"
) -> Score:
    """Accuracy (classes by index or one-hot, two classes by one unit, labels element by element) or R²."""
    kind = kind_of(outputs, targets, task)
    measure = "R²" if kind == "values" else "accuracy"
    outputs, targets = outputs.detach().float(), targets.detach()
    finite = bool(torch.isfinite(outputs).all())
    if kind == "values":
        return _r_squared(outputs, targets.float(), finite)
    match kind:
        case "classes":
            right, chance = _by_index(outputs, targets)
        case "one-hot":
            classes = targets.argmax(-1)
            right, chance = outputs.argmax(-1) == classes, _largest_share(classes)
        case _:
            low, high = float(targets.min()), float(targets.max())
            low = min(low, 0.0) if high > 0 else low  # a part with one class only
            decided = outputs.reshape(targets.shape) > threshold(loss, low)
            wanted = targets > (0 if low < 0 else 0.5)
            right = decided == wanted
            share = wanted.float().reshape(len(wanted), -1).mean(0)
            chance = float(torch.maximum(share, 1 - share).mean())
    value = float(right.float().mean())
    count = right.numel()
    smoothed = (value * count + 1) / (count + 2)  # Laplace: all right of a few is not certainty
    # Labels of one example are not independent: the number of examples counts, not of labels.
    uncertainty = math.sqrt(smoothed * (1 - smoothed) / len(targets))
    each = right.float().reshape(len(right), -1).mean(1)
    return Score(value if finite else None, chance, uncertainty, len(targets), measure, each)


def kind_of(outputs: torch.Tensor, targets: torch.Tensor, task: str = "unknown") -> Kind:
    """How outputs (N, …) are to be compared with targets (N, …); ``task`` decides where the shapes leave it open."""
    per_output, per_target = outputs[0].numel(), targets[0].numel()
    whole = not targets.is_floating_point() or bool((targets == targets.round()).all())
    if per_output != per_target:
        names_classes = whole and per_output % max(per_target, 1) == 0 and bool((targets >= 0).all())
        classes = per_output // max(per_target, 1)
        if names_classes and task != "regression" and (not len(targets) or float(targets.max()) < classes):
            return "classes"
        return "values"
    if whole and task != "regression":
        if outputs.shape[-1] > 1 and outputs.shape == targets.shape and _one_hot(targets):
            return "one-hot"
        if bool(((targets == 0) | (targets == 1)).all()) or bool(((targets == -1) | (targets == 1)).all()):
            return "binary" if per_target == 1 else "multi-label"
    return "values"


def _one_hot(targets: torch.Tensor) -> bool:
    return bool(((targets == 0) | (targets == 1)).all()) and bool((targets.sum(-1) == 1).all())


def _largest_share(classes: torch.Tensor) -> float:
    flat = classes.reshape(-1).long()
    return float(torch.bincount(flat).max()) / len(flat)


def _by_index(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Class indices (N, …) against outputs (N, C, …), PyTorch's order, or (N, …, C)."""
    targets = targets.long()
    if outputs.ndim == targets.ndim:  # (N, C) against (N, 1)
        targets = targets.squeeze(-1) if targets.shape[-1] == 1 else targets
    axis = 1 if outputs.ndim > 2 and outputs.shape[2:] == targets.shape[1:] else -1
    decided = outputs.argmax(axis)
    return decided.reshape(targets.shape) == targets, _largest_share(targets)


def _r_squared(outputs: torch.Tensor, targets: torch.Tensor, finite: bool) -> Score:
    """1 − mean squared error / variance: of columns of one unit (pixels) over all of them together, as of some hardly
    any varies; else the mean over the columns that vary, which is the same in any unit of theirs."""
    count = len(targets)
    if outputs.numel() == targets.numel():
        outputs = outputs.reshape(targets.shape)
    wanted = targets.reshape(count, -1)
    given = outputs.reshape(count, -1)
    if given.shape != wanted.shape and 1 not in (given.shape[1], wanted.shape[1]):
        raise ValueError(f"outputs {tuple(outputs.shape)} do not fit targets {tuple(targets.shape)}")
    variance = wanted.var(0, correction=0)
    varies = variance > 1e-12 * (1 + wanted.square().mean(0))
    if not finite or not bool(torch.isfinite(wanted).all()) or not bool(varies.any()):
        return Score(None, 0.0, 0.0, count, "R²")
    ranges = wanted.amax(0) - wanted.amin(0)
    if len(ranges) >= MANY and float((ranges > ONE_UNIT * ranges.max()).float().mean()) > 0.5:
        variance = variance.mean().expand_as(variance)
    relative = ((given - wanted).square() / variance)[:, varies.expand(max(given.shape[1], wanted.shape[1]))].mean(1)
    value = 1 - float(relative.mean())
    uncertainty = float(relative.std(correction=0)) / math.sqrt(count)
    each = 1 - relative
    return Score(value if math.isfinite(value) else None, 0.0, uncertainty, count, "R²", each)


def threshold(loss: Callable[[Any, Any], Any], low: float = 0.0) -> float:
    """Of one unit for two classes ``low`` and 1: the output at which the loss is the same for both.

    That is ½ for probabilities and for squares (classes 0 and 1), 0 for logits and for classes −1 and 1. The loss is
    tried, so that its name does not matter.
    """
    if low < 0:
        return 0.0

    def unfair(output: float) -> float:
        try:
            tried = [loss(torch.full((2, 1), output), torch.full((2, 1), target)) for target in (0.0, 1.0)]
            difference = abs(float(tried[0].mean()) - float(tried[1].mean()))
        except Exception:
            return math.inf
        return difference if math.isfinite(difference) else math.inf

    return 0.0 if unfair(0.0) < unfair(0.5) else 0.5
