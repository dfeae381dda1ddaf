"""Gradients, weights and steps, by layer, from a part of the entries of every parameter.

Every parameter gives at most ``ENTRIES`` entries, always the same ones, so a step needs no copy of the weights: the
entries before it, after it and of the gradient are compared. Sums over the part are scaled up to the whole. Cost: about
fifteen operations on the parts together, and one norm of every gradient.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

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
    values = [next(found).to(device).float() if p.tensor.grad is not None else zero for p in parameters]
    stacked = torch.stack(values)
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
    lengths = torch.tensor(before.sizes, device=g.device)
    if not len(g):
        return torch.zeros(len(before.sizes), len(_SUMS))
    return _segment_sums(torch.stack(rows, 1), lengths)


def _segment_sums(rows: Tensor, lengths: Tensor) -> Tensor:
    """(N, K) → (P, K): sums over the pieces of the given lengths; what is not finite stays in its own piece."""
    if bool(lengths.min() > 0):
        return torch.segment_reduce(rows, "sum", lengths=lengths, axis=0)
    return torch.stack([piece.sum(0) for piece in rows.split(lengths.tolist())])


def spread(tensor: Tensor) -> Tensor:
    """How far the units (first axis) differ: ‖w − mean over units‖ ÷ ‖w‖, of a corner of the tensor; ()."""
    corner = readings.local(tensor.detach())[:SPREAD_UNITS].flatten(1)[:, :SPREAD_INPUTS].float()
    return ((corner - corner.mean(0)).norm() / corner.norm()).reshape(())


@dataclasses.dataclass
class Layered:
    """Turns what was summed up by parameter into the probes' values by layer; plain numbers."""

    parameters: Sequence[Parameter]
    counts: Sequence[int]  # all entries of each
    sizes: Sequence[int]  # of them looked at
    present: Sequence[bool]

    def values(
        self, sums: Sequence[Sequence[float]], norms: Sequence[float], *, stepped: bool, compared: bool
    ) -> list[tuple[str, str, str, float]]:
        """(probe, layer, unit, value), layers in order and then the whole."""
        found: list[tuple[str, str, str, float]] = []
        by_layer: dict[str, list[int]] = {}
        for number, parameter in enumerate(self.parameters):
            by_layer.setdefault(parameter.layer, []).append(number)
        for layer, numbers in by_layer.items():
            found += self._of(layer, numbers, sums, norms, stepped, compared)
        found += self._of("", list(range(len(self.parameters))), sums, norms, stepped, compared)
        return found

    def _of(
        self,
        layer: str,
        numbers: list[int],
        sums: Sequence[Sequence[float]],
        norms: Sequence[float],
        stepped: bool,
        compared: bool,
    ) -> list[tuple[str, str, str, float]]:
        with_gradient = [number for number in numbers if self.present[number]]

        def total(what: str, chosen: list[int]) -> float:
            column = _SUMS.index(what)
            return sum(sums[n][column] * self.counts[n] / max(1, self.sizes[n]) for n in chosen)

        def entries(chosen: list[int]) -> int:
            return max(1, sum(self.counts[n] for n in chosen))

        whole = layer == ""
        found: list[tuple[str, str, str, float]] = []

        def tell(probe: str, unit: str, value: float) -> None:
            found.append((probe, layer, unit, value))

        if not whole:
            tell("gradient-missing", "parameters", len(numbers) - len([n for n in numbers if self.present[n]]))
        if with_gradient:
            tell("gradient-norm", "gradient", _root(sum(norms[n] ** 2 for n in with_gradient)))
            count = entries(with_gradient)
            if not whole:
                tell("gradient-scale", "gradient", _root(total("gradient²", with_gradient) / count))
                tell("gradient-zeros", "share", total("gradient zero", with_gradient) / count)
                tell("gradient-non-finite", "share", total("gradient not finite", with_gradient) / count)
            if compared:
                lengths = _root(total("before²", with_gradient)) * _root(total("gradient²", with_gradient))
                if lengths > 0:
                    tell("gradient-agreement", "cosine", total("before·now", with_gradient) / lengths)
                both = total("both signs", with_gradient)
                if both > 0 and not whole:
                    tell("gradient-sign-agreement", "share", total("same sign", with_gradient) / both)
        weight = _root(total("weight²", numbers))
        tell("weight-norm", "weight", weight)
        if not whole:
            tell("weight-scale", "weight", weight / math.sqrt(entries(numbers)))
            tell("weight-mean", "weight", total("weight", numbers) / entries(numbers))
        if stepped:
            step = _root(total("step²", numbers))
            if weight > 0:
                tell("update-ratio", "share", step / weight)
            if whole and with_gradient:
                gradient, moved = _root(total("gradient²", with_gradient)), total("moved", with_gradient)
                change = -total("−gradient·step", with_gradient)
                tell("predicted-change", "loss", change)
                if gradient * step > 0:
                    tell("step-direction", "cosine", -change / (gradient * step))
                if moved > 0:
                    tell("step-sign-agreement", "share", total("against", with_gradient) / moved)
        return found


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan  # NaN stays NaN
