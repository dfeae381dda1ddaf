"""Gradients over the steps of a recurrence against what a product of Jacobians gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.probes import initial_state
from netwright.watching.calls import layers_of


class Linear(nn.Module):
    """h ← a h + x_t, read at the end: the gradient of step t is a^(T − t)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.cell = nn.RNN(1, 1, batch_first=True, nonlinearity="relu", bias=False)
        with torch.no_grad():
            self.cell.weight_ih_l0.fill_(1.0)
            self.cell.weight_hh_l0.fill_(factor)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.cell(x)[0]
        return states[:, -1]


class OfItsOwn(nn.Module):
    """The same recurrence as a loop over a cell."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.cell = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.cell.weight.fill_(factor)

    def forward(self, x: Tensor) -> Tensor:
        state = x[:, 0]
        for step in range(1, x.shape[1]):
            state = self.cell(state) + x[:, step]
        return state


def found(network: nn.Module, steps: int):
    x = torch.rand(8, steps, 1, generator=torch.Generator().manual_seed(0))  # above 0, where a ReLU passes everything
    return initial_state.measure(network, layers_of(network), x, x[:, 0], nn.functional.mse_loss).recurrent


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 0.95), st.integers(8, 24))
def test_what_arrives_at_the_first_step_is_the_product_of_the_jacobians(factor: float, steps: int) -> None:
    (sequence,) = found(Linear(factor), steps)
    assert (sequence.name, sequence.steps) == ("cell", steps)
    assert sequence.first == pytest.approx(factor ** (steps - 1), rel=1e-3)
    (loop,) = found(OfItsOwn(factor), steps + 1)  # one call less than steps
    assert loop.steps == steps
    assert loop.first == pytest.approx(factor ** (steps - 1), rel=1e-3)


def test_a_few_calls_and_networks_without_time_are_no_recurrence() -> None:
    assert not found(OfItsOwn(0.5), 5)
    x = torch.randn(8, 4)
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
    assert not initial_state.measure(plain, layers_of(plain), x, x[:, :1], nn.functional.mse_loss).recurrent


def test_the_inputs_and_the_network_are_as_they_were() -> None:
    network, x = Linear(0.5), torch.rand(4, 9, 1)
    initial_state.measure(network, layers_of(network), x, x[:, 0], nn.functional.mse_loss)
    assert not x.requires_grad
    assert not network.cell._forward_pre_hooks
