"""What a user handed over as data: arrays for the audit, tensors for a batch; nothing of it is consumed."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from netwright.data.forms import HandedArrays, as_array, tensors_of

Array = npt.NDArray[Any]

FETCHED = 2000  # examples that are asked of a Dataset of another kind, one by one
FETCH_SECONDS = 2.0


class UnseenError(Exception):
    """Data of a form that cannot be looked at without consuming it, or that is no pair; the text says which."""


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """``inputs`` and ``targets``: (N, …) as given, tensors or arrays; of a Dataset the examples that were fetched.

    ``examples``: how many there are in all.
    """

    inputs: Any
    targets: Any
    examples: int

    def arrays(self) -> tuple[Array, Array]:
        return as_array(self.inputs, "inputs"), as_array(self.targets, "targets")

    def batch(self, size: int, network: nn.Module) -> tuple[Tensor, Tensor]:
        """``size`` examples drawn evenly, on the network's device; arrays of floats in its type."""
        count = len(self.inputs)
        rows = np.unique(np.linspace(0, count - 1, min(size, count)).astype(np.int64))
        return _rows(self.inputs, rows, network), _rows(self.targets, rows, network)


def open_data(data: Any) -> Given:
    """(inputs, targets), a Dataset, or a DataLoader with one behind it; raises `UnseenError` for anything else."""
    if isinstance(data, DataLoader):
        return open_data(data.dataset)
    if isinstance(data, IterableDataset):
        raise UnseenError(f"a {type(data).__name__} can be read only once")
    if isinstance(data, Dataset):
        return _of_dataset(data)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UnseenError(f"a {type(data).__name__} is no pair (inputs, targets)")
    inputs, targets = data
    if not _shaped(inputs) or not _shaped(targets):
        inputs, targets = (value if _shaped(value) else as_array(value, "data") for value in data)
    if not len(inputs.shape) or not len(targets.shape) or not len(inputs) or len(inputs) != len(targets):
        raise UnseenError(f"inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)} are not one of each")
    return Given(inputs, targets, len(inputs))


def _shaped(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _of_dataset(dataset: Any) -> Given:
    handed = tensors_of(dataset, "data")
    if isinstance(handed, HandedArrays) and len(handed.inputs) == 1:
        inputs, targets = handed.inputs[0], handed.targets
        if handed.rows is not None:
            inputs, targets = inputs[handed.rows], targets[handed.rows]
        return Given(inputs, targets, len(inputs))
    count, stop = len(dataset), time.monotonic() + FETCH_SECONDS
    fetched: list[tuple[Array, Array]] = []
    for row in np.unique(np.linspace(0, count - 1, min(count, FETCHED)).astype(np.int64)):
        item = dataset[int(row)]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UnseenError(f"examples of a {type(dataset).__name__} are no pairs (input, target)")
        fetched.append((as_array(item[0], "inputs"), as_array(item[1], "targets")))
        if time.monotonic() > stop:
            break
    if len({(x.shape, y.shape) for x, y in fetched}) != 1:
        raise UnseenError(f"examples of a {type(dataset).__name__} have different shapes")
    return Given(np.stack([x for x, _ in fetched]), np.stack([y for _, y in fetched]), count)


def _rows(values: Any, rows: Array, network: nn.Module) -> Tensor:
    place = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(0))
    if isinstance(values, Tensor):
        return values.detach()[torch.as_tensor(rows, device=values.device)].to(place.device)
    taken = torch.as_tensor(np.ascontiguousarray(np.asarray(values)[rows]), device=place.device)
    return taken.to(place.dtype) if taken.is_floating_point() else taken
