"""Pixels behind the last window of a strided layer, which nobody reads, and the input size without them. No torch.

A window of stride s over n positions leaves r = (n + padding - extent) mod s of them, of which up to the padding lie
in it. Where u real ones are left in a map of effective stride S, an input that is u · S pixels smaller leaves none: all
strides before it divide u · S, so that they leave what they left before. Σ u · S over the strides that leave some is
what the input can do without. With several paths that need not be so: it is computed through the graph and then said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from netwright.graph.kinds import ELEMENTWISE, words
from netwright.graph.structure import Graph, Operation
from netwright.inspection.receptive_field import ReceptiveField
from netwright.inspection.sizes import pool_size, spread, transposed_size, upsampled_size

STRIDED = ("conv", "max_pool", "avg_pool", "lp_pool")
_KEEPS = ELEMENTWISE | words(
    """alias cast dropout batch_norm instance_norm group_norm local_response_norm permute channel_shuffle softmax
    log_softmax softmin normalize"""
)
_AXIS_NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}

Fields = Mapping[str, ReceptiveField]


class Slide(NamedTuple):
    """A window along one axis of a tensor."""

    operation: str
    source: str
    output: str
    axis: int  # of the tensors
    kernel: int
    stride: int
    dilation: int
    padding: tuple[int, int]
    ceil: bool

    def count(self, size: int) -> int:
        return pool_size(size, self.kernel, self.stride, self.padding, self.dilation, ceil=self.ceil)

    def unread(self, size: int) -> int:
        """Positions behind the last window, which a window as long as the stride would have read."""
        end = (self.count(size) - 1) * self.stride - self.padding[0] + spread(self.kernel, self.dilation)
        return max(size - end, 0) if self.kernel >= self.stride > 1 else 0


def slides(graph: Graph) -> list[Slide]:
    """All windows that move by more than one."""
    found = []
    for operation in graph.operations:
        if operation.kind.startswith(STRIDED) and "transpose" not in operation.kind:
            found += [slide for slide in _slides(graph, operation) if slide.stride > 1]
    return found


def _slides(graph: Graph, operation: Operation) -> list[Slide]:
    attributes, source = operation.attributes, operation.inputs[0]
    rank, dimensions = len(attributes["kernel"]), len(graph.tensors[source].shape)
    each = zip(
        attributes["kernel"], attributes["stride"], attributes["dilation"], attributes["padding"], strict=True
    )  # fmt: skip
    return [
        Slide(operation.name, source, operation.outputs[0], dimensions - rank + number, kernel, stride, dilation,
              (padding[0], padding[1]), attributes.get("ceil", False))
        for number, (kernel, stride, dilation, padding) in enumerate(each)
    ]  # fmt: skip


def smaller_input(graph: Graph, fields: Fields) -> dict[str, tuple[int, int]]:
    """Axis of the input → its size now and the size that leaves the last maps as they are and no pixel unread.

    Only axes that have unread pixels. Empty where no such size follows: paths that meet leave different numbers, a size
    is fixed in the network's code, or an operation could not be followed.
    """
    if not fields:
        return {}
    first = next(iter(fields.values()))
    names = _AXIS_NAMES.get(len(first.axes), ())
    found = {}
    for place, axis in enumerate(first.axes):
        here = [slide for slide in slides(graph) if _carried(fields, slide.source, place) == slide.axis]
        if any(slide.unread(graph.tensors[slide.source].shape[slide.axis]) for slide in here):
            smaller = _smaller(graph, fields, place, here)
            if smaller is None or not names:
                return {}
            found[names[place]] = (graph.tensors[first.input].shape[axis], smaller)
    return found


def _carried(fields: Fields, tensor: str, place: int) -> int | None:
    field = fields.get(tensor)
    return None if field is None or field.unknown else field.carried[place]


def _smaller(graph: Graph, fields: Fields, place: int, here: Sequence[Slide]) -> int | None:
    levels: dict[float, int] = {}  # effective stride → positions left there
    for slide in here:
        stride = fields[slide.source].stride[place]
        if stride is None:
            return None
        left = slide.unread(graph.tensors[slide.source].shape[slide.axis])
        levels[stride] = max(levels.get(stride, 0), left)
    source = next(iter(fields.values())).input
    axis = next(iter(fields.values())).axes[place]
    size = graph.tensors[source].shape[axis] - sum(left * stride for stride, left in levels.items())
    if size < 1 or int(size) != size:
        return None
    sizes = sizes_with(graph, fields, place, int(size))
    if sizes is None or any(name in sizes for name in graph.outputs):
        return None
    for slide in here:
        before = graph.tensors[slide.source].shape[slide.axis], graph.tensors[slide.output].shape[slide.axis]
        now = sizes.get(slide.source, before[0]), sizes.get(slide.output, before[1])
        behind = (fields[slide.source].stride[place] or 0) * slide.stride
        given_up = sum(left * stride for stride, left in levels.items() if stride >= behind) / behind
        if slide.unread(now[0]) or before[1] - now[1] != given_up:
            return None
    return int(size)


def sizes_with(graph: Graph, fields: Fields, place: int, size: int) -> dict[str, int] | None:
    """Tensor → its length along the ``place``-th axis of the input if that had ``size`` positions; only those that
    differ. None where it does not follow, or where the network would not run."""
    first = next(iter(fields.values()))
    now: dict[str, int] = {} if size == graph.tensors[first.input].shape[first.axes[place]] else {first.input: size}
    for operation in graph.operations:
        changed = [name for name in operation.inputs if name in now]
        if not changed:
            continue
        if not operation.followed:
            return None
        new = _through(graph, fields, place, operation, now)
        if new is None or new < 0:
            return None
        for output in operation.outputs:
            axis = _carried(fields, output, place)
            if new and (axis is None or new != graph.tensors[output].shape[axis]):
                if axis is None:
                    return None
                now[output] = new
    return now


def _through(graph: Graph, fields: Fields, place: int, operation: Operation, now: dict[str, int]) -> int | None:
    """The length behind an operation; 0 where it is what it was; None where it does not follow."""
    kind, attributes = operation.kind, operation.attributes
    name = next(name for name in operation.inputs if name in now)
    shape, axis = graph.tensors[name].shape, _carried(fields, name, place)
    output = graph.tensors[operation.outputs[0]].shape
    if axis is None:
        return None
    new = now[name]
    if "kernel" in attributes and "stride" in attributes:
        return _slid(graph, operation, axis, new) if operation.inputs[0] == name else None
    if kind.startswith("adaptive"):
        return 0 if axis >= len(shape) - len(attributes["size"]) else new
    if kind == "reduce":
        return 0 if axis in attributes["axes"] else new
    if kind == "linear":
        return new if axis != len(shape) - 1 else None
    if kind == "upsample":
        scale = (attributes.get("scale") or (None,) * len(shape))[axis - 2] if axis >= 2 else None
        return None if scale is None else upsampled_size(new, scale)
    if kind in ("pixel_shuffle", "pixel_unshuffle") and axis >= len(shape) - 2:
        factor = attributes["factor"]
        return new * factor if kind == "pixel_shuffle" else None if new % factor else new // factor
    if kind == "pad":
        fixed = graph.modules.get(operation.module, "").removesuffix("d")[:-1].endswith(("Pad", "Conv"))
        return new + sum(attributes["padding"][axis]) if fixed else None
    if kind == "layer_norm":
        return new if axis < len(shape) - attributes.get("axes", 1) else None
    if kind == "concat":
        return new if attributes["axis"] != axis and _agree(graph, fields, place, operation, now) else None
    if kind == "split":
        return new if attributes["axis"] != axis else None
    if kind in ("slice", "reshape"):
        kept = _carried(fields, operation.outputs[0], place)
        return new if kept is not None and output[kept] == shape[axis] else None
    if kind in _KEEPS:
        return new if _agree(graph, fields, place, operation, now) else None
    return None


def _slid(graph: Graph, operation: Operation, axis: int, new: int) -> int | None:
    if "transpose" not in operation.kind:
        count = next((one.count(new) for one in _slides(graph, operation) if one.axis == axis), 0)
        return count if count > 0 else None
    attributes = operation.attributes
    at = axis - len(graph.tensors[operation.inputs[0]].shape) + len(attributes["kernel"])
    if at < 0:
        return None
    return transposed_size(
        new, attributes["kernel"][at], attributes["stride"][at], attributes["padding"][at],
        attributes["output_padding"][at], attributes["dilation"][at],
    )  # fmt: skip


def _agree(graph: Graph, fields: Fields, place: int, operation: Operation, now: dict[str, int]) -> bool:
    """Whether all operands still have one length, or length 1, on the axis that the input's axis lies on."""
    output = _carried(fields, operation.outputs[0], place)
    if output is None:
        return False
    behind = len(graph.tensors[operation.outputs[0]].shape) - output  # counted from the last axis, as broadcasting does
    lengths = set()
    for name in operation.inputs:
        shape = graph.tensors[name].shape
        if len(shape) >= behind and shape[-behind] != 1:
            lengths.add(now.get(name, shape[-behind]))
    if operation.kind in ELEMENTWISE and operation.parameters:
        owned = {info.name: info.shape for info in graph.parameters}
        for name in operation.parameters:
            shape = owned[name]
            if len(shape) >= behind and shape[-behind] != 1:
                lengths.add(shape[-behind])
    return len(lengths) == 1
