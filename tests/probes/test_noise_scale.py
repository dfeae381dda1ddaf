"""The noise scale against its closed form for linear regression, and its estimators' freedom from bias."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.probes import noise_scale


@given(signal=st.floats(0.01, 100), noise=st.floats(0, 1000), small=st.integers(1, 50), more=st.integers(1, 500))
@settings(deadline=None)
def test_the_estimator_inverts_the_two_expectations(signal: float, noise: float, small: int, more: int) -> None:
    """E|G_B|² = |G|² + tr(Σ) ÷ B: equation A.1."""
    found = noise_scale.estimate(signal + noise / small, signal + noise / (small + more), small, small + more)
    assert found.signal == pytest.approx(signal, rel=1e-6, abs=1e-6 * noise)
    assert found.noise == pytest.approx(noise, rel=1e-6, abs=1e-6 * signal * (small + more))


class Weights(nn.Module):
    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weights


def test_linear_regression_against_its_closed_form() -> None:
    """Inputs x ~ N(0, I), targets x·w* + s·ε, loss ½ mean (x·w − y)². With d = w − w*: G = d, and an example's gradient
    x (x·d − s ε) has covariance tr(Σ) = (n + 1) |d|² + n s² (Isserlis), so B = n + 1 + n s² ÷ |d|²."""
    n, s = 12, 0.7
    generator = torch.Generator().manual_seed(1)
    d = torch.randn(n, generator=generator, dtype=torch.float64)
    inputs = torch.randn(200_000, n, generator=generator, dtype=torch.float64)
    targets = s * torch.randn(200_000, generator=generator, dtype=torch.float64)
    network = Weights(d)

    def half_squares(output: Tensor, target: Tensor) -> Tensor:
        return 0.5 * (output - target).square().mean()

    found = noise_scale.measure(network, half_squares, inputs, targets, size=200)
    square = float(d.square().sum())
    assert found.signal == pytest.approx(square, rel=0.02)
    assert found.batch == pytest.approx(n + 1 + n * s * s / square, rel=0.1)  # 1,000 batches: some 5 % of noise
    assert network.weights.grad is None


def test_without_a_gradient_nothing_is_said() -> None:
    generator = torch.Generator().manual_seed(0)
    pure = [torch.randn(5, generator=generator) for _ in range(6)]
    centred = [gradient - torch.stack(pure).mean(0) for gradient in pure]
    found = noise_scale.of_gradients(centred, 4)
    assert found.signal < 0
    assert found.batch is None
    assert found.measurements(3)[0].values == (None,)


def test_the_same_gradient_everywhere_is_no_noise() -> None:
    found = noise_scale.of_gradients([torch.ones(3)] * 4, 8)
    assert found.noise == pytest.approx(0, abs=1e-12)
    assert found.batch == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("sizes", [(4, 4), (8, 4), (0, 4)])
def test_sizes_that_tell_nothing(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="noise scale"):
        noise_scale.estimate(1.0, 1.0, *sizes)
