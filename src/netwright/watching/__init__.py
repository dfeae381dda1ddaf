"""Looks on in any training loop: facts before the first step, probes on sampled steps, findings as they arise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netwright.codes import CODES
from netwright.errors import unknown_name
from netwright.watching.watch import Watch

__all__ = ["Watch", "watch"]


def watch(
    model: Any,
    optimizer: Any = None,
    *,
    loss: Any = None,
    train_data: Any = None,
    val_data: Any = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    ignore: Mapping[str, str] | None = None,
    budget: float = 0.03,
    confirm: float = 30.0,
    tell: bool = True,
) -> Watch:
    """Look on while ``model`` is trained in a loop of your own; nothing in it changes.

    ``optimizer``: one, or a list of several. ``loss``: the callable (outputs, targets) → scalar. ``train_data``,
    ``val_data``: (inputs, targets) as tensors or arrays. ``budget``: the share of the step time that looking may cost.
    ``confirm``: seconds that counterfactuals on a copy may take in all; 0 tries none. ``ignore``: code → reason.

    ``tell``: findings at warning or above are printed on stderr as they arise, once each.

    Call ``step(loss)`` after the optimiser's step and ``epoch(train=…, val=…)`` after an epoch (higher is better);
    ``findings()`` tells what was found, ``report(path)`` writes it as a page.
    """
    for code in ignore or ():
        if code not in CODES:
            raise unknown_name("netwright.watch(ignore=...)", code, CODES)
    return Watch(
        model, optimizer, loss=loss, train_data=train_data, val_data=val_data, batch_size=batch_size, epochs=epochs,
        ignore=ignore, budget=budget, confirm=confirm, tell=tell,
    )  # fmt: skip
