"""Cards: raw arrays as small pictures, waves and cells."""

import base64
import io
import math

import numpy as np
import pytest
from filled import pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from netwright.data.examples import Examples, Part
from netwright.preprocess import ArrayPreprocess, Column, SeriesPreprocess, TablePreprocess
from netwright.reporting import cards
from netwright.reporting.cards import ExampleCard

CLASSES = ("cat", "dog", "fox")


def opened(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png)))


def test_a_small_picture_comes_back_pixel_for_pixel() -> None:
    for channels in (1, 3):
        examples = pictures(CLASSES, side=8, channels=channels)
        (card,) = cards.cards(examples, "train", [5])
        raw = examples.parts["train"].inputs[0][5]
        assert np.array_equal(np.asarray(opened(card.png)), raw[0] if channels == 1 else raw.transpose(1, 2, 0))
        assert (card.name, card.label, card.predicted, card.probability) == ("005.png", "fox", "", None)


def test_a_large_picture_is_shrunk_and_keeps_its_shape() -> None:
    wide = np.linspace(0, 255, 3 * 200 * 400).reshape(3, 200, 400).astype(np.uint8)
    picture = opened(cards.picture(wide))
    assert picture.size == (96, 48)
    assert picture.mode == "P"


def test_a_report_of_photographs_stays_small() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (3, 128, 128), dtype=np.uint8)  # the worst that can be compressed
    assert len(cards.picture(noise)) < 16_000


@given(
    arrays.arrays(st.sampled_from([np.float32, np.int64, np.uint8]), st.sampled_from([(5, 5), (1, 6, 7), (3, 5, 5)]))
)
@settings(max_examples=40, deadline=None)
def test_whatever_the_numbers_a_picture_can_be_opened(raw: np.ndarray) -> None:
    picture = opened(cards.picture(raw))
    assert picture.size == (raw.shape[-1], raw.shape[-2])


@given(arrays.arrays(st.sampled_from([np.float32, np.int16]), st.sampled_from([(1,), (50,), (2, 700), (1, 5000)])))
@settings(max_examples=40, deadline=None)
def test_a_wave_is_short_and_finite_and_keeps_the_extremes(raw: np.ndarray) -> None:
    wave = cards.wave(raw)
    assert 0 < len(wave) <= cards.WAVE_POINTS
    assert all(math.isfinite(value) for value in wave)
    values = np.nan_to_num(
        (raw.astype(np.float64).mean(0) if raw.ndim > 1 else raw.astype(np.float64)), posinf=0, neginf=0
    )
    assert (min(wave), max(wave)) == pytest.approx((values.min(), values.max()), rel=1e-3)


def test_cells_have_the_names_of_categories() -> None:
    columns = (
        Column(name="age", kind="number"), Column(name="job", kind="category", categories=("smith", "cook")),
        Column(name="town", kind="category", categories=("A",)), Column(name="sum", kind="number"),
    )  # fmt: skip
    raw = np.array([[31.5, 1, -1, np.nan]], np.float32)
    part = Part((raw,), np.array([0]))
    examples = Examples(
        "table", "classification", {"train": part}, (TablePreprocess(columns=columns),), classes=CLASSES
    )
    (card,) = cards.cards(examples, "train", [0])
    assert card.cells == {"age": "31.5", "job": "cook", "town": "unseen", "sum": "missing"}
    assert card.png == ""


def test_sounds_and_series_become_waves_and_token_ids_become_text() -> None:
    part = Part((np.zeros((2, 1, 400), np.int16), np.array([[3, 1, 2], [9, 8, 7]])), np.array([0, 1]))
    records = (SeriesPreprocess(sample_rate=8000, samples=400), ArrayPreprocess(shape=(3,), dtype="int64", scale=None))
    examples = Examples("series", "classification", {"test": part}, records, classes=CLASSES)
    (card,) = cards.cards(examples, "test", [1])
    assert len(card.wave) == cards.WAVE_POINTS
    assert card.cells == {"values": "9 8 7"}
    assert card.name == "#1"


@pytest.mark.parametrize("shape", [(7,), (2, 40), (6, 9), (1, 6, 9), (5, 6, 9), (1, 4, 6, 9), (3, 4, 6, 9)])
def test_an_array_of_any_shape_has_something_to_show(shape: tuple[int, ...]) -> None:
    part = Part((np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32),), np.array([0, 1]))
    examples = Examples("array", "classification", {"train": part}, (ArrayPreprocess(shape=shape),), classes=CLASSES)
    (card,) = cards.cards(examples, "train", [0])
    assert card.png or card.wave


# ------------------------------------------------------------------------------------------------ what was said


def test_decisions_and_probabilities_are_of_the_whole_part_and_read_at_the_positions() -> None:
    examples = pictures(CLASSES, count=6)
    probabilities = np.arange(18).reshape(6, 3) / 20
    shown = cards.cards(
        examples, "train", np.array([4, 1]), decisions=np.array([0, 2, 0, 0, 2, 0]), probabilities=probabilities,
        losses=np.array([0, 1, 2, 3, math.inf, 5]),
    )  # fmt: skip
    assert [(card.label, card.predicted, card.probability, card.loss) for card in shown] == [
        ("dog", "fox", pytest.approx(0.7), None), ("dog", "fox", pytest.approx(0.25), 1.0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [([[0.9], [0.9]], [0.9, pytest.approx(0.1)]), ([0.8, 0.7], [0.8, 0.7]), ([[4.0, -3.0], [4.0, -3.0]], [None, None])],
)
def test_probabilities_in_the_forms_that_networks_have(probabilities: object, expected: list[float | None]) -> None:
    examples = pictures(("no", "yes"), count=2)
    shown = cards.cards(examples, "train", [0, 1], decisions=np.array([1, 0]), probabilities=np.array(probabilities))
    assert [card.probability for card in shown] == expected


def test_a_part_of_a_part_is_read_at_its_own_rows() -> None:
    examples = pictures(CLASSES, count=9)
    rows = np.array([8, 3])
    part = examples.parts["train"].take(rows)
    few = Examples("image", "classification", {"train": part}, examples.preprocess, classes=CLASSES)
    assert [card.name for card in cards.cards(few, "train", [0, 1])] == ["008.png", "003.png"]


def test_soft_labels_several_labels_and_values_are_told_in_words() -> None:
    image = pictures(CLASSES, count=2)
    inputs = image.parts["train"].inputs

    def shown(task: str, true: object, decisions: object, **names: object) -> tuple[str, str]:
        part = Part(inputs, np.asarray(true, np.float32))
        examples = Examples("image", task, {"train": part}, image.preprocess, **names)  # type: ignore[arg-type]
        (card,) = cards.cards(examples, "train", [1], decisions=np.asarray(decisions))
        return card.label, card.predicted

    assert shown("classification", [[1, 0, 0], [0.2, 0.7, 0.1]], [0, 2], classes=CLASSES) == ("dog", "fox")
    assert shown("multi-label", [[1, 0, 0], [1, 0, 1]], [[0, 0, 0], [0, 0, 0]], classes=CLASSES) == ("cat, fox", "none")
    assert shown("regression", [[1.0], [52.0]], [[1.0], [48.1234]], targets=("price",)) == ("52", "48.12")
    assert shown("regression", [[1, 2], [3, 4]], [[1, 2], [3, 4.5]], targets=("x", "y")) == ("x 3, y 4", "x 3, y 4.5")


def test_a_class_that_nobody_named_has_its_number() -> None:
    examples = pictures(CLASSES, count=2)
    (card,) = cards.cards(examples, "train", [0], decisions=np.array([7, 7]), probabilities=np.ones((2, 3)))
    assert (card.predicted, card.probability) == ("class 7", None)


def test_a_card_survives_json() -> None:
    examples = pictures(CLASSES, count=3)
    (card,) = cards.cards(examples, "train", [2], decisions=np.array([0, 1, 2]), probabilities=np.ones(3))
    assert ExampleCard.from_json(card.to_json()) == card
    assert ExampleCard.from_dict(card.to_dict()) == card


# ------------------------------------------------------------------------------------------------ choosing


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 24))
@settings(max_examples=40, deadline=None)
def test_a_spread_has_every_class_and_no_example_twice(classes: int, count: int, wanted: int) -> None:
    examples = pictures(tuple(str(at) for at in range(classes)), side=2, count=count)
    chosen = cards.spread(examples, "train", wanted)
    labels = examples.parts["train"].part_targets()[chosen]
    assert len(set(chosen.tolist())) == len(chosen) <= wanted
    assert len(set(labels.tolist())) == min(classes, count, wanted)
