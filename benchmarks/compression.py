"""Pruning and sparse training, measured: what a network loses, and what becomes smaller and faster.

    python benchmarks/compression.py weights  [--network lenet_300_100 caffe_lenet] [--seeds 5] [--epochs 8]
    python benchmarks/compression.py channels [--network small_resnet resnet20_cifar] [--macs 0.5 0.25] [--seeds 5]
    python benchmarks/compression.py slimming [--seeds 5]
    python benchmarks/compression.py peers    [--macs 0.7 0.5 0.3] [--seeds 5]

``weights``: LeNet-300-100 and LeNet-5 (431,080 parameters, as Han et al. 2015 have it) on MNIST, 12 times fewer
weights by a growing share; to be reached: at most 0.1 points more test error, mean of five seeds, and a file of
LeNet-300-100 at least 8 times smaller. ``channels``: MACs halved and quartered on CIFAR-10; within 1 point, 1.3 and 2
times faster in ONNX Runtime and ncnn. ``slimming``: 70 % of small_vgg's channels gone, within 0.3 points after healing.
``peers``: torch-pruning's group-norm pruner at the same MACs with the same healing; left out, with the reason, where
that package is not installed.

The networks to begin with are trained once by the default recipe and kept in the benchmarks' work folder. Test errors
are of all test examples; latencies are medians of calls in turns on one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import common

import netwright
from netwright import compressing, workbench
from netwright.errors import NetwrightError
from netwright.recipe import Recipe, override
from netwright.workbench import Run

RESULTS = common.HERE / "results" / "compression.json"
RUNTIMES = ("onnxruntime", "ncnn")


def source(name: str) -> dict[str, Any]:
    if name == "mnist":
        return {"data.source": str(common.shared() / "mnist")}
    folder = common.unpacked(common.shared() / "cifar10" / "CIFAR-10-images.tar.xz") / "CIFAR-10-images"
    return {"data.source": str(folder / "train"), "data.test": str(common.cifar10_batches() / "test_batch")}


def trained(data: str, network: str, seed: int, epochs: int, limit: int) -> Run:
    """The network to begin with, trained once."""
    place = common.work_folder() / "compression" / f"{data}-{network}-{epochs}-{limit}-{seed}"
    if place.is_dir() and (found := list(place.glob("start-[0-9]*"))):
        return netwright.load(found[0])
    keys = source(data) | {
        "network.name": network, "seed": seed, "train.epochs": epochs, "data.limit": limit, "name": "start",
        "watch.enabled": False, "train.threads": 1,
    }  # fmt: skip
    return workbench.train(override(Recipe(), keys), folder=place)


def error_of(run: Run) -> float:
    """Test error in points."""
    return 100 * (1 - run.metrics["test"]["accuracy"])


def file_of(run: Run) -> int:
    return max(path.stat().st_size for path in (run.directory / "checkpoints").rglob("weights.safetensors"))


def compressed(run: Run, chain: str, runtime: str = "torch") -> compressing.Compressed:
    started = time.perf_counter()
    made = netwright.compress(run, chain, runtime=runtime, folder=run.directory.parent)
    print(f"  {chain}: {error_of(made.run):.2f} % ({time.perf_counter() - started:.0f} s)", flush=True)
    return made


def interval(values: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": spread, "values": values}


# --------------------------------------------------------------------------------------------------------------


def weights(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for network in options.network or ["lenet_300_100", "caffe_lenet"]:
        rows = []
        for seed in range(options.seeds):
            run = trained("mnist", network, seed, options.epochs, options.limit)
            made = compressed(run, f"prune=weights:share=0.92,gradual={options.epochs} heal={options.epochs // 2}")
            last = made.steps[-1]
            rows.append(
                {
                    "seed": seed, "error_before": error_of(run), "error_after": error_of(made.run),
                    "fewer": last.parameters[1] / last.nonzero[1],
                    "file_bytes": [made.steps[0].file_bytes[0], file_of(made.run)],
                    "latency_ms": [each.median_ms for each in made.steps[0].latency if each],
                }
            )  # fmt: skip
        worse = [row["error_after"] - row["error_before"] for row in rows]
        found[network] = {
            "epochs": options.epochs, "limit": options.limit, "rows": rows, "more_error": interval(worse),
            "smaller": interval([row["file_bytes"][0] / row["file_bytes"][1] for row in rows]),
            "fewer": interval([row["fewer"] for row in rows]),
        }  # fmt: skip
    return found


def channels(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for network in options.network or ["small_resnet", "resnet20_cifar"]:
        for macs in options.macs:
            rows = []
            for seed in range(options.seeds):
                run = trained("cifar10", network, seed, options.epochs, options.limit)
                made = compressed(run, f"prune=channels:macs={macs} heal={options.epochs // 2}")
                row = {"seed": seed, "error_before": error_of(run), "error_after": error_of(made.run)}
                first = made.steps[0]
                row["macs"] = first.macs[1] / first.macs[0]
                rows.append(row | {"faster": faster(run, made.run)})
            found[f"{network} {macs}"] = {
                "epochs": options.epochs, "limit": options.limit, "rows": rows,
                "more_error": interval([row["error_after"] - row["error_before"] for row in rows]),
            }  # fmt: skip
    return found


def faster(before: Run, after: Run) -> dict[str, float | str]:
    """How many times, in each runtime, in turns."""
    found: dict[str, float | str] = {}
    with compressing.opened(before, None, None, lambda text: None) as shop:
        for runtime in RUNTIMES:
            shop.runtime = runtime
            try:
                seen = shop.latencies({"before": copy.deepcopy(before.network), "after": after.network})
            except NetwrightError as error:
                found[runtime] = str(error)
            else:
                found[runtime] = seen["before"].median_ms / seen["after"].median_ms
    return found


def slimming(options: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for seed in range(options.seeds):
        run = trained("cifar10", "small_vgg", seed, options.epochs, options.limit)
        gone = "prune=channels:share=0.7,criterion=norm,least=0.05"
        made = compressed(run, f"slim=1e-4:epochs={options.epochs},multiple=1 {gone} heal={options.epochs // 2}")
        rows.append(
            {
                "seed": seed, "error_before": error_of(run), "error_after": error_of(made.run),
                "validation": [100 * step.metrics[1]["accuracy"] for step in made.steps],
                "notes": [step.note for step in made.steps],
            }
        )  # fmt: skip
    worse = [row["error_after"] - row["error_before"] for row in rows]
    return {"epochs": options.epochs, "limit": options.limit, "rows": rows, "more_error": interval(worse)}


def peers(options: argparse.Namespace) -> dict[str, Any]:
    """torch-pruning's magnitude pruner, and ours by the same norm, at the same MACs with the same healing."""
    try:
        import torch_pruning
    except (ImportError, RuntimeError) as error:
        return {"left out": f"torch-pruning cannot be imported here: {error}"}
    found: dict[str, Any] = {}
    network = (options.network or ["resnet20_cifar"])[0]
    for macs in options.macs:
        rows = []
        for seed in range(options.seeds):
            run = trained("cifar10", network, seed, options.epochs, options.limit)
            ours = compressed(run, f"prune=channels:macs={macs},criterion=l2,multiple=1 heal={options.epochs // 2}")
            with compressing.opened(run, None, None, lambda text: None) as shop:
                theirs = copy.deepcopy(run.network)
                example = shop.context.first_batch().inputs[0][:1]
                last = [
                    module for module in theirs.modules() if getattr(module, "out_features", 0) == shop.record.outputs
                ]
                start, left = shop.context.macs(theirs), 1.0
                pruner = torch_pruning.pruner.BasePruner(
                    theirs, example, torch_pruning.importance.GroupMagnitudeImportance(p=2), pruning_ratio=1.0,
                    global_pruning=True, iterative_steps=400, ignored_layers=last,
                )  # fmt: skip
                while left > macs:
                    pruner.step()
                    left = shop.context.macs(theirs) / start
                shop.context.heal(theirs, options.epochs // 2)
                score = shop.context.score(theirs)["accuracy"]
            rows.append(
                {"seed": seed, "ours": ours.steps[-1].metrics[1]["accuracy"], "theirs": score, "their_macs": left}
            )
        found[f"{network} {macs}"] = {"rows": rows, "validation": "accuracy"}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["weights", "channels", "slimming", "peers"])
    parser.add_argument("--network", nargs="*")
    parser.add_argument("--macs", nargs="*", type=float, default=[0.5, 0.25])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--limit", type=int, default=0, help="training examples; 0: all")
    options = parser.parse_args()
    result = {"weights": weights, "channels": channels, "slimming": slimming, "peers": peers}[options.what](options)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept.setdefault(options.what, {}).update(result)
    kept["machine"] = common_machine()
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def common_machine() -> dict[str, Any]:
    from netwright import environment

    seen = environment.snapshot()
    return {"processor": environment.processor(), "versions": seen.get("versions", {})}


if __name__ == "__main__":
    assert Path(__file__).exists()
    main()
