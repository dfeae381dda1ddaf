"""What every objective is: a loss with its metrics, its decisions and its checks of shape."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from netwright.errors import DataError, NetworkError
from netwright.objectives.metrics import LightMeter, Meter

Task = Literal["classification", "multi-label", "regression"]
HALF = (torch.bfloat16, torch.float16)


@dataclasses.dataclass(frozen=True)
class Loss:
    """``each``: outputs, targets → (N,); ``mean``: the same → the mean of those, where torch has it in one step."""

    each: Callable[[Tensor, Tensor], Tensor]
    mean: Callable[[Tensor, Tensor], Tensor]


def loss_of(each: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """The loss whose mean is the plain mean of ``each``."""
    return Loss(each, lambda outputs, targets: each(outputs, targets).mean())


class Constant:
    """A short vector of numbers, copied once to every device and type that asks for it."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = torch.tensor([float(value) for value in values], dtype=torch.float64)
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, tensor: Tensor) -> Tensor:
        key = tensor.device, tensor.dtype
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = self._values.to(tensor.dtype).to(tensor.device)
        return copy


class Objective(abc.ABC):
    """Loss, metrics and decisions of one task.

    Every method takes the network's raw outputs (logits, margins or normalised values). Outputs in half precision are
    widened to float32 first. A pair of shapes that would broadcast raises ``NetworkError`` instead: one comparison of
    shapes in Python a call, no look at the numbers.
    """

    task: Task

    def __init__(self, name: str, outputs: int, loss: Loss) -> None:
        self.name, self.outputs, self._loss = name, outputs, loss

    # ---- what is learned

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over the batch, a scalar with its gradient."""
        self.check(outputs, targets)
        try:
            return self._loss.mean(*self.prepared(outputs, targets))
        except IndexError as error:
            raise self._bad_label(error) from error

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """One an example, (N,); their mean is ``loss``."""
        self.check(outputs, targets)
        try:
            return self._loss.each(*self.prepared(outputs, targets))
        except IndexError as error:
            raise self._bad_label(error) from error

    @abc.abstractmethod
    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise ``NetworkError`` where the shapes do not belong together."""

    def prepared(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both as the loss takes them: outputs ``float32`` or wider, targets of the type and scale that go with it."""
        return (outputs.float() if outputs.dtype in HALF else outputs), targets

    # ---- what the outputs mean

    @abc.abstractmethod
    def probabilities(self, outputs: Tensor) -> Tensor:
        """The outputs as probabilities, or for values the values in their own unit."""

    @abc.abstractmethod
    def decide(self, outputs: Tensor) -> Tensor:
        """Class indices (N,), 0/1 labels (N, K), or values (N, K) in their own unit."""

    def predict(self, outputs: Tensor) -> Tensor:
        return self.decide(outputs)

    # ---- how good it is

    @abc.abstractmethod
    def meter(self) -> Meter:
        """A fresh meter of all metrics, for evaluation."""

    @abc.abstractmethod
    def light_meter(self) -> LightMeter:
        """A fresh meter of the loss and one metric, cheap enough for every training batch."""

    # ---- errors

    def _mismatch(self, outputs: Any, targets: Tensor, expected: str) -> NetworkError:
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        return NetworkError(
            "the network's output against the targets", f"{got} against {tuple(targets.shape)}", expected,
            "a last layer of that many units, and targets of that shape",
        )  # fmt: skip

    def _bad_label(self, error: IndexError) -> DataError:
        text = str(error).splitlines()[0]
        return DataError(
            "targets", text, f"class indices 0…{self.outputs - 1}", "netwright check, which names the examples"
        )
