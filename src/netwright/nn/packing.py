"""Tensors in fewer bytes, without loss: zeros that are not written, masks that follow from what they mask.

``sparse``: the values that are not zero, and the zeros between them, one byte a value (255: as many zeros and no value
yet; Han et al. 2016, figure 2, has the same with fewer bits). ``support``: a mask that is true exactly where another
tensor is not zero. ``bits``: eight booleans a byte. What stands in a file is checked before it is unpacked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

WORTH = 0.9  # of the plain size; less is not worth a file that others cannot read plainly
LONGEST = 255
_TYPES = {
    str(each).removeprefix("torch."): each for each in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
}
_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}

Parts = dict[str, torch.Tensor]


def pack(state: Mapping[str, torch.Tensor]) -> tuple[Parts, dict[str, Any]]:
    """The tensors as they are written, and how those that are not plain were packed."""
    parts: Parts = {}
    notes: dict[str, Any] = {}
    for name, tensor in state.items():
        packed = _mask(name, tensor, state) if tensor.dtype == torch.bool else _sparse(name, tensor)
        if packed is None:
            parts[name] = tensor
        else:
            notes[name] = packed[0] | {"shape": list(tensor.shape)}
            parts |= packed[1]
    return parts, notes


def unpack(parts: Parts, notes: Mapping[str, Any]) -> Parts:
    """The tensors again, bit for bit. Raises ``ValueError`` for what no file of ours says."""
    state = {name: tensor for name, tensor in parts.items() if name.partition("#")[0] not in notes}
    for name, note in notes.items():
        shape = note.get("shape") if isinstance(note, dict) else None
        if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
            raise ValueError(f"no shape for {name}")
        match note.get("how"):
            case "sparse":
                state[name] = _filled(_part(parts, f"{name}#gaps"), _part(parts, f"{name}#values"), shape)
            case "bits":
                state[name] = _bits(_part(parts, f"{name}#bits"), shape)
            case "support":
                pass  # of a tensor that may come later
            case other:
                raise ValueError(f"{name} is packed in an unknown way ({other})")
    for name, note in notes.items():
        if note["how"] == "support":
            source = state.get(note.get("of"))
            if source is None or list(source.shape) != note["shape"] or source.element_size() not in _WHOLE:
                raise ValueError(f"nothing that {name} could be the mask of")
            state[name] = _nonzero(source)
    return state


def _part(parts: Parts, name: str) -> torch.Tensor:
    if name not in parts or parts[name].dim() != 1:
        raise ValueError(f"no {name}")
    return parts[name]


def _nonzero(tensor: torch.Tensor) -> torch.Tensor:
    """Where bits are set: -0 is a value."""
    return tensor.contiguous().view(_WHOLE[tensor.element_size()]) != 0


def _sparse(name: str, tensor: torch.Tensor) -> tuple[dict[str, Any], Parts] | None:
    if tensor.dtype not in _TYPES.values() or not tensor.numel():
        return None
    flat = tensor.contiguous().reshape(-1)
    places = _nonzero(flat).nonzero().reshape(-1)
    if len(places) * (tensor.element_size() + 1) > WORTH * tensor.numel() * tensor.element_size():
        return None
    gaps = torch.diff(places, prepend=torch.tensor([-1])) - 1
    ends = torch.cumsum(gaps // LONGEST + 1, 0)
    stream = torch.full((int(ends[-1]) if len(ends) else 0,), LONGEST, dtype=torch.uint8)
    stream[ends - 1] = (gaps % LONGEST).to(torch.uint8)
    return {"how": "sparse"}, {f"{name}#gaps": stream, f"{name}#values": flat[places].clone()}


def _filled(stream: torch.Tensor, values: torch.Tensor, shape: list[int]) -> torch.Tensor:
    if stream.dtype != torch.uint8 or values.dtype not in _TYPES.values():
        raise ValueError("types that no packed tensor has")
    ends = stream != LONGEST
    places = torch.cumsum(stream.long(), 0)[ends] + torch.arange(int(ends.sum()))
    size = math.prod(shape)
    if len(places) != len(values) or (len(places) and int(places[-1]) >= size):
        raise ValueError("values that do not fit their shape")
    flat = torch.zeros(size, dtype=values.dtype)
    flat[places] = values
    return flat.reshape(shape)


def _mask(name: str, mask: torch.Tensor, state: Mapping[str, torch.Tensor]) -> tuple[dict[str, Any], Parts] | None:
    source = name.rpartition(".")[0].rpartition(".")[0] + ".original"
    found = state.get(source)
    alike = found is not None and found.dtype in _TYPES.values() and found.shape == mask.shape
    if found is not None and alike and torch.equal(_nonzero(found), mask):
        return {"how": "support", "of": source}, {}
    if mask.numel() < 64:
        return None
    padded = torch.zeros(-(-mask.numel() // 8) * 8, dtype=torch.uint8)
    padded[: mask.numel()] = mask.reshape(-1)
    weights = 2 ** torch.arange(8, dtype=torch.uint8)
    return {"how": "bits"}, {f"{name}#bits": (padded.reshape(-1, 8) * weights).sum(1).to(torch.uint8)}


def _bits(packed: torch.Tensor, shape: list[int]) -> torch.Tensor:
    size = math.prod(shape)
    if packed.dtype != torch.uint8 or len(packed) != -(-size // 8):
        raise ValueError("bits that do not fit their shape")
    return (packed[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).bool().reshape(-1)[:size].reshape(shape)
