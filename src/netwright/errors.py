"""One family of errors; every message says where, what was got, what was expected and what to try.

A finding and an error speak the same grammar. ``exit_code`` is what the command line returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath


class NetwrightError(Exception):
    """Something that netwright understands went wrong.

    ``where`` is the place in the user's words (a recipe key, a file, a layer), ``got`` and ``expected`` are
    short phrases, ``suggestion`` is the next thing to try.
    """

    exit_code = 1

    def __init__(self, where: str, got: str = "", expected: str = "", suggestion: str = "") -> None:
        self.where, self.got, self.expected, self.suggestion = where, got, expected, suggestion
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.got and f"got {self.got}", self.expected and f"expected {self.expected}"]
        text = f"{self.where}: {', '.join(part for part in parts if part)}".rstrip(": ")
        return f"{text}. Try: {self.suggestion}" if self.suggestion else text

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.where, self.got, self.expected, self.suggestion)


class UsageError(NetwrightError, ValueError):
    """A wrong argument, option or recipe."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be read, resolved or run."""


class DataError(UsageError):
    """Data that cannot be read or that contradicts itself."""


class NetworkError(UsageError):
    """A network that cannot be built, loaded or run on this input."""


class RunError(NetwrightError):
    """A run directory that is damaged, busy, full or of another version."""


class GateError(NetwrightError):
    """A gate was not met: a finding at or above a limit, a budget, a parity check."""

    exit_code = 3


class MissingExtraError(NetwrightError, ImportError):
    """An optional dependency is missing; the suggestion is the command that installs it."""

    exit_code = 4

    def __init__(self, where: str, got: str = "", expected: str = "", suggestion: str = "", *, extra: str = "") -> None:
        if extra:
            got, expected, suggestion = (
                "an optional dependency that is missing",
                extra,
                f'pip install "netwright[{extra}]"',
            )
        super().__init__(where, got, expected, suggestion)


class StoppedError(NetwrightError):
    """Ctrl-C. ``got``: where it came and what was done by then; ``expected``: what is kept; ``suggestion``: how to go
    on."""

    exit_code = 130


def setting(key: str, value: object) -> str:
    """The option that sets a recipe key, as it can be pasted behind a command."""
    import shlex

    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"--set {shlex.quote(f'{key}={text}')}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like ``name``, if one is near enough to have been meant."""
    import difflib  # only where something went wrong

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """The dotted key most like ``key``; its last part may be right where the first is not."""
    import difflib

    candidates = list(known)
    tails = {candidate.rsplit(".", 1)[-1]: candidate for candidate in candidates}
    close = difflib.get_close_matches(key.rsplit(".", 1)[-1], list(tails), n=1, cutoff=0.75)
    return nearest(key, candidates) or (tails[close[0]] if close else None)


def unknown_name(
    where: str, name: str, known: Iterable[str], error: type[NetwrightError] = UsageError
) -> NetwrightError:
    """The error for a name that is not among the known ones; it offers the nearest."""
    candidates = sorted(known)
    near = nearest(name, candidates)
    return error(where, f"{name!r}", f"one of {', '.join(candidates)}", near or "")


def users_line(error: BaseException) -> str:
    """``file.py:12: x = self.fc(x)``: where ``error`` rose, as deep as the code is neither PyTorch's nor ours; empty
    where it is theirs alone. Networks by name count as the user's."""
    import sys
    import traceback

    ours = Path(__file__).parent
    torch = sys.modules.get("torch")
    passed = [ours, *(Path(folder) for folder in getattr(torch, "__path__", ()))]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == "<string>" or frame.filename.startswith("<frozen "):
            continue
        if not inside(frame.filename, passed) or inside(frame.filename, [ours / "nn" / "zoo"]):
            return f"{frame.filename}:{frame.lineno}: {frame.line}".removesuffix(": ")
    return ""


def inside(filename: str, folders: Iterable[PurePath]) -> bool:
    """Whether a file lies below one of ``folders``, by the rules for paths of their kind."""
    return any(type(folder)(filename).is_relative_to(folder) for folder in folders)
