"""Autograd against central finite differences, in double precision, for any module.

The output is summed with fixed random weights r, f = Σ r·y, so that one number depends on everything. An entry θ is
moved by ±h, and (f(θ + h) − f(θ − h)) / 2h is compared with autograd's ∂f/∂θ. Where they differ, smaller steps tell
apart a wrong backward (the differences agree with one another and not with autograd), and a kink, such as a ReLU at 0,
where f has no derivative: the slopes to the left and to the right stay apart. Kinks are counted and not judged.

Source: Nocedal and Wright 2006, Numerical Optimization, section 8.1 (step and rounding); Clarke 1975 (kinks).
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from netwright.errors import NetworkError
from netwright.graph.examples import arguments, mapped
from netwright.graph.following import tensors
from netwright.inspection.observing import saying_where
from netwright.records import Record

ENTRIES = 20  # of a tensor, drawn at random
TOLERANCE = 1e-4  # relative; a correct backward in double precision is below 1e-6 of the differences
STEP = 1e-5  # times max(1, |θ|): near the cube root of the precision, the best for smooth functions
SMALLER = (1e-6, 1e-7)
ROUNDING = 1e3 * 2.2e-16  # of the terms of f: what a forward pass of some hundred operations may lose
FLOOR = 1e-3  # errors are relative to at least this share of the tensor's largest gradient


class GradientRow(Record, frozen=True, kw_only=True):
    """One tensor. ``error`` is the largest relative error, beyond what rounding can be, of the ``checked`` entries that
    can be judged: at ``kinks`` there is no derivative, at ``unclear`` ones the differences contradict one another (a
    module that computes in lower precision, or jumps). It lies at ``where``: autograd says ``autograd``, the
    differences ``numeric``. ``where`` is empty for the tensor as a whole, which is moved once along a random direction,
    so that entries that were not drawn count too."""

    name: str
    kind: Literal["input", "parameter"]
    shape: tuple[int, ...]
    checked: int
    kinks: int
    unclear: int
    error: float
    where: tuple[int, ...]
    autograd: float
    numeric: float
    wrong: bool


class GradientCheck(Record, frozen=True, kw_only=True):
    """What the check of a module found; ``evaluations`` counts its forward passes."""

    subject: str
    rows: tuple[GradientRow, ...]
    tolerance: float
    training: bool
    seed: int
    evaluations: int
    skipped: tuple[str, ...] = ()  # tensors that cannot have a gradient, with the reason

    @property
    def wrong(self) -> tuple[GradientRow, ...]:
        return tuple(row for row in self.rows if row.wrong)

    @property
    def error(self) -> float:
        """The largest of all."""
        return max((row.error for row in self.rows), default=0.0)


class _Verdict(NamedTuple):
    error: float
    numeric: float
    undecided: Literal["", "kink", "unclear"]


def check_gradients(
    module: nn.Module,
    example: Any,
    *,
    entries: int = ENTRIES,
    most: int = 1000,
    batch: int = 4,
    seed: int = 0,
    training: bool | None = None,
    tolerance: float = TOLERANCE,
) -> GradientCheck:
    """Compare autograd's gradients of ``module`` with finite differences, for its inputs and all its parameters.

    ``example`` is a shape without the batch, an ``InputSpec``, a tensor with its batch, or a sequence or mapping of
    these; shapes are filled from a standard normal distribution, those of integers with 0 and 1. ``training`` decides
    the mode, None leaves it as it is; dropout draws the same mask every time. Up to ``entries`` of each tensor are
    checked, fewer where that would be more than ``most`` in all (at least one each).

    Everything happens on a copy in float64 on the processor, frozen parameters included; the module is not touched.
    Cost: two forward passes an entry. Raises ``NetworkError`` for a module that cannot be copied, does not run in
    double precision, gives no gradient or gives another output when it is called again.
    """
    try:
        copied = copy.deepcopy(module).to(device="cpu", dtype=torch.float64)
    except Exception as error:
        raise NetworkError(
            type(module).__name__, f"a module that cannot be copied ({str(error).splitlines()[0]})", "one that can",
            "a module without tensors that were computed from others as attributes",
        ) from error  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    with _in_double(seed):
        if training is not None:
            copied.train(training)
        args, kwargs = _inputs(example, batch, generator)
        return _Checker(copied, args, kwargs, generator, seed).checked(type(module).__name__, entries, most, tolerance)


@contextlib.contextmanager
def _in_double(seed: int) -> Iterator[None]:
    """Numbers that the module makes itself are in double precision; the random state is put back afterwards."""
    default, state = torch.get_default_dtype(), torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(default)
        torch.set_rng_state(state)


def _inputs(example: Any, batch: int, generator: torch.Generator) -> tuple[list[Any], dict[str, Any]]:
    def drawn(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if dtype.is_floating_point:
            return torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.randint(0, 2, shape, generator=generator).to(dtype)

    positional, named = arguments(example, batch, drawn)
    return mapped(positional, _double), mapped(named, _double)


def _double(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor


def _named(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in an input, by the names that the graph has."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _named(f"{name}.{key}", item)


class _Checker:
    def __init__(
        self, module: nn.Module, args: list[Any], kwargs: dict[str, Any], generator: torch.Generator, seed: int
    ) -> None:
        self.module, self.args, self.kwargs, self.generator, self.seed = module, args, kwargs, generator, seed
        self.buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
        self.evaluations = 0
        self.weights: list[Tensor] = []

    def run(self) -> list[Tensor]:
        """The module's floating outputs, from the same random numbers and buffers every time."""
        self.evaluations += 1
        torch.manual_seed(self.seed)
        with torch.no_grad():
            for buffer, value in self.buffers:
                buffer.copy_(value)
        with saying_where(self.module):
            result = self.module(*mapped(self.args, Tensor.clone), **mapped(self.kwargs, Tensor.clone))
        return [tensor for tensor in tensors(result) if tensor.is_floating_point()]

    def values(self) -> list[Tensor]:
        with torch.no_grad():
            return [output.detach().clone() for output in self.run()]

    def checked(self, subject: str, entries: int, most: int, tolerance: float) -> GradientCheck:
        wanted, skipped = self._tensors()
        outputs = self.run()
        if not any(output.requires_grad for output in outputs):
            raise NetworkError(
                subject, "an output without a gradient", "a floating output that depends on inputs or parameters"
            )
        self.weights = [torch.randn(output.shape, generator=self.generator) for output in outputs]
        self.start = [output.detach().clone() for output in outputs]
        scale = math.sqrt(sum(float((w * y).square().sum()) for w, y in zip(self.weights, self.start, strict=True)))
        self.noise = ROUNDING * max(scale, 1e-300)
        total = sum((weight * output).sum() for weight, output in zip(self.weights, outputs, strict=True))
        assert isinstance(total, Tensor)
        try:
            found = torch.autograd.grad(total, [tensor for _, _, tensor in wanted], allow_unused=True)
        except RuntimeError as error:
            raise NetworkError(
                subject, f"a backward pass that fails ({str(error).splitlines()[0]})", "one that runs"
            ) from error
        again = self.run()
        if len(again) != len(outputs) or any(not torch.equal(a, b) for a, b in zip(outputs, again, strict=True)):
            raise NetworkError(
                subject, "another output from the same input", "a module that repeats itself",
                "--eval, or a module that draws its random numbers from torch's global generator",
            )  # fmt: skip
        each = max(1, min(entries, most // max(len(wanted), 1)))
        rows = [
            self._row(kind, name, tensor, gradient, each, tolerance)
            for (kind, name, tensor), gradient in zip(wanted, found, strict=True)
        ]
        return GradientCheck(
            subject=subject, rows=tuple(rows), tolerance=tolerance, training=self.module.training, seed=self.seed,
            evaluations=self.evaluations, skipped=tuple(skipped),
        )  # fmt: skip

    def _tensors(self) -> tuple[list[tuple[Literal["input", "parameter"], str, Tensor]], list[str]]:
        found: list[tuple[Literal["input", "parameter"], str, Tensor]] = []
        skipped = []
        given = [(f"input{place or ''}", value) for place, value in enumerate(self.args)] + list(self.kwargs.items())
        for name, value in (pair for each in given for pair in _named(*each)):
            if value.is_floating_point() and value.numel():
                found.append(("input", name, value.requires_grad_()))
            else:
                skipped.append(f"{name}: {str(value.dtype).removeprefix('torch.')}")
        for name, parameter in self.module.named_parameters():
            if nn.parameter.is_lazy(parameter):
                raise NetworkError(name, "a lazy parameter", "one with a shape", "run the module once before")
            if parameter.is_floating_point() and parameter.numel():
                found.append(("parameter", name, parameter.requires_grad_()))
        return found, skipped

    def _row(
        self,
        kind: Literal["input", "parameter"],
        name: str,
        tensor: Tensor,
        gradient: Tensor | None,
        entries: int,
        tolerance: float,
    ) -> GradientRow:
        values = tensor.detach()
        given = torch.zeros_like(values) if gradient is None else gradient.detach()
        count = min(entries, tensor.numel())
        chosen = torch.randperm(tensor.numel(), generator=self.generator)[:count].tolist()
        largest = float(given.abs().max())
        worst, where, claimed = _Verdict(0.0, 0.0, ""), (0,) * tensor.dim(), 0.0
        undecided: list[str] = []
        for place in (*chosen, None):
            if place is None:  # all entries together
                direction = torch.randn(values.shape, generator=self.generator)
                index: tuple[int, ...] = ()
                size = 1.0
                scale = largest * math.sqrt(tensor.numel())
            else:
                direction = torch.zeros_like(values)
                direction.view(-1)[place] = 1.0
                index = tuple(int(i) for i in np.unravel_index(place, values.shape))
                size, scale = max(1.0, abs(float(values[index]))), largest
            expected = float((given * direction).sum())
            verdict = self._judge(tensor, direction, expected, size, scale, tolerance)
            if verdict.undecided:
                undecided += [verdict.undecided] if index or tensor.dim() == 0 else []
            elif place == chosen[0] or (verdict.error > worst.error and (index or worst.error <= tolerance)):
                worst, where, claimed = verdict, index, expected  # an entry that is wrong says more than all together
        return GradientRow(
            name=name, kind=kind, shape=tuple(values.shape), checked=count, kinks=undecided.count("kink"),
            unclear=undecided.count("unclear"), error=worst.error, where=where, autograd=claimed,
            numeric=worst.numeric, wrong=worst.error > tolerance,
        )  # fmt: skip

    def _judge(
        self, tensor: Tensor, direction: Tensor, expected: float, size: float, scale: float, tolerance: float
    ) -> _Verdict:
        """The relative error of ``expected`` as the derivative along ``direction``."""
        slopes: dict[float, tuple[float, float]] = {}

        def numeric(relative: float) -> float:
            if relative not in slopes:
                slopes[relative] = self._slopes(tensor, direction, relative * size)
            return sum(slopes[relative]) / 2

        def error(relative: float) -> float:
            return self._error(expected, numeric(relative), scale, self.noise / (relative * size))

        if error(STEP) <= tolerance:
            return _Verdict(error(STEP), numeric(STEP), "")
        # What changes with the step is the function's doing: it bends, or has a kink near by. A smaller step decides.
        # What does not is autograd's, or a kink at this very point, where the slopes on both sides stay apart.
        for larger, smaller in itertools.pairwise((STEP, *SMALLER)):
            noise = self.noise / (smaller * size)
            if self._error(numeric(larger), numeric(smaller), scale, noise) > tolerance:
                if error(smaller) <= tolerance:
                    return _Verdict(error(smaller), numeric(smaller), "")
                continue
            apart, closer = (abs(right - left) for left, right in (slopes[larger], slopes[smaller]))
            slack = 4 * noise + tolerance * max(*map(abs, slopes[larger]), FLOOR * scale)
            kink = closer > max(0.5 * apart, slack)
            return _Verdict(error(larger), numeric(larger), "kink" if kink else "")
        return _Verdict(error(SMALLER[-1]), numeric(SMALLER[-1]), "unclear")

    def _slopes(self, tensor: Tensor, direction: Tensor, step: float) -> tuple[float, float]:
        """(f(θ) − f(θ − h)) / h and (f(θ + h) − f(θ)) / h; differences are taken before the sum, which loses least."""
        start = tensor.detach().clone()
        slopes = []
        for sign in (-1, 1):
            with torch.no_grad():
                tensor.copy_(start + sign * step * direction)
            try:
                moved = self.values()
            finally:
                with torch.no_grad():
                    tensor.copy_(start)
            change = sum(
                float((weight * (after - before)).sum())
                for weight, after, before in zip(self.weights, moved, self.start, strict=True)
            )
            slopes.append(sign * change / step)
        return slopes[0], slopes[1]

    @staticmethod
    def _error(expected: float, numeric: float, scale: float, noise: float) -> float:
        if not (math.isfinite(expected) and math.isfinite(numeric)):
            return 0.0 if expected == numeric else math.inf
        difference = max(0.0, abs(expected - numeric) - noise)
        return difference / max(abs(expected), abs(numeric), FLOOR * scale) if difference else 0.0
