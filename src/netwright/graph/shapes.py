"""The results of the commonest calls on tensors without values, by their shapes alone.

PyTorch has rules of its own for the ``meta`` device. Many are written in Python: their first use imports its compiler
(three seconds) and every use costs half a millisecond. These few give the same shape and type; whatever they do not
know, or what is wrong, is left to PyTorch, with its errors. A test holds them equal to PyTorch's rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from netwright.graph.kinds import ACTIVATIONS


def result(name: str, args: Sequence[Any], kwargs: dict[str, Any], *, in_place: bool) -> Tensor | None:
    """What the call gives, or None where PyTorch has to say."""
    rule = _IN_PLACE.get(name) if in_place else _RULES.get(name)
    if rule is None or not args or not _plain(args[0] if isinstance(args[0], Tensor) else None, name):
        return None
    try:
        return rule(*args, **kwargs)
    except (TypeError, ValueError, IndexError, AttributeError):
        return None


def refuse(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Raises as computing does where PyTorch's rule for tensors without values lets a call pass: a convolution whose
    weights are of another type than its input."""
    if not name.startswith("conv"):
        return
    call = dict(zip(("input", "weight"), args, strict=False)) | kwargs
    input, weight = call.get("input"), call.get("weight")
    if isinstance(input, Tensor) and isinstance(weight, Tensor) and input.dtype != weight.dtype:
        mixed = any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda"))
        if input.is_meta and not mixed:
            raise RuntimeError(f"Input type ({input.dtype}) and weight type ({weight.dtype}) should be the same")


def _plain(tensor: Tensor | None, name: str) -> bool:
    if tensor is None:
        return name in ("cat", "concat")
    return tensor.is_meta and tensor.is_floating_point() and (tensor.is_contiguous() or name in _KEEPS)


def _made(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, device="meta")


def _alike(*tensors: Any) -> bool:
    first = tensors[0]
    return all(
        isinstance(one, Tensor) and one.is_meta and one.dtype == first.dtype and one.is_contiguous() for one in tensors
    )


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _made(x.shape, x) if x.is_contiguous() else torch.empty_like(x)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    right = weight.dim() == 2 and input.dim() >= 1 and input.shape[-1] == weight.shape[1]
    if not right or not _alike(input, weight) or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    return _made((*input.shape[:-1], weight.shape[0]), input)


def _convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:  # fmt: skip
    rank = weight.dim() - 2
    if isinstance(padding, str) or input.dim() != rank + 2 or not _alike(input, weight):
        return None
    if input.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    steps, pads, spread = (_each(value, rank) for value in (stride, padding, dilation))
    sizes = [
        (size + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, gap in zip(input.shape[2:], weight.shape[2:], steps, pads, spread, strict=True)
    ]
    return _made((input.shape[0], weight.shape[0], *sizes), input) if min(sizes) > 0 else None


def _convolution_transpose(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor | None:  # fmt: skip
    rank = weight.dim() - 2
    if input.dim() != rank + 2 or not _alike(input, weight) or input.shape[1] != weight.shape[0]:
        return None
    outputs = weight.shape[1] * groups
    if weight.shape[0] % groups or (bias is not None and tuple(bias.shape) != (outputs,)):
        return None
    steps, pads, more, spread = (_each(value, rank) for value in (stride, padding, output_padding, dilation))
    if any(extra >= max(step, gap) for extra, step, gap in zip(more, steps, spread, strict=True)):
        return None
    sizes = [
        (size - 1) * step - 2 * pad + gap * (kernel - 1) + extra + 1
        for size, kernel, step, pad, extra, gap in zip(
            input.shape[2:], weight.shape[2:], steps, pads, more, spread, strict=True
        )
    ]
    return _made((input.shape[0], outputs, *sizes), input) if min(sizes) > 0 else None


def _each(value: Any, rank: int) -> tuple[int, ...]:
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def _batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor | None:  # fmt: skip
    given = [one for one in (running_mean, running_var, weight, bias) if one is not None]
    wrong = training or running_mean is None or input.dim() < 2
    if wrong or not _alike(input, *given) or any(one.shape != input.shape[1:2] for one in given):
        return None
    return _made(input.shape, input)


def _pool(rank: int) -> Callable[..., Tensor | None]:
    def largest(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Tensor | None:  # fmt: skip
        if return_indices or input.dim() != rank + 2:
            return None
        kernels, pads, spread = (_each(value, rank) for value in (kernel_size, padding, dilation))
        steps = kernels if stride is None or stride == [] else _each(stride, rank)
        sizes = []
        for size, kernel, step, pad, gap in zip(input.shape[2:], kernels, steps, pads, spread, strict=True):
            if pad > kernel // 2:
                return None
            free = size + 2 * pad - gap * (kernel - 1) - 1
            count = -(-free // step) + 1 if ceil_mode else free // step + 1
            sizes.append(count - (ceil_mode and (count - 1) * step >= size + pad))
        return _made((*input.shape[:2], *sizes), input) if min(sizes) > 0 else None

    return largest


def _mean_pool(rank: int) -> Callable[..., Tensor | None]:
    pool = _pool(rank)

    def mean(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Tensor | None:  # fmt: skip
        return pool(input, kernel_size, stride, padding, 1, ceil_mode)

    return mean


def _adaptive(input: Tensor, output_size: Any) -> Tensor | None:
    sizes = _each(output_size, 2)
    if input.dim() != 4 or None in sizes or min(sizes) < 1 or 0 in input.shape:
        return None
    return _made((*input.shape[:2], *sizes), input)


def _pointwise(input: Tensor, other: Any) -> Tensor | None:
    if isinstance(other, int | float) and not isinstance(other, bool):
        return _made(input.shape, input)
    if not _alike(input, other):
        return None
    long, short = (input, other) if input.dim() >= other.dim() else (other, input)
    ones = (1,) * (long.dim() - short.dim())
    sizes = []
    for one, two in zip(long.shape, (*ones, *short.shape), strict=True):
        if one != two and 1 not in (one, two):
            return None
        sizes.append(two if one == 1 else one)
    return _made(sizes, input)


def _pointwise_in_place(input: Tensor, other: Any) -> Tensor | None:
    found = _pointwise(input, other)
    return input if found is not None and found.shape == input.shape else None


def _concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    """Crops and other views too: the result is contiguous where PyTorch takes one operand for that (ATen's
    ``cat_compute_output_memory_format``), which it does with all but channels-last in four or five axes."""
    if not tensors or not all(one.is_meta and one.dtype == tensors[0].dtype for one in tensors):
        return None
    plain = any(one.is_contiguous() or one.dim() not in (4, 5) for one in tensors)
    if not plain or not tensors[0].is_floating_point():
        return None
    first = tensors[0].shape
    axis = dim + len(first) if dim < 0 else dim
    rest = {(*one.shape[:axis], *one.shape[axis + 1 :]) for one in tensors}
    if not 0 <= axis < len(first) or len(rest) > 1 or any(one.dim() != len(first) for one in tensors):
        return None
    return _made((*first[:axis], sum(one.shape[axis] for one in tensors), *first[axis + 1 :]), tensors[0])


def _mean(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor | None:
    if dim is None:
        return None
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    axes = {axis + input.dim() if axis < 0 else axis for axis in given}
    if not axes or len(axes) < len(given) or not axes <= set(range(input.dim())):
        return None
    sizes = [1 if axis in axes else size for axis, size in enumerate(input.shape)]
    return _made(sizes if keepdim else [size for axis, size in enumerate(input.shape) if axis not in axes], input)


# One tensor in, one of its shape, type and layout out.
_KEEPS = (ACTIVATIONS - {"prelu"}) | {"dropout"}
_POINTWISE = ("add", "sub", "mul", "div")
_RULES: dict[str, Callable[..., Tensor | None]] = {
    **dict.fromkeys(_KEEPS, _same),
    **dict.fromkeys(_POINTWISE, _pointwise),
    "linear": _linear, "batch_norm": _batch_norm, "adaptive_avg_pool2d": _adaptive, "cat": _concat, "mean": _mean,
    **{f"conv{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _convolution_transpose for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": _pool(rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _mean_pool(rank) for rank in (2, 3)},
}  # fmt: skip
_IN_PLACE: dict[str, Callable[..., Tensor | None]] = dict.fromkeys(_POINTWISE, _pointwise_in_place)
KEEPS_SHAPE = _KEEPS
