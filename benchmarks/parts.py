"""The parts of the craft at work: batch norm in sigmoid networks, Rprop and batches, what switches cost.

``python benchmarks/parts.py [batchnorm vgg rprop cost]`` prints tables, writes ``results/parts.json`` and the pictures
``docs/images/parts/experiment-*.svg``. Some minutes on one core; ``--steps`` shortens ``batchnorm`` and ``vgg``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import common
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from netwright.nn.refitting import refit
from netwright.nn.surgery import replay
from netwright.nn.zoo import NETWORKS
from netwright.optim import constraints, optimizers, schedules
from netwright.recipe.schema import FULL_BATCH, OPTIMIZERS, SCHEDULES, Train
from netwright.reporting.plots import Curve, lines

PASSES = 30
PICTURES = common.HERE.parent / "docs" / "images" / "parts"


def shuffled(count: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator)[: count // size * size].split(size)


def mnist() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalised training and test part."""
    (x, y), (tx, ty) = common.mnist(), common.mnist("t10k")
    mean, std = x.mean(), x.std()
    return (
        torch.from_numpy((x - mean) / std).float(),
        torch.from_numpy(y),
        torch.from_numpy((tx - mean) / std).float(),
        torch.from_numpy(ty),
    )


def accuracy(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        right = [(network.eval()(a).argmax(1) == b).float().sum() for a, b in zip(x.split(1000), y.split(1000))]
    network.train()
    return float(torch.stack(right).sum()) / len(y)


# ---- Ioffe and Szegedy 2015, section 4.1: MNIST, three sigmoid layers of 100, batches of 60


def batchnorm(steps: int) -> dict[str, Any]:
    x, y, tx, ty = mnist()
    found: dict[str, Any] = {}
    for name in ("without", "with"):
        torch.manual_seed(0)
        layers = [part for i, o in ((784, 100), (100, 100), (100, 100)) for part in (nn.Linear(i, o), nn.Sigmoid())]
        network = nn.Sequential(nn.Flatten(), *layers, nn.Linear(100, 10))
        for layer in network:
            if isinstance(layer, nn.Linear):  # "initialized to small random Gaussian values"
                nn.init.normal_(layer.weight, std=0.1)
                nn.init.zeros_(layer.bias)
        if name == "with":
            replay(network, refit(network, (1, 28, 28), norm="batch"))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        heard: list[torch.Tensor] = []
        last = [module for module in network.modules() if isinstance(module, nn.Sigmoid)][-1]
        last.register_forward_pre_hook(lambda module, given, heard=heard: heard.append(given[0].detach()[:, 0]))
        curve: dict[str, list[float]] = {"step": [], "accuracy": [], "p15": [], "p50": [], "p85": []}
        for step, rows in zip(range(steps), shuffled(len(x), 60, 0)):
            if step % max(1, steps // 60) == 0:
                heard.clear()
                curve["accuracy"].append(accuracy(network, tx, ty))
                values = torch.cat(heard).numpy()
                curve["step"].append(step)
                for percent in (15, 50, 85):
                    curve[f"p{percent}"].append(float(np.percentile(values, percent)))
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
            heard.clear()
        curve["step"].append(steps)
        curve["accuracy"].append(accuracy(network, tx, ty))
        found[name] = curve
        print(f"{name} batch norm: accuracy {curve['accuracy'][-1]:.4f} after {steps} steps")
    draw(
        "batchnorm-accuracy",
        "MNIST, three sigmoid layers: test accuracy",
        [Curve(f"{name} batch norm", found[name]["step"], found[name]["accuracy"]) for name in ("with", "without")],
        x_title="step",
    )
    for name in ("with", "without"):
        curves = [Curve(f"{p} %", found[name]["step"][:-1], found[name][f"p{p}"]) for p in (15, 50, 85)]
        draw(
            f"batchnorm-inputs-{name}",
            f"Input of a last sigmoid, {name} batch norm: percentiles",
            curves,
            x_title="step",
            y=(-3.0, 3.0),
        )
    return {name: {"accuracy": found[name]["accuracy"][-1], "steps": steps} for name in found}


def vgg(steps: int) -> dict[str, Any]:
    """Nine 3×3 convolutions with sigmoids on MNIST's pictures at half size, with batch norm and without."""
    x, y, tx, ty = mnist()
    x, tx, ty = nn.functional.avg_pool2d(x, 2), nn.functional.avg_pool2d(tx[:1000], 2), ty[:1000]
    found: dict[str, Any] = {}
    curves = []
    for norm in ("batch", "none"):
        torch.manual_seed(0)
        network = NETWORKS["small_vgg"]((1, 14, 14), 10, width=8, depth=3)
        replay(network, refit(network, (1, 14, 14), norm=norm, activation="sigmoid"))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        at, seen = [], []
        for step, rows in zip(range(steps + 1), shuffled(len(x), 64, 0)):
            if step % max(1, steps // 10) == 0:
                at.append(step)
                seen.append(accuracy(network, tx, ty))
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
        convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
        found[norm] = {"accuracy": seen[-1], "best": max(seen), "steps": steps, "convolutions": convolutions}
        print(f"sigmoid VGG of {convolutions} convolutions, norm {norm}: accuracy {seen[-1]:.4f}, best {max(seen):.4f}")
        curves.append(Curve("with batch norm" if norm == "batch" else "without", at, seen))
    draw("sigmoid-vgg", "VGG with sigmoids: test accuracy", curves, x_title="step", y=(0.0, 1.0))
    return found


# ---- Rprop on batches


def rprop(seeds: int = 3) -> dict[str, Any]:
    """Digits, 32 hidden tanh units, thirty passes: Rprop on batches of 16 and on all, RMSProp on batches."""
    inputs, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(inputs / 16 - 0.3).float(), torch.from_numpy(labels)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, held = order[:1400], order[1400:]
    cases = {
        "rprop, batches of 16": ("rprop", 0.01, 16),
        "rprop, all": ("rprop", 0.01, 1400),
        "rmsprop, batches of 16": ("rmsprop", 0.003, 16),
    }
    found: dict[str, Any] = {}
    curves = []
    for name, (how, rate, size) in cases.items():
        losses, scores = [], []
        for seed in range(seeds):
            torch.manual_seed(seed)
            network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
            optimizer = optimizers.build(network, Train(optimizer=how, lr=rate, weight_decay=0.0))  # type: ignore[arg-type]
            rows, course = shuffled(len(train), size, seed), []
            for _ in range(PASSES):
                for _ in range(len(train) // size):
                    optimizer.zero_grad()
                    picked = train[next(rows)]
                    nn.functional.cross_entropy(network(x[picked]), y[picked]).backward()
                    optimizer.step()
                with torch.no_grad():
                    course.append(float(nn.functional.cross_entropy(network(x[train]), y[train])))
            losses.append(course)
            scores.append(accuracy(network, x[held], y[held]))
        middle = np.median(np.array(losses), 0)
        found[name] = {"loss": float(middle[-1]), "accuracy": scores, "median": statistics.median(scores)}
        curves.append(Curve(name, list(range(1, PASSES + 1)), [float(value) for value in middle]))
        print(
            f"{name}: loss {middle[-1]:.4g} after {PASSES} passes, "
            f"accuracy {min(scores):.3f} to {max(scores):.3f} ({seeds} seeds)"
        )
    draw("rprop", f"Rprop needs the whole training part (median of {seeds} seeds)", curves, x_title="pass", log=True)
    return found


# ---- what it costs


def cost(pairs: int, only: list[str]) -> dict[str, Any]:
    """A training step by netwright's parts over one by PyTorch's own, in turns; processor time of one thread."""
    torch.set_num_threads(1)
    x, y = torch.randn(16, 16, 16, 16), torch.randint(10, (16,))

    def network(norm: str = "batch") -> nn.Sequential:
        torch.manual_seed(0)
        made = {
            "batch": nn.BatchNorm2d,
            "layer": lambda c: nn.GroupNorm(1, c),
            "group": lambda c: nn.GroupNorm(c // 2, c),
            "instance": lambda c: nn.InstanceNorm2d(c, affine=True),
        }
        blocks = [p for _ in range(3) for p in (nn.Conv2d(16, 16, 3, padding=1, bias=False), made[norm](16), nn.ReLU())]
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

    def switched(norm: str) -> nn.Module:
        torch.manual_seed(0)
        blocks = [p for _ in range(3) for p in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
        plain = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
        return replay(plain, refit(plain, (16, 16, 16), norm=norm))

    def stepper(
        net: nn.Module, optimizer: torch.optim.Optimizer, rate: Callable[[int], None] = lambda step: None
    ) -> Callable[[], None]:
        count = iter(range(10**9))

        def step() -> None:
            rate(next(count))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

        return step

    def sgd(net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(net.parameters(), lr=1e-3, fused=True)

    sides: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}
    theirs: dict[str, Any] = {
        "sgd": (torch.optim.SGD, {}),
        "momentum": (torch.optim.SGD, {"momentum": 0.9}),
        "adagrad": (torch.optim.Adagrad, {}),
        "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        "adadelta": (torch.optim.Adadelta, {}),
        "rmsprop": (torch.optim.RMSprop, {}),
        "adam": (torch.optim.Adam, {}),
        "adamw": (torch.optim.AdamW, {"weight_decay": 0.01}),
        "nadam": (torch.optim.NAdam, {}),
        "radam": (torch.optim.RAdam, {}),
        "adamax": (torch.optim.Adamax, {}),
        "rprop": (torch.optim.Rprop, {}),
    }
    for name in OPTIMIZERS:
        if name in theirs:
            kind, more = theirs[name]
            mine, other = network(), network()
            fast = {"fused": True} if name in optimizers.FUSED else {"foreach": True}
            decay = 0.01 if name == "adamw" else 0.0
            options = Train(optimizer=name, lr=1e-3, weight_decay=decay)  # type: ignore[arg-type]
            sides[name] = (
                stepper(mine, optimizers.build(mine, options)),
                stepper(other, kind(other.parameters(), lr=1e-3, **more, **fast)),
            )
    for norm in ("batch", "layer", "group", "instance"):
        mine, other = switched(norm), network(norm)
        sides[f"norm {norm}"] = (stepper(mine, sgd(mine)), stepper(other, sgd(other)))
    pytorchs: dict[str, Callable[[Any], Any]] = {
        "constant": lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0),
        "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 100),
        "exponential": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.999),
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10_000),
        "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1e-3, total_steps=100_000, cycle_momentum=False),
    }
    for name in SCHEDULES:
        if name in pytorchs:
            mine, other = network(), network()
            first, second = sgd(mine), sgd(other)
            at, schedule = schedules.factor(Train(schedule=name), 10_000, 100), pytorchs[name](second)  # type: ignore[arg-type]

            def mine_rate(step: int, first: Any = first, at: Any = at) -> None:
                for group in first.param_groups:
                    group["lr"] = 1e-3 * at(step)

            sides[f"schedule {name}"] = (
                stepper(mine, first, mine_rate),
                stepper(other, second, lambda step, s=schedule: s.step() if step else None),
            )
    for key in ("l1", "max_norm"):  # new: against the step without
        mine, other = network(), network()
        first = sgd(mine)
        constraints.attach(first, mine, Train(**{key: 1e-4 if key == "l1" else 3.0}))  # type: ignore[arg-type]
        sides[f"new: {key}"] = (stepper(mine, first), stepper(other, sgd(other)))
    assert set(OPTIMIZERS) - set(theirs) == set(FULL_BATCH) - {"rprop"}
    found = {}
    for name, (mine_step, their_step) in sides.items():
        if only and name not in only:
            continue
        for step in (mine_step, their_step) * 2:
            step()
        ratios = []
        for pair in range(pairs):
            spent = {}
            for side in ((0, 1), (1, 0))[pair % 2]:
                began = time.process_time()
                for _ in range(4):
                    (mine_step, their_step)[side]()
                spent[side] = time.process_time() - began
            ratios.append(spent[0] / spent[1])
        found[name] = common.interval(ratios) | {"pairs": pairs}
        print(f"{name:20} {common.ratio_text(found[name])}", flush=True)
    return found


def draw(name: str, title: str, curves: list[Curve], **options: Any) -> None:
    (PICTURES / f"experiment-{name}.svg").write_text(lines(title, curves, **options), encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["batchnorm", "vgg", "rprop", "cost"])
    parser.add_argument("--steps", type=int, default=0, help="of batchnorm (2000) and vgg (300)")
    parser.add_argument("--pairs", type=int, default=9, help="of cost")
    parser.add_argument("--only", nargs="*", default=[], help="of cost: these rows, kept under a name of their own")
    given = parser.parse_args()
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "batchnorm": lambda: batchnorm(given.steps or 2000),
        "vgg": lambda: vgg(given.steps or 300),
        "rprop": rprop,
        "cost": lambda: cost(given.pairs, given.only),
    }
    for what in given.what:
        common.write_result("parts", " ".join([what, *given.only]), made[what]())


if __name__ == "__main__":
    main()
