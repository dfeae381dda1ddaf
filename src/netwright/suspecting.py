"""Labels that contradict what networks predict which did not learn them: ``netwright check SUBJECT --labels``."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from netwright import building, environment, files, runs, sourcing, workbench
from netwright.comparing.arms import digest
from netwright.data import confident
from netwright.data.examples import Examples, Part, Rows
from netwright.data.opening import open_material
from netwright.errors import DataError, NetwrightError, StoppedError, UsageError
from netwright.preprocess import InputFile
from netwright.recipe import Recipe, override
from netwright.records import LabelCheck, Suspect
from netwright.reporting import cards, labels
from netwright.reporting.formatting import count, duration, plural
from netwright.runs import RunDirectory
from netwright.training.evaluating import examine
from netwright.training.precision import Precision
from netwright.training.recording import Interrupted
from netwright.workbench import Run

FOLDS, MOST_FOLDS = 5, 50
FOLDER = "labels"  # in the run's directory, or in the folder of runs
HELD_OUT = ("validation", "test")
# Of the way from guessing to all labels as given: networks below it know too little to blame the labels.
LEAST_SKILL = 0.5
COLUMNS = ("part", "name", "given", "suggested", "score", "given_probability", "suggested_probability")

Said = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class _Judged:
    """Out-of-sample probabilities (n, C) of the examples of one part, with their positions in it and given labels."""

    part: str
    positions: Rows
    labels: Rows
    probabilities: np.ndarray


def suspects(
    subject: Recipe | Run | Path | str,
    *,
    folds: int = FOLDS,
    quick: bool = False,
    folder: Path | str = runs.DEFAULT_FOLDER,
    trust: bool = False,
    said: Said = lambda text: None,
) -> LabelCheck:
    """Labels that confident learning takes for wrong, the most suspicious first, with a page and a list beside it.

    ``subject``: a run (trained again as it was) or a recipe. The training part is divided into ``folds``; as many
    networks are trained on all but one of them each, and judge that one and the held-out parts. What was judged is
    kept, and a training that was stopped goes on, so the same call goes on after Ctrl-C or a kill. ``quick``: nothing
    is trained; a run judges its own held-out parts. Files lie in the run's directory, or in ``folder/labels``.

    Raises ``UsageError`` for what has no classes, ``StoppedError`` at Ctrl-C, after saving.
    """
    run = None if isinstance(subject, Recipe) else subject if isinstance(subject, Run) else workbench.load(
        subject, folder=folder, trust=trust
    )  # fmt: skip
    if not 2 <= folds <= MOST_FOLDS:
        raise UsageError("check --labels: folds", str(folds), f"from 2 to {MOST_FOLDS}", f"--folds {FOLDS}")
    recipe = run.recipe if run is not None else subject
    assert isinstance(recipe, Recipe)
    _require(recipe, run, quick)
    known = run.files.read_record("preprocess.json", InputFile).text if run is not None else None
    material = open_material(recipe.data, known)
    if not isinstance(material, Examples) or material.task != "classification":
        raise UsageError(
            "check --labels", f"data of {material.task}" if isinstance(material, Examples) else "a running text",
            "examples with one class each", "netwright check digits --labels",
        )  # fmt: skip
    if run is not None:
        sourcing.require_same(run.directory, run.files.environment().get("data", {}), material)
    notes: list[str] = []
    if recipe.network.weights:
        notes.append(
            f"Every network began with the weights of {recipe.network.weights}: what those learned of these examples "
            "hides wrong labels."
        )
    key = _key(recipe, material, folds)
    place = run.directory / FOLDER if run is not None else Path(folder) / FOLDER / f"{_name(recipe)}-{key}"
    if quick:
        assert run is not None
        judged = [_by(run, material, part) for part in HELD_OUT if part in material.parts]
        if not judged:
            raise UsageError(
                "check --labels --quick", "a run that held nothing out", "held-out examples", "leave it out"
            )
    else:
        shop = _Folds(recipe, material, folds, place / f"folds-{folds}-{key}", trust, said, notes)
        shop.announce(run)
        judged = shop.judged()
    name = run.directory.name if run is not None else _name(recipe)
    found = _concluded(name, material, judged, 0 if quick else folds, place, tuple(notes))
    _write_list(Path(found.file), found)
    chosen = found.suspects[: labels.SHOWN]
    labels.write_page(Path(found.page), found, _cards(material, judged, chosen))
    return found


def _require(recipe: Recipe, run: Run | None, quick: bool) -> None:
    if quick and run is None:
        raise UsageError("check --labels --quick", "no run", "a run, whose held-out examples are judged by it")
    own = {"network.name": recipe.network.name, "objective.loss": recipe.objective.loss}
    own |= {"train.optimizer": recipe.train.optimizer, "network.weights": recipe.network.weights}
    handed = [key for key, value in own.items() if value == "python"]
    if recipe.data.format == "python":
        raise UsageError("check --labels", "a run whose data came from Python", "data that can be read again")
    if recipe.objective.loss == "python" or (handed and not quick):
        raise UsageError(
            "check --labels", f"a run with {handed[0]} from Python", "a recipe that can be trained again",
            "--quick, which judges the held-out examples alone" if recipe.objective.loss != "python" else "",
        )  # fmt: skip


def _name(recipe: Recipe) -> str:
    return recipe.name or Path(recipe.data.source).name.split(".")[0] or "data"


def _key(recipe: Recipe, material: Examples, folds: int) -> str:
    """Equal for equal trainings of the same examples by the same versions."""
    about = [digest(recipe), folds, sourcing.fingerprint(material)["sha256"], environment.snapshot()["versions"]]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:10]


def _given(part: Part) -> Rows:
    targets = part.part_targets()
    found: Rows = (targets if targets.ndim == 1 else targets.argmax(1)).astype(np.int64)
    return found


# ------------------------------------------------------------------------------------------------ out of sample


def _said_of(run: Run, material: Examples, part: str) -> np.ndarray:
    """What a run's network says of a part: probabilities (n, C) ``float32``."""
    recipe = run.recipe
    network, place = run.network, building.device(recipe)
    seen = examine(
        network.to(place), building.objective(recipe, run.inputs, None),
        building.batches(recipe, material, part, place), Precision("fp32", place),
    )  # fmt: skip
    return seen.probabilities.numpy().astype(np.float32)


def _by(run: Run, material: Examples, part: str) -> _Judged:
    held = material.parts[part]
    return _Judged(part, np.arange(len(held)), _given(held), _said_of(run, material, part))


@dataclasses.dataclass
class _Folds:
    """Trains the networks of the folds, or finds what they said."""

    recipe: Recipe
    material: Examples
    count: int
    place: Path
    trust: bool
    said: Said
    notes: list[str]

    def __post_init__(self) -> None:
        files.require_place(self.place.parent)
        train = self.material.parts["train"]
        self.labels = _given(train)
        self.fold = confident.folds(self.labels, self.count, self.recipe.data.split_seed)
        alone = np.bincount(self.labels)[self.labels] < 2
        self.judgeable = np.flatnonzero(~alone).astype(np.int64)
        if alone.any():
            self.notes.append(f"{plural(int(alone.sum()), 'example')} not judged: the only one of its class.")
        if len(train) < 2 * self.count:
            raise DataError(
                "check --labels", f"{plural(len(train), 'training example')} in {self.count} folds",
                f"at least {2 * self.count}",
            )  # fmt: skip

    def announce(self, run: Run | None) -> None:
        """What it will cost, before it does."""
        there = sum(self._file(number).exists() for number in range(self.count))
        left = self.count - there
        if not left:
            self.said(f"all {self.count} trainings were there")
            return
        each = count(len(self.labels) - -(-len(self.labels) // self.count))
        text = f"{plural(left, 'training')} on {each} examples each"
        text += f"; {plural(there, 'was', 'were')} there" if there else ""
        if run is not None and run.seconds:
            text += f"; about {duration(left * run.seconds * (self.count - 1) / self.count)}, by what the run took"
        self.said(text)

    def judged(self) -> list[_Judged]:
        train = self.material.parts["train"]
        sums: dict[str, Any] = {}
        own = np.zeros((len(train), len(self.material.classes)), np.float32)
        for number in range(self.count):
            said = self._said(number)
            own[self.fold == number] = said["train"]
            for part in HELD_OUT:
                if part in said:
                    sums[part] = sums.get(part, 0) + said[part] / self.count
        found = [_Judged("train", self.judgeable, self.labels[self.judgeable], own[self.judgeable])]
        for part, said in sums.items():
            held = self.material.parts[part]
            found.append(_Judged(part, np.arange(len(held)), _given(held), said))
        return found

    def _file(self, number: int) -> Path:
        return self.place / f"fold-{number}.npz"

    def _said(self, number: int) -> dict[str, np.ndarray]:
        """What the network of a fold said of it (``train``) and of the held-out parts."""
        path = self._file(number)
        if path.exists():
            with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
                with np.load(path, allow_pickle=False) as kept:
                    said = {name: kept[name] for name in kept.files}
                if len(said["train"]) == int((self.fold == number).sum()):
                    return said
        said = self._trained(number)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **said)  # type: ignore[arg-type]
        files.replace_file(path, buffer.getvalue())
        for left in runs.list_directories(self.place):
            if left.name.startswith(f"fold-{number}-"):
                runs.delete([left])
        return said

    def _trained(self, number: int) -> dict[str, np.ndarray]:
        train = self.material.parts["train"]
        parts = dict(self.material.parts)
        parts["train"] = train.take(np.flatnonzero(self.fold != number).astype(np.int64))
        material = dataclasses.replace(self.material, parts=parts)
        recipe = override(self.recipe, {"name": f"fold-{number}", "watch.enabled": False, "data.limit": 0})
        try:
            run = self._went_on(number, material) or workbench.train(
                recipe, folder=self.place, trust=self.trust, material=material
            )
        except (Interrupted, KeyboardInterrupt) as stop:
            raise StoppedError(
                "check --labels", f"Ctrl-C after {number} of {self.count} trainings",
                "those are kept, and the running one from its last step", "the same command goes on",
            ) from stop  # fmt: skip
        judged = dataclasses.replace(
            material, parts={**parts, "fold": train.take(np.flatnonzero(self.fold == number).astype(np.int64))}
        )
        said = {"train": _said_of(run, judged, "fold")}
        said |= {part: _said_of(run, judged, part) for part in HELD_OUT if part in parts}
        right = float((said["train"].argmax(1) == self.labels[self.fold == number]).mean())
        self.said(f"{number + 1:>3}/{self.count}  {100 * right:.1f} % of the fold as labelled, {duration(run.seconds)}")
        return said

    def _went_on(self, number: int, material: Examples) -> Run | None:
        """A training of this fold that was stopped, to its end; None: there is none that can be gone on with."""
        for path in runs.list_directories(self.place):
            if not path.name.startswith(f"fold-{number}-") or RunDirectory(path).is_locked():
                continue
            try:
                if RunDirectory(path).current().get("last"):
                    return workbench.resume(path, trust=self.trust, material=material)
            except (NetwrightError, ValueError):
                pass
            shutil.rmtree(path, ignore_errors=True)  # killed before its first checkpoint, or damaged
        return None


# ------------------------------------------------------------------------------------------------ conclusions


def _concluded(
    name: str, material: Examples, judged: list[_Judged], folds: int, place: Path, notes: tuple[str, ...]
) -> LabelCheck:
    given = np.concatenate([each.labels for each in judged])
    p = np.concatenate([each.probabilities for each in judged])
    found = confident.learn(given, p)
    sizes, hits = np.bincount(given), np.bincount(given[p.argmax(1) == given], minlength=int(given.max()) + 1)
    # The mean over classes: always the most frequent class is right in most of 100 where classes are unequal.
    agreement, chance = float((hits[sizes > 0] / sizes[sizes > 0]).mean()), 1 / int(np.count_nonzero(sizes))
    judges = bool(agreement - chance >= LEAST_SKILL * (1 - chance))
    stem = "labels" if folds else "labels-held-out"  # two checks of a run have two lists
    whose = np.repeat(np.arange(len(judged)), [len(each.labels) for each in judged])
    within = np.concatenate([np.arange(len(each.labels)) for each in judged])
    listed = []
    for at in found.suspects(given).tolist() if judges else ():
        part = judged[whose[at]]
        meant = int(found.suggested[at])
        position = int(part.positions[within[at]])
        listed.append(Suspect(
            part=part.part, position=position, name=material.parts[part.part].name(position),
            given=material.classes[given[at]], suggested=material.classes[meant],
            score=round(float(found.score[at]), 6),
            given_probability=float(p[at, given[at]]), suggested_probability=float(p[at, meant]),
        ))  # fmt: skip
    return LabelCheck(
        subject=name, classes=material.classes, judged={each.part: len(each.labels) for each in judged}, folds=folds,
        agreement=agreement, chance=chance, judges=judges,
        noise=found.noise if judges else (0.0, 0.0, 1.0),
        thresholds=tuple(float(v) if np.isfinite(v) else None for v in found.thresholds),
        joint=tuple(tuple(int(v) for v in row) for row in found.joint), suspects=tuple(listed),
        file=str(place / f"{stem}.csv"), page=str(place / f"{stem}.html"), notes=notes,
    )  # fmt: skip


def rows(found: LabelCheck) -> list[tuple[str, ...]]:
    """The list as ``data.leave_out`` reads it, without its head (``COLUMNS``)."""
    return [
        (each.part, each.name, each.given, each.suggested, f"{each.score:.4f}", f"{each.given_probability:.4g}",
         f"{each.suggested_probability:.4g}") for each in found.suspects
    ]  # fmt: skip


def _write_list(path: Path, found: LabelCheck) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(found))
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace_file(path, text.getvalue())


def _cards(material: Examples, judged: list[_Judged], chosen: tuple[Suspect, ...]) -> list[cards.ExampleCard]:
    made: dict[tuple[str, int], cards.ExampleCard] = {}
    numbers = {name: place for place, name in enumerate(material.classes)}
    for part in {each.part for each in judged}:
        mine = [each for each in chosen if each.part == part]
        size = len(material.parts[part])
        decisions, sure = np.zeros(size, np.int64), np.zeros(size)
        for each in mine:
            decisions[each.position], sure[each.position] = numbers[each.suggested], each.suggested_probability
        positions = [each.position for each in mine]
        drawn = cards.cards(material, part, positions, decisions=decisions, probabilities=sure)
        made |= {(part, position): card for position, card in zip(positions, drawn, strict=True)}
    return [made[each.part, each.position] for each in chosen]
