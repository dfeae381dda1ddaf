"""Small networks by name: published counts, and the promise that they fit 8×8 to 64×64 pictures."""

import pytest
import torch

from netwright.errors import NetworkError
from netwright.nn.zoo import NETWORKS, SMALL

SERIES = {"small_resnet1d", "rnn", "lstm", "gru", "transformer"}  # those of sequences have tests of their own
PICTURES = sorted(set(SMALL) - SERIES)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", [8, 12, 16, 28, 31, 32, 48, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_fits_every_promised_size(name: str, size: int, channels: int) -> None:
    network = NETWORKS[name]((channels, size, size), 7).eval()
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("length", [64, 100, 2047, 2048, 9000])
def test_the_network_for_series_fits_every_length(length: int) -> None:
    network = NETWORKS["small_resnet1d"]((2, length), 7, width=8).eval()
    assert network(torch.zeros(2, 2, length)).shape == (2, 7)
    last = network.blocks(network.stem(torch.zeros(1, 2, length)))
    assert 4 <= last.shape[-1] <= 16


def test_a_network_for_series_refuses_pictures_and_names_theirs() -> None:
    with pytest.raises(NetworkError, match=r"small_resnet$"):
        NETWORKS["small_resnet1d"]((3, 32, 32), 10)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    shape = (3, 16, 16) if name in PICTURES else (3, 256)
    network = NETWORKS[name](shape, 5)
    with torch.no_grad():  # a norm that begins at zero keeps its branch silent for one step, by intention
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
    torch.nn.functional.cross_entropy(network(torch.randn(8, *shape)), torch.arange(8) % 5).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_lenet5_has_the_published_count() -> None:
    network = NETWORKS["lenet5"]((1, 28, 28), 10)
    assert sum(p.numel() for p in network.parameters()) == 61_706
    assert sum(p.numel() for p in NETWORKS["lenet5"]((1, 32, 32), 10).parameters()) == 61_706


def test_mlp_counts_by_hand() -> None:
    network = NETWORKS["mlp"]((784,), 10, width=300, depth=1)
    assert sum(p.numel() for p in network.parameters()) == 784 * 300 + 2 * 300 + 300 * 10 + 10


def test_a_shape_that_does_not_fit_is_named() -> None:
    for name in ("lenet5", "small_vgg", "small_resnet"):
        with pytest.raises(NetworkError, match="shape"):
            NETWORKS[name]((14,), 3)
