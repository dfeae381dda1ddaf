"""IDX files, plain or gzipped: MNIST's format (http://yann.lecun.com/exdb/mnist). Two zero bytes, a type, the number
of axes, each axis' length in four bytes, then the values; all big-endian.

A source is a folder with ``train-images…`` and ``train-labels…`` (and ``t10k-…`` or ``test-…``, and ``val…-…``), or
one images file with its labels beside it under the same name (``images`` → ``labels``, ``idx3`` → ``idx1``).

Bytes with three axes are grey pictures, with four and 1 or 3 channels first or last also pictures; everything else is
an array. Integer labels are classes (the different ones found in training, in order), floating-point ones values.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netwright.data.cache import file_digest, limit_bytes, store
from netwright.data.examples import Array, Examples, Part, Task
from netwright.data.pictures import Block, Look, conform, plan_of, preprocess_for
from netwright.data.splitting import match_classes
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, ImagePreprocess, Preprocess
from netwright.recipe.schema import Data
from netwright.records import plural

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PARTS = {
    "train": "train", "t10k": "test", "test": "test", "val": "validation", "valid": "validation",
    "validation": "validation",
}  # fmt: skip
PIECE_BYTES = 1 << 20  # read, and changed, at a time
MOST_AXES = 8
DEFLATE_RATIO = 1032  # the most that deflate can shrink (zlib's technical notes)
_NAME = re.compile(r".*?(?P<part>train|t10k|test|validation|valid|val)[-_.]?(?P<what>images?|labels?)(?![a-z])")


class Header(NamedTuple):
    """What an IDX file says about itself. ``offset``: where its values begin."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """The examples of a folder or an images file."""
    pairs = _pairs(path)
    headers = {part: read_header(images) for part, (images, _) in pairs.items()}
    first = "train" if "train" in pairs else next(iter(pairs))
    for part, header in headers.items():
        if header.shape[1:] != headers[first].shape[1:] or header.dtype != headers[first].dtype:
            raise DataError(
                str(pairs[part][0]), f"{header.dtype.name} of shape {header.shape[1:]}",
                f"{headers[first].dtype.name} of shape {headers[first].shape[1:]} as in {pairs[first][0].name}",
            )  # fmt: skip
    record = _record(options, headers[first], like, pairs[first][0])
    targets = {part: _labels(labels, len_of(headers[part], images)) for part, (images, labels) in pairs.items()}
    task, classes, names = _meaning(targets[first], pairs[first][1], like)
    parts = {}
    for part, (images, labels) in pairs.items():
        values = _indices(targets[part], classes, str(labels)) if classes else targets[part]
        inputs = _inputs(options, images, headers[part], record)
        parts[part] = Part((inputs,), values)
    return Examples(
        kind="array" if isinstance(record, ArrayPreprocess) else "image", task=task, parts=parts, preprocess=(record,),
        classes=like.classes if like and classes else classes, targets=names,
    )  # fmt: skip


def is_idx(path: Path) -> bool:
    """Whether a file begins as an IDX file does."""
    try:
        read_header(path)
    except DataError:
        return False
    return True


def names_a_part(name: str) -> bool:
    """Whether a file name says that it holds the images or labels of a part."""
    return _NAME.match(name.lower()) is not None


# ------------------------------------------------------------------------------------------------ files


def _pairs(path: Path) -> dict[str, tuple[Path, Path]]:
    """Images and labels of each part."""
    if not path.is_dir():
        read_header(path)  # what is wrong with the file itself comes first
        return {"train": (path, _labels_beside(path))}
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(path.iterdir(), key=lambda file: (file.suffix == ".gz", file.name)):  # plain before gzipped
        match = _NAME.match(file.name.lower())
        if match and file.is_file():
            part = PARTS[match["part"]]
            what = "images" if match["what"].startswith("image") else "labels"
            known = found.setdefault(part, {}).setdefault(what, file)
            if known.name.removesuffix(".gz") != file.name.removesuffix(".gz"):
                raise DataError(
                    str(path), f"both {known.name} and {file.name}", f"one file with the {part} {what}",
                    f"netwright train {path / known.name}" if what == "images" else "a folder for each of the sets",
                )  # fmt: skip
    for part, files in found.items():
        missing = {"images", "labels"} - set(files)
        if missing:
            have = next(iter(files.values())).name
            raise DataError(
                str(path), f"{have} without its {missing.pop()}", f"images and labels of the {part} part",
                "put the missing file beside it",
            )  # fmt: skip
    if not found:
        raise DataError(
            str(path), "a folder without IDX files", "train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz)"
        )
    return {part: (found[part]["images"], found[part]["labels"]) for part in sorted(found, key=_part_order)}


def _part_order(part: str) -> int:
    return ("train", "validation", "test").index(part)


def _labels_beside(images: Path) -> Path:
    name = images.name
    if re.search("label", name, re.IGNORECASE) and not re.search("image", name, re.IGNORECASE):
        raise DataError(str(images), "labels, by its name", "the images file", f"{_swapped(name, 'label', 'image')}")
    swapped = re.sub(r"idx\d", "idx1", _swapped(name, "image", "label"), flags=re.IGNORECASE)
    plain = swapped.removesuffix(".gz")
    for candidate in (swapped, plain, plain + ".gz"):
        if candidate != name and (images.parent / candidate).is_file():
            return images.parent / candidate
    raise DataError(
        str(images), "no labels beside it", swapped if swapped != name else "a file …images… with a file …labels…",
        "put the labels file there, named like the images with 'labels' for 'images'",
    )  # fmt: skip


def _swapped(name: str, old: str, new: str) -> str:
    return re.sub(old, lambda found: new.title() if found[0][0].isupper() else new, name, flags=re.IGNORECASE)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if _zipped(path) else path.open("rb")  # type: ignore[return-value]


def read_header(path: Path) -> Header:
    """The header, checked against the file's length: no memory is asked for that the file cannot fill."""
    try:
        with _open(path) as file:
            zipped = isinstance(file, gzip.GzipFile)
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= MOST_AXES:
                raise DataError(
                    str(path), f"the first bytes {magic.hex(' ') or '(none)'}",
                    "an IDX file: 00 00, a type (08, 09, 0b, 0c, 0d or 0e), the number of axes",
                    "download it again, or --set data.format=FORMAT",
                )  # fmt: skip
            lengths = file.read(4 * magic[3])
            if len(lengths) < 4 * magic[3]:
                raise _truncated(path, len(magic) + len(lengths), 4 + 4 * magic[3])
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise DataError(str(path), error.strerror or str(error), "an IDX file") from error
    header = Header(np.dtype(TYPES[magic[2]]), struct.unpack(f">{magic[3]}I", lengths), 4 + 4 * magic[3])
    size = path.stat().st_size
    if not zipped and size < header.offset + header.nbytes:
        raise _truncated(path, size, header.offset + header.nbytes)
    if not zipped and size > header.offset + header.nbytes:
        raise DataError(
            str(path), f"{size} bytes", f"{header.offset + header.nbytes} for the shape {header.shape} in its header",
            "download it again",
        )  # fmt: skip
    if zipped and header.nbytes > size * DEFLATE_RATIO:
        raise DataError(
            str(path), f"{size} compressed bytes",
            f"{header.offset + header.nbytes} uncompressed ones for the shape {header.shape} in its header, which so "
            "few cannot hold", "download it again",
        )  # fmt: skip
    return header


def _truncated(path: Path, got: int, expected: int) -> DataError:
    return DataError(str(path), f"a truncated file: {got} bytes", str(expected), "download it again")


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(str(path), f"damaged gzip data ({error})", "a whole .gz file", "download it again")


def _pieces(path: Path, header: Header) -> Iterator[tuple[int, Array]]:
    """The values in pieces along the first axis, native-endian: (first row, (n, ...)). Checks length and checksum."""
    row_bytes = header.nbytes // max(header.shape[0], 1)
    rows = max(1, PIECE_BYTES // max(row_bytes, 1))
    done = header.offset
    try:
        with _open(path) as file:
            file.read(header.offset)
            for start in range(0, header.shape[0], rows):
                piece = np.empty((min(rows, header.shape[0] - start), *header.shape[1:]), header.dtype)
                view = memoryview(piece.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
                while view:
                    got = file.readinto(view)  # type: ignore[attr-defined]
                    if not got:
                        raise _truncated(path, done, header.offset + header.nbytes)
                    done += got
                    view = view[got:]
                if not piece.dtype.isnative:
                    piece = piece.byteswap(inplace=True).view(piece.dtype.newbyteorder("="))
                yield start, piece
            if file.read(1):
                raise DataError(
                    str(path), f"more than {done} bytes", f"{done} for the shape {header.shape} in its header",
                    "download it again",
                )  # fmt: skip
    except EOFError as error:
        got = f"a truncated file: gzip data that ends early, behind {path.stat().st_size} bytes"
        whole = f"{header.offset + header.nbytes} bytes unpacked"
        raise DataError(str(path), got, whole, "download it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise DataError(str(path), error.strerror or str(error), "an IDX file") from error


def read_array(path: Path) -> Array:
    """A whole IDX file as a native array (labels, or anything small)."""
    header = read_header(path)
    values = np.empty(header.shape, header.dtype.newbyteorder("="))
    for start, piece in _pieces(path, header):
        values[start : start + len(piece)] = piece
    return values


# ------------------------------------------------------------------------------------------------ inputs


def len_of(header: Header, path: Path) -> int:
    if 0 in header.shape:
        raise DataError(str(path), f"an empty file of shape {header.shape}", "at least one example")
    return header.shape[0]


def _picture_shape(header: Header) -> tuple[int, int, int] | None:
    """(C, H, W) of one example if the file holds pictures."""
    if header.dtype != np.uint8:
        return None
    match header.shape[1:]:
        case (height, width):
            return 1, height, width
        case (1 | 3 as planes, height, width):
            return planes, height, width
        case (height, width, 1 | 3 as planes):
            return planes, height, width
    return None


def _record(options: Data, header: Header, like: Examples | None, path: Path) -> Preprocess:
    picture = _picture_shape(header)
    if like is not None and like.kind != ("image" if picture else "array"):
        raise DataError(str(path), "pictures" if picture else "an array", f"the training part's kind, {like.kind}")
    if picture:
        planes, height, width = picture
        return preprocess_for(options, [Look(height, width, planes == 1)], like)
    for key in ("channels", "size"):
        if getattr(options, key) != "auto":
            raise DataError(
                f"data.{key}", str(getattr(options, key)), f"pictures; {path} holds {header.dtype.name} of shape "
                f"{header.shape}",
            )  # fmt: skip
    shape = header.shape[1:] or (1,)
    if like is not None and isinstance(like.preprocess[0], ArrayPreprocess) and like.preprocess[0].shape != shape:
        raise DataError(str(path), f"examples of shape {shape}", f"{like.preprocess[0].shape} as in training")
    kind = "float32" if header.dtype.kind == "f" else header.dtype.name
    return ArrayPreprocess(shape=shape, dtype=kind, scale=1 / 255 if header.dtype == np.uint8 else 1.0)


def _inputs(options: Data, path: Path, header: Header, record: Preprocess) -> Array:
    picture = _picture_shape(header)
    if picture is None:
        assert isinstance(record, ArrayPreprocess)
        values = read_array(path).astype(record.dtype, copy=False).reshape(header.shape[0], *record.shape)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(str(path), "NaN or infinite values", "finite numbers")
        return values
    assert isinstance(record, ImagePreprocess)
    plan = plan_of(record)
    last = len(header.shape) == 4 and header.shape[1] not in (1, 3)
    if picture == plan.shape and not last and header.nbytes > limit_bytes(options) and not _zipped(path):
        return np.memmap(path, np.uint8, "r", header.offset, (header.shape[0], *picture))

    def blocks() -> Iterator[Block]:
        for start, piece in _pieces(path, header):
            images = piece.transpose(0, 3, 1, 2) if last else piece.reshape(len(piece), *picture)
            yield Block(np.arange(start, start + len(piece)), conform(images, plan), {})

    def content() -> str:
        return f"{file_digest(path)} {plan}"

    return store(options, str(path), (header.shape[0], *plan.shape), content, blocks).pixels


def _zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


# ------------------------------------------------------------------------------------------------ labels


def _labels(path: Path, count: int) -> Array:
    header = read_header(path)
    if len(header.shape) > 2:
        raise DataError(str(path), f"an array of shape {header.shape}", f"labels: ({count},) or ({count}, targets)")
    if header.shape[0] != count:
        raise DataError(
            str(path), plural(header.shape[0], "label"), f"{count}, one for each image", "the labels that belong to it"
        )
    labels: npt.NDArray[Any] = read_array(path)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "f":
        values = labels.astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError(str(path), "NaN or infinite target values", "finite numbers")
        return values[:, None] if values.ndim == 1 else values
    if labels.ndim == 2:
        if not np.isin(labels, (0, 1)).all():
            raise DataError(str(path), f"integers of shape {labels.shape}", "0 and 1 for each label, or one class each")
        return labels.astype(np.float32)
    if labels.min() < 0:
        first = int(np.argmax(labels < 0))
        raise DataError(str(path), f"the label {labels[first]} of example {first}", "0 or more")
    return labels.astype(np.int64)


def _meaning(labels: Array, path: Path, like: Examples | None) -> tuple[Task, tuple[str, ...], tuple[str, ...]]:
    """Task, classes and names of target values, as the labels of the training part (or ``like``) have them."""
    task: Task
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    if labels.dtype == np.int64:
        task, classes = "classification", tuple(str(value) for value in np.unique(labels))
    elif bool(np.isin(labels, (0, 1)).all()) and labels.shape[1] > 1:
        task, classes = "multi-label", tuple(str(i) for i in range(labels.shape[1]))
    else:
        task = "regression"
        targets = tuple(f"target{i}" for i in range(labels.shape[1])) if labels.shape[1] > 1 else ("target",)
    if like is not None:
        if like.task != task or (task != "classification" and like.outputs != len(classes or targets)):
            raise DataError(str(path), f"labels for {task}", f"{like.task} with {like.outputs} outputs as in training")
        return task, like.classes, like.targets
    return task, classes, targets


def _indices(labels: Array, classes: tuple[str, ...], where: str) -> Array:
    if labels.dtype != np.int64:
        return labels
    present, positions = np.unique(labels, return_inverse=True)
    if not all(name.isdecimal() for name in classes) and int(present[-1]) < len(classes):
        return labels  # numbers for the names of the training part
    return match_classes(positions.astype(np.int64), tuple(str(value) for value in present), classes, where)
