"""A network's sheet as a table in a terminal, as Markdown, CSV and HTML, and two of them side by side. No torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from netwright.records import Advice, LayerRow, Sheet, shape_text
from netwright.reporting import formatting

if TYPE_CHECKING:
    from rich.console import RenderableType

# Rows that only show the same values in another shape: left out of tables unless all are asked for.
PLUMBING = frozenset(("reshape", "permute", "alias", "slice", "expand", "split", "cast", "unbind", "assign", "dropout"))
COLUMNS = ("layer", "kind", "output", "parameters", "MACs", "share", "field", "stride", "bytes out")
NUMBERS = COLUMNS[3:]


def shown(sheet: Sheet, *, everything: bool = False, depth: int = 0) -> list[LayerRow]:
    """The rows of a table: all operations, those that compute something, or one a module down to ``depth``."""
    rows = [row for row in sheet.layers if everything or row.kind not in PLUMBING or row.parameters or row.macs]
    return _by_module(rows, depth) if depth else rows


def _by_module(rows: Sequence[LayerRow], depth: int) -> list[LayerRow]:
    """Sums over the modules ``depth`` levels down; the last operation gives shape and field."""
    groups: dict[str, list[LayerRow]] = {}
    for row in rows:
        path = ".".join((row.module or row.name).split(".")[:depth])
        groups.setdefault(path, []).append(row)
    summed = (
        "parameters", "trainable", "macs", "flops", "elementwise", "weight_bytes", "bytes_moved", "share_macs",
        "share_parameters", "share_memory",
    )  # fmt: skip
    found = []
    for path, members in groups.items():
        last = members[-1]
        totals = {key: sum(getattr(row, key) for row in members) for key in summed}
        kinds = list(dict.fromkeys(row.kind for row in members))
        found.append(
            LayerRow(
                name=path, kind=kinds[0] if len(kinds) == 1 else f"{len(members)} operations",
                output_shape=last.output_shape, output_bytes=last.output_bytes, receptive_field=last.receptive_field,
                followed=all(row.followed for row in members), **totals,
                intensity=totals["flops"] / totals["bytes_moved"] if totals["bytes_moved"] else 0.0,
            )
        )  # fmt: skip
    return found


def cells(row: LayerRow) -> tuple[str, ...]:
    """One row as text, in the order of ``COLUMNS``."""
    return (
        row.name,
        row.kind if row.followed else f"{row.kind} (not followed)",
        shape_text(row.output_shape),
        formatting.count(row.parameters) if row.parameters else "",
        formatting.count(row.macs) if row.macs else "",
        f"{100 * row.share_macs:.1f} %" if row.macs else "",
        *field_text(row.receptive_field),
        formatting.size(row.output_bytes),
    )


def field_text(field: dict[str, Any] | None) -> tuple[str, str]:
    """Size and stride of a receptive field: ``43×43``, ``188|204`` by phase, ``all``, ``?``; ``≠`` where misaligned."""
    if field is None:
        return "", ""
    if field["unknown"]:
        return "?", "?"
    sizes = []
    for size, whole, phases in zip(field["size"], field["whole"], field["phases"], strict=True):
        sizes.append("all" if whole else "|".join(map(str, phases)) if len(phases) > 1 else str(size))
    strides = ["" if stride is None else f"{stride:g}" for stride in field["stride"]]
    mark = "" if field["aligned"] else " ≠"
    return _each(sizes) + mark, _each(strides)


def _each(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 and values[0] in ("all", "") else "×".join(values)


def totals(sheet: Sheet) -> list[tuple[str, str]]:
    """What the whole network costs, a line each."""
    found = sheet.totals
    lines = [
        ("parameters", _with(found["parameters"], _parts(found))),
        ("MACs", f"{formatting.count(found['macs'])} ({formatting.count(found['flops'])} FLOPs)"),
        ("weights", formatting.size(found["weight_bytes"])),
        ("activations", f"{formatting.size(found['activation_bytes'])} at most at once{_in(found['peak_at'])}"),
        ("moved", f"{formatting.size(found['bytes_moved'])}, {found['intensity']:.1f} FLOPs a byte"),
    ]
    if sheet.training:
        part = sheet.training
        parts = ", ".join(
            f"{name.replace('optimizer_', 'optimiser ')} {formatting.size(size)}"
            for name, size in part["at_peak"].items()
            if size
        )
        lines.append((
            "training",
            f"{formatting.size(part['peak'])} with {part['optimizer']} and batch {part['batch']}, in the {part['at']}:"
            f" {parts}",
        ))  # fmt: skip
    return lines


def _in(where: str) -> str:
    return f", in {where}" if where else ""


def _with(number: int, more: str) -> str:
    return f"{formatting.count(number)}{f' ({more})' if more else ''}"


def _parts(found: dict[str, Any]) -> str:
    names = {"frozen": "frozen", "unused": "unused", "buffers": "values in buffers"}
    return ", ".join(f"{formatting.count(found[name])} {text}" for name, text in names.items() if found[name])


def notes(sheet: Sheet) -> list[str]:
    """What has to be said beside the table."""
    lines = list(sheet.notes)
    if sheet.unfollowed:
        lines.append(f"not followed, so that nothing is concluded about them: {', '.join(sheet.unfollowed)}")
    if sheet.executed == "values":
        lines.append(
            "the network looks at values: it was run once with random ones, and another input may go other ways"
        )
    lost = {row.receptive_field["unknown"] for row in sheet.layers if row.receptive_field} - {"", *sheet.unfollowed}
    if lost:
        lines.append(f"?: nothing is said of the field behind {', '.join(sorted(lost)[:3])}")
    where = {row.receptive_field["misaligned_at"] for row in sheet.layers if row.receptive_field} - {""}
    if where:
        lines.append(f"≠: paths that meet in {', '.join(sorted(where)[:3])} look at places that are not the same")
    return lines


# ------------------------------------------------------------------------------------------------ terminal


def table(sheet: Sheet, *, everything: bool = False, depth: int = 0) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in COLUMNS:
        made.add_column(name, justify="right" if name in NUMBERS else "left", overflow="fold")
    for row in shown(sheet, everything=everything, depth=depth):
        heavy = row.share_macs >= 0.1
        styles = ("bold" if heavy else "", "red" if not row.followed else "dim", "", "", "", _heat(row.share_macs))
        texts = cells(row)
        made.add_row(*(Text(text, style) for text, style in zip(texts, (*styles, "", "", ""), strict=True)))
    return made


def _heat(share: float) -> str:
    return "red" if share >= 0.2 else "yellow" if share >= 0.1 else ""


def summary(sheet: Sheet) -> RenderableType:
    """Network, input, totals, notes and advice."""
    from rich.console import Group
    from rich.text import Text

    inputs = ", ".join(f"{name} {shape_text(shape)}" for name, shape in sheet.inputs.items())
    outputs = ", ".join(shape_text(shape) for shape in sheet.outputs.values())
    lines = [Text.assemble((sheet.network, "bold"), f"  {inputs} → {outputs}")]
    lines += [Text.assemble((name.ljust(12), "dim"), text) for name, text in totals(sheet)]
    lines += [Text.assemble(("note".ljust(12), "yellow"), text) for text in notes(sheet)]
    lines += [Text.assemble(("advice".ljust(12), "cyan"), (advice.code, "bold"), f"  {said(advice)}")
              for advice in sheet.advice]  # fmt: skip
    return Group(*lines)


def said(advice: Advice) -> str:
    """One piece of advice as a sentence with its figures."""
    figures = [
        f"{name.replace('_', ' ')} {formatting.count(int(advice.before[name]))} → {formatting.count(int(after))}"
        for name, after in advice.after.items()
    ]
    return f"{advice.seen}; {advice.advice} ({', '.join(figures)})"


# ------------------------------------------------------------------------------------------------ texts


def markdown(sheet: Sheet, *, everything: bool = False, depth: int = 0) -> str:
    rows = [cells(row) for row in shown(sheet, everything=everything, depth=depth)]
    inputs = ", ".join(f"`{name}` {shape_text(shape)}" for name, shape in sheet.inputs.items())
    lines = [f"# {sheet.network}", "", inputs, "", *_markdown(COLUMNS, rows), ""]
    lines += [f"- {name}: {text}" for name, text in totals(sheet)]
    lines += [f"- note: {text}" for text in notes(sheet)]
    lines += [f"- **{advice.code}**: {said(advice)}" for advice in sheet.advice]
    return "\n".join(lines) + "\n"


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    sides = ["---:" if name in NUMBERS else "---" for name in columns]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return [_bar(columns), _bar(sides), *(_bar(row) for row in escaped)]


def plain_markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return _markdown(columns, rows)


def plain_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    return stream.getvalue()


def _bar(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


CSV_COLUMNS = (
    "name", "kind", "module", "output_shape", "parameters", "trainable", "macs", "flops", "elementwise",
    "weight_bytes", "output_bytes", "bytes_moved", "intensity", "share_macs", "field_size", "field_stride",
    "field_offset", "field_aligned", "followed",
)  # fmt: skip


def as_csv(sheet: Sheet, *, everything: bool = False, depth: int = 0) -> str:
    """Plain numbers, shapes as ``1x64x56x56``; one row a layer."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in shown(sheet, everything=everything, depth=depth):
        field = row.receptive_field or {"size": (), "stride": (), "offset": (), "aligned": True}
        values: dict[str, Any] = {
            "output_shape": "x".join(map(str, row.output_shape)),
            "field_size": _numbers(field["size"]),
            "field_stride": _numbers(field["stride"]),
            "field_offset": _numbers(field["offset"]),
            "field_aligned": field["aligned"],
        }
        writer.writerow([values.get(name, getattr(row, name, "")) for name in CSV_COLUMNS])
    return stream.getvalue()


def _numbers(values: Sequence[float | None]) -> str:
    return "x".join("" if value is None else f"{value:g}" for value in values)


# ------------------------------------------------------------------------------------------------ two networks

DIFFERENCES = ("parameters", "macs", "weight_bytes", "activation_bytes", "bytes_moved", "operations")


def difference(first: Sheet, second: Sheet) -> dict[str, Any]:
    """Totals side by side, and layers that are in one only, or differ in kind, shape, parameters or MACs."""
    keys = ("kind", "output_shape", "parameters", "macs")
    left, right = ({row.name: row for row in sheet.layers} for sheet in (first, second))
    changed = {
        name: {key: [getattr(row, key), getattr(right[name], key)] for key in keys
               if getattr(row, key) != getattr(right[name], key)}
        for name, row in left.items() if name in right
    }  # fmt: skip
    return {
        "first": first.network,
        "second": second.network,
        "totals": {key: [first.totals[key], second.totals[key]] for key in DIFFERENCES},
        "only_first": [name for name in left if name not in right],
        "only_second": [name for name in right if name not in left],
        "changed": {name: change for name, change in changed.items() if change},
    }


def difference_tables(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    names = [found["first"], found["second"]]
    if names[0] == names[1]:
        names = ["first", "second"]
    sums = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("", *names, "ratio"):
        sums.add_column(column, justify="left" if not column else "right")
    for key, (one, other) in found["totals"].items():
        text = formatting.size if key.endswith(("bytes", "moved")) else formatting.count
        sums.add_row(key.replace("_", " "), text(one), text(other), f"{other / one:.3f}" if one else "")
    layers = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("layer", "", *names):
        layers.add_column(column, overflow="fold")
    for name, changes in found["changed"].items():
        for key, (one, other) in changes.items():
            layers.add_row(Text(name), key.replace("_", " "), _value(one), _value(other))
    parts: list[Any] = [sums]
    if found["changed"]:
        parts += ["", layers]
    for key, name in (("only_first", names[0]), ("only_second", names[1])):
        if found[key]:
            parts += ["", Text(f"only in {name}: {', '.join(found[key])}")]
    return Group(*parts)


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return shape_text(value)
    return formatting.count(value) if isinstance(value, int) else str(value)
