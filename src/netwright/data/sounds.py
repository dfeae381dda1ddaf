"""Sounds: WAV files in a folder or an archive, as mono ``int16`` of one rate and one length.

The class of a sound is its folder (``dog/1.wav``), or, where the files lie side by side, its name up to the first
underscore (``7_jackson_32.wav`` → ``7``). Folders ``train``, ``val`` and ``test`` above that are the parts. Folders
around everything do not count, nor do hidden files and folders that begin with an underscore. An archive (``.tar``,
also compressed, or ``.zip``) is read in place; nothing is unpacked.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from netwright.data.archives import entries
from netwright.data.examples import Array, Examples, Part
from netwright.errors import DataError, nearest
from netwright.preprocess import SeriesPreprocess
from netwright.recipe.schema import Data
from netwright.records import plural

PARTS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
OTHER_SOUNDS = (".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".au")
LONGEST_SECONDS = 30.0  # one long recording must not make every other one as long; data.seconds goes beyond
USUAL_SHARE, OUTLIER = 0.99, 2.0  # a longest sound beyond twice the length of 99 % of them is an outlier
MARGIN_SECONDS = 0.05  # decoded beyond the end, so that a resampling filter never sees where a sound was cut
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags of WAVE files
UNKNOWN_SIZE = 0xFFFFFFFF  # what programs write that did not know the length yet

Int16s = npt.NDArray[np.int16]


class Sound(NamedTuple):
    """One decoded file: mono samples at ``rate`` Hz; ``cut``: it was longer."""

    rate: int
    samples: Int16s
    cut: bool


# ------------------------------------------------------------------------------------------------ reading


def read(options: Data, path: Path, like: Examples | None = None) -> Examples:
    """The sounds below ``path``; every class, rate and length as in ``like`` where that is given."""
    if options.task not in ("auto", "classification"):
        raise DataError(
            "data.task", options.task, "classification: sounds have one class each", "--set data.task=classification"
        )
    trained = like.preprocess[0] if like is not None else None
    if trained is not None and not isinstance(trained, SeriesPreprocess):
        raise DataError(str(path), "sounds", f"what training has read: {like.kind if like else ''}")
    limit = options.seconds or LONGEST_SECONDS
    if trained is not None:
        limit = trained.samples / trained.sample_rate
    sounds: dict[str, Sound] = {}
    skipped: list[str] = []
    for name, content in _files(path, skipped, options.skip_broken):
        try:
            sounds[name] = parse(content, f"{path}: {name}", limit)
        except DataError as error:
            if not options.skip_broken:
                raise
            skipped.append(str(error))
    if not sounds:
        raise DataError(str(path), "no WAV file", "*.wav in class folders, or named LABEL_*.wav")
    names = sorted(sounds)
    rate = trained.sample_rate if trained else options.sample_rate or sounds[names[0]].rate
    series = [resampled(sounds[name], rate) for name in names]
    samples = trained.samples if trained else _length(series, options, rate)
    if not options.seconds and trained is None:
        cut = sum(sound.cut or len(one) > samples for sound, one in zip((sounds[name] for name in names), series))
        if cut:
            longest = f"{samples / rate:.2f} s (data.seconds decides)"
            many = f"the ends of {cut} sounds are cut off, which are"
            what = "the end of 1 sound is cut off, which is" if cut == 1 else many
            skipped.append(f"{path}: {what} longer than {longest}")
    placed, classes = _places(names, path, like)
    raw = _stacked(series, samples, path)
    return _examples(raw, names, placed, classes, SeriesPreprocess(sample_rate=rate, samples=samples), tuple(skipped))


def decode(source: Path | str | bytes, preprocess: SeriesPreprocess) -> Int16s:
    """One WAV file (a path or its bytes) in the raw form of training: ``int16`` (1, samples)."""
    if isinstance(source, bytes):
        content, where = source, "the WAV data"
    else:
        content, where = _content(Path(source)), str(source)
    sound = parse(content, where, preprocess.samples / preprocess.sample_rate)
    return fitted(resampled(sound, preprocess.sample_rate), preprocess.samples)[None]


def _length(series: list[Int16s], options: Data, rate: int) -> int:
    """Samples of every sound: as long as the longest, unless that is an outlier that would pad all the others."""
    if options.seconds:
        return max(1, round(options.seconds * rate))
    lengths = sorted(map(len, series))
    usual = lengths[math.ceil(USUAL_SHARE * len(lengths)) - 1]
    longest = lengths[-1] if lengths[-1] <= OUTLIER * usual else usual
    return min(longest, round(LONGEST_SECONDS * rate))


def _stacked(series: list[Int16s], samples: int, path: Path) -> Int16s:
    needed = len(series) * samples * 2
    if needed > _memory() / 2:
        raise DataError(
            str(path), f"{len(series)} sounds of {samples} samples ({needed / 1e9:.1f} GB)",
            "at most half of this machine's memory", "--set data.seconds=1, or a smaller data.sample_rate",
        )  # fmt: skip
    raw = np.zeros((len(series), 1, samples), np.int16)
    for row, sound in zip(raw, series, strict=True):
        row[0, : len(sound)] = sound[:samples]
    return raw


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        return 1 << 62


def _examples(
    raw: Array, names: list[str], placed: list[tuple[str, int]], classes: tuple[str, ...], record: SeriesPreprocess,
    skipped: tuple[str, ...],
) -> Examples:  # fmt: skip
    targets = np.asarray([label for _, label in placed], np.int64)
    whole = Part((raw,), targets, names=tuple(names))
    parts = {}
    for part in ("train", "validation", "test"):
        rows = np.asarray([row for row, (name, _) in enumerate(placed) if name == part], np.int64)
        if len(rows):
            parts[part] = whole if len(rows) == len(names) else whole.take(rows)
    return Examples(
        kind="series", task="classification", parts=parts, preprocess=(record,), classes=classes, skipped=skipped
    )


# ------------------------------------------------------------------------------------------------ classes and parts


def _places(names: list[str], path: Path, like: Examples | None) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Part and class index of every file, and the names of the classes."""
    paths = [PurePosixPath(name).parts for name in names]
    known = like.classes if like is not None else ()
    while len({parts[0] for parts in paths}) == 1 and min(map(len, paths)) > 1:
        only = paths[0][0]
        if only in known or (only.lower() in PARTS and like is None):
            break
        if not known and not _flat(parts[1:] for parts in paths) and min(map(len, paths)) == 2:
            break  # one folder with files of other names: a class
        paths = [parts[1:] for parts in paths]
    split = any(len(parts) > 1 and PARTS.get(parts[0].lower()) == "train" for parts in paths)
    labelled: list[tuple[str, str]] = []
    for name, parts in zip(names, paths, strict=True):
        part = "train"
        if split:
            if len(parts) < 2 or parts[0].lower() not in PARTS:
                raise DataError(f"{path}: {name}", "a file outside train, val and test", "every file in one of them")
            part, parts = PARTS[parts[0].lower()], parts[1:]
        labelled.append((part, _label(parts, f"{path}: {name}")))
    classes = known or tuple(sorted({label for part, label in labelled if part == "train"}))
    places = {label: place for place, label in enumerate(classes)}
    for (_, label), name in zip(labelled, names, strict=True):
        if label not in places:
            raise DataError(
                f"{path}: {name}", f"the class {label!r}, which training has not",
                f"one of {', '.join(classes[:20])}", nearest(label, classes) or "examples of it in the training part",
            )  # fmt: skip
    return [(part, places[label]) for part, label in labelled], classes


def _flat(paths: Iterable[tuple[str, ...]]) -> bool:
    return all(len(parts) == 1 and "_" in parts[0].strip("_") for parts in paths)


def _label(parts: tuple[str, ...], where: str) -> str:
    if len(parts) > 1:
        return parts[0]
    label, underscore, _ = parts[0].partition("_")
    if not underscore or not label:
        raise DataError(
            where, "a file that tells no class", "CLASS/file.wav or LABEL_rest.wav", "a folder for each class"
        )
    return label


# ------------------------------------------------------------------------------------------------ files


def _files(path: Path, skipped: list[str], skip_broken: bool) -> Iterator[tuple[str, bytes]]:
    """Name (below ``path``, with ``/``) and content of every WAV file."""
    outside: Counter[str] = Counter()
    for name, content in _members(path):
        parts = PurePosixPath(name).parts
        suffix = PurePosixPath(name).suffix.lower()
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        left_out = next((part for part in parts[:-1] if part.startswith("_")), None)
        if suffix == ".wav" and left_out:
            outside[left_out] += 1
        elif suffix == ".wav" or suffix in OTHER_SOUNDS:
            try:
                if suffix != ".wav":
                    raise DataError(f"{path}: {name}", f"a {suffix} file", "WAV", "ffmpeg -i FILE FILE.wav")
                data = content()
            except DataError as error:
                if not skip_broken:
                    raise
                skipped.append(str(error))
            else:
                yield name, data
    skipped += [
        f"{path}: {folder}: {plural(count, 'file')} left out, as its name begins with _"
        for folder, count in outside.items()
    ]


def _members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if path.is_dir():
        seen: set[str] = set()
        for folder, folders, files in os.walk(path, followlinks=True):
            folders[:] = sorted(folders) if (place := os.path.realpath(folder)) not in seen else []  # a link back up
            seen.add(place)
            for name in sorted(files):
                file = Path(folder) / name
                yield file.relative_to(path).as_posix(), partial(_content, file)
    elif not path.exists():
        raise DataError(str(path), "no such file or folder", "a folder of WAV files, or an archive of one")
    elif path.suffix.lower() == ".wav":
        raise DataError(str(path), "one sound", "a folder of sounds", str(path.parent))
    else:
        yield from ((entry.name, entry.read) for entry in entries(path) if not entry.directory)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(str(file), f"a file that cannot be read ({error.strerror})", "a WAV file") from error


# ------------------------------------------------------------------------------------------------ WAV


def parse(content: bytes, where: str, seconds: float = math.inf) -> Sound:
    """Mono ``int16`` from a RIFF/WAVE file: PCM of 8, 16, 24 or 32 bits or float; at most ``seconds`` of it.

    16 bits stay as they are; wider samples lose their lower bits, floats in −1…1 are scaled by 32768; several channels
    become their mean.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        got = "an empty file" if not content else f"a file that begins with {content[:4]!r}"
        raise DataError(where, got, "a WAV file (RIFF … WAVE)")
    tag = channels = rate = bits = 0
    position = 12
    while position + 8 <= len(content):
        chunk, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        start = position + 8
        if chunk == b"fmt ":
            if start + size > len(content):
                got = f"a truncated file: {len(content)} bytes"
                raise DataError(where, got, f"{start + size} for its format alone", "download it again")
            if size < 16:
                raise DataError(where, f"a format of {size} bytes", "at least 16", "record or convert it again")
            tag, channels = (int.from_bytes(content[start + i : start + i + 2], "little") for i in (0, 2))
            rate = int.from_bytes(content[start + 4 : start + 8], "little")
            bits = int.from_bytes(content[start + 14 : start + 16], "little")
            if tag == EXTENSIBLE and size >= 26:
                tag = int.from_bytes(content[start + 24 : start + 26], "little")
        elif chunk == b"data":
            if not rate or not channels:
                raise DataError(where, "sound without a format before it", "a fmt chunk with rate and channels")
            if size == UNKNOWN_SIZE:
                size = len(content) - start
            if start + size > len(content):
                raise DataError(
                    where, f"{len(content) - start} of {size} bytes of sound", "a whole file", "copy it again"
                )  # fmt: skip
            return _sound(memoryview(content)[start : start + size], tag, channels, rate, bits, where, seconds)
        position = start + size + size % 2
    raise DataError(where, "no sound in the file", "a data chunk", "record or convert it again")


def _sound(
    data: memoryview, tag: int, channels: int, rate: int, bits: int, where: str, seconds: float
) -> Sound:  # fmt: skip
    known = (8, 16, 24, 32) if tag == PCM else (32, 64) if tag == FLOAT else ()
    if bits not in known:
        raise DataError(where, f"samples of format {tag} with {bits} bits", "PCM of 8, 16, 24 or 32 bits, or float",
                        "ffmpeg -i FILE -c:a pcm_s16le FILE.wav")  # fmt: skip
    width = bits // 8 * channels
    frames = len(data) // width
    if frames == 0:
        raise DataError(where, "no samples", "at least one")
    wanted = frames if math.isinf(seconds) else min(frames, math.ceil((seconds + MARGIN_SECONDS) * rate))
    data = data[: wanted * width]
    values = _samples(data, tag, bits)
    if not np.isfinite(values).all():
        raise DataError(where, "samples that are NaN or infinite", "numbers in −1…1")
    if channels > 1:
        values = values.reshape(wanted, channels).mean(1, dtype=np.float64)
    return Sound(rate, _int16(values), cut=frames > seconds * rate)


def _samples(data: memoryview, tag: int, bits: int) -> npt.NDArray[np.int16] | npt.NDArray[np.float64]:
    """Samples on the scale of ``int16``."""
    if tag == FLOAT:
        return np.frombuffer(data, f"<f{bits // 8}").astype(np.float64) * 32768
    if bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) * 256
    if bits == 16:
        return np.frombuffer(data, "<i2").astype(np.int16)
    whole = np.frombuffer(data, np.uint8).reshape(-1, bits // 8)
    return np.ascontiguousarray(whole[:, -2:]).view("<i2").ravel().astype(np.int16)  # the two upper bytes


def _int16(values: npt.NDArray[np.int16] | npt.NDArray[np.float64]) -> Int16s:
    if values.dtype == np.int16:
        return values.astype(np.int16)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def resampled(sound: Sound, rate: int) -> Int16s:
    """The samples at ``rate`` Hz (polyphase filter, Kaiser window)."""
    if sound.rate == rate:
        return sound.samples
    from scipy.signal import resample_poly  # comes with scikit-learn

    common = math.gcd(sound.rate, rate)
    up, down = rate // common, sound.rate // common
    return _int16(resample_poly(sound.samples.astype(np.float64), up, down))


def fitted(samples: Int16s, length: int) -> Int16s:
    """Cut, or padded with silence."""
    out = np.zeros(length, np.int16)
    out[: min(length, len(samples))] = samples[:length]
    return out
