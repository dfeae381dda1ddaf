"""Preflight: what it finds before the first step, in any form of data, and that it leaves everything as it was."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from netwright.observations import Observations
from netwright.watching import Watch, given, preflight
from netwright.watching.undisturbed import undisturbed

X = torch.randn(90, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(90) % 3


def mlp(out: int = 3, dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, out))


def examined(network: nn.Module, data: Any = (X, Y), loss: Any = None, **more: Any) -> Observations:
    observations = Observations()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    loss = nn.CrossEntropyLoss() if loss is None else loss
    preflight.examine(observations, network, optimizer, loss=loss, train_data=data, batch_size=16, epochs=3, **more)
    return observations


def test_the_loss_at_the_first_step_and_what_it_should_be() -> None:
    found = examined(mlp())
    assert found.unseen == {"validation data": "none was given"}
    flight = found.preflight
    assert flight is not None
    assert flight.expected_loss == pytest.approx(math.log(3), rel=1e-5)
    assert flight.loss is not None
    assert 0.5 < flight.loss < 2.5
    assert (flight.output_shape, flight.target_shape) == ((16, 3), (16,))
    assert found.plan is not None
    assert (found.plan.batch_size, found.plan.epochs, found.plan.examples) == (16, 3, 90)


class Pairs(Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 90

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return X[row] + 0 * torch.rand(5), int(Y[row])


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        [X.numpy(), Y.numpy()],
        (X.double().numpy(), Y),
        (X.tolist(), Y.tolist()),
        TensorDataset(X, Y),
        Subset(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), range(90)),
        DataLoader(TensorDataset(X, Y), 8, shuffle=True),
        Pairs(),
    ],
    ids=["tensors", "arrays", "doubles", "lists", "TensorDataset", "Subset", "DataLoader", "Dataset"],
)
def test_every_form_of_data_tells_the_same(data: Any) -> None:
    found, plain = examined(mlp(dropout=0), data), examined(mlp(dropout=0))
    assert found.data is not None
    assert found.data.class_counts == (30, 30, 30)
    assert found.preflight is not None
    assert plain.preflight is not None
    assert found.preflight.loss == pytest.approx(plain.preflight.loss, rel=1e-4)


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise AssertionError("it was read")


@pytest.mark.parametrize("data", [Stream(), (X,), (X, Y[:5]), "digits", (X[:0], Y[:0]), {"x": X}])
def test_what_cannot_be_looked_at_is_said(data: Any) -> None:
    found = examined(mlp(), data)
    assert "data" in found.unseen
    assert found.data is None
    assert found.loss is not None
    assert found.loss.expects == "logits"


def test_nothing_is_disturbed() -> None:
    network, loader = mlp(), DataLoader(Pairs(), 8, shuffle=True, generator=torch.Generator().manual_seed(3))
    before = copy.deepcopy(network.state_dict())
    states = loader.generator.get_state(), torch.get_rng_state()
    drawn = np.random.get_state()[1].copy()  # type: ignore  # noqa: NPY002
    with undisturbed():
        examined(network, loader)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training
    assert torch.equal(states[1], torch.get_rng_state())
    assert np.array_equal(drawn, np.random.get_state()[1])  # type: ignore  # noqa: NPY002
    assert torch.equal(states[0], loader.generator.get_state())


def test_a_network_that_fails_on_the_data_says_how() -> None:
    flight = examined(nn.Linear(7, 3)).preflight
    assert flight is not None
    assert "RuntimeError" in flight.failure
    assert "mat1 and mat2" in flight.failure
    outside = examined(nn.Linear(5, 2)).preflight
    assert outside is not None
    assert "out of bounds" in outside.failure


def test_pytorchs_own_warning_of_a_broadcast_is_kept() -> None:
    flight = examined(nn.Linear(5, 1), (X, X[:, 0]), nn.MSELoss()).preflight
    assert flight is not None
    assert flight.broadcast
    assert any("target size" in text for text in flight.warnings)
    fine = examined(nn.Linear(5, 1), (X, X[:, :1]), nn.MSELoss()).preflight
    assert fine is not None
    assert not fine.broadcast
    assert not fine.warnings


def test_targets_beyond_the_outputs_bounds_are_counted() -> None:
    values = torch.linspace(-1, 3, 100)[:, None]
    network = nn.Sequential(nn.Linear(5, 1), nn.Sigmoid())
    flight = examined(network, (torch.randn(100, 5), values), nn.MSELoss()).preflight
    assert flight is not None
    assert flight.outside == pytest.approx(float(((values < 0) | (values > 1)).float().mean()))


# ------------------------------------------------------------------------------------------------ the order


def fed(rows_of: Any, data: tuple[torch.Tensor, torch.Tensor], steps: int = 6, batch: int = 10) -> str:
    network = nn.Linear(5, 3)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    watch = Watch(
        network, optimizer, loss=nn.CrossEntropyLoss(), train_data=data, batch_size=batch, epochs=2, confirm=0
    )
    for step in range(steps):
        rows = rows_of(step, batch)
        loss = nn.functional.cross_entropy(network(data[0][rows]), data[1][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step(loss)
    assert watch.observations.plan is not None
    hooks = [hook for hook in network._forward_pre_hooks.values() if "order" in str(hook)]
    watch.close()
    assert not hooks
    return watch.observations.plan.order


def test_rows_fed_as_they_lie_are_told_from_drawn_ones() -> None:
    sorted_data = X, Y.sort().values
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    assert fed(lambda step, n: slice(step * n, (step + 1) * n), sorted_data) == "given"
    assert fed(lambda step, n: order[step * n : (step + 1) * n], sorted_data) == "other"
    assert fed(lambda step, n: slice(step * n, (step + 1) * n), (X, Y)) == "unknown"  # not sorted: not looked at


def test_given_draws_evenly() -> None:
    inputs, targets = given.open_data((X, Y.sort().values)).batch(9, nn.Linear(5, 3))
    assert inputs.shape == (9, 5)
    assert targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
