"""The loss's Hessian at the network's weights: its largest and smallest eigenvalues, by Lanczos.

Cost: one forward pass, and one backward pass through the gradient for every Hessian-vector product, some thirty; it
runs on a copy, and only when it is asked for. Source: Lanczos 1950; Pearlmutter 1994 (Hessian-vector products);
Golub and Van Loan 2013, Matrix Computations, 10.1 and 10.3.1 (complete reorthogonalisation, the error bound).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from netwright.records import Measurement

PRODUCTS = 40  # at most; fewer where the outermost eigenvalues stand still before
SETTLED = 1e-3  # relative error of both outermost eigenvalues, by the residual's bound
NOISE = 1e-6  # eigenvalues below this share of the largest are rounding: flat directions
SADDLE = 0.01  # negative curvature counts from this share of the largest on
SMALL_GRADIENT = 1e-3  # times √(largest eigenvalue · loss): the slope of a quadratic that is this near to its minimum


@dataclasses.dataclass(frozen=True)
class Curvature:
    """Ritz values in ascending order, the outermost being eigenvalues within ``error`` (absolute); the gradient's norm
    and the loss at the same place. Eigenvalues are in units of loss ÷ weight²."""

    values: tuple[float, ...]
    error: tuple[float, float]  # of the smallest, of the largest
    products: int
    gradient: float
    loss: float
    dimension: int

    @property
    def sharpness(self) -> float:
        """The largest eigenvalue: gradient descent is stable up to a rate of 2 ÷ sharpness (Cohen et al. 2021)."""
        return self.values[-1] if self.values else 0.0

    @property
    def smallest(self) -> float:
        return self.values[0] if self.values else 0.0

    @property
    def condition(self) -> float:
        """Largest ÷ smallest in absolute value, of those above the noise; exact where the products reached them all,
        and a lower bound otherwise."""
        sizes = [abs(value) for value in self.values]
        above = [size for size in sizes if size > NOISE * max(sizes, default=0.0)]
        return max(above) / min(above) if above else 1.0

    @property
    def slope(self) -> float:
        """Gradient ÷ √(largest curvature · loss), without a unit: at most √2 on a quadratic that goes down to 0;
        infinite on a plane."""
        scale = (max(abs(self.smallest), abs(self.sharpness)) * abs(self.loss)) ** 0.5
        return self.gradient / scale if scale else math.inf if self.gradient > NOISE else 0.0

    @property
    def kind(self) -> str:
        """``slope`` where the gradient is not small; else ``minimum``, ``maximum``, ``saddle``, or ``plateau`` where
        no direction curves."""
        largest = max(abs(self.smallest), abs(self.sharpness))
        if self.slope > SMALL_GRADIENT and self.gradient > NOISE:
            return "slope"
        if largest <= NOISE * max(1.0, abs(self.loss)):
            return "plateau"
        down, up = self.smallest < -SADDLE * largest, self.sharpness > SADDLE * largest
        return "saddle" if down and up else "maximum" if down else "minimum"

    def measurements(self, step: int, rate: float | None = None) -> list[Measurement]:
        """As the probes ``sharpness``, ``smallest-curvature``, ``condition-number``, ``relative-slope`` and, with a
        learning rate, ``rate-times-sharpness``."""
        told = {"sharpness": ("1/rate", self.sharpness), "smallest-curvature": ("1/rate", self.smallest)}
        told["condition-number"] = ("ratio", self.condition)
        told["relative-slope"] = ("ratio", self.slope)
        if rate is not None:
            told["rate-times-sharpness"] = ("number", rate * self.sharpness)
        return [Measurement(probe=k, step=step, unit=unit, values=(value,)) for k, (unit, value) in told.items()]


def measure(
    network: nn.Module,
    loss: Callable[[Any, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    *,
    products: int = PRODUCTS,
    seed: int = 0,
    training: bool = False,
) -> Curvature:
    """Curvature of ``loss(network(inputs), targets)`` at the trained parameters, on a copy.

    ``training``: in training mode, where batch norm uses the batch; dropout would be another function each time, so it
    is left out in either mode. Raises what the network raises, and ``ValueError`` where nothing is trained.
    """
    copied = copy.deepcopy(network).train(training)
    for module in copied.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | nn.AlphaDropout):
            module.eval()
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    own = [p for p in copied.parameters() if p.requires_grad]
    if not own:
        raise ValueError("curvature: the network has no parameters that are trained")
    # The fused attention kernels, cuDNN's recurrent layers and oneDNN have no second derivatives.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        value = loss(copied(inputs), targets)
        gradients = torch.autograd.grad(value, own, create_graph=True, allow_unused=True)
        pairs = [(p, g) for p, g in zip(own, gradients, strict=True) if g is not None]
        places = [p for p, _ in pairs]
        flat = torch.cat([g.reshape(-1) for _, g in pairs]) if pairs else torch.zeros(0)

        def product(vector: Tensor) -> Tensor:
            if not flat.requires_grad:  # the loss is linear in the weights
                return torch.zeros_like(vector)
            found = torch.autograd.grad(flat, places, vector.to(flat), retain_graph=True, allow_unused=True)
            whole = [torch.zeros_like(p) if h is None else h for p, h in zip(places, found, strict=True)]
            return torch.cat([h.reshape(-1) for h in whole]).to(vector)

        size = flat.numel()
        start = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(flat.device)
        values, errors, used = lanczos(product, start, products)
    return Curvature(
        values=tuple(values), error=errors, products=used, gradient=float(flat.detach().double().norm()),
        loss=float(value.detach()), dimension=size,
    )  # fmt: skip


def lanczos(
    product: Callable[[Tensor], Tensor], start: Tensor, products: int = PRODUCTS
) -> tuple[Sequence[float], tuple[float, float], int]:
    """Ritz values (ascending) of a symmetric operator, how far the outermost can be from eigenvalues, products used.

    Vectors are kept and made orthogonal to all earlier ones twice, in double precision; memory is one vector a product.
    Where not all products can be made, it stops when the bounds of both ends are below ``SETTLED`` of the largest.
    """
    size = start.numel()
    if not size:
        return [], (0.0, 0.0), 0
    basis = [start.double() / start.double().norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    for number in range(min(products, size)):
        image = product(basis[-1]).double()
        diagonal.append(float(image @ basis[-1]))
        stacked = torch.stack(basis)
        for _ in range(2):
            image = image - stacked.T @ (stacked @ image)
        length = float(image.norm())
        triangle = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if beside:
            off = torch.tensor(beside, dtype=torch.float64)
            triangle += torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(triangle)
        errors = (length * abs(float(vectors[-1, 0])), length * abs(float(vectors[-1, -1])))
        scale = float(values.abs().max())
        settled = size > products and number > 0 and max(errors) < SETTLED * scale
        if length <= 1e-10 * max(scale, 1e-300) or settled:
            break
        beside.append(length)
        basis.append(image / length)
    return values.tolist(), errors, len(diagonal)
