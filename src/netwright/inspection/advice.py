"""What could be built otherwise, with the figures of this very network before and after. No torch.

Nothing is changed here and nothing is promised about accuracy: the figures say what a change would save, the sources
say where it was found to work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from netwright.graph.kinds import ACTIVATIONS
from netwright.graph.structure import Graph, Operation
from netwright.inspection.cost import Cost
from netwright.inspection.receptive_field import ReceptiveField
from netwright.inspection.waste import slides, smaller_input
from netwright.records import Advice

GROUPS = 4
MANY_CHANNELS = 128  # from here on a 3×3 convolution is worth a bottleneck
SMALL_MAP, LARGE_MAP = 4, 16  # sides of a last map between which classification networks end (7 at 224 pixels)
MULTIPLE = 8  # channels that vector units and tensor cores take whole (NVIDIA, "Tensor Core performance guide")
MAKES_MAPS = ("conv", "max_pool", "avg_pool", "adaptive", "batch_norm", "concat", "add", "dropout", *ACTIVATIONS)
TO_ONE_VALUE_A_CHANNEL = ("adaptive_avg_pool", "adaptive_max_pool")


@dataclass(frozen=True)
class Convolution:
    """A plain convolution over two axes, as it is and with what it costs."""

    operation: Operation
    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    positions: int  # of its output, all examples
    read: int  # positions of its input, all examples
    parameters: int  # without bias
    macs: int
    inside: bool  # between two 1×1, in a bottleneck already

    @property
    def name(self) -> str:
        return self.operation.name


def advise(
    graph: Graph, costs: Mapping[str, Cost], fields: Mapping[str, ReceptiveField], object_size: int = 0
) -> tuple[Advice, ...]:
    """All advice that applies, what saves most multiply-adds first, then what is about sizes and single layers."""
    convolutions = [found for operation in graph.operations if (found := _convolution(graph, operation, costs))]
    changes = [advice for rule in _CHANGES if (advice := rule(convolutions))]
    changes.sort(key=lambda advice: advice.after["macs"] - advice.before["macs"])
    others = (
        _dense_head(graph, costs),
        _bias_before_norm(graph),
        _field_too_small(graph, fields, object_size),
        _last_map(graph),
        _wasted_pixels(graph, fields),
        _odd_channels(graph),
    )
    return (*changes, *(advice for advice in others if advice is not None))


def _convolution(graph: Graph, operation: Operation, costs: Mapping[str, Cost]) -> Convolution | None:
    """One group, a square kernel, no dilation: what the replacements below are known for."""
    found = operation.attributes
    if operation.kind != "conv2d" or found["groups"] != 1 or set(found["dilation"]) != {1} or not operation.parameters:
        return None
    kernel, inputs, outputs = found["kernel"], found["channels_in"], found["channels_out"]
    if len(set(kernel)) != 1:
        return None
    shape = graph.tensors[operation.outputs[0]].shape
    source = graph.tensors[operation.inputs[0]].shape
    return Convolution(
        operation, inputs, outputs, kernel, found["stride"], prod(shape) // outputs, prod(source) // inputs,
        prod(kernel) * inputs * outputs, costs[operation.name].macs, _behind_a_pointwise(graph, operation),
    )  # fmt: skip


def _behind_a_pointwise(graph: Graph, operation: Operation) -> bool:
    """Whether norms and activations apart a 1×1 convolution comes right before."""
    parents = graph.parents(operation)
    while len(parents) == 1 and (parents[0].kind.endswith("_norm") or parents[0].kind in ACTIVATIONS):
        parents = graph.parents(parents[0])
    return len(parents) == 1 and set(parents[0].attributes.get("kernel", ())) == {1}


# ---------------------------------------------------------------------------------- one convolution → several

Replacement = Callable[[Convolution], tuple[int, int] | None]  # → parameters and MACs, None where it does not apply


def _change(
    convolutions: Sequence[Convolution], replacement: Replacement, code: str, what: str, advice: str
) -> Advice | None:
    chosen: list[tuple[Convolution, tuple[int, int]]] = []
    for one in convolutions:
        new = replacement(one)
        if new is not None and new[0] < one.parameters and new[1] < one.macs:
            chosen.append((one, new))
    if not chosen:
        return None
    before = {"parameters": sum(one.parameters for one, _ in chosen), "macs": sum(one.macs for one, _ in chosen)}
    after = {"parameters": sum(new[0] for _, new in chosen), "macs": sum(new[1] for _, new in chosen)}
    chosen.sort(key=lambda pair: pair[1][1] - pair[0].macs)
    before["receptive_field"] = after["receptive_field"] = max(one.kernel[0] for one, _ in chosen)  # of these layers
    macs, parameters = (after[key] / before[key] for key in ("macs", "parameters"))
    return Advice(
        code=code,
        layers=tuple(one.name for one, _ in chosen),
        seen=f"{_count(len(chosen), 'convolution')} {what}",
        advice=f"{advice}: {macs:.2f} of their multiply-adds, {parameters:.2f} of their parameters, the same field",
        before=dict(before),
        after=dict(after),
    )


def _stack_of_threes(convolutions: Sequence[Convolution]) -> Advice | None:
    """k×k → (k - 1) / 2 convolutions 3×3 with the same field: 5×5 costs 25, two 3×3 cost 18 (Simonyan and Zisserman
    2015, 2.3). The stride stays in the last, so that the first ones read the whole map."""

    def replaced(one: Convolution) -> tuple[int, int] | None:
        size = one.kernel[0]
        if size < 5 or size % 2 == 0:
            return None
        count = (size - 1) // 2
        first, others = 9 * one.inputs * one.outputs, 9 * one.outputs**2
        wide = (one.read, one.positions)
        macs = first * wide[count == 1] + others * (wide[0] * (count - 2) + wide[1]) if count > 1 else first * wide[1]
        return first + (count - 1) * others, macs

    return _change(
        convolutions, replaced, "stacked-3x3", "of 5×5 or more",
        "stacked 3×3 convolutions with an activation between them instead",
    )  # fmt: skip


def _one_axis_at_a_time(convolutions: Sequence[Convolution]) -> Advice | None:
    """k×k → 1×k and k×1 (Szegedy et al. 2016, 3.2): 2 / k of the cost where channels stay; good on middling maps."""

    def replaced(one: Convolution) -> tuple[int, int] | None:
        size = one.kernel[0]
        if size < 3:
            return None
        parameters = size * one.inputs * one.outputs, size * one.outputs**2
        between = one.positions * one.stride[0]  # 1×k strides along its own axis only
        return sum(parameters), parameters[0] * between + parameters[1] * one.positions

    return _change(convolutions, replaced, "asymmetric", "of 3×3 or more", "1×k followed by k×1 instead")


def _separable(convolutions: Sequence[Convolution]) -> Advice | None:
    """k×k → k×k a channel and 1×1 (Howard et al. 2017, 3.1): 1 / channels + 1 / k² of the cost."""

    def replaced(one: Convolution) -> tuple[int, int] | None:
        if one.kernel[0] == 1 or one.inputs < MULTIPLE:
            return None
        parameters = prod(one.kernel) * one.inputs + one.inputs * one.outputs
        return parameters, parameters * one.positions

    return _change(
        convolutions, replaced, "depthwise-separable", "over all channels at once",
        "a depthwise convolution followed by a 1×1 instead",
    )  # fmt: skip


def _grouped(convolutions: Sequence[Convolution]) -> Advice | None:
    """In groups with a shuffle of channels between them (Xie et al. 2017; Zhang et al. 2018)."""

    def replaced(one: Convolution) -> tuple[int, int] | None:
        if one.kernel[0] == 1 or one.inputs % GROUPS or one.outputs % GROUPS or one.inputs < 8 * GROUPS:
            return None
        return one.parameters // GROUPS, one.macs // GROUPS

    return _change(
        convolutions, replaced, "grouped", "in one group", f"{GROUPS} groups with a channel shuffle behind them instead"
    )


def _bottleneck(convolutions: Sequence[Convolution]) -> Advice | None:
    """3×3 → 1×1 to a quarter, 3×3, 1×1 back (He et al. 2016, figure 5)."""

    def replaced(one: Convolution) -> tuple[int, int] | None:
        if one.kernel[0] != 3 or min(one.inputs, one.outputs) < MANY_CHANNELS or one.inside:
            return None
        inner = one.outputs // 4
        narrow, middle, wide = one.inputs * inner, 9 * inner * inner, inner * one.outputs
        return narrow + middle + wide, narrow * one.read + (middle + wide) * one.positions

    return _change(
        convolutions, replaced, "bottleneck", f"3×3 with {MANY_CHANNELS} channels or more",
        "1×1 to a quarter of the channels, 3×3 there, 1×1 back instead",
    )  # fmt: skip


_CHANGES = (_stack_of_threes, _one_axis_at_a_time, _separable, _grouped, _bottleneck)


# ------------------------------------------------------------------------------------------- heads and sizes


def _dense_head(graph: Graph, costs: Mapping[str, Cost]) -> Advice | None:
    """A dense layer over a flattened map → global average pooling before it (Lin et al. 2014, 3.2)."""
    for operation in graph.operations:
        if operation.kind != "linear":
            continue
        channels, side = _flattened(graph, operation)
        if side <= 1:
            continue
        cost, outputs = costs[operation.name], operation.attributes["channels_out"]
        bias = outputs * ("bias" in operation.attributes)
        return Advice(
            code="dense-head",
            layers=(operation.name,),
            seen=f"a dense layer over a map of {channels} channels and {side} positions, "
            f"with {_share(cost.share_parameters)} of the parameters",
            advice="global average pooling before it: it reads one value a channel and takes pictures of any size",
            before={"parameters": cost.parameters, "macs": cost.macs},
            after={"parameters": channels * outputs + bias, "macs": channels * outputs * graph.batch},
        )
    return None


def _flattened(graph: Graph, operation: Operation) -> tuple[int, int]:
    """Channels and positions of the map that a dense layer reads flattened; one position where there is none."""
    current = operation
    while True:
        parents = graph.parents(current)
        if len(parents) != 1:
            return 0, 1
        current = parents[0]
        before = graph.tensors[current.inputs[0]].shape if current.inputs else ()
        after = graph.tensors[current.outputs[0]].shape
        if current.kind == "reshape" and len(before) > 2 and len(after) == 2:
            makers = graph.parents(current)
            return (before[1], prod(before[2:])) if makers and makers[0].kind.startswith(MAKES_MAPS) else (0, 1)
        if current.kind not in ("dropout", "relu", "reshape", "alias", "cast"):
            return 0, 1


def _bias_before_norm(graph: Graph) -> Advice | None:
    """The norm subtracts the mean, and the bias with it (Ioffe and Szegedy 2015, 3.2)."""
    found = []
    for operation in graph.operations:
        if "bias" not in operation.attributes or not operation.kind.startswith(("conv", "linear")):
            continue
        readers = graph.children(operation)
        if len(readers) == 1 and readers[0].kind in ("batch_norm", "instance_norm"):
            found.append(operation)
    if not found:
        return None
    spared = sum(operation.attributes["channels_out"] for operation in found)
    return Advice(
        code="bias-before-norm",
        layers=tuple(operation.name for operation in found),
        seen=f"{_count(len(found), 'layer')} with a bias right before a norm, which takes it away again",
        advice="bias=False: the norm's shift does the same",
        before={"parameters": spared},
        after={"parameters": 0},
    )


def _field_too_small(graph: Graph, fields: Mapping[str, ReceptiveField], object_size: int) -> Advice | None:
    """The last map that still has places sees less than the whole object."""
    last = None
    for operation in graph.operations:
        field = fields.get(operation.outputs[0])
        if field is None or field.unknown or any(field.whole) or None in field.size or len(field.axes) < 2:
            continue  # along one axis, as of tokens, a layer that sees all often follows
        if len(graph.tensors[operation.outputs[0]].shape) == 2 + len(field.axes):
            last = operation, field
    if last is None:
        return None
    operation, field = last
    whole = graph.tensors[field.input].shape
    wanted = [object_size or whole[axis] for axis in field.axes]
    sizes = [size or 0 for size in field.size]
    if all(size >= want for size, want in zip(sizes, wanted, strict=True)):
        return None
    what = "object" if object_size else "input"
    return Advice(
        code="receptive-field-too-small",
        layers=(operation.name,),
        seen=f"the last map sees {_by(sizes)} pixels of an {what} of {_by(wanted)}",
        advice="a stride earlier, dilation, or more layers, if what is looked for is as large as that",
        before={"receptive_field": min(sizes)},
        after={"receptive_field": max(wanted)},
    )


def _last_map(graph: Graph) -> Advice | None:
    """The map that global pooling or flattening ends, too small to hold places or too large to be averaged."""
    for operation in reversed(graph.operations):
        source = graph.tensors[operation.inputs[0]].shape if operation.inputs else ()
        after = graph.tensors[operation.outputs[0]].shape
        ends = (
            operation.kind.startswith(TO_ONE_VALUE_A_CHANNEL)
            or (operation.kind == "reduce" and set(operation.attributes["axes"]) >= set(range(2, len(source))))
            or (operation.kind == "reshape" and len(after) == 2)
        )
        if len(source) != 4 or not ends or prod(source[2:]) == 1:
            continue
        side = min(source[2:])
        if SMALL_MAP <= side <= LARGE_MAP:
            return None
        small = side < SMALL_MAP
        return Advice(
            code="final-map-size",
            layers=(operation.name,),
            seen=f"the last map is {_by(source[2:])}",
            advice="one stride less, or a larger input: a map as small as that has lost where things are"
            if small
            else "one stride more: a map as large as that costs much and each place has seen little",
            before={"side": side},
            after={"side": 2 * side if small else side // 2},
        )
    return None


def _wasted_pixels(graph: Graph, fields: Mapping[str, ReceptiveField]) -> Advice | None:
    """Rows and columns behind the last window of a strided layer: nobody reads them. Five halvings leave none of
    224 = 7 · 2⁵ pixels."""
    found: dict[str, str] = {}
    for slide in slides(graph):
        size = graph.tensors[slide.source].shape[slide.axis]
        if slide.unread(size):
            found.setdefault(slide.operation, f"{slide.operation} leaves {slide.unread(size)} of {size}")
    if not found:
        return None
    smaller = smaller_input(graph, fields)
    sizes = " and ".join(f"{axis} {new}" for axis, (_, new) in smaller.items())
    return Advice(
        code="wasted-pixels",
        layers=tuple(found),
        seen=f"{_count(len(found), 'strided layer')} never read the last rows: {', '.join(list(found.values())[:3])}",
        advice=f"an input of {sizes}: the same last maps, and every pixel is read"
        if smaller
        else "padding there, or another size of input; no smaller one has the same last maps",
        before={axis: size for axis, (size, _) in smaller.items()},
        after={axis: size for axis, (_, size) in smaller.items()},
    )


def _odd_channels(graph: Graph) -> Advice | None:
    """Channels that are no multiple of 8: vector units and tensor cores compute the next multiple anyway."""
    found = [
        operation
        for operation in graph.operations
        if operation.kind.startswith(("conv", "linear"))
        and operation.attributes.get("channels_out", 0) % MULTIPLE
        and operation.attributes.get("channels_out", 0) > MULTIPLE
        and graph.children(operation)  # the classes are as many as they are
    ]
    if not found:
        return None
    widths = [operation.attributes["channels_out"] for operation in found]
    return Advice(
        code="odd-channels",
        layers=tuple(operation.name for operation in found),
        seen=f"{_count(len(found), 'layer')} with a number of channels that is no multiple of {MULTIPLE}: "
        f"{', '.join(str(width) for width in dict.fromkeys(widths))}",
        advice=f"{', '.join(str(_rounded(width)) for width in dict.fromkeys(widths))}: as fast, or faster",
        before={"channels": sum(widths)},
        after={"channels": sum(map(_rounded, widths))},
    )


def _rounded(width: int) -> int:
    """The nearest multiple, the larger one in the middle."""
    return max(MULTIPLE, (width + MULTIPLE // 2) // MULTIPLE * MULTIPLE)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"
