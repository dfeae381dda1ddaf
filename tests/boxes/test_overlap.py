"""Overlap of boxes: against the definition one pair at a time, and its laws; exact, of whole numbers."""

from __future__ import annotations

import math
from typing import Any

import boxes_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright import boxes
from netwright.errors import DataError, UsageError

KINDS = {
    boxes.iou: oracle.overlap, boxes.giou: oracle.generalized, boxes.diou: oracle.distance, boxes.ciou: oracle.complete,
}  # fmt: skip
AT_MOST_IOU = (boxes.giou, boxes.diou, boxes.ciou)
RANGE = {boxes.iou: (0, 1), boxes.giou: (-1, 1), boxes.diou: (-1, 1), boxes.ciou: (-2, 1)}

coordinate = st.integers(-8, 8)
box = st.tuples(coordinate, coordinate, st.integers(0, 9), st.integers(0, 9)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
some = st.lists(box, min_size=1, max_size=8)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),  # a quarter of each
        ((0, 0, 2, 2), (2, 0, 4, 2), 0),  # touching by an edge
        ((0, 0, 2, 2), (2, 2, 4, 4), 0),  # by a corner
        ((0, 0, 4, 4), (1, 1, 3, 3), 1 / 4),  # nested
        ((0, 0, 4, 4), (0, 0, 4, 2), 1 / 2),  # nested, along a side
        ((0, 0, 4, 1), (0, 0, 1, 4), 1 / 7),  # crossing
        ((0, 0, 2, 2), (1, 0, 1, 2), 0),  # an empty one inside
        ((1, 1, 1, 1), (1, 1, 1, 1), 0),  # empty both
        ((0, 0, 2, 2), (0, 0, 2, 2), 1),
        ((0, 0, 2, 2), (5, 5, 6, 6), 0),
    ],
)
def test_iou_by_hand(first: tuple[int, ...], second: tuple[int, ...], expected: float) -> None:
    assert boxes.iou([first], [second]).tolist() == [[expected]]


def test_generalized_forms_by_hand() -> None:
    """Unit squares two apart: the box around both is 3 × 1, a third of it empty; centres 2 apart, diagonal² 10."""
    a, b = [(0, 0, 1, 1)], [(2, 0, 3, 1)]
    assert boxes.giou(a, b)[0, 0] == pytest.approx(-1 / 3)
    assert boxes.diou(a, b)[0, 0] == pytest.approx(-4 / 10)
    assert boxes.ciou(a, b)[0, 0] == pytest.approx(-4 / 10)  # the same shape
    wide = boxes.ciou(a, [(0, 0, 2, 1)])[0, 0]
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    assert wide == pytest.approx(1 / 2 - 0.25 / 5 - v * v / (1 / 2 + v))


@kinds
@given(first=some, second=some)
@settings(max_examples=60, deadline=None)
def test_every_pair_is_as_the_definition_has_it(kind: Any, first: list[Any], second: list[Any]) -> None:
    expected = [[KINDS[kind](a, b) for b in second] for a in first]
    assert kind(first, second) == pytest.approx(np.array(expected), abs=1e-12)


@kinds
@given(first=some, second=some, move=coordinate, power=st.integers(-3, 3))
@settings(max_examples=60, deadline=None)
def test_laws(kind: Any, first: list[Any], second: list[Any], move: int, power: int) -> None:
    a, b = np.array(first, float), np.array(second, float)
    made = kind(a, b)
    low, high = RANGE[kind]
    assert ((made >= low) & (made <= high)).all()
    assert np.array_equal(made, kind(b, a).T)
    assert np.array_equal(made, kind(a * 2.0**power, b * 2.0**power))  # scale
    assert np.array_equal(made, kind(a + move, b + move))  # translation
    turned = [box[:, [1, 0, 3, 2]] for box in (a, b)]
    assert kind(*turned) == pytest.approx(made, abs=1e-12)  # axes exchanged
    length = min(len(a), len(b))
    assert np.array_equal(kind(a[:length], b[:length], paired=True), np.diag(made))
    if kind in AT_MOST_IOU:
        assert (made <= boxes.iou(a, b)).all()
        assert (boxes.ciou(a, b) <= boxes.diou(a, b)).all()
    else:
        filled = boxes.area(a) > 0
        same = (a[:, None] == b[None]).all(2) & filled[:, None]
        assert np.array_equal(made == 1, same)


@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2, *[st.floats(0, 1e6)] * 2), min_size=1, max_size=6)
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_rounding_leaves_the_range_and_the_order(rows: list[Any]) -> None:
    given = np.array(rows)
    overlap = boxes.iou(given, given, format="xywh")
    assert ((overlap >= 0) & (overlap <= 1)).all()
    for kind in AT_MOST_IOU:
        made = kind(given, given, format="xywh")
        assert np.isfinite(made).all()
        assert (made <= overlap).all()


def test_blocks_do_not_show() -> None:
    generator = np.random.default_rng(0)
    given = generator.random((700, 4))
    given[:, 2:] += given[:, :2]
    whole = boxes.giou(given, given)
    assert np.array_equal(whole[[3, 699]], boxes.giou(given[[3, 699]], given))
    assert np.array_equal(
        boxes.giou(np.tile(given, (40, 1)), np.tile(given, (40, 1)), paired=True)[:700], np.diag(whole)
    )


@kinds
def test_none_at_all(kind: Any) -> None:
    assert kind([], [(0, 0, 1, 1)]).shape == (0, 1)
    assert kind(np.zeros((2, 4)), np.zeros((0, 4))).shape == (2, 0)
    assert kind([], [], paired=True).shape == (0,)


@given(some, st.sampled_from(["xyxy", "xywh", "cxcywh"]), st.sampled_from(["xyxy", "xywh", "cxcywh"]))
@settings(max_examples=100, deadline=None)
def test_formats_go_there_and_back(given: list[Any], source: Any, target: Any) -> None:
    first = boxes.convert(given, "xyxy", source)
    there = boxes.convert(first, source, target)
    assert np.array_equal(boxes.convert(there, target, source), first)
    assert np.array_equal(boxes.convert(there, target, "xyxy"), np.array(given, float))
    assert np.array_equal(boxes.area(there, target), boxes.area(given))


@pytest.mark.parametrize("inverted", [(3, 0, 1, 2), (0, 3, 2, 1), (3, 3, 1, 1)])
def test_inverted_boxes_stop_and_are_named(inverted: tuple[int, ...]) -> None:
    """Taken for empty, detections in the wrong format would only look bad."""
    for call in (
        lambda b: boxes.iou(b, [(0, 0, 1, 1)]), lambda b: boxes.giou([(0, 0, 1, 1)], b), boxes.area,
        lambda b: boxes.nms(b, [0.5, 0.5]), lambda b: boxes.convert(b, "xyxy", "xywh"),
    ):  # fmt: skip
        with pytest.raises(DataError) as caught:
            call([(0, 0, 1, 1), inverted])
        assert caught.value.where.endswith("[1]")
        assert "inverted" in caught.value.got
        assert "xywh" in caught.value.suggestion
    put_right = boxes.ordered([(0, 0, 1, 1), inverted])
    assert (put_right[:, 2:] >= put_right[:, :2]).all()
    assert np.array_equal(np.sort(put_right[1, ::2]), np.sort(np.array(inverted)[::2]))


@pytest.mark.parametrize(
    ("given", "place", "got"),
    [
        ([(0, 0, math.nan, 1)], "boxes[0]", "nan"),
        ([(0, 0, 1, 1), (0, 0, 1, math.inf)], "boxes[1]", "inf"),
        ([(0, 0, 1e200, 1e200)], "boxes[0]", "1e+200"),
        ([0, 0, 1, 1], "boxes", "shape (4,)"),
        ([[0, 0, 1]], "boxes", "shape (1, 3)"),
        ([["a", "b", "c", "d"]], "boxes", "<U1"),
        ([[0, 0, 1, 1], [0, 0]], "boxes", "unequal"),
    ],
)
def test_what_is_no_box(given: Any, place: str, got: str) -> None:
    with pytest.raises(DataError) as caught:
        boxes.area(given)
    assert caught.value.where == place
    assert got in caught.value.got


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="Try: xywh"):
        boxes.area([(0, 0, 1, 1)], "xywhh")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="2 boxes beside 1"):
        boxes.iou([(0, 0, 1, 1)], [(0, 0, 1, 1)] * 2, paired=True)
    with pytest.raises(DataError, match="negative width"):
        boxes.area([(0, 0, -1, 1)], "xywh")


def test_tensors_are_converted() -> None:
    torch = pytest.importorskip("torch")
    given = [(0.0, 0.0, 2.0, 2.0), (1.0, 1.0, 3.0, 3.0)]
    for kind in (torch.float32, torch.float64, torch.bfloat16, torch.int64):
        tensor = torch.tensor(given).to(kind)
        if tensor.is_floating_point():
            tensor.requires_grad_()
        assert np.array_equal(boxes.iou(tensor, tensor), boxes.iou(given, given))
        assert boxes.nms(tensor, torch.tensor([0.5, 0.9]), 0.1).tolist() == [1]
