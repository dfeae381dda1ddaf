"""PyTorch's functions that are written in Python, with their inside in the open."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from netwright.graph.operations import PYTHON_LEAVES

_open: dict[Any, Callable[..., Any] | None] = {}
_NO = {
    name: lambda *_: False for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
}


def opened(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """PyTorch's own Python functions, to be run with the tracer on, so that what they call is seen.

    Such a function asks ``has_torch_function`` first and hands itself over; its copy here is told that there is
    nothing to hand over to, so that it runs its own body.
    """
    if function in _open:
        return _open[function]
    found = None
    if (
        isinstance(function, types.FunctionType)
        and function.__module__ in ("torch.nn.functional", "torch._tensor", "torch.functional")
        and function.__name__ not in PYTHON_LEAVES
        and function.__closure__ is None
    ):
        found = types.FunctionType(
            function.__code__, {**function.__globals__, **_NO}, function.__name__, function.__defaults__
        )
        found.__kwdefaults__ = function.__kwdefaults__
    _open[function] = found
    return found
