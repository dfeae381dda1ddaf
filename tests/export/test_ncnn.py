"""What ncnn has not, but something that gives the same values stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")
from netwright.export import ncnn
from netwright.export import package as packages
from netwright.nn.zoo import NETWORKS

Index = Callable[[torch.Tensor], torch.Tensor]


class Indexed(nn.Module):
    def __init__(self, index: Index) -> None:
        super().__init__()
        self.index, self.conv = index, nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.index(self.conv(x)).flatten(1)


@pytest.mark.parametrize(
    "index",
    [
        lambda x: x[:, :, ::2, ::2], lambda x: x[:, :, ::3], lambda x: x[..., 1::2], lambda x: x[..., 1::2, 0:7:3],
        lambda x: x[:, :, 2:6], lambda x: torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
    ],
)  # fmt: skip
def test_strided_slices_of_maps_are_what_pytorch_takes(index: Index, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = packages.package(Indexed(index), [np.random.default_rng(0).normal(size=(3, 3, 10, 12)).astype(np.float32)])
    got = ncnn.Runtime(ncnn.write(made, tmp_path)).run(*made.inputs)
    with torch.no_grad():
        expected = made.network(torch.from_numpy(made.inputs[0])).numpy()
    np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=1e-5)


def test_the_shortcuts_of_resnet_20_without_parameters_are_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS["resnet20_cifar"]((3, 32, 32), 10)
    made = packages.package(network, [np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)])
    got = ncnn.Runtime(ncnn.write(made, tmp_path)).run(*made.inputs)
    with torch.no_grad():
        expected = made.network(torch.from_numpy(made.inputs[0])).numpy()
    assert float(np.abs(got - expected).max()) <= 1e-4 * max(1.0, float(np.abs(expected).max()))


def test_inputs_that_lie_otherwise_in_memory_are_the_same_inputs(tmp_path: Path) -> None:
    """Pictures as a decoder leaves them, with the channels last."""
    torch.manual_seed(0)
    pictures = np.random.default_rng(0).normal(size=(3, 96, 96, 3)).astype(np.float32).transpose(0, 3, 1, 2)
    made = packages.package(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()), [pictures])
    session = ncnn.Runtime(ncnn.write(made, tmp_path))
    assert np.array_equal(session.run(pictures), session.run(np.ascontiguousarray(pictures)))
