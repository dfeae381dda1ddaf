"""Texts to judge: a folder of .txt files for each class, also in an archive, laid out as pictures and sounds are; and
what texts from any source become."""

from __future__ import annotations

import bz2
import dataclasses
import functools
import gzip
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from netwright.data.archives import entries
from netwright.data.examples import Examples, Part
from netwright.data.sounds import _places as places_of
from netwright.data.words import PAD, UNKNOWN, Encoder, Ids, frequent, id_type, padded, units
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, TextInput
from netwright.recipe.schema import Data

SUFFIXES = frozenset({".txt", ".text"})
WORDS = 20_000  # most words of a vocabulary, where the recipe does not say
LEAST = 2  # times that a word must stand in the training part: one seen once teaches nothing about itself
USUAL, LONGEST = 0.95, 1024  # texts are cut where this share of them has ended, and there at the latest
_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\0": lzma.decompress,
}  # fmt: skip


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """All texts under ``path`` as ids (N, length). The vocabulary is that of all of them until ``settled``, or that of
    ``like``."""
    found = dict(_members(path))
    if not found:
        raise DataError(str(path), "no .txt file", "a folder of .txt files for each class (positive/…, negative/…)")
    names = sorted(found)
    placed, classes = places_of(names, path, like)
    texts = [text_of(found[name], f"{path}: {name}") for name in names]
    raw, record, notes = coded(texts, options, like.text if like is not None else None, path)
    targets = np.asarray([label for _, label in placed], np.int64)
    whole = Part((raw,), targets, names=tuple(names))
    parts = {}
    for part in ("train", "validation", "test"):
        chosen = np.asarray([row for row, (name, _) in enumerate(placed) if name == part], np.int64)
        if len(chosen):
            parts[part] = whole if len(chosen) == len(names) else whole.take(chosen)
    return Examples(
        kind="array", task="classification", parts=parts, classes=classes, text=record,
        preprocess=(ArrayPreprocess(shape=(record.length,), dtype=str(raw.dtype), scale=None),), skipped=notes,
    )  # fmt: skip


def coded(
    texts: Sequence[str], options: Data, known: TextInput | None, where: Path
) -> tuple[Ids, TextInput, tuple[str, ...]]:
    """Texts as ids (N, length), how they became so, and what to say of it. ``known``: the way of the training texts;
    else every unit has an id of its own until ``settled``."""
    unit: Literal["character", "word"] = "character" if options.unit == "character" else "word"
    record = known
    if record is None:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(units(text, unit))
        record = TextInput(unit=unit, vocabulary=(PAD, UNKNOWN, *frequent(counts, 1 << 24)), unknown=1)
    encoded = Encoder(record)
    rows = [encoded(text) for text in texts]
    if known is None:
        lengths = sorted(map(len, rows))
        usual = lengths[max(0, round(USUAL * len(lengths)) - 1)]
        record = msgspec.structs.replace(record, length=options.length or max(1, min(LONGEST, usual)))
    length = record.length
    cut = sum(len(ids) > length for ids in rows)
    what = "the end of 1 text is cut off, which is" if cut == 1 else f"the ends of {cut} texts are cut off, which are"
    note = f"{where}: {what} longer than {length} (data.length decides)"
    return padded(rows, length, len(record.vocabulary)), record, (note,) if cut else ()


def settled(examples: Examples, options: Data, known: TextInput | None = None) -> Examples:
    """The examples with the vocabulary of the training part alone, the most frequent first, or a run's, ``known``."""
    assert examples.text is not None
    if known is not None and (not known.length or known.unit != examples.text.unit):
        kind = f"a running text in {known.unit}s" if not known.length else f"texts in {known.unit}s"
        raise DataError(
            "network.weights", f"a run of {kind}",
            f"one that judges texts in {examples.text.unit}s, whose ids it shares", "leave --from out",
        )  # fmt: skip
    record, train = examples.text, examples.parts["train"]
    if known is None:
        raw = train.inputs[0]
        chosen = raw if train.rows is None else raw[train.rows]
        counts = np.bincount(chosen.reshape(-1), minlength=len(record.vocabulary))
        counts[:2] = 0
        least = LEAST if record.unit == "word" else 1
        kept = np.flatnonzero(counts >= least)
        kept = kept[np.argsort(-counts[kept], kind="stable")][: (options.vocabulary or WORDS) - 2]
        known = msgspec.structs.replace(
            record, vocabulary=(PAD, UNKNOWN, *(record.vocabulary[int(number)] for number in kept))
        )
    places = {unit: number for number, unit in enumerate(known.vocabulary)}
    table = np.asarray([places.get(unit, 1) for unit in record.vocabulary], id_type(len(known.vocabulary)))
    recoded: dict[int, npt.NDArray[np.generic]] = {}
    parts = {}
    for name, part in examples.parts.items():
        raw = part.inputs[0]
        if id(raw) not in recoded:
            recoded[id(raw)] = table[raw]
        parts[name] = dataclasses.replace(part, inputs=(recoded[id(raw)],))
    known = msgspec.structs.replace(known, length=record.length, columns=record.columns)
    record_of = ArrayPreprocess(shape=(record.length,), dtype=str(table.dtype), scale=None)
    return dataclasses.replace(examples, parts=parts, text=known, preprocess=(record_of,))


def raw_of(texts: Sequence[str], record: TextInput) -> npt.NDArray[np.generic]:
    """Texts in the raw form of training, (N, length)."""
    encoded = Encoder(record)
    return padded([encoded(text) for text in texts], record.length, len(record.vocabulary))


def is_text(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def text_of(content: bytes, where: str) -> str:
    """UTF-8, or else Windows' western code; line ends as one mark."""
    if b"\x00" in content[:4096]:
        raise DataError(where, "a file that is no text", "a text in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def content_of(path: Path) -> bytes:
    """A file's bytes; of a compressed one those inside."""
    try:
        content = path.read_bytes()
        unpack = next((unpack for magic, unpack in _PACKED.items() if content.startswith(magic)), None)
        return content if unpack is None else unpack(content)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise DataError(
            str(path), f"a file that cannot be read ({error})", "a text, also in .gz, .bz2 or .xz"
        ) from error


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name (below ``path``) and content of every text in a folder or an archive, but hidden ones and those beside the
    class folders (a README)."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        every = ((file.relative_to(path).as_posix(), functools.partial(content_of, file)) for file in files)
    else:
        every = ((entry.name, functools.partial(entry.read)) for entry in entries(path) if not entry.directory)
    for name, content in every:
        parts = PurePosixPath(name).parts
        if is_text(name) and len(parts) > 1 and not any(part.startswith((".", "__MACOSX")) for part in parts):
            yield name, content()
