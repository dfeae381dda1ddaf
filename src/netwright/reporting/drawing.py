"""A network's sheet as one HTML page: the drawing, totals, advice, the table. No other file, no script, no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from netwright import __version__
from netwright.records import LayerRow, Section, Sheet, shape_text
from netwright.reporting import formatting, sheets
from netwright.reporting.charts import escaped, tag

WIDE, HIGH, GAP_X, GAP_Y = 244, 52, 24, 26
MOST_DRAWN = 1500
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# What is drawn inside the box of the layer before it, where nothing else reads between them.
ATTACHED = frozenset(
    """batch_norm layer_norm group_norm instance_norm local_response_norm relu relu6 gelu silu sigmoid tanh leaky_relu
    hardswish hardsigmoid elu prelu softmax dropout""".split()  # noqa: SIM905
)


@dataclasses.dataclass
class Box:
    """A layer and what is attached to it."""

    rows: list[LayerRow]
    parents: list[int] = dataclasses.field(default_factory=list)
    level: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def macs(self) -> float:
        return sum(row.share_macs for row in self.rows)

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)


def page(sheet: Sheet, closer: Sequence[Section] = ()) -> str:
    """The whole page as text; some 1 kB a layer, and the sections of a closer look."""
    rows = sheets.shown(sheet)
    figures = "".join(
        tag("tr", tag("th", escaped(name)) + tag("td", escaped(text))) for name, text in sheets.totals(sheet)
    )
    notes = "".join(tag("p", escaped(text), class_="note") for text in sheets.notes(sheet))
    advice = "".join(_advice(sheet))
    inputs = ", ".join(f"{name} {shape_text(shape)}" for name, shape in sheet.inputs.items())
    outputs = ", ".join(shape_text(shape) for shape in sheet.outputs.values())
    body = [
        tag("h1", escaped(sheet.network)), tag("p", escaped(f"{inputs} → {outputs}"), class_="lead"),
        tag("table", figures, class_="figures"), notes,
        tag("h2", "Advice") + tag("ul", advice) if advice else "",
        "".join(_section(section) for section in closer),
        tag("h2", "Drawing"), _legend(), tag("div", drawing(sheet), class_="wide"),
        tag("h2", "Layers"), tag("div", _table(rows), class_="wide"),
        tag("footer", escaped(f"netwright {__version__}")),
    ]  # fmt: skip
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escaped(sheet.network)}</title><style>{STYLE}</style>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(body)}</main></body></html>'


def _advice(sheet: Sheet) -> list[str]:
    return [
        tag("li", f"{tag('b', escaped(one.code))} {escaped(sheets.said(one))}"
            + tag("div", escaped(", ".join(one.layers[:12]) + (" …" if len(one.layers) > 12 else "")), class_="where"))
        for one in sheet.advice
    ]  # fmt: skip


def _section(section: Section) -> str:
    parts = [tag("h2", escaped(section.title)), *(tag("p", escaped(line)) for line in section.lines)]
    figures = [
        tag("figure", f'<img src="data:image/png;base64,{escaped(png)}" alt="{escaped(caption)}">'
            + tag("figcaption", escaped(caption)))
        for caption, png in section.pictures
    ]  # fmt: skip
    figures += [
        tag(
            "figure",
            _histogram(counts, edges) + tag("figcaption", escaped(f"{name}: {edges[0]:.3g} to {edges[-1]:.3g}")),
        )
        for name, counts, edges in section.histograms
        if sum(counts)
    ]
    if figures:
        parts.append(tag("div", "".join(figures), class_="pictures"))
    if section.rows:
        head = tag("tr", "".join(tag("th", escaped(name)) for name in section.columns))
        rows = "".join(tag("tr", "".join(tag("td", escaped(cell)) for cell in row)) for row in section.rows)
        parts.append(tag("div", tag("table", tag("thead", head) + tag("tbody", rows), class_="layers"), class_="wide"))
    return "".join(parts)


def _histogram(counts: Sequence[int], edges: Sequence[float]) -> str:
    """Bars over the values, zero marked: how the weights lie."""
    wide, high, most = 200.0, 60.0, max(counts)
    step = wide / len(counts)
    bars = "".join(
        tag("rect", x=f"{place * step:.1f}", y=f"{high * (1 - count / most):.1f}", width=f"{step * 0.9:.2f}",
            height=f"{high * count / most:.1f}", class_="bar")
        for place, count in enumerate(counts)
    )  # fmt: skip
    zero = ""
    if edges[0] < 0 < edges[-1]:
        at = wide * -edges[0] / (edges[-1] - edges[0])
        zero = tag("line", x1=f"{at:.1f}", x2=f"{at:.1f}", y1=0, y2=f"{high:g}", class_="edge")
    return tag("svg", bars + zero, viewBox=f"0 0 {wide:g} {high:g}", width=200, height=60, role="img",
               aria_label="distribution")  # fmt: skip


def _legend() -> str:
    steps = "".join(
        tag("span", text, class_=f"key heat{level}") for level, text in enumerate(("0", "2 %", "5 %", "10 %", "20 %"))
    )
    return tag("p", f"Share of the multiply-adds: {steps}", class_="legend")


def _table(rows: Sequence[LayerRow]) -> str:
    head = tag("tr", "".join(
        tag("th", escaped(name), class_="number" if name in sheets.NUMBERS else "text") for name in sheets.COLUMNS
    ))  # fmt: skip
    lines = []
    for row in rows:
        cells = zip(sheets.COLUMNS, sheets.cells(row), strict=True)
        lines.append(tag("tr", "".join(
            tag("td", escaped(text), class_="number" if name in sheets.NUMBERS else "text") for name, text in cells
        ), class_=f"heat{_heat(row.share_macs)}"))  # fmt: skip
    return tag("table", tag("thead", head) + tag("tbody", "".join(lines)), class_="layers")


# ------------------------------------------------------------------------------------------------ the drawing


def drawing(sheet: Sheet) -> str:
    """The network from top to bottom as SVG: a box a layer, its cost as colour, an arrow a tensor."""
    boxes = layout(sheet)
    if len(boxes) > MOST_DRAWN:
        return tag("p", escaped(f"{len(boxes)} layers are too many to draw: the table below has them."))
    width = max((box.x + WIDE for box in boxes), default=WIDE) + GAP_X
    height = max((box.y + HIGH for box in boxes), default=HIGH) + GAP_Y
    edges = [_edge(boxes[parent], box) for box in boxes for parent in box.parents]
    content = "".join(edges) + "".join(_box(box) for box in boxes)
    return tag(
        "svg", content, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:g} {height:g}", width=f"{width:g}",
        height=f"{height:g}", role="img", aria_label=f"drawing of {sheet.network}",
    )  # fmt: skip


def layout(sheet: Sheet) -> list[Box]:
    """Boxes with places: a level is the longest way from the input, boxes of a level stand side by side."""
    boxes: list[Box] = [
        Box([LayerRow(name=name, kind="input", output_shape=shape)]) for name, shape in sheet.inputs.items()
    ]
    owner = {
        box.rows[0].name: [place] for place, box in enumerate(boxes)
    }  # a row's name → the boxes that it stands for
    readers: dict[str, int] = {}
    for row in sheet.layers:
        for name in row.inputs:
            readers[name] = readers.get(name, 0) + 1
    for row in sheet.layers:
        parents = list(dict.fromkeys(place for name in row.inputs for place in owner.get(name, [])))
        if row.kind in sheets.PLUMBING and not row.parameters:
            owner[row.name] = parents  # seen through
            continue
        last = boxes[parents[0]] if len(parents) == 1 else None
        alone = last is not None and last.rows[-1].name in row.inputs and readers.get(last.rows[-1].name) == 1
        if last is not None and alone and row.kind in ATTACHED and last.rows[0].kind != "input" and len(last.rows) < 4:
            last.rows.append(row)
            owner[row.name] = parents
            continue
        boxes.append(Box([row], parents, 1 + max((boxes[place].level for place in parents), default=-1)))
        owner[row.name] = [len(boxes) - 1]
    _place(boxes)
    return boxes


def _place(boxes: list[Box]) -> None:
    """A box stands below the middle of its parents, boxes of a level in the order of theirs."""
    levels: dict[int, list[Box]] = {}
    for box in boxes:
        levels.setdefault(box.level, []).append(box)
    middle: dict[int, float] = {}
    for level in sorted(levels):
        row = levels[level]
        wanted = [
            (sum(middle[parent] for parent in box.parents) / len(box.parents) if box.parents else 0.0, place)
            for place, box in enumerate(row)
        ]
        order = sorted(range(len(row)), key=lambda place: wanted[place])
        center = sum(value for value, _ in wanted) / len(row)
        step = WIDE + GAP_X
        for rank, place in enumerate(order):
            row[place].x = center + (rank - (len(row) - 1) / 2) * step
            row[place].y = GAP_Y + level * (HIGH + GAP_Y)
        for place, box in enumerate(boxes):
            if box.level == level:
                middle[place] = box.x
    left = min((box.x for box in boxes), default=0.0)
    for box in boxes:
        box.x += 100 - left  # room for long arrows


def _edge(source: Box, target: Box) -> str:
    x1, y1 = source.x + WIDE / 2, source.y + HIGH
    x2, y2 = target.x + WIDE / 2, target.y
    if target.level - source.level <= 1:
        middle = (y1 + y2) / 2
        path = f"M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
    else:  # past the boxes between
        far = min(source.x, target.x) - 14 - min(4 * (target.level - source.level), 90)  # longer ways lie further out
        y1, y2 = source.y + HIGH * 0.7, target.y + HIGH * 0.3
        path = f"M{source.x:g} {y1:g}C{far:g} {y1:g} {far:g} {y2:g} {target.x:g} {y2:g}"
    return tag("path", d=path, class_="edge")


def _box(box: Box) -> str:
    row, last = box.rows[0], box.rows[-1]
    field, _ = sheets.field_text(last.receptive_field)
    kinds = " · ".join(_kind(one) for one in box.rows)
    cost = [shape_text(last.output_shape[1:]) or "1"]
    cost += [f"{_abbreviated(box.parameters)} par."] if box.parameters else []
    cost += [f"{100 * box.macs:.1f} %"] if box.macs >= 0.0005 else []
    cost += [f"⊡ {field}"] if field else []
    hint = "\n".join(
        f"{one.name}: {one.kind}, {formatting.count(one.parameters)} parameters, {formatting.count(one.macs)} MACs"
        for one in box.rows
    )
    texts = [
        tag("title", escaped(hint)),
        tag("rect", x=f"{box.x:g}", y=f"{box.y:g}", width=WIDE, height=HIGH, rx=6,
            class_=f"box heat{_heat(box.macs)}" + ("" if all(one.followed for one in box.rows) else " unknown")),
        _text(box, 15, _tail(row.name, 34), "name"),
        _text(box, 29, formatting.clipped(kinds, 42), "kind"),
        _text(box, 44, formatting.clipped(" · ".join(cost), 48), "cost"),
    ]  # fmt: skip
    return tag("g", "".join(texts))


def _abbreviated(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _tail(text: str, most: int) -> str:
    """The end of a path says more than its beginning."""
    return text if len(text) <= most else "…" + text[1 - most :]


def _kind(row: LayerRow) -> str:
    found = row.attributes
    if "kernel" not in found:
        return row.kind
    kernel = "×".join(map(str, found["kernel"]))
    stride = f"/{max(found['stride'])}" if max(found["stride"]) > 1 else ""
    groups = f" g{found['groups']}" if found.get("groups", 1) > 1 else ""
    return f"{row.kind} {kernel}{stride}{groups}"


def _text(box: Box, down: float, text: str, kind: str) -> str:
    return tag("text", escaped(text), x=f"{box.x + 9:g}", y=f"{box.y + down:g}", class_=kind)


def _heat(share: float) -> int:
    return sum(share >= limit for limit in (0.02, 0.05, 0.1, 0.2))


STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#667085;--line:#d5dae2;--page:#fff;--box:#f6f7f9;
--h1:#eaf1fb;--h2:#fdf0d5;--h3:#fbd9b5;--h4:#f5b7a3}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a2b3;--line:#3a4354;--page:#12161d;--box:#1b212b;
--h1:#1d2b40;--h2:#43371c;--h3:#5a3c1d;--h4:#6e3527}}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px}
h1{margin:0;font-size:26px}h2{margin:32px 0 8px;font-size:18px}
.lead,.legend,.where,footer{color:var(--dim)}.where{font-size:13px;overflow-wrap:anywhere}
.note{border-left:3px solid #d9a441;padding-left:10px}
li{margin-bottom:8px}
.figures th{text-align:left;font-weight:400;color:var(--dim);padding-right:16px;vertical-align:top;white-space:nowrap}
.wide svg{display:block;margin:0 auto}.wide{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
.layers{border-collapse:collapse;font-size:13px;width:100%}
.layers th,.layers td{padding:3px 10px;text-align:left;white-space:nowrap}
.layers th{color:var(--dim);font-weight:400;border-bottom:1px solid var(--line)}
.layers .number{text-align:right;font-variant-numeric:tabular-nums}
.key{padding:2px 10px;border:1px solid var(--line);border-radius:4px;margin-right:4px}
.box{fill:var(--box);stroke:var(--line)}.unknown{stroke:#c0392b;stroke-dasharray:4 3}
.edge{fill:none;stroke:var(--dim);stroke-width:1.2}
text{fill:var(--ink);font:12px system-ui,sans-serif}.name{font-weight:600}.kind,.cost{fill:var(--dim);font-size:11px}
.heat1{fill:var(--h1)}.heat2{fill:var(--h2)}.heat3{fill:var(--h3)}.heat4{fill:var(--h4)}
tr.heat1,.key.heat1{background:var(--h1)}tr.heat2,.key.heat2{background:var(--h2)}
tr.heat3,.key.heat3{background:var(--h3)}tr.heat4,.key.heat4{background:var(--h4)}
.pictures{display:flex;flex-wrap:wrap;gap:16px;align-items:flex-end}figure{margin:0}
figure img{max-width:100%;image-rendering:pixelated;border-radius:4px}
figcaption{color:var(--dim);font-size:12px;max-width:320px;overflow-wrap:anywhere}.bar{fill:#5b8bd0}
footer{margin-top:32px;font-size:13px}
"""
