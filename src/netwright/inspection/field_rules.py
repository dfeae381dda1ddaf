"""What each kind of operation does with what its inputs read: one rule a kind, in ``RULES``.

A kind without a rule, and an operation that the trace could not follow, make what comes behind them unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netwright.graph import kinds
from netwright.graph.structure import Graph, Operation
from netwright.inspection import pixel_sets
from netwright.inspection.fields import Digit, Field, Follower, Term
from netwright.inspection.pixel_sets import Periodic, Reads, Table

LOCAL = kinds.ELEMENTWISE | kinds.words("alias cast dropout batch_norm tril triu")
INDEX_ONLY = kinds.words(  # of their source they read one element each, by values: a constant stays one
    """index index_select gather take take_along_dim masked_select nonzero diagonal diag outer cross grid_sample
    grid_sampler embedding_bag unique"""
)
RECURRENT = ("lstm", "gru", "rnn")
CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
MIXING_ALONG = kinds.words("softmax log_softmax softmin sort topk normalize")
RUNNING_ALONG = kinds.words("cumsum cumprod cummax cummin logcumsumexp")

Fields = Sequence["Field | None"]
Rule = Callable[[Follower, Operation, Fields], "Sequence[Field | None]"]


def propagate(graph: Graph, source: str, axis: int, *, bounded: bool) -> dict[str, Field]:
    """Tensor → what it reads along one axis of ``source``; a table of true windows if ``bounded``."""
    length = graph.tensors[source].shape[axis]
    followed = Follower(graph, length, bounded)
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
        made = zip(operation.outputs, outputs, strict=True)
        states |= {name: field for name, field in made if field is not None}
    return states


def _rule(operation: Operation) -> Rule:
    kind = operation.kind
    if kind in RULES:
        return RULES[kind]
    if kind in LOCAL:
        return _elementwise
    if kind in INDEX_ONLY:
        return _indexed
    return _unknown


def _shape(followed: Follower, name: str) -> tuple[int, ...]:
    return followed.shapes[name]


def _unknown(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """Nothing can be said, unless all that is read is read by every position anyhow."""
    if all(field is None or field.whole for field in fields):
        whole = next(field for field in fields if field is not None)
        return [whole] * len(operation.outputs)
    return [Field((), unknown=operation.name)] * len(operation.outputs)


def _elementwise(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """Position by position, with broadcasting. Also several outputs of one shape."""
    target = _shape(followed, operation.outputs[0])
    given = [
        followed.broadcast(field, _shape(followed, name), target)
        for name, field in zip(operation.inputs, fields, strict=True)
        if field is not None
    ]
    return [followed.joined(given, operation.name)] * len(operation.outputs)


def _indexed(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """One element each, chosen by values: only what is the same for all positions is known.

    With ``axis`` the choice is along that axis alone (of channels, say): what lies on others stays.
    """
    axis = operation.attributes.get("axis")
    if operation.kind == "index" and axis is not None and fields[0] is not None and axis not in fields[0].axes:
        return [fields[0]]
    if all(field is None or not field.axes for field in fields):
        return [followed.joined(fields, operation.name)] * len(operation.outputs)
    return _unknown(followed, operation, fields)


def _unread(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    return [None] * len(operation.outputs)


def _first(operation: Operation, fields: Fields) -> Field | None:
    return fields[0] if fields else None


def _slid(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _adaptive(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _resized(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _dense(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """Dense layers and recurrent cells: the last axis is mixed."""
    given = [
        followed.mixed(field, (len(_shape(followed, name)) - 1,))
        for name, field in zip(operation.inputs, fields, strict=True)
        if field is not None
    ]
    return [followed.joined(given, operation.name)] * len(operation.outputs)


def _normalised(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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
    if kind == "group_norm" and 1 in field.axes:
        reads = pixel_sets.grouped(shape[1], shape[1], attributes.get("num_groups", 1))
        field = followed.through(field, 1, shape[1], reads)
    return [followed.mixed(field, range(2, len(shape)))]


def _response_norm(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    field = _first(operation, fields)
    if field is None:
        return [None]
    channels, size = _shape(followed, operation.inputs[0])[1], operation.attributes.get("size", 5)
    return [followed.through(field, 1, channels, pixel_sets.sliding(channels, channels, size, before=size // 2))]


def _operands(followed: Follower, operation: Operation, fields: Fields) -> list[tuple[tuple[int, ...], Field | None]]:
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


def _multiplied(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """(…, n, k) times (…, k, m), with something added in the three-operand forms."""
    operands = _operands(followed, operation, fields)
    if not operands and all(field is None or not field.axes for field in fields):
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


def _fitted(followed: Follower, field: Field, shape: tuple[int, ...], target: tuple[int, ...], inner: int) -> Field:
    """As ``broadcast``, where the summed axis of ``shape`` is mixed already and stands for one of the target's."""
    more = len(target) - len(shape)
    if more < 0:  # a summed batch: addbmm
        return followed.placed(followed.mixed(field, range(-more)), [None] * -more + list(range(len(target))))
    for axis, size in enumerate(shape[: len(shape) - 2 * inner]):
        if size == 1 and target[axis + more] != 1:
            field = followed.first_of(field, axis)
    return followed.placed(field, [axis + more for axis in range(len(shape))]) if more else field


def _einsum(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _attended(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """Every query reads itself and all keys and values; only those up to its own place, if causal."""
    target = _shape(followed, operation.outputs[0])
    if len(fields) < 3:
        mixed = [
            followed.mixed(field, (len(_shape(followed, name)) - 2, len(_shape(followed, name)) - 1))
            for name, field in zip(operation.inputs, fields, strict=True)
            if field is not None
        ]
        known = all(not field.axes for field in mixed)
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
            field = (
                _running(followed, field, rank - 2, shape[-2], target[-2])
                if operation.attributes.get("causal")
                else followed.mixed(field, (rank - 2,))
            )
        given.append(_fitted(followed, field, shape, target, 1))
    return [followed.joined(given, operation.name)]


def _running(followed: Follower, field: Field, axis: int, size: int, length: int = 0) -> Field:
    """Every position reads those up to it. Without borders that is the whole axis: there is no first position."""
    if not followed.bounded:
        return followed.mixed(field, (axis,))
    reads = pixel_sets.listed(size, [range(position + 1) for position in range(length or size)])
    return followed.through(field, axis, size, reads)


def _reduced(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    field = _first(operation, fields)
    if field is None:
        return _unread(followed, operation, fields)
    shape, axes = _shape(followed, operation.inputs[0]), set(operation.attributes["axes"])
    field = followed.mixed(field, axes)
    if len(_shape(followed, operation.outputs[0])) != len(shape):
        kept = iter(range(len(shape)))
        field = followed.placed(field, [None if axis in axes else next(kept) for axis in range(len(shape))])
    return [field] * len(operation.outputs)


def _lost(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """Losses: one number from all positions, or a number a position."""
    if _shape(followed, operation.outputs[0]):
        return _indexed(followed, operation, fields)
    given = []
    for name, field in zip(operation.inputs, fields, strict=True):
        if field is not None:
            rank = len(_shape(followed, name))
            given.append(followed.placed(followed.mixed(field, range(rank)), [None] * rank))
    return [followed.joined(given, operation.name)]


def _along(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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
        elif axis in field.axes:  # roll
            shifts = operation.attributes.get("shifts", ())
            if len(shifts) != len(axes):
                return _unknown(followed, operation, fields)
            by = shifts[place]
            reads = pixel_sets.listed(size, [((position - by) % size,) for position in range(size)])
            field = followed.through(field, axis, size, reads)
    return [field] * len(operation.outputs)


def _reshape(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    field = _first(operation, fields)
    if field is None:  # view_as and the like read a shape only
        return [None]
    old, new = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    return [followed.reshaped(field, old, new, operation.name)]


def _permuted(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    field, order = _first(operation, fields), operation.attributes["order"]
    if field is None:
        return [None]
    return [followed.placed(field, [order.index(axis) for axis in range(len(order))])]


def _shuffled(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _sliced(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _padded(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    field, attributes = _first(operation, fields), operation.attributes
    if field is None:
        return [None]
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    for axis, (first, last) in enumerate(attributes["padding"]):
        if first or last:
            reads = pixel_sets.padded(before[axis], after[axis], first, attributes["mode"])
            field = followed.through(field, axis, before[axis], reads)
    return [field]


def _concat(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    axis = operation.attributes["axis"]
    sizes = [_shape(followed, name)[axis] for name in operation.inputs]
    if operation.parameters and any(field is not None and axis in field.axes for field in fields):
        return _unknown(followed, operation, fields)  # a parameter among the operands: at which place is not known
    return [followed.alongside(fields, axis, sizes, operation.name)]


def _stacked(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    axis = operation.attributes["axis"]
    rank = len(_shape(followed, operation.inputs[0]))
    places = [place + (place >= axis) for place in range(rank)]
    given = [None if field is None else followed.placed(field, places) for field in fields]
    if operation.parameters:
        return [followed.joined(given, operation.name)]
    return [followed.alongside(given, axis, [1] * len(given), operation.name)]


def _split(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    field, axis = _first(operation, fields), operation.attributes["axis"]
    if field is None:
        return _unread(followed, operation, fields)
    shape, start = _shape(followed, operation.inputs[0]), 0
    found: list[Field | None] = []
    for size in operation.attributes["sizes"]:
        found.append(followed.through(field, axis, shape[axis], pixel_sets.sliced(shape[axis], size, start)))
        start += size
    return found


def _unbound(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    field, axis = _first(operation, fields), operation.attributes["axis"]
    if field is None:
        return _unread(followed, operation, fields)
    shape = _shape(followed, operation.inputs[0])
    places = [None if at == axis else at - (at > axis) for at in range(len(shape))]
    return [
        followed.placed(followed.through(field, axis, shape[axis], pixel_sets.sliced(shape[axis], 1, number)), places)
        for number in range(shape[axis])
    ]


def _expanded(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _repeated(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """repeat and tile: the axes again and again, position o is o modulo their length."""
    field = _first(operation, fields)
    if field is None:
        return [None]
    before, after = _shape(followed, operation.inputs[0]), _shape(followed, operation.outputs[0])
    more = len(after) - len(before)
    how = operation.attributes.get("how", "")
    for axis, size in enumerate(before):
        length = after[axis + more] if axis + more >= 0 else size
        if length == size or axis not in field.axes:
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


def _recurrent(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
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


def _states(followed: Follower, field: Field, batch: int | None) -> Field:
    """What is left on the batch axis, moved to where states (layers, batch, width) have it."""
    terms = tuple(
        Term(tuple(digit._replace(axis=1) for digit in term.digits), term.windows) if batch is not None else term
        for term in field.terms
    )
    return field._replace(terms=terms)


def _placed_states(followed: Follower, field: Field, batch: int | None, rank: int) -> Field:
    terms = tuple(
        Term(tuple(digit._replace(axis=batch or 0) for digit in term.digits), term.windows) for term in field.terms
    )
    return field._replace(terms=terms)


def _embedded(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """Indices keep their places; a new last axis is theirs."""
    if any(field is not None for field in fields[1:]):
        return _unknown(followed, operation, fields)
    return [fields[0]]


def _assigned(followed: Follower, operation: Operation, fields: Fields) -> list[Field | None]:
    """``x[index] = y``: what ``x`` read or ``y`` reads, at the places where ``y`` is written."""
    target, attributes = _shape(followed, operation.outputs[0]), operation.attributes
    given: list[Field | None] = [fields[0]]
    if fields[0] is not None and len(fields) > 1 and fields[1] is not None and "through" in attributes:
        return _elementwise(followed, operation, fields)
    for name, field in zip(operation.inputs[1:], fields[1:], strict=True):
        if field is None:
            continue
        if "starts" not in attributes:
            if field.axes:
                return _unknown(followed, operation, fields)
            given.append(field)
            continue
        sizes = _shape(followed, name)
        kept = [axis for axis in range(len(target)) if axis not in attributes["removed"]]
        more = len(kept) - len(sizes)
        if more < 0 or attributes["added"]:
            return _unknown(followed, operation, fields)
        field = followed.placed(field, [kept[axis + more] for axis in range(len(sizes))])
        for axis, size in zip(kept[more:], sizes, strict=True):
            start, step = attributes["starts"][axis], attributes["steps"][axis]
            if axis in field.axes and (size, start, step) != (target[axis], 0, 1):
                if size == 1:
                    return _unknown(followed, operation, fields)  # written along an axis, or at one place of it
                places = [((at - start) // step,) if (at - start) % step == 0 else () for at in range(target[axis])]
                field = followed.through(field, axis, size, pixel_sets.listed(size, places))
        given.append(field)
    return [followed.joined(given, operation.name)]


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
RULES |= dict.fromkeys(kinds.FACTORIES_LIKE, _unread)
for _rank in (1, 2, 3):
    RULES |= dict.fromkeys(
        [f"{name}{_rank}d" for name in ("conv", "conv_transpose", "max_pool", "avg_pool", "lp_pool")], _slid
    )
    RULES |= dict.fromkeys([f"adaptive_{name}_pool{_rank}d" for name in ("avg", "max")], _adaptive)
RULES |= dict.fromkeys(kinds.LOSSES, _lost)
