"""Trainings that cost nothing: a score that is a known function of the recipe, told epoch by epoch."""

from __future__ import annotations

import math
from pathlib import Path

from netwright.recipe import Recipe, flat, override
from netwright.tuning import storage
from netwright.tuning.spaces import Space, parse
from netwright.tuning.studies import Outcome, Settings, Study, Told

EPOCHS, TRIALS = 4, 8
RECIPE = override(Recipe(), {"train.lr": 0.01, "train.epochs": EPOCHS, "network.depth": 2, "train.batch_size": 32})
SPACE = ("train.lr=1e-4..1@log", "train.momentum=0.5..0.99@log1m", "train.batch_size=16,32,64", "network.depth=1..4")
BEST = {"train.lr": 0.1, "train.momentum": 0.95, "train.batch_size": 64, "network.depth": 3}
WEIGHTS = {"train.lr": 1.0, "train.momentum": 0.3, "train.batch_size": 0.1, "network.depth": 0.1}


def quality(recipe: Recipe, space: Space) -> float:
    """1 at ``BEST``, less the further away, by shares of the ranges; the rate counts most."""
    values = flat(recipe)
    away = [
        WEIGHTS[each.key] * (each.unit(values[each.key]) - each.unit(BEST[each.key])) ** 2 for each in space.searched
    ]
    return 1 - sum(away)


class Fake:
    """A ``Run``: ``epochs`` scores that rise to the quality. It counts what it trained."""

    def __init__(self, space: Space, epochs: int = EPOCHS) -> None:
        self.space, self.epochs = space, epochs
        self.trained: list[Recipe] = []

    def __call__(self, recipe: Recipe, number: int, told: Told) -> Outcome:
        self.trained.append(recipe)
        score = quality(recipe, self.space)
        for epoch in range(1, self.epochs + 1):
            told(epoch, score * (1 - math.exp(-epoch)))
        return Outcome(score=score, metrics={"accuracy": score}, run="")


def settings(**changes: object) -> Settings:
    from netwright.recipe import to_dict

    fields = {
        "recipe": to_dict(RECIPE),
        "space": SPACE,
        "trials": TRIALS,
        "epochs": EPOCHS,
        "metric": "accuracy",
        "sampler": "staged",
        "best": 2,
        "seeds": 3,
    }
    return Settings(**{**fields, **changes})  # type: ignore[arg-type]


def study(folder: Path, name: str = "s", worker: int = 0, url: str = "", **changes: object) -> Study:
    """A study in ``folder``, made or joined."""
    made = Study(name, folder, url or storage.sqlite_url(folder / "study.sqlite"), worker=worker, patience=1.0)
    about = settings(**changes)
    made.create(about, parse(about.space, RECIPE))
    return made


def finish(one: Study, run: Fake) -> None:
    while one.step(run):
        pass
