"""Losses against slow derivations in double precision, and the laws they keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from netwright.errors import DataError, NetworkError, RecipeError
from netwright.objectives import choosing
from netwright.recipe.schema import Objective as Options

CLASS_LOSSES = choosing.FITTING["classification"]
LABEL_LOSSES = choosing.FITTING["multi-label"]
VALUE_LOSSES = choosing.FITTING["regression"]
COUNTS = (10.0, 0.0, 30.0, 60.0)


def build(task, loss, outputs=4, **options):
    keywords = {"class_counts": COUNTS} if task == "classification" and outputs == 4 else {}
    return choosing.objective(Options(loss=loss, **options), task, outputs, **keywords)


def batch(task, outputs=4, n=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(n, outputs, generator=generator, dtype=dtype)
    if task == "classification":
        return x, torch.randint(outputs, (n,), generator=generator)
    if task == "multi-label":
        return x, torch.randint(2, (n, outputs), generator=generator).to(dtype)
    return x, 2 * torch.randn(n, outputs, generator=generator, dtype=dtype)


# ------------------------------------------------------------------------------------------------ one number at a time


def slow(loss, x, t, gamma=2.0, delta=1.0, smoothing=0.0, weights=None):
    """The loss of one example by the formula, in Python floats. ``t``: soft labels or values."""
    k = len(x)
    t = [(1 - smoothing) * share + smoothing / k for share in t] if smoothing else list(t)
    w = weights or [1.0] * k
    biggest = max(x)
    log_z = biggest + math.log(math.fsum(math.exp(value - biggest) for value in x))
    log_p = [value - log_z for value in x]
    match loss:
        case "cross-entropy":
            return -math.fsum(w[i] * t[i] * log_p[i] for i in range(k))
        case "focal":
            return -math.fsum(w[i] * t[i] * (-math.expm1(log_p[i])) ** gamma * log_p[i] for i in range(k))
        case "kl":
            return math.fsum(t[i] * (math.log(t[i]) - log_p[i]) for i in range(k) if t[i] > 0)
        case "squared":
            return math.fsum((math.exp(log_p[i]) - t[i]) ** 2 for i in range(k))
        case "hinge":
            return math.fsum(
                w[i] * t[i] * sum(max(0.0, 1 - x[i] + x[j]) for j in range(k) if j != i) / k for i in range(k)
            )
        case "binary-cross-entropy":
            terms = [t[i] * math.log1p(math.exp(-x[i])) + (1 - t[i]) * math.log1p(math.exp(x[i])) for i in range(k)]
            return math.fsum(terms) / k * math.fsum(w[i] * t[i] for i in range(k))
    raise AssertionError(loss)


@pytest.mark.parametrize("loss", CLASS_LOSSES)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_losses_by_the_formula(loss, soft, smoothing):
    if loss == "hinge" and smoothing:
        pytest.skip("hinge has no smoothing; refused below")
    x, t = batch("classification")
    targets = F.softmax(torch.randn(7, 4, dtype=torch.float64), 1) if soft else t
    shares = targets if soft else F.one_hot(t, 4).double()
    objective = build("classification", loss, label_smoothing=smoothing)
    expected = [slow(loss, row, share, smoothing=smoothing) for row, share in zip(x.tolist(), shares.tolist())]
    assert objective.losses(x, targets).tolist() == pytest.approx(expected, rel=1e-12)
    assert float(objective.loss(x, targets)) == pytest.approx(math.fsum(expected) / 7, rel=1e-12)


@pytest.mark.parametrize("loss", choosing.WEIGHTED)
@pytest.mark.parametrize("soft", [False, True])
def test_class_weights_multiply_the_loss_of_their_class(loss, soft):
    weights = [0.5, 2.0, 1.0, 3.0]
    x, t = batch("classification")
    targets = F.softmax(torch.randn(7, 4, dtype=torch.float64), 1) if soft else t
    shares = targets if soft else F.one_hot(t, 4).double()
    objective = build("classification", loss, class_weights=weights)
    expected = [slow(loss, row, share, weights=weights) for row, share in zip(x.tolist(), shares.tolist())]
    assert objective.losses(x, targets).tolist() == pytest.approx(expected, rel=1e-12)
    assert float(objective.loss(x, targets)) == pytest.approx(sum(expected) / 7, rel=1e-12)
    if not soft:
        plain = build("classification", loss).losses(x, t)
        assert torch.allclose(objective.losses(x, t), plain * torch.tensor(weights, dtype=torch.float64)[t])


def test_balanced_weights():
    """n / (present classes · n_c): each class brings the same, and a training example weighs 1 on average."""
    weights = choosing.balanced(COUNTS)
    assert weights == pytest.approx([100 / 30, 1.0, 100 / 90, 100 / 180])
    assert sum(w * c for w, c in zip(weights, COUNTS)) == pytest.approx(100)
    x, t = batch("classification")
    objective = build("classification", "cross-entropy", class_weights="balanced")
    listed = build("classification", "cross-entropy", class_weights=weights)
    assert torch.equal(objective.losses(x, t), listed.losses(x, t))


@pytest.mark.parametrize("loss", LABEL_LOSSES)
@pytest.mark.parametrize("weights", ["none", [0.5, 2.0, 1.0, 3.0]])
def test_label_losses_by_the_formula(loss, weights):
    x, t = batch("multi-label")
    objective = build("multi-label", loss, class_weights=weights)

    def one(value, label):
        y = 1 if label else -1
        lost = math.log1p(math.exp(-y * value))
        if loss == "hinge":
            return max(0.0, 1 - y * value)
        return lost if loss == "binary-cross-entropy" else lost * (1 - math.exp(-lost)) ** 2

    w = [1.0] * 4 if weights == "none" else weights
    expected = [sum(w[i] * one(row[i], ts[i]) for i in range(4)) / 4 for row, ts in zip(x.tolist(), t.tolist())]
    assert objective.losses(x, t).tolist() == pytest.approx(expected, rel=1e-10)
    assert float(objective.loss(x, t)) == pytest.approx(sum(expected) / 7, rel=1e-10)


@pytest.mark.parametrize("loss", VALUE_LOSSES)
def test_value_losses_by_the_formula_on_normalised_targets(loss):
    x, t = batch("regression", 2)
    mean, std = (5.0, -100.0), (2.0, 30.0)
    objective = choosing.objective(
        Options(loss=loss, huber_delta=0.7), "regression", 2, target_mean=mean, target_std=std
    )
    t = t * torch.tensor(std) + torch.tensor(mean)

    def one(value, target, i):
        e = abs(value - (target - mean[i]) / std[i])
        if loss == "huber":
            return 0.5 * e * e if e <= 0.7 else 0.7 * (e - 0.35)
        return e if loss == "absolute" else e * e

    expected = [sum(one(r[i], ts[i], i) for i in (0, 1)) / 2 for r, ts in zip(x.tolist(), t.tolist())]
    assert objective.losses(x, t).tolist() == pytest.approx(expected, rel=1e-5)
    assert float(objective.loss(x, t)) == pytest.approx(sum(expected) / 7, rel=1e-5)
    assert torch.allclose(objective.decide(x), x * torch.tensor(std) + torch.tensor(mean))


# ------------------------------------------------------------------------------------------------ laws

logits = st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(loss=st.sampled_from(CLASS_LOSSES), rows=logits, data=st.data())
def test_one_hot_labels_are_their_indices(loss, rows, data):
    x = torch.tensor(rows, dtype=torch.float64)
    t = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    options = {"class_weights": [0.5, 2.0, 1.0, 3.0]} if loss in choosing.WEIGHTED else {}
    objective = build("classification", loss, **options)
    for one_hot in (F.one_hot(t, 4).double(), F.one_hot(t, 4)):
        assert torch.allclose(objective.losses(x, one_hot), objective.losses(x, t), rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    loss=st.sampled_from([*CLASS_LOSSES[:1], "focal", "kl", "squared", "hinge"]), rows=logits, shift=st.floats(-50, 50)
)
def test_softmax_losses_do_not_see_a_common_shift(loss, rows, shift):
    x = torch.tensor(rows, dtype=torch.float64)
    t = torch.arange(len(rows)) % 4
    objective = build("classification", loss)
    assert torch.allclose(objective.losses(x + shift, t), objective.losses(x, t), rtol=1e-9, atol=1e-9)


def test_focal_without_gamma_is_cross_entropy():
    x, t = batch("classification")
    focal, plain = build("classification", "focal", focal_gamma=0.0), build("classification", "cross-entropy")
    assert torch.allclose(focal.losses(x, t), plain.losses(x, t))
    x, t = batch("multi-label")
    focal, plain = build("multi-label", "focal", focal_gamma=0.0), build("multi-label", "binary-cross-entropy")
    assert torch.allclose(focal.losses(x, t), plain.losses(x, t))


def test_kl_is_cross_entropy_less_entropy_and_zero_at_the_target():
    x, _ = batch("classification")
    targets = F.softmax(torch.randn(7, 4, dtype=torch.float64), 1)
    entropy = -(targets * targets.log()).sum(1)
    kl = build("classification", "kl")
    assert torch.allclose(kl.losses(x, targets), build("classification", "cross-entropy").losses(x, targets) - entropy)
    assert kl.losses(targets.log(), targets).abs().max() < 1e-12


def test_one_logit_is_two_logits_with_one_at_zero():
    x, t = batch("classification", 1)[0], torch.tensor([0, 1, 1, 0, 1, 0, 0])
    both = torch.cat([torch.zeros_like(x), x], 1)
    for outputs in (1, 2):
        one = choosing.objective(Options(loss="binary-cross-entropy"), "classification", outputs)
        two = build("classification", "cross-entropy", 2)
        assert torch.allclose(one.losses(x, t), two.losses(both, t))
        assert torch.allclose(one.loss(x, F.one_hot(t, 2).double()), two.loss(both, t))
        assert torch.allclose(one.probabilities(x), two.probabilities(both))
        assert torch.equal(one.decide(x), two.decide(both))


@pytest.mark.parametrize(
    ("task", "loss"),
    [("classification", name) for name in CLASS_LOSSES]
    + [("multi-label", name) for name in LABEL_LOSSES]
    + [("regression", name) for name in VALUE_LOSSES],
)
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_outputs_have_a_finite_loss_and_gradient(task, loss, gamma, dtype):
    signs = torch.tensor([[1, -1, 1, -1], [-1, -1, -1, -1], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    for size in (1e4, 88.0, 20.0):
        x = (signs * size).to(dtype).requires_grad_()
        objective = build(task, loss, focal_gamma=gamma)
        for seed in (0, 1):
            targets = batch(task, n=5, seed=seed, dtype=torch.float32)[1]
            value = objective.loss(x, targets)
            (gradient,) = torch.autograd.grad(value, x)
            assert value.isfinite()
            assert gradient.isfinite().all()
            assert objective.losses(x, targets).isfinite().all()


def test_extreme_logits_lose_exactly_their_distance():
    x = torch.tensor([[1e4, -1e4, 0.0, 0.0]])
    assert build("classification", "cross-entropy").losses(x, torch.tensor([0])).item() == 0
    assert build("classification", "cross-entropy").losses(x, torch.tensor([1])).item() == 2e4
    x = torch.tensor([[1e4, -1e4]])
    wrong = build("multi-label", "binary-cross-entropy", 2).losses(x, torch.tensor([[0.0, 1.0]]))
    assert wrong.item() == 1e4


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_gradients_are_those_of_finite_differences(loss, gamma):
    x, t = batch("classification", n=3)
    objective = build("classification", loss, focal_gamma=gamma)
    assert torch.autograd.gradcheck(lambda outputs: objective.loss(outputs, t), x.requires_grad_())


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("task", "outputs", "shape", "targets"),
    [
        ("regression", 1, (5, 1), torch.zeros(5)),
        ("regression", 1, (5,), torch.zeros(5, 1)),
        ("regression", 2, (5, 1), torch.zeros(5, 2)),
        ("regression", 1, (5, 1), torch.zeros(1, 1)),
        ("classification", 4, (5, 3), torch.zeros(5, dtype=torch.int64)),
        ("classification", 4, (5, 4), torch.zeros(5)),
        ("classification", 4, (5, 4), torch.zeros(5, 1, dtype=torch.int64)),
        ("classification", 4, (5, 4), torch.zeros(4, dtype=torch.int64)),
        ("classification", 4, (5, 1), torch.zeros(5, dtype=torch.int64)),
        ("multi-label", 4, (5, 4), torch.zeros(5)),
        ("multi-label", 4, (5, 1), torch.zeros(5, 4)),
        ("multi-label", 4, (4, 4), torch.zeros(4)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(task, outputs, shape, targets):
    objective = choosing.objective(Options(), task, outputs)
    for call in (objective.loss, objective.losses, lambda o, t: objective.meter().update(o, t)):
        with pytest.raises(NetworkError, match=r"got \(.*expected .*N"):
            call(torch.zeros(shape), targets)


def test_an_output_that_is_no_tensor_is_refused():
    with pytest.raises(NetworkError, match="a tuple against"):
        build("classification", "cross-entropy").loss((torch.zeros(5, 4),), torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("label", [4, -1, -100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_out_of_range_are_refused_never_ignored(label, smoothing):
    objective = build("classification", "cross-entropy", label_smoothing=smoothing)
    for call in (objective.loss, objective.losses):
        with pytest.raises(DataError, match="class indices 0…3"):
            call(torch.zeros(2, 4), torch.tensor([0, label]))


@pytest.mark.parametrize(
    ("task", "options", "key"),
    [
        ("regression", {"loss": "cross-entropy"}, "objective.loss"),
        ("regression", {"loss": "hinge"}, "objective.loss"),
        ("classification", {"loss": "huber"}, "objective.loss"),
        ("multi-label", {"loss": "cross-entropy"}, "objective.loss"),
        ("classification", {"loss": "hinge", "label_smoothing": 0.1}, "objective.label_smoothing"),
        ("regression", {"loss": "squared", "label_smoothing": 0.1}, "objective.label_smoothing"),
        ("regression", {"loss": "squared", "class_weights": "balanced"}, "objective.class_weights"),
        ("classification", {"loss": "kl", "class_weights": "balanced"}, "objective.class_weights"),
        ("classification", {"loss": "focal", "class_weights": [1.0, 2.0]}, "objective.class_weights"),
        ("multi-label", {"class_weights": "balanced"}, "objective.class_weights"),
        ("guessing", {}, "data.task"),
    ],
)
def test_options_that_do_not_fit_the_task(task, options, key):
    with pytest.raises(RecipeError, match=key):
        choosing.objective(Options(**options), task, 4, class_counts=COUNTS)


def test_a_softmax_over_one_unit_is_refused():
    with pytest.raises(RecipeError, match="always be right"):
        choosing.objective(Options(loss="cross-entropy"), "classification", 1)


def test_what_auto_means():
    names = {task: choosing.objective(Options(), task, 3).name for task in choosing.FITTING}
    assert names == {
        "classification": "cross-entropy",
        "multi-label": "binary-cross-entropy",
        "regression": "squared",
    }
    assert choosing.objective(Options(), "classification", 1).name == "binary-cross-entropy"


def test_half_precision_outputs_are_widened():
    x, t = batch("classification", dtype=torch.float32)
    objective = build("classification", "cross-entropy")
    value = objective.loss(x.bfloat16(), t)
    assert value.dtype == torch.float32
    assert value == objective.loss(x.bfloat16().float(), t)


def test_small_integer_targets_are_taken():
    x, t = batch("classification")
    objective = build("classification", "cross-entropy")
    for dtype in (torch.int32, torch.uint8, torch.int16):
        assert objective.loss(x, t.to(dtype)) == objective.loss(x, t)


def test_the_names_of_the_losses_are_those_of_the_recipe():
    from netwright.recipe.schema import LOSSES

    assert set(LOSSES) == {name for names in choosing.FITTING.values() for name in names}
    assert np.all([name in choosing.FITTING["classification"] for name in choosing.SMOOTHED])
