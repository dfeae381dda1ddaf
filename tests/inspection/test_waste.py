"""Pixels that no window reads: found where an oracle finds them, and gone at the size that is advised."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.errors import NetworkError
from netwright.graph.structure import Graph
from netwright.graph.tracing import trace
from netwright.inspection.sheet import sheet
from netwright.nn.zoo import NETWORKS
from netwright.records import Advice


def waste(graph: Graph) -> Advice | None:
    return next((advice for advice in sheet(graph, "net").advice if advice.code == "wasted-pixels"), None)


def unread(graph: Graph) -> dict[str, int]:
    """Operation → the most positions along an axis that lie behind all that its windows read, by listing what they do.
    Only of windows at least as wide as their stride: others leave pixels out everywhere."""
    found: dict[str, int] = {}
    for operation in graph.operations:
        if not {"kernel", "stride"} <= set(operation.attributes) or "transpose" in operation.kind:
            continue
        how = operation.attributes
        rank = len(how["kernel"])
        sizes, counts = (graph.tensors[name].shape[-rank:] for name in (operation.inputs[0], operation.outputs[0]))
        for axis in range(rank):
            kernel, stride = how["kernel"][axis], how["stride"][axis]
            read = {
                place * stride - how["padding"][axis][0] + tap * how["dilation"][axis]
                for place in range(counts[axis])
                for tap in range(kernel)
            }
            left = sizes[axis] - 1 - max(read)
            if kernel >= stride > 1 and left > 0:
                found[operation.name] = max(left, found.get(operation.name, 0))
    return found


def last_maps(graph: Graph) -> list[tuple[int, ...]]:
    """What comes out, and what the last window of the network makes."""
    windows = [one for one in graph.operations if {"kernel", "stride"} <= set(one.attributes)]
    return [graph.tensors[name].shape for name in (*graph.outputs, windows[-1].outputs[0])]


def holds(network: nn.Module, shape: Sequence[int]) -> Advice | None:
    """The law: advice if and only if a pixel is unread; at the size it names, the last maps are the same and all are
    read."""
    graph = trace(network, shape)
    advice = waste(graph)
    assert (advice.layers if advice else ()) == tuple(unread(graph))
    if advice is not None and advice.after:
        axes = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}[len(shape) - 1]
        assert advice.before == {axis: size for axis, size in zip(axes, shape[1:], strict=True) if axis in advice.after}
        smaller = [int(advice.after.get(axis, size)) for axis, size in zip(axes, shape[1:], strict=True)]
        assert all(new < advice.before[axis] for axis, new in advice.after.items())
        again = trace(network, (shape[0], *smaller))
        assert last_maps(again) == last_maps(graph)
        assert unread(again) == {}
        assert waste(again) is None
        assert all(str(size) in advice.advice for size in advice.after.values())
    return advice


@pytest.mark.parametrize(("size", "better"), [(224, None), (223, 192), (230, 224), (192, None), (255, 224), (31, None)])
def test_five_halvings(size: int, better: int | None) -> None:
    """223: 1 + 2 + 4 + 8 + 16 pixels; 230: 2 + 4."""
    network = nn.Sequential(*(nn.MaxPool2d(2) for _ in range(5)))
    if size < 32:
        with pytest.raises(NetworkError):
            trace(network, (3, size, size))
        return
    advice = holds(network, (3, size, 224))
    assert (None if advice is None else advice.after) == (None if better is None else {"height": better})


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "zfnet", "squeezenet1_0", "googlenet", "inception_v3", "lenet5"])
def test_published_networks_at_the_size_that_is_advised(name: str) -> None:
    told = 0
    for size in (227, 230) if name != "lenet5" else (29, 30, 31):
        with torch.device("meta"):
            network = NETWORKS[name]((3, size, size + 2), 10)
        advice = holds(network, (3, size, size + 2))
        told += advice is not None and bool(advice.after)
    assert told or name in ("squeezenet1_0", "googlenet")  # their poolings round up


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_padded_networks_leave_nothing(name: str) -> None:
    """Their windows of 3 with padding 1 read all of every size."""
    for size in (223, 224, 225, 230):
        with torch.device("meta"):
            network = NETWORKS[name]((3, size, size), 10)
        assert holds(network, (3, size, size)) is None


@st.composite
def stacks(draw: st.DrawFn) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 5))):
        kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 4))
        padding, dilation = draw(st.integers(0, kernel // 2)), draw(st.integers(1, 2))
        kind = draw(st.sampled_from(["conv", "max", "mean", "relu"]))
        if kind == "conv":
            layers.append(nn.Conv2d(2, 2, kernel, stride, padding, dilation))
        elif kind == "max":
            layers.append(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=draw(st.booleans())))
        elif kind == "mean":
            layers.append(nn.AvgPool2d(kernel, stride, padding))
        else:
            layers.append(nn.ReLU())
    return layers


@settings(max_examples=150, deadline=None)
@given(layers=stacks(), height=st.integers(8, 150), width=st.integers(8, 150))
def test_every_stack_of_windows_has_a_size_without_waste(layers: list[nn.Module], height: int, width: int) -> None:
    network = nn.Sequential(*layers)
    try:
        trace(network, (2, height, width))
    except NetworkError:
        assume(False)
    advice = holds(network, (2, height, width))
    assert advice is None or advice.after  # one path: the sum always holds


class Paths(nn.Module):
    """Two paths that meet."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), self.right(x)], 1)


def test_paths_that_leave_the_same_are_one() -> None:
    """The reduction of Inception: a convolution and a pooling side by side leave the same row, which counts once."""
    reduction = Paths(nn.Conv2d(4, 4, 3, 2), nn.MaxPool2d(3, 2))
    network = nn.Sequential(nn.MaxPool2d(2), reduction, nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 11 * 11, 2))
    advice = holds(network, (4, 57, 57))
    assert advice is not None
    assert advice.after == {"height": 54, "width": 54}


def test_a_fixed_size_beside_it_is_no_hindrance() -> None:
    advice = holds(Paths(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(11)), (2, 23, 23))
    assert advice is not None
    assert advice.after == {"height": 22, "width": 22}


class Skip(nn.Module):
    """Up again, to the size that it had."""

    def forward(self, x: Tensor) -> Tensor:
        small = nn.functional.max_pool2d(x, 2)
        return x + nn.functional.interpolate(small, size=x.shape[2:])


@pytest.mark.parametrize(
    "network",
    [
        Paths(nn.MaxPool2d(4), nn.Sequential(nn.Conv2d(2, 2, 2), nn.MaxPool2d(4))),  # one leaves a row more
        Skip(),  # the sum has the input's size: a smaller input is another output
        nn.Sequential(nn.Conv2d(2, 2, 3), Skip(), nn.Flatten(), nn.Linear(2 * 21 * 21, 3)),
    ],
    ids=["two paths", "skip", "dense"],
)
def test_where_no_smaller_size_follows_none_is_named(network: nn.Module) -> None:
    advice = holds(network, (2, 23, 23))
    assert advice is not None
    assert advice.before == advice.after == {}
    assert "no smaller" in advice.advice
