"""``netwright watch``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from netwright.cli import printing
from netwright.cli.diagnose import missed
from netwright.cli.main import STANDARD_INPUT
from netwright.cli.options import FailOn, Json, option
from netwright.errors import UsageError
from netwright.records import plural

if TYPE_CHECKING:
    from netwright.watching.script import Found


def watch(
    script: Annotated[str, option("a Python file that trains with PyTorch")],
    /,
    *arguments: Annotated[
        str, Parameter(help="everything after the file is passed on to it", allow_leading_hyphen=True, negative="")
    ],
    budget: Annotated[
        float | None,
        option("the share of the step time that looking may take; 0.03", name="--budget", metavar="SHARE"),
    ] = None,
    fail_on: FailOn = None,
    json: Json = False,
) -> int:
    """Run a script of yours under watch and say what was found.

    The script runs unmodified, as python SCRIPT would; every network that an optimiser is built for is watched, and the
    weights it trains are the same bits. What was found is told on stderr at the end. The exit code is the script's.
    """
    share = 0.03 if budget is None else budget
    if not 0 <= share <= 1:
        raise UsageError("netwright watch --budget", str(budget), "a share from 0 to 1", "--budget 0.03")
    from netwright.watching import script as scripts

    passed_on = ["-" if word == STANDARD_INPUT else word for word in arguments]
    try:
        with contextlib.nullcontext() if json else _own_output():
            code, found = scripts.run(script, passed_on, budget=share)
    except KeyboardInterrupt as interrupt:
        seen = getattr(interrupt, "found", None)
        if seen is not None:
            _tell(script, 130, seen, json)
        raise
    findings_missed = _tell(script, code, found, json, fail_on)
    return code or findings_missed


@contextlib.contextmanager
def _own_output() -> Iterator[None]:
    """What the script prints is the answer: it goes to stdout, also from programs that it starts."""
    out = printing.stdout()
    try:
        out.flush()
        descriptor = os.dup(1)
        os.dup2(out.fileno(), 1)
    except (OSError, ValueError, AttributeError):  # closed, or no file
        descriptor = -1
    try:
        with contextlib.redirect_stdout(out):
            yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            out.flush()
        if descriptor >= 0:
            os.dup2(descriptor, 1)
            os.close(descriptor)


def _tell(script: str, code: int, found: Found, json: bool, fail_on: Any = None) -> int:
    """Findings of every network that took a step; the exit code of ``--fail-on``."""
    from netwright.reporting import terminal

    limit, told = 0, []
    for one in found.watches:
        if not one.steps:
            continue
        diagnosis = one.diagnosis()
        limit = limit or missed(diagnosis, fail_on)
        name = type(one.network).__name__
        told.append({"network": name, "steps": one.steps, **diagnosis.to_dict()})
        if not json:
            printing.note(f"\n{name}, {plural(one.steps, 'step')}")
            terminal.show(terminal.diagnosis(diagnosis), sys.stderr)
    if json:
        printing.document({"script": script, "exit_code": code, "networks": told, "unwatched": found.unwatched})
    elif not told:
        printing.note("netwright watch: no optimiser of torch.optim stepped a network")
    if found.unwatched and not json:
        printing.note(f"netwright watch: {found.unwatched} more networks were not watched")
    return limit
