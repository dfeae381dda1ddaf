"""A change in words for a user's own script, and as keys of a recipe where they can say it. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from netwright.observations.experiments import Change
from netwright.records import plural

FACTORS = ("learning-rate", "batch-size", "epochs")  # changed by numbers that multiply


def in_words(change: Change) -> str:
    """What to change in a script, one sentence."""
    value = change.value
    where = f" in {change.layer}" if change.layer else ""
    to = value.get("to") if isinstance(value, dict) else None
    match change.kind:
        case "learning-rate":
            return f"learning rate {to:g}" if to is not None else f"learning rate times {value:g}"
        case "optimizer":
            named = value if isinstance(value, dict) else {"kind": value}
            rate = f" with lr={named['lr']:g}" if "lr" in named else " with its usual rate"
            return f"torch.optim: {named['kind']}{rate}"
        case "batch-size":
            return f"batches of {to}" if to is not None else f"batch size times {value:g}"
        case "epochs":
            return plural(to, "epoch") if to is not None else f"{value:g} times the epochs"
        case "weight-decay":
            return f"weight_decay={value or 0:g}"
        case "dropout":
            return f"nn.Dropout({value or 0:g}) in place of every dropout"
        case "clip":
            return f"torch.nn.utils.clip_grad_norm_(model.parameters(), {value or 1:g}) before optimizer.step()"
        case "warm-up":
            return f"let the rate rise linearly over the first {value or 0.1:.0%} of the steps"
        case "activation":
            return f"{value} in place of the other hidden activations{where}"
        case "nonlinearity":
            return f"{value or 'relu'} after every hidden layer that has no activation"
        case "output":
            return "no activation at the output" if value == "identity" else f"{value} at the output"
        case "output-units":
            return f"{plural(value, 'unit')} in the last layer"
        case "loss":
            if value in ("cross-entropy", "binary-cross-entropy"):
                return f"{value} of logits as loss, no activation at the output"
            return f"{value} error as loss"
        case "norm":
            return f"{value or 'batch'} norm before every hidden activation"
        case "depth":
            return f"at most {value or 3} layers of the same shape in a row"
        case "width":
            return f"hidden layers {value or 4:g} times as wide"
        case "initialization":
            named = {"auto": "He's before ReLU, Xavier's elsewhere, zero biases", "default": "PyTorch's default"}
            return f"initial weights: {named.get(value or 'auto', value)}"
        case _:
            return _FIXED.get(change.kind, change.kind)


_FIXED = {
    "shuffle": "shuffle the training examples every epoch",
    "clear-gradients": "optimizer.zero_grad() before every backward()",
    "standardize-inputs": "inputs (x - mean) / deviation, both measured on the training part, for all parts",
    "standardize-targets": "targets (y - mean) / deviation, both measured on the training part; undo it in predictions",
    "same-preprocessing": "the same preprocessing for training and held-out inputs",
    "drop-bad-rows": "leave out examples with NaN or infinity",
    "drop-duplicates": "leave out repeated examples",
    "balance-classes": "draw every class as often (WeightedRandomSampler)",
    "loss-mean": "the mean, not the sum, of the loss over a batch",
    "train-all": "every parameter requires a gradient and is in the optimiser",
    "group-norm": "group or layer norm in place of batch norm",
    "residual": "x + layer(x) around layers of equal input and output shape",
    "usual-settings": "usual settings throughout",
}


def together(changes: Iterable[Change]) -> list[Change]:
    """The changes with factors of the same thing multiplied, in the place of the first."""
    found: list[Change] = []
    for change in changes:
        places = (
            place for place, known in enumerate(found) if (known.kind, known.layer) == (change.kind, change.layer)
        )
        place = next(places, None)
        factors = change.kind in FACTORS and isinstance(change.value, int | float)
        if place is not None and factors and isinstance(found[place].value, int | float):
            found[place] = msgspec.structs.replace(change, value=found[place].value * change.value)
        else:
            found.append(change)
    return found


def recipe_change(change: Change, recipe: dict[str, Any] | None = None) -> dict[str, Any]:
    """The change as keys of a recipe; empty where no key says it. Factors need ``recipe``, the resolved values by key
    (``train.lr``, ``train.batch_size``, ``train.epochs``)."""
    known, value = recipe or {}, change.value
    scaled = {"learning-rate": "train.lr", "batch-size": "train.batch_size", "epochs": "train.epochs"}
    if change.kind in scaled:
        key = scaled[change.kind]
        if isinstance(value, dict):
            return {key: value["to"]}
        if not isinstance(known.get(key), float | int):
            return {}
        number = known[key] * value
        return {key: number if key == "train.lr" else max(1, round(number))}
    match change.kind:
        case "optimizer":
            named = value if isinstance(value, dict) else {"kind": value}
            return {"train.optimizer": named["kind"], "train.lr": named.get("lr", "auto")}
        case "weight-decay":
            return {"train.weight_decay": float(value or 0.0)}
        case "dropout":
            return {"network.dropout": float(value or 0.0)}
        case "standardize-inputs":
            return {"data.normalize": True}
        case "activation" if not change.layer:
            return {"network.activation": value}
        case "norm":
            return {"network.norm": value or "batch"}
        case "group-norm":
            return {"network.norm": "group"}
        case "initialization":
            return {"network.init": "he" if value in (None, "auto") else value}
        case "clip":
            return {"train.clip": float(value or 1.0)}
        case "balance-classes":
            return {"objective.class_weights": "balanced"}
        case "loss":
            return {"objective.loss": value}
        case "warm-up":
            epochs = known.get("train.epochs")
            return {"train.warmup": float(epochs) * float(value or 0.1)} if epochs else {}
        case "width" if isinstance(known.get("network.width"), int):
            return {"network.width": round(known["network.width"] * float(value or 4))}
        case "depth" if isinstance(known.get("network.depth"), int):
            return {"network.depth": int(value or 3)}
        case _:
            return {}
