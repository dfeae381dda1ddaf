"""One operation of a traced network worked out: its own sizes put into the formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from netwright.graph.structure import Graph, Operation, TensorInfo
from netwright.inspection.explaining.pooling import outputs
from netwright.inspection.explaining.structure import Explanation, Step, grouped, product, text
from netwright.records import shape_text

if TYPE_CHECKING:
    from netwright.inspection.receptive_field import ReceptiveField

# Bytes of one value, by the name of its type.
BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
SOURCES = {
    "conv": "Dumoulin and Visin 2016, A guide to convolution arithmetic, relationships 6 and 15",
    "conv_transpose": "Dumoulin and Visin 2016, relationship 14; torch.nn.ConvTranspose2d",
    "pool": "Dumoulin and Visin 2016, relationship 7; torch.nn.MaxPool2d (ceil_mode)",
    "adaptive": "torch.nn.AdaptiveAvgPool2d: window i is [⌊i·n/n'⌋, ⌈(i + 1)·n/n'⌉)",
    "batch_norm": "Ioffe and Szegedy 2015, algorithm 1",
    "attention": "Vaswani et al. 2017, equation 1",
}
FIELD_SOURCE = "Araujo, Norris and Sim 2019, equations 2 and 3"


def explain_operation(
    operation: Operation,
    graph: Graph,
    *,
    input_field: ReceptiveField | None = None,
    output_field: ReceptiveField | None = None,
) -> Explanation:
    """Output size per axis, parameters, MACs, receptive field and activation memory of one operation, worked out.

    ``input_field`` is the receptive field of its (first) input and ``output_field`` that of its output, where they are
    known; without the first the recurrence is shown for a field of r pixels. MACs are for one example, memory for the
    graph's batch.
    """
    family, rank = _family(operation.kind)
    source = [SOURCES[key] for key in (family,) if key in SOURCES]
    steps = [*_size(operation, graph, family, rank), *_parameters(operation, graph)]
    macs, step = _macs(operation, graph, family)
    steps += step
    field = _field(operation, family, input_field, output_field)
    steps += field
    if field:
        source.append(FIELD_SOURCE)
    steps.append(_memory(operation, graph))
    numbers: dict[str, Any] = {
        "output_shape": list(graph.tensors[operation.outputs[0]].shape),
        "parameters": sum(math.prod(shape) for _, shape in _owned(operation, graph)),
        "macs": macs,
    }
    return Explanation(
        subject=operation.name,
        summary=f"{operation.kind}: {', '.join(_shape(graph.tensors[name]) for name in operation.inputs)} → "
        f"{', '.join(_shape(graph.tensors[name]) for name in operation.outputs)}",
        steps=tuple(steps),
        source="; ".join(source) or "the shapes of the trace",
        numbers=numbers,
    )


def _family(kind: str) -> tuple[str, int]:
    """``conv``, ``conv_transpose``, ``pool``, ``adaptive`` or the kind itself, and the number of spatial axes."""
    rank = next((int(letter) for letter in kind if letter in "123"), 0)
    if kind.startswith("conv_transpose"):
        return "conv_transpose", rank
    if kind.startswith("conv") and rank:
        return "conv", rank
    if kind.startswith("adaptive_"):
        return "adaptive", rank
    if "_pool" in kind and rank:
        return "pool", rank
    return kind, rank


def _shape(tensor: TensorInfo) -> str:
    return shape_text(tensor.shape) or "a number"


def _size(operation: Operation, graph: Graph, family: str, rank: int) -> list[Step]:
    attributes = operation.attributes
    before = graph.tensors[operation.inputs[0]].shape if operation.inputs else ()
    after = graph.tensors[operation.outputs[0]].shape
    if family in ("conv", "pool", "conv_transpose") and "kernel" in attributes:
        return [_window_size(attributes, family, axis, rank, before[len(before) - rank + axis]) for axis in range(rank)]
    if family == "adaptive":
        sizes = before[len(before) - rank :]
        return [
            Step(
                title=f"windows, {_axis(axis, rank)}",
                formula="n' is given; window i reads from ⌊i·n/n'⌋ to ⌈(i + 1)·n/n'⌉",
                substituted=f"n = {sizes[axis]}, n' = {size}: window 0 reads 0 to ⌈{sizes[axis]}/{size}⌉ = "
                f"{-(-sizes[axis] // size)}",
                result=str(size),
            )
            for axis, size in enumerate(attributes["size"])
        ]
    if family == "linear":
        return [
            Step(
                title="output shape",
                formula="the last axis becomes out",
                substituted=f"{shape_text(before)}, out = {attributes.get('channels_out', after[-1])}",
                result=shape_text(after),
            )
        ]
    if family == "concat" and "axis" in attributes:
        axis = attributes["axis"]
        parts = [graph.tensors[name].shape[axis] for name in operation.inputs]
        return [
            Step(
                title=f"output size, axis {axis}",
                formula="Σ of the inputs'",
                substituted=" + ".join(map(grouped, parts)),
                result=grouped(sum(parts)),
            )
        ]
    if family == "upsample" and "from" in attributes:
        return [
            Step(
                title="output size",
                formula="given, or ⌊n·factor⌋",
                substituted=f"{shape_text(attributes['from'])} times "
                f"{text([b / a for a, b in zip(attributes['from'], attributes['size'], strict=True)])}",
                result=shape_text(attributes["size"]),
            )
        ]
    same = tuple(before) == tuple(after)
    return [
        Step(
            title="output shape",
            formula="that of its input" if same else "as the call says",
            substituted=shape_text(before),
            result=shape_text(after) or "a number",
        )
    ]


def _axis(axis: int, rank: int) -> str:
    names = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
    return names.get(rank, ())[axis] if rank in names else f"axis {axis}"


def _window_size(attributes: dict[str, Any], family: str, axis: int, rank: int, size: int) -> Step:
    kernel, stride = attributes["kernel"][axis], attributes["stride"][axis]
    before, after = attributes["padding"][axis]
    dilation = attributes.get("dilation", (1,) * rank)[axis]
    pads = f"2·{before}" if before == after else f"{before} + {after}"
    title = f"output size, {_axis(axis, rank)}"
    if family == "conv_transpose":
        extra = attributes["output_padding"][axis]
        return Step(
            title=title,
            formula="n' = (n − 1)·s − 2p + d(k − 1) + output padding + 1",
            substituted=f"({size} − 1)·{stride} − {pads} + {dilation}·({kernel} − 1) + {extra} + 1",
            result=str((size - 1) * stride - before - after + dilation * (kernel - 1) + extra + 1),
        )
    ceil = bool(attributes.get("ceil", False))
    count = outputs(size, kernel, stride, before, after, dilation, ceil)
    left, right = ("⌈", "⌉") if ceil else ("⌊", "⌋")
    dropped = (
        ceil
        and count != outputs(size, kernel, stride, before, after, dilation, False)
        and (
            count * stride >= size + before
            and -(-(size + before + after - dilation * (kernel - 1) - 1) // stride) == count
        )
    )
    return Step(
        title=title,
        formula=f"n' = {left}(n + 2p − d(k − 1) − 1) / s{right} + 1"
        + (", less the window that would begin behind the input" if dropped else ""),
        substituted=f"{left}({size} + {pads} − {dilation}·({kernel} − 1) − 1) / {stride}{right} + 1",
        result=str(count),
    )


def _owned(operation: Operation, graph: Graph) -> list[tuple[str, tuple[int, ...]]]:
    wanted = set(operation.parameters)
    return [
        (info.name, info.shape)
        for info in graph.parameters
        if info.kind == "parameter" and (info.name in wanted or wanted.intersection(info.aliases))
    ]


def _parameters(operation: Operation, graph: Graph) -> list[Step]:
    owned = _owned(operation, graph)
    if not owned:
        return []
    formula = {
        "conv": "out·(in / groups)·k… + out", "conv_transpose": "in·(out / groups)·k… + out",
        "linear": "out·in + out", "batch_norm": "γ and β: 2·channels",
    }.get(_family(operation.kind)[0], "the sum over its tensors")  # fmt: skip
    if len(owned) == 1:
        formula = formula.removesuffix(" + out")
    return [
        Step(
            title="parameters",
            formula=formula,
            substituted=" + ".join(product(shape) for _, shape in owned),
            result=grouped(sum(math.prod(shape) for _, shape in owned)),
        )
    ]


def _macs(operation: Operation, graph: Graph, family: str) -> tuple[int, list[Step]]:
    """MACs for one example, and the step that shows them."""
    attributes, batch = operation.attributes, max(graph.batch, 1)
    after = graph.tensors[operation.outputs[0]].shape
    before = graph.tensors[operation.inputs[0]].shape if operation.inputs else ()
    if family in ("conv", "conv_transpose"):
        rank = len(attributes["kernel"])
        spatial = (before if family == "conv_transpose" else after)[-rank:]
        into, out, groups = attributes["channels_in"], attributes["channels_out"], attributes["groups"]
        whole = family == "conv"
        factors = (*spatial, out if whole else into, (into if whole else out) // groups, *attributes["kernel"])
        formula = "input positions · in · (out / groups) · k…" if not whole else "positions · out · (in / groups) · k…"
    elif family == "linear":
        positions = math.prod(after[:-1]) // batch if after else 1
        factors = (positions, attributes["channels_in"], attributes["channels_out"])
        formula = "positions · in · out"
    elif family == "matmul" and "inner" in attributes:
        factors, formula = (math.prod(after) // batch, attributes["inner"]), "outputs · length of the summed axis"
    elif family == "attention":
        heads = attributes["heads"] // batch
        factors = (heads, attributes["queries"], attributes["keys"], attributes["width"] + attributes["value_width"])
        formula = "heads · queries · keys · (width + width of the values)"
    else:
        return 0, []
    macs = math.prod(factors)
    result = f"{grouped(macs)} (FLOPs: {grouped(2 * macs)})"
    return macs, [Step(title="MACs, one example", formula=formula, substituted=product(factors), result=result)]


def _field(
    operation: Operation, family: str, before: ReceptiveField | None, after: ReceptiveField | None
) -> list[Step]:
    if family not in ("conv", "pool"):
        return []
    attributes, steps = operation.attributes, []
    rank = len(attributes["kernel"])
    axes = range(rank)
    if before is not None and (len(before.size) != rank or None in (*before.size, *before.stride, *before.center)):
        before = after = None  # no size that a recurrence could go on from
    if len({_settings(attributes, axis) for axis in axes}) == 1 and (before is None or _alike(before)):
        axes = range(1)
    for axis in axes:
        kernel, stride, pad, dilation = _settings(attributes, axis)
        title = "receptive field" if len(axes) == 1 else f"receptive field, {_axis(axis, rank)}"
        r, j, c = ("r", "j", "c")
        result = f"r' = r + {dilation * (kernel - 1)}·j, j' = {stride}·j"
        if before is not None:
            size, jump, centre = _known(before.size[axis]), _known(before.stride[axis]), _known(before.center[axis])
            r, j, c = text(size), text(jump), text(centre)
            grown = size + dilation * (kernel - 1) * jump
            moved = centre + (dilation * (kernel - 1) / 2 - pad) * jump
            result = f"r' = {text(grown)}, j' = {text(jump * stride)}, c' = {text(moved)}"
            if after is not None and after.size[axis] != grown:
                result += f"; the whole layer: {after.size[axis]} (cut or joined with other paths)"
        steps.append(
            Step(
                title=title,
                formula="r' = r + d(k − 1)·j,  j' = j·s,  c' = c + (d(k − 1)/2 − p)·j",
                substituted=f"r' = {r} + {dilation}·({kernel} − 1)·{j},  j' = {j}·{stride},  "
                f"c' = {c} + ({dilation * (kernel - 1) / 2:g} − {pad})·{j}",
                result=result,
            )
        )
    return steps


def _settings(attributes: dict[str, Any], axis: int) -> tuple[int, int, int, int]:
    dilation: Sequence[int] = attributes.get("dilation") or (1,) * len(attributes["kernel"])
    return (attributes["kernel"][axis], attributes["stride"][axis], attributes["padding"][axis][0], dilation[axis])


def _alike(field: ReceptiveField) -> bool:
    return all(len(set(values)) == 1 for values in (field.size, field.stride, field.center))


def _known(value: float | None) -> float:
    assert value is not None
    return value


def _memory(operation: Operation, graph: Graph) -> Step:
    outputs_ = [graph.tensors[name] for name in operation.outputs]
    total = sum(math.prod(tensor.shape) * BYTES.get(tensor.dtype, 4) for tensor in outputs_)
    first = outputs_[0]
    size = BYTES.get(first.dtype, 4)
    more = f" and {len(outputs_) - 1} more" if len(outputs_) > 1 else ""
    return Step(
        title=f"activation memory, batch of {graph.batch}",
        formula="values · bytes of one",
        substituted=f"{product(first.shape)} · {size} ({first.dtype}){more}",
        result=f"{grouped(total)} bytes",
    )
