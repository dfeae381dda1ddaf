"""Correct gradients pass in every layer, planted faults are found where they are, and kinks are no errors."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netwright.errors import NetwrightError
from netwright.graph.tracing import InputSpec
from netwright.inspection.gradients import GradientCheck, check_gradients


class Net(nn.Module):
    """A module from a function of its parameter and input."""

    def __init__(self, function: Any, parameter: Tensor | None = None) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(3) if parameter is None else parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


def row(check: GradientCheck, name: str) -> Any:
    return next(row for row in check.rows if row.name == name)


LAYERS: dict[str, tuple[nn.Module, Any]] = {
    "linear": (nn.Linear(5, 3), (5,)),
    "conv": (nn.Conv2d(2, 4, 3, 2, 1, groups=2), (2, 6, 7)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, 2), (2, 4, 4)),
    "batch norm": (nn.BatchNorm2d(3), (3, 4, 4)),
    "layer norm": (nn.LayerNorm(6), (4, 6)),
    "group norm": (nn.GroupNorm(2, 4), (4, 5)),
    "relu in place": (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), (4,)),
    "gelu": (nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 1)), (4,)),
    "max pool": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)), (1, 8, 8)),
    "dropout": (nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 2)), (6,)),
    "softmax": (nn.Sequential(nn.Linear(4, 4), nn.LogSoftmax(1)), (4,)),
    "attention": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
    "lstm": (nn.LSTM(3, 4, batch_first=True, bidirectional=True), (5, 3)),
    "embedding": (nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)), InputSpec((4,), torch.int64)),
    "small resnet": (
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        (1, 9, 9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_of_torch_is_right(name: str, training: bool) -> None:
    module, example = LAYERS[name]
    check = check_gradients(module, example, training=training, entries=6)
    assert not check.wrong, check.wrong
    assert check.error < 1e-6, check.rows
    assert {row.name for row in check.rows if row.kind == "parameter"} == {n for n, _ in module.named_parameters()}
    assert [r.name for r in check.rows if r.kind == "input"] == ([] if name == "embedding" else ["input"])
    assert check.skipped == (("input: int64",) if name == "embedding" else ())


# ------------------------------------------------------------------------------------------------ planted faults


def wrong(factor: float = 1.0, at: int | None = None, sign: float = 1.0) -> Any:
    """x ↦ x·w with a backward whose gradient of w is off by ``factor`` (at one entry only, if ``at`` says so)."""

    class Faulty(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
            ctx.save_for_backward(x, w)
            return x * w

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
            x, w = ctx.saved_tensors
            dw = (dy * x).sum(0)
            if at is None:
                dw = dw * factor
            else:
                dw[at] *= factor
            return sign * dy * w, dw

    return Faulty.apply


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.999, 1.001, 2.0, -1.0])
def test_a_wrong_backward_is_found(factor: float) -> None:
    check = check_gradients(Net(wrong(factor)), (3,))
    assert [row.name for row in check.wrong] == ["weight"]
    bad = row(check, "weight")
    assert bad.error == pytest.approx(abs(1 - factor) / max(1, abs(factor)), rel=1e-3)
    assert bad.autograd == pytest.approx(factor * bad.numeric, rel=1e-6)
    assert row(check, "input").error < 1e-8


def test_a_wrong_sign_towards_the_input_is_found() -> None:
    assert [row.name for row in check_gradients(Net(wrong(sign=-1.0)), (3,)).wrong] == ["input"]


def test_the_entry_that_is_wrong_is_named() -> None:
    check = check_gradients(Net(wrong(1.5, at=7), torch.ones(20)), (20,))
    assert [(row.name, row.where) for row in check.wrong] == [("weight", (7,))]


def test_a_fault_among_entries_that_were_not_drawn_is_found() -> None:
    """One of 5,000 entries is wrong and two are drawn: the direction over all of them shows it."""
    check = check_gradients(Net(wrong(100.0, at=1234), torch.ones(5000)), (5000,), entries=2)
    bad = row(check, "weight")
    assert bad.wrong
    assert bad.where == ()
    assert not row(check, "input").wrong


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x, w: x.detach() * w, ["input"]),
        (lambda x, w: x * w.data, ["weight"]),
        (lambda x, w: x.round() * w + (x - x.detach()), ["input"]),  # straight-through
    ],
    ids=["detached input", "weight's data", "straight through"],
)
def test_a_gradient_that_is_missing_or_made_up_is_found(function: Any, names: list[str]) -> None:
    check = check_gradients(Net(function), (3,))
    assert [row.name for row in check.wrong] == names


def test_a_module_that_computes_in_lower_precision_is_unclear_not_wrong() -> None:
    check = check_gradients(Net(lambda x, w: (x.float() * w.float()).double().exp()), (3,))
    assert not check.wrong
    assert row(check, "input").unclear == row(check, "input").checked


def test_an_unused_parameter_has_no_gradient_and_none_is_missing() -> None:
    check = check_gradients(Net(lambda x, w: x * 2), (3,))
    assert not check.wrong
    assert row(check, "weight").numeric == 0.0


# ------------------------------------------------------------------------------------------------ kinks


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: F.relu(x * w), lambda x, w: (x * w).abs(), lambda x, w: F.hardtanh(x * w + 1),
        lambda x, w: F.leaky_relu(x * w, 0.1), lambda x, w: torch.maximum(x * w, -x),
    ],
    ids=["relu", "abs", "hardtanh", "leaky relu", "maximum"],
)  # fmt: skip
def test_a_kink_is_no_error(function: Any) -> None:
    """Every input lies exactly on the kink, as zeros after an initialisation to zero do."""
    check = check_gradients(Net(function), torch.zeros(2, 3))
    assert not check.wrong, check.rows


def test_kinks_are_counted() -> None:
    check = check_gradients(Net(lambda x, w: F.relu(x * w)), torch.tensor([[0.0, 1.0, -1.0], [0.0, 0.0, 2.0]]))
    assert (row(check, "input").kinks, row(check, "input").checked) == (3, 6)
    assert not check.wrong


def test_a_kink_near_by_is_stepped_over() -> None:
    for distance in (1e-4, 1e-5, 1e-6):
        check = check_gradients(Net(lambda x, w: F.relu(x * w)), torch.full((2, 3), distance))
        assert not check.wrong, (distance, check.rows)


def test_ties_of_a_maximum_are_kinks() -> None:
    assert not check_gradients(nn.MaxPool2d(2), torch.ones(1, 1, 4, 4)).wrong


def test_a_network_that_begins_at_zero_is_all_kinks_and_none_is_wrong() -> None:
    """An entry moves many units at once, whose slopes do not bound what autograd may say."""
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))
    nn.init.zeros_(network[0].weight)
    nn.init.zeros_(network[0].bias)
    check = check_gradients(network, (2, 7, 7))
    assert not check.wrong
    assert row(check, "0.weight").kinks == row(check, "0.weight").checked == 20


def test_steep_functions_and_large_or_small_numbers() -> None:
    for scale in (1e-8, 1.0, 1e6):
        check = check_gradients(Net(lambda x, w: torch.tanh(x * w) * x), torch.randn(2, 3) * scale)
        assert not check.wrong, (scale, check.rows)
    check = check_gradients(Net(lambda x, w: torch.sin(300 * x * w)), torch.randn(2, 3))
    assert not check.wrong, check.rows


# ------------------------------------------------------------------------------------------------ the module's state


def test_the_module_is_not_touched() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()).train()
    module[0].weight.requires_grad_(False)
    module[0].bias.grad = torch.ones(4)
    before = copy.deepcopy(module.state_dict())
    x = torch.randn(3, 4)
    kept, state = x.clone(), torch.get_rng_state()
    check = check_gradients(module, x)
    assert len(check.rows) == 5, "frozen parameters are checked too"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.state_dict()["0.weight"].dtype == torch.float32
    assert not module[0].weight.requires_grad
    assert torch.equal(module[0].bias.grad, torch.ones(4))
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32
    assert check == check_gradients(module, x)
    assert check.training


def test_a_single_number_is_a_parameter_too() -> None:
    check = check_gradients(Net(lambda x, w: x.sin() * w, torch.tensor(2.0)), (3,))
    assert (row(check, "weight").checked, check.error < 1e-6) == (1, True)
    bad = check_gradients(Net(lambda x, w: x.sin() * w.detach(), torch.tensor(2.0)), (3,))
    assert [row.name for row in bad.wrong] == ["weight"]


def test_several_inputs_by_place_and_by_name() -> None:
    bilinear = nn.Bilinear(3, 4, 2)
    assert [r.name for r in check_gradients(bilinear, [(3,), (4,)]).rows[:2]] == ["input", "input1"]
    assert [r.name for r in check_gradients(bilinear, {"input1": (3,), "input2": (4,)}).rows[:2]] == [
        "input1", "input2"
    ]  # fmt: skip


def test_many_tensors_share_the_entries() -> None:
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(30)))
    check = check_gradients(network, (4,), most=150)
    assert {row.checked for row in check.rows} == {2}
    assert check.evaluations < 61 * 3 * 2 + 10


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (Counting(), (3,), "another output from the same input"),
        (Net(lambda x, w: (x * w).argmax(1)), (3,), "an output without a gradient"),
        (nn.Linear(4, 2), (3,), "RuntimeError"),
        (nn.LazyLinear(2), (3,), "lazy"),
        (Net(lambda x, w: torch.full((3,), math.pi)), (3,), "an output without a gradient"),
    ],
)
def test_what_cannot_be_checked_is_said(module: nn.Module, example: Any, message: str) -> None:
    with pytest.raises(NetwrightError, match=message):
        check_gradients(module, example)
    assert torch.get_default_dtype() == torch.float32
