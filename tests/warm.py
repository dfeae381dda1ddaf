"""Python in a process that has PyTorch already: a fork of one that imported it, so none waits for imports.

What it does, prints and leaves is the same; what it imports and how long it takes to start is not: tests of
that start Python themselves.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from netwright.cli.main import VERBS

# What a verb imports is paid once a test process, not once a command: of Optuna that is two seconds.
IMPORTED = [
    "torch", "torch._dynamo", "sklearn.datasets", "sklearn.ensemble", "sqlalchemy.dialects.sqlite", "alembic.migration",
    "cyclopts.help", "PIL.PngImagePlugin", *(place.partition(":")[0] for place, _ in VERBS.values()),
    "netwright.workbench", "netwright.inspecting", "netwright.compressing", "netwright.exporting", "netwright.curving",
    "netwright.studying", "netwright.tuning.importance", "netwright.tuning.storage", "warmed",
]  # fmt: skip


def _child(words: Sequence[str], folder: str, environment: dict[str, str], out: str, err: str) -> None:
    for name, number in ((out, 1), (err, 2)):
        os.dup2(os.open(name, os.O_WRONLY), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    match words:
        case ["-m", module, *more]:
            sys.argv, sys.path[0] = [module, *more], folder
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *more]:
            sys.argv, sys.path[0] = ["-c", *more], folder
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case [script, *more]:
            sys.argv, sys.path[0] = [script, *more], str(Path(script).parent)
            runpy.run_path(script, run_name="__main__")


class Running:
    """``python WORDS`` (``-m MODULE``, ``-c CODE`` or a script) in ``folder``, started; what it prints is in files."""

    def __init__(self, words: Sequence[str], folder: Path, **environment: str) -> None:
        self.words, environment = list(words), {**os.environ, **environment}
        self._files = [tempfile.NamedTemporaryFile("r") for _ in range(2)]  # noqa: SIM115  # as long as this object
        try:
            context = multiprocessing.get_context("forkserver")
        except ValueError:  # no fork on this system
            self._child: Any = subprocess.Popen(
                [sys.executable, *words], cwd=folder, env=environment, stdout=self._files[0], stderr=self._files[1]
            )
        else:
            _start_server()
            names = [file.name for file in self._files]
            self._child = context.Process(target=_child, args=(self.words, str(folder), environment, *names))
            self._child.start()
        self.pid: int = self._child.pid

    def printed(self) -> list[str]:
        """What it printed until now: standard output, standard error."""
        return [Path(file.name).read_text(encoding="utf-8") for file in self._files]

    def wait_for(self, text: str, timeout: float) -> None:
        """Until ``text`` was printed."""
        ends = time.monotonic() + timeout
        while text not in "".join(self.printed()):
            code = self._child.poll() if isinstance(self._child, subprocess.Popen) else self._child.exitcode
            assert code is None, f"ended with {code} before it printed {text!r}: {self.printed()}"
            assert time.monotonic() < ends, f"not printed within {timeout} s: {text!r}, but {self.printed()}"
            time.sleep(0.01)

    def kill(self) -> None:
        self._child.kill()
        self.finish(60)

    def finish(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Its exit code and what it printed; one that takes longer than ``timeout`` seconds is killed."""
        if isinstance(self._child, subprocess.Popen):
            try:
                code = self._child.wait(timeout)
            except subprocess.TimeoutExpired:
                self._child.kill()
                raise
        else:
            self._child.join(timeout)
            if self._child.is_alive():
                self._child.kill()
                raise subprocess.TimeoutExpired(self.words, timeout)
            code = self._child.exitcode
        return subprocess.CompletedProcess(self.words, code, *self.printed())


def python(words: Sequence[str], folder: Path, timeout: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python WORDS`` in ``folder``, carried out: its exit code and what it printed."""
    return Running(words, folder, **environment).finish(timeout)


def context() -> BaseContext:
    """For a test's own processes: forks of one that has imported everything, where this system has them."""
    with contextlib.suppress(ValueError):
        _start_server()
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start_server() -> None:
    """With this folder on its path (Python 3.11 passes it none), where ``warmed`` lies."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(IMPORTED)
    from multiprocessing import forkserver  # not on every system

    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([path] if path else [])])
    try:
        forkserver.ensure_running()
    finally:
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path
