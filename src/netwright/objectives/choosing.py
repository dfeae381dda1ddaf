"""Recipe and task → the objective."""

from __future__ import annotations

from collections.abc import Sequence

from netwright.errors import RecipeError
from netwright.objectives import classification, multilabel, regression
from netwright.objectives.objective import Constant, Loss, Objective
from netwright.recipe.schema import Objective as Options
from netwright.records import plural

FITTING = {
    "classification": ("cross-entropy", "binary-cross-entropy", "focal", "hinge", "kl", "squared"),
    "multi-label": ("binary-cross-entropy", "focal", "hinge"),
    "regression": ("squared", "absolute", "huber"),
}
SMOOTHED = ("cross-entropy", "binary-cross-entropy", "focal", "kl", "squared")
WEIGHTED = ("cross-entropy", "binary-cross-entropy", "focal", "hinge")


def objective(
    options: Options,
    task: str,
    outputs: int,
    *,
    class_counts: Sequence[float] | None = None,
    target_mean: Sequence[float] | None = None,
    target_std: Sequence[float] | None = None,
) -> Objective:
    """The objective that ``options`` names for ``task`` with ``outputs`` classes, labels or values.

    ``class_counts``: training examples a class, for balanced weights. ``target_mean`` and ``target_std``: of the
    training part's values; without them regression learns the targets as they are. An ``"auto"`` that is still there
    means the first fitting loss and no smoothing. Raises ``RecipeError`` where options and task do not fit.
    """
    if task not in FITTING:
        raise RecipeError("data.task", f"{task!r}", f"one of {', '.join(FITTING)}")
    name = FITTING[task][0] if options.loss == "auto" else options.loss
    if task == "classification" and options.loss == "auto" and outputs == 1:
        name = "binary-cross-entropy"
    _require_fit(name, task, outputs)
    smoothing = 0.0 if options.label_smoothing == "auto" else options.label_smoothing
    if smoothing and (task == "regression" or name not in SMOOTHED):
        raise _unused("label_smoothing", smoothing, name, task, "0")
    if options.class_weights != "none" and (task == "regression" or name not in WEIGHTED):
        raise _unused("class_weights", options.class_weights, name, task, "none")
    if task == "regression":
        return regression.Regression(
            name, outputs, _regression_loss(name, options), mean=_checked(target_mean, outputs),
            std=_checked(target_std, outputs),
        )  # fmt: skip
    if task == "multi-label":
        weights = _weights(options.class_weights, outputs, None)
        return multilabel.MultiLabel(name, outputs, _label_loss(name, options, smoothing, weights))
    classes = max(outputs, 2) if name == "binary-cross-entropy" else outputs
    weights = _weights(options.class_weights, classes, class_counts)
    return classification.Classification(
        name, outputs, _class_loss(name, options, classes, smoothing, weights),
        one_logit=name == "binary-cross-entropy" and classes == 2, top_k=options.top_k,
    )  # fmt: skip


def balanced(class_counts: Sequence[float]) -> list[float]:
    """Examples / (classes · examples of a class): training examples weigh 1 on average; an absent class gets 1."""
    total, present = sum(class_counts), sum(count > 0 for count in class_counts)
    return [total / (present * count) if count > 0 else 1.0 for count in class_counts]


def _regression_loss(name: str, options: Options) -> Loss:
    match name:
        case "absolute":
            return regression.absolute()
        case "huber":
            return regression.huber(options.huber_delta)
        case _:
            return regression.squared()


def _label_loss(name: str, options: Options, smoothing: float, weights: Constant | None) -> Loss:
    match name:
        case "focal":
            return multilabel.focal(options.focal_gamma, smoothing, weights)
        case "hinge":
            return multilabel.hinge(weights)
        case _:
            return multilabel.binary_cross_entropy(smoothing, weights)


def _class_loss(name: str, options: Options, classes: int, smoothing: float, weights: Constant | None) -> Loss:
    match name:
        case "binary-cross-entropy":
            return classification.binary_cross_entropy(classes, smoothing, weights)
        case "focal":
            return classification.focal(classes, options.focal_gamma, smoothing, weights)
        case "hinge":
            return classification.hinge(weights)
        case "kl":
            return classification.kl(classes, smoothing)
        case "squared":
            return classification.squared(classes, smoothing)
        case _:
            return classification.cross_entropy(smoothing, weights)


def _require_fit(name: str, task: str, outputs: int) -> None:
    fitting = FITTING[task]
    if name not in fitting:
        raise RecipeError(
            "objective.loss",
            f"{name!r} for {task}",
            f"one of {', '.join(fitting)}",
            f"--set objective.loss={fitting[0]}",
        )
    if outputs < 1 or (task == "classification" and outputs < 2 and name != "binary-cross-entropy"):
        raise RecipeError(
            "objective.loss", f"{name!r} over {outputs} output{'s' * (outputs != 1)}, which would always be right",
            "at least two classes", "--set objective.loss=binary-cross-entropy" if outputs == 1 else "",
        )  # fmt: skip


def _unused(key: str, value: object, name: str, task: str, neutral: str) -> RecipeError:
    return RecipeError(
        f"objective.{key}", f"{value!r} with {name} for {task}, which does not use it", neutral,
        f"--set objective.{key}={neutral}",
    )  # fmt: skip


def _weights(wanted: str | list[float], classes: int, counts: Sequence[float] | None) -> Constant | None:
    if wanted == "none":
        return None
    if wanted == "balanced":
        if counts is None or len(counts) != classes:
            raise RecipeError(
                "objective.class_weights",
                "'balanced' where the classes cannot be counted",
                f"a list of {classes} weights",
            )
        return Constant(balanced(counts))
    if len(wanted) != classes:
        raise RecipeError("objective.class_weights", plural(len(wanted), "weight"), f"{classes}, one a class")
    return Constant([float(weight) for weight in wanted])


def _checked(values: Sequence[float] | None, outputs: int) -> Sequence[float]:
    if values is None or len(values) == 0:
        return ()
    if len(values) != outputs:
        raise RecipeError("target statistics", plural(len(values), "value"), f"{outputs}, one a target")
    return values
