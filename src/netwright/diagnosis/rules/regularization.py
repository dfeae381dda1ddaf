"""Penalties that hold a network back, by leaving them out; and examples learned by heart. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from netwright.diagnosis.experimenting import (
    answer,
    change,
    experiment,
    loop_gap,
    own_scores,
    proof,
    replayed,
    skill,
)  # fmt: skip
from netwright.diagnosis.fitting import mended
from netwright.diagnosis.registry import rule
from netwright.diagnosis.rules.rates import LOWER, code_of, steps_too_long
from netwright.diagnosis.standing import as_good, beside, roots, standing, substantial, worth_a_finding
from netwright.observations import Experiment, Observations, Outcome
from netwright.records import Evidence, Finding, Remedy

NO_DECAY = experiment(change("weight-decay", 0.0), worth=58.0, question="no weight decay")
NO_DROPOUT = experiment(change("dropout", 0.0), worth=57.0, question="no dropout")
# Weaker ones are usual and seldom hurt: weight decay of AdamW up to 0.1 (its libraries' defaults are 0.01 and 0.05),
# dropout of 0.5 (Srivastava et al. 2014). They are not even tried.
DECAY_TRIED, DROPOUT_TRIED = 1e-3, 0.3


@rule("weight-decay-too-high")
def weight_decay(observations: Observations) -> Iterator[Finding | Experiment]:
    """Without weight decay it learns substantially better."""
    groups = observations.optimizer.groups if observations.optimizer is not None else ()
    decay = max((float(group.get("weight_decay") or 0.0) for group in groups), default=0.0)
    if decay < DECAY_TRIED:
        return
    yield from _without(
        observations, NO_DECAY, "weight-decay-too-high", "weight decay", decay,
        "weights are pulled to zero faster than they learn",
        Remedy(code="weight-decay", text="no weight decay, then 1e-4", change={"train.weight_decay": 0.0}),
    )  # fmt: skip


@rule("over-regularized")
def over_regularized(observations: Observations) -> Iterator[Finding | Experiment]:
    """Without dropout, or without what the user's loop adds to the loss, it learns substantially better."""
    layers = observations.network.layers if observations.network is not None else ()
    shares = [float(layer.options.get("p") or 0.0) for layer in layers if "Dropout" in layer.kind]
    if shares and max(shares) >= DROPOUT_TRIED:
        yield from _without(
            observations, NO_DROPOUT, "over-regularized", "dropout", max(shares), "so many units are left out that "
            "little is learned", Remedy(code="dropout", text="less dropout, 0.2", change={"network.dropout": 0.2}),
        )  # fmt: skip
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    gap, replay = loop_gap(observations), replayed(observations)
    if gap is None or not gap.adds_to_loss or gap.scores is None or replay is None:
        return
    own, plain = (skill(score, replay.chance) for score in gap.scores)
    if not worth_a_finding(own, plain):
        return
    yield Finding(
        code="over-regularized",
        severity="warning",
        where="loss",
        evidence=(
            Evidence(what="loss at the first step against the plain loss", value=gap.added, unit="times", step=1),
            Evidence(what="score", value=gap.scores[0], expected=f"{plain:.3f} of the plain loss"),
        ),
        cause="what is added to the loss outweighs it",
        remedies=(Remedy(code="penalty", text="a tenth of the penalty, or none"),),
        confidence=0.9,
        confirmed_by=f"the plain loss alone, in the same steps: {gap.scores[0]:.3f} → {gap.scores[1]:.3f}",
    )


def _without(
    observations: Observations, asked: Experiment, code: str, what: str, value: float, cause: str, remedy: Remedy
) -> Iterator[Finding | Experiment]:
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    if at is None or not at.suspicious:
        return
    others = mended(observations)  # faults of output and loss: without them, or what is left out makes up for them
    both = experiment(*others, *asked.changes, worth=asked.worth, question=asked.question) if others else asked
    alone = experiment(*others, worth=80.0) if others else None
    # Steps that replace the weights are the nearer cause of weights that the decay cannot hold.
    calmer = LOWER[0] if code == "weight-decay-too-high" and steps_too_long(observations) else None
    for one in (both, alone, calmer):
        if one is not None and answer(observations, one) is None:
            yield one
            return
    outcome = answer(observations, both)
    if outcome is not None and alone is not None:
        outcome = beside(outcome, answer(observations, alone), asked.question)
    if outcome is None or not substantial(outcome):
        return
    nearer = [other for other in roots(observations, outcome) if _clearly(other, outcome)]
    lower = answer(observations, calmer) if calmer is not None else None
    because = code_of(nearer) or (code_of([lower]) if lower is not None and as_good(outcome, lower) else "")
    yield Finding(
        code=code,
        severity="note" if because else "warning",
        where="optimiser" if code.startswith("weight") else "network",
        evidence=(Evidence(what=what, value=value),),
        cause=cause,
        remedies=(remedy,),
        confidence=0.5 if because else 0.9,
        confirmed_by=proof(outcome),
        because_of=because,
    )


def _clearly(other: Outcome, outcome: Outcome) -> bool:
    """Better, not as good only: a penalty is left out at no cost."""
    assert other.skills is not None
    assert outcome.skills is not None
    return worth_a_finding(outcome.skills[1], other.skills[1])


# ---------------------------------------------------------------------------------------------- overfitting

Z = 3.0  # standard errors of the held-out score


@rule("overfitting")
def overfitting(observations: Observations) -> Iterator[Finding | Experiment]:
    """The held-out score fell back by a third of its error from its best, beyond the noise, while training went on."""
    held_out, train = own_scores(observations), own_scores(observations, "train")
    replay = replayed(observations)
    known = [score for score in held_out if score is not None]
    if len(known) < 4 or len(known) < len(held_out) or replay is None or not train or train[-1] is None:
        return
    # The best of many epochs is a lucky one: the mean of three around it says where the curve was.
    best = max(range(1, len(known) - 1), key=lambda epoch: sum(known[epoch - 1 : epoch + 2]))
    top, end = sum(known[best - 1 : best + 2]) / 3, sum(known[-2:]) / 2
    noise = math.sqrt(2) * replay.uncertainty
    if top - end <= Z * noise or not worth_a_finding(skill(end, replay.chance), skill(top, replay.chance)):
        return
    if train[-1] is None or train[-1] <= top:
        return
    yield Finding(
        code="overfitting",
        severity="note",
        where="training",
        evidence=(
            Evidence(what="best held-out score", value=top, step=best + 1),
            Evidence(what="held-out score at the end", value=end, expected=f"{top:.3f} as at epoch {best + 1}"),
            Evidence(what="training score at the end", value=train[-1]),
        ),
        cause="it learns its examples by heart",
        remedies=(
            Remedy(code="patience", text=f"stop near epoch {best + 1}", change={"train.keep": "best"}),
            Remedy(code="weight-decay", text="weight decay, dropout, augmentation, or more examples"),
        ),
        confidence=0.8,
    )
