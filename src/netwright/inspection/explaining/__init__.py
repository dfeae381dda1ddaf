"""Worked out: a subject's formulas with small numbers put in, forward and backward, and one layer's own numbers.

The numbers are computed when they are asked for, with NumPy in float64, from the formulas as they are written here; no
torch. ``SUBJECTS`` is the visible list; a subject is a function without arguments that returns an ``Explanation``.
"""

from __future__ import annotations

from collections.abc import Callable

from netwright.errors import unknown_name
from netwright.inspection.explaining import (
    attention,
    batch_norm,
    convolution,
    cost,
    dense,
    elementwise,
    pooling,
    receptive_field,
    softmax_cross_entropy,
)
from netwright.inspection.explaining.layers import explain_operation
from netwright.inspection.explaining.structure import Explanation, Step

__all__ = ["ALIASES", "SUBJECTS", "Explanation", "Step", "explain", "explain_operation", "subject_of"]

SUBJECTS: dict[str, Callable[[], Explanation]] = {
    "convolution": convolution.explanation,
    "dense": dense.explanation,
    "softmax-cross-entropy": softmax_cross_entropy.explanation,
    "batch-norm": batch_norm.explanation,
    "pooling": pooling.explanation,
    "relu": elementwise.explain_relu,
    "dropout": elementwise.explain_dropout,
    "residual": elementwise.explain_residual,
    "attention": attention.explanation,
    "receptive-field": receptive_field.explanation,
    "cost": cost.explanation,
}
# Other words for the same subjects, in lower case with hyphens.
ALIASES = {
    "conv": "convolution", "conv1d": "convolution", "conv2d": "convolution", "conv3d": "convolution",
    "linear": "dense", "fully-connected": "dense", "softmax": "softmax-cross-entropy",
    "cross-entropy": "softmax-cross-entropy", "batchnorm": "batch-norm", "batch-normalization": "batch-norm",
    "batch-normalisation": "batch-norm", "batchnorm2d": "batch-norm", "bn": "batch-norm", "max-pool": "pooling",
    "max-pool2d": "pooling", "avg-pool": "pooling", "avg-pool2d": "pooling", "pool": "pooling", "shortcut": "residual",
    "skip-connection": "residual", "scaled-dot-product-attention": "attention", "macs": "cost", "flops": "cost",
    "parameters": "cost", "rf": "receptive-field",
}  # fmt: skip


def subject_of(word: str) -> str:
    """The subject that a word names: itself, another word for it, or a kind of the graph. Raises ``UsageError``."""
    name = word.strip().lower().replace("_", "-").replace(" ", "-")
    name = ALIASES.get(name, name)
    if name not in SUBJECTS:
        raise unknown_name("netwright explain", word, SUBJECTS)
    return name


def explain(subject: str) -> Explanation:
    """A subject worked out on small numbers. Raises ``UsageError``, which offers the nearest, for an unknown one."""
    return SUBJECTS[subject_of(subject)]()
