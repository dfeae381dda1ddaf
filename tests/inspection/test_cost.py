"""Cost from the graph: products counted by arithmetic on ones, by PyTorch's counter; memory by simulation and profiler.

The published tables are in ``test_cost_tables``.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from netwright.graph.products import einsum_macs
from netwright.graph.structure import Graph, Operation, ParameterInfo, TensorInfo
from netwright.graph.tracing import trace
from netwright.inspection.cost import Cost, Totals, activations, costs, item_bytes, totals
from reference import shared_folder


class Calls(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def total(network: nn.Module, *shapes: tuple[int, ...], batch: int = 1) -> Totals:
    return totals(trace(network, shapes[0] if len(shapes) == 1 else list(shapes), batch=batch))


# -------------------------------------------------------------------------------------------------- products


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[dict[str, object], tuple[int, ...]]:
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))
    axis = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    facts = {
        "in_channels": groups * draw(st.integers(1, 3)), "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": axis(1, 3), "stride": axis(1, 3), "padding": axis(0, 2), "dilation": axis(1, 2),
        "groups": groups, "bias": draw(st.booleans()),
    }  # fmt: skip
    return facts, (int(facts["in_channels"]), *axis(5, 7))


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.integers(1, 3))
def test_a_convolution_of_ones_counts_its_own_products(case: tuple[dict, tuple[int, ...]], batch: int) -> None:
    """With inputs (the padding too) and weights of one, the sum of the output is the number of products."""
    facts, shape = case
    rank = len(shape) - 1
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1](**facts)
    sides = [side + 2 * pad for side, pad in zip(shape[1:], facts["padding"], strict=True)]
    bare = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    how = {key: facts[key] for key in ("stride", "dilation", "groups")}
    products = bare(torch.ones(1, shape[0], *sides), torch.ones_like(layer.weight), **how).sum()
    found = total(layer, shape, batch=batch)
    assert (found.macs, found.macs_per_example) == (batch * int(products), int(products))
    assert found.parameters == sum(parameter.numel() for parameter in layer.parameters())


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.data())
def test_a_transposed_convolution_counts_by_its_input(case: tuple[dict, tuple[int, ...]], data: st.DataObject) -> None:
    """Without cropping, the sum of what ones spread is the number of products; padding crops afterwards."""
    facts, shape = case
    rank = len(shape) - 1
    highest = [max(stride, dilation) - 1 for stride, dilation in zip(facts["stride"], facts["dilation"], strict=True)]
    extra = tuple(data.draw(st.integers(0, high)) for high in highest)
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1](**facts, output_padding=extra)
    spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    how = {key: facts[key] for key in ("stride", "dilation", "groups")}
    with torch.no_grad():
        try:
            layer(torch.zeros(2, *shape))
        except RuntimeError:  # the padding leaves nothing
            return
        products = spread(torch.ones(1, *shape), torch.ones_like(layer.weight), **how).sum()
    assert total(layer, shape, batch=2).macs == 2 * int(products)


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (torch.matmul, [(3, 4), (4, 5)]),
        (torch.matmul, [(2, 3, 4), (4, 5)]),
        (torch.matmul, [(4,), (4, 5)]),
        (torch.matmul, [(3, 4), (4,)]),
        (torch.matmul, [(4,), (4,)]),
        (torch.matmul, [(2, 1, 3, 4), (5, 4, 2)]),
        (torch.bmm, [(2, 3, 4), (2, 4, 5)]),
        (torch.inner, [(3, 4), (5, 4)]),
        (lambda a, b: torch.addmm(torch.zeros(3, 5), a, b), [(3, 4), (4, 5)]),
        (lambda a, b: torch.baddbmm(torch.zeros(2, 3, 5), a, b), [(2, 3, 4), (2, 4, 5)]),
        (lambda a, b: a @ b.mT, [(2, 3, 4), (2, 5, 4)]),
        (lambda a, b: torch.tensordot(a, b, dims=([2, 0], [0, 1])), [(2, 3, 4), (4, 2, 5)]),
        (lambda a, b: torch.einsum("bhid,bhjd->bhij", a, b), [(2, 3, 4, 5), (2, 3, 6, 5)]),
        (lambda a, b: torch.einsum("...ij,jk", a, b), [(2, 3, 4), (4, 5)]),
        (lambda a, b: F.linear(a, b), [(2, 3, 4), (5, 4)]),
    ],
)
def test_matrix_products_of_ones_count_themselves(function: Callable[..., Tensor], shapes: list) -> None:
    ones = [torch.ones(shape) for shape in shapes]
    graph = trace(Calls(function), ones)
    assert totals(graph).macs == int(function(*ones).sum())


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 24 + 40),  # from the left: (2×3)(3×4), then (2×4)(4×5)
        ("ij,k->i", [(2, 3), (4,)], 2),  # j and k are summed alone before
        ("ii->i", [(3, 3)], 0),
        ("bij,bjk", [(2, 3, 4), (2, 4, 5)], 120),
    ],
)
def test_einsum_by_hand(equation: str, shapes: list[tuple[int, ...]], expected: int) -> None:
    assert einsum_macs(equation, shapes) == expected


@pytest.mark.parametrize(("layers", "both", "projection"), list(itertools.product((1, 2), (False, True), (0, 3))))
def test_recurrent_layers_count_as_their_written_out_products(layers: int, both: bool, projection: int) -> None:
    """PyTorch's counter sees the products of a recurrent layer where oneDNN's fused one is off."""
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        if projection and kind is not nn.LSTM:
            continue
        how = {"proj_size": projection} if projection else {}
        layer = kind(5, 6, layers, bidirectional=both, batch_first=True, **how)
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            layer(torch.zeros(2, 7, 5))
        assert 2 * total(layer, (7, 5), batch=2).macs == counter.get_total_flops()


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_cells(cell: type[nn.Module], gates: int) -> None:
    assert total(cell(5, 6), (5,), batch=3).macs == 3 * gates * (5 * 6 + 6 * 6)


def test_bilinear_is_a_matrix_and_a_product() -> None:
    assert total(nn.Bilinear(2, 3, 4), (2,), (3,), batch=5).macs == 5 * 4 * (2 * 3 + 2)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_counted_also_where_pytorchs_counter_sees_nothing(causal: bool) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    q, k, v = torch.ones(2, 3, 7, 4), torch.ones(2, 3, 9, 4), torch.ones(2, 3, 9, 5)
    found = totals(trace(Calls(attend), [q, k, v])).macs
    assert found == int((q @ k.mT).sum()) + int((torch.ones(2, 3, 7, 9) @ v).sum())


def test_multihead_attention_equals_its_six_products() -> None:
    for weights, fast in itertools.product((True, False), (True, False)):
        layer = nn.MultiheadAttention(8, 2, batch_first=True, bias=fast).eval()
        graph = trace(Calls(lambda x, m=layer, w=weights: m(x, x, x, need_weights=w)[0]), (5, 8), batch=3)
        assert totals(graph).macs == 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    found = total(encoder, (5, 8), batch=3)
    assert found.macs == 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8 + 2 * 5 * 8 * 16)
    assert not found.uncounted


def cases() -> list[dict]:
    path = shared_folder() / "reference" / "semantics_cases.json"
    found = [case for case in json.loads(path.read_text()) if case["kind"] == "macs"] if path.exists() else []
    return found or [{"name": "no reference"}]


MEANT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ConvTranspose2d(3,1,2,s2) on 2x2": (lambda: nn.ConvTranspose2d(3, 1, 2, 2, bias=False), (3, 2, 2)),
    "ConvTranspose2d(32,1,3) on 1x1": (lambda: nn.ConvTranspose2d(32, 1, 3, bias=False), (32, 1, 1)),
    "ConvTranspose2d(4,4,3,s2,p1,op1,g4) on 2x8x8": (
        lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=4, bias=False), (4, 8, 8)),
    "ConvTranspose2d(6,6,2,s2,g3) on 2x8x8": (lambda: nn.ConvTranspose2d(6, 6, 2, 2, groups=3, bias=False), (6, 8, 8)),
    "depthwise Conv2d(32,32,3,p1,g32) on 8x8": (
        lambda: nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False), (32, 8, 8)),
    "grouped Conv2d(96,256,5,p2,g2) on 27x27": (
        lambda: nn.Conv2d(96, 256, 5, padding=2, groups=2, bias=False), (96, 27, 27)),
    "SDPA B1 H12 S64 D64 on CPU": (lambda: Calls(F.scaled_dot_product_attention), (12, 64, 64)),
}  # fmt: skip


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_cases_that_counters_get_wrong(case: dict) -> None:
    if "source" not in case:
        pytest.skip(f"no reference data in {shared_folder()}")
    build, shape = MEANT[case["name"]]
    batch = 2 if " on 2x8x8" in case["name"] else 1
    shapes = [shape] * 3 if "expect_flops" in case else [shape]
    found = total(build(), *shapes, batch=batch)
    if "expect_flops" in case:
        assert found.flops == case["expect_flops"]
    else:
        assert (found.macs, found.parameters) == (case["expect_macs"], case["params"])


# ------------------------------------------------------------------------------------------------ parameters


class Tied(nn.Module):
    """A layer that runs twice, a weight that two layers share, a frozen layer, and one that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 4)
        self.twice = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.frozen(self.twice(self.twice(self.embedding(x))))))


def test_shared_frozen_and_unused_parameters_are_counted_once() -> None:
    network = Tied()
    graph = trace(network, torch.zeros(5, dtype=torch.int64))
    rows, found = costs(graph), totals(graph)
    assert (found.parameters, found.frozen, found.unused) == (44 + 20 + 20 + 12 + 8, 20, 12)
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert found.parameters == sum(row.parameters for row in rows.values()) + found.unused
    assert [rows[name].parameters for name in ("embedding", "twice", "twice#2", "head")] == [44, 20, 0, 0]
    assert [rows[name].reused for name in ("twice#2", "head")] == [20, 44]
    assert rows["frozen"].frozen == 20
    assert rows["frozen"].trainable == 0
    assert rows["twice#2"].macs == rows["twice"].macs == 5 * 4 * 4  # work is done as often as it is done
    assert rows["norm"].buffers == 4 + 4
    assert found.buffers == 4 + 4 + 1
    assert sum(row.share_parameters for row in rows.values()) == pytest.approx(1 - 12 / found.parameters)
    assert rows["embedding"].bytes_moved == 5 * 8 + 2 * 5 * 4 * 4, "a lookup does not read the whole table"


def test_functional_calls_are_like_layers() -> None:
    weight, bias = torch.ones(6, 3, 3, 3), torch.ones(6)
    written = Calls(lambda x: F.relu(F.conv2d(x, weight, bias, padding=1)).flatten(1) @ torch.ones(6 * 64, 5))
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 5, bias=False))
    assert total(written, (3, 8, 8)).macs == total(layers, (3, 8, 8)).macs == 6 * 27 * 64 + 384 * 5


# ----------------------------------------------------------------------------------------------------- bytes


def test_bytes_by_hand() -> None:
    """float32: a convolution reads input and weights and writes its output; a view moves nothing; ReLU in place reads
    and writes."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(), nn.Linear(144, 2))
    rows = costs(trace(network.eval(), (3, 8, 8)))
    weights, source, made = 4 * (4 * 27 + 4), 4 * 3 * 64, 4 * 4 * 36
    first = rows["0"]
    assert (first.weight_bytes, first.input_bytes, first.output_bytes) == (weights, source, made)
    assert first.bytes_moved == weights + source + made
    assert first.intensity == pytest.approx(2 * 4 * 27 * 36 / first.bytes_moved)
    assert rows["1"].bytes_moved == 2 * made
    assert rows["1"].share_memory == 0
    assert rows["2"].bytes_moved == rows["3"].bytes_moved == 0
    assert rows["4"].bytes_moved == made + 4 * (2 * 144 + 2) + 4 * 2
    assert sum(row.share_macs for row in rows.values()) == pytest.approx(1)
    assert sum(row.share_memory for row in rows.values()) == pytest.approx(1)


def test_a_view_that_must_copy_moves_what_it_copies() -> None:
    rows = costs(trace(Calls(lambda x: x.transpose(1, 2).reshape(1, -1) + x.reshape(1, -1)), (3, 4)))
    assert [row.bytes_moved for row in rows.values()] == [0, 2 * 48, 0, 3 * 48]


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "bfloat16", "bool", "uint8", "int64", "complex64", "float8_e4m3fn"]
)
def test_bytes_of_a_type(dtype: str) -> None:
    assert item_bytes(dtype) == torch.empty((), dtype=getattr(torch, dtype)).element_size()


def test_records_survive_json() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), (3, 8, 8), batch=2)
    row, found = costs(graph)["0"], totals(graph)
    assert Cost.from_json(row.to_json()) == row
    assert Totals.from_json(found.to_json()) == found


# -------------------------------------------------------------------------------------------------- liveness


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """Random straight-line programs: operations on one or two earlier tensors, some views, some in place."""
    sizes = st.integers(1, 50)
    tensors = {"x": TensorInfo(name="x", shape=(draw(sizes),), dtype="uint8")}
    operations = []
    for number in range(draw(st.integers(1, 12))):
        name, made = f"op{number}", f"t{number}"
        inputs = tuple(draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=2)))
        shares = draw(st.sampled_from(["own", "own", "view"]))
        source = tensors[inputs[0]]
        storage = "" if shares == "own" else source.storage or source.name
        shape = (draw(sizes),) if shares == "own" else source.shape
        tensors[made] = TensorInfo(name=made, shape=shape, dtype="uint8", producer=name, storage=storage)
        operations.append(
            Operation(name=name, kind="reshape" if storage else "mystery", inputs=inputs, outputs=(made,))
        )
    outputs = tuple(draw(st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=2, unique=True)))
    return Graph(inputs=("x",), outputs=outputs, tensors=tensors, operations=tuple(operations), parameters=())


@settings(max_examples=150, deadline=None)
@given(programs())
def test_liveness_equals_an_interpreter_that_frees_what_nobody_will_read(graph: Graph) -> None:
    """The interpreter looks ahead from each moment anew: quadratic, and no births or deaths in it."""
    held = {"x"}
    live = []
    for place, operation in enumerate(graph.operations):
        held |= set(operation.outputs)
        needed = {name for later in graph.operations[place:] for name in later.inputs} | set(graph.outputs)
        needed |= set(operation.outputs)
        homes = {graph.tensors[name].storage or name for name in held & needed}
        live.append(sum(math.prod(graph.tensors[name].shape) for name in homes))
    found = activations(graph)
    assert list(found.live.values()) == live
    assert found.peak == max(live)
    assert found.live[found.at] == found.peak


def test_weights_and_their_views_are_no_activations() -> None:
    graph = Graph(
        inputs=("x",), outputs=("y",),
        tensors={
            "x": TensorInfo(name="x", shape=(4,), dtype="float32"),
            "view": TensorInfo(name="view", shape=(100,), dtype="float32", producer="split", storage="weight"),
            "y": TensorInfo(name="y", shape=(8,), dtype="float32", producer="use"),
        },
        operations=(
            Operation(name="split", kind="split", inputs=(), outputs=("view",), parameters=("weight",)),
            Operation(name="use", kind="mul", inputs=("x", "view"), outputs=("y",)),
        ),
        parameters=(ParameterInfo(name="weight", shape=(300,), dtype="float32", trainable=True),),
    )  # fmt: skip
    assert activations(graph).peak == 4 * (4 + 8)
    assert costs(graph)["use"].weight_bytes == 400
    assert costs(graph)["use"].input_bytes == 16


def live_peak(network: nn.Module, x: Tensor) -> int:
    """Highest sum of live bytes in a forward pass, by PyTorch's profiler, the input with it."""
    with torch.inference_mode():
        network(x)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
            network(x)
    events = watched.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(change for _, change in changes)) + x.nbytes


def test_the_peak_is_that_of_a_real_run() -> None:
    """Dense layers and pointwise operations take nothing inside, so the bytes are equal, but for the input: Python
    keeps it in a variable for the whole run, and here nobody reads it any more when the peak comes."""
    dense = nn.Sequential(nn.Linear(16, 512), nn.ReLU(), nn.Linear(512, 1024), nn.ReLU(True), nn.Linear(1024, 10))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(16, 400), nn.Linear(400, 800), nn.Linear(800, 400)

        def forward(self, x: Tensor) -> Tensor:
            return (y := self.first(x)) + self.third(self.second(y).relu_()).view(-1, 400)

    for network, at in ((dense, "2"), (Residual(), "third")):
        x = torch.randn(32, 16)
        found = activations(trace(network, (16,), batch=32))
        assert found.at == at
        assert found.peak + x.nbytes == live_peak(network, x)
