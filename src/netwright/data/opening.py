"""From ``data.source`` to examples that are split, checked and measured: ``open_source``, and ``finish`` for examples
that are already in Python.

What a source is, is seen in its content: the first bytes of a file, what lies in a folder or an archive. The names of
files matter only where the format itself lays them down (``train-images-idx3-ubyte``, ``data_batch_1``, ``x.npy``).
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from netwright.data import archives, cifar, digits, folders, idx
from netwright.data.cells import number_like
from netwright.data.examples import Examples, Part, Task
from netwright.data.kinds import kind_of
from netwright.data.releasing import give_back
from netwright.data.splitting import bootstrap, holdout, sample
from netwright.errors import DataError, nearest
from netwright.preprocess import TextInput, measure
from netwright.recipe.schema import Data
from netwright.records import plural, shape_text

if TYPE_CHECKING:
    from netwright.data.streams import TextStream

BUILT_IN = ("digits",)
TABLES = (".csv", ".tsv")  # however few of their rows are whole, they are no running texts
JSON = re.compile(rb"\s*(?:\{\s*[\"}]|\[\s*(?:\{|\[\s*[\[\"\d-]))")
DEFAULT_VALIDATION = 0.1  # of the training part, where the source has no validation part of its own
DIGITS_TEST = 0.2  # of the built-in digits, which have no test part and are too few to do without one
PEEK_BYTES = 4096
PROSE_LINES, TABLE_SHARE = 40, 0.8  # lines that are looked at, and the share of them that a table divides alike
PROSE = 200  # bytes from which a single line is a text
LOOKED_INTO = 20  # of a folder's largest files, for one that is a source by itself
ENOUGH = 100  # pictures or sounds that are seen in a folder or archive before it is clear which of them it is

Split = Literal["validation", "test"]
Reader = Callable[[Data, Path, Examples | None], Examples]


def open_material(options: Data, known: TextInput | None = None) -> Examples | TextStream:
    """The source as it is trained on: its examples, or of a plain text its stream. ``known``: the vocabulary of a run
    that a training goes on from."""
    path = resolve(options.source, "data.source")
    if options.format not in ("auto", "text") or path.is_dir() or str(path) in BUILT_IN:
        return open_source(options, known)
    if (options.format if options.format != "auto" else detect(path)) != "text" or archives.is_archive(path):
        return open_source(options, known)
    from netwright.data import streams

    if options.bootstrap_seed or options.bootstrap_weights:
        raise DataError(
            "data.bootstrap_seed", "a sample of a running text", "examples that can be drawn one by one",
            "--set data.bootstrap_seed=0",
        )  # fmt: skip
    if options.task not in ("auto", "classification"):
        raise DataError("data.task", f"{options.task} of a running text", "auto: the next unit is told")
    if options.leave_out:
        raise DataError("data.leave_out", "a list for a running text", "examples that can be left out")
    splits: tuple[Split, ...] = ("validation", "test")
    held_out: dict[str, Path] = {
        split: choice for split in splits if isinstance(choice := _choice(options, split), Path)
    }
    return streams.read(options, path, held_out, known)


def open_source(options: Data, known: TextInput | None = None) -> Examples:
    """The examples that ``options`` describe, in the parts ``train`` and, where there are any, ``validation`` and
    ``test``, with statistics measured on the training part."""
    path = resolve(options.source, "data.source")
    kind = options.format if options.format != "auto" else detect(path)
    if kind == "table" and options.horizon:
        kind = "series"
    if kind == "python":
        raise DataError("data.format", "python", "examples handed over in Python", "netwright.fit(network, train)")
    if kind == "digits" and options.source not in BUILT_IN:
        raise DataError(
            "data.format", f"digits for {options.source!r}", "the built-in source", "netwright train digits"
        )
    if kind == "text" and not path.is_dir() and not archives.is_archive(path):
        raise DataError(
            str(path), "a running text", "examples: this verb takes a text only where its files have classes",
            "netwright train, which makes a language model of it",
        )  # fmt: skip
    examples = _reader(kind)(options, path, None)
    give_back()
    if kind == "digits" and options.test == "auto":
        options = msgspec.structs.replace(options, test=DIGITS_TEST)
    for split in ("test", "validation"):
        choice = _choice(options, split)
        if isinstance(choice, Path):
            examples = _with_part(examples, options, split, choice, kind)
    if examples.window is not None:  # its parts are in the order of time already
        shares = {split: "auto" for split in ("validation", "test") if split in examples.parts}
        options = msgspec.structs.replace(options, **shares)
    return finish(examples, options, known)


def finish(examples: Examples, options: Data, known: TextInput | None = None) -> Examples:
    """The task asked for, parts held out, at most ``limit`` training examples, everything checked, and statistics
    measured on the training part alone."""
    examples = _as_task(examples, options.task)
    parts = dict(examples.parts)
    if "train" not in parts or len(parts["train"]) == 0:
        raise DataError("data.source", "no training examples", "at least two")
    _check(examples)
    for split in ("test", "validation"):  # in this order: the test part is a share of all, whatever validation is
        _hold_out(parts, examples.task, options, split)
    if options.limit:
        seed = options.split_seed + options.limit_seed
        chosen = sample(parts["train"].part_targets(), examples.task, options.limit, seed)
        if len(chosen) < len(parts["train"]):
            parts["train"] = parts["train"].take(chosen)
    if options.leave_out:
        from netwright.data import leaving

        listed = Path(options.leave_out).expanduser()
        parts["train"], notes = leaving.without(parts["train"], listed, examples.classes)
        examples = dataclasses.replace(examples, skipped=(*notes, *examples.skipped))
    ordered: dict[str, Part] = {name: parts[name] for name in ("train", "validation", "test") if name in parts}
    if examples.text is not None:
        from netwright.data import texts

        return bootstrapped(texts.settled(dataclasses.replace(examples, parts=ordered), options, known), options)
    records = examples.preprocess
    if options.normalize is not False:
        train = ordered["train"]
        records = tuple(measure(record, raw, train.rows) for record, raw in zip(records, train.inputs, strict=True))
    return bootstrapped(dataclasses.replace(examples, parts=ordered, preprocess=records), options)


def bootstrapped(examples: Examples, options: Data) -> Examples:
    """The examples with a sample of their training part, drawn with replacement, in its place, where the recipe asks
    for one. What was measured (mean and deviation, a vocabulary) stays that of the whole part."""
    if not options.bootstrap_seed:
        if options.bootstrap_weights:
            raise DataError(
                "data.bootstrap_weights", options.bootstrap_weights, "a seed by which it is drawn",
                "--set data.bootstrap_seed=1",
            )  # fmt: skip
        return examples
    train = examples.parts["train"]
    likely = _likely(options.bootstrap_weights, len(train)) if options.bootstrap_weights else None
    drawn = train.take(bootstrap(len(train), options.bootstrap_seed, likely))
    return dataclasses.replace(examples, parts={**examples.parts, "train": drawn})


def _likely(file: str, count: int) -> np.ndarray:
    """The weights in a file, one a training example."""
    try:
        weights = np.asarray(np.load(Path(file).expanduser(), allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        got = f"a file that cannot be read ({error})"
        raise DataError(f"data.bootstrap_weights: {file}", got, "an array of weights (.npy)") from error
    if weights.shape != (count,) or weights.dtype.kind not in "fiu":
        got = f"{weights.dtype} of shape {shape_text(weights.shape) or '()'}"
        raise DataError(f"data.bootstrap_weights: {file}", got, f"{plural(count, 'number')}, one a training example")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DataError(f"data.bootstrap_weights: {file}", "weights that are no likelihoods", "numbers of 0 or more")
    return weights


# ------------------------------------------------------------------------------------------------ what it is


def resolve(source: str, where: str) -> Path:
    """The path that ``source`` names; of a built-in source its name."""
    if source in BUILT_IN:
        return Path(source)
    path = Path(source).expanduser()
    if path.exists():
        return path
    near = nearest(path.name, [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else [])
    raise DataError(
        where, f"{source!r}, which does not exist", f"{' or '.join(BUILT_IN)}, a file or a folder",
        nearest(source, BUILT_IN) or (str(path.with_name(near)) if near else ""),
    )  # fmt: skip


def detect(path: Path) -> str:
    """The format of a file or folder, by its content; raises if it is none that is known."""
    if str(path) in BUILT_IN:
        return "digits"
    kind = _folder_kind(path) if path.is_dir() else _file_kind(path)
    if kind is None:
        seen = None if path.is_dir() else kind_of(path)
        what = _folder_text(path) if path.is_dir() else seen.name if seen else "a file of a format that is not known"
        raise DataError(
            str(path), what,
            "IDX or CIFAR files, class folders of pictures or of WAV files (also in an archive), .npy or .npz arrays, "
            "a table (.csv, .tsv, .parquet), class folders of texts, or a plain text",
            (_source_in(path) if path.is_dir() else "") or "netwright list sources",
        )  # fmt: skip
    return kind


def _source_in(folder: Path) -> str:
    """The largest file of a folder that is a source by itself; empty where there is none."""
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    for file in sorted(files, key=lambda file: (-file.stat().st_size, file.name))[:LOOKED_INTO]:
        with contextlib.suppress(DataError):
            if _file_kind(file) is not None:
                return str(file)
    return ""


def _folder_kind(path: Path) -> str | None:
    files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    if any(idx.names_a_part(file.name) and ("ubyte" in file.name or idx.is_idx(file)) for file in files):
        return "idx"
    if any(file.suffix == ".npy" for file in files):
        return "array"
    return _tree_kind(_names_below(path))


def _names_below(path: Path) -> Iterator[str]:
    for top, below, files in os.walk(path, followlinks=True):
        below.sort()
        base = Path(top).relative_to(path)
        yield from (str(PurePosixPath(base, name)) for name in sorted(files))


def _tree_kind(names: Iterable[str]) -> str | None:
    """What a tree of files is: CIFAR by its batches' names, else what there is more of at the beginning."""
    by_folder: dict[str, set[str]] = {}
    pictures = sounds = texts = 0
    for name in names:
        place = PurePosixPath(name)
        if any(part.startswith((".", "__MACOSX")) for part in place.parts):
            continue
        pictures += folders.is_picture(place.name)
        sounds += place.suffix.lower() == ".wav"
        texts += place.suffix.lower() == ".txt" and len(place.parts) > 1
        if len(place.parts) <= 2:
            group = by_folder.setdefault(str(place.parent), set())
            group.add(place.name)
            if cifar.has_batches(group):
                return "cifar"
        if pictures + sounds >= ENOUGH:
            break
    if not pictures and not sounds:
        return "text" if texts else None
    return "folder" if pictures >= sounds else "sound"


def _folder_text(path: Path) -> str:
    files = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
    if not files:
        return "an empty folder"
    return f"a folder with {', '.join(files[:4])}" + (f" and {len(files) - 4} more" if len(files) > 4 else "")


def _file_kind(path: Path) -> str | None:
    try:
        start = _start(path)
    except OSError as error:
        raise DataError(str(path), error.strerror or str(error), "a file that can be read") from error
    if not start:
        raise DataError(str(path), "an empty file", "examples", "netwright list sources")
    if start.startswith(b"\x93NUMPY"):
        return "array"
    if start.startswith(b"PAR1"):
        return "table"
    if start.startswith(b"RIFF") and start[8:12] == b"WAVE":
        return "sound"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            arrays = any(name.endswith(".npy") for name in archive.namelist())
        return "array" if arrays else _tree_kind(entry.name for entry in archives.entries(path) if not entry.directory)
    if start.startswith(b"PK\x03\x04"):
        raise DataError(str(path), "a damaged or truncated zip archive", "a whole one", "download it again")
    if idx.is_idx(path):
        return "idx"
    if archives.is_archive(path):
        return _tree_kind(entry.name for entry in archives.entries(path) if not entry.directory)
    if folders.is_picture(path.name):
        raise DataError(str(path), "a single picture", folders.EXPECTED)
    inside = _unpacked(path)
    if JSON.match(inside):
        return None
    if cifar.is_batch(path):
        return "cifar"
    if path.name.lower().startswith(("train-", "t10k-")) or "-ubyte" in path.name.lower():
        return "idx"  # damaged, as its reader will say
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) and _is_text(start.decode("utf-16", "ignore").encode()):
        return "table"  # as spreadsheets write "Unicode text"
    if not _is_text(inside):
        return None
    tabular = PurePosixPath(path.name.lower().removesuffix(".gz")).suffix in TABLES
    return "text" if _runs_on(inside) and not tabular else "table"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PEEK_BYTES)


def _unpacked(path: Path) -> bytes:
    """The first bytes of a file, of a compressed one those of what is in it."""
    start = _start(path)
    try:
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                return file.read(PEEK_BYTES)
        if start.startswith(b"\xfd7zXZ\0"):
            with lzma.open(path) as file:
                return file.read(PEEK_BYTES)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return start
    return start


def _runs_on(start: bytes) -> bool:
    """Whether a text is one to read: no mark divides most of its first lines into as many cells, and they are not
    numbers, one a line."""
    whole = start if len(start) < PEEK_BYTES or b"\n" not in start else start[: start.rfind(b"\n") + 1]
    lines = [line for line in whole.decode("utf-8", "ignore").splitlines() if line.strip()][:PROSE_LINES]
    for mark in ",;\t|":
        widths = [len(row) for row in csv.reader(lines, delimiter=mark)]
        usual = max(widths, key=widths.count, default=1)
        if usual > 1 and widths.count(usual) >= TABLE_SHARE * len(widths):
            return False
    numbers = sum(line.strip().replace(".", "").replace("-", "").replace("e", "").isdigit() for line in lines)
    return (len(lines) > 1 or len(start) > PROSE) and numbers < len(lines) / 2


def _is_text(start: bytes) -> bool:
    return bool(start) and not any(byte < 9 or 13 < byte < 32 for byte in start)


# ------------------------------------------------------------------------------------------------ reading


def _reader(kind: str) -> Reader:
    """The reader of a format. The last three are only imported when they are asked for."""
    match kind:
        case "digits":
            return lambda options, path, like: digits.read(options, like)
        case "idx":
            return idx.read
        case "cifar":
            return cifar.read
        case "folder":
            return folders.read
        case "array":
            from netwright.data import arrays

            return arrays.read
        case "table":
            from netwright.data import tables

            return tables.read
        case "text":
            from netwright.data import texts

            return texts.read
        case "series":
            from netwright.data import windows

            return windows.read
        case _:
            from netwright.data import sounds

            return sounds.read


def _choice(options: Data, split: Split) -> float | Path | Literal["auto"]:
    """What the recipe says about a part: a share, a path, or ``"auto"``."""
    value = options.validation if split == "validation" else options.test
    if isinstance(value, str) and value != "auto":
        try:
            share = float(value)
        except ValueError:
            return resolve(value, f"data.{split}")
    elif isinstance(value, str):
        return "auto"
    else:
        share = float(value)
    if not 0 <= share < 1:
        raise DataError(f"data.{split}", f"the share {value}", "0 or more and less than 1, or a file or folder")
    return share


def _with_part(examples: Examples, options: Data, split: Split, path: Path, kind: str) -> Examples:
    """``examples`` with a part from a source of its own, which may be of another format than the training part's."""
    forced = options.format != "auto" and detect_or_none(resolve(options.source, "data.source")) != options.format
    other = _reader(kind if forced else detect(path))(options, path, examples)
    where = f"data.{split}: {path}"
    if other.kind != examples.kind or other.task != examples.task:
        raise DataError(where, f"{other.kind} for {other.task}", f"{examples.kind} for {examples.task} as in training")
    if other.outputs != examples.outputs:
        raise DataError(where, f"{other.outputs} outputs", f"{examples.outputs} as in training")
    order = (split, "test" if split == "validation" else "validation", "train")
    part = next(other.parts[name] for name in order if name in other.parts)
    return dataclasses.replace(
        examples, parts={**examples.parts, split: part}, skipped=(*examples.skipped, *other.skipped)
    )


def detect_or_none(path: Path) -> str | None:
    try:
        return detect(path)
    except DataError:
        return None


# ------------------------------------------------------------------------------------------------ finishing


def _as_task(examples: Examples, wanted: Task | Literal["auto"]) -> Examples:
    """The examples for another task than their own, where their targets allow it."""
    if wanted in ("auto", examples.task):
        return examples
    if examples.task == "classification" and wanted == "multi-label":
        size = len(examples.classes)
        parts = {name: _retargeted(part, lambda y: _one_hot(y, size)) for name, part in examples.parts.items()}
        return dataclasses.replace(examples, task="multi-label", parts=parts)
    if examples.task == "classification" and wanted == "regression":
        try:
            values = np.array([float(name) for name in examples.classes], np.float32)
        except ValueError as error:
            raise DataError(
                "data.task", f"regression for the classes {', '.join(examples.classes[:5])}", "classes that are numbers"
            ) from error
        if all(part.targets.ndim == 1 for part in examples.parts.values()):
            parts = {name: _retargeted(part, lambda y: values[y][:, None]) for name, part in examples.parts.items()}
            return dataclasses.replace(examples, task="regression", parts=parts, classes=(), targets=("target",))
    raise DataError("data.task", f"{wanted} for targets of {examples.task}", f"auto or {examples.task}")


def _retargeted(part: Part, change: Callable[[np.ndarray], np.ndarray]) -> Part:
    return dataclasses.replace(part, targets=change(part.targets))


def _one_hot(labels: np.ndarray, size: int) -> np.ndarray:
    if labels.ndim == 2:
        return labels
    hot: np.ndarray = (labels[:, None] == np.arange(size)).astype(np.float32)
    return hot


def _check(examples: Examples) -> None:
    """What every source must hold to before anything is held out."""
    train = examples.parts["train"]
    if examples.task == "classification" and len(examples.classes) < 2:
        only = f", {examples.classes[0]!r}" if examples.classes else ""
        numbers = any(only) and all(map(number_like, examples.classes))
        way = "--target COLUMN, another one" if examples.kind == "table" else "examples of another class beside them"
        raise DataError(
            "data.source", f"one class only{only}", "two or more for classification",
            "--set data.task=regression" if numbers else way,
        )  # fmt: skip
    for name, part in examples.parts.items():
        if len(part) == 0:
            raise DataError(f"data.{name}" if name != "train" else "data.source", "no examples", "at least one")
        for raw, first in zip(part.inputs, train.inputs, strict=True):
            if raw.shape[1:] != first.shape[1:]:
                raise DataError(
                    f"{name} part", f"examples of shape {shape_text(raw.shape[1:])}",
                    f"{shape_text(first.shape[1:])} as in training",
                )  # fmt: skip
        if examples.task == "classification" and part.targets.ndim == 1:
            _check_labels(part, name, len(examples.classes))


def _check_labels(part: Part, name: str, classes: int) -> None:
    labels = part.part_targets()
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))  # type: ignore[operator]
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"{name} part: {part.name(first)}", f"the label {labels[first]} (and {len(wrong) - 1} more out of range)",
            f"0…{classes - 1} for {classes} classes",
        )  # fmt: skip


def _hold_out(parts: dict[str, Part], task: Task, options: Data, split: Split) -> None:
    """Puts into ``parts`` what the recipe says about one part. A share is taken from the training part, also where
    the source has a part of its own, which is then left aside."""
    choice = _choice(options, split)
    if isinstance(choice, Path):
        if split not in parts:
            raise DataError(
                f"data.{split}", f"the path {choice}", "examples in Python, or a share of the training part"
            )
        return
    automatic = choice == "auto"
    if automatic:
        if split in parts or split == "test":
            return
        share = DEFAULT_VALIDATION
    else:
        share = float(choice)
        parts.pop(split, None)
    if share == 0:
        return
    train = parts["train"]
    rest, held = holdout(train.part_targets(), task, share, options.split_seed)
    if len(held) == 0 or len(rest) == 0:
        if automatic:  # too few to spare any
            return
        raise DataError(
            f"data.{split}", f"a share of {share:g}, which is none of {plural(len(train), 'example')}",
            "a share that leaves both parts at least one", f"data.{split}=0.5, or 0 to do without",
        )  # fmt: skip
    parts["train"], parts[split] = train.take(rest), train.take(held)
