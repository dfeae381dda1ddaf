"""Latent weights go, their bits stay: 1 bit a weight of binary layers, 2 of ternary ones, in ``uint8`` words.

After it the packed weights are no longer trained; scales of norms, biases and float layers still are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netwright.compression.passes import Changed, Context, PassOptions
from netwright.compression.placing import attempted, counted
from netwright.errors import UsageError
from netwright.nn import bitcount
from netwright.nn.lowbit import Binary, Ternary, Xnor, binary_scale, geometry_of
from netwright.records import Surgery


class Options(PassOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``pack``; nothing to choose."""


def apply(network: nn.Module, options: Options, context: Context) -> Changed:
    """Pack every layer that ``quantize=binary``, ``ternary`` or ``xnor`` has changed."""
    done: list[Surgery] = []
    facts: dict[str, Any] = {}
    stay: list[str] = []
    for name, module in list(network.named_modules()):
        made = _packed(module)
        if made is None:
            continue
        kind, arguments, values, before = made
        surgery = Surgery(operation="replace", module=name, arguments={"kind": kind, "arguments": arguments})
        reason = attempted(network, context, surgery, values)
        if reason:
            stay.append(reason)
            continue
        done.append(surgery)
        facts[name] = {"bytes": [before, sum(values[each].nbytes for each in ("words", "scale"))]}
    if not done:
        raise UsageError(
            "compress: pack", "; ".join(stay) or "no layer of 1 or 2 bits that is not packed yet",
            "binary, ternary or XNOR layers", "quantize=binary heal=3 pack",
        )  # fmt: skip
    old, new = (sum(each["bytes"][place] for each in facts.values()) for place in (0, 1))
    return Changed(
        tuple(done),
        f"{counted(len(done), 'layer')} packed: {old:,} → {new:,} bytes ({old / new:.1f}×)",
        {"layers": facts},
    )


def _packed(module: nn.Module) -> tuple[str, dict[str, Any], dict[str, Tensor], int] | None:
    """Kind, arguments and values of the packed layer, and the bytes of its weight before."""
    if isinstance(module, Xnor) and not module.packed:
        weight = module.weight.detach()
        values = {
            "words": bitcount.packed(weight.flatten(1)), "scale": binary_scale(weight), "threshold": module.threshold,
            "window": module.window,
        }  # fmt: skip
        arguments: dict[str, Any] = {
            "kind": module.kind, "shape": list(module.shape), "bias": module.bias is not None,
            "geometry": module.geometry, "scale_inputs": module.scale_inputs, "packed": True,
        }  # fmt: skip
        return "Xnor", arguments, values | _bias(module), weight.nbytes
    if not parametrize.is_parametrized(module, "weight"):
        return None
    listed: Any = module.parametrizations["weight"]  # type: ignore[index]
    if len(listed) != 1 or not isinstance(listed[0], Binary | Ternary):
        return None
    latent: Tensor = listed.original.detach()
    code, scale = listed[0].coded(latent)
    planes = [bitcount.packed(code.flatten(1))]
    if listed[0].bits == 2:
        planes.append(bitcount.packed(code.flatten(1).abs() - 0.5))
    kind, geometry = geometry_of(module)
    arguments = {
        "kind": kind, "shape": list(latent.shape), "bits": listed[0].bits, "bias": module.bias is not None,
        "geometry": geometry,
    }  # fmt: skip
    return "Packed", arguments, {"words": torch.stack(planes), "scale": scale} | _bias(module), latent.nbytes


def _bias(module: nn.Module) -> dict[str, Tensor]:
    return {} if module.bias is None else {"bias": module.bias.detach()}  # type: ignore[operator]
