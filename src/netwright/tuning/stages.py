"""The textbook's way as a sampler: keys in the order of their importance; random first, then narrower around the best.

Stages: the learning rate alone; momentum, width and batch size; depth and the decay of the rate; regularisation
(Ng 2017, "Hyperparameter tuning"; Goodfellow, Bengio and Courville 2016, 11.4.3). A stage draws its own keys at random
from their whole ranges (Bergstra and Bengio 2012), then in a window around the best that shrinks; earlier keys stay in
a narrow window around theirs, because the best rate moves with batch size and depth; later keys keep the best so far,
which at the start is the recipe's own. When all stages are through, every key is drawn from narrow windows.

A plan proposes values from what was tried; it keeps no state, so any process may ask. No torch, no Optuna.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

from netwright.tuning.spaces import Range, Space

# Prefixes of keys by stage; what is not named here is regularisation or an unusual wish, and comes last.
ORDER: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("learning rate", ("train.lr",)),
    (
        "momentum, width, batch size",
        ("train.momentum", "train.beta2", "train.optimizer", "network.width", "train.batch_size", "train.accumulate"),
    ),
    (
        "depth and the rate's decay",
        ("network.depth", "network.name", "network.arguments", "train.schedule", "train.gamma", "train.step_epochs",
         "train.warmup", "train.epochs"),
    ),
    ("regularisation", ("",)),
)  # fmt: skip
SHARES = (0.25, 0.35, 0.2, 0.2)  # of the search, by stage; stages without a key give theirs to the others
COARSE = 0.6  # the share of a stage that draws from whole ranges
WINDOW, NARROWEST = 0.25, 0.08  # half widths of the window around the best, of the range: at first, and at the end
SETTLED = 0.06  # the half width for keys of earlier stages
TRIES = 60  # draws until one is new


@dataclasses.dataclass(frozen=True)
class Tried:
    """A trial as a sampler sees it: what it was, and how good. ``score`` None: running, or nothing is known."""

    values: Mapping[str, Any]
    score: float | None = None
    complete: bool = False


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str
    keys: tuple[str, ...]
    start: float
    end: float


def stages(space: Space) -> list[Stage]:
    """The stages that this space has, each with its part of the search in 0…1."""
    members: list[list[str]] = [[] for _ in ORDER]
    for each in space.searched:
        place = next(
            number for number, (_, prefixes) in enumerate(ORDER)
            if any(each.key == prefix or (prefix.endswith("arguments") and each.key.startswith(prefix)) or not prefix
                   for prefix in prefixes)
        )  # fmt: skip
        members[place].append(each.key)
    total = sum(share for share, keys in zip(SHARES, members, strict=True) if keys)
    made: list[Stage] = []
    start = 0.0
    for (name, _), share, keys in zip(ORDER, SHARES, members, strict=True):
        if keys:
            end = start + share / total
            made.append(Stage(name, tuple(keys), start, end))
            start = end
    return made


def stage_at(space: Space, progress: float) -> int:
    """The number of the stage at a share of the search; the number of stages where they are through."""
    made = stages(space)
    return next((number for number, stage in enumerate(made) if progress < stage.end - 1e-9), len(made))


def propose(space: Space, tried: Sequence[Tried], progress: float, draw: random.Random) -> dict[str, Any] | None:
    """The next recipe to try at ``progress`` (0…1, the share of the search that is over); None: all were tried.

    ``tried``: everything that was asked for, running trials included, so that none is asked for twice.
    """
    made = stages(space)
    place = stage_at(space, progress)
    known = {_identity(space, each.values) for each in tried}
    best = best_of(tried)
    center = space.complete(best.values if best else {})
    for attempt in range(TRIES):
        values = _drawn(space, made, place, progress, center, draw, wider=attempt / TRIES)
        if _identity(space, values) not in known:
            return values
    if len(known) < min(space.size, 1e6):  # small spaces: what is left
        for _ in range(50 * TRIES):
            values = space.complete({each.key: each.value(draw.random()) for each in space.searched})
            if _identity(space, values) not in known:
                return values
    return None


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """The best complete trial; while there is none, the best of what was seen."""
    scored = [each for each in tried if each.score is not None]
    return max(scored, key=lambda each: (each.complete, each.score), default=None)


def _drawn(
    space: Space, made: list[Stage], place: int, progress: float, center: Mapping[str, Any], draw: random.Random,
    wider: float,
) -> dict[str, Any]:  # fmt: skip
    """Values of every key that counts; ``wider`` (0…1) opens the windows where everything near was tried."""
    over = place >= len(made)
    own = set().union(*(stage.keys for stage in made)) if over else set(made[place].keys)
    earlier = {key for stage in made[:place] for key in stage.keys} - own
    within = 1.0 if over else (progress - made[place].start) / (made[place].end - made[place].start)
    coarse = not over and within < COARSE
    fine = min(max((within - COARSE) / (1 - COARSE), 0.0), 1.0)
    window = WINDOW + fine * (NARROWEST - WINDOW)
    values: dict[str, Any] = {}
    for each in space:
        if not space.active(each, values):
            continue
        if each.constant or each.key not in own | earlier:
            values[each.key] = center.get(each.key, space.complete(values).get(each.key))
        elif each.key in own and (coarse or each.key not in center):
            values[each.key] = each.value(draw.random())
        else:
            half = (window if each.key in own else SETTLED) + wider * 0.5
            values[each.key] = near(each, center.get(each.key), half, draw)
    return values


def near(each: Range, value: Any, half: float, draw: random.Random) -> Any:
    """A value of a window of ``half`` to either side of ``value``, in shares of the range; names change that often."""
    if value is None:
        return each.value(draw.random())
    if not each.ordered:
        return each.value(draw.random()) if draw.random() < half else value
    middle = each.unit(value)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return each.value(draw.uniform(low, high))


def _identity(space: Space, values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values.get(each.key) for each in space.ranges)
