"""The report: one valid file, nothing from outside, no crash whatever the run's directory holds."""

import base64
import hashlib
import importlib.resources
import math
import re
import sqlite3
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from filled import confusion, gallery, pictures, run_directory

from netwright.errors import RunError
from netwright.records import Evidence, Finding, Remedy
from netwright.reporting import contents, measures
from netwright.reporting.page import TEMPLATES, write_report
from netwright.runs import RunDirectory

DIGITS = tuple("0123456789")
VOID = {"meta", "link", "br", "img", "hr", "input", "col"}
EVIL = "<script>alert('x')</script>\"&</style>"
LARGEST = 1_500_000  # bytes


class Page(HTMLParser):
    """A page as sections, texts and elements; every element that opens must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.found.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag, f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def sections(self) -> list[str]:
        return [attributes["id"] for tag, attributes in self.found if tag == "section" and "id" in attributes]

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


def report(directory: Path) -> tuple[str, Page]:
    text = write_report(directory).read_text(encoding="utf-8")
    page = Page(text)
    assert len(text.encode()) < LARGEST
    assert_self_contained(text, page)
    return text, page


def assert_self_contained(text: str, page: Page) -> None:
    """Nothing is loaded from outside, and only the page's own script may run."""
    for tag, attributes in page.found:
        assert not (tag == "script" and "src" in attributes)
        assert tag not in ("iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert "url(" not in style
    assert "@import" not in style
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert "://" not in script
    (policy,) = (each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert len(page.ids) == len(set(page.ids))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    details = {"confusion": confusion(DIGITS), **gallery(pictures(DIGITS))}
    return run_directory(tmp_path, details=details)


# ------------------------------------------------------------------------------------------------ what is shown


def test_a_report_has_every_section_that_the_run_has_records_for(whole: Path) -> None:
    text, page = report(whole)
    assert page.sections() == ["learning", "classes", "mistakes", "data", "recipe", "environment"]
    assert "small_resnet learned digits: 95.0 % of the held-out examples are right (validation), in 8 s" in page.text
    title = re.findall("<title>(.*?)</title>", text)[0]
    assert title.startswith("digits-0001: small_resnet learned digits")
    assert "10 of 100 wrong" in page.text
    assert "1 437" in page.text
    assert "after epoch" not in title


def test_curves_are_drawn_for_epochs_and_steps_and_listed_as_a_table(whole: Path) -> None:
    _, page = report(whole)
    labels = [attributes["aria-label"] for attributes in page.all("svg") if attributes.get("class") == "chart"]
    assert [label.split(":")[0] for label in labels] == [
        "Loss after each epoch", "Accuracy after each epoch", "Training loss at each step", "Learning rate"
    ]  # fmt: skip
    assert "validation from 2.00 to 0.400" in labels[0]
    assert "epoch 4 is kept" in page.text
    assert "The validation loss fell from 2.00 to 0.400." in page.text
    assert "Every epoch in numbers" in page.text


def test_confusions_are_named_in_words_with_recall_and_precision(tmp_path: Path) -> None:
    counts = [[40, 8, 2], [0, 50, 0], [1, 0, 49]]
    details = {"confusion": {"split": "validation", "classes": ["cat", "dog", "fox"], "counts": counts}}
    _, page = report(run_directory(tmp_path, classes=("cat", "dog", "fox"), details=details))
    text = page.text
    assert "11 of 150 validation examples are wrong." in text
    assert "Hardest is cat: 80.0 % of its examples are found." in text
    assert text.index("cat taken for dog 8 of 50 (16.0 %)") < text.index("cat taken for fox 2 of 50 (4.0 %)")
    assert "cat 50 80.0 % 97.6 % dog (8)" in text
    assert [cell["title"] for cell in page.all("td") if "title" in cell][1] == "cat taken for dog: 8 of 50 (16.0 %)"


def test_mistakes_come_first_with_what_was_said_and_how_surely(whole: Path) -> None:
    _, page = report(whole)
    assert "12 of these 24 are wrong" in page.text
    assert "1 taken for 2 75 % sure" in page.text
    assert "the others are right" in page.text
    figures = [each["class"] for each in page.all("figure") if each.get("class", "").startswith("card")]
    assert figures[:24] == ["card wrong"] * 12 + ["card"] * 12
    pictures_shown = page.all("img")
    assert len(pictures_shown) == 48
    assert pictures_shown[0]["alt"] == "001.png: labelled 1, predicted 2"


def test_a_run_that_learned_nothing_is_not_said_to_have_learned(tmp_path: Path) -> None:
    lost = run_directory(tmp_path, details={"confusion": confusion(DIGITS, wrong=9)}, accuracy=0.1)
    assert "small_resnet has not learned digits: 10.0 % of the held-out examples are right" in report(lost)[1].text
    half = run_directory(tmp_path, details={"confusion": confusion(DIGITS, wrong=6)}, accuracy=0.4)
    assert "small_resnet trained on digits: 40.0 %" in report(half)[1].text
    unknown = run_directory(tmp_path)
    assert "small_resnet trained on digits: 95.0 %" in report(unknown)[1].text


def test_regression_is_shown_as_true_against_predicted(tmp_path: Path) -> None:
    true = np.linspace(0, 100, 40)
    details = {"scatter": {"split": "validation", "target": "price", "true": true, "predicted": true + 3}}
    directory = run_directory(tmp_path, task="regression", classes=(), targets=("price",), details=details)
    _, page = report(directory)
    assert "values" in page.sections()
    assert "classes" not in page.sections()
    assert "small_resnet learned to predict price from digits: held-out values are off by 12.5 on average" in page.text
    assert "Half of the predictions are within ±3.00 of the truth. On average they lie 3.00 above it." in page.text
    assert "confusion matrix" not in page.text


def test_several_targets_are_shown_one_after_the_other(tmp_path: Path) -> None:
    values = [{"target": name, "true": [1, 2, None], "predicted": [1, math.nan, 3]} for name in ("x", "y")]
    _, page = report(
        run_directory(tmp_path, task="regression", classes=(), targets=("x", "y"), details={"scatter": values})
    )
    assert "x 1 example of the validation part" in page.text
    assert "y 1 example of the validation part" in page.text


def test_findings_lead_with_the_root_and_say_nothing_where_there_are_none(tmp_path: Path, whole: Path) -> None:
    symptom = Finding(
        code="vanishing-gradient", severity="error", where="layers 1 to 4", because_of="wrong-hidden-activation",
        evidence=(Evidence(what="gradient norm", value=2e-6, unit="1", step=40, expected="over 0.001"),),
    )  # fmt: skip
    root = Finding(
        code="wrong-hidden-activation", severity="warning", where="network", cause="a sigmoid saturates",
        remedies=(Remedy(code="relu", text="Use ReLU", change={"network.arguments": {"activation": "relu"}}),),
        confirmed_by="a run of 40 steps",
    )  # fmt: skip
    silenced = Finding(code="too-few-epochs", severity="note", where="train.epochs", ignored="a demonstration")
    _, page = report(run_directory(tmp_path / "with", findings=(symptom, root, silenced, symptom)))
    text = page.text
    assert page.sections()[0] == "findings"
    assert text.index("a sigmoid saturates") < text.index("gradient norm, step 40")
    assert "2 findings; root causes (1) come first." in text
    assert "gradient norm, step 40 2e−6 1 over 0.001" in text
    assert "network.arguments = {activation: relu}" in text
    assert "Silenced by the recipe: too-few-epochs (a demonstration)." in text
    _, without = report(whole)
    assert "findings" not in without.sections()
    assert not re.search("healthy|no problem|all is well|nothing wrong", without.text, re.I)


def test_the_recipe_starts_with_what_differs_from_the_default(tmp_path: Path) -> None:
    _, page = report(run_directory(tmp_path, changes={"train.weight_decay": 0.5}))
    text = page.text
    assert "2 keys differ from the default." in text
    assert text.index("train.weight_decay 0.5") < text.index("train.lr 0.003") < text.index("version: 1")


def test_tables_are_shown_as_rows_and_sounds_as_waves(tmp_path: Path) -> None:
    card = {"name": "#1", "label": "yes", "predicted": "no", "probability": 0.9, "cells": {"age": "31", "job": "smith"}}
    _, page = report(run_directory(tmp_path, details={"mistakes": [card], "examples": [card]}))
    assert "true predicted sure age job yes no 90 % 31 smith" in page.text
    sound = {"name": "a.wav", "label": "yes", "wave": [0.0, 0.5, -0.5]}
    _, page = report(run_directory(tmp_path, details={"examples": [sound]}))
    assert [each["aria-label"] for each in page.all("svg") if each.get("class") == "wave"] == ["a.wav: labelled yes"]


# ------------------------------------------------------------------------------------------------ strangers, sizes


def test_names_from_strangers_are_only_ever_text(tmp_path: Path) -> None:
    classes = (EVIL, "</title><img src=x onerror=alert(1)>", "b")
    finding = Finding(
        code=EVIL, severity="error", where=EVIL, cause=EVIL, evidence=(Evidence(what=EVIL, value=1.0, unit=EVIL),)
    )
    details = {"confusion": confusion(classes), **gallery(pictures(classes))}
    details["examples"][0] |= {"name": EVIL, "cells": {EVIL: EVIL}, "png": 'x" onload="alert(1)'}
    changes = {"network.name": EVIL, "data.source": f"/tmp/{EVIL}", "network.arguments": {EVIL: EVIL}}
    directory = run_directory(tmp_path, classes=classes, details=details, findings=(finding,), changes=changes)
    text, page = report(directory)
    assert text.count("<script") == 1
    assert "onerror=alert(1)>" not in text
    assert EVIL in "".join(page.words)
    many = tuple(f"{EVIL}{at}" for at in range(30))
    report(run_directory(tmp_path, classes=many, details={"confusion": confusion(many)}))


def test_many_large_pictures_and_a_hundred_classes_stay_small(tmp_path: Path) -> None:
    classes = tuple(f"a class with a rather long name, number {at}" for at in range(100))
    dense = {"split": "test", "classes": list(classes), "counts": np.full((100, 100), 1234).tolist()}
    details = {**gallery(pictures(classes, side=96, channels=3, count=60), count=60), "confusion": dense}
    details["mistakes"] = [card | {"png": card["png"] * 4} for card in details["mistakes"]]
    text, page = report(run_directory(tmp_path, classes=classes, details=details))
    assert 200_000 < len(text) < LARGEST
    assert "left out here to keep this file small" in page.text
    assert "Each class, the hardest first" in page.text
    assert "85 more classes" in page.text


def test_everything_at_once_and_too_much_of_it_stays_small(tmp_path: Path) -> None:
    long = "x" * 1000
    classes = tuple(f"{long}{at}" for at in range(100))
    dense = {"split": "validation", "classes": list(classes), "counts": np.full((100, 100), 10**9).tolist()}
    card = {
        "name": long,
        "label": long,
        "predicted": long,
        "wave": [0.123456] * 400,
        "cells": {f"{long}{at}": long for at in range(20)},
    }
    finding = Finding(
        code=long, severity="error", where=long, cause=long, expected=long,
        evidence=(Evidence(what=long, value=1.0, expected=long),) * 50,
        remedies=(Remedy(code="r", text=long, change={long: long}),) * 50,
    )  # fmt: skip
    findings = tuple(
        Finding(**{**finding.to_dict(), "layer": str(at), "evidence": finding.evidence, "remedies": finding.remedies})
        for at in range(60)
    )
    details = {"confusion": dense, "mistakes": [card] * 30, "examples": [card] * 30}
    directory = run_directory(
        tmp_path, classes=classes, details=details, findings=findings, changes={"network.arguments": {"a": long * 40}}
    )
    log = RunDirectory(directory).open_log()
    log.series("loss", 21, [math.sin(step) + 2 for step in range(20_000)])
    log.close()
    assert len(report(directory)[0]) > 100_000


def test_too_many_classes_are_told_in_words(tmp_path: Path) -> None:
    classes = tuple(f"c{at}" for at in range(300))
    _, page = report(run_directory(tmp_path, classes=classes, details={"confusion": confusion(classes)}))
    assert "No matrix: 300 classes are too many for a picture." in page.text
    assert "c0 taken for c1" in page.text


# ------------------------------------------------------------------------------------------------ unfinished, damaged


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    _, page = report(run_directory(tmp_path, finished=False))
    assert "was stopped while learning digits: after epoch 2 of 5" in page.text
    assert "interrupted" in page.text
    assert "confusion matrix : comes when the run has finished" in page.text


def test_a_run_that_still_trains_says_so(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, finished=False)
    run = RunDirectory(directory).lock()
    try:
        assert "is still learning digits" in report(directory)[1].text
        assert "was stopped while learning" in Page(write_report(directory, state="interrupted").read_text()).text
    finally:
        run.unlock()


def test_a_run_without_an_epoch_has_a_report(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    with sqlite3.connect(directory / "run.sqlite") as connection:
        for table in ("epochs", "series", "details"):
            connection.execute(f"delete from {table}")
    (directory / "current.json").unlink()
    assert "small_resnet on digits has not finished an epoch" in report(directory)[1].text


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "request.yaml", "environment.json", "preprocess.json", "current.json", "run.sqlite"]
)
@pytest.mark.parametrize("damage", ["missing", "empty", "nonsense", "wrong"])
def test_a_damaged_or_missing_file_leaves_the_rest(whole: Path, name: str, damage: str) -> None:
    path = whole / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "nonsense": b"\x00\xff{[", "wrong": b"[1, 2]"}[damage])
    _, page = report(whole)
    assert page.all("h1")
    if name == "run.sqlite":
        assert "missing" in page.sections()
        assert "records" in page.text
    else:
        assert "learning" in page.sections()
        assert "classes" in page.sections()


def test_a_part_of_a_lost_database_is_named_with_the_reason(whole: Path) -> None:
    (whole / "run.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 100)
    _, page = report(whole)
    assert "Not in this report" in page.text
    assert "a damaged database" in page.text


@pytest.mark.parametrize(
    "value",
    [
        7,
        "x",
        [],
        {},
        {"counts": "x"},
        {"counts": [[1, 2]]},
        {"counts": [[1, 2], [3]]},
        {"counts": [[-1]]},
        {"counts": [[None]]},
    ],
)
def test_damaged_details_are_left_out_with_a_reason(tmp_path: Path, value: object) -> None:
    details = dict.fromkeys(("confusion", "scatter", "mistakes", "examples"), value)
    _, page = report(run_directory(tmp_path, details=details))
    assert "classes" not in page.sections()
    assert "learning" in page.sections()
    assert "confusion matrix :" in page.text


def test_numbers_that_are_not_finite_are_survived(tmp_path: Path) -> None:
    directory = run_directory(tmp_path)
    log = RunDirectory(directory).open_log()
    log.series("loss", 21, [math.nan, math.inf, -math.inf, 1e38])
    log.close()
    _, page = report(directory)
    assert "In 3 steps the loss was not a finite number." in page.text


def test_no_directory_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        write_report(tmp_path / "none")


def test_writing_twice_gives_the_same_page(whole: Path) -> None:
    first, second = (re.sub(r"Written by.*?</footer>", "", report(whole)[0]) for _ in range(2))
    assert first == second


def test_a_section_that_fails_is_left_out_and_the_others_stay(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(*unused: object, **named: object) -> str:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(measures.charts, "matrix", planted)
    _, page = report(whole)
    assert "classes" not in page.sections()
    assert "confusion matrix : planted" in page.text


# ------------------------------------------------------------------------------------------------ the package


def test_the_template_is_found_as_package_data() -> None:
    folder = importlib.resources.files("netwright.reporting") / "templates"
    assert {file.name for file in folder.iterdir()} >= {"report.html.jinja", "report.css", "report.js"}


def test_a_report_is_written_without_torch(whole: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from netwright.reporting import page, terminal, progress, cards\n"
        f"page.write_report(Path({str(whole)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_both_themes_have_the_same_variables_and_enough_contrast() -> None:
    style = (Path(TEMPLATES) / "report.css").read_text()
    light, by_system, by_choice = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root[^{]*{(.*?)}", style, re.S)
    )
    assert by_system == by_choice
    assert set(by_choice) == set(light)
    for theme in (light, by_choice):
        for name in ("ink", "soft", "accent", "wrong", "error", "warning", "note"):
            assert contrast(theme[name], theme["paper"]) >= 4.5, (name, theme[name])


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contents_name_what_cannot_be_read(whole: Path) -> None:
    (whole / "environment.json").write_text("{")
    assert "environment" in contents.read(whole).problems
