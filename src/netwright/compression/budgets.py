"""Budgets of a compression, and the search for the amount that meets them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from netwright.errors import UsageError
from netwright.records import Record

UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
HALVINGS = 6  # of the range of shares: to 1.5 % of it
SMALLEST = 0.02  # share of the MACs that is tried


@dataclasses.dataclass(frozen=True)
class Budgets:
    """``size`` of the weights' file in bytes, ``latency_ms`` of the median in ``runtime``, ``drop`` of the validation
    accuracy in points (1 point: 1 % of the examples); None: no limit."""

    size: int | None = None
    latency_ms: float | None = None
    runtime: str = ""
    drop: float | None = None

    @property
    def any(self) -> bool:
        return any(each is not None for each in (self.size, self.latency_ms, self.drop))

    def missed(self, size: int, latency_ms: float | None, drop: float | None) -> list[str]:
        """What is over its limit, in words."""
        found = []
        if self.size is not None and size > self.size:
            found.append(f"{size:,} bytes, more than {self.size:,}")
        if self.latency_ms is not None and (latency_ms is None or latency_ms > self.latency_ms):
            got = "no latency" if latency_ms is None else f"{latency_ms:.3g} ms"
            found.append(f"{got}, more than {self.latency_ms:g} ms" + (f" in {self.runtime}" if self.runtime else ""))
        if self.drop is not None and (drop is None or drop > self.drop):
            got = "no accuracy" if drop is None else f"{drop:.2f} points less accurate"
            found.append(f"{got}, more than {self.drop:g}")
        return found


class Point(Record, frozen=True, kw_only=True):
    """What was tried: the share of MACs that stays, and what came out."""

    macs: float
    file_bytes: int
    latency_ms: float | None = None
    metrics: dict[str, float] = {}
    fits: bool = False


def budgets_of(size: str | float | None, latency: str | float | None, drop: float | None) -> Budgets:
    """From texts: ``500KB`` (1 KB = 1000 bytes, 1 KiB = 1024), ``12ms@onnxruntime``, points of accuracy."""
    count: int | None = None
    if size is not None:
        found = re.fullmatch(r"([\d.]+)\s*([a-zA-Z]*)", str(size).strip())
        if not found or found[2].lower() not in UNITS or not _positive(found[1]):
            raise UsageError("--max-size", repr(size), "a number of bytes with its unit", "--max-size 500KB")
        count = round(float(found[1]) * UNITS[found[2].lower()])
    limit, runtime = None, ""
    if latency is not None:
        found = re.fullmatch(r"([\d.]+)\s*(us|µs|ms|s)?(?:@([\w-]+))?", str(latency).strip())
        if not found or not _positive(found[1]):
            raise UsageError(
                "--max-latency",
                repr(latency),
                "a time, and the runtime that is meant",
                "--max-latency 12ms@onnxruntime",
            )
        limit = float(found[1]) * {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, None: 1.0}[found[2]]
        runtime = found[3] or ""
    if drop is not None and not 0 <= drop <= 100:
        raise UsageError("--max-drop", f"{drop:g}", "points of accuracy, 0 to 100", "--max-drop 1.0")
    return Budgets(count, limit, runtime, drop)


def _positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def largest(fits: Callable[[float], bool | None], low: float = SMALLEST, high: float = 1.0) -> float | None:
    """The largest share that fits, by halving; ``fits`` is True below some share and False above.

    None from ``fits``: so small a share cannot be made, so the answer lies above. None: nothing that can be made fits.
    """
    best = None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if fits(middle):
            best, low = middle, middle
        elif fits(middle) is None:
            low = middle
        else:
            high = middle
    return best


def smallest(fits: Callable[[float], bool | None], low: float = SMALLEST, high: float = 1.0) -> float | None:
    """The smallest share that fits, by halving; ``fits`` is False below some share and True above, None as above."""
    best = None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if fits(middle):
            best, high = middle, middle
        else:
            low = middle
    return best


def remembered(measure: Callable[[float], Any]) -> Callable[[float], Any]:
    """``measure``, asked once for each share."""
    known: dict[float, Any] = {}

    def asked(share: float) -> Any:
        if share not in known:
            known[share] = measure(share)
        return known[share]

    return asked
