"""Faults of a network's build, planted into a training that works, and builds that only look like them."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from trainings import CLASSES, FEATURES, Functional, Training, mlp, standing, told

from netwright.diagnosis import paths
from netwright.diagnosis.rules import structure
from netwright.observations import DataAudit, Experiment, NetworkFacts, Observations
from netwright.observations.data import ArrayFacts
from netwright.observations.network import LayerFacts
from netwright.records import Finding
from netwright.watching import networks


class Exponential(nn.Module):
    """Of a name that says nothing: it is known by what it does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


@pytest.mark.parametrize(
    ("activation", "depth"), [(lambda: nn.Softmax(-1), 2), (Exponential, 4)], ids=["softmax", "exponential"]
)
def test_a_function_that_is_none_for_hidden_layers(activation: Callable[[], nn.Module], depth: int) -> None:
    found = told(Training(mlp(activation=activation, depth=depth), families=("structure",)).diagnosis())
    assert "wrong-hidden-activation" in found
    assert "ReLU" in found["wrong-hidden-activation"].confirmed_by


def test_a_stack_of_sigmoids_names_the_function_as_the_root_of_what_vanishes() -> None:
    found = told(Training(mlp(8, 9, nn.Sigmoid), families=("structure", "gradients")).diagnosis())
    assert {"wrong-hidden-activation", "vanishing-gradient"} <= set(found)
    assert found["vanishing-gradient"].because_of == "wrong-hidden-activation"


@pytest.mark.parametrize("suffers", [False, True])
def test_two_sigmoid_layers_of_a_training_that_learns_are_not_asked_about(suffers: bool) -> None:
    facts, _ = networks.describe(mlp(activation=nn.Sigmoid), [], torch.randn(4, FEATURES))
    seen = standing(Observations(network=facts), 0.2 if suffers else 0.9, 0.9)
    asked = list(structure.hidden_activation(seen))
    assert [one.name for one in asked if isinstance(one, Experiment)] == ["activation=relu"] * suffers
    assert not [one for one in asked if isinstance(one, Finding)]


class Attention(nn.Module):
    """A softmax where it belongs: its result weighs other values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores, self.values = nn.Linear(FEATURES, 24), nn.Linear(FEATURES, 24)
        self.softmax, self.end = nn.Softmax(-1), nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.end(self.softmax(self.scores(x)) * self.values(x))
        return result


def test_a_softmax_that_weighs_other_values_is_no_hidden_activation() -> None:
    facts, _ = networks.describe(Attention(), [], torch.randn(4, FEATURES))
    assert not [link for link in paths.links(facts) if link.activation]


# ------------------------------------------------------------------------------------------------ no activation


def test_layers_without_an_activation_are_one_affine_function() -> None:
    found = told(Training(mlp(activation=nn.Identity), families=("structure",)).diagnosis())
    assert "missing-nonlinearity" in found
    assert "ReLU between" in found["missing-nonlinearity"].confirmed_by


def test_an_activation_that_is_no_module_is_seen() -> None:
    bent, bare = (
        networks.describe(Functional(bends=bends), [], torch.randn(4, FEATURES))[0] for bends in (True, False)
    )
    assert [link.affine for link in paths.links(bent)] == [False]
    assert [link.affine for link in paths.links(bare)] == [True]


class Separable(nn.Module):
    """Depthwise, pointwise, and a linear bottleneck between two wide layers: factors, no faults."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.pointwise = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 16, 1)
        self.narrow, self.wide = nn.Conv2d(16, 3, 1), nn.Conv2d(3, 24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.pointwise(self.depthwise(x)))
        result: torch.Tensor = self.wide(self.narrow(x)).mean((2, 3))
        return result


@pytest.mark.parametrize(
    ("network", "shape", "bare"),
    [
        (Separable(), (4, 8, 8), 0),
        (nn.Sequential(nn.Linear(20, 4), nn.Linear(4, 20)), (20,), 0),
        (nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 2)), None, 0),
        (nn.Sequential(nn.Linear(6, 24), nn.Dropout(0.5), nn.Linear(24, 3)), (6,), 1),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2)),
            (3, 8, 8),
            1,
        ),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 9)), (3, 8, 8), 1),
        (nn.Sequential(nn.Linear(6, 24), nn.LayerNorm(24), nn.Linear(24, 3)), (6,), 0),
    ],
    ids=[
        "separable",
        "low rank",
        "embedding",
        "dropout between",
        "two convolutions",
        "batch norm between",
        "layer norm",
    ],
)
def test_which_pairs_are_one_affine_function_and_no_factors(
    network: nn.Module, shape: tuple[int, ...] | None, bare: int
) -> None:
    example = torch.randn(4, *shape) if shape else torch.randint(0, 9, (4, 3))
    facts, unseen = networks.describe(network, [], example)
    assert not unseen
    assert sum(link.affine and not structure._factorized(link) for link in paths.links(facts)) == bare


# ------------------------------------------------------------------------------------------------ notes


def noted(network: nn.Module, inputs: torch.Tensor) -> dict[str, Finding]:
    """The notes on the build alone."""
    facts, _ = networks.describe(network, [], inputs)
    audit = ArrayFacts(examples=4, sampled=4, shape=tuple(inputs.shape[1:]), dtype="float32")
    seen = Observations(network=facts, data=DataAudit(inputs=audit))
    told = [*structure.bias_before_norm(seen), *structure.fields(seen)]
    assert all(isinstance(one, Finding) and one.severity == "note" for one in told)
    return {one.code: one for one in told if isinstance(one, Finding)}


def convolutions(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.mark.parametrize("bias", [True, False])
def test_a_bias_before_batch_norm_is_noted(bias: bool) -> None:
    network = convolutions(nn.Conv2d(1, 8, 3, bias=bias), nn.BatchNorm2d(8), nn.ReLU())
    found = noted(network, torch.randn(4, 1, 6, 6))
    assert ("bias-before-norm" in found) is bias
    if bias:
        assert found["bias-before-norm"].evidence[0].value == 8


def test_a_bias_that_something_else_reads_too_has_an_effect() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.first(x)
            result: torch.Tensor = self.norm(hidden) + hidden
            return result

    assert noted(Two(), torch.randn(4, 4)) == {}


@pytest.mark.parametrize(("layers", "field"), [(1, 3), (2, 5), (6, 13), (8, 17)])
def test_the_field_of_unpadded_threes_is_two_for_each_and_one(layers: int, field: int) -> None:
    """Before global pooling, a field of less than half of 32 pixels is noted."""
    chain = [nn.Conv2d(8 if number else 1, 8, 3, padding=1) for number in range(layers)]
    found = noted(convolutions(*chain), torch.randn(4, 1, 32, 32))
    assert ("receptive-field-too-small" in found) is (field < 16)
    if field < 16:
        assert found["receptive-field-too-small"].evidence[0].value == field


def test_maps_that_are_all_padding_and_maps_that_are_hardly_smaller_than_the_picture() -> None:
    pooled = [part for _ in range(4) for part in (nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2))]
    tail = [nn.Conv2d(1, 8, 3, padding=1), nn.Flatten(), nn.Linear(8, 2)]
    small = noted(nn.Sequential(*pooled, *tail), torch.randn(4, 1, 16, 16))
    assert small["final-map-size"].evidence[0].value == 1
    large = noted(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 900, 32)), torch.randn(4, 1, 32, 32)
    )
    assert large["final-map-size"].evidence[0].value == 30
    usual = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(4 * 49, 32))
    assert noted(usual, torch.randn(4, 1, 30, 30)) == {}


def test_a_network_that_was_not_run_is_not_judged() -> None:
    layers = (LayerFacts(name="a", kind="Linear", parameters={"weight": (9, 9)}),)
    assert paths.links(NetworkFacts(layers=layers)) == []
