"""Searches replayed on the table of real trainings, and the ranking of the keys by measured importance.

    python benchmarks/tuning.py [--studies 200] [--budget 30] [--tasks digits fashion]

A study asks for configurations; each is answered by the nearest recorded one that it did not use yet (distances over
the seven keys' shares of their ranges, weighted by the square root of their importance on that table). The sampler is
told what was trained, not what it wished, and the study pays the recorded seconds up to the epoch at which it stops.
Searches run on the same seeds at one budget of trial-seconds, ``--budget`` times the mean cost of a whole training: the
staged search and Optuna's TPE, both with successive halving, and random search that trains everything to its end, or
with halving too. All begin with the same recipe, in the middle of the ranges. What counts is the time until the first
whole training among the best 2 % of the table; a study that does not get there counts the whole budget. The paired
differences of those times have bootstrap intervals.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any

import optuna
from common import facts, interval, write_result
from optuna.trial import TrialState
from tuning_table import EPOCHS, recorded

from netwright.recipe import Recipe, override
from netwright.records import Trial
from netwright.tuning import sampling
from netwright.tuning.importance import importance
from netwright.tuning.spaces import Space, parse

RANGES = (
    "train.lr=1e-4..1@log", "train.momentum=0.5..0.99@log1m", "network.width=4..12@log",
    "train.batch_size=16,32,64,128,256", "network.depth=1..3", "train.gamma=0.5..1", "train.weight_decay=1e-6..0.1@log",
)  # fmt: skip
START = {
    "train.lr": 0.01, "train.momentum": 0.9, "network.width": 8, "train.batch_size": 64, "network.depth": 2,
    "train.gamma": 0.8, "train.weight_decay": 1e-4,
}  # fmt: skip
# name → sampler, and whether with successive halving
SEARCHES = {
    "staged": ("staged", True), "tpe": ("tpe", True), "random": ("random", False), "random_halved": ("random", True),
}  # fmt: skip
TOP = 0.02


class Table:
    """The recorded trainings of one task, with distances between a wish and what there is."""

    def __init__(self, task: str, rows: list[dict[str, Any]]) -> None:
        self.task, self.rows = task, rows
        self.space: Space = parse(RANGES, override(Recipe(), START))
        for row in rows:
            row["values"] = {
                each.key: int(row[each.key]) if each.integer or each.key == "train.batch_size" else row[each.key]
                for each in self.space
            }
            row["units"] = [each.unit(row["values"][each.key]) for each in self.space]
            row["final"] = row["accuracies"][-1] if len(row["accuracies"]) == EPOCHS[task] else 0.0
        finals = sorted((row["final"] for row in rows), reverse=True)
        self.wanted = finals[max(0, math.ceil(TOP * len(finals)) - 1)]
        self.mean_seconds = statistics.fmean(row["seconds"][-1] for row in rows if row["seconds"])
        self.importance = importance(self.trials(), self.space)
        shares = {each.key: (each.fanova or (0.0,))[0] for each in self.importance.keys}
        self.weights = [math.sqrt(max(shares.get(each.key, 1 / 7), 0.01)) for each in self.space]

    def trials(self) -> list[Trial]:
        return [
            Trial(number=row["row"], change=row["values"], state="finished", value=row["final"]) for row in self.rows
        ]

    def nearest(self, values: dict[str, Any], used: set[int]) -> dict[str, Any] | None:
        wish = [each.unit(values[each.key]) for each in self.space]
        left = [row for row in self.rows if row["row"] not in used]
        return min(left, key=lambda row: self._distance(wish, row["units"]), default=None)

    def _distance(self, one: list[float], other: list[float]) -> float:
        return sum(weight * (a - b) ** 2 for weight, a, b in zip(self.weights, one, other, strict=True))


def replay(table: Table, search: str, halving: bool, seed: int, budget: float) -> float:
    """Trial-seconds until a configuration of the best 2 % was trained to its end; the budget if that never was."""
    spent, epochs = 0.0, EPOCHS[table.task]
    sampler = sampling.sampler(search, table.space, lambda count: spent / budget, seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=sampling.pruner(epochs, halving))
    rungs = set(sampling.rungs(epochs))
    study.enqueue_trial(sampling.to_parameters(table.space, START))  # the recipe itself comes first, as in a study
    used: set[int] = set()
    while spent < budget:
        trial = study.ask()
        row = table.nearest(sampling.suggest(table.space, trial), used)
        if row is None:
            break
        used.add(row["row"])
        study._storage.get_trial(trial._trial_id).params.update(sampling.to_parameters(table.space, row["values"]))
        stopped = len(row["accuracies"]) < epochs
        for epoch, (accuracy, seconds) in enumerate(zip(row["accuracies"], row["seconds"], strict=True), 1):
            trial.report(accuracy, epoch)
            cost = seconds
            if epoch in rungs and trial.should_prune():
                stopped = True
                break
        spent += cost if row["seconds"] else 0.0
        if stopped:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        study.tell(trial, row["final"])
        if row["final"] >= table.wanted:
            return min(spent, budget)
    return budget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--budget", type=float, default=30.0)
    parser.add_argument("--tasks", nargs="*", default=list(EPOCHS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table_rows = recorded()
    for task in options.tasks:
        rows = table_rows[task]
        table = Table(task, rows)
        print(f"{task}: {len(rows)} trainings, {table.mean_seconds:.1f} s each, best 2 % from {table.wanted:.4f}")
        for each in table.importance.keys:
            print(f"  {each.key:22} fANOVA {each.fanova}  PED-ANOVA {each.pedanova}")
        print(f"  {table.importance.note}", flush=True)
        budget = options.budget * table.mean_seconds
        times: dict[str, list[float]] = {}
        for search, how in SEARCHES.items():
            found = [replay(table, *how, seed, budget) / table.mean_seconds for seed in range(options.studies)]
            times[search] = found
            print(f"  {search:13} median {statistics.median(found):.1f} trainings", flush=True)
        entry: dict[str, Any] = {"trainings": len(rows), "budget": options.budget, "studies": options.studies}
        for search, found in times.items():
            reached = sum(value < options.budget for value in found)
            entry[search] = {"median": statistics.median(found), "mean": statistics.fmean(found), "reached": reached}
            print(f"  {search:8} median {entry[search]['median']:.1f} trainings, reached by {reached}", flush=True)
        for other in ("tpe", "random", "random_halved"):
            pairs = [one - two for one, two in zip(times["staged"], times[other], strict=True)]
            entry[f"staged_minus_{other}"] = {**interval(pairs), "mean": statistics.fmean(pairs)}
            print(f"  staged − {other}: {entry[f'staged_minus_{other}']}", flush=True)
        entry["importance"] = table.importance.to_dict()
        write_result("tuning", task, {**entry, **facts()})


if __name__ == "__main__":
    main()
