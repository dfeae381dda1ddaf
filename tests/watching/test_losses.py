"""A loss is known by what it does: every loss of PyTorch, in every reduction, under any name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from netwright.watching import losses
from netwright.watching.losses import describe, uninformed

CLASSES = 5
INDEX = torch.arange(20) % CLASSES
ONE_HOT = functional.one_hot(INDEX, CLASSES).float()
BITS = (torch.rand(20, CLASSES, generator=torch.Generator().manual_seed(0)) < 0.4).float()
COLUMN = (torch.arange(20) % 2).float()[:, None]
NUMBERS = torch.randn(20, 1, generator=torch.Generator().manual_seed(1))

# (targets, output columns) → (expects, form), by the definition of each loss in PyTorch's documentation.
INDEXED: dict[str, tuple[Callable[..., nn.Module], str, str]] = {
    "cross-entropy": (nn.CrossEntropyLoss, "logits", "softmax"),
    "smoothed": (lambda reduction: nn.CrossEntropyLoss(label_smoothing=0.1, reduction=reduction), "logits", "softmax"),
    "nll": (nn.NLLLoss, "log-probabilities", "log-likelihood"),
}
ELEMENTWISE: dict[str, tuple[Callable[..., nn.Module], str, str]] = {
    "bce": (nn.BCELoss, "probabilities", "binary-cross-entropy"),
    "bce-logits": (nn.BCEWithLogitsLoss, "logits", "sigmoid"),
    "mse": (nn.MSELoss, "values", "squared"),
    "l1": (nn.L1Loss, "values", "absolute"),
    "huber": (nn.HuberLoss, "values", "huber"),
    "smooth-l1": (nn.SmoothL1Loss, "values", "huber"),
}
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Misnamed(nn.Module):
    """A class of a user's own, with a name that says something else."""

    def __init__(self, inner: Callable[..., Any]) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> Any:
        self.calls += 1  # a loss with a state of its own
        return 1.5 * self.inner(output, target)


class _Callable:
    def __init__(self, inner: Callable[..., Any]) -> None:
        self.inner = inner

    def __call__(self, *both: torch.Tensor) -> Any:
        return self.inner(*both)


WRAPS: list[Wrap] = [
    lambda inner: inner,
    lambda inner: lambda output, target: inner(output, target),
    _Misnamed,
    _Callable,
    lambda inner: lambda output, target: inner(output, target) + 0.01,  # a penalty that is constant
]


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(sorted(INDEXED)), reduction=st.sampled_from(["mean", "sum"]), wrap=st.sampled_from(WRAPS))
def test_losses_over_classes(name: str, reduction: str, wrap: Wrap) -> None:
    make, expects, form = INDEXED[name]
    found = describe(wrap(make(reduction=reduction)), INDEX, (20, CLASSES), "classification")
    assert (found.expects, found.form, found.task, found.by_index) == (expects, form, "classification", True)
    assert found.reduction in (reduction, "unknown")


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(ELEMENTWISE)),
    reduction=st.sampled_from(["mean", "sum"]),
    wrap=st.sampled_from(WRAPS[:4]),
    targets=st.sampled_from([ONE_HOT, BITS, COLUMN, NUMBERS]),
)
def test_losses_by_element(name: str, reduction: str, wrap: Wrap, targets: torch.Tensor) -> None:
    make, expects, form = ELEMENTWISE[name]
    found = describe(wrap(make(reduction=reduction)), targets, targets.shape)
    assert (found.expects, found.form, found.by_index) == (expects, form, False)
    assert found.reduction == reduction


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(INDEXED | ELEMENTWISE)), turned=st.booleans(), factor=st.floats(0.1, 10))
def test_a_loss_with_its_sign_turned_is_the_same_one_reversed(name: str, turned: bool, factor: float) -> None:
    make, expects, form = (INDEXED | ELEMENTWISE)[name]
    inner, sign = make(reduction="mean"), -factor if turned else factor
    targets = INDEX if name in INDEXED else BITS

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return sign * inner(output, target)

    found = describe(loss, targets, (20, CLASSES))
    assert (found.expects, found.form, found.reversed) == (expects, form, turned)


@settings(max_examples=30, deadline=None)
@given(weights=st.lists(st.floats(0.05, 20), min_size=CLASSES, max_size=CLASSES), logits=st.booleans())
def test_the_weights_of_classes_are_read_from_what_they_do(weights: list[float], logits: bool) -> None:
    wanted = torch.tensor(weights)
    found = describe((nn.CrossEntropyLoss if logits else nn.NLLLoss)(weight=wanted), INDEX, (20, CLASSES)).class_weights
    assert found == pytest.approx((wanted / wanted.sum()).tolist(), abs=2e-3)
    two = describe(nn.BCEWithLogitsLoss(pos_weight=wanted[:1]), COLUMN, COLUMN.shape).class_weights
    assert two[1] / two[0] == pytest.approx(weights[0], rel=0.02)


def test_each_wrapped_reduction_is_told(  # the sampled laws above must not leave one out
) -> None:
    for make, *_ in (*INDEXED.values(), *ELEMENTWISE.values()):
        targets = INDEX if make in [entry[0] for entry in INDEXED.values()] else ONE_HOT
        for reduction in ("mean", "sum"):
            assert describe(make(reduction=reduction), targets, (20, CLASSES)).reduction == reduction


def test_losses_on_probabilities_written_by_hand() -> None:
    def normalised(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        shares = (output / output.sum(-1, keepdim=True)).clamp(1e-7, 1 - 1e-7)
        return -(target * shares.log()).sum(-1).mean()

    def sparse(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.nll_loss(output.clamp(1e-7, 1).log(), target.long().view(-1))

    def focal(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        right = output.gather(1, target.view(-1, 1)).clamp_min(1e-7)
        return (-((1 - right) ** 2) * right.log()).mean()

    assert describe(normalised, ONE_HOT, (20, CLASSES)).form == "cross-entropy"
    assert describe(sparse, INDEX, (20, CLASSES)).form == "cross-entropy"
    assert describe(sparse, INDEX[:, None].float(), (20, CLASSES)).by_index
    assert describe(focal, INDEX, (20, CLASSES)).expects == "probabilities"


def test_naive_sigmoid_losses_that_overflow() -> None:
    def naive(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(output)
        return -(target * p.log() + (1 - target) * (1 - p).log()).mean()

    assert describe(naive, COLUMN, (20, 1)).form == "sigmoid"
    soft_margin = describe(nn.SoftMarginLoss(), 2 * COLUMN - 1, (20, 1))
    assert (soft_margin.form, soft_margin.negative) == ("sigmoid", -1.0)
    assert describe(nn.BCEWithLogitsLoss(), COLUMN, (20, 1)).negative == 0.0


@pytest.mark.parametrize("shape", [(9, 1), (9, 1, 4, 4), (9, 6)])
def test_an_overlap_that_is_not_subtracted_is_reversed(shape: tuple[int, ...]) -> None:
    """Coefficients of overlap (Dice 1945, Jaccard 1912, Tversky 1977) and the losses made of them."""
    targets = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()

    def tversky(missed: float, added: float) -> Any:
        def score(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            both = (p * t).sum()
            return (both + 1) / (both + missed * ((1 - p) * t).sum() + added * (p * (1 - t)).sum() + 1)

        return score

    for weights in ((0.5, 0.5), (1.0, 1.0), (0.3, 0.7)):
        score = tversky(*weights)
        assert describe(score, targets, shape).reversed
        for proper in (lambda s: 1 - s, lambda s: -s.log(), lambda s: -s):
            loss: Any = lambda p, t, proper=proper, score=score: proper(score(p, t))  # noqa: E731 - one of nine
            assert not describe(loss, targets, shape).reversed
    assert not describe(lambda p, t: (p * 0).sum() + 1, targets, shape).reversed


def test_distances_of_other_kinds() -> None:
    assert describe(lambda o, t: (o - t).pow(4).mean(), NUMBERS, (20, 1)).form == "distance"
    assert describe(lambda o, t: torch.log(torch.cosh(o - t)).mean(), NUMBERS, (20, 1)).form == "distance"
    assert describe(nn.PoissonNLLLoss(log_input=False), NUMBERS.abs(), (20, 1)).form == "distance"
    brier = describe(lambda o, t: functional.mse_loss(o, functional.one_hot(t, CLASSES).float()), INDEX, (20, CLASSES))
    assert (brier.expects, brier.form, brier.by_index) == ("values", "squared", True)


def test_weights_for_each_class_need_as_many_columns() -> None:
    assert describe(nn.CrossEntropyLoss(weight=torch.rand(CLASSES)), INDEX, (20, CLASSES)).form == "softmax"
    for seed in range(20):
        weight = torch.rand(300, generator=torch.Generator().manual_seed(seed))
        assert describe(nn.CrossEntropyLoss(weight=weight), INDEX, (20, 300)).form == "softmax"


def test_rows_that_cost_the_same_by_chance_tell_all_the_same() -> None:
    """Class weights under which the two made-up batches, drawn as `losses` draws them, cost the same."""
    make, classes = torch.Generator().manual_seed(0), torch.arange(7) % CLASSES
    first, second = (
        functional.cross_entropy(torch.randn(7, CLASSES, generator=make), classes, reduction="none") for _ in range(2)
    )
    gaps = torch.zeros(CLASSES).index_add_(0, classes, first - second)
    weight = torch.where(gaps > 0, -gaps[gaps < 0].sum(), gaps[gaps > 0].sum())
    assert float((weight * gaps).sum().abs()) < 1e-4
    assert describe(nn.CrossEntropyLoss(weight=weight), INDEX, (20, CLASSES)).form == "softmax"


def test_one_unit_under_a_softmax_loss_is_still_seen() -> None:
    """With one column a softmax says nothing, so two are tried."""
    assert describe(nn.CrossEntropyLoss(), COLUMN, (20, 1)).form == "softmax"


@pytest.mark.parametrize(
    "loss",
    [
        lambda output: output.mean(),
        lambda output, target: torch.rand(()),
        lambda output, target: torch.zeros(()),
        lambda output, target: "loss",
        nn.TripletMarginLoss(),
    ],
)
def test_what_cannot_be_known_is_unknown(loss: Any) -> None:
    for targets, columns in ((INDEX, CLASSES), (NUMBERS, 1)):
        found = describe(loss, targets, (20, columns))
        assert (found.expects, found.form, found.reduction) == ("unknown", "unknown", "unknown")


def test_state_and_random_numbers_are_left_alone() -> None:
    loss = _Misnamed(nn.MSELoss())
    before = torch.get_rng_state()
    assert describe(loss, NUMBERS, (20, 1)).form == "squared"
    assert loss.calls == 0
    assert torch.equal(before, torch.get_rng_state())


def test_a_double_loss_and_double_targets() -> None:
    def strict(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        assert output.dtype == target.dtype == torch.float64
        return (output - target).square().sum()

    found = describe(strict, NUMBERS.double(), (20, 1))
    assert (found.form, found.reduction) == ("squared", "sum")


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_the_loss_of_one_who_knows_nothing(classes: int) -> None:
    """ln C for classes, ln 2 for labels, the targets' variance for numbers: by the loss itself, not by a formula."""
    targets = torch.arange(6 * classes) % classes
    outputs = torch.randn(len(targets), classes)

    def at(loss: nn.Module, wanted: torch.Tensor, given: torch.Tensor = outputs) -> float:
        ignorant = uninformed(describe(loss, wanted, given.shape), wanted, given)
        assert ignorant is not None
        return float(loss(ignorant, wanted))

    hot = functional.one_hot(targets, classes).float()
    assert at(nn.CrossEntropyLoss(), targets) == pytest.approx(math.log(classes), rel=1e-5)
    assert at(nn.NLLLoss(), targets) == pytest.approx(math.log(classes), rel=1e-5)
    assert at(nn.BCELoss(), hot) == pytest.approx(math.log(2), rel=1e-5)
    assert at(nn.BCEWithLogitsLoss(), hot) == pytest.approx(math.log(2), rel=1e-5)
    numbers = torch.randn(500, 3) * torch.tensor([1.0, 2.0, 3.0]) + 5
    expected = float(numbers.var(0, correction=0).mean())
    assert at(nn.MSELoss(), numbers, torch.zeros(500, 3)) == pytest.approx(expected, rel=1e-4)


def test_what_is_learned_follows_from_loss_targets_and_units() -> None:
    def task(loss: nn.Module, targets: torch.Tensor, columns: int, data: str) -> str:
        return describe(loss, targets, (20, columns), data).task

    assert task(nn.CrossEntropyLoss(), INDEX, CLASSES, "classification") == "classification"
    assert task(nn.BCELoss(), COLUMN, 1, "classification") == "binary"
    assert task(nn.BCELoss(), ONE_HOT, CLASSES, "classification") == "classification"
    assert task(nn.BCEWithLogitsLoss(), BITS, CLASSES, "multi-label") == "multi-label"
    assert task(nn.MSELoss(), NUMBERS, 1, "regression") == "regression"
    assert task(nn.L1Loss(), COLUMN, 1, "classification") == "binary"
    assert losses._task("unknown", "unknown", ()) == "unknown"
