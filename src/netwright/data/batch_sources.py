"""Batches of a ``Dataset`` or ``DataLoader`` of the user's, seen one at a time, as they come."""

from __future__ import annotations

import abc
import contextlib
import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from netwright.data.arrays import Targets, targets_from_array
from netwright.data.examples import Task
from netwright.data.forms import as_array, keys_text, target_key
from netwright.errors import DataError
from netwright.preprocess import ArrayPreprocess, Preprocess

if TYPE_CHECKING:
    import torch

    from netwright.data.loading import Batch


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
        targets = as_array(self.first.targets, f"{self.where}: targets")
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


def _batch(raw: Any, index: torch.Tensor | None, where: str) -> Batch:
    from netwright.data.loading import Batch

    if isinstance(raw, Mapping):
        key = target_key(raw, where)
        names, inputs = _by_keyword({name: item for name, item in raw.items() if name != key}, where)
        return Batch(inputs, _target(raw[key], where), index, names)
    if not isinstance(raw, tuple | list) or len(raw) < 2:
        got = f"a {type(raw).__name__}" + (f" of {len(raw)}" if isinstance(raw, tuple | list) else "")
        raise DataError(where, f"{got} as a batch", "(input, target), or a dict with a target", f"one of {keys_text()}")
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


def form_text(batch: Batch) -> str:
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
