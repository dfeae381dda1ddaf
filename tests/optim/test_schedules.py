"""Schedules against PyTorch's where it has the same, and what every one of them keeps."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from netwright.optim.schedules import START, Plateau, factor
from netwright.recipe.schema import SCHEDULES, Train

EPOCHS, PER_EPOCH = 6, 7
TOTAL = EPOCHS * PER_EPOCH


def options(schedule, **keys):
    return Train(schedule=schedule, **({"warmup": 0.0} | keys))


def factors(schedule, **keys):
    at = factor(options(schedule, **keys), TOTAL, PER_EPOCH)
    return [at(step) for step in range(TOTAL)]


def torch_factors(make, steps=TOTAL, every=1):
    """PyTorch's factors for each step, its scheduler stepped every ``every`` steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler, seen = make(optimizer), []
    for step in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()
    return seen


def test_constant():
    assert factors("constant") == [1.0] * TOTAL


def test_step_is_pytorchs():
    expected = torch_factors(lambda o: lr_scheduler.StepLR(o, 2, gamma=0.3), every=PER_EPOCH)
    assert factors("step", gamma=0.3, step_epochs=2) == pytest.approx(expected, rel=1e-12)


def test_exponential_is_pytorchs_at_the_start_of_epochs():
    expected = torch_factors(lambda o: lr_scheduler.ExponentialLR(o, 0.8), every=PER_EPOCH)
    got = factors("exponential", gamma=0.8)
    assert got[::PER_EPOCH] == pytest.approx(expected[::PER_EPOCH], rel=1e-12)
    ratios = [b / a for a, b in itertools.pairwise(got)]
    assert ratios == pytest.approx([0.8 ** (1 / PER_EPOCH)] * (TOTAL - 1))


def test_cosine_is_pytorchs():
    expected = torch_factors(lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL))
    assert factors("cosine") == pytest.approx(expected, abs=1e-12)


def test_one_cycle_is_pytorchs_linear_rise_and_cosine_fall():
    """PyTorch's ends on its last step, ours where a further step would come: one step more for PyTorch."""
    warm = 2 * PER_EPOCH

    def make(strategy):
        return lambda o: lr_scheduler.OneCycleLR(
            o, 1.0, total_steps=TOTAL + 1, pct_start=(warm + 1) / (TOTAL + 1), anneal_strategy=strategy, div_factor=25,
            final_div_factor=1e30, cycle_momentum=False,
        )  # fmt: skip

    got = factors("one-cycle", warmup=2.0)
    assert got[: warm + 1] == pytest.approx(torch_factors(make("linear"))[: warm + 1], rel=1e-12)
    assert got[warm:] == pytest.approx(torch_factors(make("cos"))[warm:], abs=1e-12)


@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_plateau_is_pytorchs(gamma):
    plateau = Plateau(options("plateau", gamma=gamma, step_epochs=3))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=gamma, patience=2, threshold=0)
    for score in [0.1, 0.3, 0.2, 0.3, 0.1, 0.35, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.9, math.nan, 0.9, 0.1]:
        optimizer.step()
        reference.step(score)
        assert plateau.after_epoch(score) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_plateau_goes_on_where_it_was():
    scores = [0.5, 0.4, 0.4, 0.6, 0.1, 0.1, 0.1, 0.1]
    whole = Plateau(options("plateau", step_epochs=2))
    expected = [whole.after_epoch(score) for score in scores]
    for cut in range(len(scores)):
        first, second = Plateau(options("plateau", step_epochs=2)), Plateau(options("plateau", step_epochs=2))
        got = [first.after_epoch(score) for score in scores[:cut]]
        second.load_state_dict(first.state_dict())
        assert second.factor == first.factor
        assert got + [second.after_epoch(score) for score in scores[cut:]] == expected


def test_plateau_leaves_the_steps_alone():
    assert factors("plateau") == [1.0] * TOTAL


# ------------------------------------------------------------------------------------------------ every schedule


@settings(max_examples=150, deadline=None)
@given(
    schedule=st.sampled_from(SCHEDULES),
    epochs=st.integers(1, 12),
    per_epoch=st.integers(1, 40),
    warmup=st.sampled_from(["auto", 0.0, 0.3, 1.0, 2.5, 50.0]),
    gamma=st.floats(0.05, 1.0),
    step_epochs=st.integers(1, 4),
)
def test_every_schedule(schedule, epochs, per_epoch, warmup, gamma, step_epochs):
    total = epochs * per_epoch
    at = factor(options(schedule, warmup=warmup, gamma=gamma, step_epochs=step_epochs), total, per_epoch)
    seen = [at(step) for step in range(total)]
    assert all(0 < value <= 1 for value in seen)
    peak = seen.index(max(seen))
    assert seen[peak] == 1, "the full rate is reached"
    assert peak <= total / 2
    assert all(a < b for a, b in itertools.pairwise(seen[: peak + 1])), "it rises before"
    assert all(a >= b for a, b in itertools.pairwise(seen[peak:])), "it never rises after"
    rise = [b - a for a, b in itertools.pairwise(seen[: peak + 1])]
    assert rise == pytest.approx([rise[0]] * peak) if rise else True, "the warm-up is linear"
    if schedule in ("cosine", "one-cycle"):
        assert at(total) == pytest.approx(0, abs=1e-12)
        steepest = 0.5 * math.pi / (total - peak)
        assert all(a - b <= steepest + 1e-12 for a, b in itertools.pairwise(seen[peak:])), "no jump"
    if schedule == "one-cycle" and peak:
        assert seen[0] == START
    assert at(total + 100) == at(total), "it stays at its end"


def test_a_warm_up_comes_before_and_the_schedule_counts_from_its_end():
    warm = PER_EPOCH
    got = factors("step", warmup=1.0, gamma=0.5, step_epochs=2)
    assert got[:warm] == pytest.approx([(step + 1) / (warm + 1) for step in range(warm)])
    assert got[warm:] == factors("step", gamma=0.5, step_epochs=2)[: TOTAL - warm]


def test_the_automatic_rise_of_one_cycle_is_three_tenths():
    got = factors("one-cycle", warmup="auto")
    assert got.index(1.0) == round(0.3 * TOTAL)
    assert factors("cosine", warmup="auto")[0] == 1


def test_a_run_of_one_step():
    for schedule in SCHEDULES:
        assert factor(options(schedule, warmup=2.0), 1, 1)(0) == 1
