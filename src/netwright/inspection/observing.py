"""A network is run as it is and watched: every call that reaches PyTorch, and the network left as it was found.

The calls are seen by a ``TorchFunctionMode`` and the modules by PyTorch's global hooks, which come and go with the
``with`` block: nothing is ever registered on the network itself. Names are those of the graph.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from netwright.errors import NetworkError, NetwrightError
from netwright.graph import operations as table


class Call(NamedTuple):
    """One call that made tensors from the network's input; ``number`` counts them in the order of execution."""

    number: int
    kind: str
    attributes: dict[str, Any]
    inputs: list[Tensor]  # those that come from the network's input
    outputs: list[Tensor]


Replace = Callable[[str, dict[str, Any], Callable[..., Any], Sequence[Any], dict[str, Any], Any], Any]


class Calls(TorchFunctionMode):
    """Hands each call that is fed by the input to ``seen``; ``replace`` may give another result for it.

    ``replace(kind, attributes, function, args, kwargs, result)`` returns the result to go on with. A call that writes
    in place is seen like any other: who wants to keep an output copies it.
    """

    def __init__(
        self, network: nn.Module, fed: Sequence[Tensor], seen: Callable[[Call], None], replace: Replace | None = None
    ) -> None:
        super().__init__()
        self.paths = {id(module): path for path, module in network.named_modules()}
        self.leaves = {path for path, module in network.named_modules() if next(module.children(), None) is None}
        self.seen, self.replace = seen, replace
        self.fed: Any = WeakIdKeyDictionary()
        for tensor in fed:
            self.fed[tensor] = True
        self.stack: list[tuple[str, int]] = [("", 1)]
        self.times: Counter[str] = Counter()
        self.drafts: list[tuple[str, int, str, bool]] = []  # path, which call of it, kind, reads parameters
        self._handles: list[Any] = []

    def __enter__(self) -> Calls:
        thread = threading.get_ident()

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == thread:
                path = self.paths.get(id(module), self.stack[-1][0])
                self.times[path] += id(module) in self.paths
                self.stack.append((path, self.times[path]))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() == thread and len(self.stack) > 1:
                self.stack.pop()

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
        self._handles = handles
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self._handles:
            handle.remove()
        super().__exit__(*error)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(tensors([args, kwargs]))
        fed = [tensor for tensor in given if tensor in self.fed]
        result = function(*args, **kwargs)
        outputs = [tensor for tensor in tensors(result) if isinstance(tensor, Tensor)]
        if not fed or not outputs:
            return result
        name, _ = table.canonical(function)
        try:
            kind, attributes, _ = table.describe(function, name, args, kwargs, outputs)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration):
            kind, attributes = name, {}
        if self.replace is not None:
            result = self.replace(kind, attributes, function, args, kwargs, result)
            outputs = [tensor for tensor in tensors(result) if isinstance(tensor, Tensor)]
        for tensor in outputs:
            self.fed[tensor] = True
        path, time = self.stack[-1]
        self.drafts.append((path, time, kind, any(isinstance(tensor, nn.Parameter) for tensor in given)))
        self.seen(Call(len(self.drafts) - 1, kind, attributes, fed, outputs))
        return result

    def names(self) -> list[str]:
        """Each call's name: a layer's main call has the layer's (``conv1``, ``conv1#2`` when it is called again),
        others are numbered by kind within their module (``layer1.0.add_1``)."""
        layers: dict[tuple[str, int], list[int]] = {}
        for number, (path, time, _, _) in enumerate(self.drafts):
            if path in self.leaves:
                layers.setdefault((path, time), []).append(number)
        main = {
            next((number for number in reversed(numbers) if self.drafts[number][3]), numbers[-1])
            for numbers in layers.values()
        }
        counts: Counter[str] = Counter()
        found = []
        for number, (path, time, kind, _) in enumerate(self.drafts):
            if number in main:
                found.append((path or kind) + (f"#{time}" if time > 1 else ""))
            else:
                base = f"{path}.{kind}" if path else kind
                counts[base] += 1
                found.append(f"{base}_{counts[base]}")
        return found


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif hasattr(value, "__dataclass_fields__"):
        for field in value.__dataclass_fields__:
            yield from tensors(getattr(value, field))


@contextlib.contextmanager
def left_as_found(network: nn.Module, *, training: bool = False) -> Iterator[None]:
    """The network in evaluation (or training) within the block; afterwards the modes of all modules, the values of
    its buffers and the random state are what they were, also after an error."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    generator = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    try:
        for module, _ in modes:
            module.training = training
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
        torch.set_rng_state(generator)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def saying_where(network: nn.Module) -> Iterator[None]:
    """What goes wrong inside of the network, as an error of ours that names it."""
    try:
        yield
    except (NetwrightError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise NetworkError(
            type(network).__name__, f"{type(error).__name__}: {first}", "an input that it runs on", "another --input"
        ) from error


def place_of(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating type of the network's first floating parameter or buffer."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()


def picture_of(values: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) of any numbers → ``uint8``, smallest 0 and largest 255; a constant map is middle grey.

    What is not finite counts as zero.
    """
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    if high <= low:
        return np.full(values.shape, 128, np.uint8)
    return np.rint((finite - low) / (high - low) * 255).astype(np.uint8)


def grid_of(tiles: Sequence[np.ndarray], *, columns: int = 0, zoom: int = 0, gap: int = 1) -> np.ndarray:
    """Tiles (``uint8``, all (H, W) or all (H, W, 3)) as one picture on white; ``zoom`` repeats small tiles' pixels.

    Left at 0, ``columns`` makes the picture about square and ``zoom`` a tile at least 24 pixels high.
    """
    height, width = tiles[0].shape[:2]
    zoom = zoom or max(1, -(-24 // max(height, 1)))
    columns = columns or max(1, round(float(np.sqrt(len(tiles) * height / width))))
    rows = -(-len(tiles) // columns)
    high, wide = height * zoom + gap, width * zoom + gap
    picture = np.full((rows * high + gap, columns * wide + gap, *tiles[0].shape[2:]), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = gap + number // columns * high, gap + number % columns * wide
        enlarged = tile.repeat(zoom, 0).repeat(zoom, 1)
        picture[top : top + height * zoom, left : left + width * zoom] = enlarged
    return picture
