"""Compression, measured: what a network loses, and what becomes smaller and faster.

    python benchmarks/compression.py weights  [--network lenet_300_100 caffe_lenet] [--seeds 0 1 2 3 4] [--epochs 6]
    python benchmarks/compression.py channels [--network small_resnet resnet20_cifar] [--macs 0.5 0.25] [--epochs 8]
    python benchmarks/compression.py slimming [--epochs 6] [--heal 4] [--data mnist --label mnist]
    python benchmarks/compression.py binary   [--network lenet_300_100 caffe_lenet]
    python benchmarks/compression.py peers    [--network resnet20_cifar] [--macs 0.7 0.5 0.3]

``weights``: LeNet-300-100 and LeNet-5 (431,080 parameters, as Han et al. 2015 have it) on MNIST, 12 times fewer
weights by a growing share; to be reached: at most 0.1 points more test error, mean of five seeds, and a file of
LeNet-300-100 at least 8 times smaller. ``channels``: MACs halved and quartered on CIFAR-10; within 1 point, 1.3 and 2
times faster in ONNX Runtime and ncnn. ``slimming``: 70 % of small_vgg's channels gone, within 0.3 points after healing.
``binary``: weights of one bit on MNIST, at most 1.3 % of error, packed layers at least 20 times smaller on disk.
``peers``: torch-pruning's group-norm pruner at the same MACs with the same healing; left out, with the reason, where
that package is not installed.

The networks to begin with are trained once by the default recipe and kept in the benchmarks' work folder. Test errors
are of all test examples; latencies are medians of calls in turns on one thread. Every row is written down as it is
made, and is not made again with the same settings: what was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np

import netwright
from netwright import compressing, workbench, workshop
from netwright.errors import NetwrightError
from netwright.recipe import Recipe, override
from netwright.training.evaluating import evaluate
from netwright.workbench import Run

RESULTS = common.HERE / "results" / "compression.json"
RUNTIMES = ("onnxruntime", "ncnn")
PAIRS = 3  # measurements of a latency ratio, each of calls in turns

Row = dict[str, Any]


def source(name: str) -> dict[str, Any]:
    if name == "mnist":
        return {"data.source": str(common.shared() / "mnist")}
    return {"data.source": str(cifar10())}


def cifar10() -> Path:
    """CIFAR-10 as arrays, train (from the JPEGs that there are) and test (the lossless batch); decoded once."""
    path = common.work_folder() / "cifar10-arrays" / "cifar10.npz"
    if path.exists():
        return path
    from PIL import Image

    folder = common.unpacked(common.shared() / "cifar10" / "CIFAR-10-images.tar.xz") / "CIFAR-10-images" / "train"
    names = sorted(each.name for each in folder.iterdir())
    files = [(file, number) for number, name in enumerate(names) for file in sorted((folder / name).iterdir())]
    pictures = np.stack([np.asarray(Image.open(file)) for file, _ in files])
    labels = np.array([number for _, number in files], np.int64)
    test, test_labels = common.cifar10_test()
    path.parent.mkdir(exist_ok=True)
    np.savez(
        path, x_train=pictures.transpose(0, 3, 1, 2).copy(), y_train=labels, x_test=test, y_test=test_labels
    )  # fmt: skip
    return path


def trained(data: str, network: str, seed: int, epochs: int, limit: int, width: int = 0) -> Run:
    """The network to begin with, trained once."""
    place = common.work_folder() / "compression" / f"{data}-{network}{width or ''}-{epochs}-{limit}-{seed}"
    for found in sorted(place.glob("start-[0-9]*")):
        run = netwright.load(found)
        if run.files.current().get("finished"):
            return run
    keys = source(data) | {
        "network.name": network, "seed": seed, "train.epochs": epochs, "data.limit": limit, "name": "start",
        "watch.enabled": False, "train.threads": 1, **({"network.width": width} if width else {}),
    }  # fmt: skip
    started = time.process_time()
    run = workbench.train(override(Recipe(), keys), folder=place)
    print(f"{place.name}: {error_of(run):.2f} % ({time.process_time() - started:.0f} s)", flush=True)
    return run


def error_of(run: Run) -> float:
    """Test error in points."""
    return 100 * (1 - run.metrics["test"]["accuracy"])


def file_of(run: Run) -> int:
    return max(path.stat().st_size for path in (run.directory / "checkpoints").rglob("weights.safetensors"))


def compressed(run: Run, chain: str) -> compressing.Compressed:
    started = time.process_time()
    made = netwright.compress(run, chain, folder=run.directory.parent)
    print(f"  {chain}: {error_of(made.run):.2f} % ({time.process_time() - started:.0f} s)", flush=True)
    return made


def errors(run: Run, made: compressing.Compressed) -> Row:
    """Test errors before and after; validation errors before the chain and after each pass."""
    seen = [made.steps[0].metrics[0], *(step.metrics[1] for step in made.steps)]
    return {
        "error_before": error_of(run), "error_after": error_of(made.run),
        "validation": [100 * (1 - metrics["accuracy"]) for metrics in seen],
        "notes": [step.note for step in made.steps],
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------------------
# One row a seed


def weights(options: argparse.Namespace, network: str, seed: int) -> Row:
    run = trained("mnist", network, seed, options.epochs, options.limit, options.width)
    prune = f"prune=weights:share=0.92,gradual={options.gradual or options.epochs}{options.prune}"
    made = compressed(run, f"{prune} heal={options.heal}")
    last = made.steps[-1]
    return errors(run, made) | {
        "fewer": last.parameters[1] / last.nonzero[1], "file_bytes": [made.steps[0].file_bytes[0], file_of(made.run)],
        "latency_ms": [each.median_ms for each in made.steps[0].latency if each],
    }  # fmt: skip


def channels(options: argparse.Namespace, network: str, seed: int, macs: float) -> Row:
    run = trained("cifar10", network, seed, options.epochs, options.limit, options.width)
    made = compressed(run, f"prune=channels:macs={macs}{options.prune} heal={options.heal}")
    first = made.steps[0]
    return errors(run, made) | {"macs": first.macs[1] / first.macs[0], "faster": faster(run, made.run)}


def faster(before: Run, after: Run) -> dict[str, list[float] | str]:
    """How many times, in each runtime: several measurements, each of calls in turns."""
    found: dict[str, list[float] | str] = {}
    with workshop.opened(before, None, None, lambda text: None) as shop:
        for runtime in RUNTIMES:
            shop.runtime = runtime
            try:
                seen = [
                    shop.latencies({"before": copy.deepcopy(before.network), "after": after.network})
                    for _ in range(PAIRS)
                ]
            except NetwrightError as error:
                found[runtime] = str(error)
            else:
                found[runtime] = [each["before"].median_ms / each["after"].median_ms for each in seen]
    return found


def slimming(options: argparse.Namespace, network: str, seed: int) -> Row:
    run = trained(options.data, network, seed, options.epochs, options.limit, options.width)
    slim = f"slim:epochs={options.gradual or options.epochs},threshold=0,least=0.99"  # cuts nothing
    made = compressed(run, f"{slim} prune=channels:share=0.7,criterion=norm{options.prune} heal={options.heal}")
    first, last = made.steps[0], made.steps[-1]
    return errors(run, made) | {
        "parameters": [first.parameters[0], last.parameters[1]], "macs": [first.macs[0], last.macs[1]],
        "latency_ms": [each.median_ms for each in made.steps[1].latency if each],
    }  # fmt: skip


def binary(options: argparse.Namespace, network: str, seed: int) -> Row:
    run = trained("mnist", network, seed, options.epochs, options.limit, options.width)
    made = compressed(run, f"quantize=binary{options.prune} heal={options.heal} pack")
    sizes = {name: each["bytes"] for name, each in made.steps[-1].facts["layers"].items()}
    old, new = (sum(each[place] for each in sizes.values()) for place in (0, 1))
    return errors(run, made) | {
        "layers": sizes, "packed_smaller": old / new,
        "file_bytes": [made.steps[0].file_bytes[0], file_of(made.run)],
    }  # fmt: skip


def peers(options: argparse.Namespace, network: str, seed: int, macs: float) -> Row:
    """torch-pruning's magnitude pruner, and ours by the same norm, at the same MACs with the same healing."""
    import torch_pruning

    run = trained("cifar10", network, seed, options.epochs, options.limit, options.width)
    ours = compressed(run, f"prune=channels:macs={macs}{options.prune} heal={options.heal}")
    with workshop.opened(run, None, None, lambda text: None) as shop:
        theirs = copy.deepcopy(run.network)
        example = shop.context.first_batch().inputs[0][:1]
        last = [module for module in theirs.modules() if getattr(module, "out_features", 0) == shop.record.outputs]
        start, left = shop.context.macs(theirs), 1.0
        pruner = torch_pruning.pruner.BasePruner(
            theirs, example, torch_pruning.importance.GroupMagnitudeImportance(p=2), pruning_ratio=1.0,
            global_pruning=True, iterative_steps=400, ignored_layers=last,
        )  # fmt: skip
        while left > macs:
            pruner.step()
            left = shop.context.macs(theirs) / start
        before = 100 * (1 - shop.context.score(theirs)["accuracy"])
        shop.context.heal(theirs, options.heal)
        after = 100 * (1 - shop.context.score(theirs)["accuracy"])
        assert shop.sources.test is not None
        test = evaluate(theirs, shop.objective, shop.sources.test, shop.precision)["accuracy"]
    return errors(run, ours) | {
        "macs": ours.steps[0].macs[1] / ours.steps[0].macs[0], "theirs": 100 * (1 - test),
        "theirs_validation": [before, after], "their_macs": left,
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------------------
# Rows one by one

# what → its function, its networks, the figures that are summed up
MEASURED = {
    "weights": (weights, ("lenet_300_100", "caffe_lenet"), ("fewer",)),
    "channels": (channels, ("small_resnet", "resnet20_cifar"), ("macs",)),
    "slimming": (slimming, ("small_vgg",), ()),
    "binary": (binary, ("caffe_lenet",), ("packed_smaller",)),
    "peers": (peers, ("resnet20_cifar",), ("macs", "theirs")),
}


def cases(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Network and amount of each row."""
    _, networks, _ = MEASURED[options.what]
    for network in options.network or networks:
        if options.what in ("channels", "peers"):
            yield from ((network, {"macs": macs}) for macs in options.macs)
        else:
            yield network, {}


def measure(options: argparse.Namespace) -> None:
    made, _, figures = MEASURED[options.what]
    settings = {
        name: getattr(options, name) for name in ("epochs", "gradual", "heal", "limit", "prune", "width")
    }  # fmt: skip
    for seed in options.seeds:
        for network, amount in cases(options):
            key = " ".join([network, *map(str, amount.values()), *([options.label] if options.label else [])])
            kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            entry = kept.setdefault(options.what, {}).setdefault(key, {})
            if entry.get("settings") != settings:
                entry = kept[options.what][key] = {"settings": settings, "rows": []}
            if any(row["seed"] == seed for row in entry["rows"]):
                continue
            row = {"seed": seed, **made(options, network, seed, **amount)}
            entry["rows"] = sorted([*entry["rows"], row], key=lambda each: each["seed"])
            entry["more_error"] = spread([each["error_after"] - each["error_before"] for each in entry["rows"]])
            for name in figures:
                entry[name] = spread([each[name] for each in entry["rows"]])
            if "file_bytes" in row:
                entry["smaller"] = spread([each["file_bytes"][0] / each["file_bytes"][1] for each in entry["rows"]])
            kept["machine"] = common.facts()
            RESULTS.write_text(json.dumps(common.rounded(kept), indent=1) + "\n")
            print(key, "seed", seed, {name: value for name, value in row.items() if name != "notes"}, flush=True)


def spread(values: list[float]) -> dict[str, Any]:
    """Mean, and half the width of its 95 % interval (Student's t)."""
    from scipy import stats

    half = None
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"mean": statistics.mean(values), "half_interval": half, "values": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(MEASURED))
    parser.add_argument("--network", nargs="*")
    parser.add_argument("--macs", nargs="*", type=float, default=[0.5, 0.25])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=6, help="of the network to begin with")
    parser.add_argument("--gradual", type=int, default=0, help="epochs of growing zeros or of slimming; 0: as many")
    parser.add_argument("--heal", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="training examples; 0: all")
    parser.add_argument("--prune", default="", help="more options of the pass that prunes, from its comma or colon on")
    parser.add_argument("--width", type=int, default=0, help="of the network; 0: the recipe's")
    parser.add_argument("--data", choices=["cifar10", "mnist"], default="cifar10", help="of slimming")
    parser.add_argument("--label", default="", help="rows of other settings under a name of their own")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
