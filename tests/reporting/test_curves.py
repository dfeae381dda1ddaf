"""The page of curves: its axes, what it escapes, what it leaves out."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from netwright.reporting import charts
from netwright.reporting import curves as telling
from netwright.scaling.concluding import spread
from netwright.scaling.records import BatchPoint, BatchRegimes, BatchTrial, CurvePoint, Curves, FilterFit, LearnerCurve


def dots(svg: str) -> list[float]:
    return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]


def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_axis() -> None:
    line = charts.Line("a", [10, 100, 1000], [1.0, 2.0, 3.0], "arm0")
    svg = charts.line_chart([line], label="", x_title="n", places=[10, 100, 1000, 10_000])
    first, second, third = dots(svg)
    assert second - first == pytest.approx(third - second, abs=0.11)
    for text in ("10", "1000", "10000"):
        assert f">{text}</text>" in svg


def test_texts_of_crowded_places_do_not_meet() -> None:
    places = [float(place) for place in range(1000, 1100)]
    svg = charts.line_chart([charts.Line("a", places, [1.0] * 100, "x plain")], label="", x_title="n", places=places)
    shown = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="[\d.]+">1\d{3}<', svg)]
    assert 2 <= len(shown) < 15
    assert min(b - a for a, b in itertools.pairwise(shown)) > 4 * charts.LETTER
    assert not dots(svg)


def page(tmp_path: Path, **changes: object) -> str:
    points = tuple(
        CurvePoint(size=n, held_out=spread([e] * 3), train=spread([0.0] * 3)) for n, e in ((10, 0.2), (20, 0.0))
    )
    fields: dict[str, object] = {
        "over": "data", "key": "data.limit", "measure": "error", "part": "test", "tested": 50, "examples": 20,
        "seeds": (0, 1, 2), "learners": (LearnerCurve(name="<net>", kind="network", points=points),),
        "conclusions": ("A & B.",), "notes": ("left out: <2>",),
    }  # fmt: skip
    return telling.write_page(tmp_path / "page.html", Curves(**(fields | changes)), "d<x>").read_text()  # type: ignore[arg-type]


def test_names_are_escaped_and_no_error_at_all_is_drawn(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert "<net>" not in text
    assert "&lt;net&gt;" in text
    assert "left out: &lt;2&gt;" in text
    assert len(dots(text)) == 4  # an error of zero stands at the foot of the logarithmic axis
    assert "First layer" not in text


def test_filters_are_shown_with_what_they_are_worth(tmp_path: Path) -> None:
    fit = FilterFit(
        layer="stem", size=(3, 3), filters=8, fit=0.8, random=0.79, random_high=0.9, beyond=0.125, picture="QUJD"
    )  # fmt: skip
    text = page(tmp_path, filters=fit)
    assert 'src="data:image/png;base64,QUJD"' in text
    assert "this tells little" in text


def test_a_batch_size_that_did_not_get_there_is_shown_as_such(tmp_path: Path) -> None:
    trial = BatchTrial(seed=0, seconds=2.0, steps=10, examples=40)
    found = BatchRegimes(
        measure="error", part="validation", tested=100, examples=64, target=0.05, how="", within=9.0, rule="r",
        seeds=(0,),
        points=(
            BatchPoint(batch_size=1, lr=0.1), BatchPoint(batch_size=64, lr=0.1, left_out="a step needs 9 GB"),
            BatchPoint(batch_size=4, lr=0.1, seconds=2.0, steps=10.0, examples=40.0, ratio=3.0, trials=(trial,)),
        ),
    )  # fmt: skip
    cells = {row[0]: row[2] for row in telling.batch_rows(found)}
    assert cells == {"1": "not in 9 s", "64": "–", "4": "2 s"}
    text = telling.write_batch_page(tmp_path / "page.html", found, "d").read_text()
    assert "not reached by then" in text
    assert "Seconds to 5.0 %" in text
