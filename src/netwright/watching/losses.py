"""What a loss wants, told by what it does with made-up outputs and targets; its name and its class are not asked.

A loss on scores with a softmax inside does not change when a row of scores is shifted; a negative log-likelihood is
affine in its outputs; a loss on probabilities grows by the same amount with every further factor of ten by which the
probability of the right class falls; a loss on scores with a sigmoid inside falls towards a limit as the score of a
positive example grows; a distance is smallest where output and target are equal, at every target.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn

from netwright.observations import LossFacts

ROWS = 7  # made-up rows; the number of columns is another, so that a broadcast by chance stops
DEFAULT_CLASSES = 4
MOST_COLUMNS = 4096  # beyond that, made-up outputs have DEFAULT_CLASSES columns
EXACT = 1e-3  # relative; float32 sums of some thousand terms agree to about 1e-6
FAR = (1e4, 12.0)  # scores where a sigmoid has saturated; naive logarithms of it in float32 survive the second only
DISTANCE_TARGETS = (-3.0, -1.0, 0.0, 0.5, 2.0, 7.0)

Loss = Callable[[Any, Any], Any]
Form = Literal[
    "softmax", "log-likelihood", "cross-entropy", "sigmoid", "binary-cross-entropy", "squared", "absolute", "huber",
    "distance", "unknown",
]  # fmt: skip
Expects = Literal["logits", "log-probabilities", "probabilities", "values", "unknown"]
_EXPECTS: dict[Form, Expects] = {
    "softmax": "logits", "log-likelihood": "log-probabilities", "cross-entropy": "probabilities", "sigmoid": "logits",
    "binary-cross-entropy": "probabilities", "squared": "values", "absolute": "values", "huber": "values",
    "distance": "values", "unknown": "unknown",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Trial:
    """A way to call a loss: outputs (ROWS, columns) or (ROWS,), and targets as class numbers or of the outputs' shape.

    ``indices``: the shape of class-number targets; None where targets have the shape of the outputs.
    """

    columns: int
    flat: bool = False
    indices: tuple[int, ...] | None = None
    target_type: torch.dtype = torch.float32
    output_type: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    def classes(self) -> torch.Tensor:
        """Every class in turn, (ROWS,)."""
        return torch.arange(ROWS) % self.columns

    def call(self, loss: Loss, outputs: torch.Tensor, targets: torch.Tensor | None = None) -> float | None:
        """The loss as a number (its mean where it is not reduced); None where it cannot be called or is not finite.

        ``targets``: of the outputs' shape; None for the class numbers (or their one-hot rows) of `classes`.
        """
        made = self.targets(len(outputs)) if targets is None else targets.to(self.target_type)
        given = outputs[:, 0] if self.flat else outputs
        made = made[:, 0] if self.flat and made.shape == outputs.shape else made
        try:
            value = loss(given.to(self.output_type).to(self.device), made.to(self.device))
            number = float(torch.as_tensor(value).detach().double().mean())
        except Exception:  # whatever a user's loss raises: it cannot be called so
            return None
        return number if math.isfinite(number) else None

    def targets(self, rows: int = ROWS) -> torch.Tensor:
        classes = torch.arange(rows) % self.columns
        if self.indices is not None:
            return classes.reshape(rows, *self.indices).to(self.target_type)
        return nn.functional.one_hot(classes, self.columns).to(self.target_type)

    def filled(self, loss: Loss, output: float, target: float) -> float | None:
        """The loss where every output is ``output`` and every target ``target``."""
        shape = (ROWS, self.columns)
        return self.call(loss, torch.full(shape, output), torch.full(shape, target))


def describe(
    loss: Loss,
    targets: torch.Tensor | None = None,
    output_shape: Sequence[int] = (),
    data_task: str = "unknown",
) -> LossFacts:
    """The loss by its behaviour. ``targets``: some of the data's (N, …); ``output_shape``: of the network, with the
    batch; ``data_task``: what the targets alone look like. Costs about a hundred calls on seven rows.

    The loss is copied where it can be, so that state of its own is left as it was. A loss that answers the same
    question differently twice, or to no made-up question at all, is unknown.
    """
    name = type(loss).__name__ if isinstance(loss, nn.Module) else getattr(loss, "__name__", type(loss).__name__)
    own = _copied(loss)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that broadcast among the made-up ones
        found = _recognised(own, targets, output_shape)
        turned = found is None
        if found is None:
            original = own
            own = lambda outputs, targets: -original(outputs, targets)  # noqa: E731 - the same loss with its sign turned
            found = _recognised(own, targets, output_shape)
        if found is None:
            against = _rewards_opposites(_copied(loss), targets)
            return LossFacts(name=name, task=_task("unknown", data_task, output_shape), reversed=against)
        form, trial = found
        return LossFacts(
            name=name, expects=_EXPECTS[form], form=form, reduction=_reduction(own, trial),
            task=_task(form, data_task, output_shape), by_index=trial.indices is not None,
            negative=-1.0 if form == "sigmoid" and not _falls(own, trial, 0.0) else 0.0,
            reversed=turned or _rewards_errors(own, form, trial), class_weights=_class_weights(own, form, trial),
        )  # fmt: skip


def uninformed(facts: LossFacts, targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor | None:
    """Outputs like ``outputs`` of a network that knows nothing: even classes, or the mean of the targets; None where
    it is not known what the loss wants."""
    classes = max(1, _columns(outputs.shape))
    if facts.expects == "logits":
        return torch.zeros_like(outputs)
    if facts.expects == "log-probabilities":
        return torch.full_like(outputs, -math.log(classes))
    if facts.form == "binary-cross-entropy":
        return torch.full_like(outputs, 0.5)
    if facts.expects == "probabilities":
        return torch.full_like(outputs, 1 / classes)
    if facts.expects == "values" and targets.shape == outputs.shape:
        return targets.to(outputs.dtype).mean(0, keepdim=True).expand_as(outputs)
    if facts.expects == "values":
        return torch.full_like(outputs, float(targets.double().mean()))
    return None


# ------------------------------------------------------------------------------------------------ ways to call it


def _copied(loss: Loss) -> Loss:
    try:
        return copy.deepcopy(loss)
    except Exception:  # an open file, a lock: then it is called itself
        return loss


def _columns(output_shape: Sequence[int]) -> int:
    """Classes or values an example: the second axis where there are more (maps have their classes there)."""
    return 1 if len(output_shape) < 2 else int(output_shape[1 if len(output_shape) != 3 else -1])


def _trials(targets: torch.Tensor | None, output_shape: Sequence[int]) -> Iterator[Trial]:
    """Ways to call the loss, as the data does first. The number of columns is the network's, which a weight for every
    class needs; two are tried as well, because with one column a softmax has nothing to tell."""
    columns = _columns(output_shape) if output_shape else DEFAULT_CLASSES
    columns = columns if columns <= MOST_COLUMNS else DEFAULT_CLASSES
    type_ = targets.dtype if targets is not None else torch.float32
    device = targets.device if targets is not None else torch.device("cpu")
    whole = targets is not None and not targets.is_floating_point()
    column = targets is not None and targets.ndim == 2 and targets.shape[1] == 1
    outputs = torch.float64 if type_ == torch.float64 else torch.float32
    floats = type_ if type_.is_floating_point else outputs
    several = [columns] if columns > 1 else [2]
    if targets is not None and columns == 1:
        several.append(max(2, min(MOST_COLUMNS, int(targets.max()) + 1 if whole and len(targets) else 2)))
    by_shape = [Trial(n, target_type=floats, output_type=outputs, device=device) for n in dict.fromkeys((columns, 2))]
    by_shape += [Trial(1, flat, None, floats, outputs, device) for flat in (True, False)]
    by_index = [
        Trial(n, indices=shape, target_type=kind, output_type=outputs, device=device)
        for shape in (((1,), ()) if column else ((), (1,)))
        for kind in ((torch.int64, floats) if whole or not column else (floats, torch.int64))
        for n in dict.fromkeys(several)
    ]
    as_given = by_index[: len(set(several))] if whole else []
    yield from as_given + by_shape + by_index[len(as_given) :]


# ------------------------------------------------------------------------------------------------ what it does


def _recognised(loss: Loss, targets: torch.Tensor | None, output_shape: Sequence[int]) -> tuple[Form, Trial] | None:
    """The first way of calling it in which it does what a known form does."""
    for trial in _trials(targets, output_shape):
        form = _form(loss, trial)
        if form != "unknown":
            return form, trial
    return None


SCORE = 4.0  # of the class that is named; the others get 0: a probability of 0.93 among four


def _rewards_errors(loss: Loss, form: Form, trial: Trial) -> bool:
    """Whether it is lower where every row names a wrong class than where every row names the right one. All other
    forms are recognised by what they do near the target, sign and all."""
    if form not in ("softmax", "log-likelihood") or trial.columns < 2:
        return False
    classes = trial.classes()

    def naming(chosen: torch.Tensor) -> float | None:
        rows = SCORE * nn.functional.one_hot(chosen, trial.columns).float()
        return trial.call(loss, rows.log_softmax(1) if form == "log-likelihood" else rows)

    right, wrong = naming(classes), naming((classes + 1) % trial.columns)
    return right is not None and wrong is not None and right > wrong + EXACT * max(abs(right), abs(wrong))


DECIDED = 0.02  # how far from 0 and 1 an answer is that is right; a logarithm of it is finite


def _rewards_opposites(loss: Loss, targets: torch.Tensor | None) -> bool:
    """Of a loss of no known form, on targets of 0 and 1 that both occur: whether answers of the targets' shape cost
    the more the nearer they are to the targets, as an overlap (Dice's coefficient) that is not subtracted from 1."""
    if targets is None or not targets.is_floating_point() or not bool(((targets == 0) | (targets == 1)).all()):
        return False
    if not bool(targets.any()) or bool(targets.all()):
        return False
    costs = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):  # from the targets to their opposites
        answers = ((1 - share) * targets + share * (1 - targets)).clamp(DECIDED, 1 - DECIDED)
        try:
            costs.append(float(torch.as_tensor(loss(answers, targets)).double().mean()))
        except Exception:  # whatever a user's loss raises
            return False
    least = EXACT * max(map(abs, costs))
    return all(math.isfinite(cost) for cost in costs) and all(a > b + least for a, b in itertools.pairwise(costs))


SURE = 15.0  # a score at which nothing is left to lose
MOST_WEIGHED = 256  # classes: one call of the loss for each
_OUTPUT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda rows: rows, "log-likelihood": lambda rows: rows.log_softmax(1), "sigmoid": lambda rows: rows,
    "cross-entropy": lambda rows: rows.softmax(1), "binary-cross-entropy": torch.sigmoid,
}  # fmt: skip


def _class_weights(loss: Loss, form: Form, trial: Trial) -> tuple[float, ...]:
    """What each class counts, as a share of all; () where it is not told. One example of every class: all are right
    beyond doubt, and one is undecided; what the loss then has is this one's."""
    two = trial.columns == 1 and trial.indices is None and form in ("sigmoid", "binary-cross-entropy")
    several = 2 <= trial.columns <= MOST_WEIGHED and form in ("softmax", "log-likelihood", "cross-entropy")
    if not two and not several:
        return ()
    if two:
        low = -1.0 if form == "sigmoid" and not _falls(loss, trial, 0.0) else 0.0
        targets, right = torch.tensor([[low], [1.0]]), torch.tensor([[-SURE], [SURE]])
    else:
        targets, right = trial.targets(trial.columns), SURE * torch.eye(trial.columns)
    found = []
    for number in range(len(right)):
        rows = right.clone()
        rows[number] = 0.0
        found.append(trial.call(loss, _OUTPUT[form](rows), targets))
    known = [value for value in found if value is not None and value > 0]
    return tuple(value / sum(known) for value in known) if len(known) == len(found) else ()


def _form(loss: Loss, trial: Trial) -> Form:
    """What the loss does with one way of calling it; unknown where nothing fits."""
    if trial.columns > 1 or trial.indices is not None:
        form = _over_classes(loss, trial)
        if form != "unknown" or trial.indices is not None:
            return form
    return _over_values(loss, trial)


def _over_classes(loss: Loss, trial: Trial) -> Form:
    """Losses that compare the columns of a row, or that ask for the right class of it."""
    make = torch.Generator().manual_seed(0)
    first, second = (torch.randn(ROWS, trial.columns, generator=make) for _ in range(2))
    shift = torch.linspace(-2, 3, ROWS)[:, None]
    at_first, at_second = trial.call(loss, first), trial.call(loss, second)
    if _same(at_first, at_second):  # by chance, or it is always the same
        second = 3 * second
        at_second = trial.call(loss, second)
    if at_first is not None and at_second is not None and not _same(at_first, at_second):
        if not _same(trial.call(loss, first), at_first):
            return "unknown"  # it answers the same question differently
        if _same(trial.call(loss, first + shift), at_first):
            return "softmax"
        halfway, doubled = trial.call(loss, (first + second) / 2), trial.call(loss, 2 * first - second)
        if _same(halfway, (at_first + at_second) / 2) and _same(doubled, 2 * at_first - at_second):
            return "log-likelihood"
    if _logarithmic([trial.call(loss, _right_class(trial, p)) for p in (1e-2, 1e-3, 1e-4)]):
        if trial.indices is None and _asymmetric_distance(lambda o, t: trial.filled(loss, o, t)) == "distance":
            return "distance"  # of counts (Poisson), at all of which it is smallest, not at 1 alone
        wrong = [trial.call(loss, _wrong_class(trial, p)) for p in (1e-2, 1e-3, 1e-4)]
        return "binary-cross-entropy" if _logarithmic(wrong) else "cross-entropy"
    if trial.indices is not None and trial.columns > 1:
        return _from_one_hot(loss, trial)
    return "unknown"


def _over_values(loss: Loss, trial: Trial) -> Form:
    """Losses that treat every output by itself."""
    if _logarithmic([trial.filled(loss, p, 1.0) for p in (1e-2, 1e-3, 1e-4)]) and (
        _logarithmic([trial.filled(loss, 1 - p, 0.0) for p in (1e-2, 1e-3, 1e-4)])
    ):
        return "binary-cross-entropy"
    if _falls(loss, trial, 1.0) and (_falls(loss, trial, 0.0) or _falls(loss, trial, -1.0)):
        return "sigmoid"
    return _distance(lambda output, target: trial.filled(loss, output, target))


def _falls(loss: Loss, trial: Trial, target: float) -> bool:
    """Whether the loss of an example of this kind falls to a limit as its score goes to its side."""
    side = 1.0 if target > 0 else -1.0
    return any(
        _saturates([trial.filled(loss, side * score, target) for score in (-far, -10.0, -1.0, 0.0, 1.0, 10.0, far)])
        for far in FAR
    )


def _distance(at: Callable[[float, float], float | None]) -> Form:
    """A distance between output and target, and how it grows."""
    for target in DISTANCE_TARGETS:
        centre = at(target, target)
        around = [at(target + step, target) for step in (-2.0, -0.1, 0.1, 2.0)]
        if centre is None or any(value is None or value <= centre for value in around):
            return _asymmetric_distance(at)
    near, far = _growth(at, 0.01), _growth(at, 100.0)
    if near is None or far is None:
        return "distance"
    if abs(near - 4) < 0.2 and abs(far - 4) < 0.2:
        return "squared"
    if abs(near - 2) < 0.1 and abs(far - 2) < 0.1:
        return "absolute"
    return "huber" if abs(near - 4) < 0.4 and abs(far - 2) < 0.2 else "distance"


def _asymmetric_distance(at: Callable[[float, float], float | None]) -> Form:
    """A distance that holds for positive targets only (relative, logarithmic, Poisson)."""
    for target in (0.5, 1.0, 3.0, 7.0):
        values = [at(target * factor, target) for factor in (0.5, 0.9, 1.0, 1.1, 2.0)]
        if any(value is None for value in values) or min(values, key=float) is not values[2]:  # type: ignore[arg-type]
            return "unknown"
    return "distance"


def _growth(at: Callable[[float, float], float | None], step: float) -> float | None:
    centre, once, twice = at(0.0, 0.0), at(step, 0.0), at(2 * step, 0.0)
    if centre is None or once is None or twice is None or once <= centre:
        return None
    return (twice - centre) / (once - centre)


def _from_one_hot(loss: Loss, trial: Trial) -> Form:
    """A distance to the one-hot row that the loss makes of the class itself."""
    hot = nn.functional.one_hot(trial.classes(), trial.columns).float()
    centre = trial.call(loss, hot)
    if centre is None:
        return "unknown"
    steps = [trial.call(loss, hot + step) for step in (-0.2, -0.1, 0.1, 0.2)]
    if any(value is None or value <= centre for value in steps) or not _same(steps[0], steps[3]):
        return "unknown"
    growth = (steps[3] - centre) / (steps[2] - centre)  # type: ignore[operator]
    return "squared" if abs(growth - 4) < 0.2 else "absolute" if abs(growth - 2) < 0.1 else "distance"


def _right_class(trial: Trial, probability: float) -> torch.Tensor:
    """Rows (ROWS, C) that give the right class ``probability`` and the others the rest evenly."""
    rest = (1 - probability) / max(1, trial.columns - 1)
    rows = torch.full((ROWS, trial.columns), rest)
    return rows.scatter(1, trial.classes()[:, None], probability)


def _wrong_class(trial: Trial, missing: float) -> torch.Tensor:
    """Rows that give one half to the right class and all but ``missing`` to another one; no distribution."""
    rows = torch.full((ROWS, trial.columns), 0.5)
    return rows.scatter(1, ((trial.classes() + 1) % trial.columns)[:, None], 1 - missing)


def _logarithmic(values: Sequence[float | None]) -> bool:
    """Whether each factor of ten adds the same: of a power p^k, the second step is a tenth of the first or less."""
    if any(value is None for value in values):
        return False
    first, second, third = (float(value) for value in values)  # type: ignore[arg-type]
    return second - first > 0 and 0.7 < (third - second) / (second - first) < 1.4


def _saturates(values: Sequence[float | None]) -> bool:
    """Over scores from far below 0 to far above: never rising beyond rounding, falling around 0, and at the end a
    limit: the last, long step adds less than a tenth of the step over 0."""
    if any(value is None for value in values):
        return False
    known = [float(value) for value in values]  # type: ignore[arg-type]
    fall = known[2] - known[4]
    return (
        fall > EXACT * abs(known[3])
        and all(b <= a + 1e-2 * fall for a, b in itertools.pairwise(known))
        and abs(known[-2] - known[-1]) < 0.1 * fall
    )


def _same(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=EXACT, abs_tol=1e-5)


def _reduction(loss: Loss, trial: Trial) -> Literal["mean", "sum", "unknown"]:
    """What a batch that is repeated costs: the same, or twice as much."""
    outputs = torch.rand(ROWS, trial.columns, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    targets = trial.targets()
    once = trial.call(loss, outputs, targets)
    twice = trial.call(loss, torch.cat([outputs] * 2), torch.cat([targets] * 2))
    if once is None or twice is None or abs(once) < 1e-6:
        return "unknown"
    return "mean" if _same(once, twice) else "sum" if _same(2 * once, twice) else "unknown"


def _task(
    form: Form, data_task: str, output_shape: Sequence[int]
) -> Literal["classification", "binary", "multi-label", "regression", "unknown"]:
    """What is learned: from what the loss does, the targets and the number of outputs."""
    columns = _columns(output_shape)
    if form in ("softmax", "log-likelihood", "cross-entropy"):
        return "classification"
    if form in ("sigmoid", "binary-cross-entropy"):
        if columns <= 1:
            return "binary"
        return "classification" if data_task == "classification" else "multi-label"
    if form == "unknown" and data_task == "unknown":
        return "unknown"
    if data_task == "classification":
        return "binary" if columns <= 1 else "classification"
    return "multi-label" if data_task == "multi-label" else "regression"
