"""The ledger of a compression: what every pass cost and brought, as rows, a table and two pictures. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from netwright.records import CompressionStep, Latency
from netwright.reporting import charts, formatting, sentences
from netwright.reporting.contents import Contents
from netwright.reporting.pieces import Section

if TYPE_CHECKING:
    from rich.console import RenderableType

DETAIL = "compression"
COLUMNS = ("pass", "score", "parameters", "MACs", "file", "memory", "latency", "")
START = "before"


def steps_of(kept: Mapping[str, Any] | None) -> tuple[CompressionStep, ...]:
    """The rows in a run's database."""
    return tuple(CompressionStep.from_dict(row) for row in (kept or {}).get("steps", ()))


def rows(steps: Sequence[CompressionStep]) -> list[tuple[str, ...]]:
    """A row of texts for the network as it was, and for each pass; see ``COLUMNS``."""
    if not steps:
        return []
    found = [_row(START, steps[0], 0, "")]
    for step in steps:
        verdict = "undone" if step.undone else ", ".join(step.gains) or "wins nothing"
        found.append(_row(step.step, step, 1, verdict))
    return found


def _row(name: str, step: CompressionStep, side: int, verdict: str) -> tuple[str, ...]:
    metrics = step.metrics[side]
    score = telling(metrics)
    parameters = formatting.count(step.parameters[side])
    if 0 < step.nonzero[side] < 0.98 * step.parameters[side]:
        parameters = f"{parameters} ({formatting.count(step.nonzero[side])} not 0)"
    return (
        name, formatting.metric(score, metrics[score]) if score else formatting.MISSING, parameters,
        formatting.count(step.macs[side]), formatting.size(step.file_bytes[side]),
        formatting.size(step.memory_bytes[side] or None), latency_text(step.latency[side]), verdict,
    )  # fmt: skip


def telling(metrics: Mapping[str, float]) -> str:
    """The metric that stands for the others."""
    others = {name: value for name, value in metrics.items() if name != "loss"}
    return sentences.telling(others) or ("loss" if "loss" in metrics else "")


def latency_text(latency: Latency | None) -> str:
    """``0.78 ms``"""
    if latency is None:
        return formatting.MISSING
    return f"{formatting.number(latency.median_ms, 3)} ms"


def measured_in(steps: Sequence[CompressionStep]) -> str:
    """Where the latencies are from: runtime, processor, threads, batch."""
    for step in steps:
        for latency in step.latency[::-1]:
            if latency is not None:
                threads = formatting.plural(latency.threads, "thread")
                return f"{latency.runtime}, {threads}, batch {latency.batch}, {latency.processor}"
    return ""


def table(steps: Sequence[CompressionStep]) -> RenderableType:
    """For the terminal."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    metric = telling(steps[0].metrics[0]) if steps else ""
    for column in COLUMNS:
        title = formatting.metric_name(metric) if column == "score" and metric else column
        made.add_column(title, justify="left" if column in ("pass", "") else "right", overflow="fold")
    for cells in rows(steps):
        made.add_row(*(Text(cell) for cell in cells))
    return made


def compression(contents: Contents) -> Section | None:
    """The section of a report."""
    steps = steps_of(contents.compression)
    if not steps:
        return None
    kept = contents.compression or {}
    lead = [f"Made of {kept.get('parent')} by {kept.get('chain')}."] if kept.get("parent") else []
    if where := measured_in(steps):
        lead.append(f"Latencies are medians, measured here in {where}.")
    metric = telling(steps[0].metrics[0])
    title = formatting.metric_name(metric) if metric else ""
    head = [title if column == "score" else column for column in COLUMNS]
    return {
        "lead": lead, "columns": head, "rows": rows(steps), "charts": pictures(steps),
        "notes": [{"step": step.step, "note": step.note} for step in steps if step.note],
    }  # fmt: skip


def pictures(steps: Sequence[CompressionStep]) -> list[Section]:
    """The score against file size and against latency, from pass to pass."""
    metric = telling(steps[0].metrics[0])
    going = [step for step in steps if not step.undone]
    if not metric or not going:
        return []
    scores = [going[0].metrics[0].get(metric), *(step.metrics[1].get(metric) for step in going)]
    sizes: list[float] = [going[0].file_bytes[0] / 1e3, *(step.file_bytes[1] / 1e3 for step in going)]
    found = [_picture(f"{formatting.metric_name(metric)} and file size", "file size in kB", metric, sizes, scores)]
    times = [going[0].latency[0], *(step.latency[1] for step in going)]
    known = [(1e3 * each.median_ms, score) for each, score in zip(times, scores, strict=True) if each is not None]
    if len(known) > 1:
        xs, ys = zip(*known, strict=True)
        found.append(_picture(f"{formatting.metric_name(metric)} and latency", "latency in µs", metric, xs, ys))
    return found


def _picture(title: str, x_title: str, metric: str, xs: Sequence[float], ys: Sequence[float | None]) -> Section:
    line = charts.Line("pass by pass", list(xs), list(ys), "validation")
    share = formatting.is_share(metric)
    svg = charts.line_chart([line], label=title, x_title=x_title, share=share, log=False)
    return {"title": title, "legend": "", "svg": Markup(svg)}
