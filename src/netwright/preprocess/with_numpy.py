"""The NumPy twin: raw arrays → the network's input, and the measuring of means and deviations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from netwright.preprocess.records import ArrayPreprocess, ImagePreprocess, Preprocess, SeriesPreprocess, TablePreprocess

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]

# ITU-R BT.601 luma, and the analogue U and V that belong to it.
LUMA = (0.299, 0.587, 0.114)
U_SCALE, V_SCALE = 0.492, 0.877
MEASURE_BYTES = 1 << 20  # as double precision, in memory while statistics are measured


def apply(record: Preprocess, raw: Array) -> Array:
    """Raw (N, ...) → network input (N, ...), ``float32`` (integer arrays without a scale stay integers)."""
    match record:
        case ImagePreprocess():
            return _normalised(
                planes(record.channels, raw.astype(np.float32) / np.float32(255)), record.mean, record.std
            )
        case SeriesPreprocess():
            return _normalised(raw.astype(np.float32) / np.float32(32768), record.mean, record.std)
        case TablePreprocess():
            return _features(record, raw.astype(np.float32))
        case ArrayPreprocess():
            if record.scale is None:
                return raw
            return _normalised(raw.astype(np.float32) * np.float32(record.scale), record.mean, record.std)


def _normalised(values: Floats, mean: tuple[float, ...], std: tuple[float, ...]) -> Floats:
    if not mean:
        return values
    shape = (1, -1) + (1,) * (values.ndim - 2)
    return (values - np.asarray(mean, np.float32).reshape(shape)) / np.asarray(std, np.float32).reshape(shape)


def _features(record: TablePreprocess, cells: Floats) -> Floats:
    blocks: list[Floats] = []
    for position, column in enumerate(record.columns):
        cell = cells[:, position : position + 1]
        if column.kind == "category":
            blocks.append((cell == np.arange(len(column.categories), dtype=np.float32)).astype(np.float32))
        else:
            values: Floats = (cell - np.float32(column.mean)) / np.float32(column.std)
            values[np.isnan(values)] = 0  # a missing number is the mean
            blocks.append(values)
    return np.concatenate(blocks, axis=1) if blocks else np.zeros((len(cells), 0), np.float32)


# ------------------------------------------------------------------------------------------------ colours


def planes(channels: tuple[str, ...], pixels: Floats) -> Floats:
    """Planes of the named colour spaces from grey or RGB ``pixels`` (N, 1 or 3, H, W) in 0…1.

    All planes are in 0…1 but U (±0.436) and V (±0.615). Hue is a turn: 0 and 1 are the same red.
    """
    return np.concatenate([_SPACES[name](pixels) for name in channels], axis=1)


def _rgb(pixels: Floats) -> Floats:
    return pixels if pixels.shape[1] == 3 else np.repeat(pixels, 3, axis=1)


def _grey(pixels: Floats) -> Floats:
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = (pixels[:, i : i + 1] for i in range(3))
    return np.float32(LUMA[0]) * red + np.float32(LUMA[1]) * green + np.float32(LUMA[2]) * blue  # type: ignore[no-any-return]


def _binary(pixels: Floats) -> Floats:
    return (_grey(pixels) > 0.5).astype(np.float32)


def _yuv(pixels: Floats) -> Floats:
    pixels = _rgb(pixels)
    luma = _grey(pixels)
    blue, red = pixels[:, 2:3], pixels[:, 0:1]
    return np.concatenate([luma, np.float32(U_SCALE) * (blue - luma), np.float32(V_SCALE) * (red - luma)], axis=1)


def _hue(pixels: Floats, high: Floats, spread: Floats) -> Floats:
    red, green, blue = (pixels[:, i : i + 1] for i in range(3))
    safe = np.where(spread > 0, spread, np.float32(1))
    sector = np.where(
        high == red,
        (green - blue) / safe,
        np.where(high == green, (blue - red) / safe + np.float32(2), (red - green) / safe + np.float32(4)),
    )
    turn = sector / np.float32(6)
    return np.where(spread > 0, turn - np.floor(turn), np.float32(0)).astype(np.float32)


def _hsv(pixels: Floats) -> Floats:
    pixels = _rgb(pixels)
    high, low = pixels.max(1, keepdims=True), pixels.min(1, keepdims=True)
    spread = high - low
    saturation = np.where(high > 0, spread / np.where(high > 0, high, np.float32(1)), np.float32(0))
    return np.concatenate([_hue(pixels, high, spread), saturation, high], axis=1)


def _hsl(pixels: Floats) -> Floats:
    pixels = _rgb(pixels)
    high, low = pixels.max(1, keepdims=True), pixels.min(1, keepdims=True)
    spread, lightness = high - low, (high + low) / np.float32(2)
    width = np.float32(1) - np.abs(np.float32(2) * lightness - np.float32(1))
    saturation = np.where(width > 1e-6, spread / np.where(width > 1e-6, width, np.float32(1)), np.float32(0))
    return np.concatenate([_hue(pixels, high, spread), saturation, lightness], axis=1)


_SPACES: dict[str, Callable[[Floats], Floats]] = {
    "binary": _binary, "grey": _grey, "rgb": _rgb, "yuv": _yuv, "hsv": _hsv, "hsl": _hsl,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ statistics


def measure(record: Preprocess, raw: Array, rows: npt.NDArray[np.int64] | None = None) -> Preprocess:
    """The record with mean and deviation of the given rows (the training part), measured in double precision.

    Costs one pass over those rows in pieces of ``MEASURE_BYTES`` (a few times that for computed colours). A constant
    channel keeps deviation 1. Missing table cells (NaN) do not count.
    """
    if isinstance(record, ArrayPreprocess) and record.scale is None:
        return record
    if isinstance(record, TablePreprocess):
        return _measure_table(record, raw, rows)
    bare = msgspec.structs.replace(record, mean=(), std=())
    count, total, squares = 0, np.zeros(()), np.zeros(())
    shift: npt.NDArray[np.float64] | None = None
    for piece in _pieces(raw, rows):
        values = apply(bare, piece).astype(np.float64)
        axes = (0, *range(2, values.ndim))
        if shift is None:  # a shifted variance keeps its digits where the mean is large
            shift = values.mean(axes, keepdims=True)
        values -= shift
        count += values.size // values.shape[1]
        total = total + values.sum(axes)
        squares = squares + np.square(values).sum(axes)
    if shift is None or count == 0:
        return record
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    std = np.where(std > 1e-7, std, 1.0)
    return msgspec.structs.replace(
        bare, mean=tuple(float(v) for v in mean + shift.ravel()), std=tuple(float(v) for v in std)
    )


def _measure_table(record: TablePreprocess, cells: Array, rows: npt.NDArray[np.int64] | None) -> TablePreprocess:
    chosen = cells if rows is None else cells[rows]
    columns = []
    for position, column in enumerate(record.columns):
        if column.kind != "category":
            values = chosen[:, position].astype(np.float64)
            values = values[np.isfinite(values)]
            std = float(values.std()) if len(values) else 1.0
            column = msgspec.structs.replace(
                column, mean=float(values.mean()) if len(values) else 0.0, std=std if std > 1e-12 else 1.0
            )
        columns.append(column)
    return msgspec.structs.replace(record, columns=tuple(columns))


def _pieces(raw: Array, rows: npt.NDArray[np.int64] | None) -> Iterator[Array]:
    length = len(raw) if rows is None else len(rows)
    step = max(1, MEASURE_BYTES // (8 * max(1, math.prod(raw.shape[1:]))))
    for start in range(0, length, step):
        yield raw[start : start + step] if rows is None else raw[np.sort(rows[start : start + step])]
