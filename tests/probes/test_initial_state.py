"""The initial state against numbers that follow from the network, and the freshness of weights against draws."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from netwright.observations.initial import InitialState
from netwright.probes import initial_state
from netwright.probes.freshness import fresh


def measured(network: nn.Module, inputs: Tensor, targets: Tensor | None = None, loss: object = None) -> InitialState:
    layers = {name: module for name, module in network.named_modules() if name and not list(module.children())}
    return initial_state.measure(network, layers, inputs, targets, loss)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [3, 40])
def test_scales_gradients_and_gains_of_a_linear_chain(rows: int) -> None:
    """For y = W₂ W₁ x and the loss Σy the gradients are products of the matrices, whatever the batch."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7, bias=False), nn.Linear(7, 3, bias=False))
    first, second = (layer.weight.detach().clone() for layer in network)
    x = torch.randn(rows, 5)
    state = measured(network, x, torch.zeros(rows), lambda outputs, targets: outputs.sum())
    one, two = state.layers
    assert (one.name, two.name) == ("0", "1")
    assert one.output_scale == pytest.approx(float((x @ first.T).square().mean().sqrt()), rel=1e-5)
    assert two.gradient_norm == pytest.approx(math.sqrt(3), rel=1e-5)
    assert one.gradient_norm == pytest.approx(float(second.sum(0).norm()), rel=1e-5)
    gradients = {start.name: start.gradient for start in state.parameters}
    assert gradients["0.weight"] == pytest.approx(float(torch.outer(second.sum(0), x.sum(0)).norm()), rel=1e-4)
    assert one.weight is not None
    assert one.weight.gain == pytest.approx(float(first.std(correction=0)) * math.sqrt(5), rel=1e-5)
    assert one.weight.lowest_gain <= math.sqrt(1 / 3) <= math.sqrt(2) <= one.weight.highest_gain


@given(depth=st.integers(1, 4), width=st.integers(2, 9), seed=st.integers(0, 99), bends=st.booleans())
@settings(max_examples=30, deadline=None)
def test_affine_is_what_has_no_function_that_bends(depth: int, width: int, seed: int, bends: bool) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for number in range(depth):
        layers.append(nn.Linear(4 if not number else width, width))
        layers.append(nn.Tanh() if bends and number == depth // 2 else nn.Dropout(0.5))
    network = nn.Sequential(*layers, nn.BatchNorm1d(width), nn.Linear(width, 2), nn.Softmax(-1))
    assert measured(network, torch.randn(16, 4)).affine is not bends


def test_varied_is_the_share_of_the_output_that_depends_on_the_input() -> None:
    """An output a·x + b of standard normal x has the share a / √(a² + b²)."""
    network = nn.Sequential(nn.Linear(1, 1))
    nn.init.constant_(network[0].weight, 3.0)
    nn.init.constant_(network[0].bias, 4.0)
    x = torch.randn(4000, 1)
    x = (x - x.mean()) / x.std(correction=0)
    assert measured(network, x).layers[0].varied == pytest.approx(0.6, rel=1e-3)


class Cut(nn.Module):
    """One layer is used and cut off, one is not used, one is called without a result, one is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.unused, self.idle, self.kept = (nn.Linear(3, 3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        self.idle(x)
        result: Tensor = self.kept(functional.relu(self.cut(x).detach()))
        return result


def test_cut_and_unused_are_told_apart_by_what_moves_the_output() -> None:
    torch.manual_seed(0)
    state = measured(Cut(), torch.randn(20, 3))
    seen = {start.name.split(".")[0]: start for start in state.parameters if start.name.endswith("weight")}
    assert (seen["cut"].gradient, seen["cut"].moves_loss) == (None, True)
    assert (seen["unused"].gradient, seen["unused"].moves_loss, seen["unused"].called) == (None, False, False)
    assert (seen["idle"].gradient, seen["idle"].moves_loss, seen["idle"].called) == (None, False, True)
    assert seen["kept"].gradient


def test_equal_units_that_stay_equal_and_that_do_not() -> None:
    """Equal rows stay equal under any optimiser only if what reads them is equal too."""
    alike = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    for layer in (alike[0], alike[2]):
        nn.init.constant_(layer.weight, 0.3)
        nn.init.zeros_(layer.bias)
    parted = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    nn.init.constant_(parted[0].weight, 0.3)
    x, y = torch.rand(30, 4), torch.randint(0, 2, (30,))
    for network, expected in ((alike, True), (parted, False)):
        weight = measured(network, x, y, functional.cross_entropy).layers[0].weight
        assert weight is not None
        assert weight.equal_rows
        assert weight.equal_gradients is expected


def test_a_loss_that_does_not_fit_leaves_the_rest_to_be_seen() -> None:
    state = measured(nn.Sequential(nn.Linear(3, 2)), torch.randn(9, 3), torch.zeros(4).long(), functional.cross_entropy)
    assert all(start.gradient for start in state.parameters)


# ------------------------------------------------------------------------------------------------ freshness

RULES: dict[str, Callable[[Tensor], object]] = {
    "default": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "glorot": nn.init.xavier_uniform_, "he": nn.init.kaiming_normal_, "orthogonal": nn.init.orthogonal_,
    "cut off": lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04), "normal": nn.init.normal_,
    "ones": nn.init.ones_, "zeros": nn.init.zeros_,
}  # fmt: skip


@given(
    rule=st.sampled_from(sorted(RULES)),
    shape=st.sampled_from([(16, 10), (64, 64), (10, 128), (32, 16, 3, 3), (64, 1, 3, 3)]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_whatever_rule_drew_them_weights_look_drawn(rule: str, shape: tuple[int, ...], seed: int) -> None:
    torch.manual_seed(seed)
    weight = torch.empty(shape)
    RULES[rule](weight)
    assert fresh(weight)


def test_learned_weights_do_not_look_drawn() -> None:
    """A matrix fitted to data of low rank by gradient descent: singular values stand out of the bulk."""
    torch.manual_seed(0)
    x = torch.randn(500, 3) @ torch.randn(3, 40)
    weight = torch.empty(30, 40).uniform_(-(40**-0.5), 40**-0.5)
    target = x @ torch.randn(40, 30) / 3
    for _ in range(50):
        weight -= 0.01 * (x @ weight.T - target).T @ x / len(x)
    assert fresh(weight) is False


def test_too_few_weights_say_nothing() -> None:
    assert fresh(torch.randn(3, 4)) is None
