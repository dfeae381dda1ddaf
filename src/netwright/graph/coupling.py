"""Which channels of which parameters can only be kept or removed together.

Every axis of every tensor carries one atom an entry: a channel that could go, or the reason why nothing there can. An
operation ties the atoms that it forces to be one (a residual sum, a depthwise convolution), passes them on (a
concatenation, a flattened map) or fixes them (the network's output, what was not followed). Where an axis is seen as
several (groups, heads, a shuffle), its channels may go by whole rows of one of those sizes, and which one is settled
at the end, when it is known which of them may shrink at all. What is left tied is one channel of a ``Coupling``.

Removing a channel takes its entries from every member; a convolution whose weight is ``per`` channel along axis 0 and a
group norm of several groups lose groups in proportion. Nothing else changes for the channels that stay, unless the
coupling says ``inexact`` or ``follows``.

Couplings are computed on demand: inspection does without them. Cost: linear in the channels of all tensors, about a
third of the time of the trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from netwright.errors import UsageError
from netwright.graph.operations import ALONG_DIM, ELEMENTWISE, FACTORIES_LIKE
from netwright.graph.structure import ChannelMember, Coupling, Graph, Operation

Ids = NDArray[np.int64]  # an axis: atoms by number; below 0 the reason why an entry cannot go, as -1 - reason
Axes = tuple[Ids, ...]
Role = Literal["out", "in", "per"]
Key = tuple[str, int]  # a parameter and one of its axes
NEVER = np.iinfo(np.int64).max
INPUT, OUTPUT, ALONE, POSITION = range(4)
REASONS = ("the network's input", "the network's output", "the only channel of its layer", "a position, not a channel")


def coupled(graph: Graph) -> Graph:
    """The graph with its ``couplings``."""
    return msgspec.structs.replace(graph, couplings=couplings(graph))


def couplings(graph: Graph) -> tuple[Coupling, ...]:
    """The couplings of all channels, in the order in which their first parameter is used.

    Every entry of every parameter's axis that is used as channels is in exactly one of them; kernels are not listed.
    """
    channels = _Channels(graph)
    for operation in graph.operations:
        channels.follow(operation)
    for name in graph.outputs:
        channels.fix_all(channels.axes(name), OUTPUT)
    channels.settle()
    return channels.couplings()


def remaining(graph: Graph, removed: Iterable[tuple[Coupling, Iterable[int]]]) -> dict[Key, tuple[int, ...]]:
    """The entries that stay along every (parameter, axis) that loses some, when those channels go.

    Raises ``UsageError`` where a coupling is fixed, a block of its granularity is broken or nothing would be left.
    """
    gone: dict[Key, set[int]] = {}
    for coupling, chosen in removed:
        channels, where = sorted(set(chosen)), f"channels of {coupling.members[0].parameter}"
        if channels and coupling.fixed:
            raise UsageError(where, f"{len(channels)} to remove", f"all kept: {coupling.fixed}")
        if channels and (channels[0] < 0 or channels[-1] >= coupling.channels or len(channels) == coupling.channels):
            raise UsageError(where, f"{channels} to remove", f"some of 0 to {coupling.channels - 1}, but not all")
        size = coupling.granularity
        if channels != [block * size + n for block in sorted({c // size for c in channels}) for n in range(size)]:
            raise UsageError(where, f"{channels} to remove", f"whole blocks of {size}")
        for member in coupling.members:
            entries = gone.setdefault((member.parameter, member.axis), set())
            entries.update(entry for channel in channels for entry in member.entries(channel))
    shapes = {parameter.name: parameter.shape for parameter in graph.parameters}
    return {key: tuple(n for n in range(shapes[key[0]][key[1]]) if n not in out) for key, out in gone.items() if out}


class _Atoms:
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


class _Rows(NamedTuple):
    """Channels seen as a table, of which whole rows along one of its axes may go. ``atoms`` are those of the rows, axis
    by axis; ``numbers``: along which the code gives the size. ``owner`` is ``per`` channel if rows of axis 0 go."""

    operation: str
    table: Ids
    atoms: Axes
    numbers: tuple[bool, ...]
    owner: Key | None = None


class _Unclear(Exception):
    """The operation cannot be followed; what it touches is fixed."""


class _Channels:
    """Atoms of every tensor and parameter, operation by operation."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.atoms = graph, _Atoms()
        self.reasons = {reason: number for number, reason in enumerate(REASONS)}
        self.tensors: dict[str, Axes] = {}
        self.shapes = {parameter.name: parameter.shape for parameter in graph.parameters}
        self.owned: dict[Key, Ids] = {}
        self.roles: dict[Key, Role] = {}
        self.rows: list[_Rows] = []
        self.numbers: list[tuple[Ids, str]] = []  # atoms that change a number in the call of an operation
        for name in graph.inputs:
            self.tensors[name] = tuple(still(size, INPUT) for size in graph.tensors[name].shape)

    # ---- atoms

    def reason(self, text: str) -> int:
        return self.reasons.setdefault(text, len(self.reasons))

    def fresh(self, count: int) -> Ids:
        return self.atoms.fresh(count) if count > 1 else still(count, ALONE)

    def tie(self, one: Ids, other: Ids) -> Ids:
        if len(one) != len(other):
            raise _Unclear
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
        for row in table[1:]:
            self.tie(table[0].ravel(), row.ravel())

    def note(self, name: str, ids: Ids, value: int) -> None:
        if len(kept := ids[ids >= 0]):
            self.atoms.note(name, kept, value)

    def fix(self, ids: Ids, text: str) -> None:
        self.note("fixed", ids, self.reason(text))

    def fix_all(self, axes: Iterable[Ids], reason: int) -> None:
        for ids in axes:
            self.note("fixed", ids, reason)

    def mix(self, ids: Ids, operation: Operation) -> None:
        if len(ids) > 1:
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
        """``ids`` are the channels along that axis of a parameter or a computed tensor."""
        key = (name, axis)
        if name not in self.shapes:
            return self.tie(self.axes(name)[axis], ids)
        if self.shapes[name][axis] != len(ids):
            raise _Unclear
        if key in self.owned:
            return self.tie(self.owned[key], ids)
        self.owned[key], self.roles[key] = ids, role
        return ids

    def made(self, name: str, axis: int, role: Role = "out") -> Ids:
        """The channels along that axis of a parameter, new ones if it is met first here."""
        if name in self.shapes and (name, axis) not in self.owned:
            size = self.shapes[name][axis]
            alone = still(size, POSITION if role == "per" else ALONE)
            return self.meet(name, axis, alone if size == 1 else self.fresh(size), role)
        return self.owned[name, axis] if name in self.shapes else self.axes(name)[axis]

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
        self.rows.append(_Rows(by, ids.reshape(sizes), atoms, tuple(numbers), owner))
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
        self.rows.append(_Rows(by, ids.reshape(sizes), tuple(parts), (number,) * len(parts)))
        return ids

    # ---- the operations

    def follow(self, operation: Operation) -> None:
        rule = RULES.get(operation.kind)
        try:
            if rule is None or not operation.followed:
                raise _Unclear
            made = rule(self, operation)
            shapes = [self.graph.tensors[name].shape for name in operation.outputs]
            if len(made) != len(shapes) or [tuple(map(len, axes)) for axes in made] != shapes:
                raise _Unclear
        except (_Unclear, KeyError):  # a fact that this graph does not have
            made = self.unclear(operation)
        self.tensors |= dict(zip(operation.outputs, made, strict=True))

    def unclear(self, operation: Operation) -> list[Axes]:
        reason = self.reason(f"{operation.name} ({operation.kind}), through which no channel is followed")
        for name in operation.inputs:
            self.fix_all(self.axes(name), reason)
        for name in operation.parameters:
            for axis, size in enumerate(self.shapes[name]):
                self.meet(name, axis, still(size, reason), "per")
        return [tuple(still(size, reason) for size in self.shape(name)) for name in operation.outputs]

    def contract(
        self, operation: Operation, names: Sequence[str], terms: Sequence[Sequence[str]], out: Sequence[str]
    ) -> Axes:
        """Einstein's sum over letters of axes; axes of one entry broadcast. Elementwise operations sum over none."""
        found: dict[str, Ids] = {}
        weighted: set[str] = set()
        for name, term in sorted(zip(names, terms), key=lambda pair: pair[0] in self.shapes):  # tensors first
            if len(self.shape(name)) != len(term):
                raise _Unclear
            for axis, (letter, size) in enumerate(zip(term, self.shape(name))):
                if size == 1:
                    continue
                known = found.get(letter)
                if known is not None and len(known) != size:
                    raise _Unclear
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

    # ---- rows of tables

    def settle(self) -> None:
        """Choose for every table the axis whose rows go. First those that have no choice, until there are no more."""
        pending, before = self.rows, -1
        while before != len(pending):
            before, left = len(pending), []
            for rows in pending:
                worth = self.worth(rows)
                if sum(value is not None for value in worth) > 1:
                    left.append(rows)
                else:
                    self.choose(rows, worth)
            pending = left
        for rows in pending:
            self.choose(rows, self.worth(rows))

    def worth(self, rows: _Rows) -> list[tuple[bool, bool, bool, int] | None]:
        """How good it is to remove rows along each axis: None where that cannot be."""
        return [self.worth_along(rows, axis) for axis in range(rows.table.ndim)]

    def worth_along(self, rows: _Rows, axis: int) -> tuple[bool, bool, bool, int] | None:
        count, atoms = rows.table.shape[axis], rows.atoms[axis]
        table = np.column_stack([np.moveaxis(rows.table, axis, 0).reshape(count, -1), atoms])
        places = table >= 0
        roots, inverse = np.unique(self.atoms.find(table[places]), return_inverse=True)
        units = _Atoms(count + len(roots))  # rows, and the sets in them
        units.tie(np.nonzero(places)[0], count + inverse.reshape(-1))
        units.note("fixed", np.nonzero(~places.all(1))[0], 0)
        units.note("fixed", count + np.arange(len(roots)), self.atoms.notes["fixed"][roots])
        sets = np.unique(units.find(np.arange(count)))
        free = int((units.notes["fixed"][sets] == NEVER).sum())
        if not free or len(sets) < 2:
            return None
        own = self.atoms.find(atoms[atoms >= 0])
        exact = bool((self.atoms.notes["mixed"][roots] == NEVER).all())
        settled = bool((self.atoms.notes["settled"][own] < NEVER).any())
        return exact, settled, not rows.numbers[axis], free

    def choose(self, rows: _Rows, worth: Sequence[tuple[bool, bool, bool, int] | None]) -> None:
        possible = [(value, -axis) for axis, value in enumerate(worth) if value is not None]
        if not possible:
            everything = np.concatenate([rows.table.ravel(), *rows.atoms])
            moving = everything[everything >= 0]
            reasons = [*self.atoms.notes["fixed"][self.atoms.find(moving)], *(-1 - everything[everything < 0])]
            known = min(reasons, default=NEVER)
            text = f"{rows.operation}, which leaves no channel that could go alone"
            self.note("fixed", everything, self.reason(text) if known == NEVER else int(known))
            return
        axis = -max(possible)[1]
        table = np.moveaxis(rows.table, axis, -1)
        self.tie(table.ravel(), np.broadcast_to(rows.atoms[axis], table.shape).ravel())
        self.note("settled", rows.atoms[axis], 0)
        for other, ids in enumerate(rows.atoms):
            if other != axis:
                self.fix(ids, f"a size that {rows.operation} keeps")
        if rows.numbers[axis]:
            self.number(rows.atoms[axis], rows.operation)
        if rows.owner and axis == 0:
            self.roles[rows.owner] = "per"

    # ---- the end

    def couplings(self) -> tuple[Coupling, ...]:
        """Sets that lie alike in the same axes, in a row, are the channels of one coupling."""
        keys = [key for key, ids in self.owned.items() if len(ids) > 1]
        if not keys:
            return ()
        sizes = np.array([len(self.owned[key]) for key in keys])
        ids = np.concatenate([self.owned[key] for key in keys])
        places = np.repeat(np.arange(len(keys)), sizes)
        entries = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        moving = ids >= 0
        roots = self.atoms.size + np.arange(len(ids))  # what cannot go stands alone
        roots[moving] = self.atoms.find(ids[moving])
        order = np.lexsort((entries, places, roots))
        ids, roots, places, entries = ids[order], roots[order], places[order], entries[order]
        first = np.flatnonzero(np.diff(roots, prepend=-1))
        last = np.append(first[1:], len(roots))
        heads, parts = roots[first], np.flatnonzero(np.diff(roots, prepend=-1) | np.diff(places, prepend=-1))
        emptied = parts[np.diff(np.append(parts, len(roots))) == sizes[places[parts]]]  # the whole axis in one set
        fixed, mixed = np.where(ids[first] < 0, -1 - ids[first], NEVER), np.full(len(first), NEVER)
        sets = heads < self.atoms.size
        fixed[sets], mixed[sets] = (self.atoms.notes[name][heads[sets]] for name in ("fixed", "mixed"))
        for at in emptied[::-1]:
            number = np.searchsorted(first, at, "right") - 1
            if fixed[number] == NEVER:
                fixed[number] = self.reason(f"{keys[places[at]][0]}, of which nothing would be left")
        numbers: dict[int, set[str]] = {}
        for atoms, name in self.numbers:
            for root in np.unique(self.atoms.find(atoms)).tolist():
                numbers.setdefault(root, set()).add(name)
        groups: dict[tuple[Any, ...], list[int]] = {}
        columns = zip(first.tolist(), last.tolist(), heads.tolist(), fixed.tolist(), mixed.tolist())
        for number, (start, end, root, why, by) in enumerate(columns):
            alike = places[start:end].tobytes(), why, by, tuple(sorted(numbers.get(root, ())))
            groups.setdefault(alike, []).append(number)
        texts = {number: text for text, number in self.reasons.items()}
        found: list[tuple[int, int, Coupling]] = []
        for (_, why, by, follows), units in groups.items():
            width = last[units[0]] - first[units[0]]
            used, table = places[first[units[0]] : last[units[0]]], entries[first[units][:, None] + np.arange(width)]
            table = table[np.argsort(table[:, 0], kind="stable")]
            for start, end in _even(table):
                channels, granularity, members = self._members(table[start:end], used, keys)
                coupling = Coupling(
                    channels=channels, members=members, granularity=granularity, fixed=texts.get(why, ""),
                    inexact=texts.get(by, ""), follows=follows,
                )  # fmt: skip
                found.append((int(used[0]), int(table[start, 0]), coupling))
        return tuple(coupling for *_, coupling in sorted(found, key=lambda item: item[:2]))

    def _members(self, table: Ids, places: Ids, keys: Sequence[Key]) -> tuple[int, int, tuple[ChannelMember, ...]]:
        """(channels, granularity, members) of rows of entries, one a channel, that grow evenly."""
        count, width = table.shape
        joined = (np.diff(places) == 0) & (np.diff(table, axis=1) == 1).all(0)
        cuts = [0, *(np.flatnonzero(~joined) + 1).tolist(), width]
        runs = [
            (int(places[a]), int(table[0, a]), b - a, int(table[1, a] - table[0, a]) if count > 1 else b - a)
            for a, b in pairwise(cuts)
        ]
        block = runs[0][2] if all(step == repeat == runs[0][2] for _, _, repeat, step in runs) else 1
        members = tuple(
            ChannelMember(
                parameter=keys[place][0], axis=keys[place][1], role=self.roles[keys[place]], start=start,
                count=count * repeat, repeat=repeat // block, step=0 if step == repeat else step,
            )
            for place, start, repeat, step in runs
        )  # fmt: skip
        return count * block, block, members


def still(size: int, reason: int) -> Ids:
    return np.full(size, -1 - reason)


def _even(table: Ids) -> list[tuple[int, int]]:
    """(first, last) of runs of rows in which every column grows by the same."""
    steps, runs, first = np.diff(table, axis=0), [], 0
    same = (steps[1:] == steps[:-1]).all(1) if len(steps) > 1 else np.zeros(0, bool)
    breaks = np.append(np.flatnonzero(~same) + 2, len(table)).tolist()
    for last in breaks:  # the step that leads to ``last`` is another one
        if last > first + 1 or last == len(table):
            runs.append((first, last))
            first = last
    return [run for run in runs if run[0] < run[1]]


# --------------------------------------------------------------------------------------------------------------
# Rules: what each kind of operation does with the channels of its inputs. A rule gives the axes of every output.

Rule = Callable[[_Channels, Operation], "list[Axes]"]


def _data(channels: _Channels, operation: Operation) -> Axes:
    """Of the first input that is not a weight."""
    weights = {operation.attributes.get(role) for role in ("weight", "bias", "running_mean", "running_var")}
    name = next((name for name in operation.inputs if name not in weights), None)
    if name is None:
        raise _Unclear
    return channels.axes(name)


def _roles(operation: Operation, *roles: str) -> list[str]:
    return [operation.attributes[role] for role in roles if operation.attributes.get(role)]


def _positions(channels: _Channels, operation: Operation, axes: Axes, rank: int, output: int = 0) -> Axes:
    """The last ``rank`` axes are slid over: what lies there are positions, afterwards too."""
    for ids in axes[len(axes) - rank :]:
        channels.fix(ids, f"{operation.name}, which slides over it")
    sizes = channels.shape(operation.outputs[output])
    return tuple(still(size, POSITION) for size in sizes[len(sizes) - rank :])


def _convolution(channels: _Channels, operation: Operation) -> list[Axes]:
    """Groups go whole, with their inputs and outputs, or every group loses the same places."""
    axes, rank, groups = _data(channels, operation), int(operation.kind[-2]), operation.attributes["groups"]
    name, by = operation.attributes["weight"], operation.name
    read, (reads, makes) = axes[-1 - rank], (0, 1) if "transpose" in operation.kind else (1, 0)
    after = _positions(channels, operation, axes, rank)
    if groups == 1:
        channels.meet(name, reads, read, "in")
        made = channels.made(name, makes)
    else:
        wide = len(read) // groups
        owner = (name, 0) if reads == 0 else None  # a transposed weight has all inputs along axis 0
        parts = (
            (read, None) if wide == 1 else channels.split(read, (groups, wide), (False, False), by, owner)
        )  # fmt: skip
        group, inner = parts
        if reads == 0:
            channels.meet(name, 0, read, "per" if wide == 1 else "in")
        elif inner is not None:
            channels.meet(name, 1, inner, "in")
        many = operation.attributes["channels_out"] // groups
        if many == 1:
            made = group if makes == 1 else channels.meet(name, 0, group, "per")
        elif makes == 0:
            made = channels.made(name, 0)
            inside = channels.fresh(many)
            channels.rows.append(_Rows(by, made.reshape(groups, many), (group, inside), (False, False), (name, 0)))
        else:
            made = channels.join((group, channels.made(name, 1)), False, by)
    for bias in _roles(operation, "bias"):
        made = channels.meet(bias, 0, made, "per")
    return [(*axes[: len(axes) - rank - 1], made, *after)]


def _linear(channels: _Channels, operation: Operation) -> list[Axes]:
    axes, name = _data(channels, operation), operation.attributes["weight"]
    if len(channels.shape(name)) != 2:
        raise _Unclear
    channels.meet(name, 1, axes[-1], "in")
    made = channels.made(name, 0)
    for bias in _roles(operation, "bias"):
        made = channels.meet(bias, 0, made, "per")
    return [(*axes[:-1], made)]


def _channel_norm(channels: _Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    if operation.kind == "instance_norm" or operation.attributes.get("batch_statistics"):
        for ids in axes[2:]:
            channels.mix(ids, operation)
    for name in _roles(operation, "weight", "bias", "running_mean", "running_var"):
        channels.meet(name, 0, axes[1], "per")
    return [axes]


def _group_norm(channels: _Channels, operation: Operation) -> list[Axes]:
    """The mean of a group needs all of it, so groups go whole; with one group the mean changes."""
    axes, groups = _data(channels, operation), operation.attributes["num_groups"]
    for ids in axes[1 if groups == 1 else 2 :]:
        channels.mix(ids, operation)
    names = _roles(operation, "weight", "bias")
    if groups > 1:
        channels.tie_within(axes[1], (groups, len(axes[1]) // groups), 1)
        if not names:
            channels.number(axes[1], operation.name)
    for name in names:
        channels.meet(name, 0, axes[1], "per")
    return [axes]


def _layer_norm(channels: _Channels, operation: Operation) -> list[Axes]:
    axes, names = _data(channels, operation), _roles(operation, "weight", "bias")
    rank = operation.attributes.get("axes", 1)
    for place, ids in enumerate(axes[len(axes) - rank :]):
        channels.mix(ids, operation)
        for name in names:
            channels.meet(name, place, ids, "per")
        if not names:
            channels.number(ids, operation.name)
    return [axes]


def _response_norm(channels: _Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    channels.mix(axes[1], operation)
    return [axes]


def _pool(channels: _Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    rank = len(axes) - 2 if operation.kind == "upsample" else next(int(c) for c in operation.kind if c in "123")
    after = _positions(channels, operation, axes, rank)
    return [(*axes[: len(axes) - rank], *after)] * len(operation.outputs)


def _elementwise(channels: _Channels, operation: Operation) -> list[Axes]:
    names = [*operation.inputs, *operation.parameters]
    letters = [str(place) for place in range(len(channels.shape(operation.outputs[0])))]
    terms = [letters[len(letters) - len(channels.shape(name)) :] for name in names]
    return [channels.contract(operation, names, terms, letters)] * len(operation.outputs)


def _prelu(channels: _Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    for name in _roles(operation, "weight"):
        if math.prod(channels.shape(name)) > 1:
            channels.meet(name, 0, axes[min(1, len(axes) - 1)], "per")
    return [axes]


def _same(channels: _Channels, operation: Operation) -> list[Axes]:
    if not operation.inputs and operation.parameters:
        name = operation.parameters[0]
        return [tuple(channels.made(name, axis, "per") for axis in range(len(channels.shape(name))))]
    return [channels.axes(operation.inputs[0])] * len(operation.outputs)


def _source(channels: _Channels, operation: Operation) -> Axes:
    """Of the first tensor or, where there is none, parameter."""
    return _same(channels, operation)[0]


def _like(channels: _Channels, operation: Operation) -> list[Axes]:
    shape = channels.shape(operation.outputs[0])
    if operation.inputs and channels.shape(operation.inputs[0]) == shape and operation.kind.endswith("_like"):
        return _same(channels, operation)
    reason = channels.reason(f"a tensor made in the code ({operation.name})")
    return [tuple(still(size, reason) for size in shape)]


def _permute(channels: _Channels, operation: Operation) -> list[Axes]:
    axes = _source(channels, operation)
    return [tuple(axes[place] for place in operation.attributes["order"])]


def _reshape(channels: _Channels, operation: Operation) -> list[Axes]:
    """Sizes of both sides are products of the same digits; each digit is an axis of its own in between."""
    axes, target = _source(channels, operation), channels.shape(operation.outputs[0])
    asked = operation.attributes.get("sizes") or (-1,) * len(target)
    before = [ids for ids in axes if len(ids) != 1]
    after = [place for place, size in enumerate(target) if size != 1]
    if 0 in target:
        raise _Unclear
    made: dict[int, Ids] = {}
    while before or after:
        left, right = [before.pop(0)] if before else [], [after.pop(0)] if after else []
        while (one := math.prod(map(len, left))) != (two := math.prod(target[place] for place in right)):
            side: list[Any] = before if one < two else after
            if not side:
                raise _Unclear
            (left if one < two else right).append(side.pop(0))
        ends = {_ends([len(ids) for ids in left]), _ends([target[place] for place in right])}
        bounds = sorted(set().union(*ends))
        if any(b % a for a, b in pairwise(bounds)):
            raise _Unclear
        digits: list[Ids] = []  # from the last
        places = [place for place in right for _ in _between(bounds, place, right, target)]
        numbers = [asked[place] != -1 for place in places]
        for number, ids in enumerate(left):
            inner = math.prod(len(other) for other in left[number + 1 :])
            sizes = tuple(b // a for a, b in pairwise(bounds) if inner <= a and b <= inner * len(ids))[::-1]
            done = len(digits)
            digits += channels.split(ids, sizes, numbers[done : done + len(sizes)], operation.name)
        for place in right:
            mine = [digit for digit, where in zip(digits, places) if where == place]
            made[place] = channels.join(mine, asked[place] != -1, operation.name)
    return [tuple(made[place] if place in made else still(1, POSITION) for place in range(len(target)))]


def _ends(sizes: Sequence[int]) -> frozenset[int]:
    """Products of the last sizes: where an axis ends, in entries from the last."""
    return frozenset(math.prod(sizes[place:]) for place in range(len(sizes) + 1))


def _between(bounds: Sequence[int], place: int, right: Sequence[int], target: Sequence[int]) -> list[int]:
    """The digits, by their lower bound, that make up one axis of the target."""
    inner = math.prod(target[other] for other in right[right.index(place) + 1 :])
    return [a for a, b in pairwise(bounds) if inner <= a and b <= inner * target[place]]


def _slice(channels: _Channels, operation: Operation) -> list[Axes]:
    """A part of the channels. Equal parts (x[:, :c // 2]) stay equal; other bounds are numbers that follow."""
    axes, found = _source(channels, operation), operation.attributes
    sizes = list(channels.shape(operation.outputs[0]))
    for place in sorted(found["added"], reverse=True):
        del sizes[place]
    made: list[Ids] = []
    for axis, ids in enumerate(axes):
        start, step = found["starts"][axis], found["steps"][axis]
        if axis in found["removed"]:
            channels.fix(ids, f"{operation.name}, which picks it by number")
            continue
        size = sizes.pop(0)
        if size != len(ids) and (ids >= 0).any():
            if step != 1:
                channels.fix(ids, f"{operation.name}, which picks it by number")
            elif size and not start % size and not len(ids) % size:
                channels.tie_within(ids, (len(ids) // size, size), 0)
            channels.number(ids, operation.name)
        elif step < 0:
            raise _Unclear
        made.append(ids[start : start + size * step : step])
    for place in sorted(found["added"]):
        made.insert(place, still(1, POSITION))
    return [tuple(made)]


def _split(channels: _Channels, operation: Operation) -> list[Axes]:
    """Parts of equal size stay equal, whoever computes it; other sizes are numbers that follow."""
    axes, axis, sizes = _source(channels, operation), operation.attributes["axis"], operation.attributes["sizes"]
    ids = axes[axis]
    if len(sizes) > 1 and (ids >= 0).any():
        if len({*sizes}) == 1:
            channels.tie_within(ids, (len(sizes), sizes[0]), 0)
        elif operation.attributes.get("how") == "chunk":
            channels.fix(ids, f"{operation.name}, whose parts are not equal")
        if operation.attributes.get("how") != "chunk":
            channels.number(ids, operation.name)
    ends = np.cumsum(sizes)
    return [(*axes[:axis], ids[end - size : end], *axes[axis + 1 :]) for end, size in zip(ends, sizes)]


def _unbind(channels: _Channels, operation: Operation) -> list[Axes]:
    axes, axis = _source(channels, operation), operation.attributes["axis"]
    channels.fix(axes[axis], f"{operation.name}, which picks it by number")
    return [(*axes[:axis], *axes[axis + 1 :])] * len(operation.outputs)


def _parts(channels: _Channels, operation: Operation) -> list[Axes]:
    """Axes of all operands, in an order that is known."""
    if operation.inputs and operation.parameters:
        raise _Unclear  # which of them comes first is not known
    if operation.parameters:
        return [tuple(channels.made(n, a, "per") for a in range(len(channels.shape(n)))) for n in operation.parameters]
    return [channels.axes(name) for name in operation.inputs]


def _concat(channels: _Channels, operation: Operation) -> list[Axes]:
    parts, axis = _parts(channels, operation), operation.attributes["axis"]
    parts = [axes for axes in parts if len(axes) > axis]  # torch allows an empty vector among them
    made = list(parts[0])
    for axes in parts[1:]:
        for place, ids in enumerate(axes):
            made[place] = np.append(made[place], ids) if place == axis else channels.tie(made[place], ids)
    return [tuple(made)]


def _stack(channels: _Channels, operation: Operation) -> list[Axes]:
    parts, axis = _parts(channels, operation), operation.attributes["axis"]
    made = list(parts[0])
    for axes in parts[1:]:
        made = [channels.tie(one, other) for one, other in zip(made, axes, strict=True)]
    return [(*made[:axis], still(len(parts), POSITION), *made[axis:])]


def _expand(channels: _Channels, operation: Operation) -> list[Axes]:
    axes, target = _source(channels, operation), channels.shape(operation.outputs[0])
    made, asked = [], operation.attributes.get("sizes") or (-1,) * len(target)
    for place, size in enumerate(target):
        axis = place - len(target) + len(axes)
        if axis >= 0 and len(axes[axis]) == size:
            made.append(axes[axis])
            if asked[place] != -1:
                channels.number(axes[axis], operation.name)
        else:
            made.append(still(size, channels.reason(f"{operation.name}, which repeats one entry")))
    return [tuple(made)]


def _repeat(channels: _Channels, operation: Operation) -> list[Axes]:
    axes, target = _source(channels, operation), channels.shape(operation.outputs[0])
    axes = (still(1, POSITION),) * (len(target) - len(axes)) + axes
    if len(axes) != len(target) or any(size % len(ids) for ids, size in zip(axes, target)):
        raise _Unclear
    spread = np.repeat if operation.attributes["how"] == "repeat_interleave" else np.tile
    return [tuple(spread(ids, size // len(ids)) for ids, size in zip(axes, target))]


def _reduce(channels: _Channels, operation: Operation) -> list[Axes]:
    axes, found = _data(channels, operation), operation.attributes
    made = []
    for axis, ids in enumerate(axes):
        if axis not in found["axes"]:
            made.append(ids)
            continue
        if len(operation.outputs) > 1 or found["how"].startswith("arg"):
            channels.fix(ids, f"{operation.name}, which gives a number of it")
        channels.mix(ids, operation)
        if found["keep"]:
            made.append(still(1, POSITION))
    return [tuple(made)] * len(operation.outputs)


def _along(channels: _Channels, operation: Operation) -> list[Axes]:
    axes = list(_data(channels, operation))
    for axis in operation.attributes["axes"]:
        if operation.kind == "flip":
            axes[axis] = axes[axis][::-1]
        elif operation.kind == "glu":
            half = len(axes[axis]) // 2
            axes[axis] = channels.tie(axes[axis][:half], axes[axis][half:])
        elif operation.kind in ("sort", "topk", "roll", "cummax", "cummin"):
            reason = channels.reason(f"{operation.name}, which orders it anew")
            channels.note("fixed", axes[axis], reason)
            axes[axis] = still(channels.shape(operation.outputs[0])[axis], reason)
        else:
            channels.mix(axes[axis], operation)
    return [tuple(axes)] * len(operation.outputs)


def _pad(channels: _Channels, operation: Operation) -> list[Axes]:
    """Channels of zeros (a shortcut that widens) may go too; their number stands in the code."""
    made = []
    for ids, (before, after) in zip(_data(channels, operation), operation.attributes["padding"]):
        if not before and not after:
            made.append(ids)
        elif (ids < 0).all():
            made.append(np.full(len(ids) + before + after, ids[0] if len(ids) else -1 - POSITION))
        elif operation.attributes["mode"] != "constant" or min(before, after) < 0:
            raise _Unclear
        else:
            zeros = channels.atoms.fresh(before + after)
            channels.number(zeros, operation.name)
            made.append(np.concatenate([zeros[:before], ids, zeros[before:]]))
    return [tuple(made)]


def _pixel_shuffle(channels: _Channels, operation: Operation) -> list[Axes]:
    *lead, ids, height, width = _data(channels, operation)
    area = operation.attributes["factor"] ** 2
    after = _positions(channels, operation, (height, width), 2)
    if operation.kind == "pixel_unshuffle":
        return [(*lead, np.repeat(ids, area), *after)]
    if (ids < 0).all():
        return [(*lead, ids[::area], *after)]
    channels.tie_within(ids, (len(ids) // area, area), 1)
    return [(*lead, ids[::area], *after)]


def _channel_shuffle(channels: _Channels, operation: Operation) -> list[Axes]:
    first, ids, *rest = _data(channels, operation)
    groups, by = operation.attributes["groups"], operation.name
    if groups == 1 or groups == len(ids):
        return [(first, ids, *rest)]
    group, inner = channels.split(ids, (groups, len(ids) // groups), (True, False), by)
    return [(first, channels.join((inner, group), False, by), *rest)]


def _attention(channels: _Channels, operation: Operation) -> list[Axes]:
    """Heads of queries, keys and values are one. Their width decides the scale, 1 / √width, and stays."""
    query, key, value, *masks = [channels.axes(name) for name in operation.inputs]
    lead = max(query[:-2], key[:-2], value[:-2], key=len)
    given = [(axes[:-2], lead) for axes in (query, key, value)]
    given += [(mask, (*lead, query[-2], key[-2])) for mask in masks]
    for axes, others in given:
        for ids, other in zip(axes[::-1], others[::-1]):
            if len(ids) != len(other) and 1 not in (len(ids), len(other)):
                raise _Unclear
            if len(ids) == len(other):
                channels.tie(ids, other)
    channels.fix(channels.tie(query[-1], key[-1]), f"{operation.name}, whose scale is its width's")
    channels.mix(channels.tie(key[-2], value[-2]), operation)
    sizes = channels.shape(operation.outputs[0])
    lead = tuple(max((axes[place] for axes in (query, key, value)), key=len) for place in range(len(sizes) - 2))
    return [(*lead, query[-2], value[-1])]


def _operands(channels: _Channels, operation: Operation) -> list[str]:
    """Tensors and parameters in the order of the call, told apart by their shapes."""
    tensors, parameters, names = list(operation.inputs), list(operation.parameters), []
    for shape in operation.attributes["shapes"]:
        fits = [side for side in (tensors, parameters) if side and channels.shape(side[0]) == tuple(shape)]
        if len(fits) != 1:
            raise _Unclear
        names.append(fits[0].pop(0))
    if tensors or parameters:
        raise _Unclear
    return names


def _matmul(channels: _Channels, operation: Operation) -> list[Axes]:
    names, how = _operands(channels, operation), operation.attributes.get("how")
    if how == "addbmm" or len(names) not in (2, 3):
        raise _Unclear
    *added, one, other = names
    ranks = len(channels.shape(one)), len(channels.shape(other))
    if how in ("inner", "vdot", "dot") and ranks != (1, 1):
        raise _Unclear
    lead = [f"*{place}" for place in range(max(*ranks, 2) - 2)]
    left = ([*lead, "n"][-ranks[0] + 1 :] if ranks[0] > 1 else []) + ["k"]
    right = (lead[len(lead) - ranks[1] + 2 :] if ranks[1] > 1 else []) + (["k", "m"] if ranks[1] > 1 else ["k"])
    out = lead + ["n"] * (ranks[0] > 1) + ["m"] * (ranks[1] > 1)
    terms = [out[len(out) - len(channels.shape(name)) :] for name in added]
    return [channels.contract(operation, names, [*terms, left, right], out)]


def _einsum(channels: _Channels, operation: Operation) -> list[Axes]:
    names, equation = _operands(channels, operation), operation.attributes["equation"].replace(" ", "")
    left, arrow, out = equation.partition("->")
    if not arrow or left.count(",") + 1 != len(names):
        raise _Unclear
    ranks = [len(channels.shape(name)) for name in names]
    terms = [_letters(term, rank) for term, rank in zip(left.split(","), ranks)]
    if any(len({*term}) != len(term) for term in terms):
        raise _Unclear
    return [channels.contract(operation, names, terms, _letters(out, len(channels.shape(operation.outputs[0]))))]


def _letters(term: str, rank: int) -> list[str]:
    before, dots, after = term.partition("...")
    more = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"*{place}" for place in range(more, 0, -1)), *after]


def _embedding(channels: _Channels, operation: Operation) -> list[Axes]:
    name = operation.attributes["weight"]
    reason = channels.reason(f"{operation.name}, which picks it by number")
    channels.meet(name, 0, still(channels.shape(name)[0], reason), "in")
    indices = [channels.axes(tensor) for tensor in operation.inputs if tensor != name]
    return [(*indices[0], channels.made(name, 1))]


def _initial(channels: _Channels, operation: Operation, names: Sequence[str], units: Sequence[Ids]) -> None:
    """The state that a recurrent layer begins with. Its own zeros have the width that it needs."""
    own = channels.graph.modules.get(operation.module) in ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")
    for name in names:
        made = channels.graph.tensors[name].producer or name in channels.graph.inputs
        for ids in units if made or not own else ():
            channels.tie(ids, channels.axes(name)[-1])


def _gates(channels: _Channels, weights: Sequence[str], read: Ids) -> Ids:
    """The units of one layer and direction: rows of every gate, and columns of the recurrent weight."""
    first, second, *biases = weights
    if len(channels.shapes[second]) != 2 or len(biases) not in (0, 2):
        raise _Unclear
    rows, width = channels.shapes[second]
    channels.meet(first, 1, read, "in")
    units = channels.made(second, 1, "in")
    for name, role in ((first, "out"), (second, "out"), *((bias, "per") for bias in biases)):
        channels.meet(name, 0, np.tile(units, rows // width), role)  # type: ignore[arg-type]
    return units


def _recurrent(channels: _Channels, operation: Operation) -> list[Axes]:
    found, names = operation.attributes, operation.parameters
    ways = 1 + found["bidirectional"]
    many = len(names) // (found["layers"] * ways)
    if many not in (2, 4) or len(names) != many * found["layers"] * ways:
        raise _Unclear  # projections, or weights that layers share
    axes = channels.axes(operation.inputs[0])
    read, layers = axes[-1], []
    for layer in range(found["layers"]):
        first = layer * ways * many
        made = [_gates(channels, names[at : at + many], read) for at in range(first, first + ways * many, many)]
        layers += made
        read = np.concatenate(made)
    states = [name for name in operation.inputs[1:] if channels.graph.tensors[name].dtype != "int64"]  # not of batches
    _initial(channels, operation, states, layers)
    for ids in layers[1:]:  # one width for all layers and ways
        channels.tie(layers[0], ids)
    last = operation.outputs[1:]
    ends = [(*(still(size, POSITION) for size in channels.shape(name)[:-1]), layers[0]) for name in last]
    return [(*axes[:-1], read), *ends]


def _cell(channels: _Channels, operation: Operation) -> list[Axes]:
    axes = channels.axes(operation.inputs[0])
    units = _gates(channels, operation.parameters, axes[-1])
    _initial(channels, operation, operation.inputs[1:], [units])
    return [(*axes[:-1], units)] * len(operation.outputs)


def _assign(channels: _Channels, operation: Operation) -> list[Axes]:
    """``x[place] = y`` for whole axes of channels, and views of what was written."""
    if len(operation.inputs) != 2 or operation.parameters:
        raise _Unclear
    axes, others = (channels.axes(name) for name in operation.inputs)
    found = operation.attributes
    if "through" in found:
        if len(axes) != len(others):
            raise _Unclear
        return [tuple(channels.tie(one, other) for one, other in zip(axes, others))]
    if "starts" not in found or found["added"]:
        raise _Unclear
    for axis in found["removed"]:
        channels.fix(axes[axis], f"{operation.name}, which picks it by number")
    kept = [ids for axis, ids in enumerate(axes) if axis not in found["removed"]]
    whole = [not (ids >= 0).any() for ids in kept]
    for place in range(1, len(kept) + 1):
        other = others[-place] if place <= len(others) else still(1, POSITION)
        if len(other) == len(kept[-place]):
            channels.tie(kept[-place], other)
        elif not whole[-place] or (other >= 0).any():
            raise _Unclear
    return [axes]


def _chosen(channels: _Channels, operation: Operation) -> list[Axes]:
    """A list of numbers along one axis; the others stay as they are."""
    axes, axis = list(channels.axes(operation.inputs[0])), operation.attributes.get("axis")
    target = channels.shape(operation.outputs[0])
    if axis is None or len(target) != len(axes):
        raise _Unclear
    reason = channels.reason(f"{operation.name}, which picks it by number")
    channels.note("fixed", axes[axis], reason)
    axes[axis] = still(target[axis], POSITION if (axes[axis] == -1 - POSITION).all() else reason)
    return [tuple(axes)]


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(FACTORIES_LIKE, _like),
    **dict.fromkeys(ALONG_DIM, _along),
    **{f"conv{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"{how}_pool{rank}d": _pool for rank in (1, 2, 3) for how in ("max", "avg", "lp")},
    **{f"adaptive_{how}_pool{rank}d": _pool for rank in (1, 2, 3) for how in ("max", "avg")},
    **dict.fromkeys(("fractional_max_pool2d", "fractional_max_pool3d", "upsample"), _pool),
    **dict.fromkeys(("lstm", "gru", "rnn"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
    **dict.fromkeys(("alias", "cast", "dropout"), _same),
    **dict.fromkeys(("batch_norm", "instance_norm"), _channel_norm),
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle"), _pixel_shuffle),
    "linear": _linear, "group_norm": _group_norm, "local_response_norm": _response_norm, "prelu": _prelu,
    "permute": _permute, "reshape": _reshape, "slice": _slice, "split": _split, "unbind": _unbind, "concat": _concat,
    "stack": _stack, "expand": _expand, "repeat": _repeat, "reduce": _reduce, "pad": _pad, "index": _chosen,
    "channel_shuffle": _channel_shuffle, "attention": _attention, "matmul": _matmul, "einsum": _einsum,
    "embedding": _embedding, "assign": _assign,
}  # fmt: skip
