"""Data that is already in Python: arrays, tensors, a ``Dataset`` or a ``DataLoader``.

Arrays and tensors (also those inside a ``TensorDataset``, or a ``Subset`` of one) become ``Examples`` and take the same
way as every source. A ``Dataset`` of another kind and a ``DataLoader`` become a ``BatchSource``: their examples are
seen one batch at a time, as they come.
"""

from __future__ import annotations

import abc
import contextlib
import copy
import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from netwright.data.arrays import Targets, input_from_array, targets_from_array
from netwright.data.examples import Array, Examples, Part, Rows, Task
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, Preprocess
from netwright.recipe.schema import Data

if TYPE_CHECKING:
    import torch

    from netwright.data.loading import Batch

TARGET_KEYS = ("label", "labels", "target", "targets", "y")
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
    if isinstance(forms["train"], _Arrays):
        arrays = {name: form if isinstance(form, _Arrays) else _collected(form, name) for name, form in forms.items()}
        return _examples(arrays, options, targets_as_given)
    return _batch_source(forms, options)


# ------------------------------------------------------------------------------------------------ what was handed


@dataclasses.dataclass(frozen=True)
class _Arrays:
    inputs: tuple[Array, ...]
    targets: npt.NDArray[Any]
    names: tuple[str, ...] = ()
    rows: Rows | None = None


class _Dataset(NamedTuple):
    dataset: Any


class _Loader(NamedTuple):
    loader: Any


def _form(value: Any, where: str) -> _Arrays | _Dataset | _Loader:
    import torch
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    if isinstance(value, DataLoader):
        return _Loader(value)
    if isinstance(value, IterableDataset):
        raise DataError(
            where, f"an {type(value).__name__} (an iterable dataset)", FORMS, "DataLoader(dataset, batch_size)"
        )
    if isinstance(value, Dataset):
        return _tensors_of(value, where) or _Dataset(value)
    if isinstance(value, Mapping):
        key = _target_key(value, where)
        inputs = {name: item for name, item in value.items() if name != key}
        return _arrays(inputs, value[key], where)
    if isinstance(value, list) and value and all(isinstance(item, tuple) and len(item) >= 2 for item in value):
        return _collected(_Dataset(value), where)
    if isinstance(value, tuple | list):
        if len(value) < 2:
            raise DataError(where, f"a {type(value).__name__} of {len(value)}", "(X, y)")
        return _arrays(value[0] if len(value) == 2 else tuple(value[:-1]), value[-1], where)
    if isinstance(value, str | bytes | torch.Tensor) or hasattr(value, "__array__"):
        raise DataError(where, f"a {type(value).__name__}", FORMS, "(X, y) with the targets")
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        return _Dataset(value)
    if hasattr(value, "__len__") and hasattr(value, "__iter__"):
        return _Loader(value)
    raise DataError(where, f"a {type(value).__name__}", FORMS)


def _arrays(inputs: Any, targets: Any, where: str) -> _Arrays:
    y = _array(targets, f"{where}: y")
    names: tuple[str, ...] = ()
    if isinstance(inputs, Mapping):
        if not inputs:
            raise DataError(where, "no inputs", "at least one beside the targets")
        names, several = tuple(map(str, inputs)), list(inputs.values())
        return _Arrays(tuple(_array(item, f"{where}: {name}") for name, item in zip(names, several)), y, names)
    if isinstance(inputs, tuple) or _several(inputs, y):
        return _Arrays(tuple(_array(item, f"{where}: input {i}") for i, item in enumerate(inputs)), y)
    return _Arrays((_array(inputs, f"{where}: X"),), y)


def _several(inputs: Any, y: Array) -> bool:
    """Whether a list holds several inputs (each as long as y) rather than one example an item."""
    if not isinstance(inputs, list) or not inputs or y.ndim == 0 or len(inputs) == len(y):
        return False
    return all(hasattr(item, "shape") and len(item.shape) > 0 and len(item) == len(y) for item in inputs)


def _array(value: Any, where: str) -> npt.NDArray[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        tensor = value.detach().to("cpu")
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(value, list | tuple) and any(isinstance(item, torch.Tensor) for item in value):
        value = [_array(item, where) for item in value]
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(where, f"values that make no array ({error})", "examples of one shape") from error
    if array.dtype.kind == "O":
        raise DataError(
            where, "an array of Python objects", "numbers in examples of one shape", "numpy.asarray(..., float)"
        )
    return array


def _tensors_of(dataset: Any, where: str) -> _Arrays | None:
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
    found = _arrays(tuple(inputs), targets, where)
    return dataclasses.replace(found, rows=rows)


def _collected(form: _Dataset | _Loader, where: str) -> _Arrays:
    """Everything of a Dataset or DataLoader in memory, beside training data that is in memory too."""
    source = _source(form, where, Data(), shuffle=False)
    batches = list(source.epoch(0))
    if len({len(batch.inputs) for batch in batches}) != 1:
        raise DataError(where, "batches with different numbers of inputs", "one form of batches")
    try:
        inputs = tuple(
            np.concatenate([_array(part, where) for part in parts]) for parts in zip(*(b.inputs for b in batches))
        )
        targets = np.concatenate([_array(batch.targets, where) for batch in batches])
    except ValueError as error:
        raise DataError(where, f"examples of different shapes ({error})", "examples of one shape") from error
    return _Arrays(inputs, targets, batches[0].names)


# ------------------------------------------------------------------------------------------------ arrays


def _examples(arrays: dict[str, _Arrays], options: Data, as_given: bool) -> Examples:
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


def _same_length(one: _Arrays, where: str) -> None:
    if one.targets.ndim == 0 or len(one.targets) == 0:
        raise DataError(f"{where}: y", f"targets of shape {one.targets.shape}", "one an example")
    for i, x in enumerate(one.inputs):
        if x.ndim == 0 or len(x) != len(one.targets):
            count = len(x) if x.ndim else 0
            raise DataError(
                f"{where}: {_input_name(one, i)}", f"{count} examples", f"{len(one.targets)}, as there are targets"
            )
    if one.rows is not None and len(one.rows) == 0:
        raise DataError(where, "an empty subset", "at least one example")


def _input_name(one: _Arrays, position: int) -> str:
    return one.names[position] if one.names else "X" if len(one.inputs) == 1 else f"input {position}"


def _inputs_text(one: _Arrays) -> str:
    return ", ".join(one.names) if one.names else str(len(one.inputs))


# ------------------------------------------------------------------------------------------------ batches


class BatchSource(abc.ABC):
    """Batches of the user's own, with ``validation`` and ``test`` beside them where they were handed over too.

    ``exact``: a resume in mid-epoch continues to the same bits. ``first`` is a batch to look at; looking costs the
    loading of one batch and leaves the global random state as it was.
    """

    exact: bool
    validation: BatchSource | None = None
    test: BatchSource | None = None

    def __init__(self, where: str, task: str = "auto") -> None:
        self.where, self._task = where, task

    @abc.abstractmethod
    def __len__(self) -> int:
        """Batches an epoch."""

    @abc.abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the ``start``-th on."""

    @abc.abstractmethod
    def configured(self, batch_size: int, seed: int) -> BatchSource:
        """The same examples in batches of another size and order, where that is not the user's own business."""

    @property
    @abc.abstractmethod
    def dataset(self) -> Any:
        """The dataset behind it, or None."""

    @property
    @abc.abstractmethod
    def examples(self) -> int | None:
        """How many examples an epoch has, where that is known."""

    @abc.abstractmethod
    def _look(self) -> Batch: ...

    @cached_property
    def first(self) -> Batch:
        return self._look()

    @property
    def input_names(self) -> tuple[str, ...]:
        return self.first.names

    @cached_property
    def preprocess(self) -> tuple[Preprocess, ...]:
        """Inputs are taken as they are; one record each says their shape and type."""
        return tuple(
            ArrayPreprocess(
                shape=tuple(tensor.shape[1:]),
                dtype=str(tensor.dtype).removeprefix("torch."),
                scale=1.0 if tensor.is_floating_point() else None,
            )
            for tensor in self.first.inputs
        )

    @cached_property
    def _meaning(self) -> Targets:
        targets = _array(self.first.targets, f"{self.where}: targets")
        try:
            return targets_from_array(targets, cast("Task", self._task), f"{self.where}: targets", keep_integers=True)
        except DataError:
            if self._task != "auto":
                raise
            task: Task = "regression" if targets.dtype.kind == "f" else "classification"
            return Targets(targets, task, (), ())

    @property
    def task(self) -> Task:
        """What the first batch's targets say, or the recipe."""
        return self._meaning.task

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names from the dataset's ``classes``, else the columns of its targets; empty where only the network knows."""
        if self.task == "regression":
            return ()
        dataset = self.dataset
        while dataset is not None and not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
            dataset = dataset.dataset
        names = getattr(dataset, "classes", None)
        if isinstance(names, Sequence) and not isinstance(names, str) and len(names):
            return tuple(map(str, names))
        return self._meaning.classes if self.first.targets.ndim == 2 else ()

    @property
    def outputs(self) -> int | None:
        """How many numbers the network puts out; None where the batches do not tell."""
        if self.task == "regression":
            return len(self._meaning.names) or None
        return len(self.classes) or (1 if self.task == "multi-label" else None)


class DatasetBatches(BatchSource):
    """Batches of a map-style ``Dataset``, loaded lazily in this process.

    The order is a function of (seed, epoch), and what a dataset draws from the global generators of torch, NumPy and
    ``random`` (augmentation) a function of (seed, epoch, batch): a resume continues to the same bits, and the global
    state is left alone. A generator of the dataset's own is out of sight. A last batch of a single example is left
    out of a shuffled epoch, as everywhere.
    """

    exact = True

    def __init__(
        self, dataset: Any, batch_size: int, seed: int, shuffle: bool, *, where: str = "train", task: str = "auto"
    ) -> None:
        super().__init__(where, task)
        self._dataset, self.batch_size, self.seed, self.shuffle = dataset, batch_size, seed, shuffle
        if batch_size < 1:
            raise DataError(where, f"batches of {batch_size}", "at least one example")
        try:
            self._count = len(dataset)
        except TypeError as error:
            raise DataError(where, f"a {type(dataset).__name__} without a length", "a Dataset with __len__") from error
        if self._count == 0:
            raise DataError(where, f"an empty {type(dataset).__name__}", "at least one example")

    @property
    def dataset(self) -> Any:
        return self._dataset

    @property
    def examples(self) -> int:
        return self._count

    def __len__(self) -> int:
        full, rest = divmod(self._count, self.batch_size)
        return full + (rest > (1 if self.shuffle and full else 0))

    def configured(self, batch_size: int, seed: int) -> DatasetBatches:
        other = copy.copy(self)
        other.batch_size, other.seed = batch_size, seed
        other.validation = self.validation and self.validation.configured(batch_size, seed)
        other.test = self.test and self.test.configured(batch_size, seed)
        return other

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        import torch

        from netwright.data.loading import permutation

        order = permutation(self._count, self.seed, epoch) if self.shuffle else torch.arange(self._count)
        for number in range(start, len(self)):
            index = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield self._load(index, epoch, number)

    def _load(self, index: torch.Tensor, epoch: int, number: int) -> Batch:
        from torch.utils.data import default_collate

        from netwright.data.loading import mixed

        positions = index.tolist()
        with _random_state(mixed(self.seed, epoch, number)):
            together = getattr(self._dataset, "__getitems__", None)
            items = together(positions) if callable(together) else [self._dataset[i] for i in positions]
        try:
            raw = default_collate(items)
        except (TypeError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{self.where}: {type(self._dataset).__name__}", f"examples that make no batch ({error})",
                "tensors, arrays or numbers of one shape", "a transform to tensors, or a DataLoader with collate_fn",
            ) from error  # fmt: skip
        return _batch(raw, index, f"{self.where}: {type(self._dataset).__name__}")

    def _look(self) -> Batch:
        import torch

        return self._load(torch.arange(min(self.batch_size, self._count)), 0, 0)


class LoaderBatches(BatchSource):
    """The user's own ``DataLoader`` as it is; resuming goes back to the epoch's start, not bit-exact.

    ``float64`` becomes ``float32``, and integer targets ``int64``; nothing else is changed. A sampler with
    ``set_epoch`` is told the epoch, as in every loop.
    """

    exact = False

    def __init__(self, loader: Any, *, where: str = "train", task: str = "auto") -> None:
        super().__init__(where, task)
        self.loader = loader
        try:
            count = len(loader)
        except TypeError as error:
            raise DataError(
                where, f"a {type(loader).__name__} without a length ({error})", "a known number of batches an epoch",
                "a __len__ for its dataset",
            ) from error  # fmt: skip
        if count == 0:
            suggestion = "drop_last=False or smaller batches" if getattr(loader, "drop_last", False) else ""
            raise DataError(where, f"an empty {type(loader).__name__}", "at least one batch", suggestion)

    @property
    def dataset(self) -> Any:
        return getattr(self.loader, "dataset", None)

    @property
    def examples(self) -> int | None:
        try:
            return len(self.dataset)
        except TypeError:
            return None

    def __len__(self) -> int:
        return len(self.loader)

    def configured(self, batch_size: int, seed: int) -> LoaderBatches:
        other = copy.copy(self)
        other.validation = self.validation and self.validation.configured(batch_size, seed)
        other.test = self.test and self.test.configured(batch_size, seed)
        return other

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        set_epoch: Callable[[int], object] | None = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        seen = 0
        for number, raw in enumerate(self.loader):
            seen += 1
            if number >= start:
                yield _batch(raw, None, f"{self.where}: {type(self.loader).__name__}")
        if seen == 0:
            raise DataError(self.where, f"a {type(self.loader).__name__} that gave no batch", "at least one")

    def _look(self) -> Batch:
        with _random_state(None, *_generators(self.loader)):
            iterator = iter(self.loader)
            raw = next(iterator, None)
            del iterator
        if raw is None:
            raise DataError(self.where, f"a {type(self.loader).__name__} that gave no batch", "at least one")
        return _batch(raw, None, f"{self.where}: {type(self.loader).__name__}")


def _batch_source(forms: dict[str, _Arrays | _Dataset | _Loader], options: Data) -> BatchSource:
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
                raise DataError(
                    name, f"batches of {_form_text(other.first)}", f"{_form_text(source.first)} as in train"
                )
            setattr(source, name, other)
    _ = source.task  # batches of a form that cannot be trained on stop here
    return source


def _held_out(forms: dict[str, _Arrays | _Dataset | _Loader], options: Data) -> dict[str, Any]:
    """Shares of a Dataset that the recipe holds out, by a permutation that ``data.split_seed`` alone decides."""
    shares = {name: getattr(options, name) for name in ("test", "validation") if name not in forms}
    asked = {name: share for name, share in shares.items() if not isinstance(share, str) and share > 0}
    if not asked:
        return forms
    train = forms["train"]
    if not isinstance(train, _Dataset):
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
            raise DataError(f"data.{name}", f"{share} of {len(rows)} examples", "a share that leaves both parts some")
        result[name] = _Dataset(Subset(train.dataset, sorted(rows[:count])))
        rows = rows[count:]
    result["train"] = _Dataset(Subset(train.dataset, sorted(rows)))
    return result


def _source(form: _Arrays | _Dataset | _Loader, where: str, options: Data, shuffle: bool) -> BatchSource:
    if isinstance(form, _Loader):
        return LoaderBatches(form.loader, where=where, task=options.task)
    dataset = form.dataset if isinstance(form, _Dataset) else _ArrayDataset(form)
    return DatasetBatches(dataset, BATCH_SIZE, options.split_seed, shuffle, where=where, task=options.task)


class _ArrayDataset:
    """Arrays as a map-style dataset, for a held-out part beside a Dataset or DataLoader."""

    def __init__(self, arrays: _Arrays) -> None:
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


# ------------------------------------------------------------------------------------------------ one batch


def _batch(raw: Any, index: torch.Tensor | None, where: str) -> Batch:
    from netwright.data.loading import Batch

    if isinstance(raw, Mapping):
        key = _target_key(raw, where)
        names, inputs = _by_keyword({name: item for name, item in raw.items() if name != key}, where)
        return Batch(inputs, _target(raw[key], where), index, names)
    if not isinstance(raw, tuple | list) or len(raw) < 2:
        got = f"a {type(raw).__name__}" + (f" of {len(raw)}" if isinstance(raw, tuple | list) else "")
        raise DataError(
            where, f"{got} as a batch", "(input, target), or a dict with a target", f"one of {_keys_text()}"
        )
    *first, target = raw
    if len(first) == 1 and isinstance(first[0], Mapping):
        names, inputs = _by_keyword(first[0], where)
        return Batch(inputs, _target(target, where), index, names)
    if len(first) == 1 and isinstance(first[0], tuple | list):
        first = list(first[0])
    tensors = tuple(_tensor(item, f"{where}: input {i}") for i, item in enumerate(first))
    return Batch(tensors, _target(target, where), index)


def _by_keyword(items: Mapping[Any, Any], where: str) -> tuple[tuple[str, ...], tuple[torch.Tensor, ...]]:
    if not items:
        raise DataError(where, "a batch without inputs", "at least one key beside the target")
    return tuple(map(str, items)), tuple(_tensor(item, f"{where}: {name}") for name, item in items.items())


def _target_key(raw: Mapping[Any, Any], where: str) -> Any:
    found = [key for key in raw if str(key).lower() in TARGET_KEYS]
    if len(found) != 1:
        keys = ", ".join(map(repr, raw))
        got = f"{len(found)} targets among the keys {keys}" if found else f"the keys {keys}, none of them a target"
        raise DataError(where, got, f"one of {_keys_text()}")
    return found[0]


def _keys_text() -> str:
    return ", ".join(map(repr, TARGET_KEYS))


def _target(value: Any, where: str) -> torch.Tensor:
    import torch

    tensor = _tensor(value, f"{where}: target")
    if tensor.dtype == torch.bool:
        return tensor.float() if tensor.ndim > 1 else tensor.long()
    return tensor if tensor.is_floating_point() or tensor.dtype == torch.int64 else tensor.long()


def _tensor(value: Any, where: str) -> torch.Tensor:
    import torch

    if not isinstance(value, torch.Tensor):
        try:
            value = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                where, f"a {type(value).__name__} ({error})", "a tensor", "a collate_fn that makes tensors"
            ) from error
    if value.ndim == 0:
        raise DataError(where, "a single number", "one value an example", "a DataLoader with batch_size")
    tensor: torch.Tensor = value
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _form_text(batch: Batch) -> str:
    return ", ".join(batch.names) if batch.names else f"{len(batch.inputs)} inputs"


def _generators(loader: Any) -> list[torch.Generator]:
    """The generators that a DataLoader and its samplers hold."""
    import torch

    batch_sampler = getattr(loader, "batch_sampler", None)
    holders = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(item): item for item in found if isinstance(item, torch.Generator)}.values())


@contextlib.contextmanager
def _random_state(seed: int | None, *generators: torch.Generator) -> Iterator[None]:
    """Puts the global random states (and ``generators``) back afterwards; ``seed``: starts from it meanwhile."""
    import torch

    python, legacy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    states = [generator.get_state() for generator in generators]
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % (1 << 32))  # noqa: NPY002 - datasets draw from it
            torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(own)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
