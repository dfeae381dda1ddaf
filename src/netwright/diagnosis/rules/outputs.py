"""Output, loss and targets beside each other: what cannot fit by the facts, and what a copy shows to cost. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from netwright.diagnosis.experimenting import answer, change, experiment, proof
from netwright.diagnosis.fitting import Misfit, classes_by_distance, facts, mended, misfits
from netwright.diagnosis.registry import rule
from netwright.diagnosis.standing import FINE, Standing, standing, substantial
from netwright.observations import Experiment, Observations, Outcome
from netwright.records import Evidence, Finding, Remedy, Severity

REACHED = 0.5  # skill below which a loss that is known to learn classes badly is not excused by the result
FREE_OUTPUT = experiment(change("output", "identity"), worth=58.0, question="no activation at the output")
MEAN = experiment(change("loss-mean"), worth=57.0, question="the loss as a mean over the examples")


@rule("wrong-output-activation", "output-size-mismatch", "loss-mismatch", "shape-broadcast")
def misfitting(observations: Observations) -> Iterator[Finding | Experiment]:
    """Faults that follow from facts. They are tried all the same: the proof says what they cost."""
    found = misfits(observations)
    if not found:
        return
    together = mended(observations)
    outcome: Outcome | None = None
    if together:
        tried = experiment(*together, worth=80.0, question=" and ".join(dict.fromkeys(one.remedy for one in found)))
        outcome = answer(observations, tried)
        if outcome is None:
            yield tried
            return
    for one in found:
        yield _finding(one, outcome)


def _finding(misfit: Misfit, outcome: Outcome | None) -> Finding:
    severity: Severity = "error" if misfit.certain else "warning"
    confirmed = "" if outcome is None else proof(outcome)
    if outcome is not None and not outcome.better and _does_well(outcome):
        severity = "note"  # true, and it does no harm here
    return Finding(
        code=misfit.code, severity=severity, where="output", evidence=misfit.evidence, expected=misfit.expected,
        cause=misfit.cause, remedies=(Remedy(code=misfit.code, text=misfit.remedy),), confirmed_by=confirmed,
    )  # fmt: skip


def _does_well(outcome: Outcome) -> bool:
    return not outcome.failed and outcome.skills is not None and outcome.skills[0] >= FINE


@rule("wrong-output-activation")
def bounded_output(observations: Observations) -> Iterator[Finding | Experiment]:
    """A bound that all targets keep within may still hold the output up: a ReLU that is off has no gradient."""
    known = facts(observations)
    if known is None or misfits(observations) or known.loss.expects != "values" or known.loss.task != "regression":
        return
    flight = known.preflight
    if (flight.lowest is None) == (flight.highest is None):
        return
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
    if not isinstance(at, Standing) or not at.suspicious:
        return
    outcome = answer(observations, FREE_OUTPUT)
    if outcome is None:
        yield FREE_OUTPUT
        return
    if substantial(outcome):
        yield Finding(
            code="wrong-output-activation", severity="warning", where="output",
            evidence=(Evidence(what=f"bound of the output ({known.activation})", value=flight.lowest or 0.0),),
            expected="an output without a bound, as the targets are numbers",
            cause=f"{known.activation} cuts the output off, and there is no gradient where it is cut off",
            remedies=(Remedy(code="wrong-output-activation", text="no activation at the output"),),
            confidence=0.9, confirmed_by=proof(outcome),
        )  # fmt: skip


@rule("loss-mismatch")
def distance_between_classes(observations: Observations) -> Iterator[Finding | Experiment]:
    """Absolute or squared error on classes.

    Absolute error on probabilities gives every example the same weight, also those that are right already, and learns
    slowly or not at all (Zhang and Sabuncu 2018, section 3.2); squared error of unbounded outputs also punishes what is
    more than right (Bishop 2006, 4.1.3). Those two are named where little is learned, whatever a copy shows. Else
    squared error can be as good as cross-entropy (Hui and Belkin 2021), and a copy with that must be clearly better.
    """
    known, named = facts(observations), classes_by_distance(observations)
    if known is None or not named:
        return
    if any(misfit.code in ("output-size-mismatch", "loss-mismatch") for misfit in misfits(observations)):
        return
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
    if not isinstance(at, Standing) or not at.suspicious:
        return
    tried = experiment(change("loss", named), worth=59.0, question=f"{named} instead of {known.loss.form} error")
    outcome = answer(observations, tried)
    if outcome is None:
        yield tried
        return
    helps = substantial(outcome)
    absolute = known.loss.form == "absolute"
    known_to_be_bad = absolute or known.activation == "identity"
    if not helps and not (known_to_be_bad and at.skill < REACHED):
        return
    yield Finding(
        code="loss-mismatch", severity="warning", where="loss",
        evidence=(
            Evidence(what=f"{known.loss.form} error on classes, units", value=known.units),
            Evidence(what="skill with it", value=at.skill),
        ),
        expected=named.replace("-", " "),
        cause=(
            "absolute error pulls as hard on examples that are right as on those that are wrong" if absolute
            else "squared error of scores without bounds also pulls back what is more than right"
            if known.activation == "identity"
            else "squared error after an activation that is saturated hardly corrects what is wrong with certainty"
        ),
        remedies=(Remedy(code="loss-mismatch", text=f"{named.replace('-', ' ')} as the loss"),),
        confidence=0.95 if helps else 0.7, confirmed_by=proof(outcome) if helps or outcome.failed else "",
    )  # fmt: skip


@rule("loss-mismatch")
def summed(observations: Observations) -> Iterator[Finding | Experiment]:
    """A loss that is summed over the batch makes steps as many times longer as the batch has examples."""
    loss, plan = observations.loss, observations.plan
    batch = plan.batch_size if plan is not None else None
    if loss is None or loss.reduction != "sum" or not batch or batch < 2:
        return
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
    if not isinstance(at, Standing) or not at.suspicious:
        return
    outcome = answer(observations, MEAN)
    if outcome is None:
        yield MEAN
        return
    if not substantial(outcome):
        return
    yield Finding(
        code="loss-mismatch", severity="warning", where="loss",
        evidence=(Evidence(what="loss of a batch that is repeated", value=2.0, unit="times as large", expected="1"),),
        expected="the mean over the batch",
        cause=f"the loss is a sum over the batch: its gradient is {batch} times that of an example, and grows with it",
        remedies=(Remedy(code="loss-mismatch", text='reduction="mean"'),), confidence=0.95, confirmed_by=proof(outcome),
    )  # fmt: skip
