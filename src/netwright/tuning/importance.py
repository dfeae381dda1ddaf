"""Which keys decide the score, and how sure that is.

Two measures, both Optuna's: fANOVA, the share of the variance over the whole space that a key explains alone (Hutter,
Hoos and Leyton-Brown 2014), and PED-ANOVA, how far the best trials' values of a key differ from all trials' (Watanabe,
Bansal and Hutter 2023). Each is taken over bootstrap samples of the trials; without their spread neither means much.
Values are handed over as shares of their ranges on their scales, since Optuna's fANOVA weighs a range in plain units,
where nine tenths of a logarithmic one lie in its last power of ten.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from netwright.records import Importance, KeyImportance, Trial
from netwright.tuning.spaces import Range, Space

SAMPLES = 12  # bootstrap samples
TREES, DEPTH = 16, 6  # of a forest: as many leaves as trials tell apart, in a quarter of the time of whole trees
MOST = 400  # trials that are looked at, evenly drawn from all
FEWEST, FEWEST_A_KEY = 20, 4  # trials, below which nothing is said
QUANTILE = 0.2  # of the trials: the best ones of PED-ANOVA; at least FEWEST_BEST of them
FEWEST_BEST = 5
REACHED = 0.8  # the share of trials that must have come to an epoch for their scores there to be compared

Spread = tuple[float, float, float]  # median, 10 % and 90 % over bootstrap samples


def importance(trials: Sequence[Trial], space: Space, *, samples: int = SAMPLES, seed: int = 0) -> Importance:
    """Importance of every searched key, or a plain word that there are too few trials.

    Where most trials were stopped early, the score after the epoch that nearly all reached is compared, because the
    finished ones are a choice. Some seconds for a hundred trials, and twenty for the most that are looked at.
    """
    rows, note = _compared(trials)
    if len(rows) > MOST:
        rows = random.Random(seed).sample(rows, MOST)
    searched = space.searched
    needed = max(FEWEST, FEWEST_A_KEY * len(searched))
    if len(rows) < needed:
        return Importance(trials=len(rows), note=f"too few trials to say: {len(rows)}, and {needed} are the least")
    if len({score for _, score in rows}) < 2:
        return Importance(trials=len(rows), note="all trials have the same score")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    draw = random.Random(seed)
    seen: dict[str, dict[str, list[float]]] = {"fanova": {}, "pedanova": {}}
    for sample in range(samples):
        chosen = draw.choices(rows, k=len(rows))
        if len({score for _, score in chosen}) < 2:
            continue
        study = _as_study(chosen, space)
        for name, shares in _measured(study, len(chosen), sample).items():
            for key, share in shares.items():
                seen[name].setdefault(key, []).append(float(share))
    found = [
        KeyImportance(
            key=each.key,
            fanova=_spread(seen["fanova"].get(each.key)),
            pedanova=_spread(seen["pedanova"].get(each.key)),
        )
        for each in searched
    ]
    found.sort(key=lambda each: (each.fanova is None, -(each.fanova or each.pedanova or (0.0,))[0]))
    apart = len(found) == 1 or (
        len(found) > 1
        and found[0].fanova is not None
        and (found[1].fanova is None or found[0].fanova[1] > found[1].fanova[2])
    )
    return Importance(keys=tuple(found), trials=len(rows), note=note, told_apart=apart)


def _compared(trials: Sequence[Trial]) -> tuple[list[tuple[Mapping[str, Any], float]], str]:
    """Changes with scores that can be compared, and a word on which scores they are."""
    finished: list[tuple[Mapping[str, Any], float]] = [
        (each.change, each.value) for each in trials if each.state == "finished" and each.value is not None
    ]
    ended = [each for each in trials if each.state in ("finished", "stopped")]
    if len(finished) >= REACHED * len(ended):
        return finished, "scores of finished trials"
    lengths = sorted((sum(value is not None for value in each.curve) for each in ended), reverse=True)
    epoch = lengths[math.ceil(REACHED * len(lengths)) - 1]
    if epoch < 1:
        return finished, "scores of finished trials"
    early = [(each.change, each.curve[epoch - 1]) for each in ended if len(each.curve) >= epoch]
    rows: list[tuple[Mapping[str, Any], float]] = [(change, score) for change, score in early if score is not None]
    return rows, f"scores after epoch {epoch}, which nearly all trials reached"


def _distribution(each: Range) -> BaseDistribution:
    return FloatDistribution(0.0, 1.0) if each.ordered else CategoricalDistribution(each.choices)


def _as_study(rows: Sequence[tuple[Mapping[str, Any], float]], space: Space) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    kinds = {each.key: _distribution(each) for each in space.searched}
    for change, score in rows:
        known = [each for each in space.searched if each.key in change]
        study.add_trial(
            create_trial(
                params={each.key: each.unit(change[each.key]) if each.ordered else change[each.key] for each in known},
                distributions={each.key: kinds[each.key] for each in known},
                value=score,
            )
        )
    return study


def _measured(study: optuna.Study, count: int, seed: int) -> dict[str, dict[str, float]]:
    best = min(1.0, max(QUANTILE, FEWEST_BEST / count))
    forest = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed)
    return {
        "fanova": dict(get_param_importances(study, evaluator=forest)),
        "pedanova": dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=best))),
    }


def _spread(values: list[float] | None) -> Spread | None:
    if not values:
        return None
    ordered = sorted(values)
    last = len(ordered) - 1
    return statistics.median(ordered), ordered[round(0.1 * last)], ordered[round(0.9 * last)]
