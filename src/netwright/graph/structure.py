"""A network as a value: operations, the tensors between them, parameters, and which channels belong together.

Inspection, compression and export all read this one. It is plain data: no torch, no reference to the network itself;
``module`` and ``parameters`` are the names by which ``network.get_submodule`` and ``get_parameter`` find them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import msgspec

from netwright.records import SCHEMA_VERSION, Record


class TensorInfo(Record, frozen=True, kw_only=True):
    """A tensor between operations. ``producer`` is an operation's name, or empty for an input of the network.

    ``storage`` is the tensor, parameter or buffer in whose memory this one lies (views, in-place operations), empty
    where it has its own.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    producer: str = ""
    storage: str = ""


class ParameterInfo(Record, frozen=True, kw_only=True):
    """A parameter or buffer; ``aliases`` are its other names where modules share it (it is counted once)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    kind: Literal["parameter", "buffer"] = "parameter"
    aliases: tuple[str, ...] = ()


class Operation(Record, frozen=True, kw_only=True):
    """One operation in the order of execution.

    ``name`` is unique (the module's path, with ``#2``, ``#3`` for later calls of a shared module, or
    ``parent.function_n`` for functional calls). ``attributes`` are what decides shapes and cost (kernel, stride,
    padding, dilation, groups…), as plain numbers. ``followed`` is False for what the trace could not see into.
    """

    name: str
    kind: str  # conv2d, linear, batch_norm, relu, add, concat, reshape, attention, …
    inputs: tuple[str, ...]  # tensors
    outputs: tuple[str, ...]
    module: str = ""
    parameters: tuple[str, ...] = ()
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)
    followed: bool = True


class ChannelMember(Record, frozen=True, kw_only=True):
    """Where coupled channels lie along axis ``axis`` of a parameter or buffer.

    ``role``: ``out`` (this parameter makes the channels), ``in`` (it reads them) or ``per`` (one value a channel; of a
    convolution, one group: its ``groups`` shrink with axis 0). ``repeat`` neighbouring entries belong to one channel
    (a flattened map before a dense layer), and the next channel begins ``step`` entries further; 0 says that it
    follows at once. Channels that lie in several places of an axis have several members there.
    """

    parameter: str
    axis: int
    role: Literal["out", "in", "per"]
    start: int = 0
    count: int = 0
    repeat: int = 1
    step: int = 0

    def entries(self, channel: int) -> range:
        """The entries of ``channel``, counted from 0 within its coupling, along the axis."""
        first = self.start + channel * (self.step or self.repeat)
        return range(first, first + self.repeat)


class Coupling(Record, frozen=True, kw_only=True):
    """Channels that can only be kept or removed together (residual sums, concatenations, depthwise, groups, heads).

    ``granularity``: channels come and go in whole blocks of it (0 to g - 1, g to 2 g - 1, …); one block at least stays.
    ``fixed`` says why the group must stay as it is (the network's output, an operation that was not followed), empty if
    it may shrink. ``inexact`` names the first operation that mixes channels without weights of its own (a layer norm
    over them): without a channel, it gives other values for the rest, even where nothing reads that channel.
    ``follows`` names operations whose calls give sizes as numbers (heads, a slice's bounds, padding): they come out
    right if the network's code computes them from shapes; otherwise the code's numbers have to change too.
    """

    channels: int
    members: tuple[ChannelMember, ...]
    granularity: int = 1
    fixed: str = ""
    inexact: str = ""
    follows: tuple[str, ...] = ()


class Graph(Record, frozen=True, kw_only=True, dict=True):
    """A traced network.

    ``modules`` maps paths to class names. ``tensors`` holds inputs, constants and outputs of operations by name; the
    first axis of most has ``batch`` examples. ``executed`` says whether the network was followed by shapes alone, or
    had to see values.
    """

    version: int = SCHEMA_VERSION
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, TensorInfo]
    operations: tuple[Operation, ...]
    parameters: tuple[ParameterInfo, ...]
    modules: dict[str, str] = msgspec.field(default_factory=dict)
    batch: int = 1
    training: bool = False
    executed: Literal["shapes", "values"] = "shapes"
    couplings: tuple[Coupling, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, Operation]:
        return {operation.name: operation for operation in self.operations}

    @cached_property
    def _readers(self) -> dict[str, list[Operation]]:
        readers: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for tensor in dict.fromkeys(operation.inputs):
                readers.setdefault(tensor, []).append(operation)
        return readers

    def operation(self, name: str) -> Operation:
        """The operation of that name. Raises ``KeyError``."""
        return self._by_name[name]

    def parents(self, operation: Operation) -> tuple[Operation, ...]:
        """The operations whose outputs this one reads, in the order of its inputs, each once."""
        names = dict.fromkeys(self.tensors[tensor].producer for tensor in operation.inputs)
        return tuple(self._by_name[name] for name in names if name)

    def children(self, operation: Operation) -> tuple[Operation, ...]:
        """The operations that read an output of this one, in the order of execution."""
        found = {reader.name for tensor in operation.outputs for reader in self._readers.get(tensor, ())}
        return tuple(other for other in self.operations if other.name in found) if found else ()

    def unfollowed(self) -> tuple[Operation, ...]:
        return tuple(operation for operation in self.operations if not operation.followed)
