"""``netwright curves``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import OUTPUT, Json, Out, RecipeFlags, Set, Trust, is_run, option, recipe_of, seconds_of
from netwright.errors import UsageError
from netwright.recipe import from_dict, override, parse_assignments

if TYPE_CHECKING:
    from netwright.scaling.records import BatchRegimes, Curves

BATCHES = Group("With --over batch-size", sort_key=1)


def curves(
    subject: Annotated[str, option("data (digits, a file, a folder), a recipe (.yaml) or a run")] = "digits",
    /,
    *,
    over: Annotated[
        Literal["data", "capacity", "width", "depth", "batch-size"],
        option("what grows: data (the default), width, depth, capacity (the first of these two that the network "
               "has) or batch-size", metavar="WHAT"),
    ] = "data",
    flags: RecipeFlags | None = None,
    set_: Set = None,
    sizes: Annotated[
        str, option("the amounts, widths, depths or batch sizes, with commas; chosen if left out", metavar="N,N,…")
    ] = "",
    seeds: Annotated[int | None, option("trainings of each size; 3, over capacity 5", metavar="N")] = None,
    time: Annotated[
        str | None, option("no training begins that would end later than this", metavar="10m")
    ] = None,
    networks_only: Annotated[bool, option("no classical methods beside it", name="--networks-only")] = False,
    reach: Annotated[
        float | None,
        option("the error that is to be reached: 0.05; 1.5 times what the recipe's own batch size comes to if left out",
               metavar="ERROR", group=BATCHES),
    ] = None,
    within: Annotated[
        str, option("time that a training has for it; 20s", metavar="TIME", group=BATCHES)
    ] = "",
    rates: Annotated[
        Literal["auto", "linear", "sqrt", "range-test"] | None,
        option("how the learning rate follows the batch size: auto (sqrt for Adam and its kin, else linear), linear, "
               "sqrt, or range-test for each size", metavar="RULE", group=BATCHES),
    ] = None,
    page: Annotated[Path | None, option("where the page goes; beside the runs if left out", metavar="FILE")] = None,
    trust: Trust = False,
    json: Json = False,
    quiet: Annotated[bool, option("no progress", group=OUTPUT)] = False,
    out: Out = Path(runs.DEFAULT_FOLDER),
) -> int:  # fmt: skip
    """Draw how the error goes with the amount of data or the size of the network, or what batch sizes cost, and say
    what follows.

    Over data: nested, stratified subsets, other ones with each seed, the same held-out examples; a power law with what
    twice the data would bring, or why that cannot be said. Over capacity: bias and variance over trainings on other
    halves of the training part. Beside both, histograms of gradients and Gabor filters under a linear SVM and nearest
    neighbours (for tables a linear model and boosted trees) on the same subsets. Over batch-size: time, steps and
    examples to one error, memory and gradient noise. Finished trainings are used again, so that the same command goes
    on after Ctrl-C or a kill.
    """
    batches = {"reach": reach, "within": seconds_of(within, "--within") if within else None, "rates": rates}
    given = {name: value for name, value in batches.items() if value is not None}
    if over != "batch-size" and given:
        raise UsageError(
            f"--over {over}", ", ".join(f"--{name}" for name in given), "options of --over batch-size only", ""
        )  # fmt: skip
    if over == "batch-size" and networks_only:
        raise UsageError("--networks-only", "with --over batch-size", "--over data or capacity", "leave it out")
    whole = None if time is None else seconds_of(time, "--time")
    what: Any = subject
    changes = None
    if is_run(subject, out):
        assigned = parse_assignments(set_ or [])
        from_dict({}, assigned)  # a wrong value is named as it was given
        changes = assigned | (flags.changes() if flags else {})
    else:
        what = recipe_of(subject, set_, flags)
        what = override(what, {"name": what.name or Path(subject).stem})
    numbers = _numbers(sizes)
    from netwright import curving

    usual = 5 if over in ("capacity", "width", "depth") else 3
    found = curving.curves(
        what, over=over, sizes=numbers, seeds=usual if seeds is None else seeds, seconds=whole,
        classical=not networks_only, changes=changes, folder=out, page=page, trust=trust,
        said=(lambda text: None) if quiet else printing.note, **given,
    )  # fmt: skip
    if json:
        printing.document(found.to_dict())
    else:
        _show(found)
    return 0


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError("--sizes", repr(text), "whole numbers with commas", "--sizes 100,200,400") from error


def _show(found: Curves | BatchRegimes) -> None:
    from netwright.reporting import curves as telling
    from netwright.scaling.records import Curves

    if isinstance(found, Curves):
        columns, rows = telling.columns(found), telling.rows(found)
    else:
        columns, rows = telling.batch_columns(found), telling.batch_rows(found)
    table = printing.table(*columns, right=columns)
    for cells in rows:
        table.add_row(*map(printing.cell, cells))
    printing.show(table)
    printing.line()
    for line in (*found.conclusions, *found.notes):
        printing.line(line)
    printing.line(telling.about(found))
    printing.line(f"page: {found.page}")
