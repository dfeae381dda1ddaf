"""Archives of files (.tar, .tar.gz, .tar.bz2, .tar.xz, .zip), read in place: nothing is ever unpacked to a path.

A member whose path leaves the archive, a link, a device or an encrypted member ends the reading.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from netwright.errors import DataError

MOST_MEMBER_BYTES = 1 << 29  # beyond this, one file of a data set is a mistake or an attack
TAR_BLOCK = 512
READ_BYTES = 1 << 20  # unpacked at a time
_UNPACKERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open,
}  # fmt: skip
_DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, EOFError, OSError, NotImplementedError)


class Entry(NamedTuple):
    """A file or folder in an archive; ``read`` gives the file's bytes until the next entry is asked for."""

    name: str
    directory: bool
    size: int
    read: Callable[[], bytes]


def is_archive(path: Path) -> bool:
    """Whether a file is a tar archive, compressed or not, or a zip archive, by its content."""
    try:
        if zipfile.is_zipfile(path):
            return True
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return archive.next() is not None  # zeros alone are an archive without members, and much else
    except _DAMAGE:
        return False


def entries(path: Path) -> Iterator[Entry]:
    """All files and folders, in the order in which they are stored; raises ``DataError`` on anything unsafe."""
    try:
        yield from _zip_entries(path) if zipfile.is_zipfile(path) else _tar_entries(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    reason = str(error) or type(error).__name__
    return DataError(str(path), f"a damaged or truncated archive ({reason})", "a whole one", "download it again")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, unpacked on the way. The buffer keeps the many small reads of headers out of the unpacker, which for
    gzip and xz is Python: it more than halves the time of an archive of small files."""
    with path.open("rb") as file:
        start = file.read(6)
    unpacker = next((opener for magic, opener in _UNPACKERS.items() if start.startswith(magic)), None)
    with unpacker(path) if unpacker else path.open("rb", buffering=0) as raw:
        yield io.BufferedReader(raw, READ_BYTES)


_UNUSUAL = re.compile(r"^[/.]|\\|//|/\.|/$|^.:|\0")  # all that can leave an archive is among this


def _checked(path: Path, name: str) -> str:
    """A member's name with plain slashes; raises if it could lead out of the archive."""
    if not _UNUSUAL.search(name):
        return name
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in parts or "\0" in name:
        raise DataError(
            str(path), f"the member {name!r}, whose path leads out of the archive", "paths inside it",
            "do not unpack this archive; get it from its publisher",
        )  # fmt: skip
    return "/".join(part for part in parts if part not in ("", "."))


def _refused(path: Path, name: str, what: str) -> DataError:
    return DataError(str(path), f"the member {name!r}, {what}", "plain files and folders", "pack the files themselves")


# ------------------------------------------------------------------------------------------------ tar


def _tar_entries(path: Path) -> Iterator[Entry]:
    info, ended = _header_class()
    with _opened(path) as file, tarfile.open(fileobj=file, mode="r:", tarinfo=info) as archive:
        name = ""
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined] # or it would keep them all
            name = _checked(path, member.name)
            if member.islnk() or member.issym():
                raise _refused(path, name, f"a link to {member.linkname!r}")
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise _refused(path, name, "neither a plain file nor a folder")

            def read(name: str = name, start: int = member.offset_data, size: int = member.size) -> bytes:
                _check_size(path, name, size)
                try:
                    file.seek(start)
                    data = file.read(size)
                except _DAMAGE as error:
                    raise _damaged(path, error) from error
                if len(data) < size:
                    raise _damaged(path, EOFError(f"{name} ends after {len(data)} of {size} bytes"))
                return data

            if name:
                yield Entry(name, member.isdir(), member.size, read)
        if not ended:
            raise EOFError(f"what follows {name or 'its beginning'} is neither a member nor the end")


def _header_class() -> tuple[type[tarfile.TarInfo], list[bool]]:
    """A ``TarInfo`` that parses the usual header in a third of the time, and reports where ``tarfile`` is silent.

    ``tarfile`` takes a damaged header after the first member, and a missing end, for the end of the archive: a
    truncated archive would be a smaller data set. The list is not empty once the real end was met.
    """
    ended: list[bool] = []

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            plain = len(buf) == TAR_BLOCK and buf[156:157] == b"0" and buf[257:262] == b"ustar" and buf[345] == 0
            if plain and buf[124:135].isdigit() and sum(buf) - sum(buf[148:156]) + 256 == _octal(buf[148:155]):
                header = cls(buf[: buf.find(0, 0, 101)].decode(encoding, errors) if 0 in buf[:100] else "")
                if header.name:
                    header.size, header.type = int(buf[124:135], 8), tarfile.REGTYPE
                    return header
            try:
                return super().frombuf(buf, encoding, errors)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                ended.append(True)
                raise

    return Header, ended


def _octal(digits: bytes | bytearray) -> int:
    text = bytes(digits).strip(b" \0")
    return int(text, 8) if text.isdigit() else -1


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MOST_MEMBER_BYTES:
        raise DataError(
            str(path), f"the member {name!r} of {size >> 20} MB", f"at most {MOST_MEMBER_BYTES >> 20} MB a file"
        )


# ------------------------------------------------------------------------------------------------ zip


def _zip_entries(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = _checked(path, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system == 3 else 0
            if kind == stat.S_IFLNK:
                raise _refused(path, name, "a link")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(path, name, "neither a plain file nor a folder")
            if member.flag_bits & 1:
                raise _refused(path, name, "which is encrypted")

            def read(name: str = name, member: zipfile.ZipInfo = member) -> bytes:
                _check_size(path, name, member.file_size)
                try:
                    return archive.read(member)
                except _DAMAGE as error:
                    raise _damaged(path, error) from error

            if name:
                yield Entry(name, member.is_dir(), member.file_size, read)
