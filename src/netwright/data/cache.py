"""Where decoded pictures are kept: in memory, or in a memory-mapped file if they are larger than the limit.

The file is ``KEY.npy`` in the cache folder, beside it ``KEY.json`` with what it holds. The key is a hash of the
*content* that the pixels came from and of what was done to it. Names, sizes and times would be quicker to compare, but
datasets of equally large files (BMP, PNM) unpacked with their times from another archive would pass for the old ones,
and a wrong picture is worse than one sequential read of files that would otherwise be decoded, which costs more.
Nothing in the folder is ever changed in place, so it may be deleted at any time that nobody trains from it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from netwright import files
from netwright.data.examples import Array
from netwright.data.pictures import Block
from netwright.errors import RunError
from netwright.recipe.schema import Data

UNKNOWN_MEMORY_MB = 4096  # where the system does not tell how much it has
STALE_SECONDS = 24 * 3600  # a temporary file this old belongs to a process that was killed
VERSION = 1  # of what the cached pixels mean; part of the key


class Stored(NamedTuple):
    """The pixels (N, C, H, W), in memory or memory-mapped, and the reason for each row that is broken (and zero)."""

    pixels: Array
    broken: dict[int, str]


def limit_bytes(options: Data) -> int:
    """How much decoded data may be in memory: ``data.memory_mb``, or a quarter of the machine's."""
    if options.memory_mb:
        return options.memory_mb << 20
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        machine = 0
    return machine // 4 if machine > 0 else UNKNOWN_MEMORY_MB << 20


def folder(options: Data) -> Path:
    """``data.cache``, or ``NETWRIGHT_CACHE``, or the platform's folder for caches."""
    chosen = options.cache or os.environ.get("NETWRIGHT_CACHE", "")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "netwright"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "netwright"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "netwright"


def store(
    options: Data,
    where: str,
    shape: tuple[int, ...],
    content: Callable[[], str],
    blocks: Callable[[], Iterable[Block]],
    dtype: npt.DTypeLike = np.uint8,
) -> Stored:
    """The array of ``shape`` that ``blocks()`` fills, each row once.

    ``content()`` identifies what it is made of (a hash, and everything that was done to it); it is only asked for
    when the array does not fit into memory. ``where`` names the source in messages.
    """
    kind = np.dtype(dtype)
    if int(np.prod(shape, dtype=np.int64)) * kind.itemsize <= limit_bytes(options):
        return _in_memory(shape, kind, blocks())
    key = hashlib.blake2b(f"{VERSION} {shape} {kind.str} {content()}".encode(), digest_size=16).hexdigest()
    path = folder(options) / f"{key}.npy"
    found = _open(path, shape, kind)
    if found is None:
        _build(path, where, shape, kind, blocks)
        found = _open(path, shape, kind)
    if found is None:
        raise RunError(
            str(path), "a cache file that is not what was just written", "", "--set data.cache=ANOTHER_FOLDER"
        )
    return found


def _in_memory(shape: tuple[int, ...], kind: np.dtype, blocks: Iterable[Block]) -> Stored:
    pixels = np.empty(shape, kind)
    broken: dict[int, str] = {}
    for block in blocks:
        pixels[block.rows] = block.pixels
        broken.update(block.broken)
    return Stored(pixels, broken)


def _open(path: Path, shape: tuple[int, ...], kind: np.dtype) -> Stored | None:
    """The cached array, or None if it is absent or not whole."""
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if pixels.shape != shape or pixels.dtype != kind:
        return None
    return Stored(pixels, {int(row): reason for row, reason in facts["broken"].items()})


def _build(
    path: Path, where: str, shape: tuple[int, ...], kind: np.dtype, blocks: Callable[[], Iterable[Block]]
) -> None:
    """Writes array and facts under other names, synced, and renames them; leaves nothing behind if it fails.

    Two processes that build the same array write two files, and the later rename replaces a file by its equal.
    """
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-{secrets.token_hex(4)}.partial")
    facts = temporary.with_suffix(".facts")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        _check_space(path.parent, where, int(np.prod(shape, dtype=np.int64)) * kind.itemsize)
        with temporary.open("xb") as file:
            broken = _write(file, shape, kind, blocks())
        files.sync_file(temporary)
        text = json.dumps({"source": where, "shape": shape, "dtype": kind.str, "broken": broken}, indent=1)
        files.write_bytes(facts, text.encode())
        files.sync_file(facts)
        _rename(facts, path.with_suffix(".json"))
        _rename(temporary, path)
    except OSError as error:
        raise RunError(
            str(path.parent), f"{error.strerror or error} while the decoded pictures of {where} were written",
            "a folder with room for them",
            "--set data.cache=ANOTHER_FOLDER, a smaller data.size or a larger data.memory_mb",
        ) from error  # fmt: skip
    finally:
        for leftover in (temporary, facts):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def _write(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype, blocks: Iterable[Block]) -> dict[int, str]:
    """The ``.npy`` file, row by row with ordinary writes: pages of a writable mapping would count as memory used."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    )
    file.write(header.getvalue())
    start = file.tell()
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * kind.itemsize
    _reserve(file, start + shape[0] * row_bytes)
    broken: dict[int, str] = {}
    for block in blocks:
        values = np.ascontiguousarray(block.pixels, kind)
        breaks = np.flatnonzero(np.diff(block.rows) != 1) + 1  # consecutive rows are one write
        for first, last in zip([0, *breaks], [*breaks, len(values)]):
            if first < last:
                file.seek(start + int(block.rows[first]) * row_bytes)
                file.write(values[first:last].data.cast("B"))
        broken.update(block.broken)
    return broken


def _reserve(file: IO[bytes], size: int) -> None:
    """Makes the file ``size`` bytes long, where possible in earnest: a full disk is better found out before an hour
    of decoding than after it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
    file.truncate(size)


def _rename(source: Path, target: Path) -> None:
    try:
        files.rename(source, target)
    except PermissionError:  # Windows, while another process reads the equal file that it built meanwhile
        if not target.exists():
            raise
    files.sync_folder(target.parent)


def _check_space(where: Path, source: str, needed: int) -> None:
    free = shutil.disk_usage(where).free
    if free < needed:
        raise RunError(
            str(where), f"{free >> 20} MB free for the decoded pictures of {source}", f"{(needed >> 20) + 1} MB",
            "--set data.cache=ANOTHER_FOLDER, a smaller data.size or a larger data.memory_mb",
        )  # fmt: skip


def _sweep(where: Path) -> None:
    for pattern in (".*.partial", ".*.facts"):
        for left in where.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink()


def file_digest(path: Path) -> str:
    """Hash of one file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
