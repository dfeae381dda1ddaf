"""Random changes of whole training batches, as tensors on the device.

Every random number is a function of (seed, epoch, index of the example, number of the draw) and of nothing else: a
counter-based generator, splitmix64 (Steele, Lea and Flood 2014) over those four. Batch size, order, number of
processes, resuming in mid-epoch and which other changes are switched on alter nothing. So do the bits of the result:
what is computed per example uses single correctly rounded operations, integer arithmetic and tables, never a
transcendental function or a fused multiply-add, whose last bit depends on the place in a vector. Mixup alone is
different: an example is mixed with its neighbour in the batch, so that it depends on who that is.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from netwright.data.loading import mixed
from netwright.errors import RecipeError
from netwright.preprocess import ArrayPreprocess, ImagePreprocess, Preprocess, SeriesPreprocess, TablePreprocess
from netwright.preprocess.with_numpy import LUMA
from netwright.recipe.schema import Augment

Border = Literal["auto", "black", "white", "edge", "reflect"]
Doubles = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_STREAM = 0xA06  # keeps these numbers apart from those that order the examples
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
TABLE = 1 << 16  # values of angles, Gaussian and Beta numbers that can be drawn

# The number of each draw; a new one goes to the end, so that old recipes keep their numbers.
_SHIFT_Y, _SHIFT_X, _FLIP_Y, _FLIP_X, _ANGLE, _ZOOM, _CROP_Y, _CROP_X, _CUT_Y, _CUT_X = range(10)
_BRIGHTNESS, _CONTRAST, _SATURATION, _NOISE, _MIXUP = range(10, 15)

_PICTURE = ("shift", "flip", "rotate", "crop", "cutout", "noise", "mixup")
_ALLOWED = {
    "picture": (*_PICTURE, "color"),
    "array of pictures": _PICTURE,
    "series": ("shift", "cutout", "noise", "mixup"),
    "table": ("noise", "mixup"),
    "array": ("noise", "mixup"),
    "whole numbers": (),
}
# Of each plane: its value where the picture is white, its range, how it takes part in a change of colour.
_PLANES = {
    "binary": ((1.0, 0.0, 1.0, ""),),
    "grey": ((1.0, 0.0, 1.0, "luma"),),
    "rgb": ((1.0, 0.0, 1.0, "colour"),) * 3,
    "yuv": ((1.0, 0.0, 1.0, "luma"), (0.0, -0.436, 0.436, "chroma"), (0.0, -0.615, 0.615, "chroma")),
    "hsv": ((0.0, 0.0, 1.0, ""), (0.0, 0.0, 1.0, ""), (1.0, 0.0, 1.0, "")),
    "hsl": ((0.0, 0.0, 1.0, ""), (0.0, 0.0, 1.0, ""), (1.0, 0.0, 1.0, "")),
}
_COLOURED = ("grey", "rgb", "yuv")  # spaces in which brightness, contrast and saturation are linear


@dataclasses.dataclass(frozen=True)
class _Amounts:
    """The options as numbers; what is still automatic is off."""

    shift: float
    rotate: float
    crop: float
    cutout: float
    color: float
    noise: float
    mixup: float
    flip: str

    @classmethod
    def of(cls, options: Augment) -> _Amounts:
        numbers = {
            name: 0.0 if isinstance(value := getattr(options, name), str) else float(value)
            for name in ("shift", "rotate", "crop", "cutout", "color", "noise", "mixup")
        }
        return cls(flip="none" if options.flip == "auto" else options.flip, **numbers)

    def active(self) -> list[str]:
        return [name for name, value in dataclasses.asdict(self).items() if value not in (0.0, "none")]


class Augmenter:
    """The changes of a recipe, for one input: ``inputs, targets = augmenter(inputs, targets, index, epoch)``.

    ``inputs`` are normalised floats (N, C, H, W), (N, C, L) or (N, F); their memory format is kept, and they are never
    changed in place. Without an active option the very same tensors come back. ``targets`` change by mixup only.

    ``border``: what moves in from outside. ``auto`` takes the background for grey pictures (black, or white where the
    measured mean says that most is bright: drawings and scans), a mirror image for colour (photographs: a bar of one
    colour would be a feature that no test picture has), silence for sound and raw zero for other arrays. The background
    is that of normalised space, (0 - mean) / deviation.

    Raises ``RecipeError`` for a change that this kind of input does not have.
    """

    def __init__(
        self,
        options: Augment,
        seed: int,
        preprocess: Preprocess,
        *,
        classes: int | None = None,
        border: Border = "auto",
    ) -> None:
        """``classes``: how many, where targets are class indices; mixup makes them soft labels."""
        self._amounts = _Amounts.of(options)
        self._seed, self._classes = seed, classes
        self._kind = _kind(preprocess)
        _require_allowed(self._amounts, self._kind, preprocess)
        self.active = bool(self._amounts.active())
        amounts = self._amounts
        statistics = [] if isinstance(preprocess, TablePreprocess) else list(zip(preprocess.mean, preprocess.std))
        if amounts.shift or amounts.rotate or amounts.crop or amounts.flip != "none":
            self._move = _Move(amounts, self._kind, *_resolved(border, preprocess, statistics))
        if amounts.color:
            assert isinstance(preprocess, ImagePreprocess)
            self._color = _Color(amounts.color, preprocess.channels, statistics)
        if amounts.noise:
            self._noise = _Noise(amounts.noise, preprocess)
        self.mixes = bool(amounts.mixup)  # rows with one another
        if amounts.mixup:
            self._beta = _beta_table(amounts.mixup)

    def __call__(self, inputs: Tensor, targets: Tensor, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """``index`` (N,) ``int64``: which example each row is; ``epoch`` counts from 0."""
        if not self.active or not len(inputs):
            return inputs, targets
        draws = Draws(self._seed, epoch, index)
        amounts = self._amounts
        if amounts.shift or amounts.rotate or amounts.crop or amounts.flip != "none":
            inputs = self._move(inputs, draws)
        if amounts.color:
            inputs = self._color(inputs, draws)
        if amounts.cutout:
            inputs = _cut_out(inputs, amounts.cutout, draws)
        if amounts.noise:
            inputs = self._noise(inputs, draws)
        if amounts.mixup:
            inputs, targets = self._mixed(inputs, targets, draws)
        return inputs, targets

    def _mixed(self, inputs: Tensor, targets: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """λ x + (1 − λ) of the next example of the batch, inputs and targets alike (Zhang et al. 2018)."""
        if not targets.is_floating_point():
            if self._classes is None:
                raise RecipeError("augment.mixup", "targets that are whole numbers but no classes", "classes or values")
            targets = F.one_hot(targets.long(), self._classes).to(inputs.dtype)
        share = torch.from_numpy(self._beta[draws.entries(_MIXUP)])

        def blend(values: Tensor) -> Tensor:
            own = share.to(values.device, values.dtype).view(-1, *[1] * (values.ndim - 1))
            return (values * own).add_(values.roll(-1, 0).mul_(1 - own))

        return blend(inputs), blend(targets)


# ------------------------------------------------------------------------------------------------ random numbers


class Draws:
    """Independent uniform numbers of each example of a batch, by number of draw."""

    def __init__(self, seed: int, epoch: int, index: Tensor) -> None:
        example = index.detach().cpu().numpy().astype(np.uint64)
        self._key = _scrambled(example * np.uint64(_GOLDEN) + np.uint64(mixed(seed, epoch, _STREAM)))

    def __len__(self) -> int:
        return len(self._key)

    def bits(self, draw: int) -> npt.NDArray[np.uint64]:
        """64 random bits an example, (N,)."""
        return _scrambled(self._key + np.uint64((draw + 1) * _GOLDEN % 2**64))

    def uniform(self, draw: int) -> Doubles:
        """In [0, 1), (N,)."""
        return (self.bits(draw) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def entries(self, draw: int) -> Whole:
        """Positions in a table of ``TABLE`` values, (N,)."""
        return (self.bits(draw) >> np.uint64(48)).astype(np.int64)

    def coin(self, draw: int) -> npt.NDArray[np.bool_]:
        return (self.bits(draw) >> np.uint64(63)).astype(np.bool_)


def _scrambled(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output function of splitmix64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
    return state ^ (state >> np.uint64(31))


def _levels() -> Doubles:
    return (np.arange(TABLE) + 0.5) / TABLE


@functools.cache
def _gauss_table() -> Tensor:
    """Equally likely values of a Gaussian of mean 0 and deviation 1, ``float32`` (TABLE,)."""
    values: Tensor = torch.special.ndtri(torch.from_numpy(_levels()))
    return (values / values.square().mean().sqrt()).float()


@functools.lru_cache(maxsize=4)
def _beta_table(alpha: float) -> Doubles:
    """Equally likely values of Beta(α, α)."""
    from scipy.special import betaincinv  # scikit-learn, a dependency, brings it

    return np.asarray(betaincinv(alpha, alpha, _levels()), np.float64)


# ------------------------------------------------------------------------------------------------ moving


class _Move:
    """Shift, flip, rotation and zoom in one pass.

    Whole pixels are copied: pictures are written into a wider buffer, and every line of the result is one window of it
    (an ``index_select`` over overlapping windows: 0.06 ms for 128 × 1 × 28 × 28 on one core, where gathering pixel by
    pixel takes 0.2). Where a rotation, a zoom or a shift of less than a pixel needs values between pixels, one bilinear
    ``grid_sample`` does everything.
    """

    def __init__(self, amounts: _Amounts, kind: str, border: Border, background: list[float]) -> None:
        self._amounts, self._series = amounts, kind == "series"
        self._border, self._background = border, background
        self._constant = border in ("black", "white")
        angle = np.radians((2 * _levels() - 1) * amounts.rotate)
        self._cos, self._sin = np.cos(angle), np.sin(angle)
        self._free: dict[tuple[object, ...], list[Tensor]] = {}  # buffers that no thread uses, by shape

    def __call__(self, inputs: Tensor, draws: Draws) -> Tensor:
        if self._series:
            return self._copied(inputs[:, :, None], draws)[:, :, 0]
        amounts, (height, width) = self._amounts, inputs.shape[-2:]
        between = amounts.shift and amounts.shift * min(height, width) < 1
        return (self._sampled if amounts.rotate or amounts.crop or between else self._copied)(inputs, draws)

    def _copied(self, inputs: Tensor, draws: Draws) -> Tensor:
        n, channels, height, width = inputs.shape
        last = _is_channels_last(inputs)
        planes, each = (1, channels) if last else (channels, 1)
        source = (inputs.permute(0, 2, 3, 1) if last else inputs).reshape(n, planes, height, width * each)
        source = self._mirrored(source, draws, each)
        if not self._amounts.shift and self._amounts.flip == "horizontal":
            return _shaped(source, inputs, last)
        most_y, most = int(self._amounts.shift * height), int(self._amounts.shift * width)
        lines, wide = height + self._constant, width + 2 * most  # a constant border is one more line of every plane
        key = (n, planes, lines, wide, each, inputs.dtype, inputs.device)
        ready = self._free.setdefault(key, [])
        buffer = ready.pop() if ready else self._new_buffer(inputs, (n, planes, lines, wide * each), each)
        middle = buffer[:, :, :height, most * each : (most + width) * each]
        middle.copy_(source)
        if most and not self._constant:
            body = buffer.view(n, planes, lines, wide, each) if last else buffer
            seen = most if self._border == "reflect" else 1
            body[:, :, :, :most] = body[:, :, :, most : most + seen].flip(3)
            body[:, :, :, most + width :] = body[:, :, :, most + width - seen : most + width].flip(3)
        start = torch.from_numpy(self._starts(draws, planes, height, most_y, wide, most)).to(inputs.device)
        windows = buffer.as_strided((buffer.numel() // each - width + 1, width * each), (each, 1))
        result = windows.index_select(0, start)
        ready.append(buffer)
        return _shaped(result, inputs, last)

    def _mirrored(self, source: Tensor, draws: Draws, each: int) -> Tensor:
        """(N, planes, H, W · each) with the chosen examples flipped from left to right."""
        if self._amounts.flip not in ("horizontal", "both"):
            return source
        chosen = torch.from_numpy(np.flatnonzero(draws.coin(_FLIP_X))).to(source.device)
        turned = source.index_select(0, chosen)
        turned = turned.flip(3) if each == 1 else turned.view(*turned.shape[:3], -1, each).flip(3).view(turned.shape)
        return source.clone().index_copy_(0, chosen, turned)

    def _new_buffer(self, inputs: Tensor, shape: tuple[int, ...], each: int) -> Tensor:
        buffer = inputs.new_zeros(shape)
        if self._constant and any(self._background):
            colour = self._colour(inputs)
            buffer.view(*shape[:3], -1, each)[:] = colour.view(1, -1, 1, 1, 1) if each == 1 else colour.view(each)
        return buffer

    def _starts(self, draws: Draws, planes: int, height: int, most_y: int, wide: int, most: int) -> Whole:
        """The place in the buffer at which each line of the result begins, in pixels, (N · planes · H,)."""
        line = np.arange(height)[None]
        if self._amounts.flip in ("vertical", "both"):
            line = np.where(draws.coin(_FLIP_Y)[:, None], height - 1 - line, line)
        if most_y:
            line = line + _whole(draws, _SHIFT_Y, most_y)
            if self._constant:
                line = np.where((line < 0) | (line >= height), height, line)
            elif self._border == "reflect":
                line = np.where(line < 0, -1 - line, np.where(line >= height, 2 * height - 1 - line, line))
            else:
                line = np.clip(line, 0, height - 1)
        column = _whole(draws, _SHIFT_X, most)
        if most and self._amounts.flip in ("horizontal", "both"):  # the shift is one in the picture as it came
            column = np.where(draws.coin(_FLIP_X)[:, None], -column, column)
        within = line * wide + most + column
        first = np.arange(len(draws) * planes).reshape(-1, planes, 1) * ((height + self._constant) * wide)
        return np.asarray((first + within[:, None]).reshape(-1), np.int64)

    def _colour(self, like: Tensor) -> Tensor:
        """The background (C, 1, ...), broadcasting over ``like``."""
        values = torch.tensor(self._background, dtype=like.dtype, device=like.device)
        return values.view(-1, *[1] * (like.ndim - 2))

    def _sampled(self, inputs: Tensor, draws: Draws) -> Tensor:
        n, _, height, width = inputs.shape
        constant = self._border in ("black", "white")
        colour = self._colour(inputs) if constant and any(self._background) else None
        grid = torch.empty((n, height, width, 2), dtype=inputs.dtype, device=inputs.device)
        across = torch.arange(width, dtype=inputs.dtype, device=inputs.device) - (width - 1) / 2
        down = torch.arange(height, dtype=inputs.dtype, device=inputs.device)[:, None] - (height - 1) / 2
        for axis, row in enumerate(self._matrix(draws, height, width)):
            along_x, along_y, offset = (
                torch.from_numpy(part).to(inputs.device, inputs.dtype).view(n, 1, 1) for part in row
            )
            torch.add(across * along_x, (down * along_y).add_(offset), out=grid[..., axis])
        result = F.grid_sample(
            inputs if colour is None else inputs - colour,
            grid,
            mode="bilinear",
            padding_mode={"edge": "border", "reflect": "reflection"}.get(self._border, "zeros"),
            align_corners=False,
        )
        if colour is not None:
            result = result.add_(colour)
        return _formatted(result, inputs)

    def _matrix(self, draws: Draws, height: int, width: int) -> tuple[tuple[Doubles, Doubles, Doubles], ...]:
        """Two rows (by x, by y, offset), each (N,): from pixels off the centre to ``grid_sample``'s −1…1.

        A place of the result looks, in this order, through the flip, the rotation, the zoom and the shift.
        """
        amounts, one = self._amounts, np.ones(len(draws))
        flip_x = np.where(draws.coin(_FLIP_X), -1.0, 1.0) if amounts.flip in ("horizontal", "both") else one
        flip_y = np.where(draws.coin(_FLIP_Y), -1.0, 1.0) if amounts.flip in ("vertical", "both") else one
        entry = draws.entries(_ANGLE) if amounts.rotate else None
        cos, sin = (one, 0 * one) if entry is None else (self._cos[entry], self._sin[entry])
        part = 1 - amounts.crop * draws.uniform(_ZOOM) if amounts.crop else one
        rows = []
        for size, by_x, by_y, crop, shift in (
            (width, cos * flip_x, -sin * flip_y, _CROP_X, _SHIFT_X),
            (height, sin * flip_x, cos * flip_y, _CROP_Y, _SHIFT_Y),
        ):
            offset = 0 * one
            if amounts.crop:
                inside = (1 - part) * (1 - 1 / size)  # as far as the centres of the border pixels, never beyond
                offset = offset + inside * (2 * draws.uniform(crop) - 1)
            if amounts.shift:
                offset = offset + 2 * amounts.shift * (2 * draws.uniform(shift) - 1)
            rows.append((2 / size * part * by_x, 2 / size * part * by_y, offset))
        return tuple(rows)


def _shaped(values: Tensor, like: Tensor, last: bool) -> Tensor:
    """``values``, in the memory order of ``like``, in its shape; ``last``: that order is channels-last."""
    if not last:
        return values.view(like.shape)
    n, channels, height, width = like.shape
    return values.view(n, height, width, channels).permute(0, 3, 1, 2)


def _formatted(result: Tensor, like: Tensor) -> Tensor:
    return result.contiguous(memory_format=torch.channels_last) if _is_channels_last(like) else result


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def _whole(draws: Draws, draw: int, most: int) -> Whole:
    """Whole numbers from −most to most, (N, 1)."""
    return np.floor(draws.uniform(draw) * (2 * most + 1)).astype(np.int64)[:, None] - most


# ------------------------------------------------------------------------------------------------ colour, holes, noise


class _Color:
    """Brightness, contrast and saturation, each times 1 ± ``amount``, then back into the range of a picture.

    In raw space, with b, c, s and the luma l of a pixel and m of the picture: r ← c b (s r + (1 − s) l) + (1 − c) b m,
    which is brightness, then contrast around the mean, then saturation. Grey, RGB and YUV planes of one picture change
    alike.
    """

    def __init__(self, amount: float, channels: tuple[str, ...], statistics: list[tuple[float, float]]) -> None:
        self._amount, self._space = amount, channels[0]
        planes = [plane for name in channels for plane in _PLANES[name]]
        mean, std = np.array(statistics or [(0.0, 1.0)] * len(planes), np.float64).T
        roles = [plane[3] for plane in planes]
        self._colourful = "colour" in roles
        self._plane = {
            "mean": mean,
            "std": std,
            "saturated": np.array([role != "luma" for role in roles], np.float64),
            "greyed": np.array([role == "colour" for role in roles], np.float64) / std,
            "contrasted": np.array([role != "chroma" for role in roles], np.float64),
            "low": (np.array([plane[1] for plane in planes]) - mean) / std,
            "high": (np.array([plane[2] for plane in planes]) - mean) / std,
        }

    def __call__(self, inputs: Tensor, draws: Draws) -> Tensor:
        def drawn(draw: int) -> Tensor:
            factor = 1 + self._amount * (2 * draws.uniform(draw) - 1)
            return torch.from_numpy(factor).to(inputs.device, inputs.dtype).view(-1, 1, 1, 1)

        plane = {
            name: torch.from_numpy(values).to(inputs.device, inputs.dtype).view(1, -1, 1, 1)
            for name, values in self._plane.items()
        }
        bright, contrast, saturation = drawn(_BRIGHTNESS), drawn(_CONTRAST), drawn(_SATURATION)
        luma = self._luma(inputs, plane["mean"], plane["std"])
        middle = (luma.sum(3, keepdim=True).sum(2, keepdim=True) / luma[0].numel()) * ((1 - contrast) * bright)
        scale = (contrast * bright) * (1 + plane["saturated"] * (saturation - 1))
        offset = (scale * plane["mean"] - plane["mean"] + plane["contrasted"] * middle) / plane["std"]
        result = (inputs * scale).add_(offset)
        if self._colourful:
            result.add_(luma * ((contrast * bright) * (1 - saturation) * plane["greyed"]))
        return result.clamp_(plane["low"], plane["high"])

    def _luma(self, inputs: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Raw luma (N, 1, H, W) by the first colour space."""
        if self._space != "rgb":
            return inputs[:, :1] * std[:, :1] + mean[:, :1]
        red, green, blue = (
            (inputs[:, i : i + 1] * std[:, i : i + 1] + mean[:, i : i + 1]).mul_(LUMA[i]) for i in range(3)
        )
        return red.add_(green).add_(blue)


def _cut_out(inputs: Tensor, share: float, draws: Draws) -> Tensor:
    """A rectangle with ``share`` of each side becomes 0, the mean, around a place anywhere in the picture or series.

    DeVries and Taylor 2017: the place may be at the border, where the hole is smaller.
    """
    inside = []
    for draw, size in zip((_CUT_X, _CUT_Y), reversed(inputs.shape[2:])):
        side = max(round(share * size), 1)
        start = np.floor(draws.uniform(draw) * size).astype(np.int64) - side // 2
        away = np.arange(size) - start[:, None]
        inside.append(torch.from_numpy((away >= 0) & (away < side)).to(inputs.device))
    hole = inside[0] if len(inside) == 1 else inside[1][:, :, None] & inside[0][:, None, :]
    return inputs.clone().masked_fill_(hole[:, None], 0.0)  # a clone keeps the memory format


class _Noise:
    """Gaussian noise of the same deviation on every number; the units of a table's categories stay as they are.

    Each number's place in its example goes with two keys of the example through a 32-bit finaliser (lowbias32, Wellons
    2018); each half of the 32 bits takes one of ``TABLE`` equally likely values. Beyond 4.2 deviations there is none.
    """

    def __init__(self, deviation: float, preprocess: Preprocess) -> None:
        self._table = _gauss_table() * deviation
        self._tables = {self._table.device: self._table}
        self._places: dict[tuple[tuple[int, ...], torch.device], Tensor] = {}
        self._columns: Tensor | None = None
        if isinstance(preprocess, TablePreprocess) and any(c.kind == "category" for c in preprocess.columns):
            spread = [
                [c.kind != "category"] * (len(c.categories) if c.kind == "category" else 1) for c in preprocess.columns
            ]
            self._columns = torch.tensor([flag for column in spread for flag in column], dtype=torch.float32)

    def __call__(self, inputs: Tensor, draws: Draws) -> Tensor:
        last = _is_channels_last(inputs)
        lines = (inputs.permute(0, 2, 3, 1) if last else inputs).reshape(len(inputs), -1)
        noise = self._drawn(draws, tuple(inputs.shape[1:]), last, inputs.device).to(inputs.dtype)
        if self._columns is not None:
            noise.mul_(self._columns.to(inputs.device, inputs.dtype))
        noise.add_(lines)
        return _shaped(noise, inputs, last)

    def _drawn(self, draws: Draws, shape: tuple[int, ...], last: bool, device: torch.device) -> Tensor:
        """(N, numbers of an example), in memory order."""
        numbers = int(np.prod(shape))
        half = -(-numbers // 2)
        keys = torch.from_numpy(draws.bits(_NOISE).view(np.int32).reshape(-1, 2)).to(device)
        state = torch.arange(half, dtype=torch.int32, device=device) * _signed(0x9E3779B9) + keys[:, :1]
        state ^= (state >> 16) & 0xFFFF
        state *= _signed(0x7FEB352D)
        state += keys[:, 1:]
        state ^= (state >> 15) & 0x1FFFF
        state *= _signed(0x846CA68B)
        state ^= (state >> 16) & 0xFFFF
        entries = state.view(torch.int16)[:, :numbers].to(torch.int32) & 0xFFFF
        if last:  # the same number belongs to the same pixel in every layout
            entries = entries.index_select(1, self._place(shape, device))
        table = self._tables.get(device)
        if table is None:
            table = self._tables[device] = self._table.to(device)
        return table.index_select(0, entries.reshape(-1)).view(len(draws), numbers)

    def _place(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Of each number in channels-last memory order, its place in (C, H, W) order."""
        key = shape, device
        if key not in self._places:
            order = torch.arange(int(np.prod(shape)), device=device).view(shape)
            self._places[key] = order.permute(1, 2, 0).reshape(-1)
        return self._places[key]


def _signed(number: int) -> int:
    """A 32-bit pattern as the ``int32`` that has it."""
    return number - (1 << 32) if number >= 1 << 31 else number


# ------------------------------------------------------------------------------------------------ what goes with what


def _kind(preprocess: Preprocess) -> str:
    match preprocess:
        case ImagePreprocess():
            return "picture"
        case SeriesPreprocess():
            return "series"
        case TablePreprocess():
            return "table"
        case ArrayPreprocess(scale=None):
            return "whole numbers"
        case ArrayPreprocess(shape=shape):
            return {3: "array of pictures", 2: "series"}.get(len(shape), "array")


def _require_allowed(amounts: _Amounts, kind: str, preprocess: Preprocess) -> None:
    for name in amounts.active():
        value = getattr(amounts, name)
        if name not in _ALLOWED[kind]:
            possible = ", ".join(_ALLOWED[kind]) or "nothing"
            raise RecipeError(
                f"augment.{name}", f"{value} for {kind if kind == 'whole numbers' else f'a {kind}'}",
                f"what can be done there: {possible}", f"--set augment.{name}={'none' if name == 'flip' else 0}",
            )  # fmt: skip
        if name == "color" and isinstance(preprocess, ImagePreprocess):
            strange = [space for space in preprocess.channels if space not in _COLOURED]
            if strange:
                raise RecipeError(
                    "augment.color", f"{value} for channels {'+'.join(preprocess.channels)}",
                    f"channels out of {', '.join(_COLOURED)}", "--set augment.color=0",
                )  # fmt: skip


def _resolved(
    border: Border, preprocess: Preprocess, statistics: list[tuple[float, float]]
) -> tuple[Border, list[float]]:
    """The border without ``auto``, and the background's value in each plane of normalised space."""
    channels = preprocess.channels if isinstance(preprocess, ImagePreprocess) else ()
    planes = [plane for name in channels for plane in _PLANES[name]]
    if border == "auto":
        if channels and set(channels) <= {"grey", "binary"}:
            border = "white" if statistics and statistics[0][0] > 0.5 else "black"
        elif channels:
            border = "reflect"
        else:
            several = isinstance(preprocess, ArrayPreprocess) and len(preprocess.shape) == 3 and preprocess.shape[0] > 1
            border = "reflect" if several else "black"
    raw = [plane[0] if border == "white" else 0.0 for plane in planes] or [float(border == "white")]
    if not statistics:
        return border, raw
    values = raw if len(raw) == len(statistics) else raw * len(statistics)
    return border, [(value - mean) / std for value, (mean, std) in zip(values, statistics)]
