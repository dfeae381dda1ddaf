"""Pictures, from encoded files to raw ``uint8`` (C, H, W), in training and prediction by the same code.

What a picture is brought to (a ``Plan``) depends on the options and on the pictures' own shapes and modes, nothing
else. EXIF orientation is honoured, transparency is laid on white, 16 bits are rounded to 8, a padded border is black.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from netwright.data.examples import Array, Examples, Rows
from netwright.errors import DataError, RecipeError
from netwright.preprocess import ImagePreprocess, parse_channels, raw_shape
from netwright.recipe.schema import Data

Pixels = npt.NDArray[np.uint8]

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm"]
)
# Pillow's own readers of these; its others (EPS, which starts Ghostscript, among them) are not let near a file.
READERS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
KEEP_UP_TO = 64  # pixels: pictures that all have one size are kept at it up to this side
AUTO_SIDE = 64  # pixels: the side of all other pictures, where the recipe says nothing
MOST_FILE_BYTES = 1 << 29  # of one encoded picture: beyond that it is a mistake or an attack
HEADER_BYTES = 4096  # of a file, read to find its size; longer headers are read by Pillow itself
BATCH_PICTURES = 256
BATCH_BYTES = 8 << 20  # of pixels, or of encoded files, in one batch at most
IN_FLIGHT = 8  # a batch has at most this part of a core's share of the memory: a core has two batches, in and out
DRAFT_GAP = 2  # a JPEG is decoded at no less than this multiple of the wanted size, then resampled

Fit = Literal["squash", "crop", "pad"]
ORIENTATION = 0x0112  # the EXIF tag


class Look(NamedTuple):
    """A picture's upright height and width, and whether it is grey."""

    height: int
    width: int
    grey: bool


class Plan(NamedTuple):
    """What every picture becomes: ``uint8`` (planes, height, width)."""

    planes: int
    height: int
    width: int
    fit: Fit

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.planes, self.height, self.width


class Block(NamedTuple):
    """Pixels (n, C, H, W) of the rows ``rows``; ``broken``: the reason for each row that could not be decoded."""

    rows: Rows
    pixels: Array
    broken: dict[int, str]


class BrokenPicture(Exception):
    """A picture that cannot be decoded; the message is the reason, in a few words."""


# ------------------------------------------------------------------------------------------------ what pictures become


def parse_size(size: str | int) -> tuple[int, int] | None:
    """``data.size`` as (height, width); None for ``"auto"``."""
    text = str(size).strip().lower().replace("×", "x")
    if text == "auto":
        return None
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match or int(match[1]) == 0 or int(match[2] or 1) == 0:
        raise RecipeError(
            "data.size", repr(size), "auto, 32 or 32x48 (height x width), of 99999 at most", "--set data.size=32"
        )
    return int(match[1]), int(match[2] or match[1])


def preprocess_for(options: Data, looks: Iterable[Look], like: Examples | None = None) -> ImagePreprocess:
    """What the training part's pictures become, without statistics; those of ``like`` if it is given."""
    if like is not None:
        first = like.preprocess[0]
        if not isinstance(first, ImagePreprocess):
            raise DataError("data.source", "pictures", f"the training part's kind, {like.kind}")
        return msgspec.structs.replace(first, mean=(), std=())
    shapes, grey = set(), True
    for look in looks:
        shapes.add((look.height, look.width))
        grey = grey and look.grey
    if options.channels == "auto":
        channels: tuple[str, ...] = ("grey",) if grey else ("rgb",)
    else:
        channels = parse_channels(options.channels)
    size = parse_size(options.size)
    if size is None:
        size = shapes.pop() if len(shapes) == 1 else (AUTO_SIDE, AUTO_SIDE)
        if options.size == "auto" and max(size) > KEEP_UP_TO:
            size = (AUTO_SIDE, AUTO_SIDE)
    return ImagePreprocess(channels=channels, size=size, fit=options.fit)


def plan_of(record: ImagePreprocess) -> Plan:
    planes, height, width = raw_shape(record)
    return Plan(planes, height, width, record.fit)


# ------------------------------------------------------------------------------------------------ one picture


def look(source: Path | bytes) -> Look:
    """Size and mode from the header alone; raises ``BrokenPicture``."""
    header = source[:HEADER_BYTES] if isinstance(source, bytes) else _start_of(source)
    plain = _plain_jpeg(header)
    if plain:
        return Look(plain.height, plain.width, plain.mode == "L")
    with _opened(source) as image:
        try:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # newer Pillows tell the upright size, older do not
                width, height = image.tag_v2[256], image.tag_v2[257]
            if _orientation(image) >= 5:
                width, height = height, width
            return Look(height, width, _is_grey(image))
        except Exception as error:  # Pillow's readers of damaged files raise nearly anything
            raise BrokenPicture(_reason(error)) from error


def decode(source: str | Path | bytes, preprocess: ImagePreprocess) -> Pixels:
    """One picture, a file or its bytes, as raw ``uint8`` (C, H, W), just as in training."""
    where = "picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else _read(Path(source))
        return np.ascontiguousarray(_decoded(data, plan_of(preprocess)).transpose(2, 0, 1))
    except BrokenPicture as error:
        raise DataError(
            where, f"a broken picture ({error})", "a PNG, JPEG, BMP, GIF, WebP, TIFF or PNM file"
        ) from error


def _decoded(data: bytes, plan: Plan) -> Pixels:
    """The bytes of a picture file as (height, width, planes); raises ``BrokenPicture``.

    A plain JPEG that already has the wanted size goes to libjpeg at once: for 32x32 pixels, parsing the header in
    Pillow costs twice as much as decoding. The result is the same, and whatever fails goes the long way.
    """
    plain = _plain_jpeg(data[:HEADER_BYTES])
    if plain and (plain.height, plain.width) == (plan.height, plan.width):
        try:
            image = Image.frombytes(plain.mode, (plain.width, plain.height), data, "jpeg", plain.mode, "")
            return _pixels(_with_planes(image, plan.planes))
        except Exception:
            pass
    with _opened(data) as image:
        try:
            orientation = _orientation(image)
            turned = orientation >= 5
            height, width = (plan.width, plan.height) if turned else (plan.height, plan.width)
            image.draft(None, (DRAFT_GAP * width, DRAFT_GAP * height))
            image.load()
            upright = ImageOps.exif_transpose(image) if orientation != 1 else image
            return _pixels(_fitted(_with_planes(upright, plan.planes), plan))
        except BrokenPicture:
            raise
        except MemoryError:
            raise
        except Exception as error:
            raise BrokenPicture(_reason(error)) from error


class _PlainJpeg(NamedTuple):
    height: int
    width: int
    mode: str


def _plain_jpeg(header: bytes) -> _PlainJpeg | None:
    """Size and mode of a JPEG that has no application data but JFIF's (so no EXIF, colour profile or second image)."""
    if header[:3] != b"\xff\xd8\xff":
        return None
    position, end = 2, len(header) - 10
    while position < end:
        if header[position] != 0xFF:
            return None
        marker = header[position + 1]
        if 0xC0 <= marker <= 0xC2:  # baseline, extended, progressive
            if header[position + 4] != 8:
                return None
            height, width = struct.unpack_from(">HH", header, position + 5)
            mode = {1: "L", 3: "RGB"}.get(header[position + 9])
            return _PlainJpeg(height, width, mode) if mode and height and width else None
        if marker not in (0xE0, 0xDB, 0xC4, 0xDD, 0xFE):  # JFIF, tables, restarts, comment
            return None
        position += 2 + int.from_bytes(header[position + 2 : position + 4])
    return None


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except OSError as error:
        raise BrokenPicture(error.strerror or str(error)) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise BrokenPicture(error.strerror or str(error)) from error
    if len(data) > MOST_FILE_BYTES:
        raise BrokenPicture(f"larger than {MOST_FILE_BYTES >> 20} MB")
    return data


def _opened(source: Path | bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=READERS)
    except MemoryError:
        raise
    except Exception as error:
        raise BrokenPicture(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, or a damaged header"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than any real picture has"
    return str(error) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """1…8, as EXIF counts; 5 and above lie on their side."""
    if image.format == "PNG" and "exif" not in image.info:  # asking would decode the whole picture
        return 1
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P":
        palette = image.getpalette("RGB") or []
        return palette[0::3] == palette[1::3] == palette[2::3]
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")


def _with_planes(image: Image.Image, planes: int) -> Image.Image:
    """Any mode as ``L`` or ``RGB``."""
    mode = "L" if planes == 1 else "RGB"
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode == "F":
        raise BrokenPicture("floating-point pixels, whose white is unknown; 8 or 16 bits are read")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    if image.mode != mode and mode == "L" and image.mode not in ("1", "LA", "RGB"):
        image = image.convert("RGB")  # palettes, CMYK, YCbCr and Lab become grey by way of their colours
    return image.convert(mode) if image.mode != mode else image


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)  # I;16 of either byte order, or I holding 16 bits
    return Image.fromarray(((np.clip(values, 0, 65535) * 255 + 32767) // 65535).astype(np.uint8))


def _fitted(image: Image.Image, plan: Plan) -> Image.Image:
    """``image`` at the plan's size, by a triangle filter that widens where it shrinks (so it does not alias)."""
    size = (plan.width, plan.height)
    if image.size == size:
        return image
    method = Image.Resampling.BILINEAR
    match plan.fit:
        case "squash":
            return image.resize(size, method)
        case "crop":
            return ImageOps.fit(image, size, method)
        case "pad":
            return ImageOps.pad(image, size, method)


def _pixels(image: Image.Image) -> Pixels:
    pixels = np.frombuffer(image.tobytes(), np.uint8)
    bands = len(image.getbands())
    return pixels.reshape(image.height, image.width, bands)


# ------------------------------------------------------------------------------------------------ arrays of pictures


def conform(images: Array, plan: Plan) -> Array:
    """Decoded pictures, ``uint8`` (N, 1 or 3, H, W), as the plan wants them; the array itself if they fit."""
    if images.shape[1:] == plan.shape:
        return images
    if images.shape[2:] == (plan.height, plan.width):
        return _recoloured(images, plan.planes)
    result = np.empty((len(images), *plan.shape), np.uint8)
    for number, planes in enumerate(images):
        grey = len(planes) == 1
        picture = Image.fromarray(planes[0] if grey else np.ascontiguousarray(planes.transpose(1, 2, 0)))
        result[number] = _pixels(_fitted(_with_planes(picture, plan.planes), plan)).transpose(2, 0, 1)
    return result


def _recoloured(images: Array, planes: int) -> Array:
    if planes == 3:
        return np.repeat(images, 3, axis=1)
    red, green, blue = (images[:, band].astype(np.uint32) for band in range(3))
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16  # Pillow's BT.601, to the bit
    return luma[:, None].astype(np.uint8)


# ------------------------------------------------------------------------------------------------ many pictures

Encoded = tuple[int, "bytes | Path"]  # the row it belongs to, and the file


def decode_all(encoded: Iterable[Encoded], plan: Plan, memory: int) -> Iterator[Block]:
    """All pictures, in the order given, decoded on all cores with about half of ``memory`` bytes in use at a time.

    By threads: Pillow lets libjpeg and resampling run side by side. Worker processes were measured too (60,000 JPEGs
    of 32x32 on two cores): a quarter more processor time, and no sooner done.
    """
    cores = _cores()
    pool = ThreadPoolExecutor(cores, "netwright-decode")
    pending: deque[Future[Block]] = deque()
    try:
        for batch in _batches(encoded, plan, min(BATCH_BYTES, memory // (IN_FLIGHT * cores))):
            pending.append(pool.submit(_decode_batch, batch, plan))
            if len(pending) > 2 * cores:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _batches(encoded: Iterable[Encoded], plan: Plan, size: int) -> Iterator[list[Encoded]]:
    most = max(1, min(BATCH_PICTURES, size // (plan.planes * plan.height * plan.width)))
    batch: list[Encoded] = []
    held = 0
    for item in encoded:
        batch.append(item)
        held += len(item[1]) if isinstance(item[1], bytes) else 0
        if len(batch) >= most or held >= size:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _decode_batch(batch: list[Encoded], plan: Plan) -> Block:
    pixels = np.zeros((len(batch), plan.height, plan.width, plan.planes), np.uint8)
    broken = {}
    for position, (row, source) in enumerate(batch):
        try:
            pixels[position] = _decoded(source if isinstance(source, bytes) else _read(source), plan)
        except BrokenPicture as error:
            broken[row] = str(error)
    rows = np.fromiter((row for row, _ in batch), np.int64, len(batch))
    return Block(rows, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), broken)
