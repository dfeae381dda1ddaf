"""Weights of one, two, eight or sixteen bits: while they are trained, and packed.

In training a weight has a latent ``float32`` value, its coded value goes forward, and gradients go straight through
(Bengio et al. 2013; Courbariaux et al. 2015). ``Packed`` keeps the code only: 1 bit a weight, or two planes of bits for
ternary weights, and one scale an output channel. The sign of 0 is + everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from netwright.nn import bitcount

TWN_THRESHOLD = 0.7  # of the mean |w| (Li, Zhang, Liu 2016, equation 6)
Kind = Literal["linear", "conv1d", "conv2d", "conv3d"]
_CONVOLVE = {"conv1d": F.conv1d, "conv2d": F.conv2d, "conv3d": F.conv3d}


class _Through(torch.autograd.Function):
    """``coded`` forward, the gradient to ``latent``."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, coded: Tensor) -> Tensor:
        return coded.view_as(coded)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def through(latent: Tensor, coded: Tensor) -> Tensor:
    """The values of ``coded`` (exactly), differentiated as ``latent``."""
    if not (torch.is_grad_enabled() and latent.requires_grad):
        return coded
    found: Tensor = _Through.apply(latent, coded.detach())
    return found


def signs(x: Tensor) -> Tensor:
    """±1 of the type of ``x``."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


def per_channel(values: Tensor, weight: Tensor) -> Tensor:
    """(O,) shaped so that it broadcasts along ``weight``'s first axis."""
    return values.view(-1, *[1] * (weight.ndim - 1))


def binary_scale(weight: Tensor) -> Tensor:
    """α = mean |w| of each output channel, (O,): the best scale of the signs (Rastegari et al. 2016, eq. 6)."""
    return weight.abs().flatten(1).mean(1)


def ternary_code(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes −1, 0, +1 and the scale (O,): |w| > 0.7 mean |w| of the channel, and the mean |w| of those (TWN)."""
    size = weight.abs().flatten(1)
    above = size > TWN_THRESHOLD * size.mean(1, keepdim=True)
    scale = (size * above).sum(1) / above.sum(1).clamp(min=1)
    return signs(weight) * above.view_as(weight), scale


class Binary(nn.Module):
    """A parametrization: α sign(w), or the bare sign (BinaryConnect, deterministic). Gradients stop where |w| > 1."""

    bits = 1

    def __init__(self, scaled: bool = True) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, weight: Tensor) -> Tensor:
        code = through(weight.clamp(-1, 1), signs(weight))
        return per_channel(binary_scale(weight), weight) * code if self.scaled else code

    def coded(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = binary_scale(weight) if self.scaled else torch.ones_like(weight[:, :1].flatten(1)[:, 0])
        return signs(weight), scale


class Ternary(nn.Module):
    """A parametrization: α t with t in −1, 0, +1 (ternary weight networks)."""

    bits = 2

    def forward(self, weight: Tensor) -> Tensor:
        code, scale = ternary_code(weight)
        return through(weight, per_channel(scale, weight) * code)

    def coded(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return ternary_code(weight)


class Halved(nn.Module):
    """A parametrization: kept as 16-bit floats, used as ``float32``, fixed (steps would be lost in the rounding)."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


def binarize(module: nn.Module, tensor: str, *, scaled: bool = True) -> None:
    parametrize.register_parametrization(module, tensor, Binary(scaled))


def ternarize(module: nn.Module, tensor: str) -> None:
    parametrize.register_parametrization(module, tensor, Ternary())


def halve(module: nn.Module, tensor: str, *, dtype: str) -> None:
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    values = getattr(module, tensor).detach().to(kind)
    parametrize.register_parametrization(module, tensor, Halved(kind), unsafe=True)
    listed: Any = module.parametrizations
    listed[tensor].original = nn.Parameter(values, requires_grad=False)


# --------------------------------------------------------------------------------------------------------------
# Packed


def geometry_of(layer: nn.Module) -> tuple[Kind, dict[str, Any]]:
    """What kind of product a layer is, and its stride, padding, dilation and groups as plain lists."""
    if isinstance(layer, nn.Linear):
        return "linear", {}
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    kind: Kind = ("conv1d", "conv2d", "conv3d")[len(layer.kernel_size) - 1]
    padding: Any = layer.padding if isinstance(layer.padding, str) else list(layer.padding)
    return kind, {
        "stride": list(layer.stride), "padding": padding, "dilation": list(layer.dilation), "groups": layer.groups
    }  # fmt: skip


def _exporting() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def _product(kind: Kind, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: dict[str, Any]) -> Tensor:
    return F.linear(x, weight, bias) if kind == "linear" else _CONVOLVE[kind](x, weight, bias, **geometry)


class Packed(nn.Module):
    """A dense layer or convolution whose weight lies in bits.

    ``words`` (planes, O, ⌈n / 8⌉) ``uint8`` and ``scale`` (O,). Plane 0 has a 1 for each positive weight, lowest bit
    first; plane 1, of ternary weights, a 1 for each that is not 0.
    The weight is unpacked once and kept until ``words`` change: small on disk, not in memory, and as fast as before.
    Graphs and exports see the plain layer.
    """

    def __init__(
        self, kind: Kind, shape: Sequence[int], bits: int = 1, bias: bool = True, geometry: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.kind, self.shape, self.bits, self.geometry = kind, tuple(shape), bits, dict(geometry or {})
        many = math.prod(self.shape[1:])
        self.words: Tensor
        self.scale: Tensor
        self.register_buffer("words", torch.zeros(bits, self.shape[0], -(-many // 8), dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(self.shape[0]))
        self.bias = nn.Parameter(torch.zeros(self.shape[0])) if bias else None
        self.dense: Tensor
        self.register_buffer("dense", torch.zeros(self.shape), persistent=False)
        self._unpacked: tuple[int, int] | None = None  # versions of words and scale that ``dense`` was made of

    @property
    def weight(self) -> Tensor:
        """The weight that the bits stand for."""
        key = None if _exporting() or self.words.is_meta else (self.words._version, self.scale._version)
        if key is not None and self._unpacked != key:
            with torch.no_grad():
                code = bitcount.unpacked(self.words[0], math.prod(self.shape[1:])).to(self.scale.dtype)
                if self.bits == 2:
                    code = code * (bitcount.unpacked(self.words[1], math.prod(self.shape[1:])) > 0)
                code = code.view(self.shape)
                self.dense = per_channel(self.scale, code) * code
            self._unpacked = key
        return self.dense

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._unpacked = None
        _ = self.weight  # so that whatever follows the network sees a weight, and no bits

    def forward(self, x: Tensor) -> Tensor:
        return _product(self.kind, x, self.weight, self.bias, self.geometry)

    def extra_repr(self) -> str:
        return f"{self.kind}, {self.shape}, {self.bits} bit{'s' * (self.bits > 1)} a weight"


# --------------------------------------------------------------------------------------------------------------
# Weights and activations of one bit


class Xnor(nn.Module):
    """A dense layer or 2-D convolution of signs: y = α (sign(x − θ) · sign(w)) [K] + b (Rastegari et al. 2016).

    θ (C,) is a threshold an input channel (the paper's batch norm before the sign; learned: Liu et al. 2020), and
    gradients go through the sign where |x − θ| ≤ ``window`` (C,). ``scale_inputs`` multiplies with K, the mean |x − θ|
    under each window. Convolutions see zeros beyond the border, before the sign: +1 or −1 as θ says.

    ``packed``: bits instead of latent weights. On a processor, without gradients and with the extra ``binary``, the
    product is XOR and popcount on them; otherwise it is a product of ±1 in ``float32``. Both are sums of integers
    below 2²⁴, so equal bit by bit.
    """

    def __init__(
        self, kind: Kind, shape: Sequence[int], bias: bool = True, geometry: dict[str, Any] | None = None,
        scale_inputs: bool = False, packed: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kind, self.shape, self.geometry = kind, tuple(shape), dict(geometry or {})
        self.scale_inputs, self.packed = scale_inputs, packed
        many = math.prod(self.shape[1:])
        self.scale: Tensor
        self.words: Tensor
        self.dense: Tensor
        self.window: Tensor
        if packed:
            self.register_buffer("words", torch.zeros(self.shape[0], -(-many // 8), dtype=torch.uint8))
            self.register_buffer("scale", torch.ones(self.shape[0]))
            self.register_buffer("dense", torch.zeros(self.shape), persistent=False)
        else:
            self.weight = nn.Parameter(torch.empty(self.shape))
            nn.init.kaiming_uniform_(self.weight, math.sqrt(5))
        self._laid: tuple[Any, Any] | None = None
        self._unpacked: int | None = None
        self.threshold = nn.Parameter(torch.zeros(self.shape[1]))
        self.register_buffer("window", torch.ones(self.shape[1]))
        self.bias = nn.Parameter(torch.zeros(self.shape[0])) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        x = self._spread(x)
        centred = x - per_channel(self.threshold, x[0]) if self.kind != "linear" else x - self.threshold
        if self.packed and self._fast(centred):
            product = self._counted(centred)
        else:
            sign = signs(centred)
            if torch.is_grad_enabled() and centred.requires_grad:
                window = per_channel(self.window, x[0]) if self.kind != "linear" else self.window
                sign = through(torch.minimum(torch.maximum(centred, -window), window), sign)
            product = self._multiplied(sign, self._code())
        scale = self.scale if self.packed else binary_scale(self.weight)
        found = product * (scale if self.kind == "linear" else per_channel(scale, product[0]))
        if self.scale_inputs:
            found = found * self._size(centred)
        if self.bias is None:
            return found
        return found + (self.bias if self.kind == "linear" else per_channel(self.bias, product[0]))

    def _code(self) -> Tensor:
        if self.packed:
            if not (_exporting() or self.words.is_meta) and self._unpacked != self.words._version:
                self.dense = (
                    bitcount.unpacked(self.words, math.prod(self.shape[1:])).to(self.scale.dtype).view(self.shape)
                )
                self._unpacked = self.words._version
            return self.dense
        return through(self.weight.clamp(-1, 1), signs(self.weight))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self.packed:
            self._unpacked = self._laid = None
            self._code()

    def _spread(self, x: Tensor) -> Tensor:
        if self.kind == "linear":
            return x
        if x.ndim != 4:
            x = x[None]
        high, wide = self.geometry["padding"]
        return F.pad(x, (wide, wide, high, high)) if high or wide else x

    def _inner(self) -> dict[str, Any]:
        return {"stride": self.geometry["stride"], "dilation": self.geometry["dilation"]}

    def _multiplied(self, sign: Tensor, code: Tensor) -> Tensor:
        return F.linear(sign, code) if self.kind == "linear" else F.conv2d(sign, code, None, **self._inner())

    def _size(self, centred: Tensor) -> Tensor:
        if self.kind == "linear":
            return centred.abs().mean(-1, keepdim=True)
        plane = centred.abs().mean(1, keepdim=True)
        kernel = torch.full(
            (1, 1, *self.shape[2:]), 1 / math.prod(self.shape[2:]), dtype=plane.dtype, device=plane.device
        )
        return F.conv2d(plane, kernel, None, **self._inner())

    def _fast(self, x: Tensor) -> bool:
        quiet = not (torch.is_grad_enabled() and (x.requires_grad or self.training))
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and type(x.detach()) is Tensor
        return quiet and plain and not _exporting() and bitcount.available()

    def _counted(self, centred: Tensor) -> Tensor:
        centred = centred.detach()
        key = self.words._version, self.words.data_ptr()
        if self._laid is None or self._laid[0] != key:
            self._laid = key, bitcount.laid_out(self.words, self.shape)
        if self.kind == "linear":
            rows = centred.reshape(-1, self.shape[1])
            return bitcount.product(rows, self._laid[1], self.shape[0]).view(*centred.shape[:-1], self.shape[0])
        inner = self._inner()
        return bitcount.convolved(centred, self._laid[1], self.shape, inner["stride"], inner["dilation"])

    def extra_repr(self) -> str:
        return f"{self.kind}, {self.shape}{', packed' if self.packed else ''}"


# --------------------------------------------------------------------------------------------------------------
# Eight bits, as they will be rounded


class _FakeQuantized:
    """Mixed into a layer: inputs rounded to ``uint8`` by one scale and zero point, weights to int8 by one scale an
    output channel (Jacob et al. 2018). In training the weights' scales follow the weights, ``clip`` times their largest
    size (O,)."""

    input_scale: Tensor
    input_zero: Tensor
    weight_scale: Tensor
    clip: Tensor
    weight: Tensor
    training: bool

    def _ranges(self, channels: int) -> None:
        assert isinstance(self, nn.Module)
        self.register_buffer("input_scale", torch.ones(1))
        self.register_buffer("input_zero", torch.zeros(1, dtype=torch.int32))
        self.register_buffer("weight_scale", torch.ones(channels))
        self.register_buffer("clip", torch.ones(channels))

    def follow(self) -> None:
        """Set the weights' scales from the weights."""
        largest = self.weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12)
        self.weight_scale.copy_(self.clip * largest / 127)

    def _rounded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not x.is_meta:
            self.follow()
        x = torch.fake_quantize_per_tensor_affine(x, self.input_scale, self.input_zero, 0, 255)
        zeros = torch.zeros_like(self.weight_scale, dtype=torch.int32)
        return x, torch.fake_quantize_per_channel_affine(self.weight, self.weight_scale, zeros, 0, -127, 127)


class QuantizedLinear(_FakeQuantized, nn.Linear):
    """A dense layer whose inputs and weights are rounded to 8 bits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ranges(self.out_features)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(*self._rounded(input), self.bias)


class _QuantizedConv(_FakeQuantized, nn.modules.conv._ConvNd):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ranges(self.out_channels)

    def forward(self, input: Tensor) -> Tensor:
        found: Tensor = self._conv_forward(*self._rounded(input), self.bias)
        return found


class QuantizedConv1d(_QuantizedConv, nn.Conv1d):
    """A convolution along a series whose inputs and weights are rounded to 8 bits."""


class QuantizedConv2d(_QuantizedConv, nn.Conv2d):
    """A convolution over pictures whose inputs and weights are rounded to 8 bits."""
