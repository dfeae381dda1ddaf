"""What an ensemble brings: each member alone, all together, how far they differ, and what nobody learned says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from netwright import building
from netwright.comparing.intervals import sign_test
from netwright.comparing.judging import ORDER, lower_is_better
from netwright.data.examples import Examples, Part, Rows
from netwright.data.loading import Batch, Batches
from netwright.data.opening import bootstrapped
from netwright.nn.ensembling import Ensemble
from netwright.recipe.schema import Data, Recipe
from netwright.records import EnsemblePart
from netwright.training.evaluating import call, evaluation_mode
from netwright.training.precision import Precision

TIE = 1e-6  # votes are sums of weights, which add up to 1: closer ones are equal


def asked(network: Ensemble, batch: Batch) -> list[torch.Tensor]:
    """What every member says of a batch."""
    if batch.names:
        return network.each(**dict(zip(batch.names, batch.inputs, strict=True)))
    return network.each(*batch.inputs)


def judged(
    network: Ensemble, objective: Any, batches: Batches, precision: Precision, part: str, leaked: dict[str, int],
    names: Sequence[str],
) -> tuple[EnsemblePart, list[dict[str, float | None]]]:  # fmt: skip
    """The ensemble and each member on one part, in one pass over it: every member is asked once."""
    meters = [objective.meter() for _ in names]
    whole, tally = objective.meter(), _Tally(network, objective)
    with evaluation_mode(network), torch.inference_mode(), precision.cast():
        for batch in batches.epoch(0):
            said = asked(network, batch)
            together = network.combined(said)
            whole.update(together, batch.targets)
            for meter, one in zip(meters, said, strict=True):
                meter.update(one, batch.targets)
            tally.add(said, together, batch.targets)
    alone, metrics = [dict(meter.compute()) for meter in meters], dict(whole.compute())
    mean = {
        key: sum(weight * each[key] for weight, each in zip(network.weights, alone, strict=True)) for key in metrics
    }
    told: dict[str, Any] = tally.figures(mean, metrics) | _beside_the_best(metrics, alone, names, tally)
    return EnsemblePart(part=part, ensemble=metrics, mean=mean, leaked=leaked, **told), alone


def _beside_the_best(
    metrics: dict[str, Any], alone: Sequence[dict[str, Any]], names: Sequence[str], tally: _Tally
) -> dict[str, Any]:
    """What the ensemble has over the best of its members, by the metric that would decide a comparison."""
    metric = next((name for name in ORDER if metrics.get(name) is not None), "")
    sign = -1.0 if lower_is_better(metric) else 1.0
    scores = [sign * each[metric] if each.get(metric) is not None else -math.inf for each in alone] if metric else []
    best = int(np.argmax(scores)) if scores else 0
    if not scores or not math.isfinite(scores[best]):
        return {}
    return {
        "metric": metric, "best": names[best], "gain": sign * metrics[metric] - scores[best],
        "chance": tally.chance(best) if metric == "accuracy" else None,
    }  # fmt: skip


class _Tally:
    """Sums over examples of what members say of each other; one number of the device a batch is kept, not read."""

    def __init__(self, network: Ensemble, objective: Any) -> None:
        self._network, self._objective, self._count = network, objective, 0
        self._sums: dict[str, Any] = {}
        self._apart: torch.Tensor | None = None  # (members, 2): examples that only the ensemble, or only it has right

    def add(self, said: Sequence[torch.Tensor], together: torch.Tensor, targets: torch.Tensor) -> None:
        task, weights = self._objective.task, self._network.weights
        decided = [self._objective.decide(each) for each in said]
        self._count += len(targets)
        if task == "regression":
            values = torch.stack([each.double().reshape(len(targets), -1) for each in decided])
            middle = self._objective.decide(together).double().reshape(len(targets), -1)
            truth = targets.double().reshape(len(targets), -1)
            share = torch.tensor(weights, dtype=torch.float64, device=values.device)[:, None, None]
            self._sum("ambiguity", (share * (values - middle).square()).sum(0).mean(1).sum())
            self._sum("members_error", (share * (values - truth).square()).sum(0).mean(1).sum())
            self._sum("error", (middle - truth).square().mean(1).sum())
            return
        pairs = [(one, two) for number, one in enumerate(decided) for two in decided[:number]]
        differ = sum((one != two).double().reshape(len(targets), -1).mean(1).sum() for one, two in pairs)
        self._sum("disagreement", differ / len(pairs))
        if task == "classification":
            classes = self._objective.outputs
            labels = targets if targets.ndim == 1 else targets.argmax(1)
            votes = torch.stack([w * F.one_hot(each, classes) for w, each in zip(weights, decided, strict=True)]).sum(0)
            elected = voted(votes, self._objective.probabilities(together))
            self._sum("vote", (elected == labels).double().sum())
            right = self._objective.decide(together) == labels
            one_alone = [(right & (each != labels), ~right & (each == labels)) for each in decided]
            told = torch.stack([torch.stack([won.sum(), lost.sum()]) for won, lost in one_alone])
            self._apart = told if self._apart is None else self._apart + told

    def _sum(self, name: str, value: Any) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def chance(self, member: int) -> float | None:
        """Of so uneven a split between the ensemble and a member, were both alike."""
        return None if self._apart is None else sign_test(*map(int, self._apart[member]))

    def figures(self, mean: dict[str, float], metrics: dict[str, float]) -> dict[str, float]:
        found = {name: float(value) / max(1, self._count) for name, value in self._sums.items()}
        if self._objective.task != "regression" and "loss" in metrics:
            found["ambiguity"] = mean["loss"] - metrics["loss"]
        return found


def voted(votes: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """The class (N,) with the most votes, both (N, classes); between equal ones the mean probability decides."""
    tied = votes >= votes.max(1, keepdim=True).values - TIE
    return torch.where(tied, probabilities.to(votes), -1.0).argmax(1)


def decisions(network: nn.Module, objective: Any, batches: Batches, precision: Precision) -> npt.NDArray[np.int64]:
    """Class indices (N,) in the order of the batches."""
    with evaluation_mode(network), torch.inference_mode(), precision.cast():
        decided = [objective.decide(call(network, batch)) for batch in batches.epoch(0)]
    found: npt.NDArray[np.int64] = torch.cat(decided).cpu().numpy()
    return found


def out_of_bag(
    drawn: Sequence[Data], network: Ensemble, objective: Any, recipe: Recipe, examples: Examples,
    place: torch.device, precision: Precision,
) -> dict[str, float | None] | None:  # fmt: skip
    """Metrics over the training examples, each judged by the members whose bootstrap sample lacks it (Breiman 1996,
    "Out-of-bag estimation"); those that every member learned are left out. ``drawn``: each member's
    ``data`` keys. Costs one pass of every member."""
    rows = rows_of(examples.parts["train"])
    bags = [rows_of(bootstrapped(examples, options).parts["train"]) for options in drawn]
    outside = torch.from_numpy(np.stack([~np.isin(rows, bag) for bag in bags])).to(place)  # (members, examples)
    meter, judged, start = objective.meter(), 0, 0
    with evaluation_mode(network), torch.inference_mode(), precision.cast():
        for batch in building.batches(recipe, examples, "train", place).epoch(0):
            own = outside[:, start : start + len(batch)]
            start += len(batch)
            said, some = asked(network, batch), own.any(0)
            meter.update(network.combined(said, own)[some], batch.targets[some])
            judged += int(some.sum())
    return {**dict(meter.compute()), "examples": float(judged)} if judged else None


def rows_of(part: Part) -> Rows:
    return part.array_rows(np.arange(len(part)))
