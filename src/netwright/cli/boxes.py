"""``netwright boxes``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from netwright.cli import printing
from netwright.cli.options import Json, option
from netwright.errors import UsageError
from netwright.records import plural

if TYPE_CHECKING:
    from netwright.records import BoxFigures

# As in ``netwright.boxes``, which imports NumPy; a test holds them equal.
Method = Literal["coco", "voc", "voc2007"]
Format = Literal["xyxy", "xywh", "cxcywh"]

OPTIONS = {"iou": "--iou", "inclusive": "--edges", "format": "--format", "classes": "--classes"}  # by argument
MEANINGS = {
    "AP": ("average precision", "0.50:0.95", "all", 100), "AP50": ("average precision", "0.50", "all", 100),
    "AP75": ("average precision", "0.75", "all", 100), "APsmall": ("average precision", "0.50:0.95", "small", 100),
    "APmedium": ("average precision", "0.50:0.95", "medium", 100),
    "APlarge": ("average precision", "0.50:0.95", "large", 100),
    "AR1": ("average recall", "0.50:0.95", "all", 1), "AR10": ("average recall", "0.50:0.95", "all", 10),
    "AR100": ("average recall", "0.50:0.95", "all", 100), "ARsmall": ("average recall", "0.50:0.95", "small", 100),
    "ARmedium": ("average recall", "0.50:0.95", "medium", 100),
    "ARlarge": ("average recall", "0.50:0.95", "large", 100),
}  # fmt: skip


def boxes(
    truth: Annotated[Path, option("COCO's instances.json, or a folder of .xml (Pascal VOC) or .txt files")],
    detections: Annotated[Path, option("COCO's results.json, or a folder of .txt files, one an image")],
    /,
    *,
    method: Annotated[Method, option("whose figures: coco, voc (2010 on) or voc2007", metavar="NAME")] = "coco",
    iou: Annotated[float | None, option("the overlap of a hit, for voc; 0.5 if left out", metavar="X")] = None,
    edges: Annotated[bool, option("for voc: corners are edges, not the first and last pixel")] = False,
    format: Annotated[
        Format | None, option("the numbers in .txt files: xywh (if left out), xyxy or cxcywh", metavar="FORMAT")
    ] = None,
    classes: Annotated[
        Path | None, option("a file with a class a line, where .txt files have numbers from 0", metavar="FILE")
    ] = None,
    per_class: Annotated[bool, option("the average precision of each class too")] = False,
    json: Json = False,
) -> int:
    """Measure how well boxes were found: average precision and recall.

    TRUTH and DETECTIONS are files of the same images. COCO's twelve figures and Pascal VOC's mean average
    precision are those of their own programs.
    """
    from netwright.boxes.evaluating import evaluate
    from netwright.boxes.reading import read_classes

    try:
        found = evaluate(
            truth, detections, method=method, iou=iou, inclusive=False if edges else None, format=format,
            classes=read_classes(classes) if classes else (),
        )  # fmt: skip
    except UsageError as error:
        raise type(error)(OPTIONS.get(error.where, error.where), error.got, error.expected, error.suggestion) from error
    if json:
        printing.document(found)
        return 0
    _show(found, per_class)
    for text in found.notes:
        printing.note(text)
    return 0


def _show(found: BoxFigures, per_class: bool) -> None:
    boxes, detections = plural(found.truths, "box", "boxes"), plural(found.detections, "detection")
    printing.line(f"{plural(found.images, 'image')}, {boxes}, {detections}")
    printing.line()
    if found.method == "coco":
        table = printing.table("figure", "", "IoU", "area", "detections", "value", right=("detections", "value"))
        for name, value in found.figures.items():
            words, overlap, area, most = MEANINGS[name]
            table.add_row(*map(printing.cell, (name, words, overlap, area, str(most), _text(value))))
    else:
        table = printing.table("figure", "", "IoU", "value", right=("value",))
        curve = "eleven recalls" if found.method == "voc2007" else "whole curve"
        for name, value in found.figures.items():
            words = f"mean average precision, {curve}"
            table.add_row(*map(printing.cell, (name, words, f"{found.iou:g}", _text(value))))
    printing.show(table)
    if per_class:
        table = printing.table("class", "average precision", right=("average precision",))
        for name, value in found.classes.items():
            table.add_row(printing.cell(name), printing.cell(_text(value)))
        printing.line()
        printing.show(table)


def _text(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"
