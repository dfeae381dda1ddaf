"""``netwright check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from netwright.cli import printing
from netwright.cli.options import Json, Out, Trust, option
from netwright.errors import UsageError
from netwright.runs import DEFAULT_FOLDER

if TYPE_CHECKING:
    from netwright.inspection.gradients import GradientCheck, GradientRow

WRONG = 3  # the exit code where a check finds something
SHOWN = 20  # tensors in the table: those with the largest errors


def check(
    subject: Annotated[str | None, option("a network by name, file.py:Name, or a run")] = None,
    /,
    *,
    gradients: Annotated[bool, option("compare autograd with finite differences in double precision")] = False,
    input_: Annotated[
        list[str] | None,
        option(
            "shape of one input without the batch: 3x224x224, ids=16:int64; once for each input. A network by "
            "name and a run know theirs",
            name="--input",
            metavar="SHAPE",
        ),
    ] = None,
    entries: Annotated[int | None, option("so many entries of each tensor, drawn at random; 20", metavar="N")] = None,
    evaluation: Annotated[bool, option("in evaluation mode instead of training", name="--eval")] = False,
    seed: Annotated[int, option("of the inputs and of the entries that are drawn; 0", metavar="N")] = 0,
    trust: Trust = False,
    json: Json = False,
    out: Out = Path(DEFAULT_FOLDER),
) -> int:
    """Check a network's gradients.

    Every parameter and input is moved up and down, a sample of entries each, and the change of the output compared
    with what autograd says. Points without a derivative, as of a ReLU at zero, are told apart from errors. Exits with
    3 if a gradient is wrong.
    """  # fmt: skip
    if not gradients:
        raise UsageError(
            "netwright check", "nothing to check", "--gradients, which is what it can check today",
            f"netwright check {subject or 'SUBJECT'} --gradients",
        )  # fmt: skip
    if subject is None:
        raise UsageError(
            "netwright check --gradients", "no network", "a network by name, file.py:Name, or a run",
            "netwright check lenet5 --gradients",
        )  # fmt: skip
    if entries is not None and entries < 1:
        raise UsageError("netwright check --entries", str(entries), "a number of at least 1", "--entries 20")
    from netwright import inspecting
    from netwright.inspection.gradients import ENTRIES, check_gradients

    known = inspecting.find(subject, inspecting.parse_inputs(input_ or []), folder=out, trust=trust, weights=True)
    if known.network is None:
        raise UsageError("netwright check --gradients", "an .onnx file", "a network by name, file.py:Name, or a run")
    found = check_gradients(
        known.network, known.example, entries=ENTRIES if entries is None else entries, seed=seed,
        training=not evaluation, **({} if entries is None else {"most": 10**9}),
    )  # fmt: skip
    if json:
        printing.document(found.to_dict() | {"network": subject, "error": found.error, "ok": not found.wrong})
    else:
        _show(found)
    return WRONG if found.wrong else 0


def _show(found: GradientCheck) -> None:
    ranked = sorted(found.rows, key=lambda row: -row.error)
    shown = [row for row in ranked if row.wrong] + [row for row in ranked if not row.wrong][:SHOWN]
    columns = ("tensor", "shape", "entries", "largest error", "where", "autograd", "differences", "")
    table = printing.table(*columns, right=("entries", "largest error", "autograd", "differences"))
    for row in shown:
        table.add_row(
            *map(printing.cell, (
                row.name, "×".join(map(str, row.shape)) or "a number", str(row.checked), f"{row.error:.1e}",
                str(list(row.where)) if row.where else "all together", f"{row.autograd:.6g}", f"{row.numeric:.6g}",
            )),
            printing.cell(*_judgement(row)),
        )  # fmt: skip
    printing.show(table)
    if len(found.rows) > len(shown):
        printing.line(f"… and {len(found.rows) - len(shown)} more, all with smaller errors")
    entries = sum(row.checked for row in found.rows)
    printing.line()
    if found.wrong:
        names = ", ".join(row.name for row in found.wrong[:5]) + (", …" if len(found.wrong) > 5 else "")
        printing.line(f"Wrong: the gradient of {names} (relative error above {found.tolerance:g})")
    else:
        printing.line(
            f"Right: {len(found.rows)} tensors, {entries:,} entries; largest relative error beyond rounding "
            f"{found.error:.1e} (limit {found.tolerance:g})"
        )
    for text in found.skipped:
        printing.note(f"not checked: {text}")


def _judgement(row: GradientRow) -> tuple[str, str]:
    if row.wrong:
        return "wrong", "red"
    parts = [f"{count} {word}" for count, word in ((row.kinks, "at a kink"), (row.unclear, "unclear")) if count]
    return ", ".join(parts), "yellow" if row.unclear else ""
