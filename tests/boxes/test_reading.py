"""Files of boxes: damaged and foreign ones stop with the place, small deviations are noted, nothing is guessed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netwright import boxes
from netwright.boxes import reading
from netwright.errors import DataError, NetwrightError, UsageError

TRUTH: dict[str, Any] = {
    "images": [{"id": 5, "file_name": "a/one.jpg"}, {"id": 2, "file_name": "two.jpg"}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 4, "name": "night owl"}],
    "annotations": [
        {"id": 0, "image_id": 5, "category_id": 4, "bbox": [10, 10, 20, 20], "area": 300, "iscrowd": 0},
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 0], "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 25},
    ],
}
FOUND: list[dict[str, Any]] = [
    {"image_id": 5, "category_id": 4, "bbox": [10, 10, 20, 20], "score": 0.5},
    {"image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.25},
]
XML = """<?xml version="1.0" encoding="utf-8"?><annotation><object><name>cat</name><difficult>{hard}</difficult>
<bndbox><ymin>2</ymin><xmin>1</xmin><xmax>{right}</xmax><ymax>9.5</ymax></bndbox></object></annotation>"""


def written(folder: Path, truth: Any = TRUTH, found: Any = FOUND) -> tuple[Path, Path]:
    paths = folder / "truth.json", folder / "found.json"
    for path, value in zip(paths, (truth, found), strict=True):
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return paths


def changed(value: Any, change: Callable[[Any], Any]) -> Any:
    made = copy.deepcopy(value)
    change(made)
    return made


def test_coco_files_as_arrays(tmp_path: Path) -> None:
    truth, names, notes = reading.read_truth(written(tmp_path)[0])
    assert truth.images == ("two", "one")  # by id
    assert truth.labels == ("cat", "night owl")
    assert truth.image.tolist() == [1, 0, 0]
    assert truth.corners.tolist() == [[10, 10, 30, 30], [0, 0, 5, 0], [0, 0, 5, 5]]
    assert truth.sizes.tolist() == [300, 0, 25]  # the mask's area where there is one
    assert truth.areas.tolist() == [400, 0, 25]
    assert notes == ["1 annotations have no area: width times height is taken"]
    found = reading.read_detections(tmp_path / "found.json", names)
    assert (found.image.tolist(), found.label.tolist(), found.scores.tolist()) == ([1, 0], [1, 0], [0.5, 0.25])


def test_an_annotation_with_the_id_0_counts(tmp_path: Path) -> None:
    """COCO's own program takes this id for "not matched"."""
    assert boxes.evaluate(*written(tmp_path)).classes["night owl"] == pytest.approx(1)


def test_what_is_noted(tmp_path: Path) -> None:
    truth = changed(TRUTH, lambda t: t["annotations"].append({"image_id": 77, "category_id": 1, "bbox": [0, 0, 1, 1]}))
    found = [*FOUND, {"image_id": 2, "category_id": 99, "bbox": [0, 0, 1, 1], "score": 1}]
    made = boxes.evaluate(*written(tmp_path, truth, found))
    assert (made.truths, made.detections) == (3, 2)
    assert len(made.notes) == 3
    assert "1 detections are of a class" in made.notes[-1]


@pytest.mark.parametrize(
    ("truth", "found", "place", "what"),
    [
        (b"", FOUND, "truth.json", "no whole JSON"),
        (json.dumps(TRUTH).encode()[:-40], FOUND, "truth.json", "no whole JSON"),
        (b"\xff\xfe{}", FOUND, "truth.json", "no whole JSON"),
        (b'{"other": ' + b"[" * 100_000, FOUND, "truth.json", "no whole JSON"),
        (FOUND, TRUTH, "truth.json", "object"),
        (TRUTH, {"images": []}, "found.json", "annotations"),
        (changed(TRUTH, lambda t: t["annotations"][1].pop("bbox")), FOUND, ".annotations[1]", "bbox"),
        (changed(TRUTH, lambda t: t["annotations"][1].update(bbox=[1, 2, 3])), FOUND, ".annotations[1].bbox", "length"),
        (changed(TRUTH, lambda t: t["annotations"][1].update(bbox=[1, 2, "3", 4])), FOUND, "bbox[2]", "str"),
        (changed(TRUTH, lambda t: t["annotations"][2].update(bbox=[1, 2, -3, 4])), FOUND, "annotations[2]", "inverted"),
        (
            changed(TRUTH, lambda t: t["annotations"][2].update(bbox=[1, 2, 1e200, 4])),
            FOUND,
            "annotations[2]",
            "1e+200",
        ),
        (changed(TRUTH, lambda t: t["annotations"][2].update(area=1e300)), FOUND, "areas of annotations[2]", "1e+300"),
        (changed(TRUTH, lambda t: t["images"].append({"id": 5})), FOUND, "images", "5 twice"),
        (changed(TRUTH, lambda t: t["categories"].append({"id": 1})), FOUND, "categories", "1 twice"),
        (TRUTH, changed(FOUND, lambda f: f[1].pop("score")), "[1]", "score"),
        (TRUTH, changed(FOUND, lambda f: f[1].update(score=None)), "[1].score", "null"),
        (TRUTH, changed(FOUND, lambda f: f[1].update(image_id=3)), "[1]", "image_id 3, which the truth does not have"),
        (TRUTH, changed(FOUND, lambda f: f[1].update(bbox=[5, 5, 1, -1])), "found.json[1]", "inverted"),
        (TRUTH, [{**FOUND[0], "category_id": 9}], "found.json", "no detection of a class that the truth has"),
        (TRUTH, json.dumps(FOUND).replace("0.25", "NaN").encode(), "found.json", "no whole JSON"),
    ],
)
def test_damaged_json(truth: Any, found: Any, place: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        boxes.evaluate(*written(tmp_path, truth, found))
    assert place in caught.value.where
    assert what in caught.value.got


def test_a_swap_is_said(tmp_path: Path) -> None:
    truth, found = written(tmp_path)
    with pytest.raises(DataError, match="the truth first"):
        boxes.evaluate(found, truth)
    with pytest.raises(DataError, match="the truth first"):
        boxes.evaluate(truth, truth)


def test_xml_and_texts(tmp_path: Path) -> None:
    (tmp_path / "xml").mkdir()
    (tmp_path / "found").mkdir()
    (tmp_path / "xml" / "one.xml").write_text(XML.format(hard=0, right=11))
    (tmp_path / "xml" / "two.xml").write_text(XML.format(hard=1, right=21))
    (tmp_path / "found" / "one.txt").write_text("\ufeffcat 0.5 1 2 10 7.5\n\n", encoding="utf-8")
    truth, names, _ = reading.read_truth(tmp_path / "xml")
    assert truth.corners.tolist() == [[1, 2, 11, 9.5], [1, 2, 21, 9.5]]
    assert truth.difficult.tolist() == [False, True]
    assert reading.read_detections(tmp_path / "found", names).corners.tolist() == [[1, 2, 11, 9.5]]
    for method in ("voc", "voc2007"):
        assert boxes.evaluate(tmp_path / "xml", tmp_path / "found", method=method).figures["mAP"] == 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("<annotation><object>", "no whole XML"),
        ('<!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>', "document type"),
        (XML.format(hard=0, right="wide"), "'wide'"),
        (XML.format(hard=0, right=0), "inverted"),
        (XML.format(hard=0, right=5).replace("<name>cat</name>", ""), "no name"),
        (XML.format(hard=0, right=5).replace("<xmin>1</xmin>", ""), "''"),
        ("<annotation></annotation>", "without a box"),
        ("<a>" * 100_000, "no whole XML"),
        ("x" * (reading.LARGEST_TEXT + 1), "bytes"),
    ],
)
def test_damaged_xml(content: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "one.xml").write_text(content)
    with pytest.raises(DataError, match=what):
        reading.read_truth(tmp_path / "xml")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("cat 0.5 1 2 3", "5 words"),
        ("cat 0.5 1 2 3 much", "'much'"),
        ("cat 0.5 1 2 3 -4", "inverted"),
        ("cat nan 1 2 3 4", "nan"),
        ("dog 0.5 1 2 3 4", "no detection of a class"),
    ],
)
def test_damaged_texts(line: str, what: str, tmp_path: Path) -> None:
    truth, _ = written(tmp_path)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "one.txt").write_text(line)
    with pytest.raises(DataError, match=what):
        boxes.evaluate(truth, tmp_path / "found")


def test_names_with_blanks_and_class_numbers(tmp_path: Path) -> None:
    truth, _ = written(tmp_path)
    (tmp_path / "found").mkdir()
    text = tmp_path / "found" / "one.txt"
    text.write_text("night owl 0.5 10 10 20 20")
    assert boxes.evaluate(truth, tmp_path / "found").classes["night owl"] == pytest.approx(1)
    text.write_text("1 0.5 10 10 30 30")
    made = boxes.evaluate(truth, tmp_path / "found", format="xyxy", classes=("cat", "night owl"))
    assert made.classes["night owl"] == pytest.approx(1)
    text.write_text("2 0.5 10 10 30 30")
    with pytest.raises(DataError, match="a number from 0 to 1"):
        boxes.evaluate(truth, tmp_path / "found", classes=("cat", "night owl"))
    (tmp_path / "classes.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(DataError, match="'cat' twice"):
        reading.read_classes(tmp_path / "classes.txt")
    (tmp_path / "found" / "three.txt").write_text("cat 0.5 10 10 30 30")
    text.unlink()
    with pytest.raises(DataError, match="'three', which the truth does not have"):
        boxes.evaluate(truth, tmp_path / "found")


def test_arguments_without_effect_stop(tmp_path: Path) -> None:
    truth, found = written(tmp_path)
    for more, name in (
        ({"format": "xyxy"}, "format"), ({"classes": ("cat",)}, "classes"), ({"iou": 0.5}, "iou"),
        ({"inclusive": False}, "inclusive"), ({"method": "voc", "iou": 0.0}, "iou"), ({"method": "coko"}, "method"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            boxes.evaluate(truth, found, **more)  # type: ignore[arg-type]
        assert caught.value.where == name


@pytest.mark.parametrize(
    ("truth", "found", "place"),
    [
        ([{"boxes": [(0, 0, 1, 1)], "labels": [0]}], [], "detections"),
        ([{"boxes": [(0, 0, 1, 1)]}], [{"boxes": [], "labels": [], "scores": []}], "truth[0]"),
        ([{"boxes": [], "labels": []}], [{"boxes": [], "labels": []}], "detections[0]"),
        ([{"boxes": [], "labels": [], "crowds": []}], [{"boxes": [], "labels": [], "scores": []}], "truth[0]"),
        ([{"boxes": [(0, 0, 1, 1)], "labels": [0, 1]}], [{"boxes": [], "labels": [], "scores": []}], "truth[0] labels"),
        ([{"boxes": [(3, 0, 1, 1)], "labels": [0]}], [{"boxes": [], "labels": [], "scores": []}], "truth[0] boxes[0]"),
        ("truth.json", [], "truth and detections"),
        ([3], [3], "truth[0]"),
    ],
)
def test_wrong_arrays(truth: Any, found: Any, place: str) -> None:
    with pytest.raises(NetwrightError) as caught:
        boxes.evaluate(truth, found)
    assert caught.value.where == place
    assert caught.value.exit_code == 2
