"""Layers of radial basis functions, and their tie to kernel regression.

Broomhead and Lowe 1988; centres by k-means and widths by the nearest centres: Moody and Darken 1989.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from netwright.errors import NetworkError

NEAREST = 2  # other centres whose mean distance is a unit's first width (Moody and Darken's P)


class Radial(nn.Module):
    """(N, I) → (N, units): exp(−‖x − c‖² / (2 s²)) for each centre c and width s; both are learned.

    ``normalised``: divided by their sum, as probabilities of a mixture; computed as a softmax, so that far from all
    centres it is the nearest one instead of 0 / 0. ``place`` puts centres and widths where data lie.
    """

    def __init__(self, inputs: int, units: int, normalised: bool = False) -> None:
        super().__init__()
        self.normalised = normalised
        self.centres = nn.Parameter(torch.randn(units, inputs))
        self.log_widths = nn.Parameter(torch.full((units,), 0.5 * math.log(inputs)))

    def forward(self, x: Tensor) -> Tensor:
        squared = x.square().sum(1, keepdim=True) - 2 * x @ self.centres.T + self.centres.square().sum(1)
        exponent = -0.5 * squared.clamp_min(0) * torch.exp(-2 * self.log_widths)
        return torch.softmax(exponent, 1) if self.normalised else torch.exp(exponent)

    @torch.no_grad()
    def place(self, x: Tensor) -> None:
        """Centres by k-means on ``x`` (N, I), widths by the distance to the nearest other centres, in place.

        Raises ``NetworkError`` where there are fewer different examples than units. Draws nothing from the global
        generators.
        """
        from sklearn.cluster import KMeans

        units = len(self.centres)
        different = len(torch.unique(x, dim=0))
        if different < units:
            raise NetworkError(
                "radial", f"{units} units for {different} different examples of the first batch",
                "at most as many units", "fewer units, or a larger train.batch_size",
            )  # fmt: skip
        found = KMeans(units, n_init=1, random_state=0).fit(x.double().cpu().numpy()).cluster_centers_
        centres = torch.from_numpy(found).to(self.centres)
        self.centres.copy_(centres)
        if units > 1:
            near = torch.cdist(centres, centres).topk(min(NEAREST + 1, units), largest=False).values[:, 1:]
            self.log_widths.copy_(near.mean(1).clamp_min(1e-6).log())

    def extra_repr(self) -> str:
        return f"{self.centres.shape[1]}, {self.centres.shape[0]}, normalised={self.normalised}"


def kernel_regression(examples: Tensor, targets: Tensor, width: float) -> nn.Sequential:
    """(N, I) → (N, O): the Nadaraya–Watson estimate Σ K(x − xᵢ) yᵢ / Σ K(x − xᵢ) with a Gaussian kernel, as a network.

    A normalised radial layer with a centre on each of ``examples`` (M, I), and a dense layer whose weights are
    ``targets`` (M, O): training goes on from where kernel regression ends.
    """
    radial = Radial(examples.shape[1], len(examples), normalised=True)
    out = nn.Linear(len(examples), targets.shape[1], bias=False)
    with torch.no_grad():
        radial.centres.copy_(examples)
        radial.log_widths.fill_(math.log(width))
        out.weight.copy_(targets.T)
    return nn.Sequential(radial.to(examples), out.to(examples))


def place_all(network: nn.Module, inputs: Tensor) -> None:
    """Put every radial layer of a network where a batch lies, from input to output; other modules stay."""

    def take(layer: Any, given: tuple[Tensor, ...]) -> None:
        layer.place(given[0].detach())

    for module in [module for module in network.modules() if isinstance(module, Radial)]:
        modes = [(each, each.training) for each in network.modules()]
        handle = module.register_forward_pre_hook(take)
        try:
            with torch.no_grad():
                network.eval()(inputs)
        finally:
            handle.remove()
            for each, mode in modes:
                each.training = mode
