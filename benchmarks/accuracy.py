"""The default recipe, nothing tuned, on every data set: metrics, seconds of the whole command, peak memory.

Each data set trains in a process of its own. Where a set has no test part, the default recipe splits one off.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

Source = dict[str, Any]  # recipe keys; "arrays": (train, test) of (X, y) instead of a source


def digits() -> Source:
    """First half to train, second half to test, not shuffled, as scikit-learn's example does."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = found.images.astype(np.float32)[:, None], found.target
    half = len(y) // 2
    return {"arrays": ((x[:half], y[:half]), (x[half:], y[half:]))}


def adult() -> Source:
    """Both files as CSV with the test file's first line and its labels' dots taken off."""
    folder = common.work_folder() / "adult"
    folder.mkdir(exist_ok=True)
    for name in ("adult.data", "adult.test"):
        lines = gzip.decompress((common.shared() / "adult" / f"{name}.gz").read_bytes()).decode().splitlines()
        kept = [line.rstrip(".") for line in lines if line.count(",") == 14]
        (folder / f"{name}.csv").write_text("\n".join(kept) + "\n")
    return {"data.source": folder / "adult.data.csv", "data.test": folder / "adult.test.csv"}


def cifar10() -> Source:
    """The JPEG copy to train, the lossless batch to test."""
    folder = common.unpacked(common.shared() / "cifar10" / "CIFAR-10-images.tar.xz") / "CIFAR-10-images"
    return {"data.source": folder / "train", "data.test": common.cifar10_batches() / "test_batch"}


def photos(archive: str, folder: str) -> Callable[[], Source]:
    return lambda: {"data.source": common.unpacked(common.shared() / "photos" / archive) / folder}


def fsdd() -> Source:
    """The official split: recordings 0 to 4 of every digit and speaker are the test part."""
    folder = common.unpacked(common.shared() / "fsdd" / "fsdd_recordings.tar.xz")
    split = folder / "split"
    for path in (folder / "recordings").glob("*.wav"):
        part = "test" if int(path.stem.split("_")[2]) < 5 else "train"
        target = split / part / path.stem.split("_")[0] / path.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
    return {"data.source": split}


def table(name: str) -> Callable[[], Source]:
    return lambda: {"data.source": common.shared() / "timeseries" / name}


SETS: dict[str, tuple[Callable[[], Source], str, float | None]] = {  # source, metric, target
    "mnist": (lambda: {"data.source": common.shared() / "mnist"}, "accuracy", 0.992),
    "fashion_mnist": (lambda: {"data.source": common.shared() / "fashion_mnist"}, "accuracy", 0.925),
    "digits": (digits, "accuracy", 0.975),
    "adult": (adult, "accuracy", 0.85),
    "cifar10": (cifar10, "accuracy", 0.75),
    "hymenoptera": (photos("hymenoptera_256.tar", "hymenoptera_data"), "accuracy", None),
    "dogcat": (photos("dogcat_160.tar", "dogcat"), "accuracy", None),
    "fsdd": (fsdd, "accuracy", None),
    "airline": (table("airline-passengers.csv"), "r2", None),
    "sunspots": (table("monthly-sunspots.csv"), "r2", None),
    "min_temperatures": (table("daily-min-temperatures.csv"), "r2", None),
    "etth1": (table("ETTh1.csv.gz"), "r2", None),
}


def one(name: str, seed: int, threads: int) -> dict[str, Any]:
    """Train in this process."""
    from netwright import workbench
    from netwright.data.handed import from_python
    from netwright.data.opening import finish
    from netwright.recipe import Recipe, override

    source = SETS[name][0]()
    arrays = source.pop("arrays", None)
    if arrays:
        source = {"data.source": "python", "data.format": "python"}
    values = {key: str(value) if isinstance(value, Path) else value for key, value in source.items()}
    recipe = override(Recipe(), {**values, "seed": seed, "train.threads": threads})
    started = time.perf_counter()
    material = finish(from_python(arrays[0], None, arrays[1], recipe.data), recipe.data) if arrays else None
    run = workbench.train(recipe, folder=common.work_folder() / "runs", material=material)
    seconds = time.perf_counter() - started
    kept = run.recipe
    found = {
        "part": "test" if "test" in run.metrics else "validation", "metrics": run.metrics,
        "seconds": seconds, "training_seconds": run.seconds, "peak_mb": common.peak_mb(),
        "epochs": kept.train.epochs, "batch": kept.train.batch_size,
        "network": f"{kept.network.name} width={kept.network.width} depth={kept.network.depth}",
    }  # fmt: skip
    common.remove(run.directory)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), help=", ".join(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", action="store_true", help="train in this process and print JSON")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(one(options.sets[0], options.seed, options.threads)))
        return
    rows = []
    for name in options.sets:
        settings = ("--seed", str(options.seed), "--threads", str(options.threads))
        try:
            found = common.in_own_process(__file__, name, "--here", *settings)
        except RuntimeError as error:
            rows.append((name, str(error), "", "", "", "", ""))
            continue
        metric, target = SETS[name][1:]
        value = found["metrics"][found["part"]].get(metric, float("nan"))
        common.write_result("accuracy", name, {**found, "metric": metric, "target": target, "seed": options.seed})
        rows.append((
            name, f"{metric} {value:.4f}", found["part"], f"{target:.3f}" if target else "",
            f"{found['seconds']:.0f} s", f"{found['peak_mb']:.0f} MB",
            f"{found['network']}, {found['epochs']} epochs of batch {found['batch']}",
        ))  # fmt: skip
        common.table(("", "result", "on", "target", "time", "peak", "chosen"), rows)


if __name__ == "__main__":
    main()
