"""Whether an example's output depends on the other examples of its batch, in evaluation mode. Cost: four passes over
one batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ROUNDING = 200  # units in the last place of the outputs' size: matrix products add up in an order of their own


@torch.no_grad()
def measure(network: nn.Module, inputs: Tensor) -> float | None:
    """How far the outputs of one half of a batch (N, …) move where the other half is replaced, as a share of how far
    outputs of different examples lie apart (root mean squares); 0 where it is rounding.

    ``network`` is put into evaluation mode. None where it cannot be said: fewer than four rows, outputs without one row
    for each example, that are all alike, or that differ when the same batch is passed twice (noise, a state), and batch
    norms without running statistics, which mix by design. Raises what the network raises.
    """
    network.eval()
    count, half = len(inputs), len(inputs) // 2
    batch_norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    if half < 2 or any(norm.running_mean is None for norm in batch_norms):
        return None
    places = torch.arange(count, device=inputs.device)
    first, second = torch.where(places < half, places, places % half), torch.where(places < half, places + half, places)
    made = _output(network(inputs), count)
    again = _output(network(inputs), count)
    if made is None or again is None or not bool(torch.isfinite(made).all()) or not torch.equal(made, again):
        return None
    moved = []
    for rows, kept in ((first, places < half), (second, places >= half)):
        other = _output(network(inputs[rows]), count)
        if other is None or not bool(torch.isfinite(other).all()):
            return None
        moved.append(float((other - made)[kept].square().mean().sqrt()))
    spread = float((made - made.mean(0)).square().mean().sqrt())
    rounding = ROUNDING * max(torch.finfo(made.dtype).eps, 1e-7) * float(made.square().mean().sqrt())
    if spread <= rounding:
        return None
    return max(moved) / spread if max(moved) > rounding else 0.0


def _output(made: Any, count: int) -> Tensor | None:
    if not isinstance(made, Tensor) or not made.is_floating_point() or not made.dim() or len(made) != count:
        return None
    return made
