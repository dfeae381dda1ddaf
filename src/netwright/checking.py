"""A recipe (or data by itself) → what its data is like, how its pieces fit, and what is wrong; nothing is trained."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from netwright import building, overseeing, sourcing
from netwright.building import Material
from netwright.data import baselines, locality
from netwright.data.auditing import audit
from netwright.data.examples import Examples, Part
from netwright.data.opening import open_source
from netwright.diagnosis.judging import Diagnosis, judge
from netwright.nn import keeping
from netwright.observations import DataAudit, LossFacts, Observations, Outcome, Preflight
from netwright.recipe import defaults, override
from netwright.recipe.schema import Recipe
from netwright.records import Record
from netwright.training import loop as loops
from netwright.training import randomness
from netwright.training.precision import Precision

MOST_BYTES = 1 << 30  # of raw examples of a part that are looked at
NOTHING_TRAINED = "a check trains nothing"
PROBED_RATE = 0.01  # where the recipe leaves the rate to a range test, which is a training


class Check(Record, frozen=True, kw_only=True):
    """``audit``: the data as it lies; its inputs' numbers as the network sees them. ``preflight``: one batch through
    the untrained network; None where it could not be run. ``skipped``: files that were left out."""

    source: str
    network: str
    audit: DataAudit
    diagnosis: Diagnosis
    loss: LossFacts | None = None
    preflight: Preflight | None = None
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    seconds: float = 0.0


def check(recipe: Recipe, *, baseline: bool = False, local: bool = False, trust: bool = False) -> Check:
    """Audit the data and send one batch through the untrained network; seconds.

    ``baseline``: also train learners without a network on it; ``local``: also ask whether neighbouring features belong
    together. Both take about ten seconds more. The global generators are left as they were.
    """
    began = time.perf_counter()
    material = open_source(recipe.data)
    with randomness.kept():
        resolved, observations = _preflight(recipe, material, trust)
        if isinstance(material, Examples):
            observations.data = _audit(material, observations.data, baseline, local)
    return Check(
        source=recipe.data.source, network=resolved.network.name, audit=observations.data or DataAudit(),
        diagnosis=_judged(observations, resolved), loss=observations.loss, preflight=observations.preflight,
        classes=tuple(getattr(material, "classes", ())), skipped=tuple(getattr(material, "skipped", ())),
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _preflight(recipe: Recipe, material: Material, trust: bool) -> tuple[Recipe, Observations]:
    """What a watch knows before the first step of this training."""
    known = sourcing.facts(material, None)
    resolved = override(defaults.resolve(recipe, known), sourcing.decided(recipe, material))
    if resolved.train.lr == "range-test":
        resolved = override(resolved, {"train.lr": PROBED_RATE})
    resolved = override(resolved, {"watch.confirm": 0.0})
    place = building.device(resolved)
    randomness.seed(resolved.seed)
    inputs = sourcing.input_file(material, known.outputs)
    record = building.network_file(resolved, material)
    network = keeping.build(record, trust=trust)
    building.refitted(resolved, record, network)
    building.initialized(resolved, network, material)
    network = network.to(place)
    sources = sourcing.open_batches(resolved, material, place)
    job = loops.Job(
        network=network, objective=building.objective(resolved, inputs, material),
        optimizer=building.optimizer(resolved, network), rate=lambda step: 1.0, batches=sources.train,
        precision=Precision("fp32", place), epochs=int(resolved.train.epochs), accumulate=resolved.train.accumulate,
        clip=resolved.train.clip,
    )  # fmt: skip
    watch, _ = overseeing.watch(resolved, job, sources, inputs, material, None)
    watch.close()
    return resolved, watch.observations


def _audit(examples: Examples, seen: DataAudit | None, baseline: bool, local: bool) -> DataAudit:
    """The raw examples, all of them; the inputs' numbers are of what the network sees."""
    train, validation = (
        _raw(examples.parts[name]) if name in examples.parts else None for name in ("train", "validation")
    )
    assert train is not None
    inputs, targets = train
    found = audit(inputs, targets, *(validation or (None, None)))
    changes: dict[str, Any] = {"order": None}  # netwright draws the examples in another order every epoch
    if seen is not None:
        changes |= {"inputs": seen.inputs, "validation_inputs": seen.validation_inputs, "shift": seen.shift}
        if seen.task == "regression":  # learned normalised
            changes |= {"targets": seen.targets, "validation_targets": seen.validation_targets}
    if baseline:
        changes["baselines"] = baselines.baselines(inputs, targets, validation)
    if local:
        changes["locality"] = locality.locality(_planes(inputs, examples), targets)
    return DataAudit(**{name: getattr(found, name) for name in found.__struct_fields__} | changes)


def _raw(part: Part) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The first input's examples in their small type, evenly thinned out where they are too large."""
    rows = np.arange(len(part))
    most = max(1000, MOST_BYTES // max(1, part.inputs[0][:1].nbytes))
    if len(rows) > most:
        rows = np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))
    return part.inputs[0][part.array_rows(rows)], part.part_targets()[rows]


def _planes(inputs: npt.NDArray[Any], examples: Examples) -> npt.NDArray[Any]:
    """Pictures as (N, C, H, W); a source hands over (N, H, W) and (N, H, W, C)."""
    if examples.kind != "image":
        return inputs
    if inputs.ndim == 3:
        return inputs[:, None]
    return np.moveaxis(inputs, -1, 1) if inputs.ndim == 4 and inputs.shape[-1] in (1, 2, 3, 4) else inputs


def _judged(observations: Observations, recipe: Recipe) -> Diagnosis:
    """The rules' answers; what they would try on a copy is answered with "not tried"."""
    while True:
        diagnosis = judge(observations, recipe.ignore)
        if not diagnosis.wanted:
            return diagnosis
        for experiment in diagnosis.wanted:
            observations.outcomes[experiment.name] = Outcome(experiment=experiment, failed=NOTHING_TRAINED)
