"""The best few over other seeds: a winner is named by trainings that its choice did not look at."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from netwright.recipe import override
from netwright.records import Contestant, Trial, Verdict
from netwright.tuning import sampling
from netwright.tuning.studies import Run, Study, best_trials

DEFAULT = -1  # stands for the recipe itself among the numbers of trials
LARGEST_SEED = 2**31 - 1
CONFIDENCE = 0.95


class Repeats(Study):
    """The best trials of a study, each trained with the same few other seeds; beside it in the same database."""

    def __init__(self, study: Study) -> None:
        self.parent = study
        self.name, self.folder, self.url = study.name, study.folder, study.url
        self.go_on, self.storage, self._said = study.go_on, study.storage, study._said
        self.settings, self.space = study.settings, study.space
        self._optuna = optuna.create_study(
            study_name=f"{study.name}/seeds", storage=study.storage, direction="maximize", load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(), pruner=optuna.pruners.NopPruner(),
        )  # fmt: skip

    def finalists(self) -> dict[int, dict[str, Any]]:
        """The changes of the best trials by number, and of the recipe itself."""
        own = self.space.of_recipe()
        best = [each for each in best_trials(self.parent.trials(), self.settings.best + 1) if each.change != own]
        return {DEFAULT: {}, **{each.number: each.change for each in best[: self.settings.best]}}

    def prepare(self) -> int:
        """Ask for every finalist with every seed that is not there yet; how many."""
        known: dict[Any, set[Any]] = {
            (each.params or each.system_attrs.get("fixed_params", {})).get("of", None): set() for each in self.frozen()
        }
        for each in self.frozen():
            parameters = each.params or each.system_attrs.get("fixed_params", {})
            known[parameters.get("of")].add(parameters.get("seed"))
        new = 0
        for number in self.finalists() if self.settings.seeds else ():
            for seed in self.seeds():
                if seed not in known.get(number, set()):
                    self.inner.enqueue_trial({"of": number, "seed": seed})
                    new += 1
        return new

    def seeds(self) -> list[int]:
        """Other seeds than that of the search."""
        return [(self.settings.asked.seed + more) % LARGEST_SEED for more in range(1, self.settings.seeds + 1)]

    def is_over(self) -> bool:
        return not any(each.state == TrialState.WAITING for each in self.frozen())

    def step(self, run: Run) -> bool:
        if self.is_over():
            return False
        trial = self._asked()
        if (
            "fixed_params" not in self.storage.get_trial(trial._trial_id).system_attrs
        ):  # another process took the last one
            trial.set_user_attr(sampling.DUPLICATE, True)
            self._tell(trial, state=TrialState.FAIL)
            return False
        number, seed = trial.suggest_int("of", DEFAULT, 10**9), trial.suggest_int("seed", 0, LARGEST_SEED)
        change = self.change_of(number)
        self._work(
            trial, lambda told: run(override(self.settings.asked, {**change, "seed": seed}), -1, lambda e, s: None)
        )
        return True

    def change_of(self, number: int) -> dict[str, Any]:
        if number == DEFAULT:
            return {}
        frozen = self.parent.inner.get_trials(deepcopy=False)[number]
        return sampling.to_values(self.space, frozen.params)

    def trials(self) -> list[Trial]:
        raise NotImplementedError("repetitions are judged together: verdict()")

    def verdict(self) -> Verdict:
        """Who is best by the mean over the seeds that everyone has."""
        scores: dict[int, dict[int, float]] = {number: {} for number in self.finalists()}
        failed = dict.fromkeys(scores, 0)
        for each in self.frozen():
            number = each.params.get("of")
            if number not in scores:
                continue
            if each.state == TrialState.COMPLETE and each.value is not None:
                scores[number][each.params["seed"]] = each.value
            elif each.state == TrialState.FAIL:
                failed[number] += 1
        changes = {number: self.change_of(number) for number in scores}
        return judge(scores, changes, failed, self.settings.seeds)


def judge(
    scores: Mapping[int, Mapping[int, float]], changes: Mapping[int, dict[str, Any]], failed: Mapping[int, int],
    seeds: int,
) -> Verdict:  # fmt: skip
    """Order contestants by the mean of their scores over the seeds; one that failed somewhere comes last."""

    means = {number: statistics.fmean(found.values()) if found else None for number, found in scores.items()}
    tried = [number for number in scores if scores[number] or failed.get(number)]
    order = sorted(
        tried,
        key=lambda number: (failed.get(number, 0) == 0, -math.inf if means[number] is None else means[number]),
        reverse=True,
    )
    rows = [
        Contestant(
            number=number,
            change=changes[number],
            scores=dict(scores[number]),
            mean=means[number],
            behind=None if number == order[0] else difference(scores[order[0]], scores[number]),
            failed=failed.get(number, 0),
        )
        for number in order
    ]
    clear = len(rows) > 1 and rows[1].behind is not None and rows[1].behind[1] > 0
    default = next((row for row in rows if row.number == DEFAULT and row.scores), None)
    better = None if default is None else default.behind is not None and default.behind[1] > 0
    return Verdict(contestants=tuple(rows), seeds=seeds, clear=clear, better_than_default=better)


def difference(
    better: Mapping[int, float], worse: Mapping[int, float], confidence: float = CONFIDENCE
) -> tuple[float, float, float] | None:
    """Mean of paired differences with Student's interval; None with fewer than two pairs."""
    pairs = [better[seed] - worse[seed] for seed in better if seed in worse]
    if len(pairs) < 2:
        return None
    mean, deviation = statistics.fmean(pairs), statistics.stdev(pairs)
    half = _quantile(confidence, len(pairs) - 1) * deviation / math.sqrt(len(pairs))
    return mean, mean - half, mean + half


def _quantile(confidence: float, freedom: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.5 + confidence / 2, freedom))
