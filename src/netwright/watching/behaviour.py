"""What an activation is, told by what it does with made-up values; a user's class may have any name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Functions that act like a module, and its class.
ACTIVATIONS = {
    "relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "LeakyReLU", "prelu": "PReLU", "rrelu": "RReLU", "elu": "ELU",
    "selu": "SELU", "celu": "CELU", "gelu": "GELU", "silu": "SiLU", "mish": "Mish", "softplus": "Softplus",
    "softsign": "Softsign", "sigmoid": "Sigmoid", "hardsigmoid": "Hardsigmoid", "logsigmoid": "LogSigmoid",
    "tanh": "Tanh", "hardtanh": "Hardtanh", "hardswish": "Hardswish", "softmax": "Softmax",
    "log_softmax": "LogSoftmax", "threshold": "Threshold", "exp": "exp",
}  # fmt: skip
# Functions that hand on the values that they are given.
SAME_VALUES = frozenset(
    """view reshape flatten unflatten permute transpose squeeze unsqueeze contiguous to float half bfloat16 double clone
    getitem chunk split tensor_split unbind expand expand_as movedim swapaxes T mT H t type type_as cpu cuda view_as
    ravel swapdims narrow select requires_grad_ alias unsafe_chunk unsafe_split""".split()  # noqa: SIM905 - forty quoted words read worse
)  # fmt: skip

REFERENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x, "relu": functional.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "softsign": functional.softsign, "hardsigmoid": functional.hardsigmoid, "hardtanh": functional.hardtanh,
    "relu6": functional.relu6, "elu": functional.elu, "selu": functional.selu, "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"), "silu": functional.silu, "mish": functional.mish,
    "softplus": functional.softplus, "hardswish": functional.hardswish, "exponential": torch.exp,
    "logsigmoid": functional.logsigmoid, "leaky_relu": functional.leaky_relu,
}  # fmt: skip
BOUNDS: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 1.0), "hardsigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0), "softmax": (0.0, 1.0),
}  # fmt: skip
_OF_CLASS = {
    nn.ReLU: "relu", nn.ReLU6: "relu6", nn.LeakyReLU: "leaky_relu", nn.PReLU: "leaky_relu", nn.RReLU: "leaky_relu",
    nn.ELU: "elu", nn.SELU: "selu", nn.CELU: "elu", nn.GELU: "gelu", nn.SiLU: "silu", nn.Mish: "mish",
    nn.Softplus: "softplus", nn.Softsign: "softsign", nn.Sigmoid: "sigmoid", nn.Hardsigmoid: "hardsigmoid",
    nn.LogSigmoid: "logsigmoid", nn.Tanh: "tanh", nn.Hardtanh: "hardtanh", nn.Hardswish: "hardswish",
    nn.Softmax: "softmax", nn.Softmax2d: "softmax", nn.LogSoftmax: "log_softmax", nn.Identity: "identity",
}  # fmt: skip
_OF_KIND = {kind.__name__: name for kind, name in _OF_CLASS.items()} | {"exp": "exponential"}
GRID = (-30.0, -6.0, -3.0, -2.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 6.0, 30.0)


def of_function(kind: str) -> dict[str, Any]:
    """Options of a function of ``ACTIVATIONS``."""
    return _options(_OF_KIND.get(kind, ""))


def of_module(module: nn.Module, example: Tensor) -> dict[str, Any]:
    """``activation``, its bounds, and ``cuts_gradient`` where they apply; {} for what is no activation.

    ``example``: a tensor of the shape that it is called with; the module is tried on a copy, in evaluation mode.
    """
    if type(module) in _OF_CLASS:
        return _options(_OF_CLASS[type(module)])
    if type(module).__module__.startswith("torch.nn.") or next(module.parameters(), None) is not None:
        return {}
    try:
        return _tried(copy.deepcopy(module).eval(), example)
    except Exception:  # whatever a user's module raises on made-up values: it is no plain activation
        return {}


def _options(name: str) -> dict[str, Any]:
    if not name:
        return {}
    lower, upper = BOUNDS.get(name, (None, None))
    return {"activation": name} | ({} if lower is None else {"lower": lower, "upper": upper})


def _tried(module: nn.Module, example: Tensor) -> dict[str, Any]:
    if not example.is_floating_point() or not example.numel():
        return {}
    grid = torch.tensor(GRID, dtype=example.dtype, device=example.device)
    x = grid[torch.arange(example.numel(), device=example.device) % len(GRID)].reshape(example.shape)
    x = x.clone().requires_grad_(True)
    with torch.enable_grad():
        y = module(x)
    if not isinstance(y, Tensor):
        return {}
    found: dict[str, Any] = {} if y.requires_grad else {"cuts_gradient": True}
    if y.requires_grad and _is_flat(x, y):
        found["flat"] = True
    if y.shape != x.shape:
        return found
    given, y = x.detach(), y.detach()
    for name, reference in REFERENCES.items():
        if _same(y, reference(given)):
            return _options(name) | found
    for axis in {-1, min(1, x.dim() - 1)}:
        for name, of_rows in (("softmax", torch.softmax), ("log_softmax", torch.log_softmax)):
            if _same(y, of_rows(given, axis)):
                return _options(name) | found
    # Elementwise: where the input is the same, the output is, wherever it stands.
    flat, places = y.flatten(), torch.arange(y.numel(), device=y.device) % len(GRID)
    first = flat[: len(GRID)]
    if y.numel() >= 2 * len(GRID) and _same(flat, first[places]):
        bounded = first.abs().max() < 0.5 * grid.max()
        bounds = {"lower": float(first.min()), "upper": float(first.max())} if bounded else {}
        return {"activation": "elementwise"} | bounds | found
    return found


def _is_flat(x: Tensor, y: Tensor) -> bool:
    """Whether ``y`` takes several values and has no slope anywhere: rounding, a sign, a threshold."""
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)  # a softmax's sum has none either
    (slope,) = torch.autograd.grad((y * weights).sum(), x, retain_graph=True, allow_unused=True)
    return bool(y.min() < y.max()) and (slope is None or not bool(slope.any()))


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5)
