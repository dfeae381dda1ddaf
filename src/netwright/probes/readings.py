"""Values that wait on their device until they are read, all in one piece; and the parts of tensors they are of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from netwright.records import Measurement

VALUES = 16_384  # of an output or of its gradient that are looked at
ENTRIES = 4_096  # of a parameter: a norm is then within 1 %, a cosine within 2 %


Told = tuple[str, str, str, float]  # probe, layer, unit, value


class Readings:
    """One step's values: tensors are kept as they are, and turned into numbers by `read`."""

    def __init__(self, step: int) -> None:
        self.step = step
        self._keys: list[tuple[str, str, str]] = []
        self._tensors: list[Tensor] = []
        self._numbers: list[Measurement] = []
        self._raw: list[tuple[int, Callable[[list[float]], list[Told]]]] = []

    def add(self, layer: str, probes: Sequence[tuple[str, str]], values: Tensor) -> None:
        """``values`` (len(probes),) of ``probes``, each with its unit."""
        self._keys += [(probe, layer, unit) for probe, unit in probes]
        self._tensors.append(values)

    def later(self, values: Tensor, told: Callable[[list[float]], list[Told]]) -> None:
        """``told`` makes probes' values of the numbers when they are read."""
        self._raw.append((len(self._tensors), told))
        self._tensors.append(values)
        self._keys += [("", "", "")] * values.numel()

    def put(self, probe: str, unit: str, value: float, layer: str = "") -> None:
        """A number that is known already."""
        self._numbers.append(self._measurement(probe, layer, unit, value))

    def read(self) -> list[Measurement]:
        """All of them, with one transfer a device; what is not finite is None. Waits for the devices."""
        values: dict[int, list[float]] = {}
        for device in dict.fromkeys(tensor.device for tensor in self._tensors):
            own = [number for number, tensor in enumerate(self._tensors) if tensor.device == device]
            sizes = [self._tensors[number].numel() for number in own]
            flat = torch.cat([self._tensors[number].detach().float().reshape(-1) for number in own]).tolist()
            for number, size in zip(own, sizes, strict=True):
                values[number], flat = flat[:size], flat[size:]
        numbers = [value for number in range(len(self._tensors)) for value in values[number]]
        found = [
            self._measurement(probe, layer, unit, value)
            for (probe, layer, unit), value in zip(self._keys, numbers, strict=True)
            if probe
        ]
        for number, told in self._raw:
            found += [
                self._measurement(probe, layer, unit, value) for probe, layer, unit, value in told(values[number])
            ]
        return self._numbers + found

    def _measurement(self, probe: str, layer: str, unit: str, value: float) -> Measurement:
        kept = value if math.isfinite(value) else None
        return Measurement(probe=probe, step=self.step, unit=unit, values=(kept,), layer=layer)


def stride_for(count: int, limit: int) -> int:
    """A step through ``count`` entries that visits at most ``limit`` of them, and every row and column in turn: it has
    no factor in common with the count, so it does not stay in one column."""
    stride = -(-count // limit)
    while stride > 1 and math.gcd(stride, count) > 1:
        stride += 1
    return stride


def entries(tensor: Tensor, limit: int = ENTRIES) -> Tensor:
    """Up to ``limit`` entries of a tensor, always the same ones, (n,) in at least single precision; a copy."""
    tensor = local(tensor.detach())
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    flat = tensor.reshape(-1)[:: stride_for(max(1, tensor.numel()), limit)]
    return flat.clone() if flat.dtype in (torch.float32, torch.float64) else flat.float()


def local(tensor: Tensor) -> Tensor:
    """This process's part of a distributed tensor: nothing here may wait for other processes."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def portion(tensor: Tensor, unit_axis: int, limit: int = VALUES, *, all_units: bool = False) -> Tensor:
    """(E, U, P): examples, units and positions, thinned out to about ``limit`` values; a view or a copy, at least
    single precision. One axis counts as examples of a single unit. Equal shapes are thinned out alike."""
    tensor = tensor.detach()
    if tensor.dim() < 2:
        tensor = tensor.reshape(-1, 1)
    if tensor.dim() > 2:
        tensor = tensor.movedim(unit_axis, 1)
    axes, excess = tensor.dim() - 2, tensor.numel() / limit
    # Positions first, as neighbours say nearly the same; then examples, of which at least eight stay, or dead units
    # look like many; then units.
    here = max(1, math.prod(tensor.shape[2:]))
    every = max(1, round(min(excess, max(1.0, here / 16)) ** (1 / max(1, axes))))
    excess /= here / max(1, math.prod(-(-size // every) for size in tensor.shape[2:]))
    examples = max(1, min(math.ceil(excess), tensor.shape[0] // 8))
    units = 1 if all_units else max(1, round(excess / examples))
    places = (slice(None, None, examples), slice(None, None, units), *[slice(None, None, every)] * axes)
    tensor = tensor[places].flatten(2) if axes else tensor[places].unsqueeze(-1)
    return tensor.contiguous() if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
