"""What each finding's code means, for ``netwright explain`` and the docs: texts as data. No torch."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any, Literal

from netwright.codes import CODES, FAMILIES
from netwright.errors import unknown_name
from netwright.records import Record

TEXTS = Path(__file__).parent / "texts"
LANGUAGES = ("en", "zh")
Language = Literal["en", "zh"]


class Entry(Record, frozen=True, kw_only=True):
    """One code. ``kind``: a symptom says how a training looks, a cause why, a fact what holds without being harmful by
    itself. ``remedies`` in the order in which to try them; ``see``: codes to read beside it; ``needs``: what has to be
    seen (`judging.seen`) before it can be said that it was not found."""

    code: str
    family: Literal["data", "network", "optimisation", "training"]
    kind: Literal["symptom", "cause", "fact"]
    title: str
    looks: str
    cause: str
    remedies: tuple[str, ...]
    needs: tuple[str, ...] = ()
    formula: str = ""
    source: str
    see: tuple[str, ...] = ()


def entry(code: str, language: Language = "en") -> Entry:
    """The entry of a code; raises ``UsageError`` with the nearest for one that does not exist."""
    if code not in CODES:
        raise unknown_name("netwright explain", code, CODES)
    return entries(language)[code]


@functools.cache
def entries(language: Language = "en") -> dict[str, Entry]:
    """Every code with its entry, in the order of `netwright.codes`."""
    common, texts = _read("codes"), _read(language)
    families = {code: family for family, codes in FAMILIES.items() for code in codes}
    return {
        code: Entry.from_dict({"code": code, "family": families[code]} | common[code] | texts[code]) for code in CODES
    }


def _read(name: str) -> dict[str, dict[str, Any]]:
    with (TEXTS / f"{name}.toml").open("rb") as file:
        return tomllib.load(file)
