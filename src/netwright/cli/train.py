"""``netwright train``."""

from __future__ import annotations

import shlex
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from netwright import runs
from netwright.cli import printing
from netwright.cli.diagnose import missed
from netwright.cli.options import OUTPUT, FailOn, Json, RecipeFlags, Set, Trust, option, recipe_of
from netwright.environment import torchrun
from netwright.errors import NetworkError, NetwrightError, UsageError, users_line
from netwright.recipe import override

if TYPE_CHECKING:
    from netwright.recipe import Recipe
    from netwright.records import Severity
    from netwright.workbench import Run


def train(
    subject: Annotated[
        Path | None, option("a recipe (.yaml), or data: digits, a file or a folder. Left out: the default recipe")
    ] = None,
    /,
    *,
    flags: RecipeFlags | None = None,
    set_: Set = None,
    from_: Annotated[
        str | None,
        option("begin with the weights of a run or a file (.safetensors, .pt)", name="--from", metavar="RUN|FILE"),
    ] = None,
    resume: Annotated[
        str | None, option("go on with an interrupted run to the same bits; last is the newest", metavar="RUN|last")
    ] = None,
    out: Annotated[
        Path | None, option(f"the folder of runs; {runs.DEFAULT_FOLDER} if left out", metavar="FOLDER")
    ] = None,
    trust: Trust = False,
    fail_on: FailOn = None,
    print_recipe: Annotated[
        bool, option("read the data, print the recipe with every choice made, and stop", group=OUTPUT)
    ] = False,
    json: Json = False,
    quiet: Annotated[bool, option("no progress; print the run's directory alone", group=OUTPUT)] = False,
    tensorboard: Annotated[
        Path | None, option("also write TensorBoard events there", metavar="FOLDER", group=OUTPUT)
    ] = None,
) -> int:
    """Train a network on data, or as a recipe says.

    What is not said is chosen from the data's type, shape, number of examples and classes. Defaults give way to the
    recipe file, that to --set, that to flags. Ctrl-C saves and says how to go on.
    """
    folder = out or Path(runs.DEFAULT_FOLDER)
    if resume is not None:
        _refuse_changes(subject, [*(set_ or []), *([f"network.weights={from_}"] if from_ else [])], flags, print_recipe)
        return _carry_out(lambda **how: _resumed(resume, folder, trust, how), folder, json, quiet, tensorboard, fail_on)
    recipe = recipe_of(None if subject is None else str(subject), set_, flags)
    if from_ is not None:
        path = Path(from_).expanduser()
        recipe = override(recipe, {"network.weights": str(path if path.is_file() else runs.find(from_, folder))})
    if print_recipe:
        others = {"--tensorboard": tensorboard, "--out": out, "--quiet": quiet, "--fail-on": fail_on}
        _refuse("--print-recipe", others)
        return _print_recipe(recipe, folder, json)
    if fail_on and not recipe.watch.enabled:
        raise UsageError("--fail-on", "watch.enabled=false", "a training that is watched", "--set watch.enabled=true")
    return _carry_out(lambda **how: _trained(recipe, folder, trust, how), folder, json, quiet, tensorboard, fail_on)


def _refuse(option_given: str, others: dict[str, Any]) -> None:
    given = [name for name, value in others.items() if value]
    if given:
        raise UsageError(option_given, f"together with {', '.join(given)}", "one or the other", "leave one out")


def _refuse_changes(subject: Path | None, assignments: Any, flags: RecipeFlags | None, print_recipe: bool) -> None:
    """A run is resumed as it is: whatever would change it is another run."""
    changed = [f"--set {assignment}" for assignment in assignments or []]
    changed += [f"{key}={value}" for key, value in (flags.changes() if flags else {}).items()]
    changed += [str(subject)] if subject is not None else []
    if changed:
        raise UsageError(
            "--resume", f"together with {', '.join(changed)}", "the run as it is", "train, which starts a new run"
        )
    _refuse("--resume", {"--print-recipe": print_recipe})


def _print_recipe(recipe: Recipe, folder: Path, json: bool) -> int:
    from netwright import building, sourcing, starting
    from netwright.data.opening import open_material
    from netwright.recipe import defaults, to_dict, writing

    begun = starting.open_start(recipe, folder)
    recipe = recipe if begun is None else begun.recipe(recipe)
    material = open_material(recipe.data, begun.inputs.text if begun is not None and begun.inputs is not None else None)
    resolved = defaults.resolve(recipe, sourcing.facts(material, None))
    building.network_file(resolved, material)  # an unknown network stops here as it would in training
    if json:
        printing.document(to_dict(resolved))
    else:
        printing.line(writing.dump(resolved), end="")
    return 0


def _trained(recipe: Recipe, folder: Path, trust: bool, how: dict[str, Any]) -> Run:
    from netwright import workbench

    try:
        return workbench.train(recipe, folder=folder, trust=trust, **how)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        inside = any(frame.name == "_call_impl" for frame in frames)  # of a module
        if isinstance(error, NetwrightError | MemoryError) or ":" not in recipe.network.name or not inside:
            raise
        message, line = (str(error).strip().splitlines() or [""])[0], users_line(error)
        own = Path(recipe.network.name.rpartition(":")[0]).name in line
        raise NetworkError(
            recipe.network.name, f"{type(error).__name__}{message and f': {message}'}{f'; at {line}' * own}",
            "a network that runs on these examples",
            f"netwright inspect {shlex.quote(recipe.network.name)} --input CxHxW, which names the layer",
        ) from error  # fmt: skip


def _resumed(subject: str, folder: Path, trust: bool, how: dict[str, Any]) -> Run:
    directory = runs.find(subject, folder)
    from netwright import workbench

    if runs.RunDirectory(directory).current().get("finished"):
        text = f"{directory} is finished; there is nothing to go on with."
        if parent := runs.summarize(directory).parent:
            text += f" It was compressed from {parent}; to train it on:  netwright compress {directory} heal=5"
        how["shown"].say(text)
    return workbench.resume(directory, trust=trust, **how)


def _carry_out(
    action: Any, folder: Path, json: bool, quiet: bool, tensorboard: Path | None, fail_on: Severity | None
) -> int:
    sinks = []
    if tensorboard is not None:
        from netwright.adapters.tensorboard import TensorBoardLog

        sinks.append(TensorBoardLog(tensorboard))
    from netwright.reporting.progress import Progress
    from netwright.training.recording import Interrupted

    before = {path: _changed(path) for path in runs.list_directories(folder)}
    processes = torchrun()
    leads = processes is None or processes[0] == 0  # of several processes one speaks
    if processes is not None and fail_on:
        raise UsageError("--fail-on", f"{processes[1]} processes, which are not watched", "one process")
    try:
        run = action(shown=Progress(quiet=quiet or not leads), sinks=sinks if leads else [])
    except Interrupted as stop:
        if not leads:
            return 130
        name = str(stop) or _touched(folder, before)
        elsewhere = "" if folder == Path(runs.DEFAULT_FOLDER) else f" --out {folder}"
        start = "netwright" if processes is None else f"torchrun --nproc-per-node {processes[1]} -m netwright"
        printing.note(f"Stopped and saved. Go on with:  {start} train --resume {Path(name).name}{elsewhere}")
        return 130
    if not leads:
        return 0
    if json:
        printing.document(run.to_dict())
    elif quiet:
        printing.line(str(run.directory))
    else:
        _summarize(run)
    return missed(run.diagnosis, fail_on) if fail_on and run.diagnosis else 0


def _changed(directory: Path) -> int:
    current = directory / "current.json"
    return current.stat().st_mtime_ns if current.exists() else 0


def _touched(folder: Path, before: dict[Path, int]) -> str:
    """The run that was written since ``before``, the newest if there are several."""
    changed = {path: _changed(path) for path in runs.list_directories(folder)}
    changed = {path: when for path, when in changed.items() if when != before.get(path)}
    return max(changed, key=lambda path: changed[path]).name if changed else "last"


def _summarize(run: Run) -> None:
    """The outcome in a few lines: metrics, which epoch is kept, where the report is, what to do next."""
    from netwright.reporting import terminal

    current = run.files.current()
    printing.show(
        terminal.summary(run.files.summary(), report=str(run.directory / "report.html"), judged=run.diagnosis)
    )
    kept, epochs = current.get("kept"), current.get("epoch")
    epoch = current.get("best_epoch") if kept == "best" else epochs
    best = ", the best on validation" if kept == "best" else ""
    printing.line(f"kept: the weights after epoch {epoch} of {epochs}{best}")
    printing.line(f"next: netwright report {run.directory} --open   ·   netwright predict {run.directory} FILE…")
