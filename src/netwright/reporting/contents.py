"""What a run's directory holds, read once for a report; what cannot be read is named, never a crash. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from netwright.diagnosis.judging import Diagnosis
from netwright.errors import RunError
from netwright.observations import Observations, keeping
from netwright.preprocess.records import InputFile
from netwright.recipe import Recipe
from netwright.records import EpochRow, Finding, RunSummary
from netwright.reporting import formatting
from netwright.reporting.cards import ExampleCard
from netwright.rows import Reader
from netwright.runs import RunDirectory, dump_recipe

Value = TypeVar("Value")

DETAILS = ("confusion", "scatter", "mistakes", "examples")
LARGEST_PICTURE = 48_000  # characters of base64
ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")


@dataclasses.dataclass(frozen=True)
class Confusion:
    """``counts[i][j]``: examples of class i that were taken for class j."""

    split: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def totals(self) -> list[int]:
        return [sum(row) for row in self.counts]

    @property
    def total(self) -> int:
        return sum(self.totals)

    @property
    def right(self) -> int:
        return sum(row[at] for at, row in enumerate(self.counts))

    @property
    def guessing(self) -> float | None:
        """The share that would be right if the most frequent class were always said."""
        return max(self.totals) / self.total if self.total else None


@dataclasses.dataclass(frozen=True)
class Scatter:
    split: str
    target: str
    true: tuple[float | None, ...]
    predicted: tuple[float | None, ...]


@dataclasses.dataclass
class Contents:
    """The pieces of a run; an empty one with an entry in ``problems`` could not be read."""

    directory: Path
    summary: RunSummary
    recipe: Recipe | None = None
    requested: Recipe | None = None
    recipe_text: str = ""
    current: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: InputFile | None = None
    epochs: list[EpochRow] = dataclasses.field(default_factory=list)
    series: dict[str, tuple[list[int], list[float]]] = dataclasses.field(default_factory=dict)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    diagnosis: Diagnosis | None = None
    observations: Observations | None = None
    looking: dict[str, float] = dataclasses.field(default_factory=dict)  # seconds spent beside the training
    confusion: Confusion | None = None
    scatter: list[Scatter] = dataclasses.field(default_factory=list)
    mistakes: list[ExampleCard] = dataclasses.field(default_factory=list)
    examples: list[ExampleCard] = dataclasses.field(default_factory=list)
    compression: dict[str, Any] | None = None  # the ledger, where it was made of another run
    ensemble: dict[str, Any] | None = None  # its members and what they bring, where it has any
    problems: dict[str, str] = dataclasses.field(default_factory=dict)

    def attempt(self, piece: str, read: Callable[[], Value], otherwise: Value) -> Value:
        """What ``read`` gives, or ``otherwise`` and a line that says why not."""
        try:
            return read()
        except Exception as error:  # a report must survive whatever a directory holds
            self.problems.setdefault(piece, formatting.clipped(str(error) or type(error).__name__, 240))
            return otherwise

    @property
    def planned_epochs(self) -> int:
        return int(self.recipe.train.epochs) if self.recipe and isinstance(self.recipe.train.epochs, int) else 0

    @property
    def task(self) -> str:
        return self.inputs.task if self.inputs else str(self.recipe.data.task) if self.recipe else ""

    @property
    def unit(self) -> str:
        """What a language model tells, a character or a word, where its loss is in plain nats of them; else empty."""
        text = self.inputs.text if self.inputs else None
        options = self.recipe.objective if self.recipe else None
        if text is None or text.length or options is None or options.loss not in ("auto", "cross-entropy"):
            return ""
        return "" if options.label_smoothing not in ("auto", 0) or options.class_weights != "none" else text.unit

    def rows(self, split: str) -> list[EpochRow]:
        return [row for row in self.epochs if row.split == split]


def read(directory: Path, state: str = "") -> Contents:
    """Everything a report needs. ``state``: what the caller knows better (who holds the run's lock looks running)."""
    if not directory.is_dir():
        raise RunError(str(directory), "no such folder", "the directory of a run", "netwright runs")
    run = RunDirectory(directory)
    contents = Contents(directory, run.summary())
    contents.recipe = contents.attempt("recipe", run.recipe, None)
    contents.requested = contents.attempt("recipe", run.requested, None)
    contents.recipe_text = contents.attempt("recipe", lambda: _recipe_text(contents), "")
    contents.current = contents.attempt("state", run.current, {})
    contents.environment = contents.attempt("environment", run.environment, {})
    contents.inputs = contents.attempt("inputs", lambda: run.read_record("preprocess.json", InputFile), None)
    reader = contents.attempt("records", run.reader, None)
    if reader is not None:
        try:
            _read_rows(contents, reader)
        finally:
            reader.close()
    if state or contents.summary.state == "damaged":
        contents.summary = _repaired(contents, state)
    return contents


def _recipe_text(contents: Contents) -> str:
    return dump_recipe(contents.recipe) if contents.recipe else ""


def _read_rows(contents: Contents, reader: Reader) -> None:
    contents.epochs = contents.attempt("learning curves", reader.epochs, [])
    for name in ("loss", "lr"):
        empty: tuple[list[int], list[float]] = ([], [])
        contents.series[name] = contents.attempt(f"{name} of each step", partial(reader.series, name), empty)
    contents.findings = contents.attempt("findings", reader.findings, [])
    _read_health(contents, reader)
    contents.compression = contents.attempt("compression", partial(reader.detail, "compression"), None)
    contents.ensemble = contents.attempt("ensemble", partial(reader.detail, "ensemble"), None)
    raw = {name: contents.attempt(name, partial(reader.detail, name), None) for name in DETAILS}
    if raw["confusion"] is not None:
        contents.confusion = contents.attempt("confusion", lambda: _confusion(raw["confusion"]), None)
    if raw["scatter"] is not None:
        listed = raw["scatter"] if isinstance(raw["scatter"], list) else [raw["scatter"]]
        contents.scatter = contents.attempt("scatter", lambda: [_scatter(each) for each in listed], [])
    contents.mistakes = contents.attempt("mistakes", lambda: _cards(raw["mistakes"]), [])
    contents.examples = contents.attempt("examples", lambda: _cards(raw["examples"]), [])


def _read_health(contents: Contents, reader: Reader) -> None:
    kept = contents.attempt("health", partial(reader.detail, keeping.DIAGNOSIS), None)
    if kept is None:
        return
    contents.diagnosis = contents.attempt("health", lambda: Diagnosis.from_dict(kept), None)
    if contents.diagnosis is not None:
        contents.findings = [*contents.diagnosis.findings, *contents.diagnosis.silenced]
    run = RunDirectory(contents.directory)
    contents.observations = contents.attempt("measurements", lambda: keeping.read(run), None)
    for name, detail, key in (("preflight", "watched", "preflight_seconds"), ("experiments", "concluded", "seconds")):
        spent = contents.attempt("health", partial(reader.detail, detail), None)
        contents.looking[name] = float(spent.get(key, 0.0)) if isinstance(spent, dict) else 0.0


def _repaired(contents: Contents, state: str) -> RunSummary:
    """The summary of a damaged run from the pieces that can be read, or with the state that the caller knows."""
    fields = contents.summary.to_dict()
    if contents.summary.state == "damaged":
        recipe, finished = contents.recipe, bool(contents.current.get("finished"))
        metrics = {row.split: row.metrics for row in contents.epochs}
        fields |= {
            "state": "finished" if finished else "interrupted" if contents.epochs else "damaged",
            "source": recipe.data.source if recipe else contents.summary.source if not contents.epochs else "",
            "network": recipe.network.name if recipe else "",
            "epochs": max((row.epoch for row in contents.epochs), default=0),
            "step": max((row.step for row in contents.epochs), default=0),
            "metrics": contents.current.get("metrics") or metrics,
            "seconds": sum(row.seconds for row in contents.epochs),
        }
    return RunSummary.from_dict(fields | ({"state": state} if state else {}))


# ------------------------------------------------------------------------------------------------ details


def _confusion(value: Any) -> Confusion:
    counts = tuple(tuple(int(number) for number in row) for row in value["counts"])
    classes = tuple(str(name) for name in value.get("classes") or ())
    classes = classes[: len(counts)] + tuple(f"class {at}" for at in range(len(classes), len(counts)))
    if not counts or any(len(row) != len(counts) for row in counts):
        raise ValueError(f"a matrix of {len(counts)} rows that is not square")
    if any(number < 0 for row in counts for number in row):
        raise ValueError("counts below zero")
    return Confusion(str(value.get("split", "validation")), classes, counts)


def _scatter(value: Any) -> Scatter:
    true, predicted = (tuple(_number(item) for item in value[name]) for name in ("true", "predicted"))
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} true values and {len(predicted)} predicted ones")
    return Scatter(str(value.get("split", "validation")), str(value.get("target") or "target"), true, predicted)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _cards(value: Any) -> list[ExampleCard]:
    return [_checked(ExampleCard.from_dict(card)) for card in value or ()]


def _checked(card: ExampleCard) -> ExampleCard:
    """A picture is only shown where it is base64 of a sane size."""
    whole = len(card.png) <= LARGEST_PICTURE and ALPHABET.issuperset(card.png)
    return card if whole else ExampleCard.from_dict(card.to_dict() | {"png": ""})
