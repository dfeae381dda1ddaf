"""``tune``: a recipe and a space → trials trained by one or several processes, the best few over seeds, a winner.

runs/studies/NAME/
    study.sqlite     the study: recipe, space, every trial with its curve (or in another database, by its URL)
    trial-0007/      the runs of the best few; the others leave their numbers only
    winner.yaml      the best recipe
    report.html
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netwright import building, files, runs, sourcing
from netwright.data.opening import open_source
from netwright.errors import DataError, MissingExtraError, NetwrightError, RunError, UsageError
from netwright.recipe import Recipe, defaults, override
from netwright.recipe.writing import dump
from netwright.records import Importance, Trial, Verdict
from netwright.reporting import formatting

try:
    from netwright.trialling import Trainer
    from netwright.tuning import importance as importances
    from netwright.tuning import repeating, storage
    from netwright.tuning.defaults import default_ranges
    from netwright.tuning.sampling import DEFAULT, SAMPLERS
    from netwright.tuning.spaces import Range, Space, parse
    from netwright.tuning.studies import Settings, Study, best_trials
except ModuleNotFoundError as missing:
    if (missing.name or "").split(".")[0] not in ("optuna", "sqlalchemy"):
        raise
    raise MissingExtraError("netwright tune", extra="tune") from missing

FOLDER = "studies"  # under the folder of runs
DATABASE, WINNER = "study.sqlite", "winner.yaml"
POLL_SECONDS = 0.5
LOOK_SECONDS = 10.0  # between two looks for processes that are gone
ENDING_SECONDS = 60.0  # that processes have to end after Ctrl-C

Said = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a study came to. ``recipe``: the winner; ``change``: its keys that differ from the recipe that was tuned,
    each with both values."""

    name: str
    folder: Path
    settings: Settings
    trials: tuple[Trial, ...]
    importance: Importance
    verdict: Verdict
    best: Trial | None
    recipe: Recipe | None
    change: dict[str, tuple[Any, Any]]
    space: tuple[str, ...]
    report: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """What ``netwright tune --json`` prints."""
        return {
            "study": self.name, "folder": str(self.folder), "sampler": self.settings.sampler,
            "metric": self.settings.metric, "space": list(self.space),
            "trials": [each.to_dict() for each in self.trials],
            "importance": self.importance.to_dict(), "verdict": self.verdict.to_dict(),
            "best": self.best.number if self.best else None,
            "winner": str(self.folder / WINNER) if self.recipe else None,
            "change": {key: list(pair) for key, pair in self.change.items()},
            "report": str(self.report) if self.report else None,
        }  # fmt: skip


def tune(
    recipe: Recipe | None = None, *, space: Sequence[str] = ("default",), trials: int | None = None,
    seconds: float | None = None, workers: int = 1, sampler: str = DEFAULT, halving: bool = True, seeds: int = 3,
    best: int = 3, name: str = "", resume: str = "", database: str = "", folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False, said: Said = lambda text: None,
) -> Tuned:  # fmt: skip
    """Search the recipe of the highest validation score, repeat the best few over seeds, and name a winner.

    ``space``: ranges as on the command line (``tuning.spaces``), or ``("default",)``. ``trials`` or ``seconds`` of
    training a worker end the search (40 trials if neither is given). ``halving``: stop poor trials early. ``seeds``:
    how often each of the ``best`` few and the recipe itself are trained again; 0: not at all. ``name``: of the study,
    which is joined if it is of the same recipe and space. ``resume``: a study to go on with, instead of a recipe.
    ``database``: an SQLAlchemy URL; SQLite in the study's folder if left out. Costs ``trials`` trainings, fewer with
    halving, and ``seeds · (best + 1)`` more.
    """
    _require_sensible(trials, seconds, workers, seeds, best, sampler)
    base = Path(folder) / FOLDER
    files.require_place(base)
    if resume:
        study, material = _resumed(resume, base, database, trials, seconds, workers, said)
    else:
        study, material = _begun(
            recipe or Recipe(), list(space), name, base, database, trust, said,
            {"trials": 40 if trials is None and seconds is None else trials, "seconds": seconds, "workers": workers,
             "sampler": sampler, "halving": halving, "seeds": seeds, "best": best},
        )  # fmt: skip
    try:
        _carry_out(study, material, trust, said)
    except KeyboardInterrupt:
        with contextlib.suppress(NetwrightError):
            study.recover()
        raise
    _thin(study)
    return conclude(study)


def show(
    name: str, *, database: str = "", folder: Path | str = runs.DEFAULT_FOLDER, said: Said = lambda text: None
) -> Tuned:
    """A study as it stands, with its report; nothing is trained."""
    study = _existing(name, Path(folder) / FOLDER, database, said)
    settings = study.load()
    study.open(parse(settings.space, _resolved(settings.asked, open_source(settings.asked.data), True)[0]))
    return conclude(study)


def conclude(study: Study) -> Tuned:
    """Judge what there is, and write the winner and the report."""
    from netwright.reporting import studies as reporting

    rows = study.trials()
    found = importances.importance(rows, study.space, seed=study.settings.asked.seed)
    verdict = repeating.Repeats(study).verdict() if study.settings.seeds else Verdict()
    best = next(iter(best_trials(rows, 1)), None)
    change: dict[str, Any] | None = None
    if verdict.contestants:
        first = verdict.contestants[0]
        change = first.change
        best = next((each for each in rows if each.number == first.number), best) if first.number >= 0 else best
    elif best is not None:
        change = best.change
    winner = None
    if change is not None:
        winner = override(study.settings.asked, change)
        files.replace_file(study.folder / WINNER, dump(winner))
    differs = {
        key: (study.space.base.get(key), value)
        for key, value in (change or {}).items()
        if study.space.base.get(key) != value
    }
    tuned = Tuned(
        study.name,
        study.folder,
        study.settings,
        tuple(rows),
        found,
        verdict,
        best,
        winner,
        differs,
        tuple(study.space.texts),
    )
    path = study.folder / "report.html"
    reporting.write_page(
        path, study.name, study.settings.metric, rows, found, verdict, differs, _axes(study.space), best
    )
    return dataclasses.replace(tuned, report=path)


def _axes(space: Space) -> list[tuple[str, Callable[[Any], float], tuple[str, str]]]:
    """Of every searched key: its place in 0…1, and what stands at the two ends."""
    return [(each.key, _place(each), (_text(each.value(0.0)), _text(each.value(1.0)))) for each in space.searched]


def _place(each: Range) -> Callable[[Any], float]:
    """Of a choice, its number among the others, so that the first and the last stand at the ends."""
    if not each.choices:
        return each.unit
    return lambda value: each.choices.index(value) / (len(each.choices) - 1) if value in each.choices else 0.5


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------------------------------ opening


def _require_sensible(
    trials: int | None, seconds: float | None, workers: int, seeds: int, best: int, sampler: str
) -> None:
    for option, value, least in (
        ("--trials", trials, 1), ("--workers", workers, 1), ("--seeds", seeds, 0), ("--best", best, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise UsageError(option, str(value), f"at least {least}")
    if seconds is not None and not seconds > 0:
        raise UsageError("--time", str(seconds), "more than nothing", "--time 30m")
    if sampler not in SAMPLERS:
        from netwright.errors import unknown_name

        raise unknown_name("--sampler", sampler, SAMPLERS)


def _begun(
    recipe: Recipe, texts: list[str], name: str, base: Path, database: str, trust: bool, said: Said, how: dict[str, Any]
) -> tuple[Study, Any]:
    """A new study, or the one of that name joined."""
    material = open_source(recipe.data)
    resolved, examples = _resolved(recipe, material, trust)
    space = parse(texts, resolved, default_ranges(resolved, examples))
    settings = Settings(
        recipe=_plain(recipe), space=tuple(space.texts), data=_hash(material), examples=examples,
        epochs=int(resolved.train.epochs), metric="accuracy" if material.task != "regression" else "loss", **how,
    )  # fmt: skip
    name = name or _free_name(recipe, base)
    if Path(name).name != name or name.startswith("."):
        raise UsageError("--study", repr(name), "a name without / and without a dot at its start", "--study mine")
    study = _study(name, base, database, said)
    if study.create(settings, space):
        said(f"study {name}: {formatting.plural(len(space.searched), 'key')}, {study.settings.sampler}")
        own = space.of_recipe()
        if own is not None and settings.sampler != "grid":
            study.enqueue(own)  # what is to be improved comes first
    return study, material


def _resumed(
    name: str, base: Path, database: str, trials: int | None, seconds: float | None, workers: int, said: Said
) -> tuple[Study, Any]:
    study = _existing(name, base, database, said)
    kept = study.load()
    material = open_source(kept.asked.data)
    resolved, _ = _resolved(kept.asked, material, True)
    changed = Settings.from_dict(
        kept.to_dict() | {"workers": workers} | ({"trials": trials} if trials is not None else {})
        | ({"seconds": seconds} if seconds is not None else {}) | {"data": _hash(material)}
    )  # fmt: skip
    study.create(changed, parse(kept.space, resolved))
    return study, material


def _existing(name: str, base: Path, database: str, said: Said) -> Study:
    if name == "last":
        known = sorted(base.glob(f"*/{DATABASE}"), key=lambda path: path.stat().st_mtime_ns) if base.is_dir() else []
        if not known:
            raise UsageError("last", f"no study in {base}", "a study", "netwright tune digits")
        name = known[-1].parent.name
    name = Path(name).name
    if not database and not (base / name / DATABASE).is_file():
        from netwright.errors import nearest

        known_names = sorted(path.parent.name for path in base.glob(f"*/{DATABASE}")) if base.is_dir() else []
        got = f"no such study in {base}"
        if (base / name).is_dir():
            got = f"a folder without its {DATABASE}: {base / name}"
        expected = f"one of {', '.join(known_names)}, or last" if known_names else "a study (there is none yet)"
        found = nearest(name, known_names) or (known_names and "last")
        raise UsageError(f"study {name}", got, expected, found or "netwright tune digits")
    return _study(name, base, database, said)


def _study(name: str, base: Path, database: str, said: Said, worker: int = 0) -> Study:
    folder = base / name
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    url = storage.normalised(database) if database else storage.sqlite_url(folder / DATABASE)
    elsewhere = "" if base.parent == Path(runs.DEFAULT_FOLDER) else f" --out {shlex.quote(str(base.parent))}"
    elsewhere += f" --storage {storage.hidden(url)}" if database else ""
    return Study(name, folder, url, said, worker, options=elsewhere)


def _free_name(recipe: Recipe, base: Path) -> str:
    name = recipe.name or Path(recipe.data.source).name.split(".")[0] or "study"
    return runs.create(base, name).name


def _plain(recipe: Recipe) -> dict[str, Any]:
    from netwright.recipe import to_dict

    return to_dict(recipe)


def _resolved(recipe: Recipe, material: Any, trust: bool) -> tuple[Recipe, int]:
    """The recipe with every choice that can be made without a run, and the number of training examples."""
    if recipe.data.format == "python":
        raise DataError(
            "data.source", "data that came from Python", "a source by name or path", "netwright tune digits"
        )
    facts = sourcing.facts(material, None)
    resolved = defaults.resolve(recipe, facts)
    resolved = override(resolved, sourcing.decided(resolved, material))
    record = building.network_file(resolved, material)
    own = {key: record.arguments[key] for key in ("width", "depth", "dropout") if key in record.arguments}
    resolved = override(resolved, {f"network.{key}": value for key, value in own.items()})
    parts = getattr(material, "parts", {})
    if not len(parts.get("validation", ())):
        raise DataError(
            "data.validation", "no validation part", "examples by which recipes are judged", "--set data.validation=0.1"
        )
    return resolved, facts.examples


def _hash(material: Any) -> str:
    import hashlib
    import json

    return hashlib.sha256(json.dumps(sourcing.fingerprint(material), sort_keys=True, default=str).encode()).hexdigest()[
        :16
    ]


# ------------------------------------------------------------------------------------------------ carrying out


def _carry_out(study: Study, material: Any, trust: bool, said: Said) -> None:
    """The search, then the best few over seeds."""
    _clear(study.folder)
    study.recover()
    teller = Teller(study, said)
    _phase(study, material, trust, teller, "search")
    study.require_not_hopeless()
    if study.settings.seeds:
        repeats = repeating.Repeats(study)
        repeats.recover()
        if new := repeats.prepare():
            over = formatting.plural(study.settings.seeds, "seed")
            said(f"the best few over {over}: {formatting.plural(new, 'training')}")
        if not repeats.is_over():
            _phase(repeats, material, trust, teller, "seeds")


def _phase(study: Study, material: Any, trust: bool, teller: Teller, which: str) -> None:
    if study.settings.workers == 1:
        trainer = Trainer(study.settings, study.folder, trust, material)
        while True:
            going = study.step(trainer)
            teller.tell()
            if which == "search":
                study.require_not_hopeless()
            if not going and (not study.recover() or study.is_over()):
                return
    else:
        _together(study, trust, teller, which)


class Teller:
    """Says what became of each trial, once."""

    def __init__(self, study: Study, said: Said) -> None:
        self._study, self.said = study, said
        self._told = {each.number for each in study.trials() if each.state not in ("running", "waiting")}

    def tell(self) -> None:
        from netwright.reporting import studies as reporting

        rows = self._study.trials()
        new = [each for each in rows if each.number not in self._told and each.state not in ("running", "waiting")]
        for each in new:
            self._told.add(each.number)
            self.said(reporting.trial_line(each, self._study.settings.metric))
        if any(each.state == "finished" for each in new):
            _thin(self._study)


# ------------------------------------------------------------------------------------------------ several processes


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process of its own has to know."""

    name: str
    folder: Path
    url: str
    which: str
    trust: bool
    worker: int
    parent: int


def _together(study: Study, trust: bool, teller: Teller, which: str) -> None:
    """Several processes take trials from the study until there are none; one that dies is replaced, a few times."""
    context = multiprocessing.get_context("spawn")
    count, spare = study.settings.workers, study.settings.workers + 2
    crew: dict[Any, Any] = {}

    def start(number: int) -> None:
        mine, theirs = context.Pipe(duplex=False)
        job = Job(study.name, study.folder, study.url, which, trust, number, os.getpid())
        process = context.Process(target=work, args=(job, theirs), daemon=True)
        process.start()
        theirs.close()
        crew[process] = mine

    for number in range(count):
        start(number)
    looked = time.monotonic()
    try:
        while crew:
            time.sleep(POLL_SECONDS)
            teller.tell()
            if which == "search":
                study.require_not_hopeless()
            if time.monotonic() - looked > LOOK_SECONDS:
                study.recover()
                looked = time.monotonic()
            for process in [each for each in crew if not each.is_alive()]:
                mine = crew.pop(process)
                problem = _received(mine)
                if problem is not None:
                    raise problem
                if process.exitcode:
                    study.recover()
                    if not spare:
                        raise RunError(
                            f"study {study.name}", f"worker processes that end (the last with {process.exitcode})",
                            "processes that live", f"less memory for each (--workers 1); {study.go_on}",
                        )  # fmt: skip
                    teller.said(f"A worker ended ({_ending(process.exitcode)}); another takes its place.")
                    spare -= 1
                    start(count + spare)
            if not crew and (study.recover() or not study.is_over()) and spare and study._waiting():
                spare -= 1
                start(count + spare)
    except BaseException:
        _end_all(list(crew))
        raise
    teller.tell()


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit {code}"


def _received(mine: Any) -> NetwrightError | None:
    try:
        found = mine.recv() if mine.poll() else None
    except (EOFError, OSError):
        return None
    return found if isinstance(found, NetwrightError) else None


def _end_all(crew: list[Any]) -> None:
    """Ask the processes to put their trials back, and wait for them."""
    for process in crew:
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError, OSError):
                os.kill(process.pid, signal.SIGINT)
    until = time.monotonic() + ENDING_SECONDS
    for process in crew:
        process.join(max(0.1, until - time.monotonic()))
        if process.is_alive():
            process.terminate()


def work(job: Job, tell: Any) -> None:
    """The life of a worker process: trials until there are none. Errors go to the one that started it."""
    try:
        study = Study(job.name, job.folder, job.url, lambda text: None, job.worker)
        settings = study.load()
        material = open_source(settings.asked.data)
        study.open(parse(settings.space, _resolved(settings.asked, material, True)[0]))
        mine = study if job.which == "search" else repeating.Repeats(study)
        trainer = Trainer(settings, job.folder, job.trust, material)
        while os.getppid() == job.parent and mine.step(trainer):
            pass
    except NetwrightError as error:
        tell.send(error)
    except KeyboardInterrupt:
        os._exit(130)
    finally:
        tell.close()


# ------------------------------------------------------------------------------------------------ what is kept


def _clear(folder: Path) -> None:
    """Remove what killed processes left half-trained."""
    for path in folder.glob(".working-*"):
        pid = path.name.rpartition("-")[2]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _thin(study: Study) -> None:
    """Keep the runs of the best few alone."""
    keep = {each.run for each in best_trials(study.trials(), study.settings.best)}
    running = {each.number for each in study.trials() if each.state == "running"}
    for path in study.folder.glob("trial-*"):
        number = path.name.rpartition("-")[2]
        if path.is_dir() and path.name not in keep and int(number) not in running:
            with contextlib.suppress(OSError):
                files.remove_tree(path)


__all__ = ["Tuned", "conclude", "show", "tune"]
