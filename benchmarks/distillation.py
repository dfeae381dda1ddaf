"""A small network taught by a large one on MNIST, as Hinton, Vinyals and Dean (2015) did it.

    python benchmarks/distillation.py [--seeds 5] [--epochs 8] [--teacher-epochs 20] [--examples 60000]
        [--temperatures 1 2 4 8 20]

Teacher: 784-1200-1200-10 with dropout (0.2 of the inputs, 0.5 of the hidden units) and pictures moved by up to two
pixels. Student: 784-800-800-10 without either, once alone and once for each temperature with the teacher's soft targets
on the same unmoved pictures (asked for once). The published errors of 10,000: teacher 67, alone 146, taught at
T = 20 74. What is to be reached: the student's errors fall at least halfway from alone to the teacher's. One teacher is
trained, to its end, and kept in the work folder; seeds are the students'. Five seeds with all examples take hours on
two cores; fewer examples and epochs show the direction. Every figure is kept as it is made.
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch
from common import HERE, mnist, work_folder
from torch import nn
from torch.nn import functional as F

from netwright.compression.distil import Distilled
from netwright.data.loading import Batch

BATCH, WEIGHT = 128, 0.9


def network(width: int, dropout: bool) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Dropout(0.2 * dropout), nn.Linear(784, width), nn.ReLU(), nn.Dropout(0.5 * dropout),
        nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.5 * dropout), nn.Linear(width, 10),
    )  # fmt: skip


def moved(x: torch.Tensor) -> torch.Tensor:
    """Each batch moved by up to two pixels, another way each time."""
    right, down = (int(step) for step in torch.randint(-2, 3, (2,)))
    return F.pad(x, (2, 2, 2, 2))[:, :, 2 + down : 30 + down, 2 + right : 30 + right]


def trained(
    made: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int, taught: Distilled | None, jitter: bool
) -> nn.Module:
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(made.parameters(), 1e-3, fused=True)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    made.train()
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=order)[: len(x) // BATCH * BATCH].split(BATCH):
            inputs = moved(x[index]) if jitter else x[index]
            outputs = made(inputs)
            loss = F.cross_entropy(outputs, y[index])
            if taught is not None:
                loss = taught(made, Batch((inputs,), y[index], index), outputs, loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return made.eval()


def errors(made: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    with torch.inference_mode():
        return int(sum((made(a).argmax(1) != b).sum() for a, b in zip(x.split(2000), y.split(2000), strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1, 2, 4, 8, 20])
    options = parser.parse_args()
    parts = {part: mnist(part) for part in ("train", "t10k")}
    (x, y), (tx, ty) = (
        (torch.from_numpy(images).float().div(255), torch.from_numpy(labels)) for images, labels in parts.values()
    )
    x, y = x[: options.examples], y[: options.examples]
    path = HERE / "results" / "distillation.json"
    found: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}
    entry = found.setdefault(f"{len(x)} examples, {options.epochs} epochs, teacher {options.teacher_epochs}", {})
    teacher = network(1200, True)
    kept = work_folder() / f"teacher-{len(x)}-{options.teacher_epochs}.pt"
    if kept.exists():
        teacher.load_state_dict(torch.load(kept, weights_only=True))
    else:
        torch.manual_seed(0)
        torch.save(trained(teacher, x, y, options.teacher_epochs, 0, None, True).state_dict(), kept)
    entry["teacher"] = errors(teacher.eval(), tx, ty)
    print(f"teacher: {entry['teacher']}", flush=True)
    rows = entry.setdefault("seeds", {})
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        row = rows.setdefault(str(seed), {})
        for temperature in (None, *options.temperatures):
            name = "alone" if temperature is None else f"T={temperature:g}"
            if name in row:
                continue
            torch.manual_seed(seed + 1000)
            taught = None if temperature is None else Distilled([teacher], temperature=temperature, weight=WEIGHT)
            row[name] = errors(trained(network(800, False), x, y, options.epochs, seed, taught, False), tx, ty)
            path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"seed {seed}: {row}", flush=True)
    for name in next(iter(rows.values())):
        values = [row[name] for row in rows.values() if name in row]
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(f"{name}: mean {statistics.mean(values):.1f} of 10,000, deviation {spread:.1f}, {len(values)} seeds")


if __name__ == "__main__":
    main()
