"""Networks that are too small or too deep, by widening and shortening them. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from netwright.diagnosis.experimenting import answer, change, experiment, proof, replayed, skill
from netwright.diagnosis.registry import rule
from netwright.diagnosis.rules.parameters import without_gradient
from netwright.diagnosis.rules.rates import WIDER, beside_width, code_of, tried_rates
from netwright.diagnosis.standing import (
    EXPLAINS,
    Standing,
    beside,
    explaining,
    reached,
    roots,
    standing,
    substantial,
    worth_a_finding,
)
from netwright.observations import Experiment, Observations
from netwright.records import Evidence, Finding, Remedy

SHORTER = experiment(change("depth", 3), worth=53.0, question="three of the layers of the same shape in a row")
# Plain networks (no norm, no residuals) of fewer layers train at usual initialisations (He et al. 2015: 30 layers
# diverge or stall under Xavier's, 22 learn slower; sigmoid stalls at 5, Glorot and Bengio 2010).
DEEP = 8
NARROW = 16  # units: a hidden layer that is wider is not tried to be widened


@rule("too-small", "underfitting")
def too_small(observations: Observations) -> Iterator[Finding | Experiment]:
    """A wider network learns its training examples substantially better, and no other setting does as much."""
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    replay = replayed(observations)
    if at is None or not at.suspicious or replay is None:
        return
    fits = skill(replay.train_score, replay.chance) if replay.train_score is not None else 0.0
    if not worth_a_finding(fits, at.aim):
        return  # what it was shown it knows
    narrow = _narrowest(observations)
    if narrow is None or narrow > NARROW:
        return
    rates = tried_rates(observations, at)
    if isinstance(rates, Experiment):
        yield rates
        return
    if any(substantial(o) and reached(o) - at.skill >= EXPLAINS * (at.aim - at.skill) for o in rates):
        return  # as wide as it is it learns what there is to learn
    outcome = answer(observations, WIDER)
    if outcome is None:
        yield WIDER
        return
    rate = max(rates, key=reached, default=None)
    if not substantial(outcome) and rate is not None and substantial(rate):  # each hides what the other would win
        both = answer(observations, beside_width(rate))
        if both is None:
            yield beside_width(rate)
            return
        outcome = beside(both, rate, beside_width(rate).question) or outcome
    if not substantial(outcome):
        return
    # Wider networks also learn faster: a repair of the rate or at the root that comes as far explains more.
    others = explaining(observations, outcome) + [
        o for o in rates if substantial(o) and reached(o) >= reached(outcome) - 0.02
    ]
    because = code_of(others) or _cut(observations)
    yield Finding(
        code="too-small",
        severity="note" if because else "warning",
        where="network",
        evidence=(
            Evidence(what="units of the narrowest hidden layer", value=narrow),
            Evidence(what="skill on the training part", value=fits, expected=f"{reached(outcome):.2f}"),
        ),
        cause="too few units to represent what is to be learned",
        remedies=(Remedy(code="width", text="hidden layers four times as wide, of 16 units at least"),),
        confidence=0.5 if because else 0.8,
        confirmed_by=proof(outcome),
        because_of=because,
    )


def _cut(observations: Observations) -> str:
    """The gradient is cut: layers that are not trained fit nothing, however many units they have."""
    told = (one for one in without_gradient(observations) if isinstance(one, Finding))
    return next((one.code for one in told if one.severity == "error"), "")


def _narrowest(observations: Observations) -> int | None:
    """Units of the narrowest layer with weights before the last one."""
    layers = observations.network.layers if observations.network is not None else ()
    wide = [layer.parameters["weight"][0] for layer in layers if len(layer.parameters.get("weight", ())) >= 2]
    return min(wide[:-1]) if len(wide) > 1 else None


@rule("too-deep")
def too_deep(observations: Observations) -> Iterator[Finding | Experiment]:
    """Many layers, and with three of each row of equal ones it learns substantially better."""
    layers = observations.network.layers if observations.network is not None else ()
    count = sum(len(layer.parameters.get("weight", ())) >= 2 for layer in layers)
    if count < DEEP:
        return
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    if at is None or not (at.suspicious or _poor(at)):
        return
    outcome = answer(observations, SHORTER)
    if outcome is None:
        yield SHORTER
        return
    if not substantial(outcome):
        return
    nearer = roots(observations, outcome)
    because = code_of(nearer)
    yield Finding(
        code="too-deep",
        severity="warning",
        where="network",
        evidence=(Evidence(what="layers with weights in a row", value=count, expected=f"fewer than {DEEP}"),),
        cause="signals and gradients fade or grow over so many layers without norms or residual connections",
        remedies=(
            Remedy(code="depth", text="fewer layers"),
            Remedy(code="residual", text="residual connections around them, and norms"),
        ),
        confidence=0.6 if because else 0.85,
        confirmed_by=proof(outcome),
        because_of=because,
    )


def _poor(at: Standing) -> bool:
    return at.skill < 0.5
