"""Channels taken out of a network for real: surgeries by what couplings say, values sliced along, checked by running.

The check is the couplings' own law: where nothing reads a channel, the network without it gives the same output. So the
shortened network is compared, on real examples, with a copy in which what reads the removed channels is zero. A
coupling for which that does not hold stays as it is, and is named.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from netwright.compression.passes import Batch, call
from netwright.errors import NetwrightError
from netwright.graph.coupling import remaining
from netwright.graph.structure import ChannelMember, Coupling, Graph
from netwright.nn.surgery import operate
from netwright.nn.zoo.blocks import Shuffle
from netwright.nn.zoo.resnet import PaddedShortcut
from netwright.nn.zoo.vit import Attention
from netwright.records import Surgery

Removed = list[tuple[Coupling, list[int]]]

EXAMPLES = 2  # that the check runs
TOLERANCE = 1e-3  # of the largest output: sums in another order; a wrong channel changes far more


class Resists(Exception):
    """A network that does not run, or computes something else, without these channels; the text says what."""


def name_of(coupling: Coupling) -> str:
    """What a coupling is called: the module of its first parameter that makes the channels."""
    maker = next((member for member in coupling.members if member.role == "out"), coupling.members[0])
    return maker.parameter.rpartition(".")[0] or maker.parameter


def tensor_of(network: nn.Module, name: str) -> torch.Tensor:
    """The parameter or buffer of that name."""
    place, _, last = name.rpartition(".")
    found: torch.Tensor = getattr(network.get_submodule(place), last)
    return found


def entries(member: ChannelMember, channels: Sequence[int]) -> torch.Tensor:
    """Of several channels, along the member's axis."""
    return torch.tensor([entry for channel in channels for entry in member.entries(channel)], dtype=torch.int64)


# --------------------------------------------------------------------------------------------------------------
# From channels to surgeries


def surgeries(network: nn.Module, graph: Graph, removed: Removed) -> tuple[Surgery, ...]:
    """What has to be done to the network's modules so that these channels are gone. Nothing is done yet."""
    shapes = {parameter.name: list(parameter.shape) for parameter in graph.parameters}
    by_module: dict[str, dict[str, tuple[int, ...]]] = {}
    for (name, axis), kept in remaining(graph, removed).items():
        shapes[name][axis] = len(kept)
        place, _, last = name.rpartition(".")
        by_module.setdefault(place, {})[last] = tuple(shapes[name])
    numbers = _numbers(network, graph, removed, shapes)
    places = [*by_module, *(place for place in numbers if place not in by_module)]
    return tuple(
        Surgery(operation="resize", module=place, shapes=by_module.get(place, {}), arguments=numbers.get(place, {}))
        for place in places
    )


def _numbers(
    network: nn.Module, graph: Graph, removed: Removed, shapes: dict[str, list[int]]
) -> dict[str, dict[str, int]]:
    """The numbers in modules' code that go with the channels: groups, heads, padding."""
    found: dict[str, dict[str, int]] = {}
    for coupling, channels in removed:
        blocks = len(channels) // coupling.granularity
        for member in coupling.members:
            place, _, last = member.parameter.rpartition(".")
            module = network.get_submodule(place)
            if last != "weight" or member.axis != 0:
                continue
            before, after = len(tensor_of(network, member.parameter)), shapes[member.parameter][0]
            if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1 and member.role == "per":
                found[place] = {"groups": module.groups * after // before}
            if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
                found[place] = {"num_groups": round(module.num_groups * after / before)}
        for operation in coupling.follows:
            place = graph.operation(operation).module
            module, first = network.get_submodule(place), operation.endswith("reshape_1")
            if isinstance(module, PaddedShortcut):
                found.setdefault(place, {"more": module.more})["more"] -= blocks
            elif isinstance(module, Shuffle) and first:
                found.setdefault(place, {"groups": module.groups})["groups"] -= blocks
            elif isinstance(module, Attention) and first:
                found.setdefault(place, {"heads": module.heads})["heads"] -= blocks
            elif isinstance(module, nn.ChannelShuffle):
                found.setdefault(place, {"groups": module.groups})["groups"] -= blocks
    return found


@torch.no_grad()
def cut(network: nn.Module, graph: Graph, removed: Removed) -> tuple[Surgery, ...]:
    """Take the channels out of the network, in place; what stays keeps its values. The surgeries that were done."""
    kept = remaining(graph, removed)
    values: dict[str, torch.Tensor] = {}
    for (name, axis), stay in kept.items():
        value = values.get(name, tensor_of(network, name).detach())
        values[name] = value.index_select(axis, torch.tensor(stay, device=value.device))
    done = surgeries(network, graph, removed)
    for surgery in done:
        operate(network, surgery)
    for name, value in values.items():
        tensor_of(network, name).copy_(value)
    return done


@torch.no_grad()
def silenced(network: nn.Module, removed: Removed) -> nn.Module:
    """A copy in which nothing reads the removed channels."""
    network = copy.deepcopy(network)
    for coupling, channels in removed:
        for member in coupling.members:
            if member.role == "in":
                tensor = tensor_of(network, member.parameter)
                tensor.index_fill_(member.axis, entries(member, channels).to(tensor.device), 0.0)
    return network


# --------------------------------------------------------------------------------------------------------------
# The check


def checked(network: nn.Module, graph: Graph, removed: Removed, batch: Batch) -> tuple[Removed, dict[str, str]]:
    """The removals that the network bears, and why each of the others cannot be; the network stays as it is.

    All at once where they go together (one or two runs of a few examples); otherwise one by one, in order.
    """
    few = _Few(batch)
    reason = resistance(network, graph, removed, few)
    if not reason:
        return removed, {}
    if len(removed) == 1:
        return [], {name_of(removed[0][0]): reason}
    borne: Removed = []
    refused: dict[str, str] = {}
    for one in removed:
        reason = resistance(network, graph, [one], few) or resistance(network, graph, [*borne, one], few)
        if reason:
            refused[name_of(one[0])] = reason
        else:
            borne.append(one)
    return borne, refused


def resistance(network: nn.Module, graph: Graph, removed: Removed, batch: Batch) -> str:
    """Why the network cannot lose these channels; empty where it can."""
    exact = [pair for pair in removed if not pair[0].inexact]
    try:
        before = outputs(network, batch)
        if len(exact) < len(removed):
            _same_shapes(before, _without(network, graph, removed, batch))
        if exact:
            less, unread = _without(network, graph, exact, batch), outputs(silenced(network, exact), batch)
            _same_shapes(before, less)
            for one, other in zip(less, unread, strict=True):
                scale = max(float(other.abs().max()), 1e-6) if other.numel() else 1.0
                far = float((one - other).abs().max()) if one.numel() else 0.0
                if not far <= TOLERANCE * scale:
                    return f"the output changes by {far:.2g} where it should not"
    except Resists as resists:
        return str(resists)
    return ""


def _same_shapes(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> None:
    if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
        raise Resists("the output gets another shape")


def _without(network: nn.Module, graph: Graph, removed: Removed, batch: Batch) -> list[torch.Tensor]:
    shorter = copy.deepcopy(network)
    try:
        cut(shorter, graph, removed)
        return outputs(shorter, batch)
    except NetwrightError as error:
        raise Resists(f"{error.where}: {error.got}") from error
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, AttributeError) as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Resists(f"it does not run: {text}") from error


def outputs(network: nn.Module, batch: Batch) -> list[torch.Tensor]:
    """Every tensor that the network gives in evaluation mode; its modes stay."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.no_grad():
            return list(_tensors(call(network.eval(), batch)))
    finally:
        for module, mode in modes:
            module.training = mode


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


class _Few:
    """The first examples of a batch."""

    def __init__(self, batch: Batch) -> None:
        self.inputs, self.names = tuple(each[:EXAMPLES] for each in batch.inputs), batch.names
        self.targets, self.index = batch.targets[:EXAMPLES], None
