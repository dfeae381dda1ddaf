"""Few bits: codes against slow derivations, gradients against the papers' formulae, files that are really small."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compression_law import context, holds
from netwright.compression import passes
from netwright.errors import DataError, UsageError
from netwright.nn import bitcount, lowbit, ranges, weights


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(48, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 36, bias=False),
        nn.BatchNorm1d(36), nn.ReLU(), nn.Linear(36, 30), nn.ReLU(), nn.Linear(30, 10),
    )  # fmt: skip


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, (3, 1), padding=(1, 0), dilation=1, groups=3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


CASES = [(dense, (3, 4, 4)), (convolutional, (3, 8, 8))]
CHAINS = [
    "quantize=binary heal=1 pack heal=1", "quantize=binary:scaled=false heal=1 pack", "quantize=ternary:epochs=1 pack",
    "quantize=xnor heal=1 pack", "quantize=xnor:scale-inputs=true,ends=true heal=1 pack", "quantize=int8",
    "quantize=int8-aware:ranges=percentile", "quantize=fp16 heal=1", "quantize=bf16",
]  # fmt: skip


@pytest.mark.parametrize(("build", "shape"), CASES, ids=["dense", "convolutional"])
@pytest.mark.parametrize("chain", CHAINS)
def test_the_law_holds(chain: str, build: type, shape: tuple[int, ...]) -> None:
    _, done = holds(build, chain, context(shape))
    assert done[0].surgeries


# ---- codes


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 300), st.integers(0, 99))
def test_packing_is_undone_by_unpacking(rows: int, count: int, seed: int) -> None:
    drawn = torch.randn(rows, count, generator=torch.Generator().manual_seed(seed))
    drawn[:, ::7] = 0  # the sign of 0 is +
    words = bitcount.packed(drawn)
    assert words.shape == (rows, math.ceil(count / 8))
    assert torch.equal(bitcount.unpacked(words, count).float(), torch.where(drawn >= 0, 1.0, -1.0))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_the_binary_scale_is_the_best_of_all_scales(seed: int) -> None:
    """min over α of ‖w − α sign w‖ found by a fine search is met by mean |w|."""
    w = torch.randn(1, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    tried = torch.linspace(0, 3, 3001, dtype=torch.float64)
    errors = (w - tried[:, None] * lowbit.signs(w)).square().sum(1)
    assert float((w - lowbit.binary_scale(w) * lowbit.signs(w)).square().sum()) <= float(errors.min()) + 1e-12


def test_ternary_follows_the_papers_rule() -> None:
    w = torch.tensor([[0.1, -0.2, 0.9, -1.0, 0.0, 0.6]])
    threshold = 0.7 * 2.8 / 6  # 0.3267: three are above, mean |w| 2.5 / 3
    assert threshold < 0.6
    code, scale = lowbit.ternary_code(w)
    assert code.tolist() == [[0, 0, 1, -1, 0, 1]]
    assert float(scale) == pytest.approx(2.5 / 3)


def test_gradients_go_straight_through_as_the_papers_say() -> None:
    """XNOR-Net: ∂/∂w_i = sign(w_i)/n Σ_j g_j sign(w_j) + α g_i 1[|w_i| ≤ 1]; TWN: the coded weight's own."""
    w = torch.tensor([[0.5, -0.3, 1.7, -0.1]], requires_grad=True)
    g = torch.tensor([[0.2, 0.4, -1.0, 0.7]])
    lowbit.Binary()(w).backward(g)
    sign = w.detach().sign()
    expected = sign / 4 * (g * sign).sum() + w.detach().abs().mean() * g * torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    torch.testing.assert_close(w.grad, expected)
    w.grad = None
    lowbit.Ternary()(w).backward(g)
    torch.testing.assert_close(w.grad, g)
    w.grad = None
    lowbit.Binary(scaled=False)(w).backward(g)
    torch.testing.assert_close(w.grad, g * torch.tensor([[1.0, 1.0, 0.0, 1.0]]))


def test_first_and_last_layer_stay() -> None:
    network, _ = holds(convolutional, "quantize=binary", context((3, 8, 8)))
    coded = [name for name, module in network.named_modules() if hasattr(module, "parametrizations")]
    assert coded == ["3", "6"]
    values = network.get_submodule("3").weight[0].unique()
    assert len(values) == 2
    assert float(values.detach().sum()) == 0


# ---- files


def bytes_of(network: nn.Module, path: Path) -> int:
    weights.save(network.state_dict(), path)
    return path.stat().st_size


@pytest.mark.parametrize(("kind", "times"), [("binary", 20), ("ternary", 14), ("xnor", 20)])
def test_packed_layers_are_small_and_give_the_same(kind: str, times: float, tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(16, 512), nn.ReLU(), nn.Linear(512, 256, bias=False), nn.Linear(256, 4))

    given = context((16,), outputs=4)
    network, _ = holds(build, f"quantize={kind}", given)
    x = given.first_batch().inputs[0]
    latent = network(x)
    only = {name: tensor for name, tensor in network.state_dict().items() if "2." in name}
    before = sum(tensor.nbytes for name, tensor in only.items() if "weight" in name)
    (step,) = passes.parse("pack")
    step.apply(network, given)
    assert torch.equal(network(x), latent)
    packed = [tensor for name, tensor in network.state_dict().items() if name in ("2.words", "2.scale")]
    assert before / sum(tensor.nbytes for tensor in packed) >= times
    network.get_submodule("2")._unpacked = None  # as after loading
    assert torch.equal(network(x), latent)
    network.load_state_dict(network.state_dict(), strict=True)
    assert not given.graph(network).unfollowed()  # graphs, and what is built on them, see plain layers
    assert bytes_of(network, tmp_path / "packed") < bytes_of(build(), tmp_path / "plain") / 3


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_half_weights_are_half_the_file(kind: str, tmp_path: Path) -> None:
    network, _ = holds(dense, f"quantize={kind}", context((3, 4, 4)))
    plain = dense()
    matrices = sum(2 * each.numel() for each in plain.parameters() if each.ndim > 1)
    assert bytes_of(plain, tmp_path / "a") - bytes_of(network, tmp_path / "b") == pytest.approx(matrices, abs=600)


# ---- products of signs


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 200), st.integers(1, 70), st.integers(0, 9))
def test_xor_and_popcount_are_the_product_of_signs(rows: int, count: int, outputs: int, seed: int) -> None:
    pytest.importorskip("numba", reason="the extra `binary` is not installed")
    drawn = torch.Generator().manual_seed(seed)
    x, w = torch.randn(rows, count, generator=drawn), torch.randn(outputs, count, generator=drawn)
    laid = bitcount.laid_out(bitcount.packed(w), w.shape)
    assert torch.equal(bitcount.product(x, laid, outputs), lowbit.signs(x) @ lowbit.signs(w).T)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 40), st.sampled_from([(1, 1), (3, 3), (2, 3)]), st.integers(1, 2),
    st.integers(1, 2), st.integers(0, 2),
)  # fmt: skip
def test_packed_convolutions_are_convolutions_of_signs(
    channels: int, outputs: int, size: tuple[int, int], stride: int, dilation: int, padding: int
) -> None:
    pytest.importorskip("numba", reason="the extra `binary` is not installed")
    torch.manual_seed(channels)
    geometry = {"stride": [stride, 1], "padding": [padding, 1], "dilation": [dilation, 1], "groups": 1}
    layer = lowbit.Xnor("conv2d", (outputs, channels, *size), geometry=geometry, packed=True).eval()
    layer.words.copy_(bitcount.packed(torch.randn(outputs, channels * math.prod(size))))
    layer.threshold.data.normal_()
    x = torch.randn(2, channels, 7, 6)
    slow = layer(x.requires_grad_())  # with gradients the product is PyTorch's
    with torch.no_grad():
        assert layer._fast(x.detach())
        assert torch.equal(layer(x.detach()), slow)


def test_xnor_is_the_papers_formula() -> None:
    """Against the plain loops: α_o Σ sign(x) sign(w), times K, the mean |x| of the window; border pixels are +."""
    torch.manual_seed(0)
    geometry = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    layer = lowbit.Xnor("conv2d", (2, 3, 3, 3), geometry=geometry, scale_inputs=True, bias=False).eval()
    x = torch.randn(1, 3, 4, 4)
    padded = np.pad(x[0].numpy(), ((0, 0), (1, 1), (1, 1)))
    w = layer.weight.detach().numpy()
    found = layer(x).detach()
    for out in range(2):
        for row in range(4):
            for column in range(4):
                window = padded[:, row : row + 3, column : column + 3]
                signs = np.where(window >= 0, 1, -1) * np.where(w[out] >= 0, 1, -1)
                expected = np.abs(w[out]).mean() * signs.sum() * np.abs(window).mean()
                assert float(found[0, out, row, column]) == pytest.approx(expected, rel=1e-4)


# ---- ranges


def histogram(x: torch.Tensor) -> ranges.Seen:
    seen = ranges.Seen()
    seen.extend(x)
    seen.count(x)
    return seen


def test_an_outlier_widens_only_the_rule_that_keeps_it() -> None:
    x = torch.cat([torch.randn(200_000, generator=torch.Generator().manual_seed(0)), torch.tensor([100.0])])
    widths = {}
    for rule in ("minmax", "percentile", "mse", "entropy"):
        low, high = ranges.chosen(histogram(x), rule)
        assert low <= 0 <= high
        widths[rule] = high - low
    assert widths["minmax"] > 100
    assert widths["percentile"] < 25
    assert widths["entropy"] < widths["minmax"]
    error = {
        rule: float((x - ranges.rounded(x.double(), *ranges.chosen(histogram(x), rule))).square().mean())
        for rule in widths
    }
    assert error["mse"] == pytest.approx(min(error.values()), rel=0.01)
    assert error["mse"] < error["minmax"]


@settings(max_examples=30, deadline=None)
@given(st.floats(-50, 0), st.floats(0, 50))
def test_eight_bits_err_by_half_a_step_within_the_range(low: float, high: float) -> None:
    if high - low < 1e-3:
        return
    values = torch.linspace(low, high, 300, dtype=torch.float64)
    scale, zero = ranges.affine(low, high)
    assert 0 <= zero <= 255
    found = ranges.rounded(values, low, high)
    assert float((found - values).abs().max()) <= 1.01 * scale  # half a step, and the zero point's own rounding
    assert float(ranges.rounded(torch.zeros(1, dtype=torch.float64), low, high)) == 0


def test_fake_quantisation_is_rounding_to_a_grid() -> None:
    given = context((3, 8, 8))
    network, done = holds(convolutional, "quantize=int8:ranges=minmax", given)
    layer = network.get_submodule("3")
    grid = (layer._rounded(torch.zeros(1))[1] / lowbit.per_channel(layer.weight_scale, layer.weight)).detach()
    assert float((grid - grid.round()).abs().max()) < 1e-4
    assert float(grid.abs().max()) == pytest.approx(127, abs=1e-3)
    assert len(done[0].facts["ranges"]) == 4
    low, high = done[0].facts["ranges"]["3"]["low"], done[0].facts["ranges"]["3"]["high"]
    seen = []
    layer.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    for batch in given.calibration():
        network(batch.inputs[0])
    everything = torch.cat(seen)
    assert low <= float(everything.min()) + 0.1 * (high - low)
    assert high == pytest.approx(float(everything.max()), rel=0.1)


def test_eight_bits_follow_the_weights_in_training() -> None:
    layer = lowbit.QuantizedLinear(4, 3)
    layer.train()(torch.zeros(1, 4))
    torch.testing.assert_close(layer.weight_scale, layer.weight.detach().abs().amax(1) / 127)
    kept = layer.weight_scale.clone()
    layer.weight.data *= 2
    layer.eval()(torch.zeros(1, 4))
    assert torch.equal(layer.weight_scale, kept)


# ---- refusals


def test_no_calibration_data_no_int8() -> None:
    (step,) = passes.parse("quantize=int8")
    with pytest.raises(DataError, match="random numbers would not do"):
        step.apply(dense(), context((3, 4, 4), batches=None))


@pytest.mark.parametrize("chain", ["pack", "quantize=binary", "quantize=int4", "quantize=int8:ranges=widest"])
def test_what_cannot_be_done_is_named(chain: str) -> None:
    def two() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    with pytest.raises(UsageError):
        passes.parse(chain)[0].apply(two(), context((4,), outputs=4))
