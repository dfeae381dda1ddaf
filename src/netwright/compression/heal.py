"""Training between the passes: the run's own recipe and data for some epochs."""

from __future__ import annotations

from torch import nn

from netwright.compression.passes import Changed, Context, Epochs, PassOptions


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``heal=3``"""

    epochs: Epochs = 1


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Train on; no surgery."""
    context.heal(network, options.epochs)
    return Changed(note=f"{options.epochs} epoch{'s' * (options.epochs > 1)} of the run's recipe")
