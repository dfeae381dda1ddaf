"""NumPy files, and what an array of inputs or of targets means. Nothing in a file is ever executed.

Where inputs and targets are found (capitals do not matter, ``-`` and ``.`` separate like ``_``):

- ``FILE.npz``: keys made of a role and, optionally, a part, in either order: ``x`` and ``y``, ``x_train`` and
  ``y_train``, ``test_images`` and ``test_labels``. Roles of inputs: x, input(s), image(s), feature(s), data; of
  targets: y, target(s), label(s). Parts: train, val (valid, validation), test. Without a part it is the training part.
- a folder of ``.npy`` files named by the same words.
- ``FILE.npy``, with its targets beside it: the same name with a target word for the input word, or with a target word
  added: ``X_train.npy`` and ``y_train.npy``, ``digits.npy`` and ``digits_labels.npy``.

What an array of inputs is:

- ``uint8`` (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W): pictures;
- any other ``uint8``: numbers in 0…255, scaled to 0…1;
- floats: as they are, (N, *shape) with channels first; four axes with 1 or 3 in the last one alone are taken for
  channels last, one axis for one feature;
- other integers: numbers like floats; tokens that stay integers where ``data.normalize`` is false.

What an array of targets is: ``targets_from_array``.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from netwright.data.examples import Array, Examples, Kind, Part, Task
from netwright.data.pictures import conform, parse_size, plan_of
from netwright.errors import DataError, nearest
from netwright.preprocess import ArrayPreprocess, ImagePreprocess, Preprocess, parse_channels, raw_shape
from netwright.recipe.schema import Data
from netwright.records import plural

INPUT_WORDS = ("x", "input", "inputs", "image", "images", "feature", "features", "data")
TARGET_WORDS = ("y", "target", "targets", "label", "labels")
PART_WORDS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
PIECE_BYTES = 1 << 24  # of an array in memory while it is looked through
MANY_CLASSES = 100  # more distinct integers than this, on most rows another: numbers rather than classes
MOST_CLASSES = 1_000_000  # a label beyond this is no index of a network's output
SUM_TOLERANCE = 1e-3  # of the probabilities of a row: float16 keeps three digits

Auto = Literal["auto"]
Numbers = npt.NDArray[Any]


# ------------------------------------------------------------------------------------------------ reading


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """The examples in a ``.npz`` file, a ``.npy`` file with its targets, or a folder of ``.npy`` files.

    ``.npy`` files stay memory-mapped. ``like``: training examples whose shape and classes rule; a file beside them
    needs no training part, and a single part of whatever name is returned as ``train``.
    """
    pairs, notes = _pairs(path)
    if like is not None and len(pairs) == 1:
        pairs = {"train": next(iter(pairs.values()))}
    if "train" not in pairs and like is None:
        raise DataError(str(path), f"the parts {', '.join(pairs)}", "a training part", "x_train and y_train")
    parts: dict[str, Part] = {}
    first = like
    for name in sorted(pairs, key=["train", "validation", "test"].index):
        x, y, where_x, where_y = pairs[name]
        part, described = _part(options, x, y, where_x, where_y, first)
        parts[name] = part
        if first is None:
            first = described
    assert first is not None
    return Examples(
        kind=first.kind, task=first.task, parts=parts, preprocess=first.preprocess, classes=first.classes,
        targets=first.targets, skipped=tuple(notes),
    )  # fmt: skip


def _part(
    options: Data, x: Array, y: Array, where_x: str, where_y: str, like: Examples | None
) -> tuple[Part, Examples]:
    if len(x) == 0 or x.size == 0:
        raise DataError(where_x, f"an empty array of shape {x.shape}", "at least one example")
    if x.ndim and y.ndim and len(x) != len(y):
        raise DataError(where_y, plural(len(y), "target"), f"{len(x)}, one for each example in {where_x}")
    check_finite(x, where_x)
    given = input_from_array(x, options, where_x)
    if like is not None:
        expected = raw_shape(like.preprocess[0])
        if given.raw.shape[1:] != expected or type(given.record) is not type(like.preprocess[0]):
            raise DataError(
                where_x, f"examples of shape {given.raw.shape[1:]}, {given.raw.dtype}",
                f"{expected} as in training ({type(like.preprocess[0]).__name__})",
            )  # fmt: skip
    targets = targets_from_array(y, options.task, where_y, like)
    part = Part((given.raw,), targets.values)
    described = Examples(
        kind=given.kind, task=targets.task, parts={"train": part}, preprocess=(given.record,), classes=targets.classes,
        targets=targets.names,
    )  # fmt: skip
    return part, described


Pair = tuple[Array, Array, str, str]  # inputs, targets, and where each was found


def _pairs(path: Path) -> tuple[dict[str, Pair], list[str]]:
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.glob("*.npy"))}
        if not files:
            raise DataError(str(path), "a folder without .npy files", "x.npy and y.npy")
        chosen, notes = _by_role(list(files), str(path), ".npy")
        return {
            part: (load(files[x]), load(files[y]), str(files[x]), str(files[y])) for part, (x, y) in chosen.items()
        }, notes
    if path.suffix.lower() == ".npz":
        with _open_npz(path) as archive:
            chosen, notes = _by_role(list(archive.files), str(path), "")
            return {
                part: (_member(archive, x, path), _member(archive, y, path), f"{path}: {x}", f"{path}: {y}")
                for part, (x, y) in chosen.items()
            }, notes
    partner = _partner(path)
    return {"train": (load(path), load(partner), str(path), str(partner))}, []


def _words(name: str) -> list[str]:
    """``"X_train"`` and ``"xTrain"`` as ``["x", "train"]``."""
    words = []
    for word in re.split(r"[^a-z0-9]+", name.lower()):
        joined = re.fullmatch(rf"([xy])({'|'.join(PART_WORDS)})|({'|'.join(PART_WORDS)})([xy])", word)
        words += [part for part in joined.groups() if part] if joined else [word] if word else []
    return words


def _meaning(name: str) -> tuple[Literal["inputs", "targets"], str] | None:
    """Role and part that a key's name tells, if it tells nothing else."""
    words = _words(name)
    part = [PART_WORDS[word] for word in words if word in PART_WORDS]
    rest = [word for word in words if word not in PART_WORDS]
    if len(rest) != 1 or len(part) > 1:
        return None
    if rest[0] in INPUT_WORDS:
        return "inputs", part[0] if part else "train"
    return ("targets", part[0] if part else "train") if rest[0] in TARGET_WORDS else None


def _by_role(names: list[str], where: str, suffix: str) -> tuple[dict[str, tuple[str, str]], list[str]]:
    found: dict[tuple[str, str], str] = {}
    notes = []
    for name in names:
        meaning = _meaning(name)
        if meaning is None:
            notes.append(f"{where}: {name}{suffix}: its name says neither inputs nor targets")
        elif meaning in found:
            raise DataError(where, f"both {found[meaning]} and {name}", f"one array of {meaning[0]} ({meaning[1]})")
        else:
            found[meaning] = name
    chosen = {}
    for part in ("train", "validation", "test"):
        inputs, targets = found.get(("inputs", part)), found.get(("targets", part))
        if inputs and targets:
            chosen[part] = (inputs, targets)
        elif inputs or targets:
            raise DataError(
                where, f"{inputs or targets} without its {'targets' if inputs else 'inputs'}, in {', '.join(names)}",
                f"x and y for the {part} part", "y beside x, y_train beside x_train",
            )  # fmt: skip
    if not chosen:
        raise DataError(where, f"the names {', '.join(names) or '(none)'}", "x and y, or x_train and y_train")
    return chosen, notes


def _partner(path: Path) -> Path:
    """The file with the targets of ``path``: its name with a target word for the input word, or one more."""
    words = _words(path.stem)
    if any(word in TARGET_WORDS for word in words) and not any(word in INPUT_WORDS for word in words):
        raise DataError(str(path), "targets, by its name", "the file with the inputs", "the .npy file beside it")
    ways = [words] + [words[:i] + words[i + 1 :] for i, word in enumerate(words) if word in INPUT_WORDS]
    found = []
    for other in sorted(path.parent.glob("*.npy")):
        theirs = _words(other.stem)
        rests = [theirs[:i] + theirs[i + 1 :] for i, word in enumerate(theirs) if word in TARGET_WORDS]
        if other.name != path.name and any(rest in ways for rest in rests):
            found.append(other)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise DataError(str(path), f"several files that could hold its targets: {names}", "one", "a .npz with x and y")
    raise DataError(
        str(path), "no targets beside it", f"{path.stem}_labels.npy (or y.npy beside x.npy)", "a .npz with x and y"
    )


def load(path: Path) -> Array:
    """The array in a ``.npy`` file, memory-mapped, never unpickled."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(str(path), "no such file", "a .npy file") from error
    except (ValueError, EOFError, OSError) as error:
        raise _unreadable(str(path), error) from error
    if not isinstance(array, np.ndarray):
        raise DataError(str(path), "an archive of arrays", "one array", "the suffix .npz")
    return _native(array)


def _open_npz(path: Path) -> Any:
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(str(path), "no such file", "a .npz file") from error
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise _unreadable(str(path), error) from error
    if isinstance(archive, np.ndarray):
        raise DataError(str(path), "a single array", "an archive with x and y", "the suffix .npy")
    return archive


def _member(archive: Any, key: str, path: Path) -> Array:
    try:
        return _native(archive[key])
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise _unreadable(f"{path}: {key}", error) from error


def _unreadable(where: str, error: Exception) -> DataError:
    if "pickle" in str(error).lower():
        return DataError(
            where, "Python objects, which are not read (reading them would run code)", "an array of numbers or texts",
            "numpy.asarray(..., dtype=...) before saving",
        )  # fmt: skip
    return DataError(where, f"a file that cannot be read ({error})", "a NumPy file", "save it again")


def _native(array: Array) -> Array:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


# ------------------------------------------------------------------------------------------------ inputs


class Input(NamedTuple):
    """Raw examples (N, ...), how they become the network's input, and what they are."""

    raw: Array
    record: Preprocess
    kind: Kind


def input_from_array(x: Array, options: Data, where: str, as_given: bool = False) -> Input:
    """What an array of inputs means (see this file's first lines).

    ``as_given``: for a network of the user's own; shapes, integers and booleans stay what they are.
    """
    if x.dtype.kind not in "biuf":
        raise DataError(where, f"an array of {_kind_name(x)}", "numbers", "numpy.asarray(..., dtype=float)")
    if x.ndim == 0 or len(x) == 0 or x.size == 0:
        raise DataError(where, f"an array of shape {x.shape}", "(examples, ...), none of them empty")
    if x.dtype == np.uint8:
        picture = _planes_first(x)
        if picture is not None:
            return _pictures(picture, options)
    for key in ("channels", "size"):
        if getattr(options, key) != "auto":
            raise DataError(
                where, f"data.{key}={getattr(options, key)} for {x.dtype} of shape {x.shape}", "pictures in uint8"
            )
    if x.ndim == 1 and not as_given:
        x = x[:, None]
    if x.dtype.kind == "f":
        if x.ndim == 4 and not as_given and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
            x = np.moveaxis(x, 3, 1)
        if not isinstance(x, np.memmap):
            with np.errstate(over="ignore"):
                x = np.ascontiguousarray(x, np.float32)
        return Input(x, ArrayPreprocess(shape=x.shape[1:], dtype=str(x.dtype)), "array")
    if x.dtype == np.uint8:
        return Input(x, ArrayPreprocess(shape=x.shape[1:], dtype="uint8", scale=1 / 255), "array")
    if x.dtype.kind in "iu" and (x.dtype.itemsize < 4 or x.dtype.kind == "u") and not isinstance(x, np.memmap):
        x = x.astype(np.int64)  # what an embedding takes, and what every twin can index
    if not isinstance(x, np.memmap):
        x = np.ascontiguousarray(x)
    tokens = as_given or (x.dtype.kind in "iu" and options.normalize is False)
    record = ArrayPreprocess(shape=x.shape[1:], dtype=str(x.dtype), scale=None if tokens else 1.0)
    return Input(x, record, "array")


def raw_like(x: Array, record: Preprocess, where: str) -> Array:
    """An array at prediction in the raw form of training: (N, *shape), or one example, channels first or last."""
    if isinstance(record, ArrayPreprocess):
        kind = np.dtype(record.dtype).kind
        if x.dtype.kind not in "biuf" or (kind in "iu" and x.dtype.kind == "f"):
            raise DataError(where, f"an array of {_kind_name(x)}", record.dtype)
        if x.shape == record.shape:
            x = x[None]
        if x.ndim == 4 and x.shape[1:] != record.shape and np.moveaxis(x, 3, 1).shape[1:] == record.shape:
            x = np.moveaxis(x, 3, 1)
        if x.ndim == 1 and record.shape == (1,):
            x = x[:, None]
        if x.shape[1:] != record.shape:
            raise DataError(where, f"an array of shape {x.shape}", f"(examples, {_list(record.shape)})")
        return np.ascontiguousarray(x, np.dtype(record.dtype))
    if not isinstance(record, ImagePreprocess):
        raise DataError(where, "an array", f"what {type(record).__name__} is fed from: a file")
    if x.dtype != np.uint8:
        raise DataError(where, f"an array of {_kind_name(x)}", "uint8 pixels (0…255)")
    colour = raw_shape(record)[0] == 3
    if x.ndim == 2 or (x.ndim == 3 and (x.shape[2] == 3 or (colour and x.shape[0] == 3))):  # one picture
        x = x[None]
    picture = _planes_first(x)
    if picture is None:
        raise DataError(where, f"an array of shape {x.shape}", "pictures: (N, H, W), (N, H, W, 3) or (N, 3, H, W)")
    return np.ascontiguousarray(conform(picture, plan_of(record)))


def check_finite(x: Array, where: str) -> None:
    """Stops with place and number of NaN and infinite values (also of those beyond ``float32``)."""
    if x.dtype.kind != "f":
        return
    bad, first = 0, -1
    for start, piece in _pieces(x):
        with np.errstate(over="ignore"):
            wrong = ~np.isfinite(np.asarray(piece, np.float32))
        count = int(wrong.sum())
        if count and first < 0:
            first = start + int(np.argmax(wrong.reshape(len(piece), -1).any(1)))
        bad += count
    if bad:
        raise DataError(
            where,
            f"{plural(bad, 'value that is', 'values that are')} NaN, infinite or beyond float32, the first in example "
            f"{first} (from 0)",
            "finite numbers", "leave those examples out, or put the mean there",
        )  # fmt: skip


def _planes_first(x: Array) -> Array | None:
    """Pictures as (N, 1 or 3, H, W), or None if that is not what the shape says."""
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4:
        return None
    if x.shape[1] in (1, 3):
        return x
    return np.moveaxis(x, 3, 1) if x.shape[3] in (1, 3) else None


def _pictures(x: Array, options: Data) -> Input:
    """Pictures keep their size unless the recipe says another: whoever made the array has chosen it."""
    own = "grey" if x.shape[1] == 1 else "rgb"
    record = ImagePreprocess(
        channels=parse_channels(own if options.channels == "auto" else options.channels),
        size=parse_size(options.size) or (x.shape[2], x.shape[3]),
        fit=options.fit,
    )
    raw = conform(x, plan_of(record))
    return Input(raw if isinstance(raw, np.memmap) else np.ascontiguousarray(raw), record, "image")


# ------------------------------------------------------------------------------------------------ targets


class Targets(NamedTuple):
    """``values`` as a ``Part`` keeps them; ``classes`` of a classification or the labels; ``names`` of values."""

    values: Array
    task: Task
    classes: tuple[str, ...]
    names: tuple[str, ...]


def targets_from_array(
    y: Numbers, task: Task | Auto, where: str, like: Examples | None = None, keep_integers: bool = False
) -> Targets:
    """What an array of targets means.

    | array | task |
    | --- | --- |
    | integers, booleans or texts (N,) | classification; sorted values become 0…C−1, ``str(value)`` their names |
    | each row one 1 among zeros (N, C) | classification, by its place |
    | floats, rows that sum to 1 (N, C) | classification with soft labels |
    | zeros and ones (N, K) | multi-label |
    | floats that are 0 or 1, and both occur (N,) or (N, 1) | multi-label with one label: yes or no |
    | other floats (N,) or (N, K) | regression |

    ``task`` decides where it is given. ``like``: examples whose task and classes rule. ``keep_integers``: labels from 0
    up stay what they are, as PyTorch reads them (output i is label i); a gap is then a class without examples.
    """
    y = _checked(y, where)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    chosen: Task = like.task if like is not None else _guessed(y, where, keep_integers) if task == "auto" else task
    if chosen == "regression":
        return _values(y, where, like)
    if chosen == "multi-label":
        return _labels(y, where, like)
    return _classes(y, where, like, keep_integers)


def _checked(y: Numbers, where: str) -> Numbers:
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.dtype.kind not in "biufU":
        raise DataError(where, f"targets of {_kind_name(y)}", "integers, floats or texts")
    if y.ndim not in (1, 2) or y.size == 0:
        raise DataError(where, f"targets of shape {y.shape}", "(examples,) or (examples, outputs), not empty")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        wrong = ~np.isfinite(y).reshape(len(y), -1).all(1)
        raise DataError(
            where, f"{plural(int(wrong.sum()), 'target')} NaN or infinite, the first in example {int(wrong.argmax())}",
            "finite numbers", "leave those examples out",
        )  # fmt: skip
    return y


def _guessed(y: Numbers, where: str, keep_integers: bool) -> Task:
    if y.dtype.kind in "Ub" and y.ndim == 1:
        return "classification"
    zeros_and_ones = y.dtype.kind != "U" and bool(((y == 0) | (y == 1)).all())
    if y.ndim == 2:
        if zeros_and_ones:
            return "classification" if bool((y.sum(1) == 1).all()) else "multi-label"
        if y.dtype.kind == "f":
            return "classification" if _sums_to_one(y) else "regression"
        raise DataError(
            where, f"{_kind_name(y)} of shape {y.shape} that are not only 0 and 1", "one label an example",
            "--set data.task=regression" if y.dtype.kind != "U" else "one column",
        )  # fmt: skip
    if y.dtype.kind == "f":
        return "multi-label" if zeros_and_ones and y.min() != y.max() else "regression"
    distinct = len(np.unique(y))
    if not keep_integers and distinct > MANY_CLASSES and distinct > len(y) / 2:
        raise DataError(
            where, f"{distinct} distinct integers in {len(y)} examples", "classes or values: the array does not tell",
            "--set data.task=regression (or classification)",
        )  # fmt: skip
    return "classification"


def _sums_to_one(y: Numbers) -> bool:
    sums = y.sum(1, dtype=np.float64)
    return bool((y >= 0).all() and (np.abs(sums - 1) < SUM_TOLERANCE).all())


def _values(y: Numbers, where: str, like: Examples | None) -> Targets:
    if y.dtype.kind == "U":
        raise DataError(where, f"texts such as {str(y.flat[0])!r}", "numbers", "--set data.task=classification")
    values = y.reshape(len(y), -1).astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(where, f"values up to {float(np.abs(y).max()):g}", "values that float32 holds", "another unit")
    _same_width(values.shape[1], len(like.targets) if like else None, where, "values")
    names = like.targets if like else _names("y", values.shape[1])
    return Targets(values, "regression", (), names)


def _labels(y: Numbers, where: str, like: Examples | None) -> Targets:
    if y.dtype.kind == "U" or not ((y == 0) | (y == 1)).all():
        raise DataError(where, "other values than 0 and 1", "0 or 1 for each label", "--set data.task=classification")
    values = y.reshape(len(y), -1).astype(np.float32)
    _same_width(values.shape[1], len(like.classes) if like else None, where, "labels")
    count = values.shape[1]
    classes = like.classes if like else ("1",) if count == 1 else tuple(str(i) for i in range(count))
    return Targets(values, "multi-label", classes, ())


def _classes(y: Numbers, where: str, like: Examples | None, keep_integers: bool) -> Targets:
    if y.ndim == 2:
        return _rows_of_classes(y, where, like)
    if y.dtype.kind == "f":
        if (y != np.rint(y)).any() or float(np.abs(y).max()) > 2**53:
            raise DataError(
                where, f"{float(y[y != np.rint(y)][0]) if (y != np.rint(y)).any() else float(y.max()):g}",
                "whole numbers as classes", "--set data.task=regression",
            )  # fmt: skip
        y = y.astype(np.int64)
    known = like.classes if like is not None else None
    numbered = known is None or known == tuple(map(str, range(len(known))))
    if keep_integers and y.dtype.kind in "iu" and numbered and int(y.min()) >= 0:
        return _kept(y, where, known)
    distinct, inverse = np.unique(y, return_inverse=True)
    names = tuple(str(value) for value in distinct.tolist())
    if known is None:
        return Targets(inverse.reshape(-1).astype(np.int64), "classification", names, ())
    places = {name: place for place, name in enumerate(known)}
    unknown = [name for name in names if name not in places]
    if unknown:
        rows = int(np.isin(inverse, [names.index(name) for name in unknown]).sum())
        shown = ", ".join(map(repr, unknown[:5]))
        near = nearest(unknown[0], known)
        raise DataError(
            where, f"classes that the training part has not: {shown} ({plural(rows, 'example')})",
            f"one of {', '.join(known[:20])}", near or "examples of it in the training part",
        )  # fmt: skip
    table = np.asarray([places[name] for name in names], np.int64)
    return Targets(table[inverse.reshape(-1)], "classification", known, ())


def _kept(y: Numbers, where: str, known: tuple[str, ...] | None) -> Targets:
    count = int(y.max()) + 1
    if count > MOST_CLASSES:
        raise DataError(where, f"the label {count - 1}", f"labels below {MOST_CLASSES}", "--set data.task=regression")
    if known is not None and count <= len(known):
        return Targets(y.astype(np.int64), "classification", known, ())
    return Targets(y.astype(np.int64), "classification", tuple(map(str, range(count))), ())


def _rows_of_classes(y: Numbers, where: str, like: Examples | None) -> Targets:
    width = y.shape[1]
    _same_width(width, len(like.classes) if like else None, where, "classes")
    classes = like.classes if like else tuple(str(i) for i in range(width))
    if y.dtype.kind != "U" and bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all()):
        return Targets(y.argmax(1).astype(np.int64), "classification", classes, ())
    if y.dtype.kind == "f" and _sums_to_one(y):
        return Targets(y.astype(np.float32), "classification", classes, ())
    raise DataError(
        where, f"rows of {width} that are neither one-hot nor sum to 1", "one class an example",
        "--set data.task=multi-label (or regression)",
    )  # fmt: skip


def _same_width(width: int, expected: int | None, where: str, what: str) -> None:
    if expected is not None and width != expected:
        raise DataError(where, f"{width} {what} an example", f"{expected} as in training")


def _names(stem: str, count: int) -> tuple[str, ...]:
    return (stem,) if count == 1 else tuple(f"{stem}{i}" for i in range(count))


def _pieces(x: Array) -> Iterator[tuple[int, Numbers]]:
    rows = max(1, PIECE_BYTES // max(1, math.prod(x.shape[1:]) * x.dtype.itemsize))
    for start in range(0, len(x), rows):
        yield start, x[start : start + rows]


def _kind_name(x: Array) -> str:
    return {"O": "Python objects", "U": "texts", "c": "complex numbers", "M": "dates"}.get(x.dtype.kind, str(x.dtype))


def _list(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
