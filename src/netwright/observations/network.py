"""Facts about network, loss, optimiser and plan, as found before the first step. No torch."""

from __future__ import annotations

from typing import Any, Literal

from netwright.records import Record


class LayerFacts(Record, frozen=True, kw_only=True):
    """One leaf module, or a function called between them, in the order of the first call.

    ``name`` is the module's path; a function has its place and a number: ``block.relu_1``. A module
    with children counts if it holds parameters of its own; its children that are never called themselves do too.

    ``options`` are the module's plain ones (``p``, ``eps``, ``momentum``, ``affine``, ``bias``, ``stride``, …) and what
    trying it out on made-up values showed: ``activation`` (relu, leaky_relu, elu, gelu, silu, softplus, sigmoid,
    hardsigmoid, tanh, softsign, hardtanh, relu6, softmax, log_softmax, exponential, identity, elementwise for others),
    ``lower`` and ``upper`` (its bounds, where it has them), ``cuts_gradient`` (its output does not depend on its input
    for autograd), ``flat`` (it does, and the slope is zero everywhere: rounding, signs, thresholds).
    """

    name: str
    kind: str  # the class: Linear, Conv2d, ReLU, …; for a function the class that does the same, or its name: add, cat
    parameters: dict[str, tuple[int, ...]] = {}
    trainable: tuple[str, ...] = ()  # of its parameters, those that require a gradient
    in_optimizer: tuple[str, ...] = ()
    output_shape: tuple[int, ...] = ()  # of one example
    options: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()  # the layers whose outputs it read in its first call; "input" for the network's own
    calls: int = 1  # in one forward pass; 0: never called
    function: bool = False
    unit_axis: int = -1  # of its output for a batch: 1 for channels first


class Unregistered(Record, frozen=True, kw_only=True):
    """Trainable parameters that the output depends on and neither ``parameters()`` nor an optimiser has, because they
    stand in a plain list, tuple or dictionary of a module. ``fresh``: the largest of them looks drawn, not learned."""

    name: str  # of the attribute
    size: int
    fresh: bool | None = None


class NetworkFacts(Record, frozen=True, kw_only=True):
    """The network: its layers in the order of the forward pass."""

    layers: tuple[LayerFacts, ...] = ()
    parameters: int = 0
    trainable: int = 0
    output_shape: tuple[int, ...] = ()  # of one example
    output_activation: str = ""  # softmax, log_softmax, sigmoid, relu, tanh, …; "" for none
    calls: tuple[str, ...] = ()  # the layers in the order of all calls, repeated ones again
    outputs: tuple[str, ...] = ()  # the layers that made the network's output
    tied: tuple[tuple[str, ...], ...] = ()  # names of one and the same parameter
    unregistered: tuple[Unregistered, ...] = ()
    executed: bool = False  # seen in a forward pass; else layers are in the order of definition, without shapes


class LossFacts(Record, frozen=True, kw_only=True):
    """The loss, by its behaviour on made-up outputs (not by its name).

    ``expects``: what the outputs should be: logits, log-probabilities, probabilities or plain values. ``form``: how it
    behaves: a softmax or sigmoid inside, log-likelihood (affine in its outputs), cross-entropy of probabilities, …
    ``by_index``: targets are class numbers. ``negative``: what a loss with a sigmoid inside calls a negative example, 0
    or −1. ``task``: what is learned, from loss, targets and outputs together. ``reversed``: it is lower the further
    the outputs are from the targets: a score to be high, or a minus that is missing. ``class_weights``: what an example
    of each class counts, shares of 1; () where it was not told.
    """

    name: str
    expects: Literal["logits", "log-probabilities", "probabilities", "values", "unknown"] = "unknown"
    task: Literal["classification", "binary", "multi-label", "regression", "unknown"] = "unknown"
    reduction: Literal["mean", "sum", "unknown"] = "unknown"
    form: Literal[
        "softmax", "log-likelihood", "cross-entropy", "sigmoid", "binary-cross-entropy", "squared", "absolute", "huber",
        "distance", "unknown",
    ] = "unknown"  # fmt: skip
    by_index: bool = False
    negative: float = 0.0
    reversed: bool = False
    class_weights: tuple[float, ...] = ()


class OptimizerFacts(Record, frozen=True, kw_only=True):
    """The optimiser's kind and the options of its groups."""

    kind: str  # SGD, Adam, …
    groups: tuple[dict[str, Any], ...] = ()  # lr, momentum, weight_decay, …; only plain numbers and flags
    strange_parameters: int = 0  # parameters that it steps and the network does not have


class Plan(Record, frozen=True, kw_only=True):
    """How long and in what pieces it shall train.

    ``order``: of the examples in the first batches: as they lie in the training data (``given``), another (``other``),
    or not seen.
    """

    batch_size: int | None = None
    epochs: int | None = None
    examples: int | None = None
    order: Literal["given", "other", "unknown"] = "unknown"


class Preflight(Record, frozen=True, kw_only=True):
    """What one batch showed on a copy, before the first step.

    ``activation``: what becomes of the last layer's values (softmax, sigmoid, …; ``identity`` for nothing, ``other``,
    ``""`` where it cannot be told), ``lowest`` and ``highest`` the bounds of what can come out; ``constant``: always
    the same does. ``rows``: what the rows of the output were: ``probabilities``, ``log-probabilities`` or nothing.
    ``outside``: the share of all training targets beyond those bounds, ``rows_of_one`` of targets (N, K ≥ 2) whose
    row sums to 1. ``broadcast``: outputs and targets of different shapes were stretched over each other.
    ``mixing``: how far outputs in evaluation mode move with the other examples of their batch, as a share of how far
    they lie apart; None where that cannot be said.
    """

    loss: float | None = None
    expected_loss: float | None = None  # of a network that knows nothing: ln C, the targets' variance, …
    output_shape: tuple[int, ...] = ()  # for a batch
    target_shape: tuple[int, ...] = ()
    output_minimum: float | None = None
    output_maximum: float | None = None
    activation: str = ""
    lowest: float | None = None
    highest: float | None = None
    constant: bool = False
    rows: Literal["probabilities", "log-probabilities", ""] = ""
    outside: float = 0.0
    rows_of_one: float = 0.0
    broadcast: bool = False
    mixing: float | None = None
    warnings: tuple[str, ...] = ()  # what PyTorch itself warned of
    failure: str = ""  # why the batch could not be run
    seconds: float = 0.0
