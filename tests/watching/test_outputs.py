"""What becomes of the last layer's values: the same answer however it is written, in any network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from netwright.watching.outputs import row_kind, tail


class Written(nn.Module):
    """A network whose output activation is a function of any kind."""

    def __init__(self, end: Callable[[torch.Tensor], torch.Tensor], units: int = 3) -> None:
        super().__init__()
        self.hidden, self.last, self.end = nn.Linear(4, 8), nn.Linear(8, units), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.last(self.hidden(x).relu()))


def by_hand(z: torch.Tensor) -> torch.Tensor:
    e = (z - z.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
ENDS: list[tuple[Callable[[torch.Tensor], torch.Tensor], str, float | None, float | None]] = [
    (lambda z: z, "identity", None, None),
    (lambda z: 3 * z - 7, "identity", None, None),
    (nn.Softmax(-1), "softmax", 0, 1),
    (by_hand, "softmax", 0, 1),
    (lambda z: functional.log_softmax(z, -1), "log_softmax", None, 0),
    (torch.sigmoid, "sigmoid", 0, 1),
    (lambda z: 1 / (1 + (-z).exp()), "sigmoid", 0, 1),
    (nn.Tanh(), "tanh", -1, 1),
    (lambda z: z.clamp_min(0), "relu", 0, None),
    (functional.softplus, "softplus", 0, None),
    (torch.exp, "exponential", 0, None),
    (nn.Hardtanh(), "hardtanh", -1, 1),
    (lambda z: 30 * (z / 30).tanh(), "other", -30, 30),
    (lambda z: functional.elu(z), "elu", -1, None),
]


@pytest.mark.parametrize(("end", "name", "low", "high"), ENDS, ids=[f"{i}-{entry[1]}" for i, entry in enumerate(ENDS)])
def test_activations_however_they_are_written(
    end: Callable[[torch.Tensor], torch.Tensor], name: str, low: float | None, high: float | None
) -> None:
    found = tail(Written(end), X)
    assert found is not None
    assert found.activation == name
    assert found.lowest == (low if low is None else pytest.approx(low, abs=0.05))
    assert found.highest == (high if high is None else pytest.approx(high, abs=0.05))


@pytest.mark.parametrize(
    ("end", "name", "value"), [(nn.Softmax(-1), "softmax", 1), (nn.LogSoftmax(-1), "log_softmax", 0)]
)
def test_one_unit_says_the_same_for_ever(end: nn.Module, name: str, value: float) -> None:
    found = tail(Written(end, units=1), X)
    assert found == (name, value, value, True)


def test_a_batch_of_one_tells_as_much() -> None:
    assert tail(Written(torch.sigmoid, units=1), X[:1]) == ("sigmoid", pytest.approx(0, abs=1e-6), 1.0, False)


def test_networks_of_other_shapes() -> None:
    pictures = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    found = tail(nn.Sequential(pictures, nn.Softmax(1)), torch.randn(3, 1, 8, 8))
    assert found is not None
    assert found.activation == "softmax"
    maps = tail(nn.Sequential(nn.Conv2d(1, 3, 3), nn.LogSoftmax(1)), torch.randn(3, 1, 8, 8))
    assert maps is not None
    assert maps.activation == "log_softmax"
    normed = tail(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)), X)
    assert normed is not None
    assert normed.activation == "identity"
    residual = Written(lambda z: z)
    residual.forward = lambda x: x[:, :3] + residual.last(residual.hidden(x))  # type: ignore[method-assign]
    assert tail(residual, X) == ("identity", None, None, False)


def test_what_cannot_be_told() -> None:
    assert tail(nn.Sequential(nn.Linear(4, 2), nn.GRU(2, 3)), X) is None  # the last layer gives a tuple
    assert tail(nn.Sequential(nn.ReLU()), X) is None
    aside = Written(lambda z: z)

    def forward(x: torch.Tensor) -> torch.Tensor:
        answer = aside.hidden(x)
        aside.last(answer)
        return answer

    aside.forward = forward  # type: ignore[method-assign]
    assert tail(aside, X) is None  # what is made last does not come out


def test_modes_and_hooks_are_left_as_they_were() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    network[1].eval()
    tail(network, X)
    assert [module.training for module in network] == [True, False, True]
    assert not any(module._forward_hooks for module in network.modules())


def test_rows_that_are_probabilities() -> None:
    z = torch.randn(5, 4)
    assert row_kind(z.softmax(-1)) == "probabilities"
    assert row_kind(z.log_softmax(-1)) == "log-probabilities"
    assert (
        row_kind(z)
        == row_kind(z.sigmoid())
        == row_kind(torch.ones(5, 1))
        == row_kind(torch.full((2, 2), torch.nan))
        == ""
    )
    assert row_kind(torch.randn(2, 3, 4, 4).softmax(1)) == "probabilities"
