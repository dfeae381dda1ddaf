"""How far a file's outputs are from PyTorch's, and which layer is the first that differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netwright.export.package import traceable
from netwright.export.target import Array, Session
from netwright.records import Record

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-4  # by what part of the largest output, or of 1 where that is smaller, the outputs may differ
# What may differ between two correct computations of one intermediate result, as a part of its largest number; a layer
# counts as different above this, or above a quarter of what the outputs differ by, if that is less.
STEP_TOLERANCE, STEP_SHARE = 1e-3, 0.25
OUTPUTS_OF_ONE_CALL = 8  # more than any function of PyTorch returns


class Difference(Record, frozen=True, kw_only=True):
    """Of ``inputs`` examples. ``labels_equal``: the share whose largest output is the same one; None: no labels.

    ``close_calls``: examples whose two largest outputs lie nearer to each other than the tolerance, so that either may
    be the label; they count as equal in ``agrees``.
    """

    inputs: int
    largest: float
    mean: float
    largest_output: float
    tolerance: float
    labels_equal: float | None
    close_calls: int
    agrees: bool


def difference(expected: Array, got: Array, *, labels: bool, tolerance: float = TOLERANCE) -> Difference:
    """|difference| ≤ tolerance · max(1, largest |expected|), and equal labels. A NaN on one side only is infinite."""
    first, second = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (expected, got))
    if first.shape != second.shape:
        raise ValueError(f"shapes {expected.shape} and {got.shape}")
    both = np.isnan(first) & np.isnan(second)
    apart = np.where(both, 0.0, np.abs(first - second))
    apart[np.isnan(apart)] = np.inf
    height = float(np.nanmax(np.abs(first), initial=0.0))
    bound = tolerance * max(1.0, height)
    largest = float(apart.max(initial=0.0))
    equal, close = None, 0
    alike = np.ones(len(first), bool)
    if labels:
        alike = _labels(first) == _labels(second)
        near = _margins(first) <= 2 * bound
        equal, close = float(alike.mean()), int(near.sum())
        alike = alike | near
    return Difference(
        inputs=len(first), largest=largest, mean=float(apart.mean()), largest_output=height, tolerance=bound,
        labels_equal=equal, close_calls=close, agrees=bool(largest <= bound and alike.all()),
    )  # fmt: skip


def _labels(outputs: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0] > 0, np.int64)


def _margins(outputs: Floats) -> Floats:
    """By how much the largest output leads; for a single one, its distance from zero."""
    if outputs.shape[1] == 1:
        return np.abs(outputs[:, 0])
    two = np.sort(outputs, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


# ------------------------------------------------------------------------------------- where it begins


@dataclasses.dataclass
class Step:
    """One call of a function of PyTorch: ``layer`` is the module that made it, ``parents`` the steps it reads."""

    layer: str
    kind: str
    value: Array
    parents: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.layer} ({self.kind})" if self.layer else self.kind


class _Recorder(TorchFunctionMode):
    """Sees every call that gives a tensor, with the module that made it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._made: dict[int, tuple[Tensor, int]] = {}  # id of a tensor → (it, kept alive; the step that made it)
        self._running: list[str] = []
        self._hooks: list[Any] = []
        for name, module in network.named_modules():
            self._hooks.append(module.register_forward_pre_hook(self._entering(name)))
            self._hooks.append(module.register_forward_hook(self._leaving, always_call=True))

    def _entering(self, name: str) -> Callable[..., None]:
        return lambda module, inputs: self._running.append(name)

    def _leaving(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._running.pop()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        outputs = [each for each in _flat(result) if isinstance(each, Tensor)][:OUTPUTS_OF_ONE_CALL]
        if outputs and getattr(function, "__name__", "") not in ("__get__", "__set__"):
            read = [self._made[id(each)][1] for each in _flat((args, kwargs)) if id(each) in self._made]
            kind = getattr(function, "__name__", str(function)).strip("_")
            for each in outputs:
                if each.is_floating_point():
                    layer = self._running[-1] if self._running else ""
                    self._made[id(each)] = each, len(self.steps)
                    self.steps.append(Step(layer, kind, each.detach().numpy().copy(), tuple(dict.fromkeys(read))))
        return result

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def steps(network: nn.Module, inputs: Sequence[Array]) -> list[Step]:
    """Every intermediate result of ``network`` on one example, in the order of execution. Costs one forward pass."""
    recorder = _Recorder(network)
    try:
        with traceable(), recorder:
            network(*map(torch.from_numpy, inputs))
    finally:
        recorder.close()
    return recorder.steps


def first_difference(network: nn.Module, session: Session, inputs: Sequence[Array], apart: float) -> str:
    """The first layer, in the order of execution, whose result the file does not have; empty where each is there.

    A result is there if the file holds an equal one (in any layout), or one that a later step made of it: what a
    converter fused, the runtime never holds. ``apart``: by what part of their size the outputs differ. ``inputs``: one
    example, (1, …) each.
    """
    made = steps(network, inputs)
    seen: dict[int, list[Array]] = {}
    for value in session.intermediates(*inputs):
        array = np.asarray(value)
        if array.dtype.kind == "f":
            seen.setdefault(array.size, []).append(array.astype(np.float32).ravel())
    tolerance = min(STEP_TOLERANCE, STEP_SHARE * apart)
    there = [any(_equal(step.value, each, tolerance) for each in seen.get(step.value.size, ())) for step in made]
    for number in reversed(range(len(made))):
        if there[number]:
            for parent in made[number].parents:
                there[parent] = True
    return next((str(step) for step, found in zip(made, there, strict=True) if not found), "")


def _equal(value: Array, other: Array, tolerance: float) -> bool:
    """Whether the numbers are the same, channels first or last."""
    bound = tolerance * max(float(np.abs(value).max(initial=0.0)), 1e-12)
    layouts = [value] if value.ndim < 3 else [value, np.moveaxis(value, 1, -1), np.moveaxis(value, -1, 1)]
    return any(float(np.abs(np.subtract(each.ravel(), other)).max(initial=0.0)) <= bound for each in layouts)
