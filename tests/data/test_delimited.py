"""Tables as text: every dialect gives the same cells, and any text is a table or an error."""

import csv
import gzip
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tables import SMALL, file, names, raw, table

from netwright.data.tables import read, rows
from netwright.errors import DataError
from netwright.recipe.schema import Data

DIALECTS = {
    "semicolons": SMALL.replace(",", ";"),
    "tabs": SMALL.replace(",", "\t"),
    "bars": SMALL.replace(",", "|"),
    "comma and space": SMALL.replace(",", ", "),
    "runs of spaces": SMALL.replace(",", "   ").replace("\n39", "\n  39"),
    "windows lines": SMALL.replace("\n", "\r\n"),
    "old mac lines": SMALL.replace("\n", "\r"),
    "no last newline": SMALL.rstrip("\n"),
    "blank lines": SMALL.replace("\n", "\n\n") + "\n\n",
    "quotes": "".join(",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in SMALL.splitlines()),
    "byte order mark": "\ufeff" + SMALL,
    "comments": "| made by hand\n# twice\n\n" + SMALL,
    "a hash before the names": "# " + SMALL,
    "other words for missing": SMALL.replace("?", "NA"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_cells(tmp_path: Path, dialect: str) -> None:
    plain = read(Data(), file(tmp_path, SMALL))
    other = read(Data(), file(tmp_path, DIALECTS[dialect], "other.txt"))
    assert table(other) == table(plain)
    assert np.array_equal(raw(other), raw(plain))
    assert np.array_equal(other.parts["train"].targets, plain.parts["train"].targets)


@pytest.mark.parametrize("content", [gzip.compress(SMALL.encode()), SMALL.encode("utf-16")])
def test_compression_and_encoding(tmp_path: Path, content: bytes) -> None:
    examples = read(Data(), file(tmp_path, content))
    assert np.array_equal(raw(examples), raw(read(Data(), file(tmp_path, SMALL, "p.csv"))))
    streamed, places = rows(io.BytesIO(content), table(examples))
    assert np.array_equal(streamed, raw(examples))
    assert places == rows(io.StringIO(SMALL), table(examples))[1]
    with pytest.raises(DataError, match=r"cannot be read|no (rows|column)|a table"):
        rows(io.BytesIO(content[:20]), table(examples))


CELLS = st.one_of(
    st.floats(-1e6, 1e6, width=32).map(repr),
    st.integers(-(10**6), 10**6).map(str),
)


TEXTS = st.sampled_from(["a", "b c", 'say "x"', "two\nlines", "x;y", "x,y", "ü"])


@settings(max_examples=35, deadline=None)
@given(
    st.lists(st.tuples(CELLS, TEXTS, CELLS), min_size=4, max_size=40),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str]], mark: str, quoting: int, end: str
) -> None:
    """Law: a table that the standard library writes comes back, value by value, and so do its line numbers."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=mark, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerow(["n", "t", "y"])
    writer.writerows(cells)
    path = file(tmp_path_factory.mktemp("t"), stream.getvalue())
    examples = read(Data(task="regression", types={"n": "number", "t": "category", "y": "number"}), path)
    number, text = table(examples).columns
    assert np.array_equal(raw(examples)[:, 0], np.array([float(n) for n, _, _ in cells], np.float32))
    assert [text.categories[int(code)] for code in raw(examples)[:, 1]] == [t for _, t, _ in cells]
    assert np.array_equal(examples.parts["train"].targets[:, 0], np.array([float(y) for _, _, y in cells], np.float32))
    assert number.name == "n"
    again, places = rows(io.StringIO(stream.getvalue(), newline=""), table(examples))
    assert np.array_equal(again, raw(examples))
    lines = stream.getvalue().replace("\r\n", "\n")
    ends = itertools.accumulate([1] + [1 + t.count("\n") for _, t, _ in cells])
    assert places == tuple(f"line {line}" for line in list(ends)[1:])
    assert lines.count("\n") == int(places[-1].split()[1])


def test_decimal_commas_where_the_semicolon_divides(tmp_path: Path) -> None:
    examples = read(Data(), file(tmp_path, "a;b;y\n1,5;2;0,25\n-3,25;4;0,5\n1;7;0,125\n"))
    assert raw(examples).tolist() == [[1.5, 2], [-3.25, 4], [1, 7]]
    assert examples.parts["train"].targets.tolist() == [[0.25], [0.5], [0.125]]


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("1,2,3\n4,5,6\n", False),
        ("a,b,c\n4,5,6\n", True),
        ("x,y,z\nx,y,w\nv,y,z\n", False),
        ("colour,shape,kind\nred,round,a\nblue,round,b\nred,flat,a\n", True),
        ("39, State, <=50K\n50, Self, >50K\n38, Private, <=50K\n", False),
        ("2015,2016,name\n1,2,b\n3,4,b\n", False),
    ],
)
def test_whether_the_first_row_holds_names(tmp_path: Path, text: str, header: bool) -> None:
    count = text.count("\n")
    examples = read(Data(), file(tmp_path, text))
    assert len(examples.parts["train"]) == count - header
    assert (names(examples)[0] == "column_1") is not header
    other = read(Data(header=not header, task="classification", types={}), file(tmp_path, text))
    assert len(other.parts["train"]) == count - (not header)


@settings(max_examples=120, deadline=None)
@given(st.text('ab1.,;|\t" \n?-#\0é', max_size=60), st.sampled_from([Data(), Data(header=True), Data(missing="mean")]))
def test_any_text_is_a_table_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, options: Data
) -> None:
    path = file(tmp_path_factory.getbasetemp(), text, "any.csv")
    try:
        examples = read(options, path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    part = examples.parts["train"]
    assert raw(examples).shape == (len(part.targets), len(table(examples).columns))
    cells, places = rows(path, table(examples), missing=options.missing, header=options.header)
    assert np.array_equal(cells, raw(examples), equal_nan=True)
    assert len(set(places)) == len(part)


def test_a_text_far_below_makes_a_column_of_texts(tmp_path: Path) -> None:
    """Types follow the whole file, not its first rows; lines are counted over quoted newlines too."""
    lines = [f"{i % 7},{i % 5},{i}.5" for i in range(1800)]
    lines[1500] = '"three\nlines\nhere",1,7.5'
    path = file(tmp_path, "a,b,y\n" + "\n".join(lines) + "\n")
    number = read(Data(), file(tmp_path, "a,b,y\n" + "\n".join(lines[:1500]), "n.csv"))
    assert [column.kind for column in table(number).columns] == ["number", "number"]
    examples = read(Data(), path)
    assert table(examples).columns[0].categories == ("0", "1", "2", "3", "4", "5", "6", "three\nlines\nhere")
    lines[1700] = "1,2"
    with pytest.raises(DataError, match="line 1704: got 2 cells"):
        read(Data(), file(tmp_path, "a,b,y\n" + "\n".join(lines)))
    lines[1700] = "1,?,2.5"
    with pytest.raises(DataError, match="column 'b', line 1704: got a missing number"):
        read(Data(), file(tmp_path, "a,b,y\n" + "\n".join(lines)))
    lines[1700] = "1,1_000,2.5"
    with pytest.raises(DataError, match="column 'b', line 1704: got '1_000'"):
        read(Data(types={"b": "number"}), file(tmp_path, "a,b,y\n" + "\n".join(lines)))


def test_faults_far_below_in_a_table_of_numbers(tmp_path: Path) -> None:
    """The fast way through lines of nothing but numbers gives way to the one that explains."""
    lines = [f"{i % 7},{i % 5},{i}.5" for i in range(1800)]
    path = file(tmp_path, "a,b,y\n" + "\n".join([*lines[:900], "", "  ", *lines[900:]]) + "\n\n")
    assert np.array_equal(raw(read(Data(), path))[:, 0], np.arange(1800) % 7)
    _, places = rows(path, table(read(Data(), path)))
    assert (places[899], places[900]) == ("line 901", "line 904")
    short = [line.rpartition(",")[0] for line in lines[1000:]]
    with pytest.raises(DataError, match="line 1002: got 2 cells, expected 3"):
        read(Data(), file(tmp_path, "a,b,y\n" + "\n".join(lines[:1000] + short)))
    with pytest.raises(DataError, match="column 'b', line 1202: got inf"):
        read(Data(), file(tmp_path, "a,b,y\n" + "\n".join([*lines[:1200], "1,inf,2", *lines[1200:]])))
