"""Metrics against scikit-learn, over any cut into batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from netwright.objectives import choosing, metrics
from netwright.recipe.schema import Objective as Options


def measured(objective, outputs, targets, cuts=(), meter=None):
    meter = meter or objective.meter()
    edges = [0, *sorted(cuts), len(outputs)]
    for start, end in itertools.pairwise(edges):
        if end > start:
            meter.update(outputs[start:end], targets[start:end])
    return meter


def class_reference(decided, true, classes):
    keywords = {"average": "macro", "zero_division": 0}
    return {
        "accuracy": reference.accuracy_score(true, decided),
        "balanced_accuracy": reference.recall_score(true, decided, labels=np.unique(true), **keywords),
        "macro_f1": reference.f1_score(true, decided, **keywords),
        "macro_precision": reference.precision_score(true, decided, **keywords),
        "macro_recall": reference.recall_score(true, decided, **keywords),
    }


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 30), classes=st.integers(2, 7), seed=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 30), max_size=3), soft=st.booleans(),
)  # fmt: skip
def test_class_metrics(n, classes, seed, cuts, soft):
    rng = np.random.default_rng(seed)
    outputs, true = rng.normal(size=(n, classes)), rng.integers(0, max(classes - seed % 2, 1), n)
    targets = torch.from_numpy(np.eye(classes)[true] * 0.6 + 0.4 / classes if soft else true)
    objective = choosing.objective(Options(top_k=3), "classification", classes)
    meter = measured(objective, torch.from_numpy(outputs), targets, [min(cut, n) for cut in cuts])
    got = meter.compute()
    expected = class_reference(outputs.argmax(1), true, classes)
    expected["loss"] = float(objective.losses(torch.from_numpy(outputs), targets).mean())
    if classes > 3:
        expected["top3_accuracy"] = reference.top_k_accuracy_score(true, outputs, k=3, labels=range(classes))
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    matrix = reference.confusion_matrix(true, outputs.argmax(1), labels=range(classes))
    assert meter.details() == {"confusion": matrix.tolist()}


def test_many_classes_are_counted_without_a_matrix(monkeypatch):
    rng = np.random.default_rng(0)
    outputs, true = torch.from_numpy(rng.normal(size=(50, 12))), torch.from_numpy(rng.integers(0, 12, 50))
    objective = choosing.objective(Options(), "classification", 12)
    whole = measured(objective, outputs, true, [20])
    monkeypatch.setattr(metrics, "LARGEST_CONFUSION", 10)
    parts = measured(objective, outputs, true, [20])
    assert parts.compute() == whole.compute()
    assert parts.details() == {}
    assert "confusion" in whole.details()


def test_one_logit_has_a_confusion_of_two_classes():
    objective = choosing.objective(Options(), "classification", 1)
    meter = measured(objective, torch.tensor([[3.0], [-2.0], [1.0], [0.5]]), torch.tensor([1, 0, 0, 1]))
    assert meter.details() == {"confusion": [[1, 1], [0, 2]]}
    assert meter.compute()["accuracy"] == 0.75


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 20), labels=st.integers(1, 5), seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.2, 0.8]))
def test_label_metrics(n, labels, seed, share):
    rng = np.random.default_rng(seed)
    outputs, true = rng.normal(size=(n, labels)), (rng.random((n, labels)) < share).astype(np.float32)
    objective = choosing.objective(Options(), "multi-label", labels)
    meter = measured(objective, torch.from_numpy(outputs), torch.from_numpy(true), [n // 2])
    got, decided = meter.compute(), outputs > 0
    by_label = list(zip(true.T.astype(int), decided.T.astype(int)))
    expected = {
        "loss": float(objective.losses(torch.from_numpy(outputs), torch.from_numpy(true)).mean()),
        "micro_f1": reference.f1_score(true.ravel(), decided.ravel(), zero_division=0),
        "macro_f1": np.mean([reference.f1_score(t, d, zero_division=0) for t, d in by_label]),
        "subset_accuracy": float(np.mean((true == decided).all(1))),
        "hamming_loss": float(np.mean(true != decided)),
    }
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6, abs=1e-12), name
    assert [row[1] for row in meter.details()["labels"]] == true.sum(0).tolist()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 30), values=st.integers(1, 3), seed=st.integers(0, 999), normalised=st.booleans(),
    offset=st.sampled_from([0.0, 1e4]),
)  # fmt: skip
def test_value_metrics_are_in_the_targets_own_unit(n, values, seed, normalised, offset):
    rng = np.random.default_rng(seed)
    mean, std = offset + rng.normal(size=values), rng.uniform(0.5, 20, values)
    true = (mean + std * rng.normal(size=(n, values))).astype(np.float32)
    outputs = rng.normal(size=(n, values)) if normalised else true + rng.normal(size=(n, values))
    statistics = {"target_mean": mean, "target_std": std} if normalised else {}
    objective = choosing.objective(Options(), "regression", values, **statistics)
    got = measured(objective, torch.from_numpy(outputs), torch.from_numpy(true), [n // 3]).compute()
    predicted = outputs * std + mean if normalised else outputs
    expected = {
        "mae": reference.mean_absolute_error(true, predicted),
        "rmse": reference.root_mean_squared_error(true, predicted),
        "r2": reference.r2_score(true, predicted),
    }
    assert got.keys() == {"loss", *expected}
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (0.5, 0.0)])
def test_r2_of_constant_targets_is_scikit_learns(error, r2):
    true = torch.full((6, 1), 0.1)
    objective = choosing.objective(Options(), "regression", 1)
    got = measured(objective, true + error, true, [2]).compute()
    assert got["r2"] == r2 == reference.r2_score(true, true + error)


@pytest.mark.parametrize(
    ("task", "shape"), [("classification", (0, 3)), ("multi-label", (0, 3)), ("regression", (0, 3))]
)
def test_without_examples_metrics_are_not_numbers(task, shape):
    objective = choosing.objective(Options(), task, 3)
    assert math.isnan(objective.meter().compute()["loss"])
    assert objective.meter().details() == {}
    assert all(math.isnan(value) for value in objective.light_meter().compute().values())


def test_outputs_that_are_not_numbers_show_in_the_loss_and_stop_nothing():
    objective = choosing.objective(Options(), "classification", 3)
    got = measured(objective, torch.full((4, 3), math.nan), torch.tensor([0, 1, 2, 1])).compute()
    assert math.isnan(got["loss"])
    assert 0 <= got["accuracy"] <= 1


def test_losses_that_are_known_are_not_computed_again():
    objective = choosing.objective(Options(), "classification", 3)
    meter = objective.meter()
    meter.update(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    assert meter.compute()["loss"] == 2


@pytest.mark.parametrize(
    ("task", "name", "whole"),
    [
        ("classification", "accuracy", "accuracy"),
        ("multi-label", "hamming_loss", "hamming_loss"),
        ("regression", "mae", "mae"),
    ],
)
def test_light_meters_agree_with_the_whole_ones_and_go_on_where_they_were(task, name, whole):
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(40, 3, generator=generator)
    targets = {
        "classification": torch.randint(3, (40,), generator=generator),
        "multi-label": torch.randint(2, (40, 3), generator=generator).float(),
        "regression": torch.randn(40, 3, generator=generator) * 7 + 90,
    }[task]
    statistics = {"target_mean": (90.0,) * 3, "target_std": (7.0,) * 3} if task == "regression" else {}
    objective = choosing.objective(Options(), task, 3, **statistics)
    full = measured(objective, outputs, targets).compute()
    light = measured(objective, outputs, targets, [10, 11, 25], objective.light_meter())
    assert light.compute().keys() == {name}
    assert light.compute()[name] == pytest.approx(full[whole], rel=1e-6)
    half = measured(objective, outputs[:17], targets[:17], meter=objective.light_meter())
    resumed = objective.light_meter()
    resumed.load_state_dict(half.state_dict())
    measured(objective, outputs[17:], targets[17:], meter=resumed)
    assert resumed.compute() == measured(objective, outputs, targets, [17], objective.light_meter()).compute()
    assert all(isinstance(value, float) for value in light.state_dict().values())


def test_a_light_meter_knows_the_loss_if_it_is_told():
    objective = choosing.objective(Options(), "classification", 3)
    meter = objective.light_meter()
    outputs, targets = torch.eye(3), torch.tensor([0, 1, 1])
    meter.update(outputs, targets, objective.losses(outputs, targets))
    assert meter.compute() == {"loss": pytest.approx(float(objective.loss(outputs, targets))), "accuracy": 2 / 3}
