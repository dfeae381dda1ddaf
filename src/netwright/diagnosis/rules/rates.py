"""The learning rate, by trying others on the same budget; its symptoms in the curve. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from netwright.diagnosis.experimenting import FALLEN, OVER, answer, change, constant_loss, experiment, proof, replayed
from netwright.diagnosis.hindrance import suffers
from netwright.diagnosis.registry import rule
from netwright.diagnosis.rules import structure
from netwright.diagnosis.rules.scales import extreme_inputs
from netwright.diagnosis.standing import (
    EXPLAINS,
    ROOTS,
    USUAL,
    Standing,
    ask,
    beside,
    needed_beside_usual,
    possible,
    reached,
    roots,
    standing,
    substantial,
)  # fmt: skip
from netwright.observations import Experiment, Observations, Outcome
from netwright.observations.experiments import Replay
from netwright.records import Evidence, Finding, Remedy

LOWER = tuple(
    experiment(change("learning-rate", factor), worth=worth, question=f"the learning rate ÷ {1 / factor:g}")
    for factor, worth in ((0.1, 50.0), (0.01, 48.0), (0.001, 47.5))
)
HIGHER = tuple(
    experiment(change("learning-rate", factor), worth=worth, question=f"the learning rate × {factor:g}")
    for factor, worth in ((10.0, 52.0), (100.0, 51.0), (1000.0, 50.5))
)
NEW_WEIGHTS = experiment(change("initialization", "auto"), worth=47.0, question="weights by He's and Xavier's rule")
SCALED_INPUTS = experiment(change("standardize-inputs"), worth=55.0, question="standardised inputs")
SCALED_TARGETS = experiment(change("standardize-targets"), worth=54.0, question="standardised targets")
# Inputs or targets of another scale than these are standardised before a rate is blamed: the steps in the first layer
# go with the inputs' square (LeCun et al. 1998, "Efficient BackProp", 4.3), those of all layers with the targets'.
USUAL_SCALE = (0.05, 3.0)
NOTHING = 0.05  # skill below which nothing was learned: the first steps may have killed the network at ÷ 10 too
USUAL_GAIN = 3.0  # times: weights whose scale is as near to a usual rule's are not asked about
CLOSE = 0.1  # skill below the aim up to which a rate counts as found
FLAT = 0.1  # share of its first value by which a loss falls that has hardly begun to
ROSE = 0.5  # share of its first value by which a loss is higher at the end: more than batches differ by
# Norm of a step ÷ norm of the weights, beyond which lower rates are tried first: 1e-3 is usual, and a step of a tenth
# has replaced the weights after ten.
LONG_STEP = 0.1
DEAD = 0.9  # share of a layer's units that no example wakes any more


def tried_rates(observations: Observations, at: Standing) -> Experiment | list[Outcome]:
    """The rates that tell, in the order in which they are tried; an experiment where one is missing."""
    diverged = diverges(observations, replayed(observations))
    done: list[Outcome] = []
    both = (LOWER, HIGHER) if steps_too_long(observations) else (HIGHER, LOWER)
    for direction in (LOWER,) if diverged else both:
        for asked in direction:
            outcome = answer(observations, asked)
            if outcome is None:
                return asked
            done.append(outcome)
            if _helps(outcome) and reached(outcome) >= at.aim - CLOSE:
                return done
            hardly_moved = direction is HIGHER and (_flat(outcome) or _at_constant(observations, outcome))
            nothing = at.skill < NOTHING and direction is LOWER
            if not (_helps(outcome) or diverged or hardly_moved or nothing):
                break
        if any(_helps(outcome) for outcome in done):
            break
    return done


def _helps(outcome: Outcome) -> bool:
    """Likely better: enough to go on in this direction, not to say so."""
    return outcome.gain is not None and outcome.gain > (outcome.noise or 0.0)


def _flat(outcome: Outcome) -> bool:
    changed = outcome.changed
    if changed is None or changed.first_loss is None or changed.last_loss is None:
        return False
    return 0 <= changed.first_loss - changed.last_loss < FLAT * abs(changed.first_loss)


def diverges(observations: Observations, replay: Replay | None) -> bool:
    """Whether the loss of a copy ends far above where it began: above what the untrained network, or one that knows
    nothing, has on a batch."""
    if replay is None:
        return False
    flight = observations.preflight
    starts = [replay.first_loss] + ([flight.loss, flight.expected_loss] if flight is not None else [])
    known = [value for value in starts if value is not None]
    if replay.score is None or replay.last_loss is None:
        return True
    return bool(known) and replay.last_loss > max(known) + ROSE * abs(max(known))


def steps_too_long(observations: Observations) -> bool:
    """The first steps replace the weights, or nearly all units of a layer have died since."""
    ratios = observations.series.get("update-ratio").finite[:20]
    dead = [observations.series.get("dead-units", layer) for layer in observations.series.layers("dead-units")]
    died = any(len(series.finite) > 1 and series.finite[-1] >= DEAD > series.finite[0] for series in dead)
    return died or bool(ratios and max(ratios) > LONG_STEP)


def other_causes(observations: Observations, at: Standing) -> Iterator[Experiment]:
    """What is asked before a rate is blamed, where the facts leave it open."""
    if _odd_scale(observations, "inputs"):
        yield SCALED_INPUTS
    numbers = observations.data is not None and observations.data.task in ("regression", "unknown")
    if numbers and _odd_scale(observations, "targets"):
        yield SCALED_TARGETS
    yield NEW_WEIGHTS


def _odd_scale(observations: Observations, what: str) -> bool:
    facts = getattr(observations.data, what) if observations.data is not None else None
    if facts is None or facts.deviation is None or facts.mean is None:
        return False
    rms = math.hypot(facts.mean, facts.deviation)
    return not USUAL_SCALE[0] <= rms <= USUAL_SCALE[1]


@rule("learning-rate-too-high", "learning-rate-too-low")
def rates(observations: Observations) -> Iterator[Finding | Experiment]:
    """A rate that wins beyond the noise on the same steps, where nothing nearer to the root wins as much."""
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    ill = suffers(observations)
    assert not isinstance(ill, Experiment)
    if at is None or not (ill or diverges(observations, replayed(observations))):
        return
    missing = [asked for asked in other_causes(observations, at) if asked is not NEW_WEIGHTS]
    for asked in ask(observations, *missing):
        yield asked
        return
    tried = tried_rates(observations, at)
    if isinstance(tried, Experiment):
        yield tried
        return
    best = max(tried, key=reached, default=None)
    if best is None or not substantial(best):
        yield from _calmed(observations, tried)
        yield from _begun(observations, tried)
        yield from _among_several(observations)
        return
    if answer(observations, NEW_WEIGHTS) is None and not _usual_weights(observations):
        yield NEW_WEIGHTS
        return
    factor = float(best.experiment.changes[0].value)
    nearer = roots(observations, best)
    of_scale = [o for o in nearer if o.experiment.changes[0].kind in ("standardize-inputs", "standardize-targets")]
    weights = answer(observations, NEW_WEIGHTS)
    known = weights is None or not weights.failed or not weights.failed.endswith(OVER)
    both = answer(observations, beside_width(best))  # where units are lacking too, neither alone repairs
    most = max(reached(best), reached(both) if substantial(both) else 0.0)
    enough = most - at.skill >= EXPLAINS * (possible(observations, at) - at.skill)
    # A scale that mends it makes the same rate too high: its steps go with the scale's square.
    follows = bool(of_scale) and factor < 1
    blamed = known and (enough or follows or _calms(observations, best)) and len(of_scale) == len(nearer)
    if factor > 1 and extreme_inputs(observations):
        blamed = False  # so low because of what goes in: another one is right for inputs that are scaled
    yield _finding(observations, best, factor, nearer, blamed=blamed)


WIDER = experiment(change("width", 4.0), worth=35.0, question="hidden layers four times as wide, of 16 units at least")


def beside_width(rate: Outcome) -> Experiment:
    """Wider layers at a rate that was tried."""
    asked = rate.experiment
    return experiment(*asked.changes, *WIDER.changes, worth=34.5, question=f"{WIDER.question}, at {asked.question}")


def _calmer(observations: Observations) -> str:
    """The code of a cause other than a scale without which the loss does not rise either, at the same rate."""
    for outcome in observations.outcomes.values():
        parts = [part.kind for part in outcome.experiment.changes]
        structural = bool(parts) and all(kind in ROOTS and not kind.startswith("standardize") for kind in parts)
        calm = outcome.changed is not None and not diverges(observations, outcome.changed)
        if structural and calm and (substantial(outcome) or parts == ["initialization"]):
            return code_of([outcome])
    return ""


def _calms(observations: Observations, best: Outcome) -> bool:
    """The loss rises far above its start, or is no number any more, and at this rate it is not."""
    own = replayed(observations)
    return diverges(observations, own) and not diverges(observations, best.changed) and not _calmer(observations)


def _calmed(observations: Observations, tried: list[Outcome]) -> Iterator[Finding | Experiment]:
    """The loss rises far above its start, and at a lower rate it does not, even if nothing is learned by then either.

    Steps against the gradient that raise the loss are longer than the slope holds for (Nesterov 2004, 1.2.3: 2 / L).
    """
    if not diverges(observations, replayed(observations)):
        return
    calm = next((o for o in tried if o.changed is not None and not diverges(observations, o.changed)), None)
    if calm is None or calm.baseline is None or calm.changed is None:
        return
    if answer(observations, NEW_WEIGHTS) is None and not _usual_weights(observations):
        yield NEW_WEIGHTS
        return
    root = _calmer(observations)
    factor = float(calm.experiment.changes[0].value)
    rate = _rate(observations)
    text = f"{rate * factor:.3g} instead of {rate:.3g}" if rate else f"{factor:g} times the rate"
    last = [None if replay.last_loss is None else replay.last_loss for replay in (calm.baseline, calm.changed)]
    shown = ["not finite" if value is None else f"{value:.3g}" for value in last]
    yield Finding(
        code="learning-rate-too-high", severity="note" if root else "warning", where="optimiser",
        evidence=(
            Evidence(what="learning rate", value=rate),
            Evidence(what="loss at the end", value=last[0], expected=f"{shown[1]} at {text}"),
        ),
        expected=text, cause="steps so long that each raises the loss",
        remedies=(Remedy(code="learning-rate", text=f"learning rate {text}", change=_recipe_rate(rate, factor)),),
        confidence=0.5 if root else 0.85,
        confirmed_by=f"{calm.experiment.question}: the loss ends at {shown[1]} instead of {shown[0]} "
        f"({calm.changed.steps:,} steps)",
        because_of=root or _calming(observations),
    )  # fmt: skip


def _at_constant(observations: Observations, outcome: Outcome) -> bool:
    """Neither the training nor this copy has come below the loss of a constant."""
    constant, own, changed = constant_loss(observations), replayed(observations), outcome.changed
    if constant is None or own is None or own.last_loss is None or changed is None or changed.last_loss is None:
        return False
    return own.last_loss > BEGUN * constant and changed.last_loss > BEGUN * constant


BEGUN = 0.9  # of a constant's loss: what falls below it on the training part has begun to learn


def _begun(observations: Observations, tried: list[Outcome]) -> Iterator[Finding]:
    """The loss ends where that of a constant is, and at a higher rate clearly below, though no score tells yet: that of
    classes of unequal size stays a constant's for long."""
    constant, own = constant_loss(observations), replayed(observations)
    if constant is None or own is None or own.last_loss is None or own.last_loss < (1 - FALLEN) * constant:
        return
    if extreme_inputs(observations) or structure.fades(observations):
        return
    for outcome in tried:
        factor, changed = float(outcome.experiment.changes[0].value), outcome.changed
        lower = changed is not None and changed.last_loss is not None and changed.last_loss <= BEGUN * constant
        if factor < 1 or not lower or (outcome.gain or 0.0) < -(outcome.noise or 0.0):
            continue
        assert changed is not None
        rate = _rate(observations)
        text = f"{rate * factor:.3g} instead of {rate:.3g}" if rate else f"{factor:g} times the rate"
        yield Finding(
            code="learning-rate-too-low", severity="warning", where="optimiser",
            evidence=(
                Evidence(what="learning rate", value=rate),
                Evidence(what="loss at the end", value=own.last_loss, expected=f"{changed.last_loss:.3g} at {text}"),
                Evidence(what="loss of the best constant answer", value=constant),
            ),
            expected=text, cause="steps too short for the planned training",
            remedies=(Remedy(code="learning-rate", text=f"learning rate {text}", change=_recipe_rate(rate, factor)),),
            confidence=0.8,
            confirmed_by=f"{outcome.experiment.question}: the loss ends at {changed.last_loss:.3g} instead of "
            f"{own.last_loss:.3g}, a constant's is {constant:.3g} ({changed.steps:,} steps)",
        )  # fmt: skip
        return


def _calming(observations: Observations) -> str:
    """The scale with which the loss does not rise at the same rate."""
    for asked, code in ((SCALED_INPUTS, "input-not-normalized"), (SCALED_TARGETS, "target-not-normalized")):
        outcome = answer(observations, asked)
        if outcome is not None and outcome.changed is not None and not diverges(observations, outcome.changed):
            return code
    return ""


KEPT_RATE = change("usual-settings", {"without": "optimizer"})


def _among_several(observations: Observations) -> Iterator[Finding | Experiment]:
    """Several faults hide each other: with all else as usual the rate is what is missing, and another one repairs."""
    kept = experiment(KEPT_RATE, worth=46.0, question="all but optimiser and rate as usual")
    needed = needed_beside_usual(observations, kept)
    if isinstance(needed, Experiment):
        yield needed
        return
    if not needed:
        return
    ground, usual = answer(observations, kept), answer(observations, USUAL)
    assert ground is not None
    high = diverges(observations, ground.changed) or steps_too_long(observations)
    for factor in (0.1, 0.01) if high else (10.0, 100.0):
        named = f"÷ {1 / factor:g}" if high else f"× {factor:g}"
        asked = experiment(
            KEPT_RATE,
            change("learning-rate", factor),
            worth=45.0,
            question=f"the learning rate {named}, all else as usual",
        )
        outcome = answer(observations, asked)
        if outcome is None:
            yield asked
            return
        gained = beside(outcome, ground, asked.question)
        if gained is None or usual is None or not substantial(gained) or gained.skills is None:
            continue
        if gained.skills[1] - gained.skills[0] >= EXPLAINS * (reached(usual) - gained.skills[0]):
            told = Outcome(
                experiment=experiment(change("learning-rate", factor), question=asked.question),
                **{name: getattr(gained, name) for name in gained.__struct_fields__ if name != "experiment"},
            )
            yield _finding(observations, told, factor, [], blamed=True)
            return


def _usual_weights(observations: Observations) -> bool:
    """All weights were seen to start as a usual rule draws them: another draw needs no experiment."""
    layers = observations.initial.layers if observations.initial is not None else ()
    starts = [layer.weight for layer in layers if layer.weight is not None]
    return bool(starts) and all(
        start.lowest_gain / USUAL_GAIN <= start.gain <= start.highest_gain * USUAL_GAIN and not start.equal_rows
        for start in starts
    )


def _finding(
    observations: Observations, best: Outcome, factor: float, nearer: list[Outcome], *, blamed: bool
) -> Finding:
    high = factor < 1
    rate = _rate(observations)
    code = "learning-rate-too-high" if high else "learning-rate-too-low"
    text = f"{rate * factor:.3g} instead of {rate:.3g}" if rate else f"{factor:g} times the rate"
    root = code_of(nearer)
    assert best.skills is not None
    return Finding(
        code=code,
        severity="warning" if blamed else "note",
        where="optimiser",
        evidence=(
            Evidence(what="learning rate", value=rate),
            Evidence(what="skill with it", value=best.skills[0], expected=f"{best.skills[1]:.2f} at {text}"),
        ),
        expected=text,
        cause=("steps so long that the loss cannot settle" if high else "steps too short for the planned training"),
        remedies=(Remedy(code="learning-rate", text=f"learning rate {text}", change=_recipe_rate(rate, factor)),),
        confidence=0.9 if not nearer else 0.5,
        confirmed_by=proof(best),
        because_of=root or ("input-not-normalized" if not high and not blamed and extreme_inputs(observations) else ""),
    )


def code_of(found: Sequence[Outcome]) -> str:
    """The code of the cause that the first of these experiments mends; "" where there is none."""
    for outcome in found[:1]:
        part = outcome.experiment.changes[0]
        lower = isinstance(part.value, float) and part.value < 1
        if part.kind == "learning-rate":
            return "learning-rate-too-high" if lower else "learning-rate-too-low"
        if part.kind == "batch-size":
            return "batch-too-large" if lower else "batch-too-small"
        return CODE_OF.get(part.kind, "")
    return ""


CODE_OF = {
    "standardize-inputs": "input-not-normalized", "standardize-targets": "target-not-normalized",
    "initialization": "bad-initialization", "output": "wrong-output-activation", "loss": "loss-mismatch",
    "activation": "wrong-hidden-activation", "nonlinearity": "missing-nonlinearity", "train-all": "frozen-parameters",
    "drop-bad-rows": "bad-values", "same-preprocessing": "split-mismatch", "output-units": "output-size-mismatch",
    "group-norm": "norm-batch-too-small", "width": "too-small", "depth": "too-deep", "dropout": "over-regularized",
    "weight-decay": "weight-decay-too-high",
}  # fmt: skip


def _rate(observations: Observations) -> float | None:
    groups = observations.optimizer.groups if observations.optimizer is not None else ()
    rates = [group["lr"] for group in groups if isinstance(group.get("lr"), float | int)]
    return float(max(rates)) if rates else None


def _recipe_rate(rate: float | None, factor: float) -> dict[str, float]:
    return {"train.lr": rate * factor} if rate else {}


# ------------------------------------------------------------------------------ symptoms in the user's own curve

SETTLED = 0.3  # of the run: its last part, in which a healthy loss no longer swings
SWINGS = 0.5  # of the loss' mean, as standard deviation of means over whole epochs: far beyond the order of examples


@rule("oscillating-loss")
def oscillating(observations: Observations) -> Iterator[Finding | Experiment]:
    """The loss swings from epoch to epoch late in the run: standard deviation against mean, of epochs' means."""
    plan, values = observations.plan, observations.series.get("loss").values
    if plan is None or not plan.epochs or not plan.batch_size or not plan.examples or plan.epochs < 10:
        return
    steps = max(1, math.ceil(plan.examples / plan.batch_size))
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if len(finite) < len(values) or len(finite) < 10 * steps:
        return
    means = [sum(finite[i : i + steps]) / steps for i in range(0, len(finite) - steps + 1, steps)]
    late = means[-max(4, int(SETTLED * len(means))) :]
    mean = sum(late) / len(late)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in late) / (len(late) - 1))
    first = means[0]
    if mean > 0 and deviation > SWINGS * mean and mean > 0.1 * first:  # swings near zero are rounding
        yield Finding(
            code="oscillating-loss",
            severity="note",
            where="loss",
            evidence=(Evidence(what="deviation of epochs' losses / their mean", value=deviation / mean),),
            expected=f"below {SWINGS:g} in the last {SETTLED:.0%} of the run",
            cause="steps too long, or batches too small to agree",
            remedies=(Remedy(code="learning-rate", text="a lower learning rate at the end (a schedule)"),),
            confidence=0.6,
        )


__all__ = [
    "CODE_OF", "HIGHER", "LOWER", "WIDER", "beside_width", "code_of", "diverges", "rates", "steps_too_long",
    "tried_rates",
]  # fmt: skip
