"""Which modules a network runs, in which order, and which of them are hidden activations or make its output."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import nn

from netwright.repair.replaying import evaluating
from netwright.training import randomness

# Kinds of activation by the name that changes use.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "leaky-relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid, "hard-sigmoid": nn.Hardsigmoid, "softsign": nn.Softsign, "softplus": nn.Softplus,
    "softmax": nn.Softmax, "log-softmax": nn.LogSoftmax, "identity": nn.Identity,
}  # fmt: skip
WEIGHTED = (
    nn.Linear,
    nn.modules.conv._ConvNd,
    nn.Bilinear,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.Embedding,
    nn.MultiheadAttention,
)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
# No weights, element by element or along one axis, and none of those that only move or drop values.
_NOT_ACTIVATIONS = (
    nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd, nn.AlphaDropout, nn.Upsample,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd, nn.PixelShuffle, nn.PixelUnshuffle, nn.ZeroPad2d,
)  # fmt: skip


class Called(NamedTuple):
    """One call of a leaf module: shapes with the batch in front; ``acts``: it changed values and kept the shape."""

    name: str
    module: nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    acts: bool
    makes_output: bool  # what it returned is what the network returned


def calls(network: nn.Module, inputs: torch.Tensor) -> list[Called]:
    """The leaf modules in the order of their calls for ``inputs``; run on a copy, in evaluation mode.

    A leaf is a module without children, or a recurrent layer. What a network does with functions is not seen.
    """
    copied = copy.deepcopy(network)
    seen: list[tuple[str, tuple[int, ...], torch.Tensor, bool]] = []
    handles = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
            if isinstance(result, tuple):
                result = result[0]
            if not given or not isinstance(given[0], torch.Tensor) or not isinstance(result, torch.Tensor):
                return
            same = given[0].shape == result.shape
            acts = (
                same
                and not isinstance(module, (*_NOT_ACTIVATIONS, *WEIGHTED, *NORMS))
                and not any(True for _ in module.parameters())
            )
            seen.append((name, tuple(given[0].shape), result, acts and not torch.equal(given[0], result)))

        return hook

    for name, module in copied.named_modules():
        if name and (not any(True for _ in module.children()) or isinstance(module, nn.MultiheadAttention)):
            handles.append(module.register_forward_hook(look(name)))
    with evaluating(copied), torch.no_grad(), randomness.kept():
        output = copied(inputs)
    for handle in handles:
        handle.remove()
    return [
        Called(name, network.get_submodule(name), shape, tuple(result.shape), acts, result is output)
        for name, shape, result, acts in seen
    ]


def output_activation(called: list[Called]) -> Called | None:
    """The activation that makes the network's output, None where a layer with weights makes it (or a function)."""
    last = called[-1] if called else None
    return last if last is not None and last.makes_output and _is_activation(last) else None


def hidden_activations(called: list[Called]) -> list[Called]:
    """The activations before the last layer with weights, each module once."""
    weighted = [index for index, call in enumerate(called) if isinstance(call.module, WEIGHTED)]
    before = called[: weighted[-1]] if weighted else []
    found = {call.name: call for call in before if _is_activation(call)}
    return list(found.values())


def _is_activation(call: Called) -> bool:
    return call.acts or isinstance(call.module, tuple(kind for kind in ACTIVATIONS.values() if kind is not nn.Identity))


def activation_name(module: nn.Module) -> str:
    """Its name among `ACTIVATIONS`, else its class in lower case."""
    for name, kind in ACTIVATIONS.items():
        if type(module) is kind:
            return name
    return type(module).__name__.lower()


def layers_with_weights(called: list[Called]) -> list[Called]:
    """Dense and convolutional layers in the order of their first call."""
    found = {call.name: call for call in called if isinstance(call.module, nn.Linear | nn.modules.conv._ConvNd)}
    return list(found.values())


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` in the place ``name``; all other names stay."""
    parent, _, last = name.rpartition(".")
    owner = network.get_submodule(parent)
    if isinstance(owner, nn.Sequential | nn.ModuleList) and last.isdigit():
        owner[int(last)] = module
    else:
        setattr(owner, last, module)
