"""Curvature against quadratics whose Hessian is written down, a Hessian built entry by entry, and curvlinops."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.probes import curvature

TOLERANCE = 0.02


class Point(nn.Module):
    """Its output is its weights, so the loss may be any function of them."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.weights


def turned(eigenvalues: list[float], seed: int = 0) -> Tensor:
    size = len(eigenvalues)
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    matrix: Tensor = basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T
    return matrix


def of_quadratic(matrix: Tensor, at: Tensor, offset: float = 1.0) -> curvature.Curvature:
    def loss(weights: Tensor, _: Tensor) -> Tensor:
        return 0.5 * weights @ matrix @ weights + offset

    return curvature.measure(Point(at), loss, torch.zeros(1), torch.zeros(1))


@given(
    eigenvalues=st.lists(st.floats(-50, 50).filter(lambda v: abs(v) > 0.01), min_size=2, max_size=30),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_a_quadratic_has_the_eigenvalues_it_was_built_with(eigenvalues: list[float], seed: int) -> None:
    found = of_quadratic(turned(eigenvalues, seed), torch.zeros(len(eigenvalues), dtype=torch.float64))
    largest = max(map(abs, eigenvalues))
    assert found.sharpness == pytest.approx(max(eigenvalues), abs=TOLERANCE * largest)
    assert found.smallest == pytest.approx(min(eigenvalues), abs=TOLERANCE * largest)
    if max(eigenvalues) - min(eigenvalues) > 0.1 * largest:
        assert found.error[1] <= TOLERANCE * largest  # the bound that the algorithm claims of itself


def test_condition_number_and_kinds_of_critical_points() -> None:
    zero = torch.zeros(4, dtype=torch.float64)
    found = of_quadratic(turned([1.0, 3.0, 10.0, 400.0]), zero)
    assert found.condition == pytest.approx(400, rel=TOLERANCE)
    assert found.kind == "minimum"
    assert of_quadratic(turned([-1.0, 3.0, 10.0, 40.0]), zero).kind == "saddle"
    assert of_quadratic(turned([-1.0, -3.0, -10.0, -40.0]), zero).kind == "maximum"
    assert of_quadratic(torch.zeros(4, 4, dtype=torch.float64), zero).kind == "plateau"
    assert of_quadratic(turned([1.0, 3.0, 10.0, 40.0]), zero + 1).kind == "slope"


@pytest.mark.parametrize("rate_times_sharpness", [1.9, 2.1])
def test_two_over_sharpness_is_where_gradient_descent_turns(rate_times_sharpness: float) -> None:
    matrix = turned([0.5, 2.0, 8.0])
    found = of_quadratic(matrix, torch.zeros(3, dtype=torch.float64))
    rate = rate_times_sharpness / found.sharpness
    place = torch.ones(3, dtype=torch.float64)
    start = place.norm()
    for _ in range(200):
        place = place - rate * matrix @ place
    assert (place.norm() > start) == (rate_times_sharpness > 2)
    told = {one.probe: one.values[0] for one in found.measurements(7, rate)}
    assert told["rate-times-sharpness"] == pytest.approx(rate_times_sharpness)


def small_network() -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 3)).double()
    inputs = torch.randn(40, 5, dtype=torch.float64)
    return network, nn.CrossEntropyLoss(), inputs, inputs[:, :3].argmax(1)


def test_a_network_against_its_whole_hessian() -> None:
    network, loss, inputs, targets = small_network()
    names = [name for name, _ in network.named_parameters()]
    shapes = [p.shape for p in network.parameters()]

    def objective(flat: Tensor) -> Tensor:
        pieces = flat.split([math.prod(shape) for shape in shapes])
        values = {n: piece.reshape(shape) for n, piece, shape in zip(names, pieces, shapes, strict=True)}
        output: Any = torch.func.functional_call(network.eval(), values, (inputs,))
        value: Tensor = loss(output, targets)
        return value

    flat = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    expected = torch.linalg.eigvalsh(torch.autograd.functional.hessian(objective, flat))
    network.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = curvature.measure(network, loss, inputs, targets)
    assert found.sharpness == pytest.approx(float(expected[-1]), rel=TOLERANCE)
    assert found.smallest == pytest.approx(float(expected[0]), rel=TOLERANCE, abs=TOLERANCE * float(expected[-1]))
    assert found.products < len(flat) + 1
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.training
    assert all(p.grad is None for p in network.parameters())


def test_a_network_against_curvlinops() -> None:
    curvlinops = pytest.importorskip(
        "curvlinops", reason="curvlinops is not installed (pip install curvlinops-for-pytorch)"
    )
    from scipy.sparse.linalg import eigsh

    network, loss, inputs, targets = small_network()
    network.eval()
    operator = curvlinops.HessianLinearOperator(network, loss, list(network.parameters()), [(inputs, targets)])
    operator = operator.to_scipy() if hasattr(operator, "to_scipy") else operator
    largest, smallest = (float(eigsh(operator, k=1, which=which)[0][0]) for which in ("LA", "SA"))
    found = curvature.measure(network, loss, inputs, targets)
    assert found.sharpness == pytest.approx(largest, rel=TOLERANCE)
    assert found.smallest == pytest.approx(smallest, rel=TOLERANCE, abs=TOLERANCE * largest)


def test_nothing_to_train_says_so() -> None:
    with pytest.raises(ValueError, match="no parameters"):
        curvature.measure(nn.ReLU(), nn.MSELoss(), torch.zeros(2, 2), torch.zeros(2, 2))


@pytest.mark.parametrize("kind", ["lstm", "attention"])
def test_recurrent_and_attention_layers_have_second_derivatives(kind: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body: Any = nn.LSTM(3, 4, 2, batch_first=True, dropout=0.4) if kind == "lstm" else None
            self.body = self.body or nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            out = self.body(x)
            return (out[0] if isinstance(out, tuple) else out).mean((1, 2))

    torch.manual_seed(0)
    x = torch.randn(6, 5, 3)
    found = curvature.measure(Network(), nn.MSELoss(), x, torch.randn(6), products=8, training=True)
    assert found.sharpness > 0
