"""``netwright explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from netwright.cli import printing
from netwright.cli.options import Json, option
from netwright.codes import CODES
from netwright.craft import catalogue as craft
from netwright.diagnosis.catalogue import Language
from netwright.errors import UsageError, nearest

if TYPE_CHECKING:
    from netwright.diagnosis.catalogue import Entry
    from netwright.inspection.explaining import Explanation

WIDTH = 100  # columns of a paragraph

HEADINGS: dict[Language, dict[str, str]] = {
    "en": {
        "looks": "looks like", "cause": "because", "remedies": "try", "formula": "formula", "source": "source",
        "see": "see also",
    },
    "zh": {
        "looks": "现象", "cause": "原因", "remedies": "对策", "formula": "公式", "source": "出处", "see": "另见",
    },
}  # fmt: skip
WORDS: dict[Language, dict[str, str]] = {
    "en": {},
    "zh": {
        "symptom": "现象", "cause": "原因", "fact": "事实", "data": "数据", "network": "网络",
        "optimisation": "优化", "training": "训练",
    },
}  # fmt: skip


def explain(
    subject: Annotated[
        str | None,
        option(
            "a layer, such as convolution, a finding's code, such as vanishing-gradient, or a part, such as elu. "
            "Left out: the list"
        ),
    ] = None,
    /,
    *,
    lang: Annotated[Language | None, option("language of a finding's text: en or zh; en", metavar="LANG")] = None,
    json: Json = False,
) -> int:
    """Work a layer out, or say what a finding or a part of the craft means.

    A part (`netwright list activations`, norms, optimizers, …): formula, range, when to use it, source. A layer: the
    formula, small numbers put in, the result, the source, forward and backward; the numbers are computed when they are
    printed. A finding: what it looks like, why it happens, what helps, the formula, the source.
    """
    if subject is None:
        return _subjects(lang, json)
    code = subject.strip().lower().replace("_", "-").replace(" ", "-")
    if code in CODES:
        return _finding(code, lang or "en", json)
    from netwright.inspection import explaining

    worked = code in explaining.SUBJECTS or code in explaining.ALIASES
    parts = craft.named(code)
    if not worked and not parts:
        near = nearest(code, dict.fromkeys([*explaining.SUBJECTS, *CODES, *craft.names()]))
        raise UsageError(
            "netwright explain",
            repr(subject),
            "a layer, a finding's code or a part's name",
            near or "netwright explain",
        )
    if lang is not None:
        raise UsageError(
            "netwright explain --lang", f"with {subject}", "a finding's code", "netwright explain vanishing-gradient"
        )
    if json and not worked:
        printing.document({"parts": [part.to_dict() for part in parts]})
    elif json:
        printing.document(explaining.explain(subject))
    else:
        for number, part in enumerate(parts):
            if number:
                printing.line()
            show_part(part)
        if worked:
            show(explaining.explain(subject))
    return 0


def _subjects(lang: Language | None, json: bool) -> int:
    """Layers and codes; in another language than English, only codes have texts."""
    from netwright.diagnosis import catalogue

    codes = {code: entry.title for code, entry in catalogue.entries(lang or "en").items()}
    layers: dict[str, str] = {}
    if lang in (None, "en"):
        from netwright.inspection import explaining

        layers = {name: explaining.explain(name).summary for name in explaining.SUBJECTS}
    if json:
        listed = {"subjects": layers, "findings": codes}
        printing.document(
            {key: [{"name": name, "meaning": text} for name, text in rows.items()] for key, rows in listed.items()}
        )
        return 0
    for title, rows in (("layer", layers), ("finding", codes)):
        if rows:
            table = printing.table(title, "")
            for name, text in rows.items():
                table.add_row(printing.cell(name, "bold"), printing.cell(text))
            printing.show(table)
        if rows is layers and rows:
            printing.line()
    return 0


def _finding(code: str, language: Language, json: bool) -> int:
    from netwright.diagnosis import catalogue

    entry = catalogue.entry(code, language)
    if json:
        printing.document(entry)
    else:
        show_entry(entry, language)
    return 0


def show_entry(entry: Entry, language: Language = "en") -> None:
    """Title, then a paragraph for each part of the entry that is there."""
    from rich.table import Table
    from rich.text import Text

    words = WORDS[language]
    printing.show(Text.assemble((entry.code, "bold"), "  ", entry.title))
    printing.show(Text(f"{words.get(entry.kind, entry.kind)} · {words.get(entry.family, entry.family)}", style="dim"))
    table = Table.grid(padding=(0, 2, 1, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(max_width=WIDTH, overflow="fold")
    for part, heading in HEADINGS[language].items():
        value = getattr(entry, part)
        if part == "remedies":
            value = "\n".join(f"{number}. {text}" for number, text in enumerate(value, 1))
        elif part == "see":
            value = ", ".join(value)
        if value:
            table.add_row(heading, Text(value, style="green" if part == "formula" else ""))
    printing.line()
    printing.show(table)


PART_HEADINGS = {
    "formula": "formula", "derivative": "derivative", "range": "range", "saturation": "saturates",
    "prior": "as a prior", "use": "when", "recipe": "in a recipe", "python": "in Python", "source": "source",
}  # fmt: skip


def show_part(part: craft.Part) -> None:
    """Name and title, then a line for each field that is there."""
    from rich.table import Table
    from rich.text import Text

    printing.show(Text.assemble((part.name, "bold"), "  ", part.title))
    printing.show(Text(craft.FAMILIES[part.family], style="dim"))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(max_width=WIDTH, overflow="fold")
    for field, heading in PART_HEADINGS.items():
        value = getattr(part, field)
        if value:
            table.add_row(heading, Text(value, style="green" if field == "formula" else ""))
    printing.show(table)
    printing.line()


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
