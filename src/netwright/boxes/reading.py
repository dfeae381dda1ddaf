"""Files of boxes: COCO's JSON, folders of Pascal VOC's XML or of plain texts. Nothing in them is executed. No torch.

A name of a picture is its file's name without ending, where two files have to agree on it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import msgspec
import numpy as np

from netwright.boxes.formats import Floats, Format, as_scores, corners_and_areas
from netwright.boxes.gathering import Detections, Truth
from netwright.errors import DataError
from netwright.records import plural

LARGEST_JSON = 2 << 30  # bytes; the largest of COCO's own has 0.5e9
LARGEST_TEXT = 4 << 20  # of one image's file
MOST_FILES = 2_000_000
TEXT_FORMAT: Format = "xywh"

Id = int | str
Box = tuple[float, float, float, float]
T = TypeVar("T")


class _Image(msgspec.Struct):
    id: Id
    file_name: str = ""


class _Category(msgspec.Struct):
    id: Id
    name: str = ""


class _Annotation(msgspec.Struct):
    image_id: Id
    category_id: Id
    bbox: Box
    area: float | None = None
    iscrowd: int | bool = 0
    ignore: int | bool = 0


class _Result(msgspec.Struct):
    image_id: Id
    category_id: Id
    bbox: Box
    score: float


class _TruthFile(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _ResultFile(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Result]
    categories: list[_Category]


@dataclasses.dataclass(frozen=True)
class Names:
    """How images and classes are called: ids and, where a file has them, names; position by position."""

    image_ids: tuple[Id, ...]
    image_names: tuple[str, ...]
    label_ids: tuple[Id, ...]
    label_names: tuple[str, ...]


def read_truth(path: Path, format: Format | None = None, classes: Sequence[str] = ()) -> tuple[Truth, Names, list[str]]:
    """COCO's ``instances.json``, or a folder of ``.xml`` (VOC) or ``.txt`` (a line ``CLASS a b c d``); and notes.

    ``format`` is that of the numbers in texts (``xywh``), ``classes`` the names behind class numbers in texts.
    """
    if not path.is_dir():
        return _coco_truth(path)
    files = _files(path, (".xml", ".txt"))
    if files[0].suffix.lower() == ".xml":
        rows = [(file, *_xml_boxes(file)) for file in files]
        return _truth_of(path, [(file, names, boxes, hard, "xyxy") for file, names, boxes, hard in rows])
    kind = format or TEXT_FORMAT
    texts = [(file, *_text_boxes(file, 4, classes)) for file in files]
    return _truth_of(path, [(file, names, boxes, [False] * len(names), kind) for file, names, boxes in texts])


def read_detections(
    path: Path, names: Names, format: Format | None = None, classes: Sequence[str] = ()
) -> Detections:  # fmt: skip
    """COCO's results (a list, matched by ids; or a whole COCO file with scores, matched by names), or a folder of
    ``.txt``, one an image, a line ``CLASS SCORE a b c d``."""
    if not path.is_dir():
        found: Any = _decoded(path, list[_Result] | _ResultFile, "COCO results: a list of image_id, category_id, …")
        if isinstance(found, list):
            images = _index(names.image_ids, f"{path} image_id")
            labels = _index(names.label_ids, f"{path} category_id")
            return _detections_of(
                path, [images.get(row.image_id) for row in found], [labels.get(row.category_id) for row in found],
                [row.bbox for row in found], [row.score for row in found], "xywh",
                lambda number: f"image_id {found[number].image_id!r}", names,
            )  # fmt: skip
        own_images = {image.id: _stem(image.file_name) for image in found.images}
        own_labels = {category.id: category.name for category in found.categories}
        rows = found.annotations
        by_stem, by_name = _by_names(names, path)
        return _detections_of(
            path, [by_stem.get(own_images.get(row.image_id, "")) for row in rows],
            [by_name.get(own_labels.get(row.category_id, "")) for row in rows],
            [row.bbox for row in rows], [row.score for row in rows], "xywh",
            lambda number: f"image {own_images.get(rows[number].image_id, rows[number].image_id)!r}", names,
        )  # fmt: skip
    by_stem, by_name = _by_names(names, path)
    image: list[int | None] = []
    label: list[int | None] = []
    boxes: list[Box] = []
    scores: list[float] = []
    stems: list[str] = []
    for file in _files(path, (".txt",), may_be_empty=True):
        said, numbers = _text_boxes(file, 5, classes)
        image += [by_stem.get(file.stem)] * len(said)
        stems += [file.stem] * len(said)
        label += [by_name.get(name) for name in said]
        scores += [row[0] for row in numbers]
        boxes += [row[1:] for row in numbers]
    return _detections_of(
        path, image, label, boxes, scores, format or TEXT_FORMAT, lambda number: f"image {stems[number]!r}", names
    )


def has_texts(path: Path) -> bool:
    """Whether the boxes are in texts, whose format and classes have to be told."""
    return path.is_dir() and not any(file.suffix.lower() == ".xml" for file in path.iterdir())


def read_classes(path: Path) -> tuple[str, ...]:
    """A text with a class a line; their numbers count from 0."""
    names = tuple(line.strip() for line in _text(path, LARGEST_TEXT).splitlines() if line.strip())
    if not names or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(str(path), f"{twice[0]!r} twice" if twice else "nothing", "a class name a line, each once")
    return names


# ------------------------------------------------------------------------------------------------ COCO's JSON


def _coco_truth(path: Path) -> tuple[Truth, Names, list[str]]:
    """Images and classes in the order of their ids, as COCO's program takes them."""
    expected = "COCO instances: images, annotations and categories"
    found = _decoded(path, _TruthFile, expected)
    images = sorted(found.images, key=lambda image: _order(image.id))
    labels = sorted(found.categories, key=lambda label: _order(label.id))
    names = Names(
        tuple(image.id for image in images), tuple(_stem(image.file_name) or str(image.id) for image in images),
        tuple(label.id for label in labels), tuple(label.name or str(label.id) for label in labels),
    )  # fmt: skip
    image_of = _index(names.image_ids, f"{path} images")
    label_of = _index(names.label_ids, f"{path} categories")
    rows = found.annotations
    image = np.array([image_of.get(row.image_id, -1) for row in rows], np.int64)
    label = np.array([label_of.get(row.category_id, -1) for row in rows], np.int64)
    corners, areas = corners_and_areas(_table([row.bbox for row in rows]), "xywh", f"{path} annotations")
    given = [math.nan if row.area is None else row.area for row in rows]
    missing = np.isnan(given) if given else np.zeros(0, np.bool_)
    sizes = as_scores(np.where(missing, areas, given), len(rows), f"{path} areas of annotations")
    crowd, difficult = (np.array(flags, np.bool_) for flags in (
        [bool(row.iscrowd) for row in rows], [bool(row.ignore) for row in rows]))  # fmt: skip
    keep = (image >= 0) & (label >= 0)
    notes = []
    if not keep.all():
        notes.append(f"{int((~keep).sum())} annotations are of an image or category that {path.name} does not list")
    if missing.any():
        notes.append(f"{int(missing.sum())} annotations have no area: width times height is taken")
    truth = Truth(
        images=names.image_names, labels=names.label_names, image=image[keep], label=label[keep],
        corners=corners[keep], areas=areas[keep], sizes=sizes[keep], crowd=crowd[keep], difficult=difficult[keep],
    )  # fmt: skip
    return truth, names, notes


def _decoded(path: Path, kind: Any, expected: str) -> Any:
    content = _bytes(path, LARGEST_JSON)
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        what, _, place = text.partition(" - at ")
        hint = ""
        if kind is _TruthFile and content.lstrip()[:1] == b"[":
            hint = "the truth first, then the detections"
        elif kind is not _TruthFile and "score" in what:
            hint = "the truth first, then the detections; every detection has a score"
        raise DataError(
            f"{path}{place.strip('`').removeprefix('$') and ' ' + place.strip('`').removeprefix('$')}",
            what[:1].lower() + what[1:], expected, hint,
        ) from error  # fmt: skip
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(str(path), f"no whole JSON ({error})", expected) from error


# ------------------------------------------------------------------------------------------------ one file an image

_Row = tuple[Path, list[str], list[Box], list[bool], Format]


def _truth_of(path: Path, rows: list[_Row]) -> tuple[Truth, Names, list[str]]:
    stems = tuple(file.stem for file, *_ in rows)
    labels = tuple(sorted({name for _, names, *_ in rows for name in names}))
    label_of = {name: number for number, name in enumerate(labels)}
    parts = [corners_and_areas(_table(boxes), kind, f"{file} boxes") for file, _, boxes, _, kind in rows]
    corners = np.concatenate([part[0] for part in parts])
    areas = np.concatenate([part[1] for part in parts])
    truth = Truth(
        images=stems,
        labels=labels,
        image=np.repeat(np.arange(len(rows)), [len(names) for _, names, *_ in rows]),
        label=np.array([label_of[name] for _, names, *_ in rows for name in names], np.int64),
        corners=corners,
        areas=areas,
        sizes=areas,
        crowd=np.zeros(len(areas), np.bool_),
        difficult=np.array([flag for *_, hard, _ in rows for flag in hard], np.bool_),
    )
    if not len(areas):
        raise DataError(str(path), f"{plural(len(rows), 'file')} without a box", "at least one box")
    return truth, Names(stems, stems, labels, labels), []


def _xml_boxes(path: Path) -> tuple[list[str], list[Box], list[bool]]:
    text = _text(path, LARGEST_TEXT)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can be made to grow without bound
        raise DataError(str(path), "a document type declaration", "a VOC annotation without one")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(str(path), f"no whole XML ({error})", "a VOC annotation") from error
    names: list[str] = []
    boxes: list[Box] = []
    hard: list[bool] = []
    for number, item in enumerate(root.findall("object")):
        where = f"{path} object {number + 1}"
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(where, "no name", "the name of a class")
        sides = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        numbers = [_number(side or "", where) for side in sides]
        names.append(name)
        boxes.append((numbers[0], numbers[1], numbers[2], numbers[3]))
        hard.append(_number(item.findtext("difficult") or "0", where) != 0)
    return names, boxes, hard


def _text_boxes(path: Path, count: int, classes: Sequence[str]) -> tuple[list[str], list[Any]]:
    """Names, and ``count`` numbers each; a name may have blanks."""
    names: list[str] = []
    rows: list[Any] = []
    for number, line in enumerate(_text(path, LARGEST_TEXT).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{path} line {number}"
        if len(words) <= count:
            form = "CLASS a b c d" if count == 4 else "CLASS SCORE a b c d"
            raise DataError(where, plural(len(words), "word"), form)
        name = " ".join(words[:-count])
        if classes:
            if not name.isdecimal() or int(name) >= len(classes):
                raise DataError(where, f"the class {name!r}", f"a number from 0 to {len(classes) - 1}")
            name = classes[int(name)]
        names.append(name)
        rows.append(tuple(_number(word, where) for word in words[-count:]))
    return names, rows


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(where, repr(text[:40]), "a number") from error


# ------------------------------------------------------------------------------------------------ shared


def _detections_of(
    path: Path, image: list[int | None], label: list[int | None], boxes: list[Box], scores: list[float],
    format: Format, named: Callable[[int], str], names: Names,
) -> Detections:  # fmt: skip
    lost = next((number for number, position in enumerate(image) if position is None), None)
    if lost is not None:
        raise DataError(
            f"{path} [{lost}]", f"{named(lost)}, which the truth does not have",
            f"images of the truth, such as {names.image_ids[0]!r}" if names.image_ids else "images of the truth",
            "the truth and the detections of the same images",
        )  # fmt: skip
    known = np.array([position is not None for position in label], np.bool_)
    if len(known) and not known.any():
        raise DataError(
            str(path), "no detection of a class that the truth has", f"classes such as {names.label_names[:3]}",
            "--classes FILE with the names behind class numbers",
        )  # fmt: skip
    corners, areas = corners_and_areas(_table(boxes), format, str(path))
    values = as_scores(scores, len(corners), f"{path} scores")
    return Detections(
        image=np.array(image, np.int64)[known], label=np.array([row for row in label if row is not None], np.int64),
        corners=corners[known], areas=areas[known], scores=values[known], unknown=int((~known).sum()),
    )  # fmt: skip


def _by_names(names: Names, path: Path) -> tuple[dict[str, int], dict[str, int]]:
    return _index(names.image_names, f"{path} image names"), _index(names.label_names, f"{path} class names")


def _index(values: Sequence[T], where: str) -> dict[T, int]:
    found = {value: position for position, value in enumerate(values)}
    if len(found) < len(values):
        twice = next(value for position, value in enumerate(values) if found[value] != position)
        raise DataError(where, f"{twice!r} twice", "each once")
    return found


def _order(value: Id) -> tuple[bool, int, str]:
    return (True, 0, value) if isinstance(value, str) else (False, value, "")


def _stem(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or name


def _table(boxes: list[Box]) -> Floats:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _files(folder: Path, endings: tuple[str, ...], may_be_empty: bool = False) -> list[Path]:
    """The files of the first of ``endings`` that occurs, by name."""
    for ending in endings:
        found = [path for path in folder.iterdir() if path.suffix.lower() == ending and not path.name.startswith(".")]
        if len(found) > MOST_FILES:
            raise DataError(str(folder), plural(len(found), "file"), f"at most {MOST_FILES}")
        if found:
            return sorted(found)
    if may_be_empty:
        return []
    raise DataError(str(folder), "no such file in it", f"files ending in {' or '.join(endings)}, one an image")


def _text(path: Path, most: int) -> str:
    try:
        return _bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            str(path), f"bytes that are no UTF-8 ({error.reason} at {error.start})", "UTF-8 text"
        ) from error


def _bytes(path: Path, most: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > most:
            raise DataError(str(path), f"{size} bytes", f"at most {most}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(str(path), (error.strerror or str(error)).lower(), "a file that can be read") from error
