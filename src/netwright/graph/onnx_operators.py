"""What ONNX calls an operator, what the graph calls its operation, and what follows from constants alone.

``describe`` turns one node into a kind and attributes in the words of ``graph/operations.py``; ``evaluate`` computes
with shapes, axes and indices. A new operator is one line in a table. No torch, no onnx.

Source: https://github.com/onnx/onnx/blob/main/docs/Operators.md, operator sets 1 to 24; ``com.microsoft`` operators:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netwright.graph.onnx_file import times

Attributes = dict[str, Any]
Shape = tuple[int, ...]

KNOWN_VALUES = 4096  # constants up to so many elements are computed with: shapes, axes, indices


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# --------------------------------------------------------------------------------------------------------------
# Constants


def evaluate(
    op: str, values: Sequence[np.ndarray | None], facts: Attributes, shapes: Sequence[Shape | None]
) -> list[Any] | None:
    """The outputs of an operator whose inputs are all known; None where it is not known here or something is large.

    ``shapes`` are those of the outputs. Only NonZero may make one that is not known before.
    """
    if op not in EVALUATED or any(math.prod(shape or ()) > KNOWN_VALUES for shape in shapes):
        return None
    if None in shapes and op != "NonZero":
        return None
    given = list(values)
    while given and given[-1] is None:
        given.pop()
    try:
        with np.errstate(all="ignore"):
            if op == "Split":
                axis = facts.get("axis", 0)
                ends = np.cumsum([shape[axis] for shape in shapes if shape])[:-1]
                return np.split(np.asarray(given[0]), ends, axis=axis)
            return [EVALUATED[op](given, facts)]
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError, AttributeError):
        return None


def _divide(left: np.ndarray, right: np.ndarray) -> Any:
    """Integers are divided towards zero, as in C."""
    if not np.issubdtype(left.dtype, np.integer):
        return left / right
    if not np.all(right):
        raise ZeroDivisionError
    return (np.abs(left) // np.abs(right) * np.sign(left) * np.sign(right)).astype(left.dtype)


def _axes_of(values: Sequence[Any], facts: Attributes, place: int = 1) -> Shape | None:
    """Axes as an input (from operator set 13 or 18 on) or as an attribute; None for none given."""
    given = values[place] if len(values) > place and values[place] is not None else facts.get("axes")
    return None if given is None else tuple(int(axis) for axis in np.ravel(given))


def _slices(values: Sequence[Any], facts: Attributes, shape: Shape) -> list[slice] | None:
    """A Slice's slices per axis; None where they are not constant."""
    if "starts" in facts:
        starts, ends, axes, steps = facts["starts"], facts["ends"], facts.get("axes"), None
    else:
        if len(values) < 3 or values[1] is None or values[2] is None:
            return None
        starts, ends = np.ravel(values[1]), np.ravel(values[2])
        axes = np.ravel(values[3]) if len(values) > 3 and values[3] is not None else None
        steps = np.ravel(values[4]) if len(values) > 4 and values[4] is not None else None
    found = [slice(None)] * len(shape)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = int(axes[place]) if axes is not None else place
        step = int(steps[place]) if steps is not None else 1
        first, last = int(start), int(end)
        if step < 0 and last < -shape[axis]:
            found[axis] = slice(first, None, step)
        else:
            found[axis] = slice(first, last, step)
    return found


def _evaluate_reduce(how: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(values: Sequence[Any], facts: Attributes) -> Any:
        axes = _axes_of(values, facts)
        if not axes and facts.get("noop_with_empty_axes"):
            return values[0]
        return how(values[0], axis=axes or None, keepdims=bool(facts.get("keepdims", 1)))

    return evaluate


def _evaluate_reshape(values: Sequence[Any], facts: Attributes) -> Any:
    sizes = [int(size) for size in (values[1] if len(values) > 1 else facts["shape"])]
    if not facts.get("allowzero"):
        sizes = [values[0].shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return values[0].reshape(sizes)


def _evaluate_unsqueeze(values: Sequence[Any], facts: Attributes) -> Any:
    return np.expand_dims(values[0], _axes_of(values, facts) or ())


def _evaluate_scatter(values: Sequence[Any], facts: Attributes) -> Any:
    if facts.get("reduction", "none") != "none":
        raise ValueError
    found = values[0].copy()
    for index in np.ndindex(values[1].shape[:-1]):
        found[tuple(values[1][index])] = values[2][index]
    return found


# What is computed where all inputs are known: arithmetic on shapes, axes and indices.
EVALUATED: dict[str, Callable[[Sequence[Any], Attributes], Any]] = {
    "Split": lambda v, f: v[0], "Cast": lambda v, f: v[0], "CastLike": lambda v, f: v[0],
    "ConstantOfShape": lambda v, f: np.full(tuple(map(int, v[0])), f["fill"]),
    "Identity": lambda v, f: v[0], "Gather": lambda v, f: np.take(v[0], v[1], axis=f.get("axis", 0)),
    "Concat": lambda v, f: np.concatenate(v, axis=f.get("axis", 1)), "Unsqueeze": _evaluate_unsqueeze,
    "Squeeze": lambda v, f: np.squeeze(v[0], _axes_of(v, f)), "Reshape": _evaluate_reshape,
    "Flatten": lambda v, f: v[0].reshape(math.prod(v[0].shape[: f.get("axis", 1)]), -1),
    "Transpose": lambda v, f: np.transpose(v[0], f.get("perm")),
    "Slice": lambda v, f: v[0][tuple(_slices(v, f, v[0].shape) or ())],
    "Add": lambda v, f: v[0] + v[1], "Sub": lambda v, f: v[0] - v[1], "Mul": lambda v, f: v[0] * v[1],
    "Div": lambda v, f: _divide(v[0], v[1]), "Mod": lambda v, f: (np.fmod if f.get("fmod") else np.mod)(v[0], v[1]),
    "Pow": lambda v, f: np.power(v[0], v[1].astype(v[0].dtype)), "Neg": lambda v, f: -v[0],
    "Abs": lambda v, f: np.abs(v[0]), "Floor": lambda v, f: np.floor(v[0]), "Ceil": lambda v, f: np.ceil(v[0]),
    "Round": lambda v, f: np.round(v[0]), "Sqrt": lambda v, f: np.sqrt(v[0]), "Sign": lambda v, f: np.sign(v[0]),
    "Reciprocal": lambda v, f: 1 / v[0],
    "Min": lambda v, f: np.minimum.reduce(np.broadcast_arrays(*v)),
    "Max": lambda v, f: np.maximum.reduce(np.broadcast_arrays(*v)),
    "Equal": lambda v, f: v[0] == v[1], "Less": lambda v, f: v[0] < v[1], "Greater": lambda v, f: v[0] > v[1],
    "LessOrEqual": lambda v, f: v[0] <= v[1], "GreaterOrEqual": lambda v, f: v[0] >= v[1],
    "Not": lambda v, f: ~v[0], "And": lambda v, f: v[0] & v[1], "Or": lambda v, f: v[0] | v[1],
    "Where": lambda v, f: np.where(v[0], v[1], v[2]),
    "Range": lambda v, f: np.arange(v[0].item(), v[1].item(), v[2].item(), dtype=v[0].dtype),
    "Expand": lambda v, f: np.broadcast_to(v[0], np.broadcast_shapes(v[0].shape, tuple(map(int, v[1])))),
    "Tile": lambda v, f: np.tile(v[0], v[1]), "NonZero": lambda v, f: np.array(np.nonzero(v[0]), np.int64),
    "ScatterND": _evaluate_scatter, "CumSum": lambda v, f: np.cumsum(v[0], axis=int(v[1])),
    "ReduceProd": _evaluate_reduce(np.prod), "ReduceSum": _evaluate_reduce(np.sum),
    "ReduceMax": _evaluate_reduce(np.max), "ReduceMin": _evaluate_reduce(np.min),
    "ReduceMean": _evaluate_reduce(np.mean),
}  # fmt: skip
# Other ways to see the same weights.
LOOKED_THROUGH = frozenset(
    _words("Identity Cast CastLike Transpose Reshape Squeeze Unsqueeze Flatten QuantizeLinear DequantizeLinear")
)
# Inputs that are settings, not data: where constant they are read here and are no parameters.
SETTINGS: dict[str, tuple[int, ...]] = {
    "Reshape": (1,), "Resize": (1, 2, 3), "Upsample": (1,), "Slice": (1, 2, 3, 4), "Expand": (1,), "Tile": (1,),
    "Pad": (1, 2, 3), "ConstantOfShape": (0,), "Range": (0, 1, 2), "Unsqueeze": (1,), "Squeeze": (1,), "Split": (1,),
    "TopK": (1,), "OneHot": (1, 2), "CumSum": (1,), "Trilu": (1,), "Clip": (1, 2), "Dropout": (1, 2), "If": (0,),
    "CenterCropPad": (1,), "Gather": (1,),
    **dict.fromkeys(_words("LSTM GRU RNN"), (4,)),
    **{f"Reduce{how}": (1,) for how in _words("Mean Sum Max Min Prod L1 L2 LogSum LogSumExp SumSquare")},
}  # fmt: skip
_WEIGHT_AND_BIAS = {1: "weight", 2: "bias"}
_CELL = {1: "w", 2: "r", 3: "b", 5: "state", 6: "state", 7: "p"}
_SCALED = {1: "scale", 2: "scale"}
ROLES: dict[str, dict[int, str]] = {
    "BatchNormalization": {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
    "Conv": _WEIGHT_AND_BIAS, "ConvTranspose": _WEIGHT_AND_BIAS, "Gemm": _WEIGHT_AND_BIAS,
    "InstanceNormalization": _WEIGHT_AND_BIAS, "LayerNormalization": _WEIGHT_AND_BIAS,
    "GroupNormalization": _WEIGHT_AND_BIAS, "RMSNormalization": {1: "weight"}, "PRelu": {1: "weight"},
    "MatMul": {0: "weight", 1: "weight"}, "Gather": {0: "weight"}, "LSTM": _CELL, "GRU": _CELL, "RNN": _CELL,
    "QuantizeLinear": _SCALED, "DequantizeLinear": _SCALED,
}  # fmt: skip
BUFFERS = ("running_mean", "running_var", "state", "scale")
# Quantised and fused operators: the operator that they are, and which of their inputs are its own.
REWRITTEN: dict[str, tuple[str, tuple[int, ...]]] = {
    "QLinearConv": ("Conv", (0, 3, 8)), "QLinearMatMul": ("MatMul", (0, 3)), "ConvInteger": ("Conv", (0, 1)),
    "MatMulInteger": ("MatMul", (0, 1)), "QLinearAdd": ("Add", (0, 3)), "QLinearMul": ("Mul", (0, 3)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)), "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearSigmoid": ("Sigmoid", (0,)), "QLinearLeakyRelu": ("LeakyRelu", (0,)),
    "QLinearSoftmax": ("Softmax", (0,)), "QGemm": ("Gemm", (0, 3, 6)), "FusedConv": ("Conv", (0, 1, 2)),
    "FusedGemm": ("Gemm", (0, 1, 2)), "FastGelu": ("Gelu", (0,)), "QuickGelu": ("Gelu", (0,)),
    "BiasGelu": ("Gelu", (0,)),
}  # fmt: skip


# --------------------------------------------------------------------------------------------------------------
# What a node is


@dataclass(frozen=True)
class Call:
    """One node with all that is known of it. Lists go by the place of the input; None for absent or unknown."""

    op: str
    facts: Attributes
    names: list[str]
    shapes: list[Shape | None]
    values: list[np.ndarray | None]
    constant: list[bool]
    outputs: list[Shape]
    opset: int

    @property
    def shape(self) -> Shape:
        """Of the first input."""
        return self.shapes[0] or ()

    def given(self, place: int) -> bool:
        return len(self.names) > place and self.names[place] != ""

    def value(self, place: int) -> np.ndarray | None:
        return self.values[place] if len(self.values) > place else None

    def shape_of(self, place: int) -> Shape:
        return (self.shapes[place] if len(self.shapes) > place else None) or ()


class Misfit(Exception):
    """What comes into a node does not fit it: (got, expected)."""


Described = tuple[str, Attributes] | None  # None: not followed


def _fit(condition: bool, got: str, expected: str) -> None:
    if not condition:
        raise Misfit(got, expected)


def _window(call: Call, kernel: Shape, sizes: Shape) -> Attributes:
    """Kernel, stride, padding and dilation; ``auto_pad`` becomes what it pads at these ``sizes``."""
    rank = len(kernel)
    stride = tuple(call.facts.get("strides") or (1,) * rank)
    dilation = tuple(call.facts.get("dilations") or (1,) * rank)
    pads = list(call.facts.get("pads") or (0,) * 2 * rank)
    _fit(len(stride) == len(dilation) == rank and len(pads) == 2 * rank, "windows of another rank", f"{rank} axes")
    automatic = call.facts.get("auto_pad", "NOTSET")
    padding = [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    if automatic == "VALID":
        padding = [(0, 0)] * rank
    elif automatic.startswith("SAME"):
        for axis in range(rank):
            spread = dilation[axis] * (kernel[axis] - 1) + 1
            total = max((math.ceil(sizes[axis] / stride[axis]) - 1) * stride[axis] + spread - sizes[axis], 0)
            small, large = total // 2, total - total // 2
            padding[axis] = (small, large) if automatic == "SAME_UPPER" else (large, small)
    return {"kernel": kernel, "stride": stride, "padding": tuple(padding), "dilation": dilation}


def slid(facts: Attributes, before: Shape) -> Shape | None:
    """The shape that a window makes of one, from the attributes of ``describe``; None where no window fits.

    Transposed: (n - 1) s - p + d (k - 1) + 1 + output padding. Rounded up, the last window starts inside the input or
    the padding before it and may reach beyond the padding behind it, as in PyTorch and ONNX Runtime. (Rounding down,
    ONNX Runtime lets one pooling window stand on an input smaller than it; that is no output here, as in PyTorch.)
    """
    found = []
    for axis, size in enumerate(before[2:]):
        step, pads = facts["stride"][axis], facts["padding"][axis]
        spread = facts["dilation"][axis] * (facts["kernel"][axis] - 1) + 1
        if "output_padding" in facts:
            count = (size - 1) * step - sum(pads) + spread + facts["output_padding"][axis]
        else:
            left = size + sum(pads) - spread
            count = (-(-left // step) if facts.get("ceil") else left // step) + 1
            if facts.get("ceil") and (count - 1) * step >= size + pads[0]:
                count -= 1
        found.append(count)
    channels = facts.get("channels_out", before[1])
    return None if min(found, default=1) < 1 else (before[0], channels, *found)


def _convolution(call: Call) -> Described:
    weight, groups = call.shape_of(1), int(call.facts.get("group", 1))
    kernel, rank = weight[2:], len(weight) - 2
    if rank not in (1, 2, 3):
        return None
    _fit(groups >= 1 and weight[0] % groups == 0, f"{groups} groups", f"a divisor of {weight[0]} channels")
    _fit(
        call.shape[1] == weight[1] * groups, f"{call.shape[1]} channels", f"{weight[1] * groups} as the weights have it"
    )
    shown = tuple(call.facts.get("kernel_shape") or kernel)
    _fit(shown == kernel, f"kernel_shape {times(shown)}", f"{times(kernel)} as the weights have it")
    return f"conv{rank}d", {
        **_window(call, kernel, call.shape[2:]),
        "groups": groups, "channels_in": weight[1] * groups, "channels_out": weight[0],
    }  # fmt: skip


def _convolution_transpose(call: Call) -> Described:
    weight, groups = call.shape_of(1), int(call.facts.get("group", 1))
    kernel, rank = weight[2:], len(weight) - 2
    if rank not in (1, 2, 3):
        return None
    _fit(call.shape[1] == weight[0], f"{call.shape[1]} channels", f"{weight[0]} as the weights have it")
    found = _window(call, kernel, (1,) * rank)
    more = tuple(call.facts.get("output_padding") or (0,) * rank)
    asked, automatic = call.facts.get("output_shape"), call.facts.get("auto_pad", "NOTSET")
    if asked or automatic.startswith("SAME"):
        padding = []
        for axis, (size, step, spread) in enumerate(zip(call.shape[2:], found["stride"], kernel, strict=True)):
            wanted = asked[-rank:][axis] if asked else size * step
            total = step * (size - 1) + more[axis] + (spread - 1) * found["dilation"][axis] + 1 - wanted
            if total < 0:  # the output is longer than what the windows reach
                more = (*more[:axis], more[axis] - total, *more[axis + 1 :])
                total = 0
            small, large = total // 2, total - total // 2
            padding.append((small, large) if automatic == "SAME_UPPER" else (large, small))
        found["padding"] = tuple(padding)
    return f"conv_transpose{rank}d", {
        **found, "output_padding": more, "groups": groups, "channels_in": weight[0], "channels_out": weight[1] * groups,
    }  # fmt: skip


def _pool(call: Call) -> Described:
    kernel = tuple(call.facts["kernel_shape"])
    if len(kernel) not in (1, 2, 3):
        return None
    kind = {"MaxPool": "max_pool", "AveragePool": "avg_pool", "LpPool": "lp_pool"}[call.op]
    ceil = bool(call.facts.get("ceil_mode", 0))
    return f"{kind}{len(kernel)}d", {**_window(call, kernel, call.shape[2:]), "ceil": ceil}


def _global_pool(call: Call) -> Described:
    rank = len(call.shape) - 2
    if rank not in (1, 2, 3) or call.op == "GlobalLpPool":
        return "reduce", {"how": "norm" if "Lp" in call.op else "mean", "axes": tuple(range(2, 2 + rank)), "keep": True}
    return f"adaptive_{'avg' if 'Average' in call.op else 'max'}_pool{rank}d", {"size": (1,) * rank}


def _product(call: Call) -> Described:
    """MatMul and Gemm: a dense layer where the second operand is a matrix of weights."""
    left, right = call.shape_of(0), call.shape_of(1)
    turned = call.op == "Gemm" and bool(call.facts.get("transB", 0))
    if call.constant[1] and not call.constant[0] and len(right) == 2 and not call.facts.get("transA"):
        return "linear", {
            "channels_in": right[1] if turned else right[0], "channels_out": right[0] if turned else right[1],
        }  # fmt: skip
    if call.facts.get("transA"):
        left = left[::-1]
    if turned:
        right = right[::-1]
    shapes = [left, right]
    if call.op == "Gemm" and call.given(2):  # as torch.addmm has it: what is added comes first
        shapes.insert(0, call.shape_of(2))
    return "matmul", {
        "inner": left[-1], "shapes": tuple(shapes), "how": "addmm" if len(shapes) == 3 else "matmul",
    }  # fmt: skip


def _einsum(call: Call) -> Described:
    return "einsum", {"equation": call.facts["equation"], "shapes": tuple(shape or () for shape in call.shapes)}


def _norm(call: Call) -> Described:
    found: Attributes = {"eps": call.facts.get("epsilon", 1e-5)}
    if call.op == "BatchNormalization":
        found |= {
            "momentum": round(1 - call.facts.get("momentum", 0.9), 6),  # PyTorch weighs the new value with it
            "batch_statistics": bool(call.facts.get("training_mode", 0)),
        }
        return "batch_norm", found
    if call.op == "InstanceNormalization":
        return "instance_norm", {**found, "batch_statistics": True}
    if call.op == "GroupNormalization":
        return "group_norm", {**found, "num_groups": int(call.facts["num_groups"])}
    axis = call.facts.get("axis", -1)
    kind = "layer_norm" if call.op == "LayerNormalization" else "rms_norm"
    return kind, {**found, "axes": len(call.shape) - axis if axis >= 0 else -axis}


def _response_norm(call: Call) -> Described:
    facts = call.facts
    return "local_response_norm", {
        "size": facts["size"], "alpha": facts.get("alpha", 1e-4), "beta": facts.get("beta", 0.75),
        "k": facts.get("bias", 1.0),
    }  # fmt: skip


def _axis(value: int, rank: int) -> int:
    return int(value) % max(rank, 1)


def _softmax(call: Call) -> Described:
    rank = len(call.shape)
    kind = "softmax" if call.op == "Softmax" else "log_softmax"
    if call.opset >= 13:
        return kind, {"axes": (_axis(call.facts.get("axis", -1), rank),)}
    return kind, {"axes": tuple(range(_axis(call.facts.get("axis", 1), rank), rank))}  # over all from there on


def _concat(call: Call) -> Described:
    return "concat", {"axis": _axis(call.facts.get("axis", 1), len(call.outputs[0]))}


def _split(call: Call) -> Described:
    axis = _axis(call.facts.get("axis", 0), len(call.shape))
    return "split", {"axis": axis, "sizes": tuple(shape[axis] for shape in call.outputs), "how": "split"}


def _reshape(call: Call) -> Described:
    _fit(
        math.prod(call.shape) == math.prod(call.outputs[0]), f"an input of {times(call.shape)}",
        f"as many values as {times(call.outputs[0])}",
    )  # fmt: skip
    return "reshape", {}


def _permute(call: Call) -> Described:
    rank = len(call.shape)
    order = tuple(call.facts.get("perm") or range(rank)[::-1])
    _fit(sorted(order) == list(range(rank)), f"an input of {times(call.shape)}", f"{len(order)} axes")
    return "permute", {"order": order}


_HOW = {"L1": "norm", "L2": "norm", "LogSumExp": "logsumexp", "SumSquare": "norm", "LogSum": "sum"}


def _reduce(call: Call) -> Described:
    rank = len(call.shape)
    if call.op.startswith("Arg"):
        axes: Shape | None = (call.facts.get("axis", 0),)
    else:
        if call.given(1) and call.value(1) is None:
            return None
        axes = _axes_of(call.values, call.facts)
    if not axes and call.facts.get("noop_with_empty_axes"):
        return "alias", {}
    how = call.op.lower() if call.op.startswith("Arg") else call.op.removeprefix("Reduce")
    return "reduce", {
        "how": _HOW.get(how, how.lower()), "axes": tuple(sorted({_axis(axis, rank) for axis in axes or range(rank)})),
        "keep": bool(call.facts.get("keepdims", 1)),
    }  # fmt: skip


def _slice(call: Call) -> Described:
    slices = _slices(call.values, call.facts, call.shape)
    if slices is None:
        return None
    bounds = [part.indices(size) for part, size in zip(slices, call.shape, strict=True)]
    if any(step < 0 for _, _, step in bounds):
        turned = [axis for axis, (_, _, step) in enumerate(bounds) if step < 0]
        whole = call.outputs[0] == call.shape and all(bounds[axis][2] == -1 for axis in turned)
        return ("flip", {"axes": tuple(turned)}) if whole else None
    starts, steps = tuple(first for first, _, _ in bounds), tuple(step for _, _, step in bounds)
    return "slice", {"starts": starts, "steps": steps, "removed": (), "added": ()}


def _gather(call: Call) -> Described:
    rank = len(call.shape)
    axis = _axis(call.facts.get("axis", 0), rank)
    indices, index = call.value(1), call.shape_of(1)
    if call.constant[0] and not call.constant[1] and axis == 0 and rank == 2:
        return "embedding", {}
    if indices is not None and not index:  # one place: the axis goes
        starts = [0] * rank
        starts[axis] = int(indices) % max(call.shape[axis], 1)
        return "slice", {"starts": tuple(starts), "steps": (1,) * rank, "removed": (axis,), "added": ()}
    return "index", {"axis": axis} if len(index) == 1 else {}


def _pad(call: Call) -> Described:
    rank = len(call.shape)
    flat = call.value(1) if call.given(1) else call.facts.get("pads", call.facts.get("paddings"))
    if flat is None:
        return None
    if call.given(3) and call.value(3) is None:
        return None
    axes = [_axis(axis, rank) for axis in _axes_of(call.values, {}, 3) or range(rank)]
    pairs, sizes = [(0, 0)] * rank, [int(size) for size in np.ravel(flat)]
    for place, axis in enumerate(axes):
        pairs[axis] = (sizes[place], sizes[place + len(axes)])
    mode = {"edge": "replicate", "wrap": "circular"}.get(call.facts.get("mode", "constant"), call.facts.get("mode"))
    return "pad", {"padding": tuple(pairs), "mode": mode or "constant"}


def _resize(call: Call) -> Described:
    """As PyTorch's modes, where the positions are those that one of them reads; else not followed."""
    before, after, facts = call.shape, call.outputs[0], call.facts
    rank = len(before)
    old = call.op == "Upsample" or call.opset < 11
    scales = call.value(1 if old else 2)
    if "scales" in facts:
        scales = np.array(facts["scales"])
    factors: list[float | None] = [None] * rank
    if scales is not None and scales.size:
        for axis, scale in zip(facts.get("axes") or range(rank), np.ravel(scales), strict=True):
            factors[_axis(axis, rank)] = float(scale)
    if rank not in (3, 4, 5) or before[:2] != after[:2] or min(before) < 1:
        return None
    where = "asymmetric" if old else facts.get("coordinate_transformation_mode", "half_pixel")
    mode, axes, aligned = facts.get("mode", "nearest"), range(2, rank), where == "align_corners"
    if mode == "nearest":
        rounding = "floor" if old else facts.get("nearest_mode", "round_prefer_floor")
        read = [_nearest(before[axis], after[axis], factors[axis], where, rounding) for axis in axes]
        for name, center in (("nearest", 0.0), ("nearest-exact", 0.5)):
            plain = [
                np.floor((np.arange(after[axis]) + center) * before[axis] / after[axis] + 1e-9) for axis in axes
            ]  # fmt: skip
            if all(np.array_equal(np.clip(a, 0, None), b) for a, b in zip(plain, read, strict=True) if b is not None):
                mode = name
                break
        else:
            return None
        if any(places is None for places in read):
            return None
        aligned, factors = False, [None] * rank  # the ratio of the sizes reads the same
    elif mode in ("linear", "cubic"):
        even = all(after[axis] == before[axis] * (factors[axis] or after[axis] / before[axis]) for axis in axes)
        same = all(after[axis] == before[axis] for axis in axes)
        known = ("half_pixel", "pytorch_half_pixel", "align_corners", *(("half_pixel_symmetric",) if even else ()))
        if where not in known and not same:
            return None
        names = {"linear": ("linear", "bilinear", "trilinear"), "cubic": ("bicubic",) * 3}
        mode = names[mode][rank - 3]
    else:
        return None
    return "upsample", {
        "mode": mode, "size": after[2:], "from": before[2:], "align_corners": aligned,
        "antialias": bool(facts.get("antialias", 0)), "scale": tuple(factors[2:]),
    }  # fmt: skip


def _nearest(before: int, after: int, factor: float | None, where: str, rounding: str) -> np.ndarray | None:
    """The position that each output reads along one axis, by the formulas of ONNX's Resize."""
    scale, at = factor or after / before, np.arange(after, dtype=np.float64)
    if where == "asymmetric":
        position = at / scale
    elif where in ("half_pixel", "pytorch_half_pixel"):
        position = (at + 0.5) / scale - 0.5 if after > 1 or where == "half_pixel" else at * 0
    elif where == "tf_half_pixel_for_nn":
        position = (at + 0.5) / scale
    elif where == "align_corners":
        position = at * (before - 1) / max(after - 1, 1)
    else:
        return None
    position = np.round(position, 9)
    rounded = {
        "floor": np.floor(position), "ceil": np.ceil(position), "round_prefer_floor": np.ceil(position - 0.5),
        "round_prefer_ceil": np.floor(position + 0.5),
    }[rounding]  # fmt: skip
    return np.asarray(np.clip(rounded, 0, before - 1))


def _shuffle(call: Call) -> Described:
    kind = "pixel_shuffle" if call.op == "DepthToSpace" else "pixel_unshuffle"
    return kind, {"factor": int(call.facts["blocksize"])}


def _recurrent(call: Call) -> Described:
    """One layer; ``weights`` of input and state for each direction."""
    inner, state = call.shape_of(1), call.shape_of(2)
    both = call.facts.get("direction", "forward") == "bidirectional"
    _fit(len(inner) == len(state) == 3 and inner[0] == 1 + both, f"weights of {times(inner)}", "one a direction")
    return {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}[call.op], {
        "layers": 1, "bidirectional": both, "batch_first": bool(call.facts.get("layout", 0)),
        "weights": (inner[1:], state[1:]) * inner[0],
    }  # fmt: skip


def _attention(call: Call) -> Described:
    query, key, value = (call.shape_of(place) for place in range(3))
    past = call.shape_of(4)
    if len(query) == 3:  # heads lie beside each other in the last axis
        heads, shared = int(call.facts["q_num_heads"]), int(call.facts["kv_num_heads"])
        examples, width, value_width = query[0], query[-1] // heads, value[-1] // shared
    else:
        examples, heads, width, value_width = query[0], query[1], query[-1], value[-1]
    return "attention", {
        "queries": query[-2], "keys": key[-2] + (past[-2] if past else 0), "width": width, "value_width": value_width,
        "heads": examples * heads, "causal": bool(call.facts.get("is_causal", 0)),
    }  # fmt: skip


def _clip(call: Call) -> Described:
    low = call.facts.get("min", call.value(1))
    high = call.facts.get("max", call.value(2))
    if low is not None and high is not None and (float(low), float(high)) == (0.0, 6.0):
        return "relu6", {}
    return "clamp", {}


def _dropout(call: Call) -> Described:
    ratio, training = call.value(1), call.value(2)
    share = call.facts.get("ratio", 0.5 if ratio is None else float(ratio))
    return "dropout", {"p": share, "active": bool(training) if training is not None else call.given(2)}


def _quantised(call: Call) -> Described:
    return "cast", {"how": "quantize" if call.op == "QuantizeLinear" else "dequantize"}


def _along(call: Call) -> Described:
    rank = len(call.shape)
    if call.op == "CumSum":
        axis = call.value(1)
        return None if axis is None else ("cumsum", {"axes": (_axis(int(axis), rank),)})
    kind = {"TopK": "topk", "LpNormalization": "normalize"}[call.op]
    return kind, {"axes": (_axis(call.facts.get("axis", -1), rank),)}


def _several(call: Call) -> Described:
    return {"Max": "maximum", "Min": "minimum", "Sum": "add"}.get(call.op, "add"), (
        {"how": "mean"} if call.op == "Mean" else {}
    )


def _triangle(call: Call) -> Described:
    return ("triu" if call.facts.get("upper", 1) else "tril"), {}


def _shrink(call: Call) -> Described:
    return ("softshrink" if call.facts.get("bias", 0.0) else "hardshrink"), {}


def _as(kind: str, **attributes: Any) -> Callable[[Call], Described]:
    return lambda call: (kind, dict(attributes))


_ELEMENTWISE = {
    "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor", "Not": "logical_not", "Equal": "eq",
    "Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le", "LeakyRelu": "leaky_relu",
    "ThresholdedRelu": "threshold", "Swish": "silu", "Mod": "remainder", "IsNaN": "isnan", "IsInf": "isinf",
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor", "BitwiseNot": "bitwise_not",
    "HardSigmoid": "hardsigmoid", "HardSwish": "hardswish", "PRelu": "prelu",
    **{
        name: name.lower()
        for name in _words("""Relu Sigmoid Tanh Elu Selu Celu Gelu Mish Softplus Softsign Erf Exp Log Sqrt Neg Abs Ceil
        Floor Round Sign Sin Cos Tan Sinh Cosh Asin Acos Atan Asinh Acosh Atanh Reciprocal Add Sub Mul Div Pow
        Where""")
    },
}  # fmt: skip
WRITERS: dict[str, Callable[[Call], Described]] = {
    "Conv": _convolution, "ConvTranspose": _convolution_transpose, "MatMul": _product, "Gemm": _product,
    "Einsum": _einsum, "LRN": _response_norm, "Concat": _concat, "Split": _split, "Transpose": _permute,
    "Slice": _slice, "Gather": _gather, "GatherElements": _as("gather"), "GatherND": _as("index"),
    "ScatterElements": _as("scatter"), "Scatter": _as("scatter"), "ScatterND": _as("index_put"),
    "NonZero": _as("nonzero"), "OneHot": _as("one_hot"), "Pad": _pad, "Resize": _resize, "Upsample": _resize,
    "DepthToSpace": _shuffle, "SpaceToDepth": _shuffle, "Attention": _attention, "Clip": _clip, "Dropout": _dropout,
    "Identity": _as("alias"), "Cast": _as("cast"), "CastLike": _as("cast"), "Trilu": _triangle, "Shrink": _shrink,
    "Expand": _as("expand", how="expand"), "Tile": _as("repeat", how="tile"), "GridSample": _as("grid_sample"),
    **{name: _as(kind) for name, kind in _ELEMENTWISE.items()},
    **dict.fromkeys(_words("MaxPool AveragePool LpPool"), _pool),
    **dict.fromkeys(_words("GlobalAveragePool GlobalMaxPool GlobalLpPool"), _global_pool),
    **dict.fromkeys(
        _words("""BatchNormalization InstanceNormalization LayerNormalization GroupNormalization
        RMSNormalization"""), _norm,
    ),
    **dict.fromkeys(_words("Softmax LogSoftmax"), _softmax),
    **dict.fromkeys(_words("Reshape Flatten Squeeze Unsqueeze"), _reshape),
    **{f"Reduce{how}": _reduce for how in _words("Mean Sum Max Min Prod L1 L2 LogSum LogSumExp SumSquare")},
    **dict.fromkeys(_words("ArgMax ArgMin"), _reduce),
    **dict.fromkeys(_words("LSTM GRU RNN"), _recurrent),
    **dict.fromkeys(_words("QuantizeLinear DequantizeLinear"), _quantised),
    **dict.fromkeys(_words("CumSum TopK LpNormalization"), _along),
    **dict.fromkeys(_words("Max Min Sum Mean"), _several),
}  # fmt: skip
WINDOWED = frozenset(_words("Conv ConvTranspose MaxPool AveragePool LpPool"))
SHARING = ("reshape", "alias")  # their output lies in their input's memory
SAME_SHAPE = frozenset(_words("GroupNormalization RMSNormalization LpNormalization MeanVarianceNormalization"))


def describe(call: Call) -> Described:
    """Kind and attributes of one node of the standard operators; None where it is not followed.

    Raises ``Misfit``, and what Python raises on attributes that are missing or of another type.
    """
    writer = WRITERS.get(call.op)
    return writer(call) if writer is not None else None
