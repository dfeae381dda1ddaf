"""Where a study lives: SQLite in a file, or any database of SQLAlchemy's; and what to do when it does not answer."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import logging
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.orm
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from netwright.errors import MissingExtraError, RunError, UsageError

BEAT_SECONDS, GRACE_SECONDS = 10, 60  # between two signs of life of a trial, and until its process counts as dead
PATIENCE_SECONDS = 600.0  # for a database that does not answer
WAITS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BUSY_SECONDS = 60  # that a SQLite writer waits for another
FULL = ("disk is full", "No space left", "could not extend file", "disk I/O error")
HOPELESS = (
    "readonly database",
    "not a database",
    "malformed",
    "no such table",
    "authentication failed",
    "does not exist",
)

optuna.logging.set_verbosity(logging.ERROR)  # what trials do is told by whoever runs them

Said = Callable[[str], None]


class Storage(RDBStorage):
    """Optuna's storage, which waits for a database that went away, says so once, and stops where waiting is in vain."""

    def __init__(self, url: str, said: Said, go_on: str, patience: float = PATIENCE_SECONDS) -> None:
        """``go_on``: the command that goes on with the study, for messages."""
        self._said, self._go_on, self._patience = said, go_on, patience
        self._parameters: list[tuple[Any, ...]] | None = None
        arguments: dict[str, Any] = {"pool_pre_ping": True}
        if url.startswith("sqlite"):
            arguments = {"connect_args": {"timeout": BUSY_SECONDS}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(
                url, engine_kwargs=arguments, heartbeat_interval=BEAT_SECONDS, grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=lambda study, trial: None,
            )  # fmt: skip

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Parameters that are suggested here are written in one transaction at the end: each costs a sync."""
        self._parameters = []
        try:
            yield
            self._write_parameters(self._parameters)
        finally:
            self._parameters = None

    def _set_trial_param(self, *parameter: Any) -> None:
        if self._parameters is None:
            super()._set_trial_param(*parameter)
        else:
            self._parameters.append(parameter)

    def _write_parameters(self, parameters: list[tuple[Any, ...]]) -> None:
        with sqlalchemy.orm.Session(self.engine) as session, session.begin():
            for parameter in parameters:
                self._set_trial_param_without_commit(session, *parameter)

    def _get_trials(
        self, study_id: int, states: Any, included_trial_ids: set[int], trial_id_greater_than: int
    ) -> list[FrozenTrial]:
        known = [each for each in included_trial_ids if each <= trial_id_greater_than]
        found = self._read(study=study_id, after=trial_id_greater_than, known=known)
        return found if states is None else [each for each in found if each.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        found = self._read(study=-1, after=-1, known=[trial_id])
        if not found:
            raise KeyError(f"no trial with the ID {trial_id}")
        return found[0]

    def _read(self, **wanted: Any) -> list[FrozenTrial]:
        """The trials of ``study`` with an ID above ``after``, and those with an ID in ``known``, whatever they are.

        As Optuna has it, but by plain rows: objects of the mapper take nine tenths of the time of a listing.
        """
        with self.engine.connect() as connection:
            heads_of, *queries = _statements()
            heads = connection.execute(heads_of, wanted).all()
            if not heads:
                return []
            parts: list[dict[int, list[Any]]] = []
            for query in queries:
                found: dict[int, list[Any]] = {}
                for place, *row in connection.execute(query, wanted):
                    found.setdefault(place, []).append(row)
                parts.append(found)
        parameters, values, curves, own, system = parts
        value, seen = models.TrialValueModel, models.TrialIntermediateValueModel
        trials = []
        for place, number, state, begun, ended in heads:
            ranges = {name: (_distribution(text), kept) for _, name, kept, text in sorted(parameters.get(place, ()))}
            made = FrozenTrial(
                number=number, state=state, value=None, trial_id=place,
                datetime_start=_here(begun), datetime_complete=_here(ended),
                values=[value.stored_repr_to_value(*row[1:]) for row in sorted(values.get(place, ()))] or None,
                params={name: kind.to_external_repr(kept) for name, (kind, kept) in ranges.items()},
                distributions={name: kind for name, (kind, _) in ranges.items()},
                user_attrs={key: json.loads(text) for key, text in own.get(place, ())},
                system_attrs={key: json.loads(text) for key, text in system.get(place, ())},
                intermediate_values={
                    step: seen.stored_repr_to_intermediate_value(*row) for step, *row in curves.get(place, ())
                },
            )  # fmt: skip
            trials.append(made)
        return trials


@functools.cache
def _statements() -> list[Any]:
    """The queries of ``Storage._read``, made once: heads of trials, parameters, values, curves, both kinds of notes."""
    trial = models.TrialModel.__table__.c  # columns, where the mapper has properties
    param, value, seen = models.TrialParamModel, models.TrialValueModel, models.TrialIntermediateValueModel
    wanted = sqlalchemy.or_(
        sqlalchemy.and_(
            trial.study_id == sqlalchemy.bindparam("study"), trial.trial_id > sqlalchemy.bindparam("after")
        ),
        trial.trial_id.in_(sqlalchemy.bindparam("known", expanding=True)),
    )
    heads = sqlalchemy.select(trial.trial_id, trial.number, trial.state, trial.datetime_start, trial.datetime_complete)
    parts = [
        (param, param.param_id, param.param_name, param.param_value, param.distribution_json),
        (value, value.objective, value.value, value.value_type),
        (seen, seen.step, seen.intermediate_value, seen.intermediate_value_type),
        *(
            (model, model.key, model.value_json)
            for model in (models.TrialUserAttributeModel, models.TrialSystemAttributeModel)
        ),
    ]
    return [
        heads.where(wanted).order_by(trial.trial_id),
        *(
            sqlalchemy.select(model.trial_id, *columns).join_from(
                model, models.TrialModel, model.trial_id == trial.trial_id
            ).where(wanted)
            for model, *columns in parts
        ),
    ]  # fmt: skip


def _here(moment: datetime.datetime | None) -> datetime.datetime | None:
    """The database has UTC, Optuna's trials have local time; both without saying so."""
    return None if moment is None else moment.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)


@functools.lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def waiting(self: Storage, *arguments: Any, **named: Any) -> Any:
        until, attempt = time.monotonic() + self._patience, 0
        while True:
            try:
                found = method(self, *arguments, **named)
            except UpdateFinishedTrialError:
                if attempt and method.__name__ == "set_trial_state_values":
                    return True  # the answer was lost, not the change
                raise
            except (StorageInternalError, OperationalError, DBAPIError) as error:
                reason = _reason(error)
                if any(word in reason for word in FULL):
                    raise RunError(
                        "the study's database", reason, "space to write", f"free some, then {self._go_on}"
                    ) from error
                passing = isinstance(error, StorageInternalError | OperationalError) or getattr(
                    error, "connection_invalidated", False
                )
                hopeless = not passing or any(word in reason for word in HOPELESS)
                if hopeless or time.monotonic() > until:
                    waited = "" if hopeless else f" for {self._patience:.0f} s"
                    raise RunError(
                        "the study's database", f"{reason}{waited}", "a database that answers",
                        f"when it is back, {self._go_on}",
                    ) from error  # fmt: skip
                if not attempt:
                    self._said(f"The study's database does not answer ({reason}); waiting for it.")
                time.sleep(WAITS[min(attempt, len(WAITS) - 1)])
                attempt += 1
            else:
                if attempt:
                    self._said("The study's database answers again.")
                return found

    return waiting


for _name in (
    "create_new_study", "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name",
    "get_study_name_from_id", "get_study_directions", "get_study_user_attrs", "get_study_system_attrs",
    "get_all_studies", "create_new_trial", "set_trial_param", "_write_parameters",
    "get_trial_id_from_study_id_trial_number", "set_trial_state_values", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr",
    "get_trial", "get_all_trials", "_get_trials", "record_heartbeat", "_get_stale_trial_ids", "get_best_trial",
):  # fmt: skip
    if hasattr(Storage, _name):
        setattr(Storage, _name, _patient(getattr(Storage, _name)))


def _reason(error: BaseException) -> str:
    """The database's own words, in one line."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    own = getattr(cause, "orig", None) or cause
    return " ".join(str(own).split())[:200] or type(own).__name__


def connect(url: str, said: Said, go_on: str, patience: float = PATIENCE_SECONDS) -> Storage:
    """The storage behind ``url``; what cannot be reached at the start is the user's to mend at once."""
    try:
        return Storage(url, said, go_on, patience)
    except ImportError as error:
        driver = url.partition(":")[0]
        if driver.startswith("postgresql"):
            raise MissingExtraError("--storage", extra="postgres") from error
        raise MissingExtraError("--storage", str(error), f"a driver for {driver}", "pip install DRIVER") from error
    except SQLAlchemyError as error:
        reason = _reason(error)
        if any(word in reason for word in FULL):
            raise RunError("the study's database", reason, "space to write", f"free some, then {go_on}") from error
        raise UsageError(
            f"--storage {hidden(url)}", reason, "a database that answers", "postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    except RuntimeError as error:
        raise RunError(
            hidden(url),
            " ".join(str(error).split())[:200],
            "a study of this version of Optuna",
            "optuna storage upgrade",
        ) from error


def normalised(url: str) -> str:
    """PostgreSQL through psycopg 3 where no driver is named."""
    for start in ("postgresql://", "postgres://"):
        if url.startswith(start):
            return "postgresql+psycopg://" + url.removeprefix(start)
    return url


def hidden(url: str) -> str:
    """A URL without its password, for messages."""
    from sqlalchemy.engine import make_url

    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, which is put into WAL mode: a page can read while trials write."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("pragma journal_mode=wal")
    except sqlite3.OperationalError as error:
        raise RunError(str(path), str(error), "a place that can be written", "--out FOLDER") from error
    except sqlite3.DatabaseError as error:
        others = sorted(other.parent.name for other in path.parent.parent.glob(f"*/{path.name}") if other != path)
        known = f"; beside it are {', '.join(others)}" if others else ""
        hint = f"another study, or remove {path.parent}"
        raise RunError(str(path), f"a damaged file ({error})", f"a study{known}", hint) from error
    return f"sqlite:///{path.resolve()}"


# ------------------------------------------------------------------------------------------------ signs of life


@contextlib.contextmanager
def alive(storage: Storage, trial_id: int) -> Iterator[None]:
    """Write a sign of life every ten seconds; processes on other machines see by it whether this one still works."""
    done = threading.Event()

    def beat() -> None:
        with contextlib.suppress(Exception):  # a training must not end because nobody hears of it
            while True:
                storage.record_heartbeat(trial_id)
                if done.wait(BEAT_SECONDS):
                    return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=1.0)


def stamp() -> dict[str, Any]:
    """Who works on a trial: machine and process, with the time at which it started where the system tells."""
    import socket

    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def is_dead(owner: dict[str, Any]) -> bool | None:
    """Whether the process of a stamp is gone; None: of another machine, one cannot say."""
    import socket

    if owner.get("host") != socket.gethostname():
        return None
    pid = int(owner.get("pid", 0))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _started(pid) != owner.get("started")


def _started(pid: int) -> str:
    """The start of a process in ticks since boot, and which boot: a number used again is not taken for it."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return ticks + " " + Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, IndexError):
        return ""
