"""Initial values by name, for any network: Xavier, He, orthogonal, LSUV, small, sparse; and a bias from the classes.

The gain follows the activation that a layer goes into, so that the variance of signals stays through depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netwright.errors import NetworkError, RecipeError, unknown_name
from netwright.nn import norms
from netwright.nn.activations import Maxout
from netwright.nn.refitting import ACTING, LAYERS, Calls, calls
from netwright.recipe.schema import INITIALIZERS

SMALL = 0.01  # deviation of "small" (Krizhevsky et al. 2012, section 5)
CONNECTIONS = 15  # of a unit, for "sparse" (Martens 2010)
TOLERANCE, ROUNDS = 0.1, 10  # of LSUV (Mishkin and Matas 2016, algorithm 1)


@torch.no_grad()
def initialize(network: nn.Module, how: str, inputs: Tensor) -> None:
    """Draw the weights of every dense layer and convolution anew, in place; biases become 0, norms 1 and 0.

    ``inputs`` (N, ...): a batch; one example shows what follows what, LSUV measures on all of it. The last layer keeps
    the gain of a linear one. Uses the global generator. Raises ``NetworkError`` for a network that does not run on it.
    """
    if how not in INITIALIZERS:
        raise unknown_name("network.init", how, INITIALIZERS)
    if how == "default":
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset) and (isinstance(module, LAYERS) or not isinstance(module, nn.Sequential)):
                reset()
        return
    seen = calls(network, inputs.shape[1:])
    for name, gain in gains(seen).items():
        layer: Any = network.get_submodule(name)
        _fill(layer, how, gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        if isinstance(module, norms.KINDS) and callable(reset):
            reset()
    if how == "lsuv":
        _unit_variance(network, seen, inputs)


def gains(seen: Calls) -> dict[str, float]:
    """Each dense layer's and convolution's gain, by the first activation behind it: √2 for ReLU, 1 for tanh, …

    Norms, poolings and sums on the way change nothing here. Without an activation before the next layer it is 1. Where
    no formula is known it is measured: 1 / √E[f(z)²] for z ~ N(0, 1), which keeps the second moment (He et al. 2015).
    For tanh 1 is critical (Schoenholz et al. 2017); with PyTorch's 5/3 gradients grew by 10⁴ over fifty layers.
    """
    found: dict[str, float] = {}
    for place, call in enumerate(seen.calls):
        if not isinstance(call.module, LAYERS) or call.name in found:
            continue
        gain = 1.0
        for later in seen.calls[place + 1 :]:
            if isinstance(later.module, LAYERS):
                break
            if isinstance(later.module, ACTING):
                gain = _gain(later.module)
                break
        found[call.name] = gain
    return found


def _gain(activation: nn.Module) -> float:
    match activation:
        case nn.ReLU():
            return math.sqrt(2.0)
        case nn.LeakyReLU():
            return nn.init.calculate_gain("leaky_relu", activation.negative_slope)
        case nn.Tanh() | nn.Softsign() | nn.SELU() | nn.Softmax() | nn.GLU() | Maxout():
            return 1.0
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    moment = float((activation.to(torch.float64)(z.clone()).square() * density).sum() / density.sum())
    activation.to(torch.float32)
    return 1 / math.sqrt(moment) if moment > 0 else 1.0


def _fill(layer: Any, how: str, gain: float) -> None:
    weight = layer.weight
    flat = weight.transpose(0, 1) if isinstance(layer, nn.modules.conv._ConvTransposeNd) else weight
    receptive = math.prod(weight.shape[2:])
    inputs, outputs = flat.shape[1] * receptive, flat.shape[0] * receptive
    match how:
        case "xavier":
            weight.uniform_(-(a := gain * math.sqrt(6 / (inputs + outputs))), a)
        case "xavier-normal":
            weight.normal_(0, gain * math.sqrt(2 / (inputs + outputs)))
        case "he":
            weight.normal_(0, gain / math.sqrt(inputs))
        case "he-uniform":
            weight.uniform_(-(a := gain * math.sqrt(3 / inputs)), a)
        case "orthogonal":
            nn.init.orthogonal_(weight, gain)
        case "lsuv":
            nn.init.orthogonal_(weight)
        case "small":
            weight.normal_(0, SMALL)
        case "sparse":
            rows = torch.randn(weight.shape[0], weight[0].numel(), device=weight.device)
            chosen = torch.rand_like(rows).argsort(1) < CONNECTIONS
            weight.copy_((rows * chosen).view_as(weight))


def _unit_variance(network: nn.Module, seen: Calls, inputs: Tensor) -> None:
    """Scale each layer in turn until its output has variance 1 on ``inputs``, as in training but without dropout."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    for module in network.modules():
        module.training = not isinstance(module, nn.modules.dropout._DropoutNd)
    heard: dict[str, Tensor] = {}
    try:
        for name in dict.fromkeys(call.name for call in seen.calls if isinstance(call.module, LAYERS)):
            layer: Any = network.get_submodule(name)
            handle = layer.register_forward_hook(lambda module, given, made, name=name: heard.update({name: made}))
            for _ in range(ROUNDS):
                network(inputs)
                variance = float(heard[name].float().var())
                if not math.isfinite(variance) or variance <= 0:
                    raise NetworkError(
                        f"network.init at {name}", f"an output of variance {variance:g}", "one above 0 to be scaled",
                        "--set network.init=orthogonal",
                    )  # fmt: skip
                if abs(variance - 1) < TOLERANCE:
                    break
                layer.weight.div_(math.sqrt(variance))
            handle.remove()
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, value in buffers:
            buffer.copy_(value)


@torch.no_grad()
def prior_bias(network: nn.Module, inputs: Tensor, counts: Sequence[float], total: float, *, exclusive: bool) -> None:
    """Set the last layer's bias so that the untrained network predicts the classes' shares, in place.

    ``inputs`` (N, ...): a batch, which shows the last layer. ``counts``: examples of each class (or label) of
    ``total``. ``exclusive``: log pᵢ (softmax), else the logit of pᵢ (Lin et al. 2017, 4.1); half an example is added to
    each, so that a class without any stays finite. The last layer's weights are scaled to a tenth, or the first outputs
    would drown it. Raises ``RecipeError`` without a bias for each.
    """
    last: Any = None
    for call in calls(network, inputs.shape[1:]).calls:
        last = call.module if isinstance(call.module, LAYERS) else last
    if last is None or last.bias is None or len(last.bias) != len(counts):
        raise RecipeError(
            "network.prior_bias", "a network whose last layer has no bias a class", f"{len(counts)} biases",
            "--set network.prior_bias=false",
        )  # fmt: skip
    seen = torch.tensor([float(count) for count in counts], dtype=torch.float64) + 0.5
    if exclusive:
        bias = torch.log(seen / seen.sum())
    else:
        share = seen / (total + 1.0)
        bias = torch.log(share) - torch.log1p(-share)
    last.bias.copy_(bias)
    last.weight.mul_(0.1)
