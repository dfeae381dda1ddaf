"""L1 as a proximal step, projections, and what decays where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Lasso
from torch import nn

from netwright.errors import RecipeError
from netwright.optim import constraints, optimizers
from netwright.recipe.schema import Train


def fitted(network: nn.Module, options: Train, x: torch.Tensor, y: torch.Tensor, steps: int) -> None:
    optimizer = optimizers.build(network, options)
    constraints.attach(optimizer, network, options)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (network(x).squeeze(1) - y).square().mean()).backward()
        optimizer.step()


def test_the_proximal_step_finds_the_lasso_zeros_and_all() -> None:
    """Against scikit-learn's coordinate descent: min ‖y − Xw‖² / (2 n) + λ ‖w‖₁."""
    torch.manual_seed(0)
    x = torch.randn(100, 20, dtype=torch.float64)
    y = x[:, :3] @ torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64) + 0.1 * torch.randn(100, dtype=torch.float64)
    network = nn.Linear(20, 1).double()
    fitted(network, Train(optimizer="sgd", lr=0.1, l1=0.1), x, y, 1500)
    theirs = Lasso(alpha=0.1, tol=1e-10).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(network.weight.detach().numpy()[0], theirs.coef_, atol=1e-6)
    np.testing.assert_array_equal(network.weight.detach().numpy()[0] == 0, theirs.coef_ == 0)
    assert float(network.bias) != 0
    plain = nn.Linear(20, 1).double()
    fitted(plain, Train(optimizer="sgd", lr=0.1), x, y, 100)
    assert int((plain.weight == 0).sum()) == 0


@given(st.integers(0, 10_000), st.sampled_from(["max", "non-negative", "unit-norm"]), st.booleans())
def test_a_projection_is_the_nearest_point_and_changes_nothing_twice(seed: int, kind: str, convolution: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 2, 2, 2) if convolution else (3, 4)
    before = torch.randn(shape, generator=generator, dtype=torch.float64)
    limit, name = (0.8, "none") if kind == "max" else (0.0, kind)
    once = before.clone()
    constraints.project(once, 0, limit, name)
    twice = once.clone()
    constraints.project(twice, 0, limit, name)
    torch.testing.assert_close(once, twice)
    other = torch.randn(shape, generator=generator, dtype=torch.float64)  # another point of the set is never nearer
    constraints.project(other, 0, limit, name)
    for mine, old, theirs in zip(once, before, other):
        assert float((mine - old).norm()) <= float((theirs - old).norm()) + 1e-12


def test_units_of_a_transposed_convolution_lie_along_its_second_axis() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 5, 2), nn.Conv2d(5, 4, 2), nn.LayerNorm(3))
    for weight, axis in constraints.incoming(network):
        constraints.project(weight.data, axis, 0.1)
    assert network[0].weight.transpose(0, 1).flatten(1).norm(dim=1).max() <= 0.1 + 1e-6
    assert network[1].weight.flatten(1).norm(dim=1).max() <= 0.1 + 1e-6
    assert torch.equal(network[2].weight, torch.ones(3))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "rmsprop", "rprop"])
def test_constraints_hold_after_every_optimiser(name: str) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(50, 6), torch.randn(50)
    for options in (
        Train(optimizer=name, lr=0.1, max_norm=0.5),
        Train(optimizer=name, lr=0.1, constraint="non-negative"),
    ):
        network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        fitted(network, options, x, y, 20)
        for layer in (network[0], network[2]):
            assert (
                float(layer.weight.norm(dim=1).max()) <= 0.5 + 1e-6
                if options.max_norm
                else float(layer.weight.min()) >= 0
            )


def test_attached_again_it_is_there_once() -> None:
    network = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    with torch.no_grad():
        network.weight.fill_(1.0)
    for _ in range(3):
        constraints.attach(optimizer, network, Train(l1=0.25))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(network.weight, torch.full((1, 3), 0.75))
    constraints.attach(optimizer, network, Train())
    optimizer.step()
    assert torch.equal(network.weight, torch.full((1, 3), 0.75))


def test_contradictions_say_what() -> None:
    network = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    with pytest.raises(RecipeError, match="unit-norm"):
        constraints.attach(optimizer, network, Train(max_norm=1.0, constraint="unit-norm"))


def test_layers_have_decays_of_their_own_and_biases_none() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), nn.Linear(4, 2))
    options = Train(optimizer="adamw", lr=0.1, weight_decay=0.1, decay_layers={"1": 0.3, "2.weight": 0.0, "1.0": 0.5})
    groups = optimizers.build(network, options).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    found = {name: decays[id(p)] for name, p in network.named_parameters()}
    assert {name: decay for name, decay in found.items() if decay} == {"0.weight": 0.1, "1.0.weight": 0.5}
    with pytest.raises(RecipeError, match=r"decay_layers\.9"):
        optimizers.groups(network, Train(decay_layers={"9": 0.1}))
