"""``netwright export``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from netwright.cli import printing
from netwright.cli.options import Json, Out, Trust, option
from netwright.errors import GateError, NetworkError, NetwrightError, StoppedError, UsageError
from netwright.runs import DEFAULT_FOLDER

if TYPE_CHECKING:
    from netwright.records import ExportResult


def export(
    run: Annotated[str, option("a run: its directory, its name, or last")],
    /,
    *targets: Annotated[str, option("onnx, onnx-int8, ncnn, ncnn-fp16, litert, litert-int8, mace, torchscript")],
    inside: Annotated[bool, option("preprocessing and probabilities in the file; pictures are uint8 NHWC")] = False,
    inputs: Annotated[
        Path | None, option("compare on these instead of the run's validation data", metavar="FILE|FOLDER")
    ] = None,
    examples: Annotated[int, option("so many real inputs are compared at most; 1000", metavar="N")] = 1000,
    seconds: Annotated[float, option("of comparing, at most; 30", metavar="S")] = 30.0,
    max_drop: Annotated[float, option("points of right labels that int8 or fp16 may lose; 1", metavar="POINTS")] = 1.0,
    to: Annotated[Path | None, option("the folder for the files; RUN/exports if left out", metavar="FOLDER")] = None,
    trust: Trust = False,
    json: Json = False,
    out: Out = Path(DEFAULT_FOLDER),
) -> int:
    """Write a run's network for other runtimes, run each file there, and compare it with PyTorch.

    Operators that the target lacks are named before anything is converted. A float file has to agree within 1e-4 and
    in every label, on real inputs; if it does not, the first layer that differs is named, nothing is written, and the
    exit code is 3. Beside each file lie the preprocessing as a record and a short program that loads it. Of several
    targets, one that refuses the network leaves the others be; the exit code is the first refusal's.
    """
    if not targets:
        from netwright.export.targets import names

        raise UsageError("netwright export", "no target", ", ".join(names()), f"netwright export {run} onnx")
    from netwright import workbench
    from netwright.export.targets import require, wanted
    from netwright.exporting import export as written

    for each in targets:  # before minutes are spent on the first
        require(wanted(each).target)
    opened = workbench.load(run, folder=out, trust=trust)
    results: list[ExportResult] = []
    refused: dict[str, NetwrightError] = {}
    for number, each in enumerate(targets):
        try:
            made = written(
                opened, each, inside=inside, inputs=inputs, examples=examples, seconds=seconds, max_drop=max_drop, to=to
            )
        except KeyboardInterrupt as stop:
            done = f"; written by then: {', '.join(result.path for result in results)}" if results else ""
            rest = shlex.join(["netwright", "export", str(opened.directory), *targets[number:]])
            raise StoppedError(f"export {each}", f"Ctrl-C; nothing of it was written{done}", "", rest) from stop
        except (NetworkError, GateError) as error:
            if len(targets) == 1:
                raise
            printing.error(error)
            refused[each] = error
        else:
            results.append(made)
    code = next((error.exit_code for error in refused.values()), 0)
    if json:
        told = {"run": str(opened.directory), "exports": [result.to_dict() for result in results]}
        if refused:
            told["refused"] = [
                {"target": name, "where": e.where, "got": e.got, "expected": e.expected, "try": e.suggestion}
                for name, e in refused.items()
            ]
        printing.document(told)
    elif results:
        _show(results)
    return code


def _show(results: list[ExportResult]) -> None:
    from netwright.records import percent
    from netwright.reporting import formatting

    numbers = ("size", "inputs", "largest difference", "mean", "equal labels", "right labels")
    table = printing.table("target", "run in", *numbers, right=numbers)
    for each in results:
        name = each.target if each.precision == "float32" else f"{each.target}-{each.precision}"
        right = "–" if each.right is None else f"{percent(each.right[0])} → {percent(each.right[1])}"
        table.add_row(
            *map(printing.cell, (
                name, each.runtime, formatting.size(each.file_bytes), str(each.inputs),
                f"{each.largest_difference:.2g}", f"{each.mean_difference:.2g}",
                percent(each.labels_equal, 2), right,
            ))
        )  # fmt: skip
    printing.show(table)
    for each in results:
        printing.line(each.path)
        for note in each.notes:
            printing.note(f"{each.target}: {note}")
