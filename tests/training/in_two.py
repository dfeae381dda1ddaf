"""What test_distribution.py runs in two processes: their gradients against one's, a training and a resume."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from netwright import environment, workbench
from netwright.data.augmenting import Augmenter
from netwright.data.examples import Part
from netwright.data.loading import ArrayBatches
from netwright.objectives import choosing
from netwright.preprocess import ArrayPreprocess
from netwright.preprocess.with_torch import Prepared
from netwright.recipe import Recipe, override
from netwright.recipe.schema import Augment, Objective, Train
from netwright.training.distribution import Processes
from netwright.training.evaluating import call
from netwright.training.loop import Job
from netwright.training.precision import Precision

SIZES = {"even": 32, "odd": 27, "a last batch of three": 35, "a last batch of five": 37}


def job(count: int, mixup: float, weights: str, share: object) -> Job:
    generator = torch.Generator().manual_seed(count)
    torch.manual_seed(1)
    part = Part(
        (torch.rand(count, 12, generator=generator).numpy(),),
        (torch.arange(count) % 3).numpy() ** 2 % 3,
    )
    record = ArrayPreprocess(shape=(12,), dtype="float32", mean=(0.5,), std=(0.3,))
    augment = Augmenter(Augment(shift=0, flip="none", rotate=0, crop=0, cutout=0, color=0, noise=0.1, mixup=mixup), 0,
                        record, classes=3)  # fmt: skip
    network = nn.Sequential(
        nn.Unflatten(1, (3, 4)), nn.Conv1d(3, 5, 3, padding=1), nn.BatchNorm1d(5), nn.ReLU(), nn.Flatten(),
        nn.Linear(20, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip
    batches = ArrayBatches(part, (Prepared(record, torch.device("cpu")),), 32, seed=0, augment=augment, share=share)
    counts = np.bincount(part.targets, minlength=3).tolist()
    objective = choosing.objective(
        Objective(loss="cross-entropy", label_smoothing=0.0, class_weights=weights), "classification", 3,
        class_counts=counts, target_mean=(), target_std=(),
    )  # fmt: skip
    return Job(
        network, objective, torch.optim.SGD(network.parameters(), 0.1), lambda step: 1.0, batches,
        Precision("fp32", torch.device("cpu")), 1,
    )  # fmt: skip


def gradients(work: Job) -> list[list[torch.Tensor]]:
    """Of every batch of an epoch, at the same weights; running statistics at the end."""
    called = work.replica or work.network
    called.train()
    found = []
    for batch in work.batches.epoch(0):
        work.network.zero_grad()
        work.objective.loss(call(called, batch), batch.targets).backward()
        found.append([parameter.grad.clone() for parameter in work.network.parameters()])
    found.append([buffer.double().clone() for buffer in work.network.buffers()])
    return found


def compare_gradients(processes: Processes) -> None:
    options = Train(batch_size=32, optimizer="sgd", sync_norm=True)
    for name, count in SIZES.items():
        for mixup, weights in ((0.0, "none"), (0.4, "balanced")):
            alone = job(count, mixup, weights, None)
            expected = gradients(alone)
            shared = job(count, mixup, weights, processes.share)
            processes.divide(shared, options)
            got = gradients(shared)
            processes.release(shared)
            assert len(got) == len(expected)
            for mine, theirs in zip(got, expected, strict=True):
                for one, other in zip(mine, theirs, strict=True):
                    worst = float((one - other).abs().max())
                    assert worst <= 1e-6 * max(1.0, float(other.abs().max())), (name, mixup, worst)
            if processes.leads:
                print("equal:", name, mixup, flush=True)


def main(folder: Path, half: Path) -> None:
    known = environment.torchrun()
    assert known is not None
    compare_gradients(Processes(*known))
    run = workbench.train(recipe(), folder=folder)
    assert run.directory.name == "digits-0001"  # the same in both
    workbench.resume(half)


def recipe() -> Recipe:
    """Two epochs whose last batch is odd, with mixup, and norms over the whole batch."""
    changes = {
        "data.source": "digits", "data.limit": 331, "network.name": "mlp", "network.width": 16, "train.epochs": 2,
        "train.batch_size": 24, "train.sync_norm": True, "augment.mixup": 0.3, "watch.enabled": False,
        "train.layout": "contiguous", "train.threads": 1, "train.schedule": "plateau",
    }  # fmt: skip
    return override(Recipe(), changes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
