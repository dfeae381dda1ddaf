"""Advice: each piece appears where it is planted, with figures that a rebuilt network really has, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

from netwright.graph.tracing import trace
from netwright.inspection.sheet import sheet
from netwright.records import Advice, Sheet


def look(network: nn.Module, *shape: int, **options: Any) -> Sheet:
    return sheet(trace(network, shape), "net", **options)


def find(found: Sheet, code: str) -> Advice | None:
    return next((advice for advice in found.advice if advice.code == code), None)


def weights(network: nn.Module) -> int:
    """Parameters without biases."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.dim() > 1)


def conv(inputs: int, outputs: int, kernel: Any, padding: Any = "same", stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)


# Each: code, the layer as it is, the same built as advised. The figures before and after are those of the two networks.
REBUILT: list[tuple[str, nn.Module, nn.Module]] = [
    ("stacked-3x3", conv(16, 16, 5), nn.Sequential(conv(16, 16, 3), conv(16, 16, 3))),
    ("stacked-3x3", conv(16, 16, 7), nn.Sequential(*(conv(16, 16, 3) for _ in range(3)))),
    ("stacked-3x3", conv(16, 24, 7), nn.Sequential(conv(16, 24, 3), conv(24, 24, 3), conv(24, 24, 3))),
    (
        "stacked-3x3",
        conv(16, 16, 7, 3, 2),
        nn.Sequential(conv(16, 16, 3), conv(16, 16, 3), conv(16, 16, 3, 1, 2)),
    ),
    ("asymmetric", conv(16, 16, 3), nn.Sequential(conv(16, 16, (1, 3)), conv(16, 16, (3, 1)))),
    ("asymmetric", conv(16, 24, 7), nn.Sequential(conv(16, 24, (1, 7)), conv(24, 24, (7, 1)))),
    ("depthwise-separable", conv(16, 24, 3), nn.Sequential(conv(16, 16, 3, groups=16), conv(16, 24, 1))),
    ("depthwise-separable", conv(16, 24, 5, 2, 2), nn.Sequential(conv(16, 16, 5, 2, 2, 16), conv(16, 24, 1))),
    ("grouped", conv(32, 64, 3), conv(32, 64, 3, groups=4)),
    ("bottleneck", conv(128, 128, 3), nn.Sequential(conv(128, 32, 1), conv(32, 32, 3), conv(32, 128, 1))),
]


@pytest.mark.parametrize(("code", "now", "rebuilt"), REBUILT, ids=lambda value: value if isinstance(value, str) else "")
def test_the_figures_are_those_of_the_network_built_as_advised(code: str, now: nn.Module, rebuilt: nn.Module) -> None:
    planes = next(now.parameters()).shape[1]
    first, second = look(now, planes, 16, 16), look(rebuilt, planes, 16, 16)
    advice = find(first, code)
    if code == "stacked-3x3" and second.totals["macs"] >= first.totals["macs"]:
        assert advice is None  # with a stride in the last the first ones read the whole map: nothing is won
        return
    assert advice is not None
    assert advice.before["parameters"] == weights(now)
    assert advice.before["macs"] == first.totals["macs"]
    assert advice.after["parameters"] == weights(rebuilt)
    assert advice.after["macs"] == second.totals["macs"]
    assert list(first.outputs.values()) == list(second.outputs.values())
    fields = [row.receptive_field["size"] for row in (first.layers[-1], second.layers[-1]) if row.receptive_field]
    assert fields[0] == fields[1]
    assert advice.before["receptive_field"] == fields[0][0]


def test_two_threes_cost_18_of_25() -> None:
    advice = find(look(conv(64, 64, 5), 64, 32, 32), "stacked-3x3")
    assert advice is not None
    assert advice.after["parameters"] / advice.before["parameters"] == 18 / 25
    assert "0.72" in advice.advice


def test_a_bottleneck_is_not_told_to_be_one() -> None:
    inside = nn.Sequential(conv(512, 128, 1), nn.BatchNorm2d(128), nn.ReLU(), conv(128, 128, 3), conv(128, 512, 1))
    assert find(look(inside, 512, 8, 8), "bottleneck") is None


def test_a_dense_head_over_a_map() -> None:
    head = nn.Sequential(conv(3, 8, 3), nn.Flatten(), nn.Dropout(), nn.Linear(8 * 49, 10))
    pooled = nn.Sequential(conv(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    advice = find(look(head, 3, 7, 7), "dense-head")
    assert advice is not None
    assert (advice.before["parameters"], advice.after["parameters"]) == (8 * 49 * 10 + 10, 8 * 10 + 10)
    assert find(look(pooled, 3, 7, 7), "dense-head") is None


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_a_bias_before_a_norm(norm: Any) -> None:
    advice = find(look(nn.Sequential(nn.Conv2d(3, 8, 3), norm(8)), 3, 8, 8), "bias-before-norm")
    assert advice is not None
    assert (advice.layers, advice.before, advice.after) == (("0",), {"parameters": 8}, {"parameters": 0})
    assert find(look(nn.Sequential(conv(3, 8, 3), norm(8)), 3, 8, 8), "bias-before-norm") is None


def test_a_bias_that_others_read_too_is_left_alone() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return x + self.norm(x)

    assert find(look(Both(), 3, 8, 8), "bias-before-norm") is None


def test_a_field_smaller_than_the_input_or_the_object() -> None:
    network = nn.Sequential(conv(3, 8, 3), conv(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    advice = find(look(network, 3, 32, 32), "receptive-field-too-small")
    assert advice is not None
    assert (advice.before, advice.after) == ({"receptive_field": 5}, {"receptive_field": 32})
    assert find(look(network, 3, 32, 32, object_size=5), "receptive-field-too-small") is None
    assert find(look(network, 3, 32, 32, object_size=6), "receptive-field-too-small") is not None


@pytest.mark.parametrize(("side", "said"), [(2, "larger input"), (8, None), (40, "one stride more")])
def test_the_last_map(side: int, said: str | None) -> None:
    network = nn.Sequential(conv(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    advice = find(look(network, 3, side, side), "final-map-size")
    assert (advice is None) == (said is None)
    if advice is not None and said is not None:
        assert said in advice.advice


def test_channels_that_hardware_rounds_up() -> None:
    network = nn.Sequential(conv(3, 30, 3), conv(30, 32, 3), nn.Flatten(), nn.Linear(32 * 64, 10))
    advice = find(look(network, 3, 8, 8), "odd-channels")
    assert advice is not None
    assert (advice.layers, advice.after) == (("0",), {"channels": 32})


def test_a_network_without_faults_of_build_gets_no_advice_of_build() -> None:
    codes = {advice.code for advice in look(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10)), 16).advice}
    assert codes == set()


def test_attention_over_tokens_is_told_nothing_of_maps() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    codes = {advice.code for advice in look(layer, 7, 32).advice}
    assert not codes & {"dense-head", "receptive-field-too-small", "final-map-size"}
