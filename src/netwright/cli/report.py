"""``netwright report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import Json, Out, option


def report(
    run: Annotated[str, option("a run: its directory, its name, or last")] = "last",
    /,
    *,
    open_: Annotated[bool, option("open it in the browser", name="--open")] = False,
    json: Json = False,
    out: Out = Path(runs.DEFAULT_FOLDER),
) -> int:
    """Write a run's report and print its path.

    It is one HTML file that needs nothing else. A run that still trains has one too.
    """
    from netwright.reporting import page

    path = page.write_report(runs.find(run, out))
    if json:
        printing.document({"report": str(path)})
    else:
        printing.line(str(path))
    if open_:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            printing.note("no browser could be started")
    return 0
