"""Gradients that vanish or explode over depth, and numbers that are not finite: where, since when, why. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netwright.diagnosis.hindrance import broke_down, suffers
from netwright.diagnosis.paths import called, links, weighted
from netwright.diagnosis.registry import Rule, rule
from netwright.diagnosis.rules import initialization, norms, parameters, structure
from netwright.observations import Experiment, Observations
from netwright.records import Evidence, Finding, Remedy

# Gradient at the first layer with weights ÷ at the last one. Networks that train keep it within 1e-2 and 1e2 at the
# start (Glorot and Bengio 2010, figs. 7 and 9: within 10; Philipp et al. 2018 call growth by e^depth exploding). At
# 1e-3 steps that suit the last layer leave the first one where it was drawn for a thousand of them.
VANISHED, EXPLODED = 1e-3, 1e3
OUTBURST = 1e3  # norm of the gradient in the run ÷ its median over the first steps
FIRST_STEPS = 5
ONE_BATCH = 20.0  # loss of one step ÷ median of the steps before it
BEFORE = 20  # steps that such a median is taken over
RISING = 10.0  # loss before it was not finite ÷ its lowest before: it went there in steps
LONG_STEP = 1.0  # step ÷ norm of the weights: a step that replaces them; 1e-3 is usual


@rule("vanishing-gradient")
def vanishing(observations: Observations) -> Iterator[Finding | Experiment]:
    """Hardly any gradient arrives at the first layers, at the start or all along, and the training suffers."""
    profile = _profile(observations)
    late = _late(observations)
    ratios = [ratio for ratio in (profile.ratio if profile else None, late) if ratio is not None]
    if not ratios or min(ratios) > VANISHED:
        yield from _over_time(observations)
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    evidence = []
    if profile and profile.ratio is not None:
        evidence.append(
            Evidence(what=f"gradient at {profile.first} ÷ at {profile.last}", value=profile.ratio, step=0,
                     expected=f"above {VANISHED:g}")
        )  # fmt: skip
    if late is not None:
        evidence.append(Evidence(what="the same over the last steps", value=late, expected=f"above {VANISHED:g}"))
    varied = _least_varied(observations)
    if varied is not None:
        evidence.append(Evidence(what=f"share of the output of {varied[0]} that depends on the input", value=varied[1]))
    yield Finding(
        code="vanishing-gradient",
        severity="warning" if ill else "note",
        where=profile.first if profile else "first layers",
        layer=profile.first if profile else "",
        evidence=tuple(evidence),
        expected="gradients of like scale in all layers",
        cause=f"each of {profile.layers if profile else 'many'} layers hands on a part of the gradient that it gets",
        remedies=(
            Remedy(code="activation", text="ReLU or one of its kin", change={"activation": "relu"}),
            Remedy(code="initialization", text="He's or Xavier's weights", change={"initialization": "auto"}),
            Remedy(code="norm", text="norm layers", change={"norm": "batch"}),
            Remedy(code="residual", text="residual connections", change={"residual": True}),
            Remedy(code="depth", text="fewer layers", change={"depth": 3}),
        ),
        confidence=0.9 if ill else 0.5,
        because_of=_because(observations) or _died(observations),
    )


def _died(observations: Observations) -> str:
    """Nothing arrives any more although it did at the start: units that no example wakes hand nothing on."""
    profile = _profile(observations)
    if _late(observations) != 0.0 or profile is None or not profile.ratio:
        return ""
    shares = [observations.series.get("dead-units", layer).last for layer in observations.series.layers("dead-units")]
    return "dead-units" if any(share == 1.0 for share in shares) else ""


def _over_time(observations: Observations) -> Iterator[Finding | Experiment]:
    """Hardly any gradient arrives at the first steps of a sequence, and the training suffers.

    A product of as many Jacobians as there are steps between (Bengio et al. 1994; Pascanu et al. 2013, 2.1). Where the
    answer lies in the last steps, that is no harm, and the training does not suffer.
    """
    initial = observations.initial
    worst = min(initial.recurrent if initial is not None else (), key=lambda start: start.first, default=None)
    if worst is None or worst.first > VANISHED:
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    yield Finding(
        code="vanishing-gradient", severity="warning" if ill else "note", where=worst.name or "network",
        layer=worst.name,
        evidence=(
            Evidence(what="gradient at the first step of the sequence ÷ at the strongest", value=worst.first, step=0,
                     expected=f"above {VANISHED:g}"),
            Evidence(what="steps of the sequence", value=float(worst.steps), unit="steps"),
        ),
        expected="gradients of like scale over all steps of a sequence",
        cause=f"each of {worst.steps} steps hands on a part of the gradient that it gets: early ones are not learned",
        remedies=(
            Remedy(code="gates", text="GRU or LSTM, with a forget gate that begins open"),
            Remedy(code="initialization", text="orthogonal recurrent weights"),
            Remedy(code="attention", text="attention, or an average over all steps, instead of the last one"),
        ),
        confidence=0.8 if ill else 0.4,
    )  # fmt: skip


@rule("exploding-gradient")
def exploding(observations: Observations) -> Iterator[Finding | Experiment]:
    """Gradients that grow: from layer to layer before the first step, over the steps, or in one batch.

    The three have different causes, so each is told as what it is: depth (weights, activation), steps (a rate, kept
    gradients), one batch (an outlier).
    """
    profile = _profile(observations)
    forward = initialization.forward_growth(observations)
    over_depth = max([value for value in (profile.ratio if profile else None, forward) if value is not None], default=0)
    exponential = any(link.activation == "exponential" for link in links(observations.network))
    if over_depth >= EXPLODED or (exponential and not _finite_start(observations)):
        ill = suffers(observations)
        if isinstance(ill, Experiment):
            yield ill
            return
        what = "largest growth of values or gradients over the layers"
        yield _explosion(
            "warning" if ill else "note", profile.last if profile else "network",
            Evidence(what=what, value=over_depth or None, step=0, expected=f"below {EXPLODED:g}"),
            "values or gradients grow from layer to layer, before any step is made", _because(observations),
            Remedy(code="initialization", text="He's or Xavier's weights", change={"initialization": "auto"}),
        )  # fmt: skip
        return
    yield from _over_steps(observations)


def _over_steps(observations: Observations) -> Iterator[Finding | Experiment]:
    series = observations.series.get("gradient-norm")
    first = [value for value in series.values[:FIRST_STEPS] if value is not None and math.isfinite(value)]
    base = statistics.median(first) if first else 0.0
    known = [(step, v) for step, v in zip(series.steps, series.values, strict=True) if v is not None]
    burst = next(((step, value) for step, value in known if base > 0 and value > OUTBURST * base), None)
    alone = _one_batch(observations)
    if alone is not None and not broke_down(observations):
        yield _explosion(
            "note", "one batch",
            Evidence(what="loss of one step ÷ median before it", value=alone[1], step=alone[0],
                     expected=f"below {ONE_BATCH:g}"),
            "an example with values or a target far from all others; the training got over it", "",
            Remedy(code="clip", text="gradients clipped to a norm of 1", change={"clip": 1.0}),
        )  # fmt: skip
    if burst is None:
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    if not ill:
        return
    yield _explosion(
        "warning", "training",
        Evidence(what="norm of the gradient ÷ that of the first steps", value=burst[1] / base,
                 step=burst[0], expected=f"below {OUTBURST:g}"),
        "at the start its scale is usual; it grows with the steps", _of_steps(observations),
        Remedy(code="learning-rate", text="a lower learning rate", change={"learning-rate": 0.1}),
    )  # fmt: skip


def _explosion(severity: str, where: str, evidence: Evidence, cause: str, because: str, remedy: Remedy) -> Finding:
    return Finding(
        code="exploding-gradient", severity=severity, where=where, evidence=(evidence,),  # type: ignore[arg-type]
        layer=where if where not in ("training", "network", "one batch") else "",
        expected="gradients of like scale in all layers and steps", cause=cause,
        remedies=(remedy, Remedy(code="clip", text="gradients clipped to a norm of 1", change={"clip": 1.0})),
        confidence=0.9 if severity == "warning" else 0.5, because_of=because,
    )  # fmt: skip


@rule("non-finite")
def non_finite(observations: Observations) -> Iterator[Finding | Experiment]:
    """The first step whose loss is no number, the first layer that made one, and the kind of way that led there."""
    losses = observations.series.get("loss")
    step = next((s for s, value in zip(losses.steps, losses.values, strict=True) if not _is_finite(value)), None)
    start = observations.initial
    before = start is not None and any(not layer.finite for layer in start.layers)
    if step is None and not before:
        return
    first = _first_layer(observations, step)
    kind = _kind(observations, step)
    recovered = step is not None and _is_finite(losses.last)
    evidence = [Evidence(what="loss", value=None, step=step, expected="a finite number")]
    if first is not None:
        what = f"share of the output of {first[0]} that is not finite"
        evidence.append(Evidence(what=what, value=first[2], step=first[1], expected="0"))
    yield Finding(
        code="non-finite",
        severity="warning" if recovered or step is None else "error",
        where=_with_unmeasured(observations, first[0]) if first else "loss",
        layer=first[0] if first else "",
        evidence=tuple(evidence),
        expected="finite numbers",
        cause=kind.text,
        remedies=kind.remedies,
        confidence=0.95,
        because_of=kind.because_of,
    )


class _Kind(NamedTuple):
    text: str
    because_of: str
    remedies: tuple[Remedy, ...]


_LOWER_RATE = Remedy(code="learning-rate", text="a lower learning rate", change={"learning-rate": 0.1})
_CLIP = Remedy(code="clip", text="gradients clipped to a norm of 1", change={"clip": 1.0})


def _kind(observations: Observations, step: int | None) -> _Kind:
    """Bad input, growth over depth, a loop that adds up or climbs, steps that are too long, or a logarithm of zero."""
    data = observations.data
    parts = (data.inputs, data.targets) if data is not None else ()
    if any(part is not None and part.non_finite for part in parts):
        drop = Remedy(code="drop-bad-rows", text="leave out rows with such values", change={"drop-bad-rows": True})
        return _Kind("the data itself has values that are not finite", "bad-values", (drop,))
    if not _finite_start(observations) or (initialization.forward_growth(observations) or 0.0) >= EXPLODED:
        remedy = Remedy(code="initialization", text="He's or Xavier's weights", change={"initialization": "auto"})
        text = "values grow from layer to layer, until one is too large for its type"
        return _Kind(text, _because(observations) or "exploding-gradient", (remedy, _CLIP))
    for ask, code in ((parameters.maximized, "loss-maximized"), (parameters.gradients_kept, "gradients-not-zeroed")):
        if any(isinstance(told, Finding) for told in ask(observations)):
            return _Kind("the loss grew step by step, as the loop makes it", code, (_LOWER_RATE,))
    values = observations.series.get("loss").finite
    ratios = observations.series.get("update-ratio").finite
    climbed = len(values) >= 2 and values[-1] > RISING * max(min(values), 1e-12)
    if climbed or (ratios and max(ratios[-2:]) > LONG_STEP) or (step is not None and len(values) <= 1):
        text = "the steps are so long that each makes the loss larger"
        return _Kind(text, "learning-rate-too-high", (_LOWER_RATE, _CLIP))
    text = "all was of usual scale in the step before: a logarithm or a quotient of zero, or an exponential too large"
    return _Kind(text, "loss-mismatch", (Remedy(code="loss", text="a loss on logits, or values kept away from zero"),))


# ------------------------------------------------------------------------------------------------ what was measured


class _Profile(NamedTuple):
    """Norms of the gradients at the first and the last layer with weights, before the first step."""

    first: str
    last: str
    ratio: float | None
    layers: int


def _profile(observations: Observations) -> _Profile | None:
    network, initial = observations.network, observations.initial
    if initial is None:
        return None
    chosen = {layer.name for layer in called(network).values() if weighted(layer)} if network is not None else set()
    layers = [layer for layer in initial.layers if layer.weight is not None or layer.name in chosen]
    known = [layer for layer in layers if _is_finite(layer.gradient_norm)]
    if len(known) < 2:
        return None
    first, last = known[0], known[-1]
    ratio = None
    if first.gradient_norm is not None and last.gradient_norm:
        # Nothing at all may arrive: below the smallest number, or stuck at the ends of piecewise linear functions.
        # Weights of zero cut it as well, and are begun with on purpose (residual branches).
        zeros = any(layer.weight is not None and layer.weight.constant and not layer.weight.mean for layer in layers)
        ratio = None if zeros and not first.gradient_norm else first.gradient_norm / last.gradient_norm
    return _Profile(first.name, last.name, ratio, len(known))


def _late(observations: Observations) -> float | None:
    """Gradient of the first ÷ of the last layer's parameters, root mean squares, median over the last steps."""
    network = observations.network
    names = [layer.name for layer in called(network).values() if weighted(layer)] if network is not None else []
    if len(names) < 2:
        return None
    scales = [observations.series.get("gradient-scale", name).values for name in (names[0], names[-1])]
    pairs = [(a, b) for a, b in zip(*(values[-10:] for values in scales), strict=False) if a is not None and b]
    ratios = [a / b for a, b in pairs]
    return statistics.median(ratios) if len(ratios) >= 3 else None


def _least_varied(observations: Observations) -> tuple[str, float] | None:
    layers = observations.initial.layers if observations.initial is not None else ()
    known = [(layer.varied, layer.name) for layer in layers if layer.varied is not None]
    return (min(known)[1], min(known)[0]) if known else None


def _finite_start(observations: Observations) -> bool:
    initial = observations.initial
    if initial is None:
        return True
    return all(layer.finite for layer in initial.layers) and all(start.finite for start in initial.parameters)


def _one_batch(observations: Observations) -> tuple[int, float] | None:
    """The step whose loss stands out most, if the steps right after it are as the ones before."""
    series = observations.series.get("loss")
    values = series.values
    if any(not _is_finite(value) for value in values) or len(values) < BEFORE + 5:
        return None
    known = [float(value) for value in values if value is not None]
    for index in range(BEFORE, len(known) - 2):
        usual = statistics.median(known[index - BEFORE : index])
        if usual > 0 and known[index] > ONE_BATCH * usual and known[index + 1] < ONE_BATCH * usual / 4:
            return series.steps[index], known[index] / usual
    return None


def _first_layer(observations: Observations, until: int | None) -> tuple[str, int, float] | None:
    """(layer, step, share) of the first output that was not finite, by step, then in the order of the forward pass.

    None where the step of the loss was not looked at: later all layers are, because their weights are.
    """
    for layer in observations.initial.layers if observations.initial is not None else ():
        if not layer.finite:
            return layer.name, 0, 1.0
    found: list[tuple[int, int, str, float]] = []
    for place, name in enumerate(observations.series.layers("activation-non-finite")):
        series = observations.series.get("activation-non-finite", name)
        for step, value in zip(series.steps, series.values, strict=True):
            if (value is None or value > 0) and (until is None or step <= until):
                found.append((step, place, name, 1.0 if value is None else value))
                break
    if not found:
        return None
    step, _, where, share = min(found)
    return where, step, share


def _with_unmeasured(observations: Observations, name: str) -> str:
    """The layer, after the functions before it whose outputs are not looked at: one of them may have made it."""
    layers = {layer.name: layer for layer in observations.network.layers} if observations.network is not None else {}
    measured = set(observations.series.layers("activation-non-finite"))
    before: list[str] = []
    inputs = layers[name].inputs if name in layers else ()
    while len(inputs) == 1 and inputs[0] in layers and inputs[0] not in measured and inputs[0] not in before:
        before.append(inputs[0])
        inputs = layers[inputs[0]].inputs
    return " → ".join([*reversed(before), name])


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _because(observations: Observations) -> str:
    """A cause of growth or loss over depth that another rule names from the same observations."""
    over_depth = (structure.hidden_activation, initialization.symmetric, initialization.scale)
    return _told(observations, (parameters.without_gradient, *over_depth, norms.norm_batch))


def _of_steps(observations: Observations) -> str:
    loop = (parameters.maximized, parameters.gradients_kept)
    return _told(observations, (*loop, initialization.scale)) or "learning-rate-too-high"


def _told(observations: Observations, rules: Sequence[Rule]) -> str:
    for ask in rules:
        for told in ask(observations):
            if isinstance(told, Finding) and told.severity != "note":
                return told.code
    return ""
