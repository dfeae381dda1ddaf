"""L-BFGS, PyTorch's own, for networks of any memory layout."""

from __future__ import annotations

import torch
from torch import Tensor


class LBFGS(torch.optim.LBFGS):
    """`torch.optim.LBFGS` (Nocedal and Wright 2006, algorithm 7.5), whose flat gradient takes channels-last ones too:
    PyTorch's asks for a view, which they do not have."""

    def _gather_flat_grad(self) -> Tensor:
        own: list[Tensor] = self._params
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad.to_dense()).reshape(-1) for p in own])
