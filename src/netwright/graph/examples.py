"""What a network is run on: shapes, tensors or containers of them → its arguments; and the network that takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from netwright.errors import NetworkError, UsageError
from netwright.graph.failures import inputs_of, unknown_input


class InputSpec(msgspec.Struct, frozen=True):
    """One input without its batch: shape and type. ``batched`` is False where ``shape`` has the batch already."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    batched: bool = True


Example = Tensor | InputSpec | Sequence[int] | Sequence[Any] | Mapping[str, Any]
Make = Callable[[tuple[int, ...], torch.dtype], Tensor]


def meta(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def arguments(example: Example, batch: int, make: Make = meta) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of forward, by position and by name: ``make(shape with batch, dtype)`` for every shape, tensors
    and everything else as they are. Raises ``UsageError`` for what is no example."""
    if isinstance(example, Mapping):
        return [], {name: _argument(value, batch, make) for name, value in example.items()}
    if isinstance(example, Tensor | InputSpec) or _is_shape(example):
        return [_argument(example, batch, make)], {}
    if isinstance(example, Sequence) and not isinstance(example, str) and example:
        return [_argument(value, batch, make) for value in example], {}
    raise UsageError(
        "input", repr(example), "a shape such as (3, 224, 224), a tensor, or a sequence or mapping of these"
    )


def _is_shape(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(n, int) for n in value)


def _argument(value: Any, batch: int, make: Make) -> Any:
    if isinstance(value, Mapping):
        return {name: _argument(item, batch, make) for name, item in value.items()}
    if _is_shape(value):
        value = InputSpec(tuple(value))
    if not isinstance(value, InputSpec):
        return value
    shape = (batch, *value.shape) if value.batched else value.shape
    if any(size < 0 for size in shape) or (value.batched and batch < 1):
        raise UsageError("input", "x".join(map(str, shape)), "sizes of at least 1")
    return make(shape, value.dtype)


def unwrapped(network: nn.Module) -> nn.Module:
    """The module itself, out of data parallelism and ``torch.compile``."""
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(network.module)
    original = network.__dict__.get("_modules", {}).get("_orig_mod")  # torch.compile
    return unwrapped(original) if original is not None else network


def initialised(network: nn.Module, positional: list[Any], named: dict[str, Any]) -> nn.Module:
    """The network itself, or, where it has lazy modules, a copy that has seen one batch of zeros."""
    lazy = [name for name, value in registered(network) if nn.parameter.is_lazy(value)]
    if not lazy:
        return network
    import copy

    copied = copy.deepcopy(network)
    try:
        with torch.no_grad():
            copied(*mapped(positional, _real), **mapped(named, _real))
    except Exception as error:
        raise NetworkError(lazy[0], "a lazy layer that could not be initialised", "", str(error)) from error
    return copied


def _real(tensor: Tensor) -> Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with every tensor in it changed; dicts, lists and tuples are new, all else is as it was."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(mapped(item, change) for item in value)
    return value


def as_taken(network: nn.Module, example: Example) -> Example:
    """Inputs by names, as forward takes them: ``batch.image`` is the entry ``image`` of a mapping ``batch``; several
    names are the entries of the one thing that it takes, if that has none of these names.

    Raises ``NetworkError`` that offers the right names where forward takes others.
    """
    if not isinstance(example, Mapping):
        return example
    found: dict[str, Any] = {}
    for name, value in example.items():
        whole, _, entry = str(name).partition(".")
        if entry:
            found.setdefault(whole, {})[entry] = value
        else:
            found[name] = value
    wrong = unknown_input(network, list(found))
    if wrong is None:
        return found
    needed = [one.name for one in inputs_of(network) if one.default is one.empty and one.kind is not one.VAR_POSITIONAL]
    if len(needed) != 1 or len(found) < 2 or needed[0] in found:
        raise wrong
    return [found]


def registered(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, then buffers, under every name that they have."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def held(network: nn.Module) -> Iterator[Tensor]:
    """The tensors among the attributes of its modules, also in lists of them and the like."""
    for module in network.modules():
        yield from _held(module.__dict__, 4)


def _held(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _held(item, depth - 1)
