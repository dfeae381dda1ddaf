"""What every element of a tensor reads along one axis of the network's input, as the tensor is worked on.

A position is a product of digits (the axis H of a map; rows of H · W tokens; a factor that pixel shuffle takes from the
channels), so that reshapes only move digits. A ``Field`` is a union of terms, each the windows of some digits' values;
a term without digits is what all elements read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from netwright.graph.structure import Graph
from netwright.inspection import pixel_sets
from netwright.inspection.pixel_sets import NOTHING, Periodic, Reads, Table, Window, united


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
        return united(self.windows.ravel().tolist())


class Field(NamedTuple):
    """The union of its terms, which lie on different digits, and what is known of the paths that led here."""

    terms: tuple[Term, ...]
    whole: bool = False
    shift: float | None = 0.0
    misaligned_at: str = ""
    unknown: str = ""

    @property
    def axes(self) -> set[int]:
        """The tensor's axes on which what is read depends."""
        return {digit.axis for term in self.terms for digit in term.digits}


NEVER = Field(())


def constant(window: Window) -> Term:
    table = np.empty((), object)
    table[()] = window
    return Term((), table)


class Follower:
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
            if not any(digit.axis == axis for digit in term.digits):
                terms.append(self.unless_padding(term, axis, reads) if self.bounded else term)
                continue
            term = plain(term, axis, size)
            law = reads.law(term.windows) if isinstance(term.windows, Periodic) else None
            place = next(place for place, digit in enumerate(term.digits) if digit.axis == axis)
            digits = (*term.digits[:place], Digit(axis, 1, reads.length), *term.digits[place + 1 :])
            terms.append(Term(digits, law if law is not None else reads.table(term.table(), place)))
        return field._replace(terms=tuple(terms))

    def unless_padding(self, term: Term, axis: int, reads: Reads) -> Term:
        """The term, but nothing for outputs along ``axis`` that read the padding only."""
        reading = [bool(reads.within(output)) for output in range(reads.length)]
        if all(reading):
            return term
        table = np.empty((reads.length, *term.table().shape), object)
        for output, some in enumerate(reading):
            table[output] = term.table()[()] if some else NOTHING
        return Term((Digit(axis, 1, reads.length), *term.digits), table)

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
        step = stride_of(term) or 1
        return window.first < max(step, 1) and self.length - 1 - window.last < max(step, 1)

    def recognised(self, term: Term) -> Term:
        if self.bounded or isinstance(term.windows, Periodic) or len(term.digits) != 1:
            return term
        law = pixel_sets.lawful(term.windows)
        return Term(term.digits, law) if law is not None else term

    def first_of(self, field: Field, axis: int) -> Field:
        """Position 0 of ``axis``, whose digits go."""
        terms, whole = [], False
        for term in field.terms:
            at = tuple(0 if digit.axis == axis else slice(None) for digit in term.digits)
            if slice(None) in at:
                digits = tuple(digit for digit in term.digits if digit.axis != axis)
                terms.append(Term(digits, term.table()[at]) if 0 in at else term)
            elif at:
                terms.append(constant(term.at((0,) * (axis + 1))))
                whole = whole or self.ends(term)
            else:
                terms.append(term)
        found = field._replace(terms=_merged(terms))
        return self.as_whole(found) if whole else found

    def ends(self, term: Term) -> bool:
        """Whether a map of one position, which reads all that is read, loses its axis here."""
        return all(digit.length == 1 for digit in term.digits) and self.covers(term.all().clipped(self.length), term)

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
        terms, whole = [], False
        for term in field.terms:
            moved = self._reshaped_term(term, tuple(old), tuple(new), before, behind)
            if moved is None:
                return Field((), unknown=where)
            whole = whole or (not moved.digits and term.digits != () and self.ends(term))
            terms.append(moved)
        found = field._replace(terms=_merged(terms))
        return self.as_whole(found) if whole else found

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
        """Concatenation along ``axis``; what lies on that axis is written position by position.

        So is what depends on no position at all (single steps that are joined to a series again).
        """
        axes = [field.axes for field in fields if field is not None]
        if not any(axis in on for on in axes) and any(axes):
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
                term = plain(term, axis, size)
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


def plain(term: Term, axis: int, size: int) -> Term:
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
            if not key:
                found[key] = constant(other.all() | term.all())
                continue
            order = [term.digits.index(digit) for digit in other.digits]
            law = np.bitwise_or(other.table(), np.transpose(term.table(), order))
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
        found = list(term.windows.windows)
    else:
        found = term.windows.ravel().tolist()
    return [window.center for window in found] if all(window.mask for window in found) else []


def stride_of(term: Term) -> float | None:
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
    for first, second in itertools.pairwise(terms):
        steps = stride_of(first), stride_of(second)
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
        pairs = list(zip(first.table().ravel().tolist(), second.table().ravel().tolist(), strict=True))
    apart = [one.center - other.center for one, other in pairs if one.mask and other.mask]
    return abs(sum(apart) / len(apart)) if apart else 0.0
