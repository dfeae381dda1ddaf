"""The main path: the verbs in order. Only this module knows it.

recipe → examples → resolved recipe → pieces → run directory → loop → kept weights → metrics and pictures → report
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from netwright import building, environment, runs
from netwright.data.examples import Examples, facts
from netwright.data.loading import Batches
from netwright.data.opening import open_source
from netwright.errors import DataError, NetwrightError, RecipeError, RunError
from netwright.nn import keeping, weights
from netwright.optim import range_test, schedules
from netwright.preprocess import InputFile
from netwright.recipe import defaults, difference, override
from netwright.recipe.schema import Recipe
from netwright.records import Finding, NetworkFile
from netwright.reporting import cards, html
from netwright.reporting.progress import Progress
from netwright.runs import RunDirectory
from netwright.training import layout, randomness
from netwright.training import loop as loops
from netwright.training import state as states
from netwright.training.evaluating import Evaluation, examine, evaluate
from netwright.training.precision import Precision
from netwright.training.recording import Recorder, Sink, clean

SHOWN_MISTAKES = 24
SHOWN_EXAMPLES = 24
SCATTER_POINTS = 500


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
        reader = self.files.reader()
        try:
            return reader.findings()
        finally:
            reader.close()

    @property
    def inputs(self) -> InputFile:
        return self.files.read_record("preprocess.json", InputFile)

    @property
    def network(self) -> nn.Module:
        """The network with the weights that the run stands for, in evaluation mode."""
        if self._network is None:
            network = keeping.build(self.files.read_record("network.json", NetworkFile), trust=self.trust)
            load_weights(self.files, network)
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


@dataclasses.dataclass
class Sources:
    """The batches of a run and what is known of them; ``examples`` where they are arrays."""

    train: Batches
    validation: Batches | None
    test: Batches | None
    inputs: InputFile
    outputs: int
    examples: Examples | None = None


# ------------------------------------------------------------------------------------------------ train


def train(
    recipe: Recipe,
    *,
    folder: Path | str = runs.DEFAULT_FOLDER,
    shown: Progress | None = None,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Train what the recipe says, into a new directory under ``folder``, and write its report."""
    examples = open_source(recipe.data)
    with _global_state(recipe):
        resolved = resolve(recipe, examples)
        place = building.device(resolved)
        randomness.seed(resolved.seed)
        record = building.network_file(resolved, examples)
        network = keeping.build(record, trust=True).to(place)
        inputs = building.input_file(examples)
        resolved, measured = _measured(resolved, examples, network, inputs, place)
        run = _new_run(Path(folder), resolved, recipe, record, inputs, examples, measured)
        job, parts, sources = _job(resolved, examples, network, inputs, place)
        return _carry_out(run, resolved, job, parts, sources, states.State(), shown, sinks)


def resume(
    directory: Path | str, *, shown: Progress | None = None, sinks: Sequence[Sink] = (), trust: bool = False
) -> Run:
    """Go on with an interrupted run from its last checkpoint, to the same bits; a finished one is returned as it is."""
    run = RunDirectory(directory)
    current = run.current()
    if current.get("finished"):
        return Run(run.path, trust)
    recipe = run.recipe()
    examples = open_source(recipe.data)
    _require_same_data(run, examples)
    with _global_state(recipe):
        place = building.device(recipe)
        randomness.seed(recipe.seed)
        network = keeping.build(run.read_record("network.json", NetworkFile), trust=trust).to(place)
        inputs = run.read_record("preprocess.json", InputFile)
        job, parts, sources = _job(recipe, examples, network, inputs, place)
        run.lock()
        try:
            clean(run)
            state = states.load(run.checkpoint("last"), network, parts) if current.get("last") else states.State()
        except BaseException:
            run.unlock()
            raise
        if shown is not None and environment.snapshot()["versions"] != run.environment().get("versions"):
            shown.say("The installed versions differ from the run's: the bits may differ too.")
        return _carry_out(run, recipe, job, parts, sources, state, shown, sinks)


def resolve(recipe: Recipe, examples: Examples) -> Recipe:
    """The recipe with what the data decides; what is measured at the start is still open."""
    return defaults.resolve(recipe, facts(examples))


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


def _measured(
    recipe: Recipe, examples: Examples, network: nn.Module, inputs: InputFile, place: torch.device
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with device, threads, layout and, if asked for, the learning rate of a range test; and the evidence."""
    changes: dict[str, Any] = {"train.device": str(place), "train.threads": torch.get_num_threads()}
    measured: dict[str, Any] = {}
    precision = Precision(recipe.train.precision, place)
    objective = building.objective(recipe, inputs, examples.outputs, examples)
    with randomness.kept():
        if recipe.train.layout == "auto":
            batch = next(iter(building.batches(recipe, examples, "train", place, training=True).epoch(0)))
            measured["layout"] = layout.choose(network, objective, batch, precision)
            changes["train.layout"] = measured["layout"]["layout"]
        if recipe.train.lr == "range-test":
            probe = override(recipe, {"train.lr": 1.0})
            tested = range_test.range_test(
                network, objective.loss, building.batches(recipe, examples, "train", place, training=True).epoch(0),
                lambda copy: building.optimizer(probe, copy),
            )  # fmt: skip
            measured["range_test"] = dataclasses.asdict(tested) if dataclasses.is_dataclass(tested) else tested.to_dict()
            changes["train.lr"] = tested.suggestion
    return override(recipe, changes), measured


def _new_run(
    folder: Path, resolved: Recipe, requested: Recipe, record: NetworkFile, inputs: InputFile, examples: Examples,
    measured: dict[str, Any],
) -> RunDirectory:  # fmt: skip
    name = resolved.name or Path(resolved.data.source).name.split(".")[0] or "run"
    run = RunDirectory(runs.create(folder, name)).lock()
    run.write_json(
        "environment.json",
        environment.snapshot()
        | {
            "started": datetime.datetime.now().isoformat(timespec="seconds"),
            "measured": measured,
            "data": fingerprint(examples),
            "skipped": list(examples.skipped),
        },
    )
    run.write_record("network.json", record)
    run.write_record("preprocess.json", inputs)
    run.write_recipe(resolved, requested)
    return run


def _job(
    recipe: Recipe, examples: Examples, network: nn.Module, inputs: InputFile, place: torch.device
) -> tuple[loops.Job, dict[str, Any], Sources]:
    if recipe.train.layout == "channels_last":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sources = Sources(
        train=building.batches(recipe, examples, "train", place, training=True),
        validation=building.batches(recipe, examples, "validation", place) if "validation" in examples.parts else None,
        test=building.batches(recipe, examples, "test", place) if "test" in examples.parts else None,
        inputs=inputs,
        outputs=examples.outputs,
        examples=examples,
    )
    objective = building.objective(recipe, inputs, examples.outputs, examples)
    optimizer = building.optimizer(recipe, network)
    return _assembled(recipe, network, objective, optimizer, sources, place)


def _assembled(
    recipe: Recipe, network: nn.Module, objective: Any, optimizer: torch.optim.Optimizer, sources: Sources, place: torch.device
) -> tuple[loops.Job, dict[str, Any], Sources]:  # fmt: skip
    precision = Precision(recipe.train.precision, place)
    plateau = schedules.Plateau(recipe.train)
    job = loops.Job(
        network=network, objective=objective, optimizer=optimizer, rate=lambda step: 1.0, batches=sources.train,
        precision=precision, epochs=int(recipe.train.epochs), accumulate=recipe.train.accumulate, clip=recipe.train.clip,
    )  # fmt: skip
    by_step = building.rate(recipe, job.epochs, job.steps_per_epoch)
    job.rate = (lambda step: by_step(step) * plateau.factor) if recipe.train.schedule == "plateau" else by_step
    return job, {"optimizer": optimizer, "precision": precision, "plateau": plateau}, sources


def score(metrics: dict[str, float]) -> float:
    """What "best" means, higher is better: accuracy where there is one (the smaller loss breaks ties), else −loss."""
    loss = metrics.get("loss", float("nan"))
    loss = loss if np.isfinite(loss) else 1e30
    return metrics["accuracy"] - 1e-9 * min(loss, 1e3) if "accuracy" in metrics else -loss


def _carry_out(
    run: RunDirectory, recipe: Recipe, job: loops.Job, parts: dict[str, Any], sources: Sources, state: states.State,
    shown: Progress | None, sinks: Sequence[Sink],
) -> Run:  # fmt: skip
    """The loop with everything around it; the run is locked before and free afterwards."""
    log = run.open_log()
    try:
        log.rewind(state.step)
        validate = None
        if sources.validation is not None:
            held_out = sources.validation
            validate = lambda: evaluate(job.network, job.objective, held_out, job.precision)  # noqa: E731
        recorder = Recorder(
            run, log, job, validate=validate, score=score, parts=parts, sinks=sinks, shown=shown,
            after_validation=lambda metrics: parts["plateau"].after_epoch(score(metrics)),
            patience=recipe.train.patience, checkpoint_seconds=recipe.train.checkpoint_seconds,
        )  # fmt: skip
        recorder.resume(state)
        if shown is not None:
            shown.start(job.epochs, len(job.batches), state.epoch)
        with recorder.stoppable():
            loops.train(job, state, recorder)
        _finish(run, recipe, job, sources, log, state)
        log.flush()
    finally:
        log.close()
        for sink in sinks:
            sink.close()
        if shown is not None:
            shown.close()
        run.unlock()
    finished = Run(run.path, trust=True, _network=job.network)
    report(finished)
    return finished


def load_weights(run: RunDirectory, network: nn.Module) -> str:
    """Load the weights that a run stands for; returns which checkpoint they are of."""
    current = run.current()
    kept = str(current.get("kept", "best" if current.get("best") else "last"))
    folder = run.checkpoint(kept)
    weights.load(network, weights.read(folder / "weights.safetensors"), str(folder))
    return kept


def _finish(run: RunDirectory, recipe: Recipe, job: loops.Job, sources: Sources, log: runs.Log, state: states.State) -> None:
    """Load the kept weights, measure them, write down what a report shows, and mark the run finished."""
    kept = "best" if recipe.train.keep == "best" and sources.validation is not None and run.current().get("best") else "last"
    folder = run.checkpoint(kept)
    weights.load(job.network, weights.read(folder / "weights.safetensors"), str(folder))
    metrics: dict[str, dict[str, float]] = {}
    for part, batches in (("validation", sources.validation), ("test", sources.test)):
        if batches is not None:
            seen = examine(job.network, job.objective, batches, job.precision)
            metrics[part] = seen.metrics
            _write_details(log, state.step, part, seen, sources)
    if sources.examples is not None:
        first = np.linspace(0, len(sources.examples.parts["train"]) - 1, SHOWN_EXAMPLES).astype(np.int64)
        log.detail("examples", state.step, [c.to_dict() for c in cards.cards(sources.examples, "train", np.unique(first))])
    log.flush()
    run.mark(finished=True, kept=kept, metrics=metrics, seconds=state.seconds)
    job.network.eval()


def _write_details(log: runs.Log, step: int, part: str, seen: Evaluation, sources: Sources) -> None:
    inputs, examples = sources.inputs, sources.examples
    if "confusion" in seen.details:
        log.detail("confusion", step, {"split": part, "classes": list(inputs.classes), "counts": seen.details["confusion"]})
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


# ------------------------------------------------------------------------------------------------ the data, recognised


def fingerprint(examples: Examples) -> dict[str, Any]:
    """Sizes and a hash (all targets, a thousand examples a part) by which a resume knows its data again."""
    digest = hashlib.sha256()
    for name, part in sorted(examples.parts.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(part.part_targets()).tobytes())
        positions = np.unique(np.linspace(0, len(part) - 1, 1000).astype(np.int64))
        for array in part.inputs:
            digest.update(np.ascontiguousarray(array[part.array_rows(positions)]).tobytes())
    return {
        "kind": examples.kind, "task": examples.task, "classes": len(examples.classes),
        "examples": {name: len(part) for name, part in examples.parts.items()}, "sha256": digest.hexdigest(),
    }  # fmt: skip


def _require_same_data(run: RunDirectory, examples: Examples) -> None:
    kept = run.environment().get("data", {})
    found = fingerprint(examples)
    if kept.get("sha256") != found["sha256"]:
        raise DataError(
            str(run.path), f"data that changed since the run began ({found['examples']} examples, then {kept.get('examples')})",
            "the same examples", "netwright train, which starts a new run",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------ after training


def load(subject: Path | str, *, folder: Path | str = runs.DEFAULT_FOLDER, network: nn.Module | None = None, trust: bool = False) -> Run:
    """The run that ``subject`` names (a directory, a name, ``last``); ``network`` for one that was built in Python."""
    run = Run(runs.find(subject, folder), trust)
    if network is not None:
        load_weights(run.files, network)
        run._network = network.eval()
    return run


def report(run: Run | Path | str) -> Path:
    """Write ``report.html`` into the run's directory."""
    directory = run.directory if isinstance(run, Run) else runs.find(run)
    return html.write_report(directory)


def compare(first: Recipe, second: Recipe) -> dict[str, tuple[Any, Any]]:
    """The keys in which two recipes differ."""
    return difference(first, second)


__all__ = ["NetwrightError", "RecipeError", "Run", "RunError", "Sources", "compare", "load", "report", "resolve", "resume", "score", "train"]
