"""Export parity: small trained networks in ONNX Runtime, ncnn and LiteRT on 1,000 real inputs each; int8 and fp16.

    python benchmarks/export.py [--networks lenet5,GRU] [--targets onnx,ncnn] [--table]

Every network is trained for an epoch or two on a part of MNIST, CIFAR-10 or the digits (a run that is kept in the work
folder), exported and compared by the verb itself. What is refused is written down with the reason; a target whose
converter is not installed is left as it was in the results. The table of docs/export.md is made of the results.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import common

from netwright.errors import MissingExtraError, NetwrightError
from netwright.reporting.formatting import size
from netwright.runs import list_directories

if TYPE_CHECKING:
    from netwright.workbench import Run

TARGETS = ("onnx", "ncnn", "litert", "onnx-int8", "litert-int8", "ncnn-fp16")
NETWORKS = ("mlp", "lenet5", "small_vgg", "small_resnet", "ResNet-20", "MobileNet v2", "SqueezeNet", "GRU")
RESULTS = common.HERE / "results" / "export.json"
PAGE = common.HERE.parent / "docs" / "export.md"
BEGIN, END = "<!-- the support matrix, written by benchmarks/export.py -->", "<!-- end -->"

GRU = '''"""Digits read row by row."""

import torch
from torch import nn


class RowGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(8, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(x[:, 0])[0][:, -1])
'''


def recipes() -> dict[str, dict[str, Any]]:
    mnist = {
        "data.source": str(common.shared() / "mnist"),
        "data.limit": 5000,
        "train.epochs": 2,
        "data.validation": 0.05,
    }
    cifar = {
        "data.source": str(common.cifar10_batches() / "test_batch"),
        "data.limit": 3000,
        "train.epochs": 1,
        "data.validation": 0.12,
    }
    gru = common.work_folder() / "row_gru.py"
    gru.write_text(GRU)
    made = {
        "mlp": mnist | {"network.name": "mlp"},
        "lenet5": mnist | {"network.name": "lenet5"},
        "small_vgg": mnist | {"network.name": "small_vgg", "network.width": 16, "train.epochs": 1},
        "small_resnet": mnist | {"network.name": "small_resnet", "train.epochs": 1},
        "ResNet-20": cifar | {"network.name": "resnet20_cifar"},
        "MobileNet v2": cifar
        | {"network.name": "mobilenet_v2", "network.width": 0.25, "network.arguments": {"stem": "small"}},
        # At the usual rate the ReLU behind its last layer dies, and all outputs are 0.
        "SqueezeNet": mnist
        | {"network.name": "squeezenet1_1", "network.width": 0.5, "train.lr": 0.0003, "train.epochs": 3},
        "GRU": {
            "data.source": "digits",
            "data.validation": 0.6,
            "network.name": f"{gru}:RowGRU",
            "train.epochs": 10,
        },
    }
    return {
        name: {
            **({} if "mnist" in keys["data.source"] else {"data.test": 0.0}),
            **keys,
            "watch.enabled": False,
            "name": name.lower().replace(" ", "-"),
        }
        for name, keys in made.items()
    }


def trained(name: str, keys: dict[str, Any]) -> Run:
    from netwright import workbench
    from netwright.recipe import from_dict

    folder = common.work_folder() / "export-runs"
    for path in list_directories(folder):
        if path.name.startswith(keys["name"] + "-"):
            run = workbench.load(path)
            if run.files.current().get("finished"):
                return run
    print(f"{name}: training", file=sys.stderr, flush=True)
    return workbench.train(from_dict({}, keys), folder=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--table", action="store_true", help="write the page's table of the results that there are")
    chosen = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"machine": common.facts(), "networks": {}}
    if not chosen.table:
        measure(found, chosen)
    write_table(found)


def measure(found: dict[str, Any], chosen: argparse.Namespace) -> None:
    from netwright import exporting

    for name, keys in recipes().items():
        if chosen.networks and name not in chosen.networks.split(","):
            continue
        run = trained(name, keys)
        row = found["networks"].setdefault(name, {})
        for target in chosen.targets.split(","):
            started = time.perf_counter()
            try:
                result = exporting.export(run, target, seconds=chosen.seconds).to_dict()
            except MissingExtraError as error:
                print(f"{name}: {target} left out: {error}", file=sys.stderr, flush=True)
                continue
            except NetwrightError as error:
                result = {"refused": str(error)}
            for key in ("path", "notes", "weights_sha256", "runtime_bytes"):
                result.pop(key, None)
            row[target] = result
            print(
                f"{name}: {target}, {time.perf_counter() - started:.0f} s: {cell(result)}", file=sys.stderr, flush=True
            )
            RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def write_table(found: dict[str, Any]) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n\n" + table(found) + "\n" + END + rest.partition(END)[2], encoding="utf-8")


def cell(result: dict[str, Any] | None) -> str:
    """One export in a few words."""
    if result is None:
        return "not run"
    if result.get("refused"):
        return "refused"
    if result["precision"] == "float32":
        return f"{result['largest_difference']:.1e}"
    before, after = (100 * share for share in result["right"])
    return f"{after - before:+.1f} points, {size(result['file_bytes'])}"


def table(found: dict[str, Any]) -> str:
    """The matrix as Markdown: the largest difference of float files, the points of right labels that others lose."""
    lines = [
        "| network | right labels | inputs | float file | " + " | ".join(TARGETS) + " |",
        "| --- | --- | --- | --- | " + " | ".join("---" for _ in TARGETS) + " |",
    ]
    for name in NETWORKS:
        row = found["networks"].get(name, {})
        one = next((each for each in row.values() if not each.get("refused")), {})
        right = f"{100 * one['right'][0]:.1f} %" if one.get("right") else "–"
        weight = next((each["file_bytes"] for key, each in row.items() if key == "onnx" and "file_bytes" in each), None)
        cells = [name, right, str(one.get("inputs", "–")), size(weight), *(cell(row.get(each)) for each in TARGETS)]
        lines.append("| " + " | ".join(cells) + " |")
    refused = [
        f"- {name}, {target}: {each['refused']}"
        for name, row in found["networks"].items()
        for target, each in row.items()
        if each.get("refused")
    ]
    return "\n".join([*lines, *(["", "Refused:", "", *refused] if refused else []), ""])


if __name__ == "__main__":
    main()
