"""The rows of a run: what was appended comes back, and goes with a rewind."""

import math
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.errors import RunError
from netwright.records import EpochRow, Evidence, Finding, Measurement
from netwright.rows import Log, Reader


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    Log(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("update about set value = '7' where key = 'version'")
    connection.close()
    with pytest.raises(RunError, match="version 7"):
        Reader(path)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9), max_size=6))
def test_series_come_back_as_they_went(tmp_path_factory: pytest.TempPathFactory, chunks: list[list[float]]) -> None:
    log = Log(tmp_path_factory.mktemp("log") / "run.sqlite")
    step = 1
    for chunk in chunks:
        log.series("loss", step, chunk)
        step += len(chunk)
    log.close()
    steps, values = Reader(log._path).series("loss")
    assert steps == list(range(1, step))
    assert values == [value for chunk in chunks for value in chunk]


def test_rows_can_be_read_while_they_are_written_and_rewound(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    log = Log(path)
    log.series("loss", 1, [3.0, 2.0])
    log.epoch(EpochRow(epoch=1, step=2, split="train", metrics={"loss": 2.5, "accuracy": math.nan}))
    log.flush()
    reader = Reader(path)
    assert reader.epochs()[0].metrics == {"loss": 2.5, "accuracy": None}
    log.series("loss", 3, [1.0])
    log.epoch(EpochRow(epoch=2, step=3, split="train", metrics={"loss": 1.0}))
    log.measurements([Measurement(probe="gradient", step=3, unit="1", values=(1.0, None), layer="a")])
    log.finding(
        3, Finding(code="non-finite", severity="error", where="a", evidence=(Evidence(what="loss", value=1.0),))
    )
    log.detail("confusion", 3, {"counts": [[1]]})
    log.flush()
    assert reader.series("loss") == ([1, 2, 3], [3.0, 2.0, 1.0])
    assert [(m.layer, m.values) for m in reader.measurements("gradient")] == [("a", (1.0, None))]
    assert reader.findings()[0].evidence[0].what == "loss"
    log.rewind(2)
    assert reader.series("loss") == ([1, 2], [3.0, 2.0])
    assert len(reader.epochs()) == 1
    assert reader.findings() == []
    assert list(reader.measurements()) == []
    assert reader.detail("confusion") is None
    log.close()


PLACES = st.tuples(st.integers(1, 4), st.sampled_from(["gradient-norm", "update-ratio"]))
VALUES = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)
LAYERS = st.integers(1, 3).flatmap(
    lambda width: st.dictionaries(
        st.sampled_from(["", "a", "b.0", 'a"', "層"]), st.tuples(*[VALUES] * width), min_size=1
    )
)


@given(st.dictionaries(PLACES, LAYERS, max_size=6), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_measurements_come_back_as_they_went(
    tmp_path_factory: pytest.TempPathFactory, seen: dict[tuple[int, str], dict[str, tuple[float | None, ...]]], cut: int
) -> None:
    """Every layer of every probe at every step, in however many pieces they are written."""
    rows = [
        Measurement(probe=probe, step=step, unit="1", layer=layer, values=values)
        for (step, probe), layers in seen.items() for layer, values in layers.items()
    ]  # fmt: skip
    log = Log(tmp_path_factory.mktemp("measured") / "run.sqlite")
    for step in (range(1, cut + 1), range(cut + 1, 5)):
        log.measurements(row for row in rows if row.step in step)
    log.close()
    found = list(Reader(log._path).measurements())
    assert sorted(found, key=str) == sorted(rows, key=str)


def test_a_step_of_many_layers_costs_four_bytes_each(tmp_path: Path) -> None:
    """Sixty layers and twenty probes at fifty steps: their numbers, and little beside them."""
    path = tmp_path / "run.sqlite"
    log = Log(path)
    names = [f"features.{number}.block.convolution.weight" for number in range(60)]
    for step in range(50):
        log.measurements(
            Measurement(probe=f"probe-{probe}", step=step, unit="share", values=(0.5,), layer=name)
            for probe in range(20) for name in names
        )  # fmt: skip
    log.close()
    assert path.stat().st_size < 2.5 * 4 * 50 * 20 * 60


def test_a_number_beyond_float32_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    log = Log(path)
    log.measurements([Measurement(probe="p", step=1, unit="", values=(1e39, -1e39, 3.4e38), layer="")])
    log.close()
    (row,) = Reader(path).measurements()
    assert row.values[:2] == (None, None)
    assert row.values[2] == pytest.approx(3.4e38)
