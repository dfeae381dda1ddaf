"""What everybody needs who watches a network run: the state it is left in, the module that runs, the names of calls.

Nothing is ever registered on the network itself: modules are followed by PyTorch's global hooks, which come and go with
the ``with`` block.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, in order; dataclass-like outputs by their fields."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        for field in value.__dataclass_fields__:
            yield from tensors(getattr(value, field))


@contextlib.contextmanager
def left_as_found(network: nn.Module, *, training: bool | None = None, buffers: bool = False) -> Iterator[None]:
    """Afterwards every attribute of every module and the random state are what they were, also after an error.

    ``training``: the mode of all modules within the block, None leaves each its own. ``buffers``: their values are put
    back too, which takes a copy of them. Within the block attention is computed by its parts, where PyTorch's fast path
    would hide them in one opaque call, and nobody is warned: this is no run of the user's.
    """
    kept: list[tuple[Any, Any]] = []  # (container, shallow copy)
    for module in network.modules():
        kept.append((module.__dict__, dict(module.__dict__)))
        containers = (value for value in module.__dict__.values() if isinstance(value, dict | list | set))
        kept.extend((container, container.copy()) for container in containers)
    values = [(buffer, buffer.detach().clone()) for buffer in network.buffers()] if buffers else []
    with _random_state(), _attention_by_parts(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if training is not None:
                for module in network.modules():
                    module.__dict__["training"] = training
            yield
        finally:
            for container, content in kept:
                if isinstance(container, list):
                    container[:] = content
                elif container != content if isinstance(container, set) else True:
                    container.clear()
                    container.update(content)
            with torch.no_grad():
                for buffer, value in values:
                    if not torch.equal(buffer, value):
                        buffer.copy_(value)


@contextlib.contextmanager
def _random_state() -> Iterator[None]:
    python, generator = random.getstate(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    numpy = sys.modules.get("numpy.random")
    numpy_state = numpy.get_state() if numpy is not None else None
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(generator)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if numpy is not None and numpy_state is not None:
            numpy.set_state(numpy_state)


@contextlib.contextmanager
def _attention_by_parts() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Place(NamedTuple):
    """The path of a module, and which call of it."""

    module: str
    call: int


class Modules:
    """Which module of ``network`` runs in this thread, while ``followed`` lasts.

    A module that does not belong to the network counts as the one that calls it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.paths = {id(module): path for path, module in network.named_modules()}
        # PyTorch's own layers, and a user's modules without children: the main call of each takes its name.
        self.leaves = {path for path, module in network.named_modules() if next(module.children(), None) is None}
        self.stack = [Place("", 1)]
        self._calls: Counter[str] = Counter()

    @property
    def place(self) -> Place:
        return self.stack[-1]

    @contextlib.contextmanager
    def followed(
        self, entered: Callable[[Any], None] = lambda args: None, left: Callable[[str, Any], None] = lambda *_: None
    ) -> Iterator[None]:
        """``entered`` is called with a module's arguments when ``place`` is this module, ``left`` with its path and
        its output (None after an error) when ``place`` is its caller again."""
        thread = threading.get_ident()

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == thread:
                path = self.paths.get(id(module), self.place.module)
                self._calls[path] += id(module) in self.paths
                self.stack.append(Place(path, self._calls[path]))
                entered(args)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() == thread and len(self.stack) > 1:
                left(self.stack.pop().module, output)

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class Named(NamedTuple):
    """A call that is to have a name; ``weighted`` says whether it reads parameters."""

    place: Place
    kind: str
    weighted: bool


def names_of(calls: Sequence[Named], leaves: set[str], taken: set[str] | None = None) -> list[str]:
    """One name a call, none of them ``taken`` or given twice.

    A layer's main call, the last that reads parameters, has the layer's name (``conv1``, ``conv1#2`` when the layer is
    called again); others are numbered by kind within their module (``layer1.0.add_1``).
    """
    layers: dict[Place, list[int]] = {}
    for number, (place, _, _) in enumerate(calls):
        if place.module in leaves:
            layers.setdefault(place, []).append(number)
    main = {
        next((number for number in reversed(numbers) if calls[number].weighted), numbers[-1])
        for numbers in layers.values()
    }
    names, counts, used = [], Counter[str](), set(taken or ())
    for number, ((path, call), kind, _) in enumerate(calls):
        if number in main:
            name = (path or kind) + (f"#{call}" if call > 1 else "")
        else:
            base = f"{path}.{kind}" if path else kind
            counts[base] += 1
            name = f"{base}_{counts[base]}"
        while name in used:
            name += "'"
        used.add(name)
        names.append(name)
    return names
