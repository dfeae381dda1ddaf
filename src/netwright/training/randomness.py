"""The global random generators: kept with a checkpoint, and given back to the user as they were."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """The state of the generators of Python, NumPy and PyTorch (and its devices), as plain values and tensors."""
    name, numbers, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - the user's code may use it
    version, internal, following = random.getstate()
    return {
        "python": [version, torch.tensor(internal), following],
        "numpy": [str(name), torch.tensor(np.asarray(numbers, np.int64)), int(position), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore(state: dict[str, Any]) -> None:
    version, internal, following = state["python"]
    random.setstate((version, tuple(map(int, internal)), following))
    name, numbers, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array([int(number) for number in numbers], np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002
    torch.manual_seed(number)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Whatever happens inside, the global generators are afterwards what they were."""
    state = capture()
    try:
        yield
    finally:
        restore(state)
