"""Units that never fire, and units that are stuck at an end of their activation. No torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from netwright.diagnosis.hindrance import learned, suffers
from netwright.diagnosis.paths import links
from netwright.diagnosis.registry import rule
from netwright.diagnosis.rules import initialization
from netwright.observations import Experiment, Observations
from netwright.records import Evidence, Finding, Remedy

# Of the units of a layer. Trained ReLU networks that are healthy have up to a third of units that no example of a batch
# wakes (Lu et al. 2019, 4, draw the line at networks of which nothing is left); at a half, width is lost.
DEAD = 0.5
# Of a layer's outputs: healthy sigmoid and tanh layers have 10 to 40 % near their ends (Glorot and Bengio 2010,
# fig. 4), at the start none (Rakitianskaia and Engelbrecht 2015 call a layer saturated above 0.5).
SATURATED = 0.5
LEARNED = 0.5  # skill
LATE = 0.25  # of the sampled steps: the last ones
SATURATING = ("sigmoid", "hardsigmoid", "tanh", "softsign", "hardtanh", "softmax")


@rule("dead-units")
def dead(observations: Observations) -> Iterator[Finding | Experiment]:
    """Half of a layer's units, or more, are zero for every example in all sampled steps, and the training suffers."""
    shares = {layer: observations.series.get("dead-units", layer).last for layer in _layers(observations, "dead-units")}
    worst = {layer: share for layer, share in shares.items() if share is not None and share >= DEAD}
    if not worst:
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    layer = max(worst, key=lambda name: worst[name])
    begins = _at_start(observations, layer)
    because = _because(observations)
    if not because and begins is not None and begins < DEAD and ill:
        because = "learning-rate-too-high"
    yield Finding(
        code="dead-units",
        severity="warning" if ill else "note",
        where=", ".join(list(worst)[:6]) + (" …" if len(worst) > 6 else ""),
        layer=layer,
        evidence=(
            Evidence(what="units that are zero for every example", value=worst[layer], unit="share",
                     step=observations.series.get("dead-units", layer).steps[-1], expected=f"below {DEAD:g}"),
            Evidence(what="of them before the first step", value=begins, unit="share", step=0),
        ),
        expected="units that fire for some examples",
        cause="sums below zero for all inputs, where a ReLU has no slope: nothing brings such units back",
        remedies=(
            Remedy(code="learning-rate", text="a lower rate, or warm-up", change={"learning-rate": 0.1}),
            Remedy(code="initialization", text="He's initialisation, biases zero", change={"initialization": "auto"}),
            Remedy(code="activation", text="LeakyReLU, GELU or ELU", change={"activation": "leaky-relu"}),
        ),
        confidence=0.9 if ill else 0.5,
        because_of=because,
    )  # fmt: skip


@rule("saturated-units")
def saturated(observations: Observations) -> Iterator[Finding | Experiment]:
    """Half of what a hidden layer puts out, or more, lies at the ends of its activation, and the training suffers.

    Units that became decided while most was learned are what it learned; that is a note.
    """
    hidden = {step.name for link in links(observations.network) for step in link.between
              if step.options.get("activation") in SATURATING}  # fmt: skip
    shares = {}
    for layer in _layers(observations, "activation-saturated"):
        values = observations.series.get("activation-saturated", layer).finite
        if layer in hidden and values:
            shares[layer] = statistics.median(values[-max(1, int(LATE * len(values))) :])
    worst = {layer: share for layer, share in shares.items() if share >= SATURATED}
    if not worst:
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    layer = max(worst, key=lambda name: worst[name])
    begins = observations.series.get("activation-saturated", layer).finite[0]
    done = learned(observations)
    ill = ill and not (begins < SATURATED and done is not None and done > LEARNED)
    because = _because(observations)
    if not because and _large_inputs(observations):
        because = "input-not-normalized"
    yield Finding(
        code="saturated-units",
        severity="warning" if ill else "note",
        where=", ".join(list(worst)[:6]) + (" …" if len(worst) > 6 else ""),
        layer=layer,
        evidence=(
            Evidence(what="outputs at the ends of the activation", value=worst[layer], unit="share",
                     expected=f"below {SATURATED:g}"),
            Evidence(what="of them in the first step", value=begins, unit="share", step=1),
        ),
        expected="outputs where the activation has a slope",
        cause="sums far from zero: inputs or weights too large, or steps that made them so",
        remedies=(
            Remedy(code="standardize-inputs", text="scale the inputs", change={"standardize-inputs": True}),
            Remedy(code="initialization", text="Xavier's initialisation", change={"initialization": "auto"}),
            Remedy(code="norm", text="a norm layer before the activation", change={"norm": "batch"}),
        ),
        confidence=0.9 if ill else 0.5,
        because_of=because,
    )  # fmt: skip


def _layers(observations: Observations, probe: str) -> list[str]:
    """Those that the network calls; the output's own activation saturates when it is sure of its answer."""
    last = set(observations.network.outputs) if observations.network is not None else set()
    return [layer for layer in observations.series.layers(probe) if layer not in last]


def _at_start(observations: Observations, layer: str) -> float | None:
    layers = observations.initial.layers if observations.initial is not None else ()
    return next((start.dead for start in layers if start.name == layer), None)


def _because(observations: Observations) -> str:
    """A cause that another rule names from the same observations."""
    for ask in (initialization.symmetric, initialization.scale):
        for told in ask(observations):
            if isinstance(told, Finding) and told.severity != "note":
                return told.code
    return ""


LARGE_INPUTS = 10.0  # root mean square: ten times what initialisations count with (LeCun et al. 1998, 4.3)


def _large_inputs(observations: Observations) -> bool:
    facts = observations.data.inputs if observations.data is not None else None
    if facts is None or facts.mean is None or facts.deviation is None:
        return False
    return math.hypot(facts.mean, facts.deviation) > LARGE_INPUTS
