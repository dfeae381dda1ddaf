"""The NumPy and the torch twin are one function; both are colour science as others compute it."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from netwright.errors import DataError
from netwright.preprocess import (
    CHANNELS,
    ArrayPreprocess,
    Column,
    ImagePreprocess,
    SeriesPreprocess,
    TablePreprocess,
    apply,
    channel_count,
    with_torch,
)
from netwright.preprocess.with_numpy import planes
from netwright.preprocess.with_torch import Prepared

TOLERANCE = 1e-5


def difference(record, raw, **to):
    """Largest difference of the twins on ``raw``, with the torch twin's result."""
    expected = apply(record, raw)
    got = with_torch.apply(record, torch.from_numpy(raw).to(**to))
    assert tuple(got.shape) == expected.shape
    assert got.dtype == torch.from_numpy(expected).dtype
    return np.abs(got.double().numpy() - expected.astype(np.float64)).max(initial=0), got


spaces = st.lists(st.sampled_from(sorted(CHANNELS)), min_size=1, max_size=4, unique=True).map(tuple)


@settings(max_examples=100, deadline=None)
@given(
    channels=spaces,
    raw=hnp.arrays(
        np.uint8, st.tuples(st.integers(0, 4), st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5))
    ),
    normalised=st.booleans(),
    last=st.booleans(),
    data=st.data(),
)
def test_pictures_of_every_colour_space(channels, raw, normalised, last, data):
    count = channel_count(channels)
    mean, std = (), ()
    if normalised:
        mean = tuple(data.draw(st.lists(st.floats(-0.5, 1), min_size=count, max_size=count)))
        std = tuple(data.draw(st.lists(st.floats(0.05, 1), min_size=count, max_size=count)))
    record = ImagePreprocess(channels=channels, size=raw.shape[2:], mean=mean, std=std)
    largest, _ = difference(record, raw, memory_format=torch.channels_last if last else torch.contiguous_format)
    assert largest <= TOLERANCE


def test_every_pair_of_colour_spaces_on_all_corners_and_greys():
    """Exhaustive where hypothesis might miss: black, white, pure and equal channels, neighbours of one half."""
    values = [0, 1, 127, 128, 254, 255]
    raw = np.array(list(itertools.product(values, repeat=3)), np.uint8).reshape(-1, 3, 1, 1)
    for channels in [*itertools.permutations(CHANNELS, 1), *itertools.permutations(CHANNELS, 2)]:
        assert difference(ImagePreprocess(channels=channels, size=(1, 1)), raw)[0] <= TOLERANCE


@settings(max_examples=40, deadline=None)
@given(
    raw=hnp.arrays(np.int16, st.tuples(st.integers(0, 3), st.just(2), st.integers(1, 30))),
    mean=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    std=st.tuples(st.floats(0.05, 2), st.floats(0.05, 2)),
    normalised=st.booleans(),
)
def test_sound(raw, mean, std, normalised):
    record = SeriesPreprocess(
        sample_rate=8000, samples=raw.shape[2], sounds=2, mean=mean if normalised else (), std=std if normalised else ()
    )
    assert difference(record, raw)[0] <= TOLERANCE


@settings(max_examples=40, deadline=None)
@given(
    raw=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.uint8]),
        st.tuples(st.integers(0, 4), st.just(2), st.integers(1, 4), st.integers(1, 4)),
        elements=st.integers(0, 200),
    ),
    scale=st.sampled_from([1.0, 1 / 255, 0.01, 3.0]),
    offset=st.sampled_from([0.0, 1.0, 100.0]),
    last=st.booleans(),
)
@example(raw=np.full((2, 2, 3, 3), 7, np.float32), scale=1.0, offset=0.0, last=True)
def test_arrays(raw, scale, offset, last):
    mean = (offset * scale, 0.5 * offset * scale)
    record = ArrayPreprocess(shape=raw.shape[1:], dtype=str(raw.dtype), scale=scale, mean=mean, std=(scale, 2 * scale))
    before = raw.copy()
    largest, _ = difference(record, raw, memory_format=torch.channels_last if last else torch.contiguous_format)
    assert largest <= TOLERANCE * 20  # values reach 200 deviations here; float32 carries 1e-5 of that
    assert np.array_equal(raw, before), "the user's own array was changed"


def test_an_array_far_from_zero_keeps_its_digits():
    raw = (1e6 + np.arange(8, dtype=np.float32)).reshape(4, 2)
    record = ArrayPreprocess(shape=(2,), mean=(1e6, 1e6), std=(1.0, 1.0))
    assert difference(record, raw)[0] == 0


def test_whole_numbers_without_a_scale_stay_whole():
    raw = np.array([[3, 1], [0, 2]], np.int64)
    got = with_torch.apply(ArrayPreprocess(shape=(2,), dtype="int64", scale=None), torch.from_numpy(raw))
    assert got.dtype == torch.int64
    assert np.array_equal(got.numpy(), apply(ArrayPreprocess(shape=(2,), dtype="int64", scale=None), raw))


columns = st.one_of(
    st.builds(
        lambda mean, std: Column(name="n", kind="number", mean=mean, std=std), st.floats(-9, 9), st.floats(0.5, 9)
    ),
    st.builds(lambda k: Column(name="c", kind="category", categories=tuple("abcde"[:k])), st.integers(0, 5)),
)


@settings(max_examples=50, deadline=None)
@given(entries=st.lists(columns, max_size=5), rows=st.integers(0, 6), data=st.data())
def test_tables(entries, rows, data):
    record = TablePreprocess(columns=tuple(entries))
    cells = np.zeros((rows, len(entries)), np.float32)
    for position, column in enumerate(entries):
        values = st.integers(-1, 5) if column.kind == "category" else st.floats(-20, 20, width=32)
        cells[:, position] = data.draw(st.lists(values, min_size=rows, max_size=rows))
    assert difference(record, cells)[0] <= TOLERANCE


def test_a_category_nobody_saw_is_all_zero_and_a_missing_number_is_the_mean():
    record = TablePreprocess(
        columns=(Column(name="c", kind="category", categories=("a", "b")), Column(name="n", kind="number", mean=1.0))
    )
    raw = np.array([[-1, 1], [np.nan, 2], [1, np.nan]], np.float32)
    got = with_torch.apply(record, torch.from_numpy(raw)).numpy()
    assert np.array_equal(got, [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert np.array_equal(got, apply(record, raw))


# ---------------------------------------------------------------------------------------- laws of the torch twin


@pytest.mark.parametrize("channels", [("rgb",), ("grey",), ("rgb", "hsv"), ("yuv", "hsl", "binary")])
def test_a_channels_last_batch_stays_one(channels):
    raw = torch.randint(0, 256, (4, 3, 6, 5), dtype=torch.uint8)
    count = channel_count(channels)
    prepared = Prepared(ImagePreprocess(channels=channels, size=(6, 5), mean=(0.4,) * count, std=(0.3,) * count))
    last = prepared(raw.contiguous(memory_format=torch.channels_last))
    plain = prepared(raw)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    assert torch.equal(last, plain)


@pytest.mark.parametrize("channels", [("rgb",), ("grey", "hsv")])
@pytest.mark.parametrize("last", [False, True])
def test_the_bits_of_an_example_depend_on_it_alone(channels, last):
    raw = torch.randint(0, 256, (65, 3, 19, 23), dtype=torch.uint8)  # above the size from which torch uses threads
    if last:
        raw = raw.contiguous(memory_format=torch.channels_last)
    count = channel_count(channels)
    prepared = Prepared(ImagePreprocess(channels=channels, size=(19, 23), mean=(0.437,) * count, std=(0.251,) * count))
    whole = prepared(raw)
    for row in (0, 31, 64):
        assert torch.equal(prepared(raw[row : row + 1])[0], whole[row])
    assert torch.equal(prepared(raw[7:20]), whole[7:20])


def test_what_is_handed_in_is_never_changed():
    raw = torch.randn(3, 2, 4)
    before = raw.clone()
    Prepared(ArrayPreprocess(shape=(2, 4), mean=(0.1, 0.2), std=(2.0, 3.0)))(raw)
    Prepared(ArrayPreprocess(shape=(2, 4), scale=2.0, mean=(900.0, 1.0), std=(1.0, 1.0)))(raw)
    assert torch.equal(raw, before)


def test_other_float_types():
    record = ImagePreprocess(channels=("grey",), size=(2, 2), mean=(0.5,), std=(0.25,))
    raw = torch.tensor([[[[0, 64], [128, 255]]]], dtype=torch.uint8)
    assert with_torch.apply(record, raw, torch.bfloat16).dtype == torch.bfloat16
    exact = (raw.double() / 255 - 0.5) / 0.25
    assert torch.allclose(with_torch.apply(record, raw, torch.float64), exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("record", "shape"),
    [
        (ImagePreprocess(channels=("rgb",), size=(4, 4)), (2, 2, 4, 4)),
        (ImagePreprocess(channels=("rgb",), size=(4, 4)), (2, 4, 4)),
        (SeriesPreprocess(sample_rate=8, samples=4, sounds=2, mean=(0.0, 0.0), std=(1.0, 1.0)), (2, 3, 4)),
        (TablePreprocess(columns=(Column(name="a", kind="number"),)), (2, 3)),
    ],
)
def test_a_shape_that_cannot_belong_is_refused(record, shape):
    with pytest.raises(DataError, match="preprocess: got"):
        with_torch.apply(record, torch.zeros(shape))


# ---------------------------------------------------------------------------------------- colours by other sources


@settings(max_examples=150, deadline=None)
@given(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)))
@example((0, 0, 0))
@example((255, 255, 255))
@example((255, 0, 1))
def test_hsv_and_hsl_are_those_of_the_standard_library(colour):
    red, green, blue = (value / 255 for value in colour)
    pixels = np.array([red, green, blue], np.float32).reshape(1, 3, 1, 1)
    hue, saturation, value, hue2, saturation2, lightness = planes(("hsv", "hsl"), pixels).ravel()
    expected_hue, expected_lightness, expected_saturation2 = colorsys.rgb_to_hls(red, green, blue)
    for got in (hue, hue2):
        turn = abs(float(got) - expected_hue) % 1  # hue wraps: 0 and 1 are the same red
        assert min(turn, 1 - turn) < 2e-5
    assert (saturation, value) == pytest.approx(colorsys.rgb_to_hsv(red, green, blue)[1:], abs=2e-6)
    assert lightness == pytest.approx(expected_lightness, abs=2e-6)
    assert saturation2 == pytest.approx(expected_saturation2, abs=2e-4)  # divided by as little as 1/255 in float32


def test_yuv_is_bt_601():
    """ITU-R BT.601: Y = .299 R + .587 G + .114 B, U = .492 (B - Y), V = .877 (R - Y); ranges ±.436 and ±.615."""
    matrix = np.array(
        [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
    )  # as printed in handbooks, rounded to five digits there
    colours = np.random.default_rng(0).random((500, 3))
    got = planes(("yuv",), colours.astype(np.float32).reshape(-1, 3, 1, 1)).reshape(-1, 3)
    assert np.abs(got - colours @ matrix.T).max() < 5e-4
    greys = planes(("yuv",), np.full((1, 3, 1, 1), 0.3, np.float32)).ravel()
    assert greys == pytest.approx([0.3, 0, 0], abs=1e-6)
