"""What is compared: a recipe with a name, and the digest by which one of its runs is known again. No torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from netwright.errors import UsageError
from netwright.recipe import difference, override
from netwright.recipe.comparing import flat
from netwright.recipe.schema import Recipe
from netwright.records import to_builtin

# Keys that change no number of a training: what is looked at, where files lie, how often it is saved.
IDLE = ("name", "ignore", "data.cache", "data.memory_mb", "train.checkpoint_seconds")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One of the things that are compared."""

    name: str
    recipe: Recipe

    def seeded(self, seed: int, splits: bool) -> Recipe:
        """The recipe with a seed, and with ``splits`` with other examples held out. It is not watched: looking on
        changes no weight, and costs time."""
        changes = {"seed": seed, "watch.enabled": False, "watch.confirm": 0.0, "name": _file_name(self.name)}
        return override(self.recipe, changes | ({"data.split_seed": seed} if splits else {}))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.")[:40]


def digest(recipe: Recipe) -> str:
    """Equal for recipes of equal trainings, whatever they are called."""
    told = {k: v for k, v in flat(recipe).items() if k not in IDLE and not k.startswith("watch.")}
    return hashlib.sha256(json.dumps(to_builtin(told), sort_keys=True).encode()).hexdigest()[:16]


def arms(named: Sequence[tuple[str, Recipe]]) -> tuple[Arm, ...]:
    """Arms with names that tell them apart. Two recipes that are equal but for the seed cannot be compared."""
    if len(named) < 2:
        raise UsageError("compare", "one subject", "at least two recipes or runs", "netwright compare A B --seeds 8")
    names: list[str] = []
    for name, _ in named:
        copies = sum(1 for other in names if other == name or other.startswith(f"{name} ("))
        names.append(f"{name} ({copies + 1})" if copies else name)
    found = tuple(Arm(name, recipe) for name, (_, recipe) in zip(names, named, strict=True))
    known: dict[str, str] = {}
    for arm in found:
        key = digest(arm.seeded(0, False))
        if key in known:
            raise UsageError(
                arm.name, f"the same recipe as {known[key]}", "recipes that differ in more than the seed",
                "equal recipes give equal bits on every seed: there is nothing to compare",
            )  # fmt: skip
        known[key] = arm.name
    return found


def changes_of(arm: Arm, first: Arm) -> dict[str, tuple[Any, Any]]:
    """The keys in which an arm differs from the first one, the seed and the name aside."""
    found = difference(first.recipe, arm.recipe)
    return {key: pair for key, pair in found.items() if key not in ("seed", "name") and not key.startswith("watch.")}


@dataclasses.dataclass(frozen=True)
class Trained:
    """One training of an arm: ``metrics`` by part and name; ``failed``: why it has none."""

    metrics: dict[str, dict[str, float]]
    seconds: float
    run: str = ""
    memory_bytes: int | None = None
    failed: str = ""
    reused: bool = False


def carry_out(
    arms: Sequence[Arm], seeds: Sequence[int], splits: bool, run: Callable[[Arm, Recipe], Trained]
) -> Iterator[tuple[Arm, int, Trained]]:
    """Every arm with every seed, seed by seed, so that whatever stops it leaves whole pairs; the arm that begins
    turns, so that a machine that becomes slower does so for all."""
    for turn, seed in enumerate(seeds):
        shift = turn % len(arms)
        for arm in (*arms[shift:], *arms[:shift]):
            yield arm, seed, run(arm, arm.seeded(seed, splits))
