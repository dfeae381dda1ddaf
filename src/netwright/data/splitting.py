"""Which examples are held out, and which class is which in a second source. Pure NumPy, no global random state."""

from __future__ import annotations

import math

import numpy as np

from netwright.data.examples import Array, Rows, Task
from netwright.errors import DataError, nearest
from netwright.records import plural


def holdout(targets: Array, task: Task, share: float, seed: int) -> tuple[Rows, Rows]:
    """Positions that stay and positions that are held out, each in rising order.

    Classification is stratified: of every class the held part is within one example of ``share`` of it, and a class
    never loses its last example. Other tasks are split at random. Costs one sort of the positions.
    """
    count = round(share * len(targets))
    held = _chosen(_groups(targets, task), share, count, _order(len(targets), seed), keep_one=True)
    mask = np.zeros(len(targets), dtype=bool)
    mask[held] = True
    return np.flatnonzero(~mask).astype(np.int64), np.flatnonzero(mask).astype(np.int64)


def sample(targets: Array, task: Task, count: int, seed: int) -> Rows:
    """At most ``count`` positions in rising order, each class in its proportion (and at least one of each, if
    ``count`` allows it).

    Samples of one seed are nested: whose turn it is goes by a divisor rule (Webster 1832, Sainte-Laguë 1910), under
    which no class loses an example where the sample grows; rounding each size by itself does not promise that
    (Balinski and Young 1982, Fair Representation).
    """
    total = len(targets)
    if count >= total:
        return np.arange(total, dtype=np.int64)
    groups = _groups(targets, task)
    order = _order(total, seed)
    if groups is None:
        return np.sort(order[:count])
    arranged, rank = _ranked(groups, order)
    sizes = np.bincount(groups)[groups[arranged]]
    turns = np.where(rank == 0, 0.0, (rank + 0.5) / sizes)
    first = np.lexsort((groups[arranged], -sizes, turns))[:count]
    return np.sort(arranged[first])


def bootstrap(count: int, seed: int, weights: Array | None = None) -> Rows:
    """``count`` positions drawn with replacement, in rising order: each as likely as its share of ``weights``, or all
    alike (Efron 1979). An example is left out with probability (1 - 1 / count)^count, 0.368 of many."""
    drawn = (np.random.PCG64(seed).random_raw(count) >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
    if weights is None:
        return np.sort((drawn * count).astype(np.int64))
    reached = np.cumsum(weights, dtype=np.float64)
    return np.sort(np.searchsorted(reached, drawn * reached[-1], side="right").astype(np.int64))


def match_classes(labels: Rows, classes: tuple[str, ...], wanted: tuple[str, ...], where: str) -> Rows:
    """``labels`` (indices into ``classes``) as indices into ``wanted``, the training part's classes.

    By name where both have names; by position where one of them only has numbers and they agree in number.
    """
    if classes == wanted:
        return labels
    used = np.unique(labels)
    numbers, wanted_numbers = (all(name.isdecimal() for name in names) for names in (classes, wanted))
    table = np.full(len(classes), -1, dtype=np.int64)
    if numbers != wanted_numbers:
        if len(classes) != len(wanted):
            raise DataError(
                where, plural(len(classes), "class", "classes"),
                f"the training part's {len(wanted)}: {_listed(wanted)}",
                "give a source with the same classes",
            )  # fmt: skip
        # One side has no names: its numbers are positions, in numerical order on both sides.
        positions = sorted(range(len(classes)), key=(lambda i: int(classes[i])) if numbers else (lambda i: i))
        targets = sorted(range(len(wanted)), key=(lambda i: int(wanted[i])) if wanted_numbers else (lambda i: i))
        table[positions] = targets
    else:
        index = {name: position for position, name in enumerate(wanted)}
        for position in used:
            name = classes[position]
            if name not in index:
                near = nearest(name, wanted)
                raise DataError(
                    where, f"the class {name!r}, which the training part lacks", f"one of {_listed(wanted)}",
                    f"rename it to {near!r}" if near else "leave that class out, or add it to the training part",
                )  # fmt: skip
            table[position] = index[name]
    return table[labels]


def _listed(names: tuple[str, ...], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _order(count: int, seed: int) -> Rows:
    """A permutation that depends on ``seed`` alone. The raw bits of a PCG64 are promised to stay the same in all
    NumPy versions, which those of ``Generator.permutation`` are not."""
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable").astype(np.int64)


def _groups(targets: Array, task: Task) -> Rows | None:
    """The class of each example, numbered without gaps; None where there is nothing to stratify by."""
    if task != "classification" or len(targets) == 0:
        return None
    labels = targets.argmax(axis=1) if targets.ndim == 2 else targets
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _chosen(groups: Rows | None, share: float, count: int, order: Rows, *, keep_one: bool) -> Rows:
    if groups is None:
        return order[: min(count, len(order) - 1) if keep_one else count]
    sizes = np.bincount(groups)
    most = np.maximum(sizes - 1, 0) if keep_one else sizes
    return _take(groups, _apportion(sizes * share, count, most), order)


def _apportion(quotas: np.ndarray, count: int, most: np.ndarray) -> np.ndarray:
    """Whole numbers near ``quotas``, at most ``most``, with the sum ``count`` where that is possible: the largest
    remainders are rounded up, ties going to the larger, then to the earlier group."""
    base = np.floor(quotas + 1e-9).astype(np.int64)
    wanted: np.ndarray = np.minimum(base, most)
    remainders = quotas - base
    by_need = np.lexsort((np.arange(len(quotas)), -quotas, -remainders))
    for position in by_need:
        if wanted.sum() >= count:
            break
        if wanted[position] < min(most[position], math.ceil(quotas[position] - 1e-9)):
            wanted[position] += 1
    return wanted


def _take(groups: Rows, wanted: np.ndarray, order: Rows) -> Rows:
    """The first ``wanted[g]`` positions of every group ``g`` in ``order``."""
    arranged, rank = _ranked(groups, order)
    chosen: Rows = arranged[rank < wanted[groups[arranged]]]
    return chosen


def _ranked(groups: Rows, order: Rows) -> tuple[Rows, Rows]:
    """The positions group by group, each group as it is in ``order``, and the place of each within its group."""
    arranged = order[np.argsort(groups[order], kind="stable")]
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank: Rows = np.arange(len(arranged)) - np.repeat(starts, sizes)
    return arranged, rank
