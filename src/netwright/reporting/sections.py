"""The sections of a report: from what was read of a run to the texts, numbers and charts of the page. No torch.

Each function takes the contents of a run and returns what the template shows, or None where the run has no such
thing. ``sections`` calls them; one that fails is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from netwright.reporting.contents import Contents
from netwright.reporting.ensembles import ensemble
from netwright.reporting.exhibits import data, environment, mistakes, recipe
from netwright.reporting.heading import findings, head
from netwright.reporting.health import health
from netwright.reporting.ledger import compression
from netwright.reporting.measures import classes, learning, values
from netwright.reporting.pieces import Section

PIECES = {
    "confusion": "confusion matrix",
    "scatter": "predicted against true values",
    "mistakes": "examples with the largest loss",
    "examples": "examples of the data",
}


def sections(contents: Contents) -> Section:
    """Everything the template shows, by name; a section that is not there is None."""
    makers: dict[str, tuple[str, Callable[[Contents], Section | None]]] = {
        "head": ("headline", head),
        "health": ("health", _health),
        "findings": ("findings", findings),
        "ensemble": ("ensemble", ensemble),
        "compression": ("compression", compression),
        "learning": ("learning curves", learning),
        "classes": ("confusion", classes),
        "values": ("scatter", values),
        "mistakes": ("mistakes", mistakes),
        "data": ("examples", data),
        "recipe": ("recipe", recipe),
        "environment": ("environment", environment),
    }
    made: Section = {}
    for name, (piece, make) in makers.items():
        made[name] = contents.attempt(piece, partial(make, contents), None)
    made["head"] = made["head"] or {"name": contents.directory.name, "headline": contents.directory.name, "facts": []}
    made["missing"] = missing(contents, made)
    return made


def _health(contents: Contents) -> Section | None:
    if contents.diagnosis is None:
        return None
    return health(contents.diagnosis, contents.observations, contents.looking)


def missing(contents: Contents, made: Section) -> list[Section]:
    """One line for each piece that a report of this task would have, and why this one has not."""
    lines = [{"piece": piece, "why": why} for piece, why in contents.problems.items()]
    done = contents.summary.state in ("finished", "damaged")
    wanted = {"learning": "learning curves", "mistakes": "mistakes", "data": "examples"}
    if made["compression"] or made["ensemble"]:
        del wanted["learning"]  # its healing is in the ledger, and an ensemble has learned nothing itself
    if contents.task == "classification":
        wanted["classes"] = "confusion"
    if contents.task == "regression":
        wanted["values"] = "scatter"
    for name, piece in wanted.items():
        if not made[name] and piece not in contents.problems and "records" not in contents.problems:
            why = "the run holds no record of it" if done else "comes when the run has finished"
            lines.append({"piece": piece, "why": why})
    return [{"piece": PIECES.get(line["piece"], line["piece"]), "why": line["why"]} for line in lines]
