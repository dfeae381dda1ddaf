"""Probes of outputs, gradients and steps against numbers computed another way, over made-up tensors of any shape."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.probes import activations, norms, outputs, parameters, readings

SHAPES = st.one_of(
    st.tuples(st.integers(2, 9), st.integers(1, 6)),
    st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(1, 5)),
    st.tuples(st.integers(2, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
)


def filled(shape: tuple[int, ...], seed: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values * (values.abs() > 0.3)  # some zeros


@given(shape=SHAPES, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_small_outputs_are_looked_at_whole(shape: tuple[int, ...], seed: int) -> None:
    tensor = filled(shape, seed)
    values = tensor.numpy().astype(np.float64)
    found = dict(
        zip(
            [name for name, _ in activations.ACTIVATION],
            activations.activation(readings.portion(tensor, 1 if len(shape) > 2 else -1)).tolist(), strict=True,
        )
    )  # fmt: skip
    scale = math.sqrt((values**2).mean())
    assert found["activation-mean"] == pytest.approx(values.mean(), abs=1e-5)
    assert found["activation-scale"] == pytest.approx(scale, rel=1e-4)
    assert found["activation-zeros"] == pytest.approx((values == 0).mean(), abs=1e-6)
    assert found["activation-non-finite"] == 0
    if scale:
        assert found["activation-spread"] == pytest.approx(math.sqrt(values.var(0).mean()) / scale, rel=1e-3, abs=1e-5)


@given(count=st.integers(1, 40), total=st.integers(40, 200), bad=st.sampled_from([math.nan, math.inf, -math.inf]))
@settings(deadline=None)
def test_what_is_not_finite_is_counted(count: int, total: int, bad: float) -> None:
    tensor = torch.ones(total, 2)
    tensor[:count, 0] = bad
    values = readings.portion(tensor, -1)
    assert float(activations.activation(values)[3]) == pytest.approx(count / (2 * total), rel=1e-4)
    assert float(activations.output_gradient(values)[2]) == pytest.approx(count / (2 * total), rel=1e-4)


@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 300), st.integers(1, 40), st.integers(1, 40)),
    limit=st.sampled_from([512, 4096, 32_768]),
)
@settings(max_examples=30, deadline=None)
def test_large_outputs_are_thinned_out_evenly(shape: tuple[int, ...], limit: int) -> None:
    tensor = torch.zeros(1).expand(shape)  # no memory
    values = readings.portion(tensor, 1, limit)
    assert values.numel() <= 4 * max(limit, 8 * min(8, shape[0]))
    assert values.shape[0] >= min(8, shape[0])
    assert readings.portion(tensor, 1, limit, all_units=True).shape[1] == shape[1]


@given(rows=st.integers(1, 300), columns=st.integers(1, 300), limit=st.sampled_from([64, 1000, 4096]))
@settings(max_examples=60, deadline=None)
def test_entries_visit_every_row_and_column_in_turn(rows: int, columns: int, limit: int) -> None:
    """The planted fault: a stride that divides the width would look at the same columns only."""
    where = torch.arange(rows * columns).reshape(rows, columns)
    seen = readings.entries(where.double(), limit).long()
    assert len(seen) <= limit
    assert len(seen) > limit // 16 or rows * columns < limit  # the stride is the next one that has no common divisor
    if len(seen) >= columns:
        assert len(set((seen % columns).tolist())) == columns


def test_entries_of_other_layouts_are_the_same_set() -> None:
    tensor = torch.randn(8, 6, 4, 4)
    assert sorted(readings.entries(tensor).tolist()) == sorted(
        readings.entries(tensor.contiguous(memory_format=torch.channels_last)).tolist()
    )
    assert readings.entries(tensor.half()).dtype == torch.float32


@pytest.mark.parametrize(("function", "bounds"), [(torch.tanh, (-1.0, 1.0)), (torch.sigmoid, (0.0, 1.0))])
def test_saturation_is_the_share_at_the_bounds(function: type, bounds: tuple[float, float]) -> None:
    x = torch.linspace(-10, 10, 20_001)
    found = float(activations.saturation(readings.portion(function(x)[None], -1), *bounds))
    edge = math.atanh(0.95) if bounds[0] < 0 else math.log(0.975 / 0.025)  # where the function is there
    assert found == pytest.approx(1 - edge / 10, abs=1e-3)


def test_units_that_never_answer() -> None:
    values = torch.tensor([[0.0, 1.0, 0.0, -1.0], [0.0, 0.0, 2.0, -2.0]])
    assert activations.alive(values[:, :, None]).tolist() == [False, True, True, False]
    assert activations.alive(values[:, :, None].expand(2, 4, 3)).tolist() == [False, True, True, False]


@given(rows=st.integers(2, 50), classes=st.integers(2, 20), seed=st.integers(0, 100), kind=st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_the_predicted_distribution_is_the_same_in_every_form(rows: int, classes: int, seed: int, kind: int) -> None:
    """Logits, log-probabilities and probabilities of one prediction say the same."""
    logits = 2 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))
    scores = (logits, logits.log_softmax(1), logits.softmax(1))[kind]
    entropy, confidence, distinct, share = outputs.classes(scores).tolist()
    p = logits.double().softmax(1)
    assert entropy == pytest.approx(float(-(p * p.log()).sum(1).mean()), rel=1e-3)
    assert confidence == pytest.approx(float(p.amax(1).mean()), rel=1e-4)
    chosen = logits.argmax(1).bincount()
    assert distinct == (chosen > 0).sum()
    assert share == pytest.approx(float(chosen.max() / rows))


def test_batch_norm_against_a_shifted_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(4000, 5, 3, generator=generator)
    mean_gap, variance_gap = norms.norm(x, torch.full((5,), 5.0), torch.full((5,), 16.0), 0.0).tolist()
    assert mean_gap == pytest.approx(1.0, abs=0.05)  # (5 − 3) ÷ 2
    assert variance_gap == pytest.approx(math.log(4), abs=0.05)


# ------------------------------------------------------------------------------------------------ parameters


def step_of(network: nn.Module, change: float) -> dict[tuple[str, str], float]:
    """Probes' values for a step of −change · gradient."""
    own = [parameters.Parameter(n, n.rpartition(".")[0], p) for n, p in network.named_parameters()]
    before, gradient, norm = parameters.weights(own), parameters.gradients(own), parameters.norms(own)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(change * parameter.grad)
    sums = parameters.compared(before, parameters.weights(own), gradient, gradient)
    whole = parameters.Layered([], [], [], [])
    whole.extend(own, gradient)
    numbers = torch.cat((sums, norm[:, None]), 1).flatten().tolist()
    return {(probe, layer): value for probe, layer, _, value in whole.values(numbers, stepped=True, compared=True)}


@pytest.mark.parametrize("width", [5, 300])  # every entry, and a part of them
def test_a_plain_step_along_the_gradient(width: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    network(torch.randn(20, width)).square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    found = step_of(network, 0.01)
    of_first = [value.flatten() for name, value in gradients.items() if name.startswith("0.")]
    norm = float(torch.cat(of_first).norm())
    weight = float(torch.cat([value.flatten() for name, value in weights.items() if name.startswith("0.")]).norm())
    assert found["gradient-norm", "0"] == pytest.approx(norm, rel=1e-5)
    assert found["weight-norm", "0"] == pytest.approx(weight, rel=0.02)
    assert found["update-ratio", "0"] == pytest.approx(0.01 * norm / weight, rel=0.05)
    assert found["step-direction", ""] == pytest.approx(1, abs=1e-3)
    assert found["step-sign-agreement", ""] == pytest.approx(1, abs=1e-3)
    assert found["gradient-agreement", ""] == pytest.approx(1, abs=1e-5)
    whole = torch.cat([value.flatten() for value in gradients.values()])
    assert found["predicted-change", ""] == pytest.approx(-0.01 * float(whole.square().sum()), rel=0.05)
    assert found["gradient-missing", "0"] == 0


def test_a_step_up_the_gradient_and_parameters_without_one() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    network[0](torch.randn(3, 4)).sum().backward()
    found = step_of(network, -0.1)
    assert found["step-direction", ""] == pytest.approx(-1, abs=1e-4)
    assert found["step-sign-agreement", ""] == 0
    assert found["gradient-missing", "1"] == 2
    assert ("gradient-norm", "1") not in found
    assert found["update-ratio", "1"] == 0


def test_what_is_not_finite_stays_in_its_layer() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    network(torch.randn(3, 4)).sum().backward()
    gradient = network[0].weight.grad
    assert isinstance(gradient, Tensor)
    gradient[0, 0] = math.nan
    found = step_of(network, 0.1)
    assert math.isnan(found["gradient-norm", "0"])
    assert found["gradient-non-finite", "0"] == pytest.approx(1 / 20)
    assert math.isfinite(found["gradient-norm", "1"])
    assert math.isfinite(found["update-ratio", "1"])


def test_units_that_are_all_alike() -> None:
    assert float(parameters.spread(torch.ones(6, 4))) == pytest.approx(0, abs=1e-6)
    assert float(parameters.spread(torch.randn(64, 200, generator=torch.Generator().manual_seed(0)))) > 0.95
