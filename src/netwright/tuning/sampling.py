"""Samplers and the pruner of a study: the staged search as an Optuna sampler, and Optuna's own over the same space."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from netwright.errors import MissingExtraError, unknown_name
from netwright.tuning import stages
from netwright.tuning.spaces import Range, Space
from netwright.tuning.stages import Tried

if TYPE_CHECKING:
    from optuna import Study

SAMPLERS = ("tpe", "staged", "random", "grid", "gp")
DEFAULT = SAMPLERS[0]  # the best worst case in replays of real trainings (docs/log.md)
GRID_POINTS = 4  # of a continuous range
REDUCTION = 3  # of successive halving: every third goes on (Li et al. 2020, "A system for massively parallel tuning")
RUNGS = 9  # the first look comes after a ninth of the epochs
RETRY_OF = "retry_of"  # attribute of a trial: the number of the one that was broken off, which it stands in for
DUPLICATE = "duplicate"  # attribute of one that was asked for twice; nothing was trained for it

Progress = Callable[[int], float]  # of the number of trials that were asked for: the share of the search that is over


# ------------------------------------------------------------------------------------------------ keys ↔ parameters


def parameter(each: Range) -> str:
    """The name of a key's parameter in the study; on a scale of 1 − value the parameter is 1 − value."""
    return f"1-{each.key}" if each.scale == "log1m" else each.key


def distribution(each: Range) -> BaseDistribution:
    if each.choices:
        return CategoricalDistribution(each.choices)
    if each.integer:
        return IntDistribution(int(each.low), int(each.high), log=each.scale == "log")
    if each.scale == "log1m":
        return FloatDistribution(1 - each.high, 1 - each.low, log=True)
    return FloatDistribution(each.low, each.high, log=each.scale == "log")


def to_parameters(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a study keeps for the values of the keys that count."""
    found: dict[str, Any] = {}
    for each in space.searched:
        if each.key in values:
            value = values[each.key]
            found[parameter(each)] = 1 - value if each.scale == "log1m" else value
    return found


def to_values(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the keys that count, constants included."""
    values: dict[str, Any] = {}
    for each in space:
        if not space.active(each, values):
            continue
        if each.constant:
            values[each.key] = each.value(0.5)
        elif (name := parameter(each)) in parameters:
            values[each.key] = _value(each, parameters[name])
    return values


def _value(each: Range, kept: Any) -> Any:
    if each.choices:
        return kept
    return each.tidy(1 - kept if each.scale == "log1m" else kept)


def suggest(space: Space, trial: Trial) -> dict[str, Any]:
    """Ask the trial for every key that counts."""
    values: dict[str, Any] = {}
    for each in space:
        if not space.active(each, values):
            continue
        if each.constant:
            values[each.key] = each.value(0.5)
            continue
        name, kind = parameter(each), distribution(each)
        match kind:
            case CategoricalDistribution():
                values[each.key] = trial.suggest_categorical(name, kind.choices)
            case IntDistribution():
                values[each.key] = trial.suggest_int(name, kind.low, kind.high, log=kind.log)
            case FloatDistribution():
                values[each.key] = _value(each, trial.suggest_float(name, kind.low, kind.high, log=kind.log))
    return values


# ------------------------------------------------------------------------------------------------ samplers


class StagedSampler(BaseSampler):
    """``stages.propose`` for Optuna: random, then narrower, stage by stage.

    ``progress``: of the number of trials asked for, the share of the search that is over. What is drawn depends on
    ``seed``, the trial's number and what was tried, so that a study goes on as it would have without a break.
    """

    def __init__(self, space: Space, progress: Progress, seed: int = 0) -> None:
        self._space, self._progress, self._seed = space, progress, seed
        self._memory = Memory(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {parameter(each): distribution(each) for each in self._space.searched}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
        known = self._memory.read(counted(trials))
        draw = random.Random(f"{self._seed} {trial.number}")
        values = stages.propose(self._space, known, self._progress(len(known)), draw)
        if values is None:
            values = self._space.complete({each.key: each.value(draw.random()) for each in self._space.searched})
        return to_parameters(self._space, values)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        each = next(each for each in self._space.searched if parameter(each) == param_name)
        value = each.value(random.Random(f"{self._seed} {trial.number} {param_name}").random())
        return 1 - value if each.scale == "log1m" else value


class EveryPoint(GridSampler):
    """Optuna's grid for a study that asks and tells: at its end, whoever asks stops, not this."""

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None: ...


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that stand for themselves: not what is asked for again, no duplicates."""
    notes = [each.user_attrs for each in trials]
    again = {kept[RETRY_OF] for kept in notes if RETRY_OF in kept}
    return [
        each for each, kept in zip(trials, notes, strict=True) if DUPLICATE not in kept and each.number not in again
    ]


class Memory:
    """Trials as samplers see them; a finished one is read once, because it does not change."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._finished: dict[int, Tried] = {}

    def read(self, trials: Sequence[FrozenTrial]) -> list[Tried]:
        """What was asked for in trials that stand for themselves, running ones included. A failed one has no score."""
        return [self._finished.get(each.number) or self._read(each) for each in trials]

    def _read(self, each: FrozenTrial) -> Tried:
        parameters = each.params or each.system_attrs.get("fixed_params", {})
        seen = Tried(to_values(self._space, parameters), score_of(each), each.state == TrialState.COMPLETE)
        if each.state.is_finished():
            self._finished[each.number] = seen
        return seen


def score_of(trial: FrozenTrial) -> float | None:
    """The score of a finished trial; of one that was stopped, that of its last epoch."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        last = trial.intermediate_values[max(trial.intermediate_values)]
        return None if last != last else last
    return None


def sampler(
    name: str, space: Space, progress: Progress, seed: int, worker: int = 0, alone: bool = False
) -> BaseSampler:
    """The sampler of that name; ``worker`` gives each process draws of its own where the sampler keeps a state.

    ``alone``: no other process asks meanwhile, so that it need not be told what is tried.
    """
    own = seed + 100_003 * worker
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)  # of an option that newer ones do not need
        return _sampler(name, space, progress, seed, own, alone)


def _sampler(name: str, space: Space, progress: Progress, seed: int, own: int, alone: bool) -> BaseSampler:
    match name:
        case "staged":
            return StagedSampler(space, progress, seed)
        case "tpe":
            return TPESampler(
                seed=own,
                multivariate=True,
                group=any(each.condition for each in space),
                constant_liar=not alone,
                warn_independent_sampling=False,
            )
        case "random":
            return RandomSampler(seed=own)
        case "grid":
            return EveryPoint(grid(space), seed=seed)
        case "gp":
            try:
                return GPSampler(seed=own)
            except ImportError as error:
                raise MissingExtraError("--sampler gp", str(error), "scipy", 'pip install "netwright[tune]"') from error
        case _:
            raise unknown_name("--sampler", name, SAMPLERS)


def grid(space: Space) -> dict[str, list[Any]]:
    """The points of a grid: all choices and whole numbers, up to four places of a wider range."""
    found: dict[str, list[Any]] = {}
    for each in space.searched:
        if each.choices:
            points: list[Any] = list(each.choices)
        else:
            many = GRID_POINTS if not each.integer else int(min(each.high - each.low + 1, GRID_POINTS))
            points = [each.value(place / (many - 1)) for place in range(many)]
        found[parameter(each)] = list(dict.fromkeys(1 - p if each.scale == "log1m" else p for p in points))
    return found


def rungs(epochs: int) -> list[int]:
    """The epochs after which trials are compared: 1/9, 1/3 of all, and before their end."""
    first = max(1, epochs // RUNGS)
    return [first * REDUCTION**power for power in range(20) if first * REDUCTION**power < epochs]


def pruner(epochs: int, enabled: bool = True) -> BasePruner:
    """Successive halving on epochs (asynchronous, Optuna's): after 1/9, 1/3, … of them the best third goes on."""
    if not enabled or epochs < 2:
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=rungs(epochs)[0], reduction_factor=REDUCTION)
