"""Parameters in plain lists, tuples and dictionaries, which `nn.Module` does not look into."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netwright.observations.network import Unregistered
from netwright.probes.freshness import fresh
from netwright.watching.calls import tensors

DEPTH, MOST = 3, 1000  # lists within lists, and values of one, that are looked at
_OF_TORCH = frozenset(vars(nn.Module()))


def used(network: nn.Module, ran: nn.Module, output: Any, held: set[int]) -> tuple[Unregistered, ...]:
    """Those of ``network`` that take part in ``output``, which its copy ``ran`` made, and that no optimiser has
    (``held``: ids of what one has). A teacher that runs without gradients, or a list of registered layers, is none."""
    found, copied = attributes(network), attributes(ran)
    made = [value for value in tensors(output) if value.requires_grad and value.numel()]
    if not found or not made or list(found) != list(copied):
        return ()
    answer = []
    for name, parameters in found.items():
        free = [p for p in parameters if p.requires_grad and id(p) not in held]
        wanted = [p for p in copied[name] if p.requires_grad]
        if not free or len(free) != len(wanted):
            continue
        gradients: tuple[Tensor | None, ...] = ()
        with contextlib.suppress(RuntimeError), torch.enable_grad():
            total = sum(value.abs().sum() for value in made)
            gradients = torch.autograd.grad(total, wanted, retain_graph=True, allow_unused=True)  # type: ignore[arg-type]
        reached = [p for p, gradient in zip(free, gradients, strict=False) if gradient is not None]
        if reached:
            largest = max(reached, key=Tensor.numel)
            answer.append(Unregistered(name=name, size=sum(p.numel() for p in reached), fresh=fresh(largest)))
    return tuple(answer)


def attributes(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Attribute → the parameters in it that ``network.parameters()`` lacks, each at the first place that holds it."""
    seen = {id(p) for p in network.parameters()}
    found: dict[str, list[nn.Parameter]] = {}
    for path, module in network.named_modules():
        for key, value in vars(module).items():
            if key in _OF_TORCH or not isinstance(value, list | tuple | dict):
                continue
            for parameter in _within(value, DEPTH):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    found.setdefault(f"{path}.{key}".lstrip("."), []).append(parameter)
    return found


def _within(value: Any, depth: int) -> Iterator[nn.Parameter]:
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif depth and isinstance(value, list | tuple | dict) and len(value) <= MOST:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _within(item, depth - 1)
