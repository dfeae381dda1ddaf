"""Changes of the network, its output and its loss, module by module; names of parameters stay where they can."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from netwright.observations.experiments import Change
from netwright.repair import anatomy
from netwright.repair.anatomy import ACTIVATIONS, NORMS, Called, put
from netwright.repair.replica import Replica
from netwright.training import randomness

SAMPLE = 4  # examples with which the order of the modules is seen
DEPTH_KEPT = 3  # of layers of the same shape in a row
LEAST_WIDTH = 16  # units of a layer that was widened: four times one unit would still be a bottleneck
WIDTH_SEED = 0


class RefusedError(Exception):
    """A change that does not fit this training; the text is the reason."""


class Residual(nn.Module):
    """x + block(x)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.block(x)
        return result


def _anatomy(replica: Replica) -> list[Called]:
    called = anatomy.calls(replica.network, replica.train[0][:SAMPLE])
    if not called:
        raise RefusedError("the network has no modules inside")
    return called


def _changed(replica: Replica, change_in_place: Callable[[nn.Module], None]) -> Replica:
    """A copy of the network, changed; it must still run."""
    network = copy.deepcopy(replica.network)
    with randomness.kept():
        randomness.seed(WIDTH_SEED)
        change_in_place(network)
    changed = dataclasses.replace(replica, network=network)
    try:
        anatomy.calls(network, replica.train[0][:SAMPLE])
    except Exception as error:  # whatever a user's forward method raises
        raise RefusedError(f"the changed network does not run ({error})") from None
    return changed


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise RefusedError(f"there is no activation {name!r} among {', '.join(ACTIVATIONS)}")
    kind = ACTIVATIONS[name]
    return kind(dim=-1) if name in ("softmax", "log-softmax") else kind()


# ------------------------------------------------------------------------------------ hidden activations


def activation(replica: Replica, change: Change) -> Replica:
    """Every hidden activation (or that of ``layer``) becomes the one named by the value; weights stay."""
    found = [call.name for call in anatomy.hidden_activations(_anatomy(replica)) if change.layer in ("", call.name)]
    found = [name for name in found if anatomy.activation_name(replica.network.get_submodule(name)) != change.value]
    if not found:
        raise RefusedError(f"no hidden activation is a module other than {change.value}")

    def alter(network: nn.Module) -> None:
        for name in found:
            put(network, name, _activation(change.value))

    return _changed(replica, alter)


def nonlinearity(replica: Replica, change: Change) -> Replica:
    """An activation (default ReLU) after every hidden layer that goes straight into another layer with weights."""
    called = _anatomy(replica)
    weighted = [index for index, call in enumerate(called) if isinstance(call.module, anatomy.WEIGHTED)]
    bare = [
        called[first].name
        for first, second in itertools.pairwise(weighted)
        if isinstance(called[first].module, nn.Linear | nn.modules.conv._ConvNd)
        and not any(anatomy._is_activation(call) for call in called[first + 1 : second])
    ]
    if not bare:
        raise RefusedError("every hidden layer has an activation")

    def alter(network: nn.Module) -> None:
        for name in dict.fromkeys(bare):
            put(network, name, nn.Sequential(network.get_submodule(name), _activation(change.value or "relu")))

    return _changed(replica, alter)


def dropout(replica: Replica, change: Change) -> Replica:
    """Every dropout's share becomes the value (default 0)."""
    share = float(change.value or 0.0)
    found = [m for m in replica.network.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p != share]
    found += [m for m in replica.network.modules() if isinstance(m, nn.RNNBase) and m.dropout not in (0.0, share)]  # type: ignore[misc]
    if not found:
        raise RefusedError("the network has no dropout to change")

    def alter(network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = share
            elif isinstance(module, nn.RNNBase) and module.dropout:
                module.dropout = share

    return _changed(replica, alter)


# ------------------------------------------------------------------------------------ output and loss


def output(replica: Replica, change: Change) -> Replica:
    """The network's output activation becomes the one named by the value, ``identity`` for none."""
    called = _anatomy(replica)
    wanted = _activation(change.value)
    now = anatomy.output_activation(called)
    if now is not None:
        return _changed(replica, lambda network: put(network, now.name, wanted))
    if change.value == "identity":
        raise RefusedError("no module makes the output but a layer with weights")
    last = called[-1]

    def alter(network: nn.Module) -> None:
        if type(network) is nn.Sequential:
            network.append(wanted)
        elif last.makes_output:
            put(network, last.name, nn.Sequential(network.get_submodule(last.name), wanted))
        else:  # a function makes the output
            network.register_forward_hook(lambda module, given, result: wanted(result))

    return _changed(replica, alter)


def output_units(replica: Replica, change: Change) -> Replica:
    """The last dense layer gets so many units, with PyTorch's default weights."""
    layers = anatomy.layers_with_weights(_anatomy(replica))
    last = layers[-1] if layers else None
    if last is None or not isinstance(last.module, nn.Linear):
        raise RefusedError("the last layer is not dense")
    old, units = last.module, int(change.value)

    def alter(network: nn.Module) -> None:
        like = {"device": old.weight.device, "dtype": old.weight.dtype}
        put(network, last.name, nn.Linear(old.in_features, units, old.bias is not None, **like))

    return _changed(replica, alter)


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of logits (N, C, …) and class indices (N, …) or (N, 1), or shares (N, C)."""
    if targets.shape == outputs.shape and targets.is_floating_point():
        return functional.cross_entropy(outputs, targets)
    return functional.cross_entropy(outputs, targets.reshape(outputs.shape[:1] + outputs.shape[2:]).long())


def binary_cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of logits and targets 0 or 1 of the same number."""
    return functional.binary_cross_entropy_with_logits(outputs, targets.reshape(outputs.shape).to(outputs.dtype))


def squared(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error; (N, 1) against (N,) is no broadcast."""
    return functional.mse_loss(outputs, targets.reshape(outputs.shape).to(outputs.dtype))


def absolute(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean absolute error; (N, 1) against (N,) is no broadcast."""
    return functional.l1_loss(outputs, targets.reshape(outputs.shape).to(outputs.dtype))


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cross-entropy": cross_entropy, "binary-cross-entropy": binary_cross_entropy, "squared": squared,
    "absolute": absolute,
}  # fmt: skip


def loss(replica: Replica, change: Change) -> Replica:
    """The loss becomes cross-entropy or binary cross-entropy, both of logits, squared or absolute error.

    The first two take an output activation away where a module makes it. Add ``output-units`` where the number of
    units does not fit.
    """
    if change.value not in LOSSES:
        raise RefusedError(f"there is no loss {change.value!r} among {', '.join(LOSSES)}")
    of_logits = change.value in ("cross-entropy", "binary-cross-entropy")
    if of_logits and anatomy.output_activation(_anatomy(replica)) is not None:
        replica = output(replica, Change(kind="output", value="identity"))
    changed = dataclasses.replace(replica, loss=LOSSES[change.value])
    sample = replica.train[0][:SAMPLE], replica.train[1][:SAMPLE]
    with randomness.kept():
        outputs = copy.deepcopy(replica.network).eval()(sample[0])
    try:
        if change.value == "cross-entropy" and outputs.shape[1] < 2:
            raise RefusedError("one unit has no cross-entropy over classes")
        changed.loss(outputs, sample[1])
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"{change.value} does not fit outputs {tuple(outputs.shape)}: {error}") from None
    return changed


def loss_mean(replica: Replica, change: Change) -> Replica:
    """The same loss divided by the number of examples: a sum becomes a mean."""
    old = replica.loss

    def mean(outputs: Any, targets: Any) -> torch.Tensor:
        return old(outputs, targets) / len(targets)

    return dataclasses.replace(replica, loss=mean)


# ------------------------------------------------------------------------------------ weights


def initialization(replica: Replica, change: Change) -> Replica:
    """New weights, other ones for every seed. ``default``: PyTorch's own; ``auto``: He's normal before a ReLU and its
    kin, Xavier's uniform elsewhere, biases zero (He et al. 2015, Glorot and Bengio 2010); ``he`` or ``xavier`` for all.
    """
    how = change.value or "auto"
    called = _anatomy(replica)
    followers: dict[str, str] = {}
    for index, call in enumerate(called):
        following = next((later for later in called[index + 1 :] if anatomy._is_activation(later)), None)
        followers.setdefault(call.name, anatomy.activation_name(following.module) if following else "identity")

    def fill(network: nn.Module) -> None:
        for name, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and how != "default":
                _fill(module, how, followers.get(name, "identity"))
            elif callable(getattr(module, "reset_parameters", None)):
                module.reset_parameters()

    if not any(callable(getattr(module, "reset_parameters", None)) for module in replica.network.modules()):
        raise RefusedError("no layer knows its default weights")
    return dataclasses.replace(replica, initializes=fill)


def _fill(module: Any, how: str, follower: str) -> None:
    he = how == "he" or (how == "auto" and follower in ("relu", "leaky-relu", "elu", "gelu", "silu", "softplus"))
    with torch.no_grad():
        if he:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            module.bias.zero_()


def train_all(replica: Replica, change: Change) -> Replica:
    """Every parameter requires a gradient and is in the optimiser. A ``detach`` inside a forward method stays."""
    build = replica.optimizer
    missing = [name for name, parameter in replica.network.named_parameters() if not parameter.requires_grad]
    known = {id(p) for group in build(replica.network).param_groups for p in group["params"]}
    missing += [name for name, parameter in replica.network.named_parameters() if id(parameter) not in known]
    if not missing:
        raise RefusedError("every parameter is trained already")

    def whole(network: nn.Module) -> torch.optim.Optimizer:
        optimizer = build(network)
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        optimizer.param_groups[-1]["params"].extend(p for p in network.parameters() if id(p) not in own)
        return optimizer

    def alter(network: nn.Module) -> None:
        for parameter in network.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(True)

    return dataclasses.replace(_changed(replica, alter), optimizer=whole)


# ------------------------------------------------------------------------------------ shape of the network


def norm(replica: Replica, change: Change) -> Replica:
    """A norm before every hidden activation: ``batch`` (default) or ``layer``."""
    called = _anatomy(replica)
    hidden = anatomy.hidden_activations(called)
    names = [call.name for call in called]
    before = {call.name: called[names.index(call.name) - 1] for call in hidden if names.index(call.name)}
    hidden = [call for call in hidden if call.name in before and not isinstance(before[call.name].module, NORMS)]
    if not hidden:
        raise RefusedError("no hidden activation is a module without a norm before it")
    if any(len({other.input_shape for other in called if other.name == call.name}) > 1 for call in hidden):
        raise RefusedError("one activation module serves several layers")

    def alter(network: nn.Module) -> None:
        for call in hidden:
            made = _norm_for(call.input_shape, change.value or "batch")
            put(network, call.name, nn.Sequential(made, network.get_submodule(call.name)))

    return _changed(replica, alter)


def _norm_for(shape: tuple[int, ...], kind: str) -> nn.Module:
    if len(shape) == 2:
        return nn.BatchNorm1d(shape[1]) if kind == "batch" else nn.LayerNorm(shape[1])
    if len(shape) == 4:
        return nn.BatchNorm2d(shape[1]) if kind == "batch" else nn.GroupNorm(1, shape[1])
    if kind == "layer":
        return nn.LayerNorm(shape[-1])
    raise RefusedError(f"batch norm over values of shape {shape}")


def group_norm(replica: Replica, change: Change) -> Replica:
    """Batch norms become norms of single examples: layer norm of vectors, group norm of maps (Wu and He 2018)."""
    called = {call.name: call for call in _anatomy(replica)}
    found = [name for name, call in called.items() if isinstance(call.module, nn.modules.batchnorm._BatchNorm)]
    if not found:
        raise RefusedError("the network has no batch norm")

    def alter(network: nn.Module) -> None:
        for name in found:
            channels = called[name].input_shape[1]
            groups = 1 if len(called[name].input_shape) == 2 else math.gcd(channels, max(1, min(32, channels // 2)))
            put(network, name, nn.GroupNorm(groups, channels))

    return _changed(replica, alter)


def _rows(called: list[Called]) -> list[list[int]]:
    """Layers of the same kind and shape, input as output, that follow each other: indices into ``called``."""
    layers = [index for index, call in enumerate(called) if isinstance(call.module, anatomy.WEIGHTED)]
    rows: list[list[int]] = []
    last = None
    for index in layers:
        call = called[index]
        same = call.input_shape == call.output_shape and isinstance(call.module, nn.Linear | nn.modules.conv._ConvNd)
        key = (type(call.module), call.input_shape) if same else None
        if key is not None and key == last:
            rows[-1].append(index)
        elif key is not None:
            rows.append([index])
        last = key
    return rows


def depth(replica: Replica, change: Change) -> Replica:
    """Of layers of the same shape in a row the first ones stay (the value, default 3); the others go
    with their activations."""
    called = _anatomy(replica)
    kept = int(change.value or DEPTH_KEPT)
    surplus: list[str] = []
    for row in _rows(called):
        for index in row[kept:]:
            following = index + 1
            while following < len(called) and not isinstance(called[following].module, anatomy.WEIGHTED):
                if anatomy._is_activation(called[following]) or isinstance(called[following].module, NORMS):
                    surplus.append(called[following].name)
                following += 1
            surplus.append(called[index].name)
    if not surplus:
        raise RefusedError(f"there are no more than {kept} layers of the same shape in a row")
    staying = {call.name for call in called} - set(surplus)
    shared = [name for name in surplus if name in staying]
    if shared:
        raise RefusedError(f"{shared[0]} serves several layers")

    def alter(network: nn.Module) -> None:
        for name in surplus:
            put(network, name, nn.Identity())

    return _changed(replica, alter)


def residual(replica: Replica, change: Change) -> Replica:
    """x + block(x) around every layer of equal input and output shape with its activation (He et al. 2016)."""
    called = _anatomy(replica)
    pairs: list[tuple[str, str]] = []
    for row in _rows(called):
        for index in row:
            following = called[index + 1] if index + 1 < len(called) else None
            if following is not None and anatomy._is_activation(following):
                pairs.append((called[index].name, following.name))
    if not pairs or len({name for _, name in pairs}) < len(pairs):
        raise RefusedError("no layer of equal input and output shape has an activation of its own")

    def alter(network: nn.Module) -> None:
        for layer, follower in pairs:
            block = nn.Sequential(network.get_submodule(layer), network.get_submodule(follower))
            put(network, layer, Residual(block))
            put(network, follower, nn.Identity())

    return _changed(replica, alter)


def width(replica: Replica, change: Change) -> Replica:
    """Hidden layers wider by a factor, to 16 units at least, in a network whose dense and convolutional layers follow
    each other.

    All layers that change get PyTorch's default weights. Branches, recurrent layers and embeddings are refused.
    """
    called = _anatomy(replica)
    factor = float(change.value or 4)
    layers = anatomy.layers_with_weights(called)
    if any(
        isinstance(call.module, (nn.RNNBase, nn.Embedding, nn.MultiheadAttention, nn.RNNCellBase)) for call in called
    ):
        raise RefusedError("the network has more than dense and convolutional layers")
    if len(layers) < 2 or any(getattr(call.module, "groups", 1) != 1 for call in layers):
        raise RefusedError("the network has no hidden layer" if len(layers) < 2 else "a layer has groups")

    def alter(network: nn.Module) -> None:
        scale = 1.0
        for call in called:
            module: Any = network.get_submodule(call.name)
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                before = module.out_features if isinstance(module, nn.Linear) else module.out_channels
                least = LEAST_WIDTH / before if factor > 1 else 0.0
                outside = 1.0 if call.name == layers[-1].name else max(factor, least)
                put(network, call.name, _wider(module, scale, outside))
                scale = outside
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                put(network, call.name, type(module)(round(module.num_features * scale), module.eps, module.momentum))

    if any(isinstance(call.module, nn.LayerNorm | nn.GroupNorm) for call in called):
        raise RefusedError("a layer or group norm has a fixed width")
    return _changed(replica, alter)


def _wider(module: Any, inside: float, outside: float) -> nn.Module:
    like = {"device": module.weight.device, "dtype": module.weight.dtype}
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        return nn.Linear(round(module.in_features * inside), round(module.out_features * outside), bias, **like)
    kind: Any = type(module)
    made: nn.Module = kind(
        round(module.in_channels * inside), round(module.out_channels * outside), module.kernel_size, module.stride,
        module.padding, module.dilation, bias=bias, padding_mode=module.padding_mode, **like,
    )  # fmt: skip
    return made


KINDS: dict[str, Callable[[Replica, Change], Replica]] = {
    "activation": activation,
    "nonlinearity": nonlinearity,
    "dropout": dropout,
    "output": output,
    "output-units": output_units,
    "loss": loss,
    "loss-mean": loss_mean,
    "initialization": initialization,
    "train-all": train_all,
    "norm": norm,
    "group-norm": group_norm,
    "depth": depth,
    "residual": residual,
    "width": width,
}
