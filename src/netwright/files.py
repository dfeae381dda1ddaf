"""The few durable file operations that everything kept on disk goes through. No torch.

The law: at any moment of a kill, either the old or the new state is there, whole. So: write beside, sync, rename,
sync the folder. Each step is a function of its own so that a test can kill between any two of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from netwright.errors import RunError

# What says of a place that it will never do, whatever is tried again; anything else is a fault of the machine.
IMPOSSIBLE = {
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR,
    errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP,
}  # fmt: skip
ELSEWHERE = "--out FOLDER"


def write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)


def sync_file(path: Path) -> None:
    """Wait until the file's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the folder's entries are on the disk (a no-op where folders cannot be synced)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    source.replace(target)


def remove_tree(path: Path) -> None:
    """Remove a folder; a kill in between leaves a part of it under a name that nobody reads."""
    doomed = path.with_name(f".{path.name}.doomed-{os.getpid()}")
    rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def replace_file(path: Path, content: bytes | str, hint: str = ELSEWHERE) -> None:
    """Put ``content`` at ``path``: the old file stays whole until the new one is. ``hint``: as ``explained`` has it."""
    content = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with explained(path, hint):
        try:
            write_bytes(beside, content)
            sync_file(beside)
            rename(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left half-written in ``folder``: temporary names, never read by anyone."""
    if not folder.is_dir():
        return
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def require_place(folder: Path, hint: str = ELSEWHERE) -> None:
    """Stop where a folder cannot be made or written; nothing is left there. Seen by trying: permissions do not tell."""
    import tempfile

    with explained(folder, hint):
        whole = Path(os.path.abspath(folder))  # noqa: PTH100 - a part may be missing, and a .. must not lead out of here
        there = _nearest(whole)
        tried = Path(tempfile.mkdtemp(prefix=".netwright-", dir=there))
        try:
            (tried / whole.relative_to(there)).mkdir(parents=True, exist_ok=True)
        finally:
            shutil.rmtree(tried, ignore_errors=True)


@contextlib.contextmanager
def explained(path: Path, hint: str = ELSEWHERE) -> Iterator[None]:
    """Turn what the operating system says of a full, read-only or impossible place into an error with a way out."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC or error.errno == getattr(errno, "EDQUOT", None):
            raise RunError(
                str(path),
                "a full disk",
                "room to write; what was saved before is whole",
                "free space, then train --resume",
            ) from error
        if error.errno in IMPOSSIBLE:
            got = f"a place that cannot be written ({_reason(path, error)})"
            raise RunError(str(path), got, "a folder that can be written", hint) from error
        raise


def _reason(path: Path, error: OSError) -> str:
    """Which part of the path is to blame, where that can be seen."""
    there = _nearest(path)
    if not there.is_dir() and (there != path or error.errno in (errno.EEXIST, errno.ENOTDIR)):
        return f"{there} is a file" if there.is_file() else f"{there} is no folder"
    where = "" if there == path else f" in {there}"
    return f"{(error.strerror or str(error)).lower()}{where}"


def _nearest(path: Path) -> Path:
    """The path itself or the first folder above it that is there."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), Path())  # no error for odd names
