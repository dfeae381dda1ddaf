"""Equivariance: how far shift-then-apply is from apply-then-shift, per layer and for the whole network.

A layer whose neighbouring positions lie s input pixels apart should answer an input moved by d pixels with its own map
moved by d / s. That is a whole number of positions for multiples of s only; for other d the nearest is taken, and what
is left is what the stride costs (Azulay and Weiss 2019; Zhang 2019, "Making convolutional networks shift-invariant
again", section 3).

The input is moved around in a circle. Two more numbers tell the padding at the borders, which breaks equivariance too,
from the strides: ``circular``, the error of the same network with its zero padding replaced by wrapping around, in
which only strides (and layers that know their position) are left; and ``interior``, the error of the network as it is,
at positions that see neither a border nor the seam of the circle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from netwright.errors import NetworkError
from netwright.graph.following import left_as_found, tensors
from netwright.inspection.observing import Call, Calls, place_of, saying_where
from netwright.records import Record

NOISE = 1e-4  # relative errors below it are rounding in single precision (largest seen in equivariant networks: 3e-6)
MOST_SHIFTS = 12  # along each axis, if the caller names none


class ShiftError(Record, frozen=True, kw_only=True):
    """Errors are ‖f(shifted x) − shifted f(x)‖ / ‖f(x)‖. ``moved`` is the map's own shift, ``exact`` whether that is
    pixels / stride or only the nearest to it. ``circular`` and ``interior`` are None where there is no such number."""

    axis: int  # spatial: 0 is the first behind the channels
    pixels: int
    moved: int
    exact: bool
    error: float
    circular: float | None = None
    interior: float | None = None

    @property
    def without_borders(self) -> float | None:
        """What strides and positions alone do: circular, or else interior."""
        return self.interior if self.circular is None else self.circular


class LayerEquivariance(Record, frozen=True, kw_only=True):
    """One layer that makes a map; ``stride`` in input pixels, per axis."""

    name: str
    kind: str
    size: tuple[int, ...]
    stride: tuple[float, ...]
    shifts: tuple[ShiftError, ...]

    @property
    def error(self) -> float:
        """The largest over shifts, borders included."""
        return max((shift.error for shift in self.shifts), default=0.0)

    @property
    def own(self) -> float | None:
        """The largest over shifts without the borders' part."""
        known = [shift.without_borders for shift in self.shifts if shift.without_borders is not None]
        return max(known, default=None)


class Break(Record, frozen=True, kw_only=True):
    """A layer that is not equivariant although what it reads is: by how much, for which shift, and why.

    ``stride``: the shift is no multiple of its effective stride. ``position``: it treats positions differently.
    ``border``: only its padding does, so that the error is gone without borders.
    """

    layer: str
    kind: str
    cause: Literal["stride", "position", "border"]
    axis: int
    pixels: int
    error: float


class Invariance(Record, frozen=True, kw_only=True):
    """What a shift does to an output without positions: its relative change, and the share of inputs whose largest
    entry is another one afterwards."""

    axis: int
    pixels: int
    change: float
    decisions: float


class Equivariance(Record, frozen=True, kw_only=True):
    """Per layer in the order of execution, and of the output where it has no positions.

    ``breaks`` holds, in order, every layer where equivariance is lost. ``first`` of them decides: None means that the
    maps move as the input does, up to rounding.
    """

    inputs: int
    layers: tuple[LayerEquivariance, ...]
    output: tuple[Invariance, ...]
    breaks: tuple[Break, ...]
    noise: float = NOISE

    @property
    def first(self) -> Break | None:
        """The first layer that breaks equivariance by stride or position; else the first border; else None."""
        return next((each for each in self.breaks if each.cause != "border"), next(iter(self.breaks), None))


class _Grid(NamedTuple):
    """Where a map's positions look: per axis stride, first pixel of position 0 and pixels that one sees (None: all)."""

    stride: tuple[float, ...]
    start: tuple[float | None, ...]
    size: tuple[float, ...]


class _Seen(NamedTuple):
    kind: str
    grid: _Grid
    before: tuple[int, ...]  # numbers of the calls that made what it reads
    output: Tensor


def equivariance(
    network: nn.Module, inputs: Tensor, *, shifts: Sequence[int] | None = None, noise: float = NOISE
) -> Equivariance:
    """How the maps of ``network`` follow a shift of real ``inputs`` (N, C, *size), in evaluation mode.

    ``shifts`` in pixels, along each spatial axis; left out, 1 to the network's stride where that is small, else 1, 2, 3
    and the strides of its layers. Layers are followed as far as their output has the input's axes.

    Cost: two passes a shift and axis, and all maps of one pass in memory twice. The network is left as found. Raises
    ``NetworkError`` where it does not run or has no map.
    """
    device, dtype = place_of(network)
    x = inputs.detach().to(device, dtype)
    rank = x.dim() - 2
    if rank < 1:
        raise NetworkError("equivariance", f"inputs of shape {tuple(x.shape)}", "maps: (N, C, *size)")
    sizes = tuple(x.shape[2:])
    with left_as_found(network, training=False, buffers=True), saying_where(network), torch.no_grad():
        base = _Run(network, x, rank, circular=False)
        maps = base.maps
        if not maps:
            raise NetworkError(type(network).__name__, "no layer that makes a map", "a convolutional network")
        chosen = _shifts(shifts, maps, sizes)
        errors: dict[int, list[ShiftError]] = {number: [] for number in maps}
        invariances: list[Invariance] = []
        wrapped = _Run(network, x, rank, circular=True)
        wraps: dict[int, list[bool]] = {}
        for number, seen in maps.items():
            wraps[number] = [
                _wraps(seen, sizes, axis)
                and (seen.output.shape[2 + axis] > 1 or all(wraps[before][axis] for before in seen.before))
                for axis in range(rank)
            ]
        for axis in range(rank):
            for pixels in chosen:
                if not 0 < pixels < sizes[axis]:
                    continue
                moved = torch.roll(x, pixels, 2 + axis)
                plain = base.compared(moved, axis, pixels)
                around = wrapped.compared(moved, axis, pixels)
                for number, seen in maps.items():
                    if number in plain:
                        circular = around[number][0] if wraps[number][axis] and number in around else None
                        errors[number].append(_shift_error(seen, axis, pixels, plain[number], circular))
                invariances += base.invariance(axis, pixels)
    layers = tuple(
        LayerEquivariance(
            name=base.names[number], kind=seen.kind, size=tuple(seen.output.shape[2:]), stride=seen.grid.stride,
            shifts=tuple(errors[number]),
        )
        for number, seen in maps.items()
    )  # fmt: skip
    breaks = _breaks(dict(zip(maps, layers, strict=True)), maps, noise)
    return Equivariance(inputs=len(x), layers=layers, output=tuple(invariances), breaks=tuple(breaks), noise=noise)


def _shift_error(
    seen: _Seen, axis: int, pixels: int, plain: tuple[float, float | None], circular: float | None
) -> ShiftError:
    moved, exact = _moved(seen.grid.stride[axis], pixels, seen.output.shape[2 + axis])
    return ShiftError(
        axis=axis, pixels=pixels, moved=moved, exact=exact, error=plain[0], circular=circular, interior=plain[1]
    )


def _moved(stride: float, pixels: int, size: int) -> tuple[int, bool]:
    """By how many positions a map moves, and whether that is exact. One position alone stands for the whole input."""
    if size == 1:
        return 0, True
    positions = pixels / stride
    return math.floor(positions + 0.5), abs(positions - round(positions)) < 1e-9


def _wraps(seen: _Seen, sizes: tuple[int, ...], axis: int) -> bool:
    """Whether the map is a circle too: its positions cover the input's axis exactly once."""
    size = seen.output.shape[2 + axis]
    return size == 1 or abs(size * seen.grid.stride[axis] - sizes[axis]) < 1e-6


def _shifts(shifts: Sequence[int] | None, maps: dict[int, _Seen], sizes: tuple[int, ...]) -> list[int]:
    if shifts is not None:
        return sorted({int(shift) for shift in shifts})
    strides = {
        math.ceil(stride)
        for seen in maps.values()
        for stride, size in zip(seen.grid.stride, seen.output.shape[2:], strict=True)
        if size > 1 and stride >= 1
    }
    total = max(strides, default=1)
    if total <= MOST_SHIFTS:
        return list(range(1, total + 1))
    return sorted({1, 2, 3, *strides})[:MOST_SHIFTS]


def followed_maps(network: nn.Module, x: Tensor) -> dict[str, int]:
    """Name → number of each call whose output lies over the input's axes, with more than one position."""
    with torch.no_grad():
        run = _Run(network, x, x.dim() - 2, circular=False)
    return {run.names[number]: number for number, seen in run.maps.items() if max(seen.output.shape[2:]) > 1}


# --------------------------------------------------------------------------------------------------------------
# Running


class _Run:
    """The network on inputs, its maps kept; ``compared`` runs it again on moved ones."""

    def __init__(self, network: nn.Module, x: Tensor, rank: int, *, circular: bool) -> None:
        self.network, self.rank, self.sizes, self.circular = network, rank, tuple(x.shape[2:]), circular
        self.maps: dict[int, _Seen] = {}
        x = x.clone()  # a network may write into its input
        grids: Any = WeakIdKeyDictionary()
        makers: Any = WeakIdKeyDictionary()
        grids[x] = _Grid((1.0,) * rank, (0.0,) * rank, (1.0,) * rank)

        def seen(call: Call) -> None:
            known = [grids[tensor] for tensor in call.inputs if tensor in grids]
            before = tuple(dict.fromkeys(number for t in call.inputs for number in makers.get(t, ())))
            for output in call.outputs:
                grid = self._grid(call, output, known, [t for t in call.inputs if t in grids]) if known else None
                if grid is None:
                    grids.pop(output, None)
                    continue
                grids[output] = grid
                if output.is_floating_point():
                    makers[output] = (call.number,) if output.dim() == rank + 2 else before
            first = call.outputs[0]
            if first in grids and first.is_floating_point() and first.dim() == rank + 2:
                self.maps[call.number] = _Seen(call.kind, grids[first], before, first.clone())

        calls = Calls(network, [x], seen, _around if circular else None)
        with calls.watching():
            result = network(x)
        self.names = calls.names()
        self.result = next((t.clone() for t in tensors(result) if t.is_floating_point()), None)
        self.moved_result: Tensor | None = None

    def compared(self, x: Tensor, axis: int, pixels: int) -> dict[int, tuple[float, float | None]]:
        """Number of a call → its relative error on all positions, and on the interior ones."""
        found: dict[int, tuple[float, float | None]] = {}
        x = x.clone()

        def seen(call: Call) -> None:
            kept = self.maps.get(call.number)
            if kept is not None and call.outputs[0].shape == kept.output.shape:
                found[call.number] = self._errors(kept, call.outputs[0], axis, pixels)

        with Calls(self.network, [x], seen, _around if self.circular else None).watching():
            result = self.network(x)
        self.moved_result = next((t for t in tensors(result) if t.is_floating_point()), None)
        return found

    def _errors(self, kept: _Seen, output: Tensor, axis: int, pixels: int) -> tuple[float, float | None]:
        dimension = 2 + axis
        size = output.shape[dimension]
        moved, _ = _moved(kept.grid.stride[axis], pixels, size)
        if _wraps(kept, self.sizes, axis):
            whole = _relative(output, torch.roll(kept.output, moved, dimension), kept.output)
        elif moved >= size:
            return 0.0, None  # nothing of the map is left in it
        else:
            before, after = (
                kept.output.narrow(dimension, 0, size - moved),
                output.narrow(dimension, moved, size - moved),
            )
            whole = _relative(after, before, before)
        if self.circular or size == 1:
            return whole, None
        start, stride, width = kept.grid.start[axis], kept.grid.stride[axis], kept.grid.size[axis]
        if start is None:
            return whole, None
        # Position i sees the pixels start + i·stride … + width − 1; the one that it is compared with must lie between
        # the seam, at ``pixels``, and the border.
        first, last = max(0.0, pixels - moved * stride), self.sizes[axis] - width - max(pixels, moved * stride)
        inside = [i for i in range(size - moved) if first <= start + i * stride <= last]
        if not inside:
            return whole, None
        # The borders along other axes are the same in both.
        before = kept.output.narrow(dimension, inside[0], len(inside))
        after = output.narrow(dimension, inside[0] + moved, len(inside))
        return whole, _relative(after, before, before)

    def invariance(self, axis: int, pixels: int) -> list[Invariance]:
        """What the last comparison did to an output without positions."""
        before, after = self.result, self.moved_result
        if before is None or after is None or before.shape != after.shape or before.dim() != 2:
            return []
        changed = float((before.argmax(1) != after.argmax(1)).double().mean())
        return [Invariance(axis=axis, pixels=pixels, change=_relative(after, before, before), decisions=changed)]

    def _grid(self, call: Call, output: Tensor, known: list[_Grid], inputs: list[Tensor]) -> _Grid | None:
        """The grid of an output, from those of its inputs; None for what is no map over the input's axes."""
        if output.dim() < self.rank + 2:
            return None
        attributes, kind = call.attributes, call.kind
        grid, source = known[0], inputs[0]
        if "kernel" in attributes and "stride" in attributes and len(attributes["kernel"]) == self.rank:
            dilation = attributes.get("dilation", (1,) * self.rank)
            if kind.startswith("conv_transpose"):
                stride = tuple(a / b for a, b in zip(grid.stride, attributes["stride"], strict=True))
                return _Grid(stride, (None,) * self.rank, (math.inf,) * self.rank)
            return _Grid(
                tuple(a * b for a, b in zip(grid.stride, attributes["stride"], strict=True)),
                tuple(
                    None if start is None else start - before * stride
                    for start, (before, _), stride in zip(grid.start, attributes["padding"], grid.stride, strict=True)
                ),
                tuple(
                    size + d * (k - 1) * stride
                    for size, d, k, stride in zip(grid.size, dilation, attributes["kernel"], grid.stride, strict=True)
                ),
            )
        if kind == "pad":
            pads = attributes["padding"][-self.rank :]
            return grid._replace(
                start=tuple(
                    None if start is None else start - before * stride
                    for start, (before, _), stride in zip(grid.start, pads, grid.stride, strict=True)
                )
            )
        axes = range(source.dim() - self.rank, source.dim())  # of the positions: always the last ones
        same_size = source.shape[-self.rank :] == output.shape[-self.rank :]
        if kind == "reshape":
            return grid if same_size else None
        if kind == "permute":
            return grid if tuple(attributes["order"][-self.rank :]) == tuple(axes) else None
        if kind in ("split", "unbind", "stack"):
            return grid if same_size and attributes.get("axis", 0) < output.dim() - self.rank else None
        if kind in ("matmul", "linear", "attention", "einsum", "index"):
            return None
        same = [
            (g, t) for g, t in zip(known, inputs, strict=True) if t.shape[-self.rank :] == output.shape[-self.rank :]
        ]
        if same and kind != "slice":
            grids = [g for g, _ in same]
            strides = {g.stride for g in grids}
            whole = kind in ("group_norm", "instance_norm", "layer_norm")
            whole = whole or (kind != "reduce" and bool(set(axes) & set(attributes.get("axes", ()))))
            if whole or len(strides) > 1 or len(grids) < len(known):  # reads the whole map, or paths that do not fit
                return _Grid(grids[0].stride, (None,) * self.rank, (math.inf,) * self.rank)
            return _joined(grids)
        if kind == "slice" and all(step > 0 for step in attributes["steps"]) and not attributes["removed"]:
            steps, starts = attributes["steps"][-self.rank :], attributes["starts"][-self.rank :]
            if len(attributes["steps"]) == self.rank + 2 and not attributes["added"]:
                return _Grid(
                    tuple(a * b for a, b in zip(grid.stride, steps, strict=True)),
                    tuple(
                        None if a is None else a + b * c
                        for a, b, c in zip(grid.start, starts, grid.stride, strict=True)
                    ),
                    grid.size,
                )
        if kind.startswith("adaptive_") or kind in ("upsample", "reduce", "pixel_shuffle", "pixel_unshuffle"):
            stride = tuple(
                g * a / b
                for g, a, b in zip(grid.stride, source.shape[-self.rank :], output.shape[-self.rank :], strict=True)
            )
            return _Grid(stride, (None,) * self.rank, (math.inf,) * self.rank)
        return None


def _joined(grids: list[_Grid]) -> _Grid:
    """The hull of paths with the same strides."""
    starts: list[float | None] = []
    widths: list[float] = []
    for axis in range(len(grids[0].stride)):
        each = [(grid.start[axis], grid.size[axis]) for grid in grids]
        known = [(start, start + size) for start, size in each if start is not None]
        if len(known) < len(each):
            starts.append(None)
            widths.append(math.inf)
            continue
        first = min(start for start, _ in known)
        starts.append(first)
        widths.append(max(end for _, end in known) - first)
    return _Grid(grids[0].stride, tuple(starts), tuple(widths))


def _relative(value: Tensor, expected: Tensor, scale: Tensor) -> float:
    norm = float(torch.linalg.vector_norm(scale, dtype=torch.float64))
    difference = float(torch.linalg.vector_norm(value - expected, dtype=torch.float64))
    return difference / norm if norm else math.inf if difference else 0.0


# --------------------------------------------------------------------------------------------------------------
# Wrapping around in place of padding


def _around(
    kind: str, attributes: dict[str, Any], function: Any, args: Sequence[Any], kwargs: dict[str, Any], result: Any
) -> Any:
    """The result of a call with wrapping around in place of its padding; the same shape."""
    if not args or not isinstance(args[0], Tensor) or not isinstance(result, Tensor):
        return result
    x: Tensor = args[0]
    if kind == "pad" and attributes.get("mode") in ("constant", "reflect", "replicate"):
        pads = attributes["padding"]
        if any(pair != (0, 0) for pair in pads[:2]):
            return result  # new channels, not a border
        return _wrapped(x, pads[2:])
    if kind == "upsample" and attributes["mode"] in ("bilinear", "linear", "trilinear", "bicubic"):
        return _upsampled(x, attributes, result)
    if "kernel" not in attributes or "padding" not in attributes:
        return result
    rank = len(attributes["kernel"])
    if x.dim() != rank + 2:
        return result
    if kind.startswith("conv_transpose"):
        return _transposed(x, attributes, args, kwargs, result, rank)
    dilation = attributes.get("dilation", (1,) * rank)
    pads = tuple(
        (before, (out - 1) * stride + d * (k - 1) + 1 - size - before)
        for (before, _), out, stride, d, k, size in zip(
            attributes["padding"], result.shape[2:], attributes["stride"], dilation, attributes["kernel"], x.shape[2:],
            strict=True,
        )
    )  # fmt: skip
    if all(before == 0 and after <= 0 for before, after in pads):
        return result
    x = _wrapped(x, tuple((before, max(after, 0)) for before, after in pads))
    if kind.startswith("conv"):
        weight, bias = _argument(args, kwargs, 1, "weight"), _argument(args, kwargs, 2, "bias")
        convolve: Any = getattr(F, kind)
        return convolve(x, weight, bias, attributes["stride"], 0, dilation, attributes["groups"])
    if kind.startswith(("max_pool", "avg_pool")):
        pool: Any = getattr(F, kind)
        more = {"dilation": dilation} if kind.startswith("max") else {}
        return pool(x, attributes["kernel"], attributes["stride"], 0, **more)
    return result


def _argument(args: Sequence[Any], kwargs: dict[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _wrapped(x: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    """As circular padding, however wide; negative pads crop."""
    for axis, (before, after) in enumerate(pads):
        if before or after:
            size = x.shape[2 + axis]
            places = torch.arange(-before, size + after, device=x.device) % size
            x = x.index_select(2 + axis, places)
    return x


def _transposed(
    x: Tensor, attributes: dict[str, Any], args: Sequence[Any], kwargs: dict[str, Any], result: Tensor, rank: int
) -> Tensor:
    """Output o lies at i·s − p + d·j: of an input that is longer by m on both sides it is found at o + p + m·s."""
    margins = [
        -(-d * (k - 1) // s) + 1
        for d, k, s in zip(attributes["dilation"], attributes["kernel"], attributes["stride"], strict=True)
    ]
    weight, bias = _argument(args, kwargs, 1, "weight"), _argument(args, kwargs, 2, "bias")
    convolve: Any = getattr(F, f"conv_transpose{rank}d")
    wide: Tensor = convolve(
        _wrapped(x, [(m, m) for m in margins]), weight, bias, attributes["stride"], 0, 0, attributes["groups"],
        attributes["dilation"],
    )  # fmt: skip
    for axis in range(rank):
        first = attributes["padding"][axis][0] + margins[axis] * attributes["stride"][axis]
        wide = wide.narrow(2 + axis, first, result.shape[2 + axis])
    return wide


def _upsampled(x: Tensor, attributes: dict[str, Any], result: Tensor) -> Tensor:
    """Interpolation clamps at the borders; of an input that is longer on both sides the middle is kept."""
    factors = [b / a for a, b in zip(x.shape[2:], result.shape[2:], strict=True)]
    if attributes["align_corners"] or any(factor != int(factor) for factor in factors):
        return result
    rank, margin = len(factors), 3
    wide = F.interpolate(
        _wrapped(x, [(margin, margin)] * rank),
        size=tuple(int((size + 2 * margin) * f) for size, f in zip(x.shape[2:], factors, strict=True)),
        mode=attributes["mode"], align_corners=False,
    )  # fmt: skip
    for axis in range(rank):
        wide = wide.narrow(2 + axis, int(margin * factors[axis]), result.shape[2 + axis])
    return wide


# --------------------------------------------------------------------------------------------------------------
# Concluding


def _breaks(layers: dict[int, LayerEquivariance], maps: dict[int, _Seen], noise: float) -> list[Break]:
    """Layers that answer a shift wrongly although everything that they read answers it rightly."""
    found = []
    for number, layer in layers.items():
        sources = [layers[before] for before in maps[number].before if before in layers]
        own = [
            (shift.without_borders, shift)
            for place, shift in enumerate(layer.shifts)
            if shift.without_borders is not None
            and shift.without_borders > noise
            and all(_right(source.shifts[place], noise) for source in sources)
        ]
        if own:
            error, shift = max(own, key=lambda pair: pair[0])
            cause: Literal["stride", "position"] = "position" if shift.exact else "stride"
        else:
            border = [
                (shift.error, shift)
                for place, shift in enumerate(layer.shifts)
                if shift.error > noise
                and shift.without_borders is not None
                and shift.without_borders <= noise
                and all(source.shifts[place].error <= noise for source in sources)
            ]
            if not border:
                continue
            error, shift = max(border, key=lambda pair: pair[0])
            found.append(
                Break(
                    layer=layer.name, kind=layer.kind, cause="border", axis=shift.axis, pixels=shift.pixels, error=error
                )
            )
            continue
        found.append(
            Break(layer=layer.name, kind=layer.kind, cause=cause, axis=shift.axis, pixels=shift.pixels, error=error)
        )
    return found


def _right(shift: ShiftError, noise: float) -> bool:
    """Whether a map answers a shift rightly, as far as is known."""
    return (shift.error if shift.without_borders is None else shift.without_borders) <= noise
