"""Activations: what their page says of them holds, and the identities between them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netwright.craft import catalogue
from netwright.errors import UsageError
from netwright.nn.activations import ACTIVATIONS, Maxout, activation
from netwright.recipe import schema

GRID = torch.linspace(-30, 30, 12001, dtype=torch.float64)
phi = torch.distributions.Normal(0.0, 1.0)


def sigma(x):
    return 1 / (1 + torch.exp(-x))


def inside(x, low, high, slope=1.0):
    return torch.where((x > low) & (x < high), slope, 0.0)


def mish(x):
    s = torch.log1p(torch.exp(x))
    return torch.tanh(s) + x * sigma(x) * (1 - torch.tanh(s) ** 2)


# The pages' derivatives, written out.
SLOPES = {
    "identity": torch.ones_like,
    "relu": lambda x: inside(x, 0, math.inf),
    "leaky-relu": lambda x: torch.where(x > 0, 1.0, 0.01),
    "prelu": lambda x: torch.where(x > 0, 1.0, 0.25),
    "relu6": lambda x: inside(x, 0, 6),
    "elu": lambda x: torch.where(x > 0, 1.0, torch.exp(x)),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, 1.0, 1.6732632423543772 * torch.exp(x)),
    "gelu": lambda x: phi.cdf(x) + x * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi),
    "silu": lambda x: sigma(x) * (1 + x * (1 - sigma(x))),
    "mish": mish,
    "softplus": sigma,
    "sigmoid": lambda x: sigma(x) * (1 - sigma(x)),
    "tanh": lambda x: 1 - torch.tanh(x) ** 2,
    "softsign": lambda x: 1 / (1 + x.abs()) ** 2,
    "hard-sigmoid": lambda x: inside(x, -3, 3, 1 / 6),
    "hard-swish": lambda x: torch.where(x > 3, 1.0, inside(x, -3, 3) * (x / 3 + 0.5)),
    "rbf": lambda x: -2 * x * torch.exp(-x.square()),
}


def test_each_has_a_name_in_recipes_and_a_page() -> None:
    assert tuple(ACTIVATIONS) == schema.ACTIVATIONS == tuple(catalogue.parts("activations"))
    with pytest.raises(UsageError, match="leaky-relu"):
        activation("leaky-rel")


@pytest.mark.parametrize("name", SLOPES)
def test_the_derivative_is_that_of_the_page(name: str) -> None:
    x = GRID[(GRID.abs() - 3).abs().gt(1e-9) & GRID.abs().gt(1e-9) & (GRID - 6).abs().gt(1e-9)].clone().requires_grad_()
    activation(name).double()(x).sum().backward()
    torch.testing.assert_close(x.grad, SLOPES[name](x.detach()).double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("softmax", "maxout")])
def test_the_range_is_that_of_the_page_and_no_wider_than_needed(name: str) -> None:
    part = catalogue.parts("activations")[name]
    assert part.bounds is not None
    low, high = part.bounds
    with torch.no_grad():
        values = activation(name).double()(GRID)
    assert low - 1e-9 <= float(values.min())
    assert float(values.max()) <= high + 1e-9
    # Softsign comes within 1 / 31 of its bounds on this grid, all others closer.
    assert float(values.min()) < (low + 0.04 if math.isfinite(low) else -0.2)
    assert float(values.max()) > (high - 0.04 if math.isfinite(high) else 20)


@given(st.floats(-300, 300))
def test_identities(value: float) -> None:
    x = torch.tensor(value, dtype=torch.float64)
    f = {name: activation(name)(x) for name in ("sigmoid", "tanh", "relu", "elu", "silu", "softplus", "hard-swish")}
    close = torch.testing.assert_close
    close(f["tanh"], 2 * torch.sigmoid(2 * x) - 1)
    close(f["sigmoid"], 1 - torch.sigmoid(-x))
    close(f["softplus"] - torch.nn.functional.softplus(-x), x, rtol=1e-6, atol=1e-8)
    close(f["silu"], x * f["sigmoid"])
    close(f["relu"] - activation("relu")(-x), x)
    close(f["hard-swish"], x * activation("hard-sigmoid")(x))
    close(activation("softmax")(torch.stack([x, -x])[None])[0, 0], torch.sigmoid(2 * x))
    close(Maxout(2)(torch.stack([x, torch.zeros_like(x)])[None])[0, 0], f["relu"])


def test_softmax_is_stable_where_the_naive_quotient_is_not() -> None:
    for shift in (100.0, -200.0, 1e30):
        x = torch.tensor([[0.0, 1.0]]) + shift
        naive = torch.exp(x) / torch.exp(x).sum()
        assert not bool(naive.isfinite().all())
        expected = torch.softmax((x - x.max()), 1)
        torch.testing.assert_close(activation("softmax")(x), expected)
    assert math.isinf(float(torch.exp(torch.tensor(89.0))))
    assert float(torch.exp(torch.tensor(-104.0))) == 0.0
    assert float(activation("softplus")(torch.tensor(1000.0))) == 1000.0
