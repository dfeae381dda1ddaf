"""What a study of a thousand trials costs: listing it, asking for the next, and everything beside the training.

    python benchmarks/tuning_overhead.py [--trials 1000]

The trials are made up (seven keys, nine epochs each) and written to a SQLite study as a search writes them; then the
study is opened anew, listed, and asked and told twenty times with each sampler by a training that takes no time.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from common import facts, write_result
from optuna.distributions import distribution_to_json

from netwright.recipe import Recipe, override, to_dict
from netwright.tuning import sampling, storage
from netwright.tuning.spaces import parse
from netwright.tuning.studies import ABOUT, Outcome, Settings, Study

SPACE = (
    "train.lr=1e-4..1@log", "train.momentum=0.5..0.99@log1m", "network.width=8..64@log", "train.batch_size=16,32,64",
    "network.depth=1..4", "train.schedule=constant,cosine,one-cycle", "train.weight_decay=1e-6..0.1@log",
)  # fmt: skip
RECIPE = override(Recipe(), {"train.lr": 0.01, "train.epochs": 9})
EPOCHS, TURNS, TRIAL_SECONDS = 9, 20, 10.0


def fill(folder: Path, study: Study, count: int) -> None:
    """As a search leaves them, but in one transaction: Optuna takes a quarter of a second for each."""
    draw = random.Random(0)
    kinds = {sampling.parameter(each): sampling.distribution(each) for each in study.space.searched}
    texts = {name: distribution_to_json(kind) for name, kind in kinds.items()}
    now = str(datetime.datetime.now())
    with contextlib.closing(sqlite3.connect(folder / "study.sqlite")) as base, base:
        (number,) = base.execute("select study_id from studies where study_name = 's'").fetchone()
        for place in range(count):
            values = study.space.complete({each.key: each.value(draw.random()) for each in study.space.searched})
            score, whole = draw.random(), draw.random() < 0.3
            state = "COMPLETE" if whole else "PRUNED"
            trial = base.execute(
                "insert into trials (number, study_id, state, datetime_start, datetime_complete)"
                " values (?, ?, ?, ?, ?)",
                (place, number, state, now, now),
            ).lastrowid
            parameters = sampling.to_parameters(study.space, values)
            base.executemany(
                "insert into trial_params (trial_id, param_name, param_value, distribution_json) values (?, ?, ?, ?)",
                [(trial, key, kinds[key].to_internal_repr(value), texts[key]) for key, value in parameters.items()],
            )
            base.execute(
                "insert into trial_values (trial_id, objective, value, value_type) values (?, 0, ?, 'FINITE')",
                (trial, score),
            )
            base.executemany(
                "insert into trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)"
                " values (?, ?, ?, 'FINITE')",
                [(trial, epoch, score * epoch / EPOCHS) for epoch in range(1, EPOCHS + 1 if whole else 2)],
            )
            end = {"seconds": 10.0, "metrics": {"accuracy": score, "loss": 1 - score}, "reason": ""}
            base.executemany(
                "insert into trial_user_attributes (trial_id, key, value_json) values (?, ?, ?)",
                [(trial, "end", json.dumps(end)), (trial, "owner", json.dumps(storage.stamp()))],
            )


def measured(folder: Path, sampler: str, count: int) -> dict[str, Any]:
    """Milliseconds of processor time, which other programs on the machine do not change, and of the clock."""
    study = Study("s", folder, storage.sqlite_url(folder / "study.sqlite"))
    kept = study.load()
    optuna.load_study(study_name="s", storage=study.storage).set_user_attr(
        ABOUT, {**kept.to_dict(), "sampler": sampler}
    )
    clocks = {"cpu": time.process_time, "wall": time.perf_counter}
    started = {name: clock() for name, clock in clocks.items()}
    study = Study("s", folder, storage.sqlite_url(folder / "study.sqlite"))
    study.open(parse(SPACE, RECIPE))
    rows = study.trials()
    listing = {name: clock() - started[name] for name, clock in clocks.items()}
    assert len(rows) >= count
    asks: dict[str, list[float]] = {name: [] for name in clocks}
    whole: dict[str, list[float]] = {name: [] for name in clocks}

    def run(recipe: Recipe, number: int, told: Any) -> Outcome:
        for name, clock in clocks.items():
            asks[name].append(clock() - began[name])
        for epoch in range(1, EPOCHS + 1):
            told(epoch, 2.0 + number)  # better than all, so that it is not stopped
        return Outcome(score=2.0 + number, metrics={"accuracy": 0.5})

    for _ in range(TURNS):
        began = {name: clock() for name, clock in clocks.items()}
        study.step(run)
        for name, clock in clocks.items():
            whole[name].append(clock() - began[name])
    found: dict[str, Any] = {}
    for name in clocks:
        found[f"listing_ms_{name}"] = 1e3 * listing[name]
        found[f"asking_ms_{name}"] = 1e3 * statistics.median(asks[name])
        found[f"whole_trial_ms_{name}"] = 1e3 * statistics.median(whole[name])
        found[f"share_of_ten_seconds_{name}"] = statistics.median(whole[name]) / TRIAL_SECONDS
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--samplers", nargs="*", default=["staged", "tpe", "random"])
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            recipe=to_dict(RECIPE), space=SPACE, trials=10 * options.trials, epochs=EPOCHS, metric="accuracy"
        )
        made = Study("s", Path(folder), storage.sqlite_url(Path(folder) / "study.sqlite"))
        made.create(settings, parse(SPACE, RECIPE))
        fill(Path(folder), made, options.trials)
        for sampler in options.samplers:
            found[sampler] = measured(Path(folder), sampler, options.trials)
            print(sampler, {key: round(value, 4) for key, value in found[sampler].items()}, flush=True)
    write_result("tuning", f"overhead_{options.trials}", {"samplers": found, **facts()})


if __name__ == "__main__":
    main()
