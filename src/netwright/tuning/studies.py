"""A study: recipes asked for, trained, told; in a database that several processes share and none of them can break.

A finished training is never lost: its outcome is written to a small file before the database hears of it, and whoever
opens the study next tells what was left untold. A trial whose process ended is asked for again, at most twice.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from netwright import files
from netwright.errors import NetwrightError, RunError, UsageError
from netwright.recipe import Recipe, difference, from_dict, override
from netwright.records import Record, Trial, plural, to_builtin
from netwright.tuning import sampling, storage
from netwright.tuning.spaces import Space
from netwright.tuning.storage import Said, Storage

VERSION = 1
ABOUT = "netwright"  # the attribute of a study with its settings
END = "end"  # the attribute of a trial with what it came to
MOST_ATTEMPTS = 3  # of a trial whose process ends
SAME_FAILURES = 5  # in a row from the start, after which a search is given up
DUPLICATES = 40  # in a row, after which a sampler has nothing new to say
STATES: dict[TrialState, Literal["waiting", "running", "finished", "stopped", "failed"]] = {
    TrialState.WAITING: "waiting", TrialState.RUNNING: "running", TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped", TrialState.FAIL: "failed",
}  # fmt: skip


class Settings(Record, frozen=True, kw_only=True):
    """What a study is about; it stands in its database. ``trials`` or ``seconds`` (of training) end the search."""

    version: int = VERSION
    recipe: dict[str, Any]
    space: tuple[str, ...]
    sampler: str = sampling.DEFAULT
    trials: int | None = 40
    seconds: float | None = None
    halving: bool = True
    data: str = ""  # a hash by which the examples are known again
    metric: str = ""
    epochs: int = 0
    workers: int = 1
    best: int = 3  # how many are repeated over seeds, and keep their runs
    seeds: int = 3  # how often; 0: not at all
    examples: int = 0

    @property
    def asked(self) -> Recipe:
        return from_dict(self.recipe, where="the study's recipe")


class Outcome(Record, frozen=True, kw_only=True):
    """What a training came to."""

    score: float
    metrics: dict[str, float | None] = {}
    run: str = ""


class Stop(Exception):
    """Raised while a trial trains: it is not worth going on; the text is the reason."""


class Fatal(Exception):
    """A fault of the machine, not of a recipe: the study stops, and the trial is asked for again."""

    def __init__(self, error: NetwrightError) -> None:
        super().__init__(str(error))
        self.error = error


Told = Callable[[int, float], None]  # epoch and score; may raise Stop


class Run(Protocol):
    """Trains a recipe and tells each epoch's score; ``Stop``: it is stopped, ``Fatal``: a fault of the machine."""

    def __call__(self, recipe: Recipe, number: int, told: Told) -> Outcome: ...


class Study:
    """One study in its database, as one process sees it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        url: str,
        said: Said = lambda text: None,
        worker: int = 0,
        patience: float = storage.PATIENCE_SECONDS,
        options: str = "",
    ) -> None:
        """``folder``: where outcomes wait that are not told yet; ``url``: of the database, of SQLite or another;
        ``options``: what else the command needs that goes on with it."""
        self.name, self.folder, self.url, self._said, self._worker = name, folder, url, said, worker
        self.go_on = f"netwright tune --resume {name}{options}"
        self.storage: Storage = storage.connect(url, said, self.go_on, patience)
        self._optuna: optuna.Study | None = None
        self.settings: Settings
        self.space: Space

    # ------------------------------------------------------------------------------------ opening

    def exists(self) -> bool:
        return self.name in {each.study_name for each in self.storage.get_all_studies()}

    def create(self, settings: Settings, space: Space) -> bool:
        """Make the study, or join the one of that name if it is about the same; whether it was made."""
        made = not self.exists()
        study = optuna.create_study(
            study_name=self.name, storage=self.storage, direction="maximize", load_if_exists=True
        )
        kept = self._kept(study)
        if kept is None:
            study.set_user_attr(ABOUT, to_builtin(settings))
        else:
            _require_same(self.name, kept, settings)
            changed = msgspec.structs.replace(
                kept, trials=settings.trials, seconds=settings.seconds, workers=settings.workers, best=settings.best,
                seeds=settings.seeds,
            )  # fmt: skip
            if changed != kept:
                study.set_user_attr(ABOUT, to_builtin(changed))
            settings = changed
        self._open(study, settings, space)
        return made

    def load(self) -> Settings:
        """The settings of an existing study; ``open`` comes next."""
        if not self.exists():
            others = ", ".join(
                sorted(each.study_name for each in self.storage.get_all_studies() if "/" not in each.study_name)
            )
            raise UsageError(
                f"study {self.name}", "no study there", f"one of {others}" if others else "a study", "netwright tune"
            )
        kept = self._kept(optuna.load_study(study_name=self.name, storage=self.storage))
        if kept is None:
            raise UsageError(
                f"study {self.name}", "a study that something else made", "one of netwright's", "another name"
            )
        return kept

    def open(self, space: Space) -> None:
        settings = self.load()
        self._open(optuna.load_study(study_name=self.name, storage=self.storage), settings, space)

    def _kept(self, study: optuna.Study) -> Settings | None:
        fields = study.user_attrs.get(ABOUT)
        if fields is None:
            return None
        version = fields.get("version") if isinstance(fields, dict) else None
        if version != VERSION:
            raise UsageError(
                f"study {self.name}",
                f"a study of version {version}",
                f"version {VERSION}",
                "the netwright that wrote it",
            )
        try:
            return Settings.from_dict(fields)
        except msgspec.ValidationError as error:
            raise RunError(f"study {self.name}", f"damaged settings ({error})", "a study", "another name") from error

    def _open(self, study: optuna.Study, settings: Settings, space: Space) -> None:
        self.settings, self.space, self._memory = settings, space, sampling.Memory(space)
        alone = settings.workers == 1 and self.url.startswith("sqlite")
        chosen = sampling.sampler(settings.sampler, space, self.progress, settings.asked.seed, self._worker, alone)
        self._optuna = optuna.load_study(
            study_name=self.name, storage=self.storage, sampler=chosen,
            pruner=sampling.pruner(settings.epochs, settings.halving),
        )  # fmt: skip

    @property
    def inner(self) -> optuna.Study:
        assert self._optuna is not None, "the study is not open"
        return self._optuna

    # ------------------------------------------------------------------------------------ looking

    def frozen(self) -> list[FrozenTrial]:
        """Every trial that stands for itself."""
        return sampling.counted(self.inner.get_trials(deepcopy=False))

    def trials(self) -> list[Trial]:
        return [self._row(each) for each in self.frozen()]

    def _row(self, each: FrozenTrial) -> Trial:
        parameters = each.params or each.system_attrs.get("fixed_params", {})
        seen = each.intermediate_values
        end = _end(each)
        reason = str(end.get("reason", ""))
        if each.state == TrialState.FAIL and not reason:
            reason = "its process ended"
        return Trial(
            number=each.number, change=sampling.to_values(self.space, parameters), state=STATES[each.state],
            value=sampling.score_of(each), seconds=_seconds(each), reason=reason,
            curve=tuple(_finite(seen.get(epoch)) for epoch in range(1, max(seen, default=0) + 1)),
            metrics=dict(end.get("metrics", {})), run=str(end.get("run", "")),
        )  # fmt: skip

    def progress(self, count: int) -> float:
        """The share of the search that is over, by trials or by seconds of training, whichever is more."""
        shares = [0.0]
        if self.settings.trials is not None:
            shares.append(count / max(self.settings.trials, 1))
        if self.settings.seconds is not None:
            used = sum(_seconds(each) for each in self.frozen())
            shares.append(used / max(self.settings.seconds * self.settings.workers, 1e-9))
        return max(shares)

    def is_over(self) -> bool:
        """Whether nothing more is to be asked for."""
        trials = self.frozen()
        if any(each.state == TrialState.WAITING for each in trials):
            return False
        return self.progress(len(trials)) >= 1

    # ------------------------------------------------------------------------------------ asking and telling

    def enqueue(self, values: dict[str, Any]) -> None:
        """Have these values tried next, if they were not."""
        known = [each.values for each in self._memory.read(self.frozen())]
        if values not in known:
            self.inner.enqueue_trial(sampling.to_parameters(self.space, values))

    def step(self, run: Run) -> bool:
        """Ask for a recipe, train it, tell; False: there is nothing left to ask for.

        Ctrl-C and faults of the machine go through, after the trial was put back into the queue.
        """
        asked = self._new_trial()
        if asked is None:
            return False
        trial, values = asked
        self._work(trial, lambda told: run(override(self.settings.asked, values), trial.number, told))
        return True

    def _new_trial(self) -> tuple[optuna.trial.Trial, dict[str, Any]] | None:
        chosen = self.inner.sampler
        for _ in range(DUPLICATES if self.settings.sampler != "grid" else 100_000):
            if self.is_over():
                return None
            if isinstance(chosen, sampling.EveryPoint) and not self._waiting() and chosen.is_exhausted(self.inner):
                return None
            trial = self._asked()
            with self.storage.together():
                values = sampling.suggest(self.space, trial)
            if sampling.RETRY_OF in trial.user_attrs or self._is_new(trial.number, values):
                return trial, values
            trial.set_user_attr(sampling.DUPLICATE, True)
            self._tell(trial, state=TrialState.FAIL)
        self._said("The sampler finds nothing that was not tried: the search is over.")
        return None

    def _waiting(self) -> bool:
        return any(each.state == TrialState.WAITING for each in self.frozen())

    def _is_new(self, number: int, values: dict[str, Any]) -> bool:
        """Whether nobody asked for these values before, and the search was not full when they were asked for."""
        others = [each for each in self.frozen() if each.number != number]
        earlier = sum(each.number < number for each in others)
        if self.settings.trials is not None and earlier >= self.settings.trials:
            return False
        return all(one.values != values for one in self._memory.read(others))

    def _asked(self) -> optuna.trial.Trial:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Heartbeat of storage")  # signs of life are given in _work
            trial = self.inner.ask()
        trial.set_user_attr("owner", storage.stamp())
        return trial

    def _work(self, trial: optuna.trial.Trial, train: Callable[[Told], Outcome]) -> None:
        started = time.perf_counter()
        rungs = set(sampling.rungs(self.settings.epochs))  # none at the end: what is trained is finished

        def told(epoch: int, score: float) -> None:
            trial.report(score, epoch)
            if epoch in rungs and trial.should_prune():
                raise Stop(f"halving: not among the best third after {epoch} {'epoch' if epoch == 1 else 'epochs'}")

        try:
            with storage.alive(self.storage, trial._trial_id):
                outcome = train(told)
        except Stop as stop:
            self._end(trial, TrialState.PRUNED, {"reason": str(stop), "seconds": time.perf_counter() - started})
        except Fatal as fault:
            self._give_back(trial)
            raise fault.error from fault
        except KeyboardInterrupt:
            self._give_back(trial)
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if not isinstance(error, NetwrightError) else str(error)
            about = {"reason": reason, "seconds": time.perf_counter() - started}
            if isinstance(error, NetwrightError):
                about["code"] = error.exit_code
            self._end(trial, TrialState.FAIL, about)
        else:
            about = {"seconds": time.perf_counter() - started, "metrics": outcome.metrics, "run": outcome.run}
            self._end(trial, TrialState.COMPLETE, about, outcome.score)

    def _end(
        self, trial: optuna.trial.Trial, state: TrialState, about: dict[str, Any], score: float | None = None
    ) -> None:
        """Write the outcome down, tell it, and take the note away."""
        note = self._note(trial._trial_id)
        with contextlib.suppress(OSError, RunError):  # the note is a second safety
            files.replace_file(note, json.dumps(to_builtin({"state": state.name, "score": score, "about": about})))
        self._finish(trial._trial_id, trial.number, state, about, score)
        note.unlink(missing_ok=True)

    def _finish(
        self, trial_id: int, number: int, state: TrialState, about: dict[str, Any], score: float | None
    ) -> None:
        self.storage.set_trial_user_attr(trial_id, END, to_builtin(about))
        with contextlib.suppress(UpdateFinishedTrialError, ValueError):  # another one took it for dead, and told
            self.inner.tell(number, score, state=state)

    def _tell(self, trial: optuna.trial.Trial, state: TrialState) -> None:
        self.inner.tell(trial.number, state=state)

    def _note(self, trial_id: int) -> Path:
        return self.folder / f".outcome-{trial_id}.json"

    # ------------------------------------------------------------------------------------ what was broken off

    def _give_back(self, trial: optuna.trial.Trial) -> None:
        """A trial that was broken off is asked for again, by whoever asks next."""
        frozen = self.storage.get_trial(trial._trial_id)
        if self._fail(frozen, "broken off"):
            self._again(frozen, counts=False)

    def _fail(self, frozen: FrozenTrial, reason: str) -> bool:
        with contextlib.suppress(UpdateFinishedTrialError, RuntimeError):
            self.storage.set_trial_user_attr(frozen._trial_id, END, {"reason": reason})
            return bool(self.storage.set_trial_state_values(frozen._trial_id, TrialState.FAIL))
        return False

    def _again(self, frozen: FrozenTrial, counts: bool = True) -> None:
        attempt = int(frozen.user_attrs.get("attempt", 1)) + counts
        if attempt > MOST_ATTEMPTS or not (frozen.params or frozen.system_attrs.get("fixed_params")):
            return
        about = {sampling.RETRY_OF: frozen.number, "attempt": attempt, **_repeat(frozen)}
        parameters = frozen.params or frozen.system_attrs["fixed_params"]
        self.inner.enqueue_trial(parameters, user_attrs=about)

    def recover(self) -> int:
        """Tell what was left untold, and ask again for what a process left that is gone; how many those were.

        Processes of this machine are looked up; of others, the sign of life in the database counts, 60 s at the latest.
        """
        stale = set(self.storage._get_stale_trial_ids(self.inner._study_id))
        found = 0
        for frozen in self.inner.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            owner = frozen.user_attrs.get("owner")
            begun = frozen.datetime_start
            nobody = owner is None and begun is not None and time.time() - begun.timestamp() > storage.GRACE_SECONDS
            dead = storage.is_dead(owner) if owner else None
            if dead or nobody or (dead is None and frozen._trial_id in stale):
                found += self._recovered(frozen)
        return found

    def _recovered(self, frozen: FrozenTrial) -> bool:
        note = self._note(frozen._trial_id)
        if note.exists():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                kept = json.loads(note.read_text(encoding="utf-8"))
                self._finish(frozen._trial_id, frozen.number, TrialState[kept["state"]], kept["about"], kept["score"])
                note.unlink(missing_ok=True)
                return True
        if self._fail(frozen, "its process ended"):
            self._again(frozen)
            return True
        return False

    # ------------------------------------------------------------------------------------ judging

    def require_not_hopeless(self) -> None:
        """Stop a search in which nothing ever came through, for one and the same reason."""
        ended = [each for each in self.frozen() if each.state.is_finished()]
        failed = [each for each in ended if each.state == TrialState.FAIL]
        if len(failed) < len(ended) or len(failed) < min(SAME_FAILURES, self.settings.trials or SAME_FAILURES):
            return
        reasons = {str(_end(each).get("reason", "its process ended")) for each in failed}
        codes = {int(_end(each).get("code", 1)) for each in failed}
        shared = reasons.pop() if len(reasons) == 1 else f"{len(reasons)} reasons, the first: {sorted(reasons)[0]}"
        kind = UsageError if codes == {2} else RunError
        raise kind(
            f"study {self.name}", f"{plural(len(failed), 'trial')}, all failed: {shared}",
            "a recipe that trains",
            "netwright train with the same recipe, until that works",
        )  # fmt: skip


def _repeat(frozen: FrozenTrial) -> dict[str, Any]:
    return {key: frozen.user_attrs[key] for key in ("of", "seed") if key in frozen.user_attrs}


def _end(each: FrozenTrial) -> dict[str, Any]:
    return dict(each.user_attrs.get(END, {}))


def _seconds(each: FrozenTrial) -> float:
    if "seconds" in _end(each):
        return float(_end(each)["seconds"])
    return each.duration.total_seconds() if each.duration is not None else 0.0


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _require_same(name: str, kept: Settings, wanted: Settings) -> None:
    """A study goes on with what it is about."""
    other = "another --study"
    changed = difference(kept.asked, wanted.asked)
    if changed:
        key, (was, now) = next(iter(changed.items()))
        more = f" and {len(changed) - 1} more keys" if len(changed) > 1 else ""
        raise UsageError(f"study {name}", f"{key}={now!r}{more}", f"the study's own recipe, {key}={was!r}", other)
    if set(kept.space) != set(wanted.space):
        added = sorted(set(wanted.space) - set(kept.space)) or sorted(set(kept.space) - set(wanted.space))
        raise UsageError(f"study {name}", f"another space ({added[0]})", "the study's own space", other)
    if kept.data and wanted.data and kept.data != wanted.data:
        raise UsageError(f"study {name}", "other examples than those that it began with", "the same data", other)
    for field in ("sampler", "halving"):
        was, now = getattr(kept, field), getattr(wanted, field)
        if was != now:
            raise UsageError(f"study {name}", f"{field} {now}", f"the study's own, {was}", other)


def best_trials(trials: Iterable[Trial], count: int) -> list[Trial]:
    """The best finished ones."""
    finished = [each for each in trials if each.state == "finished" and each.value is not None]
    return sorted(finished, key=lambda each: (-(each.value or 0.0), each.number))[:count]


def recipe_of(settings: Settings, trial: Trial) -> Recipe:
    return override(settings.asked, trial.change)


__all__ = ["Fatal", "Outcome", "Run", "Settings", "Stop", "Study", "best_trials", "recipe_of"]
