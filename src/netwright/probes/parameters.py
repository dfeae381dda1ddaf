"""Gradients, weights and steps, by layer, from a part of the entries of every parameter.

Every parameter gives at most ``ENTRIES`` entries, always the same ones, so a step needs no copy of the weights: the
entries before it, after it and of the gradient are compared. Sums over the part are scaled up to the whole. Cost: about
fifteen operations on the parts together, and one norm of every gradient.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from netwright.probes import readings

SPREAD_UNITS, SPREAD_INPUTS = 64, 256  # of a weight: how far units differ


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One trained parameter of the network, and the layer that it belongs to."""

    name: str
    layer: str
    tensor: Tensor


@dataclasses.dataclass
class Parts:
    """Entries of all parameters one after another, (N,), and how many are of each; ``present``: those that have any."""

    flat: Tensor
    sizes: list[int]
    present: list[bool]


def weights(parameters: Sequence[Parameter]) -> Parts:
    return _parts([parameter.tensor for parameter in parameters])


def gradients(parameters: Sequence[Parameter], scale: Tensor | float | None = None) -> Parts:
    """``scale``: what a fused optimiser still divides by. A gradient that is None, sparse or of another shape counts as
    absent, with zeros in its place."""
    found: list[Tensor | None] = []
    for parameter in parameters:
        gradient = parameter.tensor.grad
        usable = gradient is not None and not gradient.is_sparse and gradient.shape == parameter.tensor.shape
        found.append(gradient if usable else None)
    parts = _parts(found, [parameter.tensor for parameter in parameters])
    if scale is not None:
        parts.flat = parts.flat / scale
    return parts


def descent(own: Sequence[Parameter], began: Parts, now: Parts, gradient: Mapping[str, Tensor]) -> Tensor | None:
    """Cosine of the way from the weights that it ``began`` with to those of ``now`` and of minus the loss' ``gradient``
    (entries by parameters' names) at the beginning: far below 0 where the steps climb. None where nothing is known."""
    moved = (now.flat - began.flat).split(began.sizes)
    pairs = [
        (piece, gradient[parameter.name].to(piece))
        for parameter, piece in zip(own, moved, strict=True)
        if parameter.name in gradient and gradient[parameter.name].shape == piece.shape
    ]
    if not pairs:
        return None
    a, b = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    cosine: Tensor = (a @ b) / (a.norm() * b.norm()).clamp_min(torch.finfo(a.dtype).tiny)
    return -cosine


def _parts(tensors: Sequence[Tensor | None], like: Sequence[Tensor] = ()) -> Parts:
    pieces = []
    for number, tensor in enumerate(tensors):
        piece = readings.entries(like[number] if tensor is None else tensor)
        pieces.append(torch.zeros_like(piece) if tensor is None else piece)
    sizes = [len(piece) for piece in pieces]
    device = pieces[0].device if pieces else torch.device("cpu")
    flat = torch.cat([piece.to(device) for piece in pieces]) if pieces else torch.zeros(0)
    return Parts(flat, sizes, [tensor is not None for tensor in tensors])


def norms(parameters: Sequence[Parameter], scale: Tensor | float | None = None) -> Tensor:
    """Euclidean norm of every whole gradient, (P,); 0 where there is none."""
    own = [readings.local(p.tensor.grad.detach()) for p in parameters if p.tensor.grad is not None]
    own = [gradient.coalesce().values() if gradient.is_sparse else gradient for gradient in own]
    if not own:
        return torch.zeros(len(parameters))
    found = iter(torch._foreach_norm(own))
    device = own[0].device
    zero = torch.zeros((), device=device)
    stacked = torch.stack([next(found).to(device).float() if p.tensor.grad is not None else zero for p in parameters])
    return stacked if scale is None else stacked / scale


# The rows of a comparison, in this order.
_SUMS = (
    "gradient²", "gradient zero", "gradient not finite", "weight²", "weight", "step²", "−gradient·step", "against",
    "moved", "before·now", "before²", "same sign", "both signs",
)  # fmt: skip


def compared(before: Parts, after: Parts | None, gradient: Parts, previous: Parts | None) -> Tensor:
    """Sums over the entries of every parameter, (P, len(_SUMS))."""
    g, w = gradient.flat, before.flat
    nothing = torch.zeros_like(g)
    step = nothing if after is None else after.flat - w
    down, direction = -g.sign(), step.sign()
    rows = [g.square(), (g == 0).to(g), 1 - torch.isfinite(g).to(g), w.square(), w, step.square(), -g * step]
    rows += [(direction * down > 0).to(g), (direction * down != 0).to(g)]
    if previous is None:
        rows += [nothing, nothing, nothing, nothing]
    else:
        p = previous.flat
        signs = p.sign() * g.sign()
        rows += [p * g, p.square(), (signs > 0).to(g), (signs != 0).to(g)]
    if not len(g):
        return torch.zeros(len(before.sizes), len(_SUMS))
    # Sums by piece, and not differences of running sums: what is not finite stays in its own piece.
    pieces: tuple[Tensor, ...] = torch.stack(rows).split(before.sizes, 1)
    totals: Tensor = torch.stack([piece.sum(1) for piece in pieces])
    return totals


def spread(tensor: Tensor) -> Tensor:
    """How far the units (first axis) differ: ‖w − mean over units‖ ÷ ‖w‖, of a corner of the tensor; ()."""
    corner = readings.local(tensor.detach())[:SPREAD_UNITS].flatten(1)[:, :SPREAD_INPUTS].float()
    share: Tensor = (corner - corner.mean(0)).norm() / corner.norm()
    return share.reshape(())


@dataclasses.dataclass
class Layered:
    """Turns what was summed up by parameter into the probes' values by layer; plain numbers."""

    parameters: list[Parameter]
    counts: list[int]  # all entries of each
    sizes: list[int]  # of them looked at
    present: list[bool]

    def extend(self, parameters: Sequence[Parameter], gradient: Parts) -> None:
        self.parameters += parameters
        self.counts += [readings.local(parameter.tensor).numel() for parameter in parameters]
        self.sizes += gradient.sizes
        self.present += gradient.present

    def values(self, numbers: list[float], *, stepped: bool, compared: bool) -> list[readings.Told]:
        """Probes' values, layers in order and then the whole. ``numbers``: rows of `compared`, each with the norm of
        the gradient behind it. ``stepped``: the parameters after the step were seen; ``compared``: a gradient before.
        """
        width = len(_SUMS) + 1
        rows = [numbers[start : start + width] for start in range(0, len(numbers), width)]
        by_layer: dict[str, list[int]] = {}
        for number, parameter in enumerate(self.parameters):
            by_layer.setdefault(parameter.layer, []).append(number)
        found: list[readings.Told] = []
        for layer, chosen in [*by_layer.items(), ("", list(range(len(rows))))]:
            sums = _Sums(self, rows, chosen, [number for number in chosen if self.present[number]])
            found += [(probe, layer, unit, value) for probe, unit, value in _gradient_values(sums, layer, compared)]
            found += [(probe, layer, unit, value) for probe, unit, value in _weight_values(sums, layer, stepped)]
        return found


@dataclasses.dataclass
class _Sums:
    """Sums over some parameters, scaled up to all their entries; of gradients, over those that have one."""

    layered: Layered
    rows: list[list[float]]
    chosen: list[int]
    present: list[int]

    def weight(self, what: str) -> float:
        return self._total(what, self.chosen)

    def gradient(self, what: str) -> float:
        return self._total(what, self.present)

    def _total(self, what: str, chosen: list[int]) -> float:
        column, counts, sizes = _SUMS.index(what), self.layered.counts, self.layered.sizes
        return sum(self.rows[number][column] * counts[number] / max(1, sizes[number]) for number in chosen)

    def entries(self, chosen: list[int]) -> int:
        return max(1, sum(self.layered.counts[number] for number in chosen))

    def norm(self) -> float:
        return _root(sum(self.rows[number][-1] ** 2 for number in self.present))


def _gradient_values(sums: _Sums, layer: str, compared: bool) -> Iterator[tuple[str, str, float]]:
    if layer:
        yield "gradient-missing", "parameters", len(sums.chosen) - len(sums.present)
    if not sums.present:
        return
    yield "gradient-norm", "gradient", sums.norm()
    if layer:
        entries = sums.entries(sums.present)
        yield "gradient-scale", "gradient", _root(sums.gradient("gradient²") / entries)
        yield "gradient-zeros", "share", sums.gradient("gradient zero") / entries
        yield "gradient-non-finite", "share", sums.gradient("gradient not finite") / entries
    if compared:
        lengths = _root(sums.gradient("before²")) * _root(sums.gradient("gradient²"))
        if lengths > 0:
            yield "gradient-agreement", "cosine", sums.gradient("before·now") / lengths
        both = sums.gradient("both signs")
        if both > 0 and layer:
            yield "gradient-sign-agreement", "share", sums.gradient("same sign") / both


def _weight_values(sums: _Sums, layer: str, stepped: bool) -> Iterator[tuple[str, str, float]]:
    weight = _root(sums.weight("weight²"))
    yield "weight-norm", "weight", weight
    if layer:
        entries = sums.entries(sums.chosen)
        yield "weight-scale", "weight", weight / math.sqrt(entries)
        yield "weight-mean", "weight", sums.weight("weight") / entries
    if not stepped:
        return
    step = _root(sums.weight("step²"))
    if weight > 0:
        yield "update-ratio", "share", step / weight
    if not layer and sums.present:
        change, moved = -sums.gradient("−gradient·step"), sums.gradient("moved")
        lengths = _root(sums.gradient("gradient²")) * step
        yield "predicted-change", "loss", change
        if lengths > 0:
            yield "step-direction", "cosine", -change / lengths
        if moved > 0:
            yield "step-sign-agreement", "share", sums.gradient("against") / moved


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan  # NaN stays NaN
