"""A loop whose network mixes the examples of a batch, beside its healthy twin and a loop that means it so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netwright.records import Finding
from netwright.watching import Watch

X = torch.randn(48, 5, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, -1, 0] > 0).long()


class Sums(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.end, self.first = nn.GRU(4, 8, batch_first=batch_first), nn.Linear(8, 2), batch_first

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.rnn(x)[0])


class Last(Sums):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, -1]


def told(network: nn.Module, turned: bool = False) -> list[Finding]:
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    loss = nn.CrossEntropyLoss()
    watch = Watch(
        network, optimizer, loss=loss, train_data=(X, Y), batch_size=8, epochs=2, confirm=0, tell=False
    )  # fmt: skip
    for rows in torch.arange(48).split(8):
        value = loss(network(X[rows].transpose(0, 1))[-1] if turned else network(X[rows]), Y[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        watch.step(value)
    return [finding for finding in watch.findings() if finding.code == "train-eval-gap"]


def test_time_taken_for_rows_is_told() -> None:
    (finding,) = told(Last(batch_first=False))
    assert finding.severity == "warning"
    assert finding.evidence[0].value == pytest.approx(0.25, abs=0.24)
    assert told(Last(batch_first=True)) == []


def test_a_loop_that_turns_its_batches_is_left_alone() -> None:
    """Steps first is what such a network is made for; the data as they lie would be taken wrongly."""
    assert told(Sums(batch_first=False), turned=True) == []
