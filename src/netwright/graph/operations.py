"""What PyTorch calls a function, what the graph calls its operation, and which of its arguments decide shapes and cost.

``describe`` knows a function by its name and turns one call into a kind and attributes in plain numbers. What has no
entry here is kept as ``unknown``: it is named in the graph and nothing is concluded about it. A new operation is one
line in one of the tables.

Source of the argument lists: the signatures in ``torch/overrides.py`` and ``native_functions.yaml`` of PyTorch 2.13.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netwright.graph.kinds import (
    ALIASES,
    ALONG_DIM,
    CASTS,
    DROPOUT,
    ELEMENTWISE,
    FACTORIES_LIKE,
    INDIRECT,
    LOSSES,
    PERMUTES,
    REDUCTIONS,
    RESHAPES,
)  # fmt: skip

Attributes = dict[str, Any]


# Python's and PyTorch's other names for the same operation.
_SAME = {
    "true_divide": "div", "divide": "div", "multiply": "mul", "subtract": "sub", "__rsub__": "rsub",
    "__rdiv__": "rdiv", "__rtruediv__": "rdiv", "__rpow__": "pow", "__pow__": "pow", "__truediv__": "div",
    "__floordiv__": "floor_divide", "__rfloordiv__": "floor_divide", "__rmul__": "mul", "__radd__": "add",
    "__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor", "__invert__": "bitwise_not",
    "__mod__": "remainder", "__rmod__": "remainder", "__matmul__": "matmul", "__rmatmul__": "matmul",
    "__neg__": "neg", "__abs__": "abs", "__eq__": "eq", "__ne__": "ne", "__lt__": "lt", "__le__": "le",
    "__gt__": "gt", "__ge__": "ge", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "not_equal": "ne", "concatenate": "cat", "special_softmax": "softmax", "clip": "clamp",
    "log_sigmoid": "logsigmoid", "amax": "max", "amin": "min",
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__div__": "div", "fix": "trunc",
    "_threshold": "threshold", "type_as": "cast",
}  # fmt: skip
# In-place forms in Python syntax (x += y).
IN_PLACE_SYNTAX = {
    "__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div", "__idiv__": "div",
    "__ipow__": "pow", "__iand__": "bitwise_and", "__ior__": "bitwise_or", "__ixor__": "bitwise_xor",
    "__ifloordiv__": "floor_divide", "__imod__": "remainder", "__setitem__": "assign",
}  # fmt: skip
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_CONV_TRANSPOSE = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_SIGNATURES: dict[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    "bilinear": ("input", "input2", "weight", "bias"),
    "scaled_dot_product_attention": ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"),
    "avg_pool1d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "avg_pool3d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "pixel_shuffle": ("input", "factor"),
    "pixel_unshuffle": ("input", "factor"),
    "channel_shuffle": ("input", "groups"),
    "pad": ("input", "pad", "mode", "value"),
    "constant_pad_nd": ("input", "pad", "value"),
    "cat": ("tensors", "dim"),
    "stack": ("tensors", "dim"),
    "hstack": ("tensors",),
    "vstack": ("tensors",),
    "dstack": ("tensors",),
    "split": ("input", "split_size", "dim"),
    "split_with_sizes": ("input", "split_size", "dim"),
    "tensor_split": ("input", "split_size", "dim"),
    "chunk": ("input", "chunks", "dim"),
    "unbind": ("input", "dim"),
    "narrow": ("input", "dim", "start", "length"),
    "index_select": ("input", "dim", "index"),
    "select": ("input", "dim", "index"),
    "slice": ("input", "dim", "start", "end", "step"),
    "getitem": ("input", "index"),
    "flip": ("input", "dims"),
    "roll": ("input", "shifts", "dims"),
    "einsum": ("equation", *map(str, range(1, 32))),
    "repeat_interleave": ("input", "repeats", "dim"),
}
for _axes in "123":
    _SIGNATURES[f"max_pool{_axes}d"] = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    _SIGNATURES[f"adaptive_max_pool{_axes}d"] = ("input", "output_size")
    _SIGNATURES[f"conv{_axes}d"] = _CONV
    _SIGNATURES[f"conv_transpose{_axes}d"] = _CONV_TRANSPOSE
# What is Python in torch.nn.functional but one operation to a person; everything else in Python there is looked into.
PYTHON_LEAVES = frozenset(
    f.__name__
    for f in (
        F.relu, F.relu6, F.elu, F.celu, F.selu, F.leaky_relu, F.hardtanh, F.hardsigmoid, F.hardswish, F.silu, F.mish,
        F.rrelu, F.threshold, F.glu, F.softsign, F.tanhshrink, F.softmin, F.tanh, F.sigmoid, F.dropout, F.dropout1d,
        F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, F.softmax, F.log_softmax, F.batch_norm,
        F.layer_norm, F.group_norm, F.instance_norm, F.local_response_norm, F.rms_norm, F.normalize, F.embedding,
        F.embedding_bag, F.interpolate, F.upsample, F.grid_sample, F.affine_grid, F.pad, F.fold, F.unfold,
        F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.lp_pool1d, F.lp_pool2d, F.lp_pool3d, F.max_unpool1d,
        F.max_unpool2d, F.max_unpool3d, F.cross_entropy, F.nll_loss, F.mse_loss, F.l1_loss, F.smooth_l1_loss,
        F.huber_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.kl_div, F.gaussian_nll_loss,
        F.poisson_nll_loss, F.hinge_embedding_loss, F.margin_ranking_loss, F.triplet_margin_loss,
        F.cosine_embedding_loss, F.multi_margin_loss, F.multilabel_soft_margin_loss, F.multilabel_margin_loss,
        F.soft_margin_loss, F.ctc_loss, F.fractional_max_pool2d_with_indices, F.fractional_max_pool3d_with_indices,
    )
) | {
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices", "boolean_dispatch",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices",
    "einsum", "norm", "split", "stft", "istft", "cdist", "unique", "meshgrid", "tensordot", "unflatten", "chain_matmul",
    "cartesian_prod", "block_diag", "broadcast_tensors", "fractional_max_pool2d", "fractional_max_pool3d",
    "__rsub__", "__rdiv__", "__rpow__", "__floordiv__", "__rfloordiv__", "__rmod__", "__rmatmul__", "__pow__",
    "__ipow__", "__rtruediv__",
}  # fmt: skip


def canonical(function: Any) -> tuple[str, bool]:
    """The operation's plain name and whether the call writes into its first argument (``add_`` → ``add``, True)."""
    name = getattr(function, "__name__", None) or str(function)
    if name == "__get__":  # a property such as x.T
        name = getattr(getattr(function, "__self__", None), "__name__", name)
        return _SAME.get(name, name), False
    if name in IN_PLACE_SYNTAX:
        return IN_PLACE_SYNTAX[name], True
    if name in ("__getitem__",):
        return "getitem", False
    in_place = name.endswith("_") and not name.startswith("__") and name != "requires_grad_"
    name = name.rstrip("_") if in_place else name
    if name.startswith("_softmax"):
        name = "softmax"
    return _SAME.get(name, name), in_place


def bind(function: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The call's arguments by name, defaults filled in where the function tells them."""
    known = _SIGNATURES.get(name.removesuffix("_with_indices"))
    if known is not None:
        bound = dict(zip(known, args, strict=False)) | kwargs
    elif (signature := _signature(function)) is not None:
        try:
            call = signature.bind(*args, **kwargs)
        except TypeError:
            return {"input": args[0] if args else None} | kwargs
        call.apply_defaults()
        bound = dict(call.arguments)
    else:
        bound = {str(position): value for position, value in enumerate(args)} | kwargs
        if args:
            bound.setdefault("input", args[0])
    if "self" in bound:
        bound["input"] = bound.pop("self")
    return bound


@cache
def _signature(function: Any) -> inspect.Signature | None:
    if not inspect.isfunction(function):
        return None
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def describe(
    function: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], outputs: Sequence[Tensor]
) -> tuple[str, Attributes, bool]:
    """Kind, attributes and whether the operation is understood, of one call that made ``outputs``.

    Shapes and cost follow from the attributes and the tensors' shapes alone, so that nobody has to come back to the
    call. Windows are given per spatial axis; padding as (before, after) pairs.
    """
    base = name.removesuffix("_with_indices")
    writer = _WRITERS.get(base)
    if writer is not None:
        return writer(base, bind(function, name, args, kwargs), outputs)
    if base in ELEMENTWISE or base in ("rdiv",):
        return ("div" if base == "rdiv" else "sub" if base == "rsub" else base), {}, True
    if base in DROPOUT:
        call = bind(function, name, args, kwargs)
        active = call.get("training", call.get("train", call.get("2", True)))
        return "dropout", {"p": _number(call.get("p", 0.5)), "active": bool(active)}, True
    if base in ALIASES:
        return "alias", {}, True
    if base in CASTS:
        return "cast", {}, True
    if base in LOSSES:
        return base, {}, True
    if base in INDIRECT:
        return base, {}, True
    if base in FACTORIES_LIKE:
        return base, {"values_read": False}, True
    return name, {}, False


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) else None


def _rank(kind: str) -> int:
    return next(int(letter) for letter in kind if letter in "123")


def _per_axis(value: Any, rank: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * rank
    values = tuple(int(item) for item in value)
    return values * rank if len(values) == 1 else values


def _pairs(value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    return tuple((side, side) for side in _per_axis(value, rank))


def _same_padding(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """PyTorch's ``padding="same"``: the odd pixel goes after."""
    totals = [step * (size - 1) for size, step in zip(kernel, dilation, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _convolution(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    rank = _rank(name)
    weight: Tensor = call["weight"]
    kernel = tuple(int(size) for size in weight.shape[2:])
    dilation = _per_axis(call.get("dilation", 1), rank)
    padding = call.get("padding", 0)
    if isinstance(padding, str):
        pairs = _same_padding(kernel, dilation) if padding == "same" else _pairs(0, rank)
    else:
        pairs = _pairs(padding, rank)
    return (
        name,
        {
            "kernel": kernel,
            "stride": _per_axis(call.get("stride", 1), rank),
            "padding": pairs,
            "dilation": dilation,
            "groups": int(call.get("groups", 1)),
            "channels_in": int(weight.shape[1]) * int(call.get("groups", 1)),
            "channels_out": int(weight.shape[0]),
        },
        True,
    )


def _convolution_transpose(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    rank = _rank(name)
    weight: Tensor = call["weight"]
    groups = int(call.get("groups", 1))
    return (
        name,
        {
            "kernel": tuple(int(size) for size in weight.shape[2:]),
            "stride": _per_axis(call.get("stride", 1), rank),
            "padding": _pairs(call.get("padding", 0), rank),
            "output_padding": _per_axis(call.get("output_padding", 0), rank),
            "dilation": _per_axis(call.get("dilation", 1), rank),
            "groups": groups,
            "channels_in": int(weight.shape[0]),
            "channels_out": int(weight.shape[1]) * groups,
        },
        True,
    )


def _linear(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    weight: Tensor = call["weight"]
    units_in = int(weight.shape[-1])
    units_out = int(weight.shape[0]) if weight.dim() > 1 else 1
    return name, {"channels_in": units_in, "channels_out": units_out}, True


def _matmul(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """``inner`` is the length of the summed axis: MACs are the output's elements times it. ``shapes`` of the operands
    in the call's order, which parameters and tensors share. ``how`` is the function's name."""
    if "0" in call:  # the same operand twice: by its place and by its name
        call = {key: value for key, value in call.items() if key != "input"}
    operands = [value for value in call.values() if isinstance(value, Tensor)]
    unique = [tensor for place, tensor in enumerate(operands) if all(tensor is not other for other in operands[:place])]
    if name in ("addmm", "baddbmm", "addmv", "addbmm"):
        left = operands[1] if len(unique) > 1 and len(operands) > 1 else operands[0]
    else:
        left = operands[0]
    inner = int(left.shape[-1])
    if name == "addbmm":
        inner *= int(left.shape[0])
    return "matmul", {"inner": inner, "shapes": _shapes(operands), "how": name}, True


def _einsum(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """``shapes`` of the operands in the equation's order, which parameters and tensors share."""
    equation = call.get("equation")
    operands = [value for value in call.values() if isinstance(value, Tensor)]
    return "einsum", {"equation": equation if isinstance(equation, str) else "", "shapes": _shapes(operands)}, True


def _shapes(tensors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(n) for n in tensor.shape) for tensor in tensors)


def _attention(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    query, key, value = call["query"], call["key"], call["value"]
    return (
        "attention",
        {
            "queries": int(query.shape[-2]),
            "keys": int(key.shape[-2]),
            "width": int(query.shape[-1]),
            "value_width": int(value.shape[-1]),
            "heads": int(math.prod(query.shape[:-2])),
            "causal": bool(call.get("is_causal", False)),
        },
        True,
    )


def _pool(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    name = name.removesuffix("_with_indices")
    rank = _rank(name)
    kernel = _per_axis(call["kernel_size"], rank)
    stride = call.get("stride")
    return (
        name,
        {
            "kernel": kernel,
            "stride": kernel if stride is None or stride == [] else _per_axis(stride, rank),
            "padding": _pairs(call.get("padding", 0), rank),
            "dilation": _per_axis(call.get("dilation", 1), rank),
            "ceil": bool(call.get("ceil_mode", False)),
        },
        True,
    )


def _adaptive(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    rank = _rank(name)
    return name.removesuffix("_with_indices"), {"size": tuple(int(n) for n in outputs[0].shape[-rank:])}, True


def _upsample(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    source: Tensor = call["input"]
    mode = call.get("mode") or name.removeprefix("upsample_").rstrip("123d")
    kept = call.get("scale_factor") if not call.get("recompute_scale_factor") else None
    scales = kept if isinstance(kept, list | tuple) else (kept,) * (source.dim() - 2)
    return (
        "upsample",
        {
            "mode": str(mode).replace("nearest1", "nearest").replace("nearest2", "nearest"),
            "size": tuple(int(n) for n in outputs[0].shape[2:]),
            "from": tuple(int(n) for n in source.shape[2:]),
            "align_corners": bool(call.get("align_corners") or False),
            "antialias": bool(call.get("antialias") or False),
            "scale": tuple(None if scale is None else float(scale) for scale in scales),  # where one was given and kept
        },
        True,
    )


def _norm(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    found: Attributes = {}
    for key in ("eps", "momentum", "num_groups", "size", "alpha", "beta", "k"):
        if isinstance(call.get(key), int | float):
            found[key] = call[key]
    if "normalized_shape" in call:
        found["axes"] = len(call["normalized_shape"])
    for key in ("training", "use_input_stats"):
        if key in call:
            found["batch_statistics"] = bool(call[key])
    if name == "batch_norm" and call.get("running_mean") is None:
        found["batch_statistics"] = True
    return (
        {"native_layer_norm": "layer_norm", "local_response_norm": "local_response_norm"}.get(name, name),
        found,
        True,
    )


def _axis(value: Any, rank: int) -> int:
    return int(value) % max(rank, 1)


def _concat(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    fixed = {"hstack": 0 if outputs[0].dim() == 1 else 1, "vstack": 0, "dstack": 2}
    axis = fixed.get(name, call.get("dim", call.get("axis", 0)))
    return ("stack" if name == "stack" else "concat"), {"axis": _axis(axis, outputs[0].dim())}, True


def _split(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    source: Tensor = call["input"]
    axis = _axis(call.get("dim", 0), source.dim())
    if name == "unbind":
        return "unbind", {"axis": axis}, True
    return "split", {"axis": axis, "sizes": tuple(int(part.shape[axis]) for part in outputs), "how": name}, True


def _reduce(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    source = call["input"]
    second = call.get("1")
    if name in ("max", "min") and isinstance(second, Tensor):
        return ("maximum" if name == "max" else "minimum"), {}, True
    dims = call.get("dim", call.get("axis", second if not isinstance(second, float) else None))
    if name in ("norm", "linalg_vector_norm", "vector_norm"):
        dims = call.get("dim", call.get("2"))
    keep = bool(call.get("keepdim", False)) or outputs[0].dim() == source.dim()
    if isinstance(dims, Tensor | bool) or dims is None:
        axes: tuple[int, ...] = tuple(range(source.dim()))
    else:
        items = dims if isinstance(dims, Sequence) else (dims,)
        axes = tuple(sorted({_axis(item, source.dim()) for item in items})) or tuple(range(source.dim()))
    return "reduce", {"how": name, "axes": axes, "keep": keep}, True


def _along(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    source: Tensor = call["input"]
    dims = call.get("dims", call.get("dim"))
    if dims is None:
        dims = call.get("2" if name in ("roll", "topk") else "1")
    if isinstance(dims, torch.dtype) or dims is None:
        dims = -1
    items = dims if isinstance(dims, Sequence) else (dims,)
    found: Attributes = {"axes": tuple(_axis(item, source.dim()) for item in items if isinstance(item, int))}
    if name == "roll":
        shifts = call.get("shifts")
        found["shifts"] = tuple(shifts) if isinstance(shifts, Sequence) else (shifts,)
        if call.get("dims") is None or not found["axes"]:  # as if flat
            found = {"axes": tuple(range(source.dim())), "shifts": ()}
    return name, found, True


def _permute(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    source: Tensor = call["input"]
    rank = source.dim()
    values = [call[str(place)] for place in range(1, 1 + rank) if str(place) in call]
    values += [call[key] for key in ("dims", "dim0", "dim1", "axis0", "axis1", "source", "destination") if key in call]
    order = list(range(rank))
    if name in ("T", "t", "numpy_T", "H"):
        order.reverse()
    elif name in ("mT", "mH", "adjoint"):
        order[-1], order[-2] = order[-2], order[-1]
    elif name in ("transpose", "swapaxes", "swapdims"):
        first, second = (_axis(value, rank) for value in values)
        order[first], order[second] = order[second], order[first]
    elif name == "permute":
        flat = values[0] if isinstance(values[0], Sequence) else values
        order = [_axis(value, rank) for value in flat]
    else:  # movedim
        sources, targets = ([v] if isinstance(v, int) else list(v) for v in values)
        sources, targets = [_axis(v, rank) for v in sources], [_axis(v, rank) for v in targets]
        rest = [axis for axis in range(rank) if axis not in sources]
        placed = dict(zip(targets, sources, strict=True))
        order = [placed[axis] if axis in placed else rest.pop(0) for axis in range(rank)]
    return "permute", {"order": tuple(order)}, True


def _slice(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """``starts``, ``steps`` per axis of the input, and the axes that an integer removed or a None added."""
    source: Tensor = call["input"]
    rank = source.dim()
    starts, steps, removed, added = [0] * rank, [1] * rank, [], []
    if name in ("narrow", "select", "slice"):
        axis = _axis(call.get("dim", 0), rank)
        if name == "select":
            starts[axis], removed = _axis(call["index"], int(source.shape[axis])), [axis]
        elif name == "narrow":
            starts[axis] = int(call["start"]) % max(int(source.shape[axis]), 1)
        else:
            starts[axis], _, steps[axis] = slice(call.get("start"), call.get("end"), call.get("step", 1)).indices(
                int(source.shape[axis])
            )
    else:
        index = call["index"]
        items = list(index) if isinstance(index, tuple) else [index]
        if any(isinstance(item, Tensor | list | bool) or hasattr(item, "__array__") for item in items):
            return "index", _chosen(items, rank), True
        taken = sum(item is not None and item is not Ellipsis for item in items)
        if Ellipsis in [item for item in items if item is None or item is Ellipsis]:
            place = next(number for number, item in enumerate(items) if item is Ellipsis)
            items[place : place + 1] = [slice(None)] * (rank - taken)
        axis, out = 0, 0
        for item in items:
            if item is None:
                added.append(out)
                out += 1
                continue
            if isinstance(item, slice):
                starts[axis], _, steps[axis] = item.indices(int(source.shape[axis]))
                out += 1
            else:
                starts[axis] = int(item) % max(int(source.shape[axis]), 1)
                removed.append(axis)
            axis += 1
    return "slice", {
        "starts": tuple(starts), "steps": tuple(steps), "removed": tuple(removed), "added": tuple(added),
    }, True  # fmt: skip


def _chosen(items: Sequence[Any], rank: int) -> Attributes:
    """``axis``: along which a list of numbers chooses while all others stay as they are; nothing for other indices."""
    lists = [place for place, item in enumerate(items) if not isinstance(item, slice) and item is not Ellipsis]
    if len(lists) != 1 or any(isinstance(item, slice) and item != slice(None) for item in items):
        return {}
    place, chosen = lists[0], items[lists[0]]
    flat = (
        chosen.dim() == 1 and chosen.dtype != torch.bool
        if isinstance(chosen, Tensor)
        else (isinstance(chosen, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in chosen))
    )
    behind = Ellipsis in [item for item in items[:place] if item is Ellipsis]
    return {"axis": place - len(items) + rank if behind else place} if flat else {}


def _index_select(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    return "index", {"axis": _axis(call["dim"], outputs[0].dim())}, True


def _pad(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """``padding`` as (before, after) for every axis of the tensor, negative where it crops."""
    source: Tensor = call["input"]
    flat = [int(value) for value in call["pad"]]
    pairs = [(0, 0)] * source.dim()
    for number in range(len(flat) // 2):
        pairs[-1 - number] = (flat[2 * number], flat[2 * number + 1])
    return "pad", {"padding": tuple(pairs), "mode": str(call.get("mode", "constant"))}, True


def _shuffle(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    if name == "channel_shuffle":
        return name, {"groups": int(call["groups"])}, True
    factor = call.get("factor", call.get("upscale_factor", call.get("downscale_factor")))
    return name, {"factor": int(factor or 1)}, True


def _recurrent(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """torch.lstm and friends: (input, hx, weights, has_biases, layers, dropout, training, bidirectional, batch_first),
    or packed: (data, batch_sizes, hx, weights, has_biases, layers, dropout, training, bidirectional)."""
    packed = isinstance(call.get("3"), list | tuple)
    weights = call["3" if packed else "2"]
    shift = 1 if packed else 0
    layers, both = int(call[str(4 + shift)]), bool(call[str(7 + shift)])
    hidden = [tuple(int(n) for n in weight.shape) for weight in weights if weight.dim() == 2]
    return (
        name.split("_")[0],
        {
            "layers": layers,
            "bidirectional": both,
            "batch_first": not packed and bool(call.get("8", False)),
            "weights": tuple(hidden),
        },
        True,
    )


def _cell(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    weights = [call[key] for key in ("2", "3", "w_ih", "w_hh") if isinstance(call.get(key), Tensor)]  # input, hx, …
    return name, {"weights": tuple(tuple(int(n) for n in weight.shape) for weight in weights)}, True


def _asked(call: dict[str, Any], keys: Sequence[str]) -> tuple[int, ...]:
    """The sizes that a call gives, as one list or one by one."""
    given = [call[key] for key in keys if key in call]
    flat = [size for item in given for size in (item if isinstance(item, Sequence) else (item,))]
    return tuple(int(size) for size in flat) if all(isinstance(size, int) for size in flat) else ()


def _reshape(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """``sizes`` of the output's axes where the call gives numbers, -1 where a size follows from the tensor."""
    source: Tensor = call["input"]
    sizes: tuple[int, ...] = ()
    if name in ("view", "reshape", "_unsafe_view"):
        sizes = _asked(call, ("shape", "size", *map(str, range(1, 2 + outputs[0].dim()))))
    elif name == "unflatten":
        axis, parts = _axis(call.get("dim", call.get("1", 0)), source.dim()), _asked(call, ("sizes", "2"))
        sizes = (-1,) * axis + parts + (-1,) * (source.dim() - 1 - axis)
    return "reshape", {"sizes": sizes} if sizes and len(sizes) == outputs[0].dim() else {}, True


def _expand(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """``sizes`` as for a reshape, where the call gives numbers."""
    if name in ("repeat", "tile", "repeat_interleave"):
        return "repeat", {"how": name}, True
    sizes = _asked(call, ("size", *map(str, range(1, 2 + outputs[0].dim())))) if name == "expand" else ()
    return "expand", {"how": name} | ({"sizes": sizes} if len(sizes) == outputs[0].dim() else {}), True


def _assign(name: str, call: dict[str, Any], outputs: Sequence[Tensor]) -> tuple[str, Attributes, bool]:
    """``x[index] = y``: the place as ``slice`` has it, where the index is no tensor."""
    target, index = call.get("0"), call.get("1")
    if not isinstance(target, Tensor) or not isinstance(call.get("2"), Tensor):
        return "assign", {}, True
    kind, found, _ = _slice("getitem", {"input": target, "index": index}, outputs)
    return "assign", found if kind == "slice" else {}, True


Writer = Callable[[str, dict[str, Any], Sequence[Tensor]], tuple[str, Attributes, bool]]
_WRITERS: dict[str, Writer] = {
    "linear": _linear, "bilinear": _linear, "einsum": _einsum, "scaled_dot_product_attention": _attention,
    "pad": _pad, "constant_pad_nd": _pad, "pixel_shuffle": _shuffle, "pixel_unshuffle": _shuffle,
    "channel_shuffle": _shuffle, "native_channel_shuffle": _shuffle, "interpolate": _upsample, "upsample": _upsample,
    "lstm_cell": _cell, "gru_cell": _cell, "rnn_tanh_cell": _cell, "rnn_relu_cell": _cell, "assign": _assign,
    "repeat_interleave": _expand, "index_select": _index_select,
}  # fmt: skip
for _names, _function in (
    (("matmul", "mm", "bmm", "mv", "dot", "inner", "addmm", "baddbmm", "addmv", "addbmm", "vdot"), _matmul),
    (("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    (("cat", "stack", "hstack", "vstack", "dstack"), _concat),
    (("split", "split_with_sizes", "tensor_split", "chunk", "unbind"), _split),
    (("narrow", "select", "slice", "getitem"), _slice),
    (("expand", "expand_as", "broadcast_to", "broadcast_tensors", "repeat", "tile"), _expand),
    (("batch_norm", "layer_norm", "native_layer_norm", "group_norm", "instance_norm", "rms_norm"), _norm),
    (("local_response_norm",), _norm),
    (sorted(REDUCTIONS), _reduce),
    (sorted(ALONG_DIM), _along),
    (sorted(PERMUTES), _permute),
    (sorted(RESHAPES), _reshape),
):
    _WRITERS |= dict.fromkeys(_names, _function)
for _dimension in (1, 2, 3):
    _WRITERS |= {f"conv{_dimension}d": _convolution, f"conv_transpose{_dimension}d": _convolution_transpose}
    _WRITERS |= dict.fromkeys((f"max_pool{_dimension}d", f"avg_pool{_dimension}d", f"lp_pool{_dimension}d"), _pool)
    _WRITERS |= dict.fromkeys((f"adaptive_avg_pool{_dimension}d", f"adaptive_max_pool{_dimension}d"), _adaptive)
    for _mode in ("nearest", "nearest_exact", "linear", "bilinear", "bicubic", "trilinear"):
        _WRITERS.setdefault(f"upsample_{_mode}{_dimension}d", _upsample)
