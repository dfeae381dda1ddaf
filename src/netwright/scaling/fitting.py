"""Errors at growing amounts of data → a power law, and what it says of more data.

error(n) = m·(φ + (1 - φ)·(n/N)^(-b)), with N the largest amount, m the error there, b the exponent and φ the share of m
that no amount of data takes away. Sources: Hestness et al. 2017, Deep Learning Scaling is Predictable, Empirically;
Rosenfeld et al. 2020, A Constructive Prediction of the Generalization Error Across Scales (errors are relative ones).

Uncertainty is that of a posterior over a grid of (b, φ), with the level and the deviation of the relative errors
integrated out (Student's t): a least-squares fit alone would be sure of an exponent that three numbers made up. b is
uniform; φ is zero with probability one half, else uniform: over curves without a floor a φ that is uniform alone told
errors that were too high, and its intervals of 95 % for ten times the data held the truth 70 times of 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from netwright.records import plural
from netwright.scaling.records import PowerLaw

Array = npt.NDArray[np.float64]

FEWEST_SIZES, FEWEST_RANGE = 4, 4.0  # sizes, and how many times the first the last has to be
EXPONENTS = np.linspace(0.02, 1.5, 75)  # published ones of errors lie between 0.05 and 0.5 (Hestness), 1 is parametric
FLOORS = np.linspace(0.0, 0.98, 50)
NO_FLOOR = 0.5  # the probability, before anything is seen, that enough data takes all of the error away
DRAWS = 20_000
SATURATED = 0.75  # of what always saying the same gets wrong: above it a learner has hardly begun to learn
TOLERATED = 0.02  # of an error, by which the grid's nearest law may miss it
WRONG_SHAPE = 0.01  # p of the lack of fit, below which no power law is drawn
LEVELS = (50.0, 2.5, 97.5)
DRAWN_TO = 10.0  # times the last size


def fit(
    errors: Mapping[int, Sequence[float]], *, tested: int = 0, saturated: float = np.inf, seed: int = 0
) -> PowerLaw:
    """The law of ``errors``, amount of data → one error (share or unexplained variance) a seed.

    ``tested``: examples behind a share, so that none wrong is not taken for an error of zero. ``saturated``: the error
    of always saying the same. Where nothing can be said ``said`` tells why.
    """
    kept = {size: _positive(values, tested) for size, values in sorted(errors.items()) if len(values)}
    kept = {size: values for size, values in kept.items() if values.mean() <= SATURATED * saturated}
    sizes = tuple(kept)
    if len(sizes) < FEWEST_SIZES or sizes[-1] < FEWEST_RANGE * sizes[0]:
        got = plural(len(sizes), "size") + (f" from {sizes[0]} to {sizes[-1]}" if sizes else "")
        return PowerLaw(sizes=sizes, said=f"too few points to say: {got} at which something was learned")
    n = np.concatenate([np.full(len(values), size, np.float64) for size, values in kept.items()])
    e = np.log(np.concatenate(list(kept.values())))
    shapes = _shape(n / sizes[-1])  # (exponents, floors, observations)
    level = (e - shapes).mean(-1, keepdims=True)
    squares = np.square(e - shapes - level).sum(-1)
    within = sum(float(np.square(np.log(v) - np.log(v).mean()).sum()) for v in kept.values())
    if _is_wrong(float(squares.min()), within, len(e), len(sizes)):
        return PowerLaw(sizes=sizes, said="no power law fits these errors: they do not fall evenly")
    return _drawn(squares, level[..., 0], len(e), sizes, seed)


def _positive(values: Sequence[float], tested: int) -> Array:
    """Shares with half an error added (Jeffreys' prior), so that their logarithm exists."""
    found = np.asarray(values, np.float64)
    return (found * tested + 0.5) / (tested + 1) if tested else np.maximum(found, 1e-12)


def _shape(ratio: Array) -> Array:
    """The logarithm of the law's shape at ``ratio`` (n,) of the largest amount, (exponents, floors, n)."""
    falling = ratio[None, None, :] ** -EXPONENTS[:, None, None]
    return np.log(FLOORS[None, :, None] + (1 - FLOORS[None, :, None]) * falling)


def _is_wrong(least: float, within: float, count: int, sizes: int) -> bool:
    """Lack of fit: what the best law leaves between the sizes against the spread of the seeds (an F test)."""
    free, pure = sizes - 3, count - sizes
    if free < 1 or pure < 1 or within <= 0:
        return False
    ratio = max(0.0, least - within - count * TOLERATED**2) / free / (within / pure)
    return float(special.fdtrc(free, pure, ratio)) < WRONG_SHAPE


def _drawn(squares: Array, level: Array, count: int, sizes: tuple[int, ...], seed: int) -> PowerLaw:
    """Draws from the posterior. Of the observations' degrees of freedom three are the law's own."""
    generator = np.random.default_rng(seed)
    free = count - 3
    squares = np.maximum(squares, 1e-12)
    weight = -(free / 2) * np.log(squares)
    weight = np.exp(weight - weight.max())
    weight[:, 1:] *= NO_FLOOR / (1 - NO_FLOOR) / (len(FLOORS) - 1)
    weight = weight.ravel()
    chosen = generator.choice(len(weight), DRAWS, p=weight / weight.sum())
    rows, columns = np.unravel_index(chosen, squares.shape)
    exponent, floor = EXPONENTS[rows], FLOORS[columns]
    deviation = np.sqrt(squares[rows, columns] / generator.chisquare(free, DRAWS))
    last = np.exp(level[rows, columns] + deviation / np.sqrt(count) * generator.standard_normal(DRAWS))

    def at(ratio: float) -> Array:
        value: Array = last * (floor + (1 - floor) * ratio**-exponent)
        return value

    places = np.geomspace(sizes[0] / sizes[-1], DRAWN_TO, 40)
    curve = tuple((float(place * sizes[-1]), *_three(at(place))) for place in places)
    return PowerLaw(
        exponent=_three(exponent), floor=_three(last * floor), last=_three(last), twice=_three(at(2)),
        tenfold=_three(at(10)), ratio=_three(at(2) / last), sizes=sizes, curve=curve,
    )  # fmt: skip


def _three(values: Array) -> tuple[float, float, float]:
    middle, low, high = np.percentile(values, LEVELS)
    return float(middle), float(low), float(high)
