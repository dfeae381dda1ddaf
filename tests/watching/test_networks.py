"""What is told of a network and its optimisers, beside networks whose facts are plain."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netwright.nn.zoo import NETWORKS
from netwright.observations import NetworkFacts
from netwright.observations.network import LayerFacts
from netwright.watching import behaviour, networks


def facts_of(network: nn.Module, shape: tuple[int, ...], optimizers: Any = ()) -> tuple[NetworkFacts, dict[str, Any]]:
    """The facts and the layers by name; nothing of the network may have changed."""
    before = {key: value.clone() for key, value in network.state_dict().items() if not is_lazy(value)}
    example = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    facts, unseen = networks.describe(network, optimizers, example)
    assert unseen == {}
    after = network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    return facts, {layer.name: layer for layer in facts.layers}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(36, 3)
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4, eps=1e-3)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.never = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.act(self.norm(self.first(x)))
        x = self.act(self.second(x) + x)
        x = F.relu(F.max_pool2d(x, 2))
        return F.softmax(self.fc(x.flatten(1)), dim=1)


def test_order_inputs_functions_and_shapes() -> None:
    facts, layers = facts_of(Residual(), (1, 6, 6))
    assert facts.calls == (
        "first", "norm", "act", "second", "add_1", "act", "max_pool2d_1", "relu_1", "fc", "softmax_1",
    )  # fmt: skip
    assert layers["add_1"].inputs == ("second", "act")
    assert layers["fc"].inputs == ("relu_1",)  # a change of shape hands values on
    assert layers["first"].inputs == ("input",)
    assert layers["act"].calls == 2
    assert layers["never"].calls == 0
    assert layers["relu_1"].kind == "ReLU"
    assert layers["relu_1"].function
    assert layers["first"].output_shape == (4, 6, 6)
    assert (layers["first"].unit_axis, layers["max_pool2d_1"].unit_axis, layers["fc"].unit_axis) == (1, 1, -1)
    assert layers["norm"].options["eps"] == 1e-3
    assert layers["first"].options["bias"] is False
    assert layers["second"].options["bias"] is True
    assert facts.output_activation == "softmax"
    assert facts.outputs == ("softmax_1",)
    assert facts.output_shape == (3,)
    assert facts.executed


def test_parameters_and_who_trains_them() -> None:
    network = Residual()
    network.second.requires_grad_(False)
    foreign = nn.Linear(2, 2)
    optimizers = [
        torch.optim.SGD([network.first.weight, *foreign.parameters()], 0.1),
        torch.optim.Adam([*network.fc.parameters()]),
    ]
    facts, layers = facts_of(network, (1, 6, 6), optimizers)
    assert layers["first"].in_optimizer == ("weight",)
    assert layers["fc"].in_optimizer == ("weight", "bias")
    assert layers["second"].trainable == ()
    assert layers["norm"].in_optimizer == ()
    assert layers["norm"].trainable == ("weight", "bias")
    assert facts.parameters == sum(p.numel() for p in network.parameters())
    assert facts.trainable == facts.parameters - sum(p.numel() for p in network.second.parameters())
    told = networks.describe_optimizers(network, optimizers)
    assert told is not None
    assert told.kind == "SGD + Adam"
    assert told.strange_parameters == 2
    assert [group["lr"] for group in told.groups] == [0.1, 1e-3]
    assert told.groups[1]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("name", ["lenet5", "resnet20_cifar", "vgg11"])
def test_networks_of_the_zoo_by_their_own_counts(name: str) -> None:
    shape = {"lenet5": (1, 28, 28)}.get(name, (3, 32, 32))
    network = NETWORKS[name](shape, 10)
    facts, layers = facts_of(network, shape)
    assert sum(math.prod(size) for layer in layers.values() for size in layer.parameters.values()) == facts.parameters
    called = [path for path, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [layer for layer in layers if layer in called] == called  # defined in the order of their calls
    assert all(layer.inputs for layer in layers.values() if layer.calls)


def test_lazy_tied_and_unknown_parameters() -> None:
    network = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(3))
    facts, layers = facts_of(network, (7,))
    assert layers["0"].parameters["weight"] == (4, 7)
    assert is_lazy(next(network.parameters()))  # the user's own has not seen anything
    assert facts.parameters == 4 * 7 + 4 + 3 * 4 + 3
    tied = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    tied[1].weight = tied[0].weight
    assert networks.tied(tied) == (("0.weight", "1.weight"),)


def test_attention_parametrizations_and_single_layers() -> None:
    facts, layers = facts_of(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8))
    assert layers["self_attn"].calls == 1
    assert layers["self_attn.out_proj"].calls == 1  # used by the attention, though never called itself
    assert layers["add_1"].inputs == ("input", "dropout1")
    assert "relu_1" in layers
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    _, layers = facts_of(network, (4,))
    assert set(layers) == {"0"}
    assert sum(math.prod(size) for size in layers["0"].parameters.values()) == 3 + 12 + 3
    facts, layers = facts_of(nn.Linear(4, 3), (4,))
    assert list(layers) == ["Linear"]
    facts, _ = facts_of(nn.Sequential(nn.ReLU()), (4,))
    assert facts.parameters == 0
    assert facts.output_activation == "relu"


def test_what_cannot_be_seen_is_said() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x: Tensor, mask: Tensor) -> Any:
            return self.inner(x) * mask

    facts, unseen = networks.describe(Stubborn(), [], torch.randn(4, 3))
    assert "does not run" in unseen["network"]
    assert not facts.executed
    assert [layer.name for layer in facts.layers] == ["inner"]
    facts, unseen = networks.describe(Stubborn(), [])
    assert "no training data" in unseen["network"]


# ------------------------------------------------------------------------------------------------ behaviour


class Named(nn.Module):
    """A function under a name that says nothing."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


@pytest.mark.parametrize("name", sorted(behaviour.REFERENCES))
def test_activations_are_known_by_what_they_do(name: str) -> None:
    found = behaviour.of_module(Named(behaviour.REFERENCES[name]), torch.zeros(3, 10))
    assert found["activation"] == name
    if name in behaviour.BOUNDS:
        assert (found["lower"], found["upper"]) == behaviour.BOUNDS[name]


def test_other_functions() -> None:
    example = torch.zeros(4, 10)
    assert (
        behaviour.of_module(Named(lambda x: x.exp() / x.exp().sum(-1, keepdim=True)), example)["activation"]
        == "softmax"
    )
    assert behaviour.of_module(Named(lambda x: x.detach()), example) == {
        "activation": "identity",
        "cuts_gradient": True,
    }
    sine = behaviour.of_module(Named(torch.sin), example)
    assert sine["activation"] == "elementwise"
    assert -1 <= sine["lower"] < sine["upper"] <= 1
    assert "lower" not in behaviour.of_module(Named(lambda x: x * 3), example)
    assert behaviour.of_module(Named(lambda x: x.flip(1)), example) == {}
    assert behaviour.of_module(Named(lambda x: x.sum(1)), example) == {}
    assert behaviour.of_module(nn.Linear(10, 10), example) == {}


@pytest.mark.parametrize(
    ("function", "flat"),
    [
        (torch.round, True), (torch.sign, True), (torch.floor, True), (lambda x: x + (x.round() - x).detach(), False),
        (lambda x: x.softmax(1), False), (torch.relu, False), (lambda x: 0 * x, False), (lambda x: x % 1.0, False),
    ],
    ids=["round", "sign", "floor", "straight through", "softmax", "relu", "nothing", "remainder"],
)  # fmt: skip
def test_a_step_function_is_known_by_its_slope(function: object, flat: bool) -> None:
    assert behaviour.of_module(Named(function), torch.randn(4, 10)).get("flat", False) is flat  # type: ignore[arg-type]


def test_records_go_round() -> None:
    facts, _ = facts_of(Residual(), (1, 6, 6))
    again = NetworkFacts.from_json(facts.to_json())
    assert again.layers[0].name == facts.layers[0].name
    assert isinstance(again.layers[0], LayerFacts)
    assert again.calls == facts.calls
