"""Coupled channels: what the couplings say is cut out of real networks, which then compute the same.

Law: when nothing reads a channel (its ``in`` entries are zero), the network without it gives the same output. It holds
only if the coupling names every entry that goes (the network would not run otherwise) and no other (the output would
change). The same with channels that are made zero and never biased (``out`` and ``per`` entries zero), where zero stays
zero through the activations.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.errors import UsageError
from netwright.graph.coupling import coupled, couplings, remaining
from netwright.graph.structure import Coupling, Graph
from netwright.graph.tracing import InputSpec, trace
from netwright.nn.zoo import NETWORKS
from netwright.nn.zoo.blocks import ConvNorm, Shuffle
from netwright.nn.zoo.densenet import DenseNet
from netwright.nn.zoo.inception import figure7
from netwright.nn.zoo.resnet import Bottleneck, PaddedShortcut, Residual, ResNet
from netwright.nn.zoo.shufflenet import SplitUnit
from netwright.nn.zoo.vit import Attention

Removed = list[tuple[Coupling, list[int]]]


# --------------------------------------------------------------------------------------------------------------
# Surgery, by what the couplings say


def prepared(network: nn.Module, seed: int = 0) -> nn.Module:
    """In double precision, with values everywhere: no zero, one or running mean that would hide a wrong channel."""
    generator = torch.Generator().manual_seed(seed)
    network.eval().double()
    for module in network.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor.dtype == torch.int64:
                continue
            drawn = torch.empty(tensor.shape, dtype=torch.float64)
            norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm)
            if name == "running_var" or (norm and name == "weight"):
                drawn.uniform_(0.5, 1.5, generator=generator)
            elif tensor.dim() > 1:
                drawn.normal_(0, (1.5 / max(1, tensor[0].numel())) ** 0.5, generator=generator)
            else:
                drawn.normal_(0.2, 0.3, generator=generator)
            tensor.data.copy_(drawn)
    return network


def cut(network: nn.Module, graph: Graph, removed: Removed) -> nn.Module:
    """A copy without the removed channels, and with the numbers in its code that have to follow."""
    network = copy.deepcopy(network)
    modules = dict(network.named_modules())
    for (name, axis), kept in remaining(graph, removed).items():
        place, _, last = name.rpartition(".")
        tensor = getattr(modules[place], last)
        tensor.data = tensor.data.index_select(axis, torch.tensor(kept, device=tensor.device))
    for coupling, channels in removed:
        blocks = len(channels) // coupling.granularity
        for member in coupling.members:
            module = modules[member.parameter.rpartition(".")[0]]
            if isinstance(module, nn.GroupNorm) and member.parameter.endswith(".weight") and module.num_groups > 1:
                module.num_groups = round(module.num_groups * len(module.weight) / module.num_channels)
                module.num_channels = len(module.weight)
            whole = isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1 and member.role == "per"
            if whole and member.axis == 0 and member.parameter.endswith(".weight"):
                before = module.in_channels if module.transposed else module.out_channels
                module.groups = module.groups * len(module.weight) // before
                module.in_channels = module.out_channels = len(module.weight)
        for operation in coupling.follows:
            module = modules[graph.operation(operation).module]
            if isinstance(module, PaddedShortcut):
                module.more -= blocks
            elif isinstance(module, Shuffle):
                module.groups -= blocks if operation.endswith("reshape_1") else 0
            elif isinstance(module, Attention):
                module.heads -= blocks if operation.endswith("reshape_1") else 0
            elif isinstance(module, nn.ChannelShuffle):
                module.groups -= blocks
    for module in modules.values():
        if isinstance(module, nn.LayerNorm):
            module.normalized_shape = tuple(module.weight.shape)
        if isinstance(module, nn.GroupNorm):
            module.num_channels = len(module.weight)
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.num_features = len(module.weight)
        if isinstance(module, nn.LSTM | nn.GRU):
            module.hidden_size, module.input_size = module.weight_hh_l0.shape[1], module.weight_ih_l0.shape[1]
    return network


def silenced(network: nn.Module, removed: Removed, roles: Sequence[str]) -> nn.Module:
    """A copy in which the removed channels' entries of these roles are zero."""
    network = copy.deepcopy(network)
    for coupling, channels in removed:
        for member in coupling.members:
            if member.role in roles and not member.parameter.endswith("running_var"):
                place, _, last = member.parameter.rpartition(".")
                entries = [entry for channel in channels for entry in member.entries(channel)]
                getattr(network.get_submodule(place), last).data.index_fill_(member.axis, torch.tensor(entries), 0.0)
    return network


def traced(network: nn.Module, shape: tuple[int, ...]) -> Graph:
    return coupled(trace(network, InputSpec(shape, torch.float64)))


def drawn(free: Sequence[Coupling], random: np.random.Generator) -> Removed:
    """Some blocks of every coupling, between one and all but one."""
    removed: Removed = []
    for coupling in free:
        size, blocks = coupling.granularity, coupling.channels // coupling.granularity
        if blocks > 1:
            chosen = random.choice(blocks, random.integers(1, blocks), replace=False)
            removed.append((coupling, [int(block) * size + n for block in sorted(chosen) for n in range(size)]))
    return removed


def outputs(network: nn.Module, x: Any) -> Tensor:
    with torch.no_grad():
        result = network(*x) if isinstance(x, tuple) else network(x)
    return torch.cat([tensor.flatten(1) for tensor in (result if isinstance(result, tuple) else (result,))], 1)


def check(network: nn.Module, shape: tuple[int, ...], silent: bool, seed: int = 0) -> Graph:
    """The law, with channels of all couplings at once and of one alone. ``silent``: zero stays zero."""
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    random, network = np.random.default_rng(seed), prepared(network, seed)
    graph = traced(network, shape)
    assert Graph.from_json(graph.to_json()).couplings == graph.couplings
    free = [coupling for coupling in graph.couplings if not coupling.fixed]
    exact = [coupling for coupling in free if not coupling.inexact]
    trials = [drawn(exact, random)]
    trials += [drawn([exact[n]], random) for n in random.permutation(len(exact))[:1]]
    full = outputs(network, x)
    for number, removed in enumerate(trial for trial in trials if trial):
        less = outputs(cut(network, graph, removed), x)
        unread = outputs(silenced(network, removed, ("in",)), x)
        torch.testing.assert_close(less, unread, rtol=1e-8, atol=1e-9)
        if number:
            continue
        assert not torch.allclose(less, full, rtol=1e-8, atol=1e-9)  # the channels did matter
        if silent:
            zero = outputs(silenced(network, removed, ("out", "per")), x)
            torch.testing.assert_close(less, zero, rtol=1e-8, atol=1e-9)
    if len(exact) < len(free):  # these run, too, but their values change
        outputs(cut(network, graph, drawn(free, random)), x)
    return graph


def placed(coupling: Coupling) -> list[tuple[Any, ...]]:
    return [(m.parameter, m.axis, m.role, m.start, m.count, m.repeat) for m in coupling.members]


# --------------------------------------------------------------------------------------------------------------
# The zoo: (network, input shape, whether zero stays zero through its activations)

ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], bool]] = {
    "resnet20, option A": (lambda: NETWORKS["resnet20_cifar"]((3, 8, 8), 4, width=0.5), (3, 8, 8), True),
    "resnet, grouped": (
        lambda: ResNet("x", (3, 8, 8), 4, Bottleneck, (1, 1, 1, 2), 4, 16, width=0.25, stem="small"), (3, 8, 8), True,
    ),
    "small_resnet": (lambda: NETWORKS["small_resnet"]((3, 16, 16), 4, width=8), (3, 16, 16), True),
    "densenet": (lambda: DenseNet((3, 16, 16), 4, (2, 3, 2), 8, stem="small"), (3, 16, 16), True),
    "mobilenet_v2": (
        lambda: NETWORKS["mobilenet_v2"]((3, 8, 8), 4, width=0.25, stem="small"), (3, 8, 8), True,
    ),
    "shufflenet_v1": (
        lambda: NETWORKS["shufflenet_v1"]((3, 8, 8), 4, width=0.25, stem="small"), (3, 8, 8), True,
    ),
    "shufflenet_v2": (
        lambda: NETWORKS["shufflenet_v2"]((3, 8, 8), 4, width=0.5, stem="small"), (3, 8, 8), True,
    ),
    "squeezenet": (lambda: NETWORKS["squeezenet1_1"]((3, 32, 32), 4, width=0.25), (3, 32, 32), True),
    "googlenet": (lambda: NETWORKS["googlenet_bn"]((3, 32, 32), 4, width=0.125), (3, 32, 32), True),
    "googlenet, response norm": (lambda: NETWORKS["googlenet"]((3, 32, 32), 4, width=0.125), (3, 32, 32), True),
    "inception": (
        lambda: nn.Sequential(ConvNorm(3, 8, 3), figure7(8), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(2048, 4)),
        (3, 3, 3), True,
    ),
    "unet": (lambda: NETWORKS["unet"]((1, 16, 16), 2, width=0.125, same=True), (1, 16, 16), True),
    "erfnet": (lambda: NETWORKS["erfnet"]((3, 16, 16), 4), (3, 16, 16), True),
    "vgg": (lambda: NETWORKS["vgg16_cifar"]((3, 32, 32), 4, width=0.125), (3, 32, 32), True),
    "small_vgg": (lambda: NETWORKS["small_vgg"]((3, 16, 16), 4), (3, 16, 16), True),
    "lenet5": (lambda: NETWORKS["lenet5"]((1, 28, 28), 4), (1, 28, 28), True),
    "lenet5_1998": (lambda: NETWORKS["lenet5_1998"]((1, 32, 32), 4), (1, 32, 32), True),
    "igcv1": (lambda: NETWORKS["igcv1"]((3, 8, 8), 4, primary=6, secondary=2, depth=1), (3, 8, 8), True),
    "xception": (lambda: NETWORKS["xception"]((3, 33, 33), 4, width=0.125, depth=1), (3, 33, 33), True),
    "vit": (lambda: NETWORKS["vit_b_16"]((3, 16, 16), 4, width=0.25, depth=2, patch=8), (3, 16, 16), True),
}  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_networks_compute_the_same_without_what_nothing_reads(name: str) -> None:
    build, shape, silent = ZOO[name]
    check(build(), shape, silent)


@pytest.mark.parametrize("name", ["inception_v3", "mobilenet_v1", "patchgan"])
def test_published_networks_run_with_fewer_channels(name: str) -> None:
    shape = {"inception_v3": (3, 75, 75), "patchgan": (6, 64, 64)}.get(name, (3, 32, 32))
    network = NETWORKS[name](shape, 10).eval()
    graph = coupled(trace(network, shape))
    x, free = torch.zeros(1, *shape), [coupling for coupling in graph.couplings if not coupling.fixed]
    less = cut(network, graph, drawn(free, np.random.default_rng(0)))
    assert outputs(less, x).shape == outputs(network, x).shape
    count = [sum(p.numel() for p in each.parameters()) for each in (network, less)]
    assert count[1] < 0.6 * count[0]


# --------------------------------------------------------------------------------------------------------------
# Single structures


class Squeezed(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): a gate for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(3, 8, 3), nn.Linear(8, 2), nn.Linear(2, 8)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return self.out(x * gate[:, :, None, None])


class HandShuffle(nn.Module):
    """View, transpose, view with numbers from the shape, as ShuffleNet is usually written."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, groups=12), nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.c(F.relu(self.b(x)))


class ByMatrix(nn.Module):
    """Products with parameters that are no layer, and a scale of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(6, 9)), nn.Parameter(torch.zeros(7, 9))
        self.scale, self.third = nn.Parameter(torch.zeros(7)), nn.Parameter(torch.zeros(7, 4))
        self.offset = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(x @ self.first)
        x = torch.einsum("ni,oi->no", x, self.second) * self.scale
        return torch.addmm(self.offset, x, self.third)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.before = nn.Linear(5, 6)
        self.layers = kind(6, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.after = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.layers(self.before(x))[0][:, -1])


class Tied(nn.Module):
    """One weight for the embedding and the output (Press and Wolf 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.hidden, self.out = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).mean(1)
        return self.out(x + torch.tanh(self.hidden(x)))


class Halves(nn.Module):
    def __init__(self, how: Callable[[Tensor], Sequence[Tensor]]) -> None:
        super().__init__()
        self.how, self.first = how, nn.Conv2d(3, 8, 1)
        self.second, self.last = nn.Conv2d(4, 6, 1), nn.Conv2d(10, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.how(self.first(x))
        return self.last(torch.cat([left, F.relu(self.second(right))], 1))


class Interleaved(nn.Module):
    """Two maps dealt alternately, then a layer that is used twice, and norms of pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(8, 8, 1)
        self.norm, self.out = nn.GroupNorm(4, 8), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.stack([self.a(x), self.b(x)], 2).flatten(1, 2)
        for _ in range(2):
            x = torch.relu(self.c(x) + x)
        return self.out(self.norm(x))


def sequence(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


# network, input, channels of its free couplings in order, with their granularity, whether zero stays zero
SINGLE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[tuple[int, int]], bool]] = {
    "chain": (sequence(nn.Linear(4, 5), nn.PReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)), (4,),
              [(5, 1), (6, 1)], True),
    "squeeze and excitation": (Squeezed, (3, 6, 6), [(8, 1), (2, 1)], True),
    "depthwise, two filters a channel": (
        sequence(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 3, 1)), (2, 5, 5), [(4, 1)], True),
    "groups go whole": (
        sequence(nn.Conv2d(2, 6, 1), nn.Conv2d(6, 9, 3, groups=3), nn.Conv2d(9, 3, 1)), (2, 5, 5), [(3, 1)], True),
    "groups of one size go whole": (
        sequence(nn.Conv2d(2, 6, 1), nn.Conv2d(6, 6, 3, groups=3), nn.Conv2d(6, 3, 1)), (2, 5, 5), [(6, 2)], True),
    "the same place in every group": (
        sequence(nn.Conv2d(2, 12, 1), nn.Conv2d(12, 6, 3, groups=3), nn.Conv2d(6, 3, 1)), (2, 5, 5), [(4, 1), (2, 1)],
        True),
    "groups of the input": (
        sequence(nn.Conv2d(4, 12, 3, groups=2), nn.ReLU(), nn.Conv2d(12, 3, 1)), (4, 5, 5), [(6, 1)], True),
    "transposed, grouped": (
        sequence(nn.Conv2d(2, 6, 1), nn.ConvTranspose2d(6, 9, 2, 2, groups=3), nn.Conv2d(9, 3, 1)), (2, 4, 4),
        [(3, 1)], True),
    "transposed, groups of the input": (
        sequence(nn.ConvTranspose2d(4, 6, 2, 2, groups=2), nn.Conv2d(6, 3, 1)), (4, 4, 4), [(3, 1)], True),
    "transposed": (sequence(nn.ConvTranspose2d(2, 6, 2, 2), nn.Conv2d(6, 3, 1)), (2, 4, 4), [(6, 1)], True),
    "group norm": (sequence(nn.Conv2d(2, 12, 1), nn.GroupNorm(3, 12), nn.Conv2d(12, 3, 1)), (2, 4, 4), [(12, 4)], True),
    "pixel shuffle": (
        sequence(nn.Conv2d(2, 12, 1), nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(3, 2, 1)), (2, 4, 4), [(3, 1)], True),
    "pixel unshuffle": (
        sequence(nn.Conv2d(2, 3, 1), nn.PixelUnshuffle(2), nn.ReLU(), nn.Conv2d(12, 2, 1)), (2, 4, 4), [(3, 1)], True),
    "flattened": (
        sequence(nn.Conv2d(2, 4, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)), (2, 6, 6), [(4, 1)], True),
    "along one axis": (
        sequence(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.InstanceNorm1d(4, affine=True), nn.Conv1d(4, 2, 1)), (2, 9),
        [(4, 1)], True),
    "shuffled by hand": (HandShuffle, (3, 4, 4), [(6, 1)], True),
    "shuffled": (
        sequence(nn.Conv2d(2, 12, 1), nn.ChannelShuffle(3), nn.Conv2d(12, 2, 1)), (2, 4, 4), [(4, 1)], True),
    "gated linear unit": (
        sequence(nn.Linear(3, 8), nn.GLU(), nn.Linear(4, 2)), (3,), [(4, 1)], True),
    "matrices": (ByMatrix, (6,), [(9, 1), (7, 1)], True),
    "lstm": (lambda: Recurrent(nn.LSTM), (7, 5), [(6, 1), (4, 1)], True),
    "gru": (lambda: Recurrent(nn.GRU), (7, 5), [(6, 1), (4, 1)], True),
    "chunks": (lambda: Halves(lambda x: x.chunk(2, 1)), (3, 4, 4), [(4, 1), (6, 1)], True),
    "slices": (lambda: Halves(lambda x: (x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :])), (3, 4, 4),
               [(4, 1), (6, 1)], True),
    "interleaved, used twice": (Interleaved, (2, 4, 4), [(4, 1)], True),
    "split unit": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 1), SplitUnit(8, 8, 1), nn.Conv2d(8, 3, 1)), (2, 4, 4),
        [(4, 1), (4, 1)], True),
}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_single_structures(name: str) -> None:
    build, shape, expected, silent = SINGLE[name]
    graph = check(build(), shape, silent)
    found = [(coupling.channels, coupling.granularity) for coupling in graph.couplings if not coupling.fixed]
    assert sorted(found) == sorted(expected)


def test_tied_weights_are_cut_once() -> None:
    x = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(1))
    network = prepared(Tied())
    graph = coupled(trace(network, InputSpec((5,), torch.int64)))
    (free,) = (coupling for coupling in graph.couplings if not coupling.fixed)
    assert sorted(placed(free)) == sorted(
        [("embed.weight", 1, "out", 0, 6, 1), ("hidden.weight", 0, "out", 0, 6, 1), ("hidden.weight", 1, "in", 0, 6, 1),
         ("hidden.bias", 0, "per", 0, 6, 1)]
    )  # fmt: skip
    removed: Removed = [(free, [1, 4])]
    zero = silenced(network, removed, ("out", "per"))
    less = cut(network, graph, removed)
    less.out.weight = less.embed.weight
    torch.testing.assert_close(outputs(less, x), outputs(zero, x))


# --------------------------------------------------------------------------------------------------------------
# Worked out by hand


def test_a_residual_block_is_one_coupling() -> None:
    graph = coupled(trace(nn.Sequential(nn.Conv2d(3, 4, 1), Residual(4, 4), nn.Conv2d(4, 2, 1)), (3, 5, 5)))
    image, stream, inner, scores = graph.couplings
    assert (image.fixed, scores.fixed) == ("the network's input", "the network's output")
    norms = [(f"1.body.4.{name}", 0, "per", 0, 4, 1) for name in ("weight", "bias", "running_mean", "running_var")]
    assert sorted(placed(stream)) == sorted(
        [("0.weight", 0, "out", 0, 4, 1), ("0.bias", 0, "per", 0, 4, 1), ("1.body.0.weight", 1, "in", 0, 4, 1),
         ("1.body.3.weight", 0, "out", 0, 4, 1), *norms, ("2.weight", 1, "in", 0, 4, 1)]
    )  # fmt: skip
    assert (inner.channels, inner.granularity, inner.fixed, inner.follows) == (4, 1, "", ())


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 5, 1), nn.BatchNorm2d(8)
        self.flat = nn.Linear(8 * 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.flat(self.norm(torch.cat([self.a(x), self.b(x)], 1)).flatten(1))


def test_joined_channels_lie_one_behind_the_other_and_repeat_when_flattened() -> None:
    graph = coupled(trace(Joined(), (2, 2, 2)))
    first, second = (coupling for coupling in graph.couplings if not coupling.fixed)
    assert ("norm.weight", 0, "per", 0, 3, 1) in placed(first)
    assert ("norm.weight", 0, "per", 3, 5, 1) in placed(second)
    assert ("flat.weight", 1, "in", 0, 12, 4) in placed(first)
    assert ("flat.weight", 1, "in", 12, 20, 4) in placed(second)
    (flat,) = (member for member in second.members if member.parameter == "flat.weight")
    assert list(flat.entries(1)) == [16, 17, 18, 19]


def test_a_padded_shortcut_leaves_the_old_channels_in_front() -> None:
    """Option A: stage 1 has 16 channels, stage 2 the same 16 and 16 more, stage 3 those 32 and 32 more."""
    graph = coupled(trace(NETWORKS["resnet20_cifar"]((3, 32, 32), 10), (3, 32, 32)))
    head = [
        (coupling.channels, member.start, coupling.follows)
        for coupling in graph.couplings
        for member in coupling.members
        if member.parameter == "fc.weight" and member.axis == 1
    ]
    second, third = (f"layer{n}.0.downsample" for n in (2, 3))
    assert sorted(head) == [(16, 0, ()), (16, 16, (second,)), (32, 32, (third,))]
    inner = [
        c for c in graph.couplings if any(m.parameter.endswith("conv1.weight") and m.role == "out" for m in c.members)
    ]
    assert len(inner) == 10  # the stem and nine blocks


def test_whole_groups_of_a_grouped_convolution() -> None:
    """ResNeXt-50: 32 groups; the width of a group stays."""
    graph = coupled(trace(NETWORKS["resnext50_32x4d"]((3, 32, 32), 10), (3, 32, 32)))
    for coupling in graph.couplings:
        roles = {m.role for m in coupling.members if m.parameter.startswith("layer3.2.conv2.weight")}
        if roles == {"per"}:
            assert (coupling.channels, coupling.granularity) == (512, 16)
        if roles == {"in"}:
            assert coupling.fixed == "a size that layer3.2.conv2 keeps"


def test_heads_go_whole() -> None:
    """ViT-B/16: 12 heads of 64 in queries, keys and values, and what the projection reads."""
    graph = coupled(trace(NETWORKS["vit_b_16"]((3, 32, 32), 10, depth=1), (3, 32, 32)))
    (heads,) = (coupling for coupling in graph.couplings if coupling.granularity > 1)
    name = "encoder.layer0.attention"
    assert placed(heads) == [
        *((f"{name}.qkv.weight", 0, "out", start, 768, 1) for start in (0, 768, 1536)),
        *((f"{name}.qkv.bias", 0, "per", start, 768, 1) for start in (0, 768, 1536)),
        (f"{name}.project.weight", 1, "in", 0, 768, 1),
    ]
    assert (heads.channels, heads.granularity, heads.follows) == (768, 64, (f"{name}.reshape_1",))
    stream = next(c for c in graph.couplings if c.members[0].parameter == "patches.weight" and not c.fixed)
    assert (stream.channels, stream.inexact) == (768, "encoder.layer0.norm1")
    assert {"tokens.class_token", "tokens.positions"} < {member.parameter for member in stream.members}


def test_shuffled_stages_of_shufflenet_v1_have_few_channels_that_can_go() -> None:
    """Stage 2 joins 24 channels and 3 · 72, then sees 3 · 80: what is one in both has period gcd(80 - 72, 80) = 8."""
    graph = couplings(trace(NETWORKS["shufflenet_v1"]((3, 64, 64), 10), (3, 64, 64)))
    assert [coupling.channels for coupling in graph if not coupling.fixed] == [8]


class Opaque(nn.Module):
    """Everything that has to stay: chosen by number, ordered, read by nobody who says how."""

    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.how, self.first = how, nn.Conv2d(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.how(self.first(x)), 1).sum(1)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (lambda x: x[:, [0, 2, 5]], "picks it by number"),
        (lambda x: x[:, 2:3].expand(-1, 6, -1, -1) + x, "repeats one entry"),
        (lambda x: x[:, ::2], "picks it by number"),
        (lambda x: x.select(1, 3)[:, None], "picks it by number"),
        (lambda x: x.sort(1)[0], "orders it anew"),
        (lambda x: x.roll(1, 1), "orders it anew"),
        (lambda x: torch.stack(x.unbind(1), 1), "picks it by number"),
        (lambda x: x + torch.ones(6, 1, 1), "made in the code"),
        (lambda x: x.repeat(1, 2, 1, 1)[:, :7].chunk(2, 1)[0], "not equal"),
        (lambda x: torch.cumsum(torch.fft.fft(x, dim=1).real, 1), "no channel is followed"),
        (lambda x: F.avg_pool1d(x.flatten(2).transpose(1, 2), 3)[..., None], "slides over it"),
        (lambda x: x.argmax(1, keepdim=True).to(x.dtype), "gives a number of it"),
    ],
)
def test_what_is_not_shown_safe_is_fixed_with_its_reason(how: Callable[[Tensor], Tensor], why: str) -> None:
    found = couplings(trace(Opaque(how), (3, 4, 4)))
    made = [c for c in found if any(m.parameter == "first.weight" and m.axis == 0 for m in c.members)]
    assert made
    for coupling in made:
        assert re.search(why, coupling.fixed), coupling.fixed


@pytest.mark.parametrize(
    ("layers", "mixer"),
    [
        ([nn.Conv2d(3, 6, 1), nn.LocalResponseNorm(3)], "1"),
        ([nn.Conv2d(3, 6, 1), nn.GroupNorm(1, 6)], "1"),
        ([nn.Conv2d(3, 6, 1), nn.Softmax(1)], "1"),
        ([nn.Conv2d(3, 6, 1), nn.LayerNorm([6, 4, 4])], "1"),
    ],
)
def test_what_mixes_channels_is_named(layers: list[nn.Module], mixer: str) -> None:
    graph = coupled(trace(nn.Sequential(*layers, nn.Conv2d(6, 2, 1)), (3, 4, 4)))
    (free,) = (coupling for coupling in graph.couplings if not coupling.fixed)
    assert free.inexact == mixer


def test_only_zeros_that_were_padded_change_the_padding() -> None:
    graph = coupled(trace(NETWORKS["resnet20_cifar"]((3, 8, 8), 4), (3, 8, 8)))
    assert sum(coupling.channels for coupling in graph.couplings if coupling.follows) == 16 + 32


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 3, 1)
        self.weight = nn.Parameter(torch.zeros(6, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.conv2d(self.first(x), self.weight, groups=6))


def test_numbers_in_calls_are_named() -> None:
    graph = coupled(trace(Functional(), (2, 5, 5)))
    (free,) = (coupling for coupling in graph.couplings if not coupling.fixed)
    assert (free.channels, free.follows) == (6, ("conv2d_1",))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(3, 8), nn.Linear(8, 2)
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor, weights: bool = False) -> Tensor:
        x = self.before(x)
        return self.after(self.heads(x, x, x, need_weights=weights)[0])


@pytest.mark.parametrize("weights", [False, True])
def test_heads_of_pytorchs_own_attention(weights: bool) -> None:
    """By the fused call and by products of matrices: two heads of four. The module's own numbers have to follow."""
    graph = coupled(trace(SelfAttention(), {"x": (5, 3), "weights": weights}))
    (heads,) = (coupling for coupling in graph.couplings if coupling.granularity > 1)
    assert placed(heads) == [
        *(("heads.in_proj_weight", 0, "out", start, 8, 1) for start in (0, 8, 16)),
        *(("heads.in_proj_bias", 0, "per", start, 8, 1) for start in (0, 8, 16)),
        ("heads.out_proj.weight", 1, "in", 0, 8, 1),
    ]
    assert (heads.channels, heads.granularity, heads.fixed) == (8, 4, "")
    assert heads.follows


def test_computed_weights_are_left_alone() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 6, 1))
    found = couplings(trace(nn.Sequential(normed, nn.ReLU(), nn.Conv2d(6, 3, 1)), (2, 5, 5)))
    assert found
    assert all(coupling.fixed for coupling in found)


def used(graph: Graph) -> Iterator[tuple[str, int, int]]:
    """(parameter, axis, entries) of what holds channels, by the operation's kind."""
    shapes = {parameter.name: parameter.shape for parameter in graph.parameters}
    for operation in graph.operations:
        for name in operation.parameters:
            plain = operation.kind == "linear" or operation.kind.startswith("conv")
            for axis in range(min(2 if plain else 1, len(shapes[name]))):
                if shapes[name][axis] > 1:
                    yield name, axis, shapes[name][axis]


@pytest.mark.parametrize("name", ["densenet121", "shufflenet_v2", "igcv1", "resnet20_cifar", "erfnet"])
def test_every_entry_is_in_exactly_one_coupling(name: str) -> None:
    graph = coupled(trace(NETWORKS[name]((3, 64, 64), 10), (3, 64, 64)))
    found: dict[tuple[str, int], list[int]] = {}
    for coupling in graph.couplings:
        assert coupling.channels % coupling.granularity == 0
        for member in coupling.members:
            entries = found.setdefault((member.parameter, member.axis), [])
            mine = [entry for channel in range(coupling.channels) for entry in member.entries(channel)]
            assert len(mine) == member.count
            entries += mine
    assert couplings(Graph.from_json(graph.to_json())) == graph.couplings
    expected = {(parameter, axis): list(range(size)) for parameter, axis, size in used(graph)}
    assert expected
    assert {key: sorted(found.get(key, [])) for key in expected} == expected


# --------------------------------------------------------------------------------------------------------------
# Random networks


class Drawn(nn.Module):
    """Maps of one size, worked on step by step; what nobody read is joined, flattened and classified."""

    def __init__(self, steps: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        self.layers = nn.ModuleDict()
        wide, read = [4], set()
        self.layers["0"] = nn.Conv2d(2, 4, 1)
        for what, where, how in steps:
            at = where % len(wide)
            channels, key = wide[at], str(len(self.layers))
            alike = [other for other in range(len(wide)) if wide[other] == channels and other != at]
            kind = ("conv", "norm", "depthwise", "add", "cat", "chunk", "groups", "gate", "shuffle", "relu")[what % 10]
            places: tuple[int, ...] = (at,)
            match kind:
                case "conv":
                    self.layers[key] = nn.Conv2d(channels, 2 + how % 5, 3, padding=1)
                    wide.append(2 + how % 5)
                case "norm":
                    self.layers[key] = nn.BatchNorm2d(channels)
                    wide.append(channels)
                case "depthwise":
                    self.layers[key] = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
                    wide.append(channels)
                case "add" if alike:
                    places = (at, alike[how % len(alike)])
                    wide.append(channels)
                case "cat":
                    places = (at, how % len(wide))
                    wide.append(channels + wide[places[1]])
                case "chunk" if channels % 2 == 0 and channels > 2:
                    wide += [channels // 2] * 2
                case "groups" if channels % 2 == 0:
                    self.layers[key] = nn.Conv2d(channels, 2 + 2 * (how % 3), 1, groups=2)
                    wide.append(2 + 2 * (how % 3))
                case "gate":
                    self.layers[key] = nn.Linear(channels, channels)
                    wide.append(channels)
                case "shuffle" if channels % 2 == 0 and channels > 2:
                    self.layers[key] = nn.ChannelShuffle(2)
                    wide.append(channels)
                case "relu":
                    wide.append(channels)
                case _:
                    continue
            read |= {*places}
            self.steps.append((kind if key not in self.layers else f"{kind}:{key}", places))
        self.last = [place for place in range(len(wide)) if place not in read]
        self.head = nn.Linear(9 * sum(wide[place] for place in self.last), 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.layers["0"](x)]
        for step, places in self.steps:
            kind, _, key = step.partition(":")
            given = [maps[place] for place in places]
            match kind:
                case "add":
                    maps.append(given[0] + given[1])
                case "cat":
                    maps.append(torch.cat(given, 1))
                case "chunk":
                    maps += given[0].chunk(2, 1)
                case "gate":
                    gate = torch.sigmoid(self.layers[key](given[0].mean((2, 3))))
                    maps.append(given[0] * gate.unflatten(1, (-1, 1, 1)))
                case "relu":
                    maps.append(F.relu(given[0]))
                case _:
                    maps.append(self.layers[key](given[0]))
        return self.head(torch.cat([maps[place] for place in self.last], 1).flatten(1))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=10),
    st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_random_networks_compute_the_same(steps: list[tuple[int, int, int]], seed: int) -> None:
    network = Drawn(steps)
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    random, network = np.random.default_rng(seed), prepared(network, seed)
    graph = traced(network, (2, 3, 3))
    removed = drawn([coupling for coupling in graph.couplings if not coupling.fixed], random)
    if not removed:
        return
    less = cut(network, graph, removed)
    for roles in (("in",), ("out", "per")):
        torch.testing.assert_close(outputs(less, x), outputs(silenced(network, removed, roles), x))


# --------------------------------------------------------------------------------------------------------------
# Planted faults, and what cannot be asked for


def test_a_coupling_that_misses_a_member_does_not_pass() -> None:
    network = prepared(nn.Sequential(ConvNorm(3, 4), Residual(4, 4), nn.Conv2d(4, 2, 1)))
    graph = traced(network, (3, 5, 5))
    stream = graph.couplings[1]
    assert len(stream.members) == 12
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    for place in range(len(stream.members)):
        members = stream.members[:place] + stream.members[place + 1 :]
        less = Coupling(channels=stream.channels, members=members)
        with pytest.raises(RuntimeError):
            outputs(cut(network, graph, [(less, [2])]), x)


def test_a_coupling_of_the_wrong_channels_does_not_pass() -> None:
    network = prepared(Joined())
    graph = traced(network, (2, 2, 2))
    first, second = (coupling for coupling in graph.couplings if not coupling.fixed)
    wrong = Coupling(channels=3, members=(*first.members[:2], *second.members[2:]))
    x = torch.randn(2, 2, 2, 2, dtype=torch.float64)
    less, unread = cut(network, graph, [(wrong, [1])]), silenced(network, [(wrong, [1])], ("in",))
    assert not torch.allclose(outputs(less, x), outputs(unread, x))


def test_what_cannot_go_is_refused() -> None:
    graph = coupled(trace(nn.Sequential(nn.Conv2d(3, 12, 1), nn.GroupNorm(3, 12), nn.Conv2d(12, 2, 1)), (3, 4, 4)))
    image, stream, _ = graph.couplings
    for removed in ((image, [0]), (stream, range(12)), (stream, [4]), (stream, [11, 12])):
        with pytest.raises(UsageError):
            remaining(graph, [removed])
    assert remaining(graph, [(stream, range(4, 8))])["1.weight", 0] == (0, 1, 2, 3, 8, 9, 10, 11)
    assert remaining(graph, [(stream, [])]) == {}
