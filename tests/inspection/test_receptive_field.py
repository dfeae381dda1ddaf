"""Receptive fields: three independent derivations (pixel sets, gradients, published tables) and the numeric traps."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rf_oracle import Chain, Step, add, chains, conv, deconv, pixels, pool
from torch import Tensor, nn

from netwright.errors import UsageError
from netwright.graph import kinds
from netwright.graph.structure import Graph
from netwright.graph.tracing import InputSpec, trace
from netwright.inspection import field_rules
from netwright.inspection.receptive_field import ReceptiveField, pixels_read, receptive_fields, spatial_axes
from netwright.nn.zoo import PUBLISHED
from reference import shared_folder


def reference(name: str) -> Path:
    file = shared_folder() / "reference" / name
    if not file.exists():
        pytest.skip(f"no {file} (NETWRIGHT_SHARED names another place)")
    return file


def field_of(network: nn.Module, shape: Sequence[int], training: bool = False) -> ReceptiveField:
    dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
    graph = trace(network, InputSpec(tuple(shape), dtype), training=training)
    return receptive_fields(graph)[graph.outputs[0]]


def of_chain(steps: Sequence[Step], length: int) -> ReceptiveField:
    return field_of(Chain(tuple(steps)).double(), (2, length))


def runs(steps: tuple[Step, ...], length: int) -> Graph | None:
    """The chain's graph, or None where PyTorch refuses it (no position left, a pad longer than the map)."""
    try:
        with torch.no_grad():
            made = Chain(steps)(torch.ones(1, 2, length, dtype=torch.float64))
    except (RuntimeError, ValueError):
        return None
    if not 0 < made.shape[2] < 400:
        return None
    return trace(Chain(steps), InputSpec((2, length), torch.float64))


# ---- (b) explicit sets of pixels


@given(steps=chains(borders=True), length=st.integers(8, 30))
@settings(max_examples=120, deadline=None)
def test_every_position_reads_what_the_naive_sets_say(steps: tuple[Step, ...], length: int) -> None:
    graph = runs(steps, length)
    assume(graph is not None)
    assert graph is not None
    output = graph.outputs[0]
    expected = pixels(steps, length)
    size = graph.tensors[output].shape[2]
    assert size == len(expected)
    for position in sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size))):
        found = pixels_read(graph, output, (0, 0, position))
        assert found is not None
        assert set(found[0]) == expected[position]


@given(steps=chains(borders=False, longest=4))
@settings(max_examples=60, deadline=None)
def test_the_law_is_what_inner_positions_read(steps: tuple[Step, ...]) -> None:
    """Size, covered pixels, phases, steps and stride, where no border is near; positions of one common period."""
    length = 240
    graph = runs(steps, length)
    assume(graph is not None)
    assert graph is not None
    field = receptive_fields(graph)[graph.outputs[0]].axis(0)
    expected = pixels(steps, length)
    assume(field.stride is not None and field.size is not None and field.size < length // 4 and len(expected) > 36)
    assume(field.shift is not None)  # with misaligned strides there is no law
    inner = expected[len(expected) // 3 : 2 * len(expected) // 3]
    assert {max(read, default=-1) - min(read, default=0) + 1 for read in inner} == set(field.phases)
    assert max(map(len, inner)) == field.covered
    if all(inner):
        centers = [(max(read) + min(read)) / 2 for read in inner]
        assert {b - a for a, b in itertools.pairwise(centers)} == set(field.steps)
        unevenness = 2 * max(map(abs, field.steps)) / (len(inner) - 1)
        assert (centers[-1] - centers[0]) / (len(centers) - 1) == pytest.approx(field.stride, abs=unevenness)
    assert field.offset is not None
    if len(field.phases) == len(field.steps) == 1:
        first = len(expected) // 3
        assert all(min(read) == field.offset + (first + at) * field.stride for at, read in enumerate(inner))


# ---- (c) gradients


def nonzero(gradient: Tensor, axes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Where a gradient is not zero, per axis; 1e-13 of the largest is rounding's."""
    found = gradient.abs() > gradient.abs().max() * 1e-13
    return tuple(
        tuple(found.any(dim=[other for other in range(found.dim()) if other != axis]).nonzero().flatten().tolist())
        for axis in axes
    )


def agrees_with_gradients(
    network: nn.Module, shape: Sequence[int], channel: int | None = 1, examples: int = 5, seed: int = 0
) -> None:
    """The gradient of single positions (summed over axis ``channel``) against the prediction, corners included."""
    network = network.double().eval()
    graph = trace(network, InputSpec(tuple(shape), torch.float64))
    output, axes = graph.outputs[0], spatial_axes(graph, graph.inputs[0])
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(1, *shape, generator=generator, dtype=torch.float64) + 0.5).requires_grad_()
    made = network(x)
    made = made if isinstance(made, Tensor) else made[0]
    sizes = made.shape
    if channel is not None:  # any sum would do but one that a norm or a softmax makes constant
        wide = [-1 if axis == channel else 1 for axis in range(len(sizes))]
        made = made * torch.rand(sizes[channel], generator=generator, dtype=torch.float64).view(wide)
    corners = [[0] * len(sizes), [size - 1 for size in sizes]]
    drawn = [[int(torch.randint(size, (), generator=generator)) for size in sizes] for _ in range(examples)]
    for position in (*corners, *drawn):
        index: list[Any] = list(position)
        if channel is not None:
            index[channel] = slice(None)
        (gradient,) = torch.autograd.grad(made[tuple(index)].sum(), x, retain_graph=True, allow_unused=True)
        assert pixels_read(graph, output, position) == nonzero(gradient, axes), position


@given(steps=chains(borders=True), length=st.integers(10, 24), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_gradients_of_random_networks(steps: tuple[Step, ...], length: int, seed: int) -> None:
    assume(runs(steps, length) is not None)
    torch.manual_seed(seed)
    network = Chain(steps).double()
    x = torch.ones(1, 2, length, dtype=torch.float64, requires_grad=True)
    assume(network(x).requires_grad)
    agrees_with_gradients(network, (2, length), seed=seed, examples=2)


class Do(nn.Module):
    """A convolution, a function of its map, and layers for it to use."""

    def __init__(self, function: Any, *layers: nn.Module, first: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, 2, 1) if first is None else first
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.first(x), *self.layers)  # type: ignore[no-any-return]


def windows(x: Tensor, size: int) -> Tensor:
    """(N, C, H, W) → (N · windows, size², C), as Swin has them."""
    n, c, h, w = x.shape
    return x.view(n, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)


def unwindowed(x: Tensor, size: int, h: int, w: int) -> Tensor:
    c = x.shape[2]
    x = x.view(-1, h // size, w // size, size, size, c).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(-1, c, h, w)


class Attended(nn.Module):
    """(N, T, C) → the same."""

    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.qkv, self.causal = nn.Linear(4, 12), causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)


CONSTRUCTIONS = {
    "identity shortcut of option A": Do(
        lambda x, c: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 4)) + c(x), nn.Conv2d(4, 8, 3, 2, 1)
    ),
    "squeeze and excite": Do(lambda x, c: c(x * torch.sigmoid(x.mean((2, 3), keepdim=True))), nn.Conv2d(4, 4, 3)),
    "softmax over positions": Do(lambda x: x.flatten(2).softmax(-1).view_as(x)),
    "softmax over channels": Do(lambda x: x.softmax(1)),
    "layer norm over channels": Do(lambda x, n: n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) + 1, nn.LayerNorm(4)),
    "layer norm over a row": Do(lambda x, n: n(x), nn.LayerNorm(6)),
    "batch norm": Do(lambda x, n, c: c(n(x)), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)),
    "group norm": Do(lambda x, n: n(x), nn.GroupNorm(2, 4)),
    "instance norm": Do(lambda x, n: n(x), nn.InstanceNorm2d(4)),
    "instance norm with running statistics": Do(lambda x, n: n(x), nn.InstanceNorm2d(4, track_running_stats=True)),
    "response norm": Do(lambda x, n, c: c(n(x)), nn.LocalResponseNorm(3), nn.Conv2d(4, 4, 2)),
    "pixel shuffle": Do(lambda x, c: c(F.pixel_shuffle(x, 2)), nn.Conv2d(1, 2, 3)),
    "pixel unshuffle": Do(lambda x, c: c(F.pixel_unshuffle(x, 2)), nn.Conv2d(16, 2, 2)),
    "channel shuffle": Do(lambda x, c: c(F.channel_shuffle(x, 2)), nn.Conv2d(4, 2, 3)),
    "focus": Do(
        lambda x, c: c(torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)), nn.Conv2d(16, 2, 2)
    ),
    "windows": Do(lambda x, a: unwindowed(a(windows(x, 3)), 3, *x.shape[2:]), Attended()),
    "windows and a convolution": Do(
        lambda x, a, c: c(unwindowed(a(windows(x, 3)), 3, *x.shape[2:])), Attended(), nn.Conv2d(4, 2, 3)
    ),
    "rows that attend": Do(
        lambda x, a: a(x.permute(0, 2, 3, 1).flatten(0, 1) / 9).unflatten(0, (1, -1)).permute(0, 3, 1, 2), Attended()
    ),
    "scale by an outer product": Do(lambda x: x * x.sum(2, keepdim=True) * x.sum(3, keepdim=True)),
    "matmul over a row": Do(lambda x: x @ x.transpose(2, 3)),
    "einsum over a column": Do(lambda x: torch.einsum("nchw,ncgw->nchg", x, x)),
    "einsum of positions": Do(lambda x: torch.einsum("nchw,nchw->nhw", x, x).unsqueeze(1)),
    "dense layer over a row": Do(lambda x, d: d(x), nn.Linear(6, 3)),
    "a row of every picture": Do(lambda x, c: c(x.select(2, 1).unsqueeze(2)), nn.Conv2d(4, 2, (1, 3))),
    "in place": Do(lambda x, c: c(x.clone().mul_(2).add_(1)), nn.Conv2d(4, 2, 3)),
    "written into zeros": Do(lambda x, c: c(_framed(x)), nn.Conv2d(4, 2, 3)),
    "stacked and reduced": Do(lambda x, c: torch.stack([x, x.flip(2)], 2).sum(2) * 1.5 + c(x), nn.Conv2d(4, 4, 1)),
    "split along a row": Do(lambda x: torch.cat(x.split([2, 4], 3)[::-1], 3)),
    "unbound along a row": Do(lambda x: torch.stack(x.unbind(3)[::-1], 3)),
    "tiled": Do(lambda x: x.repeat(1, 1, 2, 1)),
    "interleaved": Do(lambda x: x.repeat_interleave(2, 3)),
    "gated halves": Do(lambda x: F.glu(x, 3)),
    "chosen channels": Do(lambda x, c: c(x[:, [0, 2, 3]]), nn.Conv2d(3, 2, 3)),
    "depthwise": Do(lambda x, c: c(x), nn.Conv2d(4, 4, (3, 1), 2, (1, 0), groups=4)),
    "antialiased": Do(lambda x: F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True)),
    "scaled by 1.7": Do(lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear")),
    "nearest exact": Do(lambda x: F.interpolate(x, size=(4, 11), mode="nearest-exact")),
    "area": Do(lambda x: F.interpolate(x, size=(4, 5), mode="area")),
    "adaptive": Do(lambda x: F.adaptive_avg_pool2d(x, (4, 1))),
}  # fmt: skip


def _framed(x: Tensor) -> Tensor:
    frame = x.new_zeros(x.shape[0], x.shape[1], x.shape[2] + 3, x.shape[3] + 2)
    frame[:, :, 1:-2, 1:-1] = x
    return frame


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_gradients_of_constructions(name: str) -> None:
    torch.manual_seed(0)
    network = CONSTRUCTIONS[name]
    for parameter in network.parameters():  # drawn here: those of the import may saturate a softmax
        parameter.data.uniform_(0.1, 0.4)
    agrees_with_gradients(network, (2, 12, 12))
    assert not field_of(network, (2, 12, 12)).unknown


class Weighed(nn.Module):
    """A parameter on either side of a product, and one among the operands of an einsum."""

    def __init__(self, side: str) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.rand({"left": (3, 8), "right": (6, 5)}.get(side, (6, 8, 4))) + 0.1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 2, 16, 12) → (N, 2, 8, 6) →
        x = F.avg_pool2d(x, 2)
        if self.side == "left":
            return self.weight @ x
        return x @ self.weight if self.side == "right" else torch.einsum("who,nchw->ncho", self.weight, x)


@pytest.mark.parametrize(("side", "whole"), [("left", (True, False)), ("right", (False, True)), ("sum", (False, True))])
def test_products_with_parameters(side: str, whole: tuple[bool, bool]) -> None:
    torch.manual_seed(0)
    network = Weighed(side)
    agrees_with_gradients(network, (2, 16, 12))
    assert field_of(network, (2, 16, 12)).whole == whole


class Sequence2(nn.Module):
    """(N, T, 4) → (N, T, 4) by a recurrent layer or attention behind a convolution."""

    def __init__(self, layer: nn.Module, pick: Any = None) -> None:
        super().__init__()
        self.first, self.layer, self.pick = nn.Conv1d(2, 4, 3, 2), layer, pick

    def forward(self, x: Tensor) -> Tensor:
        made = self.layer(self.first(x).transpose(1, 2))
        made = made[0] if isinstance(made, tuple) else made
        return made if self.pick is None else self.pick(made)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(4, 4, batch_first=True),
        nn.GRU(4, 4, 2, batch_first=True),
        nn.RNN(4, 2, batch_first=True, bidirectional=True),
        Attended(),
        Attended(causal=True),
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
    ],
    ids=["lstm", "gru", "bidirectional", "attention", "causal", "transformer"],
)
def test_gradients_of_sequences(layer: nn.Module) -> None:
    torch.manual_seed(0)
    network = Sequence2(layer)
    for parameter in network.parameters():
        parameter.data.uniform_(-0.5, 0.5)
    agrees_with_gradients(network, (2, 17), channel=2)
    assert field_of(network, (2, 17)).whole == (True,)


# ---- the numeric traps

CHAINS: dict[str, tuple[Step, ...]] = {
    "3x3 d2, 3x3 d2": (conv(3, 1, 2, 2),) * 2,
    "3x3 d1,d2,d4": tuple(conv(3, 1, d, d) for d in (1, 2, 4)),
    "3x3 d2,d2,d2": (conv(3, 1, 2, 2),) * 3,
    "WaveNet block k2 d=1..512": tuple(conv(2, 1, 0, 2**n) for n in range(10)),
    "WaveNet 3 blocks": tuple(conv(2, 1, 0, 2**n) for n in range(10)) * 3,
    "1x1 s2": (conv(1, 2),),
    "1x1 s2 then 3x3": (conv(1, 2), conv(3, 1, 1)),
    "3x3 s2 then 3x3 (ResNet v1.5)": (conv(3, 2, 1), conv(3, 1, 1)),
    "even kernel 2x2/2 pool": (pool(2, 2),),
    "conv3 pool2 tconv2s2 conv3": (conv(3, 1, 1), pool(2, 2), deconv(2, 2), conv(3, 1, 1)),
    "tconv3 s2 p1 op1": (conv(3, 2, 1), deconv(3, 2, 1, 1)),
    "bilinear x2 (align_corners=False)": (conv(3, 2, 1), ("scale", "linear", 2.0)),
    "nearest x2": (conv(3, 2, 1), ("scale", "nearest", 2.0)),
}


def test_chains_of_the_reference() -> None:
    """All thirteen ``rf`` cases: extent, phases, covered pixels, steps between centres, padding.

    The reference prints a padding only where centres move evenly, and takes it from the centre of position 0.
    """
    cases = [case for case in json.loads(reference("semantics_cases.json").read_text()) if case["kind"] == "rf"]
    assert {case["name"] for case in cases} == set(CHAINS)
    for case in cases:
        field = of_chain(CHAINS[case["name"]], case["n"]).axis(0)
        assert (field.size, sorted(case["rf_set"])) == (case["rf"], list(field.phases)), case
        assert (field.covered, field.steps) == (case["touched"], tuple(case["stride"])), case
        assert field.padding == case["pad"], case


class Google(nn.Module):
    """The graphs of google-research/receptive_field's own tests, with one channel."""

    def __init__(self, name: str, maxpool: bool = False) -> None:
        super().__init__()
        self.name, self.maxpool = name, maxpool

    def forward(self, x: Tensor) -> Tensor:
        def c(x: Tensor, k: int | tuple[int, int], s: int = 1, p: int = 0) -> Tensor:
            height, width = (k, k) if isinstance(k, int) else k
            if self.maxpool:
                return F.max_pool2d(x, (height, width), s, p)
            return F.conv2d(x, torch.ones(1, 1, height, width), None, s, p)

        def same(x: Tensor, k: int, s: int) -> Tensor:  # TensorFlow's SAME
            total = max((-(-x.shape[2] // s) - 1) * s + k - x.shape[2], 0)
            return F.pad(x, (total // 2, total - total // 2) * 2)

        if self.name in ("network_1", "network_2"):
            left = F.conv2d(x, torch.ones(1, 1, 1, 1), None, 4)
            return left + c(c(F.pad(x, (1, 0, 1, 0)), 3, 2), 1, 2)
        if self.name == "network_3":
            return c(F.pad(x, (2, 1, 2, 1)), 5, 2)[..., :8, :8] + c(c(x, 3), 3)[..., :8, :8]
        if self.name == "network_4":
            return c(x, 1, 4) + c(c(same(x, 3, 2), 3, 2), 1, 2)
        if self.name == "network_5":
            return c(c(x, (3, 5), 2), (3, 1), 2)
        x = c(x, 1, 4) + c(c(x, 3, 2, 1), 1, 2)  # network_8: a sum behind a sum
        return c(x, 1, 2) + c(x, 3, 2, 1)


def test_graphs_of_the_reference() -> None:
    """All eight ``rf_graph`` cases. An ``error`` there is a misalignment that is reported here.

    A padding of ``None`` (input size unknown to TensorFlow) says that SAME depends on the size: 1 at 9×9, and at 8×8 no
    common centre at all. network_8 is written from its published numbers, 11, 8, 5, and structure: stacked sums.
    """
    cases = {
        case["name"]: case["expect"]
        for case in json.loads(reference("semantics_cases.json").read_text())
        if case["kind"] == "rf_graph"
    }
    assert len(cases) == 8
    for name in ("network_1", "network_2"):
        field = field_of(Google(name, maxpool=name == "network_2"), (1, 32, 32)).axis(1)
        assert (field.size, field.stride, field.padding) == tuple(cases[name].values())
        assert field.aligned
    strides = field_of(Google("network_3"), (1, 19, 19))
    assert (strides.aligned, strides.shift) == (False, (None, None))
    assert "strides 2 vs 1" in cases["network_3"]["error"]
    nine, eight = (field_of(Google("network_4"), (1, size, size)).axis(0) for size in (9, 8))
    assert (nine.size, nine.stride, nine.padding) == tuple(cases["network_4, input 9x9"].values())
    unknown = cases["network_4, size unknown"]
    assert (nine.size, nine.stride, unknown["pad"]) == (unknown["rf"], unknown["stride"], None)
    assert nine.aligned
    assert (eight.aligned, eight.shift) == (False, 1)
    assert "misaligned" in cases["network_4, input 8x8"]["error"]
    oblong = field_of(Google("network_5"), (1, 40, 40))
    assert oblong.size == (cases["network_5"]["rf_y"], cases["network_5"]["rf_x"])
    assert oblong.stride == (4, 4)
    assert oblong.padding == (0, 0)
    stacked = field_of(Google("network_8"), (1, 33, 33)).axis(0)
    assert (stacked.size, stacked.stride, stacked.padding) == tuple(cases["network_8 / 9@17"].values())
    assert stacked.aligned


def test_misalignment_stays_said_and_names_the_sum() -> None:
    network = Chain((add((conv(3, 2, 1),), (pool(2, 2),)), conv(3, 1, 1))).double()
    graph = trace(network, InputSpec((2, 64), torch.float64))
    field = receptive_fields(graph)[graph.outputs[0]]
    assert not field.aligned
    assert field.shift == (0.5,)
    assert graph.operation(field.misaligned_at).kind in ("stack", "add")
    assert (field.axis(0).size, field.axis(0).offset) == (7, -3)  # the hull of -1 … 1 and 0 … 1, and a stride each way
    assert of_chain((add((conv(3, 1, 1),), ()),), 20).aligned


# ---- what cannot be followed, and what is there


class Strange(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2)
        return F.max_pool2d(torch.linalg.svd(x).U, 2)


def test_what_cannot_be_followed_is_named() -> None:
    graph = trace(Strange(), (1, 8, 8))
    fields = receptive_fields(graph)
    field = fields[graph.outputs[0]]
    assert [operation.name for operation in graph.unfollowed()] == [field.unknown]
    assert field.size == (None, None)
    assert fields["avg_pool2d_1"].size == (2, 2)
    assert pixels_read(graph, graph.outputs[0], (0, 0, 0, 0)) is None


def test_every_kind_that_the_graph_knows_has_a_rule_or_says_unknown() -> None:
    """What is position by position is not also known as something else; what lies along an axis has its rule."""
    assert kinds.ACTIVATIONS <= kinds.ELEMENTWISE
    assert not field_rules.LOCAL & kinds.INDIRECT - {"tril", "triu"}
    assert not set(field_rules.RULES) & field_rules.LOCAL
    written = {kind for kind in kinds.ALONG_DIM if kind not in field_rules.RULES}
    assert not written


def test_several_inputs() -> None:
    class Two(nn.Module):
        def forward(self, numbers: Tensor, picture: Tensor) -> Tensor:
            return F.avg_pool2d(picture, 3, 2) * numbers.sum(1)[:, None, None, None]

    graph = trace(Two(), [(4,), (1, 9, 9)])
    output = graph.outputs[0]
    assert receptive_fields(graph)[output].input == graph.inputs[1]
    assert receptive_fields(graph)[output].size == (3, 3)
    assert receptive_fields(graph, graph.inputs[0])[output].size == (4,)
    assert receptive_fields(graph, graph.inputs[0])[output].whole == (True,)
    with pytest.raises(UsageError, match="numbrs"):
        receptive_fields(graph, "numbrs")


def test_sequences_have_their_steps_as_axis() -> None:
    """(N, T, D) for dense layers, integers (N, T) for embeddings, (N, C, L) for convolutions."""
    tokens = trace(nn.Sequential(nn.Embedding(9, 4), Attended()), InputSpec((7,), torch.int64))
    assert receptive_fields(tokens)["0"].size == (1,)
    assert receptive_fields(tokens)[tokens.outputs[0]].whole == (True,)
    assert spatial_axes(trace(nn.Sequential(nn.Linear(4, 2)), (7, 4)), "input") == (1,)
    assert spatial_axes(trace(nn.Sequential(nn.Conv1d(4, 2, 3)), (4, 7)), "input") == (2,)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("weights", [False, True], ids=["fused", "by parts"])
def test_inside_attention_steps_see_themselves_until_they_meet(weights: bool, batch: int) -> None:
    """PyTorch's attention turns (N, T, D) to (T, N, D) before its first dense layer; the axis stays that of T. Up to
    the scaled queries all see one step, the products of queries and keys two of them, everything behind sees all."""
    layer = nn.MultiheadAttention(8, 2, batch_first=True)

    class Itself(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=weights)[0]  # type: ignore[no-any-return]

    graph = trace(Itself(), (5, 8), batch=batch)
    assert spatial_axes(graph, "input") == (1,)
    fields = receptive_fields(graph)
    meet = next(at for at, one in enumerate(graph.operations) if one.kind in ("matmul", "attention"))
    for at, operation in enumerate(graph.operations):
        field = fields[operation.outputs[0]]
        assert (field.size == (1,)) == (at < meet), operation.name
        assert field.whole == (at > meet or (not weights and at == meet),), operation.name


def published_network(name: str, **arguments: Any) -> Graph:
    known = PUBLISHED[name]
    with torch.device("meta"):
        network = known.build(known.input_shape, known.outputs, **arguments)
    return trace(network, known.input_shape)


def test_a_window_of_patches_before_attention_and_after() -> None:
    graph = published_network("vit_b_16", depth=2)
    fields = receptive_fields(graph)
    assert fields["patches"].axis(0).stride == 16
    patches = next(name for name in fields if "permute" in name)
    assert (fields[patches].size, fields[patches].stride) == ((16, 16), (16, 16))
    assert fields[graph.outputs[0]].whole == (True, True)
    assert fields[graph.outputs[0]].size == (224, 224)
    assert fields[graph.outputs[0]].stride == (None, None)


def test_a_record_survives_json() -> None:
    fields = receptive_fields(published_network("lenet5_1998"))
    for field in fields.values():
        assert ReceptiveField.from_json(field.to_json()) == field


def test_training_keeps_batch_norm_local() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert field_of(network, (1, 9, 9), training=True).size == (3, 3)
