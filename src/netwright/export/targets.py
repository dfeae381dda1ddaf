"""The targets, by name. No torch."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from netwright.errors import MissingExtraError, UsageError, unknown_name
from netwright.export import litert, mace, ncnn, onnx, torchscript
from netwright.export.target import Precision, Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (onnx.TARGET, ncnn.TARGET, litert.TARGET, mace.TARGET, torchscript.TARGET)
}


class Wanted(NamedTuple):
    """A target with the precision of its file; ``str`` is what names it: ``onnx``, ``onnx-int8``."""

    target: Target
    precision: Precision

    def __str__(self) -> str:
        return self.target.name if self.precision == "float32" else f"{self.target.name}-{self.precision}"


def names() -> list[str]:
    return [str(Wanted(target, precision)) for target in TARGETS.values() for precision in target.precisions]


def wanted(text: str) -> Wanted:
    """``onnx-int8`` as a target and a precision. Raises ``UsageError`` for what there is not."""
    name, _, precision = text.partition("-")
    if name not in TARGETS:
        raise unknown_name("target", text, names(), UsageError)
    target = TARGETS[name]
    precision = precision or "float32"
    if precision not in target.precisions:
        have = [str(Wanted(target, each)) for each in target.precisions]
        raise UsageError("target", repr(text), ", ".join(have), have[-1] if precision else have[0])
    return Wanted(target, precision)


def missing(target: Target) -> list[str]:
    """The modules that its runtime needs and that are not installed."""
    return [module for module in target.modules if importlib.util.find_spec(module) is None]


def require(target: Target) -> None:
    """Raises ``MissingExtraError`` with the command that installs what the target needs."""
    if missing(target):
        raise MissingExtraError(f"export {target.name}", extra=target.extra)
