"""Table files of any kind, delimited text or Parquet, as cells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count as counting
from itertools import islice
from typing import Any, Literal

import numpy as np

from netwright.data.cells import Cells, Table, Way, as_numbers, as_texts, parse_dates
from netwright.data.delimited import Layout, Source, Texts, columns_of, layout_of, line_numbers
from netwright.errors import DataError, MissingExtraError, nearest, setting, unknown_name
from netwright.records import plural


def open_table(source: Source, header: bool | Literal["auto"], ways: Mapping[str, Way], every: bool = False) -> Table:
    """The columns named in ``ways`` (``every``: all, those not named as they seem)."""
    if source.parquet is not None:
        return _parquet(source, ways, every)
    layout = layout_of(source, header, () if every else tuple(ways))
    names = layout.names if every else _matched(source, layout, tuple(ways))
    plan: list[Way] = [ways.get(name, "auto" if every else "skip") if name else "skip" for name in names]
    cells, count, first_line = columns_of(source, layout, plan)
    if count == 0:
        raise DataError(source.name, "no rows", "at least one")
    named = {name: one for name, one in zip(names, cells, strict=True) if one is not None}
    if every:
        named = {name: _dated(one, ways.get(name)) for name, one in named.items()}
    _stop_at_infinite(source, layout, named)
    numbers = (lambda: counting(first_line)) if first_line is not None else (lambda: line_numbers(source, layout))
    return Table(source.name, tuple(names), named, count, layout.unnamed, numbers)


def columns_named(wanted: str, names: Sequence[str], where: str) -> tuple[str, ...]:
    """The column of that name, or several with commas; ``*`` stands for any text, in the order of the file."""
    if wanted in names:
        return (wanted,)
    chosen: list[str] = []
    for part in (part.strip() for part in wanted.split(",")):
        pattern = re.compile(".*".join(map(re.escape, part.split("*"))))
        found = [part] if part in names else [name for name in names if "*" in part and pattern.fullmatch(name)]
        if not found:
            raise unknown_name(where, part, names, DataError)
        chosen += found
    if len(set(chosen)) != len(chosen):
        raise DataError(where, wanted, "each column once")
    return tuple(chosen)


def _dated(cells: Cells, way: Way | None) -> Cells:
    """Texts that nobody gave a type and that are all dates, as dates."""
    if way is not None or cells.kind != "text":
        return cells
    dates = parse_dates(cells.texts)
    return cells if dates is None else Cells("date", dates=dates[cells.codes])


def _stop_at_infinite(source: Source, layout: Layout, cells: Mapping[str, Cells]) -> None:
    for name, one in cells.items():
        if one.kind == "number":
            with np.errstate(over="ignore"):
                wrong = np.isinf(one.numbers.astype(np.float32))
            if wrong.any():
                line = next(islice(line_numbers(source, layout), int(wrong.argmax()), None))
                raise DataError(
                    f"{source.name}: column {name!r}, line {line}",
                    f"{one.numbers[wrong][0]:g} ({plural(int(wrong.sum()), 'such number')})",
                    "a number that float32 holds",
                )  # fmt: skip


def _matched(source: Source, layout: Layout, wanted: tuple[str, ...]) -> list[str]:
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
        f"{plural(width, 'column')} without a header",
        f"{len(wanted)}: {', '.join(wanted)}",
        "a first row with the names",
    )


def _parquet(source: Source, ways: Mapping[str, Way], every: bool) -> Table:
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
    cells: dict[str, Cells] = {}
    for name in wanted:
        one = _from_arrow(data.column(name), source.name, name)
        way = ways.get(name)
        cells[name] = as_texts(one) if way == "text" and one.kind == "number" else _dated(one, way)
    table = Table(source.name, names, cells, data.num_rows, frozenset())
    for name, way in ways.items():
        if way == "number" and name in cells:
            cells[name] = Cells("number", numbers=as_numbers(table, name, cells[name]))
    for name, one in cells.items():
        if one.kind == "number" and np.isinf(one.numbers).any():
            row = int(np.isinf(one.numbers).argmax())
            raise DataError(f"{source.name}: column {name!r}, row {row + 1}", "an infinite number", "a finite number")
    return table


def _from_arrow(column: Any, where: str, name: str) -> Cells:
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind):
        numbers = column.cast(pyarrow.float64()).to_numpy().astype(np.float64)
        return Cells("number", numbers=numbers)
    if types.is_date(kind) or types.is_timestamp(kind):
        dates = column.cast(pyarrow.timestamp("ms"), safe=False).to_numpy().astype("datetime64[ms]")
        return Cells("date", dates=dates)
    if types.is_boolean(kind):
        column = compute.if_else(column, "True", "False")
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if not (types.is_string(column.type) or types.is_large_string(column.type)):
        raise DataError(
            f"{where}: column {name!r}", f"values of type {kind}", "numbers, texts, dates or booleans",
            setting(f"data.types.{name}", "ignore"),
        )  # fmt: skip
    collector = Texts()
    collector.add([cell if cell is not None else "" for cell in column.to_pylist()])
    return collector.cells()
