"""Charts: laws of ticks and lines, and what is left out of a picture."""

import html.parser
import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netwright.reporting import charts
from netwright.reporting.charts import Line

anything = st.floats(allow_nan=False, allow_infinity=False)
ordinary = st.floats(min_value=-1e12, max_value=1e12)


class Elements(html.parser.HTMLParser):
    """Collects elements and their attributes, and holds that they are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(markup: str) -> Elements:
    elements = Elements()
    elements.feed(markup)
    elements.close()
    assert not elements.open
    return elements


def numbers(markup: str) -> list[float]:
    """Every number of the paths' and circles' geometry."""
    shapes = [attributes for tag, attributes in parsed(markup).found if tag in ("path", "circle", "rect", "text")]
    kept = [
        value
        for each in shapes
        for name, value in each.items()
        if name in ("d", "cx", "cy", "x", "y", "width", "height")
    ]
    return [float(number) for value in kept for number in re.findall(r"-?[\d.]+", value or "")]


# ------------------------------------------------------------------------------------------------ ticks


@given(anything, anything, st.integers(2, 12), st.booleans())
@example(0.0, 0.0, 5, False)
@example(5e-324, 0.0, 5, False)
@example(1.7e308, -1.7e308, 5, False)
@example(1e16, 1e16 + 2, 5, False)
@example(3.0, 3.0, 5, True)
@settings(max_examples=50, deadline=None)
def test_ticks_cover_the_data_and_grow(low: float, high: float, count: int, integer: bool) -> None:
    ticks = charts.nice_ticks(low, high, count, integer=integer)
    low, high = (min(max(value, -charts.LARGEST), charts.LARGEST) for value in sorted((low, high)))
    slack = 1e-9 * max(abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert len(ticks) >= 2
    assert all(one < other for one, other in pairwise(ticks))
    assert len(ticks) <= count + 3


@given(ordinary, ordinary, st.integers(2, 12))
@settings(max_examples=50, deadline=None)
def test_ticks_are_round_and_evenly_spaced(low: float, high: float, count: int) -> None:
    ticks = charts.nice_ticks(low, high, count)
    step = ticks[1] - ticks[0]
    assert all(math.isclose(other - one, step, rel_tol=1e-6) for one, other in pairwise(ticks))
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(math.isclose(mantissa, factor, rel_tol=1e-4) for factor in (1, 2, 2.5, 5, 10))


@given(st.integers(-1000, 1000), st.integers(0, 5000))
@settings(max_examples=50, deadline=None)
def test_whole_ticks_are_whole(low: int, span: int) -> None:
    assert all(tick == int(tick) for tick in charts.nice_ticks(low, low + span, 6, integer=True))


@given(st.floats(1e-200, 1e200), st.floats(1, 1e60))
@settings(max_examples=50, deadline=None)
def test_logarithmic_ticks_cover_the_data(low: float, ratio: float) -> None:
    ticks = charts.log_ticks(low, low * ratio)
    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] >= low * ratio * (1 - 1e-9)
    assert 2 <= len(ticks) <= 15


@given(ordinary, ordinary)
@settings(max_examples=50, deadline=None)
def test_ticks_read_back_as_what_they_are(low: float, high: float) -> None:
    ticks = charts.nice_ticks(low, high)
    texts = charts.tick_texts(ticks)
    assert len(set(texts)) == len(ticks)
    for tick, text in zip(ticks, texts):
        assert math.isclose(float(text.replace("−", "-")), tick, abs_tol=0.01 * (ticks[1] - ticks[0]))


def test_ticks_that_a_person_would_choose() -> None:
    assert charts.nice_ticks(0, 1) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.nice_ticks(0.03, 2.31) == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert charts.tick_texts([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert charts.percent_texts([0.9, 0.95, 1.0]) == ["90 %", "95 %", "100 %"]


# ------------------------------------------------------------------------------------------------ lines

value = st.one_of(st.none(), st.floats(), st.floats(0, 1))
modest = st.one_of(st.none(), st.just(math.nan), st.floats(-1e6, 1e6))


@given(st.lists(value, max_size=70), st.booleans(), st.sampled_from([None, True, False]))
@example([2.5e263, 1.4e-45], False, None)
@settings(max_examples=30, deadline=None)
def test_whatever_the_values_a_line_chart_stays_in_its_frame(
    ys: list[float | None], share: bool, log: bool | None
) -> None:
    lines = [Line("train", list(range(len(ys))), ys), Line("validation", list(range(len(ys))), ys[::-1], "validation")]
    drawn = charts.line_chart(lines, label="loss", x_title="epoch", share=share, log=log, mark=(2, "kept"))
    known = charts.finite(ys)
    assert bool(drawn) == bool(known)
    if drawn:
        assert "nan" not in drawn.lower().replace("not a number", "")
        assert all(-20 <= number <= charts.WIDTH + 20 for number in numbers(drawn))
        assert len(re.findall("<circle", drawn)) in (0, 2 * len(known))


def test_points_that_are_not_finite_are_skipped_and_the_rest_is_drawn() -> None:
    line = Line("train", [1, 2, 3, 4, 5], [1.0, math.nan, None, math.inf, 2.0])
    drawn = charts.line_chart([line], label="loss", x_title="epoch")
    assert drawn.count("<circle") == 2


def test_one_point_is_a_dot_in_the_middle() -> None:
    drawn = charts.line_chart([Line("train", [7], [0.5])], label="loss", x_title="epoch")
    (dot,) = (attributes for tag, attributes in parsed(drawn).found if tag == "circle")
    assert charts.WIDTH * 0.4 < float(dot["cx"] or 0) < charts.WIDTH * 0.7


@pytest.mark.parametrize("tone", ["arm0", "raw", "validation"])
def test_whatever_has_one_point_is_seen(tone: str) -> None:
    """A comparison of trainings of one epoch: a dot, and a band that has a width."""
    band = charts.Band([1], [0.4], [0.6], tone)
    drawn = charts.line_chart([Line("a", [1], [0.5], tone)], label="loss", x_title="epoch", bands=[band])
    found = parsed(drawn).found
    assert [tag for tag, _ in found].count("circle") == 1
    (outline,) = (str(each["d"]) for tag, each in found if tag == "path" and "band" in str(each.get("class")))
    corners = np.array([pair.split() for pair in outline.strip("MZ").split("L")], float)
    assert (np.ptp(corners, axis=0) > 5).all()
    x, y = corners.T
    area = abs(float((x * np.roll(y, 1) - y * np.roll(x, 1)).sum())) / 2
    assert area == pytest.approx(np.ptp(x) * np.ptp(y))  # a rectangle, not a bow


@given(st.floats(0.001, 1000), st.floats(0.001, 1000), st.floats(0.05, 0.95), st.booleans(), st.sampled_from([2, 9]))
@settings(max_examples=60, deadline=None)
def test_no_line_runs_through_the_name_of_a_mark(first: float, last: float, at: float, log: bool, count: int) -> None:
    """Of one straight line: a place beside the mark is free, wherever it runs."""
    ys = np.geomspace(first, last, count) if log else np.linspace(first, last, count)
    xs = np.geomspace(1, 4096, count)
    drawn = charts.line_chart(
        [Line("a", xs.tolist(), ys.tolist(), "arm0")], label="t", x_title="x", log=log, places=xs.tolist(),
        mark=(float(4096**at), "noise scale 120"),
    )  # fmt: skip
    found = parsed(drawn).found
    (text,) = (each for tag, each in found if tag == "text" and each.get("class") == "mark-text")
    (line,) = (str(each["d"]) for tag, each in found if tag == "path" and each.get("class") == "line arm0")
    px, py = np.array([pair.split() for pair in line.strip("M").split("L")], float).T
    wide = 5.5 * len("noise scale 120") * (-1 if text["text-anchor"] == "end" else 1)  # letters of 11.5
    place = np.linspace(float(text["x"] or 0), float(text["x"] or 0) + wide, 200)
    assert np.abs(np.interp(place, px, py) - (float(text["y"] or 0) - 4)).min() > 6
    assert place.min() >= 0
    assert place.max() <= charts.WIDTH


def test_a_constant_line_is_level_and_inside() -> None:
    drawn = charts.line_chart([Line("train", [1, 2, 3], [4.0, 4.0, 4.0])], label="loss", x_title="epoch")
    heights = {attributes["cy"] for tag, attributes in parsed(drawn).found if tag == "circle"}
    assert len(heights) == 1
    assert charts.TOP < float(heights.pop() or 0) < charts.HEIGHT - charts.BOTTOM


def test_a_wide_range_of_losses_is_drawn_on_a_logarithmic_axis_and_says_so() -> None:
    wide = charts.line_chart([Line("train", [1, 2], [10.0, 0.01])], label="loss", x_title="epoch")
    narrow = charts.line_chart([Line("train", [1, 2], [1.0, 0.5])], label="loss", x_title="epoch")
    assert "log scale" in wide
    assert "log scale" not in narrow


def test_a_share_never_gets_an_axis_beyond_all() -> None:
    drawn = charts.line_chart([Line("train", [1, 2], [0.2, 1.0])], label="accuracy", x_title="epoch", share=True)
    texts = parsed(drawn).text
    assert "100 %" in texts
    assert "120 %" not in texts


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=3000), st.integers(2, 400))
@settings(max_examples=40, deadline=None)
def test_thinning_keeps_the_extremes_and_the_order(ys: list[float], most: int) -> None:
    xs, kept = charts.thinned(list(range(len(ys))), ys, most)
    assert len(kept) <= most
    assert xs == sorted(xs)
    assert (min(kept), max(kept)) == (min(ys), max(ys))
    assert all(ys[int(x)] == y for x, y in zip(xs, kept))


@given(st.lists(modest, max_size=300), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_smoothing_is_the_mean_of_the_finite_values_around(ys: list[float | None], window: int) -> None:
    steps = list(range(len(ys)))
    xs, means = charts.smoothed(steps, ys, window, most=7)
    known = [(x, y) for x, y in zip(steps, ys) if y is not None and math.isfinite(y) and abs(y) <= charts.LARGEST]
    assert len(xs) <= 7
    places = {x: at for at, (x, _) in enumerate(known)}
    for x, mean in zip(xs, means):
        around = [y for at, (_, y) in enumerate(known) if abs(at - places[int(x)]) <= window // 2]
        assert mean == pytest.approx(math.fsum(around) / len(around), rel=1e-9, abs=1e-9)


def test_texts_of_a_chart_are_escaped() -> None:
    evil = '<script>alert("1")</script>'
    drawn = charts.line_chart([Line(evil, [1, 2], [1.0, 2.0])], label=evil, x_title=evil, mark=(1, evil))
    drawn += charts.legend([(evil, "train", evil)]) + charts.matrix([evil, "b"], [[1, 2], [3, 4]], label=evil)
    drawn += charts.matrix([evil] * 20, [[1] * 20] * 20, label=evil) + charts.wave([1, 2], label=evil)
    drawn += charts.scatter([1, 2], [2, 3], label=evil, x_title=evil, y_title=evil)
    drawn += charts.histogram([1, 2], label=evil, x_title=evil)
    assert "<script" not in drawn
    assert all(tag != "script" for tag, _ in parsed(drawn).found)
    assert evil in "".join(parsed(drawn).text)


# ------------------------------------------------------------------------------------------------ matrix and others


@pytest.mark.parametrize("classes", [1, 2, 10, 16, 17, 50, 51, 100])
def test_a_confusion_matrix_of_any_size(classes: int) -> None:
    counts = [[(row * 7 + column * 3) % 5 for column in range(classes)] for row in range(classes)]
    drawn = charts.matrix([f"class {at}" for at in range(classes)], counts, label="confusion")
    found = parsed(drawn).found
    assert ("table" in {tag for tag, _ in found}) == (classes <= charts.CELLS_WITH_NUMBERS)
    assert len(drawn) < 600_000
    if classes <= charts.CELLS_WITH_NUMBERS:
        tips = [attributes["title"] for tag, attributes in found if tag == "td" and "title" in attributes]
        assert len(tips) == classes**2
    else:
        squares = sum((attributes.get("d") or "").count("z") for tag, attributes in found if tag == "path")
        assert squares == sum(value > 0 for row in counts for value in row)


def test_the_most_frequent_confusion_is_the_darkest() -> None:
    drawn = charts.matrix(["a", "b", "c"], [[50, 40, 10], [0, 100, 0], [1, 0, 99]], label="confusion")
    shades = [float(shade) for shade in re.findall(r'class="wrong" style="--shade:([\d.]+)"', drawn)]
    assert shades[0] == max(shades)
    assert shades[-1] == min(shades)


def test_classes_without_examples_and_empty_matrices_are_drawn_without_a_crash() -> None:
    assert "0 of 0" in charts.matrix(["a", "b"], [[0, 0], [1, 2]], label="confusion")
    assert charts.matrix([], [], label="confusion") == ""


@given(st.lists(st.tuples(value, value), max_size=50))
@settings(max_examples=30, deadline=None)
def test_scatter_and_histogram_skip_what_is_not_finite(pairs: list[tuple[float | None, float | None]]) -> None:
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    known = [pair for pair in pairs if len(charts.finite(pair)) == 2]
    drawn = charts.scatter(xs, ys, label="values", x_title="true", y_title="predicted")
    assert drawn.count("<circle") == len(known)
    bars = charts.histogram(xs, label="residuals", x_title="off")
    assert bool(bars) == bool(charts.finite(xs))
    for picture in (drawn, bars):
        assert all(-20 <= number <= charts.WIDTH + 20 for number in numbers(picture)) if picture else True


def test_a_histogram_counts_every_value_once() -> None:
    drawn = charts.histogram([-1.0, 0.0, 0.1, 0.2, 5.0, 5.0], label="residuals", x_title="off")
    counted = [int(number) for number in re.findall(r": (\d+) examples?<", drawn)]
    assert sum(counted) == 6


@given(st.lists(st.floats(), max_size=30))
@settings(max_examples=40, deadline=None)
def test_a_wave_stays_in_its_frame(values: list[float]) -> None:
    drawn = charts.wave(values, label="sound")
    assert bool(drawn) == bool(values)
    if drawn:
        assert all(0 <= number <= 120 for number in numbers(drawn))


@pytest.mark.parametrize(
    ("share", "width"), [(None, "0.0"), (math.nan, "0.0"), (-1, "0.0"), (0.5, "50.0"), (7, "100.0")]
)
def test_a_bar_is_as_wide_as_its_share(share: float | None, width: str) -> None:
    assert f"width:{width}%" in charts.bar(share, "recall")
