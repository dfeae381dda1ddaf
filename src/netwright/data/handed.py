"""Data that is already in Python: arrays, tensors, a ``Dataset`` or a ``DataLoader``.

Arrays and tensors (also those inside a ``TensorDataset``, or a ``Subset`` of one) become ``Examples`` and take the same
way as every source. A ``Dataset`` of another kind and a ``DataLoader`` become a ``BatchSource``: their examples are
seen one batch at a time, as they come.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from netwright.data.arrays import Targets, input_from_array, targets_from_array
from netwright.data.batch_sources import BatchSource, DatasetBatches, LoaderBatches, form_text
from netwright.data.examples import Array, Examples, Part, Task
from netwright.data.forms import HandedArrays, HandedDataset, HandedLoader, arrays_of, as_array, target_key, tensors_of
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, Preprocess
from netwright.recipe.schema import Data
from netwright.records import plural

BATCH_SIZE = 64  # of a Dataset until ``configured`` says otherwise
FORMS = "(X, y), a Dataset or a DataLoader"


def from_python(
    train: Any,
    validation: Any = None,
    test: Any = None,
    options: Data | None = None,
    *,
    targets_as_given: bool = False,
) -> Examples | BatchSource:
    """The examples that were handed over, unsplit.

    Each of the three is ``(X, y)``, a ``Dataset`` or a ``DataLoader``. X is an array, tensor or list of examples, a
    tuple or list of such for a network with several inputs, or a dict for one that takes them by keyword; a dict that
    also holds the targets (under ``label``, ``labels``, ``target``, ``targets`` or ``y``) needs no y.

    ``uint8`` pictures become planes in 0…1; floats are taken as they are; integers and booleans stay so. Non-negative
    integer labels keep their value: output i of the network is label i.

    ``targets_as_given``: keep shape and meaning of y, for a loss of the user's own (one-hot rows stay rows, (N,) stays
    (N,)); only the type becomes ``float32`` or ``int64``.
    """
    options = Data() if options is None else options
    handed = {"train": train, "validation": validation, "test": test}
    forms = {name: _form(value, name) for name, value in handed.items() if value is not None}
    if "train" not in forms:
        raise DataError("train", "nothing", FORMS)
    if isinstance(forms["train"], HandedArrays):
        arrays = {
            name: form if isinstance(form, HandedArrays) else _collected(form, name) for name, form in forms.items()
        }
        return _examples(arrays, options, targets_as_given)
    return _batch_source(forms, options)


def _form(value: Any, where: str) -> HandedArrays | HandedDataset | HandedLoader:
    import torch
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    if isinstance(value, DataLoader):
        return HandedLoader(value)
    if isinstance(value, IterableDataset):
        raise DataError(
            where, f"an {type(value).__name__} (an iterable dataset)", FORMS, "DataLoader(dataset, batch_size)"
        )
    if isinstance(value, Dataset):
        return tensors_of(value, where) or HandedDataset(value)
    if isinstance(value, Mapping):
        key = target_key(value, where)
        inputs = {name: item for name, item in value.items() if name != key}
        return arrays_of(inputs, value[key], where)
    if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) >= 2 for item in value):
        return _collected(HandedDataset(value), where)
    if isinstance(value, tuple | list):
        if len(value) < 2:
            raise DataError(where, f"a {type(value).__name__} of {len(value)}", "(X, y)")
        return arrays_of(value[0] if len(value) == 2 else tuple(value[:-1]), value[-1], where)
    if isinstance(value, str | bytes | torch.Tensor) or hasattr(value, "__array__"):
        raise DataError(where, f"a {type(value).__name__}", FORMS, "(X, y) with the targets")
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        return HandedDataset(value)
    if hasattr(value, "__len__") and hasattr(value, "__iter__"):
        return HandedLoader(value)
    raise DataError(where, f"a {type(value).__name__}", FORMS)


def _collected(form: HandedDataset | HandedLoader, where: str) -> HandedArrays:
    """Everything of a Dataset or DataLoader in memory, beside training data that is in memory too."""
    source = _source(form, where, Data(), shuffle=False)
    batches = list(source.epoch(0))
    if len({len(batch.inputs) for batch in batches}) != 1:
        raise DataError(where, "batches with different numbers of inputs", "one form of batches")
    try:
        inputs = tuple(
            np.concatenate([as_array(part, where) for part in parts]) for parts in zip(*(b.inputs for b in batches))
        )
        targets = np.concatenate([as_array(batch.targets, where) for batch in batches])
    except ValueError as error:
        raise DataError(where, f"examples of different shapes ({error})", "examples of one shape") from error
    return HandedArrays(inputs, targets, batches[0].names)


# ------------------------------------------------------------------------------------------------ arrays


def _examples(arrays: dict[str, HandedArrays], options: Data, as_given: bool) -> Examples:
    first = arrays["train"]
    given = [input_from_array(x, options, f"train: {_input_name(first, i)}", True) for i, x in enumerate(first.inputs)]
    described: Examples | None = None
    parts: dict[str, Part] = {}
    classes: tuple[str, ...] = ()
    for name, one in arrays.items():
        if one.names != first.names or len(one.inputs) != len(first.inputs):
            raise DataError(name, f"inputs {_inputs_text(one)}", f"{_inputs_text(first)} as in train")
        _same_length(one, name)
        raws = [
            given[i].raw
            if one is first
            else _as_in_training(x, given[i].record, options, f"{name}: {_input_name(one, i)}")
            for i, x in enumerate(one.inputs)
        ]
        targets = _targets(one.targets, options, f"{name}: y", described, as_given)
        classes = max(classes, targets.classes, key=len)
        parts[name] = Part(tuple(raws), targets.values, one.rows)
        if described is None:
            described = Examples(
                kind=given[0].kind, task=targets.task, parts=parts, preprocess=tuple(item.record for item in given),
                classes=targets.classes, targets=targets.names, input_names=first.names,
            )  # fmt: skip
    assert described is not None
    return dataclasses.replace(described, parts=parts, classes=classes)


def _targets(y: npt.NDArray[Any], options: Data, where: str, like: Examples | None, as_given: bool) -> Targets:
    if not as_given:
        return targets_from_array(y, options.task, where, like, keep_integers=True)
    if y.dtype.kind not in "biuf":
        raise DataError(where, f"targets of type {y.dtype}", "numbers for a loss of your own")
    kept = y.astype(np.float32 if y.dtype.kind == "f" else np.int64, copy=False)
    if y.ndim > 2:  # a picture or a sequence an example: only the loss knows what it means
        task: Task = (
            options.task if options.task != "auto" else "regression" if y.dtype.kind == "f" else "classification"
        )
        return Targets(kept, task, (), ())
    try:
        meaning = targets_from_array(y, options.task, where, like, keep_integers=True)
    except DataError:
        if options.task != "auto" or like is not None:
            raise
        meaning = targets_from_array(y, "regression", where)
    return meaning._replace(values=kept)


def _as_in_training(x: Array, record: Preprocess, options: Data, where: str) -> Array:
    given = input_from_array(x, options, where, True)
    floats = isinstance(record, ArrayPreprocess) and record.scale is not None and record.dtype != "uint8"
    if floats and given.raw.dtype != np.float32 and x.shape[1:] == record.shape:  # type: ignore[union-attr]
        return np.ascontiguousarray(x, np.float32)
    same = type(given.record) is type(record)
    if same and isinstance(record, ArrayPreprocess) and isinstance(given.record, ArrayPreprocess):
        same = given.record.shape == record.shape and (given.record.scale is None) == (record.scale is None)
    elif same:
        same = given.record == record
    if not same:
        raise DataError(
            where, f"{x.dtype} of shape {x.shape[1:]}", f"the type and shape of train ({_expected(record)})"
        )
    return given.raw


def _expected(record: Preprocess) -> str:
    if isinstance(record, ArrayPreprocess):
        return f"{record.dtype} of shape {record.shape}"
    return "uint8 pictures of the same size and planes"


def _same_length(one: HandedArrays, where: str) -> None:
    if one.targets.ndim == 0 or len(one.targets) == 0:
        raise DataError(f"{where}: y", f"targets of shape {one.targets.shape}", "one an example")
    for i, x in enumerate(one.inputs):
        if x.ndim == 0 or len(x) != len(one.targets):
            count = len(x) if x.ndim else 0
            raise DataError(
                f"{where}: {_input_name(one, i)}", plural(count, "example"), f"{len(one.targets)}, as there are targets"
            )
    if one.rows is not None and len(one.rows) == 0:
        raise DataError(where, "an empty subset", "at least one example")


def _input_name(one: HandedArrays, position: int) -> str:
    return one.names[position] if one.names else "X" if len(one.inputs) == 1 else f"input {position}"


def _inputs_text(one: HandedArrays) -> str:
    return ", ".join(one.names) if one.names else str(len(one.inputs))


def _batch_source(forms: dict[str, HandedArrays | HandedDataset | HandedLoader], options: Data) -> BatchSource:
    for key, default in (("limit", 0), ("channels", "auto"), ("size", "auto")):
        if getattr(options, key) != default:
            raise DataError(
                f"data.{key}", str(getattr(options, key)), "arrays; a Dataset or DataLoader is taken as it is"
            )
    if options.normalize is True:
        raise DataError("data.normalize", "true", "arrays; a Dataset or DataLoader is taken as it is", "a transform")
    forms = _held_out(forms, options)
    source = _source(forms["train"], "train", options, shuffle=True)
    for name in ("validation", "test"):
        if name in forms:
            other = _source(forms[name], name, options, shuffle=False)
            if other.first.names != source.first.names or len(other.first.inputs) != len(source.first.inputs):
                raise DataError(name, f"batches of {form_text(other.first)}", f"{form_text(source.first)} as in train")
            setattr(source, name, other)
    _ = source.task  # batches of a form that cannot be trained on stop here
    return source


def _held_out(forms: dict[str, HandedArrays | HandedDataset | HandedLoader], options: Data) -> dict[str, Any]:
    """Shares of a Dataset that the recipe holds out, by a permutation that ``data.split_seed`` alone decides."""
    shares = {name: getattr(options, name) for name in ("test", "validation") if name not in forms}
    asked = {name: share for name, share in shares.items() if not isinstance(share, str) and share > 0}
    if not asked:
        return forms
    train = forms["train"]
    if not isinstance(train, HandedDataset):
        name = next(iter(asked))
        raise DataError(
            f"data.{name}", f"{asked[name]} of a DataLoader", f"a {name} DataLoader beside it", f"data.{name}=0"
        )
    from torch.utils.data import Subset

    from netwright.data.loading import permutation

    rows = permutation(len(train.dataset), options.split_seed, 0).tolist()
    result: dict[str, Any] = dict(forms)
    for name, share in asked.items():
        count = round(share * len(rows))
        if count == 0 or count == len(rows):
            got = f"{share} of {plural(len(rows), 'example')}"
            raise DataError(f"data.{name}", got, "a share that leaves both parts some")
        result[name] = HandedDataset(Subset(train.dataset, sorted(rows[:count])))
        rows = rows[count:]
    result["train"] = HandedDataset(Subset(train.dataset, sorted(rows)))
    return result


def _source(form: HandedArrays | HandedDataset | HandedLoader, where: str, options: Data, shuffle: bool) -> BatchSource:
    if isinstance(form, HandedLoader):
        return LoaderBatches(form.loader, where=where, task=options.task)
    dataset = form.dataset if isinstance(form, HandedDataset) else _ArrayDataset(form)
    return DatasetBatches(dataset, BATCH_SIZE, options.split_seed, shuffle, where=where, task=options.task)


class _ArrayDataset:
    """Arrays as a map-style dataset, for a held-out part beside a Dataset or DataLoader."""

    def __init__(self, arrays: HandedArrays) -> None:
        _same_length(arrays, "validation")
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self._arrays.targets if self._arrays.rows is None else self._arrays.rows)

    def __getitem__(self, position: int) -> Any:
        row = position if self._arrays.rows is None else int(self._arrays.rows[position])
        target = np.asarray(self._arrays.targets[row])
        inputs = [np.asarray(x[row]) for x in self._arrays.inputs]
        if self._arrays.names:
            return {**dict(zip(self._arrays.names, inputs)), "target": target}
        return (*inputs, target)
