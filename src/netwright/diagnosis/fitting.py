"""Whether output, loss and targets fit each other: faults that follow from facts, and the changes that mend them.

`rules.outputs` tells them; other rules try their suspicions on a copy in which they are mended (`mended`), because a
second fault cannot show while the first one blocks everything. No torch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from netwright.diagnosis.experimenting import change
from netwright.observations import DataAudit, LossFacts, Observations, Preflight
from netwright.observations.experiments import Change
from netwright.records import Evidence, plural

# Bounded scores under a softmax or sigmoid: the largest probability that they can say. Below this the loss cannot fall
# under −ln 0.95 = 0.05 for an example that is as clear as can be. tanh before two classes reaches 0.88, a sigmoid 0.73;
# scores capped at ±30 (Gemma 2, 2024) reach 1.
SURE = 0.95
OUTSIDE = 0.01  # share of targets beyond the output's bounds: more than a few strays
EXCLUSIVE = 0.99  # share of target rows that sum to one, from which classes exclude each other
ONE_SIDED = ("relu", "softplus", "exponential", "relu6", "silu_square")


class Misfit(NamedTuple):
    """One fault. ``changes`` mend it, where a change of the training can; the first alternative that fits counts."""

    code: str
    cause: str
    expected: str
    evidence: tuple[Evidence, ...]
    remedy: str
    changes: tuple[Change, ...] = ()
    certain: bool = True  # nothing can be learned, or not what is wanted; else it costs something


class Facts(NamedTuple):
    """What is compared: output columns (units an example), the targets' columns, and who says so."""

    loss: LossFacts
    preflight: Preflight
    data: DataAudit | None
    activation: str  # "" where it cannot be told
    units: int
    columns: int


def facts(observations: Observations) -> Facts | None:
    """None where the loss, or what the network puts out, was not seen."""
    loss, preflight = observations.loss, observations.preflight
    if loss is None or preflight is None or not preflight.output_shape:
        return None
    activation = preflight.activation
    if not activation and observations.network is not None:
        activation = observations.network.output_activation
    return Facts(
        loss, preflight, observations.data, activation, columns_of(preflight.output_shape),
        columns_of(preflight.target_shape),
    )  # fmt: skip


def columns_of(shape: tuple[int, ...]) -> int:
    """Units an example: the last axis, of maps (N, C, H, W) the second."""
    return 1 if len(shape) < 2 else shape[1] if len(shape) >= 4 else shape[-1]


def misfits(observations: Observations) -> list[Misfit]:
    """Every fault of output and loss that the facts show."""
    known = facts(observations)
    if known is None:
        return []
    units = list(_units(known))
    if units and units[0].code == "output-size-mismatch" and known.loss.expects != "values":
        return units  # what the activation should be for the wrong number of units is no question
    found = [*units, *_broadcast(known), *_other_question(known)]
    activation = _activation(known)
    return found if activation is None else [*found, activation]


def mended(observations: Observations) -> tuple[Change, ...]:
    """The changes after which nothing of it is left; () where there is nothing, or nothing that a change mends."""
    return tuple(part for misfit in misfits(observations) for part in misfit.changes)


def classes_by_distance(observations: Observations) -> str:
    """The loss that classes are learned with, where an absolute or squared error was taken; "" where it was not."""
    known = facts(observations)
    if known is None or known.loss.form not in ("absolute", "squared", "huber") or known.data is None:
        return ""
    if known.data.task not in ("classification", "multi-label") or known.loss.by_index:
        return ""
    if known.units == 1 and known.data.task == "classification" and len(known.data.class_counts) > 2:
        return ""
    return "binary-cross-entropy" if known.units == 1 or known.data.task == "multi-label" else "cross-entropy"


# ------------------------------------------------------------------------------------------------ the activation


def _activation(known: Facts) -> Misfit | None:
    if known.preflight.constant:
        return _constant(known)
    match known.loss.form:
        case "softmax":
            return _under_softmax(known)
        case "sigmoid":
            return _under_sigmoid(known)
        case "log-likelihood":
            return _under_log_likelihood(known)
        case "cross-entropy":
            return _under_cross_entropy(known)
        case "binary-cross-entropy":
            return _under_binary(known)
        case "unknown":
            return None
    return _under_distance(known)


def _misfit(known: Facts, cause: str, expected: str, mend: str, *evidence: Evidence, certain: bool = True) -> Misfit:
    """``mend``: the activation that fits; ``identity`` for none."""
    text = "no activation at the output" if mend == "identity" else f"{mend} at the output"
    seen = Evidence(what=f"output after {known.activation or 'no activation that is known'}, units", value=known.units)
    return Misfit(
        "wrong-output-activation", cause, expected, (seen, *evidence), text, (change("output", mend),), certain
    )  # fmt: skip


def _constant(known: Facts) -> Misfit:
    value = known.preflight.lowest or 0.0
    if known.loss.expects == "probabilities" or known.loss.task == "binary":
        mend = "identity" if known.loss.expects == "logits" else "sigmoid"
    else:
        mend = "identity"
    return _misfit(
        known, f"a softmax over one unit is always {value:g}: the network cannot say anything else",
        "an output that depends on the input", mend, Evidence(what="output for every input", value=value),
    )  # fmt: skip


def _sureness(known: Facts, others: int) -> float:
    """The largest probability that bounded scores can give one of ``others`` + 1 classes."""
    low, high = known.preflight.lowest, known.preflight.highest
    if known.preflight.rows == "probabilities" or known.activation == "softmax":
        low, high = 0.0, 1.0
    if low is None or high is None:
        return 1.0
    return 1 / (1 + others * math.exp(low - high))


def _under_softmax(known: Facts) -> Misfit | None:
    if (
        known.units < 2
        or known.activation in ("log_softmax", "identity")
        or known.preflight.rows == "log-probabilities"
    ):
        return None  # a softmax of log-probabilities gives them back
    sure = _sureness(known, known.units - 1)
    if sure < SURE:
        twice = known.activation == "softmax" or known.preflight.rows == "probabilities"
        what = "the loss applies a softmax itself, so it is applied twice" if twice else "the scores are bounded"
        return _misfit(
            known, f"{what}: no class can get more than a probability of {sure:.2f}", "scores without bounds",
            "identity", Evidence(what="largest probability that can be said", value=sure, expected="1"),
        )  # fmt: skip
    if known.activation in ONE_SIDED:
        return _misfit(
            known, f"{known.activation} cuts scores off at {known.preflight.lowest or 0:g}: no class can be spoken "
            "against, and where all are cut off there is no gradient", "scores of both signs", "identity",
        )  # fmt: skip
    return None


def _under_sigmoid(known: Facts) -> Misfit | None:
    low, high = known.preflight.lowest, known.preflight.highest
    sure = _sureness(known, 1)
    one_sided = (low is not None and low >= -1e-3) or (high is not None and high <= 1e-3)
    if known.activation in ("", "identity") and not one_sided:
        return None
    if known.activation in ("sigmoid", "softmax", "hardsigmoid") or sure < SURE or one_sided:
        if one_sided and low is not None:
            told = "the loss applies a sigmoid itself: after it the probability is never below 0.5"
        elif one_sided:
            told = "the loss applies a sigmoid itself: after it the probability is never above 0.5"
        else:
            told = f"the loss applies a sigmoid itself: after it the probability never leaves {1 - sure:.2f}…{sure:.2f}"
        return _misfit(known, told, "scores of both signs without bounds", "identity")
    return None


def _under_log_likelihood(known: Facts) -> Misfit | None:
    if known.preflight.rows == "log-probabilities" or known.activation == "log_softmax":
        return None
    free = known.preflight.highest is None and known.activation not in ("softmax", "sigmoid")
    told = (
        "the loss is minus the output at the right class: without a log-softmax it falls without limit"
        if free
        else "the loss is minus the output at the right class, and gets no logarithm of a probability"
    )
    return _misfit(known, told, "log-probabilities, whose exponentials sum to 1", "log-softmax")


def _under_cross_entropy(known: Facts) -> Misfit | None:
    if known.preflight.rows == "probabilities" or known.activation == "softmax":
        return None
    low, high = known.preflight.lowest, known.preflight.highest
    if low is not None and low >= -1e-6 and high is None and known.activation in ("exponential", "softplus"):
        return None  # positive weights that the loss normalises
    if known.activation in ("sigmoid", "hardsigmoid"):
        told = (
            "each unit answers for itself, while the loss wants one distribution over classes that exclude each other"
        )
    else:
        told = "the loss takes logarithms of the outputs, which are no probabilities"
    return _misfit(known, told, "probabilities that sum to 1 over the classes", "softmax")


def _under_binary(known: Facts) -> Misfit | None:
    low, high = known.preflight.lowest, known.preflight.highest
    if known.preflight.rows == "probabilities" or known.activation == "softmax":
        if known.preflight.rows_of_one >= EXCLUSIVE or not _many_hot(known):
            return None
        return _misfit(
            known, "a softmax shares one certainty out among labels that do not exclude each other",
            "a probability for each label by itself", "sigmoid",
            Evidence(what="share of target rows with exactly one label", value=known.preflight.rows_of_one),
        )  # fmt: skip
    inside = low is not None and high is not None and low >= -1e-6 and high <= 1 + 1e-6
    if inside or known.activation in ("sigmoid", "hardsigmoid"):
        return None
    seen_low, seen_high = known.preflight.output_minimum, known.preflight.output_maximum
    if not known.activation and seen_low is not None and seen_high is not None and 0 <= seen_low <= seen_high <= 1:
        return None  # whatever makes them, they were probabilities
    return _misfit(
        known, "the loss takes logarithms of the outputs, which are no probabilities", "outputs between 0 and 1",
        "sigmoid", Evidence(what="lowest output of the first batch", value=seen_low, expected="0 or more"),
        Evidence(what="highest output of the first batch", value=seen_high, expected="1 or less"),
    )  # fmt: skip


def _many_hot(known: Facts) -> bool:
    return known.data is not None and known.data.task == "multi-label"


def _under_distance(known: Facts) -> Misfit | None:
    flight = known.preflight
    bounded = flight.lowest is not None or flight.highest is not None
    exclusive = flight.rows_of_one >= EXCLUSIVE
    if (flight.rows == "probabilities" or known.activation == "softmax") and known.units > 1 and not exclusive:
        told = "a softmax makes outputs that sum to 1, and the targets do not"
        mend = "sigmoid" if _many_hot(known) else "identity"
        return _misfit(
            known, told, "outputs that are free of each other", mend,
            Evidence(what="share of targets beyond 0…1", value=flight.outside),
        )  # fmt: skip
    if flight.lowest is not None and flight.highest is None and _all_cut_off(flight):
        return _misfit(
            known, f"every output of the first batch is cut off at {flight.lowest:g}, where there is no gradient",
            "an output without a bound, as the targets are numbers", "identity",
            Evidence(what="largest output of the first batch", value=flight.output_maximum),
        )  # fmt: skip
    if bounded and flight.outside > OUTSIDE:
        low = "−∞" if flight.lowest is None else f"{flight.lowest:g}"
        high = "∞" if flight.highest is None else f"{flight.highest:g}"
        return _misfit(
            known, f"the output stays within {low}…{high}, and {flight.outside:.0%} of the targets lie beyond",
            "an output that can reach every target", "identity",
            Evidence(what="share of targets beyond the output's bounds", value=flight.outside, expected="0"),
        )  # fmt: skip
    return None


def _all_cut_off(flight: Preflight) -> bool:
    low, high = flight.lowest, flight.output_maximum
    return low is not None and high is not None and high <= low + 1e-12


# ------------------------------------------------------------------------------------------------ numbers of units


def _units(known: Facts) -> list[Misfit]:
    loss, data, units = known.loss, known.data, known.units
    classes = 0 if data is None else sum(count > 0 for count in data.class_counts)
    named = 0 if data is None else len(data.class_counts)
    seen = Evidence(what="output units", value=units)
    if loss.form in ("softmax", "log-likelihood", "cross-entropy"):
        if units == 1:
            need = max(2, named)
            return [
                Misfit(
                    "output-size-mismatch", "the loss compares the units of a row, and there is one only",
                    f"{need} units, one a class", (seen,), f"{need} units at the output",
                    (change("output-units", need),),
                )
            ]  # fmt: skip
        if loss.by_index and classes > units:
            return [
                Misfit(
                    "output-size-mismatch", f"{classes} classes and {plural(units, 'unit')}: some classes have none",
                    f"{named} units", (seen, Evidence(what="classes", value=classes)), f"{named} units at the output",
                    (change("output-units", named),),
                )
            ]  # fmt: skip
        return []
    if known.columns > 1 and loss.by_index:
        return []
    if units == 1 and loss.form in ("sigmoid", "binary-cross-entropy") and named > 2 and known.columns == 1:
        return [
            Misfit(
                "output-size-mismatch", f"one unit that says yes or no, for {named} classes", f"{named} units",
                (seen, Evidence(what="classes", value=named)),
                f"{named} units at the output and a cross-entropy over classes",
                (change("output-units", named), change("loss", "cross-entropy")),
            ),
            Misfit(
                "loss-mismatch", f"the loss asks yes or no, and is given the numbers of {named} classes",
                "a cross-entropy over classes", (Evidence(what="classes", value=classes, expected="2"),),
                "a cross-entropy over classes",
            ),
        ]  # fmt: skip
    if loss.form != "unknown" and not loss.by_index and units != known.columns:
        return [_other_columns(known, named, seen)]
    return []


def _other_columns(known: Facts, named: int, seen: Evidence) -> Misfit:
    """Outputs and targets of different widths, stretched over each other."""
    columns = known.columns
    if known.data is not None and known.data.task == "classification" and columns == 1 and known.units >= named > 2:
        return Misfit(
            "loss-mismatch", "class numbers are compared with every unit as if they were values to be met",
            "a cross-entropy over classes", (seen, Evidence(what="columns of the targets", value=columns)),
            "a cross-entropy over classes", (change("loss", "cross-entropy"),),
        )  # fmt: skip
    return Misfit(
        "output-size-mismatch",
        f"{plural(known.units, 'unit is', 'units are')} compared with {plural(columns, 'number')}: each with all",
        plural(columns, "unit"), (seen, Evidence(what="columns of the targets", value=columns)),
        f"{plural(columns, 'unit')} at the output", (change("output-units", columns),),
    )  # fmt: skip


def _other_question(known: Facts) -> list[Misfit]:
    """A loss for another kind of answer than the targets give."""
    loss, data = known.loss, known.data
    if data is None:
        return []
    exclusive = loss.form in ("softmax", "log-likelihood", "cross-entropy") and not loss.by_index
    if data.task == "multi-label" and exclusive and known.columns > 1 and known.preflight.rows_of_one < EXCLUSIVE:
        seen = Evidence(what="share of target rows with exactly one label", value=known.preflight.rows_of_one)
        return [
            Misfit(
                "loss-mismatch", "the loss is for classes that exclude each other, and these labels do not",
                "a binary cross-entropy for each label", (seen,), "a sigmoid and a binary cross-entropy for each label",
                (change("loss", "binary-cross-entropy"),),
            )
        ]  # fmt: skip
    targets = data.targets
    below = targets is not None and targets.minimum is not None and targets.minimum < min(loss.negative, 0.0)
    if data.task == "regression" and loss.form in ("sigmoid", "binary-cross-entropy") and below:
        assert targets is not None
        return [
            Misfit(
                "loss-mismatch", "the loss asks yes or no, and is given numbers to be met", "squared error",
                (Evidence(what="smallest target", value=targets.minimum, expected="0 or above"),
                 Evidence(what="largest target", value=targets.maximum, expected="1 or below")),
                "squared error as the loss", (change("loss", "squared"),),
            )
        ]  # fmt: skip
    classes = len(data.class_counts)
    numbers = data.task == "classification" and data.label_form in ("index", "column") and not data.label_names
    if numbers and loss.expects == "values" and not loss.by_index and known.units == known.columns == 1 and classes > 2:
        return [
            Misfit(
                "loss-mismatch", f"the numbers of {classes} classes are met as if they were quantities",
                f"{classes} units and a cross-entropy over classes",
                (Evidence(what="classes", value=classes), Evidence(what="output units", value=1)),
                f"{classes} units and a cross-entropy over classes",
                (change("output-units", classes), change("loss", "cross-entropy")), certain=False,
            )
        ]  # fmt: skip
    return []


def _broadcast(known: Facts) -> list[Misfit]:
    flight = known.preflight
    examples = flight.output_shape[0]
    if not flight.broadcast or known.units != known.columns or examples < 2:
        return []
    out, target = ("×".join(map(str, shape)) for shape in (flight.output_shape, flight.target_shape))
    return [
        Misfit(
            "shape-broadcast",
            f"outputs {out} and targets {target} are stretched to all pairs: every output is pulled to all targets",
            "outputs and targets of one shape", (Evidence(what="examples of the batch", value=examples),),
            "outputs.squeeze(-1), or targets.unsqueeze(-1)",
            (change("loss", "absolute" if known.loss.form == "absolute" else "squared"),)
            if known.loss.expects == "values" else (change("loss", "binary-cross-entropy"),),
        )
    ]  # fmt: skip
