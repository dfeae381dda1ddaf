"""Forecasts of ETTh1 and of the monthly sunspots beside the naive one, which says the last value again.

    python benchmarks/forecasting.py [--networks lstm gru mlp] [--epochs 5]

Parts in the order of time: 70 % training, 10 % validation, 20 % test; errors are of the test part, in the data's unit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time

import common

import netwright
from netwright.recipe import from_dict

CASES = {
    "sunspots, next month": ("monthly-sunspots.csv", {"data.horizon": 1, "data.window": 48}),
    "sunspots, next year": ("monthly-sunspots.csv", {"data.horizon": 12, "data.window": 132}),
    "ETTh1 oil temperature, next hour": ("ETTh1.csv.gz", {"data.horizon": 1, "data.window": 24}),
    "ETTh1 oil temperature, next day": ("ETTh1.csv.gz", {"data.horizon": 24, "data.window": 96}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["lstm", "gru", "mlp"])
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    for case, (file, keys) in CASES.items():
        for network in options.networks:
            recipe = from_dict({}, keys | {
                "data.source": str(common.shared() / "timeseries" / file), "network.name": network, "network.width": 64,
                "train.epochs": options.epochs, "train.batch_size": 64, "train.lr": 0.003, "train.threads": 1,
                "watch.enabled": False,
            })  # fmt: skip
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                test = netwright.train(recipe, folder=folder).metrics["test"]
            shown = {name: round(test[name], 3) for name in ("mae", "naive_mae", "rmse", "naive_rmse", "r2")}
            seconds = round(time.process_time() - started, 1)
            print(json.dumps({"case": case, "network": network, **shown, "processor_seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
