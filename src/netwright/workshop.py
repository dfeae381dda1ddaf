"""A run, opened to be compressed: its data, objective and healing, scored and timed as it was trained."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from netwright import building, exporting, preparing, runs, sourcing, workbench
from netwright.building import Material
from netwright.compression.passes import Context
from netwright.data.examples import Examples
from netwright.data.handed import from_python
from netwright.data.loading import Batch, Batches
from netwright.data.opening import finish, open_source
from netwright.errors import DataError, RunError, UsageError
from netwright.inspection.cost import totals
from netwright.nn import keeping, weights
from netwright.preprocess import InputFile
from netwright.recipe import override
from netwright.recipe.schema import Augment, Recipe
from netwright.records import Latency, NetworkFile
from netwright.training import randomness
from netwright.training.evaluating import by_example, evaluate
from netwright.training.healing import Healing
from netwright.training.precision import Precision
from netwright.workbench import Run

RUNTIME, TIMED_SECONDS = "torch", 3.0

Said = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Figures:
    """A network in numbers."""

    parameters: int
    nonzero: int
    macs: int
    memory_bytes: int
    file_bytes: int
    metrics: dict[str, float]
    each: torch.Tensor  # (examples,) of the validation part: whether it is right; where none is, its loss


@dataclasses.dataclass
class Workshop:
    """Everything of a run that its compression uses. The run's own network is not changed."""

    run: Run
    recipe: Recipe
    record: NetworkFile
    inputs: InputFile
    material: Material
    sources: sourcing.Sources
    objective: Any
    precision: Precision
    context: Context
    said: Said
    before: Figures = dataclasses.field(init=False)
    runtime: str = RUNTIME
    threads: int = 1
    batch: int = 1
    weights_sha256: str = ""  # of the source's weights as they were read; it may be trained on meanwhile

    def figures(self, network: nn.Module) -> Figures:
        graph = self.context.graph(network)
        counted = totals(graph)
        learned = list(network.parameters())
        assert self.sources.validation is not None  # a run without is not opened
        metrics, each = by_example(network, self.objective, self.sources.validation, self.precision)
        return Figures(
            parameters=sum(p.numel() for p in learned), nonzero=sum(int((p != 0).sum()) for p in learned),
            macs=counted.macs, memory_bytes=counted.inference_bytes, file_bytes=file_bytes(network),
            metrics=metrics, each=each,
        )  # fmt: skip

    def latencies(self, networks: dict[str, nn.Module]) -> dict[str, Latency]:
        """Of networks in turns, in the workshop's runtime, on real examples."""
        first = self.context.first_batch()
        arrays = [tensor.detach().cpu().numpy() for tensor in first.inputs]
        if len(arrays[0]) < self.batch:
            arrays = [np.resize(array, (self.batch, *array.shape[1:])) for array in arrays]
        return exporting.latencies(
            networks, self.runtime, [array[: max(self.batch, 2)] for array in arrays], names=first.names,
            threads=self.threads, batch=self.batch, seconds=TIMED_SECONDS,
        )  # fmt: skip


def file_bytes(network: nn.Module) -> int:
    """How large the weights are as they are written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        weights.save(dict(network.state_dict()), path, packed=True)
        return path.stat().st_size


class opened:
    """A context: the run's data, objective and healing; seeds, threads and random state as in its training."""

    def __init__(self, run: Run, train_data: Any, validation: Any, said: Said) -> None:
        self._run, self._train, self._validation, self._said = run, train_data, validation, said

    def __enter__(self) -> Workshop:
        files = self._run.files
        if not files.current().get("finished"):
            got = "a run that is not finished" if files.current() else "an untrained network"
            raise RunError(str(files.path), got, "a trained run", f"netwright train --resume {files.path}")
        recipe = self._run.recipe
        material = self._material(recipe)
        sourcing.require_same(files.path, files.environment().get("data", {}), material)
        self._state = preparing.global_state(recipe)
        self._state.__enter__()
        try:
            return self._workshop(recipe, material)
        except BaseException:
            self._state.__exit__(None, None, None)
            raise

    def __exit__(self, *_: object) -> None:
        self._state.__exit__(None, None, None)

    def _material(self, recipe: Recipe) -> Material:
        if recipe.data.format != "python":
            return open_source(recipe.data)
        if self._train is None:
            raise DataError(
                str(self._run.directory), "a run whose data came from Python", "the same data again",
                "netwright.compress(RUN, CHAIN, train_data=(X, y), validation=(Xv, yv))",
            )  # fmt: skip
        own = recipe.objective.loss == "python"
        material = from_python(self._train, self._validation, None, recipe.data, targets_as_given=own)
        return finish(material, recipe.data) if isinstance(material, Examples) else material

    def _workshop(self, recipe: Recipe, material: Material) -> Workshop:
        run, files = self._run, self._run.files
        randomness.seed(recipe.seed)
        place = building.device(recipe)
        network = run.network
        inputs = files.read_record("preprocess.json", InputFile)
        record = files.read_record("network.json", NetworkFile)
        sources = sourcing.open_batches(recipe, material, place)
        if sources.validation is None:
            raise DataError(
                "validation",
                "no validation part",
                "examples by which a pass is judged",
                "train with data.validation=0.1",
            )
        objective, precision = building.objective(recipe, inputs, material), Precision(recipe.train.precision, place)
        held_out = sources.validation
        plain = _plain(recipe, material, sources, place)
        healing = Healing(
            recipe, objective, sources.train, held_out, precision, workbench.score, lambda text: self._said(f"  {text}")
        )
        first = next(iter(plain.epoch(0)))
        context = Context(
            example=_example(first), seed=recipe.seed, batches=lambda: plain.epoch(0), objective=objective,
            metrics=lambda tried: evaluate(tried, objective, held_out, precision), training=healing,
            teachers=lambda name: _teachers(name, run.directory.parent), labels=tuple(inputs.classes),
            initial=(lambda: _initial(record, recipe, run.trust)) if _can_begin_again(record) else None,
        )  # fmt: skip
        shop = Workshop(run, recipe, record, inputs, material, sources, objective, precision, context, self._said)
        shop.weights_sha256 = exporting.weights_digest(run)
        network.to(place).eval()
        shop.before = shop.figures(network)
        return shop


def _plain(recipe: Recipe, material: Material, sources: sourcing.Sources, place: torch.device) -> Batches:
    """Training batches in an order that mixes the classes, unaugmented."""
    if not isinstance(material, Examples):
        return sources.train
    off = {f"augment.{name}": "none" if name == "flip" else 0.0 for name in Augment.__struct_fields__}
    return building.batches(override(recipe, off), material, "train", place, training=True)


def _example(batch: Batch) -> Any:
    one = [tensor[:1].cpu() for tensor in batch.inputs]
    if batch.names:
        return dict(zip(batch.names, one, strict=True))
    return one[0] if len(one) == 1 else one


def _can_begin_again(record: NetworkFile) -> bool:
    return record.kind != "instance" and not record.surgeries


def _initial(record: NetworkFile, recipe: Recipe, trust: bool) -> dict[str, torch.Tensor]:
    """The state before the first step, drawn again from the run's seed."""
    with randomness.kept():
        randomness.seed(recipe.seed)
        return dict(keeping.build(record, trust=trust).state_dict())


def _teachers(name: str, folder: Path) -> list[nn.Module]:
    """The networks of one run or, joined by ``+``, of several."""
    found = []
    for each in name.split("+"):
        try:
            run = workbench.load(each, folder=folder)
        except UsageError as error:
            known = [path.name for path in runs.list_directories(folder)]
            hint = error.suggestion if error.suggestion in known else "netwright runs"
            raise UsageError(
                "compress: distil: teacher", repr(each), f"a run in {folder}, or its directory", hint
            ) from error
        found.append(run.network)
    return found
