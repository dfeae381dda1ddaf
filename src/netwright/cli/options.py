"""Options that several verbs share; the same option has the same name and meaning in every verb."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from netwright.cli import printing
from netwright.errors import RecipeError, UsageError
from netwright.recipe import Recipe, from_dict, load, override, parse_assignments
from netwright.recipe.reading import choices, flag, parse_value, takes
from netwright.recipe.schema import Loss, Optimizer, Schedule
from netwright.recipe.writing import meanings
from netwright.records import Severity
from netwright.runs import DEFAULT_FOLDER, RunDirectory, find

RECIPE_ENDINGS = (".yaml", ".yml")
RECIPE = Group("Recipe", sort_key=2)
OUTPUT = Group("Output", sort_key=3)
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}  # of times on a command line


def option(
    text: str, *, name: str | tuple[str, ...] | None = None, metavar: str | None = None, group: Group | None = None
) -> Parameter:
    """An option that is given or not; no ``--no-…`` form, no default in the help."""
    more: dict[str, Any] = {} if group is None else {"group": group}
    return Parameter(name=name, help=text, metavar=metavar, negative="", show_default=False, show_choices=False, **more)


Json = Annotated[
    bool, option("print one JSON document on stdout; all else goes to stderr", name="--json", group=OUTPUT)
]
Out = Annotated[Path, option(f"the folder of runs; {DEFAULT_FOLDER} if left out", name="--out", metavar="FOLDER")]
Trust = Annotated[bool, option("load a network's Python file although it changed or is another user's", name="--trust")]

FailOn = Annotated[
    Severity | None,
    option(
        "exit with 3 if a finding is as severe as this: note, warning or error", name="--fail-on", metavar="SEVERITY"
    ),
]

# Flag → the recipe key that it sets.
FLAGS = {
    "task": "data.task",
    "target": "data.target",
    "validation": "data.validation",
    "test": "data.test",
    "limit": "data.limit",
    "channels": "data.channels",
    "size": "data.size",
    "network": "network.name",
    "loss": "objective.loss",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "optimizer": "train.optimizer",
    "lr": "train.lr",
    "schedule": "train.schedule",
    "patience": "train.patience",
    "precision": "train.precision",
    "device": "train.device",
    "threads": "train.threads",
    "seed": "seed",
    "name": "name",
}


def _flag(name: str, metavar: str) -> Parameter:
    """A flag for a recipe key; what it means is said by the schema."""
    key = FLAGS[name]
    words = [word for word in choices(key) if word != "python"]
    text = meanings()[key].partition("; python:")[0] + (f" ({', '.join(words)})" if len(words) > 1 else "")
    return Parameter(
        name=f"--{name.replace('_', '-')}", help=text, metavar=metavar, group=RECIPE,
        show_default=False, show_choices=False,
    )  # fmt: skip


@Parameter(name="*")
@dataclasses.dataclass
class RecipeFlags:
    """The keys that are changed most, as flags. Values are texts here: the recipe itself judges them."""

    task: Annotated[str | None, _flag("task", "TASK")] = None
    target: Annotated[str | None, _flag("target", "COLUMN")] = None
    validation: Annotated[str | None, _flag("validation", "SHARE|PATH")] = None
    test: Annotated[str | None, _flag("test", "SHARE|PATH")] = None
    limit: Annotated[str | None, _flag("limit", "N")] = None
    channels: Annotated[str | None, _flag("channels", "NAMES")] = None
    size: Annotated[str | None, _flag("size", "SIZE")] = None
    network: Annotated[str | None, _flag("network", "NAME")] = None
    loss: Annotated[Loss | str | None, _flag("loss", "NAME")] = None
    epochs: Annotated[str | None, _flag("epochs", "N")] = None
    batch_size: Annotated[str | None, _flag("batch_size", "N")] = None
    optimizer: Annotated[Optimizer | str | None, _flag("optimizer", "NAME")] = None
    lr: Annotated[str | None, _flag("lr", "RATE")] = None
    schedule: Annotated[Schedule | str | None, _flag("schedule", "NAME")] = None
    patience: Annotated[str | None, _flag("patience", "N")] = None
    precision: Annotated[str | None, _flag("precision", "NAME")] = None
    device: Annotated[str | None, _flag("device", "NAME")] = None
    threads: Annotated[str | None, _flag("threads", "N")] = None
    seed: Annotated[str | None, _flag("seed", "N")] = None
    name: Annotated[str | None, _flag("name", "NAME")] = None

    def changes(self) -> dict[str, Any]:
        """The recipe keys that were given, ``{"train.epochs": 3}``."""
        found: dict[str, Any] = {}
        for name, key in FLAGS.items():
            text = getattr(self, name)
            if text is not None:
                word = f"--{name.replace('_', '-')}"
                found[key] = parse_value(key, text, word)
                from_dict({}, {key: found[key]}, changes=flag(word))
        return found


Set = Annotated[
    list[str] | None,
    Parameter(
        name="--set", help="set any recipe key; may be repeated. `netwright list keys` shows all", metavar="KEY=VALUE",
        negative="", group=RECIPE, show_default=False,
    ),
]  # fmt: skip


def is_recipe(subject: str) -> bool:
    return subject.lower().endswith(RECIPE_ENDINGS)


def recipe_of(subject: str | None, assignments: list[str] | None, flags: RecipeFlags | None) -> Recipe:
    """The recipe that a command line asks for: defaults, recipe file, ``--set``, flags, each over the one before."""
    overrides = parse_assignments(assignments or [])
    from_dict({}, overrides)  # by itself: a wrong value stops although a flag rules over it
    flagged = flags.changes() if flags else {}
    if subject is not None and not is_recipe(subject):
        if Path(subject, "recipe.yaml").is_file():
            raise UsageError(
                subject, "a run", "data or a recipe", f"--resume {subject}, or train {Path(subject, 'recipe.yaml')}"
            )
        if overrides.get("data.source", subject) != subject:
            raise RecipeError(
                "--set data.source", f"{overrides['data.source']!r} beside the source {subject!r}", "one source"
            )
        flagged["data.source"] = subject
    for key, value in flagged.items():
        if key in overrides and overrides[key] != value:
            printing.note(f"{key}: the flag's {value!r} rules over --set {key}={overrides[key]}")
    changes = {**overrides, **flagged}
    if subject is not None and is_recipe(subject):
        return load(subject, changes)
    return from_dict({}, changes)


def is_run(subject: str | None, folder: Path) -> bool:
    """Whether a subject is a run, by its path, its name in ``folder``, or as the last one; so is meant what is called
    as a run and is nothing else."""
    if subject is None or subject == "last":
        return subject is not None
    if any((place / "recipe.yaml").is_file() for place in (Path(subject), folder / subject)):
        return True
    return bool(re.search(r"-\d{4}$", subject)) and not Path(subject).exists()


def asked_of(
    subject: str | None, folder: Path, assignments: list[str] | None, flags: RecipeFlags | None
) -> Recipe:  # fmt: skip
    """``recipe_of``; of a run the recipe as it was asked for, with what the command line changes."""
    if subject is None or not is_run(subject, folder):
        return recipe_of(subject, assignments, flags)
    changes = parse_assignments(assignments or [])
    from_dict({}, changes)  # a wrong value is named as it was given
    return override(RunDirectory(find(subject, folder)).trainable(), changes | (flags.changes() if flags else {}))


def explained_takes(key: str) -> str:
    """What a key takes, for a table."""
    return takes(key)


def seconds_of(text: str, where: str = "--time") -> float:
    """``90s``, ``30m``, ``1h30m``, ``0.5h``; a plain number is seconds."""
    parts = re.findall(r"([0-9.]+)\s*(s|min|m|h|d)?", text)
    whole = "".join(number + unit for number, unit in parts)
    try:
        if not parts or whole != text.replace(" ", ""):
            raise ValueError(text)
        seconds = sum(float(number) * UNITS[unit or "s"] for number, unit in parts)
        if not seconds > 0:
            raise ValueError(text)
        return seconds
    except ValueError as error:
        raise UsageError(where, repr(text), "a time above 0, such as 90s, 30m or 1h30m", f"{where} 30m") from error
