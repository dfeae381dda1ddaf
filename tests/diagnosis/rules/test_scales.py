"""Scales of inputs and targets: a fault where a copy shows that they hurt, a note where they do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from netwright.diagnosis.judging import Diagnosis
from netwright.watching import Watch

CODES = {"input-not-normalized", "target-not-normalized"}


def trained(x: torch.Tensor, y: torch.Tensor, network: nn.Module, loss: Any, rate: float, epochs: int = 8) -> Diagnosis:
    cut = 2 * len(x) // 3
    optimizer = torch.optim.Adam(network.parameters(), rate)
    watch = Watch(
        network, optimizer, loss=loss, train_data=(x[:cut], y[:cut]), val_data=(x[cut:], y[cut:]), batch_size=32,
        epochs=epochs, confirm=10,
    )  # fmt: skip
    for _ in range(epochs):
        for rows in torch.randperm(cut).split(32):
            value = loss(network(x[rows]), y[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            watch.step(value)
    return watch.diagnosis()


def loud(diagnosis: Diagnosis) -> set[str]:
    return {finding.code for finding in diagnosis.findings if finding.severity != "note"} & CODES


def linear_data(rows: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(rows, 5, generator=torch.Generator().manual_seed(0))
    return x, (x[:, :1] - x[:, 1:2] + 0.5 * x[:, 2:3] * x[:, 3:4]) / 1.5


def mlp(inputs: int = 5, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    first = [nn.BatchNorm1d(inputs)] if norm else []
    return nn.Sequential(*first, nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 1))


def test_inputs_of_odd_scale_are_a_fault_where_they_hurt() -> None:
    x, y = linear_data()
    raw = x * torch.tensor([0.1, 1, 10, 100, 1000.0]) + torch.tensor([1, 3, 30, 300, 3000.0])
    hurt = trained(raw, y, mlp(), nn.MSELoss(), 0.003)
    assert "input-not-normalized" in loud(hurt)
    named = next(finding for finding in hurt.findings if finding.code == "input-not-normalized")
    assert "R²" in named.confirmed_by
    normed = trained(raw, y, mlp(norm=True), nn.MSELoss(), 0.01, epochs=25)  # batch norm takes the scale away
    assert "input-not-normalized" not in loud(normed)
    assert not loud(trained(x, y, mlp(), nn.MSELoss(), 0.01, epochs=15))


def test_targets_of_odd_scale_are_a_fault_where_they_hurt() -> None:
    x, y = linear_data()
    assert "target-not-normalized" in loud(trained(x, 500 * y + 3000, mlp(), nn.MSELoss(), 0.003))
    assert "target-not-normalized" not in loud(trained(x, y, mlp(), nn.MSELoss(), 0.01, epochs=15))
