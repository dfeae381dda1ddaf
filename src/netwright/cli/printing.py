"""What verbs print: tables for people or one JSON document on stdout; everything else goes to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, TextIO

from netwright.errors import NetwrightError, StoppedError
from netwright.records import to_builtin

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_stdout: IO[str] | None = None  # the real one, while everything but answers is sent to stderr


@contextlib.contextmanager
def answers_only() -> Iterator[None]:
    """Until the end, only what goes through this module reaches stdout, whatever a network of the user's prints."""
    global _stdout
    try:
        with _descriptor_apart(sys.stdout) as _stdout, contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _stdout = None


@contextlib.contextmanager
def _descriptor_apart(stream: TextIO) -> Iterator[TextIO]:
    """The same output on a descriptor of its own, while 1 leads to stderr: C code and child processes write there."""
    try:
        stream.flush()
        apart = os.dup(1) if stream.fileno() == 1 else -1
        if apart >= 0:
            os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):  # closed, or no file
        apart = -1
    if apart < 0:
        yield stream
        return
    own = os.fdopen(apart, "w", encoding=stream.encoding, errors=stream.errors)
    try:
        yield own
        own.flush()
    finally:
        os.dup2(apart, 1)
        with contextlib.suppress(OSError):  # said by the flush before
            own.close()


def stdout() -> IO[str]:
    """Where a verb's answer goes."""
    return sys.stdout if _stdout is None else _stdout


def document(value: Any) -> None:
    """``value`` as one JSON document on stdout; NaN is ``null``."""
    stdout().write(json.dumps(to_builtin(value), indent=2, allow_nan=False) + "\n")
    stdout().flush()


def line(text: str = "", end: str = "\n") -> None:
    """A line of a verb's answer, on stdout."""
    print(text, end=end, file=stdout())


def show(what: RenderableType) -> None:
    """A table of a verb's answer, on stdout."""
    from netwright.reporting import terminal

    terminal.show(what, stdout())


def note(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr, flush=True)


def error(problem: NetwrightError, as_json: bool = False) -> None:
    """An error on stderr, a line each for where, got, expected and what to try; with ``as_json`` on stdout too."""
    parts = {"got": problem.got, "expected": problem.expected, "try": problem.suggestion}
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:  # the message counts more than its colours
        note(str(problem))
    else:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        label = "stopped" if isinstance(problem, StoppedError) else "error"
        console.print(Text.assemble((label.ljust(12), "bold red"), (problem.where, "bold")))
        for name, text in parts.items():
            if text:
                console.print(Text.assemble("  ", (name.ljust(10), "dim"), text))
    if as_json:
        document({"error": {"where": problem.where, **parts}})


def failure(problem: Exception) -> None:
    """An error that netwright did not foresee, as a document."""
    document({"error": {"where": type(problem).__name__, "got": str(problem), "expected": "", "try": ""}})


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A table without a frame, so that it can be copied and piped; ``right``: columns of numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return made


def cell(text: str, style: str = "") -> Any:
    """A cell whose text is not read as markup."""
    from rich.text import Text

    return Text(text, style=style)
