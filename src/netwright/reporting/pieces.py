"""What the sections of a report share. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netwright.reporting import formatting
from netwright.reporting.contents import Contents

Section = dict[str, Any]
NAME = 40  # characters of a class's name
ENTRIES, ENTRY_LENGTH = 120, 300
SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}


def count_for(counts: Mapping[str, int], split: str) -> str:
    return f"{formatting.count(counts[split])} for {SPLIT_NAMES[split]}"


def example_counts(contents: Contents) -> dict[str, int]:
    known = contents.environment.get("data")
    counts = known.get("examples") if isinstance(known, Mapping) else None
    if not isinstance(counts, Mapping):
        return {}
    return {str(name): value for name, value in counts.items() if isinstance(value, int)}


def key_entry(key: str, value: Any) -> Section:
    return {"key": formatting.clipped(key, 80), "value": formatting.clipped(formatting.value_text(value), ENTRY_LENGTH)}
