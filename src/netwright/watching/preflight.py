"""Everything that can be known before the first step: data, network, loss, optimiser, one batch on a copy."""

from __future__ import annotations

from typing import Any

from netwright.observations import Observations, Plan


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
) -> None:
    """Fill in the facts; seconds at most, and model, optimiser and data are left as found."""
    examples = len(train_data[0]) if isinstance(train_data, tuple | list) and len(train_data) else None
    observations.plan = Plan(batch_size=batch_size, epochs=epochs, examples=examples)
