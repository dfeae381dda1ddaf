"""``netwright explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from netwright.cli import printing
from netwright.cli.options import Json, option

if TYPE_CHECKING:
    from netwright.inspection.explaining import Explanation


def explain(
    subject: Annotated[
        str | None, option("what to explain, such as convolution or batch-norm. Left out: the list")
    ] = None,
    /,
    *,
    json: Json = False,
) -> int:
    """Work a subject out: the formula, small numbers put in, the result, the source.

    Layers are worked out forward and backward. The numbers are computed when they are printed.
    """
    from netwright.inspection import explaining

    if subject is not None:
        made = explaining.explain(subject)
        if json:
            printing.document(made)
        else:
            show(made)
        return 0
    summaries = {name: explaining.explain(name).summary for name in explaining.SUBJECTS}
    if json:
        printing.document({"subjects": [{"name": name, "meaning": text} for name, text in summaries.items()]})
        return 0
    table = printing.table("subject", "")
    for name, text in summaries.items():
        table.add_row(printing.cell(name, "bold"), printing.cell(text))
    printing.show(table)
    return 0


def show(made: Explanation) -> None:
    """Title, then each step in up to three lines, then the source; for ``inspect --explain`` too."""
    from rich.text import Text

    printing.show(Text.assemble((made.subject, "bold"), "  ", made.summary))
    for number, step in enumerate(made.steps, 1):
        printing.show(Text.assemble(f"\n{number:>2}  ", (step.title, "bold")))
        printing.show(Text(f"    {step.formula}"))
        if step.substituted:
            printing.show(Text(f"    {step.substituted}", style="dim"))
        printing.show(Text.assemble("    ⇒ ", (step.result, "green")))
    printing.show(Text(f"\nSource: {made.source}", style="dim"))
