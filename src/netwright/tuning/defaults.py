"""The space that is searched if none is given: ranges around what a recipe resolves to. No torch.

The ranges are the usual ones of textbooks and guides (Goodfellow, Bengio and Courville 2016, 11.4; Bengio 2012,
"Practical recommendations"; Godbole et al. 2023, "Deep learning tuning playbook"): rates over orders of magnitude,
widths by doubling, 1 − momentum on a logarithmic scale.
"""

from __future__ import annotations

from typing import Any

from netwright.recipe import flat
from netwright.recipe.schema import Recipe
from netwright.tuning.spaces import Range

LOWER_RATE, HIGHER_RATE = 100.0, 30.0  # times below and above the recipe's own rate
WITH_MOMENTUM = ("momentum", "nesterov", "adam", "adamw")
OF_CLASSES = ("cross-entropy", "binary-cross-entropy", "focal", "kl", "squared")
FEWEST_STEPS = 8  # of an epoch: larger batches are not proposed


def default_ranges(resolved: Recipe, examples: int) -> list[Range]:
    """Ranges for every key of the four stages that the recipe has; ``examples`` of the training part."""
    values = flat(resolved)
    found = [*_rate(values), *_capacity(values, examples), *_depth(values), *_regularisation(values)]
    return [each for each in found if not each.constant]


def _rate(values: dict[str, Any]) -> list[Range]:
    rate = values["train.lr"]
    rate = rate if isinstance(rate, float | int) else 0.01  # a range test finds one for each recipe
    return [Range(key="train.lr", low=_tidy(rate / LOWER_RATE), high=_tidy(rate * HIGHER_RATE), scale="log")]


def _capacity(values: dict[str, Any], examples: int) -> list[Range]:
    found: list[Range] = []
    if values["train.optimizer"] in WITH_MOMENTUM:
        high = max(0.99, float(values["train.momentum"]))
        low = min(0.5, float(values["train.momentum"]))
        found.append(Range(key="train.momentum", low=low, high=high, scale="log1m"))
    width = values["network.width"]
    if isinstance(width, int) and not isinstance(width, bool):
        low, high = max(1, width // 2), 2 * width
        found.append(Range(key="network.width", low=low, high=high, integer=True, scale="log"))
    elif isinstance(width, float):
        found.append(Range(key="network.width", low=width / 2, high=2 * width, scale="log"))
    batch = int(values["train.batch_size"])
    sizes = [round(batch * factor) for factor in (0.25, 0.5, 1, 2, 4)]
    fitting = tuple(size for size in sizes if size == batch or 4 <= size <= examples // FEWEST_STEPS)
    found.append(Range(key="train.batch_size", choices=fitting))
    return found


def _depth(values: dict[str, Any]) -> list[Range]:
    found: list[Range] = []
    depth = values["network.depth"]
    if isinstance(depth, int):
        found.append(Range(key="network.depth", low=max(1, depth - 1), high=depth + 2, integer=True))
    schedule = values["train.schedule"]
    if schedule in ("step", "exponential", "plateau"):
        gamma = min(max(float(values["train.gamma"]), 0.05), 0.98)
        found.append(Range(key="train.gamma", low=min(0.05, gamma), high=max(0.95, gamma)))
    else:
        found.append(Range(key="train.schedule", choices=("constant", "cosine", "one-cycle")))
    return found


def _regularisation(values: dict[str, Any]) -> list[Range]:
    found: list[Range] = []
    decay = values["train.weight_decay"]
    if isinstance(decay, int | float):
        low, high = (_tidy(decay / 30), _tidy(decay * 10)) if decay > 0 else (1e-6, 1e-2)
        found.append(Range(key="train.weight_decay", low=low, high=high, scale="log"))
    dropout = values["network.dropout"]
    if isinstance(dropout, int | float):
        found.append(Range(key="network.dropout", low=0.0, high=max(0.5, dropout)))
    smoothing = values["objective.label_smoothing"]
    if isinstance(smoothing, float) and smoothing > 0 and values["objective.loss"] in OF_CLASSES:
        found.append(Range(key="objective.label_smoothing", low=0.0, high=max(0.2, smoothing)))
    return found


def _tidy(value: float) -> float:
    return float(f"{value:.3g}")
