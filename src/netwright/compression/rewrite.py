"""Layers of another build: stacked small kernels, k×1 and 1×k, depthwise separable, grouped, bottleneck; a pooled head;
norms folded.

Each starts from the old weights: at the least squared distance to them where that is known in closed form (factored,
depthwise), near it by alternating least squares (stacked, bottleneck), or from what of them still has a place (grouped,
pooling). Only ``fold`` keeps the function; the rest is healing's, best with the old network as teacher.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from netwright.compression import decomposing as parts
from netwright.compression.passes import Changed, Context, PassOptions
from netwright.compression.placing import Proposal, counted, exchangeable, exchanged
from netwright.graph.structure import Graph, Operation
from netwright.nn import lowrank as layers
from netwright.nn.surgery import operate
from netwright.records import Surgery

Kind = Literal["stacked", "factored", "depthwise", "grouped", "bottleneck", "pooling", "fold"]
Rewritten = tuple[Surgery, dict[str, Tensor], Tensor]  # with the weight that the new layers stand for, where they do
SWEEPS, SETTLED = 25, 0.01  # of alternating least squares; the relative gain at which they stop


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``rewrite=depthwise``. ``layers``: names joined by ``+``; without them every layer that gets smaller.

    ``ratio``: channels between the new layers, as a share of the layer's outputs (``bottleneck`` 0.25 where none is
    given, ``stacked`` and ``factored`` 1). ``groups``: of ``grouped``. ``activation=true``: ReLU between the new
    layers, which then start further away.
    """

    kind: Kind
    layers: tuple[str, ...] = ()
    ratio: Annotated[float, msgspec.Meta(gt=0, le=4)] | None = None
    groups: Annotated[int, msgspec.Meta(ge=2)] = 2
    activation: bool = False


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Rebuild every layer that gets smaller by it, or those that are named."""
    if options.kind == "fold":
        return _folded(network, options, context)
    graph = context.graph(network)

    def propose(name: str, layer: nn.Module) -> Proposal | None:
        made = _pooled(name, layer, graph) if options.kind == "pooling" else _rebuilt(name, layer, options)
        if made is None:
            return None
        return Proposal(*made, sum(tensor.numel() for key, tensor in made[1].items() if key.endswith("weight")))

    return exchanged(f"rewrite={options.kind}", network, context, options.layers, propose)


# --------------------------------------------------------------------------------------------------------------
# Convolutions


def _rebuilt(name: str, layer: nn.Module, options: Options) -> Rewritten | None:
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or isinstance(layer.padding, str):
        return None
    high, wide = layers.pair(layer.kernel_size)
    weight = layer.weight.detach().double().cpu()
    middle = max(1, round((options.ratio or (0.25 if options.kind == "bottleneck" else 1)) * layer.out_channels))
    between = [{"kind": "ReLU", "arguments": {}}] * options.activation
    match options.kind:
        case "stacked" if high == wide and high % 2 == 1 and high > 3 and tuple(layer.dilation) == (1, 1):
            return _stacked(name, layer, weight, middle, between)
        case "factored" if high > 1 and wide > 1:
            return _factored(name, layer, weight, middle, between)
        case "depthwise" if high * wide > 1:
            return _depthwise(name, layer, weight, between)
        case "grouped" if layer.in_channels % options.groups == 0 and layer.out_channels % options.groups == 0:
            return _grouped(name, layer, weight, options.groups)
        case "bottleneck" if high * wide > 1:
            return _bottleneck(name, layer, weight, middle, between)
    return None


def _sequence(
    name: str, layer: nn.Conv2d, steps: list[dict[str, Any]], weights: list[Tensor], between: list[dict[str, Any]]
) -> tuple[Surgery, dict[str, Tensor]]:
    """The surgery and its values; activations go between the steps, the bias to the last."""
    built: list[dict[str, Any]] = []
    values: dict[str, Tensor] = {}
    for step, weight in zip(steps, weights, strict=True):
        built += between if built else []
        values[f"{len(built)}.weight"] = weight
        built.append(step)
    if layer.bias is not None:
        values[f"{len(built) - 1}.bias"] = layer.bias.detach()
    if len(built) == 1:
        values = {key.partition(".")[2]: tensor for key, tensor in values.items()}
    return Surgery(operation="replace", module=name, arguments={"sequence": built}), values


def _stacked(name: str, layer: nn.Conv2d, weight: Tensor, middle: int, between: list[dict[str, Any]]) -> Rewritten:
    """k×k as 3×3 after 3×3 (Simonyan and Zisserman 2015): first all padding, last the stride, so that borders are
    as before."""
    kernels, rest = [], weight
    while rest.shape[-1] > 3:
        first, rest = peeled(rest, middle)
        kernels.append(first)
    kernels.append(rest)
    whole = kernels[0]
    for kernel in kernels[1:]:
        whole = composed(whole, kernel)
    padding, stride = layers.pair(layer.padding), layers.pair(layer.stride)  # type: ignore[arg-type]
    last = len(kernels) - 1
    steps = [
        layers.convolution(
            (kernel.shape[1], kernel.shape[0]), (3, 3), padding=padding if place == 0 else (0, 0),
            stride=stride if place == last else (1, 1), bias=place == last and layer.bias is not None,
        )
        for place, kernel in enumerate(kernels)
    ]  # fmt: skip
    return *_sequence(name, layer, steps, kernels, between), whole


def composed(first: Tensor, second: Tensor) -> Tensor:
    """The kernel (O, I, a + b − 1, …) of ``first`` (M, I, a, a) followed by ``second`` (O, M, b, b)."""
    edge = second.shape[-1] - 1
    # A cross-correlation of cross-correlations is a convolution of their kernels.
    return torch.nn.functional.conv2d(first.transpose(0, 1), second.flip(2, 3), padding=edge).transpose(0, 1)


def peeled(kernel: Tensor, middle: int, sweeps: int = SWEEPS) -> tuple[Tensor, Tensor]:
    """A 3×3 kernel (M, I, 3, 3) and one (O, M, k − 2, k − 2) whose composition is near ``kernel``: alternating least
    squares, each side exactly. Starts from the main directions of the input channels, at the centre."""
    out, inner, size, _ = kernel.shape
    drawn = torch.Generator().manual_seed(0)
    basis = parts.tucker(kernel, (None, min(middle, inner), None, None)).factors[1]
    assert basis is not None
    first = 0.1 / math.sqrt(9 * inner) * torch.randn(middle, inner, 3, 3, generator=drawn, dtype=torch.float64)
    first[: basis.shape[1], :, 1, 1] += basis.T
    last = math.inf
    for _ in range(sweeps):
        rows = _shifts(first, size - 2)  # (I, k², M (k−2)²)
        second = _solved(rows.flatten(0, 1), kernel.flatten(1).T).T.reshape(out, middle, size - 2, size - 2)
        error = parts.relative_error(kernel, composed(first, second))
        if last - error <= SETTLED * error:
            break
        last = error
        rows = _shifts(second.transpose(0, 1), 3)  # (O, k², M 9)
        found = _solved(rows.flatten(0, 1), kernel.transpose(0, 1).flatten(1).T)
        first = found.T.reshape(inner, middle, 3, 3).transpose(0, 1).contiguous()
    return first, second


def _shifts(kernel: Tensor, size: int) -> Tensor:
    """(M, I, a, a) → (I, (a + size − 1)², M size²): what each unknown of a kernel adds to a composition."""
    many, inner, edge, _ = kernel.shape
    whole = edge + size - 1
    found = torch.zeros(inner, whole, whole, many, size, size, dtype=kernel.dtype)
    for row in range(size):
        for column in range(size):
            found[:, row : row + edge, column : column + edge, :, row, column] = kernel.permute(1, 2, 3, 0)
    return found.reshape(inner, whole * whole, many * size * size)


def _solved(rows: Tensor, wanted: Tensor) -> Tensor:
    """Least squares with a trace of ridge."""
    gram = rows.T @ rows
    ridge = 1e-8 * gram.diagonal().mean() + 1e-300
    found: Tensor = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), rows.T @ wanted)
    return found


def _factored(name: str, layer: nn.Conv2d, weight: Tensor, middle: int, between: list[dict[str, Any]]) -> Rewritten:
    """kh×1 to ``middle`` channels, then 1×kw: the best by an SVD (Jaderberg et al. 2014, scheme 2)."""
    out, inner, high, wide = weight.shape
    middle = min(middle, out * wide, inner * high)
    second, first = parts.svd(weight.permute(0, 3, 1, 2).reshape(out * wide, inner * high), middle)
    down, right = layers.halves(layer)
    steps = [
        layers.convolution((inner, middle), (high, 1), bias=False, **down),
        layers.convolution((middle, out), (1, wide), bias=layer.bias is not None, **right),
    ]
    kernels = [first.reshape(middle, inner, high, 1), second.reshape(out, wide, middle).permute(0, 2, 1)[:, :, None]]
    stands_for = (second @ first).reshape(out, wide, inner, high).permute(0, 2, 3, 1)
    return *_sequence(name, layer, steps, kernels, between), stands_for


def _geometry(layer: nn.Conv2d) -> dict[str, Any]:
    return {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}


def _depthwise(name: str, layer: nn.Conv2d, weight: Tensor, between: list[dict[str, Any]]) -> Rewritten:
    """One k×k filter an input channel, then 1×1: for each input channel the best rank-1 of its (O, k²) slice."""
    out, inner, high, wide = weight.shape
    u, s, v = torch.linalg.svd(weight.permute(1, 0, 2, 3).flatten(2), full_matrices=False)
    root = s[:, :1].sqrt()
    spatial, mixing = root * v[:, 0], root * u[:, :, 0]  # (I, k²), (I, O)
    steps = [
        layers.convolution((inner, inner), (high, wide), groups=inner, bias=False, **_geometry(layer)),
        layers.convolution((inner, out), (1, 1), bias=layer.bias is not None),
    ]
    kernels = [spatial.reshape(inner, 1, high, wide), mixing.T[:, :, None, None]]
    stands_for = torch.einsum("io,ik->oik", mixing, spatial).reshape(weight.shape)
    return *_sequence(name, layer, steps, kernels, between), stands_for


def _grouped(name: str, layer: nn.Conv2d, weight: Tensor, groups: int) -> Rewritten:
    """The blocks on the diagonal: nothing passes between the groups."""
    out, inner = weight.shape[:2]
    each, own = out // groups, inner // groups
    blocks = [weight[g * each : (g + 1) * each, g * own : (g + 1) * own] for g in range(groups)]
    step = layers.convolution(
        (inner, out), layers.pair(layer.kernel_size), groups=groups, bias=layer.bias is not None, **_geometry(layer)
    )
    stands_for = torch.zeros_like(weight)
    for g, block in enumerate(blocks):
        stands_for[g * each : (g + 1) * each, g * own : (g + 1) * own] = block
    return *_sequence(name, layer, [step], [torch.cat(blocks)], []), stands_for


def _bottleneck(name: str, layer: nn.Conv2d, weight: Tensor, middle: int, between: list[dict[str, Any]]) -> Rewritten:
    """1×1, k×k, 1×1 through ``middle`` channels (He et al. 2016), started from Tucker-2 of those ranks."""
    unfoldings = [parts.unfolded(weight, axis) for axis in (0, 1)]
    ranks = [min(middle, *matrix.shape) for matrix in unfoldings]
    found = parts.tucker(weight, (*ranks, None, None))
    b, a = found.factors[0], found.factors[1]
    assert a is not None
    assert b is not None
    steps = layers.tucker2_layers(layer, ranks[0], ranks[1])
    return *_sequence(name, layer, steps, [a.T, found.core, b], between), found.composed()


# --------------------------------------------------------------------------------------------------------------
# The head, and norms


def _pooled(name: str, layer: nn.Module, graph: Graph) -> Rewritten | None:
    """A dense layer over a flattened map (C, H, W) as one over the means of its channels (Lin et al. 2014).

    Starts as if every position had the channel's mean: weights are summed over the positions.
    """
    shape = _flattened(name, graph)
    if not isinstance(layer, nn.Linear) or shape is None or math.prod(shape) != layer.in_features:
        return None
    channels, high, wide = shape
    if high * wide == 1:
        return None
    summed = layer.weight.detach().double().cpu().reshape(-1, channels, high * wide).sum(2)
    steps: list[dict[str, Any]] = [
        {"kind": "Unflatten", "arguments": {"dim": 1, "unflattened_size": list(shape)}},
        {"kind": "AdaptiveAvgPool2d", "arguments": {"output_size": 1}},
        {"kind": "Flatten"},
        {"kind": "Linear", "arguments": {
            "in_features": channels, "out_features": layer.out_features, "bias": layer.bias is not None
        }},
    ]  # fmt: skip
    values = {"3.weight": summed} | ({} if layer.bias is None else {"3.bias": layer.bias.detach()})
    stands_for = (summed / (high * wide))[:, :, None].expand(-1, -1, high * wide).reshape(layer.weight.shape)
    return Surgery(operation="replace", module=name, arguments={"sequence": steps}), values, stands_for


def _flattened(name: str, graph: Graph) -> tuple[int, int, int] | None:
    """The map (C, H, W) that this dense layer reads flattened, through dropout and activations."""
    operation = next((each for each in graph.operations if each.module == name), None)
    while operation is not None and operation.inputs:
        shape = graph.tensors[operation.inputs[0]].shape
        if len(shape) == 4:
            return shape[1], shape[2], shape[3]
        parents = graph.parents(operation)
        operation = parents[0] if parents and len(shape) == 2 else None
    return None


def _folded(network: nn.Module, options: Options, context: Context) -> Changed:
    """Every batch norm that alone reads a layer's output goes into that layer; outputs stay but for rounding."""
    graph = context.graph(network)
    once = dict(exchangeable(network, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)))
    done: list[Surgery] = []
    for operation in graph.operations:
        made = _before(operation, graph)
        if made is None or made.module not in once or (options.layers and made.module not in options.layers):
            continue
        norm = network.get_submodule(operation.module)
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
            continue
        if sum(each.module == operation.module for each in graph.operations) > 1:
            continue  # one norm behind several layers
        surgery = Surgery(operation="fold", module=made.module, arguments={"norm": operation.module})
        operate(network, surgery)
        done.append(surgery)
    return Changed(tuple(done), f"{counted(len(done), 'batch norm')} folded" if done else "no batch norm to fold")


def _before(operation: Operation, graph: Graph) -> Operation | None:
    """The layer whose output only this batch norm reads."""
    parents = graph.parents(operation)
    if operation.kind != "batch_norm" or not operation.module or len(parents) != 1:
        return None
    made = parents[0]
    used = made.outputs[0] in graph.outputs or len(graph.children(made)) != 1
    flat = len(graph.tensors[made.outputs[0]].shape)
    if used or not made.module or made.kind not in ("linear", "conv1d", "conv2d", "conv3d"):
        return None
    return None if made.kind == "linear" and flat != 2 else made
