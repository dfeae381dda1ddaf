"""How often each class is drawn in an epoch: the order of a training part whose classes are far from equally many."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from netwright.data.examples import Array, Rows
from netwright.data.loading import mixed, permutation

POWERS = {"square-root": 0.5, "balanced": 0.0}  # of a class's size, to which the number of its draws is proportional


@dataclasses.dataclass(frozen=True)
class ClassSampling:
    """Draws an epoch of as many examples as there are, n_c^q of class c for each Σ n^q (Kang et al. 2020, section 3:
    q = 0 class-balanced, q = 1/2 square-root, q = 1 as they are). A class with fewer examples than draws goes through
    all of them before one comes again; of one with more, every epoch takes others."""

    labels: Rows
    draws: Rows  # a class, in all as many as examples

    @classmethod
    def of(cls, targets: Array, power: float) -> ClassSampling:
        """``targets``: class indices (N,), or the share of each class (N, C), of which the largest counts."""
        labels = (targets.argmax(1) if targets.ndim == 2 else targets).astype(np.int64)
        sizes = np.bincount(labels)
        wanted = np.where(sizes > 0, np.power(np.maximum(sizes, 1), power), 0.0)
        quotas = wanted * (len(labels) / wanted.sum())
        draws = np.maximum(np.floor(quotas + 1e-9).astype(np.int64), sizes > 0)
        for _ in range(int(draws.sum()) - len(labels)):  # a draw for each class was too many: the largest give
            draws[draws.argmax()] -= 1
        lacking = len(labels) - int(draws.sum())
        draws[np.argsort(draws - quotas, kind="stable")[:lacking]] += 1  # the largest remainders
        return cls(labels, draws)

    def order(self, seed: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which examples, (N,) ``int64``, and which time in this epoch each comes, from 0; private to (seed, epoch).

        Costs one sort of the labels."""
        shuffled = permutation(len(self.labels), seed, epoch).numpy()
        arranged = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        sizes = np.bincount(self.labels, minlength=len(self.draws))
        starts, sizes = np.cumsum(sizes) - sizes, np.maximum(sizes, 1)
        turn = np.arange(len(self.labels)) - np.repeat(np.cumsum(self.draws) - self.draws, self.draws)
        places = np.repeat(starts, self.draws) + turn % np.repeat(sizes, self.draws)
        again = permutation(len(self.labels), mixed(seed, 1), epoch).numpy()
        times = turn // np.repeat(sizes, self.draws)
        return torch.from_numpy(arranged[places[again]]), torch.from_numpy(times[again])
