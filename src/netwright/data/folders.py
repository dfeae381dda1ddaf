"""Class folders of pictures: ``cat/…``, ``dog/…``, or such folders under ``train/``, ``val/`` and ``test/``; also
inside an archive, which is read in place.

The names of the class folders in order are the classes. Folders above that hold nothing else are skipped, folders
inside a class belong to it, hidden files and files that are no pictures are ignored. Examples are in the order of
part, class and path, wherever they were stored.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netwright.data.archives import entries
from netwright.data.cache import Stored, file_digest, limit_bytes, store
from netwright.data.examples import Examples, Part
from netwright.data.pictures import (
    SUFFIXES,
    Block,
    BrokenPicture,
    Encoded,
    Look,
    Plan,
    decode_all,
    look,
    plan_of,
    preprocess_for,
)
from netwright.data.splitting import match_classes
from netwright.errors import DataError
from netwright.recipe.schema import Data

PARTS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
ORDER = ("train", "validation", "test")
HELD_SHARE = 8  # encoded files of an archive stay in memory up to this part of the limit, or it is read twice
LOOKS_AT_ONCE = 256
EXPECTED = "a folder of pictures for each class (cat/…, dog/…), or train/, val/ and test/ with such folders"


class Found(NamedTuple):
    """What lies in a source: picture files, all folders (both as paths with slashes), and, of an archive, what was
    learned on the way: the looks of its pictures and, if they were small enough, their bytes."""

    pictures: tuple[str, ...]
    folders: tuple[str, ...]
    looks: dict[str, Look]
    held: dict[str, bytes] | None


class Group(NamedTuple):
    """The pictures of one class in one part."""

    part: str
    label: str
    names: tuple[str, ...]


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """All parts of a folder or an archive; pictures that cannot be decoded stop it unless ``skip_broken``."""
    archive = not path.is_dir()
    found = _in_archive(path, limit_bytes(options) // HELD_SHARE) if archive else _in_folder(path)
    groups = arrange(found.pictures, found.folders, str(path), needs_train=like is None)
    names = tuple(name for group in groups for name in group.names)
    first = groups[0].part
    leading = [name for group in groups if group.part == first for name in group.names]
    automatic = like is None and "auto" in (options.size, options.channels)
    looks = found.looks if archive or not automatic else _looks(path, leading)
    record = preprocess_for(options, (looks[name] for name in leading if name in looks), like)
    stored = _stored(options, path, names, found, plan_of(record))
    if stored.broken and not options.skip_broken:
        row = min(stored.broken)
        raise _broken(path, names[row], stored.broken[row], len(stored.broken))
    classes = like.classes if like else tuple(group.label for group in groups if group.part == first)
    return Examples(
        kind="image", task="classification", parts=_parts(path, groups, names, stored, classes),
        preprocess=(record,), classes=classes,
        skipped=tuple(f"{names[row]}: {reason}" for row, reason in sorted(stored.broken.items())),
    )  # fmt: skip


def is_picture(name: str) -> bool:
    return name[name.rfind(".") :].lower() in SUFFIXES


def _parts(
    path: Path, groups: list[Group], names: tuple[str, ...], stored: Stored, classes: tuple[str, ...]
) -> dict[str, Part]:
    parts = {}
    start = 0
    for part in ORDER:
        own = [group for group in groups if group.part == part]
        if not own:
            continue
        labels = np.repeat(np.arange(len(own)), [len(group.names) for group in own]).astype(np.int64)
        targets = match_classes(labels, tuple(group.label for group in own), classes, f"{path}: {part}")
        stop = start + len(labels)
        good = np.array([row for row in range(start, stop) if row not in stored.broken], np.int64) - start
        for position, group in enumerate(own):
            if not np.any(labels[good] == position):
                raise DataError(f"{path}: {part}/{group.label}", "only broken pictures", "at least one that is whole")
        whole = len(good) == len(labels)
        parts[part] = Part((stored.pixels[start:stop],), targets, None if whole else good, names[start:stop])
        start = stop
    return parts


# ------------------------------------------------------------------------------------------------ what lies where


def _visible(name: str) -> bool:
    return "/." not in (anchored := f"/{name}/") and "/__MACOSX/" not in anchored


def _in_folder(path: Path) -> Found:
    pictures, folders = [], []
    seen = set()
    for top, below, files in os.walk(path, onerror=_cannot_enter, followlinks=True):
        place = os.path.realpath(top)
        if place in seen:  # a link that leads back up
            below.clear()
            continue
        seen.add(place)
        below[:] = sorted(name for name in below if _visible(name))
        base = Path(top).relative_to(path).as_posix()
        prefix = "" if base == "." else f"{base}/"
        folders += [prefix + name for name in below]
        pictures += [prefix + name for name in files if is_picture(name) and _visible(name)]
    return Found(tuple(pictures), tuple(folders), {}, None)


def _cannot_enter(error: OSError) -> None:
    raise DataError(str(error.filename), error.strerror or str(error), "a folder that can be read") from error


def _in_archive(path: Path, most: int) -> Found:
    """One pass over an archive: names, looks, and the pictures' bytes while they are no more than ``most``."""
    folders: dict[str, None] = {}
    looks: dict[str, Look] = {}
    pictures: dict[str, None] = {}
    held: dict[str, bytes] | None = {}
    size = 0
    for entry in entries(path):
        if not _visible(entry.name):
            continue
        parent = entry.name if entry.directory else entry.name.rpartition("/")[0]
        while parent and parent not in folders:
            folders[parent] = None
            parent = parent.rpartition("/")[0]
        if entry.directory or not is_picture(entry.name):
            continue
        pictures[entry.name] = None
        data = entry.read()
        try:
            looks[entry.name] = look(data)
        except BrokenPicture:
            looks.pop(entry.name, None)  # decoding says why
        size += len(data)
        if size > most:
            held = None
        if held is not None:
            held[entry.name] = data
    return Found(tuple(pictures), tuple(folders), looks, held)


def _looks(path: Path, names: list[str]) -> dict[str, Look]:
    """Sizes and modes from the files' headers, many at once: on a network drive each takes a round trip."""

    def some(chunk: list[str]) -> list[tuple[str, Look]]:
        seen = []
        for name in chunk:
            try:
                seen.append((name, look(path / name)))
            except BrokenPicture:
                continue  # decoding says why
        return seen

    chunks = [names[start : start + LOOKS_AT_ONCE] for start in range(0, len(names), LOOKS_AT_ONCE)]
    with ThreadPoolExecutor(8, "netwright-look") as pool:
        return {name: seen for chunk in pool.map(some, chunks) for name, seen in chunk}


def arrange(pictures: Iterable[str], folders: Iterable[str], where: str, *, needs_train: bool = True) -> list[Group]:
    """Pictures by part and class, in the order of the examples; raises where the layout is not a classification."""
    paths = sorted(tuple(name.split("/")) for name in pictures)
    if not paths:
        raise DataError(where, "no pictures", EXPECTED, f"files with the endings {', '.join(sorted(SUFFIXES))}")
    above = _depth_above(paths)
    tops = sorted({path[above] for path in paths if len(path) > above + 1})
    flat = [path for path in paths if len(path) == above + 1]
    if flat:
        got = "pictures that lie in no class folder" if not tops else "pictures beside the class folders"
        raise DataError(where, f"{got}, {'/'.join(flat[0])} for one", EXPECTED)
    has_parts = all(top.lower() in PARTS for top in tops)
    by_part: dict[str, str] = {}
    for top in tops if has_parts else ():
        part = PARTS[top.lower()]
        if part in by_part:
            raise DataError(where, f"both {by_part[part]}/ and {top}/", f"one folder for the {part} part")
        by_part[part] = top
    if has_parts and needs_train and "train" not in by_part:
        raise DataError(where, f"only {'/, '.join(tops)}/", f"train/ with the training part; {EXPECTED}")
    parts = [top for top in tops if top.lower() in PARTS]
    if not has_parts and "train" in {PARTS[top.lower()] for top in parts} and len(parts) > 1:
        others = [f"{top}/" for top in tops if top not in parts]
        raise DataError(
            where, f"{'/, '.join(parts)}/ beside {', '.join(others[:4])}{', …' * (len(others) > 4)}", EXPECTED,
            f"a folder with {'/, '.join(parts)}/ alone",
        )  # fmt: skip
    level = above + 1 if has_parts else above  # where the class folders' names stand
    grouped: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        if len(path) <= level + 1:
            raise DataError(where, f"pictures that lie in no class folder, {'/'.join(path)} for one", EXPECTED)
        part = PARTS[path[above].lower()] if has_parts else "train"
        grouped.setdefault((part, path[level]), []).append("/".join(path))
    _check_empty(folders, paths[0][:above], by_part, grouped, where)
    keys = sorted(grouped, key=lambda key: (ORDER.index(key[0]), key[1]))
    return [Group(part, label, tuple(grouped[part, label])) for part, label in keys]


def _depth_above(paths: list[tuple[str, ...]]) -> int:
    """How many folders lie above all parts or classes, with nothing beside them."""
    depth = 0
    while True:
        shared = {path[depth] for path in paths if len(path) > depth + 1}
        deep = all(len(path) > depth + 2 for path in paths)
        if len(shared) != 1 or not deep or next(iter(shared)).lower() in PARTS:
            return depth
        depth += 1


def _check_empty(
    folders: Iterable[str], base: tuple[str, ...], by_part: dict[str, str], grouped: dict[tuple[str, str], list[str]],
    where: str,
) -> None:  # fmt: skip
    """Stops at a folder in a class folder's place that has no pictures: a class would silently be missing."""
    places = {(*base, top): part for part, top in by_part.items()} or {base: "train"}
    for folder in folders:
        path = tuple(folder.split("/"))
        part = places.get(path[:-1])
        if part is not None and (part, path[-1]) not in grouped:
            raise DataError(
                f"{where}: {folder}", "a class folder without pictures", "at least one picture for each class",
                f"remove the folder, or put in files with the endings {', '.join(sorted(SUFFIXES))}",
            )  # fmt: skip


# ------------------------------------------------------------------------------------------------ pixels


def _stored(options: Data, path: Path, names: tuple[str, ...], found: Found, plan: Plan) -> Stored:
    def blocks() -> Iterator[Block]:
        for block in decode_all(_encoded(path, names, found), plan, limit_bytes(options)):
            if block.broken and not options.skip_broken:
                row = min(block.broken)
                raise _broken(path, names[row], block.broken[row], len(block.broken))
            yield block

    def content() -> str:
        return f"{_digest(path, names)} {plan}"

    return store(options, str(path), (len(names), *plan.shape), content, blocks)


def _broken(path: Path, name: str, reason: str, count: int) -> DataError:
    return DataError(
        f"{path}: {name}", f"a broken picture ({reason})" + (f", the first of {count} or more" if count > 1 else ""),
        "pictures that can be decoded", "remove it, or --set data.skip_broken=true to leave such files out",
    )  # fmt: skip


def _encoded(path: Path, names: tuple[str, ...], found: Found) -> Iterator[Encoded]:
    """Every picture with its row; those of an archive that was too large to hold in the order of the archive."""
    if path.is_dir():
        for row, name in enumerate(names):
            yield row, path / name
    elif found.held is not None:
        for row, name in enumerate(names):
            yield row, found.held.pop(name)
    else:
        rows = {name: row for row, name in enumerate(names)}
        for entry in entries(path):
            if entry.name in rows and not entry.directory:
                yield rows[entry.name], entry.read()


def _digest(path: Path, names: tuple[str, ...]) -> str:
    """Hash of names and contents."""
    if not path.is_dir():
        return file_digest(path)

    def one(name: str) -> bytes:
        try:
            return f"{name}\0{file_digest(path / name)}\n".encode()
        except OSError as error:
            return f"{name}\0{error.errno}\n".encode()  # decoding says why

    digest = hashlib.blake2b(digest_size=32)
    with ThreadPoolExecutor(4, "netwright-hash") as pool:
        for line in pool.map(one, names):
            digest.update(line)
    return digest.hexdigest()
