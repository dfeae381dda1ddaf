"""What is done to the weights after each step: the proximal step of an L1 penalty, and projections.

They stand behind the optimiser's own step as a hook of PyTorch's, so that the loop and any optimiser stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from netwright.errors import RecipeError
from netwright.nn.refitting import LAYERS
from netwright.recipe.schema import FULL_BATCH, Train

CONSTRAINTS = ("none", "non-negative", "unit-norm")
_ATTACHED = "_netwright_constraints"


def attach(optimizer: torch.optim.Optimizer, network: nn.Module, options: Train) -> None:
    """Have ``optimizer`` keep to ``l1``, ``max_norm`` and ``constraint`` of the recipe; what it kept before goes.

    ``l1``: w ← sign(w) max(0, |w| − η λ) on every weight of two axes or more, η the group's rate: zeros are zeros
    (Duchi and Singer 2009). ``max_norm``: no unit's incoming weights longer than that (Srivastava et al. 2014, 5.1).
    Biases and norm scales are free. Costs a pass over the weights a step each.
    """
    old = getattr(optimizer, _ATTACHED, None)
    if old is not None:
        old.remove()
        delattr(optimizer, _ATTACHED)
    wished = {"train.l1": options.l1, "train.max_norm": options.max_norm, "train.constraint": options.constraint}
    wished = {key: value for key, value in wished.items() if value not in (0, "none")}
    if not wished:
        return
    key, value = next(iter(wished.items()))
    if options.optimizer in FULL_BATCH and options.optimizer != "rprop":
        raise RecipeError(
            key, f"{value} with {options.optimizer}", "a method without a line search, which would undo it",
            "--set train.optimizer=rprop",
        )  # fmt: skip
    if options.max_norm and options.constraint == "unit-norm":
        raise RecipeError("train.max_norm", f"{options.max_norm} with unit-norm", "one of them")
    weights = incoming(network)

    def after(stepped: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        with torch.no_grad():
            if options.l1:
                for group in stepped.param_groups:
                    for parameter in group["params"]:
                        if parameter.ndim > 1:
                            parameter.copy_(functional.softshrink(parameter, float(group["lr"]) * options.l1))
            for weight, axis in weights:
                project(weight, axis, options.max_norm, options.constraint)

    setattr(optimizer, _ATTACHED, optimizer.register_step_post_hook(after))


def project(weight: Tensor, axis: int, max_norm: float = 0.0, constraint: str = "none") -> None:
    """Put ``weight`` on the nearest point of the set, in place; units lie along ``axis``."""
    if constraint == "non-negative":
        weight.clamp_(min=0)
    if max_norm or constraint == "unit-norm":
        others = [each for each in range(weight.ndim) if each != axis]
        length = torch.linalg.vector_norm(weight, dim=others, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
        if constraint == "unit-norm":
            weight.div_(length)
        else:
            weight.mul_((max_norm / length).clamp_max(1.0))


def incoming(network: nn.Module) -> list[tuple[Tensor, int]]:
    """The weights of dense layers and convolutions that learn, each with the axis of its units, shared ones once.

    A weight that is computed from one other of its shape (noise, a mask) counts as that one; weight norm has a length
    of its own and is left alone.
    """
    found: dict[int, tuple[Tensor, int]] = {}
    for module in network.modules():
        if isinstance(module, LAYERS):
            weight: Any = module.weight
            if parametrize.is_parametrized(module, "weight"):
                weight = getattr(module.parametrizations.weight, "original", None)  # type: ignore[union-attr]
            if weight is not None and weight.requires_grad:
                axis = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
                found.setdefault(id(weight), (weight, axis))
    return list(found.values())
