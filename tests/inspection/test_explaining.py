"""What is worked out is true: against torch's autograd, finite differences, and the traces of whole networks."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.errors import UsageError
from netwright.graph.tracing import trace
from netwright.inspection.explaining import (
    ALIASES,
    SUBJECTS,
    attention,
    batch_norm,
    convolution,
    cost,
    dense,
    elementwise,
    explain,
    explain_operation,
    pooling,
    softmax_cross_entropy,
)
from netwright.inspection.explaining.structure import text
from netwright.inspection.receptive_field import receptive_fields
from netwright.nn.zoo.lenet import LeNet5
from netwright.nn.zoo.resnet import SmallResNet


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def close(actual: Any, expected: Any) -> None:
    expected = expected.detach().numpy() if isinstance(expected, Tensor) else expected
    np.testing.assert_allclose(np.asarray(actual, float), expected, rtol=1e-9, atol=1e-9)


def differences(function: Callable[[np.ndarray], np.ndarray], at: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """dyᵀ·∂function by central differences, entry by entry."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = 1e-6
        found[place] = ((function(at + step) - function(at - step)) * dy).sum() / 2e-6
    return found


# ------------------------------------------------------------------------------------------------ printed numbers


def test_printed_convolution() -> None:
    n = explain("convolution").numbers
    x, w, b = tensor([n["x"]]), tensor(n["w"]), tensor(n["b"])
    y = F.conv2d(x, w, b)
    close([n["y"]], y)
    for name, grad in zip(("dx", "dw", "db"), torch.autograd.grad(y, (x, w, b), tensor([n["dy"]])), strict=True):
        close([n[name]] if name == "dx" else n[name], grad)


def test_printed_dense() -> None:
    n = explain("dense").numbers
    x, w, b = tensor(n["x"]), tensor(n["w"]), tensor(n["b"])
    y = F.linear(x, w, b)
    close(n["y"], y)
    for name, grad in zip(("dx", "dw", "db"), torch.autograd.grad(y, (x, w, b), tensor(n["dy"])), strict=True):
        close(n[name], grad)


def test_printed_softmax_cross_entropy() -> None:
    n = explain("softmax-cross-entropy").numbers
    z = tensor(n["z"])
    loss = F.cross_entropy(z[None], torch.tensor([n["target"]]))
    close(n["p"], z.softmax(0))
    close(n["loss"], loss)
    close(n["dz"], torch.autograd.grad(loss, z)[0])


def test_printed_batch_norm() -> None:
    n = explain("batch-norm").numbers
    layer = nn.BatchNorm1d(1, eps=n["eps"], momentum=n["momentum"]).double()
    with torch.no_grad():
        layer.weight.copy_(tensor(n["gamma"]))
        layer.bias.copy_(tensor(n["beta"]))
    z, bias = tensor(n["z"]), tensor([10.0])
    y = layer(z)
    close(n["y"], y)
    grads = torch.autograd.grad(y, (z, layer.weight, layer.bias), tensor(n["dy"]))
    for name, grad in zip(("dz", "dgamma", "dbeta"), grads, strict=True):
        close(n[name], grad)
    close(n["running_mean"], layer.running_mean)
    close(n["running_variance"], layer.running_var)
    close(np.asarray(n["scale"]) * np.asarray(n["z"]) + np.asarray(n["offset"]), layer.eval()(z))
    layer.train()
    close(n["y_with_bias"], layer(z + bias))
    close([0.0], torch.autograd.grad(layer(z + bias), bias, tensor(n["dy"]))[0])


def test_printed_pooling() -> None:
    n = explain("pooling").numbers
    for name, function in (("max", F.max_pool2d), ("mean", F.avg_pool2d)):
        x = tensor([n["x"]])
        y = function(x, 2)
        close([n[f"y_{name}"]], y)
        close([n[f"dx_{name}"]], torch.autograd.grad(y, x, tensor([n["dy"]]))[0])


def test_printed_relu_dropout_residual() -> None:
    n = explain("relu").numbers
    x = tensor(n["x"])
    close(n["y"], x.relu())
    close(n["dx"], torch.autograd.grad(x.relu(), x, tensor(n["dy"]))[0])
    n = explain("dropout").numbers
    assert n["p"] == 1 - np.mean(n["kept"])
    close(np.mean(n["y"]), np.mean(np.asarray(n["x"]) * n["kept"]) / (1 - n["p"]))
    close(n["dx"], np.asarray(n["dy"]) * np.asarray(n["y"]) / np.asarray(n["x"]))
    n = explain("residual").numbers
    x = tensor(n["x"])
    y = x + (tensor(n["a"]) @ x).relu()
    close(n["y"], y)
    close(n["dx"], torch.autograd.grad(y, x, tensor(n["dy"]))[0])


def test_printed_attention() -> None:
    n = explain("attention").numbers
    q, k, v = (tensor([n[name]]) for name in "qkv")
    o = F.scaled_dot_product_attention(q, k, v)
    close([n["o"]], o)
    for name, grad in zip(("dq", "dk", "dv"), torch.autograd.grad(o, (q, k, v), tensor([n["do"]])), strict=True):
        close([n[name]], grad)


def test_printed_receptive_field_and_cost() -> None:
    """The gradient of one output reaches r pixels; published counts of VGG-16's first dense layer."""
    network = nn.Sequential(nn.Conv1d(1, 1, 3, padding=1), nn.AvgPool1d(2), nn.Conv1d(1, 1, 3, padding=1))
    x = torch.zeros(1, 1, 40, requires_grad=True)
    reached = torch.autograd.grad(network(x)[0, 0, 5], x)[0].nonzero()[:, 2]
    n = explain("receptive-field").numbers
    assert n["size"] == len(reached)
    assert n["centre"] + 5 * n["stride"] == float(reached.double().mean())
    n = explain("cost").numbers
    layer = nn.Conv2d(64, 128, 3, padding=1)
    assert n["parameters"] == sum(p.numel() for p in layer.parameters())
    assert n["dense_macs"] == 102_760_448
    assert n["separable_macs"] / n["macs"] == pytest.approx(1 / 128 + 1 / 9)


# ------------------------------------------------------------------------------------------------ the formulas


@settings(max_examples=30, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 3]), kernel=st.integers(1, 3), stride=st.integers(1, 3), padding=st.integers(0, 2),
    dilation=st.integers(1, 2), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_convolution_is_torchs(groups: int, kernel: int, stride: int, padding: int, dilation: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, w, b = (generator.normal(size=s) for s in ((6, 7, 8), (6, 6 // groups, kernel, kernel), (6,)))
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = convolution.forward(x, w, b, **how)
    tx, tw, tb = tensor(x[None]), tensor(w), tensor(b)
    expected = F.conv2d(tx, tw, tb, **how)
    close(y[None], expected)
    dy = generator.normal(size=y.shape)
    grads = torch.autograd.grad(expected, (tx, tw, tb), tensor(dy[None]))
    dx, dw, db = convolution.backward(dy, x, w, **how)
    for mine, theirs in zip((dx[None], dw, db), grads, strict=True):
        close(mine, theirs)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_every_backward_is_the_finite_difference_of_its_forward(seed: int) -> None:
    """Without torch: an independent derivation."""
    g = np.random.default_rng(seed)

    def check(function: Callable[[np.ndarray], np.ndarray], at: np.ndarray, dy: np.ndarray, found: np.ndarray) -> None:
        np.testing.assert_allclose(found, differences(function, at, dy), rtol=1e-5, atol=1e-6)

    x, w, b = g.normal(size=(2, 4, 4)), g.normal(size=(3, 2, 2, 2)), g.normal(size=3)
    dy = g.normal(size=(3, 3, 3))
    dx, dw, db = convolution.backward(dy, x, w)
    check(lambda at: convolution.forward(at, w, b), x, dy, dx)
    check(lambda at: convolution.forward(x, at, b), w, dy, dw)
    check(lambda at: convolution.forward(x, w, at), b, dy, db)

    x, w, b, dy = g.normal(size=(4, 3)), g.normal(size=(2, 3)), g.normal(size=2), g.normal(size=(4, 2))
    dx, dw, db = dense.backward(dy, x, w)
    check(lambda at: dense.forward(at, w, b), x, dy, dx)
    check(lambda at: dense.forward(x, at, b), w, dy, dw)
    check(lambda at: dense.forward(x, w, at), b, dy, db)

    z = g.normal(size=5)
    one = np.ones(())
    check(lambda at: np.asarray(softmax_cross_entropy.forward(at, 3)), z, one, softmax_cross_entropy.backward(z, 3))

    z, gamma, beta, dy = g.normal(size=(6, 2)), g.normal(size=2), g.normal(size=2), g.normal(size=(6, 2))
    dz, dgamma, dbeta = batch_norm.backward(dy, z, gamma)
    check(lambda at: batch_norm.forward(at, gamma, beta)[0], z, dy, dz)
    check(lambda at: batch_norm.forward(z, at, beta)[0], gamma, dy, dgamma)
    check(lambda at: batch_norm.forward(z, gamma, at)[0], beta, dy, dbeta)
    assert dz.sum(0) == pytest.approx(0, abs=1e-9), "which is why a bias before it learns nothing"

    q, k, v, do = g.normal(size=(3, 4)), g.normal(size=(5, 4)), g.normal(size=(5, 2)), g.normal(size=(3, 2))
    dq, dk, dv = attention.backward(do, q, k, v)
    check(lambda at: attention.forward(at, k, v)[0], q, do, dq)
    check(lambda at: attention.forward(q, at, v)[0], k, do, dk)
    check(lambda at: attention.forward(q, k, at)[0], v, do, dv)

    x, dy = g.permutation(36).reshape(6, 6) * 1.0, g.normal(size=(2, 2))
    for average in (False, True):
        found = pooling.backward(dy, x, 3, 2, average=average)
        check(lambda at, average=average: pooling.forward(at, 3, 2, average=average), x, dy, found)
    x, a, dy = g.normal(size=3), g.normal(size=(3, 3)), g.normal(size=3)
    check(lambda at: elementwise.residual(at, a), x, dy, elementwise.residual_backward(dy, x, a)[0])


def test_softmax_does_not_overflow() -> None:
    z = np.array([1000.0, 0.0, -1000.0])
    assert softmax_cross_entropy.forward(z, 0) == pytest.approx(0)
    assert softmax_cross_entropy.forward(z, 2) == pytest.approx(2000)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(3, 40), kernel=st.integers(1, 5), stride=st.integers(1, 6), padding=st.integers(0, 2),
    ceil=st.booleans(),
)  # fmt: skip
def test_the_windows_of_a_pooling_are_torchs(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> None:
    padding = min(padding, kernel // 2)
    if size + 2 * padding < kernel:
        return
    expected = F.max_pool1d(torch.zeros(1, 1, size), kernel, stride, padding, ceil_mode=ceil).shape[-1]
    assert pooling.outputs(size, kernel, stride, padding, padding, 1, ceil) == expected


# ------------------------------------------------------------------------------------------------ one layer's numbers


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(4, 6, 4, padding="same", dilation=3, groups=2)
        self.up = nn.ConvTranspose2d(6, 5, 3, 2, 1, output_padding=1, dilation=2)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.tall = nn.Conv2d(11, 3, (5, 1), (2, 1), (2, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.same(x))
        y = torch.cat([y, F.interpolate(self.same(x), size=y.shape[2:])], 1)
        y = self.tall(self.pool(y))
        q = y.flatten(2)
        y = F.adaptive_avg_pool1d(F.scaled_dot_product_attention(q, q, q), 7)
        return y @ torch.ones(7, 2)


NETWORKS = {
    "lenet5": (lambda: LeNet5((1, 28, 28), 10), (1, 28, 28)),
    "small_resnet": (lambda: SmallResNet((3, 64, 64), 10), (3, 64, 64)),
    "branched": (Branched, (4, 12, 13)),
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_worked_out_sizes_are_those_of_the_trace(name: str, batch: int) -> None:
    """Every operation: the formulas' sizes are the traced ones, and parameters sum to the network's."""
    build, shape = NETWORKS[name]
    network = build()
    graph = trace(network, shape, batch=batch)
    counted: dict[str, int] = {}
    for operation in graph.operations:
        made = explain_operation(operation, graph)
        after = graph.tensors[operation.outputs[0]].shape
        sizes = [step for step in made.steps if step.title.startswith(("output size", "windows"))]
        if "kernel" in operation.attributes:
            assert [int(step.result) for step in sizes] == list(after[2:]), operation.name
        if operation.parameters:
            counted[operation.module] = made.numbers["parameters"]
        memory = next(step for step in made.steps if step.title.startswith("activation memory"))
        assert memory.result == f"{math.prod(after) * 4:,} bytes"
        assert all(step.formula and step.result for step in made.steps)
    assert sum(counted.values()) == sum(p.numel() for p in network.parameters())


def test_the_macs_are_those_of_torchs_own_counter() -> None:
    """It counts 2 a multiply-add, and a transposed convolution by its input, as ours. Products of attention aside."""
    from torch.utils.flop_counter import FlopCounterMode

    for name, (build, shape) in NETWORKS.items():
        network = build().eval()
        graph = trace(network, shape, batch=2)
        layers = [operation for operation in graph.operations if operation.kind not in ("attention", "matmul")]
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.zeros(1, *shape))
        flops = counter.get_flop_counts()["Global"]
        expected = sum(count for kind, count in flops.items() if str(kind) in ("aten.convolution", "aten.addmm"))
        assert 2 * sum(explain_operation(layer, graph).numbers["macs"] for layer in layers) == expected > 0, name


def test_the_receptive_field_step() -> None:
    """ResNet's stem: 7 + (3 − 1)·2 = 11; the recurrence against the sets of pixels of the whole graph."""
    graph = trace(nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1)), (3, 224, 224))
    fields = receptive_fields(graph)
    made = explain_operation(graph.operations[1], graph, input_field=fields["0"], output_field=fields["1"])
    step = next(step for step in made.steps if step.title == "receptive field")
    assert step.result == "r' = 11, j' = 4, c' = 0"
    assert "7 + 1·(3 − 1)·2" in step.substituted
    blank = explain_operation(graph.operations[1], graph)
    assert "r' = r + 2·j, j' = 2·j" in [step.result for step in blank.steps]
    joined = explain_operation(graph.operations[1], graph, input_field=fields["0"], output_field=fields["0"])
    assert any("the whole layer: 7" in step.result for step in joined.steps)


def test_the_recurrence_is_that_of_the_graph_along_every_chain() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, (3, 5), (2, 1), (1, 2)), nn.AvgPool2d(3, 2), nn.Conv2d(2, 2, 3, dilation=(1, 3)),
        nn.Conv2d(2, 2, 2, 3, 1),
    )  # fmt: skip
    graph = trace(network, (1, 80, 90))
    fields = receptive_fields(graph)
    for operation in graph.operations:
        before, after = fields[operation.inputs[0]], fields[operation.outputs[0]]
        made = explain_operation(operation, graph, input_field=before, output_field=after)
        steps = [step for step in made.steps if step.title.startswith("receptive field")]
        for step, axis in zip(steps, (0, 1), strict=False):
            size, stride, center = (text(getattr(after, name)[axis]) for name in ("size", "stride", "center"))
            assert step.result == f"r' = {size}, j' = {stride}, c' = {center}"
    assert len(steps) == 2, "axes that differ are shown apart"


# ------------------------------------------------------------------------------------------------ the table of subjects


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_is_complete_and_a_document(subject: str) -> None:
    made = explain(subject)
    assert made.subject == subject
    assert made.source
    assert all(step.title and step.formula and step.result for step in made.steps)
    assert made.to_json()
    assert type(made).from_json(made.to_json()) == made


@pytest.mark.parametrize("alias", ALIASES)
def test_other_words_lead_to_subjects(alias: str) -> None:
    assert explain(alias).subject in SUBJECTS
    assert alias not in SUBJECTS


def test_an_unknown_subject_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Try: batch-norm"):
        explain("batch-nrom")
    assert explain("Batch Norm").subject == explain("batch_norm").subject == "batch-norm"


def test_explaining_needs_no_torch() -> None:
    code = "import sys, netwright.inspection.explaining as e; e.explain('batch-norm'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("value", "written"),
    [(2, "2"), (-0.0, "0"), (1e-17, "0"), (-1.25, "−1.25"), ([1, -2], "(1, −2)"), ([[1, 2], [3, 4]], "[1 2; 3 4]")],
)
def test_how_numbers_are_written(value: Any, written: str) -> None:
    assert text(value) == written


def test_cost_formulas_are_torchs_counts() -> None:
    for groups in (1, 4):
        layer = nn.Conv2d(8, 12, 5, groups=groups)
        assert cost.convolution_parameters(8, 12, 5, groups) == sum(p.numel() for p in layer.parameters())
