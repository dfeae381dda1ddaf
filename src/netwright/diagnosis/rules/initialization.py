"""Weights to begin with: too large, too small, or the same for every unit. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from netwright.diagnosis.experimenting import answer, change, experiment, proof
from netwright.diagnosis.hindrance import helps, suffers
from netwright.diagnosis.paths import NORMS, links
from netwright.diagnosis.registry import rule
from netwright.observations import Experiment, Observations
from netwright.observations.initial import InitialState, LayerStart, WeightStart
from netwright.records import Evidence, Finding, Remedy

REDRAWN = experiment(change("initialization", "auto"), worth=66.0, question="weights by He's and Xavier's rule")
# Gains (deviation × √fan-in) beyond what PyTorch, LeCun, Glorot and He would draw for the shape, by these factors, are
# suspected; all of those rules lie within a factor 2.5 of each other.
ODD = 3.0
# By these they are a fault by themselves in a training that suffers: five times He's scale, layer after layer, is deep
# in the chaotic phase (Schoenholz et al. 2017, fig. 1: σ_w ≤ 2 to 3 for tanh at any depth that trains).
FAR_TOO_LARGE = 5.0
# The scale of what a plain stack of layers makes of its input, forward and backward, between first and last layer.
# Depth that trains keeps both within the depth scale ξ: e^{-L/ξ}; 1e-2 and less is L > 4 ξ (Schoenholz et al. 2017, 5).
SHRINKS, GROWS = 1e-2, 1e2
FAR = 1e-4  # and its inverse: told of a training that suffers even where new weights alone do not repair it


@rule("symmetric-weights")
def symmetric(observations: Observations) -> Iterator[Finding | Experiment]:
    """Hidden units that begin alike and get the same gradient: no step of any optimiser tells them apart."""
    initial = observations.initial
    if initial is None:
        return
    alike = [layer for layer in _hidden(initial) if layer.weight is not None and layer.weight.equal_rows]
    stuck = [layer for layer in alike if layer.weight and layer.weight.equal_gradients]
    stuck = [layer for layer in stuck if not _parted(observations, layer.name)]
    if not stuck:
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    outcome = answer(observations, REDRAWN)
    if outcome is None and ill is not False:
        yield REDRAWN
        return
    zeros = all(layer.weight and layer.weight.constant and layer.weight.mean == 0 for layer in stuck)
    yield Finding(
        code="symmetric-weights",
        severity="note" if ill is False else "error",
        where=_listed(stuck),
        layer=stuck[0].name,
        evidence=(
            Evidence(what="units of the layer", value=float(stuck[0].units), unit="units", step=0),
            Evidence(what="different ones among them", value=1.0, unit="units", step=0, expected="all"),
        ),
        expected="weights drawn at random",
        cause="all weights are zero: nothing flows, forward or backward" if zeros else "every unit computes the same",
        remedies=(_NEW,),
        confidence=0.97,
        confirmed_by=proof(outcome) if outcome is not None and helps(observations, outcome) else "",
    )


_NEW = Remedy(
    code="initialization", text="PyTorch's own initialisation, or He's for ReLU and Xavier's elsewhere",
    change={"initialization": "auto"},
)  # fmt: skip


def _parted(observations: Observations, layer: str) -> bool:
    """Whether its units have become different in the training, as noise makes them."""
    last = observations.series.get("weight-unit-spread", layer).last
    return last is not None and last > 1e-3


@rule("bad-initialization")
def scale(observations: Observations) -> Iterator[Finding | Experiment]:
    """Weights of another scale than any usual rule draws, or a scale that grows or shrinks from layer to layer."""
    initial = observations.initial
    if initial is None:
        return
    odd = _odd(initial)
    forward, backward = _forward(observations, initial), _backward(observations, initial)
    drifts = [ratio for ratio in (forward, backward) if ratio is not None and not SHRINKS <= ratio <= GROWS]
    if not odd and not drifts:
        return
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    if ill is False:
        return
    outcome = answer(observations, REDRAWN)
    if outcome is None:
        yield REDRAWN
        return
    repaired = helps(observations, outcome)
    large = [layer for layer in odd if layer.weight and layer.weight.gain > FAR_TOO_LARGE * layer.weight.highest_gain]
    plain = bool(ill and (large or (odd and any(not FAR <= ratio <= 1 / FAR for ratio in drifts))))
    if repaired is False and not plain:
        return
    loud = bool(repaired) or plain or (repaired is None and bool(ill) and bool(odd) and bool(drifts))
    yield Finding(
        code="bad-initialization",
        severity="warning" if loud else "note",
        where=_listed(odd) if odd else "network",
        layer=odd[0].name if odd else "",
        evidence=tuple(_evidence(odd, forward, backward)),
        expected="a scale that layers keep, forward and backward: He's rule for ReLU, Xavier's elsewhere",
        cause=_cause(odd, drifts),
        remedies=(_NEW, Remedy(code="norm", text="a norm layer before each activation", change={"norm": "batch"})),
        confidence=0.95 if repaired else 0.6,
        confirmed_by=proof(outcome),
    )


def _odd(initial: InitialState) -> list[LayerStart]:
    """Layers whose weights were drawn too large or too small; a small last layer is no fault (it starts at no opinion).

    Weights before a norm may be of any scale.
    """
    layers = list(initial.layers)
    hidden = {layer.name for layer in _hidden(initial)}
    found = []
    for index, layer in enumerate(layers):
        weight = layer.weight
        if weight is None or weight.fresh is False:
            continue
        if any(other.kind in NORMS for other in layers[index + 1 : index + 2]):
            continue
        small = weight.gain < weight.lowest_gain / ODD and layer.name in hidden and weight.fan_in > 1
        if (small and not _silent(weight)) or weight.gain > ODD * weight.highest_gain or _constant_and_large(weight):
            found.append(layer)
    return found


def _silent(weight: WeightStart) -> bool:
    return weight.constant and weight.mean == 0  # told as symmetric weights, or the last of a residual branch


def _constant_and_large(weight: WeightStart) -> bool:
    """Of equal weights it is the mean that scales: n inputs of one sign add up to n of them."""
    return weight.constant and abs(weight.mean) * math.sqrt(weight.fan_in) > weight.highest_gain


def _hidden(initial: InitialState) -> list[LayerStart]:
    """Layers with weights but the last, of more than one unit."""
    weighted = [layer for layer in initial.layers if layer.weight is not None]
    return [layer for layer in weighted[:-1] if layer.units > 1]


def _plain_stack(observations: Observations, initial: InitialState) -> list[LayerStart]:
    """Layers with weights that follow each other along one path; [] where a norm keeps the scale."""
    found = links(observations.network)
    if any(layer.kind in NORMS for layer in initial.layers):
        return []
    named = {layer.name: layer for layer in initial.layers if layer.weight is not None}
    chained = {link.second.name for link in found} | {link.first.name for link in found}
    stack = [layer for name, layer in named.items() if name in chained or not found]
    return stack if len(stack) >= 2 and len(stack) == len(named) else []


def forward_growth(observations: Observations) -> float | None:
    """Scale of the last layer's output ÷ the first's in a plain stack, before the first step."""
    return _forward(observations, observations.initial) if observations.initial is not None else None


def _forward(observations: Observations, initial: InitialState) -> float | None:
    """Scale of the last layer's output ÷ the first's."""
    return _ratio([layer.output_scale for layer in _plain_stack(observations, initial)])


def _backward(observations: Observations, initial: InitialState) -> float | None:
    """Norm of the gradient at the first layer ÷ at the last."""
    return _ratio([layer.gradient_norm for layer in _plain_stack(observations, initial)][::-1])


def _ratio(values: Sequence[float | None]) -> float | None:
    """The last ÷ the first; None where one is zero or not known: nothing shrinks there, it is cut."""
    if len(values) < 2 or not values[0] or not values[-1]:
        return None
    ratio = values[-1] / values[0]
    return ratio if math.isfinite(ratio) and ratio > 0 else None


def _evidence(odd: Sequence[LayerStart], forward: float | None, backward: float | None) -> Iterator[Evidence]:
    for layer in odd[:3]:
        weight = layer.weight
        if weight is not None:
            usual = f"{weight.lowest_gain:.2f} to {weight.highest_gain:.2f}"
            value = abs(weight.mean) * math.sqrt(weight.fan_in) if weight.constant else weight.gain
            what = f"{layer.name}: {'weight' if weight.constant else 'deviation of its weights'} × √{weight.fan_in}"
            yield Evidence(what=what, value=value, step=0, expected=usual)
    if forward is not None:
        yield Evidence(what="scale of the last layer's output ÷ the first's", value=forward, step=0, expected="about 1")
    if backward is not None:
        yield Evidence(what="gradient at the first layer ÷ at the last", value=backward, step=0, expected="about 1")


def _cause(odd: Sequence[LayerStart], drifts: Sequence[float]) -> str:
    weights = [layer.weight for layer in odd if layer.weight is not None]
    if any(weight.constant for weight in weights):
        return "all weights of a layer are one value: its units begin alike and add all inputs up"
    if weights:
        large = weights[0].gain > weights[0].highest_gain
        return f"the weights are drawn too {'large' if large else 'small'} for so many inputs"
    return f"values or gradients {'grow' if drifts[0] > 1 else 'shrink'} from layer to layer"


def _listed(layers: Sequence[LayerStart]) -> str:
    return ", ".join(layer.name for layer in layers[:6]) + (" …" if len(layers) > 6 else "")
