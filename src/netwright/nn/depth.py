"""A network's blocks from input to output: what freezing by depth and rates by depth count in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from torch import nn


@dataclasses.dataclass(frozen=True)
class Block:
    """``name`` is that of the first module with weights; ``modules`` belong together; ``own`` are parameters that
    lie beside the modules (a class token, positions)."""

    name: str
    modules: tuple[nn.Module, ...]
    own: tuple[nn.Parameter, ...] = ()

    def parameters(self) -> list[nn.Parameter]:
        """Each once."""
        found = [*self.own, *(p for module in self.modules for p in module.parameters())]
        return list({id(p): p for p in found}.values())


def blocks(network: nn.Module) -> list[Block]:
    """The blocks of ``network`` in the order in which its modules were made; none where it has no weights.

    The network itself, a module that merely wraps one other, and PyTorch's containers are opened; any other module
    with weights is a block, whatever is in it (a residual block, an encoder layer). A norm belongs to the block before
    it, what has no state (dropout, pooling) to the block behind it, where its output goes; parameters of an opened
    module to the block behind them.
    """
    groups: list[tuple[str, list[nn.Module], list[nn.Parameter]]] = []
    waiting: list[nn.Module] = []
    loose: list[nn.Parameter] = []
    for name, item in _pieces(network, ""):
        if isinstance(item, nn.Parameter):
            loose.append(item)
        elif any(p.ndim > 1 for p in item.parameters()):
            groups.append((name, [*waiting, item], loose))
            waiting, loose = [], []
        elif groups and (next(item.parameters(), None) is not None or next(item.buffers(), None) is not None):
            groups[-1][1].extend((*waiting, item))
            waiting = []
        else:
            waiting.append(item)
    if groups:
        groups[-1][1].extend(waiting)
        groups[-1][2].extend(loose)
    return [Block(name, tuple(modules), tuple(own)) for name, modules, own in groups]


def _pieces(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module | nn.Parameter]]:
    for parameter in module._parameters.values():
        if parameter is not None:
            yield prefix.rstrip("."), parameter
    children = [(name, child) for name, child in module.named_children()]
    heavy = [child for _, child in children if next(child.parameters(), None) is not None]
    for name, child in children:
        opened = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        wrapped = len(heavy) == 1 and child is heavy[0] and next(child.children(), None) is not None
        if opened or wrapped:
            yield from _pieces(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
