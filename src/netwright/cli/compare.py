"""``netwright compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import Json, Out, is_recipe, option
from netwright.recipe import Recipe, difference, load
from netwright.records import RunSummary


def compare(
    first: Annotated[str, option("a recipe (.yaml) or a run")],
    second: Annotated[str, option("another one")],
    /,
    *,
    json: Json = False,
    out: Out = Path(runs.DEFAULT_FOLDER),
) -> int:
    """Show what differs between two recipes or runs.

    Of runs their metrics as well. A run beside a recipe file is compared as it was asked for, so that what was left to
    be chosen is no difference.
    """
    directories = [None if is_recipe(subject) else runs.find(subject, out) for subject in (first, second)]
    both = None not in directories
    recipes = [
        load(subject) if directory is None else _recipe(directory, resolved=both)
        for subject, directory in zip((first, second), directories, strict=True)
    ]
    found = difference(*recipes)
    ran = {
        name: runs.summarize(directory)
        for name, directory in zip(("first", "second"), directories, strict=True)
        if directory is not None
    }
    if json:
        metrics = {name: {"run": run.name, "state": run.state, "metrics": run.metrics} for name, run in ran.items()}
        printing.document({"first": first, "second": second, "difference": found, "runs": metrics})
        return 0
    from netwright.reporting import terminal

    names = [
        subject if directory is None else directory.name for subject, directory in zip((first, second), directories)
    ]
    printing.show(terminal.difference(found, *names))
    if ran:
        _show_metrics(list(ran.values()))
    return 0


def _recipe(directory: Path, resolved: bool) -> Recipe:
    run = runs.RunDirectory(directory)
    return run.recipe() if resolved else run.requested()


def _show_metrics(ran: list[RunSummary]) -> None:
    from netwright.reporting import formatting

    rows = dict.fromkeys(
        (part, metric) for part in ("validation", "test") for run in ran for metric in run.metrics.get(part, {})
    )
    names = [run.name for run in ran]
    table = printing.table("metric", *names, right=names)
    for part, metric in rows:
        values = [formatting.metric(metric, run.metrics.get(part, {}).get(metric)) for run in ran]
        table.add_row(*map(printing.cell, (f"{part} {formatting.metric_name(metric)}", *values)))
    if rows:
        printing.line()
        printing.show(table)
    for run in ran:
        if run.state == "damaged":
            printing.note(f"{run.name} is damaged: {run.source}")
        elif run.state != "finished":
            printing.note(f"{run.name} is {run.state}: its metrics are those of its last epoch")
