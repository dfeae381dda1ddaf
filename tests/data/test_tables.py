"""Tables: every dialect gives the same cells, types and tasks follow values, faults are named by line and column."""

import datetime
import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from small_tables import SMALL, file, names, raw, table

from netwright.data import tables
from netwright.data.tables import read, rows
from netwright.errors import DataError
from netwright.preprocess import Column, TablePreprocess, apply, measure
from netwright.recipe.schema import Data

# ------------------------------------------------------------------------------------------------ meaning


def test_a_small_table_cell_by_cell(tmp_path: Path) -> None:
    examples = read(Data(), file(tmp_path, SMALL))
    assert table(examples).columns == (
        Column(name="age", kind="number"),
        Column(name="work", kind="category", categories=("?", "Private", "Self", "State")),
    )
    assert raw(examples).tolist() == [[39, 3], [50, 2], [38, 1], [53, 1], [28, 0]]
    assert raw(examples).dtype == np.float32
    assert (examples.task, examples.classes, examples.targets) == ("classification", ("high", "low"), ("pay",))
    assert examples.parts["train"].targets.tolist() == [1, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("column", "task", "outputs"),
    [
        (["0", "1"] * 10, "classification", 2),
        ([str(i % 7) for i in range(60)], "classification", 7),
        ([str(i % 7 + 0.5) for i in range(60)], "regression", 1),
        ([str(i) for i in range(60)], "regression", 1),
        (["1.0", "2.0", "3.0"] * 9, "classification", 3),
        (["no", "yes"] * 5, "classification", 2),
        (["True", "False"] * 5, "classification", 2),
    ],
)
def test_the_task_follows_the_values_alone(tmp_path: Path, column: list[str], task: str, outputs: int) -> None:
    text = "x,species\n" + "".join(f"{i * 0.5},{value}\n" for i, value in enumerate(column))
    examples = read(Data(), file(tmp_path, text))
    renamed = read(Data(), file(tmp_path, text.replace("species", "price")))
    assert (examples.task, examples.outputs) == (renamed.task, renamed.outputs) == (task, outputs)


def test_whole_numbers_name_their_classes(tmp_path: Path) -> None:
    examples = read(Data(), file(tmp_path, "x,y\n" + "".join(f"{i}.5,{i % 3 * 5}.0\n" for i in range(12))))
    assert examples.classes == ("0", "5", "10")
    assert examples.parts["train"].targets.tolist() == [0, 1, 2] * 4


def test_several_targets(tmp_path: Path) -> None:
    text = "a,x,b,t\n1,0.5,0,u\n0,1.5,1,v\n1,2.5,1,u\n"
    both = read(Data(target="a, b"), file(tmp_path, text))
    assert (both.task, both.classes, both.targets) == ("multi-label", ("a", "b"), ("a", "b"))
    assert both.parts["train"].targets.tolist() == [[1, 0], [0, 1], [1, 1]]
    assert names(both) == ["x", "t"]
    values = read(Data(target="x,a"), file(tmp_path, text))
    assert (values.task, values.targets, values.classes) == ("regression", ("x", "a"), ())
    assert values.parts["train"].targets.tolist() == [[0.5, 1], [1.5, 0], [2.5, 1]]
    with pytest.raises(DataError, match="several targets with texts in 't'"):
        read(Data(target="a,t"), file(tmp_path, text))


def test_types_of_the_recipe_rule(tmp_path: Path) -> None:
    text = "zip,when,skip,y\n10,2020-01-01,q,1.5\n20,2020-02-01,q,2.5\n10,2020-03-01,q,3.5\n"
    options = Data(types={"zip": "category", "when": "category", "skip": "ignore"})
    examples = read(options, file(tmp_path, text))
    assert [(column.name, column.categories) for column in table(examples).columns] == [
        ("zip", ("10", "20")), ("when", ("2020-01-01", "2020-02-01", "2020-03-01")),
    ]  # fmt: skip
    with pytest.raises(DataError, match="column 'skip', line 2: got 'q', expected a number"):
        read(Data(types={"skip": "number"}), file(tmp_path, text))
    with pytest.raises(DataError, match="column 'zip', line 2: got '10', expected a date"):
        read(Data(types={"zip": "date"}), file(tmp_path, text))
    with pytest.raises(DataError, match=r"types: got 'zp'.*Try: zip"):
        read(Data(types={"zp": "number"}), file(tmp_path, text))


def test_identifiers_and_counters_are_left_out_and_said_so(tmp_path: Path) -> None:
    lines = [f"{i},name {i},{i % 3},group {i % 4},{i * 0.5}" for i in range(60)]
    path = file(tmp_path, ",who,a,g,y\n" + "\n".join(lines))
    examples = read(Data(), path)
    assert names(examples) == ["a", "g"]
    assert "unnamed_1" in examples.skipped[0]
    assert "60 distinct texts" in examples.skipped[1]
    kept = read(Data(types={"who": "category", "unnamed_1": "number"}), path)
    assert names(kept) == ["unnamed_1", "who", "a", "g"]


def test_a_column_without_values_is_left_out(tmp_path: Path) -> None:
    examples = read(Data(), file(tmp_path, "a,b,y,\n1,,0.5,\n2,,1.5,\n"))
    assert (names(examples), examples.targets) == (["a"], ("y",))


def test_of_very_many_categories_the_frequent_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_CATEGORIES", 2)
    examples = read(Data(), file(tmp_path, "c,y\n" + "".join(f"{c},{i}.5\n" for i, c in enumerate("aabcccd"))))
    assert table(examples).columns[0].categories == ("a", "c")
    assert raw(examples)[:, 0].tolist() == [0, 0, -1, 1, 1, 1, -1]


# ------------------------------------------------------------------------------------------------ missing cells


def test_a_missing_number_stops_and_says_where(tmp_path: Path) -> None:
    text = "a,b,c,y\n1,2,x,0.5\n2,?,?,1.5\n\n,NaN,x,2.5\n"
    with pytest.raises(DataError) as caught:
        read(Data(), file(tmp_path, text))
    assert "column 'b', line 3: got a missing number (3 in all, in the columns a, b)" in str(caught.value)
    assert caught.value.suggestion == "--set data.missing=mean"


def test_a_missing_number_becomes_the_mean(tmp_path: Path) -> None:
    """Against the definition: filled by hand with the training mean, the inputs are the same."""
    holes, filled = "a,c,y\n1,x,0.5\n,x,1.5\n6,?,2.5\n", "a,c,y\n1,x,0.5\n3.5,x,1.5\n6,?,2.5\n"
    examples = read(Data(missing="mean"), file(tmp_path, holes))
    assert np.isnan(raw(examples)[1, 0])
    record = measure(table(examples), raw(examples))
    assert isinstance(record, TablePreprocess)
    by_hand, _ = rows(file(tmp_path, filled), record)
    assert np.allclose(apply(record, raw(examples)), apply(record, by_hand))
    assert record.columns[0].mean == 3.5


def test_a_missing_target_stops(tmp_path: Path) -> None:
    for text in ("x,y\n1,a\n2,?\n3,b\n", "x,y\n1,0.5\n2,\n3,1.5\n"):
        with pytest.raises(DataError, match=r"target 'y', line 3: got a missing target \(1 in all\)"):
            read(Data(missing="mean"), file(tmp_path, text))


# ------------------------------------------------------------------------------------------------ dates


def test_only_what_varies_becomes_a_column(tmp_path: Path) -> None:
    def kept(dates: list[str]) -> list[str]:
        text = "when,y\n" + "".join(f"{date},{i}.5\n" for i, date in enumerate(dates))
        return [name.removeprefix("when:") for name in names(read(Data(), file(tmp_path, text)))]

    assert kept([f"20{year}-01-01" for year in range(10, 20)]) == ["years"]
    assert kept([f"2010/{month:02}" for month in range(1, 13)]) == ["years", "year-sin", "year-cos"]
    weekly = [str(datetime.date(2020, 1, 6) + datetime.timedelta(7 * i)) for i in range(9)]
    assert kept(weekly) == ["years", "year-sin", "year-cos"]
    assert kept([f"2010-01-01T{hour:02}:30" for hour in range(24)])[-2:] == ["day-sin", "day-cos"]
    assert kept(["2010-01-01"] * 3) == ["years"]


def test_seconds_survive_float32(tmp_path: Path) -> None:
    """Half a million seconds since 1970 apart, or one: both are told apart in the raw cells."""
    start = datetime.datetime(2024, 5, 1)
    moments = [start + datetime.timedelta(seconds=7 * i) for i in range(100)]
    examples = read(Data(), file(tmp_path, "t,y\n" + "".join(f"{m},{i}.5\n" for i, m in enumerate(moments))))
    assert len(np.unique(raw(examples), axis=0)) == 100


def test_numbers_beyond_the_digits_of_float32_are_said_so(tmp_path: Path) -> None:
    lines = "".join(f"{1_700_000_000 + i},{i}.5\n" for i in range(20))
    (note,) = read(Data(), file(tmp_path, "t,y\n" + lines)).skipped
    assert "column 't': float32 keeps few digits" in note


def test_a_date_comes_back_at_prediction(tmp_path: Path) -> None:
    text = "t,c,y\n2020-01-05 06:00,a,1.5\n2020-03-09 18:00,b,2.5\n2021-07-01 12:00,a,0.5\n"
    examples = read(Data(), file(tmp_path, text))
    again, _ = rows(io.StringIO("c,t\nb,2020-03-09 18:00\n"), table(examples))
    assert np.array_equal(again, raw(examples)[1:2])
    with pytest.raises(DataError, match="column 't', line 2: got 'soon', expected a date"):
        rows(io.StringIO("c,t\nb,soon\n"), table(examples))


# ------------------------------------------------------------------------------------------------ another file


def test_a_test_file_is_read_by_the_columns_of_training(tmp_path: Path) -> None:
    examples = read(Data(), file(tmp_path, SMALL))
    other = read(Data(), file(tmp_path, "pay,new,work,age\nlow,1,Gov,20\nhigh,2,Self,30\n", "o.csv"), examples)
    assert other.preprocess == examples.preprocess
    assert raw(other).tolist() == [[20, -1], [30, 2]]
    assert other.parts["train"].targets.tolist() == [1, 0]
    assert apply(table(other), raw(other)).tolist() == [[20, 0, 0, 0, 0], [30, 0, 0, 1, 0]]


def test_without_headers_columns_are_found_by_place(tmp_path: Path) -> None:
    body = SMALL.partition("\n")[2]
    examples = read(Data(), file(tmp_path, body))
    assert names(examples) == ["column_1", "column_2"]
    other = read(Data(), file(tmp_path, "1,Self,low\n", "o.csv"), examples)
    assert raw(other).tolist() == [[1, 2]]
    without_target, _ = rows(io.StringIO("1,Self\n2,?\n"), table(examples))
    assert without_target.tolist() == [[1, 2], [2, 0]]
    front = read(Data(target="column_1"), file(tmp_path, body))
    for text in ("Self,low\n", "Self,low\nPrivate,high\n"):  # texts alone are no header where training had none
        codes = [[2, 1], [1, 0]][: text.count("\n")]
        assert rows(io.StringIO(text), table(front))[0].tolist() == codes
    with_names, _ = rows(io.StringIO("x,y\n1,Self\n2,?\n"), table(examples))
    assert np.array_equal(with_names, without_target)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,wrok,pay\n1,Self,low\n", "no column 'work', but 'wrok'"),
        ("age,work\n1,Self\n", "no column 'pay'"),
        ("age,work,pay\n1,Self,lo\n", "the class 'lo', which training has not .* write 'low'"),
        ("age,work,pay\nold,Self,low\n", "column 'age', line 2: got 'old', expected a number"),
        ("1,2,3,4\n", "4 columns without a header"),
        ("age,work,pay\n,Self,low\n", "line 2: got a missing number"),
        ("age,work,pay\ninf,Self,low\n", "line 2: got inf"),
        ("age,work,pay\n1,Self\n2,Self,low\n3,Self,low\n", "line 2: got 2 cells, expected 3"),
    ],
)
def test_a_test_file_that_is_not_like_training(tmp_path: Path, text: str, words: str) -> None:
    examples = read(Data(), file(tmp_path, SMALL))
    with pytest.raises(DataError, match=words):
        read(Data(), file(tmp_path, text, "o.csv"), examples)


# ------------------------------------------------------------------------------------------------ prediction


def test_rows_from_a_stream(tmp_path: Path) -> None:
    record = table(read(Data(), file(tmp_path, SMALL)))
    for stream in (io.StringIO(SMALL), io.BytesIO(b"\xef\xbb\xbf" + SMALL.encode())):
        cells, places = rows(stream, record)
        assert cells.tolist() == [[39, 3], [50, 2], [38, 1], [53, 1], [28, 0]]
        assert places == ("line 2", "line 3", "line 4", "line 5", "line 6")
    assert rows(io.StringIO("work;age\nSelf;7\n"), record)[0].tolist() == [[7, 2]]
    assert rows(io.StringIO("41,Martian"), record)[0].tolist() == [[41, -1]]


def test_rows_with_missing_numbers(tmp_path: Path) -> None:
    record = table(read(Data(), file(tmp_path, SMALL)))
    with pytest.raises(DataError, match="column 'age', line 3: got a missing number"):
        rows(io.StringIO("age,work\n1,Self\n?,Self\n"), record)
    cells, _ = rows(io.StringIO("age,work\n1,Self\n?,Self\n"), record, missing="mean")
    assert np.isnan(cells[1, 0])
    assert np.isfinite(apply(record, cells)).all()


def test_one_input_column_needs_no_delimiter(tmp_path: Path) -> None:
    record = table(read(Data(), file(tmp_path, "x,y\n1,0.5\n2,1.5\n3,2.5\n")))
    assert rows(io.StringIO("x\n5\n6\n"), record)[0].tolist() == [[5], [6]]
    assert rows(io.StringIO("5\n6\n"), record)[0].tolist() == [[5], [6]]


def test_categories_that_training_has_not_are_noted_of_a_part_with_their_first_row(tmp_path: Path) -> None:
    train = read(Data(), file(tmp_path, SMALL))
    other = read(Data(), file(tmp_path, SMALL.replace("Self", "Alien"), "other.csv"), train)
    (note,) = other.skipped
    assert "other.csv: column 'work': 1 row with a category that training has not (line " in note
    assert raw(other)[:, 1].tolist().count(-1) == 1
    assert read(Data(), file(tmp_path, SMALL, "same.csv"), train).skipped == ()


# ------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty file"),
        ('a,y\n"1,u\n' + "2,v\n" * 30, "line 32: got 1 cell.*open quote"),
        ("a,b\n", "no rows"),
        ("a,b,a\n1,2,3\n", "the name 'a' for the columns 1, 3"),
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", "line 3: got 2 cells, expected 3"),
        ("a,b\n1,2,3\n4,5,6\n6,7,8\n", "line 1: got 2 cells, expected 3"),
        ("1\n2\n3\n", "1 column"),
        (b"a,b\n\xe9t\xe9,1\n", "not UTF-8 .the byte 0xe9."),
        (gzip.compress(SMALL.encode() * 50)[:-20], "cannot be read"),
        ("a,b\n1,1e300\n2,2\n", "column 'b', line 2: got 1e.300"),
        ("x,y\n" + "".join(f"{i},name {i}\n" for i in range(80)), "80 distinct values"),
        ("x,t\n1,2020-01-01\n2,2020-01-02\n", "target 't': got dates"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(Data(), file(tmp_path, text))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Data(target="pays"), "got 'pays'.*Try: pay"),
        (Data(target="pay,pay"), "each column once"),
        (Data(task="regression"), "expected a number"),
        (Data(types={"age": "ignore", "work": "ignore"}), "1 column"),
        (Data(task="multi-label", target="age"), "line 2: got 39, expected 0 or 1"),
    ],
)
def test_faults_of_a_recipe(tmp_path: Path, options: Data, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(options, file(tmp_path, SMALL))


@pytest.mark.parametrize("dotted", ["train", "test"])
def test_a_full_stop_behind_every_label_is_said_and_passed_over(tmp_path: Path, dotted: str) -> None:
    """Never silently, and never where only some labels have one."""
    plain, stopped = "1,yes\n2,no\n3,yes\n4,no\n", "1,yes.\n2,no.\n3,yes.\n4,no.\n"
    first, second = (stopped, plain) if dotted == "train" else (plain, stopped)
    (tmp_path / "train.csv").write_text(first)
    (tmp_path / "test.csv").write_text(second)
    examples = read(Data(), tmp_path / "train.csv")
    test = read(Data(), tmp_path / "test.csv", examples)
    assert test.classes == examples.classes
    assert test.parts["train"].targets.tolist() == examples.parts["train"].targets.tolist()
    assert len(test.skipped) == 1
    assert "is taken for" in test.skipped[0]
    assert read(Data(), tmp_path / "train.csv", examples).skipped == ()
    further = ("1,yes..\n2,no..\n", "1,maybe.\n2,no.\n") if dotted == "test" else ("1,maybe\n2,no\n",)
    for other in ("1,yes.\n2,no\n", "1,yes\n2,no.\n", *further):
        (tmp_path / "test.csv").write_text(other)
        with pytest.raises(DataError, match="which training has not"):
            read(Data(), tmp_path / "test.csv", examples)


# ------------------------------------------------------------------------------------------------ real tables


def test_adult(shared: Path) -> None:
    """The counts of the set's own description; the official test file, whose labels end with a full stop."""
    examples = read(Data(), shared / "adult" / "adult.data.gz")
    part = examples.parts["train"]
    assert (len(part), examples.classes) == (32561, ("<=50K", ">50K"))
    assert np.bincount(part.targets.astype(int)).tolist() == [24720, 7841]
    kinds = {column.name: len(column.categories) for column in table(examples).columns if column.kind == "category"}
    assert kinds == {f"column_{i}": count for i, count in
                     {2: 9, 4: 16, 6: 7, 7: 15, 8: 6, 9: 5, 10: 2, 14: 42}.items()}  # fmt: skip
    lacking = [place for place, column in enumerate(table(examples).columns) if "?" in column.categories]
    codes = [table(examples).columns[place].categories.index("?") for place in lacking]
    assert int((raw(examples)[:, lacking] == codes).any(1).sum()) == 2399
    path = shared / "adult" / "adult.test.gz"
    test = read(Data(), path, examples)
    assert np.bincount(test.parts["train"].targets.astype(int)).tolist() == [12435, 3846]
    assert test.skipped == (
        f"{path}: target 'column_15': '<=50K.' is taken for '<=50K', as in every row: a full stop apart",
    )
    with gzip.open(path, "rt") as stream:
        text = stream.read().replace("K.\n", "K\n")
    assert len(rows(io.StringIO(text), table(examples))[1]) == 16281


@pytest.mark.parametrize(
    ("name", "count", "features", "first"),
    [
        ("airline-passengers.csv", 144, ["years", "year-sin", "year-cos"], 112),
        ("monthly-sunspots.csv", 2820, ["years", "year-sin", "year-cos"], 58),
        ("daily-min-temperatures.csv", 3650, ["years", "year-sin", "year-cos", "week-sin", "week-cos"], 20.7),
    ],
)
def test_series_of_one_value(shared: Path, name: str, count: int, features: list[str], first: float) -> None:
    examples = read(Data(), shared / "timeseries" / name)
    part = examples.parts["train"]
    assert (examples.task, len(part)) == ("regression", count)
    assert [each.rpartition(":")[2] for each in names(examples)] == features
    assert part.targets[0, 0] == np.float32(first)


def test_electricity(shared: Path) -> None:
    path = shared / "timeseries" / "ETTh1.csv.gz"
    examples = read(Data(), path)
    assert names(examples)[-6:] == ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL"]
    assert len(names(examples)) == 13
    with gzip.open(path, "rt") as stream:
        oracle = np.loadtxt(stream, delimiter=",", skiprows=1, usecols=range(1, 8))
    assert np.array_equal(raw(examples)[:, 7:], oracle[:, :6].astype(np.float32))
    assert np.array_equal(examples.parts["train"].targets, oracle[:, 6:].astype(np.float32))
