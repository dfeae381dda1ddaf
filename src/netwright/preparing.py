"""What stands ready before the first step: a recipe and examples → seeded, placed pieces and a run's directory; and a
kept run → its network."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import nn

from netwright import building, environment, runs, sourcing, starting
from netwright.building import Loss, Material
from netwright.errors import NetworkError, NetwrightError, RunError
from netwright.nn import keeping, weights
from netwright.nn.surgery import replay
from netwright.optim import constraints, range_test, schedules
from netwright.preprocess import InputFile, input_shape
from netwright.recipe import override
from netwright.recipe.schema import Recipe
from netwright.records import NetworkFile, StartRecord
from netwright.runs import RunDirectory
from netwright.sourcing import Sources
from netwright.training import layout, randomness
from netwright.training import loop as loops
from netwright.training import state as states
from netwright.training.averaging import Average
from netwright.training.evaluating import forgotten
from netwright.training.freezing import Freezing
from netwright.training.memory import Memory
from netwright.training.precision import Precision

if TYPE_CHECKING:
    from netwright.training.distribution import Processes


def known_processes() -> Processes | None:
    """Those of torchrun, of which this is one; None: this process is alone."""
    known = environment.torchrun()
    if known is None:
        return None
    from netwright.training.distribution import Processes

    return Processes(*known)


def placed(recipe: Recipe, processes: Processes | None) -> torch.device:
    place = building.device(recipe)
    return place if processes is None else processes.place(place)


@contextlib.contextmanager
def global_state(recipe: Recipe) -> Iterator[None]:
    """The recipe's threads for a while; the user's random generators and thread count come back."""
    threads = torch.get_num_threads()
    with randomness.kept():
        if recipe.train.threads:
            torch.set_num_threads(recipe.train.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------ the network


def network_record(recipe: Recipe, material: Material, network: nn.Module | None) -> NetworkFile:
    if network is None:
        return building.network_file(recipe, material)
    shape = input_shape(material.preprocess[0])
    return NetworkFile(
        kind="instance", name=type(network).__qualname__, input_shape=shape, outputs=material.outputs or 0
    )


def built(record: NetworkFile, trust: bool, network: nn.Module | None = None) -> nn.Module:
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


def rebuilt(run: RunDirectory, record: NetworkFile, trust: bool, network: nn.Module | None = None) -> nn.Module:
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


def load_weights(run: RunDirectory, network: nn.Module) -> str:
    """Load the weights that a run stands for; returns which checkpoint they are of."""
    kept = "best" if run.current().get("best") else "last"
    folder = run.checkpoint(kept)
    weights.load(network, weights.read(folder / "weights.safetensors"), str(folder))
    return kept


def begin_again(
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


# ------------------------------------------------------------------------------------------------ its pieces


def measured(
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


def new_run(
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
class Pieces:
    job: loops.Job
    sources: Sources
    parts: dict[str, Any]  # what a checkpoint holds beside the weights
    average: Average | None


def pieces(
    recipe: Recipe, material: Material, network: nn.Module, inputs: InputFile, place: torch.device, loss: Loss | None,
    optimizer: torch.optim.Optimizer | None, freezing: Freezing, processes: Processes | None = None,
) -> Pieces:  # fmt: skip
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
    return Pieces(job, sources, parts | ({"average": average} if average else {}), average)


def _at_epoch(state: states.State, network: nn.Module, freezing: Freezing) -> None:
    freezing(state.epoch)
    if state.batch == 0:
        forgotten(network)  # a running text begins again
