"""What each named part is: formula, range, when to use it, source. Texts as data, one file a family. No torch."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

from netwright.records import Record

TEXTS = Path(__file__).parent / "texts"
# Family → what one of them is called.
FAMILIES = {
    "layers": "layer", "activations": "activation", "norms": "norm", "optimizers": "optimiser",
    "schedules": "schedule", "initializers": "initial values", "objectives": "objective",
    "regularizers": "regularisation", "networks": "network",
}  # fmt: skip


class Part(Record, frozen=True, kw_only=True):
    """One named part. ``derivative``, ``saturation`` and ``bounds`` (of values) are of activations; ``prior`` is what a
    regularisation says about the weights; ``recipe`` the setting that chooses it, ``python`` what it is in Python."""

    name: str
    family: str
    title: str
    formula: str
    use: str
    source: str
    recipe: str
    python: str = ""
    derivative: str = ""
    range: str = ""
    bounds: tuple[float, float] | None = None
    saturation: str = ""
    prior: str = ""


@functools.cache
def parts(family: str) -> dict[str, Part]:
    """The parts of a family by name, in the order of the list."""
    with (TEXTS / f"{family}.toml").open("rb") as file:
        read: dict[str, dict[str, Any]] = tomllib.load(file)
    return {name: Part.from_dict({"name": name, "family": family} | fields) for name, fields in read.items()}


def named(name: str) -> tuple[Part, ...]:
    """Every part of that name, of all families (``cosine`` is a norm and a schedule)."""
    return tuple(parts(family)[name] for family in FAMILIES if name in parts(family))


def names() -> list[str]:
    return [name for family in FAMILIES for name in parts(family)]
