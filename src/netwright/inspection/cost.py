"""What a network costs, from its graph alone: parameters, multiply-accumulates, bytes, memory while it runs. No torch.

Conventions, the same everywhere in netwright:

- MACs are the products that convolutions, dense layers, matrix products, attention (both products) and recurrent layers
  sum up. No bias, norm, pooling or activation. A transposed convolution spreads every *input* position, so its MACs
  follow the input's size. A causal mask saves nothing, as in dense kernels. FLOPs = 2 · MACs.
- ``elementwise`` counts the rest: one a value for pointwise operations and biases, two for a norm (scale and shift),
  the window for a pooling, the input for a reduction.
- All figures are for the batch that was traced (``Graph.batch``); ``Totals.macs_per_example`` is for one example.
- A parameter that several operations read is counted once, at the first of them.
- Views (reshape, permute, slice, expand, split, …) move nothing and take no memory, as far as the trace saw them share
  their memory; one that had to copy is counted as a copy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cache

from netwright.graph.kinds import words
from netwright.graph.products import PRODUCTS, macs
from netwright.graph.structure import Graph, Operation, TensorInfo
from netwright.records import Record

# Kinds that only show a tensor's memory in another way, unless they had to copy.
VIEWS = words("reshape permute alias slice expand split unbind cast diagonal unfold getitem real imag dropout")
# Values go from one place to another; nothing is computed.
MOVES = VIEWS | words(
    """concat stack pad repeat assign index index_select gather scatter take take_along_dim embedding one_hot flip roll
    pixel_shuffle pixel_unshuffle channel_shuffle masked_select index_put index_copy scatter_reduce tril triu sort topk
    fold zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full unique nonzero"""
)
# What they read is as large as what they write, not the whole table.
GATHERS = words("embedding index index_select gather take take_along_dim masked_select slice")
NORMS = words("batch_norm layer_norm group_norm instance_norm rms_norm")


class Cost(Record, frozen=True, kw_only=True):
    """What one operation costs, for the traced batch.

    ``parameters`` (= ``trainable`` + ``frozen``) and ``buffers`` are numbers of values, counted at their first reader;
    ``reused`` are parameters that an earlier operation was charged for. ``weight_bytes``, ``input_bytes`` and
    ``output_bytes`` are what the operation can reach; ``bytes_moved`` is what it reads and writes. ``intensity`` is in
    FLOPs a byte moved. Shares are of the network's total; ``share_memory`` is of all outputs together. ``counted`` is
    False where the trace could not see into the operation, so that its MACs are unknown.
    """

    name: str
    kind: str
    module: str = ""
    parameters: int = 0
    trainable: int = 0
    frozen: int = 0
    reused: int = 0
    buffers: int = 0
    macs: int = 0
    flops: int = 0
    elementwise: int = 0
    weight_bytes: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    bytes_moved: int = 0
    intensity: float = 0.0
    share_macs: float = 0.0
    share_parameters: float = 0.0
    share_memory: float = 0.0
    counted: bool = True


class Totals(Record, frozen=True, kw_only=True):
    """What the whole network costs, for the traced batch of ``batch`` examples.

    ``parameters`` has every parameter once, also the ``unused`` that no operation reads; ``buffers`` likewise.
    ``macs_per_example`` is rounded down where something does not depend on the batch. ``activation_bytes`` is the
    highest sum of live tensors (see ``activations``), reached while ``peak_at`` ran; ``output_bytes`` the sum of all
    tensors that were made. ``inference_bytes`` = weights + buffers + live tensors. ``uncounted`` names operations whose
    MACs are unknown.
    """

    batch: int
    operations: int
    parameters: int
    trainable: int
    frozen: int
    unused: int
    buffers: int
    macs: int
    macs_per_example: int
    flops: int
    elementwise: int
    weight_bytes: int
    buffer_bytes: int
    input_bytes: int
    output_bytes: int
    bytes_moved: int
    intensity: float
    activation_bytes: int
    peak_at: str
    inference_bytes: int
    uncounted: tuple[str, ...] = ()


class Activations(Record, frozen=True, kw_only=True):
    """Memory of tensors while the network runs forward once without gradients, in bytes.

    ``live`` has the bytes alive while each operation runs, ``peak`` their maximum, ``at`` the first operation that
    reaches it, ``total`` the sum over all tensors that get memory of their own, without the network's inputs.
    """

    peak: int
    at: str
    total: int
    live: dict[str, int]


def costs(graph: Graph) -> dict[str, Cost]:
    """The cost of every operation by its name, in the order of execution. Linear in the operations."""
    infos = {info.name: info for info in graph.parameters}
    memory = {info.name: (math.prod(info.shape), item_bytes(info.dtype)) for info in graph.parameters}
    homes = storages(graph)
    parameters_in_all = max(sum(memory[info.name][0] for info in graph.parameters if info.kind == "parameter"), 1)
    made = {operation.name: _made(graph, operation, homes) for operation in graph.operations}
    made_in_all = max(sum(made.values()), 1)
    products = {operation.name: macs(graph, operation) for operation in graph.operations}
    products_in_all = max(sum(products.values()), 1)

    charged: set[str] = set()
    found: dict[str, Cost] = {}
    for operation in graph.operations:
        counts = {"trainable": 0, "frozen": 0, "reused": 0, "buffers": 0}
        for name in operation.parameters:
            info, (size, _) = infos[name], memory[name]
            if info.kind == "buffer":
                counts["buffers"] += size * (name not in charged)
            else:
                counts["reused" if name in charged else "trainable" if info.trainable else "frozen"] += size
            charged.add(name)
        inputs = [graph.tensors[name] for name in dict.fromkeys(operation.inputs)]
        weights = sum(math.prod(memory[name]) for name in operation.parameters)
        weights += sum(tensor_bytes(tensor) for tensor in inputs if homes[tensor.name] in infos)
        read = sum(_reachable(graph, tensor, homes) for tensor in inputs if homes[tensor.name] not in infos)
        written = sum(tensor_bytes(graph.tensors[name]) for name in operation.outputs)
        moved = _moved(graph, operation, homes, weights, read, written)
        count = products[operation.name]
        owned = counts["trainable"] + counts["frozen"]
        found[operation.name] = Cost(
            name=operation.name, kind=operation.kind, module=operation.module, parameters=owned, **counts,
            macs=count, flops=2 * count, elementwise=_elementwise(graph, operation, homes),
            weight_bytes=weights, input_bytes=read, output_bytes=written, bytes_moved=moved,
            intensity=2 * count / moved if moved else 0.0,
            share_macs=count / products_in_all, share_parameters=owned / parameters_in_all,
            share_memory=made[operation.name] / made_in_all, counted=operation.followed,
        )  # fmt: skip
    return found


def totals(graph: Graph, by_operation: dict[str, Cost] | None = None) -> Totals:
    """What the network costs in all. ``by_operation`` spares the work where ``costs`` ran before."""
    rows = (by_operation if by_operation is not None else costs(graph)).values()
    sizes = {info.name: math.prod(info.shape) for info in graph.parameters}
    size_bytes = {info.name: sizes[info.name] * item_bytes(info.dtype) for info in graph.parameters}
    parameters = [info for info in graph.parameters if info.kind == "parameter"]
    buffers = [info for info in graph.parameters if info.kind == "buffer"]
    read = {name for operation in graph.operations for name in operation.parameters}
    products, moved = sum(row.macs for row in rows), sum(row.bytes_moved for row in rows)
    running = activations(graph)
    weights = sum(size_bytes[info.name] for info in parameters)
    kept = sum(size_bytes[info.name] for info in buffers)
    trainable = sum(sizes[info.name] for info in parameters if info.trainable)
    frozen = sum(sizes[info.name] for info in parameters if not info.trainable)
    return Totals(
        batch=graph.batch,
        operations=len(graph.operations),
        parameters=trainable + frozen,
        trainable=trainable,
        frozen=frozen,
        unused=sum(sizes[info.name] for info in parameters if info.name not in read),
        buffers=sum(sizes[info.name] for info in buffers),
        macs=products,
        macs_per_example=products // max(graph.batch, 1),
        flops=2 * products,
        elementwise=sum(row.elementwise for row in rows),
        weight_bytes=weights,
        buffer_bytes=kept,
        input_bytes=sum(tensor_bytes(graph.tensors[name]) for name in graph.inputs),
        output_bytes=running.total,
        bytes_moved=moved,
        intensity=2 * products / moved if moved else 0.0,
        activation_bytes=running.peak,
        peak_at=running.at,
        inference_bytes=weights + kept + running.peak,
        uncounted=tuple(row.name for row in rows if not row.counted),
    )


def _output(graph: Graph, operation: Operation) -> int:
    return math.prod(graph.tensors[operation.outputs[0]].shape)


def _elementwise(graph: Graph, operation: Operation, homes: dict[str, str]) -> int:
    kind = operation.kind
    if kind in MOVES or not operation.followed:
        active_dropout = kind == "dropout" and operation.attributes.get("active", True)
        return _output(graph, operation) if active_dropout else 0
    if kind in PRODUCTS:
        return _output(graph, operation) if "bias" in operation.attributes else 0
    if kind in NORMS:
        return 2 * _output(graph, operation)
    if "pool" in kind and "kernel" in operation.attributes:
        return _output(graph, operation) * int(math.prod(operation.attributes["kernel"]))
    if (kind == "reduce" or "pool" in kind) and operation.inputs:
        return math.prod(graph.tensors[operation.inputs[0]].shape)
    return sum(math.prod(graph.tensors[name].shape) for name in operation.outputs)


# --------------------------------------------------------------------------------------------------------------
# Bytes


@cache
def item_bytes(dtype: str) -> int:
    """Bytes of one value: ``float32`` 4, ``complex64`` 8, ``bool`` 1, ``float8_e4m3fn`` 1."""
    bits = re.search(r"\d+", dtype)
    return max(int(bits.group()) // 8, 1) if bits else 1


def tensor_bytes(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape) * item_bytes(tensor.dtype)


def storages(graph: Graph) -> dict[str, str]:
    """For every tensor the tensor, parameter or buffer whose memory it uses (itself where it has its own)."""
    homes = {tensor.name: tensor.storage or tensor.name for tensor in graph.tensors.values()}
    passed: dict[str, str] = {}  # a dropout that is off hands on what it got
    for operation in graph.operations:
        if operation.kind == "dropout" and not operation.attributes.get("active", True) and operation.inputs:
            passed[operation.outputs[0]] = operation.inputs[0]
    for name, home in homes.items():
        while home in passed:
            home = graph.tensors[passed[home]].storage or passed[home]
        homes[name] = home
    return homes


def _is_view(operation: Operation, homes: dict[str, str]) -> bool:
    return operation.kind in VIEWS and all(homes[name] != name for name in operation.outputs)


def _made(graph: Graph, operation: Operation, homes: dict[str, str]) -> int:
    """Bytes of the outputs that get memory of their own."""
    return sum(tensor_bytes(graph.tensors[name]) for name in operation.outputs if homes[name] == name)


def _reachable(graph: Graph, tensor: TensorInfo, homes: dict[str, str]) -> int:
    """Distinct bytes behind a tensor: an expanded one has no more than what it shows."""
    home = graph.tensors.get(homes[tensor.name])
    return min(tensor_bytes(tensor), tensor_bytes(home)) if home is not None else tensor_bytes(tensor)


def _moved(graph: Graph, operation: Operation, homes: dict[str, str], weights: int, read: int, written: int) -> int:
    if _is_view(operation, homes):
        return 0
    if operation.kind == "assign":  # x[place] = value: the value's bytes, read and written
        return 2 * sum(tensor_bytes(graph.tensors[name]) for name in operation.inputs[1:])
    if operation.kind in GATHERS:
        places = sum(
            tensor_bytes(graph.tensors[name]) for name in operation.inputs if "int" in graph.tensors[name].dtype
        )
        return 2 * written + places
    return weights + read + written


# --------------------------------------------------------------------------------------------------------------
# Memory while running


def activations(graph: Graph) -> Activations:
    """The live tensors' bytes while each operation runs, without gradients, weights and buffers.

    A tensor lives from its operation to its last reader, the network's inputs from the start, its outputs to the end;
    views and in-place operations live in the memory of what they show. What a Python program keeps in variables beyond
    the last reader, and kernels' workspaces, come on top: this is what a run that frees at once needs.
    """
    owned = {info.name for info in graph.parameters}
    homes = storages(graph)
    end = len(graph.operations)
    born: dict[str, int] = dict.fromkeys((homes[name] for name in graph.inputs), 0)
    dies: dict[str, int] = dict.fromkeys(born, 0)
    size: dict[str, int] = {}

    def touch(names: Iterable[str], moment: int) -> None:
        for name in names:
            home = homes[name]
            if home in owned:
                continue
            born.setdefault(home, moment)
            dies[home] = max(dies.get(home, 0), moment)

    for moment, operation in enumerate(graph.operations):
        touch(operation.inputs, moment)
        touch(operation.outputs, moment)
    touch(graph.outputs, max(end - 1, 0))
    for home in born:
        shown = graph.tensors.get(home)
        size[home] = tensor_bytes(shown) if shown is not None else 0
    change = [0] * (end + 1)
    for home, moment in born.items():
        change[moment] += size[home]
        if dies[home] + 1 <= end:
            change[dies[home] + 1] -= size[home]
    live: dict[str, int] = {}
    now = 0
    for operation, difference in zip(graph.operations, change, strict=False):
        now += difference
        live[operation.name] = now
    peak = max(live.values(), default=sum(size.values()))
    given = {homes[name] for name in graph.inputs}
    return Activations(
        peak=peak,
        at=next((name for name, amount in live.items() if amount == peak), ""),
        total=sum(amount for home, amount in size.items() if home not in given),
        live=live,
    )
