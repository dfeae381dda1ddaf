"""Peak resident memory of a netwright training against a loop by hand over ``uint8`` with the imports the job needs.

Each side is a process of its own (one epoch; netwright reads, records, keeps checkpoints, tests and reports as always).
``folder``: pictures ten times larger than ``data.memory_mb`` train from the memory-mapped cache; its peak beside that
of a tenth of them, which fits.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np

TARGET_RATIO = 1.15
LIMIT_MB, SIDE = 48, 128


def netwright(name: str) -> dict[str, Any]:
    """MNIST from its idx files, CIFAR-10 from its published batches."""
    from netwright import workbench
    from netwright.recipe import Recipe, override

    source = common.shared() / "mnist" if name == "mnist" else _five_batches()
    recipe = override(Recipe(), {"data.source": str(source), "train.epochs": 1, **_network(name)})
    run = workbench.train(recipe, folder=common.work_folder() / "runs")
    common.remove(run.directory)
    return {"peak_mb": common.peak_mb()}


def plain(name: str) -> dict[str, Any]:
    """The loop by hand: reads the same files, trains the same network, tests it."""
    import html  # noqa: F401 - what reading a recipe, pictures, keeping weights and a report need
    import sqlite3  # noqa: F401

    import jinja2  # noqa: F401
    import msgspec  # noqa: F401
    import PIL.Image  # noqa: F401
    import rich.progress  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch
    import yaml  # noqa: F401
    from torch.nn import functional

    from netwright.nn.zoo import NETWORKS

    images, labels = common.mnist() if name == "mnist" else _read_batches(_five_batches())
    tested = torch.from_numpy(common.mnist("t10k")[0] if name == "mnist" else common.cifar10_test()[0])
    chosen = _network(name)
    arguments = {key[8:]: value for key, value in chosen.items() if key in ("network.width", "network.depth")}
    network = NETWORKS[chosen["network.name"]](images.shape[1:], 10, **arguments)
    network = network.to(memory_format=torch.channels_last)
    mean, std = _statistics(images)
    x_all, y_all = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    for rows in torch.randperm(len(y_all)).split(chosen["train.batch_size"]):
        x = x_all[rows].contiguous(memory_format=torch.channels_last).float().div_(255).sub_(mean).div_(std)
        functional.cross_entropy(network(x), y_all[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval()
    with torch.inference_mode():
        for raw in tested.split(256):
            network(raw.float().div_(255).sub_(mean).div_(std))
    return {"peak_mb": common.peak_mb()}


def _network(name: str) -> dict[str, Any]:
    if name == "mnist":
        return {"network.name": "lenet5", "network.width": 6, "train.batch_size": 128}
    return {"network.name": "small_resnet", "network.width": 16, "network.depth": 1, "train.batch_size": 128}


def _statistics(images: np.ndarray) -> tuple[Any, Any]:
    """Mean and deviation a channel, in pieces as a careful hand does it."""
    import torch

    total, squares = np.zeros(images.shape[1]), np.zeros(images.shape[1])
    for start in range(0, len(images), 4096):
        piece = images[start : start + 4096].astype(np.float32) / 255
        total, squares = total + piece.sum((0, 2, 3)), squares + (piece**2).sum((0, 2, 3))
    count = images.size / images.shape[1]
    mean = total / count
    std = np.sqrt(squares / count - mean**2)
    return tuple(torch.tensor(value, dtype=torch.float32).view(1, -1, 1, 1) for value in (mean, std))


def _five_batches() -> Path:
    """A folder as CIFAR-10 is published, its training batches filled with the lossless test batch (for memory only)."""
    folder = common.work_folder() / "cifar-10-batches-py"
    if not (folder / "data_batch_5").exists():
        folder.mkdir(exist_ok=True)
        for name in ("batches.meta", "test_batch"):
            shutil.copyfile(common.cifar10_batches() / name, folder / name)
        for number in range(1, 6):
            shutil.copyfile(folder / "test_batch", folder / f"data_batch_{number}")
    return folder


def _read_batches(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    import pickle

    images, labels = np.empty((50_000, 3, 32, 32), np.uint8), np.empty(50_000, np.int64)
    for number in range(5):
        with (folder / f"data_batch_{number + 1}").open("rb") as file:
            batch = pickle.load(file, encoding="bytes")
        rows = slice(10_000 * number, 10_000 * (number + 1))
        images[rows], labels[rows] = batch[b"data"].reshape(-1, 3, 32, 32), batch[b"labels"]
    return images, labels


# ------------------------------------------------------------------------------------------------ a folder too large


def folder(times: float) -> dict[str, Any]:
    """Train from pictures that decoded are ``times`` as large as ``LIMIT_MB``."""
    from netwright import workbench
    from netwright.recipe import Recipe, override

    anonymous = common.AnonymousPeak()
    anonymous.start()
    count = int(times * (LIMIT_MB << 20) / (3 * SIDE * SIDE))
    source = _pictures(count)
    with tempfile.TemporaryDirectory(dir=common.work_folder()) as cache:
        recipe = override(Recipe(), {
            "data.source": str(source), "data.size": SIDE, "data.memory_mb": LIMIT_MB, "data.cache": cache,
            "network.name": "lenet5", "network.width": 6, "train.epochs": 1, "train.batch_size": 128,
        })  # fmt: skip
        run = workbench.train(recipe, folder=common.work_folder() / "runs")
        cached = sum(path.stat().st_size for path in Path(cache).rglob("*.npy")) / 1e6
    accuracy = run.metrics["validation"]["accuracy"]
    common.remove(run.directory)
    return {
        "pictures": count, "decoded_mb": count * 3 * SIDE * SIDE / 1e6, "cached_mb": cached, "accuracy": accuracy,
        "peak_mb": common.peak_mb(), "peak_anonymous_mb": anonymous.mb,
    }  # fmt: skip


def _pictures(count: int) -> Path:
    """Two classes of generated JPEG pictures: bright stripes across, or down, in noise."""
    from PIL import Image

    target = common.work_folder() / f"pictures-{SIDE}-{count}"
    if target.exists():
        return target
    generator = np.random.default_rng(0)
    started = Path(tempfile.mkdtemp(dir=common.work_folder()))
    for label in ("across", "down"):
        (started / label).mkdir()
    stripes = 60 * np.sign(np.sin(np.arange(SIDE) / 3))
    for number in range(count):
        label = "across" if number % 2 else "down"
        wave = stripes[:, None, None] if label == "across" else stripes[None, :, None]
        noise = generator.integers(-40, 40, (SIDE // 8, SIDE // 8, 3)).repeat(8, 0).repeat(8, 1)
        pixels = np.clip(128 + wave + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(started / label / f"{number:06d}.jpg", quality=70)
    started.rename(target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["mnist", "cifar10", "folder"], help="mnist, cifar10, folder")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "WHAT"), help="run one side in this process, print its JSON")
    options = parser.parse_args()
    if options.one:
        side, what = options.one
        found = folder(float(what)) if side == "folder" else {"netwright": netwright, "plain": plain}[side](what)
        print(json.dumps(found))
        return
    for name in options.parts:
        if name == "folder":
            big, small = (common.in_own_process(__file__, "--one", "folder", times) for times in ("10", "0.9"))
            columns = ("decoded_mb", "cached_mb", "peak_mb", "peak_anonymous_mb", "accuracy")
            rows = [[f"{one[key]:.4g}" for key in columns] for one in (small, big)]
            common.table(("decoded MB", "in the cache", "peak MB", "peak but mapped files", "accuracy"), rows)
            common.write_result("memory", "folder", {"limit_mb": LIMIT_MB, "ten_times": big, "fits": small})
            continue
        sides = {
            side: (lambda side=side, name=name: common.in_own_process(__file__, "--one", side, name)["peak_mb"])
            for side in ("netwright", "plain")
        }
        peaks = common.rounds(sides, options.pairs)
        ratio = common.ratio(peaks["netwright"], peaks["plain"])
        medians = {side: common.interval(seen)["median"] for side, seen in peaks.items()}
        common.table(
            ("", "netwright MB", "plain MB", "ratio", "target"),
            [(name, *(f"{value:.0f}" for value in medians.values()), common.ratio_text(ratio), TARGET_RATIO)],
        )
        common.write_result("memory", name, {"peak_mb": medians, "ratio": ratio, "target": TARGET_RATIO})


if __name__ == "__main__":
    main()
