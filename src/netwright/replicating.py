"""Recipes and seeds → trainings, those that were there reused → which recipe is better: the verb ``compare``."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import msgspec
import torch

from netwright import building, environment, runs, sourcing, workbench
from netwright.building import Material
from netwright.comparing.arms import Arm, Trained, arms, carry_out, digest
from netwright.comparing.judging import deciding, judge
from netwright.data.opening import BUILT_IN, open_material
from netwright.data.releasing import give_back
from netwright.errors import NetwrightError, StoppedError, UsageError
from netwright.files import require_place
from netwright.recipe import Recipe, difference, from_dict, load, override, parse_assignments, to_dict
from netwright.recipe.reading import ASSIGNED
from netwright.recipe.schema import Data
from netwright.records import Comparison, NetworkFile
from netwright.reporting import comparison as telling
from netwright.runs import RunDirectory
from netwright.training.recording import DivergedError, Interrupted
from netwright.workbench import Run

FOLDER = "compared"  # in the folder of runs
FACTS = "replicate.json"  # in a run: its digest, its highest memory, why it failed
MOST_SEEDS = 1000

Subject = Recipe | Run | Path | str
Said = Callable[[str], None]


@overload
def compare(first: Recipe, second: Recipe, /) -> dict[str, tuple[Any, Any]]: ...
@overload
def compare(
    *subjects: Subject, seeds: int, metric: str = "", baseline: bool = False, smallest: float = 0.0,
    splits: bool = False, changes: dict[str, Any] | None = None, folder: Path | str = runs.DEFAULT_FOLDER,
    page: Path | str | None = None, trust: bool = False, said: Said = lambda text: None,
) -> Comparison: ...  # fmt: skip
def compare(
    *subjects: Subject,
    seeds: int | None = None,
    metric: str = "",
    baseline: bool = False,
    smallest: float = 0.0,
    splits: bool = False,
    changes: dict[str, Any] | None = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    page: Path | str | None = None,
    trust: bool = False,
    said: Said = lambda text: None,
) -> Comparison | dict[str, tuple[Any, Any]]:
    """Train every subject with the seeds 0 … ``seeds`` - 1, and judge the differences of pairs with the same seed.

    ``subjects``: recipes, their files, data (``digits``), runs (trained again as they were asked for), or changes of
    the first (``"train.lr=0.01"``); ``changes`` are made to all. Runs lie under ``folder/compared``; a finished one
    there or in ``folder``, of an equal recipe, seed, data and versions, is used again, and an interrupted one goes on,
    so that a comparison that was stopped or killed goes on with the same call. For ``metric``, ``baseline`` and
    ``smallest`` see ``comparing.judging.judge``. ``splits``: each seed also draws other held-out examples (the same
    for all subjects): the interval is then about new data of this kind too, not about this split alone. ``page``:
    where the HTML page goes; default: beside the runs. Raises ``StoppedError`` at Ctrl-C, after saving.

    Without ``seeds``, of two recipes: the keys in which they differ.
    """
    if seeds is None:
        if len(subjects) != 2 or not all(isinstance(each, Recipe) for each in subjects):
            raise UsageError(
                "compare", "no number of seeds", "seeds=8, or two recipes", "netwright.compare(a, b, seeds=8)"
            )
        return difference(*subjects)  # type: ignore[arg-type] # both are recipes
    if not 2 <= seeds <= MOST_SEEDS:
        raise UsageError("compare: seeds", str(seeds), f"from 2 to {MOST_SEEDS}", "--seeds 8")
    if smallest < 0:
        raise UsageError(
            "compare: smallest", f"{smallest:g}", "a difference in the metric's own unit", "--smallest 0.01"
        )
    if changes and "seed" in changes:
        raise UsageError("compare: seed", str(changes["seed"]), "seeds from 0 on for every subject", f"seeds={seeds}")
    folder = Path(folder)
    for place in (folder, Path(page).parent if page else folder):
        require_place(place)
    compared = arms(named(subjects, folder, changes or {}))
    shop = Shop(folder, trust, said, len(compared) * seeds)
    results: dict[tuple[str, int], Trained] = {}
    try:
        for arm, seed, trained in carry_out(compared, range(seeds), splits, shop.trained):
            results[arm.name, seed] = trained
            decides = None
            if metric and not trained.failed:  # before hours are spent on what cannot be judged
                decides = deciding([arm], [seed], results, metric)
            shop.tell(arm, seed, trained, decides)
    except (Interrupted, KeyboardInterrupt) as stop:
        raise StoppedError(
            "compare", f"Ctrl-C after {len(results)} of {shop.planned} trainings",
            "those are kept, and the running one from its last step", "the same command goes on",
        ) from stop  # fmt: skip
    found = judge(compared, range(seeds), results, metric=metric, baseline=baseline, smallest=smallest, splits=splits)
    asked = [digest(arm.seeded(0, splits)) for arm in compared], seeds, metric, baseline, smallest, splits
    path = Path(page) if page else folder / FOLDER / page_name([arm.name for arm in compared], asked)
    found = msgspec.structs.replace(found, page=str(path))
    telling.write_page(path, found, {arm.name: _curves(found, arm.name) for arm in compared})
    return found


def named(subjects: Sequence[Subject], folder: Path, changes: dict[str, Any]) -> list[tuple[str, Recipe]]:
    """Each subject's recipe, with a name; ``changes`` are made to all, and give way to those of a subject."""
    found: list[tuple[str, Recipe]] = []
    for number, subject in enumerate(subjects, 1):
        if isinstance(subject, str) and "=" in subject and not Path(subject).exists():
            if not found:
                hint = f"netwright compare digits {subject}"
                raise UsageError("compare", repr(subject), "a recipe first, then changes of it", hint)
            changed = from_dict(to_dict(found[0][1]), parse_assignments(subject.split()), changes=ASSIGNED)
            found.append((subject, changed))
        else:
            name, recipe = _asked(subject, folder)
            found.append((name or f"recipe {number}", override(recipe, changes)))
    return found


def _asked(subject: Subject, folder: Path) -> tuple[str, Recipe]:
    if isinstance(subject, Recipe):
        name, recipe = subject.name, subject
    elif isinstance(subject, Run):
        name, recipe = subject.directory.name, subject.files.trainable()
    elif str(subject).lower().endswith((".yaml", ".yml")):
        name, recipe = Path(subject).stem, load(subject)
    elif subject in BUILT_IN or (Path(subject).exists() and not (Path(subject) / "recipe.yaml").exists()):
        name, recipe = Path(subject).name, from_dict({}, {"data.source": str(subject)})
    else:
        path = runs.find(subject, folder)
        name, recipe = path.name, RunDirectory(path).trainable()
    if recipe.data.format == "python" or "python" in (recipe.network.name, recipe.objective.loss):
        raise UsageError(name, "objects that came from Python", "a recipe that can be trained again")
    return name, recipe


def page_name(words: Sequence[str], question: Any) -> str:
    """The file of a page: ``words`` to read, and a mark of the question, so that another one has another page and the
    same one again the same."""
    readable = re.sub(r"[^\w.=+-]+", "-", "-".join(words))[:60].strip("-.")
    return f"{readable}-{hashlib.sha256(json.dumps(question, default=str).encode()).hexdigest()[:6]}.html"


# ------------------------------------------------------------------------------------------------ trainings


@dataclasses.dataclass
class Shop:
    """Trains, or finds what was trained; data is read once for all seeds."""

    folder: Path
    trust: bool
    said: Said
    planned: int
    done: int = 0
    _opened: tuple[Data, Material, dict[str, Any]] | None = None
    _index: dict[str, list[Path]] | None = None

    def trained(self, arm: Arm, recipe: Recipe) -> Trained:
        key = digest(recipe)
        material, data = self.material(recipe)
        for path in self._known(key):
            known = self._again(path, data, material)
            if known is not None:
                return known
        before = set(runs.list_directories(self.folder / FOLDER))
        try:
            with highest_memory() as memory:
                run = workbench.train(recipe, folder=self.folder / FOLDER, trust=self.trust, material=material)
        except DivergedError as error:
            left = set(runs.list_directories(self.folder / FOLDER)) - before
            for path in left:
                RunDirectory(path).write_json(FACTS, {"digest": key, "failed": str(error)})
            return Trained({}, 0.0, run=str(min(left, default="")), failed=str(error))
        run.files.write_json(FACTS, {"digest": key, "memory_bytes": memory.bytes})
        return _of_run(run, memory.bytes)

    def material(self, recipe: Recipe) -> tuple[Material, dict[str, Any]]:
        if self._opened is None or self._opened[0] != recipe.data:
            material = open_material(recipe.data)
            self._opened = recipe.data, material, json.loads(json.dumps(sourcing.fingerprint(material), default=str))
        return self._opened[1:]

    def _known(self, key: str) -> list[Path]:
        """The directories of runs with this digest, those of comparisons first."""
        if self._index is None:
            self._index = {}
            for place in (self.folder / FOLDER, self.folder):
                for path in runs.list_directories(place):
                    with contextlib.suppress(NetwrightError, OSError, ValueError):  # a damaged run is nobody's
                        facts = path / FACTS
                        known = json.loads(facts.read_text()).get("digest") if facts.exists() else None
                        self._index.setdefault(known or digest(RunDirectory(path).requested()), []).append(path)
        return self._index.get(key, [])

    def _again(self, path: Path, data: dict[str, Any], material: Material) -> Trained | None:
        """A run that was there: used as it is where it is finished, gone on with where not; None: neither can be."""
        run = RunDirectory(path)
        try:
            facts = json.loads((path / FACTS).read_text()) if (path / FACTS).exists() else {}
            kept = run.environment()
            same = {name: kept.get("data", {}).get(name) for name in data} == data
            if not same or kept.get("versions") != environment.snapshot()["versions"] or run.is_locked():
                return None
            if run.made():  # it has the recipe of what it was made of
                return None
            if _changed_since(run, material):
                return None
            if facts.get("failed"):
                return Trained({}, 0.0, run=str(path), failed=str(facts["failed"]), reused=True)
            if not run.current().get("finished"):
                if not run.current().get("last"):
                    if path.parent == self.folder / FOLDER:
                        runs.delete([path])  # killed before its first checkpoint: nothing is in it
                    return None
                return _of_run(workbench.resume(path, trust=self.trust, material=material), None)
            return dataclasses.replace(_of_run(Run(path), facts.get("memory_bytes")), reused=True)
        except (NetwrightError, OSError, ValueError):  # damaged, or of a network that has changed: it is trained anew
            return None

    def tell(self, arm: Arm, seed: int, trained: Trained, decides: tuple[str, str] | None = None) -> None:
        self.done += 1
        text = telling.result_text(trained.metrics, decides) if not trained.failed else f"failed: {trained.failed}"
        again = ", was there" if trained.reused else ""
        self.said(f"{self.done:>3}/{self.planned}  seed {seed}  {arm.name}: {text}{again}")


def _changed_since(run: RunDirectory, material: Material) -> bool:
    """Whether the network's own source, or the weights it began with, are others than then."""
    recipe, record = run.recipe(), run.read_record("network.json", NetworkFile)
    if record.kind == "import" and building.network_file(recipe, material).source_sha256 != record.source_sha256:
        return True
    if not recipe.network.weights:
        return False
    start = Path(recipe.network.weights).expanduser()
    written = start / "current.json" if start.is_dir() else start
    return not written.exists() or written.stat().st_mtime > (run.path / "recipe.yaml").stat().st_mtime


def _of_run(run: Run, memory: int | None) -> Trained:
    metrics = {
        part: {name: value for name, value in values.items() if value is not None}
        for part, values in run.metrics.items()
    }
    return Trained(metrics, run.seconds, str(run.directory), memory)


@dataclasses.dataclass
class _Memory:
    bytes: int | None = None


@contextlib.contextmanager
def highest_memory() -> Iterator[_Memory]:
    """The highest memory while it lasts: that of the GPU where there is one, else the process's resident memory (on
    Linux, where its mark can be set back: proc(5), clear_refs); None elsewhere."""
    memory, status = _Memory(), Path("/proc/self/status")
    give_back()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    yield memory
    if torch.cuda.is_available():
        memory.bytes = torch.cuda.max_memory_allocated()
    else:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
            memory.bytes = int(line.split()[1]) * 1024


def _curves(found: Comparison, name: str) -> dict[tuple[str, str], dict[int, list[float]]]:
    """(part, metric) → epoch → values of the seeds, as they were after each epoch."""
    curves: dict[tuple[str, str], dict[int, list[float]]] = {}
    result = next(arm for arm in found.arms if arm.name == name)
    for path in result.runs:
        with contextlib.suppress(NetwrightError):
            reader = RunDirectory(path).reader()
            for row in reader.epochs():
                for metric, value in row.metrics.items():
                    if value is not None:
                        curves.setdefault((row.split, metric), {}).setdefault(row.epoch, []).append(value)
            reader.close()
    return curves
