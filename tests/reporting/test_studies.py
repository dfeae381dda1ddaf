"""The page and the lines of a study: everything is there, escaped, and nothing is fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from netwright.records import Contestant, Importance, KeyImportance, Trial, Verdict
from netwright.reporting import studies

TRIALS = [
    Trial(number=0, change={"train.lr": 0.1, "train.schedule": "cosine"}, state="finished", value=0.91, curve=(0.5,)),
    Trial(number=1, change={"train.lr": 0.5, "train.schedule": "cosine"}, state="finished", value=0.82, curve=(0.4,)),
    Trial(number=2, change={"train.lr": 1.0, "train.schedule": "step"}, state="stopped", value=0.1, curve=(0.1,),
          reason="halving: <script>alert(1)</script>"),
    Trial(number=3, change={"train.lr": 0.2}, state="failed", reason="network.depth: got 9"),
]  # fmt: skip
AXES = [("train.lr", lambda value: float(value), ("0", "1")), ("train.schedule", lambda value: 0.5, ("cosine", "step"))]
FOUND = Importance(
    keys=(KeyImportance(key="train.lr", fanova=(0.8, 0.7, 0.9), pedanova=(0.6, 0.5, 0.7)),), trials=30, note="scores"
)
VERDICT = Verdict(
    contestants=(
        Contestant(number=0, change={"train.lr": 0.1}, scores={1: 0.9, 2: 0.91}, mean=0.905),
        Contestant(number=-1, change={}, scores={1: 0.9, 2: 0.89}, mean=0.895, behind=(0.01, -0.1, 0.12)),
    ),
    seeds=2, better_than_default=False,
)  # fmt: skip


class Checker(HTMLParser):
    """Every element is closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, name: str, attributes: object) -> None:
        if name not in ("meta", "br", "link"):
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: object) -> None: ...

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def written(folder: Path, *arguments: Any) -> str:
    return studies.write_page(folder / "page.html", *arguments).read_text(encoding="utf-8")


def test_the_page_is_whole_escaped_and_alone(tmp_path: Path) -> None:
    change = {"train.lr": (0.01, 0.1)}
    page = written(tmp_path, "s", "accuracy", TRIALS, FOUND, VERDICT, change, AXES, TRIALS[0])
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    assert page.count("<script") == 1  # the report's own
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    for title in (
        "The winner",
        "What matters",
        "Learning curves",
        "Each key by itself",
        "All keys at once",
    ):
        assert title in page
    for word in (
        "91.0 %",
        "network.depth: got 9",
        "80 % (70–90)",
        "not told apart from the recipe itself",
        "2 finished",
    ):
        assert word in page, word


def test_a_page_without_trials_or_importance_says_so(tmp_path: Path) -> None:
    few = Importance(trials=2, note="too few trials to say: 2, and 20 are the least")
    assert "Too few trials to say" in written(tmp_path, "s", "accuracy", TRIALS[3:], few, Verdict(), {}, AXES, None)
    assert "No trial has finished" in written(tmp_path, "s", "loss", [], Importance(), Verdict(), {}, [], None)


def test_a_loss_is_shown_as_a_loss() -> None:
    assert studies.score_text("loss", -0.25) == "0.2500"
    assert studies.score_text("accuracy", 0.913) == "91.3 %"


def test_a_line_has_the_reason() -> None:
    line = studies.trial_line(TRIALS[3], "accuracy")
    assert "failed" in line
    assert "network.depth: got 9" in line
    assert "lr=0.2" in line


def test_no_two_columns_have_one_name() -> None:
    """Keys whose last words are alike, and one that is called as what every trial has."""
    change = {"train.epochs": 3, "train.lr": 0.1, "augment.noise": 0.1, "network.noise": 0.2}
    trials = [Trial(number=0, change=change, state="finished", value=0.9, curve=(0.5, 0.9))]
    heads = [str(column.header) for column in studies.table(trials, "accuracy").columns]  # type: ignore[union-attr]
    assert len(set(heads)) == len(heads)
    assert {"epochs", "lr", "augment.noise", "network.noise"} < set(heads)
    assert "augment.noise=0.1  network.noise=0.2" in studies.trial_line(trials[0], "accuracy")
