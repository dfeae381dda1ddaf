"""Facts about network and optimisers: what there is, in the order in which it is called."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netwright.observations import NetworkFacts, Observations, OptimizerFacts
from netwright.observations.network import LayerFacts
from netwright.watching import behaviour, unregistered
from netwright.watching.calls import Call, Calls, is_opaque, layers_of, tensors, unwrapped

ROWS = 4  # of the batch that shows shapes and order: enough for batch statistics
MOST_CALLS = 20_000  # calls that are kept in order: a loop over very many steps is cut there
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm,
    nn.LocalResponseNorm,
)  # fmt: skip
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
_FIRST_NAMES = ("conv", "batch_norm", "group_norm", "instance_norm", "max_pool", "avg_pool", "adaptive_")
_LAST_NAMES = ("linear", "layer_norm", "embedding", "rms_norm", "scaled_dot_product_attention")
_HIDDEN_OPTIONS = {"training", "in_channels", "out_channels", "in_features", "out_features", "transposed"}
_OF_BACKWARD = {
    "Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu",
    "Elu": "elu", "Softplus": "softplus", "Hardtanh": "hardtanh", "Exp": "exponential", "LogSigmoid": "logsigmoid",
    "LeakyRelu": "leaky_relu", "Hardsigmoid": "hardsigmoid", "Gelu": "gelu", "Silu": "silu",
}  # fmt: skip
_PASSING = (
    "View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Transpose", "T", "Permute", "Clone",
    "ToCopy", "Expand", "Alias",
)  # fmt: skip


def example_of(train_data: Any, network: nn.Module, rows: int = ROWS) -> Tensor | None:
    """The first ``rows`` inputs on the network's device, floating ones in its type; None where there are none."""
    if not isinstance(train_data, tuple | list) or not len(train_data):
        return None
    inputs = train_data[0]
    try:
        example = inputs[:rows] if isinstance(inputs, Tensor) else torch.as_tensor(np.asarray(inputs[:rows]))
    except (TypeError, ValueError, KeyError):
        return None
    place = next((p for p in network.parameters() if p.is_floating_point() and not is_lazy(p)), None)
    if place is None:
        return example.detach().clone()
    example = example.detach().clone().to(place.device)
    return example.to(place.dtype) if example.is_floating_point() else example


def examine(observations: Observations, network: Any, optimizers: Sequence[Any], train_data: Any = None) -> None:
    """Fill in the facts of network and optimisers; what cannot be seen is said."""
    if not isinstance(network, nn.Module):
        observations.unseen["network"] = f"a {type(network).__name__} is no torch.nn.Module"
        return
    network = unwrapped(network)
    facts, unseen = describe(network, optimizers, example_of(train_data, network))
    observations.network = facts
    observations.unseen |= unseen
    observations.optimizer = describe_optimizers(network, optimizers)


def describe(
    network: nn.Module, optimizers: Sequence[Any], example: Tensor | None = None
) -> tuple[NetworkFacts, dict[str, str]]:
    """The facts, from one forward pass of a copy over ``example``; without one, from the modules alone.

    The second value says what could not be seen, and why. Costs a copy of the network and one pass over a few rows.
    """
    if example is None:
        return of_calls(network, optimizers, []), {"network": "no training data was given: layers are as defined"}
    calls: list[Call] = []
    reason = ""
    for training in (network.training, False):
        try:
            copied = copy.deepcopy(network)
            copied.train(training)
        except Exception as error:
            reason = f"a copy could not be made: {type(error).__name__}: {error}"
            break
        copied.__dict__.pop("_compiled_call_impl", None)
        calls.clear()
        follower = Calls(copied, calls.append, follow=True, any_gradient_mode=True)
        ended: list[Any] = []
        follower.ended = ended.append
        for given in (example, example.float()):
            try:
                with follower.watching():
                    copied(given)
            except Exception as error:
                reason = f"it does not run on the first {len(example)} inputs: {type(error).__name__}: {error}"
                calls.clear()
                continue
            return of_calls(network, optimizers, calls, copied, ended[-1], follower.sources(ended[-1])), {}
    return of_calls(network, optimizers, []), {"network": reason}


def of_calls(
    network: nn.Module,
    optimizers: Sequence[Any],
    calls: Sequence[Call],
    ran: nn.Module | None = None,
    output: Any = None,
    outputs: tuple[str, ...] = (),
) -> NetworkFacts:
    """The facts of ``network``, called as ``calls`` says; ``ran``: the copy that was (its lazy layers have shapes)."""
    held = {id(p) for optimizer in optimizers for p in parameters_of(optimizer)}
    modules = layers_of(network)
    shaped = layers_of(ran) if ran is not None else modules
    found: dict[str, LayerFacts] = {}
    counts: dict[str, int] = {}
    axes: dict[str, int] = {}
    for call in calls:
        counts[call.name] = counts.get(call.name, 0) + 1
        if call.name in found:
            continue
        axes[call.name] = _unit_axis(call, axes)
        tried = behaviour.of_function(call.kind)
        if call.module is not None:
            tried = behaviour.of_module(call.module, call.given if call.given is not None else call.output)
        elif call.kind == "detach":
            tried = {"cuts_gradient": True}
        found[call.name] = LayerFacts(
            name=call.name, kind=call.kind, output_shape=tuple(call.output.shape[1:]), inputs=call.inputs,
            function=call.module is None, unit_axis=axes[call.name], options=tried,
        )  # fmt: skip
    layers = []
    for name in [*found, *(name for name in modules if name not in found)]:
        facts = found.get(name) or LayerFacts(name=name, kind=type(modules[name]).__name__)
        changes: dict[str, Any] = {"calls": counts.get(name, _calls_around(name, modules, counts) if calls else 1)}
        if name in modules:
            now = shaped.get(name, modules[name])
            own = dict(own_parameters(modules[name]))
            changes |= {
                "parameters": {key: () if is_lazy(p) else tuple(p.shape) for key, p in own_parameters(now)},
                "trainable": tuple(key for key, p in own.items() if p.requires_grad),
                "in_optimizer": tuple(key for key, p in own.items() if id(p) in held),
                "options": options_of(now) | facts.options,
            }
        layers.append(_with(facts, changes))
    made = next(tensors(output), None)
    parameters = [(name, p) for name, p in (ran or network).named_parameters() if not is_lazy(p)]
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    activation = _output_activation(made, found, outputs)
    return NetworkFacts(
        layers=tuple(layers), parameters=sum(p.numel() for _, p in parameters),
        trainable=sum(p.numel() for name, p in parameters if name in trained),
        output_shape=() if made is None else tuple(made.shape[1:]), output_activation=activation,
        calls=tuple(call.name for call in calls[:MOST_CALLS]), outputs=outputs, tied=tied(network),
        unregistered=() if ran is None or ran is network else unregistered.used(network, ran, output, held),
        executed=bool(calls),
    )  # fmt: skip


def parameters_of(optimizer: Any) -> list[Tensor]:
    groups = getattr(optimizer, "param_groups", None) or []
    return [p for group in groups for p in group.get("params", ()) if isinstance(p, Tensor)]


def tied(network: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names of one and the same parameter, for every one that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)


def describe_optimizers(network: nn.Module, optimizers: Sequence[Any]) -> OptimizerFacts | None:
    """Kinds, plain options of all groups, and how many parameters they step that the network does not have."""
    if not optimizers:
        return None
    own = {id(p) for p in network.parameters()}
    groups = []
    for optimizer in optimizers:
        for group in getattr(optimizer, "param_groups", None) or [getattr(optimizer, "defaults", {})]:
            options = {key: plain(value) for key, value in group.items() if key != "params"}
            groups.append({key: value for key, value in options.items() if value is not None})
    return OptimizerFacts(
        kind=" + ".join(dict.fromkeys(type(optimizer).__name__ for optimizer in optimizers)), groups=tuple(groups),
        strange_parameters=sum(id(p) not in own for optimizer in optimizers for p in parameters_of(optimizer)),
    )  # fmt: skip


def plain(value: Any) -> Any:
    """Numbers, flags, short texts and tuples of them; a tensor of one number as that; None for anything else."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else None
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        items = [plain(item) for item in value]
        return None if None in items or len(items) > 8 else tuple(items)
    return None


def options_of(module: nn.Module) -> dict[str, Any]:
    """What the module's constructor was told, as far as it kept plain values of the same names."""
    found = {}
    for key, value in vars(module).items():
        if not key.startswith("_") and key not in _HIDDEN_OPTIONS:
            told = plain(value)
            if told is not None:
                found[key] = told
    try:
        words = set(inspect.signature(type(module).__init__).parameters)
    except (TypeError, ValueError):
        words = set()
    if "bias" in words and not isinstance(found.get("bias"), bool):
        found["bias"] = getattr(module, "bias", None) is not None and getattr(module, "bias", None) is not False
    found.pop("inplace", None)
    return found


def own_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Its own, and those that its weights are computed from, by names within the module."""
    own = list(module.named_parameters(recurse=False, remove_duplicate=False))
    if "parametrizations" in module._modules:
        inner: Any = module._modules["parametrizations"]
        own += [(f"parametrizations.{name}", p) for name, p in inner.named_parameters(remove_duplicate=False)]
    return own


def _calls_around(name: str, modules: Mapping[str, nn.Module], counts: Mapping[str, int]) -> int:
    """Calls of the layer that uses this one's parameters without calling it, as attention does with its last layer."""
    return max((counts.get(o, 0) for o, m in modules.items() if name.startswith(f"{o}.") and is_opaque(m)), default=0)


def _unit_axis(call: Call, axes: Mapping[str, int]) -> int:
    """Where the units (channels, features) of the output are; what has no view of its own takes its input's."""
    output = call.output
    if output.dim() <= 2:
        return -1
    if isinstance(call.module, _CHANNELS_FIRST) or (call.module is None and call.kind.startswith(_FIRST_NAMES)):
        return 1
    if isinstance(call.module, _CHANNELS_LAST) or (call.module is None and call.kind.startswith(_LAST_NAMES)):
        return -1
    known = [axes[name] for name in call.inputs if name in axes]
    if known and call.given is not None and call.given.dim() == output.dim():
        return known[0]
    return 1 if output.dim() >= 4 else -1


def _output_activation(output: Tensor | None, layers: Mapping[str, LayerFacts], outputs: Sequence[str]) -> str:
    """Of the layer that made the output, or else of the last function on autograd's way to it."""
    if len(outputs) == 1 and outputs[0] in layers:
        name = layers[outputs[0]].options.get("activation", "")
        if name not in ("", "identity"):
            return str(name)
    node: Any = getattr(output, "grad_fn", None)
    while node is not None:
        kind = node.name().removesuffix("0").removesuffix("Backward")
        if kind in _OF_BACKWARD:
            return _OF_BACKWARD[kind]
        if not kind.startswith(_PASSING) or not node.next_functions:
            return ""
        node = node.next_functions[0][0]
    return ""


def _with(facts: LayerFacts, changes: Mapping[str, Any]) -> LayerFacts:
    return LayerFacts(**({key: getattr(facts, key) for key in facts.__struct_fields__} | dict(changes)))
