"""Training throughput of netwright, recording on, against loops written by hand and other trainers.

Every contestant trains the same network (``uint8`` pictures in memory, batch 128, AdamW, constant rate, nothing
augmented) in a process of its own, epoch after epoch. They take turns of half a second, so that what the machine does
meanwhile falls on all alike: whoever's turn it is trains, the others wait in front of their next forward pass. Whatever
a contestant does between two passes (loading, stepping, recording, the end of an epoch, checkpoints) is in its time;
its clock stands still while it waits: "every four seconds" are four of its own. A pair is ten turns of each.

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
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import common
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
from netwright.training import loop

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
    epochs = 100_000  # nobody comes to the end

    def __post_init__(self) -> None:
        scaled = self.images / np.float32(255)
        self.mean, self.std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return NETWORKS[self.network](self.images.shape[1:], 10, **self.arguments)

    def autocast(self) -> contextlib.AbstractContextManager:
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else contextlib.nullcontext()


class Turns:
    """In a contestant's process: waits before every ``steps``-th forward pass in training until it may go on."""

    def __init__(self, pipe: Connection, steps: int, clock: Callable[[], float]) -> None:
        self.pipe, self.steps, self.clock = pipe, steps, clock
        self.calls, self.waited, self.started = 0, 0.0, 0.0
        self.begun = True  # False: passes before the training do not count

    def install(self, kind: type[nn.Module]) -> None:
        """On every network of the class ``kind``; no hook, which would send the call a slower way."""
        forward, real = kind.forward, time.monotonic

        def forward_in_turn(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
            if network.training and self.begun:
                if not self.calls % self.steps:
                    self.hand_over(real)
                self.calls += 1
            return forward(network, x)

        kind.forward = forward_in_turn
        time.monotonic = lambda: real() - self.waited

    def hand_over(self, real: Callable[[], float]) -> None:
        stopped = real()
        self.pipe.send(self.clock() - self.started)
        if not self.pipe.recv():
            os._exit(0)
        self.waited += real() - stopped
        self.started = self.clock()


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


def netwright(task: Task) -> None:
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
    workbench.train(recipe, folder=common.work_folder() / "runs" / str(os.getpid()), material=material)


def plain(task: Task) -> None:
    network = task.build().to(memory_format=task.layout)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY, fused=True)
    feed = Feed(task)
    for _ in range(task.epochs):
        for x, y in feed:
            with task.autocast():
                loss = functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


def usual(task: Task) -> None:
    """fp32 whatever the precision of the others, as the tutorials have it."""
    network = task.build()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    pictures = torch.cat([x for x, _ in Feed(dataclasses.replace(task, layout=torch.contiguous_format))])
    loader = DataLoader(TensorDataset(pictures, torch.from_numpy(task.labels)), BATCH, shuffle=True)
    for _ in range(task.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()


def lightning(task: Task) -> None:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.build()

        def training_step(self, batch, number):
            return functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), RATE, weight_decay=DECAY, fused=True)

    trainer = L.Trainer(
        max_epochs=task.epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, precision="bf16-mixed" if task.precision == "bf16" else "32-true",
    )  # fmt: skip
    trainer.fit(Module().to(memory_format=task.layout), Feed(task))


def keras(task: Task) -> None:
    import keras as K

    class Batches(IterableDataset):
        def __init__(self) -> None:
            self.feed = Feed(task)

        def __len__(self) -> int:
            return len(self.feed)

        def __iter__(self):
            return iter(self.feed)

    network = K.layers.TorchModuleWrapper(task.build().to(memory_format=task.layout))
    model = K.Sequential([K.Input(task.images.shape[1:]), network])
    model.compile(
        K.optimizers.AdamW(RATE, weight_decay=DECAY), K.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(DataLoader(Batches(), batch_size=None), epochs=task.epochs, verbose=0)


def skorch(task: Task) -> None:
    from skorch import NeuralNet

    net = NeuralNet(
        task.build().to(memory_format=task.layout), nn.CrossEntropyLoss, optimizer=torch.optim.AdamW, lr=RATE,
        optimizer__weight_decay=DECAY, optimizer__fused=True, max_epochs=task.epochs, batch_size=BATCH, verbose=0,
        train_split=None, iterator_train=lambda dataset, batch_size: Feed(task),
    )  # fmt: skip
    net.fit(task.images, task.labels)


# ------------------------------------------------------------------------------------------------ measuring


STEPS = {"mnist": 40, "cifar10": 4}  # of a turn
TURNS = 10  # of a pair


def task_named(name: str, precision: str) -> Task:
    if name == "mnist":
        images, labels = common.mnist()
        return Task(images, labels, "lenet5", precision, {"width": 6})
    images, labels = (np.concatenate([part] * 5) for part in common.cifar10_test())  # as many as CIFAR-10 has to train
    options = override(Recipe(), {"data.source": "python", "data.format": "python"}).data
    chosen = defaults.rule(facts(finish(from_python((images, labels), options=options), options)))
    return Task(
        images, labels, "small_resnet", precision, {key: chosen[f"network.{key}"] for key in ("width", "depth")}
    )


def contest(name: str, form: torch.memory_format, options: argparse.Namespace, pipe: Connection, who: str) -> None:
    """A contestant's process."""
    warnings.filterwarnings("ignore")
    for logger in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    if options.threads:
        torch.set_num_threads(options.threads)
    task = task_named(name, options.precision)
    task.layout = form
    clock = time.process_time if options.clock == "processor" else time.perf_counter
    turns = Turns(pipe, STEPS[name], clock)
    turns.install(type(task.build()))
    if who == "netwright":  # it tries both layouts first
        turns.begun, train = False, loop.train

        def begin(*arguments: Any) -> None:
            turns.begun = True
            train(*arguments)

        loop.train = begin
    globals()[who](task)


def race(
    name: str, contestants: Mapping[str, tuple[str, torch.memory_format]], options: argparse.Namespace, pairs: int
) -> dict[str, list[float]]:
    """Steps a second of each contestant (label → its function and layout) in each of ``pairs`` pairs."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for label, (who, form) in contestants.items():
        pipes[label], theirs = context.Pipe()
        process = context.Process(target=contest, args=(name, form, options, theirs, who), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
        pipes[label].recv()  # it stands before its first step
    seen: dict[str, list[float]] = {label: [] for label in contestants}
    labels = list(contestants)
    for pair in range(pairs + 1):  # the first is to warm up
        seconds = dict.fromkeys(labels, 0.0)
        for turn in range(TURNS):
            for label in labels if turn % 2 else labels[::-1]:
                time.sleep(0.01)  # threads of the one before stop spinning
                pipes[label].send(True)
                seconds[label] += pipes[label].recv()
        if pair:
            for label in labels:
                seen[label].append(TURNS * STEPS[name] / seconds[label])
            done = "  ".join(f"{label} {seen[label][-1] * BATCH:.4g}" for label in labels)
            print(f"  pair {pair}/{pairs}: {done}", file=sys.stderr, flush=True)
    for label, process in zip(labels, processes):
        pipes[label].send(False)
        process.join()
    common.remove(common.work_folder() / "runs")
    return seen


def faster_layout(name: str, options: argparse.Namespace) -> torch.memory_format:
    """By the plain loop itself."""
    forms = {str(form): form for form in (torch.contiguous_format, torch.channels_last)}
    speeds = race(name, {label: ("plain", form) for label, form in forms.items()}, options, 3)
    return forms[max(forms, key=lambda label: sorted(speeds[label])[1])]


def importable(name: str) -> str:
    """Empty, or why a peer cannot be measured here (Lightning: a RuntimeError beside a broken torchvision)."""
    try:
        __import__(name)
    except (ImportError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return ""


def measure(name: str, options: argparse.Namespace) -> None:
    precision, wanted = options.precision, options.against
    layout = faster_layout(name, options)
    skipped = {peer: reason for peer in PEERS if peer in wanted and (reason := importable(peer))}
    known = ("netwright", "plain", "usual", *PEERS)
    chosen = [who for who in known if who == "netwright" or (who in wanted and who not in skipped)]
    speeds = race(name, {who: (who, layout) for who in chosen}, options, options.pairs)
    ratios = {other: common.ratio(speeds["netwright"], speeds[other]) for other in speeds if other != "netwright"}
    task = task_named(name, precision)
    print(f"\n{name}, {task.network} {task.arguments or ''}, batch {BATCH}, {precision}, plain loop {layout}")
    rows = []
    for other, value in ratios.items():
        target = TARGETS.get(f"{other} {name}", TARGETS.get(other))
        speed = common.interval(speeds[other])["median"] * BATCH
        rows.append((other, f"{speed:.0f}", common.ratio_text(value), f"{target:.2f}" if precision == "fp32" else ""))
    rows += [(other, "", f"skipped: {reason}", "") for other, reason in skipped.items()]
    own = f"{common.interval(speeds['netwright'])['median'] * BATCH:.0f}"
    common.table(("", "examples/s", "netwright / it", "target"), [("netwright", own, "", ""), *rows])
    common.write_result("throughput", f"{name} {precision} {options.clock} against {' '.join(wanted)}", {
        "network": task.network, "arguments": task.arguments, "batch": BATCH, "layout": str(layout), "ratios": ratios,
        "clock": options.clock, "steps": TURNS * STEPS[name],
        "examples_per_second": {other: BATCH * common.interval(seen)["median"] for other, seen in speeds.items()},
        "skipped": skipped, "peers": {peer: common.version(peer) for peer in PEERS if peer in chosen},
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["mnist", "cifar10"], help="mnist, cifar10")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="processor: for a busy machine")
    parser.add_argument("--against", nargs="*", default=["plain", "usual", *PEERS], help="all of them if not given")
    options = parser.parse_args()
    for name in options.tasks:
        measure(name, options)


if __name__ == "__main__":
    main()
