"""Initial weights: planted ones that are too large, too small or all the same, and healthy ones of every rule."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from trainings import CLASSES, FEATURES, Training, mlp, told

from netwright.diagnosis.rules import initialization
from netwright.observations import Observations
from netwright.probes import initial_state
from netwright.watching import networks
from netwright.watching.calls import layers_of

MINE = {"bad-initialization", "symmetric-weights"}


def drawn(rule: Callable[[Tensor], object], **options: int) -> nn.Sequential:
    network = mlp(**options)  # type: ignore[arg-type]
    for layer in network:
        if isinstance(layer, nn.Linear):
            rule(layer.weight)
            nn.init.zeros_(layer.bias)
    return network


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), 0.1)


def test_equal_weights_are_named_and_what_follows_from_them() -> None:
    found = told(Training(drawn(nn.init.zeros_), optimizer=sgd, families=("initialization", "units")).diagnosis())
    assert found["symmetric-weights"].severity == "error"
    assert "bad-initialization" not in found
    assert found["dead-units"].because_of == "symmetric-weights"


@pytest.mark.parametrize(
    ("rule", "depth"), [(lambda w: nn.init.normal_(w, 0, 6), 2), (lambda w: nn.init.normal_(w, 0, 0.01), 6)],
    ids=["too large", "too small"],
)  # fmt: skip
def test_weights_of_another_scale_are_named_and_proved(rule: Callable[[Tensor], object], depth: int) -> None:
    found = told(Training(drawn(rule, depth=depth), families=("initialization",)).diagnosis())
    assert "He's and Xavier's" in found["bad-initialization"].confirmed_by


@pytest.mark.parametrize(
    "rule", [nn.init.xavier_uniform_, nn.init.kaiming_normal_, nn.init.orthogonal_], ids=["glorot", "he", "orthogonal"]
)
def test_usual_weights_of_a_training_that_works_are_not_named(rule: Callable[[Tensor], object]) -> None:
    assert not MINE & set(told(Training(drawn(rule), rate=0.01).diagnosis(), notes=True))


# ------------------------------------------------------------------------------------------------ facts alone


def facts(network: nn.Module, x: Tensor, y: Tensor) -> Observations:
    seen = Observations(network=networks.describe(network, [], x[:4])[0])
    seen.initial = initial_state.measure(network, layers_of(network), x, y, functional.cross_entropy)
    return seen


RULES: list[Callable[[Tensor], object]] = [
    lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)), nn.init.xavier_uniform_, nn.init.xavier_normal_,
    nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.orthogonal_,
]  # fmt: skip


# Inputs, width, depth: 8 units vary, and four layers of PyTorch's own rule with GELU shrink so much that it is asked.
shapes = st.tuples(st.integers(4, 200), st.integers(16, 64), st.integers(1, 3))


@given(
    rule=st.sampled_from(RULES), shape=shapes, activation=st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU]),
    seed=st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_no_usual_rule_is_suspected(
    rule: Callable[[Tensor], object], shape: tuple[int, int, int], activation: Callable[[], nn.Module], seed: int
) -> None:
    """Whatever the shape: nothing is asked about the weights of a network that is not very deep."""
    torch.manual_seed(seed)
    inputs, width, depth = shape
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else inputs, width), activation()]
    network = nn.Sequential(*layers, nn.Linear(width, CLASSES))
    for layer in network:
        if isinstance(layer, nn.Linear):
            rule(layer.weight)
    seen = facts(network, torch.randn(64, inputs), torch.randint(0, CLASSES, (64,)))
    assert list(initialization.scale(seen)) == []
    assert list(initialization.symmetric(seen)) == []


@given(factor=st.floats(6, 100), seed=st.integers(0, 99), small=st.booleans())
@settings(max_examples=15, deadline=None)
def test_six_times_a_usual_scale_is_suspected_either_way(factor: float, seed: int, small: bool) -> None:
    """Six: what any rule draws for a square matrix is within √6 of any other, and suspected is three times beyond."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, CLASSES))
    for layer in (network[0], network[2]):
        nn.init.normal_(layer.weight, 0, (1 / factor if small else factor) / math.sqrt(32))
    seen = facts(network, torch.randn(64, 32), torch.randint(0, CLASSES, (64,)))
    assert [layer.name for layer in initialization._odd(seen.initial)] == ["0", "2"]  # type: ignore[arg-type]


def test_a_last_layer_of_zeros_and_a_residual_branch_of_zeros_are_designs() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.outer = (nn.Linear(FEATURES, FEATURES) for _ in range(3))
            self.end = nn.Linear(FEATURES, CLASSES)
            for layer in (self.outer, self.end):
                nn.init.zeros_(layer.weight)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.first(x))
            x = x + self.outer(torch.relu(self.inner(x)))
            result: Tensor = self.end(x)
            return result

    torch.manual_seed(0)
    network = Branch()
    nn.init.normal_(network.end.weight, 0, 0.1)  # else the branch has no gradient yet
    seen = facts(network, torch.randn(64, FEATURES), torch.randint(0, CLASSES, (64,)))
    assert list(initialization.symmetric(seen)) == []
    assert list(initialization.scale(seen)) == []


def test_weights_before_a_norm_may_have_any_scale() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, CLASSES))
    nn.init.normal_(network[0].weight, 0, 5)
    seen = facts(network, torch.randn(64, 32), torch.randint(0, CLASSES, (64,)))
    assert list(initialization.scale(seen)) == []
