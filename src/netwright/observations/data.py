"""Facts about training data, of the whole or of a stated sample. No torch."""

from __future__ import annotations

from typing import Literal

from netwright.records import Record


class ArrayFacts(Record, frozen=True, kw_only=True):
    """Inputs or targets of one part; numbers are over the finite values of ``sampled`` examples.

    ``feature_mean`` and ``feature_deviation`` are (smallest, median, largest) over the features (channels of pictures).
    """

    examples: int
    sampled: int
    shape: tuple[int, ...]  # of one example
    dtype: str
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    deviation: float | None = None
    feature_mean: tuple[float, float, float] | None = None
    feature_deviation: tuple[float, float, float] | None = None
    non_finite: int = 0
    constant_features: int = 0


class DataAudit(Record, frozen=True, kw_only=True):
    """What the data is like before anything is trained."""

    task: Literal["classification", "multi-label", "regression", "unknown"] = "unknown"
    inputs: ArrayFacts | None = None
    targets: ArrayFacts | None = None
    validation_inputs: ArrayFacts | None = None
    validation_targets: ArrayFacts | None = None
    class_counts: tuple[int, ...] = ()
