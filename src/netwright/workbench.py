"""The main path: the verbs in order. Only this module knows it.

recipe → examples → resolved recipe → pieces → run directory → loop → kept weights → metrics and pictures → report
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from torch import nn

from netwright import building, environment, files, overseeing, runs, sourcing, starting
from netwright.building import Loss, Material
from netwright.data import windows
from netwright.data.examples import Examples
from netwright.data.handed import from_python
from netwright.data.opening import finish, open_material
from netwright.data.streams import TextStream
from netwright.diagnosis.judging import Diagnosis
from netwright.errors import NetworkError, NetwrightError, RunError
from netwright.nn import keeping, weights
from netwright.nn.surgery import replay
from netwright.observations import Observations
from netwright.observations import keeping as observed
from netwright.observations.experiments import Replay
from netwright.optim import constraints, range_test, schedules
from netwright.preprocess import ArrayPreprocess, InputFile, input_shape
from netwright.recipe import defaults, override
from netwright.recipe.schema import Recipe
from netwright.records import Finding, NetworkFile, StartRecord
from netwright.reporting import cards, page
from netwright.reporting.progress import Progress
from netwright.runs import RunDirectory
from netwright.sourcing import Sources
from netwright.training import layout, randomness
from netwright.training import loop as loops
from netwright.training import state as states
from netwright.training.averaging import Average
from netwright.training.evaluating import Evaluation, evaluate, examine, forgotten
from netwright.training.freezing import Freezing
from netwright.training.memory import Memory
from netwright.training.precision import Precision
from netwright.training.recording import DivergedError, Recorder, Sink, clean
from netwright.training.snapshots import Snapshots
from netwright.watching import Watch

if TYPE_CHECKING:
    from netwright.training.distribution import Processes

SHOWN_MISTAKES = 24
SCATTER_POINTS = 500
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
            network = _rebuilt(self.files, self.files.read_record("network.json", NetworkFile), self.trust)
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
    processes = _processes()
    requested = recipe
    begun = starting.open_start(recipe, folder, start)
    if begun is not None:
        recipe = begun.recipe(recipe, data=material is None)
    known_text = begun.inputs.text if begun is not None and begun.inputs is not None else None
    material = open_material(recipe.data, known_text) if material is None else material
    _say_what_was_noted(material, shown)
    with _global_state(recipe):
        known = sourcing.facts(material, network)
        handed_over = sourcing.from_python(recipe, material, loss, optimizer)
        resolved = defaults.resolve(override(recipe, handed_over), known)
        resolved = override(resolved, sourcing.decided(recipe, material))
        if isinstance(material, TextStream):
            material = sourcing.settled(resolved, material)
        place = _place(resolved, processes)
        randomness.seed(resolved.seed)
        inputs = sourcing.input_file(material, known.outputs)
        record = _network_record(resolved, material, network)
        record = record if begun is None else begun.record(record)
        network = _built(record, trust, network)
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
        resolved, measured = _measured(resolved, material, network, inputs, place, loss)
        if processes is not None:
            resolved, measured = processes.same((resolved, measured))
        pieces = _pieces(resolved, material, network, inputs, place, loss, optimizer, freezing, processes)
        about = resolved, requested, record, inputs, material, measured, account
        if processes is None:
            run = _new_run(Path(folder), *about)
            watched = _watched(resolved, pieces, inputs, material, loss)
            return _carry_out(run, resolved, pieces, states.State(), shown, sinks, watched)
        led = _new_run(Path(folder), *about) if processes.leads else None
        path = processes.same(led and str(led.path))
        run = led or RunDirectory(path)
        return _carry_out(run, resolved, pieces, states.State(), shown, sinks, None, processes)


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
        return load(run.path, network=network, trust=trust)
    recipe = run.recipe()
    if material is None:
        _require_readable_source(run, recipe)
        material = open_material(recipe.data, run.read_record("preprocess.json", InputFile).text)
    processes = _processes()
    leads = processes is None or processes.leads
    if leads:
        run.lock()
    try:
        sourcing.require_same(run.path, run.environment().get("data", {}), material)
        with _global_state(recipe):
            place = _place(recipe, processes)
            randomness.seed(recipe.seed)
            record = run.read_record("network.json", NetworkFile)
            network = _rebuilt(run, record, trust, network)
            building.initialized(recipe, network, material)
            network = network.to(place)
            inputs = run.read_record("preprocess.json", InputFile)
            _begin_again(run, recipe, network, record, inputs, start)
            pieces = _pieces(
                recipe, material, network, inputs, place, loss, optimizer, Freezing(network, recipe.train), processes
            )
            if leads:
                clean(run)
            state, watched = states.State(), None
            if processes is None:
                watched = _watched(recipe, pieces, inputs, material, loss)  # while its weights are those of the start
            if run.current().get("last"):
                state = states.load(run.checkpoint("last"), network, pieces.parts)
                if state.batch and not pieces.sources.train.exact:
                    state.batch, state.tally = (
                        0,
                        {},
                    )  # the user's own loader cannot be wound forward: the epoch starts again
            if shown is not None and environment.snapshot()["versions"] != run.environment().get("versions"):
                shown.say("The installed versions differ from the run's: the bits may differ too.")
            return _carry_out(run, recipe, pieces, state, shown, sinks, watched, processes)
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


def _processes() -> Processes | None:
    """Those of torchrun, of which this is one; None: this process is alone."""
    known = environment.torchrun()
    if known is None:
        return None
    from netwright.training.distribution import Processes

    return Processes(*known)


def _place(recipe: Recipe, processes: Processes | None) -> torch.device:
    place = building.device(recipe)
    return place if processes is None else processes.place(place)


@contextlib.contextmanager
def _global_state(recipe: Recipe) -> Iterator[None]:
    """The recipe's threads for a while; the user's random generators and thread count come back."""
    threads = torch.get_num_threads()
    with randomness.kept():
        if recipe.train.threads:
            torch.set_num_threads(recipe.train.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


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


def _begin_again(
    run: RunDirectory, recipe: Recipe, network: nn.Module, record: NetworkFile, inputs: InputFile,
    start: Mapping[str, torch.Tensor] | None,
) -> None:  # fmt: skip
    """The weights that the run began with, as far as they are still there; without a checkpoint they are needed."""
    if not recipe.network.weights:
        return
    needed = not run.current().get("last")
    try:
        begun = starting.open_start(recipe, run.path.parent, start)
        assert begun is not None
        _, account = begun.begin(network, record, inputs.classes, inputs.targets)
    except NetwrightError:
        if needed:
            raise
        return
    if needed and account.sha256 != run.environment().get("start", {}).get("sha256"):
        raise RunError(
            recipe.network.weights, "other weights than the run began with", "the same ones", "train, which starts anew"
        )


def _network_record(recipe: Recipe, material: Material, network: nn.Module | None) -> NetworkFile:
    if network is None:
        return building.network_file(recipe, material)
    shape = input_shape(material.preprocess[0])
    return NetworkFile(
        kind="instance", name=type(network).__qualname__, input_shape=shape, outputs=material.outputs or 0
    )


def _built(record: NetworkFile, trust: bool, network: nn.Module | None = None) -> nn.Module:
    """The network of a record; arguments that one by name cannot use are the recipe's fault, or a damaged file's."""
    try:
        return keeping.build(record, trust=trust, network=network)
    except (TypeError, ValueError, RuntimeError) as error:
        if record.kind != "zoo" or isinstance(error, NetwrightError):
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in record.arguments.items()) or "no arguments"
        raise NetworkError(
            f"network {record.name}", f"{given} ({error})", "arguments that it can be built with",
            "other values of network.width, network.depth or network.arguments",
        ) from error  # fmt: skip


def _rebuilt(run: RunDirectory, record: NetworkFile, trust: bool, network: nn.Module | None = None) -> nn.Module:
    """The network of a run's own record. Raises ``RunError`` that names the file where nothing can be built of it; what
    goes wrong in code of the user's, and a lack of trust, stay what they are."""
    plain = None
    try:
        plain = keeping.build(msgspec.structs.replace(record, surgeries=()), trust=trust, network=network)
        return replay(plain, record.surgeries)
    except (LookupError, AttributeError, ArithmeticError, AssertionError, TypeError, ValueError, RuntimeError,
            MemoryError) as error:  # fmt: skip
        if plain is None and record.kind != "zoo":
            raise
        got = f"a damaged file: no {record.name} can be built of it ({(str(error).splitlines() or ['?'])[0]})"
        raise RunError(str(run.path / "network.json"), got, "what the run was made with", runs.RESTORE) from error


def _measured(
    recipe: Recipe, material: Material, network: nn.Module, inputs: InputFile, place: torch.device, loss: Loss | None
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with device, threads, layout and, if asked for, the rate of a range test; and the evidence."""
    changes: dict[str, Any] = {"train.device": str(place), "train.threads": torch.get_num_threads()}
    measured: dict[str, Any] = {}
    objective = building.objective(recipe, inputs, material, loss)
    batches = sourcing.open_batches(recipe, material, place).train
    with randomness.kept():
        if recipe.train.layout == "auto":
            first = next(iter(batches.epoch(0)))
            measured["layout"] = layout.choose(network, objective, first, Precision(recipe.train.precision, place))
            changes["train.layout"] = measured["layout"]["layout"]
        if recipe.train.lr == "range-test":
            probe = override(recipe, {"train.lr": 1.0})
            tested = range_test.range_test(
                network, objective.loss, batches.epoch(0), lambda copied: building.optimizer(probe, copied)
            )
            measured["range_test"] = tested.to_dict()
            changes["train.lr"] = tested.suggestion
    return override(recipe, changes), measured


def _new_run(
    folder: Path, resolved: Recipe, requested: Recipe, record: NetworkFile, inputs: InputFile, material: Material,
    measured: dict[str, Any], account: StartRecord | None,
) -> RunDirectory:  # fmt: skip
    """A locked directory with everything that is known before the first step."""
    name = resolved.name or Path(resolved.data.source).name.split(".")[0] or "run"
    run = RunDirectory(runs.create(folder, name)).lock()
    about = {
        "started": datetime.datetime.now().isoformat(timespec="seconds"),
        "measured": measured,
        "data": sourcing.fingerprint(material),
        "exact_resume": bool(getattr(material, "exact", True)),
        "skipped": list(getattr(material, "skipped", ())),
    }
    if account is not None:
        about["start"] = account.to_dict()
    run.write_json("environment.json", environment.snapshot() | about)
    run.write_record("network.json", record)
    run.write_record("preprocess.json", inputs)
    run.write_recipe(resolved, requested)
    return run


@dataclasses.dataclass
class _Pieces:
    job: loops.Job
    sources: Sources
    parts: dict[str, Any]  # what a checkpoint holds beside the weights
    average: Average | None


def _pieces(
    recipe: Recipe, material: Material, network: nn.Module, inputs: InputFile, place: torch.device, loss: Loss | None,
    optimizer: torch.optim.Optimizer | None, freezing: Freezing, processes: Processes | None = None,
) -> _Pieces:  # fmt: skip
    if recipe.train.layout == "channels_last":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sources = sourcing.open_batches(recipe, material, place, None if processes is None else processes.share)
    freezing(int(recipe.train.epochs))  # the optimiser holds what will ever learn
    if optimizer is None:
        optimizer = building.optimizer(recipe, network)
    else:
        constraints.attach(optimizer, network, recipe.train)
    freezing(0)
    precision, plateau = Precision(recipe.train.precision, place), schedules.Plateau(recipe.train)
    job = loops.Job(
        network=network, objective=building.objective(recipe, inputs, material, loss), optimizer=optimizer,
        rate=lambda step: 1.0, batches=sources.train, precision=precision, epochs=int(recipe.train.epochs),
        accumulate=recipe.train.accumulate, clip=recipe.train.clip,
        before_epoch=lambda state: _at_epoch(state, network, freezing),
    )  # fmt: skip
    if processes is not None:
        processes.require_possible(recipe.train, optimizer)
    by_step = building.rate(recipe, job.epochs, job.steps_per_epoch)
    job.rate = (lambda step: by_step(step) * plateau.factor) if recipe.train.schedule == "plateau" else by_step
    parts: dict[str, Any] = {"optimizer": optimizer, "precision": precision, "plateau": plateau}
    if (memory := Memory(network)).modules:
        parts["memory"] = memory
    average = Average(network, float(recipe.train.average)) if recipe.train.average else None
    return _Pieces(job, sources, parts | ({"average": average} if average else {}), average)


def _at_epoch(state: states.State, network: nn.Module, freezing: Freezing) -> None:
    freezing(state.epoch)
    if state.batch == 0:
        forgotten(network)  # a running text begins again


def score(metrics: dict[str, float]) -> float:
    """What "best" means, higher is better: accuracy where there is one (the smaller loss breaks ties), else −loss."""
    loss = metrics.get("loss", float("nan"))
    loss = loss if np.isfinite(loss) else 1e30
    return metrics["accuracy"] - 1e-9 * min(loss, 1e3) if "accuracy" in metrics else -loss


def _carry_out(
    run: RunDirectory,
    recipe: Recipe,
    pieces: _Pieces,
    state: states.State,
    shown: Progress | None,
    sinks: Sequence[Sink],
    watched: tuple[Watch, float] | None,
    processes: Processes | None = None,
) -> Run:
    """The loop with everything around it; the run is locked before and free afterwards."""
    job, sources = pieces.job, pieces.sources
    if processes is not None:
        _divide(run, recipe, job, state, shown, processes)
        if not processes.leads:
            return _take_part(run, pieces, state, processes)
    log = run.open_log()
    overseer: overseeing.Overseer | None = None
    try:
        log.rewind(state.step)
        held_out, average = sources.validation, pieces.average
        judged = job.network if average is None else average.network
        measure = None if held_out is None else lambda: evaluate(judged, job.objective, held_out, job.precision)
        recorder = Recorder(
            run, log, job, validate=measure, score=score, parts=pieces.parts, sinks=sinks, shown=shown, average=average,
            after_validation=lambda metrics: pieces.parts["plateau"].after_epoch(score(metrics)),
            keep_last=recipe.train.keep == "last" or held_out is None, patience=recipe.train.patience,
            checkpoint_seconds=recipe.train.checkpoint_seconds, snapshots=_snapshots(run, recipe, judged),
        )  # fmt: skip
        recorder.resume(state)
        if watched is not None:
            overseer = _overseer(run, watched, recorder, log, state, shown)
            recorder.join(overseer)
        if shown is not None:
            shown.start(job.epochs, len(job.batches), state.epoch)
        observer: loops.Observer = overseer or recorder
        stoppable = recorder.stoppable
        if processes is not None:
            together = processes.together(job.objective, pieces.parts["plateau"], observer, recorder)
            observer, stoppable = together, together.stoppable
        with stoppable():
            loops.train(job, state, observer)
        if processes is not None:
            processes.release(job)
        if overseer is not None:
            overseer.look_no_longer()
        metrics = finish_run(run, recipe, job, sources, log, state)
        if overseer is not None:
            overseer.conclude(state.seconds, _own_replay(overseer.watch.observations, metrics, sources))
    except DivergedError:
        if overseer is not None:
            overseer.look_no_longer()
            overseer.conclude(state.seconds)
        raise
    finally:
        if overseer is not None:
            overseer.watch.close()
        log.close()
        for sink in sinks:
            sink.close()
        if shown is not None:
            shown.close()
        run.unlock()
    finished = Run(run.path, trust=True, _network=job.network)
    report(finished)
    return finished


def _snapshots(run: RunDirectory, recipe: Recipe, network: nn.Module) -> Snapshots | None:
    if not recipe.train.snapshots:
        return None
    return Snapshots(run, network, int(recipe.train.epochs), recipe.train.snapshots)


def _divide(
    run: RunDirectory, recipe: Recipe, job: loops.Job, state: states.State, shown: Progress | None,
    processes: Processes,
) -> None:  # fmt: skip
    """The job becomes this process's part of it; from here on all go step by step."""
    elsewhere = "" if run.path.parent == Path(runs.DEFAULT_FOLDER) else f" --out {run.path.parent}"
    processes.again = f"torchrun --nproc-per-node {processes.count} -m netwright train --resume {run.name}{elsewhere}"
    processes.divide(job, recipe.train)
    processes.other_randomness(recipe.seed, state.step)
    if shown is not None and processes.leads and recipe.watch.enabled:
        shown.say(f"note: not watched, because {processes.count} processes share the training")


def _take_part(run: RunDirectory, pieces: _Pieces, state: states.State, processes: Processes) -> Run:
    """One of the processes that only compute; process 0 keeps the run."""
    together = processes.together(pieces.job.objective, pieces.parts["plateau"])
    with together.stoppable():
        loops.train(pieces.job, state, together)
    processes.release(pieces.job)
    return Run(run.path, trust=True)


def _watched(
    recipe: Recipe, pieces: _Pieces, inputs: InputFile, material: Material, loss: Loss | None
) -> tuple[Watch, float] | None:
    """A watch over the untrained network, with the seconds that its checks took; None where none is wished."""
    if not recipe.watch.enabled:
        return None
    try:
        return overseeing.watch(recipe, pieces.job, pieces.sources, inputs, material, loss)
    except Exception as error:  # looking on must not keep anyone from training
        warnings.warn(f"the training is not watched: {type(error).__name__}: {error}", stacklevel=2)
        return None


def _overseer(
    run: RunDirectory, watched: tuple[Watch, float], recorder: Recorder, log: runs.Log, state: states.State,
    shown: Progress | None,
) -> overseeing.Overseer:  # fmt: skip
    """The watch with the run's database behind it; what preflight found is told at once."""
    watch, seconds = watched
    known = overseeing.go_on(watch, run, state.step) if state.step else None
    overseer = overseeing.Overseer(watch, recorder, log, shown, known)
    if state.step:
        reader = run.reader()
        overseer.remember(reader.findings())
        reader.close()
    overseer.begin(seconds)
    return overseer


def _own_replay(observations: Observations, metrics: dict[str, dict[str, float]], sources: Sources) -> Replay | None:
    if sources.examples is None or "validation" not in sources.examples.parts:
        return None
    targets = sources.examples.parts["validation"].part_targets()
    return overseeing.as_replay(observations, metrics, targets, sources.examples.task)


def load_weights(run: RunDirectory, network: nn.Module) -> str:
    """Load the weights that a run stands for; returns which checkpoint they are of."""
    kept = "best" if run.current().get("best") else "last"
    folder = run.checkpoint(kept)
    weights.load(network, weights.read(folder / "weights.safetensors"), str(folder))
    return kept


def finish_run(
    run: RunDirectory, recipe: Recipe, job: loops.Job, sources: Sources, log: runs.Log, state: states.State
) -> dict[str, dict[str, float]]:
    """Load the kept weights, measure them, write down what a report shows, and mark the run finished; the metrics."""
    folder = run.checkpoint("best")
    weights.load(job.network, weights.read(folder / "weights.safetensors"), str(folder))
    metrics: dict[str, dict[str, float]] = {}
    for part, batches in (("validation", sources.validation), ("test", sources.test)):
        if batches is not None:
            seen = examine(job.network, job.objective, batches, job.precision, each_one=sources.examples is not None)
            metrics[part] = seen.metrics
            if sources.examples is not None and sources.examples.window is not None:
                metrics[part] = {**seen.metrics, **windows.naive(sources.examples, part)}
            _write_details(log, state.step, part, seen, sources, run.read_record("preprocess.json", InputFile))
    examples = sources.examples
    if examples is not None:
        shown = cards.cards(examples, "train", cards.spread(examples, "train"))
        log.detail("examples", state.step, [card.to_dict() for card in shown])
    log.flush()
    kept = recipe.train.keep if sources.validation is not None else "last"
    epoch = state.best_epoch if kept == "best" else state.epoch
    run.mark(finished=True, kept=kept, kept_epoch=epoch, metrics=metrics, seconds=state.seconds)
    job.network.eval()
    return metrics


def _write_details(log: runs.Log, step: int, part: str, seen: Evaluation, sources: Sources, inputs: InputFile) -> None:
    examples = sources.examples
    if "confusion" in seen.details:
        log.detail(
            "confusion", step, {"split": part, "classes": list(inputs.classes), "counts": seen.details["confusion"]}
        )
    if inputs.task == "regression" and examples is not None:
        chosen = np.linspace(0, len(seen.losses) - 1, min(SCATTER_POINTS, len(seen.losses))).astype(np.int64)
        true = examples.parts[part].part_targets().reshape(len(seen.losses), -1)[chosen, 0]
        predicted = seen.decisions.reshape(len(seen.losses), -1)[torch.from_numpy(chosen), 0]
        name = inputs.targets[0] if inputs.targets else "target"
        log.detail("scatter", step, {"split": part, "target": name, "true": true, "predicted": predicted.numpy()})
    if examples is not None:
        worst = torch.argsort(seen.losses, descending=True)[:SHOWN_MISTAKES].numpy()
        shown = cards.cards(
            examples, part, worst, decisions=seen.decisions.numpy(), probabilities=seen.probabilities.numpy(),
            losses=seen.losses.numpy(), target_names=inputs.targets,
        )  # fmt: skip
        log.detail("mistakes", step, [card.to_dict() for card in shown])


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
            network = _rebuilt(run.files, record, trust, network)
        load_weights(run.files, network)
        run._network = network.eval()
    return run


def report(run: Run | Path | str) -> Path:
    """Write ``report.html`` into the run's directory."""
    directory = run.directory if isinstance(run, Run) else runs.find(run)
    return page.write_report(directory)
