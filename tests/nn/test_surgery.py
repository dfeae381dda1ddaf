"""Surgeries: replayed on a fresh network, strictly loaded weights give the operated network back."""

import pytest
import torch
from torch import nn

from netwright.errors import NetworkError
from netwright.nn import weights
from netwright.nn.surgery import replay
from netwright.records import NetworkFile, Surgery


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()  # fmt: skip


NARROWER = (
    Surgery(operation="resize", module="0", shapes={"weight": (5, 3, 3, 3), "bias": (5,)}),
    Surgery(
        operation="resize", module="1",
        shapes={"weight": (5,), "bias": (5,), "running_mean": (5,), "running_var": (5,)},
    ),
    Surgery(operation="resize", module="5", shapes={"weight": (4, 5)}),
)  # fmt: skip
DEPTHWISE = {"in_channels": 3, "out_channels": 3, "kernel_size": 3, "padding": 1, "groups": 3}
CASES = {
    "resize": NARROWER,
    "replace": (Surgery(operation="replace", module="2", arguments={"kind": "ELU", "arguments": {"alpha": 0.5}}),),
    "sequence": (
        Surgery(
            operation="replace", module="0",
            arguments={"sequence": [
                {"kind": "Conv2d", "arguments": DEPTHWISE},
                {"kind": "Conv2d", "arguments": {"in_channels": 3, "out_channels": 8, "kernel_size": 1}},
            ]},
        ),
    ),
    "factorize a dense layer": (Surgery(operation="factorize", module="5", arguments={"rank": 2}),),
    "factorize a convolution": (Surgery(operation="factorize", module="0", arguments={"rank": 2}),),
    "fold": (Surgery(operation="fold", module="0", arguments={"norm": "1"}),),
    "mask": (Surgery(operation="mask", module="5"),),
    "parametrize": (Surgery(operation="parametrize", module="5", arguments={"kind": "weight_norm"}),),
}  # fmt: skip


@pytest.mark.parametrize("surgeries", CASES.values(), ids=CASES.keys())
def test_a_fresh_network_with_replayed_surgeries_takes_the_weights(surgeries: tuple[Surgery, ...], tmp_path) -> None:  # type: ignore[no-untyped-def]
    operated = replay(small(), surgeries)
    with torch.no_grad():
        for parameter in operated.parameters():
            parameter.uniform_(-1, 1)
    x = torch.randn(2, 3, 8, 8)
    weights.save(operated.state_dict(), tmp_path / "w.safetensors")
    record = NetworkFile.from_json(NetworkFile(kind="instance", name="small", surgeries=surgeries).to_json())
    again = replay(small(), record.surgeries)
    weights.load(again, weights.read(tmp_path / "w.safetensors"), "test")
    assert torch.equal(operated.eval()(x), again.eval()(x))


def test_surgeries_replay_on_meta_tensors() -> None:
    with torch.device("meta"):
        network = replay(small(), NARROWER)
    assert network.get_parameter("0.weight").shape == (5, 3, 3, 3)
    assert network.get_submodule("0").out_channels == 5


def test_folding_keeps_the_function() -> None:
    network = small()
    norm = network.get_submodule("1")
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 8, 8)
    before = network(x)
    torch.testing.assert_close(replay(network, CASES["fold"])(x), before, atol=1e-5, rtol=1e-5)


def test_a_mask_keeps_zeros_at_zero_through_training() -> None:
    network = replay(small().train(), CASES["mask"])
    network.get_buffer("5.parametrizations.weight.0.mask")[0] = 0
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert bool((network.get_submodule("5").weight[0] == 0).all())


@pytest.mark.parametrize(
    "surgery",
    [
        Surgery(operation="resize", module="nowhere", shapes={"weight": (1,)}),
        Surgery(operation="resize", module="2", shapes={}),
        Surgery(operation="replace", module="2", arguments={"kind": "os.system"}),
        Surgery(operation="factorize", module="1", arguments={"rank": 2}),
        Surgery(operation="factorize", module="5", arguments={"rank": 2}, shapes={"0.weight": (3, 8)}),
        Surgery(operation="fold", module="0", arguments={"norm": "2"}),
        Surgery(operation="parametrize", module="5", arguments={"kind": "eval"}),
    ],
    ids=lambda surgery: f"{surgery.operation} {surgery.module}",
)
def test_what_cannot_be_done_is_named(surgery: Surgery) -> None:
    with pytest.raises(NetworkError):
        replay(small(), [surgery])
