"""The effective receptive field: how much each input pixel really moves the central position of a map.

Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", section 3.2: a
gradient of 1 is put at the central position of every channel and propagated back to the input, over many inputs. The
theoretical field bounds where that gradient can be; most of it lies in a smaller, Gaussian-shaped blob.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from netwright.errors import NetworkError, unknown_name
from netwright.graph.following import left_as_found
from netwright.inspection.equivariance import followed_maps
from netwright.inspection.observing import Call, Calls, place_of, saying_where
from netwright.records import Record

THRESHOLD = 1 - 0.9545  # Luo et al. 2016: a pixel belongs to the field above this share of the largest value (2 σ)


Theoretical = Sequence[int | None] | Callable[[str], Sequence[int | None]]


class EffectiveField(Record, frozen=True, kw_only=True):
    """The map and its size. ``values`` is a float64 array over the input's spatial axes whose largest value is 1 (all
    zero where nothing reaches ``layer``); ``size`` is that of a square (cube) with as many pixels as lie above
    ``THRESHOLD``. Per axis: ``deviation``, the standard deviation of the map read as a distribution, and ``support``,
    the pixels between the first and the last that have any influence at all."""

    layer: str
    position: tuple[int, ...]  # of the map, per axis
    map_size: tuple[int, ...]
    samples: int
    pixels: int  # above the threshold
    size: float
    centre: tuple[float, ...]  # of mass, in pixels
    deviation: tuple[float, ...]
    support: tuple[int, ...]
    theoretical: tuple[int, ...] | None = None
    share: float | None = None  # size / geometric mean of the theoretical size, cut at the input's borders
    threshold: float = THRESHOLD
    values: Any = msgspec.field(default_factory=lambda: np.zeros(()))

    def picture(self) -> np.ndarray:
        """The map as ``uint8``, linear, 255 at the largest; a map along one axis as a strip, of a volume its middle."""
        values = np.asarray(self.values, np.float64)
        while values.ndim > 2:
            values = values[values.shape[0] // 2]
        return np.rint(np.atleast_2d(values) * 255).astype(np.uint8)


class _Reached(Exception):
    """The map is there: what comes after it need not be computed."""


def effective_field(
    network: nn.Module,
    example: Tensor | Sequence[int],
    *,
    layer: str = "",
    theoretical: Theoretical | None = None,
    samples: int = 16,
    batch: int = 4,
    seed: int = 0,
) -> EffectiveField:
    """The effective field of the central position of a map of ``network``, in evaluation mode.

    ``example`` is a shape (C, *size), for which ``samples`` inputs are drawn from a standard normal distribution with
    ``seed``, or a batch of real inputs (N, C, *size). ``layer`` is an operation of the graph by name; left out, the
    last map over the input's axes with more than one position. The field is the mean over inputs and input channels of
    the absolute gradient of the sum over the layer's channels. ``theoretical``, that field's size per axis or a
    function that tells it by the layer's name, is what the effective one is compared with.

    Cost: a forward and a backward pass an input, up to that layer. The network is left as found, its gradients too.
    Raises ``UsageError`` for an unknown layer, ``NetworkError`` where there is no map or it does not run.
    """
    device, dtype = place_of(network)
    if isinstance(example, Tensor):
        inputs = example.detach().to(device, dtype)
    else:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn((samples, *example), generator=generator).to(device, dtype)
    rank = inputs.dim() - 2
    if rank < 1:
        raise NetworkError("the effective field", f"inputs of shape {tuple(inputs.shape)}", "maps: (N, C, *size)")
    with left_as_found(network, training=False, buffers=True), saying_where(network), torch.enable_grad():
        number, name = _target(network, inputs[:1], rank, layer)
        total = torch.zeros(inputs.shape[2:], dtype=torch.float64)
        position: tuple[int, ...] = ()
        size: tuple[int, ...] = ()
        for part in inputs.split(batch):
            gradient, position, size = _gradient(network, part, number, name)
            total += gradient.detach().abs().double().sum((0, 1)).cpu()
    expected = theoretical(name) if callable(theoretical) else theoretical
    return _measured(name, position, size, len(inputs), total.numpy(), expected)


def _target(network: nn.Module, one: Tensor, rank: int, layer: str) -> tuple[int, str]:
    """The number and the name of the call whose output is asked for."""
    maps: list[int] = []

    def seen(call: Call) -> None:
        shape = call.outputs[0].shape
        if len(shape) == rank + 2 and call.outputs[0].is_floating_point() and max(shape[2:]) > 1:
            maps.append(call.number)

    watched = Calls(network, [one], seen)
    with torch.no_grad(), watched.watching():
        network(one)
    names = watched.names()
    found = {names[number]: number for number in maps}
    if not layer:
        found = followed_maps(network, one)
    if layer and layer not in found:
        if layer in names:
            raise NetworkError(layer, "an output without positions", "a layer that makes a map", "an earlier layer")
        raise unknown_name("layer", layer, found)
    if not found:
        raise NetworkError(type(network).__name__, "no layer that makes a map", "a convolutional network")
    name = layer or max(found, key=found.__getitem__)
    return found[name], name


def _gradient(
    network: nn.Module, part: Tensor, number: int, name: str
) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    inputs = part.clone().requires_grad_()
    start = inputs.clone()  # a network may write into its input
    reached: list[tuple[Tensor, tuple[int, ...], tuple[int, ...]]] = []

    def seen(call: Call) -> None:
        if call.number == number:
            size = tuple(call.outputs[0].shape[2:])
            position = tuple(length // 2 for length in size)
            # summed before the next layer may write into the map
            middle: Any = (..., *position)
            reached.append((call.outputs[0][middle].sum(), position, size))
            raise _Reached

    try:
        with Calls(network, [start], seen).watching():
            network(start)
    except _Reached:
        pass
    if not reached:
        raise NetworkError(name, "a network that took another way on another input", "the same layers each time")
    value, position, size = reached[0]
    found = torch.autograd.grad(value, inputs, allow_unused=True)[0] if value.requires_grad else None
    return (torch.zeros_like(inputs) if found is None else found), position, size


def _measured(
    name: str,
    position: tuple[int, ...],
    size: tuple[int, ...],
    samples: int,
    total: np.ndarray,
    theoretical: Sequence[int | None] | None,
) -> EffectiveField:
    largest = float(total.max())
    values = total / largest if largest > 0 else total
    pixels = int((values > THRESHOLD).sum()) if largest > 0 else 0
    effective = pixels ** (1 / values.ndim)
    centre, deviation, support = [], [], []
    for axis in range(values.ndim):
        profile = values.sum(tuple(other for other in range(values.ndim) if other != axis))
        places = np.arange(len(profile))
        mass = float(profile.sum()) or 1.0
        middle = float((profile * places).sum()) / mass
        centre.append(middle)
        deviation.append(float(np.sqrt((profile * (places - middle) ** 2).sum() / mass)))
        reached = np.flatnonzero(profile)
        support.append(int(reached[-1] - reached[0] + 1) if len(reached) else 0)
    share = None
    known = tuple(size for size in theoretical or () if size is not None)
    if len(known) == values.ndim:
        within = [min(a, b) for a, b in zip(known, values.shape, strict=True)]
        share = effective / float(np.prod(within)) ** (1 / values.ndim)
    return EffectiveField(
        layer=name, position=position, map_size=size, samples=samples, pixels=pixels, size=effective,
        centre=tuple(centre), deviation=tuple(deviation), support=tuple(support),
        theoretical=known if len(known) == values.ndim else None, share=share, values=values,
    )  # fmt: skip
