"""Comparing outputs: laws, and intermediate results in a runtime that fuses, renames and turns layouts around."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from netwright.export.comparing import TOLERANCE, difference, first_difference, steps
from netwright.export.target import Array

LOGITS = arrays(np.float64, (6, 4), elements=st.floats(-50, 50))


@given(LOGITS, st.floats(0, 3))
@settings(max_examples=60, deadline=None)
def test_what_differs_by_less_than_the_tolerance_agrees_and_by_more_does_not(logits: np.ndarray, times: float) -> None:
    bound = TOLERANCE * max(1.0, float(np.abs(logits).max()))
    other = logits.copy()
    other[2, 1] += times * bound
    found = difference(logits, other, labels=False)
    assert found.tolerance == pytest.approx(bound)
    if abs(times - 1) > 1e-6:
        assert found.agrees == (times < 1)
    assert found.mean <= found.largest


@given(LOGITS)
@settings(max_examples=60, deadline=None)
def test_an_output_agrees_with_itself_and_a_swapped_label_does_not(logits: np.ndarray) -> None:
    assert difference(logits, logits, labels=True).labels_equal == 1.0
    first = np.tile([[2.0, 0.0, 0.0, 0.0]], (6, 1))
    second = first.copy()
    second[3] = [0.0, 2.0, 0.0, 0.0]
    found = difference(first, second, labels=True)
    assert found.labels_equal == pytest.approx(5 / 6)
    assert not found.agrees


def test_a_close_call_may_go_either_way_and_a_number_that_is_none_never_agrees() -> None:
    first, second = np.array([[1.0, 1.0 - 1e-6]]), np.array([[1.0 - 1e-6, 1.0]])
    found = difference(first, second, labels=True)
    assert found.labels_equal == 0.0
    assert found.close_calls == 1
    assert found.agrees
    assert not difference(np.ones((2, 3)), np.array([[1, 1, 1], [1, np.nan, 1]]), labels=False).agrees


class Pretended:
    """A runtime that holds only some results, channels last, under no name, and changes some."""

    def __init__(self, values: list[Array]) -> None:
        self.values = values

    def intermediates(self, *inputs: Array) -> list[Array]:
        return self.values

    def run(self, *inputs: Array) -> Array:
        raise AssertionError

    def operators(self, *inputs: Array) -> dict[str, float]:
        return {}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = x + self.norm(self.second(x)).relu()
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def residual() -> tuple[nn.Module, np.ndarray]:
    torch.manual_seed(0)
    return Residual().eval(), np.random.default_rng(0).normal(size=(1, 3, 6, 6)).astype(np.float32)


def test_steps_are_the_layers_in_order_and_the_last_is_the_output(residual: tuple[nn.Module, np.ndarray]) -> None:
    network, x = residual
    made = steps(network, [x])
    assert [each.layer for each in made if each.kind in ("conv2d", "batch_norm", "linear")] == [
        "first", "second", "norm", "head",
    ]  # fmt: skip
    with torch.no_grad():
        np.testing.assert_array_equal(made[-1].value, network(torch.from_numpy(x)).numpy())
    assert all(parent < number for number, each in enumerate(made) for parent in each.parents)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("kind", ["conv2d", "batch_norm", "add", "mean", "linear"])
def test_the_first_step_whose_result_is_wrong_is_named_whatever_was_fused(
    residual: tuple[nn.Module, np.ndarray], kind: str
) -> None:
    """A planted fault at each step in turn: it and all that reads it are wrong; convolutions, norms and the first
    half of the others are fused away, and pictures lie channels last."""
    network, x = residual
    made = steps(network, [x])
    fault = next(number for number, each in enumerate(made) if each.kind.rstrip("_") == kind)
    wrong = {fault}
    for number, each in enumerate(made):
        if wrong & set(each.parents):
            wrong.add(number)
    fused = {number for number, each in enumerate(made) if each.kind in ("conv2d", "batch_norm") and number != fault}
    held = [
        np.moveaxis(each.value + (0.5 if number in wrong else 0.0), 1, -1).copy()
        if each.value.ndim == 4
        else each.value + (0.5 if number in wrong else 0.0)
        for number, each in enumerate(made)
        if number not in fused
    ]
    found = first_difference(network, Pretended(held), [x], 0.1)
    named = next(number for number, each in enumerate(made) if str(each) == found)
    # A step that was fused with the faulty one cannot be told from it; nothing before those is blamed.
    between = set(range(named, fault))
    assert named == fault or between <= fused, found
    right = [value.value for value in made]
    assert first_difference(network, Pretended(right), [x], 0.1) == ""
