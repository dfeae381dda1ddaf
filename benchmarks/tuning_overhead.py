"""What a study of a thousand trials costs: listing it, asking for the next, and everything beside the training.

    python benchmarks/tuning_overhead.py [--trials 1000]

The trials are made up (seven keys, nine epochs each) and written to a SQLite study as a search writes them; then the
study is opened anew, listed, and asked and told twenty times with each sampler by a training that takes no time.
"""

from __future__ import annotations

import argparse
import datetime
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
from common import facts, write_result
from optuna.trial import TrialState, create_trial

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


def fill(study: Study, count: int) -> None:
    draw = random.Random(0)
    kinds = {sampling.parameter(each): sampling.distribution(each) for each in study.space.searched}
    made = []
    for _ in range(count):
        values = study.space.complete({each.key: each.value(draw.random()) for each in study.space.searched})
        score, whole = draw.random(), draw.random() < 0.3
        seen = range(1, EPOCHS + 1 if whole else 2)
        now = datetime.datetime.now()
        made.append(
            create_trial(
                state=TrialState.COMPLETE if whole else TrialState.PRUNED,
                value=score,
                params=sampling.to_parameters(study.space, values),
                distributions=kinds,
                intermediate_values={epoch: score * epoch / EPOCHS for epoch in seen},
                user_attrs={"end": {"seconds": 10.0, "metrics": {"accuracy": score, "loss": 1 - score}, "reason": ""}},
            )
        )
        made[-1].datetime_start, made[-1].datetime_complete = now, now
    study.inner.add_trials(made)


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
        fill(made, options.trials)
        for sampler in options.samplers:
            found[sampler] = measured(Path(folder), sampler, options.trials)
            print(sampler, {key: round(value, 4) for key, value in found[sampler].items()}, flush=True)
    write_result("tuning", f"overhead_{options.trials}", {"samplers": found, **facts()})


if __name__ == "__main__":
    main()
