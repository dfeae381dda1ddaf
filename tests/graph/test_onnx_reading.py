"""ONNX files as graphs: what was exported reads as what was traced; strangers' files do no harm."""

from __future__ import annotations

import math
import random
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from netwright.errors import DataError, MissingExtraError, NetworkError, NetwrightError, UsageError
from netwright.graph.onnx_reading import read_onnx
from netwright.graph.structure import Graph, Operation
from netwright.graph.tracing import trace
from netwright.inspection import cost
from netwright.inspection.receptive_field import ReceptiveField, receptive_fields
from netwright.nn.zoo import NETWORKS
from netwright.nn.zoo.densenet import DenseNet

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
helper, FLOAT, INT64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64

# --------------------------------------------------------------------------------------------------------------
# Exported networks: the file says what the trace says


class Shapes(nn.Module):
    """Shapes computed while running, a slice, a permute, a split and a sum over axes, up-sampling and padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, groups=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(self.conv(x), (1, 2, 0, 1), mode="reflect")[:, :, 1:, ::2]
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = x.view(x.size(0), 2, -1, x.size(2), x.size(3)).transpose(1, 2).reshape(x.shape)
        first, second = self.up(F.interpolate(x, scale_factor=2)).chunk(2, 1)
        x = torch.cat([first * torch.sigmoid(second), F.hardswish(second)], 1)
        return self.head(x.mean((2, 3)) / x.shape[1])


def encoder() -> nn.Module:
    return nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2, None, False
    )


FAMILY: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet": (lambda: NETWORKS["small_resnet"]((3, 32, 32), 10, width=8), (3, 32, 32)),
    "vgg": (lambda: NETWORKS["vgg11"]((3, 224, 224), 5, width=0.0625), (3, 224, 224)),
    "vgg, batch norm": (lambda: NETWORKS["small_vgg"]((3, 20, 24), 5, width=8), (3, 20, 24)),
    "mobilenet_v2": (lambda: NETWORKS["mobilenet_v2"]((3, 48, 32), 5, width=0.1), (3, 48, 32)),
    "shufflenet": (lambda: NETWORKS["shufflenet_v2"]((3, 40, 40), 5, width=0.5), (3, 40, 40)),
    "densenet": (lambda: DenseNet((3, 40, 32), 5, (2, 1, 2, 1), 8), (3, 40, 32)),
    "unet": (lambda: NETWORKS["unet"]((1, 204, 188), 2, width=0.0625), (1, 204, 188)),
    "vit": (lambda: NETWORKS["vit_b_16"]((3, 32, 32), 5, width=1 / 12, depth=2), (3, 32, 32)),
    "encoder": (encoder, (7, 8)),
    "lstm": (lambda: nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True), (5, 4)),
    "gru": (lambda: nn.GRU(4, 6), (5, 4)),
    "shapes": (Shapes, (3, 17, 22)),
}
WINDOWS = ("kernel", "stride", "padding", "dilation", "groups", "channels_in", "channels_out", "output_padding", "ceil")


def built(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """In inference mode, with other values everywhere: exporters store equal tensors once."""
    torch.manual_seed(0)
    build, shape = FAMILY[name]
    return mixed_up(build().eval()), shape


def mixed_up(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return network


def export(network: nn.Module, shape: Sequence[int], path: Path, **options: Any) -> Path:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operator, which the exporter refuses
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(network, (torch.randn(2, *shape),), str(path), dynamo=False, **options)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return path


@pytest.fixture(scope="module", params=FAMILY)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Graph]:
    network, shape = built(request.param)
    path = tmp_path_factory.mktemp("exported") / "network.onnx"
    return trace(network, shape, batch=2), read_onnx(export(network, shape, path))


def of_kind(graph: Graph, *starts: str) -> list[Operation]:
    return [operation for operation in graph.operations if operation.kind.startswith(starts)]


def size(graph: Graph, name: str) -> int:
    return math.prod(next(info.shape for info in graph.parameters if info.name == name))


def folded(graph: Graph) -> list[Operation]:
    """The norms of a traced network that exporters fold: right behind a convolution that nothing else reads."""
    return [
        norm
        for norm in of_kind(graph, "batch_norm")
        if (parent := graph.parents(norm)[0]).kind.startswith("conv") and len(graph.children(parent)) == 1
    ]


def test_the_outputs_are_those_of_the_trace(pair: tuple[Graph, Graph]) -> None:
    traced, read = pair
    assert [read.tensors[name].shape for name in read.outputs] == [
        traced.tensors[name].shape for name in traced.outputs
    ]
    assert [read.tensors[name].shape for name in read.inputs] == [traced.tensors[name].shape for name in traced.inputs]
    assert not read.unfollowed()
    assert read.batch == traced.batch == 2


def test_the_products_are_those_of_the_trace(pair: tuple[Graph, Graph]) -> None:
    """In all, and of every convolution, dense layer and recurrent layer by itself."""
    traced, read = pair
    assert cost.totals(read).macs == cost.totals(traced).macs > 0
    assert cost.totals(read).macs_per_example == cost.totals(traced).macs_per_example
    for kinds in (("conv",), ("max_pool", "avg_pool")):
        rows = [
            [
                (operation.kind, [operation.attributes.get(key) for key in WINDOWS], cost.macs(graph, operation))
                for operation in of_kind(graph, *kinds)
                if math.prod(operation.attributes["kernel"]) > 1 or kinds == ("conv",)
            ]
            for graph in pair
        ]
        assert rows[0] == rows[1]


def test_the_parameters_are_those_of_the_trace_but_for_folded_norms(pair: tuple[Graph, Graph]) -> None:
    """A folded norm's scale and shift (2 · C) go into the convolution's weights and bias; C come if it had no bias."""
    traced, read = pair
    gone = 0
    for norm in folded(traced):
        channels = traced.tensors[norm.outputs[0]].shape[1]
        gone += 2 * channels - (0 if "bias" in traced.parents(norm)[0].attributes else channels)
    assert len(of_kind(read, "batch_norm")) == len(of_kind(traced, "batch_norm")) - len(folded(traced))
    expected, found = cost.totals(traced), cost.totals(read)
    assert found.parameters == expected.parameters - gone
    assert (found.unused, found.frozen) == (0, 0)
    assert found.weight_bytes == 4 * found.parameters


def fields(graph: Graph, names: Sequence[str]) -> list[ReceptiveField | None]:
    found = receptive_fields(graph)
    return [found.get(name) for name in names]


def test_the_receptive_fields_are_those_of_the_trace(pair: tuple[Graph, Graph]) -> None:
    rows = []
    for graph in pair:
        names = [operation.outputs[0] for operation in of_kind(graph, "conv", "max_pool")] + [*graph.outputs[:1]]
        rows.append(
            [field and (field.size, field.stride, field.offset, field.covered, field.phases, field.whole, field.unknown)
             for field in fields(graph, names)]
        )  # fmt: skip
    assert rows[0] == rows[1]
    assert any(rows[1])


@pytest.mark.parametrize("name", ["resnet", "densenet"])
def test_without_folding_every_parameter_and_statistic_is_there(name: str, tmp_path: Path) -> None:
    network, shape = built(name)
    mode = torch.onnx.TrainingMode.PRESERVE
    read = read_onnx(export(network, shape, tmp_path / "network.onnx", training=mode, do_constant_folding=False))
    state = {key: tuple(value.shape) for key, value in network.state_dict().items() if value.is_floating_point()}
    assert {info.name: info.shape for info in read.parameters} == state
    names = {key for key, _ in network.named_parameters()}
    assert {info.name for info in read.parameters if info.kind == "parameter"} == names
    assert {info.name for info in read.parameters if info.trainable} == names
    for operation in of_kind(read, "batch_norm"):
        layer = network.get_submodule(operation.attributes["weight"].removesuffix(".weight"))
        assert isinstance(layer, nn.BatchNorm2d)
        assert operation.attributes["eps"] == pytest.approx(layer.eps)
        assert operation.attributes["momentum"] == pytest.approx(layer.momentum)


class Mixed(nn.Module):
    """Small, for the second exporter is slow: norm, shuffle, attention by hand, a scale, shapes of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 3, 2, ceil_mode=True)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        query, key, value = self.qkv(tokens).view(tokens.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        tokens = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(tokens.shape)
        return self.out(tokens).mean(1) * 0.5


def test_the_exporter_by_dynamo(tmp_path: Path) -> None:
    """With an open batch, and its weights in a file beside."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network, path = mixed_up(Mixed().eval()), tmp_path / "network.onnx"
    batch = torch.export.Dim("batch", min=1, max=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.randn(2, 3, 18, 22),), str(path), dynamo=True, verbose=False, external_data=True,
            dynamic_shapes={"x": {0: batch}},
        )  # fmt: skip
    traced, read = trace(network, (3, 18, 22), batch=5), read_onnx(path, batch=5)
    assert [read.tensors[name].shape for name in read.outputs] == [(5, 4)]
    assert read.batch == 5
    assert not read.unfollowed()
    assert cost.totals(read).macs == cost.totals(traced).macs
    assert cost.totals(read).parameters == cost.totals(traced).parameters - 8  # the folded norm, which leaves a bias
    (ours,), (theirs,) = fields(read, read.outputs), fields(traced, traced.outputs)
    assert ours is not None
    assert theirs is not None
    assert (ours.size, ours.whole, ours.unknown) == (theirs.size, theirs.whole, "")
    for file in tmp_path.glob("*.data"):
        file.unlink()
    assert read_onnx(path, batch=5).to_json() == read.to_json(), "the weights themselves were read"


# --------------------------------------------------------------------------------------------------------------
# Networks by hand


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[Any] | None],
    outputs: Sequence[str] = ("y",),
    stored: dict[str, np.ndarray] | None = None,
    opset: int = 20,
    **options: Any,
) -> Any:
    graph = helper.make_graph(
        list(nodes), "network", [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (stored or {}).items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("by_hand")


def saved(folder: Path, made: Any, name: str = "network.onnx") -> Path:
    path = folder / name
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def run(made: Any, *given: np.ndarray) -> np.ndarray:
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = runtime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {one.name: value for one, value in zip(session.get_inputs(), given, strict=True)})[0]


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def explicit(attributes: dict[str, Any]) -> dict[str, Any]:
    """What was read, as ONNX attributes without ``auto_pad``."""
    before, after = zip(*attributes["padding"], strict=True)
    found = {"strides": attributes["stride"], "dilations": attributes["dilation"], "pads": [*before, *after]}
    found |= {"group": attributes["groups"]} if "groups" in attributes else {}
    found |= {"output_padding": attributes["output_padding"]} if "output_padding" in attributes else {}
    return found | ({"ceil_mode": int(attributes["ceil"])} if "ceil" in attributes else {})


# Rounded up, a third window would lie in the padding behind the input alone: there is none.
BEHIND = {
    "kernel": (2, 2), "strides": [2, 2], "dilations": [1, 1], "pads": [0, 0, 1, 1], "auto_pad": "NOTSET",
    "sides": (4, 4),
}  # fmt: skip
sides = st.integers(1, 9)
windows = st.fixed_dictionaries(
    {
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "strides": st.lists(st.integers(1, 3), min_size=2, max_size=2),
        "dilations": st.lists(st.integers(1, 2), min_size=2, max_size=2),
        "pads": st.lists(st.integers(0, 2), min_size=4, max_size=4),
        "auto_pad": st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]), "sides": st.tuples(sides, sides),
    }
)  # fmt: skip
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def attributes_of(drawn: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Explicit padding, or the automatic one without dilation, which runtimes do not take together."""
    found = {key: drawn[key] for key in keys}
    if drawn["auto_pad"] == "NOTSET":
        return found | {"pads": drawn["pads"], "dilations": drawn["dilations"]}
    return found | {"auto_pad": drawn["auto_pad"]}


@quick
@given(drawn=windows, groups=st.sampled_from([1, 2]))
def test_convolutions_read_as_explicit_windows_compute_the_same(
    folder: Path, drawn: dict[str, Any], groups: int
) -> None:
    """Asymmetric, automatic, dilated, grouped: the numbers of ONNX Runtime do not change, and its shape is ours."""
    weight, x = numbers(6, 4 // groups, *drawn["kernel"]), numbers(1, 4, *drawn["sides"])

    def made(**attributes: Any) -> Any:
        node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
        return model([node], {"x": x.shape}, stored={"w": weight})

    asked = made(group=groups, **attributes_of(drawn, "strides"))
    try:
        expected = run(asked, x)
    except Exception:
        assume(False)
        return
    if 0 in expected.shape:
        return
    graph = read_onnx(saved(folder, asked))
    (operation,) = graph.operations
    assert graph.tensors["y"].shape == expected.shape
    assert np.array_equal(run(made(**explicit(operation.attributes)), x), expected)
    positions = math.prod(expected.shape[2:])
    assert cost.macs(graph, operation) == positions * 6 * (4 // groups) * math.prod(drawn["kernel"])


@quick
@given(drawn=windows, ceil=st.booleans(), kind=st.sampled_from(["MaxPool", "AveragePool"]))
@example(drawn=BEHIND, ceil=True, kind="MaxPool")
@example(drawn=BEHIND, ceil=True, kind="AveragePool")
def test_pools_read_as_explicit_windows_compute_the_same(
    folder: Path, drawn: dict[str, Any], ceil: bool, kind: str
) -> None:
    """Rounded down and up. Padding may not reach the window's size; a window larger than the input is refused here."""
    assume(all(pad < size for pad, size in zip(drawn["pads"], drawn["kernel"] * 2, strict=True)))
    room = [side + before + after for side, before, after in zip(drawn["sides"], drawn["pads"], drawn["pads"][2:])]
    spread = [step * (size - 1) + 1 for step, size in zip(drawn["dilations"], drawn["kernel"])]
    assume(ceil or drawn["auto_pad"].startswith("SAME") or all(a >= b for a, b in zip(room, spread)))
    assume(drawn["auto_pad"] != "VALID" or ceil or all(a >= b for a, b in zip(drawn["sides"], drawn["kernel"])))
    x = numbers(1, 2, *drawn["sides"])
    asked = {"ceil_mode": int(ceil), "kernel_shape": drawn["kernel"], **attributes_of(drawn, "strides")}

    def made(attributes: dict[str, Any]) -> Any:
        return model([helper.make_node(kind, ["x"], ["y"], **attributes)], {"x": x.shape})

    try:
        expected = run(made(asked), x)
    except Exception:
        assume(False)
        return
    if 0 in expected.shape:
        return
    graph = read_onnx(saved(folder, made(asked)))
    (operation,) = graph.operations
    assert graph.tensors["y"].shape == expected.shape
    again = made({"kernel_shape": operation.attributes["kernel"], **explicit(operation.attributes)})
    assert np.array_equal(run(again, x), expected)


@quick
@given(
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    asked=st.sampled_from(["pads", "output_shape", "SAME_UPPER", "SAME_LOWER"]),
    more=st.integers(0, 2),
)
def test_transposed_convolutions_read_as_explicit_windows_compute_the_same(
    folder: Path, sides: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], asked: str, more: int
) -> None:
    weight, x = numbers(4, 3, *kernel), numbers(1, 4, *sides)
    chosen: dict[str, Any] = {"strides": stride}
    if asked == "output_shape":
        full = [step * (side - 1) + size for step, side, size in zip(stride, sides, kernel, strict=True)]
        assume(all(size > more for size in full))
        chosen["output_shape"] = [size - more for size in full]
    elif asked == "pads":
        chosen["pads"] = [more, 0, 0, more]
    else:
        assume(all(size >= step for size, step in zip(kernel, stride, strict=True)))
        chosen["auto_pad"] = asked

    def made(**attributes: Any) -> Any:
        node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=2, **attributes)
        return model([node], {"x": x.shape}, stored={"w": weight})

    try:
        expected = run(made(**chosen), x)
    except Exception:
        assume(False)
        return
    assume(0 not in expected.shape)
    graph = read_onnx(saved(folder, made(**chosen)))
    (operation,) = graph.operations
    assert graph.tensors["y"].shape == expected.shape
    again = explicit(operation.attributes)
    assert again.pop("group") == 2
    assert np.array_equal(run(made(**again), x), expected)
    assert cost.macs(graph, operation) == math.prod(sides) * 4 * 3 * math.prod(kernel)


RESIZES: list[tuple[dict[str, str], bool]] = [  # attributes, whether one of PyTorch's modes reads the same everywhere
    ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, True),
    ({"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}, True),
    ({"mode": "nearest"}, False),
    ({"mode": "nearest", "coordinate_transformation_mode": "align_corners", "nearest_mode": "ceil"}, False),
    ({"mode": "linear"}, True),
    ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, True),
    ({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, True),
    ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, False),
    ({"mode": "cubic", "cubic_coeff_a": -0.75}, True),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("attributes", "always"), RESIZES)
@pytest.mark.parametrize("sizes", [(10, 14), (3, 4), (9, 5), (5, 7)])
def test_what_is_followed_of_resizing_is_what_pytorch_computes(
    folder: Path, attributes: dict[str, Any], always: bool, sizes: tuple[int, int]
) -> None:
    x = numbers(1, 2, 5, 7)
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)
    made = model([node], {"x": x.shape}, stored={"sizes": np.array([1, 2, *sizes])})
    graph = read_onnx(saved(folder, made))
    (operation,) = graph.operations
    assert graph.tensors["y"].shape == (1, 2, *sizes)
    assert operation.followed or not always
    if operation.followed:
        facts = operation.attributes
        aligned = facts["align_corners"] if "nearest" not in facts["mode"] else None
        ours = F.interpolate(torch.tensor(x), facts["size"], mode=facts["mode"], align_corners=aligned)
        assert np.allclose(run(made, x), ours.numpy(), atol=1e-5)


def test_shapes_that_are_computed_are_no_operations(folder: Path) -> None:
    """Shape → Gather → Unsqueeze → Concat → Reshape, for any batch; an If on a shape is the branch it takes."""
    then = helper.make_graph(
        [helper.make_node("Squeeze", ["r", "last"], ["t"])],
        "then",
        [],
        [helper.make_tensor_value_info("t", FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["r"], ["e"])], "else", [], [helper.make_tensor_value_info("e", FLOAT, None)]
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "first"], ["n1"]), helper.make_node("Gather", ["s", "one"], ["c"]),
        helper.make_node("Div", ["c", "two"], ["half"]), helper.make_node("Unsqueeze", ["half", "first"], ["h1"]),
        helper.make_node("Concat", ["n1", "h1", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["r"]),
        helper.make_node("Shape", ["r"], ["s2"], start=-1), helper.make_node("Equal", ["s2", "first1"], ["flat"]),
        helper.make_node("If", ["flat"], ["y"], then_branch=then, else_branch=other),
    ]  # fmt: skip
    stored = {
        "zero": np.array(0), "one": np.array(1), "two": np.array(2), "first": np.array([0]), "rest": np.array([-1, 1]),
        "first1": np.array([1]), "last": np.array([3]),
    }  # fmt: skip
    path = saved(folder, model(nodes, {"x": ["N", 6, 5, 2]}, stored=stored))
    for batch in (1, 3):
        graph = read_onnx(path, batch=batch)
        assert [operation.kind for operation in graph.operations] == ["reshape", "reshape"]
        assert [graph.tensors[name].shape for name in graph.outputs] == [(batch, 3, 20)]
        assert graph.parameters == ()
        assert graph.batch == batch


KINDS: list[tuple[Any, dict[str, np.ndarray], str, dict[str, Any]]] = [
    (helper.make_node("Clip", ["x", "low", "high"], ["y"]), {"low": np.float32(0), "high": np.float32(6)}, "relu6", {}),
    (helper.make_node("Clip", ["x", "low"], ["y"]), {"low": np.float32(0)}, "clamp", {}),
    (helper.make_node("GlobalAveragePool", ["x"], ["y"]), {}, "adaptive_avg_pool2d", {"size": (1, 1)}),
    (helper.make_node("ReduceMean", ["x", "a"], ["y"], keepdims=0), {"a": np.array([-1, 2])}, "reduce",
     {"how": "mean", "axes": (2, 3), "keep": False}),
    (helper.make_node("Gather", ["x", "i"], ["y"], axis=2), {"i": np.array(-1)}, "slice",
     {"starts": (0, 0, 5, 0), "removed": (2,)}),
    (helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["y"]),
     {"s": np.array([-5]), "e": np.array([2**62]), "a": np.array([3]), "t": np.array([2])}, "slice",
     {"starts": (0, 0, 0, 1), "steps": (1, 1, 1, 2)}),
    (helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["y"]),
     {"s": np.array([-1]), "e": np.array([-(2**62)]), "a": np.array([3]), "t": np.array([-1])}, "flip", {"axes": (3,)}),
    (helper.make_node("Pad", ["x", "p"], ["y"], mode="edge"), {"p": np.array([0, 0, 1, 0, 0, 0, -1, 2])}, "pad",
     {"padding": ((0, 0), (0, 0), (1, -1), (0, 2)), "mode": "replicate"}),
    (helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode="CRD"), {}, "pixel_shuffle", {"factor": 2}),
    (helper.make_node("Softmax", ["x"], ["y"], axis=1), {}, "softmax", {"axes": (1,)}),
    (helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2),
     {"s": np.ones(4, np.float32), "b": np.ones(4, np.float32)}, "group_norm", {"num_groups": 2}),
    (helper.make_node("LRN", ["x"], ["y"], size=3), {}, "local_response_norm", {"size": 3, "k": 1.0}),
    (helper.make_node("HardSigmoid", ["x"], ["y"]), {}, "hardsigmoid", {}),
    (helper.make_node("Transpose", ["x"], ["y"]), {}, "permute", {"order": (3, 2, 1, 0)}),
    (helper.make_node("Einsum", ["x", "w"], ["y"], equation="nchw,kc->nkhw"), {"w": numbers(5, 4)}, "einsum",
     {"shapes": ((1, 4, 6, 6), (5, 4))}),
    (helper.make_node("TopK", ["x", "k"], ["y", "places"]), {"k": np.array([2])}, "topk", {"axes": (3,)}),
]  # fmt: skip


@pytest.mark.parametrize(("node", "stored", "kind", "attributes"), KINDS, ids=[f"{k[0].op_type} {k[2]}" for k in KINDS])
def test_operators_by_hand(
    folder: Path, node: Any, stored: dict[str, np.ndarray], kind: str, attributes: dict[str, Any]
) -> None:
    """Kind, attributes, and the shape that ONNX Runtime has."""
    stored = {name: np.asarray(value) for name, value in stored.items()}
    made = model([node], {"x": (1, 4, 6, 6)}, stored=stored, opset=21)
    graph = read_onnx(saved(folder, made))
    (operation,) = graph.operations
    assert (operation.kind, operation.followed) == (kind, True)
    assert attributes.items() <= operation.attributes.items()
    assert graph.tensors["y"].shape == run(made, numbers(1, 4, 6, 6)).shape
    settings_only = kind not in ("group_norm", "einsum")
    assert [info.name for info in graph.parameters] == ([] if settings_only else list(stored))


# --------------------------------------------------------------------------------------------------------------
# Quantised networks


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(288, 4))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_a_quantised_network_has_the_same_products_and_small_weights(form: str, tmp_path: Path) -> None:
    from onnxruntime import quantization

    torch.manual_seed(0)
    network = small().eval()
    path, made = export(network, (3, 8, 8), tmp_path / "network.onnx"), tmp_path / "quantised.onnx"

    class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]
        left = 2

        def get_next(self) -> dict[str, np.ndarray] | None:
            self.left -= 1
            return {"input.1": numbers(2, 3, 8, 8)} if self.left >= 0 else None

    quantization.quantize_static(
        str(path), str(made), Batches(), quant_format=getattr(quantization.QuantFormat, form), per_channel=True
    )
    plain, read = read_onnx(path), read_onnx(made)
    before, after = cost.totals(plain), cost.totals(read)
    assert after.macs == before.macs > 0
    assert not after.uncounted
    assert after.parameters == before.parameters
    weights = [info for info in read.parameters if len(info.shape) > 1]
    assert {info.dtype for info in weights} == {"int8"}
    assert not any(info.trainable for info in weights)
    biases = {info.dtype for info in read.parameters if info.kind == "parameter" and len(info.shape) == 1}
    assert biases == {"int32"}
    # a byte a weight, four a bias
    assert after.weight_bytes == sum(math.prod(info.shape) for info in weights) + 4 * (8 + 8 + 4)


# --------------------------------------------------------------------------------------------------------------
# Inputs


def convolution(shape: Sequence[Any] | None, **options: Any) -> Any:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    return model([node], {"x": shape}, stored={"w": numbers(4, 3, 3, 3)}, **options)


@pytest.mark.parametrize(
    ("declared", "given", "batch", "shape"),
    [
        (["N", 3, 8, 8], None, 1, (1, 3, 8, 8)),
        (["N", 3, 8, 8], None, 7, (7, 3, 8, 8)),
        (["anything", 3, 8, 8], None, 7, (7, 3, 8, 8)),
        ([None, 3, 8, 8], None, 7, (7, 3, 8, 8)),
        ([5, 3, 8, 8], None, 1, (5, 3, 8, 8)),
        (["N", 3, "H", "W"], {"x": (3, 9, 10)}, 2, (2, 3, 9, 10)),
        (["N", 3, "H", "W"], {"": (4, 3, 9, 10)}, 1, (4, 3, 9, 10)),
        ([1, 3, 8, 8], {"x": (6, 3, 11, 12)}, 1, (6, 3, 11, 12)),
        (None, {"x": (3, 9, 10)}, 2, (2, 3, 9, 10)),
    ],
)
def test_open_axes(folder: Path, declared: Any, given: Any, batch: int, shape: tuple[int, ...]) -> None:
    graph = read_onnx(saved(folder, convolution(declared)), given, batch)
    assert graph.tensors["x"].shape == shape
    assert graph.tensors["y"].shape == (shape[0], 4, shape[2] - 2, shape[3] - 2)
    assert graph.batch == shape[0]


@pytest.mark.parametrize(
    ("declared", "given", "batch", "says"),
    [
        (["N", 3, "H", 8], None, 1, "--input x=3x224x8"),
        (None, None, 1, "--input x="),
        (["N", 3, 8, 8], {"y": (3, 8, 8)}, 1, "expected one of x"),
        (["N", 3, 8, 8], {"x": (8, 8)}, 1, "4 axes, or 3 without the batch"),
        (["N", 3, 8, 8], {"x": (3, 0, 8)}, 1, "at least 1"),
        (["N", 3, 8, 8], {"x": (5, 8, 8)}, 1, "Conv 'first': got 5 channels, expected 3"),
        (["N", 3, 8, 8], {"x": (3, 2, 8)}, 1, "Conv 'first'"),
        ([5, 3, 8, 8], None, 2, "5, which the file fixes"),
        (["N", 3, 8, 8], None, 0, "at least 1"),
    ],
)
def test_inputs_that_do_not_fit_say_what_would(folder: Path, declared: Any, given: Any, batch: int, says: str) -> None:
    with pytest.raises((NetworkError, UsageError)) as caught:
        read_onnx(saved(folder, convolution(declared)), given, batch)
    assert says in str(caught.value)


# --------------------------------------------------------------------------------------------------------------
# Unknown operators


def test_an_unknown_operator_is_named_and_nothing_behind_it_is_guessed(folder: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Invented", ["a", "w"], ["b"], domain="some.lab"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, {"x": (1, 3, 4)}, stored={"w": numbers(3, 3)})
    graph = read_onnx(saved(folder, made))
    assert [(o.kind, o.followed) for o in graph.operations] == [
        ("relu", True), ("some.lab.Invented", False), ("relu", False),
    ]  # fmt: skip
    assert graph.tensors["b"].shape == (0,)
    assert [info.name for info in graph.parameters] == ["w"]
    assert cost.totals(graph).uncounted == tuple(o.name for o in graph.operations[1:])
    # where the file says the shape, the network goes on behind it
    made.graph.value_info.append(helper.make_tensor_value_info("b", FLOAT, (1, 3, 4)))
    graph = read_onnx(saved(folder, made))
    assert [operation.followed for operation in graph.operations] == [True, False, True]
    assert graph.tensors["y"].shape == (1, 3, 4)


def test_functions_of_the_file_are_put_in_place(folder: Path) -> None:
    body = [helper.make_node("Conv", ["a", "w"], ["c"]), helper.make_node("Relu", ["c"], ["b"])]
    function = helper.make_function("mine", "Block", ["a", "w"], ["b"], body, [helper.make_opsetid("", 20)])
    nodes = [helper.make_node("Block", ["x", "w"], ["h"], domain="mine"), helper.make_node("Relu", ["h"], ["y"])]
    made = model(nodes, {"x": (1, 3, 8, 8)}, stored={"w": numbers(4, 3, 3, 3)}, functions=[function])
    made.opset_import.append(helper.make_opsetid("mine", 1))
    graph = read_onnx(saved(folder, made))
    assert [operation.kind for operation in graph.operations] == ["conv2d", "relu", "relu"]
    assert graph.operations[0].parameters == ("w",)


# --------------------------------------------------------------------------------------------------------------
# Files that are not what they should be


def test_a_truncated_file_never_reads(folder: Path) -> None:
    """Cut anywhere: an error of ours, unless only what nobody reads was cut off."""
    whole = convolution((1, 3, 8, 8), producer_name="").SerializeToString()
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(DataError):
            read_onnx(saved(folder, whole[:length]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), changes=st.integers(1, 6))
def test_a_damaged_file_gives_a_graph_or_an_error_of_ours(folder: Path, seed: int, changes: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["a"], ["s"]), helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["to"], axis=0), helper.make_node("Reshape", ["a", "to"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=-1),
    ]  # fmt: skip
    stored = {
        "w": numbers(2, 3, 3, 3), "zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1]),
        "v": numbers(32, 2),
    }  # fmt: skip
    content = bytearray(model(nodes, {"x": ["N", 3, 8, 8]}, stored=stored).SerializeToString())
    generator = random.Random(seed)
    for _ in range(changes):
        content[generator.randrange(len(content))] = generator.choice([0, 1, 127, 128, 255, generator.randrange(256)])
    path = saved(folder, bytes(content))
    try:
        cost.totals(read_onnx(path))
    except NetwrightError as error:
        said = error
    else:
        return
    assert said.where
    assert said.got or said.expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04" + bytes(60), "PyTorch checkpoint"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 4\n", "Git LFS"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(30), "TensorFlow Lite"),
        (b"import os\nos.system('true')\n", "no ONNX model"),
        (b"\x08\x09", "no ONNX model"),
    ],
)
def test_other_files_are_told_apart(folder: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_onnx(saved(folder, content))


def test_names_that_are_no_text(folder: Path) -> None:
    """protobuf hands over bytes where a name is no UTF-8, also in the location of weights."""
    for content, name in ((convolution((1, 3, 8, 8)), b"first"), (external("weights.bin"), b"weights.bin")):
        damaged = content.SerializeToString().replace(name, b"\xff" + name[1:])
        with pytest.raises(DataError, match="no text"):
            read_onnx(saved(folder, damaged))


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder"):
        read_onnx(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_onnx(tmp_path / "absent.onnx")
    with pytest.raises(DataError, match="no regular file"):
        read_onnx("/dev/zero")


def external(location: str, **more: str) -> Any:
    made = convolution((1, 3, 8, 8))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return made


def test_external_weights_stay_in_the_folder(tmp_path: Path) -> None:
    home, secret = tmp_path / "home", tmp_path / "secret.bin"
    home.mkdir()
    secret.write_bytes(bytes(1000))
    (home / "link.bin").symlink_to(secret)
    (home / "weights.bin").write_bytes(bytes(432))
    for location in (
        "../secret.bin",
        str(secret),
        "a/../../secret.bin",
        "link.bin",
        "..\\secret.bin",
        "C:\\x",
        "",
        ".",
    ):
        with pytest.raises(DataError, match="a file in the folder of the network"):
            read_onnx(saved(home, external(location)))
    assert read_onnx(saved(home, external("weights.bin"))).parameters[0].shape == (4, 3, 3, 3)
    assert read_onnx(saved(home, external("absent.bin"))).parameters[0].shape == (4, 3, 3, 3)
    for more, says in (
        ({"offset": "4"}, "428 bytes in its external file"),
        ({"length": "12"}, "12 bytes"),
        ({"offset": "-1"}, "offset -1, length"),
        ({"offset": "zero"}, "'zero', expected offset and length as whole numbers"),
    ):
        with pytest.raises(DataError, match=says):
            read_onnx(saved(home, external("weights.bin", **more)))


def test_tensors_hold_what_they_declare(folder: Path) -> None:
    """A file of 200 bytes that declares weights of exabytes, or shapes that would take them."""
    huge = convolution((1, 3, 8, 8))
    huge.graph.initializer[0].dims[:] = [2**31, 3, 2**31, 3]
    with pytest.raises(DataError, match="432 bytes"):
        read_onnx(saved(folder, huge))
    negative = convolution((1, 3, 8, 8))
    negative.graph.initializer[0].dims[:] = [4, 3, -3, -3]
    with pytest.raises(DataError, match="sizes of at least 0"):
        read_onnx(saved(folder, negative))
    nodes = [
        helper.make_node("ConstantOfShape", ["long"], ["c"]), helper.make_node("Expand", ["c", "wide"], ["e"]),
        helper.make_node("Range", ["zero", "far", "one"], ["q"]), helper.make_node("Add", ["x", "e"], ["y"]),
    ]  # fmt: skip
    stored = {
        "long": np.array([2**20]), "wide": np.array([2**20, 2**20]), "zero": np.array(0), "far": np.array(2**40),
        "one": np.array(1),
    }  # fmt: skip
    graph = read_onnx(saved(folder, model(nodes, {"x": (1, 1)}, stored=stored)))
    assert graph.tensors["y"].shape == (2**20, 2**20)
    assert [operation.kind for operation in graph.operations] == ["add"]


def test_functions_neither_run_in_circles_nor_explode(folder: Path) -> None:
    """Each of 40 functions calls the next one twice: 2^40 nodes from 4 kB."""

    def made(calls: Callable[[int], list[str]], count: int) -> Any:
        functions = []
        for number in range(count):
            nodes, last = [], "a"
            for place, callee in enumerate(calls(number)):
                domain = "" if callee == "Relu" else "mine"
                nodes.append(helper.make_node(callee, [last], [f"t{place}"], domain=domain))
                last = f"t{place}"
            nodes[-1].output[0] = "b"
            imports = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
            functions.append(helper.make_function("mine", f"F{number}", ["a"], ["b"], nodes, imports))
        whole = model([helper.make_node("F0", ["x"], ["y"], domain="mine")], {"x": (1, 3)}, functions=functions)
        whole.opset_import.append(helper.make_opsetid("mine", 1))
        return whole

    with pytest.raises(DataError, match="1,099,511,627,776 nodes"):
        read_onnx(saved(folder, made(lambda n: [f"F{n + 1}"] * 2 if n < 39 else ["Relu"] * 2, 40)))
    with pytest.raises(DataError, match="calls itself"):
        read_onnx(saved(folder, made(lambda n: [f"F{(n + 1) % 3}"], 3)))
    assert len(read_onnx(saved(folder, made(lambda n: ["F1"] * 2 if n == 0 else ["Relu"] * 2, 2))).operations) == 4


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (helper.make_node("Relu", ["nowhere"], ["y"], name="r"), "Relu 'r': got the input 'nowhere'"),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=0), "0 groups"),
        (helper.make_node("Conv", ["x", "w"], ["y"], strides=[0, 0]), "positive values"),
        (helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[2, 2]), "kernel_shape 2x2, expected 3x3"),
        (helper.make_node("Transpose", ["x"], ["y"], perm=[0]), "1 axes"),
        (helper.make_node("Reshape", ["x", "to"], ["y"]), "as many values as 7x5"),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), "Incompatible dimensions"),
        (helper.make_node("Conv", ["x", "w"], ["y"], strides="two"), "attribute type"),
        (helper.make_node("Relu", ["x", "w"], ["y"]), "input size 2"),
        (helper.make_node("Relu", ["x"], ["x"]), "a second time"),
        (helper.make_node("Relu", ["x"], ["other"]), "output 'y'"),
        (helper.make_node("MaxPool", ["x"], ["y"]), "kernel_shape"),
    ],
)
def test_a_node_that_does_not_fit_is_named(folder: Path, node: Any, says: str) -> None:
    stored = {"w": numbers(4, 3, 3, 3), "to": np.array([7, 5])}
    with pytest.raises(NetworkError) as caught:
        read_onnx(saved(folder, model([node], {"x": (1, 3, 8, 8)}, stored=stored)))
    assert says in str(caught.value)
    assert caught.value.where.startswith("network.onnx: ")


def test_without_onnx_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(folder, convolution((1, 3, 8, 8)))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"netwright\[onnx\]"):
        read_onnx(path)
