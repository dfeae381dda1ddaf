"""``netwright compress``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from netwright import runs
from netwright.cli import printing
from netwright.cli.options import Json, Out, Trust, option
from netwright.errors import GateError, UsageError

if TYPE_CHECKING:
    from netwright.compressing import Compressed

NOT_MET = GateError.exit_code


def compress(
    subject: Annotated[str, option("a run")],
    /,
    *chain: Annotated[
        str, option("passes, NAME=VALUE:OPTION=VALUE,OPTION=VALUE; none: to the budgets", metavar="PASS")
    ],
    max_size: Annotated[str | None, option("largest file of the weights", metavar="500KB")] = None,
    max_latency: Annotated[
        str | None, option("longest median time of one example, and the runtime", metavar="12ms@onnxruntime")
    ] = None,
    max_drop: Annotated[
        float | None, option("most points of validation accuracy that may go", metavar="POINTS")
    ] = None,
    keep_if_faster: Annotated[bool, option("take back a pass that changed the network but not its speed")] = False,
    heal: Annotated[int | None, option("epochs of healing where only budgets are given", metavar="N")] = None,
    runtime: Annotated[
        str, option("of latencies: torch, onnxruntime, ncnn, litert or torchscript; torch", metavar="NAME")
    ] = "",
    threads: Annotated[int, option("of latencies; 1", metavar="N")] = 1,
    batch: Annotated[int, option("examples at a time of latencies; 1", metavar="N")] = 1,
    sensitivity: Annotated[bool, option("only show what each layer bears to lose; nothing is written")] = False,
    trust: Trust = False,
    json: Json = False,
    out: Out = Path(runs.DEFAULT_FOLDER),
) -> int:
    """Make a run smaller and faster by a chain of passes, and show what each of them cost and brought.

    The passes change a copy: pruning (prune=channels, prune=weights), sparse training (slim, group) and others, with
    healing between them. After each: accuracy, parameters, MACs, file size, memory, and the latency as it is measured.
    What is left is a run of its own. With budgets and no passes, the amount is searched for; exit 3 where a budget
    cannot be met.
    """
    for name, value in (("--threads", threads), ("--batch", batch), ("--heal", 1 if heal is None else heal)):
        if value < 1:
            raise UsageError(f"netwright compress {name}", str(value), "at least 1")
    if sensitivity:
        return _show_sensitivity(subject, out, trust, json)
    from netwright.compressing import compress as carry_out

    done = carry_out(
        subject, " ".join(chain), max_size=max_size, max_latency=max_latency, max_drop=max_drop,
        keep_if_faster=keep_if_faster, heal=heal, runtime=runtime, threads=threads, batch=batch, folder=out,
        trust=trust, said=printing.note,
    )  # fmt: skip
    if json:
        printing.document(done.to_dict())
    else:
        _show(done)
    for line in done.missed:
        printing.note(f"budget not met: {line}; this is the best that was reached")
    return 0 if done.met else NOT_MET


def _show(done: Compressed) -> None:
    from netwright.reporting import ledger

    if done.steps:
        printing.show(ledger.table(done.steps))
    if where := ledger.measured_in(done.steps):
        printing.line(f"latency: {where}")
    for step in done.steps:
        printing.line(f"{step.step}: {step.note}")
    if done.new:
        printing.line(f"run: {done.run.directory}")
    else:
        printing.line(f"no run was written: nothing came of the chain, and {done.run.directory} is as it was")


def _show_sensitivity(subject: str, out: Path, trust: bool, json: bool) -> int:
    from netwright.compressing import layer_sensitivity

    rows = layer_sensitivity(subject, folder=out, trust=trust, said=printing.note)
    if json:
        printing.document([row.to_dict() for row in rows])
        return 0
    from netwright.reporting import formatting
    from netwright.reporting.ledger import telling

    metric = telling(rows[0].metrics) if rows else ""
    table = printing.table(
        "layer", "channels", "without", metric, "MACs left", "", right=("channels", "without", metric, "MACs left")
    )
    for row in rows:
        value = row.metrics.get(metric)
        bar = "█" * round(20 * value) if value is not None and formatting.is_share(metric) else ""
        cells = row.layer, str(row.channels), str(row.removed), formatting.metric(metric, value), f"{row.macs:,}", bar
        table.add_row(*map(printing.cell, cells))
    printing.show(table)
    return 0
