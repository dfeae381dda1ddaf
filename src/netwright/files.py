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


def replace_file(path: Path, content: bytes | str) -> None:
    """Put ``content`` at ``path``: the old file stays whole until the new one is."""
    content = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with explained(path):
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


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a full, read-only or forbidden place into an error with a way out."""
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
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise RunError(
                str(path), f"a place that cannot be written ({error.strerror})", "a writable folder", "--out FOLDER"
            ) from error
        raise
