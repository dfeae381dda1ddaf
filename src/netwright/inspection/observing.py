"""A network is run as it is and watched: every call that reaches PyTorch is seen by a ``TorchFunctionMode``.

Names are those of the graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from netwright.errors import NetworkError, NetwrightError
from netwright.graph import operations as table
from netwright.graph.following import Modules, Named, names_of, tensors
from netwright.graph.opened import opened


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
    in place is seen like any other: who wants to keep an output copies it. Calls are seen ``with calls.watching()``.
    """

    def __init__(
        self, network: nn.Module, fed: Sequence[Tensor], seen: Callable[[Call], None], replace: Replace | None = None
    ) -> None:
        super().__init__()
        self.modules = Modules(network)
        self.seen, self.replace = seen, replace
        self.fed: Any = WeakIdKeyDictionary()
        for tensor in fed:
            self.fed[tensor] = True
        self.drafts: list[Named] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        with self.modules.followed(), self:
            yield

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inside = opened(function)
        if inside is not None:
            with self:
                return inside(*args, **kwargs)
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
        weighted = any(isinstance(tensor, nn.Parameter) for tensor in given)
        self.drafts.append(Named(self.modules.place, kind, weighted))
        self.seen(Call(len(self.drafts) - 1, kind, attributes, fed, outputs))
        return result

    def names(self) -> list[str]:
        """Each call's name, as in the graph."""
        return names_of(self.drafts, self.modules.leaves)


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
