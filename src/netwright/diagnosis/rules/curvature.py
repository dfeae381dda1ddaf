"""What the loss's curvature at the weights of now says: a saddle, one direction far steeper than others, the edge of
stability. It is measured where a loss stands still, or on request (`Watch.look_closer`). All are symptoms: notes.
No torch.
"""

from __future__ import annotations

from collections.abc import Iterator

from netwright.diagnosis.experimenting import answer, change, experiment, proof
from netwright.diagnosis.registry import rule
from netwright.diagnosis.standing import standing, substantial
from netwright.observations import Experiment, Observations
from netwright.records import Evidence, Finding, Remedy

DOWN = 0.01  # share of the largest curvature from which negative curvature counts: less is Lanczos' and float32's noise
FAR_APART = 1e3  # λ_max ÷ λ_min in absolute value: plain descent needs as many steps. Healthy networks have more, so
# it takes a rate at its limit as well, and an optimiser with a rate for each weight that repairs the training.
NEAR_LIMIT = 0.1  # of the longest stable rate: below it the rate is what is small, not the flat directions' curvature
EDGE = (0.8, 1.2)  # of the longest stable rate (Cohen et al. 2021, figures 1 and 5: within a few percent)
WHOLE_BATCH = 0.5  # share of the training part: the theorem is of full batches; small ones stay below the edge
FELL = 0.1  # share of its first value by which the loss fell


EACH_ITS_RATE = experiment(change("optimizer", "adam"), worth=20.0, question="Adam, which has a rate for each weight")


@rule("saddle-point")
def saddle(observations: Observations) -> Iterator[Finding]:
    """A loss that stays where it began, no gradient beyond the noise, and curvature that is negative somewhere."""
    largest, smallest = (observations.series.get(name).last for name in ("sharpness", "smallest-curvature"))
    noise = observations.series.get("gradient-noise-scale")
    lost = bool(noise.values) and noise.values[-1] is None  # |G|² was not above what so many examples' noise makes
    if not lost or largest is None or smallest is None or largest <= 0 or smallest > -DOWN * largest:
        return
    if _fell(observations) or not _behind(observations):
        return  # trainings on their way pass directions that curve down all the time
    yield Finding(
        code="saddle-point", severity="note", where="loss",
        evidence=(
            Evidence(
                what="gradient ÷ √(largest curvature · loss), lost in the examples' noise",
                value=observations.series.get("relative-slope").last,
            ),
            Evidence(what="smallest curvature ÷ largest", value=smallest / largest, expected="0 or above in a minimum"),
        ),
        cause="no gradient beyond the noise, and a direction in which the loss curves down: a saddle, not a minimum",
        remedies=(
            Remedy(code="initialization", text="weights that are random and not too small (He's or Xavier's rule)"),
            Remedy(code="optimizer", text="momentum or Adam, smaller batches: noise leaves a saddle"),
        ),
        confidence=0.7,
    )  # fmt: skip


@rule("ill-conditioned")
def ill_conditioned(observations: Observations) -> Iterator[Finding | Experiment]:
    """Plain descent whose rate the steepest direction bounds, and which a rate for each weight repairs."""
    condition, limit = observations.series.get("condition-number").last, _of_limit(observations)
    if condition is None or limit is None or not _plain(observations) or not _behind(observations):
        return
    if condition < FAR_APART or limit < NEAR_LIMIT:
        return
    outcome = answer(observations, EACH_ITS_RATE)
    if outcome is None:
        yield EACH_ITS_RATE
        return
    if not substantial(outcome):
        return
    yield Finding(
        code="ill-conditioned", severity="note", where="loss",
        evidence=(
            Evidence(what="largest curvature ÷ smallest", value=condition, expected=f"below {FAR_APART:g}"),
            Evidence(what="rate ÷ longest stable rate", value=limit),
        ),
        cause="the steepest direction bounds the rate, at which the flat ones take thousands of steps",
        remedies=(
            Remedy(code="standardize-inputs", text="inputs of one scale, around zero; norm layers"),
            Remedy(code="optimizer", text="Adam, or momentum"),
        ),
        confidence=0.6, confirmed_by=proof(outcome),
    )  # fmt: skip


@rule("edge-of-stability")
def edge(observations: Observations) -> Iterator[Finding]:
    """Sharpness where longer steps would diverge, full batches, and a loss that falls all the same."""
    limit, plan = _of_limit(observations), observations.plan
    if limit is None or not EDGE[0] <= limit <= EDGE[1] or plan is None or not plan.batch_size or not plan.examples:
        return
    if plan.batch_size < WHOLE_BATCH * plan.examples or not _fell(observations):
        return
    yield Finding(
        code="edge-of-stability", severity="note", where="loss",
        evidence=(
            Evidence(what="rate ÷ longest stable rate, 2 (1 + momentum) ÷ sharpness", value=limit, expected="below 1"),
            Evidence(what="sharpness", value=observations.series.get("sharpness").last),
        ),
        cause="full-batch descent sharpens the loss until its rate is just stable; it falls, not at every step",
        remedies=(Remedy(code="learning-rate", text="a lower rate, or a schedule, where it does not fall any more"),),
        confidence=0.7,
    )  # fmt: skip


def _fell(observations: Observations) -> bool:
    """The loss of the last tenth of the steps is clearly below the first."""
    losses = observations.series.get("loss").finite
    last = losses[-max(1, len(losses) // 10) :]
    return len(losses) > 1 and sum(last) / len(last) < (1 - FELL) * losses[0]


def _behind(observations: Observations) -> bool:
    """Whether better is known to be possible, as far as that was tried."""
    at = standing(observations)
    return at is not None and not isinstance(at, Experiment) and at.suspicious


def _momentum(observations: Observations) -> float | None:
    """Of plain descent; None for optimisers with a rate for each weight, or where none was seen."""
    own = observations.optimizer
    if own is None or own.kind != "SGD" or not own.groups:
        return None
    return float(own.groups[0].get("momentum") or 0.0)


def _plain(observations: Observations) -> bool:
    return _momentum(observations) == 0.0


def _of_limit(observations: Observations) -> float | None:
    """The rate as a share of the longest stable one on a quadratic, 2 (1 + β) ÷ λ_max (Goh 2017)."""
    product, momentum = observations.series.get("rate-times-sharpness").last, _momentum(observations)
    return None if product is None or momentum is None else product / (2 * (1 + momentum))
