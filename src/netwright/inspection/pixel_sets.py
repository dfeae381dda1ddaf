"""Which pixels of an axis are read: sets of pixels, and how operators carry them along.

A ``Window`` is a set of pixels as a Python integer. What one axis of a tensor reads is either ``Periodic``, a law for
all positions of the unbounded line, or a table with one window a position. ``Reads`` says which positions of its source
an operator reads; a kernel's axes are independent, so that one axis at a time is exact for rectangular kernels.

The law: output o reads the source at ``positions(o)``, and o + period reads them ``shift`` further. Composing two such
laws gives another (lengths of periods multiply until they fit), which is why strides, dilation, transposed convolution
and up-sampling, whose windows depend on the phase of the position, need no case of their own.

Source for windows and their formulas: PyTorch 2.13, ``Pool.h``, ``UpSample.h``, ``AdaptivePooling.h``; Dumoulin and
Visin 2016, "A guide to convolution arithmetic for deep learning", relationships 5, 6, 13 and 14.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

LONGEST_PERIOD = 512  # beyond it a table of the positions that there are is smaller

Table = np.ndarray[Any, np.dtype[np.object_]]  # of Window, one dimension a factor of the position


class Window:
    """A set of pixels: bit b of ``mask`` is pixel ``first`` + b. The lowest bit is set; nothing is (0, 0)."""

    __slots__ = ("first", "mask")

    def __init__(self, first: int, mask: int) -> None:
        self.first, self.mask = first, mask

    def __or__(self, other: Window) -> Window:
        if not other.mask or self is other:
            return self
        if not self.mask:
            return other
        if self.first <= other.first:
            return Window(self.first, self.mask | other.mask << other.first - self.first)
        return Window(other.first, other.mask | self.mask << self.first - other.first)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Window) and (self.first, self.mask) == (other.first, other.mask)

    def __hash__(self) -> int:
        return hash((self.first, self.mask))

    def __repr__(self) -> str:
        return f"Window({self.first}, {self.mask:#b})"

    @property
    def last(self) -> int:
        return self.first + self.mask.bit_length() - 1

    @property
    def extent(self) -> int:
        """From the first pixel to the last, those between them that are not read included."""
        return self.mask.bit_length()

    @property
    def covered(self) -> int:
        return self.mask.bit_count()

    @property
    def center(self) -> float:
        return (self.first + self.last) / 2

    def moved(self, pixels: int) -> Window:
        return Window(self.first + pixels, self.mask) if pixels and self.mask else self

    def clipped(self, length: int) -> Window:
        """What lies within pixels 0 to ``length`` - 1."""
        mask = self.mask << self.first if self.first >= 0 else self.mask >> -self.first
        mask &= (1 << length) - 1
        low = (mask & -mask).bit_length() - 1
        return Window(low, mask >> low) if mask else NOTHING

    def pixels(self) -> tuple[int, ...]:
        return tuple(self.first + bit for bit, digit in enumerate(reversed(f"{self.mask:b}")) if digit == "1")


NOTHING = Window(0, 0)


def united(windows: Iterable[Window]) -> Window:
    found = NOTHING
    for window in windows:
        found |= window
    return found


class Periodic(NamedTuple):
    """Position q · period + r reads ``windows[r]`` moved by q · shift, for every integer q."""

    shift: int
    windows: tuple[Window, ...]

    @property
    def period(self) -> int:
        return len(self.windows)

    @property
    def stride(self) -> Fraction:
        return Fraction(self.shift, len(self.windows))

    def at(self, position: int) -> Window:
        turns, phase = divmod(position, len(self.windows))
        return self.windows[phase].moved(turns * self.shift)

    def table(self, length: int) -> Table:
        found = np.empty(length, object)
        for position in range(length):
            found[position] = self.at(position)
        return found

    def all(self, length: int) -> Window:
        """What positions 0 to ``length`` - 1 read together; O(period · log length)."""
        found = NOTHING
        for phase, window in enumerate(self.windows[:length]):
            found |= _repeated(window, self.shift, (length - phase - 1) // self.period + 1)
        return found

    def stretched(self, repeats: int) -> Periodic:
        """The law after every position is written ``repeats`` times."""
        return Periodic(self.shift, tuple(window for window in self.windows for _ in range(repeats)))

    def shortest(self) -> Periodic:
        """The same law by its shortest period."""
        period = self.period
        for shorter in range(1, period // 2 + 1):
            if period % shorter or self.shift * shorter % period:
                continue
            shift = self.shift * shorter // period
            if all(self.windows[at] == self.windows[at - shorter].moved(shift) for at in range(shorter, period)):
                return Periodic(shift, self.windows[:shorter])
        return self


IDENTITY = Periodic(1, (Window(0, 1),))


def _repeated(window: Window, step: int, count: int) -> Window:
    """``window`` and its copies ``step``, 2 · ``step`` … further, ``count`` in all, by doubling."""
    if count <= 1 or not window.mask or not step:
        return window
    half = _repeated(window, step, count // 2)
    both = half | half.moved(step * (count // 2))
    return both | window.moved(step * (count - 1)) if count % 2 else both


def lawful(table: Table) -> Periodic | None:
    """The law that all windows of a table of positions follow, seen at least three times; None if there is none."""
    length = len(table)
    for period in range(1, min(length // 3, 64) + 1):
        if not table[0].mask or not table[period].mask:
            continue
        shift = table[period].first - table[0].first
        if shift > 0 and all(table[at] == table[at - period].moved(shift) for at in range(period, length)):
            return Periodic(shift, tuple(table[:period]))
    return None


@dataclass(frozen=True)
class Reads:
    """The positions of a source of ``source`` positions that each of ``length`` outputs reads along an axis.

    ``positions`` knows no borders. ``bordered`` gives the positions where an operator does something else at a border
    than reading nothing beyond it. ``period`` 0: there is no law, only the positions that there are.
    """

    source: int
    length: int
    period: int
    shift: int
    positions: Callable[[int], Iterable[int]]
    bordered: Callable[[int], Iterable[int]] | None = None

    def within(self, position: int) -> list[int]:
        """The positions that exist and are read."""
        found = (self.bordered or self.positions)(position)
        return [at for at in found if 0 <= at < self.source]

    def law(self, source: Periodic) -> Periodic | None:
        """What the outputs read, where their source reads by a law; None where no short law holds."""
        if not self.period:
            return None
        times = source.period // math.gcd(source.period, self.shift)
        period = self.period * times
        if period > LONGEST_PERIOD:
            return None
        windows = tuple(united(map(source.at, self.positions(output))) for output in range(period))
        return Periodic(self.shift * times // source.period * source.shift, windows).shortest()

    def table(self, source: Table, axis: int) -> Table:
        """What the outputs read, where dimension ``axis`` of ``source`` lists what the positions read."""
        rows = np.moveaxis(source, axis, 0)
        found = np.empty((self.length, *rows.shape[1:]), object)
        for output in range(self.length):
            window: Any = NOTHING
            for at in self.within(output):
                window = rows[at] | window
            found[output] = window
        return np.moveaxis(found, 0, axis)


# ---- operators, each along one axis


def sliding(source: int, length: int, kernel: int, stride: int = 1, before: int = 0, dilation: int = 1) -> Reads:
    """Convolution and pooling: output o reads o · stride - before + dilation · k for k < kernel."""
    taps = range(-before, -before + dilation * (kernel - 1) + 1, dilation)
    return Reads(source, length, 1, stride, lambda output: (output * stride + tap for tap in taps))


def transposed(source: int, length: int, kernel: int, stride: int = 1, before: int = 0, dilation: int = 1) -> Reads:
    """Transposed convolution: input i is written to i · stride - before + dilation · k, so output o reads those i."""

    def positions(output: int) -> list[int]:
        starts = (output + before - dilation * k for k in range(kernel))
        return [start // stride for start in starts if start % stride == 0]

    return Reads(source, length, stride, 1, positions)


def sliced(source: int, length: int, start: int, step: int = 1) -> Reads:
    """``x[start::step]``; with a negative start, zeros put before."""
    return Reads(source, length, 1, step, lambda output: (start + step * output,))


def padded(source: int, length: int, before: int, mode: str) -> Reads:
    """Padding by ``mode``: constant, reflect, replicate or circular; a crop where ``before`` is negative."""

    def border(output: int) -> tuple[int, ...]:
        at = output - before
        if mode == "reflect":
            return (-at if at < 0 else 2 * (source - 1) - at if at >= source else at,)
        if mode == "replicate":
            return (min(max(at, 0), source - 1),)
        if mode == "circular":
            return (at % source,)
        return (at,)

    return Reads(source, length, 1, 1, lambda output: (output - before,), border)


def adaptive(source: int, length: int) -> Reads:
    """Adaptive pooling: output j reads floor(j · n / m) up to ceil((j + 1) · n / m)."""
    step = Fraction(source, length)
    period = step.denominator if step.denominator < length or length == 1 else 0
    return Reads(
        source, length, period, step.numerator,
        lambda output: range(output * source // length, -(-(output + 1) * source // length)),
    )  # fmt: skip


def resized(
    source: int, length: int, mode: str, *, align_corners: bool = False, antialias: bool = False,
    scale: float | None = None,
) -> Reads:  # fmt: skip
    """Up- and down-sampling by ``mode``: nearest, nearest-exact, linear (bi-, tri-), cubic (bi-) or area.

    ``scale`` is the factor where one was given and kept (PyTorch then divides by it and not by the ratio of the
    sizes). A neighbour whose weight is 0 is not read.
    """
    mode = mode.replace("_", "-")
    if mode == "area":
        return adaptive(source, length)
    step = Fraction(source, length)
    if align_corners:
        step = Fraction(source - 1, length - 1) if length > 1 else Fraction(0)
    elif scale:
        step = 1 / Fraction(scale).limit_denominator(1 << 16)
    lawful = step > 0 and step.denominator < max(length, 2)

    def center(output: int) -> Fraction:
        return step * output if align_corners else step * (output + Fraction(1, 2)) - Fraction(1, 2)

    def positions(output: int) -> Sequence[int]:
        if mode == "nearest":
            return (math.floor(step * output),)
        if mode == "nearest-exact":
            return (math.floor(step * (output + Fraction(1, 2))),)
        cubic = "cubic" in mode
        if antialias and step > 1:
            middle, support = step * (output + Fraction(1, 2)), step * (2 if cubic else 1)
            taps = range(math.ceil(middle - support - Fraction(1, 2)), math.floor(middle + support) + 1)
            zeros = (1, 2) if cubic else ()
            return [
                at
                for at in taps
                if abs(distance := (at - middle + Fraction(1, 2)) / step) < support / step
                and abs(distance) not in zeros
            ]
        at = center(output)
        low = math.floor(at)
        if at == low:
            return (low,)
        return range(low - 1, low + 3) if cubic else (low, low + 1)

    def border(output: int) -> Iterable[int]:
        if antialias and step > 1:
            return positions(output)
        if "linear" in mode and center(output) <= 0:
            return (0,)
        return {min(max(at, 0), source - 1) for at in positions(output)}

    return Reads(source, length, step.denominator if lawful else 0, step.numerator, positions, border)


def grouped(source: int, length: int, groups: int) -> Reads:
    """Channels in groups: every output of a group reads every input of the group."""
    inputs, outputs = source // groups, length // groups
    return Reads(
        source, length, outputs, inputs,
        lambda output: range(output // outputs * inputs, (output // outputs + 1) * inputs),
    )  # fmt: skip


def listed(source: int, positions: Sequence[Iterable[int]]) -> Reads:
    """Positions one by one, where there is no law."""
    return Reads(source, len(positions), 0, 0, lambda output: positions[output])
