"""Whatever is done inside, the user's training does not notice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from netwright.training.randomness import kept


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The global random generators, the gradient mode and autocast are afterwards what they were."""
    with kept(), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        yield
