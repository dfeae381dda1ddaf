"""One trial of a study: trained apart from the others, watched for what is sick, left as an outcome and, while it is
among the best, a run."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from netwright import files, workbench
from netwright.codes import FAMILIES
from netwright.data.opening import open_source
from netwright.errors import RunError
from netwright.recipe import Recipe, override
from netwright.records import EpochRow, Finding
from netwright.reporting.progress import Progress
from netwright.training.recording import DivergedError
from netwright.tuning.studies import Fatal, Outcome, Settings, Stop, Told

NEVER = 1e9  # seconds between two checkpoints of a trial: one that is broken off begins anew
SICK = frozenset(code for family in ("network", "optimisation", "training") for code in FAMILIES[family])
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Trainer:
    """Trains one trial; what it leaves is its outcome and, while it is among the best, its run."""

    def __init__(self, settings: Settings, folder: Path, trust: bool, material: Any = None) -> None:
        self._settings, self._folder, self._trust = settings, folder, trust
        self._material = open_source(settings.asked.data) if material is None else material

    def __call__(self, recipe: Recipe, number: int, told: Told) -> Outcome:
        place = self._folder / f".working-{os.getpid()}"
        shutil.rmtree(place, ignore_errors=True)
        eyes = Eyes(told)
        shown = Listener(eyes)
        threads = recipe.train.threads or max(1, (os.cpu_count() or 1) // self._settings.workers)
        recipe = override(recipe, {"watch.confirm": 0.0, "train.threads": threads, "train.checkpoint_seconds": NEVER})
        try:
            with _machine_apart():
                run = workbench.train(
                    recipe, folder=place, shown=shown, sinks=[eyes], trust=self._trust, material=self._material
                )
            metrics = run.metrics.get("validation", {})
            kept = ""
            if number >= 0:
                kept = f"trial-{number:04d}"
                shutil.rmtree(self._folder / kept, ignore_errors=True)
                with _machine_apart():
                    files.rename(run.directory, self._folder / kept)
            return Outcome(score=workbench.score(metrics), metrics=dict(metrics), run=kept)
        except DivergedError as error:
            raise Stop(f"diverged: {error.got} at {error.where}") from error
        finally:
            shutil.rmtree(place, ignore_errors=True)


class Eyes:
    """A place for rows that looks on: it tells each epoch's score, and stops what is sick."""

    def __init__(self, told: Told) -> None:
        self._told, self.sick = told, ""

    def series(self, name: str, first_step: int, values: Sequence[float]) -> None:
        if self.sick:
            raise Stop(self.sick)

    def epoch(self, row: EpochRow) -> None:
        if row.split == "validation":
            self._told(
                row.epoch, workbench.score({k: v if v is not None else math.nan for k, v in row.metrics.items()})
            )
            if self.sick:
                raise Stop(self.sick)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Listener(Progress):
    """Hears what the doctor finds and shows nothing."""

    def __init__(self, eyes: Eyes) -> None:
        super().__init__(quiet=True)
        self._eyes = eyes

    def findings(self, found: Sequence[Finding]) -> None:
        for each in found:
            if each.severity == "error" and each.code in SICK and not self._eyes.sick:
                self._eyes.sick = f"doctor: {each.code}" + (f" in {each.layer}" if each.layer else "")

    def say(self, text: str) -> None: ...


@contextlib.contextmanager
def _machine_apart() -> Iterator[None]:
    """A full disk is no fault of a recipe."""
    try:
        yield
    except (OSError, sqlite3.OperationalError, RunError) as error:
        code = getattr(error, "errno", None) or getattr(error.__cause__, "errno", None)
        full = code in FULL or "disk is full" in str(error) or "full disk" in str(error)
        if not full:
            raise
        raise Fatal(
            RunError("the study's folder", "a full disk", "room for a run", "free space, and the same command again")
        ) from error
