"""Latencies as a picture: a bar an example for each runtime, grouped by batch size, with the spread. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from netwright.records import Latency
from netwright.reporting.charts import escaped, tag

WIDTH, BAR, GAP, LEFT, RIGHT, TOP = 640.0, 18.0, 6.0, 130.0, 110.0, 46.0
COLOURS = ("#3b6ea5", "#d9822b", "#4c9f70", "#8e5ea2", "#b04a4a", "#5f7d8c", "#a08a2e", "#7a7a7a")
STYLE = """text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:14px;font-weight:600}.dim{fill:#777}
.whisker{stroke:#333;stroke-width:1}.axis{stroke:#ccc;stroke-width:1}
@media(prefers-color-scheme:dark){text{fill:#ddd}.dim{fill:#999}.whisker{stroke:#ddd}.axis{stroke:#555}}"""


def picture(title: str, bars: Sequence[tuple[str, Latency]]) -> str:
    """An SVG file of its own: milliseconds an example on a logarithmic axis, bars from the quantile 0.1 to 0.9."""
    if not bars:
        return tag("svg", xmlns="http://www.w3.org/2000/svg", viewBox="0 0 640 40")
    names = list(dict.fromkeys(name for name, _ in bars))
    sizes = list(dict.fromkeys(latency.batch for _, latency in bars))
    values = [value / each.batch for _, each in bars for value in (each.low_ms, each.high_ms, each.median_ms)]
    low, high = math.log10(max(min(values), 1e-6)) - 0.15, math.log10(max(values)) + 0.02
    first = bars[0][1]

    def at(milliseconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(max(milliseconds, 1e-6)) - low) / max(high - low, 1e-9)

    threads = f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    under = f"milliseconds an example, log scale; median, with the quantiles 0.1 and 0.9; {threads}, {first.processor}"
    body = [
        tag("style", STYLE), tag("text", escaped(f"{title}: latency by runtime"), x=8, y=18, class_="title"),
        tag("text", escaped(under), x=8, y=36, class_="dim"),
    ]  # fmt: skip
    y = TOP
    for size in sizes:
        y += GAP
        body.append(tag("text", escaped(f"batch {size}"), x=8, y=y + 13, class_="dim"))
        for name, each in bars:
            if each.batch != size:
                continue
            colour = COLOURS[names.index(name) % len(COLOURS)]
            middle, start = each.median_ms / size, y + BAR / 2
            ends = at(each.low_ms / size), at(each.high_ms / size)
            body += [
                tag("text", escaped(name), x=LEFT - 8, y=y + 13, text_anchor="end"),
                tag("rect", x=LEFT, y=y, width=max(1.0, at(middle) - LEFT), height=BAR - 2, fill=colour),
                tag("path", class_="whisker", d=f"M{ends[0]:.1f} {start:.1f}H{ends[1]:.1f}"),
                tag("text", f"{middle:.3g} ms", x=ends[1] + 6, y=y + 13),
            ]  # fmt: skip
            y += BAR
    body.append(tag("path", class_="axis", d=f"M{LEFT:g} {TOP:g}V{y:.0f}"))
    return tag(
        "svg", "".join(body), xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH:g} {y + 12:.0f}", role="img",
        aria_label=f"{title}: latency by runtime",
    )  # fmt: skip
