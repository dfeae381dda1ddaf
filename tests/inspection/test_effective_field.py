"""The effective receptive field: uniform kernels give the law of Luo et al. 2016, everything lies in the theoretical
field, and a planted dead layer is seen."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netwright.errors import NetwrightError
from netwright.graph.tracing import trace
from netwright.inspection.effective_field import THRESHOLD, effective_field
from netwright.inspection.receptive_field import receptive_fields
from netwright.nn.zoo.resnet import SmallResNet


def stack(
    depth: int, kernel: int, *, uniform: bool = True, channels: int = 1, activation: bool = False
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(depth):
        layer = nn.Conv2d(1 if number == 0 else channels, channels, kernel, padding=kernel // 2, bias=False)
        if uniform:
            nn.init.ones_(layer.weight)
        layers += [layer, nn.ReLU(inplace=True)] if activation else [layer]
    return nn.Sequential(*layers)


@settings(max_examples=12, deadline=None)
@given(depth=st.integers(1, 8), kernel=st.sampled_from([1, 3, 5, 7]))
def test_uniform_kernels_add_their_variances(depth: int, kernel: int) -> None:
    """That of a sum, n (k² − 1) / 12 (Luo et al. 2016, section 2.2), with exactly the theoretical support."""
    theoretical = 1 + depth * (kernel - 1)
    seen = effective_field(stack(depth, kernel), (1, 61, 61), samples=1)
    if theoretical <= 61:
        variance = depth * (kernel**2 - 1) / 12
        assert seen.deviation == pytest.approx((math.sqrt(variance),) * 2, rel=1e-5)
        assert seen.support == (theoretical,) * 2
        assert seen.centre == pytest.approx((30, 30))


def test_deep_uniform_kernels_are_gaussian_and_shrink_relative_to_the_field() -> None:
    """The size at 2 σ: exp(−d²/2σ²) > 1 − 0.9545 inside of d = 2.486 σ, a disc of π d² pixels."""
    relative = []
    for depth in (4, 8, 16, 24):
        theoretical = 1 + 2 * depth
        seen = effective_field(stack(depth, 3), (1, 61, 61), samples=1, theoretical=(theoretical,) * 2)
        sigma = math.sqrt(depth * 8 / 12)
        expected = math.sqrt(math.pi) * sigma * math.sqrt(-2 * math.log(THRESHOLD))
        assert seen.size == pytest.approx(expected, rel=0.06)
        assert seen.share == pytest.approx(seen.size / theoretical)
        relative.append(seen.share)
        across = np.asarray(seen.values)[30]
        places = np.arange(61) - 30
        assert np.abs(across - np.exp(-(places**2) / (2 * sigma**2))).max() < 0.5 / depth
    assert relative == sorted(relative, reverse=True), "as 1 / √n (Luo et al. 2016)"


def test_it_lies_in_the_field_that_the_graph_tells() -> None:
    """Of every map of a small residual network, the theoretical field is the other derivation."""
    network = SmallResNet((1, 32, 32), 10)
    graph = trace(network, (1, 32, 32))
    fields = receptive_fields(graph)
    x = torch.randn(8, 1, 32, 32)
    for layer in ("stem.0", "stages.0.body.3", "stages.1.shortcut.0", "stages.1.add_1"):
        theoretical = fields[layer]
        seen = effective_field(network, x, layer=layer, theoretical=theoretical.size)
        assert seen.theoretical == theoretical.size
        assert all(support <= size for support, size in zip(seen.support, theoretical.size, strict=True)), layer
        assert seen.share is not None
        assert 0 < seen.share <= 1


@pytest.mark.parametrize("seed", range(3))
def test_a_random_network_sees_no_more_than_its_theoretical_field(seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, dilation=2), nn.ReLU(), nn.Conv2d(4, 3, 1)
    )  # 3 → 4 (stride 2) → 4 + 4·2 = 12
    seen = effective_field(network, (2, 33, 33), seed=seed, samples=24)
    assert seen.layer == "5"
    assert all(size <= 12 for size in seen.support)
    assert 1 < seen.size <= 12
    earlier = effective_field(network, (2, 33, 33), seed=seed, layer="2")
    assert all(size <= 4 for size in earlier.support)
    picture = seen.picture()
    assert (picture.shape, picture.dtype, picture.max()) == ((33, 33), np.uint8, 255)


def test_the_map_is_the_gradient_by_finite_differences() -> None:
    """An independent derivation for a smooth network: every pixel moved up and down, in float64."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 3)).double()
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    expected = np.zeros((9, 9))
    with torch.no_grad():
        for row in range(9):
            for column in range(9):
                step = torch.zeros_like(x)
                step[..., row, column] = 1e-5
                change = network(x + step) - network(x - step)
                expected[row, column] = abs(float(change[0, :, 2, 2].sum())) / 2e-5
    seen = effective_field(network, x)
    assert seen.position == (2, 2)
    assert np.asarray(seen.values) == pytest.approx(expected / expected.max(), abs=1e-7)


def test_an_in_place_activation_does_not_hide_what_came_before_it() -> None:
    network = stack(2, 3, activation=True)
    with torch.no_grad():
        network[2].weight.neg_()  # whatever comes out is negative: the ReLU after it lets nothing through
    x = torch.rand(2, 1, 15, 15) + 0.1
    assert effective_field(network, x, layer="2").support == (5, 5)
    dead = effective_field(network, x, layer="3")
    assert (dead.pixels, dead.size, dead.support) == (0, 0.0, (0, 0))


def test_scores_of_attention_are_no_map() -> None:
    """The last tensor with four axes is (N, heads, T, T); the last map is the one of patches."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(1, 8, 4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = self.patches(x).flatten(2).transpose(1, 2).unflatten(2, (2, 4)).transpose(1, 2)
            return ((heads @ heads.transpose(2, 3)).softmax(3) @ heads).mean((1, 2))

    seen = effective_field(Attending(), (1, 16, 16))
    assert (seen.layer, seen.support, seen.map_size) == ("patches", (4, 4), (4, 4))


def test_series_and_volumes() -> None:
    series = nn.Sequential(nn.Conv1d(2, 1, 5), nn.Conv1d(1, 1, 5))
    for layer in series:
        nn.init.ones_(layer.weight)
    seen = effective_field(series, (2, 40), samples=1)
    assert (seen.support, seen.picture().shape) == ((9,), (1, 40))
    assert seen.deviation == pytest.approx((math.sqrt(2 * 24 / 12),))
    volume = effective_field(nn.Conv3d(1, 1, 3), (1, 7, 7, 7), samples=2)
    assert (volume.support, volume.picture().shape) == ((3, 3, 3), (7, 7))


def test_the_network_is_left_as_found_and_seeds_decide() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    network.train()
    network[1].weight.grad = torch.ones(4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (np.asarray(effective_field(network, (1, 9, 9), seed=s).values) for s in (0, 0, 1))
    assert (first == again).all()
    assert not (first == other).all()
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network[1].weight.grad, torch.ones(4))
    assert network[0].weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert nn.modules.module._global_forward_hooks == {}


@pytest.mark.parametrize(
    ("network", "layer", "message"),
    [
        (stack(2, 3), "7", "one of 0, 1"),
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1)), "1", "without positions"),
        (nn.Sequential(nn.Flatten(), nn.Linear(81, 2)), "", "no layer that makes a map"),
        (nn.Conv2d(4, 1, 3), "", "RuntimeError"),
    ],
)
def test_what_cannot_be_done_is_said(network: nn.Module, layer: str, message: str) -> None:
    with pytest.raises(NetwrightError, match=message):
        effective_field(network, (1, 9, 9), layer=layer)
