"""The entry point: which verb, and what becomes of its errors.

Help, version and completion are answered from frozen texts (``cli/pages``), because the library that reads the options
takes longer to import than a person should wait for help; ``cli.frozen`` writes them, a test holds them current.

Exit codes are those of ``EPILOGUE``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from netwright import __version__

if TYPE_CHECKING:
    from cyclopts import App

    from netwright.errors import NetwrightError

SUMMARY = """Carry one neural network through its whole life: from data to a trained, recorded, reported network.

For a start:

  netwright train digits
  netwright predict last FILE…
  netwright report last --open
"""
EPILOGUE = """netwright VERB --help says more. A run is named by its directory, its name, or last.

Exit codes: 0 done; 1 failed; 2 wrong usage or recipe; 3 a gate was not met; 4 an optional
dependency is missing; 130 interrupted (a training has saved by then)."""

# Verb → where its function lives, and what follows it on the command line. In the order of a first day.
VERBS: dict[str, tuple[str, str]] = {
    "train": ("netwright.cli.train:train", "[SUBJECT] [--set KEY=VALUE]… [OPTIONS]"),
    "inspect": ("netwright.cli.inspecting:inspect", "NETWORK [--input SHAPE] [OPTIONS]"),
    "predict": ("netwright.cli.predict:predict", "RUN FILE… [OPTIONS]"),
    "diagnose": ("netwright.cli.diagnose:diagnose", "[RUN] [OPTIONS]"),
    "watch": ("netwright.cli.watch:watch", "[OPTIONS] SCRIPT [ARGUMENTS]…"),
    "repair": ("netwright.cli.repair:repair", "[SUBJECT] [OPTIONS]"),
    "tune": ("netwright.cli.tune:tune", "[SUBJECT] [--space KEY=RANGE…] [OPTIONS]"),
    "compress": ("netwright.cli.compress:compress", "RUN [PASS]… [OPTIONS]"),
    "ensemble": ("netwright.cli.ensemble:ensemble", "RUN RUN… [OPTIONS] | RUN --snapshots N | RECIPE --members N"),
    "export": ("netwright.cli.export:export", "RUN TARGET… [OPTIONS]"),
    "bench": ("netwright.cli.bench:bench", "RUN [OPTIONS]"),
    "report": ("netwright.cli.report:report", "[RUN] [OPTIONS]"),
    "runs": ("netwright.cli.runs:runs", "[OPTIONS]"),
    "compare": ("netwright.cli.compare:compare", "FIRST SECOND [OTHERS]… [--seeds N] [OPTIONS]"),
    "curves": ("netwright.cli.curves:curves", "[DATA|RECIPE|RUN] [--over WHAT] [OPTIONS]"),
    "explain": ("netwright.cli.explain:explain", "[SUBJECT] [OPTIONS]"),
    "check": ("netwright.cli.check:check", "DATA|RECIPE [OPTIONS] | NETWORK --gradients | RUN --labels"),
    "boxes": ("netwright.cli.boxes:boxes", "TRUTH DETECTIONS [OPTIONS]"),
    "init": ("netwright.cli.init:init", "[FILE] [OPTIONS]"),
    "list": ("netwright.cli.listing:listing", "[WHAT] [OPTIONS]"),
    "env": ("netwright.cli.env:env", "[OPTIONS]"),
    "completion": ("netwright.cli.completion:completion", "SHELL"),
}
STANDARD_INPUT = "<standard input>"  # stands for - where options are read: a lone hyphen would be taken for one
OPTIONS_OF_WATCH = ("--budget", "--fail-on")  # those that a value follows
FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code and raises nothing."""
    arguments = _passed_on(list(sys.argv[1:] if argv is None else argv))
    # PyTorch's threads spin while they wait, which makes a step many times slower where cores are shared (docs/log.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this: what is said is meant for nobody
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        with contextlib.suppress(AttributeError, ValueError):
            getattr(sys, name).reconfigure(errors="replace")
    try:
        code = _frozen(arguments)
        if code is None:
            with _interrupts_noticed():
                code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:  # of the output itself: all else is caught where it happens
        from netwright.cli import printing
        from netwright.errors import NetwrightError

        got = (error.strerror or str(error)).lower()
        printing.error(NetwrightError("the output", got, "a place that takes it", "another file or disk for it"))
        with contextlib.suppress(OSError, ValueError):  # what is still held back would fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _passed_on(arguments: list[str]) -> list[str]:
    """What follows the script of ``watch`` is the script's own: a ``--`` says so to everyone who reads options."""
    if arguments[:1] == ["watch"] and "--" not in arguments:
        for number, word in enumerate(arguments[1:], 1):
            if not word.startswith("-") and arguments[number - 1] not in OPTIONS_OF_WATCH:
                return [*arguments[:number], "--", *arguments[number:]]
    return arguments


_interrupted = False


@contextlib.contextmanager
def _interrupts_noticed() -> Iterator[None]:
    """Remember a Ctrl-C: libraries written in C swallow it while they are imported, and fail for another reason."""
    global _interrupted
    _interrupted = False
    import signal
    import threading

    def notice(number: int, frame: Any) -> None:
        global _interrupted
        _interrupted = True
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, notice)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# ------------------------------------------------------------------------------------------------ without a library


def _frozen(arguments: list[str]) -> int | None:
    """Answer help, version and completion at once; None: it is something else."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if options == ["--version"]:
        print(__version__)
        return 0
    if not arguments or "--help" in options or "-h" in options:
        verb = arguments[0] if arguments and arguments[0] in VERBS else ""
        others = [word for word in arguments[:1] if not word.startswith("-") and word not in VERBS]
        if others:
            return None
        return _narrow_page(verb) if _is_narrow() else _page(f"{verb or 'netwright'}.txt")
    if arguments[0] == "completion" and len(arguments) == 2:
        return _page(f"completion.{arguments[1]}")
    return None


def _page(name: str) -> int | None:
    path = os.path.join(os.path.dirname(__file__), "pages", name)  # noqa: PTH118, PTH120 - pathlib costs a third of the time
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            sys.stdout.write(file.read())
    except FileNotFoundError:
        return None
    return 0


def _narrow_page(verb: str) -> int:
    from netwright.cli import frozen

    print(frozen.help_of(verb, os.get_terminal_size(sys.stdout.fileno()).columns), end="")
    return 0


def _is_narrow() -> bool:
    """Whether the frozen pages would not fit; then they are laid out anew."""
    try:
        return sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns < PAGE_WIDTH
    except (OSError, ValueError, AttributeError):
        return False


PAGE_WIDTH = 100


# ------------------------------------------------------------------------------------------------ with it


def application() -> App:
    """The command line as a whole; a verb's module is imported when the verb is used."""
    from cyclopts import App, Group

    from netwright.cli.help import Pages

    app = App(
        name="netwright",
        usage="netwright VERB [OPTIONS]",
        help=SUMMARY,
        help_epilogue=EPILOGUE,
        group_commands=Group("Verbs", sort_key=1),
        group_arguments=Group("Arguments", sort_key=0),
        group_parameters=Group("Options", sort_key=1),
        version=__version__,
        help_format="plaintext",
        help_formatter=Pages(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for position, (name, (place, follows)) in enumerate(VERBS.items()):
        app.command(place, name=name, usage=f"netwright {name} {follows}", sort_key=position, help_epilogue="")
    return app


def _run(arguments: list[str]) -> int:
    from netwright.cli import printing

    as_json = "--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments)
    with printing.answers_only():
        words = [STANDARD_INPUT if word == "-" else word for word in arguments]
        try:
            return _guarded(lambda: application()(words), arguments, as_json)
        except KeyboardInterrupt:
            if as_json:
                where = " ".join(["netwright", *arguments[:1]])
                printing.document({"error": {"where": where, "got": "Ctrl-C", "expected": "", "try": ""}})
            raise


def _guarded(action: Callable[[], Any], arguments: list[str], as_json: bool) -> int:
    from cyclopts import CycloptsError

    from netwright.cli import printing
    from netwright.errors import NetwrightError

    try:
        code = action()
        return code if isinstance(code, int) else 0
    except NetwrightError as error:
        _let_the_first_speak()
        printing.error(error, as_json)
        return error.exit_code
    except CycloptsError as error:
        from netwright.cli.usage import explained

        printing.error(explained(error, arguments), as_json)
        return WRONG_USAGE
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except SystemExit as stop:
        if stop.code in (0, None):
            return 0
        printing.error(
            NetwrightError(
                "sys.exit", f"a call of it with {stop.code!r} in code of yours", "code that returns",
                'if __name__ == "__main__": around what is not to run when it is imported',
            ),
            as_json,
        )  # fmt: skip
        return FAILED
    except Exception as error:
        if _interrupted:
            raise KeyboardInterrupt from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
            raise  # the output's own
        if isinstance(error, OSError) and error.filename:  # what the file system says of a place
            printing.error(_place(error), as_json)
            return FAILED
        import traceback

        traceback.print_exc()
        if as_json:
            printing.failure(error)
        return FAILED


def _let_the_first_speak() -> None:
    """Of several processes with the same error one says it: torchrun ends the others while they wait."""
    from netwright.environment import torchrun

    processes = torchrun()
    if processes is not None and processes[0]:
        import time

        time.sleep(6)


def _place(problem: OSError) -> NetwrightError:
    from netwright.errors import NetwrightError

    path = os.fsdecode(problem.filename) if isinstance(problem.filename, str | bytes) else str(problem.filename)
    expected = {
        errno.ENOENT: "a file or folder that is there",
        errno.ENOTDIR: "a path through folders alone",
        errno.EISDIR: "a file",
        errno.EACCES: "a place that you may use",
        errno.EPERM: "a place that you may use",
    }.get(problem.errno or 0, "a path that can be used")
    folder = os.path.dirname(path) or "."  # noqa: PTH120
    return NetwrightError(path, (problem.strerror or str(problem)).lower(), expected, f"ls -ld {shlex.quote(folder)}")


if __name__ == "__main__":
    sys.exit(main())
