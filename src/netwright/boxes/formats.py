"""Boxes as arrays: their formats, conversion, and the check at the door. No torch.

``xyxy``: left, top, right, bottom. ``xywh``: left, top, width, height (COCO). ``cxcywh``: centre, width, height (YOLO,
DETR). Coordinates are continuous, in any unit; a box holds width times height. Zero width or height makes an *empty*
box, which is allowed. A box whose right lies left of its left, or whose bottom lies above its top, is *inverted*, and
an error: nearly always widths were taken for corners, and a silent repair would hide that.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from netwright.errors import DataError, unknown_name

Format = Literal["xyxy", "xywh", "cxcywh"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FORMATS: tuple[str, ...] = get_args(Format)
LARGEST = 1e100  # products of areas stay finite


def convert(boxes: Any, source: Format, target: Format) -> Floats:
    """(N, 4) boxes in another format, as ``float64``. ``DataError`` where a box is inverted or not finite."""
    _known(target)
    given = as_boxes(boxes, source)
    if source == target:
        return given
    edges = corners(given, source)
    if target == "xyxy":
        return edges
    start, size = edges[:, :2], given[:, 2:] if source != "xyxy" else edges[:, 2:] - edges[:, :2]
    if target == "xywh":
        return np.concatenate([start, size], axis=1)
    centre = given[:, :2] if source == "cxcywh" else start + size / 2
    return np.concatenate([centre, size], axis=1)


def ordered(boxes: Any) -> Floats:
    """(N, 4) corners in any order as ``xyxy``: smaller coordinates first. For boxes that are known to be corners."""
    given = _numbers(boxes, "boxes", 4)
    return np.concatenate([np.minimum(given[:, :2], given[:, 2:]), np.maximum(given[:, :2], given[:, 2:])], axis=1)


def area(boxes: Any, format: Format = "xyxy") -> Floats:
    """(N,) width times height, in squared units of the coordinates; 0 for empty boxes."""
    return _area(as_boxes(boxes, format), format)


# ------------------------------------------------------------------------------------------------ at the door


def as_boxes(boxes: Any, format: Format = "xyxy", where: str = "boxes") -> Floats:
    """``boxes`` (an array, a list, a tensor) as checked ``float64`` (N, 4) of the same format.

    Raises ``DataError`` that names the first box that is not finite, or inverted. Cost: O(N).
    """
    _known(format)
    given = _numbers(boxes, where, 4)
    width, height = (given[:, 2] - given[:, 0], given[:, 3] - given[:, 1]) if format == "xyxy" else given[:, 2:].T
    bad = (width < 0) | (height < 0)
    if bad.any():
        number = int(bad.argmax())
        raise DataError(
            f"{where}[{number}]",
            f"an inverted box, {given[number].tolist()} as {format}",
            "left ≤ right and top ≤ bottom" if format == "xyxy" else "no negative width or height",
            'format="xywh" if these are widths and heights, boxes.ordered(boxes) for corners in any order'
            if format == "xyxy"
            else 'format="xyxy" if these are corners',
        )
    return given


def as_scores(scores: Any, count: int, where: str = "scores") -> Floats:
    """``scores`` as checked ``float64`` (N,)."""
    return _numbers(scores, where, 0, count)


def as_labels(labels: Any, count: int, where: str = "labels") -> Ints:
    """``labels`` as checked ``int64`` (N,)."""
    given = _plain(labels, where)
    if given.shape != (count,) and not given.size == count == 0:
        raise DataError(where, f"shape {given.shape}", f"one a box, ({count},)")
    if given.size and given.dtype.kind not in "iub":
        raise DataError(where, f"{given.dtype}", "whole numbers")
    return given.reshape(count).astype(np.int64)


def as_flags(flags: Any, count: int, where: str) -> Flags:
    """``flags`` as checked ``bool`` (N,); None: none is set."""
    return np.zeros(count, np.bool_) if flags is None else as_labels(flags, count, where) != 0


def corners(given: Floats, format: Format) -> Floats:
    """Checked boxes as ``xyxy``."""
    if format == "xyxy":
        return given
    start = given[:, :2] if format == "xywh" else given[:, :2] - given[:, 2:] / 2
    return np.concatenate([start, start + given[:, 2:]], axis=1)


def corners_and_areas(boxes: Any, format: Format, where: str = "boxes") -> tuple[Floats, Floats]:
    """Checked ``xyxy`` and areas; of ``xywh`` the product of what was given, as COCO has it."""
    given = as_boxes(boxes, format, where)
    return corners(given, format), _area(given, format)


def _area(given: Floats, format: Format) -> Floats:
    if format == "xyxy":
        return (given[:, 2] - given[:, 0]) * (given[:, 3] - given[:, 1])
    return given[:, 2] * given[:, 3]


def _known(format: str) -> None:
    if format not in FORMATS:
        raise unknown_name("format", str(format), FORMATS)


def _numbers(value: Any, where: str, columns: int, count: int | None = None) -> Floats:
    """(N, ``columns``), or (N,) for no columns, of finite numbers."""
    given = _plain(value, where)
    if given.size == 0 and given.ndim <= 1 and not count:
        return np.zeros((0, columns) if columns else (0,))
    if given.dtype.kind not in "iubf":
        raise DataError(where, f"{given.dtype}", "numbers")
    shape = "(N, 4)" if columns else f"({count},), one a box"
    if (given.ndim != 2 or given.shape[1] != columns) if columns else given.shape != (count,):
        hint = "boxes[None] for one box" if columns and given.shape == (columns,) else ""
        raise DataError(where, f"shape {given.shape}", shape, hint)
    numbers = np.array(given, np.float64)
    bad = ~(np.abs(numbers) <= LARGEST)
    if bad.any():
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        raise DataError(f"{where}[{place[0]}]", f"{numbers[place]}", f"finite numbers up to {LARGEST:g}")
    return numbers


def _plain(value: Any, where: str) -> npt.NDArray[Any]:
    """An array of anything; a tensor of any device and type by its values."""
    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(where, f"rows of unequal length ({error})", "an array of numbers") from error
