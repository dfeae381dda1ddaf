"""What a target is: what it lacks, how its file is written, how the file is run. No torch: a file runs without it."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from netwright.graph.structure import Graph

if TYPE_CHECKING:
    from netwright.export.package import Package

Array = npt.NDArray[np.generic]
Precision = Literal["float32", "fp16", "int8"]
# How pictures enter a file that has its preprocessing inside: bytes as a decoder leaves them, or planes 0…255 as
# ``float32`` where the runtime has no other input.
Pixels = Literal["uint8 NHWC", "float NCHW"]


class Lack(NamedTuple):
    """An operator that a target does not have: ``layer`` and ``kind`` as the graph has them."""

    layer: str
    kind: str
    reason: str


class Session(Protocol):
    """A file, opened in its runtime."""

    def run(self, *inputs: Array) -> Array:
        """Outputs (N, …) of a batch; a runtime without batches takes them one by one."""

    def intermediates(self, *inputs: Array) -> list[Array]:
        """Every result in between for one example, in the file's order."""

    def operators(self, *inputs: Array) -> dict[str, float]:
        """Milliseconds of each operator of the file, where the runtime tells them; {} where it does not."""


@dataclasses.dataclass(frozen=True)
class Target:
    """``write(package, folder)`` puts its files into an existing folder and returns the main one.

    ``extra``: what has to be installed, and ``modules`` what shows that it is. ``runtime``: its name in a latency.
    """

    name: str
    runtime: str
    extra: str
    modules: tuple[str, ...]
    precisions: tuple[Precision, ...]
    pixels: Pixels
    lacking: Callable[[Graph], list[Lack]]
    write: Callable[[Package, Path], Path]
    open: Callable[[Path, int], Session]
    library_bytes: Callable[[], int]  # of the runtime itself, as it is installed here
    snippet: Callable[[Package, str], tuple[str, str]]  # file name and text of a program that loads it


def as_alone(together: Array, one: Callable[..., Array], inputs: Sequence[Array]) -> bool:
    """Whether what a file said of several examples at once, (N, …), is what it says of each.

    A file that was written with one example may answer many without an error, and wrongly: a slice or an index that
    became a constant takes the first of them, and a sum gives that to all others.
    """
    rows = [one(*(each[row : row + 1] for each in inputs)) for row in range(len(inputs[0]))]
    expected = np.concatenate(rows)
    near = 1e-4 * max(1.0, float(np.abs(expected).max(initial=0.0, where=np.isfinite(expected))))
    return together.shape == expected.shape and np.allclose(together, expected, rtol=0, atol=near, equal_nan=True)


def unknown(graph: Graph, missing: dict[str, str]) -> list[Lack]:
    """The operations of a graph that ``missing`` (kind → reason) names, and those that could not be followed."""
    found = [Lack(each.name, each.kind, missing[each.kind]) for each in graph.operations if each.kind in missing]
    return found + [Lack(each.name, each.kind, "it could not be followed") for each in graph.unfollowed()]


def package_folder(module: str) -> Path:
    """Where an installed package lies."""
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
