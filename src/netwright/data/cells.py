"""The cells of a table by column: numbers, dates or texts by code, and how one becomes the other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from netwright.errors import DataError, setting

MISSING = frozenset(("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL"))
MISSING_CATEGORY = "?"
Floats = npt.NDArray[np.float64]
Dates = npt.NDArray[np.datetime64]
Way = Literal["auto", "number", "text", "skip"]


@dataclasses.dataclass(frozen=True)
class Cells:
    """One column of a file: numbers (NaN is missing), dates (NaT is missing) or texts by code; the rest is empty."""

    kind: Literal["number", "date", "text"]
    numbers: Floats = dataclasses.field(default_factory=lambda: np.empty(0))
    dates: Dates = dataclasses.field(default_factory=lambda: np.empty(0, "datetime64[ms]"))
    codes: npt.NDArray[np.int32] = dataclasses.field(default_factory=lambda: np.empty(0, np.int32))
    texts: tuple[str, ...] = ()

    def missing(self) -> npt.NDArray[np.bool_]:
        if self.kind == "number":
            return np.isnan(self.numbers)
        if self.kind == "date":
            return np.isnat(self.dates)
        return np.asarray([text == MISSING_CATEGORY for text in self.texts], bool)[self.codes]


@dataclasses.dataclass(frozen=True)
class Table:
    """A file's columns; those that nobody asked for are not there."""

    name: str
    names: tuple[str, ...]
    cells: Mapping[str, Cells]
    count: int
    unnamed: frozenset[str]
    lines: Callable[[], Iterator[int]] | None = None  # of the rows of a text file

    def column(self, name: str) -> Cells:
        return self.cells[name]

    def place(self, row: int) -> str:
        if self.lines is None:
            return f"row {row + 1}"
        return f"line {next(islice(self.lines(), row, None))}"

    def places(self) -> tuple[str, ...]:
        if self.lines is None:
            return tuple(f"row {row + 1}" for row in range(self.count))
        return tuple(f"line {line}" for line in islice(self.lines(), self.count))


def as_texts(cells: Cells) -> Cells:
    if cells.kind == "text":
        return cells
    values: npt.NDArray[Any] = cells.numbers if cells.kind == "number" else cells.dates
    distinct, codes = np.unique(values, return_inverse=True)
    texts = [
        MISSING_CATEGORY
        if value is None or value != value
        else number_text(value)
        if isinstance(value, float)
        else str(value)
        for value in distinct.tolist()
    ]
    return Cells("text", codes=codes.reshape(-1).astype(np.int32), texts=tuple(texts))


def as_numbers(table: Table, name: str, cells: Cells) -> Floats:
    if cells.kind == "number":
        values = cells.numbers
    else:
        cells = as_texts(cells)
        parsed = [_number(text) for text in cells.texts]
        bad = [code for code, value in enumerate(parsed) if value is None]
        if bad:
            wrong = np.isin(cells.codes, bad)
            row = int(wrong.argmax())
            raise no_number(f"{table.name}: column {name!r}, {table.place(row)}", cells.texts[int(cells.codes[row])])
        values = np.asarray(parsed, np.float64)[cells.codes]
    return values


def as_dates(table: Table, name: str, cells: Cells) -> Cells:
    if cells.kind == "date":
        return cells
    cells = as_texts(cells)
    dates = parse_dates(cells.texts)
    if dates is None:
        bad = [code for code, text in enumerate(cells.texts) if parse_dates((text,)) is None]
        row = int(np.isin(cells.codes, bad).argmax())
        raise DataError(
            f"{table.name}: column {name!r}, {table.place(row)}", repr(cells.texts[int(cells.codes[row])]),
            "a date such as 2016-07-01 or 2016-07-01 12:30", setting(f"data.types.{name}", "category"),
        )  # fmt: skip
    return Cells("date", dates=dates[cells.codes])


def _number(text: str) -> float | None:
    try:
        return float("nan") if text in MISSING else float(text)
    except ValueError:
        return None


def number_like(text: str) -> bool:
    return "_" not in text and _number(text) is not None


def number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def no_number(where: str, text: str) -> DataError:
    return DataError(where, repr(text), "a number")


# ------------------------------------------------------------------------------------------------ dates

DATE = re.compile(
    r"(\d{4})[-/](\d{2})(?:[-/](\d{2})(?:[ T](\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)(?:Z|[+-]\d{2}:?\d{2})?)?)?"
)


def parse_dates(texts: Sequence[str]) -> Dates | None:
    """ISO dates as ``datetime64[ms]`` in the time on the wall (an offset is dropped); None if one is no date."""
    parts = []
    some = False
    for text in texts:
        if text in MISSING:
            parts.append("NaT")
            continue
        match = DATE.fullmatch(text.strip())
        if not match:
            return None
        some = True
        year, month, day, time = match.groups()
        parts.append(f"{year}-{month}-{day or '01'}T{(time or '00:00').replace(',', '.')}")
    if not some:
        return None
    try:
        return np.asarray(parts, "datetime64[ms]")
    except ValueError:  # 2016-13, 24:61
        return None


def date_features(dates: Dates) -> dict[str, Floats]:
    """Numbers a network can use: years since 2000, and places in year, week and day on the unit circle.

    A circle has no jump between December and January, Sunday and Monday, or midnight and one minute before.
    """
    year = dates.astype("datetime64[Y]")
    start, end = year.astype("datetime64[ms]"), (year + 1).astype("datetime64[ms]")
    day = dates.astype("datetime64[D]")
    lack = np.isnat(dates)

    def ratio(part: npt.NDArray[np.timedelta64], whole: npt.NDArray[np.timedelta64] | np.timedelta64) -> Floats:
        return np.where(lack, np.nan, part / whole)

    in_year = ratio(dates - start, end - start)
    in_day = ratio(dates - day.astype("datetime64[ms]"), np.timedelta64(86_400_000, "ms"))
    weekday = np.where(lack, np.nan, (day.astype(np.int64) + 3) % 7)  # Monday is 0; 1970 began on a Thursday
    features = {"years": np.where(lack, np.nan, year.astype(np.int64) - 30 + in_year)}
    for name, place in (("year", in_year), ("week", (weekday + in_day) / 7), ("day", in_day)):
        features[f"{name}-sin"], features[f"{name}-cos"] = np.sin(2 * np.pi * place), np.cos(2 * np.pi * place)
    return features


def varying_features(dates: Dates, features: Mapping[str, Floats]) -> list[str]:
    """The features that tell these dates apart; the week only where the dates are finer than months."""
    known = dates[~np.isnat(dates)]
    daily = bool((known != known.astype("datetime64[M]")).any())
    kept = []
    for name, values in features.items():
        circle = name.rpartition("-")[0]
        ranges = [np.ptp(features[f"{circle}-{axis}"][~np.isnat(dates)]) for axis in ("sin", "cos")] if circle else []
        varies = max(ranges) > 1e-6 if ranges else np.ptp(values[~np.isnat(dates)]) > 0
        if varies and (circle != "week" or daily):
            kept.append(name)
    return kept or ["years"]
