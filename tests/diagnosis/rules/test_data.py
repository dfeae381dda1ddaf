"""Planted faults of data, each beside its healthy twin: told where they hurt, a note or nothing where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data.auditing import audit
from netwright.diagnosing import rejudge
from netwright.observations import LossFacts, Observations, Plan
from netwright.observations.data import Locality
from netwright.records import EpochRow

CODES = {
    "split-mismatch", "bad-values", "constant-labels", "class-imbalance", "labels-not-shuffled", "leak", "duplicates",
    "too-little-data", "label-noise", "no-local-structure",
}  # fmt: skip
Array = np.ndarray


def table(seed: int = 0, rows: int = 900, classes: int = 3) -> tuple[Array, Array]:
    make = np.random.default_rng(seed)
    x = make.standard_normal((rows, 6)).astype(np.float32)
    limits = np.quantile(x[:, 0] + x[:, 1], np.arange(1, classes) / classes)
    return x, np.digitize(x[:, 0] + x[:, 1], limits)


def judged(
    x: Array, y: Array, x_val: Array | None = None, y_val: Array | None = None, scores: Any = (), **plan: Any
) -> dict[str, str]:
    """Severity by code."""
    observations = Observations(data=audit(x, y, x_val, y_val), plan=Plan(**plan))
    observations.epochs = [
        EpochRow(epoch=i + 1, step=i, split="validation", metrics={"score": s}) for i, s in enumerate(scores)
    ]
    return {f.code: f.severity for f in rejudge(observations).findings if f.code in CODES}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(60, 400), classes=st.integers(2, 6))
def test_a_healthy_table_is_silent(seed: int, rows: int, classes: int) -> None:
    x, y = table(seed, rows + 60, classes)
    assert judged(x[:rows], y[:rows], x[rows:], y[rows:]) == {}


def test_a_column_that_gives_the_answer_away_in_training_alone() -> None:
    x, y = table(classes=2)
    x[:600, 4] = y[:600] * np.linspace(1, 9, 600)
    assert judged(x[:600], y[:600], x[600:], y[600:])["leak"] == "warning"
    x[600:, 4] = y[600:] * np.linspace(1, 9, 300)  # a feature that is as good everywhere is no leak by itself
    assert judged(x[:600], y[:600], x[600:], y[600:]) == {}


def test_bad_values_are_named_with_their_rows() -> None:
    x, y = table()
    x[[5, 77], 1] = np.nan, -np.inf
    diagnosis = rejudge(Observations(data=audit(x, y)))
    found = next(finding for finding in diagnosis.findings if finding.code == "bad-values")
    assert (found.severity, found.where, found.evidence[0].value) == ("error", "training inputs, rows 5, 77", 2)
    targets = np.linspace(0, 1, 900)
    targets[3] = np.inf
    assert judged(x[:, 2:], targets)["bad-values"] == "error"


def test_one_label_only() -> None:
    x, y = table()
    assert judged(x, np.zeros_like(y), x[:200] + 1e-3, y[:200])["constant-labels"] == "error"
    assert judged(x, np.full((900, 1), 0.3))["constant-labels"] == "error"
    assert judged(x, np.ones((900, 1), np.float32))["constant-labels"] == "error"
    assert "constant-labels" not in judged(x, y)
    assert "constant-labels" not in judged(x, np.eye(3)[y])


@settings(max_examples=20, deadline=None)
@given(mean=st.floats(10, 1e9), ratio=st.floats(1e-7, 0.3), sign=st.sampled_from([-1, 1]))
def test_nearly_constant_values_are_told_by_deviation_over_mean(mean: float, ratio: float, sign: int) -> None:
    x = table()[0].astype(np.float64)
    y = sign * mean * (1 + ratio * (x[:, :1] - x[:, 0].mean()) / x[:, 0].std())
    expected = "warning" if ratio < 1e-5 else "note" if ratio < 1e-3 else None
    if min(abs(ratio / limit - 1) for limit in (1e-3, 1e-5)) > 1e-6:
        assert judged(x, y).get("constant-labels") == expected


def test_validation_targets_that_hardly_differ_are_named_wherever_they_lie() -> None:
    x = table()[0]
    y = (1000 + 5 * x[:, :1]).astype(np.float64)
    assert "split-mismatch" not in judged(x[300:], y[300:], x[:300], y[:300])
    assert "split-mismatch" not in judged(x[300:], y[300:], x[:300], 1000 + (y[:300] - 1000) * 0.3)
    assert judged(x[300:], y[300:], x[:300], 1000 + (y[:300] - 1000) * 0.05)["split-mismatch"] == "warning"
    rare = np.where(np.arange(900) % 300 == 299, 500.0, 0.01 * x[:, 0])[:, None]  # few rows have most of the variance
    kept = np.arange(900) < 299
    assert judged(x[~kept], rare[~kept], x[kept], rare[kept])["split-mismatch"] == "warning"


@pytest.mark.parametrize("spoil", [lambda v: v * 16, lambda v: v / 255, lambda v: 3 + v, lambda v: np.abs(v) * 5])
def test_validation_prepared_otherwise(spoil: Any) -> None:
    x, y = table()
    assert judged(x[300:], y[300:], x[:300], y[:300]) == {}
    assert judged(x[300:], y[300:], spoil(x[:300]), y[:300])["split-mismatch"] == "warning"


def test_classes_that_validation_asks_for_and_training_hardly_shows() -> None:
    x, y = table(rows=3000)
    kept = (y != 0) | (np.random.default_rng(1).random(3000) < 0.02)
    kept[:600] = False
    assert judged(x[kept], y[kept], x[:600], y[:600])["class-imbalance"] == "warning"


def test_an_imbalance_that_is_the_same_everywhere_is_a_note_unless_the_rare_class_is_never_learned() -> None:
    x, y = table(rows=3000, classes=2)
    rare = (y == 0) | (np.random.default_rng(1).random(3000) < 0.05)
    x, y = x[rare], y[rare]
    cut = len(y) // 3
    parts = x[cut:], y[cut:], x[:cut], y[:cut]
    majority = float((y[cut:] == 0).mean())
    assert judged(*parts, scores=(0.96, 0.98, 0.99))["class-imbalance"] == "note"
    assert judged(*parts, scores=(majority,) * 3)["class-imbalance"] == "warning"
    assert "class-imbalance" not in judged(*table(rows=600, classes=2), scores=(0.5,) * 3)


def test_weights_of_the_loss_make_up_for_rare_classes() -> None:
    x, y = table(rows=3000, classes=2)
    kept = (y == 0) | (np.random.default_rng(1).random(3000) < 0.05)
    kept[:600] = False
    audited = audit(x[kept], y[kept], x[:600], y[:600])
    ratio = (y[kept] == 0).sum() / (y[kept] == 1).sum()

    def severity(weight: float) -> str:
        shares = (1 / (1 + weight), weight / (1 + weight))
        seen = Observations(data=audited, loss=LossFacts(name="weighed", class_weights=shares))
        return next(one.severity for one in rejudge(seen).findings if one.code == "class-imbalance")

    assert [severity(weight) for weight in (1.0, ratio, ratio**2)] == ["warning", "note", "warning"]


def test_copies_between_the_parts() -> None:
    x, y = table()
    assert judged(x[300:], y[300:], np.r_[x[:200], x[300:400]], y[:300])["leak"] == "warning"
    boards = np.random.default_rng(0).integers(0, 2, (2000, 6)).astype(np.float32)  # 64 different rows
    labels = (boards.sum(1) > 3).astype(int)
    found = judged(boards[500:], labels[500:], boards[:500], labels[:500])
    assert (found["leak"], found["duplicates"]) == ("note", "note")


def test_labels_that_were_mixed_up() -> None:
    x, y = table()
    mixed = np.random.default_rng(0).permutation(y)
    assert judged(x, mixed)["label-noise"] == "warning"
    assert judged(x, y) == {}
    assert "label-noise" not in judged(x, mixed, x[:90] + 1, y[:90], scores=(0.9,))  # the network found what they mean
    assert "label-noise" not in judged(x[:100], mixed[:100])  # too few to say
    conflicting = np.r_[x, x]
    assert judged(conflicting, np.r_[y, (y + 1) % 3])["label-noise"] == "note"


@pytest.mark.parametrize("order", ["given", "other", "unknown"])
def test_sorted_labels_are_a_fault_only_where_they_are_fed_so(order: str) -> None:
    x, y = table()
    lies = np.argsort(y, kind="stable")
    found = judged(x[lies], y[lies], order=order, batch_size=20, examples=900)
    assert found.get("labels-not-shuffled") == {"given": "warning", "unknown": "note"}.get(order)
    assert "labels-not-shuffled" not in judged(x, y, order=order, batch_size=20, examples=900)
    whole = judged(x[lies], y[lies], order="given", batch_size=900, examples=900)  # one batch holds all classes
    assert "labels-not-shuffled" not in whole


def test_too_few_to_say_anything() -> None:
    x, y = table(rows=20)
    assert judged(x, y) == {"too-little-data": "note"}


def test_no_local_structure_hurts_where_it_is_used() -> None:
    def found(drop: float, best: bool) -> dict[str, str]:
        observations = Observations(data=audit(*table(rows=60)))
        assert observations.data is not None
        facts = observations.data.to_dict() | {"relation": None}
        local = Locality(learner="patches", score=0.8, permuted=0.8 - drop, drop=drop, noise=0.01, best=best)
        observations.data = type(observations.data).from_dict(facts | {"locality": local.to_dict()})
        return {finding.code: finding.severity for finding in rejudge(observations).findings if finding.code in CODES}

    assert found(0.0, False) == {"no-local-structure": "note"}
    assert found(0.2, True) == found(0.2, False) == {}
