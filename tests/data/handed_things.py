"""Arrays and datasets such as a user hands over, for the tests of what becomes of them."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from netwright.data.batch_sources import BatchSource
from netwright.data.examples import Examples
from netwright.data.handed import from_python

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 4
PICTURES = RANDOM.integers(0, 256, (20, 8, 8), dtype=np.uint8)


def examples(*handed: Any, **more: Any) -> Examples:
    given = from_python(*handed, **more)
    assert isinstance(given, Examples)
    return given


def source(*handed: Any, **more: Any) -> BatchSource:
    given = from_python(*handed, **more)
    assert isinstance(given, BatchSource)
    return given


class Pairs(Dataset[Any]):
    """A map-style dataset of the user's own; it remembers what was loaded."""

    def __init__(self, count: int = 20, noise: Callable[[], float] | None = None) -> None:
        self.count, self.noise, self.loaded = count, noise, list[int]()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        self.loaded.append(position)
        more = self.noise() if self.noise else 0.0
        return torch.full((3,), position + more), position % 4


class Keyed(Pairs):
    def __getitem__(self, position: int) -> Any:
        x, y = super().__getitem__(position)
        return {"ids": position, "values": x, "label": y}


def states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index, union-attr] # noqa: NPY002
