"""Scores against scikit-learn's, thresholds against the losses' own indifference, invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, r2_score
from torch import nn

from netwright.repair.scoring import kind_of, score, threshold

mse = nn.MSELoss()


@given(st.integers(2, 6), st.integers(2, 40), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_accuracy_of_classes_is_scikit_learns_in_every_form_of_labels(classes: int, count: int, seed: int) -> None:
    drawn = torch.Generator().manual_seed(seed)
    outputs = torch.randn(count, classes, generator=drawn)
    labels = torch.randint(0, classes, (count,), generator=drawn)
    wanted = accuracy_score(labels.numpy(), outputs.argmax(1).numpy())
    for targets in (labels, labels[:, None], labels.float(), nn.functional.one_hot(labels, classes).float()):
        found = score(outputs, targets, mse)
        assert found.value == pytest.approx(wanted, abs=1e-6)
        assert found.chance == pytest.approx(np.bincount(labels.numpy()).max() / count, abs=1e-6)


def test_pixel_labels_are_counted_along_pytorchs_class_axis() -> None:
    labels = torch.randint(0, 3, (5, 4, 6))
    outputs = nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    assert score(outputs, labels, nn.CrossEntropyLoss()).value == 1.0


@given(st.floats(0.1, 100), st.floats(-50, 50), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_r2_is_scikit_learns_and_the_same_in_any_unit(factor: float, shift: float, seed: int) -> None:
    drawn = torch.Generator().manual_seed(seed)
    targets = torch.randn(50, 2, generator=drawn) * torch.tensor([1.0, 7.0])
    outputs = targets + torch.randn(50, 2, generator=drawn)
    found = score(outputs, targets, mse)
    assert found.value == pytest.approx(r2_score(targets.numpy(), outputs.numpy()), abs=1e-4)
    unit = torch.tensor([factor, 1.0])
    other = score(outputs * unit + shift, targets * unit + shift, mse)
    assert other.value == pytest.approx(found.value, abs=2e-3)


@given(st.integers(16, 40), st.floats(1e-3, 0.1), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_columns_of_one_unit_are_counted_together(columns: int, rare: float, seed: int) -> None:
    """Pixels of which some hardly vary: as an autoencoder is scored. One wrong value there is no catastrophe."""
    drawn = torch.Generator().manual_seed(seed)
    targets = torch.rand(60, columns, generator=drawn)
    targets[:, :3] *= rare
    outputs = targets + 0.1 * torch.randn(60, columns, generator=drawn)
    wanted = r2_score(targets.numpy(), outputs.numpy(), multioutput="variance_weighted")
    assert score(outputs, targets, mse).value == pytest.approx(wanted, abs=1e-4)
    assert r2_score(targets.numpy(), outputs.numpy()) < wanted


def test_numbers_in_a_row_and_in_a_column_are_compared_without_a_broadcast() -> None:
    targets = torch.linspace(-2, 2, 21)
    assert score(targets[:, None], targets, mse).value == pytest.approx(1.0)
    assert score(targets, targets[:, None], mse).value == pytest.approx(1.0)


class Named(nn.Module):
    """A loss whose name says nothing."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of = of

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.of(output, target) * 3.7


@pytest.mark.parametrize(
    ("loss", "half"),
    [
        (nn.BCELoss(), 0.5),
        (nn.BCEWithLogitsLoss(), 0.0),
        (mse, 0.5),
        (nn.L1Loss(), 0.5),
        (nn.BCELoss(reduction="sum"), 0.5),
    ],
)
def test_the_threshold_of_one_unit_is_where_the_loss_does_not_care(loss: nn.Module, half: float) -> None:
    assert threshold(Named(loss)) == half
    both = [float(loss(torch.full((2, 1), half), torch.full((2, 1), target))) for target in (0.0, 1.0)]
    assert both[0] == pytest.approx(both[1], rel=1e-5)


def test_one_unit_is_decided_by_the_losses_threshold() -> None:
    outputs = torch.tensor([[-1.0], [0.3], [0.2], [2.0]])
    targets = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    assert score(outputs, targets, nn.BCEWithLogitsLoss()).value == 1.0
    assert score(outputs, targets, mse).value == 0.5


@pytest.mark.parametrize(
    ("outputs", "targets", "kind"),
    [
        ((8, 5), torch.arange(8) % 5, "classes"),
        ((8, 3), torch.eye(3)[torch.arange(8) % 3], "one-hot"),
        ((8, 3), torch.tensor([[1.0, 1.0, 0.0]] * 8), "multi-label"),
        ((8, 1), torch.tensor([[0.0], [1.0]] * 4), "binary"),
        ((8, 1), torch.tensor([[-1.0], [1.0]] * 4), "binary"),
        ((8, 1), torch.linspace(0, 1, 8)[:, None], "values"),
        ((8, 10), torch.linspace(0, 9, 8)[:, None], "values"),
    ],
)
def test_what_is_learned_is_seen_from_shapes_and_values(outputs: tuple, targets: torch.Tensor, kind: str) -> None:
    assert kind_of(torch.zeros(outputs), targets) == kind


def test_outputs_that_are_not_finite_have_no_score() -> None:
    outputs = torch.tensor([[1.0, math.nan], [0.0, 1.0]])
    assert score(outputs, torch.tensor([0, 1]), nn.CrossEntropyLoss()).value is None
    assert score(torch.tensor([[math.inf], [0.0]]), torch.tensor([[1.5], [0.3]]), mse).value is None


def test_the_standard_error_covers_the_score_of_the_population() -> None:
    """Of a predictor that is right in 80 %, the score of samples lies within two standard errors in about 95 %."""
    drawn = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(300):
        labels = torch.randint(0, 2, (100,), generator=drawn)
        right = torch.rand(100, generator=drawn) < 0.8
        outputs = nn.functional.one_hot(torch.where(right, labels, 1 - labels), 2).float()
        found = score(outputs, labels, nn.CrossEntropyLoss())
        assert found.value is not None
        inside += abs(found.value - 0.8) <= 2 * found.uncertainty
    assert 0.92 <= inside / 300 <= 0.99
