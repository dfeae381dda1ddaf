"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html), as published: a folder of Python batches or of
binary ones, such a folder in a .tar, .tar.gz or .tar.xz archive, or a single batch.

Python batches are pickles, and a pickle is a program. Here none of it runs: the few names that such a batch needs stand
for inert classes of this file, and any other name ends the reading.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from netwright.data.archives import entries, is_archive
from netwright.data.cache import store
from netwright.data.examples import Array, Examples, Part, Rows
from netwright.data.pictures import Block, Look, Plan, conform, plan_of, preprocess_for
from netwright.data.splitting import match_classes
from netwright.errors import DataError
from netwright.preprocess import ImagePreprocess
from netwright.recipe.schema import Data
from netwright.records import plural

SIDE = 32
PIXELS = 3 * SIDE * SIDE
COARSE, FINE, TEN = 20, 100, 10  # classes
PIECE = 1000  # pictures changed at a time
_TEN = re.compile(r"(?P<part>data_batch_(?P<number>\d+)|test_batch)(?P<binary>\.bin)?$")
_HUNDRED = re.compile(r"(?P<part>train|test)(?P<number>)(?P<binary>\.bin)?$")
_META = {"batches.meta", "meta", "batches.meta.txt", "fine_label_names.txt"}


class Batch(NamedTuple):
    """``images`` (N, 3, 32, 32), ``labels`` (N,), and how many classes there are."""

    images: Array
    labels: Rows
    classes: int


class _File(NamedTuple):
    """A file of the set: the folder it lies in, its name, and how to get its bytes."""

    folder: str
    name: str
    read: Callable[[], bytes]


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """The training and test part, whichever there is. A test part alone is the training part of its source."""
    files = list(_files(path))
    batches, classes = _batches(files, path)
    count = {part: sum(len(batch.labels) for batch in group) for part, group in batches.items()}
    labels = {part: np.concatenate([batch.labels for batch in group]) for part, group in batches.items()}
    record = preprocess_for(options, [Look(SIDE, SIDE, False)], like)
    flat = [batch for group in batches.values() for batch in group]
    batches.clear()  # each batch is let go when it has been stored, so that the set is not held twice
    pixels = _stored(options, path, flat, record)
    parts, start = {}, 0
    for part in count:
        targets = match_classes(labels[part], classes, like.classes, str(path)) if like else labels[part]
        parts[part if len(count) > 1 else "train"] = Part((pixels[start : start + count[part]],), targets)
        start += count[part]
    return Examples(
        kind="image", task="classification", parts=parts, preprocess=(record,),
        classes=like.classes if like else classes,
    )  # fmt: skip


def has_batches(names: set[str]) -> bool:
    """Whether there are batches among the names of a folder's files."""
    hundred = not names.isdisjoint(_META) and any(_HUNDRED.match(name) for name in names)
    return hundred or any(_TEN.match(name) for name in names)


def is_batch(path: Path) -> bool:
    """Whether a single file is a batch, by its content. Any pickle counts: reading it says what is wrong with it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return True
    return size > 0 and any(
        size % record == 0 and all(start[at] < limit for at in range(0, len(start), record))
        for record, limit in ((1 + PIXELS, TEN), (2 + PIXELS, COARSE))
    )


# ------------------------------------------------------------------------------------------------ files


def _files(path: Path) -> Iterator[_File]:
    if path.is_dir():
        for file in sorted([*path.iterdir(), *path.glob("*/*")]):
            if _is_known(file.name) and file.is_file():
                yield _File(str(file.parent.relative_to(path)), file.name, _reader(file))
    elif is_archive(path):
        for entry in entries(path):
            place = PurePosixPath(entry.name)
            if _is_known(place.name) and not entry.directory:
                data = entry.read()
                yield _File(str(place.parent), place.name, lambda data=data: data)  # type: ignore[misc]
    else:
        yield _File("", path.name, _reader(path))
        for file in sorted(path.parent.iterdir()):
            if file.name in _META:
                yield _File("", file.name, _reader(file))


def _is_known(name: str) -> bool:
    return name in _META or bool(_TEN.match(name) or _HUNDRED.match(name))


def _reader(file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise DataError(str(file), error.strerror or str(error), "a CIFAR batch") from error

    return read


def _batches(files: list[_File], path: Path) -> tuple[dict[str, list[Batch]], tuple[str, ...]]:
    """The batches of each part in their order, and the names of the classes."""
    if path.is_dir() or is_archive(path):
        chosen, around = _chosen(files, path)
    else:
        chosen, around = [("train", files[0])], files[1:]
    batches: dict[str, list[Batch]] = {}
    for part, file in chosen:
        batches.setdefault(part, []).append(read_batch(file.read(), f"{path}: {file.name}"))
    kinds = {batch.classes for group in batches.values() for batch in group}
    if len(kinds) > 1:
        raise DataError(str(path), "batches of CIFAR-10 and CIFAR-100", "one of the sets")
    count = kinds.pop()
    names = _class_names(around, count, path) or tuple(str(label) for label in range(count))
    return batches, names


def _chosen(files: list[_File], path: Path) -> tuple[list[tuple[str, _File]], list[_File]]:
    by_folder: dict[str, list[_File]] = {}
    for file in files:
        by_folder.setdefault(file.folder, []).append(file)
    found = [group for group in by_folder.values() if has_batches({file.name for file in group})]
    if len(found) != 1:
        raise DataError(
            str(path), f"{len(found)} folders with CIFAR batches" if found else "no CIFAR batches",
            "data_batch_1… and test_batch (CIFAR-10), or train, test and meta (CIFAR-100), as published",
        )  # fmt: skip
    matches = [(file, match) for file in found[0] if (match := _TEN.match(file.name) or _HUNDRED.match(file.name))]
    binary = all(match["binary"] for _, match in matches)  # where both forms lie together the Python one is read
    chosen = [
        ("test" if match["part"].startswith("test") else "train", int(match["number"] or 0), file)
        for file, match in matches
        if bool(match["binary"]) == binary
    ]
    chosen.sort(key=lambda item: (item[0] == "test", item[1]))
    return [(part, file) for part, _, file in chosen], found[0]


def _class_names(files: list[_File], count: int, path: Path) -> tuple[str, ...]:
    for file in files:
        if file.name in ("batches.meta.txt", "fine_label_names.txt"):
            names = tuple(line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip())
        elif file.name in _META:
            facts = load_pickle(file.read(), f"{path}: {file.name}")
            found = facts.get("fine_label_names", facts.get("label_names")) if isinstance(facts, dict) else None
            names = tuple(_text(name) for name in found) if isinstance(found, list) else ()
        else:
            continue
        if len(names) != count or len(set(names)) != count:
            got = f"{plural(len(set(names)), 'name')} of classes"
            raise DataError(f"{path}: {file.name}", got, f"{count} different ones")
        return names
    return ()


def _stored(options: Data, path: Path, batches: list[Batch], record: ImagePreprocess) -> Array:
    plan = plan_of(record)
    total = sum(len(batch.labels) for batch in batches)

    def content() -> str:
        digest = hashlib.blake2b(digest_size=32)
        for batch in batches:
            digest.update(np.ascontiguousarray(batch.images))  # type: ignore[arg-type]
        return f"{digest.hexdigest()} {plan}"

    return store(options, str(path), (total, *plan.shape), content, lambda: _blocks(batches, plan)).pixels


def _blocks(batches: list[Batch], plan: Plan) -> Iterator[Block]:
    """Pieces of all batches; each batch is let go when it has been used, so that the set is not held twice."""
    row = 0
    while batches:
        images = batches.pop(0).images
        for start in range(0, len(images), PIECE):
            piece = images[start : start + PIECE]
            yield Block(np.arange(row, row + len(piece)), conform(piece, plan), {})
            row += len(piece)


# ------------------------------------------------------------------------------------------------ one batch


def read_batch(data: bytes, where: str) -> Batch:
    """A batch in either form; ``where`` ends with the file's name."""
    fits = len(data) % (1 + PIXELS) == 0 or len(data) % (2 + PIXELS) == 0
    binary = where.endswith(".bin") or (data[:1] != b"\x80" and fits)
    return _binary(data, where) if binary else _pickled(data, where)


def _binary(data: bytes, where: str) -> Batch:
    for labels, classes in ((1, TEN), (2, FINE)):
        if data and len(data) % (labels + PIXELS) == 0:
            records = np.frombuffer(data, np.uint8).reshape(-1, labels + PIXELS)
            if int(records[:, labels - 1].max()) < classes and (labels == 1 or int(records[:, 0].max()) < COARSE):
                images = records[:, labels:].reshape(-1, 3, SIDE, SIDE)
                return Batch(images, records[:, labels - 1].astype(np.int64), classes)
    raise DataError(
        where, f"{len(data)} bytes", f"records of {1 + PIXELS} bytes (CIFAR-10: a label of 0…9, then the pixels) or "
        f"{2 + PIXELS} (CIFAR-100), or a Python batch", "download it again",
    )  # fmt: skip


def _pickled(data: bytes, where: str) -> Batch:
    batch = load_pickle(data, where)
    if not isinstance(batch, dict) or "data" not in batch:
        raise DataError(where, "a pickle without 'data'", "a CIFAR batch: data and labels (or fine_labels)")
    fine = "fine_labels" in batch
    images, labels = batch["data"], batch.get("fine_labels" if fine else "labels")
    classes = FINE if fine else TEN
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim == 0
        or (images.size != len(images) * PIXELS)
    ):
        shape = f"{images.dtype} of shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(where, f"data: {shape}", f"uint8 of shape (N, {PIXELS})")
    try:
        indices = np.asarray(labels)
        if indices.dtype.kind not in "iu" or indices.shape != (len(images),):
            raise ValueError
    except ValueError as error:
        got = plural(len(labels), "label") if isinstance(labels, list) else "no list of labels"
        raise DataError(where, got, f"{len(images)} whole numbers, one for each picture") from error
    wrong = np.flatnonzero((indices < 0) | (indices >= classes))
    if len(wrong):
        raise DataError(where, f"the label {indices[wrong[0]]} of picture {wrong[0]}", f"0…{classes - 1}")
    return Batch(images.reshape(-1, 3, SIDE, SIDE), indices.astype(np.int64), classes)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# ------------------------------------------------------------------------------------------------ pickles


def load_pickle(data: bytes, where: str) -> Any:
    """The dicts, lists, numbers, texts and arrays in a pickle, with text for all keys; runs nothing of it."""
    names, stored = _stand_ins()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in names:
                raise DataError(
                    where, f"a pickle that asks for {module}.{name}, which was not run",
                    "nothing but arrays, lists, numbers and text", "do not open this file; download it again",
                )  # fmt: skip
            return names[module, name]

    try:
        value = Reader(io.BytesIO(data), encoding="bytes").load()
        if isinstance(value, dict):
            return {_text(key): item.to_numpy() if isinstance(item, stored) else item for key, item in value.items()}
        return value.to_numpy() if isinstance(value, stored) else value
    except DataError:
        raise
    except Exception as error:  # a damaged pickle may fail anywhere
        raise DataError(
            where, f"a damaged pickle ({type(error).__name__}: {error})", "a CIFAR batch", "download it again"
        ) from error


def _stand_ins() -> tuple[dict[tuple[str, str], type], Any]:
    """Inert classes for the names in a pickled array, made anew for each pickle: it may spoil its own, no others."""

    class Dtype:
        def __init__(self, kind: bytes | str, *_: object) -> None:
            self.kind, self.order = _text(kind), "="

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            self.order = _text(state[1])

        def to_numpy(self) -> np.dtype:
            if not re.fullmatch(r"[|<>=]?(b1|[iu][1248]|f[248])", self.kind) or self.order not in "|<>=":
                raise ValueError(f"an array of type {self.kind!r}")
            return np.dtype(self.kind).newbyteorder(self.order)  # type: ignore[arg-type]

    class Stored:
        state: tuple[Any, ...] = ()

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            self.state = state

        def to_numpy(self) -> Array:
            _, shape, kind, by_columns, values = self.state
            if not isinstance(kind, Dtype) or not isinstance(values, bytes | bytearray):
                raise ValueError("an array of objects")
            array = np.frombuffer(values, kind.to_numpy())
            return array.reshape(shape, order="F" if by_columns else "C")

    class Reconstruct:
        def __new__(cls, *_: object) -> Any:
            return Stored()

    class FromBuffer:
        def __new__(cls, values: bytes, kind: Dtype, shape: tuple[int, ...], order: str) -> Any:
            stored = Stored()
            stored.state = (1, shape, kind, order == "F", values)
            return stored

    class Encode:
        def __new__(cls, text: str, *_: object) -> Any:
            return text.encode("latin1")

    class Nothing:  # no bytes at all, in the protocols of Python 2
        def __new__(cls) -> Any:
            return b""

    names: dict[tuple[str, str], type] = {("_codecs", "encode"): Encode, ("__builtin__", "bytes"): Nothing}
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray", "_reconstruct"] = Reconstruct
        names[f"{package}.numeric", "_frombuffer"] = FromBuffer
    names["numpy", "ndarray"], names["numpy", "dtype"] = Stored, Dtype
    return names, Stored
