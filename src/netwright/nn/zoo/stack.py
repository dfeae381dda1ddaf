"""A network as a list of layers in words: every layer, activation and norm by its name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from netwright.errors import NetworkError, nearest
from netwright.nn import activations, norms
from netwright.nn.layers.convolution import Factorized2d, LocallyConnected2d, Separable2d, Tiled2d
from netwright.nn.layers.cosine import CosineConv1d, CosineConv2d, CosineLinear
from netwright.nn.layers.maxout import MaxoutLinear
from netwright.nn.layers.noise import GaussianNoise
from netwright.nn.layers.radial import Radial

Shape = tuple[int, ...]


class Stack(nn.Module):
    """(N, ...) → (N, outputs): layers in words, ``conv=16:kernel=3``, ``batch``, ``relu``, ``dense=64``.

    A word is a layer, an activation or a norm (`netwright list layers`), with its main number and further arguments;
    a dense layer makes the outputs of what comes last. A bias before a norm is left out. Without layers it is a linear
    model. Raises ``NetworkError`` that names the word where one does not fit.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, layers: Sequence[str] = ()) -> None:
        super().__init__()
        words = [layers] if isinstance(layers, str) else list(layers)
        built: list[nn.Module] = []
        shape: Shape = tuple(input_shape)
        for number, word in enumerate(words):
            following = str(words[number + 1]).partition("=")[0] if number + 1 < len(words) else ""
            where = f"stack: layers[{number}], {word}"
            part = _parsed(word, where)
            if part.name in FLAT and len(shape) > 1:
                built.append(nn.Flatten())
                shape = (math.prod(shape),)
            made = _made(part, shape, following not in norms.NORMS, where)
            built.append(made)
            shape = _after(made, shape, where)
        if len(shape) > 1:
            built.append(nn.Flatten())
        built.append(nn.Linear(math.prod(shape), outputs))
        self.layers = nn.Sequential(*built)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


class Word(NamedTuple):
    """``main`` is the number behind the first ``=``."""

    name: str
    main: Any
    options: dict[str, Any]


def _parsed(word: object, where: str) -> Word:
    first, *rest = str(word).strip().split(":")
    name, equals, main = first.partition("=")
    known = [*LAYERS, *activations.ACTIVATIONS, *norms.NORMS[:4]]
    if name not in known:
        raise NetworkError(
            where, repr(name), "a layer, an activation or a norm", nearest(name, known) or "netwright list layers"
        )
    options = {}
    for piece in rest:
        key, assigned, value = piece.partition("=")
        if not assigned:
            raise NetworkError(where, repr(piece), "argument=value", f"{name}:{piece}=VALUE")
        options[key.strip()] = _value(value)
    number = _value(main) if equals else None
    if isinstance(number, str):
        raise NetworkError(where, f"{main!r} behind {name}=", "a number", f"{name}=16:argument=value for anything more")
    return Word(name, number, options)


def _value(text: str) -> Any:
    words = {"true": True, "false": False}
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return words.get(text.lower(), text)


def _made(part: Word, shape: Shape, bias: bool, where: str) -> nn.Module:
    if part.name in LAYERS:
        build, takes_main = LAYERS[part.name]
        options = dict(part.options)
        if takes_main:
            if part.main is None:
                raise NetworkError(where, "no number", f"{part.name}=NUMBER", f"{part.name}=16")
            options[takes_main] = part.main
        elif part.main is not None:
            raise NetworkError(where, f"the number {part.main}", f"{part.name} alone", part.name)
        takes = inspect.signature(build).parameters
        if "bias" in takes:
            options.setdefault("bias", bias)
        for key in options:
            if key not in takes or key == "shape":
                names = ", ".join(name for name in takes if name != "shape")
                raise NetworkError(where, f"an argument {key!r}", names, nearest(key, takes) or part.name)
        try:
            return build(shape, **options)
        except NetworkError as error:
            raise NetworkError(where, error.got, error.expected, error.suggestion) from error
        except (TypeError, ValueError, RuntimeError) as error:
            raise NetworkError(where, f"{error}, behind a shape {shape}", "arguments that fit") from error
    if part.name == "maxout" or part.main is None:
        if part.options:
            raise NetworkError(where, f"an argument {next(iter(part.options))!r}", f"{part.name} alone", part.name)
        if part.name in norms.NORMS:
            kind, arguments = norms.fitting(part.name, (1, *shape), where=where)
            return NORM_KINDS[kind](**arguments)
        return activations.Maxout(part.main or 2) if part.name == "maxout" else activations.activation(part.name)
    if part.name == "group":
        kind, arguments = norms.fitting("group", (1, *shape), groups=part.main, where=where)
        return NORM_KINDS[kind](**arguments)
    raise NetworkError(where, f"the number {part.main}", f"{part.name} alone", part.name)


NORM_KINDS: dict[str, Callable[..., nn.Module]] = {
    "LayerNorm": nn.LayerNorm,
    "GroupNorm": nn.GroupNorm,
    "BatchNorm1d": nn.BatchNorm1d,
    "BatchNorm2d": nn.BatchNorm2d,
    "BatchNorm3d": nn.BatchNorm3d,
    "InstanceNorm1d": nn.InstanceNorm1d,
    "InstanceNorm2d": nn.InstanceNorm2d,
    "InstanceNorm3d": nn.InstanceNorm3d,
}


def _after(made: nn.Module, shape: Shape, where: str) -> Shape:
    mode = made.training
    try:
        with torch.no_grad():
            return tuple(made.eval()(torch.zeros(1, *shape)).shape[1:])
    except NetworkError as error:
        raise NetworkError(where, error.got, error.expected, error.suggestion) from error
    except Exception as error:  # whatever PyTorch says of the shape
        raise NetworkError(where, f"a shape {shape} that does not fit ({error})", "another layer before") from error
    finally:
        made.train(mode)


def _axes(shape: Shape, where: str, only: int = 0) -> int:
    """1 for a series (C, L), 2 for maps (C, H, W)."""
    axes = len(shape) - 1
    if axes not in (1, 2) or (only and axes != only):
        expected = "(C, H, W)" if only == 2 else "(C, L) or (C, H, W)"
        raise NetworkError(where, f"a shape {shape}", expected, "dense=64")
    return axes


def _conv(
    shape: Shape, channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1, bias: bool = True
) -> nn.Module:
    kind = (nn.Conv1d, nn.Conv2d)[_axes(shape, "conv") - 1]
    if groups < 1 or shape[0] % groups or channels % groups:
        raise NetworkError(
            "conv", f"{groups} groups over {shape[0]} channels in and {channels} out", "a number that divides both",
            f"groups={math.gcd(shape[0], channels)}",
        )  # fmt: skip
    return kind(shape[0], channels, kernel, stride, dilation * (kernel - 1) // 2, dilation, groups, bias)


def _depthwise(shape: Shape, kernel: int = 3, stride: int = 1, dilation: int = 1, bias: bool = True) -> nn.Module:
    return _conv(shape, shape[0], kernel, stride, dilation, shape[0], bias)


def _transposed(shape: Shape, channels: int, kernel: int = 2, stride: int = 2, bias: bool = True) -> nn.Module:
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d)[_axes(shape, "transposed") - 1]
    return kind(shape[0], channels, kernel, stride, bias=bias)


def _cosine_conv(shape: Shape, channels: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    kind = (CosineConv1d, CosineConv2d)[_axes(shape, "cosine-conv") - 1]
    return kind(shape[0], channels, kernel, stride, kernel // 2, bias=False)


def _local(shape: Shape, channels: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    _axes(shape, "local", 2)
    return LocallyConnected2d(shape[0], channels, (shape[1], shape[2]), kernel, stride, bias=bias)


def _tiled(shape: Shape, channels: int, kernel: int = 3, tile: int = 2, bias: bool = True) -> nn.Module:
    _axes(shape, "tiled", 2)
    return Tiled2d(shape[0], channels, kernel, tile, bias)


def _separable(
    shape: Shape, channels: int, kernel: int = 3, stride: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Module:
    _axes(shape, "separable", 2)
    return Separable2d(shape[0], channels, kernel, stride, dilation, bias)


def _factorized(shape: Shape, channels: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    _axes(shape, "factorized", 2)
    return Factorized2d(shape[0], channels, kernel, stride, bias)


def _max_pool(shape: Shape, size: int, stride: int = 0, ceil: bool = False) -> nn.Module:
    kind = (nn.MaxPool1d, nn.MaxPool2d)[_axes(shape, "max-pool") - 1]
    return kind(size, stride or size, ceil_mode=ceil)


def _avg_pool(shape: Shape, size: int, stride: int = 0, ceil: bool = False) -> nn.Module:
    kind = (nn.AvgPool1d, nn.AvgPool2d)[_axes(shape, "avg-pool") - 1]
    return kind(size, stride or size, ceil_mode=ceil, count_include_pad=False)


def _weight_norm(shape: Shape, units: int) -> nn.Module:
    layer: nn.Module = nn.utils.parametrizations.weight_norm(nn.Linear(shape[0], units))
    return layer


# Name → how it is built behind a shape (without the batch), and which argument its number is.
LAYERS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "dense": (lambda shape, units, bias=True: nn.Linear(shape[0], units, bias), "units"),
    "conv": (_conv, "channels"),
    "depthwise": (_depthwise, ""),
    "separable": (_separable, "channels"),
    "factorized": (_factorized, "channels"),
    "transposed": (_transposed, "channels"),
    "local": (_local, "channels"),
    "tiled": (_tiled, "channels"),
    "max-pool": (_max_pool, "size"),
    "avg-pool": (_avg_pool, "size"),
    "global-avg": (lambda shape: (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[_axes(shape, "global-avg") - 1](1), ""),
    "global-max": (lambda shape: (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)[_axes(shape, "global-max") - 1](1), ""),
    "maxout-dense": (lambda shape, units, pieces=2, bias=True: MaxoutLinear(shape[0], units, pieces, bias), "units"),
    "radial": (lambda shape, units, normalised=False: Radial(shape[0], units, normalised), "units"),
    "cosine-dense": (lambda shape, units: CosineLinear(shape[0], units), "units"),
    "cosine-conv": (_cosine_conv, "channels"),
    "weight-norm-dense": (_weight_norm, "units"),
    "dropout": (lambda shape, share: nn.Dropout(share), "share"),
    "noise": (lambda shape, deviation: GaussianNoise(deviation), "deviation"),
    "flatten": (lambda shape: nn.Flatten(), ""),
}
FLAT = ("dense", "maxout-dense", "radial", "cosine-dense", "weight-norm-dense")
