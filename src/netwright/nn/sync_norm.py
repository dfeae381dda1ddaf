"""Batch norm over the rows of all processes, on a processor too (PyTorch's own needs a GPU).

Mean and variance are of the whole batch, and their gradients flow back to every process, so that training in several
processes equals training in one to rounding (Ioffe and Szegedy 2015, section 3; the sums are exchanged).
"""

from __future__ import annotations

import types
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Weighing(Protocol):
    """``weight``: 0 where this process's rows are another's, which must not count twice."""

    weight: float


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of a sum that all of them read is the sum of their gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor, group: Any) -> Tensor:
        context.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        dist.all_reduce(total, group=context.group)
        return total, None


def synchronise(network: nn.Module, group: Any, share: Weighing) -> None:
    """Let every batch norm of ``network`` see the rows of all processes while it trains, in place. Parameters, buffers
    and their names stay."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = types.MethodType(_forward_of(group, share), module)  # type: ignore[method-assign]


def release(network: nn.Module) -> None:
    """Undo ``synchronise``."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__dict__.pop("forward", None)


def _forward_of(group: Any, share: Weighing) -> Any:
    def forward(norm: nn.modules.batchnorm._BatchNorm, input: Tensor) -> Tensor:
        if not norm.training:
            plain: Tensor = type(norm).forward(norm, input)
            return plain
        counted = float(share.weight > 0)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        wide = input if input.dtype == torch.float64 else input.float()
        rows = wide.new_full((1,), counted * (input.numel() // max(1, input.shape[1])))
        sums = _Sum.apply(torch.cat([wide.sum(axes) * counted, rows]), group)
        count = sums[-1].detach()
        shape = [1, -1] + [1] * (input.ndim - 2)
        mean = sums[:-1] / count
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes) * counted, group) / count
        normed = centred * torch.rsqrt(variance + norm.eps).view(shape)
        if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
            with torch.no_grad():
                assert norm.num_batches_tracked is not None
                norm.num_batches_tracked += 1
                part = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
                norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), part)
                unbiased = variance * (count / (count - 1).clamp_min(1))
                norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), part)
        if norm.affine:
            normed = normed * norm.weight.view(shape) + norm.bias.view(shape)
        found: Tensor = normed.to(input.dtype)
        return found

    return forward
