"""Which networks carry a memory over a long lag, and which a signal through 50 layers.

    python benchmarks/recurrence.py copy  [--lags 10 50 100] [--seeds 3] [--steps 1500]
    python benchmarks/recurrence.py depth [--layers 8 50] [--seeds 3] [--epochs 5]

``copy``: eight signs, a stretch of blanks, a mark, and then the signs again (Hochreiter and Schmidhuber 1997; Arjovsky
et al. 2016). Only the answer counts; guessing gives 1/8. Plain recurrent units, GRU and LSTM of 64 units, the same
optimiser (Adam, 0.003, gradients clipped at 1) and the same examples.

``depth``: the digits of scikit-learn with plain and residual stacks of 3×3 convolutions with batch norm, 16 channels,
He's initial weights, the same recipe; test accuracy and the first layer's gradient ÷ the last one's at the start.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

import torch
from torch import nn
from torch.nn import functional as F

from netwright.nn.zoo import NETWORKS

SIGNS, LENGTH, WIDTH, BATCH = 8, 8, 64, 64
BLANK, MARK = SIGNS, SIGNS + 1


def copies(lag: int, count: int, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (N, LENGTH + lag + LENGTH) and the signs (N, LENGTH) that are to be said at the last positions."""
    signs = torch.randint(0, SIGNS, (count, LENGTH), generator=draw)
    ids = torch.full((count, 2 * LENGTH + lag), BLANK)
    ids[:, :LENGTH], ids[:, LENGTH + lag] = signs, MARK
    return ids, signs


def told(network: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    for module in network.modules():
        if hasattr(module, "memory"):
            module.memory = None
    return network(ids).view(len(ids), ids.shape[1], -1)[:, -LENGTH:]


def copy(cell: str, lag: int, seed: int, steps: int) -> dict:
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(1000 + seed)
    network = NETWORKS[cell]((1,), SIGNS, width=WIDTH, vocabulary=SIGNS + 2, embedding=16, read="every")
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    started = time.process_time()
    for _ in range(steps):
        ids, signs = copies(lag, BATCH, draw)
        loss = F.cross_entropy(told(network, ids).flatten(0, 1), signs.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    ids, signs = copies(lag, 1000, torch.Generator().manual_seed(7))
    with torch.no_grad():
        right = (told(network, ids).argmax(-1) == signs).float().mean().item()
    return {"cell": cell, "lag": lag, "seed": seed, "right": round(right, 4), "loss": round(loss.item(), 4),
            "processor_seconds": round(time.process_time() - started, 1)}  # fmt: skip


class Stack(nn.Module):
    """``layers`` convolutions; ``residual``: every two of them beside a shortcut."""

    def __init__(self, layers: int, residual: bool, width: int = 16) -> None:
        super().__init__()
        self.residual = residual
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            ) for _ in range((layers - 2) // 2)
        )  # fmt: skip
        self.head = nn.Linear(width, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.relu(block(x) + x) if self.residual else F.relu(block(x))
        return self.head(x.mean((2, 3)))


def depth(layers: int, residual: bool, seed: int, epochs: int) -> dict:
    import netwright

    torch.manual_seed(seed)
    network = Stack(layers, residual)
    x, y = torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,))
    F.cross_entropy(network(x), y).backward()
    ratio = float(network.stem[0].weight.grad.norm() / network.head.weight.grad.norm())
    network.zero_grad()
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = netwright.fit(
            network, "digits", epochs=epochs, seed=seed, lr=0.003, batch_size=64, quiet=True, folder=folder,
            settings={"watch.enabled": False, "train.average": 0.0},
        )  # fmt: skip
        accuracy = round(run.metrics["test"]["accuracy"], 4)
        return {"layers": layers, "residual": residual, "seed": seed, "accuracy": accuracy,
                "gradient_first_to_last": float(f"{ratio:.3g}"),
                "processor_seconds": round(time.process_time() - started, 1)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("copy", "depth"))
    parser.add_argument("--lags", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--layers", type=int, nargs="+", default=[8, 50])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in range(options.seeds):
        if options.what == "copy":
            for lag in options.lags:
                for cell in ("rnn", "gru", "lstm"):
                    print(json.dumps(copy(cell, lag, seed, options.steps)), flush=True)
        else:
            for layers in options.layers:
                for residual in (False, True):
                    print(json.dumps(depth(layers, residual, seed, options.epochs)), flush=True)


if __name__ == "__main__":
    main()
