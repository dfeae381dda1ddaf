"""Texts in the columns of a table, a row an example: reviews beside their stars, messages beside spam or ham."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from netwright.data import texts
from netwright.data.cells import MISSING_CATEGORY, Cells, Table, as_texts
from netwright.data.delimited import Source
from netwright.data.examples import Array, Examples, Part, Task
from netwright.data.table_files import open_table
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, TextInput
from netwright.recipe.schema import Data
from netwright.records import plural

PROSE_WORDS = 5  # on average, from which distinct texts are no names or addresses of a line (Titanic's names have 4)
DISTINCT = 0.5  # share of the rows above which texts are each their own
SEVERAL_WORDS = 2  # on average, from which texts may be read if the recipe says so
LOOKED_AT = 1000  # texts
Missing = Literal["stop", "mean"]
Told = tuple[Task, Array, tuple[str, ...], tuple[str, ...]]  # task, targets, classes, names of the target columns


def is_prose(table: Table, name: str) -> bool:
    """Whether a column reads as texts: most rows have their own, of ``PROSE_WORDS`` or more words on average."""
    cells = table.column(name)
    if cells.kind != "text" or len(cells.texts) <= max(2, DISTINCT * table.count):
        return False
    return words_of(cells) >= PROSE_WORDS


def words_of(cells: Cells) -> float:
    """How many words the distinct texts of a column have on average, by the first of them."""
    seen = cells.texts[:LOOKED_AT]
    return sum(len(text.split()) for text in seen) / max(1, len(seen))


def training(
    options: Data, path: Path, table: Table, columns: Sequence[str], told: Told, notes: Sequence[str]
) -> Examples:
    """The examples of a table whose ``columns`` hold the texts; the vocabulary is that of all until it is settled."""
    raw, record, cut = texts.coded(_joined(table, columns, options.missing), options, None, path)
    task, targets, classes, names = told
    return Examples(
        kind="array", task=task, parts={"train": Part((raw,), targets)}, classes=classes, targets=names,
        preprocess=(ArrayPreprocess(shape=(record.length,), dtype=str(raw.dtype), scale=None),),
        text=msgspec.structs.replace(record, columns=tuple(columns)), skipped=(*notes, *cut),
    )  # fmt: skip


def alike(options: Data, path: Path, like: Examples, targets_of: Callable[..., Any]) -> Examples:
    """Another part of such a table, with the columns and the vocabulary of the training part."""
    assert like.text is not None
    ways: dict[str, Any] = dict.fromkeys(like.text.columns, "text")
    ways |= dict.fromkeys(like.targets, "auto" if like.task == "classification" else "number")
    table = open_table(Source.of(path), options.header, ways)
    raw, _, cut = texts.coded(_joined(table, like.text.columns, options.missing), options, like.text, path)
    notes: list[str] = []
    chosen = [table.column(name) for name in like.targets]
    targets, _ = targets_of(table, like.targets, chosen, like.task, like, notes)
    parts = {"train": Part((raw,), targets)}
    return dataclasses.replace(like, parts=parts, skipped=(*notes, *cut))


def rows(
    source: Path | IO[str] | IO[bytes], record: TextInput, *, missing: Missing = "stop",
    header: bool | Literal["auto"] = "auto",
) -> tuple[npt.NDArray[np.generic], tuple[str, ...]]:  # fmt: skip
    """Ids (N, length) of a file or stream to predict for, and the place of each row (``line 2``)."""
    table = open_table(Source.of(source), header, dict.fromkeys(record.columns, "text"))
    return texts.raw_of(_joined(table, record.columns, missing), record), table.places()


def _joined(table: Table, columns: Sequence[str], missing: Missing) -> list[str]:
    """The text of every row, the columns one under the other; a missing one stops, or is empty."""
    found: list[list[str]] = []
    for name in columns:
        cells = as_texts(table.column(name))
        lack = cells.missing()
        if lack.any() and missing == "stop":
            raise DataError(
                f"{table.name}: column {name!r}, {table.place(int(lack.argmax()))}",
                f"no text ({plural(int(lack.sum()), 'such row')})",
                "a text; data.missing=mean takes it for an empty one",
                "--set data.missing=mean",
            )  # fmt: skip
        known = ["" if text == MISSING_CATEGORY else text for text in cells.texts]
        found.append([known[code] for code in cells.codes.tolist()])
    return ["\n".join(row) for row in zip(*found, strict=True)]
