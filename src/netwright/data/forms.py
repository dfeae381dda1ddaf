"""The forms in which data are handed over in Python, and arrays from whatever can be one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netwright.data.examples import Array, Rows
from netwright.errors import DataError
from netwright.records import plural

TARGET_KEYS = ("label", "labels", "target", "targets", "y")


@dataclasses.dataclass(frozen=True)
class HandedArrays:
    inputs: tuple[Array, ...]
    targets: npt.NDArray[Any]
    names: tuple[str, ...] = ()
    rows: Rows | None = None


class HandedDataset(NamedTuple):
    dataset: Any


class HandedLoader(NamedTuple):
    loader: Any


def arrays_of(inputs: Any, targets: Any, where: str) -> HandedArrays:
    y = as_array(targets, f"{where}: y")
    names: tuple[str, ...] = ()
    if isinstance(inputs, Mapping):
        if not inputs:
            raise DataError(where, "no inputs", "at least one beside the targets")
        names, several = tuple(map(str, inputs)), list(inputs.values())
        return HandedArrays(tuple(as_array(item, f"{where}: {name}") for name, item in zip(names, several)), y, names)
    if isinstance(inputs, tuple) or _several(inputs, y):
        return HandedArrays(tuple(as_array(item, f"{where}: input {i}") for i, item in enumerate(inputs)), y)
    return HandedArrays((as_array(inputs, f"{where}: X"),), y)


def _several(inputs: Any, y: Array) -> bool:
    """Whether a list holds several inputs (each as long as y) rather than one example an item."""
    if not isinstance(inputs, list) or not inputs or y.ndim == 0 or len(inputs) == len(y):
        return False
    return all(hasattr(item, "shape") and len(item.shape) > 0 and len(item) == len(y) for item in inputs)


def as_array(value: Any, where: str) -> npt.NDArray[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        tensor = value.detach().to("cpu")
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(value, list | tuple) and any(isinstance(item, torch.Tensor) for item in value):
        value = [as_array(item, where) for item in value]
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(where, f"values that make no array ({error})", "examples of one shape") from error
    if array.dtype.kind == "O":
        raise DataError(
            where, "an array of Python objects", "numbers in examples of one shape", "numpy.asarray(..., float)"
        )
    return array


def tensors_of(dataset: Any, where: str) -> HandedArrays | None:
    """The arrays inside a ``TensorDataset``, or inside subsets of one, without touching single examples."""
    from torch.utils.data import Subset, TensorDataset

    rows: Rows | None = None
    while type(dataset) is Subset:
        indices = np.asarray(dataset.indices, np.int64)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset:
        return None
    if len(dataset.tensors) < 2:
        raise DataError(where, "a TensorDataset of one tensor", "inputs and targets", "TensorDataset(X, y)")
    *inputs, targets = dataset.tensors
    found = arrays_of(tuple(inputs), targets, where)
    return dataclasses.replace(found, rows=rows)


def target_key(raw: Mapping[Any, Any], where: str) -> Any:
    found = [key for key in raw if str(key).lower() in TARGET_KEYS]
    if len(found) != 1:
        keys = ", ".join(map(repr, raw))
        several = f"{plural(len(found), 'target')} among the keys {keys}"
        got = several if found else f"the keys {keys}, none of them a target"
        raise DataError(where, got, f"one of {keys_text()}")
    return found[0]


def keys_text() -> str:
    return ", ".join(map(repr, TARGET_KEYS))
