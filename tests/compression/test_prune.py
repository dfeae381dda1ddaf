"""Structured pruning: the law, over networks with residuals, concatenations, groups, depthwise layers and heads."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import compression_law as law
from netwright.compression import cutting, importance, passes, prune
from netwright.errors import UsageError
from netwright.graph.coupling import couplings
from netwright.graph.tracing import trace
from netwright.nn.zoo import NETWORKS
from netwright.nn.zoo.blocks import ConvNorm, Shuffle


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.gru, self.last = nn.Linear(3, 8), nn.GRU(8, 12, 2, batch_first=True), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.gru(F.relu(self.first(x)))[0][:, -1])  # type: ignore[no-any-return]


class Tied(nn.Module):
    """Two layers share one weight, and a scale is a parameter of the network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight
        self.scale, self.last = nn.Parameter(torch.ones(8)), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x))
        return self.last(x + self.two(F.relu(self.one(x))) * self.scale)  # type: ignore[no-any-return]


def grouped() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 16, 3, 2, activation=nn.ReLU), nn.Conv2d(16, 32, 3, 2, padding=1, groups=4), nn.GroupNorm(4, 32),
        nn.PReLU(32), Shuffle(4), nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 2, 2), nn.InstanceNorm2d(16, affine=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.LayerNorm(64), nn.Linear(64, 10),
    )  # fmt: skip


def zoo(name: str, shape: tuple[int, ...], **arguments: object):  # type: ignore[no-untyped-def]
    return shape, lambda: NETWORKS[name](shape, 10, **arguments)


CASES = {
    "mlp": (*zoo("mlp", (20,)), "macs=0.5"),
    "lenet5": (*zoo("lenet5", (1, 28, 28)), "macs=0.5,criterion=l2"),
    "small_vgg": (*zoo("small_vgg", (3, 16, 16), width=16), "macs=0.3,criterion=norm"),
    "residual": (*zoo("small_resnet", (3, 16, 16), width=16), "macs=0.5,criterion=taylor"),
    "padded shortcuts": (*zoo("resnet20_cifar", (3, 16, 16)), "macs=0.5,scope=layer"),
    "concatenation": (*zoo("squeezenet1_1", (3, 33, 33), width=0.5), "params=0.5"),
    "depthwise": (*zoo("mobilenet_v2", (3, 32, 32), width=0.25), "macs=0.6"),
    "heads": (*zoo("vit_b_16", (3, 16, 16), depth=2, width=0.25), "macs=0.6,multiple=1"),
    "series": (*zoo("small_resnet1d", (2, 32)), "share=0.4,criterion=random"),
    "groups": ((3, 16, 16), grouped, "share=0.5,multiple=1"),
    "recurrent": ((7, 3), Recurrent, "macs=0.4,multiple=4"),
    "tied": ((6,), Tied, "share=0.5,multiple=2"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_pruned_network_loads_and_is_as_small_as_was_asked(name: str) -> None:
    shape, build, options = CASES[name]
    given = law.context(shape, examples=16)
    torch.manual_seed(0)
    before = build()
    network, (changed,) = law.holds(build, f"prune=channels:{options}", given)
    assert changed.surgeries, changed.note
    target = passes.parse(f"prune=channels:{options}")[0].options
    if target.macs:
        assert given.macs(network) <= target.macs * given.macs(before)
    if target.params:
        count = [sum(p.numel() for p in each.parameters()) for each in (network, before)]
        assert count[0] <= target.params * count[1]
    assert not changed.facts["left_whole"]
    for _, kept in changed.facts["channels"].values():
        assert kept % min(changed.facts["multiple"], 2) == 0
    assert network(next(given.calibration()).inputs[0]).shape[1] == 10
    given.heal(network, 1)  # gradients reach what is left


@pytest.mark.parametrize(("capability", "multiple"), [("AVX512", 16), ("AVX2", 8), ("DEFAULT", 8)])
def test_what_stays_fills_vectors_where_the_target_allows_it(
    capability: str, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the processor; a target beyond the reach of wide steps is met by the usual ones, a given number is kept to."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    given = law.context((3, 16, 16), examples=8)

    def cut(options: str) -> tuple[int, list[int]]:
        torch.manual_seed(0)
        network = NETWORKS["small_resnet"]((3, 16, 16), 10, width=32).eval()
        facts = passes.parse(f"prune=channels:{options}")[0].apply(network, given).facts
        return facts["multiple"], [kept for _, kept in facts["channels"].values()]

    for options, steps in (("macs=0.5", multiple), ("params=0.5", multiple), ("share=0.4", 8), ("macs=0.06", 8)):
        used, left = cut(options)
        assert used == steps
        assert all(kept % used == 0 for kept in left)
    with pytest.raises(UsageError, match="in steps of 16 channels"):
        cut("macs=0.06,multiple=16")


def test_what_is_tied_stays_tied() -> None:
    network, _ = law.holds(Tied, "prune=channels:share=0.5,multiple=2", law.context((6,), examples=16))
    assert network.get_parameter("one.weight") is network.get_parameter("two.weight")


def test_channels_that_do_nothing_go_first_and_nothing_changes() -> None:
    """Planted: half of every layer's channels is never read, and small; the output is that of before."""
    torch.manual_seed(0)
    network = NETWORKS["small_vgg"]((3, 16, 16), 10, width=16).eval()
    given = law.context((3, 16, 16), examples=16)
    graph = given.graph(network, couplings=True)
    free = [coupling for coupling in graph.couplings if not coupling.fixed]
    planted = [(c, sorted(torch.randperm(c.channels)[: c.channels // 2].tolist())) for c in free]
    with torch.no_grad():
        for coupling, channels in planted:
            for member in coupling.members:
                tensor = cutting.tensor_of(network, member.parameter)
                if member.role != "per":
                    tensor.index_fill_(member.axis, cutting.entries(member, channels), 0.0)
    x = given.first_batch().inputs[0]
    before = network(x)
    changed = passes.parse("prune=channels:share=0.49")[0].apply(network, given)
    assert all(kept == all_of // 2 for all_of, kept in changed.facts["channels"].values())
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("criterion", ["l1", "l2", "norm", "taylor"])
def test_scores_against_a_plain_sum(criterion: str) -> None:
    """The slow way over one coupling of an mlp-like network: what each channel's own numbers say."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10)).eval()
    nn.init.normal_(network[1].weight)
    given = law.context((4,), examples=32)
    (coupling,) = [c for c in couplings(trace(network, (4,))) if not c.fixed]
    (found,) = importance.scores(network, [coupling], criterion, given)  # type: ignore[arg-type]
    first, norm, last = network[0], network[1], network[3]
    expected = []
    for channel in range(6):
        if criterion == "norm":
            expected.append(abs(float(norm.weight[channel])))
        elif criterion == "taylor":
            total = 0.0
            for batch in given.calibration():
                network.zero_grad()
                given.loss(network(batch.inputs[0]), batch.targets).backward()
                of = [first.weight, first.bias, norm.weight, norm.bias]
                total += float(sum((each[channel] * each.grad[channel]).sum() for each in of)) ** 2
            expected.append(total)
        else:
            power = 1 if criterion == "l1" else 2
            made = float((first.weight[channel].abs() ** power).sum())
            expected.append((made + float((last.weight[:, channel].abs() ** power).sum())) / 2)
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, wanted / wanted.mean(), rtol=1e-4, atol=1e-6)


class Stubborn(nn.Module):
    """One layer's width is a number in the code, which the graph takes to follow from shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.easy, self.hard, self.last = nn.Linear(4, 16), nn.Linear(16, 12), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.relu(self.hard(F.relu(self.easy(x)))).reshape(-1, 4, 3).reshape(-1, 12))  # type: ignore[no-any-return]


def test_what_resists_is_rolled_back_and_named() -> None:
    network, (changed,) = law.holds(Stubborn, "prune=channels:share=0.4,multiple=1", law.context((4,), examples=16))
    assert set(changed.facts["left_whole"]) == {"hard"}
    assert "hard" in changed.note
    assert network.get_parameter("hard.weight").shape[0] == 12
    assert network.get_parameter("easy.weight").shape[0] < 16


def test_a_wrong_cut_that_runs_is_seen() -> None:
    """Planted: a coupling whose reader is cut at other places. The network runs, and computes something else."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 10)).eval()
    given = law.context((4,), examples=16)
    graph = given.graph(network, couplings=True)
    (coupling,) = [c for c in graph.couplings if not c.fixed]
    wrong = copy.deepcopy(network)
    cutting.cut(wrong, graph, [(coupling, [0, 1])])
    assert not cutting.resistance(network, graph, [(coupling, [0, 1])], given.first_batch())
    with torch.no_grad():
        network[0].weight[2:] = network[0].weight[2:].flip(0)  # what a shifted cut would leave
    x = given.first_batch().inputs[0]
    assert not torch.allclose(wrong(x), cutting.silenced(network, [(coupling, [0, 1])])(x))


@pytest.mark.parametrize(
    ("options", "match"),
    [("macs=0.01", "at least"), ("macs=0.5,share=0.5", "not one of"), ("criterion=l1", "not one of"),
     ("macs=1.5", "macs"), ("macs=0.5,keep=nowhere", "nowhere"), ("macs=0.5,criterion=l3", "l1")],
)  # fmt: skip
def test_what_cannot_be_is_said(options: str, match: str) -> None:
    network = NETWORKS["lenet5"]((1, 28, 28), 10)
    with pytest.raises(UsageError, match=match):
        passes.parse(f"prune=channels:{options}")[0].apply(network, law.context((1, 28, 28), examples=8))


def test_kept_layers_stay() -> None:
    build = lambda: NETWORKS["mlp"]((20,), 10)  # noqa: E731
    layer = next(name for name, module in build().named_modules() if isinstance(module, nn.Linear))
    network, (changed,) = law.holds(build, f"prune=channels:share=0.2,keep={layer}", law.context((20,), examples=16))
    assert network.get_parameter(f"{layer}.weight").shape == build().get_parameter(f"{layer}.weight").shape
    assert layer not in changed.facts["channels"]


def test_sensitivity_measures_each_layer_alone_and_leaves_the_network() -> None:
    torch.manual_seed(0)
    given = law.context((20,), examples=40)
    network = NETWORKS["mlp"]((20,), 10, width=16)
    given.heal(network, 10)
    state = copy.deepcopy(network.state_dict())
    rows = prune.sensitivity(network, given, shares=(0.25, 0.75))
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    layers = {row.layer for row in rows}
    assert len(rows) == 2 * len(layers)
    for layer in layers:
        little, much = (row for row in rows if row.layer == layer)
        assert (little.removed, much.removed) == (4, 12)
        assert little.macs > much.macs
        assert little.metrics["loss"] < much.metrics["loss"]
