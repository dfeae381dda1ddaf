"""Curves → one to four sentences, each with its numbers. No torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from netwright.comparing.intervals import paired
from netwright.comparing.judging import FEWEST
from netwright.records import percent
from netwright.scaling.records import BatchPoint, BatchRegimes, CurvePoint, Curves, LearnerCurve, Spread

TELLS = 0.9  # the ratio of errors above which twice the data hardly pays: a tenth less
HIGH_TRAIN = 0.5  # of the held-out error that is made on training examples too: a network that cannot fit
SAME = 0.25  # share of the smaller error within which two learners are told to reach about the same, with one seed
PAYS = 0.65  # of the steps by doubling the batch: nearly half; at the noise scale it is 0.75 (McCandlish et al. 2018)
LEAST_TIME = 0.5  # ratio of seconds that is worth telling


def spread(values: Sequence[float]) -> Spread:
    """Mean and 95 % interval of a few values."""
    if not values:
        return Spread()
    mean, told = float(np.mean(values)), tuple(float(value) for value in values)
    if len(values) < FEWEST:
        return Spread(mean=mean, values=told)
    half = float(special.stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Spread(mean=mean, low=mean - half, high=mean + half, values=told)


def conclude(found: Curves) -> list[str]:
    """What the curves say: does more data help, is the network too small, what do classical methods reach."""
    network = next(each for each in found.learners if each.kind == "network")
    told = _of_data(found, network) if found.over == "data" else _of_capacity(found, network)
    told = [*told, *_of_rivals(found, network)]
    return [line[0].upper() + line[1:] for line in told]


def _shown(spread: Spread) -> str:
    if spread.low is None or spread.high is None:
        return percent(spread.mean)
    return f"{percent(spread.mean)} [{percent(max(0.0, spread.low))}, {percent(spread.high)}]"


def _of_data(found: Curves, network: LearnerCurve) -> list[str]:
    last, law = network.points[-1], found.law
    told = []
    if law is None or law.said or law.twice is None or law.last is None or law.ratio is None:
        why = law.said if law is not None else "no law was fitted"
        told.append(f"What more data would bring cannot be told: {why}.")
    else:
        middle, low, high = law.twice
        change = f"from {percent(law.last[0])} to about {percent(middle)} [{percent(low)}, {percent(high)}]"
        twice = f"twice the data ({2 * last.size:,} examples) would bring the {found.measure} {change}"
        if law.ratio[2] < TELLS:
            told.append(f"More data will help: {twice}.")
        elif law.ratio[0] < TELLS:
            told.append(f"More data will probably help, but these points do not settle it: {twice}.")
        else:
            told.append(f"More data will hardly help: {twice}.")
    told += _fit(found, last, "train it for longer, or make the network larger")
    return told


def _fit(found: Curves, point: CurvePoint, advice: str) -> list[str]:
    """Whether the network fits its own training examples."""
    train, held = point.train.mean, point.held_out.mean
    if train is None or held is None:
        return []
    if train > HIGH_TRAIN * held and train > 0.02:
        return [f"It does not fit what it was trained on: training {found.measure} {percent(train)} against "
                f"{percent(held)} on held-out examples; {advice}."]  # fmt: skip
    return [f"It fits what it was trained on (training {found.measure} {percent(train)}): the {percent(held)} on "
            f"held-out examples are a matter of data or regularisation, not of size."]  # fmt: skip


def _of_capacity(found: Curves, network: LearnerCurve) -> list[str]:
    points = network.points
    best = min(points, key=lambda point: point.held_out.mean or 0.0)
    told = [f"Best here is {found.over} {best.size}{_weights(best)}: {found.measure} {_shown(best.held_out)}."]
    enough = next(point for point in points if point is best or _not_worse(point, best))
    if enough is not best:
        told[0] = told[0][:-1] + f"; {found.over} {enough.size}{_weights(enough)} is not told apart from it."
    if best is points[-1] and enough is best and len(points) > 1:
        told.append("The error still falls at the largest size: larger ones may be better.")
    first = points[0]
    if first is not best and (first.train.mean or 0) > HIGH_TRAIN * (first.held_out.mean or 1) > 0.01:
        text = f"{found.over.capitalize()} {first.size} is too small: training {found.measure}"
        told.append(f"{text} {percent(first.train.mean)}, held-out {percent(first.held_out.mean)}.")
    parts = best.decomposition
    if parts is not None:
        varied = parts.variance - parts.helpful
        text = f"At {found.over} {best.size} bias makes {percent(parts.bias)} and variance {percent(varied)} of it"
        if (best.train.mean or 0) > HIGH_TRAIN * (best.held_out.mean or 1) > 0.01:
            told.append(f"{text}; training {found.measure} {percent(best.train.mean)}: it could be trained for longer.")
        elif varied > parts.bias:
            told.append(f"{text}: more data or regularisation will do more than another size.")
        else:
            told.append(f"{text}: what is left lies in the kind of network, the labels or the inputs, not in chance.")
    return told


def _weights(point: CurvePoint) -> str:
    return "" if point.parameters is None else f" ({point.parameters:,} weights)"


def _not_worse(point: CurvePoint, best: CurvePoint) -> bool:
    """Whether the seeds do not tell a point from the best one."""
    one, other = point.held_out.values, best.held_out.values
    count = min(len(one), len(other))
    if count < FEWEST:
        return False
    return not paired([a - b for a, b in zip(one[:count], other[:count])]).settled


def _of_rivals(found: Curves, network: LearnerCurve) -> list[str]:
    """The best classical method at the network's largest size (over capacity: against its best one)."""
    place = network.points[-1] if found.over == "data" else min(network.points, key=lambda p: p.held_out.mean or 0.0)
    at = {
        each.name: next((p for p in each.points if p.size == place.size or found.over != "data"), None)
        for each in found.learners if each.kind == "classical"
    }  # fmt: skip
    known = {name: point for name, point in at.items() if point is not None and point.held_out.mean is not None}
    if not known or place.held_out.mean is None:
        return []
    name, rival = min(known.items(), key=lambda pair: pair[1].held_out.mean or 0.0)
    mine, theirs = place.held_out.mean, rival.held_out.mean or 0.0
    cost = ""
    if place.seconds and rival.seconds:
        ratio = place.seconds / rival.seconds
        if ratio >= 1 / LEAST_TIME:
            cost = f", in 1/{ratio:.0f} of the time" if ratio >= 2 else ""
        elif ratio <= LEAST_TIME:
            cost = f", in {1 / ratio:.0f} times the time"
    against = f"{percent(theirs)} against the network's {percent(mine)}{cost}"
    count = min(len(place.held_out.values), len(rival.held_out.values))
    apart = paired([a - b for a, b in zip(place.held_out.values[:count], rival.held_out.values[:count])])
    if (count >= FEWEST and not apart.settled) or (count < FEWEST and abs(mine - theirs) <= SAME * min(mine, theirs)):
        return [f"{name} reaches about the same: {against}."]
    sure = "" if count >= FEWEST else " (too few seeds to be sure)"
    if theirs < mine:
        return [f"{name} is better than the network{sure}: {against}."]
    return [f"The network beats what needs none{sure}: the best of those, {name}, comes to {against}."]


# ------------------------------------------------------------------------------------------------ batch sizes


def conclude_batches(found: BatchRegimes) -> list[str]:
    """Which batch size reaches the target soonest, from where on larger ones stop paying, and which memory allows."""
    reached = [point for point in found.points if point.seconds is not None]
    if not reached:
        return [f"No batch size reached {percent(found.target)} in {found.within:g} s: a higher --reach, or longer."]
    best = min(reached, key=lambda point: point.seconds or math.inf)
    close = [p.batch_size for p in reached if p is not best and (p.seconds or math.inf) <= 1.2 * (best.seconds or 0)]
    told = [f"Batch size {best.batch_size} comes to {found.measure} {percent(found.target)} soonest here: in "
            f"{best.seconds:.3g} s and {best.examples:,.0f} examples"
            + (f" ({', '.join(map(str, close))} within a fifth of that)." if close else ".")]  # fmt: skip
    told += _knee(reached, found.noise)
    missed = [p.batch_size for p in found.points if p.seconds is None and not p.left_out]
    if missed:
        told.append(f"Not reached in {found.within:g} s: {', '.join(map(str, missed))}.")
    told += [f"Batch size {p.batch_size} was not to be had: {p.left_out}." for p in found.points if p.left_out]
    return told


def _knee(reached: Sequence[BatchPoint], noise: float | None) -> list[str]:
    """From which size on twice the batch no longer takes nearly half of the steps."""
    last = reached[0]
    for one, other in itertools.pairwise(reached):
        if one.steps is None or other.steps is None:
            break
        doublings = math.log2(other.batch_size / one.batch_size)
        if (other.steps / one.steps) ** (1 / doublings) > PAYS:
            break
        last = other
    text = f"Up to about {last.batch_size} a larger batch saves steps nearly in proportion, beyond it hardly"
    if last is reached[-1]:
        text = f"Up to {last.batch_size}, the largest that got there, a larger batch saves steps nearly in proportion"
    if noise is None:
        return [f"{text}."] if len(reached) > 1 else []
    return [f"{text}; the gradient's noise scale is about {noise:,.0f} examples."]
