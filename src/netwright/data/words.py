"""Text ↔ ids: the units of a text, its vocabulary, and arrays of ids in the smallest type that holds them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.preprocess import TextInput

PAD, UNKNOWN = "<pad>", "<unk>"
Ids = npt.NDArray[np.integer[Any]]  # uint8 where 256 ids are enough, else int32

# A word with its inner apostrophes and hyphens, a number, or one mark; case is not kept: small vocabularies gain
# more from joined forms than they lose. Line ends are a unit of their own in a running text.
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]|_|\n")


def units(text: str, unit: str) -> Sequence[str]:
    """Characters, or lower-case words and marks."""
    return text if unit == "character" else _WORD.findall(text.lower())


def id_type(size: int) -> np.dtype[np.integer[Any]]:
    return np.dtype(np.uint8 if size <= 256 else np.int32)


def characters(text: str) -> tuple[str, ...]:
    """The distinct characters of a text, in the order of their code points."""
    return tuple(sorted(set(text)))


def frequent(counts: Counter[str], most: int, least: int = 1) -> tuple[str, ...]:
    """At most ``most`` units that occur ``least`` times or more, the most frequent first (then by the alphabet)."""
    ordered = sorted((unit for unit, count in counts.items() if count >= least), key=lambda unit: (-counts[unit], unit))
    return tuple(ordered[:most])


class Encoder:
    """Texts → ids (T,), by a table that is made once; units without an id are the record's unknown one, or left out."""

    def __init__(self, record: TextInput) -> None:
        self._record, self._type = record, id_type(len(record.vocabulary))
        self._table = {unit: number for number, unit in enumerate(record.vocabulary)}
        known = [(ord(unit), number) for unit, number in self._table.items() if len(unit) == 1]
        self._points = np.full(max((point for point, _ in known), default=0) + 2, -1, np.int32)
        for point, number in known:
            self._points[point] = number

    def __call__(self, text: str) -> Ids:
        unknown = -1 if self._record.unknown is None else self._record.unknown
        if self._record.unit == "character":  # through a table of code points, in one step for the whole text
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            ids = self._points[np.minimum(points, len(self._points) - 1)]
            ids = np.where(ids < 0, np.int32(unknown), ids)
        else:
            ids = np.fromiter((self._table.get(unit, unknown) for unit in units(text, "word")), np.int32)
        return ids[ids >= 0].astype(self._type)


def encode(text: str, record: TextInput) -> Ids:
    """The ids of one text; for many keep an ``Encoder``."""
    return Encoder(record)(text)


def decode(ids: Iterable[int], record: TextInput) -> str:
    """The text of ids; words stand with spaces between them, but not before a mark that closes."""
    found = [record.vocabulary[int(number)] for number in ids]
    if record.unit == "character":
        return "".join(found)
    text = " ".join(found)
    return re.sub(r" ?\n ?", "\n", re.sub(r" ([.,;:!?)\]’'])", r"\1", text))


def padded(rows: Sequence[Ids], length: int, size: int) -> Ids:
    """Texts of ids as one array (N, ``length``), 0 behind their ends; longer ones lose what is behind."""
    array = np.zeros((len(rows), length), id_type(size))
    for row, ids in zip(array, rows, strict=True):
        row[: min(length, len(ids))] = ids[:length]
    return array
