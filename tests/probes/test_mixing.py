"""Outputs that depend on the other examples of a batch: 0 where they are kept apart, more where mixed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netwright.probes import mixing

X = torch.randn(12, 9, 8, generator=torch.Generator().manual_seed(0))


class Attending(nn.Module):
    def __init__(self, axis: int) -> None:
        super().__init__()
        self.embed, self.score, self.end, self.axis = nn.Linear(8, 16), nn.Linear(16, 1), nn.Linear(16, 3), axis

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).tanh()
        return self.end((self.score(x).softmax(self.axis) * x).sum(1))


class Recurrent(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.rnn, self.end = nn.GRU(8, 8, batch_first=batch_first), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.rnn(x)[0][:, -1])


class Function(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.end, self.name, self.calls = nn.Linear(72, 3), name, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = x.flatten(1)
        if self.name == "centred":
            x = x - x.mean(0)
        if self.name == "reshaped":
            x = x.T.reshape(len(x), -1)
        if self.name == "noise":
            x = x + torch.randn_like(x)
        if self.name == "state":
            x = x * self.calls
        return self.end(x) * (0 if self.name == "constant" else 1)


def encoder(batch_first: bool) -> nn.Module:
    return nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first), nn.Flatten(), nn.Linear(72, 3))


def norms(statistics: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(9, 6, 3), nn.BatchNorm1d(6, track_running_stats=statistics), nn.GELU(), nn.GroupNorm(2, 6),
        nn.Dropout(), nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 3),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_examples_that_are_kept_apart(seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    for network in (Attending(1), Recurrent(True), encoder(True), norms(), Function("plain")):
        network.to(dtype)
        moved = mixing.measure(network.train(), X.to(dtype))
        assert moved == 0.0 or (dtype == torch.bfloat16 and moved is None)  # whose rounding leaves little to see


@pytest.mark.parametrize("seed", range(3))
def test_examples_that_are_mixed(seed: int) -> None:
    torch.manual_seed(seed)
    for network in (Attending(0), Recurrent(False), encoder(False), Function("centred"), Function("reshaped")):
        moved = mixing.measure(network, X)
        assert moved is not None
        assert moved > 0.01


def test_what_cannot_be_said() -> None:
    for network in (Function("noise"), Function("state"), Function("constant"), norms(statistics=False)):
        assert mixing.measure(network, X) is None
    assert mixing.measure(Function("centred"), X[:3]) is None
    assert mixing.measure(nn.Flatten(0), X) is None  # no row for each example
