"""Two preprocessing records of the same raw examples: how the input that one makes becomes that of the other.

Networks that were trained on other parts of the same data differ in the mean and deviation that were measured, and in
nothing else: then a scale and a shift a channel lead from one input to the other. No torch, no NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netwright.preprocess.records import Preprocess, TablePreprocess
from netwright.records import plural

Affine = tuple[tuple[float, ...], tuple[float, ...]]


def bridge(one: Preprocess, other: Preprocess) -> Affine | None:
    """Scale and shift with ``other(raw) = one(raw) · scale + shift``, along axis 1; None where they are equal.

    A missing cell of a table is ``one``'s mean. Raises ``ValueError`` that says what differs where no such pair exists.
    """
    if one == other:
        return None
    if type(one) is not type(other):
        raise ValueError(f"{_kind(other)} instead of {_kind(one)}")
    if isinstance(one, TablePreprocess) and isinstance(other, TablePreprocess):
        return _table(one, other)
    for field in one.__struct_fields__:
        mine, its = getattr(one, field), getattr(other, field)
        if field not in ("mean", "std") and mine != its:
            raise ValueError(f"{field} {_text(its)} instead of {_text(mine)}")
    return affine(one.mean, one.std, other.mean, other.std)  # type: ignore[union-attr] # tables are dealt with


def affine(mean: Sequence[float], std: Sequence[float], mean2: Sequence[float], std2: Sequence[float]) -> Affine | None:
    """Scale and shift from (x - mean) / std to (x - mean2) / std2; empty ones stand for 0 and 1."""
    if (tuple(mean), tuple(std)) == (tuple(mean2), tuple(std2)):
        return None
    count = max(map(len, (mean, std, mean2, std2)))
    m, s, m2, s2 = (
        (tuple(values) * count if len(values) == 1 else tuple(values)) or (empty,) * count
        for values, empty in ((mean, 0.0), (std, 1.0), (mean2, 0.0), (std2, 1.0))
    )
    return tuple(a / b for a, b in zip(s, s2, strict=True)), tuple(
        (a - b) / c for a, b, c in zip(m, m2, s2, strict=True)
    )


def _table(one: TablePreprocess, other: TablePreprocess) -> Affine:
    scale: list[float] = []
    shift: list[float] = []
    for mine, its in zip(one.columns, other.columns, strict=False):
        plain = [msgspec.structs.replace(column, mean=0.0, std=1.0) for column in (mine, its)]
        if plain[0] != plain[1]:
            raise ValueError(f"a column {_column(its)} instead of {_column(mine)}")
        width = len(mine.categories) if mine.kind == "category" else 1
        category = mine.kind == "category"
        scale += [1.0 if category else mine.std / its.std] * width
        shift += [0.0 if category else (mine.mean - its.mean) / its.std] * width
    if len(one.columns) != len(other.columns):
        raise ValueError(f"{plural(len(other.columns), 'column')} instead of {len(one.columns)}")
    return tuple(scale), tuple(shift)


def _column(column: object) -> str:
    name, kind = getattr(column, "name", ""), getattr(column, "kind", "")
    categories = getattr(column, "categories", ())
    many = f" of {plural(len(categories), 'value')}" if categories else ""
    return f"{name!r} ({kind}{many})"


def _kind(record: Preprocess) -> str:
    return type(record).__name__.removesuffix("Preprocess").lower() + " inputs"


def _text(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
