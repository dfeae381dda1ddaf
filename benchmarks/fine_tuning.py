"""Cats and dogs from a network that learned CIFAR-10 here, beside the same network from random weights, at equal time.

    python benchmarks/fine_tuning.py [--seeds 10] [--epochs 12] [--first 5]

A `small_resnet` learns CIFAR-10's training pictures (``--first`` epochs, once, kept in the benchmarks' folder). Then
1,399 photographs of cats and dogs at 32×32, a fifth of them held out, others with each seed: from random weights
(``--epochs`` epochs by the default recipe), all blocks from the start at a tenth of the rate, and the last layer alone
at the default rate. Each way gets as many epochs as take the processor time of the first, by its own epochs of seed 0.
Every row is kept in ``results/fine_tuning.json`` as it is made; seeds that are there are not trained again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from scipy import stats

import netwright
from netwright.recipe import from_dict
from netwright.runs import RunDirectory

ROWS = common.HERE / "results" / "fine_tuning.json"
ALWAYS = {"data.size": "32", "network.name": "small_resnet", "train.threads": 1, "watch.enabled": False}
WAYS: dict[str, dict[str, Any]] = {
    "random weights": {},
    "all blocks, a tenth of the rate": {"train.lr": 0.001},
    "last layer alone": {"train.freeze": "all"},
}
TRIED = 3  # epochs by which the time of one is measured


def pretrained(epochs: int) -> Path:
    """The directory of the run on CIFAR-10, trained once."""
    folder = common.work_folder() / f"fine-tuning-{epochs}"
    known = folder / "cifar10-0001"
    if not (known / "report.html").is_file():
        source = common.unpacked(common.shared() / "cifar10" / "CIFAR-10-images.tar.xz") / "CIFAR-10-images" / "train"
        test = common.cifar10_batches() / "test_batch"
        keys = {"data.source": str(source), "data.test": str(test), "train.epochs": epochs, "name": "cifar10"}
        run = netwright.train(from_dict({}, ALWAYS | keys), folder=folder)
        known = run.directory
    return known


def trained(way: str, seed: int, epochs: int, start: Path) -> tuple[float, float]:
    """Accuracy on the held-out fifth, and processor seconds of the training with its evaluation."""
    photos = common.unpacked(common.shared() / "photos" / "dogcat_160.tar")
    source = next(path for path in (photos, *photos.iterdir()) if len([p for p in path.iterdir() if p.is_dir()]) > 1)
    keys = ALWAYS | {
        "data.source": str(source), "data.test": 0.2, "data.validation": 0.0, "data.split_seed": seed, "seed": seed,
        "train.epochs": epochs, **WAYS[way],
    }  # fmt: skip
    if way != "random weights":
        keys["network.weights"] = str(start)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        accuracy = netwright.train(from_dict({}, keys), folder=folder).metrics["test"]["accuracy"]
    return accuracy, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--first", type=int, default=5)
    options = parser.parse_args()
    start = pretrained(options.first)
    first = RunDirectory(start).summary().metrics["test"]["accuracy"]
    found = json.loads(ROWS.read_text()) if ROWS.is_file() else {}
    if found.get("epochs_from_random_weights") != options.epochs:
        found = {"epochs_from_random_weights": options.epochs, "accuracy_on_cifar10": first, "epochs": {}, "rows": []}
    if not found["epochs"]:
        trained("random weights", 0, 1, start)  # pictures are decoded once, and imports are over
        each: dict[str, float] = {}
        for way in WAYS:
            one, more = (trained(way, 0, count, start)[1] for count in (1, 1 + TRIED))
            each[way] = (more - one) / TRIED
        whole = options.epochs * each["random weights"]
        found["epochs"] = {way: max(1, round(whole / seconds)) for way, seconds in each.items()}
        found["seconds_an_epoch"] = each
    known = {(row["way"], row["seed"]) for row in found["rows"]}
    for seed in range(options.seeds):
        for way in WAYS:
            if (way, seed) in known:
                continue
            accuracy, seconds = trained(way, seed, found["epochs"][way], start)
            found["rows"].append({"way": way, "seed": seed, "accuracy": accuracy, "seconds": seconds})
            print(json.dumps(found["rows"][-1]), flush=True)
            ROWS.write_text(json.dumps(found | common.facts(), indent=1) + "\n")
    values = {way: [row["accuracy"] for row in found["rows"] if row["way"] == way] for way in WAYS}
    for way, accuracies in values.items():
        spread = f"{100 * np.mean(accuracies):.1f} % ± {100 * np.std(accuracies, ddof=1):.1f}"
        print(f"{way:32} {found['epochs'][way]:3} epochs  {spread}")
        if way != "random weights":
            gained = np.subtract(accuracies, values["random weights"])
            wide = stats.t.ppf(0.975, len(gained) - 1) * gained.std(ddof=1) / np.sqrt(len(gained))
            mean, low, high = (100 * value for value in (gained.mean(), gained.mean() - wide, gained.mean() + wide))
            print(f"{'':32} gained {mean:.1f} points [{low:.1f}, {high:.1f}]")


if __name__ == "__main__":
    main()
