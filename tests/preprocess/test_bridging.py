"""From one preprocessing to another of the same raw examples: the law is the preprocessing itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.preprocess import ArrayPreprocess, Column, ImagePreprocess, Preprocess, TablePreprocess, apply
from netwright.preprocess.bridging import affine, bridge

numbers = st.floats(-5, 5)
widths = st.floats(0.2, 5)
statistics = st.one_of(
    st.just(((), ())),
    st.tuples(st.tuples(numbers), st.tuples(widths)),
    st.tuples(st.tuples(numbers, numbers, numbers), st.tuples(widths, widths, widths)),
)


def follow(one: Preprocess, other: Preprocess, raw: np.ndarray) -> np.ndarray:
    """``one``'s input brought to ``other``'s."""
    seen, steps = apply(one, raw), bridge(one, other)
    if steps is None:
        return seen
    shape = (-1,) + (1,) * (seen.ndim - 2)
    return seen * np.array(steps[0]).reshape(shape) + np.array(steps[1]).reshape(shape)


@settings(deadline=None, max_examples=30)
@given(first=statistics, second=statistics, seed=st.integers(0, 99))
def test_an_input_becomes_what_the_other_would_have_made_of_the_raw_example(first, second, seed) -> None:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(seed)
    one, other = (ImagePreprocess(channels=("rgb",), size=(4, 4), mean=m, std=s) for m, s in (first, second))
    pictures = generator.integers(0, 256, (2, 3, 4, 4)).astype(np.uint8)
    np.testing.assert_allclose(follow(one, other, pictures), apply(other, pictures), atol=2e-3)
    a, b = (ArrayPreprocess(shape=(3,), mean=m, std=s) for m, s in (first, second))
    rows = generator.normal(0, 3, (4, 3)).astype(np.float32)
    np.testing.assert_allclose(follow(a, b, rows), apply(b, rows), atol=2e-3)


def test_columns_of_a_table_are_bridged_each_by_itself() -> None:
    def record(mean: float, std: float) -> TablePreprocess:
        return TablePreprocess(
            columns=(Column(name="age", kind="number", mean=mean, std=std),
                     Column(name="work", kind="category", categories=("a", "b")),
                     Column(name="day", kind="date", mean=-mean, std=2 * std))
        )  # fmt: skip

    cells = np.array([[30, 0, 7], [50, 1, 9], [41, -1, 8]], np.float32)
    np.testing.assert_allclose(follow(record(3, 2), record(-1, 5), cells), apply(record(-1, 5), cells), atol=1e-5)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (ImagePreprocess(channels=("grey",), size=(4, 5)), "size 4×5 instead of 4×4"),
        (ImagePreprocess(channels=("rgb",), size=(4, 4)), "channels rgb instead of grey"),
        (ArrayPreprocess(shape=(1, 4, 4)), "array inputs instead of image inputs"),
    ],
)
def test_what_no_scale_and_shift_can_bridge_is_said(other: Preprocess, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bridge(ImagePreprocess(channels=("grey",), size=(4, 4)), other)


def test_tables_of_other_columns_are_named() -> None:
    one = TablePreprocess(columns=(Column(name="age", kind="number"),))
    for columns, said in (
        ((Column(name="years", kind="number"),), "'years'"),
        ((Column(name="age", kind="category", categories=("x",)),), "category of 1"),
        ((Column(name="age", kind="number"), Column(name="b", kind="number")), "2 columns"),
    ):
        with pytest.raises(ValueError, match=said):
            bridge(one, TablePreprocess(columns=columns))


def test_equal_records_need_nothing() -> None:
    record = ArrayPreprocess(shape=(3,), mean=(1.0,), std=(2.0,))
    assert bridge(record, record) is None
    assert affine((), (), (), ()) is None
    assert affine((1.0,), (2.0,), (), ()) == ((2.0,), (1.0,))  # x·2 + 1 is the value itself
