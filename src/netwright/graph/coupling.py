"""Which channels of which parameters can only be kept or removed together.

Every axis of every tensor carries one atom an entry: a channel that could go, or the reason why nothing there can. An
operation ties the atoms that it forces to be one (a residual sum, a depthwise convolution), passes them on (a
concatenation, a flattened map) or fixes them (the network's output, what was not followed). Where an axis is seen as
several (groups, heads, a shuffle), its channels may go by whole rows of one of those sizes, and which one is settled
at the end, when it is known which of them may shrink at all. What is left tied is one channel of a ``Coupling``.

Removing a channel takes its entries from every member; a convolution whose weight is ``per`` channel along axis 0 and a
group norm of several groups lose groups in proportion. Nothing else changes for the channels that stay, unless the
coupling says ``inexact`` or ``follows``.

Couplings are computed on demand: inspection does without them. Cost: linear in the channels of all tensors, about half
the time of the trace (DenseNet-121: 0.3 s).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from netwright.errors import UsageError
from netwright.graph.channels import NEVER, OUTPUT, Atoms, Axes, Channels, Ids, Key, Rows, Unclear, still
from netwright.graph.coupling_rules import RULES
from netwright.graph.structure import ChannelMember, Coupling, Graph, Operation

Worth = tuple[bool, bool, bool, int]  # exact, settled elsewhere already, no number in the code, how many can go
ROUNDS = 4  # in which choices that are forced force others; the rest is chosen in order, so cost stays linear


def coupled(graph: Graph) -> Graph:
    """The graph with its ``couplings``."""
    return msgspec.structs.replace(graph, couplings=couplings(graph))


def couplings(graph: Graph) -> tuple[Coupling, ...]:
    """The couplings of all channels, in the order in which their first parameter is used.

    Every entry of every parameter's axis that is used as channels is in exactly one of them; kernels are not listed.
    """
    channels = _Settling(graph)
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


class _Settling(Channels):
    """From operations to couplings."""

    def follow(self, operation: Operation) -> None:
        rule = RULES.get(operation.kind)
        try:
            if rule is None or not operation.followed:
                raise Unclear
            made = rule(self, operation)
            shapes = [self.graph.tensors[name].shape for name in operation.outputs]
            if len(made) != len(shapes) or [tuple(map(len, axes)) for axes in made] != shapes:
                raise Unclear
        except (Unclear, KeyError):  # a fact that this graph does not have
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

    def settle(self) -> None:
        """Choose for every table the axis whose rows go: first those that have no choice, which may settle others."""
        pending = self.rows
        for _ in range(ROUNDS):
            left = []
            for rows in pending:
                worth = self.worth(rows)
                if sum(value is not None for value in worth) > 1:
                    left.append(rows)
                else:
                    self.choose(rows, worth)
            if len(left) == len(pending):
                break
            pending = left
        for rows in pending:
            self.choose(rows, self.worth(rows))

    def worth(self, rows: Rows) -> list[Worth | None]:
        """How good it is to remove rows along each axis: None where that cannot be."""
        return [self.worth_along(rows, axis) for axis in range(rows.table.ndim)]

    def worth_along(self, rows: Rows, axis: int) -> Worth | None:
        count, atoms = rows.table.shape[axis], rows.atoms[axis]
        table = np.column_stack([np.moveaxis(rows.table, axis, 0).reshape(count, -1), atoms])
        places = table >= 0
        roots, inverse = np.unique(self.atoms.find(table[places]), return_inverse=True)
        units = Atoms(count + len(roots))  # rows, and the sets in them
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

    def choose(self, rows: Rows, worth: Sequence[Worth | None]) -> None:
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
