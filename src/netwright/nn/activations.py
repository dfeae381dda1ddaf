"""Activations by name: PyTorch's, and the two that it lacks. What each is for: the catalogue (`netwright.craft`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from netwright.errors import NetworkError, unknown_name


class Gaussian(nn.Module):
    """exp(−x²), element by element: the bump of a radial basis (Broomhead and Lowe 1988)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-x.square())


class Maxout(nn.Module):
    """(N, C, ...) → (N, C / pieces, ...): the largest of each ``pieces`` neighbouring channels.

    Goodfellow et al. 2013, "Maxout networks", eq. 2. Raises ``NetworkError`` where the channels do not divide.
    """

    def __init__(self, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 2:
            raise NetworkError("maxout: pieces", f"{pieces}", "at least 2", "pieces=2")
        self.pieces = pieces

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] % self.pieces:
            raise NetworkError("maxout", f"{x.shape[1]} channels", f"a multiple of {self.pieces}", "other channels")
        pieces: torch.Tensor = x.unflatten(1, (-1, self.pieces))
        return pieces.amax(2)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


def _softmax() -> nn.Module:
    return nn.Softmax(dim=1)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity, "relu": nn.ReLU, "leaky-relu": nn.LeakyReLU, "prelu": nn.PReLU, "relu6": nn.ReLU6,
    "elu": nn.ELU, "selu": nn.SELU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish, "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softsign": nn.Softsign, "hard-sigmoid": nn.Hardsigmoid,
    "hard-swish": nn.Hardswish, "rbf": Gaussian, "softmax": _softmax, "maxout": Maxout,
}  # fmt: skip

# Modules that count as an activation in a network that exists.
KINDS: tuple[type[nn.Module], ...] = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softsign, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh,
    nn.Softmax, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold, nn.GLU, Gaussian, Maxout,
)  # fmt: skip


def activation(name: str) -> nn.Module:
    """A new activation of that name. Raises ``UsageError`` with the nearest name."""
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()
