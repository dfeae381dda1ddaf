"""The trace of a network: what it says equals what PyTorch does, and the network does not notice."""

from __future__ import annotations

import copy
import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.errors import NetworkError, UsageError
from netwright.graph import kinds, shapes
from netwright.graph.examples import as_taken
from netwright.graph.structure import Graph
from netwright.graph.tracing import InputSpec, trace


class Branches(nn.Module):
    """Residual sum, concatenation, a shared layer, functional calls, control flow, attention, recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.shared = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.recurrent = nn.LSTM(16, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.scale = nn.Parameter(torch.ones(12))
        self.head = nn.Linear(12, 4)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> dict[str, Any]:
        self.seen += 1
        x = self.act(self.norm(self.first(x)))
        for _ in range(2 if x.shape[-1] > 4 else 1):
            x = x + F.relu(self.shared(x))
        x = torch.cat([x, F.avg_pool2d(x, 3, 1, 1)], dim=1)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        states, _ = self.recurrent(tokens)
        return {"scores": self.head((1 - states[:, -1]) * self.scale), "nothing": None, "states": [states]}


def kinds_of(graph: Graph) -> list[str]:
    return [operation.kind for operation in graph.operations]


def state_of(network: nn.Module) -> list[Any]:
    """Everything that a caller could look at."""
    found: list[Any] = []
    for name, module in network.named_modules():
        found.append((name, module.training, sorted(module.__dict__), [*module._forward_hooks], [*module._modules]))
        tensors = [*module._parameters.values(), *module._buffers.values()]
        found += [(id(t), t.requires_grad, t.grad is None, t._version) for t in tensors if t is not None]
    return found


FAMILY: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "branches": (Branches, (3, 8, 8)),
    "circular": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular")), (2, 7, 9)),
    "one axis": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3, stride=2), nn.MaxPool1d(2, ceil_mode=True)), (2, 19)),
    "three axes": (lambda: nn.Sequential(nn.Conv3d(2, 4, 3, stride=2), nn.AvgPool3d(2)), (2, 9, 11, 13)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), (4, 5, 6)),
    "up": (lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.PixelShuffle(2)), (4, 5, 6)),
    "shuffle": (lambda: nn.Sequential(nn.ChannelShuffle(2), nn.PixelUnshuffle(2)), (4, 4, 6)),
    "norms": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm([4, 5, 5])), (4, 5, 5)),
    "pools": (
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.LPPool2d(2, 2), nn.AdaptiveMaxPool2d(3)),
        (2, 17, 20),
    ),
    "local response": (lambda: nn.Sequential(nn.LocalResponseNorm(3), nn.Dropout2d(), nn.PReLU(4)), (4, 5, 5)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
    "encoder first axis": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), (5, 8)),
    "gru": (lambda: nn.GRU(3, 5, batch_first=True), (4, 3)),
    "activations": (
        lambda: nn.Sequential(*(getattr(nn, name)() for name in (
            "GELU", "SiLU", "Mish", "ELU", "SELU", "CELU", "Hardswish", "Hardsigmoid", "Hardtanh", "ReLU6",
            "Softplus", "Softsign", "Tanh", "Sigmoid", "LogSigmoid", "Tanhshrink", "Softshrink", "Hardshrink",
            "LeakyReLU", "RReLU", "Identity", "Softmin", "Softmax", "LogSoftmax",
        ))),
        (3, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILY)
def test_shapes_are_those_of_a_real_run(name: str) -> None:
    build, shape = FAMILY[name]
    network = build().eval()
    graph = trace(network, shape, batch=2)
    with torch.no_grad():
        real = network(torch.randn(2, *shape))

    def flat(value: Any) -> list[Tensor]:
        if isinstance(value, Tensor):
            return [value]
        if isinstance(value, dict):
            value = list(value.values())
        return [tensor for item in value or () for tensor in flat(item)]

    assert [graph.tensors[output].shape for output in graph.outputs] == [tuple(tensor.shape) for tensor in flat(real)]
    assert graph.unfollowed() == ()
    assert graph.executed == "shapes"
    assert len({operation.name for operation in graph.operations}) == len(graph.operations)


@pytest.mark.parametrize("name", FAMILY)
def test_every_layer_has_the_shape_that_a_hook_sees(name: str) -> None:
    build, shape = FAMILY[name]
    network = build().eval()
    graph = trace(network, shape, batch=2)
    seen: dict[str, list[tuple[int, ...]]] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen.setdefault(path, []).append(tuple(output.shape))

        return hook

    for path, module in network.named_modules():
        if path and not list(module.children()) and not isinstance(module, nn.Identity):
            module.register_forward_hook(note(path))
    with torch.no_grad():
        network(torch.randn(2, *shape))
    for path, found in seen.items():
        names = [path + (f"#{call}" if call > 1 else "") for call in range(1, 1 + len(found))]
        assert [graph.tensors[graph.operation(name).outputs[0]].shape for name in names] == found, path


@pytest.mark.parametrize("values", [False, True], ids=["shapes", "values"])
@pytest.mark.parametrize("training", [False, True], ids=["found in training", "found in evaluation"])
def test_the_network_and_the_random_state_are_left_as_found(training: bool, values: bool) -> None:
    class Stateful(Branches):
        def forward(self, x: Tensor) -> dict[str, Any]:
            self.cache = [x.shape]
            self.history.append(x)
            if values and x.abs().sum() < 0:
                raise ValueError
            return super().forward(x + torch.rand(1) + random.random() + float(np.random.rand()))  # noqa: NPY002 - the global state

    network = Stateful()
    network.history: list[Any] = []
    network.norm.eval()
    network.train(training)
    network.shared.eval()
    handle = network.first.register_forward_hook(lambda *_: None)
    before, values_before = state_of(network), copy.deepcopy(network.state_dict())
    dice = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    graph = trace(network, (3, 8, 8), training=True)
    assert graph.executed == ("values" if values else "shapes")
    assert state_of(network) == before
    assert network.history == []
    assert all(torch.equal(values_before[key], value) for key, value in network.state_dict().items())
    assert random.getstate() == dice[0]
    assert np.random.get_state()[1].tolist() == dice[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), dice[2])
    handle.remove()


def test_after_an_error_too_it_is_left_as_found_and_the_line_is_named() -> None:
    class Failing(Branches):
        def forward(self, x: Tensor) -> Any:
            super().forward(x)
            return self.head(x)

    network = Failing().train()
    before = state_of(network)
    with pytest.raises(NetworkError) as caught:
        trace(network, (3, 8, 8))
    assert state_of(network) == before
    text = str(caught.value)
    assert "head (Linear)" in text
    assert "1x3x8x8" in text
    assert "12 values in the last axis" in text
    assert "return self.head(x)" in text
    assert "test_tracing.py" in text


def test_no_weight_is_allocated() -> None:
    """A network of 40 GB passes."""
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(100_000, 100_000), nn.ReLU(), nn.Linear(100_000, 1))
    graph = trace(network, (100_000,))
    assert kinds_of(graph) == ["linear", "relu", "linear"]
    assert sum(np.prod(info.shape) for info in graph.parameters) == 100_000**2 + 100_000 + 100_001


def test_shared_parameters_are_one_with_aliases() -> None:
    first = nn.Linear(4, 4)
    second = nn.Linear(4, 4)
    second.weight = first.weight
    graph = trace(nn.Sequential(first, second, first), (4,))
    assert [info.name for info in graph.parameters] == ["0.weight", "0.bias", "1.bias"]
    assert graph.parameters[0].aliases == ("1.weight", "2.weight")
    assert [operation.name for operation in graph.operations] == ["0", "1", "0#2"]
    assert graph.operation("1").parameters == ("0.weight", "1.bias")


def test_a_write_through_a_view_reaches_the_tensor_it_shows() -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            half = y[:, :2]
            half.add_(1)
            return y.sum(1)

    graph = trace(Writes(), (4, 3))
    *_, written, summed = graph.operations
    assert written.kind == "assign"
    assert written.inputs == ("mul_1", "add_1")
    assert summed.inputs == written.outputs


def test_assigning_to_a_slice_is_followed() -> None:
    class Assigns(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.zeros(2, 4)
            y[:, 1:3] = x[:, :2]
            return y

    graph = trace(Assigns(), (3,), batch=2)
    assert kinds_of(graph) == ["slice", "assign"]
    assert graph.operations[1].inputs[1] == "slice_1"
    assert graph.outputs == graph.operations[1].outputs


def test_a_network_that_branches_on_values_is_run_with_values() -> None:
    class Values(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return x.relu() if x.abs().sum() > 0 else x

    network = Values().train()
    graph = trace(network, (4,), batch=3, training=True)
    assert graph.executed == "values"
    assert kinds_of(graph)[0] == "batch_norm"
    assert "relu" in kinds_of(graph)
    assert torch.equal(network.norm.running_mean, torch.zeros(4))
    assert int(network.norm.num_batches_tracked) == 0


def test_several_inputs_by_order_and_by_name_and_inside_containers() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    class Inside(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return batch["a"] + batch["b"]

    for graph in (
        trace(Two(), [(3,), (3,)]),
        trace(Two(), {"b": (3,), "a": (3,)}),
        trace(Two(), [torch.zeros(1, 3), InputSpec((1, 3), batched=False)]),
        trace(Inside(), [{"a": (3,), "b": (3,)}]),
    ):
        assert kinds_of(graph) == ["add"]
        assert len(graph.inputs) == 2
        assert {graph.tensors[name].shape for name in graph.inputs} == {(1, 3)}


def test_integers_for_an_embedding_and_what_is_said_without_them() -> None:
    network = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    graph = trace(network, InputSpec((7,), torch.int64))
    assert graph.tensors[graph.outputs[0]].shape == (1, 7, 2)
    with pytest.raises(NetworkError, match="int64"):
        trace(network, (7,))


def test_lazy_layers_and_wrapped_networks() -> None:
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))
    assert trace(lazy, (2, 5, 5)).operation("2").attributes["channels_in"] == 36
    assert isinstance(lazy[0], nn.LazyConv2d)
    inner = nn.Sequential(nn.Linear(3, 2))
    assert [operation.name for operation in trace(nn.DataParallel(inner), (3,)).operations] == ["0"]
    assert [operation.name for operation in trace(torch.compile(inner), (3,)).operations] == ["0"]
    with pytest.raises(NetworkError, match="scripted"):
        trace(torch.jit.script(inner), (3,))


def test_what_cannot_be_followed_is_named_and_not_guessed() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(torch.relu(x))

    graph = trace(Odd(), (3,))
    assert [(operation.kind, operation.followed) for operation in graph.operations] == [
        ("relu", True), ("special_bessel_j0", False)
    ]  # fmt: skip


def test_custom_functions_and_hooks_that_compute_weights_run() -> None:
    class Clamp(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clamp(0, 1)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return Clamp.apply(self.layer(x))  # type: ignore[no-any-return]

    graph = trace(Network(), (4,))
    assert graph.tensors[graph.outputs[0]].shape == (1, 3)
    linear = next(operation for operation in graph.operations if operation.kind == "linear")
    clamp = next(operation for operation in graph.operations if operation.kind == "clamp")
    assert graph.children(linear) == (clamp,)


def test_bookkeeping_is_no_operation_of_the_network() -> None:
    network = Branches()
    assert trace(network, (3, 8, 8)).operations[0].name == "first"


@pytest.mark.parametrize("example", ["3x8x8", (0, -1), [], None])
def test_a_wrong_example_is_a_clear_error(example: Any) -> None:
    with pytest.raises(UsageError):
        trace(nn.Linear(3, 3), example)


def test_a_missing_argument_says_so() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, mask: Tensor) -> Tensor:
            return a + mask

    with pytest.raises(NetworkError, match="mask") as caught:
        trace(Two(), (3,))
    assert "one --input" in str(caught.value)


def test_forward_without_a_tensor_is_an_error() -> None:
    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> None:
            return None

    with pytest.raises(NetworkError, match="NoneType from forward"):
        trace(Nothing(), (3,))


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(5, 20), kernel=st.integers(1, 4), stride=st.integers(1, 3), padding=st.integers(0, 3),
    dilation=st.integers(1, 3), groups=st.sampled_from([1, 2]), same=st.booleans(),
)  # fmt: skip
def test_attributes_of_a_convolution_decide_its_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, groups: int, same: bool
) -> None:
    """The size by the formula over the recorded attributes is the size that PyTorch makes."""
    if dilation * (kernel - 1) + 1 > size:
        return
    stride = 1 if same else stride
    layer = nn.Conv1d(4, 6, kernel, stride, "same" if same else padding, dilation, groups)
    graph = trace(layer, (4, size))
    (operation,) = graph.operations
    found = operation.attributes
    (before, after), span = found["padding"][0], found["dilation"][0] * (found["kernel"][0] - 1) + 1
    assert (size + before + after - span) // found["stride"][0] + 1 == graph.tensors[operation.outputs[0]].shape[2]
    assert (found["channels_in"], found["channels_out"], found["groups"]) == (4, 6, groups)
    assert found["weight"] == "weight"


SLICES = st.tuples(
    st.one_of(st.integers(-3, 2), st.slices(3), st.none(), st.just(Ellipsis)),
    st.one_of(st.integers(-3, 3), st.slices(4), st.none()),
)


@settings(max_examples=100, deadline=None)
@given(SLICES)
def test_slices_say_where_they_begin(index: tuple[Any, ...]) -> None:
    """From starts, steps, removed and added axes the same elements are found again."""

    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[index]

    numbers = torch.arange(60).view(3, 4, 5)
    if any(isinstance(item, slice) and item.step is not None and item.step < 0 for item in index):
        return
    try:
        expected = numbers[index]
    except IndexError:  # None moves the bounds to another axis
        return
    (operation,) = trace(Cut(), InputSpec((3, 4, 5), torch.int64, batched=False)).operations
    found, shape = operation.attributes, list(expected.shape)
    for axis in sorted(found["added"], reverse=True):
        assert shape.pop(axis) == 1
    for axis in sorted(found["removed"]):
        shape.insert(axis, 1)
    rows = [
        torch.arange(count) * step + start
        for count, start, step in zip(shape, found["starts"], found["steps"], strict=True)
    ]
    again = numbers[rows[0]][:, rows[1]][:, :, rows[2]]
    assert torch.equal(again.reshape(expected.shape), expected)


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(4)), st.integers(-4, 3), st.integers(-4, 3))
def test_permutations_say_their_order(order: list[int], first: int, second: int) -> None:
    class Turn(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return x.permute(order), x.transpose(first, second), x.movedim(first, second), x[0, 0].T, x.mT

    graph = trace(Turn(), (3, 4, 5))
    for operation in graph.operations:
        if operation.kind == "permute":
            shape = graph.tensors[operation.inputs[0]].shape
            turned = tuple(shape[axis] for axis in operation.attributes["order"])
            assert turned == graph.tensors[operation.outputs[0]].shape


@pytest.mark.parametrize("name", sorted((kinds.ACTIVATIONS - {"prelu"}) | {"dropout"}))
def test_what_keeps_its_shape_keeps_it(name: str) -> None:
    """The short cut for activations gives what PyTorch's own rule gives."""
    function = getattr(F, name)

    class Activation(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x, *([0.5, 1.0] if name == "threshold" else []))

    example = torch.empty(2, 3, 4, 5, dtype=torch.float16).transpose(1, 2)
    made = trace(Activation(), example)
    real = Activation()(example.to("meta"))
    (operation,) = made.operations
    assert (operation.kind, operation.followed) == (name, True)
    info = made.tensors[made.outputs[0]]
    assert (info.shape, info.dtype) == (tuple(real.shape), str(real.dtype).removeprefix("torch."))


SIDES = st.lists(st.integers(1, 4), min_size=0, max_size=4)
TYPES = st.sampled_from([torch.float32, torch.float16, torch.int64])


def meta(shape: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


@st.composite
def views(draw: st.DrawFn, shape: list[int], dtype: torch.dtype) -> Tensor:
    """A tensor of that shape as it is, cropped, turned, expanded or with its channels last."""
    how = draw(st.sampled_from(["plain", "crop", "turn", "expand", "last"]))
    if how == "crop":
        return meta([side + 2 for side in shape], dtype)[tuple(slice(1, side + 1) for side in shape)]
    if how == "turn":
        order = draw(st.permutations(range(len(shape))))
        return meta([shape[axis] for axis in order], dtype).permute([order.index(axis) for axis in range(len(shape))])
    if how == "expand":
        return meta([1] * len(shape), dtype).expand(shape)
    last = how == "last" and len(shape) == 4
    return meta(shape, dtype).contiguous(memory_format=torch.channels_last) if last else meta(shape, dtype)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, Callable[..., Any], list[Any], dict[str, Any]]:
    """One call of a function that ``shapes`` knows, right or wrong."""
    name = draw(st.sampled_from(
        ["linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "max_pool1d", "max_pool2d", "avg_pool2d",
         "adaptive_avg_pool2d", "add",
         "sub", "mul", "div", "cat", "mean", "batch_norm"]
    ))  # fmt: skip
    dtype = draw(TYPES)
    if name in ("add", "sub", "mul", "div"):
        other = draw(st.one_of(SIDES.map(lambda shape: meta(shape, dtype)), st.floats(1, 2), st.integers(1, 3)))
        return name, getattr(torch, name), [meta(draw(SIDES), dtype), other], {}
    if name == "cat":
        if draw(st.booleans()):  # views of one shape
            made = [draw(views(shape := draw(SIDES), dtype)), draw(views(shape, dtype))]
        else:
            made = [meta(shape, dtype) for shape in draw(st.lists(SIDES, min_size=1, max_size=3))]
        return name, torch.cat, [made, draw(st.integers(-4, 3))], {}
    if name == "mean":
        axes = draw(st.one_of(st.integers(-4, 3), st.lists(st.integers(-4, 3), max_size=3)))
        return name, torch.mean, [meta(draw(SIDES)), axes], {"keepdim": draw(st.booleans())}
    if name == "linear":
        bias = draw(st.sampled_from([None, meta((3,)), meta((2,))]))
        return name, F.linear, [meta(draw(SIDES)), meta((3, draw(st.integers(1, 4)))), bias], {}
    if name == "batch_norm":
        planes = draw(st.integers(1, 3))
        return name, F.batch_norm, [meta(draw(SIDES)), meta((planes,)), meta((planes,)), None, meta((planes,))], {}
    rank = int(name[-2])
    sizes = draw(st.lists(st.integers(1, 9), min_size=rank, max_size=rank))
    planes = draw(st.integers(1, 4))
    window = st.one_of(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    if name.startswith("conv_transpose"):
        weight = meta((draw(st.integers(1, 4)), draw(st.integers(1, 3)), *draw(st.lists(
            st.integers(1, 3), min_size=rank, max_size=rank
        ))))  # fmt: skip
        more = [None, draw(window), draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.integers(1, 2))]
        return name, getattr(F, name), [meta((2, planes, *sizes)), weight, *more, draw(st.integers(1, 2))], {}
    if name.startswith("conv"):
        groups = draw(st.integers(1, 2))
        weight = meta((draw(st.integers(1, 4)), draw(st.integers(1, 4)), *draw(st.lists(
            st.integers(1, 3), min_size=rank, max_size=rank
        ))))  # fmt: skip
        more = [None, draw(window), draw(st.integers(0, 2)), draw(st.integers(1, 2)), groups]
        return name, getattr(F, name), [meta((2, planes, *sizes)), weight, *more], {}
    if name.startswith("adaptive"):
        return name, F.adaptive_avg_pool2d, [meta((2, planes, *sizes)), draw(window)], {}
    more = [draw(window), draw(st.one_of(st.none(), window)), draw(st.integers(0, 1))]
    named = {"ceil_mode": draw(st.booleans())}
    return name, getattr(F, name), [meta((2, planes, *sizes)), *more], named


@settings(max_examples=400, deadline=None)
@given(calls())
def test_short_cuts_give_what_pytorch_gives_or_nothing(call: Any) -> None:
    name, function, args, kwargs = call
    found = shapes.result(name, args, kwargs, in_place=False)
    if found is None:
        return
    real = function(*args, **kwargs)  # where it raises, the short cut must not have answered
    assert (found.shape, found.dtype, found.stride()) == (real.shape, real.dtype, real.stride())


def test_short_cuts_answer_the_common_calls() -> None:
    """So that the law above is not about nothing: a convolutional network needs no rule of PyTorch's."""
    x, kernel, line = meta((2, 4, 8, 8)), meta((6, 4, 3, 3)), meta((4,))
    for name, args in (
        ("conv2d", [x, kernel, None, 1, 1, 1, 1]), ("batch_norm", [x, line, line, line, line]), ("cat", [[x, x], 1]),
        ("cat", [[meta((2, 4, 12, 12))[:, :, 2:10, 2:10], x], 1]),
        ("max_pool2d", [x, 3, 2, 1]), ("adaptive_avg_pool2d", [x, 1]), ("mean", [x, (2, 3)]), ("add", [x, x]),
        ("linear", [meta((2, 4)), meta((3, 4)), meta((3,))]), ("mul", [x, 0.5]), ("relu", [x]),
    ):  # fmt: skip
        assert shapes.result(name, args, {}, in_place=False) is not None, name
    assert shapes.result("add", [x, x], {}, in_place=True) is x
    assert shapes.result("add", [meta((2, 1)), x], {}, in_place=True) is None


def test_parents_and_children() -> None:
    graph = trace(Branches(), (3, 8, 8))
    add = graph.operation("add_1")
    assert [parent.name for parent in graph.parents(add)] == ["act", "relu_1"]
    assert [child.name for child in graph.children(add)] == ["shared#2", "add_2"]


def _sorted_as_array(x: Tensor) -> Tensor:
    return torch.from_numpy(np.sort(x.detach().cpu().numpy(), axis=-1))


def _doubled_as_list(x: Tensor) -> Tensor:
    return torch.tensor([[2 * value for value in row] for row in x.tolist()])


# What goes to Python and comes back, and the call by which it left.
OUTSIDE: dict[str, tuple[Callable[[Tensor], Tensor], tuple[str, ...]]] = {
    "from_numpy": (_sorted_as_array, ("numpy",)),
    "computed before it is used": (lambda x: _sorted_as_array(x).mul(2) + 1, ("numpy",)),
    "as_tensor": (lambda x: torch.as_tensor(np.asarray(x.detach())), ("numpy",)),
    "new_tensor": (lambda x: x.new_tensor(x.numpy() * 2), ("numpy",)),
    "a function of NumPy": (lambda x: np.sin(x), ("numpy",)),  # type: ignore[call-overload]
    "a list": (_doubled_as_list, ("tolist",)),
    "a constructor": (lambda x: torch.FloatTensor(x.tolist()), ("tolist",)),
    "numbers": (lambda x: torch.tensor([[float(v) for v in row] for row in x]), ("float",)),
    "an exchange": (lambda x: torch.from_dlpack(np.from_dlpack(x.detach())), ("dlpack",)),
    "two ways": (lambda x: torch.tensor(x.tolist()) + torch.from_numpy(x.numpy()), ("tolist", "numpy")),
}


@pytest.mark.parametrize("last", [False, True], ids=["inside", "at the end"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_what_goes_through_python_is_named_and_keeps_its_source(name: str, last: bool) -> None:
    leave, through = OUTSIDE[name]

    class Leaves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 3)
            self.kept = [torch.ones(4)]

        def forward(self, x: Tensor) -> Tensor:
            constant = torch.zeros(4)
            x = self.first(x)
            if x.sum() > 1e9:
                raise ValueError
            x = leave(x)
            return x if last else self.second(x + constant + self.kept[0] + torch.ones(4))

    graph = trace(Leaves(), (6,), batch=2)
    assert graph.executed == "values"
    outside = graph.unfollowed()
    assert {operation.kind for operation in outside} == {"outside"}
    assert tuple(dict.fromkeys(word for one in outside for word in one.attributes["through"])) == through

    def before(operation: Any) -> set[str]:
        found = graph.parents(operation)
        return {operation.name for operation in found}.union(*map(before, found))

    (made,) = {graph.tensors[output].producer for output in graph.outputs}
    assert {"first"} <= before(graph.operation(made))  # the output hangs on the input again
    assert all("first" in before(operation) for operation in outside)
    assert {graph.tensors[operation.outputs[0]].shape for operation in outside} == {(2, 4)}


def test_constants_of_a_network_that_looks_at_values_come_from_nowhere() -> None:
    class Masks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(3))
            self.plain = torch.ones(3)
            self.listed = [{"a": torch.ones(3)}]

        def forward(self, x: Tensor) -> Tensor:
            length = int(x.abs().max()) + 3 - int(x.abs().max())
            mask = torch.zeros(length) + torch.arange(3)
            return x * self.scale + self.plain * mask + self.listed[0]["a"]

    graph = trace(Masks(), (3,))
    assert graph.executed == "values"
    assert graph.unfollowed() == ()


class Keyed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.conv(batch["image"]).mean((2, 3)) + batch["other"]


class TwoInputs(nn.Module):
    def forward(self, image: Tensor, other: Tensor, scale: float = 1.0) -> Tensor:
        return image + other * scale


# A network and an input that it refuses; what is expected and what is to be tried.
REFUSED: dict[str, tuple[nn.Module, Any, str, str]] = {
    "channels of the input": (nn.Sequential(nn.Conv2d(3, 8, 3)), (1, 8, 8), "3 channels", "--input 3x8x8"),
    "axes of the input": (nn.Sequential(nn.Conv2d(3, 8, 3)), (9,), "3 channels", "--input 3x32x32"),
    "channels inside": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(4, 8, 3)), (3, 8, 8), "4 ", "in_channels=8"),
    "norm inside": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(4)), (3, 8, 8), "4 channels", "num_features=8"),
    "flattened": (
        nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), (3, 3), "8 values", "another --input, or in_features=9"
    ),
    "values of the input": (nn.Sequential(nn.Linear(8, 2)), (5, 9), "8 values", "--input 5x8"),
    "too small": (nn.Sequential(nn.Conv2d(3, 8, 5)), (3, 4, 4), "a larger map", "a larger --input"),
    "integers for a convolution": (
        nn.Sequential(nn.Conv2d(3, 8, 3)), InputSpec((3, 8, 8), torch.int64), "floating", "--input 3x8x8, without"
    ),
    "no integers for an embedding": (nn.Sequential(nn.Embedding(9, 2)), (7,), "integers below 9", "--input 7:int64"),
    "no mapping": (Keyed(), {"batch": (3,)}, "a mapping", "--input batch.image=SHAPE"),
    "no such entry": (Keyed(), {"batch": {"image": (3, 8, 8), "othr": (4,)}}, "an entry other", "--input other=SHAPE"),
    "too few": (TwoInputs(), (3,), "image, other, scale", "--input image=SHAPE --input other=SHAPE"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_input_is_told_what_would_help(name: str) -> None:
    network, example, expected, advice = REFUSED[name]
    with pytest.raises(NetworkError) as caught:
        trace(network, example)
    assert expected in caught.value.expected
    assert advice in caught.value.suggestion
    assert "expected" not in caught.value.suggestion


def test_what_is_advised_for_an_input_runs() -> None:
    """Every advice that is a whole ``--input``, followed."""
    for network, example, _, _ in REFUSED.values():
        with pytest.raises(NetworkError) as caught:
            trace(network, example)
        found = re.fullmatch(
            r"(?:an integer input, such as )?--input ([\dx]+)(:int64)?(?:, without a type)?", caught.value.suggestion
        )
        if found is not None:
            shape = tuple(map(int, found[1].split("x")))
            trace(network, InputSpec(shape, torch.int64 if found[2] else torch.float32))


def test_no_input_is_advised_where_none_helps() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + [][0]

    with pytest.raises(NetworkError) as caught:
        trace(Broken(), (3, 8, 8))
    assert "--input" not in caught.value.suggestion


def test_a_convolution_over_integers_is_refused_where_it_is() -> None:
    """As by computing: PyTorch's rule for shapes alone lets it pass, and a later layer would be blamed."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(RuntimeError):
        network[0](torch.ones(1, 3, 8, 8, dtype=torch.int64))
    with pytest.raises(NetworkError, match=r"0 \(Conv2d\).*int64"):
        trace(network, InputSpec((3, 8, 8), torch.int64))


def test_inputs_by_name_are_taken_as_forward_takes_them() -> None:
    assert as_taken(Keyed(), {"image": (3,), "other": (4,)}) == [{"image": (3,), "other": (4,)}]
    assert as_taken(Keyed(), {"batch.image": (3,), "batch.other": (4,)}) == {"batch": {"image": (3,), "other": (4,)}}
    assert as_taken(TwoInputs(), {"other": (3,), "image": (3,)}) == {"other": (3,), "image": (3,)}
    assert as_taken(TwoInputs(), (3,)) == (3,)
    for network, example, near in (
        (TwoInputs(), {"image": (3,), "othr": (3,)}, "other"),
        (TwoInputs(), {"imgae": (3,)}, "image"),
        (Keyed(), {"image": (3,)}, "batch"),
        (nn.Sequential(), {"x": (3,)}, "input"),
    ):
        with pytest.raises(NetworkError) as caught:
            as_taken(network, example)
        assert f"--input {near}=SHAPE" in caught.value.suggestion
        assert near in caught.value.expected


def test_nobody_is_warned_by_a_network_that_is_looked_at(recwarn: pytest.WarningsRecorder) -> None:
    class Warns(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            warnings.warn("from the network", stacklevel=1)
            return F.softmax(x)

    trace(Warns(), (3,))
    assert [str(warning.message) for warning in recwarn] == []
