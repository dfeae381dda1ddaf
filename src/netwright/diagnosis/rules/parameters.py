"""Parameters that are not trained, gradients that are missing or kept, steps in the wrong direction. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from netwright.diagnosis.experimenting import REPLAY, answer, change, experiment, loop_gap, proof
from netwright.diagnosis.hindrance import broke_down, helps, learned, suffers
from netwright.diagnosis.paths import NORMS
from netwright.diagnosis.registry import rule
from netwright.observations import Experiment, Observations
from netwright.observations.initial import ParameterStart
from netwright.observations.network import LayerFacts
from netwright.records import Evidence, Finding, Remedy

ALL_TRAINED = experiment(change("train-all"), worth=69.0, question="every parameter is trained")
SMALL_SHARE = 0.1  # of all parameters: a part that is left out and is smaller is told as a note
MOST = 0.5  # of all parameters
MOVING = 1e-12  # update ratio of parameters that somebody steps; rounding is 1e-7 of the values, a step of zero is 0


@rule("missing-from-optimizer")
def missing_from_optimizer(observations: Observations) -> Iterator[Finding | Experiment]:
    """Parameters that require a gradient and that no known optimiser steps.

    Weights that look learned and are left out are fine-tuned around on purpose; so are those that somebody steps.
    """
    network, optimizer = observations.network, observations.optimizer
    if network is None or optimizer is None or "optimizer" in observations.unseen:  # whose steps nobody saw
        return
    unused = {
        start.name
        for start in _starts(observations)
        if start.gradient is None and start.finite and start.moves_loss is False
    }
    left_out = [
        layer
        for layer in network.layers
        if layer.parameters and not _moves(observations, layer.name)
        and any(_path(layer, key) not in unused for key in layer.trainable if key not in layer.in_optimizer)
    ]  # fmt: skip
    if not left_out:
        return
    size = sum(_size(layer, [key for key in layer.trainable if key not in layer.in_optimizer]) for layer in left_out)
    nothing = not any(layer.in_optimizer for layer in network.layers)
    strange = optimizer.strange_parameters
    evidence = [Evidence(what="parameters that no optimiser steps", value=float(size), unit="parameters", expected="0")]
    cause = "they require a gradient, get one, and nothing is done with it"
    if strange:
        other = Evidence(what="parameters that it steps and the network does not have", value=float(strange))
        evidence.append(other)
        cause = "the optimiser was given the parameters of another network, a copy or an earlier one"
    yield from _not_trained(
        observations, "missing-from-optimizer", left_out, size, evidence, cause,
        "optimizer = …(network.parameters()), after the network is complete", certain=nothing,
    )  # fmt: skip


@rule("missing-from-optimizer")
def unregistered(observations: Observations) -> Iterator[Finding | Experiment]:
    """Layers that take part in the output and that `nn.Module` does not know of."""
    hidden = observations.network.unregistered if observations.network is not None else ()
    if not hidden:
        return
    learned_before = all(one.fresh is False for one in hidden)
    size = sum(one.size for one in hidden)
    names = ", ".join(one.name for one in hidden[:6]) + (" …" if len(hidden) > 6 else "")
    yield Finding(
        code="missing-from-optimizer",
        severity="note" if learned_before else "error",
        where=names,
        evidence=(
            Evidence(what="parameters that network.parameters() lacks", value=size, unit="parameters", expected="0"),
        ),
        expected="every layer that takes part is registered",
        cause=f"{names}: a plain list or dictionary, which nn.Module does not look into: optimisers, state_dict() "
        "and to() miss what it holds",
        remedies=(Remedy(code="register", text="nn.ModuleList, nn.ModuleDict or nn.ParameterList instead"),),
        confidence=0.97,
    )


@rule("frozen-parameters")
def frozen(observations: Observations) -> Iterator[Finding | Experiment]:
    """Layers that do not require a gradient and whose weights look drawn, not learned."""
    network = observations.network
    if network is None:
        return
    layers = [
        layer
        for layer in network.layers
        if layer.parameters and not layer.trainable and layer.kind not in NORMS and layer.calls
    ]  # fmt: skip
    if not layers:
        return
    size = sum(_size(layer, layer.parameters) for layer in layers)
    evidence = [Evidence(what="parameters that are frozen", value=float(size), unit="parameters", expected="0")]
    yield from _not_trained(
        observations, "frozen-parameters", layers, size, evidence,
        "they do not require a gradient, and their values are those of an initialisation",
        "requires_grad_(True) before the optimiser is built, or load trained weights", certain=network.trainable == 0,
    )  # fmt: skip


def _not_trained(
    observations: Observations,
    code: str,
    layers: Sequence[LayerFacts],
    size: int,
    evidence: Sequence[Evidence],
    cause: str,
    remedy: str,
    *,
    certain: bool,
) -> Iterator[Finding | Experiment]:
    """A warning where training them repairs the training; where that cannot be tried, if they look drawn."""
    drawn = _drawn(observations, layers)
    outcome = answer(observations, ALL_TRAINED)
    if outcome is None and drawn is not False:
        ill = suffers(observations)
        if isinstance(ill, Experiment) or ill is not False:
            yield ill if isinstance(ill, Experiment) else ALL_TRAINED
            return
    repaired = helps(observations, outcome) if drawn is not False else None
    total = observations.network.parameters if observations.network else 0
    large = size >= SMALL_SHARE * total
    loud = (repaired or (repaired is None and outcome is not None and drawn and large)) and drawn is not False
    if drawn is False:
        cause = "they are kept as they are; they look learned, as in fine-tuning"
    yield Finding(
        code=code,
        severity="error" if (certain and drawn is not False) else "warning" if loud else "note",
        where=", ".join(layer.name for layer in layers[:6]) + (" …" if len(layers) > 6 else ""),
        layer=layers[0].name,
        evidence=tuple(evidence),
        expected="every parameter of an untrained network is trained",
        cause=cause,
        remedies=(Remedy(code="train-all", text=remedy, change={"train-all": True}),),
        confidence=0.95 if certain or repaired else 0.7,
        confirmed_by=proof(outcome) if outcome else "",
    )


@rule("no-gradient", "unused-parameters")
def without_gradient(observations: Observations) -> Iterator[Finding | Experiment]:
    """Trainable parameters without a gradient: cut off where they have an effect, unused where they have none."""
    starts = [
        start
        for start in _starts(observations)
        if start.trainable and start.finite and not _gets_one(observations, start)
    ]
    cut = [start for start in starts if start.gradient is None and start.moves_loss]
    unused = [start for start in starts if start.gradient is None and start.moves_loss is False]
    total = sum(start.size for start in _starts(observations))
    if cut:
        learned_before = all(start.fresh is False for start in cut if start.fresh is not None) and any(
            start.fresh is False for start in cut
        )
        where = _cutting(observations)
        yield Finding(
            code="no-gradient",
            severity="note" if learned_before else "error",
            where=where or _listed(cut),
            layer=where or cut[0].name.rpartition(".")[0],
            evidence=(_count(cut, "parameters that change the loss and get no gradient"),),
            expected="a gradient for every parameter that requires one",
            cause="the gradient is cut between them and the loss: detach, no_grad, .data, .item, argmax or NumPy",
            remedies=(Remedy(code="detach", text="take the cut out of the forward pass"),),
            confidence=0.95,
        )
    yield from _behind_steps(observations, starts)
    if unused:
        much = sum(start.size for start in unused) >= MOST * total and not all(start.fresh is False for start in unused)
        yield Finding(
            code="unused-parameters",
            severity="warning" if much else "note",
            where=_listed(unused),
            layer=unused[0].name.rpartition(".")[0],
            evidence=(_count(unused, "parameters that neither change the loss nor get a gradient"),),
            expected="every parameter takes part in the forward pass",
            cause="their module is not called, or its result is not used",
            remedies=(Remedy(code="unused", text="call the module, or take it out"),),
            confidence=0.9,
        )
    yield from _all_zero(observations)


FLAT = ("round", "floor", "ceil", "trunc", "fix", "sign", "sgn")  # functions whose slope is zero wherever it is defined


def _behind_steps(observations: Observations, starts: Sequence[ParameterStart]) -> Iterator[Finding]:
    """Everything before a step function gets a gradient of exactly zero although it changes the loss.

    A straight-through estimate (Bengio et al. 2013), or a way around, hands a gradient on, and then nothing is told.
    """
    layers = [layer for layer in observations.network.layers if layer.calls] if observations.network else []
    place = next((n for n, one in enumerate(layers) if one.options.get("flat") or one.kind in FLAT), None)
    if place is None:
        return
    before = {_path(layer, key) for layer in layers[:place] for key in layer.trainable}
    zero = [start for start in starts if start.name in before and start.gradient == 0.0]
    if not before or {start.name for start in zero} != before or not any(start.moves_loss for start in zero):
        return
    yield Finding(
        code="no-gradient",
        severity="error",
        where=layers[place].name,
        layer=layers[place].name,
        evidence=(_count(zero, "parameters before it whose gradient is exactly 0 and that change the loss"),),
        expected="a gradient for every parameter that requires one",
        cause="a step function (rounding, a sign, a threshold) has no slope: nothing before it learns",
        remedies=(
            Remedy(code="straight-through", text="a straight-through estimate, x + (round(x) − x).detach()"),
            Remedy(code="smooth", text="a smooth function instead: tanh, sigmoid, Gumbel-softmax"),
        ),
        confidence=0.97,
    )


def _all_zero(observations: Observations) -> Iterator[Finding]:
    """The whole gradient is exactly zero although the training has learned nothing."""
    initial = observations.initial
    norms = observations.series.get("gradient-norm").values
    late = norms[-max(3, len(norms) // 4) :]
    from_start = bool(initial and initial.loss is not None and initial.gradient == 0.0 and not any(norms))
    stopped = len(late) >= 3 and all(value == 0.0 for value in late)
    done = learned(observations)
    if not (from_start or stopped) or (done is not None and done > 0.5):
        return
    losses = observations.series.get("loss").finite
    if stopped and not from_start and losses and losses[-1] <= 1e-3 * max(losses):
        return  # nothing is left to learn
    yield Finding(
        code="no-gradient",
        severity="error",
        where="network",
        evidence=(Evidence(what="norm of the whole gradient", value=0.0, unit="gradient", expected="above 0"),),
        expected="a gradient as long as the loss is not at its minimum",
        cause="the loss does not depend on any parameter: a constant output, dead or saturated units",
        remedies=(Remedy(code="output", text="look at the output activation and the loss first"),),
        confidence=0.9,
        because_of=_zero_because(observations),
    )


def _zero_because(observations: Observations) -> str:
    initial, preflight = observations.initial, observations.preflight
    if preflight is not None and preflight.constant:
        return "wrong-output-activation"
    if initial is not None and any(layer.weight and layer.weight.constant for layer in initial.layers):
        return "symmetric-weights"
    dead = [observations.series.get("dead-units", layer).last for layer in observations.series.layers("dead-units")]
    return "dead-units" if any(share == 1.0 for share in dead) else ""


# ------------------------------------------------------------------------------------------------ the loop

KEPT = 0.9  # share of the parameters looked at that still hold a gradient; cleared ones hold none
FEW_SAMPLES = 3  # steps that have to agree


@rule("gradients-not-zeroed")
def gradients_kept(observations: Observations) -> Iterator[Finding | Experiment]:
    """Gradients of earlier steps are still there when the first backward pass after a step begins.

    Gathering gradients over several passes clears them after each step, and is not meant.
    """
    values = observations.series.get("gradients-kept").finite
    if len(values) < FEW_SAMPLES or statistics.median(values) < KEPT:
        return
    if answer(observations, REPLAY) is None:
        yield REPLAY
        return
    gap = loop_gap(observations)
    said = ""
    if gap is not None and gap.progress is not None:
        said = (
            f"with cleared gradients the same training takes off {1 / max(gap.progress, 0.01):.1f} times as much loss"
        )
        said = said if gap.loses_progress else ""
    growth = observations.series.get("gradient-growth").finite
    evidence = [Evidence(what="parameters that hold old gradients", value=values[-1], unit="share", expected="0")]
    if growth:
        evidence.append(Evidence(what="gathered gradient ÷ that of one step", value=growth[-1], expected="about 1"))
    network = observations.network
    held = network is None or any(layer.in_optimizer for layer in network.layers)
    yield Finding(
        code="gradients-not-zeroed",
        severity="error" if held else "note",  # an optimiser of another network clears the gradients of that one
        where="training loop",
        evidence=tuple(evidence),
        expected="gradients are cleared after every step of the optimiser",
        cause="each step goes along the sum of all gradients since the start",
        remedies=(Remedy(code="clear-gradients", text="optimizer.zero_grad() before every backward()"),),
        confidence=0.97,
        confirmed_by=said,
        because_of="" if held else "missing-from-optimizer",
    )


# Cosine of the first steps together and minus the gradient of 128 examples before them: the steps' mean is along it,
# and noise has no direction of its own. Some of the steps have to be as clear as this, and none the other way.
OPPOSED = -0.3
WRONG_WAY = -0.05  # cosine of step and −gradient: beyond what momentum, decay and rounding turn a step


@rule("loss-maximized")
def maximized(observations: Observations) -> Iterator[Finding | Experiment]:
    """Steps that go up the loss: its gradient comes in with a minus, the optimiser maximises, or steps along it.

    A score that is to be high is maximised on purpose: then what is measured gets better, and nothing is told.
    """
    arriving = observations.series.get("loss-gradient").finite
    descent = observations.series.get("first-descent").finite
    turned = len(arriving) >= 1 and all(value < 0 for value in arriving)
    maximizes = observations.optimizer is not None and any(
        group.get("maximize") is True for group in observations.optimizer.groups
    )
    directions = observations.series.get("step-direction").finite
    upwards = len(directions) >= FEW_SAMPLES and statistics.median(directions) < WRONG_WAY and not maximizes
    if not arriving and len(descent) >= FEW_SAMPLES:  # no module makes the loss: it is seen from the way that was made
        climbs = all(value < WRONG_WAY for value in descent[1:]) and min(descent) < OPPOSED
        turned = climbs != (maximizes != upwards)
    against = observations.loss is not None and observations.loss.reversed  # a score to be high, or a minus is missing
    if sum([turned, maximizes, upwards, against]) % 2 == 0:  # none, or two that cancel
        return
    values = observations.series.get("loss").finite
    moves = values[-1] - values[0] if len(values) >= 2 else 0.0
    if not (broke_down(observations) or (moves < 0 if against else moves > 0)) or _gets_better(observations):
        return
    cause = (
        "the loss is lower for wrong answers than for right ones: a minus is missing in it" if against
        else "backward() is called on the negative of the loss" if turned
        else "the optimiser maximises" if maximizes else "the optimiser steps along the gradient, not against it"
    )  # fmt: skip
    value = (arriving or descent)[-1] if turned else directions[-1] if directions else None
    what = "gradient that arrives at the loss" if turned else "cosine of step and −gradient"
    if turned and not arriving:
        what = "cosine of the first steps and minus the loss' gradient before them"
    last, wanted = (values[-1], f"below {values[0]:.4g}") if values else (None, "")
    seen = [Evidence(what=what, value=value, expected="1" if turned else "above 0")] if not against else []
    if against:
        last, wanted = (values[-1] if values else None), "0 or above, where nothing is wrong with an answer"
    yield Finding(
        code="loss-maximized",
        severity="error",
        where="training loop",
        evidence=(*seen, Evidence(what="loss", value=last, expected=wanted)),
        expected="steps down the loss",
        cause=cause,
        remedies=(
            Remedy(
                code="sign",
                text="the negative of it as the loss"
                if against
                else "loss.backward() without the minus; maximize=False",
            ),
        ),
        confidence=0.95,
    )


# All gradients of the run have one norm: they are shortened to it, every one. 1e-3: what the sample of entries and
# rounding leave open; unclipped norms of batches differ by more (by 1 / √examples at least).
ONE_NORM, CLIPPED_STEPS = 1e-3, 10
SHORT_STEP = 1e-4  # step ÷ weights, a tenth of the usual: after a thousand of them they have moved by a tenth


@rule("learning-rate-too-low")
def clipped_to_nothing(observations: Observations) -> Iterator[Finding | Experiment]:
    """Every gradient is cut down to one small norm, and the plain loop, which cuts none, gets further."""
    norms = observations.series.get("gradient-norm").finite
    steps = observations.series.get("update-ratio").finite
    if len(norms) < CLIPPED_STEPS or not steps or statistics.median(steps) > SHORT_STEP:
        return
    norm = statistics.median(norms)
    if norm <= 0 or max(abs(value - norm) for value in norms) > ONE_NORM * norm:
        return
    if answer(observations, REPLAY) is None:
        yield REPLAY
        return
    gap = loop_gap(observations)
    if gap is None or not gap.loses_progress:
        return
    yield Finding(
        code="learning-rate-too-low",
        severity="warning",
        where="training loop",
        evidence=(
            Evidence(what="norm of every gradient", value=norm, unit="gradient", expected="different ones"),
            Evidence(what="step ÷ norm of the weights, median", value=statistics.median(steps), expected="about 0.001"),
        ),
        expected="clipping that meets a few gradients, not all",
        cause="every gradient is clipped to this norm: the steps are too short for the planned training",
        remedies=(Remedy(code="clip", text="clip at a norm that most gradients do not reach (1), or not at all"),),
        confidence=0.95,
        confirmed_by="without clipping the same training takes off "
        f"{1 / max(gap.progress or 0.0, 0.01):.1f} times as much loss",
    )


# ------------------------------------------------------------------------------------------------ helpers


def _starts(observations: Observations) -> Sequence[ParameterStart]:
    return observations.initial.parameters if observations.initial is not None else ()


def _path(layer: LayerFacts, key: str) -> str:
    return f"{layer.name}.{key}"


def _size(layer: LayerFacts, keys: Sequence[str] | dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(layer.parameters.get(key, ())) for key in keys)


def _moves(observations: Observations, layer: str) -> bool:
    ratios = observations.series.get("update-ratio", layer).finite
    return bool(ratios) and max(ratios) > MOVING


def _drawn(observations: Observations, layers: Sequence[LayerFacts]) -> bool | None:
    """Whether the layers' weights look drawn: the largest that can be told decides; None where none can."""
    names = {_path(layer, key) for layer in layers for key in layer.parameters}
    known = [start for start in _starts(observations) if start.name in names and start.fresh is not None]
    return max(known, key=lambda start: start.size).fresh if known else None


def _gets_one(observations: Observations, start: ParameterStart) -> bool:
    """Whether the layer of the parameter got a gradient in the training itself, by whatever loss."""
    norms = observations.series.get("gradient-norm", start.name.rpartition(".")[0]).values
    missing = observations.series.get("gradient-missing", start.name.rpartition(".")[0]).finite
    return any(value is None or value > 0 for value in norms) and not any(missing)


def _cutting(observations: Observations) -> str:
    layers = observations.network.layers if observations.network is not None else ()
    return next((layer.name for layer in layers if layer.options.get("cuts_gradient") and layer.calls), "")


def _listed(starts: Sequence[ParameterStart]) -> str:
    names = list(dict.fromkeys(start.name.rpartition(".")[0] or start.name for start in starts))
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")


def _count(starts: Sequence[ParameterStart], what: str) -> Evidence:
    return Evidence(what=what, value=float(sum(start.size for start in starts)), unit="parameters", expected="0")


NO_BETTER = 1e-3  # of a score whose best is 1: a few pixels of many pictures


def _gets_better(observations: Observations) -> bool:
    """Whether the scores of the epochs rise: the last above the first, on the held-out part where there is one."""
    for split in ("validation", "train"):
        scores = [row.metrics.get("score") for row in observations.epochs if row.split == split]
        known = [score for score in scores if score is not None and math.isfinite(score)]
        if len(known) >= 2:
            return len(known) == len(scores) and known[-1] > known[0] + max(0.05 * abs(known[0]), NO_BETTER)
    return False
