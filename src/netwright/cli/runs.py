"""``netwright runs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from netwright.cli import printing
from netwright.cli.options import Json, Out, option
from netwright.errors import RunError, UsageError
from netwright.records import RunSummary
from netwright.runs import DEFAULT_FOLDER, delete, find, list_directories, summaries

State = Literal["running", "finished", "interrupted", "empty", "damaged"]
Order = Literal["name", "started", "accuracy", "loss", "epochs", "time", "size"]
# What lies in a run's directory; a folder that holds anything else is never deleted.
CONTENTS = {
    "recipe.yaml", "request.yaml", "environment.json", "network.json", "preprocess.json", "current.json", "checkpoints",
    "run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "run.sqlite-journal", "report.html", "exports", "lock",
    "snapshots",
}  # fmt: skip


def runs(
    *,
    state: Annotated[State | None, option("only runs in this state", metavar="STATE")] = None,
    source: Annotated[str | None, option("only runs whose data's name contains this", metavar="TEXT")] = None,
    network: Annotated[str | None, option("only runs whose network's name contains this", metavar="TEXT")] = None,
    sort: Annotated[Order, option("the order; the best, the longest or the newest come last", metavar="BY")] = "name",
    delete: Annotated[
        list[str] | None,
        Parameter(name="--delete", help="delete these runs", metavar="RUN…", consume_multiple=True, negative=""),
    ] = None,
    yes: Annotated[bool, option("delete without asking")] = False,
    json: Json = False,
    out: Out = Path(DEFAULT_FOLDER),
) -> int:
    """List the runs in a folder, or delete some."""
    if delete is not None:
        if not delete:
            raise UsageError("--delete", "no run", "names of runs", "netwright runs")
        given = {"--state": state, "--source": source, "--network": network, "--sort": sort != "name"}
        filters = [name for name, value in given.items() if value]
        if filters:
            raise UsageError("--delete", f"together with {', '.join(filters)}", "names of runs alone")
        return _delete(delete, out, yes, json)
    if os.path.isfile(out):  # noqa: PTH113 - pathlib raises at a name that the file system does not take
        raise UsageError(f"--out {out}", "a file", "the folder of runs", f"--out {out.parent}")
    if yes:
        raise UsageError("--yes", "without --delete", "both", "--delete RUN… --yes")
    found = [run for run in summaries(out) if _wanted(run, state, source, network)]
    found.sort(key=lambda run: _rank(run, sort))
    if json:
        printing.document({"runs": found})
    else:
        from netwright.reporting import terminal

        filtered = any(value is not None for value in (state, source, network))
        if not found and (filtered or out != Path(DEFAULT_FOLDER)):
            printing.line(f"no such run in {out}" if out.exists() else f"no folder {out}")
        else:
            printing.show(terminal.runs(found))
    return 0


def _wanted(run: RunSummary, state: str | None, source: str | None, network: str | None) -> bool:
    return (
        (state is None or run.state == state)
        and (source is None or (run.state != "damaged" and source.lower() in run.source.lower()))
        and (network is None or network.lower() in run.network.lower())
    )


def _rank(run: RunSummary, order: Order) -> tuple[Any, ...]:
    """What sorts a run; those that lack the number come first."""
    metrics: dict[str, float | None] = next(
        (run.metrics[part] for part in ("test", "validation", "train") if run.metrics.get(part)), {}
    )
    value: Any
    match order:
        case "accuracy":
            value = metrics.get("accuracy")
        case "loss":
            loss = metrics.get("loss")
            value = None if loss is None else -loss
        case "name":
            value = run.name
        case "started":
            value = run.started
        case "epochs":
            value = run.epochs
        case "time":
            value = run.seconds
        case "size":
            value = run.bytes
    return (value is not None, value if value is not None else 0, run.name)


# ------------------------------------------------------------------------------------------------ deleting


def _delete(subjects: list[str], folder: Path, yes: bool, json: bool) -> int:
    chosen = list(dict.fromkeys(_deletable(subject, folder) for subject in subjects))
    if not yes and not _confirmed(chosen, json):
        printing.note("nothing was deleted")
        return 1
    delete(chosen)
    if json:
        printing.document({"deleted": chosen})
    else:
        for path in chosen:
            printing.line(f"deleted {path}")
    return 0


def _deletable(subject: str, folder: Path) -> Path:
    """The run's directory; refuses anything that is not surely one, a folder with a recipe of the user's above all."""
    damaged = [path for path in list_directories(folder) if path.name == subject]
    path = damaged[0] if damaged else find(subject, folder)
    if path.is_symlink():
        raise RunError(str(path), "a link", "a run's own directory", "remove the link by hand")
    strange = sorted(
        item.name for item in path.iterdir() if item.name not in CONTENTS and not item.name.startswith(".")
    )
    begun = (path / "environment.json").exists() or (path / "run.sqlite").exists()
    if strange or not begun:
        what = (
            f"a folder that holds other files too ({', '.join(strange[:5])})" if strange else "a folder without a run"
        )
        raise RunError(str(path), what, "the directory of a run and nothing else", "remove it by hand")
    return path


def _confirmed(chosen: list[Path], json: bool) -> bool:
    if json or not sys.stdin.isatty():
        raise UsageError("--delete", "no terminal to ask at", "--yes", "--delete RUN… --yes")
    printing.note("\n".join(str(path) for path in chosen))
    print(
        f"Delete {'this run' if len(chosen) == 1 else f'these {len(chosen)} runs'}? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")
