"""Truth and detections, from files or arrays → the published figures as one record. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from netwright.boxes import coco, reading, voc
from netwright.boxes.formats import Format
from netwright.boxes.gathering import gather
from netwright.errors import UsageError, unknown_name
from netwright.records import BoxFigures

Method = Literal["coco", "voc", "voc2007"]
PerImage = Sequence[Mapping[str, Any]]


def evaluate(
    truth: str | os.PathLike[str] | PerImage, detections: str | os.PathLike[str] | PerImage, *,
    method: Method = "coco", iou: float | None = None, inclusive: bool | None = None, format: Format | None = None,
    classes: Sequence[str] = (),
) -> BoxFigures:  # fmt: skip
    """Average precision of detections, as COCO's or Pascal VOC's program gives it.

    Truth and detections are both paths (``boxes.reading`` says of what), or both one mapping an image, in the same
    order: ``boxes`` (N, 4), ``labels`` (N,), of the truth also ``crowd``, ``difficult``, ``area``, of detections
    ``scores``. ``format``: ``xyxy`` for arrays, ``xywh`` for texts, unless it says otherwise.

    ``method``: ``coco`` has twelve figures; ``voc`` (2010 on) and ``voc2007`` have ``mAP`` at overlap ``iou`` (0.5),
    where corners are the first and last pixel (``inclusive``, as in VOC's program) or edges (``inclusive=False``).
    Raises ``DataError`` for boxes, names or files that are no such thing, ``UsageError`` for arguments without effect.
    """
    if method not in get_args(Method):
        raise unknown_name("method", str(method), get_args(Method))
    if method == "coco" and (iou is not None or inclusive is not None):
        name = "iou" if iou is not None else "inclusive"
        raise UsageError(name, "beside method coco, which fixes it", "method voc or voc2007", "leave it out")
    if iou is not None and not 0 < iou <= 1:
        raise UsageError("iou", str(iou), "an overlap above 0, up to 1", "0.5")
    notes: list[str] = []
    by_path = [isinstance(side, str | os.PathLike) for side in (truth, detections)]
    if all(by_path):
        if (format or classes) and not any(reading.has_texts(Path(side)) for side in (truth, detections)):  # type: ignore[arg-type]
            name = "format" if format else "classes"
            raise UsageError(name, "beside files that say it themselves", "a folder of texts", "leave it out")
        true, names, notes = reading.read_truth(Path(truth), format, classes)  # type: ignore[arg-type]
        found = reading.read_detections(Path(detections), names, format, classes)  # type: ignore[arg-type]
    elif any(by_path):
        raise UsageError(
            "truth and detections", "a path beside arrays", "two paths, or one mapping an image on both sides"
        )
    else:
        true, found = gather(truth, detections, format=format or "xyxy", labels=classes)  # type: ignore[arg-type]
    if found.unknown:
        notes.append(f"{found.unknown} detections are of a class that the truth does not have: they count for nothing")
    if method == "coco":
        curves = coco.evaluate(true, found)
        figures, values = curves.figures(), [float(value) for value in curves.by_class()]
    else:
        drawn = voc.evaluate(true, found, threshold=0.5 if iou is None else iou, inclusive=inclusive is not False)
        values = [curve.average(method == "voc2007") for curve in drawn]
        known = [value for value in values if value == value]
        figures = {"mAP": sum(known) / len(known) if known else float("nan")}
    return BoxFigures(
        method=method,
        iou=None if method == "coco" else 0.5 if iou is None else iou,
        figures=dict(figures),
        classes=dict(zip(true.labels, values, strict=True)),
        images=len(true.images),
        truths=len(true.label),
        detections=len(found.scores),
        notes=tuple(notes),
    )
