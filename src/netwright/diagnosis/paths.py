"""Which layers with weights follow each other, and what lies between them. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netwright.observations import NetworkFacts
from netwright.observations.network import LayerFacts

LINEAR = frozenset(
    {"Linear", "NonDynamicallyQuantizableLinear", "LazyLinear", "linear"}
    | {f"{lazy}Conv{way}{axes}d" for lazy in ("", "Lazy") for way in ("", "Transpose") for axes in (1, 2, 3)}
    | {"conv1d", "conv2d", "conv3d"}
)  # fmt: skip
BATCH_NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "batch_norm"})
MEAN_REMOVING = BATCH_NORMS | {"InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "instance_norm"}
NORMS = MEAN_REMOVING | {"LayerNorm", "GroupNorm", "RMSNorm", "layer_norm", "group_norm", "rms_norm"}
# Affine functions of their input where there is one: batch norm is, up to the batch's statistics. Products are
# left out: x · x is none.
AFFINE = BATCH_NORMS | frozenset(
    """Identity Flatten Unflatten Dropout Dropout1d Dropout2d Dropout3d dropout AvgPool1d AvgPool2d AvgPool3d
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d mean sum add sub neg pad ZeroPad1d ZeroPad2d ZeroPad3d
    ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d Upsample
    UpsamplingNearest2d UpsamplingBilinear2d interpolate PixelShuffle PixelUnshuffle pixel_shuffle ChannelShuffle roll
    flip view reshape flatten permute transpose squeeze unsqueeze""".split()  # noqa: SIM905 - sixty quoted words read worse
)  # fmt: skip


class Link(NamedTuple):
    """Two layers with weights, ``second`` fed by ``first`` alone, and what lies between them in order."""

    first: LayerFacts
    between: tuple[LayerFacts, ...]
    second: LayerFacts

    @property
    def affine(self) -> bool:
        """Nothing between them bends: together they are one affine function."""
        return (
            self.first.kind in LINEAR
            and self.second.kind in LINEAR
            and all(step.kind in AFFINE or step.options.get("activation") == "identity" for step in self.between)
        )

    @property
    def activation(self) -> str:
        """The first activation between them; "" for none."""
        return next((name for name in (activation_of(step) for step in self.between) if name), "")


def activation_of(layer: LayerFacts) -> str:
    name = str(layer.options.get("activation", ""))
    return "" if name == "identity" else name


def weighted(layer: LayerFacts) -> bool:
    """Whether it has a matrix or kernel of weights (norms and learned slopes have none)."""
    return layer.kind not in NORMS and any(len(shape) > 1 for shape in layer.parameters.values())


def called(network: NetworkFacts) -> dict[str, LayerFacts]:
    return {layer.name: layer for layer in network.layers if layer.calls}


def links(network: NetworkFacts | None) -> list[Link]:
    """Every pair that follows each other along a single path; branches, sums and products end it."""
    if network is None or not network.executed:
        return []
    layers = called(network)
    return [link for second in layers.values() if weighted(second) for link in _link_to(second, layers)]


def _link_to(second: LayerFacts, layers: dict[str, LayerFacts]) -> Iterator[Link]:
    between: list[LayerFacts] = []
    inputs = second.inputs
    while len(inputs) == 1 and inputs[0] in layers and len(between) < len(layers):
        step = layers[inputs[0]]
        if weighted(step):
            yield Link(step, tuple(reversed(between)), second)
            return
        between.append(step)
        inputs = step.inputs


def readers(network: NetworkFacts) -> dict[str, list[str]]:
    """The layers that read each layer's output."""
    found: dict[str, list[str]] = {}
    for layer in called(network).values():
        for name in layer.inputs:
            found.setdefault(name, []).append(layer.name)
    return found


def units(layer: LayerFacts) -> tuple[int, int] | None:
    """(inputs of a unit without its window, units) of a dense or convolutional layer."""
    shape = layer.parameters.get("weight", ())
    if layer.kind not in LINEAR or len(shape) < 2:
        return None
    return (shape[0], shape[1]) if "Transpose" in layer.kind else (shape[1], shape[0])
