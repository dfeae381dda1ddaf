"""Examples that are not trained on: the list of ``data.leave_out``, as ``netwright check RUN --labels`` writes it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from netwright.data.examples import Part
from netwright.data.texts import content_of, text_of
from netwright.errors import DataError, nearest
from netwright.records import plural

NAME, PART, GIVEN = "name", "part", "given"
KEY = "data.leave_out"
MOST = 0.5  # of the training part, above which a list is probably another one than was meant


def without(train: Part, path: Path, classes: tuple[str, ...]) -> tuple[Part, tuple[str, ...]]:
    """The training part without the examples of the list at ``path``, and what is to be said of it.

    The list is CSV with a column ``name`` (a file's, or ``#12`` for row 12 of an array or table, from 0). A column
    ``part``: lines of other parts than ``train`` are passed over, because held-out parts stay as they are. A column
    ``given``: the label that the example had then; where it has another one now, it was mended and stays.
    """
    lines = _lines(path)
    positions = {train.name(position): position for position in range(len(train))}
    targets = train.part_targets()
    out: list[int] = []
    elsewhere = mended = unknown = 0
    for line in lines:
        if (line.get(PART) or "train") != "train":
            elsewhere += 1
            continue
        position = positions.get(line[NAME])
        if position is None:
            unknown += 1
        elif line.get(GIVEN) and classes and _class(targets[position], classes) != line[GIVEN]:
            mended += 1
        else:
            out.append(position)
    if unknown and not out and not mended:
        raise DataError(
            KEY, f"{path}: none of its {plural(unknown, 'name')} is in the training part ({lines[0][NAME]!r}, …)",
            f"names of the training part, as {train.name(0)!r}", "the list of these data and this split",
        )  # fmt: skip
    kept = np.setdiff1d(np.arange(len(train)), np.asarray(out, np.int64))
    if len(kept) == 0:
        raise DataError(KEY, f"{path}: all {len(train)} training examples", "a list that leaves some")
    gone = len(train) - len(kept)
    notes = [f"{plural(gone, 'training example')} {'is' if gone == 1 else 'are'} left out, as {path} says"]
    if gone > MOST * len(train):
        notes[0] = f"{KEY}: most of the training part is left out, {gone:,} of {len(train):,} examples, as {path} says"
    for lines_of, verb, what in (
        (mended, ("has", "have"), "another label now: mended, it stays"),
        (elsewhere, ("is", "are"), "of a held-out part, which stays whole"),
        (unknown, ("is", "are"), "not in the training part"),
    ):  # fmt: skip
        if lines_of:
            notes.append(f"{path}: {plural(lines_of, 'line')} {verb[lines_of > 1]} {what}")
    return train.take(kept.astype(np.int64)), tuple(notes)


def _class(target: np.ndarray, classes: tuple[str, ...]) -> str:
    return classes[int(np.argmax(target)) if np.ndim(target) else int(target)]


def _lines(path: Path) -> list[dict[str, str]]:
    expected, hint = f"a list of examples, CSV with a column {NAME}", "netwright check RUN --labels, which writes one"
    if path.is_dir():
        raise DataError(KEY, f"{path}, a folder", expected, hint)
    if not path.exists():
        near = nearest(path.name, [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else [])
        raise DataError(KEY, f"{path}, which does not exist", expected, str(path.with_name(near)) if near else hint)
    try:
        reader = csv.DictReader(io.StringIO(text_of(content_of(path), str(path)), newline=""), strict=True)
        lines = list(reader)
    except csv.Error as error:
        raise DataError(KEY, f"{path}: {error}", "CSV") from error
    if NAME not in (reader.fieldnames or ()):
        raise DataError(
            KEY, f"{path} with the columns {', '.join(reader.fieldnames or ()) or 'of nothing'}",
            f"a column {NAME}", hint,
        )  # fmt: skip
    if any(line.get(NAME) is None for line in lines):
        raise DataError(KEY, f"{path}: a line without a name", "a name in every line")
    return lines
