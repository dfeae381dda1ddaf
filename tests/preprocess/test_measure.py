"""Means and deviations: those of the given rows and no others, against a direct computation in double precision."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from netwright.preprocess import (
    ArrayPreprocess,
    Column,
    ImagePreprocess,
    SeriesPreprocess,
    TablePreprocess,
    apply,
    channel_count,
    measure,
    with_numpy,
)


def direct(values):
    """Mean and deviation a channel of (N, C, ...), two passes in double precision."""
    values = np.moveaxis(values.astype(np.float64), 1, 0).reshape(values.shape[1], -1)
    return values.mean(1), values.std(1)


def check(record, raw, rows):
    chosen = raw if rows is None else raw[rows]
    bare = msgspec.structs.replace(record, mean=(), std=())
    mean, std = direct(apply(bare, chosen))
    measured = measure(record, raw, rows)
    assert measured.mean == pytest.approx(mean, rel=1e-6, abs=1e-7)
    assert measured.std == pytest.approx(np.where(std > 1e-7, std, 1.0), rel=1e-5, abs=1e-7)
    return measured


@pytest.mark.parametrize("channels", [("grey",), ("rgb",), ("rgb", "hsv"), ("binary", "yuv", "hsl")])
@pytest.mark.parametrize("chosen", [False, True])
def test_pictures(channels, chosen):
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 256, (40, 3, 5, 6)).astype(np.uint8)
    rows = rng.permutation(40)[:17] if chosen else None
    measured = check(ImagePreprocess(channels=channels, size=(5, 6)), raw, rows)
    assert len(measured.mean) == len(measured.std) == channel_count(channels)
    after_mean, after_std = direct(apply(measured, raw if rows is None else raw[rows]))
    assert np.abs(after_mean).max() < 1e-5
    assert np.abs(after_std - 1).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(
    raw=hnp.arrays(np.int16, st.tuples(st.integers(1, 9), st.just(2), st.integers(1, 12))),
    data=st.data(),
)
def test_sound(raw, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, unique=True)), np.int64)
    check(SeriesPreprocess(sample_rate=8000, samples=raw.shape[2], sounds=2), raw, rows)


def test_only_the_given_rows_count():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(30, 2, 4)).astype(np.float32)
    rows = np.array([3, 29, 0, 11])
    record = ArrayPreprocess(shape=(2, 4))
    before = measure(record, raw, rows)
    others = np.setdiff1d(np.arange(30), rows)
    raw[others] = 1e9
    assert measure(record, raw, rows) == before


def test_the_order_of_the_rows_and_the_pieces_do_not_matter(monkeypatch):
    rng = np.random.default_rng(1)
    raw = rng.normal(5, 2, size=(50, 3)).astype(np.float32)
    rows = rng.permutation(50)[:33]
    record = ArrayPreprocess(shape=(3,))
    whole = measure(record, raw, rows)
    monkeypatch.setattr(with_numpy, "MEASURE_BYTES", 7)
    for order in (rows, np.sort(rows), rows[::-1]):
        pieces = measure(record, raw, order)
        assert pieces.mean == pytest.approx(whole.mean, rel=1e-12)
        assert pieces.std == pytest.approx(whole.std, rel=1e-12)


def test_a_large_mean_keeps_the_digits_of_a_small_deviation():
    """The sum-of-squares formula loses everything here: mean 1e6, deviation 1."""
    raw = (1e6 + np.random.default_rng(2).normal(size=(5000, 1))).astype(np.float32)
    measured = measure(ArrayPreprocess(shape=(1,)), raw)
    exact = raw.astype(np.float64)
    assert measured.mean[0] == pytest.approx(exact.mean(), rel=1e-12)
    assert measured.std[0] == pytest.approx(exact.std(), rel=1e-9)


def test_a_constant_channel_keeps_deviation_one():
    raw = np.full((6, 3, 2, 2), 51, np.uint8)
    measured = measure(ImagePreprocess(channels=("rgb",), size=(2, 2)), raw)
    assert measured.std == (1.0, 1.0, 1.0)
    assert measured.mean == pytest.approx((0.2,) * 3, abs=1e-7)
    assert np.abs(apply(measured, raw)).max() < 1e-6


def test_earlier_statistics_are_replaced_not_stacked():
    raw = np.arange(24, dtype=np.float32).reshape(8, 3)
    record = ArrayPreprocess(shape=(3,))
    once = measure(record, raw)
    assert measure(once, raw) == once


def test_table_columns_ignore_missing_cells_and_categories():
    record = TablePreprocess(
        columns=(
            Column(name="x", kind="number"),
            Column(name="c", kind="category", categories=("a", "b")),
            Column(name="d", kind="date"),
            Column(name="empty", kind="number"),
            Column(name="same", kind="number"),
        )
    )
    cells = np.array(
        [[1, 0, 10, np.nan, 4], [np.nan, 1, 20, np.nan, 4], [5, -1, 60, np.nan, 4], [99, 0, 999, 7, 9]], np.float32
    )
    measured = measure(record, cells, np.array([2, 0, 1]))
    x, category, date, empty, same = measured.columns
    assert (x.mean, x.std) == (3.0, 2.0)
    assert (category.mean, category.std) == (0.0, 1.0)
    assert (date.mean, date.std) == pytest.approx((30.0, np.std([10.0, 20.0, 60.0])))
    assert (empty.mean, empty.std) == (0.0, 1.0)
    assert (same.mean, same.std) == (4.0, 1.0)


def test_whole_numbers_and_empty_parts_are_left_alone():
    codes = ArrayPreprocess(shape=(4,), dtype="int64", scale=None)
    assert measure(codes, np.ones((3, 4), np.int64)) is codes
    record = ArrayPreprocess(shape=(4,))
    assert measure(record, np.ones((3, 4), np.float32), np.array([], np.int64)) == record
