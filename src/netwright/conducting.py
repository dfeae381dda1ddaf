"""A training carried out: the loop with recorder, watch and other processes around it; then the kept weights, their
metrics, and what a report shows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from netwright import overseeing, runs
from netwright.building import Loss, Material
from netwright.data import windows
from netwright.nn import weights
from netwright.observations import Observations
from netwright.observations.experiments import Replay
from netwright.preparing import Pieces
from netwright.preprocess import InputFile
from netwright.recipe.schema import Recipe
from netwright.reporting import cards
from netwright.reporting.progress import Progress
from netwright.rows import Log
from netwright.runs import RunDirectory
from netwright.sourcing import Sources
from netwright.training import loop as loops
from netwright.training import state as states
from netwright.training.evaluating import Evaluation, evaluate, examine
from netwright.training.recording import DivergedError, Recorder, Sink
from netwright.training.snapshots import Snapshots
from netwright.watching import Watch

if TYPE_CHECKING:
    from netwright.training.distribution import Processes

SHOWN_MISTAKES = 24
SCATTER_POINTS = 500


def score(metrics: dict[str, float]) -> float:
    """What "best" means, higher is better: accuracy where there is one (the smaller loss breaks ties), else −loss."""
    loss = metrics.get("loss", float("nan"))
    loss = loss if np.isfinite(loss) else 1e30
    return metrics["accuracy"] - 1e-9 * min(loss, 1e3) if "accuracy" in metrics else -loss


def carry_out(
    run: RunDirectory,
    recipe: Recipe,
    pieces: Pieces,
    state: states.State,
    shown: Progress | None,
    sinks: Sequence[Sink],
    watched: tuple[Watch, float] | None,
    processes: Processes | None = None,
) -> nn.Module | None:
    """The trained network, with the kept weights; None in a process that only computes. The run is locked before and
    free afterwards."""
    job, sources = pieces.job, pieces.sources
    if processes is not None:
        _divide(run, recipe, job, state, shown, processes)
        if not processes.leads:
            _take_part(pieces, state, processes)
            return None
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
    return job.network


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


def _take_part(pieces: Pieces, state: states.State, processes: Processes) -> None:
    """One of the processes that only compute; process 0 keeps the run."""
    together = processes.together(pieces.job.objective, pieces.parts["plateau"])
    with together.stoppable():
        loops.train(pieces.job, state, together)
    processes.release(pieces.job)


def open_watch(
    recipe: Recipe, pieces: Pieces, inputs: InputFile, material: Material, loss: Loss | None
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
    run: RunDirectory, watched: tuple[Watch, float], recorder: Recorder, log: Log, state: states.State,
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


def finish_run(
    run: RunDirectory, recipe: Recipe, job: loops.Job, sources: Sources, log: Log, state: states.State
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


def _write_details(log: Log, step: int, part: str, seen: Evaluation, sources: Sources, inputs: InputFile) -> None:
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
