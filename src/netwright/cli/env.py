"""``netwright env``."""

from __future__ import annotations

from netwright.cli import printing
from netwright.cli.options import Json


def env(*, json: Json = False) -> int:
    """Say what is installed here, what can be used, and why not."""
    from netwright import environment

    found = environment.report()
    if json:
        printing.document(found)
    else:
        from netwright.reporting import terminal

        printing.show(terminal.environment(found))
    return 0
