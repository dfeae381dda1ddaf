"""A recipe → the batch size that its gradient's noise and the memory speak for, checked by three short trainings.

The noise scale tells from which size on more examples a step no longer pay: below it, twice the batch takes nearly
half of the steps; above it, hardly fewer (McCandlish et al. 2018, An Empirical Model of Large-Batch Training). It grows
while a network learns, so it is measured after one epoch and at the end of a short training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netwright import building, sourcing, workbench
from netwright.data.examples import Examples
from netwright.data.opening import open_source
from netwright.errors import DataError, NetworkError, RecipeError
from netwright.inspection.memory import training_memory
from netwright.preprocess import InputFile, input_shape
from netwright.probes import noise_scale
from netwright.recipe import Recipe, defaults, override
from netwright.records import Record, plural
from netwright.reporting import formatting
from netwright.training import randomness
from netwright.training.evaluating import examine
from netwright.training.precision import Precision
from netwright.training.recording import DivergedError
from netwright.workbench import Run

SHORT = 12_000  # examples that a short training sees, in whole epochs
LOOKED, SMALL = 2048, 16  # training examples of one look at the noise, and those of its small batches
LEAST, STEPS = 8, 8  # examples of a batch; steps of an epoch
MEMORY_SHARE = 0.5  # of the free memory that a step may take
ADAPTIVE = ("adam", "adamw", "rmsprop", "adagrad", "adadelta")
SURE = 2.0  # standard errors of a paired difference

Said = Callable[[str], None]


class NoiseLook(Record, frozen=True, kw_only=True):
    """The noise scale in examples after so many epochs; None where the gradient cannot be told from nothing."""

    epochs: int
    batch: float | None


class SizeTrial(Record, frozen=True, kw_only=True):
    """One of the short trainings: ``loss`` on held-out examples (training ones where nothing was held out), and how
    much it is ``above`` that of the size in the middle, example by example, with its standard ``error``."""

    batch_size: int
    lr: float
    loss: float | None
    accuracy: float | None = None
    seconds: float = 0.0
    memory_bytes: int | None = None
    above: float | None = None
    error: float | None = None


class BatchAdvice(Record, frozen=True, kw_only=True):
    """``batch_size`` with its learning rate, and why; ``now``: the recipe's. ``limit``: the largest that fits."""

    batch_size: int
    lr: float
    now: int
    now_lr: float
    reason: tuple[str, ...]
    noise: tuple[NoiseLook, ...]
    trials: tuple[SizeTrial, ...]
    limit: int
    epochs: int
    examples: int


def adapted(lr: float, optimizer: str, factor: float) -> float:
    """The rate for a batch ``factor`` times as large: times the factor for plain gradient descent (Goyal et al. 2017),
    times its square root where steps are normalised (Malladi et al. 2022)."""
    return lr * (math.sqrt(factor) if optimizer in ADAPTIVE else factor)


def recommend(recipe: Recipe, *, trust: bool = False, said: Said = lambda text: None) -> BatchAdvice:
    """The batch size for a recipe. Costs five short trainings of up to 12,000 examples each; nothing of them is kept.

    One seed each: the check finds a size that is bad, and cannot tell sizes apart that are nearly as good.
    """
    material = open_source(recipe.data)
    if not isinstance(material, Examples):
        raise DataError("--batch-size", "batches of your own", "examples", "the Dataset instead of its DataLoader")
    asked = override(recipe, {"watch.enabled": False, "train.patience": 0, "train.keep": "last"})
    resolved = defaults.resolve(asked, sourcing.facts(material, None))
    now, rate, count = int(resolved.train.batch_size), resolved.train.lr, len(material.parts["train"])
    if not isinstance(rate, float | int):
        expected = "a number, from which the other sizes' rates follow"
        raise RecipeError("train.lr", repr(rate), expected, "--set train.lr=0.01")
    epochs = max(1, min(int(resolved.train.epochs), round(SHORT / count)))
    shop = _Shop(asked, material, trust, now, float(rate), str(resolved.train.optimizer))
    with randomness.kept(), tempfile.TemporaryDirectory(prefix="netwright-sizing-") as folder:
        shop.folder = Path(folder)
        looks = []
        for length in dict.fromkeys((1, epochs)):
            run = shop.train(now, length)
            looks.append(NoiseLook(epochs=length, batch=shop.noise(run)))
            known = looks[-1].batch
            text = "not to be told from endless" if known is None else f"{known:.0f} examples"
            said(f"noise scale after {formatting.plural(length, 'epoch')}: {text}")
        limit = shop.limit(count)
        wanted, reason = _wanted(looks, count, limit)
        sizes = [size for size in (wanted // 2, wanted, 2 * wanted) if 2 <= size <= count]
        trials = shop.check(sizes, wanted, epochs, said)
    chosen, verdict = _judge(trials, wanted)
    return BatchAdvice(
        batch_size=chosen, lr=adapted(float(rate), shop.optimizer, chosen / now), now=now, now_lr=float(rate),
        reason=(*reason, verdict), noise=tuple(looks), trials=tuple(trials), limit=limit, epochs=epochs,
        examples=count,
    )  # fmt: skip


def _wanted(looks: list[NoiseLook], count: int, limit: int) -> tuple[int, list[str]]:
    """The power of two nearest to the noise scale (the geometric mean of the looks), within its bounds."""
    known = [look.batch for look in looks if look.batch]
    if known:
        scale = math.exp(sum(math.log(max(value, 1.0)) for value in known) / len(known))
        reason = [f"The gradient's noise scale is about {scale:.0f} examples: larger batches save few steps."]
    else:
        scale = float(count)
        reason = ["The gradient cannot be told from its noise: as large a batch as the data allows."]
    wanted = 2 ** round(math.log2(max(scale, 1.0)))
    most = 2 ** int(math.log2(max(2.0, count / STEPS)))
    for bound, text in (
        (most, f"{count:,} training examples: at least {STEPS} steps an epoch"),
        (limit, "memory: half of what is free"),
    ):
        if wanted > bound:
            wanted, reason = bound, [*reason, f"Held at {bound} by {text}."]
    if wanted < min(LEAST, most, limit):
        wanted = min(LEAST, most, limit)
        reason.append(f"Not below {wanted}: smaller steps cost more time than they save examples.")
    return wanted, reason


def _judge(trials: list[SizeTrial], wanted: int) -> tuple[int, str]:
    """The recommended size, unless a neighbour's loss was surely lower."""
    better = [
        each for each in trials
        if each.batch_size != wanted and each.above is not None and each.error is not None
        and each.above < -SURE * each.error
    ]  # fmt: skip
    mine = next((each for each in trials if each.batch_size == wanted), None)
    others = [each for each in trials if each.loss is not None]
    if mine is None or mine.loss is None:
        if not others:
            return wanted, "None of the three short trainings ended: check the learning rate first."
        best = min(others, key=lambda each: each.loss or math.inf)
        return best.batch_size, f"The training with {wanted} did not end; {best.batch_size} reached the lowest loss."
    if not better:
        return (
            wanted,
            f"Checked: after equal examples no neighbour of {wanted} has a surely lower loss (one seed each).",
        )
    best = min(better, key=lambda each: each.above or 0.0)
    told = f"{best.batch_size} instead of {wanted}: after equal examples its loss is lower by {-(best.above or 0):.3g}"
    return best.batch_size, f"{told} ± {best.error:.1g} (one seed each)."


class _Shop:
    """Short trainings of one recipe with other batch sizes."""

    def __init__(self, recipe: Recipe, material: Examples, trust: bool, now: int, rate: float, optimizer: str) -> None:
        self.recipe, self.material, self.trust = recipe, material, trust
        self.now, self.rate, self.optimizer = now, rate, optimizer
        self.folder = Path()

    def train(self, size: int, epochs: int) -> Run:
        changes = {
            "train.batch_size": size, "train.lr": adapted(self.rate, self.optimizer, size / self.now),
            "train.epochs": epochs, "train.checkpoint_seconds": 1e6,
        }  # fmt: skip
        return workbench.train(
            override(self.recipe, changes), folder=self.folder, trust=self.trust, material=self.material
        )

    def _objective(self, run: Run) -> Any:
        return building.objective(run.recipe, run.files.read_record("preprocess.json", InputFile), self.material)

    def noise(self, run: Run) -> float | None:
        return noise_of(run.network, self._objective(run), run.recipe, self.material)

    def memory(self, run: Run, size: int) -> int | None:
        return step_memory(run.network, self.material, size)

    def limit(self, count: int) -> int:
        """The largest power of two whose step takes at most half of the free memory."""
        free = free_bytes(building.device(self.recipe))
        run = Run(next(self.folder.iterdir()), trust=self.trust)
        size, largest = 1, 1 << (count.bit_length() - 1)
        one, two = self.memory(run, 8), self.memory(run, 16)
        if free is None or one is None or two is None:
            return largest
        each = max(1.0, (two - one) / 8)  # a step's memory is a line in the batch size
        while 2 * size <= largest and one + (2 * size - 8) * each <= MEMORY_SHARE * free:
            size *= 2
        return size

    def check(self, sizes: list[int], wanted: int, epochs: int, said: Said) -> list[SizeTrial]:
        found: dict[int, tuple[Run, torch.Tensor]] = {}
        for size in sizes:
            with contextlib.suppress(DivergedError):
                run = self.train(size, epochs)
                part = "validation" if "validation" in self.material.parts else "train"
                place = building.device(run.recipe)
                batches = building.batches(run.recipe, self.material, part, place)
                precision = Precision(run.recipe.train.precision, place)
                found[size] = run, examine(run.network.to(place), self._objective(run), batches, precision).losses
                said(f"batch size {size}: loss {float(found[size][1].mean()):.4g} in {run.seconds:.1f} s")
        trials = []
        for size in sizes:
            rate = adapted(self.rate, self.optimizer, size / self.now)
            if size not in found:
                trials.append(SizeTrial(batch_size=size, lr=rate, loss=None))
                continue
            run, losses = found[size]
            above = error = None
            if wanted in found and size != wanted:
                apart = (losses - found[wanted][1]).double()
                above, error = float(apart.mean()), float(apart.std() / math.sqrt(len(apart)))
            trials.append(SizeTrial(
                batch_size=size, lr=rate, loss=float(losses.mean()), seconds=run.seconds, above=above, error=error,
                accuracy=run.metrics.get("validation", {}).get("accuracy"), memory_bytes=self.memory(run, size),
            ))  # fmt: skip
        return trials


def noise_of(network: nn.Module, objective: Any, recipe: Recipe, material: Examples) -> float | None:
    """The noise scale in examples at a network's weights, over training examples without augmentation."""
    place = building.device(recipe)
    drawn = torch.randperm(len(material.parts["train"]), generator=torch.Generator().manual_seed(0))
    rows = drawn[:LOOKED].numpy()
    some = dataclasses.replace(material, parts={"train": material.parts["train"].take(rows)})
    seen = list(building.batches(recipe, some, "train", place).epoch(0))
    if any(len(batch.inputs) != 1 for batch in seen):
        raise DataError("batch size", "a network of several inputs", "one input", "")
    size = min(SMALL, len(rows) // 4)
    if size < 1:
        raise DataError("batch size", plural(len(rows), "training example"), "at least 4")
    inputs, targets = torch.cat([b.inputs[0] for b in seen]), torch.cat([b.targets for b in seen])
    return noise_scale.measure(network.to(place), objective.loss, inputs, targets, size=size).batch


def step_memory(network: nn.Module, material: Examples, size: int) -> int | None:
    """Bytes of a training step, by the graph; None where the network does not run without values."""
    try:
        return training_memory(network, input_shape(material.preprocess[0]), batch=size).peak
    except (NetworkError, RuntimeError, TypeError, ValueError):
        return None


def free_bytes(place: torch.device) -> int | None:
    """Of the device's memory; None where it is not told."""
    if place.type == "cuda":
        return int(torch.cuda.mem_get_info(place)[0])
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return None
