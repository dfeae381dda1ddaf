"""The torch twin: raw tensors → the network's input, on the network's device, with the least work a batch.

A test holds it equal to ``with_numpy.apply``. Two laws beyond that equality: an example's bits depend on the example
alone (each step is one correctly rounded operation; a fused multiply-add rounds otherwise in the tail of a vector
than in its body, so the batch's size and the number of threads would show), and a channels-last batch stays one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from netwright.errors import DataError
from netwright.preprocess.records import ArrayPreprocess, ImagePreprocess, Preprocess, SeriesPreprocess, TablePreprocess
from netwright.preprocess.with_numpy import LUMA, U_SCALE, V_SCALE
from netwright.records import shape_text

# Above this |mean / deviation|, x·a + b with rounded a and b would lose digits that (x - mean)·(1 / deviation) keeps.
LARGEST_OFFSET = 64.0


def apply(record: Preprocess, raw: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Raw (N, ...) → network input (N, ...) of ``dtype`` on ``raw``'s device. For many batches keep a ``Prepared``."""
    return Prepared(record, raw.device, dtype)(raw)


class Prepared:
    """A record made ready for one device: ``prepared(raw)`` is ``with_numpy.apply(record, raw)`` as a tensor.

    ``raw`` travels to ``device`` in its small type. Integer arrays without a scale stay integers. The memory format
    of ``raw`` is kept, and where nothing is to be done the result is ``raw`` itself. Cost for grey and RGB pictures,
    sound and arrays: one conversion, one multiplication and one
    addition in place; other colour spaces a few passes a plane; tables three operations whatever their columns.
    Raises ``DataError`` where the shape cannot belong to the record.
    """

    def __init__(
        self, record: Preprocess, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.record = record
        self.device = torch.device(device)
        self.dtype = dtype
        self._compute = torch.float64 if dtype == torch.float64 else torch.float32
        self._run = self._prepare(record)

    def __call__(self, raw: Tensor) -> Tensor:
        if raw.device != self.device:
            raw = raw.to(self.device, non_blocking=True)
        return self._run(raw)

    def _prepare(self, record: Preprocess) -> Callable[[Tensor], Tensor]:
        match record:
            case ImagePreprocess():
                return self._prepare_image(record)
            case SeriesPreprocess():
                return _Affine(1 / 32768, record.mean, record.std, self.device, self._compute, self.dtype)
            case TablePreprocess():
                return _Cells(record, self.device, self._compute, self.dtype)
            case ArrayPreprocess(scale=None):
                return _unchanged
            case ArrayPreprocess(scale=scale):
                assert scale is not None
                return _Affine(scale, record.mean, record.std, self.device, self._compute, self.dtype)

    def _prepare_image(self, record: ImagePreprocess) -> Callable[[Tensor], Tensor]:
        affine = _Affine(1 / 255, record.mean, record.std, self.device, self._compute, self.dtype)
        after = _Affine(1.0, record.mean, record.std, self.device, self._compute, self.dtype)
        same_planes = 1 if record.channels == ("grey",) else 3 if record.channels == ("rgb",) else 0
        high = torch.tensor(255.0, dtype=self._compute, device=self.device)  # a tensor, so that every device divides

        def run(raw: Tensor) -> Tensor:
            if raw.ndim != 4 or raw.shape[1] not in (1, 3):
                raise DataError("preprocess", f"pictures of shape {shape_text(raw.shape)}", "(N, 1 or 3, H, W)")
            if raw.shape[1] == same_planes:
                return affine(raw)
            return after(planes(record.channels, raw.to(self._compute) / high))

        return run


def _unchanged(raw: Tensor) -> Tensor:
    return raw


class _Affine:
    """(N, C, ...) → ``(x * scale - mean) / std`` by one multiplication and one addition, in place where it may."""

    def __init__(
        self,
        scale: float,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        compute: torch.dtype,
        dtype: torch.dtype,
    ) -> None:
        self.compute, self.dtype, self.channels = compute, dtype, len(mean)
        centre = torch.tensor(mean or (0.0,), dtype=torch.float64)
        width = torch.tensor(std or (1.0,), dtype=torch.float64)
        self.direct = bool((centre.abs() / width <= LARGEST_OFFSET).all())
        self.scale = scale
        self.factor = (scale / width if self.direct else 1 / width).to(device, compute)
        self.offset = (-centre / width if self.direct else -centre).to(device, compute)
        self.multiplies = bool((self.factor != 1).any())
        self.adds = bool((self.offset != 0).any())
        self._rows: tuple[int, Tensor, Tensor] | None = None

    def __call__(self, raw: Tensor) -> Tensor:
        if self.channels > 1 and (raw.ndim < 2 or raw.shape[1] != self.channels):
            raise DataError(
                "preprocess",
                f"a batch of shape {shape_text(raw.shape)}",
                f"{self.channels} channels after the first axis",
            )
        values = raw.to(self.compute)
        fresh = values is not raw
        lines, factor, offset = self._broadcast(values)
        if not self.direct:  # (x·scale - mean)·(1 / std), the order of the NumPy twin
            if self.scale != 1:
                lines, fresh = (lines.mul_(self.scale) if fresh else lines * self.scale), True
            lines = lines.add_(offset) if fresh else lines + offset
            lines.mul_(factor)
        else:
            if self.multiplies:
                lines, fresh = (lines.mul_(factor) if fresh else lines * factor), True
            if self.adds:
                lines = lines.add_(offset) if fresh else lines + offset
        values = lines if lines.shape == values.shape else _from_lines(lines, values)
        return values if self.dtype == self.compute else values.to(self.dtype)

    def _broadcast(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``values`` with factor and offset of a shape that broadcasts over its memory in long inner loops.

        A channels-last picture is seen as lines (N·H, W·C): over the short innermost axis C the same arithmetic takes
        about four times as long (1.3 ms against 0.3 ms for 128 × 3 × 32 × 32 on one core).
        """
        if len(self.factor) == 1:
            return values, self.factor, self.offset
        if values.ndim == 4 and not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last):
            n, c, h, w = values.shape
            if self._rows is None or self._rows[0] != w:
                self._rows = w, self.factor.repeat(w), self.offset.repeat(w)
            return values.permute(0, 2, 3, 1).reshape(n * h, w * c), self._rows[1], self._rows[2]
        shape = (-1,) + (1,) * (values.ndim - 2)
        return values, self.factor.view(shape), self.offset.view(shape)


def _from_lines(lines: Tensor, like: Tensor) -> Tensor:
    n, c, h, w = like.shape
    return lines.view(n, h, w, c).permute(0, 3, 1, 2)


class _Cells:
    """Cells (N, columns) → features (N, F): every feature knows its column, and its code where it is a category.

    A missing number (NaN) is the mean, 0 after normalising.
    """

    def __init__(self, record: TablePreprocess, device: torch.device, compute: torch.dtype, dtype: torch.dtype) -> None:
        self.compute, self.dtype, self.columns = compute, dtype, len(record.columns)
        column, code, mean, std = [], [], [], []
        for position, entry in enumerate(record.columns):
            category = entry.kind == "category"
            for value in range(len(entry.categories)) if category else (-1,):
                column.append(position)
                code.append(value)
                mean.append(0.0 if category else entry.mean)
                std.append(1.0 if category else entry.std)
        self.column = torch.tensor(column, dtype=torch.int64, device=device)
        self.code = torch.tensor(code, dtype=compute, device=device)
        self.is_category = self.code >= 0
        self.mean = torch.tensor(mean, dtype=compute, device=device)
        self.std = torch.tensor(std, dtype=compute, device=device)
        self.only_numbers = column == list(range(self.columns)) and not bool(self.is_category.any())

    def __call__(self, raw: Tensor) -> Tensor:
        if raw.ndim != 2 or raw.shape[1] != self.columns:
            raise DataError(
                "preprocess", f"cells of shape {shape_text(raw.shape)}", f"(N, {self.columns}), one a column"
            )
        cells = raw.to(self.compute)
        if self.only_numbers:
            return ((cells - self.mean) / self.std).nan_to_num_(0.0, math.inf, -math.inf).to(self.dtype)
        cells = cells.index_select(1, self.column)
        numbers = ((cells - self.mean) / self.std).nan_to_num_(0.0, math.inf, -math.inf)
        return torch.where(self.is_category, (cells == self.code).to(self.compute), numbers).to(self.dtype)


# ------------------------------------------------------------------------------------------------ colours


def planes(channels: tuple[str, ...], pixels: Tensor) -> Tensor:
    """Planes of the named colour spaces from grey or RGB ``pixels`` (N, 1 or 3, H, W) in 0…1; ranges as in the twin."""
    parts = [part for name in channels for part in _SPACES[name](pixels)]
    if len(parts) == 1:
        return parts[0]
    n, _, h, w = pixels.shape
    last = not pixels.is_contiguous() and pixels.is_contiguous(memory_format=torch.channels_last)
    result = torch.empty(
        (n, sum(part.shape[1] for part in parts), h, w),
        dtype=pixels.dtype,
        device=pixels.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )
    start = 0
    for part in parts:
        result[:, start : start + part.shape[1]] = part
        start += part.shape[1]
    return result


def _split(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Red, green, blue, each (N, 1, H, W); grey is its own red, green and blue."""
    if pixels.shape[1] == 1:
        return pixels, pixels, pixels
    return pixels[:, 0:1], pixels[:, 1:2], pixels[:, 2:3]


def _rgb(pixels: Tensor) -> tuple[Tensor, ...]:
    return (pixels,) if pixels.shape[1] == 3 else (pixels, pixels, pixels)


def _grey(pixels: Tensor) -> tuple[Tensor, ...]:
    if pixels.shape[1] == 1:
        return (pixels,)
    red, green, blue = _split(pixels)
    return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2],)


def _binary(pixels: Tensor) -> tuple[Tensor, ...]:
    return ((_grey(pixels)[0] > 0.5).to(pixels.dtype),)


def _yuv(pixels: Tensor) -> tuple[Tensor, ...]:
    red, _, blue = _split(pixels)
    (luma,) = _grey(pixels)
    return luma, (blue - luma) * U_SCALE, (red - luma) * V_SCALE


def _extremes(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Highest and lowest of red, green, blue, their difference, and the hue in turns."""
    red, green, blue = _split(pixels)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    spread = high - low
    safe = spread.where(spread > 0, 1.0)
    sector = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    turn = sector / torch.full((), 6.0, dtype=sector.dtype, device=sector.device)
    return high, low, spread, (turn - turn.floor()).where(spread > 0, 0.0)


def _hsv(pixels: Tensor) -> tuple[Tensor, ...]:
    high, _, spread, hue = _extremes(pixels)
    saturation = (spread / high.where(high > 0, 1.0)).where(high > 0, 0.0)
    return hue, saturation, high


def _hsl(pixels: Tensor) -> tuple[Tensor, ...]:
    high, low, spread, hue = _extremes(pixels)
    lightness = (high + low) / 2
    width = 1 - (lightness * 2 - 1).abs()
    saturation = (spread / width.where(width > 1e-6, 1.0)).where(width > 1e-6, 0.0)
    return hue, saturation, lightness


_SPACES: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {
    "binary": _binary, "grey": _grey, "rgb": _rgb, "yuv": _yuv, "hsv": _hsv, "hsl": _hsl,
}  # fmt: skip
