"""Shared by the benchmarks: where the data lies, pairs of measurements, bootstrap intervals, tables, results."""

from __future__ import annotations

import gzip
import json
import math
import os
import pickle
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RESAMPLES = 10_000  # of the bootstrap


# ------------------------------------------------------------------------------------------------ data


def shared() -> Path:
    """The folder of reference data sets: ``NETWRIGHT_SHARED``, or ``../shared`` beside the repository."""
    folder = Path(os.environ.get("NETWRIGHT_SHARED", HERE.parent.parent / "shared")) / "data"
    if not folder.is_dir():
        sys.exit(f"no reference data in {folder}; NETWRIGHT_SHARED names another place")
    return folder


def work_folder() -> Path:
    """Where archives are unpacked and runs are written; may be deleted at any time."""
    folder = Path(os.environ.get("NETWRIGHT_BENCHMARKS", Path(tempfile.gettempdir()) / "netwright-benchmarks"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unpacked(archive: Path) -> Path:
    """The folder that ``archive`` unpacks to; unpacked once."""
    target = work_folder() / archive.name.split(".")[0]
    if not target.is_dir():
        started = Path(tempfile.mkdtemp(dir=work_folder()))
        with tarfile.open(archive) as tar:
            tar.extractall(started, filter="data")
        started.rename(target)
    return target


def idx(path: Path) -> np.ndarray:
    """A gzipped idx file of bytes, as the usual few lines read it."""
    content = gzip.decompress(path.read_bytes())
    shape = tuple(np.frombuffer(content, ">i4", content[3], 4))
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def mnist(part: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """``uint8`` (N, 1, 28, 28) and ``int64`` (N,)"""
    folder = shared() / "mnist"
    images, labels = idx(folder / f"{part}-images-idx3-ubyte.gz"), idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return images[:, None].copy(), labels.astype(np.int64)


def cifar10_test() -> tuple[np.ndarray, np.ndarray]:
    """The lossless test batch: ``uint8`` (10000, 3, 32, 32) and ``int64`` (10000,)"""
    with (cifar10_batches() / "test_batch").open("rb") as file:
        batch = pickle.load(file, encoding="bytes")  # its md5 is the published one
    return batch[b"data"].reshape(-1, 3, 32, 32).copy(), np.array(batch[b"labels"], np.int64)


def cifar10_batches() -> Path:
    archive = shared() / "cifar10" / "cifar-10-batches-py_test_batch_only.tar.xz"
    return unpacked(archive) / "cifar-10-batches-py"


# ------------------------------------------------------------------------------------------------ pairs


def rounds(contestants: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """``count`` rounds in which every contestant runs once, in an order that turns; one warm-up round before."""
    names = list(contestants)
    seen: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(count + 1):
        for name in names if turn % 2 else names[::-1]:
            value = contestants[name]()
            if turn:
                seen[name].append(value)
        if turn:
            done = "  ".join(f"{name} {seen[name][-1]:.4g}" for name in names)
            print(f"  round {turn}/{count}: {done}", file=sys.stderr, flush=True)
    return seen


def interval(values: Sequence[float]) -> dict[str, float]:
    """Median and its 95 % bootstrap interval."""
    generator = random.Random(0)
    medians = sorted(statistics.median(generator.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return {
        "median": statistics.median(values),
        "low": medians[int(0.025 * RESAMPLES)],
        "high": medians[int(0.975 * RESAMPLES) - 1],
        "pairs": len(values),
    }


def ratio(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Median ratio of pairs, first / second, with its interval."""
    return interval([one / other for one, other in zip(first, second, strict=True)])


def ratio_text(value: Mapping[str, float]) -> str:
    return f"{value['median']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


# ------------------------------------------------------------------------------------------------ processes


def in_own_process(script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run ``script ARGUMENTS`` in a fresh process; it prints one JSON document as its last line."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{Path(script).name} {' '.join(arguments)} failed (exit {done.returncode})")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def peak_mb() -> float:
    """Highest resident memory of this process so far, MB (1e6).

    Linux: VmHWM, since the figure of ``getrusage`` also counts the parent at the moment of its fork.
    """
    try:
        return _status("VmHWM")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class AnonymousPeak(threading.Thread):
    """Samples the memory that is no file's: a memory-mapped file's pages are resident, but may be dropped any time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0

    def run(self) -> None:
        while True:
            self.mb = max(self.mb, _status("RssAnon"))
            time.sleep(0.05)


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {key}")


# ------------------------------------------------------------------------------------------------ results


def facts() -> dict[str, Any]:
    """What a figure depends on. No host, user or path."""
    import torch

    from netwright import environment

    return {
        "processor": environment.processor(),
        "native_bf16": environment.devices()["cpu"]["bf16"] == "native",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: environment.version(name) for name in ("netwright", "torch", "numpy")},
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def version(distribution: str) -> str | None:
    from netwright import environment

    return environment.version(distribution)


def write_result(name: str, key: str, entry: Mapping[str, Any]) -> None:
    """Put ``entry`` with the environment's facts under ``key`` into ``results/NAME.json``; the other entries stay."""
    path = HERE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    known[key] = {**rounded(entry), "environment": facts()}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def rounded(value: Any) -> Any:
    """Floats of five digits, as JSON has them."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for number, row in enumerate(cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
