"""``netwright ensemble``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import OUTPUT, Json, RecipeFlags, Set, Trust, asked_of, is_run, option
from netwright.errors import UsageError
from netwright.recipe import Recipe, override

if TYPE_CHECKING:
    from netwright.workbench import Run

TRAINED = Group("Members that are trained", sort_key=1)
ALL = "all"


def ensemble(
    *subjects: Annotated[
        str, option("two runs or more; one with --snapshots; a recipe (.yaml) or data with --members", metavar="RUN")
    ],
    weights: Annotated[
        str, option("how much each member counts, joined by commas; all alike if left out", metavar="2,1,1")
    ] = "",
    snapshots: Annotated[
        str, option("the last so many snapshots of one run whose recipe kept some (train.snapshots)", metavar="N|all")
    ] = "",
    leaky: Annotated[
        bool, option("take members that have learned examples which judge the ensemble, and say so")
    ] = False,
    members: Annotated[int | None, option("train so many, over seeds; 5", metavar="N", group=TRAINED)] = None,
    bagging: Annotated[bool, option("each on a bootstrap sample of the training part", group=TRAINED)] = False,
    boosting: Annotated[
        bool, option("one after another, each on what those before had wrong (SAMME)", group=TRAINED)
    ] = False,
    flags: RecipeFlags | None = None,
    set_: Set = None,
    trust: Trust = False,
    json: Json = False,
    quiet: Annotated[bool, option("no progress; print the run's directory alone", group=OUTPUT)] = False,
    out: Annotated[
        Path | None, option(f"the folder of runs; {runs.DEFAULT_FOLDER} if left out", metavar="FOLDER")
    ] = None,
) -> int:  # fmt: skip
    """Make one run of several: their mean probability, which is often better than the best of them.

    What comes out is a run as any other: it predicts, reports, exports and is compressed, or is the teacher of a
    smaller network (compress … distil=RUN). Members may be different networks, trained on the same data.

    With --members they are trained from a recipe, over seeds, with --bagging or --boosting; after Ctrl-C or a kill the
    same command goes on, and no finished member is trained twice.
    """
    folder = out or Path(runs.DEFAULT_FOLDER)
    training = members is not None or bagging or boosting
    changed = [*(set_ or []), *(flags.changes() if flags else {})]
    if changed and not training:
        raise UsageError("netwright ensemble", ", ".join(changed), "members that are trained with it", "--members 5")
    if not subjects and not training:
        raise UsageError("netwright ensemble", "no run", "two runs or more", "netwright ensemble RUN RUN")
    what: list[Any] = list(subjects)
    if training and len(what) < 2:
        what = [_recipe(subjects[0] if subjects else None, folder, set_, flags)]
    from netwright.ensembling import ensemble as carry_out

    run = carry_out(
        what, members=members, bagging=bagging, boosting=boosting, snapshots=_snapshots(snapshots),
        weights=_weights(weights), leaky=leaky, folder=folder, trust=trust,
        said=(lambda text: None) if quiet else printing.note,
    )  # fmt: skip
    _show(run, json, quiet)
    return 0


def _recipe(
    subject: str | None, folder: Path, assignments: list[str] | None, flags: RecipeFlags | None
) -> Recipe:  # fmt: skip
    """What is trained; the members of data are named by it."""
    recipe = asked_of(subject, folder, assignments, flags)
    if is_run(subject, folder):
        return recipe
    return override(recipe, {"name": recipe.name or Path(recipe.data.source).stem})


def _weights(text: str) -> list[float] | None:
    if not text:
        return None
    try:
        weights = [float(part) for part in text.split(",")]
        if not all(0 < weight < math.inf for weight in weights):
            raise ValueError(text)
        return weights
    except ValueError as error:
        raise UsageError("--weights", repr(text), "numbers above 0 joined by commas", "--weights 2,1,1") from error


def _snapshots(text: str) -> int | bool | None:
    if text in ("", ALL):
        return True if text else None
    try:
        if int(text) < 1:
            raise ValueError(text)
        return int(text)
    except ValueError as error:
        raise UsageError("--snapshots", repr(text), "a whole number above 0, or all", "--snapshots all") from error


def _show(run: Run, json: bool, quiet: bool) -> None:
    from netwright import ensembling

    found = ensembling.account(run)
    if json:
        printing.document(run.to_dict() | {"ensemble": found.to_dict()})
        return
    if quiet:
        printing.line(str(run.directory))
        return
    from netwright.reporting import ensembles

    printing.show(ensembles.table(found))
    for line in ensembles.lines(found):
        printing.line(line)
    printing.line(f"run: {run.directory}")
    printing.line(f"next: netwright report {run.directory} --open   ·   netwright export {run.directory} onnx")
