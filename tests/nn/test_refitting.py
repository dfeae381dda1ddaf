"""Other parts for any network: it runs, keeps its weights and replays to the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn import keeping, norms, refitting
from netwright.nn.activations import Gaussian
from netwright.nn.layers.cosine import CosineConv2d, CosineLinear
from netwright.nn.surgery import replay
from netwright.recipe import schema
from netwright.records import NetworkFile

SHAPES = {
    "mlp": (20,), "lenet5": (1, 12, 12), "small_vgg": (3, 8, 8), "small_resnet": (3, 16, 16), "small_resnet1d": (2, 64),
    "resnet20_cifar": (3, 16, 16), "squeezenet1_1": (3, 32, 32), "shufflenet_v2": (3, 32, 32), "unet": (1, 188, 188),
}  # fmt: skip
SWITCHES = [
    {"norm": "none"}, {"norm": "batch"}, {"norm": "layer"}, {"norm": "group", "place": "after"}, {"norm": "weight"},
    {"norm": "cosine"}, {"activation": "elu", "drop_hidden": 0.2, "noise_hidden": 0.1, "noise_weights": 0.1},
    {"activation": "tanh", "norm": "batch", "drop_input": 0.2},
]  # fmt: skip


def built(name: str) -> tuple[nn.Module, NetworkFile]:
    record = keeping.describe(name, SHAPES[name], 4, width="auto", depth="auto", dropout="auto", arguments={})
    torch.manual_seed(0)
    return keeping.build(record), record


def refit(network: nn.Module, shape: tuple[int, ...], **switches: object) -> nn.Module:
    return replay(network, refitting.refit(network, shape, **switches))  # type: ignore[arg-type]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "unet"])
def test_any_named_network_takes_every_switch_and_loads_again(name: str, switches: dict[str, object]) -> None:
    network, record = built(name)
    state = torch.get_rng_state()
    surgeries = refitting.refit(network, record.input_shape, **switches)  # type: ignore[arg-type]
    assert torch.equal(state, torch.get_rng_state())
    replay(network, surgeries)
    x = torch.randn(3, *record.input_shape)
    again, _ = built(name)
    kept = NetworkFile.from_json(NetworkFile(kind="zoo", name=name, surgeries=surgeries).to_json())
    replay(again, kept.surgeries).load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(network.eval()(x), again.eval()(x))
        assert bool(network(x).isfinite().all())
    network.train()(x).sum().backward()


def test_the_schema_names_what_there_is() -> None:
    assert schema.NORMS == norms.NORMS


@pytest.mark.parametrize("kind", norms.NORMS[:4])
def test_norms_normalise_over_their_axes(kind: str) -> None:
    """By their definition in NumPy, for maps, tokens and vectors."""
    for tokens, shape in ((False, (4, 6, 5, 3)), (True, (4, 5, 6)), (False, (4, 6))):
        if kind == "instance" and len(shape) == 2:
            continue
        name, arguments = norms.fitting(kind, shape, tokens=tokens, groups=3 if kind == "group" else 0)
        from netwright.nn.surgery import REPLACEMENTS

        module = REPLACEMENTS[name](**arguments)
        x = np.random.default_rng(0).normal(2.0, 3.0, shape)
        first = np.moveaxis(x, -1, 1) if tokens else x  # (N, C, positions)
        flat = first.reshape(shape[0], 6, -1)
        if kind == "group" and tokens:  # each token by itself
            grouped = np.moveaxis(flat, 1, 2).reshape(shape[0], -1, 3, 2)
            made = (grouped - grouped.mean(3, keepdims=True)) / np.sqrt(grouped.var(3, keepdims=True) + 1e-5)
            expected = np.moveaxis(made.reshape(shape[0], -1, 6), 1, 2)
        else:
            pieces = flat.reshape(shape[0], 3, -1) if kind == "group" else flat
            axes = {"batch": (0, 2), "layer": (1,) if tokens else (1, 2), "group": (2,), "instance": (2,)}[kind]
            deviation = np.sqrt(pieces.var(axes, keepdims=True) + 1e-5)
            expected = ((pieces - pieces.mean(axes, keepdims=True)) / deviation).reshape(flat.shape)
        made_by = module.train()(torch.from_numpy(x).float()).detach().numpy()
        seen = np.moveaxis(made_by, -1, 1) if tokens else made_by
        np.testing.assert_allclose(seen.reshape(flat.shape), expected, atol=1e-4)


def plain() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))


def test_biases_before_a_norm_go_and_come_back_as_zeros_and_weights_stay() -> None:
    network, before = plain(), plain()
    refit(network, (1, 8, 8), norm="batch")
    assert network[0].bias is None
    assert network[5].bias is not None
    assert torch.equal(network[0].weight, before[0].weight)
    assert isinstance(network[1][0], nn.BatchNorm2d)
    refit(network, (1, 8, 8), norm="none")
    assert torch.equal(network[0].bias, torch.zeros(6))
    after = refit(plain(), (1, 8, 8), norm="batch", place="after")
    assert after[0].bias is not None
    assert isinstance(after[1][1], nn.BatchNorm2d)


def test_a_bias_that_somebody_else_reads_stays() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.act = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.ReLU()
            self.last = nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = self.first(x)
            return self.last(self.act(self.norm(made)) + made)  # type: ignore[no-any-return]

    assert refit(Shortcut(), (5,), norm="layer").first.bias is not None  # type: ignore[union-attr]


def test_weight_norm_changes_nothing_at_the_start_and_cosines_lie_within_one() -> None:
    x = torch.randn(5, 1, 8, 8)
    network = plain()
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(refit(network, (1, 8, 8), norm="weight")(x), expected)
        layer = CosineConv2d(4, 6, 3, padding=1, groups=2, bias=False)
        y = torch.randn(2, 4, 7, 7)
        patches = nn.functional.unfold(y, 3, padding=1).unflatten(1, (2, -1))  # (N, groups, I k², places)
        kernels = layer.weight.flatten(1).unflatten(0, (2, 3))
        by_hand = torch.einsum(
            "ngkp,gok->ngop", nn.functional.normalize(patches, dim=2), nn.functional.normalize(kernels, dim=2)
        )
        torch.testing.assert_close(layer(y), by_hand.reshape(2, 6, 7, 7), rtol=1e-4, atol=1e-5)
        assert float(CosineLinear(4, 3)(1e3 * torch.randn(50, 4)).abs().max()) <= 1 + 1e-5


@pytest.mark.parametrize("activation", schema.ACTIVATIONS)
def test_every_activation_goes_into_a_network(activation: str) -> None:
    network = refit(plain(), (1, 8, 8), activation=activation)
    network(torch.randn(4, 1, 8, 8)).sum().backward()
    if activation == "rbf":
        assert isinstance(network[1], Gaussian)


def test_maxout_gives_the_largest_of_its_pieces() -> None:
    network = refit(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,), activation="maxout")
    x = torch.randn(5, 3)
    pieces = (x @ network[0].weight.T + network[0].bias).reshape(5, 4, 2)
    torch.testing.assert_close(network[1](network[0](x)), pieces.amax(2))


def test_running_statistics_are_those_of_the_batches_and_stay_in_evaluation() -> None:
    network = refit(plain(), (1, 8, 8), norm="batch")
    norm: nn.BatchNorm2d = network[1][0]
    batches = [torch.randn(16, 1, 8, 8) for _ in range(3)]
    mean = torch.zeros(6)
    for batch in batches:  # as a loop with accumulation has it: three forwards, one step
        with torch.no_grad():
            mean = 0.9 * mean + 0.1 * network[0](batch).mean((0, 2, 3))
        network.train()(batch)
    torch.testing.assert_close(norm.running_mean, mean)
    kept = norm.running_mean.clone()
    network.eval()(batches[0])
    assert torch.equal(norm.running_mean, kept)


@pytest.mark.parametrize(
    ("network", "shape", "switches", "says"),
    [
        (plain(), (1, 8, 8), {"norm": "group", "groups": 5}, "5 groups over 6 channels"),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), (4,), {"norm": "instance"}, "one value a channel"),
        (nn.Sequential(nn.Linear(4, 2)), (4,), {"activation": "elu"}, "no hidden activation"),
        (plain(), (1, 8, 8), {"activation": "elo"}, "elo"),
        (plain(), (2, 8, 8), {"norm": "batch"}, "forward of zeros"),
        (nn.Sequential(nn.ReLU()), (4,), {"norm": "batch"}, "no layer with weights"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_contradictions_say_where(
    network: nn.Module, shape: tuple[int, ...], switches: dict[str, object], says: str
) -> None:
    with pytest.raises(NetworkError, match=says):
        refit(network, shape, **switches)


def test_maxout_behind_a_sum_is_refused() -> None:
    network, record = built("small_resnet")
    with pytest.raises(NetworkError, match="a sum"):
        refitting.refit(network, record.input_shape, activation="maxout")
