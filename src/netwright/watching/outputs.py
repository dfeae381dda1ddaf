"""What becomes of the last layer's values on the way out of a network: made-up values are put in their place.

So a softmax is a softmax wherever it is written (a module, a function, by hand), and bounds are bounds whatever the
activation is called.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from netwright.watching.behaviour import REFERENCES

ROWS = 8
SCALES = (0.3, 3.0, 30.0, 1e3, 1e4)  # of the made-up values: what is bounded does not grow with the last step
CLOSE = {"rtol": 1e-3, "atol": 1e-4}
GROWN = 0.05  # relative growth over the last tenfold step that is still called a bound


class Tail(NamedTuple):
    """``activation``: a name of `behaviour.REFERENCES`, softmax, log_softmax, ``identity`` (affine), or ``other``.

    ``lowest``, ``highest``: bounds of what can come out, None for none. ``constant``: always the same comes out.
    """

    activation: str
    lowest: float | None = None
    highest: float | None = None
    constant: bool = False


def tail(network: nn.Module, example: Tensor) -> Tail | None:
    """The way from the last layer with weights to the output of ``network``, a copy that may be run; None where it
    cannot be told (no such layer, its output is no tensor, or the output does not come from it)."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            rows = torch.arange(ROWS, device=example.device) % len(example)
            return _tail(network, example[rows])
    finally:
        for module, mode in modes:
            module.training = mode


def _tail(network: nn.Module, example: Tensor) -> Tail | None:
    last: list[tuple[nn.Module, Any, int]] = []
    counts: dict[nn.Module, int] = {}

    def note(module: nn.Module, given: Any, output: Any) -> None:
        counts[module] = counts.get(module, 0) + 1
        last[:] = [(module, output, counts[module])]

    weighted = [module for module in network.modules() if any(p.ndim >= 2 for p in module.parameters(recurse=False))]
    hooks = [module.register_forward_hook(note) for module in weighted]
    try:
        network(example)
    finally:
        for hook in hooks:
            hook.remove()
    if not last or not isinstance(last[0][1], Tensor) or not last[0][1].is_floating_point():
        return None
    module, output, times = last[0]
    calls = 0

    def through(values: Tensor) -> Tensor | None:
        def replace(module: nn.Module, given: Any, output: Any) -> Any:
            nonlocal calls
            calls += 1
            return values if calls == times else output

        nonlocal calls
        calls = 0
        hook = module.register_forward_hook(replace)
        try:
            result = network(example)
        finally:
            hook.remove()
        return result.float() if isinstance(result, Tensor) else None

    make = torch.Generator().manual_seed(0)
    drawn = [torch.randn(output.shape, generator=make).to(output) for _ in range(2)]
    drawn[0][1::2] = -drawn[0][::2]  # both signs, also of one unit
    at = {scale: through(drawn[0] * scale) for scale in SCALES}
    first, second = at[3.0], through(drawn[1] * 3.0)
    if first is None or second is None or any(value is None for value in at.values()):
        return None
    known: dict[float, Tensor] = {scale: value for scale, value in at.items() if value is not None}
    if torch.equal(first, second):
        return _constant(first)
    lowest, highest = _bound(known, lowest=True), _bound(known, lowest=False)
    halfway = through((drawn[0] + drawn[1]) * 1.5)
    assert halfway is not None
    if torch.allclose(halfway, (first + second) / 2, **CLOSE):  # type: ignore[arg-type]
        return Tail("identity")
    return Tail(_name(first, drawn[0] * 3.0), lowest, highest)


def _constant(output: Tensor) -> Tail | None:
    """Of one unit a softmax always makes 1, its logarithm 0; anything else does not come from the layer."""
    if output.ndim and output.shape[-1] == 1:
        for name, value in (("softmax", 1.0), ("log_softmax", 0.0)):
            if bool((output == value).all()):
                return Tail(name, value, value, constant=True)
    return None


def _name(output: Tensor, given: Tensor) -> str:
    rows = row_kind(output)
    if rows:
        return {"probabilities": "softmax", "log-probabilities": "log_softmax"}[rows]
    if output.numel() == given.numel():
        flat = given.float().reshape(output.shape)
        for name, reference in REFERENCES.items():
            if torch.allclose(output, reference(flat), **CLOSE):  # type: ignore[arg-type]
                return name
    return "other"


def row_kind(output: Tensor) -> str:
    """``probabilities``: rows of two or more that sum to 1; ``log-probabilities``: logarithms of such; else nothing."""
    if not bool(torch.isfinite(output).all()):
        return ""
    for axis in {output.ndim - 1, min(1, output.ndim - 1)}:
        if output.ndim < 2 or output.shape[axis] < 2:
            continue
        if bool((output >= 0).all()) and torch.allclose(output.sum(axis), torch.ones(()).to(output), atol=1e-3):
            return "probabilities"
        if bool((output <= 0).all()) and torch.allclose(output.logsumexp(axis), torch.zeros(()).to(output), atol=1e-3):
            return "log-probabilities"
    return ""


def _bound(at: dict[float, Tensor], *, lowest: bool) -> float | None:
    ends = {scale: float(value.min() if lowest else -value.max()) for scale, value in at.items()}
    far = ends.pop(SCALES[-1])
    before = min(ends.values())
    if not math.isfinite(far) or not math.isfinite(before) or far < before - GROWN * abs(before) - 1e-3:
        return None
    bound = min(far, before)
    return bound if lowest else -bound
