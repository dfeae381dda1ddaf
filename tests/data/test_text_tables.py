"""Texts in tables: the same examples as from files, and ordinary columns that stay what they are."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest

import netwright
from netwright.data import text_tables
from netwright.data.opening import open_source
from netwright.errors import DataError
from netwright.preprocess import TablePreprocess
from netwright.recipe.schema import Data

WORDS = "the film was a long story of two men who go to sea and come back with nothing at all,"


def _reviews(count: int = 40) -> list[tuple[str, str]]:
    draw = random.Random(0)
    words = [*WORDS.split(), '"', "\n"]
    texts = [" ".join([("lovely", "awful")[n % 2], *draw.choices(words, k=9)]).strip() for n in range(count)]
    return [(text, ("good", "bad")[n % 2]) for n, text in enumerate(texts)]


def _table(path: Path, header: list[str], rows: list[tuple[object, ...]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([header, *rows])
    return path


def test_a_table_reads_as_the_folder_of_the_same_texts(tmp_path: Path) -> None:
    """Ids, vocabulary, length and classes; the other way in is the oracle."""
    reviews = _reviews()
    table = _table(tmp_path / "reviews.csv", ["review", "sentiment"], reviews)
    for number, (text, label) in enumerate(reviews):
        place = tmp_path / "folder" / label
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}.txt").write_text(text, encoding="utf-8")
    one, other = (open_source(Data(source=str(each), validation=0)) for each in (table, tmp_path / "folder"))
    assert one.text is not None
    assert other.text is not None
    assert one.text.columns == ("review",)
    assert one.text.vocabulary == other.text.vocabulary
    assert (one.text.length, one.classes) == (other.text.length, other.classes)
    order = sorted(range(len(reviews)), key=lambda row: (reviews[row][1], row))  # as the folder's names are sorted
    assert np.array_equal(one.parts["train"].inputs[0][order], other.parts["train"].inputs[0])
    assert np.array_equal(one.parts["train"].part_targets()[order], other.parts["train"].part_targets())


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_the_label_may_stand_before_the_text_and_rows_may_be_numbered(tmp_path: Path, suffix: str) -> None:
    rows = [(number, label, text) for number, (text, label) in enumerate(_reviews(120))]
    path = _table(tmp_path / f"sms.{suffix}", ["id", "label", "text"], rows, "\t" if suffix == "tsv" else ",")
    examples = open_source(Data(source=str(path)))
    assert (examples.targets, examples.classes) == (("label",), ("bad", "good"))
    assert examples.text is not None
    assert examples.text.columns == ("text",)
    assert any("'id' left out" in note for note in examples.skipped)


def test_stars_make_a_regression_and_two_columns_one_text(tmp_path: Path) -> None:
    rows = [(text[:12], text, n / 4) for n, (text, _) in enumerate(_reviews())]
    path = _table(tmp_path / "stars.csv", ["title", "body", "stars"], rows)
    types = dict.fromkeys(("title", "body"), "text")
    examples = open_source(Data(source=str(path), types=types, validation=0))  # type: ignore[arg-type]
    assert examples.task == "regression"
    assert examples.text is not None
    joined = text_tables._joined(
        text_tables.open_table(text_tables.Source.of(path), "auto", dict.fromkeys(("title", "body"), "text")),
        ("title", "body"), "stop",
    )  # fmt: skip
    assert joined[3] == f"{rows[3][0].strip()}\n{rows[3][1]}"


@pytest.mark.parametrize(
    ("column", "kept"),
    [(lambda n: ("north", "south", "east")[n % 3], "category"),
     (lambda n: ("I agree with all of it", "I do not agree with any of it")[n % 2], "category"),
     (lambda n: n * 1.5, "number"), (lambda n: f"2016-07-{n % 28 + 1:02}", "date")],
)  # fmt: skip
def test_other_columns_stay_what_they_are_beside_prose(tmp_path: Path, column: object, kept: str) -> None:
    rows = [(column(n), text, label) for n, (text, label) in enumerate(_reviews(120))]  # type: ignore[operator]
    examples = open_source(Data(source=str(_table(tmp_path / "t.csv", ["c", "review", "label"], rows))))
    assert examples.text is None
    record = examples.preprocess[0]
    assert isinstance(record, TablePreprocess)
    assert {each.kind for each in record.columns} == {kept}
    assert any("data.types.review=text" in note for note in examples.skipped)


def test_names_alone_are_no_prose(tmp_path: Path) -> None:
    rows = [(f"Mr. Owen Harris {n}", "ab"[n % 2]) for n in range(120)]
    with pytest.raises(DataError, match="no input column"):
        open_source(Data(source=str(_table(tmp_path / "names.csv", ["name", "label"], rows))))
    said = open_source(Data(source=str(tmp_path / "names.csv"), types={"name": "text"}))
    assert said.text is not None


@pytest.mark.parametrize(("start", "kind"), [("Mr. Owen Harris ", "text"), ("x", "category")])
def test_the_way_in_for_texts_that_were_left_out_leads_in(tmp_path: Path, start: str, kind: str) -> None:
    """What the error says to try is tried; short texts are words to read, single words a category."""
    path = _table(tmp_path / "t.csv", ["name", "label"], [(f"{start}{n}", "ab"[n % 2]) for n in range(120)])
    with pytest.raises(DataError, match="120 distinct texts") as caught:
        open_source(Data(source=str(path)))
    assert caught.value.suggestion == f"--set data.types.name={kind}"
    examples = open_source(Data(source=str(path), types={"name": kind}))  # type: ignore[dict-item]
    assert (examples.text is not None) == (kind == "text")


def test_a_short_text_beside_numbers_is_offered_as_a_text_too(tmp_path: Path) -> None:
    rows = [(f"Mr. Owen Harris {n}", n * 1.5, "ab"[n % 2]) for n in range(120)]
    notes = open_source(Data(source=str(_table(tmp_path / "t.csv", ["name", "age", "label"], rows)))).skipped
    assert any("data.types.name=category" in note and "data.types.name=text" in note for note in notes)


@pytest.mark.parametrize("content", ["", "review,label\n"])
def test_a_table_of_texts_that_is_empty_is_asked_for_as_a_table(tmp_path: Path, content: str) -> None:
    path = _table(tmp_path / "t.csv", ["review", "label"], _reviews())
    quick = {"watch.enabled": False, "network.width": 4}
    run = netwright.fit("gru", str(path), epochs=1, folder=tmp_path / "runs", settings=quick, quiet=True)
    (tmp_path / "empty.csv").write_text(content)
    with pytest.raises(DataError, match="a table with the column review"):
        netwright.predict(run, tmp_path / "empty.csv")


def test_a_text_beside_numbers_and_a_missing_one_are_named(tmp_path: Path) -> None:
    rows = [(n + 0.5, text, label) for n, (text, label) in enumerate(_reviews())]
    path = _table(tmp_path / "t.csv", ["age", "review", "label"], rows)
    with pytest.raises(DataError, match=r"'review'.*'age'.*data\.types\.age=ignore"):
        open_source(Data(source=str(path), types={"review": "text"}))
    holes = [("" if n == 7 else text, label) for n, (text, label) in enumerate(_reviews())]
    path = _table(tmp_path / "hole.csv", ["review", "label"], holes)
    with pytest.raises(DataError, match=r"'review', line \d+.*no text \(1 such"):
        open_source(Data(source=str(path)))
    part = open_source(Data(source=str(path), missing="mean", validation=0)).parts["train"]
    assert not part.inputs[0][7].any()


def test_a_part_of_its_own_has_the_training_parts_words_and_classes(tmp_path: Path) -> None:
    train = _table(tmp_path / "train.csv", ["review", "label"], _reviews())
    held = [(label, "secret " + text) for text, label in _reviews(10)]
    test = _table(tmp_path / "test.csv", ["label", "review"], held)
    examples = open_source(Data(source=str(train), test=str(test)))
    assert examples.text is not None
    assert "secret" not in examples.text.vocabulary
    part = examples.parts["test"]
    assert (part.inputs[0][:, 0] == 1).all()
    assert [examples.classes[label] for label in part.part_targets()] == [label for label, _ in held]
