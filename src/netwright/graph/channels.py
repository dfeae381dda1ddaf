"""Channels on their way through a network: an atom for every entry of every axis of every tensor.

An atom is a channel that could go. An axis is an array of them, or of reasons why nothing there can go. Atoms that have
to go together are tied; what may go of an axis that is seen as several is left open, as ``Rows``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netwright.graph.structure import Graph, Operation

Ids = NDArray[np.int64]  # an axis: atoms by number; below 0 the reason why an entry cannot go, as -1 - reason
Axes = tuple[Ids, ...]
Role = Literal["out", "in", "per"]
Key = tuple[str, int]  # a parameter and one of its axes
NEVER = np.iinfo(np.int64).max
INPUT, OUTPUT, ALONE, POSITION = range(4)
REASONS = ("the network's input", "the network's output", "the only channel of its layer", "a position, not a channel")


def still(size: int, reason: int) -> Ids:
    return np.full(size, -1 - reason)


class Atoms:
    """Union-find over whole arrays, with three notes on every set: why it is fixed, what mixes it, whether rows of it
    were settled. Of two notes the smaller stays."""

    def __init__(self, size: int = 0) -> None:
        self.size, self.parent = size, np.arange(max(size, 1024))
        self.notes = {name: np.full(len(self.parent), NEVER) for name in ("fixed", "mixed", "settled")}

    def fresh(self, count: int) -> Ids:
        first, self.size = self.size, self.size + count
        if self.size > len(self.parent):
            more = max(self.size, 2 * len(self.parent)) - len(self.parent)
            self.parent = np.append(self.parent, np.arange(len(self.parent), len(self.parent) + more))
            self.notes = {name: np.append(note, np.full(more, NEVER)) for name, note in self.notes.items()}
        return np.arange(first, self.size)

    def find(self, ids: Ids) -> Ids:
        """The root of every atom. Paths are halved on the way, all at once."""
        at = self.parent[ids]
        while True:
            above = self.parent[at]
            if np.array_equal(at, above):
                self.parent[ids] = at
                return at
            self.parent[at] = self.parent[above]
            at = self.parent[above]

    def tie(self, one: Ids, other: Ids) -> None:
        while True:
            roots = self.find(one), self.find(other)
            apart = roots[0] != roots[1]
            if not apart.any():
                return
            low, high = np.minimum(*roots)[apart], np.maximum(*roots)[apart]
            np.minimum.at(self.parent, high, low)  # of several the smallest; the others are tied in the next round
            for note in self.notes.values():
                np.minimum.at(note, self.find(high), note[high])

    def note(self, name: str, ids: Ids, value: int | Ids) -> None:
        np.minimum.at(self.notes[name], self.find(ids), value)


class Rows(NamedTuple):
    """Channels seen as a table, of which whole rows along one of its axes may go. ``atoms`` are those of the rows, axis
    by axis; ``numbers``: along which the code gives the size. ``owner`` is ``per`` channel if rows of axis 0 go."""

    operation: str
    table: Ids
    atoms: Axes
    numbers: tuple[bool, ...]
    owner: Key | None = None


class Unclear(Exception):
    """The operation cannot be followed; what it touches is fixed."""


class Channels:
    """Atoms of every tensor and parameter, operation by operation."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.atoms = graph, Atoms()
        self.reasons = {reason: number for number, reason in enumerate(REASONS)}
        self.tensors: dict[str, Axes] = {}
        self.shapes = {parameter.name: parameter.shape for parameter in graph.parameters}
        self.owned: dict[Key, Ids] = {}
        self.roles: dict[Key, Role] = {}
        self.rows: list[Rows] = []
        self.numbers: list[tuple[Ids, str]] = []  # atoms that change a number in the call of an operation
        self.wanted = {*graph.outputs}  # tensors that an output depends on
        for operation in reversed(graph.operations):
            if not self.wanted.isdisjoint(operation.outputs):
                self.wanted.update(operation.inputs)
        for name in graph.inputs:
            self.tensors[name] = tuple(still(size, INPUT) for size in graph.tensors[name].shape)

    # ---- atoms

    def reason(self, text: str) -> int:
        return self.reasons.setdefault(text, len(self.reasons))

    def fresh(self, count: int) -> Ids:
        return self.atoms.fresh(count) if count > 1 else still(count, ALONE)

    def tie(self, one: Ids, other: Ids) -> Ids:
        if len(one) != len(other):
            raise Unclear
        both = (one >= 0) & (other >= 0)
        if both.any():
            self.atoms.tie(one[both], other[both])
        for ids, others in ((one, other), (other, one)):
            half = (ids >= 0) & (others < 0)
            if half.any():
                self.atoms.note("fixed", ids[half], -1 - others[half])
        return np.where(one >= 0, one, other)

    def tie_within(self, ids: Ids, shape: tuple[int, ...], axis: int) -> None:
        """``ids`` as a table: what differs along ``axis`` only is one."""
        table = np.moveaxis(ids.reshape(shape), axis, 0)
        self.tie(np.broadcast_to(table[0], table.shape).ravel(), table.ravel())

    def note(self, name: str, ids: Ids, value: int) -> None:
        if len(kept := ids[ids >= 0]):
            self.atoms.note(name, kept, value)

    def fix(self, ids: Ids, text: str) -> None:
        self.note("fixed", ids, self.reason(text))

    def fix_all(self, axes: Iterable[Ids], reason: int) -> None:
        for ids in axes:
            self.note("fixed", ids, reason)

    def mix(self, ids: Ids, operation: Operation) -> None:
        if len(ids) > 1 and not self.wanted.isdisjoint(operation.outputs):
            self.note("mixed", ids, self.reason(operation.name))

    def number(self, ids: Ids, operation: str) -> None:
        if (ids >= 0).any():
            self.numbers.append((ids[ids >= 0], operation))

    # ---- tensors and parameters

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name] if name in self.shapes else self.graph.tensors[name].shape

    def axes(self, name: str) -> Axes:
        """Of a tensor. One that no operation made is a constant of the code."""
        if name not in self.tensors:
            reason = self.reason(f"a tensor made in the code ({name})")
            self.tensors[name] = tuple(still(size, reason) for size in self.graph.tensors[name].shape)
        return self.tensors[name]

    def meet(self, name: str, axis: int, ids: Ids, role: Role) -> Ids:
        """``ids`` are the channels along that axis of a parameter. Whose entries a computed weight has is not known."""
        key = (name, axis)
        if name not in self.shapes:
            if role != "per":
                raise Unclear
            return self.tie(self.axes(name)[axis], ids)
        if self.shapes[name][axis] != len(ids):
            raise Unclear
        if key in self.owned:
            return self.tie(self.owned[key], ids)
        self.owned[key], self.roles[key] = ids, role
        return ids

    def made(self, name: str, axis: int, role: Role = "out") -> Ids:
        """The channels along that axis of a parameter, new ones if it is met first here."""
        if name not in self.shapes:
            raise Unclear
        if (name, axis) not in self.owned:
            size = self.shapes[name][axis]
            alone = still(size, POSITION if role == "per" else ALONE)
            return self.meet(name, axis, alone if size == 1 else self.fresh(size), role)
        return self.owned[name, axis]

    # ---- axes that are split and joined

    def split(
        self, ids: Ids, sizes: tuple[int, ...], numbers: Sequence[bool], by: str, owner: Key | None = None
    ) -> Axes:
        """An axis as several."""
        if len(sizes) == 1:
            if numbers[0]:
                self.number(ids, by)
            return (ids,)
        if (ids < 0).all():
            return tuple(np.full(size, ids[0]) for size in sizes)
        atoms = tuple(self.fresh(size) for size in sizes)
        self.rows.append(Rows(by, ids.reshape(sizes), atoms, tuple(numbers), owner))
        return atoms

    def join(self, parts: Sequence[Ids], number: bool, by: str) -> Ids:
        """Several axes as one."""
        sizes = tuple(map(len, parts))
        moving = [place for place, ids in enumerate(parts) if (ids >= 0).any()]
        if not moving:
            codes = [ids[0] for ids in parts if len(ids) and ids[0] != -1 - POSITION]
            return np.full(math.prod(sizes), codes[0] if codes else -1 - POSITION)
        if len(moving) == 1:
            (place,) = moving
            if number and len(parts) > 1:
                self.number(parts[place], by)
            shape = [1] * len(parts)
            shape[place] = sizes[place]
            return np.broadcast_to(parts[place].reshape(shape), sizes).reshape(-1)
        ids = self.fresh(math.prod(sizes))
        self.rows.append(Rows(by, ids.reshape(sizes), tuple(parts), (number,) * len(parts)))
        return ids

    # ---- operations

    def contract(
        self, operation: Operation, names: Sequence[str], terms: Sequence[Sequence[str]], out: Sequence[str]
    ) -> Axes:
        """Einstein's sum over letters of axes; axes of one entry broadcast. Elementwise operations sum over none."""
        found: dict[str, Ids] = {}
        weighted: set[str] = set()
        for name, term in sorted(zip(names, terms), key=lambda pair: pair[0] in self.shapes):  # tensors first
            if len(self.shape(name)) != len(term):
                raise Unclear
            for axis, (letter, size) in enumerate(zip(term, self.shape(name))):
                if size == 1:
                    continue
                known = found.get(letter)
                if known is not None and len(known) != size:
                    raise Unclear
                if name not in self.shapes:
                    ids = self.axes(name)[axis]
                    found[letter] = ids if known is None else self.tie(known, ids)
                elif known is None:
                    found[letter] = self.made(name, axis, "out" if letter in out else "in")
                else:
                    role: Role = "per" if letter in out else "in"
                    found[letter] = self.meet(name, axis, known, role)
                    weighted |= {letter} - {*out}
        for letter in found.keys() - {*out} - weighted:
            self.mix(found[letter], operation)
        sizes = self.shape(operation.outputs[0])
        return tuple(found.get(letter, still(size, POSITION)) for letter, size in zip(out, sizes, strict=True))
