"""Average precision: published figures to the last digit, COCO's own program, and both one box at a time."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import tarfile
from pathlib import Path
from typing import Any

import boxes_oracle as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright import boxes
from netwright.boxes import coco

VOC_CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip


@pytest.fixture(scope="module")
def voc_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from reference import shared_folder

    archive = shared_folder() / "data" / "detection" / "voc100_metrics.tar.gz"
    if not archive.is_file():
        pytest.skip(f"no reference data: {archive}")
    folder = tmp_path_factory.mktemp("voc")
    with tarfile.open(archive) as tar:
        wanted = [item for item in tar.getmembers() if not item.name.endswith((".jpg", ".jpeg"))]
        tar.extractall(folder, wanted, filter="data")
    return folder / "voc100"


# ------------------------------------------------------------------------------------------------ published


def test_coco_published(shared: Path) -> None:
    """The text that COCO publishes with its sample, three digits a figure; and every digit of its program."""
    folder = shared / "detection" / "coco_eval"
    found = boxes.evaluate(folder / "instances_val2014_100.json", folder / "instances_val2014_fakebbox100_results.json")
    text = (folder / "val2014_fake_eval_res.txt").read_text()
    published = re.findall(r"= (\d\.\d{3})", text.partition("type=bbox")[2].partition("type=keypoints")[0])
    assert len(published) == 12
    assert [f"{value:.3f}" for value in found.figures.values()] == published
    expected = json.loads((folder / "expected_stats_pycocotools.json").read_text())
    assert found.figures == dict(zip(expected["stats_order"], expected["bbox"], strict=True))
    known = {name: value for name, value in found.classes.items() if not math.isnan(value)}
    assert known == pytest.approx(expected["bbox_per_category_AP"], abs=1e-15)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("truth", "detections", "more"),
    [
        ("gts/coco_format_v1/instances_default.json", "dets/coco_format/coco_dets.json", {}),
        ("gts/coco_format_v2/instances_v2.json", "dets/coco_format/coco_dets.json", {}),
        ("gts/pascalvoc_format", "dets/abs_xywh", {"classes": VOC_CLASSES}),
        ("gts/pascalvoc_format", "dets/abs_xyx2y2", {"classes": VOC_CLASSES, "format": "xyxy"}),
        ("gts/coco_format_v1/instances_default.json", "dets/abs_xywh", {"classes": VOC_CLASSES}),
    ],
)
def test_the_voc_sample_in_every_notation(
    truth: str, detections: str, more: dict[str, Any], voc_sample: Path, shared: Path
) -> None:
    base = voc_sample / "data" / "database"
    found = boxes.evaluate(base / truth, base / detections, **more)
    expected = json.loads((shared / "detection" / "voc100_expected_stats_pycocotools.json").read_text())
    published = dict(zip(expected["stats_order"], expected["bbox"], strict=True))
    assert (found.images, found.truths, found.detections) == (100, 273, 452)
    if truth.endswith("v1/instances_default.json") and detections.endswith(".json"):
        assert found.figures == published
    else:  # classes in another order, scores of six digits: sums differ by their rounding
        assert found.figures == pytest.approx(published, abs=1e-12)


@pytest.mark.parametrize("detections", ["cocoapi_results.json", "dets/sampled_bbox_results.json"])
def test_the_coco_sample_by_areas_of_boxes(detections: str, voc_sample: Path) -> None:
    """Figures of six digits that Padilla et al. publish with their tool."""
    folder = voc_sample / "tests" / "test_coco_eval"
    found = boxes.evaluate(folder / "gts" / "sampled_gts_bbox_area.json", folder / detections)
    published = (
        "0.503647 0.696973 0.571667 0.593252 0.557991 0.489363 0.386813 0.593680 0.595353 0.654764 0.603130 0.553744"
    )
    assert " ".join(f"{value:.6f}" for value in found.figures.values()) == published


@pytest.mark.parametrize(
    ("method", "published"),
    [
        ("voc2007", ["0.3333333333", "0.2683982684", "0.0303030303", "0.0000000000"]),
        ("voc", ["0.3371980676", "0.2456866805", "0.0222222222", "0.0000000000"]),
    ],
)
def test_voc_published(method: Any, published: list[str], voc_sample: Path) -> None:
    """Padilla et al., Electronics 2021, 10(3):279: seven images, one class, overlaps 0.1, 0.3, 0.5, 0.75."""
    folder = voc_sample / "tests" / "test_case_1"
    found = [
        boxes.evaluate(folder / "gts", folder / "dets", method=method, iou=overlap).figures["mAP"]
        for overlap in (0.1, 0.3, 0.5, 0.75)
    ]
    assert [f"{value:.10f}" for value in found] == published


# ------------------------------------------------------------------------------------------------ COCO's own program


def random_files(folder: Path, seed: int, images: int = 12) -> tuple[Path, Path]:
    """Crowds, equal scores, equal boxes, areas at the ends of ranges, empty boxes, more than 100 detections."""
    generator = np.random.default_rng(seed)
    ids = generator.permutation(1000)[:images]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in ids.tolist():
        for category in (3, 1, 7):
            truths = generator.integers(0, 9)
            rows = np.round(generator.uniform((0, 0, 4, 4), (200, 200, 130, 130), (truths, 4)), 1)
            rows[generator.random(truths) < 0.2, 2:] = 32
            rows[generator.random(truths) < 0.1, 2] = 0
            for row in rows.tolist():
                crowd = int(generator.random() < 0.15)
                area = row[2] * row[3] * generator.choice([1.0, 1.0, 0.6])
                annotations.append({
                    "id": len(annotations) + 1, "image_id": image, "category_id": category, "bbox": row, "area": area,
                    "iscrowd": crowd, "ignore": int(generator.random() < 0.1),
                })  # fmt: skip
            count = generator.integers(0, 14) if category != 7 else generator.integers(80, 130)
            near = rows[generator.integers(0, truths, count)] if truths else np.zeros((count, 4)) + 20
            guesses = near + np.round(generator.normal(0, 6, (count, 4)), 1) * generator.choice([0, 1], (count, 1))
            if category == 7:  # hits are few, and some come after the first hundred
                guesses[generator.random(count) < 0.95, 0] += 500
            guesses[:, 2:] = np.maximum(guesses[:, 2:], 0)
            for row in guesses.tolist():
                score = round(float(generator.random()), 1 if category == 3 else 3)
                results.append({"image_id": image, "category_id": category, "bbox": row, "score": score})
    truth = {
        "images": [{"id": int(image), "file_name": f"{image}.jpg"} for image in ids],
        "categories": [{"id": k, "name": f"kind {k}"} for k in (7, 1, 3, 9)],  # the last without truth
        "annotations": annotations,
    }
    order = generator.permutation(len(results))
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps([results[place] for place in order]))
    return folder / "truth.json", folder / "found.json"


@pytest.mark.parametrize("seed", range(4))
def test_every_number_of_the_curves_is_pycocotools(seed: int, tmp_path: Path) -> None:
    module = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is not installed")
    from pycocotools.coco import COCO

    from netwright.boxes import reading

    truth, found = random_files(tmp_path, seed)
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO(str(truth))
        theirs = module.COCOeval(true, true.loadRes(str(found)), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    flat, names, _ = reading.read_truth(truth)
    ours = coco.evaluate(flat, reading.read_detections(found, names))
    precision, recall = (np.where(theirs.eval[name] < 0, np.nan, theirs.eval[name]) for name in ("precision", "recall"))
    assert np.array_equal(ours.precision, precision[..., 2], equal_nan=True)
    assert np.array_equal(ours.recall, recall, equal_nan=True)
    figures = [-1.0 if math.isnan(value) else value for value in ours.figures().values()]
    assert figures == theirs.stats.tolist()
    assert 0.05 < figures[0] < 0.95  # there is something to get wrong


# ------------------------------------------------------------------------------------------------ one box at a time

corner = st.integers(0, 12)
one = st.tuples(corner, corner, st.integers(0, 12), st.integers(0, 12)).map(
    lambda b: (b[0] * 8, b[1] * 8, (b[0] + b[2]) * 8, (b[1] + b[3]) * 8)
)
label = st.integers(0, 1)
truths = st.lists(st.tuples(one, label, st.booleans(), st.booleans()), max_size=6).map(
    lambda rows: {
        "boxes": [row[0] for row in rows], "labels": [row[1] for row in rows], "crowd": [row[2] for row in rows],
        "difficult": [row[3] for row in rows],
    }
)  # fmt: skip
guesses = st.lists(st.tuples(one, label, st.integers(0, 5)), max_size=8).map(
    lambda rows: {
        "boxes": [row[0] for row in rows], "labels": [row[1] for row in rows], "scores": [row[2] / 5 for row in rows],
    }
)  # fmt: skip
pictures = st.integers(1, 4).flatmap(
    lambda n: st.tuples(st.lists(truths, min_size=n, max_size=n), st.lists(guesses, min_size=n, max_size=n))
)


def same(value: float | None, expected: float) -> bool:
    assert value is not None
    return (math.isnan(value) and math.isnan(expected)) or value == pytest.approx(expected, abs=1e-12)


def mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


@given(pictures)
@settings(max_examples=60, deadline=None)
def test_coco_one_box_at_a_time(given: Any) -> None:
    truth, found = given
    ours = boxes.evaluate(truth, found, classes=("a", "b")).figures
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        assert same(ours[name], mean([oracle.coco_average(truth, found, k, threshold)[0] for k in (0, 1)]))
    for name, area, most in (("AR1", "all", 1), ("ARsmall", "small", 100), ("ARmedium", "medium", 100)):
        parts = [
            oracle.coco_average(truth, found, k, float(level), coco.AREAS[area], most)[1]
            for k in (0, 1)
            for level in coco.THRESHOLDS
        ]
        assert same(ours[name], mean(parts)), name


@given(pictures, st.sampled_from([0.1, 0.5, 0.75]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_voc_one_box_at_a_time(given: Any, threshold: float, eleven: bool) -> None:
    truth, found = given
    plain = [{name: value for name, value in item.items() if name != "crowd"} for item in truth]
    ours = boxes.evaluate(
        plain, found, method="voc2007" if eleven else "voc", iou=threshold, inclusive=False, classes=("a", "b")
    )
    for k, name in enumerate("ab"):
        assert same(ours.classes[name], oracle.voc_average(truth, found, k, threshold, eleven))


@given(pictures)
@settings(max_examples=30, deadline=None)
def test_what_was_found_exactly_is_perfect(given: Any) -> None:
    truth = [{"boxes": item["boxes"], "labels": item["labels"]} for item in given[0]]
    for item in truth:
        filled = [number for number, row in enumerate(item["boxes"]) if oracle.size(row)]
        different = {tuple(item["boxes"][number]): number for number in filled}
        for name in item:
            item[name] = [item[name][number] for number in different.values()]
    found = [{**item, "scores": [0.5] * len(item["labels"])} for item in truth]
    total = sum(len(item["labels"]) for item in truth)
    for method in ("coco", "voc", "voc2007"):
        made = boxes.evaluate(truth, found, method=method)
        values = [value for name, value in made.figures.items() if name not in ("AR1", "AR10")]
        assert all(math.isnan(value) or value == pytest.approx(1) for value in values)
        assert total == 0 or not math.isnan(values[0])


def test_crowds_by_hand() -> None:
    """A crowd takes any number of detections, by the share of each that lies in it; they are neither hit nor miss."""
    truth = [{"boxes": [(0, 0, 100, 100), (200, 0, 210, 10)], "labels": [0, 0], "crowd": [1, 0]}]
    inside = [(0, 0, 10, 10), (20, 20, 30, 30), (60, 60, 99, 99)]
    found = [{"boxes": [*inside, (200, 0, 210, 10)], "labels": [0] * 4, "scores": [0.9, 0.8, 0.7, 0.1]}]
    assert boxes.evaluate(truth, found).figures["AP"] == pytest.approx(1)
    truth[0]["crowd"] = [0, 0]
    assert boxes.evaluate(truth, found).figures["AP"] == pytest.approx(0.25 * 51 / 101)  # the fourth hit, of two


def test_difficult_by_hand() -> None:
    truth = [{"boxes": [(0, 0, 10, 10), (20, 0, 30, 10)], "labels": [0, 0], "difficult": [True, False]}]
    found = [{"boxes": [(0, 0, 10, 10), (0, 0, 10, 10), (20, 0, 30, 10)], "labels": [0] * 3, "scores": [0.9, 0.8, 0.1]}]
    assert boxes.evaluate(truth, found, method="voc").figures["mAP"] == 1
    # COCO knows no such thing: hit, miss, hit, so precision 1 up to recall 0.5, then 2/3
    assert boxes.evaluate(truth, found).figures["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_same_truth_twice_is_one_hit_and_one_miss() -> None:
    truth = [{"boxes": [(0, 0, 10, 10)], "labels": [0]}]
    found = [{"boxes": [(0, 0, 10, 10), (0, 0, 10, 9)], "labels": [0, 0], "scores": [0.5, 0.9]}]
    curve = boxes.evaluate(truth, found, method="voc", inclusive=False)
    assert curve.figures["mAP"] == 1  # the first reaches all there is; the second comes after it


def test_inclusive_corners_are_a_pixel_wider() -> None:
    """4 of 10 pixels shared: (5 · 10) / (150) with pixels counted, (4 · 9) / (2 · 81 − 36) with edges."""
    truth = [{"boxes": [(1, 1, 10, 10)], "labels": [0]}]
    found = [{"boxes": [(6, 1, 15, 10)], "labels": [0], "scores": [0.5]}]
    assert boxes.evaluate(truth, found, method="voc", iou=1 / 3).figures["mAP"] == 1
    assert boxes.evaluate(truth, found, method="voc", iou=0.3, inclusive=False).figures["mAP"] == 0


def test_nothing_found_and_nothing_there() -> None:
    truth = [{"boxes": [(0, 0, 10, 10)], "labels": [4]}]
    none = [{"boxes": [], "labels": [], "scores": []}]
    assert boxes.evaluate(truth, none).figures["AP"] == 0
    assert boxes.evaluate(truth, none, method="voc").figures["mAP"] == 0
    empty = boxes.evaluate([{"boxes": [], "labels": []}], none)
    assert math.isnan(empty.figures["AP"])
    assert empty.to_dict()["figures"]["AP"] is None
