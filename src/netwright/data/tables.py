"""Tables: CSV in its many forms and Parquet, as cells that a network can take.

A column is a number, a category, a date or a text. Dates are ISO (2016-07, 2016-07-01, 2016-07-01 12:30); one becomes
several numbers, named after it: years since 2000 and the place in the year, the week and the day as sine and cosine,
each only where it varies in training. Missing is an empty cell, ``?``, ``NA``, ``N/A``, ``NaN`` or ``null``; a missing
category is the category ``?``. Leading lines that begin with ``|``, ``#`` or ``%`` are comments.

Texts (most of them distinct, of five words or more on average) are read where there is no other input, or where
``data.types`` says so: then the examples are those texts, as if they were files (``data.texts``).

Left out, and said so in ``Examples.skipped``: texts of which most are distinct (names, identifiers), columns without a
single value, and an unnamed first column that only counts the rows. ``data.types`` overrules all of this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from netwright.data import text_tables
from netwright.data.cells import (
    Cells,
    Floats,
    Table,
    Way,
    as_dates,
    as_numbers,
    as_texts,
    date_features,
    number_like,
    number_text,
    varying_features,
)
from netwright.data.delimited import Source
from netwright.data.examples import Array, Examples, Part, Task
from netwright.data.table_files import columns_named, open_table
from netwright.errors import DataError, nearest, setting, unknown_name
from netwright.preprocess import Column, TablePreprocess
from netwright.recipe.schema import Data
from netwright.records import plural

DISTINCT_SHARE, DISTINCT_TEXTS = 0.5, 50  # more distinct texts than both: an identifier, not a category
MOST_CATEGORIES = 1000  # of one column, the most frequent; each is an input of the network
CLASS_VALUES, ROWS_A_CLASS = 20, 3  # a target with more distinct integers, or fewer rows each, is a value
FEW_DIGITS = 1e-5  # deviation over mean below which float32 keeps fewer than three digits of a number
Missing = Literal["stop", "mean"]


# ------------------------------------------------------------------------------------------------ reading


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """The table in a ``.csv``, ``.tsv``, ``.txt``, ``.data`` (also ``.gz``) or ``.parquet`` file.

    ``like``: the training examples; their columns are looked up by name, or by place where the file has no header.
    """
    if like is None:
        return _training(options, path)
    if like.text is not None and like.text.columns:
        return text_tables.alike(options, path, like, _targets)
    record = like.preprocess[0]
    if not isinstance(record, TablePreprocess):
        raise DataError(str(path), "a table", f"what training has read: {like.kind}")
    inputs = _sources(record)
    ways: dict[str, Way] = dict(inputs)
    ways |= dict.fromkeys(like.targets, "auto" if like.task == "classification" else "number")
    table = open_table(Source.of(path), options.header, ways)
    cells, lacking = _cells_like(table, record)
    _stop_at_missing(table, lacking, options.missing)
    chosen = [table.column(name) for name in like.targets]
    notes = [f"{table.name}: {note}" for note in unseen(record, cells, table.place)]
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
    table = open_table(Source.of(source), header, dict(_sources(preprocess)))
    cells, lacking = _cells_like(table, preprocess)
    _stop_at_missing(table, lacking, missing)
    return cells, table.places()


def unseen(record: TablePreprocess, cells: npt.NDArray[np.float32], place: Callable[[int], str]) -> list[str]:
    """What to say of rows (N, columns) with categories that training has not; ``place``: how a row is called."""
    notes = []
    for number, column in enumerate(record.columns):
        rows = np.flatnonzero(cells[:, number] < 0)
        if column.kind == "category" and len(rows):
            first = f"{'the first: ' * (len(rows) > 1)}{place(int(rows[0]))}"
            what = f"{plural(len(rows), 'row')} with a category that training has not ({first})"
            notes.append(f"column {column.name!r}: {what}, which counts as none of the known ones")
    return notes


def _training(options: Data, path: Path) -> Examples:
    ways: dict[str, Way] = {
        name: "number" if kind == "number" else "skip" if kind == "ignore" else "text"
        for name, kind in options.types.items()
    }
    table = open_table(Source.of(path), options.header, ways, every=True)
    for name in options.types:
        if name not in table.names:
            raise unknown_name(f"{path}: data.types", name, table.names, DataError)
    names = _target_names(options, table)
    notes: list[str] = []
    texts = _text_columns(table, names, options, notes)
    if texts:
        chosen = [table.column(name) for name in names]
        task = _task(table, names, chosen, options)
        targets, classes = _targets(table, names, chosen, task, None, notes)
        return text_tables.training(options, path, table, texts, (task, targets, classes, names), notes)
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
        left = notes[0].removeprefix(f"{path}: ") if notes else ""
        got = f"no input column beside the target {', '.join(names)}" + (f" ({left})" if left else "")
        raise DataError(str(path), got, "at least one", _way_in(table, names, options))
    _stop_at_missing(table, lacking, options.missing)
    chosen = [table.column(name) for name in names]
    task = _task(table, names, chosen, options)
    targets, classes = _targets(table, names, chosen, task, None, notes)
    return Examples(
        kind="table", task=task, parts={"train": Part((np.concatenate(blocks, axis=1),), targets)},
        preprocess=(TablePreprocess(columns=tuple(columns)),), classes=classes, targets=names, skipped=tuple(notes),
    )  # fmt: skip


def _target_names(options: Data, table: Table) -> tuple[str, ...]:
    usable = [name for name in table.names if options.types.get(name) != "ignore"]
    if options.target == "auto":
        while usable and _empty_and_unnamed(table, usable[-1]):
            usable.pop()
        if len(usable) < 2:
            raise DataError(
                table.name,
                plural(len(usable), "column"),
                "inputs and a target",
                "a file whose cells are divided by a comma, semicolon, tab or |",
            )
        told = [name for name in usable if not _is_text(table, name, options)]  # texts are read, rarely told
        return ((told or usable)[-1],)
    return columns_named(options.target, usable, f"{table.name}: data.target")


def _empty_and_unnamed(table: Table, name: str) -> bool:
    cells = table.column(name)
    return name in table.unnamed and cells.kind == "number" and bool(np.isnan(cells.numbers).all())


def _is_text(table: Table, name: str, options: Data) -> bool:
    return text_tables.is_prose(table, name) if name not in options.types else options.types[name] == "text"


def _text_columns(table: Table, targets: tuple[str, ...], options: Data, notes: list[str]) -> tuple[str, ...]:
    """The columns whose texts are read: those of that type, or what reads as prose where there is nothing else."""
    inputs = [name for name in table.names if name not in targets and options.types.get(name) != "ignore"]
    said = [name for name in inputs if options.types.get(name) == "text"]
    chosen = said or [name for name in inputs if _is_text(table, name, options)]
    left = {name: "" if name in options.types else _useless(table, name) for name in inputs if name not in chosen}
    others = [name for name, reason in left.items() if not reason]
    if said and others:
        raise DataError(
            f"{table.name}: column {said[0]!r}",
            f"texts beside the column{'s' * (len(others) > 1)} {', '.join(map(repr, others))}",
            "texts alone: a network reads either words or the cells of a table",
            " ".join(setting(f"data.types.{name}", "ignore") for name in others),
        )  # fmt: skip
    if others or not chosen:
        return ()
    notes += [f"{table.name}: column {name!r} left out: {reason}" for name, reason in left.items()]
    return tuple(chosen)


def _way_in(table: Table, targets: tuple[str, ...], options: Data) -> str:
    """The option that lets in texts which were left out; empty where none were."""
    for name in table.names:
        if name in targets or name in options.types or table.column(name).kind != "text":
            continue
        words = text_tables.words_of(table.column(name)) >= text_tables.SEVERAL_WORDS
        return setting(f"data.types.{name}", "text" if words else "category")
    return ""


def _useless(table: Table, name: str) -> str:
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
        as_text = f"{setting(f'data.types.{name}', 'text')} reads them, and nothing else"
        if text_tables.is_prose(table, name):
            return f"texts ({as_text})"
        ways = f"{setting(f'data.types.{name}', 'category')} keeps it"
        ways += f"; {as_text}" if text_tables.words_of(cells) >= text_tables.SEVERAL_WORDS else ""
        return f"{distinct} distinct texts in {table.count} rows ({ways})"
    return ""


# ------------------------------------------------------------------------------------------------ inputs


def _inputs(table: Table, name: str, options: Data, notes: list[str]) -> tuple[list[Column], npt.NDArray[np.float32]]:
    """The columns that a table's column becomes in training, and their raw cells (N, columns)."""
    cells = table.column(name)
    wanted = options.types.get(name)
    if wanted in ("date", "category"):
        cells = as_dates(table, name, cells) if wanted == "date" else as_texts(cells)
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
        kept = varying_features(cells.dates, features)
        columns = [Column(name=f"{name}:{feature}", kind="date") for feature in kept]
        return columns, np.stack([features[feature] for feature in kept], 1).astype(np.float32)
    categories = _categories(table, name, cells, notes)
    return [Column(name=name, kind="category", categories=categories)], _codes(cells, categories)


def _categories(table: Table, name: str, cells: Cells, notes: list[str]) -> tuple[str, ...]:
    if len(cells.texts) <= MOST_CATEGORIES:
        return tuple(sorted(cells.texts))
    counts = np.bincount(cells.codes, minlength=len(cells.texts))
    frequent = sorted(range(len(cells.texts)), key=lambda code: (-counts[code], cells.texts[code]))[:MOST_CATEGORIES]
    notes.append(
        f"{table.name}: column {name!r}: {len(cells.texts)} categories, of which the {MOST_CATEGORIES} most frequent "
        f"are told apart"
    )
    return tuple(sorted(cells.texts[code] for code in frequent))


def _codes(cells: Cells, categories: tuple[str, ...]) -> npt.NDArray[np.float32]:
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
    table: Table, record: TablePreprocess
) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.bool_]]]:
    """Raw cells (N, columns) as the record has them, and where numbers are missing."""
    raw = np.empty((table.count, len(record.columns)), np.float32)
    features: dict[str, dict[str, Floats]] = {}
    lacking: dict[str, npt.NDArray[np.bool_]] = {}
    for place, column in enumerate(record.columns):
        name = _source_name(column)
        cells = table.column(name)
        if column.kind == "category":
            raw[:, place] = _codes(as_texts(cells), column.categories)[:, 0]
            continue
        if column.kind == "date":
            if name not in features:
                features[name] = date_features(as_dates(table, name, cells).dates)
            values = features[name][column.name.rpartition(":")[2]]
        else:
            values = as_numbers(table, name, cells)
        raw[:, place] = values
        if np.isnan(values).any():
            lacking[name] = np.isnan(values)
    return raw, lacking


def _stop_at_missing(table: Table, lacking: Mapping[str, npt.NDArray[np.bool_]], missing: Missing) -> None:
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


def _task(table: Table, names: tuple[str, ...], chosen: Sequence[Cells], options: Data) -> Task:
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
    table: Table, names: tuple[str, ...], chosen: Sequence[Cells], task: Task, like: Examples | None,
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
    values = np.stack([as_numbers(table, name, cells) for name, cells in zip(names, chosen, strict=True)], 1)
    if task == "multi-label" and not np.isin(values, (0, 1)).all():
        row, column = (int(place) for place in np.argwhere(~np.isin(values, (0, 1)))[0])
        raise DataError(
            f"{table.name}: target {names[column]!r}, {table.place(row)}", f"{values[row, column]:g}", "0 or 1",
            "--set data.task=regression",
        )  # fmt: skip
    return values.astype(np.float32), names if task == "multi-label" else ()


def _classes(
    table: Table, name: str, cells: Cells, like: Examples | None, notes: list[str]
) -> tuple[Array, tuple[str, ...]]:
    numbered = cells.kind == "number" and (like is None or all(map(number_like, like.classes)))
    codes: npt.NDArray[Any]
    if numbered:
        distinct, codes = np.unique(cells.numbers, return_inverse=True)
        texts = tuple(map(number_text, distinct.tolist()))
    else:
        cells = as_texts(cells)
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
            f"the class {seen!r}, which training has not ({plural(int(wrong.sum()), 'row')} with such classes)",
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
