"""Time to 99.0 % on MNIST's test set: netwright's default recipe against the usual tutorial set-up, in turns.

The clock starts before the data are read and stops at the end of the first epoch after which the test accuracy is
reached; evaluating on the test set is not counted. netwright's own work (the measurement of the layout, its validation,
recording, checkpoints) is. Both run in fresh processes with the same number of threads, with another seed each pair.

Usual: convolutions 3×3 of 32 and 64 channels, pooling, dropout 0.25, dense 128, dropout 0.5, Adadelta with rate 1.0
decaying 0.7 an epoch, batch 64, and a DataLoader over pictures that are scaled and normalised one by one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time

import common

TARGET_RATIO = 0.2


def netwright(accuracy: float, threads: int, seed: int, *, whole: bool = False) -> dict:
    import torch

    from netwright import preparing, sourcing, workbench
    from netwright.data.opening import open_source
    from netwright.nn.zoo import NETWORKS
    from netwright.preprocess.with_torch import Prepared
    from netwright.recipe import Recipe, defaults, override

    recipe = override(Recipe(), {
        "data.source": str(common.shared() / "mnist"), "train.threads": threads, "seed": seed,
    })  # fmt: skip
    torch.set_num_threads(threads)
    images, labels = (torch.from_numpy(array) for array in common.mnist("t10k"))
    started, apart = time.perf_counter(), 0.0
    material = open_source(recipe.data)
    resolved = defaults.resolve(recipe, sourcing.facts(material, None))
    torch.manual_seed(seed)
    chosen = resolved.network
    arguments = {"width": chosen.width, "depth": chosen.depth, "dropout": chosen.dropout}
    network = NETWORKS[chosen.name](images.shape[1:], 10, **arguments)
    prepared, reached, kept = Prepared(material.preprocess[0]), [], []

    class Kept(preparing.Average):
        """The averaged weights, which are what a run validates and keeps: known here, so that they can be tested."""

        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            kept.append(self.network)

    class Reached(Exception):
        """Nothing more is to be measured."""

    class Watch:
        """A sink that looks at the test set after every epoch, through the weights that the run would keep."""

        def epoch(self, row) -> None:
            nonlocal apart
            if row.split != "train":
                return
            at = time.perf_counter()
            judged = kept[0] if kept else network
            training = judged.training
            with torch.inference_mode():
                judged.eval()
                right = sum(
                    int((judged(prepared(x)).argmax(1) == y).sum())
                    for x, y in zip(images.split(256), labels.split(256), strict=True)
                )
                judged.train(training)
            reached.append((right / len(labels), at - started - apart))
            apart += time.perf_counter() - at
            if reached[-1][0] >= accuracy and not whole:
                raise Reached

        def series(self, name, first_step, values) -> None: ...
        def flush(self) -> None: ...
        def close(self) -> None: ...

    preparing.Average = Kept
    with tempfile.TemporaryDirectory(dir=common.work_folder()) as folder, contextlib.suppress(Reached):
        run = workbench.train(recipe, folder=folder, material=material, network=network, sinks=(Watch(),))
        total = time.perf_counter() - started - apart
        return _outcome(reached, accuracy) | {
            "whole_run_seconds": total, "final_accuracy": run.metrics["test"]["accuracy"],
        }  # fmt: skip
    return _outcome(reached, accuracy)


def usual(accuracy: float, threads: int, seed: int, most_epochs: int = 14) -> dict:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader, Dataset

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, 1), nn.Conv2d(32, 64, 3, 1)
            self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
            self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

        def forward(self, x):
            x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
            x = torch.flatten(self.dropout1(functional.max_pool2d(x, 2)), 1)
            return functional.log_softmax(self.fc2(self.dropout2(functional.relu(self.fc1(x)))), dim=1)

    class Pictures(Dataset):
        """What torchvision's MNIST with ToTensor and Normalize does, an example at a time, without torchvision."""

        def __init__(self, part: str) -> None:
            from PIL import Image

            self.images, self.labels = common.mnist(part)
            self.picture = Image.fromarray

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, number: int):
            picture = self.picture(self.images[number, 0], mode="L")
            x = torch.from_numpy(np.array(picture, np.uint8, copy=True)).view(1, 28, 28).float().div(255)
            return x.sub_(0.1307).div_(0.3081), int(self.labels[number])

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    started, apart = time.perf_counter(), 0.0
    loader = DataLoader(Pictures("train"), batch_size=64, shuffle=True)
    network = Network()
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    test, reached = DataLoader(Pictures("t10k"), batch_size=1000), []
    for _ in range(most_epochs):
        network.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.nll_loss(network(x), y)
            loss.backward()
            optimizer.step()
        scheduler.step()
        at = time.perf_counter()
        network.eval()
        with torch.no_grad():
            right = sum(int((network(x).argmax(1) == y).sum()) for x, y in test)
        reached.append((right / len(test.dataset), at - started - apart))
        apart += time.perf_counter() - at
        if reached[-1][0] >= accuracy:
            break
    return _outcome(reached, accuracy)


def _outcome(reached: list[tuple[float, float]], accuracy: float) -> dict:
    """The first epoch that reaches ``accuracy``, and all of them."""
    first = next((number for number, (seen, _) in enumerate(reached) if seen >= accuracy), None)
    if first is None:
        raise SystemExit(f"never reached {accuracy}: {[seen for seen, _ in reached]}")
    return {"seconds": reached[first][1], "epochs": first + 1, "accuracies": [seen for seen, _ in reached]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--accuracy", type=float, default=0.99)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=("netwright", "usual"), help="run one side in this process, print its JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="netwright trains on to its end, for its final accuracy")
    options = parser.parse_args()
    if options.one:
        if options.one == "netwright":
            found = netwright(options.accuracy, options.threads, options.seed, whole=options.whole)
        else:
            found = usual(options.accuracy, options.threads, options.seed)
        print(json.dumps(found))
        return
    sides: dict[str, list[dict]] = {"netwright": [], "usual": []}
    rows = []
    for pair in range(options.pairs):
        for side in list(sides)[:: 1 if pair % 2 else -1]:
            settings = ("--accuracy", str(options.accuracy), "--threads", str(options.threads), "--seed", str(pair))
            more = ("--whole",) if options.whole and side == "netwright" else ()
            sides[side].append(common.in_own_process(__file__, "--one", side, *settings, *more))
        own, other = sides["netwright"][-1], sides["usual"][-1]
        rows.append((
            pair, f"{own['seconds']:.1f} s, {own['epochs']} epochs", str(own.get("final_accuracy", "")),
            f"{other['seconds']:.1f} s, {other['epochs']} epochs", f"{own['seconds'] / other['seconds']:.3f}",
        ))  # fmt: skip
        common.table(("seed", "netwright", "its final accuracy", "usual", "ratio"), rows)
    ratio = common.ratio(*([one["seconds"] for one in sides[side]] for side in ("netwright", "usual")))
    print(f"median ratio {common.ratio_text(ratio)} (target at most {TARGET_RATIO})")
    common.write_result("time_to_accuracy", f"mnist {options.accuracy}", {
        "ratio": ratio, "target": TARGET_RATIO, "threads": options.threads, **sides,
    })  # fmt: skip


if __name__ == "__main__":
    main()
