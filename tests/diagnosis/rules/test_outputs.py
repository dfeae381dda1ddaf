"""Output against loss: every pair of a loss and an activation, by what theory says of it; then what a copy shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from netwright.diagnosing import rejudge
from netwright.diagnosis.judging import Diagnosis
from netwright.observations import Observations
from netwright.watching import Watch, preflight

MINE = {"wrong-output-activation", "output-size-mismatch", "loss-mismatch", "shape-broadcast", "label-out-of-range"}
ROWS = 120
X = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(ROWS) % 3
BINARY = (torch.arange(ROWS) % 2).float()[:, None]
MANY = (torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(1)) < 0.5).float()
NUMBERS = torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(2))
SHARES = torch.rand(ROWS, 2, generator=torch.Generator().manual_seed(3))

ENDS: dict[str, nn.Module] = {
    "none": nn.Identity(), "softmax": nn.Softmax(-1), "log-softmax": nn.LogSoftmax(-1), "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(), "relu": nn.ReLU(),
}  # fmt: skip


def on_probabilities(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Keras' sparse categorical cross-entropy."""
    return functional.nll_loss((output / output.sum(-1, keepdim=True)).clamp(1e-7, 1 - 1e-7).log(), target)


def soft_capped(output: torch.Tensor) -> torch.Tensor:
    return 30 * (output / 30).tanh()


class Capped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return soft_capped(x)


# The loss, its targets, units, and the activations that are right before it.
FITTING: list[tuple[str, Any, torch.Tensor, int, set[str]]] = [
    ("cross-entropy", nn.CrossEntropyLoss(), CLASSES, 3, {"none", "log-softmax"}),
    ("nll", nn.NLLLoss(), CLASSES, 3, {"log-softmax"}),
    ("on probabilities", on_probabilities, CLASSES, 3, {"softmax"}),
    ("bce", nn.BCELoss(), BINARY, 1, {"sigmoid"}),
    ("bce with logits", nn.BCEWithLogitsLoss(), BINARY, 1, {"none"}),
    ("many labels", nn.BCELoss(), MANY, 3, {"sigmoid"}),
    ("many labels, logits", nn.BCEWithLogitsLoss(), MANY, 3, {"none"}),
    ("regression", nn.MSELoss(), NUMBERS, 1, {"none"}),
    ("regression, absolute", nn.L1Loss(), NUMBERS, 1, {"none"}),
    ("regression of shares", nn.MSELoss(), SHARES, 2, {"none", "sigmoid", "relu", "tanh"}),
]


def judged(network: nn.Module, loss: Any, targets: torch.Tensor, x: torch.Tensor = X) -> Diagnosis:
    """By the facts alone: nothing is trained."""
    observations = Observations()
    preflight.examine(
        observations, network, torch.optim.SGD(network.parameters(), 0.1), loss=loss, train_data=(x, targets),
        batch_size=20, epochs=3,
    )  # fmt: skip
    assert observations.loss is not None
    assert observations.loss.expects != "unknown"
    return rejudge(observations)


def told(diagnosis: Diagnosis) -> set[str]:
    return {finding.code for finding in diagnosis.findings if finding.severity != "note"} & MINE


@pytest.mark.parametrize("end", sorted(ENDS))
@pytest.mark.parametrize("entry", FITTING, ids=[entry[0] for entry in FITTING])
def test_every_loss_with_every_activation(entry: tuple[str, Any, torch.Tensor, int, set[str]], end: str) -> None:
    _, loss, targets, units, right = entry
    torch.manual_seed(0)
    found = told(judged(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, units), ENDS[end]), loss, targets))
    assert found == (set() if end in right else {"wrong-output-activation"})


def test_scores_that_are_capped_far_out_are_fine() -> None:
    assert not told(judged(nn.Sequential(nn.Linear(4, 3), Capped()), nn.CrossEntropyLoss(), CLASSES))


class Network(nn.Module):
    """The activation is in the loss' own line of a forward method, not a module."""

    def __init__(self, end: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.end = nn.Linear(4, 8), nn.Linear(8, 3), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.two(self.one(x).relu()))


def test_functions_count_as_modules_do() -> None:
    assert told(judged(Network(lambda z: z.softmax(-1)), nn.CrossEntropyLoss(), CLASSES)) == {"wrong-output-activation"}
    assert not told(judged(Network(lambda z: z.log_softmax(-1)), nn.NLLLoss(), CLASSES))
    assert not told(judged(Network(lambda z: z.exp() / z.exp().sum(-1, keepdim=True)), on_probabilities, CLASSES))


def test_numbers_of_units() -> None:
    def found(units: int, loss: Any, targets: torch.Tensor) -> set[str]:
        return told(judged(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, units)), loss, targets))

    assert found(2, nn.CrossEntropyLoss(), CLASSES) == {"output-size-mismatch"}
    assert found(3, nn.CrossEntropyLoss(), 1 + CLASSES) == {"label-out-of-range"}  # counted from 1
    assert not found(7, nn.CrossEntropyLoss(), CLASSES)  # units to spare are no fault
    # one yes or no for three classes: neither the number of units nor the loss fits
    assert found(1, nn.BCEWithLogitsLoss(), CLASSES[:, None].float()) == {"output-size-mismatch", "loss-mismatch"}
    assert found(1, nn.BCEWithLogitsLoss(), 1 + BINARY) == {"label-out-of-range"}
    assert not found(1, nn.SoftMarginLoss(), 2 * BINARY - 1)
    assert found(1, nn.BCEWithLogitsLoss(), 2 * BINARY - 1) == {"label-out-of-range"}
    assert found(4, nn.MSELoss(), NUMBERS) == {"output-size-mismatch"}
    assert found(3, nn.MSELoss(), CLASSES[:, None].float()) == {"loss-mismatch"}
    assert found(1, nn.BCEWithLogitsLoss(), NUMBERS) == {"loss-mismatch", "label-out-of-range"}
    assert found(1, nn.BCEWithLogitsLoss(), NUMBERS.sigmoid()) == set()  # shares are answers to yes or no


def test_answers_of_another_kind() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
    keras: Any = lambda o, t: -(t * o.clamp(1e-7, 1).log()).sum(-1).mean()  # noqa: E731
    assert told(judged(network, keras, MANY)) == {"loss-mismatch"}
    assert not told(judged(network, keras, functional.one_hot(CLASSES, 3).float()))
    one = nn.Linear(4, 1)
    assert told(judged(one, nn.MSELoss(), CLASSES[:, None].float())) == {"loss-mismatch"}
    assert not told(judged(one, nn.MSELoss(), NUMBERS.round() + 5))  # counts, not numbers of classes from 0 on


def test_one_against_all_pairs() -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    for loss in (nn.MSELoss(), nn.L1Loss(), lambda o, t: (o - t).pow(2).mean()):
        assert told(judged(network, loss, NUMBERS[:, 0])) == {"shape-broadcast"}
        assert not told(judged(network, loss, NUMBERS))
    flat = nn.Sequential(network, nn.Flatten(0))
    assert not told(judged(flat, nn.MSELoss(), NUMBERS[:, 0]))
    assert told(judged(flat, nn.MSELoss(), NUMBERS)) == {"shape-broadcast"}


# ------------------------------------------------------------------------------------------------ on copies


def trained(
    network: nn.Module, loss: Any, y: torch.Tensor, x: torch.Tensor, rate: float, epochs: int = 15
) -> Diagnosis:
    cut = 2 * len(x) // 3
    optimizer = torch.optim.SGD(network.parameters(), rate)
    watch = Watch(
        network, optimizer, loss=loss, train_data=(x[:cut], y[:cut]), val_data=(x[cut:], y[cut:]), batch_size=32,
        epochs=epochs, confirm=8,
    )  # fmt: skip
    for _ in range(epochs):
        for rows in torch.randperm(cut).split(32):
            value = loss(network(x[rows]), y[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            watch.step(value)
    return watch.diagnosis()


def test_a_sum_is_named_where_the_mean_is_better() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 4)
    y = x[:, :1] * x[:, 1:2] + x[:, 2:3]
    faulty = trained(
        nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)), nn.MSELoss(reduction="sum"), y, x, rate=0.1
    )
    assert "loss-mismatch" in told(faulty)
    named = next(finding for finding in faulty.findings if finding.code == "loss-mismatch")
    assert "R²" in named.confirmed_by
    gentle = trained(  # the same loss at a rate that was made for it
        nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)), nn.MSELoss(reduction="sum"), y, x, rate=0.003
    )
    assert "loss-mismatch" not in told(gentle)


def test_squared_error_on_classes_that_works_is_no_fault() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 4)
    y = functional.one_hot((x[:, 0] > 0).long() + (x[:, 0] > 0.8).long(), 3).float()
    network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    assert not told(trained(network, nn.MSELoss(), y, x, rate=0.3))
