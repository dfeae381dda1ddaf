"""The main path: the verbs in order. Only this module knows it; ``preparing`` and ``conducting`` are its two halves.

recipe → examples → resolved recipe → pieces → run directory → loop → kept weights → metrics and pictures → report
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netwright import building, conducting, environment, files, preparing, runs, sourcing, starting
from netwright.building import Loss, Material
from netwright.conducting import finish_run, score
from netwright.data.examples import Examples
from netwright.data.handed import from_python
from netwright.data.opening import finish, open_material
from netwright.data.streams import TextStream
from netwright.diagnosis.judging import Diagnosis
from netwright.errors import NetworkError, RunError, UsageError
from netwright.observations import keeping as observed
from netwright.preparing import load_weights
from netwright.preprocess import ArrayPreprocess, InputFile
from netwright.recipe import defaults, override
from netwright.recipe.schema import Recipe
from netwright.records import Finding, NetworkFile
from netwright.reporting import page
from netwright.reporting.progress import Progress
from netwright.runs import RunDirectory
from netwright.training import randomness
from netwright.training import state as states
from netwright.training.freezing import Freezing
from netwright.training.recording import Sink, clean

__all__ = ["Run", "finish_run", "fit", "load", "load_weights", "report", "resume", "score", "train"]

SHOWN_NOTES = 5


@dataclasses.dataclass
class Run:
    """A finished or resumable run: its directory, and what can be asked of it."""

    directory: Path
    trust: bool = False
    _network: nn.Module | None = dataclasses.field(default=None, repr=False)

    @property
    def files(self) -> RunDirectory:
        return RunDirectory(self.directory)

    @property
    def recipe(self) -> Recipe:
        return self.files.recipe()

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """``{"validation": {"loss": ..., "accuracy": ...}, "test": {...}}`` of the kept weights."""
        return dict(self.files.current().get("metrics", {}))

    @property
    def seconds(self) -> float:
        """Of training, over all resumes."""
        return float(self.files.current().get("seconds", 0.0))

    @property
    def findings(self) -> list[Finding]:
        """What was judged last, root causes first; none where the run was not watched."""
        found = self.diagnosis
        return list(found.findings) if found else []

    @property
    def diagnosis(self) -> Diagnosis | None:
        """The findings and everything around them, as they were judged in the training; None: it was not watched."""
        reader = self.files.reader()
        try:
            kept = reader.detail(observed.DIAGNOSIS)
        finally:
            reader.close()
        return Diagnosis.from_dict(kept) if kept else None

    @property
    def inputs(self) -> InputFile:
        return self.files.read_record("preprocess.json", InputFile)

    @property
    def network(self) -> nn.Module:
        """The network with the weights that the run stands for, in evaluation mode."""
        if self._network is None:
            network = preparing.rebuilt(self.files, self.files.read_record("network.json", NetworkFile), self.trust)
            try:
                load_weights(self.files, network)
            except NetworkError as error:
                got = f"a network that the run's weights do not fit ({error.where}: {error.got})"
                raise RunError(str(self.files.path / "network.json"), got, error.expected, runs.RESTORE) from error
            self._network = network.eval()
        return self._network

    def report(self) -> Path:
        return report(self)

    def predict(self, inputs: Any, **options: Any) -> Any:
        from netwright.predicting import predict

        return predict(self, inputs, **options)

    def to_dict(self) -> dict[str, Any]:
        """What ``netwright train --json`` prints."""
        return {
            "run": str(self.directory),
            "metrics": self.metrics,
            "seconds": self.seconds,
            "findings": [finding.to_dict() for finding in self.findings],
        }


# ------------------------------------------------------------------------------------- train


def train(
    recipe: Recipe,
    *,
    folder: Path | str = runs.DEFAULT_FOLDER,
    shown: Progress | None = None,
    sinks: Sequence[Sink] = (),
    trust: bool = False,
    network: nn.Module | None = None,
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    material: Material | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Run:
    """Train what the recipe says, into a new directory under ``folder``, and write its report.

    ``network``, ``loss``, ``optimizer``, ``material`` (examples or batches) and ``start`` (weights to begin with) stand
    in for what the recipe names; ``fit`` hands them over. ``trust``: also import a network from another user's file.
    """
    files.require_place(Path(folder))  # before what may take minutes
    processes = preparing.known_processes()
    requested = recipe
    begun = starting.open_start(recipe, folder, start)
    if begun is not None:
        recipe = begun.recipe(recipe, data=material is None)
    known_text = begun.inputs.text if begun is not None and begun.inputs is not None else None
    material = open_material(recipe.data, known_text) if material is None else material
    _say_what_was_noted(material, shown)
    with preparing.global_state(recipe):
        known = sourcing.facts(material, network)
        handed_over = sourcing.from_python(recipe, material, loss, optimizer)
        resolved = defaults.resolve(override(recipe, handed_over), known)
        resolved = override(resolved, sourcing.decided(recipe, material))
        if isinstance(material, TextStream):
            material = sourcing.settled(resolved, material)
        place = preparing.placed(resolved, processes)
        randomness.seed(resolved.seed)
        inputs = sourcing.input_file(material, known.outputs)
        record = preparing.network_record(resolved, material, network)
        record = record if begun is None else begun.record(record)
        network = preparing.built(record, trust, network)
        record = building.refitted(resolved, record, network)
        building.initialized(resolved, network, material)
        account = None
        if begun is not None:
            record, account = begun.begin(network, record, inputs.classes, inputs.targets)
            if shown is not None:
                for line in starting.sentences(account):
                    shown.say(line)
        network = network.to(place)
        own = {key: record.arguments[key] for key in ("width", "depth", "dropout") if key in record.arguments}
        resolved = override(resolved, {f"network.{key}": value for key, value in own.items()})
        freezing = Freezing(network, resolved.train)
        freezing(0)
        resolved, measured = preparing.measured(resolved, material, network, inputs, place, loss)
        if processes is not None:
            resolved, measured = processes.same((resolved, measured))
        pieces = preparing.pieces(resolved, material, network, inputs, place, loss, optimizer, freezing, processes)
        about = resolved, requested, record, inputs, material, measured, account
        if processes is None:
            run = preparing.new_run(Path(folder), *about)
            watched = conducting.open_watch(resolved, pieces, inputs, material, loss)
            return _reported(run, conducting.carry_out(run, resolved, pieces, states.State(), shown, sinks, watched))
        led = preparing.new_run(Path(folder), *about) if processes.leads else None
        path = processes.same(led and str(led.path))
        run = led or RunDirectory(path)
        trained = conducting.carry_out(run, resolved, pieces, states.State(), shown, sinks, None, processes)
        return _reported(run, trained)


def resume(
    directory: Path | str,
    *,
    shown: Progress | None = None,
    sinks: Sequence[Sink] = (),
    trust: bool = False,
    network: nn.Module | None = None,
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    material: Material | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Run:
    """Go on with an interrupted run from its last checkpoint, to the same bits; a finished one is returned as it is.

    What came from Python has to be handed over again (``fit(..., resume=RUN)`` does).
    """
    run = RunDirectory(directory)
    if run.current().get("finished"):
        _complete(run)
        return load(run.path, network=network, trust=trust)
    recipe = run.recipe()
    if material is None:
        _require_readable_source(run, recipe)
        material = open_material(recipe.data, run.read_record("preprocess.json", InputFile).text)
    processes = preparing.known_processes()
    leads = processes is None or processes.leads
    if leads:
        run.lock()
    try:
        sourcing.require_same(run.path, run.environment().get("data", {}), material)
        with preparing.global_state(recipe):
            place = preparing.placed(recipe, processes)
            randomness.seed(recipe.seed)
            record = run.read_record("network.json", NetworkFile)
            network = preparing.rebuilt(run, record, trust, network)
            building.initialized(recipe, network, material)
            network = network.to(place)
            inputs = run.read_record("preprocess.json", InputFile)
            preparing.begin_again(run, recipe, network, record, inputs, start)
            pieces = preparing.pieces(
                recipe, material, network, inputs, place, loss, optimizer, Freezing(network, recipe.train), processes
            )
            if leads:
                clean(run)
            state, watched = states.State(), None
            if processes is None:  # while its weights are those of the start
                watched = conducting.open_watch(recipe, pieces, inputs, material, loss)
            if run.current().get("last"):
                state = states.load(run.checkpoint("last"), network, pieces.parts)
                if state.batch and not pieces.sources.train.exact:
                    state.batch, state.tally = (
                        0,
                        {},
                    )  # the user's own loader cannot be wound forward: the epoch starts again
            if shown is not None and environment.snapshot()["versions"] != run.environment().get("versions"):
                shown.say("The installed versions differ from the run's: the bits may differ too.")
            return _reported(run, conducting.carry_out(run, recipe, pieces, state, shown, sinks, watched, processes))
    finally:
        run.unlock()


def fit(
    network: nn.Module | str,
    train_data: Any,
    validation: Any = None,
    *,
    test: Any = None,
    loss: str | Loss = "auto",
    optimizer: str | torch.optim.Optimizer = "auto",
    lr: float | str = "auto",
    batch_size: int | str = "auto",
    epochs: int | str = "auto",
    seed: int = 0,
    name: str = "",
    settings: Mapping[str, Any] | None = None,
    folder: Path | str = runs.DEFAULT_FOLDER,
    start: Run | Path | str | Mapping[str, torch.Tensor] | None = None,
    resume_from: Path | str | None = None,
    quiet: bool = False,
) -> Run:
    """Train a network on data that are already in Python; the network is trained in place.

    ``network``: any ``nn.Module``, or a name. ``train_data``, ``validation``, ``test``: ``(X, y)`` of arrays or tensors
    (X a tuple or dict of them for several inputs), a ``Dataset``, a ``DataLoader``, or the name or path of a source.
    ``loss``, ``optimizer``: names or the objects themselves. ``settings``: other recipe keys, ``{"train.clip": 1.0}``.
    ``start``: weights to begin with: a run, a file of weights, or a ``state_dict``; what of it does not fit stops
    before training. ``resume_from``: the directory of an interrupted run of the same call.

    A module of your own gets float arrays as they are, because you will call it without netwright too; for a network by
    name, and for ``uint8`` pictures, they are normalised (``data.normalize`` decides otherwise).
    """
    for where, given, call in (
        ("network", network, "(…)"), ("loss", loss, "()"), ("optimizer", optimizer, "(network.parameters(), lr=0.01)"),
    ):  # fmt: skip
        if isinstance(given, type):
            raise UsageError(where, f"the class {given.__name__}", "an object of it", f"{given.__name__}{call}")
    changes: dict[str, Any] = {
        "seed": seed,
        "name": name,
        "train.lr": lr,
        "train.batch_size": batch_size,
        "train.epochs": epochs,
    }
    changes |= {"objective.loss": loss if isinstance(loss, str) else "python"}
    changes |= {"train.optimizer": optimizer if isinstance(optimizer, str) else "python"}
    changes |= {"network.name": network if isinstance(network, str) else "python"}
    if start is not None:
        from_run = start.directory if isinstance(start, Run) else start
        changes["network.weights"] = starting.HANDED if isinstance(from_run, Mapping) else str(from_run)
    if isinstance(train_data, str | Path):
        held_out = {
            f"data.{part}": str(value)
            for part, value in (("validation", validation), ("test", test))
            if value is not None
        }
        changes |= {"data.source": str(train_data), **held_out}
    else:
        changes |= {"data.source": "python", "data.format": "python"}
    recipe = override(Recipe(), changes | dict(settings or {}))
    material: Material | None = None
    if recipe.data.format == "python":
        material = from_python(train_data, validation, test, recipe.data, targets_as_given=not isinstance(loss, str))
        if isinstance(material, Examples):
            floats = all(isinstance(record, ArrayPreprocess) for record in material.preprocess)
            if floats and recipe.data.normalize == "auto" and not isinstance(network, str):
                recipe = override(recipe, {"data.normalize": False})
            material = finish(material, recipe.data)
    objects: dict[str, Any] = {
        "network": None if isinstance(network, str) else network,
        "loss": None if isinstance(loss, str) else loss,
        "optimizer": None if isinstance(optimizer, str) else optimizer,
        "material": material,
        "start": start if isinstance(start, Mapping) else None,
        "shown": Progress(quiet=quiet),
    }
    if resume_from is not None:
        return resume(runs.find(resume_from, folder), trust=True, **objects)
    return train(recipe, folder=folder, trust=True, **objects)


def _say_what_was_noted(material: Material, shown: Progress | None) -> None:
    """What was left out of the data, or read otherwise than it stands there."""
    notes = getattr(material, "skipped", ())
    if shown is not None:
        for note in notes[:SHOWN_NOTES]:
            shown.say(f"note: {note}")
        if len(notes) > SHOWN_NOTES:
            shown.say(f"note: and {len(notes) - SHOWN_NOTES} more, in environment.json")


def _require_readable_source(run: RunDirectory, recipe: Recipe) -> None:
    if recipe.data.format == "python":
        raise RunError(
            str(run.path),
            "a run whose data came from Python",
            "the same data again",
            "netwright.fit(..., resume_from=RUN)",
        )


# ---------------------------------------------------------------------------- after training


def load(
    subject: Path | str,
    *,
    folder: Path | str = runs.DEFAULT_FOLDER,
    network: nn.Module | None = None,
    trust: bool = False,
) -> Run:
    """The run that ``subject`` names (a directory, a name, ``last``); ``network`` for one that was built in Python."""
    run = Run(runs.find(subject, folder), trust)
    if network is not None:
        record = run.files.read_record("network.json", NetworkFile)
        if record.kind == "instance":
            network = preparing.rebuilt(run.files, record, trust, network)
        load_weights(run.files, network)
        run._network = network.eval()
    return run


def _reported(run: RunDirectory, network: nn.Module | None) -> Run:
    """A run that was carried out, with its report; without a network this process only took part."""
    if network is None:
        return Run(run.path, trust=True)
    finished = Run(run.path, trust=True, _network=network)
    report(finished)
    return finished


def _complete(run: RunDirectory) -> None:
    """The report of a run that was killed between its last checkpoint and its report, where the place can be written
    and no process is at it."""
    if (run.path / page.FILE_NAME).exists():
        return
    try:
        run.lock()
    except RunError:
        return
    try:
        clean(run)
        report(run.path)
    finally:
        run.unlock()


def report(run: Run | Path | str) -> Path:
    """Write ``report.html`` into the run's directory."""
    directory = run.directory if isinstance(run, Run) else runs.find(run)
    return page.write_report(directory)
