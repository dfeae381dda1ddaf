"""What published networks share: convolution with norm, branches, shuffling, widths, input checks, initial values."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from netwright.errors import NetworkError

Pair = int | tuple[int, int]
Stem = Literal["published", "small"]
WIDEST = 8.0  # a recipe's network.width counts channels elsewhere; 32 times ResNet-50 would be 26 thousand million


class ConvNorm(nn.Sequential):
    """(N, inputs, H, W) → (N, outputs, H', W'): ``conv``, ``bn`` and ``relu`` by these names.

    Without ``padding`` an odd kernel keeps the size at stride 1. The convolution has a bias only where no norm takes it
    away again (``norm=False``).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Pair = 1, stride: int = 1, padding: Pair | None = None, *,
        groups: int = 1, norm: bool = True, activation: type[nn.Module] | None = nn.ReLU, eps: float = 1e-5,
    ) -> None:  # fmt: skip
        if padding is None:
            padding = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=not norm)
        if norm:
            layers["bn"] = nn.BatchNorm2d(outputs, eps=eps)
        if activation is not None:
            layers["relu"] = activation()
        super().__init__(layers)


class Branches(nn.Module):
    """(N, C, H, W) → what every branch makes of it, joined along the channels in the order given."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class Shuffle(nn.Module):
    """(N, C, H, W) → the same, channels dealt out like cards: C seen as (groups, C / groups) and transposed."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Averaged(nn.Module):
    """(N, C, H, W) → (N, outputs): the maps of ``features``, averaged over their positions, into a dense layer."""

    def __init__(self, features: nn.Sequential, channels: int, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, outputs)
        he(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]


class WithHeads(nn.Module):
    """(N, C, H, W) → (N, outputs): as ``Averaged``, with dropout and auxiliary classifiers on the way.

    ``auxiliary`` maps names of stages of ``features`` to what classifies their maps. A forward in training gives
    (outputs, of each of them in order), tensors of (N, outputs); in evaluation there is one, as without.
    """

    def __init__(
        self, features: nn.Sequential, channels: int, outputs: int, dropout: float, auxiliary: dict[str, nn.Module]
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, outputs)
        self.auxiliary = nn.ModuleDict(auxiliary)
        he(self)
        nn.init.normal_(self.fc.weight, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        heads = []
        for name, stage in self.features.named_children():
            x = stage(x)
            if self.training and name in self.auxiliary:
                heads.append(self.auxiliary[name](x))
        x = self.fc(self.dropout(self.flatten(self.avgpool(x))))
        return (x, *heads) if heads else x


def named(*layers: tuple[str, nn.Module]) -> nn.Sequential:
    """A sequence whose layers have names."""
    return nn.Sequential(OrderedDict(layers))


def fit(name: str, input_shape: Sequence[int], smallest: int = 1, width: float = 1.0, stem: str = "published") -> int:
    """The input's channels; ``NetworkError`` where the network cannot be built for this shape, ``width`` or ``stem``.

    ``smallest``: the height and width below which a map inside would have no pixel left.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        expected = f"(channels, height ≥ {smallest}, width ≥ {smallest})"
        other = {1: "mlp", 2: "small_resnet1d", 3: "small_resnet"}.get(len(input_shape), "")  # what takes such inputs
        raise NetworkError(name, f"an input of shape {tuple(input_shape)}", expected, other)
    if not 0 < width <= WIDEST:
        raise NetworkError(
            f"{name}: width", f"{width}", f"a multiplier of the published channels, above 0 and at most {WIDEST:g}",
            "network.arguments.width=0.5",
        )  # fmt: skip
    if stem not in ("published", "small"):
        raise NetworkError(f"{name}: stem", f"{stem!r}", "published or small (no reduction before the first stage)")
    return input_shape[0]


def scaled(channels: int, width: float, multiple: int = 8) -> int:
    """Channels times ``width`` as a multiple of 8, and never below nine tenths of the product (Sandler et al. 2018)."""
    if width == 1:
        return channels
    near = max(multiple, int(channels * width + multiple / 2) // multiple * multiple)
    return near if near >= 0.9 * channels * width else near + multiple


def sides(features: nn.Module, input_shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of what ``features`` make of an input, by the arithmetic of their windows.

    Sequences, branches, convolutions and poolings; any other module keeps the size. A run on meta tensors would say the
    same, after seconds of importing torch's decompositions.
    """
    return _side(features, input_shape[1], 0), _side(features, input_shape[2], 1)


def _side(module: nn.Module, size: int, axis: int) -> int:
    if isinstance(module, nn.Sequential):
        for layer in module:
            size = _side(layer, size, axis)
    elif isinstance(module, Branches):
        size = _side(next(module.children()), size, axis)
    elif isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        kernel, stride, padding = (_pair(each)[axis] for each in (module.kernel_size, module.stride, module.padding))
        rest = size + 2 * padding - kernel
        if getattr(module, "ceil_mode", False):
            size = math.ceil(rest / stride) + 1
            size -= (size - 1) * stride >= rest + kernel - padding  # a last window that would begin behind the input
        else:
            size = rest // stride + 1
    return size


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


@torch.no_grad()
def he(network: nn.Module) -> None:
    """Initial values in place: N(0, 2 / fan-in) before a ReLU (He et al. 2015, eq. 10), biases 0.

    The last dense layer begins with deviation 0.01 (Krizhevsky et al. 2012, 5), so that the first outputs are nearly
    equal and the first loss is about log(outputs).
    """
    last: nn.Linear | None = None
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in(module)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.Linear):
            last = module
    if last is not None:
        nn.init.normal_(last.weight, std=0.01)


def fan_in(module: nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> float:
    """How many inputs one output sums over; of a transposed convolution the mean, for its stride spreads the kernel."""
    if isinstance(module, nn.ConvTranspose2d):
        return module.in_channels / module.groups * math.prod(module.kernel_size) / math.prod(module.stride)
    return math.prod(module.weight.shape[1:])
