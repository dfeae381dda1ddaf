"""A table of real trainings over seven keys, recorded once, on which searches can be replayed.

    python benchmarks/tuning_table.py [--minutes 60] [--rows 400]

Two tasks in turns: ``digits`` (8 epochs) and ``fashion``, 6,000 training and 2,000 validation images of Fashion-MNIST
at 10×10 pixels (5 epochs); ``small_vgg`` with Nesterov's momentum and an exponentially falling rate. Configuration and
seed are functions of the row's number, so a broken-off recording goes on where it stopped. A row of
``results/tuning_trainings.csv`` holds the seven keys, validation accuracy after each epoch, and seconds up to each:
processor time of one thread, so that what else runs on the machine hardly counts.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import HERE, shared

from netwright import building, preparing, sourcing
from netwright.data.opening import open_source
from netwright.recipe import Recipe, defaults, override
from netwright.training import loop as loops
from netwright.training import randomness
from netwright.training.evaluating import evaluate
from netwright.training.freezing import Freezing
from netwright.training.state import State

TABLE = HERE / "results" / "tuning_trainings.csv"
EPOCHS = {"digits": 8, "fashion": 5}
KEYS = (
    "train.lr", "train.momentum", "network.width", "train.batch_size", "network.depth", "train.gamma",
    "train.weight_decay",
)  # fmt: skip


def configuration(task: str, row: int) -> dict[str, Any]:
    """The seven keys of a row, drawn from the whole space, and its seed."""
    draw = random.Random(f"{task} {row}")

    def log(low: float, high: float) -> float:
        return math.exp(draw.uniform(math.log(low), math.log(high)))

    return {
        "train.lr": float(f"{log(1e-4, 1.0):.4g}"),
        "train.momentum": float(f"{1 - log(0.01, 0.5):.4g}"),
        "network.width": round(log(3.5, 12.5)),
        "train.batch_size": draw.choice((16, 32, 64, 128, 256)),
        "network.depth": draw.randint(1, 3),
        "train.gamma": float(f"{draw.uniform(0.5, 1.0):.4g}"),
        "train.weight_decay": float(f"{log(1e-6, 1e-1):.4g}"),
        "seed": row,
    }


def base(task: str) -> Recipe:
    fixed = {
        "network.name": "small_vgg", "network.dropout": 0.0, "train.optimizer": "nesterov", "train.average": 0.0,
        "train.schedule": "exponential", "train.epochs": EPOCHS[task], "train.layout": "contiguous",
        "train.device": "cpu", "train.threads": 1, "watch.enabled": False, "objective.label_smoothing": 0.0,
    }  # fmt: skip
    fixed |= {f"augment.{name}": 0.0 for name in ("shift", "rotate", "crop")}
    if task == "fashion":
        fixed |= {"data.source": str(shared() / "fashion_mnist"), "data.limit": 6000, "data.validation": 1 / 30}
        fixed["data.size"] = 10
    return override(Recipe(), fixed)


class Curve:
    """The loop's observer: accuracy and seconds after each epoch; a loss that is not finite ends the training."""

    def __init__(self, validate: Any) -> None:
        self.validate, self.started = validate, time.process_time()
        self.accuracies: list[float] = []
        self.seconds: list[float] = []
        self.sum = torch.zeros(())

    def after_step(self, state: State, loss: torch.Tensor, outputs: Any, targets: Any) -> None:
        self.sum = self.sum + loss

    def after_epoch(self, state: State) -> bool:
        diverged = not bool(self.sum.isfinite())
        if not diverged:
            self.accuracies.append(self.validate()["accuracy"])
            self.seconds.append(time.process_time() - self.started)
        return diverged


def train(task: str, material: Any, changes: dict[str, Any]) -> Curve:
    recipe = defaults.resolve(override(base(task), changes), sourcing.facts(material, None))
    randomness.seed(recipe.seed)
    inputs = sourcing.input_file(material, material.outputs)
    network = preparing.built(building.network_file(recipe, material), True)
    freezing = Freezing(network, recipe.train)
    pieces = preparing.pieces(recipe, material, network, inputs, torch.device("cpu"), None, None, freezing)
    held_out = pieces.sources.validation
    curve = Curve(lambda: evaluate(network, pieces.job.objective, held_out, pieces.job.precision))
    loops.train(pieces.job, State(), curve)
    return curve


def recorded(path: Path = TABLE) -> dict[str, list[dict[str, Any]]]:
    """Of each task its rows: the keys, ``accuracies`` and ``seconds`` by epoch (fewer than all: it diverged)."""
    found: dict[str, list[dict[str, Any]]] = {task: [] for task in EPOCHS}
    if path.exists():
        with path.open(newline="") as file:
            for fields in csv.DictReader(file):
                row: dict[str, Any] = {key: float(fields[key]) for key in KEYS}
                row["row"] = int(fields["row"])
                row["accuracies"] = [float(word) for word in fields["accuracies"].split()]
                row["seconds"] = [float(word) for word in fields["seconds"].split()]
                found[fields["task"]].append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rows", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ends = time.monotonic() + 60 * options.minutes
    materials = {task: open_source(base(task).data) for task in EPOCHS}
    known = {(task, row["row"]) for task, rows in recorded().items() for row in rows}
    new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["task", "row", *KEYS, "accuracies", "seconds"])
        for row in range(options.rows):
            for task, material in materials.items():
                if (task, row) in known:
                    continue
                if time.monotonic() > ends:
                    return
                changes = configuration(task, row)
                curve = train(task, material, changes)
                accuracies = " ".join(f"{value:.4f}" for value in curve.accuracies)
                seconds = " ".join(f"{value:.2f}" for value in curve.seconds)
                writer.writerow([task, row, *(changes[key] for key in KEYS), accuracies, seconds])
                file.flush()
                print(task, row, accuracies[-6:], seconds.rpartition(" ")[2], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
