"""``netwright compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import Json, Out, RecipeFlags, Set, Trust, is_recipe, option
from netwright.errors import UsageError
from netwright.recipe import Recipe, from_dict, load, parse_assignments
from netwright.recipe.comparing import differences
from netwright.records import RunSummary

if TYPE_CHECKING:
    from netwright.records import Comparison

SEEDS = Group("With --seeds", sort_key=1)


def compare(
    first: Annotated[str, option("a recipe (.yaml) or a run; with --seeds also data, as digits")],
    second: Annotated[str, option("another one; with --seeds also changes of the first, as train.lr=0.01")],
    /,
    *others: Annotated[str, option("more of them")],
    seeds: Annotated[
        int | None, option("train all with so many seeds and judge the differences", metavar="N", group=SEEDS)
    ] = None,
    flags: RecipeFlags | None = None,
    set_: Set = None,
    metric: Annotated[
        str, option("what decides: accuracy, validation.loss, …; the most telling one of the test part", group=SEEDS)
    ] = "",
    baseline: Annotated[bool, option("compare each with the first alone; needs fewer seeds", group=SEEDS)] = False,
    smallest: Annotated[
        float, option("the difference that would matter, in the metric's unit: 0.01 is a point", group=SEEDS)
    ] = 0.0,
    splits: Annotated[bool, option("hold out other examples with each seed, the same for all", group=SEEDS)] = False,
    page: Annotated[
        Path | None, option("where the page goes; beside the runs if left out", metavar="FILE", group=SEEDS)
    ] = None,
    trust: Trust = False,
    json: Json = False,
    out: Out = Path(runs.DEFAULT_FOLDER),
) -> int:
    """Show what differs between recipes or runs, or train them with the same seeds and say which is better.

    Without --seeds: the keys that differ, and of runs their metrics. A run beside a recipe file is compared as it was
    asked for, so that what was left to be chosen is no difference.

    With --seeds every subject is trained with the seeds 0 to N-1. Pairs with the same seed are compared: the
    difference with an interval of 95 % (all of them together), how many seeds would be needed, what each costs, and a
    page with curves. Nothing inside the noise is called better. Finished runs are used again, so that the same
    command goes on after Ctrl-C or a kill.
    """
    subjects = [first, second, *others]
    if seeds is not None:
        changes = parse_assignments(set_ or [])
        from_dict({}, changes)  # a wrong value is named as it was given
        changes |= flags.changes() if flags else {}
        return _over_seeds(subjects, seeds, changes, metric, baseline, smallest, splits, page, trust, json, out)
    changed = [subject for subject in subjects if "=" in subject and not Path(subject).exists()]
    if changed:
        raise UsageError(
            "netwright compare", f"{changed[0]} without --seeds", "a number of seeds, with which both are trained",
            f"netwright compare {' '.join(subjects)} --seeds 8",
        )  # fmt: skip
    given = {
        "recipe flags": flags and flags.changes(), "--set": set_, "--metric": metric,
        "--baseline": baseline, "--smallest": smallest, "--splits": splits,
        "--page": page,
    }  # fmt: skip
    idle = [name for name, value in given.items() if value]
    if idle:
        raise UsageError("netwright compare", ", ".join(idle), "a number of seeds with it", "--seeds 8")
    return _differences(subjects, json, out)


# ------------------------------------------------------------------------------------------------ what differs


def _differences(subjects: list[str], json: bool, out: Path) -> int:
    directories = [None if is_recipe(subject) else runs.find(subject, out) for subject in subjects]
    all_ran = None not in directories
    recipes = [
        load(subject) if directory is None else _recipe(directory, resolved=all_ran)
        for subject, directory in zip(subjects, directories, strict=True)
    ]
    found = differences(*recipes)
    two = len(subjects) == 2
    keys = ("first", "second") if two else subjects
    ran = {
        name: runs.summarize(directory)
        for name, directory in zip(keys, directories, strict=True)
        if directory is not None
    }
    if json:
        shown = ("state", "metrics", "weights_bytes", "parent", "chain")
        metrics = {name: {"run": run.name, **{key: getattr(run, key) for key in shown}} for name, run in ran.items()}
        named = {"first": subjects[0], "second": subjects[1]} if two else {"subjects": subjects}
        printing.document({**named, "difference": found, "runs": metrics})
        return 0
    from netwright.reporting import terminal

    names = [subject if directory is None else directory.name for subject, directory in zip(subjects, directories)]
    printing.show(terminal.difference(found, *names))
    if ran:
        _show_metrics(list(ran.values()))
    return 0


def _recipe(directory: Path, resolved: bool) -> Recipe:
    run = runs.RunDirectory(directory)
    return run.recipe() if resolved else run.requested()


def _show_metrics(ran: list[RunSummary]) -> None:
    from netwright.reporting import formatting, terminal

    rows = dict.fromkeys(
        (part, metric) for part in ("validation", "test") for run in ran for metric in run.metrics.get(part, {})
    )
    names = [run.name for run in ran]
    table = printing.table("metric", *names, right=names)
    for part, metric in rows:
        values = [formatting.metric(metric, run.metrics.get(part, {}).get(metric)) for run in ran]
        table.add_row(*map(printing.cell, (f"{part} {formatting.metric_name(metric)}", *values)))
    if any(run.parent for run in ran):
        table.add_row(*map(printing.cell, ("weights", *(formatting.size(run.weights_bytes or None) for run in ran))))
    if rows:
        printing.line()
        printing.show(table)
    for run in ran:
        if run.parent:
            printing.line(f"{run.name} was compressed from {terminal.made_by(run)}")
        if run.state == "damaged":
            printing.note(f"{run.name} is damaged: {run.source}")
        elif run.state != "finished":
            printing.note(f"{run.name} is {run.state}: its metrics are those of its last epoch")


# ------------------------------------------------------------------------------------------------ over seeds


def _over_seeds(
    subjects: list[str], seeds: int, changes: dict[str, Any], metric: str, baseline: bool, smallest: float,
    splits: bool, page: Path | None, trust: bool, json: bool, out: Path,
) -> int:  # fmt: skip
    from netwright import replicating

    found = replicating.compare(
        *subjects, seeds=seeds, metric=metric, baseline=baseline, smallest=smallest, splits=splits, changes=changes,
        folder=out, page=page, trust=trust, said=printing.note,
    )  # fmt: skip
    if json:
        printing.document(found.to_dict())
    else:
        _show(found)
    return 0


def _show(found: Comparison) -> None:
    from netwright.reporting import comparison

    columns = comparison.arm_columns(found)
    table = printing.table(*columns, right=columns[1:5])
    for cells in comparison.arm_rows(found):
        table.add_row(*map(printing.cell, cells))
    printing.show(table)
    printing.line()
    for row in found.differences:
        if row.decisive:
            for line in comparison.explanation(row, found):
                printing.line(line)
    printing.line(comparison.about(found))
    printing.line(f"page: {found.page}")
