"""What every tensor of a graph reads of the network's input: size, stride, offset and centre per axis.

``receptive_fields`` carries sets of pixels forward through the operations (``pixel_sets``), one input axis at a time. It
needs no recurrence for sizes and strides: these are read off the sets, so that branches, dilation, transposed
convolutions and up-sampling are exact. Two conventions are those of Araujo, Norris and Sim 2019, "Computing receptive
fields of convolutional neural networks", Distill: padding counts as pixels of an unbounded input, and branches of other
strides or centres are misaligned. ``pixels_read`` has borders instead: what one element truly reads.

The channels of a tensor are taken together: what any of them reads. A norm with running statistics is local, also in a
graph traced for training; layer norm mixes the axes that it normalises, group and instance norm all spatial axes.

Cost: linear in the operations; some 20 µs an operation and axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from netwright.errors import UsageError, unknown_name
from netwright.graph.structure import Graph, Operation
from netwright.inspection import pixel_sets
from netwright.inspection.pixel_sets import NOTHING, Periodic, Reads, Table, Window, united
from netwright.records import Record

LARGEST_TABLE = 1 << 20  # windows; beyond it a tensor whose positions follow no law is said to be unknown


class AxisField(Record, frozen=True, kw_only=True):
    """What a tensor reads along one axis of the input, in pixels.

    ``size``: from the first pixel read to the last; the largest, where it depends on the phase of the position (behind
    transposed convolution or up-sampling: ``phases`` has all), or the hull over branches. ``covered``: how many of these
    pixels are read (fewer than ``size`` with dilation, or strides beyond the kernel).
    ``stride``: from one position to the next, on average; ``steps``: the distances between neighbouring centres that
    occur, one where the field moves evenly. ``offset``: the first pixel that position 0 reads, ``center`` the middle of
    what it reads, both negative in the padding. ``padding``: (size - 1) / 2 - center, where the field moves evenly.
    ``whole``: all positions read all that is read along the axis, and ``stride`` is undefined (None).
    ``aligned`` is False behind a sum or concatenation of paths (``misaligned_at``) whose strides differ (``shift`` is
    None) or whose centres lie ``shift`` pixels apart. ``unknown``: the operation that could not be followed; nothing
    else is said then.
    """

    size: int | None
    stride: float | None
    offset: int | None
    center: float | None
    padding: float | None
    covered: int | None
    phases: tuple[int, ...] = ()
    steps: tuple[float, ...] = ()
    whole: bool = False
    aligned: bool = True
    shift: float | None = 0.0
    misaligned_at: str = ""
    unknown: str = ""


class ReceptiveField(Record, frozen=True, kw_only=True):
    """The receptive field of a tensor in ``input``, per ``axes`` (of the input tensor, in order); as ``AxisField``.

    ``carried``: the tensor's own axis on which the input's axis lies; None where it lies on none or on several.
    """

    input: str
    axes: tuple[int, ...]
    size: tuple[int | None, ...]
    stride: tuple[float | None, ...]
    offset: tuple[int | None, ...]
    center: tuple[float | None, ...]
    padding: tuple[float | None, ...]
    covered: tuple[int | None, ...]
    phases: tuple[tuple[int, ...], ...]
    steps: tuple[tuple[float, ...], ...]
    whole: tuple[bool, ...]
    carried: tuple[int | None, ...]
    aligned: bool = True
    shift: tuple[float | None, ...] = ()
    misaligned_at: str = ""
    unknown: str = ""

    def axis(self, place: int) -> AxisField:
        """The field along the ``place``-th of ``axes``."""
        shift = self.shift[place]
        return AxisField(
            size=self.size[place], stride=self.stride[place], offset=self.offset[place], center=self.center[place],
            padding=self.padding[place], covered=self.covered[place], phases=self.phases[place],
            steps=self.steps[place], whole=self.whole[place], aligned=shift == 0, shift=shift,
            misaligned_at=self.misaligned_at if shift != 0 else "", unknown=self.unknown,
        )  # fmt: skip


def receptive_fields(graph: Graph, input: str = "") -> dict[str, ReceptiveField]:
    """Tensor's name → what it reads of ``input`` (the first picture-like input, if none is named).

    Tensors that do not depend on that input are absent. Raises ``UsageError`` for an input that does not exist.
    """
    source = _source(graph, input)
    axes = spatial_axes(graph, source)
    states = [_propagate(graph, source, axis, bounded=False) for axis in axes]
    found = {}
    for name in (source, *(output for operation in graph.operations for output in operation.outputs)):
        if all(name in state for state in states):
            fields = [state[name] for state in states]
            lengths = [graph.tensors[source].shape[axis] for axis in axes]
            summaries = [summary(field, length) for field, length in zip(fields, lengths, strict=True)]
            found[name] = _record(source, axes, summaries, [_carried(field) for field in fields])
    return found


def pixels_read(
    graph: Graph, tensor: str, position: Sequence[int], input: str = ""
) -> tuple[tuple[int, ...], ...] | None:
    """The pixels of ``input`` that one element of ``tensor`` reads, per spatial axis, borders and all; () is none.

    ``position`` is the element's full index. None where an operation on the way could not be followed. Unlike
    ``receptive_fields`` this costs a window for every position of every map.
    """
    source = _source(graph, input)
    if tensor not in graph.tensors:
        raise unknown_name("tensor", tensor, graph.tensors)
    shape = graph.tensors[tensor].shape
    if len(position) != len(shape) or not all(0 <= at < size for at, size in zip(position, shape, strict=True)):
        raise UsageError("position", str(tuple(position)), f"an index into {tensor} of shape {shape}")
    found = []
    for axis in spatial_axes(graph, source):
        field = _propagate(graph, source, axis, bounded=True).get(tensor, NEVER)
        if field.unknown:
            return None
        window = united(term.at(position) for term in field.terms)
        found.append(window.clipped(graph.tensors[source].shape[axis]).pixels())
    return tuple(found)


def main_input(graph: Graph) -> str:
    """The first input with the axes of a picture, or else of a series, or else the first."""
    ranks = {name: len(graph.tensors[name].shape) for name in graph.inputs}
    for wanted in (4, 3):
        for name in graph.inputs:
            if ranks[name] >= wanted:
                return name
    return graph.inputs[0]


def spatial_axes(graph: Graph, input: str) -> tuple[int, ...]:
    """The axes of ``input`` along which it has positions.

    The last d where a d-dimensional convolution or pooling comes first, the steps of a sequence where a dense or
    recurrent layer or attention does; otherwise all behind batch and channels, or behind the batch of a matrix.
    """
    rank = len(graph.tensors[input].shape)
    orders = {input: tuple(range(rank))}
    for operation in graph.operations:
        order = next((orders[name] for name in operation.inputs if name in orders), None)
        if order is None:
            continue
        kind = operation.kind
        if kind.startswith(("conv", "max_pool", "avg_pool", "lp_pool")) and kind[-2:] in ("1d", "2d", "3d"):
            return tuple(sorted(order[-int(kind[-2]) :]))
        if rank == 3 and kind in ("linear", "layer_norm", "rms_norm", "attention", "matmul"):
            return (order[-2],)
        if kind in RECURRENT and rank == 3:
            return (order[1 if operation.attributes.get("batch_first", True) else 0],)
        if kind == "permute":
            orders |= dict.fromkeys(operation.outputs, tuple(order[at] for at in operation.attributes["order"]))
        elif operation.outputs and len(graph.tensors[operation.outputs[0]].shape) == rank and kind != "reshape":
            orders |= dict.fromkeys(operation.outputs, order)
    return tuple(range(2, rank)) if rank >= 3 else tuple(range(1, rank))


def _source(graph: Graph, input: str) -> str:
    if input and input not in graph.inputs:
        raise unknown_name("input", input, graph.inputs)
    return input or main_input(graph)


# --------------------------------------------------------------------------------------------------------------
# What a tensor reads along one axis of the input


class Digit(NamedTuple):
    """A factor of the position: (index[axis] // inner) % length. Flattening and unflattening only move it."""

    axis: int
    inner: int
    length: int


class Term(NamedTuple):
    """The element at an index reads the window of its digits' values: by a law (one digit), or from a table."""

    digits: tuple[Digit, ...]
    windows: Periodic | Table

    def at(self, index: Sequence[int]) -> Window:
        values = tuple(index[digit.axis] // digit.inner % digit.length for digit in self.digits)
        window: Window = self.windows.at(*values) if isinstance(self.windows, Periodic) else self.windows[values]
        return window

    def table(self) -> Table:
        if isinstance(self.windows, Periodic):
            return self.windows.table(self.digits[0].length)
        return self.windows

    def all(self) -> Window:
        if isinstance(self.windows, Periodic):
            return self.windows.all(self.digits[0].length)
        return united(self.windows.flat)


class Field(NamedTuple):
    """The union of its terms, which lie on different digits, and what is known of the paths that led here."""

    terms: tuple[Term, ...]
    whole: bool = False
    shift: float | None = 0.0
    misaligned_at: str = ""
    unknown: str = ""


NEVER = Field(())


def constant(window: Window) -> Term:
    table = np.empty((), object)
    table[()] = window
    return Term((), table)


def _axis_of(field: Field) -> int | None:
    axes = {digit.axis for term in field.terms for digit in term.digits}
    return axes.pop() if len(axes) == 1 else None


_carried = _axis_of


class _Followed:
    """One input axis, followed through the operations."""

    def __init__(self, graph: Graph, length: int, bounded: bool) -> None:
        self.graph, self.length, self.bounded = graph, length, bounded
        self.shapes = {name: info.shape for name, info in graph.tensors.items()}
        self.shapes |= {parameter.name: parameter.shape for parameter in graph.parameters}

    # ---- what operations do with a field

    def through(self, field: Field, axis: int, size: int, reads: Reads) -> Field:
        """An operator along ``axis``, of ``size`` positions before it."""
        terms = []
        for term in field.terms:
            places = [place for place, digit in enumerate(term.digits) if digit.axis == axis]
            if not places:
                terms.append(term)
                continue
            term = _plain(term, axis, size)
            law = reads.law(term.windows) if isinstance(term.windows, Periodic) else None
            place = next(place for place, digit in enumerate(term.digits) if digit.axis == axis)
            digits = (*term.digits[:place], Digit(axis, 1, reads.length), *term.digits[place + 1 :])
            terms.append(Term(digits, law if law is not None else reads.table(term.table(), place)))
        return field._replace(terms=tuple(terms))

    def mixed(self, field: Field, axes: Iterable[int]) -> Field:
        """Every position along ``axes`` reads what all of them read."""
        axes, terms, whole = set(axes), [], False
        for term in field.terms:
            gone = tuple(place for place, digit in enumerate(term.digits) if digit.axis in axes)
            if not gone:
                terms.append(term)
            elif len(gone) == len(term.digits):
                window = term.all().clipped(self.length)
                whole = whole or self.covers(window, term)
                terms.append(constant(window))
            else:
                assert not isinstance(term.windows, Periodic)
                table = np.bitwise_or.reduce(term.windows, axis=gone)
                digits = tuple(digit for place, digit in enumerate(term.digits) if place not in gone)
                terms.append(self.recognised(Term(digits, table)))
        found = field._replace(terms=_merged(terms))
        return self.as_whole(found) if whole else found

    def as_whole(self, field: Field) -> Field:
        if self.bounded:
            return field
        window = united(term.all() for term in field.terms).clipped(self.length)
        return Field((constant(window),), whole=True)

    def covers(self, window: Window, term: Term) -> bool:
        """Whether no further position of the term would fit into the input on either side of ``window``."""
        if not window.mask:
            return False
        step = _stride(term) or 1
        return window.first < max(step, 1) and self.length - 1 - window.last < max(step, 1)

    def recognised(self, term: Term) -> Term:
        if self.bounded or isinstance(term.windows, Periodic) or len(term.digits) != 1:
            return term
        law = pixel_sets.lawful(term.windows)
        return Term(term.digits, law) if law is not None else term

    def first_of(self, field: Field, axis: int) -> Field:
        """Position 0 of ``axis``, whose digits go."""
        terms = []
        for term in field.terms:
            places = [place for place, digit in enumerate(term.digits) if digit.axis == axis]
            if not places:
                terms.append(term)
            elif isinstance(term.windows, Periodic):
                terms.append(constant(term.windows.at(0)))
            else:
                at = tuple(0 if place in places else slice(None) for place in range(len(term.digits)))
                table = term.windows[at]
                digits = tuple(digit for place, digit in enumerate(term.digits) if place not in places)
                terms.append(Term(digits, table) if digits else constant(table))
        return field._replace(terms=_merged(terms))

    def placed(self, field: Field, axes: Sequence[int | None]) -> Field:
        """Axis a becomes ``axes[a]``; None where it goes (its only position stays)."""
        for axis, target in enumerate(axes):
            if target is None:
                field = self.first_of(field, axis)
        terms = (
            Term(tuple(digit._replace(axis=axes[digit.axis]) for digit in term.digits), term.windows)  # type: ignore[arg-type]
            for term in field.terms
        )
        return field._replace(terms=tuple(terms))

    def broadcast(self, field: Field, shape: Sequence[int], target: Sequence[int]) -> Field:
        """Axes aligned at the right; an axis of 1 is written along the other's."""
        more = len(target) - len(shape)
        for axis, size in enumerate(shape):
            if size == 1 and axis + more >= 0 and target[axis + more] != 1:
                field = self.first_of(field, axis)
        return field if not more else self.placed(field, [axis + more for axis in range(len(shape))])

    def joined(self, fields: Iterable[Field | None], where: str) -> Field | None:
        """What several read together. Paths that meet are compared: strides, then centres."""
        given = [field for field in fields if field is not None]
        distinct = [field for place, field in enumerate(given) if all(field is not other for other in given[:place])]
        if len(distinct) <= 1:
            return distinct[0] if distinct else None
        unknown = next((field for field in distinct if field.unknown), None)
        if unknown is not None:
            return unknown
        if not self.bounded and any(field.whole for field in distinct):
            return self.as_whole(NEVER._replace(terms=tuple(term for field in distinct for term in field.terms)))
        worst = max(distinct, key=_misfit)
        found = _Misfit(worst.shift, worst.misaligned_at)
        if not self.bounded and worst.shift is not None:
            moving = [field.terms[0] for field in distinct if len(field.terms) == 1 and field.terms[0].digits]
            shift = _misalignment(moving)
            if shift is None or shift > worst.shift:
                found = _Misfit(shift, where)
        terms = _merged([term for field in distinct for term in field.terms])
        return Field(terms, False, *found)

    def reshaped(self, field: Field, old: Sequence[int], new: Sequence[int], where: str) -> Field:
        """Digits find their place among the new axes; common first and last axes keep theirs."""
        if tuple(old) == tuple(new) or not any(term.digits for term in field.terms):
            return field
        before = 0
        while before < min(len(old), len(new)) and old[before] == new[before]:
            before += 1
        behind = 0
        while behind < min(len(old), len(new)) - before and old[-1 - behind] == new[-1 - behind]:
            behind += 1
        terms = []
        for term in field.terms:
            moved = self._reshaped_term(term, tuple(old), tuple(new), before, behind)
            if moved is None:
                return Field((), unknown=where)
            terms.append(moved)
        return field._replace(terms=_merged(terms))

    def _reshaped_term(
        self, term: Term, old: tuple[int, ...], new: tuple[int, ...], before: int, behind: int
    ) -> Term | None:
        pieces: list[list[Digit]] = []  # of every digit, the low ones first
        for digit in term.digits:
            if digit.axis < before:
                pieces.append([digit])
            elif digit.axis >= len(old) - behind:
                pieces.append([digit._replace(axis=digit.axis + len(new) - len(old))])
            else:
                inner = digit.inner * math.prod(old[digit.axis + 1 : len(old) - behind])
                found = _factored(inner, digit.length, new, before, len(new) - behind)
                if found is None:
                    return None
                pieces.append(found)
        if isinstance(term.windows, Periodic) and len(pieces[0]) == 1:
            return Term((pieces[0][0],), term.windows)
        if isinstance(term.windows, Periodic) and not pieces[0]:
            return constant(term.windows.at(0))
        high_first = [list(reversed(found)) for found in pieces]
        table = term.table().reshape([digit.length for found in high_first for digit in found])
        return self.recognised(_rejoined(Term(tuple(digit for found in high_first for digit in found), table)))

    def alongside(self, fields: Sequence[Field | None], axis: int, sizes: Sequence[int], where: str) -> Field | None:
        """Concatenation along ``axis``; what lies on that axis is written position by position."""
        if not any(digit.axis == axis for field in fields if field for term in field.terms for digit in term.digits):
            return self.joined(fields, where)
        unknown = next((field for field in fields if field is not None and field.unknown), None)
        if unknown is not None:
            return unknown
        if not self.bounded and any(field is not None and field.whole for field in fields):
            return self.joined(fields, where)
        total, start, terms = sum(sizes), 0, []
        for field, size in zip(fields, sizes, strict=True):
            for term in field.terms if field is not None else ():
                if not any(digit.axis == axis for digit in term.digits):
                    table = np.repeat(term.table()[np.newaxis], size, axis=0)
                    term = Term((Digit(axis, 1, size), *term.digits), table)
                term = _plain(term, axis, size)
                place = next(place for place, digit in enumerate(term.digits) if digit.axis == axis)
                reads = pixel_sets.sliced(size, total, -start)
                digits = (*term.digits[:place], Digit(axis, 1, total), *term.digits[place + 1 :])
                terms.append(Term(digits, reads.table(term.table(), place)))
            start += size
        worst = max((field for field in fields if field is not None), key=_misfit)
        return Field(_merged(terms), False, worst.shift, worst.misaligned_at)


class _Misfit(NamedTuple):
    shift: float | None
    misaligned_at: str


def _misfit(field: Field) -> float:
    return math.inf if field.shift is None else field.shift


def _factored(inner: int, length: int, shape: Sequence[int], start: int, end: int) -> list[Digit] | None:
    """(linear index // inner) % length as digits of ``shape[start:end]``, low ones first; None where it is none."""
    found: list[Digit] = []
    below = 1  # of one step along the axis
    for axis in reversed(range(start, end)):
        above = below * shape[axis]
        if length > 1 and inner < above:
            if inner % below or shape[axis] % (inner // below):
                return None
            step = inner // below
            available = shape[axis] // step
            if length <= available:
                if available % length:
                    return None
                found.append(Digit(axis, step, length))
                length = 1
            else:
                if length % available:
                    return None
                found.append(Digit(axis, step, available))
                length //= available
                inner = above
        below = above
    return found if length == 1 else None


def _rejoined(term: Term) -> Term:
    """Neighbouring digits of one axis as one."""
    digits, table = list(term.digits), term.windows
    assert not isinstance(table, Periodic)
    while True:
        pair = next(
            (
                (high, low)
                for high in range(len(digits))
                for low in range(len(digits))
                if digits[high].axis == digits[low].axis
                and high != low
                and digits[high].inner == digits[low].inner * digits[low].length
            ),
            None,
        )
        if pair is None:
            return Term(tuple(digits), table)
        high, low = pair
        rest = [place for place in range(len(digits)) if place not in pair]
        table = np.transpose(table, [*rest, high, low])
        table = table.reshape(*table.shape[:-2], -1)
        digits = [*(digits[at] for at in rest), Digit(digits[low].axis, digits[low].inner, table.shape[-1])]


def _plain(term: Term, axis: int, size: int) -> Term:
    """The term with one digit on ``axis``, the position itself."""
    on = [place for place, digit in enumerate(term.digits) if digit.axis == axis]
    digit = term.digits[on[0]]
    if len(on) == 1 and digit.inner == 1 and digit.length == size:
        return term
    if isinstance(term.windows, Periodic) and digit.inner * digit.length == size:
        stretched = term.windows.stretched(digit.inner)
        if stretched.period <= pixel_sets.LONGEST_PERIOD:
            return Term((Digit(axis, 1, size),), stretched)
    table = np.moveaxis(term.table(), on, range(len(on)))
    positions = np.arange(size)
    values = tuple(positions // term.digits[place].inner % term.digits[place].length for place in on)
    rest = tuple(digit for place, digit in enumerate(term.digits) if place not in on)
    return Term((Digit(axis, 1, size), *rest), table[values])


def _merged(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Terms on the same digits as one."""
    found: dict[tuple[Digit, ...], Term] = {}
    for term in terms:
        key = tuple(sorted(term.digits))
        other = found.get(key)
        if other is None:
            found[key] = term
            continue
        law = _union(other.windows, term.windows)
        if law is None:
            order = [term.digits.index(digit) for digit in other.digits]
            law = np.bitwise_or(other.table(), np.transpose(term.table(), order))
            if not isinstance(law, np.ndarray):  # two windows without digits
                found[key] = constant(law)
                continue
        found[key] = Term(other.digits, law)
    return tuple(found.values())


def _union(first: Periodic | Table, second: Periodic | Table) -> Periodic | Table | None:
    """Two laws of one slope as one."""
    if not (isinstance(first, Periodic) and isinstance(second, Periodic)) or first.stride != second.stride:
        return None
    if first == second:
        return first
    period = math.lcm(first.period, second.period)
    if period > pixel_sets.LONGEST_PERIOD:
        return None
    windows = tuple(first.at(position) | second.at(position) for position in range(period))
    return Periodic(period * first.shift // first.period, windows).shortest()


def _centers(term: Term) -> list[float]:
    """The middles of the windows along a term's only digit, over one common period; nothing where one is empty."""
    if isinstance(term.windows, Periodic):
        windows: Iterable[Window] = term.windows.windows
    else:
        windows = term.windows.flat
    found = list(windows)
    return [window.center for window in found] if all(window.mask for window in found) else []


def _stride(term: Term) -> float | None:
    """From one position to the next, on average; None where positions are no line."""
    if len(term.digits) != 1:
        return None
    if isinstance(term.windows, Periodic):
        return float(term.windows.stride)
    centers = _centers(term)
    return (centers[-1] - centers[0]) / (len(centers) - 1) if len(centers) > 1 else None


def _misalignment(terms: Sequence[Term]) -> float | None:
    """How far the centres of paths lie apart, averaged over a period (0: aligned); None where their strides differ."""
    terms = [term for term in terms if len(term.digits) == 1 and term.digits == terms[0].digits]
    worst = 0.0
    for first, second in zip(terms, terms[1:], strict=False):
        steps = _stride(first), _stride(second)
        if steps[0] is None or steps[1] is None:
            continue
        if not math.isclose(steps[0], steps[1], abs_tol=1e-6):
            return None
        apart = _mean_distance(first, second)
        worst = max(worst, apart if apart > 1e-6 else 0.0)
    return worst


def _mean_distance(first: Term, second: Term) -> float:
    if isinstance(first.windows, Periodic) and isinstance(second.windows, Periodic):
        count = math.lcm(first.windows.period, second.windows.period)
        if count == 1:
            pairs = [(first.windows.windows[0], second.windows.windows[0])]
        else:
            pairs = [(first.windows.at(position), second.windows.at(position)) for position in range(count)]
    else:
        pairs = list(zip(first.table().flat, second.table().flat, strict=True))
    apart = [one.center - other.center for one, other in pairs if one.mask and other.mask]
    return abs(sum(apart) / len(apart)) if apart else 0.0


# --------------------------------------------------------------------------------------------------------------
# Operations

ELEMENTWISE = frozenset(
    """alias cast dropout batch_norm tril triu
    abs absolute acos acosh angle arccos arcsin arctan arctan2 asin asinh atan atan2 atanh bitwise_and bitwise_not
    bitwise_or bitwise_xor celu ceil clamp clamp_max clamp_min clip conj cos cosh deg2rad digamma elu eq erf erfc
    erfinv exp exp2 expm1 float_power floor fmax fmin fmod frac ge gelu gt hardshrink hardsigmoid hardswish hardtanh
    heaviside hypot i0 isfinite isinf isnan ldexp le leaky_relu lerp lgamma log log10 log1p log2 logaddexp logical_and
    logical_not logical_or logical_xor logit logsigmoid lt masked_fill maximum minimum mish mul nan_to_num ne neg
    negative positive pow prelu rad2deg reciprocal relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid sign
    silu sin sinc sinh softplus softshrink softsign special_expit sqrt square sub tan tanh tanhshrink threshold trunc
    where xlogy add div addcmul addcdiv floor_divide polar""".split()
)
VALUES_UNREAD = frozenset(
    """zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty
    new_full new_tensor normal bernoulli""".split()
)
INDEX_ONLY = frozenset(  # of their source they read one element each, by values: a constant stays one
    """index index_select gather take take_along_dim masked_select nonzero diagonal diag outer cross grid_sample
    grid_sampler embedding_bag unique""".split()
)
RECURRENT = ("lstm", "gru", "rnn")
CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
MIXING_ALONG = frozenset("softmax log_softmax softmin sort topk normalize".split())
RUNNING_ALONG = frozenset("cumsum cumprod cummax cummin logcumsumexp".split())

Fields = Sequence["Field | None"]
Rule = Callable[[_Followed, Operation, Fields], "Sequence[Field | None]"]


def _propagate(graph: Graph, source: str, axis: int, *, bounded: bool) -> dict[str, Field]:
    """Tensor → what it reads along one axis of ``source``; a table of true windows if ``bounded``."""
    length = graph.tensors[source].shape[axis]
    followed = _Followed(graph, length, bounded)
    start: Periodic | Table = pixel_sets.IDENTITY.table(length) if bounded else pixel_sets.IDENTITY
    states = {source: Field((Term((Digit(axis, 1, length),), start),))}
    for operation in graph.operations:
        fields = [states.get(name) for name in operation.inputs]
        if all(field is None for field in fields):
            continue
        unknown = next((field for field in fields if field is not None and field.unknown), None)
        if unknown is not None:
            outputs: Sequence[Field | None] = [unknown] * len(operation.outputs)
        elif not operation.followed:
            outputs = [Field((), unknown=operation.name)] * len(operation.outputs)
        else:
            outputs = _rule(operation)(followed, operation, fields)
        for name, field in zip(operation.outputs, outputs, strict=True):
            if field is not None:
                states[name] = field
    return states


def _rule(operation: Operation) -> Rule:
    kind = operation.kind
    if kind in RULES:
        return RULES[kind]
    if kind in ELEMENTWISE:
        return _elementwise
    if kind in INDEX_ONLY:
        return _indexed
    return _unknown


def _shape(followed: _Followed, name: str) -> tuple[int, ...]:
    return followed.shapes[name]


def _unknown(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Nothing can be said, unless all that is read is read by every position anyhow."""
    if all(field is None or field.whole for field in fields):
        whole = next(field for field in fields if field is not None)
        return [whole] * len(operation.outputs)
    return [Field((), unknown=operation.name)] * len(operation.outputs)


def _elementwise(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Position by position, with broadcasting. Also several outputs of one shape."""
    target = _shape(followed, operation.outputs[0])
    given = [
        followed.broadcast(field, _shape(followed, name), target)
        for name, field in zip(operation.inputs, fields, strict=True)
        if field is not None
    ]
    return [followed.joined(given, operation.name)] * len(operation.outputs)


def _indexed(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """One element each, chosen by values: only what is the same for all positions is known."""
    if all(field is None or not any(term.digits for term in field.terms) for field in fields):
        return [followed.joined(fields, operation.name)] * len(operation.outputs)
    return _unknown(followed, operation, fields)


def _unread(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    return [None] * len(operation.outputs)


def _first(operation: Operation, fields: Fields) -> Field | None:
    return fields[0] if fields else None


def _slid(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Convolution (which mixes the channels of a group), transposed convolution, pooling."""
    field, attributes = fields[0], operation.attributes
    if field is None or any(other is not None for other in fields[1:]):
        return _unknown(followed, operation, fields)  # a kernel made from the input
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    rank = len(attributes["kernel"])
    channel = len(before) - rank - 1
    if "groups" in attributes and channel >= 0:
        groups = attributes["groups"]
        if groups == 1:
            field = followed.mixed(field, (channel,))
        else:
            reads = pixel_sets.grouped(before[channel], after[channel], groups)
            field = followed.through(field, channel, before[channel], reads)
    make = pixel_sets.transposed if "transpose" in operation.kind else pixel_sets.sliding
    for place in range(rank):
        axis = channel + 1 + place
        reads = make(
            before[axis], after[axis], attributes["kernel"][place], attributes["stride"][place],
            attributes["padding"][place][0], attributes["dilation"][place],
        )  # fmt: skip
        field = followed.through(field, axis, before[axis], reads)
    return [field] * len(operation.outputs)


def _adaptive(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field = _first(operation, fields)
    if field is None:
        return _unread(followed, operation, fields)
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    for axis in range(len(before) - len(operation.attributes["size"]), len(before)):
        if after[axis] == 1:
            field = followed.mixed(field, (axis,))
        else:
            field = followed.through(field, axis, before[axis], pixel_sets.adaptive(before[axis], after[axis]))
    return [field] * len(operation.outputs)


def _resized(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, attributes = _first(operation, fields), operation.attributes
    if field is None:
        return _unread(followed, operation, fields)
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    scales = attributes.get("scale") or (None,) * (len(before) - 2)
    for axis in range(2, len(before)):
        reads = pixel_sets.resized(
            before[axis], after[axis], attributes["mode"], align_corners=attributes.get("align_corners", False),
            antialias=attributes.get("antialias", False), scale=scales[axis - 2],
        )  # fmt: skip
        field = followed.through(field, axis, before[axis], reads)
    return [field]


def _dense(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Dense layers and recurrent cells: the last axis is mixed."""
    given = [
        followed.mixed(field, (len(_shape(followed, name)) - 1,))
        for name, field in zip(operation.inputs, fields, strict=True)
        if field is not None
    ]
    return [followed.joined(given, operation.name)] * len(operation.outputs)


def _normalised(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, attributes = _first(operation, fields), operation.attributes
    if field is None or any(other is not None for other in fields[1:]):
        return _elementwise(followed, operation, fields)
    shape = _shape(followed, operation.inputs[0])
    kind = operation.kind
    if kind in ("layer_norm", "rms_norm"):
        axes = range(len(shape) - attributes.get("axes", 1), len(shape))
        return [followed.mixed(field, axes)] * len(operation.outputs)
    if kind == "instance_norm" and not attributes.get("batch_statistics", True):
        return [field]
    if kind == "group_norm" and any(digit.axis == 1 for term in field.terms for digit in term.digits):
        reads = pixel_sets.grouped(shape[1], shape[1], attributes.get("num_groups", 1))
        field = followed.through(field, 1, shape[1], reads)
    return [followed.mixed(field, range(2, len(shape)))]


def _response_norm(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field = _first(operation, fields)
    if field is None:
        return [None]
    channels, size = _shape(followed, operation.inputs[0])[1], operation.attributes.get("size", 5)
    return [followed.through(field, 1, channels, pixel_sets.sliding(channels, channels, size, before=size // 2))]


def _operands(followed: _Followed, operation: Operation, fields: Fields) -> list[tuple[tuple[int, ...], Field | None]]:
    """(shape, field) of the operands in their order, parameters too."""
    given = list(zip((_shape(followed, name) for name in operation.inputs), fields, strict=True))
    attributes = operation.attributes
    shapes = attributes.get("shapes") or ()
    if not operation.parameters or len(shapes) == len(given):
        return given
    found: list[tuple[tuple[int, ...], Field | None]] = []
    parameters = [_shape(followed, name) for name in operation.parameters]
    for shape in map(tuple, shapes):
        owned = [place for place, (other, _) in enumerate(given) if other == shape]
        if owned and shape in parameters:
            return []  # an operand and a parameter of one shape: which is which is not known
        if owned:
            found.append(given.pop(owned[0]))
        else:
            found.append((shape, None))
    return found if not given else []


def _multiplied(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """(…, n, k) times (…, k, m), with something added in the three-operand forms."""
    operands = _operands(followed, operation, fields)
    if not operands and all(field is None or not any(term.digits for term in field.terms) for field in fields):
        return _indexed(followed, operation, fields)
    if len(operands) < 2:
        return _unknown(followed, operation, fields)
    (left_shape, left), (right_shape, right) = operands[-2:]
    target = _shape(followed, operation.outputs[0])
    given: list[Field | None] = []
    if len(operands) == 3 and operands[0][1] is not None:
        given.append(followed.broadcast(operands[0][1], operands[0][0], target))
    if left is not None:
        rank = len(left_shape)
        left = followed.mixed(left, (rank - 1,))
        if len(right_shape) == 1:  # the summed axis goes
            left = followed.placed(left, [*range(rank - 1), None])
            left_shape = left_shape[:-1]
        given.append(_fitted(followed, left, left_shape, target, 0 if len(right_shape) == 1 else 1))
    if right is not None:
        rank = len(right_shape)
        right = followed.mixed(right, (max(rank - 2, 0),))
        if rank == 1:
            right = followed.placed(right, [None])
            right_shape = ()
        elif len(left_shape) == 1 and len(operands[-2][0]) == 1:
            right = followed.placed(right, [*range(rank - 2), None, rank - 2])
            right_shape = (*right_shape[:-2], right_shape[-1])
        given.append(_fitted(followed, right, right_shape, target, 1 if rank > 1 else 0))
    return [followed.joined(given, operation.name)]


def _fitted(followed: _Followed, field: Field, shape: tuple[int, ...], target: tuple[int, ...], inner: int) -> Field:
    """As ``broadcast``, where the summed axis of ``shape`` is mixed already and stands for one of the target's."""
    more = len(target) - len(shape)
    if more < 0:  # a summed batch: addbmm
        field = followed.placed(followed.mixed(field, range(-more)), [None] * -more + list(range(len(target))))
        return field
    for axis, size in enumerate(shape[: len(shape) - 2 * inner]):
        if size == 1 and target[axis + more] != 1:
            field = followed.first_of(field, axis)
    return followed.placed(field, [axis + more for axis in range(len(shape))]) if more else field


def _einsum(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    equation = operation.attributes.get("equation", "").replace(" ", "")
    operands = _operands(followed, operation, fields)
    parts = equation.split("->")[0].split(",")
    if not equation or "." in equation or len(parts) != len(operands):
        return _indexed(followed, operation, fields)
    once = sorted(label for label in set("".join(parts)) if "".join(parts).count(label) == 1)
    result = equation.split("->")[1] if "->" in equation else "".join(once)
    given = []
    for labels, (_, field) in zip(parts, operands, strict=True):
        if field is None:
            continue
        if len(set(labels)) < len(labels):
            return _indexed(followed, operation, fields)
        field = followed.mixed(field, [axis for axis, label in enumerate(labels) if label not in result])
        given.append(followed.placed(field, [result.index(label) if label in result else None for label in labels]))
    return [followed.joined(given, operation.name)]


def _attended(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Every query reads itself and all keys and values; only those up to its own place, if causal."""
    target = _shape(followed, operation.outputs[0])
    if len(fields) < 3:
        mixed = [
            followed.mixed(field, (len(_shape(followed, name)) - 2, len(_shape(followed, name)) - 1))
            for name, field in zip(operation.inputs, fields, strict=True)
            if field is not None
        ]
        known = all(not any(term.digits for term in field.terms) for field in mixed)
        return [followed.joined(mixed, operation.name)] if known else _unknown(followed, operation, fields)
    given: list[Field | None] = []
    for place, (name, field) in enumerate(zip(operation.inputs, fields, strict=True)):
        if field is None:
            continue
        shape = _shape(followed, name)
        rank = len(shape)
        if place != 2:  # the width is summed over; of the values it stays
            field = followed.mixed(field, (rank - 1,))
        if place in (1, 2):
            field = _running(followed, field, rank - 2, shape[-2], target[-2]) if operation.attributes.get(
                "causal"
            ) else followed.mixed(field, (rank - 2,))
        given.append(_fitted(followed, field, shape, target, 1))
    return [followed.joined(given, operation.name)]


def _running(followed: _Followed, field: Field, axis: int, size: int, length: int = 0) -> Field:
    """Every position reads those up to it. Without borders that is the whole axis: there is no first position."""
    if not followed.bounded:
        return followed.mixed(field, (axis,))
    reads = pixel_sets.listed(size, [range(position + 1) for position in range(length or size)])
    return followed.through(field, axis, size, reads)


def _reduced(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field = _first(operation, fields)
    if field is None:
        return _unread(followed, operation, fields)
    shape, axes = _shape(followed, operation.inputs[0]), set(operation.attributes["axes"])
    field = followed.mixed(field, axes)
    if len(_shape(followed, operation.outputs[0])) != len(shape):
        kept = iter(range(len(shape)))
        field = followed.placed(field, [None if axis in axes else next(kept) for axis in range(len(shape))])
    return [field] * len(operation.outputs)


def _lost(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Losses: one number from all positions, or a number a position."""
    if _shape(followed, operation.outputs[0]):
        return _indexed(followed, operation, fields)
    given = []
    for name, field in zip(operation.inputs, fields, strict=True):
        if field is not None:
            rank = len(_shape(followed, name))
            given.append(followed.placed(followed.mixed(field, range(rank)), [None] * rank))
    return [followed.joined(given, operation.name)]


def _along(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, kind = _first(operation, fields), operation.kind
    if field is None:
        return _unread(followed, operation, fields)
    shape, target = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    axes = operation.attributes["axes"]
    if kind in MIXING_ALONG:
        return [followed.mixed(field, axes)] * len(operation.outputs)
    for place, axis in enumerate(axes):
        size = shape[axis]
        if kind in RUNNING_ALONG:
            field = _running(followed, field, axis, size)
        elif kind == "flip":
            reads = pixel_sets.listed(size, [(size - 1 - position,) for position in range(size)])
            field = followed.through(field, axis, size, reads)
        elif kind == "glu":
            half = target[axis]
            reads = pixel_sets.listed(size, [(position, position + half) for position in range(half)])
            field = followed.through(field, axis, size, reads)
        elif any(digit.axis == axis for term in field.terms for digit in term.digits):  # roll
            shifts = operation.attributes.get("shifts", ())
            if len(shifts) != len(axes):
                return _unknown(followed, operation, fields)
            by = shifts[place]
            reads = pixel_sets.listed(size, [((position - by) % size,) for position in range(size)])
            field = followed.through(field, axis, size, reads)
    return [field] * len(operation.outputs)


def _reshape(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field = _first(operation, fields)
    if field is None:  # view_as and the like read a shape only
        return [None]
    old, new = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    return [followed.reshaped(field, old, new, operation.name)]


def _permuted(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, order = _first(operation, fields), operation.attributes["order"]
    if field is None:
        return [None]
    return [followed.placed(field, [order.index(axis) for axis in range(len(order))])]


def _shuffled(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Channel shuffle and pixel (un)shuffle as reshape, permute, reshape."""
    field = _first(operation, fields)
    if field is None:
        return [None]
    old, new = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    lead, (channels, height, width) = old[: len(old) - 3], old[-3:]
    front = tuple(range(len(lead)))
    at = len(lead)
    if operation.kind == "channel_shuffle":
        lead, channels = old[:1], old[1]
        groups = operation.attributes["groups"]
        middle: tuple[int, ...] = (*lead, groups, channels // groups, *old[2:])
        order = (0, 2, 1, *range(3, len(middle)))
    elif operation.kind == "pixel_shuffle":
        factor = operation.attributes["factor"]
        middle = (*lead, channels // factor**2, factor, factor, height, width)
        order = (*front, at, at + 3, at + 1, at + 4, at + 2)
    else:
        factor = operation.attributes["factor"]
        middle = (*lead, channels, height // factor, factor, width // factor, factor)
        order = (*front, at, at + 2, at + 4, at + 1, at + 3)
    field = followed.reshaped(field, old, middle, operation.name)
    field = followed.placed(field, [order.index(axis) for axis in range(len(order))])
    return [followed.reshaped(field, tuple(middle[axis] for axis in order), new, operation.name)]


def _sliced(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, attributes = _first(operation, fields), operation.attributes
    if field is None:
        return [None]
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    added, removed = attributes["added"], attributes["removed"]
    kept = iter([axis for axis in range(len(after)) if axis not in added])
    places = [None if axis in removed else next(kept) for axis in range(len(before))]
    for axis, place in enumerate(places):
        start, step = attributes["starts"][axis], attributes["steps"][axis]
        length = 1 if place is None else after[place]
        if (start, step, length) != (0, 1, before[axis]):
            reads = pixel_sets.sliced(before[axis], length, start, step)
            field = followed.through(field, axis, before[axis], reads)
    return [followed.placed(field, places)]


def _padded(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, attributes = _first(operation, fields), operation.attributes
    if field is None:
        return [None]
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    for axis, (first, last) in enumerate(attributes["padding"]):
        if first or last:
            reads = pixel_sets.padded(before[axis], after[axis], first, attributes["mode"])
            field = followed.through(field, axis, before[axis], reads)
    return [field]


def _concat(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    axis = operation.attributes["axis"]
    sizes = [_shape(followed, name)[axis] for name in operation.inputs]
    if operation.parameters and any(
        digit.axis == axis for field in fields if field for term in field.terms for digit in term.digits
    ):
        return _unknown(followed, operation, fields)  # a parameter among the operands: at which place is not known
    return [followed.alongside(fields, axis, sizes, operation.name)]


def _stacked(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    axis = operation.attributes["axis"]
    given = []
    for name, field in zip(operation.inputs, fields, strict=True):
        if field is not None:
            rank = len(_shape(followed, name))
            given.append(followed.placed(field, [place + (place >= axis) for place in range(rank)]))
    return [followed.joined(given, operation.name)]


def _split(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, axis = _first(operation, fields), operation.attributes["axis"]
    if field is None:
        return _unread(followed, operation, fields)
    shape, found, start = _shape(followed, operation.inputs[0]), [], 0
    for size in operation.attributes["sizes"]:
        found.append(followed.through(field, axis, shape[axis], pixel_sets.sliced(shape[axis], size, start)))
        start += size
    return found


def _unbound(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    field, axis = _first(operation, fields), operation.attributes["axis"]
    if field is None:
        return _unread(followed, operation, fields)
    shape = _shape(followed, operation.inputs[0])
    places = [None if at == axis else at - (at > axis) for at in range(len(shape))]
    return [
        followed.placed(followed.through(field, axis, shape[axis], pixel_sets.sliced(shape[axis], 1, number)), places)
        for number in range(shape[axis])
    ]


def _expanded(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """expand, expand_as (whose second input gives its shape only), broadcast_tensors."""
    if len(operation.outputs) > 1:
        return [
            None if field is None else followed.broadcast(field, _shape(followed, name), _shape(followed, output))
            for name, field, output in zip(operation.inputs, fields, operation.outputs, strict=True)
        ]
    field = _first(operation, fields)
    if field is None:
        return [None]
    return [followed.broadcast(field, _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0]))]


def _repeated(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """repeat and tile: the axes again and again, position o is o modulo their length."""
    field = _first(operation, fields)
    if field is None:
        return [None]
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    more = len(after) - len(before)
    how = operation.attributes.get("how", "")
    for axis, size in enumerate(before):
        length = after[axis + more] if axis + more >= 0 else size
        if length == size or not any(digit.axis == axis for term in field.terms for digit in term.digits):
            continue
        if size == 1:
            field = followed.first_of(field, axis)
            continue
        if not how or (how == "repeat_interleave" and length % size):
            return _unknown(followed, operation, fields)
        if how == "repeat_interleave":
            times = length // size
            reads = Reads(size, length, times, 1, lambda output, times=times: (output // times,))  # type: ignore[misc]
        else:
            reads = pixel_sets.listed(size, [(position % size,) for position in range(length)])
        field = followed.through(field, axis, size, reads)
    return [followed.placed(field, [axis + more for axis in range(len(before))]) if more > 0 else field]


def _recurrent(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Steps read all steps before them (behind them too, if bidirectional); the last states read all."""
    shape, attributes = _shape(followed, operation.inputs[0]), operation.attributes
    rank = len(shape)
    given: list[Field] = []
    if rank < 3:
        time, batch = 0, None  # one sequence, or packed: (steps, width)
    else:
        time, batch = (1, 0) if attributes.get("batch_first") else (0, 1)
    running, last = None, None
    if fields[0] is not None:
        field = followed.mixed(fields[0], (rank - 1,))
        both = followed.mixed(field, (time,))
        running = both if attributes.get("bidirectional") else _running(followed, field, time, shape[time])
        last = _states(followed, both, batch)
    for name, other in zip(operation.inputs[1:], fields[1:], strict=True):
        if other is not None:  # initial states: (layers, batch, width)
            size = len(_shape(followed, name))
            mixed = followed.mixed(other, [axis for axis in range(size) if axis != 1])
            given.append(_states(followed, mixed, 1 if size == 3 else None))
    target = len(_shape(followed, operation.outputs[0]))
    first = [running, *(_placed_states(followed, state, batch, target) for state in given)]
    rest = followed.joined([last, *given], operation.name)
    return [followed.joined(first, operation.name), *[rest] * (len(operation.outputs) - 1)]


def _states(followed: _Followed, field: Field, batch: int | None) -> Field:
    """What is left on the batch axis, moved to where states (layers, batch, width) have it."""
    terms = tuple(
        Term(tuple(digit._replace(axis=1) for digit in term.digits), term.windows) if batch is not None else term
        for term in field.terms
    )
    return field._replace(terms=terms)


def _placed_states(followed: _Followed, field: Field, batch: int | None, rank: int) -> Field:
    terms = tuple(
        Term(tuple(digit._replace(axis=batch or 0) for digit in term.digits), term.windows) for term in field.terms
    )
    return field._replace(terms=terms)


def _embedded(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """Indices keep their places; a new last axis is theirs."""
    if any(field is not None for field in fields[1:]):
        return _unknown(followed, operation, fields)
    return [fields[0]]


def _assigned(followed: _Followed, operation: Operation, fields: Fields) -> list[Field | None]:
    """``x[index] = y``: place by place where ``y`` has the shape of all positions; otherwise where is not known."""
    target = _shape(followed, operation.outputs[0])
    for name, field in zip(operation.inputs, fields, strict=True):
        shape = _shape(followed, name)
        axes = {digit.axis for term in field.terms for digit in term.digits} if field is not None else set()
        if len(shape) > len(target) or any(shape[axis] != target[axis + len(target) - len(shape)] for axis in axes):
            return _unknown(followed, operation, fields)
    return _elementwise(followed, operation, fields)


RULES: dict[str, Rule] = {
    "attention": _attended, "matmul": _multiplied, "einsum": _einsum, "reduce": _reduced, "reshape": _reshape,
    "permute": _permuted, "slice": _sliced, "pad": _padded, "concat": _concat, "stack": _stacked, "split": _split,
    "unbind": _unbound, "expand": _expanded, "repeat": _repeated, "embedding": _embedded, "one_hot": _embedded,
    "assign": _assigned, "upsample": _resized, "local_response_norm": _response_norm,
}  # fmt: skip
RULES |= dict.fromkeys(("linear", "bilinear", *CELLS), _dense)
RULES |= dict.fromkeys(RECURRENT, _recurrent)
RULES |= dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm"), _normalised)
RULES |= dict.fromkeys(MIXING_ALONG | RUNNING_ALONG | {"flip", "glu", "roll"}, _along)
RULES |= dict.fromkeys(("channel_shuffle", "pixel_shuffle", "pixel_unshuffle"), _shuffled)
RULES |= dict.fromkeys(VALUES_UNREAD, _unread)
for _rank in (1, 2, 3):
    RULES |= dict.fromkeys(
        [f"{name}{_rank}d" for name in ("conv", "conv_transpose", "max_pool", "avg_pool", "lp_pool")], _slid
    )
    RULES |= dict.fromkeys([f"adaptive_{name}_pool{_rank}d" for name in ("avg", "max")], _adaptive)
for _loss in (
    """cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy kl_div
    binary_cross_entropy_with_logits cross_entropy_loss poisson_nll_loss gaussian_nll_loss hinge_embedding_loss
    margin_ranking_loss triplet_margin_loss cosine_embedding_loss multi_margin_loss soft_margin_loss ctc_loss
    multilabel_soft_margin_loss multilabel_margin_loss nll_loss_nd nll_loss2d""".split()
):
    RULES[_loss] = _lost


# --------------------------------------------------------------------------------------------------------------
# Numbers


def summary(field: Field, length: int) -> AxisField:
    """The numbers of what a tensor reads along an input axis of ``length`` pixels."""
    if field.unknown:
        return AxisField(
            size=None, stride=None, offset=None, center=None, padding=None, covered=None, unknown=field.unknown
        )
    fit: dict[str, Any] = {
        "aligned": field.shift == 0, "shift": field.shift, "misaligned_at": field.misaligned_at, "whole": field.whole,
    }  # fmt: skip
    if len(field.terms) == 1:
        term = field.terms[0]
    else:  # what is read by all positions and what each reads, or several axes: one hull
        moving = [term for term in field.terms if term.digits]
        windows = united(term.all() for term in field.terms if not term.digits)
        if len(moving) == 1:
            table = np.bitwise_or(moving[0].table(), windows)
            term = Term(moving[0].digits, table)
        else:
            term = constant(united(term.all() for term in field.terms))
    periodic = isinstance(term.windows, Periodic)
    windows_of = list(term.windows.windows if isinstance(term.windows, Periodic) else term.windows.flat)
    read = [window for window in windows_of if window.mask]
    if not read:
        return AxisField(size=0, stride=None, offset=None, center=None, padding=None, covered=0, phases=(0,), **fit)
    size = max(window.extent for window in read)
    first = windows_of[0] if windows_of[0].mask else read[0]
    stride, steps = _stride(term), ()
    if stride is not None and len(read) == len(windows_of):
        centers = [window.center for window in windows_of]
        if isinstance(term.windows, Periodic):
            centers.append(centers[0] + term.windows.shift)
        steps = tuple(sorted({after - before for before, after in zip(centers, centers[1:], strict=False)}))
    del periodic, length
    return AxisField(
        size=size,
        stride=None if stride is None else _plain_number(stride),
        offset=first.first,
        center=_plain_number(first.center),
        padding=_plain_number((size - 1) / 2 - first.center) if len(steps) == 1 else None,
        covered=max(window.covered for window in read),
        phases=tuple(sorted({window.extent for window in windows_of})),
        steps=tuple(map(_plain_number, steps)),
        **fit,
    )


def _plain_number(value: float) -> float:
    """32 and not 32.0."""
    return int(value) if value == int(value) else value


def _record(
    source: str, axes: tuple[int, ...], summaries: Sequence[AxisField], carried: Sequence[int | None]
) -> ReceptiveField:
    columns = {
        name: tuple(getattr(field, name) for field in summaries)
        for name in ("size", "stride", "offset", "center", "padding", "covered", "phases", "steps", "whole", "shift")
    }
    return ReceptiveField(
        input=source, axes=axes, carried=tuple(carried), aligned=all(field.aligned for field in summaries),
        misaligned_at=next((field.misaligned_at for field in summaries if field.misaligned_at), ""),
        unknown=next((field.unknown for field in summaries if field.unknown), ""), **columns,
    )  # fmt: skip
