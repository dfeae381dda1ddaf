"""``netwright.export``: a run → a file for another runtime, run there and compared on real inputs, or refused."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import nn

from netwright import building, files, runs, sourcing, workbench
from netwright.data.examples import Examples
from netwright.data.opening import open_source
from netwright.environment import processor
from netwright.errors import DataError, GateError, NetworkError, NetwrightError, UsageError, unknown_name
from netwright.export import package as packages
from netwright.export import timing
from netwright.export.comparing import Difference, difference, first_difference
from netwright.export.mace import NOT_RUN
from netwright.export.package import Inside, Package
from netwright.export.target import Array, Precision, Session
from netwright.export.targets import TARGETS, Wanted, missing, require, wanted
from netwright.graph.structure import Graph
from netwright.preprocess import InputFile
from netwright.records import ExportResult, Latency
from netwright.workbench import Run

EXAMPLES = 1000  # that are compared, at most
SECONDS = 30.0  # that comparing may take; what was compared by then counts, FEWEST examples at least
FEWEST = 8
CALIBRATION = 256  # examples that int8 ranges are measured on
BATCH = 32
MAX_DROP = 1.0  # percentage points of right labels that a file of lower precision may lose
MOST_NAMED = 12  # operators in an error
EXPORTS = "exports"
SAME = "the network answers every example alike, so that equal outputs prove little: is it trained?"
NOWHERE = "another layer in the place of {}: every target lacks it"
PACKED = "a network that reads texts in one direction and unrolls nothing: only those are not packed by their lengths"
HERE = "--to FOLDER"  # where another place is the way out
KEPT = "export.json"


class Real(NamedTuple):
    """Real examples in raw form; ``targets`` where they are known, ``calibration`` of the training part."""

    raws: tuple[Array, ...]
    targets: Array | None
    calibration: tuple[Array, ...]
    part: str


def export(
    run: Run | Path | str,
    target: str,
    *,
    inside: bool = False,
    inputs: Any = None,
    examples: int = EXAMPLES,
    seconds: float = SECONDS,
    max_drop: float = MAX_DROP,
    to: Path | str | None = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False,
) -> ExportResult:
    """Write the run's network for ``target`` (``onnx``, ``ncnn-fp16``, …), run the file, and compare it with PyTorch.

    The files lie in ``RUN/exports/TARGET`` (or ``to``), with ``preprocess.json``, ``export.json`` and a program that
    loads them; they replace those of before, whole. ``inside``: preprocessing and probabilities are in the file:
    pictures go in as ``uint8`` (N, H, W, C). Compared are ``examples`` of the run's validation data, or ``inputs`` (as
    ``predict`` takes them), for ``seconds`` at most.

    Float files agree within 1e-4 of the largest output (of 1, if that is smaller) with equal labels; others lose at
    most ``max_drop`` points of right labels, or of labels that are PyTorch's where the right ones are not known.
    Otherwise ``GateError`` names the first layer that differs, and nothing is written. ``NetworkError`` names the
    operators that the target lacks, ``MissingExtraError`` what is not installed, ``DataError`` a lack of real inputs.
    """
    asked = wanted(target)
    require(asked.target)
    if not 0 < seconds < math.inf:
        raise UsageError("--seconds", f"{seconds:g}", "more than 0", "--seconds 30")
    if not abs(max_drop) <= 100:
        raise UsageError("--max-drop", f"{max_drop:g}", "points of right labels, at most 100", "--max-drop 1")
    run = run if isinstance(run, Run) else workbench.load(run, folder=folder, trust=trust)
    place = Path(to) if to is not None else run.directory / EXPORTS
    files.require_place(place, HERE)
    _require_own(place / str(asked))
    network = run.network
    real = real_examples(run, inputs, examples)
    made, expected = _package(run, network, real, asked, inside)
    refuse(asked, made.graph)
    beside = place / f".{asked}.{os.getpid()}"
    with files.explained(place, HERE):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
    try:
        path = _written(asked, made, beside)
        compared, right = _compared(asked, made, expected, path, real, seconds, run.inputs, max_drop)
        if len(expected) > 1 and (expected == expected[:1]).all():
            made.notes.append(SAME)
        result = _result(asked, made, run, beside, path, compared, right, inside)
        _keep(run, made, asked, beside, place / str(asked), path, result)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return msgspec.structs.replace(result, path=str(place / str(asked) / path.name))


def _require_own(folder: Path, written: Collection[str] | None = None) -> None:
    """A folder that the export may replace: there is none, or it holds an export of before and nothing else."""
    if not folder.exists():
        return
    held = {each.name for each in folder.iterdir()} if folder.is_dir() else {folder.name}
    foreign = held if KEPT not in held else held - set(held if written is None else written)
    if foreign:
        named = ", ".join(sorted(foreign)[:MOST_NAMED])
        raise UsageError(str(folder), f"files that are no part of an export: {named}", "a place for it alone", HERE)


def refuse(asked: Wanted, graph: Graph) -> None:
    """Raises ``NetworkError`` that names every operator which the target lacks, with its layer."""
    lacks = asked.target.lacking(graph)
    if lacks:
        named = "; ".join(f"{each.layer}: {each.kind} ({each.reason})" for each in lacks[:MOST_NAMED])
        more = f"; and {len(lacks) - MOST_NAMED} more" if len(lacks) > MOST_NAMED else ""
        packed = any(each.kind == "_pack_padded_sequence" for each in lacks)
        raise NetworkError(
            f"export {asked}", named + more, "operators that the target has",
            elsewhere(asked, graph) or (PACKED if packed else NOWHERE.format(lacks[0].layer)),
        )  # fmt: skip


def elsewhere(asked: Wanted, graph: Graph) -> str:
    """The other targets that have every operator of the network and are installed; empty where there are none."""
    others = [
        target.name for target in TARGETS.values()
        if target.name != asked.target.name and not missing(target) and not target.lacking(graph)
    ]  # fmt: skip
    return f"another target: {', '.join(others)}" if others else ""


def _written(asked: Wanted, made: Package, folder: Path) -> Path:
    """The main file. What a converter does not take, others may."""
    try:
        return asked.target.write(made, folder)
    except NetworkError as error:
        hint = error.suggestion or elsewhere(asked, made.graph) or "other layers there"
        raise NetworkError(error.where, error.got, error.expected, hint) from error


# ------------------------------------------------------------------------------------- real examples


def real_examples(run: Run, inputs: Any = None, count: int = EXAMPLES) -> Real:
    """Examples of the run's validation data (of its test or training data where it has none), spread evenly.

    Raises ``DataError`` where the data cannot be read again or are others than the run's: random numbers are no
    examples.
    """
    if count < 1:
        raise UsageError("--examples", str(count), "at least 1", f"--examples {EXAMPLES}")
    if inputs is not None:
        from netwright.predicting import Predictor

        raws = Predictor(run).raw(inputs)
        return Real(tuple(raw[:count] for raw in raws), None, tuple(raw[:CALIBRATION] for raw in raws), "given")
    recipe = run.recipe
    if recipe.data.format == "python":
        raise DataError(
            str(run.directory), "a run whose data came from Python", "real inputs to compare (and calibrate) with",
            "netwright.export(run, TARGET, inputs=ARRAY), or --inputs FILE",
        )  # fmt: skip
    material = open_source(recipe.data)
    assert isinstance(material, Examples)
    sourcing.require_same(run.directory, run.files.environment().get("data", {}), material)
    name = next(part for part in ("validation", "test", "train") if part in material.parts)
    raws, targets = _spread(material, name, count)
    calibration, _ = _spread(material, "train", CALIBRATION)
    return Real(raws, targets, calibration, name)


def _spread(material: Examples, name: str, count: int) -> tuple[tuple[Array, ...], Array]:
    part = material.parts[name]
    positions = np.unique(np.linspace(0, len(part) - 1, min(count, len(part))).round().astype(np.int64))
    rows = part.array_rows(positions)
    return tuple(np.ascontiguousarray(array[rows]) for array in part.inputs), part.part_targets()[positions]


# ------------------------------------------------------------------------------------- writing


def _package(run: Run, network: nn.Module, real: Real, asked: Wanted, inside: bool) -> tuple[Package, Array]:
    """What is written, and what PyTorch says of the same examples by the run's own preprocessing."""
    about = run.inputs
    prepared = packages.prepared(about.inputs, real.raws)
    precision = asked.precision
    if not inside:
        calibration = packages.prepared(about.inputs, real.calibration) if precision == "int8" else ()
        made = packages.package(
            network, prepared, names=about.input_names, precision=precision, calibration=calibration
        )
        return made, outputs(made.network, prepared)
    plain = packages.package(network, prepared, names=about.input_names)
    finish = building.objective(run.recipe, about, None, loss=_unused).probabilities if _own_loss(run) else (
        building.objective(run.recipe, about, None).probabilities
    )  # fmt: skip
    pixels = asked.target.pixels
    whole = Inside(plain.network, about.inputs, finish, pixels)
    calibration = packages.as_handed_in(about.inputs, real.calibration, pixels) if precision == "int8" else ()
    made = packages.package(
        whole, packages.as_handed_in(about.inputs, real.raws, pixels), precision=precision, calibration=calibration
    )
    return made, finish(torch.from_numpy(outputs(plain.network, prepared))).numpy()


def _own_loss(run: Run) -> bool:
    return run.recipe.objective.loss == "python"


def _unused(*_: Any) -> torch.Tensor:
    raise AssertionError("nothing is learned here")


def outputs(network: nn.Module, inputs: Sequence[Array]) -> Array:
    """PyTorch's outputs for all examples, (N, …) ``float32``."""
    tensors = [torch.from_numpy(each) for each in inputs]
    with torch.inference_mode():
        pieces = [network(*batch) for batch in zip(*(each.split(BATCH) for each in tensors), strict=True)]
    return np.asarray(torch.cat(pieces).float().numpy())


def _compared(
    asked: Wanted, made: Package, expected: Array, path: Path, real: Real, seconds: float, about: InputFile,
    max_drop: float,
) -> tuple[Difference, tuple[float, float] | None]:  # fmt: skip
    """The file's outputs against PyTorch's. Raises ``GateError`` where they are not what the precision allows."""
    session = asked.target.open(path, 1)
    try:
        got = _run(session, made.inputs, seconds)
    except NetwrightError:
        raise
    except Exception as error:  # of any runtime
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        got_it = f"a file that {asked.target.runtime} does not run on real inputs ({said})"
        raise GateError(f"export {asked}", got_it, "outputs", elsewhere(asked, made.graph)) from error
    count = len(got)
    expected = expected[:count]
    if got.size != expected.size:
        raise GateError(
            f"export {asked}", f"outputs of shape {got.shape}", str(expected.shape), elsewhere(asked, made.graph)
        )
    got = got.reshape(expected.shape)
    labelled = about.task == "classification" and expected.ndim == 2
    found = difference(expected, got, labels=labelled)
    right = None
    if labelled and real.targets is not None and real.targets.ndim == 1:
        truth = real.targets[:count]
        right = _right(expected, truth), _right(got, truth)
    if asked.precision == "float32":
        _require_equal(asked, made, session, found, got, expected)
    else:
        _require_near(asked, found, right, max_drop)
    return found, right


def _run(session: Session, inputs: Sequence[Array], seconds: float) -> Array:
    """The outputs for as many examples as there is time for; batches of one size, and what is left one by one."""
    pieces, started, start, count = [], time.perf_counter(), 0, len(inputs[0])
    while start < count and (start < FEWEST or time.perf_counter() - started < seconds):
        size = FEWEST if start == 0 else BATCH
        size = size if start + size <= count else 1
        pieces.append(np.asarray(session.run(*(each[start : start + size] for each in inputs)), np.float32))
        start += size
    return np.concatenate([piece if piece.ndim else piece[None] for piece in pieces])


def _right(given: Array, truth: Array) -> float:
    labels = given.argmax(1) if given.shape[1] > 1 else np.greater(given[:, 0], 0)
    return float((labels == truth).mean())


def _require_equal(
    asked: Wanted, made: Package, session: Session, found: Difference, got: Array, expected: Array
) -> None:
    if found.agrees:
        return
    apart = np.abs(np.subtract(got, expected)).reshape(len(got), -1).max(1)
    worst = int(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).argmax())
    example = [each[worst : worst + 1] for each in made.inputs]
    share = found.largest / max(found.largest_output, 1e-12)
    try:
        first = first_difference(made.network, session, example, share)
    except (RuntimeError, NetwrightError, ValueError) as error:
        first = f"not found ({str(error).splitlines()[0][:100]})"
    raise GateError(
        f"export {asked}: {first or 'no single layer: rounding adds up'}",
        f"outputs that differ by {found.largest:.3g} ({_labels(found)}) on {found.inputs} real inputs",
        f"at most {found.tolerance:.3g}, and equal labels", _way_out(asked, made, example, expected[worst]),
    )  # fmt: skip


def _labels(found: Difference) -> str:
    return "" if found.labels_equal is None else f"{100 * found.labels_equal:.2f} % equal labels"


def _require_near(asked: Wanted, found: Difference, right: tuple[float, float] | None, max_drop: float) -> None:
    kept = right if right is not None else None if found.labels_equal is None else (1.0, found.labels_equal)
    lost = 0.0 if kept is None else round(100 * (kept[0] - kept[1]), 6)
    if kept is not None and lost > max_drop:
        what = "right labels" if right is not None else "labels that are PyTorch's"
        raise GateError(
            f"export {asked}", f"{100 * kept[1]:.2f} % {what} instead of {100 * kept[0]:.2f} %",
            f"a loss of at most {max_drop:g} points", f"--max-drop {lost:.3g}, or the float file: {asked.target.name}",
        )  # fmt: skip


def _way_out(asked: Wanted, made: Package, example: Sequence[Array], expected: Array) -> str:
    """What helps where a file differs: another target only if not all of them would differ alike, since all trace."""
    taken = [torch.from_numpy(each) for each in example]
    with packages.traceable(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, other = made.network(*taken), made.network(*taken)
        if not torch.allclose(one, other, equal_nan=True):
            return "a network without random numbers in evaluation: it answers otherwise at each call"
        if not torch.allclose(one[0], torch.from_numpy(expected), rtol=1e-3, atol=1e-4, equal_nan=True):
            return "a network whose answer for an example does not depend on the others of its batch"
        traced = torch.jit.trace(made.network, made.example(len(taken[0])), check_trace=False)
        if not torch.allclose(traced(*taken), one, rtol=1e-3, atol=1e-4, equal_nan=True):
            return "torch.where in the place of branches on values: a file has one way for all inputs"
    return elsewhere(asked, made.graph)


def _result(
    asked: Wanted, made: Package, run: Run, beside: Path, path: Path, compared: Difference,
    right: tuple[float, float] | None, inside: bool,
) -> ExportResult:  # fmt: skip
    exact = asked.precision == "float32"
    return ExportResult(
        target=asked.target.name, path=path.name, file_bytes=sum(each.stat().st_size for each in beside.iterdir()),
        largest_difference=compared.largest, mean_difference=compared.mean, labels_equal=compared.labels_equal,
        inputs=compared.inputs, runtime=asked.target.runtime, precision=asked.precision,
        preprocessing="inside" if inside else "beside", tolerance=compared.tolerance if exact else None,
        agrees=compared.agrees, right=right, weights_sha256=weights_digest(run),
        runtime_bytes=asked.target.library_bytes(), notes=(*made.notes, *_notes(asked, run)),
    )  # fmt: skip


def _notes(asked: Wanted, run: Run) -> tuple[str, ...]:
    notes = (NOT_RUN,) if asked.target.name == "mace" else ()
    if run.files.current().get("finished"):
        return notes
    return (*notes, f"the run is not finished; its best weights so far (netwright train --resume {run.directory})")


def weights_digest(run: Run) -> str:
    """By which a file is known to be of the weights that the run stands for now."""
    kept = "best" if run.files.current().get("best") else "last"
    return hashlib.sha256((run.files.checkpoint(kept) / "weights.safetensors").read_bytes()).hexdigest()


def _keep(run: Run, made: Package, asked: Wanted, beside: Path, target: Path, path: Path, result: ExportResult) -> None:
    """The finished folder in place of the one of before, by one rename."""
    name, text = asked.target.snippet(made, path.name)
    with files.explained(target, HERE):
        (beside / name).write_text(text, encoding="utf-8")
        (beside / "preprocess.json").write_text(run.inputs.to_json(indent=2) + "\n", encoding="utf-8")
        (beside / KEPT).write_text(result.to_json(indent=2) + "\n", encoding="utf-8")
        _require_own(target, {each.name for each in beside.iterdir()})
        for each in beside.iterdir():
            files.sync_file(each)
        files.sync_folder(beside)
        if target.exists():
            files.remove_tree(target)
        files.rename(beside, target)
        files.sync_folder(target.parent)


def kept(run: Run, asked: Wanted) -> Path | None:
    """The run's exported file, if there is one with preprocessing beside it.

    Raises ``UsageError`` where it was made of other weights than the run has now.
    """
    folder = run.directory / EXPORTS / str(asked)
    if not (folder / KEPT).exists():
        return None
    about = ExportResult.from_json((folder / KEPT).read_bytes())
    if about.preprocessing == "inside":
        return None
    if about.weights_sha256 != weights_digest(run):
        raise UsageError(
            str(folder), "a file of other weights than the run has now", "an export of this run as it is",
            f"netwright export {run.directory} {asked}",
        )  # fmt: skip
    return folder / about.path


# ------------------------------------------------------------------------------------- latency


def measured(
    subject: Run | nn.Module,
    runtime: str = "onnxruntime",
    *,
    inputs: Sequence[Array] | None = None,
    threads: int = 1,
    batch: int = 1,
    precision: Precision = "float32",
) -> Latency:
    """How long the network takes in ``runtime``: torch, onnxruntime, ncnn, litert or torchscript.

    ``inputs``: real examples as a network takes them, (N, …); a run brings its own.
    """
    if isinstance(subject, Run):
        inputs = packages.prepared(subject.inputs.inputs, real_examples(subject, None, batch).raws)
        subject = subject.network
    if inputs is None:
        raise UsageError("measured", "a network without inputs", "inputs=(array,), real examples")
    return latencies({"": subject}, runtime, inputs, threads=threads, batch=batch, precision=precision)[""]


def latencies(
    networks: Mapping[str, nn.Module],
    runtime: str,
    inputs: Sequence[Array],
    *,
    names: Sequence[str] = (),
    threads: int = 1,
    batch: int = 1,
    precision: Precision = "float32",
    rounds: int = timing.ROUNDS,
    seconds: float = timing.SECONDS,
) -> dict[str, Latency]:
    """Several networks in one runtime, measured in turns, so that they can be compared on a machine that others use.

    Each is written to a temporary file first. The numbers are medians with the quantiles 0.1 and 0.9.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as beside:
        calls: dict[str, timing.Call] = {}
        for number, (name, network) in enumerate(networks.items()):
            made = packages.package(network, inputs, names=names, precision=precision, calibration=inputs)
            place = Path(beside) / str(number)
            place.mkdir()
            calls[name] = opened(made, runtime, place, threads, batch)
        with threads_of_torch(threads), timing.pinned(threads):
            seen = timing.times(calls, rounds=rounds, seconds=seconds)
    machine = processor()
    found = {
        name: timing.latency(values, runtime=runtime, processor=machine, threads=threads, batch=batch)
        for name, values in seen.items()
    }
    if len(found) < 2:
        return found
    return {name: msgspec.structs.replace(one, turns=tuple(seen[name])) for name, one in found.items()}


RUNTIMES = {"onnxruntime": "onnx", "ncnn": "ncnn", "litert": "litert", "torchscript": "torchscript"}
RUNTIMES_OF = {target: runtime for runtime, target in RUNTIMES.items()}


def runtime_of(text: str, where: str = "runtime") -> str:
    """The runtime's own name; that of its target stands for it too (``onnx``). Raises ``UsageError`` for another
    text, ``MissingExtraError`` where it is not installed."""
    found = RUNTIMES_OF.get(text, text)
    if found not in ("torch", *RUNTIMES):
        raise unknown_name(where, text, ("torch", *RUNTIMES))
    if found != "torch":
        require(TARGETS[RUNTIMES[found]])
    return found


def require_threads(threads: int) -> None:
    """Threads are kept on processors, so there are no more than those."""
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not 1 <= threads <= most:
        raise UsageError("--threads", str(threads), f"1 to {most}, the processors that may be used here")


def opened(made: Package, runtime: str, place: Path, threads: int, batch: int) -> Callable[[], Any]:
    """A call that runs the network once in ``runtime`` on ``batch`` real examples."""
    taken = tuple(tensor.numpy() for tensor in made.example(batch))
    if runtime == "torch":
        tensors = made.example(batch)

        def eager() -> Any:
            with torch.inference_mode():
                return made.network(*tensors)

        return eager
    asked = Wanted(TARGETS[RUNTIMES[runtime_of(runtime)]], made.precision)
    refuse(asked, made.graph)
    session = asked.target.open(asked.target.write(made, place), threads)
    session.run(*taken)
    return lambda: session.run(*taken)


class threads_of_torch:
    """PyTorch's number of threads for a while."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.threads)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)
