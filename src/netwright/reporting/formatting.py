"""Numbers as people read them: durations, sizes, shares, metrics. No torch."""

from __future__ import annotations

import math
from typing import Any

from netwright.records import count, percent, plural

__all__ = [
    "clipped", "count", "duration", "is_share", "metric", "number", "percent", "plural", "short", "size", "value_text",
]  # fmt: skip

MISSING = "–"
_SHARES = ("accuracy", "precision", "recall", "f1", "auc", "iou", "top", "exact", "hamming", "share")
_WORDS = {"rmse": "RMSE", "mae": "MAE", "mse": "MSE", "r2": "R²", "f1": "F1", "auc": "AUC", "iou": "IoU"}


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``8 s``, ``3 min 20 s``, ``2 h 5 min``, ``1 d 3 h``."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return MISSING
    if seconds == 0:
        return "0 s"
    if seconds < 0.01:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s" if seconds >= 0.1 else f"{seconds:.2f} s"
    whole = round(seconds)
    for unit, parts, name, part in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if whole >= unit:
            large, rest = divmod(whole, unit)
            small = rest // parts
            return f"{large} {name} {small} {part}" if small else f"{large} {name}"
    return f"{whole} s"


def size(count_bytes: float | None) -> str:
    """Bytes in powers of 1000: ``812 B``, ``4.1 kB``, ``38 MB``."""
    if count_bytes is None or not math.isfinite(count_bytes):
        return MISSING
    value = float(count_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 9.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits, and an exponent only where it helps: ``0.0214``, ``1.2e-06``, ``48200``."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{max(0, digits - 1)}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}".replace("-", "−")


def short(value: float | None, digits: int = 4) -> str:
    """A single number without zeros at its end: ``0.83``, ``52``."""
    text = number(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def is_share(name: str) -> bool:
    """Whether a metric of that name is a share, shown in percent."""
    return name.lower().replace("-", "_").startswith(_SHARES) or name.lower().endswith(_SHARES)


def metric(name: str, value: float | None, digits: int = 4) -> str:
    """A metric's value in the way that belongs to its name; ``digits`` of what is not a share."""
    if value is None or not math.isfinite(value):
        return MISSING
    return percent(value) if is_share(name) else number(value, digits)


def metric_name(name: str) -> str:
    """A metric's name in words: ``top5_accuracy`` is ``top 5 accuracy``, ``macro_f1`` is ``macro F1``."""
    return " ".join(_word(word) for word in name.replace("-", "_").split("_") if word) or name


def _word(word: str) -> str:
    if word.startswith("top") and word[3:].isdigit():
        return f"top {word[3:]}"
    return _WORDS.get(word, word)


def clipped(text: Any, longest: int) -> str:
    """At most ``longest`` characters on one line."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def value_text(value: Any) -> str:
    """A recipe's or an environment's value in the words of its file."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if value == "":
        return '""'
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {value_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_text(item) for item in value)}]"
    return str(value)
