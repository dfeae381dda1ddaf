"""Writes ``findings.md`` from the catalogue and the examples: ``python docs/write_findings.py``; a test holds it."""

from __future__ import annotations

import ast
from pathlib import Path

from netwright.codes import FAMILIES
from netwright.diagnosis.catalogue import Entry, entries

HERE = Path(__file__).resolve().parent
PAGE, EXAMPLES = HERE / "findings.md", HERE.parent / "examples" / "findings.py"
HEAD = """# Findings

Written by `docs/write_findings.py` from the catalogue; `netwright explain CODE` prints an entry, `--lang zh` in
Chinese. How findings come about, and what they promise: [The doctor](doctor.md).

A *symptom* says how a training looks, a *cause* why, a *fact* what is true of data or network without being harmful
by itself. Nearly every code has a program that shows it: `python examples/findings.py CODE`. `train`, `mlp`, `sgd`,
`TRAIN` and `HELD_OUT` in the pieces below are those of [examples/findings.py](../examples/findings.py); `train` is the
loop that everyone writes, watched.
"""


def page() -> str:
    """The whole page."""
    known, shown = entries(), examples()
    parts = [HEAD]
    for family, codes in FAMILIES.items():
        parts.append(f"- {family}: " + ", ".join(f"[{code}](#{code})" for code in codes))
    for family, codes in FAMILIES.items():
        parts.append(f"\n## {family.capitalize()}")
        parts += [section(known[code], shown.get(code, "")) for code in codes]
    return "\n".join(parts) + "\n"


def section(entry: Entry, example: str) -> str:
    """A code's entry."""
    lines = [f"\n### {entry.code}\n", f"**{entry.title}.** *{entry.kind.capitalize()}.* {entry.looks}\n"]
    lines += [f"*Why.* {entry.cause}\n", "*What helps, in this order.*\n"]
    lines += [f"{number}. {remedy}" for number, remedy in enumerate(entry.remedies, 1)]
    if entry.formula:
        lines.append(f"\n`{entry.formula}`")
    if example:
        lines.append(f"\n```py\n{example}\n```")
    see = ", ".join(f"[{code}](#{code})" for code in entry.see)
    return "\n".join([*lines, f"\n*Source:* {entry.source}." + (f" *See also:* {see}." if see else "")])


def examples() -> dict[str, str]:
    """Code → the body of its example."""
    text = EXAMPLES.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "example":
                    (code,) = (argument.value for argument in mark.args if isinstance(argument, ast.Constant))
                    body = lines[node.body[0].lineno - 1 : node.end_lineno]
                    found[str(code)] = "\n".join(line.removeprefix("    ") for line in body)
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
