"""Peak memory of a file in its runtime: ``python -m netwright.export.memory TARGET FILE INPUTS.npz THREADS``.

A process of its own, because a runtime gives back little of what it took. No torch but for TorchScript.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from netwright.export.target import Array, Target

SECONDS = 120


def peak_bytes(target: Target, path: Path, inputs: Sequence[Array], threads: int, folder: Path) -> int | None:
    """What opening and running the file adds at most to the memory of a process that has its runtime loaded.

    None where the system does not tell (Linux does). ``folder``: for the inputs. Costs a start of Python.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    held = folder / "inputs.npz"
    np.savez(held, *inputs)
    command = [sys.executable, "-m", "netwright.export.memory", target.name, str(path), str(held), str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        return int(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, ValueError, IndexError):
        return None


def _status(field: str) -> int:
    """Bytes of a line of ``/proc/self/status``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def _measure(name: str, path: str, held: str, threads: str) -> int:
    from netwright.export.targets import TARGETS

    target = TARGETS[name]
    inputs = list(np.load(held).values())
    for module in target.modules:
        if module not in ("onnx", "pnnx"):  # for writing
            importlib.import_module(module)
    if name == "litert":
        importlib.import_module("ai_edge_litert.interpreter")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    session = target.open(Path(path), int(threads))
    for _ in range(3):
        session.run(*inputs)
    return max(0, _status("VmHWM") - before)


if __name__ == "__main__":
    print(json.dumps(_measure(*sys.argv[1:5])))
