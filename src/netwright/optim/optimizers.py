"""Recipe → optimiser, with weight decay where it belongs and PyTorch's fastest exact implementation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from netwright.errors import RecipeError, nearest
from netwright.optim.conjugate_gradient import ConjugateGradient
from netwright.optim.lbfgs import LBFGS
from netwright.optim.newton_cg import NewtonCG
from netwright.optim.whole import WholeOptimizer
from netwright.recipe.schema import FULL_BATCH, OPTIMIZERS, Train

# PyTorch's fused kernels update all parameters in one call each. Measured on one core, LeNet-5 / 17 convolutions with
# norms / 2 million weights, in µs a step: SGD with momentum 561 → 142 / 4849 → 1192 / 14270 → 4267, AdamW 4593 → 614 /
# 14053 → 3784 / 50318 → 14690. Two runs give the same bits. RMSprop and AdaDelta have none; their `foreach` takes
# between as long and 0.6 of it.
FUSED = ("sgd", "momentum", "nesterov", "adagrad", "adam", "adamw")
FUSED_DEVICES = ("cpu", "cuda")
HISTORY = 20  # pairs that L-BFGS remembers, and directions that it takes a step


def build(network: nn.Module | Iterable[dict[str, Any]], options: Train) -> torch.optim.Optimizer:
    """The optimiser of ``options`` over a network's trainable parameters, or over groups that are ready.

    ``momentum`` is the momentum of ``momentum`` and ``nesterov`` and β₁ of Adam; plain ``sgd`` has none. Adam takes
    ``weight_decay`` as L2 (Kingma and Ba 2015), AdamW decoupled (Loshchilov and Hutter 2019), all others as L2.
    Raises ``RecipeError`` for a rate that is not known yet.
    """
    if not isinstance(options.lr, float | int):
        raise RecipeError(
            "train.lr", repr(options.lr), "a number; what is automatic is resolved before", "--set train.lr=0.001"
        )
    ready = groups(network, options) if isinstance(network, nn.Module) else list(network)
    decay = options.weight_decay if isinstance(options.weight_decay, float | int) else 0.0
    shared: dict[str, Any] = {"lr": float(options.lr), "weight_decay": float(decay), **_implementation(options, ready)}
    betas = options.momentum, options.beta2
    if options.optimizer in FULL_BATCH:
        _require_plain(options)
        shared.pop("weight_decay")
    match options.optimizer:
        case "sgd":
            return torch.optim.SGD(ready, **shared)
        case "momentum":
            return torch.optim.SGD(ready, momentum=options.momentum, **shared)
        case "nesterov":
            if not options.momentum:
                raise RecipeError("train.momentum", "0 with nesterov", "more than 0", "--set train.optimizer=sgd")
            return torch.optim.SGD(ready, momentum=options.momentum, nesterov=True, **shared)
        case "adagrad":
            return torch.optim.Adagrad(ready, **shared)
        case "rmsprop":
            return torch.optim.RMSprop(ready, **shared)
        case "adam":
            return torch.optim.Adam(ready, betas=betas, **shared)
        case "adamw":
            return torch.optim.AdamW(ready, betas=betas, **shared)
        case "adadelta":
            return torch.optim.Adadelta(ready, **shared)
        case "nadam":
            return torch.optim.NAdam(ready, betas=betas, **shared)
        case "radam":
            return torch.optim.RAdam(ready, betas=betas, **shared)
        case "adamax":
            return torch.optim.Adamax(ready, betas=betas, **shared)
        case "rprop":
            return torch.optim.Rprop(ready, **shared)
        case "lbfgs":
            return LBFGS(
                ready, lr=float(options.lr), max_iter=HISTORY, history_size=HISTORY, line_search_fn="strong_wolfe"
            )
        case "cg":
            return ConjugateGradient(ready, lr=float(options.lr))
        case "cg-hs":
            return ConjugateGradient(ready, lr=float(options.lr), beta="hestenes-stiefel")
        case "newton-cg":
            return NewtonCG(ready, lr=float(options.lr))
        case other:
            raise RecipeError("train.optimizer", repr(other), f"one of {', '.join(OPTIMIZERS)}")


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step asks for the loss again, at other weights."""
    return isinstance(optimizer, WholeOptimizer | torch.optim.LBFGS)


def _require_plain(options: Train) -> None:
    """What does not go with a method of the whole training part, whose steps follow one function exactly."""
    name, searching = options.optimizer, options.optimizer != "rprop"
    if options.weight_decay not in ("auto", 0):
        raise RecipeError(
            "train.weight_decay", f"{options.weight_decay} with {name}", "0", "--set train.weight_decay=0"
        )
    if options.decay_layers:
        raise RecipeError("train.decay_layers", f"decay with {name}", "none", "another train.optimizer")
    if searching and options.clip:
        raise RecipeError("train.clip", f"{options.clip} with {name}", "0: its line search needs the gradient itself")
    if searching and options.precision != "fp32":
        raise RecipeError(
            "train.precision", f"{options.precision} with {name}", "fp32: a line search compares losses exactly",
            "--set train.precision=fp32",
        )  # fmt: skip


def groups(network: nn.Module, options: Train) -> list[dict[str, Any]]:
    """The trainable parameters, weights apart from biases and norm scales (one axis or none), which do not decay.

    One group where nothing decays or ``decay_all`` is set; one more for each decay of ``decay_layers``, where the
    longest name that fits rules. A parameter that two modules share is there once.
    """
    trainable = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise RecipeError("network", "no trainable parameter", "at least one", "unfreeze a layer")
    usual = float(options.weight_decay) if isinstance(options.weight_decay, float | int) else 0.0
    own = options.decay_layers
    if not own and (options.decay_all or not usual):
        return [{"params": list(trainable.values())}]
    for layer in own:
        if not any(_inside(name, layer) for name in trainable):
            known = [
                name for name, module in network.named_modules() if name and next(module.parameters(), None) is not None
            ]
            raise RecipeError(
                f"train.decay_layers.{layer}", "no module with trainable weights", "a module of the network",
                nearest(layer, known) or ", ".join(known[:6]),
            )  # fmt: skip
    found: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trainable.items():
        decay = own[max(fits, key=len)] if (fits := [layer for layer in own if _inside(name, layer)]) else usual
        found.setdefault(decay if parameter.ndim > 1 or options.decay_all else 0.0, []).append(parameter)
    made = [
        {"params": held} if decay == usual else {"params": held, "weight_decay": decay} for decay, held in found.items()
    ]
    return sorted(made, key=lambda group: "weight_decay" in group)


def _inside(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _implementation(options: Train, ready: list[dict[str, Any]]) -> dict[str, bool]:
    tensors = []
    for group in ready:
        group["params"] = [group["params"]] if isinstance(group["params"], torch.Tensor) else list(group["params"])
        tensors += group["params"]
    if options.optimizer in FUSED and all(p.is_floating_point() and p.device.type in FUSED_DEVICES for p in tensors):
        return {"fused": True}
    return {"foreach": all(p.device.type in FUSED_DEVICES for p in tensors)}
