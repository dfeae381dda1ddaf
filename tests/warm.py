"""Python in a process that has PyTorch already: a fork of one that imported it, so none waits for imports.

What it does, prints and leaves is the same; what it imports and how long it takes to start is not: tests of
that start Python themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

IMPORTED = [
    "torch", "torch._dynamo", "sklearn.datasets", "netwright.cli.main", "netwright.workbench", "netwright.inspecting",
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


def python(words: Sequence[str], folder: Path, timeout: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python WORDS`` (``-m MODULE``, ``-c CODE`` or a script) in ``folder``: its exit code and what it printed."""
    try:
        context = multiprocessing.get_context("forkserver")
    except ValueError:  # no fork on this system
        return subprocess.run(
            [sys.executable, *words], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
    context.set_forkserver_preload(IMPORTED)
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        child = context.Process(
            target=_child, args=(list(words), str(folder), {**os.environ, **environment}, out.name, err.name)
        )
        child.start()
        child.join(timeout)
        if child.is_alive():
            child.kill()
            raise subprocess.TimeoutExpired(list(words), timeout)
        return subprocess.CompletedProcess(list(words), child.exitcode or 0, out.read(), err.read())
