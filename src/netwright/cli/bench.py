"""``netwright bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from netwright.cli import printing
from netwright.cli.options import Json, Out, Trust, option
from netwright.errors import UsageError
from netwright.runs import DEFAULT_FOLDER

if TYPE_CHECKING:
    from netwright.benching import Bench

SHOWN = 8  # operators of a runtime


def bench(
    run: Annotated[str, option("a run: its directory, its name, or last")],
    /,
    *,
    runtimes: Annotated[
        str,
        option(
            "all, or names joined by commas: onnx, onnx-int8, ncnn, litert, torchscript",
            metavar="LIST",
            name=("--runtimes", "--runtime"),
        ),
    ] = "all",
    threads: Annotated[int, option("of each runtime, kept on as many processors; 1", metavar="N")] = 1,
    batches: Annotated[
        str, option("sizes joined by commas; 1,8,32", metavar="SIZES", name=("--batches", "--batch"))
    ] = "1,8,32",
    seconds: Annotated[float, option("for all runtimes at one batch size; 5", metavar="S")] = 5.0,
    inputs: Annotated[
        Path | None, option("run these instead of the run's validation data", metavar="FILE|FOLDER")
    ] = None,
    operators: Annotated[bool, option("milliseconds of each operator, where the runtime tells them")] = False,
    trust: Trust = False,
    json: Json = False,
    out: Out = Path(DEFAULT_FOLDER),
) -> int:
    """Measure how long a run's network takes in each runtime of this machine.

    All runtimes are warmed up and called in turns on the same real inputs: median, the quantiles 0.1 and 0.9, peak
    memory, and how many times as fast as PyTorch. Files of RUN/exports are taken where they are there.
    """
    try:
        sizes = [int(word) for word in batches.split(",")]
    except ValueError as error:
        raise UsageError("--batches", repr(batches), "whole numbers joined by commas", "--batches 1,8,32") from error
    from netwright.benching import ALL
    from netwright.benching import bench as measured

    names = ALL if runtimes == ALL else [word.strip() for word in runtimes.split(",")]
    found = measured(
        run, names, threads=threads, batches=sizes, seconds=seconds, inputs=inputs, operators=operators, folder=out,
        trust=trust,
    )  # fmt: skip
    if json:
        printing.document(found.to_dict())
        return 0
    _show(found)
    return 0


def _show(found: Bench) -> None:
    from netwright.reporting import formatting

    right = ("batch", "median ms", "10 %", "90 %", "times torch", "peak memory", "file")
    table = printing.table("runtime", *right, right=right)
    for row in found.rows:
        each, low, high = row.latency, *row.faster[1:]
        table.add_row(
            *map(printing.cell, (
                row.name, str(each.batch), f"{each.median_ms:.3g}", f"{each.low_ms:.3g}", f"{each.high_ms:.3g}",
                "" if row.name == "torch" else f"{row.faster[0]:.2f} ({low:.2f}–{high:.2f})",
                "–" if row.peak_bytes is None else formatting.size(row.peak_bytes),
                "–" if not row.file_bytes else formatting.size(row.file_bytes),
            ))
        )  # fmt: skip
    printing.show(table)
    printing.line(f"{found.processor}, {found.threads} thread{'s' if found.threads > 1 else ''}; {found.picture}")
    for row in found.rows:
        if row.operators:
            printing.line()
            printing.line(f"{row.name}, ms of each operator:")
            for name, spent in sorted(row.operators.items(), key=lambda item: -item[1])[:SHOWN]:
                printing.line(f"  {spent:8.4f}  {name}")
    for name, reason in found.left_out.items():
        printing.note(f"left out: {name}: {reason}")
