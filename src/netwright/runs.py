"""The directory of a run: create, append, read, list; never half-written. No torch.

::

    runs/digits-0001/
        recipe.yaml        the resolved recipe
        request.yaml       the recipe as it was asked for, with its "auto"
        environment.json   versions, processor, threads, and what was measured and chosen at the start
        network.json       how to build the network again
        preprocess.json    how an example becomes an input
        run.sqlite         losses, metrics, measurements, findings; readable while it trains
        checkpoints/       one folder a checkpoint, complete or absent
        current.json       names the best and the last checkpoint
        report.html, exports/

Rows are keyed by step; a resume deletes the rows beyond the step it resumes from.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import msgspec

from netwright import files
from netwright.errors import RecipeError, RunError, UsageError, nearest
from netwright.recipe.reading import load
from netwright.recipe.schema import Recipe
from netwright.recipe.writing import dump
from netwright.records import Record, RunSummary, to_builtin
from netwright.rows import VERSION, Log, Reader

RecordType = TypeVar("RecordType", bound=Record)

State = Literal["running", "finished", "interrupted", "empty", "damaged"]

RESTORE = "restore it from a copy, or train anew"
LONGEST_NAME = 60  # of a run without its number; file systems take 255 bytes, which may be four a letter
DEFAULT_FOLDER = "runs"


class _Current(msgspec.Struct):
    """What is read of ``current.json``; a checkpoint may leave more."""

    last: str | None = None
    best: str | None = None
    step: int = 0
    epoch: int | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    finished: bool = False
    kept: str | None = None
    metrics: dict[str, dict[str, float | None]] = {}


# ---------------------------------------------------------------------- creating and finding


def create(folder: Path, name: str) -> Path:
    """A new, empty directory ``folder/name-0001`` (or the next free number), safe against others who do the same."""
    name = re.sub(r"[^\w.-]+", "-", name)[:LONGEST_NAME].strip("-.") or "run"
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_number(path.name, name) for path in folder.iterdir()), default=0)
        while True:
            directory = folder / f"{name}-{number:04d}"
            try:
                directory.mkdir()
            except FileExistsError:
                number += 1
                continue
            files.sync_folder(folder)
            return directory


def written_whole(folder: Path, name: str, write: Callable[[RunDirectory], None]) -> Path:
    """A new run that no training makes: what ``write`` puts into a hidden directory appears whole, by one rename."""
    place = create(folder, name)
    beside = folder / f".{place.name}.{os.getpid()}"
    try:
        with files.explained(beside):
            making = beside / place.name  # under its own name, which the report shows
            making.mkdir(parents=True)
        write(RunDirectory(making))
        for path in [*sorted(making.rglob("*")), making]:
            (files.sync_folder if path.is_dir() else files.sync_file)(path)
        if os.name == "nt":
            place.rmdir()
        files.rename(making, place)  # over the empty folder that holds the name
        files.sync_folder(folder)
    except BaseException:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return place


def _stem(name: str) -> str:
    """A run's name without its number, by which alone all names would be alike."""
    return re.sub(r"-\d+$", "", name)


def _number(directory_name: str, name: str) -> int:
    match = re.fullmatch(re.escape(name) + r"-(\d{4,})", directory_name)
    return int(match[1]) if match else 0


def find(subject: str | Path, folder: Path | str = DEFAULT_FOLDER) -> Path:
    """The directory that ``subject`` means: a path, a name in ``folder``, or ``last`` (the newest)."""
    folder = Path(folder)
    if str(subject) == "last":
        known = [path for path in list_directories(folder) if (path / "recipe.yaml").exists()]
        if not known:
            elsewhere = "" if folder == Path(DEFAULT_FOLDER) else f" --out {shlex.quote(str(folder))}"
            raise UsageError("last", f"no run in {folder}", "a run", f"netwright train digits{elsewhere}")
        return max(known, key=lambda path: ((path / "recipe.yaml").stat().st_mtime_ns, path.name))
    for path in (Path(subject), folder / str(subject)):
        if os.path.isfile(path / "recipe.yaml"):  # noqa: PTH113 - as above
            return path
    for path in (Path(subject), folder / str(subject)):
        if os.path.isdir(path) and _is_run(path):  # noqa: PTH112 - as above
            raise RunError(
                str(path), "a damaged run, without its recipe.yaml", "a complete run",
                f"netwright runs --delete {shlex.quote(str(path))}",
            )  # fmt: skip
    stems = {_stem(path.name): path.name for path in list_directories(folder)}  # of each, the run with the last number
    near = stems.get(nearest(_stem(Path(subject).name), stems) or "")
    raise UsageError(
        str(subject), "no run there", f"the directory of a run, a name in {folder}, or last", near or "netwright runs"
    )


def list_directories(folder: Path | str = DEFAULT_FOLDER) -> list[Path]:
    """Every run's directory in ``folder``, by name."""
    folder = Path(folder)
    if not os.path.isdir(folder):  # noqa: PTH112 - pathlib raises at a name that the file system does not take
        return []
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and _is_run(path)
    )


def _is_run(path: Path) -> bool:
    return (path / "recipe.yaml").exists() or (path / "run.sqlite").exists()


# ----------------------------------------------------------------------------------- one run


class RunDirectory:
    """Reads and writes one run's directory; one process at a time writes (``lock``)."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock_file: Any = None

    @property
    def name(self) -> str:
        return self.path.name

    # ---- what is written once

    def write_recipe(self, resolved: Recipe, requested: Recipe) -> None:
        """The recipes; ``recipe.yaml`` comes last, because it is what makes a directory a run."""
        files.replace_file(self.path / "request.yaml", dump_recipe(requested))
        files.replace_file(self.path / "recipe.yaml", dump_recipe(resolved))

    def write_record(self, file_name: str, record: Record) -> None:
        files.replace_file(self.path / file_name, record.to_json(indent=2) + "\n")

    def write_json(self, file_name: str, value: Any) -> None:
        files.replace_file(self.path / file_name, json.dumps(to_builtin(value), indent=2, allow_nan=False) + "\n")

    def recipe(self) -> Recipe:
        return _kept_recipe(self.path / "recipe.yaml")

    def requested(self) -> Recipe:
        path = self.path / "request.yaml"
        return _kept_recipe(path if path.exists() else self.path / "recipe.yaml")

    def made(self) -> str:
        """What made the run, where that was no training by its recipe."""
        about: dict[str, Any] = {}
        with contextlib.suppress(RunError):
            about = self.environment()
        if about.get("members"):
            return "an ensemble of trained runs"
        return f"a run that was compressed ({about['compressed']})" if about.get("compressed") else ""

    def trainable(self) -> Recipe:
        """The recipe as it was asked for. Raises ``UsageError`` where no training by it gives such a run."""
        if made := self.made():
            about = self.environment()
            parts = [*about.get("members", ()), about.get("parent") or {}]
            origin = next((str(each["run"]) for each in parts if each.get("run")), "")
            raise UsageError(self.name, made, "a run whose recipe can be trained again", origin)
        return self.requested()

    def read_json(self, file_name: str) -> Any:
        try:
            return json.loads((self.path / file_name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(str(self.path / file_name), "no such file", "a complete run", RESTORE) from error
        except (OSError, ValueError) as error:
            raise RunError(str(self.path / file_name), f"a damaged file ({error})", "JSON", RESTORE) from error

    def read_record(self, file_name: str, kind: type[RecordType]) -> RecordType:
        fields = self._read_fields(file_name)
        version = fields.get("version", 1)
        if version != VERSION:
            raise RunError(
                str(self.path / file_name), f"version {version}", f"version {VERSION}", "the netwright that wrote it"
            )
        try:
            return kind.from_dict(fields)
        except msgspec.ValidationError as error:
            raise RunError(str(self.path / file_name), f"a damaged record ({error})", kind.__name__, RESTORE) from error

    def _read_fields(self, file_name: str) -> dict[str, Any]:
        fields = self.read_json(file_name)
        if not isinstance(fields, dict):
            what = f"a damaged file (a {type(fields).__name__})"
            raise RunError(str(self.path / file_name), what, "names with values", RESTORE)
        return fields

    def environment(self) -> dict[str, Any]:
        return self._read_fields("environment.json")

    # ---- one writer at a time

    def lock(self) -> Self:
        """Hold the run for writing; the operating system lets go of it when the process ends, however it ends."""
        path = self.path / "lock"
        with files.explained(path):
            self._lock_file = path.open("a+")
        try:
            _lock_exclusively(self._lock_file)
        except OSError as error:
            self._lock_file.close()
            self._lock_file = None
            raise RunError(
                str(self.path), "a run that another process is writing", "one writer", "wait for it, or train anew"
            ) from error
        return self

    def unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def is_locked(self) -> bool:
        """Whether some process writes this run now."""
        try:
            with (self.path / "lock").open("rb") as file:
                _lock_exclusively(file)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    # ---- checkpoints

    def current(self) -> dict[str, Any]:
        """``current.json``: ``last`` and ``best`` name checkpoints, ``finished`` at the end; {} before the first."""
        if not (self.path / "current.json").exists():
            return {}
        current = self._read_fields("current.json")
        if current.get("version") != VERSION:
            raise RunError(
                str(self.path),
                f"a run of version {current.get('version')}",
                f"version {VERSION}",
                "the netwright that wrote it",
            )
        try:
            msgspec.convert(current, _Current)
        except msgspec.ValidationError as error:
            raise RunError(
                str(self.path / "current.json"), f"a damaged file ({error})", "what a checkpoint leaves", RESTORE
            ) from error
        return current

    def commit(self, step: int, writers: Mapping[str, Callable[[Path], None]], **facts: Any) -> None:
        """Keep checkpoints: each ``writers[role](folder)`` fills one, and one ``current.json`` then names them all.

        ``role`` is ``last`` or ``best``. A folder is written beside, synced and renamed; ``current.json`` is replaced
        last, by one rename. Checkpoints that it does not name afterwards are removed.
        """
        self.prepare(step, writers, **facts)()

    def prepare(self, step: int, writers: Mapping[str, Callable[[Path], None]], **facts: Any) -> Callable[[], None]:
        """The first half of `commit`: checkpoints are written beside. What is returned does the rest, once, in any
        thread: it waits for the disk and touches nothing else of the training."""
        root = self.path / "checkpoints"
        if not self.path.is_dir():
            raise RunError(str(self.path), "a run whose directory is gone", "the directory of the run", "train anew")
        beside: dict[str, Path] = {}
        try:
            with files.explained(root):
                root.mkdir(exist_ok=True)
                for role, write in writers.items():
                    beside[role] = root / f".{step:09d}.{role}.{os.getpid()}"
                    shutil.rmtree(beside[role], ignore_errors=True)
                    beside[role].mkdir()
                    write(beside[role])
        except BaseException:
            _discard(beside)
            raise

        def finish() -> None:
            try:
                with files.explained(root):
                    names = {role: _placed(folder, root, step) for role, folder in beside.items()}
                    files.sync_folder(root)
            except BaseException:
                _discard(beside)
                raise
            current = {**self.current(), **facts, **names, "version": VERSION, "step": step}
            self.write_json("current.json", current)
            self.drop_unnamed()

        return finish

    def drop_unnamed(self) -> None:
        """Remove the checkpoints that ``current.json`` does not name: of before, or of a process that was killed."""
        root, current = self.path / "checkpoints", self.current()
        with files.explained(root):
            for path in root.iterdir() if root.is_dir() else ():
                if not path.name.startswith(".") and path.name not in (current.get("best"), current.get("last")):
                    files.remove_tree(path)

    def mark(self, **facts: Any) -> None:
        """Change facts in ``current.json`` (``finished=True``)."""
        self.write_json("current.json", {**self.current(), **facts, "version": VERSION})

    def checkpoint(self, which: str = "last") -> Path:
        """The folder of the last or the best checkpoint."""
        name = self.current().get(which)
        if not name:
            raise RunError(
                str(self.path),
                "no checkpoint yet",
                "a run that has trained for a few seconds",
                f"netwright train --resume {shlex.quote(str(self.path))}",
            )
        path = self.path / "checkpoints" / Path(str(name)).name
        if not path.is_dir():
            raise RunError(
                str(path), "a checkpoint that is missing", "the folder that current.json names", "train anew"
            )
        return path

    # ---- rows

    def open_log(self) -> Log:
        return Log(self.path / "run.sqlite")

    def reader(self) -> Reader:
        return Reader(self.path / "run.sqlite")

    def summary(self) -> RunSummary:
        return summarize(self.path)


def _placed(beside: Path, root: Path, step: int) -> str:
    """Bring a checkpoint that was written beside to its place; returns its name there."""
    for path in sorted(beside.iterdir()):
        files.sync_file(path)
    files.sync_folder(beside)
    target, serial = root / f"{step:09d}", 0
    while target.exists():  # what current.json may still name is never overwritten
        serial += 1
        target = root / f"{step:09d}-{serial}"
    files.rename(beside, target)
    return target.name


def _discard(beside: Mapping[str, Path]) -> None:
    for folder in beside.values():
        shutil.rmtree(folder, ignore_errors=True)


def _kept_recipe(path: Path) -> Recipe:
    """A recipe in a run: who reads it has not written it, and cannot mend it by a key."""
    try:
        return load(path)
    except RecipeError as error:
        newer = "newer" in error.suggestion
        got, hint = (error.got, error.suggestion) if newer else (f"a damaged recipe: {error.got}", RESTORE)
        raise RunError(error.where, got, error.expected, hint) from error


def _lock_exclusively(file: Any) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def dump_recipe(recipe: Recipe) -> str:
    return dump(recipe)


# ----------------------------------------------------------------------------------- listing


def summarize(directory: Path) -> RunSummary:
    """What ``netwright runs`` says of one directory; a damaged one is listed as that."""
    run = RunDirectory(directory)
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    started = datetime.datetime.fromtimestamp(directory.stat().st_mtime).isoformat(timespec="seconds")
    metrics: dict[str, dict[str, float | None]] = {}
    try:
        recipe, current = run.recipe(), run.current()
        about = run.environment() if (directory / "environment.json").exists() else {}
        started = str(about.get("started", started))
        parent = about.get("parent")
        epochs, seconds = 0, 0.0
        if (directory / "run.sqlite").exists():
            reader = run.reader()
            for row in reader.epochs():
                metrics[row.split] = row.metrics
                epochs, seconds = max(epochs, row.epoch), seconds + row.seconds
            reader.close()
    except Exception as error:  # a listing must survive whatever a directory holds
        return RunSummary(
            name=directory.name,
            directory=str(directory),
            state="damaged",
            source=str(error),
            started=started,
            bytes=size,
        )
    finished = bool(current.get("finished"))
    state: State = "finished" if finished else "running" if run.is_locked() else "interrupted" if current else "empty"
    if finished and current.get("metrics"):
        metrics = current["metrics"]
    weights = directory / "checkpoints" / str(current.get("best") or current.get("last")) / "weights.safetensors"
    return RunSummary(
        name=directory.name, directory=str(directory), state=state, source=recipe.data.source,
        network=recipe.network.name,
        epochs=epochs or int(current.get("epoch") or 0),
        step=int(current.get("step", 0)), metrics=metrics,
        seconds=float(current.get("seconds", seconds)),
        started=started, bytes=size, weights_bytes=weights.stat().st_size if weights.is_file() else 0,
        parent=str(parent.get("run", "")) if isinstance(parent, dict) else "", chain=str(about.get("compressed", "")),
    )  # fmt: skip


def summaries(folder: Path | str = DEFAULT_FOLDER) -> list[RunSummary]:
    return [summarize(path) for path in list_directories(folder)]


def delete(directories: Iterable[Path]) -> None:
    """Delete runs; one that another process writes is refused, and then none is touched."""
    chosen = [RunDirectory(path) for path in directories]
    for run in chosen:
        if run.is_locked():
            raise RunError(str(run.path), "a run that another process is writing", "a run at rest", "stop it first")
    for run in chosen:
        files.remove_tree(run.path)
