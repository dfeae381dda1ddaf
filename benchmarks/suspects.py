"""Which wrong labels ``netwright check --labels`` finds, planted and real.

    python benchmarks/suspects.py planted [--examples 6000] [--wrong 0.05] [--folds 3] [--seeds 1]
    python benchmarks/suspects.py clean [--examples 6000]

``planted``: MNIST's first training digits, a share of the labels replaced by others drawn alike. Precision and recall
of the list, the area under the curve of the score over all judged training examples, and the estimated share.
``clean``: a run on untouched digits judges MNIST's test part, 10,000 digits that it never saw; what it lists is to be
looked at (the page's path is printed).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from common import mnist, work_folder
from sklearn.metrics import roc_auc_score

from netwright import suspecting, workbench
from netwright.data.opening import open_source
from netwright.recipe import Recipe, from_dict, override
from netwright.records import LabelCheck

SETTINGS = {
    "network.name": "lenet5", "train.epochs": 4, "train.layout": "contiguous", "watch.enabled": False,
    "data.validation": 0,
}  # fmt: skip


def recipe(x: np.ndarray, y: np.ndarray, name: str, **more: object) -> Recipe:
    path = work_folder() / f"{name}.npz"
    np.savez(path, x=x, y=y)
    return from_dict({}, {**SETTINGS, "data.source": str(path), **more})


def planted(examples: int, share: float, folds: int, seed: int) -> dict:
    x, y = (each[:examples] for each in mnist())
    draw = np.random.default_rng(100 + seed)
    wrong = draw.random(examples) < share
    given = np.where(wrong, (y + draw.integers(1, 10, examples)) % 10, y)
    asked = recipe(x, given, f"planted-{examples}-{share}-{seed}", seed=seed)
    started = time.process_time()
    found = suspecting.suspects(asked, folds=folds, folder=work_folder() / "suspects", said=print)
    listed = np.array([int(each.name[1:]) for each in found.suspects])
    part = open_source(asked.data).parts["train"]
    rows = [int(part.name(at)[1:]) for at in range(len(part))]
    score = scores(found, given[rows], folds)
    meant = np.mean(
        [str(y[int(each.name[1:])]) == each.suggested for each in found.suspects if wrong[int(each.name[1:])]]
    )
    return {
        "examples": examples, "folds": folds, "seed": seed, "wrong": round(float(wrong.mean()), 4),
        "estimated": [round(value, 4) for value in found.noise], "listed": len(listed),
        "precision": round(float(wrong[listed].mean()), 4),
        "recall": round(float(wrong[listed].sum() / wrong.sum()), 4),
        "auc": round(float(roc_auc_score(wrong[rows], score)), 4), "suggested_right": round(float(meant), 4),
        "processor_seconds": round(time.process_time() - started, 1), "page": found.page,
    }  # fmt: skip


def scores(found: LabelCheck, labels: np.ndarray, folds: int) -> np.ndarray:
    fold, own = suspecting.confident.folds(labels, folds, 0), np.zeros((len(labels), 10))
    for number in range(folds):
        own[fold == number] = np.load(next(Path(found.file).parent.rglob(f"fold-{number}.npz")))["train"]
    return suspecting.confident.learn(labels, own).score


def clean(examples: int) -> dict:
    (x, y), (test_x, test_y) = mnist(), mnist("t10k")
    asked = recipe(x[:examples], y[:examples], f"clean-{examples}")
    held = work_folder() / "clean-test.npz"
    np.savez(held, x=test_x, y=test_y)
    run = workbench.train(override(asked, {"data.test": str(held)}), folder=work_folder() / "suspects")
    found = suspecting.suspects(run, quick=True)
    return {
        "trained_on": examples, "test_accuracy": run.metrics["test"]["accuracy"], "judged": found.judged,
        "estimated": [round(value, 4) for value in found.noise], "listed": len(found.suspects),
        "first": [(each.name, each.given, each.suggested) for each in found.suspects[:24]], "page": found.page,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("planted", "clean"))
    parser.add_argument("--examples", type=int, default=6000)
    parser.add_argument("--wrong", type=float, default=0.05)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "clean":
        print(json.dumps(clean(options.examples)))
        return
    for seed in range(options.seeds):
        print(json.dumps(planted(options.examples, options.wrong, options.folds, seed)), flush=True)


if __name__ == "__main__":
    main()
