"""What a file is, seen in its first bytes; for errors that say what was given instead of what cannot be decoded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

Family = Literal["picture", "sound", "table", "array", "archive", "nothing", "other"]

START_BYTES = 4096


class Kind(NamedTuple):
    """``name`` with its article (``a PNG picture``), ``family`` by which readers divide the files."""

    name: str
    family: Family


EMPTY = Kind("an empty file", "nothing")
# By their first bytes, the more special ones first.
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (rb"\x89PNG\r\n", Kind("a PNG picture", "picture")),
    (rb"\xff\xd8\xff", Kind("a JPEG picture", "picture")),
    (rb"GIF8", Kind("a GIF picture", "picture")),
    (rb"RIFF....WEBP", Kind("a WebP picture", "picture")),
    (rb"(?:II\*\x00|MM\x00\*)", Kind("a TIFF picture", "picture")),
    (rb"BM....\x00\x00\x00\x00", Kind("a BMP picture", "picture")),
    (rb"P[1-6]\s(?:#.*\n)*\s*\d+\s+\d+\s", Kind("a PNM picture", "picture")),
    (rb"....ftyp(?:heic|heix|mif1|msf1)", Kind("a HEIC picture", "other")),
    (rb"....ftypavif", Kind("an AVIF picture", "other")),
    (rb"....ftyp", Kind("a film or sound in MP4", "other")),
    (rb"RIFF....WAVE", Kind("a WAV file", "sound")),
    (rb"fLaC", Kind("a FLAC sound", "other")),
    (rb"OggS", Kind("an Ogg sound", "other")),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", Kind("an MP3 sound", "other")),
    (rb"FORM....AIF", Kind("an AIFF sound", "other")),
    (rb"PAR1", Kind("a Parquet table", "table")),
    (rb"\x93NUMPY", Kind("a NumPy array", "array")),
    (rb"PK\x03\x04|PK\x05\x06", Kind("a zip archive", "archive")),
    (rb".{257}ustar", Kind("a tar archive", "archive")),
    (rb"%PDF", Kind("a PDF", "other")),
    (rb"\s*(?i:<!doctype html|<html)", Kind("a web page", "other")),
    (rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg", Kind("an SVG drawing", "other")),
    (rb"\s*[\[{]", Kind("text that looks like JSON", "other")),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), kind) for pattern, kind in _MAGIC)
_PACKED: dict[bytes, Callable[[Path], object]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def kind_of(source: Path | bytes) -> Kind | None:
    """What a file or its bytes are; None where that cannot be said. A packed file is what is in it."""
    if isinstance(source, bytes):
        return _seen(source[:START_BYTES])
    try:
        with source.open("rb") as file:
            start = file.read(START_BYTES)
        opener = next((opener for magic, opener in _PACKED.items() if start.startswith(magic)), None)
        if opener is not None:
            with opener(source) as inside:  # type: ignore[attr-defined]
                start = inside.read(START_BYTES)
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        return None
    return _seen(start)


def _seen(start: bytes) -> Kind | None:
    if not start:
        return EMPTY
    for pattern, kind in _PATTERNS:
        if pattern.match(start):
            return kind
    if any(byte < 9 or 13 < byte < 32 for byte in start):
        return None
    try:
        text = start.decode("utf-8-sig", "strict" if len(start) < START_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    lines = [line for line in text.splitlines() if line.strip()][:2]
    divided = any(all(mark in line for line in lines) for mark in ",;\t|")
    return Kind("a table" if divided else "text", "table")
