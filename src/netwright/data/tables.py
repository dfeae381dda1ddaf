"""Tables: CSV in its many forms and Parquet, as cells that a network can take.

A column is a number, a category or a date. Dates are ISO (2016-07, 2016-07-01, 2016-07-01 12:30); one becomes several
numbers, named after it: years since 2000 and the place in the year, the week and the day as sine and cosine, each only
where it varies in training. Missing is an empty cell, ``?``, ``NA``, ``N/A``, ``NaN`` or ``null``; a missing category
is the category ``?``. Leading lines that begin with ``|``, ``#`` or ``%`` are comments.

Left out, and said so in ``Examples.skipped``: texts of which most are distinct (names, identifiers), columns without a
single value, and an unnamed first column that only counts the rows. ``data.types`` overrules all of this.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from itertools import count as counting
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from netwright.data.examples import Array, Examples, Part, Task
from netwright.errors import DataError, MissingExtraError, nearest, setting, unknown_name
from netwright.preprocess import Column, TablePreprocess
from netwright.recipe.schema import Data

MISSING = frozenset(("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL"))
MISSING_CATEGORY = "?"
DELIMITERS = (",", ";", "\t", "|")  # and runs of spaces, where none of these divides the lines
COMMENTS = ("|", "#", "%")
SAMPLE_LINES = 200  # looked at for delimiter and header
CHUNK_ROWS = 500  # read at a time: more would leave the processor's cache (measured: 2000 take twice as long a row)
LOOK_ROWS = 50  # of a column of texts, enough to see that it is none of numbers
DISTINCT_SHARE, DISTINCT_TEXTS = 0.5, 50  # more distinct texts than both: an identifier, not a category
MOST_CATEGORIES = 1000  # of one column, the most frequent; each is an input of the network
CLASS_VALUES, ROWS_A_CLASS = 20, 3  # a target with more distinct integers, or fewer rows each, is a value
FEW_DIGITS = 1e-5  # deviation over mean below which float32 keeps fewer than three digits of a number
LARGEST_FIELD = 1 << 20
PARQUET = b"PAR1"  # what such a file begins with

Floats = npt.NDArray[np.float64]
Dates = npt.NDArray[np.datetime64]
Way = Literal["auto", "number", "text", "skip"]
Missing = Literal["stop", "mean"]


# ------------------------------------------------------------------------------------------------ reading


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """The table in a ``.csv``, ``.tsv``, ``.txt``, ``.data`` (also ``.gz``) or ``.parquet`` file.

    ``like``: the training examples; their columns are looked up by name, or by place where the file has no header.
    """
    if like is None:
        return _training(options, path)
    record = like.preprocess[0]
    if not isinstance(record, TablePreprocess):
        raise DataError(str(path), "a table", f"what training has read: {like.kind}")
    inputs = _sources(record)
    ways: dict[str, Way] = dict(inputs)
    ways |= dict.fromkeys(like.targets, "auto" if like.task == "classification" else "number")
    table = _table(_Source.of(path), options.header, ways)
    cells, lacking = _cells_like(table, record)
    _stop_at_missing(table, lacking, options.missing)
    chosen = [table.column(name) for name in like.targets]
    notes: list[str] = []
    targets, _ = _targets(table, like.targets, chosen, like.task, like, notes)
    return dataclasses.replace(like, parts={"train": Part((cells,), targets)}, skipped=tuple(notes))


def rows(
    source: Path | str | IO[str] | IO[bytes],
    preprocess: TablePreprocess,
    *,
    missing: Missing = "stop",
    header: bool | Literal["auto"] = "auto",
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Raw cells (N, columns) of a file or stream to predict for, and the place of each row (``line 2``).

    Columns are found by name where there is a header (others are passed over, the targets too), else by place.
    ``missing``: as in training; with ``"mean"`` a missing number is NaN, which preprocessing takes for the mean.
    """
    table = _table(_Source.of(source), header, dict(_sources(preprocess)))
    cells, lacking = _cells_like(table, preprocess)
    _stop_at_missing(table, lacking, missing)
    return cells, table.places()


def _training(options: Data, path: Path) -> Examples:
    ways: dict[str, Way] = {
        name: "number" if kind == "number" else "skip" if kind == "ignore" else "text"
        for name, kind in options.types.items()
    }
    table = _table(_Source.of(path), options.header, ways, every=True)
    for name in options.types:
        if name not in table.names:
            raise unknown_name(f"{path}: data.types", name, table.names, DataError)
    names = _target_names(options, table)
    notes: list[str] = []
    columns: list[Column] = []
    blocks: list[npt.NDArray[np.float32]] = []
    lacking: dict[str, npt.NDArray[np.bool_]] = {}
    for name in table.names:
        if name in names or options.types.get(name) == "ignore":
            continue
        reason = "" if name in options.types else _useless(table, name)
        if reason:
            notes.append(f"{path}: column {name!r} left out: {reason}")
            continue
        made, values = _inputs(table, name, options, notes)
        lack = np.isnan(values[:, 0])
        if lack.any():
            lacking[name] = lack
        columns += made
        blocks.append(values)
    if not columns:
        raise DataError(str(path), f"no input column beside the target {', '.join(names)}", "at least one", *notes[:1])
    _stop_at_missing(table, lacking, options.missing)
    chosen = [table.column(name) for name in names]
    task = _task(table, names, chosen, options)
    targets, classes = _targets(table, names, chosen, task, None, notes)
    return Examples(
        kind="table", task=task, parts={"train": Part((np.concatenate(blocks, axis=1),), targets)},
        preprocess=(TablePreprocess(columns=tuple(columns)),), classes=classes, targets=names, skipped=tuple(notes),
    )  # fmt: skip


def _target_names(options: Data, table: _Table) -> tuple[str, ...]:
    usable = [name for name in table.names if options.types.get(name) != "ignore"]
    if options.target == "auto":
        while usable and _empty_and_unnamed(table, usable[-1]):
            usable.pop()
        if len(usable) < 2:
            raise DataError(
                table.name,
                f"{len(usable)} column",
                "inputs and a target",
                "a file whose cells are divided by a comma, semicolon, tab or |",
            )
        return (usable[-1],)
    names = (options.target,) if options.target in usable else tuple(part.strip() for part in options.target.split(","))
    for name in names:
        if name not in usable:
            raise unknown_name(f"{table.name}: data.target", name, usable, DataError)
    if len(set(names)) != len(names):
        raise DataError(f"{table.name}: data.target", options.target, "each column once")
    return names


def _empty_and_unnamed(table: _Table, name: str) -> bool:
    cells = table.column(name)
    return name in table.unnamed and cells.kind == "number" and bool(np.isnan(cells.numbers).all())


def _useless(table: _Table, name: str) -> str:
    cells = table.column(name)
    if cells.kind == "number":
        if np.isnan(cells.numbers).all():
            return "it has no value"
        counts = np.array_equal(cells.numbers - cells.numbers[0], np.arange(table.count)) and table.count > 2
        named_so = name in table.unnamed or name.lower() in ("id", "index", "row", "unnamed: 0")
        return "it counts the rows" if counts and named_so and name == table.names[0] else ""
    if cells.kind == "date":
        return ""
    distinct = len(cells.texts)
    if distinct > DISTINCT_TEXTS and distinct > DISTINCT_SHARE * table.count:
        return f"{distinct} distinct texts in {table.count} rows ({setting(f'data.types.{name}', 'category')} keeps it)"
    return ""


# ------------------------------------------------------------------------------------------------ inputs


def _inputs(table: _Table, name: str, options: Data, notes: list[str]) -> tuple[list[Column], npt.NDArray[np.float32]]:
    """The columns that a table's column becomes in training, and their raw cells (N, columns)."""
    cells = table.column(name)
    wanted = options.types.get(name)
    if wanted in ("date", "category"):
        cells = _as_dates(table, name, cells) if wanted == "date" else _as_texts(cells)
    if cells.kind == "number":
        values = cells.numbers
        known = values[~np.isnan(values)]
        spread, centre = (float(known.std()), abs(float(known.mean()))) if len(known) else (0.0, 0.0)
        if 0 < spread < FEW_DIGITS * centre:
            notes.append(
                f"{table.name}: column {name!r}: float32 keeps few digits of numbers near {centre:g} that vary by "
                f"{spread:g}; subtract the smallest, or give a date as a date"
            )
        return [Column(name=name, kind="number")], values[:, None].astype(np.float32)
    if cells.kind == "date":
        features = date_features(cells.dates)
        kept = _varying(cells.dates, features)
        columns = [Column(name=f"{name}:{feature}", kind="date") for feature in kept]
        return columns, np.stack([features[feature] for feature in kept], 1).astype(np.float32)
    categories = _categories(table, name, cells, notes)
    return [Column(name=name, kind="category", categories=categories)], _codes(cells, categories)


def _categories(table: _Table, name: str, cells: _Cells, notes: list[str]) -> tuple[str, ...]:
    if len(cells.texts) <= MOST_CATEGORIES:
        return tuple(sorted(cells.texts))
    counts = np.bincount(cells.codes, minlength=len(cells.texts))
    frequent = sorted(range(len(cells.texts)), key=lambda code: (-counts[code], cells.texts[code]))[:MOST_CATEGORIES]
    notes.append(
        f"{table.name}: column {name!r}: {len(cells.texts)} categories, of which the {MOST_CATEGORIES} most frequent "
        f"are told apart"
    )
    return tuple(sorted(cells.texts[code] for code in frequent))


def _codes(cells: _Cells, categories: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """(N, 1): the place of each text among ``categories``, −1 if it is not there."""
    places = {text: place for place, text in enumerate(categories)}
    table = np.asarray([places.get(text, -1) for text in cells.texts], np.float32)
    return table[cells.codes][:, None]


def _sources(record: TablePreprocess) -> dict[str, Way]:
    """The columns of a file that the record's columns are made of, in order, and how to read them."""
    return {_source_name(column): "number" if column.kind == "number" else "text" for column in record.columns}


def _source_name(column: Column) -> str:
    return column.name.rpartition(":")[0] if column.kind == "date" else column.name


def _cells_like(
    table: _Table, record: TablePreprocess
) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.bool_]]]:
    """Raw cells (N, columns) as the record has them, and where numbers are missing."""
    raw = np.empty((table.count, len(record.columns)), np.float32)
    features: dict[str, dict[str, Floats]] = {}
    lacking: dict[str, npt.NDArray[np.bool_]] = {}
    for place, column in enumerate(record.columns):
        name = _source_name(column)
        cells = table.column(name)
        if column.kind == "category":
            raw[:, place] = _codes(_as_texts(cells), column.categories)[:, 0]
            continue
        if column.kind == "date":
            if name not in features:
                features[name] = date_features(_as_dates(table, name, cells).dates)
            values = features[name][column.name.rpartition(":")[2]]
        else:
            values = _as_numbers(table, name, cells)
        raw[:, place] = values
        if np.isnan(values).any():
            lacking[name] = np.isnan(values)
    return raw, lacking


def _stop_at_missing(table: _Table, lacking: Mapping[str, npt.NDArray[np.bool_]], missing: Missing) -> None:
    if not lacking or missing == "mean":
        return
    name, lack = min(lacking.items(), key=lambda item: int(item[1].argmax()))
    total = sum(int(one.sum()) for one in lacking.values())
    others = f", in the columns {', '.join(lacking)}" if len(lacking) > 1 else ""
    raise DataError(
        f"{table.name}: column {name!r}, {table.place(int(lack.argmax()))}",
        f"a missing number ({total} in all{others})", "a number", "--set data.missing=mean",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ targets


def _task(table: _Table, names: tuple[str, ...], chosen: Sequence[_Cells], options: Data) -> Task:
    if options.task != "auto":
        return options.task
    for name, cells in zip(names, chosen, strict=True):
        if cells.kind == "date":
            raise DataError(
                f"{table.name}: target {name!r}", "dates", "numbers or classes", "--target COLUMN, another one"
            )
    if len(names) > 1:
        texts = [name for name, cells in zip(names, chosen, strict=True) if cells.kind != "number"]
        if texts:
            raise DataError(
                f"{table.name}: data.target", f"several targets with texts in {', '.join(map(repr, texts))}",
                "one target with classes, or several with numbers", setting("data.target", texts[0]),
            )  # fmt: skip
        both = all(np.isin(cells.numbers, (0, 1)).all() for cells in chosen if cells.kind == "number")
        return "multi-label" if both else "regression"
    if chosen[0].kind == "text" or options.types.get(names[0]) == "category":
        return "classification"
    numbers = chosen[0].numbers
    if options.types.get(names[0]) == "number" or (numbers != np.rint(numbers)).any():
        return "regression"
    distinct = len(np.unique(numbers))
    few = distinct <= 2 or (distinct <= CLASS_VALUES and table.count >= ROWS_A_CLASS * distinct)
    return "classification" if few else "regression"


def _targets(
    table: _Table, names: tuple[str, ...], chosen: Sequence[_Cells], task: Task, like: Examples | None,
    notes: list[str],
) -> tuple[Array, tuple[str, ...]]:  # fmt: skip
    """Targets as a ``Part`` keeps them, and the names of classes or labels."""
    for name, cells in zip(names, chosen, strict=True):
        lack = cells.missing()
        if lack.any():
            raise DataError(
                f"{table.name}: target {name!r}, {table.place(int(lack.argmax()))}",
                f"a missing target ({int(lack.sum())} in all)", "a value", "leave those rows out",
            )  # fmt: skip
    if task == "classification":
        if len(names) > 1:
            raise DataError(f"{table.name}: data.target", ", ".join(names), "one target for a classification")
        return _classes(table, names[0], chosen[0], like, notes)
    values = np.stack([_as_numbers(table, name, cells) for name, cells in zip(names, chosen, strict=True)], 1)
    if task == "multi-label" and not np.isin(values, (0, 1)).all():
        row, column = (int(place) for place in np.argwhere(~np.isin(values, (0, 1)))[0])
        raise DataError(
            f"{table.name}: target {names[column]!r}, {table.place(row)}", f"{values[row, column]:g}", "0 or 1",
            "--set data.task=regression",
        )  # fmt: skip
    return values.astype(np.float32), names if task == "multi-label" else ()


def _classes(
    table: _Table, name: str, cells: _Cells, like: Examples | None, notes: list[str]
) -> tuple[Array, tuple[str, ...]]:
    numbered = cells.kind == "number" and (like is None or all(map(_number_like, like.classes)))
    codes: npt.NDArray[Any]
    if numbered:
        distinct, codes = np.unique(cells.numbers, return_inverse=True)
        texts = tuple(map(_number_text, distinct.tolist()))
    else:
        cells = _as_texts(cells)
        texts, codes = cells.texts, cells.codes
    if like is None and len(texts) > DISTINCT_TEXTS and len(texts) > DISTINCT_SHARE * table.count:
        raise DataError(
            f"{table.name}: target {name!r}", f"{len(texts)} distinct values in {table.count} rows", "classes",
            "--set data.task=regression" if numbered else "--target COLUMN, another one",
        )  # fmt: skip
    classes = like.classes if like is not None else texts if numbered else tuple(sorted(texts))
    places = {text: place for place, text in enumerate(classes)}
    renamed = _without_full_stops(texts, classes)
    if renamed:
        first, meant = min(renamed.items())
        said = f"{first!r} is taken for {meant!r}, as in every row: a full stop apart"
        notes.append(f"{table.name}: target {name!r}: {said}")
        texts = tuple(renamed[text] for text in texts)
    unknown = [code for code, text in enumerate(texts) if text not in places]
    if unknown:
        wrong = np.isin(codes, unknown)
        row = int(wrong.argmax())
        seen = texts[int(codes[row])]
        near = nearest(seen, classes)
        raise DataError(
            f"{table.name}: target {name!r}, {table.place(row)}",
            f"the class {seen!r}, which training has not ({int(wrong.sum())} rows with such classes)",
            f"one of {', '.join(classes[:20])}", f"write {near!r}" if near else "rows of it in the training part",
        )  # fmt: skip
    return np.asarray([places[text] for text in texts], np.int64)[codes.reshape(-1)], classes


def _without_full_stops(texts: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Labels as training writes them, where one full stop at the end of every one is all the difference; else {}.

    Published test files are so (UCI's adult.test). Labels of both kinds in one file are no such habit but a fault.
    """
    for change in (lambda text: text[:-1] if text.endswith(".") else "", lambda text: f"{text}."):
        renamed = {text: change(text) for text in texts}
        if set(renamed.values()) <= set(classes) and not set(texts) & set(classes):
            return renamed
    return {}


# ------------------------------------------------------------------------------------------------ cells


@dataclasses.dataclass(frozen=True)
class _Cells:
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
class _Table:
    """A file's columns; those that nobody asked for are not there."""

    name: str
    names: tuple[str, ...]
    cells: Mapping[str, _Cells]
    count: int
    unnamed: frozenset[str]
    lines: Callable[[], Iterator[int]] | None = None  # of the rows of a text file

    def column(self, name: str) -> _Cells:
        return self.cells[name]

    def place(self, row: int) -> str:
        if self.lines is None:
            return f"row {row + 1}"
        return f"line {next(islice(self.lines(), row, None))}"

    def places(self) -> tuple[str, ...]:
        if self.lines is None:
            return tuple(f"row {row + 1}" for row in range(self.count))
        return tuple(f"line {line}" for line in islice(self.lines(), self.count))


def _as_texts(cells: _Cells) -> _Cells:
    if cells.kind == "text":
        return cells
    values: npt.NDArray[Any] = cells.numbers if cells.kind == "number" else cells.dates
    distinct, codes = np.unique(values, return_inverse=True)
    texts = [
        MISSING_CATEGORY
        if value is None or value != value
        else _number_text(value)
        if isinstance(value, float)
        else str(value)
        for value in distinct.tolist()
    ]
    return _Cells("text", codes=codes.reshape(-1).astype(np.int32), texts=tuple(texts))


def _as_numbers(table: _Table, name: str, cells: _Cells) -> Floats:
    if cells.kind == "number":
        values = cells.numbers
    else:
        cells = _as_texts(cells)
        parsed = [_number(text) for text in cells.texts]
        bad = [code for code, value in enumerate(parsed) if value is None]
        if bad:
            wrong = np.isin(cells.codes, bad)
            row = int(wrong.argmax())
            raise _no_number(f"{table.name}: column {name!r}, {table.place(row)}", cells.texts[int(cells.codes[row])])
        values = np.asarray(parsed, np.float64)[cells.codes]
    return values


def _as_dates(table: _Table, name: str, cells: _Cells) -> _Cells:
    if cells.kind == "date":
        return cells
    cells = _as_texts(cells)
    dates = parse_dates(cells.texts)
    if dates is None:
        bad = [code for code, text in enumerate(cells.texts) if parse_dates((text,)) is None]
        row = int(np.isin(cells.codes, bad).argmax())
        raise DataError(
            f"{table.name}: column {name!r}, {table.place(row)}", repr(cells.texts[int(cells.codes[row])]),
            "a date such as 2016-07-01 or 2016-07-01 12:30", setting(f"data.types.{name}", "category"),
        )  # fmt: skip
    return _Cells("date", dates=dates[cells.codes])


def _number(text: str) -> float | None:
    try:
        return float("nan") if text in MISSING else float(text)
    except ValueError:
        return None


def _number_like(text: str) -> bool:
    return "_" not in text and _number(text) is not None


def _number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _no_number(where: str, text: str) -> DataError:
    return DataError(where, repr(text), "a number")


# ------------------------------------------------------------------------------------------------ dates

_DATE = re.compile(
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
        match = _DATE.fullmatch(text.strip())
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


def _varying(dates: Dates, features: Mapping[str, Floats]) -> list[str]:
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


# ------------------------------------------------------------------------------------------------ files


@dataclasses.dataclass(frozen=True)
class _Source:
    """A text that can be read more than once, or a Parquet file."""

    name: str
    path: Path | None = None
    text: str = ""
    parquet: Path | io.BytesIO | None = None

    @classmethod
    def of(cls, source: Path | str | IO[str] | IO[bytes]) -> _Source:
        if isinstance(source, str | Path):
            path = Path(source)
            if not path.is_file():
                raise DataError(str(path), "no such file" if not path.exists() else "a folder", "a table")
            return cls(str(path), path, parquet=path if _is_parquet(path) else None)
        name = str(getattr(source, "name", "") or "the table").replace("<stdin>", "standard input")
        content = source.read()
        if isinstance(content, bytes):
            if content.startswith(PARQUET):
                return cls(name, parquet=io.BytesIO(content))
            with _readable(name):
                content = content.decode("utf-8-sig")
        return cls(name, None, content.removeprefix("\ufeff"))

    @contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        if self.path is None:
            yield iter(io.StringIO(self.text, newline=""))
            return
        with _readable(self.name), self.path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if start[:2] == b"\x1f\x8b" else file
            encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            with io.TextIOWrapper(stream, encoding, newline="") as text:
                yield text


def _is_parquet(path: Path) -> bool:
    """By its content; a damaged one by its name, so that the error speaks of Parquet."""
    try:
        with path.open("rb") as file:
            start = file.read(len(PARQUET))
    except OSError:  # which reading it as text will explain
        return False
    return start == PARQUET or path.suffix.lower() in (".parquet", ".pq")


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        shown = error.object[error.start : error.start + 1].hex()
        raise DataError(
            name, f"text that is not UTF-8 (the byte 0x{shown})", "UTF-8",
            "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
        ) from error  # fmt: skip
    except csv.Error as error:
        raise DataError(
            name, f"text that is no table ({error})", "rows of cells", "a look for an open quote"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(name, f"a file that cannot be read ({error})", "a table") from error


def _table(source: _Source, header: bool | Literal["auto"], ways: Mapping[str, Way], every: bool = False) -> _Table:
    """The columns named in ``ways`` (``every``: all, those not named as they seem)."""
    if source.parquet is not None:
        return _parquet(source, ways, every)
    layout = _layout(source, header, () if every else tuple(ways))
    names = layout.names if every else _matched(source, layout, tuple(ways))
    plan: list[Way] = [ways.get(name, "auto" if every else "skip") if name else "skip" for name in names]
    cells, count, first_line = _columns(source, layout, plan)
    if count == 0:
        raise DataError(source.name, "no rows", "at least one")
    named = {name: one for name, one in zip(names, cells, strict=True) if one is not None}
    if every:
        named = {name: _dated(one, ways.get(name)) for name, one in named.items()}
    _stop_at_infinite(source, layout, named)
    numbers = (lambda: counting(first_line)) if first_line is not None else (lambda: _line_numbers(source, layout))
    return _Table(source.name, tuple(names), named, count, layout.unnamed, numbers)


def _dated(cells: _Cells, way: Way | None) -> _Cells:
    """Texts that nobody gave a type and that are all dates, as dates."""
    if way is not None or cells.kind != "text":
        return cells
    dates = parse_dates(cells.texts)
    return cells if dates is None else _Cells("date", dates=dates[cells.codes])


def _stop_at_infinite(source: _Source, layout: _Layout, cells: Mapping[str, _Cells]) -> None:
    for name, one in cells.items():
        if one.kind == "number":
            with np.errstate(over="ignore"):
                wrong = np.isinf(one.numbers.astype(np.float32))
            if wrong.any():
                line = next(islice(_line_numbers(source, layout), int(wrong.argmax()), None))
                raise DataError(
                    f"{source.name}: column {name!r}, line {line}",
                    f"{one.numbers[wrong][0]:g} ({int(wrong.sum())} such numbers)", "a number that float32 holds",
                )  # fmt: skip


def _matched(source: _Source, layout: _Layout, wanted: tuple[str, ...]) -> list[str]:
    """For each column of the file the wanted name it stands for, or ``""``."""
    found = [name.strip() for name in layout.names]
    by_place = all(re.fullmatch(r"column_[1-9]\d*", name) for name in wanted)
    if layout.header and not (by_place and not set(wanted) & set(found)):
        for name in wanted:
            if name not in found:
                near = nearest(name, found)
                raise DataError(
                    source.name, f"no column {name!r}" + (f", but {near!r}" if near else ""),
                    f"the columns {', '.join(wanted)}", f"rename {near!r}" if near else "a header with these names",
                )  # fmt: skip
        return [name if name in wanted else "" for name in found]
    width = len(found)
    if by_place and all(int(name.removeprefix("column_")) <= width for name in wanted):
        return [f"column_{i + 1}" if f"column_{i + 1}" in wanted else "" for i in range(width)]
    if width == len(wanted):
        return list(wanted)
    raise DataError(
        source.name,
        f"{width} columns without a header",
        f"{len(wanted)}: {', '.join(wanted)}",
        "a first row with the names",
    )


# ------------------------------------------------------------------------------------------------ text


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How a text file is divided: ``skip`` leading lines, then a header or not, then rows."""

    delimiter: str
    skip: int
    header: bool
    names: tuple[str, ...]
    unnamed: frozenset[str]


def _layout(source: _Source, header: bool | Literal["auto"], known: tuple[str, ...]) -> _Layout:
    with source.lines() as text:
        lines = list(islice(text, SAMPLE_LINES))
    if not any(line.strip() for line in lines):
        raise DataError(source.name, "an empty file", "a table")
    with _readable(source.name):
        delimiter, width = _divided(lines)
        skip = 0
        while skip < len(lines) - 1 and _is_comment(lines[skip], delimiter, width):
            skip += 1
        sample = [row for row in _reader(iter(lines[skip:]), delimiter) if _filled(row)]
    if not sample:
        raise DataError(source.name, "lines without a cell", "a table")
    first, rest = [cell.strip() for cell in sample[0]], [row for row in sample[1:] if len(row) == len(sample[0])]
    first[0] = first[0].lstrip("# ") if lines[skip].startswith("#") else first[0]
    if header == "auto":
        header = bool(set(_named(first)) & set(known)) or _names_above_numbers(first, rest)
        header = header or (not known and _never_again(first, rest))
    if len(first) != width:
        raise DataError(
            f"{source.name}: line {skip + 1}", f"{len(first)} cells", f"{width} as in the other lines",
            "a name for each column" if header else "quotes around a cell that holds the delimiter",
        )  # fmt: skip
    if not header:
        return _Layout(delimiter, skip, False, tuple(f"column_{i + 1}" for i in range(width)), frozenset())
    names = _named(first)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = ", ".join(str(i + 1) for i, name in enumerate(names) if name == twice[0])
        raise DataError(
            f"{source.name}: header", f"the name {twice[0]!r} for the columns {places}", "a name for each column",
            "rename one, or --set data.header=false if the first row is data",
        )  # fmt: skip
    unnamed = frozenset(name for name, cell in zip(names, first, strict=True) if not cell)
    return _Layout(delimiter, skip, True, tuple(names), unnamed)


def _named(first: Sequence[str]) -> list[str]:
    return [name or f"unnamed_{i + 1}" for i, name in enumerate(first)]


def _divided(lines: Sequence[str]) -> tuple[str, int]:
    """The delimiter that divides the lines alike, into cells that look like numbers, and the number of cells."""
    best: tuple[tuple[bool, float, float, int], str, int] | None = None
    for delimiter in (*DELIMITERS, " "):
        if delimiter == " " and best is not None and best[0][0]:
            break
        rows = [row for row in _reader(iter(lines), delimiter) if _filled(row)]
        if not rows:
            continue
        width, alike = Counter(map(len, rows)).most_common(1)[0]
        if width < 2:
            continue
        agreement = alike / len(rows)
        cells = [cell.strip() for row in rows if len(row) == width for cell in row]
        plain = sum(_is_plain(cell, delimiter) for cell in cells) / len(cells)
        score = (agreement >= 0.5, round(plain, 2), agreement, width)
        if best is None or score > best[0]:
            best = score, delimiter, width
    return (best[1], best[2]) if best else (",", 1)


def _is_plain(cell: str, delimiter: str = ",") -> bool:
    """A number, a date or nothing."""
    if delimiter == ";":
        cell = cell.replace(",", ".")
    return _number_like(cell) or _DATE.fullmatch(cell) is not None


def _is_comment(line: str, delimiter: str, width: int) -> bool:
    if not line.strip():
        return True
    mark = line.lstrip()[0]
    if mark not in COMMENTS or mark == delimiter:
        return False
    cells: list[str] = next(iter(_reader(iter([line]), delimiter)), [])
    return mark != "#" or len(cells) != width


def _names_above_numbers(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether a text stands above a column of nothing but numbers or dates."""
    columns = [{cell.strip() for cell in column} for column in zip(*rest)]
    below = [all(map(_is_plain, column)) and not column <= MISSING for column in columns]
    return any(under and not _is_plain(cell) for cell, under in zip(first, below))


def _never_again(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether a first row without a number has texts that do not come again in their columns: names, most likely."""
    if len(set(first)) < len(first) or any(cell and _is_plain(cell) for cell in first):
        return False
    return not any(cell == row[place].strip() for row in rest for place, cell in enumerate(first))


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    """A reader of rows. Runs of spaces count as one where the space divides, and never at a line's ends."""
    if delimiter == " ":
        lines = (line.replace("\t", " ").strip() for line in lines)
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True)


def _filled(row: Sequence[str]) -> bool:
    return len(row) > 1 or (len(row) == 1 and bool(row[0].strip()))


@contextmanager
def _body(source: _Source, layout: _Layout) -> Iterator[tuple[Iterator[str], int]]:
    """The lines of data, and how many lines stand before them."""
    csv.field_size_limit(LARGEST_FIELD)
    with source.lines() as text, _readable(source.name):
        for _ in range(layout.skip):
            next(text)
        before = layout.skip
        if layout.header:
            reader = _reader(text, layout.delimiter)
            while not _filled(next(reader)):
                pass
            before += reader.line_num
        yield text, before


def _line_numbers(source: _Source, layout: _Layout) -> Iterator[int]:
    with _body(source, layout) as (text, before):
        reader = _reader(text, layout.delimiter)
        for row in reader:
            if _is_row(row, layout):
                yield before + reader.line_num


def _is_row(row: Sequence[str], layout: _Layout) -> bool:
    return _filled(row) or (len(row) == 1 == len(layout.names))


def _columns(source: _Source, layout: _Layout, plan: list[Way]) -> tuple[list[_Cells | None], int, int | None]:
    """Every column, the number of rows, and the line of the first where each row is one line.

    A column of numbers that turns out to hold a text costs one more reading.
    """
    while True:
        collectors = [_collector(way, layout) for way in plan]
        count, regular = 0, True
        with _body(source, layout) as (text, before):
            while lines := list(islice(text, CHUNK_ROWS)):
                if count and _numbers_at_once(lines, layout, collectors):
                    count += len(lines)
                    continue
                joined = "".join(lines)
                columns = _divided_at_once(lines, joined, layout)
                if columns is None:
                    columns, regular = _divided_by_rows(lines, text, source, layout, count), False
                    if not columns:
                        continue
                for number, (collector, column) in enumerate(zip(collectors, columns, strict=True)):
                    if collector is not None and not collector.add(column, count == 0, "_" in joined):
                        collectors[number] = None
                        if plan[number] == "number":
                            raise _bad_number(source, layout, number, count, column)
                        plan[number] = "text"
                count += len(columns[0])
        if all(collector is not None or way == "skip" for collector, way in zip(collectors, plan)):
            cells = [collector.cells() if collector else None for collector in collectors]
            return cells, count, before + 1 if regular else None


def _numbers_at_once(lines: Sequence[str], layout: _Layout, collectors: Sequence[_Numbers | _Texts | None]) -> bool:
    """Collects lines of nothing but numbers by NumPy's own parser, three times as fast; False: they are not such."""
    if layout.delimiter == " " or not lines[0].strip() or not all(map(_collects_numbers, collectors)):
        return False
    try:
        block = np.loadtxt(lines, delimiter=layout.delimiter, comments=None, ndmin=2)
    except ValueError:
        return False
    if block.shape != (len(lines), len(layout.names)):
        return False
    for collector, column in zip(collectors, block.T, strict=True):
        if isinstance(collector, _Numbers):
            collector.pieces.append(column.copy())
    return True


def _collects_numbers(collector: _Numbers | _Texts | None) -> bool:
    return collector is None or (isinstance(collector, _Numbers) and collector.texts is None)


def _divided_at_once(lines: Sequence[str], joined: str, layout: _Layout) -> Sequence[Sequence[str]] | None:
    """The cells by column, where no line has a quote and each has as many cells as the table; else None."""
    width, delimiter = len(layout.names), layout.delimiter
    if width == 1 or delimiter == " " or '"' in joined or any(line.count(delimiter) != width - 1 for line in lines):
        return None
    joined = joined.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    cells = joined.replace("\n", delimiter).split(delimiter)
    return [cells[column::width] for column in range(width)]


def _divided_by_rows(
    lines: Sequence[str], text: Iterator[str], source: _Source, layout: _Layout, before: int
) -> Sequence[Sequence[str]]:
    """The cells by column, without blank lines; a row may take more than one line of ``text``."""
    width = len(layout.names)
    chunk = islice(_reader(chain(lines, text), layout.delimiter), len(lines))
    rows = [row for row in chunk if _is_row(row, layout)]
    for number, row in enumerate(rows):
        if len(row) != width:
            line = next(islice(_line_numbers(source, layout), before + number, None))
            raise DataError(
                f"{source.name}: line {line}", f"{len(row)} cells", f"{width} as in the other lines",
                "quotes around a cell that holds the delimiter",
            )  # fmt: skip
    return list(zip(*rows))


def _bad_number(source: _Source, layout: _Layout, column: int, before: int, cells: Sequence[str]) -> DataError:
    for number, cell in enumerate(cells):
        text = cell.strip()
        if _Numbers(layout.delimiter).parsed([text], True) is None:
            line = next(islice(_line_numbers(source, layout), before + number, None))
            return _no_number(f"{source.name}: column {layout.names[column]!r}, line {line}", text)
    raise AssertionError("every cell is a number")


class _Numbers:
    """Collects numbers; without a type that was given it turns to texts in the first chunk if it must."""

    def __init__(self, delimiter: str, way: Way = "number") -> None:
        self.delimiter, self.way = delimiter, way
        self.pieces: list[Floats] = []
        self.texts: _Texts | None = None

    def add(self, column: Sequence[str], first: bool, suspicious: bool = False) -> bool:
        """False where a cell is no number and it is too late to turn to texts."""
        if self.texts is not None:
            return self.texts.add(column)
        undecided = self.way == "auto" and first
        hopeless = undecided and self.parsed(column[:LOOK_ROWS], suspicious) is None
        piece = None if hopeless else self.parsed(column, suspicious)
        if piece is not None:
            self.pieces.append(piece)
            return True
        if undecided:
            self.texts = _Texts()
            return self.texts.add(column)
        return False

    def parsed(self, column: Sequence[str], suspicious: bool) -> Floats | None:
        """``suspicious``: there may be an underscore, and ``float`` would take 1_000."""
        if suspicious and any("_" in cell for cell in column):
            return None
        try:
            return np.fromiter(map(float, column), np.float64, len(column))
        except ValueError:
            pass
        cells: Sequence[str] = ["nan" if cell.strip() in MISSING else cell for cell in column]
        for comma in (False, True) if self.delimiter == ";" else (False,):  # 1,5 where the semicolon divides
            try:
                tried = (cell.replace(",", ".") for cell in cells) if comma else cells
                return np.fromiter(map(float, tried), np.float64, len(cells))
            except ValueError:
                continue
        return None

    def cells(self) -> _Cells:
        if self.texts is not None:
            return self.texts.cells()
        return _Cells("number", numbers=np.concatenate(self.pieces) if self.pieces else np.empty(0))


class _Texts:
    """Collects texts as codes; spaces at the ends do not count, and all that is missing is one text."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}  # of the cells as they stand in the file
        self.texts: dict[str, int] = {}
        self.pieces: list[npt.NDArray[np.int32]] = []

    def add(self, column: Sequence[str], first: bool = False, suspicious: bool = False) -> bool:
        for cell in set(column).difference(self.codes):
            text = cell.strip()
            text = MISSING_CATEGORY if text in MISSING else text
            self.codes[cell] = self.texts.setdefault(text, len(self.texts))
        self.pieces.append(np.fromiter(map(self.codes.__getitem__, column), np.int32, len(column)))
        return True

    def cells(self) -> _Cells:
        return _Cells(
            "text", codes=np.concatenate(self.pieces) if self.pieces else np.empty(0, np.int32), texts=tuple(self.texts)
        )


def _collector(way: Way, layout: _Layout) -> _Numbers | _Texts | None:
    if way == "skip":
        return None
    return _Texts() if way == "text" else _Numbers(layout.delimiter, way)


# ------------------------------------------------------------------------------------------------ Parquet


def _parquet(source: _Source, ways: Mapping[str, Way], every: bool) -> _Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(f"reading {source.name}", extra="parquet") from error
    try:
        file = parquet.ParquetFile(source.parquet)
        names = tuple(file.schema_arrow.names)
        for name in () if every else ways:
            if name not in names:
                raise unknown_name(source.name, name, names, DataError)
        wanted = [name for name in names if ways.get(name, "auto" if every else "skip") != "skip"]
        data = file.read(columns=wanted)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(source.name, f"a file that cannot be read ({error})", "a Parquet file") from error
    if len(set(names)) != len(names):
        raise DataError(source.name, "columns with the same name", "a name for each column")
    if data.num_rows == 0:
        raise DataError(source.name, "no rows", "at least one")
    cells: dict[str, _Cells] = {}
    for name in wanted:
        one = _from_arrow(data.column(name), source.name, name)
        way = ways.get(name)
        cells[name] = _as_texts(one) if way == "text" and one.kind == "number" else _dated(one, way)
    table = _Table(source.name, names, cells, data.num_rows, frozenset())
    for name, way in ways.items():
        if way == "number" and name in cells:
            cells[name] = _Cells("number", numbers=_as_numbers(table, name, cells[name]))
    for name, one in cells.items():
        if one.kind == "number" and np.isinf(one.numbers).any():
            row = int(np.isinf(one.numbers).argmax())
            raise DataError(f"{source.name}: column {name!r}, row {row + 1}", "an infinite number", "a finite number")
    return table


def _from_arrow(column: Any, where: str, name: str) -> _Cells:
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind):
        numbers = column.cast(pyarrow.float64()).to_numpy().astype(np.float64)
        return _Cells("number", numbers=numbers)
    if types.is_date(kind) or types.is_timestamp(kind):
        dates = column.cast(pyarrow.timestamp("ms"), safe=False).to_numpy().astype("datetime64[ms]")
        return _Cells("date", dates=dates)
    if types.is_boolean(kind):
        column = compute.if_else(column, "True", "False")
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if not (types.is_string(column.type) or types.is_large_string(column.type)):
        raise DataError(
            f"{where}: column {name!r}", f"values of type {kind}", "numbers, texts, dates or booleans",
            setting(f"data.types.{name}", "ignore"),
        )  # fmt: skip
    collector = _Texts()
    collector.add([cell if cell is not None else "" for cell in column.to_pylist()])
    return collector.cells()
