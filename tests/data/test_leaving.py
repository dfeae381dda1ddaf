"""Lists of examples that are left out of training."""

from pathlib import Path

import numpy as np
import pytest

from netwright.data.examples import Part
from netwright.data.leaving import without
from netwright.data.opening import open_source
from netwright.errors import DataError
from netwright.recipe.schema import Data

CLASSES = ("ant", "bee")
TRAIN = Part((np.arange(6.0)[:, None],), np.array([0, 1, 0, 1, 0, 1]), rows=np.array([0, 2, 3, 5]))
NAMED = Part((np.arange(4.0)[:, None],), np.array([0, 0, 1, 1]), names=("a/1.png", "a/2.png", "b/1, x.png", "b/2.png"))


def listed(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text)
    return path


def test_rows_and_files_are_found_by_their_names(tmp_path: Path) -> None:
    kept, notes = without(TRAIN, listed(tmp_path, "name\n#2\n#5\n"), CLASSES)
    assert kept.rows.tolist() == [0, 3]
    assert notes[0].startswith("2 training examples are left out")
    kept, _ = without(NAMED, listed(tmp_path, 'part,name,given\ntrain,"b/1, x.png",bee\n'), CLASSES)
    assert [kept.name(at) for at in range(3)] == ["a/1.png", "a/2.png", "b/2.png"]


def test_what_is_mended_or_held_out_stays_and_is_said(tmp_path: Path) -> None:
    path = listed(tmp_path, "part,name,given\ntrain,#0,bee\ntrain,#2,ant\ntest,#3,bee\ntrain,#1,bee\n")
    kept, notes = without(TRAIN, path, CLASSES)
    assert kept.rows.tolist() == [0, 3, 5]  # 0 is an ant now; 3 is meant in another part; 1 is not in this one
    said = " ".join(notes)
    assert "1 line has another label now" in said
    assert "1 line is of a held-out part" in said
    assert "1 line is not in the training part" in said


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("file\n#2\n", "with the columns file"), ("", "columns of nothing"), ("name\n#77\nx\n", "none of its 2 names"),
        ("name\n#0\n#2\n#3\n#5\n", "all 4 training examples"), ('name\n"#0\n', "unexpected end"),
        ("part,name\ntrain\n", "without a name"),
    ],
)  # fmt: skip
def test_lists_of_another_kind_stop(text: str, got: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        without(TRAIN, listed(tmp_path, text), CLASSES)
    assert error.value.where == "data.leave_out"
    assert got in error.value.got


def test_it_is_a_key_of_the_data_and_leaves_held_out_parts_alone(tmp_path: Path) -> None:
    whole = open_source(Data())
    out = whole.parts["train"].name(7)
    less = open_source(Data(leave_out=str(listed(tmp_path, f"name\n{out}\n"))))
    assert len(less.parts["train"]) == len(whole.parts["train"]) - 1
    assert out not in [less.parts["train"].name(at) for at in range(len(less.parts["train"]))]
    for part in ("validation", "test"):
        assert (less.parts[part].rows == whole.parts[part].rows).all()
    assert any("left out" in note for note in less.skipped)


def test_a_list_that_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    listed(tmp_path, "name\n#2\n")
    for name, hint in (("lists.csv", str(tmp_path / "list.csv")), ("other.txt", "netwright check RUN --labels")):
        with pytest.raises(DataError) as error:
            open_source(Data(leave_out=str(tmp_path / name)))
        told = error.value
        assert told.where == "data.leave_out"
        assert str(tmp_path / name) in told.got
        assert "column name" in told.expected
        assert hint in told.suggestion


@pytest.mark.parametrize(("names", "most"), [("#0\n#2\n", False), ("#0\n#2\n#3\n", True)])
def test_a_list_of_most_examples_is_said_loudly(names: str, most: bool, tmp_path: Path) -> None:
    kept, notes = without(TRAIN, listed(tmp_path, f"name\n{names}"), CLASSES)
    assert ("most of the training part" in notes[0]) == most
    assert (f"{4 - len(kept)} of 4" in notes[0]) == most
