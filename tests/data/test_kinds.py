"""What a file is: every format as its own writer leaves it, and what is none of them."""

import bz2
import gzip
import io
import lzma
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netwright.data.kinds import START_BYTES, kind_of

PICTURES = {"PNG": "PNG", "JPEG": "JPEG", "GIF": "GIF", "WebP": "WEBP", "TIFF": "TIFF", "BMP": "BMP", "PNM": "PPM"}
TABLE = b"age,work\n30,clerk\n40,baker\n"


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()


def sound(file: io.BytesIO) -> None:
    with wave.open(file, "wb") as sink:
        sink.setparams((1, 2, 8000, 0, "NONE", ""))
        sink.writeframes(b"\0\0" * 100)


def packed(file: io.BytesIO, tar: bool) -> None:
    if tar:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a", "b")


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name: str) -> None:
    content = written(lambda file: Image.new("RGB", (9, 7), (200, 10, 10)).save(file, PICTURES[name]))
    kind = kind_of(content)
    assert kind is not None
    assert kind.family == "picture"
    assert kind.name.split()[1:] == [name, "picture"]


@pytest.mark.parametrize(
    ("content", "name", "family"),
    [
        (written(sound), "a WAV file", "sound"),
        (written(lambda file: np.save(file, np.zeros(3))), "a NumPy array", "array"),
        (written(lambda file: np.savez(file, x=np.zeros(3))), "a zip archive", "archive"),
        (written(lambda file: packed(file, tar=False)), "a zip archive", "archive"),
        (written(lambda file: packed(file, tar=True)), "a tar archive", "archive"),
        (TABLE, "a table", "table"),
        ("\ufeffäge;wörk\n".encode(), "a table", "table"),
        (b"1\t2\n3\t4\n", "a table", "table"),
        (b"just some words\n", "text", "table"),
        (b"", "an empty file", "nothing"),
        (b"%PDF-1.4\n", "a PDF", "other"),
        (b"\n<!DOCTYPE HTML><html>", "a web page", "other"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "an SVG drawing", "other"),
        (b"\0\0\0\x18ftypheic", "a HEIC picture", "other"),
        (b"ID3\x03", "an MP3 sound", "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_others(content: bytes, name: str, family: str) -> None:
    assert kind_of(content) == (name, family)


@pytest.mark.parametrize("content", [bytes(range(256)), b"\0" * 100, "größe".encode("latin-1"), b"\x80\x04pickle"])
def test_what_cannot_be_said(content: bytes) -> None:
    assert kind_of(content) is None


def test_a_character_that_is_cut_at_the_end_of_what_is_looked_at() -> None:
    text = b"a," + b"x" * (START_BYTES - 3) + "ä,b\n".encode()
    kind = kind_of(text)
    assert kind is not None
    assert kind.name == "a table"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_is_what_is_in_it(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pack(TABLE))
    assert kind_of(tmp_path / "file") == ("a table", "table")
    (tmp_path / "file").write_bytes(pack(TABLE)[:12])
    kind_of(tmp_path / "file")  # damaged: whatever it says, it does not raise


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert kind_of(tmp_path / "absent") is None
    assert kind_of(tmp_path) is None
