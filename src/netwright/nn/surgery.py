"""Surgeries: small operations on named modules, replayed before strictly loaded weights.

A compressed network is ``network.json``, which names the surgeries, and its weights. Replaying changes shapes and
modules only; values come from the weights. Each operation ends with a check of the final shapes it promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import fusion, parametrize

from netwright.errors import NetworkError
from netwright.nn import lowbit
from netwright.nn.activations import Gaussian
from netwright.nn.layers.cosine import CosineConv1d, CosineConv2d, CosineLinear
from netwright.nn.layers.maxout import MaxoutConv1d, MaxoutConv2d, MaxoutLinear
from netwright.nn.layers.noise import GaussianNoise, WeightNoise
from netwright.nn.lowrank import BTLinear, TTLinear
from netwright.nn.norms import TokenNorm
from netwright.nn.zoo.blocks import Shuffle
from netwright.nn.zoo.resnet import PaddedShortcut
from netwright.nn.zoo.vit import Attention
from netwright.records import Surgery


def replay(network: nn.Module, surgeries: Iterable[Surgery]) -> nn.Module:
    """The network with every surgery done, in order; the same object, changed in place."""
    for surgery in surgeries:
        operate(network, surgery)
    return network


def operate(network: nn.Module, surgery: Surgery) -> None:
    """Do one surgery. Raises ``NetworkError`` where the module is missing or the shapes come out otherwise."""
    try:
        module = network.get_submodule(surgery.module)
    except AttributeError as error:
        raise NetworkError(
            f"surgery {surgery.operation}", f"no module {surgery.module!r}", "a module of the network"
        ) from error
    with torch.no_grad():
        _OPERATIONS[surgery.operation](network, module, surgery)
    changed = network.get_submodule(surgery.module)
    shapes = {name: tuple(tensor.shape) for name, tensor in changed.state_dict().items()}
    for name, shape in surgery.shapes.items():
        if shapes.get(name) != tuple(shape):
            raise NetworkError(
                f"{surgery.module}.{name}", f"shape {shapes.get(name)}", f"{tuple(shape)} after {surgery.operation}"
            )


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def _resize(network: nn.Module, module: nn.Module, surgery: Surgery) -> None:
    """Other widths: every named tensor gets its shape, and the module's own bookkeeping follows.

    ``arguments`` are the numbers in the module's code that change too (``NUMBERS``). A parameter that other modules
    share stays shared.
    """
    touched = {id(module): module}
    for name, shape in surgery.shapes.items():
        old = getattr(module, name, None)
        if (name not in module._parameters and name not in module._buffers) or not isinstance(old, torch.Tensor):
            what = "a computed tensor" if isinstance(old, torch.Tensor) else "no such tensor"
            raise NetworkError(f"{surgery.module}.{name}", what, "a parameter or buffer of the module's own")
        new: torch.Tensor = torch.zeros(shape, dtype=old.dtype, device=old.device)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
        for other in list(network.modules()):
            for own in [*other._parameters, *other._buffers]:
                if getattr(other, own) is old:
                    setattr(other, own, new)
                    touched[id(other)] = other
    for other in touched.values():
        _keep_books(other, surgery.module)
    for name, value in surgery.arguments.items():
        if name not in _numbers_of(module):
            known = ", ".join(_numbers_of(module)) or "none"
            raise NetworkError(
                surgery.module, f"the number {name!r}", f"one that a {type(module).__name__} has: {known}"
            )
        if type(value) is not int or value < 0:
            raise NetworkError(f"{surgery.module}: {name}", repr(value), "a whole number")
        setattr(module, name, value)
    if isinstance(module, nn.modules.conv._ConvNd):
        _keep_books(module, surgery.module)  # with the groups it has now
    if not surgery.shapes and not surgery.arguments:
        raise NetworkError(surgery.module, "neither shapes nor numbers", "something to resize")


# Numbers in a module's code that no tensor's shape tells, and that change with its channels.
NUMBERS: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (nn.modules.conv._ConvNd, ("groups",)),
    (nn.GroupNorm, ("num_groups",)),
    (nn.ChannelShuffle, ("groups",)),
    (Shuffle, ("groups",)),
    (PaddedShortcut, ("more",)),
    (Attention, ("heads",)),
)


def _numbers_of(module: nn.Module) -> tuple[str, ...]:
    return next((names for kind, names in NUMBERS if isinstance(module, kind)), ())


def _keep_books(module: nn.Module, where: str) -> None:
    """The sizes that PyTorch's modules note beside their tensors. A module of other making has none that are known."""
    weight: Any = getattr(module, "weight", None)
    match module:
        case nn.Linear():
            module.out_features, module.in_features = weight.shape
        case nn.modules.conv._ConvTransposeNd():
            module.in_channels, module.out_channels = weight.shape[0], weight.shape[1] * module.groups
        case nn.modules.conv._ConvNd():
            module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
        case nn.modules.batchnorm._NormBase():
            sizes = [tensor for tensor in (weight, module.bias, module.running_mean) if tensor is not None]
            module.num_features = len(sizes[0]) if sizes else module.num_features
        case nn.GroupNorm():
            module.num_channels = len(weight)
        case nn.LayerNorm() | nn.RMSNorm():
            module.normalized_shape = tuple(weight.shape)
        case nn.Embedding() | nn.EmbeddingBag():
            module.num_embeddings, module.embedding_dim = weight.shape
        case nn.PReLU():
            module.num_parameters = len(weight)
        case nn.RNNBase():
            first, second = module.get_parameter("weight_ih_l0"), module.get_parameter("weight_hh_l0")
            module.input_size, module.hidden_size = first.shape[1], second.shape[1]
        case nn.RNNCellBase():
            module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]
        case _ if type(module).__module__.startswith("torch.") and not _numbers_of(module):
            raise NetworkError(
                where, f"a {type(module).__name__}",
                "a module that can be resized (linear, convolution, norm, embedding, PReLU, recurrent, one's own)",
            )  # fmt: skip


# Kinds that `replace` may put into a network: a closed list, so that a stranger's file can name nothing else.
REPLACEMENTS: dict[str, Callable[..., nn.Module]] = {
    "Identity": nn.Identity, "Linear": nn.Linear, "Conv1d": nn.Conv1d, "Conv2d": nn.Conv2d, "Conv3d": nn.Conv3d,
    "BatchNorm1d": nn.BatchNorm1d, "BatchNorm2d": nn.BatchNorm2d, "GroupNorm": nn.GroupNorm, "LayerNorm": nn.LayerNorm,
    "ReLU": nn.ReLU, "LeakyReLU": nn.LeakyReLU, "ELU": nn.ELU, "GELU": nn.GELU, "SiLU": nn.SiLU, "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid, "Dropout": nn.Dropout, "Flatten": nn.Flatten, "AdaptiveAvgPool2d": nn.AdaptiveAvgPool2d,
    "Unflatten": nn.Unflatten,
    "MaxPool2d": nn.MaxPool2d, "AvgPool2d": nn.AvgPool2d, "TTLinear": TTLinear, "BTLinear": BTLinear,
    "Packed": lowbit.Packed, "Xnor": lowbit.Xnor, "QuantizedLinear": lowbit.QuantizedLinear,
    "QuantizedConv1d": lowbit.QuantizedConv1d, "QuantizedConv2d": lowbit.QuantizedConv2d,
    "ConvTranspose1d": nn.ConvTranspose1d, "ConvTranspose2d": nn.ConvTranspose2d, "ConvTranspose3d": nn.ConvTranspose3d,
    "BatchNorm3d": nn.BatchNorm3d, "InstanceNorm1d": nn.InstanceNorm1d, "InstanceNorm2d": nn.InstanceNorm2d,
    "InstanceNorm3d": nn.InstanceNorm3d, "TokenNorm": TokenNorm, "PReLU": nn.PReLU, "ReLU6": nn.ReLU6, "SELU": nn.SELU,
    "Mish": nn.Mish, "Softplus": nn.Softplus, "Softsign": nn.Softsign, "Hardsigmoid": nn.Hardsigmoid,
    "Hardswish": nn.Hardswish, "Gaussian": Gaussian, "Softmax": nn.Softmax, "GaussianNoise": GaussianNoise,
    "CosineLinear": CosineLinear, "CosineConv1d": CosineConv1d, "CosineConv2d": CosineConv2d,
    "MaxoutLinear": MaxoutLinear, "MaxoutConv1d": MaxoutConv1d, "MaxoutConv2d": MaxoutConv2d,
}  # fmt: skip


def _made(kind: str, arguments: dict[str, object]) -> nn.Module:
    if kind not in REPLACEMENTS:
        raise NetworkError("surgery replace", repr(kind), f"one of {', '.join(REPLACEMENTS)}")
    return REPLACEMENTS[kind](**arguments)


def _replace(network: nn.Module, module: nn.Module, surgery: Surgery) -> None:
    """Another module of a known kind: ``arguments = {"kind": ..., "arguments": {...}}``, or ``sequence`` of such.

    The kind ``itself`` is the module that was there. ``keep``: tensors of the same name and shape keep their values,
    and a bias that is new is zero.
    """
    made = []
    for step in surgery.arguments.get("sequence", [surgery.arguments]):
        part = module if step["kind"] == "itself" else _made(step["kind"], step.get("arguments", {}))
        if step.get("keep"):
            _take_over(part, module)
        made.append(part.train(module.training))
    _put(network, surgery.module, made[0] if len(made) == 1 else nn.Sequential(*made).train(module.training))


def _take_over(made: nn.Module, module: nn.Module) -> None:
    known = dict(module.named_parameters())
    for name, parameter in made.named_parameters():
        old = known.get(name, known.get(name.rpartition(".")[2], known.get(f"norm.{name}")))
        if old is not None and old.shape == parameter.shape:
            parameter.copy_(old)
        elif name == "bias":
            parameter.zero_()


def _factorize(network: nn.Module, module: nn.Module, surgery: Surgery) -> None:
    """A dense layer or 1-group convolution into a product through ``rank`` channels: W ≈ B A, bias on the second."""
    rank = int(surgery.arguments["rank"])
    pair: list[nn.Module]
    match module:
        case nn.Linear():
            pair = [
                nn.Linear(module.in_features, rank, bias=False),
                nn.Linear(rank, module.out_features, bias=module.bias is not None),
            ]
        case nn.Conv2d(groups=1):
            pair = [
                nn.Conv2d(
                    module.in_channels, rank, module.kernel_size, module.stride, module.padding, module.dilation,  # type: ignore[arg-type]
                    bias=False,
                ),
                nn.Conv2d(rank, module.out_channels, 1, bias=module.bias is not None),
            ]  # fmt: skip
        case _:
            raise NetworkError(
                surgery.module, f"a {type(module).__name__}", "a dense layer or an ungrouped 2-D convolution"
            )
    _put(network, surgery.module, nn.Sequential(*pair))


def _fold(network: nn.Module, module: nn.Module, surgery: Surgery) -> None:
    """A batch norm (``arguments["norm"]``) into the layer before it; the norm becomes the identity."""
    norm = network.get_submodule(str(surgery.arguments["norm"]))
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
        raise NetworkError(
            str(surgery.arguments["norm"]), f"a {type(norm).__name__}", "a batch norm with running statistics"
        )
    mode = module.training
    module.eval(), norm.eval()
    fuse: Any = fusion.fuse_linear_bn_eval if isinstance(module, nn.Linear) else fusion.fuse_conv_bn_eval
    _put(network, surgery.module, fuse(module, norm).train(mode))
    _put(network, str(surgery.arguments["norm"]), nn.Identity())


class Masked(nn.Module):
    """A parametrization that keeps zeros at zero: the weight times a fixed mask (bool) of its shape."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.mask  # type: ignore[operator]


def _mask(network: nn.Module, module: nn.Module, surgery: Surgery) -> None:
    """A fixed mask on a tensor (``arguments["tensor"]``, default ``weight``); its values come with the weights."""
    name = str(surgery.arguments.get("tensor", "weight"))
    parametrize.register_parametrization(module, name, Masked(torch.ones_like(getattr(module, name), dtype=torch.bool)))


def _parametrize(network: nn.Module, module: nn.Module, surgery: Surgery) -> None:
    """A weight computed from others: ``arguments["kind"]`` with its ``arguments["arguments"]``."""
    kind = surgery.arguments.get("kind")
    known: dict[object, Callable[..., Any]] = {
        "binary": lowbit.binarize,
        "ternary": lowbit.ternarize,
        "half": lowbit.halve,
        "weight_norm": nn.utils.parametrizations.weight_norm,
        "orthogonal": nn.utils.parametrizations.orthogonal,
        "noise": _noise,
    }
    if kind not in known:
        raise NetworkError("surgery parametrize", repr(kind), f"one of {', '.join(map(str, known))}")
    known[kind](module, str(surgery.arguments.get("tensor", "weight")), **surgery.arguments.get("arguments", {}))


def _noise(module: nn.Module, name: str, deviation: float) -> None:
    parametrize.register_parametrization(module, name, WeightNoise(deviation))


_OPERATIONS: dict[str, Callable[[nn.Module, nn.Module, Surgery], None]] = {
    "resize": _resize, "replace": _replace, "factorize": _factorize, "fold": _fold, "mask": _mask,
    "parametrize": _parametrize,
}  # fmt: skip
