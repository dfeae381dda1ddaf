"""What is worked out: steps of formula, numbers put in and result. And how numbers are written in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from netwright.records import Record

Array = NDArray[np.float64]


class Step(Record, frozen=True, kw_only=True):
    """One step: the formula, this case's numbers put in, and what comes out."""

    title: str
    formula: str
    substituted: str
    result: str


class Explanation(Record, frozen=True, kw_only=True):
    """A subject worked out. ``numbers`` holds what went in and what came out, by symbol, for whoever computes on."""

    subject: str
    summary: str
    steps: tuple[Step, ...]
    source: str
    numbers: dict[str, Any] = msgspec.field(default_factory=dict)


def array(values: Any) -> Array:
    return np.asarray(values, np.float64)


def numbers(**values: ArrayLike) -> dict[str, Any]:
    """Arrays as nested lists, by symbol."""
    return {name: np.asarray(value).tolist() for name, value in values.items()}


def text(value: ArrayLike) -> str:
    """``2.5``, ``(1, −2)`` or ``[1 2; 3 4]``, four digits; axes beyond two as a list of such."""
    found = np.asarray(value)
    if found.ndim == 0:
        number = found.item()
        written = str(number) if isinstance(number, int) else f"{number if abs(number) > 1e-12 else 0.0:.4g}"
        return written.replace("-", "−")
    if found.ndim == 1:
        return f"({', '.join(map(text, found))})"
    if found.ndim == 2:
        return f"[{'; '.join(' '.join(map(text, row)) for row in found)}]"
    return ", ".join(map(text, found)) if found.shape[0] > 1 else text(found[0])


def bracketed(value: ArrayLike) -> str:
    """A number as a factor: negative ones in brackets."""
    written = text(value)
    return f"({written})" if written.startswith("−") else written


def products(left: Iterable[float], right: Iterable[float]) -> str:
    """``1·2 + 3·(−4)``."""
    return " + ".join(f"{bracketed(a)}·{bracketed(b)}" for a, b in zip(left, right, strict=True))


def summed(values: Iterable[float]) -> str:
    return " + ".join(map(bracketed, values))


def grouped(value: int) -> str:
    """``1,728``."""
    return f"{value:,}"


def product(factors: Iterable[int]) -> str:
    return " · ".join(map(grouped, factors)) or "1"
