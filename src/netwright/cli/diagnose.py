"""``netwright diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import FailOn, Json, Out, option

if TYPE_CHECKING:
    from netwright.diagnosis.judging import Diagnosis
    from netwright.records import Severity

MISSED = 3  # the exit code where a finding is as severe as --fail-on says


def diagnose(
    run: Annotated[str, option("a run: its directory, its name, or last")] = "last",
    /,
    *,
    fail_on: FailOn = None,
    json: Json = False,
    out: Out = Path(runs.DEFAULT_FOLDER),
) -> int:
    """Judge a run by what was seen of its training.

    Root causes come first, what follows from them below; then what the recipe silences, what was checked and found
    fine, and what could not be seen. Nothing is trained and the network is not loaded, so it takes less than a second.
    """
    from netwright.diagnosing import diagnose as judge_run

    directory = runs.find(run, out)
    diagnosis = judge_run(directory)
    if json:
        printing.document({"run": str(directory), **diagnosis.to_dict()})
    else:
        show(diagnosis)
    return missed(diagnosis, fail_on)


def show(diagnosis: Diagnosis) -> None:
    """The verdict, and everything around it."""
    from netwright.reporting import terminal

    printing.show(terminal.diagnosis(diagnosis))


def missed(diagnosis: Diagnosis, fail_on: Severity | None) -> int:
    """The exit code: 3 where a finding is at or above the limit."""
    from netwright.diagnosis import telling

    return MISSED if fail_on and telling.at_least(diagnosis.findings, fail_on) else 0
