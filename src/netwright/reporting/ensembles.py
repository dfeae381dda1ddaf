"""What an ensemble is made of and what it brings, as a table and in sentences. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from netwright.records import EnsembleAccount, EnsemblePart
from netwright.reporting import formatting, sentences
from netwright.reporting.contents import Contents
from netwright.reporting.pieces import Section

if TYPE_CHECKING:
    from rich.console import RenderableType

DETAIL = "ensemble"
UNSURE = 0.05  # chance above which two are not told apart
MADE = {
    "runs": "runs", "snapshots": "snapshots of one training", "seeds": "trainings with other seeds",
    "bagging": "trainings on bootstrap samples", "boosting": "trainings one after another, by SAMME",
}  # fmt: skip


def columns(found: EnsembleAccount) -> tuple[str, ...]:
    """The heads of ``rows``: the telling metric and the loss of each part."""
    return ("member", "network", "weight", "parameters", *(f"{part} {word}" for part, _, word in _shown(found)))


def rows(found: EnsembleAccount) -> list[tuple[str, ...]]:
    """Every member alone, their mean, and the ensemble."""
    shown = _shown(found)
    made = [
        (
            member.name, member.network, f"{100 * member.weight:.1f} %", formatting.count(member.parameters),
            *(_value(member.metrics.get(part, {}), metric) for part, metric, _ in shown),
        )
        for member in found.members
    ]  # fmt: skip
    parts = {part.part: part for part in found.parts}
    total = formatting.count(sum(member.parameters for member in found.members))
    made.append(("mean of members", "", "", "", *(_value(parts[part].mean, metric) for part, metric, _ in shown)))
    made.append(("ensemble", "", "", total, *(_value(parts[part].ensemble, metric) for part, metric, _ in shown)))
    return made


def lines(found: EnsembleAccount) -> list[str]:
    """What asking all brings over the best of them, how far the members differ, and what that brings."""
    told = [line for part in reversed(found.parts) for line in _verdict(part, found)]
    told += [line for part in found.parts for line in _of_part(part)]
    bag = found.out_of_bag
    if bag is not None:
        metric = sentences.telling(bag)
        count = formatting.count(int(bag.get("examples") or 0))
        told.append(
            f"out of bag: {formatting.metric_name(metric)} {_value(bag, metric)} over {count} training examples, each "
            "judged by the members that did not learn it"
        )
    return [*told, *found.notes]


def table(found: EnsembleAccount) -> RenderableType:
    """For the terminal."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, name in enumerate(columns(found)):
        made.add_column(name, justify="left" if number < 2 else "right", overflow="fold")
    for cells in rows(found):
        made.add_row(*(Text(cell, style="bold" if cells[0] == "ensemble" else "") for cell in cells))
    return made


def ensemble(contents: Contents) -> Section | None:
    """The section of a report."""
    if not contents.ensemble:
        return None
    found = EnsembleAccount.from_dict(dict(contents.ensemble))
    what = {"probability": "the logarithm of the mean probability", "label": "the logit of each label's mean"}
    lead = f"{len(found.members)} {MADE[found.made]}; the output is {what.get(found.how, 'the mean of the outputs')}."
    return {"lead": [lead], "columns": columns(found), "rows": rows(found), "notes": lines(found)}


def _shown(found: EnsembleAccount) -> list[tuple[str, str, str]]:
    """(part, metric, its name)."""
    return [
        (part.part, metric, formatting.metric_name(metric))
        for part in found.parts
        for metric in dict.fromkeys((sentences.telling(part.ensemble), "loss"))
        if metric in part.ensemble
    ]


def _value(metrics: Mapping[str, float | None], metric: str) -> str:
    return formatting.metric(metric, metrics.get(metric))


def _verdict(part: EnsemblePart, found: EnsembleAccount) -> Sequence[str]:
    """Whether the ensemble is better than the best of its members on these examples."""
    if part.gain is None:
        return ()
    own = next(member.metrics[part.part] for member in found.members if member.name == part.best)
    name, together = formatting.metric_name(part.metric), _value(part.ensemble, part.metric)
    unsure = "not told apart, " if part.chance is not None and part.chance > UNSURE else ""
    sure = "" if part.chance is None else f" ({unsure}p = {formatting.short(part.chance, 2)} by the sign test)"
    if part.gain > 0:
        over = "above" if unsure else "better than"  # better is said of what chance alone would hardly do
        told = f"{over} every member: {name} {together}, the best of them, {part.best}, {_value(own, part.metric)}"
    else:
        told = f"nothing won: {part.best} alone has {name} {_value(own, part.metric)}, the ensemble {together}"
    return (f"{part.part}: {told}{sure}",)


def _of_part(part: EnsemblePart) -> Sequence[str]:
    told = []
    if part.disagreement is not None:
        said = f"two members differ on {formatting.percent(part.disagreement)} of the examples"
        if part.vote is not None:
            said += f"; their votes have {formatting.percent(part.vote)} right"
        if part.ambiguity is not None:
            said += f"; together their loss is {formatting.number(part.ambiguity)} below their mean"
        told.append(f"{part.part}: {said}")
    elif part.error is not None:
        numbers = [formatting.number(value) for value in (part.error, part.members_error, part.ambiguity)]
        told.append(
            f"{part.part}: squared error {numbers[0]} = {numbers[1]} of the members - {numbers[2]} by which they differ"
        )
    for name, count in part.leaked.items():
        told.append(f"{part.part}: {name} has trained on {formatting.count(count)} of these examples: not held out")
    return told
