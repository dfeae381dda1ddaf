"""Facts about network, loss, optimiser and plan, as found before the first step. No torch."""

from __future__ import annotations

from typing import Any, Literal

from netwright.records import Record


class LayerFacts(Record, frozen=True, kw_only=True):
    """One leaf module, in the order of its first call; ``name`` is the module's path."""

    name: str
    kind: str  # the class: Linear, Conv2d, ReLU, …
    parameters: dict[str, tuple[int, ...]] = {}
    trainable: tuple[str, ...] = ()  # of its parameters, those that require a gradient
    in_optimizer: tuple[str, ...] = ()
    output_shape: tuple[int, ...] = ()
    options: dict[str, Any] = {}


class NetworkFacts(Record, frozen=True, kw_only=True):
    """The network: its layers in the order of the forward pass."""

    layers: tuple[LayerFacts, ...] = ()
    parameters: int = 0
    trainable: int = 0
    output_shape: tuple[int, ...] = ()  # of one example
    output_activation: str = ""  # softmax, log_softmax, sigmoid, relu, tanh, …; "" for none


class LossFacts(Record, frozen=True, kw_only=True):
    """The loss, by its behaviour on made-up outputs (not by its name).

    ``expects``: what the outputs should be: logits, log-probabilities, probabilities or plain values.
    """

    name: str
    expects: Literal["logits", "log-probabilities", "probabilities", "values", "unknown"] = "unknown"
    task: Literal["classification", "binary", "multi-label", "regression", "unknown"] = "unknown"
    reduction: Literal["mean", "sum", "unknown"] = "unknown"


class OptimizerFacts(Record, frozen=True, kw_only=True):
    """The optimiser's kind and the options of its groups."""

    kind: str  # SGD, Adam, …
    groups: tuple[dict[str, Any], ...] = ()  # lr, momentum, weight_decay, …; only plain numbers and flags
    strange_parameters: int = 0  # parameters that it steps and the network does not have


class Plan(Record, frozen=True, kw_only=True):
    """How long and in what pieces it shall train."""

    batch_size: int | None = None
    epochs: int | None = None
    examples: int | None = None


class Preflight(Record, frozen=True, kw_only=True):
    """What one batch showed on a copy, before the first step."""

    loss: float | None = None
    expected_loss: float | None = None  # of a network that knows nothing: ln C, the targets' variance, …
    output_shape: tuple[int, ...] = ()  # for a batch
    target_shape: tuple[int, ...] = ()
    output_minimum: float | None = None
    output_maximum: float | None = None
    seconds: float = 0.0
