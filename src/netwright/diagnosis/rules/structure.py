"""Faults in how the network is built, read from what follows what in one forward pass. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from netwright.diagnosis.experimenting import answer, change, experiment, proof
from netwright.diagnosis.hindrance import all_failed, first_help, helps, learned, suffers
from netwright.diagnosis.paths import LINEAR, MEAN_REMOVING, Link, called, links, readers, units
from netwright.diagnosis.registry import rule
from netwright.diagnosis.standing import as_good
from netwright.observations import Experiment, NetworkFacts, Observations
from netwright.observations.network import LayerFacts
from netwright.records import Evidence, Finding, Remedy

# ---------------------------------------------------------------------------------- what a hidden activation does

# Softmax makes units compete and hands on about 1/n of a gradient (its Jacobian p_i (δ_ij − p_j) has entries of at most
# 1/4 and rows that sum to 0); an exponential's slope is its value. Neither is used between layers with weights.
WRONG = ("softmax", "log_softmax", "exponential")
# Functions that end on both sides: each layer takes off a factor of the gradient, a sigmoid at least 4
# (Glorot and Bengio 2010, 3).
BOUNDED = ("sigmoid", "hardsigmoid", "tanh", "softsign", "hardtanh")
SLOPE_BELOW_ONE = ("sigmoid", "hardsigmoid")
DEEP_SIGMOID, DEEP_BOUNDED = 2, 5  # hidden layers of the kind, from which they are suspected
RELU = experiment(change("activation", "relu"), worth=68.0, question="ReLU in the hidden layers")
TANH = experiment(change("activation", "tanh"), worth=60.0, question="tanh in the hidden layers")
REDRAWN = experiment(
    change("activation", "relu"), change("initialization", "auto"), worth=59.0,
    question="ReLU in the hidden layers and weights by He's rule",
)  # fmt: skip
VANISHED = 1e-3  # as in `rules.gradients`
NEW_WEIGHTS = experiment(change("initialization", "auto"), worth=66.0, question="weights by He's and Xavier's rule")
FREE_SKILL = 0.5  # of a training that learns: what is odd about its layers does no harm there


@rule("wrong-hidden-activation")
def hidden_activation(observations: Observations) -> Iterator[Finding | Experiment]:
    """Softmax or exponential between layers with weights; stacks of sigmoids or other bounded functions."""
    found = links(observations.network)
    wrong = [link for link in found if link.activation in WRONG]
    bounded = [link for link in found if link.activation in BOUNDED]
    sigmoids = [link for link in bounded if link.activation in SLOPE_BELOW_ONE]
    if wrong:
        yield from _named(observations, wrong, (RELU, TANH), sure=True)
    elif len(sigmoids) >= DEEP_SIGMOID:
        yield from _named(observations, sigmoids, (RELU, TANH, REDRAWN), sure=fades(observations))
    elif len(bounded) >= DEEP_BOUNDED:
        yield from _named(observations, bounded, (RELU, REDRAWN), sure=False)


def fades(observations: Observations) -> bool:
    """Whether a thousandth is left, measured before the first step: then it is these functions.

    Of the gradient, at the first layer; or of what differs between examples, in the output of the last one (inputs of
    an ordered network become one: Schoenholz et al. 2017, 3).
    """
    initial = observations.initial
    stack = [layer for layer in initial.layers if layer.weight] if initial else []
    if any(layer.weight is not None and layer.weight.constant for layer in stack):
        return False  # weights that hand nothing on
    norms = [layer.gradient_norm for layer in stack if layer.gradient_norm is not None]
    varied = stack[-1].varied if stack else None
    return (len(norms) > 1 and norms[0] <= VANISHED * norms[-1]) or (varied is not None and varied <= VANISHED)


def _named(
    observations: Observations, found: Sequence[Link], asked: Sequence[Experiment], *, sure: bool
) -> Iterator[Finding | Experiment]:
    """``sure``: a fault by itself where the training suffers, even if another one hides what mending it brings."""
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    outcome = first_help(observations, *asked) if ill is not False else None
    if isinstance(outcome, Experiment):
        yield outcome
        return
    if outcome is None and not sure:
        return
    name = found[0].activation
    where = ", ".join(dict.fromkeys(_step_of(link) for link in found[:4])) + (" …" if len(found) > 4 else "")
    tried = outcome or next((o for o in (answer(observations, one) for one in asked) if o is not None), None)
    severity = "warning" if ill else "note"
    because = ""
    if not sure and as_good(outcome, answer(observations, NEW_WEIGHTS)):
        severity, because = "note", "bad-initialization"  # with better weights the same functions do as well
    better = outcome.experiment.changes[0].value if outcome else "relu"
    what = f"hidden layers with {name.replace('_', '-')}"
    yield Finding(
        code="wrong-hidden-activation",
        severity="error" if ill and outcome and sure else severity,  # type: ignore[arg-type]
        where=where,
        layer=_step_of(found[0]),
        evidence=(Evidence(what=what, value=float(len(found)), unit="layers", expected="ReLU or one of its kin"),),
        expected="a function that hands on gradients: ReLU, GELU, SiLU",
        cause=_REASONS.get(
            name, "each of these layers takes off a part of the gradient, and together nearly all of it"
        ),
        remedies=(
            Remedy(code="activation", text=f"{better} in the hidden layers", change={"activation": better}),
            Remedy(code="norm", text="a norm layer before each activation", change={"norm": "batch"}),
        ),
        confidence=0.95 if outcome else 0.7 if ill and all_failed(observations, *asked) else 0.5,
        confirmed_by=proof(tried) if tried else "",
        because_of=because,
    )


_REASONS = {
    "softmax": "units that compete for a sum of one lose what the layer before told, and hand back hardly any gradient",
    "log_softmax": "units that compete hand on one number less than they got, without bounds below",
    "exponential": "every layer raises what the one before made to the exponent: values and gradients explode",
}


def _step_of(link: Link) -> str:
    return next((step.name for step in link.between if step.options.get("activation") == link.activation), "")


# ------------------------------------------------------------------------------------------------ no activation

INSERTED = experiment(change("nonlinearity", "relu"), worth=67.0, question="a ReLU between the layers")


@rule("missing-nonlinearity")
def missing_nonlinearity(observations: Observations) -> Iterator[Finding | Experiment]:
    """Layers with weights that follow each other without anything that bends: W₂ (W₁ x) is one matrix.

    A factorisation is no fault: a layer narrower than what it reads and what reads it (low rank), a convolution that
    is depthwise or pointwise beside another one, an embedding. Where the whole network is affine it is told at once;
    one pair in a network that bends elsewhere only where an activation there repairs the training.
    """
    bare = [link for link in links(observations.network) if link.affine and not _factorized(link)]
    if not bare:
        return
    whole = _affine(observations)
    ill = suffers(observations)
    if isinstance(ill, Experiment):
        yield ill
        return
    outcome = answer(observations, INSERTED)
    if outcome is None and ill is not False:
        yield INSERTED
        return
    repaired = helps(observations, outcome)
    learns = learned(observations)
    harmless = ill is False or (repaired is False and learns is not None and learns > FREE_SKILL)
    loud = bool(repaired) or (whole and not harmless)
    names = list(dict.fromkeys(name for link in bare for name in (link.first.name, link.second.name)))
    yield Finding(
        code="missing-nonlinearity",
        severity="warning" if loud else "note",
        where=" → ".join(names[:6]) + (" …" if len(names) > 6 else ""),
        layer=bare[0].first.name,
        evidence=(
            Evidence(
                what="layers that another follows without an activation",
                value=float(len(bare)),
                unit="layers",
                expected="0",
            ),
        ),
        expected="an activation after every hidden layer",
        cause="the whole network is one affine function" if whole else "together these layers are one affine function",
        remedies=(Remedy(code="nonlinearity", text="a ReLU after each hidden layer", change={"nonlinearity": "relu"}),),
        confidence=0.95 if repaired else 0.8 if whole else 0.4,
        confirmed_by=proof(outcome) if outcome else "",
    )


def _affine(observations: Observations) -> bool:
    if observations.initial is not None and observations.initial.affine is not None:
        return observations.initial.affine
    found = links(observations.network)
    count = sum(layer.kind in LINEAR and layer.calls > 0 for layer in (observations.network or NetworkFacts()).layers)
    return count > 1 and len(found) == count - 1 and all(link.affine for link in found)


def _factorized(link: Link) -> bool:
    """Low rank, or a convolution in two parts: less weights than the one layer that both make up."""
    first, second = units(link.first), units(link.second)
    if first is None or second is None:
        return True
    if first[1] < min(first[0], second[1]):
        return True
    if any(layer.options.get("groups", 1) != 1 for layer in (link.first, link.second)):
        return True
    windows = [layer.parameters["weight"][2:] for layer in (link.first, link.second)]
    return all(windows) and math.prod(windows[0]) != math.prod(windows[1])


# ------------------------------------------------------------------------------------------------ notes


@rule("bias-before-norm")
def bias_before_norm(observations: Observations) -> Iterator[Finding | Experiment]:
    """A bias that the batch norm after it takes away again (Ioffe and Szegedy 2015, 3.2)."""
    network = observations.network
    if network is None or not network.executed:
        return
    layers, reading = called(network), readers(network)
    found = []
    for layer in layers.values():
        after = [layers[name] for name in reading.get(layer.name, [])]
        normed = len(after) == 1 and after[0].kind in MEAN_REMOVING
        if layer.kind in LINEAR and "bias" in layer.parameters and normed:
            found.append(layer)
    if found:
        count = sum(math.prod(layer.parameters["bias"]) for layer in found)
        yield Finding(
            code="bias-before-norm",
            severity="note",
            where=", ".join(layer.name for layer in found[:6]) + (" …" if len(found) > 6 else ""),
            layer=found[0].name,
            evidence=(Evidence(what="biases without effect", value=float(count), unit="parameters", expected="0"),),
            expected="bias=False before a norm that takes the mean away",
            cause="the norm subtracts the mean, and every constant with it",
            remedies=(Remedy(code="bias", text="bias=False in these layers"),),
        )


FIELD_SHARE = 0.5  # of the input's side: what a unit before global pooling has to see of it to tell shapes
SMALLEST_MAP, LARGEST_MAP = 2, 16  # side of the last map; above, a dense layer on it has most of the weights
DENSE_SHARE = 0.8  # of all weights
GLOBAL = ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean")


class _Map:
    """Receptive field, stride and side of the map along one axis, from layer to layer (Araujo et al. 2019)."""

    def __init__(self) -> None:
        self.field, self.stride = 1, 1

    def through(self, layer: LayerFacts) -> None:
        window, step, spread = (_side(layer.options.get(key), other) for key, other in _WINDOWS)
        self.field += (window - 1) * spread * self.stride
        self.stride *= step


_WINDOWS = (("kernel_size", 1), ("stride", 1), ("dilation", 1))


def _side(value: object, other: int) -> int:
    if isinstance(value, list | tuple) and value:
        value = value[-1]
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else other


@rule("receptive-field-too-small", "final-map-size")
def fields(observations: Observations) -> Iterator[Finding | Experiment]:
    """What the last map of a plain chain of convolutions sees, and how large it is. Branches are left out."""
    network = observations.network
    if network is None or not network.executed:
        return
    layers = called(network)
    chain = [layer for layer in layers.values() if _two_dimensional(layer)]
    if not chain or observations.data is None or observations.data.inputs is None:
        return
    if any(len(layer.inputs) != 1 or layer.calls != 1 for layer in layers.values()):
        return
    shape = observations.data.inputs.shape
    if len(shape) not in (2, 3):
        return
    side = min(shape[-2:])
    seen = _Map()
    for layer in chain:
        seen.through(layer)
    last = chain[-1]
    following = next((layers[name] for name in readers(network).get(last.name, [])), None)
    pooled = any(layer.kind in GLOBAL for layer in layers.values())
    if pooled and seen.field < FIELD_SHARE * side:
        yield _map_note(
            "receptive-field-too-small", last, "receptive field of the last map", seen.field, f"{side} pixels or more",
            "what is larger than the field is told by its parts alone", "more layers, pooling or dilation",
        )  # fmt: skip
    if len(last.output_shape) == 3 and following is not None:
        yield from _map_size(network, chain, min(last.output_shape[-2:]), pooled=pooled)


def _map_size(
    network: NetworkFacts, chain: Sequence[LayerFacts], side: int, *, pooled: bool
) -> Iterator[Finding | Experiment]:
    last = chain[-1]
    before = next((min(layer.output_shape[-2:]) for layer in reversed(chain[:-1]) if len(layer.output_shape) == 3), 0)
    padding = _side(last.options.get("padding"), 0)
    if side < SMALLEST_MAP and before < SMALLEST_MAP and padding and _side(last.options.get("kernel_size"), 1) > 1:
        yield _map_note(
            "final-map-size", last, "side of the last map", side, f"{SMALLEST_MAP} or more",
            "most of each kernel sees padding only", "fewer poolings or strides",
        )  # fmt: skip
    dense = sum(
        math.prod(shape) for layer in network.layers if layer.kind == "Linear" for shape in layer.parameters.values()
    )
    if side > LARGEST_MAP and not pooled and network.parameters and dense > DENSE_SHARE * network.parameters:
        yield _map_note(
            "final-map-size", last, "side of the last map", side, f"{LARGEST_MAP} or less",
            f"{dense / network.parameters:.0%} of the weights are in dense layers", "pooling or strides before it",
        )  # fmt: skip


def _two_dimensional(layer: LayerFacts) -> bool:
    return layer.kind in ("Conv2d", "LazyConv2d", "conv2d", "MaxPool2d", "AvgPool2d", "max_pool2d", "avg_pool2d")


def _map_note(code: str, layer: LayerFacts, what: str, value: float, expected: str, cause: str, remedy: str) -> Finding:
    return Finding(
        code=code, severity="note", where=layer.name, layer=layer.name,
        evidence=(Evidence(what=what, value=float(value), unit="pixels", expected=expected),),
        expected=expected, cause=cause, remedies=(Remedy(code=code, text=remedy),), confidence=0.6,
    )  # fmt: skip
