"""A run, watched or going on → its diagnosis: judged again from its records, without its network. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from netwright import runs
from netwright.diagnosis.judging import Diagnosis, judge
from netwright.observations import Observations, Outcome, keeping
from netwright.runs import RunDirectory

if TYPE_CHECKING:
    from netwright.workbench import Run

AFTERWARDS = "the training is over, so it could not be tried"


def diagnose(
    run: Run | Path | str,
    *,
    folder: Path | str = runs.DEFAULT_FOLDER,
    ignore: Mapping[str, str] | None = None,
) -> Diagnosis:
    """Judge a run by what was observed of it: findings, what was found fine, what could not be seen.

    ``run``: one of `train`, or its directory, its name, ``last``. ``ignore``: code → reason, beside the recipe's own.
    Nothing is trained: a suspicion whose experiment was not made during the training says so. Raises ``RunError`` for
    a run that was not watched.
    """
    directory = runs.find(run, folder) if isinstance(run, str | Path) else run.directory
    kept = RunDirectory(directory)
    return rejudge(keeping.read(kept), {**kept.recipe().ignore, **(ignore or {})})


def rejudge(observations: Observations, ignore: Mapping[str, str] | None = None) -> Diagnosis:
    """Ask the rules of what was observed; experiments that they would want are answered with "not tried"."""
    while True:
        diagnosis = judge(observations, ignore)
        if not diagnosis.wanted:
            return diagnosis
        for experiment in diagnosis.wanted:
            observations.outcomes[experiment.name] = Outcome(experiment=experiment, failed=AFTERWARDS)
