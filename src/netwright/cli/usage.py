"""What the reader of options objects to, in the grammar of errors."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from netwright.cli.main import VERBS
from netwright.errors import UsageError, nearest, nearest_key
from netwright.recipe.reading import keys

_KINDS = {int: "a whole number", int | None: "a whole number", float: "a number"}


def explained(problem: CycloptsError, arguments: list[str]) -> UsageError:
    verb = next((word for word in arguments if word in VERBS), "")
    command = f"netwright {verb}".rstrip()
    match problem:
        case UnknownCommandError():
            word = next((word for word in arguments if not word.startswith("-")), arguments[0] if arguments else "")
            return UsageError(
                "netwright", repr(word), f"a verb: {', '.join(VERBS)}", nearest(word, VERBS) or "netwright --help"
            )
        case UnknownOptionError():
            word = (problem.token.keyword or problem.token.value).partition("=")[0]
            return UsageError(command, f"{word}, which is no option of this verb", "", _meant(problem, word, command))
        case UnusedCliTokensError():
            words = " ".join(problem.unused_tokens or [])
            return UsageError(command, f"{words!r}, which is one argument too many", "", f"{command} --help")
        case MissingArgumentError(argument=argument) if argument and _before_a_hyphen(argument.names, arguments):
            name, value = _before_a_hyphen(argument.names, arguments)
            return UsageError(
                f"{command} {name}", f"no value: {value} begins with a hyphen and reads as an option", "",
                f"{name}={shlex.quote(value)}, if that is the value",
            )  # fmt: skip
        case CoercionError(argument=argument, token=token) if argument is not None and token is not None:
            known = list(argument.get_choices(force=True) or ())
            expected = " or ".join(known) if len(known) < 3 else f"one of {', '.join(known)}"
            place = f"{command} {token.keyword or argument.name.lstrip('-').upper()}"
            if known:
                return UsageError(place, repr(token.value), expected, nearest(token.value, known) or "")
            return UsageError(place, repr(token.value), _KINDS.get(argument.hint, ""), f"{command} --help")
    return UsageError(command, _sentence(problem), "", f"{command} --help")


def _before_a_hyphen(names: Iterable[str], arguments: list[str]) -> tuple[str, ...]:
    """The option of these names and what follows it, where that only begins as an option does: -1,2."""
    for word, follower in itertools.pairwise(arguments):
        if word in names and follower[:1] == "-" and follower[1:2].isdecimal():
            return word, follower
    return ()


def _sentence(problem: CycloptsError) -> str:
    text = str(problem).removeprefix("Error: ").strip().rstrip(".")
    for start in ('Command "', "Command '"):
        if text.startswith(start):
            text = text[len(start) :].partition(text[len(start) - 1])[2].strip()
    return text[:1].lower() + text[1:] if not text.startswith("--") else text


def _meant(problem: UnknownOptionError, word: str, command: str) -> str:
    """The option that is nearest, or the recipe key of that name, which ``--set`` takes."""
    known = [name for argument in problem.argument_collection if argument.parse for name in argument.names]
    near = nearest(word, [name for name in known if name.startswith("--")])
    if near:
        return near
    if "--set" in known:
        key = nearest_key(word.lstrip("-").replace("-", "_"), keys())
        if key:
            return f"--set {key}=VALUE"
    return f"{command} --help"
