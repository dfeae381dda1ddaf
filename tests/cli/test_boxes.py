"""``netwright boxes``: what it prints, as a document, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from netwright.boxes import evaluating, formats
from netwright.cli import boxes as verb

Says = Callable[..., Any]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two of three cats found, the better one wrongly placed; a class beside it that nobody knows."""
    rows = [[0, 0, 40, 40], [100, 0, 40, 40], [200, 0, 40, 40]]
    truth = {
        "images": [{"id": 1, "file_name": "one.jpg"}],
        "categories": [{"id": 1, "name": "cat[bold]"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": row, "area": 1600} for row in rows],
    }
    found = [
        {"image_id": 1, "category_id": 1, "bbox": [100, 0, 40, 40], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [60, 0, 10, 10], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 40], "score": 0.7},
        {"image_id": 1, "category_id": 2, "bbox": [0, 0, 40, 40], "score": 0.7},
    ]
    for name, value in (("truth", truth), ("found", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return tmp_path / "truth.json", tmp_path / "found.json"


def test_the_twelve_figures(says: Says, files: tuple[Path, Path]) -> None:
    said = says("boxes", *files, "--per-class")
    assert said.code == 0
    assert "1 image, 3 boxes, 3 detections" in said.out
    # miss, hit, hit: precision 2/3 up to the recall of 2/3, which 67 of 101 levels do not pass
    assert f"{67 / 101 * 2 / 3:.3f}" in next(line for line in said.out.splitlines() if line.startswith("AP "))
    assert [line.split()[0] for line in said.out.splitlines()[3:15]] == list(verb.MEANINGS)
    assert "cat[bold]" in said.out
    assert "1 detections are of a class" in said.err


def test_voc(says: Says, files: tuple[Path, Path]) -> None:
    said = says("boxes", *files, "--method", "voc", "--json")
    assert said.code == 0
    assert said.document["figures"]["mAP"] == pytest.approx(2 / 3 * 2 / 3)
    assert said.document["iou"] == 0.5
    assert "whole curve" in says("boxes", *files, "--method", "voc", "--iou", "0.75").out
    assert "eleven recalls" in says("boxes", *files, "--method", "voc2007", "--edges").out


def test_the_document_is_the_record(says: Says, files: tuple[Path, Path]) -> None:
    document = says("boxes", *files, "--json").document
    assert document == evaluating.evaluate(*files).to_dict()
    assert document["figures"]["APlarge"] is None
    assert list(document["figures"]) == list(verb.MEANINGS)


@pytest.mark.parametrize(
    ("more", "place"),
    [
        (["--iou", "0.5"], "--iou"),
        (["--edges"], "--edges"),
        (["--method", "voc", "--iou", "1.5"], "--iou"),
        (["--format", "xyxy"], "--format"),
        (["--method", "coko"], "--method"),
        (["--classes", "absent.txt"], "absent.txt"),
    ],
)
def test_wrong_options(more: list[str], place: str, says: Says, files: tuple[Path, Path]) -> None:
    said = says("boxes", *files, *more, "--json")
    assert said.code == 2
    assert place in said.document["error"]["where"]
    assert "Traceback" not in said.err


def test_files_that_are_none(says: Says, files: tuple[Path, Path], tmp_path: Path) -> None:
    for words in (
        (tmp_path / "absent.json", files[1]),
        (files[0], tmp_path / "absent"),
        (tmp_path / "empty", files[1]),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        said = says("boxes", *words)
        assert said.code == 2
        assert said.err.startswith("error ")
    assert says("boxes", files[0]).code == 2


def test_the_choices_are_those_of_the_library() -> None:
    assert get_args(verb.Method) == get_args(evaluating.Method)
    assert get_args(verb.Format) == get_args(formats.Format)
