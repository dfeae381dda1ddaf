"""Batch norms on batches that are too small, and networks that are two different ones in training and evaluation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from netwright.diagnosis.experimenting import answer, change, experiment, proof
from netwright.diagnosis.hindrance import helps, suffers
from netwright.diagnosis.paths import BATCH_NORMS, called
from netwright.diagnosis.registry import rule
from netwright.observations import Experiment, NetworkFacts, Observations
from netwright.observations.network import LayerFacts
from netwright.records import Evidence, Finding, Remedy

GROUPED = experiment(change("group-norm"), worth=65.0, question="norms of single examples instead of batch norms")
# The deviation of n values is known to 1 / √(2 (n − 1)): 38 % at 4, 27 % at 8, 13 % at 32. Wu and He 2018 (fig. 1)
# find batch norm worse than group norm from 8 examples downwards, clearly at 4 and 2.
SUSPECTED, FEW = 8, 4


@rule("norm-batch-too-small")
def norm_batch(observations: Observations) -> Iterator[Finding | Experiment]:
    """Batch norm over a handful of examples: each output is mostly about who else is in the batch."""
    norms = _norms(observations.network)
    plan = observations.plan
    if not norms or plan is None or not plan.batch_size or plan.batch_size > SUSPECTED:
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    outcome = answer(observations, GROUPED)
    if outcome is None and ill is not False:
        yield GROUPED
        return
    repaired = helps(observations, outcome)
    values = min((_samples(observations, layer, plan.batch_size) for layer in norms), default=plan.batch_size)
    loud = bool(repaired) or (repaired is None and bool(ill) and values <= FEW)
    noise = 1 / math.sqrt(2 * max(1, values - 1))
    yield Finding(
        code="norm-batch-too-small",
        severity="warning" if loud else "note",
        where=", ".join(layer.name for layer in norms[:6]) + (" …" if len(norms) > 6 else ""),
        layer=norms[0].name,
        evidence=(
            Evidence(what="examples in a batch", value=float(plan.batch_size), unit="examples",
                     expected=f"above {SUSPECTED}"),
            Evidence(what="values that a mean is taken over", value=float(values), unit="values"),
            Evidence(what="uncertainty of their deviation", value=noise, unit="share"),
        ),
        expected="batches of 16 and more, or a norm of single examples",
        cause="mean and deviation of so few values are noise, and evaluation uses others",
        remedies=(
            Remedy(code="group-norm", text="group norm or layer norm", change={"group-norm": True}),
            Remedy(code="batch-size", text="larger batches", change={"batch-size": {"to": 32}}),
        ),
        confidence=0.95 if repaired else 0.7,
        confirmed_by=proof(outcome) if outcome else "",
    )  # fmt: skip


def _norms(network: NetworkFacts | None) -> list[LayerFacts]:
    return [layer for layer in called(network).values() if layer.kind in BATCH_NORMS] if network is not None else []


def _samples(observations: Observations, layer: LayerFacts, batch: int) -> int:
    seen = observations.series.get("norm-samples", layer.name).finite
    places = math.prod(layer.output_shape[1:]) if layer.output_shape else 1
    return int(statistics.median(seen)) if seen else batch * places


# ------------------------------------------------------------------------------------------------ two networks

ALWAYS = 0.99  # of the passes without gradients that were seen
FEW_PASSES = 1
NOISY = 0.05  # of the outputs' deviation: what evaluation in training mode changes in them
LOSS_GAP = 0.5  # of the training loss: how much higher it is in evaluation mode, on the same batch
DROPS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout", "dropout")


@rule("train-eval-gap")
def train_eval(observations: Observations) -> Iterator[Finding | Experiment]:
    """Validated in training mode, trained in evaluation mode, or another network altogether in evaluation mode."""
    network = observations.network
    if network is None:
        return
    norms = _norms(network)
    drops = [
        layer for layer in called(network).values() if layer.kind in DROPS and float(layer.options.get("p", 0.5)) > 0
    ]
    if not norms and not drops:
        return
    modes = observations.series.get("validation-training-mode").finite
    gaps = observations.series.get("train-eval-difference").finite
    gap = statistics.median(gaps[-5:]) if gaps else None
    if len(modes) >= FEW_PASSES and min(modes) >= ALWAYS and observations.epochs:
        yield _gap(
            "warning" if gap is None or gap > NOISY else "note", "validation", drops or norms,
            Evidence(what="validation passes in training mode", value=1.0, unit="share", expected="0"),
            gap, "the model is validated without model.eval(): dropout drops and batch norm uses the batch",
            Remedy(code="eval", text="model.eval() before validation, model.train() after it"), 0.95,
        )  # fmt: skip
        return
    trained = observations.series.get("training-mode").finite
    if len(trained) >= 3 and max(trained) == 0:
        yield _gap(
            "warning" if drops or not _learned_statistics(observations) else "note", "training", norms or drops,
            Evidence(what="training passes in training mode", value=0.0, unit="share", expected="1"),
            gap, "the model is trained in evaluation mode: dropout is off and batch norm keeps its first statistics",
            Remedy(code="train", text="model.train() before every epoch"), 0.8,
        )  # fmt: skip
        return
    slow = _hardly_move(observations, norms)
    if slow is not None and gap is not None and gap > FAR_APART:
        yield _gap(
            "warning", slow[0].name, [slow[0]],
            Evidence(what="share of the running statistics that is still what they began with", value=slow[1],
                     expected=f"below {STARTED:g} at the end"),
            gap, f"a momentum of {slow[0].options['momentum']:g} is too slow for so few steps: evaluation uses means "
            "and variances that are mostly 0 and 1",
            Remedy(code="momentum", text="a momentum of 0.1, or group norm"), 0.9,
        )  # fmt: skip
        return
    yield from _other_network(observations, norms, gap)


STARTED = 0.5  # of the running statistics: (1 − momentum) to the power of the steps
FAR_APART = 0.5  # of the outputs' deviation, by which evaluation gives others
LEAST_STEPS = 20


def _hardly_move(observations: Observations, norms: list[LayerFacts]) -> tuple[LayerFacts, float] | None:
    """The batch norm whose running statistics have moved least, where that is less than half of the way."""
    steps = len(observations.series.get("loss").values)
    rates = [(layer.options.get("momentum"), layer) for layer in norms]
    known = [((1 - rate) ** steps, layer) for rate, layer in rates if isinstance(rate, float) and 0 < rate < 1]
    if steps < LEAST_STEPS or not known:
        return None
    left, layer = max(known, key=lambda pair: pair[0])
    return (layer, left) if left > STARTED else None


def _other_network(
    observations: Observations, norms: list[LayerFacts], gap: float | None
) -> Iterator[Finding | Experiment]:
    """Late in the run the loss of the same batch is much higher in evaluation mode."""
    losses, higher = observations.series.get("loss").finite, observations.series.get("train-eval-loss").finite
    if not norms or len(higher) < 3 or not losses:
        return
    late = statistics.median(higher[-5:])
    own = statistics.median(losses[-max(5, len(losses) // 20) :])
    first = losses[0]
    if late <= LOSS_GAP * abs(own) or late <= 0.1 * abs(first):
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    yield _gap(
        "warning" if ill else "note", norms[0].name, norms,
        Evidence(what="loss of the same batch in evaluation − in training mode", value=late, unit="loss",
                 expected=f"below {LOSS_GAP * abs(own):.3g}"),
        gap, "the running statistics of the norm layers are not those of the batches",
        Remedy(code="group-norm", text="larger batches, a momentum of 0.1, or group norm", change={"group-norm": True}),
        0.8, _small_batch(observations),
    )  # fmt: skip


def _small_batch(observations: Observations) -> str:
    small = any(isinstance(told, Finding) and told.severity != "note" for told in norm_batch(observations))
    return "norm-batch-too-small" if small else ""


def _learned_statistics(observations: Observations) -> bool:
    """Whether the running statistics fit the data, as those of a trained network that is fine-tuned do."""
    gaps = [
        observations.series.get("norm-mean-gap", layer).last for layer in observations.series.layers("norm-mean-gap")
    ]
    known = [value for value in gaps if value is not None]
    return bool(known) and max(known) < 1.0


def _gap(
    severity: str, where: str, layers: list[LayerFacts], evidence: Evidence, gap: float | None, cause: str,
    remedy: Remedy, confidence: float, because: str = "",
) -> Finding:  # fmt: skip
    seen = [evidence]
    if gap is not None:
        what = "outputs in training − in evaluation mode ÷ their deviation"
        seen.append(Evidence(what=what, value=gap, unit="share", expected=f"below {NOISY:g} for validation"))
    return Finding(
        code="train-eval-gap", severity=severity, where=where, layer=layers[0].name, evidence=tuple(seen),  # type: ignore[arg-type]
        expected="dropout and batch statistics in training only", cause=cause, remedies=(remedy,),
        confidence=confidence, because_of=because,
    )  # fmt: skip
