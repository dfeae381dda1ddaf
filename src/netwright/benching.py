"""``netwright bench``: one run in several runtimes, measured in turns on this machine, with the same real inputs."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from netwright import exporting, files, runs, workbench
from netwright.environment import processor
from netwright.errors import MissingExtraError, NetworkError, UsageError
from netwright.export import package as packages
from netwright.export import timing
from netwright.export.memory import peak_bytes
from netwright.export.package import Package
from netwright.export.target import Session
from netwright.export.targets import TARGETS, Wanted, missing, require, wanted
from netwright.records import Latency, Record
from netwright.reporting import latencies
from netwright.workbench import Run

TORCH, ALL = "torch", "all"
BATCHES = (1, 8, 32)
SECONDS = 5.0  # for all runtimes at one batch size
PICTURE = "bench.svg"


class BenchRow(Record, frozen=True, kw_only=True):
    """One runtime at one batch size. ``faster``: how many times as fast as PyTorch, with its quantiles 0.1 and 0.9, by
    calls in turns. ``operators``: milliseconds of each, for one example, where the runtime tells."""

    name: str
    precision: str
    latency: Latency
    faster: tuple[float, float, float]
    file_bytes: int = 0
    peak_bytes: int | None = None
    operators: dict[str, float] = {}
    note: str = ""


class Bench(Record, frozen=True, kw_only=True):
    """What ``netwright bench`` says; ``left_out``: runtimes that were not measured, each with the reason."""

    run: str
    processor: str
    threads: int
    rows: tuple[BenchRow, ...]
    left_out: dict[str, str] = {}
    picture: str = ""


def bench(
    run: Run | Path | str,
    runtimes: Sequence[str] | str = ALL,
    *,
    threads: int = 1,
    batches: Sequence[int] = BATCHES,
    seconds: float = SECONDS,
    inputs: Any = None,
    operators: bool = False,
    folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False,
) -> Bench:
    """Latency, spread and memory of a run's network in PyTorch and in each of ``runtimes``.

    ``runtimes``: ``all`` that are installed, or names of targets (``onnx``, ``onnx-int8``, ``ncnn-fp16``). A file of
    ``RUN/exports`` is taken where it is there, written to a temporary place where not. Every round calls every runtime
    once, for ``seconds`` at each size of ``batches``, with ``threads`` threads that are kept on as many processors.
    ``operators``: milliseconds of each operator too. The picture lies in ``RUN/exports/bench.svg``. Raises
    ``UsageError`` where a file is of other weights than the run has now.
    """
    exporting.require_threads(threads)
    if not batches or min(batches) < 1:
        raise UsageError("--batches", ",".join(map(str, batches)) or "none", "at least 1 each", "--batches 1,8,32")
    if not 0 < seconds < math.inf:
        raise UsageError("--seconds", f"{seconds:g}", "more than 0", "--seconds 5")
    asked, left_out = _asked(runtimes)
    run = run if isinstance(run, Run) else workbench.load(run, folder=folder, trust=trust)
    files.require_place(run.directory / exporting.EXPORTS, f"a copy of {run.directory} in a place of your own")
    real = exporting.real_examples(run, inputs, max(batches))
    taken = packages.prepared(run.inputs.inputs, real.raws)
    calibration = packages.prepared(run.inputs.inputs, real.calibration)
    made = packages.package(run.network, taken, names=run.inputs.input_names)
    rows: list[BenchRow] = []
    with tempfile.TemporaryDirectory() as beside, exporting.threads_of_torch(threads):
        paths: dict[str, Path] = {}
        for each in asked:
            try:
                paths[str(each)] = _file(run, made, each, Path(beside), calibration)
            except (MissingExtraError, NetworkError) as error:  # where all are asked for, those that can are measured
                if runtimes != ALL:
                    raise
                left_out[str(each)] = str(error)
        sessions = {str(each): each.target.open(paths[str(each)], threads) for each in asked if str(each) in paths}
        for batch in batches:
            rows += _measured(made, asked, sessions, paths, threads, batch, seconds, operators)
    picture = run.directory / exporting.EXPORTS / PICTURE
    with files.explained(picture):
        picture.parent.mkdir(exist_ok=True)
    found = Bench(
        run=str(run.directory), processor=processor(), threads=threads, rows=tuple(rows), left_out=left_out,
        picture=str(picture),
    )  # fmt: skip
    bars = [(row.name, row.latency) for row in rows]
    files.replace_file(picture, latencies.picture(run.directory.name, bars))
    return found


def _asked(runtimes: Sequence[str] | str) -> tuple[list[Wanted], dict[str, str]]:
    left_out: dict[str, str] = {}
    if runtimes == ALL:
        targets = [target for target in TARGETS.values() if target.name != "mace"]
        for target in targets:
            if missing(target):
                left_out[target.name] = str(MissingExtraError(target.name, extra=target.extra))
        return [Wanted(target, "float32") for target in targets if target.name not in left_out], left_out
    words = [runtimes] if isinstance(runtimes, str) else list(runtimes)
    found = [wanted(exporting.RUNTIMES.get(word, word)) for word in words if word != TORCH]
    for each in found:
        if each.target.name == "mace":
            raise UsageError("--runtimes", "mace", "a runtime that is here: MACE has no package", "onnx")
        require(each.target)
    return found, left_out


def _file(run: Run, made: Package, asked: Wanted, beside: Path, calibration: Sequence[Any]) -> Path:
    there = exporting.kept(run, asked)
    if there is not None:
        return there
    exporting.refuse(asked, made.graph)
    place = beside / str(asked)
    place.mkdir()
    return asked.target.write(
        dataclasses.replace(made, precision=asked.precision, calibration=tuple(calibration)), place
    )


def _measured(
    made: Package, asked: Sequence[Wanted], sessions: dict[str, Session], paths: dict[str, Path], threads: int,
    batch: int, seconds: float, operators: bool,
) -> list[BenchRow]:  # fmt: skip
    tensors = made.example(batch)
    arrays = tuple(tensor.numpy() for tensor in tensors)

    def eager() -> Any:
        with torch.inference_mode():
            return made.network(*tensors)

    def called(session: Session) -> Callable[[], Any]:
        return lambda: session.run(*arrays)

    calls = {TORCH: eager} | {name: called(session) for name, session in sessions.items()}
    with timing.pinned(threads):
        seen = timing.times(calls, rounds=10**6, seconds=seconds)
    machine, rows = processor(), []
    for name, values in seen.items():
        each = next((one for one in asked if str(one) == name), None)
        runtime = TORCH if each is None else each.target.runtime
        peak, spent = None, {}
        if each is not None:
            with tempfile.TemporaryDirectory() as held:
                peak = peak_bytes(each.target, paths[name], arrays, threads, Path(held))
            spent = sessions[name].operators(*(array[:1] for array in arrays)) if operators and batch == 1 else {}
        rows.append(
            BenchRow(
                name=name, precision="float32" if each is None else each.precision,
                latency=timing.latency(values, runtime=runtime, processor=machine, threads=threads, batch=batch),
                faster=timing.ratio(seen[TORCH], values), peak_bytes=peak, operators=spent,
                file_bytes=0 if each is None else _bytes(paths[name]),
                note="one by one: ncnn takes no batches" if runtime == "ncnn" and batch > 1 else "",
            )
        )  # fmt: skip
    return rows


def _bytes(path: Path) -> int:
    """Of the file with those that belong to it (ncnn's weights)."""
    return sum(each.stat().st_size for each in {path, path.with_suffix(".bin")} if each.exists())
