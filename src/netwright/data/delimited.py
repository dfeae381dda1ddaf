"""Tables as text: which delimiter, comments and header a file has, and its cells, a column at a time."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from netwright.data.cells import DATE, MISSING, MISSING_CATEGORY, Cells, Floats, Way, no_number, number_like
from netwright.errors import DataError
from netwright.records import plural

DELIMITERS = (",", ";", "\t", "|")  # and runs of spaces, where none of these divides the lines
COMMENTS = ("|", "#", "%")
SAMPLE_LINES = 200  # looked at for delimiter and header
CHUNK_ROWS = 500  # read at a time: more would leave the processor's cache (measured: 2000 take twice as long a row)
LOOK_ROWS = 50  # of a column of texts, enough to see that it is none of numbers
LARGEST_FIELD = 1 << 20
PARQUET, GZIP = b"PAR1", b"\x1f\x8b"  # what such files begin with


@dataclasses.dataclass(frozen=True)
class Source:
    """A text that can be read more than once, or a Parquet file."""

    name: str
    path: Path | None = None
    text: str = ""
    parquet: Path | io.BytesIO | None = None

    @classmethod
    def of(cls, source: Path | str | IO[str] | IO[bytes]) -> Source:
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
                content = gzip.decompress(content) if content.startswith(GZIP) else content
                content = content.decode(_encoding(content))
        return cls(name, None, content.removeprefix("\ufeff"))

    @contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        if self.path is None:
            yield iter(io.StringIO(self.text, newline=""))
            return
        with _readable(self.name), self.path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if start.startswith(GZIP) else file
            with io.TextIOWrapper(stream, _encoding(start), newline="") as text:
                yield text


def _encoding(start: bytes) -> str:
    """UTF-8, or UTF-16 as spreadsheets write it, by its first bytes."""
    return "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


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


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a text file is divided: ``skip`` leading lines, then a header or not, then rows."""

    delimiter: str
    skip: int
    header: bool
    names: tuple[str, ...]
    unnamed: frozenset[str]


def layout_of(source: Source, header: bool | Literal["auto"], known: tuple[str, ...]) -> Layout:
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
            f"{source.name}: line {skip + 1}", plural(len(first), "cell"), f"{width} as in the other lines",
            "a name for each column" if header else "quotes around a cell that holds the delimiter",
        )  # fmt: skip
    if not header:
        return Layout(delimiter, skip, False, tuple(f"column_{i + 1}" for i in range(width)), frozenset())
    names = _named(first)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = ", ".join(str(i + 1) for i, name in enumerate(names) if name == twice[0])
        raise DataError(
            f"{source.name}: header", f"the name {twice[0]!r} for the columns {places}", "a name for each column",
            "rename one, or --set data.header=false if the first row is data",
        )  # fmt: skip
    unnamed = frozenset(name for name, cell in zip(names, first, strict=True) if not cell)
    return Layout(delimiter, skip, True, tuple(names), unnamed)


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
    return number_like(cell) or DATE.fullmatch(cell) is not None


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
    csv.field_size_limit(LARGEST_FIELD)
    if delimiter == " ":
        lines = (line.replace("\t", " ").strip() for line in lines)
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True)


def _filled(row: Sequence[str]) -> bool:
    return len(row) > 1 or (len(row) == 1 and bool(row[0].strip()))


@contextmanager
def _body(source: Source, layout: Layout) -> Iterator[tuple[Iterator[str], int]]:
    """The lines of data, and how many lines stand before them."""
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


def line_numbers(source: Source, layout: Layout) -> Iterator[int]:
    with _body(source, layout) as (text, before):
        reader = _reader(text, layout.delimiter)
        for row in reader:
            if _is_row(row, layout):
                yield before + reader.line_num


def _is_row(row: Sequence[str], layout: Layout) -> bool:
    return _filled(row) or (len(row) == 1 == len(layout.names))


def columns_of(source: Source, layout: Layout, plan: list[Way]) -> tuple[list[Cells | None], int, int | None]:
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


def _numbers_at_once(lines: Sequence[str], layout: Layout, collectors: Sequence[_Numbers | Texts | None]) -> bool:
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


def _collects_numbers(collector: _Numbers | Texts | None) -> bool:
    return collector is None or (isinstance(collector, _Numbers) and collector.texts is None)


def _divided_at_once(lines: Sequence[str], joined: str, layout: Layout) -> Sequence[Sequence[str]] | None:
    """The cells by column, where no line has a quote and each has as many cells as the table; else None."""
    width, delimiter = len(layout.names), layout.delimiter
    if width == 1 or delimiter == " " or '"' in joined or any(line.count(delimiter) != width - 1 for line in lines):
        return None
    joined = joined.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    cells = joined.replace("\n", delimiter).split(delimiter)
    return [cells[column::width] for column in range(width)]


def _divided_by_rows(
    lines: Sequence[str], text: Iterator[str], source: Source, layout: Layout, before: int
) -> Sequence[Sequence[str]]:
    """The cells by column, without blank lines; a row may take more than one line of ``text``."""
    width = len(layout.names)
    chunk = islice(_reader(chain(lines, text), layout.delimiter), len(lines))
    rows = [row for row in chunk if _is_row(row, layout)]
    for number, row in enumerate(rows):
        if len(row) != width:
            line = next(islice(line_numbers(source, layout), before + number, None))
            goes_on = any("\n" in cell or "\r" in cell for cell in row)
            raise DataError(
                f"{source.name}: line {line}", plural(len(row), "cell"), f"{width} as in the other lines",
                "a look for an open quote before it" if goes_on else "quotes around a cell that holds the delimiter",
            )  # fmt: skip
    return list(zip(*rows))


def _bad_number(source: Source, layout: Layout, column: int, before: int, cells: Sequence[str]) -> DataError:
    for number, cell in enumerate(cells):
        text = cell.strip()
        if _Numbers(layout.delimiter).parsed([text], True) is None:
            line = next(islice(line_numbers(source, layout), before + number, None))
            return no_number(f"{source.name}: column {layout.names[column]!r}, line {line}", text)
    raise AssertionError("every cell is a number")


class _Numbers:
    """Collects numbers; without a type that was given it turns to texts in the first chunk if it must."""

    def __init__(self, delimiter: str, way: Way = "number") -> None:
        self.delimiter, self.way = delimiter, way
        self.pieces: list[Floats] = []
        self.texts: Texts | None = None

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
            self.texts = Texts()
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

    def cells(self) -> Cells:
        if self.texts is not None:
            return self.texts.cells()
        return Cells("number", numbers=np.concatenate(self.pieces) if self.pieces else np.empty(0))


class Texts:
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

    def cells(self) -> Cells:
        return Cells(
            "text", codes=np.concatenate(self.pieces) if self.pieces else np.empty(0, np.int32), texts=tuple(self.texts)
        )


def _collector(way: Way, layout: Layout) -> _Numbers | Texts | None:
    if way == "skip":
        return None
    return Texts() if way == "text" else _Numbers(layout.delimiter, way)
