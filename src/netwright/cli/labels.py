"""``netwright check --labels``."""

from __future__ import annotations

import csv as writing
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import is_recipe, recipe_of
from netwright.errors import UsageError, nearest

if TYPE_CHECKING:
    from netwright.records import LabelCheck

SHOWN = 20


def check_labels(
    subject: str | None, assignments: list[str] | None, folds: int | None, quick: bool, csv: bool, folder: Path,
    trust: bool, json: bool,
) -> int:  # fmt: skip
    """Judge the labels of a run, a recipe or data, and say which are suspicious."""
    if subject is None:
        raise UsageError(
            "netwright check --labels",
            "nothing to check",
            "data, a recipe, or a run",
            "netwright check digits --labels",
        )
    if csv and json:
        raise UsageError("--csv", "together with --json", "one or the other", "leave one out")
    if quick and folds is not None:
        raise UsageError("--quick", "together with --folds", "one or the other", "leave one out")
    run = _run(subject, folder)
    if run is not None and assignments:
        raise UsageError(
            "netwright check --labels", f"a run with --set {assignments[0]}", "the run as it is",
            f"netwright check {shlex.quote(str(run / 'recipe.yaml'))} --labels --set {assignments[0]}",
        )  # fmt: skip
    judged = recipe_of(subject, assignments, None) if run is None else run
    if quick and run is None:
        raise UsageError(
            "netwright check --labels --quick", f"{subject}, which is no run", "a run that held examples out",
            "netwright check last --labels --quick",
        )  # fmt: skip
    from netwright import suspecting

    found = suspecting.suspects(
        judged, folds=suspecting.FOLDS if folds is None else folds, quick=quick,
        folder=folder, trust=trust, said=printing.note,
    )  # fmt: skip
    if json:
        printing.document(found.to_dict())
    elif csv:
        writer = writing.writer(printing.stdout(), lineterminator="\n")
        writer.writerow(suspecting.COLUMNS)
        writer.writerows(suspecting.rows(found))
    else:
        more = "".join(f" --set {shlex.quote(one)}" for one in assignments or [])
        _show(found, shlex.quote(str(run / "request.yaml") if run is not None else subject) + more)
    return 0


def _run(subject: str, folder: Path) -> Path | None:
    """The run that is meant; None: data or a recipe."""
    from netwright.data.opening import BUILT_IN

    if subject in BUILT_IN or is_recipe(subject):
        return None
    if Path(subject).exists() and not Path(subject, "recipe.yaml").exists():
        return None
    if subject != "last" and not Path(subject).exists() and not (folder / subject).exists():
        near = nearest(subject, [*BUILT_IN, *(path.name for path in runs.list_directories(folder))])
        raise UsageError(
            "netwright check --labels", f"{subject!r}, which does not exist", "data, a recipe, or a run",
            near or "netwright runs",
        )  # fmt: skip
    return runs.find(subject, folder)


def _show(found: LabelCheck, again: str) -> None:
    from netwright.reporting import labels

    columns = ("example", "part", "given", "suggested", "sure", "score")
    table = printing.table(*columns, right=("sure", "score"))
    for each in found.suspects[:SHOWN]:
        sure = f"{100 * each.suggested_probability:.0f} %"
        table.add_row(*map(printing.cell, (each.name, each.part, each.given)), printing.cell(each.suggested, "bold"),
                      *map(printing.cell, (sure, f"{each.score:.3f}")))  # fmt: skip
    if found.suspects:
        printing.show(table)
        if len(found.suspects) > SHOWN:
            printing.line(f"… and {len(found.suspects) - SHOWN} more")
        printing.line()
    printing.line(f"{labels.headline(found)}.")
    printing.line(labels.estimate(found))
    printing.line(labels.basis(found))
    for text in found.notes:
        printing.note(text)
    printing.line(f"page: {found.page}   ·   list: {found.file}")
    if any(each.part == "train" for each in found.suspects):
        words = f"netwright train {again} --set data.leave_out={shlex.quote(found.file)}"
        printing.line(f"to train without them:  {words}")
