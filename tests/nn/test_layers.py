"""The layers that PyTorch lacks, against loops and special cases; networks of layers in words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netwright.craft import catalogue
from netwright.errors import NetworkError
from netwright.nn import keeping
from netwright.nn.layers.convolution import Factorized2d, LocallyConnected2d, Separable2d, Tiled2d
from netwright.nn.layers.noise import GaussianNoise, WeightNoise
from netwright.nn.layers.radial import Radial, kernel_regression
from netwright.nn.zoo.stack import LAYERS, Stack

X = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))


def test_a_tiled_layer_with_one_kernel_is_a_convolution_and_with_many_takes_turns() -> None:
    one = Tiled2d(3, 4, 3, tile=1)
    torch.testing.assert_close(one(X), nn.functional.conv2d(X, one.weight[0, 0], one.bias, padding=1))
    two = Tiled2d(3, 4, 3, tile=2)
    made = two(X)
    for row in range(7):
        for column in range(6):
            whole = nn.functional.conv2d(X, two.weight[row % 2, column % 2], two.bias, padding=1)
            torch.testing.assert_close(made[:, :, row, column], whole[:, :, row, column])


def test_a_locally_connected_layer_is_a_tiled_one_with_a_tile_a_place() -> None:
    local, tiled = LocallyConnected2d(3, 4, (7, 6), 3), Tiled2d(3, 4, 3, tile=7, bias=False)
    with torch.no_grad():
        assert local.bias is not None
        local.bias.zero_()
        kernels = tiled.weight[:7, :6].flatten(3).flatten(0, 1)  # (places, O, I k²)
        local.weight.copy_(kernels.transpose(1, 2))
    torch.testing.assert_close(local(X), tiled(X))
    shared = LocallyConnected2d(3, 4, (7, 6), 3, stride=2, bias=False)
    kernel = torch.randn(4, 3, 3, 3)
    with torch.no_grad():
        shared.weight.copy_(kernel.flatten(1).T.expand_as(shared.weight))
    torch.testing.assert_close(shared(X), nn.functional.conv2d(X, kernel, padding=1, stride=2))


def test_separable_and_factorised_kernels_are_products() -> None:
    separable = Separable2d(3, 5, 3, bias=False)
    whole = separable.pointwise.weight * separable.depthwise.weight.squeeze(1)
    torch.testing.assert_close(separable(X), nn.functional.conv2d(X, whole, padding=1))
    pair = Factorized2d(3, 4, 3, bias=False)
    whole = torch.einsum("omk,mil->oikl", pair.down.weight.squeeze(3), pair.across.weight.squeeze(2))
    torch.testing.assert_close(pair(X), nn.functional.conv2d(X, whole, padding=1), rtol=1e-4, atol=1e-5)


def test_a_normalised_radial_layer_is_kernel_regression() -> None:
    torch.manual_seed(0)
    examples, targets, x = torch.randn(20, 3).double(), torch.randn(20, 2).double(), torch.randn(7, 3).double()
    weights = torch.exp(-(torch.cdist(x, examples) ** 2) / (2 * 0.7**2))
    expected = weights @ targets / weights.sum(1, keepdim=True)
    torch.testing.assert_close(kernel_regression(examples, targets, 0.7)(x).detach(), expected)
    far = kernel_regression(examples, targets, 0.01)(x + 1e3)  # 0 / 0 by the formula, the nearest example here
    nearest = targets[torch.cdist(x + 1e3, examples).argmin(1)]
    torch.testing.assert_close(far.detach(), nearest)


def test_centres_go_where_clusters_are() -> None:
    torch.manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    x = middles.repeat_interleave(30, 0) + 0.1 * torch.randn(90, 2)
    layer = Radial(2, 3)
    layer.place(x)
    assert float(torch.cdist(middles, layer.centres.detach()).min(1).values.max()) < 0.1
    assert 8 < float(layer.log_widths.detach().exp().min()) < 15
    assert bool((layer(x) > 0.99).any(1).all())
    with pytest.raises(NetworkError, match="3 units for 2 different"):
        layer.place(x[:2])


def test_noise_is_there_in_training_alone_and_of_its_deviation() -> None:
    torch.manual_seed(0)
    x = torch.zeros(100_000)
    assert float(GaussianNoise(0.3)(x).std()) == pytest.approx(0.3, rel=0.02)
    assert torch.equal(GaussianNoise(0.3).eval()(x), x)
    weight = 4 * torch.ones(400, 250)
    assert float((WeightNoise(0.1)(weight) - weight).std()) == pytest.approx(0.4, rel=0.02)
    assert torch.equal(WeightNoise(0.1).eval()(weight), weight)


WORDS = {
    "dense": "dense=5",
    "conv": "conv=6:kernel=3:dilation=2:groups=3",
    "depthwise": "depthwise:kernel=5",
    "separable": "separable=4",
    "factorized": "factorized=4:kernel=5",
    "transposed": "transposed=4",
    "local": "local=2",
    "tiled": "tiled=2:tile=3",
    "max-pool": "max-pool=2:ceil=true",
    "avg-pool": "avg-pool=3:stride=2",
    "global-avg": "global-avg",
    "global-max": "global-max",
    "maxout-dense": "maxout-dense=5:pieces=3",
    "radial": "radial=4:normalised=true",
    "cosine-dense": "cosine-dense=5",
    "cosine-conv": "cosine-conv=4",
    "weight-norm-dense": "weight-norm-dense=5",
    "dropout": "dropout=0.5",
    "noise": "noise=0.1",
    "flatten": "flatten",
}


def test_every_layer_has_a_page_and_every_page_its_layer() -> None:
    assert set(LAYERS) == set(WORDS) == set(catalogue.parts("layers"))


@pytest.mark.parametrize("word", WORDS.values())
def test_a_network_of_each_layer_is_built_kept_and_learns(word: str) -> None:
    arguments = {"layers": [word, "relu"]}
    record = keeping.describe("stack", (3, 8, 8), 4, width="auto", depth="auto", dropout="auto", arguments=arguments)
    network = keeping.build(record)
    network(torch.randn(5, 3, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert {n: tuple(t.shape) for n, t in keeping.build_without_values(record).state_dict().items()} == shapes


def test_a_bias_before_a_norm_is_left_out_and_ceil_keeps_the_rest() -> None:
    network = Stack((3, 7, 7), 2, ["conv=8", "group=4", "relu", "max-pool=2:ceil=true", "conv=4"])
    assert network.layers[0].bias is None
    assert network.layers[4].bias is not None
    assert network.layers[-1].in_features == 4 * 4 * 4


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (["cnov=3"], "conv"),
        (["conv"], "no number"),
        (["conv=4:kernal=3"], "kernel"),
        (["dense=4", "conv=3"], "shape"),
        (["conv=4:kernel"], "argument=value"),
        (["conv=4:groups=3"], "3 groups over 4 channels.*groups=4"),
        (["conv=4:groups=0"], "0 groups"),
        (["conv=4/3"], "a number"),
        (["relu=3"], "the number 3"),
        (["group=3"], "3 groups|group"),
        (["conv=5", "maxout=2"], "5 channels"),
        (["max-pool=99"], "shape"),
    ],
)
def test_words_that_do_not_fit_say_which(layers: list[str], says: str) -> None:
    with pytest.raises(NetworkError, match=rf"layers\[\d\].*({says})"):
        Stack((4, 8, 8), 2, layers)
