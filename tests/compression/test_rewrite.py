"""Rewrites: exact where theory says so, the nearest start where it is known, the law of passes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from compression_law import context, holds
from netwright.compression import passes, rewrite
from netwright.compression.decomposing import relative_error
from netwright.errors import UsageError
from netwright.nn.zoo import NETWORKS


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 5, padding=2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 10),
    )  # fmt: skip


def functional() -> nn.Module:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.one, self.other = nn.Conv2d(8, 8, 5, padding=2), nn.Conv2d(8, 8, 5, padding=2)
            self.head = nn.Linear(8 * 16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.relu(self.norm(self.stem(x)))
            x = F.relu(self.one(x) + self.other(x))
            return self.head(F.max_pool2d(x, 2).view(len(x), -1))

    return Branches()


KINDS = ("stacked", "factored", "depthwise", "grouped", "bottleneck", "pooling", "fold")


@pytest.mark.parametrize("build", [plain, functional])
@pytest.mark.parametrize("kind", KINDS)
def test_the_law_holds(kind: str, build: type) -> None:
    _, done = holds(build, f"rewrite={kind} heal=1 rewrite=fold", context((4, 8, 8)))
    assert done[0].surgeries
    if kind != "fold":
        before, after = (sum(one["parameters"][i] for one in done[0].facts["layers"].values()) for i in (0, 1))
        assert after < before


def test_activations_may_stand_between() -> None:
    network, _ = holds(plain, "rewrite=depthwise:activation=true,layers=6", context((4, 8, 8)))
    assert [type(each).__name__ for each in network.get_submodule("6")] == ["Conv2d", "ReLU", "Conv2d"]


# ---- exact ones


@pytest.mark.parametrize("name", ["small_resnet", "small_vgg", "mobilenet_v2"])
def test_folding_keeps_outputs(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]((3, 32, 32), 10)
    x = torch.randn(4, 3, 32, 32)
    network(x)  # statistics that are not the initial ones
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5), module.bias.uniform_(-0.5, 0.5)
    network.eval()
    norms = sum(isinstance(each, nn.BatchNorm2d) for each in network.modules())
    with torch.no_grad():
        before = network(x)
        changed = passes.parse("rewrite=fold")[0].apply(network, context((3, 32, 32), batches=None))
        after = network(x)
    assert len(changed.surgeries) == norms > 0
    torch.testing.assert_close(after, before, atol=1e-5 * max(1, float(before.abs().max())), rtol=1e-5)


def test_a_norm_that_is_not_alone_stays() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.norm(x) + x

    assert not passes.parse("rewrite=fold")[0].apply(Shared().eval(), context((4, 3, 3))).surgeries


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([3, 5]))
def test_composed_kernels_do_what_the_two_do(inner: int, middle: int, out: int, size: int) -> None:
    drawn = torch.Generator().manual_seed(size)
    first = torch.randn(middle, inner, 3, 3, generator=drawn, dtype=torch.float64)
    second = torch.randn(out, middle, size, size, generator=drawn, dtype=torch.float64)
    x = torch.randn(1, inner, 9, 9, generator=drawn, dtype=torch.float64)
    torch.testing.assert_close(F.conv2d(x, rewrite.composed(first, second)), F.conv2d(F.conv2d(x, first), second))


def test_stacked_kernels_come_near_and_act_as_their_composition() -> None:
    """A 5×5 kernel that is a product of two 3×3 ones. Far nearer than what fits into 3×3; borders and stride as before:
    the layers do exactly what one 5×5 layer with their composed kernel does."""
    drawn = torch.Generator().manual_seed(0)
    first, second = torch.randn(6, 5, 3, 3, generator=drawn), torch.randn(7, 6, 3, 3, generator=drawn)
    kernel = rewrite.composed(first, second)
    network = nn.Sequential(nn.Conv2d(5, 7, 5, stride=2, padding=2))
    network[0].weight.data = kernel
    bias = network[0].bias.detach().clone()
    changed = passes.parse("rewrite=stacked:layers=0")[0].apply(network, context((5, 9, 9), batches=None))
    centre = F.pad(kernel[:, :, 1:4, 1:4], (1, 1, 1, 1))
    assert changed.facts["layers"]["0"]["error"] < relative_error(kernel, centre) / 3
    x = torch.randn(2, 5, 9, 9)
    one, other = (each.weight.detach() for each in network[0])
    torch.testing.assert_close(
        network(x), F.conv2d(x, rewrite.composed(one, other), bias, stride=2, padding=2), atol=1e-4, rtol=1e-4
    )


def test_a_separable_layer_is_found_again() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1, stride=2))
    network[0].weight.data = torch.randn(8, 6, 1, 1) * torch.randn(1, 6, 3, 3)
    x = torch.randn(2, 6, 7, 7)
    before = network(x)
    passes.parse("rewrite=depthwise")[0].apply(network, context((6, 7, 7), batches=None))
    torch.testing.assert_close(network(x), before, atol=1e-5, rtol=1e-5)


def test_factored_at_full_rank_is_exact() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 5, 3, padding=(1, 0), stride=(1, 2)))
    x = torch.randn(2, 4, 7, 8)
    before = network(x)
    passes.parse("rewrite=factored:layers=0,ratio=3")[0].apply(network, context((4, 7, 8), batches=None))
    assert network[0][0].out_channels == 12
    torch.testing.assert_close(network(x), before, atol=1e-5, rtol=1e-5)


def test_a_pooled_head_is_exact_for_even_maps() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 6))
    x = torch.randn(7, 3, 1, 1).expand(-1, -1, 4, 5)
    before = network(x)
    passes.parse("rewrite=pooling")[0].apply(network, context((3, 4, 5), outputs=6, batches=None))
    torch.testing.assert_close(network(x), before, atol=1e-5, rtol=1e-5)
    assert sum(each.numel() for each in network.parameters()) == 3 * 6 + 6


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_the_depthwise_start_is_the_best(seed: int) -> None:
    """No step from it lowers the squared distance to the old kernel: its gradient is 0."""
    torch.manual_seed(seed)
    layer = nn.Conv2d(3, 4, 3)
    _, values, stands_for = rewrite._depthwise("0", layer, layer.weight.detach().double(), [])
    spatial, mixing = values["0.weight"].requires_grad_(), values["1.weight"].requires_grad_()
    made = mixing[:, :, 0, 0, None, None] * spatial[None, :, 0]
    torch.testing.assert_close(made.detach(), stands_for)
    (made - layer.weight.detach()).square().sum().backward()
    assert float(spatial.grad.abs().max()) < 1e-8
    assert float(mixing.grad.abs().max()) < 1e-8


def test_what_does_not_apply_is_said() -> None:
    network = plain()
    changed = passes.parse("rewrite=stacked:layers=6")[0].apply(network, context((4, 8, 8)))
    assert not changed.surgeries
    assert "6 stays" in changed.note
    with pytest.raises(UsageError):
        passes.parse("rewrite=smaller")
