"""Whether ``netwright compare`` keeps its promises: coverage of intervals, equal recipes, a true gain of one point.

    python benchmarks/comparing.py record      # 32 seeds of three recipes on digits → results/comparing_seeds.csv
    python benchmarks/comparing.py             # the simulations, which resample those

``record`` trains for minutes; the table is kept, so that the simulations are of real spreads without it.
"""

from __future__ import annotations

import csv
import sys
from typing import Any

import common
import numpy as np
from scipy import special

from netwright.comparing.intervals import paired, power, seeds_needed, smallest_found

TABLE = common.HERE / "results" / "comparing_seeds.csv"
SEEDS = 32
SETTINGS: dict[str, Any] = {
    "data.source": "digits", "network.name": "mlp", "train.epochs": 3, "train.batch_size": 64, "watch.enabled": False,
    "train.threads": 1, "augment.shift": 0, "augment.rotate": 0, "augment.crop": 0,
}  # fmt: skip
ARMS: dict[str, dict[str, Any]] = {"plain": {}, "narrow": {"network.width": 24}, "slow": {"train.lr": 0.002}}
COLUMNS = ("recipe", "seed", "validation_accuracy", "validation_loss", "test_accuracy", "test_loss", "seconds")
REPETITIONS, DEMANDED, RESAMPLES = 2000, 200, 1000
GAIN = 0.01


def record() -> None:
    from netwright import workbench
    from netwright.recipe import Recipe, override

    folder = common.work_folder() / "comparing"
    rows = []
    for seed in range(SEEDS):
        for name, changes in ARMS.items():
            run = workbench.train(override(Recipe(), SETTINGS | changes | {"seed": seed}), folder=folder)
            held = [run.metrics[part][metric] for part in ("validation", "test") for metric in ("accuracy", "loss")]
            rows.append([name, seed, *held, round(run.seconds, 3)])
    with TABLE.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    common.remove(folder)


def recorded() -> dict[str, np.ndarray]:
    """Test accuracy of each recipe, by seed."""
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row["test_accuracy"]) for row in rows if row["recipe"] == name]) for name in ARMS}


# ------------------------------------------------------------------------------------------------ intervals


def ends(sample: np.ndarray, generator: np.random.Generator) -> dict[str, tuple[float, float]]:
    """95 % intervals of the mean by Student's t, and by the percentile, BCa (Efron 1987) and studentised bootstrap."""
    count, mean, spread = len(sample), sample.mean(), sample.std(ddof=1)
    found = paired(sample)
    drawn = sample[generator.integers(0, count, (RESAMPLES, count))]
    means, spreads = drawn.mean(1), drawn.std(1, ddof=1)
    below = np.clip((means < mean).mean() + 0.5 * (means == mean).mean(), 1 / RESAMPLES, 1 - 1 / RESAMPLES)
    shift, left_out = special.ndtri(below), (sample.sum() - sample) / (count - 1)
    pull = left_out.mean() - left_out
    below_zero = 6 * (pull**2).sum() ** 1.5
    skew = (pull**3).sum() / below_zero if below_zero else 0.0
    levels = [special.ndtr(shift + (shift + z) / (1 - skew * (shift + z))) for z in special.ndtri([0.025, 0.975])]
    kept = spreads > 1e-12
    ratios = (means[kept] - mean) / (spreads[kept] / np.sqrt(count)) if kept.any() else np.zeros(1)
    first, last = np.quantile(ratios, [0.025, 0.975]) * spread / np.sqrt(count)
    return {
        "t": (found.low, found.high), "percentile": tuple(np.quantile(means, [0.025, 0.975])),
        "BCa": tuple(np.quantile(means, levels)), "studentised": (mean - last, mean - first),
    }  # fmt: skip


def coverage(values: dict[str, np.ndarray], generator: np.random.Generator) -> dict[str, Any]:
    """How often an interval of 95 % holds the mean of what the sample was drawn from, and how wide it is against t."""
    worlds = {
        "normal": generator.normal(size=100_000),
        "plain, two seeds": (values["plain"][:, None] - values["plain"][None]).ravel(),
        "slow - plain": values["slow"] - values["plain"],
        "narrow - plain": values["narrow"] - values["plain"],
        "gamma (skewed)": generator.gamma(2, size=100_000),
    }
    found: dict[str, Any] = {}
    rows = []
    for name, world in worlds.items():
        for count in (5, 6, 8, 10):
            inside: dict[str, list[bool]] = {}
            widths: dict[str, list[float]] = {}
            for _ in range(REPETITIONS):
                for method, (low, high) in ends(generator.choice(world, count), generator).items():
                    inside.setdefault(method, []).append(low <= world.mean() <= high)
                    widths.setdefault(method, []).append(high - low)
            usual = np.median(widths["t"])
            told = {
                m: {"covers": float(np.mean(inside[m])), "width": float(np.median(widths[m]) / usual)} for m in inside
            }
            found[f"{name}, {count}"] = told
            rows.append([name, count, *(f"{100 * one['covers']:.1f} % ({one['width']:.2f})" for one in told.values())])
            print(*rows[-1], file=sys.stderr, flush=True)
    common.table(["differences", "seeds", *told], rows)
    return found


# ------------------------------------------------------------------------------------------------ calls


def called(first: np.ndarray, second: np.ndarray, comparisons: int = 1) -> int:
    """1: the second is called better, -1: the first, 0: neither."""
    found = paired(second - first, comparisons=comparisons)
    return int(np.sign(found.mean)) if found.settled else 0


def calls(values: np.ndarray, generator: np.random.Generator) -> dict[str, Any]:
    """Of trainings of one recipe: how often equal ones are told apart, and how often a gain of a point is found."""
    spread = float(np.sqrt(2) * values.std())  # of a difference of two independent seeds

    def share(count: int, gain: float, repetitions: int, wanted: int) -> float:
        draws = (generator.choice(values, (2, count)) for _ in range(repetitions))
        hits = [called(one, other + gain) for one, other in draws]
        return float(np.mean([hit == wanted if wanted else hit != 0 for hit in hits]))

    def three(count: int, repetitions: int) -> float:
        draws = (generator.choice(values, (3, count)) for _ in range(repetitions))
        return float(np.mean([any(called(d[i], d[j], 3) for i, j in ((0, 1), (0, 2), (1, 2))) for d in draws]))

    found: dict[str, Any] = {"spread_of_a_difference": spread, "smallest_found_by_8": smallest_found(8, spread)}
    found["equal"] = {str(n): share(n, 0.0, 10 * REPETITIONS, 0) for n in (5, 8, 10)}
    found["equal_200_repetitions_of_8"] = share(8, 0.0, DEMANDED, 0)
    found["three_equal_of_8"] = three(8, REPETITIONS * 2)
    needed = seeds_needed(GAIN, spread) or 0
    found["seeds_for_a_point"] = needed
    found["gain"] = {
        str(n): {"promised": power(n, GAIN, spread), "found": share(n, GAIN, 5 * REPETITIONS, 1)}
        for n in (5, 8, needed, 16)
    }
    pilots = [generator.choice(values, (2, 8)) for _ in range(REPETITIONS)]
    advised = [seeds_needed(GAIN, paired(b - a).deviation) or 0 for a, b in pilots]
    found["advice_after_8"] = [int(v) for v in np.quantile(advised, [0.1, 0.5, 0.9])]
    return found


def main() -> None:
    values, generator = recorded(), np.random.default_rng(0)
    for name, each in values.items():
        print(f"{name}: {len(each)} seeds, {100 * each.mean():.2f} % ± {100 * each.std(ddof=1):.2f}")
    common.write_result("comparing", "calls", {name: calls(each, generator) for name, each in values.items()})
    common.write_result("comparing", "coverage", coverage(values, generator))


if __name__ == "__main__":
    record() if sys.argv[1:] == ["record"] else main()
