"""Records as tables and lines in a terminal; plain columns where the output goes elsewhere. No torch.

Each function returns something that ``show`` prints; nothing here decides between stdout and stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from netwright.diagnosis import telling
from netwright.diagnosis.judging import Diagnosis
from netwright.errors import NetwrightError
from netwright.records import RunSummary
from netwright.reporting import formatting, sentences
from netwright.reporting.progress import TONES, metrics_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PLAIN_WIDTH = 240  # columns where there is no terminal to say how many it has
STATES = {"finished": "green", "running": "cyan", "interrupted": "yellow", "empty": "dim", "damaged": "red"}


def console(stream: IO[str] | None = None) -> Console:
    from rich.console import Console

    stream = sys.stdout if stream is None else stream
    plain = not stream.isatty()
    return Console(file=stream, highlight=False, width=PLAIN_WIDTH if plain else None, no_color=plain or None)


def show(what: RenderableType, stream: IO[str] | None = None) -> None:
    """Print a table or a panel on ``stream`` (stdout)."""
    console(stream).print(what)


def _table(columns: Sequence[tuple[str, str]]) -> Table:
    """A table with the named columns, each ``left`` or ``right``; no frame, so that it can be copied and piped."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name, side in columns:
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    return table


def _text(value: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(value, style=style)


# ------------------------------------------------------------------------------------------------ tables


def runs(summaries: Sequence[RunSummary]) -> RenderableType:
    """``netwright runs``."""
    from rich.text import Text

    if not summaries:
        return Text("No runs yet. Try: netwright train digits", style="dim")
    made = [("compressed", "")] if any(run.parent for run in summaries) else []
    table = _table(
        [("run", ""), ("state", ""), ("data", ""), ("network", ""), *made, ("epochs", "right"), ("held out", ""),
         ("time", "right"), ("size", "right"), ("started", "")]
    )  # fmt: skip
    for run in summaries:
        part, metrics = sentences.spoken_for(run.metrics)
        reading = f"{metrics_text(metrics)} ({part})" if part else formatting.MISSING
        if run.state == "damaged":
            reading = formatting.clipped(run.source, 80)
        table.add_row(
            _text(run.name, "bold"),
            _text(run.state, STATES[run.state]),
            _text("" if run.state == "damaged" else formatting.clipped(run.source, 32)),
            _text(formatting.clipped(run.network, 32)),
            *[_text(formatting.clipped(made_by(run), 60)) for _ in made],
            str(run.epochs),
            _text(reading),
            formatting.duration(run.seconds),
            formatting.size(run.bytes),
            run.started.replace("T", " "),
        )
    return table


def made_by(run: RunSummary) -> str:
    """How a compressed run was made: ``digits-0001: prune=channels:macs=0.5 heal=2``."""
    return f"{run.parent}: {run.chain}" if run.parent else ""


def difference(changes: Mapping[str, tuple[Any, ...]], *names: str) -> RenderableType:
    """The keys in which recipes differ, with the value of each."""
    from rich.text import Text

    if not changes:
        return Text("The recipes are equal.", style="dim")
    names = names or ("first", "second")
    table = _table([("key", ""), *((name, "") for name in names)])
    for key, (first, *others) in changes.items():
        told = [_text(formatting.value_text(value), "bold" if value != first else "") for value in others]
        table.add_row(_text(key), _text(formatting.value_text(first)), *told)
    return table


def environment(report: Mapping[str, Any]) -> RenderableType:
    """``netwright env``: what is installed and what can be used."""
    from rich.console import Group

    facts, sections = _table([("what", ""), ("value", "")]), []
    facts.show_header = False
    for key, value in report.items():
        entries = value if isinstance(value, Mapping) else {}
        if entries and all(isinstance(entry, Mapping) and "usable" in entry for entry in entries.values()):
            sections.append(_usable(key, entries))
        elif entries:
            listed = ", ".join(f"{name} {formatting.value_text(item)}" for name, item in entries.items())
            facts.add_row(_text(key, "dim"), _text(listed))
        else:
            facts.add_row(_text(key, "dim"), _text(formatting.value_text(value)))
    return Group(facts, *(part for section in sections for part in ("", section)))


def _usable(title: str, entries: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table([(title, ""), ("usable", ""), ("", "")])
    for name, entry in entries.items():
        usable = bool(entry["usable"])
        found = [f"{module} {version}" for module, version in (entry.get("versions") or {}).items()]
        words = [
            entry.get("purpose"),
            entry.get("detail") or (", ".join(found) if usable else entry.get("install")),
            entry.get("bf16") and f"bf16 {entry['bf16']}",
        ]
        known = "; ".join(str(word) for word in words if word)
        table.add_row(_text(name), _text("yes" if usable else "no", "green" if usable else "dim"), _text(known))
    return table


# ------------------------------------------------------------------------------------------------ after training


def diagnosis(judged: Diagnosis) -> RenderableType:
    """``netwright diagnose``."""
    return told(telling.whole(judged))


def told(lines: Sequence[telling.Line]) -> RenderableType:
    from rich.console import Group

    return Group(*(_text(line.text, TONES.get(line.tone, "")) for line in lines))


def summary(run: RunSummary, *, report: str = "", judged: Diagnosis | None = None) -> RenderableType:
    """What is printed when a training is over: the sentence, the numbers, where to look."""
    from rich.console import Group

    table = _table([("", ""), ("", "")])
    table.show_header = False
    for part, metrics in run.metrics.items():
        table.add_row(_text(part, "dim"), _text(metrics_text(metrics, most=6 if "naive_mae" in metrics else 4)))
    table.add_row(_text("run", "dim"), _text(run.directory))
    if report:
        table.add_row(_text("report", "dim"), _text(report))
    parts: list[Any] = ["", _text(_sentence(run), "bold"), table]
    if judged is not None:
        parts += ["", told([telling.verdict(judged), *telling.tree(judged.findings)])]
    return Group(*parts, "")


def _sentence(run: RunSummary) -> str:
    """The report's headline; what its directory does not say is not claimed."""
    from netwright.reporting import contents, heading  # with NumPy, for which a listing should not wait

    try:
        return heading.headline(contents.read(Path(run.directory)))
    except NetwrightError:
        return sentences.headline(run)
