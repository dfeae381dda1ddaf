"""Laws of equivariance over families of networks, known breaks, and planted ones that must be named."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.errors import NetwrightError
from netwright.inspection.equivariance import NOISE, Equivariance, LayerEquivariance, equivariance
from netwright.nn.zoo.resnet import SmallResNet


def layer(found: Equivariance, name: str) -> LayerEquivariance:
    return next(layer for layer in found.layers if layer.name == name)


def smooth(*shape: int, seed: int = 0) -> Tensor:
    """Pictures whose neighbours are alike, as in real ones."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(F.pad(noise, (2, 2, 2, 2), mode="circular"), 5, 1)


class Blur(nn.Module):
    """Zhang 2019: a binomial filter before the sub-sampling."""

    def __init__(self, channels: int, stride: int = 2) -> None:
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (row[:, None] * row[None]).expand(channels, 1, 3, 3).clone())
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), self.kernel, stride=self.stride, groups=x.shape[1])


class Where(nn.Module):
    """A planted fault: knows its position."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.linspace(0, 1, x.shape[3])


@settings(max_examples=15, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5]), dilation=st.integers(1, 2), depth=st.integers(1, 3), seed=st.integers(0, 1000),
    height=st.integers(9, 14), width=st.integers(9, 14),
)  # fmt: skip
def test_circular_convolutions_without_stride_are_equivariant(
    kernel: int, dilation: int, depth: int, seed: int, height: int, width: int
) -> None:
    """The law: for every such network, input and shift, the error is rounding alone, borders included."""
    torch.manual_seed(seed)
    padding = dilation * (kernel - 1) // 2
    blocks: list[nn.Module] = []
    for number in range(depth):
        conv = nn.Conv2d(
            2 if number == 0 else 3, 3, kernel, padding=padding, dilation=dilation, padding_mode="circular"
        )
        blocks += [conv, nn.BatchNorm2d(3), nn.ReLU(inplace=True)]
    found = equivariance(nn.Sequential(*blocks), torch.randn(2, 2, height, width), shifts=range(1, 8))
    assert found.first is None
    assert max(layer.error for layer in found.layers) < 1e-5
    assert all(layer.stride == (1, 1) for layer in found.layers)


@settings(max_examples=12, deadline=None)
@given(
    kernel=st.integers(1, 5), stride=st.integers(1, 4), padding=st.integers(0, 2), kind=st.sampled_from("cma"),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_shifts_by_the_stride_are_exact_without_borders(
    kernel: int, stride: int, padding: int, kind: str, seed: int
) -> None:
    """Zero padding and stride: what is left at multiples of the stride comes from the border, at others not."""
    torch.manual_seed(seed)
    if kind == "c":
        module: nn.Module = nn.Conv2d(1, 2, kernel, stride, padding)
    else:
        pool = nn.MaxPool2d if kind == "m" else nn.AvgPool2d
        module = pool(kernel, stride, min(padding, kernel // 2))
    found = equivariance(nn.Sequential(module), torch.randn(2, 1, 24, 24), shifts=range(1, 9))
    (only,) = found.layers
    assert only.stride == (stride, stride)
    for shift in only.shifts:
        assert shift.exact == (shift.pixels % stride == 0)
        assert shift.moved == math.floor(shift.pixels / stride + 0.5)
        if shift.exact:
            assert (shift.without_borders or 0) < 1e-5
        elif shift.without_borders is not None:
            assert shift.without_borders > 0.01
    if stride > 1:
        assert found.first is not None
        assert (found.first.layer, found.first.cause) == ("0", "stride")
        assert found.first.pixels % stride


def test_padding_and_stride_are_told_apart() -> None:
    """Zero padding breaks at the border alone; interior and circular errors agree that nothing else does."""
    found = equivariance(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()), torch.randn(2, 1, 16, 16))
    assert found.first is not None
    assert (found.first.layer, found.first.cause, found.first.pixels) == ("0", "border", 1)
    (shift, _) = layer(found, "0").shifts
    assert shift.error > 0.05
    assert shift.circular == pytest.approx(0, abs=1e-6)
    assert shift.interior == pytest.approx(0, abs=1e-6)


def test_valid_convolutions_have_no_borders() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Conv2d(4, 2, 3))
    found = equivariance(network, torch.randn(1, 1, 20, 20), shifts=(1, 2, 5))
    assert found.first is None
    assert all(shift.circular is None and shift.interior is not None for shift in found.layers[-1].shifts)
    assert max(layer.error for layer in found.layers) < 1e-5


def test_the_error_of_a_pooling_is_that_by_hand() -> None:
    """max over pairs of (1, 3, 2, 0, 5, 4, 1, 2) is (3, 2, 5, 2); moved by one: (2, 3, 2, 5) [(2,1),(3,2),(0,5),(4,1)].

    The nearest shift of the map is one position (halves are rounded up): (2, 3, 2, 5) moved back as (2, 3, 2, 5).
    """
    x = torch.tensor([1.0, 3, 2, 0, 5, 4, 1, 2]).reshape(1, 1, 8)
    found = equivariance(nn.MaxPool1d(2), x, shifts=(1,))
    moved = torch.tensor([max(2, 1), max(3, 2), max(0, 5), max(4, 1)]).float()
    expected = torch.tensor([3.0, 2, 5, 2]).roll(1)
    (shift,) = found.layers[0].shifts
    assert shift.error == pytest.approx(float((moved - expected).norm() / expected.norm()))
    assert shift.circular == shift.error


def test_blur_pooling_breaks_less_than_max_pooling() -> None:
    """Zhang 2019, figure 5: dense maximum, then blur, then sub-sampling; on smooth inputs."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 8, 3, padding=1, padding_mode="circular")
    plain = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2))
    dense = nn.Sequential(conv, nn.ReLU(), Dense(), Blur(8))
    x = smooth(4, 1, 32, 32)
    errors = [layer(equivariance(net, x), name).own for net, name in ((plain, "2"), (dense, "3"))]
    assert errors[1] is not None
    assert errors[0] is not None
    assert errors[1] < errors[0]


class Dense(nn.Module):
    """A maximum over 2×2 at every position, around the borders."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="circular"), 2, 1)


def test_the_global_mean_of_an_equivariant_network_is_invariant() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 5),
    )  # fmt: skip
    found = equivariance(network, torch.randn(8, 1, 12, 12), shifts=range(1, 7))
    assert found.first is None
    assert len(found.output) == 12
    assert all(each.change < 1e-5 and each.decisions == 0 for each in found.output)
    strided = nn.Sequential(nn.Conv2d(1, 6, 3, 3, 1), *list(network)[1:])
    found = equivariance(strided, torch.randn(8, 1, 12, 12), shifts=range(1, 7))
    assert all((each.change > 1e-3) == (each.pixels % 3 != 0) for each in found.output if each.pixels in (1, 2))
    assert max(each.change for each in found.output if each.pixels % 3) > 0.01


def test_decisions_that_change_are_counted() -> None:
    """A network that answers whether the left or the right half is brighter: a shift by half the width turns all."""

    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(x, (1, 2)).flatten(1)

    x = torch.zeros(4, 1, 8, 8)
    x[:, :, :, :4] = 1
    found = equivariance(Halves(), x, shifts=(1, 4))
    turned = {(each.axis, each.pixels): each.decisions for each in found.output}
    assert turned == {(0, 1): 0.0, (0, 4): 0.0, (1, 1): 0.0, (1, 4): 1.0}


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_layer_that_knows_its_position_is_named(place: int) -> None:
    """The planted fault, before and behind other layers, and behind a stride."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 1)
    ]  # fmt: skip
    layers.insert(place, Where())
    found = equivariance(nn.Sequential(*layers), torch.randn(2, 1, 16, 16))
    assert found.first is not None
    assert (found.first.layer, found.first.cause, found.first.axis) == (str(place), "position", 1)
    assert found.first.error > NOISE


def test_every_stride_of_a_network_is_named_in_order() -> None:
    """Each pooling is judged by the shifts that all before it answer exactly."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
    )  # fmt: skip
    found = equivariance(network, torch.randn(2, 1, 32, 32))
    strided = [each for each in found.breaks if each.cause == "stride"]
    assert [each.layer for each in strided] == ["2", "3", "5"]
    for each, before in zip(strided, (1, 2, 4), strict=True):
        assert each.pixels % before == 0
        assert each.pixels % (2 * before) != 0
    assert found.first == strided[0]
    assert layer(found, "6").stride == (8, 8)
    assert [shift.pixels for shift in layer(found, "6").shifts if shift.exact] == [8, 8]
    assert all(shift.circular < 1e-5 for shift in layer(found, "6").shifts if shift.exact)


def test_ways_up_and_branches_are_followed() -> None:
    """An encoder and decoder with a skip, and every way to make a map larger, without borders exact at stride 2."""

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(1, 3, 3, 2, 1), nn.ConvTranspose2d(3, 3, 3, 2, 1, output_padding=1)
            self.out = nn.Conv2d(10, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.down(x)
            more = [F.interpolate(y, scale_factor=2, mode=mode) for mode in ("nearest", "bilinear")]
            return self.out(torch.cat([x, self.up(y), *more], 1))

    torch.manual_seed(0)
    found = equivariance(Around(), torch.randn(2, 1, 16, 16), shifts=(1, 2, 4))
    last = layer(found, "out")
    assert last.stride == (1, 1)
    for shift in last.shifts:
        assert shift.circular is not None
        assert (shift.circular < 1e-5) == (shift.pixels % 2 == 0)
    assert found.first is not None
    assert (found.first.layer, found.first.cause) == ("down", "stride")


def test_a_residual_network_by_name() -> None:
    torch.manual_seed(0)
    network = SmallResNet((3, 32, 32), 10).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = equivariance(network, torch.randn(4, 3, 32, 32))
    assert found.first is not None
    assert (found.first.layer, found.first.cause) == ("stem.0", "stride")
    assert found.layers[-1].kind == "adaptive_avg_pool2d"
    assert len(found.output) == 2 * 8
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    document = found.to_dict()
    assert Equivariance.from_dict(document) == found
    assert nn.modules.module._global_forward_hooks == {}


def test_shuffled_channels_and_gates_are_followed() -> None:
    """Reshapes that leave the positions alone, as in ShuffleNet, and a gate over the whole map (Hu et al. 2018)."""

    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate, self.out = nn.Conv2d(1, 6, 3, 2, 1), nn.Linear(6, 6), nn.Conv2d(6, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            n, _, h, w = (y := self.conv(x)).shape
            y = y.view(n, 2, 3, h, w).transpose(1, 2).reshape(n, 6, h, w)
            left, right = y.chunk(2, 1)
            y = torch.cat([right, left], 1)
            y = y * self.gate(y.mean((2, 3))).sigmoid()[:, :, None, None]
            return self.out(y)

    torch.manual_seed(0)
    found = equivariance(Shuffled(), torch.randn(2, 1, 16, 16), shifts=(1, 2))
    last = layer(found, "out")
    circular = [shift.circular for shift in last.shifts]
    assert [error is not None and error < 1e-5 for error in circular] == [False, True] * 2
    assert found.first is not None
    assert found.first.layer == "conv"
    assert all(each.cause == "border" for each in found.breaks[1:])


def test_no_layer_is_blamed_where_nothing_is_known_about_its_input() -> None:
    """Maps of 13 positions at stride 2 on 27 pixels are no circle, and the second field covers the whole input."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2), nn.Conv2d(4, 4, 13, 1, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    found = equivariance(network, torch.randn(2, 1, 27, 27), shifts=(1, 2))
    assert [each.layer for each in found.breaks if each.cause != "border"] == ["0"]


def test_series_and_in_place_layers() -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Conv1d(2, 3, 4, 2, 1), nn.ReLU(inplace=True), nn.MaxPool1d(2))
    x = torch.randn(3, 2, 32)
    kept = x.clone()
    found = equivariance(network, x)
    assert torch.equal(x, kept)
    assert [each.layer for each in found.breaks if each.cause == "stride"] == ["1", "3"]
    assert layer(found, "3").stride == (4,)


@pytest.mark.parametrize(
    ("network", "x", "message"),
    [
        (nn.Linear(4, 2), torch.randn(2, 4), "maps: "),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.randn(2, 1, 4, 4), "no layer that makes a map"),
        (nn.Conv2d(3, 1, 3), torch.randn(2, 1, 4, 4), "RuntimeError"),
    ],
)
def test_what_cannot_be_measured_is_said(network: nn.Module, x: Tensor, message: str) -> None:
    with pytest.raises(NetwrightError, match=message):
        equivariance(network, x)
