"""Training throughput of netwright, recording on, against loops written by hand and other trainers.

Every contestant trains the same network (as ``uint8`` pictures in memory, batch 128, AdamW, constant rate, no
augmentation) for three epochs; the time from the end of the first epoch to the end of the last counts. They take turns.

- netwright: ``workbench.train`` with a run directory, series, training metrics and checkpoints as always
- plain: the fastest loop by hand, in the faster memory layout, with a fused optimiser; it records nothing
- usual: TensorDataset of normalised floats, DataLoader, default layout and optimiser, as in tutorials
- lightning, keras, skorch: fed with the plain loop's ready batches in its layout, logging and checkpoints off
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator

os.environ.setdefault("KERAS_BACKEND", "torch")

import common
import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from netwright import workbench
from netwright.data.examples import facts
from netwright.data.handed import from_python
from netwright.data.opening import finish
from netwright.nn.zoo import NETWORKS
from netwright.recipe import Recipe, defaults, override

BATCH, RATE, DECAY = 128, 1e-3, 1e-2
TARGETS = {"plain": 0.97, "usual mnist": 1.05, "usual cifar10": 1.25, "lightning": 1.0, "keras": 1.0, "skorch": 1.0}
PEERS = ("lightning", "keras", "skorch")


@dataclasses.dataclass
class Task:
    """One network and its data."""

    images: np.ndarray  # uint8 (N, C, H, W)
    labels: np.ndarray
    network: str
    precision: str
    arguments: dict[str, int] = dataclasses.field(default_factory=dict)
    layout: torch.memory_format = torch.contiguous_format
    clock: Callable[[], float] = time.perf_counter
    epochs = 3  # the first is not timed

    def __post_init__(self) -> None:
        scaled = self.images / np.float32(255)
        self.mean, self.std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return NETWORKS[self.network](self.images.shape[1:], 10, **self.arguments)

    def autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else contextlib.nullcontext()


class Clock:
    """Ends of epochs; also a sink of netwright's."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.ends: list[float] = []

    def tick(self) -> None:
        self.ends.append(self.task.clock())

    def examples_per_second(self) -> float:
        return (len(self.ends) - 1) * len(self.task.images) / (self.ends[-1] - self.ends[0])

    def series(self, name: str, first_step: int, values: list[float]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def epoch(self, row) -> None:
        if row.split == "train":
            self.tick()


class Feed:
    """Shuffled batches from ``uint8`` memory, normalised as a whole, in the layout that they were stored in."""

    def __init__(self, task: Task) -> None:
        self.last = task.layout == torch.channels_last
        images = torch.from_numpy(task.images)
        self.images = images.permute(0, 2, 3, 1).contiguous() if self.last else images
        self.labels = torch.from_numpy(task.labels)
        width = task.images.shape[3] if self.last else 1  # whole lines at once: short inner loops are slow
        shape = (1, 1, -1) if self.last else (1, -1, 1, 1)
        self.factor = torch.tensor(1 / (255 * task.std), dtype=torch.float32).repeat(width).view(shape)
        self.offset = torch.tensor(-task.mean / task.std, dtype=torch.float32).repeat(width).view(shape)

    def __len__(self) -> int:
        return len(self.labels) // BATCH

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self.labels))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            x = self.images.index_select(0, rows).float()
            if self.last:
                n, h, w, c = x.shape
                x = x.view(n, h, w * c).mul_(self.factor).add_(self.offset).view(n, h, w, c).permute(0, 3, 1, 2)
            else:
                x = x.mul_(self.factor).add_(self.offset)
            yield x, self.labels.index_select(0, rows)


# ------------------------------------------------------------------------------------------------ contestants


def netwright(task: Task) -> float:
    recipe = override(Recipe(), {
        "data.source": "python", "data.format": "python", "data.validation": 0.0, "data.test": 0.0,
        "network.name": task.network, **{f"network.{key}": value for key, value in task.arguments.items()},
        "train.epochs": task.epochs, "train.batch_size": BATCH, "train.optimizer": "adamw", "train.lr": RATE,
        "train.weight_decay": DECAY, "train.schedule": "constant", "train.warmup": 0.0,
        "train.precision": task.precision, "augment.flip": "none",
        **{f"augment.{key}": 0.0 for key in ("shift", "rotate", "crop", "cutout", "color", "noise", "mixup")},
        "objective.label_smoothing": 0.0, "network.dropout": 0.0,
    })  # fmt: skip
    material = finish(from_python((task.images, task.labels), options=recipe.data), recipe.data)
    clock, folder = Clock(task), common.work_folder() / "runs"
    run = workbench.train(recipe, folder=folder, material=material, sinks=(clock,))
    common.remove(run.directory)
    return clock.examples_per_second()


def plain(task: Task) -> float:
    network = task.build().to(memory_format=task.layout)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY, fused=True)
    feed, clock = Feed(task), Clock(task)
    for _ in range(task.epochs):
        for x, y in feed:
            with task.autocast():
                loss = functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        clock.tick()
    return clock.examples_per_second()


def usual(task: Task) -> float:
    """fp32 whatever the precision of the others, as the tutorials have it."""
    network = task.build()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    pictures = torch.cat([x for x, _ in Feed(dataclasses.replace(task, layout=torch.contiguous_format))])
    loader = DataLoader(TensorDataset(pictures, torch.from_numpy(task.labels)), BATCH, shuffle=True)
    clock = Clock(task)
    for _ in range(task.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
        clock.tick()
    return clock.examples_per_second()


def lightning(task: Task) -> float:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.build()

        def training_step(self, batch, number):
            return functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), RATE, weight_decay=DECAY, fused=True)

        def on_train_epoch_end(self) -> None:
            clock.tick()

    clock = Clock(task)
    trainer = L.Trainer(
        max_epochs=task.epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, precision="bf16-mixed" if task.precision == "bf16" else "32-true",
    )  # fmt: skip
    trainer.fit(Module().to(memory_format=task.layout), Feed(task))
    return clock.examples_per_second()


def keras(task: Task) -> float:
    import keras as K

    class Batches(IterableDataset):
        def __init__(self) -> None:
            self.feed = Feed(task)

        def __len__(self) -> int:
            return len(self.feed)

        def __iter__(self):
            return iter(self.feed)

    clock = Clock(task)
    network = K.layers.TorchModuleWrapper(task.build().to(memory_format=task.layout))
    model = K.Sequential([K.Input(task.images.shape[1:]), network])
    model.compile(
        K.optimizers.AdamW(RATE, weight_decay=DECAY), K.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    ends = K.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.tick())
    model.fit(DataLoader(Batches(), batch_size=None), epochs=task.epochs, verbose=0, callbacks=[ends])
    return clock.examples_per_second()


def skorch(task: Task) -> float:
    from skorch import NeuralNet
    from skorch.callbacks import Callback

    class Ends(Callback):
        def on_epoch_end(self, net, **kwargs) -> None:
            clock.tick()

    clock = Clock(task)
    net = NeuralNet(
        task.build().to(memory_format=task.layout), nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=RATE,
        optimizer__weight_decay=DECAY, optimizer__fused=True, max_epochs=task.epochs, batch_size=BATCH, verbose=0,
        train_split=None, iterator_train=lambda dataset, batch_size: Feed(task), callbacks=[Ends()],
    )  # fmt: skip
    net.fit(task.images, task.labels)
    return clock.examples_per_second()


# ------------------------------------------------------------------------------------------------ measuring


def task_named(name: str, precision: str, steps: int) -> Task:
    """``steps`` are timed; by default about three seconds of them on two cores."""
    if name == "mnist":
        images, labels = common.mnist()
        count = (steps or 400) // 2 * BATCH
        return Task(images[:count], labels[:count], "lenet5", precision, {"width": 6})
    images, labels = common.cifar10_test()
    count = min((steps or 100) // 2 * BATCH, len(images) // BATCH * BATCH)
    options = override(Recipe(), {"data.source": "python", "data.format": "python"}).data
    known = facts(finish(from_python((images, labels), options=options), options))
    chosen = defaults.rule(msgspec.structs.replace(known, examples=50_000))
    arguments = {key: chosen[f"network.{key}"] for key in ("width", "depth")}
    return Task(images[:count], labels[:count], "small_resnet", precision, arguments)


def faster_layout(task: Task) -> torch.memory_format:
    """By the plain loop itself, three turns each."""
    speeds = {form: [] for form in (torch.contiguous_format, torch.channels_last)}
    for _ in range(3):
        for form, seen in speeds.items():
            seen.append(plain(dataclasses.replace(task, layout=form)))
    return max(speeds, key=lambda form: sorted(speeds[form])[1])


def importable(name: str) -> str:
    """Empty, or why a peer cannot be measured here (Lightning: a RuntimeError beside a broken torchvision)."""
    try:
        __import__(name)
    except (ImportError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return ""


def measure(name: str, options: argparse.Namespace) -> None:
    task, precision, wanted = task_named(name, options.precision, options.steps), options.precision, options.against
    task.clock = time.process_time if options.clock == "processor" else time.perf_counter
    task.layout = faster_layout(task)
    skipped = {peer: reason for peer in PEERS if peer in wanted and (reason := importable(peer))}
    contestants: dict[str, Callable[[], float]] = {}
    for contestant in (netwright, plain, usual, lightning, keras, skorch):
        if contestant is netwright or (contestant.__name__ in wanted and contestant.__name__ not in skipped):
            contestants[contestant.__name__] = lambda contestant=contestant: contestant(task)
    speeds = common.rounds(contestants, options.pairs)
    ratios = {other: common.ratio(speeds["netwright"], speeds[other]) for other in speeds if other != "netwright"}
    layout = "channels_last" if task.layout == torch.channels_last else "contiguous"
    print(f"\n{name}, {task.network} {task.arguments or ''}, batch {BATCH}, {precision}, plain loop {layout}")
    rows = []
    for other, value in ratios.items():
        target = TARGETS.get(f"{other} {name}", TARGETS.get(other))
        speed = common.interval(speeds[other])["median"]
        rows.append((other, f"{speed:.0f}", common.ratio_text(value), f"{target:.2f}" if precision == "fp32" else ""))
    rows += [(other, "", f"skipped: {reason}", "") for other, reason in skipped.items()]
    own = f"{common.interval(speeds['netwright'])['median']:.0f}"
    common.table(("", "examples/s", "netwright / it", "target"), [("netwright", own, "", ""), *rows])
    common.write_result("throughput", f"{name} {precision} {options.clock} against {' '.join(wanted)}", {
        "network": task.network, "arguments": task.arguments, "batch": BATCH, "layout": layout, "ratios": ratios,
        "clock": options.clock, "steps": 2 * len(task.images) // BATCH,
        "examples_per_second": {other: common.interval(seen)["median"] for other, seen in speeds.items()},
        "skipped": skipped, "peers": {peer: common.version(peer) for peer in PEERS if peer in contestants},
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["mnist", "cifar10"], help="mnist, cifar10")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--steps", type=int, default=0, help="timed in a piece; 0: enough for about three seconds")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="processor: for a busy machine")
    parser.add_argument("--against", nargs="*", default=["plain", "usual", *PEERS], help="all of them if not given")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    for logger in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    for name in options.tasks:
        measure(name, options)


if __name__ == "__main__":
    main()
