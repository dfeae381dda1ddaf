"""Structured pruning: whole channels go, with everything that is coupled to them.

``prune=channels:macs=0.5`` leaves half of the multiply-accumulates, ``params=0.5`` half of the parameters;
``share=0.3`` takes three of ten channels. Blocks go in the order of their importance (over the whole network, or evenly
from every layer), in steps that leave each coupling a multiple of ``multiple`` channels: a coupling with less than two
multiples takes half of it, and so on. The network's inputs and outputs stay.

Runtimes take several channels at a time: ONNX Runtime's and oneDNN's blocks and ncnn's packing are 16 wide with AVX-512
and 8 with AVX, and steps of that size are what was measured as fast (docs/log.md, Compression).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import msgspec
import torch
from torch import nn

from netwright.compression import cutting, importance
from netwright.compression.cutting import Removed
from netwright.compression.importance import Criterion
from netwright.compression.passes import Changed, Context, PassOptions
from netwright.compression.placing import computed, not_free, told
from netwright.errors import UsageError, nearest
from netwright.graph.products import macs
from netwright.graph.structure import Coupling, Graph
from netwright.records import Record

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
WHERE = "prune=channels"  # in messages
USUAL = 8  # channels of a step, where it is not known that more are faster
WIDEST = {"AVX512": 16}  # channels of a vector, by what PyTorch calls the processor
ROUNDS = 4  # of cutting until the recounted target is met; each corrects the estimate of the one before


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``prune=channels:macs=0.5,criterion=l1``

    ``macs``, ``params``: what is left of them, of what was there; ``share``: of the channels that can go, how many do.
    ``least``: at least this share of every coupling's channels stays. ``keep``: layers whose channels stay.
    ``multiple``: without one, for ``macs`` and ``params``, the channels that a vector of this processor holds, or 8
    where the target cannot be reached so; for ``share`` 8.
    """

    macs: Share | None = None
    params: Share | None = None
    share: Share | None = None
    criterion: Criterion = "l1"
    multiple: Annotated[int, msgspec.Meta(ge=1)] | None = None
    scope: Literal["global", "layer"] = "global"
    least: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.macs, self.params, self.share)) != 1:
            raise ValueError("not one of macs, params and share")


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Cut to the target. Raises ``UsageError`` where it is out of reach, with how far it goes."""
    free, graph = prunable(network, context, options.keep)
    scores = importance.scores(network, free, options.criterion, context)
    given = options.multiple or (USUAL if options.share is not None else vector())
    try:
        return _cut(network, options, context, free, graph, scores, given)
    except UsageError:
        if options.multiple or given <= USUAL:
            raise
        return _cut(network, options, context, free, graph, scores, USUAL)


def vector() -> int:
    """Channels that a vector of this processor holds."""
    return WIDEST.get(torch.backends.cpu.get_cpu_capability(), USUAL)


def _cut(
    network: nn.Module, options: Options, context: Context, free: Sequence[Coupling], graph: Graph,
    scores: Sequence[torch.Tensor], multiple: int,
) -> Changed:  # fmt: skip
    bound = computed(network)
    refused: dict[str, str] = {}
    aim = 1.0
    for attempt in range(ROUNDS):
        chosen = _chosen(graph, free, scores, options, aim, refused, multiple)
        borne, more = cutting.checked(network, graph, chosen, context.first_batch())
        refused |= more
        if more and attempt < ROUNDS - 1:
            continue  # others go in their place
        trial = copy.deepcopy(network)
        cutting.cut(trial, graph, borne)
        reached = _left(context.graph(trial), graph, options)
        if reached <= _target(options) or options.share is not None:
            break
        aim *= _target(options) / reached  # what the estimate did not see
    surgeries = cutting.cut(network, graph, borne)
    gone = sum(len(channels) for _, channels in borne)
    total = sum(coupling.channels for coupling in free)
    note = f"{gone:,} of {total:,} channels gone, in steps of {multiple}"
    if refused:
        note += "; left whole: " + ", ".join(f"{name} ({why})" for name, why in refused.items())
    if bound:
        note += f"; with all its channels: {told(bound)}"
    if reached > _target(options) and options.share is None:
        note += f"; the target was {_target(options):.0%}, {reached:.0%} is left"
    names = dict(zip(map(id, free), importance.named(free), strict=True))
    widths = {names[id(c)]: [c.channels, c.channels - len(channels)] for c, channels in borne}
    return Changed(surgeries, note, {"channels": widths, "left_whole": refused, "multiple": multiple})


def prunable(
    network: nn.Module, context: Context, keep: Sequence[str] = (), where: str = WHERE
) -> tuple[list[Coupling], Graph]:
    """The couplings that may shrink, and the graph with all of them. Raises ``UsageError`` with the reasons where
    there are none."""
    graph = context.graph(network, couplings=True)
    for name in keep:
        if not any(_under(parameter.name, name) for parameter in graph.parameters):
            known = list(dict.fromkeys(parameter.name.rpartition(".")[0] for parameter in graph.parameters))
            raise UsageError(
                f"compress: {where}: keep", repr(name), "the name of a layer with parameters",
                nearest(name, known) or next(iter(known), ""),
            )  # fmt: skip
    free = [
        coupling
        for coupling in graph.couplings
        if not coupling.fixed
        and coupling.channels > coupling.granularity
        and not any(_under(m.parameter, name) for m in coupling.members if m.role != "in" for name in keep)
    ]
    if not free and (bound := computed(network)):
        raise not_free(where, bound)
    reasons = {cutting.name_of(each): each.fixed or "it stays" for each in graph.couplings}
    importance.require(free, f"compress: {where}", reasons)
    return free, graph


def _under(parameter: str, module: str) -> bool:
    return parameter == module or parameter.startswith(f"{module}.")


# --------------------------------------------------------------------------------------------------------------
# Which channels go


def step_of(coupling: Coupling, multiple: int) -> int:
    """Blocks that go at a time, so that the channels that stay are a multiple of ``multiple`` (see above)."""
    size = multiple
    while size > 1 and coupling.channels < 2 * size:
        size //= 2
    return math.lcm(size, coupling.granularity) // coupling.granularity


def _chosen(
    graph: Graph, free: Sequence[Coupling], scores: Sequence[torch.Tensor], options: Options, aim: float,
    without: Mapping[str, str], multiple: int,
) -> Removed:  # fmt: skip
    """Blocks in the order of their scores, until the estimate meets the target times ``aim``."""
    usable = [number for number, coupling in enumerate(free) if cutting.name_of(coupling) not in without]
    importance.require([free[number] for number in usable], f"compress: {WHERE}", without)
    steps = {n: step_of(free[n], multiple) for n in usable}
    blocks = {n: len(scores[n]) for n in usable}
    orders = {n: torch.argsort(scores[n], stable=True).tolist() for n in usable}
    queue = sorted(
        (rank / blocks[n] if options.scope == "layer" else float(scores[n][block]), n, rank)
        for n in usable
        for rank, block in enumerate(orders[n])
    )
    taken, kept = dict.fromkeys(usable, 0), dict(blocks)
    floors = {n: _floor(blocks[n], steps[n], options.least) for n in usable}
    measure = _estimate(graph, free, options)
    goal = _target(options) * aim
    sizes = {n: blocks[n] * free[n].granularity for n in usable}
    left = measure(sizes)
    for _, n, _ in queue:
        if left <= goal:
            break
        taken[n] += 1
        stay = max(floors[n], -(-(blocks[n] - taken[n]) // steps[n]) * steps[n])
        if stay < kept[n]:
            kept[n] = stay
            sizes[n] = stay * free[n].granularity
            left = measure(sizes)
    if left > goal and options.share is None:
        what = "macs" if options.macs is not None else "params"
        raise UsageError(
            f"compress: prune=channels: {what}", f"{_target(options):g}",
            f"at least {math.ceil(1000 * left) / 1000:g}, in steps of {multiple} channels and with "
            f"{options.least:g} of each layer kept", f"multiple=1, least=0, or {what}={math.ceil(100 * left) / 100:g}",
        )  # fmt: skip
    removed: Removed = []
    for n in usable:
        size = free[n].granularity
        gone = sorted(orders[n][: blocks[n] - kept[n]])
        if gone:
            removed.append((free[n], [block * size + place for block in gone for place in range(size)]))
    return removed


def _floor(blocks: int, step: int, least: float) -> int:
    """The fewest blocks that stay."""
    return min(blocks, max(1, step, math.ceil(least * blocks / step) * step))


def _target(options: Options) -> float:
    return options.macs or options.params or 1 - float(options.share or 0.0)


def _estimate(graph: Graph, free: Sequence[Coupling], options: Options) -> Callable[[dict[int, int]], float]:
    """Channels that stay of some couplings → the share of MACs, parameters or channels that is left.

    A layer's MACs follow the number of its weights; what has none (attention) is taken as unchanged, and recounted.
    """
    if options.share is not None:
        total = sum(coupling.channels for coupling in free)
        return lambda kept: 1 - sum(free[n].channels - size for n, size in kept.items()) / total
    shapes = {info.name: info.shape for info in graph.parameters}
    numels = {name: math.prod(shape) for name, shape in shapes.items()}
    each: dict[str, float] = {}
    if options.params is not None:
        each = {info.name: 1.0 for info in graph.parameters if info.kind == "parameter"}
    fixed = 0.0
    for operation in graph.operations if options.macs is not None else ():
        count = macs(graph, operation)
        weights = [name for name in operation.parameters if len(shapes[name]) > 1]
        if count and not weights:
            fixed += count
        for name in weights:
            each[name] = each.get(name, 0.0) + count / sum(numels[weight] for weight in weights)
    total_now = fixed + sum(weight * numels[name] for name, weight in each.items())
    members = [[(m.parameter, m.axis, m.repeat) for m in coupling.members if m.parameter in each] for coupling in free]

    def left(kept: dict[int, int]) -> float:
        lost: dict[tuple[str, int], int] = {}
        for n, size in kept.items():
            for name, axis, repeat in members[n]:
                lost[name, axis] = lost.get((name, axis), 0) + (free[n].channels - size) * repeat
        shares: dict[str, float] = {}
        for (name, axis), entries in lost.items():
            shares[name] = shares.get(name, 1.0) * (1 - entries / shapes[name][axis])
        saved = sum(each[name] * numels[name] * (1 - share) for name, share in shares.items())
        return (total_now - saved) / total_now if total_now else 0.0

    return left


def _left(after: Graph, before: Graph, options: Options) -> float:
    """The same by counting."""
    if options.macs is not None:
        one, other = (sum(macs(graph, operation) for operation in graph.operations) for graph in (after, before))
    else:
        one, other = (
            sum(math.prod(info.shape) for info in graph.parameters if info.kind == "parameter")
            for graph in (after, before)
        )
    return one / other if other else 0.0


# --------------------------------------------------------------------------------------------------------------
# Sensitivity


class Sensitivity(Record, frozen=True, kw_only=True):
    """A layer (with all that is coupled to it) that loses a share of its channels, the least important first."""

    layer: str
    channels: int
    removed: int
    macs: int  # of the network without them
    metrics: dict[str, float]


def sensitivity(
    network: nn.Module, context: Context, shares: Sequence[float] = (0.25, 0.5, 0.75), criterion: Criterion = "l1"
) -> tuple[Sensitivity, ...]:
    """Every coupling alone, without healing (Li et al. 2017, figure 2); the network stays as it is.

    Costs a validation for every coupling and share. A coupling that resists is left out.
    """
    free, graph = prunable(network, context)
    scores = importance.scores(network, free, criterion, context)
    rows = []
    for coupling, name, score in zip(free, importance.named(free), scores, strict=True):
        order, size = torch.argsort(score, stable=True).tolist(), coupling.granularity
        for share in shares:
            blocks = min(round(share * len(order)), len(order) - 1)
            if not blocks:
                continue
            gone = [block * size + place for block in sorted(order[:blocks]) for place in range(size)]
            if not cutting.checked(network, graph, [(coupling, gone)], context.first_batch())[0]:
                break
            trial = copy.deepcopy(network)
            cutting.cut(trial, graph, [(coupling, gone)])
            rows.append(
                Sensitivity(
                    layer=name, channels=coupling.channels, removed=len(gone), macs=context.macs(trial),
                    metrics=context.score(trial),
                )
            )  # fmt: skip
    return tuple(rows)
