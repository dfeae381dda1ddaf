"""Which layers and functions of a network are called, as it runs: names, inputs, outputs.

Hooks are PyTorch's global ones and come and go as a pair, so nothing is ever fastened to the user's modules: they can
be pickled, copied and compiled at any time. Functions between the modules (`F.relu` in a ``forward``) are seen by a
``TorchFunctionMode`` that lasts from the begin to the end of the network's own forward.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from netwright.watching.behaviour import ACTIVATIONS, SAME_VALUES

INPUT = "input"
COMPILE_WARNING = "Using `torch.compile(module)` when there are global hooks on modules"


class Call(NamedTuple):
    """One call: ``again`` counts earlier ones of the same name in this forward; ``module`` is None for a function."""

    name: str
    kind: str
    module: nn.Module | None
    inputs: tuple[str, ...]
    output: Tensor
    given: Tensor | None
    again: int


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dicts, and in the fields of dataclasses (outputs of transformers)."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        for field in value.__dataclass_fields__:
            yield from tensors(getattr(value, field))


def unwrapped(network: Any) -> Any:
    """The network within the wrappers of `torch.compile`, DataParallel and DistributedDataParallel."""
    while True:
        if hasattr(network, "_orig_mod"):
            network = network._orig_mod
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        else:
            return network


def _mute(message: str) -> None:
    """PyTorch warns of global hooks when a compiled network is called; ours leave at that moment."""
    if not any(entry[1] is not None and entry[1].match(message) for entry in warnings.filters if entry[0] == "ignore"):
        warnings.filterwarnings("ignore", message=re.escape(message))


def _is_parametrization(name: str) -> bool:
    return name.split(".")[0] == "parametrizations"


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that count as layers, by name: those without children (what computes a parametrized weight belongs to
    its module), and those with parameters of their own. A network that is a single layer is named after its class."""
    found = {}
    for path, module in network.named_modules():
        if any(_is_parametrization(part) for part in path.split(".")):
            continue
        leaf = all(_is_parametrization(name) for name, _ in module.named_children())
        if leaf or next(iter(module._parameters), None) is not None:
            found[path or type(module).__name__] = module
    return found


def is_opaque(module: nn.Module) -> bool:
    """Whether functions inside of it are its own business: PyTorch's layers, and a user's without parameters."""
    leaf = all(_is_parametrization(name) for name, _ in module.named_children())
    own = next(iter(module._parameters), None) is not None
    return (leaf and not own) or (type(module).__module__.startswith("torch.nn") and (leaf or own))


class Calls:
    """Follows forwards of ``network`` while it is on; ``seen`` gets each call of a layer or an activation function.

    ``began`` is called with the arguments of the network's own forward, ``ended`` with its output (None after an
    error), ``other`` with every module that is not the network's, its arguments and output (a loss module).
    ``follow``: every function counts and inputs are named, for facts; otherwise activations alone. Forwards without
    gradients are not followed (they are no training steps) but for ``without_gradient``, which gets the mode.
    ``compiled``: the network is called in its compiled form; from then on this is off. ``failed`` gets what goes wrong
    here or in the callbacks, and this is off; without it errors are raised.
    """

    def __init__(
        self,
        network: nn.Module,
        seen: Callable[[Call], None],
        *,
        began: Callable[[tuple[Any, ...]], None] | None = None,
        ended: Callable[[Any], None] | None = None,
        other: Callable[[nn.Module, tuple[Any, ...], Any], None] | None = None,
        without_gradient: Callable[[bool], None] | None = None,
        compiled: Callable[[], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
        follow: bool = False,
        any_gradient_mode: bool = False,
    ) -> None:
        self.network, self.seen, self.began, self.ended, self.other = network, seen, began, ended, other
        self.without_gradient, self.follow, self.any_gradient_mode = without_gradient, follow, any_gradient_mode
        self.compiled, self.failed = compiled, failed
        self.names = {id(module): name for name, module in reversed(layers_of(network).items())}
        self._taken = set(self.names.values())
        self.paths = {id(module): path for path, module in network.named_modules()}
        self.opaque = {id(module) for module in layers_of(network).values() if is_opaque(module)}
        self.seconds = 0.0  # spent here and in the callbacks
        self._thread = threading.get_ident()
        self._handles: list[Any] = []
        self._mode = _Functions(self)
        self._running = False  # within the network's own forward
        self._inside = 0  # how deep within opaque layers
        self._stack: list[str] = []  # paths of the network's modules that run
        self._counts: Counter[str] = Counter()
        self._sources: Any = WeakIdKeyDictionary()

    def on(self) -> None:
        if not self._handles:
            self._thread = threading.get_ident()
            self._reset()
            _mute(COMPILE_WARNING)
            self._handles = [
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, always_call=True),
            ]

    def off(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._stop()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.on()
        try:
            yield
        finally:
            self.off()

    def _reset(self) -> None:
        self._inside = 0
        self._stack = []
        self._counts.clear()
        self._sources = WeakIdKeyDictionary()

    def _ignored(self) -> bool:
        # A backward pass that recomputes activations (checkpointing) calls modules again.
        return (
            threading.get_ident() != self._thread
            or torch._C._current_graph_task_id() != -1
            or not (self.any_gradient_mode or torch.is_grad_enabled())
        )

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        if torch.compiler.is_compiling():
            return
        try:
            with torch._C.DisableTorchFunction():  # what is done here is not the network's doing
                function(*arguments)
        except Exception as error:
            self.off()
            if self.failed is None:
                raise
            self.failed(error)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._guarded(self._entered, module, args)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._guarded(self._left, module, args, output)

    def _entered(self, module: nn.Module, args: Any) -> None:
        path = self.paths.get(id(module))
        if path is None:
            if id(module._modules.get("_orig_mod")) in self.paths:
                self.off()
                if self.compiled is not None:
                    self.compiled()
            return
        started = time.perf_counter()
        if self._ignored():
            if self.without_gradient is not None and module is self.network and not torch.is_grad_enabled():
                self.without_gradient(module.training)
            return
        if module is self.network and not self._running:
            self._reset()
            self._running = True
            for tensor in tensors(args):
                self._sources[tensor] = (INPUT,)
            if self.began is not None:
                self.began(args)
            if not self._handles:  # it was turned off
                return
            self._mode.__enter__()
        self._inside += id(module) in self.opaque
        self._stack.append(path)
        self.seconds += time.perf_counter() - started

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        path = self.paths.get(id(module))
        if path is None:
            if self.other is not None and not self._running and not self._ignored():
                started = time.perf_counter()
                self.other(module, args, output)
                self.seconds += time.perf_counter() - started
            return
        if self._ignored() or not self._stack or self._stack[-1] != path:
            return
        started = time.perf_counter()
        self._stack.pop()
        self._inside -= id(module) in self.opaque
        try:
            name = self.names.get(id(module))
            if name is not None and not self._inside and output is not None:
                self.call(name, type(module).__name__, module, args, output)
            if module is self.network and self._running:
                self._stop()
                if self.ended is not None:
                    self.ended(output)
        finally:
            self.seconds += time.perf_counter() - started

    def _stop(self) -> None:
        if self._running:
            self._running = False
            if torch.overrides._get_current_function_mode() is self._mode:
                self._mode.__exit__(None, None, None)

    def call(self, name: str, kind: str, module: nn.Module | None, args: Any, output: Any) -> None:
        made = next(tensors(output), None)
        if made is None:
            return
        again = self._counts[name]
        self._counts[name] += 1
        given = next(tensors(args), None)
        self.seen(Call(name, kind, module, self.sources(args) if self.follow else (), made, given, again))
        if self.follow:
            for tensor in tensors(output):
                self._sources[tensor] = (name,)

    def sources(self, args: Any) -> tuple[str, ...]:
        """The layers that made these tensors; () for what does not come from the network's input."""
        found: dict[str, None] = {}
        for tensor in tensors(args):
            found |= dict.fromkeys(self._sources.get(tensor, ()))
        return tuple(found)

    def function(self, function: Any, args: Any, kwargs: Any, output: Any) -> None:
        """A function that the network called itself; its name is the module that called, its own, and a number."""
        name = getattr(function, "__name__", "")
        short = name.strip("_") if name.startswith("__") else name.rstrip("_")
        kind = ACTIVATIONS.get(short)
        if kind is None and not self.follow:
            return
        given = (args, kwargs)
        if kind is None:
            sources = self.sources(given)
            if not sources or next(tensors(output), None) is None or name == "__get__":
                return
            if short in SAME_VALUES:
                for tensor in tensors(output):
                    self._sources[tensor] = sources
                return
        place = self._stack[-1] if self._stack else ""
        base = f"{place}.{short}" if place else short
        self._counts[f"function {base}"] += 1
        name = f"{base}_{self._counts[f'function {base}']}"
        self.call(name + "'" * (name in self._taken), kind or short, None, given, output)


class _Functions(TorchFunctionMode):
    """Hands functions on that are not called within an opaque layer; they themselves run as they are."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if not self.calls._inside and threading.get_ident() == self.calls._thread:
            started = time.perf_counter()
            self.calls._guarded(self.calls.function, function, args, kwargs or {}, output)
            self.calls.seconds += time.perf_counter() - started
        return output
