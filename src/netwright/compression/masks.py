"""Unstructured pruning: single weights become zero and stay zero, by masks that further training keeps.

``prune=weights:share=0.9`` takes nine of ten weights of dense and convolutional layers; ``pattern=2:4`` leaves two of
four neighbouring inputs of each output. A mask is a ``mask`` surgery: MACs and latency stay as they are in every
runtime that multiplies by zeros too; the file shrinks, because zeros are not written (``nn/packing.py``).

``gradual=E``: the share grows over E epochs of training, s(t) = s · (1 - (1 - t)³) (Zhu and Gupta 2018, eq. 1, from 0).
``rewind=R``: R rounds of ``epochs`` epochs, after each of which the largest weights stay and go back to their initial
values, so that the share is reached at the last (Frankle and Carbin 2019, iterative pruning with resetting).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import torch
from torch import nn
from torch.nn.utils import parametrize

from netwright.compression.passes import At, Changed, Context, Epochs, EpochsOrNone, PassOptions, call
from netwright.compression.placing import computed, not_free
from netwright.errors import UsageError, nearest
from netwright.nn.surgery import Masked, operate
from netwright.records import Surgery

GRADIENT_BATCHES = 8
UPDATES = 100  # of the masks while the share grows


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``prune=weights:share=0.9`` or ``pattern=2:4``

    ``criterion``: ``lamp`` w² over the sum of the squares of its layer's weights that are no smaller (Lee et al. 2021,
    eq. 2), ``magnitude`` |w|, ``random``, ``gradient`` |w · ∂L/∂w| (Lee et al. 2019, eq. 3). ``scope``: one
    threshold for all layers, or the same share of each. ``least``: at least this share of each layer stays. ``keep``:
    layers that stay whole.
    """

    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    pattern: str = ""
    criterion: Literal["lamp", "magnitude", "random", "gradient"] = "lamp"
    scope: Literal["global", "layer"] = "global"
    least: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.01
    gradual: EpochsOrNone = 0
    rewind: EpochsOrNone = 0
    epochs: Epochs = 1
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.share is None) == (not self.pattern):
            raise ValueError("not one of share and pattern")
        if self.pattern and not (found := re.fullmatch(r"(\d+):(\d+)", self.pattern)):
            raise ValueError(f"pattern {self.pattern!r}, not N:M as in 2:4")
        if self.pattern and not 0 < int(found[1]) < int(found[2]):  # type: ignore[index]
            raise ValueError(f"pattern {self.pattern}, where N is not between 0 and M")
        if self.gradual and self.rewind:
            raise ValueError("gradual and rewind together")
        if self.pattern and (self.gradual or self.rewind):
            raise ValueError("a pattern with gradual or rewind")


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Mask, and train where the options say so."""
    layers, other = maskable(network, options.keep)
    if not layers and (bound := computed(network)):
        raise not_free("prune=weights", bound)
    if not layers:
        raise UsageError("compress: prune=weights", "no layer to mask", "dense layers or convolutions")
    surgeries = tuple(Surgery(operation="mask", module=name) for name, layer in layers.items() if masked(layer) is None)
    initial = context.initial() if options.rewind and context.initial is not None else None
    if options.rewind:
        initial = _rewindable(network, layers, initial)
    for surgery in surgeries:
        operate(network, surgery)
    left_whole: list[str] = []
    if options.pattern:
        left_whole = _pattern(network, layers, options, context)
    elif options.gradual:
        _grow(network, layers, options, context)
    elif options.rewind:
        for number in range(1, options.rewind + 1):
            context.heal(network, options.epochs)
            _mask(network, layers, 1 - (1 - float(options.share or 0)) ** (number / options.rewind), options, context)
            _reset(network, initial or {})
        context.heal(network, options.epochs)
    else:
        _mask(network, layers, float(options.share or 0), options, context)
    for layer in layers.values():
        _settle(layer)
    total = sum(weight_of(layer).numel() for layer in layers.values())
    zeros = sum(int((weight_of(layer) == 0).sum()) for layer in layers.values())
    note = f"{zeros:,} of {total:,} weights are zero ({zeros / total:.1%}); as many MACs as before"
    if left_whole:
        note += f"; whole: {', '.join(left_whole)} (inputs that are no multiple of {options.pattern.partition(':')[2]})"
    if other:
        note += f"; without {', '.join(other)}, whose weights are computed"
    return Changed(surgeries, note, {"weights": total, "zeros": zeros})


def maskable(network: nn.Module, keep: Sequence[str] = ()) -> tuple[dict[str, nn.Module], list[str]]:
    """Dense and convolutional layers by name, each tensor once; and those whose weights are computed from others."""
    for name in keep:
        if name not in (known := dict(network.named_modules())):
            raise UsageError(
                "compress: prune=weights: keep", repr(name), "the name of a layer", nearest(name, known) or ""
            )
    found: dict[str, nn.Module] = {}
    other = []
    seen: set[int] = set()
    for name, module in network.named_modules():
        if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or any(
            name == each or name.startswith(f"{each}.") for each in keep
        ):
            continue
        if parametrize.is_parametrized(module, "weight") and masked(module) is None:
            other.append(name)
        elif id(original(module)) not in seen:
            seen.add(id(original(module)))
            found[name] = module
    return found, other


def masked(layer: nn.Module) -> Masked | None:
    """The mask of a layer's weight, if that is all that computes it."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    steps = layer.parametrizations["weight"]  # type: ignore[index]
    return steps[0] if len(steps) == 1 and isinstance(steps[0], Masked) else None


def original(layer: nn.Module) -> torch.Tensor:
    """The learned tensor behind a layer's weight."""
    if masked(layer) is not None:
        return layer.get_parameter("parametrizations.weight.original")
    return layer.get_parameter("weight")


def weight_of(layer: nn.Module) -> torch.Tensor:
    """The weight that the layer computes with."""
    found: torch.Tensor = layer.weight  # type: ignore[assignment]
    return found


def mask_of(layer: nn.Module) -> torch.Tensor | None:
    """True where a weight stays."""
    found = masked(layer)
    return None if found is None else found.get_buffer("mask")


@torch.no_grad()
def put_mask(layer: nn.Module, mask: torch.Tensor) -> None:
    """Set a masked layer's mask; what it covers becomes zero."""
    found = mask_of(layer)
    assert found is not None
    found.copy_(mask)
    _settle(layer)


@torch.no_grad()
def _settle(layer: nn.Module) -> None:
    """Zero under the mask too, where momentum may have moved it; and no -0."""
    mask = mask_of(layer)
    if mask is not None:
        original(layer).masked_fill_(~mask, 0.0)


# --------------------------------------------------------------------------------------------------------------
# Which weights go


def _scores(
    network: nn.Module, layers: dict[str, nn.Module], options: Options, context: Context
) -> dict[str, torch.Tensor]:
    """What each weight counts; -1 for what is masked already, so that it stays so."""
    found: dict[str, torch.Tensor] = {}
    if options.criterion == "gradient":
        gradients = {name: torch.zeros_like(weight_of(layer)) for name, layer in layers.items()}
        modes = [(module, module.training) for module in network.modules()]
        wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
        network.eval()
        for layer in layers.values():
            original(layer).requires_grad_(True)
        for number, batch in enumerate(context.calibration()):
            if number == GRADIENT_BATCHES:
                break
            originals = [original(layer) for layer in layers.values()]
            loss = context.loss(call(network, batch), batch.targets)
            for name, gradient in zip(layers, torch.autograd.grad(loss, originals), strict=True):
                gradients[name] += gradient
        found = {name: (weight_of(layer) * gradients[name]).abs() for name, layer in layers.items()}
        for module, mode in modes:
            module.training = mode
        for parameter, want in wanted:
            parameter.requires_grad_(want)
    elif options.criterion == "random":
        drawn = torch.Generator().manual_seed(context.seed)
        found = {name: torch.rand(weight_of(layer).shape, generator=drawn) for name, layer in layers.items()}
    else:
        found = {name: weight_of(layer).abs() for name, layer in layers.items()}
    result = {}
    for name, score in found.items():
        mask, score = mask_of(layers[name]), score.detach().cpu().float()
        score = lamp(score) if options.criterion == "lamp" else score
        result[name] = score if mask is None else score.masked_fill(~mask.cpu(), -1.0)
    return result


def lamp(sizes: torch.Tensor) -> torch.Tensor:
    """A layer's weights → w² / Σ v² over itself and all that come before it in descending order; of the same shape.

    Lee et al. 2021, "Layer-adaptive sparsity for the magnitude-based pruning", eq. 2. The order within a layer stays;
    a layer's largest weight has 1, whatever the layer's scale, so no layer runs dry. Costs a sort.
    """
    squares, order = sizes.reshape(-1).double().square().sort(descending=True)
    scores = torch.empty_like(squares)
    scores[order] = squares / squares.cumsum(0).clamp_(min=1e-300)
    return scores.reshape(sizes.shape).float()


def _mask(network: nn.Module, layers: dict[str, nn.Module], share: float, options: Options, context: Context) -> None:
    """Exactly ``share`` of all weights (or of each layer's), the least first."""
    scores = _scores(network, layers, options, context)
    for score in scores.values():
        many = math.ceil(options.least * score.numel())
        if many and options.scope == "global":
            flat = score.view(-1)
            flat[flat.topk(many).indices] = math.inf
    groups = [list(scores)] if options.scope == "global" else [[name] for name in scores]
    for group in groups:
        joined = torch.cat([scores[name].reshape(-1) for name in group])
        keep = torch.ones(len(joined), dtype=torch.bool)
        keep[joined.topk(round(share * len(joined)), largest=False, sorted=False).indices] = False
        for name, part in zip(group, keep.split([scores[name].numel() for name in group]), strict=True):
            put_mask(layers[name], part.reshape(scores[name].shape))


def _pattern(network: nn.Module, layers: dict[str, nn.Module], options: Options, context: Context) -> list[str]:
    """N of M neighbouring inputs stay; layers whose inputs are no multiple of M are returned, and stay whole."""
    some, of = map(int, options.pattern.split(":"))
    whole = []
    for name, score in _scores(network, layers, options, context).items():
        transposed = isinstance(layers[name], nn.modules.conv._ConvTransposeNd)
        along = score.movedim(0 if transposed else 1, -1)
        if along.shape[-1] % of:
            whole.append(name)
            continue
        blocks = along.reshape(-1, of)
        mask = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, blocks.topk(some, 1).indices, True)
        put_mask(layers[name], mask.reshape(along.shape).movedim(-1, 0 if transposed else 1))
    return whole


def grown(share: float, done: float) -> float:
    """The share after a part of the time, 0 to 1: s · (1 - (1 - t)³), Zhu and Gupta 2018, eq. 1."""
    return share * (1 - (1 - min(max(done, 0.0), 1.0)) ** 3)


def _grow(network: nn.Module, layers: dict[str, nn.Module], options: Options, context: Context) -> None:
    def hook(at: At) -> None:
        every = max(1, at.steps // UPDATES)
        if at.step % every == 0 or at.step == at.steps:
            _mask(network, layers, grown(float(options.share or 0), at.step / at.steps), options, context)

    context.heal(network, options.gradual, hook=hook)


# --------------------------------------------------------------------------------------------------------------
# Rewinding


def _rewindable(
    network: nn.Module, layers: dict[str, nn.Module], initial: dict[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    """The state before the first step, if it is of this very network."""
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if initial is None or {name: tensor.shape for name, tensor in initial.items()} != shapes:
        got = "no initial weights" if initial is None else "a network that was changed since its first step"
        raise UsageError("compress: prune=weights: rewind", got, "a run of its own whose network is not changed yet")
    return {
        f"{name}.parametrizations.weight.original" if f"{name}.weight" == key else key: tensor
        for key, tensor in initial.items()
        for name in [key.rpartition(".")[0] if key.rpartition(".")[0] in layers else ""]
    }


@torch.no_grad()
def _reset(network: nn.Module, initial: dict[str, torch.Tensor]) -> None:
    """Everything but the masks as it was at first."""
    state = network.state_dict()
    for name, tensor in initial.items():
        state[name].copy_(tensor)
