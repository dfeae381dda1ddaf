"""From raw arrays to batches on the device: the order of examples is a function of (seed, epoch) alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch

from netwright.data.examples import Part

_MASK = (1 << 64) - 1


@dataclasses.dataclass(frozen=True)
class Batch:
    """What the loop sees of a step: ``inputs`` as the network takes them (by keyword if ``names`` says so)."""

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    index: torch.Tensor | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)


class Batches(Protocol):
    """Where the loop gets its batches. ``exact``: a resume in mid-epoch continues to the same bits."""

    exact: bool

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the ``start``-th on."""


def mixed(*numbers: int) -> int:
    """One well-mixed 63-bit number from several (splitmix64, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def permutation(count: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of ``count`` examples in an epoch, ``int64``; private to (seed, epoch)."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed(seed, epoch)))


@dataclasses.dataclass
class Share:
    """The rows of every batch that process ``rank`` of ``count`` takes, by their place in it.

    ``weight``, of the running batch: what this process's mean loss counts, so that the mean over the processes is the
    mean over the batch. A process keeps at least two rows, because batch norm needs them; where a last batch is too
    small for that, the last processes take those of process 0 with a weight of 0.
    """

    rank: int
    count: int
    weight: float = 1.0

    def rows(self, size: int, more: int = 0) -> torch.Tensor:
        """Their places in a batch of ``size``; ``more``: and so many that follow, around the end."""
        sharing = min(self.count, max(1, size // 2))
        rank = self.rank if self.rank < sharing else 0
        start, stop = rank * size // sharing, (rank + 1) * size // sharing
        self.weight = (stop - start) * self.count / size if rank == self.rank else 0.0
        return torch.arange(start, stop + more) % size


class Order(Protocol):
    """Another order than a plain permutation (``data.sampling``)."""

    def order(self, seed: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As many positions as there are examples, and which time in this epoch each comes."""


class ArrayBatches:
    """Batches from a ``Part``: gather in the small type, then preprocess and augment whole batches.

    A last batch of a single example is left out of a shuffled epoch (batch norm has no variance of one); another
    order brings that example into another epoch.
    """

    exact = True

    def __init__(
        self,
        part: Part,
        prepare: tuple[Callable[[torch.Tensor], torch.Tensor], ...],
        batch_size: int,
        *,
        seed: int | None = None,
        augment: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
        names: tuple[str, ...] = (),
        device: torch.device | str = "cpu",
        channels_last: bool = False,
        share: Share | None = None,
        sampling: Order | None = None,
    ) -> None:
        """``seed`` None: in order, every example (evaluation). ``share``: of each batch only these rows. ``sampling``:
        the order of an epoch, where it is not each example once."""
        self._part, self._prepare, self._size = part, prepare, batch_size
        self._seed, self._augment, self._names = seed, augment, names
        self._device, self._channels_last, self._share = torch.device(device), channels_last, share
        self._sampling = sampling
        self._inputs = tuple(_tensor(array) for array in part.inputs)
        self._targets = torch.from_numpy(np.ascontiguousarray(part.targets))
        self._rows = None if part.rows is None else torch.from_numpy(part.rows)

    def __len__(self) -> int:
        full, rest = divmod(len(self._part), self._size)
        return full + (rest > (1 if self._seed is not None and full else 0))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        count = len(self._part)
        if self._sampling is not None and self._seed is not None:
            order, times = self._sampling.order(self._seed, epoch)
            draws = order + times * count  # an example that comes again is changed otherwise
        else:
            order = draws = torch.arange(count) if self._seed is None else permutation(count, self._seed, epoch)
        rows = order if self._rows is None else self._rows[order]
        for number in range(start, len(self)):
            piece = slice(number * self._size, (number + 1) * self._size)
            yield self._batch(rows[piece], order[piece], draws[piece], epoch)

    def _batch(self, rows: torch.Tensor, index: torch.Tensor, draws: torch.Tensor, epoch: int) -> Batch:
        beside = 0
        if self._share is not None:
            beside = int(getattr(self._augment, "mixes", False))  # mixup blends a row with the next one
            places = self._share.rows(len(index), beside)
            rows, index, draws = rows[places], index[places], draws[places]
        inputs = []
        for source, prepare in zip(self._inputs, self._prepare, strict=True):
            raw = source.index_select(0, rows) if isinstance(source, torch.Tensor) else _gather(source, rows)
            raw = raw.to(self._device, non_blocking=True)
            if self._channels_last and raw.ndim == 4:
                raw = raw.contiguous(memory_format=torch.channels_last)
            inputs.append(prepare(raw))
        targets = self._targets.index_select(0, rows).to(self._device, non_blocking=True)
        if self._augment is not None:
            inputs[0], targets = self._augment(inputs[0], targets, draws, epoch)
        if beside:
            inputs, targets, index = [each[:-1] for each in inputs], targets[:-1], index[:-1]
        return Batch(tuple(inputs), targets, index, self._names)


def _tensor(array: np.ndarray) -> torch.Tensor | np.ndarray:
    """A tensor over the array's own memory; a memory-mapped file stays an array (it may be larger than memory)."""
    if isinstance(array, np.memmap) or not array.flags.writeable:
        return array
    return torch.from_numpy(array)


def _gather(array: np.ndarray, rows: torch.Tensor) -> torch.Tensor:
    positions = rows.numpy()
    ascending = np.argsort(positions, kind="stable")  # the disk likes one direction
    gathered = np.empty((len(positions), *array.shape[1:]), array.dtype)
    gathered[ascending] = array[positions[ascending]]
    return torch.from_numpy(gathered)
