"""A recipe over batch sizes, from one example to all → time, steps and examples to one error, memory, gradient noise.

Every size trains from the same first weights with a constant rate (a schedule would have to know its end), which
follows the size by a rule, until it reaches the target or its time is over. A larger batch saves steps nearly in
proportion until it nears the gradient's noise scale, and costs examples beyond it (McCandlish et al. 2018, An Empirical
Model of Large-Batch Training; Shallue et al. 2019, Measuring the Effects of Data Parallelism).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from netwright import building, environment, files, replicating, sizing, sourcing
from netwright.comparing.arms import digest
from netwright.curving import judged, not_in_time
from netwright.errors import NetwrightError, RecipeError, StoppedError, UsageError
from netwright.nn import keeping
from netwright.optim import range_test
from netwright.recipe import Recipe, defaults, override
from netwright.recipe.schema import FULL_BATCH
from netwright.reporting import curves as telling
from netwright.reporting import formatting
from netwright.scaling import concluding
from netwright.scaling.fitting import SATURATED
from netwright.scaling.records import BatchPoint, BatchRegimes, BatchTrial
from netwright.training import loop as loops
from netwright.training import randomness
from netwright.training.evaluating import call, evaluate
from netwright.training.precision import Precision
from netwright.training.state import State

WITHIN = 20.0  # seconds that a training has
LOOKED = 1000  # held-out examples of a look
GROWTH, FIRST = 1.15, 128  # of the examples from look to look; those before the first
EASIER = 1.5  # times the lowest error of the recipe's own batch size: the target
RISING = 10  # steps in which the rate rises to its value
FACTOR = 4  # from size to size
ALONE = "a batch norm learns nothing from one value"
TESTED_RATES = 60  # steps of a range test
KEPT, VERSION = "curves", 1

Said = Callable[[str], None]


def regimes(
    recipe: Recipe,
    *,
    name: str,
    sizes: Sequence[int] = (),
    seeds: int = 3,
    seconds: float | None = None,
    folder: Path,
    page: Path,
    trust: bool = False,
    said: Said = lambda text: None,
    reach: float | None = None,
    within: float = WITHIN,
    rates: str = "auto",
) -> BatchRegimes:
    """Train with every batch size until the error is ``reach`` or ``within`` seconds of training are over.

    ``reach``: None takes 1.5 times what the recipe's own size comes to in that time. ``rates``: ``auto`` (by
    ``sizing.adapted``: the square root for Adam and its kin, else linear), ``linear``, ``sqrt``, or ``range-test`` for
    each size. Looks at the held-out examples cost no time of the clock. Each finished training is kept in a file.
    """
    if reach is not None and not 0 < reach < 1:
        expected = "an error over 0 and below 1: 0.05 is five of a hundred"
        raise UsageError("--reach", f"{reach:g}", expected, "--reach 0.05")
    if within <= 0:
        raise UsageError("--within", f"{within:g}", "more than no time", "--within 20s")
    field = _Field(recipe, folder, trust, said, within, rates)
    chosen = _sizes(sizes, field.count)
    own = min(chosen, key=lambda size: abs(math.log(size / field.own)))
    order = [own, *(size for size in chosen if size != own)]
    said(
        f"{formatting.plural(len(chosen) * seeds, 'training')} of at most {formatting.duration(within)}: batch size "
        f"{', '.join(map(str, chosen))}, {formatting.plural(seeds, 'seed')}"
    )
    found: dict[int, list[BatchTrial]] = {size: [] for size in chosen}
    left_out, began = 0, time.monotonic()
    try:
        if reach is None:
            reference = field.trial(own, 0, 0.0)
            if reference.best is None or reference.best > SATURATED * field.constant():
                got = reference.failed or f"batch size {own}, which learned hardly anything in {within:g} s"
                raise UsageError("--over batch-size", got, "a training that gets somewhere", "--within 60s, or --reach")
            reach = float(f"{max(EASIER * reference.best, 2 / len(field.rows)):.2g}")
            said(f"target: error {formatting.percent(reach)}, {EASIER:g} times the lowest of batch size {own}")
            found[own].append(reached(reference, reach))
        for seed in range(seeds):
            for size in order:
                if any(trial.seed == seed for trial in found[size]) or field.too_large(size):
                    continue
                late = seconds is not None and time.monotonic() - began + within > seconds
                trial = field.kept(size, seed, reach) if late else field.trial(size, seed, reach)
                if trial is None:
                    left_out += 1
                    continue
                found[size].append(trial)
                said(_line(size, found[size][-1], within))
    except KeyboardInterrupt as stop:
        done = sum(map(len, found.values()))
        raise StoppedError(
            "curves", f"Ctrl-C after {done} of {len(chosen) * seeds} trainings", "those are kept",
            "the same command goes on",
        ) from stop  # fmt: skip
    notes = list(field.notes)
    if left_out:
        untouched = [size for size in chosen if not found[size] and not field.too_large(size)]
        notes.append(not_in_time(left_out, len(chosen) * seeds, "batch size", untouched))
    points = tuple(field.point(size, found[size]) for size in chosen if found[size] or field.too_large(size))
    if left_out and not any(found.values()):
        raise UsageError("--time", f"{seconds:g} s, in which no training ends", f"at least {within:g} s", "--within 5s")
    noises = [trial.noise for trials in found.values() for trial in trials if trial.noise]
    more = formatting.percent(GROWTH - 1, 0)
    result = BatchRegimes(
        measure="unexplained variance" if field.material.task == "regression" else "error", part=field.part,
        tested=len(field.rows), examples=field.count, target=reach, within=within, rule=field.rule,
        how=f"The clock counts training alone; errors are looked at whenever {more} more examples were seen.",
        seeds=tuple(range(seeds)), points=points, noise=statistics.median(noises) if noises else None,
        free_bytes=sizing.free_bytes(building.device(field.recipe)), notes=tuple(notes), page=str(page),
        reused=sum(trial.reused for trials in found.values() for trial in trials),
    )  # fmt: skip
    result = msgspec.structs.replace(result, conclusions=tuple(concluding.conclude_batches(result)))
    telling.write_batch_page(page, result, name)
    return result


def _sizes(asked: Sequence[int], count: int) -> list[int]:
    if any(size > count for size in asked):
        raise UsageError("--sizes", str(max(asked)), f"at most the {count} training examples", f"--sizes 1,32,{count}")
    if asked:
        return sorted(asked)
    powers = [FACTOR**turn for turn in range(20) if 2 * FACTOR**turn <= count]
    return [*powers, count]


def reached(trial: BatchTrial, target: float) -> BatchTrial:
    """A trial with the first look at which its error was at most ``target``."""
    for seconds, steps, examples, error in trial.curve:
        if error <= target:
            return msgspec.structs.replace(trial, seconds=seconds, examples=examples, steps=steps)
    return msgspec.structs.replace(trial, seconds=None, examples=None, steps=None)


def _line(size: int, trial: BatchTrial, within: float) -> str:
    again = ", was there" if trial.reused else ""
    if trial.failed:
        return f"batch size {size}, seed {trial.seed}: {trial.failed}{again}"
    if trial.seconds is None:
        best = formatting.percent(trial.best)
        return f"batch size {size}, seed {trial.seed}: not in {within:g} s (lowest error {best}){again}"
    took = f"{formatting.duration(trial.seconds)}, {formatting.count(trial.examples or 0)} examples"
    return f"batch size {size}, seed {trial.seed}: reached in {took}{again}"


class _Done(Exception):
    """The target is reached, or the time is over."""


class _Clock:
    """The loop's observer: counts, and looks at the held-out examples with the clock stopped."""

    def __init__(self, look: Callable[[], float], target: float, within: float) -> None:
        self.look, self.target, self.within = look, target, within
        self.examples = self.steps = 0
        self.next, self.spent = FIRST, 0.0
        self.curve: list[tuple[float, int, int, float]] = []
        self.failed = ""
        self.since = time.perf_counter()

    def begin(self, state: State) -> None:
        if not self.steps:
            self.since = time.perf_counter()

    def after_step(self, state: State, loss: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.examples += len(targets)
        self.steps += 1
        spent = self.spent + time.perf_counter() - self.since
        if self.examples < self.next and spent < self.within:
            return
        if not math.isfinite(float(loss)):
            self.failed = "diverged: a loss that is no number"
            raise _Done
        self.spent += time.perf_counter() - self.since  # after the device has finished
        self.next = max(self.examples + 1, round(self.examples * GROWTH))
        error = self.look()
        self.curve.append((self.spent, self.steps, self.examples, error))
        if error <= self.target or self.spent >= self.within:
            raise _Done
        self.since = time.perf_counter()

    def after_epoch(self, state: State) -> bool:
        return False


class _Field:
    """The trainings of one recipe over batch sizes."""

    def __init__(self, recipe: Recipe, folder: Path, trust: bool, said: Said, within: float, rates: str) -> None:
        material, self.part, self.rows = judged(recipe.data, ("validation", "test"), LOOKED)
        self.material, self.folder, self.trust, self.said, self.within = material, folder, trust, said, within
        self.count, self.notes = len(material.parts["train"]), list[str]()
        if recipe.train.schedule not in ("auto", "constant"):
            self.notes.append(f"The rate is constant: the recipe's schedule, {recipe.train.schedule}, is left aside.")
        aside = {"watch.enabled": False, "train.schedule": "constant", "train.warmup": 0.0, "train.average": 0.0,
                 "train.accumulate": 1}  # fmt: skip
        facts = sourcing.facts(material, None)
        asked = override(recipe, aside)
        resolved = override(defaults.resolve(asked, facts), sourcing.decided(asked, material))
        if resolved.train.optimizer in FULL_BATCH:
            raise RecipeError("train.optimizer", resolved.train.optimizer, "one for mini-batches", "--optimizer adamw")
        self.recipe = override(resolved, {"train.device": str(building.device(resolved)), "train.layout": "contiguous"})
        self.own = int(resolved.train.batch_size)
        self.rates, base = rates, resolved.train.lr
        adaptive = resolved.train.optimizer in sizing.ADAPTIVE
        self.scaling = {"auto": "sqrt" if adaptive else "linear"}.get(rates, rates)
        if rates != "range-test" and not isinstance(base, float | int):
            expected = "a number, from which the other sizes' follow"
            raise RecipeError("train.lr", repr(base), expected, "--rates range-test")
        self.base = base
        way = {"sqrt": "the square root of the batch size", "linear": "the batch size"}
        self.rule = "a range test for each size" if rates == "range-test" else (
            f"{base:g} at {self.own}, in proportion to {way[self.scaling]}"
        )  # fmt: skip
        self.inputs = sourcing.input_file(material, facts.outputs)
        self.fingerprint = sourcing.fingerprint(material)
        self.speed: float | None = None  # examples a second
        self.rate_of: dict[int, float] = {}
        self.memory_of: dict[int, int | None] = {}
        self.why: dict[int, str] = {}

    # ---- before

    def too_large(self, size: int) -> bool:
        """Whether memory, time or a batch norm speak against a size from the outset."""
        if size in self.why:
            return bool(self.why[size])
        memory, free = self.memory(size), sizing.free_bytes(building.device(self.recipe))
        text = ""
        if memory is not None and free is not None and memory > sizing.MEMORY_SHARE * free:
            text = f"a step needs {formatting.size(memory)}"
        elif self.speed is not None and size / self.speed > self.within:
            text = f"a step takes about {formatting.duration(size / self.speed)}"
        elif size == 1:
            try:
                self._network(override(self.recipe, {"train.batch_size": 1}))
            except RecipeError:
                text = ALONE
        self.why[size] = text
        if text:
            self.said(f"batch size {size}: left out, {text}")
        return bool(text)

    def memory(self, size: int) -> int | None:
        if size not in self.memory_of:
            self.memory_of[size] = sizing.step_memory(self._network(self.recipe), self.material, size)
        return self.memory_of[size]

    def _network(self, recipe: Recipe) -> torch.nn.Module:
        record = building.network_file(recipe, self.material)
        network = keeping.build(record, trust=self.trust)
        building.refitted(recipe, record, network)
        building.initialized(recipe, network, self.material)
        return network.to(building.device(recipe))

    # ---- one training

    def trial(self, size: int, seed: int, target: float) -> BatchTrial:
        """A training until ``target`` (0: to the end of its time); the one that was kept, if there is one."""
        known = self.kept(size, seed, target)
        if known is None:
            known = self._train(self._recipe(size, seed), size, seed, target)
            path, key = self._place(size, seed, target)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace_file(path, json.dumps({"key": key, "trial": known.to_dict(), "lr": self.rate_of[size]}))
        if known.step_ms and size >= self.own:
            self.speed = 1000 * size / known.step_ms
        return known

    def kept(self, size: int, seed: int, target: float) -> BatchTrial | None:
        """The training of before, if there is one."""
        path, key = self._place(size, seed, target)
        try:
            kept = json.loads(path.read_text())
            if kept["key"] != key:
                return None
            self.rate_of[size] = float(kept["lr"])
            return msgspec.structs.replace(BatchTrial.from_dict(kept["trial"]), reused=True)
        except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError):
            return None

    def _recipe(self, size: int, seed: int) -> Recipe:
        return override(self.recipe, {"train.batch_size": size, "seed": seed})

    def _place(self, size: int, seed: int, target: float) -> tuple[Path, str]:
        """The file that keeps a training, and all that it depends on."""
        told = digest(self._recipe(size, seed)), self.rates, target, self.within, VERSION, self.part, len(self.rows)
        here = environment.snapshot()["versions"], torch.get_num_threads()
        key = json.dumps([told, self.fingerprint, here], default=str)
        return self.folder / KEPT / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json", key

    def _train(self, recipe: Recipe, size: int, seed: int, target: float) -> BatchTrial:
        place = building.device(recipe)
        with randomness.kept(), replicating.highest_memory() as memory:
            randomness.seed(seed)
            network = self._network(recipe)
            objective = building.objective(recipe, self.inputs, self.material)
            batches = building.batches(recipe, self.material, "train", place, training=True)
            rate = self._rate(recipe, size, network, objective, batches)
            recipe = override(recipe, {"train.lr": rate})
            held = dataclasses.replace(
                self.material, parts={self.part: self.material.parts[self.part].take(self.rows)}
            )  # fmt: skip
            looked = building.batches(recipe, held, self.part, place)
            precision = Precision(recipe.train.precision, place)
            clock = _Clock(lambda: self._error(network, objective, looked, precision), target, self.within)
            self._warm_up(recipe, network, objective, batches)
            job = loops.Job(
                network=network, objective=objective, optimizer=building.optimizer(recipe, network), batches=batches,
                rate=lambda step: min(1.0, (step + 1) / RISING), precision=precision, epochs=1 << 40,
                clip=recipe.train.clip, before_epoch=clock.begin,
            )  # fmt: skip
            failed = ""
            try:
                loops.train(job, State(), clock)
            except _Done:
                failed = clock.failed
            except (ValueError, RuntimeError, NetwrightError) as error:  # batch norm over one value, memory
                failed = (str(error).splitlines() or [type(error).__name__])[0]
                failed = ALONE if "more than 1 value per channel" in failed else failed
            noise = None if failed else self._noise(network, objective, recipe)
        errors = [look[-1] for look in clock.curve]
        found = BatchTrial(
            seed=seed, steps=clock.steps, trained=clock.spent, best=min(errors) if errors else None, noise=noise,
            resident_bytes=memory.bytes, step_ms=1000 * clock.spent / clock.steps if clock.steps else None,
            curve=tuple(clock.curve), failed=failed,
        )  # fmt: skip
        return reached(found, target)

    def _warm_up(self, recipe: Recipe, network: torch.nn.Module, objective: Any, batches: Any) -> None:
        """A step of a copy: the first one of a process waits for imports and memory, which is no matter of the size."""
        with contextlib.suppress(ValueError, RuntimeError, StopIteration), randomness.kept():
            copied, batch = copy.deepcopy(network).train(), next(batches.epoch(0))
            optimizer = building.optimizer(recipe, copied)
            objective.loss(call(copied, batch), batch.targets).backward()
            optimizer.step()

    def _rate(self, recipe: Recipe, size: int, network: torch.nn.Module, objective: Any, batches: Any) -> float:
        """The size's rate; that of a range test is measured once, with the first seed."""
        if size not in self.rate_of:
            factor = size / self.own
            if self.rates == "range-test":
                probe = override(recipe, {"train.lr": 1.0})
                tested = range_test.range_test(
                    network, objective.loss, batches.epoch(0), lambda copied: building.optimizer(probe, copied),
                    steps=TESTED_RATES,
                )  # fmt: skip
                self.rate_of[size] = tested.suggestion
            else:
                self.rate_of[size] = float(self.base) * (factor if self.scaling == "linear" else math.sqrt(factor))
        return self.rate_of[size]

    def _error(self, network: torch.nn.Module, objective: Any, looked: Any, precision: Any) -> float:
        seen = evaluate(network, objective, looked, precision)
        if self.material.task == "regression":
            truth = self.material.parts[self.part].part_targets()[self.rows].astype(np.float64)
            return seen["rmse"] ** 2 / max(float(np.var(truth.reshape(len(truth), -1), 0).mean()), 1e-30)
        return 1 - seen["accuracy"] if "accuracy" in seen else seen["hamming_loss"]

    def _noise(self, network: torch.nn.Module, objective: Any, recipe: Recipe) -> float | None:
        try:
            return sizing.noise_of(network, objective, recipe, self.material)
        except (NetwrightError, RuntimeError, ValueError):
            return None

    def constant(self) -> float:
        """The error of always saying the same, on the held-out part."""
        targets = self.material.parts[self.part].part_targets()[self.rows]
        if self.material.task == "regression":
            return 1.0
        if targets.ndim == 1:
            return 1 - float(np.bincount(targets).max()) / len(targets)
        return float(np.minimum(targets.mean(0), 1 - targets.mean(0)).mean())

    # ---- together

    def point(self, size: int, trials: list[BatchTrial]) -> BatchPoint:
        got = [trial for trial in trials if trial.seconds is not None]
        enough = bool(got) and 2 * len(got) >= len(trials)
        noises = [trial.noise for trial in trials if trial.noise is not None]
        noise = statistics.median(noises) if noises else None
        residents = [trial.resident_bytes for trial in trials if trial.resident_bytes]
        steps = [trial.step_ms for trial in trials if trial.step_ms]

        def middle(values: list[Any]) -> float | None:
            """The median, where a training that did not get there counts as longer than all."""
            whole = sorted(values) + [math.inf] * (len(trials) - len(values))
            value = statistics.median_low(whole) if enough and values else math.inf
            return None if math.isinf(value) else float(value)

        return BatchPoint(
            batch_size=size, lr=self.rate_of.get(size), seconds=middle([t.seconds for t in got]),
            steps=middle([t.steps for t in got]), examples=middle([t.examples for t in got]),
            step_ms=statistics.median(steps) if steps else None, memory_bytes=self.memory(size),
            resident_bytes=max(residents) if residents else None, noise=noise,
            ratio=None if noise is None else noise / size, trials=tuple(trials),
            left_out=self.why.get(size, "") or ("" if enough else next((t.failed for t in trials if t.failed), "")),
        )  # fmt: skip
