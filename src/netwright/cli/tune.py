"""``netwright tune``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import OUTPUT, Json, RecipeFlags, Set, Trust, asked_of, option, seconds_of
from netwright.errors import StoppedError, UsageError

if TYPE_CHECKING:
    from netwright.studying import Tuned


def tune(
    subject: Annotated[
        Path | None,
        option("a recipe (.yaml), data (digits, a file, a folder) or a run. Left out: the default recipe"),
    ] = None,
    /,
    *,
    flags: RecipeFlags | None = None,
    set_: Set = None,
    space: Annotated[
        list[str] | None,
        Parameter(
            name="--space", consume_multiple=True, negative="", show_default=False, metavar="KEY=RANGE",
            help="what is searched: LOW..HIGH, LOW..HIGH@log, A,B,C or a constant, several after each other; `default` "
            "stands for the ranges that are searched if this is left out",
        ),
    ] = None,
    trials: Annotated[
        int | None, option("how many recipes are tried; 40 if neither this nor --time is given", metavar="N")
    ] = None,
    time: Annotated[
        str | None, option("time of training in each worker after which no more are tried", metavar="30m")
    ] = None,
    workers: Annotated[int | None, option("processes that train at the same time; 1", metavar="N")] = None,
    sampler: Annotated[
        Literal["tpe", "staged", "random", "grid", "gp"] | None,
        option("how recipes are chosen: tpe (the default), staged, random, grid or gp", metavar="NAME"),
    ] = None,
    full: Annotated[bool, option("train every trial to its end; without it poor ones are stopped early")] = False,
    seeds: Annotated[
        int | None, option("how often the best few are repeated; 3. 0: not at all", metavar="N")
    ] = None,
    best: Annotated[int | None, option("how many those are; 3", metavar="N")] = None,
    study: Annotated[str, option("name of the study; one of the same recipe and space is joined", metavar="NAME")] = "",
    resume: Annotated[
        str,
        option("go on with a study; last is the newest. --trials and --time may be larger now", metavar="NAME|last"),
    ] = "",
    show: Annotated[str, option("only show a study and write its report", metavar="NAME|last")] = "",
    storage: Annotated[str, option("a database that several machines share", metavar="URL")] = "",
    out: Annotated[
        Path | None, option(f"the folder of runs; {runs.DEFAULT_FOLDER} if left out", metavar="FOLDER")
    ] = None,
    trust: Trust = False,
    json: Json = False,
    quiet: Annotated[bool, option("no progress", group=OUTPUT)] = False,
) -> int:  # fmt: skip
    """Search for a better recipe, and name a winner only if other seeds agree.

    Recipes are drawn from the space by what came of those before; poor trials are stopped early, diverged and sick ones
    at once. The best few are repeated over seeds. --sampler staged goes by the textbook: learning rate; momentum,
    width, batch size; depth and decay; regularisation. Ctrl-C or a kill loses no finished trial; --resume goes on.
    """
    folder = out or Path(runs.DEFAULT_FOLDER)
    if resume and show:
        raise UsageError("--resume", "together with --show", "one of the two")
    if resume or show:
        _refuse_changes("--resume" if resume else "--show", subject, set_, flags, space, study)
        settled = {"--sampler": sampler, "--full": full or None, "--seeds": seeds, "--best": best}
        ended = {"--trials": trials, "--time": time, "--workers": workers} if show else {}
        idle = [name for name, value in {**settled, **ended}.items() if value is not None]
        if idle:
            raise UsageError(
                "--resume" if resume else "--show", f"together with {', '.join(idle)}", "the study as it was begun",
                "leave them out",
            )  # fmt: skip
    said = (lambda text: None) if quiet else printing.note
    seconds = None if time is None else seconds_of(time)
    try:
        from netwright import studying

        if show:
            tuned = studying.show(show, database=storage, folder=folder, said=said)
        else:
            recipe = None if resume else asked_of(None if subject is None else str(subject), folder, set_, flags)
            tuned = studying.tune(
                recipe, space=space or ("default",), trials=trials, seconds=seconds,
                workers=1 if workers is None else workers, sampler=sampler or "tpe", halving=not full,
                seeds=3 if seeds is None else seeds, best=3 if best is None else best, name=study, resume=resume,
                database=storage, folder=folder, trust=trust, said=said,
            )  # fmt: skip
    except KeyboardInterrupt:
        again = f"netwright tune --resume {shlex.quote(resume or study or 'last')}"
        again += "" if out is None else f" --out {shlex.quote(str(out))}"
        again += " --storage URL" if storage else ""  # it may hold a password
        raise StoppedError("tune", "Ctrl-C", "every finished trial is kept", again) from None
    if json:
        printing.document(tuned.to_dict())
    else:
        _show(tuned)
    return 0


def _refuse_changes(
    given: str, subject: Path | None, assignments: list[str] | None, flags: RecipeFlags | None, space: list[str] | None,
    study: str,
) -> None:  # fmt: skip
    changed = [*([str(subject)] if subject else []), *(assignments or []), *(flags.changes() if flags else {})]
    changed += [*(["--space"] if space else []), *(["--study"] if study else [])]
    if changed:
        raise UsageError(
            given, f"together with {', '.join(changed)}", "the study as it is", "tune, which begins a new one"
        )


def _show(tuned: Tuned) -> None:
    from netwright.reporting import studies as reporting
    from netwright.reporting import terminal

    metric = tuned.settings.metric
    printing.show(reporting.table(tuned.trials, metric))
    printing.line()
    printing.line(reporting.counts_text(tuned.trials))
    for line in reporting.importance_lines(tuned.importance):
        printing.line(line)
    verdict = reporting.verdict_lines(tuned.verdict, metric)
    for line in ["over seeds:", *verdict] if verdict else []:
        printing.line(line)
    if tuned.change:
        printing.line()
        printing.show(terminal.difference(tuned.change, "recipe", "winner"))
    printing.line()
    if tuned.recipe is not None:
        printing.line(
            f"winner: {tuned.folder / 'winner.yaml'}   ·   "
            f"train it: netwright train {shlex.quote(str(tuned.folder / 'winner.yaml'))}"
        )
    printing.line(f"report: {tuned.report}")
