"""The five low-rank families on real trained layers: error of the weight, parameters, MACs, time and accuracy, over a
budget of parameters.

    python benchmarks/lowrank.py [--examples 20000] [--epochs 2] [--shares 0.75 0.5 0.25 0.1] [--rounds 30]

A network of two convolutions (32 and 64 channels, 5×5) and two dense layers (256, 10) learns MNIST; then its second
convolution and its first dense layer are factorised alone, without healing. Time is of the layer, a batch of 16, one
thread, PyTorch, in turns with the layer as it was.
"""

from __future__ import annotations

import argparse
import copy
import json

import torch
from common import HERE, mnist, rounded
from torch import nn
from torch.nn import functional as F

from netwright.compression import passes
from netwright.compression.passes import Context
from netwright.export import timing

LAYERS = {"3": ("svd", "tucker", "cp", "train", "block"), "7": ("svd", "train", "block")}


def trained(x: torch.Tensor, y: torch.Tensor, epochs: int) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            F.cross_entropy(network(x[index]), y[index]).backward()
            optimizer.step()
    return network.eval()


def accuracy(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.inference_mode():
        right = sum(int((network(a).argmax(1) == b).sum()) for a, b in zip(x.split(1000), y.split(1000), strict=True))
    return right / len(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.75, 0.5, 0.25, 0.1])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--tested", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (x, y), (tx, ty) = (
        (torch.from_numpy(images).float().div(255), torch.from_numpy(labels))
        for images, labels in (mnist("train"), mnist("t10k"))
    )
    tx, ty = tx[: options.tested], ty[: options.tested]
    network = trained(x[: options.examples], y[: options.examples], options.epochs)
    before = accuracy(network, tx, ty)
    print(f"accuracy {before:.4f}; layer, family, share: error, MACs of the network, time of the layer, accuracy")
    rows = []
    context = Context(example=(1, 28, 28))
    for name, families in LAYERS.items():
        place = int(name)
        with torch.inference_mode():
            inputs = network[:place](tx[:16])
        for family in families:
            for share in options.shares:
                changed = copy.deepcopy(network)
                step = passes.parse(f"lowrank={family}:parameters={share},layers={name}")[0]
                facts = step.apply(changed, context).facts
                if "layers" not in facts:
                    continue  # no ranks so small
                with torch.inference_mode():
                    calls = {"old": lambda: network[place](inputs), "new": lambda: changed[place](inputs)}  # noqa: B023
                    found = timing.times(calls, rounds=options.rounds, seconds=20)
                ratios = sorted(new / old for old, new in zip(found["old"], found["new"], strict=True))
                row = {
                    "layer": name, "family": family, "share": share, **facts["layers"][name],
                    "macs": [context.macs(network), context.macs(changed)],
                    "time": ratios[len(ratios) // 2], "accuracy": [before, accuracy(changed, tx, ty)],
                }  # fmt: skip
                rows.append(row)
                (HERE / "results" / "lowrank.json").write_text(json.dumps(rounded(rows), indent=1) + "\n")
                slower = " slower than before" * (row["time"] > 1)
                print(
                    f"{name} {family:6} {share:4} {row['ranks']!s:16} error {row['error']:.3f} "
                    f"MACs {row['macs'][1] / row['macs'][0]:.2f} time {row['time']:.2f} "
                    f"accuracy {row['accuracy'][1]:.4f}{slower}", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
