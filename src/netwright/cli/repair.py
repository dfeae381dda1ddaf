"""``netwright repair``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import Json, Out, Trust, is_recipe, option
from netwright.errors import UsageError
from netwright.recipe import load

if TYPE_CHECKING:
    from netwright.repair.mending import Ledger

LONGEST_WORDS = 60  # characters of a remedy in the table


def repair(
    subject: Annotated[str, option("a recipe (.yaml) or a run")] = "last",
    /,
    *,
    seconds: Annotated[float, option("of computing that diagnosis and remedies may take; 60", metavar="S")] = 60.0,
    trust: Trust = False,
    json: Json = False,
    out: Out = Path(runs.DEFAULT_FOLDER),
) -> int:
    """Say what is wrong with a training, change its recipe, prove it, and train the repaired one.

    Remedies are tried one at a time from the root cause, on copies with the same seeds and epochs, kept only where they
    win beyond the noise and rolled back otherwise. The ledger shows each with its gain and what it cost.
    """
    if not seconds > 0:
        raise UsageError("netwright repair --seconds", f"{seconds:g}", "more than 0", "--seconds 60")
    directory = None if is_recipe(subject) else runs.find(subject, out)
    recipe = load(subject) if directory is None else None
    from netwright.repairing import lines, repair_recipe, repair_run
    from netwright.workbench import Run

    if directory is None:
        repaired = repair_recipe(recipe, folder=out, seconds=seconds, trust=trust)  # type: ignore[arg-type]
    else:
        found = repair_run(Run(directory, trust=trust), folder=out, seconds=seconds)
        if found is None:
            return _nothing_found(directory, json)
        repaired = found
    if json:
        printing.document(repaired.to_dict())
        return 0
    for said in lines(repaired.diagnosis, repaired.ledger):
        printing.line(said)
    _show_ledger(repaired.ledger)
    if repaired.run is not None:
        keys = " ".join(f"{key}={value}" for key, value in repaired.ledger.recipe.items())
        printing.line(f"{repaired.run.directory}: trained with {keys}")
        if directory is not None:
            printing.line(f"netwright compare {directory.name} {repaired.run.directory.name}")
    return 0


def _nothing_found(directory: Path, json: bool) -> int:
    if json:
        printing.document({"findings": [], "ledger": None, "run": str(directory)})
    else:
        printing.line(f"{directory}: nothing wrong was found, and nothing was changed")
    return 0


def _show_ledger(ledger: Ledger) -> None:
    table = printing.table("remedy", "why", "before", "after", "kept", "s", right=("before", "after", "s"))
    for step in ledger.steps:
        if step.failed:
            continue
        before, after = (("–" if value is None else f"{value:.3f}") for value in (step.before, step.after))
        cells = step.words[:LONGEST_WORDS], step.code, before, after, "yes" if step.kept else "", f"{step.seconds:.1f}"
        table.add_row(*map(printing.cell, cells))
    if any(not step.failed for step in ledger.steps):
        printing.show(table)
