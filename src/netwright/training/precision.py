"""Number formats of forward and backward: fp32, bf16 (autocast), fp16 (autocast with loss scaling, on a GPU)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from netwright.errors import RecipeError


class Precision:
    """Casts the forward pass; where losses are scaled, scales, unscales and skips steps with overflow."""

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "fp16" and device.type == "cpu":
            raise RecipeError("train.precision", "fp16 on a processor", "fp32 or bf16", "--set train.precision=bf16")
        self.name = name
        self._device = device.type
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def cast(self) -> contextlib.AbstractContextManager[Any]:
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device, dtype=self._dtype)

    def backward(self, loss: torch.Tensor) -> None:
        if self.name == "fp16":
            loss = self.scaler.scale(loss)
        loss.backward()

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: list[torch.nn.Parameter],
        clip: float,
        closure: Callable[[], torch.Tensor] | None = None,
    ) -> None:
        """Clip the gradients' norm to ``clip`` (0: as they are) and step; ``closure``: for those that ask again."""
        if self.name == "fp16":
            self.scaler.unscale_(optimizer)
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        if self.name == "fp16":
            self.scaler.step(optimizer)
            self.scaler.update()
        elif closure is not None:
            optimizer.step(closure)  # type: ignore[arg-type]
        else:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self.scaler.load_state_dict(state)
