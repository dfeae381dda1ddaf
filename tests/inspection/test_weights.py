"""Numbers of weights against NumPy, laws over random matrices, and pictures of known filters."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from netwright.errors import NetwrightError
from netwright.inspection import weights
from netwright.inspection.observing import grid_of
from netwright.inspection.weights import (
    PIECE,
    PRECISION,
    WeightNumbers,
    activation_pictures,
    first_filters,
    singular_values,
    spectrum_ends,
    weight_numbers,
)


def of(module: nn.Module, name: str = "weight") -> WeightNumbers:
    return next(row for row in weight_numbers(module) if row.name == name)


def dense(matrix: np.ndarray, dtype: torch.dtype = torch.float32) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    layer.weight = nn.Parameter(torch.as_tensor(matrix).to(dtype))
    return layer


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**31), st.sampled_from([torch.float32, torch.float64]))
def test_every_number_is_numpys(rows: int, columns: int, seed: int, dtype: torch.dtype) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(rows, columns)) * (generator.random((rows, columns)) < 0.8)
    seen = of(dense(matrix, dtype))
    matrix = torch.as_tensor(matrix).to(dtype).numpy()
    exact = matrix.astype(np.float64)
    assert seen.l0 == np.count_nonzero(matrix)
    assert seen.nonzero_share == pytest.approx(np.count_nonzero(matrix) / matrix.size)
    assert seen.l1 == pytest.approx(np.linalg.norm(exact.ravel(), 1))
    assert seen.l2 == seen.frobenius == pytest.approx(np.linalg.norm(exact, "fro"))
    assert seen.linf == np.abs(exact).max()
    assert (seen.minimum, seen.maximum) == (exact.min(), exact.max())
    assert seen.mean == pytest.approx(exact.mean(), abs=1e-14)
    assert seen.std == pytest.approx(exact.std(), abs=1e-14)
    assert seen.rank == np.linalg.matrix_rank(matrix)
    if np.any(matrix):
        assert seen.spectral_norm == pytest.approx(np.linalg.norm(exact, 2))
    if seen.rank == min(rows, columns):
        assert seen.condition == pytest.approx(np.linalg.cond(exact), rel=1e-4)
    else:
        assert seen.condition == math.inf
    counts, edges = np.histogram(exact, bins=64)
    assert seen.histogram.edges == pytest.approx(tuple(edges))
    assert sum(seen.histogram.counts) == matrix.size
    assert np.abs(np.cumsum(seen.histogram.counts) - np.cumsum(counts)).max() <= 1  # a value on an edge


@pytest.mark.parametrize("shape", [(60, 400), (400, 60), (200, 200)])
@pytest.mark.parametrize("rank", [1, 17, 60])
def test_a_planted_rank_is_found_in_spite_of_rounding(shape: tuple[int, int], rank: int) -> None:
    """Float32 noise lifts the zero singular values to 1e-7; the Gram matrix must not lift them over the tolerance."""
    generator = np.random.default_rng(rank)
    matrix = generator.normal(size=(shape[0], rank)) @ generator.normal(size=(rank, shape[1]))
    seen = of(dense(matrix))
    assert seen.rank == rank == np.linalg.matrix_rank(matrix.astype(np.float32))
    assert (seen.condition == math.inf) == (rank < min(shape))


@pytest.mark.parametrize("decades", [0.0, 1.0, 2.0, 3.0])
def test_a_planted_condition_number_is_found(decades: float) -> None:
    """Also near the edge of the rank's tolerance, 64 · ε₃₂ ≈ 10⁻⁵."""
    generator = np.random.default_rng(1)
    left, right = (np.linalg.qr(generator.normal(size=(64, 64)))[0] for _ in range(2))
    matrix = left @ np.diag(np.logspace(0, -decades, 64)) @ right
    seen = of(dense(matrix))
    assert seen.rank == 64
    assert seen.condition == pytest.approx(10**decades, rel=1e-3)
    assert of(dense(matrix, torch.float64)).condition == pytest.approx(10**decades, rel=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_a_grouped_kernel_is_a_block_diagonal_matrix(groups: int) -> None:
    layer = nn.Conv2d(6, 12, 3, groups=groups)
    seen = of(layer)
    blocks = layer.weight.detach().double().numpy().reshape(groups, 12 // groups, -1)
    whole = np.zeros((12, 6 * 9))
    for group, block in enumerate(blocks):
        rows, columns = block.shape
        whole[group * rows : (group + 1) * rows, group * columns : (group + 1) * columns] = block
    singular = np.linalg.svd(whole, compute_uv=False)
    assert (seen.groups, seen.matrix) == (groups, blocks.shape[1:])
    assert seen.spectral_norm == pytest.approx(singular[0])
    assert seen.rank == seen.full_rank == np.linalg.matrix_rank(whole)
    assert seen.frobenius == pytest.approx(math.sqrt((singular**2).sum()))


def test_a_kernels_norm_bounds_the_convolution() -> None:
    """|conv(x)| ≤ √(k·k) · σ(kernel) · |x| (Tsuzuku et al. 2018), attained nearly by a constant kernel."""
    layer = nn.Conv2d(1, 1, 3, bias=False, padding=1, padding_mode="circular")
    nn.init.ones_(layer.weight)
    x = torch.ones(1, 1, 8, 8)
    gain = float(layer(x).detach().norm() / x.norm())
    assert gain == pytest.approx(3 * of(layer).spectral_norm)


def test_what_is_not_finite_is_said() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, float("nan"), float("inf")], [-2.0, 0.0, float("-inf")]]))
    seen = of(layer)
    assert (seen.nan, seen.infinite, seen.l1, seen.linf, seen.rank) == (1, 2, 3.0, 2.0, None)
    assert "1 NaN and 2 infinite of 6" in seen.note
    assert seen.to_json()


@pytest.mark.parametrize("scale", [1e-30, 1e30, 0.0])
def test_norms_neither_under_nor_overflow(scale: float) -> None:
    seen = of(dense(np.eye(4) * scale))
    assert seen.l2 == pytest.approx(2 * np.float32(scale))
    assert seen.spectral_norm == pytest.approx(np.float32(scale))
    assert seen.rank == (4 if scale else 0)


def test_long_weights_are_looked_at_in_pieces() -> None:
    layer = nn.Linear(1, 2 * PIECE + 3, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.5)
        layer.weight[-1] = -1.0
    seen = of(layer)
    assert (seen.l0, seen.minimum, sum(seen.histogram.counts)) == (2 * PIECE + 3, -1.0, 2 * PIECE + 3)
    assert seen.mean == pytest.approx(0.5 - 1.5 / (2 * PIECE + 3), rel=1e-12)


def test_shared_frozen_lazy_and_half_weights() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LazyLinear(2), nn.Linear(4, 2).half())
    network[1].weight = network[0].weight
    network[0].bias.requires_grad_(False)
    rows = {row.name: row for row in weight_numbers(network)}
    assert sorted(rows) == ["0.bias", "0.weight", "1.bias", "3.bias", "3.weight"]
    assert (rows["0.bias"].trainable, rows["0.bias"].rank, rows["3.weight"].dtype) == (False, None, "float16")


def test_singular_values_are_those_of_a_full_decomposition() -> None:
    blocks = torch.randn(3, 7, 11, generator=torch.Generator().manual_seed(0))
    expected = np.sort(np.linalg.svd(blocks.double().numpy(), compute_uv=False).ravel())[::-1]
    assert singular_values(blocks) == pytest.approx(expected)


# ------------------------------------------------------------------------------------------------ pictures


def test_a_grid_puts_tiles_where_they_belong() -> None:
    tiles = [np.full((2, 3), value, np.uint8) for value in (0, 50, 100)]
    picture = grid_of(tiles, columns=2, zoom=2)
    assert picture.shape == (2 * 5 + 1, 2 * 7 + 1)
    assert (picture[1:5, 1:7] == 0).all()
    assert (picture[1:5, 8:14] == 50).all()
    assert (picture[6:10, 1:7] == 100).all()
    assert (picture[6:10, 8:14] == 255).all()


def test_the_first_filters_are_seen() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 0] = 1.0  # red
        network[0].weight[1, :, :, 0] = -2.0  # a dark left edge
    picture = first_filters(network)
    assert picture is not None
    assert (picture.layer, picture.channels, picture.shape) == ("0", (0, 1, 2, 3), (4, 3, 5, 5))
    assert picture.pixels[1, 1].tolist() == [255, 128, 128]
    side = (picture.pixels.shape[1] - 1) // 2
    assert picture.pixels[1, 1 + side].tolist() == [0, 0, 0]
    assert picture.pixels[1, side - 1 + side].tolist() == [128, 128, 128]
    second = first_filters(network, layer="1")
    assert second is not None
    assert second.channels == (0, 1)
    with pytest.raises(NetwrightError, match="one of 0, 1"):
        first_filters(network, layer="2")


def test_rows_of_a_dense_layer_are_pictures_where_it_reads_them() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    picture = first_filters(network, (1, 8, 8))
    assert picture is not None
    assert len(picture.channels) == 10
    assert first_filters(network) is None
    assert first_filters(nn.ReLU()) is None
    assert first_filters(nn.Conv2d(3, 8, 1)) is None


@pytest.mark.parametrize("layer", [nn.Conv1d(2, 3, 7), nn.Conv3d(1, 3, 3), nn.ConvTranspose2d(4, 2, 3)])
def test_filters_of_other_ranks(layer: nn.Module) -> None:
    picture = first_filters(layer)
    assert picture is not None
    assert picture.pixels.dtype == np.uint8


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(nn.functional.relu(self.norm(self.conv(x)), inplace=True), 2)
        return self.fc(x.mean((2, 3)))


def test_activations_layer_by_layer_and_a_network_as_found() -> None:
    network = Functional().train()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.rand(1, 12, 12)
    state = torch.get_rng_state()
    pictures = activation_pictures(network, x, channels=3)
    assert [(p.layer, p.shape) for p in pictures] == [
        ("conv", (4, 10, 10)), ("norm", (4, 10, 10)), ("relu_1", (4, 10, 10)), ("max_pool2d_1", (4, 5, 5)),
        ("reduce_1", (4,)), ("fc", (2,)),
    ]  # fmt: skip
    with torch.no_grad():
        maps = network.conv(x[None])[0]  # although relu and what follows wrote in place
    strongest = int(maps.flatten(1).std(1).argmax())
    assert pictures[0].channels[0] == strongest
    tile = maps[strongest].numpy()
    zoom = 3  # the least that makes ten pixels 24 high
    expected = np.rint((tile - tile.min()) / (tile.max() - tile.min()) * 255).astype(np.uint8)
    assert (pictures[0].pixels[1 : 1 + 10 * zoom : zoom, 1 : 1 + 10 * zoom : zoom] == expected).all()
    assert network.training
    assert not network.norm.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.layer for p in activation_pictures(network, x, layers=("fc",))] == ["fc"]


def test_what_does_not_run_leaves_the_network_as_found() -> None:
    network = Functional().train()
    with pytest.raises(NetwrightError, match="Functional: got RuntimeError"):
        activation_pictures(network, torch.rand(2, 12, 12))
    assert network.training
    assert nn.modules.module._global_forward_hooks == {}
    with pytest.raises(NetwrightError, match="one of conv, fc, max_pool2d_1"):
        activation_pictures(network, torch.rand(1, 12, 12), layers=("conv9",))


# ---- the ends of a spectrum without the rest


def spectra(kind: str, rows: int, generator: np.random.Generator) -> np.ndarray:
    """Singular values of matrices as they occur, falling."""
    found = {
        "random": np.linspace(1.4, 0.6, rows),
        "power law": np.arange(1, rows + 1) ** -0.5,
        "one large": np.r_[30.0, np.linspace(1.2, 0.8, rows - 1)],
        "one small": np.r_[np.linspace(1.2, 0.8, rows - 1), 1e-3],
        "all alike": np.ones(rows),
        "decades": np.logspace(0, -4, rows),
        "pairs": np.repeat(np.linspace(2, 1, rows // 2), 2),
        "one missing": np.r_[np.linspace(1.2, 0.8, rows - 1), 0.0],
        "many missing": np.r_[np.linspace(1.2, 0.8, rows // 2), np.zeros(rows - rows // 2)],
        "rank 1": np.r_[1.0, np.zeros(rows - 1)],
        "nothing": np.zeros(rows),
    }
    return found[kind] * generator.uniform(0.1, 10)


KINDS = (
    "random", "power law", "one large", "one small", "all alike", "decades", "pairs", "one missing", "many missing",
    "rank 1", "nothing",
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS), half=st.integers(2, 80), wide=st.integers(2, 6), seed=st.integers(0, 2**31),
    tall=st.booleans(),
)  # fmt: skip
@example(kind="random", half=23, wide=2, seed=15810, tall=False)
def test_the_ends_of_a_spectrum_are_those_of_a_full_decomposition(
    kind: str, half: int, wide: int, seed: int, tall: bool
) -> None:
    """Within what is promised, or nothing is said; and nothing is said of a matrix that lacks rank."""
    rows, generator = 2 * half, np.random.default_rng(seed)
    columns = wide * rows
    left = np.linalg.qr(generator.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(generator.normal(size=(columns, rows)))[0]
    planted = spectra(kind, rows, generator)
    matrix = torch.from_numpy((left * planted @ right.T).astype(np.float32))
    singular = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    tolerance = singular[0] * columns * np.finfo(np.float32).eps
    found = spectrum_ends(matrix.T if tall else matrix)
    if found is None:
        return
    assert found[0] == pytest.approx(singular[0], rel=PRECISION[0])
    if singular[-1] > tolerance:  # of a true one, which may be a neighbour of the smallest
        assert np.abs(singular - found[1]).min() <= 1.01 * PRECISION[1] * found[1]
        assert found[1] <= 1.1 * singular[-1]
    else:
        assert found[1] <= tolerance


@pytest.mark.parametrize(("kind", "said"), [("random", True), ("one large", True), ("one missing", False)])
def test_a_large_matrix_is_looked_at_by_its_ends_where_they_tell_its_rank(
    kind: str, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank, condition and norm are the same either way; only the way, and what is noted of it, differ."""
    generator = np.random.default_rng(3)
    left = np.linalg.qr(generator.normal(size=(200, 200)))[0]
    right = np.linalg.qr(generator.normal(size=(900, 200)))[0]
    layer = dense(left * spectra(kind, 200, generator) @ right.T)
    whole = of(layer)
    assert whole.note == ""
    monkeypatch.setattr(weights, "LARGE", 200 * 200 * 900 - 1)
    called: list[int] = []
    monkeypatch.setattr(weights, "singular_values", lambda blocks: called.append(1) or singular_values(blocks))
    ends = of(layer)
    assert (ends.rank, ends.full_rank) == (whole.rank, whole.full_rank)
    assert ends.spectral_norm == pytest.approx(whole.spectral_norm, rel=PRECISION[0])
    assert ends.condition == pytest.approx(whole.condition, rel=sum(PRECISION))
    assert (called == []) == said
    assert ("0.1 %" in ends.note and "1 %" in ends.note) == said


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-45])
def test_the_ends_of_extreme_weights(scale: float) -> None:
    """Products that under- or overflow in 32 bits say nothing."""
    matrix = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)) * scale
    found = spectrum_ends(matrix)
    singular = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    assert found is None or found == pytest.approx((singular[0], singular[-1]), rel=PRECISION[1])
