"""Distillation: the published loss and its limit, what is cached and what is not, students that do learn."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from compression_law import context, holds
from netwright.compression import distil, passes
from netwright.compression.passes import Context
from netwright.data.loading import Batch
from netwright.errors import NetworkError, UsageError


def student(width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(4 * width, 10),
    )  # fmt: skip


def taught(teacher: nn.Module, **fields: object) -> Context:
    return dataclasses.replace(context((3, 6, 6)), teachers=lambda name: [teacher] * (1 + name.count("+")), **fields)


def probabilities(outputs: torch.Tensor, temperature: float) -> torch.Tensor:
    return F.softmax(outputs / temperature, 1)


# ---- the loss


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.floats(0.5, 30), st.integers(0, 99))
def test_the_gradient_is_the_published_one(classes: int, temperature: float, seed: int) -> None:
    """∂/∂z_i of T² KL is T (q_i − p_i) for one example (Hinton et al. 2015, equation 2, times T²)."""
    drawn = torch.Generator().manual_seed(seed)
    z = torch.randn(1, classes, generator=drawn, dtype=torch.float64, requires_grad=True)
    v = torch.randn(1, classes, generator=drawn, dtype=torch.float64)
    distil.soft_loss(z, probabilities(v, temperature), "classification", temperature).backward()
    expected = temperature * (probabilities(z.detach(), temperature) - probabilities(v, temperature))
    torch.testing.assert_close(z.grad, expected)


def test_a_high_temperature_matches_logits() -> None:
    """T → ∞ with zero-mean logits: the gradient is (z − v) / K (equation 4)."""
    z = torch.tensor([[0.4, -1.0, 0.6]], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([[-0.5, 0.3, 0.2]], dtype=torch.float64)
    distil.soft_loss(z, probabilities(v, 1e4), "classification", 1e4).backward()
    torch.testing.assert_close(z.grad, (z.detach() - v) / 3, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
def test_the_loss_is_least_where_the_student_is_the_teacher(task: str) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(5, 4)
    made = distil.softened(outputs, task, 3.0)
    targets = made if task == "regression" else made.exp()
    assert float(distil.soft_loss(outputs, targets, task, 3.0)) == pytest.approx(0, abs=1e-6)
    assert float(distil.soft_loss(outputs + torch.randn(5, 4), targets, task, 3.0)) > 0.05


def test_one_logit_counts_as_the_two_classes_it_stands_for() -> None:
    z, v = torch.tensor([[0.7]]), torch.tensor([[-1.1]])
    two = [torch.cat([torch.zeros(1, 1), each], 1) for each in (z, v)]
    one = distil.soft_loss(z, distil.softened(v, "classification", 2.0).exp(), "classification", 2.0)
    both = distil.soft_loss(two[0], probabilities(two[1], 2.0), "classification", 2.0)
    assert float(one) == pytest.approx(float(both))


def test_several_teachers_give_the_mean_of_their_probabilities() -> None:
    torch.manual_seed(0)
    teachers = [student().eval() for _ in range(3)]
    batch = context((3, 6, 6)).first_batch()
    found = distil.Distilled(teachers, temperature=2.0)._answers(batch)
    expected = sum(probabilities(each(batch.inputs[0]), 2.0) for each in teachers) / 3
    torch.testing.assert_close(found, expected.detach())


# ---- what is asked


def test_the_teacher_looks_once_at_each_unchanged_example() -> None:
    teacher = student(12).eval()
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    given = taught(teacher)
    (step,) = passes.parse("distil=big:epochs=3")
    changed = step.apply(student(), given)
    assert changed.facts["teacher_examples"] == 64  # of three epochs
    assert len(calls) == 4 + 1  # four batches, and the check


def test_an_augmented_example_is_asked_anew() -> None:
    teacher = student().eval()
    distilled = distil.Distilled([teacher], weight=1.0, temperature=1.0)
    batch = context((3, 6, 6)).first_batch()
    flipped = Batch((batch.inputs[0].flip(-1),), batch.targets, batch.index)
    outputs = torch.zeros(len(batch.targets), 10)
    first = distilled(student(), batch, outputs, torch.zeros(()))
    assert float(distilled(student(), batch, outputs, torch.zeros(()))) == float(first)
    assert distilled.cache.asked == len(batch.targets)
    other = distilled(student(), flipped, outputs, torch.zeros(()))
    assert distilled.cache.asked == 2 * len(batch.targets)
    expected = distil.soft_loss(outputs, probabilities(teacher(flipped.inputs[0]), 1.0), "classification", 1.0)
    assert float(other) == pytest.approx(float(expected.detach()))


# ---- learning


def test_a_student_comes_nearer_to_its_teacher() -> None:
    torch.manual_seed(0)
    given = context((3, 6, 6))
    teacher = student(24)
    given.heal(teacher, 8)
    given = taught(teacher.eval())
    batch = given.first_batch()

    def distance(network: nn.Module) -> float:
        with torch.no_grad():
            made = network.eval()(batch.inputs[0])
            return float(distil.soft_loss(made, probabilities(teacher(batch.inputs[0]), 4.0), "classification", 4.0))

    network = student()
    before = distance(network)
    (step,) = passes.parse("distil=big:epochs=6,weight=1")
    step.apply(network, given)
    assert distance(network) < before / 2


@pytest.mark.parametrize("hints", ["features", "attention"])
def test_hints_pull_features_together(hints: str) -> None:
    torch.manual_seed(0)
    teacher, network = student(24).eval(), student()
    given = taught(teacher)
    batch = given.first_batch()
    distilled = distil.Distilled([teacher], weight=0.0, hints=hints, at=["2"])

    def hint() -> float:
        return float(distilled._hinted(network.train(), batch).detach())

    before = hint()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(40):
        outputs = network(batch.inputs[0])
        loss = distilled(network, batch, outputs, outputs.sum() * 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert hint() < 0.8 * before


def test_hints_leave_running_statistics_and_hooks_alone() -> None:
    network, teacher = student().train(), student(12)
    batch = context((3, 6, 6)).first_batch()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    distil.Distilled([teacher], hints="attention", at=["2"])._hinted(network, batch)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert network.get_submodule("1").momentum == 0.1


def test_attention_is_equal_for_maps_that_differ_by_a_factor() -> None:
    maps = torch.rand(3, 4, 5, 5)
    assert float(distil.attention_loss(maps, 7 * maps)) == pytest.approx(0, abs=1e-10)
    assert float(distil.attention_loss(maps, maps.flip(-1))) > 1e-3


@pytest.mark.parametrize("chain", ["distil=big heal=1 lowrank=svd:rank=3,layers=5 heal=1", "distil=a+b:epochs=1"])
def test_the_law_holds(chain: str) -> None:
    network, _ = holds(student, chain, taught(student(12)))
    assert isinstance(network, nn.Sequential)


def test_healing_after_a_teacher_learns_from_it() -> None:
    teacher = student(12)
    given = taught(teacher)
    passes.parse("distil=big:temperature=2")[0].apply(student(), given)
    assert isinstance(given.distil, distil.Distilled)
    given.heal(student(), 1)
    assert given.distil.cache.asked == 64


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(NetworkError, match="outputs"):
        passes.parse("distil=big")[0].apply(student(), taught(nn.Sequential(nn.Flatten(), nn.Linear(108, 3))))
    with pytest.raises(UsageError, match="student"):
        passes.parse("distil=big:hints=attention,at=22")[0].apply(student(), taught(student()))
    with pytest.raises(UsageError, match="teacher"):
        passes.parse("distil=big")[0].apply(student(), context((3, 6, 6)))
    with pytest.raises(UsageError):
        passes.parse("distil=big:hints=attention")


def test_a_teacher_of_other_inputs_is_named_before_anything_is_trained() -> None:
    stranger = nn.Sequential(nn.Flatten(), nn.Linear(5, 10))
    with pytest.raises(NetworkError, match=r"cannot read the student's examples .*\(3, 6, 6\)"):
        distil.apply(student(), distil.Options(teacher="t", epochs=1), taught(stranger))
