"""The batch size, and optimisers that batches do not suit, by trying others on the same epochs. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from netwright.diagnosis.experimenting import answer, change, experiment, proof, replayed
from netwright.diagnosis.registry import rule
from netwright.diagnosis.rules.rates import code_of, diverges, tried_rates
from netwright.diagnosis.standing import LEAST_GAIN, reached, roots, standing, substantial
from netwright.observations import Experiment, Observations, Outcome
from netwright.records import Evidence, Finding, Remedy

# Fewer steps an epoch than this: smaller batches make more of the same examples. Below it an epoch is hardly more than
# one step of the full gradient.
FEW_STEPS = 8
# Batches of so few examples have gradients that are mostly noise, and batch norm's statistics are useless
# (Wu and He 2018: the error of batch norm grows from 8 on, and by a third at 2).
TINY = 4
ENOUGH = 32  # Masters and Luschi 2018: "the best performance has been consistently obtained for 2 to 32"
SMALLER = experiment(change("batch-size", 0.125), worth=40.0, question="batches of an eighth, the same epochs")
LARGER = experiment(change("batch-size", {"to": ENOUGH}), worth=60.0, question=f"batches of {ENOUGH}, the same epochs")
ADAM = experiment(change("optimizer", "adam"), worth=56.0, question="Adam at its usual rate")
WHOLE_BATCH_ONLY = {
    "Rprop": "follows the signs of gradients, which are noise on mini-batches (Riedmiller and Braun 1993)",
    "LBFGS": "fits a curvature to differences of gradients, which are noise on mini-batches (Bollapragada et al. 2018)",
    "ConjugateGradient": "makes directions conjugate by differences of gradients, which are noise on mini-batches",
    "NewtonCG": "solves for the minimum of one batch, which is not that of the next",
}


@rule("batch-too-large", "batch-too-small")
def batch_sizes(observations: Observations) -> Iterator[Finding | Experiment]:
    """Smaller batches win on the same epochs and a higher rate does not; larger ones win, and a lower rate does not."""
    plan = observations.plan
    if plan is None or not plan.batch_size or not plan.examples:
        return
    small, large = plan.batch_size <= TINY < plan.examples // 4, plan.batch_size * FEW_STEPS > plan.examples
    if not (small or (large and plan.batch_size > TINY)):
        return
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    if at is None or not at.suspicious:
        return
    asked = LARGER if small else SMALLER
    outcome = answer(observations, asked)
    if outcome is None:
        yield asked
        return
    if not substantial(outcome):
        return
    rates = tried_rates(observations, at)
    if isinstance(rates, Experiment):
        yield rates
        return
    rate = max(rates, key=reached, default=None)
    nearer = roots(observations, outcome)
    beaten = rate is not None and substantial(rate) and reached(rate) > reached(outcome) + (outcome.noise or 0.0)
    code = "batch-too-small" if small else "batch-too-large"
    cause = "gradients of so few examples are mostly noise" if small else "too few steps are made of the examples"
    yield _finding(observations, outcome, code, cause, rate if beaten else None, nearer)


def _finding(
    observations: Observations, outcome: Outcome, code: str, cause: str, rate: Outcome | None, nearer: list[Outcome]
) -> Finding:
    plan = observations.plan
    assert plan is not None
    assert plan.batch_size is not None
    value = outcome.experiment.changes[0].value
    size = value["to"] if isinstance(value, dict) else max(1, round(plan.batch_size * value))
    because = code_of(nearer)
    if not because and rate is not None:
        because = "learning-rate-too-high" if float(rate.experiment.changes[0].value) < 1 else "learning-rate-too-low"
    steps = math.ceil(plan.examples / plan.batch_size) if plan.examples else None
    return Finding(
        code=code,
        severity="note" if because else "warning",
        where="plan",
        evidence=(Evidence(what="batch size", value=plan.batch_size), Evidence(what="steps an epoch", value=steps)),
        expected=f"about {size}",
        cause=cause,
        remedies=(Remedy(code="batch-size", text=f"batches of {size}", change={"train.batch_size": size}),),
        confidence=0.5 if because else 0.8,
        confirmed_by=proof(outcome),
        because_of=because,
    )


@rule("wrong-optimizer-for-batch")
def whole_batch_optimizers(observations: Observations) -> Iterator[Finding | Experiment]:
    """An optimiser for full gradients on mini-batches, where Adam does substantially better on the same steps."""
    plan, optimizer = observations.plan, observations.optimizer
    if optimizer is None or optimizer.kind not in WHOLE_BATCH_ONLY or plan is None:
        return
    if not plan.batch_size or not plan.examples or plan.batch_size >= plan.examples:
        return
    outcome = answer(observations, ADAM)
    if outcome is None:
        yield ADAM
        return
    # Known by theory to be wrong: a gain that can be felt, at two standard errors, says that it is so here; so does a
    # loss that rises far above its start where Adam's does not.
    gains = bool(outcome.gain and outcome.skills and outcome.gain > 2 * (outcome.noise or 0.0))
    wins = gains and outcome.skills is not None and outcome.skills[1] - outcome.skills[0] >= LEAST_GAIN
    own = replayed(observations) or outcome.baseline
    calmed = outcome.changed is not None and diverges(observations, own) and not diverges(observations, outcome.changed)
    said = proof(outcome)
    if calmed and not said and own is not None and outcome.changed is not None:
        last = "not finite" if own.last_loss is None else f"{own.last_loss:.3g}"
        said = f"{outcome.experiment.question}: the loss ends at {outcome.changed.last_loss:.3g} instead of {last}"
    yield Finding(
        code="wrong-optimizer-for-batch",
        severity="warning" if wins or calmed else "note",
        where="optimiser",
        evidence=(Evidence(what="share of the examples in a batch", value=plan.batch_size / plan.examples),),
        expected=f"batches of all {plan.examples} examples, or an optimiser for mini-batches",
        cause=f"{optimizer.kind} {WHOLE_BATCH_ONLY[optimizer.kind]}",
        remedies=(
            Remedy(code="optimizer", text="Adam at 0.001", change={"train.optimizer": "adam", "train.lr": 0.001}),
        ),
        confidence=0.95 if wins or calmed else 0.4,
        confirmed_by=said if wins or calmed else "",
    )
