"""What each kind of operation does with the channels of its inputs. A rule gives the axes of every output.

A new operation is one rule, or one line in ``RULES``. What has no rule fixes the channels that it touches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from netwright.graph.channels import POSITION, Axes, Channels, Ids, Rows, Unclear, still
from netwright.graph.kinds import ALONG_DIM, ELEMENTWISE, FACTORIES_LIKE
from netwright.graph.structure import Operation

Rule = Callable[[Channels, Operation], list[Axes]]


def _data(channels: Channels, operation: Operation) -> Axes:
    """Of the first input that is not a weight."""
    weights = {operation.attributes.get(role) for role in ("weight", "bias", "running_mean", "running_var")}
    name = next((name for name in operation.inputs if name not in weights), None)
    if name is None:
        raise Unclear
    return channels.axes(name)


def _roles(operation: Operation, *roles: str) -> list[str]:
    return [operation.attributes[role] for role in roles if operation.attributes.get(role)]


def _layer(channels: Channels, operation: Operation, *kinds: str) -> bool:
    """Whether it is the call of such a layer, whose sizes are its attributes, and no call with numbers of its own."""
    return channels.graph.modules.get(operation.module, "").startswith(kinds)


def _positions(channels: Channels, operation: Operation, axes: Axes, rank: int, output: int = 0) -> Axes:
    """The last ``rank`` axes are slid over: what lies there are positions, afterwards too."""
    for ids in axes[len(axes) - rank :]:
        channels.fix(ids, f"{operation.name}, which slides over it")
    sizes = channels.shape(operation.outputs[output])
    return tuple(still(size, POSITION) for size in sizes[len(sizes) - rank :])


def _convolution(channels: Channels, operation: Operation) -> list[Axes]:
    """Groups go whole, with their inputs and outputs, or every group loses the same places."""
    axes, rank, groups = _data(channels, operation), int(operation.kind[-2]), operation.attributes["groups"]
    name, by = operation.attributes["weight"], operation.name
    literal = not _layer(channels, operation, "Conv", "LazyConv")
    read, (reads, makes) = axes[-1 - rank], (0, 1) if "transpose" in operation.kind else (1, 0)
    after = _positions(channels, operation, axes, rank)
    if groups == 1:
        channels.meet(name, reads, read, "in")
        made = channels.made(name, makes)
    else:
        wide = len(read) // groups
        owner = (name, 0) if reads == 0 else None  # a transposed weight has all inputs along axis 0
        parts = (
            (read, None) if wide == 1 else channels.split(read, (groups, wide), (literal, False), by, owner)
        )  # fmt: skip
        group, inner = parts
        if literal and inner is None:
            channels.number(group, by)
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
            channels.rows.append(Rows(by, made.reshape(groups, many), (group, inside), (literal, False), (name, 0)))
        else:
            made = channels.join((group, channels.made(name, 1)), False, by)
    for bias in _roles(operation, "bias"):
        made = channels.meet(bias, 0, made, "per")
    return [(*axes[: len(axes) - rank - 1], made, *after)]


def _linear(channels: Channels, operation: Operation) -> list[Axes]:
    axes, name = _data(channels, operation), operation.attributes["weight"]
    if len(channels.shape(name)) != 2:
        raise Unclear
    channels.meet(name, 1, axes[-1], "in")
    made = channels.made(name, 0)
    for bias in _roles(operation, "bias"):
        made = channels.meet(bias, 0, made, "per")
    return [(*axes[:-1], made)]


def _channel_norm(channels: Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    if operation.kind == "instance_norm" or operation.attributes.get("batch_statistics"):
        for ids in axes[2:]:
            channels.mix(ids, operation)
    for name in _roles(operation, "weight", "bias", "running_mean", "running_var"):
        channels.meet(name, 0, axes[1], "per")
    return [axes]


def _group_norm(channels: Channels, operation: Operation) -> list[Axes]:
    """The mean of a group needs all of it, so groups go whole; with one group the mean changes."""
    axes, groups = _data(channels, operation), operation.attributes["num_groups"]
    for ids in axes[1 if groups == 1 else 2 :]:
        channels.mix(ids, operation)
    names = _roles(operation, "weight", "bias")
    if groups > 1:
        channels.tie_within(axes[1], (groups, len(axes[1]) // groups), 1)
        if not names or not _layer(channels, operation, "GroupNorm"):
            channels.number(axes[1], operation.name)
    for name in names:
        channels.meet(name, 0, axes[1], "per")
    return [axes]


def _layer_norm(channels: Channels, operation: Operation) -> list[Axes]:
    axes, names = _data(channels, operation), _roles(operation, "weight", "bias")
    rank = operation.attributes.get("axes", 1)
    for place, ids in enumerate(axes[len(axes) - rank :]):
        channels.mix(ids, operation)
        for name in names:
            channels.meet(name, place, ids, "per")
        if not names or not _layer(channels, operation, "LayerNorm", "RMSNorm"):
            channels.number(ids, operation.name)
    return [axes]


def _response_norm(channels: Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    channels.mix(axes[1], operation)
    return [axes]


def _pool(channels: Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    rank = len(axes) - 2 if operation.kind == "upsample" else next(int(c) for c in operation.kind if c in "123")
    after = _positions(channels, operation, axes, rank)
    return [(*axes[: len(axes) - rank], *after)] * len(operation.outputs)


def _elementwise(channels: Channels, operation: Operation) -> list[Axes]:
    names = [*operation.inputs, *operation.parameters]
    letters = [str(place) for place in range(len(channels.shape(operation.outputs[0])))]
    terms = [letters[len(letters) - len(channels.shape(name)) :] for name in names]
    return [channels.contract(operation, names, terms, letters)] * len(operation.outputs)


def _prelu(channels: Channels, operation: Operation) -> list[Axes]:
    axes = _data(channels, operation)
    for name in _roles(operation, "weight"):
        if math.prod(channels.shape(name)) > 1:
            channels.meet(name, 0, axes[min(1, len(axes) - 1)], "per")
    return [axes]


def _same(channels: Channels, operation: Operation) -> list[Axes]:
    if not operation.inputs and operation.parameters:
        name = operation.parameters[0]
        return [tuple(channels.made(name, axis, "per") for axis in range(len(channels.shape(name))))]
    return [channels.axes(operation.inputs[0])] * len(operation.outputs)


def _source(channels: Channels, operation: Operation) -> Axes:
    """Of the first tensor or, where there is none, parameter."""
    return _same(channels, operation)[0]


def _like(channels: Channels, operation: Operation) -> list[Axes]:
    shape = channels.shape(operation.outputs[0])
    if operation.inputs and channels.shape(operation.inputs[0]) == shape and operation.kind.endswith("_like"):
        return _same(channels, operation)
    reason = channels.reason(f"a tensor made in the code ({operation.name})")
    return [tuple(still(size, reason) for size in shape)]


def _permute(channels: Channels, operation: Operation) -> list[Axes]:
    axes = _source(channels, operation)
    return [tuple(axes[place] for place in operation.attributes["order"])]


def _reshape(channels: Channels, operation: Operation) -> list[Axes]:
    """Sizes of both sides are products of the same digits; each digit is an axis of its own in between."""
    axes, target = _source(channels, operation), channels.shape(operation.outputs[0])
    asked = operation.attributes.get("sizes") or (-1,) * len(target)
    before = [ids for ids in axes if len(ids) != 1]
    after = [place for place, size in enumerate(target) if size != 1]
    if 0 in target:
        raise Unclear
    made: dict[int, Ids] = {}
    while before or after:
        left, right = [before.pop(0)] if before else [], [after.pop(0)] if after else []
        while (one := math.prod(map(len, left))) != (two := math.prod(target[place] for place in right)):
            side: list[Any] = before if one < two else after
            if not side:
                raise Unclear
            (left if one < two else right).append(side.pop(0))
        ends = {_ends([len(ids) for ids in left]), _ends([target[place] for place in right])}
        bounds = sorted(set().union(*ends))
        if any(b % a for a, b in pairwise(bounds)):
            raise Unclear
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


def _slice(channels: Channels, operation: Operation) -> list[Axes]:
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
            raise Unclear
        made.append(ids[start : start + size * step : step])
    for place in sorted(found["added"]):
        made.insert(place, still(1, POSITION))
    return [tuple(made)]


def _split(channels: Channels, operation: Operation) -> list[Axes]:
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


def _unbind(channels: Channels, operation: Operation) -> list[Axes]:
    axes, axis = _source(channels, operation), operation.attributes["axis"]
    channels.fix(axes[axis], f"{operation.name}, which picks it by number")
    return [(*axes[:axis], *axes[axis + 1 :])] * len(operation.outputs)


def _parts(channels: Channels, operation: Operation) -> list[Axes]:
    """Axes of all operands, in an order that is known."""
    if operation.inputs and operation.parameters:
        raise Unclear  # which of them comes first is not known
    if operation.parameters:
        return [tuple(channels.made(n, a, "per") for a in range(len(channels.shape(n)))) for n in operation.parameters]
    return [channels.axes(name) for name in operation.inputs]


def _concat(channels: Channels, operation: Operation) -> list[Axes]:
    parts, axis = _parts(channels, operation), operation.attributes["axis"]
    parts = [axes for axes in parts if len(axes) > axis]  # torch allows an empty vector among them
    made = list(parts[0])
    for axes in parts[1:]:
        for place, ids in enumerate(axes):
            made[place] = np.append(made[place], ids) if place == axis else channels.tie(made[place], ids)
    return [tuple(made)]


def _stack(channels: Channels, operation: Operation) -> list[Axes]:
    parts, axis = _parts(channels, operation), operation.attributes["axis"]
    made = list(parts[0])
    for axes in parts[1:]:
        made = [channels.tie(one, other) for one, other in zip(made, axes, strict=True)]
    return [(*made[:axis], still(len(parts), POSITION), *made[axis:])]


def _expand(channels: Channels, operation: Operation) -> list[Axes]:
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


def _repeat(channels: Channels, operation: Operation) -> list[Axes]:
    axes, target = _source(channels, operation), channels.shape(operation.outputs[0])
    axes = (still(1, POSITION),) * (len(target) - len(axes)) + axes
    if len(axes) != len(target) or any(size % len(ids) for ids, size in zip(axes, target)):
        raise Unclear
    spread = np.repeat if operation.attributes["how"] == "repeat_interleave" else np.tile
    return [tuple(spread(ids, size // len(ids)) for ids, size in zip(axes, target))]


def _reduce(channels: Channels, operation: Operation) -> list[Axes]:
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


def _along(channels: Channels, operation: Operation) -> list[Axes]:
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


def _pad(channels: Channels, operation: Operation) -> list[Axes]:
    """Channels of zeros (a shortcut that widens) may go too; their number stands in the code."""
    made = []
    for ids, (before, after) in zip(_data(channels, operation), operation.attributes["padding"]):
        if not before and not after:
            made.append(ids)
        elif (ids < 0).all():
            made.append(np.full(len(ids) + before + after, ids[0] if len(ids) else -1 - POSITION))
        elif operation.attributes["mode"] != "constant" or min(before, after) < 0:
            raise Unclear
        else:
            zeros = channels.atoms.fresh(before + after)
            channels.number(zeros, operation.name)
            made.append(np.concatenate([zeros[:before], ids, zeros[before:]]))
    return [tuple(made)]


def _pixel_shuffle(channels: Channels, operation: Operation) -> list[Axes]:
    *lead, ids, height, width = _data(channels, operation)
    area = operation.attributes["factor"] ** 2
    after = _positions(channels, operation, (height, width), 2)
    if operation.kind == "pixel_unshuffle":
        return [(*lead, np.repeat(ids, area), *after)]
    if (ids < 0).all():
        return [(*lead, ids[::area], *after)]
    channels.tie_within(ids, (len(ids) // area, area), 1)
    return [(*lead, ids[::area], *after)]


def _channel_shuffle(channels: Channels, operation: Operation) -> list[Axes]:
    first, ids, *rest = _data(channels, operation)
    groups, by = operation.attributes["groups"], operation.name
    if groups == 1 or groups == len(ids):
        return [(first, ids, *rest)]
    group, inner = channels.split(ids, (groups, len(ids) // groups), (True, False), by)
    return [(first, channels.join((inner, group), False, by), *rest)]


def _attention(channels: Channels, operation: Operation) -> list[Axes]:
    """Heads of queries, keys and values are one. Their width decides the scale, 1 / √width, and stays."""
    query, key, value, *masks = [channels.axes(name) for name in operation.inputs]
    lead = max(query[:-2], key[:-2], value[:-2], key=len)
    given = [(axes[:-2], lead) for axes in (query, key, value)]
    given += [(mask, (*lead, query[-2], key[-2])) for mask in masks]
    for axes, others in given:
        for ids, other in zip(axes[::-1], others[::-1]):
            if len(ids) != len(other) and 1 not in (len(ids), len(other)):
                raise Unclear
            if len(ids) == len(other):
                channels.tie(ids, other)
    channels.fix(channels.tie(query[-1], key[-1]), f"{operation.name}, whose scale is its width's")
    channels.mix(channels.tie(key[-2], value[-2]), operation)
    sizes = channels.shape(operation.outputs[0])
    lead = tuple(max((axes[place] for axes in (query, key, value)), key=len) for place in range(len(sizes) - 2))
    return [(*lead, query[-2], value[-1])]


def _operands(channels: Channels, operation: Operation) -> list[str]:
    """Tensors and parameters in the order of the call, told apart by their shapes."""
    tensors, parameters, names = list(operation.inputs), list(operation.parameters), []
    for shape in operation.attributes["shapes"]:
        fits = [side for side in (tensors, parameters) if side and channels.shape(side[0]) == tuple(shape)]
        if len(fits) != 1:
            raise Unclear
        names.append(fits[0].pop(0))
    if tensors or parameters:
        raise Unclear
    return names


def _matmul(channels: Channels, operation: Operation) -> list[Axes]:
    names, how = _operands(channels, operation), operation.attributes.get("how")
    if how == "addbmm" or len(names) not in (2, 3):
        raise Unclear
    *added, one, other = names
    ranks = len(channels.shape(one)), len(channels.shape(other))
    if how in ("inner", "vdot", "dot") and ranks != (1, 1):
        raise Unclear
    lead = [f"*{place}" for place in range(max(*ranks, 2) - 2)]
    left = ([*lead, "n"][-ranks[0] + 1 :] if ranks[0] > 1 else []) + ["k"]
    right = (lead[len(lead) - ranks[1] + 2 :] if ranks[1] > 1 else []) + (["k", "m"] if ranks[1] > 1 else ["k"])
    out = lead + ["n"] * (ranks[0] > 1) + ["m"] * (ranks[1] > 1)
    terms = [out[len(out) - len(channels.shape(name)) :] for name in added]
    return [channels.contract(operation, names, [*terms, left, right], out)]


def _einsum(channels: Channels, operation: Operation) -> list[Axes]:
    names, equation = _operands(channels, operation), operation.attributes["equation"].replace(" ", "")
    left, arrow, out = equation.partition("->")
    if not arrow or left.count(",") + 1 != len(names):
        raise Unclear
    ranks = [len(channels.shape(name)) for name in names]
    terms = [_letters(term, rank) for term, rank in zip(left.split(","), ranks)]
    if any(len({*term}) != len(term) for term in terms):
        raise Unclear
    return [channels.contract(operation, names, terms, _letters(out, len(channels.shape(operation.outputs[0]))))]


def _letters(term: str, rank: int) -> list[str]:
    before, dots, after = term.partition("...")
    more = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"*{place}" for place in range(more, 0, -1)), *after]


def _embedding(channels: Channels, operation: Operation) -> list[Axes]:
    name = operation.attributes["weight"]
    reason = channels.reason(f"{operation.name}, which picks it by number")
    channels.meet(name, 0, still(channels.shape(name)[0], reason), "in")
    indices = [channels.axes(tensor) for tensor in operation.inputs if tensor != name]
    return [(*indices[0], channels.made(name, 1))]


def _initial(channels: Channels, operation: Operation, names: Sequence[str], units: Sequence[Ids]) -> None:
    """The state that a recurrent layer begins with. Its own zeros have the width that it needs."""
    own = channels.graph.modules.get(operation.module) in ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")
    for name in names:
        made = channels.graph.tensors[name].producer or name in channels.graph.inputs
        for ids in units if made or not own else ():
            channels.tie(ids, channels.axes(name)[-1])


def _gates(channels: Channels, weights: Sequence[str], read: Ids) -> Ids:
    """The units of one layer and direction: rows of every gate, and columns of the recurrent weight."""
    first, second, *biases = weights
    if len(channels.shapes[second]) != 2 or len(biases) not in (0, 2):
        raise Unclear
    rows, width = channels.shapes[second]
    channels.meet(first, 1, read, "in")
    units = channels.made(second, 1, "in")
    for name, role in ((first, "out"), (second, "out"), *((bias, "per") for bias in biases)):
        channels.meet(name, 0, np.tile(units, rows // width), role)  # type: ignore[arg-type]
    return units


def _recurrent(channels: Channels, operation: Operation) -> list[Axes]:
    found, names = operation.attributes, operation.parameters
    ways = 1 + found["bidirectional"]
    many = len(names) // (found["layers"] * ways)
    if many not in (2, 4) or len(names) != many * found["layers"] * ways:
        raise Unclear  # projections, or weights that layers share
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


def _cell(channels: Channels, operation: Operation) -> list[Axes]:
    axes = channels.axes(operation.inputs[0])
    units = _gates(channels, operation.parameters, axes[-1])
    _initial(channels, operation, operation.inputs[1:], [units])
    return [(*axes[:-1], units)] * len(operation.outputs)


def _assign(channels: Channels, operation: Operation) -> list[Axes]:
    """``x[place] = y`` for whole axes of channels, and views of what was written."""
    if len(operation.inputs) != 2 or operation.parameters:
        raise Unclear
    axes, others = (channels.axes(name) for name in operation.inputs)
    found = operation.attributes
    if "through" in found:
        if len(axes) != len(others):
            raise Unclear
        return [tuple(channels.tie(one, other) for one, other in zip(axes, others))]
    if "starts" not in found or found["added"]:
        raise Unclear
    for axis in found["removed"]:
        channels.fix(axes[axis], f"{operation.name}, which picks it by number")
    kept = [ids for axis, ids in enumerate(axes) if axis not in found["removed"]]
    whole = [not (ids >= 0).any() for ids in kept]
    for place in range(1, len(kept) + 1):
        other = others[-place] if place <= len(others) else still(1, POSITION)
        if len(other) == len(kept[-place]):
            channels.tie(kept[-place], other)
        elif not whole[-place] or (other >= 0).any():
            raise Unclear
    return [axes]


def _chosen(channels: Channels, operation: Operation) -> list[Axes]:
    """A list of numbers along one axis; the others stay as they are."""
    axes, axis = list(channels.axes(operation.inputs[0])), operation.attributes.get("axis")
    target = channels.shape(operation.outputs[0])
    if axis is None or len(target) != len(axes):
        raise Unclear
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
