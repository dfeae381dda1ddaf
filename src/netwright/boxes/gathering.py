"""Boxes of many images as flat arrays, which is what the evaluations read. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netwright.boxes.formats import (
    Flags,
    Floats,
    Format,
    Ints,
    as_flags,
    as_labels,
    as_scores,
    corners_and_areas,
)
from netwright.errors import DataError, unknown_name
from netwright.records import plural

TRUTH_KEYS = ("boxes", "labels", "crowd", "difficult", "area")
DETECTION_KEYS = ("boxes", "labels", "scores")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """The boxes that are there, N of them. ``image`` and ``label`` are positions in ``images`` and ``labels``.

    ``areas``: width times height. ``sizes``: what COCO's ranges of areas go by; its files name the area of the mask.
    ``crowd``: stands for many objects (COCO). ``difficult``: neither hit nor miss (VOC alone).
    """

    images: tuple[str, ...]
    labels: tuple[str, ...]
    image: Ints
    label: Ints
    corners: Floats
    areas: Floats
    sizes: Floats
    crowd: Flags
    difficult: Flags


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Detections:
    """The boxes that were found, with scores; ``image`` and ``label`` are positions in the truth's names."""

    image: Ints
    label: Ints
    corners: Floats
    areas: Floats
    scores: Floats
    unknown: int = 0  # of a class that the truth does not name: they count for nothing, and are not held here


def gather(
    truth: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], *, format: Format = "xyxy",
    labels: Sequence[str] = (),
) -> tuple[Truth, Detections]:  # fmt: skip
    """One mapping an image, the same images in the same order on both sides.

    Truth: ``boxes`` (N, 4), ``labels`` (N,) whole numbers, if wanted ``crowd``, ``difficult`` (N,) and ``area`` (N,) of
    masks. Detections: ``boxes``, ``labels``, ``scores``. ``labels`` names the classes; else the truth's numbers do.
    """
    if len(truth) != len(detections):
        raise DataError("detections", plural(len(detections), "image"), f"as many as of the truth, {len(truth)}")
    true = [_truth(item, number, format) for number, item in enumerate(truth)]
    found = [_detections(item, number, format) for number, item in enumerate(detections)]
    known = np.arange(len(labels)) if labels else np.unique(np.concatenate([row[0] for row in true] or [_none()]))
    label, is_known = _positions(_joined([row[0] for row in true], np.int64), known)
    if not is_known.all():
        raise DataError("truth labels", f"a label outside 0 to {len(labels) - 1}", f"the {len(labels)} that are named")
    guessed, is_known = _positions(_joined([row[0] for row in found], np.int64), known)
    image = np.repeat(np.arange(len(found)), [len(row[0]) for row in found])
    return (
        Truth(
            images=tuple(str(number) for number in range(len(truth))),
            labels=tuple(labels) or tuple(str(name) for name in known),
            image=np.repeat(np.arange(len(true)), [len(row[0]) for row in true]),
            label=label,
            corners=_joined([row[1] for row in true], np.float64).reshape(-1, 4),
            areas=_joined([row[2] for row in true], np.float64),
            sizes=_joined([row[3] for row in true], np.float64),
            crowd=_joined([row[4] for row in true], np.bool_),
            difficult=_joined([row[5] for row in true], np.bool_),
        ),
        Detections(
            image=image[is_known],
            label=guessed[is_known],
            corners=_joined([row[1] for row in found], np.float64).reshape(-1, 4)[is_known],
            areas=_joined([row[2] for row in found], np.float64)[is_known],
            scores=_joined([row[3] for row in found], np.float64)[is_known],
            unknown=int((~is_known).sum()),
        ),
    )


def _truth(item: Mapping[str, Any], number: int, format: Format) -> tuple[Any, ...]:
    where = f"truth[{number}]"
    _has(item, TRUTH_KEYS, 2, where)
    corners, areas = corners_and_areas(item["boxes"], format, f"{where} boxes")
    count = len(corners)
    return (
        as_labels(item["labels"], count, f"{where} labels"), corners, areas,
        areas if item.get("area") is None else as_scores(item["area"], count, f"{where} area"),
        as_flags(item.get("crowd"), count, f"{where} crowd"),
        as_flags(item.get("difficult"), count, f"{where} difficult"),
    )  # fmt: skip


def _detections(item: Mapping[str, Any], number: int, format: Format) -> tuple[Any, ...]:
    where = f"detections[{number}]"
    _has(item, DETECTION_KEYS, 3, where)
    corners, areas = corners_and_areas(item["boxes"], format, f"{where} boxes")
    return (
        as_labels(item["labels"], len(corners), f"{where} labels"), corners, areas,
        as_scores(item["scores"], len(corners), f"{where} scores"),
    )  # fmt: skip


def _has(item: Mapping[str, Any], keys: tuple[str, ...], needed: int, where: str) -> None:
    if not isinstance(item, Mapping):
        raise DataError(where, f"a {type(item).__name__}", f"a mapping with {', '.join(keys[:needed])}")
    for key in item:
        if key not in keys:
            raise unknown_name(where, str(key), keys, DataError)
    for key in keys[:needed]:
        if key not in item:
            raise DataError(where, f"no {key}", f"a mapping with {', '.join(keys[:needed])}")


def _positions(values: Ints, known: Ints) -> tuple[Ints, Flags]:
    """Where each value stands in the sorted ``known``, and whether it does."""
    place = np.minimum(np.searchsorted(known, values), max(0, len(known) - 1))
    return place, (known[place] == values) if len(known) else np.zeros(len(values), np.bool_)


def _joined(parts: list[Any], kind: Any) -> Any:
    return np.concatenate(parts).astype(kind, copy=False) if parts else np.zeros(0, kind)


def _none() -> Ints:
    return np.zeros(0, np.int64)
