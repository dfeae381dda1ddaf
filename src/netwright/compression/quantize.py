"""Fewer bits: 16-bit floats, int8 as it will be rounded, ternary and binary weights, signs for weights and inputs.

What is trained on afterwards learns with the rounding in place; ``pack`` then keeps the bits alone. An int8 file is an
export artefact: ``int8`` puts the rounding and its calibrated ranges into the network, to see and heal what it costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from netwright.compression.passes import Changed, Context, EpochsOrNone, PassOptions, call
from netwright.compression.placing import attempted, chosen, computed, counted, in_order, not_free
from netwright.errors import UsageError
from netwright.nn import ranges
from netwright.nn.lowbit import QuantizedConv1d, QuantizedConv2d, QuantizedLinear, geometry_of
from netwright.nn.surgery import operate
from netwright.records import Surgery, plural

Kind = Literal["binary", "ternary", "xnor", "int8", "int8-aware", "fp16", "bf16"]
PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
HALVES = (*PLAIN, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Embedding)
ROUNDED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: QuantizedLinear, nn.Conv1d: QuantizedConv1d, nn.Conv2d: QuantizedConv2d
}  # fmt: skip


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``quantize=binary:epochs=5``. ``epochs``: healing within the pass (``int8-aware``: 1 where nothing is given).

    ``layers``: names joined by ``+``; without them all, but for ``binary``, ``ternary`` and ``xnor`` the first and the
    last, which stay as they are (``ends=true`` takes them too). ``ranges`` and ``batches``: how int8 is calibrated.
    ``scaled=false``: bare signs (BinaryConnect). ``scale-inputs=true``: XNOR's K.
    """

    kind: Kind
    epochs: EpochsOrNone | None = None
    layers: tuple[str, ...] = ()
    ends: bool = False
    ranges: ranges.Rule = "mse"
    batches: Annotated[int, msgspec.Meta(ge=1)] = 8
    scaled: bool = True
    scale_inputs: bool = False


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Put the rounding into the network, and train with it where ``epochs`` says so."""
    kind = options.kind
    epochs = options.epochs if options.epochs is not None else int(kind == "int8-aware")
    if kind in ("fp16", "bf16"):
        changed = _halved(network, options)
    elif kind in ("int8", "int8-aware"):
        changed = _eight(network, options, context)
    elif kind == "xnor":
        changed = _xnor(network, options, context)
    else:
        changed = _coded(network, options, context)
    if epochs and changed.surgeries:
        context.heal(network, epochs)
        changed = changed._replace(note=f"{changed.note}; {epochs} epoch{'s' * (epochs > 1)} with it")
    return changed


def targets(network: nn.Module, options: Options, context: Context, kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """The layers that get few bits: those named, or all between the first and the last."""
    known = dict(chosen(f"quantize={options.kind}", network, kinds, options.layers))
    if options.layers:
        return list(known)
    order = in_order(network, context, PLAIN)
    ends = {order[0], order[-1]} if order and not options.ends else set()
    found = [name for name in order if name in known and name not in ends]
    bound = {name: how for name, how in computed(network).items() if name not in ends}
    if not found and bound:
        raise not_free(f"quantize={options.kind}", bound)
    if not found:
        raise UsageError(
            f"compress: quantize={options.kind}", f"{plural(len(order), 'layer')}, none between the first and the last",
            "a dense layer or convolution besides the first and the last", f"quantize={options.kind}:ends=true",
        )  # fmt: skip
    return found


def _weight(network: nn.Module, name: str) -> Tensor:
    found: Tensor = network.get_submodule(name).weight  # type: ignore[assignment]
    return found.detach()


def _coded(network: nn.Module, options: Options, context: Context) -> Changed:
    arguments = {} if options.kind == "ternary" or options.scaled else {"scaled": False}
    done, errors = [], {}
    for name in targets(network, options, context, PLAIN):
        weight = _weight(network, name).clone()
        surgery = Surgery(
            operation="parametrize", module=name, arguments={"kind": options.kind, "arguments": arguments}
        )
        operate(network, surgery)
        done.append(surgery)
        errors[name] = float((_weight(network, name) - weight).norm() / weight.norm().clamp(min=1e-30))
    bits = "1 bit" if options.kind == "binary" else "2 bits"
    note = f"{counted(len(done), 'layer')} to {bits} a weight, first and last as they were; `pack` makes the file small"
    return Changed(
        tuple(done),
        note if not (options.ends or options.layers) else note.replace(", first and last as they were", ""),
        {"errors": errors},
    )


def _halved(network: nn.Module, options: Options) -> Changed:
    done = []
    for name, module in chosen(f"quantize={options.kind}", network, HALVES, options.layers):
        weight: Tensor = module.weight  # type: ignore[assignment]
        if options.kind == "fp16" and float(weight.detach().abs().max()) > torch.finfo(torch.float16).max:
            continue  # would become infinite
        surgery = Surgery(
            operation="parametrize", module=name, arguments={"kind": "half", "arguments": {"dtype": options.kind}}
        )
        operate(network, surgery)
        done.append(surgery)
    return Changed(
        tuple(done), f"weights of {counted(len(done), 'layer')} kept as {options.kind}, used as float32 and fixed"
    )


# --------------------------------------------------------------------------------------------------------------
# What comes into layers


def _watched(
    network: nn.Module, names: list[str], context: Context, batches: int, see: Callable[[str, Tensor], None]
) -> None:
    """``see`` gets every input of the named layers over some calibration batches; nothing is left behind."""
    handles = [
        network.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: see(name, inputs[0].detach())
        )
        for name in names
    ]
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            for batch in _some(context, batches):
                call(network, batch)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode


def _some(context: Context, batches: int) -> Iterator[Any]:
    return itertools.islice(context.calibration(), batches)


def _eight(network: nn.Module, options: Options, context: Context) -> Changed:
    kinds = tuple(ROUNDED)
    names = [name for name, _ in chosen(f"quantize={options.kind}", network, kinds, options.layers)]
    seen = {name: ranges.Seen() for name in names}
    _watched(network, names, context, options.batches, lambda name, x: seen[name].extend(x))
    _watched(network, names, context, options.batches, lambda name, x: seen[name].count(x))
    done: list[Surgery] = []
    facts: dict[str, Any] = {}
    for name in names:
        if seen[name].counts is None:
            continue  # never called
        layer = network.get_submodule(name)
        low, high = ranges.chosen(seen[name], options.ranges)
        scale, zero = ranges.affine(low, high)
        weight = _weight(network, name)
        clips = ranges.weight_clips(weight, options.ranges)
        largest = weight.abs().flatten(1).amax(1).clamp(min=1e-12)
        values = {
            "weight": weight, "input_scale": torch.tensor([scale]), "input_zero": torch.tensor([zero]),
            "clip": clips, "weight_scale": clips.to(largest) * largest / 127,
        }  # fmt: skip
        values |= {} if layer.bias is None else {"bias": layer.bias.detach()}  # type: ignore[operator]
        surgery = Surgery(
            operation="replace",
            module=name,
            arguments={"kind": ROUNDED[type(layer)].__name__, "arguments": _arguments(layer)},
        )
        if not attempted(network, context, surgery, values):
            done.append(surgery)
            facts[name] = {"low": low, "high": high, "seen": [seen[name].low, seen[name].high]}
    note = f"inputs and weights of {counted(len(done), 'layer')} rounded to 8 bits, ranges by {options.ranges}"
    return Changed(tuple(done), note, {"ranges": facts})


def _arguments(layer: nn.Module) -> dict[str, Any]:
    """What makes a layer of the same sizes."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return {"in_features": layer.in_features, "out_features": layer.out_features, "bias": bias}
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    return {
        "in_channels": layer.in_channels, "out_channels": layer.out_channels, "kernel_size": list(layer.kernel_size),
        "bias": bias,
    } | geometry_of(layer)[1]  # fmt: skip


def _xnor(network: nn.Module, options: Options, context: Context) -> Changed:
    names = [
        name for name in targets(network, options, context, (nn.Linear, nn.Conv2d))
        if getattr(network.get_submodule(name), "groups", 1) == 1
        and not isinstance(getattr(network.get_submodule(name), "padding", ()), str)
    ]  # fmt: skip
    sums: dict[str, list[Tensor]] = {}

    def see(name: str, x: Tensor) -> None:
        x = x.float() if isinstance(network.get_submodule(name), nn.Linear) else x.float().transpose(1, -1)
        rows = x.reshape(-1, x.shape[-1])
        parts = [torch.tensor(float(len(rows))), rows.sum(0), rows.square().sum(0)]
        sums[name] = parts if name not in sums else [a + b for a, b in zip(sums[name], parts, strict=True)]

    _watched(network, names, context, options.batches, see)
    done = []
    for name in names:
        if name not in sums:
            continue
        layer = network.get_submodule(name)
        many, total, squares = sums[name]
        mean = total / many
        spread = (squares / many - mean.square()).clamp(min=0).sqrt()
        kind, geometry = geometry_of(layer)
        weight = _weight(network, name)
        arguments = {
            "kind": kind, "shape": list(weight.shape), "bias": layer.bias is not None, "geometry": geometry,
            "scale_inputs": options.scale_inputs,
        }  # fmt: skip
        surgery = Surgery(operation="replace", module=name, arguments={"kind": "Xnor", "arguments": arguments})
        values = {"weight": weight, "threshold": mean, "window": spread.clamp(min=1e-3)}
        values |= {} if layer.bias is None else {"bias": layer.bias.detach()}  # type: ignore[operator]
        if not attempted(network, context, surgery, values):
            done.append(surgery)
    return Changed(
        tuple(done),
        f"{counted(len(done), 'layer')} to signs of weights and inputs; heal before it is judged, then `pack`",
    )
