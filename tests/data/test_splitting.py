"""Holding out, sampling and matching classes: laws that must hold for every split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.data.splitting import holdout, match_classes, sample
from netwright.errors import DataError

labels = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(lambda values: np.array(values, np.int64))
shares = st.floats(0, 1, exclude_max=True)
seeds = st.integers(0, 2**32)


@given(labels, shares, seeds)
@settings(max_examples=150, deadline=None)
def test_a_holdout_is_a_partition_that_keeps_every_class_near_its_share(targets, share, seed):
    rest, held = holdout(targets, "classification", share, seed)
    assert np.array_equal(np.sort(np.concatenate([rest, held])), np.arange(len(targets)))
    assert np.array_equal(rest, np.sort(rest))
    assert np.array_equal(held, np.sort(held))
    for label in np.unique(targets):
        size = int(np.sum(targets == label))
        assert abs(int(np.sum(targets[held] == label)) - share * size) <= 1
        assert np.any(targets[rest] == label)
    exact = sum(min(share * n, n - 1) for n in np.bincount(targets) if n)
    assert len(held) <= round(share * len(targets))
    assert len(held) >= np.floor(exact) - len(np.unique(targets))


@given(labels, shares, seeds)
@settings(max_examples=50, deadline=None)
def test_a_holdout_depends_on_the_seed_alone(targets, share, seed):
    assert np.array_equal(holdout(targets, "classification", share, seed)[1],
                          holdout(targets.copy(), "classification", share, seed)[1])  # fmt: skip


def test_another_seed_holds_out_other_examples():
    targets = np.arange(1000) % 10
    first, second = (set(holdout(targets, "classification", 0.2, seed)[1].tolist()) for seed in (0, 1))
    assert len(first) == len(second) == 200
    assert 20 < len(first & second) < 70  # 40 expected of two independent draws


def test_the_held_out_examples_are_frozen():
    """The order comes from raw PCG64 bits, which no version of NumPy changes: a split stays the same for ever."""
    assert holdout(np.arange(20) % 2, "classification", 0.3, 7)[1].tolist() == FROZEN


FROZEN = [3, 4, 6, 11, 12, 13]


def test_every_example_is_held_out_about_as_often():
    targets = np.repeat([0, 1], [30, 10])
    counts = np.zeros(40)
    for seed in range(400):
        counts[holdout(targets, "classification", 0.25, seed)[1]] += 1
    assert np.all(np.abs(counts - 100) < 45)  # five standard deviations


def test_the_total_is_exact_where_classes_are_many_and_small():
    targets = np.repeat(np.arange(50), 3)
    _, held = holdout(targets, "classification", 0.1, 0)
    assert len(held) == 15
    assert np.bincount(targets[held]).max() == 1


def test_soft_labels_are_stratified_by_their_likeliest_class():
    soft = np.eye(4, dtype=np.float32)[np.arange(80) % 4] * 0.7 + 0.075
    _, held = holdout(soft, "classification", 0.25, 3)
    assert np.bincount(soft[held].argmax(1)).tolist() == [5, 5, 5, 5]


@given(st.integers(1, 100), shares, seeds)
@settings(max_examples=50, deadline=None)
def test_other_tasks_are_split_at_random_and_keep_one(count, share, seed):
    rest, held = holdout(np.zeros((count, 1), np.float32), "regression", share, seed)
    assert len(rest) >= 1
    assert len(held) == min(round(share * count), count - 1)
    assert sorted([*rest, *held]) == list(range(count))


@given(labels, st.integers(1, 220), seeds)
@settings(max_examples=150, deadline=None)
def test_a_sample_has_the_number_asked_for_and_every_class(targets, count, seed):
    chosen = sample(targets, "classification", count, seed)
    assert len(chosen) == min(count, len(targets))
    assert len(np.unique(chosen)) == len(chosen)
    if count >= len(np.unique(targets)):
        assert set(targets[chosen]) == set(targets)


@given(labels, st.integers(1, 220), st.integers(1, 220), seeds)
@settings(max_examples=150, deadline=None)
def test_a_smaller_sample_is_a_part_of_a_larger_one(targets, first, second, seed):
    small, large = (sample(targets, "classification", count, seed) for count in sorted((first, second)))
    assert set(small.tolist()) <= set(large.tolist())


@given(labels, st.integers(1, 220), seeds)
@settings(max_examples=150, deadline=None)
def test_no_class_of_a_sample_would_give_its_last_seat_to_another(targets, count, seed):
    """Webster's rule by its min-max property (Balinski and Young 1982): no seat beyond the first that each class has
    by right went to a class while another one had the greater claim to it."""
    held, sizes = (
        np.bincount(y, minlength=7) for y in (targets[sample(targets, "classification", count, seed)], targets)
    )
    if count < np.count_nonzero(sizes):
        assert held.max() <= 1
        return
    last = [size / (n - 0.5) for n, size in zip(held, sizes) if n > 1]
    following = [size / (n + 0.5) for n, size in zip(held, sizes) if 0 < n < size]
    if last and following:
        assert min(last) >= max(following) - 1e-9


def test_a_sample_keeps_the_proportions():
    targets = np.repeat([0, 1, 2], [700, 200, 100])
    assert np.bincount(targets[sample(targets, "classification", 50, 0)]).tolist() == [35, 10, 5]


def test_classes_are_matched_by_name():
    found = match_classes(np.array([0, 1, 1]), ("cat", "dog"), ("bird", "dog", "cat"), "test")
    assert found.tolist() == [2, 1, 1]


def test_numbers_stand_for_names_where_they_agree_in_number():
    assert match_classes(np.array([2, 0]), ("0", "1", "2"), ("ant", "bee", "cow"), "test").tolist() == [2, 0]
    eleven = tuple(sorted(str(i) for i in range(11)))  # "10" sorts before "2"
    named = tuple("abcdefghijk")
    assert match_classes(np.array([eleven.index("10"), eleven.index("2")]), eleven, named, "x").tolist() == [10, 2]
    with pytest.raises(DataError, match=r"2 classes.*3: ant, bee, cow"):
        match_classes(np.array([0]), ("0", "1"), ("ant", "bee", "cow"), "test")


def test_a_class_that_training_lacks_is_named_with_the_nearest():
    with pytest.raises(DataError, match=r"test: got the class 'dogs'.*expected one of cat, dog\. Try: rename.*'dog'"):
        match_classes(np.array([0, 1]), ("cat", "dogs"), ("cat", "dog"), "test")


def test_a_class_without_examples_does_not_matter():
    assert match_classes(np.array([0, 0]), ("cat", "yeti"), ("bird", "cat"), "test").tolist() == [1, 1]
