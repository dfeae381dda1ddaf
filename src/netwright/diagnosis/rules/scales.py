"""Inputs and targets of another scale than weights and rates are made for, and whether it hurts. No torch.

Where a copy can be trained, harm is measured; where none can, only what is far beyond the usual is said aloud.
"""

from __future__ import annotations

from collections.abc import Iterator

from netwright.diagnosis.experimenting import answer, change, experiment, proof
from netwright.diagnosis.fitting import classes_by_distance, mended
from netwright.diagnosis.registry import rule
from netwright.diagnosis.standing import LEAST_GAIN, NEEDED, beside, standing, substantial
from netwright.observations import Experiment, Observations, Outcome
from netwright.observations.data import ArrayFacts
from netwright.observations.experiments import Change
from netwright.records import Evidence, Finding, Remedy, Severity

# Weights are initialised for inputs of mean square 1 (LeCun et al. 1998, 4.3). Pixels in 0…1 have an rms of 0.1
# to 0.6 and are fine; what lies within these is not even tried.
USUAL_RMS = (0.05, 2.5)
USUAL_SPREAD = 10.0  # largest / median rms of a feature: the Hessian's eigenvalues spread with its square
USUAL_OFFSET = 3.0  # length of the mean / of the deviations: one eigenvalue is 1 + 9 times as large as the others
EXTREME = 10.0  # times beyond those: said aloud without an experiment, where no norm layer comes first


@rule("input-not-normalized")
def input_scale(observations: Observations) -> Iterator[Finding | Experiment]:
    """Inputs of another scale than weights are made for, where standardised ones win."""
    audit = observations.data
    if audit is None or audit.inputs is None or _tokens(observations):
        return
    odd = _odd_inputs(audit.inputs)
    if not odd:
        return
    yield from _scale(
        observations, "input-not-normalized", change("standardize-inputs"), odd, audit.inputs,
        worth=56.0, question="standardised inputs", loud=_beyond(audit.inputs) and not _norm_first(observations),
        where="inputs", cause="the first layer's steps go with the inputs' square, feature by feature",
        remedy="subtract the training part's mean and divide by its deviation, feature by feature",
    )  # fmt: skip


@rule("target-not-normalized")
def target_scale(observations: Observations) -> Iterator[Finding | Experiment]:
    """Numbers to regress far from mean 0 and deviation 1, where standardised ones win."""
    audit, loss = observations.data, observations.loss
    if audit is None or audit.targets is None or audit.task != "regression":
        return
    if loss is not None and loss.expects not in ("values", "unknown"):
        return
    targets = audit.targets
    if targets.mean is None or targets.deviation is None or targets.rms is None:
        return
    odd: list[str] = []
    if not USUAL_RMS[0] <= targets.rms <= USUAL_RMS[1]:
        odd.append(f"a root mean square of {targets.rms:.3g}")
    if targets.deviation and abs(targets.mean) > USUAL_OFFSET * targets.deviation:
        odd.append(f"a mean of {targets.mean:.3g} at a deviation of {targets.deviation:.3g}")
    if not odd:
        return
    yield from _scale(
        observations, "target-not-normalized", change("standardize-targets"), odd, targets,
        worth=55.0, question="standardised targets", loud=targets.rms > EXTREME * USUAL_RMS[1],
        where="targets", cause="the gradient goes with the error, and the error with the targets' scale",
        remedy="train on (y − mean) / deviation, and turn predictions back",
    )  # fmt: skip


def _scale(
    observations: Observations, code: str, mend: Change, odd: list[str], of: ArrayFacts, *,
    worth: float, question: str, loud: bool, where: str, cause: str, remedy: str,
) -> Iterator[Finding | Experiment]:  # fmt: skip
    at = standing(observations)
    if isinstance(at, Experiment):
        yield at
        return
    shown: Outcome | None = None
    if at is not None and at.suspicious:
        for asked in _hurts(observations, mend, worth, question):
            if isinstance(asked, Experiment):
                yield asked
                return
            shown = asked
    harmful = shown is not None and not shown.failed
    # What is ten times beyond the usual is told of a training that does worse than it could, even where the proof
    # fails: other faults hide what it costs, and a rate that was chosen for it goes wrong without it.
    unproved = loud and (at is None or at.suspicious or _hopeless(observations))
    severity: Severity = "warning" if harmful or unproved else "note"
    yield Finding(
        code=code, severity=severity, where=where,
        evidence=(
            Evidence(what="mean", value=of.mean, expected="0"),
            Evidence(what="deviation", value=of.deviation, expected="1"),
            Evidence(what="largest value", value=of.maximum), Evidence(what="smallest value", value=of.minimum),
        ),
        expected="mean 0 and deviation 1 (pictures: values in 0…1)",
        cause=f"{where} have {' and '.join(odd)}" + (f"; {cause}" if severity != "note" else ""),
        remedies=(Remedy(code=code, text=remedy, change={"data.normalize": True} if where == "inputs" else {}),),
        confidence=0.95 if harmful else 0.6, confirmed_by=proof(shown) if shown is not None else "",
    )  # fmt: skip


def _others(observations: Observations) -> tuple[Change, ...]:
    """What mends the faults of output and loss, so that others can show."""
    mends = mended(observations)
    loss = classes_by_distance(observations)
    if loss and not any(part.kind == "loss" for part in mends):
        mends = (*(part for part in mends if part.kind != "output"), change("loss", loss))  # a loss of scores
    return mends


def _hopeless(observations: Observations) -> bool:
    """Nothing is learned, and nothing that was tried changed that: no cause can be shown, and none is excused."""
    tried = [outcome for outcome in observations.outcomes.values() if outcome.skills is not None]
    return len(tried) > 1 and not any(
        substantial(outcome) or (outcome.skills or (1.0,))[0] >= LEAST_GAIN for outcome in tried
    )


def _hurts(observations: Observations, mend: Change, worth: float, question: str) -> Iterator[Experiment | Outcome]:
    """Experiments as long as they are missing, then the outcome that shows the harm, or one that could not be tried.

    Mended alone it repairs; or beside the faults of output and loss mended; or it is needed: of what usual settings
    win in all, half is lost where this one is left out (its rate may have been chosen for the wrong scale).
    """
    others = _others(observations)
    usual = change("usual-settings")
    without = change("usual-settings", {"without": mend.kind})
    pairs = [((), (mend,), question), ((*others, without), (*others, usual), f"{question}, beside all else as usual")]
    if others:
        pairs.insert(1, (others, (*others, mend), f"{question}, beside the other faults mended"))
    other = change("standardize-inputs" if mend.kind == "standardize-targets" else "standardize-targets")
    if substantial(answer(observations, experiment(other))):
        pairs.insert(1, ((other,), (other, mend), f"{question}, beside the other scale mended"))
    failed: Outcome | None = None
    for before, after, text in pairs:
        both = experiment(*after, worth=worth, question=text)
        alone = experiment(*before, worth=worth) if before else None
        for asked in (both, alone):
            if asked is not None and answer(observations, asked) is None:
                yield asked
                return
        found, ground = answer(observations, both), None if alone is None else answer(observations, alone)
        failed = next((outcome for outcome in (found, ground) if outcome is not None and outcome.failed), failed)
        gained = found if alone is None else beside(found, ground, text)
        if gained is None or not substantial(gained) or gained.skills is None or found is None:
            continue
        own = found.skills[0] if found.skills is not None else 0.0
        if without not in before or gained.skills[1] - gained.skills[0] >= NEEDED * (gained.skills[1] - own):
            yield gained
            return
    if failed is not None:
        yield failed


def _odd_inputs(inputs: ArrayFacts) -> list[str]:
    if inputs.rms is None or inputs.feature_rms is None or not inputs.rms:
        return []
    odd = []
    if not USUAL_RMS[0] <= inputs.rms <= USUAL_RMS[1]:
        odd.append(f"a root mean square of {inputs.rms:.3g}")
    median = inputs.feature_rms[1]
    if inputs.features > 1 and median and inputs.feature_rms[2] > USUAL_SPREAD * median:
        odd.append(f"a feature {inputs.feature_rms[2] / median:.0f} times as large as most")
    if inputs.offset is not None and inputs.offset > USUAL_OFFSET:
        odd.append(f"a mean {inputs.offset:.1f} times as far from 0 as they vary")
    return odd


def extreme_inputs(observations: Observations) -> bool:
    """Ten times beyond the usual, and no norm layer takes it away."""
    inputs = observations.data.inputs if observations.data is not None else None
    return inputs is not None and _beyond(inputs) and not _tokens(observations) and not _norm_first(observations)


def _beyond(inputs: ArrayFacts) -> bool:
    return inputs.rms is not None and inputs.rms > EXTREME * USUAL_RMS[1]


def _norm_first(observations: Observations) -> bool:
    """A norm layer before any other layer with parameters takes the scale away."""
    layers = observations.network.layers if observations.network is not None else ()
    first = next((layer for layer in layers if layer.parameters), None)
    return first is not None and "Norm" in first.kind


def _tokens(observations: Observations) -> bool:
    """Numbers that are looked up in a table have no scale."""
    layers = observations.network.layers if observations.network is not None else ()
    return any(layer.kind.startswith("Embedding") and "input" in layer.inputs for layer in layers) or (
        bool(layers) and layers[0].kind.startswith("Embedding")
    )
