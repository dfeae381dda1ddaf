"""The audit tells planted faults by their numbers, and its statistics hold their error rates on random data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data import auditing, relating
from netwright.data.auditing import audit, class_order, label_meaning, value_order
from netwright.observations.data import DataAudit, Order


def numbers(seed: int = 0, rows: int = 400, columns: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


# ------------------------------------------------------------------------------------------------ numbers


def test_scale_by_feature_and_as_a_whole() -> None:
    x = numbers(rows=3000) * [1, 10, 100, 1, 1, 1] + [0, 0, 0, 50, 0, 0]
    found = audit(x, relation=False).inputs
    assert found is not None
    assert found.rms == pytest.approx(np.sqrt((x**2).mean()))
    assert found.feature_deviation is not None
    assert found.feature_deviation[2] == pytest.approx(100, rel=0.1)
    assert found.feature_rms == pytest.approx(
        [np.sqrt((x**2).mean(0)).min(), np.median(np.sqrt((x**2).mean(0))), np.sqrt((x**2).mean(0)).max()]
    )
    assert found.offset == pytest.approx(np.linalg.norm(x.mean(0)) / np.linalg.norm(x.std(0)))


@pytest.mark.parametrize(("shape", "features"), [((40, 3, 5, 5), 3), ((40, 9, 4), 4), ((40, 7), 7), ((40,), 1)])
def test_what_a_feature_is(shape: tuple[int, ...], features: int) -> None:
    found = audit(np.random.default_rng(0).random(shape), relation=False).inputs
    assert found is not None
    assert found.features == features


def test_rows_with_bad_values_are_named_and_left_out_of_the_numbers() -> None:
    x = numbers(rows=5000)
    clean = audit(x, relation=False).inputs
    x[[7, 4321]] = [np.nan, *x[7, 1:]], [*x[4321, :5], np.inf]
    found = audit(x, relation=False).inputs
    assert clean is not None
    assert found is not None
    assert (clean.non_finite, found.non_finite, found.non_finite_rows) == (0, 2, (7, 4321))
    assert found.mean == pytest.approx(clean.mean, abs=1e-2)


def test_pictures_in_whole_numbers_and_a_constant_feature() -> None:
    x = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8)).astype(np.uint8)
    found = audit(x, relation=False).inputs
    assert found is not None
    assert (found.whole, found.maximum, found.dtype) == (True, 255.0, "uint8")
    flat = numbers()
    flat[:, 2] = 3
    constant = audit(flat, relation=False).inputs
    assert constant is not None
    assert constant.constant_features == 1


# ------------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("targets", "task", "form", "counts"),
    [
        (np.arange(60) % 3, "classification", "index", (20, 20, 20)),
        ((np.arange(60) % 3)[:, None].astype(float), "classification", "column", (20, 20, 20)),
        (np.eye(3)[np.arange(60) % 3], "classification", "one-hot", (20, 20, 20)),
        (np.tile([[1.0, 1, 0], [0, 1, 0]], (30, 1)), "multi-label", "multi-hot", (30, 60, 0)),
        (np.r_[np.zeros(10), np.ones(5)], "classification", "index", (10, 5)),
        (np.r_[-np.ones(10), np.ones(5)], "classification", "index", (10, 5)),
        (np.random.default_rng(0).random(60), "regression", "values", ()),
        (np.random.default_rng(0).permutation(60), "regression", "values", ()),  # whole, but hardly repeated
        (np.repeat([1990.0, 1995.0, 2001.0], 20), "regression", "values", ()),  # floats that are whole by chance
        (np.zeros(60, int), "classification", "index", (60,)),
        (np.random.default_rng(0).random((60, 4)), "regression", "values", ()),
        (np.array(["a", "b"] * 30), "unknown", "unknown", ()),
    ],
)
def test_what_labels_look_like(targets: np.ndarray, task: str, form: str, counts: tuple[int, ...]) -> None:
    meaning = label_meaning(targets)
    assert (meaning.task, meaning.form, meaning.counts) == (task, form, counts)


def test_class_counts_of_both_parts() -> None:
    found = audit(numbers(rows=60), np.zeros(60, int), numbers(1, rows=30), np.arange(30) % 3, relation=False)
    assert (found.class_counts, found.validation_class_counts) == ((60,), (10, 10, 10))


# ------------------------------------------------------------------------------------------------ order


def shuffled_z(seed: int, values: bool) -> float:
    make = np.random.default_rng(seed)
    order = value_order(make.permutation(500) ** 2 / 7) if values else class_order(make.permutation(np.arange(500) % 7))
    assert order is not None
    return order.z


@pytest.mark.parametrize("values", [False, True])
def test_the_order_of_shuffled_labels_is_standard_normal(values: bool) -> None:
    """The published moments: mean 0, deviation 1; 200 shuffles, so a mean within 4/√200 and a deviation within 20 %."""
    z = np.array([shuffled_z(seed, values) for seed in range(200)])
    assert abs(z.mean()) < 4 / np.sqrt(200)
    assert 0.8 < z.std() < 1.2


def test_sorted_labels_lie_far_from_it() -> None:
    found = class_order(np.repeat(np.arange(5), 40))
    assert isinstance(found, Order)
    assert found.z < -15
    assert (found.run, round(found.expected_run, 2)) == (40, 1.24)
    rising = value_order(np.linspace(0, 1, 100))
    assert rising is not None
    assert rising.z < -9
    assert rising.correlation == pytest.approx(1, abs=1e-2)
    assert class_order(np.zeros(50)) is None
    assert value_order(np.ones(50)) is None


# ------------------------------------------------------------------------------------------------ copies and parts


def test_copies_within_and_between_parts() -> None:
    x, y = numbers(rows=100), np.arange(100) % 2
    x[[60, 61]] = x[[10, 11]]
    y[60], y[61] = y[10], 1 - y[11]
    held_out = np.concatenate([x[:5].astype(np.float64), numbers(1, rows=45)])
    found = audit(x, y, held_out, np.zeros(50, int), relation=False)
    assert (found.duplicates, found.conflicting, found.leaked, found.validation_hashed) == (2, 1, 5, 50)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(20, 300), heavy=st.booleans())
def test_a_random_split_is_no_shift(seed: int, rows: int, heavy: bool) -> None:
    make = np.random.default_rng(seed)
    x = make.exponential(3, (600, 30)) ** (2 if heavy else 1)
    found = audit(x[rows:], None, x[:rows], None, relation=False).shift
    assert found is not None
    assert found.apart == 0
    assert found.worst < 0.9
    assert found.moved < 1


@pytest.mark.parametrize(
    ("change", "scale"), [(lambda x: x * 255, 255), (lambda x: x + 30, None), (lambda x: x / 9, 1 / 9)]
)
def test_parts_prepared_unlike(change, scale: float | None) -> None:
    x = numbers(rows=600)
    found = audit(x[200:], None, change(x[:200]), None, relation=False).shift
    assert found is not None
    assert found.scale == pytest.approx(scale, rel=0.2) if scale else found.moved > 20
    one = x.copy()
    one[:200, 3] += 40
    single = audit(one[200:], None, one[:200], None, relation=False).shift
    assert single is not None
    assert (single.worst_feature, single.worst) == (3, pytest.approx(1, abs=1e-6))


# ------------------------------------------------------------------------------------------------ relation


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_labels_without_relation_stay_within_chance(task: str) -> None:
    """Permuted labels: the best of three learners beyond 4 deviations less than once in thousands."""
    make = np.random.default_rng(0)
    for seed in range(3):
        x = numbers(seed, rows=600, columns=10)
        y = make.integers(0, 4, 600) if task == "classification" else make.standard_normal(600)
        found = relating.relation(x, y, task, "index" if task == "classification" else "values", seed=seed)
        assert found is not None
        assert found.z < 4
        assert len(found.learners) == 3


@pytest.mark.parametrize("kind", ["linear", "circle", "checkers", "one of thirty", "sum"])
def test_labels_with_a_relation_are_seen(kind: str) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (900, {"one of thirty": 30, "sum": 8}.get(kind, 2)))
    labels: dict[str, np.ndarray] = {
        "linear": (x[:, 0] > 0).astype(int),
        "circle": ((x[:, :2] ** 2).sum(1) < 0.6).astype(int),
        "checkers": ((np.floor(2 * x[:, 0]) + np.floor(2 * x[:, 1])) % 2).astype(int),
        "one of thirty": x[:, -1],
        "sum": x.sum(1),
    }
    y = labels[kind]
    found = relating.relation(x, y, *label_meaning(y)[:2])
    assert found is not None
    assert found.z > relating.CLEAR


def test_too_little_to_say_anything() -> None:
    x = numbers(rows=20)
    assert audit(x, np.arange(20) % 2).relation is None
    assert audit(numbers(), np.zeros(400, int)).relation is None
    assert audit(np.ones((400, 3)), np.arange(400) % 2).relation is None


def test_no_global_generator_is_touched_and_the_inputs_stay() -> None:
    x, y = numbers(rows=10_000), np.arange(10_000) % 3
    kept, state = x.copy(), np.random.get_state()  # noqa: NPY002
    first = audit(x, y, x[:50], y[:50])
    second = audit(x, y, x[:50], y[:50])
    assert np.array_equal(kept, x)
    assert np.array_equal(state[1], np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    assert DataAudit.from_dict(first.to_dict() | {"seconds": 0}) == DataAudit.from_dict(
        second.to_dict() | {"seconds": 0}
    )
    assert first.inputs is not None
    assert first.inputs.sampled == auditing.SAMPLED
