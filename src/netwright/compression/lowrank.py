"""Dense layers and convolutions as products of smaller ones: singular values, Tucker-2, CP, tensor trains, block-term.

Ranks follow from one rule: a bound on the error, an energy share, VBMF, a budget of parameters, or a number. The error
is relative, ‖W − Ŵ‖ / ‖W‖ (Frobenius), of each layer; an energy share e is the same as the error √(1 − e).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from netwright.compression import decomposing as parts
from netwright.compression.passes import Changed, Context, PassOptions
from netwright.compression.placing import Proposal, exchanged
from netwright.nn import lowrank as layers
from netwright.records import Surgery

Family = Literal["svd", "tucker", "cp", "train", "block"]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
ENERGY = 0.9  # where no rule is given
RULES = ("error", "energy", "parameters", "rank", "vbmf")


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``lowrank=tucker:energy=0.95``. One rule at most: ``error``, ``energy``, ``parameters`` (share of a layer's),
    ``rank`` (a number, or below 1 a share of the full one) or ``vbmf=true``; energy 0.9 where none is given.

    ``layers``: names joined by ``+``; without them every layer that gets smaller. ``blocks``: terms of ``block``.
    ``cores``: sizes that a dense layer's inputs and outputs are split into for ``train``.
    """

    family: Family
    error: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    energy: Share | None = None
    parameters: Share | None = None
    rank: Annotated[float, msgspec.Meta(gt=0)] | None = None
    vbmf: bool = False
    layers: tuple[str, ...] = ()
    blocks: Annotated[int, msgspec.Meta(ge=1)] = 4
    cores: Annotated[int, msgspec.Meta(ge=2)] = 3

    def __post_init__(self) -> None:
        given = [rule for rule in RULES if getattr(self, rule) not in (None, False)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} together; one rule decides the ranks")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one layer may be factorised.

    ``limits``: the full rank of each of its ranks. ``count``: ranks → parameters without bias. ``fit``: ranks →
    surgery, values by name, and the weight that they stand for. ``matrices``: for each rank the unfolding that it cuts;
    empty where the error of ranks is known only by trying.
    """

    limits: tuple[int, ...]
    count: Callable[[Sequence[int]], int]
    fit: Callable[[Sequence[int]], tuple[Surgery, dict[str, Tensor], Tensor]]
    matrices: tuple[Tensor, ...] = ()
    noise: tuple[Tensor, ...] = ()  # what VBMF looks at where ``matrices`` is empty
    tied: bool = False  # one rank for all


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Factorise every layer that gets smaller by it, or those that are named."""

    def propose(name: str, layer: nn.Module) -> Proposal | str | None:
        plan = planned(name, layer, options)
        if plan is None:
            return None
        ranks = ranks_of(plan, layer.weight.detach(), options)  # type: ignore[operator]
        if ranks is None or (not options.layers and plan.count(ranks) >= layer.weight.numel()):  # type: ignore[operator]
            return "it would not get smaller"
        return Proposal(*plan.fit(ranks), plan.count(ranks), {"ranks": list(ranks)})

    return exchanged(f"lowrank={options.family}", network, context, options.layers, propose)


# --------------------------------------------------------------------------------------------------------------
# Ranks


def ranks_of(plan: Plan, weight: Tensor, options: Options) -> tuple[int, ...] | None:
    """The ranks that the rule asks for; None where no ranks that make the layer smaller meet it."""
    if options.rank is not None:
        share = options.rank
        return tuple(max(1, math.ceil(share * most) if share < 1 else min(int(share), most)) for most in plan.limits)
    if options.vbmf:
        found = [max(1, parts.vbmf_rank(matrix)) for matrix in plan.matrices or plan.noise]
        if plan.tied:
            return (max(found),) * len(plan.limits)
        cut = [math.ceil(rank / (options.blocks if plan.noise else 1)) for rank in found]
        return tuple(min(rank, most) for rank, most in zip(cut, plan.limits, strict=True))
    scales = _scales(plan)
    if options.parameters is not None:
        budget = options.parameters * weight.numel()
        return next((ranks for ranks in reversed(scales) if plan.count(ranks) <= budget), None)
    allowed = options.error**2 if options.error is not None else 1 - (options.energy or ENERGY)
    if plan.matrices:
        share = 1 - allowed / len(plan.matrices)
        spectra = [torch.linalg.svdvals(matrix.double()) for matrix in plan.matrices]
        return tuple(parts.kept_by_energy(singular, share) for singular in spectra)
    smaller = scales if options.layers else [ranks for ranks in scales if plan.count(ranks) < weight.numel()]
    low, high = 0, len(smaller)  # the first scale that meets the bound; errors fall with the ranks, nearly always
    while low < high:
        middle = (low + high) // 2
        if parts.relative_error(weight, plan.fit(smaller[middle])[2]) ** 2 <= allowed * (1 + 1e-9) + 1e-12:
            high = middle
        else:
            low = middle + 1
    return smaller[low] if low < len(smaller) else None


def _scales(plan: Plan) -> list[tuple[int, ...]]:
    """Ranks that grow together, from 1 to the full ones, each combination once."""
    most = max(plan.limits)
    found = [tuple(max(1, round(step / most * limit)) for limit in plan.limits) for step in range(1, most + 1)]
    return list(dict.fromkeys(found))


# --------------------------------------------------------------------------------------------------------------
# Families


def planned(name: str, module: nn.Module, options: Options) -> Plan | None:
    """How the family factorises this layer; None where it does not."""
    match options.family, module:
        case "svd", nn.Linear() | nn.Conv2d(groups=1):
            return _svd(name, module)
        case ("tucker" | "block") as family, nn.Conv2d(groups=1) if _spatial(module):
            return _tucker(name, module, 1 if family == "tucker" else options.blocks)
        case "cp", nn.Conv2d(groups=1) if _spatial(module):
            return _cp(name, module)
        case "train", nn.Conv2d(groups=1) if _spatial(module):
            return _train_convolution(name, module)
        case "train", nn.Linear():
            return _train_dense(name, module, options.cores)
        case "block", nn.Linear():
            return _block_dense(name, module, options.blocks)
    return None


def _spatial(layer: nn.Conv2d) -> bool:
    return math.prod(layer.kernel_size) > 1


def _bias(layer: nn.Module, name: str) -> dict[str, Tensor]:
    return {} if layer.bias is None else {name: layer.bias.detach()}  # type: ignore[operator]


def _weight(layer: nn.Linear | nn.Conv2d) -> Tensor:
    return layer.weight.detach().double().cpu()


def _sequence(name: str, steps: list[dict[str, Any]]) -> Surgery:
    return Surgery(operation="replace", module=name, arguments={"sequence": steps})


def _svd(name: str, layer: nn.Linear | nn.Conv2d) -> Plan:
    weight = _weight(layer)
    matrix = weight.flatten(1)

    def fit(ranks: Sequence[int]) -> tuple[Surgery, dict[str, Tensor], Tensor]:
        b, a = parts.svd(matrix, ranks[0])
        values = {"0.weight": a, "1.weight": b} | _bias(layer, "1.bias")
        return (
            Surgery(operation="factorize", module=name, arguments={"rank": ranks[0]}),
            values,
            (b @ a).view_as(weight),
        )

    return Plan((min(matrix.shape),), lambda ranks: ranks[0] * sum(matrix.shape), fit, (matrix,))


def _tucker(name: str, layer: nn.Conv2d, blocks: int) -> Plan:
    weight = _weight(layer)
    out, inner, *kernel = weight.shape
    unfoldings = (parts.unfolded(weight, 0), parts.unfolded(weight, 1))
    limits = tuple(min(matrix.shape) for matrix in unfoldings)

    def count(ranks: Sequence[int]) -> int:
        return blocks * (inner * ranks[1] + ranks[0] * ranks[1] * math.prod(kernel) + out * ranks[0])

    def fit(ranks: Sequence[int]) -> tuple[Surgery, dict[str, Tensor], Tensor]:
        found = parts.block_term(weight, blocks, (*ranks, None, None))
        steps = layers.tucker2_layers(layer, ranks[0], ranks[1], blocks)
        values = {
            "0.weight": torch.cat([_factor(each, 1).T for each in found]),
            "1.weight": torch.cat([each.core for each in found]),
            "2.weight": torch.cat([_factor(each, 0) for each in found], 1),
        }
        return (
            _sequence(name, steps), values | _bias(layer, "2.bias"),
            torch.stack([each.composed() for each in found]).sum(0),
        )  # fmt: skip

    return Plan(limits, count, fit, unfoldings if blocks == 1 else (), unfoldings)


def _factor(found: parts.Tucker, axis: int) -> Tensor:
    factor = found.factors[axis]
    assert factor is not None
    return factor


def _cp(name: str, layer: nn.Conv2d) -> Plan:
    weight = _weight(layer)
    steps = weight.shape

    def fit(ranks: Sequence[int]) -> tuple[Surgery, dict[str, Tensor], Tensor]:
        b, a, rows, columns = found = parts.cp(weight, ranks[0])
        values = {"0.weight": a.T, "1.weight": rows.T, "2.weight": columns.T, "3.weight": b} | _bias(layer, "3.bias")
        rank = ranks[0]
        surgery = _sequence(name, layers.separable_layers(layer, (rank, rank, rank), depthwise=True))
        return surgery, values, parts.cp_composed(found)

    unfoldings = (parts.unfolded(weight, 0), parts.unfolded(weight, 1))
    return Plan((parts.cp_full_rank(steps),), lambda ranks: ranks[0] * sum(steps), fit, (), unfoldings, tied=True)


def _train_convolution(name: str, layer: nn.Conv2d) -> Plan:
    """A train over (I, kh, kw, O): cores are 1×1, kh×1, 1×kw and 1×1 convolutions."""
    tensor = _weight(layer).permute(1, 2, 3, 0)
    matrices = tuple(parts.train_unfoldings(tensor))
    limits = tuple(min(matrix.shape) for matrix in matrices)
    sizes = tensor.shape

    def fit(ranks: Sequence[int]) -> tuple[Surgery, dict[str, Tensor], Tensor]:
        cores = parts.train(tensor, ranks)
        first, second, third = (core.shape[2] for core in cores[:3])
        values = {
            "0.weight": cores[0][0].T, "1.weight": cores[1].permute(2, 0, 1), "2.weight": cores[2].permute(2, 0, 1),
            "3.weight": cores[3][:, :, 0].T,
        } | _bias(layer, "3.bias")  # fmt: skip
        surgery = _sequence(name, layers.separable_layers(layer, (first, second, third), depthwise=False))
        return surgery, values, parts.train_composed(cores).permute(3, 0, 1, 2)

    return Plan(limits, lambda ranks: _train_count(sizes, ranks), fit, matrices)


def _train_count(sizes: Sequence[int], ranks: Sequence[int]) -> int:
    """Σ r_{k−1} n_k r_k"""
    edges = (1, *ranks, 1)
    return sum(edges[k] * size * edges[k + 1] for k, size in enumerate(sizes))


def split(number: int, parts_wanted: int) -> tuple[int, ...]:
    """``number`` as a product of that many factors, as equal as its primes allow, largest last."""
    primes, rest, divisor = [], number, 2
    while rest > 1:
        while rest % divisor == 0:
            primes.append(divisor)
            rest //= divisor
        divisor += 1 if divisor * divisor <= rest else max(1, rest - divisor)
    found = [1] * parts_wanted
    for prime in sorted(primes, reverse=True):
        found[found.index(min(found))] *= prime
    return tuple(sorted(found))


def _train_dense(name: str, layer: nn.Linear, many: int) -> Plan:
    inputs, outputs = split(layer.in_features, many), split(layer.out_features, many)[::-1]
    paired = [axis for k in range(many) for axis in (k, many + k)]
    sizes = [m * n for m, n in zip(outputs, inputs, strict=True)]
    tensor = _weight(layer).reshape(*outputs, *inputs).permute(paired).reshape(sizes)
    matrices = tuple(parts.train_unfoldings(tensor))

    def fit(ranks: Sequence[int]) -> tuple[Surgery, dict[str, Tensor], Tensor]:
        cores = parts.train(tensor, ranks)
        edges = [core.shape[2] for core in cores[:-1]]
        arguments = {
            "in_sizes": list(inputs), "out_sizes": list(outputs), "ranks": edges, "bias": layer.bias is not None
        }  # fmt: skip
        values = {f"cores.{k}": core for k, core in enumerate(cores)} | _bias(layer, "bias")
        whole = parts.train_composed(cores).reshape([size for k in range(many) for size in (outputs[k], inputs[k])])
        matrix = whole.permute([*range(0, 2 * many, 2), *range(1, 2 * many, 2)]).reshape(layer.weight.shape)
        return _module(name, "TTLinear", arguments), values, matrix

    return Plan(
        tuple(min(matrix.shape) for matrix in matrices), lambda ranks: _train_count(sizes, ranks), fit, matrices
    )


def _module(name: str, kind: str, arguments: dict[str, Any]) -> Surgery:
    return Surgery(operation="replace", module=name, arguments={"kind": kind, "arguments": arguments})


def _block_dense(name: str, layer: nn.Linear, blocks: int) -> Plan:
    inputs, outputs = split(layer.in_features, 2), split(layer.out_features, 2)
    sizes = (*outputs, *inputs)
    tensor = _weight(layer).reshape(sizes)
    unfoldings = tuple(parts.unfolded(tensor, axis) for axis in range(4))

    def count(ranks: Sequence[int]) -> int:
        return blocks * (sum(n * r for n, r in zip(sizes, ranks, strict=True)) + math.prod(ranks))

    def fit(ranks: Sequence[int]) -> tuple[Surgery, dict[str, Tensor], Tensor]:
        found = parts.block_term(tensor, blocks, ranks)
        names = ("out_first", "out_second", "in_first", "in_second")
        values = {each: torch.stack([_factor(one, axis) for one in found]) for axis, each in enumerate(names)}
        values["core"] = torch.stack([one.core for one in found])
        arguments = {
            "in_sizes": list(inputs), "out_sizes": list(outputs), "ranks": list(ranks), "blocks": blocks,
            "bias": layer.bias is not None,
        }  # fmt: skip
        whole = torch.stack([one.composed() for one in found]).sum(0).reshape(layer.weight.shape)
        return _module(name, "BTLinear", arguments), values | _bias(layer, "bias"), whole

    return Plan(tuple(min(matrix.shape) for matrix in unfoldings), count, fit, (), unfoldings)
