"""Classes that are far from equally many: what class weights, other draws and the focal loss change.

    python benchmarks/imbalance.py [--networks mlp lenet5] [--seeds 5] [--most 1000] [--ratio 100] [--epochs 12]

A long tail cut from MNIST's training part: ``most`` examples of the first class, ``most / ratio`` of the last, an
exponential between them (Cui et al. 2019, Class-Balanced Loss). Which digit is rare turns with the seed. One recipe,
one key changed; 10 % of the whole is set aside only to be looked at, the last weights are kept. Judged on the test
part's 10,000 digits: mean recall of the classes, and of the three rarest and the three most frequent ones alone.
Differences from the plain recipe are of pairs with the same seed, with Student's 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile

import numpy as np
import torch
from common import mnist
from scipy import stats

import netwright

METHODS = {
    "plain": {},
    "class weights": {"objective.class_weights": "balanced"},
    "square-root draws": {"train.sampling": "square-root"},
    "balanced draws": {"train.sampling": "balanced"},
    "focal": {"objective.loss": "focal"},
    "focal, class weights": {"objective.loss": "focal", "objective.class_weights": "balanced"},
}


def long_tail(y: np.ndarray, most: int, ratio: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a long tail, and the classes from the most frequent to the rarest."""
    draw = np.random.default_rng(seed)
    order = np.roll(np.arange(10), seed)
    sizes = np.round(most * ratio ** (-np.arange(10) / 9)).astype(int)
    rows = [draw.permutation(np.flatnonzero(y == label))[:size] for label, size in zip(order, sizes, strict=True)]
    return np.sort(np.concatenate(rows)), order


def recalls(run: netwright.Run, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    network = run.network
    with torch.inference_mode():
        said = torch.cat([network(part).argmax(1) for part in prepared(run, x).split(500)]).numpy()
    return np.array([(said[y == label] == label).mean() for label in range(10)])


def prepared(run: netwright.Run, x: np.ndarray) -> torch.Tensor:
    from netwright.preprocess.with_torch import Prepared

    return Prepared(run.inputs.inputs[0], torch.device("cpu"))(torch.from_numpy(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["mlp", "lenet5"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--ratio", type=float, default=100.0)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (x, y), (test_x, test_y) = mnist("train"), mnist("t10k")
    for name in options.networks:
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(options.seeds):
            rows, order = long_tail(y, options.most, options.ratio, seed)
            for method in options.methods:
                with tempfile.TemporaryDirectory() as folder:
                    run = netwright.fit(
                        name, (x[rows], y[rows]), epochs=options.epochs, seed=seed, quiet=True, folder=folder,
                        lr=0.003, batch_size=64,
                        settings={"watch.enabled": False, "data.validation": 0, "train.layout": "contiguous",
                                  "objective.label_smoothing": 0.0, "train.keep": "last", **METHODS[method]},
                    )  # fmt: skip
                    found.setdefault(method, []).append(recalls(run, test_x, test_y)[order])
        plain = np.stack(found["plain"]).mean(1)
        for method, seen in found.items():
            each = np.stack(seen)
            difference = each.mean(1) - plain
            half = (
                stats.t.ppf(0.975, len(seen) - 1) * difference.std(ddof=1) / len(seen) ** 0.5
                if method != "plain"
                else 0
            )
            row = {
                "network": name, "method": method, "seeds": len(seen), "macro_recall": round(float(each.mean()), 4),
                "deviation": round(statistics.stdev(each.mean(1).tolist()), 4),
                "frequent_three": round(float(each[:, :3].mean()), 4),
                "rarest_three": round(float(each[:, -3:].mean()), 4),
                "less_plain": [round(float(difference.mean() + sign * half), 4) for sign in (0, -1, 1)],
            }  # fmt: skip
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
