"""Masks, sparse training: exact shares, schedules by their formula, proximal steps by their definition, the law."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import compression_law as law
from netwright.compression import group, importance, masks, passes, slim
from netwright.compression.passes import At
from netwright.errors import UsageError
from netwright.nn.zoo import NETWORKS

CONVOLUTIONS = ((3, 16, 16), lambda: NETWORKS["small_vgg"]((3, 16, 16), 10, width=16))
DENSE = ((20,), lambda: NETWORKS["mlp"]((20,), 10, width=32))


def zeros(network: nn.Module) -> tuple[int, int]:
    layers = masks.maskable(network)[0].values()
    return sum(int((layer.weight == 0).sum()) for layer in layers), sum(layer.weight.numel() for layer in layers)


@pytest.mark.parametrize("case", [CONVOLUTIONS, DENSE], ids=["convolutions", "dense"])
@pytest.mark.parametrize(
    "options", ["criterion=lamp", "criterion=magnitude", "criterion=random", "criterion=gradient,scope=layer"]
)
def test_exactly_the_share_is_zero_and_stays_so(case: tuple, options: str) -> None:
    shape, build = case
    given_context = law.context(shape, examples=16)
    network, (changed,) = law.holds(build, f"prune=weights:share=0.9,{options}", given_context)
    gone, total = zeros(network)
    assert abs(gone - 0.9 * total) <= len(masks.maskable(network)[0])
    where = {name: layer.weight == 0 for name, layer in masks.maskable(network)[0].items()}
    before = {name: layer.weight.clone() for name, layer in masks.maskable(network)[0].items()}
    given_context.heal(network, 2)
    for name, layer in masks.maskable(network)[0].items():
        assert bool((layer.weight[where[name]] == 0).all())
        assert not torch.equal(layer.weight, before[name])
    assert changed.facts["zeros"] == gone


def test_the_largest_weights_stay() -> None:
    given_context = law.context((20,), examples=16)
    torch.manual_seed(0)
    network = DENSE[1]()
    plain = torch.cat([layer.weight.abs().reshape(-1) for layer in masks.maskable(network)[0].values()]).detach()
    passes.parse("prune=weights:share=0.8,least=0,criterion=magnitude")[0].apply(network, given_context)
    kept = torch.cat([(layer.weight != 0).reshape(-1) for layer in masks.maskable(network)[0].values()])
    assert float(plain[kept].min()) >= float(plain[~kept].max())


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30, unique_by=abs))
def test_lamp_against_a_plain_sum(weights: list[float]) -> None:
    """Lee et al. 2021, eq. 2, term by term."""
    squares = [w * w for w in weights]
    expected = [w / (sum(v for v in squares if v >= w) or 1.0) for w in squares]
    torch.testing.assert_close(masks.lamp(torch.tensor(weights)), torch.tensor(expected), rtol=1e-5, atol=1e-30)


@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3), st.floats(0.1, 0.95))
@settings(max_examples=20, deadline=None)
def test_the_default_does_not_ask_for_the_scale_of_a_layer(units: list[float], share: float) -> None:
    """A ReLU network says the same when its layers are rescaled, so the same weights have to go; by magnitude alone a
    layer of small weights runs dry."""
    given_context = law.context((20,), examples=8)
    found = []
    for factors in ([1.0, 1.0, 1.0], units):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10))
        with torch.no_grad():
            for layer, factor in zip(masks.maskable(network)[0].values(), factors, strict=True):
                layer.weight.mul_(factor)
        passes.parse(f"prune=weights:share={share},least=0")[0].apply(network, given_context)
        found.append([masks.mask_of(layer) for layer in masks.maskable(network)[0].values()])
    wrong = sum(int((one != other).sum()) for one, other in zip(*found, strict=True))
    assert wrong <= 2  # by rounding: two that change places
    assert all(bool(mask.any()) for mask in found[0])


def test_masks_twice_go_on_where_they_were() -> None:
    network, (first, second) = law.holds(
        DENSE[1], "prune=weights:share=0.5 prune=weights:share=0.8", law.context((20,), examples=16)
    )
    assert first.surgeries
    assert not second.surgeries
    gone, total = zeros(network)
    assert abs(gone - 0.8 * total) <= 1


def test_two_of_four() -> None:
    network, (changed,) = law.holds(CONVOLUTIONS[1], "prune=weights:pattern=2:4", law.context((3, 16, 16), examples=8))
    names = list(masks.maskable(network)[0])
    assert names[0] in changed.note  # three inputs are no multiple of four
    for layer in list(masks.maskable(network)[0].values())[1:]:
        blocks = layer.weight.movedim(1, -1).reshape(-1, 4)
        assert bool(((blocks != 0).sum(1) == 2).all())


def test_the_share_grows_by_zhu_and_gupta() -> None:
    """s(t) = s_f + (s_i - s_f) (1 - t)³ from s_i = 0, seen at every step of the training."""
    given_context = law.context((20,), examples=16)
    torch.manual_seed(0)
    network = DENSE[1]()
    seen = []
    inner = given_context.training

    def spying(network: nn.Module, epochs: int, distil: object = None, hook: object = None) -> None:
        def both(at: passes.At) -> None:
            hook(at)  # type: ignore[operator]
            seen.append((at.step / at.steps, zeros(network)[0]))

        inner(network, epochs, None, both)  # type: ignore[misc]

    given_context.training = spying
    passes.parse("prune=weights:share=0.9,gradual=5,least=0")[0].apply(network, given_context)
    assert len(seen) == 20
    for done, gone in seen:
        assert gone == round((0.9 + (0 - 0.9) * (1 - done) ** 3) * zeros(network)[1])


def test_a_lottery_ticket_goes_back_to_its_first_weights() -> None:
    torch.manual_seed(0)
    network = DENSE[1]()
    first = copy.deepcopy(network.state_dict())
    given_context = law.context((20,), examples=16, initial=lambda: first)
    inner, seen = given_context.training, []

    def spying(network: nn.Module, epochs: int, distil: object = None, hook: object = None) -> None:
        for name, layer in masks.maskable(network)[0].items():
            mask = masks.masked(layer).mask  # type: ignore[union-attr]
            assert torch.equal(layer.weight, first[f"{name}.weight"] * mask)
            assert layer.bias is None or torch.equal(layer.bias, first[f"{name}.bias"])
        seen.append(zeros(network)[0] / zeros(network)[1])
        inner(network, epochs, None, None)  # type: ignore[misc]

    given_context.training = spying
    passes.parse("prune=weights:share=0.784,rewind=3,epochs=2")[0].apply(network, given_context)
    assert seen == pytest.approx([0, 0.4, 0.64, 0.784], abs=0.002)
    with pytest.raises(UsageError, match="rewind"):
        passes.parse("prune=weights:share=0.8,rewind=1")[0].apply(DENSE[1](), law.context((20,)))


@pytest.mark.parametrize("options", ["share=0.5,pattern=2:4", "pattern=4:2", "pattern=x", "share=1", "rewind=2"])
def test_wrong_options_are_said(options: str) -> None:
    with pytest.raises(UsageError):
        passes.parse(f"prune=weights:{options}")


# --------------------------------------------------------------------------------------------------------------
# Sparse training


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=20), st.floats(0, 1))
def test_soft_thresholds_are_the_proximal_operator(values: list[float], by: float) -> None:
    """argmin_x ½ (x - v)² + by |x|: zero is in the subdifferential there."""
    tensor = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    slim.soft_threshold([tensor], by)
    for x, v in zip(tensor.tolist(), values, strict=True):
        assert abs(x - v) <= by + 1e-12 if x == 0 else abs(x - v + by * (1 if x > 0 else -1)) < 1e-12


@pytest.mark.parametrize("role", ["out", "in"])
def test_groups_shrink_as_a_whole_by_the_proximal_operator(role: str) -> None:
    """x = v (1 - t / ‖v‖) where that is positive, else 0, with t = by √|g|; checked channel by channel."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 10))
    given_context = law.context((3, 4, 4))
    (coupling,) = [c for c in given_context.graph(network, couplings=True).couplings if not c.fixed]
    weight = network[0].weight if role == "out" else network[3].weight
    groups = weight.detach().clone().reshape(6, -1) if role == "out" else weight.detach().clone().reshape(10, 6, 4)
    groups = groups if role == "out" else groups.movedim(1, 0).reshape(6, -1)
    by = float((groups.norm(dim=1) / groups.shape[1] ** 0.5).median())
    group.shrink_channels(network, coupling, role, by)
    found = weight.detach() if role == "out" else weight.detach().reshape(10, 6, 4).movedim(1, 0)
    for one, before in zip(found.reshape(6, -1), groups, strict=True):
        norm, least = float(before.norm()), by * before.numel() ** 0.5
        torch.testing.assert_close(one, before * max(0.0, 1 - least / norm), rtol=1e-5, atol=1e-7)
    assert 0 < int((found.reshape(6, -1).norm(dim=1) == 0).sum()) < 6


def test_slimming_empties_scales_and_cuts_them() -> None:
    given_context = law.context((3, 16, 16), examples=32)
    build = lambda: NETWORKS["small_vgg"]((3, 16, 16), 10, width=16)  # noqa: E731
    network, (changed,) = law.holds(build, "slim=6:epochs=5,multiple=4", given_context)
    assert changed.facts["under"] > 0
    assert changed.surgeries
    assert given_context.macs(network) < given_context.macs(build())
    with pytest.raises(UsageError, match="norm"):
        law.holds(lambda: NETWORKS["lenet_300_100"]((20,), 10), "slim=1e-4", law.context((20,)))


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=50), st.lists(st.floats(0.0, 3.0), min_size=1, max_size=9))
def test_without_a_strength_all_steps_together_pull_by_a_share_of_the_mean_scale(
    rates: list[float], sizes: list[float]
) -> None:
    """Whatever the epochs, the rate and its schedule, where that is no more than the strongest; with one, the rate
    decides."""
    total = sum(rates)
    places = [At(number, len(rates), rate, total) for number, rate in enumerate(rates, 1)]
    wanted = min(slim.PULL * sum(sizes) / len(sizes), slim.STRONGEST * total)
    assert sum(map(slim.paced(None, torch.tensor(sizes)), places)) == pytest.approx(wanted, rel=1e-5, abs=1e-12)
    assert sum(map(slim.paced(1e-4, torch.tensor(sizes)), places)) == pytest.approx(1e-4 * total)


@pytest.mark.parametrize("over", ["filters", "channels", "kernels"])
def test_group_lasso_empties_groups(over: str) -> None:
    given_context = law.context((3, 16, 16), examples=32)
    build = lambda: NETWORKS["small_vgg"]((3, 16, 16), 10, width=16)  # noqa: E731
    network, (changed,) = law.holds(build, f"group=1:over={over},epochs=5,multiple=4", given_context)
    assert changed.facts["zeros" if over == "kernels" else "under"] > 0
    if over == "kernels":
        assert zeros(network)[0] >= 9 * changed.facts["zeros"]
    else:
        assert given_context.macs(network) < given_context.macs(build())


def test_norm_scales_of_a_residual_stage_are_found_together() -> None:
    network = NETWORKS["small_resnet"]((3, 16, 16), 10, width=8)
    graph = law.context((3, 16, 16)).graph(network, couplings=True)
    found = [len(importance.norm_scales(network, c)) for c in graph.couplings if not c.fixed]
    assert max(found) > 1
